//! Tests `iamd serve` as its clients and operators see it: the real binary on a port of its own.
//!
//! The file is long because each promise to a client or an operator has its own test, and many of them hold the bytes of
//! their messages.

use std::fs;
use std::time::{Duration, Instant};

use iamd::service::{health_pb, pb};
use pb::authorization_service_client::AuthorizationServiceClient;
use prost::Message;
use prost_types::FileDescriptorProto;
use prost_types::value::Kind;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::support::{
    ANN, Client, ORDER, Server, allow, ann_asks, channel_to, eventually, health, iamd, log_field,
    ready, revision, run, run_until_it_serves, store_allowing, user, write, write_store,
};

const SERVICE: &str = "iamd.v1.AuthorizationService";

fn context(key: &str, kind: Option<Kind>) -> pb::authorize_request::ContextEntry {
    pb::authorize_request::ContextEntry {
        key: key.to_owned(),
        value: Some(prost_types::Value { kind }),
    }
}

fn text(value: &str) -> Option<Kind> {
    Some(Kind::StringValue(value.to_owned()))
}

fn list(values: impl IntoIterator<Item = Kind>) -> Option<Kind> {
    let values = values
        .into_iter()
        .map(|kind| prost_types::Value { kind: Some(kind) })
        .collect();
    Some(Kind::ListValue(prost_types::ListValue { values }))
}

/// Asserts a status with the details that the contract promises: the field and the kind of fault.
fn assert_refused(status: &Status, field: &str, reason: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    let violations = details
        .bad_request()
        .map(|bad| bad.field_violations.clone())
        .unwrap_or_default();
    let fields: Vec<&str> = violations
        .iter()
        .map(|violation| &*violation.field)
        .collect();
    assert_eq!(fields, [field], "{violations:?}");
    assert!(
        violations
            .iter()
            .all(|violation| !violation.description.is_empty()),
        "{violations:?}"
    );
    let info = details.error_info().unwrap();
    assert_eq!(
        (info.domain.as_str(), info.reason.as_str()),
        ("iamd", reason),
        "{status:?}"
    );
}

