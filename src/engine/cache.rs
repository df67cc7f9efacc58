//! Keeps decisions for the questions that cost more to evaluate than to look up.
//!
//! A decision takes a few hundred nanoseconds, and a lookup takes about as long. So by default a
//! decision is looked up only if the statements in the plan are expensive: their modelled costs ([`Demand`]) are added up,
//! and the cache is asked if the sum reaches `EXPENSIVE`. All other questions pay for a few additions.
//!
//! ```text
//! costs in the plan ──sum──▶ expensive? ──no──▶ evaluate
//!                              │ yes
//!                              ▼
//!                  worth a try here? ──no──▶ evaluate             (Tally: where nothing repeats, the cache rests)
//!                              │ yes
//!                              ▼
//!               key ─▶ asked before? ──no──▶ evaluate, note it    (Doorkeeper, or kept)
//!                              │ yes
//!                              ▼
//!                             kept? ──no──▶ evaluate, keep it      (unless that was little work)
//!                              │ yes
//!                              ▼
//!                          the answer
//! ```
//!
//! `key` says what a key covers. No decision is kept for questions that are refused (K-43), that read the clock (K-41),
//! or that bring policies of their own. The entries belong to one generation (K-42).
//!
//! [`Demand`]: crate::compile::demand::Demand

use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

pub(super) use self::key::Key;
use self::shares::{N_SHARES, Shares};
pub use self::tally::Counts;
use self::tally::{Tallies, Tally, hash_of_caller};
use super::decision::Decision;
use super::facts::Facts;
use super::plan::Plan;
use super::request::Request;
use super::work::Work;
use crate::compile::path::Path;

mod key;
mod shares;
mod tally;

/// The modelled cost from which a decision is looked up.
const EXPENSIVE: u32 = 2_000;
/// A decision that took fewer units of [`Work`] than this is not kept, although its statements are expensive: an early
/// statement settled it.
const WORTH_KEEPING: u32 = 200;

/// Says when decisions are looked up and kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Never.
    #[default]
    Off,
    /// Only where evaluating costs more than a lookup, and while questions repeat.
    Auto,
    /// For every question that has a key. This is mostly for tests and measurements.
    Always,
}

/// How generations keep their decisions. Clones share their counts, which outlive the generations.
#[derive(Clone, Debug, Default)]
pub struct Caching {
    mode: Mode,
    max_bytes: usize,
    seed: u64,
    tallies: Arc<Tallies>,
}

impl Caching {
    /// Returns a setting by which each generation keeps decisions of about `max_bytes` in all. A client that does not
    /// know the `seed` cannot choose questions whose hashes collide.
    pub fn new(mode: Mode, max_bytes: usize, seed: u64) -> Self {
        Self {
            mode,
            max_bytes,
            seed,
            tallies: Arc::default(),
        }
    }

    /// Returns how often decisions were looked up.
    pub fn counts(&self) -> Counts {
        self.tallies.counts()
    }
}

/// The decisions of one generation.
pub struct DecisionCache {
    caching: Caching,
    /// Made for the first expensive question, because most stores have none.
    kept: OnceLock<Kept>,
}

impl DecisionCache {
    /// Returns a cache without entries.
    pub fn new(caching: &Caching) -> Self {
        Self {
            caching: caching.clone(),
            kept: OnceLock::new(),
        }
    }

    /// Returns how many decisions it holds.
    pub fn n_entries(&self) -> u64 {
        self.kept.get().map_or(0, |kept| {
            kept.decisions.run_pending_tasks();
            kept.decisions.entry_count()
        })
    }

    fn kept(&self) -> &Kept {
        self.kept.get_or_init(|| Kept::of(self.caching.max_bytes))
    }
}

impl fmt::Debug for DecisionCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("DecisionCache");
        debug.field("mode", &self.caching.mode);
        debug.finish_non_exhaustive()
    }
}

/// The number of bytes of an entry besides its key and its decision.
const ENTRY_BYTES: usize = 256;

struct Kept {
    doorkeeper: Doorkeeper,
    decisions: Cache<Arc<[u8]>, Decision, BuildHasherDefault<Prefix>>,
    shares: Shares,
    /// The most bytes of all entries.
    max_bytes: usize,
}

