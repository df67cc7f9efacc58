//! A decision that would take too much work is given up: there is no answer then, least of all an allow.

use std::time::Duration;

use allocation_counter::measure;
use iamd::compile::snapshot::Snapshot;
use iamd::engine::question::{Question, Value as Given};
use iamd::engine::request::{Request, RequestErrorKind};
use iamd::engine::{authorize, authorize_by_scan};
use iamd::service::json::Message;
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::support::{ACCOUNT, answer_line};

const N_VALUES: usize = 3_000;

/// A user who may do everything, by a statement before or behind the one that costs so much.
fn answers(effect: &str, is_first: bool) -> Vec<Option<RequestErrorKind>> {
    answers_with(effect, is_first, "*")
}

/// The same, where each value of the costly condition begins with `start`.
fn answers_with(effect: &str, is_first: bool, start: &str) -> Vec<Option<RequestErrorKind>> {
    let patterns: Vec<String> = (0..N_VALUES)
        .map(|index| format!("{start}{index}x"))
        .collect();
    let costly = json!({
        "Effect": effect, "Action": "*", "Resource": "*",
        "Condition": {"ForAnyValue:StringLike": {"app:list": patterns}},
    });
    let all = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    let statements = if is_first {
        [costly, all]
    } else {
        [all, costly]
    };
    let user = json!({
        "UserName": "ann",
        "UserPolicyList": [{"PolicyName": "p", "PolicyDocument": {"Version": "2012-10-17", "Statement": statements}}],
    });
    let loaded = iamd::store::load_texts([
        (
            "accounts/111111111111/account.json",
            r#"{"AccountId": "111111111111"}"#,
        ),
        (
            "accounts/111111111111/users/ann.json",
            user.to_string().as_str(),
        ),
    ]);
    let snapshot = loaded.unwrap().snapshot;
    let values: Vec<String> = (0..N_VALUES).map(|index| format!("{index}y")).collect();
    let values = values.iter().map(|value| Given::Text(value));
    let question = Question {
        principal: "arn:aws:iam::111111111111:user/ann",
        action: "orders:Get",
        resource: "*",
        context: vec![("app:list", Given::List(values.collect()))],
        ..Question::default()
    };
    let request = Request::parse(&question, now()).unwrap();
    [authorize_by_scan, authorize, authorize, authorize]
        .map(|authorize| authorize(&snapshot, &request).err().map(|error| error.kind))
        .to_vec()
}

/// E-1.
#[test]
fn a_spent_work_budget_is_an_error_and_no_answer() {
    let given_up = vec![Some(RequestErrorKind::TooMuchWork); 4];
    assert_eq!(answers("Deny", true), given_up, "E-1");
    assert_eq!(answers("Deny", false), given_up, "E-1");
    assert_eq!(answers("Allow", true), given_up, "E-1");
    // Whatever follows the Allow that grants is not looked at.
    assert_eq!(answers("Allow", false), vec![None; 4]);
}

/// E-1: what is searched costs what the search does, so a long list against a long list has an answer.
#[test]
fn a_list_that_is_searched_spends_what_the_search_takes() {
    for effect in ["Allow", "Deny"] {
        assert_eq!(answers_with(effect, true, ""), vec![None; 4], "E-1");
    }
}

mod ample;
mod hostile;

/// The most CPU time of its thread that a question may take: many times what a whole budget takes, so that a busy machine
/// fails no test. In a build that is not optimised that differs from step to step. What is not paid for takes longer.
const MOST: Duration = Duration::from_millis(if cfg!(debug_assertions) { 1_000 } else { 25 });
/// The most memory that a question of 64 KiB may hold while it is answered.
const MOST_BYTES: u64 = 4 << 20;

/// How a question ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With an allow or a deny.
    Answered,
    /// Without an answer, for it would have taken too much work (E-1).
    GivenUp,
    /// Without an answer, for it is malformed.
    Refused,
}

/// Files of a store of one account, by their paths.
#[derive(Default)]
struct Files(Vec<(String, String)>);

