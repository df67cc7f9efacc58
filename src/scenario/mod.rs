//! Policy unit tests: questions to a store, each with its expected answer.
//!
//! ```yaml
//! - name: a boundary that is silent about the action denies implicitly
//!   rules: [E-48]                        # optional: what it shows
//!   store: ../stores/boundary            # a directory, or a mapping from path to content; absent: the store beside
//!   ask: { principal: "arn:aws:iam::111122223333:user/alice", action: "orders:Refund", resource: "*" }
//!   at: 2024-06-01T00:00:00Z             # optional: the clock
//!   expect: { decision: deny, reason: implicit_deny_permissions_boundary }
//! ```
//!
//! `ask` has the members of `AuthorizeRequest`. A member that only `SimulateRequest` has makes it a simulation. The
//! `context` of a simulation may hold any key, including derived ones, and `null` removes a key:
//!
//! ```yaml
//! - name: the boundary that we plan still lets support refund
//!   ask:
//!     principal: "arn:aws:iam::111122223333:user/alice"
//!     action: "orders:Refund"
//!     resource: "*"
//!     context: { "aws:MultiFactorAuthPresent": true, "aws:PrincipalTag/desk": null }
//!     permissions_boundary: { Version: "2012-10-17", Statement: { Effect: Allow, Action: "orders:*", Resource: "*" } }
//!     identity_policies: []              # also resource_, session_, service_control_, resource_control_policies
//!     replace: [permissions_boundary]    # the store's policies of these types do not count
//!     evaluation_time: 2024-06-01T00:00:00Z   # the same as `at`
//!   expect: { decision: allow }
//! ```
//!
//! Documents, including `trust_policy`, are mappings or JSON text. An empty `replace: []` is enough to simulate.
//!
//! Reading is strict, because a misspelt member would make a test show something else than its author thinks. Only
//! values of `context` and `claims` may be of a kind that no request can hold, so that a scenario can show how they are
//! refused.

pub mod simulated;
pub mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_saphyr::Spanned;

use crate::engine::decision::Reason;
use crate::engine::error::RequestError;
use crate::engine::question::{self, Question, SessionFacts};
use crate::engine::request::Request;
use crate::language::finding::{Code, did_you_mean};
use simulated::Simulated;
use value::Value;

/// One test.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The file and the line it begins on: `tests/refunds.yaml:12`.
    pub place: String,
    /// The behaviour it shows, as a sentence.
    pub name: String,
    /// The IDs of the rules that it shows.
    pub rules: Vec<String>,
    /// The store that is asked.
    pub store: StoreSource,
    /// The question and its expected answer.
    pub test: Test,
}

/// The place of a scenario's store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreSource {
    /// The default: the store whose `tests/` folder holds the file.
    Beside,
    /// A directory, relative to the folder of the file.
    Directory(PathBuf),
    /// A store inside the scenario: content by path below the root.
    Files(BTreeMap<String, String>),
}

/// The thing that a scenario tests.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// The store must be refused with an error of this code.
    Load(Code),
    /// A question is asked.
    Question {
        /// The question.
        ask: Box<Ask>,
        /// The time at which it is asked; `None` means now.
        at: Option<Timestamp>,
        /// The expected answer.
        expect: Expect,
    },
}

/// An expected answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A decision.
    Decision {
        /// Whether it is an allow.
        allowed: bool,
        /// The expected reason; `None` accepts any.
        reason: Option<Reason>,
    },
    /// The question is malformed.
    InvalidArgument,
}

/// A question as the scenario states it. It may hold malformed values.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "the fields of `AuthorizeRequest` in the protocol"
)]
pub struct Ask {
    pub principal: String,
    pub action: String,
    pub resource: String,
    pub context: Values,
    pub session: Option<Session>,
    pub resource_account: String,
    pub request_id: String,
    /// The members of a simulation; `None` if the question is not simulated.
    pub simulated: Option<Simulated>,
}

/// The facts of the question's session.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "the fields of `SessionContext` in the protocol"
)]
pub struct Session {
    pub policies: Vec<String>,
    pub policy_arns: Vec<String>,
    pub tags: Vec<(String, String)>,
    pub source_identity: String,
    pub issued_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub mfa_at: Option<Timestamp>,
    pub transitive_tag_keys: Vec<String>,
    pub claims: Values,
    pub federated_provider: String,
    pub parent: String,
    pub attributes: Values,
}

