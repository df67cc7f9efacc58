#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use super::*;
use crate::name::{Action, Resource};

mod random;
mod reference;

const BOTH: Syntax = Syntax {
    wildcards: true,
    variables: true,
};

struct Tags(Vec<(&'static str, &'static str)>);

impl Variables for Tags {
    fn substitute(&self, key: &ContextKey) -> Substitute<'_> {
        match self
            .0
            .iter()
            .find(|(name, _)| ContextKey::new(name) == *key)
        {
            Some((_, value)) => Substitute::Value((*value).into()),
            None => Substitute::Missing,
        }
    }
}

fn like(pattern: &str, text: &str) -> bool {
    Template::parse(pattern, BOTH)
        .unwrap()
        .matches(text, &NoVariables)
        .unwrap()
}

/// Matches in the simplest way: it follows every way to read the pattern.
fn naive(pattern: &[char], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, rest) => rest.is_none(),
        (Some(('*', pattern)), None) => naive(pattern, text),
        (Some(('*', behind)), Some((_, rest))) => naive(behind, text) || naive(pattern, rest),
        (Some(_), None) => false,
        (Some((p, pattern)), Some((t, text))) => (*p == '?' || p == t) && naive(pattern, text),
    }
}

#[test]
fn globs_agree_with_the_naive_matcher() {
    // This tries all patterns of up to four characters on all texts of up to five.
    let patterns = words(&['a', 'b', '*', '?'], 4);
    let texts = words(&['a', 'b', 'é'], 5);
    for pattern in &patterns {
        let template = Template::parse(&pattern.iter().collect::<String>(), BOTH).unwrap();
        for text in &texts {
            let expected = naive(pattern, text);
            let text: String = text.iter().collect();
            assert_eq!(
                template.matches(&text, &NoVariables),
                Some(expected),
                "M-3: {template:?} on {text}"
            );
        }
    }
}

fn words(letters: &[char], longest: usize) -> Vec<Vec<char>> {
    let mut all = vec![Vec::new()];
    let mut from = 0;
    for _ in 0..longest {
        let until = all.len();
        for index in from..until {
            for letter in letters {
                let mut word: Vec<char> = all.get(index).cloned().unwrap_or_default();
                word.push(*letter);
                all.push(word);
            }
        }
        from = until;
    }
    all
}

#[test]
fn a_question_mark_is_one_scalar_value() {
    assert!(like("orders:Get?", "orders:Getß"), "M-3");
    assert!(!like("orders:Get?", "orders:Get"), "M-3");
    assert!(like("f/*", "f/a\nb"), "M-17");
}

#[test]
fn a_hostile_pattern_stays_polynomial() {
    let pattern = format!("{}b", "*a".repeat(200));
    assert!(!like(&pattern, &"a".repeat(10_000)), "M-21");
}

fn covers(pattern: &str, arn: &str, reach: Reach) -> bool {
    let pattern = ResourcePattern::parse(pattern, BOTH).unwrap();
    pattern
        .matches(&Resource::parse(arn).unwrap(), reach, &NoVariables)
        .unwrap()
}

