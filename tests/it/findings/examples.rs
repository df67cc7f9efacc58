//! A minimal store for each code that has the finding. If a code can be an error and a warning, there is one store for
//! each.

use crate::files::{outputs, unreadable};
use crate::hostile::{self, Bad};
use crate::support::user;

mod more;

pub struct Example {
    /// The code. Empty if the example shows any finding.
    pub code: &'static str,
    pub files: Vec<(String, Bad)>,
    /// The codes of other findings that always come with it.
    pub brings: &'static [&'static str],
}

impl Example {
    pub fn brings(mut self, others: &'static [&'static str]) -> Self {
        self.brings = others;
        self
    }
}

const ACCOUNT: &str = r#"{"AccountId": "111111111111"}"#;
const ALLOW: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "orders:Get", "Resource": "*"}}"#;

pub fn all() -> Vec<Example> {
    let mut examples = texts();
    examples.extend(grammar());
    examples.extend(conditions());
    examples.extend(principals());
    examples.extend(lints());
    examples.extend(lints_of_principals());
    examples.extend(files());
    examples.extend(entities());
    examples.extend(organizations());
    examples.extend(more::all().into_iter().map(of_any_code));
    examples.extend(of_other_tests());
    examples
}

/// Returns examples from other tests: kinds of bad input, texts that are not JSON, and outputs of the AWS CLI.
fn of_other_tests() -> Vec<Example> {
    let hostile = hostile::cases::all().into_iter().map(|case| {
        let (_, behind) = case.finding.split_once('[').unwrap();
        let base = hostile::base().into_iter();
        let base = base.map(|(path, text)| (path.to_owned(), Bad::Bytes(text.into())));
        Example {
            code: behind.split(']').next().unwrap(),
            files: base.chain(case.bad).collect(),
            brings: &["non-canonical-case"],
        }
    });
    let unreadable = unreadable::all().into_iter();
    let unreadable = unreadable.map(|(_, bytes, code, _, _)| text(code, "users/ann.json", bytes));
    let outputs = outputs::table::all().into_iter();
    let outputs = outputs.map(|case| {
        beside(
            text(case.code, case.path, case.text),
            "users/zoe.json",
            "{}",
        )
    });
    hostile.chain(unreadable).chain(outputs).collect()
}

fn of_any_code(files: more::Files) -> Example {
    let has_account = files.iter().any(|(path, _)| path == "account.json");
    let account = (!has_account).then(|| ("account.json".to_owned(), ACCOUNT.to_owned()));
    let bytes = |(path, text): (String, String)| (path, Bad::Bytes(text.into()));
    Example {
        code: "",
        files: account.into_iter().chain(files).map(bytes).collect(),
        brings: &[],
    }
}

/// Returns a store with an account and this file.
fn with(code: &'static str, path: &str, bad: Bad) -> Example {
    let account = ("account.json".to_owned(), Bad::Bytes(ACCOUNT.into()));
    Example {
        code,
        files: vec![account, (path.to_owned(), bad)],
        brings: &[],
    }
}

fn text(code: &'static str, path: &str, text: impl Into<Vec<u8>>) -> Example {
    with(code, path, Bad::Bytes(text.into()))
}

/// Returns the same store with another file beside it.
fn beside(mut example: Example, path: &str, text: &str) -> Example {
    example
        .files
        .push((path.to_owned(), Bad::Bytes(text.into())));
    example
}

/// Returns a user with this file.
fn ann(code: &'static str, body: &str) -> Example {
    text(code, "users/ann.json", body)
}

/// Returns a user with a policy.
fn document(code: &'static str, document: &str) -> Example {
    ann(code, &user("ann", document))
}

fn one_statement(elements: &str) -> String {
    format!("{{\"Version\": \"2012-10-17\", \"Statement\": [\n    {{{elements}}}\n  ]}}")
}

/// Returns a user with a policy of one statement that has these elements.
fn statement(code: &'static str, elements: &str) -> Example {
    document(code, &one_statement(elements))
}

/// Returns an Allow with this condition.
fn allow_if(code: &'static str, condition: &str) -> Example {
    let elements = format!(
        r#""Effect": "Allow", "Action": "orders:Get", "Resource": "*", "Condition": {{{condition}}}"#
    );
    statement(code, &elements)
}

