//! The order of the layers: the function this program exists for.

use std::iter;
use std::ops::ControlFlow;
use std::ptr;

use smallvec::SmallVec;

use super::admit::admit;
use super::caller::{Boundary, Caller, is_root_user};
use super::decision::{Decision, Reason};
use super::derived::Facts;
use super::error::RequestError;
use super::guardrails::{resource_control, service_control};
use super::layer::{Layer, Verdict, evaluate_set, evaluate_stored, evaluate_with};
use super::principal::{Strength, cannot_assume};
use super::request::Request;
use super::trace::{Scanning, Silent, Trace};
use super::work::Work;
use crate::compile::attachments::Attachment;
use crate::compile::snapshot::{Account, Entity, Role, Snapshot};
use crate::language::document::PolicyType;
use crate::limits::BUDGET;
use crate::name::{ActionKind, Principal, Resource};

/// Checks `request` against the store and decides it.
pub fn authorize(snapshot: &Snapshot, request: &Request) -> Result<Decision, RequestError> {
    authorize_with(snapshot, request, &mut Silent)
}

/// The same answer, by considering every statement one after the other: what the indexes are measured and proven
/// against.
pub fn authorize_by_scan(snapshot: &Snapshot, request: &Request) -> Result<Decision, RequestError> {
    authorize_with(snapshot, request, &mut Scanning)
}

/// The same, with somebody who listens to every step.
pub fn authorize_with<T: Trace>(
    snapshot: &Snapshot,
    request: &Request,
    trace: &mut T,
) -> Result<Decision, RequestError> {
    // What it took to read the question is a part of what it may take to answer it.
    let work = Work::of(BUDGET.saturating_sub(request.spent));
    authorize_within(snapshot, request, trace, &work)
}

/// The same, with what is left of `work`.
pub fn authorize_within<T: Trace>(
    snapshot: &Snapshot,
    request: &Request,
    trace: &mut T,
    work: &Work,
) -> Result<Decision, RequestError> {
    let owner = admit(snapshot, request, work)?;
    let decision = decide(snapshot, request, owner, work, trace);
    work.conclude()?; // E-1
    trace.made(&decision, work);
    Ok(decision)
}

/// What is known about a question; none if it is malformed or nobody known asks it.
pub fn facts<'a>(
    snapshot: &'a Snapshot,
    request: &'a Request,
    work: &'a Work,
) -> Option<Facts<'a>> {
    let owner = admit(snapshot, request, work).ok()?;
    let caller = Caller::resolve(snapshot, request).ok()?;
    Some(Facts::of(snapshot, request, caller, owner, work))
}

/// Decides one question against one snapshot: section 5.5 of the semantics, line by line.
fn decide<T: Trace>(
    snapshot: &Snapshot,
    request: &Request,
    owner: Option<&str>,
    work: &Work,
    trace: &mut T,
) -> Decision {
    let caller = match Caller::resolve(snapshot, request) {
        Ok(caller) => caller,
        Err(reason) => return Decision::without_statements(reason), // E-3, E-5
    };
    let owner_account = owner.and_then(|owner| {
        // PERF: most resources are of the caller's own account. A simulation may bring another account of that name.
        let own = caller.account.filter(|_| request.simulated.is_none());
        let own = own.filter(|own| own.id.as_str() == owner);
        own.or_else(|| snapshot.account(owner))
    });
    if matches!(caller.principal, Principal::Anonymous)
        && !owner_account.is_some_and(|owner| owner.anonymous_allowed)
    {
        return Decision::without_statements(Reason::ImplicitDenyUnknownPrincipal); // E-51
    }
    let facts = Facts::of(snapshot, request, caller, owner, work);
    if is_kept_from_role(&facts) {
        return Decision::without_statements(Reason::ImplicitDenyInvalidIdentityToken); // T-25
    }
    trace.begin(&facts);
    let sides = Sides::of(&facts, owner_account);
    if !T::LISTENS
        && let Some(entity) = sides.leave_all_to(&facts)
    {
        let layer = match entity.identity.and_then(|set| facts.set(set)) {
            Some(set) => evaluate_stored(set, &facts, trace),
            None => Layer::without_statement(Verdict::ImplicitDeny),
        };
        return trace.known().unwrap_or_else(|| by_identity(layer));
    }
    let mut layers = Layers::NOT_IN_PLAY;
    let _: ControlFlow<()> = layers.evaluate(&facts, &sides, trace);
    if let Some(known) = trace.known() {
        return known;
    }
    let standing = Standing::of(&facts, &sides);
    let verdicts = layers.verdicts();
    let reason = combine(standing, &verdicts);
    trace.decided(standing, &verdicts, reason);
    layers.decision(reason, standing)
}

