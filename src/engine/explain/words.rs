//! The words for the distinctions that explanations make. They are those of the protocol, and people read them too.

use crate::engine::layer::Verdict;
use crate::engine::principal::Strength;
use crate::language::document::Effect;

/// How a policy came to apply (S-4).
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
    /// Every source type.
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

    /// Returns the name, such as `group-managed`.
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

/// An element of a statement that names principals, actions or resources.
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

    /// Returns the name as policies spell it, such as `NotAction`.
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

/// The reason why a condition is indeterminate (C-9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The request has two or more values and the operator takes one (C-10).
    SeveralValues,
    /// A value cannot be read as the operator's type.
    Unreadable,
    /// The value under `Null` is a single empty string (C-60).
    EmptyString,
    /// The caller did not say when the session was issued (T-43).
    UnknownIssueTime,
    /// The session may have replaced the role's tag (T-8).
    UnknownTag,
    /// The operator is negated and a variable in the policy's value has no value (V-9).
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

    /// Returns the name, such as `several-values`.
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
    /// Returns the name that AWS uses (S-5).
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
    /// Returns the name, such as `direct`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Entity => "entity",
            Self::Direct => "direct",
        }
    }
}

impl Effect {
    /// Returns the name as policies spell it, such as `Allow`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        }
    }
}