/// Returns a Deny with this condition.
fn deny_if(code: &'static str, condition: &str) -> Example {
    let elements = format!(
        r#""Effect": "Deny", "Action": "orders:Get", "Resource": "*", "Condition": {{{condition}}}"#
    );
    statement(code, &elements)
}

/// Returns a resource policy of these statements.
fn of_resource(code: &'static str, statements: &str) -> Example {
    let file = format!(
        "{{\n  \"Resource\": \"arn:app:orders:::order/*\",\n  \"Policy\": {{\"Version\": \"2012-10-17\", \"Statement\": [\n    {statements}\n  ]}}\n}}\n"
    );
    text(code, "resource-policies/orders.json", file)
}

/// Returns a role with a trust policy of one statement that has these elements.
fn trust(code: &'static str, elements: &str) -> Example {
    let file = format!(
        "{{\n  \"AssumeRolePolicyDocument\": {}\n}}\n",
        one_statement(elements)
    );
    text(code, "roles/clerk.json", file)
}

fn scp(code: &'static str, document: &str) -> Example {
    text(code, "service-control-policies/limit.json", document)
}

fn texts() -> Vec<Example> {
    let unknown: Vec<String> = (0..103).map(|n| format!(r#""Tag{n}": 1"#)).collect();
    let empty_sid = r#"{"Sid": "", "Effect": "Allow", "Action": "orders:Get", "Resource": "*"}"#;
    let many = format!(
        r#"{{"Version": "2012-10-17", "Statement": [{}]}}"#,
        vec![empty_sid; 104].join(", ")
    );
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let deep = format!(
        r#"{{"Version": "2012-10-17", "Id": {}, "Statement": []}}"#,
        nested(16)
    );
    vec![
        ann("more-findings", &format!("{{{}}}", unknown.join(", "))).brings(&["unknown-member"]),
        document("more-findings", &many).brings(&["empty-sid"]),
        ann("syntax", "{\n  \"UserName\": \"ann\",\n}\n"),
        ann(
            "syntax",
            "{\n  // the first user\n  \"UserName\": \"ann\"\n}\n",
        ),
        ann("syntax", "UserName: ann\n"),
        ann("syntax", ""),
        ann("byte-order-mark", "\u{feff}{}"),
        text(
            "not-utf8",
            "users/ann.json",
            b"{\"Path\": \"/\xe9/\"}".to_vec(),
        ),
        text("not-utf8", "users/ann.json", b"\xff\xfe{\0}\0".to_vec()),
        ann("too-deep", &format!(r#"{{"CreateDate": {}}}"#, nested(64))),
        document("too-deep", &deep),
        ann(
            "duplicate-member",
            "{\n  \"Path\": \"/\",\n  \"Path\": \"/\"\n}\n",
        ),
        ann("unknown-member", "{\n  \"Tgas\": []\n}\n"),
        statement(
            "unknown-member",
            r#""Effect": "Allow", "Action": "orders:Get", "Resource": "*", "Conditon": {}"#,
        ),
        text("missing-member", "roles/clerk.json", "{}"),
        document("missing-member", r#"{"Version": "2012-10-17"}"#),
        ann("wrong-type", r#"{"Tags": 1}"#),
        ann(
            "nul-character",
            r#"{"Tags": [{"Key": "a\u0000b", "Value": ""}]}"#,
        ),
    ]
}

fn grammar() -> Vec<Example> {
    let sids = |effect: &str| {
        let one = |action: &str| {
            format!(
                r#"{{"Sid": "A", "Effect": "{effect}", "Principal": "*", "Action": "{action}"}}"#
            )
        };
        format!("{},\n    {}", one("orders:Get"), one("orders:Put"))
    };
    let named = r#"{"Sid": "A", "Effect": "Allow", "Action": "orders:Get", "Resource": "*"}"#;
    let twice = format!(r#"{{"Version": "2012-10-17", "Statement": [{named}, {named}]}}"#);
    vec![
        document(
            "invalid-version",
            r#"{"Version": "2012-10-18", "Statement": {"Effect": "Allow", "Action": "orders:Get", "Resource": "*"}}"#,
        ),
        statement(
            "empty-list",
            r#""Effect": "Allow", "Action": [], "Resource": "*""#,
        ),
        document(
            "empty-list",
            r#"{"Version": "2012-10-17", "Statement": []}"#,
        ),
        statement(
            "empty-string",
            r#""Effect": "Allow", "Action": "", "Resource": "*""#,
        ),
        statement(
            "invalid-effect",
            r#""Effect": "allow", "Action": "orders:Get", "Resource": "*""#,
        ),
        statement(
            "conflicting-elements",
            r#""Effect": "Allow", "Action": "orders:Get", "NotAction": "orders:Put", "Resource": "*""#,
        ),
        statement(
            "element-not-allowed",
            r#""Effect": "Allow", "Principal": "*", "Action": "orders:Get", "Resource": "*""#,
        ),
        document("duplicate-sid", &twice),
        of_resource("duplicate-sid", &sids("Allow")),
        statement(
            "invalid-action",
            r#""Effect": "Allow", "Action": "orders", "Resource": "*""#,
        ),
        statement(
            "invalid-resource",
            r#""Effect": "Allow", "Action": "orders:Get", "Resource": "order/1""#,
        ),
        statement(
            "short-arn",
            r#""Effect": "Allow", "Action": "orders:Get", "Resource": "arn:app:orders""#,
        ),
        statement(
            "short-arn",
            r#""Effect": "Deny", "Action": "orders:Get", "Resource": "arn:app:orders""#,
        ),
        statement(
            "invalid-variable",
            r#""Effect": "Allow", "Action": "orders:Get", "Resource": "arn:app:orders:::${aws:username""#,
        ),
        statement(
            "misplaced-variable",
            r#""Effect": "Allow", "Action": "orders:${aws:username}", "Resource": "*""#,
        ),
    ]
}

fn conditions() -> Vec<Example> {
    vec![
        deny_if("unknown-operator", r#""StringLikes": {"app:team": "blue"}"#),
        deny_if(
            "duplicate-condition",
            r#""StringEquals": {"app:team": "blue", "APP:team": "red"}"#,
        ),
        deny_if(
            "invalid-condition-key",
            r#""StringEquals": {"team": "blue"}"#,
        ),
        deny_if(
            "invalid-condition-value",
            r#""DateLessThan": {"aws:CurrentTime": "tomorrow"}"#,
        ),
        deny_if(
            "multiple-booleans",
            r#""Bool": {"aws:SecureTransport": ["true", "false"]}"#,
        ),
        allow_if("empty-condition", ""),
        deny_if(
            "non-canonical-case",
            r#""stringequals": {"app:team": "blue"}"#,
        ),
        deny_if(
            "unknown-global-key",
            r#""IpAddress": {"aws:SourceIpp": "10.0.0.0/8"}"#,
        ),
        allow_if(
            "allow-negated-variable",
            r#""StringNotEquals": {"app:owner": "${aws:username}"}"#,
        ),
        deny_if(
            "forallvalues-on-single-valued",
            r#""ForAllValues:StringEquals": {"aws:SourceVpc": "vpc-1"}"#,
        ),
        allow_if(
            "forallvalues-allow",
            r#""ForAllValues:StringEquals": {"aws:TagKeys": "team"}"#,
        ),
        deny_if(
            "ifexists-with-set-qualifier",
            r#""ForAnyValue:StringLikeIfExists": {"app:groups": "x"}"#,
        ),
        deny_if(
            "ifexists-with-set-qualifier",
            r#""ForAllValues:StringLikeIfExists": {"app:groups": "x"}"#,
        ),
        allow_if(
            "client-controlled-key",
            r#""StringLike": {"aws:UserAgent": "shop/*"}"#,
        ),
        statement(
            "client-controlled-key",
            r#""Effect": "Allow", "Action": "orders:Get", "Resource": "arn:app:orders:::${aws:referer}""#,
        ),
    ]
}

fn principals() -> Vec<Example> {
    let allow = |principal: &str| {
        format!(r#"{{"Effect": "Allow", "Principal": {principal}, "Action": "orders:Get"}}"#)
    };
    let deny = |principal: &str| {
        format!(r#"{{"Effect": "Deny", "NotPrincipal": {principal}, "Action": "orders:Get"}}"#)
    };
    vec![
        of_resource(
            "not-principal-with-allow",
            &deny(r#"{"AWS": "111111111111"}"#).replace("Deny", "Allow"),
        ),
        of_resource(
            "invalid-principal",
            &allow(r#"{"AWS": "arn:aws:iam::111111111111:group/staff"}"#),
        ),
        of_resource("invalid-principal", &allow(r#"{"AWS": "nobody"}"#)),
        of_resource(
            "wildcard-in-principal",
            &allow(r#"{"AWS": "arn:aws:iam::111111111111:role/*"}"#),
        ),
        of_resource(
            "unknown-principal",
            &allow(r#"{"AWS": "arn:aws:iam::111111111111:user/nobody"}"#),
        ),
        of_resource(
            "orphaned-principal-id",
            &allow(r#"{"AWS": "AIDAABCDEFGHIJKLMNOP"}"#),
        ),
        beside(
            of_resource(
                "notprincipal-incomplete",
                &deny(r#"{"AWS": "arn:aws:iam::111111111111:user/ann"}"#),
            ),
            "users/ann.json",
            "{}",
        ),
        of_resource("notprincipal-everyone", &deny(r#""*""#)),
        of_resource(
            "resource-outside-scope",
            r#"{"Effect": "Deny", "Principal": "*", "Action": "orders:Get", "Resource": "arn:app:orders:::invoice/*"}"#,
        ),
    ]
}

fn lints() -> Vec<Example> {
    let resource = |resource: &str| {
        format!(r#""Effect": "Allow", "Action": "orders:Get", "Resource": "{resource}""#)
    };
    let list = |effect: &str| {
        format!(
            r#""Effect": "{effect}", "Action": "orders:List*", "Resource": "arn:app:orders:::*""#
        )
    };
    let sid = |sid: &str| format!(r#""Sid": "{sid}", {}"#, resource("*"));
    let long = format!("arn:app:orders:::{}", "x".repeat(5_200));
    vec![
        document(
            "id-in-identity-policy",
            r#"{"Version": "2012-10-17", "Id": "x", "Statement": {"Effect": "Allow", "Action": "orders:Get", "Resource": "*"}}"#,
        ),
        statement("empty-sid", &sid("")),
        statement("odd-sid", &sid("the first")),
        statement(
            "redundant-wildcard",
            r#""Effect": "Allow", "Action": "*:*", "Resource": "*""#,
        ),
        statement(
            "redundant-wildcard",
            r#""Effect": "Allow", "Action": "**", "Resource": "*""#,
        ),
        scp(
            "missing-version",
            &ALLOW.replace(r#""Version": "2012-10-17", "#, ""),
        ),
        document(
            "variable-without-version",
            r#"{"Statement": {"Effect": "Allow", "Action": "orders:Get", "Resource": "arn:app:orders:::${aws:username}"}}"#,
        ),
        statement(
            "variable-before-fifth-colon",
            &resource("arn:app:orders:${aws:RequestedRegion}::order/1"),
        ),
        statement("wildcard-in-service", &resource("arn:app:ord*:::order/1")),
        statement("deny-list-style", &list("Deny")),
        statement("allow-list-style", &list("Allow")),
        document(
            "shadowed-statement",
            r#"{"Version": "2012-10-17", "Statement": [
                {"Sid": "AllOrders", "Effect": "Allow", "Action": "orders:*", "Resource": "*"},
                {"Effect": "Allow", "Action": "orders:Get", "Resource": "arn:app:orders:::order/*"}]}"#,
        ),
        beside(
            statement(
                "case-mismatch",
                &resource("arn:aws:iam::111111111111:user/Bob"),
            ),
            "users/bob.json",
            "{}",
        ),
        statement("unusual-character", &resource("arn:app:orders:::order/√")),
        scp("aws-quota", &one_statement(&resource(&long))),
    ]
}

/// Examples of trust policies.
fn lints_of_principals() -> Vec<Example> {
    let web = |provider: &str, condition: &str| {
        format!(
            r#""Effect": "Allow", "Principal": {{"Federated": "{provider}"}}, "Action": "sts:AssumeRoleWithWebIdentity"{condition}"#
        )
    };
    let gitlab = r#", "Condition": {"StringLike": {"gitlab.com:sub": "*"}}"#;
    vec![
        trust(
            "shared-provider-without-condition",
            &web("token.actions.githubusercontent.com", ""),
        ),
        trust(
            "shared-provider-without-condition",
            &web("gitlab.com", gitlab),
        ),
        trust(
            "oidc-trust-without-condition",
            &web("accounts.google.com", ""),
        ),
        trust(
            "useless-trust-action",
            r#""Effect": "Allow", "Principal": {"AWS": "111111111111"}, "Action": ["sts:AssumeRole", "s3:GetObject"]"#,
        ),
    ]
}

fn files() -> Vec<Example> {
    // The name is longer than any name may be, so the system refuses to follow the link.
    const LONG: &str = concat!(
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567",
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567",
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567",
    );
    let empty = Example {
        code: "empty-store",
        files: vec![("README.md".to_owned(), Bad::Bytes(Vec::new()))],
        brings: &[],
    };
    vec![
        empty,
        with("unreadable", "users/ann.json", Bad::Link(LONG)),
        with("too-large", "users/ann.json", Bad::Zeros((1 << 20) + 1)),
        text("unknown-file", "user/ann.json", "{}"),
        text("unknown-file", "notes.json", "{}"),
        text("ignored-file", "users/notes.txt", ""),
        with("not-a-file", "users/ann.json", Bad::Folder),
        with("not-a-file", "users/ann.json", Bad::Fifo),
        with("bad-link", "users/ann.json", Bad::Link("nowhere.json")),
        with("bad-link", "users/ann.json", Bad::Link("ann.json")),
        with("bad-link", "users/ann.json", Bad::Link("/etc/hostname")),
    ]
}

fn entities() -> Vec<Example> {
    let version = |id: &str| {
        format!(r#"{{"VersionId": "{id}", "IsDefaultVersion": true, "Document": {ALLOW}}}"#)
    };
    let versions = format!(
        "{{\"PolicyVersionList\": [\n  {},\n  {}\n]}}\n",
        version("v1"),
        version("v2")
    );
    let dump = r#"{"UserDetailList": [], "GroupDetailList": [], "RoleDetailList": [], "Policies": [], "IsTruncated": true}"#;
    let mut without_account = text("unknown-account", "users/ann.json", "{}");
    without_account.files.remove(0);
    vec![
        text("invalid-name", "accounts/1 2/users/ann.json", "{}"),
        ann("invalid-name", r#"{"UserName": "ann b"}"#),
        ann(
            "contradiction",
            r#"{"Path": "/a/", "Arn": "arn:aws:iam::111111111111:user/b/ann"}"#,
        ),
        without_account,
        beside(ann("duplicate-entity", "{}"), "users/x/ANN.json", "{}"),
        beside(
            ann("dangling-reference", r#"{"GroupList": ["staf"]}"#),
            "groups/staff.json",
            "{}",
        ),
        ann(
            "dangling-reference",
            r#"{"AttachedManagedPolicies": [{"PolicyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}]}"#,
        ),
        text("default-version", "managed-policies/Two.json", versions),
        text("truncated-dump", "dumps/partner.json", dump),
        ann("invalid-value", r#"{"Arn": "ann"}"#),
        ann(
            "duplicate-tag",
            r#"{"Tags": [{"Key": "Team", "Value": "1"}, {"Key": "team", "Value": "2"}]}"#,
        ),
    ]
}

fn organizations() -> Vec<Example> {
    let organization = |code, accounts: &str| {
        let file = format!(
            "{{\n  \"Id\": \"o-1\",\n  \"ManagementAccountId\": \"999999999999\",\n  \"Root\": {{\"Id\": \"r-1\", \"ServiceControlPolicies\": [\"FullAWSAccess\"], \"Accounts\": [\n    {accounts}\n  ]}}\n}}\n"
        );
        text(code, "organization.json", file)
    };
    let full = r#"{"Id": "111111111111", "ServiceControlPolicies": ["FullAWSAccess"]}"#;
    vec![
        organization("organization-tree", &format!("{full},\n    {full}")),
        organization("empty-level", r#"{"Id": "111111111111"}"#),
        text(
            "reserved-name",
            "service-control-policies/FullAWSAccess.json",
            ALLOW,
        ),
    ]
}
