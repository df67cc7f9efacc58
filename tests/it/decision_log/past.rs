//! Past decisions are explained as they were made, and asked again of other stores.
//!
//! `IAMD_TEST_DECISIONS` and `IAMD_TEST_REVISIONS` set how many there are, 200 and 5 by default.

use std::fs;
use std::path::{Path, PathBuf};

use iamd::authorizer::Authorizer;
use iamd::engine::work::wanted;
use iamd::service::json::{self, Message, Record};
use iamd::service::pb;
use prost_types::value::Kind;
use serde_json::Value;
use tempfile::TempDir;

use super::{Logged, lines_of};
use crate::support::{
    ACCOUNT, Finished, eventually, iamd, number_from_environment, run, write, write_by_rename,
};

const ACTIONS: [&str; 4] = [
    "orders:Get",
    "orders:List",
    "orders:Refund",
    "orders:Delete",
];
const N_USERS: u64 = 6;

/// A small generator of numbers, so that each run asks the same.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % n
    }
}

/// Returns the file of a user in the store's revision number `revision`.
fn user(n: u64, revision: u64) -> String {
    let action = |number: u64| ACTIONS[usize::try_from(number % 4).unwrap()];
    let document = format!(
        r#"{{"Version": "2012-10-17", "Statement": [
        {{"Sid": "May", "Effect": "Allow", "Action": ["{}", "{}"], "Resource": "*"}},
        {{"Sid": "Near", "Effect": "Allow", "Action": "orders:*", "Resource": "arn:app:orders:::order/${{aws:username}}",
          "Condition": {{"IpAddress": {{"aws:SourceIp": "10.{revision}.0.0/16"}}}}}},
        {{"Sid": "NotRisky", "Effect": "Deny", "Action": "{}", "Resource": "*",
          "Condition": {{"StringEquals": {{"orders:risk": "high"}}}}}}]}}"#,
        action(n + revision),
        action(n + 1),
        action(n * revision + 2),
    );
    crate::support::user(&format!("u{n}"), &document)
}

fn role() -> String {
    format!(
        r#"{{"RoleName": "worker", "AssumeRolePolicyDocument": {{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow",
        "Principal": {{"AWS": "arn:aws:iam::{ACCOUNT}:root"}}, "Action": "sts:AssumeRole"}}]}},
        "RolePolicyList": [{{"PolicyName": "all", "PolicyDocument": {}}}]}}"#,
        crate::support::allow("orders:*")
    )
}

fn entry(key: &str, value: Kind) -> pb::authorize_request::ContextEntry {
    pb::authorize_request::ContextEntry {
        key: key.to_owned(),
        value: Some(prost_types::Value { kind: Some(value) }),
    }
}

fn question(random: &mut Random, revision: u64) -> pb::AuthorizeRequest {
    let text = |text: &str| Kind::StringValue(text.to_owned());
    let mut context = vec![entry("orders:unread", Kind::NumberValue(0.25))];
    match random.below(3) {
        0 => {}
        n => context.push(entry(
            "Orders:Risk",
            text(["low", "high"][usize::from(n == 2)]),
        )),
    }
    if random.below(2) == 0 {
        let near = revision + random.below(2);
        context.push(entry("aws:SourceIp", text(&format!("10.{near}.3.4"))));
    }
    let n = random.below(N_USERS + 1); // the last one is not in the store
    let is_session = random.below(4) == 0;
    let action = ACTIONS[usize::try_from(random.below(4)).unwrap()];
    pb::AuthorizeRequest {
        principal: if is_session {
            format!("arn:aws:sts::{ACCOUNT}:assumed-role/worker/s{n}")
        } else {
            format!("arn:aws:iam::{ACCOUNT}:user/u{n}")
        },
        action: action.to_owned(),
        resource: format!("arn:app:orders:::order/u{n}"),
        context,
        session: is_session.then(|| pb::SessionContext {
            policies: vec![crate::support::allow(
                ACTIONS[usize::try_from(n % 4).unwrap()],
            )],
            source_identity: "ann".to_owned(),
            ..pb::SessionContext::default()
        }),
        ..pb::AuthorizeRequest::default()
    }
}

