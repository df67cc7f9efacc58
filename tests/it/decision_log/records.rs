//! What a record holds, and where it goes.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use iamd::service::{Encoded, pb};
use prost_types::value::Kind;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_stream::StreamExt as _;

use super::schema::Schema;
use super::{GET, Logged, REFUND, of_type, sequences, with_full_files};
use crate::support::{
    ACCOUNT, ANN, ORDER, Server, ann_asks, channel_to, eventually, iamd, revision, store_allowing,
    write,
};

pub(super) fn entry(key: &str, kind: Kind) -> pb::authorize_request::ContextEntry {
    pb::authorize_request::ContextEntry {
        key: key.to_owned(),
        value: Some(prost_types::Value { kind: Some(kind) }),
    }
}

fn text(value: &str) -> Kind {
    Kind::StringValue(value.to_owned())
}

/// A store in which ann may get orders from one address, and a role that may do everything.
fn store() -> TempDir {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    write(
        root,
        "account.json",
        &format!(r#"{{"AccountId": "{ACCOUNT}"}}"#),
    );
    let document = r#"{"Version": "2012-10-17", "Statement": [{"Sid": "Near", "Effect": "Allow", "Action": "orders:Get", "Resource": "*",
        "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}, "NumericLessThan": {"orders:amount": "100"},
        "ForAnyValue:StringEquals": {"orders:labels": ["a", "b"]}}}]}"#;
    write(
        root,
        "users/ann.json",
        &crate::support::user("ann", document),
    );
    let role = format!(
        r#"{{"RoleName": "worker", "AssumeRolePolicyDocument": {{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow",
        "Principal": {{"AWS": "arn:aws:iam::{ACCOUNT}:root"}}, "Action": "sts:AssumeRole"}}]}},
        "RolePolicyList": [{{"PolicyName": "all", "PolicyDocument": {}}}]}}"#,
        crate::support::allow("*")
    );
    write(root, "roles/worker.json", &role);
    folder
}

fn asked() -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        principal: ANN.to_owned(),
        action: GET.to_owned(),
        resource: ORDER.to_owned(),
        context: vec![
            entry("AWS:sourceIP", text("10.1.2.3")),
            entry("orders:amount", Kind::NumberValue(12.5)),
            entry(
                "orders:labels",
                Kind::ListValue(prost_types::ListValue {
                    values: ["b", "\"c\"\n\u{1}é"]
                        .map(|label| prost_types::Value {
                            kind: Some(text(label)),
                        })
                        .to_vec(),
                }),
            ),
            entry("orders:unread", text("no policy names this key")),
            entry("aws:RequestTag/team", text("blue")),
        ],
        request_id: "req-7".to_owned(),
        ..pb::AuthorizeRequest::default()
    }
}

#[tokio::test]
async fn a_record_holds_the_question_the_answer_and_who_asked() {
    for mode in ["required", "best_effort"] {
        let store = store();
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("log.jsonl");
        let socket = format!("unix:{}/iamd.sock", folder.path().display());
        let server = Server::start_with(
            store.path(),
            &[
                "--listen",
                &socket,
                "--decision-log",
                mode,
                "--decision-log-file",
                log.to_str().unwrap(),
            ],
        );
        let mut client = server.client().await;
        let answer = client.authorize(asked()).await.unwrap().into_inner();
        assert_eq!(answer.decision(), pb::Decision::Allow);
        let records = eventually("the record", async || {
            let records = of_type(super::lines_of(&log), "decision");
            (!records.is_empty()).then_some(records)
        })
        .await;
        let [record] = records.as_slice() else {
            panic!("{records:?}");
        };
        let mut record = record.clone();
        assert_eq!(record["decisionId"], *answer.decision_id);
        assert!(answer.decision_id.ends_with("-1"), "{}", answer.decision_id);
        let caller = record["caller"].take();
        assert_eq!(caller["transport"], "unix");
        assert_eq!(caller["uid"], rustix::process::getuid().as_raw());
        assert!(record["latencyNs"].take().as_u64().unwrap() > 0);
        for taken in ["decisionId", "instance", "time"] {
            assert!(record[taken].take().is_string());
        }
        let expected = json!({
            "version": 1, "type": "decision", "sequence": 1, "decisionId": null, "instance": null, "time": null,
            "requestId": "req-7", "traceId": "", "protocol": "grpc", "caller": null,
            "principal": ANN, "action": GET, "resource": ORDER,
            "context": {
                "AWS:sourceIP": "10.1.2.3", "orders:amount": 12.5, "orders:labels": ["b", "\"c\"\n\u{1}é"],
                "aws:RequestTag/team": "blue",
            },
            "decision": "DECISION_ALLOW", "reason": "REASON_ALLOW_IDENTITY",
            "determiningStatements": [{
                "policy": format!("{ANN}/inline/inline"), "sid": "Near", "index": 0, "type": "POLICY_TYPE_IDENTITY",
                "file": "users/ann.json",
            }],
            "revision": revision(store.path()), "latencyNs": null,
        });
        assert_eq!(record, expected, "{mode}");
    }
}

