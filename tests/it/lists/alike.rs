//! Principals that share a policy: what tells them apart must show, and nothing else is worked out twice.

use serde_json::{Value, json};

use super::{access, document, json_of, store, trusting};

const READING: &str = "arn:aws:iam::111122223333:policy/Reading";
const OTHER: &str = "arn:aws:iam::111122223333:policy/Other";
const DOCUMENT: &str = "arn:app:docs:::ann/1";

pub fn managed(name: &str, statements: Value) -> (String, Value) {
    let version =
        json!({"VersionId": "v1", "IsDefaultVersion": true, "Document": document(statements)});
    let policy = json!({"PolicyName": name, "Path": "/", "DefaultVersionId": "v1", "PolicyVersionList": [version]});
    (format!("managed-policies/{name}.json"), policy)
}

/// A user or role that has the policy `Reading`, and further members.
pub fn reader(mut members: Value) -> Value {
    members["AttachedManagedPolicies"] = json!([{"PolicyName": "Reading", "PolicyArn": READING}]);
    members
}

fn read(resource: &str, conditions: Value) -> Value {
    json!({"Effect": "Allow", "Action": "docs:Read", "Resource": resource, "Condition": conditions})
}

fn names(found: &[(String, bool)]) -> Vec<&str> {
    found.iter().map(|(name, _)| &**name).collect()
}

#[test]
fn principals_with_one_policy_have_the_access_that_it_gives_each_of_them() {
    let of_team = |user: &str, team: &str| {
        let conditions = json!({"StringEquals": {"aws:username": user, "app:team": team}});
        read("*", conditions)
    };
    let (path, policy) = managed(
        "Reading",
        json!([
            read("arn:app:docs:::${aws:username}/*", json!({})),
            of_team("bob", "docs"),
            of_team("dot", "sales"),
            read("*", json!({"StringEquals": {"app:team": "all"}})),
        ]),
    );
    let (other_path, other) = managed(
        "Other",
        json!([{"Effect": "Allow", "Action": "mail:Send", "Resource": "*"}]),
    );
    let boundary = json!({"PermissionsBoundary": {
        "PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": OTHER}});
    let root = store(&[
        (&*path, policy),
        (&*other_path, other),
        ("users/ann.json", reader(json!({}))),
        ("users/bob.json", reader(json!({}))),
        ("users/cem.json", reader(boundary)),
        ("users/dot.json", reader(json!({}))),
        ("users/eli.json", reader(json!({}))),
        ("users/fay.json", reader(json!({}))),
    ]);
    let arguments = [
        "principals",
        "--action",
        "docs:Read",
        "--resource",
        DOCUMENT,
    ];
    let found = json_of(&root, &arguments);
    let teams = |one: &Value| -> Vec<String> {
        let permissions = one["permissions"].as_array().unwrap().iter();
        let teams = permissions.map(|one| one["conditions"][0]["values"][0].to_string());
        teams.collect()
    };
    let found: Vec<(&str, &str, Vec<String>)> = found["principals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let arn = one["principal"].as_str().unwrap();
            let access = one["access"].as_str().unwrap();
            (arn.rsplit('/').next().unwrap(), access, teams(one))
        })
        .collect();
    let of =
        |teams: &[&str]| -> Vec<String> { teams.iter().map(|team| format!("{team:?}")).collect() };
    let conditional = "ACCESS_CONDITIONAL";
    let expected = [
        (
            "ann",
            "ACCESS_ALLOWED",
            vec!["null".to_owned(), "\"all\"".to_owned()],
        ),
        ("bob", conditional, of(&["docs", "all"])),
        ("dot", conditional, of(&["sales", "all"])),
        ("eli", conditional, of(&["all"])),
        ("fay", conditional, of(&["all"])),
    ];
    assert_eq!(found, expected);
}

/// A condition on the unique id holds for the sessions of one role, and no other role can have it.
#[test]
fn a_condition_that_names_one_role_lists_no_other_with_the_policy() {
    let of_one = json!({"StringEquals": {"aws:userid": "AROAEXAMPLEEXAMPLE01:admin"}});
    let (path, policy) = managed("Reading", json!([read("*", of_one)]));
    let role = |id: &str| {
        let mut members = trusting("*", json!({}));
        members["RoleId"] = json!(id);
        reader(members)
    };
    let root = store(&[
        (&*path, policy),
        ("roles/one.json", role("AROAEXAMPLEEXAMPLE01")),
        ("roles/two.json", role("AROAEXAMPLEEXAMPLE02")),
    ]);
    assert_eq!(names(&access(&root, "docs:Read", DOCUMENT)), ["one"]);
}
