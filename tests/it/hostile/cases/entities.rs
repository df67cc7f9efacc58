//! Bad input that no single file shows: contradictions, collisions and dangling references.

use super::{Case, DUMP, ORGANIZATION, ROLE, statement, text};
use crate::hostile::Bad;
use crate::support::allow;

/// Returns references that lead nowhere, or to two places.
pub fn references() -> Vec<Case> {
    let attached = |arn: &str| {
        format!("{{\n  \"AttachedManagedPolicies\": [{{\"PolicyArn\": \"{arn}\"}}]\n}}")
    };
    let version = |id: &str, is_default: bool| {
        format!(
            r#"{{"VersionId": "{id}", "IsDefaultVersion": {is_default}, "Document": {}}}"#,
            allow("a:b")
        )
    };
    let versions = |first: bool, second: bool| {
        format!(
            "{{\"PolicyVersionList\": [\n{},\n{}\n]}}",
            version("v1", first),
            version("v2", second)
        )
    };
    let boundary = "{\"PermissionsBoundary\": {\"PermissionsBoundaryArn\": \"arn:aws:iam::111111111111:policy/Limit\"}}";
    let missing = "arn:aws:iam::111111111111:policy/Raed";
    let attach_role = ROLE.replace("\"Tags\"", "\"AttachedManagedPolicies\": [{\"PolicyArn\": \"arn:aws:iam::111111111111:policy/Raed\"}],\n  \"Tags\"");
    vec![
        text(
            "a user's policy that is missing",
            "users/bob.json",
            attached(missing),
            "users/bob.json:2:45: error[dangling-reference]",
        ),
        text(
            "a group's policy that is missing",
            "groups/ops.json",
            attached(missing),
            "groups/ops.json:2:45: error[dangling-reference]",
        ),
        text(
            "a role's policy that is missing",
            "roles/clerk.json",
            attach_role,
            "roles/clerk.json:5:45: error[dangling-reference]",
        ),
        text(
            "an AWS-managed policy that is missing",
            "users/bob.json",
            attached("arn:aws:iam::aws:policy/ReadOnlyAccess"),
            "users/bob.json:2:45: error[dangling-reference]",
        ),
        text(
            "a boundary that is missing",
            "users/bob.json",
            boundary,
            "users/bob.json:1:52: error[dangling-reference]",
        ),
        text(
            "a group that is missing",
            "users/bob.json",
            "{\"GroupList\": [\"staf\"]}",
            "users/bob.json:1:16: error[dangling-reference]",
        ),
        text(
            "a policy of a dump that is missing",
            "dumps/partner.json",
            DUMP.replace("\"Read\", \"PolicyArn\"", "\"Raed\", \"PolicyArn\"")
                .replace("policy/Read\"}]", "policy/Raed\"}]"),
            "dumps/partner.json:4:133: error[dangling-reference]",
        ),
        text(
            "an attachment that is no ARN",
            "users/bob.json",
            attached("Read"),
            "users/bob.json:2:45: error[dangling-reference]",
        ),
        text(
            "a second default version",
            "managed-policies/Two.json",
            versions(true, true),
            "managed-policies/Two.json:3:1: error[default-version]",
        ),
        text(
            "no default version",
            "managed-policies/Two.json",
            versions(false, false),
            "managed-policies/Two.json:1:23: error[default-version]",
        ),
        Case {
            what: "an attached policy that goes",
            bad: vec![
                (
                    "users/bob.json".to_owned(),
                    Bad::Bytes(attached("arn:aws:iam::111111111111:policy/Read").into()),
                ),
                ("managed-policies/Read.json".to_owned(), Bad::Gone),
            ],
            finding: "users/bob.json:2:45: error[dangling-reference]",
        },
    ]
}

