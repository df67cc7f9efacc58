//! Counts the statements that are evaluated.

use crate::language::document::PolicyDocument;
use crate::world::Entity;
use crate::world::entity::{InlinePolicy, ManagedPolicy};

/// Returns the number of statements in all documents of an entity that are evaluated.
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

/// Returns the number of statements in the version that is in force.
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
