//! Evaluates the statements of a policy set (E-14).

use std::ops::ControlFlow;
use std::sync::Arc;

use smallvec::SmallVec;

use super::decision::StatementRef;
use super::facts::Facts;
use super::lost::Lost;
use super::principal::{Strength, strength};
use super::trace::{Outcome, Silent, Trace};
use super::work::units_of;
use crate::compile::path::{Candidates, Path, Walk};
use crate::compile::policy_set::{PolicySet, speaks_of};
use crate::compile::rows::Look;
use crate::compile::snapshot::Policy;
use crate::compile::trie::Candidate;
use crate::language::condition::operator::{Truth, Values, evaluate};
use crate::language::condition::{Condition, Operand};
use crate::language::document::{Effect, Listed, Statement};
use crate::language::pattern::{Reach, ResourcePattern};
use crate::name::Action;

/// The verdict of one policy type. A type that is not in play differs from one that says nothing.
///
/// The variants are in rising order: if two sets count as one, the higher verdict holds (E-14, E-15).
// PERF: laid out so that which verdict it is can be read off one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Verdict {
    /// There are no such policies.
    NotInPlay,
    /// There are such policies, and none of their statements applies.
    ImplicitDeny,
    /// An Allow applies and no Deny. The strength is that of the strongest Allow (P-1).
    Allow(Strength),
    /// A Deny applies.
    ExplicitDeny,
}

/// A verdict with the statement that made it.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// The verdict.
    pub verdict: Verdict,
    /// The position of the first Deny that applies, or of the first of the strongest Allows, in `policy`.
    ///
    /// PERF: a layer fits into two registers.
    index: u32,
    policy: Option<&'a Arc<Policy>>,
}

/// A statement by its position. A decision names it by a [`StatementRef`], which holds its policy.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    policy: &'a Arc<Policy>,
    index: u32,
}

impl<'a> Layer<'a> {
    /// Returns a verdict without a statement.
    pub const fn without_statement(verdict: Verdict) -> Self {
        Self {
            verdict,
            index: 0,
            policy: None,
        }
    }

    const fn by_statement(verdict: Verdict, by: Place<'a>) -> Self {
        Self {
            verdict,
            index: by.index,
            policy: Some(by.policy),
        }
    }

    /// Returns the statement that made the verdict.
    pub fn settled_by(&self) -> Option<StatementRef> {
        Some(StatementRef {
            policy: Arc::clone(self.policy?),
            index: self.index as usize,
        })
    }

    /// Returns the verdict of both sets together; `self` comes first.
    #[must_use]
    pub fn beside(self, other: Self) -> Self {
        if other.verdict > self.verdict {
            other
        } else {
            self
        }
    }
}

/// Policies that are evaluated as one set (E-14, E-15).
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The store's.
    stored: Option<&'a PolicySet>,
    /// Their statements about the action, where there is an index and nothing is added.
    path: Option<Path<'a>>,
    /// Those that a session or a simulation brings.
    added: &'a [Arc<Policy>],
    /// The verdict where none of their statements applies.
    otherwise: Verdict,
}

impl<'a> Source<'a> {
    /// Returns the policies of both.
    #[inline]
    pub(super) const fn of(stored: Option<&'a PolicySet>, added: &'a [Arc<Policy>]) -> Self {
        Self {
            stored,
            path: None,
            added,
            otherwise: Verdict::ImplicitDeny,
        }
    }

    /// Returns the policies of a set of the store's.
    #[inline]
    pub(super) const fn stored(set: &'a PolicySet) -> Self {
        Self::of(Some(set), &[])
    }

    /// Returns policies that the store does not have.
    pub(super) const fn added(policies: &'a [Arc<Policy>]) -> Self {
        Self::of(None, policies)
    }

    /// Returns no policies: the verdict is known without any.
    pub(super) const fn known(verdict: Verdict) -> Self {
        Self::of(None, &[]).otherwise(verdict)
    }

