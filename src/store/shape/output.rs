//! Recognizes JSON that has no shape of the store, such as the output of an AWS command or a bare document, and says
//! what to keep or how to wrap it. An output of a command may be an envelope around an entity, or a list that leaves the
//! policies out; the finding names the command.
//!
//! An output that has everything its place holds is not refused, but read: a dump, a described control policy, and the
//! default version of a managed policy. Any other output may lack a Deny that AWS keeps elsewhere (G-37).

use std::ops::Range;

use super::DUMP_LISTS;
use crate::language::finding::Code;
use crate::language::json::{Node, Value};
use crate::language::report::Report;
use crate::store::place::Kind;

/// An output that is refused.
struct Output<'n> {
    code: Code,
    at: &'n Range<usize>,
    message: String,
    help: String,
}

/// Returns whether `node`, in a place for a file of `kind`, is an output that no store holds, and reports it if so.
pub fn is_refused(node: &Node<'_>, kind: Kind, report: &mut Report<'_>) -> bool {
    let found = envelope(node, kind).or_else(|| document(node, kind));
    let Some(output) = found else { return false };
    report
        .error(output.code, output.at, output.message)
        .help(output.help);
    true
}

/// The names of the commands and members for one kind of entity.
struct Words {
    /// The kind in the names of commands: `role`.
    what: &'static str,
    /// The member with its inline policies.
    inline: &'static str,
}

fn words(kind: Kind) -> Option<Words> {
    let (what, inline) = match kind {
        Kind::User => ("user", "UserPolicyList"),
        Kind::Group => ("group", "GroupPolicyList"),
        Kind::Role => ("role", "RolePolicyList"),
        _ => return None,
    };
    Some(Words { what, inline })
}

/// Recognizes members that no file of a store has at its top level.
///
/// The function is long because it is a table, with one arm and its words for each command of AWS.
fn envelope<'n>(node: &'n Node<'_>, kind: Kind) -> Option<Output<'n>> {
    const NAMES: [&str; 13] = [
        "Role",
        "User",
        "Group",
        "PolicyVersion",
        "PolicyDocument",
        "AttachedPolicies",
        "PolicyNames",
        "Roles",
        "Users",
        "Groups",
        "Versions",
        "Organization",
        "Policies",
    ];
    let policy = node
        .member("Policy")
        .filter(|policy| matches!(policy.value.value, Value::Object(_)));
    let member = NAMES.iter().find_map(|name| node.member(name)).or(policy)?;
    let name = &*member.name;
    let of_kind = words(kind).unwrap_or(Words {
        what: "role",
        inline: "RolePolicyList",
    });
    let (command, lacks, help) = match name {
        "Role" => (
            "iam get-role".to_owned(),
            "",
            "keep what is inside `Role`, and add the role's policies as `RolePolicyList` and `AttachedManagedPolicies`"
                .to_owned(),
        ),
        "User" => (
            "iam get-user".to_owned(),
            "",
            "keep what is inside `User`, and add the user's groups and policies as `GroupList`, `UserPolicyList` and \
             `AttachedManagedPolicies`"
                .to_owned(),
        ),
        "Group" => (
            "iam get-group".to_owned(),
            "",
            "keep what is inside `Group`, add its policies as `GroupPolicyList` and `AttachedManagedPolicies`, and name the \
             group in the `GroupList` of its users"
                .to_owned(),
        ),
        "PolicyVersion" if kind != Kind::ManagedPolicy => (
            "iam get-policy-version".to_owned(),
            "",
            "put it into `managed-policies/`, or keep what is inside `Document`".to_owned(),
        ),
        "PolicyDocument" => {
            let owner = [Kind::User, Kind::Group, Kind::Role].into_iter().find(|kind| {
                let name = match kind {
                    Kind::User => "UserName",
                    Kind::Group => "GroupName",
                    _ => "RoleName",
                };
                node.member(name).is_some()
            });
            let Words { what, inline } = owner.and_then(words).unwrap_or(of_kind);
            (
                format!("iam get-{what}-policy"),
                "",
                format!("put `PolicyName` and `PolicyDocument` into the {what}'s `{inline}`"),
            )
        }
        "AttachedPolicies" => (
            format!("iam list-attached-{}-policies", of_kind.what),
            "",
            "put the entries of `AttachedPolicies` into `AttachedManagedPolicies`".to_owned(),
        ),
        "PolicyNames" => (
            format!("iam list-{}-policies", of_kind.what),
            ", which holds no documents",
            format!(
                "put what `aws iam get-{}-policy` prints into `{}`",
                of_kind.what, of_kind.inline
            ),
        ),
        "Roles" | "Users" | "Groups" => {
            let (list, folder) = match name {
                "Roles" => ("RoleDetailList", "roles"),
                "Users" => ("UserDetailList", "users"),
                _ => ("GroupDetailList", "groups"),
            };
            (
                format!("iam list-{folder}"),
                ", which leaves out policies, tags and boundaries",
                format!(
                    "use `aws iam get-account-authorization-details`, whose name for the list is `{list}`, or put each \
                     entry of `{name}` into a file of its own below `{folder}/`"
                ),
            )
        }
        "Versions" => (
            "iam list-policy-versions".to_owned(),
            ", which holds no documents",
            "put the output of `aws iam get-policy-version` here".to_owned(),
        ),
        "Organization" => (
            "organizations describe-organization".to_owned(),
            "",
            "an `organization.json` needs `Id`, `ManagementAccountId` and `Root`".to_owned(),
        ),
        "Policies" => policies(node, &member.value)?,
        "Policy" => described(&member.value, kind)?,
        _ => return None,
    };
    let code = match kind {
        Kind::Elsewhere => Code::UNKNOWN_FILE,
        _ => Code::UNKNOWN_MEMBER,
    };
    Some(Output {
        code,
        at: &member.name_span,
        message: format!("this is the output of `aws {command}`{lacks}"),
        help,
    })
}

