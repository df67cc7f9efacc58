//! Tests explanations (section 7 of the semantics), mostly on the example shop.
//!
//! The file is long because each part of an explanation has its own test, and all of them share the example shop and the
//! readers at the top.

use std::sync::LazyLock;

use iamd::authorizer::Explained;
use iamd::cli::explain::{Colour, text};
use iamd::compile::snapshot::Snapshot;
use iamd::service::client::Client;
use iamd::service::json::{self, Message};
use iamd::service::pb;
use iamd::store;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{
    ANN, ORDER, Server, allow, explained_at, iamd, repository, run, store_allowing, write,
};

const ALICE: &str = "arn:aws:iam::111122223333:user/support/alice";
const CAROL: &str = "arn:aws:iam::111122223333:user/finance/carol";
const CUSTOMER: &str = "arn:aws:sts::111122223333:assumed-role/customer/web-1001";
const ORDER_SERVICE: &str = "arn:aws:sts::111122223333:assumed-role/order-service/pod-1";
const BREAKGLASS: &str = "arn:aws:iam::111122223333:role/breakglass";
const SHOP_ORDER: &str = "arn:app:orders:::order/1001/1";
const INVOICE: &str = "arn:app:invoices:::invoice/1001/1";
const PAYMENT: &str = "arn:app:payments:::payment/1";

static SHOP: LazyLock<Snapshot> = LazyLock::new(|| {
    store::load(&repository().join("policies"))
        .unwrap()
        .snapshot
});

fn explained(snapshot: &Snapshot, question: &Value, redacted: &[&str]) -> Explained {
    let at = "2026-03-01T12:00:00Z".parse().unwrap();
    explained_at(snapshot, &question.to_string(), redacted, at)
}

fn ask(principal: &str, action: &str, resource: &str, more: Value) -> Value {
    let mut question = json!({"principal": principal, "action": action, "resource": resource});
    for (name, value) in more.as_object().unwrap() {
        question[name] = value.clone();
    }
    question
}

/// Returns the shop's explanation as JSON.
fn shop(principal: &str, action: &str, resource: &str, more: Value) -> Value {
    let question = ask(principal, action, resource, more);
    serde_json::from_str(&json::explained(explained(&SHOP, &question, &[]))).unwrap()
}

/// Returns the results of the policy types that are in play.
fn in_play(explanation: &Value) -> Vec<(&str, &str)> {
    let text = |value: &'_ Value| value.as_str().unwrap().to_owned();
    let types = explanation["perType"].as_array().unwrap().iter();
    types
        .filter(|of| text(&of["result"]) != "notApplicable")
        .map(|of| (of["type"].as_str().unwrap(), of["result"].as_str().unwrap()))
        .collect()
}

/// E-30: a policy type that is not enabled is not in play, so it has no result. No decision shows this for RCPs,
/// because wherever they are enabled every level allows (E-26).
#[test]
fn control_policies_that_are_not_enabled_are_not_in_play() {
    let types_of = |is_enabled: bool| {
        let mut root =
            json!({"Id": "r-ex01", "Accounts": [{"Id": "111111111111"}, {"Id": "333333333333"}]});
        if is_enabled {
            root["ServiceControlPolicies"] = json!(["FullAWSAccess"]);
            root["ResourceControlPolicies"] = json!(["RCPFullAWSAccess"]);
            for account in root["Accounts"].as_array_mut().unwrap() {
                account["ServiceControlPolicies"] = json!(["FullAWSAccess"]);
                account["ResourceControlPolicies"] = json!(["RCPFullAWSAccess"]);
            }
        }
        let organization =
            json!({"Id": "o-example1", "ManagementAccountId": "333333333333", "Root": root});
        let document = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}});
        let user = json!({"UserPolicyList": [{"PolicyName": "p", "PolicyDocument": document}]});
        let loaded = store::load_texts([
            ("account.json", r#"{"AccountId": "111111111111"}"#),
            ("users/ann.json", &*user.to_string()),
            ("organization.json", &*organization.to_string()),
            (
                "accounts/333333333333/account.json",
                r#"{"AccountId": "333333333333"}"#,
            ),
        ]);
        let question = ask(
            "arn:aws:iam::111111111111:user/ann",
            "orders:Get",
            "arn:app:orders:::order/1",
            json!({}),
        );
        let answer = json::explained(explained(&loaded.unwrap().snapshot, &question, &[]));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let types = in_play(&answer)
            .into_iter()
            .map(|(of, result)| format!("{of} {result}"));
        types.collect::<Vec<_>>()
    };
    assert_eq!(types_of(false), ["identity allowed"], "E-30");
    assert_eq!(
        types_of(true),
        ["rcp allowed", "scp allowed", "identity allowed"],
        "E-26, E-30"
    );
}

