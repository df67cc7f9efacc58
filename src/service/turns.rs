//! Turns: the tasks of a thread that have much to do pause between the parts of their work, and go on one at a time.
//!
//! ```text
//! sockets ──▶ whatever is ready ──▶ the first of those that pause ──▶ sockets …
//! ```
//! A runtime runs tasks in the order in which they became ready. If each of many connections with much to do only gave way after
//! its part, a question of somebody else would wait for a part of each of them. So those that pause stand in a line of
//! their own, and the first of it goes on after the runtime has run what was ready and has looked at the sockets. A question of a
//! client that asks little waits for one part, however many others have much to do. Those go on in their order, and nothing
//! holds them up for good: whatever is ready is run once before each part.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;

thread_local! {
    static LINE: Arc<Line> = Arc::default();
}

/// Pauses until all tasks of this thread that are ready have had a turn, and those that have paused for longer as well.
pub(super) async fn pause() {
    // PERF: while nobody else pauses, no line is needed. It would take 8 % more instructions where each of 64 calls ends a turn, as
    // it does in the benchmark that counts them.
    if let Some(_alone) = LINE.with(Alone::begin) {
        return tokio::task::yield_now().await;
    }
    let mut pause = None;
    poll_fn(|cx| {
        let begin = || Pause::begin(cx.waker());
        pause.get_or_insert_with(begin).poll(cx)
    })
    .await;
}

/// Pauses if others on this thread do. Work that is long for sure begins with it, so that not all of its kind begin at once.
pub(super) async fn stand_in_line() {
    if is_line_used() {
        pause().await;
    }
}

/// Returns whether others on this thread pause.
pub(super) fn is_line_used() -> bool {
    LINE.with(|line| line.is_used())
}

/// A pause of a task: where its waker waits. Whatever else wakes the task, such as the next question, does not end the pause.
#[derive(Debug)]
pub(super) struct Pause(Mutex<Option<Waker>>);

impl Pause {
    /// Begins a pause. Its end wakes `task`.
    pub(super) fn begin(task: &Waker) -> Arc<Self> {
        let pause = Arc::new(Self(Mutex::new(Some(task.clone()))));
        LINE.with(|line| line.join(Arc::clone(&pause)));
        pause
    }

    /// Returns `Pending`, and wakes the task of `cx` later, until the pause is over.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        match &mut *locked(&self.0) {
            None => Poll::Ready(()),
            Some(task) => {
                task.clone_from(cx.waker());
                Poll::Pending
            }
        }
    }

    fn end(&self) {
        let task = locked(&self.0).take();
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// The line of a thread. A task ends the pauses.
///
/// INVARIANT: a thread drives one runtime at a time, which is the one of that task. The threads of a server do.
#[derive(Debug, Default)]
struct Line(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// The pauses that are not over, the oldest first.
    pauses: VecDeque<Arc<Pause>>,
    /// Whether a task pauses that is in front of them, and wakes the mover when it goes on.
    is_led: bool,
    mover: Mover,
}

/// What the task does that moves the line on.
#[derive(Debug, Default)]
enum Mover {
    /// There is none.
    #[default]
    None,
    /// It will look at the line once the runtime has run what is ready.
    Moves,
    /// It waits for a pause.
    Waits(Waker),
}

impl Line {
    fn is_used(&self) -> bool {
        let waiting = locked(&self.0);
        waiting.is_led || !waiting.pauses.is_empty()
    }

    fn join(self: &Arc<Self>, pause: Arc<Pause>) {
        let mut waiting = locked(&self.0);
        waiting.pauses.push_back(pause);
        if !waiting.is_led {
            self.move_on(waiting);
        }
    }

    /// Takes the first pause out of the line. Those whose tasks were dropped take no turn: a client could make as many of them
    /// as it likes. They are dropped while the line is not locked, because that may be the end of their tasks.
    fn next(&self) -> Option<Arc<Pause>> {
        let is_live = |pause: &Arc<Pause>| Arc::strong_count(pause) > 1;
        std::iter::from_fn(|| locked(&self.0).pauses.pop_front()).find(is_live)
    }

    /// Lets the next pause end after whatever is ready.
    fn move_on(self: &Arc<Self>, mut waiting: MutexGuard<'_, Waiting>) {
        let mover = std::mem::replace(&mut waiting.mover, Mover::Moves);
        drop(waiting);
        match mover {
            Mover::Moves => {}
            Mover::Waits(mover) => wake_later(&mover),
            Mover::None => {
                let moving = Moving(Arc::clone(self));
                // Outside of a runtime, nobody waits for anybody: `moving` is dropped.
                if let Ok(runtime) = Handle::try_current() {
                    runtime.spawn(async move {
                        tokio::task::yield_now().await;
                        poll_fn(|cx| moving.poll(cx)).await;
                    });
                }
            }
        }
    }
}

/// A task that pauses while nobody else does. Those that come meanwhile are behind it.
struct Alone(Arc<Line>);

impl Alone {
    /// Returns `None` if somebody else pauses.
    fn begin(line: &Arc<Line>) -> Option<Self> {
        let mut waiting = locked(&line.0);
        if waiting.is_led || !waiting.pauses.is_empty() {
            return None;
        }
        waiting.is_led = true;
        Some(Self(Arc::clone(line)))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let Self(line) = self;
        let mut waiting = locked(&line.0);
        waiting.is_led = false;
        if !waiting.pauses.is_empty() {
            line.move_on(waiting);
        }
    }
}

/// Wakes a task after all that are ready have had a turn and the runtime has looked at the sockets.
fn wake_later(task: &Waker) {
    let turn = pin!(tokio::task::yield_now());
    // The first poll hands the waker to the runtime.
    let _: Poll<()> = turn.poll(&mut Context::from_waker(task));
}

/// A line that moves on. If the task that moves it is dropped, all pauses end.
struct Moving(Arc<Line>);

impl Moving {
    /// Ends the first pause. The next one has its turn after whatever is ready by then.
    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let Self(line) = self;
        let first = line.next();
        let mut waiting = locked(&line.0);
        let goes_on = !waiting.pauses.is_empty();
        waiting.mover = match goes_on {
            true => Mover::Moves,
            false => Mover::Waits(cx.waker().clone()),
        };
        drop(waiting);
        if let Some(first) = first {
            first.end();
        }
        if goes_on {
            wake_later(cx.waker());
        }
        Poll::Pending
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        let Self(line) = self;
        let mut waiting = locked(&line.0);
        waiting.mover = Mover::None;
        let pauses = std::mem::take(&mut waiting.pauses);
        drop(waiting);
        for pause in pauses {
            pause.end();
        }
    }
}

