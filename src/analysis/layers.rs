//! The policies in play for many questions at once, as areas: what each layer allows, and what is denied.

use std::sync::Arc;

use super::area::{Area, Common, Open};
use crate::compile::snapshot::Policy;
use crate::engine::decide::{Verdicts, combine};
use crate::engine::decision::StatementRef;
use crate::engine::facts::Facts;
use crate::engine::known::Scope;
use crate::engine::layer::{Source, Verdict, strength_of};
use crate::engine::plan::{Insider, Plan, Standing};
use crate::engine::principal::{Strength, cannot_assume};
use crate::engine::work::Work;
use crate::language::condition::operator::Truth;
use crate::language::document::{Effect, Listed, PolicyType, Statement};
use crate::language::pattern::{ActionPattern, Reach, Resolved, ResourcePattern, Syntax};
use crate::name::{ActionKind, Principal};

pub mod alike;

/// What the policies in play say, without the exact question.
pub struct Layers {
    /// What each level of control policies allows.
    levels: Vec<Allowed>,
    /// What the resource side allows, and how strongly.
    resource: Vec<(Strength, Area)>,
    identity: Allowed,
    /// `None` if the type is not in play.
    permissions_boundary: Option<Allowed>,
    session: Option<Allowed>,
    /// What any of them denies.
    denied: Vec<Arc<Area>>,
}

/// What one layer allows.
#[derive(Clone, Debug)]
enum Allowed {
    Everything,
    Areas(Vec<Area>),
}

/// What must allow for access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    resource: Option<Strength>,
    identity: bool,
    permissions_boundary: bool,
    session: bool,
}

/// The most areas that one area becomes beside a further layer. Beyond, the layer becomes an exception.
const MAX_PARTS: usize = 16;
/// The most areas that all areas together become beside a further layer. Each layer multiplies them.
const MAX_AREAS: usize = 1_024;
/// The units for an exception. They bound the memory of a list: an exception takes some hundred bytes.
const EXCEPTION: usize = 64;

impl Layers {
    /// Returns what the policies in play for the question of `facts` say. If the scope is many resources, the policies
    /// attached to them are left out; [`Self::attach`] adds them.
    pub fn of(facts: &Facts<'_>, scope: Scope<'_>) -> Self {
        let mut layers = Self {
            levels: Vec::new(),
            resource: Vec::new(),
            identity: Allowed::Areas(Vec::new()),
            permissions_boundary: None,
            session: None,
            denied: Vec::new(),
        };
        let is_of_trust = facts.request.action.kind() != ActionKind::Other;
        Plan::with(facts, false, |plan| {
            for (policy_type, source) in plan.steps() {
                match policy_type {
                    PolicyType::ServiceControl | PolicyType::ResourceControl => {
                        let allowed = layers.allowed(source, facts, scope);
                        layers.levels.push(allowed);
                    }
                    PolicyType::Resource if !scope.one_resource => {}
                    PolicyType::Resource | PolicyType::Trust => {
                        // T-1, T-50: only the trust policy can allow, and what is attached to the role can deny.
                        let counts = (policy_type == PolicyType::Trust || !is_of_trust)
                            && !is_stranger(facts);
                        if let (Verdict::Allow(strength), true) =
                            (source.verdict_otherwise(), counts)
                        {
                            layers.resource.push((strength, Area::default()));
                        }
                        each_area(source, facts, scope, |found| {
                            layers.add_resource(found, counts, |area| vec![area]);
                        });
                    }
                    PolicyType::Identity => {
                        layers.identity = match layers.allowed(source, facts, scope) {
                            _ if cannot_assume(&facts.caller, &facts.request.action) => {
                                Allowed::Areas(Vec::new())
                            }
                            allowed => allowed,
                        };
                    }
                    PolicyType::PermissionsBoundary => {
                        let allowed = layers.allowed(source, facts, scope);
                        join(&mut layers.permissions_boundary, allowed);
                    }
                    PolicyType::Session => {
                        let allowed = layers.allowed(source, facts, scope);
                        join(&mut layers.session, allowed); // E-47
                    }
                }
            }
        });
        layers
    }

