//! Threads for calls that people wait for, which may take long and must not delay the others.

/// How far these threads give way to those that answer `Authorize`, as `nice` counts. While others have work for every
/// processor, they still get about a tenth of what one of the others gets.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

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