#[tokio::test]
async fn a_question_gets_its_decision() {
    let store = store_allowing("orders:Get");
    let server = Server::start(store.path());
    let mut client = server.client().await;

    let request = pb::AuthorizeRequest {
        request_id: "r-1".into(),
        ..ann_asks("orders:Get")
    };
    let allowed = client.authorize(request).await.unwrap().into_inner();
    assert_eq!(allowed.decision(), pb::Decision::Allow);
    assert_eq!(allowed.reason(), pb::Reason::AllowIdentity);
    assert_eq!(allowed.request_id, "r-1");
    assert_eq!(
        allowed.revision,
        revision(store.path()),
        "the same on every replica"
    );
    let [statement] = allowed.determining_statements.as_slice() else {
        panic!("{allowed:?}")
    };
    assert_eq!(statement.policy, format!("{ANN}/inline/inline"));
    assert_eq!(
        (
            statement.sid.as_str(),
            statement.index,
            statement.file.as_str()
        ),
        ("One", 0, "users/ann.json")
    );
    assert_eq!(statement.r#type(), pb::PolicyType::Identity);

    let denied = client
        .authorize(ann_asks("orders:Refund"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(denied.decision(), pb::Decision::Deny);
    assert_eq!(denied.reason(), pb::Reason::ImplicitDenyIdentity);
    assert!(denied.determining_statements.is_empty(), "{denied:?}");

    let stranger = pb::AuthorizeRequest {
        principal: ANN.replace("ann", "bob"),
        ..ann_asks("orders:Get")
    };
    let stranger = client.authorize(stranger).await.unwrap().into_inner();
    assert_eq!(
        stranger.reason(),
        pb::Reason::ImplicitDenyUnknownPrincipal,
        "E-3: no error"
    );
}

#[tokio::test]
async fn a_malformed_question_is_told_its_field() {
    let store = store_allowing("*");
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let good = ann_asks("orders:Get");
    let with = |entries: Vec<pb::authorize_request::ContextEntry>| pb::AuthorizeRequest {
        context: entries,
        ..good.clone()
    };
    let session = |session| pb::AuthorizeRequest {
        session: Some(session),
        ..good.clone()
    };

    let invalid = [
        (
            "principal",
            pb::AuthorizeRequest {
                principal: String::new(),
                ..good.clone()
            },
        ),
        (
            "principal",
            pb::AuthorizeRequest {
                principal: "ann".into(),
                ..good.clone()
            },
        ),
        (
            "action",
            pb::AuthorizeRequest {
                action: "orders:*".into(),
                ..good.clone()
            },
        ),
        (
            "action",
            pb::AuthorizeRequest {
                action: String::new(),
                ..good.clone()
            },
        ),
        (
            "resource",
            pb::AuthorizeRequest {
                resource: "order/1".into(),
                ..good.clone()
            },
        ),
        (
            "resource",
            pb::AuthorizeRequest {
                resource: String::new(),
                ..good.clone()
            },
        ),
        (
            "resource_account",
            pb::AuthorizeRequest {
                resource_account: "a b".into(),
                ..good.clone()
            },
        ),
        (
            "context[\"app:x\"]",
            with(vec![context("app:x", Some(Kind::NullValue(0)))]),
        ),
        ("context[\"app:x\"]", with(vec![context("app:x", None)])),
        (
            "context[\"app:x\"]",
            with(vec![context(
                "app:x",
                Some(Kind::StructValue(prost_types::Struct::default())),
            )]),
        ),
        (
            "context[\"app:x\"]",
            with(vec![context("app:x", list([Kind::NullValue(0)]))]),
        ),
        (
            "context[\"app:x\"]",
            with(vec![context("app:x", list([list([]).unwrap()]))]),
        ),
        (
            "context[\"app:x\"]",
            with(vec![context(
                "app:x",
                Some(Kind::NumberValue(9_007_199_254_740_992.0)),
            )]),
        ),
        (
            "context[\"app:x\"]",
            with(vec![context("app:x", Some(Kind::NumberValue(-1e300)))]),
        ),
        (
            "context[\"app:x\"]",
            with(vec![context("app:x", Some(Kind::NumberValue(f64::NAN)))]),
        ),
        (
            "context[\"app:x\"]",
            with(vec![context(
                "app:x",
                list([Kind::NumberValue(f64::INFINITY)]),
            )]),
        ),
    ];
    for (field, request) in invalid {
        let status = client.authorize(request).await.unwrap_err();
        assert_refused(&status, field, "INVALID_REQUEST");
    }

    // This is an entry without a value: an absent message, as some encoders write it.
    let bare = pb::authorize_request::ContextEntry {
        key: "app:x".into(),
        value: None,
    };
    assert_refused(
        &client.authorize(with(vec![bare])).await.unwrap_err(),
        "context[\"app:x\"]",
        "INVALID_REQUEST",
    );

    // A user cannot have session policies.
    let of_a_user = session(pb::SessionContext {
        policies: vec![allow("*")],
        ..pb::SessionContext::default()
    });
    let status = client.authorize(of_a_user).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");

    assert!(
        client.authorize(good).await.is_ok(),
        "and the server is none the worse"
    );
}

#[tokio::test]
async fn keys_that_iamd_derives_are_nobody_elses() {
    let store = store_allowing("*");
    let server = Server::start(store.path());
    let mut client = server.client().await;
    for key in [
        "aws:PrincipalTag/role",
        "AWS:principalarn",
        "aws:CurrentTime",
        "aws:MultiFactorAuthPresent",
        "aws:username",
    ] {
        let request = pb::AuthorizeRequest {
            context: vec![context(key, text("admin"))],
            ..ann_asks("orders:Get")
        };
        let status = client.authorize(request).await.unwrap_err();
        assert_refused(
            &status,
            &format!("context[{key:?}]"),
            "RESERVED_CONTEXT_KEY",
        ); // K-1
    }
    let free = pb::AuthorizeRequest {
        context: vec![context("aws:SourceIp", text("10.0.0.1"))],
        ..ann_asks("orders:Get")
    };
    assert!(client.authorize(free).await.is_ok(), "K-2");
}

/// A map on the wire is a list of entries. If a client repeats one, the question must be refused and not decided by the
/// last one.
#[tokio::test]
async fn a_context_key_that_stands_twice_is_refused() {
    let store = store_allowing("*");
    let server = Server::start(store.path());
    let mut client = server.client().await;
    for (first, second, n_between) in [
        ("app:x", "app:x", 1),
        ("app:x", "APP:X", 1),
        ("app:Team", "app:tEAM", 1),
        // Many keys are compared in another way than few.
        ("app:x", "APP:X", 20),
        ("app:Team", "app:tEAM", 100),
    ] {
        let mut entries = vec![context(first, text("1"))];
        entries.extend((0..n_between).map(|n| context(&format!("app:y{n}"), text("0"))));
        entries.push(context(second, text("2")));
        let request = pb::AuthorizeRequest {
            context: entries,
            ..ann_asks("orders:Get")
        };
        let status = client.authorize(request).await.unwrap_err();
        assert_eq!(
            status.code(),
            Code::InvalidArgument,
            "C-4: {first} {second}: {status:?}"
        );
        assert_eq!(
            status.get_error_details().error_info().unwrap().reason,
            "INVALID_REQUEST"
        );
        let details = status.get_error_details();
        let [violation] = &*details.bad_request().unwrap().field_violations else {
            panic!("{details:?}");
        };
        let field = violation.field.as_str();
        assert!(
            [first, second]
                .iter()
                .any(|key| field == format!("context[\"{key}\"]")),
            "the key as it was spelled: {field}"
        );
        assert_eq!(
            violation.description,
            "this context key appears twice; keys are compared ignoring case"
        );
    }
}

/// The same question is written byte by byte, so that nothing between the test and the wire can normalize it.
#[tokio::test]
async fn repeated_keys_are_seen_in_the_raw_bytes() {
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        assert!(length < 128, "one byte of length");
        [&[number << 3 | 2, length], content].concat()
    }
    let entry = |key: &str, value: &str| {
        let value = field(3, value.as_bytes()); // Value.string_value
        field(4, &[field(1, key.as_bytes()), field(2, &value)].concat()) // AuthorizeRequest.context
    };
    let question = [
        field(1, ANN.as_bytes()),
        field(2, b"orders:Get"),
        field(3, ORDER.as_bytes()),
    ]
    .concat();

    let store = store_allowing("*");
    let server = Server::start(store.path());
    server.client().await;
    let ask = async |bytes: Vec<u8>| {
        let mut client = tonic::client::Grpc::new(server.channel());
        client.ready().await.unwrap();
        let path = "/iamd.v1.AuthorizationService/Authorize"
            .try_into()
            .unwrap();
        let response: Result<tonic::Response<Vec<u8>>, _> = client
            .unary(tonic::Request::new(bytes), path, RawBytes)
            .await;
        response.map(tonic::Response::into_inner)
    };
    let once = [question.clone(), entry("app:x", "1"), entry("app:y", "2")].concat();
    let answer = pb::AuthorizeResponse::decode(ask(once).await.unwrap().as_slice()).unwrap();
    assert_eq!(answer.decision(), pb::Decision::Allow);
    for second in ["app:x", "App:X"] {
        let twice = [question.clone(), entry("app:x", "1"), entry(second, "1")].concat();
        assert_eq!(
            ask(twice).await.unwrap_err().code(),
            Code::InvalidArgument,
            "C-4: {second}"
        );
    }
    let status = ask(vec![0x0a, 0xff]).await.unwrap_err();
    assert!(
        matches!(status.code(), Code::Internal | Code::InvalidArgument),
        "no protobuf at all: {status:?}"
    );
}

/// The messages as bytes.
#[derive(Clone, Copy)]
struct RawBytes;

impl tonic::codec::Codec for RawBytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl tonic::codec::Encoder for RawBytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(
        &mut self,
        bytes: Vec<u8>,
        out: &mut tonic::codec::EncodeBuf<'_>,
    ) -> Result<(), Status> {
        prost::bytes::BufMut::put_slice(out, &bytes);
        Ok(())
    }
}

impl tonic::codec::Decoder for RawBytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(
        &mut self,
        bytes: &mut tonic::codec::DecodeBuf<'_>,
    ) -> Result<Option<Vec<u8>>, Status> {
        let n_bytes = prost::bytes::Buf::remaining(bytes);
        Ok(Some(
            prost::bytes::Buf::copy_to_bytes(bytes, n_bytes).to_vec(),
        ))
    }
}

