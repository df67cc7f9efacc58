//! The tables that the engine reads: who exists, what is attached to them, and which resources have policies.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::accounts::Accounts;
use super::attachments::{Attachment, Attachments};
use super::policy_set::PolicySet;
use super::sets::Sets;
use super::table::Sharded;
use crate::language::pattern::Variables;
use crate::name::{AccountId, Arn, Resource, hash_of};

pub use super::accounts::{Account, Membership};
pub use super::entity::{Entity, GroupShare, Role};
pub use super::policy::{Origin, Policy};
pub use super::sets::SetId;
pub use super::tags::Tags;

/// A content hash of a store: equal on every replica that serves the same files. It has no order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision(Arc<str>);

impl Revision {
    /// The first 32 hexadecimal digits of the SHA-256 over the store's paths and content digests.
    pub fn new(hex: &str) -> Self {
        Self(hex.into())
    }

    /// The 32 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A world compiled for asking: immutable, complete, one revision. A copy shares all tables.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The revision of the store it was made from.
    pub revision: Revision,
    pub(super) sets: Sets,
    /// By ARN; roles too.
    pub(super) entities: Sharded<Arc<Entity>>,
    /// Roles by account and name: session ARNs have lost the path (T-30).
    pub(super) roles: Sharded<Arc<Entity>>,
    pub(super) accounts: Arc<Accounts>,
    pub(super) whole: Arc<Whole>,
}

/// What only compiling the whole store makes anew.
#[derive(Debug, Default)]
pub struct Whole {
    /// The account of the store's root.
    pub root_account: Option<AccountId>,
    /// By ARN.
    pub managed_policies: HashMap<Arc<str>, ManagedPolicy, FixedState>,
    /// The files of `resource-policies/`.
    pub attachments: Attachments,
    /// Host and path, folded, of each OIDC issuer that a trust policy names: its claims are nobody's to set (K-1).
    pub oidc_issuers: HashSet<Box<str>>,
}

/// A managed policy by itself.
#[derive(Debug)]
pub struct ManagedPolicy {
    /// As a session policy: a session's `policy_arns` may name it.
    pub session: SetId,
    /// For questions about the policy.
    pub tags: Tags,
}

impl Snapshot {
    /// The account called `id`.
    pub fn account(&self, id: &str) -> Option<&Account> {
        self.accounts.find(id)
    }

    /// Whether there is any resource policy.
    pub fn has_attachments(&self) -> bool {
        !self.whole.attachments.is_empty()
    }

    /// The files of `account` that cover `resource`, in their order.
    pub fn attachments_of<'s>(
        &'s self,
        account: &'s AccountId,
        resource: &'s Resource,
        meter: &impl Variables,
    ) -> impl Iterator<Item = &'s Attachment> {
        self.whole.attachments.of_account(account, resource, meter)
    }

    /// The files of all accounts that cover `resource`, in their order.
    pub fn attachments_to<'s>(
        &'s self,
        resource: &'s Resource,
        meter: &impl Variables,
    ) -> impl Iterator<Item = &'s Attachment> {
        self.whole.attachments.of(resource, meter)
    }

    /// A tag that the files of `account` give `resource`: an exact ARN wins over a pattern, then the first file.
    pub fn resource_tag(
        &self,
        account: &AccountId,
        resource: &Resource,
        folded: &str,
        meter: &impl Variables,
    ) -> Option<&str> {
        let attachments = &self.whole.attachments;
        attachments.tag(account, resource, folded, meter)
    }

    /// The account of the store's root; else the only one there is (the defaults of E-6).
    pub fn default_owner(&self) -> Option<&AccountId> {
        let only = || self.accounts.only().map(|account| &account.id);
        self.whole.root_account.as_ref().or_else(only)
    }

    /// Whether it holds more than one account, external ones included, but for that of AWS's own policies (E-6).
    pub fn has_several_accounts(&self) -> bool {
        self.accounts.are_several()
    }

    /// The user or role with this ARN, unless it is disabled (E-3).
    pub fn entity(&self, arn: &Arn) -> Option<&Entity> {
        self.find(arn).filter(|entity| !entity.disabled)
    }

    /// The same, disabled or not.
    pub(super) fn find(&self, arn: &Arn) -> Option<&Entity> {
        let is_it = |entity: &Arc<Entity>| entity.arn == *arn;
        let found = self.entities.find(arn.fingerprint(), is_it);
        found.map(|found| &**found)
    }

    /// The account of a principal; see [`Entity::home`].
    pub fn home(&self, entity: &Entity) -> Option<&Account> {
        self.accounts.get(entity.home?)
    }

    /// A tag of the user, role or managed policy with this ARN. A disabled one is nobody any more, but still a
    /// resource with its tags.
    pub fn entity_tag(&self, arn: &Arn, folded: &str) -> Option<&str> {
        let of_entity = self.find(arn).map(|entity| &entity.tags);
        let of_policy = || Some(&self.whole.managed_policies.get(arn.as_str())?.tags);
        of_entity.or_else(of_policy)?.get(folded)
    }

    /// The role of this name (P-4).
    pub fn role_named(&self, account: &str, name: &str) -> Option<&Entity> {
        self.find_role(account, name)
            .filter(|entity| !entity.disabled)
    }

    /// The same, disabled or not.
    pub(super) fn find_role(&self, account: &str, name: &str) -> Option<&Entity> {
        let is_it = |role: &Arc<Entity>| *role.name == *name && role.account.as_str() == account;
        let found = self.roles.find(hash_of(&(account, name)), is_it);
        found.map(|found| &**found)
    }

    /// A managed policy, as a session policy.
    pub fn session_policy(&self, arn: &str) -> Option<SetId> {
        Some(self.whole.managed_policies.get(arn)?.session)
    }

    /// The set called `id`; every id of a snapshot has one.
    pub fn set(&self, id: SetId) -> Option<&PolicySet> {
        self.sets.get(id.index()).map(|set| &**set)
    }

    /// All sets, in no order.
    pub fn sets(&self) -> impl Iterator<Item = &PolicySet> {
        self.sets.iter().map(|set| &**set)
    }

    /// Whether a trust policy names this OIDC issuer, `host/path` (K-1).
    pub fn has_oidc_issuer(&self, folded: &str) -> bool {
        self.whole.oidc_issuers.contains(folded)
    }

    /// The length of the longest OIDC issuer that a trust policy names, in bytes; none if none names one.
    pub fn longest_oidc_issuer(&self) -> Option<usize> {
        let issuers = self.whole.oidc_issuers.iter();
        issuers.map(|issuer| issuer.len()).max()
    }

    /// All users and roles, in no order, disabled ones included.
    pub fn principals(&self) -> impl Iterator<Item = &Entity> {
        self.entities.iter().map(|entity| &**entity)
    }

    /// How many users and roles there are, disabled ones included.
    pub fn n_principals(&self) -> usize {
        self.entities.len()
    }
}

/// Faults, for tests of what becomes of a question then.
#[cfg(test)]
impl Snapshot {
    /// No set is there any more.
    pub(crate) fn lose_sets(&mut self) {
        self.sets = Sets::default();
    }

    /// Sets have lost the statements that they know to speak of `action`.
    pub(crate) fn lose_statements(&mut self, action: &str) {
        let Ok(action) = crate::name::Action::parse(action) else {
            return;
        };
        let broken = |set: &Arc<PolicySet>| Arc::new(set.without_policies(&action));
        let broken: Vec<_> = self.sets.iter().map(broken).collect();
        self.sets = Sets::default();
        broken.into_iter().for_each(|set| self.sets.push(set));
    }
}