/// The function is long because it is a table of cases.
#[test]
fn wildcards_reach_as_far_as_their_position_allows() {
    // The columns are pattern, ARN, NARROW and BROAD. The examples of M-12 to M-15 come first.
    let table = [
        (
            "arn:app:orders:*",
            "arn:app:orders:eu:111111111111:order/1",
            true,
            true,
        ),
        (
            "arn:app:orders:*:order/1",
            "arn:app:orders:eu:111111111111:order/1",
            false,
            true,
        ),
        (
            "arn:app:orders:eu:*:order/*",
            "arn:app:orders:eu:111111111111:order/1",
            true,
            true,
        ),
        (
            "arn:app:orders:*:111111111111:order/*",
            "arn:app:orders:eu:222222222222:x:111111111111:order/1",
            false,
            true,
        ),
        (
            "arn:app:orders:*:111111111111:order/*",
            "arn:app:orders:eu:222222222222:order/1",
            false,
            false,
        ),
        ("arn:app:orders:?:*:x", "arn:app:orders:::x", false, false),
        ("arn:app:orders:*:*:x", "arn:app:orders:::x", true, true),
        (
            "arn:app:orders:::order/*",
            "arn:app:orders:eu:111111111111:order/1",
            false,
            false,
        ),
        (
            "arn:aws:s3:::b/*/test/*",
            "arn:aws:s3:::b/1/2/test/3/o.jpg",
            true,
            true,
        ),
        (
            "arn:aws:s3:::b/*/test/*",
            "arn:aws:s3:::b//test/o",
            true,
            true,
        ),
        (
            "arn:aws:s3:::b/*/test/*",
            "arn:aws:s3:::b/test/o",
            false,
            false,
        ),
        (
            "arn:aws:s3:::b/*/test/*",
            "arn:aws:s3:::b/1-test/o",
            false,
            false,
        ),
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b", false, false),
        (
            "arn:app:orders:::ORDER/1",
            "arn:app:orders:::order/1",
            false,
            false,
        ),
        (
            "arn:app:files:::a.c/x",
            "arn:app:files:::abc/x",
            false,
            false,
        ),
        // Short patterns without a final star never match narrowly. Broadly they match as they are, or with `:*` at
        // their end.
        (
            "arn:app:orders",
            "arn:app:orders:eu:111111111111:order/1",
            false,
            true,
        ),
        (
            "arn:app:ord",
            "arn:app:orders:eu:111111111111:order/1",
            false,
            false,
        ),
        (
            "arn:app:orders:eu:*",
            "arn:app:orders:eu:111111111111:order/1",
            true,
            true,
        ),
        (
            "arn:app:or?ers:eu*",
            "arn:app:orders:eu:111111111111:order/1",
            true,
            true,
        ),
        (
            "arn:app:*s:eu*",
            "arn:app:orders:x:eu:order/1",
            false,
            false,
        ),
        ("arn:app:*:eu*", "arn:app:orders:x:eu:order/1", false, true),
        ("arn:*", "arn:app:orders:::order/1", true, true),
        // `?` crosses colons in the resource part, but never in fields 2 to 5.
        ("arn:app:orders:::a?b", "arn:app:orders:::a:b", true, true),
        (
            "arn:app:orders:e?:111111111111:x",
            "arn:app:orders:e::111111111111:x",
            false,
            false,
        ),
        // A star inside a field does not cross, even broadly.
        (
            "arn:app:orders:e*u:1:x",
            "arn:app:orders:e:u:1:x",
            false,
            false,
        ),
    ];
    for (pattern, arn, narrow, broad) in table {
        assert_eq!(
            covers(pattern, arn, Reach::Narrow),
            narrow,
            "M-12 narrow: {pattern} on {arn}"
        );
        assert_eq!(
            covers(pattern, arn, Reach::Broad),
            broad,
            "M-12 broad: {pattern} on {arn}"
        );
        assert!(!narrow || broad, "BROAD contains NARROW");
    }
    for reach in [Reach::Narrow, Reach::Broad] {
        assert!(
            covers("*", "*", reach) && covers("**", "arn:a:b:::c", reach),
            "M-10"
        );
        assert!(!covers("arn:*", "*", reach), "M-11");
    }
}

#[test]
fn variables_are_found_before_colons_are() {
    let pattern =
        ResourcePattern::parse("arn:*:kms:*:${aws:PrincipalAccount}:key/*", BOTH).unwrap();
    assert_eq!(pattern.fields().len(), 5, "V-3");
    let tags = Tags(vec![("aws:PrincipalAccount", "1:2")]);
    let arn = Resource::parse("arn:aws:kms:eu:1:2:key/k").unwrap();
    for reach in [Reach::Narrow, Reach::Broad] {
        assert_eq!(
            pattern.matches(&arn, reach, &tags),
            Some(false),
            "V-3: the text stays inside its field ({reach:?})"
        );
    }
    let arn = ArnPattern::parse("arn:aws:x:${aws:Region, 'a:b'}:1:y", BOTH).unwrap();
    assert_eq!(
        arn.matches(&["arn", "aws", "x", "a:b", "1", "y"], &NoVariables),
        Some(true),
        "C-69"
    );
}

#[test]
fn what_a_variable_puts_in_is_literal() {
    let home = Template::parse("home/${aws:PrincipalTag/team}/*", BOTH).unwrap();
    assert_eq!(
        home.matches("home/blue/f", &Tags(vec![("aws:principaltag/TEAM", "*")])),
        Some(false),
        "V-8, V-10"
    );
    assert_eq!(
        home.matches("home/*/f", &Tags(vec![("aws:principaltag/TEAM", "*")])),
        Some(true),
        "V-8"
    );
    assert_eq!(home.matches("home//f", &NoVariables), None, "V-9");
    let default = Template::parse("t-${aws:PrincipalTag/team, 'company-*}'}/*", BOTH).unwrap();
    assert_eq!(
        default.matches("t-company-*}/x", &NoVariables),
        Some(true),
        "V-5: the default is literal"
    );
    assert_eq!(
        default.matches("t-company-a}/x", &NoVariables),
        Some(false),
        "V-5"
    );
}

