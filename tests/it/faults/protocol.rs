//! A request that is not a well-formed gRPC call gets the status that says so, and never a decision.

use h2::client::{ResponseFuture, SendRequest};
use h2::{Ping, RecvStream, SendStream};
use iamd::service::pb;
use prost::Message as _;
use prost::bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;
use tonic::codegen::http::{HeaderMap, Method, Request, Response, request};

use super::raw::{AUTHORIZE, framed, question};
use super::{GET, served};
use crate::support::PATIENCE;

/// A call of which the first half of the message has arrived.
pub struct Held {
    answer: ResponseFuture,
    rest: SendStream<Bytes>,
    /// The half that is still to be sent.
    message: Bytes,
    _requests: SendRequest<Bytes>,
}

impl Held {
    /// Asks whether ann may do [`GET`] and sends half of the question. The server has read that much of it.
    pub async fn begin(address: &str) -> Self {
        let (mut requests, mut pings) = connect(address).await;
        // The deadline is longer than the test, because a call without its own deadline gets a short one.
        let head = call().header("grpc-timeout", "1H").body(()).unwrap();
        let (answer, mut rest) = requests.send_request(head, false).unwrap();
        let mut message = Bytes::from(question(GET));
        let first = message.split_to(message.len() / 2);
        rest.send_data(first, false).unwrap();
        pings.ping(Ping::opaque()).await.unwrap();
        Self {
            answer,
            rest,
            message,
            _requests: requests,
        }
    }

    /// Sends the rest and returns the decision, or `None` if the call was cut.
    pub async fn finish(mut self) -> Option<pb::Decision> {
        self.rest.send_data(self.message, true).ok()?;
        let answer = timeout(PATIENCE, told(self.answer)).await.unwrap().ok()?;
        answer.decision()
    }
}

/// Returns an HTTP/2 connection that can send anything well-formed.
pub async fn connect(address: &str) -> (SendRequest<Bytes>, h2::PingPong) {
    let tcp = TcpStream::connect(address).await.unwrap();
    let (requests, mut connection) = h2::client::handshake(tcp).await.unwrap();
    let pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    (requests.ready().await.unwrap(), pings)
}

