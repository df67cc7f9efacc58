//! Laws that must hold for every store and every question: the engine answers as the oracle does, on each of its paths,
//! and I-1 to I-7 hold.
//!
//! The worlds come from a seed. Each `cargo test` runs tens of thousands of questions. `tests/README.md` describes the
//! long run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use iamd::compile::snapshot::Snapshot;
use iamd::engine::cache::{Caching, Mode};
use iamd::engine::decision::{Decision, StatementName, StatementRef};
use iamd::engine::facts::Facts;
use iamd::engine::layer::Verdict;
use iamd::engine::live::Generation;
use iamd::engine::request::Request;
use iamd::engine::session_policy::SessionPolicies;
use iamd::engine::trace::{Outcome, Trace};
use iamd::engine::{authorize, authorize_by_scan};
use iamd::language::document::{Listed, PolicyType};
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::oracle::context::OF_SOURCES;
use crate::oracle::question::{Given, Question};
use crate::oracle::store::Store;
use crate::oracle::{self, Answer, Name};
use crate::support::number_from_environment;
use crate::worlds::{self, Random, World};

mod answers;
mod asked;
mod lists;
mod restrictions;
mod sessions;
mod shadowed;
mod shares;
mod spelling;

use asked::asked_of;
use shares::{Shares, Ways};

const QUESTIONS_A_WORLD: u64 = 320;

/// One question in this many is also asked with a listener.
const HEARD: u64 = 5;

/// The modes of the cache, by name.
pub const MODES: [(&str, Mode); 3] = [
    ("off", Mode::Off),
    ("auto", Mode::Auto),
    ("always", Mode::Always),
];
const OFF: usize = 0;

/// How often each question is repeated. The cache that looks for repetition (`Mode::Auto`) gives answers from the third
/// time on.
const N_ROUNDS: usize = 5;

/// The number of questions, the seed and the number of threads: `IAMD_LAWS_CASES`, `IAMD_LAWS_SEED`,
/// `IAMD_LAWS_THREADS`.
struct Run {
    n_cases: u64,
    seed: u64,
    n_threads: u64,
}

impl Run {
    fn of_environment() -> Self {
        // Without optimization, a question costs ten times as much.
        let usual = if cfg!(debug_assertions) {
            40_000
        } else {
            100_000
        };
        Self {
            n_cases: number_from_environment("IAMD_LAWS_CASES", usual),
            seed: number_from_environment("IAMD_LAWS_SEED", 1),
            n_threads: number_from_environment("IAMD_LAWS_THREADS", 4),
        }
    }
}

/// M-23: the oracle tries every statement, so no index of the engine can leave one out unnoticed.
#[test]
fn the_engine_answers_as_the_oracle_does() {
    let run = Run::of_environment();
    let n_worlds = run.n_cases.div_ceil(QUESTIONS_A_WORLD);
    let (next, begun) = (AtomicU64::new(0), Instant::now());
    // A server also compiles the same few texts only once.
    let session_policies = SessionPolicies::remembering(1 << 22);
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
                    let (shares, differences) = compare(seed, &session_policies);
                    let mut sum = sum.lock().unwrap();
                    sum.0.add(shares);
                    sum.1.extend(differences);
                    if sum.0.n_worlds.is_multiple_of(2_000) {
                        let (n_cases, n_differences) = (sum.0.n_cases, sum.1.len());
                        let seconds = begun.elapsed().as_secs_f64();
                        println!(
                            "{n_cases} questions, {n_differences} differences, {seconds:.0} s, {:.1} µs a question",
                            seconds * 1e6 / n_cases as f64
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
    shares.assert_balance();
    shares.assert_ways();
}

/// Asks all questions about one world: first the oracle, the engine and a scan, then again by index and from the
/// caches.
fn compare(seed: u64, session_policies: &SessionPolicies) -> (Shares, Vec<String>) {
    let case = Case::of_any_width(seed);
    let mut shares = Shares {
        n_worlds: 1,
        ..Shares::default()
    };
    let mut differences = Vec::new();
    let mut decided = Vec::new();
    let questions: Vec<Question> = (0..QUESTIONS_A_WORLD)
        .map(|number| case.question(number))
        .collect();
    for (number, question) in questions.iter().enumerate() {
        shares.n_cases += 1;
        for (name, holds) in asked(question) {
            *shares.asked.entry(name).or_default() += u64::from(holds);
        }
        let request = to_request_with(question, session_policies);
        match case.difference(question, request, &mut shares) {
            Ok(found) => decided.extend(found),
            Err(difference) => {
                differences.push(format!("world {seed}, question {number}: {difference}"));
            }
        }
    }
    if let Err(difference) = case.ask_again(&decided, &mut shares.ways) {
        differences.push(format!("world {seed}: {difference}"));
    }
    (shares, differences)
}

/// I-1: a question that nothing allows is denied.
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
            // E-50 and E-49: this is the root user behind a federated user.
            let asks_as = [&question.principal, &question.session().parent];
            let is_root = asks_as.iter().any(|arn| arn.ends_with(":root"));
            let is_trusted = question.principal.contains(worlds::EXTERNAL);
            let may = is_allowed(&bare, &question);
            assert!(!may || is_root || is_trusted, "{question:?}");
        }
    });
}

