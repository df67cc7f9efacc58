//! Hot reload: every hint that the store has changed leads to the same check on a thread of its own.
//!
//! ```text
//! file event ─┐                                   ┌─ nothing differs: done
//! SIGHUP     ─┼─▶ settle ─▶ stamps and digests ───┤
//! every 5 s  ─┘                                   └─ read, build, compile ─▶ publish, or keep the last good one
//! ```
//!
//! Events are only hints. The check never uses the file names in them, and a lost event costs five seconds. The store's
//! path is resolved anew at each check, so it may be a link that is swapped, or a folder that disappears and comes
//! back.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tracing::{debug, error, info, warn};

use super::finding_log::FindingLog;
use super::loader::{Source, Trust};
use super::pace::Pace;
use super::survey::{Listing, Survey};
use super::{Loaded, Loader, Took, walk};
use crate::compile::snapshot::{Revision, Snapshot};
use crate::engine::live::{Generation, Live};
use crate::language::finding::{Code, Finding};
use crate::state::{InForce, SharedState};
use crate::telemetry::{counters, micros};

/// How long the store must be quiet before a change counts as finished.
const QUIET: Duration = Duration::from_millis(20);
/// The longest time that constant writing can delay a check.
const MAX_SETTLE: Duration = Duration::from_millis(500);
/// How often the files are checked without a hint.
const POLL: Duration = Duration::from_secs(5);
/// In how many polls every file is digested once, whatever its stamp is: once a minute.
const N_SLICES: usize = 12;
/// How many times in a row a missing folder is looked for again at once. After that, the poll finds it.
const MAX_WATCH_RETRIES: u32 = 50;
/// The most links that the store's path may lead through. The kernel has the same limit.
const MAX_LINKS: usize = 40;

/// Keeps a [`Live`] and a [`SharedState`] up to date with a store until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    signals: Arc<Signals>,
}

impl Watcher {
    /// Puts `loaded`, the store at `root` that `loader` has loaded, in force in `live`, and announces it in `state`. Then
    /// keeps both up to date.
    pub fn start(
        root: PathBuf,
        live: Arc<Live>,
        state: Arc<SharedState>,
        loader: Loader,
        loaded: Loaded,
    ) -> anyhow::Result<Self> {
        let root = std::path::absolute(&root)
            .with_context(|| format!("the store's path `{}`", root.display()))?;
        let (reloader, woken) = Reloader::new(root, live, state, loader, loaded);
        let signals = Arc::clone(&reloader.signals);
        std::thread::Builder::new()
            .name("store-watch".into())
            .spawn(move || reloader.run(&woken))
            .context("the thread that watches the store")?;
        Ok(Self { signals })
    }

    /// Requests that every file is read and digested now, whatever its stamp is (SIGHUP).
    pub fn request_reload(&self) {
        self.signals.must_digest.store(true, Ordering::Release);
        self.signals.wake();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.signals.must_stop.store(true, Ordering::Release);
        self.signals.wake();
        // The thread ends by itself. Drop does not wait for it, because loading a large store takes longer than a drain
        // may.
    }
}

/// The signals to the reloading thread.
#[derive(Debug)]
struct Signals {
    /// Holds one wake-up, because a thousand events during a read are only one reason to look again.
    wake: SyncSender<()>,
    /// Whether an event or a signal came since the thread last began to wait for one.
    is_awaited: AtomicBool,
    /// Whether one came since the thread last began to look at the store.
    is_woken: AtomicBool,
    must_stop: AtomicBool,
    must_digest: AtomicBool,
    /// Whether the system's watch has failed in some way since it was set up.
    must_rewatch: AtomicBool,
}

impl Signals {
    fn wake(&self) {
        self.is_awaited.store(true, Ordering::Relaxed);
        self.is_woken.store(true, Ordering::Relaxed);
        // If the channel is full, the thread will wake anyway. If it is closed, there is no thread to wake.
        let _ = self.wake.try_send(());
    }
}

/// The state of the thread.
struct Reloader {
    root: PathBuf,
    live: Arc<Live>,
    state: Arc<SharedState>,
    signals: Arc<Signals>,
    watched: Option<Watched>,
    /// Whether watching worked at the last attempt.
    can_watch: bool,
    /// How many times in a row there was nothing to watch.
    n_retries: u32,
    loader: Loader,
    finding_log: FindingLog,
    next_slice: usize,
    /// Replaced generations that requests still use. They are kept here because the last request to end must not be the
    /// one that frees a store.
    retired: Vec<Arc<Generation>>,
    /// The revision whose tries were made.
    prepared: Option<Revision>,
    /// The snapshot before, until the one in force is prepared.
    replaced: Option<Snapshot>,
}

