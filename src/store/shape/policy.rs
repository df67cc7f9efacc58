//! Reads managed policies, resource policies, SCPs and RCPs.

use std::collections::HashSet;

use super::Reading;
use super::entity::{Naming, identity, tags};
use super::members::{Given, Members};
use crate::language::document::{PolicyDocument, PolicyType};
use crate::language::finding::Code;
use crate::language::json::{self, Node, Value};
use crate::language::report::Report;
use crate::language::{lint, parse};
use crate::world::entity::{ManagedPolicy, PolicyVersion, ResourcePolicy};
use crate::world::organization::ControlPolicy;

const POLICY: Naming = Naming {
    what: "the managed policy",
    resource: "policy",
    name: "PolicyName",
    id: "PolicyId",
    max_name: 128,
};

/// How many versions of a policy AWS keeps.
const MAX_VERSIONS: usize = 5;

const ENTRY: &[&str] = &[
    "PolicyName",
    "Path",
    "Arn",
    "PolicyId",
    "DefaultVersionId",
    "PolicyVersionList",
    "Tags",
];
const ENTRY_UNREAD: &[&str] = &[
    "AttachmentCount",
    "PermissionsBoundaryUsageCount",
    "IsAttachable",
    "Description",
    "CreateDate",
    "UpdateDate",
];

/// Reads one entry of `Policies`, or a bare policy document.
pub fn managed_policy(node: &Node<'_>, reading: &mut Reading<'_, '_>) -> Option<ManagedPolicy> {
    if !reading.is_dump && node.member("PolicyVersion").is_some() {
        return printed_version(node, reading);
    }
    if !reading.is_dump && !is_entry(node) {
        return bare_managed_policy(node, reading);
    }
    let members = Members::of(node, POLICY.what, ENTRY, ENTRY_UNREAD, reading.report)?;
    let identity = identity(&POLICY, &members, reading);
    let report = &mut *reading.report;
    let tags = tags(&members, report);
    let versions = versions(&members, report);
    let (versions, default_version) = versions?;
    Some(ManagedPolicy {
        identity: identity?,
        versions: versions.into(),
        default_version,
        tags,
    })
}

/// Returns whether `node` is an entry of `Policies`: it has a member that documents do not have, and no `Statement`.
fn is_entry(node: &Node<'_>) -> bool {
    let has = |names: &[&str]| names.iter().any(|name| node.member(name).is_some());
    node.member("Statement").is_none() && (has(ENTRY) || has(ENTRY_UNREAD))
}

fn bare_managed_policy(node: &Node<'_>, reading: &mut Reading<'_, '_>) -> Option<ManagedPolicy> {
    let document = parse::document(node, PolicyType::Identity, reading.report);
    let empty = Node {
        span: node.span.clone(),
        value: Value::Object(Vec::new()),
    };
    let members = Members::of(&empty, POLICY.what, &[], &[], reading.report)?;
    let identity = identity(&POLICY, &members, reading);
    let version = PolicyVersion {
        id: "v1".into(),
        document: document?,
    };
    Some(ManagedPolicy {
        identity: identity?,
        versions: [version].into(),
        default_version: 0,
        tags: Box::default(),
    })
}

/// Reads the output of `aws iam get-policy-version` for the default version.
fn printed_version(node: &Node<'_>, reading: &mut Reading<'_, '_>) -> Option<ManagedPolicy> {
    let what = "the output of `aws iam get-policy-version`";
    let report = &mut *reading.report;
    let outer = Members::of(
        node,
        what,
        &["PolicyVersion"],
        &["ResponseMetadata"],
        report,
    )?;
    let version = version(outer.get("PolicyVersion")?, report);
    if let Some((version, false, node)) = &version {
        let message = format!("version `{}` is not the default", version.id);
        report
            .error(Code::DEFAULT_VERSION, &node.span, message)
            .help("put the default one here: `aws iam get-policy` names it");
    }
    let empty = Node {
        span: node.span.clone(),
        value: Value::Object(Vec::new()),
    };
    let members = Members::of(&empty, POLICY.what, &[], &[], reading.report)?;
    let identity = identity(&POLICY, &members, reading);
    let (version, ..) = version.filter(|(_, is_default, _)| *is_default)?;
    Some(ManagedPolicy {
        identity: identity?,
        versions: [version].into(),
        default_version: 0,
        tags: Box::default(),
    })
}

/// Reads one version, and whether it is the default.
fn version<'n, 't>(
    node: &'n Node<'t>,
    report: &mut Report<'_>,
) -> Option<(PolicyVersion, bool, &'n Node<'t>)> {
    let what = "a policy version";
    let read = ["VersionId", "IsDefaultVersion", "Document"];
    let version = Members::of(node, what, &read, &["CreateDate"], report)?;
    let id = version.required_text("VersionId", what, report);
    let is_default = version.flag("IsDefaultVersion", report);
    let document = version.required("Document", what, report);
    let document = document.and_then(|node| parse::document(node, PolicyType::Identity, report));
    let version = PolicyVersion {
        id: id?.0.into(),
        document: document?,
    };
    Some((version, is_default, node))
}