/// T-25: whether the token of the provider that asks names roles, and not this one.
fn is_kept_from_role(facts: &Facts<'_>) -> bool {
    facts.authorized_by_idp() == Some(Some(false))
}

/// Shows `trace` the sets of the store that deciding would evaluate, by the steps of deciding.
///
/// INVARIANT: where [`Sides::leave_all_to`] leaves all to one set, these steps meet that set and no other: each of its
/// conditions keeps one layer out of play.
pub(super) fn visit_sets<T: Trace>(facts: &Facts<'_>, trace: &mut T) {
    let owner = facts.owner.and_then(|owner| facts.snapshot.account(owner));
    let sides = Sides::of(facts, owner);
    let mut layers = Layers::NOT_IN_PLAY;
    let _: ControlFlow<()> = layers.evaluate(facts, &sides, trace);
}

/// What is evaluated besides the principal's own policies, found once for the whole decision.
struct Sides<'a> {
    /// The account that owns the resource, if the store knows it.
    owner: Option<&'a Account>,
    /// The owner's files that cover the resource.
    attached: SmallVec<[&'a Attachment; 4]>,
}

impl<'a> Sides<'a> {
    #[inline]
    fn of(facts: &Facts<'a>, owner: Option<&'a Account>) -> Self {
        let (snapshot, resource) = (facts.snapshot, &facts.request.resource);
        let mut attached = SmallVec::new();
        if snapshot.has_attachments()
            && let Some(owner) = owner
        {
            attached.extend(snapshot.attachments_of(&owner.id, resource, facts.work));
        }
        Self { owner, attached }
    }

    /// The user or role whose identity policies alone can matter, if it is so: the resource is of its own account, which
    /// is in no organization and has no policy for it, there is neither a boundary nor a session policy, and no rule
    /// speaks of the action.
    ///
    /// PERF: so are most questions in most stores, and putting one verdict together with five that are not in play takes
    /// as long as making it.
    #[inline]
    fn leave_all_to(&self, facts: &Facts<'a>) -> Option<&'a Entity> {
        let (caller, request) = (&facts.caller, facts.request);
        let is_at_home = match (caller.account, self.owner) {
            // E-20, E-25
            (Some(own), Some(owner)) => ptr::eq(own, owner) && own.membership.is_none(),
            _ => false,
        };
        let is_named = matches!(
            caller.principal,
            Principal::User(_) | Principal::Role(_) | Principal::AssumedRole { .. }
        );
        let is_alone = is_at_home
            && is_named // E-49, E-50
            && caller.boundary.is_none() // E-46
            && self.attached.is_empty() // E-10, E-45
            && request.action.kind() == ActionKind::Other // T-1, T-50
            && !request.session.has_policies() // E-47
            && request.simulated.is_none();
        caller.entity.filter(|_| is_alone)
    }
}

/// What [`combine`] and [`Layers::decision`] make of identity policies that everything is left to (E-14, E-40).
fn by_identity(layer: Layer<'_>) -> Decision {
    let reason = match layer.verdict {
        Verdict::ExplicitDeny => Reason::ExplicitDenyIdentity,
        Verdict::Allow(_) => Reason::AllowIdentity,
        Verdict::ImplicitDeny | Verdict::NotInPlay => Reason::ImplicitDenyIdentity,
    };
    let mut decision = Decision::without_statements(reason);
    decision.determining.extend(layer.settled_by());
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

/// What the combination of the verdicts depends on besides them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Only a resource policy can allow, for this reason.
    Outsider(Reason),
    /// Somebody of an account.
    Insider {
        /// Whether it is the account that owns the resource.
        same_account: bool,
        /// E-45.
        resource_policy_required: bool,
        /// Whether it is the root user (E-50).
        is_root: bool,
        /// Whether it is a federated user (E-49).
        is_federated: bool,
    },
}

impl Standing {
    #[inline]
    fn of(facts: &Facts<'_>, sides: &Sides<'_>) -> Self {
        match facts.caller.principal {
            Principal::Anonymous => return Self::Outsider(Reason::AllowAnonymous),
            Principal::Service(_) => return Self::Outsider(Reason::AllowService),
            Principal::Provider(_) => return Self::Outsider(Reason::AllowFederated),
            _ => {}
        }
        let request = facts.request;
        // Policies that are simulated by themselves: nobody's, and so of the same account as everything.
        let is_unnamed = request
            .simulated
            .as_ref()
            .is_some_and(|simulated| simulated.is_unnamed());
        let is_flagged = || sides.attached.iter().any(|file| file.required);
        let is_owner = || match (facts.caller.account, sides.owner) {
            (Some(own), Some(owner)) if ptr::eq(own, owner) => true,
            (own, _) => own.map(|own| own.id.as_str()) == facts.owner,
        };
        Self::Insider {
            // an unknown owner is nobody's account.
            same_account: is_unnamed || is_owner(),
            // E-45; for T-50 only the identity side counts.
            resource_policy_required: !is_unnamed
                && (request.action.kind().is_issuing()
                    || (request.action.kind() != ActionKind::PassRole && is_flagged())),
            is_root: facts.caller.is_root(),
            is_federated: facts.caller.is_federated(),
        }
    }
}

/// The reason that the verdicts lead to: the part of 5.5 that table 5.7 lists.
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

/// The policy types in the order of E-28: it chooses the label where several would deny.
pub(super) const ORDER: [PolicyType; 6] = [
    PolicyType::ResourceControl,
    PolicyType::ServiceControl,
    PolicyType::Resource,
    PolicyType::Identity,
    PolicyType::PermissionsBoundary,
    PolicyType::Session,
];

/// What each policy type says, and by which statement.
struct Layers<'a> {
    resource_control: Layer<'a>,
    service_control: Layer<'a>,
    resource: Layer<'a>,
    identity: Layer<'a>,
    permissions_boundary: Layer<'a>,
    session: Layer<'a>,
}

