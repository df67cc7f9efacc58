//! How much there is to evaluate.

use crate::language::document::PolicyDocument;
use crate::world::Entities;
use crate::world::entity::{InlinePolicy, ManagedPolicy};

/// The statements of every document that is evaluated where it is attached.
pub fn n_statements(entities: &Entities) -> usize {
    let users = entities.users.iter().map(|user| inline(&user.inline));
    let groups = entities.groups.iter().map(|group| inline(&group.inline));
    let roles = entities
        .roles
        .iter()
        .map(|role| of(&role.trust) + inline(&role.inline));
    let managed = entities
        .managed_policies
        .iter()
        .map(|policy| of_managed(policy));
    let resource = entities
        .resource_policies
        .iter()
        .filter_map(|policy| policy.document.as_ref())
        .map(of);
    let control = entities
        .service_control_policies
        .iter()
        .chain(&entities.resource_control_policies)
        .map(|policy| of(&policy.document));
    users
        .chain(groups)
        .chain(roles)
        .chain(managed)
        .chain(resource)
        .chain(control)
        .sum()
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
