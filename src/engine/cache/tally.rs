//! How often the cache helped, and where it is worth asking.
//!
//! Cores that count in one place get in each other's way, so there are several: by the caller and the place of the action in the trie. Each
//! is also where the cache learns whether questions of its kind repeat. While they do it is asked every time. Where they
//! don't, it rests for [`REST`] questions and then tries [`TRIAL`]: so questions that never repeat pay for one key in
//! `(REST + TRIAL) / TRIAL`, and those that begin to are noticed all the same. One caller whose questions never repeat does
//! not make the cache rest for the others, but for those few that share its tally.

use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::compile::path::Path;
use crate::engine::caller::Caller;
use crate::name::{GivenArn, Principal};

/// The number of tallies, a power of two. They take 64 KiB.
const N_TALLIES: usize = 512;
/// The patience at the start, which is also the most.
const PATIENCE: i32 = 1_024;
/// The patience that a hit adds. So one question in five must be answered from memory.
const ENCOURAGEMENT: i32 = 4;
/// The patience that is lost if a decision turns out to be cheap although its statements are expensive.
const LET_DOWN: i32 = 8;
/// The patience after a rest.
const TRIAL: i32 = 128;
/// The number of questions for which the cache rests.
const REST: i32 = 4_096;

/// How often decisions were looked up. Decisions that are cheap to evaluate are not looked up and not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The decision was found.
    pub hits: u64,
    /// The decision was not found.
    pub misses: u64,
    /// The decision was expensive but not looked up: it may depend on the clock, its policies have no name, its
    /// action or its key would be too long, or questions of its kind do not repeat.
    pub bypasses: u64,
    /// The decision was kept.
    pub insertions: u64,
}

/// All tallies.
#[derive(Debug)]
pub(super) struct Tallies(Box<[Tally]>);

impl Default for Tallies {
    fn default() -> Self {
        Self((0..N_TALLIES).map(|_| Tally::new()).collect())
    }
}

/// The counts of some kinds of questions, on cache lines of their own.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Tally {
    hits: AtomicU64,
    misses: AtomicU64,
    bypasses: AtomicU64,
    insertions: AtomicU64,
    /// Above 0: how many more misses are tolerated. Otherwise: for how many more questions the cache rests.
    patience: AtomicI32,
}

impl Tally {
    fn new() -> Self {
        Self {
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            bypasses: AtomicU64::new(0),
            insertions: AtomicU64::new(0),
            patience: AtomicI32::new(PATIENCE),
        }
    }
}

impl Tallies {
    /// Returns the tally for questions of the caller with this hash that the statements of `path` make expensive.
    pub(super) fn of(&self, caller: u64, path: Path<'_>) -> Option<&Tally> {
        let kind = caller ^ u64::from(path.first_node()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0.get((kind >> 32) as usize % N_TALLIES)
    }

    pub(super) fn counts(&self) -> Counts {
        let sum = |of: fn(&Tally) -> &AtomicU64| {
            let each = self.0.iter();
            each.map(|tally| of(tally).load(Ordering::Relaxed)).sum()
        };
        Counts {
            hits: sum(|tally| &tally.hits),
            misses: sum(|tally| &tally.misses),
            bypasses: sum(|tally| &tally.bypasses),
            insertions: sum(|tally| &tally.insertions),
        }
    }
}

/// Returns a hash of `caller`. All sessions of a role are one caller. Who does not know the `seed` cannot choose a name with the
/// hash of another.
pub(super) fn hash_of_caller(caller: &Caller<'_>, seed: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(seed);
    hasher.write(name_of(caller).as_bytes());
    hasher.finish()
}

fn name_of<'c>(caller: &Caller<'c>) -> &'c str {
    match (caller.entity, caller.principal) {
        (Some(entity), _) => entity.arn.as_str(),
        (None, Principal::Service(name)) => name,
        (None, principal) => principal.arn().map_or("", GivenArn::text),
    }
}

impl Tally {
    /// Returns whether the cache is not to be asked this time. Concurrent threads may lose each other's steps, which makes
    /// the rest or the trial a little longer.
    pub(super) fn rests(&self) -> bool {
        let patience = self.patience.load(Ordering::Relaxed);
        if patience > 0 {
            return false;
        }
        let next = if patience < -1 { patience + 1 } else { TRIAL };
        self.patience.store(next, Ordering::Relaxed);
        true
    }

    /// Counts a question that was answered from memory.
    pub(super) fn encouraged(&self) {
        let patience = self.patience.load(Ordering::Relaxed);
        if (1..PATIENCE).contains(&patience) {
            let next = PATIENCE.min(patience + ENCOURAGEMENT);
            self.patience.store(next, Ordering::Relaxed);
        }
    }

    /// Counts a question that was not asked before or cannot be looked up.
    pub(super) fn disappointed(&self) {
        self.lose(1);
    }

    /// Counts a question that was asked before, but whose decision took so little work that it is not kept.
    pub(super) fn let_down(&self) {
        self.lose(LET_DOWN);
    }

    fn lose(&self, lost: i32) {
        let patience = self.patience.load(Ordering::Relaxed);
        if patience > 0 {
            let next = if patience > lost {
                patience - lost
            } else {
                -REST
            };
            self.patience.store(next, Ordering::Relaxed);
        }
    }

    pub(super) fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn missed(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn bypassed(&self) {
        self.bypasses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn inserted(&self) {
        self.insertions.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Questions until the cache is asked again, and until it rests again.
    fn round(tally: &Tally) -> (u32, u32) {
        let (mut n_rested, mut n_tried) = (0, 0);
        while tally.rests() {
            n_rested += 1;
        }
        while !tally.rests() {
            tally.disappointed();
            n_tried += 1;
        }
        (n_rested, n_tried)
    }

    #[test]
    fn where_nothing_repeats_one_key_in_thirty_three_is_made() {
        let tally = Tally::new();
        assert_eq!(round(&tally), (0, PATIENCE as u32));
        for _ in 0..3 {
            // The question that ended the round before is one of the rest.
            assert_eq!(round(&tally), (REST as u32 - 1, TRIAL as u32));
        }
    }

    #[test]
    fn the_cache_is_asked_as_long_as_it_answers_one_question_in_five() {
        let tally = Tally::new();
        for _ in 0..100_000 {
            assert!(!tally.rests());
            for _ in 0..4 {
                tally.disappointed();
            }
            tally.encouraged();
        }
    }
}
