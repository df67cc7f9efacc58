//! Tests the words of `iamd explain`: it shows what users typed as they typed it, and nothing that the question is not
//! about.

use std::sync::LazyLock;

use iamd::authorizer::Explained;
use iamd::cli::explain::{Colour, text};
use iamd::compile::snapshot::Snapshot;
use iamd::service::json;
use iamd::store;
use serde_json::{Value, json};

use crate::support::{explained_at, repository};

const ALICE: &str = "arn:aws:iam::111122223333:user/support/alice";
const ORDER: &str = "arn:app:orders:::order/1001/1";

static SHOP: LazyLock<Snapshot> = LazyLock::new(|| {
    store::load(&repository().join("policies"))
        .unwrap()
        .snapshot
});

fn explained(snapshot: &Snapshot, question: &Value) -> Explained {
    let at = "2026-03-01T12:00:00Z".parse().unwrap();
    explained_at(snapshot, &question.to_string(), &[], at)
}

/// Returns an explanation as text and as JSON.
fn both(snapshot: &Snapshot, question: &Value) -> (String, Value) {
    let explained = explained(snapshot, question);
    let text = text(&explained, Colour::Plain);
    let json = serde_json::from_str(&json::explained(explained)).unwrap();
    (text, json)
}

fn refund(action: &str, context: Value) -> Value {
    json!({"principal": ALICE, "action": action, "resource": ORDER, "context": context})
}

/// M-2: case never matters in an action, but a user who searches the output for the typed action must find it.
#[test]
fn an_action_keeps_the_case_that_it_was_typed_in() {
    let (text, answer) = both(&SHOP, &refund("Orders:REFUND", json!({})));
    assert!(text.contains("must allow `Orders:REFUND` on"), "{text}");
    assert!(!text.contains("orders:refund"), "{text}");
    let statements = answer["statements"].as_array().unwrap();
    assert!(!statements.is_empty());
    for statement in statements {
        assert_eq!(
            statement["action"]["requestValue"], "Orders:REFUND",
            "S-8: {statement}"
        );
    }
    assert_eq!(
        answer["reason"], "REASON_IMPLICIT_DENY_IDENTITY",
        "M-2: decided as in any other case"
    );
}

/// S-7 requires lower-case keys for programs. The text shows them as the policies spell them.
#[test]
fn a_missing_key_is_spelled_as_its_policy_spells_it() {
    let (text, answer) = both(&SHOP, &refund("orders:Refund", json!({})));
    let missing = &answer["missingContext"];
    assert_eq!(
        *missing,
        json!([
            "aws:multifactorauthpresent",
            "aws:resourcetag/desk",
            "orders:amount"
        ]),
        "S-7"
    );
    let (_, list) = text.split_once("context keys that are missing:\n").unwrap();
    let list: Vec<&str> = list
        .lines()
        .take_while(|line| !line.is_empty())
        .map(str::trim)
        .collect();
    assert_eq!(
        list,
        [
            "aws:MultiFactorAuthPresent",
            "aws:ResourceTag/desk",
            "orders:amount"
        ]
    );
    // A key that only a variable asks for is spelled as in the variable.
    let customer = json!({"principal": "arn:aws:sts::111122223333:assumed-role/customer/web-1001", "action": "orders:Get", "resource": ORDER});
    let (text, answer) = both(&SHOP, &customer);
    assert_eq!(
        answer["missingContext"],
        json!(["aws:principaltag/customer"])
    );
    assert!(text.contains("\n  aws:PrincipalTag/customer\n"), "{text}");
}

/// S-5: programs get a result for each policy type. The text shows only those that are in play.
#[test]
fn what_is_not_in_play_is_left_out_of_the_text() {
    let (text, answer) = both(&SHOP, &refund("orders:Refund", json!({})));
    assert!(!text.contains("not in play"), "{text}");
    assert!(!text.contains("session policies"), "{text}");
    assert!(!text.contains("permissions boundary"), "{text}");
    for in_play in [
        "resource control policies: allowed",
        "service control policies: allowed",
        "resource policies: implicitDeny",
        "identity policies: implicitDeny",
    ] {
        assert!(text.contains(in_play), "{in_play} in\n{text}");
    }
    let results: Vec<&str> = answer["perType"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| of["result"].as_str().unwrap())
        .collect();
    assert_eq!(results.len(), 6, "S-5");
    assert_eq!(
        results
            .iter()
            .filter(|result| **result == "notApplicable")
            .count(),
        2
    );
}

