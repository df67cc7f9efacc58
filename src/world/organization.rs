//! An organization: a tree of units and accounts with the control policies attached to each node.

use crate::language::document::PolicyDocument;
use crate::language::finding::Location;
use crate::name::AccountId;

/// `organization.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Organization {
    /// `o-…`.
    pub id: String,
    /// The management account, which is not subject to SCPs or RCPs (E-20, E-25).
    pub management_account: AccountId,
    /// The root of the tree.
    pub root: OrganizationalUnit,
    /// Whether SCPs are enabled, so that the root has its list of them.
    pub service_control_enabled: bool,
    /// Whether RCPs are enabled.
    pub resource_control_enabled: bool,
}

/// The root or an organizational unit.
#[derive(Clone, Debug, PartialEq)]
pub struct OrganizationalUnit {
    /// `r-…` or `ou-…`.
    pub id: String,
    /// A friendly name.
    pub name: Option<String>,
    /// The control policies attached to this node.
    pub attached: ControlAttachments,
    /// The units directly below.
    pub units: Vec<Self>,
    /// Accounts directly below.
    pub accounts: Vec<MemberAccount>,
    /// Where it is declared.
    pub at: Location,
}

/// An account's place in the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberAccount {
    /// The account.
    pub id: AccountId,
    /// The control policies attached to this account.
    pub attached: ControlAttachments,
    /// Where it is declared.
    pub at: Location,
}

/// The control policies attached to one node: names of files, or of the built-in policies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ControlAttachments {
    /// Names of SCPs.
    pub service_control: Vec<ControlReference>,
    /// Names of RCPs, without the built-in one that is always in force (E-26).
    pub resource_control: Vec<ControlReference>,
}

/// A reference of a node to a control policy.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlReference {
    /// The name of a file, or of a built-in policy.
    pub to: Box<str>,
    /// The location of the reference.
    pub at: Location,
}

/// An SCP or an RCP.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlPolicy {
    /// The file's stem.
    pub name: String,
    /// The document.
    pub document: PolicyDocument,
    /// Where it is declared.
    pub at: Location,
}

/// The SCP that allows everything, attached by this name.
pub const FULL_AWS_ACCESS: &str = "FullAWSAccess";

/// The RCP that allows everything, in force on every node.
pub const RCP_FULL_AWS_ACCESS: &str = "RCPFullAWSAccess";
