//! Conditions that no values meet together leave nobody, and those that any value meets leave nothing open: of patterns, numbers, dates,
//! addresses, bytes and lists, too.

use serde_json::{Value, json};

use super::{access, entity, store, trusting};

const PAGE: &str = "arn:app:docs:::page/1";

/// A user and a role with a tag, who are allowed under each of some conditions, and denied under each of others.
fn listed(allowed_when: &[Value], denied_when: &[Value]) -> Vec<(String, bool)> {
    let read = |effect: &str, condition: &Value| json!({"Effect": effect, "Action": "docs:Read", "Resource": "*", "Condition": condition});
    let allows = allowed_when.iter().map(|one| read("Allow", one));
    let statements: Vec<Value> = allows
        .chain(denied_when.iter().map(|one| read("Deny", one)))
        .collect();
    let tags = json!([{"Key": "team", "Value": "blue"}]);
    let mut members = trusting("*", json!({}));
    members["Tags"] = tags.clone();
    let root = store(&[
        (
            "users/ann.json",
            entity(statements.clone().into(), json!({"Tags": tags})),
        ),
        ("roles/app.json", entity(statements.into(), members)),
    ]);
    access(&root, "docs:Read", PAGE)
}

/// Returns the cases: what they show, one condition of an Allow, conditions of Denies, and whether anybody is left.
fn cases() -> Vec<(&'static str, Value, Vec<Value>, bool)> {
    let (ip, time, epoch) = ("aws:SourceIp", "aws:CurrentTime", "aws:EpochTime");
    let (tags, tag) = ("aws:TagKeys", "aws:RequestTag/team");
    let (turn, turn_number) = ("2024-06-01T00:00:00Z", "1717200000");
    vec![
        (
            "ranges of addresses apart",
            json!({"IpAddress": {ip: "10.0.0.0/8"}}),
            vec![json!({"NotIpAddress": {ip: "192.168.0.0/16"}})],
            false,
        ),
        (
            "a range but for all of its parts",
            json!({"IpAddress": {ip: "10.0.0.0/8"}}),
            vec![json!({"IpAddress": {ip: ["10.0.0.0/9", "10.128.0.0/9"]}})],
            false,
        ),
        (
            "a range but for some of its parts",
            json!({"IpAddress": {ip: "10.0.0.0/8"}}),
            vec![json!({"IpAddress": {ip: ["10.0.0.0/9", "10.128.0.0/10", "10.192.0.0/11"]}})],
            true,
        ),
        (
            "patterns that have nothing in common",
            json!({"StringLike": {"app:k": "a*"}}),
            vec![
                json!({"StringNotLike": {"app:k": "*b"}}),
                json!({"StringLike": {"app:k": "a*b"}}),
            ],
            false,
        ),
        (
            "patterns that have a text in common which none of them names",
            json!({"StringLike": {"app:k": "a*"}}),
            vec![
                json!({"StringNotLike": {"app:k": "*b"}}),
                json!({"StringLike": {"app:k": "a?b"}}),
                json!({"StringEquals": {"app:k": "ab"}}),
            ],
            true,
        ),
        (
            "ARNs",
            json!({"ArnLike": {"app:k": "arn:aws:s3:::a*"}}),
            vec![json!({"ArnLike": {"app:k": "arn:*:s3:*:*:a*"}})],
            false,
        ),
        (
            "a value that is an ARN of another account",
            json!({"ArnLike": {"app:k": "arn:aws:s3:*:*:a*"}}),
            vec![json!({"ArnLike": {"app:k": "arn:aws:s3:::a*"}})],
            true,
        ),
        (
            "texts in any case",
            json!({"StringEqualsIgnoreCase": {"app:k": "to"}}),
            vec![json!({"StringEquals": {"app:k": ["to", "tO", "To", "TO"]}})],
            false,
        ),
        (
            "the fourth spelling of a text",
            json!({"StringEqualsIgnoreCase": {"app:k": "to"}}),
            vec![json!({"StringEquals": {"app:k": ["to", "tO", "TO"]}})],
            true,
        ),
        (
            "numbers",
            json!({"NumericLessThan": {"app:k": "5"}}),
            vec![json!({"NumericLessThan": {"app:k": "5.5"}})],
            false,
        ),
        (
            "a number between two",
            json!({"NumericLessThan": {"app:k": "5.01"}}),
            vec![json!({"NumericLessThanEquals": {"app:k": "5"}})],
            true,
        ),
        (
            "no whole number between two (an age is one)",
            json!({"NumericLessThan": {"aws:MultiFactorAuthAge": "5.9"}}),
            vec![json!({"NumericLessThanEquals": {"aws:MultiFactorAuthAge": "5"}})],
            false,
        ),
        (
            "dates",
            json!({"DateLessThan": {"app:k": turn}}),
            vec![json!({"DateNotEquals": {"app:k": "2024-07"}})],
            false,
        ),
        (
            "the two clocks tell one time",
            json!({"DateLessThan": {time: turn}}),
            vec![json!({"NumericLessThan": {epoch: turn_number}})],
            false,
        ),
        (
            "and one of them whole seconds",
            json!({"DateGreaterThan": {time: turn}}),
            vec![json!({"NumericNotEquals": {epoch: turn_number}})],
            true,
        ),
        (
            "bytes",
            json!({"BinaryEquals": {"app:k": "AA=="}}),
            vec![json!({"BinaryEquals": {"app:k": ["AAA=", "AA=="]}})],
            false,
        ),
        (
            "some value of a list",
            json!({"ForAnyValue:StringEquals": {"app:k": ["ab", "ac"]}}),
            vec![json!({"ForAnyValue:StringLike": {"app:k": "a?"}})],
            false,
        ),
        (
            "two values of a list",
            json!({"ForAnyValue:StringEquals": {"app:k": "a"}, "ForAnyValue:StringLike": {"app:k": "b*"}}),
            vec![json!({"ForAnyValue:StringNotLike": {"app:k": ["a", "bx"]}})],
            true,
        ),
        (
            "a tag of the request is among their keys",
            json!({"StringLike": {tag: "b*"}}),
            vec![json!({"ForAnyValue:StringEqualsIgnoreCase": {tags: "team"}})],
            false,
        ),
        (
            "in any case",
            json!({"StringLike": {tag: "b*"}}),
            vec![json!({"ForAnyValue:StringEquals": {tags: ["team", "Team", "TEAM"]}})],
            true,
        ),
        (
            "and without the tag the keys do not name it beside another one",
            json!({"Null": {tag: "true"}, "StringEquals": {"aws:RequestTag/tier": "x"}}),
            vec![json!({"ForAllValues:StringNotEqualsIgnoreCase": {tags: "team"}})],
            false,
        ),
        (
            "two tags of the request, and that there are keys of them",
            json!({"Null": {tags: "false"}, "StringEquals": {tag: "x", "aws:RequestTag/tier": "y"}}),
            vec![],
            true,
        ),
        (
            "and that there is no other",
            json!({"StringEquals": {tag: "x", "aws:RequestTag/tier": "y"}}),
            vec![
                json!({"StringEquals": {tag: "q"}, "Null": {tags: "true"}}),
                json!({"ForAnyValue:StringNotEqualsIgnoreCase": {tags: ["team", "tier"]}}),
            ],
            true,
        ),
        (
            "a tag is there, and its key is not",
            json!({"StringEquals": {tag: "x"}}),
            vec![json!({"Null": {tags: "false"}})],
            false,
        ),
        (
            "only ASCII has no case in the key of a tag",
            json!({"Null": {"aws:RequestTag/key": "true"}, "StringEquals": {tag: "x"}, "ForAnyValue:StringEqualsIgnoreCase": {tags: "key"}}),
            vec![],
            true,
        ),
    ]
}

