//! The ordinary question, answered at once: from the bytes of an `Authorize` call that is wholly there to the bytes of
//! its answer, without a task, a timer or a message in between.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use opentelemetry_http::HeaderExtractor;
use prost::bytes::BytesMut;
use tonic::codegen::Bytes;
use tonic::codegen::http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use tonic::{Code, Status};

use super::answer::answer;
use super::asker::{asker, trace_of};
use super::callers::May;
use super::calls::client_timeout;
use super::convert;
use super::drain::OpenCalls;
use super::messages::put_head;
use super::relay::{send_bytes, send_frames};
use super::wire::Scratch;
use crate::authorizer::Authorizer;
use crate::config::LONGEST_DEADLINE;
use crate::telemetry::{self, TraceId, counters};

const PATH: &str = "/iamd.v1.AuthorizationService/Authorize";

/// The head of a message of gRPC: whether the message is compressed, and its length.
const HEAD_BYTES: usize = 5;

/// How many bytes of answers are allocated together.
const ANSWERS_BYTES: usize = 4 * 1024;

/// Answers the calls of one connection.
pub(super) struct AtOnce {
    authorizer: Arc<Authorizer>,
    calls: Arc<OpenCalls>,
    default_deadline: Duration,
    head: HeaderMap,
    trailers: HeaderMap,
    scratch: Scratch,
    answers: BytesMut,
}

/// A call that has been accepted.
pub(super) struct Call {
    pub(super) request: Request<RecvStream>,
    pub(super) respond: SendResponse<Bytes>,
    /// The bytes of the request that were taken from it.
    pub(super) first: Option<Bytes>,
    /// How long the call may take, if it is an ordinary one.
    deadline: Option<Duration>,
    /// Whether it was there already when somebody last looked for calls that wait too long.
    pub(super) is_old: bool,
}

/// What must be done with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing yet: its bytes have not all come.
    Nothing,
    /// It may be answered at once.
    Answer,
    /// The services must answer it.
    PassOn,
}

impl Call {
    pub(super) fn path(&self) -> &str {
        self.request.uri().path()
    }

    /// Takes the bytes that have come, and returns what must be done now.
    pub(super) fn due(&mut self) -> Due {
        if self.deadline.is_none() {
            return Due::PassOn;
        }
        // Whoever waits for more bytes looks again after each read of the connection, so nobody must be woken.
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let stream = self.request.body_mut();
            if self.first.is_some() && stream.is_end_stream() {
                return Due::Answer;
            }
            match stream.poll_data(&mut cx) {
                Poll::Pending => return Due::Nothing,
                Poll::Ready(Some(Ok(bytes))) => {
                    let _ = stream.flow_control().release_capacity(bytes.len()); // fails only if the stream has ended
                    if self.first.as_ref().is_none_or(Bytes::is_empty) {
                        self.first = Some(bytes);
                    } else if !bytes.is_empty() {
                        let first = self.first.take().unwrap_or_default();
                        self.first = Some([first, bytes].concat().into());
                        return Due::PassOn; // it is long
                    }
                }
                // It ended without a question, or it was given up.
                Poll::Ready(Some(Err(_)) | None) => return Due::PassOn,
            }
        }
    }
}

