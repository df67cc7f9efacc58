//! Every kind of bad input to a store gives one finding with its place. Nothing crashes, and a running server goes on
//! answering from the last good store.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use iamd::language::finding::Finding;
use iamd::service::pb;
use iamd::store;
use tempfile::TempDir;

use crate::support::{
    Client, Finished, Server, allow, ann_asks, errors_in, eventually, iamd, revision,
    run_until_it_serves, until_revision, user, vanish, write, write_by_rename,
};

pub mod cases;

/// Something that should not be in a store, or not in this form.
#[derive(Debug)]
pub enum Bad {
    Bytes(Vec<u8>),
    /// A file of this many zero bytes, which takes no space on the disk.
    Zeros(u64),
    Folder,
    Link(&'static str),
    Fifo,
    Socket,
    Gone,
}

/// One kind of bad input.
pub struct Case {
    pub what: &'static str,
    pub bad: Vec<(String, Bad)>,
    /// The beginning of the one finding: `users/ann.json:3:5: error[unknown-member]`.
    pub finding: &'static str,
}

/// The good store that each case spoils. It has something of every kind.
pub fn base() -> Vec<(&'static str, String)> {
    let dump = cases::DUMP.to_owned();
    vec![
        (
            "account.json",
            r#"{"AccountId": "111111111111"}"#.to_owned(),
        ),
        ("users/ann.json", user("ann", &allow("orders:Get"))),
        ("groups/staff.json", "{}".to_owned()),
        ("roles/clerk.json", cases::ROLE.to_owned()),
        ("managed-policies/Read.json", allow("orders:List")),
        ("resource-policies/orders.json", cases::RESOURCE.to_owned()),
        ("service-control-policies/open.json", allow("*")),
        ("organization.json", cases::ORGANIZATION.to_owned()),
        ("accounts/222222222222/users/zoe.json", "{}".to_owned()),
        ("dumps/partner.json", dump),
    ]
}

fn write_base(root: &Path) {
    for (path, text) in base() {
        write(root, path, &text);
    }
}

impl Case {
    fn apply(&self, root: &Path) {
        for (path, bad) in &self.bad {
            spoil(root, path, bad);
        }
    }

