#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use prost_types::{ListValue, NullValue, Struct};

use super::*;
use crate::engine::decision::Reason;

const LIMITS: Limits = Limits::DEFAULT;

fn value(kind: Kind) -> Option<Value> {
    Some(Value { kind: Some(kind) })
}

fn text(text: &str) -> Option<Value> {
    value(Kind::StringValue(text.to_owned()))
}

fn list(kinds: Vec<Kind>) -> Option<Value> {
    let values = kinds
        .into_iter()
        .map(|kind| Value { kind: Some(kind) })
        .collect();
    value(Kind::ListValue(ListValue { values }))
}

fn with_context(entries: Vec<(&str, Option<Value>)>) -> pb::AuthorizeRequest {
    let entry = |(key, value): (&str, _)| pb::authorize_request::ContextEntry {
        key: key.to_owned(),
        value,
    };
    pb::AuthorizeRequest {
        context: entries.into_iter().map(entry).collect(),
        ..Default::default()
    }
}

fn with_session(session: pb::SessionContext) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        session: Some(session),
        ..Default::default()
    }
}

fn refusal(question: pb::AuthorizeRequest) -> RequestError {
    raw_request(question, &LIMITS).unwrap_err()
}

#[test]
fn scalars_and_lists_of_them_are_values() {
    let question = with_context(vec![
        ("app:s", text("x")),
        ("app:n", value(Kind::NumberValue(50.0))),
        ("app:b", value(Kind::BoolValue(true))),
        (
            "app:l",
            list(vec![
                Kind::StringValue("a".into()),
                Kind::NumberValue(1.5),
                Kind::BoolValue(false),
            ]),
        ),
        ("app:e", list(vec![])),
    ]);
    let context = raw_request(question, &LIMITS).unwrap().context;
    let texts: Vec<Vec<&str>> = context
        .iter()
        .map(|(_, value)| value.values().iter().map(|text| &**text).collect())
        .collect();
    assert_eq!(
        texts,
        [
            vec!["x"],
            vec!["50"],
            vec!["true"],
            vec!["a", "1.5", "false"],
            vec![]
        ],
        "C-5, C-7"
    );
}

