//! Calls that tonic's services answer, on a stream of our own connection: the request's bytes go to the service, and
//! the answer's bytes to the client as fast as it reads them.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http_body::{Body as _, Frame};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::Response;

use super::convert;
use crate::config::{TIME_TO_READ, TIME_TO_TELL};

/// The bytes of a request.
#[derive(Debug)]
pub(super) struct Received {
    /// The bytes that were taken from the stream before.
    pub(super) first: Option<Bytes>,
    pub(super) stream: RecvStream,
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(bytes)) => {
                // The client may send as many bytes again.
                let _ = self.stream.flow_control().release_capacity(bytes.len()); // fails only if the stream has ended
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                let trailers = ready!(self.stream.poll_trailers(cx));
                let trailers = trailers.map(|trailers| trailers.map(Frame::trailers));
                Poll::Ready(trailers.transpose())
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.stream.is_end_stream()
    }
}

/// Sends what `answering` gives. It stops when the client gives the call up. What has not been sent at the deadline that the client has
/// set, `until`, is reset: a status that it does not read, or a stream that goes on. A panic fails only this call.
pub(super) async fn relay(
    answering: impl Future<Output = Result<Response<Body>, Infallible>>,
    respond: SendResponse<Bytes>,
    is_stream: bool,
    until: Option<Instant>,
) {
    let relayed = relay_all(answering, respond, is_stream);
    match until {
        // What is dropped here resets its stream.
        Some(until) => _ = tokio::time::timeout_at(until + TIME_TO_TELL, relayed).await,
        None => relayed.await,
    }
}

async fn relay_all(
    answering: impl Future<Output = Result<Response<Body>, Infallible>>,
    mut respond: SendResponse<Bytes>,
    is_stream: bool,
) {
    let mut answering = pin!(answering);
    let answer = poll_fn(|cx| {
        if respond.poll_reset(cx).is_ready() {
            return Poll::Ready(None); // the client has given the call up, or the connection is lost
        }
        let polled = catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Ready(Ok(answer))) => Poll::Ready(Some(answer)),
            Ok(Poll::Pending) => Poll::Pending,
            // The panic hook has logged it, and the future is not polled again.
            Err(_) => Poll::Ready(Some(convert::internal().into_http())),
        }
    });
    let Some(answer) = answer.await else { return };
    let (head, body) = answer.into_parts();
    let is_end = body.is_end_stream();
    let head = Response::from_parts(head, ());
    // An error means that the stream has ended, so that there is nobody to tell.
    if let Ok(stream) = respond.send_response(head, is_end)
        && !is_end
    {
        send(body, stream, is_stream).await;
    }
}

/// Sends the frames of `body`.
async fn send(body: Body, mut stream: SendStream<Bytes>, is_stream: bool) {
    let mut body = pin!(body);
    loop {
        let frame = poll_fn(|cx| {
            if stream.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            let polled = catch_unwind(AssertUnwindSafe(|| body.as_mut().poll_frame(cx)));
            polled.unwrap_or(Poll::Ready(None)) // as if the answer ended: without trailers, it is an error
        });
        let sent = match frame.await {
            None => break,
            Some(Err(_)) => break,
            Some(Ok(frame)) => match frame.into_data() {
                // A client may leave a stream unread for as long as it likes, which costs only its own stream.
                Ok(bytes) if is_stream => send_bytes(&mut stream, bytes).await,
                Ok(bytes) => {
                    let sending = send_bytes(&mut stream, bytes);
                    let Ok(sent) = tokio::time::timeout(TIME_TO_READ, sending).await else {
                        stream.send_reset(Reason::CANCEL);
                        return;
                    };
                    sent
                }
                Err(frame) => match frame.into_trailers() {
                    // The trailers end the stream.
                    Ok(trailers) => {
                        let _ = stream.send_trailers(trailers); // an error means that the stream has ended
                        return;
                    }
                    Err(_) => Some(()), // there is no third kind
                },
            },
        };
        if sent.is_none() {
            return;
        }
    }
    stream.send_reset(Reason::INTERNAL_ERROR); // does nothing if the client has reset it
}

/// The longest frame that h2 copies into its buffer: shorter than its `CHAIN_THRESHOLD_WITHOUT_VECTORED_IO`, which holds
/// because `Connection` has no vectored writes. `benches/serve` shows it in the CPU time of a batch.
///
/// PERF: it writes all that is in the buffer at once. Of a longer frame it writes the beginning, then the rest, and then
/// what comes after it, so that the client is woken three times for one answer.
const COPIED_BYTES: usize = 1023;

/// The most bytes that are sent in frames of that length. They leave space in h2's buffer for what comes before and after
/// them.
const SHORT_BYTES: usize = 14 * 1024;

/// Sends `bytes`, for which the client has left space, in frames that are written together if they are short. The error is
/// that of a stream that has ended.
pub(super) fn send_frames(
    stream: &mut SendStream<Bytes>,
    mut bytes: Bytes,
) -> Result<(), h2::Error> {
    let most = match bytes.len() {
        ..=SHORT_BYTES => COPIED_BYTES,
        _ => usize::MAX,
    };
    while !bytes.is_empty() {
        stream.send_data(bytes.split_to(most.min(bytes.len())), false)?;
    }
    Ok(())
}

/// Sends `bytes` as fast as the client reads. Returns `None` if the stream has ended.
pub(super) async fn send_bytes(stream: &mut SendStream<Bytes>, mut bytes: Bytes) -> Option<()> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let capacity = poll_fn(|cx| {
            if stream.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            match stream.capacity() {
                // This says what is new only.
                0 => match ready!(stream.poll_capacity(cx)) {
                    Some(Ok(capacity)) => Poll::Ready(Some(capacity)),
                    Some(Err(_)) | None => Poll::Ready(None),
                },
                capacity => Poll::Ready(Some(capacity)),
            }
        });
        let capacity = capacity.await?;
        let piece = bytes.split_to(capacity.min(bytes.len()));
        send_frames(stream, piece).ok()?;
    }
    Some(())
}