#[test]
fn nobody_is_listed_by_conditions_that_exclude_each_other() {
    for (what, allowed_when, denied_when, is_listed) in cases() {
        let found = listed(std::slice::from_ref(&allowed_when), &denied_when);
        let names: Vec<&str> = found.iter().map(|(name, _)| &**name).collect();
        let expected: &[&str] = if is_listed { &["app", "ann"] } else { &[] };
        assert_eq!(
            names, expected,
            "{what}: {allowed_when} but {denied_when:?}"
        );
        assert!(found.iter().all(|(_, is_always)| !is_always), "{what}");
    }
}

#[test]
fn conditions_that_cover_all_values_together_are_no_conditions() {
    let (time, epoch) = ("aws:CurrentTime", "aws:EpochTime");
    let (tag, age) = ("aws:PrincipalTag/team", "aws:MultiFactorAuthAge");
    let (turn, turn_number) = ("2024-06-01T00:00:00Z", "1717200000");
    let like = |pattern: &str| json!({"StringLike": {tag: pattern}});
    let not_like = |pattern: &str| json!({"StringNotLike": {tag: pattern}});
    let cases = [
        (
            "a pattern and all else",
            vec![like("a*"), not_like("a*")],
            true,
        ),
        ("all but one text", vec![like("a*"), not_like("?*")], false),
        (
            "one character and more",
            vec![like("?"), like("??*"), not_like("?*")],
            true,
        ),
        (
            "before and after",
            vec![
                json!({"DateLessThan": {time: turn}}),
                json!({"DateGreaterThanEquals": {time: turn}}),
            ],
            true,
        ),
        (
            "by the other clock",
            vec![
                json!({"DateLessThan": {time: turn}}),
                json!({"NumericGreaterThanEquals": {epoch: turn_number}}),
            ],
            true,
        ),
        (
            "but for a second",
            vec![
                json!({"DateLessThan": {time: turn}}),
                json!({"NumericGreaterThan": {epoch: turn_number}}),
            ],
            false,
        ),
        (
            "ages, if there is one",
            vec![
                json!({"NumericLessThanIfExists": {age: "60"}}),
                json!({"NumericGreaterThanEqualsIfExists": {age: "59.5"}}),
            ],
            true,
        ),
        (
            "but for one age",
            vec![
                json!({"NumericLessThanIfExists": {age: "60"}}),
                json!({"NumericGreaterThanIfExists": {age: "60"}}),
            ],
            false,
        ),
        (
            "a question may give two values, which no operator of one value takes (C-10)",
            vec![
                json!({"StringLike": {"app:k": "a*"}}),
                json!({"StringNotLike": {"app:k": "a*"}}),
            ],
            false,
        ),
        (
            "but for two tags of the request together",
            vec![
                json!({"Null": {"aws:RequestTag/a": "true"}}),
                json!({"Null": {"aws:RequestTag/b": "true"}}),
                json!({"Null": {"aws:TagKeys": "true"}}),
            ],
            false,
        ),
        (
            "but for a value beyond those that are tried first",
            vec![
                json!({"StringNotEqualsIfExists": {tag: (0..70).map(|n| format!("v{n}")).collect::<Vec<_>>()}}),
                json!({"StringEquals": {tag: (0..65).map(|n| format!("v{n}")).collect::<Vec<_>>()}}),
            ],
            false,
        ),
        (
            "lists",
            vec![
                json!({"ForAnyValue:StringLike": {"app:k": "a*"}}),
                json!({"ForAllValues:StringNotLike": {"app:k": "a*"}}),
            ],
            true,
        ),
        (
            "but for one list",
            vec![
                json!({"ForAnyValue:StringLike": {"app:k": "a*"}}),
                json!({"ForAllValues:StringLike": {"app:k": "b*"}}),
            ],
            false,
        ),
    ];
    for (what, allowed_when, is_always) in cases {
        let expected = ["app", "ann"].map(|name| (name.to_owned(), is_always));
        assert_eq!(
            listed(&allowed_when, &[]),
            expected,
            "{what}: {allowed_when:?}"
        );
    }
}

