//! How many instructions is a decision, and where do they go? Counted, not timed: the same on a busy machine.
//!
//! `cargo bench --bench instructions` runs itself under callgrind, once with some number of warm decisions and once
//! with twice as many: the difference is theirs alone. It prints the count for each outcome, the heap allocations, and
//! the functions that take most. Nothing of the engine's tracing or explaining may be among the functions: who asks
//! for no explanation pays for none.
//!
//! `-- --check` ends with an error if a figure is missed, or if a count is further than [`TOLERANCE`] from what
//! `benches/instructions/budget` says; `-- --accept` writes what was counted there. Needs valgrind.

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

mod callgrind;
mod driver;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};

use callgrind::{Profile, belongs_to};
use measure::{Figures, head, row};
use worlds::Outcome;

/// How far a count may be from the budget, as a share of it. Hash tables are seeded anew in each run, and the C
/// library picks its routines by what the processor can do: that moves a count by up to 1 %.
const TOLERANCE: f64 = 0.03;
/// What a decision of a typical request may take: one that is allowed.
const AT_MOST: f64 = 1_500.0;
const TYPICAL: Outcome = Outcome::Hit;
/// How many decisions the first run makes; the second makes twice as many.
const N_DECISIONS: usize = 5_760;
/// How many functions are shown.
const N_FUNCTIONS: usize = 25;
/// What must not be among them.
const FOREIGN: [&str; 2] = ["iamd::engine::trace::", "iamd::engine::explain::"];

fn main() -> anyhow::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(outcome) = arguments.iter().position(|word| word == driver::FLAG) {
        let words = arguments.split_off(outcome + 1);
        return driver::run(&words);
    }
    // Cargo says `--bench` to a benchmark; without it, this is `cargo test --benches`, where nothing is counted.
    let Some(flag) = arguments.iter().position(|word| word == "--bench") else {
        return Ok(());
    };
    arguments.remove(flag);
    let (mut is_checked, mut is_accepted) = (false, false);
    for argument in &arguments {
        match argument.as_str() {
            "--check" => is_checked = true,
            "--accept" => is_accepted = true,
            unknown => bail!("`{unknown}` is none of --check, --accept"),
        }
    }
    let mut counted = BTreeMap::new();
    for outcome in Outcome::ALL {
        let word = driver::word(outcome);
        counted.insert(word, count(word, N_DECISIONS)?);
    }
    check_that_it_would_show()?;
    print(&counted)?;

    let typical = counted
        .get(driver::word(TYPICAL))
        .context("it was counted")?;
    let mut figures = Figures::default();
    figures.at_most(
        "6",
        "instructions, allow",
        typical.n_instructions(),
        AT_MOST,
    );
    for (name, profile) in &counted {
        figures.at_most(
            "6",
            format!("heap allocations, {name}"),
            profile.n_allocations,
            0.0,
        );
        let foreign = foreign_function(profile);
        ensure!(
            foreign.is_none(),
            "a plain decision runs `{}`",
            foreign.unwrap_or_default()
        );
    }
    println!("\nNo function of the engine's tracing or explaining runs in a plain decision.");
    if is_accepted {
        return accept(&counted);
    }
    compare(&counted, &mut figures)?;
    figures.conclude(is_checked)
}

/// What one decision takes, by the word for its outcome.
fn count(word: &str, n_decisions: usize) -> anyhow::Result<Profile> {
    let once = callgrind::run(word, n_decisions)?;
    let twice = callgrind::run(word, 2 * n_decisions)?;
    Ok(twice.less(&once).divided_by(n_decisions))
}

/// A function that is there for explanations alone.
fn foreign_function(profile: &Profile) -> Option<&str> {
    let is_foreign = |function: &&String| FOREIGN.iter().any(|module| belongs_to(function, module));
    profile
        .functions
        .keys()
        .find(is_foreign)
        .map(String::as_str)
}

/// An explained decision allocates and runs what explains: if that did not show here, its absence elsewhere would
/// say nothing.
fn check_that_it_would_show() -> anyhow::Result<()> {
    let explained = count(driver::EXPLAINED, 64)?;
    ensure!(
        explained.n_allocations >= 1.0 && foreign_function(&explained).is_some(),
        "callgrind does not show the allocations or the functions of an explanation"
    );
    Ok(())
}

fn print(counted: &BTreeMap<&str, Profile>) -> anyhow::Result<()> {
    head(
        "Instructions per warm decision: 1,000 policies, 21 statements attached",
        &["outcome", "instructions", "heap allocations"],
    );
    for (name, profile) in counted {
        row(&[
            (*name).to_owned(),
            format!("{:.1}", profile.n_instructions()),
            format!("{:.2}", profile.n_allocations),
        ]);
    }
    for (name, profile) in counted {
        head(
            &format!("Where they go: {name}"),
            &["function", "instructions", "share"],
        );
        let mut functions: Vec<(&String, &f64)> = profile.functions.iter().collect();
        functions.sort_by(|a, b| b.1.total_cmp(a.1));
        for (function, n_instructions) in functions.into_iter().take(N_FUNCTIONS) {
            let share = 100.0 * n_instructions / profile.n_instructions();
            row(&[
                format!("`{function}`"),
                format!("{n_instructions:.1}"),
                format!("{share:.1} %"),
            ]);
        }
    }
    Ok(())
}

fn budget_file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/budget")
}

/// Holds the counts against the budget: `outcome instructions`, a line each.
fn compare(counted: &BTreeMap<&str, Profile>, figures: &mut Figures) -> anyhow::Result<()> {
    let budget = fs::read_to_string(budget_file()).context("benches/instructions/budget")?;
    for line in budget.lines().filter(|line| !line.starts_with('#')) {
        let (name, number) = line
            .split_once(' ')
            .context("a budget is a name and a number")?;
        let number: f64 = number
            .parse()
            .with_context(|| format!("the budget of {name}"))?;
        let profile = counted
            .get(name)
            .with_context(|| format!("`{name}` has a budget and is not counted"))?;
        let off = (profile.n_instructions() / number - 1.0).abs();
        figures.at_most(
            "gate",
            format!("distance from the budget of {number}, {name}, as a share of it"),
            off,
            TOLERANCE,
        );
    }
    Ok(())
}

fn accept(counted: &BTreeMap<&str, Profile>) -> anyhow::Result<()> {
    let mut text = "# Instructions per warm decision: `cargo bench --bench instructions -- --accept` writes this.\n".to_owned();
    for (name, profile) in counted {
        text += &format!("{name} {:.0}\n", profile.n_instructions());
    }
    Ok(fs::write(budget_file(), text)?)
}
