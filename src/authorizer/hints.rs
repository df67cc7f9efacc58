//! Hints about typing errors in a question. `explain` and the command line show them; `Authorize` sends none.

use std::collections::HashMap;

use super::Question;
use crate::compile::snapshot::Snapshot;
use crate::engine::decision::Reason;
use crate::language::condition::Condition;
use crate::language::document::Statement;
use crate::language::finding::did_you_mean;
use crate::name::{Arn, Principal};

/// AWS's context keys that a caller may send, in the documented spelling.
const SENT: &[&str] = &[
    "aws:SourceIp",
    "aws:UserAgent",
    "aws:Referer",
    "aws:SecureTransport",
    "aws:SourceVpc",
    "aws:SourceVpce",
    "aws:SourceVpcArn",
    "aws:VpcSourceIp",
    "aws:RequestedRegion",
    "aws:ViaAWSService",
    "aws:CalledVia",
];

/// The most users and roles whose names are compared. All these limits exist because a server gives hints too.
const MAX_PRINCIPALS: usize = 10_000;
/// The most statements that are read.
const MAX_STATEMENTS: usize = 10_000;
/// The most action patterns, and the most conditions, that are read in these statements.
const MAX_CONDITIONS: usize = 20_000;
/// The most context keys that get a hint.
const MAX_KEYS: usize = 8;
/// The longest text of a question that a hint repeats, in bytes.
const MAX_TEXT_BYTES: usize = 256;

/// Returns the hints about a question whose decision has this `reason`.
pub(super) fn hints(question: &Question<'_>, snapshot: &Snapshot, reason: Reason) -> Vec<String> {
    let mut hints = Vec::new();
    hints.extend(service(question.action, snapshot, reason.is_allow()));
    if reason == Reason::ImplicitDenyUnknownPrincipal {
        hints.extend(principal(question.principal, snapshot));
    }
    hints.extend(context_keys(question, Some(snapshot)));
    hints
}

/// Returns the hints that need no store.
pub fn about_context(question: &Question<'_>) -> Vec<String> {
    context_keys(question, None)
}

fn statements(snapshot: &Snapshot) -> impl Iterator<Item = &Statement> {
    let policies = snapshot.sets().flat_map(|set| set.policies());
    policies.flat_map(|policy| policy.statements.iter())
}

/// Returns the hint about an action whose service no statement names. If a `*` allowed the action, there is a hint only
/// for a name that looks like a typing error.
fn service(action: &str, snapshot: &Snapshot, is_allowed: bool) -> Option<String> {
    let (asked, _) = action.split_once(':')?;
    if asked.len() > MAX_TEXT_BYTES {
        return None;
    }
    let (mut named, mut n_patterns) = (Vec::new(), 0);
    for (index, statement) in statements(snapshot).enumerate() {
        let patterns = statement.actions.entries();
        n_patterns += patterns.len();
        if index >= MAX_STATEMENTS || n_patterns > MAX_CONDITIONS {
            return None; // what is not looked at may speak of the service
        }
        named.extend(patterns.iter().filter_map(|pattern| pattern.service()));
    }
    named.sort_unstable();
    named.dedup();
    if named
        .iter()
        .any(|service| service.eq_ignore_ascii_case(asked))
    {
        return None;
    }
    match did_you_mean(asked, named) {
        None if is_allowed => None,
        None => Some(format!("no statement mentions the service `{asked}`")),
        Some(guess) => Some(format!(
            "no statement mentions the service `{asked}`; {guess}"
        )),
    }
}

/// Returns the hint about an unknown principal if the store has one of the same name with another path or another case.
fn principal(asked: &str, snapshot: &Snapshot) -> Option<String> {
    let principal = Principal::parse(asked).ok()?;
    let arn = principal.arn().filter(|_| asked.len() <= MAX_TEXT_BYTES)?;
    let (kind, name, session) = match &principal {
        Principal::User(arn) => ("user/", last(arn), None),
        Principal::Role(arn) => ("role/", last(arn), None),
        Principal::AssumedRole { role, session, .. } => ("role/", &**role, Some(session)),
        _ => return None,
    };
    let known = snapshot.principals().take(MAX_PRINCIPALS);
    let mut known = known.map(|entity| &entity.arn);
    let similar = known.find(|known| {
        known.account() == arn.account()
            && known.partition() == arn.partition()
            && known.resource().starts_with(kind)
            && last(known).eq_ignore_ascii_case(name)
    })?;
    let guess = match session {
        None => similar.to_string(),
        Some(session) => {
            let (partition, account) = (similar.partition(), similar.account());
            let role = last(similar);
            format!("arn:{partition}:sts::{account}:assumed-role/{role}/{session}")
        }
    };
    (guess != asked).then(|| format!("the store does not know `{asked}`; did you mean `{guess}`?"))
}

fn last(arn: &Arn) -> &str {
    arn.resource().rsplit('/').next().unwrap_or_default()
}

/// Returns the hints about context keys without a prefix, which every key in a policy has.
fn context_keys(question: &Question<'_>, snapshot: Option<&Snapshot>) -> Vec<String> {
    let keys = question.context.iter().map(|(key, _)| *key);
    let keys: Vec<&str> = keys
        .filter(|key| !key.contains(':') && key.len() <= MAX_TEXT_BYTES)
        .take(MAX_KEYS)
        .collect();
    if keys.is_empty() {
        return Vec::new();
    }
    let of_policies = snapshot.into_iter().flat_map(|snapshot| {
        let statements = statements(snapshot).take(MAX_STATEMENTS);
        let conditions = statements.flat_map(|statement| statement.conditions.iter());
        conditions
            .take(MAX_CONDITIONS)
            .map(|condition: &Condition| &*condition.spelled)
    });
    // The keys that are documented come first.
    let mut known: HashMap<String, &str> = HashMap::new();
    for full in SENT.iter().copied().chain(of_policies) {
        if let Some((_, behind)) = full.split_once(':') {
            known.entry(behind.to_ascii_lowercase()).or_insert(full);
        }
    }
    keys.into_iter()
        .map(|key| {
            let guess = match known.get(&key.to_ascii_lowercase()) {
                Some(full) => format!("did you mean `{full}`?"),
                None => "write it as policies do, such as `aws:SourceIp`".to_owned(),
            };
            format!("the context key `{key}` has no prefix; {guess}")
        })
        .collect()
}

#[cfg(test)]
mod tests;
