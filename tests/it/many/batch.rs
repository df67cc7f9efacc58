//! Tests `BatchAuthorize`.

use std::time::Duration;

use iamd::config::MAX_BATCHES_AT_ONCE;
use iamd::service::{Encoded, pb};
use pb::authorization_service_client::AuthorizationServiceClient;
use pb::batch_authorize_result::Result as AnswerOrError;
use prost::Message;
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{EXPENSIVE, ask_batch, expensive, refused_questions, small_channel};
use crate::support::{Server, allow, ann_asks, eventually, revision, store_allowing, user, write};

/// Returns the answers of a batch in which every question has one.
pub(super) fn answers(response: pb::BatchAuthorizeResponse) -> Vec<pb::AuthorizeResponse> {
    let answer = |result: pb::BatchAuthorizeResult| match result.result {
        Some(AnswerOrError::Response(answer)) => answer,
        other => panic!("{other:?}"),
    };
    response.results.into_iter().map(answer).collect()
}

/// Returns an encoded batch of these encoded questions.
pub(super) fn batch_of(questions: &[Vec<u8>]) -> Encoded {
    let mut bytes = Vec::new();
    for question in questions {
        bytes.push(0x0a);
        prost::encode_length_delimiter(question.len(), &mut bytes).unwrap();
        bytes.extend(question);
    }
    bytes.into()
}

fn reason_of(status: &Status) -> String {
    status
        .get_error_details()
        .error_info()
        .unwrap()
        .reason
        .clone()
}

/// Every kind of question that has no answer is among questions that have one. Each gets the status that it gets alone.
#[tokio::test]
async fn an_error_of_a_batch_is_that_of_its_question_alone() {
    let store = store_allowing("orders:Get");
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let good = ann_asks("orders:Get");
    let mut encoded = Vec::new();
    let mut alone = Vec::new();
    for (what, question) in refused_questions() {
        let mut single = tonic::client::Grpc::new(server.channel());
        single.ready().await.unwrap();
        let path = "/iamd.v1.AuthorizationService/Authorize";
        let codec = tonic_prost::ProstCodec::<Encoded, pb::AuthorizeResponse>::default();
        let request = tonic::Request::new(Encoded::from(question.clone()));
        let answer: Result<tonic::Response<pb::AuthorizeResponse>, _> =
            single.unary(request, path.try_into().unwrap(), codec).await;
        alone.push((what, answer.unwrap_err()));
        encoded.extend([question, good.encode_to_vec()]);
    }
    let response = client.batch_authorize(batch_of(&encoded)).await.unwrap();
    let response: pb::BatchAuthorizeResponse = response.into_inner().decoded().unwrap();
    assert_eq!(response.results.len(), 2 * alone.len());
    for ((what, status), results) in alone.iter().zip(response.results.chunks(2)) {
        let Some(AnswerOrError::Error(error)) = &results[0].result else {
            panic!("{what}: {results:?}")
        };
        assert_eq!(error.code, i32::from(status.code()), "{what}");
        assert_eq!(error.message, status.message(), "{what}");
        let told = tonic_types::Status::decode(status.details()).unwrap();
        assert_eq!(error.details, told.details, "{what}");
        assert!(!told.details.is_empty(), "{what}");
        let Some(AnswerOrError::Response(answer)) = &results[1].result else {
            panic!("the question after {what}: {results:?}")
        };
        assert_eq!(answer.decision(), pb::Decision::Allow);
        assert_eq!(answer.revision, response.revision);
    }
}

#[tokio::test]
async fn a_batch_has_a_bounded_number_of_questions() {
    let store = store_allowing("orders:Get");
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let most = vec![ann_asks("orders:Get"); 10_000];
    let response = ask_batch(&mut client, &most).await.unwrap();
    assert_eq!(answers(response).len(), 10_000);
    let one_more = vec![ann_asks("orders:Get"); 10_001];
    let status = ask_batch(&mut client, &one_more).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(reason_of(&status), "TOO_LARGE");
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, "requests", "{violations:?}");

    let few = ["--listen", "127.0.0.1:0", "--max-batch-questions", "2"];
    let server = Server::start_with(store.path(), &few);
    let mut client = server.client().await;
    assert!(ask_batch(&mut client, &most[..2]).await.is_ok());
    assert!(ask_batch(&mut client, &most[..3]).await.is_err());
}

#[tokio::test]
async fn a_batch_is_no_longer_than_a_message_and_neither_are_its_answers() {
    let store = store_allowing("orders:Get");
    let long_sid = "S".repeat(5_000);
    let document = allow("orders:Get").replace("One", &long_sid);
    write(store.path(), "users/ann.json", &user("ann", &document));
    let server = Server::start(store.path());
    let mut client = server.client().await;
    // The answers to 800 questions have more than 4 MB, although the questions have less than 100 KB.
    let few = vec![ann_asks("orders:Get"); 700];
    assert!(ask_batch(&mut client, &few).await.is_ok());
    let many = vec![ann_asks("orders:Get"); 900];
    let status = ask_batch(&mut client, &many).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(reason_of(&status), "TOO_LARGE");

    let long = pb::AuthorizeRequest {
        request_id: "x".repeat(16_000),
        ..ann_asks("orders:Refund")
    };
    let status = ask_batch(&mut client, &vec![long; 270]).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
}

