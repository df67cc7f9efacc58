//! The answer to a question: a decision, its reason and the statements that determined it.

use std::fmt;
use std::sync::{Arc, Weak};

use smallvec::SmallVec;

use crate::compile::snapshot::Policy;
use crate::language::document::PolicyType;
use crate::language::finding::Escaped;

/// The reason for a decision: the values of `Reason` in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "documented in the protocol, value by value")]
#[repr(u8)]
pub enum Reason {
    AllowIdentity = 1,
    AllowResourceDirect = 2,
    AllowResourceEntity = 3,
    AllowCrossAccount = 4,
    AllowRoot = 5,
    AllowService = 6,
    AllowAnonymous = 7,
    AllowFederated = 8,
    ExplicitDenyIdentity = 10,
    ExplicitDenyResource = 11,
    ExplicitDenyPermissionsBoundary = 12,
    ExplicitDenySession = 13,
    ExplicitDenyServiceControl = 14,
    ExplicitDenyResourceControl = 15,
    ImplicitDenyIdentity = 20,
    ImplicitDenyResource = 21,
    ImplicitDenyPermissionsBoundary = 22,
    ImplicitDenySession = 23,
    ImplicitDenyServiceControl = 24,
    ImplicitDenyResourceControl = 25,
    ImplicitDenyUnknownPrincipal = 26,
    ImplicitDenySessionExpired = 27,
    ImplicitDenyInvalidIdentityToken = 29,
}

impl Reason {
    /// Every reason with its label, which is the wire value without `REASON_`.
    pub const ALL: &[(Self, &str)] = &[
        (Self::AllowIdentity, "ALLOW_IDENTITY"),
        (Self::AllowResourceDirect, "ALLOW_RESOURCE_DIRECT"),
        (Self::AllowResourceEntity, "ALLOW_RESOURCE_ENTITY"),
        (Self::AllowCrossAccount, "ALLOW_CROSS_ACCOUNT"),
        (Self::AllowRoot, "ALLOW_ROOT"),
        (Self::AllowService, "ALLOW_SERVICE"),
        (Self::AllowAnonymous, "ALLOW_ANONYMOUS"),
        (Self::AllowFederated, "ALLOW_FEDERATED"),
        (Self::ExplicitDenyIdentity, "EXPLICIT_DENY_IDENTITY"),
        (Self::ExplicitDenyResource, "EXPLICIT_DENY_RESOURCE"),
        (
            Self::ExplicitDenyPermissionsBoundary,
            "EXPLICIT_DENY_PERMISSIONS_BOUNDARY",
        ),
        (Self::ExplicitDenySession, "EXPLICIT_DENY_SESSION"),
        (
            Self::ExplicitDenyServiceControl,
            "EXPLICIT_DENY_SERVICE_CONTROL",
        ),
        (
            Self::ExplicitDenyResourceControl,
            "EXPLICIT_DENY_RESOURCE_CONTROL",
        ),
        (Self::ImplicitDenyIdentity, "IMPLICIT_DENY_IDENTITY"),
        (Self::ImplicitDenyResource, "IMPLICIT_DENY_RESOURCE"),
        (
            Self::ImplicitDenyPermissionsBoundary,
            "IMPLICIT_DENY_PERMISSIONS_BOUNDARY",
        ),
        (Self::ImplicitDenySession, "IMPLICIT_DENY_SESSION"),
        (
            Self::ImplicitDenyServiceControl,
            "IMPLICIT_DENY_SERVICE_CONTROL",
        ),
        (
            Self::ImplicitDenyResourceControl,
            "IMPLICIT_DENY_RESOURCE_CONTROL",
        ),
        (
            Self::ImplicitDenyUnknownPrincipal,
            "IMPLICIT_DENY_UNKNOWN_PRINCIPAL",
        ),
        (
            Self::ImplicitDenySessionExpired,
            "IMPLICIT_DENY_SESSION_EXPIRED",
        ),
        (
            Self::ImplicitDenyInvalidIdentityToken,
            "IMPLICIT_DENY_INVALID_IDENTITY_TOKEN",
        ),
    ];

    /// Returns the label that rules, tests and metrics use, such as `ALLOW_IDENTITY`.
    pub fn label(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(reason, _)| *reason == self)
            .map_or("", |(_, label)| label)
    }

    /// Returns whether the question is denied because no statement of the identity's or the resource's policies allows it. A
    /// misspelled action is denied like that.
    pub fn is_for_want_of_an_allow(self) -> bool {
        matches!(
            self,
            Self::ImplicitDenyIdentity | Self::ImplicitDenyResource
        )
    }

    /// Returns whether this is a reason to allow.
    pub fn is_allow(self) -> bool {
        matches!(
            self,
            Self::AllowIdentity
                | Self::AllowResourceDirect
                | Self::AllowResourceEntity
                | Self::AllowCrossAccount
                | Self::AllowRoot
                | Self::AllowService
                | Self::AllowAnonymous
                | Self::AllowFederated
        )
    }
}

