//! Overload: questions that have waited for too long are refused, so that those which are answered do not wait long.
//!
//! A queue that is there for a moment is no overload. Many questions may come at once, and all of them are answered. But
//! when a thread has had no rest for a while, it gets more questions than it can answer, and then the queue only grows.
//! From then on a question that has waited for too long is refused when its turn comes, which costs little. This ends when
//! the thread has refused nothing for a while: a rest alone does not end it, because refusals make rests.
//!
//! The connections of a thread have their turns one after the other. A question of a connection with few of them is read
//! when its turn is there and has hardly waited, so it is answered whatever the others send. A connection that sends several
//! questions, some of which were refused, has its next turn after those of the others, and its questions wait from the moment
//! when their bytes come: [`Unread`] notes it.
//!
//! Up to [`MANY`] questions are never too many, however long each of them takes: as many clients as that wait for one another
//! without harm, because each asks again only when it has its answer. But once there are more, and so the thread begins to
//! refuse, it refuses until only a [`FEW`] wait, and those that wait for long. Otherwise each answer would come as late as those of
//! so many.
//!
//! Waiting is measured by the work that the thread has done meanwhile. While the system gives the processor to others,
//! the thread does none, and questions that wait for that are not too many.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

/// How long a thread must have worked without a rest, until the queue in front of it counts as overload.
const NO_REST: Duration = Duration::from_millis(100);

/// How long it must have refused nothing, until that ends.
const NO_REFUSAL: Duration = Duration::from_millis(100);

/// How many questions may wait on a thread for any time, until it refuses any. This is more than the hundred that one connection may
/// have in flight, because a client that waits only for itself is no overload.
const MANY: usize = 128;

/// How many may wait for any time while it refuses others.
const FEW: usize = 16;

/// The part of the longest wait for which questions may wait while others are refused. Only then it is known that there are too
/// many, and that those who are answered would wait for that long all the time.
const PART: u32 = 5;

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
    /// When it last refused a question.
    refused_at: Option<Instant>,
    /// How many calls have come and were not looked at yet. A connection with bytes that were not read counts as one.
    n_waiting: usize,
}

thread_local! {
    static THREAD: Cell<Thread> = const { Cell::new(Thread::NEW) };
}

