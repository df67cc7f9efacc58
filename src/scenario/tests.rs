#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use super::*;
use crate::language::document::PolicyType;

fn question(members: &str) -> Ask {
    let text = format!(
        "- {{ name: n, store: {{}}, ask: {members}, expect: {{ error: invalid_argument }} }}"
    );
    match parse("t.yaml", &text).unwrap().remove(0).test {
        Test::Question { ask, .. } => *ask,
        Test::Load(_) => panic!(),
    }
}

/// Returns the error of the question with these members.
fn refusal(members: &str) -> RequestError {
    let asked =
        r#"principal: "arn:aws:iam::111122223333:oidc-provider/a.b", action: "a:B", resource: "*""#;
    let ask = question(&format!("{{ {asked}, {members} }}"));
    ask.request(Timestamp::UNIX_EPOCH).unwrap_err()
}

fn refused(text: &str) -> String {
    let errors = parse("t.yaml", text).unwrap_err();
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The function is long because it holds a scenario with every member, and what is read from it.
#[test]
fn a_scenario_is_read_whole() {
    let text = r#"
# a comment
- name: first
  store: ../stores/boundary
  ask: { principal: "*", action: "a:B", resource: "*" }
  expect: { decision: deny, reason: implicit_deny_identity }
- name: second
  rules: [E-1, D01]
  at: 2024-06-01T00:00:00Z
  store:
    account.json: { AccountId: "111111111111", MaxSessionDuration: 3600 }
    users/ann.json: "{ not json"
  ask: { principal: "*", action: "a:B", resource: "*", resourceAccount: "1", request_id: r }
  expect: { decision: allow }
- name: third
  expect: { load: short-arn }
"#;
    let scenarios = parse("dir/t.yaml", text).unwrap();
    let [first, second, third] = scenarios.as_slice() else {
        panic!()
    };
    assert_eq!(
        (first.place.as_str(), second.place.as_str()),
        ("dir/t.yaml:3", "dir/t.yaml:7")
    );
    assert_eq!(
        first.store,
        StoreSource::Directory("../stores/boundary".into())
    );
    let Test::Question {
        expect, at: None, ..
    } = first.test
    else {
        panic!()
    };
    assert_eq!(expect.to_string(), "deny implicit_deny_identity");

    assert_eq!(second.rules, ["E-1", "D01"]);
    let StoreSource::Files(files) = &second.store else {
        panic!()
    };
    assert_eq!(
        files["account.json"],
        r#"{"AccountId": "111111111111", "MaxSessionDuration": 3600}"#
    );
    assert_eq!(
        files["users/ann.json"], "{ not json",
        "a string is written as it is"
    );
    let Test::Question { ask, at, expect } = &second.test else {
        panic!()
    };
    assert_eq!(at.unwrap().as_second(), 1_717_200_000);
    assert_eq!(
        *expect,
        Expect::Decision {
            allowed: true,
            reason: None
        }
    );
    assert_eq!(
        (ask.request_id.as_str(), ask.resource_account.as_str()),
        ("r", "1")
    );

    assert_eq!(
        (&third.store, &third.test),
        (&StoreSource::Beside, &Test::Load(Code::SHORT_ARN))
    );
}

#[test]
fn json_is_read_too() {
    let text = r#"[{"name": "é \ud83d\ude00 \/", "store": {}, "expect": {"load": "empty-store"}}]"#;
    assert_eq!(parse("t.json", text).unwrap()[0].name, "é 😀 /");
}

#[test]
fn values_keep_their_types() {
    let ask = question(
        r#"{ principal: "*", action: "a:B", resource: "*",
             context: { a: 5, b: "5", c: 1.50, d: true, e: [x, 1], f: yes, g: 010, h: "", i: [] } }"#,
    );
    let request = ask.request(Timestamp::UNIX_EPOCH).unwrap();
    let canonical: Vec<String> = request
        .context
        .entries()
        .iter()
        .map(|entry| entry.value.all().collect::<Vec<_>>().join(","))
        .collect();
    assert_eq!(
        canonical,
        ["5", "5", "1.5", "true", "x,1", "yes", "010", "", ""]
    );
    assert_eq!(ask.context[0].1, Value::Integer(5));
    assert_eq!(ask.context[1].1, Value::String("5".into()));
    assert_eq!(ask.context[5].1, Value::String("yes".into()));
}

