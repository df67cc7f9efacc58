//! Reads an explanation from a server.
//!
//! A word that this version does not know might change the meaning of everything around it. An explanation with such a
//! word is refused, and the error names the word.

use super::{TYPES, outcome_name, truth_name, type_name};
use crate::authorizer::{Answer, Explained, StatementName};
use crate::engine::decision::Reason;
use crate::engine::explain::{
    Cause, ConditionResult, CrossAccount, Element, ElementResult, Explanation, LevelResult,
    MAX_NAMED, PolicyValue, Source, SourceType, StatementResult, TypeResult,
};
use crate::engine::layer::Verdict;
use crate::engine::principal::Strength;
use crate::engine::trace::Outcome;
use crate::language::condition::operator::Truth;
use crate::language::document::{Effect, Extent, PolicyType, Position};
use crate::service::{convert, pb};

/// The reason why a message is not an explanation, in words.
type Unclear = String;

/// Returns the explanation that `response` carries. Fails if it says neither allow nor deny, or if it has a value that
/// this version does not know.
pub(in crate::service) fn explained(response: pb::ExplainResponse) -> Result<Explained, Unclear> {
    let is_allowed = convert::is_allowed(response.decision);
    let is_allowed = is_allowed.ok_or(convert::UNDECIDED)?;
    let at = convert::timestamp(response.evaluated_at, "evaluated_at");
    let at = at.ok().flatten().ok_or_else(|| lacks("evaluated_at"))?;
    let per_type = each(response.per_type, type_result)?;
    let of_resource = per_type
        .iter()
        .find(|result| result.policy_type == PolicyType::Resource);
    let of_resource = of_resource.and_then(TypeResult::strength);
    let cross_account = response.cross_account.map(|sides| {
        Ok::<_, Unclear>(CrossAccount {
            principal_side: verdict(&sides.principal_side, None)?,
            resource_side: verdict(&sides.resource_side, of_resource)?,
        })
    });
    let mut statements = each(response.statements, statement_result)?;
    mark_deciding(&mut statements, response.deciding, response.also_applying)?;
    let account = |account: String| (!account.is_empty()).then_some(account);
    Ok(Explained {
        answer: Answer {
            is_allowed,
            reason: Reason::from_number(response.reason),
            determining: convert::names(response.determining_statements),
            revision: response.revision,
            request_id: response.request_id,
            decision_id: String::new(),
        },
        explanation: Explanation {
            at,
            principal_account: account(response.principal_account),
            resource_account: account(response.resource_account),
            per_type,
            cross_account: cross_account.transpose()?,
            blocked_by: each(response.blocked_by, |name| policy_type(&name))?,
            missing_context: response.missing_context,
            indeterminate: each(response.indeterminate, |key| {
                Ok((key.key, cause(&key.cause)?))
            })?,
            to_allow: response.to_allow,
            statements,
            n_left_out: response.statements_left_out,
        },
        hints: response.hints,
    })
}

fn each<W, O>(wire: Vec<W>, read: impl Fn(W) -> Result<O, Unclear>) -> Result<Vec<O>, Unclear> {
    wire.into_iter().map(read).collect()
}

