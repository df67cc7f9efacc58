//! The entities of a store.

use std::sync::Arc;

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
    /// Its partition. The default is `aws`.
    pub partition: Box<str>,
    /// A friendly name.
    pub alias: Option<Box<str>>,
    /// Whether the root user may be a principal (E-50).
    pub root_user_enabled: bool,
    /// Whether anonymous callers may be allowed anything on this account's resources (E-51).
    pub anonymous_allowed: bool,
    /// Whether the account is outside of the store.
    pub external: bool,
    /// Whether an external account's own side counts as Allow.
    pub trust_external_identity: bool,
    /// The canonical user id, for `CanonicalUser` principals (P-1).
    pub canonical_user_id: Option<Box<str>>,
    /// Where it is declared.
    pub at: Location,
}

/// Tags in source order. Keys are kept as written and are unique ignoring case.
pub type Tags = Box<[(Box<str>, Box<str>)]>;

/// The fields that users, groups, roles and managed policies share.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The full ARN: `user/eng/alice` is its resource part.
    pub arn: Arn,
    /// The account in the ARN.
    pub account: AccountId,
    /// The unique id that the store records: `AIDA…` or `AROA…`.
    pub unique_id: Option<Box<str>>,
    /// Where it is declared.
    pub at: Location,
}

impl Identity {
    /// Returns the friendly name, which is the text after the last `/` of the ARN.
    pub fn name(&self) -> &str {
        let resource = self.arn.resource();
        resource.rsplit_once('/').map_or(resource, |(_, name)| name)
    }
}

/// A reference of a user, group or role to another entity of the store. Large stores have several of them for each user,
/// so its place is kept as numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// A policy's ARN or a group's name. References to one entity share it.
    pub to: Arc<str>,
    /// The line of the reference in the file of its owner, from 1.
    pub line: u32,
    /// The column in Unicode scalar values, from 1.
    pub column: u32,
    /// Its position in the list that holds it, from 0.
    pub index: u32,
}

/// The member of a user, group or role that holds references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum References {
    /// `GroupList`: names of groups.
    Groups,
    /// `AttachedManagedPolicies`: ARNs of policies.
    Attached,
    /// `PermissionsBoundary`: the ARN of one policy.
    Boundary,
}

impl Reference {
    /// Returns the location of a reference that is in this member of `owner`.
    pub fn location(&self, member: References, owner: &Identity) -> Location {
        let Identity { at, .. } = owner;
        let (above, index) = (&at.pointer, self.index);
        Location {
            file: Arc::clone(&at.file),
            line: self.line,
            column: self.column,
            pointer: match member {
                References::Groups => format!("{above}/GroupList/{index}"),
                References::Attached => {
                    format!("{above}/AttachedManagedPolicies/{index}/PolicyArn")
                }
                References::Boundary => {
                    format!("{above}/PermissionsBoundary/PermissionsBoundaryArn")
                }
            }
            .into(),
        }
    }
}

/// A policy embedded in its entity.
#[derive(Clone, Debug, PartialEq)]
pub struct InlinePolicy {
    /// Its name, unique in its entity.
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
    /// The inline policies: `UserPolicyList`.
    pub inline: Box<[InlinePolicy]>,
    /// The ARN of the managed policy that bounds it.
    pub permissions_boundary: Option<Box<Reference>>,
    /// Its tags.
    pub tags: Tags,
    /// Whether it is disabled. Disabled entities are unknown principals (E-3).
    pub disabled: bool,
}

/// A group. It only has identity policies for its users (E-9).
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Name, ARN, …
    pub identity: Identity,
    /// ARNs of managed policies.
    pub attached: Box<[Reference]>,
    /// The inline policies: `GroupPolicyList`.
    pub inline: Box<[InlinePolicy]>,
}

/// A role.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    /// Name, ARN, …
    pub identity: Identity,
    /// The trust policy: `AssumeRolePolicyDocument`.
    pub trust: PolicyDocument,
    /// ARNs of managed policies.
    pub attached: Box<[Reference]>,
    /// The inline policies: `RolePolicyList`.
    pub inline: Box<[InlinePolicy]>,
    /// The ARN of the managed policy that bounds it.
    pub permissions_boundary: Option<Box<Reference>>,
    /// Its tags.
    pub tags: Tags,
    /// Whether it is disabled. Disabled entities are unknown principals (E-3).
    pub disabled: bool,
    /// Whether it is a service-linked role, which is exempt from SCPs and RCPs (E-27).
    pub service_linked: bool,
    /// The longest session, in seconds. The default is 3,600 (T-31).
    pub max_session_duration: u32,
}

/// A managed policy with its versions (G-36).
#[derive(Clone, Debug, PartialEq)]
pub struct ManagedPolicy {
    /// Name, ARN, …. The account `aws` owns the AWS-managed policies.
    pub identity: Identity,
    /// The versions, at least one.
    pub versions: Box<[PolicyVersion]>,
    /// INVARIANT: the index in `versions` of the only default; the loader holds it.
    pub default_version: usize,
    /// Its tags, for requests whose resource is the policy.
    pub tags: Tags,
}

impl ManagedPolicy {
    /// Returns the version that is evaluated (G-36).
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

/// A file of `resource-policies/`: the policy and the tags of the resources that its scopes cover (E-10).
#[derive(Clone, Debug, PartialEq)]
pub struct ResourcePolicy {
    /// The account that owns the resources.
    pub account: AccountId,
    /// The file without `.json`, as decisions name it: `resource-policies/orders`.
    pub name: Box<str>,
    /// The scopes. They have no variables and match by M-12 NARROW.
    pub scopes: Box<[ResourcePattern]>,
    /// Its policy. `None` if the file only gives tags.
    pub document: Option<PolicyDocument>,
    /// The tags of the covered resources.
    pub tags: Tags,
    /// Whether identity policies alone are not enough (E-45).
    pub required: bool,
    /// Where it is declared.
    pub at: Location,
}
