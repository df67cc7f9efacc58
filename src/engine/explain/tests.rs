//! Tests how much of a store and of a question an explanation shows.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use super::*;
use crate::engine::question::{Question, Value};

const ELSEWHERE: &str =
    r#"{"Effect": "Allow", "Action": "orders:Get", "Resource": "arn:app:orders:::other"}"#;
const ALLOW: &str = r#"{"Effect": "Allow", "Action": "orders:Get", "Resource": "*"}"#;
const DENY: &str = r#"{"Effect": "Deny", "Action": "orders:Get", "Resource": "*"}"#;

/// An Allow with one condition, that `app:k` is one of `values`.
fn conditional(values: &[String]) -> String {
    format!(
        r#"{{"Effect": "Allow", "Action": "orders:Get", "Resource": "*", "Condition": {{"StringEquals": {{"app:k": {values:?}}}}}}}"#
    )
}

fn numbered(prefix: &str, n: usize) -> Vec<String> {
    (0..n).map(|number| format!("{prefix}{number}")).collect()
}

/// The question of ann, whose policy has these statements.
fn explained(statements: &[&str], resource: &str, values: Vec<String>) -> Explanation {
    decided(statements, resource, values).1
}

/// The same with the decision.
fn decided(statements: &[&str], resource: &str, values: Vec<String>) -> (Decision, Explanation) {
    let user = format!(
        r#"{{"UserPolicyList": [{{"PolicyName": "p", "PolicyDocument": {{"Version": "2012-10-17", "Statement": [{}]}}}}]}}"#,
        statements.join(",")
    );
    let texts = [
        ("account.json", r#"{"AccountId": "111111111111"}"#),
        ("users/ann.json", &*user),
    ];
    let snapshot = match crate::store::load_texts(texts) {
        Ok(loaded) => loaded.snapshot,
        Err(refused) => panic!("{:#?}", refused.findings),
    };
    let value = Value::List(values.iter().map(|value| Value::Text(value)).collect());
    let question = Question {
        principal: "arn:aws:iam::111111111111:user/ann",
        action: "orders:Get",
        resource,
        context: vec![("app:k", value)],
        ..Question::default()
    };
    let request = Request::parse_interactive(&question, Timestamp::UNIX_EPOCH).unwrap();
    explain(&snapshot, &request, &Redacted::default()).unwrap()
}

const ORDER: &str = "arn:app:orders:::order/1";

/// How many statements stand there with their elements, and how many without.
fn n_detailed(explanation: &Explanation) -> (usize, usize) {
    let all = &explanation.statements;
    let (with, without): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.resource.is_some());
    assert!(without.iter().all(|one| one.applies()));
    (with.len(), without.len())
}

#[test]
fn behind_a_thousand_statements_those_that_apply_are_named_and_the_others_counted() {
    let explained = |n_elsewhere: usize, n_allows: usize| {
        let statements = [vec![ELSEWHERE; n_elsewhere], vec![ALLOW; n_allows]].concat();
        let (decision, explanation) = decided(&statements, ORDER, Vec::new());
        assert!(decision.is_allowed(), "S-1");
        explanation
    };
    let all = explained(990, 10);
    assert_eq!((n_detailed(&all), all.n_left_out), ((1_000, 0), 0));
    let more = explained(1_003, 999);
    assert_eq!((n_detailed(&more), more.n_left_out), ((1_000, 999), 3));
    assert_eq!(more.deciding().count(), 999, "S-3");
    let many = explained(1_003, 1_500);
    assert_eq!((n_detailed(&many), many.n_left_out), ((1_000, 1_000), 503));
    assert_eq!(many.deciding().count(), 1_000);
}

