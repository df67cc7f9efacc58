//! Tests the shutdown: it is immediate if there is nothing to wait for, and never comes before a call in flight has its
//! answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use iamd::service::pb;

use super::protocol::Held;
use super::raw::{
    END_STREAM, Frame, GOAWAY, HEADERS, Outcome, PING, PREFACE, RST_STREAM, Raw, SETTINGS,
    WINDOW_UPDATE, call, frame,
};
use super::{AT_ONCE, GET, decision};
use crate::support::{Server, eventually, store_allowing};

/// A limit that nothing here should reach. A server that does not end at once is seen to wait.
const DRAIN: [&str; 4] = ["--listen", "127.0.0.1:0", "--drain-timeout", "1h"];

/// Asserts that the server ends at once and does not report any call in flight.
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
    // Only the frame header of the call has arrived, so there is no call yet.
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
        // Connections are accepted in order, so the silent one is among the server's connections by now.
        let mut later = Raw::greeted(&server.address()).await.unwrap();
        assert!(later.accepted().await);
        drop(later);
        assert!(decision(&mut client, GET).await.is_some());
        drop(client);
        ends_at_once(&mut server, what);
    }
}

/// The client has its answer and no longer reads, so it does not notice that the server shuts down.
#[tokio::test]
async fn a_connection_that_has_gone_deaf_holds_up_no_end() {
    let store = store_allowing(GET);
    let mut server = Server::start_with(store.path(), &DRAIN);
    server.client().await;
    let mut deaf = Raw::greeted(&server.address()).await.unwrap();
    let answer = deaf.ask("localhost", GET).await;
    assert_eq!(answer, Outcome::Decided(pb::Decision::Allow));
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
        // The test waits for each signal, so that the system does not merge them.
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
    // A user presses keys until the server ends. Signals within the first second do not count.
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

/// The second signal counts from the first one, also while calls are still taken.
#[tokio::test]
async fn a_second_signal_before_the_drain_ends_it_at_once() {
    let store = store_allowing(GET);
    let mut options = DRAIN.to_vec();
    options.extend(["--pre-stop-delay", "1h"]);
    let mut server = Server::start_with(store.path(), &options);
    server.client().await;
    server.signal("TERM");
    server.wait_for_log("the delay", |line| {
        line.contains("still taken").then_some(())
    });
    let first = Instant::now();
    eventually("the end", async || {
        server.signal("TERM");
        (!server.is_running()).then_some(())
    })
    .await;
    let took = first.elapsed();
    assert!(took > Duration::from_millis(800), "too soon: {took:?}");
    assert!(took < Duration::from_secs(1) + AT_ONCE, "{took:?}");
    assert_eq!(server.exit_status().code(), Some(0));
}

/// The drain has a time limit of its own, and the server logs what it cuts.
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

/// The client may ask again elsewhere, because nothing has been done.
const REFUSED_STREAM: u32 = 7;

/// Keeps `depth` calls in flight on one connection until the client sees that the server takes no more calls, `delay`
/// after the server has said so. Returns the calls that the server took and did not answer.
pub async fn lost_calls(
    address: String,
    depth: usize,
    delay: Duration,
    n_answers: Arc<AtomicUsize>,
) -> BTreeSet<u32> {
    let mut raw = Raw::greeted(&address).await.unwrap();
    let window = frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes());
    raw.send(&window).await.unwrap();
    let (mut open, mut next, mut last) = (BTreeSet::new(), 1, None);
    // What the server has said about its shutdown, and when that arrived.
    let (mut on_the_way, mut arrives) = (Vec::<Frame>::new(), None);
    loop {
        while last.is_none() && open.len() < depth {
            open.insert(next);
            if raw.send(&call(next, "localhost", GET)).await.is_err() {
                break; // what the server has said before is still to be read
            }
            next += 2;
        }
        if arrives.is_some_and(|arrives| Instant::now() >= arrives) {
            for frame in on_the_way.drain(..) {
                _ = raw.acknowledge(&frame).await;
                if frame.kind == GOAWAY {
                    last = Some(frame.number(0));
                }
            }
        }
        if last.is_some_and(|last| open.iter().all(|stream| *stream > last)) {
            return BTreeSet::new();
        }
        let Some(frame) = raw.frame().await else {
            let mut said = on_the_way.iter().rev();
            let goaway = said.find(|frame| frame.kind == GOAWAY);
            let last = goaway.map(|frame| frame.number(0)).or(last);
            let is_taken = |stream: &u32| last.is_none_or(|last| *stream <= last);
            return open.into_iter().filter(is_taken).collect();
        };
        match frame.kind {
            GOAWAY | PING => {
                arrives.get_or_insert(Instant::now() + delay);
                on_the_way.push(frame);
            }
            SETTINGS => _ = raw.acknowledge(&frame).await,
            RST_STREAM if frame.number(0) == REFUSED_STREAM => _ = open.remove(&frame.stream),
            RST_STREAM => panic!("a call was cut: {frame:?}"),
            HEADERS if frame.flags & END_STREAM != 0 => {
                open.remove(&frame.stream);
                n_answers.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

/// The server must not close as idle a connection that has just sent a question.
async fn no_call_is_lost(delay: Duration) {
    let store = store_allowing(GET);
    let mut server = Server::start_with(store.path(), &DRAIN);
    server.client().await;
    let n_answers = Arc::new(AtomicUsize::new(0));
    let mut connections = tokio::task::JoinSet::new();
    for depth in [1, 1, 8, 8] {
        let n_answers = Arc::clone(&n_answers);
        connections.spawn(lost_calls(server.address(), depth, delay, n_answers));
    }
    eventually("answers", async || {
        (n_answers.load(Ordering::Relaxed) > 100).then_some(())
    })
    .await;
    server.signal("TERM");
    while let Some(lost) = connections.join_next().await {
        assert_eq!(lost.unwrap(), BTreeSet::new());
    }
    assert_eq!(server.exit_status_within(AT_ONCE).code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_was_taken_is_answered_though_the_server_ends() {
    for _ in 0..5 {
        no_call_is_lost(Duration::ZERO).await;
    }
}

/// The client keeps asking until it learns of the shutdown, as it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_a_client_that_hears_late_of_the_end_is_answered_too() {
    no_call_is_lost(Duration::from_millis(500)).await;
}
