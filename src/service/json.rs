//! Proto3 JSON of questions and answers, for the command line (and later for the HTTP doors).
//!
//! Stricter than the usual mapping where laxness could change a decision in silence: unknown and repeated members are
//! malformed. A null member is an absent one, as proto3 JSON has it; null as a value of a map or a list stays visible,
//! and is malformed. Names are read in lowerCamelCase and in snake_case and written in lowerCamelCase.

use jiff::Timestamp;
use prost_types::value::Kind;
use prost_types::{ListValue, NullValue, Struct, Value};
use serde::{Serialize, Serializer};
use tonic::Status;
use tonic_types::StatusExt;

use super::convert::{member, wire_timestamp};
use super::pb;
use crate::engine::request::RequestError;
use crate::language::finding::did_you_mean;
use crate::language::json::{self, Member, Node};

/// Deep enough for every legal question; what is nested deeper is malformed anyway.
const MAX_DEPTH: usize = 16;

/// A question that could not be read, with the id it came with, if that could be.
#[derive(Debug, PartialEq)]
pub(super) struct Unreadable {
    pub(super) request_id: String,
    pub(super) error: RequestError,
}

/// Reads an `AuthorizeRequest`.
pub(super) fn request(text: &str) -> Result<pb::AuthorizeRequest, Unreadable> {
    read(text, request_of)
}

