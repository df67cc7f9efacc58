//! The small vocabulary of policies and questions: few words, so that they meet.

/// Of questions.
pub const ACTIONS: &[&str] = &[
    "orders:Get",
    "orders:Get",
    "orders:Get",
    "orders:GetAll",
    "orders:Refund",
    "orders:Refund",
    "orders:List",
    "files:Get",
    "orders-admin:Purge",
    "orders:refund",
    "ORDERS:GET",
];

/// Of policies.
pub const ACTION_PATTERNS: &[&str] = &[
    "*",
    "*",
    "*",
    "orders:*",
    "orders:*",
    "orders:Get*",
    "orders:*e*",
    "orders:Get?ll",
    "ORDERS:REFUND",
    "*:*",
    "files:*",
    "orders:Ge?",
    "orders:Get",
    "orders:Refund",
    "orders:?*d",
    "files:get",
    "orders-admin:*",
];

/// Of more than half of the questions: what somebody may well be allowed.
pub const COMMON_RESOURCES: &[&str] = &[
    "arn:app:orders:::order/1",
    "arn:app:orders:::order/vip-1",
    "arn:app:orders:eu:111111111111:order/1",
    "arn:app:orders:us:111111111111:order/vip-1",
    "arn:app:files:::home/ann/f",
    "arn:app:files:::t/blue/f",
    "*",
];

/// Of the others.
pub const RESOURCES: &[&str] = &[
    "arn:app:orders:::order/1",
    "arn:app:orders:::order/1",
    "arn:app:orders:::order/9",
    "arn:app:orders:::order/vip-1",
    "arn:app:orders:::order/vip-2",
    "arn:app:orders:::order/*",
    "arn:app:orders:::order/?",
    "arn:app:orders:::order/",
    "arn:app:orders:eu:111111111111:order/1",
    "arn:app:orders:eu:111111111111:order/1",
    "arn:app:orders:us:111111111111:order/vip-1",
    "arn:app:orders:eu:222222222222:order/1",
    "arn:app:orders:eu:222222222222:x:111111111111:order/1",
    "arn:app:orders:::order/77",
    "arn:app:orders:eu:111111111111:order/vip-7",
    "arn:app:orders:eu:333333333333:order/1",
    "arn:app:orders:eu:tax-adviser:order/1",
    "arn:app:orders:eu:999999999999:order/1",
    "arn:app:orders:eu:aws:order/1",
    "arn:app:files:::home/ann/f",
    "arn:app:files:::home/bob/f",
    "arn:app:files:::home/${aws:username}/f",
    "arn:app:files:::t/blue/f",
    "arn:app:files:::t/*/f",
    "arn:app:files:::t/all/f",
    "arn:app:files:::t/Ünï/ſ\n",
    "arn:app:files:::t/b:lue/f",
    "arn:app:ORDERS:::order/1",
    "*",
    "*",
];

/// Of policies, where a wider match grants.
pub const RESOURCE_PATTERNS: &[&str] = &[
    "*",
    "*",
    "*",
    "*",
    "**",
    "arn:app:orders:::order/*",
    "arn:app:orders:::order/?",
    "arn:app:orders:::order/vip-*",
    "arn:app:orders:::*/1",
    "arn:app:orders:*",
    "arn:app:orders:eu:*",
    "arn:app:orders:*:111111111111:order/*",
    "arn:app:orders:*:*:order/1",
    "arn:app:orders:?u:*:order/?",
    "arn:app:orders:*:*:*",
    "arn:*:orders:*:*:order/*",
    "arn:app:*:::*",
    "arn:*",
    "arn:app:files:::home/${aws:username}/*",
    "arn:app:files:::t/${aws:PrincipalTag/team}/*",
    "arn:app:files:::t/${aws:principaltag/TEAM, 'all'}/*",
    "arn:app:files:::t/${app:k, 'b*'}/?",
    "arn:app:files:::t/${*}/*",
    "arn:app:files:::t/${app:list}/f",
    "arn:app:orders:eu:${aws:PrincipalAccount}:order/*",
    "arn:app:orders:${aws:PrincipalTag/team}:*:order/*",
    "arn:app:files:::t/*l*/*",
    "arn:aws:iam::*:role/*",
    "arn:app:files:::$/x",
];

/// Of policies, where a wider match restricts: the short ones too.
pub const SHORT_PATTERNS: &[&str] = &[
    "arn:app:orders:*:order/1",
    "arn:app:orders",
    "arn:app:orders:eu",
    "arn:app:*:order/1",
    "arn:app:orders:*:order/?",
    "arn:a*:order/1",
    "arn:app:orders:e*:11*",
    "arn:*:order/*",
    "arn:app:orders:eu:?11111111111",
    "arn:app:orders:*:x:*:order/1",
    "arn:app:orders:*:111111111111:order/*",
];

