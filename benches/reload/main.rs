//! Measures how soon a change to one policy is in force in a large store, and whether decisions get slower meanwhile.
//!
//! `cargo bench --bench reload` writes a store of 100,000 policies and as many users to a temporary folder and loads
//! it. Then one file changes repeatedly: a policy, or a list of attached policies. First the store is loaded directly
//! each time, which separates the scan from the rest. Then the server's own watcher loads the changes, and a question
//! before and after shows whether each change is in force. One thread asks all the time, as a request would. Its
//! decisions are timed one by one, both without a reload and while the store reloads.
//!
//! `-- --check` fails if a figure is missed; `-- --short` uses a small store.

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

mod change;
mod disk;
mod watched;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use iamd::compile::snapshot::Snapshot;
use iamd::engine::request::Request;
use iamd::store::{Loaded, Loader, Took};

use change::{Change, Store};
use measure::{Figures, Options, conditions, head, median, memory, nanoseconds, row, share, time};
use watched::{Latencies, Watched};
use worlds::Random;

/// The number of decisions before each change. Those during its reload are compared with them.
const N_QUIET: usize = 100_000;
/// The wait before each load. It is as long as the watcher's.
const PAUSE: Duration = Duration::from_millis(20);
/// After this many changes, all files are read once for comparison.
const N_PER_READING: usize = 4;
/// The number of full loads. The shortest counts.
const N_FULL: usize = 3;

/// A kind of change that is measured.
struct Measured {
    name: String,
    change: Change,
    /// How often the change is made.
    n_times: usize,
    /// Whether the loader must patch the tables instead of compiling the whole store.
    is_in_place: bool,
}

fn main() -> anyhow::Result<()> {
    let Some(options) = Options::read(&[])? else {
        return Ok(());
    };
    let mut figures = Figures::default();
    conditions("before")?;
    let n_policies = options.pick(100_000, 1_000);
    let sized = worlds::by_size(n_policies);
    let directory = tempfile::Builder::new().prefix("iamd-reload-").tempdir()?;
    let root = directory.path();
    let last = sized.world.users.last().context("there are users")?;
    let of_few = *last
        .policies
        .first()
        .context("the last user has a policy")?;
    let (mut store, n_files, n_bytes) = Store::write(sized.world.clone(), root)?;
    println!(
        "\n{n_policies} policies, {} statements, {} users: {n_files} files of {} together.",
        sized.world.n_statements(),
        sized.world.users.len(),
        memory(n_bytes),
    );
    let n_changes = options.pick(20, 3);
    let in_place = |name: String, change| Measured {
        name,
        change,
        n_times: n_changes,
        is_in_place: true,
    };
    let policy = |store: &Store, index| {
        let name = format!("a policy of {} users", store.n_holders(index));
        in_place(name, Change::Policy(index))
    };
    let measured = [
        policy(&store, 0),
        policy(&store, of_few),
        in_place(
            "what a user has attached".to_owned(),
            Change::UserList(store.last_user()?),
        ),
        // A group's list affects all its users, so the whole store is compiled.
        Measured {
            name: "what a group has attached".to_owned(),
            change: Change::GroupList(0),
            n_times: options.pick(4, 2),
            is_in_place: false,
        },
    ];

    let (mut loader, loaded, full) = full_loads(root)?;
    let questions = worlds::balanced(
        &loaded.snapshot,
        &sized.world,
        &sized.hot,
        64,
        &mut Random::new(worlds::SEED),
    )?;
    let requests = worlds::requests(&questions)?;
    let loaded =
        one_file(&mut figures, &mut loader, root, &mut store, &measured, full)?.unwrap_or(loaded);
    in_service(
        &options,
        &mut figures,
        Watched::start(root, loader, loaded)?,
        &mut store,
        &measured,
        &requests,
    )?;
    conditions("after")?;
    figures.conclude(options.demand)
}

/// Loads the whole store from disk several times and prints the table. Returns the last load and the shortest times of
/// its parts.
fn full_loads(root: &Path) -> anyhow::Result<(Loader, Loaded, Took)> {
    let stat = best_of(N_FULL, || disk::stat_all(root))?;
    let read = best_of(N_FULL, || disk::read_all(root))?;
    let (mut best, mut whole) = (
        Took {
            scan: Duration::MAX,
            compile: Duration::MAX,
        },
        Duration::MAX,
    );
    let mut last = None;
    for _ in 0..N_FULL {
        drop(last.take());
        let mut loader = Loader::new();
        let begin = Instant::now();
        let loaded = load(&mut loader, root)?;
        whole = whole.min(begin.elapsed());
        best.scan = best.scan.min(loaded.took.scan);
        best.compile = best.compile.min(loaded.took.compile);
        last = Some(loader);
    }
    let mut loader = last.context("there was a load")?;
    // Files that were too new when they were read are read again now, and not with the first change.
    let loaded = load(&mut loader, root)?;
    head(
        &format!("A full load from disk: the shortest of {N_FULL}"),
        &["what", "time"],
    );
    for (what, took) in [
        ("for comparison: stat every file", stat),
        ("for comparison: read every file and digest it", read),
        ("scan: find, read and digest every file", best.scan),
        ("parse and compile", best.compile),
        ("all of it", whole),
    ] {
        row(&[what.to_owned(), time(took)]);
    }
    Ok((loader, loaded, best))
}

