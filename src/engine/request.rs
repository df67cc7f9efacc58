//! One question, fully parsed.

use std::fmt;

use jiff::Timestamp;

use crate::context::{Context, ContextValue};
use crate::language::document::PolicyDocument;
use crate::name::{AccountId, Action, Arn, Principal, Resource};

/// A question as its caller put it: texts, nothing checked. Each door fills one; [`Request::parse`] does the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawRequest {
    /// See [`Principal::parse`].
    pub principal: String,
    /// See [`Action::parse`].
    pub action: String,
    /// See [`Resource::parse`].
    pub resource: String,
    /// In the order given, repeated keys included.
    pub context: Vec<(String, ContextValue)>,
    /// The facts of the session, if the caller gave the field at all.
    pub session: Option<RawSession>,
    /// Empty: not given.
    pub resource_account: String,
}

/// `SessionContext` as the caller put it. Empty strings and lists mean: not given.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "the fields of `SessionContext` in the protocol"
)]
pub struct RawSession {
    pub policies: Vec<String>,
    pub policy_arns: Vec<String>,
    pub tags: Vec<(String, String)>,
    pub source_identity: String,
    pub issued_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub mfa_at: Option<Timestamp>,
    pub transitive_tag_keys: Vec<String>,
    pub claims: Vec<(String, ContextValue)>,
    pub federated_provider: String,
    pub parent: String,
}

/// One question, fully parsed.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub principal: Principal,
    /// What they want to do.
    pub action: Action,
    /// To what.
    pub resource: Resource,
    /// The owner of the resource as the caller knows it (E-6).
    pub resource_account: Option<AccountId>,
    /// What the caller knows about the question.
    pub context: Context,
    /// What the caller knows about the session.
    pub session: Option<Session>,
    /// The clock, read once (K-4).
    pub at: Timestamp,
}

/// The facts of a session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Inline session policies.
    pub policies: Vec<PolicyDocument>,
    /// Managed policies as session policies.
    pub policy_arns: Vec<Arn>,
    /// Session tags, keys unique ignoring case.
    pub tags: Vec<(String, String)>,
}

impl Request {
    /// Checks everything that needs no store.
    pub fn parse(raw: RawRequest, at: Timestamp) -> Result<Self, RequestError> {
        let _ = (raw, at);
        Err(RequestError::invalid("principal", "…"))
    }
}

/// Why a question is refused: `INVALID_ARGUMENT` on the wire, with the field's path as the protocol names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    /// What kind of fault.
    pub kind: RequestErrorKind,
    /// `principal`, `context["app:x"]`, `session.tags["team"]`, …
    pub field: String,
    /// In words.
    pub message: String,
}

/// The kinds of fault of a question; `ErrorInfo.reason` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestErrorKind {
    /// `INVALID_REQUEST`.
    Invalid,
    /// `RESERVED_CONTEXT_KEY` (K-1).
    ReservedContextKey,
    /// `TOO_LARGE`.
    TooLarge,
}

impl RequestError {
    /// A field that is malformed.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: RequestErrorKind::Invalid,
            field: field.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl std::error::Error for RequestError {}