/// The names and values of a mapping. They may be malformed.
pub type Values = Vec<(String, Value)>;

impl Ask {
    /// Returns the request to the engine, asked or simulated `at` this time, or the error of a malformed question.
    pub fn request(&self, at: Timestamp) -> Result<Request<'_>, RequestError> {
        let question = self.question();
        let Some(simulated) = &self.simulated else {
            return Request::parse(&question, at);
        };
        Request::simulate(&question, &simulated.overrides(), at)
    }

    /// Returns the question without the members of a simulation.
    pub fn question(&self) -> Question<'_> {
        Question {
            principal: &self.principal,
            action: &self.action,
            resource: &self.resource,
            context: entries(&self.context),
            session: self
                .session
                .as_ref()
                .map(|session| Box::new(session.facts())),
            resource_account: &self.resource_account,
            request_id: &self.request_id,
        }
    }
}

impl Session {
    fn facts(&self) -> SessionFacts<'_> {
        SessionFacts {
            policies: texts(&self.policies),
            policy_arns: texts(&self.policy_arns),
            tags: self
                .tags
                .iter()
                .map(|(key, value)| (&**key, &**value))
                .collect(),
            source_identity: &self.source_identity,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
            mfa_at: self.mfa_at,
            transitive_tag_keys: texts(&self.transitive_tag_keys),
            claims: entries(&self.claims),
            federated_provider: &self.federated_provider,
            parent: &self.parent,
            attributes: entries(&self.attributes),
        }
    }
}

fn entries(values: &[(String, Value)]) -> Vec<(&str, question::Value<'_>)> {
    let entries = values.iter();
    let entries = entries.map(|(key, value)| (key.as_str(), value.as_given()));
    entries.collect()
}

fn texts(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidArgument => f.write_str("invalid_argument"),
            Self::Decision { allowed, reason } => {
                f.write_str(if *allowed { "allow" } else { "deny" })?;
                reason.map_or(Ok(()), |reason| {
                    write!(f, " {}", reason.label().to_ascii_lowercase())
                })
            }
        }
    }
}

/// A test that cannot be read, in words for its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    /// The file and the line.
    pub place: String,
    /// The problem, in words.
    pub message: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for ScenarioError {}

/// Reads `text`, the content of `file`: a YAML or JSON list of scenarios. If any scenario cannot be read, returns the
/// errors of all of those and no scenario, because a test that is silently left out is worse than no test.
pub fn parse(file: &str, text: &str) -> Result<Vec<Scenario>, Vec<ScenarioError>> {
    // The reader accepts YAML 1.2 only, where `on` and `010` are strings, as a reader of JSON expects.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    let list: Vec<Spanned<Value>> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            vec![ScenarioError {
                place: format!("{file}:{line}"),
                message: format!("not a list of scenarios: {error}"),
            }]
        })?;

    let (mut scenarios, mut errors) = (Vec::new(), Vec::new());
    for item in list {
        let place = format!("{file}:{}", item.referenced.line());
        match read_scenario(place.clone(), &item.value) {
            Ok(scenario) => scenarios.push(scenario),
            Err(message) => errors.push(ScenarioError { place, message }),
        }
    }
    if errors.is_empty() {
        Ok(scenarios)
    } else {
        Err(errors)
    }
}

fn read_scenario(place: String, value: &Value) -> Result<Scenario, String> {
    let members = Members::of(
        value,
        "a scenario",
        &["name", "rules", "store", "ask", "at", "expect"],
    )?;
    let name = members.text("name")?;
    if name.is_empty() {
        return Err("a scenario needs a `name`".into());
    }
    let in_scenario = |message: String| format!("`{name}`: {message}");
    let rules = members.texts("rules").map_err(in_scenario)?;
    let store = read_store(members.get("store")).map_err(in_scenario)?;
    let test = read_test(&members).map_err(in_scenario)?;
    Ok(Scenario {
        place,
        name,
        rules,
        store,
        test,
    })
}

