//! `iamd serve`.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::settings::Settings;
use super::supervisor::Supervisor;
use super::{Common, Status};
use crate::authorizer::{Authorizer, Recorder};
use crate::config::{
    Config, DECISION_LOG_PATIENCE, DESCRIPTORS_OF_THREAD, DecisionCache, DecisionLogMode,
    EXPORT_PATIENCE, LOG_PATIENCE, LOG_PATIENCE_AT_START, MAX_HEALTH_CONNECTIONS,
    MAX_HTTP_CONNECTIONS, RESERVED_DESCRIPTORS, SECOND_SIGNAL_AFTER,
};
use crate::decision_log::DecisionLog;
use crate::engine::cache::{Caching, Counts, Mode};
use crate::engine::live::Live;
use crate::service::http::{self, HttpListener, Pages};
use crate::service::server::{self, Certificates, InFlight, Listeners, Readiness};
use crate::service::{INTERACTIVE, woke};
use crate::state::SharedState;
use crate::store::finding_log::FindingLog;
use crate::store::watch::Watcher;
use crate::store::{Keeper, Loaded, Loader, Refused, mounts};
use crate::telemetry::{self, Environment, Exporters, Logging, Sources, micros};

/// How long tasks and threads that still run may take to stop after the drain.
const FAREWELL: Duration = Duration::from_millis(100);

/// Run the sidecar; without flags it serves ./policies on 127.0.0.1:50051
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every flag --a-b has the variable IAMD_A_B and the key a_b of the configuration file: the flag wins \
                  over the variable, the variable over the file. SIGHUP reads the store and the certificates anew and opens the decision log again; SIGUSR2 raises the log level to debug, and back; SIGTERM ends the server \
                  once the calls in flight are answered."
)]
pub(super) struct Args {
    #[command(flatten)]
    settings: Settings,
}

pub(super) fn run(args: Args, common: &Common) -> anyhow::Result<Status> {
    let resolved = args.settings.resolve(common)?;
    // Connections have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name(INTERACTIVE)
        .on_thread_unpark(woke) // a server with one thread answers on this one
        .build()
        .context("the threads cannot be started")?;
    // A log file at its size limit must not end the process. With a handler for SIGXFSZ, the write only fails. The
    // handler must be there before the first log line.
    let _too_large = {
        let _context = runtime.enter();
        listen(SignalKind::from_raw(libc::SIGXFSZ))?
    };
    let mut exporters = Exporters::start(Environment::read(variables()))?;
    telemetry::start(&logging(&resolved.config), &exporters)?;
    let version = env!("CARGO_PKG_VERSION");
    let (pid, store) = (std::process::id(), resolved.config.store.display());
    tracing::info!(version, pid, %store, "iamd starts");
    for warning in &resolved.warnings {
        tracing::warn!(id = "setting-ignored", "{warning}");
    }
    exporters.log();
    let mut config = resolved.config;
    mounts::warn_of_frozen(&config.store);
    keep_descriptors_back(&mut config);
    let served = runtime.block_on(serve(Arc::new(config), &mut exporters));
    exporters.stop(EXPORT_PATIENCE);
    runtime.shutdown_timeout(FAREWELL); // without a limit, a load that still runs would delay the end
    let status = served.unwrap_or_else(|error| {
        tracing::error!(id = "start-failed", "{error:#}");
        Status::Refused
    });
    telemetry::flush(match status {
        Status::Refused => LOG_PATIENCE_AT_START,
        _ => LOG_PATIENCE,
    });
    Ok(status)
}

/// Raises the limit of open descriptors as far as the system allows, and caps connections so that the store, its watch
/// and the log have enough of them. Otherwise a client that holds connections open could stop a change of the store
/// from being read.
fn keep_descriptors_back(config: &mut Config) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limits = getrlimit(Resource::Nofile);
    let mut raised = limits;
    raised.current = limits.maximum;
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limits.maximum,
        Err(_) => limits.current,
    };
    let Some(limit) = limit else { return }; // there is no limit
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let most = limit.saturating_sub(reserved_descriptors(config)).max(1);
    if config.max_connections > most {
        let max_connections = config.max_connections;
        tracing::warn!(
            id = "connections-capped",
            max_connections,
            limit,
            capped_to = most,
            "`max_connections` is capped: the process cannot open enough file descriptors"
        );
        config.max_connections = most;
    }
}

