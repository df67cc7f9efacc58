//! Tests the calls that carry many questions, `BatchAuthorize` and `StreamAuthorize`, with the real binary.
//!
//! Both must give each question the answer that a call of its own would have, and neither may keep others waiting: not
//! the questions of other clients, not a reload, and not the shutdown.

use std::fs;
use std::path::Path;
use std::time::Duration;

use iamd::service::{Encoded, pb};
use prost::Message;
use prost_types::value::Kind;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use crate::support::{
    ACCOUNT, Client, Server, ann_asks, eventually, repository, revision, until_revision, user,
    write, write_by_rename,
};

mod batch;
mod overload;
mod stream;

/// Asks all questions in one call.
async fn ask_batch(
    client: &mut Client,
    questions: &[pb::AuthorizeRequest],
) -> Result<pb::BatchAuthorizeResponse, Status> {
    let request = Encoded::of(&pb::BatchAuthorizeRequest {
        requests: questions.to_vec(),
    });
    let response = client.batch_authorize(request).await?.into_inner();
    Ok(response.decoded().unwrap())
}

/// Asks each question in a call of its own, a few at the same time, and returns the answers in the same order.
async fn ask_singly(
    client: &Client,
    questions: &[pb::AuthorizeRequest],
) -> Vec<pb::AuthorizeResponse> {
    const AT_ONCE: usize = 16;
    let per_task = questions.len().div_ceil(AT_ONCE);
    let tasks = questions.chunks(per_task).map(|questions| {
        let (mut client, questions) = (client.clone(), questions.to_vec());
        tokio::spawn(async move {
            let mut answers = Vec::new();
            for question in questions {
                let answer = client.authorize(question).await;
                answers.push(answer.map(Response::into_inner).unwrap());
            }
            answers
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.extend(task.await.unwrap());
    }
    answers
}

/// The questions of the example store, asked one by one, in batches and in a stream, while the store changes back and
/// forth. Every answer is the one that its question gets alone by the same revision.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_questions_are_answered_as_each_is_alone() {
    let store = example_store();
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let questions = questions(10_000);
    let old = revision(store.path());
    let by_old = ask_singly(&client, &questions).await;
    change(store.path());
    let new = revision(store.path());
    until_revision(&mut client, &new).await;
    // To ask all of them singly once more would take as long as everything else here.
    let by_new = batch::answers(ask_batch(&mut client, &questions).await.unwrap());
    let some: Vec<_> = questions.iter().step_by(11).cloned().collect();
    let some_by_new: Vec<_> = by_new.iter().step_by(11).cloned().collect();
    assert_eq!(ask_singly(&client, &some).await, some_by_new);
    let both = by_old.iter().zip(&by_new);
    let n_changed = both.filter(|(old, new)| old.decision() != new.decision());
    assert!(n_changed.count() >= 10, "the change matters");
    let by = |revision: &str| if revision == old { &by_old } else { &by_new };

    // Chance determines whether the reload comes while the batch is answered, and not while it is sent.
    let encoded: Vec<_> = questions.iter().map(Message::encode_to_vec).collect();
    let encoded = batch::batch_of(&encoded);
    let mut in_force = new.clone();
    let mut n_tries = 0;
    eventually("a reload in the middle of a batch", async || {
        let before = in_force.clone();
        in_force = if before == old {
            new.clone()
        } else {
            old.clone()
        };
        let (mut batching, encoded) = (client.clone(), encoded.clone());
        let batch = tokio::spawn(async move { batching.batch_authorize(encoded).await });
        tokio::time::sleep(n_tries % 20 * Duration::from_millis(40)).await;
        n_tries += 1;
        change(store.path());
        until_revision(&mut client.clone(), &in_force).await;
        let was_done = batch.is_finished();
        let response = batch.await.unwrap().unwrap().into_inner();
        let response: pb::BatchAuthorizeResponse = response.decoded().unwrap();
        let is_of_before = response.revision == before;
        let expected = by(&response.revision);
        assert!(batch::answers(response) == *expected, "as alone");
        (is_of_before && !was_done).then_some(())
    })
    .await;

    let before = in_force;
    let after = if before == old { &new } else { &old };
    let mut call = stream::Call::begin(&mut client).await;
    let mut answers = Vec::new();
    for part in questions.chunks(2_000) {
        part.iter().for_each(|question| call.ask(question));
        // It is known that the reload has come for the last of the questions, and that it has not for the first.
        match answers.len() {
            2_000 => change(store.path()),
            6_000 => _ = until_revision(&mut client, after).await,
            _ => {}
        }
        for _ in part {
            answers.push(call.answer().await);
        }
    }
    let is_after: Vec<bool> = answers.iter().map(|a| a.revision == *after).collect();
    assert!(is_after.is_sorted(), "the revisions never go back");
    assert!(!is_after[1_999] && is_after[8_000]);
    for (i, answer) in answers.iter().enumerate() {
        assert_eq!(*answer, by(&answer.revision)[i], "question {i}");
    }
    drop(call.questions);
    assert!(call.answers.message().await.unwrap().is_none(), "OK");
}

/// Returns a connection of its own that accepts 64 KiB of each answer unread, which is the default of HTTP/2.
fn small_channel(server: &Server) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address())).unwrap();
    endpoint.initial_stream_window_size(65_535).connect_lazy()
}

