//! The tables that the engine reads: who exists, what is attached to them, and which resources have policies.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use super::accounts::{AccountRow, Accounts};
use super::attachments::{Attachment, Attachments};
use super::policy_set::PolicySet;
use super::sets::Sets;
use super::table::Sharded;
use foldhash::fast::FixedState;

use crate::context::ContextKey;
use crate::language::document::{PolicyDocument, PolicyType, Statement};
use crate::language::pattern::Variables;
use crate::name::{AccountId, Arn, Resource, hash_of};

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

/// One policy, ready to be asked.
#[derive(Debug)]
pub struct Policy {
    /// The ARN, `<entity ARN>/inline/<name>`, `<role ARN>/trust`, `session/<index>`, or the file without `.json`.
    pub name: Arc<str>,
    /// What it counts as; one managed policy may be here twice, as identity policy and as boundary.
    pub policy_type: PolicyType,
    /// The file that holds it, relative to the store; empty for session policies in a request.
    pub file: Arc<str>,
    /// In source order.
    pub statements: Arc<[Statement]>,
    /// What explanations say about it besides (S-4); the parts that one managed policy plays share it.
    pub origin: Arc<Origin>,
}

/// Where a policy came from.
#[derive(Debug, Default, PartialEq)]
pub struct Origin {
    /// Whether it is a policy of its own; else it is embedded in its user, group, role, resource or session.
    pub is_managed: bool,
    /// The version that is in force, of a managed policy (G-36).
    pub version: Option<Box<str>>,
    /// The document's `Id` (G-7).
    pub document_id: Option<Box<str>>,
    /// The RFC 6901 pointer to the document's `Statement` in the file.
    pub pointer: Box<str>,
    /// Whether `Statement` is a list.
    pub is_list: bool,
}

impl Origin {
    /// Of a policy that is embedded in something else.
    pub fn of(document: &PolicyDocument) -> Self {
        Self {
            is_managed: false,
            version: None,
            document_id: document.id.clone(),
            pointer: document.pointer.clone(),
            is_list: document.is_list,
        }
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

/// The name of a set of policies in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SetId(u32);

impl SetId {
    /// The `n`-th of a snapshot.
    pub(super) fn nth(n: usize) -> Self {
        Self(u32::try_from(n).unwrap_or(u32::MAX))
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// An account of the store, or one that it declares as external.
#[derive(Debug)]
pub struct Account {
    /// The account.
    pub id: AccountId,
    /// Its partition; a principal of another one is another principal.
    pub partition: Box<str>,
    /// E-50.
    pub root_user_enabled: bool,
    /// E-51.
    pub anonymous_allowed: bool,
    ///
    pub external: bool,
    ///
    pub trust_external_identity: bool,
    /// P-1.
    pub canonical_user_id: Option<Box<str>>,
    /// Its place in the organization.
    pub membership: Option<Membership>,
}

/// An account's place in an organization.
#[derive(Debug)]
pub struct Membership {
    /// `o-…`.
    pub organization: Box<str>,
    /// `o-x/r-y/ou-z/`.
    pub path: Box<str>,
    /// Whether it is the account that manages the organization (T-11).
    pub is_management: bool,
    /// One level of SCPs per node from the root to the account (E-21); none where SCPs are not in play (E-20, E-30).
    pub service_control: Option<Vec<Option<SetId>>>,
    /// Likewise RCPs, without the built-in one that every level has (E-26).
    pub resource_control: Option<Vec<Option<SetId>>>,
}

/// A user or a role.
#[derive(Debug, PartialEq)]
pub struct Entity {
    /// Its ARN.
    pub arn: Arn,
    /// Its account.
    pub account: AccountId,
    /// The same, if it can be a principal: it is not disabled (E-3), and its account is of its own partition and
    /// not external.
    pub home: Option<AccountRow>,
    /// Its friendly name.
    pub name: Box<str>,
    /// `AIDA…`, `AROA…`.
    pub unique_id: Option<Box<str>>,
    /// Inline and attached ones, those of its groups included (E-8).
    pub identity: Option<SetId>,
    /// Whose the last of them are, group by group, in their order.
    pub groups: Box<[GroupShare]>,
    /// At most one (E-8).
    pub permissions_boundary: Option<SetId>,
    /// Its tags.
    pub tags: Tags,
    /// Disabled entities are unknown (E-3).
    pub disabled: bool,
    /// What only roles have.
    pub role: Option<Role>,
}

/// What a user has from one group.
#[derive(Debug, PartialEq)]
pub struct GroupShare {
    /// The group's name; users of one group share it.
    pub name: Arc<str>,
    /// How many policies.
    pub n_policies: usize,
}

/// What only roles have.
#[derive(Debug, PartialEq)]
pub struct Role {
    /// Its trust policy (T-1).
    pub trust: SetId,
    /// E-27.
    pub service_linked: bool,
    /// Seconds (T-31).
    pub max_session_duration: u32,
}

/// Tags, found by key ignoring ASCII case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Vec<(ContextKey, Box<str>)>);

impl Tags {
    /// Without any.
    pub const NONE: Self = Self(Vec::new());

    /// INVARIANT: keys are unique ignoring case; whoever read them has checked it.
    pub fn new<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(
            tags.into_iter()
                .map(|(key, value)| (ContextKey::new(key), value.into()))
                .collect(),
        )
    }

    /// The value of the tag whose key is `folded` in lower case.
    pub fn get(&self, folded: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key.folded() == folded)
            .map(|(_, value)| &**value)
    }
}

impl Account {
    /// An account with nothing in it.
    pub fn empty(id: AccountId, partition: &str) -> Self {
        Self {
            id,
            partition: partition.into(),
            root_user_enabled: false,
            anonymous_allowed: false,
            external: false,
            trust_external_identity: false,
            canonical_user_id: None,
            membership: None,
        }
    }
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
    pub fn session_policy(&self, arn: &str) -> Option<&PolicySet> {
        self.set(self.whole.managed_policies.get(arn)?.session)
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
