//! A word now and then about what takes long.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use tracing::info;

/// Seconds between two words.
const SECONDS_BETWEEN: u64 = 2;
/// The clock is looked at after so many steps.
const STEPS_PER_LOOK: usize = 64;

/// How far something has come that many threads may work on.
#[derive(Debug)]
pub struct Progress {
    doing: &'static str,
    n_files: usize,
    n_done: AtomicUsize,
    begun: Instant,
    /// Seconds from `begun` to the last word.
    said: AtomicU64,
}

impl Progress {
    /// Of `doing` something to so many files.
    pub fn of(doing: &'static str, n_files: usize) -> Self {
        Self {
            doing,
            n_files,
            n_done: AtomicUsize::new(0),
            begun: Instant::now(),
            said: AtomicU64::new(0),
        }
    }

    /// One more is done.
    pub fn step(&self) {
        let n_done = self.n_done.fetch_add(1, Ordering::Relaxed) + 1;
        if !n_done.is_multiple_of(STEPS_PER_LOOK) {
            return;
        }
        let (said, now) = (
            self.said.load(Ordering::Relaxed),
            self.begun.elapsed().as_secs(),
        );
        let is_due = now >= said + SECONDS_BETWEEN;
        if is_due
            && self
                .said
                .compare_exchange(said, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            info!(n_done, n_files = self.n_files, "{}", self.doing);
        }
    }
}
