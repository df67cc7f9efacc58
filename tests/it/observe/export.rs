//! Export by OTLP to a receiver of the test's own, and what happens if there is none.

use std::process::Command;
use std::time::{Duration, Instant};

use iamd::service::pb;
use opentelemetry_proto::tonic::metrics::v1::AggregationTemporality;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use tonic::Request;

use super::receiver::{Receiver, attribute};
use super::{Scrape, get, http_address};
use crate::support::{
    ACCOUNT, Client, Server, ann_asks, eventually, iamd, log_field, number_from_environment,
    revision, store_allowing,
};
use crate::tls::authority::{Authority, ClientFiles};

/// Returns a command that serves `store` with these variables, and exports soon.
fn command(store: &tempfile::TempDir, variables: &[(&str, &str)]) -> Command {
    let mut command = iamd(["serve", "--listen", "127.0.0.1:0", "--store"]);
    command
        .arg(store.path())
        .env("OTEL_METRIC_EXPORT_INTERVAL", "100")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .env("OTEL_BLRP_SCHEDULE_DELAY", "50")
        .envs(variables.iter().copied());
    command
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Asks as ann, in the trace above. The last byte of the header says whether the trace is sampled.
async fn ask(client: &mut Client, action: &str, is_sampled: bool) {
    let mut request = Request::new(ann_asks(action));
    let header = format!("00-{TRACE}-{PARENT}-0{}", u8::from(is_sampled));
    request
        .metadata_mut()
        .insert("traceparent", header.parse().unwrap());
    client.authorize(request).await.unwrap();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Exports everything to `receiver`, and checks what it gets.
async fn exports_everything(receiver: &Receiver, protocol: &str) {
    let store = store_allowing("orders:Get");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=of-the-test"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_SERVICE_NAME", "orders-pdp"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test,service.version=mine",
        ),
    ];
    let mut server = Server::spawn(command(&store, &variables));
    let mut client = server.client().await;
    ask(&mut client, "orders:Get", true).await;
    ask(&mut client, "orders:Put", true).await;
    client
        .authorize(pb::AuthorizeRequest::default())
        .await
        .unwrap_err();

    let of_authorize = |status: &'static str| {
        move |span: &opentelemetry_proto::tonic::trace::v1::Span| {
            span.name == "iamd.v1.AuthorizationService/Authorize"
                && attribute(&span.attributes, "rpc.response.status_code").as_deref()
                    == Some(status)
        }
    };
    let (resource, allowed, denied, malformed) = eventually("three spans", async || {
        receiver.look(|received| {
            let spans = received.spans.iter();
            let ok: Vec<_> = spans
                .clone()
                .filter(|(_, span)| of_authorize("OK")(span))
                .collect();
            let malformed = spans
                .clone()
                .find(|(_, span)| of_authorize("INVALID_ARGUMENT")(span));
            let [(resource, one), (_, other)] = ok.as_slice() else {
                return None;
            };
            Some((
                resource.clone(),
                one.clone(),
                other.clone(),
                malformed?.1.clone(),
            ))
        })
    })
    .await;
    for (name, value) in [
        ("service.name", "orders-pdp"),
        ("service.version", "mine"),
        ("deployment.environment.name", "test"),
    ] {
        let found = attribute(&resource.attributes, name);
        assert_eq!(found.as_deref(), Some(value), "{resource:?}");
    }
    assert!(attribute(&resource.attributes, "service.instance.id").is_some());
    let revision = revision(store.path());
    for (span, decision, reason) in [
        (&allowed, "allow", "allow_identity"),
        (&denied, "deny", "implicit_deny_identity"),
    ] {
        assert_eq!(hex(&span.trace_id), TRACE);
        assert_eq!(hex(&span.parent_span_id), PARENT);
        for (name, value) in [
            ("rpc.system.name", "grpc"),
            ("iamd.decision", decision),
            ("iamd.reason", reason),
            ("iamd.revision", revision.as_str()),
            ("iamd.cache.hit", "false"),
        ] {
            let found = attribute(&span.attributes, name);
            assert_eq!(found.as_deref(), Some(value), "{name}: {span:?}");
        }
    }
    assert_eq!(attribute(&malformed.attributes, "iamd.decision"), None);
    assert_ne!(hex(&malformed.trace_id), TRACE, "it named no trace");

    let address = http_address(&server);
    let status = get(&address, "/statusz");
    for signal in ["metrics", "traces", "logs"] {
        let to = format!("{signal} to {}", receiver.endpoint);
        assert!(status.contains(&to), "{status}");
    }
    eventually("the metrics", async || {
        receiver.look(|received| {
            let allows = received.counter("iamd_decisions_total", ("decision", "allow"))?;
            let denies = received.counter("iamd_decisions_total", ("decision", "deny"))?;
            let (count, sum) = received.histogram("iamd_decision_duration_seconds")?;
            let calls = received.histogram("rpc.server.call.duration")?.0;
            let scraped = Scrape::of(&address).value("iamd_decision_duration_seconds_sum");
            let is_same_sum = (sum - scraped).abs() < 1e-9;
            ((allows, denies, count) == (1, 1, 2) && is_same_sum && calls >= 3).then_some(())
        })
    })
    .await;
    eventually("a line of the log", async || {
        receiver.look(|received| {
            let line = received
                .lines
                .iter()
                .find(|(line, _)| line == "the store is loaded")?;
            assert_eq!(attribute(&line.1, "n_files").as_deref(), Some("2"));
            Some(())
        })
    })
    .await;
    receiver.look(|received| {
        for (key, encoding) in &received.requests {
            assert_eq!(key.as_deref(), Some("of-the-test"));
            assert_eq!(encoding.as_deref(), Some("gzip"));
        }
        let of_principal = format!("{:?} {:?}", received.spans, received.lines);
        assert!(
            !of_principal.contains(ACCOUNT),
            "no name of a principal is exported"
        );
    });
    server.signal("TERM");
    assert!(server.exit_status().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_over_grpc_gets_metrics_traces_and_logs() {
    exports_everything(&Receiver::over_grpc().await, "grpc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_over_http_gets_metrics_traces_and_logs() {
    exports_everything(&Receiver::over_http(), "http/protobuf").await;
}

/// What is left is exported at the end, so a short life shows how many spans there were.
async fn spans_of_a_short_life(variables: &[(&str, &str)], is_sampled: bool) -> Vec<String> {
    let receiver = Receiver::over_http();
    spans_sent_to(&receiver, variables, is_sampled).await
}

async fn spans_sent_to(
    receiver: &Receiver,
    variables: &[(&str, &str)],
    is_sampled: bool,
) -> Vec<String> {
    let store = store_allowing("orders:Get");
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint.as_str());
    let mut server = Server::spawn(command(&store, &[&[endpoint], variables].concat()));
    let mut client = server.client().await;
    ask(&mut client, "orders:Get", is_sampled).await;
    server.signal("TERM");
    assert!(server.exit_status().success());
    receiver.look(|received| {
        let spans = received.spans.iter().map(|(_, span)| span);
        let of_authorize = spans.filter(|span| span.name.ends_with("/Authorize"));
        of_authorize.map(|span| hex(&span.trace_id)).collect()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_decides_whether_its_trace_is_sampled_unless_a_variable_does() {
    assert_eq!(spans_of_a_short_life(&[], true).await, [TRACE]);
    let none: [&str; 0] = [];
    assert_eq!(spans_of_a_short_life(&[], false).await, none);
    let always = [("OTEL_TRACES_SAMPLER", "always_on")];
    assert_eq!(spans_of_a_short_life(&always, false).await, [TRACE]);
    for off in [
        ("OTEL_TRACES_SAMPLER", "always_off"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_SDK_DISABLED", "true"),
    ] {
        assert_eq!(spans_of_a_short_life(&[off], true).await, none, "{off:?}");
    }
    for (ratio, spans) in [("0", &[][..]), ("1", &[TRACE])] {
        let sampler = [
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", ratio),
        ];
        assert_eq!(
            spans_of_a_short_life(&sampler, true).await,
            spans,
            "{ratio}"
        );
    }
    let alone = spans_of_a_short_life(&[("OTEL_PROPAGATORS", "none")], true).await;
    assert!(alone.len() == 1 && alone[0] != TRACE, "{alone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_signal_may_go_to_a_receiver_of_its_own() {
    let (of_traces, of_metrics) = (Receiver::over_http(), Receiver::over_grpc().await);
    let store = store_allowing("orders:Get");
    let traces = format!("{}/v1/traces", of_traces.endpoint);
    let mut server = Server::spawn(command(
        &store,
        &[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", traces.as_str()),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &of_metrics.endpoint),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
            ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-key=of-metrics"),
        ],
    ));
    let mut client = server.client().await;
    ask(&mut client, "orders:Get", true).await;
    eventually("the metrics", async || {
        of_metrics.look(|received| {
            let metric = received
                .metrics
                .iter()
                .find(|one| one.name == "iamd_decisions_total")?;
            let Some(Data::Sum(sum)) = &metric.data else {
                panic!("{metric:?}");
            };
            let delta = AggregationTemporality::Delta as i32;
            assert_eq!(sum.aggregation_temporality, delta);
            Some(())
        })
    })
    .await;
    server.signal("TERM");
    assert!(server.exit_status().success());
    of_traces.look(|received| {
        assert!(!received.spans.is_empty());
        assert!(received.metrics.is_empty() && received.lines.is_empty());
        assert!(received.requests.iter().all(|(key, _)| key.is_none()));
    });
    of_metrics.look(|received| {
        assert!(received.spans.is_empty() && received.lines.is_empty());
        let mut keys = received.requests.iter().map(|(key, _)| key.as_deref());
        assert!(keys.all(|key| key == Some("of-metrics")));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_over_tls_is_known_by_its_authority_and_knows_iamd_by_its_certificate() {
    let authority = Authority::new("receiver");
    let folder = tempfile::tempdir().unwrap();
    let own = authority.client(&["iamd.example"]);
    let files = ClientFiles::write(folder.path(), &authority.pem, &own);
    let [trusted, certificate, key] = files.paths();
    let other = folder.path().join("other.pem");
    std::fs::write(&other, Authority::new("another").pem).unwrap();
    let proof = [
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", key),
    ];
    let trust = |path| ("OTEL_EXPORTER_OTLP_CERTIFICATE", path);
    for (receiver, protocol) in [
        (Receiver::over_http_with_tls(&authority), "http/protobuf"),
        (Receiver::over_grpc_with_tls(&authority).await, "grpc"),
    ] {
        let protocol = [("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
        let none: [&str; 0] = [];
        let unproven = [&protocol[..], &[trust(trusted)]].concat();
        assert_eq!(spans_sent_to(&receiver, &unproven, true).await, none);
        let untrusted = [&protocol[..], &[trust(other.to_str().unwrap())], &proof].concat();
        assert_eq!(spans_sent_to(&receiver, &untrusted, true).await, none);
        let both = [&protocol[..], &[trust(trusted)], &proof].concat();
        assert_eq!(spans_sent_to(&receiver, &both, true).await, [TRACE]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_without_effect_is_named_at_the_start() {
    let store = store_allowing("orders:Get");
    let server = Server::spawn(command(
        &store,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPONT", "http://127.0.0.1:1"),
            ("OTEL_METRIC_EXPORT_TIMEOUT", "5"),
        ],
    ));
    server.client().await;
    for name in ["OTEL_EXPORTER_OTLP_ENDPONT", "OTEL_METRIC_EXPORT_TIMEOUT"] {
        server.wait_for_log(name, |line| {
            let is_it = log_field(line, "id")? == "export-failed" && line.contains(name);
            is_it.then_some(())
        });
    }
    server.wait_for_log("that nothing is exported", |line| {
        log_field(line, "message")?
            .starts_with("nothing is exported by OTLP")
            .then_some(())
    });
}

/// Returns the resident memory of a server, in bytes.
fn resident_bytes(address: &str) -> f64 {
    Scrape::of(address).value("process_resident_memory_bytes")
}

/// The most bytes by which full queues may raise the memory, with an export of each kind under way.
const MOST_OF_QUEUES: f64 = 8e6;

/// Asks a server that exports everything to `endpoint`, its records of decisions, too. No call may wait for the receiver,
/// and the memory may not grow once the queues are full. If the receiver `is_silent`, they are full, and each export has as
/// much to send as it may, once the first ones were given up.
async fn costs_neither_time_nor_memory(endpoint: &str, protocol: &str, is_silent: bool) {
    let store = store_allowing("orders:Get");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
    ];
    let mut command = command(&store, &variables);
    command
        .args(["--decision-log", "best_effort"])
        .args(["--decision-log-file", "otlp:"])
        .args(["--decision-log-queue-bytes", "256KiB"]);
    let mut server = Server::spawn(command);
    let address = http_address(&server);
    let mut client = server.client().await;
    let at_first = resident_bytes(&address);
    let mut slowest = Duration::ZERO;
    let mut after_queues_are_full = 0.0;
    let (begun, mut n_calls) = (Instant::now(), 0);
    let at_least = number_from_environment("IAMD_TEST_EXPORT_SECONDS", 0);
    while n_calls < 6_000 || begun.elapsed() < Duration::from_secs(at_least) {
        let begun = Instant::now();
        ask(&mut client, "orders:Get", true).await;
        slowest = slowest.max(begun.elapsed());
        n_calls += 1;
        if n_calls == 3_000 {
            let given_up = [
                "decision-log-failed",
                "BatchLogProcessor.ExportError",
                "BatchSpanProcessor.ExportError",
            ];
            for kind in given_up.iter().filter(|_| is_silent) {
                server.wait_for_log(kind, |line| line.contains(kind).then_some(()));
            }
            after_queues_are_full = resident_bytes(&address);
        }
    }
    // An export takes ten seconds until it is given up, and a call that waited for it would take as long.
    assert!(slowest < Duration::from_secs(5), "{protocol}: {slowest:?}");
    let of_queues = after_queues_are_full - at_first;
    assert!(of_queues < MOST_OF_QUEUES, "{protocol}: {of_queues} bytes");
    let grown = resident_bytes(&address) - after_queues_are_full;
    let most = if is_silent { 3e6 } else { 4e6 };
    assert!(grown < most, "{protocol}: {grown} bytes more");
    println!(
        "{protocol}: {n_calls} calls, the slowest took {slowest:?}, {of_queues} bytes for the queues, {grown} bytes more"
    );
    server.signal("TERM");
    let status = server.exit_status_within(Duration::from_secs(10));
    assert!(status.success(), "{protocol}");
    let log = server.whole_log();
    let faults = log.iter().filter(|line| line.contains("internal-error"));
    assert_eq!(faults.count(), 0, "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_never_answers_costs_neither_time_nor_memory() {
    // The system accepts its connections, and nobody reads them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    for protocol in ["grpc", "http/protobuf"] {
        costs_neither_time_nor_memory(&endpoint, protocol, true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_answers_late_costs_neither_time_nor_memory() {
    let receiver = Receiver::over_http();
    receiver.answer_after(Duration::from_secs(2));
    costs_neither_time_nor_memory(&receiver.endpoint, "http/protobuf", false).await;
    receiver.look(|received| assert!(!received.requests.is_empty(), "it is used"));
}