    /// Adds a policy that is attached to the resources of `scopes` (E-10).
    pub fn attach(
        &mut self,
        policy: &Arc<Policy>,
        scopes: &[ResourcePattern],
        facts: &Facts<'_>,
        scope: Scope<'_>,
    ) {
        let attached = Area {
            resources: Some(scopes.to_vec()),
            ..Area::default()
        };
        let confined = |area: Area| match area.common(&attached) {
            Common::Nothing => Vec::new(),
            Common::Area(area) => vec![*area],
            Common::Unwritable => {
                let mut area = area;
                area.except.push(Arc::new(Area {
                    not_resources: scopes.to_vec(),
                    ..Area::default()
                }));
                vec![area]
            }
        };
        for (index, statement) in policy.statements.iter().enumerate() {
            if facts.work.spend(2)
                && let Some(found) = area_of(policy, index, statement, facts, scope)
            {
                self.add_resource(found, true, confined);
            }
        }
    }

    fn add_resource(&mut self, found: Found, counts: bool, confined: impl Fn(Area) -> Vec<Area>) {
        let (effect, strength, area) = found;
        match effect {
            Effect::Deny => {
                let areas = confined(area).into_iter();
                self.denied.extend(areas.map(Arc::new));
            }
            Effect::Allow if counts => {
                let areas = confined(area).into_iter();
                self.resource.extend(areas.map(|area| (strength, area)));
            }
            Effect::Allow => {}
        }
    }

    /// Returns what a source allows, and notes what it denies.
    fn allowed(&mut self, source: &Source<'_>, facts: &Facts<'_>, scope: Scope<'_>) -> Allowed {
        let mut allowed = Vec::new();
        each_area(source, facts, scope, |(effect, _, area)| match effect {
            Effect::Deny => self.denied.push(Arc::new(area)),
            Effect::Allow => allowed.push(area),
        });
        match source.verdict_otherwise() {
            Verdict::Allow(_) => Allowed::Everything,
            _ => Allowed::Areas(allowed),
        }
    }

    /// Returns the areas in which access is granted. `is_required` says whether a resource policy must allow too (E-45).
    pub fn granted(&self, facts: &Facts<'_>, is_required: bool) -> Granted {
        let standing = match Standing::of(facts) {
            Standing::Insider(insider) => Standing::Insider(Insider {
                resource_policy_required: is_required,
                ..insider
            }),
            outsider => outsider,
        };
        let mut granted = Granted::default();
        for need in self.needs(standing) {
            let areas = self.fulfilling(need, facts.work);
            match need.resource {
                Some(_) => granted.by_resource.extend(areas),
                None => granted.by_identity.extend(areas),
            }
        }
        granted
    }

    /// Returns the least that must allow, in all ways there are (5.5).
    fn needs(&self, standing: Standing) -> Vec<Need> {
        let strengths = [
            None,
            Some(Strength::Account),
            Some(Strength::Entity),
            Some(Strength::Direct),
        ];
        // PERF: most resources have no policy, and then nothing comes of what needs one.
        let n_strengths = if self.resource.is_empty() {
            1
        } else {
            strengths.len()
        };
        let mut sufficient: Vec<Need> = Vec::new();
        for resource in strengths.into_iter().take(n_strengths) {
            for bits in 0..8u8 {
                let need = Need {
                    resource,
                    identity: bits & 1 != 0,
                    permissions_boundary: bits & 2 != 0,
                    session: bits & 4 != 0,
                };
                let is_impossible = need.permissions_boundary
                    && self.permissions_boundary.is_none()
                    || need.session && self.session.is_none();
                if !is_impossible && combine(standing, &self.verdicts(need)).is_allow() {
                    sufficient.push(need);
                }
            }
        }
        let is_less = |one: &Need, other: &Need| {
            one != other
                && one.resource <= other.resource
                && one.identity <= other.identity
                && one.permissions_boundary <= other.permissions_boundary
                && one.session <= other.session
        };
        let all = sufficient.clone();
        sufficient.retain(|need| !all.iter().any(|other| is_less(other, need)));
        sufficient
    }

    fn verdicts(&self, need: Need) -> Verdicts {
        let allows = |is_in_play: bool, does: bool| match (is_in_play, does) {
            (false, _) => Verdict::NotInPlay,
            (true, true) => Verdict::Allow(Strength::Direct),
            (true, false) => Verdict::ImplicitDeny,
        };
        Verdicts {
            resource_control: Verdict::NotInPlay,
            service_control: Verdict::NotInPlay,
            resource: need.resource.map_or(Verdict::ImplicitDeny, Verdict::Allow),
            identity: allows(true, need.identity),
            permissions_boundary: allows(
                self.permissions_boundary.is_some(),
                need.permissions_boundary,
            ),
            session: allows(self.session.is_some(), need.session),
        }
    }

