//! What must hold for every store and every question: the engine answers as the oracle does, and I-1 to I-7.
//!
//! The worlds come from a seed. A few thousand questions run with every `cargo test`; the long run is described in
//! `tests/README.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::time::{Duration, Instant};

use iamd::compile::snapshot::Snapshot;
use iamd::context::ContextValue;
use iamd::engine::decision::{Decision, StatementRef};
use iamd::engine::request::{RawRequest, RawSession, Request};
use iamd::language::document::PolicyType;
use jiff::Timestamp;

use crate::oracle::question::{Given, Question, SessionFacts};
use crate::oracle::store::Store;
use crate::oracle::{self, Answer, Name};
use crate::worlds::{self, Random, World};

const QUESTIONS_A_WORLD: u64 = 250;

/// How many questions, from which seed: `IAMD_LAWS_CASES`, `IAMD_LAWS_SEED`.
struct Run {
    n_cases: u64,
    seed: u64,
}

impl Run {
    fn of_environment() -> Self {
        let number = |name: &str| env::var(name).ok().map(|text| text.parse().expect(name));
        Self {
            n_cases: number("IAMD_LAWS_CASES").unwrap_or(100_000),
            seed: number("IAMD_LAWS_SEED").unwrap_or(1),
        }
    }
}

/// How often what came up.
#[derive(Default)]
struct Shares {
    n_cases: u64,
    n_worlds: u64,
    by_name: BTreeMap<String, u64>,
}

impl Shares {
    fn count(&mut self, name: impl Into<String>) {
        *self.by_name.entry(name.into()).or_default() += 1;
    }

    fn percent(&self, begin: &str) -> f64 {
        let of_name = self.by_name.iter().filter(|(name, _)| name.starts_with(begin));
        let n_named: u64 = of_name.map(|(_, count)| count).sum();
        n_named as f64 * 100.0 / self.n_cases as f64
    }

    fn print(&self) {
        println!("{} questions in {} worlds", self.n_cases, self.n_worlds);
        for (name, count) in &self.by_name {
            let percent = *count as f64 * 100.0 / self.n_cases as f64;
            println!("  {percent:6.2} %  {name}");
        }
    }
}

#[test]
fn the_engine_answers_as_the_oracle_does() {
    let run = Run::of_environment();
    let mut shares = Shares::default();
    let mut differences = Vec::new();
    let mut told = Instant::now();
    for index in 0..run.n_cases.div_ceil(QUESTIONS_A_WORLD) {
        let seed = run.seed.wrapping_mul(1_000_000_007).wrapping_add(index);
        let case = Case::of_seed(seed);
        shares.n_worlds += 1;
        for number in 0..QUESTIONS_A_WORLD {
            let question = case.question(number);
            shares.n_cases += 1;
            if let Some(difference) = case.difference(&question, &mut shares) {
                differences.push(format!("world {seed}, question {number}: {difference}"));
            }
        }
        if told.elapsed() > Duration::from_secs(30) {
            told = Instant::now();
            println!("{} questions, {} differences", shares.n_cases, differences.len());
        }
        if differences.len() >= 20 {
            break;
        }
    }
    println!("seed {}", run.seed);
    shares.print();
    let n_differences = differences.len();
    differences.truncate(20);
    assert!(n_differences == 0, "{n_differences} differences\n{}", differences.join("\n"));
    assert!(shares.percent("reason ALLOW") >= 25.0, "too few are allowed");
    assert!(shares.percent("reason EXPLICIT_DENY") >= 15.0, "too few are denied explicitly");
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

    /// What engine and oracle do not agree on.
    fn difference(&self, question: &Question, shares: &mut Shares) -> Option<String> {
        let by_engine = ask(&self.snapshot, question);
        let by_oracle = oracle::answer(&self.store, question);
        match (&by_oracle, &by_engine) {
            (Answer::Refused, Err(_)) => {
                shares.count("refused");
                None
            }
            (Answer::Decided(expected), Ok(decision)) => {
                shares.count(format!("reason {}", expected.reason));
                let names: BTreeSet<Name> = decision.determining().iter().map(name).collect();
                let is_same = expected.reason == decision.reason().label();
                let all: BTreeSet<&Name> = expected.determining.iter().flatten().collect();
                let are_admissible = names.iter().all(|name| all.contains(name))
                    && expected.determining.iter().all(|set| !set.is_disjoint(&names));
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
                Some(format!("the engine says {by_engine}, the oracle {by_oracle:?}, of {question:?}"))
            }
        }
    }
}

fn load(texts: &BTreeMap<String, String>) -> Snapshot {
    let texts = texts.iter().map(|(path, text)| (path.as_str(), text.as_str()));
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
    iamd::engine::authorize(snapshot, &request).map_err(|error| error.to_string())
}

/// As a door would put it.
fn to_raw(question: &Question) -> Result<RawRequest, String> {
    let entries = |entries: &[(String, Given)]| -> Result<Vec<(String, ContextValue)>, String> {
        let entry = |(key, value): &(String, Given)| Ok((key.clone(), to_value(value)?));
        entries.iter().map(entry).collect()
    };
    let session = |facts: &SessionFacts| -> Result<RawSession, String> {
        let facts = facts.clone();
        let time = |seconds: Option<i64>| seconds.map(|seconds| Timestamp::from_second(seconds).unwrap());
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