/// The values that are tried for one key go together with those of the others, and with what the key can say.
#[test]
fn whoever_is_left_by_a_value_that_no_policy_names_is_listed() {
    let (ip, tag, identity) = (
        "aws:SourceIp",
        "aws:PrincipalTag/team",
        "aws:SourceIdentity",
    );
    let (time, epoch, issued) = ("aws:CurrentTime", "aws:EpochTime", "aws:TokenIssueTime");
    let some_parts =
        || json!({"IpAddress": {ip: ["10.0.0.0/9", "10.128.0.0/10", "10.192.0.0/11"]}});
    let cases: [(&str, Value, Vec<Value>, &[&str]); 4] = [
        (
            "a user without a session has the tags of the store",
            json!({"IpAddress": {ip: "10.0.0.0/8"}, "StringLike": {tag: "b*"}, "Null": {issued: "true"}}),
            vec![some_parts()],
            &["ann"],
        ),
        (
            "whoever has a session may have others",
            json!({"IpAddress": {ip: "10.0.0.0/8"}, "StringLike": {tag: "r*"}}),
            vec![some_parts()],
            &["app", "ann"],
        ),
        (
            "a source identity has two characters at least (T-39)",
            json!({"StringLike": {identity: "*"}}),
            vec![json!({"StringLike": {identity: ["o*", "x*"]}})],
            &["app", "ann"],
        ),
        (
            "a clock of which a policy asks only whether it is there tells the time of the other one",
            json!({"Null": {time: "false"}, "DateGreaterThan": {epoch: "2099-01-01"}}),
            vec![],
            &["app", "ann"],
        ),
    ];
    for (what, allowed_when, denied_when, expected) in cases {
        let found = listed(std::slice::from_ref(&allowed_when), &denied_when);
        let names: Vec<&str> = found.iter().map(|(name, _)| &**name).collect();
        assert_eq!(
            names, expected,
            "{what}: {allowed_when} but {denied_when:?}"
        );
    }
}