    /// Sets the verdict where no statement applies; it is an implicit deny for most policies.
    #[must_use]
    pub(super) const fn otherwise(self, otherwise: Verdict) -> Self {
        Self { otherwise, ..self }
    }

    /// Finds the statements about `action`, where the store's index has them.
    #[inline]
    pub(super) fn find_path(&mut self, action: &Action) {
        if let (Some(set), []) = (self.stored, self.added) {
            self.path = Path::of(set, action);
        }
    }

    /// Returns the statements about the action, if they were found.
    #[inline]
    pub(super) fn path(&self) -> Option<Path<'a>> {
        self.path
    }

    /// Returns the policies, in the order of their evaluation.
    pub fn policies(&self) -> impl Iterator<Item = &'a Arc<Policy>> {
        let stored = self.stored.map_or(&[][..], PolicySet::policies);
        stored.iter().chain(self.added)
    }

    /// Calls `visit` with each statement that speaks of the action and may cover the resource, with its policy and its
    /// position there, in the order of the policies. It uses the index if decisions have made one.
    pub fn each_candidate(
        &self,
        facts: &Facts<'_>,
        mut visit: impl FnMut(&'a Arc<Policy>, usize, &'a Statement),
    ) {
        let (action, resource) = (&facts.request.action, &facts.request.resource);
        let indexed = self.stored.filter(|_| self.added.is_empty());
        let indexed = indexed.filter(|set| set.trie().is_some());
        let Some(path) = indexed.and_then(|set| Path::of(set, action)) else {
            for policy in self.policies() {
                for (index, statement) in policy.statements.iter().enumerate() {
                    if facts.work.spend(2) && speaks_of(statement, action, facts.work) {
                        visit(policy, index, statement);
                    }
                }
            }
            return;
        };
        let mut found: SmallVec<[Candidate; 16]> = SmallVec::new();
        for effect in [Effect::Deny, Effect::Allow] {
            let walk = path.walk(effect);
            for candidates in walk {
                walk.each(candidates, resource, |candidate| {
                    if walk.look(candidate, resource, &facts.ends).is_some() {
                        found.push(candidate);
                    }
                    ControlFlow::Continue(())
                });
            }
        }
        found.sort_unstable();
        // A statement with several actions may stand at several nodes.
        found.dedup_by_key(|candidate| (candidate.policy(), candidate.statement()));
        for candidate in found {
            let Some((policy, statement)) = statement_of(path, candidate, facts) else {
                return; // there will be no answer
            };
            let is_checked = Candidate::is_checked(candidate);
            let is_action =
                facts.work.spend(2) && (!is_checked || speaks_of(statement, action, facts.work));
            if is_action {
                visit(policy, candidate.statement() as usize, statement);
            }
        }
    }

    /// Returns the verdict where none of their statements applies.
    pub fn verdict_otherwise(&self) -> Verdict {
        self.otherwise
    }

    /// Returns whether it has policies of the store's.
    pub(super) fn is_stored(&self) -> bool {
        self.stored.is_some()
    }

    /// Evaluates the policies: those statements that the index gives, or all of them where there is none.
    #[inline]
    pub(super) fn evaluate<T: Trace>(&self, facts: &Facts<'_>, trace: &mut T) -> Layer<'a> {
        let layer = match (self.stored, self.path) {
            (_, Some(path)) => evaluate_path(path, facts),
            (Some(set), None) => {
                let policies = set.policies().iter().chain(self.added);
                evaluate_set(policies, facts, trace)
            }
            (None, _) => evaluate_set(self.added, facts, trace),
        };
        match layer.verdict {
            Verdict::ImplicitDeny => Layer::without_statement(self.otherwise),
            _ => layer,
        }
    }
}