#[test]
fn variable_syntax_is_strict() {
    for bad in [
        "${",
        "${}",
        "${a",
        "${a b}",
        "${a,}",
        "${a, b}",
        "${a, 'b}",
        "${a, 'b' }",
        "${a,'b'",
        "${ a}",
    ] {
        assert!(Template::parse(bad, BOTH).is_err(), "V-5: {bad}");
    }
    for (good, text) in [
        ("${*}", "*"),
        ("${?}", "?"),
        ("${$}", "$"),
        ("$x", "$x"),
        ("a$", "a$"),
        ("${a:b,'c'}", "c"),
    ] {
        assert!(like(good, text), "V-5 to V-7: {good}");
        assert!(!like(good, "zzz"), "V-6: {good}");
    }
    let old = Template::parse(
        "u/${*}",
        Syntax {
            wildcards: true,
            variables: false,
        },
    )
    .unwrap();
    assert_eq!(
        old.matches("u/${anything}", &NoVariables),
        Some(true),
        "G-6"
    );
}

#[test]
fn action_patterns_follow_their_grammar() {
    for bad in [
        "",
        "orders",
        "orders:",
        ":Get",
        "*:Get",
        "ord*:Get",
        "a:b:c",
        "orders: Get",
        "orders:Get,List",
        "orders:${x}",
        "orders:Gét",
    ] {
        assert!(ActionPattern::parse(bad).is_err(), "G-27: {bad}");
    }
    let action = Action::parse("orders:Refund").unwrap();
    for (pattern, expected) in [
        ("*", true),
        ("*:*", true),
        ("**", true),
        ("ORDERS:refund", true),
        ("orders:*", true),
        ("orders:Re?und", true),
        ("orders:Refund?", false),
        ("order:*", false),
        ("orders-admin:*", false),
        ("orders:*fun*", true),
        ("Orders:RE*", true),
        ("orders:Refund*", true),
        ("orders:Refunds*", false),
        ("orders:Refun", false),
        ("orders:Refunds", false),
        ("Orders:*FUND", true),
        ("orders:r*?", true),
    ] {
        assert_eq!(
            ActionPattern::parse(pattern).unwrap().matches(&action),
            expected,
            "M-2 to M-5: {pattern}"
        );
    }
}

#[test]
fn what_an_index_may_rely_on_is_known() {
    let pattern = |text: &str| ResourcePattern::parse(text, BOTH).unwrap();
    for (text, longest, exact) in [
        ("*", None, None),
        ("arn:*", Some("arn:"), None),
        (
            "arn:app:orders:::order/1",
            Some("arn:app:orders:::order/1"),
            Some("arn:app:orders:::order/1"),
        ),
        (
            "arn:app:orders:::order/${*}",
            Some("arn:app:orders:::order/*"),
            Some("arn:app:orders:::order/*"),
        ),
        ("arn:app:orders", Some("arn:app:orders"), None),
        (
            "arn:app:orders:*:*:customer/${aws:username}/order/*",
            Some(":customer/"),
            None,
        ),
        (
            "arn:*:orders:*:*:customer/?/order-of-customer/*",
            Some("/order-of-customer/"),
            None,
        ),
    ] {
        assert_eq!(pattern(text).longest_literal(), longest, "M-23: {text}");
        assert_eq!(pattern(text).exact(), exact, "M-23: {text}");
    }
}

#[test]
fn the_fields_of_a_pattern_have_simple_forms_or_none() {
    use Form::{Affixes, Exact, Infix};
    let fields = |text: &str| {
        let pattern = ResourcePattern::parse(text, BOTH).unwrap();
        match pattern.outline(Reach::Narrow) {
            Some(Outline::Fields(fields)) => Some(format!("{fields:?}")),
            None => None,
            other => panic!("{text}: {other:?}"),
        }
    };
    let are = |fields: &[(usize, Form<'_>)]| Some(format!("{fields:?}"));
    assert_eq!(
        fields("arn:aws:sqs:*:111122223333:queue/a*b"),
        are(&[(4, Exact("111122223333")), (5, Affixes("queue/a", "b"))])
    );
    assert_eq!(
        fields("arn:*:sqs:eu-*:1*2*3:a:b**"),
        are(&[
            (2, Exact("sqs")),
            (3, Affixes("eu-", "")),
            (4, Infix("1", "2", "3")),
            (5, Affixes("a:b", "")),
        ])
    );
    assert_eq!(
        fields("arn:aws:sqs:*:**:a**b*"),
        are(&[(4, Affixes("", "")), (5, Infix("a", "b", ""))])
    );
    for without in [
        "arn:aws:sqs:*::a?",
        "arn:aws:sqs:*::*a*",
        "arn:aws:sqs:*::a*b*c*d",
        // This stands for an asterisk.
        "arn:aws:sqs:*::a${*}",
        "arn:aws:sqs:*::${aws:username}",
    ] {
        assert_eq!(fields(without), None, "{without}");
    }
}