/// Returns a question that only the Deny of u2 keeps from being allowed.
fn denied(revision: u64) -> pb::AuthorizeRequest {
    let text = |text: &str| Kind::StringValue(text.to_owned());
    pb::AuthorizeRequest {
        principal: format!("arn:aws:iam::{ACCOUNT}:user/u2"),
        action: ACTIONS[usize::try_from((2 * revision + 2) % 4).unwrap()].to_owned(),
        resource: "arn:app:orders:::order/u2".to_owned(),
        context: vec![
            entry("orders:risk", text("high")),
            entry("aws:SourceIp", text(&format!("10.{revision}.3.4"))),
        ],
        ..pb::AuthorizeRequest::default()
    }
}

fn explain_request(question: &pb::AuthorizeRequest) -> pb::ExplainRequest {
    let question = question.clone();
    pb::ExplainRequest {
        principal: question.principal,
        action: question.action,
        resource: question.resource,
        context: question.context,
        session: question.session,
        resource_account: question.resource_account,
        request_id: question.request_id,
    }
}

/// Returns an explanation as JSON without the time, which is that of the question, and without the hints about keys that
/// no policy names, which a record does not have.
fn without_time(explanation: impl serde::Serialize) -> Value {
    let mut value = serde_json::to_value(explanation).unwrap();
    let time = value["evaluatedAt"].take();
    value["hints"].take();
    assert!(time.is_string(), "{value}");
    value
}

/// A decision, and what `Explain` said of it at the time.
struct Made {
    id: String,
    explanation: Value,
}

/// A log of decisions over several revisions, with the folder of kept revisions.
struct Past {
    logged: Logged,
    kept: TempDir,
    made: Vec<Made>,
    /// The first decision of each revision.
    firsts: Vec<usize>,
}

impl Past {
    async fn make() -> Self {
        let n_decisions = number_from_environment("IAMD_TEST_DECISIONS", 200);
        let n_revisions = number_from_environment("IAMD_TEST_REVISIONS", 5);
        let kept = TempDir::new().unwrap();
        let options = [
            "--keep-revisions",
            kept.path().to_str().unwrap(),
            "--decision-log-max-bytes",
            "64KiB",
            "--decision-log-keep",
            "10000",
        ];
        let mut logged = Logged::start("required", &options).await;
        let root = logged.store.path().to_owned();
        write(&root, "roles/worker.json", &role());
        let mut random = Random(7);
        let (mut made, mut firsts) = (Vec::new(), Vec::new());
        for revision in 0..n_revisions {
            for n in 0..N_USERS {
                write_by_rename(&root, &format!("users/u{n}.json"), &user(n, revision));
            }
            let in_force = crate::support::revision(&root);
            crate::support::until_revision(&mut logged.client, &in_force).await;
            firsts.push(made.len());
            for n in 0..n_decisions / n_revisions {
                let question = match n {
                    0 => denied(revision),
                    _ => question(&mut random, revision),
                };
                let answer = logged.client.authorize(question.clone()).await;
                let answer = answer.unwrap().into_inner();
                assert_eq!(answer.revision, in_force);
                let explained = logged.client.explain(explain_request(&question)).await;
                let explained: pb::ExplainResponse =
                    explained.unwrap().into_inner().decoded().unwrap();
                assert_eq!(explained.revision, in_force);
                made.push(Made {
                    id: answer.decision_id,
                    explanation: without_time(explained),
                });
            }
            eventually("the kept revision", async || {
                iamd::store::load_kept(kept.path(), &in_force).ok()
            })
            .await
            .unwrap();
        }
        logged.server.signal("TERM");
        assert_eq!(logged.server.exit_status().code(), Some(0));
        Self {
            logged,
            kept,
            made,
            firsts,
        }
    }

