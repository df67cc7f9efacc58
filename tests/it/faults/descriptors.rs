//! Checks that connections leave the store enough descriptors, however many there are.

use std::fs;

use super::raw::Raw;
use super::{GET, REFUND, grant_instead, is_complaint};
use crate::support::{Server, eventually, iamd_after, log_field, store_allowing};

/// Starts a server whose descriptor limits `script` sets.
fn limited(script: &str, root: &std::path::Path) -> Server {
    let mut command = iamd_after(script, ["serve", "--listen", "127.0.0.1:0", "--store"]);
    command.arg(root);
    Server::spawn(command)
}

/// Returns the soft and the hard limit of the server's descriptors.
pub fn limits(server: &Server) -> (u64, u64) {
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .unwrap();
    let mut numbers = line.split_whitespace().map(|n| n.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

fn n_descriptors(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.id()))
        .unwrap()
        .count()
}

/// Returns whether `line` warns that the server takes fewer connections than the setting says.
fn tells_the_cap(line: &str) -> bool {
    is_complaint(line) && line.contains("max_connections")
}

#[tokio::test]
async fn held_connections_keep_no_revocation_from_taking_force() {
    let store = store_allowing(GET);
    let mut server = limited("ulimit -n 256", store.path());
    let mut client = server.client().await;
    let mut held = Vec::new();
    for _ in 0..300 {
        // A connection that is closed at once is not an error: its client learns at once that the server is full.
        if let Ok(raw) = Raw::greeted(&server.address()).await {
            held.push(raw);
        }
    }
    eventually("many connections", async || {
        (n_descriptors(&server) > 128).then_some(())
    })
    .await;
    let n_before = server.log().len();
    // There is more than one change, because the first may come before the last connection.
    for action in [REFUND, GET, REFUND, GET, REFUND] {
        grant_instead(store.path(), &mut server, &mut client, action).await;
    }
    assert!(n_descriptors(&server) < 256, "none is left");
    // A new client learns at once that the server is full.
    Raw::connect(&server.address())
        .await
        .unwrap()
        .closed()
        .await;
    let log = server.log();
    let complaints: Vec<_> = log[n_before..]
        .iter()
        .filter(|line| is_complaint(line))
        .collect();
    assert!(complaints.len() <= 3, "{complaints:#?}");

    server.wait_for_log("a word about fewer connections", |line| {
        tells_the_cap(line).then_some(())
    });
    drop(held);
    eventually("a place for a newcomer", async || {
        let mut raw = Raw::greeted(&server.address()).await.ok()?;
        raw.accepted().await.then_some(())
    })
    .await;
    drop(client);
    server.signal("TERM");
    assert_eq!(server.exit_status().code(), Some(0));
}

/// Each thread has descriptors of its own, and so have the connections for health checks and for HTTP.
#[tokio::test]
async fn the_more_threads_and_listeners_the_fewer_connections() {
    let store = store_allowing(GET);
    let script = "ulimit -n 256; export IAMD_WORKER_THREADS=16 IAMD_HEALTH_LISTEN=127.0.0.1:0 IAMD_HTTP_LISTEN=127.0.0.1:0";
    let mut server = limited(script, store.path());
    let mut client = server.client().await;
    let mut greeted = Vec::new();
    for _ in 0..256 {
        greeted.extend(Raw::greeted(&server.address()).await.ok());
    }
    let mut held = Vec::new();
    for what in ["listening for HTTP", "listening for health checks"] {
        let address = server.wait_for_log(what, |line| {
            line.contains(what)
                .then(|| log_field(line, "address").unwrap())
        });
        for _ in 0..100 {
            held.extend(tokio::net::TcpStream::connect(&address).await.ok());
        }
    }
    for action in [REFUND, GET, REFUND] {
        grant_instead(store.path(), &mut server, &mut client, action).await;
    }
    let complaints = server.log().into_iter().filter(|line| is_complaint(line));
    let complaints: Vec<_> = complaints
        .filter(|line| {
            !line.contains("full") && !line.contains("oldest-closed") && !tells_the_cap(line)
        })
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[tokio::test]
async fn the_soft_limit_of_descriptors_is_raised_to_the_hard_one() {
    let store = store_allowing(GET);
    let server = limited("ulimit -S -n 256 && ulimit -H -n 4096", store.path());
    server.client().await;
    assert_eq!(limits(&server), (4096, 4096));
    let log = server.log();
    assert!(
        !log.iter().any(|line| tells_the_cap(line)),
        "enough for the connections of the default: {log:#?}"
    );
}
