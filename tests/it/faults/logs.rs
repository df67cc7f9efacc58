//! Logging is secondary: no matter what happens to the lines, the process lives, answers, reloads and ends.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, PipeReader, PipeWriter, Write as _, pipe};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::fs::{OFlags, fcntl_setfl};
use serde_json::Value;
use tempfile::TempDir;
use tonic_health::pb::health_check_response::ServingStatus;

use super::raw::{PREFACE, Raw, SETTINGS, frame, rapid_resets};
use super::{GET, REFUND, grant_instead, served};
use crate::support::{
    Client, PATIENCE, Server, channel_to, eventually, health, iamd, iamd_after, log_field,
    store_allowing, write,
};

/// A server whose log does not go to the test, so it cannot report its address. It listens on a Unix socket.
struct Unheard {
    folder: TempDir,
    server: Server,
    client: Client,
}

impl Unheard {
    /// Starts the server with the arguments that `command` adds, and waits until it serves.
    async fn start(stderr: impl Into<Stdio>, command: impl FnOnce(&[String]) -> Command) -> Self {
        let folder = store_allowing(GET);
        let root = folder.path().to_str().unwrap();
        let listen = format!("unix:{root}/.iamd.sock");
        let arguments = ["serve", "--store", root, "--listen", &listen].map(str::to_owned);
        let mut server = Server::spawn({
            let mut command = command(&arguments);
            command.stderr(stderr);
            command
        });
        let channel = channel_to(&listen);
        eventually("readiness", async || {
            assert!(server.is_running(), "{:?}", server.exit_status());
            (health(&channel, "").await == Ok(ServingStatus::Serving)).then_some(())
        })
        .await;
        Self {
            folder,
            server,
            client: Client::new(channel),
        }
    }

    /// Revokes a permission repeatedly. Each reload logs new lines, among them a warning for each of `n_warnings`
    /// files.
    async fn revokes(&mut self, n_times: usize, n_warnings: usize) {
        for time in 0..n_times {
            for n in 0..n_warnings {
                let path = format!("managed-policies/odd-{time}-{n}.json");
                let odd = r#"{"Statement": {"Sid": "a b", "Effect": "Allow", "Action": "a:b", "Resource": "*"}}"#;
                write(self.folder.path(), &path, odd);
            }
            let action = if time % 2 == 0 { REFUND } else { GET };
            let root = self.folder.path();
            grant_instead(root, &mut self.server, &mut self.client, action).await;
        }
    }

    /// Asserts that the server ends cleanly.
    fn ends(&mut self) {
        self.server.signal("TERM");
        assert_eq!(self.server.exit_status().code(), Some(0));
    }
}

/// Returns a full pipe: the next write blocks until a reader reads.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    for bytes in [&[b'\n'; 4096][..], b"\n"] {
        let refused = loop {
            if let Err(error) = writer.write_all(bytes) {
                break error;
            }
        };
        assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    }
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (reader, writer)
}

/// Reads lines on a thread of its own as they arrive.
fn lines_of(reader: PipeReader) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(reader).lines() {
            if sender.send(line.unwrap()).is_err() {
                break;
            }
        }
    });
    lines
}

#[tokio::test]
async fn a_log_on_a_full_disk_ends_nothing() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut unheard = Unheard::start(full, |arguments| iamd(arguments)).await;
    unheard.revokes(4, 10).await;
    unheard.ends();
}

#[tokio::test]
async fn a_log_whose_reader_went_away_ends_nothing() {
    for is_gone_from_the_start in [true, false] {
        let (reader, writer) = pipe().unwrap();
        let reader = (!is_gone_from_the_start).then_some(reader);
        let mut unheard = Unheard::start(writer, |arguments| iamd(arguments)).await;
        drop(reader);
        unheard.revokes(4, 10).await;
        unheard.ends();
    }
}

/// For a write beyond the limit, the system sends a signal that ends the process by default.
#[tokio::test]
async fn a_log_file_at_its_size_limit_ends_nothing() {
    let folder = TempDir::new().unwrap();
    let log = File::create(folder.path().join("log")).unwrap();
    let mut unheard = Unheard::start(log, |arguments| iamd_after("ulimit -f 1", arguments)).await;
    unheard.revokes(4, 10).await;
    unheard.ends();
}

#[tokio::test]
async fn a_log_that_nobody_ever_reads_holds_up_nothing() {
    let (_reader, writer) = full_pipe();
    let mut unheard = Unheard::start(writer, |arguments| iamd(arguments)).await;
    unheard.revokes(10, 10).await;
    unheard.ends();
}

