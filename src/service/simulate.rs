//! Simulation: a question about many actions and resources, with other policies, any context and any time. Its answer
//! grants nothing.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use jiff::Timestamp;
use prost::Message;
use prost_types::value::Kind;
use tonic::Status;

use super::question::{NoAnswer, guarded, in_words};
use super::{convert, pb};
use crate::analysis::simulate::{Evaluation, aggregate, evaluate};
use crate::compile::snapshot::Snapshot;
use crate::config::{
    Limits, MAX_SIMULATED_DOCUMENT_BYTES, MAX_SIMULATED_PAIRS, MAX_SIMULATION_BYTES,
    MAX_SIMULATION_RESULT_BYTES,
};
use crate::engine::request::{RawRequest, Request, RequestError};
use crate::engine::simulated::{RawOverrides, RawPolicy};
use crate::engine::work::{IsWanted, Work, wanted};
use crate::language::document::PolicyType;
use crate::name::{Action, Malformed, Resource};

mod json;

/// What to simulate, as a client would send it. Nothing is checked but its form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Simulation(pub(super) pb::SimulateRequest);

impl Simulation {
    /// For whom, and which actions and resources; an empty principal is nobody in particular.
    pub fn new(principal: String, actions: Vec<String>, resources: Vec<String>) -> Self {
        Self(pb::SimulateRequest {
            principal,
            actions,
            resources,
            ..Default::default()
        })
    }

    /// Reads the proto3 JSON of a `SimulateRequest`.
    pub fn from_json(text: &str) -> Result<Self, NoAnswer> {
        json::request(text)
            .map(Self)
            .map_err(|unreadable| NoAnswer {
                request_id: unreadable.request_id,
                status: Box::new(convert::refused(&unreadable.error)),
            })
    }

    /// Adds a context entry that is a string.
    pub fn context_text(&mut self, key: &str, text: &str) {
        self.push_context(key, Kind::StringValue(text.to_owned()).into());
    }

    /// Adds a context entry whose value is written as JSON; `null` makes the key absent.
    pub fn context_json(&mut self, key: &str, value: &str) -> Result<(), RequestError> {
        let value = super::json::value(value, &convert::member("context", key))?;
        self.push_context(key, value);
        Ok(())
    }

    fn push_context(&mut self, key: &str, value: prost_types::Value) {
        self.0.context.push(pb::simulate_request::ContextEntry {
            key: key.to_owned(),
            value: Some(value),
        });
    }

    /// Sets the facts of the session from the proto3 JSON of a `SessionContext`.
    pub fn session_json(&mut self, text: &str) -> Result<(), RequestError> {
        self.0.session = Some(super::json::session(text)?);
        Ok(())
    }

    /// Sets the account that owns the resources.
    pub fn resource_account(&mut self, account: String) {
        self.0.resource_account = account;
    }

    /// Sets the id that the answer gives back.
    pub fn request_id(&mut self, request_id: String) {
        self.0.request_id = request_id;
    }

    /// Sets the time it is asked at.
    pub fn at(&mut self, at: Timestamp) {
        self.0.evaluation_time = Some(convert::wire_timestamp(at));
    }

    /// Adds a policy document that the store does not have. There is one permissions boundary and one trust policy:
    /// of these the last one counts.
    pub fn policy(&mut self, policy_type: PolicyType, document: String) {
        let list = match policy_type {
            PolicyType::Identity => &mut self.0.identity_policies,
            PolicyType::Resource => &mut self.0.resource_policies,
            PolicyType::Session => &mut self.0.session_policies,
            PolicyType::ServiceControl => &mut self.0.service_control_policies,
            PolicyType::ResourceControl => &mut self.0.resource_control_policies,
            PolicyType::PermissionsBoundary => {
                self.0.permissions_boundary = document;
                return;
            }
            PolicyType::Trust => {
                self.0.trust_policy = document;
                return;
            }
        };
        list.push(document);
    }

    /// Lets none of the store's policies of this type count.
    pub fn replace(&mut self, policy_type: PolicyType) {
        let policy_type = convert::policy_type(policy_type);
        self.0.replace.push(policy_type.into());
    }

    /// Simulates here, at the time `now` if no other is set, as a server would.
    pub fn decide(
        self,
        snapshot: &Snapshot,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<SimulationAnswer, NoAnswer> {
        let request_id = self.0.request_id.clone();
        match answer(snapshot, limits, self.0, now, &wanted()) {
            Ok(answer) => Ok(SimulationAnswer(answer)),
            Err(status) => Err(NoAnswer {
                request_id,
                status: Box::new(status),
            }),
        }
    }
}

/// What was simulated, as a client receives it.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulationAnswer(pub(super) pb::SimulateResponse);

impl SimulationAnswer {
    /// Whether every action is allowed on every resource.
    pub fn is_allowed(&self) -> bool {
        self.0.decision() == pb::Decision::Allow
    }

