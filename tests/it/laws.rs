//! What must hold for every store and every question: the engine answers as the oracle does, and I-1 to I-7.
//!
//! The worlds come from a seed. A few thousand questions run with every `cargo test`; the long run is described in
//! `tests/README.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use iamd::compile::snapshot::Snapshot;
use iamd::context::ContextValue;
use iamd::engine::authorize_by_scan;
use iamd::engine::decision::{Decision, Reason, StatementRef};
use iamd::engine::derived::Facts;
use iamd::engine::layer::Verdict;
use iamd::engine::request::{RawRequest, RawSession, Request};
use iamd::engine::trace::{Outcome, Trace};
use iamd::language::document::{Listed, PolicyType};
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::oracle::question::{Given, Question, SessionFacts};
use crate::oracle::store::Store;
use crate::oracle::{self, Answer, Name};
use crate::worlds::{self, Random, World};

mod answers;
mod restrictions;
mod spelling;

const QUESTIONS_A_WORLD: u64 = 250;

/// How many questions, from which seed, on how many threads: `IAMD_LAWS_CASES`, `IAMD_LAWS_SEED`, `IAMD_LAWS_THREADS`.
struct Run {
    n_cases: u64,
    seed: u64,
    n_threads: u64,
}

impl Run {
    fn of_environment() -> Self {
        let number = |name: &str| env::var(name).ok().map(|text| text.parse().expect(name));
        // Without optimisation a question costs ten times as much.
        let usual = if cfg!(debug_assertions) {
            40_000
        } else {
            100_000
        };
        Self {
            n_cases: number("IAMD_LAWS_CASES").unwrap_or(usual),
            seed: number("IAMD_LAWS_SEED").unwrap_or(1),
            n_threads: number("IAMD_LAWS_THREADS").unwrap_or(4),
        }
    }
}

/// How often what came up.
#[derive(Default)]
struct Shares {
    n_cases: u64,
    n_worlds: u64,
    /// The questions with a listener.
    n_heard: u64,
    by_name: BTreeMap<String, u64>,
}

impl Shares {
    fn count(&mut self, name: impl Into<String>) {
        *self.by_name.entry(name.into()).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        self.n_cases += other.n_cases;
        self.n_worlds += other.n_worlds;
        self.n_heard += other.n_heard;
        for (name, count) in other.by_name {
            *self.by_name.entry(name).or_default() += count;
        }
    }

    /// Of one name, or of all that begin with what stands before `*`.
    fn percent(&self, wanted: &str) -> f64 {
        let of = match wanted.starts_with("heard") {
            true => self.n_heard,
            false => self.n_cases,
        };
        let is_wanted = |name: &str| match wanted.strip_suffix('*') {
            Some(begin) => name.starts_with(begin),
            None => name == wanted,
        };
        let of_name = self.by_name.iter().filter(|(name, _)| is_wanted(name));
        let n_named: u64 = of_name.map(|(_, count)| count).sum();
        n_named as f64 * 100.0 / of as f64
    }

    /// What hardly ever comes up is hardly tried: a law says little about it.
    fn assert_balance(&self) {
        if self.n_cases < 40_000 {
            return;
        }
        let mut least = vec![
            ("reason ALLOW*".to_owned(), 25.0),
            ("reason EXPLICIT_DENY*".to_owned(), 15.0),
        ];
        for (reason, label) in Reason::ALL {
            // RCPs always allow, but for their Denies (E-26).
            if *reason != Reason::ImplicitDenyResourceControl {
                least.push((format!("reason {label}"), 0.5));
            }
        }
        let features = self.by_name.keys().filter(|name| name.contains(": "));
        least.extend(features.map(|name| (name.clone(), 2.0)));
        let rare: Vec<String> = least
            .iter()
            .map(|(name, percent)| (name, self.percent(name), percent))
            .filter(|(_, found, percent)| found < *percent)
            .map(|(name, found, percent)| format!("  {found:.2} % of {percent} %: {name}"))
            .collect();
        assert!(rare.is_empty(), "too rare:\n{}", rare.join("\n"));
        let n_named = |begin: &str| {
            let names = self.by_name.keys();
            names.filter(|name| name.starts_with(begin)).count()
        };
        let parts = ["operator", "qualifier", "suffix", "element", "statement"];
        let n_heard = parts.map(|part| n_named(&format!("heard: {part}")));
        assert_eq!(n_heard, [27, 2, 1, 3, 7], "{parts:?}: each is there");
    }

