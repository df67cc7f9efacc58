#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::path::PathBuf;
use std::time::Duration;

use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code as StatusCode;
use tonic::codegen::Bytes;
use tonic::codegen::http;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};
use tonic_types::StatusExt;

use super::*;
use crate::compile::snapshot::{Revision, Snapshot};
use crate::config::{KEEPALIVE, Layer, STREAM_WINDOW_BYTES};
use crate::engine::live::Live;
use crate::language::finding::{Code, Finding, Location};
use crate::service::Encoded;
use crate::service::pb::authorization_service_client::AuthorizationServiceClient;
use crate::service::pb::stream_authorize_response::Result as AnswerOrError;
use crate::state::StoreState;

mod frames;
mod lives;

/// A server on a Unix socket, in this process.
struct Running {
    channel: Channel,
    live: Arc<Live>,
    state: Arc<SharedState>,
    readiness: Arc<Readiness>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<anyhow::Result<()>>,
    in_flight: InFlight,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Running {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("iamd.sock");
        let address = format!("unix:{}", socket.display());
        // With one thread, the server shares the clock of the test.
        let flags = [
            ("listen", address.as_str()),
            ("max_message_bytes", "70KiB"),
            ("worker_threads", "1"),
        ];
        let flags: Layer = flags
            .into_iter()
            .chain(more.iter().copied())
            .map(|(key, value)| (key.to_owned(), vec![value.to_owned()]))
            .collect();
        let config = Config::resolve(&flags, [], None).unwrap().config;
        let listeners = Listeners::bind(&config).await.unwrap();
        let (live, readiness) = (Arc::new(Live::default()), Arc::new(Readiness::new()));
        let state = Arc::new(SharedState::new());
        let (stop, stopped) = oneshot::channel();
        let in_flight = InFlight::default();
        let serving = tokio::spawn({
            let authorizer = Arc::new(Authorizer::new(Arc::clone(&live), &config));
            let (state, readiness) = (Arc::clone(&state), Arc::clone(&readiness));
            let in_flight = in_flight.clone();
            async move {
                let stop = async { stopped.await.unwrap_or(()) };
                serve(
                    listeners, authorizer, state, readiness, &config, &in_flight, stop,
                )
                .await
            }
        });
        let channel = Endpoint::from_shared(address)
            .unwrap()
            .connect()
            .await
            .unwrap();
        Self {
            channel,
            live,
            state,
            readiness,
            stop: Some(stop),
            serving,
            in_flight,
            socket,
            _folder: folder,
        }
    }

    /// Puts an empty store in force.
    fn load_an_empty_store(&self) {
        let snapshot: Snapshot =
            crate::compile::compile(&Default::default(), Revision::new("0123"));
        self.live.publish(snapshot);
        self.readiness.ready();
    }

    async fn ask(
        &self,
        question: pb::AuthorizeRequest,
    ) -> Result<pb::AuthorizeResponse, tonic::Status> {
        let mut stub = AuthorizationServiceClient::new(self.channel.clone());
        stub.authorize(question)
            .await
            .map(tonic::Response::into_inner)
    }

    /// Opens an HTTP/2 connection on which a test can leave calls unfinished.
    async fn connect(&self) -> SendRequest<Bytes> {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        requests.ready().await.unwrap()
    }

    async fn health(&self) -> ServingStatus {
        let mut stub = HealthClient::new(self.channel.clone());
        let answer = stub.check(HealthCheckRequest::default()).await;
        answer.unwrap().into_inner().status()
    }
}

fn question() -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        principal: "arn:aws:iam::111111111111:user/ann".into(),
        action: "orders:Get".into(),
        resource: "arn:app:orders:::order/1".into(),
        request_id: "7".into(),
        ..Default::default()
    }
}

fn reason_of(status: &tonic::Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.domain, "iamd");
    info.reason.clone()
}

