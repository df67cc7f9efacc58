//! The table of bad input.

use std::fmt::Write as _;

use super::{Bad, Case};
use crate::support::{allow, user};

mod entities;

pub const ROLE: &str = r#"{
  "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:user/ann"}, "Action": "sts:AssumeRole"}
  ]},
  "Tags": [{"Key": "desk", "Value": "1"}]
}
"#;

pub const RESOURCE: &str = r#"{
  "Resource": ["arn:app:orders:::vip/*"],
  "Policy": {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": "*", "Action": "orders:Get"}
  ]}
}
"#;

pub const ORGANIZATION: &str = r#"{
  "Id": "o-1",
  "ManagementAccountId": "999999999999",
  "Root": {
    "Id": "r-1",
    "ServiceControlPolicies": ["FullAWSAccess"],
    "OrganizationalUnits": [
      {"Id": "ou-1", "ServiceControlPolicies": ["open"], "Accounts": [
        {"Id": "111111111111", "ServiceControlPolicies": ["FullAWSAccess"]}
      ]},
      {"Id": "ou-2", "ServiceControlPolicies": ["open"], "Accounts": [
        {"Id": "222222222222", "ServiceControlPolicies": ["FullAWSAccess"]}
      ]}
    ]
  }
}
"#;

/// The output of `aws iam get-account-authorization-details` for a small account.
pub const DUMP: &str = r#"{
  "UserDetailList": [
    {"Path": "/", "UserName": "zed", "UserId": "AIDAZZZZZZZZZZZZZZZZ", "Arn": "arn:aws:iam::333333333333:user/zed",
     "GroupList": [], "Tags": [{"Key": "town", "Value": "Zürich"}], "AttachedManagedPolicies": [{"PolicyName": "Read", "PolicyArn": "arn:aws:iam::333333333333:policy/Read"}]}
  ],
  "GroupDetailList": [],
  "RoleDetailList": [
    {"Path": "/", "RoleName": "guest", "RoleId": "AROAZZZZZZZZZZZZZZZZ", "Arn": "arn:aws:iam::333333333333:role/guest",
     "AssumeRolePolicyDocument": "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%7B%22AWS%22%3A%22333333333333%22%7D%2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%5D%7D"}
  ],
  "Policies": [
    {"PolicyName": "Read", "Arn": "arn:aws:iam::333333333333:policy/Read", "DefaultVersionId": "v1", "PolicyVersionList": [
      {"VersionId": "v1", "IsDefaultVersion": true, "Document": {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "orders:Get", "Resource": "*"}]}}
    ]}
  ],
  "IsTruncated": false
}
"#;

fn case(what: &'static str, path: &str, bad: Bad, finding: &'static str) -> Case {
    Case {
        what,
        bad: vec![(path.to_owned(), bad)],
        finding,
    }
}

fn text(what: &'static str, path: &str, text: impl Into<Vec<u8>>, finding: &'static str) -> Case {
    case(what, path, Bad::Bytes(text.into()), finding)
}

/// Returns ann's file with another policy document.
fn ann(what: &'static str, document: &str, finding: &'static str) -> Case {
    text(what, "users/ann.json", user("ann", document), finding)
}

