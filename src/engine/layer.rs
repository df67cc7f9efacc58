//! What the statements of one policy type say together (E-14).

use std::sync::Arc;

use super::decision::StatementRef;
use super::derived::Facts;
use super::principal::{Strength, strength};
use super::trace::{Outcome, Trace};
use crate::compile::operator::{Truth, evaluate};
use crate::compile::snapshot::Policy;
use crate::language::document::{Effect, Listed, Statement};
use crate::language::pattern::{Reach, ResourcePattern};

/// What one policy type says. Absent and silent are different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There are no such policies.
    NotInPlay,
    /// There are, and none of their statements applies.
    ImplicitDeny,
    /// An Allow applies, and no Deny; of resource policies the strongest (P-1).
    Allow(Strength),
    /// A Deny applies.
    ExplicitDeny,
}

/// A verdict with the statement that made it.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What the statements say.
    pub verdict: Verdict,
    /// The first Deny that applies, or the first of the strongest Allows.
    pub settled_by: Option<StatementRef>,
}

impl Layer {
    /// A verdict that no statement made.
    pub const fn without_statement(verdict: Verdict) -> Self {
        Self {
            verdict,
            settled_by: None,
        }
    }
}

/// Evaluates the statements of `policies`, one set (E-14, E-15). A trace that listens hears of all of them.
pub(super) fn evaluate_set<'p, T: Trace>(
    policies: impl IntoIterator<Item = &'p Arc<Policy>>,
    facts: &Facts<'_>,
    trace: &mut T,
) -> Layer {
    let mut denied_by: Option<StatementRef> = None;
    let mut allowed_by: Option<(Strength, StatementRef)> = None;
    for policy in policies {
        for (index, statement) in policy.statements.iter().enumerate() {
            let outcome = consider(statement, facts);
            let found = || StatementRef {
                policy: Arc::clone(policy),
                index,
            };
            if T::LISTENS {
                trace.statement(&found(), outcome);
            }
            let Outcome::Applies(strength) = outcome else {
                continue;
            };
            match statement.effect {
                Effect::Deny => {
                    if denied_by.is_none() {
                        denied_by = Some(found());
                    }
                    if !T::LISTENS {
                        return Layer {
                            verdict: Verdict::ExplicitDeny,
                            settled_by: denied_by,
                        };
                    }
                }
                Effect::Allow if allowed_by.as_ref().is_none_or(|(best, _)| strength > *best) => {
                    allowed_by = Some((strength, found()));
                }
                Effect::Allow => {}
            }
        }
    }
    match (denied_by, allowed_by) {
        (Some(denied_by), _) => Layer {
            verdict: Verdict::ExplicitDeny,
            settled_by: Some(denied_by),
        },
        (None, Some((strength, by))) => Layer {
            verdict: Verdict::Allow(strength),
            settled_by: Some(by),
        },
        (None, None) => Layer::without_statement(Verdict::ImplicitDeny),
    }
}

/// Whether a statement applies (E-11). The cheapest questions are asked first; none has a side effect (C-12).
fn consider(statement: &Statement, facts: &Facts<'_>) -> Outcome {
    let request = facts.request;
    let is_action = match &statement.actions {
        Listed::Any(patterns) => patterns
            .iter()
            .any(|pattern| pattern.matches(&request.action)),
        Listed::Not(patterns) => !patterns
            .iter()
            .any(|pattern| pattern.matches(&request.action)), // M-6
    };
    if !is_action {
        return Outcome::OtherAction;
    }
    let strength = match &statement.principal {
        None => Strength::Direct, // P-11
        Some(element) => {
            match strength(element, statement.effect, &facts.caller, &request.action) {
                Some(strength) => strength,
                None => return Outcome::OtherPrincipal,
            }
        }
    };
    if !is_resource(statement, facts) {
        return Outcome::OtherResource;
    }
    let conditions = statement
        .conditions
        .iter()
        .map(|condition| evaluate(condition, &facts.values(&condition.key), facts))
        .fold(Truth::True, Truth::and);
    match (conditions, statement.effect) {
        // C-3: what is not clear allows nothing, and denies.
        (Truth::True, _) | (Truth::Indeterminate, Effect::Deny) => Outcome::Applies(strength),
        (Truth::Indeterminate, Effect::Allow) | (Truth::False, _) => Outcome::ConditionFails,
    }
}

/// M-12, M-20, V-9.
fn is_resource(statement: &Statement, facts: &Facts<'_>) -> bool {
    let resource = &facts.request.resource;
    let covers = |pattern: &ResourcePattern, reach: Reach| pattern.matches(resource, reach, facts);
    match (&statement.resources, statement.effect) {
        (None, _) => true, // E-12
        (Some(Listed::Any(patterns)), Effect::Allow) => patterns
            .iter()
            .any(|p| covers(p, Reach::Narrow) == Some(true)),
        (Some(Listed::Any(patterns)), Effect::Deny) => patterns
            .iter()
            .any(|p| covers(p, Reach::Broad) == Some(true)),
        // A variable without a value must not widen a grant, nor narrow a denial.
        (Some(Listed::Not(patterns)), Effect::Allow) => patterns
            .iter()
            .all(|p| covers(p, Reach::Broad) == Some(false)),
        (Some(Listed::Not(patterns)), Effect::Deny) => !patterns
            .iter()
            .any(|p| covers(p, Reach::Narrow) == Some(true)),
    }
}
