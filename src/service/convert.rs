//! Wire ↔ ours: a question as it arrived becomes a [`RawRequest`], a [`Decision`] becomes a response, and whatever
//! goes wrong becomes a status that no client can take for an allow.

use std::borrow::Cow;
use std::collections::HashMap;

use jiff::Timestamp;
use prost::Message;
use prost_types::Value;
use prost_types::value::Kind;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::pb;
use crate::compile::snapshot::Snapshot;
use crate::config::{Limits, NOT_READY_RETRY};
use crate::context::ContextValue;
use crate::engine::decision::{Decision, StatementRef};
use crate::engine::derived::ROLES_CLAIM;
use crate::engine::request::{RawRequest, RawSession, RequestError, RequestErrorKind};
use crate::language::document::PolicyType;

/// The domain of every `ErrorInfo`.
const DOMAIN: &str = "iamd";

/// The seconds that `google.protobuf.Timestamp` may hold: from the year 1 to the year 9999.
const TIMESTAMP_SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Checks sizes and forms, and takes the texts over. What they mean is checked by `Request::parse`.
pub(super) fn raw_request(
    question: pb::AuthorizeRequest,
    limits: &Limits,
) -> Result<RawRequest, RequestError> {
    let n_bytes = question.encoded_len();
    if n_bytes > limits.max_question_bytes {
        return Err(question_is_too_large(n_bytes, limits.max_question_bytes));
    }
    // The id is given back, not read; but an id over the limit is still a field over its limit.
    check_string(&question.request_id, "request_id", limits)?;
    check_n_entries(question.context.len(), "context", limits)?;
    Ok(RawRequest {
        principal: string(question.principal, "principal", limits)?,
        action: string(question.action, "action", limits)?,
        resource: string(question.resource, "resource", limits)?,
        context: values(
            question
                .context
                .into_iter()
                .map(|entry| (entry.key, entry.value)),
            "context",
            limits,
        )?,
        session: question
            .session
            .map(|session| raw_session(session, limits))
            .transpose()?,
        resource_account: string(question.resource_account, "resource_account", limits)?,
    })
}

fn raw_session(session: pb::SessionContext, limits: &Limits) -> Result<RawSession, RequestError> {
    let tags: Vec<(String, String)> = session
        .tags
        .into_iter()
        .map(|tag| (tag.key, tag.value))
        .collect();
    check_n_entries(tags.len(), "session.tags", limits)?;
    for (key, value) in &tags {
        check_string(key, "session.tags", limits)?;
        check_string(value, &member("session.tags", key), limits)?;
    }
    check_n_entries(session.claims.len(), "session.claims", limits)?;
    let claims = session
        .claims
        .into_iter()
        .filter(|entry| is_claim(&entry.key, entry.value.as_ref()))
        .map(|entry| match entry.value {
            // T-25: it is there, and names no role.
            Some(Value {
                kind: Some(Kind::StructValue(_)),
            }) => (entry.key, Some(no_values())),
            value => (entry.key, value),
        });
    check_n_entries(session.attributes.len(), "session.attributes", limits)?;
    let attributes = session
        .attributes
        .into_iter()
        .map(|entry| (entry.key, entry.value));
    Ok(RawSession {
        policies: strings(session.policies, "session.policies", limits)?,
        policy_arns: strings(session.policy_arns, "session.policy_arns", limits)?,
        tags,
        source_identity: string(session.source_identity, "session.source_identity", limits)?,
        issued_at: timestamp(session.issued_at, "session.issued_at")?,
        expires_at: timestamp(session.expires_at, "session.expires_at")?,
        mfa_at: timestamp(session.mfa_at, "session.mfa_at")?,
        transitive_tag_keys: strings(
            session.transitive_tag_keys,
            "session.transitive_tag_keys",
            limits,
        )?,
        claims: values(claims, "session.claims", limits)?,
        federated_provider: string(
            session.federated_provider,
            "session.federated_provider",
            limits,
        )?,
        parent: string(session.parent, "session.parent", limits)?,
        attributes: values(attributes, "session.attributes", limits)?,
    })
}

/// Whether a condition could ask for a claim of this value: one that is an object or `null` is dropped (T-22), but for the
/// one that is there to name roles.
fn is_claim(name: &str, value: Option<&Value>) -> bool {
    match value.and_then(|value| value.kind.as_ref()) {
        Some(Kind::StructValue(_)) => name.eq_ignore_ascii_case(ROLES_CLAIM),
        Some(Kind::NullValue(_)) => false,
        _ => true,
    }
}

fn no_values() -> Value {
    Value {
        kind: Some(Kind::ListValue(prost_types::ListValue::default())),
    }
}

/// The values of a map, each with its key; repeated keys stay, for C-4 to find them.
fn values(
    entries: impl Iterator<Item = (String, Option<Value>)>,
    field: &str,
    limits: &Limits,
) -> Result<Vec<(String, ContextValue)>, RequestError> {
    entries
        .map(|(key, value)| {
            check_string(&key, field, limits)?;
            let value = context_value(value, || member(field, &key), limits)?;
            Ok((key, value))
        })
        .collect()
}

