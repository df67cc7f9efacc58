//! The outputs, and the finding about each.

use serde_json::Value;

pub const TRUST: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}"#;
pub const DOCUMENT: &str = r#"{"Version": "2012-10-17", "Statement": [{"Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}"#;
pub const OF_ANN: &str = r#"{"Version": "2012-10-17", "Statement": [{"Sid": "Ann", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:user/ann"}, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::shop/*"}]}"#;

/// An output that is refused.
pub struct Refused {
    /// The place where users put it.
    pub path: &'static str,
    pub text: String,
    pub code: &'static str,
    /// The text at the location of the finding.
    pub at: &'static str,
    /// The message of the finding.
    pub says: &'static [&'static str],
}

fn refused(
    path: &'static str,
    text: impl Into<String>,
    code: &'static str,
    at: &'static str,
    says: &'static [&'static str],
) -> Refused {
    Refused {
        path,
        text: text.into(),
        code,
        at,
        says,
    }
}

/// `aws iam get-role`.
pub fn get_role() -> String {
    format!(
        r#"{{
    "Role": {{
        "Path": "/", "RoleName": "app", "RoleId": "AROAEXAMPLEROLEID0001", "Arn": "arn:aws:iam::111111111111:role/app",
        "CreateDate": "2024-01-01T00:00:00+00:00", "AssumeRolePolicyDocument": {TRUST}, "Description": "runs the shop",
        "MaxSessionDuration": 3600, "Tags": [{{"Key": "team", "Value": "shop"}}],
        "RoleLastUsed": {{"LastUsedDate": "2024-02-01T00:00:00+00:00", "Region": "eu-west-1"}}
    }}
}}
"#
    )
}

pub const GET_USER: &str = r#"{
    "User": {
        "Path": "/", "UserName": "ann", "UserId": "AIDAEXAMPLEUSERID0001", "Arn": "arn:aws:iam::111111111111:user/ann",
        "CreateDate": "2024-01-01T00:00:00+00:00", "PasswordLastUsed": "2024-01-01T00:00:00+00:00"
    }
}
"#;

pub const GET_GROUP: &str = r#"{
    "Users": [{"Path": "/", "UserName": "ann", "UserId": "AIDAEXAMPLEUSERID0001", "Arn": "arn:aws:iam::111111111111:user/ann", "CreateDate": "2024-01-01T00:00:00+00:00"}],
    "Group": {"Path": "/", "GroupName": "devs", "GroupId": "AGPAEXAMPLEGROUPID001", "Arn": "arn:aws:iam::111111111111:group/devs", "CreateDate": "2024-01-01T00:00:00+00:00"}
}
"#;

pub const GET_POLICY: &str = r#"{
    "Policy": {"PolicyName": "P", "PolicyId": "ANPAEXAMPLEPOLICY0001", "Arn": "arn:aws:iam::111111111111:policy/P", "Path": "/",
        "DefaultVersionId": "v1", "AttachmentCount": 1, "PermissionsBoundaryUsageCount": 0, "IsAttachable": true,
        "CreateDate": "2024-01-01T00:00:00+00:00", "UpdateDate": "2024-01-01T00:00:00+00:00", "Tags": []}
}
"#;

/// Returns the output of `aws iam get-policy-version`, for the default version or another, with `document` as JSON.
pub fn get_policy_version(document: &str, is_default: bool) -> String {
    format!(
        r#"{{"PolicyVersion": {{"Document": {document}, "VersionId": "v3", "IsDefaultVersion": {is_default}, "CreateDate": "2024-01-01T00:00:00+00:00"}}}}"#
    )
}

/// `aws organizations describe-policy`.
pub fn describe_policy(of_type: &str) -> String {
    let content = Value::from(DOCUMENT).to_string();
    format!(
        r#"{{"Policy": {{"PolicySummary": {{"Id": "p-1", "Arn": "arn:aws:organizations::111111111111:policy/o-1/service_control_policy/p-1", "Name": "read", "Description": "", "Type": "{of_type}", "AwsManaged": false}}, "Content": {content}}}}}"#
    )
}

/// Returns `{"Policy": "…"}` as the commands of AWS services print it, with more members.
pub fn policy_in_a_string(more: &str) -> String {
    format!("{{\n    \"Policy\": {}{more}\n}}\n", Value::from(OF_ANN))
}

