//! Every scenario of `tests/scenarios` gets the same answer from all runners.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::thread;

use iamd::context::{ContextKey, KeyKind};
use iamd::engine::cache::{Caching, Mode};
use iamd::engine::decision::Decision;
use iamd::engine::error::RequestError;
use iamd::engine::live::Generation;
use iamd::engine::request::Request;
use iamd::language::document::PolicyType;
use iamd::language::finding::Finding;
use iamd::scenario::simulated::{LISTS, SINGLES};
use iamd::scenario::value::Value;
use iamd::scenario::{self, Ask, Expect, Scenario, StoreSource, Test};
use iamd::service::pb;
use iamd::store::{self, Loaded, Refused};
use jiff::Timestamp;
use tempfile::TempDir;
use tonic::{Code, Status};

use crate::support::{
    Client, Server, errors_in, files_below, iamd, repository, run, simulation_line,
};

pub mod by_oracle;
mod explained;
mod wire;

use wire::{to_wire, wire_timestamp};

/// The result of a runner, in the words of `expect`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    /// `allow allow_identity`, `invalid_argument: principal: …`.
    Answer { label: String, detail: String },
    /// The codes of the errors that refused the store, and the findings.
    Refused {
        codes: BTreeSet<String>,
        findings: String,
    },
    /// The store loads.
    Loads,
}

impl Got {
    fn decision(allowed: bool, label: &str) -> Self {
        let decision = if allowed { "allow" } else { "deny" };
        Self::Answer {
            label: format!("{decision} {}", label.to_ascii_lowercase()),
            detail: String::new(),
        }
    }

    fn invalid_argument(detail: impl Into<String>) -> Self {
        Self::Answer {
            label: "invalid_argument".into(),
            detail: detail.into(),
        }
    }

    fn refused(findings: &[Finding]) -> Self {
        let errors = || findings.iter().filter(|finding| finding.is_error());
        Self::Refused {
            codes: errors()
                .map(|finding| finding.code.as_str().to_owned())
                .collect(),
            findings: errors()
                .map(|finding| format!("\n      {finding}"))
                .collect(),
        }
    }

    fn meets(&self, test: &Test) -> bool {
        match (self, test) {
            (Self::Refused { codes, .. }, Test::Load(code)) => {
                codes.iter().eq([code.as_str()]) // and for no other reason
            }
            (Self::Answer { label, .. }, Test::Question { expect, .. }) => match expect {
                Expect::Decision { reason: None, .. } => {
                    label.split(' ').next() == Some(expect.to_string().as_str())
                }
                _ => *label == expect.to_string(),
            },
            _ => false,
        }
    }
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer { label, detail } if detail.is_empty() => f.write_str(label),
            Self::Answer { label, detail } => write!(f, "{label}: {detail}"),
            Self::Refused { findings, .. } => write!(f, "the store does not load:{findings}"),
            Self::Loads => f.write_str("the store loads"),
        }
    }
}

/// All scenarios in the order of their files, read once for all tests.
pub fn read_scenarios() -> Vec<Scenario> {
    static SCENARIOS: LazyLock<Vec<Scenario>> = LazyLock::new(read_scenario_files);
    SCENARIOS.clone()
}

fn read_scenario_files() -> Vec<Scenario> {
    // Reading is most of the work when one rule is asked about again and again.
    let wanted = std::env::var("IAMD_TEST_SCENARIOS").unwrap_or_default();
    let mut scenarios = Vec::new();
    let mut errors = Vec::new();
    for path in files_below(
        &repository().join("tests/scenarios"),
        &["yaml", "yml", "json"],
    ) {
        let text = fs::read_to_string(&path).unwrap();
        if !text.contains(&wanted) {
            continue;
        }
        let name = path.strip_prefix(repository()).unwrap().to_str().unwrap();
        match scenario::parse(name, &text) {
            Ok(read) => scenarios.extend(read),
            Err(wrong) => errors.extend(wrong.iter().map(ToString::to_string)),
        }
    }
    assert!(
        errors.is_empty(),
        "these scenarios cannot be read:\n  {}",
        errors.join("\n  ")
    );
    assert!(!scenarios.is_empty(), "the scenarios are there");
    scenarios
}