/// The system's watch, and the places for which it was set up.
struct Watched {
    places: Places,
    /// Dropping it ends the watch.
    _watcher: RecommendedWatcher,
}

/// The reason for a check.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Event,
    Poll,
}

impl Reloader {
    fn new(
        root: PathBuf,
        live: Arc<Live>,
        state: Arc<SharedState>,
        loader: Loader,
        loaded: Loaded,
    ) -> (Self, Receiver<()>) {
        let (wake, woken) = sync_channel(1);
        let signals = Arc::new(Signals {
            wake,
            is_awaited: AtomicBool::new(true),
            is_woken: AtomicBool::new(false),
            must_stop: AtomicBool::new(false),
            must_digest: AtomicBool::new(false),
            must_rewatch: AtomicBool::new(false),
        });
        let finding_log = FindingLog::knowing(&loaded.findings);
        let Took { scan, compile } = loaded.took;
        let (in_force, snapshot, findings) = parts(loaded);
        live.publish(snapshot);
        state.change(|state| {
            state.last_attempt = Some(in_force.since);
            state.last_success = Some(in_force.since);
            state.last_duration = scan + compile;
            state.last_scan = scan;
            state.is_stale = false;
            state.findings = findings;
            state.in_force = Some(in_force);
        });
        let reloader = Self {
            root,
            live,
            state,
            signals,
            watched: None,
            can_watch: true,
            n_retries: 0,
            loader,
            finding_log,
            next_slice: 0,
            retired: Vec::new(),
            prepared: None,
            replaced: None,
        };
        (reloader, woken)
    }

    fn run(mut self, woken: &Receiver<()>) {
        self.loader.keep(&self.root);
        self.watch();
        self.check_safely(Reason::Event);
        let mut next_poll = Instant::now() + POLL;
        loop {
            self.signals.is_awaited.store(false, Ordering::Relaxed);
            let mut reason =
                match woken.recv_timeout(next_poll.saturating_duration_since(Instant::now())) {
                    Ok(()) => Reason::Event,
                    Err(RecvTimeoutError::Timeout) => Reason::Poll,
                    Err(RecvTimeoutError::Disconnected) => return,
                };
            if reason == Reason::Event {
                self.signals.is_awaited.store(true, Ordering::Relaxed);
                settle(woken);
            }
            self.signals.is_woken.store(false, Ordering::Relaxed);
            if self.signals.must_stop.load(Ordering::Acquire) {
                return;
            }
            // If events never stop, there is never a timeout, but the digests must still be checked.
            if Instant::now() >= next_poll {
                reason = Reason::Poll;
                next_poll = Instant::now() + POLL;
            }
            self.watch();
            self.check_safely(reason);
            self.loader.keep(&self.root);
        }
    }

    /// Checks the store. A panic costs only this check, and not all later ones.
    fn check_safely(&mut self, reason: Reason) {
        if catch_unwind(AssertUnwindSafe(|| self.check(reason))).is_err() {
            error!(
                id = "store-check-failed",
                "the store could not be checked because of an internal error; the last good revision stays"
            );
            self.state.change(|state| {
                state.is_stale = true;
                state.reloads.refused += 1;
            });
        }
        // If it panics, the hook for panics says so, and the questions make the tries that they need.
        _ = catch_unwind(AssertUnwindSafe(|| self.prepare()));
    }

