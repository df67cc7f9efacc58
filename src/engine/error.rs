//! Why a question has no answer.

use std::fmt;

use super::lost::Lost;
use crate::language::json::quoted;
use crate::name::Malformed;

/// Why a question has no answer: `INVALID_ARGUMENT` on the wire, with the field's path as the protocol names it.
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
    /// `INTERNAL_ERROR`: the status `INTERNAL`, since nothing is wrong with the question itself (E-1).
    TooMuchWork,
    /// The same: what it asks about is broken in memory, and so is any answer.
    Lost,
    /// Nobody waits for the answer any more.
    Unwanted,
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

    /// The work budget is spent (E-1).
    pub(super) fn too_much_work() -> Self {
        Self {
            kind: RequestErrorKind::TooMuchWork,
            field: String::new(),
            message: "the answer takes more work than a question may".to_owned(),
        }
    }

    /// The snapshot lacks something that it refers to.
    #[cold]
    pub(super) fn lost(Lost { table, row }: Lost) -> Self {
        Self {
            kind: RequestErrorKind::Lost,
            field: String::new(),
            message: format!("the snapshot is broken: the table of {table} has no row {row}"),
        }
    }

    /// Nobody waits for the answer any more.
    pub fn unwanted() -> Self {
        Self {
            kind: RequestErrorKind::Unwanted,
            field: String::new(),
            message: "nobody waits for the answer".to_owned(),
        }
    }

    /// A context key that only iamd or the session may say (K-1).
    pub fn reserved(key: &str) -> Self {
        Self::reserved_because(
            key,
            "iamd derives this key itself; facts of the session go into `session`",
        )
    }

    /// A context key that this caller may not say, and why.
    pub(super) fn reserved_because(key: &str, message: impl Into<String>) -> Self {
        Self {
            kind: RequestErrorKind::ReservedContextKey,
            field: context_field(key),
            message: message.into(),
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

impl std::error::Error for RequestError {}

/// Returns how an error about `field` is made.
pub(super) fn at_field(field: &'static str) -> impl Fn(Malformed) -> RequestError {
    move |malformed| RequestError::invalid(field, malformed.0)
}

/// Returns the path of a context key as errors name it: `context["aws:SourceIp"]`.
pub(super) fn context_field(key: &str) -> String {
    member("context", key)
}

/// The path of a map's member as errors name it: `context["app:x"]`, with the key as JSON would write it.
pub fn member(field: &str, key: &str) -> String {
    format!("{field}[{}]", quoted(key))
}
