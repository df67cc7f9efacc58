//! One run of a server: its name, and what its decision log has done.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;

/// What the decision log has done since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// The records of decisions that were handed to the system.
    pub written: AtomicU64,
    /// The decisions that were answered and whose records were lost. There are none in the mode `required`.
    pub lost: AtomicU64,
    /// The decisions that were not answered, because their records could not be written. There are some in the mode
    /// `required` only.
    pub refused: AtomicU64,
    /// The allows that sampling left out.
    pub left_out: AtomicU64,
    /// The records that wait to be written now.
    pub queued: AtomicU64,
}

/// The name of one run of a server: 16 hexadecimal digits, different for each run.
#[derive(Clone, Debug)]
pub(super) struct Instance(String);

impl Instance {
    pub(super) fn new() -> Self {
        // The standard library keys its hasher with random bytes of the system.
        let random = RandomState::new().hash_one((std::process::id(), Timestamp::now()));
        Self(format!("{random:016x}"))
    }

    /// Returns the digits.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id of the decision with this sequence number.
    pub(super) fn decision_id(&self, sequence: u64) -> String {
        format!("{}-{sequence}", self.0)
    }
}