    fn print(&self) {
        println!("{} questions in {} worlds", self.n_cases, self.n_worlds);
        for (name, count) in &self.by_name {
            let of = match name.starts_with("heard") {
                true => self.n_heard,
                false => self.n_cases,
            };
            let percent = *count as f64 * 100.0 / of as f64;
            println!("  {percent:6.2} %  {name}");
        }
    }
}

/// M-23: the oracle tries every statement, so that no index of the engine can leave one out.
#[test]
fn the_engine_answers_as_the_oracle_does() {
    let run = Run::of_environment();
    let n_worlds = run.n_cases.div_ceil(QUESTIONS_A_WORLD);
    let (next, begun) = (AtomicU64::new(0), Instant::now());
    let sum = Mutex::new((Shares::default(), Vec::new()));
    thread::scope(|scope| {
        for _ in 0..run.n_threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= n_worlds || sum.lock().unwrap().1.len() >= 20 {
                        break;
                    }
                    let seed = run.seed.wrapping_mul(1_000_000_007).wrapping_add(index);
                    let (shares, differences) = compare(seed);
                    let mut sum = sum.lock().unwrap();
                    sum.0.add(shares);
                    sum.1.extend(differences);
                    if sum.0.n_worlds.is_multiple_of(5_000) {
                        let (n_cases, n_differences) = (sum.0.n_cases, sum.1.len());
                        println!(
                            "{n_cases} questions, {n_differences} differences, {:?}",
                            begun.elapsed()
                        );
                    }
                }
            });
        }
    });
    let (shares, mut differences) = sum.into_inner().unwrap();
    println!("seed {}", run.seed);
    shares.print();
    shares.assert_balance();
    let n_differences = differences.len();
    differences.truncate(20);
    assert!(
        n_differences == 0,
        "{n_differences} differences\n{}",
        differences.join("\n")
    );
}

/// All questions to one world.
fn compare(seed: u64) -> (Shares, Vec<String>) {
    let case = Case::of_seed(seed);
    let mut shares = Shares {
        n_worlds: 1,
        ..Shares::default()
    };
    let mut differences = Vec::new();
    for number in 0..QUESTIONS_A_WORLD {
        let question = case.question(number);
        shares.n_cases += 1;
        if let Some(difference) = case.difference(&question, &mut shares) {
            differences.push(format!("world {seed}, question {number}: {difference}"));
        }
    }
    (shares, differences)
}

/// I-1: what nobody allows is denied.
#[test]
fn without_policies_everything_is_denied() {
    each_world(|case, _| {
        let account = |(path, _): &(&String, &Json)| path.ends_with("account.json");
        let files: BTreeMap<String, Json> = case
            .world
            .files
            .iter()
            .filter(account)
            .map(|(path, json)| (path.clone(), json.clone()))
            .collect();
        let bare = load_world(&files);
        for question in case.questions() {
            let is_root = question.principal.ends_with(":root"); // E-50
            let is_trusted = question.principal.contains(worlds::EXTERNAL);
            let may = is_allowed(&bare, &question);
            assert!(!may || is_root || is_trusted, "{question:?}");
        }
    });
}

