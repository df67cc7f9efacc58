//! The outermost layer of the calls: it observes how each of them ends, and when.
//!
//! A call ends with its trailers. An answer of one message comes as a whole, so its call ends for this layer with the
//! headers, and its body need not be watched. A stream is watched to its end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Frame, SizeHint};
use opentelemetry_http::HeaderExtractor;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::{HeaderMap, Request, Response, StatusCode};
use tonic::{Code, Status};
use tower_service::Service;

use crate::telemetry::{Call, counters};

/// Counts a connection that is closed because there are too many. Warns of it, unless the one before `was_full`, too.
pub(super) fn shed_connection(was_full: &mut bool) {
    counters().shed();
    if !*was_full {
        tracing::warn!(
            id = "connections-full",
            "the limit of open connections is reached: further ones are closed at once"
        );
    }
    *was_full = true;
}

/// Warns of places of which the newest connections have one, while they are full and the oldest connection is closed.
pub(super) fn note_shed_oldest(was_full: &mut bool, is_full: bool, which: &str) {
    if is_full && !*was_full {
        tracing::warn!(
            id = "oldest-closed",
            "as many connections {which} are open as may be: the oldest one is closed for each new one"
        );
    }
    *was_full = is_full;
}

/// Observes the calls of a service.
#[derive(Clone, Debug)]
pub(super) struct Observed<S>(pub(super) S);

impl<S> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Observing<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let is_stream = is_stream(path);
        let call = Call::begin(path, &HeaderExtractor(request.headers()));
        let entered = call.enter();
        let answer = self.0.call(request);
        drop(entered);
        Observing {
            answer,
            call: Some(call),
            is_stream,
        }
    }
}

/// Returns whether the answers of a method are streams.
pub(super) fn is_stream(path: &str) -> bool {
    let method = path.rsplit('/').next().unwrap_or_default();
    matches!(
        method,
        "StreamAuthorize" | "WatchRevision" | "Watch" | "ServerReflectionInfo"
    )
}

/// The answer to come.
#[derive(Debug)]
pub(super) struct Observing<F> {
    answer: F,
    call: Option<Call>,
    is_stream: bool,
}

impl<F> Future for Observing<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let entered = self.call.as_ref().and_then(Call::enter);
        let Ok(answer) = ready!(Pin::new(&mut self.answer).poll(cx));
        drop(entered);
        let Some(call) = self.call.take() else {
            return Poll::Ready(Ok(answer));
        };
        match code(answer.status(), answer.headers()) {
            None if self.is_stream => Poll::Ready(Ok(answer.map(|body| {
                Body::new(Watched {
                    body,
                    call: Some(call),
                })
            }))),
            code => {
                call.end(code.unwrap_or(Code::Ok) as usize);
                Poll::Ready(Ok(answer))
            }
        }
    }
}

/// Returns the status that the headers of an answer tell; `None` if its trailers will.
fn code(status: StatusCode, headers: &HeaderMap) -> Option<Code> {
    match headers.get(Status::GRPC_STATUS) {
        Some(code) => Some(Code::from_bytes(code.as_bytes())),
        None if status != StatusCode::OK => Some(Code::Unknown), // it was no call
        None => None,
    }
}

/// The body of a stream. Its call ends with its trailers, or when the client goes away.
struct Watched {
    body: Body,
    call: Option<Call>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let entered = self.call.as_ref().and_then(Call::enter);
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        drop(entered);
        let ended = match &frame {
            None => Some(Code::Ok),
            Some(Err(status)) => Some(status.code()),
            Some(Ok(frame)) => frame.trailers_ref().map(|trailers| {
                let code = trailers.get(Status::GRPC_STATUS);
                code.map_or(Code::Unknown, |code| Code::from_bytes(code.as_bytes()))
            }),
        };
        if let Some(code) = ended
            && let Some(call) = self.call.take()
        {
            call.end(code as usize);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
