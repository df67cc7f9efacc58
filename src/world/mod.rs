//! The entities that exist and the policies attached to them, with documents as they were written.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::name::AccountId;

pub mod build;
pub mod entity;
pub mod organization;

use entity::{Account, Group, ManagedPolicy, ResourcePolicy, Role, User};
use organization::{ControlPolicy, Organization};

/// The contents of a store, checked as a whole: each reference leads to an entity (G-38), and each name is unique
/// (G-40). [`build::world`] makes it from [`Entities`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// The account of the store's root, the default owner of resources (E-6).
    pub root_account: Option<AccountId>,
    /// All accounts except `aws`.
    pub accounts: BTreeMap<AccountId, Account>,
    /// Users, groups, roles, policies.
    pub entities: Entities,
}

/// One of the entities of a store.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is what it is called")]
pub enum Entity {
    User(Arc<User>),
    Group(Arc<Group>),
    Role(Arc<Role>),
    ManagedPolicy(Arc<ManagedPolicy>),
    ResourcePolicy(Arc<ResourcePolicy>),
    Organization(Arc<Organization>),
    ServiceControlPolicy(Arc<ControlPolicy>),
    ResourceControlPolicy(Arc<ControlPolicy>),
}

/// The entities that were read from a store, file by file, with nothing resolved. The memory of the loader shares them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entities {
    /// Declared accounts.
    pub accounts: Vec<Account>,
    /// All accounts' users.
    pub users: Vec<Arc<User>>,
    /// All accounts' groups.
    pub groups: Vec<Arc<Group>>,
    /// All accounts' roles.
    pub roles: Vec<Arc<Role>>,
    /// All accounts' managed policies, and the AWS-managed ones.
    pub managed_policies: Vec<Arc<ManagedPolicy>>,
    /// All accounts' resource policies.
    pub resource_policies: Vec<Arc<ResourcePolicy>>,
    /// The organization, if there is one.
    pub organization: Option<Arc<Organization>>,
    /// All SCPs, attached or not.
    pub service_control_policies: Vec<Arc<ControlPolicy>>,
    /// All RCPs, attached or not.
    pub resource_control_policies: Vec<Arc<ControlPolicy>>,
}

impl Extend<Entity> for Entities {
    fn extend<I: IntoIterator<Item = Entity>>(&mut self, entities: I) {
        for entity in entities {
            match entity {
                Entity::User(user) => self.users.push(user),
                Entity::Group(group) => self.groups.push(group),
                Entity::Role(role) => self.roles.push(role),
                Entity::ManagedPolicy(policy) => self.managed_policies.push(policy),
                Entity::ResourcePolicy(policy) => self.resource_policies.push(policy),
                Entity::Organization(organization) => self.organization = Some(organization),
                Entity::ServiceControlPolicy(policy) => self.service_control_policies.push(policy),
                Entity::ResourceControlPolicy(policy) => {
                    self.resource_control_policies.push(policy);
                }
            }
        }
    }
}
