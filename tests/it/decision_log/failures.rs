//! What happens when records cannot be written: questions are answered or not as the mode says, loss is told, and once
//! records can be written again the log goes on by itself.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use iamd::service::pb;
use serde_json::Value;
use tempfile::TempDir;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{GET, Logged, lines_of, of_type, sequences};
use crate::support::{
    Client, Server, ann_asks, channel_to, eventually, iamd, iamd_after, log_field, store_allowing,
};

/// The bytes of the queue in these tests: few records fit in.
const SMALL_QUEUE: [&str; 2] = ["--decision-log-queue-bytes", "8KiB"];

/// Asserts that the status is that of a decision without a record.
fn assert_unrecorded(status: &tonic::Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "NOT_READY");
    assert!(details.retry_info().is_some());
}

/// Asserts that the records and the marks of lost ones account for the numbers from 1 to `n`, in order. Returns how many
/// are lost.
pub(super) fn assert_complete(lines: &[Value], n: u64) -> u64 {
    let (mut next, mut n_lost) = (1, 0);
    for line in lines {
        match line["type"].as_str().unwrap() {
            "decision" => {
                assert_eq!(line["sequence"], next, "{line}");
                next += 1;
            }
            "lost" => {
                assert_eq!(line["firstSequence"], next, "{line}");
                next = line["lastSequence"].as_u64().unwrap() + 1;
                n_lost += line["count"].as_u64().unwrap();
            }
            _ => {}
        }
    }
    assert_eq!(next, n + 1);
    n_lost
}

/// Asks until an answer is given.
async fn answered(client: &mut Client) -> pb::AuthorizeResponse {
    eventually("an answer", async || {
        let answer = client.authorize(ann_asks(GET)).await;
        answer.ok().map(tonic::Response::into_inner)
    })
    .await
}

/// A server whose log goes to a link to `/dev/full`.
async fn on_a_full_disk(mode: &str, options: &[&str]) -> Logged {
    let (store, folder) = (store_allowing(GET), TempDir::new().unwrap());
    let path = folder.path().join("decisions.jsonl");
    symlink("/dev/full", &path).unwrap();
    let own = [
        "--listen",
        "127.0.0.1:0",
        "--decision-log",
        mode,
        "--decision-log-file",
        path.to_str().unwrap(),
    ];
    let server = Server::start_with(store.path(), &[&own[..], options].concat());
    let client = server.client().await;
    Logged {
        store,
        folder,
        server,
        client,
    }
}

#[tokio::test]
async fn on_a_full_disk_required_answers_nothing_until_there_is_space() {
    let mut logged = on_a_full_disk("required", &[]).await;
    for _ in 0..5 {
        assert_unrecorded(&logged.ask(GET).await.unwrap_err());
    }
    let is_told = |line: &str| line.contains("cannot be written");
    let server = &logged.server;
    server.wait_for_log("the failure", |line| is_told(line).then_some(()));
    let log = server.log();
    let told = log.iter().filter(|line| is_told(line));
    assert_eq!(told.count(), 1, "it is told once: {log:?}");
    fs::remove_file(logged.path()).unwrap();
    let answer = answered(&mut logged.client).await;
    let lines = logged.ended();
    assert_eq!(answer.decision_id, lines[1]["decisionId"]);
    assert_eq!(lines[0]["type"], "start");
    assert_eq!(
        assert_complete(&lines, 1),
        0,
        "refused questions have no number"
    );
}

#[tokio::test]
async fn on_a_full_disk_best_effort_answers_and_tells_what_is_lost() {
    let mut logged = on_a_full_disk("best_effort", &SMALL_QUEUE).await;
    for _ in 0..100 {
        logged.ask(GET).await.unwrap();
    }
    fs::remove_file(logged.path()).unwrap();
    let path = logged.path();
    eventually("the kept records", async || {
        (sequences(&lines_of(&path)).len() > 1).then_some(())
    })
    .await;
    logged.ask(GET).await.unwrap();
    let lines = logged.ended();
    let n_lost = assert_complete(&lines, 101);
    assert!((50..100).contains(&n_lost), "{n_lost}");
    assert_eq!(lines.last().unwrap()["lastSequence"], 101);
}