impl Kept {
    fn of(max_bytes: usize) -> Self {
        let (doorkeeper, shares) = (Doorkeeper::of(max_bytes / 16), Shares::new());
        let max_bytes = max_bytes.saturating_sub(doorkeeper.n_bytes() + shares.n_bytes_alone());
        // The shares make room before an entry comes. This bound matters only if something is wrong with them.
        let decisions = Cache::<Arc<[u8]>, Decision>::builder()
            .max_capacity((max_bytes + max_bytes / 16) as u64)
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|key, _| u32::try_from(n_bytes_of(key)).unwrap_or(u32::MAX))
            .build_with_hasher(BuildHasherDefault::default());
        Self {
            doorkeeper,
            decisions,
            shares,
            max_bytes,
        }
    }

    /// Keeps a decision for the callers with this hash. Returns what became of it.
    fn keep(&self, caller: u64, key: &[u8], decision: &Decision) -> Entered {
        let n_bytes = n_bytes_of(key);
        if n_bytes > self.max_bytes {
            return Entered::No;
        }
        let mut entered = Entered::IntoRoom;
        while self.shares.n_bytes() + n_bytes > self.max_bytes {
            let Some(key) = self.shares.give_way() else {
                break;
            };
            self.decisions.invalidate(&key);
            entered = Entered::InPlaceOfOthers;
        }
        let key: Arc<[u8]> = key.into();
        let entry = self.decisions.entry(Arc::clone(&key));
        // Another thread may have kept the same decision meanwhile.
        if entry.or_insert_with(|| decision.clone()).is_fresh() {
            self.shares.add(caller, key, n_bytes);
        }
        entered
    }
}

/// What became of a decision that was to be kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entered {
    IntoRoom,
    InPlaceOfOthers,
    No,
}

/// Returns about how many bytes the entry of `key` takes.
fn n_bytes_of(key: &[u8]) -> usize {
    key.len() + size_of::<Decision>() + ENTRY_BYTES
}

/// A key begins with its own hash, so that it is computed once: the doorkeeper needs it too.
#[derive(Clone, Copy, Default)]
struct Prefix(u64);

impl Hasher for Prefix {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes
            .first_chunk()
            .map_or(0, |prefix| u64::from_le_bytes(*prefix));
    }

    fn write_usize(&mut self, _n_bytes: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Remembers the fingerprints of recent questions, because only a question that repeats is worth an entry.
///
/// Each is noted twice: among those of all callers, and among those of its caller, which has a small part of a second table. So
/// nobody with many questions makes it forget the few questions of another.
struct Doorkeeper {
    all: Fingerprints,
    /// In parts, of which each caller has one.
    own: Fingerprints,
}

/// The fewest buckets of a part.
const PART: usize = 8;

impl Doorkeeper {
    fn of(max_bytes: usize) -> Self {
        Self {
            all: Fingerprints::of(max_bytes / 2),
            own: Fingerprints::of(max_bytes / 2),
        }
    }

    fn n_bytes(&self) -> usize {
        self.all.n_bytes() + self.own.n_bytes()
    }

    /// Remembers the `hash` of a question and its caller, and returns whether it was remembered already.
    fn lets_in(&self, hash: u64, caller: u64) -> bool {
        let n_parts = (self.own.0.len() / PART).clamp(1, N_SHARES);
        let n_each = self.own.0.len() / n_parts;
        let at = caller as usize % n_parts * n_each + hash as usize % n_each;
        let is_known = [
            self.all.lets_in(hash as usize, hash),
            self.own.lets_in(at, hash),
        ];
        is_known.contains(&true)
    }
}

/// Buckets of [`N_FINGERPRINTS`], the newest first; 0 stands for none. Two threads in one bucket may lose a fingerprint, which costs
/// one evaluation. A fingerprint that two questions share costs an entry. Neither changes an answer.
struct Fingerprints(Box<[[AtomicU32; N_FINGERPRINTS]]>);

/// The number of fingerprints in one bucket.
const N_FINGERPRINTS: usize = 4;

impl Fingerprints {
    fn of(max_bytes: usize) -> Self {
        let n_buckets = (max_bytes / size_of::<[AtomicU32; N_FINGERPRINTS]>()).max(1);
        // INVARIANT: the number of buckets is a power of two.
        let n_buckets = 1 << n_buckets.ilog2();
        Self((0..n_buckets).map(|_| Default::default()).collect())
    }

    fn n_bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// Remembers `hash` in the bucket at `at`, modulo their number, and returns whether it was remembered already.
    fn lets_in(&self, at: usize, hash: u64) -> bool {
        let fingerprint = (hash >> 32) as u32 | 1;
        let Some(bucket) = self.0.get(at & (self.0.len() - 1)) else {
            return false;
        };
        if bucket
            .iter()
            .any(|place| place.load(Ordering::Relaxed) == fingerprint)
        {
            return true;
        }
        let mut newer = fingerprint;
        for place in bucket {
            let older = place.load(Ordering::Relaxed);
            place.store(newer, Ordering::Relaxed);
            newer = older;
        }
        false
    }
}

/// The answer of the cache for a question.
pub(super) enum Consulted<'c> {
    /// The cache does not have the decision and is not to keep it.
    Passed,
    /// The cache does not have the decision and is to keep it.
    Wanted(Wanted<'c>),
    /// The cache has the decision.
    Known(Decision),
}

/// A decision that the cache is to keep.
pub(super) struct Wanted<'c> {
    cache: &'c DecisionCache,
    tally: &'c Tally,
    /// The hash of who asks.
    caller: u64,
    /// The work that was left when the cache was asked.
    work_left: u32,
}

