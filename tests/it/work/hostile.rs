//! Questions and policies that are designed to keep a thread busy (E-1).
//!
//! Each ends without an answer, or with one that took no more work than any question may, no matter whether the
//! attacker writes the question, the store or both. A server would accept each question: it has at most 64 KiB, strings
//! of at most 16 KiB, 1,024 values in a list and 256 context keys.

use iamd::engine::authorize;
use iamd::engine::cache::{Caching, Mode};
use iamd::engine::live::Generation;

use super::*;

/// Returns a question of the role `app`, which may do everything.
pub fn plain() -> Files {
    Files::new([])
}

/// Returns a statement that allows everything under this condition.
pub fn under(condition: Value) -> Value {
    json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition})
}

/// Returns a statement that denies everything under this condition.
pub fn denied(condition: Value) -> Value {
    json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition})
}

/// Returns a question with one session policy of this condition and with `context`.
fn under_session_policy(condition: Value, context: Value) -> Value {
    question(json!({"session": {"policies": [session_policy(condition)]}, "context": context}))
}

// Variables with long values in patterns.

#[test]
fn a_pattern_that_variables_make_longer_than_any_value_costs_nothing_but_its_variables() {
    let variables = "${app:v}".repeat(1_200);
    for pattern in [format!("*?{variables}"), format!("*{variables}*")] {
        let asked = |n: usize| {
            let condition = json!({"ForAnyValue:StringLike": {"app:list": pattern}});
            let context = json!({"app:v": "v".repeat(16_000), "app:list": texts(n)});
            ask(&plain(), &under_session_policy(condition, context))
        };
        assert_eq!(asked(1), End::Answered, "E-1");
        assert_eq!(asked(1_000), End::GivenUp, "E-1");
    }
}

#[test]
fn a_short_pattern_that_a_variable_makes_long_is_paid_for_by_its_length() {
    let patterns = vec!["*?${app:v}*"; 1_000];
    let condition = json!({"StringLike": {"app:text": patterns}});
    let context = json!({"app:v": "a".repeat(16_300), "app:text": "a".repeat(16_384)});
    let question = under_session_policy(condition, context);
    assert_eq!(ask(&plain(), &question), End::GivenUp, "E-1");
}

#[test]
fn variables_are_paid_for_whenever_they_are_looked_up() {
    for operator in ["StringEquals", "StringEqualsIgnoreCase", "StringNotLike"] {
        let condition =
            json!({format!("ForAnyValue:{operator}"): {"app:list": "${app:v}".repeat(1_800)}});
        let context = json!({"app:v": "v", "app:list": texts(1_000)});
        let question = under_session_policy(condition, context);
        assert_eq!(ask(&plain(), &question), End::GivenUp, "E-1: {operator}");
    }
}

#[test]
fn a_value_that_is_made_anew_whenever_it_is_looked_up_has_a_bounded_length() {
    let pattern = format!("*{}", "${aws:FederatedProvider}".repeat(600));
    let policy = session_policy(json!({"ForAnyValue:StringLike": {"app:list": pattern}}));
    let under = |n_bytes: usize| {
        let provider = format!("a/{}", "x".repeat(n_bytes - 2));
        question(json!({
            "context": {"app:list": texts(1_000)},
            "session": {"policies": [policy], "federatedProvider": provider},
        }))
    };
    assert_eq!(ask(&plain(), &under(2_048)), End::GivenUp, "E-1");
    assert_eq!(ask_first(&plain(), &under(2_049)), End::Refused, "E-1");
}

#[test]
fn tags_of_a_session_are_paid_for_whenever_they_are_looked_up() {
    let tag = |n: usize| format!("{}{n:02}", "k".repeat(126));
    let tags: serde_json::Map<_, _> = (0..50).map(|n| (tag(n), json!("v"))).collect();
    let pattern = format!("${{aws:PrincipalTag/{}}}", tag(49)).repeat(100);
    let policy = session_policy(json!({"ForAnyValue:StringLike": {"app:list": pattern}}));
    let question = question(json!({
        "context": {"app:list": texts(1_000)}, "session": {"policies": [policy], "tags": tags},
    }));
    assert_eq!(ask(&plain(), &question), End::GivenUp, "E-1");
}