    /// Checks whether the store differs from what was last read, and reloads it if so.
    fn check(&mut self, reason: Reason) {
        self.free_retired();
        let must_digest = self.signals.must_digest.swap(false, Ordering::AcqRel);
        let begun = Instant::now();
        let is_poll = reason == Reason::Poll;
        let seen = self.loader.seen();
        // At least once a minute every folder is listed, whatever its stamp is.
        let must_list = must_digest || (is_poll && self.next_slice == 0);
        let nothing = Listing::default();
        let last = if must_list { &nothing } else { &seen.listing };
        let signals = Arc::clone(&self.signals);
        let mut pace = Pace::unless(&signals.is_awaited);
        let survey = walk::survey_at(&self.root, last, &mut pace);
        let surveyed = begun.elapsed();
        let is_untouched = survey.is_as(&seen.listing);
        // A file that was too new or could not be read is read again, whatever its stamp is.
        let is_doubtful = is_poll && (seen.is_fresh || self.was_unreadable());
        let hides_change = is_poll && is_untouched && self.slice_differs(&survey, &mut pace);
        if is_untouched && !(must_digest || is_doubtful || hides_change) {
            if is_poll {
                self.note_good_look();
            }
            return;
        }
        let trust = if must_digest || hides_change {
            Trust::Nothing
        } else {
            Trust::Stamps
        };
        let root = self.root.clone();
        let source = Source::Folder(&root);
        let scan = self.loader.scan(source, Some(survey), trust);
        if self.loader.has_seen(&scan) {
            self.loader.note_unchanged(scan);
            // Our own second look at very new files is not a reload that anyone requested.
            let is_requested = must_digest || !is_untouched;
            if is_requested {
                counters().reloaded(begun.elapsed());
            }
            self.state.change(|state| {
                state.last_attempt = Some(Timestamp::now());
                state.reloads.unchanged += u64::from(is_requested);
            });
            if is_poll || must_digest {
                self.note_good_look();
            }
            return;
        }
        self.state
            .change(|state| state.last_attempt = Some(Timestamp::now()));
        match self.loader.make(scan, source) {
            Ok(mut loaded) => {
                loaded.took.scan += surveyed; // the first look is part of the scan
                self.publish(loaded, begun);
            }
            Err(refused) => self.refuse(refused.findings, begun),
        }
        self.free_retired();
    }

    /// Makes the tries of a new generation, so that no question waits for them, as far as they are small.
    fn prepare(&mut self) {
        let Some(generation) = self.live.load_full() else {
            return;
        };
        let revision = &generation.snapshot.revision;
        if self.prepared.as_ref() != Some(revision) {
            self.prepared = Some(revision.clone());
            let is_woken = || self.signals.is_woken.load(Ordering::Relaxed);
            let before = self.replaced.take();
            generation.snapshot.prepare(before.as_ref(), is_woken);
        }
    }

    /// Records that the store was looked at without a panic, and was found as it was last read. After a panic the store
    /// counts as stale. If its files are those in force, there is no reason for that any more.
    ///
    /// This is not called for a look that an event caused, because such a look reads less than a poll, and a fault that
    /// makes each poll panic would then be hidden.
    fn note_good_look(&self) {
        let state = self.state.now();
        let seen = self.loader.seen();
        let is_in_force = seen.revision.as_ref() == state.in_force.as_ref().map(|of| &of.revision)
            && !seen.read_findings.iter().any(Finding::is_error);
        if state.is_stale && is_in_force {
            self.state.change(|state| state.is_stale = false);
            info!(revision = %state.revision(), "the store is again the same as the revision in force");
        }
    }

    /// Frees the generations that no request uses any more. A replaced generation never gets new users.
    fn free_retired(&mut self) {
        self.retired
            .retain(|generation| Arc::strong_count(generation) > 1);
    }

    /// Returns whether a file could not be read at the last attempt for a reason that may go away without a change of
    /// the file, such as too few descriptors or a temporary error of the file system.
    fn was_unreadable(&self) -> bool {
        let findings = &self.loader.seen().read_findings;
        findings
            .iter()
            .any(|finding| finding.code == Code::UNREADABLE)
    }

    /// Returns whether one of the next few files has changed its content but not its stamp.
    fn slice_differs(&mut self, survey: &Survey, pace: &mut Pace<'_>) -> bool {
        let seen = self.loader.seen();
        let contents = &seen.contents;
        let n_files = contents.len().div_ceil(N_SLICES).max(1);
        let first = self.next_slice * n_files;
        self.next_slice = if first + n_files >= contents.len() {
            0
        } else {
            self.next_slice + 1
        };
        let mut slice = contents.iter().skip(first).take(n_files);
        slice.any(|content| {
            pace.step();
            !survey.still_holds(content)
        })
    }

