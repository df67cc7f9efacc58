//! The listener that notes every step.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::advice::advice;
use super::{
    Cause, ConditionResult, CrossAccount, Element, ElementResult, Explanation, LevelResult,
    Redacted, Source, SourceType, StatementResult, TypeResult, element,
};
use crate::compile::snapshot::{Account, Policy};
use crate::engine::decide::{Verdicts, combine, settled_by};
use crate::engine::decision::{Reason, StatementRef};
use crate::engine::facts::Facts;
use crate::engine::layer::Verdict;
use crate::engine::plan::{Insider, ORDER, Standing};
use crate::engine::principal::{Strength, cannot_assume};
use crate::engine::request::Request;
use crate::engine::trace::{Outcome, Trace};
use crate::language::condition::Condition;
use crate::language::condition::operator::{Truth, Values};
use crate::language::document::{Effect, PolicyType, Statement};
use crate::language::pattern::ResourcePattern;

/// Notes every step of one decision.
pub(super) struct Recorder<'r> {
    redacted: &'r Redacted,
    /// The action as it was asked for.
    action: &'r str,
    /// The number of bytes of the statements' texts so far.
    n_bytes: usize,
    n_left_out: u32,
    /// The results so far of the statement that is being evaluated.
    current: Current,
    /// The number of policies of the current layer that were evaluated so far.
    n_policies: usize,
    /// The first statement of the current layer.
    layer_start: usize,
    levels: Vec<LevelResult>,
    missing: BTreeSet<String>,
    indeterminate: BTreeSet<(String, Cause)>,
    /// T-9: the identity side of this caller cannot allow this action.
    cannot_assume: bool,
    principal_account: Option<String>,
    resource_account: Option<String>,
    principal_nodes: Vec<String>,
    resource_nodes: Vec<String>,
    per_type: Vec<TypeResult>,
    statements: Vec<StatementResult>,
    outcome: Option<(Standing, Verdicts)>,
}

#[derive(Default)]
struct Current {
    is_action: bool,
    strength: Option<Strength>,
    is_resource: bool,
    conditions: Vec<ConditionResult>,
    /// Keys of conditions that are absent, and those that are indeterminate.
    missing: Vec<String>,
    indeterminate: Vec<(String, Cause)>,
}

impl<'r> Recorder<'r> {
    pub(super) fn new(redacted: &'r Redacted, action: &'r str) -> Self {
        Self {
            redacted,
            action,
            n_bytes: 0,
            n_left_out: 0,
            current: Current::default(),
            n_policies: 0,
            layer_start: 0,
            levels: Vec::new(),
            missing: BTreeSet::new(),
            indeterminate: BTreeSet::new(),
            cannot_assume: false,
            principal_account: None,
            resource_account: None,
            principal_nodes: Vec::new(),
            resource_nodes: Vec::new(),
            per_type: Vec::new(),
            statements: Vec::new(),
            outcome: None,
        }
    }

    /// Puts together what was heard.
    pub(super) fn finish(mut self, request: &Request, reason: Reason) -> Explanation {
        let (mut blocked_by, mut cross_account, mut obstacles) = (Vec::new(), None, Vec::new());
        if let Some((standing, verdicts)) = self.outcome {
            mark_deciding(&mut self.statements, standing, reason);
            let core = self.core(verdicts);
            if combine(standing, &core).is_allow() {
                let blocks = |policy_type: &PolicyType| {
                    let mut with_it = core;
                    *of_mut(&mut with_it, *policy_type) = of(&verdicts, *policy_type);
                    !combine(standing, &with_it).is_allow()
                };
                blocked_by.extend(ORDER.into_iter().filter(blocks));
            }
            cross_account = sides(standing, &verdicts);
            obstacles = self.obstacles(standing, verdicts);
        }
        let mut explanation = Explanation {
            at: request.at,
            principal_account: self.principal_account,
            resource_account: self.resource_account,
            per_type: self.per_type,
            cross_account,
            blocked_by,
            missing_context: self.missing.into_iter().collect(),
            indeterminate: self.indeterminate.into_iter().collect(),
            to_allow: Vec::new(),
            statements: self.statements,
            n_left_out: self.n_left_out,
        };
        explanation.to_allow = advice(reason, &explanation, request, self.action, &obstacles);
        explanation
    }

