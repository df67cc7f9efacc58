//! Checks a file outside of a store: `iamd validate FILE`.

use std::sync::Arc;

use super::{DUMP_LISTS, Folder, Owner, Reader, Reading, account, output, policy, with_json};
use crate::language::document::PolicyType;
use crate::language::finding::Finding;
use crate::language::json::Node;
use crate::language::parse;
use crate::language::report::Report;
use crate::name::AccountId;
use crate::store::place::{Kind, Place};

/// The owner of a file on its own. Nothing tells who owns it, and no check needs to know.
const OF_NOBODY: Owner<'static> = Owner {
    id: None,
    partition: "aws",
    is_broken: true,
};

/// Returns every finding about one file outside of a store. Its members tell what it holds, or else the folder that it
/// is in.
pub fn lone_file(path: &Arc<str>, bytes: &[u8], folder: Option<Kind>) -> Vec<Finding> {
    with_json(path, bytes, |node, report| {
        let mut place = Place::of(path);
        place.iam_path = "/".to_owned();
        place.account_folder = None;
        // A document may be checked in any folder.
        let guess = match node.member("Statement") {
            Some(_) => None,
            None => folder.or_else(|| kind_of(node)),
        };
        let guess = guess.unwrap_or(Kind::Elsewhere);
        if output::is_refused(node, guess, report) {
            return;
        }
        let is_dump = DUMP_LISTS.iter().any(|list| node.member(list).is_some());
        let is_document = node.member("Statement").is_some();
        let kind = match (kind_of(node), folder) {
            (Some(Kind::ServiceControlPolicy), Some(kind @ Kind::ResourceControlPolicy)) => {
                Some(kind)
            }
            (Some(kind), _) => Some(kind),
            (None, Some(Kind::User | Kind::Group | Kind::Role | Kind::ResourcePolicy))
                if is_document =>
            {
                None
            }
            (None, folder) => folder,
        };
        place.kind = match kind {
            Some(kind) => kind,
            None => return guessed_document(node, report),
        };
        let mut reader = Reader::default();
        let owner = OF_NOBODY;
        if place.kind == Kind::Account {
            // Any id will do for a folder's account, because a file on its own need not name it.
            let folder = Folder {
                id: account_id_in(node),
            };
            account::account(
                node,
                &folder,
                None,
                &mut Reading {
                    report,
                    place: &place,
                    owner,
                    is_dump,
                },
            );
            return;
        }
        let mut reading = Reading {
            report,
            place: &place,
            owner,
            is_dump,
        };
        if is_dump {
            reader.dump(node, &mut reading)
        } else {
            reader.one(node, &mut reading)
        }
    })
}

fn account_id_in(node: &Node<'_>) -> Option<AccountId> {
    let text = node
        .member("AccountId")
        .map_or(Some("account"), |member| member.value.as_str());
    text.and_then(|text| AccountId::parse(text).ok())
}

/// Returns the kind of a file outside of a store's folders, by its members. Returns `None` for a policy document.
fn kind_of(node: &Node<'_>) -> Option<Kind> {
    let has = |names: &[&str]| names.iter().any(|name| node.member(name).is_some());
    if has(&["Statement"]) {
        return None;
    }
    let table: [(&[&str], Kind); 8] = [
        (&DUMP_LISTS, Kind::Elsewhere),
        (
            &["UserName", "UserId", "UserPolicyList", "GroupList"],
            Kind::User,
        ),
        (&["GroupName", "GroupId", "GroupPolicyList"], Kind::Group),
        (
            &[
                "RoleName",
                "RoleId",
                "RolePolicyList",
                "AssumeRolePolicyDocument",
            ],
            Kind::Role,
        ),
        (
            &[
                "PolicyName",
                "PolicyVersionList",
                "PolicyVersion",
                "DefaultVersionId",
            ],
            Kind::ManagedPolicy,
        ),
        (
            &["Resource", "ResourcePolicyRequired"],
            Kind::ResourcePolicy,
        ),
        (&["ManagementAccountId", "Root"], Kind::Organization),
        (&["AccountId"], Kind::Account),
    ];
    if let Some((_, kind)) = table.into_iter().find(|(names, _)| has(names)) {
        return Some(kind);
    }
    let described = &node.member("Policy")?.value;
    if described.as_str().is_some() {
        return Some(Kind::ResourcePolicy);
    }
    let policy_type = described
        .member("PolicySummary")
        .and_then(|summary| summary.value.member("Type"));
    match policy_type.and_then(|member| member.value.as_str()) {
        Some("RESOURCE_CONTROL_POLICY") => Some(Kind::ResourceControlPolicy),
        _ => Some(Kind::ServiceControlPolicy),
    }
}

/// Returns every finding about a policy document of a known type, bare or as AWS wraps it.
pub fn lone_document(path: &Arc<str>, bytes: &[u8], policy_type: PolicyType) -> Vec<Finding> {
    with_json(path, bytes, |node, report| {
        let place = Place::of(path);
        let mut reading = Reading {
            report,
            place: &place,
            owner: OF_NOBODY,
            is_dump: false,
        };
        let is_wrapped = node.member("Policy").is_some();
        match policy_type {
            PolicyType::ServiceControl | PolicyType::ResourceControl => {
                policy::control_policy(node, policy_type, &mut reading);
            }
            PolicyType::Resource if is_wrapped => {
                policy::resource_policy(node, &mut reading);
            }
            _ => {
                let printed = node
                    .member("PolicyVersion")
                    .and_then(|version| version.value.member("Document"));
                let document = printed.map_or(node, |document| &document.value);
                parse::document(document, policy_type, reading.report);
            }
        }
    })
}

/// Checks a bare document as an identity-based policy, or as a resource-based one if a statement names principals. If
/// no statement names resources either, it is checked as a trust policy.
fn guessed_document(node: &Node<'_>, report: &mut Report<'_>) {
    let statements = node
        .member("Statement")
        .map(|member| member.value.one_or_many())
        .unwrap_or_default();
    let any_has = |names: [&str; 2]| {
        let has = |statement: &Node<'_>| names.iter().any(|name| statement.member(name).is_some());
        statements.iter().any(has)
    };
    let names_resources = any_has(["Resource", "NotResource"]);
    let is_of_roles = |action: &Node<'_>| {
        let service = action.as_str().and_then(|action| action.get(..4));
        service.is_some_and(|service| service.eq_ignore_ascii_case("sts:"))
    };
    let asks_roles = |statement: &Node<'_>| {
        let actions = statement
            .member("Action")
            .map(|member| member.value.one_or_many());
        actions.is_some_and(|actions| actions.iter().all(is_of_roles))
    };
    let policy_type = match any_has(["Principal", "NotPrincipal"]) {
        false => PolicyType::Identity,
        true if !names_resources && statements.iter().all(asks_roles) => PolicyType::Trust,
        true => PolicyType::Resource,
    };
    parse::document(node, policy_type, report);
}
