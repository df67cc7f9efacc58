//! Hints about typing errors in a question. `explain` and the command line show them; `Authorize` sends none.

use std::collections::{BTreeSet, HashMap};
use std::ops::{ControlFlow, Deref};

use super::Question;
use crate::compile::snapshot::Snapshot;
use crate::context::ContextKey;
use crate::engine::decision::Reason;
use crate::engine::work::Work;
use crate::language::condition::Condition;
use crate::language::document::{Effect, Listed, Statement};
use crate::language::finding::did_you_mean;
use crate::language::pattern::{Substitute, Template, Variables};
use crate::name::{Action, Arn, Principal, Resource};

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
/// The most statements that are read for context keys.
const MAX_STATEMENTS: usize = 10_000;
/// The most conditions that are read in these statements.
const MAX_CONDITIONS: usize = 20_000;
/// The most context keys that get a hint.
const MAX_KEYS: usize = 8;
/// The longest text of a question that a hint repeats, in bytes.
const MAX_TEXT_BYTES: usize = 256;

/// Returns the hints about a question whose decision has this `reason`.
pub(super) fn hints(question: &Question<'_>, snapshot: &Snapshot, reason: Reason) -> Vec<String> {
    let mut hints = Vec::new();
    let of_service = service(question.action, snapshot, reason.is_allow());
    let is_service_known = of_service.is_none();
    hints.extend(of_service);
    if is_service_known && reason.is_for_want_of_an_allow() {
        hints.extend(what_is_asked(question, snapshot));
    }
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
    let policies = snapshot.policies();
    policies.flat_map(|policy| policy.statements.iter())
}

/// Returns the hint about an action whose service no statement names. If a `*` allowed the action, there is a hint only
/// for a name that looks like a typing error.
fn service(action: &str, snapshot: &Snapshot, is_allowed: bool) -> Option<String> {
    let (asked, _) = action.split_once(':')?;
    if asked.len() > MAX_TEXT_BYTES {
        return None;
    }
    let named: BTreeSet<&str> = snapshot.named_actions().services().collect();
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

/// Returns the hint about an action that no statement names, or else about a resource that differs in its shape from all
/// that statements about the action cover.
fn what_is_asked(question: &Question<'_>, snapshot: &Snapshot) -> Option<String> {
    let action = Action::parse(question.action).ok()?;
    if question.action.len() > MAX_TEXT_BYTES || question.resource.len() > MAX_TEXT_BYTES {
        return None;
    }
    let named = snapshot.named_actions();
    if named.contains(&action) {
        return resource(question, &action, snapshot);
    }
    let asked = question.action;
    let (service, _) = asked.split_once(':')?;
    let names: BTreeSet<&str> = named.names_of(service).collect();
    Some(match did_you_mean(asked, names) {
        Some(guess) => format!("no statement names the action `{asked}`; {guess}"),
        None => format!("no statement names the action `{asked}`"),
    })
}

/// The names of an ARN's fields after `arn`.
const FIELDS: [&str; 5] = ["partition", "service", "region", "account", "resource"];

fn resource(question: &Question<'_>, action: &Action, snapshot: &Snapshot) -> Option<String> {
    let Resource::Arn(arn) = Resource::parse(question.resource).ok()? else {
        return None;
    };
    let (work, mut is_met, mut nearest) = (Work::ample(), false, None);
    snapshot
        .holders()
        .each_statement(action, &work, |statement| {
            if statement.effect == Effect::Deny {
                return ControlFlow::Continue(());
            }
            let Some(Listed::Any(patterns)) = &statement.resources else {
                is_met = true;
                return ControlFlow::Break(());
            };
            for pattern in patterns {
                let fields = pattern.fields();
                let differs = |(index, field): (usize, &Template)| {
                    // A variable may have the value that is asked for.
                    let differs = field.matches(arn.field(1 + index), &NoValues) == Some(false);
                    differs.then_some(*FIELDS.get(index)?)
                };
                let differing: Vec<&str> = fields.iter().enumerate().filter_map(differs).collect();
                // Another order is no typing error, but another type of resource may be one.
                let is_of_type = || type_of(pattern.as_str()) == type_of(arn.as_str());
                let has_shape = differing.iter().all(|field| *field == "resource") && is_of_type();
                if has_shape
                    || differing.is_empty()
                    || pattern.is_short()
                    || pattern.is_everything()
                {
                    is_met = true;
                    return ControlFlow::Break(());
                }
                let is_nearer = |(_, best): &(String, Vec<&str>)| differing.len() < best.len();
                if nearest.as_ref().is_none_or(is_nearer) {
                    nearest = Some((pattern.as_str().to_owned(), differing));
                }
            }
            ControlFlow::Continue(())
        });
    let (pattern, differing) = nearest.filter(|_| !is_met)?;
    let verb = if differing.len() == 1 {
        "differs"
    } else {
        "differ"
    };
    Some(format!(
        "no statement about `{}` covers the resource; the nearest is `{pattern}`, from which its {} {verb}",
        question.action,
        differing.join(" and ")
    ))
}

/// Returns the type of an ARN's resource: `order` of `…:order/1001/1`.
fn type_of(arn: &str) -> &str {
    let resource = arn.splitn(6, ':').last().unwrap_or_default();
    resource.split(['/', ':', '*']).next().unwrap_or_default()
}

/// Variables without values.
struct NoValues;

impl Variables for NoValues {
    fn substitute(&self, _: &ContextKey) -> Substitute<'_> {
        Substitute::Missing
    }
}

/// Returns the hint about a user, a role or a session of a role that the store does not know, or that is disabled there.
pub(super) fn unknown_principal(asked: &str, snapshot: &Snapshot) -> Option<String> {
    let is_known = match Principal::parse(asked).ok()? {
        Principal::User(arn) | Principal::Role(arn) => snapshot.entity(&arn).is_some(),
        Principal::AssumedRole { arn, role, .. } => {
            snapshot.role_named(arn.account(), role).is_some()
        }
        _ => true,
    };
    if is_known || asked.len() > MAX_TEXT_BYTES {
        return None;
    }
    let guess = principal(asked, snapshot);
    Some(guess.unwrap_or_else(|| format!("the store does not know `{asked}`, or it is disabled")))
}

/// Returns the hint about an unknown principal if the store has one of the same name with another path or another case.
fn principal(asked: &str, snapshot: &Snapshot) -> Option<String> {
    let principal = Principal::parse(asked).ok()?;
    let arn = principal.arn().filter(|_| asked.len() <= MAX_TEXT_BYTES)?;
    let (kind, name, session) = match &principal {
        Principal::User(arn) => ("user/", last(arn), None),
        Principal::Role(arn) => ("role/", last(arn), None),
        Principal::AssumedRole { role, session, .. } => ("role/", *role, Some(session)),
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

fn last(arn: &Arn<impl Deref<Target = str>>) -> &str {
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