/// A string, a number, a Boolean, or a list of them. `field` is only called to name the place of an error.
fn context_value(
    value: Option<Value>,
    field: impl Fn() -> String,
    limits: &Limits,
) -> Result<ContextValue, RequestError> {
    let list = match value.and_then(|value| value.kind) {
        Some(Kind::ListValue(list)) => list.values,
        kind => return scalar(kind, &field, limits),
    };
    let (n_values, most) = (list.len(), limits.max_list_values);
    if n_values > most {
        return Err(too_large(
            field(),
            format!("the list has {n_values} values, the limit is {most}"),
        ));
    }
    let scalars = list
        .into_iter()
        .map(|element| scalar(element.kind, &field, limits));
    Ok(ContextValue::list(scalars.collect::<Result<Vec<_>, _>>()?))
}

fn scalar(
    kind: Option<Kind>,
    field: &dyn Fn() -> String,
    limits: &Limits,
) -> Result<ContextValue, RequestError> {
    let wrong = |what: &str| {
        let message = format!(
            "{what} is no context value: send a string, a number, a Boolean or a list of them"
        );
        Err(RequestError::invalid(field(), message))
    };
    match kind {
        Some(Kind::StringValue(text)) if text.len() > limits.max_string_bytes => {
            Err(string_too_large(field(), text.len(), limits))
        }
        Some(Kind::StringValue(text)) => Ok(ContextValue::string(text)),
        Some(Kind::NumberValue(number)) => ContextValue::number(number)
            .map_err(|error| RequestError::invalid(field(), error.to_string())),
        Some(Kind::BoolValue(value)) => Ok(ContextValue::bool(value)),
        Some(Kind::NullValue(_)) => wrong("null"),
        Some(Kind::StructValue(_)) => wrong("an object"),
        Some(Kind::ListValue(_)) => wrong("a list inside a list"),
        None => wrong("a value without a kind"),
    }
}

pub(super) fn timestamp(
    wire: Option<prost_types::Timestamp>,
    field: &str,
) -> Result<Option<Timestamp>, RequestError> {
    let Some(prost_types::Timestamp { seconds, nanos }) = wire else {
        return Ok(None);
    };
    let in_range = TIMESTAMP_SECONDS.contains(&seconds) && (0..1_000_000_000).contains(&nanos);
    // jiff's own range ends a day before the year 10000 begins, so that every time zone can show it.
    match Timestamp::new(seconds, nanos) {
        Ok(time) if in_range => Ok(Some(time)),
        _ => Err(RequestError::invalid(
            field,
            "is no point in time between the years 1 and 9999",
        )),
    }
}

/// The protocol counts nanoseconds forward from the second before, jiff towards zero.
pub(super) fn wire_timestamp(time: Timestamp) -> prost_types::Timestamp {
    let nanos = time.as_nanosecond().rem_euclid(1_000_000_000);
    let seconds = time.as_nanosecond().div_euclid(1_000_000_000);
    prost_types::Timestamp {
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: i32::try_from(nanos).unwrap_or(i32::MAX),
    }
}

pub(super) fn strings(
    texts: Vec<String>,
    field: &str,
    limits: &Limits,
) -> Result<Vec<String>, RequestError> {
    check_n_values(texts.len(), field, limits)?;
    let too_long = |text: &String| text.len() > limits.max_string_bytes;
    if let Some((index, text)) = texts.iter().enumerate().find(|(_, text)| too_long(text)) {
        return Err(string_too_large(
            format!("{field}[{index}]"),
            text.len(),
            limits,
        ));
    }
    Ok(texts)
}

pub(super) fn check_n_values(
    n_values: usize,
    field: &str,
    limits: &Limits,
) -> Result<(), RequestError> {
    let most = limits.max_list_values;
    if n_values > most {
        return Err(too_large(
            field,
            format!("the list has {n_values} values, the limit is {most}"),
        ));
    }
    Ok(())
}

fn string(text: String, field: &str, limits: &Limits) -> Result<String, RequestError> {
    check_string(&text, field, limits).map(|()| text)
}

pub(super) fn check_string(text: &str, field: &str, limits: &Limits) -> Result<(), RequestError> {
    if text.len() > limits.max_string_bytes {
        return Err(string_too_large(field, text.len(), limits));
    }
    Ok(())
}

pub(super) fn check_n_entries(
    n_entries: usize,
    field: &str,
    limits: &Limits,
) -> Result<(), RequestError> {
    let most = limits.max_context_entries;
    if n_entries > most {
        return Err(too_large(
            field,
            format!("has {n_entries} entries, the limit is {most}"),
        ));
    }
    Ok(())
}

fn string_too_large(field: impl Into<String>, n_bytes: usize, limits: &Limits) -> RequestError {
    let most = limits.max_string_bytes;
    too_large(
        field,
        format!("the string has {n_bytes} bytes, the limit is {most}"),
    )
}

