//! What the list calls say of the example store, on the command line and over gRPC.

use std::fs;
use std::process::Output;

use iamd::service::pb;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{Server, allow, iamd, repository, user, write, write_by_rename};

const ALICE: &str = "arn:aws:iam::111122223333:user/support/alice";
const ORDER: &str = "arn:app:orders:::order/1001/1";

fn listed(arguments: &[&str]) -> Output {
    let shop = repository().join("policies");
    let mut command = iamd(["list"]);
    if !arguments.contains(&"--server") {
        command.arg("--store").arg(shop);
    }
    command.args(arguments).output().unwrap()
}

fn text(arguments: &[&str]) -> String {
    let output = listed(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let with_json = [arguments, &["--output", "json"]].concat();
    serde_json::from_str(&text(&with_json)).unwrap()
}

#[test]
fn permissions_are_listed_for_people() {
    insta::assert_snapshot!(text(&["permissions", "--principal", ALICE]));
}

#[test]
fn principals_are_listed_for_people() {
    let arguments = ["principals", "--action", "orders:Get", "--resource", ORDER];
    insta::assert_snapshot!(text(&arguments));
}

#[test]
fn context_keys_are_listed_for_people() {
    insta::assert_snapshot!(text(&["context-keys", "--principal", ALICE]));
}

#[test]
fn what_the_request_gives_is_decided() {
    let invite = [
        "permissions",
        "--principal",
        ALICE,
        "--action",
        "users:Invite",
    ];
    let conditions = |arguments: &[&str]| json(arguments)["permissions"][0]["conditions"].clone();
    let email =
        json!({"operator": "StringLike", "key": "users:email", "values": ["*@shop.example"]});
    assert_eq!(conditions(&invite)[0], email);
    let given = [&invite[..], &["--context", "users:email=hugo@shop.example"]].concat();
    let keys = conditions(&given);
    assert!(!keys.to_string().contains("users:email"), "{keys}");
    let other = [&invite[..], &["--context", "users:email=hugo@else.example"]].concat();
    assert_eq!(json(&other)["permissions"], json!([]));
}

#[test]
fn a_list_is_narrowed_to_the_patterns_asked_for() {
    let shown = |narrowing: &[&str]| {
        let arguments = [&["permissions", "--principal", ALICE], narrowing].concat();
        let found = json(&arguments);
        let found = found["permissions"].as_array().unwrap().iter();
        found
            .map(|one| one["actions"][0].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        shown(&["--action", "users:*"]),
        ["users:Get", "users:Invite"]
    );
    assert_eq!(
        shown(&["--resource", "arn:app:orders:::catalog/*"]),
        ["orders:Browse", "users:Invite", "orders:List"]
    );
}

/// A client sees what the command line prints, and the command line prints the same from a server.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_lists_what_the_store_says() {
    let server = Server::start(&repository().join("policies"));
    let mut client = server.client().await;
    let address = server.address();
    for arguments in [
        &["permissions", "--principal", ALICE][..],
        &["principals", "--action", "orders:Get", "--resource", ORDER],
        &[
            "context-keys",
            "--principal",
            ALICE,
            "--action",
            "orders:Get",
        ],
    ] {
        let by_server = json(&[arguments, &["--server", &address]].concat());
        assert_eq!(by_server, json(arguments), "{arguments:?}");
        assert!(!by_server["revision"].as_str().unwrap().is_empty());
    }
    let request = pb::ListPrincipalsRequest {
        action: "orders:Get".into(),
        resource: ORDER.into(),
        ..Default::default()
    };
    let response = client.list_principals(request).await.unwrap().into_inner();
    let found = response.principals.iter();
    let found: Vec<(&str, pb::Access)> = found.map(|one| (&*one.principal, one.access())).collect();
    let arn = |rest: &str| format!("arn:aws:iam::111122223333:{rest}");
    let expected = [
        (arn("role/breakglass"), pb::Access::Conditional),
        (arn("role/customer"), pb::Access::Conditional),
        (arn("role/order-service"), pb::Access::Allowed),
        (arn("user/finance/carol"), pb::Access::Allowed),
        (arn("user/support/alice"), pb::Access::Allowed),
        (arn("user/support/erin"), pb::Access::Allowed),
    ];
    assert!(
        found
            .iter()
            .copied()
            .eq(expected.iter().map(|(arn, access)| (&**arn, *access))),
        "{found:?}"
    );
}

/// Returns a store in which five users may read, each in their own way.
fn readers() -> TempDir {
    let root = TempDir::new().unwrap();
    write(
        root.path(),
        "account.json",
        r#"{"AccountId": "111122223333"}"#,
    );
    for name in ["ann", "bob", "cem", "dot", "eve"] {
        let file = user(name, &allow("docs:Read"));
        write(root.path(), &format!("users/{name}.json"), &file);
    }
    root
}

fn field(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    let violations = details
        .bad_request()
        .map(|bad| bad.field_violations.clone());
    let violations = violations.unwrap_or_default();
    let [violation] = &*violations else {
        panic!("{status:?}");
    };
    (status.code(), violation.field.clone())
}

fn asking(token: &str, size: i32) -> pb::ListPrincipalsRequest {
    pb::ListPrincipalsRequest {
        action: "docs:Read".into(),
        resource: "arn:app:docs:::page/1".into(),
        page_size: size,
        page_token: token.into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_belongs_to_its_revision_and_its_request() {
    let root = readers();
    let server = Server::start(root.path());
    let mut client = server.client().await;
    let whole = client
        .list_principals(asking("", 0))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((whole.principals.len(), &*whole.next_page_token), (5, ""));
    let (mut token, mut by_pages) = (String::new(), Vec::new());
    let first_token = loop {
        let page = client
            .list_principals(asking(&token, 2))
            .await
            .unwrap()
            .into_inner();
        by_pages.extend(page.principals);
        if page.next_page_token.is_empty() {
            break client
                .list_principals(asking("", 2))
                .await
                .unwrap()
                .into_inner()
                .next_page_token;
        }
        token = page.next_page_token;
    };
    assert_eq!(by_pages, whole.principals);
    let refused = |status: Result<_, Status>| field(&status.map(drop).unwrap_err());
    let bad = (Code::InvalidArgument, "page_token".to_owned());
    let mut other = asking(&first_token, 2);
    other.action = "docs:Write".into();
    assert_eq!(refused(client.list_principals(other).await), bad);
    assert_eq!(
        refused(client.list_principals(asking("nonsense", 2)).await),
        bad
    );
    let negative = client.list_principals(asking("", -1)).await;
    assert_eq!(
        refused(negative),
        (Code::InvalidArgument, "page_size".to_owned())
    );
    // After a reload the same token says so.
    let changed = user("bob", &allow("docs:Write"));
    write_by_rename(root.path(), "users/bob.json", &changed);
    let revision = crate::support::revision(root.path());
    crate::support::until_revision(&mut client, &revision).await;
    let stale = client
        .list_principals(asking(&first_token, 2))
        .await
        .unwrap_err();
    assert_eq!(field(&stale), bad);
    let details = stale.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    assert!(
        violations[0].description.contains(&revision),
        "{violations:?}"
    );
    let left = client
        .list_principals(asking("", 0))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((left.principals.len(), left.revision), (4, revision));
}

#[test]
fn malformed_lists_are_refused_with_their_field() {
    for (arguments, expected) in [
        (&["permissions", "--principal", "alice"][..], "principal"),
        (
            &[
                "permissions",
                "--principal",
                ALICE,
                "--action",
                "orders Get",
            ],
            "action",
        ),
        (
            &["permissions", "--principal", ALICE, "--resource", "order/1"],
            "resource",
        ),
        (
            &["principals", "--action", "orders:*", "--resource", "*"],
            "action",
        ),
        (
            &[
                "principals",
                "--action",
                "orders:Get",
                "--resource",
                "order/1",
            ],
            "resource",
        ),
        (
            &["context-keys", "--principal", ALICE, "--action", "orders"],
            "action",
        ),
        (
            &[
                "permissions",
                "--principal",
                ALICE,
                "--context",
                "aws:username=bob",
            ],
            "aws:username",
        ),
    ] {
        let output = listed(arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(errors.contains(expected), "{arguments:?}: {errors}");
    }
}

#[test]
fn values_of_hidden_keys_do_not_show() {
    let root = readers();
    let document = json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "docs:Share", "Resource": "*",
        "Condition": {"StringEquals": {"sts:ExternalId": "a secret"}},
    }});
    let file = user("ann", &document.to_string());
    fs::write(root.path().join("users/ann.json"), file).unwrap();
    let root = root.path().to_str().unwrap();
    for what in ["permissions", "context-keys"] {
        let arguments = [
            what,
            "--principal",
            "arn:aws:iam::111122223333:user/ann",
            "--store",
            root,
        ];
        let mut command = iamd(["list"]);
        let output = command.args(arguments).output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(
            shown.contains("(redacted)") && !shown.contains("a secret"),
            "{shown}"
        );
    }
}
