//! Writes answers as JSON with all their members. Explanations take several lines, all others one.

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::authorizer::{
    Access, Answer, ContextKeyUse, Explained, Listed, PairAnswer, Permission, Refusal, Simulated,
    StatementName,
};
use crate::engine::decision::Reason;
use crate::language::document::PolicyType;
use crate::service::{convert, explain, lists, pb};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'r> {
    decision: &'static str,
    reason: &'static str,
    determining_statements: Vec<Statement<'r>>,
    revision: &'r str,
    request_id: &'r str,
    #[serde(skip_serializing_if = "str::is_empty")]
    decision_id: &'r str,
}

#[derive(Serialize)]
struct Statement<'r> {
    policy: &'r str,
    sid: &'r str,
    index: usize,
    r#type: &'static str,
    file: &'r str,
}

fn statements(names: &[StatementName]) -> Vec<Statement<'_>> {
    let statements = names.iter().map(|name| Statement {
        policy: &name.policy,
        sid: &name.sid,
        index: name.index,
        r#type: type_of(name.policy_type),
        file: &name.file,
    });
    statements.collect()
}

fn decision(is_allowed: bool) -> &'static str {
    convert::decision(is_allowed).as_str_name()
}

fn reason(reason: Option<Reason>) -> &'static str {
    pb::Reason::try_from(convert::number_of(reason))
        .unwrap_or_default()
        .as_str_name()
}

fn type_of(policy_type: Option<PolicyType>) -> &'static str {
    let policy_type = policy_type.map_or(pb::PolicyType::Unspecified, convert::policy_type);
    policy_type.as_str_name()
}