#[test]
fn what_no_context_may_hold_is_kept_until_it_is_asked() {
    for (value, part) in [
        ("null", "null"),
        ("{}", "an object"),
        ("[[x]]", "a list"),
        ("[null]", "null"),
    ] {
        let error = refusal(&format!("context: {{ \"app:k\": {value} }}"));
        assert_eq!(error.field, "context[\"app:k\"]");
        assert!(error.message.contains(part), "{error}");
    }
    for number in [
        "9007199254740992",
        "9007199254740993",
        "-1e300",
        "170141183460469231731687303715884105727",
    ] {
        let members = format!("session: {{ claims: {{ sub: {number} }} }}");
        assert_eq!(
            refusal(&members).field,
            "session.claims[\"sub\"]",
            "C-5: {number}"
        );
    }
}

#[test]
fn keys_that_differ_in_case_only_both_stay() {
    let ask = question("{ context: { app:x: 1, APP:X: 2 } }");
    let n_entries = ask.question().context.len();
    assert_eq!(n_entries, 2, "C-4: for the engine to refuse");
}

#[test]
fn a_session_has_all_its_fields() {
    let ask = question(
        r#"{ session: { policies: ["{}", { Version: "2012-10-17" }], policy_arns: [a], tags: { Team: blue },
             source_identity: s, issued_at: 2024-06-01T00:00:00Z, expiresAt: 2024-06-01T01:00:00+00:00,
             mfa_at: 2024-06-01T00:00:00.5Z, transitive_tag_keys: [Team], claims: { aud: [x] },
             federated_provider: f, parent: p } }"#,
    );
    let session = ask.question().session.unwrap();
    assert_eq!(session.policies, ["{}", r#"{"Version": "2012-10-17"}"#]);
    assert_eq!(session.tags, [("Team", "blue")]);
    assert_eq!(session.expires_at.unwrap().as_second(), 1_717_203_600);
    assert_eq!(session.claims.len(), 1);
    assert_eq!((session.federated_provider, session.parent), ("f", "p"));
    assert_eq!(question("{}").question().session, None);
}

#[test]
fn what_only_a_simulation_can_be_told_makes_it_one() {
    assert_eq!(question("{}").simulated, None);
    assert_eq!(question("{ context: { app:k: null } }").simulated, None);
    assert_eq!(
        question("{ replace: [] }").simulated,
        Some(Simulated::default())
    );
    let ask = question(
        r#"{ identityPolicies: ["{}", { Version: "2012-10-17" }], trust_policy: { Version: "2012-10-17" },
             replace: [identity, POLICY_TYPE_SERVICE_CONTROL] }"#,
    );
    let simulated = ask.simulated.unwrap();
    let policies: Vec<_> = simulated
        .policies
        .iter()
        .map(|policy| (policy.field.as_str(), policy.text.as_str()))
        .collect();
    let version = r#"{"Version": "2012-10-17"}"#;
    assert_eq!(
        policies,
        [
            ("identity_policies[0]", "{}"),
            ("identity_policies[1]", version),
            ("trust_policy", version)
        ]
    );
    assert_eq!(
        simulated.replace,
        [PolicyType::Identity, PolicyType::ServiceControl]
    );
}

#[test]
fn a_simulation_may_hold_any_key_and_take_one_away() {
    let at = "2024-06-01T00:00:00Z".parse().unwrap();
    let members = r#"principal: "arn:aws:iam::111111111111:user/a", action: "a:B", resource: "*",
        context: { aws:PrincipalTag/k: v, aws:username: null }"#;
    let simulated = question(&format!("{{ {members}, replace: [] }}"));
    let request = simulated.request(at);
    assert!(request.is_ok(), "{request:?}");
    let real = question(&format!("{{ {members} }}"));
    let asked = real.request(at);
    assert!(asked.unwrap_err().field.contains("aws:username"), "K-1");
}