/// Returns ann's file with one statement that has these elements.
fn statement(what: &'static str, elements: &str, finding: &'static str) -> Case {
    let document = format!(r#"{{"Version": "2012-10-17", "Statement": [{{{elements}}}]}}"#);
    ann(what, &document, finding)
}

/// Returns a document as a JSON string.
fn quoted(document: &str) -> String {
    serde_json::to_string(document).unwrap()
}

fn percent_encoded(document: &str) -> String {
    let mut encoded = String::new();
    for byte in document.bytes() {
        write!(encoded, "%{byte:02X}").unwrap();
    }
    encoded
}

fn utf16(text: &str) -> Vec<u8> {
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

pub fn all() -> Vec<Case> {
    let mut cases = bytes();
    cases.extend(json());
    cases.extend(duplicates());
    cases.extend(depths());
    cases.extend(kinds_of_files());
    cases.extend(entities::references());
    cases.extend(entities::names());
    cases.extend(entities::organizations());
    cases
}

/// Returns files that are not text, or not in the right encoding.
fn bytes() -> Vec<Case> {
    let good = user("ann", &allow("orders:Get"));
    let mut latin1 = good.clone().into_bytes();
    latin1.splice(4..4, *b"\"Path\": \"/\xe9/\", ");
    let sized = |n_bytes: usize| format!("{{}}{}", " ".repeat(n_bytes - 2));
    vec![
        text(
            "byte order mark",
            "users/ann.json",
            format!("\u{feff}{good}"),
            "users/ann.json:1:1: error[byte-order-mark]",
        ),
        text(
            "byte order mark of an account",
            "account.json",
            "\u{feff}{\"AccountId\": \"111111111111\"}",
            "account.json:1:1: error[byte-order-mark]",
        ),
        text(
            "byte order mark of a dump",
            "dumps/partner.json",
            format!("\u{feff}{DUMP}"),
            "dumps/partner.json:1:1: error[byte-order-mark]",
        ),
        text(
            "UTF-16",
            "users/ann.json",
            utf16(&good),
            "users/ann.json:1:1: error[not-utf8]",
        ),
        text(
            "Latin-1",
            "users/ann.json",
            latin1,
            "users/ann.json:2:13: error[not-utf8]",
        ),
        text(
            "an overlong encoding",
            "users/ann.json",
            b"{\"UserName\": \"\xc0\xaf\"}".to_vec(),
            "users/ann.json:1:15: error[not-utf8]",
        ),
        text(
            "half a surrogate pair in bytes",
            "users/ann.json",
            b"{\n\"Path\": \"\xed\xa0\x80\"}".to_vec(),
            "users/ann.json:2:10: error[not-utf8]",
        ),
        text(
            "binary",
            "roles/clerk.json",
            b"\x7fELF\x02\x01\x01\0\0".to_vec(),
            "roles/clerk.json:1:1: error[syntax]",
        ),
        case(
            "zeros, as a crash leaves them",
            "users/ann.json",
            Bad::Zeros(512),
            "users/ann.json:1:1: error[syntax]",
        ),
        text(
            "nothing",
            "users/ann.json",
            "",
            "users/ann.json:1:1: error[syntax]",
        ),
        text(
            "only blanks",
            "account.json",
            " \n\n",
            "account.json:3:1: error[syntax]",
        ),
        text(
            "an entity file of 8 MiB",
            "users/big.json",
            sized(8 << 20),
            "users/big.json: error[too-large]",
        ),
        text(
            "an entity file one byte too large",
            "users/big.json",
            sized((1 << 20) + 1),
            "users/big.json: error[too-large]",
        ),
        case(
            "a dump over 256 MiB",
            "dumps/big.json",
            Bad::Zeros((256 << 20) + 1),
            "dumps/big.json: error[too-large]",
        ),
        Case {
            what: "a store over 1 GiB",
            bad: (0..5)
                .map(|n| (format!("dumps/{n}.json"), Bad::Zeros(250 << 20)))
                .collect(),
            finding: ".: error[too-large]",
        },
    ]
}

/// Returns files that are text but not JSON.
fn json() -> Vec<Case> {
    let user = |what, body: &str, finding| text(what, "users/ann.json", body, finding);
    vec![
        user(
            "a bracket missing",
            "{\n  \"UserName\": \"ann\",\n  \"Tags\": [\n}\n",
            "users/ann.json:4:1: error[syntax]",
        ),
        user(
            "a comma too many",
            "{\n  \"UserName\": \"ann\",\n}\n",
            "users/ann.json:3:1: error[syntax]",
        ),
        user(
            "a comment",
            "{\n  // the first user\n  \"UserName\": \"ann\"\n}\n",
            "users/ann.json:2:3: error[syntax]",
        ),
        user(
            "two documents",
            "{}\n{}\n",
            "users/ann.json:2:1: error[syntax]",
        ),
        user(
            "single quotes",
            "{'UserName': 'ann'}",
            "users/ann.json:1:2: error[syntax]",
        ),
        user(
            "a name without quotes",
            "{UserName: \"ann\"}",
            "users/ann.json:1:2: error[syntax]",
        ),
        user(
            "not a number",
            "{\"CreateDate\": NaN}",
            "users/ann.json:1:16: error[syntax]",
        ),
        user(
            "a number with a zero in front",
            "{\"CreateDate\": 012}",
            "users/ann.json:1:17: error[syntax]",
        ),
        user(
            "a line break in a string",
            "{\"UserName\": \"an\nn\"}",
            "users/ann.json:1:16: error[syntax]",
        ),
        user(
            "an unknown escape",
            "{\"UserName\": \"\\x61\"}",
            "users/ann.json:1:16: error[syntax]",
        ),
        user(
            "half a surrogate pair",
            "{\"Path\": \"/\\ud800/\"}",
            "users/ann.json:1:18: error[syntax]",
        ),
        user(
            "half a surrogate pair in a name",
            "{\"CreateDate\": {\"\\udc00\": 1}}",
            "users/ann.json:1:23: error[syntax]",
        ),
        user(
            "a character zero",
            "{\"Tags\": [{\"Key\": \"a\\u0000b\", \"Value\": \"\"}]}",
            "users/ann.json:1:19: error[nul-character]",
        ),
        user(
            "a list",
            "[{\"UserName\": \"ann\"}]",
            "users/ann.json:1:1: error[wrong-type]",
        ),
        user(
            "a string",
            "\"ann\"",
            "users/ann.json:1:1: error[wrong-type]",
        ),
        user("null", "null", "users/ann.json:1:1: error[wrong-type]"),
        user(
            "YAML",
            "UserName: ann\n",
            "users/ann.json:1:1: error[syntax]",
        ),
        text(
            "a page of HTML",
            "managed-policies/Read.json",
            "<!DOCTYPE html>\n<html></html>\n",
            "managed-policies/Read.json:1:1: error[syntax]",
        ),
        text(
            "marks of a merge",
            "groups/staff.json",
            "<<<<<<< HEAD\n{}\n=======\n{ }\n>>>>>>> x\n",
            "groups/staff.json:1:1: error[syntax]",
        ),
        text(
            "an organization cut",
            "organization.json",
            &ORGANIZATION[..ORGANIZATION.len() - 9],
            "organization.json:14:3: error[syntax]",
        ),
        text(
            "a dump cut",
            "dumps/partner.json",
            &DUMP[..700],
            "dumps/partner.json:9:212: error[syntax]",
        ),
        text(
            "a dump with more to come",
            "dumps/partner.json",
            DUMP.replace("\"IsTruncated\": false", "\"IsTruncated\": true"),
            "dumps/partner.json:16:18: error[truncated-dump]",
        ),
        text(
            "a dump with a Marker",
            "dumps/partner.json",
            DUMP.replace(
                "\"IsTruncated\": false",
                "\"IsTruncated\": true, \"Marker\": \"x\"",
            ),
            "dumps/partner.json:16:18: error[truncated-dump]",
        ),
        text(
            "a mapping that is no JSON",
            "http-mapping.json",
            "{",
            "http-mapping.json:1:1: error[syntax]",
        ),
    ]
}

/// Returns files in which a member appears twice, at any place.
fn duplicates() -> Vec<Case> {
    let get = r#""Effect": "Allow", "Action": "orders:Get", "Resource": "*""#;
    let twice = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "a:b", "Action": "a:c", "Resource": "*"}]}"#;
    let role = |document: &str| {
        ROLE.replace("{\"Version\": \"2012-10-17\", \"Statement\": [\n    {\"Effect\": \"Allow\", \"Principal\": {\"AWS\": \"arn:aws:iam::111111111111:user/ann\"}, \"Action\": \"sts:AssumeRole\"}\n  ]}", document)
    };
    let trust = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*", "AWS": "*"}, "Action": "sts:AssumeRole"}]}"#;
    vec![
        text(
            "a member twice",
            "users/ann.json",
            "{\n  \"Tags\": [],\n  \"Tags\": []\n}",
            "users/ann.json:3:3: error[duplicate-member]",
        ),
        text(
            "a member twice, once escaped",
            "users/ann.json",
            "{\n  \"Tags\": [],\n  \"\\u0054ags\": []\n}",
            "users/ann.json:3:3: error[duplicate-member]",
        ),
        text(
            "a member twice in a tag",
            "users/ann.json",
            "{\"Tags\": [{\"Key\": \"a\", \"Value\": \"b\", \"Value\": \"c\"}]}",
            "users/ann.json:1:38: error[duplicate-member]",
        ),
        text(
            "a member twice in what is not read",
            "users/ann.json",
            "{\"CreateDate\": [[{\"a\": {\"b\": 1, \"b\": 2}}]]}",
            "users/ann.json:1:33: error[duplicate-member]",
        ),
        text(
            "an account twice",
            "account.json",
            "{\"AccountId\": \"111111111111\", \"AccountId\": \"111111111111\"}",
            "account.json:1:31: error[duplicate-member]",
        ),
        text(
            "a level's policies twice",
            "organization.json",
            ORGANIZATION.replace(
                "\"Id\": \"ou-2\",",
                "\"Id\": \"ou-2\", \"ServiceControlPolicies\": [\"open\"],",
            ),
            "organization.json:11:58: error[duplicate-member]",
        ),
        text(
            "a list of users twice",
            "dumps/partner.json",
            DUMP.replace("\"GroupDetailList\"", "\"UserDetailList\""),
            "dumps/partner.json:6:3: error[duplicate-member]",
        ),
        text(
            "a member twice in a mapping",
            "http-mapping.json",
            "{\"a\": 1, \"a\": 2}",
            "http-mapping.json:1:10: error[duplicate-member]",
        ),
        ann(
            "an element twice",
            twice,
            "users/ann.json:4:125: error[duplicate-member]",
        ),
        ann(
            "an element twice in a string",
            &quoted(twice),
            "users/ann.json:4:48: error[duplicate-member]",
        ),
        ann(
            "an element twice in an encoded string",
            &format!("\"{}\"", percent_encoded(twice)),
            "users/ann.json:4:48: error[duplicate-member]",
        ),
        text(
            "an element twice in a bare document",
            "managed-policies/Read.json",
            twice,
            "managed-policies/Read.json:1:78: error[duplicate-member]",
        ),
        text(
            "a principal twice",
            "roles/clerk.json",
            role(trust),
            "roles/clerk.json:2:117: error[duplicate-member]",
        ),
        text(
            "a principal twice in an encoded string",
            "roles/clerk.json",
            role(&format!("\"{}\"", percent_encoded(trust))),
            "roles/clerk.json:2:31: error[duplicate-member]",
        ),
        statement(
            "an operator twice",
            &format!(
                r#"{get}, "Condition": {{"Bool": {{"aws:SecureTransport": "true"}}, "Bool": {{"aws:ViaAWSService": "true"}}}}"#
            ),
            "users/ann.json:4:204: error[duplicate-member]",
        ),
        statement(
            "an operator twice but for case",
            &format!(
                r#"{get}, "Condition": {{"StringEquals": {{"aws:username": "a"}}, "stringequals": {{"aws:userid": "b"}}}}"#
            ),
            "users/ann.json:4:202: error[duplicate-condition]",
        ),
        statement(
            "a key twice",
            &format!(
                r#"{get}, "Condition": {{"StringEquals": {{"aws:username": "a", "aws:username": "b"}}}}"#
            ),
            "users/ann.json:4:201: error[duplicate-member]",
        ),
        statement(
            "a key twice but for case",
            &format!(
                r#"{get}, "Condition": {{"StringEquals": {{"aws:username": "a", "aws:UserName": "b"}}}}"#
            ),
            "users/ann.json:4:201: error[duplicate-condition]",
        ),
    ]
}

