//! Tests `StreamAuthorize`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use iamd::service::{Encoded, pb};
use pb::authorization_service_client::AuthorizationServiceClient;
use pb::stream_authorize_response::Result as AnswerOrError;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use super::{EXPENSIVE, expensive, refused_questions, small_channel};
use crate::support::{Client, PATIENCE, Server, ann_asks, eventually, store_allowing};

/// A server without anything to wait for must end within this time.
const AT_ONCE: Duration = Duration::from_secs(3);

fn encoded(question: &pb::AuthorizeRequest) -> Encoded {
    Encoded::of(&pb::StreamAuthorizeRequest {
        request: Some(question.clone()),
    })
}

/// A call whose questions are sent one by one.
pub(super) struct Call {
    pub(super) questions: mpsc::UnboundedSender<Encoded>,
    pub(super) answers: Streaming<Encoded>,
}

impl Call {
    pub(super) async fn begin(client: &mut Client) -> Self {
        let (questions, sent) = mpsc::unbounded_channel();
        let sent = UnboundedReceiverStream::new(sent);
        let answers = client.stream_authorize(sent).await.unwrap().into_inner();
        Self { questions, answers }
    }

    pub(super) fn ask(&self, question: &pb::AuthorizeRequest) {
        self.questions.send(encoded(question)).unwrap();
    }

    pub(super) async fn answer(&mut self) -> pb::AuthorizeResponse {
        answer(self.answers.message().await.unwrap().unwrap())
    }
}

fn result(response: Encoded) -> AnswerOrError {
    let response: pb::StreamAuthorizeResponse = response.decoded().unwrap();
    response.result.unwrap()
}

pub(super) fn answer(response: Encoded) -> pb::AuthorizeResponse {
    match result(response) {
        AnswerOrError::Response(answer) => answer,
        AnswerOrError::Error(error) => panic!("{error:?}"),
    }
}

/// Returns the questions as a stream that counts how many of them were taken.
fn counted(
    questions: impl Iterator<Item = pb::AuthorizeRequest> + Send + 'static,
) -> (
    impl Stream<Item = Encoded> + Send + 'static,
    Arc<AtomicUsize>,
) {
    let n_taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&n_taken);
    let questions = questions.map(move |question| {
        counter.fetch_add(1, Ordering::Relaxed);
        encoded(&question)
    });
    (tokio_stream::iter(questions), n_taken)
}

/// Waits until no more questions are taken, and returns their number.
async fn until_stopped(n_taken: &[Arc<AtomicUsize>]) -> usize {
    let sum = || n_taken.iter().map(|n| n.load(Ordering::Relaxed)).sum();
    eventually("the end of the questions", async || {
        let before: usize = sum();
        tokio::time::sleep(Duration::from_millis(300)).await;
        (before > 0 && sum() == before).then_some(before)
    })
    .await
}

/// Questions that have no answer are among others. Each gets its error in its place, and the stream goes on.
#[tokio::test]
async fn an_error_of_a_stream_takes_the_place_of_one_answer() {
    let store = store_allowing("orders:Get");
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let mut refused = refused_questions();
    let (what, too_long) = refused.pop().unwrap();
    assert_eq!(what, "a question over its limit");
    let good = ann_asks("orders:Get");
    let mut alone = Vec::new();
    for (_, question) in &refused {
        let batch = [&[0x0a][..], &prost_length(question.len()), question].concat();
        let response = client.batch_authorize(Encoded::from(batch)).await.unwrap();
        let mut response: pb::BatchAuthorizeResponse = response.into_inner().decoded().unwrap();
        let Some(pb::batch_authorize_result::Result::Error(error)) =
            response.results.remove(0).result
        else {
            panic!("{response:?}")
        };
        alone.push(error);
    }
    let mut call = Call::begin(&mut client).await;
    for (_, question) in &refused {
        let message = [&[0x0a][..], &prost_length(question.len()), question].concat();
        call.questions.send(Encoded::from(message)).unwrap();
        call.ask(&good);
    }
    for ((what, _), expected) in refused.iter().zip(alone) {
        let response = result(call.answers.message().await.unwrap().unwrap());
        assert_eq!(response, AnswerOrError::Error(expected), "{what}");
        assert_eq!(call.answer().await.decision(), pb::Decision::Allow);
    }

    for (message, field) in [
        (Vec::new(), "request"),
        (vec![0x12, 0], "request"),
        (vec![0x0a, 9, 1], ""),
    ] {
        call.questions.send(Encoded::from(message)).unwrap();
        call.ask(&good);
        let response = result(call.answers.message().await.unwrap().unwrap());
        let AnswerOrError::Error(error) = response else {
            panic!("{response:?}")
        };
        assert_eq!(error.code, i32::from(Code::InvalidArgument));
        let status = Status::with_details(
            Code::InvalidArgument,
            error.message.clone(),
            error.encode_to_vec().into(),
        );
        let details = status.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, field, "{error:?}");
        assert_eq!(call.answer().await.decision(), pb::Decision::Allow);
    }

    // What is too long cannot be passed over. The questions before it are answered.
    call.ask(&good);
    call.ask(&good);
    let message = [&[0x0a][..], &prost_length(too_long.len()), &too_long].concat();
    call.questions.send(Encoded::from(message)).unwrap();
    call.ask(&good);
    for _ in 0..2 {
        assert_eq!(call.answer().await.decision(), pb::Decision::Allow);
    }
    let status = call.answers.message().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "TOO_LARGE");
}

