//! `StreamAuthorize`: questions as they come, answered in their order.
//!
//! The answers are a body that reads the next questions only when it is asked for the next frame. Whoever sends the frames
//! asks only while the client takes them. So a client that does not read its answers stops the reading of its
//! questions, and neither a queue nor a task is needed. All questions that have come are answered in one frame.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body::Frame;
use prost::bytes::BytesMut;
use tonic::codegen::Bytes;
use tonic::{Code, Status};

use super::answer::{Field, Questions, put_result};
use super::asker::asker;
use super::convert;
use super::messages::{Messages, put_head, trailers};
use super::turns::Pause;
use super::wire::Scratch;
use crate::authorizer::{Authorizer, CallerFacts, Refusal};
use crate::telemetry::TraceId;

/// The bytes of answers that are allocated together, and after which a frame is sent although more questions are there.
const FRAME_BYTES: usize = 8 * 1024;

/// Completes when a stream must end although its client would go on, with the status of the end.
pub(super) type End = Pin<Box<dyn Future<Output = Status> + Send>>;

/// The answers of one call.
pub(super) struct Answers {
    authorizer: Arc<Authorizer>,
    caller: CallerFacts,
    trace_id: TraceId,
    questions: Messages,
    end: End,
    /// The memory of a question, which serves the next one.
    scratch: Scratch,
    /// The answers that were not sent.
    answers: BytesMut,
    /// The pause that this call makes, if it does.
    pause: Option<Arc<Pause>>,
    /// How the stream ends, once it does.
    status: Option<Status>,
    has_ended: bool,
}

impl Answers {
    pub(super) fn new(
        authorizer: Arc<Authorizer>,
        caller: CallerFacts,
        trace_id: TraceId,
        questions: Messages,
        end: End,
    ) -> Self {
        Self {
            authorizer,
            caller,
            trace_id,
            questions,
            end,
            scratch: Scratch::default(),
            answers: BytesMut::new(),
            pause: None,
            status: None,
            has_ended: false,
        }
    }

    /// Answers one question by the generation that is in force.
    fn answer(&mut self, request: &[u8]) {
        let mut joined = Vec::new();
        let question = question(request, &mut joined);
        put_result(
            &self.authorizer,
            None,
            question,
            &asker(&self.caller, self.trace_id),
            &mut self.scratch,
            &mut self.answers,
            |n_bytes, answers| {
                if answers.capacity().saturating_sub(answers.len()) < n_bytes {
                    answers.reserve(n_bytes.max(FRAME_BYTES));
                }
                put_head(n_bytes, answers);
            },
        );
    }

    /// Answers the questions that have come, until the frame is long enough or others must have a turn. Notes how the
    /// stream ends if it does.
    fn answer_all(&mut self, cx: &mut Context<'_>) {
        self.scratch.resume();
        while self.answers.len() < FRAME_BYTES {
            let question = match self.questions.poll_next(cx) {
                Poll::Ready(Some(Ok(question))) => question,
                Poll::Ready(Some(Err(status))) => {
                    self.status = Some(status);
                    return;
                }
                Poll::Ready(None) => {
                    self.status = Some(Status::new(Code::Ok, ""));
                    return;
                }
                Poll::Pending => return,
            };
            self.answer(&question);
            if self.scratch.ends_turn() {
                self.pause = Some(Pause::begin(cx.waker()));
                return;
            }
        }
    }
}

impl http_body::Body for Answers {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(None);
        }
        if let Some(pause) = &this.pause {
            ready!(pause.poll(cx));
            this.pause = None;
        }
        if this.status.is_none() {
            match this.end.as_mut().poll(cx) {
                Poll::Ready(status) => this.status = Some(status),
                Poll::Pending => this.answer_all(cx),
            }
        }
        if !this.answers.is_empty() {
            // A frame keeps all memory that it was cut from, so long answers take theirs with them.
            let answers = match this.answers.len() {
                0..FRAME_BYTES => this.answers.split(),
                _ => std::mem::take(&mut this.answers),
            };
            let answers = answers.freeze();
            return Poll::Ready(Some(Ok(Frame::data(answers))));
        }
        match this.status.take() {
            Some(status) => {
                this.has_ended = true;
                Poll::Ready(Some(Ok(Frame::trailers(trailers(&status)))))
            }
            None => Poll::Pending,
        }
    }
}

/// Returns the encoded question in an encoded `StreamAuthorizeRequest`. `joined` has the memory for it if it is needed.
fn question<'b>(request: &'b [u8], joined: &'b mut Vec<u8>) -> Result<&'b [u8], Status> {
    let mut fields = Questions::of(request);
    let mut found = None;
    while let Some(field) = fields.next_field()? {
        if let Field::Question(question) = field {
            match found {
                None => found = Some(question),
                // A field that is there twice counts as one message with the fields of both.
                Some(first) => {
                    if joined.is_empty() {
                        joined.extend_from_slice(first);
                    }
                    joined.extend_from_slice(question);
                }
            }
        }
    }
    match found {
        None => Err(convert::status(&Refusal::malformed(
            "request",
            "is missing",
        ))),
        Some(question) if joined.is_empty() => Ok(question),
        Some(_) => Ok(joined),
    }
}
