//! Tests of what one look at a store takes from the previous look, and when one look is enough.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use sha2::{Digest, Sha256};

use super::*;
use crate::store::pace::Pace;
use crate::store::read::Known;
use crate::store::stamp::Stamp;
use crate::store::survey::{Listed, Listing, Survey};

/// Returns the listing of `survey`, as if everything in it were old enough to be trusted.
fn settled(survey: &Survey) -> Listing {
    let mut listing = survey.listing();
    for (known, surveyed) in listing.folders.iter_mut().zip(&survey.folders) {
        known.stamp = Some(surveyed.looked);
    }
    listing
}

fn folder<'s>(survey: &'s Survey, folder: &str) -> &'s Arc<Listed> {
    let mut folders = survey.folders.iter().map(|folder| &folder.listed);
    folders.find(|listed| *listed.folder == *folder).unwrap()
}

fn paths(survey: &Survey) -> Vec<&str> {
    let files = survey
        .folders
        .iter()
        .flat_map(|folder| &folder.listed.files);
    files.map(|(path, _)| &**path).collect()
}

#[test]
fn a_folder_in_which_nothing_has_changed_is_the_one_that_was_listed() {
    let root = shop(&[
        ("users/ann.json", "{}"),
        ("users/eng/bob.json", "{}"),
        ("groups/g.json", "{}"),
    ]);
    let first = walk::survey(root.path(), &Listing::default());
    let listing = settled(&first);
    fs::write(root.path().join("users/ann.json"), "{ }").unwrap();
    let second = walk::survey(root.path(), &listing);
    assert_eq!(paths(&first), paths(&second));
    for same in ["", "users/eng", "groups"] {
        assert!(
            Arc::ptr_eq(folder(&first, same), folder(&second, same)),
            "{same}"
        );
    }
    let (before, after) = (folder(&first, "users"), folder(&second, "users"));
    assert_ne!(
        before.files.first().unwrap().1,
        after.files.first().unwrap().1
    );
    assert_eq!(before.folders, after.folders);
    assert!(!second.is_as(&listing) && second.is_as(&second.listing()));
    // The names are the same, although a stamp differs.
    assert!(second.listing().has_paths_of(&listing));
}

#[test]
fn what_comes_goes_or_becomes_something_else_is_seen() {
    type Change = fn(&Path);
    let changes: [(&str, Change, &[&str]); 5] = [
        (
            "a new file",
            |root| fs::write(root.join("users/new.json"), "{}").unwrap(),
            &[
                "account.json",
                "users/ann.json",
                "users/new.json",
                "users/eng/bob.json",
            ],
        ),
        (
            "a file less",
            |root| fs::remove_file(root.join("users/ann.json")).unwrap(),
            &["account.json", "users/eng/bob.json"],
        ),
        (
            "a new folder",
            |root| write(root, &[("users/ops/c.json", "{}")]),
            &[
                "account.json",
                "users/ann.json",
                "users/eng/bob.json",
                "users/ops/c.json",
            ],
        ),
        (
            "a folder less",
            |root| fs::remove_dir_all(root.join("users/eng")).unwrap(),
            &["account.json", "users/ann.json"],
        ),
        (
            "a link in place of a file",
            |root| {
                fs::rename(root.join("users/ann.json"), root.join("users/.ann.json")).unwrap();
                symlink(".ann.json", root.join("users/ann.json")).unwrap();
            },
            &["account.json", "users/ann.json", "users/eng/bob.json"],
        ),
    ];
    for (what, change, expected) in changes {
        let root = shop(&[("users/ann.json", "{}"), ("users/eng/bob.json", "{}")]);
        let listing = settled(&walk::survey(root.path(), &Listing::default()));
        change(root.path());
        let survey = walk::survey(root.path(), &listing);
        assert_eq!(paths(&survey), expected, "{what}");
        let anew = walk::survey(root.path(), &Listing::default());
        assert!(survey.is_as(&anew.listing()), "{what}");
    }
}

#[test]
fn a_folder_is_listed_again_until_its_stamp_tells_every_change() {
    let root = shop(&[("users/ann.json", "{}")]);
    let survey = walk::survey(root.path(), &Listing::default());
    let now = SystemTime::now();
    assert_eq!(survey.folders.len(), 2);
    for folder in &survey.folders {
        let is_trusted = folder.stamp.is_some();
        assert!(!is_trusted || folder.looked.is_settled(now), "{folder:?}");
    }
}

