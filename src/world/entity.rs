//! The entities of a store.

use crate::language::document::PolicyDocument;
use crate::language::finding::Location;
use crate::language::pattern::ResourcePattern;
use crate::name::{AccountId, Arn};

/// An account and its switches. One exists for each `account.json`, each folder below `accounts/`, and each account
/// that an entity belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// The account.
    pub id: AccountId,
    /// `aws` unless the store says otherwise.
    pub partition: Box<str>,
    /// A friendly name.
    pub alias: Option<Box<str>>,
    /// Whether the root user may ask (E-50).
    pub root_user_enabled: bool,
    /// Whether the anonymous may be allowed anything on this account's resources (E-51).
    pub anonymous_allowed: bool,
    /// Whether the account lies outside of the store.
    pub external: bool,
    /// Whether an external account's own side counts as Allow.
    pub trust_external_identity: bool,
    /// For `CanonicalUser` principals (P-1).
    pub canonical_user_id: Option<Box<str>>,
    /// Where it is declared.
    pub at: Location,
}

/// Tags: keys as written, unique ignoring case, in source order.
pub type Tags = Box<[(Box<str>, Box<str>)]>;

/// What users, groups, roles and managed policies have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The full ARN: `user/eng/alice` is its resource part.
    pub arn: Arn,
    /// The account in the ARN.
    pub account: AccountId,
    /// `AIDA…`, `AROA…`: whatever the store records.
    pub unique_id: Option<Box<str>>,
    /// Where it is declared.
    pub at: Location,
}

impl Identity {
    /// The friendly name: what stands behind the last `/` of the ARN.
    pub fn name(&self) -> &str {
        let resource = self.arn.resource();
        resource.rsplit_once('/').map_or(resource, |(_, name)| name)
    }
}

/// A name or ARN of something else in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// A policy's ARN or a group's name.
    pub to: Box<str>,
    /// Where it stands.
    pub at: Location,
}

/// A policy embedded in its entity.
#[derive(Clone, Debug, PartialEq)]
pub struct InlinePolicy {
    /// Unique in its entity.
    pub name: Box<str>,
    /// The document.
    pub document: PolicyDocument,
}

/// A user.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Name, ARN, …
    pub identity: Identity,
    /// Names of groups of the same account.
    pub groups: Box<[Reference]>,
    /// ARNs of managed policies.
    pub attached: Box<[Reference]>,
    /// `UserPolicyList`.
    pub inline: Box<[InlinePolicy]>,
    /// The ARN of the managed policy that bounds it.
    pub permissions_boundary: Option<Box<Reference>>,
    /// Its tags.
    pub tags: Tags,
    /// Disabled entities are unknown (E-3).
    pub disabled: bool,
}

/// A group: identity policies for its users, nothing more (E-9).
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Name, ARN, …
    pub identity: Identity,
    /// ARNs of managed policies.
    pub attached: Box<[Reference]>,
    /// `GroupPolicyList`.
    pub inline: Box<[InlinePolicy]>,
}

/// A role.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    /// Name, ARN, …
    pub identity: Identity,
    /// `AssumeRolePolicyDocument`.
    pub trust: PolicyDocument,
    /// ARNs of managed policies.
    pub attached: Box<[Reference]>,
    /// `RolePolicyList`.
    pub inline: Box<[InlinePolicy]>,
    /// The ARN of the managed policy that bounds it.
    pub permissions_boundary: Option<Box<Reference>>,
    /// Its tags.
    pub tags: Tags,
    /// Disabled entities are unknown (E-3).
    pub disabled: bool,
    /// Exempt from SCPs and RCPs (E-27).
    pub service_linked: bool,
    /// Seconds; 3,600 unless the store says otherwise (T-31).
    pub max_session_duration: u32,
}

/// A managed policy with its versions (G-36).
#[derive(Clone, Debug, PartialEq)]
pub struct ManagedPolicy {
    /// Name, ARN, …; the account `aws` holds AWS-managed policies.
    pub identity: Identity,
    /// At least one.
    pub versions: Box<[PolicyVersion]>,
    /// INVARIANT: the index in `versions` of the only default; the loader holds it.
    pub default_version: usize,
    /// Its tags, for questions about the policy itself.
    pub tags: Tags,
}

impl ManagedPolicy {
    /// The version that is evaluated (G-36).
    pub fn default_version(&self) -> Option<&PolicyVersion> {
        self.versions.get(self.default_version)
    }
}

/// One version of a managed policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyVersion {
    /// `v1`, `v2`, …
    pub id: Box<str>,
    /// Its document.
    pub document: PolicyDocument,
}

/// A file of `resource-policies/`: what holds for the resources that its scopes cover (E-10).
#[derive(Clone, Debug, PartialEq)]
pub struct ResourcePolicy {
    /// The account whose resources it speaks of.
    pub account: AccountId,
    /// The file without `.json`, as decisions name it: `resource-policies/orders`.
    pub name: Box<str>,
    /// Matched as M-12 NARROW; no variables.
    pub scopes: Box<[ResourcePattern]>,
    /// None where the file only gives tags.
    pub document: Option<PolicyDocument>,
    /// The tags of the covered resources.
    pub tags: Tags,
    /// Whether identity policies alone don't suffice (E-45).
    pub required: bool,
    /// Where it is declared.
    pub at: Location,
}
