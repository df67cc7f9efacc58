//! The messages of a call as gRPC frames them (for each a flag, four bytes of length, and its bytes), and its trailers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::Body as _;
use prost::bytes::{Buf, BufMut, BytesMut};
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::{HeaderMap, HeaderValue};
use tonic::{Code, Status};

use super::convert;

/// The length of a message's head.
const HEAD_BYTES: usize = 5;

/// The messages of a call, one after the other. A message that has come whole in one frame is not copied.
#[derive(Debug)]
pub(super) struct Messages {
    body: Body,
    max_bytes: usize,
    /// What has come and was not looked at.
    come: Bytes,
    /// The head and the bytes of a message that comes in pieces.
    begun: BytesMut,
}

impl Messages {
    /// Returns the messages of `body`. A message of more than `max_bytes` is an error.
    pub(super) fn of(body: Body, max_bytes: usize) -> Self {
        Self {
            body,
            max_bytes,
            come: Bytes::new(),
            begun: BytesMut::new(),
        }
    }

    /// Returns the next message; `None` behind the last one.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Status>>> {
        loop {
            if let Some(message) = self.take().transpose() {
                return Poll::Ready(Some(message));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                // What has no data are the trailers, which say nothing.
                Some(Ok(frame)) => self.come = frame.into_data().unwrap_or_default(),
                Some(Err(status)) => return Poll::Ready(Some(Err(readable(status)))),
                None if self.begun.is_empty() => return Poll::Ready(None),
                None => {
                    self.begun.clear();
                    return Poll::Ready(Some(Err(convert::undecodable())));
                }
            }
        }
    }

    /// Takes the next message from the bytes that have come, if it has come whole. Otherwise all of them are looked at.
    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        if self.begun.is_empty()
            && let Some((head, rest)) = self.come.split_first_chunk()
        {
            let n_bytes = self.length(*head)?;
            if n_bytes <= rest.len() {
                self.come.advance(HEAD_BYTES);
                return Ok(Some(self.come.split_to(n_bytes)));
            }
        }
        self.begin(HEAD_BYTES);
        let Some((head, _)) = self.begun.split_first_chunk() else {
            return Ok(None);
        };
        let whole = self.length(*head)?.saturating_add(HEAD_BYTES);
        self.begin(whole);
        if self.begun.len() < whole {
            return Ok(None);
        }
        let mut message = std::mem::take(&mut self.begun).freeze(); // its memory goes with it
        message.advance(HEAD_BYTES);
        Ok(Some(message))
    }

    /// Moves bytes that have come to the message that has begun, until that has `n_bytes`.
    fn begin(&mut self, n_bytes: usize) {
        let n_more = n_bytes.saturating_sub(self.begun.len());
        let more = self.come.split_to(n_more.min(self.come.len()));
        self.begun.extend_from_slice(&more);
    }

    /// Returns the length that a head says.
    fn length(&self, head: [u8; HEAD_BYTES]) -> Result<usize, Status> {
        let [is_compressed, length @ ..] = head;
        if is_compressed != 0 {
            return Err(convert::undecodable()); // no call says that it compresses
        }
        let n_bytes = u32::from_be_bytes(length) as usize;
        if n_bytes > self.max_bytes {
            return Err(Status::out_of_range(format!(
                "a message has {n_bytes} bytes, the limit is {}",
                self.max_bytes
            )));
        }
        Ok(n_bytes)
    }
}

/// Writes the head of a message of `n_bytes`.
pub(super) fn put_head(n_bytes: usize, out: &mut impl BufMut) {
    out.put_u8(0);
    out.put_u32(u32::try_from(n_bytes).unwrap_or(u32::MAX));
}

/// Returns the trailers that tell `status`.
pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        let code = HeaderValue::from(status.code() as i32); // the message cannot be a header
        trailers.insert(Status::GRPC_STATUS, code);
    }
    trailers
}

/// Replaces the status INTERNAL of a request that broke off. That is the fault of its sender, and INTERNAL means a
/// fault of iamd.
fn readable(status: Status) -> Status {
    if status.code() == Code::Internal && status.details().is_empty() {
        return convert::undecodable();
    }
    status
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::collections::VecDeque;
    use std::task::Waker;

    use http_body::Frame;

    use super::*;

    /// A body of these frames.
    struct Frames(VecDeque<Bytes>);

    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop_front().map(|bytes| Ok(Frame::data(bytes))))
        }
    }

    /// Returns the messages of a body that comes in frames of `n_bytes`, up to the first error.
    fn read(sent: &[u8], n_bytes: usize) -> Vec<Result<Bytes, Code>> {
        let frames = sent.chunks(n_bytes).map(Bytes::copy_from_slice).collect();
        let mut messages = Messages::of(Body::new(Frames(frames)), 300);
        let mut cx = Context::from_waker(Waker::noop());
        let mut read = Vec::new();
        loop {
            let Poll::Ready(message) = messages.poll_next(&mut cx) else {
                unreachable!("all frames are there")
            };
            let Some(message) = message else { return read };
            let is_error = message.is_err();
            read.push(message.map_err(|status| status.code()));
            if is_error {
                return read;
            }
        }
    }

    fn sent(messages: &[&[u8]]) -> Vec<u8> {
        let mut sent = Vec::new();
        for message in messages {
            put_head(message.len(), &mut sent);
            sent.extend_from_slice(message);
        }
        sent
    }

    #[test]
    fn messages_are_read_wherever_their_bytes_are_cut() {
        let long = [7; 300];
        let all = [&b"one"[..], b"", &long, b"four"];
        let sent = sent(&all);
        for n_bytes in 1..=sent.len() {
            let read = read(&sent, n_bytes);
            let expected = all.map(|message| Ok(Bytes::copy_from_slice(message)));
            assert_eq!(read, expected, "in frames of {n_bytes}");
        }
    }

    #[test]
    fn what_is_not_a_message_is_an_error_behind_the_messages_before_it() {
        let mut broken_off = sent(&[b"one", b"two"]);
        broken_off.pop();
        let mut compressed = sent(&[b"one", b"two"]);
        *compressed.get_mut(8).unwrap() = 1;
        let too_long = sent(&[b"one", &[7; 301]]);
        let mut no_head = sent(&[b"one", b""]);
        no_head.pop();
        for (sent, code) in [
            (broken_off, Code::InvalidArgument),
            (compressed, Code::InvalidArgument),
            (no_head, Code::InvalidArgument),
            (too_long, Code::OutOfRange),
        ] {
            for n_bytes in 1..=sent.len() {
                let expected = [Ok(Bytes::from_static(b"one")), Err(code)];
                assert_eq!(read(&sent, n_bytes), expected, "{sent:?} by {n_bytes}");
            }
        }
    }
}