fn question_is_too_large(n_bytes: usize, most: usize) -> RequestError {
    let message = format!("the question has {n_bytes} bytes, the limit is {most}");
    too_large("", message)
}

/// `INVALID_ARGUMENT`: the message is longer than its call takes.
pub(super) fn question_too_large(n_bytes: usize, most: usize) -> Status {
    refused(&question_is_too_large(n_bytes, most))
}

/// `INVALID_ARGUMENT`: the message is none of the protocol.
pub(super) fn undecodable() -> Status {
    let message = "the message cannot be decoded".to_owned();
    refused(&RequestError::invalid("", message))
}

pub(super) fn too_large(field: impl Into<String>, message: String) -> RequestError {
    RequestError {
        kind: RequestErrorKind::TooLarge,
        field: field.into(),
        message,
    }
}

/// The path of a map's member as errors name it: `context["app:x"]`, with the key as JSON would write it.
pub(super) fn member(field: &str, key: &str) -> String {
    format!("{field}[{}]", serde_json::Value::from(key))
}

/// The response that says what was decided.
pub(super) fn response(
    snapshot: &Snapshot,
    decision: &Decision,
    request_id: String,
) -> pb::AuthorizeResponse {
    pb::AuthorizeResponse {
        decision: self::decision(decision.is_allowed()).into(),
        // The numbers of `Reason` are those of the protocol; a test below compares every one.
        reason: i32::from(decision.reason() as u8),
        determining_statements: decision.determining().iter().map(statement_ref).collect(),
        revision: snapshot.revision.as_str().to_owned(),
        request_id,
    }
}

pub(super) fn decision(is_allowed: bool) -> pb::Decision {
    if is_allowed {
        pb::Decision::Allow
    } else {
        pb::Decision::Deny
    }
}

pub(super) fn statement_ref(statement: &StatementRef) -> pb::StatementRef {
    pb::StatementRef {
        policy: statement.policy.name.to_string(),
        sid: statement.sid().to_owned(),
        index: u32::try_from(statement.index).unwrap_or(u32::MAX),
        r#type: policy_type(statement.policy.policy_type).into(),
        file: statement.policy.file.to_string(),
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

/// `INVALID_ARGUMENT`: the question is malformed, and which field.
pub(super) fn refused(error: &RequestError) -> Status {
    if error.kind == RequestErrorKind::Unwanted {
        return Status::cancelled(error.message.clone());
    }
    if error.kind == RequestErrorKind::TooMuchWork {
        tracing::error!(%error, "a question was given up");
        return internal();
    }
    let reason = match error.kind {
        RequestErrorKind::Invalid => "INVALID_REQUEST",
        RequestErrorKind::ReservedContextKey => "RESERVED_CONTEXT_KEY",
        RequestErrorKind::TooLarge => "TOO_LARGE",
        RequestErrorKind::TooMuchWork | RequestErrorKind::Unwanted => "INTERNAL_ERROR",
    };
    let (field, message) = (brief(&error.field), brief(&error.message));
    let mut details = error_info(reason);
    details.add_bad_request_violation(&*field, &*message);
    let message = match &*field {
        "" => message.into_owned(),
        field => format!("{field}: {message}"),
    };
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// The most bytes of a text in a status, a mark for what is left out apart.
const MAX_STATUS_TEXT_BYTES: usize = 512;

/// `text`, cut where it is too long for a status. Statuses travel as headers, percent-encoded and once more in the
/// details: most clients take 8 KiB of those, and report RESOURCE_EXHAUSTED in place of a status with more.
pub(super) fn brief(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_STATUS_TEXT_BYTES {
        return text.into();
    }
    let mut ends = (0..=MAX_STATUS_TEXT_BYTES).rev();
    let kept = ends.find_map(|end| text.get(..end)); // between two characters
    format!("{}…", kept.unwrap_or_default()).into()
}

/// `UNAVAILABLE`: no store has been loaded yet.
pub(super) fn not_ready() -> Status {
    let mut details = error_info("NOT_READY");
    details.set_retry_info(Some(NOT_READY_RETRY));
    Status::with_error_details(
        Code::Unavailable,
        "no policy store has been loaded yet",
        details,
    )
}

/// `PERMISSION_DENIED`: the call discloses policies, and this is no place for that (S-12).
pub(super) fn not_permitted() -> Status {
    let message = "this call discloses policies: it is open on loopback and Unix sockets only";
    Status::with_error_details(Code::PermissionDenied, message, error_info("NOT_PERMITTED"))
}

/// `INTERNAL`: a fault of iamd. What went wrong is in the log, not in the answer.
pub(super) fn internal() -> Status {
    let message = "an internal error stopped this question: see iamd's log";
    Status::with_error_details(Code::Internal, message, error_info("INTERNAL_ERROR"))
}

fn error_info(reason: &str) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, HashMap::<String, String>::new());
    details
}

#[cfg(test)]
mod tests;