impl Thread {
    const NEW: Self = Self {
        now: Moment(Duration::ZERO),
        rested_at: None,
        refused_at: None,
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

    fn refuse(self, at: Instant) -> Self {
        Self {
            refused_at: Some(at),
            ..self
        }
    }

    /// Returns whether it has refused a question lately.
    fn refuses(self, at: Instant) -> bool {
        let lately = |refused| at.saturating_duration_since(refused) < NO_REFUSAL;
        self.refused_at.is_some_and(lately)
    }

    fn is_too_late(self, since: Moment, most: Duration, at: Instant) -> bool {
        if most.is_zero() {
            return false;
        }
        let waited = self.since(since);
        if self.refuses(at) {
            return waited > most / PART && self.n_waiting > FEW;
        }
        let is_restless = |rested| self.since(rested) >= NO_REST;
        waited > most && self.n_waiting > MANY && self.rested_at.is_some_and(is_restless)
    }

    fn since(self, Moment(then): Moment) -> Duration {
        let Moment(now) = self.now;
        now.saturating_sub(then)
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

/// Notes that this thread has refused a question.
pub(super) fn refused(at: Instant) {
    THREAD.set(THREAD.get().refuse(at));
}

/// Returns this moment of this thread.
pub(super) fn now() -> Moment {
    THREAD.get().now
}

/// Returns whether this thread gets more than it can answer, so that it has refused a question lately.
pub(super) fn refuses(at: Instant) -> bool {
    THREAD.get().refuses(at)
}

/// Returns whether a question that came to this thread at `since` has waited for longer than `most` while the thread had
/// too much to do. If `most` is zero, questions may wait for any time.
pub(super) fn is_too_late(since: Moment, most: Duration, at: Instant) -> bool {
    THREAD.get().is_too_late(since, most, at)
}

/// When the bytes came that a connection has not read, and those that it has read last. Only the connection's thread uses
/// it.
#[derive(Debug, Default)]
pub(super) struct Unread {
    unread: Mark,
    read: Mark,
    /// Whether the connection counts among what waits on the thread, or is closed and never counts again.
    counts: AtomicBool,
}

/// A moment, or none.
#[derive(Debug, Default)]
struct Mark(AtomicU64);

impl Mark {
    fn get(&self) -> Option<Moment> {
        let after = self.0.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Moment(Duration::from_nanos(after)))
    }

    fn set(&self, moment: Option<Moment>) {
        let mark = moment.map_or(0, |Moment(moment)| {
            u64::try_from(moment.as_nanos()).map_or(u64::MAX, |nanos| nanos.saturating_add(1))
        });
        self.0.store(mark, Ordering::Relaxed);
    }
}

impl Unread {
    /// Notes that bytes have come.
    fn come(&self) {
        if self.unread.get().is_none() {
            self.unread.set(Some(now()));
        }
        if !self.counts.swap(true, Ordering::Relaxed) {
            change_waiting(|n_waiting| n_waiting.saturating_add(1));
        }
    }

    /// Notes that bytes were read. Those that are read next may be there already.
    pub(super) fn read(&self) {
        if self.read.get().is_none() {
            self.read.set(Some(self.unread.get().unwrap_or_else(now)));
        }
        self.unread.set(Some(now()));
        self.count_no_longer();
    }

    /// Notes that nothing is there.
    pub(super) fn end(&self) {
        self.unread.set(None);
        self.count_no_longer();
    }

    /// Notes that the connection is closed. A bell that rings late, because the runtime kept its waker, counts nothing any more.
    pub(super) fn close(&self) {
        self.count_no_longer();
        self.counts.store(true, Ordering::Relaxed);
    }

    fn count_no_longer(&self) {
        if self.counts.swap(false, Ordering::Relaxed) {
            change_waiting(|n_waiting| n_waiting.saturating_sub(1));
        }
    }

    /// Returns when the bytes came that were read since this was called last.
    pub(super) fn take(&self) -> Option<Moment> {
        let read = self.read.get();
        self.read.set(None);
        read
    }
}

/// Wakes the task of a connection, and notes that bytes have come.
struct Alarm {
    task: Waker,
    unread: Arc<Unread>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.unread.come();
        self.task.wake_by_ref();
    }
}

/// The waker of a connection's socket.
#[derive(Debug, Default)]
pub(super) struct Bell(Option<(Waker, Waker)>);

impl Bell {
    /// Returns a waker that wakes the task of `cx`, and notes in `unread` when bytes came.
    pub(super) fn waker(&mut self, cx: &Context<'_>, unread: &Arc<Unread>) -> &Waker {
        // PERF: the task stays the same, so this makes one waker for each connection.
        self.0.take_if(|(task, _)| !task.will_wake(cx.waker()));
        let (_, waker) = self.0.get_or_insert_with(|| {
            let task = cx.waker().clone();
            let alarm = Alarm {
                task: task.clone(),
                unread: Arc::clone(unread),
            };
            (task, Waker::from(Arc::new(alarm)))
        });
        waker
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(10);
    const CROWDED: Thread = Thread {
        n_waiting: MANY + 1,
        ..Thread::NEW
    };

    /// Returns a thread after this much work in pieces of a millisecond.
    fn after(thread: Thread, work: Duration) -> Thread {
        let piece = Duration::from_millis(1);
        (0..work.as_millis()).fold(thread, |thread, _| thread.work(piece))
    }

    /// Returns whether a question that came at `since` is too late on `thread` at `at`.
    fn is_late(thread: Thread, since: Moment, at: Instant) -> bool {
        thread.is_too_late(since, MOST, at)
    }

    #[test]
    fn a_queue_is_no_overload_until_the_thread_has_had_no_rest_for_a_while() {
        let (came, at) = (Moment::default(), Instant::now());
        let thread = after(CROWDED.rest(), NO_REST - Duration::from_millis(1));
        assert!(!is_late(thread, came, at));
        let thread = after(thread, Duration::from_millis(1));
        assert!(is_late(thread, came, at));
        assert!(!thread.is_too_late(came, Duration::ZERO, at));
        assert!(!is_late(thread.rest(), came, at));
        let untold = after(CROWDED, 10 * NO_REST);
        assert!(!is_late(untold, came, at));
    }

    #[test]
    fn an_overload_ends_when_nothing_was_refused_for_a_while() {
        let (came, at) = (Moment::default(), Instant::now());
        let rested = after(CROWDED.rest(), NO_REST).refuse(at).rest();
        assert!(is_late(rested, came, at + NO_REFUSAL / 2));
        assert!(!is_late(rested, came, at + NO_REFUSAL));
    }

    #[test]
    fn a_question_that_came_lately_is_not_too_late() {
        let at = Instant::now();
        let thread = after(CROWDED.rest(), NO_REST);
        let came = thread.now;
        let thread = after(thread, MOST);
        assert!(!is_late(thread, came, at));
        assert!(is_late(after(thread, Duration::from_millis(1)), came, at));
    }

    #[test]
    fn a_few_questions_may_wait_for_any_time() {
        let (came, at) = (Moment::default(), Instant::now());
        let crowded = after(CROWDED.rest(), 10 * NO_REST);
        let with = |n_waiting| Thread {
            n_waiting,
            ..crowded
        };
        assert!(is_late(with(MANY + 1), came, at));
        assert!(!is_late(with(MANY), came, at));
        // It is a few only while others are refused.
        assert!(is_late(with(FEW + 1).refuse(at), came, at));
        assert!(!is_late(with(FEW).refuse(at), came, at));
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
        assert!(!is_late(interrupted, came, Instant::now()));
    }

    /// The time in the socket counts, and a connection waits as one until it is read.
    #[test]
    fn a_question_waits_from_the_moment_when_its_bytes_come() {
        let (unread, n_before) = (Unread::default(), THREAD.get().n_waiting);
        let (work, piece) = (
            || worked(Duration::from_millis(1)),
            Duration::from_millis(1),
        );
        work();
        let came = now();
        unread.come();
        work();
        unread.come(); // more of them
        assert_eq!(THREAD.get().n_waiting, n_before + 1);
        unread.read();
        assert_eq!(THREAD.get().n_waiting, n_before);
        let Moment(first) = came;
        work();
        // There was more than one read took.
        unread.read();
        assert_eq!(unread.take(), Some(came));
        work();
        unread.read();
        assert_eq!(unread.take(), Some(Moment(first + 2 * piece)));
        // Nothing was there any more.
        unread.end();
        work();
        unread.read();
        assert_eq!(unread.take(), Some(Moment(first + 4 * piece)));
        assert_eq!(unread.take(), None);
        unread.come();
        unread.end();
        assert_eq!(THREAD.get().n_waiting, n_before);
        unread.come();
        unread.close();
        unread.come(); // a waker that is rung late
        assert_eq!(THREAD.get().n_waiting, n_before);
    }

    #[test]
    fn a_bell_wakes_the_task_and_notes_when_bytes_came() {
        struct Task(AtomicBool);
        impl Wake for Task {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let unread = Arc::new(Unread::default());
        let mut bell = Bell::default();
        for _ in 0..2 {
            let task = Arc::new(Task(AtomicBool::new(false)));
            let waker = Waker::from(Arc::clone(&task));
            let cx = Context::from_waker(&waker);
            let rung = bell.waker(&cx, &unread).clone();
            assert!(rung.will_wake(bell.waker(&cx, &unread)), "it is the same");
            rung.wake();
            assert!(task.0.load(Ordering::Relaxed));
            unread.read();
            assert_eq!(unread.take(), Some(now()));
            unread.end();
        }
    }
}