/// Returns how many descriptors a server needs besides those of the connections for gRPC.
fn reserved_descriptors(config: &Config) -> usize {
    let for_health = config.health_listen.map_or(0, |_| MAX_HEALTH_CONNECTIONS);
    let for_http = config.http_listen.map_or(0, |_| MAX_HTTP_CONNECTIONS);
    let of_threads = DESCRIPTORS_OF_THREAD.saturating_mul(server::n_threads(config));
    RESERVED_DESCRIPTORS
        .saturating_add(config.listen.len())
        .saturating_add(for_health + for_http)
        .saturating_add(of_threads)
}

/// Returns the settings of the log.
fn logging(config: &Config) -> Logging {
    Logging {
        filter: config.log_level.clone(),
        format: config.log_format,
        colour: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    }
}

/// Binds the sockets, loads the store, serves and drains.
async fn serve(config: Arc<Config>, exporters: &mut Exporters) -> anyhow::Result<Status> {
    // The handlers come first, because a signal during the load must not kill the process.
    let (mut stop_signals, mut hang_up) = (Stop::new()?, listen(SignalKind::hangup())?);
    let mut change_level = listen(SignalKind::user_defined2())?;
    let listeners = Listeners::bind(&config).await?;
    let certificates = listeners.certificates();
    let mut addresses = listeners.addresses();
    let http_listener = HttpListener::bind(&config, &certificates).await?;
    addresses.extend(http_listener.as_ref().map(HttpListener::address));
    let decision_log = start_decision_log(&config, exporters)?;
    let live = Arc::new(Live::new(caching(&config)));
    let state = Arc::new(SharedState::new());
    let readiness = Arc::new(Readiness::new());
    let in_flight = InFlight::default();
    let sources = sources(&live, &state, &in_flight, &certificates);
    exporters.start_metrics(&sources);
    let pages = Pages::new(sources, Arc::clone(&readiness), &config)?;
    let pages = HttpServing::start(http_listener, pages);
    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = tokio::spawn({
        let authorizer = Arc::new(authorizer(&live, &config, decision_log.as_ref()));
        let (state, readiness) = (Arc::clone(&state), Arc::clone(&readiness));
        let (config, in_flight) = (Arc::clone(&config), in_flight.clone());
        async move {
            let stop = async {
                let _ = stopped.await; // a dropped sender means stop, too
            };
            server::serve(
                listeners, authorizer, state, readiness, &config, &in_flight, stop,
            )
            .await
        }
    });

    let (loader, loaded) = tokio::select! {
        loaded = load(&config) => loaded?,
        () = stop_signals.signal() => return Ok(Status::Fine),
    };
    let Some(watcher) = begin(&config, loader, loaded, &live, Arc::clone(&state))? else {
        return Ok(Status::Refused);
    };
    readiness.ready();
    let supervisor = Supervisor::start();
    supervisor.tell(NotifyState::Ready);
    supervisor.keep_watchdog_quiet();
    log_readiness(&config, &state, &addresses);

    loop {
        tokio::select! {
            _ = hang_up.recv() => {
                watcher.request_reload();
                certificates.request_look();
                decision_log.iter().for_each(|log| log.request_reopen());
            }
            _ = change_level.recv() => telemetry::toggle_debug(),
            () = stop_signals.signal() => break,
            ended = &mut serving => return ended.context("the server failed")?.map(|()| Status::Fine),
        }
    }
    supervisor.tell(NotifyState::Stopping);
    let timeout = leave(&config, &readiness, &mut stop_signals).await;
    end_at_the_latest(timeout, decision_log.is_some());
    tracing::info!("draining");
    let _ = stop.send(()); // fails only if the server has ended by itself
    drain(serving, &mut stop_signals, timeout, &in_flight).await;
    decision_log.iter().for_each(|log| log.finish());
    pages.stop().await;
    log_cache(&live);
    Ok(Status::Fine)
}