impl DecisionCache {
    /// Looks the decision up if evaluating the plan is expensive. Writes `key` if the decision is to be kept.
    ///
    /// PERF: the key is large, and stays where the caller put it.
    #[inline]
    pub(super) fn consult(
        &self,
        facts: &Facts<'_>,
        plan: &Plan<'_>,
        key: &mut Key,
    ) -> Consulted<'_> {
        let asks_from = match self.caching.mode {
            Mode::Off => return Consulted::Passed,
            Mode::Auto => EXPENSIVE,
            Mode::Always => 0,
        };
        match plan.path_at(asks_from) {
            Some(path) => self.ask(facts, plan, path, key),
            None => Consulted::Passed,
        }
    }

    #[inline(never)]
    fn ask(
        &self,
        facts: &Facts<'_>,
        plan: &Plan<'_>,
        path: Path<'_>,
        key: &mut Key,
    ) -> Consulted<'_> {
        let Caching { tallies, seed, .. } = &self.caching;
        let caller = hash_of_caller(&facts.caller, *seed);
        let Some(tally) = tallies.of(caller, path) else {
            return Consulted::Passed;
        };
        let is_auto = self.caching.mode == Mode::Auto;
        if is_auto && tally.rests() {
            tally.bypassed();
            return Consulted::Passed;
        }
        if brings_policies(facts.request) || !key.fill(facts, plan, *seed) {
            tally.bypassed();
            tally.disappointed();
            return Consulted::Passed;
        }
        let Kept {
            doorkeeper,
            decisions,
            ..
        } = self.kept();
        // What is kept stays, although the doorkeeper may have forgotten it.
        let was_asked = !is_auto
            || doorkeeper.lets_in(key.hash(), caller)
            || decisions.contains_key(key.bytes());
        if !was_asked {
            tally.missed();
            tally.disappointed();
            return Consulted::Passed;
        }
        match decisions.get(key.bytes()) {
            Some(decision) => {
                // A question that is asked twice and never again is no reason to go on: keeping it helped nobody.
                tally.encouraged();
                tally.hit();
                Consulted::Known(decision)
            }
            None => {
                tally.missed();
                Consulted::Wanted(Wanted {
                    cache: self,
                    tally,
                    caller,
                    work_left: facts.work.left(),
                })
            }
        }
    }
}

impl Wanted<'_> {
    /// Keeps `decision` under `key`, unless making it took little work.
    pub(super) fn keep(self, key: &Key, decision: &Decision, work: &Work) {
        let n_spent = self.work_left.saturating_sub(work.left());
        if n_spent < WORTH_KEEPING && self.cache.caching.mode == Mode::Auto {
            self.tally.let_down();
            return;
        }
        let kept = self.cache.kept();
        let entered = kept.keep(self.caller, key.bytes(), decision);
        if entered != Entered::IntoRoom {
            // If more questions take turns than there is room for, each is dropped before it comes again.
            self.tally.disappointed();
        }
        if entered != Entered::No {
            self.tally.inserted();
        }
    }
}

/// Returns whether the key could not tell all policies in play: those of a simulation and those that a session brings as
/// text have no name, and in trust policies tags mean something else (T-8).
fn brings_policies(request: &Request) -> bool {
    request.simulated.is_some()
        || !request.session.policies.is_empty()
        || request.action.kind().is_of_trust()
}

#[cfg(test)]
mod tests;
