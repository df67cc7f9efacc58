//! `Explain`: a question is decided and its derivation goes out, as a message, as JSON or as text for people.

mod text;

use super::{convert, json, pb};
use crate::authorizer::{Explained, Question, Refusal};
use crate::config::Limits;
use crate::engine::explain::{
    ConditionResult, ElementResult, Explanation, PolicyValue, Source, StatementResult, TypeResult,
};
use crate::engine::layer::Verdict;
use crate::engine::principal::Strength;
use crate::engine::trace::Outcome;
use crate::language::condition::operator::Truth;
use crate::language::document::{Effect, PolicyType, Position};
pub use text::Colour;

/// The question in `message`.
pub(super) fn question<'b>(
    message: &'b pb::ExplainRequest,
    limits: &Limits,
) -> Result<Question<'b>, Refusal> {
    Ok(Question {
        principal: &message.principal,
        action: &message.action,
        resource: &message.resource,
        context: convert::entries(&message.context, "context", limits)?,
        session: convert::session(message.session.as_ref(), limits)?,
        resource_account: &message.resource_account,
        request_id: &message.request_id,
    })
}

/// The message that asks `question`, for a server elsewhere.
pub(super) fn message(question: &Question<'_>) -> pb::ExplainRequest {
    let pb::AuthorizeRequest {
        principal,
        action,
        resource,
        context,
        session,
        resource_account,
        request_id,
    } = convert::message(question);
    pb::ExplainRequest {
        principal,
        action,
        resource,
        context,
        session,
        resource_account,
        request_id,
    }
}

/// An explanation as a client receives it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainAnswer(pb::ExplainResponse);

impl From<&Explained> for ExplainAnswer {
    fn from(explained: &Explained) -> Self {
        Self(response(explained))
    }
}

impl ExplainAnswer {
    /// What a server elsewhere has answered; `None` if it says neither allow nor deny.
    pub(super) fn by_server(response: pb::ExplainResponse) -> Option<Self> {
        convert::is_allowed(response.decision).map(|_| Self(response))
    }

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

/// The response that says what was explained.
pub(super) fn response(explained: &Explained) -> pb::ExplainResponse {
    let explanation = &explained.explanation;
    let decision = &explanation.decision;
    let account = |account: &Option<String>| account.clone().unwrap_or_default();
    pb::ExplainResponse {
        decision: convert::decision(decision.is_allowed()).into(),
        reason: i32::from(decision.reason() as u8),
        determining_statements: decision
            .determining()
            .iter()
            .map(convert::statement_ref)
            .collect(),
        revision: explained.revision.clone(),
        request_id: explained.request_id.clone(),
        eval_decision: decision.reason().eval_decision().to_owned(),
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
        hints: explained.hints.clone(),
        statements_left_out: explanation.n_left_out,
    }
}

/// How many statements are named in one list.
const MAX_NAMED: usize = 1_000;

fn first<'e>(statements: impl Iterator<Item = &'e StatementResult>) -> Vec<pb::StatementSource> {
    statements.take(MAX_NAMED).map(source_of).collect()
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
