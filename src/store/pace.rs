//! Gives way to the threads that answer, while the store is looked at and nobody waits for that.
//!
//! A thread that has slept for seconds may keep its processor for some milliseconds, although a thread that answers has work
//! by now. To look at a large store takes a second, and while that lasts, answers would come that much later. With rests, such a
//! look takes up to half as long again, and so does it until a change is found that no event told of.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// About the longest time without a rest, and so the longest that a thread that answers waits for this one. It may be more while a
/// folder is listed or a file is digested.
const WORK: Duration = Duration::from_micros(250);
/// How long a rest is. The system adds some 50 µs.
const REST: Duration = Duration::from_micros(50);

/// The pace of the work of one thread.
#[derive(Debug)]
pub struct Pace<'s> {
    is_awaited: &'s AtomicBool,
    since: Instant,
    n_rests: usize,
}

impl<'s> Pace<'s> {
    /// Begins the work. There are no rests any more once somebody waits for its end.
    pub fn unless(is_awaited: &'s AtomicBool) -> Self {
        Self {
            is_awaited,
            since: Instant::now(),
            n_rests: 0,
        }
    }

    /// Returns how many rests there were.
    #[cfg(test)]
    pub fn n_rests(&self) -> usize {
        self.n_rests
    }

    /// Rests if it is time to. Call it after each small piece of the work.
    pub fn step(&mut self) {
        if self.since.elapsed() < WORK || self.is_awaited.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(REST);
        self.n_rests += 1;
        self.since = Instant::now();
    }
}
