//! The one test program, which tests what iamd does from outside.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

mod allocations;
mod api;
mod cached;
mod cli;
mod corpus;
mod decision_log;
mod docs;
mod drawing;
mod edits;
mod explain;
mod faults;
mod files;
mod findings;
mod hostile;
mod incremental;
mod indexes;
mod kubelet;
mod laws;
mod lists;
mod many;
mod matrix;
mod modules;
mod mutants;
mod observe;
mod oracle;
mod refusals;
mod reload;
mod rules;
mod scenarios;
mod serve;
mod simulate;
mod state;
mod support;
mod tls;
mod work;
mod worlds;
