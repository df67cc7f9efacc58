//! Starts and stops a server again and again under load, beside a client that never reads: no call that the server took is
//! lost, and each drain ends in time.

use std::io::ErrorKind;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::life::lost_calls;
use super::raw::{
    AUTHORIZE, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, Raw,
    SETTINGS, call, frame, headers, question,
};
use super::{AT_ONCE, GET};
use crate::support::{Server, eventually, number_from_environment, store_allowing};

/// How long a drain may take. The client that never reads makes each drain take as long.
const DRAIN: Duration = Duration::from_secs(1);

/// The calls that a server lets one connection have.
const N_STREAMS: u32 = 100;

/// What happened to connections while the server ended, most of them made just then.
#[derive(Debug, Default)]
struct Connections {
    /// They had their answer.
    n_answered: usize,
    /// They were told to ask elsewhere.
    n_refused: usize,
    /// The system had taken the connection, and the server had not: it was reset without a byte.
    n_never_accepted: usize,
    /// The server had greeted the client and then closed the connection without an answer, or without a word on which
    /// calls it takes.
    n_lost: usize,
    /// They were there before, and were cut with calls in flight when the drain's time was over. That needs a machine that
    /// did not let the server run for all that time.
    n_cut: usize,
}

impl AddAssign for Connections {
    fn add_assign(&mut self, other: Self) {
        self.n_answered += other.n_answered;
        self.n_refused += other.n_refused;
        self.n_never_accepted += other.n_never_accepted;
        self.n_lost += other.n_lost;
        self.n_cut += other.n_cut;
    }
}

/// Makes one connection after the other, each with one call, until nobody listens any more.
async fn newcomers(address: String, n_answers: Arc<AtomicUsize>) -> Connections {
    let mut all = Connections::default();
    loop {
        let mut raw = match Raw::greeted(&address).await {
            Ok(raw) => raw,
            Err(error) if is_nobody_there(error.kind()) => return all,
            Err(_) => {
                all.n_never_accepted += 1;
                continue;
            }
        };
        let is_sent = raw.send(&call(1, "localhost", GET)).await.is_ok();
        match first_answer(&mut raw).await {
            Ended::Answered => {
                all.n_answered += 1;
                n_answers.fetch_add(1, Ordering::Relaxed);
            }
            Ended::Refused => all.n_refused += 1,
            Ended::Closed { was_greeted: false } => all.n_never_accepted += 1,
            Ended::Closed { was_greeted: true } if is_sent => all.n_lost += 1,
            Ended::Closed { was_greeted: true } => all.n_refused += 1,
        }
    }
}

/// Returns whether a connection failed because the socket, or its file, is gone.
fn is_nobody_there(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionRefused | ErrorKind::NotFound)
}

/// What became of the first call of a connection.
enum Ended {
    Answered,
    Refused,
    Closed { was_greeted: bool },
}

async fn first_answer(raw: &mut Raw) -> Ended {
    let mut was_greeted = false;
    let mut is_refused = false;
    while let Some(frame) = raw.frame().await {
        match (frame.kind, frame.stream) {
            (HEADERS, 1) if frame.flags & END_STREAM != 0 => return Ended::Answered,
            (RST_STREAM, 1) => is_refused = true,
            (GOAWAY, _) => is_refused |= frame.number(0) == 0,
            (SETTINGS, _) => was_greeted = true,
            _ => {}
        }
        _ = raw.acknowledge(&frame).await;
    }
    if is_refused {
        Ended::Refused
    } else {
        Ended::Closed { was_greeted }
    }
}

/// Returns a connection that has begun as many calls as it may, leaves no space for their answers, and reads nothing.
async fn with_no_window(address: &str) -> Raw {
    const INITIAL_WINDOW_SIZE: [u8; 6] = [0, 4, 0, 0, 0, 0];
    let mut raw = Raw::connect(address).await.unwrap();
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &INITIAL_WINDOW_SIZE)].concat();
    for stream in (1..2 * N_STREAMS).step_by(2) {
        bytes.extend(patient_call(stream));
    }
    raw.send(&bytes).await.unwrap();
    raw
}