/// Returns names that collide or contradict other members.
pub fn names() -> Vec<Case> {
    let arn = |arn: &str| {
        format!("{{\n  \"UserName\": \"bob\",\n  \"Path\": \"/eng/\",\n  \"Arn\": \"{arn}\"\n}}")
    };
    let trusted = |principal: &str| ROLE.replace("arn:aws:iam::111111111111:user/ann", principal);
    vec![
        text(
            "a user's name but for case",
            "users/Ann.json",
            "{}",
            "users/ann.json:1:1: error[duplicate-entity]",
        ),
        text(
            "a user's name but for case, in a file of another name",
            "users/zz.json",
            "{\"UserName\": \"ANN\"}",
            "users/zz.json:1:1: error[duplicate-entity]",
        ),
        text(
            "a group's name but for case",
            "groups/STAFF.json",
            "{}",
            "groups/staff.json:1:1: error[duplicate-entity]",
        ),
        text(
            "a role's name but for case",
            "roles/x/Clerk.json",
            ROLE,
            "roles/x/Clerk.json:1:1: error[duplicate-entity]",
        ),
        text(
            "a policy's name but for case",
            "managed-policies/x/READ.json",
            allow("a:b"),
            "managed-policies/x/READ.json:1:1: error[duplicate-entity]",
        ),
        text(
            "the same user in a dump and a file",
            "accounts/333333333333/users/zed.json",
            "{}",
            "dumps/partner.json:3:5: error[duplicate-entity]",
        ),
        text(
            "a tag key but for case",
            "users/bob.json",
            "{\"Tags\": [{\"Key\": \"Team\", \"Value\": \"1\"}, {\"Key\": \"team\", \"Value\": \"2\"}]}",
            "users/bob.json:1:50: error[duplicate-tag]",
        ),
        text(
            "an ARN of another name",
            "users/bob.json",
            arn("arn:aws:iam::111111111111:user/eng/rob"),
            "users/bob.json:4:10: error[contradiction]",
        ),
        text(
            "an ARN of another path",
            "users/bob.json",
            arn("arn:aws:iam::111111111111:user/ops/bob"),
            "users/bob.json:4:10: error[contradiction]",
        ),
        text(
            "an ARN of another account",
            "users/bob.json",
            arn("arn:aws:iam::222222222222:user/eng/bob"),
            "users/bob.json:4:10: error[contradiction]",
        ),
        text(
            "an ARN of another partition",
            "users/bob.json",
            arn("arn:aws-cn:iam::111111111111:user/eng/bob"),
            "users/bob.json:1:1: error[contradiction]",
        ),
        text(
            "an ARN of another kind",
            "users/bob.json",
            arn("arn:aws:iam::111111111111:role/eng/bob"),
            "users/bob.json:4:10: error[invalid-value]",
        ),
        text(
            "an ARN that is none",
            "users/bob.json",
            arn("bob"),
            "users/bob.json:4:10: error[invalid-value]",
        ),
        text(
            "an account in another's folder",
            "accounts/222222222222/account.json",
            "{\"AccountId\": \"333333333333\"}",
            "accounts/222222222222/account.json:1:15: error[contradiction]",
        ),
        text(
            "the root's account in a folder too",
            "accounts/111111111111/users/kim.json",
            "{}",
            "accounts/111111111111: error[duplicate-entity]",
        ),
        text(
            "a principal that is a group",
            "roles/clerk.json",
            trusted("arn:aws:iam::111111111111:group/staff"),
            "roles/clerk.json:3:46: error[invalid-principal]",
        ),
        text(
            "a reserved name",
            "service-control-policies/FullAWSAccess.json",
            allow("*"),
            "service-control-policies/FullAWSAccess.json:1:1: error[reserved-name]",
        ),
        statement(
            "a misspelt element",
            r#""Effect": "Allow", "Action": "a:b", "Resource": "*", "Conditon": {}"#,
            "users/ann.json:4:142: error[unknown-member]",
        ),
        statement(
            "a misspelt operator",
            r#""Effect": "Deny", "Action": "a:b", "Resource": "*", "Condition": {"StringLikes": {"a:b": "c"}}"#,
            "users/ann.json:4:155: error[unknown-operator]",
        ),
        statement(
            "a misspelt effect",
            r#""Effect": "deny", "Action": "a:b", "Resource": "*""#,
            "users/ann.json:4:99: error[invalid-effect]",
        ),
    ]
}