/// Reads a message that may have an id.
pub(super) fn read<T>(
    text: &str,
    read: impl Fn(&Node<'_>) -> Result<T, RequestError>,
) -> Result<T, Unreadable> {
    let unreadable = |request_id: &str, error| Unreadable {
        request_id: request_id.to_owned(),
        error,
    };
    let root =
        json::parse(text, MAX_DEPTH).map_err(|error| unreadable("", not_json(text, &error)))?;
    read(&root).map_err(|error| {
        let id = root
            .member("requestId")
            .or_else(|| root.member("request_id"));
        unreadable(
            id.and_then(|member| member.value.as_str())
                .unwrap_or_default(),
            error,
        )
    })
}

/// Reads a `SessionContext`.
pub(super) fn session(text: &str) -> Result<pb::SessionContext, RequestError> {
    let root = json::parse(text, MAX_DEPTH).map_err(|error| {
        let RequestError { message, .. } = not_json(text, &error);
        RequestError::invalid("session", message)
    })?;
    session_of(&root, "session")
}

/// Reads one value of a context. `field` names it in errors.
pub(super) fn value(text: &str, field: &str) -> Result<Value, RequestError> {
    let root = json::parse(text, MAX_DEPTH).map_err(|error| {
        let RequestError { message, .. } = not_json(text, &error);
        RequestError::invalid(field, message)
    })?;
    value_of(&root, field)
}

fn not_json(text: &str, error: &json::SyntaxError) -> RequestError {
    let before = text.get(..error.offset).unwrap_or(text);
    let column = before.chars().count() + 1;
    RequestError::invalid("", format!("no JSON: {} at column {column}", error.message))
}

fn request_of(root: &Node<'_>) -> Result<pb::AuthorizeRequest, RequestError> {
    let names = [
        ("principal", "principal"),
        ("action", "action"),
        ("resource", "resource"),
        ("context", "context"),
        ("session", "session"),
        ("resource_account", "resourceAccount"),
        ("request_id", "requestId"),
    ];
    let [
        principal,
        action,
        resource,
        context,
        session,
        resource_account,
        request_id,
    ] = members(root, "", names)?;
    let context_entry = |(key, value)| pb::authorize_request::ContextEntry {
        key,
        value: Some(value),
    };
    Ok(pb::AuthorizeRequest {
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
    })
}

pub(super) fn session_of(node: &Node<'_>, path: &str) -> Result<pb::SessionContext, RequestError> {
    let names = [
        ("policies", "policies"),
        ("policy_arns", "policyArns"),
        ("tags", "tags"),
        ("source_identity", "sourceIdentity"),
        ("issued_at", "issuedAt"),
        ("expires_at", "expiresAt"),
        ("mfa_at", "mfaAt"),
        ("transitive_tag_keys", "transitiveTagKeys"),
        ("claims", "claims"),
        ("federated_provider", "federatedProvider"),
        ("parent", "parent"),
        ("attributes", "attributes"),
    ];
    let [
        policies,
        arns,
        tags,
        source_identity,
        issued_at,
        expires_at,
        mfa_at,
        tag_keys,
        claims,
        provider,
        parent,
        attributes,
    ] = members(node, path, names)?;
    let at = |name: &str| format!("{path}.{name}");
    let tag = |(key, value)| pb::session_context::TagsEntry { key, value };
    let claim = |(key, value)| pb::session_context::ClaimsEntry {
        key,
        value: Some(value),
    };
    let attribute = |(key, value)| pb::session_context::AttributesEntry {
        key,
        value: Some(value),
    };
    Ok(pb::SessionContext {
        policies: texts_of(policies, &at("policies"))?,
        policy_arns: texts_of(arns, &at("policy_arns"))?,
        tags: map_of(tags, &at("tags"), |node, path| text_of(Some(node), path))?
            .into_iter()
            .map(tag)
            .collect(),
        source_identity: text_of(source_identity, &at("source_identity"))?,
        issued_at: time_of(issued_at, &at("issued_at"))?,
        expires_at: time_of(expires_at, &at("expires_at"))?,
        mfa_at: time_of(mfa_at, &at("mfa_at"))?,
        transitive_tag_keys: texts_of(tag_keys, &at("transitive_tag_keys"))?,
        claims: map_of(claims, &at("claims"), value_of)?
            .into_iter()
            .map(claim)
            .collect(),
        federated_provider: text_of(provider, &at("federated_provider"))?,
        parent: text_of(parent, &at("parent"))?,
        attributes: map_of(attributes, &at("attributes"), value_of)?
            .into_iter()
            .map(attribute)
            .collect(),
    })
}

/// The members of an object by their two names (the same where they don't differ), in the order of `names`.
pub(super) fn members<'n, 't, const N: usize>(
    node: &'n Node<'t>,
    path: &str,
    names: [(&str, &str); N],
) -> Result<[Option<&'n Node<'t>>; N], RequestError> {
    let mut found = [None; N];
    for Member { name, value, .. } in object(node, path)? {
        let field = if path.is_empty() {
            name.to_string()
        } else {
            format!("{path}.{name}")
        };
        let slot = names
            .iter()
            .position(|(snake, camel)| snake == name || camel == name);
        let Some(slot) = slot.and_then(|slot| found.get_mut(slot)) else {
            let guess = did_you_mean(name, names.iter().map(|(_, camel)| *camel));
            let guess = guess.map(|guess| format!(": {guess}")).unwrap_or_default();
            return Err(RequestError::invalid(
                field,
                format!("unknown member `{name}`{guess}"),
            ));
        };
        if slot.replace(value).is_some() {
            return Err(RequestError::invalid(
                field,
                format!("`{name}` stands here twice"),
            ));
        }
    }
    Ok(found.map(|value| value.filter(|value| value.value != json::Value::Null)))
}

/// The entries of a map. Repeated keys stay, for C-4 to find them.
pub(super) fn map_of<T>(
    node: Option<&Node<'_>>,
    path: &str,
    read: impl Fn(&Node<'_>, &str) -> Result<T, RequestError>,
) -> Result<Vec<(String, T)>, RequestError> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    let entry = |Member { name, value, .. }: &Member<'_>| {
        Ok((name.to_string(), read(value, &member(path, name))?))
    };
    object(node, path)?.iter().map(entry).collect()
}

fn object<'n, 't>(node: &'n Node<'t>, path: &str) -> Result<&'n [Member<'t>], RequestError> {
    match &node.value {
        json::Value::Object(members) => Ok(members),
        _ => Err(RequestError::invalid(
            path,
            format!("must be an object, not {}", node.kind()),
        )),
    }
}

pub(super) fn text_of(node: Option<&Node<'_>>, path: &str) -> Result<String, RequestError> {
    let Some(node) = node else {
        return Ok(String::new());
    };
    let wrong = || RequestError::invalid(path, format!("must be a string, not {}", node.kind()));
    node.as_str().map(str::to_owned).ok_or_else(wrong)
}

pub(super) fn texts_of(node: Option<&Node<'_>>, path: &str) -> Result<Vec<String>, RequestError> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    let json::Value::Array(elements) = &node.value else {
        return Err(RequestError::invalid(
            path,
            format!("must be a list of strings, not {}", node.kind()),
        ));
    };
    let element = |(index, element)| text_of(Some(element), &format!("{path}[{index}]"));
    elements.iter().enumerate().map(element).collect()
}