/// Returns such a connection that has also sent pings, whose answers nobody reads either, until the system took no more of them
/// or some time had passed.
async fn deaf(address: &str) -> Raw {
    let mut raw = with_no_window(address).await;
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(1000);
    let asking = async { while raw.send(&pings).await.is_ok() {} };
    _ = tokio::time::timeout(Duration::from_millis(300), asking).await;
    raw
}

/// Returns a whole call whose client would wait for longer than the server may.
fn patient_call(stream: u32) -> Vec<u8> {
    let head = headers(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", AUTHORIZE),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "1H"),
    ]);
    let head = frame(HEADERS, END_HEADERS, stream, &head);
    [head, frame(DATA, END_STREAM, stream, &question(GET))].concat()
}

/// Starts a server, puts load on it, stops it, and returns what happened to new connections meanwhile and how long the
/// drain took.
async fn cycle(n: u64) -> (Connections, Duration) {
    let folder = TempDir::new().unwrap();
    let socket = format!("unix:{}", folder.path().join("iamd.sock").display());
    let store = store_allowing(GET);
    let drain = format!("{}ms", DRAIN.as_millis());
    let listen = ["--listen", "127.0.0.1:0", "--listen", &socket];
    let options = [&listen[..], &["--drain-timeout", &drain]].concat();
    let mut server = Server::start_with(store.path(), &options);
    server.client().await;
    let address = server.address();

    let stalled = if n.is_multiple_of(2) {
        with_no_window(&address).await
    } else {
        deaf(&address).await
    };
    let n_answers = Arc::new(AtomicUsize::new(0));
    let mut kept = JoinSet::new();
    for depth in [1, 8] {
        let asking = lost_calls(
            address.clone(),
            depth,
            Duration::ZERO,
            Arc::clone(&n_answers),
        );
        kept.spawn(async move { (depth, asking.await, Instant::now()) });
    }
    let mut new = JoinSet::new();
    for address in [address.clone(), address.clone(), socket] {
        new.spawn(newcomers(address, Arc::clone(&n_answers)));
    }
    eventually("answers", async || {
        (n_answers.load(Ordering::Relaxed) > 100).then_some(())
    })
    .await;

    let begun = Instant::now();
    server.signal("TERM");
    let ended = tokio::task::spawn_blocking(move || {
        let status = server.exit_status_within(DRAIN + AT_ONCE);
        (status, begun.elapsed(), server.whole_log())
    });
    let (status, took, log) = ended.await.unwrap();
    assert_eq!(status.code(), Some(0), "cycle {n}: {log:#?}");
    assert!(took < DRAIN + AT_ONCE, "cycle {n}: {took:?}");
    // Either the log says what was cut, or the process ended before it could.
    let is_drained = log.iter().any(|line| line.contains("\"drained\""));
    assert!(!is_drained, "cycle {n}: nothing stalled: {log:#?}");
    drop(stalled);
    let mut all = Connections::default();
    while let Some(ended) = kept.join_next().await {
        let (depth, lost, at) = ended.unwrap();
        if lost.is_empty() {
            continue;
        }
        let after = at - begun;
        assert!(
            after >= DRAIN,
            "cycle {n}: {lost:?} of {depth} calls at a time were lost after {after:?}, status after {took:?}: {log:#?}"
        );
        all.n_cut += 1;
    }
    while let Some(some) = new.join_next().await {
        all += some.unwrap();
    }
    (all, took)
}

/// Connections that the system has taken and the server has not are counted apart: their clients have heard nothing, and
/// may ask again elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_that_was_taken_is_lost_over_many_starts_and_stops() {
    let n_cycles = number_from_environment("IAMD_TEST_CYCLES", 4);
    let mut all = Connections::default();
    let mut longest = Duration::ZERO;
    for n in 0..n_cycles {
        let (some, took) = cycle(n).await;
        assert_eq!(some.n_lost, 0, "cycle {n}: {some:?}");
        all += some;
        longest = longest.max(took);
        if n % 20 == 19 {
            println!("after {} cycles: {all:?}, longest drain {longest:?}", n + 1);
        }
    }
    println!("{n_cycles} cycles: {all:?}, longest drain {longest:?}");
    assert!(all.n_answered > 0, "{all:?}");
}
