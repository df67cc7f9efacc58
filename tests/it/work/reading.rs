//! Reading a question is a part of the work that the question may take (E-1).

use iamd::language::document::PolicyType;
use iamd::language::parse;
use iamd::language::report::Base;

use super::hostile::{denied, federated, plain, trusts, under};
use super::*;

#[test]
fn a_context_key_of_colons_is_looked_at_no_further_than_an_issuer_may_go() {
    let (mut asked, files) = federated(&[trusts(
        "Allow",
        json!({"StringEquals": {"idp.example:sub": "x"}}),
    )]);
    let colons: serde_json::Map<_, _> = (0..3)
        .map(|n| (format!("{}{n}", ":".repeat(16_000)), json!("v")))
        .collect();
    asked["context"] = json!(colons);
    assert_eq!(ask(&files, &asked), End::Answered, "E-1");
}

/// Returns three session policies, each of the maximum length, and one of them.
fn ends_of_policies(policy: impl Fn(usize) -> String) -> [End; 2] {
    let policies: Vec<String> = (0..3).map(policy).collect();
    let asked = |policies: &[String]| {
        ask(
            &plain(),
            &question(json!({"session": {"policies": policies}})),
        )
    };
    [asked(&policies[..1]), asked(&policies)]
}

/// Returns a condition of `n` keys under the operator.
fn keys(n: usize, operator: &str, key: impl Fn(usize) -> String) -> Value {
    let keys: serde_json::Map<_, _> = (0..n).map(|n| (key(n), json!(""))).collect();
    json!({operator: keys})
}

#[test]
fn session_policies_are_paid_for_by_their_length() {
    let unknown_keys =
        |at| session_policy(keys(1_050, "StringEquals", |n| format!("aws:x{at}{n}")));
    assert_eq!(
        ends_of_policies(unknown_keys),
        [End::Answered, End::GivenUp],
        "E-1"
    );
    let sets = |at| {
        session_policy(keys(1_050, "ForAllValues:StringEquals", |n| {
            format!("a:x{at}{n}")
        }))
    };
    assert_eq!(ends_of_policies(sets), [End::Answered, End::GivenUp], "E-1");
    let statements = |at| {
        let statement =
            |n| json!({"Effect": "Deny", "Action": format!("a:b{at}{n}"), "Resource": "*"});
        let statements: Vec<Value> = (0..290).map(statement).collect();
        document(&statements).to_string()
    };
    let [one, three] = ends_of_policies(statements);
    assert_eq!((one, three), (End::Answered, End::GivenUp), "E-1");
}

/// The work of reading a question counts toward the work that its answer may take.
#[test]
fn what_a_session_policy_took_is_not_there_for_the_answer() {
    let prefixes: Vec<String> = (0..1_000).map(|n| format!("team-{n:04}-*")).collect();
    let files = Files::new([denied(
        json!({"ForAnyValue:StringLike": {"app:list": prefixes}}),
    )]);
    let context = json!({"app:list": texts(130)});
    let policy = session_policy(keys(1_050, "StringEquals", |n| format!("app:x{n}")));
    let alone = question(json!({"context": context}));
    assert_eq!(ask(&files, &alone), End::Answered, "E-1");
    let both = question(json!({"context": context, "session": {"policies": [policy]}}));
    assert_eq!(ask(&files, &both), End::GivenUp, "E-1");
}

/// Returns session policies of about this many bytes, of each shape that takes long to read. The slowest comes first.
fn slow_session_policies(n_bytes: usize) -> Vec<String> {
    let repeated = |text: &str| vec![text.to_owned(); n_bytes / (text.len() + 3)];
    let resources = |effect: &str, resource: &str| {
        let statement = json!({"Effect": effect, "Action": "*", "Resource": repeated(resource)});
        document(&[statement]).to_string()
    };
    let long = |of: &str| {
        let resource = format!("arn:a:b:::{}", of.repeat(n_bytes / of.len()));
        document(&[json!({"Effect": "Allow", "Action": "*", "Resource": resource})]).to_string()
    };
    let values =
        |operator: &str, value: &str| session_policy(json!({operator: {"a:b": repeated(value)}}));
    let actions = json!({"Effect": "Allow", "Action": repeated("a:*?b"), "Resource": "*"});
    vec![
        resources("Allow", "arn:a:*:*:*:*"),
        resources("Allow", "arn:a:b:::*?"),
        resources("Allow", "arn:a:b:*c*:?:*"),
        resources("Allow", "arn:a:b:::${a:b}"),
        resources("Allow", "arn:*"),
        resources("Deny", "arn:a:b?"),
        long("*a"),
        long("*:"),
        long("?"),
        long("${a:b}"),
        values("StringLike", "*?a"),
        values("StringEqualsIgnoreCase", "ß"),
        values("ArnLike", "arn:*:*:*:*:*"),
        values("IpAddress", "::/1"),
        values("NumericEquals", "1"),
        values("DateEquals", "2026-01-01"),
        values("BinaryEquals", "QQ=="),
        session_policy(json!({"StringLike": {"a:b": "*abcdefghi".repeat(n_bytes / 10)}})),
        document(&[actions]).to_string(),
        // An escaped character is as much work.
        session_policy(json!({"StringLike": {"a:b": "*a".repeat(n_bytes / 8)}}))
            .replace("*a", "\\u002aa"),
    ]
}

