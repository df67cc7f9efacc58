//! Other messages with the same codes. A code names a kind of mistake, which can be made in many ways.

use super::{ALLOW, one_statement};
use crate::files::outputs::table::get_policy_version;
use crate::support::user;

/// The files by path. They come with an account unless they have one or none is wanted.
pub type Files = Vec<(String, String)>;

pub fn all() -> Vec<Files> {
    let mut all = Vec::new();
    all.extend(documents());
    all.extend(statements());
    all.extend(conditions());
    all.extend(variables());
    all.extend(principals());
    all.extend(control_policies());
    all.extend(resource_policies());
    all.extend(accounts());
    all.extend(users());
    all.extend(versions());
    all.extend(organizations());
    all.extend(places());
    all
}

fn one(path: &str, text: impl Into<String>) -> Files {
    vec![(path.to_owned(), text.into())]
}

fn two(path: &str, text: impl Into<String>, other: &str, beside: impl Into<String>) -> Files {
    let mut files = one(path, text);
    files.extend(one(other, beside));
    files
}

fn ann(text: impl Into<String>) -> Files {
    one("users/ann.json", text)
}

fn document(text: &str) -> Files {
    ann(user("ann", text))
}

fn statement(elements: &str) -> Files {
    document(&one_statement(elements))
}

