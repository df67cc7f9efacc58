//! Questions of the oracle as the engine takes them.

use iamd::engine::question::{Question as Asked, SessionFacts as AskedFacts, Value as AskedValue};
use jiff::Timestamp;

use crate::oracle::question::{Given, Question, SessionFacts};

/// Returns the question as a protocol would send it.
pub fn asked_of(question: &Question) -> Asked<'_> {
    Asked {
        principal: &question.principal,
        action: &question.action,
        resource: &question.resource,
        context: given(&question.context),
        session: question
            .session
            .as_ref()
            .map(|facts| Box::new(session(facts))),
        resource_account: &question.resource_account,
        request_id: "",
    }
}

fn session(facts: &SessionFacts) -> AskedFacts<'_> {
    let time =
        |seconds: Option<i64>| seconds.map(|seconds| Timestamp::from_second(seconds).unwrap());
    let tags = facts.tags.iter();
    AskedFacts {
        policies: facts.policies.iter().map(String::as_str).collect(),
        policy_arns: facts.policy_arns.iter().map(String::as_str).collect(),
        tags: tags.map(|(key, value)| (&**key, &**value)).collect(),
        source_identity: &facts.source_identity,
        issued_at: time(facts.issued_at),
        expires_at: time(facts.expires_at),
        mfa_at: time(facts.mfa_at),
        transitive_tag_keys: facts
            .transitive_tag_keys
            .iter()
            .map(String::as_str)
            .collect(),
        claims: given(&facts.claims),
        federated_provider: &facts.federated_provider,
        parent: &facts.parent,
        attributes: given(&facts.attributes),
    }
}

fn given(entries: &[(String, Given)]) -> Vec<(&str, AskedValue<'_>)> {
    let entries = entries.iter();
    entries
        .map(|(key, value)| (key.as_str(), value_of(value)))
        .collect()
}

fn value_of(given: &Given) -> AskedValue<'_> {
    match given {
        Given::Text(text) => AskedValue::Text(text),
        Given::Number(number) => AskedValue::Number(*number),
        Given::Bool(value) => AskedValue::Bool(*value),
        Given::List(elements) => AskedValue::List(elements.iter().map(value_of).collect()),
    }
}