/// A folder whose stamps are made by the clock of this machine: in memory where those for temporary files are not.
#[cfg(target_os = "linux")]
fn folder_with_our_clock() -> TempDir {
    let is_ours = |folder: &TempDir| {
        let survey = walk::survey(folder.path(), &Listing::default());
        survey.moment.is_some()
    };
    let usual = TempDir::new().unwrap();
    if is_ours(&usual) {
        return usual;
    }
    let in_memory = TempDir::new_in("/dev/shm").unwrap();
    assert!(
        is_ours(&in_memory),
        "`TMPDIR` must name a folder on a local file system"
    );
    in_memory
}

#[cfg(target_os = "linux")]
#[test]
fn a_moment_holds_for_nothing_that_changes_after_it() {
    use cap_std::ambient_authority;
    use cap_std::fs::Dir;

    use crate::store::moment::Moment;

    let root = folder_with_our_clock();
    let dir = Dir::open_ambient_dir(root.path(), ambient_authority()).unwrap();
    let of_root = Stamp::of(&dir.dir_metadata().unwrap());
    let mut moment = Moment::now(&dir, &of_root).unwrap();
    assert!(moment.may_hold(), "nothing was seen");
    write(root.path(), &[ACCOUNT]);
    moment.see(&Stamp::of(&dir.metadata("account.json").unwrap()));
    assert!(!moment.may_hold());
}

/// A look that proves nothing is followed by another.
#[test]
fn what_has_changed_since_the_first_look_is_looked_at_again() {
    let root = shop(&[("users/ann.json", "{}")]);
    let nothing = Listing::default();
    let first = walk::survey(root.path(), &nothing);
    write(root.path(), &[("users/bob.json", "{}")]);
    let known = Known {
        last: &nothing,
        unread: &|_, _| None,
        trusts_folders: false,
    };
    let files = read::files(root.path(), Some(first), known);
    let paths: Vec<&str> = files.read.iter().map(|file| &*file.path).collect();
    assert_eq!(paths, ["account.json", "users/ann.json", "users/bob.json"]);
}

/// Stamps only the system's clock can make older, so each condition is waited for.
#[cfg(target_os = "linux")]
#[test]
fn one_look_proves_what_was_there_before_it_began() {
    #[track_caller]
    fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::yield_now();
        }
    }
    let root = folder_with_our_clock();
    let root = root.path();
    let files = [ACCOUNT, ("users/ann.json", "{}")];
    let look = |root: &Path| walk::survey(root, &Listing::default());
    write(root, &files);
    let mut survey = look(root);
    eventually("a later look proves it", || {
        survey = look(root);
        survey.is_of_one_moment()
    });
    fs::write(root.join("users/bob.json"), "{}").unwrap();
    assert!(!survey.is_of_one_moment(), "a folder has changed since");
    eventually("a look after that proves it", || {
        look(root).is_of_one_moment()
    });
    symlink("ann.json", root.join("users/c.json")).unwrap();
    // What was changed later is old enough by now, and so is the link.
    let later = folder_with_our_clock();
    write(later.path(), &files);
    eventually("time passes", || look(later.path()).is_of_one_moment());
    assert!(!look(root).is_of_one_moment(), "a link may lead elsewhere");
}

/// The writer changes one file and then the other. So the second file is never ahead of the first, and the first is
/// never ahead by more than one step. The pauses decide whether one look is enough.
#[test]
fn files_that_change_one_after_the_other_are_read_as_they_were_together() {
    let text = |n: u32| format!("{{{}}}", " ".repeat(n as usize));
    let digests: Vec<_> = (0..400).map(|n| Sha256::digest(text(n))).collect();
    let root = shop(&[]);
    let root = root.path();
    for n in 0..200 {
        write(root, &[(&format!("users/u{n}.json"), "{}")]);
    }
    let (first, second) = ("users/zoe.json", "groups/zoe.json");
    write(root, &[(first, &text(0)), (second, &text(0))]);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..400 {
                for path in [first, second] {
                    if n % 3 == 0 {
                        fs::write(root.join("users/next.tmp"), text(n)).unwrap();
                        fs::rename(root.join("users/next.tmp"), root.join(path)).unwrap();
                    } else {
                        fs::write(root.join(path), text(n)).unwrap();
                    }
                }
                std::thread::sleep(Duration::from_millis(u64::from(n % 5) * 3));
            }
            is_done.store(true, Ordering::Release);
        });
        let mut loader = Loader::new();
        let (mut n_loads, mut last) = (0, 0);
        while !is_done.load(Ordering::Acquire) {
            // A file that is read in the middle of a write is not JSON, but it has no other content either.
            if loader.load(root).is_err() {
                continue;
            }
            let number = |path: &str| {
                let mut files = loader.seen().contents.iter();
                let content = files.find(|other| *other.path == *path).unwrap();
                digests
                    .iter()
                    .position(|other| **other == content.digest)
                    .unwrap()
            };
            let (a, b) = (number(first), number(second));
            assert!(
                a == b || a == b + 1,
                "{a} and {b} were never there together"
            );
            assert!(last <= a, "{a} after {last}");
            (n_loads, last) = (n_loads + 1, a);
        }
        assert!(n_loads > 20, "{n_loads}");
    });
}

