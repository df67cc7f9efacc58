//! The decision in plain data, for text and JSON output. This process or a server may have made it.

use std::fmt;

use super::Question;
use crate::engine::decision::{Decision, Reason, StatementName, StatementRef};
use crate::language::finding::Escaped;

/// A decision in plain data: nothing of the store is held by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the decision is an allow.
    pub is_allowed: bool,
    /// The reason; `None` if a server sent one that this version does not know.
    pub reason: Option<Reason>,
    /// The statements that settled the decision.
    pub determining: Vec<StatementName>,
    /// The revision of the store that decided.
    pub revision: String,
    /// The question's own id.
    pub request_id: String,
    /// The id of the record in the server's decision log; empty if there is none.
    pub decision_id: String,
}

impl Answer {
    /// Returns the answer to `question`.
    pub(super) fn of(decision: &Decision, revision: &str, question: &Question<'_>) -> Self {
        Self {
            is_allowed: decision.is_allowed(),
            reason: Some(decision.reason()),
            determining: names(decision.determining()),
            revision: revision.to_owned(),
            request_id: question.request_id.to_owned(),
            decision_id: String::new(),
        }
    }
}

pub(super) fn names(statements: &[StatementRef]) -> Vec<StatementName> {
    statements.iter().map(StatementName::from).collect()
}

impl fmt::Display for Answer {
    /// Writes the text output, on several lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decision = if self.is_allowed { "allow" } else { "deny" };
        let label = label(self.reason);
        writeln!(f, "{decision}: {} ({label})", in_words(self.reason))?;
        for statement in &self.determining {
            write!(f, "  {statement}")?;
            if !statement.file.is_empty() {
                write!(f, " in {}", Escaped(&statement.file))?;
            }
            writeln!(f)?;
        }
        write!(f, "  revision {}", self.revision)?;
        if !self.decision_id.is_empty() {
            write!(f, "\n  record {}", Escaped(&self.decision_id))?;
        }
        Ok(())
    }
}

/// Returns the label that the rules and tests use for a reason.
pub(super) fn label(reason: Option<Reason>) -> &'static str {
    reason.map_or("UNSPECIFIED", Reason::label)
}

/// Returns the meaning of a reason in words.
pub fn in_words(reason: Option<Reason>) -> &'static str {
    use Reason as R;
    let Some(reason) = reason else {
        return "without a reason";
    };
    match reason {
        R::AllowIdentity => "an identity policy allows",
        R::AllowResourceDirect => "a resource policy allows the principal itself",
        R::AllowResourceEntity => "a resource policy allows the session's role or user",
        R::AllowCrossAccount => "both accounts allow",
        R::AllowRoot => "the root user is allowed",
        R::AllowService => "a resource policy allows the service",
        R::AllowAnonymous => "a resource policy allows everyone",
        R::AllowFederated => "the trust policy allows the identity provider",
        R::ExplicitDenyIdentity => "a Deny statement of an identity policy applies",
        R::ExplicitDenyResource => "a Deny statement of a resource or trust policy applies",
        R::ExplicitDenyPermissionsBoundary => {
            "a Deny statement of the permissions boundary applies"
        }
        R::ExplicitDenySession => "a Deny statement of a session policy applies",
        R::ExplicitDenyServiceControl => "a Deny statement of a service control policy applies",
        R::ExplicitDenyResourceControl => "a Deny statement of a resource control policy applies",
        R::ImplicitDenyIdentity => "no identity policy allows",
        R::ImplicitDenyResource => "no resource policy allows, and one is needed",
        R::ImplicitDenyPermissionsBoundary => "the permissions boundary does not allow",
        R::ImplicitDenySession => "no session policy allows",
        R::ImplicitDenyServiceControl => "the service control policies of some level do not allow",
        R::ImplicitDenyResourceControl => {
            "the resource control policies of some level do not allow"
        }
        R::ImplicitDenyUnknownPrincipal => {
            "the store does not have the principal, or the principal is disabled"
        }
        R::ImplicitDenySessionExpired => "the session has expired",
        R::ImplicitDenyInvalidIdentityToken => {
            "the identity token could not be verified, or it is for other roles"
        }
    }
}