/// I-5, I-7: order and case do not matter.
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
                // A tag key is also a value: that of `aws:TagKeys`.
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

/// Makes some worlds, each with its own probabilities.
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

/// The files of a store, by path.
pub type Files = BTreeMap<String, Json>;

/// How many of the worlds are wide, by how many statements, and how many are expensive.
const WIDE_PERCENT: usize = 5;
const EXPENSIVE_PERCENT: usize = 8;
/// Accounts that are in another place or do not exist.
const LAID_OUT_PERCENT: usize = 8;
const WIDTH: usize = 40;

/// A world, loaded by the engine and by the oracle.
pub struct Case {
    seed: u64,
    /// Whether its policies are so long that the cache keeps answers in its automatic mode.
    is_expensive: bool,
    pub world: World,
    store: Store,
    pub snapshot: Snapshot,
}

impl Case {
    fn of_seed(seed: u64) -> Self {
        Self::of(seed, worlds::world(&mut Random::new(seed)))
    }

    /// Makes a world. Now and then its policies are so long that the engine filters their statements, or that the cache
    /// considers the answers worth keeping.
    fn of_any_width(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut world = worlds::world(&mut random);
        let kind = random.below(100);
        if kind < WIDE_PERCENT {
            worlds::widen(&mut world, &mut random, WIDTH);
        }
        if random.chance(LAID_OUT_PERCENT) {
            worlds::lay_out(&mut world, &mut random);
        }
        let is_expensive = (WIDE_PERCENT..WIDE_PERCENT + EXPENSIVE_PERCENT).contains(&kind);
        if is_expensive {
            worlds::make_expensive(&mut world, &mut random);
        }
        Self {
            is_expensive,
            ..Self::of(seed, world)
        }
    }