impl<'a> Layers<'a> {
    /// Before any was evaluated.
    const NOT_IN_PLAY: Self = Self {
        resource_control: Layer::without_statement(Verdict::NotInPlay),
        service_control: Layer::without_statement(Verdict::NotInPlay),
        resource: Layer::without_statement(Verdict::NotInPlay),
        identity: Layer::without_statement(Verdict::NotInPlay),
        permissions_boundary: Layer::without_statement(Verdict::NotInPlay),
        session: Layer::without_statement(Verdict::NotInPlay),
    };

    /// Evaluates every policy type (E-8), in the order of [`ORDER`]. Stops at the first explicit deny if nobody listens:
    /// whatever follows cannot change the answer (E-15), and the order is that of the labels (E-28). So it is not in play
    /// either.
    ///
    /// PERF: in place, since moving them all costs as much as looking at one.
    fn evaluate<T: Trace>(
        &mut self,
        facts: &Facts<'a>,
        sides: &Sides<'a>,
        trace: &mut T,
    ) -> ControlFlow<()> {
        use PolicyType as P;
        self.resource_control = resource_control(facts, sides.owner, trace);
        after(P::ResourceControl, self.resource_control.verdict, trace)?;
        self.service_control = service_control(facts, trace);
        after(P::ServiceControl, self.service_control.verdict, trace)?;
        self.resource = resource(facts, &sides.attached, trace);
        after(P::Resource, self.resource.verdict, trace)?;
        self.identity = identity(facts, trace);
        after(P::Identity, self.identity.verdict, trace)?;
        self.permissions_boundary = permissions_boundary(facts, trace);
        after(
            P::PermissionsBoundary,
            self.permissions_boundary.verdict,
            trace,
        )?;
        self.session = session(facts, trace);
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

    /// The decision with the statements that settled it: a Deny of the named type, or the Allow that granted, across
    /// accounts one of each side; none for an implicit deny. Where root was granted by the resource policy of
    /// another account, that one.
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

/// A policy type was evaluated; breaks if the others need not be.
fn after<T: Trace>(policy_type: PolicyType, verdict: Verdict, trace: &mut T) -> ControlFlow<()> {
    trace.layer(policy_type, verdict);
    let is_settled = matches!(verdict, Verdict::ExplicitDeny) && !T::LISTENS;
    if is_settled || trace.is_done() {
        return ControlFlow::Break(());
    }
    ControlFlow::Continue(())
}

/// The policy types whose statements settled it for this reason, in the order in which a decision names them.
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

/// The role that the question is about, if the store has it.
pub(super) fn target_role<'a>(facts: &Facts<'a>) -> Option<&'a Role> {
    match &facts.request.resource {
        Resource::Arn(arn) => facts.snapshot.entity(arn)?.role.as_ref(),
        Resource::Any => None,
    }
}

