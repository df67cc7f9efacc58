//! A file outside of a store: `iamd validate FILE`.

use std::sync::Arc;

use super::{DUMP_LISTS, Folder, Owner, Reader, Reading, account, with_json};
use crate::language::document::PolicyType;
use crate::language::finding::Finding;
use crate::language::json::Node;
use crate::language::parse;
use crate::language::report::Report;
use crate::name::AccountId;
use crate::store::place::{Kind, Place};

/// Every finding about one file on its own, outside of a store. Its members tell what it holds; where they don't, the
/// folder that it stands in.
pub fn lone_file(path: &Arc<str>, bytes: &[u8], folder: Option<Kind>) -> Vec<Finding> {
    with_json(path, bytes, |node, report| {
        let mut place = Place::of(path);
        place.iam_path = "/".to_owned();
        place.account_folder = None;
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
            None => return lone_document(node, report),
        };
        let mut reader = Reader::default();
        // Whose it is, nothing can say here, and nobody asks.
        let owner = Owner {
            id: None,
            partition: "aws",
            is_broken: true,
        };
        if place.kind == Kind::Account {
            // Any id will do for a folder's account: the file alone need not name it.
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

/// What a file outside of a store's folders holds, by its members; none for a policy document.
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
            &["PolicyName", "PolicyVersionList", "DefaultVersionId"],
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
    let policy_type = described
        .member("PolicySummary")
        .and_then(|summary| summary.value.member("Type"));
    match policy_type.and_then(|member| member.value.as_str()) {
        Some("RESOURCE_CONTROL_POLICY") => Some(Kind::ResourceControlPolicy),
        _ => Some(Kind::ServiceControlPolicy),
    }
}

/// A bare document: identity-based, or resource-based if a statement names principals.
fn lone_document(node: &Node<'_>, report: &mut Report<'_>) {
    let statements = node
        .member("Statement")
        .map(|member| member.value.one_or_many())
        .unwrap_or_default();
    let names_principals = |statement: &Node<'_>| {
        statement
            .member("Principal")
            .or(statement.member("NotPrincipal"))
            .is_some()
    };
    let policy_type = if statements.iter().any(names_principals) {
        PolicyType::Resource
    } else {
        PolicyType::Identity
    };
    parse::document(node, policy_type, report);
}