impl AtOnce {
    pub(super) fn new(
        authorizer: Arc<Authorizer>,
        calls: Arc<OpenCalls>,
        default_deadline: Duration,
    ) -> Self {
        let content_type = HeaderValue::from_static("application/grpc");
        let ok = HeaderValue::from_static("0");
        Self {
            authorizer,
            calls,
            default_deadline,
            head: HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)]),
            trailers: HeaderMap::from_iter([(Status::GRPC_STATUS.clone(), ok)]),
            scratch: Scratch::default(),
            answers: BytesMut::new(),
        }
    }

    /// Returns `request` as a call. It is an ordinary one if it asks for `Authorize` in the ordinary form, and its caller
    /// may make it.
    pub(super) fn call(
        &self,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        may: May,
    ) -> Call {
        let deadline = match may {
            May::CheckHealth | May::Nothing => None,
            May::Authorize | May::Disclose => self.ordinary(&request),
        };
        Call {
            request,
            respond,
            first: None,
            deadline,
            is_old: false,
        }
    }

    /// Returns how long an ordinary call may take; `None` for any other call.
    fn ordinary(&self, request: &Request<RecvStream>) -> Option<Duration> {
        let headers = request.headers();
        let content_type = headers.get(header::CONTENT_TYPE)?.as_bytes();
        let encoding = headers.get("grpc-encoding");
        let is_ordinary = request.uri().path() == PATH
            && request.method() == Method::POST
            && matches!(
                content_type,
                b"application/grpc" | b"application/grpc+proto"
            )
            && encoding.is_none_or(|encoding| encoding == "identity");
        if !is_ordinary {
            return None;
        }
        let deadline = client_timeout(headers)
            .ok()?
            .unwrap_or(self.default_deadline)
            .min(LONGEST_DEADLINE);
        (!deadline.is_zero()).then_some(deadline)
    }

    /// Answers a call for which [`Due::Answer`] was said. Gives it back if its message is not in the ordinary form.
    pub(super) fn answer(&mut self, call: Call) -> Option<Call> {
        if let (Some(deadline), Some(bytes)) = (call.deadline, &call.first)
            && let Some(question) = self.question(bytes)
        {
            let headers = HeaderExtractor(call.request.headers());
            let observed = telemetry::Call::begin(PATH, &headers);
            let entered = observed.enter();
            let trace_id = trace_of(&self.authorizer, call.request.headers());
            let code = self.answer_question(question, trace_id, deadline, call.respond);
            drop(entered);
            observed.end(code as usize);
            return None;
        }
        Some(call)
    }

    /// Refuses a question that has waited for too long.
    pub(super) fn refuse(&self, mut call: Call) {
        // PERF: refusing must cost little, so the answer is made once.
        static TOO_LATE: LazyLock<Response<()>> = LazyLock::new(|| {
            convert::overload("the question has waited too long behind others").into_http()
        });
        let observed =
            telemetry::Call::begin(call.path(), &HeaderExtractor(call.request.headers()));
        counters().shed();
        // An error means that the client has gone.
        let _ = call.respond.send_response(TOO_LATE.clone(), true);
        observed.end(Code::ResourceExhausted as usize);
    }

    /// Returns the question in the one message of a call; `None` if it is too long, compressed or not alone.
    fn question<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let (head, question) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let [is_compressed, length @ ..] = head;
        let is_whole = u32::from_be_bytes(*length) as usize == question.len();
        let is_ordinary = *is_compressed == 0 && is_whole;
        let most = self.authorizer.limits().max_question_bytes;
        (is_ordinary && question.len() <= most).then_some(question)
    }

    /// Sends the answer to `question`, or why it has none. Returns the status of the call.
    fn answer_question(
        &mut self,
        question: &[u8],
        trace_id: TraceId,
        deadline: Duration,
        mut respond: SendResponse<Bytes>,
    ) -> Code {
        let (answers, scratch) = (&mut self.answers, &mut self.scratch);
        let asker = asker(&self.calls.caller, trace_id);
        answers.clear(); // a panic may have left a part of an answer
        let answered = catch_unwind(AssertUnwindSafe(|| {
            answer(
                &self.authorizer,
                None,
                question,
                &asker,
                scratch,
                |answer| {
                    let n_bytes = answer.n_bytes();
                    if answers.capacity() < HEAD_BYTES + n_bytes {
                        answers.reserve(ANSWERS_BYTES.max(HEAD_BYTES + n_bytes));
                    }
                    put_head(n_bytes, answers);
                    answer.put(answers);
                },
            )
        }));
        // A panic fails only this call, and the panic hook has already logged it.
        let status = match answered {
            Ok(Ok(())) => {
                let answer = self.answers.split().freeze();
                self.send(answer, deadline, respond);
                return Code::Ok;
            }
            Ok(Err(status)) => status,
            Err(_) => convert::internal(),
        };
        let code = status.code();
        let _ = respond.send_response(status.into_http(), true); // an error means that the client has gone
        code
    }

    /// Sends an answer: at once if the client has left space for it, else as soon as it has.
    fn send(&self, answer: Bytes, deadline: Duration, mut respond: SendResponse<Bytes>) {
        let mut head = Response::new(());
        *head.headers_mut() = self.head.clone();
        let trailers = self.trailers.clone();
        let Ok(mut stream) = respond.send_response(head, false) else {
            return; // the client has gone
        };
        stream.reserve_capacity(answer.len());
        if stream.capacity() < answer.len() {
            let in_flight = self.calls.begin(false, true);
            tokio::spawn(async move {
                let _in_flight = in_flight;
                send_slowly(stream, answer, trailers, deadline).await;
            });
            return;
        }
        // An error means that the client has gone.
        let _ = send_frames(&mut stream, answer).and_then(|()| stream.send_trailers(trailers));
    }
}

/// Sends an answer to a client that has not left space for it, until the deadline.
async fn send_slowly(
    mut stream: SendStream<Bytes>,
    answer: Bytes,
    trailers: HeaderMap,
    deadline: Duration,
) {
    match tokio::time::timeout(deadline, send_bytes(&mut stream, answer)).await {
        Ok(Some(())) => {
            let _ = stream.send_trailers(trailers); // an error means that the client has gone
        }
        Ok(None) => {}
        Err(_) => stream.send_reset(Reason::CANCEL),
    }
}