/// Evaluates the statements that the index gives. The result is that of [`evaluate_set`]: among the statements that
/// apply, the first in the order of the policies settles it.
#[inline]
fn evaluate_path<'a>(path: Path<'a>, facts: &Facts<'_>) -> Layer<'a> {
    let denied = if path.has_denies() {
        settle(path, Effect::Deny, facts)
    } else {
        None
    };
    let (verdict, by) = match denied {
        Some((_, by)) => (Verdict::ExplicitDeny, by),
        None => match settle(path, Effect::Allow, facts) {
            Some((strength, by)) => (Verdict::Allow(strength), by),
            None => return Layer::without_statement(Verdict::ImplicitDeny),
        },
    };
    match statement_of(path, by, facts) {
        Some((policy, _)) => Layer::by_statement(
            verdict,
            Place {
                policy,
                index: by.statement(),
            },
        ),
        None => Layer::without_statement(Verdict::ImplicitDeny),
    }
}

/// Returns the strongest statement of `effect` that applies, and the first of these in the order of the policies. All
/// Denies are equally strong (E-15).
#[inline(never)]
fn settle(path: Path<'_>, effect: Effect, facts: &Facts<'_>) -> Option<(Strength, Candidate)> {
    let walk = path.walk(effect);
    let mut settling = Settling {
        path,
        effect,
        facts,
        best: None,
        before: Candidate::END,
    };
    for candidates in walk {
        match candidates {
            Candidates::One(candidate) => _ = settling.consider(walk, candidate),
            Candidates::Few(several) => {
                for listed in several {
                    if let Some(candidate) = listed.candidate(&facts.ends)
                        && settling.consider(walk, candidate).is_break()
                    {
                        break;
                    }
                }
            }
            Candidates::Many(..) => settling.consider_each(walk, candidates),
        }
    }
    settling.best
}

/// The search for the statement that settles a question.
struct Settling<'f, 'a> {
    path: Path<'f>,
    effect: Effect,
    facts: &'f Facts<'a>,
    best: Option<(Strength, Candidate)>,
    /// Only statements before this one can still be better.
    before: Candidate,
}

impl Settling<'_, '_> {
    /// Evaluates a candidate, and breaks if none behind it can be better.
    #[inline(always)] // PERF: it is the body of two loops, and a call would cost as much as it does.
    fn consider(&mut self, walk: Walk<'_>, candidate: Candidate) -> ControlFlow<()> {
        if candidate >= self.before {
            return ControlFlow::Break(());
        }
        let facts = self.facts;
        let Some(look) = walk.look(candidate, &facts.request.resource, &facts.ends) else {
            return ControlFlow::Continue(());
        };
        let Some(strength) = applies(self.path, candidate, look, self.effect, facts) else {
            return ControlFlow::Continue(());
        };
        let strength = match self.effect {
            Effect::Deny => Strength::Direct,
            Effect::Allow => strength,
        };
        let is_better = |(best, by)| strength > best || (strength == best && candidate < by);
        if self.best.is_none_or(is_better) {
            self.best = Some((strength, candidate));
        }
        if strength == Strength::Direct {
            self.before = candidate; // none is stronger
        }
        ControlFlow::Continue(())
    }

    #[inline(never)]
    fn consider_each(&mut self, walk: Walk<'_>, candidates: Candidates<'_>) {
        let resource = &self.facts.request.resource;
        walk.each(candidates, resource, |candidate| {
            self.consider(walk, candidate)
        });
    }
}

/// Returns the statement of `candidate`. If there is none, the question ends without an answer, because it may have been
/// a Deny.
#[inline]
fn statement_of<'a>(
    path: Path<'a>,
    candidate: Candidate,
    facts: &Facts<'_>,
) -> Option<(&'a Arc<Policy>, &'a Statement)> {
    let found = path.statement(candidate);
    if found.is_none() {
        facts.work.lose(Lost {
            table: "statements of a set",
            row: candidate.statement() as usize,
        });
    }
    found
}

