//! Evaluates a plan and combines the verdicts: the second half of section 5.5 of the semantics.

use std::ops::ControlFlow;

use super::decision::{Decision, Reason};
use super::facts::Facts;
use super::layer::Verdict::{Allow, ExplicitDeny, ImplicitDeny, NotInPlay};
use super::layer::{Layer, Verdict};
use super::plan::{Insider, Plan, Standing};
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
        ExplicitDeny => Reason::ExplicitDenyIdentity,
        Allow(_) => Reason::AllowIdentity,
        ImplicitDeny | NotInPlay => Reason::ImplicitDenyIdentity,
    };
    let mut decision = Decision::without_statements(reason);
    if let Some(by) = layer.settled_by() {
        decision.determining.push(by); // PERF: extending it by an `Option` takes three times as long
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

/// Returns the reason that the verdicts lead to: the last half of section 5.5, and table 5.7.
pub fn combine(standing: Standing, verdicts: &Verdicts) -> Reason {
    denied(verdicts).unwrap_or_else(|| match standing {
        Standing::Outsider(reason) => outsider(reason, verdicts),
        Standing::Insider(insider) => member(insider, verdicts),
    })
}

/// E-15: any explicit deny ends it, and E-28 orders the labels. A control policy that does not allow ends it too.
fn denied(verdicts: &Verdicts) -> Option<Reason> {
    use Reason as R;
    let (rcp, scp) = (verdicts.resource_control, verdicts.service_control);
    let (boundary, session) = (verdicts.permissions_boundary, verdicts.session);
    let explicit = [
        (rcp, R::ExplicitDenyResourceControl),
        (scp, R::ExplicitDenyServiceControl),
        (verdicts.resource, R::ExplicitDenyResource),
        (verdicts.identity, R::ExplicitDenyIdentity),
        (boundary, R::ExplicitDenyPermissionsBoundary),
        (session, R::ExplicitDenySession),
    ];
    let mut explicit = explicit.into_iter();
    let first = explicit.find_map(|(verdict, reason)| (verdict == ExplicitDeny).then_some(reason));
    first.or(match (rcp, scp) {
        (ImplicitDeny, _) => Some(R::ImplicitDenyResourceControl),
        (_, ImplicitDeny) => Some(R::ImplicitDenyServiceControl),
        _ => None,
    })
}

/// E-51, E-52, T-20: anonymous callers, services and identity providers need a resource policy that names them.
fn outsider(reason: Reason, verdicts: &Verdicts) -> Reason {
    match verdicts.resource {
        Allow(Strength::Direct) => reason,
        _ => Reason::ImplicitDenyResource,
    }
}

/// Everybody else belongs to an account.
fn member(insider: Insider, verdicts: &Verdicts) -> Reason {
    use Reason as R;
    let is_allowed_by_resource = matches!(verdicts.resource, Allow(_));
    let is_allowed_by_identity = matches!(verdicts.identity, Allow(_));
    if insider.same_account {
        if verdicts.resource == Allow(Strength::Direct) {
            return R::AllowResourceDirect; // E-41
        }
        if insider.resource_policy_required && !is_allowed_by_resource {
            return R::ImplicitDenyResource; // E-45
        }
        if verdicts.resource != Allow(Strength::Entity) && !is_allowed_by_identity {
            return R::ImplicitDenyIdentity; // E-42, E-43, E-46
        }
    } else {
        if !is_allowed_by_resource {
            return R::ImplicitDenyResource;
        }
        if !is_allowed_by_identity {
            return R::ImplicitDenyIdentity;
        }
    }
    if verdicts.permissions_boundary == ImplicitDeny {
        return R::ImplicitDenyPermissionsBoundary;
    }
    if verdicts.session == ImplicitDeny || insider.is_federated && verdicts.session == NotInPlay {
        return R::ImplicitDenySession; // E-49
    }
    match insider {
        Insider { is_root: true, .. } => R::AllowRoot,
        Insider {
            same_account: false,
            ..
        } => R::AllowCrossAccount,
        _ if is_allowed_by_identity => R::AllowIdentity,
        _ => R::AllowResourceEntity,
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
        resource_control: Layer::without_statement(NotInPlay),
        service_control: Layer::without_statement(NotInPlay),
        resource: Layer::without_statement(NotInPlay),
        identity: Layer::without_statement(NotInPlay),
        permissions_boundary: Layer::without_statement(NotInPlay),
        session: Layer::without_statement(NotInPlay),
    };

    /// Evaluates every policy type (E-8), in the order of E-28. Stops at the first explicit deny without a listener:
    /// whatever follows cannot change the answer (E-15), nor its label.
    ///
    /// PERF: the layers are filled in place, because moving all of them costs as much as evaluating one.
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
        ExplicitDeny if !T::LISTENS => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    }
}

/// Returns the policy types whose statements lead to this reason, in the order in which a decision names them.
pub(super) fn settled_by(reason: Reason, standing: Standing) -> &'static [PolicyType] {
    use PolicyType as T;
    use Reason as R;
    let is_at_home = matches!(
        standing,
        Standing::Insider(Insider {
            same_account: true,
            ..
        })
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
    let none = Layer::without_statement(NotInPlay);
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
    let mut total = Layer::without_statement(NotInPlay);
    for source in plan.of_type(policy_type) {
        let level = source.evaluate(facts, trace);
        trace.level(level.verdict);
        total = match (total.verdict, level.verdict) {
            (ExplicitDeny, _) => total,
            (_, ExplicitDeny) => level,
            (ImplicitDeny, _) => total,
            (_, verdict) => Layer::without_statement(verdict),
        };
        if total.verdict == ExplicitDeny && !T::LISTENS {
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
    let denied = Some(attached).filter(|layer| layer.verdict == ExplicitDeny);
    let trust = together(plan, PolicyType::Trust, facts, trace);
    // T-21: a provider is registered in the account of the roles that trust it; one of another account is a stranger.
    let is_stranger = match facts.caller.principal {
        Principal::Provider(provider) => facts.owner != Some(provider.account()),
        _ => false,
    };
    match (trust.verdict, denied) {
        (ExplicitDeny, _) => trust,
        (_, Some(denied)) => denied,
        (Allow(_), _) if is_stranger => Layer::without_statement(ImplicitDeny),
        _ => trust,
    }
}

/// Returns what the principal's own policies say (E-8, T-9).
fn identity<'a, T: Trace>(plan: &Plan<'a>, facts: &Facts<'_>, trace: &mut T) -> Layer<'a> {
    let layer = plan.identity().evaluate(facts, trace);
    match layer.verdict {
        ExplicitDeny | NotInPlay => layer,
        _ if cannot_assume(&facts.caller, &facts.request.action) => {
            Layer::without_statement(ImplicitDeny)
        }
        _ => layer,
    }
}

#[cfg(test)]
mod tests;
