//! I-2 to I-4: a change that only restricts never turns a deny into an allow.

use serde_json::{Value as Json, json};

use super::{Case, Files, each_world, is_allowed, load_world};
use crate::worlds::{self, Kind, Random};

/// I-2, I-3, I-4: none of these changes turns a deny into an allow.
#[test]
fn changes_that_only_restrict_never_allow() {
    let mut n_tried = [0; 7];
    each_world(|case, random| {
        let changes = [
            add_deny,
            remove_allow,
            add_boundary,
            add_resource_control,
            add_service_control_without_allow,
            add_identity_policy_without_allow,
            add_resource_policy_without_allow,
        ];
        for (n_tried, change) in n_tried.iter_mut().zip(changes) {
            let mut files = case.world.files.clone();
            let Some(what) = change(&mut files, random) else {
                continue;
            };
            restricts(case, &case.world.files, &files, &what);
            *n_tried += 1;
        }
    });
    assert!(n_tried.iter().all(|n| *n > 0), "{n_tried:?}");
}

/// I-4: the first service control policies of the organization, on all levels at once (E-31), only restrict.
#[test]
fn the_first_service_control_policies_never_allow() {
    let mut n_tried = 0;
    each_world(|case, random| {
        let mut with = case.world.files.clone();
        let Some(organization) = with.get_mut("organization.json") else {
            return;
        };
        let mut without = case.world.files.clone();
        for_each_node(
            &mut without.get_mut("organization.json").unwrap()["Root"],
            &mut |node| {
                node.as_object_mut()
                    .unwrap()
                    .remove("ServiceControlPolicies");
            },
        );
        for_each_node(&mut organization["Root"], &mut |node| {
            let name = format!("s{}", random.below(3));
            node["ServiceControlPolicies"] = match random.chance(50) {
                true => json!([name]),
                false => json!([name, "FullAWSAccess"]),
            };
        });
        restricts(case, &without, &with, "the first SCPs");
        n_tried += 1;
    });
    assert!(n_tried > 0, "some worlds have an organization");
}

/// I-4: the first session policy of a session only restricts, except for federated users (E-49). The other exception,
/// the task policy of a root user (T-12), cannot be written inline.
#[test]
fn a_first_session_policy_never_allows() {
    each_world(|case, random| {
        let mut n_tried = 0;
        for mut question in case.questions() {
            let is_federated = question.principal.contains("federated-user/");
            let before = is_allowed(&case.snapshot, &question);
            let policy = random.pick(&case.world.session_documents).clone();
            let Some(facts) = &mut question.session else {
                continue;
            };
            if !is_federated && facts.policies.is_empty() && facts.policy_arns.is_empty() {
                facts.policies.push(policy);
                n_tried += 1;
                assert!(
                    before || !is_allowed(&case.snapshot, &question),
                    "{question:?}"
                );
            }
        }
        assert!(n_tried > 0, "sessions without policies are asked about");
    });
}

/// I-4: a further session policy may allow more (E-47), but not if it has no Allow.
#[test]
fn a_session_policy_without_an_allow_never_allows() {
    each_world(|case, random| {
        let mut n_tried = 0;
        for mut question in case.questions() {
            let before = is_allowed(&case.snapshot, &question);
            let Some(facts) = &mut question.session else {
                continue;
            };
            if facts.policies.is_empty() {
                continue;
            }
            let policy = without_allow(random, Kind::Session);
            facts.policies.push(policy.to_string());
            n_tried += 1;
            assert!(
                before || !is_allowed(&case.snapshot, &question),
                "{question:?}"
            );
        }
        assert!(n_tried > 0, "sessions with policies are asked about");
    });
}

/// Checks that a question that is denied without the change is denied with it.
fn restricts(case: &Case, before: &Files, after: &Files, what: &str) {
    let (before, after) = (load_world(before), load_world(after));
    for question in case.questions() {
        if !is_allowed(&before, &question) && is_allowed(&after, &question) {
            panic!("world {}: {what} allows {question:?}", case.seed);
        }
    }
}

/// Changes the root, every unit and every account of the organization.
fn for_each_node(node: &mut Json, change: &mut impl FnMut(&mut Json)) {
    change(node);
    for below in ["OrganizationalUnits", "Accounts"] {
        let nodes = node.get_mut(below).and_then(Json::as_array_mut);
        for node in nodes.into_iter().flatten() {
            for_each_node(node, change);
        }
    }
}

/// Returns a document with only Deny statements.
fn without_allow(random: &mut Random, kind: Kind) -> Json {
    loop {
        let mut document = worlds::document(random, kind);
        let mut lists = Vec::new();
        worlds::statement_lists(&mut document, &mut lists);
        for list in lists {
            let statements = list.as_array_mut().unwrap();
            statements.retain(|statement| statement["Effect"] == "Deny");
            if !statements.is_empty() {
                return document;
            }
        }
    }
}

