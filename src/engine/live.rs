//! The snapshot in force, and how the next one replaces it.

use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};

use super::cache::{Caching, Consulted, Counts, DecisionCache, Key};
use super::decide::decide;
use super::decision::Decision;
use super::error::RequestError;
use super::facts::Facts;
use super::plan::Plan;
use super::request::Request;
use super::trace::Silent;
use crate::compile::snapshot::Snapshot;

/// A snapshot and the decisions already made from it: everything that one request may see. They end together, so no
/// decision must be invalidated and none can be stale (K-42).
#[derive(Debug)]
pub struct Generation {
    /// The compiled store.
    pub snapshot: Snapshot,
    cache: DecisionCache,
}

impl Generation {
    /// Returns a generation without any decisions.
    pub fn new(snapshot: Snapshot, caching: &Caching) -> Self {
        Self {
            snapshot,
            cache: DecisionCache::new(caching),
        }
    }

    /// Checks `request` against the store and decides it as [`authorize`](super::authorize()) does. If evaluating is
    /// expensive, an earlier decision of the same question is used (K-45).
    pub fn authorize(&self, request: &Request) -> Result<Decision, RequestError> {
        self.authorize_noting(request, &mut false)
    }

    /// Does the same, and sets `is_cached` if an earlier decision is used.
    pub fn authorize_noting(
        &self,
        request: &Request,
        is_cached: &mut bool,
    ) -> Result<Decision, RequestError> {
        let work = request.remaining_work();
        let facts = match Facts::find(&self.snapshot, request, &work) {
            Ok(facts) => facts,
            Err(early) => return early.answer(&work),
        };
        Plan::with(&facts, true, |plan| {
            let mut key = Key::new();
            let consulted = self.cache.consult(&facts, plan, &mut key);
            if let Consulted::Known(decision) = consulted {
                work.conclude()?;
                *is_cached = true;
                return Ok(decision);
            }
            let decision = decide(&facts, plan, &mut Silent);
            work.conclude()?; // E-1
            if let Consulted::Wanted(wanted) = consulted {
                wanted.keep(&key, &decision, &work);
            }
            Ok(decision)
        })
    }

    /// Returns how many decisions are kept. No answer depends on it: by this number, tests show what is kept and what is
    /// not (K-40 to K-42).
    pub fn n_cached(&self) -> u64 {
        self.cache.n_entries()
    }
}

/// The generation in force. The default keeps no decisions.
#[derive(Debug, Default)]
pub struct Live {
    current: ArcSwapOption<Generation>,
    caching: Caching,
}

impl Live {
    /// Returns a holder without a generation. Each generation to come keeps decisions by `caching`.
    pub fn new(caching: Caching) -> Self {
        Self {
            current: ArcSwapOption::empty(),
            caching,
        }
    }

    /// Returns the generation in force, or `None` before the first good load. Load it once per question, and do not hold
    /// the guard across an await.
    pub fn load(&self) -> Guard<Option<Arc<Generation>>> {
        self.current.load()
    }

    /// Returns the generation in force as a reference that may be held for longer.
    pub fn load_full(&self) -> Option<Arc<Generation>> {
        self.current.load_full()
    }

    /// Puts `snapshot` in force for every request that loads from now on; running requests finish on the old one.
    /// Returns the generation before, so that the caller can drop it where that delays no request.
    pub fn publish(&self, snapshot: Snapshot) -> Option<Arc<Generation>> {
        let generation = Generation::new(snapshot, &self.caching);
        self.current.swap(Some(Arc::new(generation)))
    }

    /// Returns how often decisions were looked up, in all generations together.
    pub fn cache_counts(&self) -> Counts {
        self.caching.counts()
    }
}