/// Returns files that are nested deeper than anyone would need.
fn depths() -> Vec<Case> {
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let objects = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
    let member = |value: String| format!("{{\"CreateDate\": {value}}}");
    vec![
        text(
            "65 deep",
            "users/ann.json",
            member(nested(64)),
            "users/ann.json:1:79: error[too-deep]",
        ),
        text(
            "100,000 deep",
            "users/ann.json",
            member(nested(100_000)),
            "users/ann.json:1:79: error[too-deep]",
        ),
        text(
            "100,000 objects deep",
            "users/ann.json",
            objects(100_000),
            "users/ann.json:1:321: error[too-deep]",
        ),
        text(
            "100,000 brackets and no more",
            "users/ann.json",
            "[".repeat(100_000),
            "users/ann.json:1:100000: error[syntax]",
        ),
        text(
            "a dump a million deep",
            "dumps/partner.json",
            "[".repeat(1_000_000),
            "dumps/partner.json:1:1000000: error[syntax]",
        ),
        ann(
            "a document 17 deep",
            &format!(
                r#"{{"Version": "2012-10-17", "Id": {}, "Statement": []}}"#,
                nested(16)
            ),
            "users/ann.json:4:48: error[too-deep]",
        ),
        ann(
            "a document 100,000 deep in a string",
            &quoted(&nested(100_000)),
            "users/ann.json:4:48: error[too-deep]",
        ),
        text(
            "units 40 deep",
            "organization.json",
            units(40),
            "organization.json:1:1329: error[too-deep]",
        ),
    ]
}

