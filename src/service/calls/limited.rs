//! Requests whose messages are held to a limit before any of their bytes are kept.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;

use crate::authorizer::Refusal;
use crate::service::convert;

/// The bytes of messages that have not come whole, over all calls of a server.
#[derive(Debug)]
pub(in crate::service) struct Unfinished {
    most: usize,
    n_bytes: AtomicUsize,
}

impl Unfinished {
    /// Makes space for `most` bytes.
    pub(in crate::service) fn new(most: usize) -> Self {
        Self {
            most,
            n_bytes: AtomicUsize::new(0),
        }
    }

    /// Takes space for `n_bytes`. Returns whether there is as much.
    fn take(&self, n_bytes: usize) -> bool {
        let before = self.n_bytes.fetch_add(n_bytes, Ordering::Relaxed);
        let fits = before.saturating_add(n_bytes) <= self.most;
        if !fits {
            self.give_back(n_bytes);
        }
        fits
    }

    fn give_back(&self, n_bytes: usize) {
        self.n_bytes.fetch_sub(n_bytes, Ordering::Relaxed);
    }
}

/// A request's body. It fails at the head of the first message that is too long, behind all messages before it.
pub(super) struct Limited {
    body: Body,
    max_bytes: usize,
    max_message_bytes: usize,
    state: State,
    /// The refusal of the message that comes next, once the messages before it have been passed on.
    refusal: Option<Status>,
    /// Where the space is counted, if it is.
    unfinished: Option<Arc<Unfinished>>,
    /// The space that this body has taken: for the message that is coming, whose bytes the reader of messages keeps. A call
    /// with one message keeps all of it until it is answered.
    n_kept: usize,
    is_stream: bool,
    /// The time by which the whole body must have arrived.
    is_late: Option<Pin<Box<Sleep>>>,
}

impl Drop for Limited {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished {
            unfinished.give_back(self.n_kept);
        }
    }
}

impl Limited {
    /// Limits each message of `body` to `max_bytes`. What is longer than `max_message_bytes` is passed on, and tonic
    /// refuses it.
    pub(super) fn new(
        body: Body,
        max_bytes: usize,
        max_message_bytes: usize,
        unfinished: Option<Arc<Unfinished>>,
        is_stream: bool,
        is_late: Option<Pin<Box<Sleep>>>,
    ) -> Self {
        Self {
            body,
            max_bytes,
            max_message_bytes,
            state: State::START,
            refusal: None,
            unfinished,
            n_kept: 0,
            is_stream,
            is_late,
        }
    }

    /// Looks at the heads in `bytes`, and returns the bytes to pass on: all, or those before a message that is too long.
    fn checked(&mut self, mut bytes: Bytes) -> Bytes {
        match self.state.after(&bytes, self.max_bytes) {
            Ok(state) => self.state = state,
            // tonic refuses a message that is longer than any call allows.
            Err(too_long) if too_long.n_bytes as usize > self.max_message_bytes => {
                self.state = State::message(too_long.n_bytes, too_long.n_bytes);
            }
            Err(too_long) => {
                let n_bytes = too_long.n_bytes as usize;
                let refusal = Refusal::question_too_large(n_bytes, self.max_bytes);
                self.refusal = Some(convert::status(&refusal));
                bytes.truncate(too_long.begins_at);
            }
        }
        self.keep(bytes)
    }

    /// Takes the space for the message that is not whole after `bytes`, and gives back that of messages which are whole
    /// now. Returns the bytes to pass on.
    fn keep(&mut self, bytes: Bytes) -> Bytes {
        let Some(unfinished) = &self.unfinished else {
            return bytes;
        };
        let n_kept = if self.is_stream {
            self.state.n_come()
        } else {
            self.n_kept.saturating_add(bytes.len())
        };
        if let Some(n_more) = n_kept.checked_sub(self.n_kept)
            && !unfinished.take(n_more)
        {
            self.refusal = Some(convert::overloaded(
                "too many bytes of messages have come that are not whole",
            ));
            return Bytes::new();
        }
        unfinished.give_back(self.n_kept.saturating_sub(n_kept));
        self.n_kept = n_kept;
        bytes
    }
}

/// The position in a body, which is a sequence of messages: for each a flag, four bytes of length, and its bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// How many bytes of a head have arrived, and the length that they say so far.
    Head(u8, u32),
    /// How many bytes of a message are still to come, and its length.
    Message(u32, u32),
}

/// A message that is longer than allowed.
#[derive(Debug, PartialEq)]
struct TooLong {
    n_bytes: u32,
    /// Where its head begins in the bytes that ended with the length, or 0 if it began before them.
    begins_at: usize,
}

impl State {
    const START: Self = Self::Head(0, 0);
    const HEAD_BYTES: u8 = 5;

