//! Limits of the pure modules: what a question may take, and what is kept to answer it.
//!
//! They stand above all modules, since pure ones do not know `config`. Those of the disk and the network are in
//! `config/fixed.rs`. Neither can be set: a limit that can change an answer is the same wherever iamd runs.

/// The units that a decision may spend, of about 10 ns each: a millisecond. Questions as they occur take some tens; one
/// against 5,000 statements without an index takes half of it.
pub const BUDGET: u32 = 100_000;

/// How many budgets an explanation or a whole simulation may spend, because it evaluates everything and a person waits for
/// it.
pub const INTERACTIVE_BUDGETS: u32 = 200;

/// How many unused policy sets a snapshot may have beyond the number that it began with. The next whole compilation
/// removes them.
pub const MAX_SPARE_SETS: usize = 1_024;

/// How many bytes the tries may take that are made after a load, before anybody asks.
pub const MAX_PREPARED_BYTES: usize = 8 << 20;