/// The stores of scenarios as directories. Stores that are written out in a scenario file are in temporary directories,
/// and equal stores share one.
struct Stores {
    written: BTreeMap<StoreSource, TempDir>,
}

impl Stores {
    fn of(scenarios: &[Scenario]) -> Self {
        let mut written = BTreeMap::new();
        for scenario in scenarios {
            if let StoreSource::Files(files) = &scenario.store
                && !written.contains_key(&scenario.store)
            {
                let folder = TempDir::new().unwrap();
                for (path, content) in files {
                    crate::support::write(folder.path(), path, content);
                }
                written.insert(scenario.store.clone(), folder);
            }
        }
        Self { written }
    }

    fn directory(&self, scenario: &Scenario) -> PathBuf {
        let (file, _line) = scenario.place.rsplit_once(':').unwrap();
        let folder = repository().join(file).parent().unwrap().to_owned();
        match &scenario.store {
            StoreSource::Files(_) => self.written[&scenario.store].path().to_owned(),
            StoreSource::Directory(path) => {
                let directory = folder.join(path);
                directory.canonicalize().unwrap_or_else(|error| {
                    panic!("{}: {}: {error}", scenario.place, path.display())
                })
            }
            StoreSource::Beside => panic!("{}: a scenario of ours names its store", scenario.place),
        }
    }
}

/// The scenarios by store, because loading a store is the expensive part.
fn by_store<'s>(scenarios: &'s [Scenario], stores: &Stores) -> Vec<(PathBuf, Vec<&'s Scenario>)> {
    let mut by_store: BTreeMap<PathBuf, Vec<&Scenario>> = BTreeMap::new();
    for scenario in scenarios {
        by_store
            .entry(stores.directory(scenario))
            .or_default()
            .push(scenario);
    }
    by_store.into_iter().collect()
}