/// Returns organization trees that are not trees.
pub fn organizations() -> Vec<Case> {
    let with = |old: &str, new: &str| ORGANIZATION.replacen(old, new, 1);
    let file = "organization.json";
    let second = "{\"Id\": \"222222222222\", \"ServiceControlPolicies\": [\"FullAWSAccess\"]}";
    let first = "{\"Id\": \"111111111111\", \"ServiceControlPolicies\": [\"FullAWSAccess\"]}";
    let inner = "\"Id\": \"ou-2\", \"OrganizationalUnits\": [{\"Id\": \"ou-2\", \"ServiceControlPolicies\": [\"open\"]}],";
    let cycle = "\"Id\": \"ou-2\", \"OrganizationalUnits\": [{\"Id\": \"ou-3\", \"ServiceControlPolicies\": [\"open\"], \"OrganizationalUnits\": [{\"Id\": \"ou-2\", \"ServiceControlPolicies\": [\"open\"]}]}],";
    vec![
        text(
            "a unit in itself",
            file,
            with("\"Id\": \"ou-2\",", inner),
            "organization.json:11:46: error[organization-tree]",
        ),
        text(
            "a cycle of units",
            file,
            with("\"Id\": \"ou-2\",", cycle),
            "organization.json:11:121: error[organization-tree]",
        ),
        text(
            "a unit in itself as the root",
            file,
            with("\"Id\": \"ou-2\",", "\"Id\": \"r-1\","),
            "organization.json:11:7: error[organization-tree]",
        ),
        text(
            "two units of one id",
            file,
            with("ou-2", "ou-1"),
            "organization.json:8:7: error[organization-tree]",
        ),
        text(
            "an account in two units",
            file,
            with(second, first),
            "organization.json:9:9: error[organization-tree]",
        ),
        text(
            "an account twice in a unit",
            file,
            with(second, &format!("{second},\n{second}")),
            "organization.json:13:1: error[organization-tree]",
        ),
        text(
            "a unit without a policy",
            file,
            with(
                "\"Id\": \"ou-2\", \"ServiceControlPolicies\": [\"open\"],",
                "\"Id\": \"ou-2\", \"ServiceControlPolicies\": [],",
            ),
            "organization.json:11:7: error[empty-level]",
        ),
        text(
            "a unit without a list of policies",
            file,
            with(
                "\"Id\": \"ou-2\", \"ServiceControlPolicies\": [\"open\"],",
                "\"Id\": \"ou-2\",",
            ),
            "organization.json:11:7: error[empty-level]",
        ),
        text(
            "an account without a policy",
            file,
            with(second, "{\"Id\": \"222222222222\"}"),
            "organization.json:12:9: error[empty-level]",
        ),
        text(
            "a root without a policy",
            file,
            with(
                "\"ServiceControlPolicies\": [\"FullAWSAccess\"],\n",
                "\"ServiceControlPolicies\": [],\n",
            ),
            "organization.json:4:11: error[empty-level]",
        ),
        text(
            "a policy that is missing",
            file,
            with("[\"open\"]", "[\"opne\"]"),
            "organization.json:8:49: error[dangling-reference]",
        ),
        text(
            "an id that is none",
            file,
            with("222222222222", "22 2"),
            "organization.json:12:16: error[invalid-value]",
        ),
        text(
            "no root",
            file,
            "{\"Id\": \"o-1\", \"ManagementAccountId\": \"999999999999\"}",
            "organization.json:1:1: error[missing-member]",
        ),
        text(
            "a second organization",
            "accounts/222222222222/organization.json",
            ORGANIZATION,
            "accounts/222222222222/organization.json:1:1: error[unknown-file]",
        ),
    ]
}