/// Of resource policies of the root's account.
pub const SCOPES: &[&str] = &[
    "arn:app:orders:::order/*",
    "arn:app:orders:::order/1",
    "arn:app:orders:::order/vip-*",
    "arn:app:orders:::order/vip-1",
    "arn:app:orders:*:111111111111:*",
    "arn:app:orders:eu:111111111111:order/*",
    "arn:app:files:::home/*",
    "arn:app:files:::t/blue/*",
    "arn:aws:iam::111111111111:role/*",
];

/// Of the other account; for a few resources both speak (E-6).
pub const OTHER_SCOPES: &[&str] = &[
    "arn:app:orders:::*/vip-2",
    "arn:app:orders:*:222222222222:*",
    "arn:app:orders:eu:222222222222:order/1",
    "arn:app:orders:eu:222222222222:*",
    "arn:app:files:::t/a*",
    "arn:app:files:::t/all/f",
];

pub const TAG_VALUES: &[&str] = &[
    "blue",
    "blue",
    "red",
    "all",
    "",
    "*",
    "b:lue",
    "eu",
    "Blue",
    "${aws:username}",
];

pub const STRINGS: &[&str] = &[
    "blue",
    "red",
    "Blue",
    "ann",
    "",
    "bl*",
    "?lue",
    "*",
    "${aws:PrincipalTag/team}",
    "${aws:username}",
    "${app:k, 'blue'}",
    "${*}",
    "Straße",
    "STRAẞE",
    "k",
    "\u{212a}",
    "σς",
    "$",
    "é",
    "e\u{301}",
    "a b",
    "team",
    "111111111111",
    "${aws:PrincipalTag/missing}",
    "o-1",
    "o-1/r-1/*",
    "User",
    "AssumedRole",
    "true",
    "5",
    "${app:list}",
    "oidc.example.com/id/1",
    "ops",
    "${aws:PrincipalAccount}",
    "orders.internal",
    "İ",
    "i",
    "ſ",
    "S",
];
/// What questions hold that no policy can.
pub const STRANGE_STRINGS: &[&str] = &[
    "BLUE", "blu", "bluee", " blue", "STRASSE", "straße", "ΣΣ", "\u{0}", "b\nlue", "blue ",
];

pub const NUMBERS: &[&str] = &[
    "5",
    "10",
    "-5",
    "1.50",
    "1.5",
    "9007199254740993",
    "9007199254740992",
    "0",
    "-0",
    "+7",
    "00.5",
    "100",
    "12345678901234567890123456789012345678",
    "0.1",
    "-12345678901234567890.123456789",
];
pub const STRANGE_NUMBERS: &[&str] = &[
    "10abc",
    "1e3",
    "NaN",
    "",
    " 5",
    "0x5",
    ".5",
    "5.",
    "--5",
    "123456789012345678901234567890123456789",
    "٥",
];

pub const DATES: &[&str] = &[
    "2024-06-01T00:00:00Z",
    "1717200000",
    "2024-06-01",
    "2024-06",
    "2024-06-01T02:00:00+02:00",
    "2024-02-29",
    "2024-05-31T23:59:59.999999999Z",
    "2024-06-01T00:00Z",
    "1717200000.5",
    "-1",
    "2024-05-31T23:59:59Z",
    "1717199999.999999999",
    "1969-12-31T23:59:59-00:00",
    "2025-01-01T00:00:00.5Z",
];
pub const STRANGE_DATES: &[&str] = &[
    "2024",
    "2024-13",
    "2024-04-31",
    "2024-06-01T24:00:00Z",
    "2024-06-01t00:00:00z",
    "2024-06-01T00:00:00",
    "2024-06-01T00:00:60Z",
    "2023-02-29",
    "yesterday",
    "2024-6-1",
    "2024-06-01 00:00:00Z",
    "1717200000Z",
];

pub const BOOLEANS: &[&str] = &["true", "false", "TRUE", "False"];
pub const STRANGE_BOOLEANS: &[&str] = &["1", "yes", "", "true "];

pub const BYTES: &[&str] = &["YQ==", "Yg==", "YWI=", "AAAA"];
pub const STRANGE_BYTES: &[&str] = &["YQ", "a", "YQ=", "*", "Y Q=="];