#[tokio::test]
async fn a_batch_without_questions_has_no_answers_and_a_revision() {
    let store = store_allowing("orders:Get");
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let response = ask_batch(&mut client, &[]).await.unwrap();
    assert_eq!(response.results, []);
    assert_eq!(response.revision, revision(store.path()));
    // Fields that this version does not know are passed over; what is no message at all is malformed.
    let unknown = Encoded::from(vec![0x10, 1, 0x1a, 1, 7]);
    let response = client.batch_authorize(unknown).await.unwrap().into_inner();
    let response: pb::BatchAuthorizeResponse = response.decoded().unwrap();
    assert_eq!(response.results, []);
    for malformed in [
        vec![0x0a],
        vec![0x0a, 5, 1],
        vec![0x08, 1],
        vec![0x13, 0x14],
    ] {
        let malformed = Encoded::from(malformed);
        let status = client.batch_authorize(malformed).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert_eq!(reason_of(&status), "INVALID_REQUEST");
    }
}

/// The whole process has one thread for calls. A batch of the most expensive questions takes it for seconds, but others
/// are answered meanwhile, and nothing goes on once the client has given up.
#[tokio::test]
async fn a_batch_keeps_nobody_waiting_and_ends_with_its_client() {
    let (store, question) = expensive();
    let options = [&EXPENSIVE[..], &["--worker-threads", "1"]].concat();
    let server = Server::start_with(store.path(), &options);
    let mut client = server.client().await;
    let mut batching = AuthorizationServiceClient::new(server.channel());
    let batch = tokio::spawn(async move { ask_batch(&mut batching, &vec![question; 9_000]).await });
    let begun = cpu_time(&server);
    eventually("work", async || {
        (cpu_time(&server) - begun > Duration::from_millis(200)).then_some(())
    })
    .await;
    let n_asked = 20;
    for _ in 0..n_asked {
        let mut request = tonic::Request::new(ann_asks("orders:Refund"));
        request.set_timeout(Duration::from_secs(3));
        client.authorize(request).await.unwrap();
    }
    assert!(!batch.is_finished(), "{:?}", batch.await);
    batch.abort();
    until_idle(&server).await;
}

/// Waits until the server works on nothing.
async fn until_idle(server: &Server) {
    eventually("the end of the work", async || {
        let before = cpu_time(server);
        tokio::time::sleep(Duration::from_millis(300)).await;
        (cpu_time(server) - before < Duration::from_millis(30)).then_some(())
    })
    .await;
}

/// Returns how much processor time the server has used.
fn cpu_time(server: &Server) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.id())).unwrap();
    // The fields after the name, which is in parentheses. They count hundredths of seconds.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split(' ').collect();
    let ticks: u64 = fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap();
    Duration::from_millis(10 * ticks)
}

/// A batch in flight holds up the shutdown as long as it takes, and no longer.
#[tokio::test]
async fn a_batch_in_flight_is_answered_before_the_end() {
    let (store, question) = expensive();
    let options = [&EXPENSIVE[..], &["--drain-timeout", "1h"]].concat();
    let mut server = Server::start_with(store.path(), &options);
    let mut client = server.client().await;
    let batch = tokio::spawn(async move { ask_batch(&mut client, &vec![question; 50]).await });
    let begun = cpu_time(&server);
    eventually("work", async || {
        (cpu_time(&server) - begun > Duration::from_millis(20)).then_some(())
    })
    .await;
    server.signal("TERM");
    let response = batch.await.unwrap().unwrap();
    assert_eq!(response.results.len(), 50);
    assert_eq!(server.exit_status().code(), Some(0));
}

/// A client that does not read a long answer keeps its permit. So it delays batches of its own connection, and no
/// others.
#[tokio::test]
async fn few_batches_of_one_connection_are_answered_at_once() {
    let store = store_allowing("orders:Get");
    let server = Server::start(store.path());
    let mut other = server.client().await;
    let channel = small_channel(&server);
    let long = vec![ann_asks("orders:Get").encode_to_vec(); 2_000];
    let mut unread = tokio::task::JoinSet::new();
    for _ in 0..=MAX_BATCHES_AT_ONCE {
        let mut call = tonic::client::Grpc::new(channel.clone());
        let request = tonic::Request::new(batch_of(&long));
        unread.spawn(async move {
            call.ready().await.unwrap();
            let path = "/iamd.v1.AuthorizationService/BatchAuthorize";
            let codec = tonic_prost::ProstCodec::<Encoded, Encoded>::default();
            // As a stream, the answer is not read before someone asks for it.
            let answer = call.server_streaming(request, path.try_into().unwrap(), codec);
            answer.await.unwrap()
        });
    }
    let mut answers = Vec::new();
    while answers.len() < MAX_BATCHES_AT_ONCE {
        answers.push(unread.join_next().await.unwrap().unwrap());
    }
    let few = vec![ann_asks("orders:Get"); 100];
    assert!(ask_batch(&mut other, &few).await.is_ok());
    until_idle(&server).await;
    assert!(unread.try_join_next().is_none(), "one more waits");
    answers.pop();
    answers.push(unread.join_next().await.unwrap().unwrap());
    for answer in answers {
        let read: Vec<_> = answer.into_inner().collect().await;
        assert!(matches!(read.as_slice(), [Ok(_)]), "it is there in full");
    }
}
