//! The state of the store: the revision in force, whether the files on disk load, and the results of past reloads.
//!
//! ```text
//! store ──change──▶ SharedState ──▶ Status, WatchRevision
//! ```
//! `store` changes the state and `service` reads it, so neither of them knows the other.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::compile::snapshot::Revision;
use crate::language::finding::Finding;

/// The state of a store and of its reloads. A clone is cheap.
#[derive(Clone, Debug, Default)]
pub struct StoreState {
    /// The revision that answers questions; `None` before the first good load.
    pub in_force: Option<InForce>,
    /// Whether the store has changed to a state that does not load.
    pub is_stale: bool,
    /// The findings of the last load. If it was good, these are the warnings of the revision in force.
    pub findings: Arc<[Finding]>,
    /// The time at which the store was last found changed, or found unchanged on request.
    pub last_attempt: Option<Timestamp>,
    /// The time of the last load that succeeded.
    pub last_success: Option<Timestamp>,
    /// How long the last load took, whether it succeeded or not.
    pub last_duration: Duration,
    /// How much of that time was spent finding and reading changed files.
    pub last_scan: Duration,
    /// The results of past reloads.
    pub reloads: Reloads,
}

/// A revision that answers questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The revision.
    pub revision: Revision,
    /// The time at which it came into force.
    pub since: Timestamp,
    /// How many files it has.
    pub n_files: usize,
    /// How many statements its policies have, counting every version that is evaluated.
    pub n_statements: usize,
    /// How many users and roles it has.
    pub n_principals: usize,
}

/// How many reloads had each result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reloads {
    /// A new revision took over.
    pub published: u64,
    /// The files were touched, but their contents are the same.
    pub unchanged: u64,
    /// The store did not load, and the last good revision stayed in force.
    pub refused: u64,
}

impl StoreState {
    /// Returns the revision in force, or the empty text before the first good load.
    pub fn revision(&self) -> &str {
        let in_force = self.in_force.as_ref();
        in_force.map_or("", |in_force| in_force.revision.as_str())
    }
}

/// The state that the store and the service share. A revision is put in force before it is announced here, so whoever
/// reads of a revision gets no answer from an older one.
#[derive(Debug, Default)]
pub struct SharedState(watch::Sender<StoreState>);

impl SharedState {
    /// Returns the state of a store that has not been loaded yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the state now.
    pub fn now(&self) -> StoreState {
        self.0.borrow().clone()
    }

    /// Changes the state in one step, and wakes everyone who watches it.
    pub fn change(&self, change: impl FnOnce(&mut StoreState)) {
        self.0.send_modify(change);
    }

    /// Returns a receiver of each later state. One that reads slowly misses states, but never the last one.
    pub fn watch(&self) -> watch::Receiver<StoreState> {
        self.0.subscribe()
    }
}
