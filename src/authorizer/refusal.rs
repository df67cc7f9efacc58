//! Why a question has no answer.

use std::fmt;

use crate::engine::request::{RequestError, RequestErrorKind};

/// Why a question has no answer: of one of a closed set of kinds, which every protocol maps to its own status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of fault.
    pub kind: RefusalKind,
    /// The field that it is about, as the protocol names it: `principal`, `context["app:x"]`, `session.tags["team"]`;
    /// empty where it is about no field.
    pub field: String,
    /// In words.
    pub message: String,
}

/// The kinds of refusals. None is ever an allow, and none is a denial either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The question is malformed.
    Malformed,
    /// It has a context key that only iamd, a session or a service may say (K-1, K-8, K-9).
    ReservedContextKey,
    /// It, or a field of it, is over its limit.
    TooLarge,
    /// No store has been loaded yet.
    NotReady,
    /// Nobody waits for the answer any more.
    Unwanted,
    /// A fault of iamd, or a spent work budget (E-1).
    Internal,
}

impl Refusal {
    /// A field that is malformed.
    pub fn malformed(field: impl Into<String>, message: impl Into<String>) -> Self {
        RequestError::invalid(field, message).into()
    }

    /// Something that is over its limit.
    pub fn too_large(field: impl Into<String>, message: String) -> Self {
        Self {
            kind: RefusalKind::TooLarge,
            field: field.into(),
            message,
        }
    }

    /// A question that is longer than questions may be.
    pub fn question_too_large(n_bytes: usize, most: usize) -> Self {
        let message = format!("the question has {n_bytes} bytes, the limit is {most}");
        Self::too_large("", message)
    }

    /// No store has been loaded yet.
    pub(super) fn not_ready() -> Self {
        Self {
            kind: RefusalKind::NotReady,
            field: String::new(),
            message: "no policy store has been loaded yet".to_owned(),
        }
    }

    /// A fault of iamd. What went wrong is in the log, not in the answer.
    pub fn internal() -> Self {
        Self {
            kind: RefusalKind::Internal,
            field: String::new(),
            message: "an internal error stopped this question: see iamd's log".to_owned(),
        }
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        let kind = match error.kind {
            RequestErrorKind::Invalid => RefusalKind::Malformed,
            RequestErrorKind::ReservedContextKey => RefusalKind::ReservedContextKey,
            RequestErrorKind::TooLarge => RefusalKind::TooLarge,
            RequestErrorKind::Unwanted => RefusalKind::Unwanted,
            RequestErrorKind::TooMuchWork | RequestErrorKind::Lost => return Self::internal(),
        };
        Self {
            kind,
            field: error.field,
            message: error.message,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

impl std::error::Error for Refusal {}
