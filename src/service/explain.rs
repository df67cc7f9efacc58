//! `Explain`: a question is decided and its derivation goes out, as a message, as JSON or as text for people.

mod text;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use jiff::Timestamp;
use tonic::Status;

use super::hints::hints;
use super::question::guarded;
use super::{convert, json, pb};
use crate::compile::operator::Truth;
use crate::compile::snapshot::Snapshot;
use crate::config::Limits;
use crate::engine::decision::Decision;
use crate::engine::explain::{
    ConditionResult, ElementResult, Explanation, PolicyValue, Redacted, Source, StatementResult,
    TypeResult, explain_within,
};
use crate::engine::layer::Verdict;
use crate::engine::principal::Strength;
use crate::engine::request::Request;
use crate::engine::trace::Outcome;
use crate::engine::work::{IsWanted, Work};
use crate::language::document::{Effect, PolicyType, Position};
pub use text::Colour;

impl From<pb::AuthorizeRequest> for pb::ExplainRequest {
    fn from(question: pb::AuthorizeRequest) -> Self {
        let entry = |pb::authorize_request::ContextEntry { key, value }| {
            pb::explain_request::ContextEntry { key, value }
        };
        Self {
            principal: question.principal,
            action: question.action,
            resource: question.resource,
            context: question.context.into_iter().map(entry).collect(),
            session: question.session,
            resource_account: question.resource_account,
            request_id: question.request_id,
        }
    }
}

impl From<pb::ExplainRequest> for pb::AuthorizeRequest {
    fn from(question: pb::ExplainRequest) -> Self {
        let entry = |pb::explain_request::ContextEntry { key, value }| {
            pb::authorize_request::ContextEntry { key, value }
        };
        Self {
            principal: question.principal,
            action: question.action,
            resource: question.resource,
            context: question.context.into_iter().map(entry).collect(),
            session: question.session,
            resource_account: question.resource_account,
            request_id: question.request_id,
        }
    }
}

/// One question against one snapshot, with its derivation. A panic fails this question alone.
pub(super) fn explained(
    snapshot: &Snapshot,
    limits: &Limits,
    redacted: &Redacted,
    question: pb::AuthorizeRequest,
    now: Timestamp,
    is_wanted: &IsWanted,
) -> Result<pb::ExplainResponse, Status> {
    guarded(AssertUnwindSafe(|| {
        let request_id = question.request_id.clone();
        // As people typed it: what is evaluated is lower-cased.
        let asked = question.clone();
        let raw = convert::raw_request(question, limits)?;
        let request = Request::parse_for_people(raw, now)?;
        let work = Work::for_people(Arc::clone(is_wanted));
        let explanation = explain_within(snapshot, &request, &asked.action, redacted, &work)?;
        let answer = convert::response(snapshot, &explanation.decision, request_id);
        let hints = hints(&asked, snapshot, answer.reason());
        Ok(pb::ExplainResponse {
            hints,
            ..response(&explanation, answer)
        })
    }))
}

/// An explanation as a client receives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained(pub(super) pb::ExplainResponse);

impl Explained {
    /// Whether the principal may. An unknown or unspecified decision is no allow.
    pub fn is_allowed(&self) -> bool {
        self.0.decision() == pb::Decision::Allow
    }

    /// What in the question looks like a typing error.
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }

    /// The proto3 JSON of the `ExplainResponse`, on several lines.
    pub fn to_json(&self) -> String {
        json::explanation(&self.0)
    }

    /// For people, on several lines.
    pub fn to_text(&self, colour: Colour) -> String {
        text::text(&self.0, colour)
    }
}

fn response(explanation: &Explanation, answer: pb::AuthorizeResponse) -> pb::ExplainResponse {
    let account = |account: &Option<String>| account.clone().unwrap_or_default();
    pb::ExplainResponse {
        decision: answer.decision,
        reason: answer.reason,
        determining_statements: answer.determining_statements,
        revision: answer.revision,
        request_id: answer.request_id,
        eval_decision: eval_decision(&explanation.decision).to_owned(),
        evaluated_at: Some(convert::wire_timestamp(explanation.at)),
        principal_account: account(&explanation.principal_account),
        resource_account: account(&explanation.resource_account),
        deciding: first(explanation.deciding()),
        also_applying: first(explanation.also_applying()),
        per_type: explanation.per_type.iter().map(type_result).collect(),
        allowed_by_organizations: allowed_by(
            explanation,
            &[PolicyType::ServiceControl, PolicyType::ResourceControl],
        ),
        allowed_by_permissions_boundary: allowed_by(
            explanation,
            &[PolicyType::PermissionsBoundary],
        ),
        cross_account: explanation
            .cross_account
            .as_ref()
            .map(|sides| pb::CrossAccount {
                principal_account: account(&explanation.principal_account),
                principal_side: result(sides.principal_side).to_owned(),
                resource_account: account(&explanation.resource_account),
                resource_side: result(sides.resource_side).to_owned(),
            }),
        blocked_by: explanation
            .blocked_by
            .iter()
            .map(|policy_type| type_name(*policy_type).to_owned())
            .collect(),
        missing_context: explanation.missing_context.clone(),
        indeterminate: explanation
            .indeterminate
            .iter()
            .map(|(key, cause)| pb::IndeterminateKey {
                key: key.clone(),
                cause: cause.as_str().to_owned(),
            })
            .collect(),
        to_allow: explanation.to_allow.clone(),
        statements: explanation
            .statements
            .iter()
            .map(statement_result)
            .collect(),
        hints: Vec::new(),
        statements_left_out: explanation.n_left_out,
    }
}

/// How many statements are named in one list.
const MAX_NAMED: usize = 1_000;

