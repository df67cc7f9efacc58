//! Proto3 JSON of simulations, as strict as that of questions.

use serde::Serialize;

use super::super::json::{
    Statement, Unreadable, line, map_of, members, read, session_of, text_of, texts_of, time_of,
    value_of,
};
use super::pb;
use crate::engine::request::RequestError;
use crate::language::finding::did_you_mean;
use crate::language::json::Node;

/// Reads a `SimulateRequest`.
pub(super) fn request(text: &str) -> Result<pb::SimulateRequest, Unreadable> {
    read(text, request_of)
}

fn request_of(root: &Node<'_>) -> Result<pb::SimulateRequest, RequestError> {
    let names = [
        ("principal", "principal"),
        ("action", "action"),
        ("resource", "resource"),
        ("context", "context"),
        ("session", "session"),
        ("resource_account", "resourceAccount"),
        ("request_id", "requestId"),
        ("actions", "actions"),
        ("resources", "resources"),
        ("evaluation_time", "evaluationTime"),
        ("identity_policies", "identityPolicies"),
        ("resource_policies", "resourcePolicies"),
        ("permissions_boundary", "permissionsBoundary"),
        ("session_policies", "sessionPolicies"),
        ("service_control_policies", "serviceControlPolicies"),
        ("resource_control_policies", "resourceControlPolicies"),
        ("trust_policy", "trustPolicy"),
        ("replace", "replace"),
    ];
    let [
        principal,
        action,
        resource,
        context,
        session,
        resource_account,
        request_id,
        actions,
        resources,
        evaluation_time,
        identity,
        of_resources,
        boundary,
        of_session,
        service_control,
        resource_control,
        trust,
        replace,
    ] = members(root, "", names)?;
    let context_entry = |(key, value)| pb::simulate_request::ContextEntry {
        key,
        value: Some(value),
    };
    let replace = texts_of(replace, "replace")?;
    let replace = replace.iter().enumerate();
    Ok(pb::SimulateRequest {
        principal: text_of(principal, "principal")?,
        action: text_of(action, "action")?,
        resource: text_of(resource, "resource")?,
        context: map_of(context, "context", value_of)?
            .into_iter()
            .map(context_entry)
            .collect(),
        session: session
            .map(|node| session_of(node, "session"))
            .transpose()?,
        resource_account: text_of(resource_account, "resource_account")?,
        request_id: text_of(request_id, "request_id")?,
        actions: texts_of(actions, "actions")?,
        resources: texts_of(resources, "resources")?,
        evaluation_time: time_of(evaluation_time, "evaluation_time")?,
        identity_policies: texts_of(identity, "identity_policies")?,
        resource_policies: texts_of(of_resources, "resource_policies")?,
        permissions_boundary: text_of(boundary, "permissions_boundary")?,
        session_policies: texts_of(of_session, "session_policies")?,
        service_control_policies: texts_of(service_control, "service_control_policies")?,
        resource_control_policies: texts_of(resource_control, "resource_control_policies")?,
        trust_policy: text_of(trust, "trust_policy")?,
        replace: replace
            .map(|(index, name)| policy_type_of(name, index))
            .collect::<Result<_, _>>()?,
    })
}

/// The number of `POLICY_TYPE_…`.
fn policy_type_of(name: &str, index: usize) -> Result<i32, RequestError> {
    if let Some(found) = pb::PolicyType::from_str_name(name) {
        return Ok(found.into());
    }
    let names = (1..).map_while(|number| pb::PolicyType::try_from(number).ok());
    let guess = did_you_mean(name, names.map(|one| one.as_str_name()));
    let guess = guess.map(|guess| format!(": {guess}")).unwrap_or_default();
    let message = format!("there is no policy type `{name}`{guess}");
    Err(RequestError::invalid(format!("replace[{index}]"), message))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'r> {
    decision: &'static str,
    reason: &'static str,
    results: Vec<PairResult<'r>>,
    revision: &'r str,
    request_id: &'r str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PairResult<'r> {
    eval_action_name: &'r str,
    eval_resource_name: &'r str,
    eval_decision: &'r str,
    decision: &'static str,
    reason: &'static str,
    matched_statements: Vec<Statement<'r>>,
    missing_context_values: &'r [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    organizations_decision_detail: Option<Organizations>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions_boundary_decision_detail: Option<PermissionsBoundary>,
    determining_statements: Vec<Statement<'r>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Organizations {
    allowed_by_organizations: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PermissionsBoundary {
    allowed_by_permissions_boundary: bool,
}

impl<'r> PairResult<'r> {
    fn of(result: &'r pb::SimulateResult) -> Self {
        let statements =
            |statements: &'r [pb::StatementRef]| statements.iter().map(Statement::of).collect();
        let organizations = |detail: pb::OrganizationsDecisionDetail| Organizations {
            allowed_by_organizations: detail.allowed_by_organizations,
        };
        let boundary = |detail: pb::PermissionsBoundaryDecisionDetail| PermissionsBoundary {
            allowed_by_permissions_boundary: detail.allowed_by_permissions_boundary,
        };
        Self {
            eval_action_name: &result.eval_action_name,
            eval_resource_name: &result.eval_resource_name,
            eval_decision: &result.eval_decision,
            decision: result.decision().as_str_name(),
            reason: result.reason().as_str_name(),
            matched_statements: statements(&result.matched_statements),
            missing_context_values: &result.missing_context_values,
            organizations_decision_detail: result.organizations_decision_detail.map(organizations),
            permissions_boundary_decision_detail: result
                .permissions_boundary_decision_detail
                .map(boundary),
            determining_statements: statements(&result.determining_statements),
        }
    }
}

/// Writes a `SimulateResponse` on one line, with all its members.
pub(super) fn response(response: &pb::SimulateResponse) -> String {
    line(&Response {
        decision: response.decision().as_str_name(),
        reason: response.reason().as_str_name(),
        results: response.results.iter().map(PairResult::of).collect(),
        revision: &response.revision,
        request_id: &response.request_id,
    })
}