/// A batch has no answer before there is a store. A stream waits for one: until then, each question has the error.
#[tokio::test]
async fn before_the_first_snapshot_a_batch_is_unavailable_and_a_stream_goes_on() {
    let running = Running::start().await;
    let mut stub = AuthorizationServiceClient::new(running.channel.clone());
    let batch = Encoded::of(&pb::BatchAuthorizeRequest {
        requests: vec![question()],
    });
    let status = stub.batch_authorize(batch.clone()).await.unwrap_err();
    assert_eq!(status.code(), StatusCode::Unavailable);
    assert_eq!(reason_of(&status), "NOT_READY");
    let (ask, asked) = mpsc::unbounded_channel();
    let asked = UnboundedReceiverStream::new(asked);
    let mut answers = stub.stream_authorize(asked).await.unwrap().into_inner();
    let question = Encoded::of(&pb::StreamAuthorizeRequest {
        request: Some(question()),
    });
    ask.send(question.clone()).unwrap();
    let first = answers.message().await.unwrap().unwrap();
    let first: pb::StreamAuthorizeResponse = first.decoded().unwrap();
    let Some(AnswerOrError::Error(error)) = first.result else {
        panic!("{first:?}")
    };
    assert_eq!(error.code, i32::from(StatusCode::Unavailable));
    running.load_an_empty_store();
    ask.send(question).unwrap();
    let second = answers.message().await.unwrap().unwrap();
    let second: pb::StreamAuthorizeResponse = second.decoded().unwrap();
    assert!(matches!(second.result, Some(AnswerOrError::Response(_))));
    let answered = stub.batch_authorize(batch).await.unwrap().into_inner();
    let answered: pb::BatchAuthorizeResponse = answered.decoded().unwrap();
    assert_eq!((answered.results.len(), &*answered.revision), (1, "0123"));
}

#[tokio::test]
async fn before_the_first_snapshot_every_call_is_unavailable() {
    let running = Running::start().await;
    let status = running.ask(question()).await.unwrap_err();
    assert_eq!(status.code(), StatusCode::Unavailable);
    assert_eq!(reason_of(&status), "NOT_READY");
    assert!(status.get_error_details().retry_info().is_some());
    assert_eq!(running.health().await, ServingStatus::NotServing);
    running.load_an_empty_store();
    assert_eq!(running.health().await, ServingStatus::Serving);
    let answer = running.ask(question()).await.unwrap();
    assert_eq!(answer.decision(), pb::Decision::Deny);
    assert_eq!(answer.reason(), pb::Reason::ImplicitDenyUnknownPrincipal);
    assert_eq!(
        (answer.revision.as_str(), answer.request_id.as_str()),
        ("0123", "7")
    );
}

/// The first load may fail on a server that goes on, and then its state says why.
#[tokio::test]
async fn the_state_is_told_before_the_first_good_load_with_errors_first_and_within_its_bounds() {
    let running = Running::start().await;
    let status = async || {
        let stub = AuthorizationServiceClient::new(running.channel.clone());
        let mut stub = stub.max_decoding_message_size(usize::MAX);
        let status = stub.status(pb::StatusRequest {}).await.unwrap();
        status.into_inner()
    };
    let before = status().await;
    assert_eq!((before.revision.as_str(), before.loaded_at), ("", None));
    assert!(before.started_at.is_some() && before.findings.is_empty());

    let at = |line| Location {
        line,
        column: 1,
        ..Location::file("users/ann.json")
    };
    let warning = |line| Finding::warning(Code::ODD_SID, at(line), "odd");
    let error = Finding::error(Code::SYNTAX, at(7), "not JSON").help("mend it");
    let told = |findings: Vec<Finding>| {
        let change = |state: &mut StoreState| state.findings = findings.into();
        running.state.change(change);
    };
    told((1..=1200).map(warning).chain([error]).collect());
    let failed = status().await;
    assert_eq!(
        (failed.findings.len(), failed.findings_left_out),
        (1000, 201)
    );
    let expected = pb::Finding {
        severity: pb::Severity::Error.into(),
        code: "syntax".into(),
        message: "not JSON; mend it".into(),
        file: "users/ann.json".into(),
        position: Some(pb::Position { line: 7, column: 1 }),
    };
    assert_eq!(failed.findings.first(), Some(&expected), "errors first");
    assert_eq!((failed.revision.as_str(), failed.files), ("", 0));

    let long = "x".repeat(10_000);
    let long = |line| Finding::warning(Code::ODD_SID, at(line), long.as_str());
    told((1..=500).map(long).collect());
    let cut = status().await;
    assert!(cut.encoded_len() < 4 * 1024 * 1024, "clients take no more");
    assert!(cut.findings.len() > 300, "{}", cut.findings.len());
    assert_eq!(cut.findings.len() as u64 + cut.findings_left_out, 500);
}

