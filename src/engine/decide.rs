//! Evaluates a plan and combines the verdicts: the second half of section 5.5 of the semantics.

use std::ops::ControlFlow;

use super::decision::{Decision, Reason};
use super::facts::Facts;
use super::layer::{Layer, Verdict};
use super::plan::{Plan, Standing};
use super::principal::{Strength, cannot_assume};
use super::trace::Trace;
use crate::language::document::PolicyType;
use crate::name::{ActionKind, Principal};

/// Decides a question by its plan.
pub(super) fn decide<T: Trace>(facts: &Facts<'_>, plan: &Plan<'_>, trace: &mut T) -> Decision {
    if facts.authorized_by_idp() == Some(Some(false)) {
        return Decision::without_statements(Reason::ImplicitDenyInvalidIdentityToken); // T-25
    }
    if !T::LISTENS
        && let Some(identity) = plan.identity_alone()
    {
        return by_identity(identity.evaluate(facts, trace));
    }
    trace.begin(facts);
    let mut layers = Layers::NOT_IN_PLAY;
    let _: ControlFlow<()> = layers.evaluate(facts, plan, trace);
    let verdicts = layers.verdicts();
    let standing = Standing::of(facts);
    let reason = combine(standing, &verdicts);
    trace.decided(standing, &verdicts, reason);
    layers.decision(reason, standing)
}

/// Returns what [`combine`] and [`Layers::decision`] give if only identity policies are in play (E-14, E-40).
fn by_identity(layer: Layer<'_>) -> Decision {
    let reason = match layer.verdict {
        Verdict::ExplicitDeny => Reason::ExplicitDenyIdentity,
        Verdict::Allow(_) => Reason::AllowIdentity,
        Verdict::ImplicitDeny | Verdict::NotInPlay => Reason::ImplicitDenyIdentity,
    };
    let mut decision = Decision::without_statements(reason);
    if let Some(by) = layer.settled_by() {
        decision.determining.push(by); // PERF: not extended by an `Option`, which takes three times as long
    }
    decision
}

/// One verdict per policy type, in the order of E-28.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "each is of the policy type it is called by")]
pub struct Verdicts {
    pub resource_control: Verdict,
    pub service_control: Verdict,
    pub resource: Verdict,
    pub identity: Verdict,
    pub permissions_boundary: Verdict,
    pub session: Verdict,
}

/// Returns the reason that the verdicts lead to (table 5.7).
pub(super) fn combine(standing: Standing, verdicts: &Verdicts) -> Reason {
    use Reason as R;
    use Verdict::{Allow, ExplicitDeny, ImplicitDeny, NotInPlay};
    // E-15: any deny ends it. E-28: the order only picks the label.
    if matches!(verdicts.resource_control, ExplicitDeny) {
        return R::ExplicitDenyResourceControl;
    }
    if matches!(verdicts.service_control, ExplicitDeny) {
        return R::ExplicitDenyServiceControl;
    }
    if matches!(verdicts.resource, ExplicitDeny) {
        return R::ExplicitDenyResource;
    }
    if matches!(verdicts.identity, ExplicitDeny) {
        return R::ExplicitDenyIdentity;
    }
    if matches!(verdicts.permissions_boundary, ExplicitDeny) {
        return R::ExplicitDenyPermissionsBoundary;
    }
    if matches!(verdicts.session, ExplicitDeny) {
        return R::ExplicitDenySession;
    }
    if matches!(verdicts.resource_control, ImplicitDeny) {
        return R::ImplicitDenyResourceControl;
    }
    if matches!(verdicts.service_control, ImplicitDeny) {
        return R::ImplicitDenyServiceControl;
    }
    let is_granted_by_identity = matches!(verdicts.identity, Allow(_));
    let (same_account, resource_policy_required, is_root, is_federated) = match standing {
        Standing::Outsider(reason) => {
            let is_direct = matches!(verdicts.resource, Allow(Strength::Direct));
            return if is_direct {
                reason
            } else {
                R::ImplicitDenyResource
            }; // E-51, E-52, T-20
        }
        Standing::Insider {
            same_account,
            resource_policy_required,
            is_root,
            is_federated,
        } => (
            same_account,
            resource_policy_required,
            is_root,
            is_federated,
        ),
    };
    if same_account {
        match verdicts.resource {
            Allow(Strength::Direct) => return R::AllowResourceDirect, // E-41
            Allow(Strength::Entity) => {}                             // E-42
            Allow(Strength::Account) if is_granted_by_identity => {}
            _ if resource_policy_required && !matches!(verdicts.resource, Allow(_)) => {
                return R::ImplicitDenyResource;
            } // E-45
            _ if is_granted_by_identity => {}
            _ => return R::ImplicitDenyIdentity, // E-43, E-46
        }
    } else {
        if !matches!(verdicts.resource, Allow(_)) {
            return R::ImplicitDenyResource;
        }
        if !is_granted_by_identity {
            return R::ImplicitDenyIdentity;
        }
    }
    if matches!(verdicts.permissions_boundary, ImplicitDeny) {
        return R::ImplicitDenyPermissionsBoundary;
    }
    if matches!(verdicts.session, ImplicitDeny)
        || (is_federated && matches!(verdicts.session, NotInPlay))
    {
        return R::ImplicitDenySession; // E-49
    }
    match (is_root, same_account, is_granted_by_identity) {
        (true, _, _) => R::AllowRoot,
        (false, false, _) => R::AllowCrossAccount,
        (false, true, true) => R::AllowIdentity,
        (false, true, false) => R::AllowResourceEntity,
    }
}