/// It comes whole in one frame, so it could be answered at once.
#[tokio::test]
async fn a_short_question_over_a_low_limit_is_refused() {
    let store = store_allowing("*");
    let question = |n_bytes: usize| pb::AuthorizeRequest {
        context: vec![context("app:k", text(&"v".repeat(n_bytes)))],
        ..ann_asks("orders:Get")
    };
    let most = question(300).encoded_len().to_string();
    let options = ["--listen", "127.0.0.1:0", "--max-question-bytes", &most];
    let server = Server::start_with(store.path(), &options);
    let mut client = server.client().await;
    client.authorize(question(300)).await.unwrap();
    let refused = client.authorize(question(301)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
}

#[tokio::test]
async fn what_is_over_a_limit_is_refused_and_what_is_at_it_is_not() {
    let store = store_allowing("*");
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let entries = |n: usize| {
        (0..n)
            .map(|i| context(&format!("app:{i}"), text("v")))
            .collect::<Vec<_>>()
    };
    let strings = |n: usize| list((0..n).map(|_| Kind::StringValue("v".into())));
    let long = |n: usize| text(&"v".repeat(n));
    // The whole question has this many bytes, in texts of which none is too long.
    let whole = |n_bytes: usize| {
        let filled = |n_bytes: usize| {
            let mut filled: Vec<_> = (0..4)
                .map(|i| context(&format!("app:{i}"), long(16_000)))
                .collect();
            filled.push(context("app:rest", long(n_bytes)));
            filled
        };
        let length = |context| {
            let question = pb::AuthorizeRequest {
                context,
                ..ann_asks("orders:Get")
            };
            question.encoded_len()
        };
        // All lengths of a text of more than 127 bytes take two bytes each.
        let rest = 200 + n_bytes - length(filled(200));
        assert_eq!(length(filled(rest)), n_bytes);
        filled(rest)
    };
    let cases = [
        ("entries", entries(256), entries(257)),
        (
            "values of a list",
            vec![context("app:l", strings(1024))],
            vec![context("app:l", strings(1025))],
        ),
        (
            "bytes of a string",
            vec![context("app:s", long(16 * 1024))],
            vec![context("app:s", long(16 * 1024 + 1))],
        ),
        (
            "bytes of a question",
            whole(64 * 1024),
            whole(64 * 1024 + 1),
        ),
    ];
    for (what, at_limit, above) in cases {
        let request = |context| pb::AuthorizeRequest {
            context,
            ..ann_asks("orders:Get")
        };
        let answer = client.authorize(request(at_limit)).await;
        assert_eq!(
            answer.unwrap().into_inner().decision(),
            pb::Decision::Allow,
            "{what}"
        );
        let status = client.authorize(request(above)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
        assert_eq!(
            status.get_error_details().error_info().unwrap().reason,
            "TOO_LARGE",
            "{what}"
        );
    }

    let huge = pb::AuthorizeRequest {
        context: vec![context("app:s", long(5 << 20))],
        ..ann_asks("orders:Get")
    };
    let status = client.authorize(huge).await.unwrap_err();
    assert_eq!(
        status.code(),
        Code::OutOfRange,
        "a message above 4 MiB: {status:?}"
    );
    assert!(
        client.authorize(ann_asks("orders:Get")).await.is_ok(),
        "and the connection lives on"
    );
}

#[tokio::test]
async fn health_knows_its_services() {
    let store = store_allowing("*");
    let server = Server::start(store.path());
    server.client().await;
    let channel = server.channel();
    assert_eq!(health(&channel, "").await, Ok(ServingStatus::Serving));
    assert_eq!(health(&channel, SERVICE).await, Ok(ServingStatus::Serving));
    assert_eq!(
        health(&channel, "no.such.Service").await,
        Err(Code::NotFound)
    );
    let mut client = health_pb::health_client::HealthClient::new(channel);
    let listed = client.list(health_pb::HealthListRequest {}).await.unwrap();
    let listed = listed.into_inner().statuses.into_iter();
    let listed: Vec<_> = listed
        .map(|entry| (entry.key, entry.value.unwrap().status()))
        .collect();
    let serving = health_pb::health_check_response::ServingStatus::Serving;
    assert_eq!(listed, ["", SERVICE].map(|name| (name.to_owned(), serving)));

    let address = server.address();
    let serving = run(iamd(["healthcheck", "--server", &address]), "");
    assert_eq!(serving.status, Some(0), "{serving:?}");
    drop(server);
    let gone = run(iamd(["healthcheck", "--server", &address]), "");
    assert_eq!(gone.status, Some(1), "{gone:?}");
}

/// A server that loads its store or drains answers health checks, and says that it is not serving.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_health_check_of_a_server_that_does_not_serve_fails() {
    use tonic::transport::server::TcpIncoming;

    let (reporter, service) = tonic_health::server::health_reporter();
    let not_serving = tonic_health::ServingStatus::NotServing;
    reporter.set_service_status("", not_serving).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tonic::transport::Server::builder().add_service(service);
    let serving = tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let check = || run(iamd(["healthcheck", "--server", &address]), "");
    let finished = tokio::task::block_in_place(check);
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert_eq!(finished.stdout, "not serving\n", "{finished:?}");
    assert_eq!(finished.stderr, "", "it was asked");
    serving.abort();
}

#[tokio::test]
async fn a_client_needs_no_proto_files() {
    let store = store_allowing("*");
    let server = Server::start(store.path());
    server.client().await;
    let channel = server.channel();
    for (version, reflect) in [("v1", true), ("v1alpha", false)] {
        let ask = async |question: Ask| {
            if reflect {
                reflect_v1(&channel, question).await
            } else {
                reflect_v1alpha(&channel, question).await
            }
        };
        let Answer::Services(services) = ask(Ask::Services).await else {
            panic!("{version}")
        };
        for service in [SERVICE, "grpc.health.v1.Health"] {
            assert!(
                services.iter().any(|listed| listed == service),
                "{version}: {service} in {services:?}"
            );
        }
        // A load tester looks up the method; other tools look up the service or a message.
        for symbol in [
            SERVICE,
            "iamd.v1.AuthorizationService.Authorize",
            "iamd.v1.AuthorizeRequest",
        ] {
            let Answer::Files(files) = ask(Ask::Symbol(symbol)).await else {
                panic!("{version}: {symbol}")
            };
            let files: Vec<_> = files
                .iter()
                .map(|file| FileDescriptorProto::decode(file.as_slice()).unwrap())
                .collect();
            let message = files
                .iter()
                .flat_map(|file| &file.message_type)
                .find(|m| m.name() == "AuthorizeRequest")
                .unwrap();
            let field = message
                .field
                .iter()
                .find(|field| field.name() == "resource_account")
                .unwrap();
            assert_eq!(field.json_name(), "resourceAccount", "{version}: {symbol}");
            assert!(
                field.json_name.is_some(),
                "written out: some tools read camelCase only then"
            );
            let map = message
                .nested_type
                .iter()
                .find(|nested| nested.name() == "ContextEntry")
                .unwrap();
            assert!(
                map.options
                    .as_ref()
                    .is_some_and(|options| options.map_entry()),
                "clients see a map"
            );
        }
        assert!(
            matches!(ask(Ask::Symbol("no.such.Symbol")).await, Answer::Nothing),
            "{version}"
        );
    }
}

enum Ask {
    Services,
    Symbol(&'static str),
}

enum Answer {
    Services(Vec<String>),
    Files(Vec<Vec<u8>>),
    Nothing,
}

/// The two versions of the reflection protocol differ only in the package of their types.
macro_rules! reflect {
    ($name:ident, $version:ident) => {
        async fn $name(channel: &Channel, question: Ask) -> Answer {
            use protocol::server_reflection_request::MessageRequest;
            use protocol::server_reflection_response::MessageResponse;
            use tonic_reflection::pb::$version as protocol;

            let question = match question {
                Ask::Services => MessageRequest::ListServices(String::new()),
                Ask::Symbol(symbol) => MessageRequest::FileContainingSymbol(symbol.to_owned()),
            };
            let request = protocol::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(question),
            };
            let mut client =
                protocol::server_reflection_client::ServerReflectionClient::new(channel.clone());
            let stream = client
                .server_reflection_info(tokio_stream::once(request))
                .await;
            let answer = match stream {
                Ok(stream) => stream.into_inner().next().await,
                Err(_) => None,
            };
            match answer
                .and_then(Result::ok)
                .and_then(|response| response.message_response)
            {
                Some(MessageResponse::ListServicesResponse(list)) => Answer::Services(
                    list.service
                        .into_iter()
                        .map(|service| service.name)
                        .collect(),
                ),
                Some(MessageResponse::FileDescriptorResponse(files)) => {
                    Answer::Files(files.file_descriptor_proto)
                }
                _ => Answer::Nothing,
            }
        }
    };
}
reflect!(reflect_v1, v1);
reflect!(reflect_v1alpha, v1alpha);

#[tokio::test]
async fn a_unix_socket_is_a_listener_like_any_other() {
    use std::os::unix::fs::PermissionsExt as _;

    let store = store_allowing("orders:Get");
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("iamd.sock");
    let listen = format!("unix:{}", socket.display());
    for _ in 0..2 {
        // The second time, the socket of a dead process is there.
        let server = Server::start_with(store.path(), &["--listen", &listen]);
        let channel = Endpoint::from_shared(format!("unix://{}", socket.display()))
            .unwrap()
            .connect_lazy();
        ready(&channel, &server).await;
        let mut client = AuthorizationServiceClient::new(channel);
        let answer = client
            .authorize(ann_asks("orders:Get"))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.decision(), pb::Decision::Allow);
        let mode = fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0, "nobody else may connect: {mode:o}");
        drop(server);
        assert!(socket.exists(), "it was killed, so nobody tidied up");
    }
}