#[tokio::test]
async fn a_session_is_recorded_with_all_its_facts_and_its_policies_read_any_key() {
    let store = store();
    let mut logged = Logged::start("required", &[]).await;
    // The store of the test stands in for that of the helper.
    drop(std::mem::replace(
        &mut logged.server,
        Server::start_with(
            store.path(),
            &[
                "--listen",
                "127.0.0.1:0",
                "--decision-log",
                "required",
                "--decision-log-file",
                logged.folder.path().join("two.jsonl").to_str().unwrap(),
            ],
        ),
    ));
    let mut client = logged.server.client().await;
    let policy = crate::support::allow("orders:*");
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let question = pb::AuthorizeRequest {
        principal: format!("arn:aws:sts::{ACCOUNT}:assumed-role/worker/one"),
        action: GET.to_owned(),
        resource: ORDER.to_owned(),
        context: vec![entry("orders:unread", Kind::BoolValue(true))],
        session: Some(pb::SessionContext {
            policies: vec![policy.clone()],
            tags: vec![pb::session_context::TagsEntry {
                key: "team".to_owned(),
                value: "blue".to_owned(),
            }],
            source_identity: "ann".to_owned(),
            issued_at: at(1_700_000_000),
            expires_at: at(4_000_000_000),
            mfa_at: at(1_699_999_999),
            transitive_tag_keys: vec!["team".to_owned()],
            ..pb::SessionContext::default()
        }),
        resource_account: ACCOUNT.to_owned(),
        ..pb::AuthorizeRequest::default()
    };
    client.authorize(question).await.unwrap();
    let record = of_type(
        super::lines_of(&logged.folder.path().join("two.jsonl")),
        "decision",
    );
    assert_eq!(record[0]["context"], json!({"orders:unread": true}));
    assert_eq!(record[0]["resourceAccount"], ACCOUNT);
    assert_eq!(
        record[0]["session"],
        json!({
            "policies": [policy], "tags": {"team": "blue"}, "sourceIdentity": "ann",
            "issuedAt": "2023-11-14T22:13:20Z", "expiresAt": "2096-10-02T07:06:40Z", "mfaAt": "2023-11-14T22:13:19Z",
            "transitiveTagKeys": ["team"],
        })
    );
    assert_eq!(Schema::read().check(&record[0]), Ok(()));
}

