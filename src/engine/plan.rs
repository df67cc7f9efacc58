//! Which policies are in play for one question.
//!
//! Section 5.5 of the semantics says which policies are evaluated, and what their verdicts lead to. A [`Plan`] is the
//! answer to the first half, and `decide` is the second. The plan is made once per question; the decision cache takes
//! its key and the expected cost from it, and a decision and an explanation evaluate it step by step.

use std::iter;
use std::ptr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::caller::{Boundary, is_root_user};
use super::decision::Reason;
use super::facts::Facts;
use super::layer::{Source, Verdict};
use super::principal::Strength;
use crate::compile::path::Path;
use crate::compile::snapshot::{Account, Policy, SetId};
use crate::language::document::PolicyType;
use crate::name::{ActionKind, Principal, Resource};

/// The policy types in the order of E-28, which chooses the label where several would deny. A trust policy is the
/// resource policy of its role.
pub(super) const ORDER: [PolicyType; 6] = [
    PolicyType::ResourceControl,
    PolicyType::ServiceControl,
    PolicyType::Resource,
    PolicyType::Identity,
    PolicyType::PermissionsBoundary,
    PolicyType::Session,
];

/// The policies that are evaluated for one question. A policy type without a step is not in play.
pub struct Plan<'a> {
    /// Whether nothing but the principal's own policies matters.
    is_identity_alone: bool,
    /// The principal's own policies.
    ///
    /// PERF: they stand apart from the others, because nearly every question has these and no others.
    identity: Source<'a>,
    /// All others, in the order of [`ORDER`]; the trust policy follows the resource policies.
    others: SmallVec<[Step<'a>; 12]>,
}

/// Policies that are evaluated as one set: one level of control policies, one attached file, or all policies of their
/// type.
struct Step<'a> {
    /// The policy type.
    policy_type: PolicyType,
    /// The origin of the policies.
    source: Source<'a>,
}

/// The facts about the principal on which the combination of the verdicts depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Only a resource policy can allow, for this reason.
    Outsider(Reason),
    /// The principal belongs to an account.
    Insider(Insider),
}

/// The facts about a principal that belongs to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insider {
    /// Whether it is the account that owns the resource.
    pub same_account: bool,
    /// Whether the resource policy must allow too (E-45).
    pub resource_policy_required: bool,
    /// Whether the principal is the root user (E-50).
    pub is_root: bool,
    /// Whether it is a federated user (E-49).
    pub is_federated: bool,
}

impl<'a> Plan<'a> {
    /// Finds the policies in play, and their statements about the action by the indexes, and lends the plan to `then`.
    /// A plan for a listener leaves the indexes out, because it is told of every statement.
    ///
    /// PERF: a plan is large, and returning it would copy it.
    #[inline]
    pub fn with<R>(facts: &Facts<'a>, is_indexed: bool, then: impl FnOnce(&Self) -> R) -> R {
        let mut plan = Self {
            is_identity_alone: false,
            identity: identity(facts),
            others: SmallVec::new(),
        };
        if is_indexed {
            plan.identity.find_path(&facts.request.action);
        }
        if may_have_others(facts) {
            plan.add_others(facts, is_indexed);
        } else {
            plan.is_identity_alone = is_at_home(facts);
        }
        then(&plan)
    }

    #[inline(never)]
    fn add_others(&mut self, facts: &Facts<'a>, is_indexed: bool) {
        self.add_resource_control(facts);
        self.add_service_control(facts);
        self.add_resource(facts);
        self.add_permissions_boundary(facts);
        self.add_session(facts);
        if is_indexed {
            for step in &mut self.others {
                step.source.find_path(&facts.request.action);
            }
        }
    }

    /// Returns all policies in play with their types, those of the principal first.
    pub fn steps(&self) -> impl Iterator<Item = (PolicyType, &Source<'a>)> {
        let others = self.others.iter();
        let others = others.map(|step| (step.policy_type, &step.source));
        iter::once((PolicyType::Identity, &self.identity)).chain(others)
    }