fn prost_length(length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encode_length_delimiter(length, &mut bytes).unwrap();
    bytes
}

/// A question of exactly the limit is answered, as it is alone.
#[tokio::test]
async fn a_question_of_a_stream_may_be_as_long_as_one_alone() {
    let store = store_allowing("orders:Get");
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let limit = 64 * 1024;
    let mut longest = ann_asks("orders:Get");
    longest.context = (0..4)
        .map(|n| {
            let text = "x".repeat(16_000);
            let kind = prost_types::value::Kind::StringValue(text);
            super::entry(&format!("app:{n}"), kind)
        })
        .collect();
    longest.request_id = "x".repeat(limit - longest.encoded_len() - 3);
    assert_eq!(longest.encoded_len(), limit);
    let alone = client
        .authorize(longest.clone())
        .await
        .unwrap()
        .into_inner();
    let mut call = Call::begin(&mut client).await;
    call.ask(&longest);
    assert_eq!(call.answer().await, alone);
    longest.request_id.push('x');
    assert!(client.authorize(longest.clone()).await.is_err());
    call.ask(&longest);
    assert!(call.answers.message().await.is_err());
}

/// The client sends ten thousand questions and reads nothing meanwhile. The server takes no more of them than there is
/// space for. When the client reads, all are answered in their order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_questions_wait_for_a_client_that_does_not_read() {
    let store = store_allowing("orders:Get");
    let server = Server::start(store.path());
    server.client().await;
    let mut client = AuthorizationServiceClient::new(small_channel(&server));
    let (asked, n_taken) = counted((0..10_000).map(|i: usize| pb::AuthorizeRequest {
        request_id: i.to_string(),
        ..ann_asks("orders:Get")
    }));
    let answers = client.stream_authorize(asked).await.unwrap();
    let n_unread = until_stopped(&[n_taken]).await;
    assert!(n_unread < 10_000, "they were all taken");
    let answers: Vec<_> = answers.into_inner().collect().await;
    assert_eq!(answers.len(), 10_000);
    for (i, response) in answers.into_iter().enumerate() {
        assert_eq!(answer(response.unwrap()).request_id, i.to_string());
    }
}

/// Fifty clients that never read take little memory, and nobody else waits for them. The server then ends at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_takes_little_memory_and_holds_up_nobody() {
    /// What the answers and questions of one such stream may take on the server.
    const MOST_PER_STREAM: u64 = 512 * 1024;
    const N_STREAMS: u64 = 50;
    let store = store_allowing("orders:Get");
    let options = ["--listen", "127.0.0.1:0", "--drain-timeout", "1h"];
    let mut server = Server::start_with(store.path(), &options);
    let mut client = server.client().await;
    client.authorize(ann_asks("orders:Get")).await.unwrap();
    let before = resident_memory(&server);
    // Each stream begins with a question that takes megabytes once it is decoded.
    let mut long = ann_asks("orders:Get");
    long.context = vec![Default::default(); 20_000];
    let mut unread = Vec::new();
    let mut n_taken = Vec::new();
    for _ in 0..N_STREAMS {
        let usual = std::iter::repeat(ann_asks("orders:Get"));
        let (asked, n) = counted(std::iter::once(long.clone()).chain(usual));
        let mut client = AuthorizationServiceClient::new(small_channel(&server));
        unread.push((client.stream_authorize(asked).await.unwrap(), client));
        n_taken.push(n);
    }
    until_stopped(&n_taken).await;
    let grown = resident_memory(&server).saturating_sub(before);
    assert!(grown < N_STREAMS * MOST_PER_STREAM, "{grown} bytes");
    for _ in 0..100 {
        let mut request = tonic::Request::new(ann_asks("orders:Get"));
        request.set_timeout(Duration::from_secs(1));
        client.authorize(request).await.unwrap();
    }
    server.signal("TERM");
    let status = server.exit_status_within(AT_ONCE);
    assert_eq!(status.code(), Some(0));
}

/// Returns the memory that the server has in use.
fn resident_memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    1024 * kib.parse::<u64>().unwrap()
}