/// Returns the head of an Authorize call with the usual headers.
pub fn call() -> request::Builder {
    Request::post(format!("http://localhost{AUTHORIZE}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

/// What a server answered.
#[derive(Debug)]
pub struct Told {
    /// The HTTP status.
    pub http: u16,
    /// The gRPC status, from the headers or the trailers.
    pub grpc: Option<Code>,
    pub body: Vec<u8>,
}

impl Told {
    /// Returns the decision in the body, if there is one.
    pub fn decision(&self) -> Option<pb::Decision> {
        let answer = pb::AuthorizeResponse::decode(self.body.get(5..)?).unwrap();
        Some(answer.decision())
    }
}

/// Reads everything that `answer` returns.
pub async fn told(answer: ResponseFuture) -> Result<Told, h2::Error> {
    let answer: Response<RecvStream> = answer.await?;
    let grpc = |headers: &HeaderMap| {
        let status = headers.get("grpc-status")?;
        Some(Code::from_bytes(status.as_bytes()))
    };
    let mut told = Told {
        http: answer.status().as_u16(),
        grpc: grpc(answer.headers()),
        body: Vec::new(),
    };
    let mut body = answer.into_body();
    while let Some(bytes) = body.data().await {
        told.body.extend_from_slice(&bytes?);
    }
    if let Some(trailers) = body.trailers().await? {
        told.grpc = grpc(&trailers);
    }
    Ok(told)
}

/// Sends `head` and `body` on a connection of their own, and returns the answer.
pub async fn say(address: &str, head: request::Builder, body: Vec<u8>) -> Told {
    let (mut requests, _pings) = connect(address).await;
    let (answer, mut stream) = requests
        .send_request(head.body(()).unwrap(), false)
        .unwrap();
    // The server may have closed the stream after its answer.
    _ = stream.send_data(body.into(), true);
    timeout(PATIENCE, told(answer)).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_deadline_of_no_time_has_passed() {
    let (_store, server, _client) = served(&[]).await;
    for none in ["0n", "0u", "0m", "0S", "0M", "0H", "00000000H"] {
        let head = call().header("grpc-timeout", none);
        let told = say(&server.address(), head, question(GET)).await;
        assert_eq!(told.grpc, Some(Code::DeadlineExceeded), "{none}: {told:?}");
        assert_eq!(told.decision(), None, "{none}");
    }
    for long in ["99999999H", "60S", "1H"] {
        let head = call().header("grpc-timeout", long);
        let told = say(&server.address(), head, question(GET)).await;
        assert_eq!(
            told.decision(),
            Some(pb::Decision::Allow),
            "{long}: {told:?}"
        );
    }
}

/// A client that sends a malformed deadline must not be treated as if it would wait forever.
#[tokio::test]
async fn a_malformed_deadline_is_a_malformed_call() {
    let (_store, server, _client) = served(&[]).await;
    for malformed in [
        "",
        "S",
        "1",
        "1x",
        "1s",
        "-1S",
        "+1S",
        "1.5S",
        "1 S",
        "123456789S",
        "1SS",
    ] {
        let head = call().header("grpc-timeout", malformed);
        let told = say(&server.address(), head, question(GET)).await;
        assert_eq!(told.decision(), None, "`{malformed}`: {told:?}");
        let is_refused = told.grpc.is_some_and(|code| code != Code::Ok);
        assert!(is_refused, "`{malformed}`: {told:?}");
    }
}

#[tokio::test]
async fn what_is_no_grpc_is_refused_by_http() {
    const HEALTH: &str = "/grpc.health.v1.Health/Check";
    let (_store, server, _client) = served(&[]).await;
    let head = |method: Method, path: &str, content_type: Option<&str>| {
        let head = Request::builder()
            .method(method)
            .uri(format!("http://localhost{path}"))
            .header("te", "trailers");
        match content_type {
            Some(kind) => head.header("content-type", kind),
            None => head,
        }
    };
    let grpc = Some("application/grpc");
    for (method, path, content_type, status) in [
        (Method::GET, AUTHORIZE, grpc, 405),
        (Method::GET, AUTHORIZE, None, 405),
        (Method::PUT, AUTHORIZE, grpc, 405),
        (Method::GET, HEALTH, grpc, 405),
        (Method::POST, AUTHORIZE, None, 415),
        (Method::POST, AUTHORIZE, Some("text/plain"), 415),
        (Method::POST, AUTHORIZE, Some("application/json"), 415),
        (Method::POST, AUTHORIZE, Some("application/grpc-web"), 415),
        (
            Method::POST,
            AUTHORIZE,
            Some("application/grpc-web+proto"),
            415,
        ),
        (
            Method::POST,
            AUTHORIZE,
            Some("application/grpc-web-text"),
            415,
        ),
        (Method::POST, AUTHORIZE, Some("application/grpcs"), 415),
        (Method::POST, HEALTH, Some("text/plain"), 415),
    ] {
        let what = format!("{method} {path} {content_type:?}");
        let body = if path == AUTHORIZE {
            question(GET)
        } else {
            framed(&[])
        };
        let told = say(&server.address(), head(method, path, content_type), body).await;
        assert_eq!(told.http, status, "{what}: {told:?}");
        assert_eq!(told.body.len(), 0, "{what}: {told:?}");
    }
    for kind in ["application/grpc", "application/grpc+proto"] {
        let head = head(Method::POST, AUTHORIZE, Some(kind));
        let told = say(&server.address(), head, question(GET)).await;
        assert_eq!(
            told.decision(),
            Some(pb::Decision::Allow),
            "{kind}: {told:?}"
        );
    }
}

/// The fault is the caller's, so it must not look like a fault of the server.
#[tokio::test]
async fn bytes_that_are_no_message_are_a_malformed_question() {
    let (_store, server, _client) = served(&[]).await;
    for method in ["Authorize", "Explain", "Simulate"] {
        for garbage in [
            &b"\x0a\xff"[..],                                // a string that ends too early
            b"\x0a\x02\xff\xfe",                             // a string that is not UTF-8
            b"\x08\x01", // a string with the wire type of a number
            b"\x00",     // a field without a number
            b"\x0c",     // the end of a group that has not begun
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", // a number that never ends
        ] {
            let path = format!("http://localhost/iamd.v1.AuthorizationService/{method}");
            let head = Request::post(path)
                .header("content-type", "application/grpc")
                .header("te", "trailers");
            let told = say(&server.address(), head, framed(garbage)).await;
            assert_eq!(
                told.grpc,
                Some(Code::InvalidArgument),
                "{method} {garbage:x?}: {told:?}"
            );
        }
    }
}
