//! The calls with many questions, from the bytes of their messages to the bytes of their answers. All other calls go to
//! tonic's services.
//!
//! PERF: tonic's own framing takes as long for a message as the decision about its question.

use std::convert::Infallible;
use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::Frame;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response, header};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tower_service::Service;

use super::asker::{asker, caller_of, trace_of};
use super::batch::{BatchBounds, answer_batch};
use super::calls::{IsLarge, Until};
use super::convert;
use super::drain::Entrance;
use super::messages::{Messages, put_head, trailers};
use super::stream::Answers;
use crate::authorizer::{Asker, Authorizer};

/// Answers `BatchAuthorize` and `StreamAuthorize`, and passes all other calls to `inner`.
#[derive(Clone, Debug)]
pub(super) struct Framed<S> {
    pub(super) inner: S,
    pub(super) authorizer: Arc<Authorizer>,
    pub(super) batch: BatchBounds,
    /// The longest message.
    pub(super) max_message_bytes: usize,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for Framed<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Answering {
        let method = request.uri().path();
        let is_batch = match method.strip_prefix("/iamd.v1.AuthorizationService/") {
            Some("BatchAuthorize") => true,
            Some("StreamAuthorize") => false,
            _ => return Box::pin(self.inner.call(request)),
        };
        if let Err(status) = check_encoding(request.headers()) {
            return Box::pin(ready(Ok(status.into_http())));
        }
        let caller = caller_of(request.extensions());
        let trace_id = trace_of(&self.authorizer, request.headers());
        if !is_batch {
            let end = Box::pin(end_of_stream(&request));
            let questions = Messages::of(request.into_body(), self.max_message_bytes);
            let authorizer = Arc::clone(&self.authorizer);
            let answers = Answers::new(authorizer, caller, trace_id, questions, end);
            return Box::pin(ready(Ok(response(Body::new(answers)))));
        }
        let messages = Messages::of(request.into_body(), self.max_message_bytes);
        let (authorizer, bounds) = (Arc::clone(&self.authorizer), self.batch);
        Box::pin(async move {
            let asker = asker(&caller, trace_id);
            let answer = answer(&authorizer, messages, bounds, &asker).await;
            Ok(answer.unwrap_or_else(Status::into_http))
        })
    }
}

/// Answers a batch: the one message of its call.
async fn answer(
    authorizer: &Authorizer,
    mut messages: Messages,
    bounds: BatchBounds,
    asker: &Asker<'_>,
) -> Result<Response<Body>, Status> {
    let batch = poll_fn(|cx| messages.poll_next(cx)).await;
    let batch = batch.unwrap_or_else(|| Err(convert::undecodable()))?;
    // What a client sends behind its only message is read and means nothing.
    while let Some(more) = poll_fn(|cx| messages.poll_next(cx)).await {
        more?;
    }
    let mut answers = Vec::new();
    put_head(0, &mut answers);
    let n_head = answers.len();
    answer_batch(authorizer, &batch, bounds, asker, &mut answers).await?;
    let n_bytes = answers.len().saturating_sub(n_head);
    put_head(n_bytes, &mut answers.as_mut_slice());
    let mut response = response(Body::new(One {
        message: Some(answers.into()),
        has_ended: false,
    }));
    response.extensions_mut().insert(IsLarge::of(n_bytes));
    Ok(response)
}

/// Returns an answer that begins well.
fn response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let content_type = HeaderValue::from_static("application/grpc");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

/// An answer of one message.
struct One {
    message: Option<Bytes>,
    has_ended: bool,
}

impl http_body::Body for One {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        let is_over = std::mem::replace(&mut self.has_ended, true);
        let ok = || Ok(Frame::trailers(trailers(&Status::new(Code::Ok, ""))));
        Poll::Ready((!is_over).then(ok))
    }
}

/// Refuses a call whose messages are compressed.
fn check_encoding(headers: &HeaderMap) -> Result<(), Status> {
    let encoding = headers.get("grpc-encoding");
    if encoding.is_none_or(|encoding| encoding == "identity") {
        return Ok(());
    }
    let mut status = Status::unimplemented("compressed messages are not supported");
    let accepted = MetadataValue::from_static("identity");
    status
        .metadata_mut()
        .insert("grpc-accept-encoding", accepted);
    Err(status)
}

/// Completes when the stream of `request` must end although its client would go on: when the server drains, or at the
/// deadline of the client.
fn end_of_stream<T>(request: &Request<T>) -> impl Future<Output = Status> + Send + use<T> {
    let until = request.extensions().get::<Until>().copied();
    let entrance = request.extensions().get::<Entrance>().cloned();
    async move {
        let deadline = async {
            match until {
                Some(Until(time)) => tokio::time::sleep_until(time).await,
                None => std::future::pending().await,
            }
        };
        let drain = async {
            match entrance {
                Some(entrance) => entrance.calls.drain_begins().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = drain => convert::draining(),
            () = deadline => convert::deadline_exceeded(),
        }
    }
}
