//! Answers that keep the permits of their call until the client has read them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use http_body::Frame;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;

use super::Place;
use crate::config::{LONGEST_DEADLINE, TIME_TO_READ};

/// An answer that keeps its permits until it is read, so there are never more unread answers than permits. An answer
/// that is not read in time is dropped. A task of its own watches the time, because nobody polls the body of an answer
/// while the peer takes no bytes.
pub(super) struct Held(Arc<Mutex<Option<Unread>>>);

/// The unread part of an answer.
struct Unread {
    body: Body,
    /// The rest of a frame that was too long to pass on in one piece.
    rest: Bytes,
    _place: Place,
    /// The time at which the peer last took a piece.
    taken_at: Instant,
}

/// The most bytes of an answer that are passed on at once. The HTTP library buffers all that it gets, read or not.
pub(super) const MAX_PIECE_BYTES: usize = 16 * 1024;

impl Held {
    pub(super) fn of(body: Body, place: Place) -> Self {
        let held = Arc::new(Mutex::new(Some(Unread {
            body,
            rest: Bytes::new(),
            _place: place,
            taken_at: Instant::now(),
        })));
        let given_up = Arc::downgrade(&held);
        tokio::spawn(async move {
            let end = Instant::now() + LONGEST_DEADLINE;
            let mut look_at = Instant::now() + TIME_TO_READ;
            loop {
                tokio::time::sleep_until(look_at.min(end)).await;
                let Some(held) = given_up.upgrade() else {
                    return;
                };
                let mut held = lock(&held);
                let Some(unread) = held.as_ref() else { return };
                look_at = unread.taken_at + TIME_TO_READ;
                let now = Instant::now();
                if look_at <= now || end <= now {
                    held.take();
                    return;
                }
            }
        });
        Self(held)
    }
}

impl Unread {
    fn piece(&mut self) -> Frame<Bytes> {
        self.taken_at = Instant::now();
        let n_bytes = self.rest.len().min(MAX_PIECE_BYTES);
        Frame::data(self.rest.split_to(n_bytes))
    }
}

/// Locks `mutex`, even if a thread panicked while it held the lock: no step leaves the content half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut held = lock(&self.0);
        let Some(unread) = held.as_mut() else {
            let status = Status::deadline_exceeded("the answer was not read in time");
            return Poll::Ready(Some(Err(status)));
        };
        if !unread.rest.is_empty() {
            return Poll::Ready(Some(Ok(unread.piece())));
        }
        let frame = std::task::ready!(Pin::new(&mut unread.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| match frame.into_data() {
                Ok(data) => {
                    unread.rest = data;
                    unread.piece()
                }
                Err(trailers) => trailers,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        let held = lock(&self.0);
        held.as_ref()
            .is_some_and(|unread| unread.rest.is_empty() && unread.body.is_end_stream())
    }
}
