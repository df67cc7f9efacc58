//! What becomes of a question whose snapshot is broken.
//!
//! The rows of a snapshot's tables name each other by number, and whoever compiles it sees to it that each number has a
//! row. If one had none all the same, its policies would not count, and a Deny among them would be passed over. So the
//! question has no answer then: the status `INTERNAL`, and a line in the log that says what is missing.

/// A row that is named and not there: a fault of iamd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The table.
    pub table: &'static str,
    /// The number of the row, from 0.
    pub row: usize,
}

#[cfg(test)]
mod tests;
