//! How long until a change to one policy is in force in a large store, and who notices?
//!
//! `cargo bench --bench reload` writes a store of 100,000 policies and as many users to a temporary folder, loads it,
//! and has the server's own watcher keep it up to date while one policy is changed again and again. What each change
//! grants is asked for before and after. One thread asks all the time, as a request would: its decisions are timed
//! one by one, quiet and while the store reloads.
//!
//! `-- --check` ends with an error if a figure is missed, `-- --short` takes a small store.

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

mod disk;
mod watched;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use measure::{Figures, Options, conditions, head, memory, nanoseconds, row, share, time};
use watched::{Latencies, Watched};
use worlds::{Random, Sized};

const N_QUIET: usize = 2_000_000;

fn main() -> anyhow::Result<()> {
    let Some(options) = Options::read(&[])? else {
        return Ok(());
    };
    let mut figures = Figures::default();
    conditions("before")?;
    let n_policies = options.pick(100_000, 1_000);
    let n_changes = options.pick(20, 3);
    let sized = worlds::by_size(n_policies);
    let directory = tempfile::Builder::new().prefix("iamd-reload-").tempdir()?;
    let (n_files, n_bytes) = sized.world.write(directory.path())?;
    println!(
        "\n{n_policies} policies, {} statements, {} users: {n_files} files of {} together.",
        sized.world.n_statements(),
        sized.world.users.len(),
        memory(n_bytes),
    );

    let of_texts = full_load_of_texts(&sized)?;
    let stat = best_of(3, || disk::stat_all(directory.path()))?;
    let read = best_of(3, || disk::read_all(directory.path()))?;
    let begin = Instant::now();
    let mut loader = iamd::store::Loader::new();
    let loaded = loader
        .load(directory.path())
        .map_err(|refused| anyhow::anyhow!("{:?}", refused.findings.first()))?;
    let full = begin.elapsed();
    head("A full load", &["what", "time"]);
    for (what, took) in [
        ("stat every file", stat),
        ("read every file and digest it", read),
        ("parse and compile, from memory", of_texts),
        ("all of it, from disk", full),
    ] {
        row(&[what.to_owned(), time(took)]);
    }

    let mut random = Random::new(worlds::SEED);
    let questions = worlds::balanced(&loaded.snapshot, &sized.world, &sized.hot, 64, &mut random)?;
    let requests = worlds::requests(&questions)?;
    let mut watched = Watched::start(directory.path(), loader, loaded)?;
    let mut quiet = watched.ask(&requests, options.pick(N_QUIET, 100_000))?;
    let last = sized.world.users.last().context("there are users")?;
    let of_few = last.policies.first().context("it has a policy")?;
    let changed = [
        ("of one group of eight users", 0),
        ("of few users", *of_few),
    ];
    head(
        &format!("One changed policy, {n_changes} times each: medians"),
        &[
            "policy",
            "scan",
            "without the scan",
            "all of it",
            "full load ÷ without the scan",
            "until in force",
        ],
    );
    let mut while_reloading = Latencies::default();
    for (what, policy) in changed {
        let reloads = watched.change(&sized, policy, n_changes, &requests, &mut while_reloading)?;
        let of = |part: fn(&watched::Reload) -> Duration| {
            let parts = reloads.iter().map(|reload| part(reload).as_nanos() as f64);
            measure::median(parts.collect())
        };
        let (work, whole) = (of(|r| r.work()), of(|r| r.whole));
        let is_told = reloads.iter().all(|reload| reload.scan.is_some());
        // What is not known is no number, which meets no figure.
        let scan = match is_told {
            true => of(|reload| reload.scan.unwrap_or_default()),
            false => f64::NAN,
        };
        let ratio = of_texts.as_nanos() as f64 / work;
        row(&[
            what.to_owned(),
            if is_told {
                nanoseconds(scan)
            } else {
                "not told".to_owned()
            },
            nanoseconds(work),
            nanoseconds(whole),
            format!("{ratio:.0}"),
            nanoseconds(of(|r| r.in_force_after)),
        ]);
        figures.at_least(
            "7",
            format!("full load ÷ reload without the scan, {what}"),
            ratio,
            100.0,
        );
        figures.at_most(
            "7",
            format!("milliseconds without the scan, {what}"),
            work / 1e6,
            5.0,
        );
        let of_reading = scan / read.as_nanos() as f64;
        figures.at_most(
            "7",
            format!("scan ÷ reading all files, {what}"),
            of_reading,
            1.0 / 3.0,
        );
    }
    ensure!(
        while_reloading.len() > 0,
        "nothing was asked during the reloads"
    );
    head(
        "Decisions one by one, by the clock on the wall",
        &["when", "decisions", "p50", "p99", "p99.9"],
    );
    let mut p99 = Vec::new();
    for (when, latencies) in [
        ("quiet", &mut quiet),
        ("during reloads", &mut while_reloading),
    ] {
        let n_decisions = latencies.len();
        let samples = latencies.samples();
        let [p50, p99_of, p999] = [0.5, 0.99, 0.999].map(|part| share(samples, part));
        p99.push(f64::from(p99_of));
        row(&[
            when.to_owned(),
            n_decisions.to_string(),
            nanoseconds(p50.into()),
            nanoseconds(p99_of.into()),
            nanoseconds(p999.into()),
        ]);
    }
    let (quiet, during) = (p99.first().context("quiet")?, p99.last().context("during")?);
    figures.at_most(
        "7",
        "p99 of decisions, during reloads ÷ quiet",
        during / quiet,
        1.5,
    );
    conditions("after")?;
    figures.conclude(options.is_checked)
}

/// Everything but the disk.
fn full_load_of_texts(sized: &Sized) -> anyhow::Result<Duration> {
    let files: Vec<(String, String)> = sized.world.files().collect();
    best_of(3, || {
        let texts = files.iter().map(|(path, text)| (&**path, &**text));
        let loaded = iamd::store::load_texts(texts);
        ensure!(loaded.is_ok(), "the store does not load");
        Ok(())
    })
}

/// The shortest of `n_times`: what others do on the machine only ever adds.
fn best_of(
    n_times: usize,
    mut run: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..n_times {
        let begin = Instant::now();
        run()?;
        best = best.min(begin.elapsed());
    }
    Ok(best)
}
