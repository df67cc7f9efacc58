//! How much there is to evaluate.

use crate::language::document::PolicyDocument;
use crate::world::Entity;
use crate::world::entity::{InlinePolicy, ManagedPolicy};

/// The statements of every document that is evaluated where it is attached.
pub fn of_entity(entity: &Entity) -> usize {
    match entity {
        Entity::User(user) => inline(&user.inline),
        Entity::Group(group) => inline(&group.inline),
        Entity::Role(role) => of(&role.trust) + inline(&role.inline),
        Entity::ManagedPolicy(policy) => of_managed(policy),
        Entity::ResourcePolicy(policy) => policy.document.as_ref().map_or(0, of),
        Entity::Organization(_) => 0,
        Entity::ServiceControlPolicy(policy) | Entity::ResourceControlPolicy(policy) => {
            of(&policy.document)
        }
    }
}

/// Of the version in force.
pub fn of_managed(policy: &ManagedPolicy) -> usize {
    policy
        .default_version()
        .map_or(0, |version| of(&version.document))
}

fn of(document: &PolicyDocument) -> usize {
    document.statements.len()
}

fn inline(policies: &[InlinePolicy]) -> usize {
    policies.iter().map(|policy| of(&policy.document)).sum()
}
