//! The name of one run of a server.

use std::hash::{BuildHasher, RandomState};

use jiff::Timestamp;

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