fn sids<'e>(explanation: &'e Value, list: &str) -> Vec<&'e str> {
    let list = explanation[list].as_array().unwrap().iter();
    list.map(|source| source["sid"].as_str().unwrap()).collect()
}

/// Returns the statement with this Sid, with any outcome.
fn statement<'e>(explanation: &'e Value, sid: &str) -> &'e Value {
    let mut all = explanation["statements"].as_array().unwrap().iter();
    all.find(|statement| statement["source"]["sid"] == sid)
        .unwrap_or_else(|| panic!("{sid} was considered"))
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect()
}

fn mfa() -> Value {
    json!({"mfaAt": "2026-03-01T08:00:00Z"})
}

#[test]
fn an_allow_names_the_statement_that_granted_and_where_it_stands() {
    let more = json!({"context": {"orders:amount": 50}, "session": mfa(), "requestId": "7"});
    let answer = shop(ALICE, "orders:Refund", SHOP_ORDER, more);
    assert_eq!(answer["decision"], "DECISION_ALLOW");
    assert_eq!(answer["reason"], "REASON_ALLOW_IDENTITY");
    assert_eq!(answer["evalDecision"], "allowed", "S-2");
    assert_eq!(answer["requestId"], "7");
    assert_eq!(answer["evaluatedAt"], "2026-03-01T12:00:00Z");
    assert_eq!(answer["principalAccount"], "111122223333");
    assert_eq!(answer["resourceAccount"], "111122223333");
    assert_eq!(answer["toAllow"], json!([]));
    assert_eq!(
        answer["deciding"],
        json!([{
            "policy": "arn:aws:iam::111122223333:policy/RefundOrders",
            "policyName": "RefundOrders",
            "documentId": "",
            "sourceType": "group-managed",
            "attachedTo": "support",
            "version": "v2",
            "sid": "SmallRefundsWithMfa",
            "index": 0,
            "type": "POLICY_TYPE_IDENTITY",
            "file": "managed-policies/RefundOrders.json",
            "pointer": "/PolicyVersionList/0/Document/Statement/0",
            "start": {"line": 13, "column": 11},
            "end": {"line": 29, "column": 11},
            "effect": "Allow",
        }]),
        "S-3, S-4"
    );
    assert!(
        sids(&answer, "alsoApplying")
            .iter()
            .all(|sid| sid.is_empty()),
        "the built-in SCP of each level: {}",
        answer["alsoApplying"]
    );
    assert_eq!(answer["allowedByOrganizations"], true, "S-5");
    assert!(answer.get("allowedByPermissionsBoundary").is_none(), "S-5");
    assert!(answer.get("crossAccount").is_none(), "S-6");
}

#[test]
fn an_implicit_deny_shows_both_values_of_the_condition_that_failed() {
    let more = json!({"context": {"orders:amount": 500}, "session": mfa()});
    let answer = shop(ALICE, "orders:Refund", SHOP_ORDER, more);
    assert_eq!(answer["evalDecision"], "implicitDeny", "S-2");
    assert_eq!(answer["deciding"], json!([]), "S-3");
    let refund = statement(&answer, "SmallRefundsWithMfa");
    assert_eq!(refund["outcome"], "condition-fails");
    assert_eq!(refund["action"]["matches"], true, "S-8");
    assert_eq!(
        refund["conditions"][2],
        json!({
            "operator": "NumericLessThanEquals",
            "key": "orders:amount",
            "policyValues": [{"written": "100", "missing": []}],
            "requestValues": ["500"],
            "result": "false",
            "matchedBecauseMissing": false,
            "failedBecauseMissing": false,
            "indeterminate": "",
        }),
        "S-8"
    );
    let advice = texts(&answer["toAllow"]).join("\n");
    assert!(
        advice.contains("comes close: `orders:amount` is `500` (NumericLessThanEquals `100`)"),
        "{advice}"
    );
}