    /// Returns the lines of all files of the log.
    fn lines(&self) -> Vec<String> {
        let folder = self.logged.folder.path();
        let mut files: Vec<PathBuf> = fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        // The current file has the shortest name and the last lines.
        files.sort_by_key(|path| {
            (
                path.to_str().unwrap().len() == self.path().len(),
                path.clone(),
            )
        });
        let texts = files.iter().map(|path| fs::read_to_string(path).unwrap());
        texts
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    fn path(&self) -> String {
        self.logged.path().to_str().unwrap().to_owned()
    }

    fn explain(&self, id: &str, store: &Path, options: &[&str]) -> Finished {
        let mut command = iamd(["explain", "--decision", id, "--decision-log", &self.path()]);
        command.arg("--keep-revisions").arg(self.kept.path());
        command.arg("--store").arg(store).args(options);
        run(command, "")
    }
}

fn replay(log: &Path, store: &Path) -> (Value, Option<i32>) {
    let mut command = iamd(["replay", "--output", "json", "--store"]);
    command.arg(store).arg(log);
    let replayed = run(command, "");
    let shown = serde_json::from_str(&replayed.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}{}", replayed.stdout, replayed.stderr);
    });
    (shown, replayed.status)
}

/// Returns the flips that asking a store gives, as kind and id, in the order of the log.
fn flips_of(lines: &[String], store: &Path) -> Vec<(String, String)> {
    let snapshot = iamd::store::load(store).unwrap().snapshot;
    let authorizer = Authorizer::of(snapshot);
    let mut flips = Vec::new();
    for line in lines {
        let message = Message::parse(line, "").unwrap();
        let Record::Decision(recorded) = message.record().unwrap() else {
            continue;
        };
        let answer = authorizer.authorize(&recorded.question, recorded.at);
        let answer = answer.to_answer().unwrap();
        let kind = match (recorded.is_allowed, answer.is_allowed) {
            (false, true) => "deny_to_allow",
            (true, false) => "allow_to_deny",
            _ if recorded.reason != answer.reason => "reason",
            _ => continue,
        };
        flips.push((kind.to_owned(), recorded.decision_id.to_owned()));
    }
    flips
}

fn shown_flips(shown: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let flips = shown["flips"].as_array().unwrap().iter();
    flips
        .map(|flip| (text(&flip["kind"]), text(&flip["decisionId"])))
        .collect()
}

