//! A question and its answer, for those outside of this module: the wire's types stay inside.

use std::fmt;
use std::panic::{AssertUnwindSafe, UnwindSafe, catch_unwind};

use jiff::Timestamp;
use prost_types::value::Kind;
use tonic::Status;

use super::explain::{Explained, explained};
use super::{convert, hints, json, pb};
use crate::compile::snapshot::Snapshot;
use crate::config::Limits;
use crate::engine;
use crate::engine::decision::Decision;
use crate::engine::explain::Redacted;
use crate::engine::request::{Request, RequestError};
use crate::engine::session_policy::SessionPolicies;
use crate::engine::work::wanted;
use crate::language::finding::Escaped;

/// A question as a client would send it. Nothing is checked but its form.
#[derive(Clone, Debug, PartialEq)]
pub struct Question(pub(super) pb::AuthorizeRequest);

impl Question {
    /// Who wants to do what to what.
    pub fn new(principal: String, action: String, resource: String) -> Self {
        Self(pb::AuthorizeRequest {
            principal,
            action,
            resource,
            ..Default::default()
        })
    }

    /// Reads the proto3 JSON of an `AuthorizeRequest`.
    pub fn from_json(text: &str) -> Result<Self, NoAnswer> {
        json::request(text)
            .map(Self)
            .map_err(|unreadable| NoAnswer {
                request_id: unreadable.request_id,
                status: Box::new(convert::refused(&unreadable.error)),
            })
    }

    /// Adds a context entry that is a string.
    pub fn context_text(&mut self, key: &str, text: &str) {
        self.push_context(key, Kind::StringValue(text.to_owned()).into());
    }

    /// Adds a context entry whose value is written as JSON.
    pub fn context_json(&mut self, key: &str, value: &str) -> Result<(), RequestError> {
        let value = json::value(value, &convert::member("context", key))?;
        self.push_context(key, value);
        Ok(())
    }

    fn push_context(&mut self, key: &str, value: prost_types::Value) {
        self.0.context.push(pb::authorize_request::ContextEntry {
            key: key.to_owned(),
            value: Some(value),
        });
    }

    /// Sets the facts of the session from the proto3 JSON of a `SessionContext`.
    pub fn session_json(&mut self, text: &str) -> Result<(), RequestError> {
        self.0.session = Some(json::session(text)?);
        Ok(())
    }

    /// Sets the account that owns the resource.
    pub fn resource_account(&mut self, account: String) {
        self.0.resource_account = account;
    }

    /// Sets the id that the answer gives back.
    pub fn request_id(&mut self, request_id: String) {
        self.0.request_id = request_id;
    }

    /// What in it looks like a typing error, once it was answered by `snapshot`; or as far as can be said without one.
    pub fn hints(&self, answered: Option<(&Snapshot, &Answer)>) -> Vec<String> {
        match answered {
            Some((snapshot, answer)) => hints::hints(&self.0, snapshot, answer.0.reason()),
            None => hints::about_context(&self.0),
        }
    }

    /// Decides the question here and says why, as a server would. The values of `redacted` keys are not shown.
    pub fn explain(
        self,
        snapshot: &Snapshot,
        limits: &Limits,
        redacted: &Redacted,
        now: Timestamp,
    ) -> Result<Explained, NoAnswer> {
        let request_id = self.0.request_id.clone();
        explained(snapshot, limits, redacted, self.0, now, &wanted())
            .map(Explained)
            .map_err(|status| NoAnswer {
                request_id,
                status: Box::new(status),
            })
    }

