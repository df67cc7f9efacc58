//! How a snapshot takes over.

use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};

use crate::compile::snapshot::Snapshot;

/// Everything one request may see. What belongs to a snapshot (later: the answers already given from it) dies with
/// it, so there is nothing to invalidate and no stale answer to find.
#[derive(Debug)]
pub struct Generation {
    /// The compiled store.
    pub snapshot: Snapshot,
}

/// The generation in force.
#[derive(Debug, Default)]
pub struct Live(ArcSwapOption<Generation>);

impl Live {
    /// The generation in force; `None` before the first good load. Take it once per question, hold it over no await.
    pub fn load(&self) -> Guard<Option<Arc<Generation>>> {
        self.0.load()
    }

    /// The same, to be kept for longer than a moment.
    pub fn load_full(&self) -> Option<Arc<Generation>> {
        self.0.load_full()
    }

    /// Puts `generation` in force for every request that loads from now on; running requests end on theirs. Gives
    /// back the one before, for the caller to drop where it delays nobody.
    pub fn publish(&self, generation: Arc<Generation>) -> Option<Arc<Generation>> {
        self.0.swap(Some(generation))
    }
}