    /// Returns the verdicts without those that only restrict (S-9): guardrails are not in play, and the Denies of
    /// identity and resource policies do not count.
    fn core(&self, verdicts: Verdicts) -> Verdicts {
        let free = Verdict::Allow(Strength::Direct);
        Verdicts {
            resource_control: Verdict::NotInPlay,
            service_control: Verdict::NotInPlay,
            resource: self.without_denies(PolicyType::Resource, verdicts.resource),
            identity: self.without_denies(PolicyType::Identity, verdicts.identity),
            permissions_boundary: Verdict::NotInPlay,
            session: free, // E-49: a federated user needs one
        }
    }

    /// Returns the verdict that the type would have if its Denies did not apply.
    fn without_denies(&self, policy_type: PolicyType, verdict: Verdict) -> Verdict {
        if verdict != Verdict::ExplicitDeny {
            return verdict;
        }
        if policy_type == PolicyType::Identity && self.cannot_assume {
            return Verdict::ImplicitDeny;
        }
        let levels = self
            .per_type
            .iter()
            .find(|result| result.policy_type == policy_type)
            .map_or(&[][..], |result| &result.levels);
        if !levels.is_empty() {
            // A level that denies may also lack an Allow. This shows only once the Deny is removed.
            let is_silent = |level: &LevelResult| level.verdict == Verdict::ImplicitDeny;
            return if levels.iter().any(is_silent) {
                Verdict::ImplicitDeny
            } else {
                Verdict::Allow(Strength::Direct)
            };
        }
        let strengths = self
            .statements
            .iter()
            .filter(|statement| statement.source.layer() == Some(policy_type) && statement.counts)
            .filter(|statement| statement.effect == Effect::Allow)
            .filter_map(|statement| match statement.outcome {
                Outcome::Applies(strength) => Some(strength),
                _ => None,
            });
        strengths
            .max()
            .map_or(Verdict::ImplicitDeny, Verdict::Allow)
    }

    /// Returns the types that stand in the way of an allow, in the order in which they would deny, each with its
    /// verdict.
    fn obstacles(&self, standing: Standing, mut verdicts: Verdicts) -> Vec<(PolicyType, Verdict)> {
        let mut obstacles = Vec::new();
        // Each type is in the way at most twice: with a Deny, and with a missing Allow.
        for _ in 0..2 * ORDER.len() {
            let Some(policy_type) = denied_by(combine(standing, &verdicts)) else {
                break;
            };
            let verdict = of(&verdicts, policy_type);
            obstacles.push((policy_type, verdict));
            *of_mut(&mut verdicts, policy_type) = match verdict {
                Verdict::ExplicitDeny => self.without_denies(policy_type, verdict),
                _ => Verdict::Allow(Strength::Direct),
            };
        }
        obstacles
    }

    /// Returns the place of the statement that was evaluated last and the entity that its policy is attached to.
    fn source(&self, facts: &Facts<'_>, statement: &StatementRef) -> Source {
        let principal = || element::clipped(&facts.request.principal.to_string());
        let resource = || element::clipped(facts.request.resource.as_str());
        let (source_type, attached_to) = match statement.policy.policy_type {
            PolicyType::Identity => self.identity_source(facts, &statement.policy),
            PolicyType::PermissionsBoundary => (SourceType::Boundary, entity_arn(facts)),
            PolicyType::Session if statement.policy.origin.is_managed => {
                (SourceType::SessionManaged, principal())
            }
            PolicyType::Session => (SourceType::SessionInline, principal()),
            PolicyType::Resource => (SourceType::Resource, resource()),
            PolicyType::Trust => (SourceType::Trust, resource()),
            PolicyType::ServiceControl => {
                (SourceType::ServiceControl, self.node(&self.principal_nodes))
            }
            PolicyType::ResourceControl => {
                (SourceType::ResourceControl, self.node(&self.resource_nodes))
            }
        };
        Source::of(statement, source_type, attached_to)
    }

