//! Whoever is allowed by several permissions that cover everything only together is allowed without conditions.

use serde_json::{Value, json};

use super::{access, entity, role, store, trusting};

const PAGE: &str = "arn:app:docs:::page/1";
const MFA: &str = "aws:MultiFactorAuthPresent";
const AGE: &str = "aws:MultiFactorAuthAge";
const TAG: &str = "aws:PrincipalTag/team";
const ISSUED: &str = "aws:TokenIssueTime";
const IDENTITY: &str = "aws:SourceIdentity";

/// Why, what is allowed under which conditions, what is denied, and who is always allowed.
type Case<'c> = (&'c str, Vec<Value>, Vec<Value>, &'c [&'c str]);

fn statements(action: &str, effect: &str, conditions: &[Value]) -> Vec<Value> {
    let one = |condition| json!({"Effect": effect, "Action": action, "Resource": "*", "Condition": condition});
    conditions.iter().map(one).collect()
}

/// Returns which of a user and a role with a tag, and a user without one, are listed, and whether they are always allowed.
fn listed(allowed_when: &[Value], denied_when: &[Value]) -> Vec<(String, bool)> {
    let mut all = statements("docs:Read", "Allow", allowed_when);
    all.extend(statements("docs:Read", "Deny", denied_when));
    let all = Value::from(all);
    let tags = json!({"Tags": [{"Key": "team", "Value": "blue"}]});
    let mut members = trusting("*", json!({}));
    members["Tags"] = tags["Tags"].clone();
    let root = store(&[
        ("users/ann.json", entity(all.clone(), json!({}))),
        ("users/tagged.json", entity(all.clone(), tags)),
        ("roles/app.json", entity(all, members)),
    ]);
    access(&root, "docs:Read", PAGE)
}

#[test]
fn permissions_that_cover_everything_together_have_no_conditions() {
    let is_there = |key: &str, expected: bool| json!({"Null": {key: (!expected).to_string()}});
    let is = |key: &str, text: &str| json!({"StringEquals": {key: text}});
    let is_not = |key: &str, text: &str| json!({"StringNotEquals": {key: text}});
    let with_mfa = || json!({"Bool": {MFA: "true"}});
    let without_mfa = || json!({"BoolIfExists": {MFA: "false"}});
    let (all, none): (&[&str], &[&str]) = (&["app", "ann", "tagged"], &[]);
    let cases: [Case<'_>; 17] = [
        (
            "with MFA and without it",
            vec![with_mfa(), without_mfa()],
            vec![],
            all,
        ),
        (
            "those without any session have no MFA to be false",
            vec![with_mfa(), json!({"Bool": {MFA: "false"}})],
            vec![],
            none,
        ),
        (
            "the age is known of those with MFA (K-7)",
            vec![is_there(AGE, true), without_mfa()],
            vec![],
            all,
        ),
        (
            "the team and all others, or none",
            vec![is(TAG, "blue"), is_not(TAG, "blue")],
            vec![],
            all,
        ),
        (
            "one more condition",
            vec![
                is(TAG, "blue"),
                json!({"StringNotEquals": {TAG: "blue"}, "Bool": {MFA: "true"}}),
            ],
            vec![],
            none,
        ),
        (
            "two teams are not all",
            vec![is(TAG, "blue"), is(TAG, "red"), is_there(TAG, false)],
            vec![],
            none,
        ),
        (
            "an empty tag is neither there nor missing (C-60)",
            vec![is_there(TAG, true), is_there(TAG, false)],
            vec![],
            none,
        ),
        (
            "but it is a text",
            vec![is_there(TAG, true), is_there(TAG, false), is(TAG, "")],
            vec![],
            all,
        ),
        (
            "a session cannot remove a tag (T-38)",
            vec![is_there(TAG, true), is(TAG, "")],
            vec![],
            &["app", "tagged"],
        ),
        (
            "who a session is said to be",
            vec![is(IDENTITY, "ann"), is_not(IDENTITY, "ann")],
            vec![],
            all,
        ),
        (
            "a key of the request may have several values (C-10)",
            vec![is("app:k", "a"), is_not("app:k", "a")],
            vec![],
            none,
        ),
        (
            "a pattern, whose values are not all tried",
            vec![is(TAG, "b"), is_not(TAG, "b")],
            vec![json!({"StringLike": {TAG: "b*"}})],
            none,
        ),
        (
            "with and without a session; of a role, every question has an issue time (E-4, T-43)",
            vec![is_there(ISSUED, true)],
            vec![],
            &["app"],
        ),
        (
            "the same, and those without",
            vec![is_there(ISSUED, true), is_there(ISSUED, false)],
            vec![],
            all,
        ),
        (
            "nothing that is said of the time when a session began holds if nobody knows it (T-43)",
            vec![
                is(ISSUED, "2026-01-15T00:00:00Z"),
                is_not(ISSUED, "2026-01-15T00:00:00Z"),
            ],
            vec![],
            none,
        ),
        (
            "a Deny that never applies",
            vec![json!({})],
            vec![json!({"StringEquals": {TAG: "blue"}, "StringEqualsIfExists": {TAG: "red"}})],
            all,
        ),
        (
            "a Deny that may apply",
            vec![with_mfa(), without_mfa()],
            vec![json!({"StringEquals": {TAG: "blue"}, "Bool": {MFA: "true"}})],
            none,
        ),
    ];
    for (why, allowed_when, denied_when, always) in cases {
        let expected: Vec<(String, bool)> = all
            .iter()
            .map(|name| ((*name).to_owned(), always.contains(name)))
            .collect();
        assert_eq!(listed(&allowed_when, &denied_when), expected, "{why}");
    }
}

/// T-8: while a session passes on a tag, nobody knows its value, and then neither of the conditions holds.
#[test]
fn in_role_chaining_nobody_is_allowed_by_every_value_of_a_tag() {
    let key = "iam:ResourceTag/team";
    let both = [
        json!({"StringEquals": {key: "blue"}}),
        json!({"StringNotEquals": {key: "blue"}}),
    ];
    let both = Value::from(statements("sts:AssumeRole", "Allow", &both));
    let mut target = trusting("111122223333", json!({}));
    target["Tags"] = json!([{"Key": "team", "Value": "blue"}]);
    let root = store(&[
        ("roles/chain.json", entity(both, trusting("*", json!({})))),
        ("roles/target.json", target),
    ]);
    let found = access(&root, "sts:AssumeRole", &role("target"));
    assert_eq!(found, [("chain".to_owned(), false)]);
}

/// To find out whether somebody is always allowed may not take the work that the list needs.
#[test]
fn whoever_has_too_many_conditions_for_that_is_listed_with_them() {
    let keys = ["app:a", "app:b", "app:c", "app:d"];
    let is_there = |expected: &str| keys.map(move |key| json!({"Null": {key: expected}}));
    let allowed: Vec<Value> = [is_there("true"), is_there("false")].concat();
    let mut allowed = [allowed.clone(), allowed].concat();
    allowed.push(json!({"StringEquals": {TAG: "blue"}}));
    allowed.push(json!({"StringNotEquals": {TAG: "blue"}}));
    // They never apply, as a key that is missing has no value.
    let never = |n: usize| {
        let key = keys[n % 4];
        json!({"Null": {key: "true"}, "StringEquals": {key: format!("a{n}")}})
    };
    let denied: Vec<Value> = (0..40).map(never).collect();
    let listed = listed(&allowed, &denied);
    let expected = ["app", "ann", "tagged"].map(|name| (name.to_owned(), false));
    assert_eq!(listed, expected);
}
