//! Measures what a call costs the server: its CPU time, its instructions and its memory, beside a server that does
//! nothing.
//!
//! The server that does nothing is the floor: a stock service of tonic on one thread that takes the same questions and
//! gives the same bytes. Both run as processes of their own, and one client asks them in turns within one run and checks
//! every answer. CPU time is the system's count for the process, so the client's own cost does not matter.
//!
//! `cargo bench --bench serve` measures everything; `-- cpu`, `-- instructions`, `-- start`, `-- records`, `-- observe`,
//! `-- tls`, `-- cores`, `-- lists`, `-- greedy` and `-- overload` measure a part. The parts `instructions`
//! and `records` need valgrind. `observe` compares servers that are watched, and `records` counts what a decision log adds
//! to a call. `lists` and `greedy` measure the answers of modest clients beside one that asks for a lot, and `overload` a server that is asked ten times what it can answer. `--check` fails if a
//! figure is missed. `-- instructions --gate` counts single calls only, and fails if a call takes more than `budget` says.

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

mod beside;
mod client;
mod floor;
mod greedy;
mod load;
mod observe;
mod overload;
mod process;
mod transports;

use std::path::Path;

use anyhow::Context;

use load::{Load, Questions};
use measure::{Demand, Figures, Options, head, median, row};
use process::{Process, Which};

/// The policies of the store.
const N_POLICIES: usize = 1_000;
/// What a call may take at most: lines of a name and a number.
const BUDGET: &str = include_str!("budget");
/// The questions that are asked in turn.
const N_QUESTIONS: usize = 64;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, answer] = arguments.as_slice()
        && flag == floor::FLAG
    {
        return floor::serve(answer);
    }
    let parts = [
        "cpu",
        "instructions",
        "start",
        "records",
        "observe",
        "tls",
        "cores",
        "lists",
        "greedy",
        "overload",
    ];
    let Some(options) = Options::read(&parts)? else {
        return Ok(());
    };
    let store = tempfile::tempdir()?;
    let questions = prepare(store.path(), N_POLICIES)?;
    let mut figures = Figures::default();
    if options.wants("cpu") {
        cpu(&questions, &options, &mut figures)?;
    }
    if options.wants("instructions") {
        instructions(&questions, &options, &mut figures)?;
    }
    if options.wants("start") {
        start(&questions, &options, &mut figures)?;
    }
    if options.wants("records") {
        observe::records(&questions, &options, &mut figures)?;
    }
    if options.wants("observe") {
        observe::observe(&questions, &options, &mut figures)?;
    }
    if options.wants("tls") {
        transports::tls(&questions, &options, &mut figures)?;
    }
    if options.wants("cores") {
        transports::cores(&questions, &options, &mut figures)?;
    }
    beside::beside(&questions, &options, &mut figures)?;
    if options.wants("overload") {
        overload::overload(&options, &mut figures)?;
    }
    figures.conclude(options.demand)
}

/// Writes a store of `n_policies` into `store`, and makes the questions about it.
fn prepare(store: &Path, n_policies: usize) -> anyhow::Result<Questions> {
    let sized = worlds::by_size(n_policies);
    sized.world.write(store)?;
    let snapshot = worlds::load(&sized.world)?.snapshot;
    let mut random = worlds::Random::new(worlds::SEED);
    let hot = &sized.hot;
    let asked = worlds::balanced(&snapshot, &sized.world, hot, N_QUESTIONS, &mut random)?;
    Questions::new(store, &asked)
}

