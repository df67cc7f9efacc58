//! The runner that asks the oracle. The scenarios check that the oracle gives the same answers as the engine.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use iamd::language::document::PolicyType;
use iamd::language::parse::parse;
use iamd::language::report::Base;
use iamd::scenario::value::Value;
use iamd::scenario::{Ask, Test};
use jiff::Timestamp;
use serde_json::Value as Json;

use super::{Got, Stores, assert_all_met, by_store, read_scenarios};
use crate::oracle::question::{Given, Question, SessionFacts};
use crate::oracle::{self, Answer};
use crate::support::files_below;

/// The oracle answers at least this many scenarios. The places that leave out the others say why.
const FLOOR: usize = 2_100;

#[test]
fn scenarios_are_answered_by_the_oracle() {
    let mut scenarios = read_scenarios();
    // The oracle reads only what was found to be valid.
    scenarios.retain(|scenario| matches!(scenario.test, Test::Question { .. }));
    let stores = Stores::of(&scenarios);
    let (mut results, mut n_questions) = (Vec::new(), 0);
    for (directory, scenarios) in by_store(&scenarios, &stores) {
        let store = oracle::store::read(&texts(&directory));
        for scenario in scenarios {
            let Test::Question { ask, at, .. } = &scenario.test else {
                continue;
            };
            n_questions += 1;
            // The oracle matches patterns with the obvious recursion, which takes far too long for the patterns of
            // M-21. Its JSON has also lost how a number was written (G-18).
            let is_beyond_it = |rule: &String| rule == "M-21" || rule == "G-18";
            if scenario.rules.iter().any(is_beyond_it) {
                continue;
            }
            let Some(question) = question(ask, *at) else {
                continue;
            };
            let got = match oracle::answer(&store, &question) {
                Answer::Refused => Got::invalid_argument("by the oracle"),
                Answer::Decided(decision) => {
                    Got::decision(decision.reason.starts_with("ALLOW_"), decision.reason)
                }
            };
            results.push((scenario, got));
        }
    }
    let n_answered = results.len();
    assert!(n_answered >= FLOOR, "only {n_answered} of {n_questions}");
    assert_all_met("oracle", results);
}

/// Returns the files of a store. A dump counts as the files that it could have been.
pub fn texts(directory: &Path) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for path in files_below(directory, &["json"]) {
        let name = path.strip_prefix(directory).unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let Some(folder) = name.strip_suffix("authorization-details.json") else {
            texts.insert(name.to_owned(), text);
            continue;
        };
        let dump: Json = serde_json::from_str(&text).unwrap();
        for (list, below, member) in [
            ("UserDetailList", "users", "UserName"),
            ("GroupDetailList", "groups", "GroupName"),
            ("RoleDetailList", "roles", "RoleName"),
            ("Policies", "managed-policies", "PolicyName"),
        ] {
            for entity in dump[list].as_array().into_iter().flatten() {
                let name = entity[member].as_str().unwrap();
                texts.insert(format!("{folder}{below}/{name}.json"), entity.to_string());
            }
        }
    }
    texts
}

/// Returns the question in the form of the oracle, or `None` if that form cannot express it.
fn question(ask: &Ask, at: Option<Timestamp>) -> Option<Question> {
    if ask.simulated.is_some() {
        return None;
    }
    let entries = |entries: &[(String, Value)]| -> Option<Vec<(String, Given)>> {
        let entry = |(key, value): &(String, Value)| Some((key.clone(), given(value)?));
        entries.iter().map(entry).collect()
    };
    let seconds = |at: Option<Timestamp>| -> Option<Option<i64>> {
        at.map_or(Some(None), |at| whole_seconds(at).map(Some))
    };
    let session = match &ask.session {
        None => None,
        Some(session) if !session.policies.iter().all(|text| is_policy(text)) => return None,
        Some(session) => Some(SessionFacts {
            policies: session.policies.clone(),
            policy_arns: session.policy_arns.clone(),
            tags: session.tags.clone(),
            source_identity: session.source_identity.clone(),
            issued_at: seconds(session.issued_at)?,
            expires_at: seconds(session.expires_at)?,
            mfa_at: seconds(session.mfa_at)?,
            transitive_tag_keys: session.transitive_tag_keys.clone(),
            claims: entries(&session.claims)?,
            federated_provider: session.federated_provider.clone(),
            parent: session.parent.clone(),
            attributes: entries(&session.attributes)?,
        }),
    };
    Some(Question {
        principal: ask.principal.clone(),
        action: ask.action.clone(),
        resource: ask.resource.clone(),
        context: entries(&ask.context)?,
        session,
        resource_account: ask.resource_account.clone(),
        at: at.map_or_else(|| Some(Timestamp::now().as_second()), whole_seconds)?,
    })
}

/// Like stores, session policies are read by the oracle only after they are found to be valid.
fn is_policy(text: &str) -> bool {
    let base = Base::File("session.json".into());
    parse(text, PolicyType::Session, base).0.is_some()
}

fn whole_seconds(at: Timestamp) -> Option<i64> {
    (at.subsec_nanosecond() == 0).then(|| at.as_second())
}

fn given(value: &Value) -> Option<Given> {
    match value {
        Value::Bool(value) => Some(Given::Bool(*value)),
        Value::Integer(number) => Some(Given::Number(*number as f64)),
        Value::Float(number) => Some(Given::Number(*number)),
        Value::String(text) => Some(Given::Text(text.clone())),
        Value::List(elements) => {
            let is_list = |value: &Value| matches!(value, Value::List(_));
            let elements = elements
                .iter()
                .map(|one| given(one).filter(|_| !is_list(one)));
            elements.collect::<Option<Vec<Given>>>().map(Given::List)
        }
        Value::Null | Value::Map(_) => None,
    }
}
