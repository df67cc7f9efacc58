//! Threads for calls that people wait for, which may take long and must not delay the others.

use std::thread;

/// How far these threads give way to those that answer `Authorize`, as `nice` counts. While others have work for every
/// processor, they still get about a tenth of what one of the others gets.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Runs `work` on a thread of its own with a low priority. Returns `None` if there is no thread, or if `work` panics.
///
/// The thread ends with `work`, because its priority cannot be raised again. So it is none of the runtime's, which are used
/// again; one of those waits for it.
pub(super) async fn run<A: Send + 'static>(work: impl FnOnce() -> A + Send + 'static) -> Option<A> {
    let waiting = tokio::task::spawn_blocking(move || {
        let thread = thread::Builder::new().name("interactive".to_owned());
        let begun = thread.spawn(move || {
            give_way();
            work()
        });
        begun.ok()?.join().ok()
    });
    waiting.await.ok().flatten()
}

/// Lowers the priority of this thread. If that fails, it goes on with the one that it has.
fn give_way() {
    // Elsewhere the priority belongs to the process.
    #[cfg(target_os = "linux")]
    {
        _ = rustix::process::setpriority_process(None, NICENESS);
    }
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
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let own = niceness();
        let of_work = run(niceness).await.unwrap();
        assert_eq!(of_work, NICENESS.max(own));
        assert_eq!(niceness(), own);
    }

    #[tokio::test]
    async fn work_that_panics_has_no_result() {
        let result = run(|| -> u32 { panic!("on purpose") }).await;
        assert_eq!(result, None);
    }
}
