//! A mistake is refused with the same message and the same field path, no matter how the question arrives.

use serde_json::{Value, json};

use crate::support::{ANN, ORDER, Server, iamd, run, store_allowing};

/// It asks for roles, and for nothing else (E-2, T-20).
const PROVIDER: &str = "arn:aws:iam::111122223333:oidc-provider/login.example.com";

/// Questions with one mistake each, and the path of the field that is refused.
fn mistakes() -> Vec<(Value, &'static str)> {
    let with = |member: &str, value: Value| {
        let mut question = json!({"principal": ANN, "action": "orders:Get", "resource": ORDER});
        question[member] = value;
        question
    };
    let of_role = |session: Value| {
        let mut question = with("session", session);
        question["principal"] = json!("arn:aws:sts::111122223333:assumed-role/ops/s1");
        question
    };
    let mut passes_a_transitive_tag =
        of_role(json!({"tags": {"a\"b": "v"}, "transitiveTagKeys": ["a\"b"]})); // T-37
    passes_a_transitive_tag["action"] = json!("sts:AssumeRole");
    passes_a_transitive_tag["context"] = json!({"aws:RequestTag/a\"b": "v"});
    let long = "x".repeat(16 * 1024 + 1);
    vec![
        (with("principal", json!("ann")), "principal"),
        (with("principal", json!(PROVIDER)), "principal"),
        (with("action", json!("orders:*")), "action"),
        (with("resource", json!("order/1")), "resource"),
        (with("resourceAccount", json!("a b")), "resource_account"),
        (with("resource", json!(long)), "resource"),
        (
            with("context", json!({"app:\"x\\": [1, [2]]})),
            r#"context["app:\"x\\"]"#,
        ),
        (with("context", json!({"app:x": {}})), r#"context["app:x"]"#),
        (
            with("context", json!({"app:x": 9_007_199_254_740_992u64})),
            r#"context["app:x"]"#,
        ),
        (
            with("context", json!({"app:x": long})),
            r#"context["app:x"]"#,
        ),
        (
            with("context", json!({"app:x": vec![1; 1_025]})),
            r#"context["app:x"]"#,
        ),
        (
            with("context", json!({"app:x": 1, "APP:x": 2})),
            r#"context["app:x"]"#,
        ),
        (
            with("context", json!({"aws:username": "bob"})),
            r#"context["aws:username"]"#,
        ),
        (of_role(json!({"policies": ["{}"]})), "session.policies[0]"),
        (
            of_role(json!({"policyArns": ["orders"]})),
            "session.policy_arns[0]",
        ),
        (
            of_role(json!({"tags": {"aws:\"": "v"}})),
            r#"session.tags["aws:\""]"#,
        ),
        (
            of_role(json!({"claims": {"a\"b": 1, "A\"b": 2}})),
            r#"session.claims["a\"b"]"#,
        ),
        (
            of_role(json!({"attributes": {"app:\"": "v"}})),
            r#"session.attributes["app:\""]"#,
        ),
        (passes_a_transitive_tag, r#"context["aws:RequestTag/a\"b"]"#),
        (
            of_role(json!({"issuedAt": "1970-01-01T00:00:00Z"})),
            "session.issued_at",
        ),
    ]
}

/// Returns status, field and message of each line that replaces an answer.
fn told(lines: &str) -> Vec<[String; 3]> {
    let error = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        ["code", "field", "message"].map(|name| line["error"][name].as_str().unwrap().to_owned())
    };
    lines.lines().map(error).collect()
}

/// Returns the options that ask `question`.
fn options(question: &Value) -> Vec<String> {
    let mut options = vec!["authorize".to_owned()];
    for (name, value) in question.as_object().unwrap() {
        match (name.as_str(), value) {
            ("context", entries) => {
                for (key, value) in entries.as_object().unwrap() {
                    options.extend(["--context".to_owned(), format!("{key}:={value}")]);
                }
            }
            ("session", facts) => options.extend(["--session".to_owned(), facts.to_string()]),
            ("resourceAccount", account) => options.extend([
                "--resource-account".to_owned(),
                account.as_str().unwrap().to_owned(),
            ]),
            (name, text) => {
                options.extend([format!("--{name}"), text.as_str().unwrap().to_owned()]);
            }
        }
    }
    options
}

#[test]
fn every_protocol_refuses_a_mistake_in_the_same_words() {
    let store = store_allowing("*");
    let server = Server::start(store.path());
    let mistakes = mistakes();
    let lines: String = mistakes
        .iter()
        .map(|(question, _)| format!("{question}\n"))
        .collect();
    let mut command = iamd(["authorize", "--requests", "-", "--store"]);
    command.arg(store.path());
    let here = told(&run(command, &lines).stdout);
    let address = server.address();
    let command = iamd(["authorize", "--requests", "-", "--server", &address]);
    let by_grpc = told(&run(command, &lines).stdout);
    assert_eq!(here.len(), mistakes.len());
    for (((question, field), here), by_grpc) in mistakes.iter().zip(&here).zip(&by_grpc) {
        assert_eq!(here, by_grpc, "{question}");
        let [code, path, message] = here;
        assert_eq!((code.as_str(), path.as_str()), ("INVALID_ARGUMENT", *field));
        let mut command = iamd(options(question));
        command.arg("--store").arg(store.path());
        let finished = run(command, "");
        assert_eq!(finished.status, Some(2), "{question}");
        let expected = format!("error: {code}: {path}: {message}\n");
        let is_told = finished.stderr == expected;
        assert!(is_told, "{} is not {expected}", finished.stderr);
    }
}