/// Returns a copy of the example store.
fn example_store() -> TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            if path.is_dir() {
                copy(&path, &target);
            } else {
                fs::copy(path, target).unwrap();
            }
        }
    }
    let folder = TempDir::new().unwrap();
    copy(&repository().join("policies"), folder.path());
    folder
}

/// The file of the example store that a test changes.
const CHANGED: &str = "managed-policies/RefundOrders.json";

/// Takes from the example store at `root` that refunds are allowed, or undoes that.
fn change(root: &Path) {
    let text = fs::read_to_string(root.join(CHANGED)).unwrap();
    let (without, with) = ("\"orders:Redo\"", "\"orders:Refund\"");
    let changed = if text.contains(with) {
        text.replace(with, without)
    } else {
        text.replace(without, with)
    };
    assert_ne!(changed, text);
    write_by_rename(root, CHANGED, &changed);
}

/// Returns `n` different questions about the example store: who, what, and with which facts.
fn questions(n: usize) -> Vec<pb::AuthorizeRequest> {
    const PRINCIPALS: [&str; 10] = [
        "arn:aws:iam::111122223333:user/support/alice",
        "arn:aws:iam::111122223333:user/support/bob",
        "arn:aws:iam::111122223333:user/finance/carol",
        "arn:aws:iam::111122223333:user/frank",
        "arn:aws:iam::111122223333:user/nobody",
        "arn:aws:iam::111122223333:root",
        "arn:aws:sts::111122223333:assumed-role/order-service/pod-1",
        "arn:aws:sts::444455556666:assumed-role/delivery/van-7",
        "retention.shop.internal",
        "*",
    ];
    const ASKED: [(&str, &str); 10] = [
        ("orders:Get", "arn:app:orders:::order/1001/"),
        ("orders:Refund", "arn:app:orders:::order/1001/"),
        ("orders:Refund", "arn:app:orders:::order/9001/"),
        ("orders:Purge", "arn:app:orders:::order/7/"),
        ("orders:GetPriceList", "arn:app:orders:::price-list/"),
        ("orders:GetShipment", "arn:app:orders:::shipment/"),
        ("orders:Browse", "arn:app:orders:::catalog/"),
        ("invoices:Issue", "arn:app:invoices:::invoice/1001/"),
        ("payments:Refund", "arn:app:payments:::payment/"),
        ("users:Update", "arn:app:users:::profile/"),
    ];
    let question = |i: usize| {
        let (action, resource) = ASKED[i / 10 % 10];
        let amount = entry("orders:amount", Kind::NumberValue((i % 7 * 50) as f64));
        let is_secure = entry("aws:SecureTransport", Kind::BoolValue(!i.is_multiple_of(3)));
        let network = entry("aws:SourceIp", Kind::StringValue("203.0.113.20".to_owned()));
        // A session of a user who has shown a second factor a moment ago.
        let session = pb::SessionContext {
            mfa_at: Some(std::time::SystemTime::now().into()),
            ..pb::SessionContext::default()
        };
        pb::AuthorizeRequest {
            session: (i % 10 < 4 && (i / 100).is_multiple_of(2)).then_some(session),
            principal: PRINCIPALS[i % 10].to_owned(),
            action: action.to_owned(),
            resource: format!("{resource}{}", i / 100),
            context: vec![amount, is_secure, network],
            request_id: i.to_string(),
            ..pb::AuthorizeRequest::default()
        }
    };
    (0..n).map(question).collect()
}

