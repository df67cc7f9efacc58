//! Variables of policies in lists of permissions.

use std::iter;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ANN, document, entity, json_of, role, store, trusting};
use crate::support::{iamd, write};

/// T-1: each role is listed for itself, whatever its identity policy leaves open.
#[test]
fn a_variable_that_is_open_leads_to_no_role_that_does_not_trust() {
    let assume = json!([{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role("${aws:RequestTag/x}")}]);
    let other = "arn:aws:iam::111122223333:root";
    let root = store(&[
        ("users/ann.json", entity(assume, json!({}))),
        ("roles/good.json", trusting(other, json!({}))),
        (
            "roles/evil.json",
            trusting(other, json!({"StringEquals": {"aws:username": "eve"}})),
        ),
    ]);
    let found = json_of(&root, &["permissions", "--principal", ANN]);
    let permissions = found["permissions"].as_array().unwrap();
    assert_eq!(permissions.len(), 1, "{found}");
    assert_eq!(permissions[0]["resources"], json!([role("good")]));
    assert_eq!(
        permissions[0]["except"][0]["notResources"],
        json!([role("${aws:requesttag/x}")])
    );
}

/// V-8, V-12: a value is literal, whatever stands before and in it.
#[test]
fn the_value_of_a_variable_never_becomes_a_variable() {
    let pattern = "arn:app:orders:::order/$${aws:PrincipalTag/t}";
    let tagged = |tag: &str| json!({"Tags": [{"Key": "t", "Value": tag}]});
    let root = store(&[
        (
            "users/ann.json",
            entity(
                json!([
                    {"Effect": "Allow", "Action": "orders:*", "Resource": "arn:app:orders:::order/*"},
                    {"Effect": "Deny", "Action": "orders:Get", "Resource": pattern},
                ]),
                tagged("{foo bar}"),
            ),
        ),
        (
            "users/bob.json",
            entity(
                json!([
                    {"Effect": "Allow", "Action": "orders:*", "Resource": pattern},
                ]),
                tagged("{aws:RequestTag/x}"),
            ),
        ),
    ]);
    let ann = json_of(&root, &["permissions", "--principal", ANN]);
    let except = &ann["permissions"][0]["except"][0]["resources"];
    assert_eq!(*except, json!(["arn:app:orders:::order/${$}{foo bar}"]));
    let bob = json_of(
        &root,
        &[
            "permissions",
            "--principal",
            "arn:aws:iam::111122223333:user/bob",
        ],
    );
    let resources = &bob["permissions"][0]["resources"];
    assert_eq!(
        *resources,
        json!(["arn:app:orders:::order/${$}{aws:RequestTag/x}"])
    );
}

/// V-9: an Allow whose `NotResource` has a variable without a value allows nothing, whatever the resource is.
#[test]
fn a_variable_that_is_open_in_not_resource_stays_in_the_list() {
    let orders = json!([{"Effect": "Allow", "Action": "orders:Get", "Resource": "arn:app:orders:::order/*"}]);
    let bound = json!({"PermissionsBoundaryArn": "arn:aws:iam::111122223333:policy/bound"});
    let not = "arn:app:files:::${app:area}/*";
    let allow = document(json!([{"Effect": "Allow", "Action": "*", "NotResource": not}]));
    let ann = entity(orders, json!({ "PermissionsBoundary": bound }));
    let root = store(&[
        ("users/ann.json", ann),
        ("managed-policies/bound.json", allow),
    ]);
    let found = json_of(&root, &["permissions", "--principal", ANN]);
    assert_eq!(found["permissions"][0]["notResources"], json!([not]));
    let deny = json!([{"Effect": "Allow", "Action": "*", "Resource": "arn:app:orders:::order/*"},
        {"Effect": "Deny", "Action": "*", "NotResource": not}]);
    write(
        root.path(),
        "users/ann.json",
        &entity(deny, json!({})).to_string(),
    );
    let found = json_of(&root, &["permissions", "--principal", ANN]);
    assert_eq!(found["permissions"], json!([]), "V-9: it denies all others");
}