#[tokio::test]
async fn context_keys_that_repeat_on_the_wire_are_refused() {
    let running = Running::start().await;
    running.load_an_empty_store();
    for keys in [["app:x", "app:x"], ["app:x", "APP:X"]] {
        let entry = |key: &str| pb::authorize_request::ContextEntry {
            key: key.to_owned(),
            value: Some(prost_types::value::Kind::BoolValue(true).into()),
        };
        let twice = pb::AuthorizeRequest {
            context: keys.map(entry).into(),
            ..question()
        };
        let status = running.ask(twice).await.unwrap_err();
        assert_eq!(status.code(), StatusCode::InvalidArgument, "C-4");
        assert_eq!(reason_of(&status), "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn a_field_over_its_limit_is_an_invalid_argument_and_a_message_out_of_range() {
    let running = Running::start().await;
    running.load_an_empty_store();
    let resource = |n_bytes: usize| pb::AuthorizeRequest {
        resource: "x".repeat(n_bytes),
        ..question()
    };
    let status = running.ask(resource(20 * 1024)).await.unwrap_err();
    assert_eq!(
        (status.code(), reason_of(&status).as_str()),
        (StatusCode::InvalidArgument, "TOO_LARGE")
    );
    let status = running.ask(resource(80 * 1024)).await.unwrap_err();
    assert_eq!(status.code(), StatusCode::OutOfRange);
}

#[tokio::test]
async fn a_drain_does_not_wait_for_those_who_only_watch() {
    let mut running = Running::start().await;
    running.load_an_empty_store();
    let mut stub = HealthClient::new(running.channel.clone());
    let mut watch = stub
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    let status = watch.message().await.unwrap().unwrap().status();
    assert_eq!(status, ServingStatus::Serving);
    running.readiness.draining();
    running.stop.take().unwrap().send(()).unwrap();
    let status = watch.message().await.unwrap().unwrap().status();
    assert_eq!(status, ServingStatus::NotServing);
    assert!(watch.message().await.unwrap().is_none());
    let drained = tokio::time::timeout(Duration::from_secs(5), running.serving).await;
    drained.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn both_versions_of_reflection_list_the_services_and_give_json_names() {
    let running = Running::start().await;
    let services = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1::ServerReflectionRequest {
        message_request: Some(services),
        ..Default::default()
    };
    let mut stub =
        v1::server_reflection_client::ServerReflectionClient::new(running.channel.clone());
    let answers = stub
        .server_reflection_info(tokio_stream::once(request))
        .await;
    let answer = answers
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap();
    let names = format!("{answer:?}");
    for service in [
        "iamd.v1.AuthorizationService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.",
    ] {
        assert!(names.contains(service), "{names}");
    }

    let symbol = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
        "iamd.v1.AuthorizationService.Authorize".into(),
    );
    let request = v1alpha::ServerReflectionRequest {
        message_request: Some(symbol),
        ..Default::default()
    };
    let mut stub =
        v1alpha::server_reflection_client::ServerReflectionClient::new(running.channel.clone());
    let answers = stub
        .server_reflection_info(tokio_stream::once(request))
        .await;
    let answer = answers
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap();
    let Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(file)) =
        answer.message_response
    else {
        unreachable!("{answer:?}");
    };
    let has_json_names = |file: &Vec<u8>| String::from_utf8_lossy(file).contains("resourceAccount");
    assert!(file.file_descriptor_proto.iter().any(has_json_names));
}

/// Returns once all tasks wait: the paused clock moves on only then.
async fn idle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Allows a small difference, because tokio's timers and [`idle`] are exact to a millisecond.
fn assert_about(waited: Duration, expected: Duration) {
    let is_fine = waited >= expected && waited < expected + Duration::from_millis(50);
    assert!(is_fine, "{waited:?} and not {expected:?}");
}

/// Reads up to the next keepalive ping and returns its payload, which an answer must repeat; `None` at the end.
async fn ping(stream: &mut UnixStream) -> Option<Vec<u8>> {
    const PING: u8 = 6;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await.ok()?;
        if kind == PING {
            return Some(payload);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_silent_is_asked_and_then_closed() {
    let running = Running::start_with(&[("first_call_timeout", "0s")]).await;
    let (interval, timeout) = KEEPALIVE;
    let mut silent = UnixStream::connect(&running.socket).await.unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..]].concat();
    silent.write_all(&hello).await.unwrap();
    let mut said = Instant::now();
    for _ in 0..3 {
        let asked = ping(&mut silent).await.unwrap();
        assert_about(said.elapsed(), interval);
        let answer = [&[0, 0, 8, 6, 1, 0, 0, 0, 0], &asked[..]].concat();
        silent.write_all(&answer).await.unwrap();
        said = Instant::now();
    }
    assert!(ping(&mut silent).await.is_some());
    assert_about(said.elapsed(), interval);
    assert!(ping(&mut silent).await.is_none(), "closed");
    assert_about(said.elapsed(), interval + timeout);
    // The connection of this client answers keepalive pings by itself.
    assert_eq!(running.health().await, ServingStatus::NotServing);
}

/// Frames `message` as gRPC does.
fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let n_bytes = u32::try_from(message.len()).unwrap();
    [&[0], &n_bytes.to_be_bytes()[..], &message].concat().into()
}