#[test]
fn everything_else_is_malformed_and_named_by_its_path() {
    for (bad, path) in [
        (
            value(Kind::NullValue(NullValue::NullValue.into())),
            r#"context["app:\"x"]"#,
        ),
        (
            value(Kind::StructValue(Struct::default())),
            r#"context["app:\"x"]"#,
        ),
        (Some(Value { kind: None }), r#"context["app:\"x"]"#),
        (None, r#"context["app:\"x"]"#),
        (
            value(Kind::NumberValue(9_007_199_254_740_992.0)),
            r#"context["app:\"x"]"#,
        ),
        (value(Kind::NumberValue(f64::NAN)), r#"context["app:\"x"]"#),
        (
            list(vec![
                Kind::BoolValue(true),
                Kind::ListValue(ListValue::default()),
            ]),
            r#"context["app:\"x"]"#,
        ),
        (list(vec![Kind::NullValue(0)]), r#"context["app:\"x"]"#),
    ] {
        let error = refusal(with_context(vec![("app:\"x", bad.clone())]));
        assert_eq!(
            (error.kind, error.field.as_str()),
            (RequestErrorKind::Invalid, path),
            "{bad:?}"
        );
    }
}

#[test]
fn repeated_keys_stay_visible() {
    let twice = with_context(vec![("app:x", text("1")), ("app:x", text("2"))]);
    assert_eq!(raw_request(twice, &LIMITS).unwrap().context.len(), 2, "C-4");
}

#[test]
fn times_have_a_range() {
    let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let good = with_session(pb::SessionContext {
        issued_at: time(1_717_200_000, 5),
        ..Default::default()
    });
    let session = raw_request(good, &LIMITS).unwrap().session.unwrap();
    assert_eq!(
        session.issued_at,
        Some(Timestamp::new(1_717_200_000, 5).unwrap())
    );
    assert_eq!(session.mfa_at, None);
    for (seconds, nanos) in [
        (0, -1),
        (0, 1_000_000_000),
        (-62_135_596_801, 0),
        (253_402_300_800, 0),
        (i64::MAX, 0),
        (i64::MIN, i32::MIN),
    ] {
        let bad = with_session(pb::SessionContext {
            mfa_at: time(seconds, nanos),
            ..Default::default()
        });
        assert_eq!(refusal(bad).field, "session.mfa_at", "{seconds} {nanos}");
    }
}

#[test]
fn what_is_over_its_limit_is_too_large() {
    let long = "x".repeat(LIMITS.max_string_bytes + 1);
    let n_entries = LIMITS.max_context_entries + 1;
    let keys: Vec<String> = (0..n_entries).map(|n| format!("app:{n}")).collect();
    let tags = (0..n_entries).map(|n| pb::session_context::TagsEntry {
        key: n.to_string(),
        value: String::new(),
    });
    let values = vec![Kind::BoolValue(true); LIMITS.max_list_values + 1];
    for (question, field) in [
        (
            pb::AuthorizeRequest {
                principal: long.clone(),
                ..Default::default()
            },
            "principal",
        ),
        (
            pb::AuthorizeRequest {
                request_id: long.clone(),
                ..Default::default()
            },
            "request_id",
        ),
        (
            with_context(keys.iter().map(|key| (key.as_str(), text(""))).collect()),
            "context",
        ),
        (
            with_context(vec![("app:x", list(values))]),
            r#"context["app:x"]"#,
        ),
        (
            with_context(vec![("app:x", text(&long))]),
            r#"context["app:x"]"#,
        ),
        (
            with_context(vec![("app:x", list(vec![Kind::StringValue(long.clone())]))]),
            r#"context["app:x"]"#,
        ),
        (
            with_session(pb::SessionContext {
                tags: tags.collect(),
                ..Default::default()
            }),
            "session.tags",
        ),
        (
            with_session(pb::SessionContext {
                policies: vec![long.clone()],
                ..Default::default()
            }),
            "session.policies[0]",
        ),
        (
            with_context(vec![
                ("a", text(&long)),
                ("b", text(&long)),
                ("c", text(&long)),
                ("d", text(&long)),
            ]),
            "",
        ),
    ] {
        let error = refusal(question);
        assert_eq!(
            (error.kind, error.field.as_str()),
            (RequestErrorKind::TooLarge, field)
        );
    }
}

#[test]
fn reasons_have_the_numbers_and_names_of_the_protocol() {
    for (reason, label) in Reason::ALL {
        let wire = pb::Reason::try_from(i32::from(*reason as u8)).unwrap();
        assert_eq!(wire.as_str_name(), format!("REASON_{label}"));
    }
}

#[test]
fn a_refusal_names_the_field_and_the_reason() {
    let error = RequestError {
        kind: RequestErrorKind::ReservedContextKey,
        ..RequestError::invalid("context[\"aws:x\"]", "no")
    };
    let status = refused(&error);
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(
        (info.domain.as_str(), info.reason.as_str()),
        ("iamd", "RESERVED_CONTEXT_KEY")
    );
    let violation = details
        .bad_request()
        .unwrap()
        .field_violations
        .first()
        .unwrap();
    assert_eq!(
        (violation.field.as_str(), violation.description.as_str()),
        ("context[\"aws:x\"]", "no")
    );
    assert!(not_ready().get_error_details().retry_info().is_some());
    assert_eq!(
        internal().get_error_details().error_info().unwrap().reason,
        "INTERNAL_ERROR"
    );
}

#[test]
fn a_status_never_outgrows_what_clients_take() {
    for text in [
        "x".repeat(16_000),
        "\u{1F511}".repeat(4_000),
        "\r\n".repeat(8_000),
    ] {
        let status = refused(&RequestError::invalid(
            member("context", &text),
            text.as_str(),
        ));
        let headers = status.into_http::<()>().headers().clone();
        let n_bytes: usize = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum();
        assert!(n_bytes <= 8 * 1024, "{n_bytes}");
        let details = Status::from_header_map(&headers)
            .unwrap()
            .get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        let violation = violations.first().unwrap();
        assert!(violation.field.starts_with("context[") && !violation.description.is_empty());
    }
}