#[test]
fn what_was_missing_is_listed_and_marked() {
    let answer = shop(ALICE, "orders:Refund", SHOP_ORDER, json!({}));
    assert_eq!(
        texts(&answer["missingContext"]),
        [
            "aws:multifactorauthpresent",
            "aws:resourcetag/desk",
            "orders:amount"
        ],
        "S-7: of statements within reach, sorted and lower-cased"
    );
    let conditions = &statement(&answer, "SmallRefundsWithMfa")["conditions"];
    for condition in conditions.as_array().unwrap() {
        assert_eq!(condition["failedBecauseMissing"], true, "S-8: {condition}");
        assert_eq!(condition["requestValues"], json!([]));
    }
    let more = json!({"context": {"orders:amount": "lots"}, "session": mfa()});
    let unclear = shop(ALICE, "orders:Refund", SHOP_ORDER, more);
    assert_eq!(
        unclear["indeterminate"],
        json!([{"key": "orders:amount", "cause": "unreadable"}]),
        "S-7, C-9"
    );
    let conditions = &statement(&unclear, "SmallRefundsWithMfa")["conditions"];
    assert_eq!(conditions[1]["result"], "indeterminate", "S-8");
    assert_eq!(conditions[1]["indeterminate"], "unreadable", "S-8");
}

#[test]
fn variables_are_shown_as_written_and_with_their_values() {
    let tagged = json!({"session": {"tags": {"customer": "1001"}}});
    let answer = shop(CUSTOMER, "orders:Get", SHOP_ORDER, tagged);
    assert_eq!(sids(&answer, "deciding"), ["OwnOrders"]);
    assert_eq!(
        statement(&answer, "OwnOrders")["resource"]["policyValues"][0],
        json!({
            "written": "arn:app:orders:::order/${aws:PrincipalTag/customer}/*",
            "resolved": "arn:app:orders:::order/1001/*",
            "missing": [],
        }),
        "S-8"
    );
    let answer = shop(CUSTOMER, "orders:Get", SHOP_ORDER, json!({}));
    assert_eq!(answer["evalDecision"], "explicitDeny");
    assert_eq!(sids(&answer, "deciding"), ["NothingOfOthers"]);
    assert_eq!(
        texts(&answer["missingContext"]),
        ["aws:principaltag/customer"],
        "S-7"
    );
    let denied = &statement(&answer, "NothingOfOthers")["resource"];
    assert_eq!(denied["matchedBecauseMissing"], true, "S-8, V-9");
    let granted = &statement(&answer, "OwnOrders")["resource"];
    assert_eq!(granted["failedBecauseMissing"], true, "S-8, V-9");
    assert_eq!(
        granted["policyValues"][0]["missing"],
        json!(["aws:principaltag/customer"])
    );
}

#[test]
fn a_boundary_that_is_silent_blocks_what_is_granted() {
    let context = json!({"context": {"aws:SourceIp": "203.0.113.20"}});
    let answer = shop(CAROL, "invoices:Issue", INVOICE, context);
    assert_eq!(
        answer["reason"],
        "REASON_IMPLICIT_DENY_PERMISSIONS_BOUNDARY"
    );
    assert_eq!(answer["blockedBy"], json!(["boundary"]), "S-9");
    assert_eq!(answer["allowedByPermissionsBoundary"], false, "S-5");
    assert_eq!(
        in_play(&answer),
        [
            ("rcp", "allowed"),
            ("scp", "allowed"),
            ("resource", "implicitDeny"),
            ("identity", "allowed"),
            ("boundary", "implicitDeny")
        ],
        "S-5: in the order of E-28"
    );
    assert_eq!(answer["deciding"], json!([]), "S-3");
    assert!(
        !sids(&answer, "alsoApplying").is_empty(),
        "S-3: the Allows that were not enough"
    );
    let boundary = answer["statements"].as_array().unwrap().last().unwrap();
    assert_eq!(boundary["source"]["sourceType"], "boundary", "S-4");
    assert_eq!(boundary["source"]["attachedTo"], CAROL, "S-4");
}