/// RFC 3339, with `T` between date and time and an offset.
pub(super) fn time_of(
    node: Option<&Node<'_>>,
    path: &str,
) -> Result<Option<prost_types::Timestamp>, RequestError> {
    let Some(node) = node else { return Ok(None) };
    let text = text_of(Some(node), path)?;
    // jiff reads more forms than RFC 3339 has: other separators, shorter offsets, time zone names.
    let bytes = text.as_bytes();
    let has_form = bytes
        .get(10)
        .is_some_and(|byte| byte.eq_ignore_ascii_case(&b'T'))
        && (bytes
            .last()
            .is_some_and(|byte| byte.eq_ignore_ascii_case(&b'Z'))
            || bytes
                .len()
                .checked_sub(3)
                .and_then(|colon| bytes.get(colon))
                == Some(&b':'))
        && bytes.get(13) == Some(&b':')
        && bytes.get(16) == Some(&b':');
    match text.parse::<Timestamp>() {
        Ok(time) if has_form => Ok(Some(wire_timestamp(time))),
        _ => {
            let message =
                format!("`{text}` is no time as RFC 3339 writes it: `2024-06-01T12:00:00Z`");
            Err(RequestError::invalid(path, message))
        }
    }
}

/// Any JSON value; which of them may stand in a context is not decided here.
pub(super) fn value_of(node: &Node<'_>, path: &str) -> Result<Value, RequestError> {
    let kind = match &node.value {
        json::Value::Null => Kind::NullValue(NullValue::NullValue.into()),
        json::Value::Bool(value) => Kind::BoolValue(*value),
        // The nearest double. One of 2^53 or more is not below it after rounding either, so it is refused (C-5).
        json::Value::Number(source) => match source.parse() {
            Ok(number) => Kind::NumberValue(number),
            Err(_) => {
                return Err(RequestError::invalid(
                    path,
                    format!("`{source}` is no number"),
                ));
            }
        },
        json::Value::String(text) => Kind::StringValue(text.to_string()),
        json::Value::Array(elements) => {
            let values = elements.iter().map(|element| value_of(element, path));
            let values = values.collect::<Result<_, _>>()?;
            Kind::ListValue(ListValue { values })
        }
        // Malformed as a whole, so its members don't matter.
        json::Value::Object(_) => Kind::StructValue(Struct::default()),
    };
    Ok(Value { kind: Some(kind) })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'r> {
    decision: &'static str,
    reason: &'static str,
    determining_statements: Vec<Statement<'r>>,
    revision: &'r str,
    request_id: &'r str,
}

#[derive(Serialize)]
pub(super) struct Statement<'r> {
    policy: &'r str,
    sid: &'r str,
    index: u32,
    r#type: &'static str,
    file: &'r str,
}

impl<'r> Statement<'r> {
    pub(super) fn of(statement: &'r pb::StatementRef) -> Self {
        Self {
            policy: &statement.policy,
            sid: &statement.sid,
            index: statement.index,
            r#type: statement.r#type().as_str_name(),
            file: &statement.file,
        }
    }
}

/// Writes an `AuthorizeResponse` on one line, with all its members.
pub(super) fn response(response: &pb::AuthorizeResponse) -> String {
    line(&Response {
        decision: response.decision().as_str_name(),
        reason: response.reason().as_str_name(),
        determining_statements: response
            .determining_statements
            .iter()
            .map(Statement::of)
            .collect(),
        revision: &response.revision,
        request_id: &response.request_id,
    })
}

/// Writes an `ExplainResponse` on several lines, with all its members.
pub(super) fn explanation(response: &pb::ExplainResponse) -> String {
    serde_json::to_string_pretty(response).unwrap_or_default()
}

/// The name of a decision's number; one that is not known is unspecified.
pub(super) fn decision_name<S: Serializer>(number: &i32, to: S) -> Result<S::Ok, S::Error> {
    let decision = pb::Decision::try_from(*number).unwrap_or_default();
    to.serialize_str(decision.as_str_name())
}

/// The name of a reason's number.
pub(super) fn reason_name<S: Serializer>(number: &i32, to: S) -> Result<S::Ok, S::Error> {
    let reason = pb::Reason::try_from(*number).unwrap_or_default();
    to.serialize_str(reason.as_str_name())
}