    /// The proto3 JSON of the `SimulateResponse`, on one line.
    pub fn to_json(&self) -> String {
        json::response(&self.0)
    }
}

impl fmt::Display for SimulationAnswer {
    /// For people, on several lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |decision| match decision {
            pb::Decision::Allow => "allow",
            _ => "deny",
        };
        for result in &self.0.results {
            let (action, resource) = (&result.eval_action_name, &result.eval_resource_name);
            let (decision, reason) = (word(result.decision()), result.reason());
            let label = reason.as_str_name().trim_start_matches("REASON_");
            writeln!(f, "{decision}  {action} on {resource}")?;
            writeln!(f, "  {} ({label})", in_words(reason))?;
            for statement in &result.matched_statements {
                let sid = match statement.sid.as_str() {
                    "" => String::new(),
                    sid => format!(" `{sid}`"),
                };
                let (index, policy) = (statement.index, &statement.policy);
                writeln!(f, "  statement {index}{sid} of {policy} applies")?;
            }
            if !result.missing_context_values.is_empty() {
                let keys = result.missing_context_values.join(", ");
                writeln!(f, "  without a value: {keys}")?;
            }
        }
        let n_results = self.0.results.len();
        if n_results > 1 {
            let is_allowed =
                |result: &&pb::SimulateResult| result.decision() == pb::Decision::Allow;
            let n_allowed = self.0.results.iter().filter(is_allowed).count();
            let decision = word(self.0.decision());
            writeln!(f, "{decision}: {n_allowed} of {n_results} allowed")?;
        }
        write!(f, "  revision {}", self.0.revision)
    }
}

/// Simulates against one snapshot, as long as `is_wanted`. A panic fails this question alone.
pub(super) fn answer(
    snapshot: &Snapshot,
    limits: &Limits,
    mut question: pb::SimulateRequest,
    now: Timestamp,
    is_wanted: &IsWanted,
) -> Result<pb::SimulateResponse, Status> {
    // Nothing that a panic could leave half changed is used afterwards.
    guarded(AssertUnwindSafe(|| {
        simulate(
            snapshot,
            limits,
            std::mem::take(&mut question),
            now,
            is_wanted,
        )
    }))
}

fn simulate(
    snapshot: &Snapshot,
    limits: &Limits,
    mut question: pb::SimulateRequest,
    now: Timestamp,
    is_wanted: &IsWanted,
) -> Result<pb::SimulateResponse, RequestError> {
    let n_bytes = question.encoded_len();
    if n_bytes > MAX_SIMULATION_BYTES {
        let message =
            format!("the question has {n_bytes} bytes, the limit is {MAX_SIMULATION_BYTES}");
        return Err(convert::too_large("", message));
    }
    let limits = &Limits {
        max_question_bytes: MAX_SIMULATION_BYTES,
        ..*limits
    };
    let request_id = question.request_id.clone();
    let at = convert::timestamp(question.evaluation_time.take(), "evaluation_time")?;
    let actions = convert::strings(std::mem::take(&mut question.actions), "actions", limits)?;
    let resources = convert::strings(std::mem::take(&mut question.resources), "resources", limits)?;
    let overrides = overrides(&mut question, limits)?;
    for policy in &overrides.policies {
        let n_bytes = policy.text.len();
        if n_bytes > MAX_SIMULATED_DOCUMENT_BYTES {
            let message = format!(
                "the document has {n_bytes} bytes, the limit is {MAX_SIMULATED_DOCUMENT_BYTES}"
            );
            return Err(convert::too_large(policy.field.clone(), message));
        }
    }
    let raw = raw_request(question, limits)?;
    let actions = joined("action", &raw.action, "actions", actions, Action::parse)?;
    let resources = joined(
        "resource",
        &raw.resource,
        "resources",
        resources,
        Resource::parse,
    )?;
    let n_pairs = actions.len() * resources.len();
    if n_pairs > MAX_SIMULATED_PAIRS {
        let message = format!(
            "{n_pairs} pairs of an action and a resource are asked, the limit is {MAX_SIMULATED_PAIRS}"
        );
        return Err(convert::too_large("actions", message));
    }
    let raw = RawRequest {
        action: actions
            .first()
            .map(|one| one.text.clone())
            .unwrap_or_default(),
        resource: resources
            .first()
            .map(|one| one.text.clone())
            .unwrap_or_default(),
        ..raw
    };
    let mut request = Request::simulate_while(raw, overrides, at.unwrap_or(now), is_wanted)?;
    let work = Work::for_people(Arc::clone(is_wanted));
    let (mut results, mut reasons, mut n_result_bytes) = (Vec::new(), Vec::new(), 0);
    for action in &actions {
        request.action = action.value.clone();
        for resource in &resources {
            if !is_wanted() {
                return Err(RequestError::unwanted());
            }
            request.resource = resource.value.clone();
            let evaluation = evaluate(snapshot, &request, limits.max_list_values, &work)
                .map_err(|error| resource.blame(error))?;
            reasons.push(evaluation.decision.reason());
            let result = result(action.text.clone(), resource.text.clone(), &evaluation);
            n_result_bytes += result.encoded_len();
            if n_result_bytes > MAX_SIMULATION_RESULT_BYTES {
                let message = format!(
                    "the answer would be longer than {MAX_SIMULATION_RESULT_BYTES} bytes: ask for fewer pairs"
                );
                return Err(convert::too_large("actions", message));
            }
            results.push(result);
        }
    }
    let Some(reason) = aggregate(&reasons) else {
        return Err(RequestError::invalid("action", "there is none"));
    };
    Ok(pb::SimulateResponse {
        decision: convert::decision(reason.is_allow()).into(),
        reason: i32::from(reason as u8),
        results,
        revision: snapshot.revision.as_str().to_owned(),
        request_id,
    })
}

