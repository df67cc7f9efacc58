//! The end: at once where nothing is to be waited for, and not a moment before a call in flight has its answer.

use std::time::{Duration, Instant};

use iamd::service::pb;

use super::protocol::Held;
use super::raw::{HEADERS, PREFACE, Raw, SETTINGS, frame};
use super::{AT_ONCE, GET, decision};
use crate::support::{Server, eventually, store_allowing};

/// Nothing here may end by this: what does not end at once is seen to wait.
const DRAIN: [&str; 4] = ["--listen", "127.0.0.1:0", "--drain-timeout", "1h"];

/// Asserts that it ends at once, and says of no call that it was in flight.
fn ends_at_once(server: &mut Server, what: &str) {
    server.signal("TERM");
    let status = server.exit_status_within(AT_ONCE);
    assert_eq!(status.code(), Some(0), "{what}");
    let log = server.whole_log();
    let told = log.iter().find(|line| line.contains("in flight"));
    assert_eq!(told, None, "{what}");
}

#[tokio::test]
async fn a_connection_that_says_nothing_holds_up_no_end() {
    let greeting = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    // A call of which only the frame's own header has come: there is no call yet.
    let cut = frame(HEADERS, 0, 1, &[0; 100])[..9].to_vec();
    for (what, said) in [
        ("nothing", Vec::new()),
        ("a part of the preface", PREFACE[..5].to_vec()),
        ("the preface", PREFACE.to_vec()),
        ("the preface and settings", greeting.clone()),
        (
            "the beginning of a call's headers",
            [greeting, cut].concat(),
        ),
    ] {
        let store = store_allowing(GET);
        let mut server = Server::start_with(store.path(), &DRAIN);
        let mut client = server.client().await;
        let mut silent = Raw::connect(&server.address()).await.unwrap();
        silent.send(&said).await.unwrap();
        // Whoever connects later is accepted later: the silent one is among the server's connections.
        let mut later = Raw::greeted(&server.address()).await.unwrap();
        assert!(later.accepted().await);
        drop(later);
        assert!(decision(&mut client, GET).await.is_some());
        drop(client);
        ends_at_once(&mut server, what);
    }
}

/// It has asked and has its answer, and reads nothing any more: it does not hear that the server goes.
#[tokio::test]
async fn a_connection_that_has_gone_deaf_holds_up_no_end() {
    let store = store_allowing(GET);
    let mut server = Server::start_with(store.path(), &DRAIN);
    server.client().await;
    let mut deaf = Raw::greeted(&server.address()).await.unwrap();
    let answer = deaf.ask("localhost", GET).await;
    assert_eq!(answer, super::raw::Outcome::Decided(pb::Decision::Allow));
    ends_at_once(&mut server, "deaf after its answer");
}

/// A group kill: the shell, the supervisor and the terminal each send a signal.
#[tokio::test]
async fn a_second_signal_right_after_the_first_cuts_no_call() {
    for second in ["TERM", "INT"] {
        let store = store_allowing(GET);
        let mut server = Server::start_with(store.path(), &DRAIN);
        server.client().await;
        let held = Held::begin(&server.address()).await;
        server.signal("TERM");
        // Seen one by one, so that the system does not make one of them.
        server.wait_for_log("the drain", |line| line.contains("draining").then_some(()));
        server.signal(second);
        let ended = eventually("the end", async || (!server.is_running()).then_some(()));
        let is_cut = tokio::time::timeout(Duration::from_millis(300), ended).await;
        assert!(is_cut.is_err(), "{second}: {:?}", server.log());
        assert_eq!(held.finish().await, Some(pb::Decision::Allow), "{second}");
        assert_eq!(server.exit_status().code(), Some(0), "{second}");
        let log = server.whole_log();
        assert!(log.iter().any(|line| line.contains("drained")), "{log:#?}");
    }
}

#[tokio::test]
async fn a_second_signal_later_than_a_second_after_the_first_ends_it_at_once() {
    let store = store_allowing(GET);
    let mut server = Server::start_with(store.path(), &DRAIN);
    server.client().await;
    let _held = Held::begin(&server.address()).await;
    server.signal("TERM");
    server.wait_for_log("the drain", |line| line.contains("draining").then_some(()));
    // Somebody who presses keys until it ends: the signals of the first second count for nothing.
    let first = Instant::now();
    eventually("the end", async || {
        server.signal("INT");
        (!server.is_running()).then_some(())
    })
    .await;
    let took = first.elapsed();
    assert!(took > Duration::from_millis(800), "too soon: {took:?}");
    assert!(took < Duration::from_secs(1) + AT_ONCE, "{took:?}");
    assert_eq!(server.exit_status().code(), Some(0));
}

/// The drain has an end of its own, with a word about what it cuts.
#[tokio::test]
async fn a_call_that_outlasts_the_drain_is_told() {
    let store = store_allowing(GET);
    let options = ["--listen", "127.0.0.1:0", "--drain-timeout", "200ms"];
    let mut server = Server::start_with(store.path(), &options);
    server.client().await;
    let _held = Held::begin(&server.address()).await;
    server.signal("TERM");
    assert_eq!(server.exit_status().code(), Some(0));
    let log = server.whole_log();
    assert!(
        log.iter().any(|line| line.contains("in flight")),
        "{log:#?}"
    );
}
