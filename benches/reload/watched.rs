//! A store in force, kept up to date by the server's own watcher.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use iamd::engine::authorize;
use iamd::engine::live::Live;
use iamd::engine::request::Request;
use iamd::store::watch::{Status, Watcher};
use iamd::store::{Loaded, Loader};

use crate::worlds::{Holder, Question, Random, Sized, Statement};

/// A reload that takes longer fails the measurement.
const PATIENCE: Duration = Duration::from_secs(120);
/// After how many decisions the asking thread looks whether the reload is over.
const N_BETWEEN: usize = 256;

/// How long each of some decisions took, in nanoseconds.
#[derive(Default)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    /// How many decisions.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// To be sorted.
    pub fn samples(&mut self) -> &mut [u32] {
        &mut self.0
    }
}

/// One reload.
pub struct Reload {
    /// Looking at every file, and reading those that differ; none while the watcher does not tell it apart.
    pub scan: Option<Duration>,
    /// From finding the change to the publication.
    pub whole: Duration,
    /// From the write to the first decision that shows it, which has the watcher's wait for quiet in it.
    pub in_force_after: Duration,
}

impl Reload {
    /// Parsing, building and compiling; the scan too, where it is not told apart.
    pub fn work(&self) -> Duration {
        self.whole.saturating_sub(self.scan.unwrap_or_default())
    }

    /// What the watcher tells of its last reload.
    fn of(status: &Status, in_force_after: Duration) -> Self {
        Self {
            scan: Some(status.last_scan),
            whole: status.last_duration,
            in_force_after,
        }
    }
}

/// The store.
pub struct Watched {
    root: PathBuf,
    live: Arc<Live>,
    watcher: Watcher,
    n_changes: usize,
}

impl Watched {
    /// Puts `loaded`, which `loader` has made of what lies at `root`, in force and watches it.
    pub fn start(root: &Path, loader: Loader, loaded: Loaded) -> anyhow::Result<Self> {
        let live = Arc::new(Live::default());
        let watcher = Watcher::start(root.to_owned(), Arc::clone(&live), loader, &loaded)?;
        let snapshot = loaded.snapshot;
        live.publish(snapshot);
        Ok(Self {
            root: root.to_owned(),
            live,
            watcher,
            n_changes: 0,
        })
    }

    /// Asks `requests` in turn, `n_decisions` in all.
    pub fn ask(&self, requests: &[Request], n_decisions: usize) -> anyhow::Result<Latencies> {
        let mut latencies = Latencies::default();
        // The first round is to warm up.
        for request in requests.iter().chain(requests).chain(requests) {
            self.decide(request)?;
        }
        self.ask_on(requests.iter().cycle().take(n_decisions), &mut latencies)?;
        Ok(latencies)
    }

    /// Changes `policy` of the store `n_changes` times, each time once the change before is in force, and asks
    /// `requests` all the while.
    pub fn change(
        &mut self,
        sized: &Sized,
        policy: usize,
        n_changes: usize,
        requests: &[Request],
        latencies: &mut Latencies,
    ) -> anyhow::Result<Vec<Reload>> {
        let mut world = sized.world.clone();
        let holds = |holder: &&Holder| {
            let of_groups = holder
                .groups
                .iter()
                .filter_map(|at| sized.world.groups.get(*at));
            let mut policies = of_groups
                .flat_map(|group| &group.policies)
                .chain(&holder.policies);
            policies.any(|at| *at == policy)
        };
        let user = sized.world.users.iter().find(holds);
        let user = user.context("nobody has the policy to be changed")?;
        let mut random = Random::new(self.n_changes as u64);
        let mut requests = requests.iter().cycle();
        let mut reloads = Vec::new();
        for _ in 0..n_changes {
            self.n_changes += 1;
            let action = format!("marker:Change{}", self.n_changes);
            let resource = "arn:app:marker:::x".to_owned();
            let shows = Question::plain(&mut random, user, action.clone(), resource).request()?;
            ensure!(
                !self.decide(&shows)?,
                "{action} is allowed before it is granted"
            );
            let changed = world.policies.get_mut(policy).context("the policy")?;
            changed.statements.push(Statement::allow(action, "*"));
            let before = self.watcher.status();
            self.write(&world, policy)?;
            let begin = Instant::now();
            while !self.decide(&shows)? {
                ensure!(
                    begin.elapsed() < PATIENCE,
                    "a reload took over {PATIENCE:?}"
                );
                self.ask_on(requests.by_ref().take(N_BETWEEN), latencies)?;
            }
            let in_force_after = begin.elapsed();
            // The status follows the publication.
            let mut after = self.watcher.status();
            while after.revision == before.revision {
                ensure!(
                    begin.elapsed() < PATIENCE,
                    "the watcher does not tell of the reload"
                );
                self.ask_on(requests.by_ref().take(N_BETWEEN), latencies)?;
                after = self.watcher.status();
            }
            reloads.push(Reload::of(&after, in_force_after));
        }
        Ok(reloads)
    }

    /// Writes the file of one policy by a rename.
    fn write(&self, world: &crate::worlds::World, policy: usize) -> anyhow::Result<()> {
        let name = &world.policies.get(policy).context("the policy")?.name;
        let ending = format!("/{name}.json");
        // Policies stand behind the account's file, in the order of their indices.
        let (path, text) = world.files().nth(policy + 1).context("its file")?;
        ensure!(path.ends_with(&ending), "{path} is not the file of {name}");
        let beside = self.root.join(format!("{path}.tmp"));
        fs::write(&beside, text)?;
        Ok(fs::rename(beside, self.root.join(path))?)
    }

    fn decide(&self, request: &Request) -> anyhow::Result<bool> {
        let generation = self.live.load();
        let generation = generation.as_ref().context("a generation is in force")?;
        let decision = authorize(&generation.snapshot, request);
        Ok(decision.map_err(|error| anyhow!("{error:?}"))?.is_allowed())
    }

    /// As a request does it: takes the generation in force, decides, lets go.
    fn ask_on<'r>(
        &self,
        requests: impl Iterator<Item = &'r Request>,
        latencies: &mut Latencies,
    ) -> anyhow::Result<()> {
        for request in requests {
            let begin = Instant::now();
            black_box(self.decide(black_box(request))?);
            let took = begin.elapsed().as_nanos();
            latencies.0.push(u32::try_from(took).unwrap_or(u32::MAX));
        }
        Ok(())
    }
}
