//! Tests the bounds of a connection and its calls from outside.

use std::fs;
use std::time::Instant;

use iamd::config::{ACCEPT_BACK_OFF, MAX_HEADER_LIST_BYTES, MAX_SIMULATIONS_AT_ONCE};
use iamd::service::pb;
use pb::authorization_service_client::AuthorizationServiceClient;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::time::timeout;
use tonic::Code;
use tonic::codegen::http::request;

use super::protocol::{call, connect, say, told};
use super::raw::{
    AUTHORIZE, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, Outcome, RST_STREAM,
    Raw, SETTINGS, call_headers, frame, framed, headers, question,
};
use super::{AT_ONCE, GET, decision, descriptors, served};
use crate::support::{ANN, PATIENCE, Server, eventually, log_field, store_allowing, write_hole};

/// Prevents `server` from opening any more descriptors, or restores the limit.
fn limit_descriptors(server: &Server, current: u64) {
    let (_, maximum) = descriptors::limits(server);
    let limit = Rlimit {
        current: Some(current),
        maximum: Some(maximum),
    };
    let process = Pid::from_raw(server.id().try_into().unwrap());
    prlimit(process, Resource::Nofile, limit).unwrap();
}

/// A client that has a connection goes on, a client that wants one waits, and nothing spins or fills the log meanwhile.
#[tokio::test]
async fn accepting_without_a_descriptor_left_pauses_and_goes_on() {
    let (_store, server, mut client) = served(&[]).await;
    let (usual, _) = descriptors::limits(&server);
    let begun = Instant::now();
    limit_descriptors(&server, 3);
    let mut newcomer = Raw::greeted(&server.address()).await.unwrap();
    let n_again: u32 = server.wait_for_log("how often accepting failed", |line| {
        let is_about = line.contains("cannot accept a connection");
        log_field(line, "repeated")
            .filter(|_| is_about)?
            .parse()
            .ok()
    });
    // This counts the first warning, those that were counted, and the one that is due.
    let most = begun.elapsed().as_millis() / ACCEPT_BACK_OFF.as_millis() + 2;
    assert!(u128::from(n_again) < most, "{n_again} and not {most}");
    assert_eq!(decision(&mut client, GET).await, Some(pb::Decision::Allow));
    limit_descriptors(&server, usual);
    let answer = newcomer.ask("localhost", GET).await;
    assert_eq!(answer, Outcome::Decided(pb::Decision::Allow));
}

/// Returns a connection and the number of calls that the server allows on it.
async fn n_calls_allowed(server: &Server) -> (u32, Raw) {
    const MAX_CONCURRENT_STREAMS: [u8; 2] = [0, 3];
    let mut raw = Raw::greeted(&server.address()).await.unwrap();
    let settings = raw.frame().await.unwrap();
    assert_eq!(settings.kind, SETTINGS);
    let mut entries = settings.payload.chunks_exact(6);
    let entry = entries.find(|entry| entry[..2] == MAX_CONCURRENT_STREAMS);
    let number = entry.unwrap()[2..].try_into().unwrap();
    (u32::from_be_bytes(number), raw)
}

/// Returns the frame that ends the next call.
async fn answer_or_reset(raw: &mut Raw) -> Frame {
    loop {
        let frame = raw.frame().await.expect("it is closed");
        let is_end = frame.kind == HEADERS && frame.flags & END_STREAM != 0;
        if is_end || frame.kind == RST_STREAM {
            return frame;
        }
    }
}

