//! One question of the wire, answered: what `Authorize`, `BatchAuthorize` and `StreamAuthorize` have in common.

use std::sync::Arc;

use jiff::Timestamp;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};
use tonic::Status;

use super::{convert, pb};
use crate::authorizer::{Authorizer, Generation};

/// Answers the question in `message` by `generation`, or by the generation in force if there is none. The status says
/// why the question has no answer.
pub(super) fn answer(
    authorizer: &Authorizer,
    generation: Option<&Arc<Generation>>,
    message: &pb::AuthorizeRequest,
) -> Result<pb::AuthorizeResponse, Status> {
    let question = convert::question(message, authorizer.limits());
    let question = question.map_err(|refusal| convert::status(&refusal))?;
    let now = Timestamp::now();
    let outcome = match generation {
        Some(generation) => authorizer.authorize_by(generation, &question, now),
        None => authorizer.authorize(&question, now),
    };
    convert::response(&outcome)
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

/// Reads an encoded question into `message`, in addition to what is there.
pub(super) fn read(message: &mut pb::AuthorizeRequest, question: &[u8]) -> Result<(), Status> {
    message.merge(question).map_err(|_| convert::undecodable())
}

/// Empties `message`, which was read from `n_bytes`, for the next question. Its memory serves that one too, unless the
/// question was unusually long: an empty entry has two bytes on the wire and many more in memory.
pub(super) fn empty(message: &mut pb::AuthorizeRequest, n_bytes: usize) {
    const USUAL_BYTES: usize = 2 * 1024;
    if n_bytes > USUAL_BYTES {
        *message = pb::AuthorizeRequest::default();
    } else {
        message.clear();
    }
}
