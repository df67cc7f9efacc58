//! The tables that the engine reads: which entities exist, which policies are attached to them, and which resources
//! have policies.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use super::accounts::Accounts;
use super::attachments::{Attachment, Attachments};
use super::holders::{Asked, Holders};
use super::issuers::Issuers;
use super::named_actions::NamedActions;
use super::named_keys::NamedKeys;
use super::policy_set::PolicySet;
use super::shared_sets::Sets;
use super::table::Sharded;
use crate::language::pattern::Variables;
use crate::name::{AccountId, Action, Arn, GivenArn, Resource, hash_of};

pub use super::accounts::{Account, Membership};
pub use super::entity::{Entity, GroupShare, Role};
pub use super::managed_policy::ManagedPolicy;
pub use super::policy::{Origin, OwnRows, Policy};
pub use super::shared_sets::SetId;
pub use super::tags::Tags;

/// A content hash of a store. It is equal on every replica that serves the same files. Revisions have no order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision(Arc<str>);

impl Revision {
    /// Returns the first 32 hexadecimal digits of the SHA-256 over the store's paths and content digests.
    pub fn new(hex: &str) -> Self {
        Self(hex.into())
    }

    /// Returns the 32 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A world compiled for requests: immutable, complete, one revision. A clone shares all tables.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The revision of the store it was made from.
    pub revision: Revision,
    pub(super) sets: Sets,
    /// Users and roles by ARN.
    pub(super) entities: Sharded<Arc<Entity>>,
    /// Roles by account and name, because session ARNs have lost the path (T-30).
    pub(super) roles: Sharded<Arc<Entity>>,
    pub(super) accounts: Arc<Accounts>,
    pub(super) whole: Arc<Whole>,
    /// The managed policies by ARN.
    pub(super) managed: Sharded<Arc<ManagedPolicy>>,
    /// Who holds which policy, once something asked for it.
    pub(super) holders: Arc<Asked>,
    /// The context keys that its policies name, once something asked for them.
    pub(super) named_keys: Arc<OnceLock<NamedKeys>>,
    /// The actions that its statements name, once something asked for them.
    pub(super) named_actions: Arc<OnceLock<NamedActions>>,
}

/// The tables that are rebuilt only when the whole store is compiled.
#[derive(Debug, Default)]
pub struct Whole {
    /// The account of the store's root.
    pub root_account: Option<AccountId>,
    /// The files of `resource-policies/`.
    pub attachments: Attachments,
    /// The folded host and path of each OIDC issuer that a trust policy names. No caller may set its claims (K-1).
    pub oidc_issuers: Issuers,
}

impl Snapshot {
    /// Returns the account called `id`.
    pub fn account(&self, id: &str) -> Option<&Account> {
        self.accounts.find(id)
    }

    /// Returns whether there is any resource policy.
    pub fn has_attachments(&self) -> bool {
        !self.whole.attachments.is_empty()
    }