    /// Decides the question here, at the time `now`, as a server would.
    pub fn decide(
        self,
        snapshot: &Snapshot,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Answer, NoAnswer> {
        let request_id = self.0.request_id.clone();
        let session_policies = SessionPolicies::forgetting();
        answer(self.0, limits, &session_policies, now, |request| {
            Ok((engine::authorize(snapshot, request)?, snapshot))
        })
        .map(Answer)
        .map_err(|status| NoAnswer {
            request_id,
            status: Box::new(status),
        })
    }
}

/// One question, decided by `decide` against the snapshot that it gives along. A panic fails this question alone: the
/// connection and its other calls live on.
pub(super) fn answer<'s>(
    mut question: pb::AuthorizeRequest,
    limits: &Limits,
    session_policies: &SessionPolicies,
    now: Timestamp,
    decide: impl FnOnce(&Request) -> Result<(Decision, &'s Snapshot), RequestError>,
) -> Result<pb::AuthorizeResponse, Status> {
    // Nothing that a panic could leave half changed is used afterwards.
    guarded(AssertUnwindSafe(|| {
        let request_id = question.request_id.clone();
        let raw = convert::raw_request(std::mem::take(&mut question), limits)?;
        let request = Request::parse_with(raw, now, session_policies)?;
        let (decision, snapshot) = decide(&request)?;
        Ok(convert::response(snapshot, &decision, request_id))
    }))
}

/// What `decide` makes of a question, or the status that stands in its place.
pub(super) fn guarded<R>(
    decide: impl FnOnce() -> Result<R, RequestError> + UnwindSafe,
) -> Result<R, Status> {
    match catch_unwind(decide) {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(convert::refused(&error)),
        Err(_) => Err(convert::internal()), // the panic hook has logged it
    }
}

/// A decision as a client receives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer(pub(super) pb::AuthorizeResponse);

impl Answer {
    /// Whether the principal may. An unknown or unspecified decision is no allow.
    pub fn is_allowed(&self) -> bool {
        self.0.decision() == pb::Decision::Allow
    }

    /// The proto3 JSON of the `AuthorizeResponse`, on one line.
    pub fn to_json(&self) -> String {
        json::response(&self.0)
    }
}

impl fmt::Display for Answer {
    /// For people, on several lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decision = if self.is_allowed() { "allow" } else { "deny" };
        let reason = self.0.reason();
        let label = reason.as_str_name().trim_start_matches("REASON_");
        writeln!(f, "{decision}: {} ({label})", in_words(reason))?;
        for statement in &self.0.determining_statements {
            let name = match statement.sid.as_str() {
                "" => format!("statement {}", statement.index),
                sid => format!("statement {} `{}`", statement.index, Escaped(sid)),
            };
            let file = match statement.file.as_str() {
                "" => String::new(),
                file => format!(" in {}", Escaped(file)),
            };
            writeln!(f, "  {name} of {}{file}", Escaped(&statement.policy))?;
        }
        write!(f, "  revision {}", self.0.revision)
    }
}

/// What a reason means, for people.
pub(super) fn in_words(reason: pb::Reason) -> &'static str {
    use pb::Reason as R;
    match reason {
        R::Unspecified => "without a reason",
        R::AllowIdentity => "an identity policy allows",
        R::AllowResourceDirect => "a resource policy allows the principal itself",
        R::AllowResourceEntity => "a resource policy allows the session's role or user",
        R::AllowCrossAccount => "both accounts allow",
        R::AllowRoot => "the root user may",
        R::AllowService => "a resource policy allows the service",
        R::AllowAnonymous => "a resource policy allows everybody",
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
            "the store does not know the principal, or has it disabled"
        }
        R::ImplicitDenySessionExpired => "the session has expired",
        R::ImplicitDenySessionRevoked => "the session was revoked",
        R::ImplicitDenyInvalidIdentityToken => {
            "the identity token did not verify, or is for other roles"
        }
    }
}

/// Why a question has no answer: it is malformed, or whoever was asked could not say.
#[derive(Debug)]
pub struct NoAnswer {
    pub(super) request_id: String,
    pub(super) status: Box<Status>,
}

impl NoAnswer {
    /// A line that is longer than `limit` bytes, of which nothing was read.
    pub fn line_too_long(limit: usize) -> Self {
        let message = format!("the line is longer than {limit} bytes");
        Self {
            request_id: String::new(),
            status: Box::new(Status::out_of_range(message)),
        }
    }

    /// A line that is no UTF-8.
    pub fn not_utf8() -> Self {
        Self::from(RequestError::invalid("", "the line is not UTF-8"))
    }

    /// What stands in place of the answer among JSON lines.
    pub fn to_json(&self) -> String {
        json::no_answer(&self.request_id, &self.status)
    }
}

impl From<RequestError> for NoAnswer {
    fn from(error: RequestError) -> Self {
        Self {
            request_id: String::new(),
            status: Box::new(convert::refused(&error)),
        }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = json::code_name(self.status.code());
        write!(f, "{code}: {}", self.status.message())
    }
}

impl std::error::Error for NoAnswer {}