/// Panics with every scenario whose result is not the expected one.
fn assert_all_met(runner: &str, results: Vec<(&Scenario, Got)>) {
    let n_results = results.len();
    let mut wrong: Vec<_> = results
        .into_iter()
        .filter(|(scenario, got)| !got.meets(&scenario.test))
        .collect();
    wrong.sort_by(|(a, _), (b, _)| a.place.cmp(&b.place));
    let tell = |(scenario, got): &(&Scenario, Got)| {
        let expected = match &scenario.test {
            Test::Load(code) => format!("the store refused with `{code}`"),
            Test::Question { expect, .. } => expect.to_string(),
        };
        let rules = scenario.rules.join(", ");
        format!(
            "{}: `{}` ({rules})\n    expected  {expected}\n    got       {got}",
            scenario.place, scenario.name
        )
    };
    assert!(n_results > 0, "the {runner} had something to do");
    assert!(
        wrong.is_empty(),
        "{} of {n_results} scenarios got another answer from the {runner}:\n\n{}\n",
        wrong.len(),
        wrong.iter().map(tell).collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn scenarios_are_answered_by_the_engine() {
    let scenarios = read_scenarios();
    let stores = Stores::of(&scenarios);
    let mut results = Vec::new();
    for (directory, scenarios) in by_store(&scenarios, &stores) {
        let loaded = store::load(&directory);
        results.extend(
            scenarios
                .into_iter()
                .map(|scenario| (scenario, by_engine(scenario, &loaded))),
        );
    }
    assert_all_met("engine", results);
}

fn by_engine(scenario: &Scenario, loaded: &Result<Loaded, Refused>) -> Got {
    match loaded {
        Ok(loaded) => asked_of(scenario, |request| {
            iamd::engine::authorize(&loaded.snapshot, request)
        }),
        Err(refused) => Got::refused(&refused.findings),
    }
}

/// K-40 to K-45: all questions about one store share a cache, and each is asked until its answer is kept.
#[test]
fn scenarios_are_answered_by_the_cache() {
    let mut scenarios = read_scenarios();
    scenarios.retain(|scenario| matches!(scenario.test, Test::Question { .. }));
    let stores = Stores::of(&scenarios);
    let caching = Caching::new(Mode::Always, 8 << 20, 1);
    let mut results = Vec::new();
    for (directory, scenarios) in by_store(&scenarios, &stores) {
        let loaded = store::load(&directory).unwrap();
        let generation = Generation::new(loaded.snapshot, &caching);
        for _ in 0..4 {
            results.extend(scenarios.iter().map(|scenario| {
                let got = asked_of(scenario, |request| generation.authorize(request));
                (*scenario, got)
            }));
        }
    }
    let counts = caching.counts();
    assert!(
        counts.hits * 5 > results.len() as u64,
        "{counts:?} of {}",
        results.len()
    );
    assert_all_met("cache", results);
}

fn asked_of(
    scenario: &Scenario,
    decide: impl FnOnce(&Request) -> Result<Decision, RequestError>,
) -> Got {
    let Test::Question { ask, at, .. } = &scenario.test else {
        return Got::Loads;
    };
    let decision = ask
        .request(at.unwrap_or_else(Timestamp::now))
        .and_then(|request| decide(&request));
    match decision {
        Ok(decision) => Got::decision(decision.is_allowed(), decision.reason().label()),
        Err(error) => Got::invalid_argument(error.to_string()),
    }
}

/// Without overrides, a simulation gives the answer of `Authorize`, at any time. Scenarios that are meant as
/// simulations bring their overrides.
#[test]
fn scenarios_are_answered_by_simulation() {
    let mut scenarios = read_scenarios();
    let n_questions = |scenarios: &[Scenario]| {
        let is_question = |one: &&Scenario| matches!(one.test, Test::Question { .. });
        scenarios.iter().filter(is_question).count()
    };
    let n_all = n_questions(&scenarios);
    scenarios.retain(|scenario| match &scenario.test {
        Test::Question { ask, .. } => ask.simulated.is_some() || !overrides(ask),
        Test::Load(_) => false,
    });
    let n_left_out = n_all - scenarios.len();
    assert!(n_left_out * 20 < n_all, "{n_left_out} of {n_all} left out");
    let stores = Stores::of(&scenarios);
    let mut results = Vec::new();
    for (directory, scenarios) in by_store(&scenarios, &stores) {
        let loaded = store::load(&directory).unwrap();
        for scenario in scenarios {
            let Test::Question { ask, at, .. } = &scenario.test else {
                continue;
            };
            let line = json_line(ask, *at);
            let answer = simulation_line(&loaded.snapshot, &line, Timestamp::now());
            results.push((scenario, from_json(&answer)));
        }
    }
    assert_all_met("simulation", results);
}

/// Returns whether the context contains a key that `Authorize` refuses or takes from the store. A simulation differs
/// there on purpose.
fn overrides(ask: &Ask) -> bool {
    // K-9: the source of a call is refused unless a service asks. A service name has dots and no colon.
    let principal = &ask.principal;
    let is_service = principal.contains('.') && !principal.contains(':');
    ask.context.iter().any(|(key, value)| {
        let key = ContextKey::new(key);
        let is_foreign_source = key.kind() == KeyKind::ServiceSource && !is_service;
        let from_store = matches!(
            key.kind(),
            KeyKind::ResourceTag
                | KeyKind::ServiceResourceTag
                | KeyKind::TagKeys
                | KeyKind::CalledViaFirst
                | KeyKind::CalledViaLast
        );
        // The key is a claim, such as `issuer.example.com/path:sub`.
        let is_claim = key.kind() == KeyKind::Given && key.folded().contains('.');
        key.kind().is_reserved()
            || is_foreign_source
            || from_store
            || is_claim
            || *value == Value::Null
    })
}

/// `Simulate` asks scenarios with a clock, because `Authorize` has none. It also asks those that override something.
#[test]
fn scenarios_are_answered_by_the_binary_over_grpc() {
    let mut scenarios = read_scenarios();
    scenarios.retain(|scenario| matches!(scenario.test, Test::Question { .. }));
    let stores = Stores::of(&scenarios);
    let results = side_by_side(by_store(&scenarios, &stores), |(directory, scenarios)| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(ask_server(&directory, &scenarios))
    });
    assert_all_met("binary over gRPC", results);
}

/// A server spends most of its short life starting. Running a few side by side keeps the processors busy.
const N_SERVERS_AT_ONCE: usize = 4;

/// Returns what `work` makes of all items, a few of them at a time.
fn side_by_side<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> Vec<R> + Sync) -> Vec<R> {
    let queue = Mutex::new(items);
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..N_SERVERS_AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(item) = queue.lock().unwrap().pop() else {
                        break;
                    };
                    let made = work(item);
                    results.lock().unwrap().extend(made);
                }
            });
        }
    });
    results.into_inner().unwrap()
}

