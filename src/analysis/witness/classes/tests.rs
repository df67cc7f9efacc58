#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeSet;

use super::*;
use crate::compile::snapshot::Snapshot;
use crate::engine::question::Question;
use crate::engine::request::Request;
use crate::engine::work::Work;
use crate::store::load_texts;

const USER: &str = "arn:aws:iam::111122223333:user/ann";

/// The conditions of one meaning, and values that tell them apart in every way in which any values do.
struct Family {
    conditions: &'static [&'static str],
    values: Vec<String>,
}

/// Returns all texts of up to `longest` of these characters.
fn all_texts(characters: &str, longest: usize) -> Vec<String> {
    let mut texts = vec![String::new()];
    let mut begin = 0;
    for _ in 0..longest {
        let end = texts.len();
        for at in begin..end {
            for character in characters.chars() {
                texts.push(format!("{}{character}", texts.get(at).unwrap()));
            }
        }
        begin = end;
    }
    texts
}

/// Returns the families. The function is long because it is a table.
fn families() -> [Family; 6] {
    let mut texts = all_texts("abAB:z", 4);
    texts.extend(["k", "K", "\u{212A}"].map(str::to_owned));
    texts.push("a\u{17F}".into());
    for partition in ["a", "ab", ""] {
        for service in ["b", "z"] {
            for [region, account] in [["", ""], ["a", ""], ["", "z"]] {
                for resource in ["ab", "zb", "zzb", "a:b", "aazb", "", ":", "zzz"] {
                    texts.push(format!(
                        "arn:{partition}:{service}:{region}:{account}:{resource}"
                    ));
                }
            }
        }
    }
    let strings = |all: &[&str]| -> Vec<String> { all.iter().map(|&one| one.into()).collect() };
    let numbers = (-40..200).map(|n| format!("{}", f64::from(n) / 20.0));
    let seconds = (-3..4).flat_map(|n| {
        [
            format!("2024-06-01T00:00:00.{:09}Z", 500 + n),
            format!("{}", 1_717_200_000 + n),
        ]
    });
    let addresses = [
        "0.0.0.0",
        "9.255.255.255",
        "10.0.0.0",
        "10.0.255.255",
        "10.1.0.0",
        "10.1.0.255",
        "10.1.1.0",
        "10.1.255.255",
        "10.2.0.0",
        "10.255.255.255",
        "11.0.0.0",
        "255.255.255.254",
        "255.255.255.255",
        "::",
        "::1",
        "::fffe:1:0",
        "::ffff:10.1.0.1",
        "::ffff:11.1.0.1",
        "::1:0:0:0",
        "2001:db7:ffff::",
        "2001:db8::",
        "2001:db8::1",
        "2001:db8::2",
        "2001:db8:ffff::",
        "2001:db9::",
        "ffff::",
        "10.0.0.0/8",
        "none",
    ];
    [
        Family {
            conditions: &[
                r#""StringEquals":{"app:k":["ab","k","K"]}"#,
                r#""StringNotEquals":{"app:k":["a","AB","${aws:username}"]}"#,
                r#""StringEqualsIgnoreCase":{"app:k":["ab","ks","as"]}"#,
                r#""StringNotEqualsIgnoreCase":{"app:k":"k"}"#,
                r#""StringLike":{"app:k":"a*"}"#,
                r#""StringLike":{"app:k":["*b","?:*"]}"#,
                r#""StringNotLike":{"app:k":"a*b*a"}"#,
                r#""ForAnyValue:StringNotLike":{"app:k":["?b*","*a?"]}"#,
                r#""ArnLike":{"app:k":["arn:a*:b:*::?b","arn:a?:z:*:*:a*"]}"#,
                r#""ArnNotEqualsIfExists":{"app:k":["arn:*:*:*:*:*b","arn:*:*:*:z:*"]}"#,
                r#""ArnEquals":{"app:k":"*"}"#,
            ],
            values: texts,
        },
        Family {
            conditions: &[
                r#""NumericLessThan":{"app:k":["5","4"]}"#,
                r#""NumericGreaterThanEquals":{"app:k":"5.5"}"#,
                r#""NumericEquals":{"app:k":["5","-1"]}"#,
                r#""NumericNotEquals":{"app:k":"0.1"}"#,
                r#""NumericLessThanEquals":{"app:k":"-0.25"}"#,
                r#""NumericGreaterThan":{"app:k":"12345678901234567890.5"}"#,
            ],
            values: numbers
                .chain(strings(&[
                    "12345678901234567890.5",
                    "12345678901234567891",
                    "12345678901234567890.25",
                    "-1e3",
                    "x",
                ]))
                .collect(),
        },
        Family {
            conditions: &[
                r#""DateLessThan":{"app:k":"2024-06-01T00:00:00.0000005Z"}"#,
                r#""DateGreaterThanEquals":{"app:k":"2024-06-01"}"#,
                r#""DateEquals":{"app:k":["1717200001","2024-06-01T00:00:00.000000501Z"]}"#,
                r#""DateNotEquals":{"app:k":"1960-01"}"#,
            ],
            values: seconds
                .chain(strings(&[
                    "1960-01", "1959-01", "1961", "1961-01", "2030-01", "x",
                ]))
                .collect(),
        },
        Family {
            conditions: &[
                r#""Bool":{"app:k":"true"}"#,
                r#""BoolIfExists":{"app:k":"false"}"#,
            ],
            values: strings(&["true", "TRUE", "False", "x"]),
        },
        Family {
            conditions: &[
                r#""BinaryEquals":{"app:k":"AA=="}"#,
                r#""BinaryEquals":{"app:k":["AAA=","AA=="]}"#,
                r#""BinaryEquals":{"app:k":"AQ=="}"#,
            ],
            values: strings(&["AA==", "AAA=", "AQ==", "AAAA", "AAAAAA==", "x"]),
        },
        Family {
            conditions: &[
                r#""IpAddress":{"app:k":["10.0.0.0/8","2001:db8::1"]}"#,
                r#""NotIpAddress":{"app:k":"10.1.0.0/16"}"#,
                r#""IpAddress":{"app:k":["10.1.0.0/24","255.255.255.255"]}"#,
                r#""NotIpAddress":{"app:k":["10.0.0.0/16","10.255.0.0/16","2001:db8::/32"]}"#,
                r#""IpAddress":{"app:k":"0.0.0.0/0"}"#,
                r#""IpAddress":{"app:k":"::/0"}"#,
                r#""NotIpAddress":{"app:k":["::/80","2001:db8::/127"]}"#,
            ],
            values: addresses.map(str::to_owned).into(),
        },
    ]
}

