//! A store in force, kept up to date by the server's own watcher.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use iamd::engine::cache::{Caching, Mode};
use iamd::engine::live::Live;
use iamd::engine::request::Request;
use iamd::state::SharedState;
use iamd::store::watch::Watcher;
use iamd::store::{Loaded, Loader};

use crate::change::{Change, Store};
use crate::worlds;

/// A reload that takes longer fails the measurement.
const PATIENCE: Duration = Duration::from_secs(120);
/// The wait after a reload, in which the watcher frees the old generation. It must not fall into the next quiet period.
const UNTIL_QUIET: Duration = Duration::from_millis(100);
/// After how many decisions the asking thread checks whether the reload is over.
const N_BETWEEN: usize = 256;
/// The size of the decision cache, the server's default.
const CACHE_BYTES: usize = 8 << 20;

/// The durations of decisions, in nanoseconds.
#[derive(Default)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    /// Returns the number of decisions.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the durations, which the caller may sort.
    pub fn samples(&mut self) -> &mut [u32] {
        &mut self.0
    }

    /// Adds those of `other`.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }
}

/// The measurements of one change.
pub struct Round {
    /// The time from the write to the first decision that shows the change. It includes the watcher's wait for quiet.
    pub in_force_after: Duration,
    /// The durations of decisions until the reload was over.
    pub during: Latencies,
    /// The durations of decisions just before, without a reload.
    pub quiet: Latencies,
}

/// A store in force, with its watcher.
pub struct Watched {
    live: Arc<Live>,
    state: Arc<SharedState>,
    _watcher: Watcher,
}

impl Watched {
    /// Puts `loaded`, which `loader` has read at `root`, in force and watches the store.
    pub fn start(root: &Path, loader: Loader, loaded: Loaded) -> anyhow::Result<Self> {
        let caching = Caching::new(Mode::Auto, CACHE_BYTES, worlds::SEED);
        let live = Arc::new(Live::new(caching));
        let state = Arc::new(SharedState::new());
        let (root, own_live, own_state) = (root.to_owned(), Arc::clone(&live), Arc::clone(&state));
        let _watcher = Watcher::start(root, own_live, own_state, loader, loaded)?;
        Ok(Self {
            live,
            state,
            _watcher,
        })
    }

    /// Asks `requests` in turn, `n_decisions` in all.
    fn ask(&self, requests: &[Request], n_decisions: usize) -> anyhow::Result<Latencies> {
        let mut latencies = Latencies::default();
        // The first rounds are a warm-up.
        for request in requests.iter().chain(requests).chain(requests) {
            self.decide(request)?;
        }
        self.ask_on(requests.iter().cycle().take(n_decisions), &mut latencies)?;
        Ok(latencies)
    }

    /// Changes `store` `n_changes` times, each time after `n_quiet` decisions without a change, and asks `requests`
    /// during the changes too.
    pub fn change(
        &self,
        store: &mut Store,
        change: Change,
        n_changes: usize,
        requests: &[Request],
        n_quiet: usize,
    ) -> anyhow::Result<Vec<Round>> {
        let mut rounds = Vec::new();
        for _ in 0..n_changes {
            std::thread::sleep(UNTIL_QUIET);
            let quiet = self.ask(requests, n_quiet)?;
            let mut requests = requests.iter().cycle();
            let mut during = Latencies::default();
            let pending = store.next(change)?;
            let shows = pending.shows.request()?;
            ensure!(
                self.decide(&shows)? != pending.is_allowed,
                "the change is in force before it is written"
            );
            let before = self.state.now();
            pending.write()?;
            let begin = Instant::now();
            while self.decide(&shows)? != pending.is_allowed {
                ensure!(
                    begin.elapsed() < PATIENCE,
                    "a reload took over {PATIENCE:?}"
                );
                self.ask_on(requests.by_ref().take(N_BETWEEN), &mut during)?;
            }
            let in_force_after = begin.elapsed();
            // The watcher changes the state after it publishes the snapshot.
            while self.state.now().revision() == before.revision() {
                ensure!(
                    begin.elapsed() < PATIENCE,
                    "the watcher does not tell of the reload"
                );
                self.ask_on(requests.by_ref().take(N_BETWEEN), &mut during)?;
            }
            rounds.push(Round {
                in_force_after,
                during,
                quiet,
            });
        }
        Ok(rounds)
    }

    fn decide(&self, request: &Request) -> anyhow::Result<bool> {
        let generation = self.live.load();
        let generation = generation.as_ref().context("a generation is in force")?;
        let decision = generation.authorize(request);
        Ok(decision.map_err(|error| anyhow!("{error:?}"))?.is_allowed())
    }

    /// Decides as a request does: takes the generation in force, decides and releases it.
    fn ask_on<'r, 'q: 'r>(
        &self,
        requests: impl Iterator<Item = &'r Request<'q>>,
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