/// Begins a call.
fn begin(
    requests: &mut SendRequest<Bytes>,
    method: &str,
    timeout: &str,
) -> (ResponseFuture, SendStream<Bytes>) {
    let path = format!("http://localhost/iamd.v1.AuthorizationService/{method}");
    let head = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", timeout);
    requests
        .send_request(head.body(()).unwrap(), false)
        .unwrap()
}

fn explanation() -> Bytes {
    // The two messages have the same fields.
    let question = question().encode_to_vec();
    framed(&pb::ExplainRequest::decode(&question[..]).unwrap())
}

/// Asks for an explanation and returns the code of the answer.
fn explain(requests: &mut SendRequest<Bytes>, timeout: &str) -> JoinHandle<String> {
    let (answer, mut rest) = begin(requests, "Explain", timeout);
    rest.send_data(explanation(), true).unwrap();
    tokio::spawn(code(answer))
}

/// Returns the gRPC status of an answer.
async fn code(answer: ResponseFuture) -> String {
    let answer: http::Response<RecvStream> = answer.await.unwrap();
    let status = |headers: &http::HeaderMap| {
        let code = headers.get("grpc-status")?;
        Some(code.to_str().unwrap().to_owned())
    };
    if let Some(code) = status(answer.headers()) {
        return code;
    }
    let mut body = answer.into_body();
    while let Some(bytes) = body.data().await {
        let n_bytes = bytes.unwrap().len();
        body.flow_control().release_capacity(n_bytes).unwrap();
    }
    status(&body.trailers().await.unwrap().unwrap()).unwrap()
}

/// Sends `bytes` until the peer has taken all of them or ends the stream. Returns how many it took.
async fn n_taken(mut stream: SendStream<Bytes>, mut bytes: Bytes) -> usize {
    let n_bytes = bytes.len();
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let Some(Ok(n_more)) = capacity else { break };
        let piece = bytes.split_to(n_more.min(bytes.len()));
        if stream.send_data(piece, bytes.is_empty()).is_err() {
            break;
        }
    }
    n_bytes - bytes.len()
}

#[tokio::test(start_paused = true)]
async fn interactive_calls_of_one_connection_are_answered_one_after_the_other() {
    let running = Running::start().await;
    running.load_an_empty_store();
    let (mut one, mut other) = (running.connect().await, running.connect().await);
    let start = Instant::now();
    let (held, mut rest) = begin(&mut one, "Explain", "1H");
    idle().await;
    let long = Bytes::from(vec![0; 1 << 20]);
    let (late, stream) = begin(&mut one, "Simulate", "2S");
    let taken = tokio::spawn(n_taken(stream, long.clone()));
    assert_eq!(code(late).await, "4", "it waits within its own deadline");
    assert_about(start.elapsed(), Duration::from_secs(2));
    let taken = taken.await.unwrap();
    assert_eq!(taken, STREAM_WINDOW_BYTES as usize, "none of it was read");

    let next = explain(&mut one, "1H");
    assert_eq!(explain(&mut other, "1H").await.unwrap(), "0", "of others");
    assert_about(start.elapsed(), Duration::from_secs(2));
    assert!(!next.is_finished());
    rest.send_data(explanation(), true).unwrap();
    assert_eq!(code(held).await, "0");
    assert_eq!(next.await.unwrap(), "0");
    assert_about(start.elapsed(), Duration::from_secs(2));
    // The connection's permit is free now, so the server reads the question.
    let (_answer, stream) = begin(&mut one, "Simulate", "2S");
    assert!(n_taken(stream, long).await > taken);
}

#[tokio::test(start_paused = true)]
async fn few_interactive_calls_are_received_at_once() {
    let running = Running::start().await;
    running.load_an_empty_store();
    let mut connections = Vec::new();
    let mut held = Vec::new();
    for _ in 0..MAX_SIMULATIONS_RECEIVED {
        let mut requests = running.connect().await;
        held.push(begin(&mut requests, "Explain", "1H"));
        connections.push(requests);
    }
    idle().await;
    let start = Instant::now();
    let mut next = running.connect().await;
    assert_eq!(explain(&mut next, "2S").await.unwrap(), "4");
    assert_about(start.elapsed(), Duration::from_secs(2));
    // `Authorize` needs no permit.
    assert!(running.ask(question()).await.is_ok());
    // The last of the held calls has a permit.
    let (answer, mut rest) = held.pop().unwrap();
    let waits = explain(&mut next, "2S");
    idle().await;
    assert!(!waits.is_finished());
    rest.send_data(explanation(), true).unwrap();
    assert_eq!(code(answer).await, "0");
    assert_eq!(waits.await.unwrap(), "0");
    assert_about(start.elapsed(), Duration::from_secs(2));
}