    /// Returns the position after `bytes`. The error is the first message that is longer than `most`.
    fn after(mut self, all: &[u8], most: usize) -> Result<Self, TooLong> {
        let mut bytes = all;
        while let Some((first, rest)) = bytes.split_first() {
            match self {
                Self::Head(n, length) => {
                    bytes = rest;
                    let length = if n == 0 {
                        0
                    } else {
                        (length << 8) | u32::from(*first)
                    };
                    self = if n + 1 < Self::HEAD_BYTES {
                        Self::Head(n + 1, length)
                    } else if length as usize > most {
                        let ends_at = all.len().saturating_sub(rest.len());
                        return Err(TooLong {
                            n_bytes: length,
                            begins_at: ends_at.saturating_sub(Self::HEAD_BYTES.into()),
                        });
                    } else {
                        Self::message(length, length)
                    };
                }
                Self::Message(left, length) => {
                    let n = bytes.len().min(left as usize);
                    bytes = bytes.get(n..).unwrap_or_default();
                    // INVARIANT: no more than `left`, which is a `u32`.
                    let left = left.saturating_sub(u32::try_from(n).unwrap_or(left));
                    self = Self::message(left, length);
                }
            }
        }
        Ok(self)
    }

    fn message(left: u32, length: u32) -> Self {
        if left == 0 {
            Self::START
        } else {
            Self::Message(left, length)
        }
    }

    /// Returns how many bytes of the message that is coming have come, with its head.
    fn n_come(self) -> usize {
        match self {
            Self::Head(n, _) => n.into(),
            Self::Message(left, length) => {
                usize::from(Self::HEAD_BYTES) + length.saturating_sub(left) as usize
            }
        }
    }
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(refusal) = self.refusal.take() {
            return Poll::Ready(Some(Err(refusal)));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            let is_late = self.is_late.as_mut();
            return match is_late.map(|is_late| is_late.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => {
                    let status = Status::deadline_exceeded("the question did not arrive in time");
                    Poll::Ready(Some(Err(status)))
                }
                _ => Poll::Pending,
            };
        };
        let frame = match frame {
            Some(Ok(frame)) => frame,
            end => return Poll::Ready(end),
        };
        let bytes = match frame.into_data() {
            Ok(bytes) => self.checked(bytes),
            Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
        };
        match self.refusal.take_if(|_| bytes.is_empty()) {
            Some(refusal) => Poll::Ready(Some(Err(refusal))),
            None => Poll::Ready(Some(Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.refusal.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn a_head_is_read_wherever_the_bytes_are_cut() {
        // A message of 3 bytes, an empty message, and the head of a message of 300 bytes.
        let sent = [0, 0, 0, 0, 3, 9, 9, 9, 1, 0, 0, 0, 0, 0, 0, 0, 1, 44];
        for cut in 0..sent.len() {
            let (first, second) = sent.split_at(cut);
            let state = State::START.after(first, 299).unwrap();
            let too_long = TooLong {
                n_bytes: 300,
                begins_at: 13_usize.saturating_sub(cut),
            };
            assert_eq!(state.after(second, 299), Err(too_long), "cut at {cut}");
            let state = State::START.after(first, 300).unwrap();
            assert_eq!(
                state.after(second, 300),
                Ok(State::Message(300, 300)),
                "cut at {cut}"
            );
        }
        let longest = [0, 255, 255, 255, 255];
        let too_long = State::START.after(&longest, 20).unwrap_err();
        assert_eq!(too_long.n_bytes, u32::MAX);
    }

    /// A client that sends its message and leaves the call open must not have its memory for nothing.
    #[test]
    fn a_call_with_one_message_keeps_its_space_until_it_is_answered() {
        let unfinished = Arc::new(Unfinished::new(200));
        let limited = |is_stream| {
            let unfinished = Arc::clone(&unfinished);
            Limited::new(Body::empty(), 100, 100, Some(unfinished), is_stream, None)
        };
        let message = Bytes::from([&[0, 0, 0, 0, 95][..], &[7; 95]].concat());
        let (mut stream, mut one, mut other) = (limited(true), limited(false), limited(false));
        assert_eq!(stream.checked(message.clone()).len(), 100);
        assert_eq!(one.checked(message.clone()).len(), 100);
        assert_eq!(unfinished.n_bytes.load(Ordering::Relaxed), 100);
        assert_eq!(other.checked(message.clone()).len(), 100);
        assert_eq!(limited(false).checked(message.clone()).len(), 0, "no space");
        drop(one);
        assert_eq!(limited(false).checked(message).len(), 100);
    }

    /// A stream may have sent any number of messages, in frames that end in the middle of one. Only the bytes of that one
    /// are kept.
    #[test]
    fn only_the_message_that_is_not_whole_takes_space() {
        let unfinished = Arc::new(Unfinished::new(1000));
        let body = Body::empty();
        let mut limited = Limited::new(body, 100, 100, Some(Arc::clone(&unfinished)), true, None);
        let message = [&[0, 0, 0, 0, 100][..], &[7; 100]].concat();
        let sent = Bytes::from(message.repeat(70));
        let n_taken = || unfinished.n_bytes.load(Ordering::Relaxed);
        for n_sent in (71..sent.len()).step_by(71) {
            let frame = sent.slice(n_sent - 71..n_sent);
            assert_eq!(limited.checked(frame).len(), 71, "after {n_sent}");
            assert_eq!(n_taken(), n_sent % message.len(), "after {n_sent}");
        }
        drop(limited);
        assert_eq!(n_taken(), 0);
    }
}