#[tokio::test]
async fn several_listeners_give_the_same_answers() {
    let store = store_allowing("orders:Get");
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("iamd.sock");
    let options = [
        "--listen",
        "127.0.0.1:0",
        "--listen",
        &format!("unix:{}", socket.display()),
        "--listen",
        "127.0.0.1:0",
    ];
    let server = Server::start_with(store.path(), &options);
    server.client().await;
    let addresses: Vec<String> = eventually("three addresses", async || {
        let found: Vec<String> = server
            .log()
            .iter()
            .filter(|line| line.contains("listening for gRPC"))
            .filter_map(|line| log_field(line, "address"))
            .collect();
        (found.len() == 3).then_some(found)
    })
    .await;
    for address in addresses {
        let uri = if address.starts_with("unix:") {
            format!("unix://{}", socket.display())
        } else {
            assert!(
                !address.ends_with(":0"),
                "the port that was chosen: {address}"
            );
            format!("http://{address}")
        };
        let mut client =
            AuthorizationServiceClient::new(Endpoint::from_shared(uri).unwrap().connect_lazy());
        assert_eq!(
            client
                .authorize(ann_asks("orders:Get"))
                .await
                .unwrap()
                .into_inner()
                .decision(),
            pb::Decision::Allow
        );
    }
}

