//! SIGKILL at random moments: the record of every answer that a client received is in the log.
//!
//! `IAMD_TEST_KILLS` sets how often, 10 by default.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;

use super::{GET, REFUND};
use crate::support::{
    Client, Server, ann_asks, iamd, number_from_environment, run, store_allowing,
};

/// Asks until the connection ends. Returns the ids of the answers that came.
async fn ask_until_the_end(mut client: Client) -> Vec<String> {
    let mut ids = Vec::new();
    for round in 0_usize.. {
        let action = if round.is_multiple_of(2) { GET } else { REFUND };
        match client.authorize(ann_asks(action)).await {
            Ok(answer) => ids.push(answer.into_inner().decision_id),
            Err(_) => break,
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_every_answer_survives_a_kill() {
    let n_kills = number_from_environment("IAMD_TEST_KILLS", 10);
    let (store, folder) = (store_allowing(GET), TempDir::new().unwrap());
    let path = folder.path().join("decisions.jsonl");
    let log = path.to_str().unwrap();
    let seed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .subsec_nanos();
    let mut answered = HashSet::new();
    for kill in 0..n_kills {
        let server = Server::start_with(
            store.path(),
            &[
                "--listen",
                "127.0.0.1:0",
                "--decision-log",
                "required",
                "--decision-log-file",
                log,
                // Files change while the process is killed, too.
                "--decision-log-max-bytes",
                "64KiB",
                "--decision-log-keep",
                "100000",
            ],
        );
        let client = server.client().await;
        let asking: Vec<_> = (0..4)
            .map(|_| tokio::spawn(ask_until_the_end(client.clone())))
            .collect();
        // No two runs end at the same moment. There is nothing to wait for.
        let millis = u64::from(seed).wrapping_mul(kill * 2 + 1) % 100 + 1;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        server.signal("KILL");
        for asked in asking {
            answered.extend(asked.await.unwrap());
        }
    }
    assert!(
        answered.len() as u64 > n_kills,
        "{} answers",
        answered.len()
    );
    let (mut recorded, mut n_torn) = (HashSet::new(), 0);
    for file in fs::read_dir(folder.path()).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for line in text.lines().filter(|line| !line.is_empty()) {
            match serde_json::from_str::<Value>(line) {
                Ok(line) if line["type"] == "decision" => {
                    recorded.insert(line["decisionId"].as_str().unwrap().to_owned());
                }
                Ok(_) => {}
                Err(_) => n_torn += 1,
            }
        }
    }
    let lost: Vec<_> = answered.difference(&recorded).collect();
    assert_eq!(lost, [] as [&String; 0], "seed {seed}");

    // No number is missing, and a number that is taken away is.
    let missing = |expected: u64| {
        let mut replay = iamd(["replay", log, "--output", "json", "--store"]);
        replay.arg(store.path());
        let replayed = run(replay, "");
        let shown: Value = serde_json::from_str(&replayed.stdout).unwrap();
        let summary = &shown["summary"];
        assert_eq!(summary["missing"], expected, "seed {seed}: {summary}");
        assert_eq!(summary["unreadable"], n_torn, "seed {seed}: {summary}");
        assert_eq!(shown["flips"], Value::Array(Vec::new()), "seed {seed}");
    };
    missing(0);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let is_between = |index: usize| {
        let around = [index.wrapping_sub(1), index, index + 1];
        around.iter().all(|index| {
            let line = lines.get(*index);
            line.is_some_and(|line| line.contains(r#""type":"decision""#))
        })
    };
    if let Some(taken) = (0..lines.len()).find(|index| is_between(*index)) {
        let rest: Vec<&str> = [&lines[..taken], &lines[taken + 1..]].concat();
        fs::write(&path, rest.join("\n") + "\n").unwrap();
        missing(1);
    }
}
