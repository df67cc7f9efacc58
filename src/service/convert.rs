//! Converts between the wire and our types: a message becomes a [`Question`] that borrows its texts, a decision becomes
//! a message, and an error becomes a status that no client can take for an allow.

use std::borrow::Cow;
use std::collections::HashMap;

use jiff::Timestamp;
use prost::Message as _;
use prost_types::value::Kind;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::pb;
use crate::authorizer::{
    self, Answer, Outcome, Question, Refusal, RefusalKind, SessionFacts, Simulation, StatementName,
    Value,
};
use crate::config::{Limits, MAX_SIMULATION_BYTES, NOT_READY_RETRY, OVERLOADED_RETRY};
use crate::engine::decision::Reason;
use crate::language::document::PolicyType;
use crate::telemetry::counters;

/// The domain of every `ErrorInfo`.
const DOMAIN: &str = "iamd";

/// The seconds that `google.protobuf.Timestamp` may hold: from the year 1 to the year 9999.
const TIMESTAMP_SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// One entry of a map from names to values. All such maps share this type.
pub(super) type Entry = pb::authorize_request::ContextEntry;

/// Returns the question in `message`. This checks only forms that exist on the wire but not in our types. The
/// authorizer checks what the texts mean.
pub(super) fn question<'b>(
    message: &'b pb::AuthorizeRequest,
    limits: &Limits,
) -> Result<Question<'b>, Refusal> {
    Ok(Question {
        principal: &message.principal,
        action: &message.action,
        resource: &message.resource,
        context: entries(&message.context, "context", limits)?,
        session: session(message.session.as_ref(), limits)?,
        resource_account: &message.resource_account,
        request_id: &message.request_id,
    })
}

/// Returns the facts of the session.
pub(super) fn session<'b>(
    message: Option<&'b pb::SessionContext>,
    limits: &Limits,
) -> Result<Option<Box<SessionFacts<'b>>>, Refusal> {
    let Some(message) = message else {
        return Ok(None);
    };
    let tags = message.tags.iter();
    Ok(Some(Box::new(SessionFacts {
        policies: texts(&message.policies),
        policy_arns: texts(&message.policy_arns),
        tags: tags.map(|tag| (&*tag.key, &*tag.value)).collect(),
        source_identity: &message.source_identity,
        issued_at: timestamp(message.issued_at, "session.issued_at")?,
        expires_at: timestamp(message.expires_at, "session.expires_at")?,
        mfa_at: timestamp(message.mfa_at, "session.mfa_at")?,
        transitive_tag_keys: texts(&message.transitive_tag_keys),
        claims: entries(&message.claims, "session.claims", limits)?,
        federated_provider: &message.federated_provider,
        parent: &message.parent,
        attributes: entries(&message.attributes, "session.attributes", limits)?,
    })))
}

pub(super) fn texts(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// Returns the entries of the map `field`. Too many of them are refused before they are copied: an empty entry has two
/// bytes on the wire and many more in memory.
pub(super) fn entries<'b>(
    entries: &'b [Entry],
    field: &str,
    limits: &Limits,
) -> Result<Vec<(&'b str, Value<'b>)>, Refusal> {
    authorizer::check_n_entries(entries.len(), field, limits)?;
    let entries = entries.iter();
    let entries = entries.map(|entry| (entry.key.as_str(), value(entry.value.as_ref())));
    Ok(entries.collect())
}

fn value(message: Option<&prost_types::Value>) -> Value<'_> {
    match message.and_then(|value| value.kind.as_ref()) {
        None => Value::Unset,
        Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(*value),
        Some(Kind::NumberValue(number)) => Value::Number(*number),
        Some(Kind::StringValue(text)) => Value::Text(text),
        Some(Kind::StructValue(_)) => Value::Object,
        Some(Kind::ListValue(list)) => {
            Value::List(list.values.iter().map(|one| value(Some(one))).collect())
        }
    }
}

pub(super) fn timestamp(
    wire: Option<prost_types::Timestamp>,
    field: &str,
) -> Result<Option<Timestamp>, Refusal> {
    let Some(prost_types::Timestamp { seconds, nanos }) = wire else {
        return Ok(None);
    };
    let in_range = TIMESTAMP_SECONDS.contains(&seconds) && (0..1_000_000_000).contains(&nanos);
    // jiff's own range ends a day before the year 10000 begins, so that it can be shown in every time zone.
    match Timestamp::new(seconds, nanos) {
        Ok(time) if in_range => Ok(Some(time)),
        _ => Err(Refusal::malformed(
            field,
            "is not a time between the years 1 and 9999",
        )),
    }
}

