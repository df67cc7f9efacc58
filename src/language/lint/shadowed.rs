//! Warns of statements that change nothing, because another one of the same policy covers all of them: one of the same effect, or a Deny
//! above an Allow.
//!
//! Only what is certain is reported: each element of the other statement must cover the same element of this one by itself,
//! whatever the values of variables and context keys are. Of two statements that cover each other, the later one is
//! reported. So all that are reported may be removed at once.

use crate::language::condition::Condition;
use crate::language::document::{
    Effect, Listed, PolicyDocument, PrincipalElement, PrincipalEntry, Statement,
};
use crate::language::finding::Code;
use crate::language::json::Node;
use crate::language::pattern::relation::{action_includes, actions_meet, can_meet, includes};
use crate::language::pattern::{ActionPattern, ResourcePattern};
use crate::language::report::Report;

/// Lints the statements of a document, which were parsed from `nodes`.
pub(super) fn lint(document: &PolicyDocument, nodes: &[Node<'_>], report: &mut Report<'_>) {
    let mut steps = Steps { left: MAX_STEPS };
    let statements = &document.statements;
    for (at, (statement, node)) in statements.iter().zip(nodes).enumerate() {
        let by = statements.iter().enumerate().find(|(other_at, other)| {
            *other_at != at
                && covers(other, statement, &mut steps)
                && (*other_at < at || !covers(statement, other, &mut steps))
        });
        let Some((other_at, other)) = by else {
            continue;
        };
        let name = match &other.sid {
            Some(sid) => format!("`{sid}`"),
            None => format!("`/Statement/{other_at}`"),
        };
        let verb = |effect| match effect {
            Effect::Allow => "allows",
            Effect::Deny => "denies",
        };
        let (ours, theirs) = (verb(statement.effect), verb(other.effect));
        let message = format!("this statement changes nothing: {name} {theirs} all that it {ours}");
        report
            .warning(Code::SHADOWED_STATEMENT, &node.span, message)
            .help(format!(
                "remove it, or narrow {name} if that {theirs} too much"
            ));
    }
}

/// How many pairs of characters are compared in one document.
const MAX_STEPS: usize = 20_000_000;

/// How many pairs of characters may still be compared. Beyond that the lint stays silent, as it may.
struct Steps {
    left: usize,
}

impl Steps {
    fn take(&mut self, n: usize) -> bool {
        match self.left.checked_sub(n) {
            Some(left) => self.left = left,
            None => self.left = 0,
        }
        self.left > 0
    }
}

/// Returns whether `one` surely applies to every question to which `other` applies, and at least as strongly: a Deny is stronger
/// than an Allow (E-15), and reads patterns as broadly or more (M-12, V-9). `false` says nothing.
///
/// PERF: the cheapest elements come first, because most pairs of statements differ in them.
fn covers(one: &Statement, other: &Statement, steps: &mut Steps) -> bool {
    steps.take(1)
        && (one.effect == other.effect || one.effect == Effect::Deny)
        && one.conditions.len() <= other.conditions.len()
        && covers_principals(one.principal.as_deref(), other.principal.as_deref(), steps)
        && covers_actions(&one.actions, &other.actions, steps)
        && covers_resources(one, other, steps)
        && requires_no_more(&one.conditions, &other.conditions, steps)
}

/// Returns whether each condition of `ours` is one of `theirs`.
fn requires_no_more(ours: &[Condition], theirs: &[Condition], steps: &mut Steps) -> bool {
    ours.iter().all(|one| {
        theirs.iter().any(|other| {
            // The key may be spelled in another case.
            one.operator == other.operator
                && one.key == other.key
                && steps.take(one.operand.n_values())
                && one.operand == other.operand
        })
    })
}

fn covers_principals(
    one: Option<&PrincipalElement>,
    other: Option<&PrincipalElement>,
    steps: &mut Steps,
) -> bool {
    let (one, other) = match (one, other) {
        (None, None) => return true,
        (Some(one), Some(other)) => (one, other),
        _ => return false,
    };
    if one.negated || other.negated {
        return one == other;
    }
    let is_everyone = one.entries.contains(&PrincipalEntry::Everyone);
    steps.take(one.entries.len() * other.entries.len())
        && other.entries.iter().all(|entry| {
            // T-20: an Allow of everyone is not for tokens of identity providers.
            let is_federated = matches!(entry, PrincipalEntry::Federated(_));
            is_everyone && !is_federated || one.entries.contains(entry)
        })
}

fn covers_actions(
    one: &Listed<ActionPattern>,
    other: &Listed<ActionPattern>,
    steps: &mut Steps,
) -> bool {
    let mut pays = |one: &ActionPattern, other: &ActionPattern| {
        // PERF: a name or a beginning is compared at once.
        let (one, other) = (one.as_str(), other.as_str());
        let is_plain = !one.trim_end_matches('*').contains(['*', '?']);
        steps.take(if is_plain { 1 } else { one.len() * other.len() })
    };
    match (one, other) {
        (Listed::Any(ours), Listed::Any(theirs)) => theirs.iter().all(|other| {
            ours.iter()
                .any(|one| pays(one, other) && action_includes(one, other))
        }),
        (Listed::Not(ours), Listed::Not(theirs)) => ours.iter().all(|one| {
            theirs
                .iter()
                .any(|other| pays(other, one) && action_includes(other, one))
        }),
        (Listed::Not(ours), Listed::Any(theirs)) => ours.iter().all(|one| {
            theirs
                .iter()
                .all(|other| pays(one, other) && pays(other, one) && !actions_meet(one, other))
        }),
        (Listed::Any(ours), Listed::Not(_)) => ours.iter().any(|one| one.service().is_none()),
    }
}

fn covers_resources(one: &Statement, other: &Statement, steps: &mut Steps) -> bool {
    let mut pays = |one: &ResourcePattern, other: &ResourcePattern| {
        steps.take(1 + one.as_str().len() * other.as_str().len())
    };
    // A Deny reads short patterns in more ways than one (M-12).
    let is_comparable = |ours: &ResourcePattern, theirs: &ResourcePattern| {
        one.effect == Effect::Allow || !ours.is_short() && !theirs.is_short()
    };
    let all = |listed: &Listed<ResourcePattern>| match listed {
        Listed::Any(patterns) => patterns.iter().any(ResourcePattern::is_everything),
        Listed::Not(_) => false,
    };
    let (ours, theirs) = match (&one.resources, &other.resources) {
        (None, _) => return true, // E-12
        (Some(ours), _) if all(ours) => return true,
        (Some(_), None) => return false,
        (Some(ours), Some(theirs)) => (ours, theirs),
    };
    match (ours, theirs) {
        (Listed::Any(ours), Listed::Any(theirs)) => theirs.iter().all(|other| {
            ours.iter().any(|pattern| {
                pays(pattern, other)
                    && (pattern == other
                        || is_comparable(pattern, other) && includes(pattern, other))
            })
        }),
        // What is excluded is read in another reach than what is named, so only the same pattern is sure.
        (Listed::Not(ours), Listed::Not(theirs)) => ours
            .iter()
            .all(|one| theirs.iter().any(|other| pays(one, other) && one == other)),
        // A variable without a value makes an Allow say nothing (V-9).
        (Listed::Not(ours), Listed::Any(theirs)) => ours.iter().all(|one| {
            one.variables().next().is_none()
                && theirs
                    .iter()
                    .all(|other| pays(one, other) && !can_meet(one, other))
        }),
        (Listed::Any(_), Listed::Not(_)) => false,
    }
}

#[cfg(test)]
mod tests;
