//! Tests how the commands that ask a server handle one that does not answer or never stops.

use std::process::Stdio;
use std::time::{Duration, Instant};

use iamd::config::{CLIENT_TIMEOUT, MAX_EXPLANATION_BYTES};
use iamd::service::pb;
use prost::Message as _;
use prost::bytes::Bytes;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tonic::codegen::http::{HeaderMap, Response};

use super::GET;
use super::raw::framed;
use crate::support::{ANN, Finished, ORDER, PATIENCE, eventually, iamd, run};

/// Runs `command` about ann's permission to do [`GET`] against the server at `address`.
async fn asked(command: &'static str, address: &str) -> Finished {
    let mut asking = iamd([command, "--server", address]);
    if command != "healthcheck" {
        asking.args(["--principal", ANN, "--action", GET, "--resource", ORDER]);
    }
    let finished = tokio::task::spawn_blocking(move || run(asking, ""));
    finished.await.unwrap()
}

/// One server does not even accept the connection. The other accepts it and sends nothing.
#[tokio::test]
async fn a_command_gives_up_a_server_that_does_not_answer() {
    let full = TcpSocket::new_v4().unwrap();
    full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = full.listen(1).unwrap();
    let at_full = full.local_addr().unwrap();
    // The test makes more connections than the system accepts on the server's behalf.
    let mut held = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(at_full)).await
    {
        held.push(connected.unwrap());
        assert!(held.len() < 100, "the system accepts any number");
    }
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at_silent = silent.local_addr().unwrap();

    let (at_full, at_silent) = (at_full.to_string(), at_silent.to_string());
    let begun = Instant::now();
    let (unconnected, unanswered, unwell) = tokio::join!(
        asked("authorize", &at_full),
        asked("authorize", &at_silent),
        asked("healthcheck", &at_silent),
    );
    let took = begun.elapsed();
    assert!(took >= CLIENT_TIMEOUT, "{took:?}");
    assert!(took < CLIENT_TIMEOUT + PATIENCE / 2, "{took:?}");
    for (finished, status, stdout) in [
        (unconnected, 2, ""),
        (unanswered, 2, ""),
        (unwell, 1, "not serving\n"),
    ] {
        assert_eq!(finished.status, Some(status), "{finished:?}");
        assert_eq!(finished.stdout, stdout, "{finished:?}");
        assert!(finished.stderr.starts_with("error: "), "{finished:?}");
    }
}

/// Starts a server that answers every request with this body, and returns its address.
async fn that_answers(body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let body = Bytes::from(body);
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(tcp).await.unwrap();
        // A client that has read enough may disconnect.
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let head = Response::builder().header("content-type", "application/grpc");
            let answer = respond.send_response(head.body(()).unwrap(), false);
            let mut stream = answer.unwrap();
            stream.send_data(body.clone(), false).unwrap();
            let fine =
                HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
            stream.send_trailers(fine).unwrap();
        }
    });
    address
}

#[tokio::test]
async fn an_explanation_has_a_longest_length() {
    // The command must not print the text, so the text is the revision, which it does not show.
    let of_length = |n_bytes: usize| {
        let mut answer = pb::ExplainResponse {
            decision: pb::Decision::Allow.into(),
            evaluated_at: Some(prost_types::Timestamp::default()),
            ..Default::default()
        };
        // The length of a long text takes as many bytes as that of a slightly longer one.
        answer.revision = "x".repeat(n_bytes - 100);
        answer.revision += &"x".repeat(n_bytes - answer.encoded_len());
        assert_eq!(answer.encoded_len(), n_bytes);
        framed(&answer.encode_to_vec())
    };
    let longest = that_answers(of_length(MAX_EXPLANATION_BYTES)).await;
    let finished = asked("explain", &longest).await;
    assert_eq!(finished.status, Some(0), "{}", finished.stderr);
    let too_long = that_answers(of_length(MAX_EXPLANATION_BYTES + 1)).await;
    let finished = asked("explain", &too_long).await;
    assert_eq!(finished.status, Some(2), "{}", finished.stderr);
    assert_eq!(finished.stdout, "");
    assert!(
        finished.stderr.contains("OUT_OF_RANGE"),
        "{}",
        finished.stderr
    );
}

/// An answer that never ends is not read forever, and not kept.
#[tokio::test]
async fn standard_input_without_an_end_is_too_large() {
    for (path, output) in [("-", "text"), ("/dev/zero", "text"), ("-", "json")] {
        let mut command = iamd(["validate", path, "--output", output]);
        let zeros = std::fs::File::open("/dev/zero").unwrap();
        command.stdin(Stdio::from(zeros));
        let mut child = command.spawn().unwrap();
        let status = eventually("the end", async || child.try_wait().unwrap()).await;
        let mut told = String::new();
        let mut stdout = child.stdout.take().unwrap();
        std::io::Read::read_to_string(&mut stdout, &mut told).unwrap();
        assert_eq!(status.code(), Some(1), "{path}: {told}");
        assert_eq!(told.matches("too-large").count(), 1, "{path}: {told}");
        assert!(told.contains("268435456 bytes"), "{path}: {told}");
    }
}
