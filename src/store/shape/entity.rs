//! Reads users, groups and roles, in the shapes of AWS's detail lists, and the members that all entities share.

use std::ops::Range;

use super::Reading;
use super::members::{Given, Members, string};
use crate::language::document::{PolicyType, Position};
use crate::language::finding::Code;
use crate::language::json::{Node, Value};
use crate::language::parse;
use crate::language::report::Report;
use crate::name::{AccountId, Arn, is_entity_name};
use crate::world::entity::{Group, Identity, InlinePolicy, Reference, Role, Tags, User};

/// How a kind of entity is named in its file and in its ARN.
pub struct Naming {
    /// The kind's name in messages: `the user`.
    pub what: &'static str,
    /// The first part of the ARN's resource: `user`.
    pub resource: &'static str,
    /// The member with its name: `UserName`.
    pub name: &'static str,
    /// The member with its unique id: `UserId`.
    pub id: &'static str,
    /// The longest name that AWS accepts, in characters (G-39).
    pub max_name: usize,
}

/// The longest path that AWS accepts.
const MAX_PATH: usize = 512;

const USER: Naming = Naming {
    what: "the user",
    resource: "user",
    name: "UserName",
    id: "UserId",
    max_name: 64,
};
const GROUP: Naming = Naming {
    what: "the group",
    resource: "group",
    name: "GroupName",
    id: "GroupId",
    max_name: 128,
};
const ROLE: Naming = Naming {
    what: "the role",
    resource: "role",
    name: "RoleName",
    id: "RoleId",
    max_name: 64,
};

/// Reads one entry of `UserDetailList`.
pub fn user(node: &Node<'_>, reading: &mut Reading<'_, '_>) -> Option<User> {
    let read = [
        "UserName",
        "Path",
        "Arn",
        "UserId",
        "GroupList",
        "AttachedManagedPolicies",
        "UserPolicyList",
        "PermissionsBoundary",
        "Tags",
        "Disabled",
    ];
    let members = Members::of(
        node,
        USER.what,
        &read,
        &["CreateDate", "PasswordLastUsed"],
        reading.report,
    )?;
    let identity = identity(&USER, &members, reading);
    let report = &mut *reading.report;
    let mut groups = Vec::new();
    for (index, node) in (0..).zip(members.list("GroupList", report)) {
        if let Some(name) = string(node, "GroupList", report) {
            groups.push(reference(name, index, node, report));
        }
    }
    let attached = attached(&members, report);
    let inline = inline(&members, "UserPolicyList", report);
    let permissions_boundary = permissions_boundary(&members, report);
    let tags = tags(&members, report);
    let disabled = members.flag("Disabled", report);
    Some(User {
        identity: identity?,
        groups: groups.into(),
        attached,
        inline,
        permissions_boundary,
        tags,
        disabled,
    })
}

/// Reads one entry of `GroupDetailList`.
pub fn group(node: &Node<'_>, reading: &mut Reading<'_, '_>) -> Option<Group> {
    let read = [
        "GroupName",
        "Path",
        "Arn",
        "GroupId",
        "AttachedManagedPolicies",
        "GroupPolicyList",
    ];
    let members = Members::of(node, GROUP.what, &read, &["CreateDate"], reading.report)?;
    let identity = identity(&GROUP, &members, reading);
    let report = &mut *reading.report;
    let attached = attached(&members, report);
    let inline = inline(&members, "GroupPolicyList", report);
    Some(Group {
        identity: identity?,
        attached,
        inline,
    })
}

/// Reads one entry of `RoleDetailList`.
pub fn role(node: &Node<'_>, reading: &mut Reading<'_, '_>) -> Option<Role> {
    let read = [
        "RoleName",
        "Path",
        "Arn",
        "RoleId",
        "AssumeRolePolicyDocument",
        "AttachedManagedPolicies",
        "RolePolicyList",
        "PermissionsBoundary",
        "Tags",
        "MaxSessionDuration",
        "Disabled",
        "ServiceLinked",
    ];
    let unread = [
        "CreateDate",
        "Description",
        "InstanceProfileList",
        "RoleLastUsed",
    ];
    let members = Members::of(node, ROLE.what, &read, &unread, reading.report)?;
    let identity = identity(&ROLE, &members, reading);
    let report = &mut *reading.report;
    let trust = members.required("AssumeRolePolicyDocument", ROLE.what, report);
    let trust = trust.and_then(|node| parse::document(node, PolicyType::Trust, report));
    let attached = attached(&members, report);
    let inline = inline(&members, "RolePolicyList", report);
    let permissions_boundary = permissions_boundary(&members, report);
    let tags = tags(&members, report);
    let disabled = members.flag("Disabled", report);
    let service_linked = members.flag("ServiceLinked", report);
    let max_session_duration = max_session_duration(&members, report);
    Some(Role {
        identity: identity?,
        trust: trust?,
        attached,
        inline,
        permissions_boundary,
        tags,
        disabled,
        service_linked,
        max_session_duration,
    })
}

