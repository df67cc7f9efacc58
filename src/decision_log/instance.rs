//! The name of one run of a server.

use std::hash::{BuildHasher, RandomState};

use jiff::Timestamp;

/// The name of one run of a server: 16 hexadecimal digits, different for each run.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    name: String,
    /// What the head of a record has after its sequence, and after the sequence within the decision's id.
    head: [String; 2],
}

impl Instance {
    pub(super) fn new() -> Self {
        // The standard library keys its hasher with random bytes of the system.
        let random = RandomState::new().hash_one((std::process::id(), Timestamp::now()));
        let name = format!("{random:016x}");
        Self {
            head: [
                format!(r#","decisionId":"{name}-"#),
                format!(r#"","instance":"{name}","#),
            ],
            name,
        }
    }

    /// Returns the digits.
    pub(super) fn as_str(&self) -> &str {
        &self.name
    }

    /// Returns what the head of a record has after its sequence, and after the sequence within the decision's id. It is
    /// ready-made, because every record has it.
    pub(super) fn head(&self) -> &[String; 2] {
        &self.head
    }

    /// Returns the id of the decision with this sequence number.
    pub(super) fn decision_id(&self, sequence: u64) -> String {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(sequence);
        let mut id = String::with_capacity(self.name.len() + 1 + digits.len());
        for part in [&self.name, "-", digits] {
            id.push_str(part);
        }
        id
    }
}
