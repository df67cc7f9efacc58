//! What it costs to be watched: a server with the decision log, and one whose receiver of spans never answers, beside a
//! server without both.
//!
//! All of them run at once, and the client asks them in turns within one run, so what other programs do to the machine
//! it does to all. A ratio is the median of the ratios within each round.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::beside;
use crate::load::{Load, Questions, percentile};
use crate::measure::{Figures, Options, head, median, row};
use crate::process::{Counted, Extra, Process, Which, counted_with};

/// The load: as many calls at once as a busy sidecar has.
const LOAD: Load = Load::unary(1, 8);

/// One of the servers, and its bounds against the first one.
struct Contender {
    name: &'static str,
    process: Process,
    /// The most CPU time, and the most of the 99th percentile of a call's duration.
    bounds: Option<(f64, f64)>,
    cpu: Vec<f64>,
    p99: Vec<f64>,
    /// The same, of calls that come at a steady pace.
    p99_at_pace: Vec<f64>,
}

/// Compares the servers.
pub fn observe(
    questions: &Questions,
    options: &Options,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    // The system accepts its connections, and nobody reads them.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let silent = format!("http://{}", silent.local_addr()?);
    let start = |name, extra: Extra, bounds| -> anyhow::Result<Contender> {
        Ok(Contender {
            name,
            process: Process::with(questions, &extra)?,
            bounds,
            cpu: Vec::new(),
            p99: Vec::new(),
            p99_at_pace: Vec::new(),
        })
    };
    let mut contenders = vec![
        start("unwatched", Extra::default(), None)?,
        start(
            "decision log, best_effort",
            logging(folder.path(), "best_effort"),
            Some((1.15, 1.10)),
        )?,
        start(
            "decision log, required",
            logging(folder.path(), "required"),
            None,
        )?,
        start(
            "spans to a dead receiver",
            exporting(&silent),
            Some((f64::INFINITY, 1.2)),
        )?,
    ];
    let (n_rounds, n_calls) = options.pick((31, 8_000), (2, 256));
    for round in 0..=n_rounds {
        // The order changes, because each leaves the CPU's caches in another state.
        contenders.rotate_left(1);
        for contender in &mut contenders {
            let (cpu, mut took) = contender.process.costs(questions, LOAD, n_calls)?;
            if round > 0 {
                // The first round warms all of them up.
                contender.cpu.push(cpu);
                contender.p99.push(percentile(&mut took, 99)?);
            }
        }
    }
    let (n_rounds, time) = options.pick(
        (31, Duration::from_secs(1)),
        (1, Duration::from_millis(100)),
    );
    for _ in 0..n_rounds {
        contenders.rotate_left(1);
        for contender in &mut contenders {
            let mut took = beside::ask(contender.process.endpoint(), questions, time)?;
            contender.p99_at_pace.push(percentile(&mut took, 99)?);
        }
    }
    report(&mut contenders, figures)
}

/// Counts what the decision log adds to a call. Instructions are steady however much else the machine does.
pub fn records(
    questions: &Questions,
    options: &Options,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let n_calls = options.pick(8_192, 256);
    head(
        "Instructions and heap allocations of a call, with 8 in flight, on the thread that answers",
        &["decision log", "instructions", "more", "allocations"],
    );
    let mut without = None;
    for mode in ["off", "best_effort", "required"] {
        let extra = logging(folder.path(), mode);
        let count =
            |n_calls: usize| counted_with(Which::Iamd, mode, questions, LOAD, n_calls, &extra);
        let (once, twice) = (count(n_calls)?, count(2 * n_calls)?);
        let of_each = |part: fn(&Counted) -> f64| (part(&twice) - part(&once)) / n_calls as f64;
        let instructions = of_each(|counted| counted.n_instructions);
        let off = *without.get_or_insert(instructions);
        row(&[
            mode.to_owned(),
            format!("{instructions:.0}"),
            format!("{:.0}", instructions - off),
            format!("{:.1}", of_each(|counted| counted.n_allocations)),
        ]);
        if mode == "best_effort" {
            let own = of_each(|counted| counted.n_log_instructions);
            println!("  {mode}: {own:.0} instructions a call on the thread that writes");
            let ratio = instructions / off;
            figures.at_most("18", format!("instructions, {mode}"), ratio, 1.10);
        }
    }
    Ok(())
}

fn report(contenders: &mut [Contender], figures: &mut Figures) -> anyhow::Result<()> {
    head(
        "A call to a server that is watched, with 8 in flight: CPU time of the server, and the 99th percentile of the time that the client waits, in microseconds",
        &[
            "server",
            "CPU",
            "ratio",
            "p99",
            "ratio",
            "p99 at 4,000 calls a second",
            "ratio",
        ],
    );
    let unwatched = contenders.iter().find(|one| one.name == "unwatched");
    let unwatched = unwatched.context("it is among them")?;
    let (own_cpu, own_p99) = (unwatched.cpu.clone(), unwatched.p99.clone());
    let own_p99_at_pace = unwatched.p99_at_pace.clone();
    let ratio = |these: &[f64], those: &[f64]| -> f64 {
        median(these.iter().zip(those).map(|(a, b)| a / b).collect())
    };
    for one in contenders {
        let (cpu, p99) = (ratio(&one.cpu, &own_cpu), ratio(&one.p99, &own_p99));
        let at_pace = ratio(&one.p99_at_pace, &own_p99_at_pace);
        row(&[
            one.name.to_owned(),
            format!("{:.2}", median(one.cpu.clone())),
            format!("{cpu:.2}"),
            format!("{:.0}", median(one.p99.clone())),
            format!("{p99:.2}"),
            format!("{:.0}", median(one.p99_at_pace.clone())),
            format!("{at_pace:.2}"),
        ]);
        if let Some((most_cpu, most_p99)) = one.bounds {
            let name = one.name;
            if most_cpu.is_finite() {
                figures.at_most("18", format!("CPU, {name}"), cpu, most_cpu);
            }
            figures.at_most("18", format!("p99, {name}"), p99, most_p99);
            let what = format!("p99 at a steady pace, {name}");
            figures.at_most("18", what, at_pace, most_p99);
        }
        println!("  {}: {} KiB", one.name, one.process.memory_kib()?);
    }
    Ok(())
}

/// Returns what a server needs to write a decision log into `folder`.
fn logging(folder: &Path, mode: &str) -> Extra {
    let file = folder.join(mode).display().to_string();
    let arguments = ["--decision-log", mode, "--decision-log-file", &file];
    Extra {
        arguments: arguments.map(str::to_owned).to_vec(),
        ..Extra::default()
    }
}

/// Returns what a server needs to export everything to `endpoint`.
fn exporting(endpoint: &str) -> Extra {
    Extra {
        variables: vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.to_owned()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
        ],
        ..Extra::default()
    }
}
