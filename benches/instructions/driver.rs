//! The program that runs under callgrind: it loads a store, prepares questions of one outcome, and makes the given
//! number of warm decisions.

use std::hint::black_box;

use anyhow::{Context, ensure};
use iamd::compile::snapshot::Snapshot;
use iamd::engine::authorize;
use iamd::engine::explain::{Redacted, explain};
use iamd::engine::question::Question as Asked;
use iamd::engine::request::Request;
use jiff::Timestamp;

use crate::worlds::{self, Outcome, Random};

/// The argument that makes the benchmark the driver; the outcome and the number of decisions follow.
pub const FLAG: &str = "--decide";
/// The word that stands for explanations in place of an outcome. They are of the questions of the typical outcome.
pub const EXPLAINED: &str = "explained";
/// The word that stands for reading the questions of all outcomes, without deciding them.
pub const PARSED: &str = "parsed";
const N_POLICIES: usize = 1_000;
const N_EACH: usize = 64;

/// Returns the word for an outcome.
pub fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Hit => "allow",
        Outcome::Deny => "deny",
        Outcome::Miss => "miss",
    }
}

/// Makes the decisions.
pub fn run(words: &[String]) -> anyhow::Result<()> {
    let [outcome, n_decisions] = words else {
        anyhow::bail!("`{FLAG}` takes an outcome and a number");
    };
    let n_decisions: usize = n_decisions.parse()?;
    let is_explained = outcome == EXPLAINED;
    let wanted = if is_explained {
        word(Outcome::Hit)
    } else {
        outcome
    };
    let sized = worlds::by_size(N_POLICIES);
    let snapshot = worlds::load(&sized.world)?.snapshot;
    let mut random = Random::new(worlds::SEED);
    let questions = worlds::balanced(&snapshot, &sized.world, &sized.hot, N_EACH, &mut random)?;
    if outcome == PARSED {
        let asked: Vec<_> = questions.iter().map(worlds::Question::received).collect();
        return counted_readings(&asked, "2026-03-01T09:00:00Z".parse()?, n_decisions)
            .then_some(())
            .context("a question does not parse");
    }
    let mut requests = Vec::new();
    for request in worlds::requests(&questions)? {
        if word(Outcome::of(&worlds::decided(&snapshot, &request)?)) == wanted {
            requests.push(request);
        }
    }
    ensure!(!requests.is_empty(), "no question is answered `{outcome}`");
    // Indexes are built on the first or second use, so all of them exist after the third.
    for request in requests.iter().chain(&requests).chain(&requests) {
        worlds::decided(&snapshot, request)?;
    }
    let is_answered = match is_explained {
        true => counted_explanations(&snapshot, &requests, n_decisions),
        false => counted_decisions(&snapshot, &requests, n_decisions),
    };
    is_answered.then_some(()).context("a request was refused")
}

/// Makes the decisions. Callgrind counts only inside functions of these names, so they must not be inlined.
#[inline(never)]
fn counted_decisions(snapshot: &Snapshot, requests: &[Request], n_decisions: usize) -> bool {
    let mut all = true;
    for request in requests.iter().cycle().take(n_decisions) {
        all &= black_box(authorize(black_box(snapshot), black_box(request))).is_ok();
    }
    all
}

/// Reads the questions.
#[inline(never)]
fn counted_readings(questions: &[Asked<'_>], at: Timestamp, n_readings: usize) -> bool {
    let mut all = true;
    for question in questions.iter().cycle().take(n_readings) {
        all &= black_box(Request::parse(black_box(question), at)).is_ok();
    }
    all
}

/// Does the same with explanations. They run all the code that a plain decision must not run.
#[inline(never)]
fn counted_explanations(snapshot: &Snapshot, requests: &[Request], n_decisions: usize) -> bool {
    let redacted = Redacted::default();
    let mut all = true;
    for request in requests.iter().cycle().take(n_decisions) {
        all &= black_box(explain(black_box(snapshot), black_box(request), &redacted)).is_ok();
    }
    all
}