/// Returns the longest session, from one hour to twelve. The default is one hour (T-31).
fn max_session_duration(members: &Members<'_, '_>, report: &mut Report<'_>) -> u32 {
    const DEFAULT: u32 = 3_600;
    let Some(node) = members.get("MaxSessionDuration") else {
        return DEFAULT;
    };
    let seconds = match node.value {
        Value::Number(text) => text
            .parse()
            .ok()
            .filter(|seconds| (3_600..=43_200).contains(seconds)),
        _ => None,
    };
    if seconds.is_none() {
        report.error(
            Code::INVALID_VALUE,
            &node.span,
            "`MaxSessionDuration` must be a number of seconds from 3600 to 43200",
        );
    }
    seconds.unwrap_or(DEFAULT)
}

/// The parts of an entity's ARN.
struct ArnParts {
    arn: Arn,
    account: AccountId,
    path: String,
    name: String,
}

/// Determines name, path, account and ARN from the file's members, or else from its place. Values that are given twice
/// must agree.
pub fn identity(
    naming: &Naming,
    members: &Members<'_, '_>,
    reading: &mut Reading<'_, '_>,
) -> Option<Identity> {
    let report = &mut *reading.report;
    let n_errors = report.n_errors();
    let arn = members.text("Arn", report);
    let parts = arn.and_then(|(text, node)| arn_parts(naming, text, node, report));
    let name_member = members.text(naming.name, report);
    let path_member = members.text("Path", report);
    let unique_id = members.text(naming.id, report);

    let name = match (name_member, &parts) {
        (Some((name, _)), _) => name,
        (None, Some(parts)) => &parts.name,
        (None, None) if !reading.is_dump => reading.place.stem,
        (None, None) => {
            report_missing_name(naming, arn, members, report);
            return None;
        }
    };
    let default_path = if reading.is_dump {
        "/"
    } else {
        reading.place.iam_path.as_str()
    };
    let path = match (path_member, &parts) {
        (Some((path, _)), _) => path,
        (None, Some(parts)) => &parts.path,
        (None, None) => default_path,
    };
    let span_of = |member: Given<'_, '_>| {
        member
            .map_or(&members.node.span, |(_, node)| &node.span)
            .clone()
    };
    let spans = (&span_of(name_member), &span_of(path_member));
    check_name_and_path(naming, (name, path), spans, report);
    if let (Some(arn), Some(parts)) = (arn, &parts) {
        check_arn(naming, arn, parts, (name, path), report);
    }
    let at = report.location(&members.node.span);
    let account = account_of(naming, name, arn, parts.as_ref(), members, reading)?;
    let report = &mut *reading.report;
    let arn = match parts {
        Some(parts) => parts.arn,
        None => Arn::parse(&format!(
            "arn:{}:iam::{account}:{}{path}{name}",
            reading.owner.partition, naming.resource
        ))
        .ok()?,
    };
    if report.n_errors() > n_errors {
        return None;
    }
    let unique_id = unique_id.map(|(text, _)| text.into());
    Some(Identity {
        arn,
        account,
        unique_id,
        at,
    })
}

/// Reports that nothing names the entity, unless what should name it has a finding of its own.
fn report_missing_name(
    naming: &Naming,
    arn: Given<'_, '_>,
    members: &Members<'_, '_>,
    report: &mut Report<'_>,
) {
    if arn.is_none() && members.get(naming.name).is_none() {
        report.error(
            Code::MISSING_MEMBER,
            &members.node.span,
            format!("{} needs the member `{}`", naming.what, naming.name),
        );
    }
}

/// Checks that AWS would accept the name and the path. Findings point to where they are given.
fn check_name_and_path(
    naming: &Naming,
    (name, path): (&str, &str),
    (name_span, path_span): (&Range<usize>, &Range<usize>),
    report: &mut Report<'_>,
) {
    if !is_entity_name(name) {
        report.error(
            Code::INVALID_NAME,
            name_span,
            format!("the name `{name}` must be made of letters, digits and `_+=,.@-`"),
        );
    }
    if !is_path(path) {
        let message = format!(
            "the path `{path}` must be `/`, or begin and end with `/` and contain no blanks"
        );
        report.error(Code::INVALID_NAME, path_span, message);
    }
    for (what, text, max) in [("name", name, naming.max_name), ("path", path, MAX_PATH)] {
        if text.len() > max {
            let message = format!(
                "a {what} of {} characters is longer than the {max} that AWS allows",
                text.len()
            );
            report.warning(Code::AWS_QUOTA, name_span, message);
        }
    }
}

