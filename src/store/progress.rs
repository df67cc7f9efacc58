//! Logs the progress of work that takes long.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tracing::info;

/// How many seconds pass between two lines.
const SECONDS_BETWEEN: u64 = 2;
/// After how many steps the clock is read.
const STEPS_PER_LOOK: usize = 64;

/// The progress of work that many threads may share.
#[derive(Debug)]
pub struct Progress {
    doing: &'static str,
    n_files: usize,
    n_done: AtomicUsize,
    begun: Instant,
    /// The seconds from `begun` to the last line.
    said: AtomicU64,
}

impl Progress {
    /// Returns the progress of `doing` something to `n_files` files.
    pub fn of(doing: &'static str, n_files: usize) -> Self {
        Self {
            doing,
            n_files,
            n_done: AtomicUsize::new(0),
            begun: Instant::now(),
            said: AtomicU64::new(0),
        }
    }

    /// Counts one more file as done.
    pub fn step(&self) {
        let n_done = self.n_done.fetch_add(1, Ordering::Relaxed) + 1;
        if n_done.is_multiple_of(STEPS_PER_LOOK) && self.is_due(self.begun.elapsed()) {
            info!(n_done, n_files = self.n_files, "{}", self.doing);
        }
    }

    /// Returns whether a line is due this long after the beginning. Of several threads that ask at the same time, only
    /// one gets `true`, and then no thread does for a while.
    fn is_due(&self, after: Duration) -> bool {
        let (said, now) = (self.said.load(Ordering::Relaxed), after.as_secs());
        now >= said + SECONDS_BETWEEN
            && self
                .said
                .compare_exchange(said, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn a_long_load_says_one_word_each_two_seconds() {
        let progress = Progress::of("reading", 1);
        let is_due = |milliseconds| progress.is_due(Duration::from_millis(milliseconds));
        let asked = (0..100_000).filter(|milliseconds| is_due(*milliseconds));
        let every_other_second = (2_000..100_000).step_by(2_000);
        assert_eq!(
            asked.collect::<Vec<_>>(),
            every_other_second.collect::<Vec<_>>()
        );
        // The next line is due two seconds after the last one, even after a long pause.
        assert!(is_due(1_000_500) && !is_due(1_001_900) && is_due(1_002_000));
    }

    #[test]
    fn of_many_threads_one_says_it() {
        const N_THREADS: usize = 8;
        const N_WORDS: u64 = 1_000;
        let (progress, together) = (Progress::of("parsing", 1), Barrier::new(N_THREADS));
        let n_said = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..N_THREADS {
                scope.spawn(|| {
                    for n in 1..=N_WORDS {
                        together.wait();
                        if progress.is_due(Duration::from_secs(2 * n)) {
                            n_said.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(n_said.into_inner() as u64, N_WORDS);
    }
}