/// Starts the decision log, if the settings want one.
fn start_decision_log(
    config: &Config,
    exporters: &Exporters,
) -> anyhow::Result<Option<Arc<DecisionLog>>> {
    let log = DecisionLog::start(config, exporters)?.map(Arc::new);
    if let Some(log) = &log {
        telemetry::counters().show_decision_log(log.counters());
    }
    Ok(log)
}

/// Loads the store for the first time.
async fn load(config: &Config) -> anyhow::Result<(Loader, Result<Loaded, Refused>)> {
    let root = config.store.clone();
    let mut loader = loader(config)?;
    let loading = tokio::task::spawn_blocking(move || {
        let loaded = loader.load(&root);
        (loader, loaded)
    });
    loading.await.context("loading the store failed")
}

/// Says that the server is going to end, and lets calls come for `pre_stop_delay` more. Returns how long the drain may take: no time
/// after a second signal.
async fn leave(config: &Config, readiness: &Readiness, stop_signals: &mut Stop) -> Duration {
    readiness.leaving();
    let delay = config.pre_stop_delay;
    let mut timeout = config.drain_timeout;
    if !delay.is_zero() {
        tracing::info!(delay_ms = micros(delay) / 1_000, "calls are still taken");
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stop_signals.second_signal() => {
                tracing::warn!(id = "drain-cut", "stopped by a second signal");
                timeout = Duration::ZERO;
            }
        }
    }
    readiness.draining();
    timeout
}

fn log_cache(live: &Live) {
    let Counts {
        hits,
        misses,
        bypasses,
        insertions,
    } = live.cache_counts();
    tracing::debug!(hits, misses, bypasses, insertions, "the decision cache");
}

/// Returns what the metrics read.
fn sources(
    live: &Arc<Live>,
    state: &Arc<SharedState>,
    in_flight: &InFlight,
    certificates: &Certificates,
) -> Sources {
    let (in_flight, certificates) = (in_flight.clone(), certificates.clone());
    Sources {
        live: Arc::clone(live),
        state: Arc::clone(state),
        in_flight: Arc::new(move || in_flight.n_calls()),
        certificate_expiry: Arc::new(move || certificates.expiry()),
    }
}