    fn publish(&mut self, loaded: Loaded, begun: Instant) {
        let Took { scan, compile } = loaded.took;
        let is_patched = loaded.is_patched;
        self.finding_log.log(&loaded.findings);
        let (in_force, snapshot, findings) = parts(loaded);
        let InForce {
            revision,
            since,
            n_files,
            n_statements,
            n_principals,
        } = in_force.clone();
        let is_in_force = self.state.now().revision() == revision.as_str();
        // Refused files were restored, so the generation in force is already the right one.
        let old = if is_in_force {
            None
        } else {
            self.live.publish(snapshot)
        };
        let took = begun.elapsed();
        counters().reloaded(took);
        // The revision is announced once it answers, so nobody who reads of it gets an answer from an older one.
        self.state.change(|state| {
            state.last_success = Some(since);
            state.last_duration = took;
            state.last_scan = scan;
            state.is_stale = false;
            state.findings = findings;
            if is_in_force {
                state.reloads.unchanged += 1;
            } else {
                state.reloads.published += 1;
                state.in_force = Some(in_force);
            }
        });
        let milliseconds = micros(took) / 1_000;
        let (scan_us, compile_us) = (micros(scan), micros(compile));
        if is_in_force {
            info!(%revision, "the store is again the same as the revision in force");
        } else {
            info!(
                %revision, n_files, n_statements, n_principals, milliseconds, scan_us, compile_us, is_patched,
                "the store was reloaded"
            );
        }
        self.replaced = old.as_ref().map(|old| old.snapshot.clone());
        self.retired.extend(old);
    }

    fn refuse(&mut self, findings: Vec<Finding>, begun: Instant) {
        self.finding_log.log(&findings);
        let n_errors = findings.iter().filter(|finding| finding.is_error()).count();
        let revision = self.state.now().revision().to_owned();
        error!(
            id = "store-refused",
            revision, n_errors, "the store does not load: the last good revision stays in force"
        );
        let took = begun.elapsed();
        counters().reloaded(took);
        self.state.change(|state| {
            state.last_duration = took;
            state.is_stale = true;
            state.findings = findings.into();
            state.reloads.refused += 1;
        });
    }

    /// Sets up the system's watch, or sets it up again if the store's path leads elsewhere now.
    fn watch(&mut self) {
        let must_rewatch = self.signals.must_rewatch.swap(false, Ordering::AcqRel);
        let places = Places::of(&self.root);
        if !must_rewatch
            && self
                .watched
                .as_ref()
                .is_some_and(|watched| watched.places == places)
        {
            return;
        }
        self.watched = None;
        match watch(&places, &self.signals) {
            Ok(watcher) => {
                if !self.can_watch {
                    info!("the store is watched again");
                }
                self.can_watch = true;
                self.n_retries = 0;
                self.watched = Some(Watched {
                    places,
                    _watcher: watcher,
                });
            }
            // The store is being swapped, so there will be something to watch in a moment.
            Err(cause) if is_gone(&cause) && self.n_retries < MAX_WATCH_RETRIES => {
                self.n_retries += 1;
                self.signals.must_rewatch.store(true, Ordering::Release);
                self.signals.wake();
            }
            Err(cause) => {
                self.n_retries = 0;
                if self.can_watch {
                    let seconds = POLL.as_secs();
                    warn!(id = "watch-failed", %cause, "the store cannot be watched: it may take {seconds} seconds to notice a change");
                }
                self.can_watch = false;
            }
        }
    }
}

/// Takes apart what was loaded. The revision counts as in force from now on, so the caller must put the snapshot in
/// force at once.
fn parts(loaded: Loaded) -> (InForce, Snapshot, Arc<[Finding]>) {
    let in_force = InForce {
        revision: loaded.snapshot.revision.clone(),
        since: Timestamp::now(),
        n_files: loaded.n_files,
        n_statements: loaded.n_statements,
        n_principals: loaded.n_principals,
    };
    (in_force, loaded.snapshot, loaded.findings.into())
}

/// Waits until nothing has happened for a moment, but only up to a limit.
fn settle(woken: &Receiver<()>) {
    let end = Instant::now() + MAX_SETTLE;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || woken.recv_timeout(QUIET.min(left)).is_err() {
            return;
        }
    }
}

/// The places that have to be watched for a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Places {
    /// The root, with everything below it. Its identity changes when it is replaced.
    root: PathBuf,
    identity: Option<(u64, u64)>,
    /// The folders that contain a step on the way to the root: a link, or the root itself.
    outer: BTreeSet<PathBuf>,
    /// The steps themselves.
    steps: BTreeSet<PathBuf>,
}

