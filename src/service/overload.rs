//! Overload: questions that have waited for too long are refused, so that those which are answered do not wait long.
//!
//! A queue that is there for a moment is no overload. Many questions may come at once, and all of them are answered. But
//! when a thread has had no rest for a while, it gets more questions than it can answer, and then the queue only grows.
//! From then on a question that has waited for too long is refused when its turn comes, which costs little.
//!
//! The connections of a thread have their turns one after the other. A question of a connection with few of them is read
//! when its turn is there and has hardly waited, so it is answered whatever the others send.
//!
//! A few questions are never too many, however long each of them takes: as many clients as that wait for one another
//! without harm.
//!
//! Waiting is measured by the work that the thread has done meanwhile. While the system gives the processor to others,
//! the thread does none, and questions that wait for that are not too many.

use std::cell::Cell;
use std::time::Duration;

/// How long a thread must have worked without a rest, until the queue in front of it counts as overload.
const NO_REST: Duration = Duration::from_millis(100);

/// How many questions may wait on a thread for any time.
const FEW: usize = 64;

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
    /// How many calls have come and were not looked at yet.
    n_waiting: usize,
}

thread_local! {
    static THREAD: Cell<Thread> = const { Cell::new(Thread::NEW) };
}

impl Thread {
    const NEW: Self = Self {
        now: Moment(Duration::ZERO),
        rested_at: None,
        n_waiting: 0,
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
        is_overload && self.n_waiting > FEW && !most.is_zero() && ago(since) > most
    }
}

/// Calls of one connection that have come and were not looked at yet.
pub(super) struct Waiting(usize);

impl Waiting {
    /// Notes that `n_calls` wait on this thread.
    pub(super) fn begin(n_calls: usize) -> Self {
        change_waiting(|n_waiting| n_waiting.saturating_add(n_calls));
        Self(n_calls)
    }

    /// Notes that one of them waits no longer.
    pub(super) fn next(&mut self) {
        self.0 = self.0.saturating_sub(1);
        change_waiting(|n_waiting| n_waiting.saturating_sub(1));
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        change_waiting(|n_waiting| n_waiting.saturating_sub(self.0));
    }
}

fn change_waiting(change: impl FnOnce(usize) -> usize) {
    let mut thread = THREAD.get();
    thread.n_waiting = change(thread.n_waiting);
    THREAD.set(thread);
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
    const CROWDED: Thread = Thread {
        n_waiting: FEW + 1,
        ..Thread::NEW
    };

    /// Returns a thread after this much work in pieces of a millisecond.
    fn after(thread: Thread, work: Duration) -> Thread {
        let piece = Duration::from_millis(1);
        (0..work.as_millis()).fold(thread, |thread, _| thread.work(piece))
    }

    #[test]
    fn a_queue_is_no_overload_until_the_thread_has_had_no_rest_for_a_while() {
        let thread = after(CROWDED.rest(), NO_REST - Duration::from_millis(1));
        assert!(!thread.is_too_late(Moment::default(), MOST));
        let thread = after(thread, Duration::from_millis(1));
        assert!(thread.is_too_late(Moment::default(), MOST));
        assert!(!thread.is_too_late(Moment::default(), Duration::ZERO));
        assert!(!thread.rest().is_too_late(Moment::default(), MOST));
        let untold = after(CROWDED, 10 * NO_REST);
        assert!(!untold.is_too_late(Moment::default(), MOST));
    }

    #[test]
    fn a_question_that_came_lately_is_not_too_late() {
        let thread = after(CROWDED.rest(), NO_REST);
        let came = thread.now;
        let thread = after(thread, MOST);
        assert!(!thread.is_too_late(came, MOST));
        assert!(after(thread, Duration::from_millis(1)).is_too_late(came, MOST));
    }

    #[test]
    fn a_few_questions_may_wait_for_any_time() {
        let crowded = after(CROWDED.rest(), 10 * NO_REST);
        assert!(crowded.is_too_late(Moment::default(), MOST));
        let few = Thread {
            n_waiting: FEW,
            ..crowded
        };
        assert!(!few.is_too_late(Moment::default(), MOST));
        let before = THREAD.get().n_waiting;
        let mut waiting = Waiting::begin(3);
        waiting.next();
        assert_eq!(THREAD.get().n_waiting, before + 2);
        drop(waiting);
        assert_eq!(THREAD.get().n_waiting, before);
    }

    #[test]
    fn a_thread_that_was_interrupted_has_not_worked() {
        let thread = after(CROWDED.rest(), NO_REST);
        let came = thread.now;
        let interrupted = thread.work(Duration::from_secs(5));
        assert!(!interrupted.is_too_late(came, MOST));
    }
}
