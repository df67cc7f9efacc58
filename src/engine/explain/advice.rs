//! Says in words what would have to change for a deny to become an allow.
//!
//! The advice names the obstacles and the statements that come closest to removing them. It does not recommend removing
//! them.

use super::{ConditionResult, Explanation, StatementResult};
use crate::engine::decision::{Reason, StatementName};
use crate::engine::layer::Verdict;
use crate::engine::request::Request;
use crate::engine::trace::Outcome;
use crate::language::condition::operator::Truth;
use crate::language::document::{Effect, PolicyType};
use crate::name::Principal;

/// The most statements that the advice names as close for one obstacle.
const MAX_CLOSE: usize = 3;
/// The most Denies that the advice names.
const MAX_DENIES: usize = 10;
/// The most values of a condition that the advice names.
const MAX_VALUES: usize = 5;

pub(super) fn advice(
    reason: Reason,
    explanation: &Explanation,
    request: &Request,
    action: &str,
    obstacles: &[(PolicyType, Verdict)],
) -> Vec<String> {
    match reason {
        Reason::ImplicitDenyUnknownPrincipal => return vec![unknown(request)],
        Reason::ImplicitDenySessionExpired => {
            return vec!["the session must be renewed: it expired before the question".to_owned()];
        }
        Reason::ImplicitDenyInvalidIdentityToken => {
            return vec![format!(
                "the identity token must name `{}` in its claim `https://aws.amazon.com/roles`, or must not have that claim",
                request.resource
            )];
        }
        _ => {}
    }
    obstacles
        .iter()
        .flat_map(|(policy_type, verdict)| match verdict {
            Verdict::ExplicitDeny => denies(explanation, *policy_type),
            _ => allows(explanation, request, action, *policy_type),
        })
        .collect()
}

/// Returns the advice for a principal that the store does not know (E-3, E-50, E-51).
fn unknown(request: &Request) -> String {
    match &request.principal {
        Principal::Anonymous => {
            "the account that owns the resource must set `AnonymousAllowed`".to_owned()
        }
        Principal::Root(arn) => {
            format!("the account of `{arn}` must be in the store and set `RootUserEnabled`")
        }
        principal => {
            format!(
                "the store must have `{principal}`, or the role or user behind it, and it must not be disabled"
            )
        }
    }
}

/// Returns one line for each Deny that applies.
fn denies(explanation: &Explanation, policy_type: PolicyType) -> Vec<String> {
    let applies = |statement: &&StatementResult| {
        statement.effect == Effect::Deny
            && statement.source.layer() == Some(policy_type)
            && statement.applies()
    };
    let denies = explanation.statements.iter().filter(applies);
    let n_more = denies.clone().count().saturating_sub(MAX_DENIES);
    let more = (n_more > 0).then(|| format!("{n_more} more Denies must not apply"));
    denies
        .take(MAX_DENIES)
        .map(|statement| {
            let name = name(statement);
            let missing = statement.resource.iter().flat_map(|resource| {
                let is_cause = resource.matched_because_missing;
                resource.policy_values.iter().filter(move |_| is_cause)
            });
            let mut causes: Vec<String> = missing
                .flat_map(|value| &value.missing)
                .map(|key| format!("`{key}` has no value"))
                .collect();
            causes.dedup();
            causes.extend(statement.conditions.iter().map(in_words));
            if causes.is_empty() {
                return format!("{name} must not apply, and it has no condition");
            }
            format!(
                "{name} must not apply: it does while {}",
                causes.join(" and ")
            )
        })
        .chain(more)
        .collect()
}

