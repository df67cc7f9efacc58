//! Measures what a decision costs and what the cost depends on.
//!
//! `cargo bench --bench decide` measures from the parsed request to the decision, in process and on one thread. It
//! varies the size of the store, the number of attached statements, the candidates of one action, and the conditions.
//! It also measures all policy types together, patterns that make careless matchers slow, questions that were never
//! asked before, very many principals and actions, a client that asks for names that nobody knows, the decision
//! cache, the lists of permissions and principals, and a batch of questions with the conversion of its messages. The
//! engine is compared with a plain scan over the same compiled statements and with a hash map of ready answers. Every
//! answer is compared with the scan's before it is timed.
//!
//! `-- sizes attached` picks parts, `-- --check` fails if a figure is missed, and `-- --short` only shows that
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
mod batch;
mod cache;
mod candidates;
mod cold;
mod engines;
mod greedy;
mod large;
mod lists;
mod many;
mod patterns;
mod sizes;

use anyhow::ensure;
use iamd::compile::snapshot::Snapshot;
use iamd::engine::request::Request;

use measure::{Figures, Options};

const PARTS: [&str; 13] = [
    "sizes",
    "attached",
    "candidates",
    "conditions",
    "layers",
    "patterns",
    "cold",
    "large",
    "many",
    "greedy",
    "cache",
    "lists",
    "batch",
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
        cold::measure(&options, &mut figures)?;
    }
    if options.wants("large") {
        large::measure(&options)?;
    }
    if options.wants("many") {
        many::measure(&options, &mut figures)?;
    }
    if options.wants("greedy") {
        greedy::measure(&options, &mut figures)?;
    }
    if options.wants("cache") {
        cache::measure(&options, &mut figures)?;
    }
    if options.wants("lists") {
        lists::measure(&options, &mut figures)?;
    }
    if options.wants("batch") {
        batch::measure(&options)?;
    }
    measure::conditions("after")?;
    figures.conclude(options.demand)
}

/// Checks that the scan and the engine give the same answers, with a cold index and with a warm one.
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