    fn of(seed: u64, world: World) -> Self {
        let texts = world.texts();
        Self {
            seed,
            is_expensive: false,
            store: oracle::store::of_files(&world.files),
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

    /// Asks the engine and the oracle. Returns the decision, or an error that says where they disagree.
    fn difference<'q>(
        &self,
        question: &Question,
        request: Result<Request<'q>, String>,
        shares: &mut Shares,
    ) -> Result<Option<(Request<'q>, Decision)>, String> {
        let by_engine = request.and_then(|request| {
            let decision =
                authorize(&self.snapshot, &request).map_err(|error| error.to_string())?;
            Ok((request, decision))
        });
        let (by_oracle, met) = oracle::answer_and_met(&self.store, question);
        for met in met {
            *shares.met.entry(met).or_default() += 1;
        }
        let (expected, (request, decision)) = match (by_oracle, by_engine) {
            (Answer::Refused, Err(_)) => {
                shares.refused += 1;
                return Ok(None);
            }
            (Answer::Decided(expected), Ok(decided)) => (expected, decided),
            (by_oracle, by_engine) => {
                let by_engine = match by_engine {
                    Ok((_, decision)) => decision.reason().label().to_owned(),
                    Err(error) => error,
                };
                return Err(format!(
                    "the engine says {by_engine}, the oracle {by_oracle:?}, of {question:?}"
                ));
            }
        };
        *shares.reasons.entry(expected.reason).or_default() += 1;
        let scanned = authorize_by_scan(&self.snapshot, &request).unwrap();
        shares.ways.scan += 1;
        if !is_same(&scanned, &decision) {
            return Err(format!(
                "with an index {decision:?}, without {scanned:?}, of {question:?}"
            ));
        }
        if shares.n_cases.is_multiple_of(HEARD) {
            shares.n_heard += 1;
            for feature in listen(&self.snapshot, &request, &decision).features {
                *shares.heard.entry(feature).or_default() += 1;
            }
        }
        let names: Vec<Name> = decision.determining().iter().map(name).collect();
        let are_admissible = is_admissible(&names, &expected.determining);
        if expected.reason != decision.reason().label() || !are_admissible {
            let reason = decision.reason().label();
            return Err(format!(
                "the engine says {reason} by {names:?}, the oracle {expected:?}, of {question:?}"
            ));
        }
        Ok(Some((request, decision)))
    }

    /// Asks by index once, when all slices exist, and the caches so often that they have what they keep. In its
    /// automatic mode, a cache keeps nothing if no question is expensive.
    fn is_asked(&self, mode: usize, round: usize) -> bool {
        match MODES[mode].1 {
            Mode::Off => round + 1 == N_ROUNDS,
            Mode::Auto => round == 0 || self.is_expensive,
            Mode::Always => round < 2,
        }
    }

    /// Repeats the same questions. By now there are indexes, and soon the caches have the answers.
    fn ask_again(&self, decided: &[(Request, Decision)], ways: &mut Ways) -> Result<(), String> {
        let modes = MODES.map(|(name, mode)| {
            let caching = Caching::new(mode, 1 << 20, self.seed);
            let generation = Generation::new(self.snapshot.clone(), &caching);
            (name, generation, caching)
        });
        for round in 0..N_ROUNDS {
            for (mode, (name, generation, _)) in modes.iter().enumerate() {
                if !self.is_asked(mode, round) {
                    continue;
                }
                for (request, expected) in decided {
                    let got = generation.authorize(request).unwrap();
                    if !is_same(&got, expected) {
                        return Err(format!(
                            "{got:?} in round {round} with the cache {name} instead of {expected:?}, of {request:?}"
                        ));
                    }
                }
                ways.asked[mode] += decided.len() as u64;
            }
        }
        for (hits, (_, _, caching)) in ways.hits.iter_mut().zip(modes) {
            *hits += caching.counts().hits;
        }
        let sets = self.snapshot.sets();
        ways.n_tries += sets.filter(|set| set.trie().is_some()).count() as u64;
        Ok(())
    }
}

/// Returns whether `names` has a statement of each of `sets`, and none from elsewhere.
pub fn is_admissible(names: &[Name], sets: &[BTreeSet<Name>]) -> bool {
    let is_one_of = |set: &BTreeSet<Name>| names.iter().any(|name| set.contains(name));
    let is_expected = |name: &Name| sets.iter().any(|set| set.contains(name));
    names.iter().all(is_expected) && sets.iter().all(is_one_of)
}

/// Returns whether the answers have the same reason by the same statements in the same order.
pub fn is_same(one: &Decision, other: &Decision) -> bool {
    let is_same_statement = |(one, other): (&StatementRef, &StatementRef)| {
        one.index == other.index
            && (Arc::ptr_eq(&one.policy, &other.policy) || name(one) == name(other))
    };
    one.reason() == other.reason()
        && one.determining().len() == other.determining().len()
        && one
            .determining()
            .iter()
            .zip(other.determining())
            .all(is_same_statement)
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

/// Returns what the engine decides.
pub fn ask(snapshot: &Snapshot, question: &Question) -> Result<Decision, String> {
    let request = to_request(question)?;
    authorize(snapshot, &request).map_err(|error| error.to_string())
}

/// Returns the question as the engine takes it, if it is valid.
pub fn to_request(question: &Question) -> Result<Request<'_>, String> {
    to_request_with(question, &SessionPolicies::forgetting())
}

pub fn to_request_with<'q>(
    question: &'q Question,
    session_policies: &SessionPolicies,
) -> Result<Request<'q>, String> {
    let at = Timestamp::from_second(question.at).unwrap();
    Request::parse_with(&asked_of(question), at, session_policies)
        .map_err(|error| error.to_string())
}