/// M-11, M-23: no value of a variable makes a pattern cover a resource that begins or ends otherwise, or lacks its text. An
/// index leaves such a statement out, and so does a list while there is no index, as here.
#[test]
fn a_variable_that_is_open_brings_in_no_resource_that_no_value_covers() {
    let pattern = "arn:app:docs:::${app:area}/shared/${app:part}/end";
    let sales = json!({"StringEquals": {"app:team": "sales"}});
    let allow = |resource: &str, condition| json!({"Effect": "Allow", "Action": "docs:Read", "Resource": resource, "Condition": condition});
    let deny = json!({"Effect": "Deny", "Action": "docs:Read", "Resource": pattern});
    let bob = json!([allow("*", json!({})), deny]);
    let root = store(&[
        (
            "users/ann.json",
            entity(
                json!([allow(pattern, json!({})), allow("*", sales)]),
                json!({}),
            ),
        ),
        ("users/bob.json", entity(bob, json!({}))),
    ]);
    for (resource, may_cover) in [
        ("arn:app:docs:::a/shared/b/end", true),
        ("arn:app:mail:::a/shared/b/end", false),
        ("arn:app:docs:::a/shared/b/ending", false),
        ("arn:app:docs:::a/share/b/end", false),
        ("*", false),
    ] {
        let arguments = ["principals", "--action", "docs:Read", "--resource"];
        let arguments = [&arguments[..], &[resource, "--context", "app:team=docs"]].concat();
        let found = json_of(&root, &arguments);
        let found = found["principals"].as_array().unwrap().iter();
        let found: Vec<_> = found
            .map(|one| (one["principal"].as_str(), one["access"] != "ACCESS_ALLOWED"))
            .collect();
        let bob = (Some("arn:aws:iam::111122223333:user/bob"), may_cover);
        let expected = match may_cover {
            true => vec![(Some(ANN), true), bob],
            false => vec![bob],
        };
        assert_eq!(found, expected, "{resource}");
    }
}

/// S-11: the value of a hidden key does not show in a pattern either.
#[test]
fn the_value_of_a_hidden_variable_does_not_show() {
    let get = json!([{"Effect": "Allow", "Action": "docs:Get", "Resource": "arn:app:docs:::${aws:PrincipalTag/t}/*"}]);
    let tags = json!({"Tags": [{"Key": "t", "Value": "hush"}]});
    let root = store(&[("users/ann.json", entity(get, tags))]);
    let shown = |hidden: &str| {
        let arguments = ["permissions", "--principal", ANN, "--redact-keys", hidden];
        json_of(&root, &arguments)["permissions"][0]["resources"][0].clone()
    };
    assert_eq!(shown("none"), "arn:app:docs:::hush/*");
    assert_eq!(
        shown("aws:PrincipalTag/*"),
        "arn:app:docs:::${aws:principaltag/t}/*"
    );
}

const PAGE: [&str; 4] = ["--action", "docs:Read", "--resource", "arn:app:docs:::1"];

/// Returns who may read the page, given these entries of the context.
fn readers(root: &TempDir, context: &[&str]) -> Value {
    let context = context.iter().flat_map(|entry| ["--context", entry]);
    let arguments: Vec<&str> = iter::once("principals")
        .chain(PAGE)
        .chain(context)
        .collect();
    json_of(root, &arguments)["principals"].clone()
}

