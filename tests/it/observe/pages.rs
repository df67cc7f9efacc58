//! The pages of the HTTP listener, its limits, and its part in the start and the end of a server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use iamd::service::Encoded;
use serde_json::Value;
use tonic::transport::Channel;

use super::{Scrape, get, http_address, page, request, serve};
use crate::support::{
    PATIENCE, Server, ann_asks, eventually, iamd, log_field, revision, run, store_allowing,
    write_by_rename, write_hole,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_status_page_says_what_an_operator_asks_first() {
    let store = store_allowing("orders:Get");
    let (server, address) = serve(store.path());
    let mut client = server.client().await;
    client.authorize(ann_asks("orders:Get")).await.unwrap();
    client.authorize(ann_asks("orders:Put")).await.unwrap();
    let json: Value = serde_json::from_str(&get(&address, "/statusz?format=json")).unwrap();
    let at = |path: &str| {
        json.pointer(path)
            .unwrap_or_else(|| panic!("{path}: {json:#}"))
    };
    assert_eq!(at("/revision"), &revision(store.path()));
    assert_eq!(at("/readiness"), "ready");
    assert_eq!(
        (at("/decisions/allow"), at("/decisions/deny")),
        (&1.into(), &1.into())
    );
    assert_eq!(at("/latencyOfLastMinute/count"), 2);
    let p99 = at("/latencyOfLastMinute/seconds/p99").as_f64().unwrap();
    assert!(p99 > 0.0 && p99 < 1.0, "{p99}");
    assert_eq!(at("/reloads/published"), 0);
    assert_eq!(at("/certificateExpires"), &Value::Null);
    assert_eq!(at("/decisionLog/lost"), 0);
    assert_eq!(at("/log/level"), "info");
    assert_eq!(at("/exports"), &Value::Array(Vec::new()));

    let accepts = request(
        &address,
        "GET /statusz HTTP/1.1\r\naccept: application/json",
    );
    assert_eq!(
        accepts.headers.get("content-type").unwrap(),
        "application/json"
    );
    let text = get(&address, "/statusz");
    for line in [
        "decisions            1 allow, 1 deny",
        "stale                no",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}: {text}");
    }
    write_by_rename(store.path(), "users/ann.json", "{");
    let stale = eventually("a stale store", async || {
        let text = get(&address, "/statusz");
        text.contains("stale                yes").then_some(text)
    });
    let stale = stale.await;
    assert!(
        stale.contains("users/ann.json:"),
        "the finding has its place: {stale}"
    );
    assert!(stale.contains("1 refused"), "{stale}");
}

#[tokio::test(flavor = "multi_thread")]
async fn liveness_does_not_wait_for_the_store_and_readiness_does() {
    let store = store_allowing("orders:Get");
    write_hole(store.path()); // it takes long to read, and does not load
    let mut server = Server::start(store.path());
    let address = http_address(&server);
    assert_eq!(get(&address, "/livez"), "alive\n");
    let ready = request(&address, "GET /readyz HTTP/1.1");
    assert_eq!((ready.status, ready.body.as_str()), (503, "loading\n"));
    server.signal("TERM");
    assert!(server.exit_status().success());

    let store = store_allowing("orders:Get");
    let (server, address) = serve(store.path());
    server.client().await;
    assert_eq!(get(&address, "/readyz"), "ready\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_drains_the_pages_say_so() {
    let store = store_allowing("orders:Get");
    let options = ["--listen", "127.0.0.1:0", "--drain-timeout", "1h"];
    let mut server = Server::start_with(store.path(), &options);
    let address = http_address(&server);
    let mut client = server.client().await;
    let held = tokio::spawn(call_without_a_question(server.channel()));
    eventually("the call", async || {
        let n_calls = Scrape::of(&address).value("iamd_requests_in_flight");
        (n_calls == 1.0).then_some(())
    })
    .await;
    server.signal("TERM");
    eventually("the drain", async || {
        let ready = request(&address, "GET /readyz HTTP/1.1");
        (ready.body == "draining\n" && ready.status == 503).then_some(())
    })
    .await;
    assert_eq!(get(&address, "/livez"), "alive\n");
    held.abort();
    drop(client.authorize(ann_asks("orders:Get")).await);
    assert!(server.exit_status().success());
    assert!(
        TcpStream::connect(&address).is_err(),
        "nobody listens any more"
    );
}

/// Begins a call and never sends its question.
async fn call_without_a_question(channel: Channel) {
    let mut call = tonic::client::Grpc::new(channel);
    call.ready().await.unwrap();
    let mut request = tonic::Request::new(tokio_stream::pending::<Encoded>());
    request.set_timeout(PATIENCE);
    let path = "/iamd.v1.AuthorizationService/Authorize";
    let codec = tonic_prost::ProstCodec::<Encoded, Encoded>::default();
    _ = call
        .client_streaming(request, path.try_into().unwrap(), codec)
        .await;
}

#[test]
fn a_request_that_is_none_of_these_gets_a_status_of_its_own() {
    let store = store_allowing("orders:Get");
    let (_server, address) = serve(store.path());
    for (head, status) in [
        ("GET / HTTP/1.1", 404),
        ("GET /metrics/ HTTP/1.1", 404),
        ("GET /statusz?format=xml HTTP/1.1", 400),
        ("POST /metrics HTTP/1.1", 405),
        ("DELETE /livez HTTP/1.1", 405),
        ("GET /metrics HTTP/1.1\r\ncontent-length: 5", 400),
        ("GET /metrics HTTP/1.1\r\ntransfer-encoding: chunked", 400),
        ("HEAD /metrics HTTP/1.1", 200),
        ("GET /metrics?x=y HTTP/1.1", 200),
    ] {
        let page = request(&address, head);
        assert_eq!(page.status, status, "{head}: {page:?}");
    }
    let refused = request(&address, "PUT /metrics HTTP/1.1");
    assert_eq!(refused.headers.get("allow").unwrap(), "GET, HEAD");
    let metrics = request(&address, "GET /metrics HTTP/1.1");
    let content_type = metrics.headers.get("content-type").unwrap();
    assert_eq!(content_type, "text/plain; version=0.0.4");
}

/// Returns how the server ends a connection on which `sent` was sent, and when.
fn until_the_end(address: &str, sent: &str) -> (String, std::time::Duration) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(sent.as_bytes()); // the server may have ended it already
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer); // a reset is an end, too
    (String::from_utf8(answer).unwrap(), begun.elapsed())
}