/// Writes an `AuthorizeResponse`.
pub fn answer(answer: &Answer) -> String {
    line(&Response {
        decision: decision(answer.is_allowed),
        reason: reason(answer.reason),
        determining_statements: statements(&answer.determining),
        revision: &answer.revision,
        request_id: &answer.request_id,
        decision_id: &answer.decision_id,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Simulation<'r> {
    decision: &'static str,
    reason: &'static str,
    results: Vec<Pair<'r>>,
    revision: &'r str,
    request_id: &'r str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pair<'r> {
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

impl<'r> Pair<'r> {
    fn of(pair: &'r PairAnswer) -> Self {
        let organizations = |allowed_by_organizations| Organizations {
            allowed_by_organizations,
        };
        let boundary = |allowed_by_permissions_boundary| PermissionsBoundary {
            allowed_by_permissions_boundary,
        };
        Self {
            eval_action_name: &pair.action,
            eval_resource_name: &pair.resource,
            eval_decision: pair.reason.map_or("", Reason::eval_decision),
            decision: decision(pair.is_allowed),
            reason: reason(pair.reason),
            matched_statements: statements(&pair.matched),
            missing_context_values: &pair.missing,
            organizations_decision_detail: pair.allowed_by_organizations.map(organizations),
            permissions_boundary_decision_detail: pair
                .allowed_by_permissions_boundary
                .map(boundary),
            determining_statements: statements(&pair.determining),
        }
    }
}

/// Writes a `SimulateResponse`.
pub fn simulated(simulated: &Simulated) -> String {
    line(&Simulation {
        decision: decision(simulated.is_allowed),
        reason: reason(simulated.reason),
        results: simulated.pairs.iter().map(Pair::of).collect(),
        revision: &simulated.revision,
        request_id: &simulated.request_id,
    })
}

/// Writes an `ExplainResponse` on several lines.
pub fn explained(explained: Explained) -> String {
    serde_json::to_string_pretty(&explain::response(explained)).unwrap_or_default()
}

/// Writes a `ListPermissionsResponse` on several lines.
pub fn permissions(listed: Listed<Permission>) -> String {
    serde_json::to_string_pretty(&lists::permissions(listed)).unwrap_or_default()
}

/// Writes a `ListPrincipalsResponse` on several lines.
pub fn principals(listed: Listed<Access>) -> String {
    serde_json::to_string_pretty(&lists::principals(listed)).unwrap_or_default()
}

/// Writes a `ListContextKeysResponse` on several lines.
pub fn context_keys(listed: Listed<ContextKeyUse>) -> String {
    serde_json::to_string_pretty(&lists::context_keys(listed)).unwrap_or_default()
}

/// Writes the name of an access's number.
pub(in crate::service) fn access_name<S: Serializer>(
    number: &i32,
    to: S,
) -> Result<S::Ok, S::Error> {
    let access = pb::Access::try_from(*number).unwrap_or_default();
    to.serialize_str(access.as_str_name())
}

/// Writes the name of a decision's number. An unknown number becomes the name of `DECISION_UNSPECIFIED`.
pub(in crate::service) fn decision_name<S: Serializer>(
    number: &i32,
    to: S,
) -> Result<S::Ok, S::Error> {
    let decision = pb::Decision::try_from(*number).unwrap_or_default();
    to.serialize_str(decision.as_str_name())
}

/// Writes the name of a reason's number.
pub(in crate::service) fn reason_name<S: Serializer>(
    number: &i32,
    to: S,
) -> Result<S::Ok, S::Error> {
    let reason = pb::Reason::try_from(*number).unwrap_or_default();
    to.serialize_str(reason.as_str_name())
}

/// Writes the name of a policy type's number.
pub(in crate::service) fn policy_type_name<S: Serializer>(
    number: &i32,
    to: S,
) -> Result<S::Ok, S::Error> {
    let policy_type = pb::PolicyType::try_from(*number).unwrap_or_default();
    to.serialize_str(policy_type.as_str_name())
}

/// Writes the name of a severity's number.
pub(in crate::service) fn severity_name<S: Serializer>(
    number: &i32,
    to: S,
) -> Result<S::Ok, S::Error> {
    let severity = pb::Severity::try_from(*number).unwrap_or_default();
    to.serialize_str(severity.as_str_name())
}

/// Writes a number of 64 bits as a string, as proto3 JSON does: many readers of JSON round large numbers.
pub(in crate::service) fn count<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(number)
}

/// Writes a time in UTC, or null if it is absent or out of range.
pub(in crate::service) fn rfc3339<S: Serializer>(
    time: &Option<prost_types::Timestamp>,
    to: S,
) -> Result<S::Ok, S::Error> {
    let time = time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    time.map(|time| time.to_string()).serialize(to)
}

/// The reason why a question has no answer: it is malformed, or the server could not answer it.
#[derive(Debug)]
pub struct NoAnswer {
    request_id: String,
    code: Code,
    field: String,
    message: String,
}

impl NoAnswer {
    /// Returns the error for a question that this process refused.
    pub fn refused(request_id: &str, refusal: Refusal) -> Self {
        Self {
            request_id: request_id.to_owned(),
            code: convert::code(refusal.kind),
            field: refusal.field,
            message: refusal.message,
        }
    }

    /// Returns the error for a question that a server did not answer.
    pub(in crate::service) fn by_server(request_id: &str, status: &Status) -> Self {
        let details = status.get_error_details();
        let violation = details
            .bad_request()
            .and_then(|request| request.field_violations.first());
        // The violation is enough, because the status's own message repeats the field.
        let (field, message) = violation.map_or(("", status.message()), |violation| {
            (violation.field.as_str(), violation.description.as_str())
        });
        Self {
            request_id: request_id.to_owned(),
            code: status.code(),
            field: field.to_owned(),
            message: message.to_owned(),
        }
    }

    /// Returns the error for a server's response that says neither allow nor deny. A client must take it for neither.
    pub(in crate::service) fn undecided(request_id: &str) -> Self {
        Self::unclear(request_id, convert::UNDECIDED.to_owned())
    }

    /// Returns the error for a server's response that this client does not understand and must not guess at. `message`
    /// says which part is unclear.
    pub(in crate::service) fn unclear(request_id: &str, message: String) -> Self {
        Self {
            request_id: request_id.to_owned(),
            code: Code::Unknown,
            field: String::new(),
            message,
        }
    }

    /// Returns the error for a line longer than `limit` bytes, whose content was skipped.
    pub fn line_too_long(limit: usize) -> Self {
        Self {
            request_id: String::new(),
            code: Code::OutOfRange,
            field: String::new(),
            message: format!("the line is longer than {limit} bytes"),
        }
    }

    /// Returns the error for a line that is not UTF-8.
    pub fn not_utf8() -> Self {
        Self::refused("", Refusal::malformed("", "the line is not UTF-8"))
    }

    /// Writes the JSON line that takes the place of the answer.
    pub fn to_json(&self) -> String {
        line(&Failed {
            request_id: &self.request_id,
            error: Error {
                code: code_name(self.code),
                message: &self.message,
                field: &self.field,
            },
        })
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", code_name(self.code))?;
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

impl std::error::Error for NoAnswer {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failed<'r> {
    request_id: &'r str,
    error: Error<'r>,
}

#[derive(Serialize)]
struct Error<'r> {
    code: &'static str,
    message: &'r str,
    field: &'r str,
}

/// Returns the name of a status code as gRPC spells it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

fn line(value: &impl Serialize) -> String {
    // Strings, numbers and lists always serialize. If that ever changes, the empty text is not an answer.
    serde_json::to_string(value).unwrap_or_default()
}