    /// Returns whether the identity policy is the principal's own or comes from one of its groups, and the entity that
    /// has it. The policies of groups follow the principal's own.
    fn identity_source(&self, facts: &Facts<'_>, policy: &Policy) -> (SourceType, String) {
        let is_managed = policy.origin.is_managed;
        let Some(entity) = facts.caller.entity else {
            return (SourceType::UserInline, String::new()); // of a user of whom nothing is known
        };
        let n_shared: usize = entity.groups.iter().map(|group| group.n_policies).sum();
        let own = entity.identity.and_then(|id| facts.snapshot.set(id));
        let n_policies = own.map_or(0, |set| set.policies().len());
        let mut behind = (self.n_policies + n_shared).saturating_sub(n_policies);
        for group in &entity.groups {
            if behind > 0 && behind <= group.n_policies {
                let source_type = if is_managed {
                    SourceType::GroupManaged
                } else {
                    SourceType::GroupInline
                };
                return (source_type, group.name.to_string());
            }
            behind = behind.saturating_sub(group.n_policies);
        }
        let source_type = match (&entity.role, is_managed) {
            (None, false) => SourceType::UserInline,
            (None, true) => SourceType::UserManaged,
            (Some(_), false) => SourceType::RoleInline,
            (Some(_), true) => SourceType::RoleManaged,
        };
        (source_type, entity.arn.as_str().to_owned())
    }

    fn node(&self, nodes: &[String]) -> String {
        nodes.get(self.levels.len()).cloned().unwrap_or_default()
    }
}

/// The number of statements that are listed in detail.
const MAX_STATEMENTS: usize = 1_000;
/// The number of bytes that the texts of these statements may have.
const MAX_BYTES: usize = 1024 * 1024;

impl Recorder<'_> {
    /// Returns whether there is no room for more details.
    fn is_full(&self) -> bool {
        self.statements.len() >= MAX_STATEMENTS || self.n_bytes >= MAX_BYTES
    }
}

