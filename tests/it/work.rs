//! A decision that would take too much work is given up. Then there is no answer, and in particular no allow.

use std::sync::OnceLock;
use std::time::Duration;

use allocation_counter::measure;
use iamd::compile::snapshot::Snapshot;
use iamd::engine::decision::Decision;
use iamd::engine::error::{RequestError, RequestErrorKind};
use iamd::engine::question::{Question, Value as Given};
use iamd::engine::request::Request;
use iamd::engine::{authorize, authorize_by_scan};
use iamd::service::json::Message;
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::support::{ACCOUNT, answer_line};

const N_VALUES: usize = 3_000;

/// Returns a user who may do everything, by a statement before or after the expensive one.
fn answers(effect: &str, is_first: bool) -> Vec<Option<RequestErrorKind>> {
    answers_with(effect, is_first, "*")
}

/// Returns such a user, where each value of the expensive condition begins with `start`.
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
    // The statements after the Allow that grants are not considered.
    assert_eq!(answers("Allow", false), vec![None; 4]);
}

/// E-1: a search costs what it takes, so a long list against a long list has an answer.
#[test]
fn a_list_that_is_searched_spends_what_the_search_takes() {
    for effect in ["Allow", "Deny"] {
        assert_eq!(answers_with(effect, true, ""), vec![None; 4], "E-1");
    }
}

mod ample;
mod hostile;
mod reading;

/// How many times the CPU time of a whole budget a question may take. The questions of these tests take up to 5 times
/// as much in an optimized build. In other builds they take up to 6 times, and 60 times where texts are compared
/// ignoring case.
const MOST_BUDGETS: u32 = if cfg!(debug_assertions) { 120 } else { 10 };
/// How often a question that took longer is repeated. Any question may take longer on a busy machine, but unpaid work
/// always does.
const N_TRIES: usize = 10;
/// The most memory that a question of 64 KiB may take while it is answered.
const MOST_BYTES: u64 = 4 << 20;

/// The outcome of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// An allow or a deny.
    Answered,
    /// No answer, because it would have taken too much work (E-1).
    GivenUp,
    /// No answer, because the question is malformed.
    Refused,
}

/// The files of a store of one account, by their paths.
#[derive(Default)]
struct Files(Vec<(String, String)>);

impl Files {
    /// Returns an account in which the role `app` may do everything, after these statements of its identity policies.
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

/// Returns a session policy that allows everything under this condition.
fn session_policy(condition: Value) -> String {
    let statement =
        json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition});
    document(&[statement]).to_string()
}

const ORDER: &str = "arn:app:orders:::order/1";

/// Returns a question of a session of the role `app`, with these additional members.
fn question(more: Value) -> Value {
    let mut question = json!({
        "principal": "arn:aws:sts::111111111111:assumed-role/app/s1", "action": "orders:Get", "resource": ORDER,
    });
    for (name, value) in more.as_object().unwrap() {
        question[name] = value.clone();
    }
    question
}

/// Returns this many short texts, none of which is a prefix of another.
fn texts(n: usize) -> Vec<String> {
    (0..n).map(|index| format!("{index:04}")).collect()
}

/// Returns the CPU time that this thread has used.
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

/// A function that decides.
type Engine = fn(&Snapshot, &Request) -> Result<Decision, RequestError>;

/// Returns the outcome of a question and its CPU time.
fn ask_once(snapshot: &Snapshot, question: &Value, engine: Engine) -> (End, Duration) {
    let text = question.to_string();
    let message = Message::parse(&text, "").unwrap();
    let question = message.question().unwrap();
    let (begun, mut decision) = (cpu_time(), None);
    let taken = measure(|| {
        let request = Request::parse(&question, now());
        decision = Some(request.and_then(|request| engine(snapshot, &request)));
    });
    let took = cpu_time() - begun;
    let n_bytes = taken.bytes_max;
    assert!(n_bytes <= MOST_BYTES, "E-1: it held {n_bytes} bytes");
    let end = match decision.unwrap() {
        Ok(_) => End::Answered,
        Err(error) if error.kind == RequestErrorKind::TooMuchWork => End::GivenUp,
        Err(_) => End::Refused,
    };
    (end, took)
}

/// Returns the CPU time of a whole budget: that of a question that only compares numbers.
fn budget() -> Duration {
    static BUDGET: OnceLock<Duration> = OnceLock::new();
    *BUDGET.get_or_init(|| {
        let condition = json!({"ForAnyValue:NumericEquals": {"app:list": vec!["1"; 100]}});
        let statement =
            json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition});
        let snapshot = Files::new(vec![statement; 200]).snapshot();
        let asked = question(json!({"context": {"app:list": vec!["2"; 10]}}));
        let text = asked.to_string();
        let message = Message::parse(&text, "").unwrap();
        let request = Request::parse(&message.question().unwrap(), now()).unwrap();
        let took = (0..N_TRIES).map(|_| {
            let begun = cpu_time();
            let decision = authorize(&snapshot, &request);
            let took = cpu_time() - begun;
            assert!(
                decision.is_err_and(|error| error.kind == RequestErrorKind::TooMuchWork),
                "E-1: the whole budget is spent"
            );
            took
        });
        took.min().unwrap()
    })
}

/// Repeats steps until each of them has taken no more CPU time than a question may. The best time of a step counts.
fn assert_bounded(mut steps: impl FnMut() -> Vec<Duration>) {
    let most = MOST_BUDGETS * budget();
    let mut best = steps();
    for _ in 1..N_TRIES {
        if best.iter().all(|took| *took <= most) {
            return;
        }
        for (best, took) in best.iter_mut().zip(steps()) {
            *best = took.min(*best);
        }
    }
    assert!(
        best.iter().all(|took| *took <= most),
        "E-1: it takes {best:?}, and a budget {:?}",
        budget()
    );
}

/// Returns the outcome of a question that is asked of a new store once and then this many times more, each time within
/// what any question may take.
fn ends(files: &Files, question: &Value, engine: Engine, n_times: usize) -> Vec<End> {
    let mut ends = Vec::new();
    assert_bounded(|| {
        let snapshot = files.snapshot();
        let asked = (0..n_times).map(|_| ask_once(&snapshot, question, engine));
        let (now, took): (Vec<End>, Vec<Duration>) = asked.unzip();
        ends = now;
        took
    });
    ends
}

/// Asks a new store twelve times, while the index and its filters are built and with them, and then as a server would.
fn ask(files: &Files, question: &Value) -> End {
    let ends = ends(files, question, authorize, 12);
    let told = answer_line(&files.snapshot(), &question.to_string(), now());
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

/// Returns the outcome of a question that is asked of a new store.
fn ask_first(files: &Files, question: &Value) -> End {
    ends(files, question, authorize, 1)[0]
}

/// Returns the outcome of a question for which every statement is considered.
fn ask_by_scan(files: &Files, question: &Value) -> End {
    ends(files, question, authorize_by_scan, 1)[0]
}