/// Returns how strongly a statement that the index found applies, or `None` if it does not apply.
#[inline(always)] // PERF: like [`Settling::consider`].
fn applies(
    path: Path<'_>,
    candidate: Candidate,
    look: Look<'_>,
    effect: Effect,
    facts: &Facts<'_>,
) -> Option<Strength> {
    if candidate.is_checked() {
        let (_, statement) = statement_of(path, candidate, facts)?;
        if !is_action(statement, facts) {
            return None;
        }
    }
    if let (true, Some(conditions)) = (look.covers, look.conditions) {
        // P-11: a statement without a principal speaks of all of them.
        let holds = facts.work.spend(2) && evaluate_all(conditions, effect, facts, &mut Silent);
        return holds.then_some(Strength::Direct);
    }
    let (_, statement) = statement_of(path, candidate, facts)?;
    match consider_otherwise(statement, look.covers, facts, &mut Silent) {
        Outcome::Applies(strength) => Some(strength),
        _ => None,
    }
}

/// Returns whether the statement speaks of the action (M-2 to M-6).
fn is_action(statement: &Statement, facts: &Facts<'_>) -> bool {
    let n_patterns = statement.actions.entries().len();
    facts.work.spend(2 + n_patterns / 2) && speaks_of(statement, &facts.request.action, facts.work)
}

/// Evaluates all statements of `policies`, which are one set (E-14, E-15), and tells a listener of each.
fn evaluate_set<'p, T: Trace>(
    policies: impl IntoIterator<Item = &'p Arc<Policy>>,
    facts: &Facts<'_>,
    trace: &mut T,
) -> Layer<'p> {
    let mut denied_by: Option<Place<'p>> = None;
    let mut allowed_by: Option<(Strength, Place<'p>)> = None;
    for policy in policies {
        trace.policy(policy);
        if facts.work.is_spent() {
            break; // E-1: whatever comes of it, there will be no answer
        }
        for (index, statement) in (0u32..).zip(policy.statements.iter()) {
            // No Allow is stronger, so only a Deny can still change anything.
            let is_granted = matches!(allowed_by, Some((Strength::Direct, _)));
            if is_granted && statement.effect == Effect::Allow && !T::LISTENS {
                continue;
            }
            let outcome = consider(statement, facts, trace);
            let found = Place { policy, index };
            if T::LISTENS {
                let reference = StatementRef {
                    policy: Arc::clone(policy),
                    index: index as usize,
                };
                trace.statement(facts, &reference, outcome);
            }
            let Outcome::Applies(strength) = outcome else {
                continue;
            };
            match statement.effect {
                Effect::Deny => {
                    if denied_by.is_none() {
                        denied_by = Some(found);
                    }
                    if !T::LISTENS {
                        return Layer::by_statement(Verdict::ExplicitDeny, found);
                    }
                }
                Effect::Allow if allowed_by.as_ref().is_none_or(|(best, _)| strength > *best) => {
                    allowed_by = Some((strength, found));
                }
                Effect::Allow => {}
            }
        }
    }
    match (denied_by, allowed_by) {
        (Some(by), _) => Layer::by_statement(Verdict::ExplicitDeny, by),
        (None, Some((strength, by))) => Layer::by_statement(Verdict::Allow(strength), by),
        (None, None) => Layer::without_statement(Verdict::ImplicitDeny),
    }
}

/// Evaluates one statement (E-11). The cheapest elements come first. Without a listener, evaluation stops at the first
/// element that does not match; that changes nothing, because elements have no side effects (C-12).
fn consider<T: Trace>(statement: &Statement, facts: &Facts<'_>, trace: &mut T) -> Outcome {
    let is_action = is_action(statement, facts);
    trace.action(is_action);
    if !is_action && !T::LISTENS {
        return Outcome::OtherAction;
    }
    match consider_otherwise(statement, false, facts, trace) {
        _ if !is_action => Outcome::OtherAction,
        outcome => outcome,
    }
}