/// E-10, T-1, T-50: the policies attached to the resource, or the trust policy of the role.
fn resource<'a, T: Trace>(facts: &Facts<'a>, attached: &[&Attachment], trace: &mut T) -> Layer<'a> {
    let request = facts.request;
    let is_kept = facts.keeps(PolicyType::Resource);
    let files = attached.iter().filter(|_| is_kept);
    let mut attached_layer = Layer::without_statement(Verdict::NotInPlay);
    for set in files.filter_map(|file| facts.set(file.policy?)) {
        attached_layer = attached_layer.beside(evaluate_stored(set, facts, trace));
    }
    let simulated = facts.simulated(PolicyType::Resource);
    if !simulated.is_empty() {
        attached_layer = attached_layer.beside(evaluate_set(simulated, facts, trace));
    }
    let kind = request.action.kind();
    if kind == ActionKind::Other {
        return attached_layer;
    }
    trace.set_aside_allows();
    let only_denies = |layer: Layer<'a>| match layer.verdict {
        Verdict::ExplicitDeny => layer,
        _ => Layer::without_statement(Verdict::NotInPlay),
    };
    if kind == ActionKind::PassRole {
        return only_denies(attached_layer); // T-50: the identity side only
    }
    if kind == ActionKind::AssumeRoot {
        return match attached_layer.verdict {
            Verdict::ExplicitDeny => attached_layer,
            _ => Layer::without_statement(by_organization(facts)),
        };
    }
    // T-1: the role's trust policy alone can allow; a Deny elsewhere still denies.
    let stored = target_role(facts)
        .filter(|_| facts.keeps(PolicyType::Trust))
        .and_then(|role| facts.set(role.trust));
    let trust = match (facts.simulated(PolicyType::Trust).first(), stored) {
        (Some(simulated), _) => evaluate_set(iter::once(simulated), facts, trace),
        (None, Some(stored)) => evaluate_stored(stored, facts, trace),
        (None, None) => return only_denies(attached_layer),
    };
    // T-21: a provider is registered in the account of the roles that trust it; one of another account is a stranger.
    let is_stranger = match facts.caller.principal {
        Principal::Provider(provider) => facts.owner != Some(provider.account()),
        _ => false,
    };
    let trust = match trust.verdict {
        Verdict::Allow(_) if is_stranger => Layer::without_statement(Verdict::ImplicitDeny),
        _ => trust,
    };
    match (trust.verdict, attached_layer.verdict) {
        (Verdict::ExplicitDeny, _) => trust,
        (_, Verdict::ExplicitDeny) => attached_layer,
        _ => trust,
    }
}

/// T-11: the organization lets users and roles of its management account act as the root user of another of its
/// accounts, where that user is enabled.
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

/// E-8; root is allowed everything on this side (E-50), outsiders have no such side, and what an external account
/// says is not known.
fn identity<'a, T: Trace>(facts: &Facts<'a>, trace: &mut T) -> Layer<'a> {
    let caller = &facts.caller;
    let taken_as = |allowed: bool| {
        Layer::without_statement(if allowed {
            Verdict::Allow(Strength::Direct)
        } else {
            Verdict::ImplicitDeny
        })
    };
    if caller.is_outsider() {
        return Layer::without_statement(Verdict::NotInPlay);
    }
    let is_kept = facts.keeps(PolicyType::Identity);
    let simulated = facts.simulated(PolicyType::Identity);
    let layer = match (caller.account, caller.entity) {
        (Some(account), _) if account.external && is_kept && simulated.is_empty() => {
            taken_as(account.trust_external_identity)
        }
        _ if caller.is_root() || caller.is_federated_root() => taken_as(true), // E-49
        (_, entity) => {
            let stored = entity.filter(|_| is_kept);
            let stored = stored.and_then(|entity| facts.set(entity.identity?));
            evaluate_with(stored, simulated, facts, trace)
        }
    };
    match layer.verdict {
        Verdict::ExplicitDeny => layer,
        _ if cannot_assume(caller, &facts.request.action) => taken_as(false), // T-9
        _ => layer,
    }
}

/// E-46; never for root, services and the anonymous.
fn permissions_boundary<'a, T: Trace>(facts: &Facts<'a>, trace: &mut T) -> Layer<'a> {
    match facts.caller.boundary {
        Some(Boundary::Stored(id)) => match facts.set(id) {
            Some(set) => evaluate_stored(set, facts, trace),
            None => Layer::without_statement(Verdict::ImplicitDeny), // there will be no answer
        },
        Some(Boundary::Simulated(policy)) => evaluate_set(iter::once(policy), facts, trace),
        None => Layer::without_statement(Verdict::NotInPlay),
    }
}

/// E-47: all session policies are one set.
fn session<'a, T: Trace>(facts: &Facts<'a>, trace: &mut T) -> Layer<'a> {
    let session = &facts.request.session;
    let simulated = facts.simulated(PolicyType::Session);
    let is_kept = session.has_policies() && facts.keeps(PolicyType::Session);
    let mut layer = Layer::without_statement(Verdict::NotInPlay);
    if is_kept {
        if !session.policies.is_empty() {
            layer = layer.beside(evaluate_set(&session.policies, facts, trace));
        }
        let managed = session.policy_arns.iter();
        let managed = managed.filter_map(|arn| facts.snapshot.session_policy(arn.as_str()));
        for set in managed.filter_map(|id| facts.set(id)) {
            layer = layer.beside(evaluate_stored(set, facts, trace));
        }
    }
    if !simulated.is_empty() {
        layer = layer.beside(evaluate_set(simulated, facts, trace));
    }
    layer
}

#[cfg(test)]
mod tests;
