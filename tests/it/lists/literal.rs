//! Questions that a list takes as `Authorize` does: what is malformed is refused, and what looks like a variable is a text.

use serde_json::json;

use super::{document, entity, json_of, store};
use crate::support::iamd;

/// What `Authorize` refuses whoever asks is no list of nobody.
#[test]
fn a_question_that_is_malformed_for_everybody_is_refused() {
    let attached = |scope: &str| {
        json!({"Resource": scope, "Policy": document(
            json!([{"Effect": "Allow", "Principal": "*", "Action": "docs:Read"}])
        )})
    };
    let other = "444455556666";
    let of_other = format!("accounts/{other}/account.json");
    let attached_by_other = format!("accounts/{other}/resource-policies/pages.json");
    let root = store(&[
        (&of_other, json!({"AccountId": other})),
        (
            "resource-policies/pages.json",
            attached("arn:app:docs:::page/*"),
        ),
        (&attached_by_other, attached("arn:app:docs:::*/1")),
    ]);
    let refused = |more: &[&str]| {
        let mut command = iamd(["list", "principals", "--action", "docs:Read", "--store"]);
        let output = command.arg(root.path()).args(more).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let told = refused(&["--resource", "arn:app:docs:::page/1"]);
    assert!(told.contains("two accounts"), "{told}");
    let arn = "arn:app:docs::111122223333:page/1";
    let told = refused(&["--resource", arn, "--resource-account", other]);
    assert!(told.contains("contradicts"), "{told}");
}

/// A permission of one question covers no other, however its resource is written.
#[test]
fn a_resource_that_looks_like_a_variable_is_a_text() {
    let read = json!([{"Effect": "Allow", "Action": "docs:Read", "Resource": "*",
        "Condition": {"StringEquals": {"app:k": "v"}}}]);
    let root = store(&[("users/ann.json", entity(read, json!({})))]);
    for (resource, pattern) in [
        (
            "arn:app:docs:::a/${aws:username}",
            "arn:app:docs:::a/${$}{aws:username}",
        ),
        ("arn:app:docs:::a/$5", "arn:app:docs:::a/$5"),
        ("arn:app:docs:::a/*?", "arn:app:docs:::a/${*}${?}"),
    ] {
        let arguments = [
            "principals",
            "--action",
            "docs:Read",
            "--resource",
            resource,
        ];
        let found = json_of(&root, &arguments);
        let listed = &found["principals"][0]["permissions"][0]["resources"];
        assert_eq!(*listed, json!([pattern]));
    }
}

/// An empty list would look like a principal without permissions.
#[test]
fn a_principal_that_the_store_does_not_know_is_told() {
    let read = json!([{"Effect": "Allow", "Action": "docs:Read", "Resource": "*"}]);
    let root = store(&[("users/ann.json", entity(read, json!({})))]);
    for (name, told) in [
        (
            "user/Ann",
            "did you mean `arn:aws:iam::111122223333:user/ann`?",
        ),
        (
            "user/bob",
            "does not know `arn:aws:iam::111122223333:user/bob`",
        ),
        ("user/ann", ""),
    ] {
        let principal = format!("arn:aws:iam::111122223333:{name}");
        let mut command = iamd(["list", "permissions", "--principal", &principal, "--store"]);
        let output = command.arg(root.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.stdout.is_empty(), !told.is_empty(), "{name}");
        assert!(stderr.contains(told), "{name}: {stderr}");
        assert_eq!(stderr.is_empty(), told.is_empty(), "{name}: {stderr}");
    }
}