/// Returns the message that asks a server this `question`.
pub(super) fn message(question: &Question<'_>) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        principal: question.principal.to_owned(),
        action: question.action.to_owned(),
        resource: question.resource.to_owned(),
        context: wire_entries(&question.context),
        session: question.session.as_deref().map(session_message),
        resource_account: question.resource_account.to_owned(),
        request_id: question.request_id.to_owned(),
    }
}

pub(super) fn session_message(facts: &SessionFacts<'_>) -> pb::SessionContext {
    let tag = |(key, value): &(&str, &str)| pb::session_context::TagsEntry {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    };
    pb::SessionContext {
        policies: owned(&facts.policies),
        policy_arns: owned(&facts.policy_arns),
        tags: facts.tags.iter().map(tag).collect(),
        source_identity: facts.source_identity.to_owned(),
        issued_at: facts.issued_at.map(wire_timestamp),
        expires_at: facts.expires_at.map(wire_timestamp),
        mfa_at: facts.mfa_at.map(wire_timestamp),
        transitive_tag_keys: owned(&facts.transitive_tag_keys),
        claims: wire_entries(&facts.claims),
        federated_provider: facts.federated_provider.to_owned(),
        parent: facts.parent.to_owned(),
        attributes: wire_entries(&facts.attributes),
    }
}

pub(super) fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