/// T-8: in role chaining, the reason why a variable has no value matters.
#[test]
fn variables_that_nobody_knows_are_paid_for_when_they_are_looked_for() {
    let pattern = format!("${{app:none}}{}", "${app:v}".repeat(1_800));
    let policy = session_policy(json!({"ForAnyValue:StringLike": {"app:list": pattern}}));
    let question = question(json!({
        "action": "sts:AssumeRole", "resource": "arn:aws:iam::111111111111:role/app",
        "context": {"app:v": "v", "app:list": texts(1_000)},
        "session": {"policies": [policy], "tags": {"t": "v"}, "transitiveTagKeys": ["t"]},
    }));
    assert_eq!(ask(&plain(), &question), End::GivenUp, "E-1");
}

// Patterns and lists.

#[test]
fn single_characters_before_the_first_star_are_paid_for() {
    for length in [50, 100, 300] {
        let patterns = vec![format!("{}x", "?".repeat(length - 1)); 15_000 / (length + 3)];
        let values = vec!["y".repeat(length); (32_000 / (length + 4)).min(1_024)];
        let condition = json!({"ForAnyValue:StringLike": {"app:list": patterns}});
        let question = under_session_policy(condition, json!({"app:list": values}));
        assert_eq!(ask(&plain(), &question), End::GivenUp, "E-1: {length}");
    }
}

#[test]
fn every_pattern_is_paid_for_whenever_it_is_tried() {
    // These have `?` in the middle, a text to search for, or many of them, in lists of the maximum length.
    for (pattern, value) in [
        ("*{n}?x", "{n}yy"),
        ("*?{n}x*", "{n}yyyy"),
        ("*{n}-abcdefgh*", "{n}yyyyyyyyyyyy"),
        ("*a*a*a*{n}x*", "aaaaaaaaaaaaa"),
    ] {
        let named = |text: &str, n: usize| text.replace("{n}", &format!("{n:03}"));
        let patterns: Vec<String> = (0..900).map(|n| named(pattern, n % 1_000)).collect();
        let values: Vec<String> = (0..1_000).map(|n| named(value, n)).collect();
        let condition = json!({"ForAnyValue:StringLike": {"app:list": patterns}});
        let question = under_session_policy(condition, json!({"app:list": values}));
        assert_eq!(ask(&plain(), &question), End::GivenUp, "E-1: {pattern}");
    }
}

#[test]
fn nothing_of_a_long_list_is_looked_at_when_the_budget_is_spent() {
    let patterns: Vec<String> = (0..40_000).map(|n| format!("*{n:05}?x")).collect();
    let condition = json!({"ForAnyValue:StringLike": {"app:list": patterns}});
    let files = Files::new([denied(condition)]);
    let asked = question(json!({"context": {"app:list": texts(1_024)}}));
    assert_eq!(ask(&files, &asked), End::GivenUp, "E-1");
}

#[test]
fn patterns_of_arns_are_paid_for_whenever_they_are_tried() {
    for (pattern, n) in [("arn:aws:s3:::*{n}?x*", 400), ("arn:aws:s3:::{n}*", 600)] {
        let patterns: Vec<String> = (0..n)
            .map(|n| pattern.replace("{n}", &format!("{n:03}")))
            .collect();
        let values: Vec<String> = (0..1_000)
            .map(|n| format!("arn:aws:s3:::x{n}yyyyyyyyyyyyyyyy"))
            .collect();
        let condition = json!({"ForAnyValue:ArnLike": {"app:list": patterns}});
        let question = under_session_policy(condition, json!({"app:list": values}));
        assert_eq!(ask(&plain(), &question), End::GivenUp, "E-1: {pattern}");
    }
}

#[test]
fn numbers_and_dates_are_paid_for_whenever_they_are_compared() {
    let cases = [
        ("NumericEquals", "1", "2"),
        ("DateEquals", "2026-01-01", "2027-01-01"),
    ];
    for (operator, of_policy, of_question) in cases {
        let condition =
            json!({format!("ForAnyValue:{operator}"): {"app:list": vec![of_policy; 1_000]}});
        let question =
            under_session_policy(condition, json!({"app:list": vec![of_question; 1_000]}));
        assert_eq!(ask(&plain(), &question), End::GivenUp, "E-1: {operator}");
    }
}

#[test]
fn a_long_list_is_searched_ignoring_case_within_what_a_question_may_take() {
    let common = "ß".repeat(100);
    let list: Vec<String> = (0..3_000).map(|n| format!("{common}{n:04}")).collect();
    let condition = json!({"ForAnyValue:StringEqualsIgnoreCase": {"app:list": list}});
    let files = Files::new([denied(condition)]);
    let values: Vec<String> = (0..100).map(|n| format!("{common}{n}x")).collect();
    let asked = question(json!({"context": {"app:list": values}}));
    assert_eq!(ask(&files, &asked), End::Answered, "E-1");
}