#[test]
fn the_level_of_the_organization_that_denies_is_named() {
    let answer = shop(ORDER_SERVICE, "orders:Purge", SHOP_ORDER, json!({}));
    assert_eq!(answer["reason"], "REASON_EXPLICIT_DENY_SERVICE_CONTROL");
    assert_eq!(answer["allowedByOrganizations"], false);
    let of = |name: &str| {
        let types = answer["perType"].as_array().unwrap();
        types.iter().find(|of| of["type"] == name).unwrap().clone()
    };
    assert_eq!(
        of("scp")["levels"],
        json!([
            {"node": "r-shop", "result": "allowed"},
            {"node": "ou-shop-production", "result": "explicitDeny"},
            {"node": "ou-shop-storefront", "result": "allowed"},
            {"node": "111122223333", "result": "allowed"},
        ]),
        "S-1: evaluation goes on behind the Deny; S-5"
    );
    let purge = &answer["deciding"][0];
    assert_eq!(purge["sid"], "OnlyBreakglassPurges");
    assert_eq!(purge["sourceType"], "scp", "S-4");
    assert_eq!(purge["attachedTo"], "ou-shop-production", "S-4");
    assert_eq!(purge["policyName"], "no-purge", "S-4");
    let advice = texts(&answer["toAllow"]);
    assert!(advice[0].contains("must not apply"), "{advice:?}");
    assert!(
        advice[0].contains("service-control-policies/no-purge.json:4"),
        "{advice:?}"
    );
    assert!(
        advice[1].contains("an identity policy"),
        "and then nothing grants it: {advice:?}"
    );
    assert_eq!(
        answer["blockedBy"],
        json!([]),
        "S-9: nothing would be granted without it"
    );
}

