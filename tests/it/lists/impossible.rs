//! Nobody is listed by values that no session can have.

use serde_json::{Value, json};

use super::{access, document, entity, json_of, role, store, trusting};

const PAGE: &str = "arn:app:docs:::page/1";

fn is_there(key: &str, text: &str) -> Value {
    json!({"Null": {key: text}})
}

/// A user and a role with two policies: one of them allows under a condition, and the other one denies under each of these.
fn names(allowed_when: &Value, denied_when: &[Value]) -> Vec<String> {
    let read = |effect: &str, condition: &Value| json!({"Effect": effect, "Action": "docs:Read", "Resource": "*", "Condition": condition});
    let mut statements = vec![read("Allow", allowed_when)];
    statements.extend(denied_when.iter().map(|condition| read("Deny", condition)));
    let tags = json!({"Tags": [{"Key": "team", "Value": "blue"}]});
    let mut members = trusting("*", json!({}));
    members["Tags"] = tags["Tags"].clone();
    let root = store(&[
        (
            "users/ann.json",
            entity(statements.clone().into(), json!({})),
        ),
        ("users/tagged.json", entity(statements.clone().into(), tags)),
        ("roles/app.json", entity(statements.into(), members)),
    ]);
    let found = access(&root, "docs:Read", PAGE).into_iter();
    found.map(|(name, _)| name).collect()
}

#[test]
fn nobody_is_listed_by_what_no_session_has() {
    let age = "aws:MultiFactorAuthAge";
    let (mfa, issued, tag) = (
        "aws:MultiFactorAuthPresent",
        "aws:TokenIssueTime",
        "aws:PrincipalTag/team",
    );
    let with_mfa = |text: &str| json!({"Bool": {mfa: text}});
    let identity = "aws:SourceIdentity";
    let provider = "aws:FederatedProvider";
    let cases: [(&str, Value, Vec<Value>, &[&str]); 21] = [
        (
            "a session of a role has an issue time (T-43)",
            is_there(issued, "true"),
            vec![],
            &["ann", "tagged"],
        ),
        (
            "and a user may have a session",
            is_there(issued, "false"),
            vec![],
            &["app", "ann", "tagged"],
        ),
        (
            "at some other time",
            json!({"StringNotEquals": {issued: "2026-01-15T00:00:00Z"}}),
            vec![is_there(issued, "true")],
            &["app", "ann", "tagged"],
        ),
        (
            "which is a time",
            json!({"StringEquals": {issued: "yesterday"}}),
            vec![],
            &[],
        ),
        (
            "a session cannot remove a tag (T-38)",
            is_there(tag, "true"),
            vec![],
            &["ann"],
        ),
        (
            "it can replace it",
            json!({"StringEquals": {tag: "red"}}),
            vec![],
            &["app", "ann", "tagged"],
        ),
        (
            "the age of MFA is known of those who have it",
            with_mfa("false"),
            vec![is_there(age, "true")],
            &[],
        ),
        (
            "and of all of them",
            with_mfa("true"),
            vec![is_there(age, "false")],
            &[],
        ),
        (
            "if it is not too long ago",
            with_mfa("true"),
            vec![json!({"NumericGreaterThan": {age: "3600"}})],
            &["app", "ann", "tagged"],
        ),
        (
            "without a session, nothing is known of MFA",
            is_there(mfa, "false"),
            vec![is_there(issued, "false")],
            &[],
        ),
        (
            "with a session, a user did use it or did not",
            is_there(mfa, "true"),
            vec![is_there(issued, "true")],
            &["app"], // T-45: but sessions of a role may come of a provider
        ),
        (
            "a user without a session has no source identity (K-7)",
            json!({"StringEquals": {identity: "cat"}}),
            vec![is_there(issued, "false")],
            &[],
        ),
        (
            "which has two characters at least (T-39)",
            json!({"StringEquals": {identity: "a"}}),
            vec![],
            &[],
        ),
        (
            "and no other tags than those of the store",
            json!({"StringEquals": {tag: "red"}}),
            vec![is_there(issued, "false")],
            &[],
        ),
        (
            "it has those",
            json!({"StringEquals": {tag: "blue"}}),
            vec![is_there(issued, "false")],
            &["tagged"],
        ),
        (
            "whatever they say",
            is_there(tag, "false"),
            vec![is_there(issued, "false")],
            &["tagged"],
        ),
        (
            "and whatever they do not say",
            json!({"StringNotEquals": {tag: "red"}}),
            vec![is_there(issued, "false")],
            &["ann", "tagged"],
        ),
        (
            "no session has a tag of AWS that the store does not give (T-34)",
            json!({"StringEquals": {"aws:PrincipalTag/aws:x": "red"}}),
            vec![],
            &[],
        ),
        (
            "a session that came of a provider is not said to be without MFA (T-45)",
            with_mfa("false"),
            vec![is_there(provider, "true")],
            &["ann", "tagged"],
        ),
        (
            "the age is a whole number",
            json!({"StringEquals": {age: "abc"}}),
            vec![],
            &[],
        ),
        (
            "the age belongs to a session, too",
            is_there(age, "false"),
            vec![is_there(issued, "false")],
            &[],
        ),
    ];
    for (what, allowed_when, denied_when, expected) in cases {
        assert_eq!(names(&allowed_when, &denied_when), expected, "{what}");
    }
}

