//! The trace in a record: the one that the caller names, or else that of the span that iamd made.

use std::collections::BTreeMap;

use iamd::service::pb;
use prost_types::value::Kind;
use tokio_stream::StreamExt as _;
use tonic::Request;

use super::records::{encoded, entry};
use super::{GET, Logged, of_type};
use crate::observe::receiver::Receiver;
use crate::support::ann_asks;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Returns `message` as a call with this header `traceparent`, if there is one.
fn called<T>(message: T, traceparent: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(header) = traceparent {
        let value = header.parse().unwrap();
        request.metadata_mut().insert("traceparent", value);
    }
    request
}

/// Returns a question that comes in more than one piece, so that it takes the long way through the server.
fn long_question() -> pb::AuthorizeRequest {
    let long = || Kind::StringValue("x".repeat(10_000));
    let keys = ["orders:a", "orders:b", "orders:c"];
    pb::AuthorizeRequest {
        context: keys.map(|key| entry(key, long())).to_vec(),
        ..ann_asks(GET)
    }
}

/// Asks in each of the ways, once for each header, and returns the traces of all records by their request ids.
async fn traces(variables: &[(&str, &str)], headers: &[Option<&str>]) -> Vec<Vec<String>> {
    let mut logged = Logged::start_in("required", &[], variables).await;
    for (n, header) in headers.iter().enumerate() {
        let of = |question: pb::AuthorizeRequest| pb::AuthorizeRequest {
            request_id: n.to_string(),
            ..question
        };
        for question in [ann_asks(GET), long_question()] {
            let call = called(of(question), *header);
            logged.client.authorize(call).await.unwrap();
        }
        let requests = vec![of(ann_asks(GET)), of(ann_asks(GET))];
        let batch = encoded(pb::BatchAuthorizeRequest { requests });
        let call = called(batch, *header);
        logged.client.batch_authorize(call).await.unwrap();
        let request = Some(of(ann_asks(GET)));
        let question = encoded(pb::StreamAuthorizeRequest { request });
        let questions = tokio_stream::iter([question.clone(), question]);
        let answers = logged.client.stream_authorize(called(questions, *header));
        let answers: Vec<_> = answers.await.unwrap().into_inner().collect().await;
        assert_eq!(answers.len(), 2);
    }
    let mut by_header = BTreeMap::<usize, Vec<String>>::new();
    for record in of_type(logged.ended(), "decision") {
        let n = record["requestId"].as_str().unwrap().parse().unwrap();
        let trace = record["traceId"].as_str().unwrap().to_owned();
        by_header.entry(n).or_default().push(trace);
    }
    by_header.into_values().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_spans_a_record_has_the_trace_that_the_caller_names() {
    let sampled = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let unsampled = format!("00-{TRACE}-00f067aa0ba902b7-00");
    let zero = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
    let headers = [
        Some(sampled.as_str()),
        Some(&unsampled),
        None,
        Some("not a trace"),
        Some(&zero),
    ];
    let found = traces(&[], &headers).await;
    assert_eq!(found[..2], [[TRACE; 6], [TRACE; 6]]);
    assert_eq!(found[2..], [[""; 6], [""; 6], [""; 6]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_spans_a_record_has_the_trace_of_its_span() {
    let receiver = Receiver::over_http();
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint.as_str());
    let sampled = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let found = traces(&[endpoint], &[Some(&sampled), None]).await;
    assert_eq!(found[0], [TRACE; 6]);
    // Two calls of one question, a batch of two and a stream of two began traces of their own.
    let [one, long, batch, of_batch, stream, of_stream] = found[1].as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!((batch, stream), (of_batch, of_stream));
    let mut own = vec![one, long, batch, stream];
    own.sort();
    own.dedup();
    assert_eq!(own.len(), 4, "{found:?}");
    let spans: Vec<String> = receiver.look(|received| {
        let spans = received.spans.iter().map(|(_, span)| span);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        spans.map(|span| hex(&span.trace_id)).collect()
    });
    for trace in own {
        assert!(spans.contains(trace), "{trace} is not among {spans:?}");
    }
}