#[test]
fn texts_that_are_compared_ignoring_case_are_paid_for_by_their_length() {
    for character in ["a", "ß"] {
        let text = character.repeat(8_000 / character.len());
        for n in [10, 35, 300] {
            let patterns: Vec<String> = (0..n).map(|n| format!("${{app:v}}{n:03}")).collect();
            let condition = json!({"StringEqualsIgnoreCase": {"app:text": patterns}});
            let files = Files::new([denied(condition)]);
            let context = json!({"app:v": text, "app:text": format!("{text}xyz")});
            let end = ask(&files, &question(json!({"context": context})));
            let expected = [End::Answered, End::GivenUp][usize::from(n == 300)];
            assert_eq!(end, expected, "E-1: {n} times {character}");
        }
    }
}

// Actions.

/// Returns a store with these action patterns, and a question about an action of 16 KB.
fn about_a_long_action(pattern: &str) -> (Files, Value) {
    let patterns: Vec<String> = (0..2_000)
        .map(|n| pattern.replace("{n}", &n.to_string()))
        .collect();
    let statements = patterns
        .chunks(20)
        .map(|some| json!({"Effect": "Deny", "Action": some, "Resource": "*"}));
    let asked = question(json!({"action": format!("a:{}", "z".repeat(16_000))}));
    (Files::new(statements), asked)
}

/// Action patterns that have to be searched for.
const SEARCHED_ACTIONS: [&str; 3] = ["a:*?x{n}*", "a:*zx{n}*", "a:*z?x{n}*"];

#[test]
fn patterns_of_actions_are_paid_for_by_the_length_of_the_action() {
    for pattern in SEARCHED_ACTIONS {
        let (files, asked) = about_a_long_action(pattern);
        assert_eq!(ask_by_scan(&files, &asked), End::GivenUp, "E-1: {pattern}");
    }
}

#[test]
fn an_index_of_a_long_action_is_made_within_what_a_question_may_take() {
    for pattern in SEARCHED_ACTIONS {
        let (files, asked) = about_a_long_action(pattern);
        ends(&files, &asked, authorize, 12);
    }
}

#[test]
fn a_list_of_actions_is_paid_for_by_its_length() {
    let statement = json!({"Effect": "Deny", "Action": vec!["a:b"; 1_250], "Resource": "*"});
    let files = Files::new(vec![statement; 200]);
    // No index is used here, because in an index none of the patterns would match the action.
    assert_eq!(
        ask_by_scan(&files, &question(json!({}))),
        End::GivenUp,
        "E-1"
    );
}

#[test]
fn an_index_is_made_within_what_a_question_may_take() {
    let statements = (0..10_000).map(
        |n| json!({"Effect": "Deny", "Action": "*", "Resource": format!("arn:app:x:::a/{n}/*")}),
    );
    let files = Files::new(statements);
    assert_eq!(ask(&files, &question(json!({}))), End::Answered, "E-1");
}

// Resources.

/// Returns a resource of 16 KB, made of these texts.
pub fn long_resource(of: &str) -> String {
    let mut resource = format!("arn:app:x:::{}", of.repeat(16_000 / of.len()));
    resource.truncate(16_000);
    resource
}

#[test]
fn tags_of_a_resource_are_paid_for_by_its_length_whenever_they_are_looked_up() {
    let statements =
        (0..2_000).map(|n| denied(json!({"StringEquals": {format!("aws:ResourceTag/t{n}"): "v"}})));
    let mut files = Files::new(statements);
    let tags = json!({"Resource": "arn:app:x:::*", "Tags": [{"Key": "t", "Value": "v"}]});
    files.add("resource-policies/x.json", tags);
    let asked = question(json!({"resource": long_resource("a")}));
    assert_eq!(ask(&files, &asked), End::GivenUp, "E-1");
}

#[test]
fn files_that_may_give_a_tag_are_paid_for_whenever_it_is_looked_up() {
    let mut files = Files::new([]);
    for n in 0..1_000 {
        files.add(
            &format!("resource-policies/{n}.json"),
            json!({"Resource": format!("arn:app:orders:::*-{n}"), "Tags": [{"Key": "u", "Value": "v"}]}),
        );
    }
    let pattern = "${aws:ResourceTag/t}".repeat(700);
    let condition = json!({"ForAnyValue:StringLike": {"app:list": pattern}});
    let context = json!({"aws:ResourceTag/t": "v", "app:list": texts(1_000)});
    let question = under_session_policy(condition, context);
    assert_eq!(ask(&files, &question), End::GivenUp, "E-1");
}