fn end_of_policy(policy: &str) -> End {
    ask(
        &plain(),
        &question(json!({"session": {"policies": [policy]}})),
    )
}

#[test]
fn session_policies_of_every_shape_are_read_within_what_a_question_may_take() {
    let policies = slow_session_policies(14_000);
    assert_eq!(end_of_policy(&policies[0]), End::GivenUp, "E-1");
    for policy in &policies[1..] {
        end_of_policy(policy);
    }
}

/// T-40: the policies have the maximum length that AWS accepts.
#[test]
fn a_session_policy_of_two_kilobytes_is_read_whatever_its_shape() {
    for policy in slow_session_policies(1_900) {
        assert_eq!(end_of_policy(&policy), End::Answered, "E-1: {policy}");
    }
}

#[test]
fn a_long_list_of_what_is_no_policy_is_refused_in_time() {
    for policy in [
        format!("{}1{}", "[1,".repeat(15), ",1".repeat(7_000)),
        format!("{}1", "{\"\":".repeat(1_500)),
        format!(
            "{}{}{}",
            "[".repeat(15),
            vec!["1"; 6_900].join(","),
            "]".repeat(15)
        ),
    ] {
        assert_eq!(end_of_policy(&policy), End::Refused, "E-1");
    }
}

/// The policy is one of a store. A reload must not block for it.
#[test]
fn a_document_of_many_keys_is_read_in_a_step_for_each() {
    let read = |operator: &str| {
        let text = session_policy(keys(6_000, operator, |n| format!("a:{n}")));
        let took = || {
            let begun = cpu_time();
            let (document, _) = parse::parse(&text, PolicyType::Identity, Base::File("p".into()));
            assert!(document.is_some());
            cpu_time() - begun
        };
        took().min(took())
    };
    let (plain, of_sets) = (read("StringEquals"), read("ForAllValues:StringEquals"));
    assert!(
        of_sets <= 4 * plain,
        "{of_sets:?} where others take {plain:?}"
    );
}

#[test]
fn a_session_policy_with_many_mistakes_is_refused_in_a_few_words() {
    let unknown_operators = (0..500).map(|n| (format!("StringEqual{n}"), json!({"a:b": ""})));
    let unknown_operators: serde_json::Map<_, _> = unknown_operators.collect();
    let long_key =
        json!({"StringEquals": {format!("a:{}", "k".repeat(8_000)): vec![json!({}); 2_600]}});
    for condition in [json!(unknown_operators), long_key] {
        let asked = question(json!({"session": {"policies": [session_policy(condition)]}}));
        assert_eq!(ask(&plain(), &asked), End::Refused, "E-1");
    }
}

#[test]
fn keys_of_tags_are_compared_once() {
    let tag = |n: usize| format!("{}{n:03}", "t".repeat(110));
    let mut context: serde_json::Map<_, _> = (0..200)
        .map(|n| (format!("aws:RequestTag/{}", tag(n)), json!("v")))
        .collect();
    let keys: Vec<String> = (0..200).map(tag).collect();
    context.insert("aws:TagKeys".to_owned(), json!(keys));
    let asked = question(json!({"context": context}));
    assert_eq!(ask(&plain(), &asked), End::Answered, "E-1");
}

#[test]
fn claims_are_compared_once() {
    let claims: serde_json::Map<_, _> = (0..250)
        .map(|n| (format!("{}{n:03}", "c".repeat(230)), json!("v")))
        .collect();
    let asked =
        question(json!({"session": {"claims": claims, "federatedProvider": "idp.example"}}));
    assert_eq!(ask(&plain(), &asked), End::Answered, "E-1");
}

#[test]
fn transitive_keys_are_looked_up_once() {
    let tag = |n: usize| format!("{}{n:02}", "t".repeat(30));
    let tags: serde_json::Map<_, _> = (0..50).map(|n| (tag(n), json!("v"))).collect();
    let session = json!({"tags": tags, "transitiveTagKeys": vec![tag(49); 1_000]});
    let statements =
        (0..1_000).map(|n| under(json!({"StringEquals": {format!("aws:ResourceTag/t{n}"): "v"}})));
    let files = Files::new(statements);
    let asked = question(json!({
        "session": session, "action": "sts:AssumeRole", "resource": "arn:aws:iam::111111111111:role/app",
    }));
    assert_eq!(ask(&files, &asked), End::Answered, "E-1");
}