/// Recognizes `Policies` without any version, which no dump prints.
fn policies(node: &Node<'_>, list: &Node<'_>) -> Option<(String, &'static str, String)> {
    let has_other_lists = DUMP_LISTS
        .iter()
        .any(|name| *name != "Policies" && node.member(name).is_some());
    let entries = list.one_or_many();
    let any_has = |name: &str| entries.iter().any(|entry| entry.member(name).is_some());
    if has_other_lists || entries.is_empty() || any_has("PolicyVersionList") {
        return None;
    }
    let lacks = ", which holds no documents";
    Some(if any_has("AwsManaged") || any_has("Type") {
        (
            "organizations list-policies".to_owned(),
            lacks,
            "put what `aws organizations describe-policy` prints for each policy into a file of its own"
                .to_owned(),
        )
    } else {
        (
            "iam list-policies".to_owned(),
            lacks,
            "use `aws iam get-account-authorization-details`, or put what `aws iam get-policy-version` prints for each into \
             `managed-policies/`"
                .to_owned(),
        )
    })
}

/// Recognizes `Policy` with an object: a managed policy without its versions, or a control policy that belongs
/// elsewhere.
fn described(policy: &Node<'_>, kind: Kind) -> Option<(String, &'static str, String)> {
    let has = |name: &str| policy.member(name).is_some();
    if has("PolicyName") || has("DefaultVersionId") {
        return Some((
            "iam get-policy".to_owned(),
            ", which holds no document",
            "put the output of `aws iam get-policy-version` here, or keep what is inside `Policy` and add \
             `PolicyVersionList`"
                .to_owned(),
        ));
    }
    let is_at_home = matches!(
        kind,
        Kind::ServiceControlPolicy | Kind::ResourceControlPolicy
    );
    let summary = policy.member("PolicySummary").filter(|_| !is_at_home)?;
    let of_type = summary.value.member("Type")?.value.as_str();
    let folder = match of_type {
        Some("RESOURCE_CONTROL_POLICY") => "resource-control-policies",
        _ => "service-control-policies",
    };
    Some((
        "organizations describe-policy".to_owned(),
        "",
        format!("put it into `{folder}/`"),
    ))
}

/// Recognizes a policy without the members that must surround it.
fn document<'n>(node: &'n Node<'_>, kind: Kind) -> Option<Output<'n>> {
    let statement = node.member("Statement");
    if kind == Kind::ResourcePolicy {
        let (message, help) = match (statement, node.member("Policy"), node.member("Resource")) {
            (Some(_), None, _) => (
                "this is a bare policy document",
                "wrap it: `{\"Resource\": [\"arn:…\"], \"Policy\": {…}}`, where `Resource` lists the ARNs it is attached to",
            ),
            (_, Some(_), None) => (
                "a resource policy needs `Resource` beside `Policy`: the ARNs it is attached to",
                "add it, such as `\"Resource\": [\"arn:aws:s3:::bucket\", \"arn:aws:s3:::bucket/*\"]`",
            ),
            _ => return None,
        };
        return Some(Output {
            code: Code::MISSING_MEMBER,
            at: &node.span,
            message: message.to_owned(),
            help: help.to_owned(),
        });
    }
    let Words { what, inline } = words(kind)?;
    Some(Output {
        code: Code::UNKNOWN_MEMBER,
        at: &statement?.name_span,
        message: format!("this is a bare policy document, not a {what}"),
        help: format!("put it into the {what}'s `{inline}`, or into `managed-policies/`"),
    })
}
