#![expect(clippy::panic, reason = "a test may fail by panicking")]

use super::*;
use crate::language::document::{Effect, PolicyType};
use crate::language::parse::parse;
use crate::language::report::Base;

/// Returns the demand of a slice of these statements.
fn demand(statements: &str) -> Demand {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    let (document, findings) = parse(&text, PolicyType::Identity, Base::File("p.json".into()));
    let statements = document
        .unwrap_or_else(|| panic!("{findings:?}"))
        .statements;
    let of = |effect: Effect| -> Vec<_> {
        let place = |statement| Candidate {
            policy: 0,
            statement,
        };
        let all = (0u32..).map(place).zip(statements.iter());
        all.filter(|(_, statement)| statement.effect == effect)
            .collect()
    };
    Demand::of(&of(Effect::Deny), &of(Effect::Allow))
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
        demand(&statement("Allow", "*", "")),
        demand(&statement("Allow", "*", one)),
        demand(&statement("Deny", "*", one)),
        demand(&statement("Deny", "*", many)),
        demand(&times(10, statement("Deny", "*", one))),
        demand(&times(40, statement("Deny", "*", one))),
    ]
    .map(|demand| demand.cost);
    assert!(costs.is_sorted(), "{costs:?}");
}

#[test]
fn what_the_filter_leaves_out_costs_next_to_nothing() {
    let named = |index: usize| {
        let resource = format!("arn:app:orders:::customer-{index}/*");
        statement("Allow", &resource, r#""StringEquals":{"app:x":"1"}"#)
    };
    let all = |n: usize| demand(&(0..n).map(named).collect::<Vec<_>>().join(",")).cost;
    assert!(all(1_000) < all(12), "{} {}", all(1_000), all(12));
    let broad = statement("Allow", "*", r#""StringEquals":{"app:x":"1"}"#);
    let broad = demand(&vec![broad; 1_000].join(",")).cost;
    assert!(broad > 20 * all(1_000), "{broad}");
}