#[tokio::test]
async fn past_decisions_are_explained_and_asked_again() {
    let past = Past::make().await;
    let lines = past.lines();
    let store = past.logged.store.path();

    // Every decision is explained as `Explain` explained it then.
    for made in &past.made {
        let id = format!(r#""decisionId":"{}""#, made.id);
        let line = lines.iter().find(|line| line.contains(&id)).unwrap();
        let message = Message::parse(line, "").unwrap();
        let Record::Decision(recorded) = message.record().unwrap() else {
            panic!("{line}");
        };
        let loaded = iamd::store::load_kept(past.kept.path(), recorded.revision);
        let authorizer = Authorizer::of(loaded.unwrap().unwrap().snapshot);
        let explained = authorizer.explain(&recorded.question, recorded.at, &wanted());
        let explained = json::explained(explained.unwrap());
        let explained: Value = serde_json::from_str(&explained).unwrap();
        assert_eq!(without_time(explained), made.explanation, "{line}");
    }

    // The command says the same, in both forms, for the first decision of each revision.
    for first in &past.firsts {
        let made = &past.made[*first];
        let explained = past.explain(&made.id, store, &["--output", "json"]);
        let shown: Value = serde_json::from_str(&explained.stdout).unwrap();
        assert_eq!(without_time(&shown["explanation"]), made.explanation);
        assert_eq!(shown["record"]["decisionId"], *made.id);
        let is_allowed = made.explanation["decision"] == "DECISION_ALLOW";
        assert_eq!(explained.status, Some(i32::from(!is_allowed)));
        let of = |value: &Value| (value["decision"].clone(), value["reason"].clone());
        let today = &shown["today"]["explanation"];
        assert_eq!(today["revision"], *crate::support::revision(store));
        let differs = of(today) != of(&made.explanation);
        assert_eq!(shown["today"]["differs"], differs);
        let text = past.explain(&made.id, store, &[]).stdout;
        let last = if made.explanation["revision"] == today["revision"] {
            "is of the same revision"
        } else if differs {
            "would answer otherwise"
        } else {
            "would answer the same"
        };
        assert!(text.contains(last), "{last}: {text}");
    }

    // The decisions of the last revision, asked again of the same store, are the same.
    let revision = crate::support::revision(store);
    let own: Vec<String> = lines
        .iter()
        .filter(|line| line.contains(&format!(r#""revision":"{revision}""#)))
        .cloned()
        .collect();
    let last = past.logged.folder.path().join("last.log");
    fs::write(&last, own.join("\n")).unwrap();
    let (shown, status) = replay(&last, store);
    assert_eq!(shown_flips(&shown), []);
    assert_eq!(shown["summary"]["asked"], own.len());
    assert_eq!(status, Some(0));

    // All decisions, asked again of the last store, flip as asking it shows. No number is missing.
    let (shown, status) = replay(Path::new(&past.path()), store);
    let expected = flips_of(&lines, store);
    assert!(expected.len() > 10, "{}", expected.len());
    assert_eq!(shown_flips(&shown), expected);
    assert_eq!(shown["summary"]["missing"], 0);
    let has_allow = expected.iter().any(|(kind, _)| kind == "deny_to_allow");
    assert_eq!(status, Some(i32::from(has_allow)));

    // Without one Deny, exactly those questions flip that both stores answer otherwise.
    let without = TempDir::new().unwrap();
    for file in crate::support::files_below(store, &["json"]) {
        let path = file.strip_prefix(store).unwrap().to_str().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let text = match path {
            "users/u2.json" => {
                let (before, deny) = text
                    .split_once(",\n        {\"Sid\": \"NotRisky\"")
                    .unwrap();
                let (_, behind) = deny.split_once(r#""high"}}}"#).unwrap();
                format!("{before}{behind}")
            }
            _ => text,
        };
        write(without.path(), path, &text);
    }
    let (shown, status) = replay(&last, without.path());
    let expected = flips_of(&own, without.path());
    assert_eq!(shown_flips(&shown), expected);
    let n_allows = expected.iter().filter(|(kind, _)| kind == "deny_to_allow");
    let n_allows = n_allows.count();
    assert!(n_allows > 0, "a Deny was in force: {expected:?}");
    assert_eq!(shown["summary"]["denyToAllow"], n_allows);
    assert_eq!(status, Some(1));
}

#[tokio::test]
async fn what_cannot_be_explained_or_asked_again_says_why() {
    let folder = TempDir::new().unwrap();
    let kept = folder.path().join("kept");
    let options = [
        "--keep-revisions",
        kept.to_str().unwrap(),
        "--decision-log-mask",
        "resource=drop",
    ];
    let mut logged = Logged::start("required", &options).await;
    let answer = logged.ask(super::GET).await.unwrap();
    logged.ended();
    let log = logged.path();
    let store = logged.store.path();
    let explain = |id: &str, kept: &Path| {
        let mut command = iamd(["explain", "--decision", id, "--decision-log"]);
        command.arg(&log).arg("--keep-revisions").arg(kept);
        command.arg("--store").arg(store);
        let explained = run(command, "");
        assert_eq!(explained.status, Some(2), "{}", explained.stdout);
        explained.stderr
    };
    let masked = explain(&answer.decision_id, &kept);
    assert!(masked.contains("is masked: `resource`"), "{masked}");
    let unknown = explain("0123-1", &kept);
    assert!(unknown.contains("there is no record"), "{unknown}");
    let (shown, status) = replay(&log, store);
    assert_eq!(shown["summary"]["masked"], 1);
    assert_eq!((&shown["summary"]["asked"], status), (&0.into(), Some(0)));

    // The same record without the mask, but the revision is not kept.
    let mut record = super::of_type(lines_of(&log), "decision").remove(0);
    record["resource"] = crate::support::ORDER.into();
    record.as_object_mut().unwrap().remove("masked");
    fs::write(&log, format!("{record}\nno JSON\n{{\"version\":2}}\n")).unwrap();
    let elsewhere = TempDir::new().unwrap();
    let not_kept = explain(&answer.decision_id, elsewhere.path());
    assert!(not_kept.contains("is not kept"), "{not_kept}");
    let (shown, status) = replay(&log, store);
    assert_eq!(shown["summary"]["asked"], 1);
    assert_eq!(shown["summary"]["unreadable"], 2);
    assert_eq!(status, Some(2));
    // As text, for people.
    let mut command = iamd(["replay", "--store"]);
    command.arg(store).arg(&log);
    let text = run(command, "").stdout;
    assert!(text.contains("1 questions asked again"), "{text}");
    assert!(text.contains("2 lines are no records"), "{text}");
}