    /// Returns all policies in play, those of the principal first.
    #[inline]
    pub(super) fn sources(&self) -> impl Iterator<Item = &Source<'a>> {
        let others = self.others.iter().map(|step| &step.source);
        iter::once(&self.identity).chain(others)
    }

    /// Returns the principal's own policies.
    pub(super) fn identity(&self) -> &Source<'a> {
        &self.identity
    }

    /// Returns the policies of another type in their order; none if it is not in play.
    #[inline]
    pub(super) fn of_type(&self, policy_type: PolicyType) -> impl Iterator<Item = &Source<'a>> {
        let others = self.others.iter();
        let of_type = others.filter(move |step| step.policy_type == policy_type);
        of_type.map(|step| &step.source)
    }

    /// Returns the identity policies if nothing else can matter.
    ///
    /// PERF: most questions in most stores are of this kind, and putting one verdict together with five that are not in
    /// play takes as long as making it.
    #[inline]
    pub(super) fn identity_alone(&self) -> Option<&Source<'a>> {
        self.is_identity_alone.then_some(&self.identity)
    }

    /// Returns the statements at which the modelled costs so far reach `cost`.
    #[inline]
    pub(super) fn path_at(&self, cost: u32) -> Option<Path<'a>> {
        let mut sum = 0u32;
        let mut paths = self.sources().filter_map(Source::path);
        paths.find(|path| {
            sum = sum.saturating_add(path.cost());
            sum >= cost
        })
    }

    fn add(&mut self, policy_type: PolicyType, source: Source<'a>) {
        self.others.push(Step {
            policy_type,
            source,
        });
    }

    /// Adds the control policies above the resource's account (E-25 to E-27). Every level has the built-in Allow.
    fn add_resource_control(&mut self, facts: &Facts<'a>) {
        let policy_type = PolicyType::ResourceControl;
        let membership = facts
            .owner_account
            .and_then(|owner| owner.membership.as_ref());
        let stored = membership.and_then(|membership| membership.resource_control.as_deref());
        let stored = stored.filter(|_| facts.keeps(policy_type));
        let simulated = facts.simulated(policy_type);
        if (stored.is_none() && simulated.is_empty())
            || facts.caller.is_service_linked()
            || is_asked_by_its_service(facts)
        {
            return;
        }
        self.add_levels(policy_type, stored, facts, Verdict::Allow(Strength::Direct));
    }

    /// Adds the control policies above the principal's account (E-20 to E-24).
    fn add_service_control(&mut self, facts: &Facts<'a>) {
        let policy_type = PolicyType::ServiceControl;
        let caller = &facts.caller;
        let account = caller.account.filter(|account| !account.external);
        let Some(account) =
            account.filter(|_| !caller.is_outsider() && !caller.is_service_linked())
        else {
            return;
        };
        let membership = account.membership.as_ref();
        let stored = membership.and_then(|membership| membership.service_control.as_deref());
        let kept = stored.filter(|_| facts.keeps(policy_type));
        let simulated = facts.request.simulated.as_ref();
        let levels = simulated.map_or(&[][..], |simulated| simulated.levels());
        let add_further = |plan: &mut Self| {
            for level in levels {
                plan.add(policy_type, Source::added(level));
            }
        };
        if kept.is_none() && facts.simulated(policy_type).is_empty() {
            return add_further(self);
        }
        // Where the store has nothing to add to, FullAWSAccess stands beside what is simulated.
        let otherwise = if stored.is_none() && facts.keeps(policy_type) {
            Verdict::Allow(Strength::Direct)
        } else {
            Verdict::ImplicitDeny
        };
        self.add_levels(policy_type, kept, facts, otherwise);
        add_further(self);
    }

    /// Adds a step for each level. Simulated policies are attached to the account, which is the last level.
    fn add_levels(
        &mut self,
        policy_type: PolicyType,
        stored: Option<&'a [Option<SetId>]>,
        facts: &Facts<'a>,
        otherwise: Verdict,
    ) {
        let levels = match stored {
            None | Some([]) => &[None],
            Some(levels) => levels,
        };
        for (index, level) in levels.iter().enumerate() {
            let is_last = index + 1 == levels.len();
            let simulated = if is_last {
                facts.simulated(policy_type)
            } else {
                &[]
            };
            let source = Source::of(level.and_then(|id| facts.set(id)), simulated);
            self.add(policy_type, source.otherwise(otherwise));
        }
    }

    /// Adds the policies attached to the resource (E-10) and the trust policy of the role (T-1, T-50).
    fn add_resource(&mut self, facts: &Facts<'a>) {
        let policy_type = PolicyType::Resource;
        let is_kept = facts.keeps(policy_type);
        for file in facts.attached.iter().filter(|_| is_kept) {
            if let Some(set) = file.policy.and_then(|id| facts.set(id)) {
                self.add(policy_type, Source::stored(set));
            }
        }
        self.add_simulated(policy_type, facts);
        match facts.request.action.kind() {
            ActionKind::Other | ActionKind::PassRole => {}
            ActionKind::AssumeRoot => {
                self.add(PolicyType::Trust, Source::known(by_organization(facts)));
            }
            _ => self.add_trust(facts),
        }
    }

    fn add_trust(&mut self, facts: &Facts<'a>) {
        let policy_type = PolicyType::Trust;
        if let [simulated, ..] = facts.simulated(policy_type) {
            // Only the first counts: a role has one trust policy.
            return self.add(policy_type, Source::added(std::slice::from_ref(simulated)));
        }
        let role = facts.target_role().filter(|_| facts.keeps(policy_type));
        if let Some(set) = role.and_then(|role| facts.set(role.trust)) {
            self.add(policy_type, Source::stored(set));
        }
    }

    /// Adds the permissions boundary (E-46). Root users, services and anonymous callers have none.
    fn add_permissions_boundary(&mut self, facts: &Facts<'a>) {
        let source = match facts.caller.boundary {
            None => return,
            // If the set is lost there will be no answer.
            Some(Boundary::Stored(id)) => Source::of(facts.set(id), &[]),
            Some(Boundary::Simulated(policy)) => Source::added(std::slice::from_ref(policy)),
        };
        self.add(PolicyType::PermissionsBoundary, source);
    }

    /// Adds the session policies, all of which form one set (E-47).
    fn add_session(&mut self, facts: &Facts<'a>) {
        let policy_type = PolicyType::Session;
        let session = &facts.request.session;
        if session.has_policies() && facts.keeps(policy_type) {
            if !session.policies.is_empty() {
                self.add(policy_type, Source::added(&session.policies));
            }
            for (index, arn) in session.policy_arns.iter().enumerate() {
                let set = facts.session_policy(index, arn.as_str());
                if let Some(set) = set {
                    self.add(policy_type, Source::stored(set));
                }
            }
        }
        self.add_simulated(policy_type, facts);
    }

    fn add_simulated(&mut self, policy_type: PolicyType, facts: &Facts<'a>) {
        let simulated: &'a [Arc<Policy>] = facts.simulated(policy_type);
        if !simulated.is_empty() {
            self.add(policy_type, Source::added(simulated));
        }
    }
}