/// Returns statements that deny by this many tags of the resource or of the principal.
fn denied_by_tags(family: &str, n: usize) -> Files {
    Files::new((0..n).map(|n| denied(json!({"StringEquals": {format!("{family}/t{n}"): "v"}}))))
}

#[test]
fn tags_that_the_caller_gives_are_paid_for_whenever_they_are_looked_up() {
    let tags = |tag: &dyn Fn(usize) -> String| -> serde_json::Map<_, _> {
        (0..250).map(|n| (tag(n), json!("v"))).collect()
    };
    let long = tags(&|n| format!("orders:ResourceTag/{}{n:03}", "k".repeat(100)));
    // The tags are of many services, each of which is compared with that of the resource.
    let of_services = tags(&|n| format!("service{n:03}:ResourceTag/t0"));
    for context in [long, of_services] {
        let asked = question(json!({"context": context}));
        let end = |n| ask(&denied_by_tags("aws:ResourceTag", n), &asked);
        assert_eq!([end(50), end(350)], [End::Answered, End::GivenUp], "E-1");
    }
}

#[test]
fn tags_of_a_principal_are_paid_for_whenever_they_are_looked_up() {
    let tag = |n: usize| format!("{}{n:02}", "t".repeat(126));
    let tags: serde_json::Map<_, _> = (0..50).map(|n| (tag(n), json!("v"))).collect();
    let asked = question(json!({"session": {"tags": tags}}));
    let end = |n: usize| {
        let key = format!("aws:PrincipalTag/{}x", "t".repeat(127));
        let statements = vec![denied(json!({"StringEquals": {key: "v"}})); n];
        ask(&Files::new(statements), &asked)
    };
    assert_eq!([end(100), end(3_000)], [End::Answered, End::GivenUp], "E-1");
}

#[test]
fn scopes_of_resource_policies_are_paid_for_whenever_they_are_tried() {
    let near_misses = long_resource("-bucket-7-log");
    let searched = |n: usize| format!("arn:app:x:::*-bucket-{n}-logs/*");
    let compared = |n: usize| format!("arn:app:x:::*{n:04}");
    let scopes: [Vec<String>; 2] = [
        (0..100).map(searched).collect(),
        (0..1_000).map(compared).collect(),
    ];
    for scopes in scopes {
        let mut files = Files::new([]);
        files.add(
            "resource-policies/x.json",
            json!({"Resource": scopes, "Tags": [{"Key": "t", "Value": "v"}]}),
        );
        let asked = question(json!({"resource": near_misses}));
        assert_eq!(ask(&files, &asked), End::GivenUp, "E-1");
    }
}

#[test]
fn patterns_of_resources_are_paid_for_whenever_they_are_tried() {
    let found = format!("arn:app:x:::{}*", "*-".repeat(1_000));
    let patterns = [
        ("arn:app:x:::*-bucket-{n}-logs/*", 100), // searched for and not found
        ("arn:app:x:::*{n}*", 100),
        (found.as_str(), 60),              // found, again and again
        ("arn:app:x:::*?bucket-{n}*", 30), // tried at every place
        ("arn:app:x:*?:*:{n}", 30),        // the same, across colons
        ("arn:app:x:::{n}*", 1_000),       // compared
    ];
    for (pattern, n) in patterns {
        let statements = (0..n).map(|n| {
            let resource = pattern.replace("{n}", &format!("{n:04}"));
            let condition = json!({"StringEquals": {"app:k": "v"}});
            json!({"Effect": "Deny", "Action": "*", "Resource": resource, "Condition": condition})
        });
        let files = Files::new(statements);
        let asked = question(json!({"resource": long_resource("-bucket-7:log")}));
        // No index is used here, because an index may tell more of them apart.
        assert_eq!(ask_by_scan(&files, &asked), End::GivenUp, "E-1: {pattern}");
    }
}

#[test]
fn single_characters_in_the_patterns_of_resources_are_paid_for() {
    let pattern = format!("arn:app:x:::{}x", "?".repeat(15_987));
    let statements = (0..150).map(
        |n| json!({"Effect": "Deny", "Action": "*", "Resource": [pattern], "Sid": format!("S{n}")}),
    );
    let files = Files::new(statements);
    let asked = question(json!({"resource": long_resource("a")}));
    assert_eq!(ask_by_scan(&files, &asked), End::GivenUp, "E-1");
}