impl Reason {
    /// Returns what AWS calls a decision with this reason in an EvaluationResult (S-2).
    pub fn eval_decision(self) -> &'static str {
        match self {
            _ if self.is_allow() => "allowed",
            _ if self.is_explicit_deny() => "explicitDeny",
            _ => "implicitDeny",
        }
    }

    /// Returns the reason that has this number in the protocol.
    pub fn from_number(number: i32) -> Option<Self> {
        let mut known = Self::ALL.iter().map(|(reason, _)| *reason);
        known.find(|reason| i32::from(*reason as u8) == number)
    }

    /// Returns whether a Deny statement determined the decision.
    pub fn is_explicit_deny(self) -> bool {
        matches!(
            self,
            Self::ExplicitDenyIdentity
                | Self::ExplicitDenyResource
                | Self::ExplicitDenyPermissionsBoundary
                | Self::ExplicitDenySession
                | Self::ExplicitDenyServiceControl
                | Self::ExplicitDenyResourceControl
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// The answer to one [`Request`](super::request::Request).
#[derive(Clone, Debug)]
pub struct Decision {
    pub(super) reason: Reason,
    pub(super) determining: SmallVec<[StatementRef; 2]>,
}

impl Decision {
    /// Returns a decision that no statement determined.
    pub(super) fn without_statements(reason: Reason) -> Self {
        Self {
            reason,
            determining: SmallVec::new(),
        }
    }

    /// Returns the reason, which also tells an allow from a deny.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns whether the decision is an allow.
    pub fn is_allowed(&self) -> bool {
        self.reason.is_allow()
    }

    /// Returns the statements that determined the decision. An implicit deny has none.
    pub fn determining(&self) -> &[StatementRef] {
        &self.determining
    }
}

/// One statement of one policy.
#[derive(Clone, Debug)]
pub struct StatementRef {
    /// The policy, which has the name that people see, the type and the file.
    pub policy: Arc<Policy>,
    /// The statement's index in the policy, from 0.
    pub index: usize,
}

impl StatementRef {
    /// Returns the statement's Sid, or an empty string if it has none.
    pub fn sid(&self) -> &str {
        self.policy
            .statements
            .get(self.index)
            .and_then(|statement| statement.sid.as_deref())
            .unwrap_or("")
    }

    /// Returns a mark of the statement, which does not keep its policy.
    pub fn mark(&self) -> StatementMark {
        StatementMark {
            policy: Arc::downgrade(&self.policy),
            index: self.index,
        }
    }
}

/// Tells one statement from all others. Its policy may be gone, but no other policy has its address as long as the mark
/// exists.
#[derive(Clone, Debug, Default)]
pub struct StatementMark {
    policy: Weak<Policy>,
    index: usize,
}

impl StatementMark {
    /// Returns whether it is the mark of this statement.
    pub fn is(&self, statement: &StatementRef) -> bool {
        self.index == statement.index && self.policy.as_ptr() == Arc::as_ptr(&statement.policy)
    }
}

/// The name of one statement of one policy in plain data: `StatementRef` in the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementName {
    /// The policy: its ARN, or `<entity ARN>/inline/<name>`.
    pub policy: Arc<str>,
    /// The statement's Sid, or an empty string if it has none.
    pub sid: String,
    /// The statement's index in the policy, from 0.
    pub index: usize,
    /// The type of the policy. `None` if a server names a type that this version does not know.
    pub policy_type: Option<PolicyType>,
    /// The file, relative to the store. Empty for a policy that is in no file.
    pub file: Arc<str>,
}

impl From<&StatementRef> for StatementName {
    fn from(statement: &StatementRef) -> Self {
        Self {
            policy: Arc::clone(&statement.policy.name),
            sid: statement.sid().to_owned(),
            index: statement.index,
            policy_type: Some(statement.policy.policy_type),
            file: Arc::clone(&statement.policy.file),
        }
    }
}

impl fmt::Display for StatementName {
    /// Writes the name as in `statement 0 `Sid` of arn:…`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statement {}", self.index)?;
        if !self.sid.is_empty() {
            write!(f, " `{}`", Escaped(&self.sid))?;
        }
        write!(f, " of {}", Escaped(&self.policy))
    }
}