/// The whole process has one thread for calls. A stream of expensive questions leaves it to others after each one, so few
/// of them are answered while another client waits for an answer.
#[tokio::test]
async fn a_stream_keeps_nobody_waiting() {
    const N_OTHERS: usize = 20;
    /// A call takes one or two turns of the stream. If the stream could be woken by its own questions, it would take
    /// about forty, and without turns all questions that were received would be answered first, about a hundred.
    const MOST_TURNS: usize = 10;
    let (store, question) = expensive();
    let options = [&EXPENSIVE[..], &["--worker-threads", "1"]].concat();
    let server = Server::start_with(store.path(), &options);
    let mut client = server.client().await;
    let mut streaming = AuthorizationServiceClient::new(server.channel());
    let asked = tokio_stream::iter(std::iter::repeat_n(encoded(&question), 100_000));
    let answers = streaming.stream_authorize(asked).await.unwrap();
    let mut answers = answers.into_inner();
    let n_answered = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&n_answered);
    let reading = tokio::spawn(async move {
        while let Some(Ok(_)) = answers.next().await {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    let n_answered = || n_answered.load(Ordering::Relaxed);
    eventually("answers", async || (n_answered() > 50).then_some(())).await;
    let before = n_answered();
    for _ in 0..N_OTHERS {
        let mut request = tonic::Request::new(ann_asks("orders:Refund"));
        request.set_timeout(PATIENCE);
        client.authorize(request).await.unwrap();
    }
    let meanwhile = n_answered() - before;
    assert!(!reading.is_finished(), "there are more questions");
    assert!(meanwhile < N_OTHERS * MOST_TURNS, "{meanwhile} answers");
    reading.abort();
}

#[tokio::test]
async fn a_drain_ends_a_stream_behind_its_last_answer() {
    let store = store_allowing("orders:Get");
    let options = ["--listen", "127.0.0.1:0", "--drain-timeout", "1h"];
    let mut server = Server::start_with(store.path(), &options);
    let mut client = server.client().await;
    let mut idle = Call::begin(&mut client).await;
    let mut busy = Call::begin(&mut client).await;
    for _ in 0..3 {
        busy.ask(&ann_asks("orders:Get"));
        assert_eq!(busy.answer().await.decision(), pb::Decision::Allow);
    }
    server.signal("TERM");
    for call in [&mut idle, &mut busy] {
        let status = call.answers.message().await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "NOT_READY");
    }
    let status = server.exit_status_within(AT_ONCE);
    assert_eq!(status.code(), Some(0), "although both clients would go on");
    let log = server.whole_log();
    assert!(log.iter().any(|line| line.contains("drained")), "{log:#?}");
}

/// A client that asks all the time learns of the drain too, and how many of its questions were answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_a_stream_that_never_pauses() {
    let store = store_allowing("orders:Get");
    let options = ["--listen", "127.0.0.1:0", "--drain-timeout", "1h"];
    let mut server = Server::start_with(store.path(), &options);
    let mut client = server.client().await;
    let (asked, _) = counted((0..).map(|i: usize| pb::AuthorizeRequest {
        request_id: i.to_string(),
        ..ann_asks("orders:Get")
    }));
    let mut answers = client.stream_authorize(asked).await.unwrap().into_inner();
    for i in 0..100_000 {
        if i == 2_000 {
            server.signal("TERM");
        }
        match answers.message().await {
            Ok(response) => assert_eq!(answer(response.unwrap()).request_id, i.to_string()),
            Err(status) => {
                assert!(i >= 2_000);
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                assert_eq!(server.exit_status_within(AT_ONCE).code(), Some(0));
                return;
            }
        }
    }
    panic!("it goes on");
}

/// Only a deadline of the client ends a stream, even if it has nothing to do.
#[tokio::test]
async fn a_stream_has_the_deadline_of_its_client_and_no_other() {
    let store = store_allowing("orders:Get");
    let options = ["--listen", "127.0.0.1:0", "--default-deadline", "1ms"];
    let server = Server::start_with(store.path(), &options);
    let mut client = server.client().await;
    let mut lasting = Call::begin(&mut client).await;
    let (_open, sent) = mpsc::unbounded_channel();
    let mut request = tonic::Request::new(UnboundedReceiverStream::new(sent));
    let timeout = request.metadata_mut();
    timeout.insert("grpc-timeout", "200m".parse().unwrap());
    let mut limited = client.stream_authorize(request).await.unwrap().into_inner();
    let status = limited.message().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    lasting.ask(&ann_asks("orders:Get"));
    assert_eq!(lasting.answer().await.decision(), pb::Decision::Allow);
    drop(lasting.questions);
    assert!(lasting.answers.message().await.unwrap().is_none(), "OK");
}