/// Checks that an ARN with these parts agrees with the name and the path.
fn check_arn(
    naming: &Naming,
    (text, node): (&str, &Node<'_>),
    parts: &ArnParts,
    (name, path): (&str, &str),
    report: &mut Report<'_>,
) {
    if parts.name != name {
        let message = format!(
            "`{text}` names `{}`, and `{}` is `{name}`",
            parts.name, naming.name
        );
        report
            .error(Code::CONTRADICTION, &node.span, message)
            .help("make both the same");
    }
    if parts.path != path {
        let message = format!(
            "`{text}` has the path `{}`, and `Path` is `{path}`",
            parts.path
        );
        report
            .error(Code::CONTRADICTION, &node.span, message)
            .help("make both the same");
    }
}

/// Returns the account from the ARN, or else from the place. Returns `None` if neither names one, or if they differ.
fn account_of(
    naming: &Naming,
    name: &str,
    arn: Given<'_, '_>,
    parts: Option<&ArnParts>,
    members: &Members<'_, '_>,
    reading: &mut Reading<'_, '_>,
) -> Option<AccountId> {
    let account = match (parts, reading.owner.id) {
        (Some(parts), Some(owner_id))
            if parts.account != *owner_id && !reading.may_belong_to(&parts.account) =>
        {
            if let Some((text, node)) = arn {
                let message = format!(
                    "`{text}` belongs to account `{}`, and this place to `{owner_id}`",
                    parts.account
                );
                reading
                    .report
                    .error(Code::CONTRADICTION, &node.span, message)
                    .help(format!(
                        "move it below `accounts/{}/`, or leave `Arn` out",
                        parts.account
                    ));
            }
            return None;
        }
        (Some(parts), _) => parts.account.clone(),
        (None, Some(id)) => id.clone(),
        (None, None) => {
            if arn.is_none() && !reading.owner.is_broken {
                let message = format!(
                    "nothing says which account {} `{name}` belongs to",
                    naming.what
                );
                reading.report.error(Code::UNKNOWN_ACCOUNT, &members.node.span, message).help(
                    "put an `account.json` with an `AccountId` into the store's root, or give the `Arn`",
                );
            }
            return None;
        }
    };
    if account.is_aws() && naming.resource != "policy" {
        let message = format!(
            "{} `{name}` cannot belong to `aws`, which owns managed policies only",
            naming.what
        );
        let report = &mut *reading.report;
        report
            .error(Code::INVALID_VALUE, &members.node.span, message)
            .help("move it to the account that it belongs to");
    }
    Some(account)
}

fn arn_parts(
    naming: &Naming,
    text: &str,
    node: &Node<'_>,
    report: &mut Report<'_>,
) -> Option<ArnParts> {
    let parts = Arn::parse(text).ok().and_then(|arn| {
        let account = AccountId::parse(arn.account()).ok()?;
        let below = arn
            .resource()
            .strip_prefix(naming.resource)
            .filter(|rest| rest.starts_with('/'))?;
        let (path, name) = below.rsplit_once('/')?;
        let (path, name) = (format!("{path}/"), name.to_owned());
        let fits = arn.service() == "iam" && arn.region().is_empty() && !name.is_empty();
        fits.then_some(ArnParts {
            account,
            path,
            name,
            arn,
        })
    });
    if parts.is_none() {
        let message = format!(
            "`{text}` is not an ARN of the form `arn:PARTITION:iam::ACCOUNT:{}/PATH/NAME`, as {} has it",
            naming.resource, naming.what
        );
        report.error(Code::INVALID_VALUE, &node.span, message);
    }
    parts
}

/// Returns whether `path` is an IAM path: `/`, or printable ASCII between two slashes.
fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.ends_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns the reference to `to` at `node`, which is in the element of this index.
fn reference(to: &str, index: u32, node: &Node<'_>, report: &Report<'_>) -> Reference {
    let Position { line, column } = report.position(node.span.start);
    Reference {
        to: to.into(),
        line,
        column,
        index,
    }
}

/// Reads `AttachedManagedPolicies`.
fn attached(members: &Members<'_, '_>, report: &mut Report<'_>) -> Box<[Reference]> {
    let mut references = Vec::new();
    for (index, node) in (0..).zip(members.list("AttachedManagedPolicies", report)) {
        let what = "an attached policy";
        let Some(policy) = Members::of(node, what, &["PolicyName", "PolicyArn"], &[], report)
        else {
            continue;
        };
        let name = policy.text("PolicyName", report);
        let Some((arn, arn_node)) = policy.required_text("PolicyArn", what, report) else {
            continue;
        };
        if let Some((name, _)) = name
            && arn.rsplit('/').next() != Some(name)
        {
            let message = format!("`PolicyArn` is `{arn}`, and `PolicyName` is `{name}`");
            report
                .error(Code::CONTRADICTION, &arn_node.span, message)
                .help("make both name the same policy, or remove `PolicyName`");
        }
        references.push(reference(arn, index, arn_node, report));
    }
    references.into()
}

/// Reads `PermissionsBoundary`.
fn permissions_boundary(
    members: &Members<'_, '_>,
    report: &mut Report<'_>,
) -> Option<Box<Reference>> {
    let what = "the permissions boundary";
    let node = members.get("PermissionsBoundary")?;
    let read = ["PermissionsBoundaryArn", "PermissionsBoundaryType"];
    let members = Members::of(node, what, &read, &[], report)?;
    // The API prints `PermissionsBoundaryPolicy`, but its documentation says `Policy`. There are no other types.
    if let Some((text, node)) = members.text("PermissionsBoundaryType", report)
        && !matches!(text, "Policy" | "PermissionsBoundaryPolicy")
    {
        let message = format!("`PermissionsBoundaryType` must be `Policy`, not `{text}`");
        report
            .error(Code::INVALID_VALUE, &node.span, message)
            .help("write `Policy`, or remove `PermissionsBoundaryType`");
    }
    let (arn, node) = members.required_text("PermissionsBoundaryArn", what, report)?;
    Some(Box::new(reference(arn, 0, node, report)))
}

/// Reads the inline policies in `list`. Each name may occur once.
fn inline(members: &Members<'_, '_>, list: &str, report: &mut Report<'_>) -> Box<[InlinePolicy]> {
    let mut policies: Vec<InlinePolicy> = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    for node in members.list(list, report) {
        let what = "an inline policy";
        let Some(policy) = Members::of(node, what, &["PolicyName", "PolicyDocument"], &[], report)
        else {
            continue;
        };
        let name = policy.required_text("PolicyName", what, report);
        if let Some((name, node)) = name {
            if !is_entity_name(name) {
                let message =
                    format!("the name `{name}` must be made of letters, digits and `_+=,.@-`");
                report.error(Code::INVALID_NAME, &node.span, message);
            }
            if !names.insert(name) {
                report
                    .error(
                        Code::DUPLICATE_ENTITY,
                        &node.span,
                        format!("inline policy `{name}` is defined twice"),
                    )
                    .help("rename it, or remove one of the two");
            }
        }
        let document = policy.required("PolicyDocument", what, report);
        let document =
            document.and_then(|node| parse::document(node, PolicyType::Identity, report));
        if let (Some((name, _)), Some(document)) = (name, document) {
            policies.push(InlinePolicy {
                name: name.into(),
                document,
            });
        }
    }
    policies.into()
}

/// Reads `Tags`. Keys are unique ignoring case.
pub fn tags(members: &Members<'_, '_>, report: &mut Report<'_>) -> Tags {
    let mut tags = Vec::new();
    let mut keys = std::collections::BTreeSet::new();
    for node in members.list("Tags", report) {
        let Some(tag) = Members::of(node, "a tag", &["Key", "Value"], &[], report) else {
            continue;
        };
        let key = tag.required_text("Key", "a tag", report);
        let value = tag.required_text("Value", "a tag", report);
        let (Some((key, key_node)), Some((value, _))) = (key, value) else {
            continue;
        };
        if key.is_empty() {
            report
                .error(
                    Code::EMPTY_STRING,
                    &key_node.span,
                    "the key of a tag is empty",
                )
                .help("write a key, or remove the tag");
        }
        if !keys.insert(key.to_lowercase()) {
            report
                .error(
                    Code::DUPLICATE_TAG,
                    &key_node.span,
                    format!("the tag `{key}` appears twice, ignoring case"),
                )
                .help("remove one of them");
        }
        tags.push((key.into(), value.into()));
    }
    let max_tags = 50;
    if tags.len() > max_tags
        && let Some(node) = members.get("Tags")
    {
        let message = format!(
            "{} tags are more than the {max_tags} that AWS allows",
            tags.len()
        );
        report.warning(Code::AWS_QUOTA, &node.span, message);
    }
    tags.into()
}
