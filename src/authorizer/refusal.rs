//! The reasons why a question has no answer.

use crate::engine::error::{Fault, RequestError, RequestErrorKind};

/// The reason why a question has no answer, as every protocol gets it. It has one of a closed set of kinds, and every
/// protocol maps each kind to a status of its own.
pub type Refusal = Fault<RefusalKind>;

/// The kinds of refusals. A refusal is never an allow, and it is not a denial either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The question is malformed.
    Malformed,
    /// The question has a context key that only iamd, a session or a service may set (K-1, K-8, K-9).
    ReservedContextKey,
    /// The question, or a field of it, is over its limit.
    TooLarge,
    /// No store has been loaded yet.
    NotReady,
    /// The decision could not be recorded, and no answer may leave without a record.
    Unrecorded,
    /// The client no longer waits for the answer.
    Unwanted,
    /// A fault of iamd, or a spent work budget (E-1).
    Internal,
}

impl Refusal {
    /// The refusal of a malformed field.
    pub fn malformed(field: impl Into<String>, message: impl Into<String>) -> Self {
        RequestError::invalid(field, message).into()
    }

    /// The refusal of a field or a question that is over its limit.
    pub fn too_large(field: impl Into<String>, message: String) -> Self {
        Self {
            kind: RefusalKind::TooLarge,
            field: field.into(),
            message,
        }
    }

    /// The refusal of a question of `n_bytes` bytes where `most` are allowed.
    pub fn question_too_large(n_bytes: usize, most: usize) -> Self {
        let message = format!("the question has {n_bytes} bytes, the limit is {most}");
        Self::too_large("", message)
    }

    /// The refusal of more than `most` questions in one batch.
    pub fn too_many_questions(most: usize) -> Self {
        let message = format!("the batch has more than {most} questions, which is the limit");
        Self::too_large("requests", message)
    }

    /// The refusal of a batch whose answers have more than `most` bytes together.
    pub fn answers_too_large(most: usize) -> Self {
        let message =
            format!("the answers have more than {most} bytes: ask fewer questions at a time");
        Self::too_large("requests", message)
    }

    /// The refusal of a question before the first good load.
    pub(super) fn not_ready() -> Self {
        Self {
            kind: RefusalKind::NotReady,
            field: String::new(),
            message: "no policy store has been loaded yet".to_owned(),
        }
    }

    /// The refusal of a question whose decision could not be recorded.
    pub fn unrecorded() -> Self {
        Self {
            kind: RefusalKind::Unrecorded,
            field: String::new(),
            message: "the decision log cannot be written, and no answer leaves without a record"
                .to_owned(),
        }
    }

    /// The refusal for a fault of iamd. The log says what went wrong; the answer does not.
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
            RequestErrorKind::Lost => return Self::internal(),
            RequestErrorKind::TooMuchWork => {
                return Self {
                    message: "the answer takes more work than one call may do".to_owned(),
                    ..Self::internal()
                };
            }
        };
        Self {
            kind,
            field: error.field,
            message: error.message,
        }
    }
}