#[tokio::test]
async fn a_call_too_many_is_refused_and_clients_wait() {
    const REFUSED_STREAM: u32 = 7;
    let (_store, server, _client) = served(&[]).await;
    assert_eq!(n_calls_allowed(&server).await.0, 100, "the default");

    let few = ["--max-streams-per-connection", "3"];
    let waiting = ["--default-deadline", "60s"];
    let (_store, server, client) = served(&[few, waiting].concat()).await;
    let (allowed, mut raw) = n_calls_allowed(&server).await;
    assert_eq!(allowed, 3);
    let begun = |stream| frame(HEADERS, END_HEADERS, stream, &call_headers("localhost"));
    for stream in [1, 3, 5, 7] {
        raw.send(&begun(stream)).await.unwrap();
    }
    let reset = answer_or_reset(&mut raw).await;
    assert_eq!((reset.kind, reset.stream), (RST_STREAM, 7), "{reset:?}");
    assert_eq!(reset.number(0), REFUSED_STREAM);
    // One of the three calls ends, and a permit is free again.
    let rest = |stream| frame(DATA, END_STREAM, stream, &question(GET));
    raw.send(&rest(1)).await.unwrap();
    let answer = answer_or_reset(&mut raw).await;
    assert_eq!((answer.kind, answer.stream), (HEADERS, 1), "{answer:?}");
    raw.send(&[begun(9), rest(9)].concat()).await.unwrap();
    let answer = answer_or_reset(&mut raw).await;
    assert_eq!((answer.kind, answer.stream), (HEADERS, 9), "{answer:?}");

    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let mut client = client.clone();
        calls.spawn(async move { decision(&mut client, GET).await });
    }
    for decided in calls.join_all().await {
        assert_eq!(decided, Some(pb::Decision::Allow), "of a client that waits");
    }
}

/// Sends a call with a header of this many bytes.
fn with_header(n_bytes: usize) -> request::Builder {
    call().header("x-long", "x".repeat(n_bytes))
}

#[tokio::test]
async fn headers_beyond_their_limit_are_refused_by_http() {
    let (_store, server, _client) = served(&[]).await;
    // The length as HTTP/2 counts it.
    let size = |(name, value): (&str, &str)| name.len() + value.len() + 32;
    let others = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", AUTHORIZE),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("x-long", ""),
    ];
    let others: usize = others.map(size).iter().sum();
    let most = MAX_HEADER_LIST_BYTES as usize - others;

    let (mut requests, _pings) = connect(&server.address()).await;
    for n_bytes in [most - 1, most + 1, 2 * most, most - 1] {
        let head = with_header(n_bytes).body(()).unwrap();
        let (answer, mut stream) = requests.send_request(head, false).unwrap();
        // The server may have closed the stream after its answer.
        _ = stream.send_data(question(GET).into(), true);
        let told = timeout(PATIENCE, told(answer)).await.unwrap().unwrap();
        if n_bytes < most {
            let decision = told.decision();
            assert_eq!(decision, Some(pb::Decision::Allow), "{n_bytes}: {told:?}");
        } else {
            assert_eq!(told.http, 431, "{n_bytes}: {told:?}");
            assert_eq!(told.body.len(), 0, "{n_bytes}");
        }
    }

    // Headers that never end are not a call, so there is nothing to answer.
    let mut raw = Raw::greeted(&server.address()).await.unwrap();
    let begun = frame(HEADERS, 0, 1, &call_headers("localhost"));
    raw.send(&begun).await.unwrap();
    let value = "x".repeat(1_000);
    let more = frame(
        CONTINUATION,
        0,
        1,
        &headers(&[("x-more", value.as_str()); 8]),
    );
    for _ in 0..1_000 {
        if raw.send(&more).await.is_err() {
            break;
        }
    }
    raw.closed().await;
}