impl Files {
    /// An account in which the role `app` may do everything after these statements of its identity policies.
    fn new(statements: impl IntoIterator<Item = Value>) -> Self {
        let mut statements: Vec<Value> = statements.into_iter().collect();
        statements.push(json!({"Effect": "Allow", "Action": "*", "Resource": "*"}));
        let mut files = Self::default();
        let trust =
            json!({"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"});
        let mut attached = Vec::new();
        for (at, some) in statements.chunks(1_000).enumerate() {
            let name = format!("p{at}");
            files.add(&format!("managed-policies/{name}.json"), document(some));
            let arn = format!("arn:aws:iam::{ACCOUNT}:policy/{name}");
            attached.push(json!({"PolicyName": name, "PolicyArn": arn}));
        }
        files.add("account.json", json!({"AccountId": ACCOUNT}));
        files.add(
            "roles/app.json",
            json!({"AssumeRolePolicyDocument": document(&[trust]), "AttachedManagedPolicies": attached}),
        );
        files
    }

    fn add(&mut self, path: &str, content: Value) {
        self.0.push((path.to_owned(), content.to_string()));
    }

    fn snapshot(&self) -> Snapshot {
        let files = self.0.iter().map(|(path, text)| (&**path, &**text));
        iamd::store::load_texts(files).unwrap().snapshot
    }
}

fn document(statements: &[Value]) -> Value {
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// A session policy that allows everything under this condition.
fn session_policy(condition: Value) -> String {
    let statement =
        json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition});
    document(&[statement]).to_string()
}

const ORDER: &str = "arn:app:orders:::order/1";

/// A question of a session of the role `app`, with these members besides.
fn question(more: Value) -> Value {
    let mut question = json!({
        "principal": "arn:aws:sts::111111111111:assumed-role/app/s1", "action": "orders:Get", "resource": ORDER,
    });
    for (name, value) in more.as_object().unwrap() {
        question[name] = value.clone();
    }
    question
}

/// So many short texts, none of which is the beginning of another.
fn texts(n: usize) -> Vec<String> {
    (0..n).map(|index| format!("{index:04}")).collect()
}

/// The CPU time that this thread has taken.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        now.tv_sec.try_into().unwrap(),
        now.tv_nsec.try_into().unwrap(),
    )
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// Reads and decides a question, within what any question may take.
fn ask_once(snapshot: &Snapshot, question: &Value) -> End {
    let text = question.to_string();
    let message = Message::parse(&text, "").unwrap();
    let question = message.question().unwrap();
    let (begun, mut decision) = (cpu_time(), None);
    let taken = measure(|| {
        let request = Request::parse(&question, now());
        decision = Some(request.and_then(|request| authorize(snapshot, &request)));
    });
    let took = cpu_time() - begun;
    let decision = decision.unwrap();
    let end = match &decision {
        Ok(_) => End::Answered,
        Err(error) if error.kind == RequestErrorKind::TooMuchWork => End::GivenUp,
        Err(_) => End::Refused,
    };
    assert!(
        took <= MOST,
        "E-1: it took {took:?}, and then it was {end:?}"
    );
    let n_bytes = taken.bytes_max;
    assert!(n_bytes <= MOST_BYTES, "E-1: it held {n_bytes} bytes");
    end
}

/// Asks four times: by considering every statement, while an index is made, and with it; and then as a server would.
fn ask(snapshot: &Snapshot, question: &Value) -> End {
    let ends = [(); 4].map(|()| ask_once(snapshot, question));
    let told = answer_line(snapshot, &question.to_string(), now());
    let end = match &serde_json::from_str::<Value>(&told).unwrap()["error"]["code"] {
        Value::Null => End::Answered,
        code if code == "INTERNAL" => End::GivenUp,
        _ => End::Refused,
    };
    assert!(
        ends.iter().all(|other| *other == end),
        "E-1: {ends:?}, {told}"
    );
    assert!(!told.contains("the limit is"), "no server takes it: {told}");
    assert!(
        told.len() <= 4 * 1024,
        "E-1: an answer of {} bytes",
        told.len()
    );
    end
}