/// Returns which policy has to allow, and the Allows that come close.
fn allows(
    explanation: &Explanation,
    request: &Request,
    action: &str,
    policy_type: PolicyType,
) -> Vec<String> {
    let question = format!("allow `{action}` on `{}`", request.resource.as_str());
    let is_of_resource = matches!(policy_type, PolicyType::Resource | PolicyType::Trust);
    if is_of_resource && explanation.resource_account.is_none() {
        return vec![format!(
            "a resource policy must {question}, but the owner of the resource is unknown: give `--resource-account`"
        )];
    }
    let silent_levels: Vec<String> = explanation
        .of_type(policy_type)
        .iter()
        .flat_map(|result| &result.levels)
        .filter(|level| level.verdict == Verdict::ImplicitDeny)
        .map(|level| format!("`{}`", level.node))
        .collect();
    let who = match policy_type {
        PolicyType::Identity => format!("an identity policy of `{}` must", request.principal),
        PolicyType::PermissionsBoundary => "the permissions boundary must".to_owned(),
        PolicyType::Session => "a session policy must".to_owned(),
        PolicyType::Resource | PolicyType::Trust => {
            let account = explanation.resource_account.as_deref().unwrap_or_default();
            format!("a resource policy of account `{account}` must")
        }
        PolicyType::ServiceControl => {
            format!(
                "a service control policy at {} must",
                silent_levels.join(" and at ")
            )
        }
        PolicyType::ResourceControl => "every level of resource control policies must".to_owned(),
    };
    let mut lines = vec![format!("{who} {question}")];
    let is_near = |statement: &&StatementResult| {
        statement.effect == Effect::Allow
            && statement.counts
            && statement.source.layer() == Some(policy_type)
            && statement.outcome == Outcome::ConditionFails
    };
    let near = explanation.statements.iter().filter(is_near);
    lines.extend(near.take(MAX_CLOSE).map(|statement| {
        let lacking = statement
            .conditions
            .iter()
            .filter(|condition| condition.holds != Truth::True);
        let lacking: Vec<String> = lacking.map(in_words).collect();
        format!("{} comes close: {}", name(statement), lacking.join(" and "))
    }));
    if lines.len() == 1 {
        lines.extend(elsewhere(explanation, policy_type));
    }
    lines
}

/// Returns lines for the Allows of the action that name other resources.
fn elsewhere(explanation: &Explanation, policy_type: PolicyType) -> Vec<String> {
    let is_elsewhere = |statement: &&StatementResult| {
        statement.effect == Effect::Allow
            && statement.counts
            && statement.source.layer() == Some(policy_type)
            && statement.outcome == Outcome::OtherResource
    };
    let statements = explanation.statements.iter().filter(is_elsewhere);
    statements
        .take(MAX_CLOSE)
        .filter_map(|statement| {
            let resource = statement.resource.as_ref()?;
            let listed: Vec<String> = resource
                .policy_values
                .iter()
                .map(|value| format!("`{}`", value.resolved.as_ref().unwrap_or(&value.written)))
                .collect();
            let missing: Vec<String> = resource
                .policy_values
                .iter()
                .flat_map(|value| &value.missing)
                .map(|key| format!("`{key}`"))
                .collect();
            let name = name(statement);
            Some(if missing.is_empty() {
                format!(
                    "{name} allows the action on other resources: {} {}",
                    resource.element.as_str(),
                    listed.join(", ")
                )
            } else {
                format!(
                    "{name} allows the action on {}, but {} has no value",
                    listed.join(", "),
                    missing.join(" and ")
                )
            })
        })
        .collect()
}

/// Returns the effect, the statement, its policy and its location.
fn name(statement: &StatementResult) -> String {
    let source = &statement.source;
    let effect = statement.effect.as_str();
    let StatementName {
        policy,
        sid,
        index,
        file,
        ..
    } = &source.statement;
    let sid = match sid.as_str() {
        "" => String::new(),
        sid => format!(" `{sid}`"),
    };
    let place = match &**file {
        "" => String::new(),
        file => {
            let start = source.extent.start;
            format!(" ({file}:{}:{})", start.line, start.column)
        }
    };
    format!("the {effect} in statement {index}{sid} of {policy}{place}")
}

/// Returns a condition with the values on both sides.
fn in_words(condition: &ConditionResult) -> String {
    let quoted = |values: &[String], n_values: usize| {
        let shown = values.iter().take(MAX_VALUES);
        let mut quoted: Vec<String> = shown.map(|value| format!("`{value}`")).collect();
        let n_more = n_values.saturating_sub(MAX_VALUES);
        if n_more > 0 {
            quoted.push(format!("{n_more} more"));
        }
        quoted.join(", ")
    };
    let wanted: Vec<String> = condition
        .policy_values
        .iter()
        .map(|value| value.resolved.as_ref().unwrap_or(&value.written).clone())
        .collect();
    let is = match condition.request_values.as_slice() {
        [] => "absent".to_owned(),
        values => quoted(values, condition.n_request_values),
    };
    let ConditionResult { key, operator, .. } = condition;
    format!(
        "`{key}` is {is} ({operator} {})",
        quoted(&wanted, wanted.len())
    )
}
