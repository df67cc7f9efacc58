//! The error of a question that has no answer.

use std::fmt;

use super::lost::Lost;
use crate::language::json::quoted;
use crate::name::Malformed;

/// The reason why a question has no answer, with the path of the field as the protocols name it. `K` is the set of kinds
/// that one layer tells apart: the engine's [`RequestErrorKind`], or the
/// [`RefusalKind`](crate::authorizer::RefusalKind) that every protocol maps to a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault<K> {
    /// The kind of fault.
    pub kind: K,
    /// The path of the field: `principal`, `context["app:x"]`, `session.tags["team"]` and so on. It is empty if no
    /// single field is at fault.
    pub field: String,
    /// The message for the caller.
    pub message: String,
}

/// The engine's reason why a question has no answer.
pub type RequestError = Fault<RequestErrorKind>;

/// The kinds of fault in a question: `ErrorInfo.reason` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestErrorKind {
    /// The question is malformed: `INVALID_REQUEST`.
    Invalid,
    /// The caller gave a reserved context key: `RESERVED_CONTEXT_KEY` (K-1).
    ReservedContextKey,
    /// The question is too large: `TOO_LARGE`.
    TooLarge,
    /// The work budget is spent: `INTERNAL_ERROR` with the status `INTERNAL`, because the question itself is fine
    /// (E-1).
    TooMuchWork,
    /// The snapshot is corrupt in memory, so no answer can be trusted. The wire shows the same as for `TooMuchWork`.
    Lost,
    /// The caller no longer waits for the answer.
    Unwanted,
}

impl RequestError {
    /// Returns the error for a malformed field.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: RequestErrorKind::Invalid,
            field: field.into(),
            message: message.into(),
        }
    }

    /// Returns the error for a spent work budget (E-1).
    pub(super) fn too_much_work() -> Self {
        Self {
            kind: RequestErrorKind::TooMuchWork,
            field: String::new(),
            message: "the answer takes more work than a question may use".to_owned(),
        }
    }

    /// Returns the error for a snapshot that lacks a row that it refers to.
    #[cold]
    pub(super) fn lost(Lost { table, row }: Lost) -> Self {
        Self {
            kind: RequestErrorKind::Lost,
            field: String::new(),
            message: format!("the snapshot is broken: the table of {table} has no row {row}"),
        }
    }

    /// Returns the error for an answer that the caller no longer waits for.
    pub fn unwanted() -> Self {
        Self {
            kind: RequestErrorKind::Unwanted,
            field: String::new(),
            message: "the caller no longer waits for the answer".to_owned(),
        }
    }

    /// Returns the error for a context key that only iamd or the session may set (K-1).
    pub fn reserved(key: &str) -> Self {
        Self::reserved_because(
            key,
            "iamd derives this key itself; facts of the session go into `session`",
        )
    }

    /// Returns the error for a context key that this caller may not set, with the reason.
    pub(super) fn reserved_because(key: &str, message: impl Into<String>) -> Self {
        Self {
            kind: RequestErrorKind::ReservedContextKey,
            field: context_field(key),
            message: message.into(),
        }
    }
}

impl<K> fmt::Display for Fault<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

impl<K: fmt::Debug> std::error::Error for Fault<K> {}

/// Returns a function that makes an error about `field`.
pub(super) fn at_field(field: &'static str) -> impl Fn(Malformed) -> RequestError {
    move |malformed| RequestError::invalid(field, malformed.0)
}

/// Returns the path of a context key as errors name it: `context["aws:SourceIp"]`.
pub(super) fn context_field(key: &str) -> String {
    member("context", key)
}

/// Returns the path of a map's member as errors name it: `context["app:x"]`, with the key quoted as in JSON.
pub fn member(field: &str, key: &str) -> String {
    format!("{field}[{}]", quoted(key))
}