/// The verdict of each policy type, with its statement.
struct Layers<'a> {
    resource_control: Layer<'a>,
    service_control: Layer<'a>,
    resource: Layer<'a>,
    identity: Layer<'a>,
    permissions_boundary: Layer<'a>,
    session: Layer<'a>,
}

impl<'a> Layers<'a> {
    /// The layers before any is evaluated.
    const NOT_IN_PLAY: Self = Self {
        resource_control: Layer::without_statement(Verdict::NotInPlay),
        service_control: Layer::without_statement(Verdict::NotInPlay),
        resource: Layer::without_statement(Verdict::NotInPlay),
        identity: Layer::without_statement(Verdict::NotInPlay),
        permissions_boundary: Layer::without_statement(Verdict::NotInPlay),
        session: Layer::without_statement(Verdict::NotInPlay),
    };

    /// Evaluates every policy type (E-8), in the order of E-28. Stops at the first explicit deny if nobody listens:
    /// whatever follows cannot change the answer (E-15), nor its label.
    ///
    /// PERF: in place, since moving all layers costs as much as looking at one.
    fn evaluate<T: Trace>(
        &mut self,
        facts: &Facts<'_>,
        plan: &Plan<'a>,
        trace: &mut T,
    ) -> ControlFlow<()> {
        use PolicyType as P;
        self.resource_control = every_level(plan, P::ResourceControl, facts, trace);
        after(P::ResourceControl, self.resource_control.verdict, trace)?;
        self.service_control = every_level(plan, P::ServiceControl, facts, trace);
        after(P::ServiceControl, self.service_control.verdict, trace)?;
        self.resource = resource(plan, facts, trace);
        after(P::Resource, self.resource.verdict, trace)?;
        self.identity = identity(plan, facts, trace);
        after(P::Identity, self.identity.verdict, trace)?;
        self.permissions_boundary = together(plan, P::PermissionsBoundary, facts, trace);
        let boundary = self.permissions_boundary.verdict;
        after(P::PermissionsBoundary, boundary, trace)?;
        self.session = together(plan, P::Session, facts, trace); // E-47
        after(P::Session, self.session.verdict, trace)
    }

    fn verdicts(&self) -> Verdicts {
        Verdicts {
            resource_control: self.resource_control.verdict,
            service_control: self.service_control.verdict,
            resource: self.resource.verdict,
            identity: self.identity.verdict,
            permissions_boundary: self.permissions_boundary.verdict,
            session: self.session.verdict,
        }
    }

    fn of(&self, policy_type: PolicyType) -> &Layer<'a> {
        match policy_type {
            PolicyType::ResourceControl => &self.resource_control,
            PolicyType::ServiceControl => &self.service_control,
            PolicyType::Resource | PolicyType::Trust => &self.resource,
            PolicyType::Identity => &self.identity,
            PolicyType::PermissionsBoundary => &self.permissions_boundary,
            PolicyType::Session => &self.session,
        }
    }

    /// Returns the decision with the statements that settled it: a Deny of the named type, or the Allow that granted; across
    /// accounts there is an Allow of each side. An implicit deny has none. If the resource policy of another account let
    /// the root user in, it has that Allow.
    fn decision(&self, reason: Reason, standing: Standing) -> Decision {
        let mut decision = Decision::without_statements(reason);
        for policy_type in settled_by(reason, standing) {
            if let Some(by) = self.of(*policy_type).settled_by() {
                decision.determining.push(by);
            }
        }
        decision
    }
}

/// Tells `trace` the verdict of a policy type, and breaks if the other types no longer matter.
fn after<T: Trace>(policy_type: PolicyType, verdict: Verdict, trace: &mut T) -> ControlFlow<()> {
    trace.layer(policy_type, verdict);
    match verdict {
        Verdict::ExplicitDeny if !T::LISTENS => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    }
}

