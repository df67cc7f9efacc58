//! Overload: questions that have waited for too long are refused, so that those which are answered do not wait long.
//!
//! A queue that is there for a moment is no overload. Many questions may come at once, and all of them are answered. But
//! when a thread has had no rest for a while, it gets more questions than it can answer, and then the queue only grows.
//! From then on a question that has waited for too long is refused when its turn comes, which costs little.
//!
//! The connections of a thread have their turns one after the other. A question of a connection with few of them is read
//! when its turn is there and has hardly waited, so it is answered whatever the others send.
//!
//! Waiting is measured by the work that the thread has done meanwhile. While the system gives the processor to others,
//! the thread does none, and questions that wait for that are not too many.

use std::cell::Cell;
use std::time::Duration;

/// How long a thread must have worked without a rest, until the queue in front of it counts as overload.
const NO_REST: Duration = Duration::from_millis(100);

/// The most that one piece of work counts: more than the most expensive question takes. The thread was interrupted if it
/// took longer.
const ONE_PIECE: Duration = Duration::from_millis(3);

/// A moment, as the work that a thread has done up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(Duration);

/// What a thread knows about its work.
#[derive(Clone, Copy, Debug)]
struct Thread {
    now: Moment,
    /// When it last had a rest. `None` if nobody tells.
    rested_at: Option<Moment>,
}

thread_local! {
    static THREAD: Cell<Thread> = const { Cell::new(Thread::NEW) };
}

impl Thread {
    const NEW: Self = Self {
        now: Moment(Duration::ZERO),
        rested_at: None,
    };

    fn rest(self) -> Self {
        Self {
            rested_at: Some(self.now),
            ..self
        }
    }

    fn work(self, took: Duration) -> Self {
        let Moment(now) = self.now;
        Self {
            now: Moment(now.saturating_add(took.min(ONE_PIECE))),
            ..self
        }
    }

    fn is_too_late(self, since: Moment, most: Duration) -> bool {
        let ago = |Moment(then)| self.now.0.saturating_sub(then);
        let is_overload = self.rested_at.is_some_and(|rested| ago(rested) >= NO_REST);
        is_overload && !most.is_zero() && ago(since) > most
    }
}

/// Notes that this thread has had a rest. Its runtime calls it.
pub(crate) fn woke() {
    THREAD.set(THREAD.get().rest());
}

/// Notes that this thread has worked for this long.
pub(super) fn worked(took: Duration) {
    THREAD.set(THREAD.get().work(took));
}

/// Returns this moment of this thread.
pub(super) fn now() -> Moment {
    THREAD.get().now
}

/// Returns whether a question that came to this thread at `since` has waited for longer than `most` while the thread had
/// too much to do. If `most` is zero, questions may wait for any time.
pub(super) fn is_too_late(since: Moment, most: Duration) -> bool {
    THREAD.get().is_too_late(since, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(10);

    /// Returns a thread after this much work in pieces of a millisecond.
    fn after(thread: Thread, work: Duration) -> Thread {
        let piece = Duration::from_millis(1);
        (0..work.as_millis()).fold(thread, |thread, _| thread.work(piece))
    }

    #[test]
    fn a_queue_is_no_overload_until_the_thread_has_had_no_rest_for_a_while() {
        let thread = after(Thread::NEW.rest(), NO_REST - Duration::from_millis(1));
        assert!(!thread.is_too_late(Moment::default(), MOST));
        let thread = after(thread, Duration::from_millis(1));
        assert!(thread.is_too_late(Moment::default(), MOST));
        assert!(!thread.is_too_late(Moment::default(), Duration::ZERO));
        assert!(!thread.rest().is_too_late(Moment::default(), MOST));
        let untold = after(Thread::NEW, 10 * NO_REST);
        assert!(!untold.is_too_late(Moment::default(), MOST));
    }

    #[test]
    fn a_question_that_came_lately_is_not_too_late() {
        let thread = after(Thread::NEW.rest(), NO_REST);
        let came = thread.now;
        let thread = after(thread, MOST);
        assert!(!thread.is_too_late(came, MOST));
        assert!(after(thread, Duration::from_millis(1)).is_too_late(came, MOST));
    }

    #[test]
    fn a_thread_that_was_interrupted_has_not_worked() {
        let thread = after(Thread::NEW.rest(), NO_REST);
        let came = thread.now;
        let interrupted = thread.work(Duration::from_secs(5));
        assert!(!interrupted.is_too_late(came, MOST));
    }
}
