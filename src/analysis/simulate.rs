//! The results of a simulation: for each action on each resource, and for all pairs together.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::compile::snapshot::Snapshot;
use crate::context::ContextKey;
use crate::engine::authorize_within;
use crate::engine::decision::{Decision, Reason, StatementRef};
use crate::engine::error::RequestError;
use crate::engine::facts::Facts;
use crate::engine::layer::Verdict;
use crate::engine::request::Request;
use crate::engine::trace::{Outcome, Trace};
use crate::engine::work::Work;
use crate::language::condition::operator::Values;
use crate::language::document::{Effect, PolicyType, Statement};
use crate::language::pattern::ResourcePattern;

/// The decision of one question, with the details that AWS's simulator adds.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The decision, the same as that of `authorize`.
    pub decision: Decision,
    /// Every Deny that applies if the decision is an explicit deny, else every Allow that applies (S-3).
    pub matched: Vec<StatementRef>,
    /// Context keys that reachable statements read and that have no value; lower-cased and sorted (S-7).
    pub missing: Vec<String>,
    /// Whether the service and resource control policies allow; `None` if no such policy is in play (S-5).
    pub allowed_by_organizations: Option<bool>,
    /// Whether the permissions boundary allows; `None` if there is none (S-5).
    pub allowed_by_permissions_boundary: Option<bool>,
}

/// Decides `request` with the remaining units of `work`. Each list gets at most `most` entries.
pub fn evaluate(
    snapshot: &Snapshot,
    request: &Request,
    most: usize,
    work: &Work,
) -> Result<Evaluation, RequestError> {
    let mut heard = Heard::default();
    let decision = authorize_within(snapshot, request, &mut heard, work)?;
    let effect = if decision.reason().is_explicit_deny() {
        Effect::Deny
    } else {
        Effect::Allow
    };
    let missing = match Facts::find(snapshot, request, work) {
        Ok(facts) => heard.missing(&facts),
        Err(_) => BTreeSet::new(),
    };
    let matched = heard.statements.iter().filter(|(statement, outcome)| {
        matches!(outcome, Outcome::Applies(_))
            && written(statement).is_some_and(|statement| statement.effect == effect)
    });
    // A control policy may be attached to several levels, but it is listed once.
    let mut seen = BTreeSet::new();
    let matched = matched.filter(|(statement, _)| {
        seen.insert((Arc::as_ptr(&statement.policy).addr(), statement.index))
    });
    Ok(Evaluation {
        matched: matched
            .map(|(statement, _)| statement.clone())
            .take(most)
            .collect(),
        missing: missing
            .into_iter()
            .map(|key| key.folded().to_owned())
            .take(most)
            .collect(),
        allowed_by_organizations: heard
            .allowed_by(&[PolicyType::ServiceControl, PolicyType::ResourceControl]),
        allowed_by_permissions_boundary: heard.allowed_by(&[PolicyType::PermissionsBoundary]),
        decision,
    })
}

/// Returns the reason of all decisions together (E-54): the first explicit deny, else the first deny, else the first
/// reason; `None` if there are no decisions.
pub fn aggregate(reasons: &[Reason]) -> Option<Reason> {
    let find = |is_wanted: fn(Reason) -> bool| reasons.iter().copied().find(|one| is_wanted(*one));
    find(Reason::is_explicit_deny)
        .or_else(|| find(|reason| !reason.is_allow()))
        .or_else(|| reasons.first().copied())
}

/// A listener that records the statements and layers considered for a decision.
#[derive(Default)]
struct Heard {
    /// The statements that match the action and the principal.
    statements: Vec<(StatementRef, Outcome)>,
    layers: Vec<(PolicyType, Verdict)>,
}

impl Trace for Heard {
    const LISTENS: bool = true;

    fn statement(&mut self, _: &Facts<'_>, statement: &StatementRef, outcome: Outcome) {
        if !matches!(outcome, Outcome::OtherAction | Outcome::OtherPrincipal) {
            self.statements.push((statement.clone(), outcome));
        }
    }

    fn layer(&mut self, policy_type: PolicyType, verdict: Verdict) {
        self.layers.push((policy_type, verdict));
    }
}

fn written(statement: &StatementRef) -> Option<&Statement> {
    statement.policy.statements.get(statement.index)
}

impl Heard {
    /// Returns whether all policy types of `types` that are in play allow; `None` if none of them is in play.
    fn allowed_by(&self, types: &[PolicyType]) -> Option<bool> {
        let in_play = || {
            self.layers.iter().filter(|(policy_type, verdict)| {
                types.contains(policy_type) && *verdict != Verdict::NotInPlay
            })
        };
        in_play().next()?;
        Some(in_play().all(|(_, verdict)| matches!(verdict, Verdict::Allow(_))))
    }

    /// Returns the keys without a value. A statement on another resource gives only the keys of its resource's
    /// variables, since a variable without a value may be why the resource differs. The others give the keys of their
    /// conditions too.
    fn missing(&self, facts: &Facts<'_>) -> BTreeSet<ContextKey> {
        let mut missing = BTreeSet::new();
        for (statement, outcome) in &self.statements {
            let mut note = |key: &ContextKey| {
                if !missing.contains(key) && facts.values(key) == Values::Absent {
                    missing.insert(key.clone());
                }
            };
            let Some(statement) = written(statement) else {
                continue;
            };
            let resources = statement
                .resources
                .iter()
                .flat_map(|listed| listed.entries());
            resources
                .flat_map(ResourcePattern::variables)
                .for_each(|variable| note(&variable.key));
            if *outcome == Outcome::OtherResource {
                continue;
            }
            for condition in statement.conditions.iter() {
                note(&condition.key);
                for variable in condition.operand.variables() {
                    note(&variable.key);
                }
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_restrictive_reason_stands_for_all() {
        use Reason as R;
        let of = aggregate;
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[R::AllowRoot, R::AllowIdentity]), Some(R::AllowRoot));
        let denied = [
            R::AllowRoot,
            R::ImplicitDenyIdentity,
            R::ImplicitDenyResource,
        ];
        assert_eq!(
            of(&denied),
            Some(R::ImplicitDenyIdentity),
            "E-54: the first"
        );
        let explicitly = [
            R::ImplicitDenyIdentity,
            R::ExplicitDenySession,
            R::ExplicitDenyIdentity,
        ];
        assert_eq!(of(&explicitly), Some(R::ExplicitDenySession), "E-54");
    }
}