    /// Returns the files of all accounts that cover `resource`, in their order.
    pub fn attachments_to<'s>(
        &'s self,
        resource: &'s Resource,
        meter: &impl Variables,
    ) -> impl Iterator<Item = &'s Attachment> {
        self.whole.attachments.of(resource, meter)
    }

    /// Returns the account of the store's root, or else the only account there is (the defaults of E-6).
    pub fn default_owner(&self) -> Option<&AccountId> {
        let only = || self.accounts.only().map(|account| &account.id);
        self.whole.root_account.as_ref().or_else(only)
    }

    /// Returns whether there is more than one account, including external ones, but not that of AWS's own policies
    /// (E-6).
    pub fn has_several_accounts(&self) -> bool {
        self.accounts.are_several()
    }

    /// Returns the user or role with this ARN, unless it is disabled (E-3).
    pub fn entity(&self, arn: &Arn<impl Deref<Target = str>>) -> Option<&Entity> {
        self.find(arn).filter(|entity| !entity.disabled)
    }

    /// Returns the user or role with this ARN, even if it is disabled.
    pub(super) fn find(&self, arn: &Arn<impl Deref<Target = str>>) -> Option<&Entity> {
        let is_it = |entity: &Arc<Entity>| entity.arn == *arn;
        let found = self.entities.find(arn.fingerprint(), is_it);
        found.map(|found| &**found)
    }

    /// Returns the account of a principal; see [`Entity::home`].
    pub fn home(&self, entity: &Entity) -> Option<&Account> {
        self.accounts.get(entity.home?)
    }

    /// Returns a tag of the user, role or managed policy with this ARN. A disabled entity cannot be a principal any
    /// more, but it is still a resource with tags.
    pub fn entity_tag(&self, arn: &GivenArn<'_>, folded: &str) -> Option<&str> {
        let of_entity = self.find(arn).map(|entity| &entity.tags);
        let of_policy = || Some(&self.managed_policy(arn.as_str())?.tags);
        of_entity.or_else(of_policy)?.get(folded)
    }

    /// Returns the role of this name, unless it is disabled (P-4).
    pub fn role_named(&self, account: &str, name: &str) -> Option<&Entity> {
        self.find_role(account, name)
            .filter(|entity| !entity.disabled)
    }

    /// Returns the role of this name, even if it is disabled.
    pub(super) fn find_role(&self, account: &str, name: &str) -> Option<&Entity> {
        let is_it = |role: &Arc<Entity>| role.name() == name && role.account.as_str() == account;
        let found = self.roles.find(hash_of(&(account, name)), is_it);
        found.map(|found| &**found)
    }

    /// Returns the managed policy called `arn`.
    pub fn managed_policy(&self, arn: &str) -> Option<&ManagedPolicy> {
        let is_it = |managed: &Arc<ManagedPolicy>| *managed.policy.name == *arn;
        let found = self.managed.find(hash_of(arn), is_it);
        found.map(|found| &**found)
    }

    /// Returns the set called `id`. Every id of a snapshot has one.
    pub fn set(&self, id: SetId) -> Option<&PolicySet> {
        self.sets.get(id.index()).map(|set| &**set)
    }

    /// Iterates over the sets that a user, a role, an account or a resource has, in the order of their ids. Those that the last one
    /// has lost in a change stay in the tables for a while, and are not among them.
    pub fn sets(&self) -> impl Iterator<Item = &PolicySet> {
        self.numbered_sets().map(|(_, set)| set)
    }

    /// Iterates over the same sets with their ids.
    pub(super) fn numbered_sets(&self) -> impl Iterator<Item = (SetId, &PolicySet)> {
        let is_held = self.held_sets();
        let all = self.sets.iter().enumerate();
        all.filter(move |(n, _)| is_held.get(*n).is_some_and(|is_held| *is_held))
            .map(|(n, set)| (SetId::nth(n), &**set))
    }

    /// Returns how many sets there are, including those that nobody has any more.
    pub(super) fn n_sets(&self) -> usize {
        self.sets.len()
    }

    /// Returns for each id of a set whether anybody or anything has it.
    fn held_sets(&self) -> Vec<bool> {
        let mut is_held = vec![false; self.sets.len()];
        let mut hold = |id: SetId| {
            if let Some(is_held) = is_held.get_mut(id.index()) {
                *is_held = true;
            }
        };
        for entity in self.entities.iter() {
            entity.sets().into_iter().flatten().for_each(&mut hold);
        }
        let memberships = self
            .accounts
            .iter()
            .filter_map(|one| one.membership.as_ref());
        for membership in memberships {
            let layers = [&membership.service_control, &membership.resource_control];
            let levels = layers.into_iter().flatten().flatten();
            levels.flatten().copied().for_each(&mut hold);
        }
        let attached = self.attachments().iter().filter_map(|file| file.policy);
        attached.for_each(&mut hold);
        is_held
    }

    /// Iterates over all policies, in no order. A policy in several sets is there several times.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        let managed = self.managed.iter().map(|managed| &managed.policy);
        self.sets().flat_map(PolicySet::policies).chain(managed)
    }

    /// Returns whether a trust policy names this OIDC issuer, `host/path` (K-1).
    pub fn has_oidc_issuer(&self, folded: &str) -> bool {
        self.whole.oidc_issuers.contains(folded)
    }

    /// Returns the length in bytes of the longest OIDC issuer that a trust policy names, or `None` if there is no
    /// issuer.
    pub fn longest_oidc_issuer(&self) -> Option<usize> {
        self.whole.oidc_issuers.longest()
    }

    /// Iterates over all users and roles, including disabled ones, in no order.
    pub fn principals(&self) -> impl Iterator<Item = &Entity> {
        self.entities.iter().map(|entity| &**entity)
    }

    /// Returns who holds which policy. The first call takes a time that grows with the store: about a second for a
    /// million statements, and a tenth of that if it was called for the snapshot before.
    pub fn holders(&self) -> &Holders {
        self.holders.get(|before| {
            let managed = self.managed.iter().map(|managed| &managed.policy);
            let (sets, n_sets) = (self.numbered_sets(), self.n_sets());
            Holders::of(sets, n_sets, managed, self.entities.iter(), before)
        })
    }

    /// Returns the context keys that its policies name. The first call takes a time that grows with the store: some tens of
    /// milliseconds for a million statements.
    pub fn named_keys(&self) -> &NamedKeys {
        self.named_keys
            .get_or_init(|| NamedKeys::of(self.policies()))
    }

    /// Returns the actions that its statements name. The first call takes a time that grows with the store: some tens of
    /// milliseconds for a million statements.
    pub fn named_actions(&self) -> &NamedActions {
        self.named_actions
            .get_or_init(|| NamedActions::of(self.policies()))
    }

    /// Returns whether a statement names this action; `None` before the actions were collected, which [`Snapshot::prepare`]
    /// does.
    pub fn names_action(&self, action: &str) -> Option<bool> {
        let named = self.named_actions.get()?;
        let action = Action::parse(action).ok()?;
        Some(named.contains(&action))
    }

    /// Iterates over all files of resource policies, in their order.
    pub fn attachments(&self) -> &[Attachment] {
        self.whole.attachments.files()
    }

    /// Iterates over all accounts, including external ones, in no order.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter()
    }

    /// Returns how many users and roles there are, including disabled ones.
    pub fn n_principals(&self) -> usize {
        self.entities.len()
    }
}