/// The name of a policy type's number.
pub(super) fn policy_type_name<S: Serializer>(number: &i32, to: S) -> Result<S::Ok, S::Error> {
    let policy_type = pb::PolicyType::try_from(*number).unwrap_or_default();
    to.serialize_str(policy_type.as_str_name())
}

/// A time in UTC; null for one that is absent or out of range.
pub(super) fn rfc3339<S: Serializer>(
    time: &Option<prost_types::Timestamp>,
    to: S,
) -> Result<S::Ok, S::Error> {
    let time = time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    time.map(|time| time.to_string()).serialize(to)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NoAnswer<'r> {
    request_id: &'r str,
    error: Error<'r>,
}

#[derive(Serialize)]
struct Error<'r> {
    code: &'static str,
    message: &'r str,
    field: &'r str,
}

/// Writes a status in place of an answer, on one line.
pub(super) fn no_answer(request_id: &str, status: &Status) -> String {
    let details = status.get_error_details();
    let violation = details
        .bad_request()
        .and_then(|request| request.field_violations.first());
    // The violation alone: the status' own message repeats the field.
    let (field, message) = violation.map_or(("", status.message()), |violation| {
        (violation.field.as_str(), violation.description.as_str())
    });
    line(&NoAnswer {
        request_id,
        error: Error {
            code: code_name(status.code()),
            message,
            field,
        },
    })
}

/// The name of a status code as the protocol writes it.
pub(super) fn code_name(code: tonic::Code) -> &'static str {
    use tonic::Code;
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

