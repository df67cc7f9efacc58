//! `Explain` on the wire: what was explained becomes a message, and a message what was explained.

mod read;

use super::{convert, pb};
use crate::authorizer::{Explained, Question, Refusal};
use crate::config::Limits;
use crate::engine::decision::Reason;
use crate::engine::explain::{
    Cause, ConditionResult, ElementResult, Explanation, LevelResult, PolicyValue, Source,
    StatementResult, TypeResult,
};
use crate::engine::layer::Verdict;
use crate::engine::principal::Strength;
use crate::engine::trace::Outcome;
use crate::language::condition::operator::Truth;
use crate::language::document::{Effect, PolicyType, Position};
pub(super) use read::explained;

/// Returns the question that `message` asks.
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

/// Returns the message that asks `question` of another server.
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

/// Returns the response that carries the explanation.
pub(super) fn response(explained: Explained) -> pb::ExplainResponse {
    let Explained {
        answer,
        explanation,
        hints,
    } = explained;
    let deciding = explanation.deciding().map(source_of).collect();
    let also_applying = explanation.also_applying().map(source_of).collect();
    let organizations = [PolicyType::ServiceControl, PolicyType::ResourceControl];
    let allowed_by_organizations = allowed_by(&explanation, &organizations);
    let boundary = [PolicyType::PermissionsBoundary];
    let allowed_by_permissions_boundary = allowed_by(&explanation, &boundary);
    let principal_account = explanation.principal_account.unwrap_or_default();
    let resource_account = explanation.resource_account.unwrap_or_default();
    let cross_account = explanation.cross_account.map(|sides| pb::CrossAccount {
        principal_account: principal_account.clone(),
        principal_side: sides.principal_side.as_str().to_owned(),
        resource_account: resource_account.clone(),
        resource_side: sides.resource_side.as_str().to_owned(),
    });
    let types = explanation.per_type.into_iter();
    let blocked_by = explanation.blocked_by.into_iter();
    let indeterminate = explanation.indeterminate.into_iter();
    let statements = explanation.statements.into_iter();
    pb::ExplainResponse {
        decision: convert::decision(answer.is_allowed).into(),
        reason: convert::number_of(answer.reason),
        determining_statements: convert::statement_refs(answer.determining),
        revision: answer.revision,
        request_id: answer.request_id,
        eval_decision: answer.reason.map_or("", Reason::eval_decision).to_owned(),
        evaluated_at: Some(convert::wire_timestamp(explanation.at)),
        principal_account,
        resource_account,
        deciding,
        also_applying,
        per_type: types.map(type_result).collect(),
        allowed_by_organizations,
        allowed_by_permissions_boundary,
        cross_account,
        blocked_by: blocked_by.map(|one| type_name(one).to_owned()).collect(),
        missing_context: explanation.missing_context,
        indeterminate: indeterminate
            .map(|(key, cause)| pb::IndeterminateKey {
                key,
                cause: cause.as_str().to_owned(),
            })
            .collect(),
        to_allow: explanation.to_allow,
        statements: statements.map(statement_result).collect(),
        hints,
        statements_left_out: explanation.n_left_out,
    }
}

/// The types that have results, and those that block (S-5, S-9).
const TYPES: &[PolicyType] = &[
    PolicyType::Identity,
    PolicyType::Resource,
    PolicyType::PermissionsBoundary,
    PolicyType::Session,
    PolicyType::ServiceControl,
    PolicyType::ResourceControl,
];

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

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Applies(_) => "applies",
        Outcome::OtherAction => "other-action",
        Outcome::OtherPrincipal => "other-principal",
        Outcome::OtherResource => "other-resource",
        Outcome::ConditionFails => "condition-fails",
    }
}

fn truth_name(truth: Truth) -> &'static str {
    match truth {
        Truth::True => "true",
        Truth::False => "false",
        Truth::Indeterminate => "indeterminate",
    }
}

/// Returns whether all policies of these types allow (S-5). Returns `None` if none of the types is in play.
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

fn type_result(of: TypeResult) -> pb::TypeResult {
    let strength = of.strength().map_or("", Strength::as_str);
    let level = |level: LevelResult| pb::LevelResult {
        node: level.node,
        result: level.verdict.as_str().to_owned(),
    };
    pb::TypeResult {
        r#type: type_name(of.policy_type).to_owned(),
        result: of.verdict.as_str().to_owned(),
        strength: strength.to_owned(),
        levels: of.levels.into_iter().map(level).collect(),
    }
}

fn source_of(statement: &StatementResult) -> pb::StatementSource {
    source(statement.source.clone(), statement.effect)
}

fn source(source: Source, effect: Effect) -> pb::StatementSource {
    let place = |position: Position| {
        (position != Position::default()).then_some(pb::Position {
            line: position.line,
            column: position.column,
        })
    };
    let policy_name = source.policy_name().to_owned();
    let named = convert::statement_ref(source.statement);
    pb::StatementSource {
        policy: named.policy,
        policy_name,
        document_id: source.document_id,
        source_type: source.source_type.as_str().to_owned(),
        attached_to: source.attached_to,
        version: source.version,
        sid: named.sid,
        index: named.index,
        r#type: named.r#type,
        file: named.file,
        pointer: source.pointer,
        start: place(source.extent.start),
        end: place(source.extent.end),
        effect: effect.as_str().to_owned(),
    }
}

fn statement_result(statement: StatementResult) -> pb::StatementResult {
    let strength = statement.strength.map_or("", Strength::as_str);
    let conditions = statement.conditions.into_iter();
    pb::StatementResult {
        source: Some(source(statement.source, statement.effect)),
        outcome: outcome_name(statement.outcome).to_owned(),
        counts: statement.counts,
        strength: strength.to_owned(),
        principal: statement.principal.map(element),
        action: Some(element(statement.action)),
        resource: statement.resource.map(element),
        conditions: conditions.map(condition).collect(),
    }
}

fn element(element: ElementResult) -> pb::ElementResult {
    pb::ElementResult {
        element: element.element.as_str().to_owned(),
        matches: element.matches,
        policy_values: policy_values(element.policy_values),
        request_value: element.request_value,
        matched_because_missing: element.matched_because_missing,
        failed_because_missing: element.failed_because_missing,
    }
}

fn condition(condition: ConditionResult) -> pb::ConditionResult {
    let cause = condition.indeterminate.map_or("", Cause::as_str);
    pb::ConditionResult {
        operator: condition.operator,
        key: condition.key,
        policy_values: policy_values(condition.policy_values),
        request_values: condition.request_values,
        result: truth_name(condition.holds).to_owned(),
        matched_because_missing: condition.matched_because_missing,
        failed_because_missing: condition.failed_because_missing,
        indeterminate: cause.to_owned(),
    }
}

fn policy_values(values: Vec<PolicyValue>) -> Vec<pb::PolicyValue> {
    let one = |value: PolicyValue| pb::PolicyValue {
        written: value.written,
        resolved: value.resolved,
        missing: value.missing,
    };
    values.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests;