/// Returns outputs about single entities and policies.
fn of_one() -> Vec<Refused> {
    let inline = |owner: &str| {
        format!(r#"{{"{owner}": "app", "PolicyName": "inl", "PolicyDocument": {DOCUMENT}}}"#)
    };
    let member = "unknown-member";
    vec![
        refused(
            "roles/app.json",
            get_role(),
            member,
            "\"Role\"",
            &[
                "this is the output of `aws iam get-role`",
                "keep what is inside `Role`",
                "`RolePolicyList`",
                "`AttachedManagedPolicies`",
            ],
        ),
        refused(
            "users/ann.json",
            GET_USER,
            member,
            "\"User\"",
            &[
                "this is the output of `aws iam get-user`",
                "keep what is inside `User`",
                "`GroupList`",
                "`UserPolicyList`",
            ],
        ),
        refused(
            "groups/devs.json",
            GET_GROUP,
            member,
            "\"Group\"",
            &[
                "this is the output of `aws iam get-group`",
                "keep what is inside `Group`",
                "`GroupPolicyList`",
                "`GroupList` of its users",
            ],
        ),
        refused(
            "managed-policies/P.json",
            GET_POLICY,
            member,
            "\"Policy\"",
            &[
                "this is the output of `aws iam get-policy`",
                "holds no document",
                "`aws iam get-policy-version`",
                "keep what is inside `Policy`",
                "`PolicyVersionList`",
            ],
        ),
        refused(
            "roles/app.json",
            inline("RoleName"),
            member,
            "\"PolicyDocument\"",
            &[
                "this is the output of `aws iam get-role-policy`",
                "`RolePolicyList`",
            ],
        ),
        refused(
            "users/app.json",
            inline("UserName"),
            member,
            "\"PolicyDocument\"",
            &[
                "this is the output of `aws iam get-user-policy`",
                "`UserPolicyList`",
            ],
        ),
        refused(
            "groups/app.json",
            inline("GroupName"),
            member,
            "\"PolicyDocument\"",
            &[
                "this is the output of `aws iam get-group-policy`",
                "`GroupPolicyList`",
            ],
        ),
        // The content of the file says what it is, not the folder.
        refused(
            "managed-policies/inl.json",
            inline("RoleName"),
            member,
            "\"PolicyDocument\"",
            &[
                "this is the output of `aws iam get-role-policy`",
                "`RolePolicyList`",
            ],
        ),
        refused(
            "roles/app.json",
            get_policy_version(DOCUMENT, true),
            member,
            "\"PolicyVersion\"",
            &[
                "this is the output of `aws iam get-policy-version`",
                "`managed-policies/`",
            ],
        ),
        refused(
            "managed-policies/read.json",
            describe_policy("SERVICE_CONTROL_POLICY"),
            member,
            "\"Policy\"",
            &[
                "this is the output of `aws organizations describe-policy`",
                "put it into `service-control-policies/`",
            ],
        ),
        refused(
            "managed-policies/read.json",
            describe_policy("RESOURCE_CONTROL_POLICY"),
            member,
            "\"Policy\"",
            &[
                "this is the output of `aws organizations describe-policy`",
                "put it into `resource-control-policies/`",
            ],
        ),
        refused(
            "organization.json",
            r#"{"Organization": {"Id": "o-example1", "Arn": "arn:aws:organizations::111111111111:organization/o-example1", "FeatureSet": "ALL", "MasterAccountId": "111111111111"}}"#,
            member,
            "\"Organization\"",
            &[
                "this is the output of `aws organizations describe-organization`",
                "`ManagementAccountId`",
                "`Root`",
            ],
        ),
    ]
}

/// Returns outputs that are lists.
pub fn of_many() -> Vec<Refused> {
    let roles = format!(
        r#"{{"Roles": [{{"Path": "/", "RoleName": "app", "RoleId": "AROAEXAMPLEROLEID0001", "Arn": "arn:aws:iam::111111111111:role/app", "CreateDate": "2024-01-01T00:00:00+00:00", "AssumeRolePolicyDocument": {TRUST}}}]}}"#
    );
    let users = r#"{"Users": [{"Path": "/", "UserName": "ann", "UserId": "AIDAEXAMPLEUSERID0001", "Arn": "arn:aws:iam::111111111111:user/ann", "CreateDate": "2024-01-01T00:00:00+00:00"}]}"#;
    let groups = r#"{"Groups": [{"Path": "/", "GroupName": "devs", "GroupId": "AGPAEXAMPLEGROUPID001", "Arn": "arn:aws:iam::111111111111:group/devs", "CreateDate": "2024-01-01T00:00:00+00:00"}]}"#;
    let policies = r#"{"Policies": [{"PolicyName": "P", "PolicyId": "ANPAEXAMPLEPOLICY0001", "Arn": "arn:aws:iam::111111111111:policy/P", "Path": "/", "DefaultVersionId": "v1", "AttachmentCount": 1, "PermissionsBoundaryUsageCount": 0, "IsAttachable": true, "CreateDate": "2024-01-01T00:00:00+00:00", "UpdateDate": "2024-01-01T00:00:00+00:00"}]}"#;
    let control_policies = r#"{"Policies": [{"Id": "p-FullAWSAccess", "Arn": "arn:aws:organizations::aws:policy/service_control_policy/p-FullAWSAccess", "Name": "FullAWSAccess", "Type": "SERVICE_CONTROL_POLICY", "AwsManaged": true}]}"#;
    let attached = r#"{"AttachedPolicies": [{"PolicyName": "ReadOnlyAccess", "PolicyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}]}"#;
    let names = r#"{"PolicyNames": ["inl"]}"#;
    let member = "unknown-member";
    vec![
        refused(
            "roles.json",
            roles.clone(),
            "unknown-file",
            "\"Roles\"",
            &[
                "this is the output of `aws iam list-roles`",
                "leaves out policies",
                "`aws iam get-account-authorization-details`",
                "`RoleDetailList`",
            ],
        ),
        refused(
            "roles/all.json",
            roles,
            member,
            "\"Roles\"",
            &[
                "this is the output of `aws iam list-roles`",
                "`RoleDetailList`",
                "a file of its own",
            ],
        ),
        refused(
            "users.json",
            users,
            "unknown-file",
            "\"Users\"",
            &[
                "this is the output of `aws iam list-users`",
                "`UserDetailList`",
            ],
        ),
        refused(
            "groups/all.json",
            groups,
            member,
            "\"Groups\"",
            &[
                "this is the output of `aws iam list-groups`",
                "`GroupDetailList`",
            ],
        ),
        refused(
            "policies.json",
            policies,
            "unknown-file",
            "\"Policies\"",
            &[
                "this is the output of `aws iam list-policies`",
                "holds no documents",
                "`aws iam get-policy-version`",
            ],
        ),
        refused(
            "managed-policies/all.json",
            policies,
            member,
            "\"Policies\"",
            &[
                "this is the output of `aws iam list-policies`",
                "holds no documents",
            ],
        ),
        refused(
            "service-control-policies/x.json",
            control_policies,
            member,
            "\"Policies\"",
            &[
                "this is the output of `aws organizations list-policies`",
                "holds no documents",
                "`aws organizations describe-policy`",
            ],
        ),
        refused(
            "users/ann.json",
            attached,
            member,
            "\"AttachedPolicies\"",
            &[
                "this is the output of `aws iam list-attached-user-policies`",
                "`AttachedManagedPolicies`",
            ],
        ),
        refused(
            "roles/app.json",
            attached,
            member,
            "\"AttachedPolicies\"",
            &[
                "this is the output of `aws iam list-attached-role-policies`",
                "`AttachedManagedPolicies`",
            ],
        ),
        refused(
            "groups/devs.json",
            attached,
            member,
            "\"AttachedPolicies\"",
            &[
                "this is the output of `aws iam list-attached-group-policies`",
                "`AttachedManagedPolicies`",
            ],
        ),
        refused(
            "users/ann.json",
            names,
            member,
            "\"PolicyNames\"",
            &[
                "this is the output of `aws iam list-user-policies`",
                "holds no documents",
                "`aws iam get-user-policy`",
                "`UserPolicyList`",
            ],
        ),
        refused(
            "managed-policies/P.json",
            r#"{"Versions": [{"VersionId": "v1", "IsDefaultVersion": true, "CreateDate": "2024-01-01T00:00:00+00:00"}]}"#,
            member,
            "\"Versions\"",
            &[
                "this is the output of `aws iam list-policy-versions`",
                "holds no documents",
                "`aws iam get-policy-version`",
            ],
        ),
    ]
}

/// Returns outputs of policies that lack something around them.
fn of_documents() -> Vec<Refused> {
    let needs_resource: &[&str] = &[
        "a resource policy needs `Resource` beside `Policy`: the ARNs it is attached to",
        "\"Resource\": [",
    ];
    vec![
        refused(
            "resource-policies/bucket.json",
            policy_in_a_string(""),
            "missing-member",
            "{",
            needs_resource,
        ),
        refused(
            "resource-policies/key.json",
            policy_in_a_string(",\n    \"PolicyName\": \"default\""),
            "missing-member",
            "{",
            needs_resource,
        ),
        refused(
            "resource-policies/function.json",
            policy_in_a_string(",\n    \"RevisionId\": \"4843f2f6-7c59-4fda-b484-afd0bc0e22b8\""),
            "missing-member",
            "{",
            needs_resource,
        ),
        refused(
            "resource-policies/bucket.json",
            OF_ANN,
            "missing-member",
            "{",
            &[
                "this is a bare policy document",
                "wrap it",
                "`Resource`",
                "`{\"Resource\": [\"arn:…\"], \"Policy\": {…}}`",
            ],
        ),
        refused(
            "roles/app.json",
            DOCUMENT,
            "unknown-member",
            "\"Statement\"",
            &[
                "this is a bare policy document, not a role",
                "`RolePolicyList`",
                "`managed-policies/`",
            ],
        ),
        refused(
            "users/ann.json",
            DOCUMENT,
            "unknown-member",
            "\"Statement\"",
            &[
                "this is a bare policy document, not a user",
                "`UserPolicyList`",
                "`managed-policies/`",
            ],
        ),
    ]
}

pub fn all() -> Vec<Refused> {
    let mut all = of_one();
    all.extend(of_many());
    all.extend(of_documents());
    all
}