impl Standing {
    /// Returns whether the resource belongs to the principal's own account.
    pub fn is_in_own_account(self) -> bool {
        matches!(self, Self::Insider(insider) if insider.same_account)
    }

    /// Returns whether a resource policy must allow (E-45).
    pub fn requires_resource_policy(self) -> bool {
        matches!(self, Self::Insider(insider) if insider.resource_policy_required)
    }

    /// Returns where the caller of a question stands to its resource.
    pub fn of(facts: &Facts<'_>) -> Self {
        let (caller, request) = (&facts.caller, facts.request);
        match caller.principal {
            Principal::Anonymous => return Self::Outsider(Reason::AllowAnonymous),
            Principal::Service(_) => return Self::Outsider(Reason::AllowService),
            Principal::Provider(_) => return Self::Outsider(Reason::AllowFederated),
            _ => {}
        }
        // Policies that are simulated by themselves belong to nobody, so every account counts as theirs.
        let simulated = request.simulated.as_ref();
        let is_unnamed = simulated.is_some_and(|simulated| simulated.is_unnamed());
        let is_flagged = || facts.attached.iter().any(|file| file.required);
        let is_owner = || match (caller.account, facts.owner_account) {
            (Some(own), Some(owner)) if ptr::eq(own, owner) => true,
            (own, _) => own.map(|own| own.id.as_str()) == facts.owner,
        };
        let kind = request.action.kind();
        Self::Insider(Insider {
            // an unknown owner is nobody's account.
            same_account: is_unnamed || is_owner(),
            // E-45; for T-50 only the identity side counts.
            resource_policy_required: !is_unnamed
                && (kind.is_issuing() || (kind != ActionKind::PassRole && is_flagged())),
            is_root: caller.is_root(),
            is_federated: caller.is_federated(),
        })
    }
}

