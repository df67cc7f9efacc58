//! Keeping a record of every decision.

use std::sync::Arc;

use super::{Outcome, Refusal};
use crate::telemetry::{Protocol, TraceId};

/// A recorder keeps decisions before their answers leave.
pub trait Recorder: Send + Sync {
    /// Records one outcome and returns the id of the record; empty if it keeps none of this outcome. A refusal means that
    /// the answer must not leave. It runs on the answering thread.
    fn record(&self, outcome: &Outcome<'_>, asker: &Asker<'_>) -> Result<String, Refusal>;
}

/// Who asks a question, and how.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The protocol of the question.
    pub protocol: Protocol,
    /// What is known of the connection.
    pub caller: &'a CallerFacts,
    /// The trace that the call belongs to; [`TraceId::INVALID`] if there is none.
    pub trace_id: TraceId,
}

/// What is known of the other end of a connection, as a JSON object. It is written once for each connection, because
/// every record repeats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerFacts(Arc<str>);

impl CallerFacts {
    /// Returns the caller that this JSON object describes.
    pub fn of_json(object: &str) -> Self {
        Self(object.into())
    }

    /// Returns the JSON object.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl Default for CallerFacts {
    /// Nothing is known.
    fn default() -> Self {
        Self::of_json("{}")
    }
}