#[test]
fn a_store_that_changes_each_time_it_is_read_is_given_up() {
    let root = shop(&[("users/ann.json", "{}"), ("users/bob.json", "{}")]);
    let n_asked = std::cell::Cell::new(0);
    // Each file changes again before it is read.
    let unread = |path: &str, _: bool| {
        n_asked.set(n_asked.get() + 1);
        fs::write(root.path().join(path), " ".repeat(n_asked.get())).unwrap();
        None
    };
    let known = Known {
        last: &Listing::default(),
        unread: &unread,
        trusts_folders: false,
    };
    let files = read::files(root.path(), None, known);
    let [finding] = files.findings.as_slice() else {
        panic!("{:#?}", files.findings)
    };
    assert!(finding.is_error(), "the last good revision stays");
    assert_eq!((finding.code, &*finding.at.file), (Code::UNREADABLE, "."));
    assert_eq!(
        &*finding.message,
        "the store changed each of the 20 times it was read"
    );
    assert!(files.read.is_empty() && files.unread.is_empty());
    // Each attempt asks for one file at first, then for that file as a busy one and for the next file.
    assert_eq!(n_asked.get(), 20 * 3);
}

/// Files that are not read are reported one by one up to a limit, and then counted. A later look, which reuses parts of
/// the first one, must count the same files, or the store would always seem to have changed.
#[test]
fn files_that_are_not_read_are_told_or_counted_at_every_look() {
    let root = shop(&[]);
    for (folder, n) in [("z", 98), ("k", 2), ("a", 5)] {
        for number in 0..n {
            write(root.path(), &[(&format!("{folder}/{number}.txt"), "")]);
        }
    }
    write(root.path(), &[("users/ann.json", "{}")]);
    let look = |last: &Listing| walk::survey(root.path(), last);
    let first = look(&Listing::default());
    let told: Vec<_> = first
        .findings
        .iter()
        .map(|one| (one.code, one.is_error()))
        .collect();
    assert_eq!(told, [(Code::IGNORED_FILE, false); 101]);
    let counted: Vec<_> = first
        .findings
        .iter()
        .filter(|one| &*one.at.file == ".")
        .collect();
    let [counted] = counted.as_slice() else {
        panic!("{counted:#?}")
    };
    assert_eq!(
        &*counted.message,
        "5 more files that are not `*.json` are not read"
    );
    // Only a folder that has not changed for a while is taken from the previous look. This one is the newest.
    let deadline = Instant::now() + Duration::from_secs(60);
    let old = loop {
        let survey = look(&Listing::default());
        let mut folders = survey.folders.iter();
        let users = folders.find(|folder| *folder.listed.folder == *"users");
        if users.unwrap().stamp.is_some() {
            break survey;
        }
        assert!(Instant::now() < deadline, "it stays too new");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(look(&old.listing()).findings, first.findings);
}

/// So large that it takes several times as long as a look goes on without a rest.
const N_MANY: usize = 2_000;

#[test]
fn a_look_for_which_nobody_waits_rests_and_sees_the_same() {
    let root = shop(&[]);
    fs::create_dir(root.path().join("users")).unwrap();
    for n in 0..N_MANY {
        fs::write(root.path().join(format!("users/{n}.json")), "{}").unwrap();
    }
    let is_awaited = AtomicBool::new(false);
    for last in [
        Listing::default(),
        settled(&walk::survey(root.path(), &Listing::default())),
    ] {
        let whole = walk::survey(root.path(), &last);
        is_awaited.store(false, Ordering::Relaxed);
        let mut pace = Pace::unless(&is_awaited);
        let survey = walk::survey_at(root.path(), &last, &mut pace);
        assert!(survey.is_as(&whole.listing()));
        assert_ne!(pace.n_rests(), 0);
        // Somebody waits from now on.
        is_awaited.store(true, Ordering::Relaxed);
        let mut pace = Pace::unless(&is_awaited);
        let survey = walk::survey_at(root.path(), &last, &mut pace);
        assert!(survey.is_as(&whole.listing()));
        assert_eq!(pace.n_rests(), 0);
    }
}
