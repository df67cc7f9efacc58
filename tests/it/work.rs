//! A decision that would take too much work is given up: there is no answer then, least of all an allow.

use iamd::context::ContextValue;
use iamd::engine::request::{RawRequest, Request, RequestErrorKind};
use iamd::engine::{authorize, authorize_by_scan};
use serde_json::json;

const N_VALUES: usize = 3_000;

/// A user who may do everything, by a statement before or behind the one that costs so much.
fn answers(effect: &str, is_first: bool) -> Vec<Option<RequestErrorKind>> {
    answers_with(effect, is_first, "*")
}

/// The same, where each value of the costly condition begins with `start`.
fn answers_with(effect: &str, is_first: bool, start: &str) -> Vec<Option<RequestErrorKind>> {
    let patterns: Vec<String> = (0..N_VALUES)
        .map(|index| format!("{start}{index}x"))
        .collect();
    let costly = json!({
        "Effect": effect, "Action": "*", "Resource": "*",
        "Condition": {"ForAnyValue:StringLike": {"app:list": patterns}},
    });
    let all = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    let statements = if is_first {
        [costly, all]
    } else {
        [all, costly]
    };
    let user = json!({
        "UserName": "ann",
        "UserPolicyList": [{"PolicyName": "p", "PolicyDocument": {"Version": "2012-10-17", "Statement": statements}}],
    });
    let loaded = iamd::store::load_texts([
        (
            "accounts/111111111111/account.json",
            r#"{"AccountId": "111111111111"}"#,
        ),
        (
            "accounts/111111111111/users/ann.json",
            user.to_string().as_str(),
        ),
    ]);
    let snapshot = loaded.unwrap().snapshot;
    let values = (0..N_VALUES).map(|index| ContextValue::string(format!("{index}y")));
    let raw = RawRequest {
        principal: "arn:aws:iam::111111111111:user/ann".to_owned(),
        action: "orders:Get".to_owned(),
        resource: "*".to_owned(),
        context: vec![("app:list".to_owned(), ContextValue::list(values))],
        ..RawRequest::default()
    };
    let request = Request::parse(raw, "2026-01-01T00:00:00Z".parse().unwrap()).unwrap();
    [authorize_by_scan, authorize, authorize, authorize]
        .map(|authorize| authorize(&snapshot, &request).err().map(|error| error.kind))
        .to_vec()
}

/// E-1.
#[test]
fn a_spent_work_budget_is_an_error_and_no_answer() {
    let given_up = vec![Some(RequestErrorKind::TooMuchWork); 4];
    assert_eq!(answers("Deny", true), given_up, "E-1");
    assert_eq!(answers("Deny", false), given_up, "E-1");
    assert_eq!(answers("Allow", true), given_up, "E-1");
    // Whatever follows the Allow that grants is not looked at.
    assert_eq!(answers("Allow", false), vec![None; 4]);
}

/// E-1: what is searched costs what the search does, so a long list against a long list has an answer.
#[test]
fn a_list_that_is_searched_spends_what_the_search_takes() {
    for effect in ["Allow", "Deny"] {
        assert_eq!(answers_with(effect, true, ""), vec![None; 4], "E-1");
    }
}