/// Returns the features of a question that are counted.
fn asked(question: &Question) -> Vec<(&'static str, bool)> {
    let session = question.session();
    let is = |part: &str| question.principal.contains(part);
    let is_list =
        |value: &Given, n: fn(usize) -> bool| matches!(value, Given::List(list) if n(list.len()));
    let has_list =
        |n: fn(usize) -> bool| question.context.iter().any(|(_, value)| is_list(value, n));
    let is_service = !is(":") && is(".");
    let is_source = |key: &str| OF_SOURCES.contains(&key.to_ascii_lowercase().as_str());
    let has_source = question.context.iter().any(|(key, _)| is_source(key));
    let has_claim = |wanted: &str| session.claims.iter().any(|(name, _)| name == wanted);
    vec![
        ("a user", is(":user/")),
        ("a role session", is(":assumed-role/")),
        ("a role", is(":role/")),
        ("a federated user", is(":federated-user/")),
        ("a root user", is(":root")),
        ("a service", is_service),
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
        (
            "with keys of its credentials",
            !session.attributes.is_empty(),
        ),
        ("a service with its source", is_service && has_source),
        (
            "with a tag by the service's name",
            question.context.iter().any(|(key, _)| {
                let key = key.to_ascii_lowercase();
                let service = question.resource.split(':').nth(2).unwrap_or("none");
                key.starts_with(&format!("{}:resourcetag/", service.to_ascii_lowercase()))
            }),
        ),
        (
            "a root user with a task",
            is(":root") && !session.policy_arns.is_empty(),
        ),
        (
            "of assuming the root user",
            question.is_action("sts:AssumeRoot"),
        ),
        (
            "of a context assertion",
            question.is_action("sts:SetContext"),
        ),
        ("with the claim azp", has_claim("azp")),
        (
            "with the claim of roles",
            has_claim("https://aws.amazon.com/roles"),
        ),
        (
            "a federated user of the root user",
            session.parent.ends_with(":root"),
        ),
        (
            "with a transitive tag",
            !session.transitive_tag_keys.is_empty(),
        ),
        (
            "with times that make no sense",
            question.breaks_time_forms(),
        ),
    ]
}

/// S-1: a listener changes nothing, and is told of every statement that determined the answer.
fn listen(snapshot: &Snapshot, request: &Request, plain: &Decision) -> Heard {
    let mut heard = Heard::default();
    let decision = iamd::engine::authorize_with(snapshot, request, &mut heard).unwrap();
    assert_eq!(decision.reason(), plain.reason(), "{request:?}");
    for statement in plain.determining() {
        assert!(heard.applying.contains(&name(statement)), "{request:?}");
    }
    heard
}

/// The statements that apply, and those whose condition was evaluated.
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
        for condition in statement.conditions.iter() {
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

/// Returns the name that the oracle gives the statement.
pub fn name(statement: impl Into<StatementName>) -> Name {
    let statement = statement.into();
    let kind = match statement.policy_type.unwrap() {
        PolicyType::Identity => "identity",
        PolicyType::PermissionsBoundary => "boundary",
        PolicyType::Session => "session",
        PolicyType::Resource => "resource",
        PolicyType::Trust => "trust",
        PolicyType::ServiceControl => "scp",
        PolicyType::ResourceControl => "rcp",
    };
    (kind, statement.policy, statement.index)
}