#[test]
fn variables_before_the_resource_part_are_paid_for_by_their_length() {
    let resource = format!("arn:app:x::{}:y", "${aws:UserAgent}".repeat(1_000));
    let statements = (0..20)
        .map(|n| json!({"Effect": "Deny", "Action": "*", "Resource": [resource], "Sid": format!("S{n}")}));
    let files = Files::new(statements);
    let context = json!({"aws:UserAgent": "a".repeat(16_000)});
    let asked = question(json!({"resource": long_resource("a"), "context": context}));
    assert_eq!(ask_by_scan(&files, &asked), End::GivenUp, "E-1");
}

#[test]
fn a_filter_before_an_index_is_paid_for_by_the_length_of_a_resource() {
    let statements = (0..5_000).map(|n| {
        json!({"Effect": "Deny", "Action": "*", "Resource": format!("arn:app:x:::*{n:04}-aaaaaaaa*")})
    });
    let files = Files::new(statements);
    for length in [16_000, 500] {
        let mut resource = long_resource("a");
        resource.truncate(length);
        let asked = question(json!({"resource": resource}));
        ends(&files, &asked, authorize, 12);
    }
}

#[test]
fn what_an_index_asks_of_a_resource_is_paid_for() {
    let statements = (0..8_000).map(|n| {
        json!({"Effect": "Deny", "Action": "*", "Resource": format!("arn:app:x:::*{n:05}-aaaaaaaa*")})
    });
    let files = Files::new(statements);
    let mut resource = long_resource("a");
    resource.truncate(500);
    let asked = question(json!({"resource": resource}));
    assert_eq!(ask(&files, &asked), End::GivenUp, "E-1");
}

// Principals.

#[test]
fn the_issuer_of_a_session_is_looked_for_once() {
    let statements =
        (0..2_000).map(|n| denied(json!({"StringEquals": {format!("app:k{n}"): "v"}})));
    let files = Files::new(statements);
    let long = "oidc-provider/".repeat(143);
    for provider in [
        format!("arn:aws:iam::111111111111:oidc-provider/{long}"),
        long,
    ] {
        let asked = question(json!({"session": {"federatedProvider": provider}}));
        assert_eq!(ask(&files, &asked), End::Answered, "E-1");
    }
}

/// Returns the ARN of an OIDC provider, and a store with a role that trusts it by these statements.
pub fn federated(statements: &[Value]) -> (Value, Files) {
    let mut files = Files::new([]);
    files.add(
        "roles/web.json",
        json!({"AssumeRolePolicyDocument": document(statements)}),
    );
    let question = json!({
        "principal": "arn:aws:iam::111111111111:oidc-provider/idp.example",
        "action": "sts:AssumeRoleWithWebIdentity",
        "resource": "arn:aws:iam::111111111111:role/web",
    });
    (question, files)
}

/// Returns a statement of such a trust policy.
pub fn trusts(effect: &str, condition: Value) -> Value {
    json!({
        "Effect": effect, "Principal": {"Federated": "idp.example"}, "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": condition,
    })
}

#[test]
fn claims_are_paid_for_whenever_they_are_looked_up() {
    let name = |n: usize| format!("{}{n:03}", "c".repeat(200));
    let statements: Vec<Value> = (0..1_000)
        .map(|n| {
            trusts(
                "Deny",
                json!({"StringEquals": {format!("idp.example:{}", name(n)): "x"}}),
            )
        })
        .collect();
    let (mut asked, files) = federated(&statements);
    let claims: serde_json::Map<_, _> = (0..250).map(|n| (name(n), json!("v"))).collect();
    asked["session"] = json!({"claims": claims});
    assert_eq!(ask(&files, &asked), End::GivenUp, "E-1");
}

/// T-25.
#[test]
fn the_roles_that_a_token_names_are_paid_for_whenever_they_are_looked_up() {
    let by_roles = trusts(
        "Deny",
        json!({"Bool": {"sts:RoleAuthorizedByIdp": "false"}}),
    );
    let role = "arn:aws:iam::111111111111:role/web";
    let mut many = texts(1_000);
    many.push(role.to_owned());
    for (roles, n_answered) in [
        (json!(format!("{}{role}", ";".repeat(16_000))), 2),
        (json!(many), 50),
    ] {
        let end = |n: usize| {
            let (mut asked, files) = federated(&vec![by_roles.clone(); n]);
            asked["session"] = json!({"claims": {"https://aws.amazon.com/roles": roles}});
            ask(&files, &asked)
        };
        let ends = [end(n_answered), end(10 * n_answered)];
        assert_eq!(ends, [End::Answered, End::GivenUp], "E-1");
    }
}

