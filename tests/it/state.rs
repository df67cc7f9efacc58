//! What a server tells of its store: `Status`, `WatchRevision` and the commands that ask for them, by the real binary.

use std::fs;
use std::process::Child;

use iamd::service::pb;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::{Code, Streaming};
use tonic_types::StatusExt;

use crate::support::{
    Client, Finished, PATIENCE, Server, allow, ann_asks, channel_to, eventually, iamd, revision,
    run, store_allowing, user, write, write_by_rename, write_hole, write_store,
};

const GET: &str = "orders:Get";
const REFUND: &str = "orders:Refund";

/// Runs `iamd COMMAND --server ADDRESS` with `options` to its end.
fn ask(command: &str, address: &str, options: &[&str]) -> Finished {
    let mut command = iamd([command, "--server", address]);
    command.args(options);
    run(command, "")
}

fn json_of(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"))
}

async fn status_of(client: &mut Client) -> pb::StatusResponse {
    let status = client.status(pb::StatusRequest {}).await;
    status.unwrap().into_inner()
}

/// Replaces a time by `true` if it is one and is not before `after`.
fn check_time(status: &mut Value, name: &str, after: Timestamp) {
    let time = status[name].as_str().map(str::parse::<Timestamp>);
    let time = time
        .unwrap_or_else(|| panic!("{name} in {status}"))
        .unwrap();
    assert!(after <= time && time <= Timestamp::now(), "{name}: {time}");
    status[name] = json!(true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_is_told_when_the_store_is_good_stale_and_mended_again() {
    let begun = Timestamp::now();
    let store = store_allowing(GET);
    let odd = allow(GET).replace("\"One\"", "\"One!\"");
    write(store.path(), "users/bob.json", &user("bob", &odd));
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let address = server.address();
    let first = revision(store.path());

    let good = ask("status", &address, &["--output", "json"]);
    assert_eq!(
        (good.status, good.stderr.as_str()),
        (Some(0), ""),
        "{good:?}"
    );
    let mut state = json_of(&good);
    check_time(&mut state, "loadedAt", begun);
    check_time(&mut state, "startedAt", begun);
    let finding = json!({"severity": "SEVERITY_WARNING", "code": "odd-sid", "file": "users/bob.json",
        "message": state["findings"][0]["message"], "position": {"line": 4, "column": 96}});
    let whole = json!({"version": env!("CARGO_PKG_VERSION"), "revision": first, "loadedAt": true, "stale": false,
        "findings": [finding], "files": "3", "statements": "2", "principals": "2", "startedAt": true,
        "store": store.path().to_str().unwrap(), "findingsLeftOut": "0"});
    assert_eq!(state, whole);
    let text = ask("status", &address, &[]);
    assert_eq!(text.status, Some(0), "{text:?}");
    for part in ["serving", &first, "users/bob.json:4:96: warning[odd-sid]: "] {
        assert!(text.stdout.contains(part), "{part} in {}", text.stdout);
    }

    // The store breaks: what is in force stays, and the state says why.
    let loaded_at = status_of(&mut client).await.loaded_at;
    write_by_rename(
        store.path(),
        "users/ann.json",
        "{\n  \"UserNam\": \"ann\"\n}\n",
    );
    let stale = eventually("a stale store", async || {
        let status = status_of(&mut client).await;
        status.stale.then_some(status)
    });
    let stale = stale.await;
    assert_eq!((&stale.revision, stale.loaded_at), (&first, loaded_at));
    let finished = ask("status", &address, &["--output", "json"]);
    assert_eq!(finished.status, Some(1), "{finished:?}");
    let state = json_of(&finished);
    let error = &state["findings"][0];
    let expected = json!({"severity": "SEVERITY_ERROR", "code": "unknown-member", "file": "users/ann.json",
        "message": "unknown member `UserNam` of the user; did you mean `UserName`?", "position": {"line": 2, "column": 3}});
    assert_eq!((error, &state["stale"]), (&expected, &json!(true)));
    let text = ask("status", &address, &[]);
    assert_eq!(text.status, Some(1), "{text:?}");
    let line = "users/ann.json:2:3: error[unknown-member]: unknown member `UserNam` of the user; did you mean `UserName`?\n";
    assert!(text.stdout.contains(line), "{}", text.stdout);
    assert!(text.stdout.contains("stale"), "{}", text.stdout);

    // It is mended with another content, and whoever reads of a revision gets its answers.
    write_store(store.path(), REFUND);
    let second = revision(store.path());
    let mended = eventually("the mended store", async || {
        let status = status_of(&mut client).await;
        let answer = client.authorize(ann_asks(GET)).await.unwrap();
        if status.revision == second {
            assert_eq!(answer.into_inner().revision, second, "never stale");
        }
        (status.revision == second).then_some(status)
    });
    let mended = mended.await;
    assert!(!mended.stale && mended.loaded_at.unwrap().seconds >= loaded_at.unwrap().seconds);
    assert_eq!(
        mended.findings.len(),
        1,
        "the warning: {:?}",
        mended.findings
    );
    assert_eq!(ask("status", &address, &[]).status, Some(0));
}

/// A store that is mended to what it was has one revision all the time, in force since the beginning.
#[tokio::test]
async fn a_store_that_is_as_before_has_been_in_force_all_the_time() {
    let store = store_allowing(GET);
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let first = status_of(&mut client).await;
    for (text, is_stale) in [("{", true), (user("ann", &allow(GET)).as_str(), false)] {
        write_by_rename(store.path(), "users/ann.json", text);
        eventually("the other state", async || {
            (status_of(&mut client).await.stale == is_stale).then_some(())
        })
        .await;
    }
    assert_eq!(status_of(&mut client).await, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_still_loads_tells_its_state() {
    let store = store_allowing(GET);
    write_hole(store.path());
    let server = Server::start(store.path());
    let address = server.address();
    let mut client = Client::new(channel_to(&address));
    let status = status_of(&mut client).await;
    let expected = pb::StatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: status.started_at,
        store: store.path().to_str().unwrap().to_owned(),
        ..pb::StatusResponse::default()
    };
    assert_eq!(status, expected);
    let finished = ask("status", &address, &[]);
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert!(finished.stdout.contains("not ready"), "{finished:?}");
}

#[tokio::test]
async fn a_server_tells_the_network_nothing_of_its_store() {
    let store = store_allowing(GET);
    let options = ["--listen", "0.0.0.0:0", "--insecure-plaintext"];
    let server = Server::start_with(store.path(), &options);
    let mut client = server.client().await;
    let status = client.status(pb::StatusRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "S-12");
    let info = status.get_error_details().error_info().cloned().unwrap();
    assert_eq!((&*info.domain, &*info.reason), ("iamd", "NOT_PERMITTED"));
}

#[test]
fn a_server_that_cannot_be_asked_is_status_2() {
    // Nobody listens on this port, which the system has just given out and taken back.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    for address in [address.as_str(), "https://127.0.0.1:1", "nonsense address"] {
        let finished = ask("status", address, &[]);
        assert_eq!(finished.status, Some(2), "{finished:?}");
        assert_eq!(finished.stdout, "");
        assert!(finished.stderr.starts_with("error: "), "{finished:?}");
    }
}

/// A watch of the revision that a server enforces.
struct Watch(Streaming<pb::WatchRevisionResponse>);

impl Watch {
    async fn of(client: &mut Client) -> Self {
        let watch = client.watch_revision(pb::WatchRevisionRequest {}).await;
        Self(watch.unwrap().into_inner())
    }

    /// Returns the next message, or `None` at the end of a stream that ends well.
    async fn next(&mut self) -> Option<pb::WatchRevisionResponse> {
        let next = tokio::time::timeout(PATIENCE, self.0.message()).await;
        next.expect("a message or the end").unwrap()
    }

    /// Returns the revision of the next message, and whether it is stale.
    async fn next_revision(&mut self) -> (String, bool) {
        let next = self.next().await.expect("a message");
        assert!(next.in_force_since.is_some());
        (next.revision, next.stale)
    }
}

#[tokio::test]
async fn a_watch_tells_of_a_reload_and_a_break_and_holds_up_no_drain() {
    let store = store_allowing(GET);
    let first = revision(store.path());
    let mut server = Server::start_with(
        store.path(),
        &["--listen", "127.0.0.1:0", "--drain-timeout", "1h"],
    );
    let mut client = server.client().await;
    let mut watch = Watch::of(&mut client).await;
    let now = watch.next().await.unwrap();
    let expected = pb::WatchRevisionResponse {
        revision: first.clone(),
        in_force_since: status_of(&mut client).await.loaded_at,
        stale: false,
    };
    assert_eq!(now, expected);

    let ann = |action: &str| user("ann", &allow(action));
    write_by_rename(store.path(), "users/ann.json", &ann(REFUND));
    let second = revision(store.path());
    assert_ne!(first, second);
    assert_eq!(watch.next_revision().await, (second.clone(), false));
    let answer = client.authorize(ann_asks(GET)).await.unwrap();
    assert_eq!(answer.into_inner().revision, second, "never stale");
    // A look that finds no change is no news.
    server.signal("HUP");
    write_by_rename(store.path(), "users/ann.json", "{");
    assert_eq!(watch.next_revision().await, (second.clone(), true));
    write_by_rename(store.path(), "users/ann.json", &ann(REFUND));
    assert_eq!(watch.next_revision().await, (second, false));
    write_by_rename(store.path(), "users/ann.json", &ann(GET));
    assert_eq!(watch.next_revision().await, (first, false));

    server.signal("TERM");
    assert_eq!(watch.next().await, None, "it ends well");
    assert_eq!(server.exit_status().code(), Some(0), "{:?}", server.log());
}

#[tokio::test]
async fn a_watch_is_open_to_the_network_and_before_the_first_load() {
    let store = store_allowing(GET);
    let options = ["--listen", "0.0.0.0:0", "--insecure-plaintext"];
    let server = Server::start_with(store.path(), &options);
    let mut client = server.client().await;
    let mut watch = Watch::of(&mut client).await;
    let now = watch.next_revision().await;
    assert_eq!(now, (revision(store.path()), false));

    write_hole(store.path());
    let loading = Server::start(store.path());
    let mut client = Client::new(loading.channel());
    let mut watch = Watch::of(&mut client).await;
    let nothing = pb::WatchRevisionResponse::default();
    assert_eq!(watch.next().await, Some(nothing));
}

/// Starts `iamd wait` with `options`.
fn start_to_wait(address: &str, options: &[&str]) -> Child {
    let mut command = iamd(["wait", "--server", address]);
    command.args(options).spawn().unwrap()
}

/// Waits for its end.
async fn end_of(mut waiting: Child) -> Finished {
    let ended = eventually("the end", async || waiting.try_wait().unwrap());
    let status = ended.await.code();
    let output = waiting.wait_with_output().unwrap();
    Finished {
        status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Returns how many sockets the process has open.
fn n_sockets(id: u32) -> usize {
    let open = fs::read_dir(format!("/proc/{id}/fd")).unwrap();
    let targets = open.flatten().flat_map(|entry| fs::read_link(entry.path()));
    targets
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

#[tokio::test]
async fn a_wait_ends_once_the_revision_is_in_force() {
    let (store, next) = (store_allowing(GET), store_allowing(REFUND));
    let server = Server::start(store.path());
    let address = server.address();
    let loaded = |line: &str| line.contains("the store is loaded").then_some(());
    server.wait_for_log("the first revision", loaded);
    let n_before = n_sockets(server.id());
    let wanted = revision(next.path());
    let directory = next.path().to_str().unwrap();
    let waiting = [
        start_to_wait(&address, &["--revision", &wanted]),
        start_to_wait(&address, &["--store", directory, "--output", "json"]),
    ];
    eventually("both clients", async || {
        (n_sockets(server.id()) >= n_before + 2).then_some(())
    })
    .await;
    write_store(store.path(), REFUND);
    let [by_revision, by_directory] = waiting;
    let by_revision = end_of(by_revision).await;
    let in_force = format!("{wanted} is in force\n");
    assert_eq!(
        (by_revision.status, by_revision.stdout),
        (Some(0), in_force)
    );
    let by_directory = end_of(by_directory).await;
    assert_eq!(by_directory.status, Some(0), "{by_directory:?}");
    let mut told = json_of(&by_directory);
    check_time(&mut told, "inForceSince", Timestamp::UNIX_EPOCH);
    assert_eq!(
        told,
        json!({"revision": wanted, "inForceSince": true, "stale": false})
    );
    // It is in force already.
    for options in [
        &["--revision", &wanted][..],
        &["--revision", &wanted, "--timeout", "0s"],
    ] {
        let again = ask("wait", &address, options);
        assert_eq!((again.status, again.stderr.as_str()), (Some(0), ""));
    }
    let other = "0123456789abcdef0123456789abcdef";
    let now = ask("wait", &address, &["--revision", other, "--timeout", "0s"]);
    assert_eq!(now.status, Some(1), "{now:?}");
    assert!(now.stderr.contains("enforces"), "{now:?}");
    let mut by_variable = iamd(["wait", "--server", &address]);
    by_variable.env("IAMD_STORE", directory);
    assert_eq!(run(by_variable, "").status, Some(0));
}

#[tokio::test]
async fn a_server_that_starts_later_is_waited_for() {
    let store = store_allowing(GET);
    let sockets = TempDir::new().unwrap();
    let socket = sockets.path().join("iamd.sock");
    let address = format!("unix:{}", socket.display());
    let wanted = revision(store.path());
    // The first attempt meets somebody who hangs up.
    let other = tokio::net::UnixListener::bind(&socket).unwrap();
    let waiting = start_to_wait(&address, &["--revision", &wanted]);
    let attempt = tokio::time::timeout(PATIENCE, other.accept()).await;
    drop(attempt.expect("an attempt").unwrap());
    drop(other);
    fs::remove_file(&socket).unwrap();
    let _server = Server::start_with(store.path(), &["--listen", &address]);
    let finished = end_of(waiting).await;
    assert_eq!(finished.status, Some(0), "{finished:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_was_in_vain_says_what_is_in_force_instead_and_why() {
    let store = store_allowing(GET);
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let address = server.address();
    let in_force = revision(store.path());
    let wanted = "0123456789abcdef0123456789abcdef";
    let briefly = ["--revision", wanted, "--timeout", "300ms"];
    let finished = ask("wait", &address, &briefly);
    assert_eq!((finished.status, finished.stdout.as_str()), (Some(1), ""));
    let expected = format!(
        "error: {wanted} is not in force after 300ms: `{address}` enforces {in_force} since 2"
    );
    assert!(finished.stderr.starts_with(&expected), "{finished:?}");
    assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");

    write_by_rename(store.path(), "users/ann.json", "{");
    eventually("a stale store", async || {
        status_of(&mut client).await.stale.then_some(())
    })
    .await;
    let finished = ask("wait", &address, &briefly);
    assert_eq!(finished.status, Some(1), "{finished:?}");
    let lines: Vec<&str> = finished.stderr.lines().collect();
    assert!(lines[0].starts_with(&expected), "{lines:#?}");
    assert_eq!(lines[1], "error: the server's store does not load");
    assert!(
        lines[2].starts_with("users/ann.json:1:1: error[syntax]: "),
        "{lines:#?}"
    );

    drop(server);
    let finished = ask("wait", &address, &briefly);
    assert_eq!(finished.status, Some(1), "{finished:?}");
    let expected = format!("error: {wanted} is not in force after 300ms: cannot ask `{address}`: ");
    assert!(finished.stderr.starts_with(&expected), "{finished:?}");
    assert!(finished.stderr.contains("refused"), "{finished:?}");
}

#[test]
fn what_cannot_be_waited_for_is_status_2() {
    let broken = store_allowing(GET);
    write(broken.path(), "users/ann.json", "{");
    let directory = broken.path().to_str().unwrap();
    let finished = ask("wait", "127.0.0.1:1", &["--store", directory]);
    assert_eq!((finished.status, finished.stdout.as_str()), (Some(2), ""));
    assert!(
        finished
            .stderr
            .starts_with("users/ann.json:1:1: error[syntax]: "),
        "{finished:?}"
    );
    let revision = "0123456789abcdef0123456789abcdef";
    for bad in [
        &[][..],
        &["--revision", ""],
        &["--revision", "0123"],
        &["--revision", "0123456789ABCDEF0123456789ABCDEF"],
        &["--revision", revision, "--store", directory],
        &["--revision", revision, "--timeout", "60"],
    ] {
        let finished = ask("wait", "127.0.0.1:1", bad);
        assert_eq!(finished.status, Some(2), "{bad:?}: {finished:?}");
        assert_eq!(finished.stdout, "", "{bad:?}");
    }
    let finished = ask("wait", "no address", &["--revision", revision]);
    assert_eq!(finished.status, Some(2), "{finished:?}");
}

#[test]
fn a_revision_is_that_of_the_content_and_the_one_that_a_server_has() {
    let store = store_allowing(GET);
    let print = |arguments: &[&str]| {
        let mut command = iamd(["revision"]);
        command.args(arguments);
        command.env("IAMD_STORE", store.path());
        run(command, "")
    };
    let directory = store.path().to_str().unwrap();
    let first = revision(store.path());
    for arguments in [&[][..], &[directory], &["--store", directory]] {
        let finished = print(arguments);
        let printed = (finished.status, finished.stdout.as_str(), &*finished.stderr);
        assert_eq!(
            printed,
            (Some(0), format!("{first}\n").as_str(), ""),
            "{arguments:?}"
        );
    }
    let as_json = print(&["--output", "json"]);
    assert_eq!(json_of(&as_json), json!({"revision": first}));
    write_store(store.path(), REFUND);
    let second = print(&[]).stdout;
    assert_ne!(second.trim(), first);
    write_store(store.path(), GET);
    assert_eq!(print(&[]).stdout.trim(), first, "only the content counts");

    write(store.path(), "users/ann.json", "{");
    let refused = print(&[]);
    assert_eq!((refused.status, refused.stdout.as_str()), (Some(2), ""));
    let finding = "users/ann.json:1:1: error[syntax]: ";
    assert!(refused.stderr.starts_with(finding), "{refused:?}");
    let both = print(&[directory, "--store", directory]);
    assert_eq!((both.status, both.stdout.as_str()), (Some(2), ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_has_the_revision_that_is_printed_for_its_directory() {
    let store = store_allowing(GET);
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let mut command = iamd(["revision"]);
    command.arg(store.path());
    let printed = run(command, "").stdout;
    assert_eq!(printed.trim(), status_of(&mut client).await.revision);
}

#[test]
fn each_setting_is_shown_with_its_source() {
    let folder = TempDir::new().unwrap();
    write(
        folder.path(),
        "iamd.yaml",
        "drain_timeout: 3s\nlog_level: debug\nlisten: ['127.0.0.1:1', 'unix:/x']\n",
    );
    let file = folder.path().join("iamd.yaml");
    let file = file.to_str().unwrap();
    let show = |options: &[&str]| {
        let mut command = iamd(["config", "--config", file, "--log-level", "warn"]);
        command
            .env("IAMD_DRAIN_TIMEOUT", "2s")
            .env("IAMD_STOR", "x");
        command.args(options);
        run(command, "")
    };
    let finished = show(&["--output", "json"]);
    assert_eq!(finished.status, Some(0), "{finished:?}");
    let warning = "warning: the variable `IAMD_STOR` is not a setting of iamd and is ignored: did you mean `IAMD_STORE`?\n";
    assert_eq!(finished.stderr, warning);
    let from_file = format!("file {file}");
    let row = |key: &str, value: Value, source: &str| json!({"key": key, "value": value, "source": source});
    let expected: Vec<Value> = iamd::config::SETTINGS
        .iter()
        .map(|setting| match setting.key {
            "log_level" => row(setting.key, json!("warn"), "flag"),
            "drain_timeout" => row(setting.key, json!("2s"), "variable IAMD_DRAIN_TIMEOUT"),
            "listen" => row(setting.key, json!(["127.0.0.1:1", "unix:/x"]), &from_file),
            key if setting.is_list() => row(key, json!([setting.default.to_string()]), "default"),
            key => row(key, json!(setting.default.to_string()), "default"),
        })
        .collect();
    assert_eq!(json_of(&finished), Value::Array(expected));

    let text = show(&["--store", "elsewhere"]).stdout;
    let cells = |key: &str| -> Vec<&str> {
        let of_key = |line: &&str| line.split_whitespace().next() == Some(key);
        let line = text.lines().find(of_key).unwrap();
        line.split_whitespace().skip(1).collect()
    };
    assert_eq!(cells("store"), ["elsewhere", "flag"]);
    assert_eq!(
        cells("drain_timeout"),
        ["2s", "variable", "IAMD_DRAIN_TIMEOUT"]
    );
    assert_eq!(cells("listen"), ["127.0.0.1:1,unix:/x", "file", file]);
    assert_eq!(cells("socket_mode"), ["0660", "default"]);
}

/// The filter of the log may come from a variable of another name, which only beats the default.
#[test]
fn the_level_of_the_log_is_shown_as_it_takes_effect() {
    let level = |options: &[&str]| {
        let mut command = iamd(["config", "--output", "json"]);
        command.env("RUST_LOG", "iamd=trace").args(options);
        let rows = json_of(&run(command, ""));
        let rows = rows.as_array().unwrap();
        let row = rows.iter().find(|row| row["key"] == "log_level").unwrap();
        (row["value"].clone(), row["source"].clone())
    };
    assert_eq!(
        level(&[]),
        (json!("iamd=trace"), json!("variable RUST_LOG"))
    );
    assert_eq!(
        level(&["--log-level", "info"]),
        (json!("info"), json!("flag"))
    );
}

#[test]
fn settings_that_serve_refuses_are_refused_alike() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "iamd.yaml", "drain_timeot: 1s\n");
    let file = folder.path().join("iamd.yaml");
    let file = file.to_str().unwrap();
    for options in [
        &["--drain-timeout", "5"][..],
        &["--listen", "0.0.0.0:1"],
        &["--config", file],
        &["--config", "/nowhere/iamd.yaml"],
    ] {
        let said = ["config", "serve"].map(|command| {
            let mut command = iamd([command]);
            let finished = {
                command.args(options);
                run(command, "")
            };
            assert_eq!((finished.status, finished.stdout.as_str()), (Some(2), ""));
            finished.stderr
        });
        assert_eq!(said[0], said[1], "{options:?}");
        assert!(said[0].starts_with("error: "), "{said:?}");
    }
}
