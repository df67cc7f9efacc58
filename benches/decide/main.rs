//! What does a decision cost, and what does it depend on?
//!
//! `cargo bench --bench decide` measures from parsed request to decision, in process and on one thread: by the size of
//! the store, by what is attached to who asks, by candidates of one action, by conditions, with all policy types in
//! play, with patterns that make careless matchers slow, with questions that were never asked before, and with a cache
//! of decisions. It runs against the plain scan over the same compiled statements and a hash map of ready answers. Every answer is compared
//! with the scan's before it is timed.
//!
//! `-- sizes attached` picks parts, `-- --check` ends with an error if a figure is missed, `-- --short` only shows that
//! everything runs.

#[expect(
    clippy::allow_attributes,
    reason = "no benchmark uses all of what they share"
)]
#[allow(
    dead_code,
    unused_imports,
    reason = "no benchmark uses all of what they share"
)]
#[path = "../measure/mod.rs"]
mod measure;
#[expect(
    clippy::allow_attributes,
    reason = "no benchmark uses all of what they share"
)]
#[allow(
    dead_code,
    unused_imports,
    reason = "no benchmark uses all of what they share"
)]
#[path = "../worlds/mod.rs"]
mod worlds;

mod attached;
mod cache;
mod candidates;
mod cold;
mod engines;
mod patterns;
mod sizes;

use anyhow::ensure;
use iamd::compile::snapshot::Snapshot;
use iamd::engine::request::Request;

use measure::{Figures, Options};

const PARTS: [&str; 8] = [
    "sizes",
    "attached",
    "candidates",
    "conditions",
    "layers",
    "patterns",
    "cold",
    "cache",
];

fn main() -> anyhow::Result<()> {
    let Some(options) = Options::read(&PARTS)? else {
        return Ok(());
    };
    let mut figures = Figures::default();
    measure::conditions("before")?;
    if options.wants("sizes") {
        sizes::measure(&options, &mut figures)?;
    }
    if options.wants("attached") {
        attached::measure(&options, &mut figures)?;
    }
    if options.wants("candidates") {
        candidates::by_candidates(&options)?;
    }
    if options.wants("conditions") {
        candidates::by_conditions(&options)?;
    }
    if options.wants("layers") {
        candidates::layered(&options)?;
    }
    if options.wants("patterns") {
        patterns::measure(&options, &mut figures)?;
    }
    if options.wants("cold") {
        cold::measure(&options)?;
    }
    if options.wants("cache") {
        cache::measure(&options, &mut figures)?;
    }
    measure::conditions("after")?;
    figures.conclude(options.is_checked)
}

/// The scan and the engine in use must say the same, twice: once cold and once warm.
fn check_answers(snapshot: &Snapshot, requests: &[Request]) -> anyhow::Result<()> {
    for request in requests.iter().chain(requests).chain(requests) {
        let decision = engines::authorize(snapshot, request);
        let expected = engines::authorize_by_scan(snapshot, request);
        let is_equal = match (&decision, &expected) {
            (Ok(decision), Ok(expected)) => decision.reason() == expected.reason(),
            _ => false,
        };
        ensure!(
            is_equal,
            "{request:?}: {decision:?} instead of {expected:?}"
        );
    }
    Ok(())
}
