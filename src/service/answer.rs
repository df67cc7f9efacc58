//! One question of the wire, answered: what `Authorize`, `BatchAuthorize` and `StreamAuthorize` have in common.

use std::sync::Arc;

use jiff::Timestamp;
use prost::Message;
use prost::bytes::BufMut;
use prost::encoding::{DecodeContext, WireType, decode_key, encode_varint, skip_field};
use tonic::Status;

use super::wire::{Answer, Scratch, n_bytes_delimited};
use super::{convert, pb, wire};
use crate::authorizer::{Asker, Authorizer, Generation, Outcome, Question};
use crate::telemetry::{Protocol, counters, decided};

/// Answers the question in `message` by the generation in force. The status says why the question has no answer. The
/// decision is recorded for `asker` before this returns.
pub(super) fn answer_message(
    authorizer: &Authorizer,
    message: &pb::AuthorizeRequest,
    asker: &Asker<'_>,
) -> Result<pb::AuthorizeResponse, Status> {
    let question = convert::question(message, authorizer.limits());
    let question = question.map_err(|refusal| convert::status(&refusal))?;
    let outcome = decide(authorizer, None, &question);
    let mut response = convert::response(&outcome)?;
    response.decision_id = recorded(authorizer, &outcome, asker)?;
    Ok(response)
}

/// Answers the encoded question in `bytes` by `generation`, or by the generation in force if there is none, and gives the
/// answer to `write`. The status says why the question has no answer. The decision is recorded for `asker` first.
pub(super) fn answer<W>(
    authorizer: &Authorizer,
    generation: Option<&Arc<Generation>>,
    bytes: &[u8],
    asker: &Asker<'_>,
    scratch: &mut Scratch,
    write: impl FnOnce(&Answer<'_>) -> W,
) -> Result<W, Status> {
    let limits = authorizer.limits();
    if let Some(question) = wire::question(bytes, limits.max_context_entries, scratch) {
        let outcome = decide(authorizer, generation, &question);
        let answered = written(authorizer, &outcome, asker, write);
        scratch.keep(question.context);
        return answered;
    }
    let message = pb::AuthorizeRequest::decode(bytes).map_err(|_| convert::undecodable())?;
    let question = convert::question(&message, limits);
    let question = question.map_err(|refusal| convert::status(&refusal))?;
    let outcome = decide(authorizer, generation, &question);
    written(authorizer, &outcome, asker, write)
}

fn written<W>(
    authorizer: &Authorizer,
    outcome: &Outcome<'_>,
    asker: &Asker<'_>,
    write: impl FnOnce(&Answer<'_>) -> W,
) -> Result<W, Status> {
    let decision = outcome.answer.as_ref().map_err(convert::status)?;
    let decision_id = recorded(authorizer, outcome, asker)?;
    Ok(write(&Answer::of(outcome, decision, &decision_id)))
}

/// Records an outcome, and returns the id of its record.
fn recorded(
    authorizer: &Authorizer,
    outcome: &Outcome<'_>,
    asker: &Asker<'_>,
) -> Result<String, Status> {
    let recorded = authorizer.record(outcome, asker);
    recorded.map_err(|refusal| convert::status(&refusal))
}

fn decide<'q>(
    authorizer: &Authorizer,
    generation: Option<&Arc<Generation>>,
    question: &'q Question<'q>,
) -> Outcome<'q> {
    let now = Timestamp::now();
    let outcome = match generation {
        Some(generation) => authorizer.authorize_by(generation, question, now),
        None => authorizer.authorize(question, now),
    };
    if let Ok(decision) = &outcome.answer {
        let (took, is_cached) = (outcome.took, outcome.is_cached);
        let (reason, revision) = (decision.reason(), outcome.revision());
        decided(Protocol::Grpc, reason, took, revision, is_cached);
        if reason.is_for_want_of_an_allow() {
            note_unnamed_action(&outcome);
        }
    }
    outcome
}

/// Counts a question that nothing allows, if no statement of the store names its action: most likely, it is misspelled.
#[inline(never)] // PERF: it would make the code of all other questions longer
fn note_unnamed_action(outcome: &Outcome<'_>) {
    let Some(generation) = outcome.generation.as_deref() else {
        return;
    };
    if generation.snapshot.names_action(outcome.question.action) == Some(false) {
        counters().unnamed_action();
    }
}

/// Answers the encoded question in `bytes` as [`answer`] does, and appends the answer or the error to `out` as a
/// `BatchAuthorizeResult` or a `StreamAuthorizeResponse`, which have the same form. `before` gets its length first.
pub(super) fn put_result<B: BufMut>(
    authorizer: &Authorizer,
    generation: Option<&Arc<Generation>>,
    bytes: Result<&[u8], Status>,
    asker: &Asker<'_>,
    scratch: &mut Scratch,
    out: &mut B,
    before: impl Fn(usize, &mut B),
) {
    const RESPONSE: u8 = 1 << 3 | 2;
    const ERROR: u8 = 2 << 3 | 2;
    let answered = bytes.and_then(|bytes| {
        answer(authorizer, generation, bytes, asker, scratch, |answer| {
            let n_bytes = answer.n_bytes();
            before(n_bytes_delimited(n_bytes), out);
            out.put_u8(RESPONSE);
            encode_varint(n_bytes as u64, out);
            answer.put(out);
        })
    });
    if let Err(status) = answered {
        let error = convert::error(&status).encode_to_vec();
        before(n_bytes_delimited(error.len()), out);
        out.put_u8(ERROR);
        encode_varint(error.len() as u64, out);
        out.put_slice(&error);
    }
}

/// The encoded questions of a `BatchAuthorizeRequest` or a `StreamAuthorizeRequest`, in their order. Both have them in
/// the field 1 and no other field.
#[derive(Clone, Debug)]
pub(super) struct Questions<'b>(&'b [u8]);

/// A field of such a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Field<'b> {
    Question(&'b [u8]),
    /// A field that this version does not know.
    Unknown,
}

impl<'b> Questions<'b> {
    pub(super) fn of(message: &'b [u8]) -> Self {
        Self(message)
    }

    /// Returns the next field, or `None` at the end. It does not look into a question, so each field takes a few
    /// nanoseconds. The status is that of bytes that are no message.
    pub(super) fn next_field(&mut self) -> Result<Option<Field<'b>>, Status> {
        const QUESTION: u32 = 1;
        if self.0.is_empty() {
            return Ok(None);
        }
        let undecodable = |_| convert::undecodable();
        let key = decode_key(&mut self.0).map_err(undecodable)?;
        match key {
            (QUESTION, WireType::LengthDelimited) => {
                let length = prost::decode_length_delimiter(&mut self.0).map_err(undecodable)?;
                let (question, rest) = self
                    .0
                    .split_at_checked(length)
                    .ok_or_else(convert::undecodable)?;
                self.0 = rest;
                Ok(Some(Field::Question(question)))
            }
            // A group, which proto3 does not have, could be as long as the message, so that skipping it takes long.
            (QUESTION, _) | (_, WireType::StartGroup | WireType::EndGroup) => {
                Err(convert::undecodable())
            }
            (tag, wire_type) => {
                skip_field(wire_type, tag, &mut self.0, DecodeContext::default())
                    .map_err(undecodable)?;
                Ok(Some(Field::Unknown))
            }
        }
    }
}