/// Beyond the bounds of the search nobody is left out.
#[test]
fn whoever_has_too_many_values_to_try_is_listed() {
    let many = |n: usize| (0..n).map(|at| format!("v{at}")).collect::<Vec<_>>();
    let one_of = |at: usize| json!({"ForAnyValue:StringEquals": {"app:k": format!("v{at}")}});
    let lists = |n: usize| {
        let denied = [
            vec![json!({"ForAnyValue:StringLike": {"app:k": "v*"}})],
            (0..n).map(one_of).collect(),
        ];
        (
            json!({"ForAnyValue:StringEquals": {"app:k": many(n)}}),
            denied.concat(),
        )
    };
    let patterns = |n: usize| {
        let pattern = format!("*a{}", "?".repeat(n));
        (
            json!({"StringLike": {"app:k": pattern}}),
            vec![json!({"StringLike": {"app:k": pattern}})],
        )
    };
    let long = |n: usize| {
        let pattern = format!("{}*", "a".repeat(n));
        (
            json!({"StringLike": {"app:k": pattern}}),
            vec![json!({"StringLike": {"app:k": ["b*", pattern]}})],
        )
    };
    let numbers = |n: usize| {
        let one = |at: usize| json!({"NumericEquals": {"app:k": at.to_string()}});
        let denied = [
            vec![json!({"NumericLessThan": {"app:k": "1000"}})],
            (0..n).map(one).collect(),
        ];
        (json!({"NumericLessThan": {"app:k": "0"}}), denied.concat())
    };
    let tags = |n: usize| {
        let denied: Vec<Value> = many(n)
            .into_iter()
            .map(|tag| json!({"StringEquals": {"aws:PrincipalTag/team": tag}}))
            .collect();
        (
            json!({"StringEquals": {"aws:PrincipalTag/team": many(n)}}),
            denied,
        )
    };
    for (what, few, too_many) in [
        ("values of a tag", tags(70), tags(150)),
        ("lists of values", lists(3), lists(7)),
        ("states", patterns(4), patterns(10)),
        ("steps", long(300), long(600)),
        ("choices", numbers(20), numbers(100)),
    ] {
        assert!(listed(&[few.0], &few.1).is_empty(), "few {what}");
        assert_eq!(
            listed(&[too_many.0], &too_many.1).len(),
            2,
            "too many {what}"
        );
    }
}

/// Each place among adjacent wildcards once took its own time, 20 s for these, and each of the numbers was compared with all others.
#[test]
fn adjacent_wildcards_count_as_one_and_very_long_lists_are_not_tried() {
    let none = "${aws:PrincipalServiceName, ''}*".repeat(400);
    let found = listed(
        &[json!({"StringLike": {"app:k": "bcdefghijklmnopqrst"}})],
        &[json!({"StringLike": {"app:k": format!("*{none}")}})],
    );
    assert!(found.is_empty(), "the Deny covers every text");
    let numbers: Vec<String> = (0..3_000).map(|n| n.to_string()).collect();
    let found = listed(
        &[json!({"NumericEquals": {"app:k": numbers}, "NumericLessThan": {"app:k": "-5"}})],
        &[],
    );
    assert_eq!(found.len(), 2, "nobody looks that far");
}
