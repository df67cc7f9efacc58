//! What explanations tell apart, each with its word. The words are those of the protocol, and people read them too.

use crate::engine::layer::Verdict;
use crate::engine::principal::Strength;
use crate::language::document::Effect;

/// By which way a policy counts (S-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is called as the protocol documents it")]
pub enum SourceType {
    UserInline,
    UserManaged,
    GroupInline,
    GroupManaged,
    RoleInline,
    RoleManaged,
    Boundary,
    SessionInline,
    SessionManaged,
    Resource,
    Trust,
    ServiceControl,
    ResourceControl,
}

impl SourceType {
    /// Every way.
    pub const ALL: &[Self] = &[
        Self::UserInline,
        Self::UserManaged,
        Self::GroupInline,
        Self::GroupManaged,
        Self::RoleInline,
        Self::RoleManaged,
        Self::Boundary,
        Self::SessionInline,
        Self::SessionManaged,
        Self::Resource,
        Self::Trust,
        Self::ServiceControl,
        Self::ResourceControl,
    ];

    /// In a word: `group-managed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UserInline => "user-inline",
            Self::UserManaged => "user-managed",
            Self::GroupInline => "group-inline",
            Self::GroupManaged => "group-managed",
            Self::RoleInline => "role-inline",
            Self::RoleManaged => "role-managed",
            Self::Boundary => "boundary",
            Self::SessionInline => "session-inline",
            Self::SessionManaged => "session-managed",
            Self::Resource => "resource",
            Self::Trust => "trust",
            Self::ServiceControl => "scp",
            Self::ResourceControl => "rcp",
        }
    }
}

/// An element of a statement that says whom, what or on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is called as policies spell it")]
pub enum Element {
    Principal,
    NotPrincipal,
    Action,
    NotAction,
    Resource,
    NotResource,
}

impl Element {
    /// Every element.
    pub const ALL: &[Self] = &[
        Self::Principal,
        Self::NotPrincipal,
        Self::Action,
        Self::NotAction,
        Self::Resource,
        Self::NotResource,
    ];

    /// As policies spell it: `NotAction`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Principal => "Principal",
            Self::NotPrincipal => "NotPrincipal",
            Self::Action => "Action",
            Self::NotAction => "NotAction",
            Self::Resource => "Resource",
            Self::NotResource => "NotResource",
        }
    }
}

/// Why a condition is indeterminate (C-9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Two or more values under an operator for one (C-10).
    SeveralValues,
    /// A value that cannot be read as the operator's type.
    Unreadable,
    /// A lone empty string under `Null` (C-60).
    EmptyString,
    /// Nobody said when the session was issued (T-43).
    UnknownIssueTime,
    /// The session may have replaced the role's tag (T-8).
    UnknownTag,
    /// A variable that it is compared with has no value, and the operator is negated (V-9).
    VariableWithoutValue,
    /// The key is missing under `ForAnyValue:…IfExists` (C-74).
    MissingUnderIfExists,
}

impl Cause {
    /// Every cause.
    pub const ALL: &[Self] = &[
        Self::SeveralValues,
        Self::Unreadable,
        Self::EmptyString,
        Self::UnknownIssueTime,
        Self::UnknownTag,
        Self::VariableWithoutValue,
        Self::MissingUnderIfExists,
    ];

    /// In a word: `several-values`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SeveralValues => "several-values",
            Self::Unreadable => "unreadable",
            Self::EmptyString => "empty-string",
            Self::UnknownIssueTime => "unknown-issue-time",
            Self::UnknownTag => "unknown-tag",
            Self::VariableWithoutValue => "variable-without-value",
            Self::MissingUnderIfExists => "missing-under-if-exists",
        }
    }
}

impl Verdict {
    /// What AWS calls it (S-5).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotInPlay => "notApplicable",
            Self::ImplicitDeny => "implicitDeny",
            Self::Allow(_) => "allowed",
            Self::ExplicitDeny => "explicitDeny",
        }
    }
}

impl Strength {
    /// In a word: `direct`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Entity => "entity",
            Self::Direct => "direct",
        }
    }
}

impl Effect {
    /// As policies spell it: `Allow`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        }
    }
}