async fn ask_server<'s>(directory: &Path, scenarios: &[&'s Scenario]) -> Vec<(&'s Scenario, Got)> {
    let mut server = Server::start(directory);
    let Some(mut client) = server.client_unless_it_ends().await else {
        let findings = server
            .log()
            .iter()
            .map(|line| format!("\n      {line}"))
            .collect::<String>();
        let got = Got::Refused {
            codes: BTreeSet::new(),
            findings,
        };
        return scenarios
            .iter()
            .map(|scenario| (*scenario, got.clone()))
            .collect();
    };
    let mut results = Vec::new();
    for scenario in scenarios {
        let Test::Question { ask, at, .. } = &scenario.test else {
            continue;
        };
        let got = match at {
            None if ask.simulated.is_none() => over_grpc(&mut client, ask).await,
            at => simulated_over_grpc(&mut client, ask, *at).await,
        };
        results.push((*scenario, got));
    }
    results
}

async fn over_grpc(client: &mut Client, ask: &Ask) -> Got {
    match client.authorize(to_wire(ask)).await {
        Ok(response) => {
            let response = response.into_inner();
            answered(
                ask,
                response.decision(),
                response.reason(),
                &response.request_id,
            )
        }
        Err(status) => not_answered(&status),
    }
}

async fn simulated_over_grpc(client: &mut Client, ask: &Ask, at: Option<Timestamp>) -> Got {
    use PolicyType as T;
    let documents = |policy_type: PolicyType| -> Vec<String> {
        let policies = ask
            .simulated
            .iter()
            .flat_map(|simulated| &simulated.policies);
        policies
            .filter(|policy| policy.policy_type == policy_type)
            .map(|policy| policy.text.clone())
            .collect()
    };
    let replace = ask
        .simulated
        .iter()
        .flat_map(|simulated| &simulated.replace);
    let question = to_wire(ask);
    let simulation = pb::SimulateRequest {
        principal: question.principal,
        action: question.action,
        resource: question.resource,
        context: question.context,
        session: question.session,
        resource_account: question.resource_account,
        request_id: question.request_id,
        evaluation_time: at.map(wire_timestamp),
        identity_policies: documents(T::Identity),
        resource_policies: documents(T::Resource),
        permissions_boundary: documents(T::PermissionsBoundary).concat(),
        session_policies: documents(T::Session),
        service_control_policies: documents(T::ServiceControl),
        resource_control_policies: documents(T::ResourceControl),
        trust_policy: documents(T::Trust).concat(),
        replace: replace.map(|of| wire_type(*of).into()).collect(),
        ..Default::default()
    };
    match client.simulate(simulation).await {
        Ok(response) => {
            let response: pb::SimulateResponse = response.into_inner().decoded().unwrap();
            answered(
                ask,
                response.decision(),
                response.reason(),
                &response.request_id,
            )
        }
        Err(status) => not_answered(&status),
    }
}

