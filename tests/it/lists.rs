//! What the list calls say of the example store, on the command line and over gRPC.

use std::fs;
use std::process::Output;

use iamd::service::pb;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{Server, allow, iamd, repository, user, write, write_by_rename};

mod alike;
mod impossible;
mod literal;
mod nobody;
mod pages;
mod simulated;
mod together;
mod variables;

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
    let response: pb::ListPrincipalsResponse = response.decoded().unwrap();
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
        .into_inner()
        .decoded::<pb::ListPrincipalsResponse>()
        .unwrap();
    assert_eq!((whole.principals.len(), &*whole.next_page_token), (5, ""));
    let (mut token, mut by_pages) = (String::new(), Vec::new());
    let first_token = loop {
        let page = client
            .list_principals(asking(&token, 2))
            .await
            .unwrap()
            .into_inner()
            .decoded::<pb::ListPrincipalsResponse>()
            .unwrap();
        by_pages.extend(page.principals);
        if page.next_page_token.is_empty() {
            break client
                .list_principals(asking("", 2))
                .await
                .unwrap()
                .into_inner()
                .decoded::<pb::ListPrincipalsResponse>()
                .unwrap()
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
        .into_inner()
        .decoded::<pb::ListPrincipalsResponse>()
        .unwrap();
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
        (
            &[
                "permissions",
                "--principal",
                ALICE,
                "--resource-account",
                "!!",
            ],
            "resource_account",
        ),
        (
            &[
                "context-keys",
                "--principal",
                ALICE,
                "--resource-account",
                "!!",
            ],
            "resource_account",
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

/// A store of one account with these files.
fn store(files: &[(&str, Value)]) -> TempDir {
    let root = TempDir::new().unwrap();
    write(
        root.path(),
        "account.json",
        r#"{"AccountId": "111122223333"}"#,
    );
    for (path, json) in files {
        write(root.path(), path, &json.to_string());
    }
    root
}

fn document(statements: Value) -> Value {
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// A user or role with these statements and further members.
fn entity(statements: Value, members: Value) -> Value {
    let policies = json!([{"PolicyName": "p", "PolicyDocument": document(statements)}]);
    let mut entity = members;
    let list = if entity.get("AssumeRolePolicyDocument").is_some() {
        "RolePolicyList"
    } else {
        "UserPolicyList"
    };
    entity[list] = policies;
    entity
}

fn trusting(principal: &str, condition: Value) -> Value {
    json!({"AssumeRolePolicyDocument": document(json!([{
        "Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole", "Condition": condition,
    }]))})
}

fn json_of(root: &TempDir, arguments: &[&str]) -> Value {
    let mut command = iamd(["list", "--output", "json", "--store"]);
    let output = command.arg(root.path()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

const ANN: &str = "arn:aws:iam::111122223333:user/ann";

fn role(name: &str) -> String {
    format!("arn:aws:iam::111122223333:role/{name}")
}

/// T-8: the tag of a role that has none may be given, also in role chaining.
#[test]
fn a_tag_that_a_session_passes_on_may_still_be_given() {
    let all = json!([{"Effect": "Allow", "Action": "sts:*", "Resource": "*"}]);
    let root = store(&[
        ("roles/chain.json", entity(all, trusting("*", json!({})))),
        (
            "roles/target.json",
            trusting(
                &role("chain"),
                json!({"StringEquals": {"aws:ResourceTag/team": "blue"}}),
            ),
        ),
    ]);
    let session = r#"{"tags": {"team": "blue"}, "transitiveTagKeys": ["team"]}"#;
    let arguments = [
        "permissions",
        "--principal",
        "arn:aws:sts::111122223333:assumed-role/chain/s1",
        "--action",
        "sts:AssumeRole",
        "--resource",
        &role("target"),
        "--session",
        session,
    ];
    let found = json_of(&root, &arguments);
    assert_eq!(
        found["permissions"][1]["resources"],
        json!([role("target")]),
        "{found}"
    );
}

/// Returns whether each listed principal has no conditions, by the end of its ARN.
fn access(root: &TempDir, action: &str, resource: &str) -> Vec<(String, bool)> {
    let found = json_of(
        root,
        &["principals", "--action", action, "--resource", resource],
    );
    let found = found["principals"].as_array().unwrap().iter();
    found
        .map(|one| {
            let arn = one["principal"].as_str().unwrap();
            let name = arn.rsplit('/').next().unwrap().to_owned();
            (name, one["access"] == "ACCESS_ALLOWED")
        })
        .collect()
}

/// T-38: the tags of a session overlay those of a user, too.
#[test]
fn a_user_stands_for_the_tags_that_its_sessions_may_have() {
    let get = |effect: &str, tag: &str| {
        json!({"Effect": effect, "Action": "docs:Get", "Resource": "*",
        "Condition": {"StringEquals": {"aws:PrincipalTag/t": tag}}})
    };
    let allow = json!({"Effect": "Allow", "Action": "docs:Get", "Resource": "*"});
    let root = store(&[
        (
            "users/ann.json",
            entity(json!([allow, get("Deny", "bad")]), json!({})),
        ),
        (
            "users/bob.json",
            entity(json!([get("Allow", "good")]), json!({})),
        ),
        (
            "users/cem.json",
            entity(
                json!([get("Allow", "good"), get("Deny", "good")]),
                json!({}),
            ),
        ),
        ("users/dot.json", entity(json!([allow]), json!({}))),
    ]);
    let expected = [("ann", false), ("bob", false), ("dot", true)];
    let expected = expected.map(|(name, is_plain)| (name.to_owned(), is_plain));
    assert_eq!(access(&root, "docs:Get", "arn:app:docs:::1"), expected);
}

/// P-8: a statement may name a session of a role, or all but some.
#[test]
fn a_role_is_allowed_if_all_of_its_sessions_are() {
    let allow = json!([{"Effect": "Allow", "Action": "docs:*", "Resource": "*"}]);
    let session = "arn:aws:sts::111122223333:assumed-role/r/s1";
    let root_user = "arn:aws:iam::111122223333:root";
    let deny = |action: &str, principal: Value| {
        let mut statement = json!({"Effect": "Deny", "Action": action, "Resource": "*"});
        statement
            .as_object_mut()
            .unwrap()
            .extend(principal.as_object().unwrap().clone());
        statement
    };
    let policy = document(json!([
        deny("docs:Get", json!({"Principal": {"AWS": session}})),
        deny(
            "docs:Put",
            json!({"NotPrincipal": {"AWS": [root_user, role("r")]}})
        ),
    ]));
    let root = store(&[
        ("roles/r.json", entity(allow, trusting("*", json!({})))),
        (
            "resource-policies/docs.json",
            json!({"Resource": "arn:app:docs:::*", "Policy": policy}),
        ),
    ]);
    for (action, is_plain) in [
        ("docs:Get", false),
        ("docs:Put", false),
        ("docs:List", true),
    ] {
        let found = access(&root, action, "arn:app:docs:::1");
        assert_eq!(found, [("r".to_owned(), is_plain)], "{action}");
    }
}

/// A search that leaves values out must not say that there are none.
#[test]
fn whoever_may_be_allowed_by_one_of_many_values_is_listed() {
    let values = |n: usize| {
        (0..n)
            .map(|number| format!("v{number:03}"))
            .collect::<Vec<_>>()
    };
    let when = |effect: &str, n: usize| {
        json!({"Effect": effect, "Action": "docs:Get", "Resource": "*",
        "Condition": {"StringEquals": {"x:k": values(n)}}})
    };
    let of_session = json!([{"Effect": "Allow", "Action": "docs:Get", "Resource": "*", "Condition": {
        "Null": {"aws:userid": "false"}, "StringNotEquals": {"aws:userid": "AROAEXAMPLEEXAMPLE12:admin"}}}]);
    let mut members = trusting("*", json!({}));
    members["RoleId"] = json!("AROAEXAMPLEEXAMPLE12");
    let root = store(&[
        (
            "users/big.json",
            entity(json!([when("Allow", 100), when("Deny", 70)]), json!({})),
        ),
        (
            "users/none.json",
            entity(json!([when("Allow", 20), when("Deny", 20)]), json!({})),
        ),
        ("roles/app.json", entity(of_session, members)),
    ]);
    let expected = [("app".to_owned(), false), ("big".to_owned(), false)];
    assert_eq!(access(&root, "docs:Get", "arn:app:docs:::1"), expected);
}

/// C-60: a condition may ask only whether a key has a value, and of MFA there are but two.
#[test]
fn whoever_may_be_allowed_with_mfa_is_listed() {
    let of_mfa = |text: &str| json!({"Null": {"aws:MultiFactorAuthPresent": text}});
    let allow = json!({"Effect": "Allow", "Action": "orders:Get", "Resource": "*"});
    let deny = |text: &str| json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": of_mfa(text)});
    let root = store(&[
        (
            "users/ann.json",
            entity(json!([allow, deny("true")]), json!({})),
        ),
        (
            "users/bob.json",
            entity(json!([allow, deny("false")]), json!({})),
        ),
        (
            "users/eve.json",
            entity(json!([allow, deny("true"), deny("false")]), json!({})),
        ),
    ]);
    let found = access(&root, "orders:Get", "arn:app:orders:::order/1");
    assert_eq!(
        found,
        [("ann".to_owned(), false), ("bob".to_owned(), false)]
    );
}

/// The value that stands for all others is none that a policy names, and C-50: `True` is a Boolean, and not the text `true`.
#[test]
fn whoever_may_be_allowed_by_a_value_that_no_policy_names_is_listed() {
    let when = |condition: Value| json!({"Effect": "Allow", "Action": "orders:Get", "Resource": "*", "Condition": condition});
    let not = |key: &str, text: &str| {
        when(json!({"StringNotEquals": {key: text}, "Null": {key: "false"}}))
    };
    let flag = when(json!({"Bool": {"app:flag": "true"}, "StringNotEquals": {"app:flag": "true"}}));
    let never = when(
        json!({"StringEquals": {"app:team": "other"}, "StringNotEquals": {"app:team": "other"}}),
    );
    let mut members = trusting("*", json!({}));
    members["RoleId"] = json!("AROAEXAMPLEEXAMPLE12");
    let of_session = not("aws:userid", "AROAEXAMPLEEXAMPLE12:other");
    let user = |statement| entity(json!([statement]), json!({}));
    let root = store(&[
        ("users/ann.json", user(not("app:team", "other"))),
        ("users/bob.json", user(flag)),
        ("users/eve.json", user(never)),
        ("roles/app.json", entity(json!([of_session]), members)),
    ]);
    let expected = ["app", "ann", "bob"].map(|name| (name.to_owned(), false));
    let found = access(&root, "orders:Get", "arn:app:orders:::order/1");
    assert_eq!(found, expected);
}

/// Each layer could multiply the permissions by the number of its statements.
#[test]
fn layers_do_not_multiply_without_bound() {
    let statement = |level: usize, number: usize| {
        json!({"Effect": "Allow", "Action": "*", "Resource": "*",
        "Condition": {"StringEquals": {format!("x:l{level}k{number}"): "v"}}})
    };
    let mut files = vec![(
        "users/ann.json".to_owned(),
        entity(
            json!([{"Effect": "Allow", "Action": "docs:Get", "Resource": "*"}]),
            json!({}),
        ),
    )];
    let mut node = json!({"Id": "111122223333", "ServiceControlPolicies": ["level6"]});
    for level in 0..7 {
        let statements: Vec<Value> = (0..16).map(|number| statement(level, number)).collect();
        let path = format!("service-control-policies/level{level}.json");
        files.push((path, document(json!(statements))));
    }
    node = json!({"Accounts": [node]});
    for level in (1..6).rev() {
        node["Id"] = json!(format!("ou-abcd-1111111{level}"));
        node["ServiceControlPolicies"] = json!([format!("level{level}")]);
        node = json!({"OrganizationalUnits": [node]});
    }
    node["Id"] = json!("r-abcd");
    node["ServiceControlPolicies"] = json!(["level0"]);
    files.push((
        "organization.json".to_owned(),
        json!({"Id": "o-abcdefghij", "ManagementAccountId": "999999999999", "Root": node}),
    ));
    let files: Vec<(&str, Value)> = files
        .iter()
        .map(|(path, json)| (&**path, json.clone()))
        .collect();
    let root = store(&files);
    let found = json_of(&root, &["permissions", "--principal", ANN]);
    let n = found["permissions"].as_array().unwrap().len();
    // 16 to the power of 7 would be 268 million.
    assert!((1..=7 * 1_024).contains(&n), "{n}");
}

/// K-1, K-9: what the session says or a service sends is not for the context.
#[test]
fn keys_that_must_not_be_sent_are_told() {
    let get = json!([{"Effect": "Allow", "Action": "docs:Get", "Resource": "*", "Condition": {
        "StringEquals": {"login.example.com:sub": "1", "aws:SourceArn": "arn:app:x:::y", "x:given": "1"}}}]);
    let root = store(&[("roles/web.json", entity(get, trusting("*", json!({}))))]);
    let session = r#"{"federatedProvider": "login.example.com"}"#;
    let arguments = [
        "context-keys",
        "--principal",
        "arn:aws:sts::111122223333:assumed-role/web/s1",
        "--session",
        session,
    ];
    let found = json_of(&root, &arguments);
    let found = found["keys"].as_array().unwrap().iter();
    let found: Vec<(&str, bool)> = found
        .map(|one| (one["key"].as_str().unwrap(), one["derived"] == true))
        .collect();
    assert_eq!(
        found,
        [
            ("aws:sourcearn", true),
            ("login.example.com:sub", true),
            ("x:given", false)
        ]
    );
}