/// T-8: in role chaining, the tag of a role has the value of the store, or one that is unknown.
#[test]
fn nobody_is_listed_by_a_tag_that_the_role_does_not_have() {
    let who_may_assume_if = |condition: Value| {
        let all = json!([{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]);
        let mut target = trusting(&role("chain"), condition);
        target["Tags"] = json!([{"Key": "team", "Value": "blue"}]);
        let root = store(&[
            ("roles/chain.json", entity(all, trusting("*", json!({})))),
            ("roles/target.json", target),
        ]);
        let found = access(&root, "sts:AssumeRole", &role("target")).into_iter();
        found.map(|(name, _)| name).collect::<Vec<_>>()
    };
    let has = |team: &str| json!({"StringEquals": {"aws:ResourceTag/team": team}});
    assert_eq!(who_may_assume_if(has("blue")), ["chain"]);
    assert!(who_may_assume_if(has("red")).is_empty());
    assert!(who_may_assume_if(is_there("aws:ResourceTag/team", "true")).is_empty());
}

/// What a tag can be hangs on the store, so those with other tags do not share their access.
#[test]
fn those_with_other_tags_share_a_policy_and_differ() {
    let arn = "arn:aws:iam::111122223333:policy/Reading";
    let read = |effect: &str, condition: Value| json!({"Effect": effect, "Action": "docs:Read", "Resource": "*", "Condition": condition});
    let listed = |statements: Value| {
        let policy = json!({"PolicyName": "Reading", "Path": "/", "DefaultVersionId": "v1",
            "PolicyVersionList": [{"VersionId": "v1", "IsDefaultVersion": true, "Document": document(statements)}]});
        let user = |tags: Value| json!({"Tags": tags, "AttachedManagedPolicies": [{"PolicyName": "Reading", "PolicyArn": arn}]});
        let of = |team: &str| user(json!([{"Key": "team", "Value": team}]));
        let root = store(&[
            ("managed-policies/Reading.json", policy),
            ("users/ann.json", user(json!([]))),
            ("users/bob.json", of("red")),
            ("users/cem.json", of("blue")),
            ("users/dot.json", user(json!([]))),
        ]);
        let found = access(&root, "docs:Read", PAGE).into_iter();
        found.map(|(name, _)| name).collect::<Vec<_>>()
    };
    let tag = "aws:PrincipalTag/team";
    let without_tag = json!([read("Allow", is_there(tag, "true"))]);
    assert_eq!(listed(without_tag), ["ann", "dot"]);
    let blue_without_session = json!([
        read("Allow", json!({"StringEquals": {tag: "blue"}})),
        read("Deny", is_there("aws:TokenIssueTime", "false")),
    ]);
    assert_eq!(listed(blue_without_session), ["cem"]);
}

/// Section 4.9: a tag of the resource has the same value under its name with the resource's service, and not under one with
/// another service.
#[test]
fn the_names_of_a_tag_of_the_resource_have_one_value() {
    let (aws, docs, mail) = (
        "aws:ResourceTag/team",
        "docs:ResourceTag/team",
        "mail:ResourceTag/team",
    );
    let is = |key: &str, value: &str| json!({"StringEquals": {key: value}});
    let is_not = |key: &str, value: &str| json!({"StringNotEquals": {key: value}});
    let is_like = |key: &str, value: &str| json!({"StringLike": {key: value}});
    for (allowed_when, denied_when, is_listed) in [
        (is(aws, "blue"), is_not(docs, "blue"), true),
        (is(docs, "blue"), is_not(aws, "blue"), true),
        (is(aws, "blue"), is(docs, "blue"), false),
        (is(docs, "blue"), is(aws, "blue"), false),
        (is(aws, "blue"), is_there(docs, "true"), true),
        (is(docs, "blue"), is_there(aws, "true"), true),
        (is(aws, "blue"), is_there(docs, "false"), false),
        (is_there(docs, "false"), is_there(aws, "false"), false),
        // Each of the two conditions has values of its own to try.
        (is_not(aws, "blue"), is(docs, "red"), true),
        (is_like(aws, "b*"), is_not(docs, "bx"), true),
        (is(aws, "blue"), is_there(mail, "false"), true),
        (is(aws, "blue"), is_not(mail, "red"), true),
        (is(mail, "blue"), is_not(aws, "red"), true),
    ] {
        let listed = names(&allowed_when, std::slice::from_ref(&denied_when));
        let expected: &[&str] = if is_listed {
            &["app", "ann", "tagged"]
        } else {
            &[]
        };
        assert_eq!(listed, expected, "{allowed_when} but {denied_when}");
    }
}

/// T-8, T-34: a session passes on neither tags of AWS nor those of other services, and a tag that it replaces has no known value.
#[test]
fn nobody_is_listed_by_a_tag_that_no_session_replaces() {
    let access_if = |condition: Value, given: &[&str]| {
        let all = json!([{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]);
        let mut target = trusting(&role("chain"), condition);
        target["Tags"] = json!([{"Key": "aws:team", "Value": "blue"}]);
        let root = store(&[
            ("roles/chain.json", entity(all, trusting("*", json!({})))),
            ("roles/target.json", target),
        ]);
        let target = role("target");
        let mut question = vec!["--action", "sts:AssumeRole", "--resource", &target];
        question.extend(given.iter().flat_map(|entry| ["--context", entry]));
        let found = json_of(&root, &[&["principals"], &question[..]].concat());
        found["principals"][0]["access"].clone()
    };
    let may_assume_if = |condition: Value, given: &[&str]| !access_if(condition, given).is_null();
    let like = |key: &str, pattern: &str| json!({"StringLike": {key: pattern}});
    let iam_aws = "iam:ResourceTag/aws:team";
    assert_eq!(access_if(like(iam_aws, "b*"), &[]), "ACCESS_ALLOWED");
    assert!(!may_assume_if(like(iam_aws, "r*"), &[]));
    assert!(!may_assume_if(like("aws:ResourceTag/aws:team", "r*"), &[]));

    let mail = "mail:ResourceTag/team";
    let red = || like(mail, "r*");
    assert!(may_assume_if(red(), &[]));
    assert!(may_assume_if(red(), &["mail:ResourceTag/team=red"]));
    assert!(!may_assume_if(red(), &["mail:ResourceTag/team=blue"]));
    assert!(!may_assume_if(red(), &["mail:ResourceTag/team:=[]"]));

    let (iam, aws) = ("iam:ResourceTag/team:=[]", "aws:ResourceTag/team:=[]");
    let is_red = || json!({"StringEquals": {"iam:ResourceTag/team": "red"}});
    assert!(may_assume_if(is_red(), &[iam]));
    assert!(may_assume_if(is_red(), &[aws]));
    assert!(!may_assume_if(is_red(), &[iam, aws]));
}
