//! What must hold for every store and every question: the engine answers as the oracle does, and I-1 to I-7.
//!
//! The worlds come from a seed. A few thousand questions run with every `cargo test`; the long run is described in
//! `tests/README.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use iamd::compile::snapshot::Snapshot;
use iamd::context::ContextValue;
use iamd::engine::decision::{Decision, StatementRef};
use iamd::engine::derived::Facts;
use iamd::engine::layer::Verdict;
use iamd::engine::request::{RawRequest, RawSession, Request};
use iamd::engine::trace::{Outcome, Trace};
use iamd::language::document::{Listed, PolicyType};
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use crate::oracle::question::{Given, Question, SessionFacts};
use crate::oracle::store::Store;
use crate::oracle::{self, Answer, Name};
use crate::worlds::{self, Random, World};

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

    fn percent(&self, begin: &str) -> f64 {
        let of_name = self
            .by_name
            .iter()
            .filter(|(name, _)| name.starts_with(begin));
        let n_named: u64 = of_name.map(|(_, count)| count).sum();
        n_named as f64 * 100.0 / self.n_cases as f64
    }

    fn print(&self) {
        println!("{} questions in {} worlds", self.n_cases, self.n_worlds);
        for (name, count) in &self.by_name {
            let of = if name.starts_with("heard") {
                self.n_heard
            } else {
                self.n_cases
            };
            let percent = *count as f64 * 100.0 / of as f64;
            println!("  {percent:6.2} %  {name}");
        }
    }
}

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
    let n_differences = differences.len();
    differences.truncate(20);
    assert!(
        n_differences == 0,
        "{n_differences} differences\n{}",
        differences.join("\n")
    );
    assert!(
        shares.percent("reason ALLOW") >= 25.0,
        "too few are allowed"
    );
    assert!(
        shares.percent("reason EXPLICIT_DENY") >= 15.0,
        "too few are denied explicitly"
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

/// I-2, I-3, I-4: none of these changes turns a deny into an allow.
#[test]
fn changes_that_only_restrict_never_allow() {
    each_world(|case, random| {
        for change in [add_deny, remove_allow, add_boundary, add_resource_control] {
            let mut files = case.world.files.clone();
            let Some(what) = change(&mut files, random) else {
                continue;
            };
            let changed = load_world(&files);
            for question in case.questions() {
                let must_not = !is_allowed(&case.snapshot, &question);
                if must_not && is_allowed(&changed, &question) {
                    panic!("world {}: {what} allows {question:?}", case.seed);
                }
            }
        }
    });
}

/// I-4: the first session policy of a session only restricts, but for federated users (E-49).
#[test]
fn a_first_session_policy_never_allows() {
    each_world(|case, random| {
        for mut question in case.questions() {
            let is_federated = question.principal.contains("federated-user/");
            let before = is_allowed(&case.snapshot, &question);
            let policy = random.pick(&case.world.session_documents).clone();
            let Some(facts) = &mut question.session else {
                continue;
            };
            if !is_federated && facts.policies.is_empty() && facts.policy_arns.is_empty() {
                facts.policies.push(policy);
                assert!(
                    before || !is_allowed(&case.snapshot, &question),
                    "{question:?}"
                );
            }
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
fn each_world(law: impl Fn(&Case, &mut Random)) {
    let run = Run::of_environment();
    for index in 0..(run.n_cases / 10_000).max(4) {
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

type Files = BTreeMap<String, Json>;

/// One of the lists of statements of a file that has any.
fn any_statements<'f>(files: &'f mut Files, random: &mut Random) -> Option<(String, &'f mut Json)> {
    let mut lists = Vec::new();
    for (path, json) in files {
        let mut found = Vec::new();
        worlds::statement_lists(json, &mut found);
        lists.extend(found.into_iter().map(|list| (path.clone(), list)));
    }
    let index = random.below(lists.len());
    Some(lists.swap_remove(index))
}

fn add_deny(files: &mut Files, random: &mut Random) -> Option<String> {
    let (path, list) = any_statements(files, random)?;
    let mut statement = random.pick(list.as_array()?).clone();
    // A short pattern may stand in one of the two positions only (M-12).
    if statement.get("NotResource").is_some() {
        return None;
    }
    statement["Effect"] = json!("Deny");
    let members = statement.as_object_mut()?;
    members.remove("Sid");
    members.remove("Condition");
    let what = format!("{statement} in {path}");
    list.as_array_mut()?.push(statement);
    Some(what)
}

fn remove_allow(files: &mut Files, random: &mut Random) -> Option<String> {
    let (path, list) = any_statements(files, random)?;
    let list = list.as_array_mut().filter(|list| list.len() > 1)?;
    let index = list
        .iter()
        .position(|statement| statement["Effect"] == "Allow")?;
    Some(format!("{path} without {}", list.remove(index)))
}

fn add_boundary(files: &mut Files, random: &mut Random) -> Option<String> {
    let arn = format!("arn:aws:iam::aws:policy/P{}", random.below(3));
    let is_entity = |path: &&String| path.contains("users/") || path.contains("roles/");
    let paths: Vec<String> = files.keys().filter(is_entity).cloned().collect();
    let path = random.pick(&paths);
    let entity = files.get_mut(path)?;
    if entity.get("PermissionsBoundary").is_some() {
        return None;
    }
    entity["PermissionsBoundary"] = json!({"PermissionsBoundaryArn": arn});
    Some(format!("boundary {arn} of {path}"))
}

fn add_resource_control(files: &mut Files, random: &mut Random) -> Option<String> {
    let name = format!("c{}", random.below(3));
    let root = &mut files.get_mut("organization.json")?["Root"];
    let list = root.get_mut("ResourceControlPolicies")?.as_array_mut()?;
    if !list.contains(&json!(name)) {
        list.push(json!(name));
    }
    Some(format!("RCP {name}"))
}

/// A world, loaded both ways.
struct Case {
    seed: u64,
    world: World,
    store: Store,
    snapshot: Snapshot,
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

    fn questions(&self) -> impl Iterator<Item = Question> {
        (0..100).map(|number| self.question(number))
    }

    /// What engine and oracle do not agree on.
    fn difference(&self, question: &Question, shares: &mut Shares) -> Option<String> {
        let by_engine = ask(&self.snapshot, question);
        let by_oracle = oracle::answer(&self.store, question);
        for feature in asked(question) {
            shares.count(format!("asked: {feature}"));
        }
        match (&by_oracle, &by_engine) {
            (Answer::Refused, Err(_)) => {
                shares.count("refused");
                None
            }
            (Answer::Decided(expected), Ok(decision)) => {
                shares.count(format!("reason {}", expected.reason));
                // A part of all questions is enough, of every kind.
                if question.context.len() == 7 {
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

fn load_world(files: &Files) -> Snapshot {
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

fn ask(snapshot: &Snapshot, question: &Question) -> Result<Decision, String> {
    let raw = to_raw(question)?;
    let at = Timestamp::from_second(question.at).unwrap();
    let request = Request::parse(raw, at).map_err(|error| error.to_string())?;
    let decision =
        iamd::engine::authorize(snapshot, &request).map_err(|error| error.to_string())?;
    Ok(decision)
}

/// What is worth counting in a question.
fn asked(question: &Question) -> Vec<&'static str> {
    let session = question.session();
    let is = |part: &str| question.principal.contains(part);
    let is_list =
        |value: &Given, n: fn(usize) -> bool| matches!(value, Given::List(list) if n(list.len()));
    let has_list =
        |n: fn(usize) -> bool| question.context.iter().any(|(_, value)| is_list(value, n));
    let features = [
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
    ];
    features
        .into_iter()
        .filter(|(_, holds)| *holds)
        .map(|(name, _)| name)
        .collect()
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
    (kind, statement.policy.name.clone(), statement.index)
}