/// Evaluates a statement that matches the action. `covers` says that it matches the resource too.
#[inline]
fn consider_otherwise<T: Trace>(
    statement: &Statement,
    covers: bool,
    facts: &Facts<'_>,
    trace: &mut T,
) -> Outcome {
    let n_principals = statement.principal.as_ref();
    let n_principals = n_principals.map_or(0, |principal| principal.entries.len());
    if !facts.work.spend(2 + n_principals / 4) {
        return Outcome::ConditionFails; // E-1: whatever comes of it, there will be no answer
    }
    let strength = strength_of(statement, facts);
    trace.principal(strength);
    if strength.is_none() && !T::LISTENS {
        return Outcome::OtherPrincipal;
    }
    let is_resource = covers || is_resource(statement, facts);
    trace.resource(is_resource);
    if !is_resource && !T::LISTENS {
        return Outcome::OtherResource;
    }
    let are_met = evaluate_all(&statement.conditions, statement.effect, facts, trace);
    match strength {
        None => Outcome::OtherPrincipal,
        _ if !is_resource => Outcome::OtherResource,
        Some(strength) if are_met => Outcome::Applies(strength),
        Some(_) => Outcome::ConditionFails,
    }
}

/// Returns whether these conditions let a statement of this effect apply (C-1, C-3).
#[inline]
fn evaluate_all<T: Trace>(
    conditions: &[Condition],
    effect: Effect,
    facts: &Facts<'_>,
    trace: &mut T,
) -> bool {
    let mut all = Truth::True;
    for condition in conditions {
        let values = facts.values(&condition.key);
        if !facts.work.spend(work_of(condition, &values)) {
            return false; // E-1: whatever comes of it, there will be no answer
        }
        let holds = evaluate(condition, &values, facts);
        trace.condition(facts, condition, &values, holds);
        all = all.and(holds);
        if all == Truth::False && !T::LISTENS {
            return false;
        }
    }
    match (all, effect) {
        (Truth::True, _) => true,
        // C-3: what is not clear allows nothing, and denies.
        (Truth::Indeterminate, effect) => effect == Effect::Deny,
        (Truth::False, _) => false,
    }
}

/// Returns how strongly the statement matches the principal (P-1 to P-11).
#[inline]
pub fn strength_of(statement: &Statement, facts: &Facts<'_>) -> Option<Strength> {
    match &statement.principal {
        None => Some(Strength::Direct), // P-11
        Some(element) => strength(
            element,
            statement.effect,
            &facts.caller,
            &facts.request.action,
        ),
    }
}

/// Returns the units for evaluating `condition`, without those that its texts and patterns pay themselves: its key is
/// looked up, and each value of the request is read and compared with the values that a search does not rule out.
fn work_of(condition: &Condition, values: &Values<'_>) -> usize {
    let n_steps = match &condition.operand {
        Operand::StringEquals(_)
        | Operand::StringEqualsIgnoreCase(_)
        | Operand::StringLike(_)
        | Operand::Arn(_) => 0,
        others => others.n_steps() / 2,
    };
    let of_value = |n_bytes: usize| units_of(n_bytes) + n_bytes / 16 + n_steps;
    3 + condition.key.folded().len() / 64
        + match values {
            Values::Absent | Values::Unknown | Values::Uncertain => 0,
            Values::One(value) => of_value(value.len()),
            Values::Many(values) => values.iter().map(|value| of_value(value.len())).sum(),
        }
}

/// Returns whether the statement matches the resource (M-12, M-20, V-9).
#[inline]
fn is_resource(statement: &Statement, facts: &Facts<'_>) -> bool {
    let resource = &facts.request.resource;
    let n_patterns = statement
        .resources
        .as_ref()
        .map_or(0, |listed| listed.entries().len());
    if !facts
        .work
        .spend(n_patterns * units_of(resource.as_str().len()))
    {
        return false;
    }
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