pub(super) fn wire_entries(entries: &[(&str, Value<'_>)]) -> Vec<Entry> {
    let entry = |(key, value): &(&str, Value<'_>)| Entry {
        key: (*key).to_owned(),
        value: Some(wire_value(value)),
    };
    entries.iter().map(entry).collect()
}

fn wire_value(value: &Value<'_>) -> prost_types::Value {
    let kind = match value {
        Value::Unset => None,
        Value::Null => Some(Kind::NullValue(0)),
        Value::Bool(value) => Some(Kind::BoolValue(*value)),
        Value::Number(number) => Some(Kind::NumberValue(*number)),
        Value::Text(text) => Some(Kind::StringValue((*text).to_owned())),
        Value::Object => Some(Kind::StructValue(prost_types::Struct::default())),
        Value::List(elements) => Some(Kind::ListValue(prost_types::ListValue {
            values: elements.iter().map(wire_value).collect(),
        })),
    };
    prost_types::Value { kind }
}

/// Converts a time. The protocol counts nanoseconds forward from the second before; jiff counts them towards zero.
pub(super) fn wire_timestamp(time: Timestamp) -> prost_types::Timestamp {
    let nanos = time.as_nanosecond().rem_euclid(1_000_000_000);
    let seconds = time.as_nanosecond().div_euclid(1_000_000_000);
    prost_types::Timestamp {
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: i32::try_from(nanos).unwrap_or(i32::MAX),
    }
}

/// Applies the size limit of the wire to a question that did not come over the wire, so that both get the same answer.
pub fn check_size(question: &Question<'_>, limits: &Limits) -> Result<(), Refusal> {
    check_n_bytes(message(question).encoded_len(), limits.max_question_bytes)
}

/// Applies the size limit of the wire to a simulation that did not come over the wire.
pub fn check_simulation_size(simulation: &Simulation<'_>) -> Result<(), Refusal> {
    let n_bytes = super::simulate::message(simulation).encoded_len();
    check_n_bytes(n_bytes, MAX_SIMULATION_BYTES)
}

pub(super) fn check_n_bytes(n_bytes: usize, most: usize) -> Result<(), Refusal> {
    if n_bytes > most {
        return Err(Refusal::question_too_large(n_bytes, most));
    }
    Ok(())
}

/// Returns the answer in a server's response; `None` if the response says neither allow nor deny.
pub(super) fn answer(response: pb::AuthorizeResponse) -> Option<Answer> {
    Some(Answer {
        is_allowed: is_allowed(response.decision)?,
        reason: Reason::from_number(response.reason),
        determining: names(response.determining_statements),
        revision: response.revision,
        request_id: response.request_id,
        decision_id: response.decision_id,
    })
}

/// The message for a server that answers neither allow nor deny.
pub(super) const UNDECIDED: &str = "the server answered neither allow nor deny";

/// Returns whether the decision of this number is an allow; `None` if it is neither an allow nor a denial.
pub(super) fn is_allowed(number: i32) -> Option<bool> {
    match pb::Decision::try_from(number) {
        Ok(pb::Decision::Allow) => Some(true),
        Ok(pb::Decision::Deny) => Some(false),
        Ok(pb::Decision::Unspecified) | Err(_) => None,
    }
}

pub(super) fn names(statements: Vec<pb::StatementRef>) -> Vec<StatementName> {
    let name = |statement: pb::StatementRef| StatementName {
        policy: statement.policy.into(),
        sid: statement.sid,
        index: statement.index as usize,
        policy_type: policy_type_of(statement.r#type),
        file: statement.file.into(),
    };
    statements.into_iter().map(name).collect()
}

/// Returns the response to a question, or the status that takes its place.
pub(super) fn response(outcome: &Outcome<'_>) -> Result<pb::AuthorizeResponse, Status> {
    let decision = outcome.answer.as_ref().map_err(status)?;
    Ok(pb::AuthorizeResponse {
        decision: self::decision(decision.is_allowed()).into(),
        reason: number_of(Some(decision.reason())),
        determining_statements: decision
            .determining()
            .iter()
            .map(|statement| statement_ref(statement.into()))
            .collect(),
        revision: outcome.revision().to_owned(),
        request_id: outcome.question.request_id.to_owned(),
        decision_id: String::new(),
    })
}

pub(super) fn decision(is_allowed: bool) -> pb::Decision {
    if is_allowed {
        pb::Decision::Allow
    } else {
        pb::Decision::Deny
    }
}

/// Returns the number of a reason in the protocol. A test below compares every number of `Reason` with the protocol's.
pub(super) fn number_of(reason: Option<Reason>) -> i32 {
    reason.map_or(0, |reason| i32::from(reason as u8))
}

pub(super) fn statement_refs(names: Vec<StatementName>) -> Vec<pb::StatementRef> {
    names.into_iter().map(statement_ref).collect()
}

pub(super) fn statement_ref(name: StatementName) -> pb::StatementRef {
    pb::StatementRef {
        policy: name.policy.to_string(),
        sid: name.sid,
        index: u32::try_from(name.index).unwrap_or(u32::MAX),
        r#type: name
            .policy_type
            .map_or(pb::PolicyType::Unspecified, policy_type)
            .into(),
        file: name.file.to_string(),
    }
}

pub(super) fn policy_type(policy_type: PolicyType) -> pb::PolicyType {
    match policy_type {
        PolicyType::Identity => pb::PolicyType::Identity,
        PolicyType::Resource => pb::PolicyType::Resource,
        PolicyType::PermissionsBoundary => pb::PolicyType::PermissionsBoundary,
        PolicyType::Session => pb::PolicyType::Session,
        PolicyType::ServiceControl => pb::PolicyType::ServiceControl,
        PolicyType::ResourceControl => pb::PolicyType::ResourceControl,
        PolicyType::Trust => pb::PolicyType::Trust,
    }
}

/// Returns the policy type of a number of the protocol; `None` for a number that this version does not know.
pub(super) fn policy_type_of(number: i32) -> Option<PolicyType> {
    Some(match pb::PolicyType::try_from(number).ok()? {
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

/// Returns the status for a question without an answer.
pub(super) fn status(refusal: &Refusal) -> Status {
    let reason = match refusal.kind {
        RefusalKind::Malformed => "INVALID_REQUEST",
        RefusalKind::ReservedContextKey => "RESERVED_CONTEXT_KEY",
        RefusalKind::TooLarge => "TOO_LARGE",
        RefusalKind::NotReady | RefusalKind::Unrecorded => "NOT_READY",
        RefusalKind::Internal => "INTERNAL_ERROR",
        RefusalKind::Unwanted => return Status::cancelled(refusal.message.clone()),
    };
    let code = code(refusal.kind);
    let (field, message) = (brief(&refusal.field), brief(&refusal.message));
    let mut details = error_info(reason);
    if code == Code::InvalidArgument {
        details.add_bad_request_violation(&*field, &*message);
    }
    if matches!(
        refusal.kind,
        RefusalKind::NotReady | RefusalKind::Unrecorded
    ) {
        details.set_retry_info(Some(NOT_READY_RETRY));
    }
    let message = match &*field {
        "" => message.into_owned(),
        field => format!("{field}: {message}"),
    };
    Status::with_error_details(code, message, details)
}

/// Returns the message that takes the place of an answer among others. It says what `status` says as the status of a
/// call: the same code, message and details.
pub(super) fn error(status: &Status) -> tonic_types::Status {
    // The details of a status are this message. A status without details has only a code and a message.
    match tonic_types::Status::decode(status.details()) {
        Ok(error) if error.code != 0 => error,
        _ => tonic_types::Status {
            code: status.code().into(),
            message: status.message().to_owned(),
            details: Vec::new(),
        },
    }
}

/// Returns the status code for a kind of refusal.
pub(super) fn code(kind: RefusalKind) -> Code {
    match kind {
        RefusalKind::Malformed | RefusalKind::ReservedContextKey | RefusalKind::TooLarge => {
            Code::InvalidArgument
        }
        RefusalKind::NotReady | RefusalKind::Unrecorded => Code::Unavailable,
        RefusalKind::Unwanted => Code::Cancelled,
        RefusalKind::Internal => Code::Internal,
    }
}

/// Returns `INVALID_ARGUMENT`, for bytes that are not a message of the protocol.
pub(super) fn undecodable() -> Status {
    status(&Refusal::malformed("", "the message cannot be decoded"))
}

/// The most bytes of a text in a status, without the mark `…` for the part that was cut.
const MAX_STATUS_TEXT_BYTES: usize = 512;

/// Cuts `text` if it is too long for a status. A status travels in headers, percent-encoded and a second time in the
/// details. Most clients accept 8 KiB of headers and report RESOURCE_EXHAUSTED in place of a longer status.
pub(super) fn brief(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_STATUS_TEXT_BYTES {
        return text.into();
    }
    let mut ends = (0..=MAX_STATUS_TEXT_BYTES).rev();
    let kept = ends.find_map(|end| text.get(..end)); // between two characters
    format!("{}…", kept.unwrap_or_default()).into()
}

/// Returns `DEADLINE_EXCEEDED`, for a call that ends at its deadline.
pub(super) fn deadline_exceeded() -> Status {
    Status::deadline_exceeded("the call's deadline has passed")
}

/// Returns `UNAVAILABLE`, for a stream that ends because the server drains.
pub(super) fn draining() -> Status {
    let message = "iamd is shutting down: ask the questions without an answer elsewhere";
    Status::with_error_details(Code::Unavailable, message, error_info("NOT_READY"))
}

/// Returns `PERMISSION_DENIED`, for a call that discloses policies and whose caller may not make it (S-12).
pub(super) fn not_permitted() -> Status {
    let message = "this call discloses policies: it is available to callers with `=disclose` in `callers`, and without \
                   that setting on loopback and Unix sockets only";
    Status::with_error_details(Code::PermissionDenied, message, error_info("NOT_PERMITTED"))
}

/// Returns `PERMISSION_DENIED`, for a call of somebody whom `callers` does not name.
pub(super) fn unknown_caller() -> Status {
    let message = "the setting `callers` of this server does not name this caller";
    Status::with_error_details(Code::PermissionDenied, message, error_info("NOT_PERMITTED"))
}

/// Returns `UNIMPLEMENTED`, for any other call on a listener for health checks.
pub(super) fn only_health() -> Status {
    Status::unimplemented("this address serves health checks alone: ask at an address of `listen`")
}

/// Returns `RESOURCE_EXHAUSTED`, for a call that is refused since the server has too much to do. `why` says of what.
/// The call counts as shed.
pub(super) fn overloaded(why: &str) -> Status {
    counters().shed();
    overload(why)
}

/// Returns the same status, for one more use of it.
pub(super) fn overload(why: &str) -> Status {
    let mut details = error_info("OVERLOADED");
    details.set_retry_info(Some(OVERLOADED_RETRY));
    Status::with_error_details(Code::ResourceExhausted, why, details)
}

/// Returns `INTERNAL`, for a fault of iamd. The log says what went wrong; the answer does not.
pub(super) fn internal() -> Status {
    status(&Refusal::internal())
}

fn error_info(reason: &str) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, HashMap::<String, String>::new());
    details
}

#[cfg(test)]
mod tests;
