//! A policy document as its author wrote it: parsed and checked, but with nothing resolved.

use std::sync::Arc;

use super::condition::Condition;
use super::pattern::{ActionPattern, ResourcePattern};
use super::size::allocated;
use crate::name::{AccountId, Arn};

/// The type of a policy document. It decides which elements the document may have (G-29) and how it counts (E-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyType {
    /// A policy of a user, group or role, managed or inline.
    Identity,
    /// A policy attached to resources.
    Resource,
    /// A policy that limits what a user or role can be allowed.
    PermissionsBoundary,
    /// A policy passed for one session.
    Session,
    /// An SCP.
    ServiceControl,
    /// An RCP.
    ResourceControl,
    /// A policy that says who may assume a role.
    Trust,
}

/// A whole document.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyDocument {
    /// The language's version. A document without it has the old version (G-5).
    pub version: Version,
    /// The document's `Id`. It is echoed, but never evaluated (G-7).
    pub id: Option<Box<str>>,
    /// At least one statement, in source order. Compiled policies share them.
    pub statements: Arc<[Statement]>,
    /// The RFC 6901 pointer to its `Statement` in the file that holds it.
    pub pointer: Box<str>,
    /// Whether `Statement` is a list (G-9).
    pub is_list: bool,
}

/// The version of the language (G-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The version without policy variables (G-6).
    V2008,
    /// The version with policy variables.
    V2012,
}

/// One statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Its name, unless that is empty.
    pub sid: Option<Box<str>>,
    /// Allow or Deny.
    pub effect: Effect,
    /// `Principal` or `NotPrincipal`. `None` if the policy type has no principals (P-11).
    pub principal: Option<Box<PrincipalElement>>,
    /// `Action` or `NotAction` (M-6).
    pub actions: Listed<ActionPattern>,
    /// `Resource` or `NotResource` (M-20). `None` means everything the policy is attached to (E-12).
    pub resources: Option<Listed<ResourcePattern>>,
    /// The conditions, all of which must hold (C-1). The indexes share them.
    pub conditions: Arc<[Condition]>,
    /// The place of the statement in its file. For a document embedded in a string, this is the place of the string.
    pub extent: Extent,
}

impl Statement {
    /// Returns about how much memory it takes, including what it points to, in bytes.
    pub fn n_bytes(&self) -> usize {
        let actions = self.actions.entries().iter().map(ActionPattern::n_bytes);
        let resources = self.resources.iter().flat_map(|listed| listed.entries());
        let conditions = self.conditions.iter().map(Condition::n_bytes);
        let principals = self.principal.iter().map(|principal| {
            let entries = principal.entries.len() * (size_of::<PrincipalEntry>() + 64);
            size_of::<PrincipalElement>() + entries
        });
        size_of::<Self>()
            + self.sid.as_ref().map_or(0, |sid| allocated(sid.len()))
            + actions.sum::<usize>()
            + resources.map(ResourcePattern::n_bytes).sum::<usize>()
            + conditions.sum::<usize>()
            + principals.sum::<usize>()
    }
}

/// A range in a file, from its first to its last character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The first character.
    pub start: Position,
    /// The last one.
    pub end: Position,
}

/// A position in a text. Lines and columns count from 1, and columns count Unicode scalar values. Both are 0 if there
/// is no text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are what they are called")]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

/// The effect of a statement that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the words of the language")]
pub enum Effect {
    Allow,
    Deny,
}

/// An element and its Not-form.
#[derive(Clone, Debug, PartialEq)]
pub enum Listed<T> {
    /// `Action` or `Resource`: at least one entry must match.
    Any(Box<[T]>),
    /// `NotAction` or `NotResource`: no entry may match.
    Not(Box<[T]>),
}

impl<T> Listed<T> {
    /// Returns the entries.
    pub fn entries(&self) -> &[T] {
        match self {
            Self::Any(entries) | Self::Not(entries) => entries,
        }
    }
}

/// `Principal` or `NotPrincipal`.
#[derive(Clone, Debug, PartialEq)]
pub struct PrincipalElement {
    /// Whether it is `NotPrincipal`.
    pub negated: bool,
    /// Its entries of all kinds.
    pub entries: Vec<PrincipalEntry>,
}

/// One entry of a `Principal` (G-23 to G-26).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalEntry {
    /// `"*"`.
    Everyone,
    /// `{"AWS": "*"}`.
    EveryAws,
    /// An account, by id or by the ARN of its root. Only an ARN gives the partition.
    Account {
        /// The account.
        account: AccountId,
        /// The ARN's partition.
        partition: Option<Box<str>>,
    },
    /// The ARN of a user, role, role session or federated user.
    Entity(Arn),
    /// Any other name: that of an account that the store declares, or the unique id of a user or role (G-24).
    Id(Box<str>),
    /// `{"Service": …}`.
    Service(Box<str>),
    /// `{"Federated": …}`: an issuer's host and path, or a provider's ARN.
    Federated(Box<str>),
    /// `{"CanonicalUser": …}`.
    CanonicalUser(Box<str>),
}