fn read_store(value: Option<&Value>) -> Result<StoreSource, String> {
    match value {
        None => Ok(StoreSource::Beside),
        Some(Value::String(path)) if !path.is_empty() => {
            Ok(StoreSource::Directory(PathBuf::from(path)))
        }
        Some(Value::Map(files)) => {
            let file = |(path, content): &(String, Value)| {
                let is_below_root = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
                if !is_below_root {
                    return Err(format!(
                        "store file `{path}` must be a path below the store's root"
                    ));
                }
                let content = match content {
                    Value::String(text) => text.clone(),
                    other => other.to_json(),
                };
                Ok((path.clone(), content))
            };
            files
                .iter()
                .map(file)
                .collect::<Result<_, _>>()
                .map(StoreSource::Files)
        }
        Some(other) => Err(format!(
            "`store` must be a directory or a mapping from path to content, not {}",
            other.kind()
        )),
    }
}

fn read_test(members: &Members<'_>) -> Result<Test, String> {
    let at = members.timestamp("at")?;
    let value = members.get("expect").ok_or("a scenario needs `expect`")?;
    let expect = Members::of(value, "`expect`", &["decision", "reason", "error", "load"])?;
    if expect.get("load").is_some() {
        let code = expect.only("load")?;
        let known = Code::ALL.iter().map(|(code, _)| *code);
        let code = known
            .clone()
            .find(|known| known.as_str() == code)
            .ok_or_else(|| {
                let guess = did_you_mean(&code, known.map(Code::as_str));
                with_guess(format!("there is no finding code `{code}`"), guess)
            })?;
        if members.get("ask").is_some() || at.is_some() {
            return Err(
                "a store that does not load can't be asked: leave out `ask` and `at`, or `load`"
                    .into(),
            );
        }
        return Ok(Test::Load(code));
    }
    let expect = if expect.get("error").is_some() {
        match expect.only("error")?.as_str() {
            "invalid_argument" => Expect::InvalidArgument,
            other => {
                return Err(format!(
                    "`error` can only be `invalid_argument`, not `{other}`"
                ));
            }
        }
    } else {
        read_decision(&expect)?
    };
    let (ask, evaluation_time) = read_ask(members.get("ask").ok_or("a scenario needs `ask`")?)?;
    if at.is_some() && evaluation_time.is_some() {
        return Err("`at` and `evaluation_time` mean the same: give only one".into());
    }
    let at = at.or(evaluation_time);
    let ask = Box::new(ask);
    Ok(Test::Question { ask, at, expect })
}

fn read_decision(expect: &Members<'_>) -> Result<Expect, String> {
    let allowed = match expect.text("decision")?.as_str() {
        "allow" => true,
        "deny" => false,
        "" => return Err("`expect` needs `decision`, `error` or `load`".into()),
        other => {
            return Err(format!(
                "`decision` must be `allow` or `deny`, not `{other}`"
            ));
        }
    };
    let label = expect.text("reason")?;
    if label.is_empty() {
        return Ok(Expect::Decision {
            allowed,
            reason: None,
        });
    }
    let labels: Vec<_> = Reason::ALL
        .iter()
        .map(|(reason, label)| (*reason, label.to_ascii_lowercase()))
        .collect();
    let Some((reason, _)) = labels.iter().find(|(_, known)| *known == label) else {
        let guess = did_you_mean(&label, labels.iter().map(|(_, label)| label.as_str()));
        return Err(with_guess(format!("there is no reason `{label}`"), guess));
    };
    if reason.is_allow() != allowed {
        return Err(format!("reason `{label}` contradicts the decision"));
    }
    Ok(Expect::Decision {
        allowed,
        reason: Some(*reason),
    })
}

/// Reads the question and its `evaluation_time`.
fn read_ask(value: &Value) -> Result<(Ask, Option<Timestamp>), String> {
    const MEMBERS: &[&str] = &[
        "principal",
        "action",
        "resource",
        "context",
        "session",
        "resource_account",
        "request_id",
    ];
    let known: Vec<&str> = MEMBERS
        .iter()
        .copied()
        .chain(simulated::members())
        .collect();
    let members = Members::of(value, "`ask`", &known)?;
    let ask = Ask {
        principal: members.text("principal")?,
        action: members.text("action")?,
        resource: members.text("resource")?,
        context: members.map("context")?,
        session: members.get("session").map(read_session).transpose()?,
        resource_account: members.text("resource_account")?,
        request_id: members.text("request_id")?,
        simulated: simulated::read(&members)?,
    };
    Ok((ask, members.timestamp("evaluation_time")?))
}