#[test]
fn nobody_listens_in_plaintext_beyond_loopback_by_accident() {
    let store = store_allowing("*");
    let mut command = iamd(["serve", "--listen", "0.0.0.0:0", "--store"]);
    command.arg(store.path());
    let finished = run_until_it_serves(command).expect("it must not serve");
    assert_eq!(finished.status, Some(2), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("--insecure-plaintext"),
        "{}",
        finished.stderr
    );
}

#[tokio::test]
async fn a_port_in_use_is_said_so() {
    let store = store_allowing("*");
    let server = Server::start(store.path());
    let address = server.address();
    let mut command = iamd(["serve", "--listen", &address, "--store"]);
    command.arg(store.path());
    let finished = run(command, "");
    assert_eq!(finished.status, Some(2), "{}", finished.stderr);
    assert!(finished.stderr.contains(&address), "{}", finished.stderr);
}

#[test]
fn a_store_that_does_not_load_at_start_ends_the_process_with_all_that_is_wrong() {
    let store = store_allowing("*");
    write(
        store.path(),
        "users/bob.json",
        &user("bob", &allow("*").replace("Effect", "Efect")),
    );
    write(
        store.path(),
        "groups/support.json",
        "{\n  \"GroupName\": \"support\",\n",
    );
    write(store.path(), "managed-policies/Empty.json", "");
    let mut command = iamd(["serve", "--listen", "127.0.0.1:0", "--store"]);
    command.arg(store.path());
    let finished = run(command, "");
    assert_eq!(finished.status, Some(2), "{finished:?}");
    assert_eq!(finished.stdout, "");
    for part in [
        "users/bob.json:4:",
        "[unknown-member]",
        "did you mean `Effect`?",
        "groups/support.json:",
        "[syntax]",
        "managed-policies/Empty.json:1:1",
    ] {
        assert!(
            finished.stderr.contains(part),
            "{part} in:\n{}",
            finished.stderr
        );
    }
}

