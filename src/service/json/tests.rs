#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::*;
use crate::authorizer::{Answer, StatementName};
use crate::engine::decision::Reason;
use crate::engine::request::Request;

/// Returns the error of `text`. A `text` that reads as a question gets a valid principal, action and resource, so its
/// error is about another field.
fn error(text: &str) -> Refusal {
    let message = match Message::parse(text, "") {
        Ok(message) => message,
        Err(refusal) => return refusal,
    };
    let question = match message.question() {
        Ok(question) => question,
        Err(refusal) => return refusal,
    };
    let complete = Question {
        principal: "*",
        action: "a:B",
        resource: "*",
        ..question
    };
    let now = Timestamp::UNIX_EPOCH;
    Request::parse(&complete, now).unwrap_err().into()
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
    let (camel, snake) = (message(camel), message(&snake));
    let read = camel.question().unwrap();
    assert_eq!(read, snake.question().unwrap());
    assert_eq!(read.request_id, "7");
    let session = read.session.unwrap();
    let issued_at = Timestamp::new(1_717_200_000, 500_000_000).unwrap();
    assert_eq!(session.issued_at, Some(issued_at));
    assert_eq!(session.mfa_at.unwrap().as_second(), 1_717_200_000);
}

fn message(text: &str) -> Message<'_> {
    Message::parse(text, "").unwrap()
}

/// The function is long because it is a table of cases.
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
    let message = message(r#"{"context":{"app:x":1,"app:x":2}}"#);
    assert_eq!(message.question().unwrap().context.len(), 2, "C-4");
}

#[test]
fn a_null_member_is_an_absent_one() {
    let nulls = message(r#"{"principal":"p","session":null,"context":null,"requestId":null}"#);
    let absent = message(r#"{"principal":"p"}"#);
    assert_eq!(nulls.question().unwrap(), absent.question().unwrap());
}

#[test]
fn the_id_of_a_malformed_question_is_given_back() {
    let id = |text: &str| {
        let message = message(text);
        message.question().unwrap_err();
        message.request_id().to_owned()
    };
    assert_eq!(id(r#"{"action":1,"requestId":"a\"b"}"#), "a\"b");
    assert_eq!(id(r#"{"action":1,"request_id":"x"}"#), "x");
    assert_eq!(id(r#"{"requestId":7}"#), "");
}

#[test]
fn a_response_has_all_its_members_on_one_line() {
    let statement = StatementName {
        policy: "p".into(),
        sid: String::new(),
        index: 0,
        policy_type: Some(PolicyType::Identity),
        file: "".into(),
    };
    let full = Answer {
        is_allowed: true,
        reason: Some(Reason::AllowIdentity),
        determining: vec![statement],
        revision: "r".into(),
        request_id: "line\nbreak".into(),
        decision_id: String::new(),
    };
    assert_eq!(
        answer(&full),
        r#"{"decision":"DECISION_ALLOW","reason":"REASON_ALLOW_IDENTITY","determiningStatements":[{"policy":"p","sid":"","index":0,"type":"POLICY_TYPE_IDENTITY","file":""}],"revision":"r","requestId":"line\nbreak"}"#
    );
    let of_another_version = Answer {
        is_allowed: false,
        reason: None,
        decision_id: "4f1c-9".into(),
        ..full
    };
    let json = answer(&of_another_version);
    assert!(
        json.starts_with(r#"{"decision":"DECISION_DENY","reason":"REASON_UNSPECIFIED","#),
        "{json}"
    );
    assert!(json.ends_with(r#","decisionId":"4f1c-9"}"#), "{json}");
}

#[test]
fn a_refusal_stands_in_place_of_an_answer() {
    let refusal = Refusal::malformed("action", "is empty");
    let expected = r#"{"requestId":"7","error":{"code":"INVALID_ARGUMENT","message":"is empty","field":"action"}}"#;
    assert_eq!(NoAnswer::refused("7", refusal.clone()).to_json(), expected);
    let status = convert::status(&refusal);
    let by_server = NoAnswer::by_server("7", &status);
    assert_eq!(by_server.to_json(), expected, "a server's says the same");
    assert_eq!(by_server.to_string(), "INVALID_ARGUMENT: action: is empty");
}