fn load(loader: &mut Loader, root: &Path) -> anyhow::Result<Loaded> {
    let loaded = loader.load(root);
    loaded.map_err(|refused| anyhow!("the store does not load: {:?}", refused.findings.first()))
}

/// Changes one file and loads the store again, without a watcher, so that the scan is measured in full. Returns the
/// last load.
fn one_file(
    figures: &mut Figures,
    loader: &mut Loader,
    root: &Path,
    store: &mut Store,
    measured: &[Measured],
    full: Took,
) -> anyhow::Result<Option<Loaded>> {
    head(
        "One changed file, loaded again: medians",
        &[
            "what changes",
            "times",
            "scan",
            "scan ÷ reading all files",
            "without the scan",
            "slowest",
            "full load ÷ reload, both without the scan",
            "compiled",
        ],
    );
    let mut last = None;
    for Measured {
        name,
        change,
        n_times,
        is_in_place,
    } in measured
    {
        let (mut scans, mut rests, mut of_reading) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..*n_times {
            let pending = store.next(*change)?;
            pending.write()?;
            std::thread::sleep(PAUSE);
            let loaded = load(loader, root)?;
            ensure!(
                is_allowed(&loaded.snapshot, &pending.shows.request()?)? == pending.is_allowed,
                "{name}: the change does not show"
            );
            ensure!(
                loaded.is_patched == *is_in_place,
                "{name}: everything compiled again: {}",
                !loaded.is_patched
            );
            let scan = loaded.took.scan.as_nanos() as f64;
            scans.push(scan);
            if round % N_PER_READING == 0 {
                let read = best_of(1, || disk::read_all(root))?;
                of_reading.push(scan / read.as_nanos() as f64);
            }
            rests.push(loaded.took.compile.as_nanos() as f64);
            last = Some(loaded);
        }
        let slowest = rests.iter().copied().fold(0.0, f64::max);
        let (scan, rest) = (median(scans), median(rests));
        let of_reading = median(of_reading);
        let ratio = full.compile.as_nanos() as f64 / rest;
        row(&[
            name.clone(),
            n_times.to_string(),
            nanoseconds(scan),
            format!("{of_reading:.2}"),
            nanoseconds(rest),
            nanoseconds(slowest),
            format!("{ratio:.1}"),
            if *is_in_place { "in place" } else { "all" }.to_owned(),
        ]);
        if *is_in_place {
            let what = format!("full load ÷ reload without the scan, {name}");
            figures.at_least("7", what, ratio, 100.0);
            let what = format!("milliseconds without the scan, {name}");
            figures.at_most("7", what, rest / 1e6, 5.0);
            let what = format!("scan ÷ reading all files, {name}");
            figures.at_most("7", what, of_reading, 1.0 / 3.0);
        }
    }
    Ok(last)
}

fn is_allowed(snapshot: &Snapshot, request: &Request) -> anyhow::Result<bool> {
    Ok(worlds::decided(snapshot, request)?.is_allowed())
}

/// Makes the same changes with the server's own watcher, while one thread asks all the time.
fn in_service(
    options: &Options,
    figures: &mut Figures,
    watched: Watched,
    store: &mut Store,
    measured: &[Measured],
    requests: &[Request],
) -> anyhow::Result<()> {
    head(
        "One changed file, from the write to the first decision that shows it",
        &["what changes", "times", "median", "slowest"],
    );
    let [mut quiet, mut in_place, mut of_all] = [(); 3].map(|()| Latencies::default());
    let mut ratios = Vec::new();
    for kind in measured {
        let n_quiet = options.pick(N_QUIET, 10_000);
        let rounds = watched.change(store, kind.change, kind.n_times, requests, n_quiet)?;
        let took = rounds.iter().map(|round| round.in_force_after);
        let slowest = took.clone().max().unwrap_or_default();
        let took = took.map(|took| took.as_nanos() as f64);
        row(&[
            kind.name.clone(),
            kind.n_times.to_string(),
            nanoseconds(median(took.collect())),
            time(slowest),
        ]);
        for mut round in rounds {
            quiet.extend(&round.quiet);
            if !kind.is_in_place {
                of_all.extend(&round.during);
                continue;
            }
            in_place.extend(&round.during);
            ensure!(round.during.len() > 0, "nothing was asked during a reload");
            let [during, quiet] = [&mut round.during, &mut round.quiet]
                .map(|latencies| f64::from(share(latencies.samples(), 0.99)));
            ratios.push(during / quiet);
        }
    }
    head(
        "Decisions one by one, by the clock on the wall",
        &["when", "decisions", "p50", "p99", "p99.9"],
    );
    for (when, latencies) in [
        ("quiet", &mut quiet),
        ("during reloads in place", &mut in_place),
        ("during reloads that compile all", &mut of_all),
    ] {
        let n_decisions = latencies.len();
        let samples = latencies.samples();
        let [p50, p99_of, p999] = [0.5, 0.99, 0.999].map(|part| share(samples, part));
        row(&[
            when.to_owned(),
            n_decisions.to_string(),
            nanoseconds(p50.into()),
            nanoseconds(p99_of.into()),
            nanoseconds(p999.into()),
        ]);
    }
    figures.at_most(
        "7",
        "p99 of decisions, during a reload in place ÷ just before it, median",
        median(ratios),
        1.5,
    );
    Ok(())
}

/// Returns the shortest of `n_times` runs, because other programs on the machine can only make a run longer.
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