/// C-7, section 4.9: an empty list says nothing of a tag, which may still be given by its other name.
#[test]
fn a_tag_given_as_an_empty_list_may_still_be_given_by_its_other_name() {
    let blue = json!({"StringEquals": {"docs:ResourceTag/team": "blue"}});
    let read =
        json!([{"Effect": "Allow", "Action": "docs:Read", "Resource": "*", "Condition": blue}]);
    let root = store(&[("users/ann.json", entity(read, json!({})))]);
    let with = |command: &str, context: &[&str]| {
        let mut command = iamd([command]);
        command.arg("--store").arg(root.path()).args(PAGE);
        command.args(context.iter().flat_map(|entry| ["--context", entry]));
        command
    };
    let names = ["docs:ResourceTag/team", "aws:ResourceTag/team"];
    let question = ["--principal", ANN, "--output", "json"];
    let listed = |context: &[&str]| readers(&root, context);
    for [one, other] in [names, [names[1], names[0]]] {
        let (empty, given) = (format!("{one}:=[]"), format!("{other}=blue"));
        let allowed = with("authorize", &[&empty, &given])
            .args(question)
            .output()
            .unwrap();
        assert!(allowed.status.success(), "{allowed:?}");
        assert_eq!(listed(&[&empty])[0]["principal"], ANN, "{one}");
    }
    // Nothing else can give it a value.
    let both = names.map(|name| format!("{name}:=[]"));
    assert_eq!(listed(&[&both[0], &both[1]]), json!([]));
}

/// C-7, section 4.9: beside an empty list of services or tag keys, what they are derived from may still be given.
#[test]
fn keys_that_others_make_are_open_beside_an_empty_list() {
    for (empty, more, condition) in [
        (
            "aws:TagKeys:=[]",
            "aws:RequestTag/team=blue",
            json!({"ForAnyValue:StringEquals": {"aws:TagKeys": "team"}}),
        ),
        (
            "aws:CalledVia:=[]",
            "aws:CalledViaFirst=athena.amazonaws.com",
            json!({"StringEquals": {"aws:CalledViaFirst": "athena.amazonaws.com"}}),
        ),
    ] {
        let read = json!([{"Effect": "Allow", "Action": "docs:Read", "Resource": "*", "Condition": condition}]);
        let root = store(&[("users/ann.json", entity(read, json!({})))]);
        let mut authorize = iamd([
            "authorize",
            "--principal",
            ANN,
            "--context",
            empty,
            "--context",
            more,
        ]);
        let allowed = authorize
            .arg("--store")
            .arg(root.path())
            .args(PAGE)
            .output()
            .unwrap();
        assert!(allowed.status.success(), "{allowed:?}");
        let listed = readers(&root, &[empty]);
        assert_eq!(listed[0]["principal"], ANN, "{empty}");
    }
}

/// Section 4.9: any chain beside it would have to begin with it.
#[test]
fn the_end_of_a_chain_of_services_is_decided_once_it_is_given() {
    let by = |service: &str| json!({"StringEquals": {"aws:CalledViaFirst": service}});
    let read = json!([{"Effect": "Allow", "Action": "docs:Read", "Resource": "*", "Condition": by("athena.amazonaws.com")}]);
    let root = store(&[("users/ann.json", entity(read, json!({})))]);
    let listed = |service: &str| readers(&root, &[&format!("aws:CalledViaFirst={service}")]);
    assert_eq!(
        listed("athena.amazonaws.com")[0]["access"],
        "ACCESS_ALLOWED"
    );
    assert_eq!(listed("lambda.amazonaws.com"), json!([]));
}