pub const ADDRESSES: &[&str] = &[
    "10.0.0.0/8",
    "10.1.2.3",
    "0.0.0.0/0",
    "::/0",
    "2001:db8::/32",
    "2001:DB8::1",
    "::ffff:10.1.2.3",
    "10.1.2.255/24",
    "fe80::/10",
    "10.1.2.4/30",
    "::ffff:10.0.0.0/104",
    "255.255.255.255",
    "2001:db8::1/127",
];
/// Edges of the ranges above.
pub const REQUEST_ADDRESSES: &[&str] = &[
    "10.0.0.0",
    "10.255.255.255",
    "9.255.255.255",
    "11.0.0.0",
    "10.1.2.3",
    "10.1.2.4",
    "10.1.2.7",
    "10.1.2.8",
    "10.1.2.0",
    "10.1.3.0",
    "2001:db8::",
    "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:db9::",
    "2001:db8:0:0::1",
    "::ffff:10.1.2.3",
    "::ffff:a01:203",
    "::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "0.0.0.0",
    "255.255.255.255",
];
pub const STRANGE_ADDRESSES: &[&str] = &[
    "010.1.2.3",
    "fe80::1%eth0",
    "10.1.2.3:80",
    "localhost",
    "10.1",
    "",
    "10.1.2.256",
];

pub const ARNS: &[&str] = &[
    "arn:aws:sns:*:111111111111:t*",
    "*",
    "arn:aws:iam::111111111111:role/ops",
    "arn:aws:iam::*:role/*",
    "arn:*:*:*:*:*",
    "arn:aws:iam::${aws:PrincipalAccount}:user/${aws:username}",
    "arn:aws:iam::111111111111:user/ann",
    "arn:aws:sts::111111111111:assumed-role/ops/*",
    "arn:aws:sns:eu:${aws:PrincipalTag/team}:t1",
    "arn:aws:sns:${aws:PrincipalTag/team, 'eu'}:111111111111:t?",
    "arn:aws:iam::111111111111:root",
    "arn:aws:sns:e?::*",
];
pub const REQUEST_ARNS: &[&str] = &[
    "arn:aws:sns:eu:111111111111:t1",
    "arn:aws:sns:eu:blue:t1",
    "arn:aws:sns:eu:x:111111111111:t1",
    "arn:aws:sns:eu::t1",
    "arn:aws:iam::111111111111:role/ops",
    "arn:aws:SNS:eu:111111111111:t1",
    "arn:aws:sns:eu:111111111111:t:1/2",
];
pub const STRANGE_ARNS: &[&str] = &[
    "t1",
    "arn:aws:sns",
    "",
    "blue",
    "x:aws:sns:eu:111111111111:t1",
];

pub const STRING_KEYS: &[&str] = &[
    "app:k",
    "app:k",
    "app:list",
    "aws:PrincipalTag/team",
    "aws:ResourceTag/team",
    "aws:RequestTag/team",
    "aws:TagKeys",
    "aws:username",
    "aws:PrincipalType",
    "aws:PrincipalAccount",
    "aws:PrincipalOrgID",
    "aws:PrincipalOrgPaths",
    "aws:SourceIdentity",
    "aws:FederatedProvider",
    "aws:userid",
    "aws:CalledVia",
    "aws:CalledViaFirst",
    "aws:PrincipalServiceName",
    "aws:ResourceAccount",
    "aws:ResourceOrgID",
    "oidc.example.com/id/1:sub",
    "saml:sub",
    "sts:ExternalId",
    "iam:PassedToService",
    "svc:ResourceTag/team",
    "aws:PrincipalTag/tier",
    "aws:CalledViaLast",
    "aws:PrincipalServiceNamesList",
    "aws:ResourceOrgPaths",
    "aws:SourceAccount",
];
pub const NUMBER_KEYS: &[&str] = &[
    "app:n",
    "app:n",
    "app:n",
    "aws:MultiFactorAuthAge",
    "aws:EpochTime",
    "app:list",
];
pub const DATE_KEYS: &[&str] = &[
    "app:d",
    "app:d",
    "app:d",
    "aws:CurrentTime",
    "aws:EpochTime",
    "aws:TokenIssueTime",
];
pub const BOOLEAN_KEYS: &[&str] = &[
    "app:b",
    "app:b",
    "aws:MultiFactorAuthPresent",
    "aws:SecureTransport",
    "aws:ViaAWSService",
    "aws:PrincipalIsAWSService",
];
pub const ADDRESS_KEYS: &[&str] = &["aws:SourceIp", "aws:SourceIp", "app:ip"];
pub const ARN_KEYS: &[&str] = &["aws:PrincipalArn", "aws:SourceArn", "app:arn"];

pub const SESSION_NAMES: &[&str] = &["s1", "s2", "u-1234567", "ann"];
pub const SERVICES: &[&str] = &["orders.internal", "ec2.amazonaws.com"];
pub const OIDC: &str = "oidc.example.com/id/1";
pub const OIDC_ARN: &str = "arn:aws:iam::111111111111:oidc-provider/oidc.example.com/id/1";
pub const SAML_ARN: &str = "arn:aws:iam::111111111111:saml-provider/corp";