#[test]
fn behind_a_mebibyte_of_details_those_that_apply_are_named_and_the_others_counted() {
    // Each pattern counts with what it takes beside its text, so four of these are a mebibyte and three are not.
    let actions = vec![r#""orders:Get""#; 4_000].join(",");
    let long = format!(r#"{{"Effect": "Allow", "Action": [{actions}], "Resource": "*"}}"#);
    let mut statements = vec![&*long; 4];
    statements.extend([ALLOW, ELSEWHERE, DENY, ELSEWHERE, ALLOW]);
    let explanation = explained(&statements, ORDER, Vec::new());
    assert_eq!(
        (n_detailed(&explanation), explanation.n_left_out),
        ((4, 3), 2)
    );
    let deciding: Vec<_> = explanation.deciding().map(|one| one.effect).collect();
    assert_eq!(deciding, [Effect::Deny], "S-3");
    statements.remove(0);
    let explanation = explained(&statements, ORDER, Vec::new());
    assert_eq!(
        (n_detailed(&explanation), explanation.n_left_out),
        ((8, 0), 0)
    );
}

/// A text of the question and of the policy, a value that is put in for a variable, each is cut between two characters.
#[test]
fn a_long_text_of_an_explanation_is_cut() {
    let whole = format!("arn:app:orders:::{}", "x".repeat(1_024 - 17));
    let one = explained(&[ALLOW], &whole, Vec::new());
    assert_eq!(
        one.statements[0].resource.as_ref().unwrap().request_value,
        whole
    );
    // The last character that begins within the limit ends beyond it.
    let long = format!(
        "arn:app:orders:::{}é{}",
        "x".repeat(1_023 - 17),
        "y".repeat(4_000)
    );
    let cut = format!("arn:app:orders:::{}…", "x".repeat(1_023 - 17));
    let one = explained(&[ALLOW], &long, Vec::new());
    assert_eq!(
        one.statements[0].resource.as_ref().unwrap().request_value,
        cut
    );

    let statement =
        format!(r#"{{"Effect": "Allow", "Action": "orders:Get", "Resource": "{long}"}}"#);
    let one = explained(&[&statement], ORDER, Vec::new());
    assert_eq!(
        one.statements[0].resource.as_ref().unwrap().policy_values[0].written,
        cut
    );

    let value = "v".repeat(2_000);
    let statement = r#"{"Effect": "Allow", "Action": "orders:Get", "Resource": "*", "Condition": {"StringEquals": {"app:k": "${app:k}${app:k}"}}}"#;
    let one = explained(&[statement], ORDER, vec![value]);
    let condition = &one.statements[0].conditions[0];
    let cut = format!("{}…", "v".repeat(1_024));
    assert_eq!(condition.policy_values[0].resolved, Some(cut.clone()));
    assert_eq!(condition.request_values, [cut]);
}

#[test]
fn of_the_values_of_one_key_the_first_are_shown_and_the_others_counted() {
    let shown = |n: usize| {
        let statement = conditional(&numbered("v", 1));
        let one = explained(&[&statement], ORDER, numbered("k", n));
        one.statements[0].conditions[0].request_values.clone()
    };
    assert_eq!(shown(64), numbered("k", 64));
    let mut expected = numbered("k", 64);
    expected.push("… and 36 more".to_owned());
    assert_eq!(shown(100), expected);
}

#[test]
fn advice_names_the_first_denies_and_counts_the_others() {
    let advice = |n_denies: usize| {
        let mut statements = vec![DENY; n_denies];
        statements.push(ALLOW);
        explained(&statements, ORDER, Vec::new()).to_allow
    };
    assert_eq!(advice(10).len(), 10);
    let named = |line: &&String| line.ends_with("must not apply, and it has no condition");
    for lines in [advice(10), advice(13)] {
        assert_eq!(lines.iter().filter(named).count(), 10, "{lines:#?}");
    }
    let lines = advice(13);
    assert_eq!(lines.last().unwrap(), "3 more Denies must not apply");
    assert_eq!(lines.len(), 11);
}

#[test]
fn advice_names_the_first_allows_that_come_close() {
    let lines = |statement: &str, n: usize| {
        let mut lines = explained(&vec![statement; n], ORDER, numbered("k", 1)).to_allow;
        assert!(lines.remove(0).contains("must allow"), "what is missing");
        lines
    };
    let near = conditional(&numbered("v", 1));
    for (statement, words) in [
        (&*near, "comes close: `app:k` is `k0`"),
        (ELSEWHERE, "allows the action on other resources"),
    ] {
        for (n, n_named) in [(2, 2), (3, 3), (9, 3)] {
            let lines = lines(statement, n);
            assert_eq!(lines.len(), n_named, "{lines:#?}");
            assert!(lines.iter().all(|line| line.contains(words)), "{lines:#?}");
        }
    }
}

#[test]
fn advice_names_the_first_values_of_a_condition_and_counts_the_others() {
    let advice = |n_wanted: usize, n_given: usize| {
        let statement = conditional(&numbered("v", n_wanted));
        let lines = explained(&[&statement], ORDER, numbered("k", n_given)).to_allow;
        lines.last().unwrap().split_once(": ").unwrap().1.to_owned()
    };
    let five = |prefix| format!("`{prefix}0`, `{prefix}1`, `{prefix}2`, `{prefix}3`, `{prefix}4`");
    assert!(advice(5, 5).ends_with(&format!(
        "`app:k` is {} (StringEquals {})",
        five("k"),
        five("v")
    )));
    assert!(advice(1, 100).contains(&format!("`app:k` is {}, 95 more (", five("k"))));
    assert!(advice(9, 6).ends_with(&format!(
        "`app:k` is {}, 1 more (StringEquals {}, 4 more)",
        five("k"),
        five("v")
    )));
}