#[test]
fn the_evaluation_time_is_the_clock() {
    let text =
        "- { name: n, ask: { evaluation_time: 2024-06-01T00:00:00Z }, expect: { decision: deny } }";
    let Test::Question { at, ask, .. } = parse("t.yaml", text).unwrap().remove(0).test else {
        panic!()
    };
    assert_eq!(at.unwrap().as_second(), 1_717_200_000);
    assert!(ask.simulated.is_some());
}

/// The function is long because it is a table of cases.
#[test]
fn whatever_is_not_understood_is_an_error() {
    let ask = "store: {}, ask: { principal: p }";
    for (text, part) in [
        (
            "- { name: n, storre: x }",
            "t.yaml:1: a scenario has no member `storre`; did you mean `store`?",
        ),
        ("- { store: {} }", "needs a `name`"),
        ("- name: n\n  name: m", "t.yaml:"),
        ("- { name: 5 }", "`name` must be a string, not a number"),
        ("- text", "a scenario must be a mapping, not a string"),
        ("name: n", "not a list of scenarios"),
        ("- { name: n, store: {} }", "`n`: a scenario needs `expect`"),
        (
            "- { name: n, store: {}, expect: { decision: allow } }",
            "needs `ask`",
        ),
        (
            &format!("- {{ name: n, {ask}, expect: {{}} }}"),
            "needs `decision`, `error` or `load`",
        ),
        (
            &format!("- {{ name: n, {ask}, expect: {{ decision: Allow }} }}"),
            "must be `allow` or `deny`, not `Allow`",
        ),
        (
            &format!(
                "- {{ name: n, {ask}, expect: {{ decision: deny, reason: implicit_deny_identiy }} }}"
            ),
            "did you mean `implicit_deny_identity`?",
        ),
        (
            &format!(
                "- {{ name: n, {ask}, expect: {{ decision: deny, reason: allow_identity }} }}"
            ),
            "contradicts",
        ),
        (
            &format!("- {{ name: n, {ask}, expect: {{ error: not_found }} }}"),
            "can only be `invalid_argument`",
        ),
        (
            &format!(
                "- {{ name: n, {ask}, expect: {{ error: invalid_argument, decision: deny }} }}"
            ),
            "must be the only member",
        ),
        (
            &format!("- {{ name: n, {ask}, expect: {{ load: short-arn }} }}"),
            "can't be asked",
        ),
        (
            "- { name: n, store: {}, expect: { load: shrt-arn } }",
            "did you mean `short-arn`?",
        ),
        ("- { name: n, store: 5 }", "`store` must be a directory"),
        (
            "- { name: n, store: { ../a.json: {} } }",
            "below the store's root",
        ),
        (
            "- { name: n, store: { /a.json: {} } }",
            "below the store's root",
        ),
        (
            "- { name: n, at: today, expect: {} }",
            "`at` must be a time",
        ),
        (
            "- { name: n, ask: { princpal: p }, expect: { decision: deny } }",
            "did you mean `principal`?",
        ),
        (
            "- { name: n, ask: { session: { tag: {} } }, expect: { decision: deny } }",
            "did you mean `tags`?",
        ),
        (
            "- { name: n, ask: { session: { tags: { a: 1 } } }, expect: { decision: deny } }",
            "must be a string",
        ),
        (
            "- { name: n, ask: { requestId: a, request_id: b }, expect: { decision: deny } }",
            "twice",
        ),
        (
            "- { name: n, ask: { replace: [identty] }, expect: { decision: deny } }",
            "there is no policy type `identty`; did you mean `identity`?",
        ),
        (
            "- { name: n, ask: { trust_policy: [] }, expect: { decision: deny } }",
            "`trust_policy` must be a string or a mapping",
        ),
        (
            "- { name: n, at: 2024-06-01T00:00:00Z, ask: { evaluation_time: 2024-06-01T00:00:00Z }, expect: { decision: deny } }",
            "mean the same: give only one",
        ),
        (
            "- { name: n, ask: { context: [] }, expect: { decision: deny } }",
            "must be a mapping",
        ),
    ] {
        let error = refused(text);
        assert!(
            error.contains(part),
            "{text}\n  gives  {error}\n  not    {part}"
        );
    }
}

#[test]
fn every_bad_scenario_is_told() {
    assert_eq!(
        refused("- { name: n }\n- { nam: n }\n- 5").lines().count(),
        3
    );
}
