#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use crate::language::document::PolicyType;
use crate::language::finding::{Code, Finding};
use crate::language::parse::parse;
use crate::language::report::Base;

fn findings(policy_type: PolicyType, statements: &str) -> Vec<Finding> {
    let text = format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#);
    let (document, findings) = parse(&text, policy_type, Base::File("policy.json".into()));
    assert!(document.is_some(), "{findings:?}: {text}");
    let is_it = |finding: &Finding| finding.code == Code::SHADOWED_STATEMENT;
    findings.into_iter().filter(is_it).collect()
}

/// Returns the pointers of the statements that are reported.
fn shadowed(policy_type: PolicyType, statements: &str) -> Vec<String> {
    let found = findings(policy_type, statements);
    found.iter().map(|one| one.at.pointer.to_string()).collect()
}

/// Checks that the second of two statements is reported, in either order, and no other.
#[track_caller]
fn covered(policy_type: PolicyType, wide: &str, narrow: &str) {
    let (first, second) = ("/Statement/0", "/Statement/1");
    let found = shadowed(policy_type, &format!("{wide}, {narrow}"));
    assert_eq!(found, [second], "{wide} above {narrow}");
    let found = shadowed(policy_type, &format!("{narrow}, {wide}"));
    assert_eq!(found, [first], "{narrow} above {wide}");
}

/// Checks that the second of two statements is not reported. It may cover the first.
#[track_caller]
fn apart(policy_type: PolicyType, one: &str, other: &str) {
    let found = shadowed(policy_type, &format!("{one}, {other}"));
    let is_second = |pointer: &String| pointer == "/Statement/1";
    assert!(!found.iter().any(is_second), "{one} above {other}");
}

