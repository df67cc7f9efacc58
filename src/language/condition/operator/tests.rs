#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::*;
use crate::language::document::PolicyType;
use crate::language::parse::parse;
use crate::language::pattern::NoVariables;
use crate::language::report::Base;

/// Returns the truth of the condition `{operator: {"k:k": values}}` for these values of `k:k`. `None` means that the
/// key is missing.
fn truth(operator: &str, values: &str, given: Option<&[&str]>) -> Truth {
    let text = format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Deny","Action":"*","Resource":"*","Condition":{{"{operator}":{{"k:k":{values}}}}}}}}}"#
    );
    let document = parse(&text, PolicyType::Identity, Base::File("t".into()))
        .0
        .unwrap();
    let condition = document
        .statements
        .first()
        .unwrap()
        .conditions
        .first()
        .unwrap()
        .clone();
    let given: Option<Vec<SmolStr>> =
        given.map(|values| values.iter().map(|value| (*value).into()).collect());
    let values = given.as_deref().map_or(Values::Absent, Values::list);
    evaluate(&condition, &values, &NoVariables)
}

#[test]
fn a_missing_key_reads_as_the_table_says() {
    let families = [
        ("StringEquals", "StringNotEquals", r#""a""#),
        ("StringLike", "StringNotLike", r#""a""#),
        (
            "StringEqualsIgnoreCase",
            "StringNotEqualsIgnoreCase",
            r#""a""#,
        ),
        ("NumericEquals", "NumericNotEquals", "1"),
        ("DateEquals", "DateNotEquals", "\"2024-01-01\""),
        ("IpAddress", "NotIpAddress", r#""10.0.0.1""#),
        ("ArnLike", "ArnNotLike", r#""*""#),
        ("ArnEquals", "ArnNotEquals", r#""*""#),
    ];
    for missing in [None, Some(&[] as &[&str])] {
        for (positive, negated, value) in families {
            assert_eq!(
                truth(positive, value, missing),
                Truth::False,
                "C-6, C-7: {positive}"
            );
            assert_eq!(
                truth(negated, value, missing),
                Truth::True,
                "C-6: {negated}"
            );
            for base in [positive, negated] {
                assert_eq!(
                    truth(&format!("{base}IfExists"), value, missing),
                    Truth::True,
                    "C-70: {base}"
                );
                assert_eq!(
                    truth(&format!("ForAllValues:{base}"), value, missing),
                    Truth::True,
                    "C-71: {base}"
                );
                assert_eq!(
                    truth(&format!("ForAnyValue:{base}"), value, missing),
                    Truth::False,
                    "C-72: {base}"
                );
                let both = format!("ForAnyValue:{base}IfExists");
                assert_eq!(
                    truth(&both, value, missing),
                    Truth::Indeterminate,
                    "C-74: {base}"
                );
            }
        }
        for (positive, value) in [("Bool", "true"), ("BinaryEquals", r#""YQ==""#)] {
            assert_eq!(
                truth(positive, value, missing),
                Truth::False,
                "C-6: {positive}"
            );
        }
        assert_eq!(truth("Null", "true", missing), Truth::True, "C-60");
        assert_eq!(truth("Null", "false", missing), Truth::False, "C-60");
    }
}

#[test]
fn several_values_need_a_set_qualifier() {
    let two: Option<&[&str]> = Some(&["a", "b"]);
    for operator in ["StringEquals", "StringNotEquals", "StringEqualsIfExists"] {
        assert_eq!(
            truth(operator, r#""a""#, two),
            Truth::Indeterminate,
            "C-10: {operator}"
        );
    }
    assert_eq!(
        truth("StringEquals", r#""a""#, Some(&["a"])),
        Truth::True,
        "C-10: one is a scalar"
    );
}

#[test]
fn negated_operators_are_the_nor_over_their_values() {
    assert_eq!(
        truth("StringNotEquals", r#"["a","b"]"#, Some(&["a"])),
        Truth::False,
        "C-1"
    );
    assert_eq!(
        truth("StringNotEquals", r#"["a","b"]"#, Some(&["c"])),
        Truth::True,
        "C-1"
    );
    assert_eq!(
        truth(
            "ForAllValues:StringNotEquals",
            r#"["a","b"]"#,
            Some(&["a", "c"])
        ),
        Truth::False,
        "C-71"
    );
    assert_eq!(
        truth("ForAllValues:StringNotEquals", r#"["a","b"]"#, Some(&["c"])),
        Truth::True,
        "C-71"
    );
    assert_eq!(
        truth(
            "ForAnyValue:StringNotEquals",
            r#"["a","b"]"#,
            Some(&["a", "c"])
        ),
        Truth::True,
        "C-72"
    );
    assert_eq!(
        truth(
            "ForAnyValue:StringNotEquals",
            r#"["a","b"]"#,
            Some(&["a", "b"])
        ),
        Truth::False,
        "C-72"
    );
}

#[test]
fn the_empty_string_is_a_value_except_for_sets_and_null() {
    let empty: Option<&[&str]> = Some(&[""]);
    assert_eq!(
        truth("StringLike", r#"["","home/*"]"#, empty),
        Truth::True,
        "C-8"
    );
    assert_eq!(
        truth("StringNotEquals", r#""""#, empty),
        Truth::False,
        "C-8"
    );
    assert_eq!(
        truth("ForAllValues:StringEquals", r#""a""#, Some(&["", ""])),
        Truth::True,
        "C-8"
    );
    assert_eq!(
        truth("ForAnyValue:StringNotEquals", r#""a""#, empty),
        Truth::False,
        "C-8"
    );
    assert_eq!(truth("Null", "true", empty), Truth::Indeterminate, "C-60");
    assert_eq!(truth("Null", "false", empty), Truth::Indeterminate, "C-60");
    assert_eq!(
        truth("Null", "false", Some(&["", ""])),
        Truth::True,
        "C-60: not a lone one"
    );
}

#[test]
fn what_cannot_be_read_is_indeterminate() {
    for (operator, value, given) in [
        ("NumericNotEquals", "1", "lots"),
        ("NumericLessThan", "1", "10abc"),
        ("DateLessThan", r#""2024-01-01""#, "2024"),
        ("Bool", "true", "yes"),
        ("BinaryEquals", r#""YQ==""#, "a"),
        ("IpAddress", r#""10.0.0.0/8""#, "010.1.2.3"),
        ("NotIpAddress", r#""10.0.0.0/8""#, "here"),
        ("ArnNotLike", r#""arn:aws:s3:::b""#, "arn:aws:s3"),
        ("ArnLike", r#""*""#, "bucket"),
    ] {
        assert_eq!(
            truth(operator, value, Some(&[given])),
            Truth::Indeterminate,
            "C-9: {operator}"
        );
    }
    // By Kleene's logic, one value that fits settles an OR.
    assert_eq!(
        truth("ForAnyValue:NumericEquals", "1", Some(&["x", "1"])),
        Truth::True,
        "C-2"
    );
    assert_eq!(
        truth("ForAllValues:NumericEquals", "1", Some(&["x", "2"])),
        Truth::False,
        "C-2"
    );
}

#[test]
fn each_family_compares_in_its_own_way() {
    for (operator, value, given, expected) in [
        ("StringEquals", r#""a*""#, "abc", false),
        ("StringLike", r#""a*""#, "abc", true),
        ("StringLike", r#""a*""#, "ABC", false),
        ("StringEqualsIgnoreCase", r#""Straße""#, "STRAßE", true),
        ("StringEqualsIgnoreCase", r#""a*""#, "abc", false),
        ("StringEquals", r#"" a""#, "a", false),
        (
            "NumericEquals",
            "9007199254740993",
            "9007199254740992",
            false,
        ),
        ("NumericLessThan", "[5,10]", "7", true),
        ("NumericEquals", r#""5""#, "5.0", true),
        (
            "DateEquals",
            r#""2024-06-01""#,
            "2024-06-01T12:00:00Z",
            false,
        ),
        ("DateEquals", r#""2024-06-01""#, "1717200000", true),
        ("Bool", "true", "TRUE", true),
        ("BinaryEquals", r#""YQ==""#, "YQ==", true),
        (
            "IpAddress",
            r#"["10.0.0.0/8","2001:db8::/32"]"#,
            "2001:DB8::1",
            true,
        ),
        ("NotIpAddress", r#""::/0""#, "10.0.0.1", true),
        (
            "ArnEquals",
            r#""arn:aws:sns:*:111111111111:t*""#,
            "arn:aws:sns:eu:111111111111:t1",
            true,
        ),
        (
            "ArnLike",
            r#""arn:aws:sns:*:111111111111:t*""#,
            "arn:aws:sns:eu:x:111111111111:t1",
            false,
        ),
        (
            "StringLike",
            r#""arn:aws:sns:*:111111111111:t*""#,
            "arn:aws:sns:eu:x:111111111111:t1",
            true,
        ),
    ] {
        assert_eq!(
            truth(operator, value, Some(&[given])),
            Truth::from(expected),
            "{operator} {value} on {given}"
        );
    }
}
