//! What a simulation can try out.
//!
//! The file is long because each member of a simulation has its own test, with a table of what it changes.

use std::sync::LazyLock;

use iamd::compile::snapshot::Snapshot;
use iamd::store;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ANN, ORDER, allow, answer_line, repository, simulation_line, write};

mod protocols;

const ALICE: &str = "arn:aws:iam::111122223333:user/support/alice";
const SHOP_ORDER: &str = "arn:app:orders:::order/1001/1";
const NOBODY: &str = "arn:aws:iam::111122223333:user/nobody";

static SHOP: LazyLock<Snapshot> = LazyLock::new(|| snapshot(&repository().join("policies")));

fn snapshot(root: &std::path::Path) -> Snapshot {
    store::load(root).unwrap().snapshot
}

/// Returns the answer to a simulation, or its error, as one line of the output of `--requests`.
fn simulated(snapshot: &Snapshot, question: &Value) -> Value {
    let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    let line = simulation_line(snapshot, &question.to_string(), now);
    serde_json::from_str(&line).unwrap()
}

/// Returns the reason in lower case without its prefix, or `error: field`.
fn reason(snapshot: &Snapshot, question: &Value) -> String {
    let answer = simulated(snapshot, question);
    match answer["reason"].as_str() {
        Some(reason) => reason.trim_start_matches("REASON_").to_lowercase(),
        None => format!("error: {}", answer["error"]["field"].as_str().unwrap()),
    }
}

/// Returns a question of the shop's alice about an order, with other members.
fn alice(action: &str, members: Value) -> Value {
    let mut question = json!({"principal": ALICE, "action": action, "resource": SHOP_ORDER});
    let question_members = question.as_object_mut().unwrap();
    question_members.extend(members.as_object().unwrap().clone());
    question
}

fn statement(effect: &str, action: &str) -> String {
    policy(json!({"Effect": effect, "Action": action, "Resource": "*"}))
}

fn policy(statement: Value) -> String {
    json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
}

#[test]
fn every_kind_of_policy_can_be_added_or_replaced() {
    let deny = |action: &str| statement("Deny", action);
    let allow = |action: &str| statement("Allow", action);
    let for_all = |effect: &str, action: &str| {
        policy(json!({"Effect": effect, "Principal": "*", "Action": action, "Resource": "*"}))
    };
    let by_ann =
        policy(json!({"Effect": "Allow", "Principal": {"AWS": ALICE}, "Action": "orders:Cancel"}));
    let (get, cancel) = ("orders:Get", "orders:Cancel");
    for (action, members, expected) in [
        (get, json!({}), "allow_identity"),
        (cancel, json!({}), "implicit_deny_identity"),
        (
            cancel,
            json!({"identityPolicies": [allow(cancel)]}),
            "allow_identity",
        ),
        (
            get,
            json!({"identityPolicies": [deny(get)]}),
            "explicit_deny_identity",
        ),
        (
            get,
            json!({"replace": ["POLICY_TYPE_IDENTITY"]}),
            "implicit_deny_identity",
        ),
        (
            get,
            json!({"replace": ["POLICY_TYPE_IDENTITY"], "identityPolicies": [allow(cancel)]}),
            "implicit_deny_identity",
        ),
        (
            cancel,
            json!({"resourcePolicies": [by_ann]}),
            "allow_resource_direct",
        ),
        (
            get,
            json!({"resourcePolicies": [for_all("Deny", get)]}),
            "explicit_deny_resource",
        ),
        (
            get,
            json!({"permissionsBoundary": allow(cancel)}),
            "implicit_deny_permissions_boundary",
        ),
        (
            get,
            json!({"permissionsBoundary": deny(get)}),
            "explicit_deny_permissions_boundary",
        ),
        (
            get,
            json!({"permissionsBoundary": allow("*")}),
            "allow_identity",
        ),
        (
            get,
            json!({"sessionPolicies": [allow(cancel)]}),
            "implicit_deny_session",
        ),
        (
            get,
            json!({"sessionPolicies": [allow(cancel), allow(get)]}),
            "allow_identity",
        ),
        (
            get,
            json!({"sessionPolicies": [deny(get)]}),
            "explicit_deny_session",
        ),
        (
            get,
            json!({"serviceControlPolicies": [deny(get)]}),
            "explicit_deny_service_control",
        ),
        // The policy is beside FullAWSAccess, as if it were attached to the account …
        (
            get,
            json!({"serviceControlPolicies": [allow(cancel)]}),
            "allow_identity",
        ),
        // … unless it is the only one.
        (
            get,
            json!({"serviceControlPolicies": [allow(cancel)], "replace": ["POLICY_TYPE_SERVICE_CONTROL"]}),
            "implicit_deny_service_control",
        ),
        (
            get,
            json!({"resourceControlPolicies": [for_all("Deny", get)]}),
            "explicit_deny_resource_control",
        ),
        (
            get,
            json!({"resourceControlPolicies": [for_all("Deny", cancel)]}),
            "allow_identity",
        ),
    ] {
        assert_eq!(
            reason(&SHOP, &alice(action, members.clone())),
            expected,
            "{action} {members}"
        );
    }
}

