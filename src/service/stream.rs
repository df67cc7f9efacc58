//! `StreamAuthorize`: questions as they come, answered in their order.
//!
//! The answers are a stream that reads the next question only when it is asked for the next answer. The HTTP library
//! asks only while there is space for what is sent. So a client that does not read its answers stops the reading of its
//! questions, and neither a queue nor a task is needed.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tokio_stream::Stream;
use tonic::{Code, Status, Streaming};

use super::answer::{Field, Questions, put_result};
use super::convert;
use super::encoded::Encoded;
use super::wire::Scratch;
use crate::authorizer::{Asker, Authorizer, CallerFacts, Protocol, Refusal};
use crate::config::TURN;

/// Completes when a stream must end although its client would go on, with the status of the end.
pub(super) type End = Pin<Box<dyn Future<Output = Status> + Send>>;

/// The answers of one call.
pub(super) struct Answers {
    authorizer: Arc<Authorizer>,
    caller: CallerFacts,
    questions: Streaming<Encoded>,
    end: End,
    /// The memory of a question, which serves the next one.
    scratch: Scratch,
    /// How long this call has worked since it last let others go on.
    busy: Duration,
    /// The pause that this call makes, if it does.
    pause: Option<Arc<Pause>>,
    has_ended: bool,
}

impl Answers {
    pub(super) fn new(
        authorizer: Arc<Authorizer>,
        caller: CallerFacts,
        questions: Streaming<Encoded>,
        end: End,
    ) -> Self {
        Self {
            authorizer,
            caller,
            questions,
            end,
            scratch: Scratch::default(),
            busy: Duration::ZERO,
            pause: None,
            has_ended: false,
        }
    }

    /// Answers one question by the generation that is in force: returns an encoded `StreamAuthorizeResponse`.
    fn answer(&mut self, request: &Encoded) -> Encoded {
        let mut joined = Vec::new();
        let question = question(request, &mut joined);
        let mut out = Vec::new();
        let asker = Asker {
            protocol: Protocol::Grpc,
            caller: &self.caller,
            trace_id: "",
        };
        put_result(
            &self.authorizer,
            None,
            question,
            &asker,
            &mut self.scratch,
            &mut out,
            |n_bytes, out| out.reserve_exact(n_bytes),
        );
        out.into()
    }

    /// Ends the stream with `status`.
    fn end_with(&mut self, status: Status) -> Poll<Option<Result<Encoded, Status>>> {
        self.has_ended = true;
        Poll::Ready(Some(Err(status)))
    }
}

impl Stream for Answers {
    type Item = Result<Encoded, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(None);
        }
        if let Some(pause) = &this.pause {
            if !pause.is_over.load(Ordering::Acquire) {
                if !pause.task.will_wake(cx.waker()) {
                    this.pause = Some(Pause::begin(cx.waker()));
                }
                return Poll::Pending;
            }
            this.pause = None;
        }
        if this.busy.is_zero()
            && let Poll::Ready(status) = this.end.as_mut().poll(cx)
        {
            return this.end_with(status);
        }
        let request = match Pin::new(&mut this.questions).poll_next(cx) {
            Poll::Ready(Some(Ok(request))) => request,
            Poll::Ready(Some(Err(status))) => return this.end_with(readable(status)),
            Poll::Ready(None) => {
                this.has_ended = true;
                return Poll::Ready(None);
            }
            Poll::Pending => {
                return match this.end.as_mut().poll(cx) {
                    Poll::Ready(status) => this.end_with(status),
                    Poll::Pending => Poll::Pending,
                };
            }
        };
        let began = Instant::now();
        let answer = this.answer(&request);
        this.busy += began.elapsed();
        if this.busy >= TURN {
            this.busy = Duration::ZERO;
            this.pause = Some(Pause::begin(cx.waker()));
        }
        Poll::Ready(Some(Ok(answer)))
    }
}

/// Returns the encoded question in an encoded `StreamAuthorizeRequest`. `joined` has the memory for it if it is needed.
fn question<'b>(request: &'b Encoded, joined: &'b mut Vec<u8>) -> Result<&'b [u8], Status> {
    let mut fields = Questions::of(request.bytes());
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

/// The pause between two turns: it is over once all other tasks of the thread that were ready have had a turn and the
/// runtime has looked for new ones.
///
/// `Pending` alone is no pause. Those who poll the stream first send what they have and then poll again, and whatever
/// else wakes the task, such as the next question, would end it early. So the runtime wakes this and not the task.
struct Pause {
    is_over: AtomicBool,
    task: Waker,
}

impl Pause {
    fn begin(task: &Waker) -> Arc<Self> {
        let pause = Arc::new(Self {
            is_over: AtomicBool::new(false),
            task: task.clone(),
        });
        let waker = Waker::from(Arc::clone(&pause));
        let mut turn = pin!(tokio::task::yield_now());
        // The first poll hands the waker to the runtime.
        let _ = turn.as_mut().poll(&mut Context::from_waker(&waker));
        pause
    }
}

impl Wake for Pause {
    fn wake(self: Arc<Self>) {
        self.is_over.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

/// Replaces the status INTERNAL that tonic gives a stream whose messages cannot be told apart. That is a fault of the
/// sender, and INTERNAL means a fault of iamd.
fn readable(status: Status) -> Status {
    if status.code() == Code::Internal && status.details().is_empty() {
        return convert::undecodable();
    }
    status
}