/// Compares the CPU time of a call.
fn cpu(questions: &Questions, options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    let iamd = Process::start(Which::Iamd, questions, 1)?;
    let idle = Process::start(Which::Floor, questions, 1)?;
    let (n_rounds, n_calls) = options.pick((20, 8_000), (2, 256));
    head(
        "CPU time of the server for each decision, in microseconds. The ratio of a stream and of a batch is to the floor's single call at 64 in flight",
        &["load", "floor", "iamd", "ratio"],
    );
    let mut unary = None;
    for (load, most) in [
        (Load::unary(1, 64), 0.60),
        (Load::unary(1, 8), 0.80),
        (Load::unary(16, 1), 0.80),
        (Load::unary(1, 1), 0.80),
    ] {
        let [floor, cost, ratio] =
            process::compare([&idle, &iamd], questions, load, (n_rounds, n_calls))?;
        unary.get_or_insert(floor);
        row(&[
            load.to_string(),
            format!("{floor:.2}"),
            format!("{cost:.2}"),
            format!("{ratio:.2}"),
        ]);
        figures.at_most("1", format!("CPU, {load}"), ratio, most);
    }
    let floor = unary.context("it was measured")?;
    for load in [Load::Stream { depth: 16 }, Load::batch(50)] {
        let mut costs = Vec::new();
        for round in 0..=n_rounds {
            let cost = iamd.cost(questions, load, n_calls)?;
            if round > 0 {
                costs.push(cost);
            }
        }
        let cost = median(costs);
        let ratio = cost / floor;
        row(&[
            load.to_string(),
            "-".to_owned(),
            format!("{cost:.2}"),
            format!("{ratio:.3}"),
        ]);
        figures.at_most("2", format!("CPU, {load}"), ratio, 0.15);
    }
    println!(
        "\nMemory after this: iamd {} KiB, floor {} KiB",
        iamd.memory_kib()?,
        idle.memory_kib()?
    );
    figures.at_most("5", "RSS, KiB", iamd.memory_kib()? as f64, 16.0 * 1024.0);
    Ok(())
}

/// Compares the instructions of a call.
fn instructions(
    questions: &Questions,
    options: &Options,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let n_calls = options.pick(8_192, 256);
    head(
        "Instructions and heap allocations of the server for each call",
        &["load", "server", "instructions", "allocations"],
    );
    let all = [
        Load::unary(1, 64),
        Load::unary(1, 1),
        Load::Stream { depth: 16 },
        Load::batch(50),
    ];
    let is_gate = options.demand == Demand::Gate;
    for load in all.into_iter().take(if is_gate { 1 } else { all.len() }) {
        let count = |which: Which| -> anyhow::Result<(f64, f64)> {
            let once = process::counted(which, questions, load, n_calls)?;
            let twice = process::counted(which, questions, load, 2 * n_calls)?;
            let of_each = |twice: f64, once: f64| (twice - once) / n_calls as f64;
            let instructions = of_each(twice.n_instructions, once.n_instructions);
            let allocations = of_each(twice.n_allocations, once.n_allocations);
            row(&[
                load.to_string(),
                which.to_string(),
                format!("{instructions:.0}"),
                format!("{allocations:.1}"),
            ]);
            Ok((instructions, allocations))
        };
        let (iamd, allocations) = count(Which::Iamd)?;
        if !matches!(load, Load::Unary { .. }) {
            continue;
        }
        let (floor, _) = count(Which::Floor)?;
        figures.at_most("4", format!("instructions, {load}"), iamd / floor, 0.68);
        if load == Load::unary(1, 64) {
            figures.gate("instructions", iamd / floor, budget("instructions")?);
            figures.gate("heap allocations", allocations, budget("allocations")?);
        }
    }
    Ok(())
}

/// Returns the number of a line of the budget.
fn budget(name: &str) -> anyhow::Result<f64> {
    let mut lines = BUDGET.lines().filter_map(|line| line.split_once(' '));
    let (_, number) = lines
        .find(|(found, _)| *found == name)
        .with_context(|| format!("`benches/serve/budget` has no line for {name}"))?;
    number
        .parse()
        .with_context(|| format!("`benches/serve/budget`: the number of {name}"))
}

/// Measures the CPU time from the start to the first right answer.
fn start(questions: &Questions, options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    let mut times = Vec::new();
    let mut memory = Vec::new();
    for _ in 0..options.pick(10, 1) {
        let process = Process::start(Which::Iamd, questions, 1)?;
        times.push(process.cpu()?.as_secs_f64() * 1e3);
        memory.push(process.memory_kib()? as f64);
    }
    let (time, memory) = (median(times), median(memory));
    head("Start", &["what", "figure"]);
    row(&[
        "CPU time to the first answer, ms".to_owned(),
        format!("{time:.1}"),
    ]);
    row(&[
        "RSS at the first answer, KiB".to_owned(),
        format!("{memory:.0}"),
    ]);
    figures.at_most("5", "CPU to the first answer, ms", time, 30.0);
    Ok(())
}