#[test]
fn what_the_store_has_can_be_left_out() {
    let store = TempDir::new().unwrap();
    let deny = statement("Deny", "orders:Cancel");
    write(
        store.path(),
        "account.json",
        r#"{"AccountId": "111111111111"}"#,
    );
    write(
        store.path(),
        "managed-policies/narrow.json",
        &allow("orders:Get"),
    );
    write(
        store.path(),
        "users/ann.json",
        &json!({
            "UserPolicyList": [{"PolicyName": "all", "PolicyDocument": serde_json::from_str::<Value>(&allow("*")).unwrap()}],
            "PermissionsBoundary": {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": "arn:aws:iam::111111111111:policy/narrow"},
        })
        .to_string(),
    );
    let on_orders = policy(json!({"Effect": "Deny", "Principal": "*", "Action": "orders:Purge"}));
    let file = json!({"Resource": ["arn:app:orders:::*"], "Policy": serde_json::from_str::<Value>(&on_orders).unwrap()});
    write(
        store.path(),
        "resource-policies/orders.json",
        &file.to_string(),
    );
    let snapshot = snapshot(store.path());
    let ask = |action: &str, members: Value| {
        let mut question = json!({"principal": ANN, "action": action, "resource": ORDER});
        let question_members = question.as_object_mut().unwrap();
        question_members.extend(members.as_object().unwrap().clone());
        reason(&snapshot, &question)
    };
    let cancel = "orders:Cancel";
    assert_eq!(ask(cancel, json!({})), "implicit_deny_permissions_boundary");
    let unbounded = json!({"replace": ["POLICY_TYPE_PERMISSIONS_BOUNDARY"]});
    assert_eq!(ask(cancel, unbounded), "allow_identity");
    let wider = json!({"permissionsBoundary": allow("orders:*")});
    assert_eq!(ask(cancel, wider), "allow_identity");
    assert_eq!(ask("orders:Purge", json!({})), "explicit_deny_resource");
    let without = json!({"replace": ["POLICY_TYPE_RESOURCE", "POLICY_TYPE_PERMISSIONS_BOUNDARY"]});
    assert_eq!(ask("orders:Purge", without), "allow_identity");
    // There is no organization. Policies of a simulated one still count, beside FullAWSAccess.
    let get = "orders:Get";
    assert_eq!(
        ask(get, json!({"serviceControlPolicies": [deny]})),
        "allow_identity"
    );
    assert_eq!(
        ask(cancel, json!({"serviceControlPolicies": [deny]})),
        "explicit_deny_service_control"
    );
    let only =
        json!({"serviceControlPolicies": [deny], "replace": ["POLICY_TYPE_SERVICE_CONTROL"]});
    assert_eq!(ask(get, only), "implicit_deny_service_control");
}

#[test]
fn a_trust_policy_can_be_tried() {
    let role = "arn:aws:iam::111122223333:role/breakglass";
    let trust =
        policy(json!({"Effect": "Allow", "Principal": {"AWS": ALICE}, "Action": "sts:AssumeRole"}));
    let ask = |members: Value| {
        let mut question =
            json!({"principal": ALICE, "action": "sts:AssumeRole", "resource": role});
        let question_members = question.as_object_mut().unwrap();
        question_members.extend(members.as_object().unwrap().clone());
        reason(&SHOP, &question)
    };
    assert!(ask(json!({})).starts_with("implicit_deny"));
    assert_eq!(ask(json!({"trustPolicy": trust})), "allow_resource_direct");
    assert_eq!(
        ask(json!({"replace": ["POLICY_TYPE_TRUST"]})),
        "implicit_deny_resource"
    );
}

#[test]
fn any_context_key_can_be_given_or_taken_away() {
    let refund =
        |context: Value| reason(&SHOP, &alice("orders:Refund", json!({"context": context})));
    let mfa = |present: &str| json!({"aws:MultiFactorAuthPresent": present, "orders:amount": 50});
    assert_eq!(
        refund(mfa("true")),
        "allow_identity",
        "K-1 does not hold here"
    );
    assert_eq!(refund(mfa("false")), "implicit_deny_identity");
    let profile = |name: &str, context: Value| {
        let resource = format!("arn:app:users:::profile/{name}");
        let question = json!({"principal": ALICE, "action": "users:Get", "resource": resource, "context": context});
        reason(&SHOP, &question)
    };
    assert_eq!(profile("alice", json!({})), "allow_identity", "derived");
    assert_eq!(
        profile("alice", json!({"aws:username": null})),
        "implicit_deny_identity"
    );
    assert_eq!(
        profile("alice", json!({"AWS:UserName": []})),
        "implicit_deny_identity",
        "C-7"
    );
    assert_eq!(
        profile("bob", json!({"aws:userName": "bob"})),
        "allow_identity",
        "what is given wins"
    );
    for (context, field) in [
        (json!({"app:x": null, "APP:X": null}), r#"context["app:x"]"#),
        (json!({"app:x": null, "APP:X": 1}), r#"context["app:x"]"#),
        (json!({"app:x": [null]}), r#"context["app:x"]"#),
        (json!({"app:x": {}}), r#"context["app:x"]"#),
    ] {
        let question = alice("orders:Get", json!({"context": context}));
        assert_eq!(
            reason(&SHOP, &question),
            format!("error: {field}"),
            "{context}"
        );
    }
}

#[test]
fn keys_that_follow_from_others_can_contradict_them() {
    let ask = |condition: Value, context: Value| {
        let only = policy(
            json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}),
        );
        let members = json!({"identityPolicies": [only], "replace": ["POLICY_TYPE_IDENTITY"], "context": context});
        reason(&SHOP, &alice("orders:Get", members))
    };
    for (key, value, context) in [
        (
            "aws:TagKeys",
            "b",
            json!({"aws:RequestTag/a": "1", "aws:TagKeys": ["b"]}),
        ),
        ("aws:TagKeys", "a", json!({"aws:RequestTag/a": "1"})),
        (
            "aws:CalledViaFirst",
            "y.example",
            json!({"aws:CalledVia": ["x.example"], "aws:CalledViaFirst": "y.example"}),
        ),
        (
            "aws:ResourceTag/desk",
            "mine",
            json!({"aws:ResourceTag/desk": "mine"}),
        ),
        (
            "aws:PrincipalTag/desk",
            "vip",
            json!({"aws:PrincipalTag/Desk": "vip"}),
        ),
        ("aws:PrincipalTag/desk", "general", json!({})),
        (
            "aws:PrincipalOrgID",
            "o-other",
            json!({"aws:PrincipalOrgID": "o-other"}),
        ),
        (
            "aws:CurrentTime",
            "2000-01-01T00:00:00Z",
            json!({"aws:CurrentTime": "2000-01-01T00:00:00Z"}),
        ),
    ] {
        let condition = json!({"StringEquals": {key: value}});
        assert_eq!(
            ask(condition, context.clone()),
            "allow_identity",
            "{key} {context}"
        );
        let mut taken_away = context;
        taken_away[key] = Value::Null;
        if key != "aws:PrincipalTag/desk" {
            let condition = json!({"StringEquals": {key: value}});
            assert_eq!(
                ask(condition, taken_away),
                "implicit_deny_identity",
                "{key}"
            );
        }
    }
}

#[test]
fn the_clock_is_what_it_is_set_to() {
    let until = policy(
        json!({"Effect": "Allow", "Action": "orders:Cancel", "Resource": "*",
        "Condition": {"DateLessThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}}),
    );
    let at = |time: Value| {
        let members = json!({"identityPolicies": [until], "evaluationTime": time});
        reason(&SHOP, &alice("orders:Cancel", members))
    };
    assert_eq!(at(json!("2025-12-31T23:59:59.999Z")), "allow_identity");
    assert_eq!(at(json!("2026-01-01T00:00:00Z")), "implicit_deny_identity");
    assert_eq!(at(Value::Null), "implicit_deny_identity", "now");
    assert_eq!(at(json!("2026")), "error: evaluation_time");
    let session = json!({"expiresAt": "2026-01-01T00:00:00Z"});
    let members = |time: &str| json!({"session": session, "evaluationTime": time});
    assert_eq!(
        reason(&SHOP, &alice("orders:Get", members("2025-12-31T00:00:00Z"))),
        "allow_identity"
    );
    assert_eq!(
        reason(&SHOP, &alice("orders:Get", members("2026-01-01T00:00:00Z"))),
        "implicit_deny_session_expired"
    );
}

#[test]
fn every_action_is_tried_on_every_resource_and_the_worst_stands_for_all() {
    let other = "arn:app:orders:::order/2";
    let question = |actions: Value| {
        json!({"principal": ALICE, "action": "orders:Get", "actions": actions, "resources": [SHOP_ORDER, other, SHOP_ORDER],
            "identityPolicies": [statement("Deny", "orders:Purge")]})
    };
    let answer = simulated(&SHOP, &question(json!(["ORDERS:get", "orders:Cancel"])));
    let pairs: Vec<_> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| {
            (
                result["evalActionName"].as_str().unwrap(),
                result["evalResourceName"].as_str().unwrap(),
                result["evalDecision"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        pairs,
        [
            ("orders:Get", SHOP_ORDER, "allowed"),
            ("orders:Get", other, "allowed"),
            ("orders:Cancel", SHOP_ORDER, "implicitDeny"),
            ("orders:Cancel", other, "implicitDeny"),
        ],
        "S-10"
    );
    assert_eq!(answer["reason"], "REASON_IMPLICIT_DENY_IDENTITY", "E-54");
    assert_eq!(answer["decision"], "DECISION_DENY");
    assert_eq!(
        reason(&SHOP, &question(json!(["orders:Cancel", "orders:Purge"]))),
        "explicit_deny_service_control",
        "E-54: the most restrictive, wherever it stands"
    );
    assert_eq!(reason(&SHOP, &question(json!([]))), "allow_identity");
    for (members, field) in [
        (json!({"resource": SHOP_ORDER}), "action"),
        (json!({"action": "orders:Get"}), "resource"),
        (
            json!({"actions": ["orders:Get", "x"], "resource": "*"}),
            "actions[1]",
        ),
        (json!({"actions": [""], "resource": "*"}), "actions[0]"),
        (
            json!({"action": "orders:Get", "resources": ["*", "x"]}),
            "resources[1]",
        ),
    ] {
        let mut question = json!({"principal": ALICE});
        let question_members = question.as_object_mut().unwrap();
        question_members.extend(members.as_object().unwrap().clone());
        assert_eq!(
            reason(&SHOP, &question),
            format!("error: {field}"),
            "{members}"
        );
    }
    let names = |prefix: &str, n: usize| (0..n).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>();
    let many = json!({"principal": ALICE, "actions": names("orders:A", 101), "resources": names("arn:app:o:::", 100)});
    assert_eq!(reason(&SHOP, &many), "error: actions", "10,100 pairs");
    let many = json!({"principal": ALICE, "actions": names("orders:A", 100), "resources": names("arn:app:o:::", 100)});
    assert_eq!(
        simulated(&SHOP, &many)["results"].as_array().unwrap().len(),
        10_000
    );
    let many = json!({"principal": ALICE, "actions": names("orders:A", 1025), "resource": "*"});
    assert_eq!(reason(&SHOP, &many), "error: actions");
}

#[test]
fn a_result_names_what_aws_names() {
    let refund = alice("orders:Refund", json!({"context": {"orders:amount": 50}}));
    let answer = simulated(&SHOP, &refund);
    let result = &answer["results"][0];
    assert_eq!(result["evalDecision"], "implicitDeny");
    assert_eq!(result["decision"], "DECISION_DENY");
    assert_eq!(
        result["missingContextValues"],
        json!(["aws:multifactorauthpresent", "aws:resourcetag/desk"]),
        "S-7"
    );
    assert_eq!(
        result["organizationsDecisionDetail"],
        json!({"allowedByOrganizations": true}),
        "S-5"
    );
    assert_eq!(result.get("permissionsBoundaryDecisionDetail"), None, "S-5");
    assert_eq!(result["determiningStatements"], json!([]));

    let members = json!({"permissionsBoundary": statement("Allow", "orders:Cancel"), "identityPolicies": [
        statement("Deny", "orders:Get"), statement("Deny", "orders:*"), statement("Allow", "*")]});
    let answer = simulated(&SHOP, &alice("orders:Get", members));
    let result = &answer["results"][0];
    assert_eq!(result["evalDecision"], "explicitDeny");
    let matched: Vec<_> = result["matchedStatements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|statement| statement["policy"].as_str().unwrap())
        .collect();
    assert_eq!(
        matched,
        ["identity_policies[0]", "identity_policies[1]"],
        "S-3"
    );
    assert_eq!(
        result["permissionsBoundaryDecisionDetail"],
        json!({"allowedByPermissionsBoundary": false})
    );
    let members = json!({"identityPolicies": [policy(json!({"Effect": "Allow", "Action": "orders:Get",
        "Resource": "arn:app:orders:::${app:region}/x", "Condition": {"Null": {"app:other": "true"}}}))]});
    let answer = simulated(&SHOP, &alice("orders:Get", members));
    assert_eq!(
        answer["results"][0]["missingContextValues"],
        json!(["app:region"]),
        "the variable may be why it is another resource, the condition is out of reach"
    );
    let matched = &answer["results"][0]["matchedStatements"];
    let types: Vec<_> = matched
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["type"].clone())
        .collect();
    let control = json!("POLICY_TYPE_SERVICE_CONTROL");
    let n_control = types.iter().filter(|one| **one == control).count();
    assert_eq!(n_control, 1, "FullAWSAccess, once: {types:?}");
}

#[test]
fn policies_are_tried_by_themselves_without_a_principal() {
    let ask = |members: Value| {
        let mut question = json!({"action": "orders:Purge", "resource": SHOP_ORDER});
        let question_members = question.as_object_mut().unwrap();
        question_members.extend(members.as_object().unwrap().clone());
        reason(&SHOP, &question)
    };
    let all = statement("Allow", "*");
    // The shop's own SCP denies the purge. Here no policy of the store counts.
    assert_eq!(ask(json!({"identityPolicies": [all]})), "allow_identity");
    assert_eq!(
        ask(json!({"identityPolicies": [statement("Allow", "orders:Get")]})),
        "implicit_deny_identity"
    );
    for resource in [
        "*",
        "arn:app:x:::y",
        "arn:app:x::444455556666:y",
        "arn:aws:iam::111122223333:role/breakglass",
    ] {
        for action in ["orders:Get", "sts:AssumeRole", "iam:PassRole"] {
            let question =
                json!({"action": action, "resource": resource, "identityPolicies": [all]});
            assert_eq!(
                reason(&SHOP, &question),
                "allow_identity",
                "{action} {resource}"
            );
        }
    }
    assert_eq!(
        ask(
            json!({"identityPolicies": [all], "permissionsBoundary": statement("Allow", "orders:Get")})
        ),
        "implicit_deny_permissions_boundary"
    );
    let named = policy(
        json!({"Effect": "Allow", "Action": "*", "Resource": "arn:app:orders:::${aws:username}/*"}),
    );
    assert_eq!(
        ask(json!({"identityPolicies": [named]})),
        "implicit_deny_identity"
    );
    let question = json!({"action": "orders:Get", "resource": "arn:app:orders:::eve/1",
        "identityPolicies": [named], "context": {"aws:username": "eve"}});
    assert_eq!(reason(&SHOP, &question), "allow_identity");
    let answer = simulated(
        &SHOP,
        &json!({"action": "orders:Get", "resource": "*", "identityPolicies": [
        policy(json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {
            "aws:PrincipalArn": "x", "aws:PrincipalAccount": "1", "aws:PrincipalType": "User", "aws:userid": "x", "aws:username": "x"}}}))]}),
    );
    assert_eq!(
        answer["results"][0]["missingContextValues"],
        json!([
            "aws:principalaccount",
            "aws:principalarn",
            "aws:principaltype",
            "aws:userid",
            "aws:username"
        ])
    );
    assert_eq!(ask(json!({})), "error: principal", "nothing to try");
    let on_resource = policy(json!({"Effect": "Allow", "Principal": "*", "Action": "*"}));
    for needs_principal in [
        json!({"identityPolicies": [all], "resourcePolicies": [on_resource]}),
        json!({"identityPolicies": [all], "session": {}}),
    ] {
        assert_eq!(ask(needs_principal), "error: principal");
    }
}

#[test]
fn a_principal_that_is_not_in_the_store_can_stand_in() {
    let ask = |principal: &str, members: Value| {
        let mut question =
            json!({"principal": principal, "action": "orders:Get", "resource": SHOP_ORDER});
        let question_members = question.as_object_mut().unwrap();
        question_members.extend(members.as_object().unwrap().clone());
        reason(&SHOP, &question)
    };
    let all = statement("Allow", "*");
    // A typing error must not pass for a principal that has nothing but the added policies.
    assert_eq!(
        ask(NOBODY, json!({"identityPolicies": [all]})),
        "implicit_deny_unknown_principal"
    );
    let replaced = json!({"identityPolicies": [all], "replace": ["POLICY_TYPE_IDENTITY"]});
    assert_eq!(ask(NOBODY, replaced.clone()), "allow_identity");
    let session = "arn:aws:sts::111122223333:assumed-role/new-role/web";
    assert_eq!(ask(session, replaced.clone()), "allow_identity");
    let elsewhere = "arn:aws:iam::123456789012:user/eve";
    assert_eq!(
        ask(elsewhere, replaced.clone()),
        "implicit_deny_resource",
        "X-1: of another account"
    );
    for (principal, field) in [
        ("arn:aws:iam::111122223333:root", "identity_policies[0]"),
        ("billing.svc.internal", "identity_policies[0]"),
        ("*", "identity_policies[0]"),
    ] {
        assert_eq!(
            ask(principal, replaced.clone()),
            format!("error: {field}"),
            "{principal}"
        );
    }
}

#[test]
fn what_is_malformed_is_refused_with_its_place() {
    for (members, field) in [
        (json!({"identityPolicies": ["{"]}), "identity_policies[0]"),
        (
            json!({"identityPolicies": [statement("Allow", "*"), "{}"]}),
            "identity_policies[1]",
        ),
        (
            json!({"resourcePolicies": [statement("Allow", "*")]}),
            "resource_policies[0]",
        ),
        (json!({"sessionPolicies": [""]}), "session_policies[0]"),
        (json!({"permissionsBoundary": "x"}), "permissions_boundary"),
        (
            json!({"serviceControlPolicies": ["[]"]}),
            "service_control_policies[0]",
        ),
        (
            json!({"resourceControlPolicies": [statement("Allow", "*")]}),
            "resource_control_policies[0]",
        ),
        (json!({"trustPolicy": "{}"}), "trust_policy"),
        (json!({"replace": ["IDENTITY"]}), "replace[0]"),
        (
            json!({"replace": ["POLICY_TYPE_UNSPECIFIED"]}),
            "replace[0]",
        ),
        (json!({"policies": []}), "policies"),
        (json!({"session": {"policies": ["{}"]}}), "session.policies"),
        (
            json!({"evaluation_time": "2026-01-01T00:00:00Z", "evaluationTime": null}),
            "evaluation_time",
        ),
        // E-2, T-20: an identity provider asks for roles only, in each pair.
        (
            json!({"principal": "arn:aws:iam::111122223333:oidc-provider/login.shop.example",
                "action": "", "actions": ["sts:AssumeRoleWithWebIdentity", "orders:Get"]}),
            "principal",
        ),
    ] {
        let question = alice("orders:Get", members.clone());
        assert_eq!(
            reason(&SHOP, &question),
            format!("error: {field}"),
            "{members}"
        );
    }
}

#[test]
fn a_simulation_names_the_statements_that_authorize_names() {
    for (principal, action, resource) in [
        (ALICE, "orders:Get", SHOP_ORDER),
        (ALICE, "orders:Purge", SHOP_ORDER),
        (ALICE, "catalog:GetItem", "arn:app:catalog:::item/1"),
        ("*", "catalog:GetItem", "arn:app:catalog:::item/1"),
        (NOBODY, "orders:Get", SHOP_ORDER),
    ] {
        let question = json!({"principal": principal, "action": action, "resource": resource});
        let answer = answer_line(&SHOP, &question.to_string(), Timestamp::now());
        let authorized: Value = serde_json::from_str(&answer).unwrap();
        let answer = simulated(&SHOP, &question);
        for member in ["decision", "reason", "revision"] {
            assert_eq!(answer[member], authorized[member], "{principal} {action}");
        }
        assert_eq!(
            answer["results"][0]["determiningStatements"], authorized["determiningStatements"],
            "{principal} {action}"
        );
    }
}

#[test]
fn results_that_are_longer_than_a_client_takes_are_refused() {
    let ask = |n_resources: usize| {
        let actions: Vec<String> = (0..100).map(|n| format!("orders:Get{n}")).collect();
        let resource = |n: usize| format!("arn:app:orders:::{n:03}{}", "x".repeat(980));
        let resources: Vec<String> = (0..n_resources).map(resource).collect();
        simulated(
            &SHOP,
            &json!({"principal": NOBODY, "actions": actions, "resources": resources}),
        )
    };
    // Each result has its resource of 1,000 bytes and about 60 bytes more.
    let answered = ask(36);
    assert_eq!(
        answered["results"].as_array().unwrap().len(),
        3_600,
        "{answered}"
    );
    let refused = ask(41);
    assert_eq!(refused["error"]["code"], "INVALID_ARGUMENT", "{refused}");
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("4128768 bytes: ask for fewer pairs"),
        "{message}"
    );
}

#[test]
fn a_result_lists_no_more_than_a_question_may() {
    let files = [
        ("account.json", r#"{"AccountId": "111111111111"}"#),
        ("users/ann.json", "{}"),
    ];
    let snapshot = store::load_texts(files).unwrap().snapshot;
    let listed = |n: usize| {
        let statement = |number: usize| {
            let key = format!("app:k{number}");
            json!({"Effect": "Allow", "Action": "orders:Get", "Resource": "*", "Condition": {"StringEqualsIfExists": {key: "x"}}})
        };
        let statements: Vec<Value> = (0..n).map(statement).collect();
        let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        let answer = simulated(
            &snapshot,
            &json!({"principal": ANN, "action": "orders:Get", "resource": ORDER, "identityPolicies": [document]}),
        );
        let result = &answer["results"][0];
        assert_eq!(result["reason"], "REASON_ALLOW_IDENTITY", "{answer}");
        let n = |list: &str| result[list].as_array().unwrap().len();
        (n("matchedStatements"), n("missingContextValues"))
    };
    assert_eq!(listed(1_023), (1_023, 1_023));
    assert_eq!(listed(1_024), (1_024, 1_024));
    assert_eq!(listed(1_100), (1_024, 1_024));
}

/// E-21: every level must allow, those of the store and those of the simulation.
#[test]
fn levels_of_service_control_policies_come_after_those_of_the_store() {
    let level = |actions: &[&str]| {
        let policies = actions.iter().map(|action| statement("Allow", action));
        json!({"serviceControlPolicies": policies.collect::<Vec<_>>()})
    };
    let denying = json!({"serviceControlPolicies": [statement("Allow", "*"), statement("Deny", "orders:Get")]});
    let replace = json!(["POLICY_TYPE_SERVICE_CONTROL"]);
    for (levels, expected) in [
        (
            json!([level(&["*"]), level(&["orders:*"])]),
            "allow_identity",
        ),
        (
            json!([level(&["*"]), level(&["users:*", "orders:Get"])]),
            "allow_identity",
        ),
        (
            json!([level(&["users:*"]), level(&["*"])]),
            "implicit_deny_service_control",
        ),
        (
            json!([level(&["*"]), level(&[])]),
            "implicit_deny_service_control",
        ),
        (
            json!([level(&["*"]), denying]),
            "explicit_deny_service_control",
        ),
        (json!([]), "allow_identity"),
    ] {
        let members = json!({"orderedOrganizationPolicies": levels});
        assert_eq!(
            reason(&SHOP, &alice("orders:Get", members)),
            expected,
            "{levels}"
        );
        // In place of the store's levels they mean the same here, since those allow it; without any, nothing does.
        let members = json!({"orderedOrganizationPolicies": levels, "replace": replace});
        let alone = reason(&SHOP, &alice("orders:Get", members));
        let expected = if levels == json!([]) {
            "allow_identity"
        } else {
            expected
        };
        assert_eq!(alone, expected, "{levels} alone");
    }
    let members = |levels: Value| json!({"orderedOrganizationPolicies": levels});
    let many = vec![level(&["*"]); 17];
    for (levels, field) in [
        (json!(many), "ordered_organization_policies"),
        (json!({}), "ordered_organization_policies"),
        (
            json!([{"serviceControlPolicies": ["{"]}]),
            "ordered_organization_policies[0].service_control_policies[0]",
        ),
        (
            json!([{"policies": []}]),
            "ordered_organization_policies[0].policies",
        ),
    ] {
        let found = reason(&SHOP, &alice("orders:Get", members(levels)));
        assert_eq!(found, format!("error: {field}"));
    }
}