fn read_session(value: &Value) -> Result<Session, String> {
    const MEMBERS: &[&str] = &[
        "policies",
        "policy_arns",
        "tags",
        "source_identity",
        "issued_at",
        "expires_at",
        "mfa_at",
        "transitive_tag_keys",
        "claims",
        "federated_provider",
        "parent",
        "attributes",
    ];
    let members = Members::of(value, "`session`", MEMBERS)?;
    let tag = |(key, value): (String, Value)| match value {
        Value::String(text) => Ok((key, text)),
        other => Err(format!(
            "session tag `{key}` must be a string, not {}",
            other.kind()
        )),
    };
    Ok(Session {
        policies: members.documents("policies")?,
        policy_arns: members.texts("policy_arns")?,
        tags: members
            .map("tags")?
            .into_iter()
            .map(tag)
            .collect::<Result<_, _>>()?,
        source_identity: members.text("source_identity")?,
        issued_at: members.timestamp("issued_at")?,
        expires_at: members.timestamp("expires_at")?,
        mfa_at: members.timestamp("mfa_at")?,
        transitive_tag_keys: members.texts("transitive_tag_keys")?,
        claims: members.map("claims")?,
        federated_provider: members.text("federated_provider")?,
        parent: members.text("parent")?,
        attributes: members.map("attributes")?,
    })
}

/// The members of a mapping, whose names are all known. Names may also be in lowerCamelCase, as in proto3 JSON.
struct Members<'v>(Vec<(String, &'v Value)>);

impl<'v> Members<'v> {
    fn of(value: &'v Value, what: &str, known: &[&str]) -> Result<Self, String> {
        let Value::Map(members) = value else {
            return Err(format!("{what} must be a mapping, not {}", value.kind()));
        };
        let mut named: Vec<(String, &Value)> = Vec::new();
        for (spelled, value) in members {
            let name = snake_case(spelled);
            if !known.contains(&name.as_str()) {
                let guess = did_you_mean(&name, known.iter().copied());
                return Err(with_guess(
                    format!("{what} has no member `{spelled}`"),
                    guess,
                ));
            }
            if named.iter().any(|(other, _)| *other == name) {
                return Err(format!("{what} has the member `{name}` twice"));
            }
            named.push((name, value));
        }
        Ok(Self(named))
    }

    fn get(&self, name: &str) -> Option<&'v Value> {
        self.0
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| *value)
    }

    /// Returns the string called `name`; empty if it is absent.
    fn text(&self, name: &str) -> Result<String, String> {
        match self.get(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(format!("`{name}` must be a string, not {}", other.kind())),
        }
    }

    /// Returns the string called `name`, which must be the only member.
    fn only(&self, name: &str) -> Result<String, String> {
        if self.0.len() != 1 {
            return Err(format!("`{name}` must be the only member"));
        }
        self.text(name)
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        let text = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            other => Err(format!(
                "`{name}` must be a list of strings, and holds {}",
                other.kind()
            )),
        };
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::List(elements)) => elements.iter().map(text).collect(),
            Some(other) => Err(format!("`{name}` must be a list, not {}", other.kind())),
        }
    }

    /// Returns the documents listed under `name`.
    fn documents(&self, name: &str) -> Result<Vec<String>, String> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::List(elements)) => elements
                .iter()
                .map(|value| simulated::document(name, value))
                .collect(),
            Some(other) => Err(format!("`{name}` must be a list, not {}", other.kind())),
        }
    }

    fn map(&self, name: &str) -> Result<Vec<(String, Value)>, String> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Map(members)) => Ok(members.clone()),
            Some(other) => Err(format!("`{name}` must be a mapping, not {}", other.kind())),
        }
    }

    fn timestamp(&self, name: &str) -> Result<Option<Timestamp>, String> {
        let text = self.text(name)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|error| {
            format!("`{name}` must be a time like `2024-06-01T00:00:00Z`: {error}")
        })
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

fn with_guess(message: String, guess: Option<String>) -> String {
    match guess {
        Some(guess) => format!("{message}; {guess}"),
        None => message,
    }
}

#[cfg(test)]
mod tests;