impl Trace for Recorder<'_> {
    const LISTENS: bool = true;

    fn begin(&mut self, facts: &Facts<'_>) {
        self.cannot_assume = cannot_assume(&facts.caller, &facts.request.action);
        self.principal_account = facts.caller.account.map(|account| account.id.to_string());
        self.resource_account = facts.owner.map(str::to_owned);
        self.principal_nodes = nodes(facts.caller.account);
        self.resource_nodes = nodes(facts.owner_account);
    }

    fn policy(&mut self, _: &Arc<Policy>) {
        self.n_policies += 1;
    }

    fn action(&mut self, matches: bool) {
        self.current.is_action = matches;
    }

    fn principal(&mut self, strength: Option<Strength>) {
        self.current.strength = strength;
    }

    fn resource(&mut self, matches: bool) {
        self.current.is_resource = matches;
    }

    fn condition(
        &mut self,
        facts: &Facts<'_>,
        condition: &Condition,
        values: &Values<'_>,
        holds: Truth,
    ) {
        let key = condition.key.folded();
        if *values == Values::Absent {
            self.current.missing.push(key.to_owned());
        }
        for variable in condition.operand.variables() {
            if facts.values(&variable.key) == Values::Absent {
                self.current.missing.push(variable.key.folded().to_owned());
            }
        }
        if self.is_full() {
            return;
        }
        let heard = element::condition(condition, facts, values, holds, self.redacted);
        if let Some(cause) = heard.indeterminate {
            self.current.indeterminate.push((key.to_owned(), cause));
        }
        // With what the statement adds there may soon be no room.
        self.n_bytes += heard.n_bytes();
        self.current.conditions.push(heard);
    }

    fn statement(&mut self, facts: &Facts<'_>, statement: &StatementRef, outcome: Outcome) {
        let heard = std::mem::take(&mut self.current);
        let Some(written) = statement.policy.statements.get(statement.index) else {
            return;
        };
        if self.is_full() {
            // Statements that apply are still listed, because one of them decided.
            if !matches!(outcome, Outcome::Applies(_))
                || self.statements.len() >= 2 * MAX_STATEMENTS
            {
                self.n_left_out += 1;
                return;
            }
            self.statements.push(StatementResult {
                source: self.source(facts, statement),
                effect: written.effect,
                outcome,
                is_deciding: false,
                counts: true,
                principal: None,
                strength: heard.strength,
                action: ElementResult::empty(Element::Action, heard.is_action),
                resource: None,
                conditions: heard.conditions,
            });
            return;
        }
        let resource = element::resource(written, facts, heard.is_resource, self.redacted);
        // S-7: a statement is near too if only a missing variable keeps it from matching the resource.
        let is_near = resource
            .as_ref()
            .is_some_and(|element| element.failed_because_missing);
        if heard.is_action && heard.strength.is_some() && (heard.is_resource || is_near) {
            self.missing.extend(heard.missing);
            self.missing.extend(missing_in_resource(written, facts));
            self.indeterminate.extend(heard.indeterminate);
        }
        let result = StatementResult {
            source: self.source(facts, statement),
            effect: written.effect,
            outcome,
            is_deciding: false,
            counts: true,
            principal: element::principal(written, facts, heard.strength.is_some()),
            strength: heard.strength,
            action: element::action(written, self.action, heard.is_action),
            resource,
            conditions: heard.conditions,
        };
        let elements = result.principal.iter().chain(&result.resource);
        let elements = elements.chain([&result.action]).map(ElementResult::n_bytes);
        self.n_bytes += elements.sum::<usize>() + result.source.attached_to.len();
        self.n_bytes += size_of::<StatementResult>();
        self.statements.push(result);
    }

    fn set_aside_allows(&mut self) {
        for statement in self.statements.iter_mut().skip(self.layer_start) {
            statement.counts &= statement.effect == Effect::Deny;
        }
    }

    fn level(&mut self, verdict: Verdict) {
        let nodes = match ORDER.get(self.per_type.len()) {
            Some(PolicyType::ResourceControl) => &self.resource_nodes,
            _ => &self.principal_nodes,
        };
        let node = self.node(nodes);
        // A level without any policy allows nothing (E-21).
        let verdict = match verdict {
            Verdict::NotInPlay => Verdict::ImplicitDeny,
            other => other,
        };
        self.levels.push(LevelResult { node, verdict });
    }

    fn layer(&mut self, policy_type: PolicyType, verdict: Verdict) {
        self.per_type.push(TypeResult {
            policy_type,
            verdict,
            levels: std::mem::take(&mut self.levels),
        });
        self.n_policies = 0;
        self.layer_start = self.statements.len();
    }

    fn decided(&mut self, standing: Standing, verdicts: &Verdicts, _: Reason) {
        self.outcome = Some((standing, *verdicts));
    }
}

fn entity_arn(facts: &Facts<'_>) -> String {
    let entity = facts.caller.entity;
    entity.map_or_else(String::new, |entity| entity.arn.as_str().to_owned())
}

/// Returns the nodes of the organization from its root down to the account.
fn nodes(account: Option<&Account>) -> Vec<String> {
    let Some(account) = account else {
        return Vec::new();
    };
    let path = account
        .membership
        .as_ref()
        .map_or("", |member| &member.path);
    let above = path.split('/').skip(1).filter(|node| !node.is_empty());
    above
        .map(str::to_owned)
        .chain([account.id.to_string()])
        .collect()
}

fn missing_in_resource(statement: &Statement, facts: &Facts<'_>) -> Vec<String> {
    let listed = statement.resources.iter();
    let patterns = listed.flat_map(|listed| listed.entries());
    patterns
        .flat_map(ResourcePattern::variables)
        .filter(|variable| facts.values(&variable.key) == Values::Absent)
        .map(|variable| variable.key.folded().to_owned())
        .collect()
}