fn wire_type(policy_type: PolicyType) -> pb::PolicyType {
    match policy_type {
        PolicyType::Identity => pb::PolicyType::Identity,
        PolicyType::Resource => pb::PolicyType::Resource,
        PolicyType::PermissionsBoundary => pb::PolicyType::PermissionsBoundary,
        PolicyType::Session => pb::PolicyType::Session,
        PolicyType::ServiceControl => pb::PolicyType::ServiceControl,
        PolicyType::ResourceControl => pb::PolicyType::ResourceControl,
        PolicyType::Trust => pb::PolicyType::Trust,
    }
}

fn answered(ask: &Ask, decision: pb::Decision, reason: pb::Reason, request_id: &str) -> Got {
    let label = reason.as_str_name().trim_start_matches("REASON_");
    let allowed = decision == pb::Decision::Allow;
    if request_id != ask.request_id {
        return Got::Answer {
            label: "another request id".into(),
            detail: request_id.to_owned(),
        };
    }
    if allowed != label.starts_with("ALLOW_") || decision == pb::Decision::Unspecified {
        let detail = format!("{decision:?} because {label}");
        return Got::Answer {
            label: "a contradiction".into(),
            detail,
        };
    }
    Got::decision(allowed, label)
}

fn not_answered(status: &Status) -> Got {
    match status.code() {
        Code::InvalidArgument => Got::invalid_argument(status.message()),
        _ => Got::Answer {
            label: "status".into(),
            detail: format!("{status:?}"),
        },
    }
}

/// A store that must not load ends `iamd serve` with status 2 and the finding on stderr.
#[test]
fn stores_that_must_not_load_are_refused_by_the_binary() {
    let mut scenarios = read_scenarios();
    scenarios.retain(|scenario| matches!(scenario.test, Test::Load(_)));
    let stores = Stores::of(&scenarios);
    let results = side_by_side(by_store(&scenarios, &stores), |(directory, scenarios)| {
        let mut command = iamd(["serve", "--listen", "127.0.0.1:0", "--store"]);
        command.arg(&directory);
        // It would serve forever. If it logs that the store loaded after all, the test ends it.
        let got = match crate::support::run_until_it_serves(command) {
            None => Got::Loads,
            Some(finished) if finished.status == Some(2) => {
                let errors = errors_in(finished.stderr.lines());
                let named = |code: &str| {
                    let shown = format!(": error[{code}]");
                    errors.iter().any(|error| error.contains(&shown))
                };
                let all = iamd::language::finding::Code::ALL
                    .iter()
                    .map(|(code, _)| code.as_str());
                Got::Refused {
                    codes: all.filter(|code| named(code)).map(str::to_owned).collect(),
                    findings: format!("\n{}", finished.stderr),
                }
            }
            Some(finished) => Got::Answer {
                label: format!("status {:?}", finished.status),
                detail: finished.stderr,
            },
        };
        scenarios
            .into_iter()
            .map(|scenario| (scenario, got.clone()))
            .collect()
    });
    assert_all_met("binary at start-up", results);
}

/// One more way to ask: `iamd authorize --requests`, on the stores with the most questions.
#[test]
fn scenarios_are_answered_by_the_command_line() {
    let mut scenarios = read_scenarios();
    scenarios.retain(|scenario| match &scenario.test {
        Test::Question { ask, at, .. } => at.is_none() && ask.simulated.is_none(),
        Test::Load(_) => false,
    });
    let stores = Stores::of(&scenarios);
    let mut groups = by_store(&scenarios, &stores);
    groups.sort_by_key(|(_, scenarios)| std::cmp::Reverse(scenarios.len()));
    let mut results = Vec::new();
    for (directory, scenarios) in groups.into_iter().take(N_STORES_FOR_THE_COMMAND_LINE) {
        let asks = scenarios
            .iter()
            .filter_map(|scenario| match &scenario.test {
                Test::Question { ask, .. } => Some(json_line(ask, None)),
                Test::Load(_) => None,
            });
        let mut command = iamd(["authorize", "--requests", "-", "--store"]);
        command.arg(&directory);
        let finished = run(command, &asks.collect::<String>());
        let answers: Vec<&str> = finished.stdout.lines().collect();
        assert_eq!(
            answers.len(),
            scenarios.len(),
            "{}: {}",
            directory.display(),
            finished.stderr
        );
        for (scenario, answer) in scenarios.into_iter().zip(answers) {
            results.push((scenario, from_json(answer)));
        }
    }
    assert_all_met("command line", results);
}