/// Returns an organization whose units contain each other.
fn units(n: usize) -> String {
    let mut tree = String::new();
    for number in 0..n {
        write!(tree, r#"{{"Id": "ou-{number}", "OrganizationalUnits": ["#).unwrap();
    }
    let ends = "]}".repeat(n);
    format!(
        r#"{{"Id": "o-1", "ManagementAccountId": "999999999999", "Root": {{"Id": "r-1", "OrganizationalUnits": [{tree}{ends}]}}}}"#
    )
}

/// Returns entries that are not files, or do not belong in a store.
fn kinds_of_files() -> Vec<Case> {
    vec![
        case(
            "a directory named as a file",
            "users/x.json",
            Bad::Folder,
            "users/x.json: error[not-a-file]",
        ),
        case(
            "a directory named as a file, at the root",
            "x.json",
            Bad::Folder,
            "x.json: error[not-a-file]",
        ),
        case(
            "a link to itself",
            "users/loop.json",
            Bad::Link("loop.json"),
            "users/loop.json: error[bad-link]",
        ),
        Case {
            what: "two links to each other",
            bad: vec![
                ("users/there.json".to_owned(), Bad::Link(".back.json")),
                ("users/.back.json".to_owned(), Bad::Link("there.json")),
            ],
            finding: "users/there.json: error[bad-link]",
        },
        case(
            "a link to the folder it stands in",
            "users/again",
            Bad::Link("."),
            "users/again: error[bad-link]",
        ),
        case(
            "a link to the folder above",
            "users/up",
            Bad::Link(".."),
            "users/up: error[bad-link]",
        ),
        case(
            "a link that leaves the store",
            "users/out.json",
            Bad::Link("/etc/hostname"),
            "users/out.json: error[bad-link]",
        ),
        case(
            "a link that leaves the store by dots",
            "users/out.json",
            Bad::Link("../../../../../../etc/hostname"),
            "users/out.json: error[bad-link]",
        ),
        case(
            "a folder that leaves the store",
            "users/out",
            Bad::Link("/etc"),
            "users/out: error[bad-link]",
        ),
        case(
            "a link to a device",
            "users/zero.json",
            Bad::Link("/dev/zero"),
            "users/zero.json: error[bad-link]",
        ),
        case(
            "a link to nothing",
            "users/gone.json",
            Bad::Link("nowhere.json"),
            "users/gone.json: error[bad-link]",
        ),
        case(
            "a pipe",
            "users/pipe.json",
            Bad::Fifo,
            "users/pipe.json: error[not-a-file]",
        ),
        case(
            "a pipe in place of the account",
            "account.json",
            Bad::Fifo,
            "account.json: error[not-a-file]",
        ),
        case(
            "a socket",
            "roles/socket.json",
            Bad::Socket,
            "roles/socket.json: error[not-a-file]",
        ),
        case(
            "a mount that leads nowhere",
            "..data",
            Bad::Link("..2026_01"),
            "..data: error[bad-link]",
        ),
        text(
            "a misspelt folder",
            "user/bob.json",
            "{}",
            "user/bob.json:1:1: error[unknown-file]",
        ),
        text(
            "a file at no place",
            "notes.json",
            "{}",
            "notes.json:1:1: error[unknown-file]",
        ),
        text(
            "a folder of an account that is none",
            "accounts/1 2/users/x.json",
            "{}",
            "accounts/1 2: error[invalid-name]",
        ),
    ]
}