/// Returns whether policies besides the principal's own may be in play.
///
/// PERF: most questions have none, and one look is cheaper than one for each type. Each line stands for the `add_…` of
/// the same rules.
#[inline]
fn may_have_others(facts: &Facts<'_>) -> bool {
    let has_membership =
        |account: Option<&Account>| account.is_some_and(|it| it.membership.is_some());
    let request = facts.request;
    has_membership(facts.caller.account) // E-20
        || has_membership(facts.owner_account) // E-25
        || !facts.attached.is_empty() // E-10
        || request.action.kind() != ActionKind::Other // T-1
        || facts.caller.boundary.is_some() // E-46
        || request.session.has_policies() // E-47
        || request.simulated.is_some()
}

/// Returns whether a user or role of an account asks about a resource of the same account.
///
/// INVARIANT: without other policies in play, [`combine`](super::decide::combine) follows the identity policies for them.
#[inline]
fn is_at_home(facts: &Facts<'_>) -> bool {
    let caller = &facts.caller;
    let is_named = matches!(
        caller.principal,
        Principal::User(_) | Principal::Role(_) | Principal::AssumedRole { .. } // E-49, E-50
    );
    match (caller.account, facts.owner_account) {
        (Some(own), Some(owner)) => is_named && ptr::eq(own, owner),
        _ => false,
    }
}

/// Returns the identity policies of the caller, or their verdict if it is known without them (E-8). Root is allowed
/// everything on this side (E-50), outsiders have no such side, and the policies of an external account are not known
///
#[inline(always)] // PERF: the result is too large for registers.
fn identity<'a>(facts: &Facts<'a>) -> Source<'a> {
    let policy_type = PolicyType::Identity;
    let caller = &facts.caller;
    if caller.is_outsider() {
        return Source::known(Verdict::NotInPlay);
    }
    let is_kept = facts.keeps(policy_type);
    let simulated = facts.simulated(policy_type);
    let taken_as = |is_allowed: bool| {
        Source::known(if is_allowed {
            Verdict::Allow(Strength::Direct)
        } else {
            Verdict::ImplicitDeny
        })
    };
    match caller.account {
        Some(account) if account.external && is_kept && simulated.is_empty() => {
            taken_as(account.trust_external_identity)
        }
        _ if caller.is_root() || caller.is_federated_root() => taken_as(true), // E-49
        _ => {
            let stored = caller.entity.filter(|_| is_kept);
            let stored = stored.and_then(|entity| facts.set(entity.identity?));
            Source::of(stored, simulated)
        }
    }
}

/// Returns whether a service asks for a session of a service-linked role (E-27).
fn is_asked_by_its_service(facts: &Facts<'_>) -> bool {
    matches!(facts.caller.principal, Principal::Service(_))
        && facts.request.action.kind().is_of_trust()
        && facts.target_role().is_some_and(|role| role.service_linked)
}

/// Returns the organization's verdict on a caller that asks to act as root (T-11). It lets users and roles of its
/// management account act as the root user of another of its accounts, where that user is enabled.
fn by_organization(facts: &Facts<'_>) -> Verdict {
    let Resource::Arn(arn) = &facts.request.resource else {
        return Verdict::ImplicitDeny;
    };
    let account = facts.snapshot.account(arn.account());
    let account = account.filter(|account| {
        is_root_user(arn)
            && arn.region().is_empty()
            && *account.partition == *arn.partition()
            && account.root_user_enabled
    });
    let is_caller = matches!(
        facts.caller.principal,
        Principal::User(_) | Principal::Role(_) | Principal::AssumedRole { .. }
    );
    let own = facts.caller.account.filter(|_| is_caller);
    let own = own.and_then(|account| account.membership.as_ref());
    let other = account.and_then(|account| account.membership.as_ref());
    match (own, other) {
        (Some(own), Some(other))
            if own.is_management
                && !other.is_management
                && own.organization == other.organization =>
        {
            Verdict::Allow(Strength::Account)
        }
        _ => Verdict::ImplicitDeny,
    }
}