/// Returns a store whose only policy has a statement for each of these conditions.
fn store(conditions: &[&str]) -> Snapshot {
    let statements = conditions.iter().map(|condition| {
        format!(r#"{{"Effect":"Allow","Action":"*","Resource":"*","Condition":{{{condition}}}}}"#)
    });
    let statements: Vec<String> = statements.collect();
    let user = format!(
        r#"{{"UserPolicyList":[{{"PolicyName":"own","PolicyDocument":{{"Version":"2012-10-17","Statement":[{}]}}}}]}}"#,
        statements.join(",")
    );
    let texts = [
        ("account.json", r#"{"AccountId":"111122223333"}"#),
        ("users/ann.json", &user),
    ];
    load_texts(texts).unwrap().snapshot
}

#[test]
fn every_way_in_which_a_value_can_fit_three_conditions_has_a_class() {
    let question = Question {
        principal: USER,
        action: "a:B",
        resource: "*",
        ..Question::default()
    };
    let request = Request::parse(&question, Timestamp::UNIX_EPOCH).unwrap();
    let key = ContextKey::new("app:k");
    for Family { conditions, values } in families() {
        let snapshot = store(conditions);
        let statements = snapshot
            .policies()
            .flat_map(|policy| policy.statements.iter());
        let all: Vec<&Condition> = statements
            .flat_map(|statement| statement.conditions.iter())
            .collect();
        assert_eq!(all.len(), conditions.len());
        let n = all.len();
        for (one, other, third) in (0..n).flat_map(|one| {
            (one..n).flat_map(move |other| (other..n).map(move |third| (one, other, third)))
        }) {
            let chosen = [one, other, third].map(|at| *all.get(at).unwrap());
            let work = Work::ample();
            let facts = Facts::find(&snapshot, &request, &work).unwrap();
            let truths = |text: &str| chosen.map(|one| evaluate_one(one, text, &facts) as u8);
            let found = classes(&key, &chosen, &[], &facts).unwrap();
            let of_classes: BTreeSet<_> = found.iter().map(|text| truths(text)).collect();
            assert_eq!(found.len(), of_classes.len(), "each class once: {found:?}");
            for value in values.iter().filter(|value| !value.is_empty()) {
                assert!(
                    of_classes.contains(&truths(value)),
                    "{value} is in no class of {chosen:?}: {found:?}"
                );
            }
        }
    }
}
