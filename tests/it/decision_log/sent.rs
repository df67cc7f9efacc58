//! Records that go out as logs of OTLP: what the receiver gets, and what happens while it takes none.

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use serde_json::Value;
use tempfile::TempDir;
use tonic::Request;

use super::failures::assert_complete;
use super::schema::Schema;
use super::{GET, Logged, REFUND};
use crate::observe::receiver::{Receiver, attribute, text};
use crate::observe::{Scrape, http_address};
use crate::support::{Server, ann_asks, eventually, iamd, run, store_allowing};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Starts a server that sends its records to `receiver`.
async fn sending_to(receiver: &Receiver, protocol: &str, options: &[&str]) -> Logged {
    let store = store_allowing(GET);
    let mut command = iamd(["serve", "--listen", "127.0.0.1:0", "--store"]);
    command
        .arg(store.path())
        .args(["--decision-log", "best_effort"])
        .args(["--decision-log-file", "otlp:"])
        .args(options)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint)
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        .env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
    let server = Server::spawn(command);
    let client = server.client().await;
    Logged {
        store,
        folder: TempDir::new().unwrap(),
        server,
        client,
    }
}

fn records(receiver: &Receiver) -> Vec<LogRecord> {
    receiver.look(|received| received.records.clone())
}

/// Returns the lines in the bodies of the records.
fn lines(records: &[LogRecord]) -> Vec<Value> {
    let bodies = records.iter().map(|record| text(record).unwrap());
    bodies
        .map(|body| serde_json::from_str(&body).unwrap())
        .collect()
}

async fn sends_every_record(receiver: &Receiver, protocol: &str) {
    let mut logged = sending_to(receiver, protocol, &[]).await;
    let mut request = Request::new(ann_asks(GET));
    let header = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let header = header.parse().unwrap();
    request.metadata_mut().insert("traceparent", header);
    let first = logged.client.authorize(request).await.unwrap();
    let first = first.into_inner().decision_id;
    for _ in 0..2_000 {
        logged.ask(REFUND).await.unwrap();
    }
    logged.server.signal("TERM");
    assert!(logged.server.exit_status().success());

    let records = records(receiver);
    let lines = lines(&records);
    assert_eq!(assert_complete(&lines, 2_001), 0);
    let schema = Schema::read();
    for line in &lines {
        assert_eq!(schema.check(line), Ok(()), "{line}");
    }
    let events = [0, 1, 2, 2_002].map(|n: usize| records[n].event_name.as_str());
    assert_eq!(
        events,
        [
            "iamd.decision_log.start",
            "iamd.decision",
            "iamd.decision",
            "iamd.decision_log.end"
        ]
    );
    let named = |record: &LogRecord, name| attribute(&record.attributes, name).unwrap();
    for (record, decision, reason) in [
        (&records[1], "allow", "allow_identity"),
        (&records[2], "deny", "implicit_deny_identity"),
    ] {
        assert_eq!(named(record, "iamd.decision"), decision);
        assert_eq!(named(record, "iamd.reason"), reason);
    }
    assert_eq!(named(&records[1], "iamd.decision.id"), first);
    let trace: String = records[1]
        .trace_id
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        (trace.as_str(), &lines[1]["traceId"]),
        (TRACE, &TRACE.into())
    );
    let at: jiff::Timestamp = lines[1]["time"].as_str().unwrap().parse().unwrap();
    assert_eq!(i128::from(records[1].time_unix_nano), at.as_nanosecond());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_over_grpc_gets_every_record() {
    sends_every_record(&Receiver::over_grpc().await, "grpc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_over_http_gets_every_record() {
    sends_every_record(&Receiver::over_http(), "http/protobuf").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_does_not_take_is_sent_later_or_told_as_lost() {
    for (receiver, protocol) in [
        (Receiver::over_grpc().await, "grpc"),
        (Receiver::over_http(), "http/protobuf"),
    ] {
        receiver.refuse(true);
        let small = ["--decision-log-queue-bytes", "16KiB"];
        let mut logged = sending_to(&receiver, protocol, &small).await;
        let address = http_address(&logged.server);
        for _ in 0..300 {
            logged.ask(GET).await.unwrap();
        }
        let counted = Scrape::of(&address).value("iamd_decision_log_lost_total");
        assert!(
            counted > 0.0,
            "{protocol}: 300 records are more than 16 KiB"
        );
        logged.server.wait_for_log("that records are lost", |line| {
            line.contains("decision-log-failed").then_some(())
        });
        receiver.refuse(false);
        eventually("what waited", async || {
            (Scrape::of(&address).value("iamd_decision_log_queue") == 0.0).then_some(())
        })
        .await;
        logged.ask(GET).await.unwrap();
        logged.server.signal("TERM");
        assert!(logged.server.exit_status().success());
        let lines = lines(&records(&receiver));
        let n_lost = assert_complete(&lines, 301);
        assert_eq!(n_lost as f64, counted, "{protocol}");
    }
}

/// Returns how the start fails.
fn refused(options: &[&str], variables: &[(&str, &str)]) -> String {
    let store = store_allowing(GET);
    let mut command = iamd(["serve", "--listen", "127.0.0.1:0", "--store"]);
    command.arg(store.path()).args(options);
    command.envs(variables.iter().copied());
    let finished = run(command, "");
    assert_eq!(finished.status, Some(2), "{}", finished.stderr);
    finished.stderr
}

#[test]
fn records_do_not_go_to_a_receiver_that_is_not_named_or_must_have_them_first() {
    let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")];
    let to = ["--decision-log-file", "otlp:", "--decision-log"];
    let required = refused(&[&to[..], &["required"]].concat(), &endpoint);
    assert!(required.contains("use `best_effort`"), "{required}");
    let unnamed = refused(&[&to[..], &["best_effort"]].concat(), &[]);
    assert!(unnamed.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{unnamed}");
}
