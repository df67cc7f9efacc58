//! Each entity among many is found by its own name and by no other's. A table that confuses two rows shows it only if
//! it has many rows.

use iamd::compile::snapshot::Snapshot;
use iamd::store::Loader;
use serde_json::{Value as Json, json};

use super::{Files, answer, load};
use crate::oracle::question::Question;

/// The number of users, groups, roles and managed policies of each account. Both accounts use the same names.
const N: usize = 300;
const ACCOUNTS: [&str; 2] = ["111122223333", "444455556666"];

/// Returns a store in which every number has a user in a group with a managed policy, and a role that the user may
/// assume. Each of them allows an action of its own. A tenth of the files have `changed` in the name of their action.
fn files(changed: &str) -> Files {
    let document = |action: String| json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]});
    let mut files = Files::new();
    for account in ACCOUNTS {
        let mut put = |path: String, json: Json| {
            files.insert(format!("accounts/{account}/{path}.json"), json.to_string());
        };
        put("account".to_owned(), json!({"AccountId": account}));
        for n in 0..N {
            let action = |verb: &str| action(account, verb, n, changed);
            let inline = |verb: &str| json!([{"PolicyName": "own", "PolicyDocument": document(action(verb))}]);
            let arn = |kind: &str| format!("arn:aws:iam::{account}:{kind}{n}");
            let attached = json!([{"PolicyName": format!("p{n}"), "PolicyArn": arn("policy/p")}]);
            put(
                format!("users/u{n}"),
                json!({"UserPolicyList": inline("Use"), "GroupList": [format!("g{n}")], "AttachedManagedPolicies": attached}),
            );
            put(
                format!("groups/g{n}"),
                json!({"GroupPolicyList": inline("Share")}),
            );
            put(format!("managed-policies/p{n}"), document(action("Pay")));
            put(
                format!("roles/r{n}"),
                json!({"RolePolicyList": inline("Run"), "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [
                    {"Effect": "Allow", "Principal": {"AWS": arn("user/u")}, "Action": "sts:AssumeRole"}]}}),
            );
        }
    }
    files
}

fn action(account: &str, verb: &str, n: usize, changed: &str) -> String {
    let changed = if n % 10 == 3 { changed } else { "" };
    format!("orders:{verb}{n}In{account}{changed}")
}

fn assert_each_has_its_own(snapshot: &Snapshot, changed: &str) {
    assert_eq!(snapshot.n_principals(), 2 * N * ACCOUNTS.len());
    let asks = |principal: String, action: String, resource: &str| {
        let question = Question {
            principal,
            action,
            resource: resource.to_owned(),
            at: 1_717_200_000,
            ..Question::default()
        };
        answer(snapshot, &question)
    };
    for account in ACCOUNTS {
        for n in 0..N {
            let other = (n + 10) % N;
            let order = format!("arn:app:orders::{account}:order/1");
            let user = format!("arn:aws:iam::{account}:user/u{n}");
            let session = format!("arn:aws:sts::{account}:assumed-role/r{n}/session");
            let verbs = [
                ("Use", &user),
                ("Share", &user),
                ("Pay", &user),
                ("Run", &session),
            ];
            for (verb, principal) in verbs {
                let own = asks(principal.clone(), action(account, verb, n, changed), &order);
                assert!(
                    own.starts_with("ALLOW_IDENTITY "),
                    "{principal} {verb}{n}: {own}"
                );
                let not_own = action(account, verb, other, changed);
                let not_own = asks(principal.clone(), not_own, &order);
                assert_eq!(
                    not_own, "IMPLICIT_DENY_IDENTITY []",
                    "{principal} {verb}{other}"
                );
            }
            let assumes = |n: usize| {
                let role = format!("arn:aws:iam::{account}:role/r{n}");
                asks(user.clone(), "sts:AssumeRole".to_owned(), &role)
            };
            assert!(
                assumes(n).starts_with("ALLOW_RESOURCE_DIRECT "),
                "{user}: {}",
                assumes(n)
            );
            assert!(
                assumes(other).starts_with("IMPLICIT_DENY_"),
                "{user}: {}",
                assumes(other)
            );
        }
    }
}

#[test]
fn among_many_each_has_what_is_its_own() {
    let mut loader = Loader::new();
    let mut load = |changed: &str| {
        let loaded = load(&mut loader, &files(changed));
        loaded.unwrap_or_else(|refused| panic!("{:#?}", refused.findings))
    };
    let first = load("");
    assert_each_has_its_own(&first.snapshot, "");
    let second = load("Changed");
    assert!(second.is_patched);
    assert_each_has_its_own(&second.snapshot, "Changed");
    assert_each_has_its_own(&first.snapshot, "");
}
