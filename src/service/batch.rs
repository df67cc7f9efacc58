//! `BatchAuthorize`: many questions, decided one after the other by one generation of the store.
//!
//! Ten thousand questions take tens of milliseconds, and the most expensive ones seconds. So nothing here works on the
//! whole message at once. It stays encoded, and each question is decoded, decided, and its result encoded before the
//! next one is looked at. After each [`TURN`] the other calls of the same thread go on, and a call that its client has
//! given up is dropped there.

use std::time::Instant;

use prost::Message;
use prost::encoding::encode_varint;
use tonic::Status;

use super::answer::{Field, Questions, put_result};
use super::wire::Scratch;
use super::{convert, pb, turns};
use crate::authorizer::{Asker, Authorizer, Refusal};
use crate::config::TURN;

/// The bounds of one batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchBounds {
    /// The most questions.
    pub max_questions: usize,
    /// The most bytes of the encoded answers together.
    pub max_answer_bytes: usize,
}

/// The first byte of each result in an encoded `BatchAuthorizeResponse`: the field 1, whose length follows.
const RESULT: u8 = 1 << 3 | 2;

/// About how many bytes a result has.
const USUAL_RESULT_BYTES: usize = 256;

/// After how many fields the time is looked at while questions are only counted.
const COUNTED_AT_ONCE: usize = 1024;

/// Answers all questions of `request`, which is an encoded `BatchAuthorizeRequest`, by the generation in force, and
/// appends the encoded `BatchAuthorizeResponse` to `results`. The status is that of the whole call; a question without an
/// answer has its own among the results.
pub async fn answer_batch(
    authorizer: &Authorizer,
    request: &[u8],
    bounds: BatchBounds,
    asker: &Asker<'_>,
    results: &mut Vec<u8>,
) -> Result<(), Status> {
    let refused = |refusal: Refusal| convert::status(&refusal);
    turns::stand_in_line().await;
    let n_questions = count(request, bounds.max_questions).await?;
    let generation = authorizer.in_force().map_err(refused)?;
    // Encoded messages that follow each other are one message with the fields of all. So the revision may come last.
    let revision = pb::BatchAuthorizeResponse {
        revision: generation.snapshot.revision.as_str().to_owned(),
        results: Vec::new(),
    };
    let max_bytes = bounds
        .max_answer_bytes
        .saturating_sub(revision.encoded_len());
    let usual = n_questions.saturating_mul(USUAL_RESULT_BYTES);
    results.reserve(usual.min(max_bytes));
    let n_before = results.len();
    // The memory of one question serves all.
    let mut scratch = Scratch::default();
    scratch.resume();
    let most = authorizer.limits().max_question_bytes;
    let mut questions = Questions::of(request);
    while let Some(field) = questions.next_field()? {
        let Field::Question(question) = field else {
            continue;
        };
        let question = convert::check_n_bytes(question.len(), most)
            .map(|()| question)
            .map_err(refused);
        let generation = Some(&generation);
        put_result(
            authorizer,
            generation,
            question,
            asker,
            &mut scratch,
            results,
            |n_bytes, results| {
                results.push(RESULT);
                encode_varint(n_bytes as u64, results);
            },
        );
        if results.len().saturating_sub(n_before) > max_bytes {
            return Err(refused(Refusal::answers_too_large(bounds.max_answer_bytes)));
        }
        if scratch.ends_turn() {
            turns::pause().await;
            scratch.resume();
        }
    }
    revision.encode(results).map_err(|_| convert::internal()) // a `Vec` has room
}

/// Returns the number of questions, unless there are more than `most`.
async fn count(request: &[u8], most: usize) -> Result<usize, Status> {
    let mut began = Instant::now();
    let mut questions = Questions::of(request);
    let mut n_questions: usize = 0;
    for n_fields in 1.. {
        match questions.next_field()? {
            None => break,
            Some(Field::Question(_)) => n_questions += 1,
            Some(Field::Unknown) => {}
        }
        if n_questions > most {
            return Err(convert::status(&Refusal::too_many_questions(most)));
        }
        if n_fields % COUNTED_AT_ONCE == 0 && began.elapsed() >= TURN {
            turns::pause().await;
            began = Instant::now();
        }
    }
    Ok(n_questions)
}