/// Reads `PolicyVersionList`: the versions, and which of them is the default (G-36).
fn versions(
    members: &Members<'_, '_>,
    report: &mut Report<'_>,
) -> Option<(Vec<PolicyVersion>, usize)> {
    let list = members.required("PolicyVersionList", POLICY.what, report)?;
    let nodes = members.list("PolicyVersionList", report);
    if let Value::Array(elements) = &list.value
        && elements.is_empty()
    {
        report
            .error(
                Code::EMPTY_LIST,
                &list.span,
                "`PolicyVersionList` has no version",
            )
            .help("add a version with its document");
        return None;
    }
    let n_errors = report.n_errors();
    let mut versions: Vec<PolicyVersion> = Vec::new();
    let mut ids = HashSet::new();
    let mut defaults = Vec::new();
    for node in nodes {
        let what = "a policy version";
        let read = ["VersionId", "IsDefaultVersion", "Document"];
        let Some(version) = Members::of(node, what, &read, &["CreateDate"], report) else {
            continue;
        };
        let id = version.required_text("VersionId", what, report);
        if let Some(id) = id {
            check_id(id, &mut ids, report);
        }
        if version.flag("IsDefaultVersion", report) {
            defaults.push((versions.len(), id, node));
        }
        let document = version.required("Document", what, report);
        let document =
            document.and_then(|node| parse::document(node, PolicyType::Identity, report));
        if let (Some((id, _)), Some(document)) = (id, document) {
            versions.push(PolicyVersion {
                id: id.into(),
                document,
            });
        }
    }
    let named = members.text("DefaultVersionId", report);
    let default = match defaults.as_slice() {
        [] => named_default(named, &ids, &versions, list, report),
        [(index, id, node)] => {
            check_named(named, *id, node, report);
            Some(*index)
        }
        [.., (_, _, node)] => {
            let n = defaults.len();
            let message = format!("{n} versions are the default; only one may be");
            report
                .error(Code::DEFAULT_VERSION, &node.span, message)
                .help("set `IsDefaultVersion` to `false` in all versions but one");
            None
        }
    };
    check_quota(nodes.len(), list, report);
    // After an error above, the indexes may be wrong, so nothing is returned.
    if report.n_errors() > n_errors {
        None
    } else {
        Some((versions, default?))
    }
}

/// Warns about more versions than AWS keeps.
fn check_quota(n_versions: usize, list: &Node<'_>, report: &mut Report<'_>) {
    if n_versions > MAX_VERSIONS {
        let message =
            format!("{n_versions} versions are more than the {MAX_VERSIONS} that AWS keeps");
        report.warning(Code::AWS_QUOTA, &list.span, message);
    }
}

/// Checks that the id is valid and not among `ids`, and adds it there.
fn check_id<'n>(
    (id, node): (&'n str, &Node<'_>),
    ids: &mut HashSet<&'n str>,
    report: &mut Report<'_>,
) {
    if !is_version_id(id) {
        report.error(
            Code::INVALID_VALUE,
            &node.span,
            format!("version id `{id}` must be `v1`, `v2`, and so on"),
        );
    }
    if !ids.insert(id) {
        report
            .error(
                Code::DUPLICATE_ENTITY,
                &node.span,
                format!("version `{id}` is defined twice"),
            )
            .help("give each version its own id");
    }
}

/// Returns the index of the version that `DefaultVersionId` names, if no version is marked as the default.
fn named_default(
    named: Given<'_, '_>,
    ids: &HashSet<&str>,
    versions: &[PolicyVersion],
    list: &Node<'_>,
    report: &mut Report<'_>,
) -> Option<usize> {
    let Some((named, node)) = named else {
        report
            .error(
                Code::DEFAULT_VERSION,
                &list.span,
                "no version is the default",
            )
            .help("give one of them `\"IsDefaultVersion\": true`");
        return None;
    };
    if !ids.contains(named) {
        report
            .error(
                Code::DEFAULT_VERSION,
                &node.span,
                format!("there is no version `{named}` to be the default"),
            )
            .help("name a version of the list, or add that version");
    }
    versions.iter().position(|version| *version.id == *named)
}

/// Checks that `DefaultVersionId` names the version at `node`, which is marked as the default.
fn check_named(named: Given<'_, '_>, id: Given<'_, '_>, node: &Node<'_>, report: &mut Report<'_>) {
    if let (Some((named, _)), Some((id, _))) = (named, id)
        && named != id
    {
        let message =
            format!("`DefaultVersionId` is `{named}`, but version `{id}` is marked as the default");
        report
            .error(Code::CONTRADICTION, &node.span, message)
            .help("make both name the same version, or remove `DefaultVersionId`");
    }
}