    /// E-1: if it is too much work, areas are missing, and they do not count.
    fn fulfilling(&self, need: Need, work: &Work) -> Vec<Area> {
        let mut others: Vec<&Allowed> = Vec::new();
        let mut areas: Vec<Area> = match (need.resource, &self.identity) {
            (Some(least), _) => {
                let strong = self
                    .resource
                    .iter()
                    .filter(|(strength, _)| *strength >= least);
                if need.identity {
                    others.push(&self.identity);
                }
                strong.map(|(_, area)| area.clone()).collect()
            }
            (None, Allowed::Areas(areas)) if need.identity => areas.clone(),
            (None, _) => vec![Area::default()],
        };
        let boundary = self.permissions_boundary.as_ref();
        others.extend(boundary.filter(|_| need.permissions_boundary));
        others.extend(self.session.as_ref().filter(|_| need.session));
        others.extend(&self.levels);
        for other in others {
            areas = within(areas, other, work);
        }
        areas.retain_mut(|area| {
            let mut denied = self.denied.iter();
            denied.all(|denied| {
                let n_before = area.except.len();
                let is_left = work.spend(pairs(area, denied)) && area.take_away(denied);
                is_left && (area.except.len() == n_before || work.spend(EXCEPTION))
            })
        });
        areas
    }
}

/// Where access is granted.
#[derive(Debug, Default)]
pub struct Granted {
    /// By an Allow of a resource policy, alone or with others.
    pub by_resource: Vec<Area>,
    /// Without any.
    pub by_identity: Vec<Area>,
}

/// T-21: a provider is registered in the account of the roles that trust it.
fn is_stranger(facts: &Facts<'_>) -> bool {
    match facts.caller.principal {
        Principal::Provider(provider) => facts.owner != Some(provider.account()),
        _ => false,
    }
}

fn join(layer: &mut Option<Allowed>, more: Allowed) {
    *layer = Some(match (layer.take(), more) {
        (Some(Allowed::Areas(mut areas)), Allowed::Areas(more)) => {
            areas.extend(more);
            Allowed::Areas(areas)
        }
        (None, more) => more,
        _ => Allowed::Everything,
    });
}

/// Returns the units for comparing two areas.
fn pairs(one: &Area, other: &Area) -> usize {
    2 + one.n_patterns() * other.n_patterns() / 4
}

/// Returns what of `areas` a further layer allows too.
fn within(areas: Vec<Area>, layer: &Allowed, work: &Work) -> Vec<Area> {
    let Allowed::Areas(allowed) = layer else {
        return areas;
    };
    let mut found = Vec::new();
    for mut area in areas {
        let units = allowed.iter().map(|one| pairs(&area, one)).sum();
        if !work.spend(units) {
            break;
        }
        if let Some(whole) = allowed
            .iter()
            .find(|one| one.includes(&area, Effect::Allow))
        {
            area.statements.extend(whole.statements.iter().cloned());
            found.push(area);
            continue;
        }
        let meeting: Vec<&Area> = allowed.iter().filter(|one| one.meets(&area)).collect();
        let mut parts = Vec::new();
        let is_written = meeting.len() <= MAX_PARTS
            && (meeting.len() < 2 || found.len() + meeting.len() <= MAX_AREAS)
            && meeting.iter().all(|one| match area.common(one) {
                Common::Nothing => true,
                Common::Area(part) => {
                    parts.push(*part);
                    true
                }
                Common::Unwritable => false,
            });
        if is_written {
            found.extend(parts);
        } else {
            let meeting = meeting.into_iter().cloned().collect();
            area.except.push(Arc::new(Area::outside(meeting)));
            found.push(area);
        }
    }
    found
}

/// What a statement covers: its effect, how strongly it names the caller, and the questions.
type Found = (Effect, Strength, Area);

/// Calls `visit` with what each statement of a source covers, as far as it can apply to the caller.
fn each_area(
    source: &Source<'_>,
    facts: &Facts<'_>,
    scope: Scope<'_>,
    mut visit: impl FnMut(Found),
) {
    if scope.one_resource {
        // PERF: of one action and one resource most statements say nothing.
        source.each_candidate(facts, |policy, index, statement| {
            area_of(policy, index, statement, facts, scope)
                .into_iter()
                .for_each(&mut visit);
        });
        return;
    }
    for policy in source.policies() {
        for (index, statement) in policy.statements.iter().enumerate() {
            if facts.work.spend(2) {
                area_of(policy, index, statement, facts, scope)
                    .into_iter()
                    .for_each(&mut visit);
            }
        }
    }
}