fn first<'e>(statements: impl Iterator<Item = &'e StatementResult>) -> Vec<pb::StatementSource> {
    statements.take(MAX_NAMED).map(source_of).collect()
}

/// S-2: the names of AWS's EvaluationResult.
fn eval_decision(decision: &Decision) -> &'static str {
    match decision.reason() {
        reason if reason.is_allow() => "allowed",
        reason if reason.is_explicit_deny() => "explicitDeny",
        _ => "implicitDeny",
    }
}

fn result(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NotInPlay => "notApplicable",
        Verdict::ImplicitDeny => "implicitDeny",
        Verdict::Allow(_) => "allowed",
        Verdict::ExplicitDeny => "explicitDeny",
    }
}

fn type_name(policy_type: PolicyType) -> &'static str {
    match policy_type {
        PolicyType::Identity => "identity",
        PolicyType::Resource | PolicyType::Trust => "resource",
        PolicyType::PermissionsBoundary => "boundary",
        PolicyType::Session => "session",
        PolicyType::ServiceControl => "scp",
        PolicyType::ResourceControl => "rcp",
    }
}

fn strength_name(strength: Strength) -> &'static str {
    match strength {
        Strength::Account => "account",
        Strength::Entity => "entity",
        Strength::Direct => "direct",
    }
}

/// S-5: whether all of these types allow; nothing where none is in play.
fn allowed_by(explanation: &Explanation, types: &[PolicyType]) -> Option<bool> {
    let verdicts = types
        .iter()
        .filter_map(|policy_type| explanation.of_type(*policy_type))
        .map(|result| result.verdict)
        .filter(|verdict| *verdict != Verdict::NotInPlay);
    let mut allows = verdicts
        .map(|verdict| matches!(verdict, Verdict::Allow(_)))
        .peekable();
    allows.peek()?;
    Some(allows.all(|allows| allows))
}

fn type_result(of: &TypeResult) -> pb::TypeResult {
    let strength = match (of.policy_type, of.verdict) {
        (PolicyType::Resource, Verdict::Allow(strength)) => strength_name(strength),
        _ => "",
    };
    let level = |level: &crate::engine::explain::LevelResult| pb::LevelResult {
        node: level.node.clone(),
        result: result(level.verdict).to_owned(),
    };
    pb::TypeResult {
        r#type: type_name(of.policy_type).to_owned(),
        result: result(of.verdict).to_owned(),
        strength: strength.to_owned(),
        levels: of.levels.iter().map(level).collect(),
    }
}

fn source_of(statement: &StatementResult) -> pb::StatementSource {
    let source: &Source = &statement.source;
    let named = convert::statement_ref(&source.statement);
    let policy = &source.statement.policy;
    let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or_default().to_owned();
    let place = |position: Position| {
        (position != Position::default()).then_some(pb::Position {
            line: position.line,
            column: position.column,
        })
    };
    let extent = source.extent();
    pb::StatementSource {
        policy: named.policy,
        policy_name: source.policy_name().to_owned(),
        document_id: text(&policy.origin.document_id),
        source_type: source.source_type.to_owned(),
        attached_to: source.attached_to.clone(),
        version: text(&policy.origin.version),
        sid: named.sid,
        index: named.index,
        r#type: named.r#type,
        file: named.file,
        pointer: source.pointer(),
        start: place(extent.start),
        end: place(extent.end),
        effect: match statement.effect {
            Effect::Allow => "Allow".to_owned(),
            Effect::Deny => "Deny".to_owned(),
        },
    }
}

fn statement_result(statement: &StatementResult) -> pb::StatementResult {
    let outcome = match statement.outcome {
        Outcome::Applies(_) => "applies",
        Outcome::OtherAction => "other-action",
        Outcome::OtherPrincipal => "other-principal",
        Outcome::OtherResource => "other-resource",
        Outcome::ConditionFails => "condition-fails",
    };
    pb::StatementResult {
        source: Some(source_of(statement)),
        outcome: outcome.to_owned(),
        counts: statement.counts,
        strength: statement
            .strength
            .map_or_else(String::new, |strength| strength_name(strength).to_owned()),
        principal: statement.principal.as_ref().map(element),
        action: Some(element(&statement.action)),
        resource: statement.resource.as_ref().map(element),
        conditions: statement.conditions.iter().map(condition).collect(),
    }
}

fn element(element: &ElementResult) -> pb::ElementResult {
    pb::ElementResult {
        element: element.element.to_owned(),
        matches: element.matches,
        policy_values: element.policy_values.iter().map(policy_value).collect(),
        request_value: element.request_value.clone(),
        matched_because_missing: element.matched_because_missing,
        failed_because_missing: element.failed_because_missing,
    }
}

fn condition(condition: &ConditionResult) -> pb::ConditionResult {
    let result = match condition.holds {
        Truth::True => "true",
        Truth::False => "false",
        Truth::Indeterminate => "indeterminate",
    };
    let cause = condition.indeterminate.map_or("", |cause| cause.as_str());
    pb::ConditionResult {
        operator: condition.operator.clone(),
        key: condition.key.clone(),
        policy_values: condition.policy_values.iter().map(policy_value).collect(),
        request_values: condition.request_values.clone(),
        result: result.to_owned(),
        matched_because_missing: condition.matched_because_missing,
        failed_because_missing: condition.failed_because_missing,
        indeterminate: cause.to_owned(),
    }
}

fn policy_value(value: &PolicyValue) -> pb::PolicyValue {
    pb::PolicyValue {
        written: value.written.clone(),
        resolved: value.resolved.clone(),
        missing: value.missing.clone(),
    }
}