impl Places {
    fn of(root: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        let identity = std::fs::metadata(root)
            .ok()
            .map(|metadata| (metadata.dev(), metadata.ino()));
        let mut places = Self {
            root: root.to_owned(),
            identity,
            ..Self::default()
        };
        places.step(root);
        let mut open = vec![root.to_owned()];
        // The links that were followed. They are separate from `steps`, because the root is a step already and may be a
        // link.
        let mut followed = BTreeSet::new();
        let mut n_links = 0;
        while let Some(path) = open.pop() {
            let mut prefix = PathBuf::new();
            for component in path.components() {
                prefix.push(component);
                let Ok(target) = std::fs::read_link(&prefix) else {
                    continue;
                };
                n_links += 1;
                places.step(&prefix);
                if followed.insert(prefix.clone()) && n_links < MAX_LINKS {
                    // A path with `..` in it is used unchanged, because the system resolves it.
                    open.push(
                        prefix
                            .parent()
                            .map_or(target.clone(), |folder| folder.join(&target)),
                    );
                }
            }
        }
        places
    }

    /// Adds a step on the way to the root.
    fn step(&mut self, path: &Path) {
        // If a folder is gone, the nearest existing folder above it is watched, because it will come back there.
        let folder = path.ancestors().skip(1).find(|folder| folder.is_dir());
        self.outer.extend(folder.map(Path::to_owned));
        // The first missing part of the path will come back first.
        let folder_is_parent = folder == path.parent();
        if !folder_is_parent
            && let Some(missing) = path.ancestors().find(|part| part.parent() == folder)
        {
            self.steps.insert(missing.to_owned());
        }
        self.steps.insert(path.to_owned());
    }

    /// Returns whether `event` can be about the store, and not just about something beside it.
    fn concern(&self, event: &Event) -> bool {
        if matches!(event.kind, EventKind::Access(_)) {
            // Our own reading causes these events.
            return false;
        }
        event.need_rescan()
            || event.paths.is_empty()
            || event.paths.iter().any(|path| {
                path.starts_with(&self.root)
                    || self.steps.contains(path)
                    || self.outer.contains(path)
            })
    }

    /// Returns whether `event` says that the root, or a link to it, has disappeared or appeared. Then the watch may be
    /// on a folder that no longer exists, even if the new folder has the same inode number.
    fn is_replacement(&self, event: &Event) -> bool {
        let is_move = matches!(
            event.kind,
            EventKind::Create(_)
                | EventKind::Remove(_)
                | EventKind::Modify(ModifyKind::Name(_))
                | EventKind::Any
        );
        is_move
            && event
                .paths
                .iter()
                .any(|path| self.steps.contains(path) || self.outer.contains(path))
    }
}

/// Returns whether the only error is that a folder is missing.
fn is_gone(cause: &notify::Error) -> bool {
    use notify::ErrorKind;
    match &cause.kind {
        ErrorKind::PathNotFound | ErrorKind::WatchNotFound => true,
        ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Sets up the system's watch.
fn watch(places: &Places, signals: &Arc<Signals>) -> notify::Result<RecommendedWatcher> {
    let concerned = places.clone();
    let signals = Arc::clone(signals);
    // A link that stays inside leads to something that is watched anyway. A link that leads out must not be followed,
    // because a link to `/` would make the system watch the whole machine until it has no watches left.
    let without_links = notify::Config::default().with_follow_symlinks(false);
    let mut watcher = RecommendedWatcher::new(
        move |event: notify::Result<Event>| match event {
            Ok(event) => {
                if concerned.concern(&event) {
                    if concerned.is_replacement(&event) {
                        signals.must_rewatch.store(true, Ordering::Release);
                    }
                    signals.wake();
                }
            }
            Err(cause) => {
                // A swap removes the watched folder. The only reaction is to set up the watch again.
                if is_gone(&cause) {
                    debug!(%cause, "a watched folder has gone");
                } else {
                    warn!(id = "watch-failed", %cause, "watching the store failed");
                }
                signals.must_rewatch.store(true, Ordering::Release);
                signals.wake();
            }
        },
        without_links,
    )?;
    for folder in &places.outer {
        // The folder may be traversed but not read. The poll finds a swap there.
        if let Err(cause) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            debug!(%cause, folder = %folder.display(), "a folder above the store cannot be watched");
        }
    }
    if places.identity.is_some() {
        watcher.watch(&places.root, RecursiveMode::Recursive)?;
    }
    Ok(watcher)
}

#[cfg(test)]
mod tests;