/// Returns the policy types whose statements lead to this reason, in the order in which a decision names them.
pub(super) fn settled_by(reason: Reason, standing: Standing) -> &'static [PolicyType] {
    use PolicyType as T;
    use Reason as R;
    let is_at_home = matches!(
        standing,
        Standing::Insider {
            same_account: true,
            ..
        }
    );
    match reason {
        R::AllowRoot if is_at_home => &[], // E-50: nobody has to say so
        R::ExplicitDenyResourceControl => &[T::ResourceControl],
        R::ExplicitDenyServiceControl => &[T::ServiceControl],
        R::ExplicitDenyIdentity | R::AllowIdentity => &[T::Identity],
        R::ExplicitDenyPermissionsBoundary => &[T::PermissionsBoundary],
        R::ExplicitDenySession => &[T::Session],
        R::ExplicitDenyResource
        | R::AllowResourceDirect
        | R::AllowResourceEntity
        | R::AllowService
        | R::AllowAnonymous
        | R::AllowFederated
        | R::AllowRoot => &[T::Resource],
        R::AllowCrossAccount => &[T::Identity, T::Resource],
        R::ImplicitDenyIdentity
        | R::ImplicitDenyResource
        | R::ImplicitDenyPermissionsBoundary
        | R::ImplicitDenySession
        | R::ImplicitDenyServiceControl
        | R::ImplicitDenyResourceControl
        | R::ImplicitDenyUnknownPrincipal
        | R::ImplicitDenySessionExpired
        | R::ImplicitDenyInvalidIdentityToken => &[],
    }
}

/// Returns what all policies of a type say together (E-14, E-15).
fn together<'a, T: Trace>(
    plan: &Plan<'a>,
    policy_type: PolicyType,
    facts: &Facts<'_>,
    trace: &mut T,
) -> Layer<'a> {
    let none = Layer::without_statement(Verdict::NotInPlay);
    plan.of_type(policy_type).fold(none, |layer, source| {
        layer.beside(source.evaluate(facts, trace))
    })
}

/// Returns what control policies say: every level must allow, and none may deny (E-21, E-25).
fn every_level<'a, T: Trace>(
    plan: &Plan<'a>,
    policy_type: PolicyType,
    facts: &Facts<'_>,
    trace: &mut T,
) -> Layer<'a> {
    let mut total = Layer::without_statement(Verdict::NotInPlay);
    for source in plan.of_type(policy_type) {
        let level = source.evaluate(facts, trace);
        trace.level(level.verdict);
        total = match (total.verdict, level.verdict) {
            (Verdict::ExplicitDeny, _) => total,
            (_, Verdict::ExplicitDeny) => level,
            (Verdict::ImplicitDeny, _) => total,
            (_, verdict) => Layer::without_statement(verdict),
        };
        if total.verdict == Verdict::ExplicitDeny && !T::LISTENS {
            break;
        }
    }
    total
}

/// Returns what the resource side says: the policies attached to the resource, or the trust policy of the role (E-10,
/// T-1, T-50).
fn resource<'a, T: Trace>(plan: &Plan<'a>, facts: &Facts<'_>, trace: &mut T) -> Layer<'a> {
    let attached = together(plan, PolicyType::Resource, facts, trace);
    let kind = facts.request.action.kind();
    if kind == ActionKind::Other {
        return attached;
    }
    // T-1, T-50: the trust policy or the identity side alone can allow; a Deny elsewhere still denies.
    trace.set_aside_allows();
    let denied = Some(attached).filter(|layer| layer.verdict == Verdict::ExplicitDeny);
    let trust = together(plan, PolicyType::Trust, facts, trace);
    // T-21: a provider is registered in the account of the roles that trust it; one of another account is a stranger.
    let is_stranger = match facts.caller.principal {
        Principal::Provider(provider) => facts.owner != Some(provider.account()),
        _ => false,
    };
    match (trust.verdict, denied) {
        (Verdict::ExplicitDeny, _) => trust,
        (_, Some(denied)) => denied,
        (Verdict::Allow(_), _) if is_stranger => Layer::without_statement(Verdict::ImplicitDeny),
        _ => trust,
    }
}

/// Returns what the principal's own policies say (E-8, T-9).
fn identity<'a, T: Trace>(plan: &Plan<'a>, facts: &Facts<'_>, trace: &mut T) -> Layer<'a> {
    let layer = plan.identity().evaluate(facts, trace);
    match layer.verdict {
        Verdict::ExplicitDeny | Verdict::NotInPlay => layer,
        _ if cannot_assume(&facts.caller, &facts.request.action) => {
            Layer::without_statement(Verdict::ImplicitDeny)
        }
        _ => layer,
    }
}

#[cfg(test)]
mod tests;