/// An editor jumps to `file:line:column`.
#[test]
fn a_statement_is_named_with_its_line_and_column() {
    let context = json!({"orders:amount": 500});
    let (text, answer) = both(&SHOP, &refund("orders:Refund", context));
    let place = "managed-policies/RefundOrders.json:13:11";
    let named = format!("RefundOrders ({place})");
    let of_statements = text.matches(&named).count();
    assert_eq!(of_statements, 2, "in its layer and in the advice:\n{text}");
    let advice = answer["toAllow"].to_string();
    assert!(advice.contains(place), "{advice}");
    // Every location of a file in the text has both numbers.
    for (at, _) in text.match_indices(".json:") {
        let behind = &text[at + ".json:".len()..];
        let (place, _) = behind.split_once(')').unwrap();
        let numbers: Vec<&str> = place.split(':').collect();
        assert_eq!(numbers.len(), 2, "{place} in\n{text}");
        assert!(
            numbers.iter().all(|number| number.parse::<u32>().is_ok()),
            "{place} in\n{text}"
        );
    }
    let allowed = json!({"principal": ALICE, "action": "orders:Get", "resource": ORDER});
    let (text, _) = both(&SHOP, &allowed);
    let decided = text.lines().find(|line| line.contains("decided by"));
    let place = "(managed-policies/ReadOrders.json:";
    let decided = decided.unwrap();
    let (_, behind) = decided.split_once(place).expect(decided);
    assert_eq!(behind.split(':').count(), 2, "{decided}");
}

/// E-6, X-5: without an owner the question is a cross-account one, and only the caller can name the owner.
#[test]
fn advice_about_a_resource_that_is_nobodys_is_a_whole_sentence() {
    let policy = crate::support::allow("orders:Get");
    let ann = crate::support::user("ann", &policy);
    let two_accounts = store::load_texts([
        (
            "accounts/111111111111/account.json",
            r#"{"AccountId": "111111111111"}"#,
        ),
        ("accounts/111111111111/users/ann.json", &*ann),
        (
            "accounts/222222222222/account.json",
            r#"{"AccountId": "222222222222"}"#,
        ),
        ("accounts/222222222222/users/zoe.json", "{}"),
    ]);
    let snapshot = two_accounts.unwrap().snapshot;
    let mut question = json!({"principal": "arn:aws:iam::111111111111:user/ann", "action": "orders:Get", "resource": ORDER});
    let (text, answer) = both(&snapshot, &question);
    assert_eq!(answer["reason"], "REASON_IMPLICIT_DENY_RESOURCE", "X-5");
    assert_eq!(answer["resourceAccount"], "", "E-6");
    let sentence = format!(
        "a resource policy must allow `orders:Get` on `{ORDER}`, but the owner of the resource is unknown: give `--resource-account`"
    );
    assert_eq!(answer["toAllow"], json!([sentence]));
    assert_eq!(
        text.lines().last().map(str::trim),
        Some(&*sentence),
        "{text}"
    );
    // With the owner given, the account or the principal's own policies may allow.
    question["resourceAccount"] = json!("222222222222");
    let (text, answer) = both(&snapshot, &question);
    let advice = answer["toAllow"][0].as_str().unwrap();
    assert!(
        advice.starts_with("a resource policy of account `222222222222` must allow"),
        "{advice}"
    );
    assert!(!text.contains("--resource-account"), "{text}");
    question["resourceAccount"] = json!("111111111111");
    let (_, answer) = both(&snapshot, &question);
    assert_eq!(answer["decision"], "DECISION_ALLOW");
}