/// An action or a resource that is asked about.
struct Asked<T> {
    /// As it was asked.
    text: String,
    value: T,
    /// Where it stands: `resource`, `resources[3]`.
    field: String,
}

impl<T> Asked<T> {
    /// An error about the resource is about this one.
    fn blame(&self, error: RequestError) -> RequestError {
        match error.field.as_str() {
            "resource" => RequestError {
                field: self.field.clone(),
                ..error
            },
            _ => error,
        }
    }
}

/// The single one first, then the list; what is named twice stands there once. If there is none, the single one is
/// what is missing.
fn joined<T: PartialEq>(
    single_field: &str,
    single: &str,
    list_field: &str,
    list: Vec<String>,
    parse: fn(&str) -> Result<T, Malformed>,
) -> Result<Vec<Asked<T>>, RequestError> {
    let is_given = !single.is_empty() || list.is_empty();
    let single = is_given.then(|| (single.to_owned(), single_field.to_owned()));
    let list = list.into_iter().enumerate();
    let list = list.map(|(index, text)| (text, format!("{list_field}[{index}]")));
    let mut joined: Vec<Asked<T>> = Vec::new();
    for (text, field) in single.into_iter().chain(list) {
        let value =
            parse(&text).map_err(|malformed| RequestError::invalid(field.as_str(), malformed.0))?;
        if !joined.iter().any(|other| other.value == value) {
            joined.push(Asked { text, value, field });
        }
    }
    Ok(joined)
}

/// Takes what goes beyond a question out of it.
fn overrides(
    question: &mut pb::SimulateRequest,
    limits: &Limits,
) -> Result<RawOverrides, RequestError> {
    let n_entries = question.context.len();
    convert::check_n_entries(n_entries, "context", limits)?;
    // The empty list is absence too (C-7).
    let is_null = |entry: &pb::simulate_request::ContextEntry| {
        let kind = entry.value.as_ref().and_then(|value| value.kind.as_ref());
        match kind {
            Some(Kind::NullValue(_)) => true,
            Some(Kind::ListValue(list)) => list.values.is_empty(),
            _ => false,
        }
    };
    let (nulls, context) = std::mem::take(&mut question.context)
        .into_iter()
        .partition(is_null);
    question.context = context;
    let nulls: Vec<pb::simulate_request::ContextEntry> = nulls;
    for null in &nulls {
        convert::check_string(&null.key, "context", limits)?;
    }
    let mut policies = Vec::new();
    use PolicyType as T;
    for (policy_type, field, texts) in [
        (
            T::Identity,
            "identity_policies",
            &mut question.identity_policies,
        ),
        (
            T::Resource,
            "resource_policies",
            &mut question.resource_policies,
        ),
        (
            T::Session,
            "session_policies",
            &mut question.session_policies,
        ),
        (
            T::ServiceControl,
            "service_control_policies",
            &mut question.service_control_policies,
        ),
        (
            T::ResourceControl,
            "resource_control_policies",
            &mut question.resource_control_policies,
        ),
    ] {
        convert::check_n_values(texts.len(), field, limits)?;
        for (index, text) in std::mem::take(texts).into_iter().enumerate() {
            let field = format!("{field}[{index}]");
            policies.push(RawPolicy {
                policy_type,
                field,
                text,
            });
        }
    }
    for (policy_type, field, text) in [
        (
            T::PermissionsBoundary,
            "permissions_boundary",
            &mut question.permissions_boundary,
        ),
        (T::Trust, "trust_policy", &mut question.trust_policy),
    ] {
        let text = std::mem::take(text);
        let field = field.to_owned();
        policies.extend((!text.is_empty()).then_some(RawPolicy {
            policy_type,
            field,
            text,
        }));
    }
    let replace = question.replace.iter().enumerate().map(|(index, number)| {
        let unknown = || {
            let message = format!("there is no policy type {number}");
            RequestError::invalid(format!("replace[{index}]"), message)
        };
        let policy_type = pb::PolicyType::try_from(*number).map_err(|_| unknown())?;
        policy_type_of(policy_type).ok_or_else(unknown)
    });
    Ok(RawOverrides {
        absent: nulls.into_iter().map(|entry| entry.key).collect(),
        policies,
        replace: replace.collect::<Result<_, _>>()?,
    })
}