fn entry(key: &str, kind: Kind) -> pb::authorize_request::ContextEntry {
    pb::authorize_request::ContextEntry {
        key: key.to_owned(),
        value: Some(prost_types::Value { kind: Some(kind) }),
    }
}

/// Returns questions that must be refused, each as its bytes, with what is wrong.
fn refused_questions() -> Vec<(&'static str, Vec<u8>)> {
    let good = || pb::AuthorizeRequest {
        request_id: "r".to_owned(),
        ..ann_asks("orders:Get")
    };
    let with_entries = |context| pb::AuthorizeRequest { context, ..good() };
    let no_action = pb::AuthorizeRequest {
        action: String::new(),
        ..good()
    };
    let unset = entry("app:x", Kind::NullValue(0));
    let reserved = entry("aws:PrincipalArn", Kind::StringValue("x".to_owned()));
    let twice = vec![entry("app:x", Kind::BoolValue(true)); 2];
    let session = |session| pb::AuthorizeRequest {
        principal: format!("arn:aws:sts::{ACCOUNT}:assumed-role/app/s"),
        session: Some(session),
        ..good()
    };
    let no_time = session(pb::SessionContext {
        issued_at: Some(prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        }),
        ..pb::SessionContext::default()
    });
    let no_policy = session(pb::SessionContext {
        policies: vec!["{".to_owned()],
        ..pb::SessionContext::default()
    });
    let long_string = pb::AuthorizeRequest {
        request_id: "x".repeat(16 * 1024 + 1),
        ..good()
    };
    let too_long = pb::AuthorizeRequest {
        request_id: "x".repeat(64 * 1024),
        ..good()
    };
    let mut many = Vec::new();
    for n in 0..257 {
        many.push(entry(&format!("app:{n}"), Kind::BoolValue(true)));
    }
    vec![
        ("nothing at all", Vec::new()),
        ("bytes that are no message", vec![0x0a, 0xff]),
        ("a text that is not UTF-8", vec![0x0a, 1, 0xff]),
        ("no action", no_action.encode_to_vec()),
        ("a null", with_entries(vec![unset]).encode_to_vec()),
        (
            "a reserved key",
            with_entries(vec![reserved]).encode_to_vec(),
        ),
        ("a key twice", with_entries(twice).encode_to_vec()),
        ("too many keys", with_entries(many).encode_to_vec()),
        ("a time that does not exist", no_time.encode_to_vec()),
        ("a session policy that is none", no_policy.encode_to_vec()),
        ("a string over its limit", long_string.encode_to_vec()),
        ("a question over its limit", too_long.encode_to_vec()),
    ]
}

/// The options of a server whose questions stay expensive, however often they are asked.
const EXPENSIVE: [&str; 4] = ["--listen", "127.0.0.1:0", "--decision-cache", "off"];

/// Returns a store in which a question of ann takes a good part of the work that any may, and such a question.
fn expensive() -> (TempDir, pb::AuthorizeRequest) {
    let statement = |n: usize| {
        let pattern = format!("*?a?a*?a?a*?a?a*?a?a*?{n}?*");
        format!(
            r#"{{"Effect": "Allow", "Action": "orders:Get", "Resource": "*",
                "Condition": {{"StringLike": {{"app:text": "{pattern}"}}}}}}"#
        )
    };
    let statements: Vec<_> = (0..150).map(statement).collect();
    let statements = statements.join(", ");
    let document = format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#);
    let folder = TempDir::new().unwrap();
    let account = format!(r#"{{"AccountId": "{ACCOUNT}"}}"#);
    write(folder.path(), "account.json", &account);
    write(folder.path(), "users/ann.json", &user("ann", &document));
    let text = Kind::StringValue("a".repeat(250));
    let question = pb::AuthorizeRequest {
        context: vec![entry("app:text", text)],
        ..ann_asks("orders:Get")
    };
    (folder, question)
}