fn statement(effect: &str, elements: &str) -> String {
    format!(r#"{{"Effect": "{effect}", {elements}}}"#)
}

fn on(effect: &str, action: &str, resource: &str) -> String {
    statement(
        effect,
        &format!(r#""Action": {action}, "Resource": {resource}"#),
    )
}

const IDENTITY: PolicyType = PolicyType::Identity;

/// Each pair is covered. The third text, in place of the second, differs in one thing and is not.
#[test]
fn actions_cover_actions() {
    for (wide, narrow, other) in [
        (r#""orders:*""#, r#""orders:Get""#, r#""order:Get""#),
        (r#""*""#, r#""orders:Get*""#, ""),
        (r#""orders:Get*""#, r#""ORDERS:getItem""#, r#""orders:Ge*""#),
        (
            r#""orders:G*t""#,
            r#""orders:G*Part""#,
            r#""orders:G*Parts""#,
        ),
        (r#""orders:Ge?""#, r#""orders:Get""#, r#""orders:Gets""#),
        (
            r#"["orders:Get", "orders:P*"]"#,
            r#"["orders:Put", "orders:get"]"#,
            r#"["orders:Put", "orders:List"]"#,
        ),
    ] {
        for effect in ["Allow", "Deny"] {
            let of = |action: &str| on(effect, action, r#""*""#);
            covered(IDENTITY, &of(wide), &of(narrow));
            if !other.is_empty() {
                apart(IDENTITY, &of(wide), &of(other));
            }
        }
    }
}

#[test]
fn not_action_covers_what_it_does_not_exclude() {
    let not = |actions: &str| {
        statement(
            "Deny",
            &format!(r#""NotAction": {actions}, "Resource": "*""#),
        )
    };
    let any = |actions: &str| on("Deny", actions, r#""*""#);
    covered(
        IDENTITY,
        &not(r#""orders:Get""#),
        &not(r#"["orders:G*", "users:*"]"#),
    );
    apart(
        IDENTITY,
        &not(r#""orders:G*""#),
        &not(r#"["orders:Get", "users:*"]"#),
    );
    covered(
        IDENTITY,
        &not(r#""orders:*""#),
        &any(r#"["users:Get", "order:*"]"#),
    );
    apart(
        IDENTITY,
        &not(r#""orders:*""#),
        &any(r#"["users:Get", "orders:Put"]"#),
    );
    covered(IDENTITY, &any(r#""*""#), &not(r#""orders:*""#));
    apart(
        IDENTITY,
        &any(r#"["orders:*", "users:*"]"#),
        &not(r#""orders:*""#),
    );
}

#[test]
fn resources_cover_resources() {
    let arn = |rest: &str| format!(r#""arn:app:orders:::{rest}""#);
    for (wide, narrow, other) in [
        (arn("order/*"), arn("order/1/*"), arn("order*")),
        (arn("*"), arn("order/${aws:username}"), r#""*""#.to_owned()),
        (
            arn("order/${aws:username}/*"),
            arn("order/${aws:username}/a"),
            arn("order/${aws:userid}/a"),
        ),
        (
            r#""arn:app:orders:*:*:*""#.to_owned(),
            arn("order/1"),
            r#""arn:app:orders:::*""#.replace("orders", "order"),
        ),
        (r#""*""#.to_owned(), arn("order/?"), String::new()),
    ] {
        for effect in ["Allow", "Deny"] {
            let of = |resource: &str| on(effect, r#""orders:Get""#, resource);
            covered(IDENTITY, &of(&wide), &of(&narrow));
            if !other.is_empty() && other != r#""*""# {
                apart(IDENTITY, &of(&wide), &of(&other));
            }
        }
    }
    // `*` alone covers the resource `*` (M-11).
    let of = |resource: &str| on("Allow", r#""orders:Get""#, resource);
    covered(IDENTITY, &of(r#""*""#), &of(r#""arn:*:*:*:*:*""#));
}

#[test]
fn not_resource_covers_what_it_does_not_exclude() {
    let (a, b) = (r#""arn:app:orders:::a/*""#, r#""arn:app:orders:::b/*""#);
    for effect in ["Allow", "Deny"] {
        let not = |resources: &str| {
            let elements = format!(r#""Action": "orders:Get", "NotResource": {resources}"#);
            statement(effect, &elements)
        };
        let any = |resources: &str| on(effect, r#""orders:Get""#, resources);
        covered(IDENTITY, &not(a), &not(&format!("[{b}, {a}]")));
        apart(IDENTITY, &not(a), &not(b));
        covered(IDENTITY, &not(a), &any(b));
        apart(IDENTITY, &not(a), &any(r#""arn:app:orders:::*/1""#));
        covered(IDENTITY, &any(r#""*""#), &not(a));
        apart(IDENTITY, &any(b), &not(a));
        // The variable may have no value.
        let own = r#""arn:app:orders:::${aws:username}/*""#;
        apart(IDENTITY, &not(own), &any(r#""arn:app:users:::b/*""#));
    }
}

/// M-12: a Deny reads a short pattern in more ways than an Allow.
#[test]
fn short_patterns_of_a_deny_are_left_alone() {
    let of = |effect: &str, resource: &str| on(effect, r#""orders:Get""#, resource);
    let (wide, narrow) = (r#""arn:app:orders*""#, r#""arn:app:orders:::order/1""#);
    covered(IDENTITY, &of("Allow", wide), &of("Allow", narrow));
    apart(IDENTITY, &of("Deny", wide), &of("Deny", narrow));
}

#[test]
fn a_statement_with_further_conditions_is_covered() {
    let with = |effect: &str, conditions: &str| {
        let elements =
            format!(r#""Action": "orders:Get", "Resource": "*", "Condition": {{{conditions}}}"#);
        statement(effect, &elements)
    };
    let blue = r#""StringEquals": {"app:colour": "blue"}"#;
    let round = r#""StringLike": {"app:shape": ["round*", "oval"]}"#;
    for effect in ["Allow", "Deny"] {
        let plain = on(effect, r#""orders:Get""#, r#""*""#);
        covered(IDENTITY, &plain, &with(effect, blue));
        covered(
            IDENTITY,
            &with(effect, blue),
            &with(
                effect,
                &format!("{round}, {}", blue.replace("colour", "Colour")),
            ),
        );
        for other in [
            blue.replace("blue", "red"),
            blue.replace("colour", "color"),
            blue.replace("Equals", "EqualsIfExists"),
            blue.replace("Equals", "NotEquals"),
            blue.replace("\"StringEquals", "\"ForAnyValue:StringEquals"),
        ] {
            apart(IDENTITY, &with(effect, blue), &with(effect, &other));
        }
    }
}

/// E-15: nothing allows what a Deny of the same policy denies.
#[test]
fn a_deny_covers_an_allow() {
    let get = r#""orders:Get""#;
    let of = |effect: &str| on(effect, get, r#""*""#);
    covered(IDENTITY, &of("Deny"), &of("Allow"));
    apart(IDENTITY, &of("Allow"), &of("Deny"));
    assert!(shadowed(IDENTITY, &of("Allow")).is_empty());
    let all = on("Deny", r#""orders:*""#, r#""arn:app:orders:::order/*""#);
    covered(
        IDENTITY,
        &all,
        &on("Allow", get, r#""arn:app:orders:::order/1""#),
    );
    apart(IDENTITY, &all, &on("Allow", get, r#""arn:app:orders:::*""#));
    let elements = format!(
        r#""Action": {get}, "Resource": "*", "Condition": {{"Bool": {{"aws:MultiFactorAuthPresent": "false"}}}}"#
    );
    apart(IDENTITY, &statement("Deny", &elements), &of("Allow"));
    covered(
        IDENTITY,
        &statement("Deny", &elements),
        &statement("Allow", &elements),
    );
    // The variable has a value wherever the Allow applies (V-9).
    let own = r#""arn:app:orders:::${aws:username}/*""#;
    covered(IDENTITY, &on("Deny", get, own), &on("Allow", get, own));
    let not =
        |effect: &str| statement(effect, &format!(r#""Action": {get}, "NotResource": {own}"#));
    covered(IDENTITY, &not("Deny"), &not("Allow"));
    let found = findings(
        IDENTITY,
        &format!(
            "{}, {all}",
            on("Allow", get, r#""arn:app:orders:::order/1""#)
        ),
    );
    let message = &*found.first().unwrap().message;
    assert_eq!(
        message,
        "this statement changes nothing: `/Statement/1` denies all that it allows"
    );
}

#[test]
fn principals_cover_principals() {
    let of = |effect: &str, principal: &str| {
        let elements = format!(r#"{principal}, "Action": "orders:Get", "Resource": "*""#);
        statement(effect, &elements)
    };
    let user = |name: &str| format!(r#""arn:aws:iam::111122223333:user/{name}""#);
    let (ann, bob) = (user("ann"), user("bob"));
    let everyone = r#""Principal": "*""#;
    let two = format!(r#""Principal": {{"AWS": [{bob}, {ann}]}}"#);
    let only = |one: &str| format!(r#""Principal": {{"AWS": {one}}}"#);
    let not = |one: &str| format!(r#""NotPrincipal": {{"AWS": {one}}}"#);
    let resource = PolicyType::Resource;
    for effect in ["Allow", "Deny"] {
        covered(resource, &of(effect, &two), &of(effect, &only(&ann)));
        covered(resource, &of(effect, everyone), &of(effect, &two));
        apart(resource, &of(effect, &only(&ann)), &of(effect, &only(&bob)));
        // The account says less than its user (E-43), and also more.
        let account = only(r#""111122223333""#);
        apart(resource, &of(effect, &account), &of(effect, &only(&bob)));
        let service = r#""Principal": {"Service": "orders.example.com"}"#;
        covered(resource, &of(effect, everyone), &of(effect, service));
        apart(resource, &of(effect, &only(r#""*""#)), &of(effect, service));
    }
    let found = shadowed(resource, &format!("{0}, {0}", of("Deny", &not(&ann))));
    assert_eq!(found, ["/Statement/1"]);
    apart(resource, &of("Deny", &not(&ann)), &of("Deny", &only(&bob)));
    apart(resource, &of("Deny", everyone), &of("Deny", &not(&ann)));
}

/// Of statements that cover each other one stays, so that all others may be removed at once.
#[test]
fn of_copies_the_first_stays() {
    let copy = on("Allow", r#""orders:Get""#, r#""*""#);
    let found = shadowed(IDENTITY, &format!("{copy}, {copy}, {copy}"));
    assert_eq!(found, ["/Statement/1", "/Statement/2"]);
    let spelled = copy.replace("Get", "get");
    let found = shadowed(IDENTITY, &format!("{spelled}, {copy}"));
    assert_eq!(found, ["/Statement/1"]);
}

#[test]
fn the_statement_is_located_and_the_other_one_named() {
    let all = statement(
        "Deny",
        r#""Sid": "Everything", "Action": "*", "Resource": "*""#,
    );
    let narrow = on("Deny", r#""orders:Get""#, r#""*""#);
    let found = findings(IDENTITY, &format!("{narrow},\n  {all}"));
    let [found] = &*found else {
        panic!("{found:?}");
    };
    assert!(!found.is_error());
    assert_eq!((found.at.line, found.at.column), (1, 41));
    assert_eq!(
        &*found.message,
        "this statement changes nothing: `Everything` denies all that it denies"
    );
    assert_eq!(
        found.help.as_deref().unwrap(),
        "remove it, or narrow `Everything` if that denies too much"
    );
}

#[test]
fn statements_are_compared_as_long_as_there_are_steps() {
    let hostile = |number: usize| {
        let pattern = format!("arn:app:orders:::{}{number}*", "*a".repeat(200));
        on("Allow", r#""orders:Get""#, &format!("\"{pattern}\""))
    };
    let many: Vec<String> = (0..60).map(hostile).collect();
    let copies = on("Allow", r#""users:Get""#, r#""*""#);
    let last = |n: usize| {
        let two = [copies.clone(), copies.clone()];
        let statements: Vec<String> = many.iter().take(n).cloned().chain(two).collect();
        shadowed(IDENTITY, &statements.join(", "))
    };
    assert_eq!(last(3), ["/Statement/4"]);
    assert_eq!(
        last(60),
        [""; 0],
        "there are no steps left for the last pair"
    );
}
