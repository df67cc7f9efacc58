#![expect(clippy::panic, reason = "a test may fail by panicking")]

use std::sync::Arc;

use super::*;
use crate::compile::path::Path;
use crate::compile::policy::{OwnRows, Policy};
use crate::compile::policy_set::PolicySet;
use crate::language::document::PolicyType;
use crate::language::parse::parse;
use crate::language::report::Base;
use crate::name::Action;

fn parsed(statements: &str) -> Arc<[Statement]> {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    let (document, findings) = parse(&text, PolicyType::Identity, Base::File("p.json".into()));
    document
        .unwrap_or_else(|| panic!("{findings:?}"))
        .statements
}

/// Returns the demand of these statements.
fn demand(statements: &str) -> Demand {
    Demand::of(parsed(statements).iter())
}

/// Returns the modelled cost of a question about everything, if a set has these statements.
fn cost(statements: &str) -> u32 {
    let policy = Policy {
        name: "p".into(),
        policy_type: PolicyType::Identity,
        file: "p.json".into(),
        statements: parsed(statements),
        origin: Arc::default(),
        rows: OwnRows::default(),
    };
    let set = PolicySet::new(vec![Arc::new(policy)]);
    let action = Action::parse("a:b").unwrap_or_else(|malformed| panic!("{malformed:?}"));
    Path::of(&set, &action).map_or(0, |path| path.cost())
}

fn statement(effect: &str, resource: &str, condition: &str) -> String {
    format!(
        r#"{{"Effect":"{effect}","Action":"*","Resource":"{resource}","Condition":{{{condition}}}}}"#
    )
}

fn keys(demand: &Demand) -> Vec<&str> {
    demand.keys.iter().map(ContextKey::folded).collect()
}

#[test]
fn keys_are_those_of_conditions_and_of_variables_anywhere() {
    let demand = demand(
        &[
            statement(
                "Allow",
                "arn:app:orders:::${aws:PrincipalTag/team}/${app:x, 'none'}",
                r#""StringEquals":{"app:Colour":"${aws:SourceIdentity}"}"#,
            ),
            statement(
                "Deny",
                "*",
                r#""ArnLike":{"aws:SourceArn":"arn:aws:s3:::${saml:sub}"},"Null":{"APP:X":"true"}"#,
            ),
        ]
        .join(","),
    );
    let expected = [
        "app:colour",
        "app:x",
        "aws:principaltag/team",
        "aws:sourcearn",
        "aws:sourceidentity",
        "saml:sub",
    ];
    assert_eq!(keys(&demand), expected, "K-40");
    assert!(!demand.reads_clock);
}

#[test]
fn what_follows_from_the_names_is_left_out() {
    let demand = demand(&statement(
        "Allow",
        "arn:app:orders:::${aws:username}/${aws:userid}",
        r#""StringEquals":{"aws:PrincipalArn":"x","aws:ResourceAccount":"y"}"#,
    ));
    assert!(demand.keys.is_empty(), "K-40: {:?}", demand.keys);
}

#[test]
fn the_clock_is_noticed_wherever_it_is_read() {
    for (resource, condition) in [
        ("*", r#""DateLessThan":{"aws:CurrentTime":"2026-01-01"}"#),
        ("*", r#""NumericLessThan":{"aws:EpochTime":"1"}"#),
        ("*", r#""NumericLessThan":{"aws:MultiFactorAuthAge":"1"}"#),
        ("*", r#""StringLike":{"app:x":"${aws:CurrentTime}"}"#),
        ("arn:app:orders:::${aws:EpochTime}", ""),
    ] {
        let demand = demand(&statement("Deny", resource, condition));
        assert!(demand.reads_clock, "K-41: {resource} {condition}");
    }
}

#[test]
fn more_to_evaluate_costs_more() {
    let one = r#""StringEquals":{"app:x":"1"}"#;
    let many = r#""StringEquals":{"app:x":["1","2","3","4","5","6","7","8"]}"#;
    let times = |n: usize, one: String| vec![one; n].join(",");
    let costs = [
        cost(&statement("Allow", "*", "")),
        cost(&statement("Allow", "*", one)),
        cost(&statement("Deny", "*", one)),
        cost(&statement("Deny", "*", many)),
        cost(&times(10, statement("Deny", "*", one))),
        cost(&times(40, statement("Deny", "*", one))),
    ];
    assert!(costs.is_sorted(), "{costs:?}");
}

#[test]
fn what_the_filter_leaves_out_costs_next_to_nothing() {
    let named = |index: usize| {
        let resource = format!("arn:app:orders:::customer-{index}/*");
        statement("Allow", &resource, r#""StringEquals":{"app:x":"1"}"#)
    };
    let all = |n: usize| cost(&(0..n).map(named).collect::<Vec<_>>().join(","));
    assert!(all(1_000) < all(12), "{} {}", all(1_000), all(12));
    let broad = statement("Allow", "*", r#""StringEquals":{"app:x":"1"}"#);
    let broad = cost(&vec![broad; 1_000].join(","));
    assert!(broad > 20 * all(1_000), "{broad}");
}