/// I-5, I-7: order and case mean nothing.
#[test]
fn order_and_case_never_matter() {
    each_world(|case, random| {
        let files = case.world.files.iter();
        let permuted = files.map(|(path, json)| (path.clone(), worlds::permuted(json, random)));
        let permuted = load(&permuted.collect());
        let files = case.world.files.iter();
        let recased = files.map(|(path, json)| (path.clone(), worlds::recased(json, random)));
        let recased = load_world(&recased.collect());
        for question in case.questions() {
            let expected = reason(&case.snapshot, &question);
            assert_eq!(
                reason(&permuted, &question),
                expected,
                "permuted: {question:?}"
            );
            assert_eq!(
                reason(&recased, &question),
                expected,
                "recased: {question:?}"
            );
            let mut other = question.clone();
            other.action = random.recase(&other.action);
            for (key, _) in &mut other.context {
                // A tag key is a value too: that of `aws:TagKeys`.
                if !key.contains('/') {
                    *key = random.recase(key);
                }
            }
            assert_eq!(
                reason(&case.snapshot, &other),
                expected,
                "recased: {question:?}"
            );
        }
    });
}

/// Some worlds, each with some luck of its own.
pub fn each_world(mut law: impl FnMut(&Case, &mut Random)) {
    let run = Run::of_environment();
    for index in 0..(run.n_cases / 4_000).max(4) {
        let seed = run.seed.wrapping_mul(2_000_000_011).wrapping_add(index);
        law(&Case::of_seed(seed), &mut Random::new(!seed));
    }
}

fn reason(snapshot: &Snapshot, question: &Question) -> Option<&'static str> {
    ask(snapshot, question)
        .ok()
        .map(|decision| decision.reason().label())
}

fn is_allowed(snapshot: &Snapshot, question: &Question) -> bool {
    ask(snapshot, question).is_ok_and(|decision| decision.is_allowed())
}

/// The files of a store: path → content.
pub type Files = BTreeMap<String, Json>;

/// A world, loaded both ways.
pub struct Case {
    seed: u64,
    pub world: World,
    store: Store,
    pub snapshot: Snapshot,
}

impl Case {
    fn of_seed(seed: u64) -> Self {
        let world = worlds::world(&mut Random::new(seed));
        let texts = world.texts();
        Self {
            seed,
            store: oracle::store::read(&texts),
            snapshot: load(&texts),
            world,
        }
    }

    fn question(&self, number: u64) -> Question {
        let mut random = Random::new(self.seed ^ (number + 1).wrapping_mul(0xd6e8_feb8_6659_fd93));
        worlds::question(&mut random, &self.world)
    }

    pub fn questions(&self) -> impl Iterator<Item = Question> {
        (0..100).map(|number| self.question(number))
    }

    /// What engine and oracle do not agree on.
    fn difference(&self, question: &Question, shares: &mut Shares) -> Option<String> {
        let by_engine = ask(&self.snapshot, question);
        let by_oracle = oracle::answer(&self.store, question);
        for (feature, holds) in asked(question) {
            let count = shares.by_name.entry(format!("asked: {feature}"));
            *count.or_default() += u64::from(holds);
        }
        match (&by_oracle, &by_engine) {
            (Answer::Refused, Err(_)) => {
                shares.count("refused");
                None
            }
            (Answer::Decided(expected), Ok(decision)) => {
                shares.count(format!("reason {}", expected.reason));
                let scanned =
                    authorize_by_scan(&self.snapshot, &to_request(question).unwrap()).unwrap();
                let settled_by = |decision: &Decision| {
                    decision.determining().iter().map(name).collect::<Vec<_>>()
                };
                if scanned.reason() != decision.reason()
                    || settled_by(&scanned) != settled_by(decision)
                {
                    return Some(format!(
                        "with an index {decision:?}, without {scanned:?}, of {question:?}"
                    ));
                }
                // A part of all questions is enough.
                if shares.n_cases.is_multiple_of(5) {
                    shares.n_heard += 1;
                    for feature in listen(&self.snapshot, question, decision).features {
                        shares.count(format!("heard: {feature}"));
                    }
                }
                let names: BTreeSet<Name> = decision.determining().iter().map(name).collect();
                let is_same = expected.reason == decision.reason().label();
                let all: BTreeSet<&Name> = expected.determining.iter().flatten().collect();
                let are_admissible = names.iter().all(|name| all.contains(name))
                    && expected
                        .determining
                        .iter()
                        .all(|set| !set.is_disjoint(&names));
                (!is_same || !are_admissible).then(|| {
                    let reason = decision.reason().label();
                    format!("the engine says {reason} by {names:?}, the oracle {expected:?}, of {question:?}")
                })
            }
            _ => {
                let by_engine = match by_engine {
                    Ok(decision) => decision.reason().label().to_owned(),
                    Err(error) => error.to_string(),
                };
                Some(format!(
                    "the engine says {by_engine}, the oracle {by_oracle:?}, of {question:?}"
                ))
            }
        }
    }
}