#[test]
fn both_sides_of_a_question_across_accounts_have_a_result() {
    let courier = "arn:aws:sts::444455556666:assumed-role/delivery/van-7";
    let answer = shop(
        courier,
        "orders:ConfirmDelivery",
        "arn:app:orders:::shipment/1",
        json!({}),
    );
    assert_eq!(answer["reason"], "REASON_ALLOW_CROSS_ACCOUNT");
    assert_eq!(
        answer["crossAccount"],
        json!({
            "principalAccount": "444455556666",
            "principalSide": "allowed",
            "resourceAccount": "111122223333",
            "resourceSide": "allowed",
        }),
        "S-6"
    );
    let types: Vec<&str> = answer["deciding"]
        .as_array()
        .unwrap()
        .iter()
        .map(|source| source["sourceType"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["resource", "role-managed"], "S-3: one of each side");

    let answer = shop(courier, "orders:Get", SHOP_ORDER, json!({}));
    assert_eq!(
        answer["crossAccount"]["resourceSide"], "implicitDeny",
        "S-6"
    );
}

#[test]
fn a_resource_policy_says_how_strongly_it_names_the_principal() {
    let answer = shop(ORDER_SERVICE, "payments:Capture", PAYMENT, json!({}));
    assert_eq!(answer["reason"], "REASON_ALLOW_RESOURCE_ENTITY");
    let types = answer["perType"].as_array().unwrap();
    let resource = types.iter().find(|of| of["type"] == "resource").unwrap();
    assert_eq!(resource["strength"], "entity", "S-5");
    let captures = statement(&answer, "TheOrderServiceCaptures");
    assert_eq!(captures["strength"], "entity", "S-8");
    assert_eq!(
        captures["principal"]["policyValues"][0]["written"],
        "AWS: arn:aws:iam::111122223333:role/order-service"
    );
    let other = statement(&answer, "OnePersonDisputes");
    assert_eq!(
        other["principal"]["matches"], false,
        "S-1: it is still evaluated"
    );
    assert_eq!(other["outcome"], "other-action");
}

#[test]
fn a_session_policy_that_is_silent_blocks() {
    let policy = allow("orders:Get");
    let more = json!({"session": {"policies": [policy]}});
    let answer = shop(ORDER_SERVICE, "payments:Capture", PAYMENT, more);
    assert_eq!(answer["reason"], "REASON_IMPLICIT_DENY_SESSION");
    assert_eq!(answer["blockedBy"], json!(["session"]), "S-9");
    let last = answer["statements"].as_array().unwrap().last().unwrap();
    assert_eq!(last["source"]["sourceType"], "session-inline", "S-4");
    assert_eq!(last["source"]["policy"], "session/0");
    assert_eq!(last["source"]["pointer"], "/Statement/0");
    assert_eq!(last["source"]["start"]["line"], 1);
}

#[test]
fn a_trust_policy_answers_for_its_role() {
    let erin = "arn:aws:iam::111122223333:user/support/erin";
    let answer = shop(
        erin,
        "sts:AssumeRole",
        BREAKGLASS,
        json!({"session": mfa()}),
    );
    assert_eq!(answer["decision"], "DECISION_ALLOW");
    let deciding = answer["deciding"].as_array().unwrap();
    let types: Vec<&str> = deciding
        .iter()
        .map(|source| source["sourceType"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        ["trust", "group-inline"],
        "S-3, E-45: both were needed"
    );
    assert_eq!(deciding[0]["attachedTo"], BREAKGLASS, "S-4");
    assert_eq!(deciding[0]["type"], "POLICY_TYPE_TRUST");
    let file = &deciding[0]["file"];
    assert_eq!(file, "roles/breakglass.json");
    assert_eq!(
        deciding[0]["pointer"],
        "/AssumeRolePolicyDocument/Statement/0"
    );
}

#[test]
fn who_is_unknown_is_told_what_the_store_lacks() {
    let nobody = "arn:aws:iam::111122223333:user/nobody";
    let answer = shop(nobody, "orders:Get", SHOP_ORDER, json!({}));
    assert_eq!(answer["reason"], "REASON_IMPLICIT_DENY_UNKNOWN_PRINCIPAL");
    assert_eq!(answer["perType"], json!([]));
    assert_eq!(answer["statements"], json!([]));
    assert!(answer["toAllow"][0].as_str().unwrap().contains(nobody));
}

/// Ann gets policies in every possible way.
fn store_with_every_way() -> TempDir {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    write(root, "account.json", r#"{"AccountId": "111111111111"}"#);
    let managed = "arn:aws:iam::111111111111:policy/Shared";
    let attached = format!(r#"[{{"PolicyName": "Shared", "PolicyArn": "{managed}"}}]"#);
    let document = allow("orders:Get");
    let inline = format!(r#"[{{"PolicyName": "own", "PolicyDocument": {document}}}]"#);
    // Documents are JSON text in a string, as the AWS API returns them. One statement is not in a list.
    let alone = r#"{"Version":"2012-10-17","Id":"theirs","Statement":{"Effect":"Allow","Action":"orders:Get","Resource":"*"}}"#;
    let text = json!(alone).to_string();
    let embedded = format!(r#"[{{"PolicyName": "theirs", "PolicyDocument": {text}}}]"#);
    write(root, "managed-policies/Shared.json", &document);
    write(
        root,
        "users/ann.json",
        &format!(
            r#"{{"UserPolicyList": {inline}, "AttachedManagedPolicies": {attached}, "GroupList": ["devs", "none"],
                "PermissionsBoundary": {{"PermissionsBoundaryArn": "{managed}"}}}}"#
        ),
    );
    write(
        root,
        "groups/devs.json",
        &format!(r#"{{"GroupPolicyList": {embedded}, "AttachedManagedPolicies": {attached}}}"#),
    );
    write(root, "groups/none.json", "{}");
    folder
}

#[test]
fn every_way_to_a_policy_has_its_source_type() {
    let folder = store_with_every_way();
    let snapshot = store::load(folder.path()).unwrap().snapshot;
    let question = ask(ANN, "orders:Get", ORDER, json!({}));
    let answer = json::explained(explained(&snapshot, &question, &[]));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let sources: Vec<Value> = answer["statements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|statement| {
            let source = &statement["source"];
            json!([
                source["sourceType"],
                source["attachedTo"],
                source["policyName"],
                source["version"],
                source["pointer"],
                source["documentId"],
            ])
        })
        .collect();
    assert_eq!(
        sources,
        [
            json!([
                "user-inline",
                ANN,
                "own",
                "",
                "/UserPolicyList/0/PolicyDocument/Statement/0",
                ""
            ]),
            json!(["user-managed", ANN, "Shared", "v1", "/Statement/0", ""]),
            json!([
                "group-inline",
                "devs",
                "theirs",
                "",
                "/GroupPolicyList/0/PolicyDocument/Statement",
                "theirs"
            ]),
            json!(["group-managed", "devs", "Shared", "v1", "/Statement/0", ""]),
            json!(["boundary", ANN, "Shared", "v1", "/Statement/0", ""]),
        ],
        "S-4"
    );
    assert_eq!(
        answer["deciding"].as_array().unwrap().len(),
        4,
        "S-3: all that granted"
    );
}

/// Ann has an Allow and two Denies.
fn store_with_denies() -> TempDir {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    write(root, "account.json", r#"{"AccountId": "111111111111"}"#);
    let document = r#"{"Version": "2012-10-17", "Statement": [
        {"Sid": "Yes", "Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Sid": "No1", "Effect": "Deny", "Action": "orders:*", "Resource": "*"},
        {"Sid": "No2", "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"StringNotEquals": {"app:env": "prod"}}}
    ]}"#;
    write(
        root,
        "users/ann.json",
        &crate::support::user("ann", document),
    );
    folder
}

#[test]
fn an_explicit_deny_lists_all_denies_and_apart_what_else_applies() {
    let folder = store_with_denies();
    let snapshot = store::load(folder.path()).unwrap().snapshot;
    let question = ask(ANN, "orders:Get", ORDER, json!({}));
    let answer = json::explained(explained(&snapshot, &question, &[]));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(sids(&answer, "deciding"), ["No1", "No2"], "S-1, S-3");
    assert_eq!(sids(&answer, "alsoApplying"), ["Yes"], "S-3");
    assert_eq!(sids(&answer, "determiningStatements"), ["No1"]);
    assert_eq!(answer["blockedBy"], json!(["identity"]), "S-9");
    assert_eq!(
        statement(&answer, "No2")["conditions"][0]["matchedBecauseMissing"],
        true,
        "S-8"
    );
    assert_eq!(texts(&answer["toAllow"]).len(), 2, "one line for each Deny");
}

#[test]
fn of_the_statements_that_decide_and_of_the_others_a_thousand_are_named() {
    let named = |n_denies: usize, n_allows: usize| {
        let of = |effect| json!({"Effect": effect, "Action": "orders:Get", "Resource": "*"});
        let statements = [vec![of("Deny"); n_denies], vec![of("Allow"); n_allows]].concat();
        let document = json!({"Version": "2012-10-17", "Statement": statements});
        let user = json!({"UserPolicyList": [{"PolicyName": "p", "PolicyDocument": document}]});
        let loaded = store::load_texts([
            ("account.json", r#"{"AccountId": "111111111111"}"#),
            ("users/ann.json", &*user.to_string()),
        ]);
        let question = ask(ANN, "orders:Get", ORDER, json!({}));
        let answer = json::explained(explained(&loaded.unwrap().snapshot, &question, &[]));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let n = |list: &str| answer[list].as_array().unwrap().len();
        (n("deciding"), n("alsoApplying"), n("statements"))
    };
    assert_eq!(named(0, 1_000), (1_000, 0, 1_000), "S-3");
    assert_eq!(named(0, 1_001), (1_000, 0, 1_001));
    assert_eq!(named(1, 1_500), (1, 1_000, 1_501));
}

#[test]
fn secrets_are_not_shown() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    write(root, "account.json", r#"{"AccountId": "111111111111"}"#);
    let document = r#"{"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "arn:app:x:::${app:token}", "Condition": {"StringEquals": {"app:secret": ["hush-policy", "${app:token}"]}}}
    ]}"#;
    write(
        root,
        "users/ann.json",
        &crate::support::user("ann", document),
    );
    let snapshot = store::load(root).unwrap().snapshot;
    let context = json!({"app:SECRET": "hush-request", "app:token": "hush-token"});
    let question = ask(ANN, "orders:Get", ORDER, json!({"context": context}));
    let open = json::explained(explained(&snapshot, &question, &[]));
    for secret in ["hush-policy", "hush-request", "hush-token"] {
        assert!(open.contains(secret), "{secret}");
    }
    let hidden = explained(&snapshot, &question, &["APP:secret", "app:tok*"]);
    let texts = [text(&hidden, Colour::Plain), json::explained(hidden)];
    for text in &texts {
        assert!(!text.contains("hush"), "S-11: {text}");
        assert!(text.contains("(redacted)"), "S-11: {text}");
    }
}

#[test]
fn the_text_for_people_is_plain_or_coloured_and_steers_no_terminal() {
    let more = json!({"context": {"orders:amount": "5\u{1b}[2J\n"}, "session": mfa()});
    let question = ask(ALICE, "orders:Refund", SHOP_ORDER, more);
    let explained = explained(&SHOP, &question, &[]);
    let plain = text(&explained, Colour::Plain);
    assert!(!plain.contains('\u{1b}'), "{plain}");
    for part in [
        "deny: no identity policy allows (IMPLICIT_DENY_IDENTITY)",
        "managed-policies/RefundOrders.json:13",
        "? `orders:amount` NumericLessThanEquals `100`; request: `5\\u{1b}[2J\\n`, indeterminate: unreadable",
        "to get an allow:",
    ] {
        assert!(plain.contains(part), "`{part}` is in:\n{plain}");
    }
    let coloured = text(&explained, Colour::Terminal);
    assert!(coloured.contains("\u{1b}[31mdeny\u{1b}[0m"), "{coloured}");
    assert!(!coloured.contains("\u{1b}[2J"), "{coloured}");
}

#[test]
fn the_command_explains_from_a_store() {
    let store = store_allowing("orders:Get");
    let explain = |action: &str, options: &[&str]| {
        let mut command = iamd(["explain", "--principal", ANN, "--action", action]);
        command
            .args(["--resource", ORDER, "--store"])
            .arg(store.path());
        command.args(options);
        run(command, "")
    };
    let allowed = explain("orders:Get", &[]);
    assert_eq!(allowed.status, Some(0), "{allowed:?}");
    assert!(allowed.stdout.starts_with("allow: "), "{allowed:?}");
    assert!(!allowed.stdout.contains('\u{1b}'), "stdout is no terminal");
    let denied = explain("orders:Refund", &["--output", "json"]);
    assert_eq!(denied.status, Some(1), "{denied:?}");
    let answer: Value = serde_json::from_str(&denied.stdout).unwrap();
    assert_eq!(answer["reason"], "REASON_IMPLICIT_DENY_IDENTITY");
    assert_eq!(answer["statements"][0]["outcome"], "other-action");
    assert_eq!(explain("orders:*", &[]).status, Some(2), "malformed");
    let incomplete = run(iamd(["explain", "--principal", ANN]), "");
    assert_eq!(incomplete.status, Some(2), "{incomplete:?}");
}

fn ann_asks_why() -> pb::ExplainRequest {
    pb::ExplainRequest {
        principal: ANN.to_owned(),
        action: "orders:Get".to_owned(),
        resource: ORDER.to_owned(),
        request_id: "why".to_owned(),
        ..pb::ExplainRequest::default()
    }
}

#[tokio::test]
async fn a_server_explains_to_its_own_machine() {
    let store = store_allowing("orders:Get");
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let answer = client.explain(ann_asks_why()).await.unwrap().into_inner();
    let answer: pb::ExplainResponse = answer.decoded().unwrap();
    assert_eq!(answer.decision(), pb::Decision::Allow);
    assert_eq!(answer.reason(), pb::Reason::AllowIdentity);
    assert_eq!(answer.request_id, "why");
    assert_eq!(answer.deciding.len(), 1);
    let malformed = pb::ExplainRequest {
        action: "x".into(),
        ..ann_asks_why()
    };
    let status = client.explain(malformed).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);

    let mut command = iamd(["explain", "--server", &server.address(), "--principal", ANN]);
    command.args([
        "--action",
        "orders:Get",
        "--resource",
        ORDER,
        "--output",
        "json",
    ]);
    let finished = tokio::task::spawn_blocking(|| run(command, ""))
        .await
        .unwrap();
    assert_eq!(finished.status, Some(0), "{finished:?}");
    let answer: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(answer["deciding"][0]["sid"], "One");
}

/// The questions about the shop in the tests above.
fn questions_about_the_shop() -> Vec<Value> {
    let courier = "arn:aws:sts::444455556666:assumed-role/delivery/van-7";
    let nobody = "arn:aws:iam::111122223333:user/nobody";
    let erin = "arn:aws:iam::111122223333:user/support/erin";
    let refund = |amount: Value| json!({"context": {"orders:amount": amount}, "session": mfa()});
    let refunds = [json!(50), json!(500), json!("lots"), json!("5\u{1b}[2J\n")];
    let tagged = json!({"session": {"tags": {"customer": "1001"}}});
    let within = json!({"context": {"aws:SourceIp": "203.0.113.20"}});
    let policies = json!({"session": {"policies": [allow("orders:Get")]}});
    let mut questions = vec![
        ask(ALICE, "orders:Refund", SHOP_ORDER, json!({})),
        ask(ALICE, "Orders:REFUND", SHOP_ORDER, json!({})),
        ask(ALICE, "orders:Get", SHOP_ORDER, json!({})),
        ask(CUSTOMER, "orders:Get", SHOP_ORDER, tagged),
        ask(CUSTOMER, "orders:Get", SHOP_ORDER, json!({})),
        ask(CAROL, "invoices:Issue", INVOICE, within),
        ask(ORDER_SERVICE, "orders:Purge", SHOP_ORDER, json!({})),
        ask(ORDER_SERVICE, "payments:Capture", PAYMENT, json!({})),
        ask(ORDER_SERVICE, "payments:Capture", PAYMENT, policies),
        ask(
            courier,
            "orders:ConfirmDelivery",
            "arn:app:orders:::shipment/1",
            json!({}),
        ),
        ask(courier, "orders:Get", SHOP_ORDER, json!({})),
        ask(
            erin,
            "sts:AssumeRole",
            BREAKGLASS,
            json!({"session": mfa()}),
        ),
        ask(nobody, "orders:Get", SHOP_ORDER, json!({})),
    ];
    let refunds = refunds.map(|amount| ask(ALICE, "orders:Refund", SHOP_ORDER, refund(amount)));
    questions.extend(refunds);
    questions
}

/// A client shows an explanation from a server exactly as it shows one from a store.
#[tokio::test]
async fn what_a_server_explains_reads_as_what_is_explained_here() {
    let (every_way, denies) = (store_with_every_way(), store_with_denies());
    let of_ann = || vec![ask(ANN, "orders:Get", ORDER, json!({}))];
    let stores = [
        (repository().join("policies"), questions_about_the_shop()),
        (every_way.path().to_owned(), of_ann()),
        (denies.path().to_owned(), of_ann()),
    ];
    for (root, questions) in stores {
        let server = Server::start(&root);
        server.client().await; // it is ready
        let address = server.address();
        let compare = move || {
            let snapshot = store::load(&root).unwrap().snapshot;
            let client = Client::connect(&address, None).unwrap();
            for question in questions {
                let question = question.to_string();
                let message = Message::parse(&question, "").unwrap();
                let there = client.explain(&message.question().unwrap()).unwrap();
                let here = explained_at(&snapshot, &question, &[], there.explanation.at);
                for colour in [Colour::Plain, Colour::Terminal] {
                    assert_eq!(text(&there, colour), text(&here, colour), "{question}");
                }
                assert_eq!(there, here, "{question}");
                assert_eq!(json::explained(there), json::explained(here), "{question}");
            }
        };
        tokio::task::spawn_blocking(compare).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_explains_nothing_to_the_network() {
    let store = store_allowing("orders:Get");
    let options = ["--listen", "0.0.0.0:0", "--insecure-plaintext"];
    let server = Server::start_with(store.path(), &options);
    let mut client = server.client().await;
    let status = client.explain(ann_asks_why()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "S-12");
    let info = status.get_error_details().error_info().cloned().unwrap();
    assert_eq!((&*info.domain, &*info.reason), ("iamd", "NOT_PERMITTED"));
    let question = crate::support::ann_asks("orders:Get");
    assert!(client.authorize(question).await.is_ok(), "others are open");
}
