//! Conversions of `Simulate` between the wire and our types.

use super::{convert, pb};
use crate::authorizer::{Overrides, PairAnswer, Question, Refusal, Simulated, Simulation};
use crate::config::Limits;
use crate::engine::decision::Reason;
use crate::engine::question::{LISTS, SINGLES};
use crate::language::document::PolicyType;

/// Returns the simulation in `message`.
pub(super) fn simulation<'b>(
    message: &'b pb::SimulateRequest,
    limits: &Limits,
) -> Result<Simulation<'b>, Refusal> {
    let lists = [
        &message.identity_policies,
        &message.resource_policies,
        &message.session_policies,
        &message.service_control_policies,
        &message.resource_control_policies,
    ];
    let replace = message.replace.iter().enumerate();
    let replace = replace.map(|(index, number)| {
        convert::policy_type_of(*number).ok_or_else(|| {
            let message = format!("there is no policy type {number}");
            Refusal::malformed(format!("replace[{index}]"), message)
        })
    });
    Ok(Simulation {
        question: Question {
            principal: &message.principal,
            action: &message.action,
            resource: &message.resource,
            context: convert::entries(&message.context, "context", limits)?,
            session: convert::session(message.session.as_ref(), limits)?,
            resource_account: &message.resource_account,
            request_id: &message.request_id,
        },
        actions: convert::texts(&message.actions),
        resources: convert::texts(&message.resources),
        evaluation_time: convert::timestamp(message.evaluation_time, "evaluation_time")?,
        overrides: Overrides::new(
            lists.map(|list| convert::texts(list)),
            [&message.permissions_boundary, &message.trust_policy],
            replace.collect::<Result<_, _>>()?,
        )
        .with_levels(
            message
                .ordered_organization_policies
                .iter()
                .map(|level| convert::texts(&level.service_control_policies)),
        ),
    })
}

/// Returns the message that asks a server for this `simulation`.
pub(super) fn message(simulation: &Simulation<'_>) -> pb::SimulateRequest {
    let pb::AuthorizeRequest {
        principal,
        action,
        resource,
        context,
        session,
        resource_account,
        request_id,
    } = convert::message(&simulation.question);
    let policies = &simulation.overrides.policies;
    let of_type = |wanted: PolicyType| {
        let of_type = policies
            .iter()
            .filter(move |one| one.policy_type == wanted && one.level.is_none());
        of_type.map(|one| one.text.to_owned())
    };
    let [
        identity,
        of_resources,
        of_session,
        service_control,
        resource_control,
    ] = LISTS.map(|(_, policy_type)| of_type(policy_type).collect());
    let [boundary, trust] = SINGLES.map(|(_, policy_type)| of_type(policy_type).next());
    let replace = simulation.overrides.replace.iter();
    pb::SimulateRequest {
        principal,
        action,
        resource,
        context,
        session,
        resource_account,
        request_id,
        actions: convert::owned(&simulation.actions),
        resources: convert::owned(&simulation.resources),
        evaluation_time: simulation.evaluation_time.map(convert::wire_timestamp),
        identity_policies: identity,
        resource_policies: of_resources,
        permissions_boundary: boundary.unwrap_or_default(),
        session_policies: of_session,
        service_control_policies: service_control,
        resource_control_policies: resource_control,
        trust_policy: trust.unwrap_or_default(),
        replace: replace
            .map(|one| convert::policy_type(*one).into())
            .collect(),
        ordered_organization_policies: (0..simulation.overrides.n_levels)
            .map(|level| pb::OrganizationPolicyLevel {
                service_control_policies: policies
                    .iter()
                    .filter(|one| one.level == Some(level))
                    .map(|one| one.text.to_owned())
                    .collect(),
            })
            .collect(),
    }
}

/// Returns the response with the results of a simulation.
pub(super) fn response(simulated: Simulated) -> pb::SimulateResponse {
    pb::SimulateResponse {
        decision: convert::decision(simulated.is_allowed).into(),
        reason: convert::number_of(simulated.reason),
        results: simulated.pairs.into_iter().map(result).collect(),
        revision: simulated.revision,
        request_id: simulated.request_id,
    }
}

fn result(pair: PairAnswer) -> pb::SimulateResult {
    let organizations = |allowed| pb::OrganizationsDecisionDetail {
        allowed_by_organizations: allowed,
    };
    let boundary = |allowed| pb::PermissionsBoundaryDecisionDetail {
        allowed_by_permissions_boundary: allowed,
    };
    pb::SimulateResult {
        eval_action_name: pair.action,
        eval_resource_name: pair.resource,
        eval_decision: pair.reason.map_or("", Reason::eval_decision).to_owned(),
        decision: convert::decision(pair.is_allowed).into(),
        reason: convert::number_of(pair.reason),
        matched_statements: convert::statement_refs(pair.matched),
        missing_context_values: pair.missing,
        organizations_decision_detail: pair.allowed_by_organizations.map(organizations),
        permissions_boundary_decision_detail: pair.allowed_by_permissions_boundary.map(boundary),
        determining_statements: convert::statement_refs(pair.determining),
    }
}

/// Returns the results in a server's response; `None` if the response says neither allow nor deny.
pub(super) fn simulated(response: pb::SimulateResponse) -> Option<Simulated> {
    Some(Simulated {
        is_allowed: convert::is_allowed(response.decision)?,
        reason: Reason::from_number(response.reason),
        pairs: response
            .results
            .into_iter()
            .map(pair)
            .collect::<Option<_>>()?,
        revision: response.revision,
        request_id: response.request_id,
    })
}

fn pair(result: pb::SimulateResult) -> Option<PairAnswer> {
    let organizations = result.organizations_decision_detail;
    let boundary = result.permissions_boundary_decision_detail;
    Some(PairAnswer {
        is_allowed: convert::is_allowed(result.decision)?,
        reason: Reason::from_number(result.reason),
        action: result.eval_action_name,
        resource: result.eval_resource_name,
        matched: convert::names(result.matched_statements),
        missing: result.missing_context_values,
        allowed_by_organizations: organizations.map(|detail| detail.allowed_by_organizations),
        allowed_by_permissions_boundary: boundary
            .map(|detail| detail.allowed_by_permissions_boundary),
        determining: convert::names(result.determining_statements),
    })
}
