//! A policy document as its author wrote it: parsed, checked, nothing resolved.

use std::sync::Arc;

use super::condition::Condition;
use super::pattern::{ActionPattern, ResourcePattern};
use super::size::allocated;
use crate::name::{AccountId, Arn};

/// What kind of policy a document is. It decides which elements may stand in it (G-29) and how it counts (E-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyType {
    /// Of a user, group or role; managed or inline.
    Identity,
    /// Attached to resources.
    Resource,
    /// The most that a user or role can have.
    PermissionsBoundary,
    /// Passed for one session.
    Session,
    /// SCP.
    ServiceControl,
    /// RCP.
    ResourceControl,
    /// Who may assume a role.
    Trust,
}

/// A whole document.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyDocument {
    /// The language's version; absent means the old one (G-5).
    pub version: Version,
    /// Echoed, never evaluated (G-7).
    pub id: Option<Box<str>>,
    /// In source order; at least one. Shared with whatever is compiled from it.
    pub statements: Arc<[Statement]>,
    /// The RFC 6901 pointer to its `Statement` in the file that holds it.
    pub pointer: Box<str>,
    /// Whether `Statement` is a list (G-9).
    pub is_list: bool,
}

/// The version of the language (G-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Without policy variables (G-6).
    V2008,
    /// With policy variables.
    V2012,
}

/// One statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Its name, if not empty.
    pub sid: Option<Box<str>>,
    /// Allow or Deny.
    pub effect: Effect,
    /// `Principal` or `NotPrincipal`; none where the policy type has none (P-11).
    pub principal: Option<Box<PrincipalElement>>,
    /// `Action` or `NotAction` (M-6).
    pub actions: Listed<ActionPattern>,
    /// `Resource` or `NotResource` (M-20); none: everything the policy is attached to (E-12).
    pub resources: Option<Listed<ResourcePattern>>,
    /// All must hold (C-1). Shared with the indexes.
    pub conditions: Arc<[Condition]>,
    /// Where it stands in its file; one of an embedded document, where the string begins that holds the document.
    pub extent: Extent,
}

impl Statement {
    /// About how much memory it takes, what it points to included.
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

/// Where something stands in its file: from its first to its last character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The first character.
    pub start: Position,
    /// The last one.
    pub end: Position,
}

/// A place in a text: both count from 1, columns in Unicode scalar values; 0 where there is no text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are what they are called")]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

/// What a statement does where it applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the words of the language")]
pub enum Effect {
    Allow,
    Deny,
}

/// An element and its Not-form.
#[derive(Clone, Debug, PartialEq)]
pub enum Listed<T> {
    /// `Action`, `Resource`: at least one must match.
    Any(Box<[T]>),
    /// `NotAction`, `NotResource`: none may match.
    Not(Box<[T]>),
}

impl<T> Listed<T> {
    /// The entries.
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
    /// The entries of all its kinds.
    pub entries: Vec<PrincipalEntry>,
}

/// One entry of a `Principal` (G-23 to G-26).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalEntry {
    /// `"*"`.
    Everyone,
    /// `{"AWS": "*"}`.
    EveryAws,
    /// An account, by id or by the ARN of its root; the partition is known only from an ARN.
    Account {
        /// The account.
        account: AccountId,
        /// The ARN's partition.
        partition: Option<Box<str>>,
    },
    /// The ARN of a user, role, role session or federated user.
    Entity(Arn),
    /// Any other name: of an account that the store declares, or the unique id of a user or role (G-24).
    Id(Box<str>),
    /// `{"Service": …}`.
    Service(Box<str>),
    /// `{"Federated": …}`: an issuer's host and path, or a provider's ARN.
    Federated(Box<str>),
    /// `{"CanonicalUser": …}`.
    CanonicalUser(Box<str>),
}
