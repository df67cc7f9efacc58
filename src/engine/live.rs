//! How a snapshot takes over.

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

/// Everything one request may see: a snapshot, and the answers already given from it. They die with it, so there is
/// nothing to invalidate and no stale answer to find (K-42).
#[derive(Debug)]
pub struct Generation {
    /// The compiled store.
    pub snapshot: Snapshot,
    cache: DecisionCache,
}

impl Generation {
    /// A generation that has given no answer yet.
    pub fn new(snapshot: Snapshot, caching: &Caching) -> Self {
        Self {
            snapshot,
            cache: DecisionCache::new(caching),
        }
    }

    /// Checks `request` against the store and decides it, as [`authorize`](super::authorize) does; where that is
    /// worth while, by what it decided before (K-45).
    pub fn authorize(&self, request: &Request) -> Result<Decision, RequestError> {
        let work = request.remaining_work();
        let facts = match Facts::find(&self.snapshot, request, &work) {
            Ok(facts) => facts,
            Err(early) => return early.answer(),
        };
        let plan = Plan::of(&facts, true);
        let mut key = Key::new();
        let consulted = self.cache.consult(&facts, &plan, &mut key);
        if let Consulted::Known(decision) = consulted {
            work.conclude()?;
            return Ok(decision);
        }
        let decision = decide(&facts, &plan, &mut Silent);
        work.conclude()?; // E-1
        if let Consulted::Wanted(wanted) = consulted {
            wanted.keep(&key, &decision, &work);
        }
        Ok(decision)
    }

    /// How many answers are kept.
    pub fn n_cached(&self) -> u64 {
        self.cache.n_entries()
    }
}

/// The generation in force. Its default keeps no answers.
#[derive(Debug, Default)]
pub struct Live {
    current: ArcSwapOption<Generation>,
    caching: Caching,
}

impl Live {
    /// Nothing is in force yet; each generation to come will keep answers by `caching`.
    pub fn new(caching: Caching) -> Self {
        Self {
            current: ArcSwapOption::empty(),
            caching,
        }
    }

    /// The generation in force; `None` before the first good load. Take it once per question, hold it over no await.
    pub fn load(&self) -> Guard<Option<Arc<Generation>>> {
        self.current.load()
    }

    /// The same, to be kept for longer than a moment.
    pub fn load_full(&self) -> Option<Arc<Generation>> {
        self.current.load_full()
    }

    /// Puts `snapshot` in force for every request that loads from now on; running requests end on theirs. Gives back
    /// the generation before, for the caller to drop where it delays nobody.
    pub fn publish(&self, snapshot: Snapshot) -> Option<Arc<Generation>> {
        let generation = Generation::new(snapshot, &self.caching);
        self.current.swap(Some(Arc::new(generation)))
    }

    /// How often answers were looked up, in all generations together.
    pub fn cache_counts(&self) -> Counts {
        self.caching.counts()
    }
}
