//! Limits of the pure modules: what a question may take, and what is kept to answer it.
//!
//! They stand above all modules, since pure ones do not know `config`. Those of the disk and the network are in
//! `config/fixed.rs`. Neither can be set: a limit that can change an answer is the same wherever iamd runs.

/// The units that a decision may spend, of about 10 ns each: a millisecond. Questions as they occur take some tens; one
/// against 5,000 statements without an index takes half of it.
pub const BUDGET: u32 = 100_000;

/// How many times as much an explanation or a whole simulation may spend: it evaluates everything, and a person waits
/// for it.
pub const INTERACTIVE_BUDGETS: u32 = 200;

/// How much memory the slices of a process may take.
pub const SLICE_BYTES: usize = 64 << 20;

/// Sets of policies that nobody has any more, beside as many as a store began with: they go when the whole is compiled
/// again.
pub const MAX_SPARE_SETS: usize = 1_024;