fn is_version_id(id: &str) -> bool {
    let digits = id.strip_prefix('v').unwrap_or("");
    !digits.is_empty()
        && !digits.starts_with('0')
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads a file of `resource-policies/`.
pub fn resource_policy(node: &Node<'_>, reading: &mut Reading<'_, '_>) -> Option<ResourcePolicy> {
    let what = "the resource policy";
    let read = ["Resource", "Policy", "Tags", "ResourcePolicyRequired"];
    let report = &mut *reading.report;
    let unread = ["PolicyName", "RevisionId", "ResponseMetadata"];
    let members = Members::of(node, what, &read, &unread, report)?;
    let n_errors = report.n_errors();
    let scopes = members.required("Resource", what, report);
    if let Some(node) = scopes
        && node.one_or_many().is_empty()
    {
        report
            .error(Code::EMPTY_LIST, &node.span, "`Resource` has no pattern")
            .help("list the resources that the policy covers");
    }
    let scopes: Vec<_> = scopes
        .map(Node::one_or_many)
        .unwrap_or_default()
        .iter()
        .filter_map(|node| parse::scope(node, report))
        .collect();
    let document = members.get("Policy").and_then(|node| {
        let document = parse::document(node, PolicyType::Resource, report)?;
        if report.n_errors() == n_errors {
            lint::scope(&document, &scopes, node, report);
        }
        Some(document)
    });
    let tags = tags(&members, report);
    let required = members.flag("ResourcePolicyRequired", report);
    let Some(account) = reading.owner.id.cloned() else {
        if !reading.owner.is_broken {
            report
                .error(
                    Code::UNKNOWN_ACCOUNT,
                    &node.span,
                    "nothing says which account the resources belong to",
                )
                .help("put an `account.json` with an `AccountId` into the store's root");
        }
        return None;
    };
    if report.n_errors() > n_errors {
        return None;
    }
    if account.is_aws() {
        report
            .error(
                Code::INVALID_VALUE,
                &node.span,
                "`aws` owns managed policies only, no resources",
            )
            .help("move the file to the account that owns the resources");
        return None;
    }
    let name = reading.place.policy_name.to_owned();
    Some(ResourcePolicy {
        account,
        name: name.into(),
        scopes: scopes.into(),
        document,
        tags,
        required,
        at: report.location(&node.span),
    })
}

/// Reads an SCP or RCP: a bare document, or the output of `aws organizations describe-policy`.
pub fn control_policy(
    node: &Node<'_>,
    policy_type: PolicyType,
    reading: &mut Reading<'_, '_>,
) -> Option<ControlPolicy> {
    let report = &mut *reading.report;
    let document = match node.member("Policy") {
        Some(_) => described(node, policy_type, report),
        None => parse::document(node, policy_type, report),
    };
    Some(ControlPolicy {
        name: reading.place.stem.to_owned(),
        document: document?,
        at: report.location(&node.span),
    })
}

fn described(
    node: &Node<'_>,
    policy_type: PolicyType,
    report: &mut Report<'_>,
) -> Option<PolicyDocument> {
    let what = "the description of a policy";
    let outer = Members::of(node, what, &["Policy"], &["ResponseMetadata"], report)?;
    let policy = outer.required("Policy", what, report)?;
    let policy = Members::of(policy, what, &["PolicySummary", "Content"], &[], report)?;
    if let Some(summary) = policy.get("PolicySummary") {
        let unread = ["Id", "Arn", "Name", "Description", "AwsManaged"];
        let summary = Members::of(summary, "`PolicySummary`", &["Type"], &unread, report);
        let expected = match policy_type {
            PolicyType::ResourceControl => "RESOURCE_CONTROL_POLICY",
            _ => "SERVICE_CONTROL_POLICY",
        };
        if let Some((found, node)) = summary.and_then(|summary| summary.text("Type", report))
            && found != expected
        {
            report
                .error(
                    Code::CONTRADICTION,
                    &node.span,
                    format!("this is a `{found}`, and the folder holds each `{expected}`"),
                )
                .help("move the file to the folder of its type");
        }
    }
    let content = policy.required("Content", what, report)?;
    parse::document(content, policy_type, report)
}

/// Returns a text for the default version of the managed policy at `node`, whatever its layout. Equal texts mean equal
/// documents. Two dumps have the same AWS-managed policy twice, and only a difference is an error.
pub fn fingerprint(node: &Node<'_>) -> String {
    let list = node
        .member("PolicyVersionList")
        .map(|member| member.value.one_or_many())
        .unwrap_or_default();
    let is_default = |version: &&Node<'_>| {
        version
            .member("IsDefaultVersion")
            .is_some_and(|member| member.value.value == Value::Bool(true))
    };
    let document = list
        .iter()
        .find(is_default)
        .and_then(|version| version.member("Document"))
        .map(|member| &member.value);
    let printed = || {
        let version = &node.member("PolicyVersion")?.value;
        Some(&version.member("Document")?.value)
    };
    let document = document.or_else(printed).unwrap_or(node);
    match document.as_str() {
        None => document.to_canonical(),
        Some(embedded) => {
            let is_encoded = embedded.trim_start().starts_with('%');
            let decoded = percent_encoding::percent_decode_str(embedded).decode_utf8_lossy();
            match json::parse(
                if is_encoded { &decoded } else { embedded },
                parse::MAX_DOCUMENT_DEPTH,
            ) {
                Ok(document) => document.to_canonical(),
                Err(_) => embedded.to_owned(),
            }
        }
    }
}
