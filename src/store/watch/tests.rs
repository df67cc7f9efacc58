#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::compile::snapshot::Revision;
use crate::state::StoreState;
use crate::store::contents::Contents;
use crate::store::file::{Content, Seen, unreadable};
use crate::store::load;

/// A store in a folder of a temporary directory, so that the folder itself can be replaced.
struct Fixture {
    parent: TempDir,
    root: PathBuf,
}

struct Running {
    live: Arc<Live>,
    state: Arc<SharedState>,
    watcher: Watcher,
}

impl Fixture {
    fn new() -> Self {
        let parent = TempDir::new().unwrap();
        let root = parent.path().join("policies");
        shop(&root, "{}");
        Self { parent, root }
    }

    fn start(&self) -> Running {
        let mut loader = Loader::new();
        let loaded = loader
            .load(&self.root)
            .unwrap_or_else(|refused| panic!("{:#?}", refused.findings));
        let (live, state) = (Arc::new(Live::default()), Arc::new(SharedState::new()));
        let (own_live, own_state) = (Arc::clone(&live), Arc::clone(&state));
        let watcher =
            Watcher::start(self.root.clone(), own_live, own_state, loader, loaded).unwrap();
        Running {
            live,
            state,
            watcher,
        }
    }
}

fn shop(root: &Path, user: &str) {
    fs::create_dir_all(root.join("users")).unwrap();
    fs::write(root.join("account.json"), r#"{"AccountId":"111122223333"}"#).unwrap();
    fs::write(root.join("users/ann.json"), user).unwrap();
}

/// Returns the revision of a store of [`shop`] with this user.
fn revision_with(user: &str) -> Revision {
    let root = TempDir::new().unwrap();
    shop(root.path(), user);
    load(root.path())
        .unwrap_or_else(|refused| panic!("{:#?}", refused.findings))
        .snapshot
        .revision
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

impl Running {
    fn revision(&self) -> Revision {
        self.live.load().as_ref().unwrap().snapshot.revision.clone()
    }

    #[track_caller]
    fn becomes(&self, user: &str) {
        let wanted = revision_with(user);
        eventually("the new revision is in force", || {
            self.revision() == wanted && !self.state.now().is_stale
        });
    }

    #[track_caller]
    fn goes_stale(&self) -> StoreState {
        eventually("the store is stale", || self.state.now().is_stale);
        self.state.now()
    }
}

const DISABLED: &str = r#"{"Disabled":true}"#;

#[test]
fn a_changed_file_is_published() {
    let fixture = Fixture::new();
    let running = fixture.start();
    fs::write(fixture.root.join("users/ann.json"), DISABLED).unwrap();
    running.becomes(DISABLED);
    // The status follows the generation in force.
    eventually("the status says so", || {
        running.state.now().revision() == running.revision().as_str()
    });
    let status = running.state.now();
    assert!(status.reloads.published >= 1 && status.last_success >= status.last_attempt);
}

#[test]
fn an_editors_rename_and_a_new_folder_are_noticed() {
    let fixture = Fixture::new();
    let running = fixture.start();
    fs::write(fixture.root.join("users/.ann.json.swp"), DISABLED).unwrap();
    fs::rename(
        fixture.root.join("users/.ann.json.swp"),
        fixture.root.join("users/ann.json"),
    )
    .unwrap();
    running.becomes(DISABLED);
    fs::create_dir_all(fixture.root.join("groups/eng")).unwrap();
    let before = running.revision();
    fs::write(fixture.root.join("groups/eng/devs.json"), "{}").unwrap();
    eventually("the group is in force", || running.revision() != before);
}

#[test]
fn a_store_that_does_not_load_leaves_the_last_good_one() {
    let fixture = Fixture::new();
    let running = fixture.start();
    let good = running.revision();
    fs::write(fixture.root.join("users/ann.json"), "{").unwrap();
    let status = running.goes_stale();
    assert_eq!(running.revision(), good);
    assert_eq!(
        (status.findings.len(), status.revision()),
        (1, good.as_str())
    );
    assert!(status.reloads.refused >= 1);
    // The file is restored, so there is nothing to publish, and the store is no longer stale.
    fs::write(fixture.root.join("users/ann.json"), "{}").unwrap();
    running.becomes("{}");
    let status = running.state.now();
    assert!(status.findings.is_empty());
    assert_eq!(status.reloads.published, 0);
}

#[test]
fn an_empty_or_vanished_store_leaves_the_last_good_one_and_may_come_back() {
    let fixture = Fixture::new();
    let running = fixture.start();
    fs::remove_dir_all(&fixture.root).unwrap();
    running.goes_stale();
    fs::create_dir(&fixture.root).unwrap();
    shop(&fixture.root, DISABLED);
    running.becomes(DISABLED);
    // The new folder is watched like the old one.
    fs::write(fixture.root.join("users/ann.json"), "{}").unwrap();
    running.becomes("{}");
}

#[test]
fn a_link_to_the_store_may_be_swapped() {
    let fixture = Fixture::new();
    let parent = fixture.parent.path();
    fs::rename(&fixture.root, parent.join("v1")).unwrap();
    symlink("v1", &fixture.root).unwrap();
    let running = fixture.start();
    for (version, user) in [("v2", DISABLED), ("v3", "{}"), ("v4", DISABLED)] {
        shop(&parent.join(version), user);
        symlink(version, parent.join("next")).unwrap();
        fs::rename(parent.join("next"), &fixture.root).unwrap();
        running.becomes(user);
    }
}

#[test]
fn a_config_map_swap_is_one_change() {
    let fixture = Fixture::new();
    let root = &fixture.root;
    fs::remove_dir_all(root).unwrap();
    shop(&root.join("..v1"), "{}");
    symlink("..v1", root.join("..data")).unwrap();
    for name in ["account.json", "users"] {
        symlink(format!("..data/{name}"), root.join(name)).unwrap();
    }
    let running = fixture.start();
    for (version, old, user) in [
        ("..v2", "..v1", DISABLED),
        ("..v3", "..v2", "{}"),
        ("..v4", "..v3", DISABLED),
    ] {
        shop(&root.join(version), user);
        symlink(version, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        fs::remove_dir_all(root.join(old)).unwrap();
        running.becomes(user);
        assert_eq!(running.state.now().reloads.refused, 0);
    }
}

#[test]
fn a_requested_reload_of_what_has_not_changed_swaps_nothing() {
    let fixture = Fixture::new();
    let running = fixture.start();
    let first = Arc::as_ptr(running.live.load().as_ref().unwrap());
    running.watcher.request_reload();
    eventually("it was looked at", || {
        running.state.now().reloads.unchanged >= 1
    });
    assert_eq!(Arc::as_ptr(running.live.load().as_ref().unwrap()), first);
    let reloads = running.state.now().reloads;
    assert_eq!((reloads.published, reloads.refused), (0, 0));
}

/// SIGHUP is for those who do not trust stamps: another content hides behind one that has not changed and is old enough.
#[test]
fn a_requested_reload_digests_every_file_whatever_its_stamp_says() {
    let fixture = Fixture::new();
    let mut reloader = reloader(&fixture);
    pretend_another_content(&mut reloader, "users/ann.json");
    let pretended = reloader.state.now().revision().to_owned();
    reloader.check(Reason::Event);
    assert_eq!(reloader.state.now().revision(), pretended, "nobody asked");
    let watcher = Watcher {
        signals: Arc::clone(&reloader.signals),
    };
    watcher.request_reload();
    reloader.check(Reason::Event);
    let state = reloader.state.now();
    assert_eq!(state.revision(), revision_with("{}").as_str());
    assert_eq!(state.reloads.published, 1);
}

/// As if another content had been read of the file, long ago, behind the stamp that it still has.
fn pretend_another_content(reloader: &mut Reloader, file: &str) {
    let seen = reloader.loader.seen_mut();
    let mut files = seen
        .listing
        .folders
        .iter()
        .flat_map(|folder| &folder.listed.files);
    let (path, stamp) = files.find(|(path, _)| **path == *file).unwrap().clone();
    let content = Content {
        path,
        digest: [0; 32],
    };
    let (contents, revision) = seen.contents.with([&content]).unwrap();
    seen.is_fresh = false;
    seen.contents = contents;
    seen.revision = Some(revision.clone());
    pretend_in_force(reloader, revision);
    let memory = reloader.loader.memory_mut();
    let says = memory.fragment(file).unwrap().clone();
    let stamp = Some(stamp);
    memory.keep(&Seen { content, stamp }, says);
}

/// As if this revision were in force.
fn pretend_in_force(reloader: &Reloader, revision: Revision) {
    reloader
        .state
        .change(|state| state.in_force.as_mut().unwrap().revision = revision);
}

#[test]
fn a_generation_that_nobody_uses_any_more_is_freed() {
    let fixture = Fixture::new();
    let mut reloader = reloader(&fixture);
    let first = Arc::downgrade(reloader.live.load().as_ref().unwrap());
    let in_use = first.upgrade();
    fs::write(fixture.root.join("users/ann.json"), DISABLED).unwrap();
    reloader.check(Reason::Poll);
    drop(in_use);
    assert!(
        first.upgrade().is_some(),
        "a request must not be the one that frees it"
    );
    reloader.check(Reason::Poll);
    assert!(first.upgrade().is_none());
}

/// A reloader without its thread.
fn reloader(fixture: &Fixture) -> Reloader {
    let mut loader = Loader::new();
    let loaded = loader
        .load(&fixture.root)
        .unwrap_or_else(|refused| panic!("{:#?}", refused.findings));
    let (live, state) = (Arc::new(Live::default()), Arc::new(SharedState::new()));
    let (reloader, _) = Reloader::new(fixture.root.clone(), live, state, loader, loaded);
    reloader
}

#[test]
fn a_poll_finds_what_no_event_told() {
    let fixture = Fixture::new();
    let mut reloader = reloader(&fixture);
    fs::write(fixture.root.join("users/ann.json"), DISABLED).unwrap();
    reloader.check(Reason::Poll);
    let status = reloader.state.now();
    assert_eq!(status.revision(), revision_with(DISABLED).as_str());
    assert_eq!(status.reloads.published, 1);
}

#[test]
fn a_content_behind_an_unchanged_stamp_is_found_by_its_digest() {
    for index in [0, 1] {
        let fixture = Fixture::new();
        let mut reloader = reloader(&fixture);
        // This acts as if the file had other content behind the same stamp when it was read.
        let other = Revision::new("another");
        let seen = reloader.loader.seen_mut();
        seen.is_fresh = false;
        let mut content = seen.contents.iter().nth(index).unwrap().clone();
        content.digest = [0; 32];
        seen.contents = seen.contents.with([&content]).unwrap().0;
        seen.revision = Some(other.clone());
        pretend_in_force(&reloader, other);
        reloader.check(Reason::Event);
        assert_eq!(
            reloader.state.now().reloads.published,
            0,
            "no stamp has changed"
        );
        for _ in 0..N_SLICES {
            reloader.check(Reason::Poll);
        }
        assert_eq!(reloader.state.now().reloads.published, 1);
    }
}

#[test]
fn files_as_new_as_their_stamps_are_digested_once_more() {
    let fixture = Fixture::new();
    let mut reloader = reloader(&fixture);
    // The second write has the same stamp, which is too new to be trusted.
    assert!(reloader.loader.seen().is_fresh);
    reloader.loader.seen_mut().revision = Some(Revision::new("another"));
    pretend_in_force(&reloader, Revision::new("another"));
    reloader.check(Reason::Poll);
    assert_eq!(reloader.state.now().reloads.published, 1);
}

#[test]
fn a_store_that_cannot_be_watched_is_polled() {
    let fixture = Fixture::new();
    let mut reloader = reloader(&fixture);
    let gone = Places {
        root: fixture.root.join("gone"),
        identity: Some((0, 0)),
        ..Places::default()
    };
    assert!(watch(&gone, &reloader.signals).is_err());
    reloader.watch();
    assert!(reloader.can_watch && reloader.watched.is_some());
    let places = Places::of(&fixture.root);
    assert!(
        reloader
            .watched
            .as_ref()
            .is_some_and(|watched| watched.places == places)
    );
}

/// Gives the reloader signals that no watch set up before knows of.
fn with_signals_of_its_own(reloader: &mut Reloader) -> Receiver<()> {
    let (wake, woken) = sync_channel(1);
    reloader.signals = Arc::new(Signals {
        wake,
        is_awaited: AtomicBool::new(false),
        is_woken: AtomicBool::new(false),
        must_stop: AtomicBool::new(false),
        must_digest: AtomicBool::new(false),
        must_rewatch: AtomicBool::new(false),
    });
    woken
}

#[test]
fn a_watch_follows_the_stores_path_though_no_event_told() {
    let fixture = Fixture::new();
    let parent = fixture.parent.path();
    fs::rename(&fixture.root, parent.join("v1")).unwrap();
    shop(&parent.join("v2"), "{}");
    symlink("v1", &fixture.root).unwrap();
    let mut reloader = reloader(&fixture);
    reloader.watch();
    with_signals_of_its_own(&mut reloader);
    symlink("v2", parent.join("next")).unwrap();
    fs::rename(parent.join("next"), &fixture.root).unwrap();
    reloader.watch();
    let watched = reloader.watched.map(|watched| watched.places);
    assert_eq!(watched, Some(Places::of(&fixture.root)));
}

#[test]
fn only_what_the_store_is_reached_by_is_watched_above_it() {
    let fixture = Fixture::new();
    let parent = fixture.parent.path();
    fs::create_dir_all(parent.join("work/abc")).unwrap();
    fs::rename(&fixture.root, parent.join("work/abc/policies")).unwrap();
    symlink("work/abc", parent.join("current")).unwrap();
    let places = Places::of(&parent.join("current/policies"));
    assert!(places.identity.is_some());
    assert!(places.outer.contains(parent), "the link stands there");
    assert!(places.steps.contains(&parent.join("current")));
    let event = |path: PathBuf| Event::new(EventKind::Any).add_path(path);
    assert!(places.concern(&event(parent.join("current"))));
    assert!(places.concern(&event(parent.join("current/policies/users/ann.json"))));
    assert!(!places.concern(&event(parent.join("something-else"))));
    let reading = Event::new(EventKind::Access(notify::event::AccessKind::Any));
    let reading = reading.add_path(parent.join("current/policies/users/ann.json"));
    assert!(!places.concern(&reading), "that may be ourselves");
    let gone = Places::of(&parent.join("a/b/c"));
    assert_eq!(gone.identity, None);
    assert!(
        gone.concern(&event(parent.join("a"))),
        "it comes back part by part"
    );
}

#[test]
fn a_file_that_could_not_be_read_is_tried_again_though_it_has_not_changed() {
    let fixture = Fixture::new();
    let mut reloader = reloader(&fixture);
    // This acts as if no descriptor had been left when the file was read.
    let seen = reloader.loader.seen_mut();
    seen.is_fresh = false;
    let mut contents: Vec<_> = seen.contents.iter().cloned().collect();
    let path = contents.pop().unwrap().path;
    seen.contents = Contents::of(contents).0;
    let cause = std::io::Error::other("too many open files");
    let findings = vec![unreadable(path, &cause)];
    seen.read_findings.clone_from(&findings);
    seen.revision = Some(Revision::new("another"));
    reloader.refuse(findings, Instant::now());
    reloader.check(Reason::Event);
    assert!(reloader.state.now().is_stale, "no stamp has changed");
    reloader.check(Reason::Poll);
    assert!(!reloader.state.now().is_stale);
}

#[test]
fn a_link_out_of_the_store_is_not_watched() {
    let fixture = Fixture::new();
    let outside = TempDir::new().unwrap();
    let mut reloader = reloader(&fixture);
    symlink(outside.path(), fixture.root.join("users/outside")).unwrap();
    let woken = with_signals_of_its_own(&mut reloader);
    reloader.watch();
    fs::write(outside.path().join("noise.json"), "{}").unwrap();
    assert!(woken.recv_timeout(Duration::from_millis(200)).is_err());
    fs::write(fixture.root.join("users/ann.json"), DISABLED).unwrap();
    assert!(woken.recv_timeout(Duration::from_secs(20)).is_ok());
}

/// The overflow stands for any broken invariant.
#[test]
fn a_panic_while_looking_costs_one_check() {
    let fixture = Fixture::new();
    let mut reloader = reloader(&fixture);
    let state = Arc::clone(&reloader.state);
    let (live, good) = (Arc::clone(&reloader.live), revision_with("{}"));
    reloader.next_slice = usize::MAX;
    for n_refused in 1..=2 {
        reloader.check_safely(Reason::Poll);
        let status = state.now();
        assert_eq!((status.is_stale, status.reloads.refused), (true, n_refused));
        assert_eq!(live.load().as_ref().unwrap().snapshot.revision, good);
    }
    fs::write(fixture.root.join("users/ann.json"), DISABLED).unwrap();
    reloader.check_safely(Reason::Event);
    let status = state.now();
    assert_eq!((status.is_stale, status.reloads.published), (false, 1));
    let in_force = live.load().as_ref().unwrap().snapshot.revision.clone();
    assert_eq!(in_force, revision_with(DISABLED));
}

#[test]
fn a_store_is_stale_after_a_panic_only_until_a_look_that_finds_it_as_it_is_in_force() {
    let is_stale = |reloader: &Reloader| reloader.state.now().is_stale;
    let panics = |reloader: &mut Reloader| {
        reloader.next_slice = usize::MAX;
        reloader.check_safely(Reason::Poll);
        assert!(is_stale(reloader));
        reloader.next_slice = 1;
    };
    let fixture = Fixture::new();
    let mut reloader = reloader(&fixture);
    // First the files are read again because they are new, and then only looked at.
    for is_fresh in [true, false] {
        reloader.loader.seen_mut().is_fresh = is_fresh;
        panics(&mut reloader);
        reloader.check_safely(Reason::Event);
        assert!(is_stale(&reloader), "an event looks at less than a poll");
        reloader.check_safely(Reason::Poll);
        assert!(!is_stale(&reloader), "{is_fresh}");
    }
    panics(&mut reloader);
    reloader.signals.must_digest.store(true, Ordering::Release);
    reloader.check_safely(Reason::Event);
    assert!(!is_stale(&reloader), "every file was read on request");
    let reloads = reloader.state.now().reloads;
    assert_eq!((reloads.refused, reloads.published), (3, 0));
    // What does not load stays stale, however often it is looked at.
    fs::write(fixture.root.join("users/ann.json"), "{").unwrap();
    reloader.check_safely(Reason::Event);
    panics(&mut reloader);
    for must_digest in [false, true] {
        let request = &reloader.signals.must_digest;
        request.store(must_digest, Ordering::Release);
        reloader.check_safely(Reason::Poll);
        assert!(is_stale(&reloader), "{must_digest}");
    }
    fs::remove_file(fixture.root.join("users/ann.json")).unwrap();
    symlink("/nowhere", fixture.root.join("users/ann.json")).unwrap();
    reloader.check_safely(Reason::Event);
    panics(&mut reloader);
    reloader.check_safely(Reason::Poll);
    assert!(is_stale(&reloader), "a file is missing");
}