pub fn load_world(files: &Files) -> Snapshot {
    let text = |(path, json): (&String, &Json)| (path.clone(), json.to_string());
    load(&files.iter().map(text).collect())
}

pub fn load(texts: &BTreeMap<String, String>) -> Snapshot {
    let texts = texts
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()));
    match iamd::store::load_texts(texts) {
        Ok(loaded) => loaded.snapshot,
        Err(refused) => {
            let errors: Vec<String> = refused
                .findings
                .iter()
                .filter(|finding| finding.is_error())
                .map(ToString::to_string)
                .collect();
            panic!("a generated store does not load:\n{}", errors.join("\n"));
        }
    }
}

/// What the engine decides.
pub fn ask(snapshot: &Snapshot, question: &Question) -> Result<Decision, String> {
    let request = to_request(question)?;
    iamd::engine::authorize(snapshot, &request).map_err(|error| error.to_string())
}

/// As the engine takes it, if it is a question at all.
pub fn to_request(question: &Question) -> Result<Request, String> {
    let at = Timestamp::from_second(question.at).unwrap();
    Request::parse(to_raw(question)?, at).map_err(|error| error.to_string())
}

/// What is worth counting in a question.
fn asked(question: &Question) -> impl IntoIterator<Item = (&'static str, bool)> {
    let session = question.session();
    let is = |part: &str| question.principal.contains(part);
    let is_list =
        |value: &Given, n: fn(usize) -> bool| matches!(value, Given::List(list) if n(list.len()));
    let has_list =
        |n: fn(usize) -> bool| question.context.iter().any(|(_, value)| is_list(value, n));
    [
        ("a user", is(":user/")),
        ("a role session", is(":assumed-role/")),
        ("a role", is(":role/")),
        ("a federated user", is(":federated-user/")),
        ("a root user", is(":root")),
        ("a service", !is(":") && is(".")),
        ("the anonymous", question.principal == "*"),
        ("a provider", is("-provider/")),
        ("an external account", is(worlds::EXTERNAL)),
        ("of trust", question.is_about_trust()),
        ("of passing", question.is_action("iam:PassRole")),
        (
            "with session policies",
            !session.policies.is_empty() || !session.policy_arns.is_empty(),
        ),
        ("with session tags", !session.tags.is_empty()),
        ("with MFA", session.mfa_at.is_some()),
        ("with claims", !session.claims.is_empty()),
        ("with an owner", !question.resource_account.is_empty()),
        (
            "with request tags",
            question.request_tag_keys().next().is_some(),
        ),
        ("with an empty list", has_list(|n| n == 0)),
        ("with several values", has_list(|n| n > 1)),
        (
            "with an empty text",
            question
                .context
                .iter()
                .any(|(_, value)| *value == Given::Text(String::new())),
        ),
        ("of no resource in particular", question.resource == "*"),
        (
            "with wildcards in the resource",
            question.resource.contains(['*', '?']) && question.resource != "*",
        ),
    ]
}

/// S-1: who listens changes nothing, and hears of every statement that settled the question.
fn listen(snapshot: &Snapshot, question: &Question, plain: &Decision) -> Heard {
    let at = Timestamp::from_second(question.at).unwrap();
    let request = Request::parse(to_raw(question).unwrap(), at).unwrap();
    let mut heard = Heard::default();
    let decision = iamd::engine::authorize_with(snapshot, &request, &mut heard).unwrap();
    assert_eq!(decision.reason(), plain.reason(), "{question:?}");
    for statement in plain.determining() {
        assert!(heard.applying.contains(&name(statement)), "{question:?}");
    }
    heard
}