fn policy_type_of(policy_type: pb::PolicyType) -> Option<PolicyType> {
    Some(match policy_type {
        pb::PolicyType::Unspecified => return None,
        pb::PolicyType::Identity => PolicyType::Identity,
        pb::PolicyType::Resource => PolicyType::Resource,
        pb::PolicyType::PermissionsBoundary => PolicyType::PermissionsBoundary,
        pb::PolicyType::Session => PolicyType::Session,
        pb::PolicyType::ServiceControl => PolicyType::ServiceControl,
        pb::PolicyType::ResourceControl => PolicyType::ResourceControl,
        pb::PolicyType::Trust => PolicyType::Trust,
    })
}

/// The fields that a simulation shares with `Authorize`, held to the same limits.
fn raw_request(question: pb::SimulateRequest, limits: &Limits) -> Result<RawRequest, RequestError> {
    let entry = |entry: pb::simulate_request::ContextEntry| pb::authorize_request::ContextEntry {
        key: entry.key,
        value: entry.value,
    };
    let shared = pb::AuthorizeRequest {
        principal: question.principal,
        action: question.action,
        resource: question.resource,
        context: question.context.into_iter().map(entry).collect(),
        session: question.session,
        resource_account: question.resource_account,
        request_id: question.request_id,
    };
    convert::raw_request(shared, limits)
}

fn result(action: String, resource: String, evaluation: &Evaluation) -> pb::SimulateResult {
    let reason = evaluation.decision.reason();
    let eval_decision = match reason {
        _ if reason.is_allow() => "allowed",
        _ if reason.is_explicit_deny() => "explicitDeny",
        _ => "implicitDeny",
    };
    let refs = |statements: &[_]| statements.iter().map(convert::statement_ref).collect();
    let organizations = |allowed| pb::OrganizationsDecisionDetail {
        allowed_by_organizations: allowed,
    };
    let boundary = |allowed| pb::PermissionsBoundaryDecisionDetail {
        allowed_by_permissions_boundary: allowed,
    };
    pb::SimulateResult {
        eval_action_name: action,
        eval_resource_name: resource,
        eval_decision: eval_decision.to_owned(),
        decision: convert::decision(reason.is_allow()).into(),
        reason: i32::from(reason as u8),
        matched_statements: refs(&evaluation.matched),
        missing_context_values: evaluation.missing.clone(),
        organizations_decision_detail: evaluation.allowed_by_organizations.map(organizations),
        permissions_boundary_decision_detail: evaluation
            .allowed_by_permissions_boundary
            .map(boundary),
        determining_statements: refs(evaluation.decision.determining()),
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]
mod tests {
    use tonic::Code;

    use super::*;

    /// E-1: what goes wrong while evaluating is the status INTERNAL of that question, and neither an answer nor the
    /// end of the server.
    #[test]
    fn a_panic_is_an_internal_error_of_the_question_alone() {
        let account = r#"{"AccountId": "111111111111", "RootUserEnabled": true}"#;
        let Ok(loaded) = crate::store::load_texts([("account.json", account)]) else {
            panic!("the store loads");
        };
        let ask = |is_wanted: IsWanted| {
            let question = pb::SimulateRequest {
                principal: "arn:aws:iam::111111111111:root".to_owned(),
                action: "orders:Get".to_owned(),
                resource: "*".to_owned(),
                ..Default::default()
            };
            answer(
                &loaded.snapshot,
                &Limits::DEFAULT,
                question,
                Timestamp::UNIX_EPOCH,
                &is_wanted,
            )
        };
        assert_eq!(ask(wanted()).unwrap().decision(), pb::Decision::Allow);
        let status = ask(Arc::new(|| panic!("as a broken invariant would"))).unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("invariant"), "{status:?}");
        assert_eq!(ask(wanted()).unwrap().decision(), pb::Decision::Allow);
    }
}