pub(super) fn line(value: &impl Serialize) -> String {
    // Strings, numbers and lists always serialize; should that change, no text is no answer.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;
    use crate::config::Limits;
    use crate::service::convert::{raw_request, refused};

    fn error(text: &str) -> RequestError {
        match request(text) {
            Ok(request) => raw_request(request, &Limits::DEFAULT).unwrap_err(),
            Err(unreadable) => unreadable.error,
        }
    }

    #[test]
    fn both_spellings_of_names_are_read() {
        let camel = r#"{"principal":"p","action":"a","resource":"r","resourceAccount":"1","requestId":"7",
            "context":{"app:n":1,"app:l":["x",true]},
            "session":{"policyArns":["x"],"tags":{"k":"v"},"issuedAt":"2024-06-01T00:00:00.5Z","mfaAt":"2024-06-01T02:00:00+02:00"}}"#;
        let snake = camel
            .replace("resourceAccount", "resource_account")
            .replace("requestId", "request_id")
            .replace("policyArns", "policy_arns")
            .replace("issuedAt", "issued_at")
            .replace("mfaAt", "mfa_at");
        let read = request(camel).unwrap();
        assert_eq!(read, request(&snake).unwrap());
        assert_eq!(read.request_id, "7");
        let session = read.session.unwrap();
        assert_eq!(
            session.issued_at,
            Some(prost_types::Timestamp {
                seconds: 1_717_200_000,
                nanos: 500_000_000
            })
        );
        assert_eq!(session.mfa_at.unwrap().seconds, 1_717_200_000);
    }

    #[test]
    fn whatever_is_not_a_question_is_malformed_with_its_place() {
        for (text, field) in [
            ("", ""),
            ("{", ""),
            ("[]", ""),
            ("null", ""),
            ("{} {}", ""),
            (r#"{"principle":"x"}"#, "principle"),
            (r#"{"principal":1}"#, "principal"),
            (r#"{"principal":null,"principal":"p"}"#, "principal"),
            (r#"{"requestId":"a","request_id":"a"}"#, "request_id"),
            (r#"{"action":"a","action":"a"}"#, "action"),
            (r#"{"session":{"tags":{"a":null}}}"#, r#"session.tags["a"]"#),
            (r#"{"session":{"policies":[null]}}"#, "session.policies[0]"),
            (r#"{"session":{"Tags":{}}}"#, "session.Tags"),
            (r#"{"session":{"tags":{"a":1}}}"#, r#"session.tags["a"]"#),
            (r#"{"session":{"policies":"{}"}}"#, "session.policies"),
            (r#"{"session":{"policies":[{}]}}"#, "session.policies[0]"),
            (r#"{"session":{"issuedAt":1}}"#, "session.issued_at"),
            (
                r#"{"session":{"issuedAt":"2024-06-01"}}"#,
                "session.issued_at",
            ),
            (
                r#"{"session":{"issuedAt":"2024-06-01 00:00:00Z"}}"#,
                "session.issued_at",
            ),
            (
                r#"{"session":{"issuedAt":"2024-06-01T00:00:00"}}"#,
                "session.issued_at",
            ),
            (
                r#"{"session":{"issuedAt":"2024-06-01T00:00:00+02"}}"#,
                "session.issued_at",
            ),
            (
                r#"{"session":{"issuedAt":"2024-06-01T00:00Z"}}"#,
                "session.issued_at",
            ),
            (
                r#"{"session":{"issuedAt":"2024-06-01T00:00:00Z[UTC]"}}"#,
                "session.issued_at",
            ),
            (r#"{"context":[]}"#, "context"),
            (r#"{"context":{"app:x":null}}"#, r#"context["app:x"]"#),
            (r#"{"context":{"app:x":{"a":1}}}"#, r#"context["app:x"]"#),
            (r#"{"context":{"app:x":[1,[2]]}}"#, r#"context["app:x"]"#),
            (
                r#"{"context":{"app:x":9007199254740992}}"#,
                r#"context["app:x"]"#,
            ),
            (
                r#"{"context":{"app:x":9007199254740993}}"#,
                r#"context["app:x"]"#,
            ),
            (
                r#"{"context":{"app:x":-9007199254740993}}"#,
                r#"context["app:x"]"#,
            ),
            (r#"{"context":{"app:x":[1e400]}}"#, r#"context["app:x"]"#),
        ] {
            assert_eq!(error(text).field, field, "{text}");
        }
        assert!(
            error(r#"{"requestID":"x"}"#)
                .message
                .ends_with("did you mean `requestId`?")
        );
        assert!(
            error(&format!(
                r#"{{"context":{{"app:x":{}1{}}}}}"#,
                "[".repeat(40),
                "]".repeat(40)
            ))
            .message
            .contains("deep")
        );
    }

    #[test]
    fn repeated_context_keys_stay_visible() {
        assert_eq!(
            request(r#"{"context":{"app:x":1,"app:x":2}}"#)
                .unwrap()
                .context
                .len(),
            2,
            "C-4"
        );
    }

    #[test]
    fn a_null_member_is_an_absent_one() {
        let nulls = r#"{"principal":"p","session":null,"context":null,"requestId":null}"#;
        assert_eq!(
            request(nulls).unwrap(),
            request(r#"{"principal":"p"}"#).unwrap()
        );
    }

    #[test]
    fn the_id_of_a_malformed_question_is_given_back() {
        let id = |text: &str| request(text).unwrap_err().request_id;
        assert_eq!(id(r#"{"action":1,"requestId":"a\"b"}"#), "a\"b");
        assert_eq!(id(r#"{"action":1,"request_id":"x"}"#), "x");
        assert_eq!(id(r#"{"requestId":7}"#), "");
        assert_eq!(id(r#"{"requestId":"x""#), "");
    }

    #[test]
    fn a_response_has_all_its_members_on_one_line() {
        let statement = pb::StatementRef {
            policy: "p".into(),
            r#type: 1,
            ..Default::default()
        };
        let full = pb::AuthorizeResponse {
            decision: 2,
            reason: 1,
            determining_statements: vec![statement],
            revision: "r".into(),
            request_id: "line\nbreak".into(),
        };
        assert_eq!(
            response(&full),
            r#"{"decision":"DECISION_ALLOW","reason":"REASON_ALLOW_IDENTITY","determiningStatements":[{"policy":"p","sid":"","index":0,"type":"POLICY_TYPE_IDENTITY","file":""}],"revision":"r","requestId":"line\nbreak"}"#
        );
        let unknown = pb::AuthorizeResponse {
            decision: 99,
            reason: 99,
            ..Default::default()
        };
        assert!(
            response(&unknown).starts_with(
                r#"{"decision":"DECISION_UNSPECIFIED","reason":"REASON_UNSPECIFIED","#
            )
        );
    }

    #[test]
    fn a_status_stands_in_place_of_an_answer() {
        let status = refused(&RequestError::invalid("action", "is empty"));
        assert_eq!(
            no_answer("7", &status),
            r#"{"requestId":"7","error":{"code":"INVALID_ARGUMENT","message":"is empty","field":"action"}}"#
        );
    }
}