#[test]
fn the_entries_of_a_principal_are_paid_for_whenever_they_are_tried() {
    let mut files = Files::new([]);
    let everybody = vec!["*"; 100_000];
    let statement = json!({
        "Effect": "Allow", "Principal": {"AWS": everybody}, "Action": "*",
        "Condition": {"StringEquals": {"app:k": "v"}},
    });
    for n in 0..4 {
        files.add(
            &format!("resource-policies/{n}.json"),
            json!({"Resource": "arn:app:orders:::*", "Policy": document(std::slice::from_ref(&statement))}),
        );
    }
    assert_eq!(ask(&files, &question(json!({}))), End::GivenUp, "E-1");
}

#[test]
fn a_provider_with_a_long_name_is_compared_and_not_searched() {
    let entries: Vec<String> = (0..1_000).map(|n| format!("idp{n}.example")).collect();
    let statements: Vec<Value> = (0..10)
        .map(|_| {
            json!({
                "Effect": "Deny", "Principal": {"Federated": entries}, "Action": "*",
                "Condition": {"StringEquals": {"app:k": "v"}},
            })
        })
        .collect();
    let (mut asked, files) = federated(&statements);
    asked["principal"] = json!(format!(
        "arn:aws:iam::111111111111:oidc-provider/{}",
        "i".repeat(2_000)
    ));
    assert_eq!(ask(&files, &asked), End::Answered, "E-1");
}

// The cache.

/// K-45: looking an answer up must not use up the budget for making it.
#[test]
fn asking_the_cache_takes_no_answer_away() {
    let mut statements: Vec<Value> = (0..1_900)
        .map(|n| under(json!({"StringEquals": {format!("aws:ResourceTag/t{n}"): "v"}})))
        .collect();
    statements.insert(
        0,
        json!({"Effect": "Allow", "Action": "*", "Resource": "*"}),
    );
    let keys: Vec<String> = (0..250).map(|n| format!("app:k{n}")).collect();
    let context = keys.iter().map(|key| (key.as_str(), Given::Text("v")));
    let question = Question {
        principal: "arn:aws:iam::111111111111:role/app",
        action: "orders:Get",
        resource: &format!("arn:app:orders:::{}", "o".repeat(1_500)),
        context: context.collect(),
        ..Question::default()
    };
    let request = Request::parse(&question, now()).unwrap();
    for mode in [Mode::Off, Mode::Auto, Mode::Always] {
        assert_bounded(|| {
            let snapshot = Files::new(statements.clone()).snapshot();
            let generation = Generation::new(snapshot, &Caching::new(mode, 1 << 20, 1));
            let ask = |_| {
                let begun = cpu_time();
                let answer = generation.authorize(&request);
                let took = cpu_time() - begun;
                let plain = authorize(&generation.snapshot, &request);
                assert_eq!(answer.is_ok(), plain.is_ok(), "K-45: {mode:?}");
                took
            };
            (0..6).map(ask).collect()
        });
    }
}

#[test]
fn a_question_that_is_too_long_to_be_kept_is_not_projected() {
    let statements =
        (0..1_900).map(|n| under(json!({"StringEquals": {format!("aws:ResourceTag/t{n}"): "v"}})));
    let mut statements: Vec<Value> = statements.collect();
    statements.insert(
        0,
        json!({"Effect": "Allow", "Action": "*", "Resource": "*"}),
    );
    let question = Question {
        principal: "arn:aws:iam::111111111111:role/app",
        action: "orders:Get",
        resource: &long_resource("a"),
        ..Question::default()
    };
    let request = Request::parse(&question, now()).unwrap();
    let files = Files::new(statements);
    assert_bounded(|| {
        let generation = Generation::new(files.snapshot(), &Caching::new(Mode::Always, 1 << 20, 1));
        let ask = |_| {
            let begun = cpu_time();
            assert!(generation.authorize(&request).is_ok(), "E-1");
            cpu_time() - begun
        };
        let took = (0..4).map(ask).collect();
        assert_eq!(generation.n_cached(), 0);
        took
    });
}