#[test]
fn without_a_store_nothing_is_served() {
    let folder = TempDir::new().unwrap();
    for store in [folder.path().to_owned(), folder.path().join("none")] {
        let mut command = iamd(["serve", "--listen", "127.0.0.1:0", "--store"]);
        command.arg(&store);
        let finished = run(command, "");
        assert_eq!(finished.status, Some(2), "{finished:?}");
        assert!(!finished.stderr.is_empty());
    }
}

#[tokio::test]
async fn sigterm_drains_and_ends_well() {
    let store = store_allowing("orders:Get");
    let mut server = Server::start(store.path());
    let mut client = server.client().await;
    let mut watch = watch_health(&server).await;
    assert_eq!(
        watch.next().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    client.authorize(ann_asks("orders:Get")).await.unwrap();

    let began = Instant::now();
    server.signal("TERM");
    let next = watch.next().await;
    assert!(
        next.as_ref().is_none_or(|update| update
            .as_ref()
            .is_ok_and(|health| health.status() == ServingStatus::NotServing)),
        "readiness goes first: {next:?}"
    );
    drop(watch);
    assert_eq!(server.exit_status().code(), Some(0), "{:?}", server.log());
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "idle connections hold nobody up: {:?}",
        began.elapsed()
    );
    assert!(
        client.authorize(ann_asks("orders:Get")).await.is_err(),
        "and nobody answers"
    );
}

/// A load balancer needs time to notice that a server ends. Until then it sends calls.
#[tokio::test]
async fn calls_are_taken_until_the_pre_stop_delay_is_over() {
    let store = store_allowing("orders:Get");
    let delay = Duration::from_secs(2);
    let mut server = Server::start_with(
        store.path(),
        &["--listen", "127.0.0.1:0", "--pre-stop-delay", "2s"],
    );
    server.client().await;
    let began = Instant::now();
    server.signal("TERM");
    let channel = server.channel();
    eventually("a health check says that it does not serve", async || {
        let status = health(&channel, "").await.unwrap();
        (status == ServingStatus::NotServing).then_some(())
    })
    .await;
    let mut late = Client::new(server.channel()); // a connection of its own
    late.authorize(ann_asks("orders:Get")).await.unwrap();
    assert!(began.elapsed() < delay, "the machine is too slow");
    assert_eq!(server.exit_status().code(), Some(0), "{:?}", server.log());
    assert!(began.elapsed() >= delay, "{:?}", began.elapsed());
}

