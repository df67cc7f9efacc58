//! Threads for calls that people wait for, which may take long and must not delay the others.

#[cfg(target_os = "linux")]
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// These threads run while no other thread of the same control group needs the processor: a container has one of its own. While
/// others have work for every processor, the system still gives them some three thousandths of what it gives one of those, and less
/// to those that let others run: a list of 65 ms took 7 to 11 s beside a busy loop for each processor, and 13 to 17 s with that.
#[cfg(target_os = "linux")]
const IDLE: ThreadSchedulePolicy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);

/// The name of these threads, as `top -H` shows it. The store is read for the first time on one of them.
pub(crate) const INTERACTIVE: &str = "interactive";

/// Runs `work` on a thread of the runtime for work that blocks, with a low priority. Returns `None` if `work` panics.
///
/// The thread keeps that priority, because it cannot be raised again. Such threads of a server do nothing else, once the
/// store has been read for the first time.
pub(super) async fn run<A: Send + 'static>(work: impl FnOnce() -> A + Send + 'static) -> Option<A> {
    let working = tokio::task::spawn_blocking(move || {
        give_way();
        work()
    });
    working.await.ok() // an error means that it has panicked, and the panic hook has logged it
}

/// Lowers the priority of this thread. If that fails, it goes on with the one that it has.
///
/// A low priority of the usual kind (`nice`) is not enough: such a thread still keeps the processor for a whole slice, of a few
/// milliseconds, when one that answers `Authorize` has work.
fn give_way() {
    // Elsewhere the priority belongs to the process.
    #[cfg(target_os = "linux")]
    {
        _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, IDLE);
    }
}

/// Lets another thread have this processor, if one waits for it. Call it every now and then.
///
/// PERF: the system may leave the processor to a thread of low priority until its next tick, some milliseconds, although one that
/// answers `Authorize` has work by now.
pub(super) fn let_others_run() {
    std::thread::yield_now();
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::panic,
        reason = "a test may fail by panicking"
    )]

    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_work_gives_way_and_the_others_do_not() {
        let policy = || thread_priority::thread_schedule_policy().unwrap();
        let own = policy();
        assert_ne!(own, IDLE);
        assert_eq!(run(policy).await.unwrap(), IDLE);
        assert_eq!(policy(), own);
    }

    #[tokio::test]
    async fn work_that_panics_has_no_result() {
        let result = run(|| -> u32 { panic!("on purpose") }).await;
        assert_eq!(result, None);
    }
}
