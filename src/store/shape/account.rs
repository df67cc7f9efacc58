//! Reads `account.json`.

use super::members::Members;
use super::{Folder, Reading};
use crate::language::finding::Code;
use crate::language::json::Node;
use crate::name::AccountId;
use crate::world::entity::Account;

const MEMBERS: &[&str] = &[
    "AccountId",
    "Partition",
    "Alias",
    "RootUserEnabled",
    "AnonymousAllowed",
    "External",
    "TrustExternalIdentity",
    "CanonicalUserId",
];

/// Reads an `account.json` of `folder`. An account that names no partition gets `default_partition`.
pub fn account(
    node: &Node<'_>,
    folder: &Folder,
    default_partition: Option<&str>,
    reading: &mut Reading<'_, '_>,
) -> Option<Account> {
    let report = &mut *reading.report;
    let members = Members::of(node, "an account", MEMBERS, &[], report)?;
    let declared = match (&folder.id, members.get("AccountId")) {
        (Some(_), None) => None,
        _ => members.required_text("AccountId", "the account of the store's root", report),
    };
    let declared = declared.and_then(|(text, node)| match AccountId::parse(text) {
        Ok(id) => Some((id, node)),
        Err(malformed) => {
            report.error(Code::INVALID_VALUE, &node.span, malformed.to_string());
            None
        }
    });
    if let (Some(folder), Some((id, node))) = (&folder.id, &declared)
        && folder != id
    {
        let message = format!("`AccountId` is `{id}`, and the folder is `accounts/{folder}`");
        report
            .error(Code::CONTRADICTION, &node.span, message)
            .help("make both the same, or remove `AccountId`");
    }
    if let (None, Some((id, node))) = (&folder.id, &declared)
        && id.is_aws()
    {
        report
            .error(
                Code::INVALID_VALUE,
                &node.span,
                "`aws` is not one of your accounts: it owns the AWS-managed policies",
            )
            .help("put those into `accounts/aws/managed-policies/`");
    }
    let partition = members.text("Partition", report).filter(|(text, node)| {
        let fits = !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !fits {
            let message = format!("partition `{text}` must be a name such as `aws` or `aws-cn`");
            report.error(Code::INVALID_VALUE, &node.span, message);
        }
        fits
    });
    let alias = members.text("Alias", report);
    let canonical_user_id = members.text("CanonicalUserId", report);
    let id = folder.id.clone().or(declared.map(|(id, _)| id))?;
    Some(Account {
        id,
        partition: partition
            .map(|(text, _)| text)
            .or(default_partition)
            .unwrap_or("aws")
            .into(),
        alias: alias.map(|(text, _)| text.into()),
        root_user_enabled: members.flag("RootUserEnabled", report),
        anonymous_allowed: members.flag("AnonymousAllowed", report),
        external: members.flag("External", report),
        trust_external_identity: members.flag("TrustExternalIdentity", report),
        canonical_user_id: canonical_user_id.map(|(text, _)| text.into()),
        at: report.location(&node.span),
    })
}