fn locked<A>(mutex: &Mutex<A>) -> MutexGuard<'_, A> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;
    use tokio::task::JoinHandle;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<&'static str>>>);

    impl Log {
        fn note(&self, what: &'static str) {
            self.0.lock().unwrap().push(what);
        }

        fn noted(&self) -> Vec<&'static str> {
            self.0.lock().unwrap().clone()
        }
    }

    /// Fails if `pausing` takes very long.
    async fn goes_on(pausing: impl Future<Output = ()>) {
        let ended = tokio::time::timeout(Duration::from_secs(10), pausing).await;
        ended.unwrap();
    }

    /// Begins work of three parts, each of which notes `name` and sends a byte to `to`.
    fn work(name: &'static str, log: &Log, to: &Arc<UnixStream>) -> JoinHandle<()> {
        let (log, to) = (log.clone(), Arc::clone(to));
        tokio::spawn(async move {
            for _ in 0..3 {
                log.note(name);
                to.try_write(b"?").unwrap();
                pause().await;
            }
        })
    }

    async fn ends(tasks: impl IntoIterator<Item = JoinHandle<()>>) {
        for task in tasks {
            goes_on(async { task.await.unwrap() }).await;
        }
    }

    #[tokio::test]
    async fn work_goes_on_in_its_order_and_what_comes_meanwhile_goes_first() {
        let log = Log::default();
        let (to, mut from) = UnixStream::pair().unwrap();
        let to = Arc::new(to);
        let tasks = ["a", "b", "c"].map(|name| work(name, &log, &to));
        let answered = log.clone();
        let answering = tokio::spawn(async move {
            let mut bytes = [0; 16];
            let mut n_read = 0;
            while n_read < 9 {
                n_read += from.read(&mut bytes).await.unwrap();
                answered.note("answer");
            }
        });
        ends(tasks.into_iter().chain([answering])).await;
        let log = log.noted();
        // All of them begin at once, and from then on an answer comes before each part.
        let (begin, rest) = log.split_at(4);
        assert_eq!(begin, ["a", "b", "c", "answer"]);
        let turns = ["a", "b", "c"].repeat(2);
        let expected: Vec<_> = turns.iter().flat_map(|name| [*name, "answer"]).collect();
        assert_eq!(rest, expected);
    }

    #[tokio::test]
    async fn work_that_is_dropped_holds_up_nobody() {
        let log = Log::default();
        let (to, _from) = UnixStream::pair().unwrap();
        let to = Arc::new(to);
        let [a, b, c] = ["a", "b", "c"].map(|name| work(name, &log, &to));
        while log.noted().len() < 3 {
            tokio::task::yield_now().await;
        }
        b.abort();
        ends([a, c]).await;
        let log = log.noted();
        let n_of = |name| log.iter().filter(|of| **of == name).count();
        assert_eq!([n_of("a"), n_of("b"), n_of("c")], [3, 1, 3]);
    }

    /// A client that begins calls and cancels them leaves pauses behind.
    #[tokio::test]
    async fn pauses_that_were_dropped_take_no_turn() {
        let live = || Pause::begin(Waker::noop());
        let first = live();
        for _ in 0..1000 {
            drop(live());
        }
        let last = live();
        let mut n_turns = 0;
        let is_over = |pause: &Pause| pause.poll(&Context::from_waker(Waker::noop())).is_ready();
        while !is_over(&last) {
            tokio::task::yield_now().await;
            n_turns += 1;
            assert!(n_turns < 10);
        }
        assert!(is_over(&first));
    }

    /// The first that pauses is followed by others, whether it pauses again, is done or is dropped.
    #[tokio::test]
    async fn those_behind_the_first_go_on() {
        for is_dropped in [false, true] {
            let first = tokio::spawn(pause());
            let second = tokio::spawn(pause());
            while !is_line_used() {
                tokio::task::yield_now().await;
            }
            if is_dropped {
                first.abort();
            }
            ends([second]).await;
            assert!(!is_line_used());
        }
    }

    /// A runtime ends while work pauses. The next runtime of the thread has a line that moves.
    #[test]
    fn a_line_ends_with_its_runtime() {
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                assert!(!is_line_used());
                stand_in_line().await; // nobody is there
                goes_on(pause()).await;
                let paused = Pause::begin(Waker::noop());
                goes_on(poll_fn(|cx| paused.poll(cx))).await;
                let _paused = Pause::begin(Waker::noop());
                assert!(is_line_used());
            });
        }
    }

    #[test]
    fn nobody_waits_outside_of_a_runtime() {
        let pause = Pause::begin(Waker::noop());
        assert!(pause.poll(&Context::from_waker(Waker::noop())).is_ready());
    }
}