#[tokio::test]
async fn a_compressed_message_is_unimplemented() {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    let (_store, server, _client) = served(&[]).await;
    let plain = question(GET);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&plain[5..]).unwrap();
    let mut compressed = framed(&gzip.finish().unwrap());
    compressed[0] = 1;
    for method in ["Authorize", "Explain", "Simulate"] {
        for (encoding, body, expected) in [
            (Some("gzip"), &compressed, Some(Code::Unimplemented)),
            (Some("deflate"), &compressed, Some(Code::Unimplemented)),
            (Some("zstd"), &compressed, Some(Code::Unimplemented)),
            (Some("br"), &compressed, Some(Code::Unimplemented)),
            // The message is marked as compressed, though it is not.
            (None, &compressed, Some(Code::InvalidArgument)),
            (Some("identity"), &compressed, Some(Code::InvalidArgument)),
            (Some("gzip"), &plain, Some(Code::Unimplemented)),
            (Some("identity"), &plain, Some(Code::Ok)),
        ] {
            let path = AUTHORIZE.replace("Authorize", method);
            let mut head = call().uri(format!("http://localhost{path}"));
            if let Some(encoding) = encoding {
                head = head.header("grpc-encoding", encoding);
            }
            let told = say(&server.address(), head, body.clone()).await;
            let what = format!("{method}, {encoding:?}, {}: {told:?}", body[0]);
            assert_eq!(told.grpc, expected, "{what}");
            assert_eq!(told.body.is_empty(), expected != Some(Code::Ok), "{what}");
        }
    }
}

/// Returns how many threads the server has for calls that people wait for.
fn n_interactive(server: &Server) -> usize {
    let threads = fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
    let name = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("comm"));
    let names = threads.flatten().flat_map(name);
    names.filter(|name| name.trim() == "interactive").count()
}

/// Each call that runs has its own thread, so their number is limited.
#[tokio::test]
async fn few_interactive_calls_run_at_once() {
    let (_store, server, _client) = served(&["--worker-threads", "1"]).await;
    let action = |n: usize| format!("orders:Get{n}");
    let names = |name: &str| (0..50).map(|n| format!("{name}{n}")).collect::<Vec<_>>();
    let statements: Vec<_> = (0..200)
        .map(|n| serde_json::json!({"Effect": "Allow", "Action": action(n), "Resource": "*"}))
        .collect();
    let policy = serde_json::json!({"Version": "2012-10-17", "Statement": statements});
    let question = pb::SimulateRequest {
        principal: ANN.to_owned(),
        actions: names("orders:Get"),
        resources: names("arn:app:orders:::order/"),
        identity_policies: vec![policy.to_string()],
        ..Default::default()
    };
    let mut most = 0;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..4 * MAX_SIMULATIONS_AT_ONCE {
        let mut client = AuthorizationServiceClient::new(server.channel());
        let question = question.clone();
        calls.spawn(async move { client.simulate(question).await });
    }
    eventually("all answers", async || {
        most = most.max(n_interactive(&server));
        while let Some(answer) = calls.try_join_next() {
            answer.unwrap().unwrap();
        }
        calls.is_empty().then_some(())
    })
    .await;
    // The store was read on one of these threads.
    assert!(most >= 3, "they do run beside each other");
    // A call gives up its place a moment before its thread is idle, so that the next one may begin on another thread.
    assert!(most <= 2 * MAX_SIMULATIONS_AT_ONCE, "{most} threads");
}

/// Returns whether the file is being read.
fn has_hole_open(server: &Server) -> bool {
    let open = fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap();
    open.flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|path| path.ends_with("dumps/hole.json"))
}

/// A load takes longer the larger the store is. The shutdown cannot wait for it.
#[tokio::test]
async fn a_load_that_runs_at_the_end_is_left_behind() {
    for is_first in [true, false] {
        let store = store_allowing(GET);
        if is_first {
            write_hole(store.path());
        }
        let mut server = Server::start(store.path());
        if !is_first {
            drop(server.client().await);
            write_hole(store.path());
        }
        eventually("a load", async || has_hole_open(&server).then_some(())).await;
        server.signal("TERM");
        let status = server.exit_status_within(AT_ONCE);
        assert_eq!(status.code(), Some(0), "{is_first}: {:?}", server.log());
        let log = server.whole_log();
        let is_read = log.iter().any(|line| line.contains("hole.json"));
        assert!(!is_read, "{is_first}: the load was over: {log:#?}");
    }
}