#[tokio::test]
async fn a_log_that_nobody_reads_any_more_holds_up_nothing_however_much_there_is_to_tell() {
    let (_reader, writer) = pipe().unwrap();
    let mut unheard = Unheard::start(writer, |arguments| {
        let mut command = iamd(arguments);
        command.args(["--log-level", "debug"]);
        command
    })
    .await;
    unheard.revokes(10, 300).await;
    unheard.ends();
}

#[tokio::test]
async fn what_a_stuck_log_lost_is_counted_once_somebody_reads_again() {
    let (reader, writer) = full_pipe();
    let mut unheard = Unheard::start(writer, |arguments| iamd(arguments)).await;
    // 6,000 warnings are more than a bounded queue holds.
    unheard.revokes(10, 600).await;
    let lines = lines_of(reader);
    // The count of dropped lines appears only with the next line, so there must be one.
    unheard.revokes(1, 1).await;
    let mut n_dropped = 0;
    while n_dropped == 0 {
        let line = lines.recv_timeout(PATIENCE).expect("a line that counts");
        if !line.is_empty() {
            let line: Value = serde_json::from_str(&line).expect("whole lines only");
            n_dropped = line
                .get("dropped")
                .map_or(0, |n| n.as_u64().expect("a number"));
        }
    }
    unheard.ends();
    for line in lines.iter().filter(|line| !line.is_empty()) {
        serde_json::from_str::<Value>(&line).expect("whole lines only");
    }
}

#[tokio::test]
async fn a_connection_that_is_closed_for_its_resets_writes_no_line_of_its_own() {
    const N_CONNECTIONS: usize = 200;
    let (_store, mut server, mut client) = served(&[]).await;
    let n_before = server.log().len();
    let attack = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &rapid_resets()].concat();
    for _ in 0..N_CONNECTIONS {
        let mut raw = Raw::connect(&server.address()).await.unwrap();
        // The server may refuse the rest before all is sent, which is fine.
        _ = raw.send(&attack).await;
        raw.closed().await;
    }
    assert!(super::decision(&mut client, GET).await.is_some());
    drop(client);
    server.signal("TERM");
    let log = server.whole_log();
    let n_lines = log.len() - n_before;
    assert!(
        n_lines <= 10,
        "{n_lines} lines for {N_CONNECTIONS} connections, such as {:?}",
        log.get(n_before)
    );
}

#[tokio::test]
async fn a_repeated_line_is_told_once_with_its_count() {
    const N_TIMES: u64 = 20;
    let store = store_allowing(GET);
    let options = ["--listen", "127.0.0.1:0", "--max-connections", "1"];
    let mut server = Server::start_with(store.path(), &options);
    let address = server.address();
    // Each time the one slot is free, then taken, and then another client wants it. Running out of slots is news each
    // time.
    for _ in 0..N_TIMES {
        let held = eventually("the one place", async || {
            let mut raw = Raw::greeted(&address).await.unwrap();
            raw.accepted().await.then_some(raw)
        })
        .await;
        let mut refused = Raw::connect(&address).await.unwrap();
        refused.closed().await;
        drop(held);
    }
    server.signal("TERM");
    let log = server.whole_log();
    let told: Vec<_> = log
        .iter()
        .filter(|line| log_field(line, "message").is_some_and(|text| text.contains("connections")))
        .collect();
    let repeated = told.iter().filter_map(|line| log_field(line, "repeated"));
    let n_repeated: u64 = repeated.map(|n| n.parse::<u64>().unwrap()).sum();
    assert!(
        (1..=3).contains(&told.len()) && (N_TIMES - 3..=N_TIMES).contains(&n_repeated),
        "{n_repeated} repeated: {told:#?}"
    );
}

/// Numbers are JSON numbers, so that log collectors need not parse texts.
#[tokio::test]
async fn a_finding_is_told_by_its_fields() {
    let (store, server, _client) = served(&[]).await;
    write(store.path(), "users/bob.json", "{\n  \"Nmae\": 1\n}");
    let finding = server.wait_for_log("the finding", |line| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line.get("file")? == "users/bob.json").then_some(line)
    });
    assert_eq!(finding.get("code"), Some(&"unknown-member".into()));
    assert_eq!(finding.get("line"), Some(&2.into()));
    assert_eq!(finding.get("column"), Some(&3.into()));
    assert_eq!(finding.get("level"), Some(&"ERROR".into()));
    let text = finding.get("finding").and_then(Value::as_str).unwrap();
    assert!(text.contains("`Nmae`"), "{text}");
    let start = server.log();
    let loaded = start
        .iter()
        .find(|line| line.contains("the store is loaded"))
        .unwrap();
    let loaded: Value = serde_json::from_str(loaded).unwrap();
    assert_eq!(loaded.get("n_files"), Some(&2.into()), "{loaded}");
}
