#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use prost_types::{ListValue, NullValue, Struct, Value as WireValue};

use super::*;
use crate::authorizer::member;

fn value_of(kind: Kind) -> WireValue {
    WireValue { kind: Some(kind) }
}

fn entries_of(entries: &[Entry]) -> Vec<(&str, Value<'_>)> {
    self::entries(entries, "context", &Limits::DEFAULT).unwrap()
}

/// The longest message can hold two million entries, which must not be copied before they are counted.
#[test]
fn too_many_entries_are_refused_before_they_are_read() {
    let limits = Limits::DEFAULT;
    let many = vec![Entry::default(); limits.max_context_entries + 1];
    for field in ["context", "session.claims"] {
        let refusal = entries(&many, field, &limits).unwrap_err();
        assert_eq!(
            (refusal.kind, refusal.field.as_str()),
            (RefusalKind::TooLarge, field)
        );
    }
}

fn with_session(session: pb::SessionContext) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        session: Some(session),
        ..Default::default()
    }
}

#[test]
fn every_kind_of_value_stays_visible_and_goes_back_as_it_came() {
    let nested = ListValue {
        values: vec![value_of(Kind::ListValue(ListValue::default()))],
    };
    let kinds = [
        (
            Some(value_of(Kind::StringValue("x".into()))),
            Value::Text("x"),
        ),
        (Some(value_of(Kind::NumberValue(1.5))), Value::Number(1.5)),
        (Some(value_of(Kind::BoolValue(true))), Value::Bool(true)),
        (
            Some(value_of(Kind::NullValue(NullValue::NullValue.into()))),
            Value::Null,
        ),
        (
            Some(value_of(Kind::StructValue(Struct::default()))),
            Value::Object,
        ),
        (
            Some(value_of(Kind::ListValue(nested))),
            Value::List(vec![Value::List(vec![])]),
        ),
        (Some(WireValue { kind: None }), Value::Unset),
    ];
    for (wire, expected) in kinds {
        let entries = vec![Entry {
            key: "app:x".into(),
            value: wire,
        }];
        let asked = pb::AuthorizeRequest {
            principal: "p".into(),
            action: "a".into(),
            resource: "r".into(),
            context: entries.clone(),
            session: Some(pb::SessionContext {
                policies: vec!["{}".into()],
                policy_arns: vec!["arn".into()],
                tags: vec![pb::session_context::TagsEntry {
                    key: "k".into(),
                    value: "v".into(),
                }],
                source_identity: "s".into(),
                issued_at: Some(wire_timestamp(Timestamp::UNIX_EPOCH)),
                expires_at: None,
                mfa_at: None,
                transitive_tag_keys: vec!["k".into()],
                claims: entries.clone(),
                federated_provider: "f".into(),
                parent: "u".into(),
                attributes: entries,
            }),
            resource_account: "1".into(),
            request_id: "7".into(),
        };
        let question = question(&asked, &Limits::DEFAULT).unwrap();
        assert_eq!(question.context, [("app:x", expected)]);
        assert_eq!(message(&question), asked, "as a client sends it");
    }
    let absent = [Entry {
        key: "app:x".into(),
        value: None,
    }];
    assert_eq!(entries_of(&absent), [("app:x", Value::Unset)]);
}

#[test]
fn repeated_keys_stay_visible() {
    let entry = Entry {
        key: "app:x".into(),
        value: Some(value_of(Kind::BoolValue(true))),
    };
    assert_eq!(entries_of(&[entry.clone(), entry]).len(), 2, "C-4");
}

#[test]
fn times_have_a_range() {
    let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let good = with_session(pb::SessionContext {
        issued_at: time(1_717_200_000, 5),
        ..Default::default()
    });
    let session = question(&good, &Limits::DEFAULT).unwrap().session.unwrap();
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
        let refusal = question(&bad, &Limits::DEFAULT).unwrap_err();
        assert_eq!(refusal.field, "session.mfa_at", "{seconds} {nanos}");
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
    let refusal = Refusal {
        kind: RefusalKind::ReservedContextKey,
        ..Refusal::malformed("context[\"aws:x\"]", "no")
    };
    let status = status(&refusal);
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
    let not_ready = self::status(&Refusal {
        kind: RefusalKind::NotReady,
        ..refusal
    });
    assert_eq!(not_ready.code(), Code::Unavailable);
    assert!(not_ready.get_error_details().retry_info().is_some());
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
        let refusal = Refusal::malformed(member("context", &text), text.as_str());
        let status = status(&refusal);
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

#[test]
fn records_call_policy_types_as_the_protocol_does() {
    use crate::decision_log::policy_type_name;
    let types = (1..).map_while(policy_type_of);
    let n_types = types
        .inspect(|of| assert_eq!(policy_type_name(*of), policy_type(*of).as_str_name()))
        .count();
    assert_eq!(n_types, 7);
}