/// T-8, C-60: a session that passes on another value makes that of the tag unknown, so that it is there for sure, under all of
/// its names. `Null` says nothing about an empty one.
#[test]
fn a_session_may_replace_an_empty_tag_of_the_role_that_it_assumes() {
    const IAM: &str = "iam:ResourceTag/tier";
    const AWS: &str = "aws:ResourceTag/tier";
    const TEAM: &str = "iam:ResourceTag/team";
    const OWN: &str = "aws:PrincipalTag/tier";
    const OTHER: &str = "s3:ResourceTag/tier";
    let there = |key: &str| json!({"Null": {key: "false"}});
    let with =
        |key: &str, value: &str| json!({"Null": {IAM: "false"}, "StringEquals": {key: value}});
    for (condition, is_listed) in [
        (there(IAM), true),
        (there(AWS), true),
        (json!({"Null": {IAM: "false", AWS: "false"}}), true),
        (with(OWN, "red"), true),
        (json!({"StringEquals": {IAM: "", AWS: ""}}), true),
        (json!({"Null": {IAM: "true"}}), false),
        (with(AWS, ""), false),
        (with(IAM, ""), false),
        // Each tag is replaced for itself.
        (
            json!({"Null": {TEAM: "false"}, "StringEquals": {IAM: ""}}),
            true,
        ),
        (
            json!({"Null": {TEAM: "false", IAM: "false"}, "StringEquals": {AWS: ""}}),
            false,
        ),
        // T-38: only a tag of the session is passed on, and another value of it.
        (with(OWN, ""), false),
        (json!({"Null": {IAM: "false", OWN: "true"}}), false),
        // T-34: no session has such a tag.
        (there("iam:ResourceTag/aws:x"), false),
        // It is no tag of this resource.
        (there(OTHER), false),
    ] {
        let mut target = trusting(&role("ann"), condition.clone());
        target["Tags"] = ["tier", "team", "aws:x"]
            .map(|key| json!({"Key": key, "Value": ""}))
            .into();
        let root = store(&[
            ("roles/ann.json", trusting("*", json!({}))),
            ("roles/db.json", target),
        ]);
        let asked = ["--resource", &role("db"), "--action", "sts:AssumeRole"];
        let given = ["--context", &format!("{OTHER}=")];
        let found = json_of(&root, &[&["principals"], &asked[..], &given].concat());
        let n_listed = found["principals"].as_array().unwrap().len();
        assert_eq!(n_listed, usize::from(is_listed), "{condition}: {found}");
        let may = |tags: Value| {
            let keys: Vec<&String> = tags.as_object().unwrap().keys().collect();
            let session = json!({"tags": tags, "transitiveTagKeys": keys}).to_string();
            let mut authorize = iamd(["authorize", "--session", &session]);
            let principal = "arn:aws:sts::111122223333:assumed-role/ann/s1";
            authorize
                .arg("--store")
                .arg(root.path())
                .args(asked)
                .args(given);
            let answer = authorize.args(["--principal", principal]).output().unwrap();
            assert!(matches!(answer.status.code(), Some(0 | 1)), "{answer:?}");
            answer.status.success()
        };
        let tags = [
            json!({"tier": "red", "team": "red"}),
            json!({"tier": "red"}),
            json!({"team": "red"}),
            json!({"tier": ""}),
            json!({}),
        ];
        assert_eq!(tags.into_iter().any(may), is_listed, "{condition}");
    }
}

/// What a session may replace is found out once, and not for each combination of values that is tried.
#[test]
fn many_entries_of_the_context_do_not_make_a_list_too_much_work() {
    let deny = |condition: Value| json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition});
    let mut statements = vec![
        json!({"Effect": "Allow", "Action": "docs:Read", "Resource": "*"}),
        deny(json!({"Null": {"app:x": "true"}})),
        deny(json!({"StringLike": {"app:x": "*"}})),
    ];
    let tag = |number: usize| format!("aws:ResourceTag/t{number}");
    statements.extend((0..30).map(|number| deny(json!({"StringEquals": {tag(number): "v"}}))));
    let root = store(&[("users/ann.json", entity(json!(statements), json!({})))]);
    let context: Vec<String> = (0..100).map(|number| format!("app:k{number}=v")).collect();
    let context: Vec<&str> = context.iter().map(|entry| &**entry).collect();
    assert_eq!(readers(&root, &context)[0]["principal"], ANN);
}

/// A tag of another service is no tag of this resource, and nobody gives it but the caller.
#[test]
fn an_empty_tag_of_another_service_stays_empty() {
    let blue = json!({"StringEquals": {"mail:ResourceTag/team": "blue"}});
    let read =
        json!([{"Effect": "Allow", "Action": "docs:Read", "Resource": "*", "Condition": blue}]);
    let root = store(&[("users/ann.json", entity(read, json!({})))]);
    let listed = |context: &[&str]| readers(&root, context);
    assert_eq!(listed(&[])[0]["principal"], ANN);
    assert_eq!(listed(&["mail:ResourceTag/team:=[]"]), json!([]));
}