/// The statements that apply, and what those have whose condition was asked for.
#[derive(Default)]
struct Heard {
    applying: BTreeSet<Name>,
    features: BTreeSet<String>,
}

impl Trace for Heard {
    const LISTENS: bool = true;

    fn statement(&mut self, _: &Facts<'_>, reference: &StatementRef, outcome: Outcome) {
        match outcome {
            Outcome::Applies(_) => _ = self.applying.insert(name(reference)),
            Outcome::ConditionFails => {}
            _ => return,
        }
        let statement = &reference.policy.statements[reference.index];
        self.features
            .insert(format!("statement of {:?}", reference.policy.policy_type));
        for condition in &statement.conditions {
            self.features
                .insert(format!("operator {:?}", condition.operator.base));
            if let Some(qualifier) = condition.operator.qualifier {
                self.features.insert(format!("qualifier {qualifier:?}"));
            }
            if condition.operator.if_exists {
                self.features.insert("suffix IfExists".into());
            }
        }
        let not_forms = [
            ("NotAction", matches!(statement.actions, Listed::Not(_))),
            (
                "NotResource",
                matches!(statement.resources, Some(Listed::Not(_))),
            ),
            (
                "NotPrincipal",
                statement
                    .principal
                    .as_ref()
                    .is_some_and(|element| element.negated),
            ),
        ];
        for (element, _) in not_forms.iter().filter(|(_, is_there)| *is_there) {
            self.features.insert(format!("element {element}"));
        }
    }

    fn layer(&mut self, _: PolicyType, _: Verdict) {}
}

/// As a door would put it.
pub fn to_raw(question: &Question) -> Result<RawRequest, String> {
    let entries = |entries: &[(String, Given)]| -> Result<Vec<(String, ContextValue)>, String> {
        let entry = |(key, value): &(String, Given)| Ok((key.clone(), to_value(value)?));
        entries.iter().map(entry).collect()
    };
    let session = |facts: &SessionFacts| -> Result<RawSession, String> {
        let facts = facts.clone();
        let time =
            |seconds: Option<i64>| seconds.map(|seconds| Timestamp::from_second(seconds).unwrap());
        Ok(RawSession {
            claims: entries(&facts.claims)?,
            policies: facts.policies,
            policy_arns: facts.policy_arns,
            tags: facts.tags,
            source_identity: facts.source_identity,
            issued_at: time(facts.issued_at),
            expires_at: time(facts.expires_at),
            mfa_at: time(facts.mfa_at),
            transitive_tag_keys: facts.transitive_tag_keys,
            federated_provider: facts.federated_provider,
            parent: facts.parent,
        })
    };
    Ok(RawRequest {
        principal: question.principal.clone(),
        action: question.action.clone(),
        resource: question.resource.clone(),
        context: entries(&question.context)?,
        session: question.session.as_ref().map(session).transpose()?,
        resource_account: question.resource_account.clone(),
    })
}

fn to_value(given: &Given) -> Result<ContextValue, String> {
    match given {
        Given::Text(text) => Ok(ContextValue::string(text.as_str())),
        Given::Number(number) => ContextValue::number(*number).map_err(|error| error.to_string()),
        Given::Bool(value) => Ok(ContextValue::bool(*value)),
        Given::List(elements) => {
            let elements: Result<Vec<_>, _> = elements.iter().map(to_value).collect();
            Ok(ContextValue::list(elements?))
        }
    }
}

/// What the oracle calls the statement.
fn name(statement: &StatementRef) -> Name {
    let kind = match statement.policy.policy_type {
        PolicyType::Identity => "identity",
        PolicyType::PermissionsBoundary => "boundary",
        PolicyType::Session => "session",
        PolicyType::Resource => "resource",
        PolicyType::Trust => "trust",
        PolicyType::ServiceControl => "scp",
        PolicyType::ResourceControl => "rcp",
    };
    (kind, Arc::clone(&statement.policy.name), statement.index)
}