#[test]
fn a_client_that_is_slow_or_long_winded_is_cut_off() {
    let store = store_allowing("orders:Get");
    let (_server, address) = serve(store.path());
    let (_, silent) = until_the_end(&address, "");
    let (_, unfinished) = until_the_end(&address, "GET /metrics HTTP/1.1\r\nhost: x\r\n");
    for took in [silent, unfinished] {
        assert!(
            took.as_secs_f64() > 4.0 && took.as_secs_f64() < 20.0,
            "{took:?}"
        );
    }
    let many = "x: y\r\n".repeat(65);
    let long = format!("x: {}\r\n", "y".repeat(17 * 1024));
    for headers in [many, long] {
        let (answer, _) = until_the_end(&address, &format!("GET /livez HTTP/1.1\r\n{headers}\r\n"));
        assert_eq!(page(&answer).status, 431);
    }
    // The same headers, one fewer and shorter, are fine.
    let fine = format!(
        "GET /livez HTTP/1.1\r\n{}connection: close\r\n\r\n",
        "x: y\r\n".repeat(62)
    );
    assert_eq!(page(&until_the_end(&address, &fine).0).status, 200);
}

#[test]
fn only_so_many_connections_are_open_at_once() {
    const MOST: usize = 32;
    let store = store_allowing("orders:Get");
    let (_server, address) = serve(store.path());
    let mut held: Vec<_> = (0..MOST)
        .map(|_| {
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
                .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
                .unwrap();
            let mut first = [0; 12];
            stream.read_exact(&mut first).unwrap();
            assert_eq!(&first, b"HTTP/1.1 200");
            stream
        })
        .collect();
    let once = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert!(until_the_end(&address, once).0.ends_with("alive\n"));
    let mut rest = Vec::new();
    held[0].read_to_end(&mut rest).unwrap(); // the oldest one is closed
    // The others go on.
    let mut answer = [0; 12];
    held[1].write_all(once.as_bytes()).unwrap();
    let mut rest = Vec::new();
    held[1].read_to_end(&mut rest).unwrap();
    let rest = String::from_utf8(rest).unwrap();
    assert_eq!(rest.matches("alive\n").count(), 2, "{rest}");
    // There is space again, for which nobody has to go.
    assert!(until_the_end(&address, once).0.ends_with("alive\n"));
    held[2].write_all(once.as_bytes()).unwrap();
    held[2].read_exact(&mut answer).unwrap();
}

#[test]
fn the_address_is_a_setting_like_that_of_grpc() {
    let store = store_allowing("orders:Get");
    let serve = |options: &[&str]| {
        let mut command = iamd(["serve", "--listen", "127.0.0.1:0", "--store"]);
        command.arg(store.path()).args(options);
        command
    };
    for bad in ["unix:/tmp/x", "9464", "example.com:1", ""] {
        let refused = run(serve(&["--http-listen", bad]), "");
        assert_eq!(refused.status, Some(2), "{bad}: {}", refused.stderr);
        assert!(
            refused.stderr.contains("`--http-listen`"),
            "{}",
            refused.stderr
        );
    }
    let open = run(serve(&["--http-listen", "0.0.0.0:0"]), "");
    assert_eq!(open.status, Some(2));
    assert!(
        open.stderr.contains("--insecure-plaintext"),
        "{}",
        open.stderr
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let in_use = run(serve(&["--http-listen", &address]), "");
    assert_eq!(in_use.status, Some(2));
    assert!(in_use.stderr.contains(&address), "{}", in_use.stderr);

    let off = Server::spawn(serve(&["--http-listen", "none"]));
    off.wait_for_log("the store", |line| {
        (log_field(line, "message")? == "the store is loaded").then_some(())
    });
    let lines = off.log();
    assert!(
        lines
            .iter()
            .all(|line| !line.contains("listening for HTTP")),
        "{lines:?}"
    );
}
