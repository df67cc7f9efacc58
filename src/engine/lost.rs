//! What happens if a snapshot is broken.
//!
//! The tables of a snapshot refer to each other's rows by number, and compiling gives each number a row. If a row were
//! missing, its policies would not count, Denies included. So the question gets no answer in that case: the status
//! `INTERNAL`, and a line in the log that names the missing row.

/// A row that a table refers to and that does not exist: a bug of iamd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The table.
    pub table: &'static str,
    /// The number of the row, from 0.
    pub row: usize,
}

#[cfg(test)]
mod tests;
