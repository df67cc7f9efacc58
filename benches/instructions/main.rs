//! Counts the instructions of a decision and shows which functions use them. Counts are the same on a busy machine,
//! unlike times.
//!
//! `cargo bench --bench instructions` runs itself under callgrind, once with some number of warm decisions and once
//! with twice as many. The difference consists of decisions only. It prints the count for each outcome, the heap
//! allocations, and the functions with most instructions. No function of the engine's tracing or explaining may be
//! among them: a question without an explanation must not pay for one.
//!
//! `-- --gate` fails if a count differs by more than [`TOLERANCE`] from the one in `benches/instructions/budget`, or if a
//! decision allocates. `-- --check` fails if any figure is missed. `-- --accept` writes the counts to that file. The
//! benchmark needs valgrind.

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
use measure::{Demand, Figures, head, row};
use worlds::Outcome;

/// How far a count may be from the budget, as a share of it. Counts vary by up to 1 %, because hash tables have a new
/// seed in each run and the C library picks its routines by the features of the processor.
const TOLERANCE: f64 = 0.03;
/// The most instructions of the typical decision, which is an allow.
const AT_MOST: f64 = 1_500.0;
const TYPICAL: Outcome = Outcome::Hit;
/// How many decisions the first run makes; the second makes twice as many.
const N_DECISIONS: usize = 5_760;
/// How many functions are shown.
const N_FUNCTIONS: usize = 25;
/// The modules whose functions must not run.
const FOREIGN: [&str; 2] = ["iamd::engine::trace::", "iamd::engine::explain::"];

fn main() -> anyhow::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(outcome) = arguments.iter().position(|word| word == driver::FLAG) {
        let words = arguments.split_off(outcome + 1);
        return driver::run(&words);
    }
    // Cargo passes `--bench` to a benchmark. Without it, this is `cargo test --benches`, which must not count anything.
    let Some(flag) = arguments.iter().position(|word| word == "--bench") else {
        return Ok(());
    };
    arguments.remove(flag);
    let (mut demand, mut is_accepted) = (Demand::Nothing, false);
    for argument in &arguments {
        match argument.as_str() {
            "--check" => demand = Demand::Everything,
            "--gate" => demand = Demand::Gate,
            "--accept" => is_accepted = true,
            unknown => bail!("`{unknown}` is none of --check, --gate, --accept"),
        }
    }
    let mut counted = BTreeMap::new();
    for outcome in Outcome::ALL {
        let word = driver::word(outcome);
        counted.insert(word, count(word, N_DECISIONS)?);
    }
    check_that_it_would_show()?;
    print(&counted)?;
    let reading = count(driver::PARSED, N_DECISIONS)?;
    println!(
        "\nReading a question before its decision takes {:.1} instructions and {:.2} heap allocations. They are not in the budget.",
        reading.n_instructions(),
        reading.n_allocations
    );

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
        figures.gate(
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
    figures.conclude(demand)
}

/// Counts the instructions of one decision with the outcome `word`.
fn count(word: &str, n_decisions: usize) -> anyhow::Result<Profile> {
    let once = callgrind::run(word, n_decisions)?;
    let twice = callgrind::run(word, 2 * n_decisions)?;
    Ok(twice.less(&once).divided_by(n_decisions))
}

/// Returns a function of the profile that only explanations may run, if there is one.
fn foreign_function(profile: &Profile) -> Option<&str> {
    let is_foreign = |function: &&String| FOREIGN.iter().any(|module| belongs_to(function, module));
    profile
        .functions
        .keys()
        .find(is_foreign)
        .map(String::as_str)
}

/// Checks that an explained decision shows allocations and explaining functions. Otherwise their absence from plain
/// decisions would prove nothing.
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

/// Compares the counts with the budget, whose lines are `outcome instructions`.
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
        figures.gate(
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