    /// Removes the bad input and restores what was there.
    fn undo(&self, root: &Path) {
        let base = base();
        for (path, bad) in &self.bad {
            let place = root.join(path);
            match bad {
                Bad::Gone => {}
                Bad::Folder => fs::remove_dir(&place).unwrap(),
                _ => fs::remove_file(&place).unwrap(),
            }
            let empty = place
                .ancestors()
                .skip(1)
                .take_while(|folder| *folder != root);
            for folder in empty {
                if fs::remove_dir(folder).is_err() {
                    break; // not empty: it was there before
                }
            }
            if let Some((_, text)) = base.iter().find(|(of, _)| of == path) {
                write(root, path, text);
            }
        }
    }
}

/// Puts the bad input into the store.
pub fn spoil(root: &Path, path: &str, bad: &Bad) {
    let place = root.join(path);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    let beside = root.join(".spoilt");
    match bad {
        // The file is renamed into its place, so that a half-written file cannot give another finding first.
        Bad::Bytes(bytes) => {
            fs::write(&beside, bytes).unwrap();
            fs::rename(&beside, &place).unwrap();
        }
        Bad::Zeros(n_bytes) => {
            let file = fs::File::create(&beside).unwrap();
            file.set_len(*n_bytes).unwrap();
            fs::rename(&beside, &place).unwrap();
        }
        Bad::Folder => fs::create_dir(&place).unwrap(),
        Bad::Link(target) => {
            _ = fs::remove_file(&place);
            symlink(target, &place).unwrap();
        }
        Bad::Fifo => {
            _ = fs::remove_file(&place);
            let made = Command::new("mkfifo").arg(&place).status().unwrap();
            assert!(made.success());
        }
        Bad::Socket => {
            _ = fs::remove_file(&place);
            drop(UnixListener::bind(&place).unwrap());
        }
        Bad::Gone => fs::remove_file(&place).unwrap(),
    }
}

/// Returns the one finding about `root`, or what there is instead.
fn only_error(root: &Path) -> Result<Finding, String> {
    let findings = match store::load(root) {
        Ok(_) => return Err("it loads".to_owned()),
        Err(refused) => refused.findings,
    };
    let tell = |finding: &Finding| format!("\n    {finding}");
    let errors: Vec<_> = findings
        .iter()
        .filter(|finding| finding.is_error())
        .collect();
    match errors.as_slice() {
        [one] => Ok((*one).clone()),
        _ => Err(findings.iter().map(tell).collect()),
    }
}

/// Runs `work` for every case, a few at a time, and panics with everything that failed.
fn for_every_case(work: impl Fn(&Case) -> Result<(), String> + Sync) {
    let cases = cases::all();
    let (next, wrong) = (AtomicUsize::new(0), std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = work(case) {
                        let told = format!("{}: {why}", case.what);
                        wrong.lock().unwrap().push(told);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    let (n_wrong, n_cases) = (wrong.len(), cases.len());
    assert!(
        wrong.is_empty(),
        "{n_wrong} of {n_cases}:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_store_that_is_spoilt_below_is_good() {
    let folder = TempDir::new().unwrap();
    write_base(folder.path());
    let findings = store::load(folder.path()).unwrap().findings;
    assert_eq!(findings, []);
}

#[test]
fn each_kind_of_bad_input_gives_one_finding_with_its_place() {
    for_every_case(|case| {
        let folder = TempDir::new().unwrap();
        write_base(folder.path());
        case.apply(folder.path());
        let finding = only_error(folder.path())?;
        let told = finding.to_string();
        if !told.starts_with(case.finding) {
            return Err(format!("{told}\n    expected {}", case.finding));
        }
        let is_clear = !told.contains('\n') && !finding.message.is_empty();
        if !is_clear || told.chars().any(char::is_control) || told.len() > 600 {
            return Err(format!("that is not clear: {told:?}"));
        }
        case.undo(folder.path());
        match store::load(folder.path()) {
            Ok(_) => Ok(()),
            Err(refused) => Err(format!("not mended: {:?}", refused.findings)),
        }
    });
}

#[test]
fn a_first_start_on_bad_input_ends_with_status_2_and_the_finding() {
    for_every_case(|case| {
        let folder = TempDir::new().unwrap();
        write_base(folder.path());
        case.apply(folder.path());
        let expected = only_error(folder.path())?.to_string();
        let ended = run_until_it_serves(serve(folder.path())).ok_or("it serves")?;
        says_only(&ended, &expected)
    });
}

fn serve(root: &Path) -> Command {
    let mut command = iamd(["serve", "--listen", "127.0.0.1:0", "--store"]);
    command.arg(root);
    command
}

/// Returns whether a process ended with status 2 and with `expected` as the only error about the store.
fn says_only(ended: &Finished, expected: &str) -> Result<(), String> {
    let errors = errors_in(ended.stderr.lines());
    if ended.status == Some(2) && errors == [expected] && !ended.stderr.contains("internal error") {
        Ok(())
    } else {
        Err(format!("{expected}\n  is not all of {ended:?}"))
    }
}

async fn ask(client: &mut Client) -> pb::AuthorizeResponse {
    let answer = client.authorize(ann_asks("orders:Get")).await;
    answer.expect("no call fails").into_inner()
}

#[tokio::test]
async fn a_running_server_outlives_each_kind_of_bad_input() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    write_base(root);
    let mut server = Server::start(root);
    let mut client = server.client().await;
    let mut good = revision(root);
    for (n, case) in cases::all().iter().enumerate() {
        let n_before = server.log().len();
        case.apply(root);
        let expected = only_error(root).unwrap();
        eventually(&format!("{}: {expected}", case.what), async || {
            let answer = ask(&mut client).await;
            assert_eq!(answer.decision(), pb::Decision::Allow, "{}", case.what);
            assert_eq!(answer.revision, good, "{}", case.what);
            let log = server.log();
            let new = log.get(n_before..)?.iter().map(String::as_str);
            let kept = "the last good revision stays in force";
            let is_settled = new.clone().any(|line| line.contains(kept));
            (is_settled && errors_in(new).contains(&expected.to_string())).then_some(())
        })
        .await;
        assert_eq!(ask(&mut client).await.revision, good, "{}", case.what);
        case.undo(root);
        // The content differs from the earlier one, so that the repaired store can be told from the last good one.
        write_by_rename(
            root,
            "groups/staff.json",
            &format!(r#"{{"CreateDate": "{n}"}}"#),
        );
        good = revision(root);
        let answer = until_revision(&mut client, &good).await;
        assert_eq!(answer.decision(), pb::Decision::Allow, "{}", case.what);
    }
    assert!(server.is_running());
    let log = server.log().join("\n");
    assert!(!log.contains("internal error"), "{log}");
}

#[test]
fn a_dump_cut_at_any_byte_is_refused_with_one_finding() {
    let folder = TempDir::new().unwrap();
    write_base(folder.path());
    let whole = cases::DUMP.trim_end();
    for n_bytes in 0..whole.len() {
        let cut = whole.as_bytes().get(..n_bytes).unwrap();
        fs::write(folder.path().join("dumps/partner.json"), cut).unwrap();
        let finding = only_error(folder.path()).unwrap_or_else(|why| panic!("{n_bytes}: {why}"));
        assert!(
            matches!(finding.code.as_str(), "syntax" | "not-utf8")
                && &*finding.at.file == "dumps/partner.json"
                && finding.at.line > 0,
            "{n_bytes}: {finding}"
        );
    }
}

#[tokio::test]
async fn a_dump_that_arrives_in_pieces_is_live_once_it_is_whole() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    write_base(root);
    let server = Server::start(root);
    let mut client = server.client().await;
    let old = revision(root);
    let new = cases::DUMP.replace("\"zed\"", "\"zac\"");
    let new = new.replace("user/zed", "user/zac");
    let place = root.join("dumps/partner.json");
    // The file is written in place, as a copy over the network does it: each part is seen, but none is accepted.
    for piece in 1..20 {
        let n_bytes = new.trim_end().len() * piece / 20;
        fs::write(&place, new.as_bytes().get(..n_bytes).unwrap()).unwrap();
        let expected = only_error(root).unwrap().to_string();
        eventually(&format!("piece {piece}"), async || {
            assert_eq!(ask(&mut client).await.revision, old);
            let log = server.log();
            errors_in(log.iter().map(String::as_str))
                .contains(&expected)
                .then_some(())
        })
        .await;
    }
    fs::write(&place, new).unwrap();
    until_revision(&mut client, &revision(root)).await;
}

/// The superuser may read everything, so if root runs the tests, the server runs as another user.
#[test]
fn what_cannot_be_read_is_named() {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("iamd");
    fs::copy(env!("CARGO_BIN_EXE_iamd"), &program).unwrap();
    let mode = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(folder.path(), 0o755);
    let root = folder.path().join("policies");
    write_base(&root);
    let is_superuser = fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"));
    for (path, finding) in [
        (
            "users/ann.json",
            "users/ann.json: error[unreadable]: cannot be read: Permission denied",
        ),
        (
            "users",
            "users: error[unreadable]: cannot be read: Permission denied",
        ),
        (
            "",
            ".: error[unreadable]: cannot be read: Permission denied",
        ),
    ] {
        let closed = root.join(path);
        let before = fs::metadata(&closed).unwrap().permissions();
        mode(&closed, 0o000);
        let mut command = Command::new(&program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--store"]);
        command.arg(&root).env_clear();
        command.env("IAMD_HTTP_LISTEN", "127.0.0.1:0");
        command.stderr(std::process::Stdio::piped());
        if is_superuser {
            command.uid(65_534).gid(65_534);
        }
        let ended = run_until_it_serves(command).unwrap_or_else(|| panic!("`{path}`: it serves"));
        fs::set_permissions(&closed, before).unwrap();
        let errors = errors_in(ended.stderr.lines());
        let [error] = errors.as_slice() else {
            panic!("`{path}`: {ended:?}")
        };
        assert_eq!(ended.status, Some(2));
        assert!(error.starts_with(finding), "{error}");
    }
}

/// Builds a library for `LD_PRELOAD` that makes one system call fail. A machine that builds Rust programs has the
/// compiler for it.
pub fn library_that_refuses(call: &str, why: &str, folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("refuse.c"), folder.join("refuse.so"));
    let text = format!("#include <errno.h>\nint {call}() {{ errno = {why}; return -1; }}\n");
    fs::write(&source, text).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(compiled.unwrap().success());
    library
}

/// The system's limit of watches is reached. Polling finds changes, and the log says that this takes longer.
#[tokio::test]
async fn without_watches_changes_are_found_all_the_same() {
    for (call, why) in [("inotify_init1", "EMFILE"), ("inotify_add_watch", "ENOSPC")] {
        let (folder, beside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let root = folder.path();
        write_base(root);
        let mut command = serve(root);
        command.env("LD_PRELOAD", library_that_refuses(call, why, beside.path()));
        let server = Server::spawn(command);
        let mut client = server.client().await;
        server.wait_for_log("a word about it", |line| {
            line.contains("the store cannot be watched").then_some(())
        });
        write(
            root,
            "users/ann.json",
            &user("ann", &allow("orders:Refund")),
        );
        let answer = until_revision(&mut client, &revision(root)).await;
        assert_eq!(answer.decision(), pb::Decision::Deny, "{call}");
        let said = server.log();
        let said = said
            .iter()
            .filter(|line| line.contains("cannot be watched"));
        assert_eq!(said.count(), 1, "{call}: it is said once");
    }
}

/// Files disappear, appear and change while a store is read. A load gives a state that existed meanwhile, or none.
#[test]
fn a_load_gives_one_of_the_states_that_there_were_meanwhile() {
    const N_FILES: usize = 6;
    let (folder, shadow) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let edit = |root: &Path, step: usize| {
        let name = format!("users/u{}.json", step * 5 % N_FILES);
        match step % 3 {
            0 if root.join(&name).exists() => fs::remove_file(root.join(&name)).unwrap(),
            1 => write(root, &name, &format!(r#"{{"CreateDate": "{step}"}}"#)),
            _ => write_by_rename(root, &name, &format!(r#"{{"CreateDate": "{step}"}}"#)),
        }
    };
    write_base(folder.path());
    write_base(shadow.path());
    // A plain write first makes the file empty, which no load accepts.
    let states: Vec<String> = (0..240)
        .map(|step| {
            if step > 0 {
                edit(shadow.path(), step);
            }
            revision(shadow.path())
        })
        .collect();
    let (at, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (mut n_loaded, mut n_refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for step in 1..states.len() {
                at.store(step, Ordering::SeqCst); // from now on a load may see it
                edit(folder.path(), step);
                // The pause is longer than a tick of the file system's clock, because two writes within one tick look
                // like one.
                std::thread::sleep(Duration::from_millis(8));
            }
            is_over.store(true, Ordering::SeqCst);
        });
        while !is_over.load(Ordering::SeqCst) {
            let first = at.load(Ordering::SeqCst).saturating_sub(1);
            let loaded = store::load(folder.path());
            let last = at.load(Ordering::SeqCst);
            if let Ok(loaded) = loaded {
                let seen = loaded.snapshot.revision.to_string();
                let meanwhile = states.get(first..=last).unwrap();
                assert!(meanwhile.contains(&seen), "{seen} of {first} to {last}");
                n_loaded += 1;
            } else {
                n_refused += 1;
            }
        }
    });
    assert!(n_loaded > 20, "{n_loaded} loads, {n_refused} refused");
}

/// The folder is removed and restored again and again, without a pause for the server to catch up.
#[tokio::test]
async fn a_folder_removed_and_created_again_is_live_in_the_end() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("policies");
    write_base(&root);
    let mut server = Server::start(&root);
    let mut client = server.client().await;
    for round in 0..8_u64 {
        for time in 0..=round % 3 {
            vanish(&root);
            if time % 2 == 0 {
                assert_eq!(ask(&mut client).await.decision(), pb::Decision::Allow);
            }
            // The store is complete when it appears. A half-copied store is a different case.
            let beside = folder.path().join("beside");
            write_base(&beside);
            let unique = format!(r#"{{"CreateDate": "{round}-{time}"}}"#);
            write(&beside, "users/u.json", &unique);
            fs::rename(&beside, &root).unwrap();
        }
        let answer = until_revision(&mut client, &revision(&root)).await;
        assert_eq!(answer.decision(), pb::Decision::Allow);
    }
    assert!(server.is_running());
}
