//! One text for each name to which entities refer, however many of them do.

use std::collections::HashSet;
use std::sync::Arc;

use crate::world::Entity;
use crate::world::entity::Reference;

/// The names of one load. In a large store most of them are named by several entities.
#[derive(Debug, Default)]
pub struct Names(HashSet<Arc<str>>);

impl Names {
    /// Lets the references of an entity share their texts with those before it, and with the policies before it. Nobody
    /// else may have the entity yet.
    pub fn share(&mut self, entity: &mut Entity) {
        match entity {
            Entity::ManagedPolicy(policy) => _ = self.0.insert(policy.identity.arn.shared()),
            Entity::User(user) => {
                if let Some(user) = Arc::get_mut(user) {
                    user.groups.iter_mut().for_each(|to| self.share_one(to));
                    user.attached.iter_mut().for_each(|to| self.share_one(to));
                }
            }
            Entity::Group(group) => {
                if let Some(group) = Arc::get_mut(group) {
                    group.attached.iter_mut().for_each(|to| self.share_one(to));
                }
            }
            Entity::Role(role) => {
                if let Some(role) = Arc::get_mut(role) {
                    role.attached.iter_mut().for_each(|to| self.share_one(to));
                }
            }
            _ => {}
        }
    }

    fn share_one(&mut self, reference: &mut Reference) {
        match self.0.get(&reference.to) {
            Some(known) => reference.to = Arc::clone(known),
            None => _ = self.0.insert(Arc::clone(&reference.to)),
        }
    }
}