#[tokio::test]
async fn every_line_is_of_the_schema_and_every_call_is_recorded_in_order() {
    for mode in ["required", "best_effort"] {
        let mut logged = Logged::start(mode, &[]).await;
        let mut ids = Vec::new();
        for action in [GET, REFUND, "not an action"] {
            if let Ok(answer) = logged.ask(action).await {
                ids.push(answer.decision_id);
            }
        }
        let batch = pb::BatchAuthorizeRequest {
            requests: vec![ann_asks(GET), ann_asks(""), ann_asks(REFUND)],
        };
        let batch = batch_of(&mut logged, batch).await;
        for result in batch.results {
            if let Some(pb::batch_authorize_result::Result::Response(answer)) = result.result {
                ids.push(answer.decision_id);
            }
        }
        let questions = [GET, REFUND].map(|action| pb::StreamAuthorizeRequest {
            request: Some(ann_asks(action)),
        });
        let answers = logged
            .client
            .stream_authorize(tokio_stream::iter(questions.map(encoded)))
            .await
            .unwrap();
        let answers: Vec<_> = answers.into_inner().collect().await;
        for answer in answers {
            match stream_result(&answer.unwrap()) {
                pb::stream_authorize_response::Result::Response(answer) => {
                    ids.push(answer.decision_id);
                }
                pb::stream_authorize_response::Result::Error(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(ids.len(), 6, "{mode}: malformed questions have no decision");
        // Explanations and simulations grant nothing, so they are not in the log.
        let explained = pb::ExplainRequest {
            principal: ANN.to_owned(),
            action: GET.to_owned(),
            resource: ORDER.to_owned(),
            ..pb::ExplainRequest::default()
        };
        logged.client.explain(explained).await.unwrap();
        let lines = logged.ended();
        let schema = Schema::read();
        for line in &lines {
            assert_eq!(schema.check(line), Ok(()), "{line}");
        }
        let types: Vec<&str> = lines
            .iter()
            .map(|line| line["type"].as_str().unwrap())
            .collect();
        assert_eq!(types.first(), Some(&"start"), "{mode}");
        assert_eq!(types.last(), Some(&"end"), "{mode}");
        assert_eq!(lines.last().unwrap()["lastSequence"], 6, "{mode}");
        assert_eq!(sequences(&lines), [1, 2, 3, 4, 5, 6], "{mode}");
        let recorded: Vec<Value> = of_type(lines, "decision")
            .iter()
            .map(|line| line["decisionId"].clone())
            .collect();
        assert_eq!(recorded, ids, "{mode}");
    }
}

/// Returns the answer to a batch. The generated client sends and receives batches encoded.
async fn batch_of(
    logged: &mut Logged,
    batch: pb::BatchAuthorizeRequest,
) -> pb::BatchAuthorizeResponse {
    let answer = logged.client.batch_authorize(encoded(batch)).await.unwrap();
    prost::Message::decode(answer.into_inner().bytes()).unwrap()
}

pub(super) fn encoded(message: impl prost::Message) -> Encoded {
    Encoded::from(message.encode_to_vec())
}

#[tokio::test]
async fn without_the_log_an_answer_names_no_record() {
    let store = store_allowing(GET);
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let answer = client.authorize(ann_asks(GET)).await.unwrap().into_inner();
    assert_eq!(answer.decision_id, "");
}

#[tokio::test]
async fn records_go_to_the_standard_output_alone() {
    for mode in ["required", "best_effort"] {
        let store = store_allowing(GET);
        let listen = format!("unix:{}/.iamd.sock", store.path().display());
        let root = store.path().to_str().unwrap();
        let mut child = iamd([
            "serve",
            "--store",
            root,
            "--listen",
            &listen,
            "--decision-log",
            mode,
        ])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
        let stdout = child.stdout.take().unwrap();
        let channel = channel_to(&listen);
        let mut client = crate::support::Client::new(channel.clone());
        eventually("readiness", async || {
            client.authorize(ann_asks(GET)).await.ok()
        })
        .await;
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&child),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        let lines: Vec<Value> = BufReader::new(stdout)
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect();
        assert!(child.wait().unwrap().success());
        let types: Vec<_> = lines.iter().map(|line| line["type"].clone()).collect();
        assert_eq!(types, ["start", "decision", "end"], "{mode}");
    }
}

#[tokio::test]
async fn a_full_file_is_put_aside_and_the_oldest_is_removed() {
    for mode in ["required", "best_effort"] {
        let bounds = [
            "--decision-log-max-bytes",
            "4KiB",
            "--decision-log-keep",
            "3",
        ];
        let mut logged = Logged::start(mode, &bounds).await;
        for _ in 0..100 {
            logged.ask(GET).await.unwrap();
        }
        logged.ended();
        let files: Vec<_> = fs::read_dir(logged.folder.path())
            .unwrap()
            .map(|file| file.unwrap())
            .collect();
        assert_eq!(files.len(), 4, "{mode}: {files:?}");
        for file in &files {
            let n_bytes = file.metadata().unwrap().len();
            assert!(n_bytes <= 4096 && n_bytes > 0, "{mode}: {n_bytes} bytes");
        }
        // The last numbers are there without a gap, over all files.
        let numbers = sequences(&with_full_files(&logged.path()));
        let expected: Vec<u64> = (101 - numbers.len() as u64..=100).collect();
        assert_eq!(numbers, expected, "{mode}");
        assert!(numbers.len() > 12, "{mode}: {}", numbers.len());
    }
}

#[tokio::test]
async fn an_old_file_is_put_aside() {
    for mode in ["required", "best_effort"] {
        let mut logged = Logged::start(mode, &["--decision-log-max-age", "100ms"]).await;
        logged.ask(GET).await.unwrap();
        let folder = logged.folder.path().to_owned();
        // Nothing more is asked: the file grows old by itself.
        eventually("a second file", async || {
            (fs::read_dir(&folder).unwrap().count() > 1).then_some(())
        })
        .await;
        logged.ask(REFUND).await.unwrap();
        logged.ended();
        assert_eq!(
            sequences(&with_full_files(&logged.path())),
            [1, 2],
            "{mode}"
        );
    }
}

#[tokio::test]
async fn sighup_opens_the_file_again() {
    for mode in ["required", "best_effort"] {
        let mut logged = Logged::start(mode, &[]).await;
        logged.ask(GET).await.unwrap();
        logged.decisions(1).await;
        let aside = logged.folder.path().join("aside");
        fs::rename(logged.path(), &aside).unwrap();
        logged.server.signal("HUP");
        let path = logged.path();
        eventually("a new file", async || path.exists().then_some(())).await;
        logged.ask(REFUND).await.unwrap();
        let lines = logged.ended();
        assert_eq!(sequences(&lines), [2], "{mode}");
        assert_eq!(sequences(&super::lines_of(&aside)), [1], "{mode}");
    }
}

#[tokio::test]
async fn rules_hide_what_they_name_and_say_so() {
    let folder = TempDir::new().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, "0123456789abcdef\n").unwrap();
    let rules = "context.aws:SourceIp=hash,context.orders:*=drop,requestId=last:2,context.aws:RequestTag/*=last:2";
    let store = store();
    let log = folder.path().join("log.jsonl");
    let server = Server::start_with(
        store.path(),
        &[
            "--listen",
            "127.0.0.1:0",
            "--decision-log",
            "required",
            "--decision-log-file",
            log.to_str().unwrap(),
            "--decision-log-mask",
            rules,
            "--decision-log-mask-key",
            key.to_str().unwrap(),
        ],
    );
    let mut client = server.client().await;
    client.authorize(asked()).await.unwrap();
    client.authorize(asked()).await.unwrap();
    let records = of_type(super::lines_of(&log), "decision");
    let [one, two] = records.as_slice() else {
        panic!("{records:?}");
    };
    let hash = one["context"]["AWS:sourceIP"].as_str().unwrap();
    assert!(
        hash.starts_with("hmac:") && !hash.contains("10.1.2.3"),
        "{hash}"
    );
    assert_eq!(one["context"], two["context"], "equal values stay equal");
    assert_eq!(one["requestId"], "***-7");
    assert_eq!(
        one["context"],
        json!({"AWS:sourceIP": hash, "aws:RequestTag/team": "***ue"})
    );
    assert_eq!(
        one["masked"],
        json!([
            "requestId",
            "context.AWS:sourceIP",
            "context.orders:amount",
            "context.orders:labels",
            "context.aws:RequestTag/team"
        ])
    );
    assert_eq!(Schema::read().check(one), Ok(()));
    let text = fs::read_to_string(&log).unwrap();
    assert!(
        !text.contains("10.1.2.3") && !text.contains("12.5"),
        "{text}"
    );
}

#[tokio::test]
async fn sampling_leaves_out_allows_and_no_denial() {
    let mut logged = Logged::start("required", &["--decision-log-sample", "0.1"]).await;
    let (mut n_named, mut n_denied) = (0, 0);
    for round in 0..300 {
        let action = if round % 3 == 0 { REFUND } else { GET };
        let answer = logged.ask(action).await.unwrap();
        n_denied += u64::from(answer.decision() == pb::Decision::Deny);
        n_named += u64::from(!answer.decision_id.is_empty());
        if answer.decision() == pb::Decision::Deny {
            assert!(!answer.decision_id.is_empty());
        }
    }
    let lines = logged.ended();
    assert_eq!(lines[0]["sample"], 0.1);
    let numbers = sequences(&lines);
    let expected: Vec<u64> = (1..=n_named).collect();
    assert_eq!(numbers, expected, "what is left out has no number");
    let decisions = of_type(lines, "decision");
    let n_deny = decisions
        .iter()
        .filter(|line| line["decision"] == "DECISION_DENY")
        .count() as u64;
    assert_eq!((n_denied, n_deny), (100, 100));
    let n_allow = decisions.len() as u64 - n_deny;
    assert!((5..=45).contains(&n_allow), "{n_allow} of 200");
}

#[test]
fn a_log_that_cannot_be_opened_ends_the_start() {
    let store = store_allowing(GET);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("missing/log.jsonl");
    let mut server = Server::start_with(
        store.path(),
        &[
            "--listen",
            "127.0.0.1:0",
            "--decision-log",
            "best_effort",
            "--decision-log-file",
            path.to_str().unwrap(),
        ],
    );
    assert_eq!(server.exit_status().code(), Some(2));
    let log = server.whole_log().join("\n");
    assert!(log.contains("the decision log: cannot open"), "{log}");
}

#[tokio::test]
async fn two_servers_do_not_write_one_file() {
    let logged = Logged::start("best_effort", &[]).await;
    let path = logged.path();
    let mut second = Server::start_with(
        logged.store.path(),
        &[
            "--listen",
            "127.0.0.1:0",
            "--decision-log",
            "best_effort",
            "--decision-log-file",
            path.to_str().unwrap(),
        ],
    );
    assert_eq!(second.exit_status().code(), Some(2));
    let log = second.whole_log().join("\n");
    assert!(log.contains("another process writes it"), "{log}");
}

fn stream_result(answer: &Encoded) -> pb::stream_authorize_response::Result {
    let answer: pb::StreamAuthorizeResponse = answer.decoded().unwrap();
    answer.result.unwrap()
}