/// Faults, with which tests check that a question then gets no answer.
#[cfg(test)]
impl Snapshot {
    /// Removes all sets.
    pub(crate) fn lose_sets(&mut self) {
        self.sets = Sets::default();
        let lost = |managed: &Arc<ManagedPolicy>| Arc::new(managed.without_session());
        let lost: Vec<_> = self.managed.iter().map(lost).collect();
        let hash = |managed: &Arc<ManagedPolicy>| hash_of(&*managed.policy.name);
        for row in lost {
            let arn = Arc::clone(&row.policy.name);
            let is_it = |managed: &Arc<ManagedPolicy>| managed.policy.name == arn;
            self.managed.put(row, hash, is_it);
        }
    }

    /// Removes the statements from all sets, although their tries still refer to them.
    pub(crate) fn lose_statements(&mut self) {
        self.break_sets(PolicySet::without_policies);
    }

    /// Removes the lists of statements from the tries of all sets.
    pub(crate) fn lose_lists(&mut self) {
        self.break_sets(PolicySet::without_lists);
    }

    fn break_sets(&mut self, broken: impl Fn(&PolicySet) -> PolicySet) {
        let broken: Vec<_> = self.sets.iter().map(|set| Arc::new(broken(set))).collect();
        self.sets = Sets::default();
        broken.into_iter().for_each(|set| self.sets.push(set));
    }
}