/// The HTTP listener at work. It goes on while the server drains, and says so.
struct HttpServing(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

impl HttpServing {
    /// Starts to serve `pages`. Does nothing without a listener.
    fn start(listener: Option<HttpListener>, pages: Pages) -> Self {
        Self(listener.map(|listener| {
            let (stop, stopped) = oneshot::channel::<()>();
            let stopped = async {
                let _ = stopped.await; // a dropped sender means stop, too
            };
            let serving = tokio::spawn(http::serve(listener, Arc::new(pages), stopped));
            (stop, serving)
        }))
    }

    /// Lets the requests in flight end, for a moment.
    async fn stop(self) {
        if let Some((stop, serving)) = self.0 {
            let _ = stop.send(()); // fails only if it has ended by itself
            let _ = tokio::time::timeout(FAREWELL, serving).await;
        }
    }
}

/// Logs in one line what runs now, and within which limits.
fn log_readiness(config: &Config, state: &SharedState, addresses: &[String]) {
    let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
    tracing::info!(
        version,
        pid,
        store = %config.store.display(),
        revision = state.now().revision(),
        listeners = addresses.join(" "),
        max_connections = config.max_connections,
        max_streams_per_connection = config.max_streams_per_connection,
        max_message_bytes = config.max_message_bytes,
        max_question_bytes = config.limits.max_question_bytes,
        default_deadline_ms = micros(config.default_deadline) / 1_000,
        drain_timeout_ms = micros(config.drain_timeout) / 1_000,
        "iamd is ready"
    );
}

/// Returns the variables of this process that are text.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Waits until `serving` has ended, until `timeout` is over or until a second signal comes.
async fn drain(
    serving: JoinHandle<anyhow::Result<()>>,
    stop_signals: &mut Stop,
    timeout: Duration,
    in_flight: &InFlight,
) {
    tokio::select! {
        _ = serving => tracing::info!("drained"),
        () = tokio::time::sleep(timeout) => match in_flight.n_calls() {
            0 => tracing::warn!(id = "drain-cut", "connections were still open when the drain timeout was over"),
            n_calls => {
                tracing::warn!(id = "drain-cut", n_calls, "calls were still in flight when the drain timeout was over");
            }
        },
        () = stop_signals.second_signal() => tracing::warn!(id = "drain-cut", "stopped by a second signal"),
    }
}

/// Ends the process if it still runs after its time to drain and to write the last records, if it writes any. Otherwise anything
/// that blocks, such as a log that nobody reads, could keep the process alive for ever.
fn end_at_the_latest(drain_timeout: Duration, has_log: bool) {
    let farewell = if has_log {
        DECISION_LOG_PATIENCE
    } else {
        FAREWELL
    };
    let patience = drain_timeout.saturating_add(farewell);
    let end = move || {
        std::thread::sleep(patience);
        std::process::exit(0);
    };
    if let Err(error) = std::thread::Builder::new()
        .name("end".to_owned())
        .spawn(end)
    {
        tracing::warn!(
            id = "drain-unbounded",
            "the shutdown has no time limit: {error}"
        );
    }
}

/// Puts the loaded store in force and watches it. If it did not load, logs every finding and returns `None`.
fn begin(
    config: &Config,
    loader: Loader,
    loaded: Result<Loaded, Refused>,
    live: &Arc<Live>,
    state: Arc<SharedState>,
) -> anyhow::Result<Option<Watcher>> {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(refused) => {
            FindingLog::default().log(&refused.findings);
            let n_errors = refused
                .findings
                .iter()
                .filter(|finding| finding.is_error())
                .count();
            let store = config.store.display();
            tracing::error!(id = "store-refused", %store, n_errors, "the store does not load");
            state.change(|state| state.findings = refused.findings.into());
            return Ok(None);
        }
    };
    FindingLog::default().log(&loaded.findings);
    let Loaded {
        n_files,
        n_statements,
        n_principals,
        took,
        ..
    } = loaded;
    let (scan_us, compile_us) = (micros(took.scan), micros(took.compile));
    let revision = loaded.snapshot.revision.clone();
    let watcher = Watcher::start(
        config.store.clone(),
        Arc::clone(live),
        state,
        loader,
        loaded,
    )?;
    tracing::info!(
        %revision, n_files, n_statements, n_principals, scan_us, compile_us,
        "the store is loaded"
    );
    Ok(Some(watcher))
}

/// Returns what answers from the store in force, and has each decision recorded if there is a log.
fn authorizer(live: &Arc<Live>, config: &Config, log: Option<&Arc<DecisionLog>>) -> Authorizer {
    let authorizer = Authorizer::new(Arc::clone(live), config);
    match log {
        Some(log) => {
            let recorder: Arc<dyn Recorder> = Arc::<DecisionLog>::clone(log);
            authorizer.recorded_by(recorder)
        }
        None => authorizer,
    }
}

/// Returns a loader that does what this configuration needs besides loading.
fn loader(config: &Config) -> anyhow::Result<Loader> {
    let mut loader = Loader::new();
    if let Some(folder) = &config.keep_revisions {
        loader = loader.keeping(Keeper::new(folder, config.keep_revisions_count)?);
    }
    if config.decision_log != DecisionLogMode::Off {
        loader = loader.naming_keys();
    }
    Ok(loader)
}

/// Returns the settings of the decision cache.
fn caching(config: &Config) -> Caching {
    let mode = match config.decision_cache {
        DecisionCache::Off => Mode::Off,
        DecisionCache::Auto => Mode::Auto,
        DecisionCache::Always => Mode::Always,
    };
    // The standard library keys its hasher with random bytes of the system, so no client can know the seed.
    let seed = RandomState::new().hash_one(std::process::id());
    Caching::new(mode, config.decision_cache_bytes, seed)
}

/// The signals that end a server.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
    /// When the first of them came.
    first: Option<Instant>,
}

impl Stop {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            first: None,
        })
    }

    /// Waits for another signal after the first.
    async fn second_signal(&mut self) {
        let first = *self.first.get_or_insert_with(Instant::now);
        loop {
            self.signal().await;
            if first.elapsed() >= SECOND_SIGNAL_AFTER {
                return;
            }
        }
    }

    /// Waits for the next of these signals.
    async fn signal(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        self.first.get_or_insert_with(Instant::now);
    }
}

fn listen(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("signals cannot be caught")
}