/// Returns one of the lists of statements of a file that has any.
fn any_statements<'f>(files: &'f mut Files, random: &mut Random) -> Option<(String, &'f mut Json)> {
    let mut lists = Vec::new();
    for (path, json) in files {
        let mut found = Vec::new();
        worlds::statement_lists(json, &mut found);
        lists.extend(found.into_iter().map(|list| (path.clone(), list)));
    }
    let index = random.below(lists.len());
    Some(lists.swap_remove(index))
}

fn add_deny(files: &mut Files, random: &mut Random) -> Option<String> {
    let (path, list) = any_statements(files, random)?;
    let mut statement = random.pick(list.as_array()?).clone();
    // A short pattern is allowed in only one of the two positions (M-12).
    if statement.get("NotResource").is_some() {
        return None;
    }
    statement["Effect"] = json!("Deny");
    let members = statement.as_object_mut()?;
    members.remove("Sid");
    members.remove("Condition");
    let what = format!("{statement} in {path}");
    list.as_array_mut()?.push(statement);
    Some(what)
}

fn remove_allow(files: &mut Files, random: &mut Random) -> Option<String> {
    let (path, list) = any_statements(files, random)?;
    let list = list.as_array_mut().filter(|list| list.len() > 1)?;
    let index = list
        .iter()
        .position(|statement| statement["Effect"] == "Allow")?;
    Some(format!("{path} without {}", list.remove(index)))
}

fn add_boundary(files: &mut Files, random: &mut Random) -> Option<String> {
    let arn = format!("arn:aws:iam::aws:policy/P{}", random.below(3));
    let is_entity = |path: &&String| path.contains("users/") || path.contains("roles/");
    let paths: Vec<String> = files.keys().filter(is_entity).cloned().collect();
    let path = random.pick(&paths);
    let entity = files.get_mut(path)?;
    if entity.get("PermissionsBoundary").is_some() {
        return None;
    }
    entity["PermissionsBoundary"] = json!({"PermissionsBoundaryArn": arn});
    Some(format!("boundary {arn} of {path}"))
}

fn add_resource_control(files: &mut Files, random: &mut Random) -> Option<String> {
    let name = format!("c{}", random.below(3));
    let root = &mut files.get_mut("organization.json")?["Root"];
    let list = root.get_mut("ResourceControlPolicies")?.as_array_mut()?;
    if !list.contains(&json!(name)) {
        list.push(json!(name));
    }
    Some(format!("RCP {name}"))
}

fn add_service_control_without_allow(files: &mut Files, random: &mut Random) -> Option<String> {
    let nodes = &mut files.get_mut("organization.json")?["Root"];
    nodes.get("ServiceControlPolicies")?;
    let mut chosen = random.below(5);
    let mut place = String::new();
    for_each_node(nodes, &mut |node| {
        if chosen == 0 {
            place = node["Id"].to_string();
            let list = node["ServiceControlPolicies"].as_array_mut().unwrap();
            list.push(json!("denies"));
        }
        chosen = chosen.wrapping_sub(1);
    });
    let document = without_allow(random, Kind::ServiceControl);
    let what = format!("SCP {document} of {place}");
    files.insert("service-control-policies/denies.json".into(), document);
    Some(what)
}

fn add_identity_policy_without_allow(files: &mut Files, random: &mut Random) -> Option<String> {
    let lists = [
        ("users/", "UserPolicyList"),
        ("roles/", "RolePolicyList"),
        ("groups/", "GroupPolicyList"),
    ];
    let (folder, list) = *random.pick(&lists);
    let paths: Vec<String> = files
        .keys()
        .filter(|path| path.contains(folder))
        .cloned()
        .collect();
    let path = random.pick(&paths);
    let document = without_allow(random, Kind::Identity);
    let what = format!("{document} in {path}");
    let list = files.get_mut(path)?[list].as_array_mut()?;
    list.push(json!({"PolicyName": "denies", "PolicyDocument": document}));
    Some(what)
}

/// Adds a policy to a scope that the same account already covers, because a policy that covers a resource determines
/// its owner (E-6).
fn add_resource_policy_without_allow(files: &mut Files, random: &mut Random) -> Option<String> {
    let of_policies = |path: &&String| path.contains("resource-policies/");
    let paths: Vec<String> = files.keys().filter(of_policies).cloned().collect();
    let path = random.pick(&paths);
    let document = without_allow(random, Kind::Resource);
    let what = format!("{document} beside {path}");
    let file = json!({"Resource": files[path]["Resource"], "Policy": document});
    files.insert(path.replace(".json", "-denies.json"), file);
    Some(what)
}