fn documents() -> Vec<Files> {
    let quoted = |text: &str| document(&serde_json::to_string(text).unwrap());
    let with = |members: &str| {
        document(&ALLOW.replace("\"Statement\"", &format!("{members}, \"Statement\"")))
    };
    vec![
        quoted(""),
        quoted("{\n  \"Version\": 2012-10-17\n}"),
        quoted("%7B%FF"),
        document("1"),
        document(r#"{"Version": "2012-10-17", "Statement": [1]}"#),
        document(r#"{"Version": "2012-10-17", "Statement": 1}"#),
        with(r#""Id": 1"#),
        with(r#""Id": "a", "Id": "b""#),
        with(r#""Id": "\u0000""#),
    ]
}

fn statements() -> Vec<Files> {
    let with = |elements: &str| {
        statement(&format!(
            r#"{elements}, "Effect": "Allow", "Action": "orders:Get", "Resource": "*""#
        ))
    };
    let on = |resource: &str| {
        statement(&format!(
            r#""Effect": "Allow", "Action": "orders:Get", "Resource": "{resource}""#
        ))
    };
    vec![
        with(r#""Sid": 1"#),
        with(r#""Sid": "${aws:username}""#),
        with(r#""NotAction": []"#),
        statement(r#""Action": "orders:Get", "Resource": "*""#),
        statement(r#""Effect": "Allow", "Resource": "*""#),
        statement(r#""Effect": "Allow", "Action": "orders:Get""#),
        statement(r#""Effect": "Allow", "Action": {}, "Resource": "*""#),
        on("execute-api:/prod/*"),
        on("arn:aws::::x"),
        on("arn::orders:::x"),
        on("arn:${aws:username}:orders:::x"),
    ]
}

fn conditions() -> Vec<Files> {
    let of = |condition: &str| {
        statement(&format!(
            r#""Effect": "Deny", "Action": "orders:Get", "Resource": "*", "Condition": {condition}"#
        ))
    };
    let equals = |key: &str| of(&format!(r#"{{"StringEquals": {{"{key}": "a"}}}}"#));
    let value =
        |operator: &str, value: &str| of(&format!(r#"{{"{operator}": {{"app:key": {value}}}}}"#));
    vec![
        of("1"),
        of(r#"{"StringEquals": 1}"#),
        of(r#"{"StringEquals": {}}"#),
        value("StringEquals", "{}"),
        value("StringEquals", "null"),
        value("StringEquals", "[]"),
        value("NullIfExists", r#""true""#),
        value("ForAnyValue:Null", r#""true""#),
        value("NumericEquals", r#""1e3""#),
        value("Bool", r#""yes""#),
        value("BinaryEquals", r#""?""#),
        value("IpAddress", r#""10.0.0""#),
        value("ArnLike", r#""orders""#),
        value("NumericEquals", r#""${app:limit}""#),
        of(r#"{"StringEquals": {"app:a": "x"}, "stringEquals": {"app:b": "x"}}"#),
        equals("aws:PrincipalTag/"),
        equals("aws:PrincipalTag"),
        equals("aws:*"),
        equals("app:${aws:username}"),
    ]
}

fn variables() -> Vec<Files> {
    let of = |variable: &str| {
        statement(&format!(
            r#""Effect": "Allow", "Action": "orders:Get", "Resource": "arn:app:orders:::{variable}""#
        ))
    };
    [
        "${}",
        "${aws: username}",
        "${aws:username, nobody}",
        "${aws:username, 'nobody}",
        "${aws:username, 'nobody'x}",
    ]
    .into_iter()
    .map(of)
    .collect()
}

fn resource_policy(statement: &str) -> Files {
    one(
        "resource-policies/orders.json",
        format!(
            r#"{{"Resource": "arn:app:orders:::order/*", "Policy": {{"Version": "2012-10-17", "Statement": [{statement}]}}}}"#
        ),
    )
}

fn trust(elements: &str) -> Files {
    let document = one_statement(elements);
    one(
        "roles/clerk.json",
        format!(r#"{{"AssumeRolePolicyDocument": {document}}}"#),
    )
}

fn principals() -> Vec<Files> {
    let of = |principal: &str| {
        resource_policy(&format!(
            r#"{{"Effect": "Allow", "Principal": {principal}, "Action": "orders:Get"}}"#
        ))
    };
    vec![
        resource_policy(r#"{"Effect": "Allow", "Action": "orders:Get"}"#),
        trust(r#""Effect": "Allow", "Action": "sts:AssumeRole""#),
        trust(
            r#""Effect": "Deny", "NotPrincipal": {"AWS": "111111111111"}, "Action": "sts:AssumeRole""#,
        ),
        trust(r#""Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole""#),
        trust(
            r#""Effect": "Allow", "Principal": {"AWS": "111111111111"}, "Action": "sts:AssumeRole", "Resource": "*""#,
        ),
        resource_policy(
            r#"{"Effect": "Deny", "NotPrincipal": {"AWS": ["arn:aws:sts::111111111111:assumed-role/clerk/s1", "111111111111"]}, "Action": "orders:Get"}"#,
        ),
        resource_policy(
            r#"{"Sid": "Ann", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:user/nobody"}, "Action": "orders:Get"}"#,
        ),
        of(r#""111111111111""#),
        of("{}"),
        of("[]"),
        of(r#"{"Aws": "111111111111"}"#),
        of(r#"{"Service": "orders"}"#),
        of(r#"{"Federated": "https://idp.example.com"}"#),
        of(r#"{"Federated": "aws"}"#),
        of(r#"{"AWS": "a b"}"#),
        of(r#"{"AWS": "arn:aws:iam::111111111111:user/${aws:username}"}"#),
    ]
}

fn control_policies() -> Vec<Files> {
    let rcp = |text: &str| one("resource-control-policies/limit.json", text);
    let scp = |elements: &str| {
        one(
            "service-control-policies/limit.json",
            one_statement(elements),
        )
    };
    let deny = r#""Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*""#;
    let changed = |old: &str, new: &str| rcp(&one_statement(&deny.replace(old, new)));
    vec![
        rcp(&format!(r#"{{"Statement": {{{deny}}}}}"#)),
        changed("Deny", "Allow"),
        changed(
            r#""Principal": "*""#,
            r#""Principal": {"AWS": "111111111111"}"#,
        ),
        changed(r#""Principal": "*", "#, ""),
        changed("s3:*", "*"),
        changed("\"Action\"", "\"NotAction\""),
        scp(deny),
        scp(r#""Effect": "Allow", "Action": "orders:Get""#),
        two(
            "service-control-policies/limit.json",
            ALLOW,
            "service-control-policies/x/limit.json",
            ALLOW,
        ),
    ]
}

fn resource_policies() -> Vec<Files> {
    let path = "resource-policies/orders.json";
    let of = |resource: &str| one(path, format!(r#"{{"Resource": {resource}}}"#));
    let orders = r#"{"Resource": "arn:app:orders:::order/*"}"#;
    vec![
        of(r#""arn:app:orders:::${aws:username}""#),
        of(r#""arn::orders:::x""#),
        of(r#""order/1""#),
        of(r#""arn:app:orders""#),
        of("[]"),
        of("1"),
        of(r#""arn:app:orders::222222222222:order/*""#),
        two(
            path,
            orders,
            "accounts/222222222222/resource-policies/orders.json",
            orders,
        ),
        two(path, orders, "account.json", "{}"),
        one("accounts/aws/resource-policies/orders.json", orders),
        one("accounts/x/resource-policies/no.json", "{}"),
    ]
}

fn accounts() -> Vec<Files> {
    let of = |text: &str| one("account.json", text);
    vec![
        of(r#"{"AccountId": "1 1"}"#),
        of(r#"{"AccountId": "aws"}"#),
        of(r#"{"AccountId": "111111111111", "Partition": "A W S"}"#),
        of(r#"{"AccountId": "111111111111", "RootUserEnabled": "yes"}"#),
        of(r#"{"AccountId": 111111111111}"#),
        of("[]"),
        one(
            "accounts/222222222222/account.json",
            r#"{"AccountId": "333333333333"}"#,
        ),
        one(
            "accounts/111111111111/account.json",
            r#"{"AccountId": "111111111111"}"#,
        ),
        ann(r#"{"Arn": "arn:aws-cn:iam::111111111111:user/ann"}"#),
    ]
}

fn users() -> Vec<Files> {
    let attached = |arn: &str, name: &str| {
        format!(
            r#"{{"AttachedManagedPolicies": [{{"PolicyName": "{name}", "PolicyArn": "{arn}"}}]}}"#
        )
    };
    let read = "arn:aws:iam::111111111111:policy/Read";
    let with_read = |text: String| two("users/ann.json", text, "managed-policies/Read.json", ALLOW);
    let boundary = |of_type: &str| {
        format!(
            r#"{{"PermissionsBoundary": {{"PermissionsBoundaryType": "{of_type}", "PermissionsBoundaryArn": "{read}"}}}}"#
        )
    };
    let tags: Vec<String> = (0..51)
        .map(|n| format!(r#"{{"Key": "k{n}", "Value": ""}}"#))
        .collect();
    let many = |one: &str, n: usize| vec![one; n].join(", ");
    let inline = format!(r#"{{"PolicyName": "p", "PolicyDocument": {ALLOW}}}"#);
    let of_read = format!(r#"{{"PolicyName": "Read", "PolicyArn": "{read}"}}"#);
    let role = r#"{"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"AWS": "111111111111"}, "Action": "sts:AssumeRole"}}, "MaxSessionDuration": 60}"#;
    let with_id = r#"{"UserId": "AIDAABCDEFGHIJKLMNOP"}"#;
    vec![
        one("roles/clerk.json", role),
        ann(r#"{"Path": "x"}"#),
        ann(format!(r#"{{"UserName": "{}"}}"#, "a".repeat(65))),
        ann(r#"{"UserName": "ann", "Arn": "arn:aws:iam::111111111111:user/bob"}"#),
        ann(r#"{"Arn": "arn:aws:iam::222222222222:user/ann"}"#),
        one("accounts/aws/users/ann.json", "{}"),
        with_read(attached(read, "Write")),
        with_read(attached("arn:aws:iam::111111111111:policy/Raed", "Raed")),
        with_read(boundary("User")),
        ann(boundary("Policy")),
        ann(attached(read, "Read")),
        ann(attached("arn:aws:iam::222222222222:policy/Read", "Read")),
        ann(attached("Read", "Read")),
        with_read(format!(
            r#"{{"AttachedManagedPolicies": [{}]}}"#,
            many(&of_read, 11)
        )),
        ann(format!(r#"{{"UserPolicyList": [{inline}, {inline}]}}"#)),
        ann(r#"{"Tags": [{"Key": "", "Value": ""}]}"#),
        ann(format!(r#"{{"Tags": [{}]}}"#, tags.join(", "))),
        two(
            "users/ann.json",
            format!(r#"{{"GroupList": [{}]}}"#, many("\"staff\"", 11)),
            "groups/staff.json",
            "{}",
        ),
        ann(r#"{"UserName": 1}"#),
        ann(r#"{"Tags": [1]}"#),
        ann("1"),
        two("users/ann.json", with_id, "users/bob.json", with_id),
        two("users/ann.json", "{}", "users/x/ann.json", "{}"),
    ]
}

fn versions() -> Vec<Files> {
    let of = |members: &str, versions: &[&str]| {
        let versions = versions.join(", ");
        one(
            "managed-policies/Two.json",
            format!(r#"{{{members}"PolicyVersionList": [{versions}]}}"#),
        )
    };
    let version = |id: &str, is_default: bool| {
        format!(r#"{{"VersionId": "{id}", "IsDefaultVersion": {is_default}, "Document": {ALLOW}}}"#)
    };
    let (first, second) = (version("v1", true), version("v2", false));
    let six: Vec<String> = (1..=6).map(|n| version(&format!("v{n}"), n == 1)).collect();
    let six: Vec<&str> = six.iter().map(String::as_str).collect();
    vec![
        of("", &[]),
        of("", &[&second]),
        of(r#""DefaultVersionId": "v2", "#, &[&first, &second]),
        of(r#""DefaultVersionId": "v9", "#, &[&second]),
        of("", &[&first, &version("v1", false)]),
        of("", &[&version("one", true)]),
        of("", &["1"]),
        one(
            "managed-policies/Two.json",
            get_policy_version(ALLOW, false),
        ),
        of("", &six),
    ]
}

fn organizations() -> Vec<Files> {
    let of = |root: &str| {
        one(
            "organization.json",
            format!(
                r#"{{"Id": "o-1", "ManagementAccountId": "999999999999", "Root": {{"Id": "r-1"{root}}}}}"#
            ),
        )
    };
    let full = r#""ServiceControlPolicies": ["FullAWSAccess"]"#;
    let names: Vec<String> = (0..6).map(|n| format!(r#""p{n}""#)).collect();
    let mut six = of(&format!(
        r#", "ServiceControlPolicies": [{}]"#,
        names.join(", ")
    ));
    for number in 0..6 {
        six.extend(one(
            &format!("service-control-policies/p{number}.json"),
            ALLOW,
        ));
    }
    let deep = (0..6).rev().fold(String::new(), |inner, n| {
        format!(r#", "OrganizationalUnits": [{{"Id": "ou-{n}"{inner}}}]"#)
    });
    vec![
        of(r#", "Accounts": [{"Id": "aws"}]"#),
        of(&format!(
            r#", "Accounts": [{{"Id": "111111111111", {full}}}]"#
        )),
        of(r#", "Accounts": [1]"#),
        of(r#", "ServiceControlPolicies": ["nothing"]"#),
        of(r#", "ResourceControlPolicies": ["nothing"]"#),
        of(&format!(
            r#", {full}, "OrganizationalUnits": [{{"Id": "ou-1"}}]"#
        )),
        of(&deep),
        of(r#", "OrganizationalUnits": [{"Id": "r-1"}]"#),
        six,
        one("organization.json", "1"),
        one(
            "resource-control-policies/RCPFullAWSAccess.json",
            one_statement(
                r#""Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*""#,
            ),
        ),
    ]
}

fn places() -> Vec<Files> {
    vec![
        one("accounts/222222222222/organization.json", "{}"),
        one(
            "accounts/222222222222/service-control-policies/x.json",
            ALLOW,
        ),
        one("http-mapping.json", "[]"),
        one("users.json", user("ann", ALLOW)),
        one("dumps/partner.json", "1"),
        one("managed-policies/Read.json", "1"),
    ]
}
