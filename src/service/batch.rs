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
use super::encoded::Encoded;
use super::wire::Scratch;
use super::{convert, pb};
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

/// Answers all questions of `request`, which is an encoded `BatchAuthorizeRequest`, by the generation in force. Returns
/// the encoded `BatchAuthorizeResponse`. The status is that of the whole call; a question without an answer has its own
/// among the results.
pub async fn answer_batch(
    authorizer: &Authorizer,
    request: &Encoded,
    bounds: BatchBounds,
    asker: &Asker<'_>,
) -> Result<Encoded, Status> {
    let refused = |refusal: Refusal| convert::status(&refusal);
    let mut turn = Turn::new();
    let n_questions = count(request, bounds.max_questions, &mut turn).await?;
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
    let mut results = Vec::with_capacity(usual.min(max_bytes));
    // The memory of one question serves all.
    let mut scratch = Scratch::default();
    let most = authorizer.limits().max_question_bytes;
    let mut questions = Questions::of(request.bytes());
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
            &mut results,
            |n_bytes, results| {
                results.push(RESULT);
                encode_varint(n_bytes as u64, results);
            },
        );
        if results.len() > max_bytes {
            return Err(refused(Refusal::answers_too_large(bounds.max_answer_bytes)));
        }
        turn.end_if_over().await;
    }
    revision
        .encode(&mut results)
        .map_err(|_| convert::internal())?; // a `Vec` has room
    Ok(results.into())
}

/// Returns the number of questions, unless there are more than `most`.
async fn count(request: &Encoded, most: usize, turn: &mut Turn) -> Result<usize, Status> {
    let mut questions = Questions::of(request.bytes());
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
        if n_fields % COUNTED_AT_ONCE == 0 {
            turn.end_if_over().await;
        }
    }
    Ok(n_questions)
}

/// The time for which this call has kept its thread.
struct Turn {
    began: Instant,
}

impl Turn {
    fn new() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    /// Lets the other tasks of the thread go on if the turn has taken long enough.
    async fn end_if_over(&mut self) {
        if self.began.elapsed() >= TURN {
            tokio::task::yield_now().await;
            *self = Self::new();
        }
    }
}