/// A kubelet asks the pod's IP, in plaintext. Nothing else may be had there, and other clients keep no kubelet away.
#[tokio::test]
async fn the_address_for_health_serves_nothing_else() {
    let store = store_allowing("orders:Get");
    let server = Server::start_with(
        store.path(),
        &[
            "--listen",
            "127.0.0.1:0",
            "--health-listen",
            "0.0.0.0:0",
            "--max-connections",
            "1",
        ],
    );
    let address = server.wait_for_log("listening for health checks", |line| {
        line.contains("listening for health checks")
            .then(|| log_field(line, "address").unwrap())
    });
    let address = address.replace("0.0.0.0", "127.0.0.1");
    let mut client = server.client().await;
    client.authorize(ann_asks("orders:Get")).await.unwrap();
    let channel = channel_to(&address);
    assert_eq!(health(&channel, "").await, Ok(ServingStatus::Serving));
    let mut refused = Client::new(channel.clone());
    let question = ann_asks("orders:Get");
    let status = refused.authorize(question).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    let status = refused.status(pb::StatusRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    let mut reflection =
        tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(channel);
    let nothing = reflection
        .server_reflection_info(tokio_stream::empty())
        .await;
    assert_eq!(nothing.unwrap_err().code(), Code::Unimplemented);
}

/// The newest connections have a place, so those who hold many keep no kubelet away.
#[tokio::test]
async fn held_connections_keep_no_health_check_away() {
    let store = store_allowing("orders:Get");
    let server = Server::start_with(
        store.path(),
        &[
            "--listen",
            "127.0.0.1:0",
            "--health-listen",
            "127.0.0.1:0",
            "--http-listen",
            "127.0.0.1:0",
        ],
    );
    let address_of = |what: &str| {
        server.wait_for_log(what, |line| {
            line.contains(what)
                .then(|| log_field(line, "address").unwrap())
        })
    };
    let for_health = address_of("listening for health checks");
    let for_http = address_of("listening for HTTP");
    server.client().await;
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(tokio::net::TcpStream::connect(&for_http).await.unwrap());
    }
    // A watch holds its connection for as long as its client wants.
    let mut watches = Vec::new();
    for _ in 0..20 {
        let mut watcher = HealthClient::new(channel_to(&for_health));
        let request = HealthCheckRequest {
            service: String::new(),
        };
        watches.push(watcher.watch(request).await.unwrap());
    }
    for which in ["for health checks", "for HTTP"] {
        server.wait_for_log(which, |line| {
            (line.contains("oldest-closed") && line.contains(which)).then_some(())
        });
    }
    let channel = channel_to(&for_health);
    assert_eq!(health(&channel, "").await, Ok(ServingStatus::Serving));
    let mut page = tokio::net::TcpStream::connect(&for_http).await.unwrap();
    page.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    page.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn calls_in_flight_are_cut_at_the_drain_timeout() {
    let store = store_allowing("*");
    let mut server = Server::start_with(
        store.path(),
        &["--listen", "127.0.0.1:0", "--drain-timeout", "200ms"],
    );
    server.client().await;
    let _held = hold_a_call(&server).await;
    server.signal("TERM");
    assert_eq!(server.exit_status().code(), Some(0), "{:?}", server.log());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let store = store_allowing("*");
    let mut server = Server::start_with(
        store.path(),
        &["--listen", "127.0.0.1:0", "--drain-timeout", "1h"],
    );
    server.client().await;
    let _held = hold_a_call(&server).await;
    server.signal("TERM");
    // The server has seen the first signal once the listener is gone or health says so. The second signal follows then.
    let channel = server.channel();
    eventually("the drain", async || {
        (health(&channel, "").await != Ok(ServingStatus::Serving)).then_some(())
    })
    .await;
    // A signal within the first second may be the same kill, sent to a group. A later one is intended.
    eventually("the end", async || {
        server.signal("TERM");
        (!server.is_running()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_log_that_nobody_reads_does_not_hold_up_the_end() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Command, Stdio};

    struct Running(Child);
    impl Drop for Running {
        fn drop(&mut self) {
            _ = self.0.kill();
            _ = self.0.wait();
        }
    }

    let store = store_allowing("*");
    let root = store.path().to_str().unwrap();
    let child = iamd(["serve", "--store", root, "--listen", "127.0.0.1:0"])
        .args(["--drain-timeout", "1s"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut server = Running(child);
    let mut log = BufReader::new(server.0.stderr.take().unwrap()).lines();
    assert!(
        log.any(|line| line.unwrap().contains("the store is loaded")),
        "it serves"
    );
    // From here on nobody reads. There are more findings than the pipe holds, so a direct write to the log would block
    // forever.
    for index in 0..1_000 {
        write(store.path(), &format!("users/broken-{index}.json"), "{");
    }
    let process = format!("/proc/{}", server.0.id());
    let tasks = format!("{process}/task");
    let pipe = fs::read_link(format!("{process}/fd/2")).unwrap();
    eventually("a thread that waits for the log", async || {
        // Its first argument is a descriptor of the pipe.
        let waits = |task: &fs::DirEntry| {
            let call = fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
            let argument = call.split_whitespace().nth(1).unwrap_or_default();
            let argument = argument.strip_prefix("0x").unwrap_or_default();
            let descriptor = u32::from_str_radix(argument, 16).unwrap_or(u32::MAX);
            fs::read_link(format!("{process}/fd/{descriptor}")).is_ok_and(|link| link == pipe)
        };
        let mut tasks = fs::read_dir(&tasks).unwrap().flatten();
        tasks.any(|task| waits(&task)).then_some(())
    })
    .await;
    let kill = Command::new("kill")
        .args(["-TERM", &server.0.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let status = eventually("the end", async || server.0.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(0));
}

/// A call that stays in flight: a stream of questions that never ends.
async fn hold_a_call(server: &Server) -> impl Sized + use<> {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

    let mut client = ServerReflectionClient::new(server.channel());
    client
        .server_reflection_info(tokio_stream::pending())
        .await
        .unwrap()
        .into_inner()
}

async fn watch_health(server: &Server) -> tonic::Streaming<tonic_health::pb::HealthCheckResponse> {
    let request = HealthCheckRequest {
        service: SERVICE.to_owned(),
    };
    HealthClient::new(server.channel())
        .watch(request)
        .await
        .unwrap()
        .into_inner()
}

#[tokio::test]
async fn a_deadline_of_the_client_is_its_own_error() {
    let store = store_allowing("*");
    let server = Server::start(store.path());
    let mut client = server.client().await;
    // The clock of deadlines ticks in milliseconds, and most answers come sooner.
    let mut struck = None;
    for _ in 0..10_000 {
        let mut request = tonic::Request::new(ann_asks("orders:Get"));
        request.set_timeout(Duration::from_nanos(1));
        struck = client.authorize(request).await.err();
        if struck.is_some() {
            break;
        }
    }
    let status = struck.expect("a deadline passes");
    // Either side may notice first, but there must not be an answer.
    assert!(
        matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
        "{status:?}"
    );
}

#[tokio::test]
async fn calls_side_by_side_do_not_mix() {
    let store = TempDir::new().unwrap();
    write_store(store.path(), "orders:Get");
    let server = Server::start(store.path());
    let client = server.client().await;
    let mut calls = tokio::task::JoinSet::new();
    for i in 0..500 {
        let mut client = client.clone();
        calls.spawn(async move {
            let action = if i % 2 == 0 {
                "orders:Get"
            } else {
                "orders:Refund"
            };
            let request = pb::AuthorizeRequest {
                request_id: i.to_string(),
                ..ann_asks(action)
            };
            (i, client.authorize(request).await.unwrap().into_inner())
        });
    }
    while let Some(call) = calls.join_next().await {
        let (i, answer) = call.unwrap();
        assert_eq!(answer.request_id, i.to_string());
        assert_eq!(answer.decision() == pb::Decision::Allow, i % 2 == 0);
    }
}

/// While the store is being read, the server listens but does not answer: it must never send a deny that nothing
/// decided.
#[tokio::test]
async fn before_the_first_snapshot_there_is_no_answer() {
    const N_USERS: usize = 2_000;
    let store = store_allowing("orders:Get");
    for n in 0..N_USERS {
        let name = format!("user{n}");
        write(
            store.path(),
            &format!("users/{name}.json"),
            &user(&name, &allow("orders:Get")),
        );
    }
    // On a busy machine, chance determines whether a call comes before the store is read.
    eventually("a call before the store was read", async || {
        (refusals_until_ready(&store).await > 0).then_some(())
    })
    .await;
}

/// Starts a server, asks it until it answers, and returns how often it did not.
async fn refusals_until_ready(store: &TempDir) -> usize {
    let server = Server::start(store.path());
    let channel = server.channel();
    let mut client = AuthorizationServiceClient::new(channel.clone());
    let mut n_refused = 0;
    eventually("the first answer", async || {
        let was_ready = health(&channel, SERVICE).await == Ok(ServingStatus::Serving);
        match client.authorize(ann_asks("orders:Get")).await {
            Ok(answer) => {
                assert_eq!(answer.into_inner().decision(), pb::Decision::Allow);
                Some(())
            }
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                assert!(!was_ready, "it said that it was ready");
                let details = status.get_error_details();
                assert_eq!(
                    details.error_info().unwrap().reason,
                    "NOT_READY",
                    "{status:?}"
                );
                assert!(details.retry_info().is_some(), "{status:?}");
                n_refused += 1;
                None
            }
        }
    })
    .await;
    n_refused
}
