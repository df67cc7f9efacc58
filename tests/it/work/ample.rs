//! Realistic stores and questions, all of which have an answer (E-1).

use super::*;

/// Returns statements as large stores have them: a few actions, a resource and a condition. None of them applies.
fn attached(resources: &[&str], n_conditions: usize) -> Vec<Value> {
    let statement = |n: usize| {
        let resources: Vec<String> = resources
            .iter()
            .map(|resource| resource.replace("{n}", &n.to_string()))
            .collect();
        let conditions: serde_json::Map<_, _> = (0..n_conditions)
            .map(|key| (format!("app:k{key}"), json!("v")))
            .collect();
        json!({
            "Effect": "Allow", "Action": ["orders:Get", "orders:List*", "orders:Put"], "Resource": resources,
            "Condition": {"StringEquals": conditions},
        })
    };
    (0..5_000).map(statement).collect()
}

#[test]
fn five_thousand_statements_are_considered_for_an_action_that_was_never_asked_for() {
    let stores: [(&[&str], usize); 3] = [
        (&["arn:app:orders:::order/*"], 1),
        (&["arn:app:orders:::tenant-{n}/*"], 1),
        (
            &[
                "arn:app:orders:::*/a{n}/*",
                "arn:app:orders:::*/b{n}/*",
                "arn:app:orders:::*/c{n}/*",
            ],
            2,
        ),
    ];
    for (resources, n_conditions) in stores {
        let files = Files::new(attached(resources, n_conditions));
        // Another principal with the same policies would do too. Each action is asked about for the first time.
        for action in ["orders:Get", "orders:ListAll", "orders:Put", "stock:Get"] {
            let asked = question(json!({"action": action, "context": {"app:k0": "w"}}));
            let end = ask_first(&files, &asked);
            assert_eq!(end, End::Answered, "E-1: {resources:?}, {action}");
        }
    }
}

/// Returns a list of this many values under this operator, and the same number or fewer in the question.
fn lists(operator: &str, of_policy: Vec<String>, of_question: Vec<String>) -> End {
    let statement = json!({
        "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {operator: {"app:list": of_policy}},
    });
    let asked = question(json!({"context": {"app:list": of_question}}));
    ask(&Files::new([statement]), &asked)
}

#[test]
fn lists_of_a_thousand_values_are_compared() {
    let named = |n: usize, before: &str, behind: &str| -> Vec<String> {
        (0..n).map(|n| format!("{before}{n:04}{behind}")).collect()
    };
    let cases = [
        (
            "ForAnyValue:StringEquals",
            named(1_000, "", ""),
            named(1_000, "x", ""),
        ),
        (
            "ForAllValues:StringNotEquals",
            named(1_000, "", ""),
            named(1_000, "x", ""),
        ),
        (
            "ForAnyValue:StringEqualsIgnoreCase",
            named(1_000, "user-", ""),
            named(1_000, "user-", "x"),
        ),
        (
            "ForAnyValue:StringLike",
            named(1_000, "team-", "-*"),
            named(50, "x", ""),
        ),
        (
            "ForAnyValue:ArnLike",
            named(1_000, "arn:aws:iam::111111111111:role/team-", "-*"),
            named(30, "arn:aws:iam::111111111111:role/x-", ""),
        ),
        (
            "ForAnyValue:ArnEquals",
            named(1_000, "arn:aws:iam::111111111111:role/r", ""),
            named(1_000, "arn:aws:iam::111111111111:user/u", ""),
        ),
        (
            "ForAnyValue:NumericEquals",
            named(1_000, "1", ""),
            named(20, "2", ""),
        ),
        (
            "ForAnyValue:IpAddress",
            (0..1_000)
                .map(|n| format!("10.{}.{}.0/24", n / 250, n % 250))
                .collect(),
            (0..1_000).map(|n| format!("192.0.2.{}", n % 250)).collect(),
        ),
    ];
    for (operator, of_policy, of_question) in cases {
        assert_eq!(
            lists(operator, of_policy, of_question),
            End::Answered,
            "E-1: {operator}"
        );
    }
}

/// T-40: 2,048 characters, and ten managed policies of 6,144 characters.
#[test]
fn session_policies_as_long_as_those_of_aws_are_read() {
    let condition = json!({"ForAnyValue:StringLike": {"app:list": (0..150).map(|n| format!("team-{n}-*")).collect::<Vec<_>>()}});
    let policies: Vec<String> = (0..4).map(|_| session_policy(condition.clone())).collect();
    let asked = question(json!({
        "session": {"policies": policies}, "context": {"app:list": ["team-149-x", "y", "z"]},
    }));
    assert_eq!(ask(&Files::new([]), &asked), End::Answered, "E-1");
}

/// The policies are seven times as long as AWS accepts.
#[test]
fn a_session_policy_of_many_resources_is_read() {
    let resources = (0..280).map(|n| format!("arn:aws:s3:::bucket-of-team-{n:03}/shared/files/*"));
    let statement =
        json!({"Effect": "Allow", "Action": "*", "Resource": resources.collect::<Vec<_>>()});
    let policy = document(&[statement]).to_string();
    assert!(policy.len() > 7 * 1_900);
    let asked = question(json!({"session": {"policies": [policy]}}));
    assert_eq!(ask(&Files::new([]), &asked), End::Answered, "E-1");
}
