//! The control policies of an organization, level by level (section 5.4).

use super::decide::target_role;
use super::derived::Facts;
use super::layer::{Layer, Verdict, evaluate_with};
use super::principal::Strength;
use super::trace::Trace;
use crate::compile::snapshot::{Account, SetId};
use crate::language::document::PolicyType;
use crate::name::Principal;

/// E-25 to E-27: the control policies above the resource's account. Every level has the built-in Allow.
pub(super) fn resource_control<'a, T: Trace>(
    facts: &Facts<'a>,
    owner: Option<&Account>,
    trace: &mut T,
) -> Layer<'a> {
    let stored = owner
        .filter(|_| facts.keeps(PolicyType::ResourceControl))
        .and_then(|owner| owner.membership.as_ref()?.resource_control.as_ref());
    let simulated = facts.simulated(PolicyType::ResourceControl);
    let is_exempt = facts.caller.is_service_linked() || is_asked_by_its_service(facts);
    if (stored.is_none() && simulated.is_empty()) || is_exempt {
        return Layer::without_statement(Verdict::NotInPlay);
    }
    let mut total = Layer::without_statement(Verdict::Allow(Strength::Direct));
    let stored = stored.map_or(&[][..], Vec::as_slice);
    for index in 0..stored.len().max(1) {
        // What is simulated is attached to the account, the last level.
        let is_last = index + 1 >= stored.len();
        let attached = if is_last { simulated } else { &[] };
        let level = stored.get(index).copied().flatten();
        let level = level.and_then(|level| facts.set(level));
        let layer = evaluate_with(level, attached, facts, trace);
        let is_denied = layer.verdict == Verdict::ExplicitDeny;
        trace.level(if is_denied {
            layer.verdict
        } else {
            Verdict::Allow(Strength::Direct)
        });
        if is_denied && total.verdict != Verdict::ExplicitDeny {
            total = layer;
        }
        if is_denied && !T::LISTENS {
            break;
        }
    }
    total
}

/// E-27: whether a service asks for a session of a service-linked role.
fn is_asked_by_its_service(facts: &Facts<'_>) -> bool {
    matches!(facts.caller.principal, Principal::Service(_))
        && facts.request.action.kind().is_of_trust()
        && target_role(facts).is_some_and(|role| role.service_linked)
}

/// One level without anything of the store's.
const ONLY_SIMULATED: &[Option<SetId>] = &[None];

/// E-20 to E-24: every level above the principal's account must allow, and none may deny.
pub(super) fn service_control<'a, T: Trace>(facts: &Facts<'a>, trace: &mut T) -> Layer<'a> {
    let caller = &facts.caller;
    let is_subject = !caller.is_outsider() && !caller.is_service_linked();
    let account = caller
        .account
        .filter(|account| is_subject && !account.external);
    let membership = account.and_then(|account| account.membership.as_ref());
    let stored = membership.and_then(|membership| membership.service_control.as_ref());
    let simulated = facts.simulated(PolicyType::ServiceControl);
    let levels = match stored {
        Some(levels) if facts.keeps(PolicyType::ServiceControl) => levels.as_slice(),
        _ if simulated.is_empty() || account.is_none() => {
            return Layer::without_statement(Verdict::NotInPlay);
        }
        _ => ONLY_SIMULATED,
    };
    let mut total = Layer::without_statement(Verdict::Allow(Strength::Direct));
    for (index, level) in levels.iter().enumerate() {
        // What is simulated is attached to the account, the last level.
        let is_last = index + 1 == levels.len();
        let attached = if is_last { simulated } else { &[] };
        let level = level.and_then(|level| facts.set(level));
        let layer = evaluate_with(level, attached, facts, trace);
        let layer = match layer.verdict {
            // Where the store has nothing to add to, FullAWSAccess stands beside what is simulated.
            Verdict::ImplicitDeny
                if stored.is_none() && facts.keeps(PolicyType::ServiceControl) =>
            {
                Layer::without_statement(Verdict::Allow(Strength::Direct))
            }
            _ => layer,
        };
        trace.level(layer.verdict);
        match layer.verdict {
            Verdict::ExplicitDeny if total.verdict != Verdict::ExplicitDeny => total = layer,
            Verdict::ImplicitDeny | Verdict::NotInPlay
                if matches!(total.verdict, Verdict::Allow(_)) =>
            {
                total = Layer::without_statement(Verdict::ImplicitDeny);
            }
            _ => {}
        }
        if total.verdict == Verdict::ExplicitDeny && !T::LISTENS {
            break;
        }
    }
    total
}