/// Returns the item of `all` whose name is `word`.
fn called<T: Copy>(
    word: &str,
    field: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<T, Unclear> {
    let mut all = all.iter().copied();
    all.find(|one| name(*one) == word).ok_or_else(|| {
        let word = convert::brief(word);
        format!(
            "the server's explanation says `{word}` in `{field}`, which this version does not know"
        )
    })
}

fn lacks(field: &str) -> Unclear {
    format!("the server's explanation lacks `{field}`")
}

fn policy_type(name: &str) -> Result<PolicyType, Unclear> {
    called(name, "type", TYPES, type_name)
}

/// Returns the verdict that is called `word`. The message gives the strength of an Allow for resource policies only; an
/// Allow of any other type names the principal itself (P-11).
fn verdict(word: &str, strength: Option<Strength>) -> Result<Verdict, Unclear> {
    let allow = Verdict::Allow(strength.unwrap_or(Strength::Direct));
    let all = [
        Verdict::NotInPlay,
        Verdict::ImplicitDeny,
        allow,
        Verdict::ExplicitDeny,
    ];
    called(word, "result", &all, Verdict::as_str)
}

fn strength(word: &str) -> Result<Option<Strength>, Unclear> {
    const ALL: &[Strength] = &[Strength::Account, Strength::Entity, Strength::Direct];
    match word {
        "" => Ok(None),
        word => called(word, "strength", ALL, Strength::as_str).map(Some),
    }
}

fn cause(word: &str) -> Result<Cause, Unclear> {
    called(word, "cause", Cause::ALL, Cause::as_str)
}

fn type_result(of: pb::TypeResult) -> Result<TypeResult, Unclear> {
    let policy_type = policy_type(&of.r#type)?;
    let strength = strength(&of.strength)?;
    let verdict = verdict(&of.result, strength)?;
    let says_how = policy_type == PolicyType::Resource && matches!(verdict, Verdict::Allow(_));
    if says_how && strength.is_none() {
        return Err(lacks("strength"));
    }
    let level = |level: pb::LevelResult| {
        Ok(LevelResult {
            verdict: self::verdict(&level.result, None)?,
            node: level.node,
        })
    };
    Ok(TypeResult {
        policy_type,
        verdict,
        levels: each(of.levels, level)?,
    })
}

/// Marks the statements that both lists name. The lists have the order of `statements`, and a long list is cut at its
/// end.
fn mark_deciding(
    statements: &mut [StatementResult],
    deciding: Vec<pb::StatementSource>,
    also_applying: Vec<pb::StatementSource>,
) -> Result<(), Unclear> {
    let has_more = deciding.len() >= MAX_NAMED;
    let read = |wire| Ok(source(wire)?.0);
    let mut deciding = each(deciding, read)?.into_iter().peekable();
    let mut others = each(also_applying, read)?.into_iter().peekable();
    for statement in statements.iter_mut().filter(|one| one.applies()) {
        statement.is_deciding = if deciding.next_if_eq(&statement.source).is_some() {
            true
        } else {
            others.next_if_eq(&statement.source).is_none() && has_more
        };
    }
    match deciding.next() {
        // What decided must not go unsaid.
        Some(_) => Err(lacks("statements")),
        None => Ok(()),
    }
}

fn source(source: pb::StatementSource) -> Result<(Source, Effect), Unclear> {
    const EFFECTS: &[Effect] = &[Effect::Allow, Effect::Deny];
    let place = |position: Option<pb::Position>| {
        let position = position.unwrap_or_default();
        Position {
            line: position.line,
            column: position.column,
        }
    };
    let policy_type = convert::policy_type_of(source.r#type);
    let source_type = &source.source_type;
    let effect = called(&source.effect, "effect", EFFECTS, Effect::as_str)?;
    let source = Source {
        source_type: called(
            source_type,
            "source_type",
            SourceType::ALL,
            SourceType::as_str,
        )?,
        statement: StatementName {
            policy: source.policy.into(),
            sid: source.sid,
            index: source.index as usize,
            policy_type: Some(policy_type.ok_or_else(|| lacks("type"))?),
            file: source.file.into(),
        },
        attached_to: source.attached_to,
        version: source.version,
        document_id: source.document_id,
        pointer: source.pointer,
        extent: Extent {
            start: place(source.start),
            end: place(source.end),
        },
    };
    Ok((source, effect))
}

fn statement_result(statement: pb::StatementResult) -> Result<StatementResult, Unclear> {
    let (source, effect) = source(statement.source.ok_or_else(|| lacks("source"))?)?;
    let strength = strength(&statement.strength)?;
    let outcomes = [
        Outcome::Applies(strength.unwrap_or(Strength::Direct)),
        Outcome::OtherAction,
        Outcome::OtherPrincipal,
        Outcome::OtherResource,
        Outcome::ConditionFails,
    ];
    let outcome = called(&statement.outcome, "outcome", &outcomes, outcome_name)?;
    if strength.is_none() && matches!(outcome, Outcome::Applies(_)) {
        return Err(lacks("strength"));
    }
    Ok(StatementResult {
        source,
        effect,
        outcome,
        is_deciding: false,
        counts: statement.counts,
        principal: statement.principal.map(element).transpose()?,
        strength,
        action: element(statement.action.ok_or_else(|| lacks("action"))?)?,
        resource: statement.resource.map(element).transpose()?,
        conditions: each(statement.conditions, condition)?,
    })
}

fn element(element: pb::ElementResult) -> Result<ElementResult, Unclear> {
    let name = &element.element;
    Ok(ElementResult {
        element: called(name, "element", Element::ALL, Element::as_str)?,
        matches: element.matches,
        policy_values: policy_values(element.policy_values),
        request_value: element.request_value,
        matched_because_missing: element.matched_because_missing,
        failed_because_missing: element.failed_because_missing,
    })
}

fn condition(condition: pb::ConditionResult) -> Result<ConditionResult, Unclear> {
    const TRUTHS: &[Truth] = &[Truth::True, Truth::False, Truth::Indeterminate];
    let indeterminate = match condition.indeterminate.as_str() {
        "" => None,
        word => Some(cause(word)?),
    };
    Ok(ConditionResult {
        operator: condition.operator,
        key: condition.key,
        policy_values: policy_values(condition.policy_values),
        n_request_values: condition.request_values.len(),
        request_values: condition.request_values,
        holds: called(&condition.result, "result", TRUTHS, truth_name)?,
        matched_because_missing: condition.matched_because_missing,
        failed_because_missing: condition.failed_because_missing,
        indeterminate,
    })
}

fn policy_values(values: Vec<pb::PolicyValue>) -> Vec<PolicyValue> {
    let one = |value: pb::PolicyValue| PolicyValue {
        written: value.written,
        resolved: value.resolved,
        missing: value.missing,
    };
    values.into_iter().map(one).collect()
}