#[tokio::test]
async fn records_that_cannot_be_written_at_the_end_are_told_and_do_not_hold_it_up() {
    let mut logged = on_a_full_disk("best_effort", &[]).await;
    for _ in 0..3 {
        logged.ask(GET).await.unwrap();
    }
    logged.server.signal("TERM");
    // The server waits a second for a disk, and this test several for a busy machine.
    let ended = logged.server.exit_status_within(Duration::from_secs(4));
    assert_eq!(ended.code(), Some(0));
    let log = logged.server.whole_log();
    let n_lost = log.iter().find_map(|line| log_field(line, "n_lost"));
    assert_eq!(n_lost.as_deref(), Some("3"), "{log:?}");
}

#[tokio::test]
async fn what_a_full_disk_took_of_a_line_is_cut_off() {
    // What waits must fit into the next file, which has the same limit.
    let small_queue = ["--decision-log-queue-bytes", "2KiB"];
    for (mode, queue) in [("required", None), ("best_effort", Some(small_queue))] {
        let (store, folder) = (store_allowing(GET), TempDir::new().unwrap());
        let path = folder.path().join("decisions.jsonl");
        let root = store.path().to_str().unwrap();
        let own = [
            "serve",
            "--store",
            root,
            "--listen",
            "127.0.0.1:0",
            "--decision-log",
            mode,
            "--decision-log-file",
            path.to_str().unwrap(),
        ];
        let arguments = [&own[..], queue.as_ref().map_or(&[], |queue| &queue[..])].concat();
        // No file may have more than a few thousand bytes.
        let server = Server::spawn(iamd_after("ulimit -f 16", arguments));
        let client = server.client().await;
        let mut logged = Logged {
            store,
            folder,
            server,
            client,
        };
        let mut n_answers = 0;
        for _ in 0..150 {
            match logged.ask(GET).await {
                Ok(_) => n_answers += 1,
                Err(status) => assert_unrecorded(&status),
            }
        }
        assert_eq!(n_answers < 150, mode == "required", "{n_answers}");
        let aside = logged.folder.path().join("aside");
        let whole = eventually("only whole lines", async || {
            let text = fs::read_to_string(&path).unwrap();
            text.ends_with('\n').then(|| lines_of(&path))
        })
        .await;
        assert!(!whole.is_empty(), "{mode}");
        fs::rename(&path, &aside).unwrap();
        eventually("a new file", async || path.exists().then_some(())).await;
        answered(&mut logged.client).await;
        let mut lines = logged.ended();
        lines.splice(0..0, lines_of(&aside));
        let n_lost = assert_complete(&lines, n_answers + 1);
        assert_eq!(n_lost > 0, mode == "best_effort", "{mode}: {n_lost}");
    }
}

/// Something that is done to the place of a log.
type Change = fn(&Path);

/// Ways to take a log's place away and to give it back.
const WAYS: [(&str, Change, Change); 3] = [
    (
        "the folder is removed",
        |path| fs::remove_dir_all(path.parent().unwrap()).unwrap(),
        |path| fs::create_dir(path.parent().unwrap()).unwrap(),
    ),
    (
        "another folder takes its name",
        |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        },
        |path| fs::remove_dir(path).unwrap(),
    ),
    (
        "the permission is taken",
        |path| {
            fs::remove_file(path).unwrap();
            let folder = path.parent().unwrap();
            fs::set_permissions(folder, PermissionsExt::from_mode(0o500)).unwrap();
        },
        |path| {
            let folder = path.parent().unwrap();
            fs::set_permissions(folder, PermissionsExt::from_mode(0o700)).unwrap();
        },
    ),
];