/// Returns what a statement covers. If the scope is one resource, it speaks of the action.
fn area_of(
    policy: &Arc<Policy>,
    index: usize,
    statement: &Statement,
    facts: &Facts<'_>,
    scope: Scope<'_>,
) -> Option<Found> {
    let strength = strength_of(statement, facts)?;
    let mut area = Area::default();
    let can_apply = add_actions(&mut area, statement, scope)
        && add_resources(&mut area, statement, facts, scope)?
        && add_conditions(&mut area, statement, facts, scope)
        && area.tidy();
    if !can_apply {
        return None;
    }
    area.statements.push(StatementRef {
        policy: Arc::clone(policy),
        index,
    });
    Some((statement.effect, strength, area))
}

/// Adds the actions of a statement. Returns whether there are any.
fn add_actions(area: &mut Area, statement: &Statement, scope: Scope<'_>) -> bool {
    if scope.one_resource {
        return true; // there is one action, of which it speaks
    }
    let is_everything = |pattern: &ActionPattern| pattern.service().is_none();
    match &statement.actions {
        Listed::Any(patterns) => {
            area.actions = (!patterns.iter().any(is_everything)).then(|| patterns.to_vec());
            true
        }
        Listed::Not(patterns) => {
            area.not_actions = patterns.to_vec();
            !patterns.iter().any(is_everything)
        }
    }
}

/// Adds the resources of a statement. Returns `None` if the statement cannot apply.
fn add_resources(
    area: &mut Area,
    statement: &Statement,
    facts: &Facts<'_>,
    scope: Scope<'_>,
) -> Option<bool> {
    let is_allow = statement.effect == Effect::Allow;
    let Some(listed) = &statement.resources else {
        return Some(true); // E-12
    };
    let (is_not, reach) = match (listed, statement.effect) {
        (Listed::Any(_), Effect::Allow) => (false, Reach::Narrow),
        (Listed::Any(_), Effect::Deny) => (false, Reach::Broad),
        (Listed::Not(_), Effect::Allow) => (true, Reach::Broad),
        (Listed::Not(_), Effect::Deny) => (true, Reach::Narrow),
    };
    let mut patterns = Vec::new();
    for pattern in listed.entries() {
        let is_settled = facts.is_settled(pattern, scope);
        if scope.one_resource {
            let resource = &facts.request.resource;
            if is_settled {
                match (pattern.matches(resource, reach, facts), is_not) {
                    (Some(true), false) => return Some(true),
                    (Some(true), true) => return None,
                    // A variable without a value must not widen a grant.
                    (None, true) if is_allow => return None,
                    (Some(false) | None, _) => continue,
                }
            }
            // No value of its variables makes this pattern cover the resource. An index leaves it out too, and a list must
            // not depend on whether there is one.
            if !is_not && !pattern.may_cover(resource) {
                continue;
            }
        }
        if !is_settled || pattern.variables().next().is_none() {
            if !is_not && pattern.is_everything() {
                return Some(true);
            }
            patterns.push(rewritten(&pattern.written()).unwrap_or_else(|| pattern.clone()));
            continue;
        }
        match pattern.resolved(facts) {
            Resolved::Text(text) => {
                patterns.push(rewritten(&text).unwrap_or_else(|| pattern.clone()));
            }
            Resolved::Nothing => {}
            Resolved::LacksValue if is_not && is_allow => return None,
            Resolved::LacksValue => {}
        }
    }
    if is_not {
        if patterns.iter().any(ResourcePattern::is_everything) {
            return None;
        }
        area.not_resources = patterns;
    } else if patterns.is_empty() {
        return None;
    } else {
        area.resources = Some(patterns);
    }
    Some(true)
}

fn rewritten(text: &str) -> Option<ResourcePattern> {
    let syntax = Syntax {
        wildcards: true,
        variables: true,
    };
    ResourcePattern::parse(text, syntax).ok()
}

/// Adds the conditions that only a question can decide. Returns whether the others hold (C-3).
fn add_conditions(
    area: &mut Area,
    statement: &Statement,
    facts: &Facts<'_>,
    scope: Scope<'_>,
) -> bool {
    let conditions = &statement.conditions;
    for (index, condition) in conditions.iter().enumerate() {
        let units = 4 + condition.operand.n_steps();
        if !facts.work.spend(units) {
            return false; // E-1: what was found out does not count
        }
        match (facts.decided(condition, scope), statement.effect) {
            (Some(Truth::True), _) | (Some(Truth::Indeterminate), Effect::Deny) => {}
            (Some(Truth::False), _) | (Some(Truth::Indeterminate), Effect::Allow) => return false,
            (None, _) => area.conditions.push(Open::of(conditions, index)),
        }
    }
    true
}