/// Returns one line of output.
fn from_json(line: &str) -> Got {
    let answer: serde_json::Value = serde_json::from_str(line).unwrap();
    match (
        answer["decision"].as_str(),
        answer["reason"].as_str(),
        answer["error"]["code"].as_str(),
    ) {
        (Some(decision), Some(reason), None) => Got::decision(
            decision == "DECISION_ALLOW",
            reason.trim_start_matches("REASON_"),
        ),
        (None, None, Some("INVALID_ARGUMENT")) => {
            Got::invalid_argument(answer["error"].to_string())
        }
        _ => Got::Answer {
            label: "neither answer nor error".into(),
            detail: answer.to_string(),
        },
    }
}

const N_STORES_FOR_THE_COMMAND_LINE: usize = 40;

/// Returns the question in proto3 JSON. With a clock it is a simulation.
fn json_line(ask: &Ask, at: Option<Timestamp>) -> String {
    let text = |text: &str| Value::String(text.to_owned());
    let texts = |texts: &[String]| Value::List(texts.iter().map(|element| text(element)).collect());
    let mut members = vec![
        ("principal", text(&ask.principal)),
        ("action", text(&ask.action)),
        ("resource", text(&ask.resource)),
        ("context", Value::Map(ask.context.clone())),
        ("resourceAccount", text(&ask.resource_account)),
        ("requestId", text(&ask.request_id)),
    ];
    members.extend(at.map(|at| ("evaluationTime", text(&at.to_string()))));
    if let Some(simulated) = &ask.simulated {
        let documents = |of: PolicyType| {
            let policies = simulated.policies.iter();
            policies
                .filter(move |policy| policy.policy_type == of)
                .map(|policy| text(&policy.text))
        };
        for (name, of) in LISTS {
            members.push((name, Value::List(documents(of).collect())));
        }
        for (name, of) in SINGLES {
            members.extend(documents(of).map(|document| (name, document)));
        }
        let types = simulated.replace.iter();
        let types = types.map(|of| text(wire_type(*of).as_str_name())).collect();
        members.push(("replace", Value::List(types)));
    }
    if let Some(session) = &ask.session {
        let time = |at: Option<Timestamp>| at.map(|at| text(&at.to_string()));
        let tags = session
            .tags
            .iter()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect();
        let mut facts = vec![
            ("policies", texts(&session.policies)),
            ("policyArns", texts(&session.policy_arns)),
            ("tags", Value::Map(tags)),
            ("sourceIdentity", text(&session.source_identity)),
            ("transitiveTagKeys", texts(&session.transitive_tag_keys)),
            ("claims", Value::Map(session.claims.clone())),
            ("attributes", Value::Map(session.attributes.clone())),
            ("federatedProvider", text(&session.federated_provider)),
            ("parent", text(&session.parent)),
        ];
        for (name, at) in [
            ("issuedAt", session.issued_at),
            ("expiresAt", session.expires_at),
            ("mfaAt", session.mfa_at),
        ] {
            facts.extend(time(at).map(|at| (name, at)));
        }
        members.push(("session", map(facts)));
    }
    format!("{}\n", map(members).to_json())
}

fn map(members: Vec<(&str, Value)>) -> Value {
    Value::Map(
        members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}