#[tokio::test]
async fn a_log_whose_place_is_taken_away_goes_on_when_it_is_back() {
    let is_root = rustix::process::geteuid().is_root();
    for (what, take, give_back) in WAYS {
        if is_root && what.contains("permission") {
            continue; // nothing is forbidden to this user
        }
        for mode in ["required", "best_effort"] {
            let (store, folder) = (store_allowing(GET), TempDir::new().unwrap());
            let own = folder.path().join("log");
            fs::create_dir(&own).unwrap();
            let path = own.join("decisions.jsonl");
            let mut server = Server::start_with(
                store.path(),
                &[
                    "--listen",
                    "127.0.0.1:0",
                    "--decision-log",
                    mode,
                    "--decision-log-file",
                    path.to_str().unwrap(),
                ],
            );
            let mut client = server.client().await;
            client.authorize(ann_asks(GET)).await.unwrap();
            eventually("the first record", async || {
                (sequences(&lines_of(&path)) == [1]).then_some(())
            })
            .await;
            take(&path);
            for _ in 0..3 {
                match client.authorize(ann_asks(GET)).await {
                    Ok(_) => assert_eq!(mode, "best_effort", "{what}"),
                    Err(status) => {
                        assert_eq!(mode, "required", "{what}");
                        assert_unrecorded(&status);
                    }
                }
            }
            give_back(&path);
            answered(&mut client).await;
            server.signal("TERM");
            assert_eq!(server.exit_status().code(), Some(0));
            let expected: &[u64] = match mode {
                "required" => &[2],
                _ => &[2, 3, 4, 5],
            };
            assert_eq!(sequences(&lines_of(&path)), expected, "{mode}: {what}");
        }
    }
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_keeps_no_thread() {
    let store = store_allowing(GET);
    let listen = format!("unix:{}/.iamd.sock", store.path().display());
    let root = store.path().to_str().unwrap();
    let mut child = iamd([
        "serve",
        "--store",
        root,
        "--listen",
        &listen,
        "--worker-threads",
        "1",
        "--decision-log",
        "required",
    ])
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    let mut client = Client::new(channel_to(&listen));
    let mut ids = vec![answered(&mut client).await.decision_id];
    // A pipe holds 64 KiB.
    let status = loop {
        match client.authorize(ann_asks(GET)).await {
            Ok(answer) => ids.push(answer.into_inner().decision_id),
            Err(status) => break status,
        }
        assert!(ids.len() < 1_000);
    };
    assert_unrecorded(&status);
    // The one thread still refuses questions at once.
    for _ in 0..50 {
        assert_unrecorded(&client.authorize(ann_asks(GET)).await.unwrap_err());
    }
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        text
    });
    ids.push(answered(&mut client).await.decision_id);
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert!(child.wait().unwrap().success());
    let text = reader.join().unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let recorded: Vec<_> = of_type(lines, "decision")
        .into_iter()
        .map(|line| line["decisionId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(recorded, ids);
}

#[tokio::test]
async fn a_line_without_an_end_spoils_no_other() {
    let mut logged = Logged::start("required", &[]).await;
    logged.ask(GET).await.unwrap();
    let path = logged.path();
    logged.ended();
    // As if the machine had lost its power.
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() - 20]).unwrap();
    let server = Server::start_with(
        logged.store.path(),
        &[
            "--listen",
            "127.0.0.1:0",
            "--decision-log",
            "required",
            "--decision-log-file",
            path.to_str().unwrap(),
        ],
    );
    let mut client = server.client().await;
    client.authorize(ann_asks(GET)).await.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let (good, bad): (Vec<_>, Vec<_>) = text
        .lines()
        .partition(|line| serde_json::from_str::<Value>(line).is_ok());
    assert_eq!(bad.len(), 1, "{text}");
    let types: Vec<_> = good
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone())
        .collect();
    assert_eq!(types, ["start", "decision", "start", "decision"]);
}

#[tokio::test]
async fn revisions_that_cannot_be_kept_hold_up_no_reload() {
    let folder = TempDir::new().unwrap();
    let kept = folder.path().join("kept");
    let options = ["--keep-revisions", kept.to_str().unwrap()];
    let mut logged = Logged::start("required", &options).await;
    let first = crate::support::revision(logged.store.path());
    eventually("the first revision", async || {
        iamd::store::load_kept(&kept, &first).ok()
    })
    .await
    .unwrap();
    fs::remove_dir_all(&kept).unwrap();
    fs::write(&kept, "in the way").unwrap();
    crate::support::write_store(logged.store.path(), super::REFUND);
    let revision = crate::support::revision(logged.store.path());
    crate::support::until_revision(&mut logged.client, &revision).await;
    let told = |line: &str| {
        let is_it = line.contains("the revision cannot be kept");
        is_it.then(|| log_field(line, "level"))
    };
    let level = logged.server.wait_for_log("the complaint", told);
    assert_eq!(level.as_deref(), Some("ERROR"));
    fs::remove_file(&kept).unwrap();
    eventually("the kept revision", async || {
        iamd::store::load_kept(&kept, &revision).ok()
    })
    .await
    .unwrap();
}