/// Marks the statements that determined the decision (S-3): all Denies that apply, or the Allows that granted.
fn mark_deciding(statements: &mut [StatementResult], standing: Standing, reason: Reason) {
    let is_denied = denied_by(reason).is_some();
    let by = settled_by(reason, standing);
    // E-45: where the resource policy has to allow too, its Allow was needed.
    let needs_resource = matches!(
        standing,
        Standing::Insider(Insider {
            resource_policy_required: true,
            ..
        })
    );
    let least = match reason {
        Reason::AllowResourceDirect
        | Reason::AllowService
        | Reason::AllowAnonymous
        | Reason::AllowFederated => Strength::Direct,
        Reason::AllowResourceEntity => Strength::Entity,
        _ => Strength::Account,
    };
    for statement in statements {
        let Outcome::Applies(strength) = statement.outcome else {
            continue;
        };
        let layer = statement.source.layer();
        let has_settled = by.iter().any(|policy_type| layer == Some(*policy_type));
        statement.is_deciding = match statement.effect {
            Effect::Deny => is_denied,
            Effect::Allow if is_denied || !statement.counts => false,
            Effect::Allow if layer == Some(PolicyType::Resource) => {
                strength >= least
                    && (has_settled || (needs_resource && reason == Reason::AllowIdentity))
            }
            Effect::Allow => has_settled,
        };
    }
}

/// Returns the policy type that a reason to deny names.
fn denied_by(reason: Reason) -> Option<PolicyType> {
    use PolicyType as T;
    use Reason as R;
    match reason {
        R::ExplicitDenyIdentity | R::ImplicitDenyIdentity => Some(T::Identity),
        R::ExplicitDenyResource | R::ImplicitDenyResource => Some(T::Resource),
        R::ExplicitDenyPermissionsBoundary | R::ImplicitDenyPermissionsBoundary => {
            Some(T::PermissionsBoundary)
        }
        R::ExplicitDenySession | R::ImplicitDenySession => Some(T::Session),
        R::ExplicitDenyServiceControl | R::ImplicitDenyServiceControl => Some(T::ServiceControl),
        R::ExplicitDenyResourceControl | R::ImplicitDenyResourceControl => Some(T::ResourceControl),
        _ => None,
    }
}

fn of(verdicts: &Verdicts, policy_type: PolicyType) -> Verdict {
    *of_mut(&mut { *verdicts }, policy_type)
}

fn of_mut(verdicts: &mut Verdicts, policy_type: PolicyType) -> &mut Verdict {
    match policy_type {
        PolicyType::ResourceControl => &mut verdicts.resource_control,
        PolicyType::ServiceControl => &mut verdicts.service_control,
        PolicyType::Resource | PolicyType::Trust => &mut verdicts.resource,
        PolicyType::Identity => &mut verdicts.identity,
        PolicyType::PermissionsBoundary => &mut verdicts.permissions_boundary,
        PolicyType::Session => &mut verdicts.session,
    }
}

/// Returns the verdict of each side of a question across accounts (S-6). Returns `None` within one account.
fn sides(standing: Standing, verdicts: &Verdicts) -> Option<CrossAccount> {
    let Standing::Insider(Insider {
        same_account: false,
        is_federated,
        ..
    }) = standing
    else {
        return None;
    };
    let side = |grant: Verdict, limits: &[Verdict]| {
        let all = || limits.iter().chain([&grant]);
        if all().any(|verdict| *verdict == Verdict::ExplicitDeny) {
            Verdict::ExplicitDeny
        } else if !matches!(grant, Verdict::Allow(_))
            || all().any(|verdict| *verdict == Verdict::ImplicitDeny)
        {
            Verdict::ImplicitDeny
        } else {
            grant
        }
    };
    let session = match verdicts.session {
        Verdict::NotInPlay if is_federated => Verdict::ImplicitDeny, // E-49
        other => other,
    };
    let limits = [
        verdicts.service_control,
        verdicts.permissions_boundary,
        session,
    ];
    Some(CrossAccount {
        principal_side: side(verdicts.identity, &limits),
        resource_side: side(verdicts.resource, &[verdicts.resource_control]),
    })
}
