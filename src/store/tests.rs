//! Tests with whole stores in temporary directories: which stores load, and the one finding for each kind of mistake.
//!
//! The file is long because each kind of mistake in a store has its own test, and all of them share the stores and the
//! checks at the top.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::language::finding::Code;
use crate::name::AccountId;
use crate::world::World;

mod looks;
mod remembered;

const ALLOW: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"orders:Get","Resource":"*"}]}"#;
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/alice"},"Action":"sts:AssumeRole"}}"#;
const SCP: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"orders:Purge","Resource":"*"}]}"#;
const ACCOUNT: (&str, &str) = ("account.json", r#"{"AccountId":"111122223333"}"#);

fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn store(files: &[(&str, &str)]) -> TempDir {
    let root = TempDir::new().unwrap();
    write(root.path(), files);
    root
}

/// Writes a store with an account and `files`.
fn shop(files: &[(&str, &str)]) -> TempDir {
    let root = store(&[ACCOUNT]);
    write(root.path(), files);
    root
}

fn world(root: &TempDir) -> World {
    let (world, findings) = read_world(root.path());
    world.unwrap_or_else(|| panic!("{findings:#?}"))
}

/// Reads the store below `root` as a whole.
fn read_world(root: &Path) -> (Option<World>, Vec<Finding>) {
    let known = read::Known {
        last: &survey::Listing::default(),
        unread: &|_, _| None,
        trusts_folders: false,
    };
    let files = read::files(root, None, known);
    let content = |file: &file::File| file.content.clone();
    let (contents, _) = contents::Contents::of(files.read.iter().map(content).collect());
    let mut memory = shape::Memory::default();
    let shaped = shape::entities(&contents, files.read, Vec::new(), &[], &mut memory);
    loader::world_of(
        shaped.unwrap_or_else(|_| panic!("all was read")),
        &files.findings,
    )
}

fn findings(root: &Path) -> Vec<Finding> {
    match load(root) {
        Ok(loaded) => loaded.findings,
        Err(refused) => refused.findings,
    }
}

/// Asserts that the store has exactly one finding, an error with `code` at `place` (`file:line:column pointer`).
#[track_caller]
fn refused(root: &TempDir, code: Code, place: &str) -> Finding {
    let found = load(root.path())
        .err()
        .unwrap_or_else(|| panic!("it loads"))
        .findings;
    let [finding] = found.as_slice() else {
        panic!("{found:#?}")
    };
    assert!(finding.is_error(), "{finding}");
    assert_eq!(
        (
            finding.code,
            format!("{} {}", finding.at, finding.at.pointer).trim()
        ),
        (code, place),
        "{finding}"
    );
    finding.clone()
}

/// Asserts that the store loads with exactly one warning.
#[track_caller]
fn warned(root: &TempDir, code: Code, file: &str) {
    let loaded = load(root.path()).unwrap_or_else(|refused| panic!("{:#?}", refused.findings));
    let [finding] = loaded.findings.as_slice() else {
        panic!("{:#?}", loaded.findings)
    };
    assert_eq!((finding.code, &*finding.at.file), (code, file), "{finding}");
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

#[test]
fn names_and_paths_come_from_the_place_unless_the_file_says_otherwise() {
    let root = shop(&[
        ("users/eng/alice.json", "{}"),
        (
            "users/bob.json",
            r#"{"UserName":"robert","Path":"/ops/","UserId":"AIDA111122223333AAAA"}"#,
        ),
        (
            "users/eng/carl.json",
            r#"{"Arn":"arn:aws:iam::111122223333:user/carl"}"#,
        ),
        ("managed-policies/ReadOrders.json", ALLOW),
        (
            "roles/svc.json",
            &format!(r#"{{"AssumeRolePolicyDocument":{TRUST}}}"#),
        ),
    ]);
    let world = world(&root);
    let arns: Vec<_> = world
        .entities
        .users
        .iter()
        .map(|user| user.identity.arn.as_str())
        .collect();
    assert_eq!(
        arns,
        [
            "arn:aws:iam::111122223333:user/ops/robert",
            "arn:aws:iam::111122223333:user/eng/alice",
            "arn:aws:iam::111122223333:user/carl",
        ]
    );
    let policy = world.entities.managed_policies.first().unwrap();
    assert_eq!(
        policy.identity.arn.as_str(),
        "arn:aws:iam::111122223333:policy/ReadOrders"
    );
    assert_eq!(*policy.default_version().unwrap().id, *"v1");
    assert_eq!(
        world.entities.roles.first().unwrap().max_session_duration,
        3_600
    );
    assert_eq!(world.root_account.unwrap().as_str(), "111122223333");
}

#[test]
fn every_kind_of_file_is_read_and_counted() {
    let user = r#"{"GroupList":["devs"],"AttachedManagedPolicies":[{"PolicyName":"Read","PolicyArn":"arn:aws:iam::aws:policy/Read"}],
        "PermissionsBoundary":{"PermissionsBoundaryType":"PermissionsBoundaryPolicy","PermissionsBoundaryArn":"arn:aws:iam::aws:policy/Read"},
        "Tags":[{"Key":"team","Value":"blue"}],"CreateDate":"2024-01-01T00:00:00Z","PasswordLastUsed":null}"#;
    let group = format!(
        r#"{{"GroupPolicyList":[{{"PolicyName":"p","PolicyDocument":{}}}]}}"#,
        quoted(ALLOW)
    );
    let role = format!(
        r#"{{"AssumeRolePolicyDocument":{TRUST},"ServiceLinked":true,"Disabled":false,"MaxSessionDuration":7200,
        "InstanceProfileList":[],"RoleLastUsed":{{"Region":"eu"}}}}"#
    );
    let resource = r#"{"Resource":["arn:app:orders:::order/*"],"Tags":[{"Key":"env","Value":"prod"}],"ResourcePolicyRequired":true,
        "Policy":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"orders:Get"}]}}"#;
    let described = format!(
        r#"{{"Policy":{{"PolicySummary":{{"Id":"p-1","Arn":"a","Name":"n","Description":"","Type":"SERVICE_CONTROL_POLICY","AwsManaged":false}},"Content":{}}}}}"#,
        quoted(SCP)
    );
    let organization = r#"{"Id":"o-1","ManagementAccountId":"999900001111","Root":{"Id":"r-1","ServiceControlPolicies":["FullAWSAccess"],
        "OrganizationalUnits":[{"Id":"ou-1","Name":"prod","ServiceControlPolicies":["FullAWSAccess","no-purge"],
        "Accounts":[{"Id":"111122223333","ServiceControlPolicies":["FullAWSAccess"]}]}]}}"#;
    let root = shop(&[
        ("users/alice.json", user),
        ("groups/devs.json", &group),
        ("roles/svc.json", &role),
        ("resource-policies/orders.json", resource),
        ("service-control-policies/no-purge.json", &described),
        ("organization.json", organization),
        ("http-mapping.json", "{}"),
        ("tests/anything.json", "not JSON"),
        ("accounts/aws/managed-policies/Read.json", ALLOW),
        ("accounts/444455556666/users/zoe.json", "{}"),
        ("README.md", ""),
    ]);
    let loaded = load(root.path()).unwrap_or_else(|refused| panic!("{:#?}", refused.findings));
    assert_eq!(loaded.findings, []);
    assert_eq!(
        (loaded.n_files, loaded.n_statements, loaded.n_principals),
        (10, 5, 3)
    );
    let world = world(&root);
    let accounts: Vec<_> = world.accounts.keys().map(AccountId::as_str).collect();
    assert_eq!(accounts, ["111122223333", "444455556666", "999900001111"]);
    assert_eq!(
        &*world.entities.resource_policies.first().unwrap().name,
        "resource-policies/orders"
    );
}

#[test]
fn a_dump_is_a_store_as_it_is() {
    let encoded: String = TRUST.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let dump = format!(
        r#"{{"UserDetailList":[{{"Path":"/","UserName":"alice","UserId":"AIDA","Arn":"arn:aws:iam::111122223333:user/alice","GroupList":[],"AttachedManagedPolicies":[]}}],
        "GroupDetailList":[],
        "RoleDetailList":[{{"Path":"/x/","RoleName":"ops","RoleId":"AROA","Arn":"arn:aws:iam::111122223333:role/x/ops","AssumeRolePolicyDocument":"{encoded}",
            "RolePolicyList":[],"AttachedManagedPolicies":[{{"PolicyName":"Read","PolicyArn":"arn:aws:iam::aws:policy/Read"}}]}}],
        "Policies":[{{"PolicyName":"Read","PolicyId":"ANPA","Arn":"arn:aws:iam::aws:policy/Read","Path":"/","DefaultVersionId":"v2","AttachmentCount":1,
            "PolicyVersionList":[{{"Document":{ALLOW},"VersionId":"v1","IsDefaultVersion":false}},{{"Document":{ALLOW},"VersionId":"v2","IsDefaultVersion":true}}]}}],
        "IsTruncated":false}}"#
    );
    let root = store(&[("authorization-details.json", &dump)]);
    let found = world(&root);
    assert_eq!(
        found
            .entities
            .managed_policies
            .first()
            .unwrap()
            .default_version,
        1
    );
    assert_eq!(found.root_account, None);
    assert_eq!(found.accounts.len(), 1);

    // Two dumps may have the same AWS-managed policy, and so may a file.
    let other = dump
        .replace("111122223333", "444455556666")
        .replace("AIDA", "AIDB")
        .replace("AROA", "AROB");
    write(
        root.path(),
        &[
            ("dumps/other.json", &other),
            ("accounts/aws/managed-policies/Read.json", ALLOW),
        ],
    );
    assert_eq!(world(&root).entities.managed_policies.len(), 1);
    let other = other.replace("orders:Get", "orders:Delete");
    write(root.path(), &[("dumps/other.json", &other)]);
    assert!(
        findings(root.path())
            .iter()
            .all(|finding| finding.code == Code::DUPLICATE_ENTITY)
    );

    let truncated = dump.replace("\"IsTruncated\":false", "\"IsTruncated\":true");
    refused(
        &store(&[("dump.json", &truncated)]),
        Code::TRUNCATED_DUMP,
        "dump.json:7:23 /IsTruncated",
    );
}

#[test]
fn an_account_alone_is_a_store_and_nothing_is_none() {
    assert!(load(shop(&[]).path()).is_ok());
    refused(&store(&[]), Code::EMPTY_STORE, ".");
    refused(
        &store(&[("http-mapping.json", "{}")]),
        Code::EMPTY_STORE,
        ".",
    );
    let gone = store(&[]);
    let path = gone.path().join("gone");
    let found = findings(&path);
    assert_eq!(found.len(), 1);
    assert_eq!(found.first().unwrap().code, Code::EMPTY_STORE);
}

#[test]
fn a_store_without_an_account_takes_only_entities_with_an_arn() {
    let arn = r#"{"Arn":"arn:aws:iam::111122223333:user/alice"}"#;
    assert!(load(store(&[("users/alice.json", arn)]).path()).is_ok());
    refused(
        &store(&[("users/alice.json", "{}")]),
        Code::UNKNOWN_ACCOUNT,
        "users/alice.json:1:1",
    );
}

#[test]
fn wrong_json_gives_one_finding_at_its_place() {
    refused(
        &shop(&[("users/a.json", "")]),
        Code::SYNTAX,
        "users/a.json:1:1",
    );
    refused(
        &shop(&[("users/a.json", "{\n \"UserName\": tru }")]),
        Code::SYNTAX,
        "users/a.json:2:17",
    );
    refused(
        &shop(&[("users/a.json", "\u{feff}{}")]),
        Code::BYTE_ORDER_MARK,
        "users/a.json:1:1",
    );
    refused(
        &shop(&[("users/a.json", "[]")]),
        Code::WRONG_TYPE,
        "users/a.json:1:1",
    );
    let deep = format!("{{\"CreateDate\":{}{}}}", "[".repeat(64), "]".repeat(64));
    assert_eq!(
        findings(shop(&[("users/a.json", &deep)]).path())
            .first()
            .unwrap()
            .code,
        Code::TOO_DEEP
    );
    let root = shop(&[]);
    fs::create_dir(root.path().join("users")).unwrap();
    fs::write(root.path().join("users/a.json"), b"{\n\"\xff\":1}").unwrap();
    refused(&root, Code::NOT_UTF8, "users/a.json:2:2");
}

/// The function is long because it is a table of cases.
#[test]
fn wrong_members_give_one_finding_each_at_their_place() {
    let user = |text: &str| shop(&[("users/a.json", text)]);
    let finding = refused(
        &user(r#"{"Tgas":[]}"#),
        Code::UNKNOWN_MEMBER,
        "users/a.json:1:2 /Tgas",
    );
    assert_eq!(&*finding.help.unwrap(), "did you mean `Tags`?");
    refused(
        &user(r#"{"Tags":[],"Tags":[]}"#),
        Code::DUPLICATE_MEMBER,
        "users/a.json:1:12 /Tags",
    );
    refused(
        &user(r#"{"CreateDate":{"a":1,"a":1}}"#),
        Code::DUPLICATE_MEMBER,
        "users/a.json:1:22 /CreateDate/a",
    );
    refused(
        &user(r#"{"Tags":null}"#),
        Code::WRONG_TYPE,
        "users/a.json:1:9 /Tags",
    );
    refused(
        &user(r#"{"Disabled":"yes"}"#),
        Code::WRONG_TYPE,
        "users/a.json:1:13 /Disabled",
    );
    refused(
        &user(r#"{"GroupList":[1]}"#),
        Code::WRONG_TYPE,
        "users/a.json:1:15 /GroupList/0",
    );
    refused(
        &user(r#"{"UserName":"a b"}"#),
        Code::INVALID_NAME,
        "users/a.json:1:13 /UserName",
    );
    refused(
        &user(r#"{"Path":"eng"}"#),
        Code::INVALID_NAME,
        "users/a.json:1:9 /Path",
    );
    refused(
        &user(r#"{"Arn":"arn:aws:iam::111122223333:role/a"}"#),
        Code::INVALID_VALUE,
        "users/a.json:1:8 /Arn",
    );
    refused(
        &user(r#"{"Tags":[{"Key":"A","Value":""},{"Key":"a","Value":""}]}"#),
        Code::DUPLICATE_TAG,
        "users/a.json:1:40 /Tags/1/Key",
    );
    refused(
        &user(r#"{"Tags":[{"Key":"A"}]}"#),
        Code::MISSING_MEMBER,
        "users/a.json:1:10 /Tags/0",
    );
    refused(
        &shop(&[("roles/r.json", "{}")]),
        Code::MISSING_MEMBER,
        "roles/r.json:1:1",
    );
    refused(
        &shop(&[("users/a b.json", "{}")]),
        Code::INVALID_NAME,
        "users/a b.json:1:1",
    );
    let role = format!(r#"{{"AssumeRolePolicyDocument":{TRUST},"MaxSessionDuration":60}}"#);
    let place = format!(
        "roles/r.json:1:{} /MaxSessionDuration",
        role.find("60}").unwrap() + 1
    );
    let root = shop(&[("roles/r.json", &role), ("users/alice.json", "{}")]);
    refused(&root, Code::INVALID_VALUE, &place);
}

#[test]
fn what_stands_twice_must_agree() {
    let user = |text: &str| shop(&[("users/a.json", text)]);
    let arn = |members: &str, arn: &str| user(&format!("{{{members}\n\"Arn\":\"{arn}\"}}"));
    let place = "users/a.json:2:7 /Arn";
    refused(
        &arn(r#""UserName":"b","#, "arn:aws:iam::111122223333:user/a"),
        Code::CONTRADICTION,
        place,
    );
    refused(
        &arn(r#""Path":"/x/","#, "arn:aws:iam::111122223333:user/a"),
        Code::CONTRADICTION,
        place,
    );
    refused(
        &arn("", "arn:aws:iam::444455556666:user/a"),
        Code::CONTRADICTION,
        place,
    );
    refused(
        &arn("", "arn:aws-cn:iam::111122223333:user/a"),
        Code::CONTRADICTION,
        "users/a.json:1:1",
    );
    let root = shop(&[("accounts/shop/account.json", r#"{"AccountId":"other"}"#)]);
    refused(
        &root,
        Code::CONTRADICTION,
        "accounts/shop/account.json:1:14 /AccountId",
    );
    let attached = r#"{"AttachedManagedPolicies":[{"PolicyName":"Other","PolicyArn":"arn:aws:iam::111122223333:policy/Read"}]}"#;
    let root = shop(&[
        ("users/a.json", attached),
        ("managed-policies/Read.json", ALLOW),
    ]);
    refused(
        &root,
        Code::CONTRADICTION,
        "users/a.json:1:63 /AttachedManagedPolicies/0/PolicyArn",
    );
}

#[test]
fn a_managed_policy_has_exactly_one_default_version() {
    let policy = |versions: &str, rest: &str| {
        shop(&[(
            "managed-policies/P.json",
            &format!("{{\"PolicyVersionList\":[{versions}]{rest}}}"),
        )])
    };
    let version = |id: &str, is_default: bool| {
        format!(r#"{{"VersionId":"{id}","IsDefaultVersion":{is_default},"Document":{ALLOW}}}"#)
    };
    let two = |first, second| format!("{},{}", version("v1", first), version("v2", second));
    let codes = |root: &TempDir| {
        findings(root.path())
            .iter()
            .map(|finding| finding.code)
            .collect::<Vec<_>>()
    };
    assert_eq!(codes(&policy(&two(true, false), "")), []);
    assert_eq!(
        codes(&policy(&two(false, false), r#","DefaultVersionId":"v2""#)),
        []
    );
    assert_eq!(
        codes(&policy(&two(true, true), "")),
        [Code::DEFAULT_VERSION]
    );
    assert_eq!(
        codes(&policy(&two(false, false), "")),
        [Code::DEFAULT_VERSION]
    );
    assert_eq!(
        codes(&policy(&two(false, false), r#","DefaultVersionId":"v3""#)),
        [Code::DEFAULT_VERSION]
    );
    assert_eq!(
        codes(&policy(&two(true, false), r#","DefaultVersionId":"v2""#)),
        [Code::CONTRADICTION]
    );
    assert_eq!(codes(&policy("", "")), [Code::EMPTY_LIST]);
    assert_eq!(
        codes(&policy(
            &format!("{},{}", version("v1", true), version("v1", false)),
            ""
        )),
        [Code::DUPLICATE_ENTITY]
    );
    let six: Vec<_> = (1..=6).map(|n| version(&format!("v{n}"), n == 1)).collect();
    warned(
        &policy(&six.join(","), ""),
        Code::AWS_QUOTA,
        "managed-policies/P.json",
    );
}

#[test]
fn the_version_that_is_named_as_the_default_is_the_one_in_force() {
    let ids = ["v1", "v2", "v3", "v4", "v5"];
    let versions = ids.map(|id| format!(r#"{{"VersionId":"{id}","Document":{ALLOW}}}"#));
    for named in ids {
        let text = format!(
            r#"{{"PolicyVersionList":[{}],"DefaultVersionId":"{named}"}}"#,
            versions.join(",")
        );
        let root = shop(&[("managed-policies/reads.json", &text)]);
        let world = world(&root);
        let policies = &world.entities.managed_policies;
        let in_force = policies.first().unwrap().default_version().unwrap();
        assert_eq!(&*in_force.id, named);
    }
}

#[test]
fn references_lead_somewhere() {
    let user = |text: &str| shop(&[("users/a.json", text)]);
    let finding = refused(
        &shop(&[
            ("users/a.json", r#"{"GroupList":["dev"]}"#),
            ("groups/devs.json", "{}"),
        ]),
        Code::DANGLING_REFERENCE,
        "users/a.json:1:15 /GroupList/0",
    );
    assert_eq!(&*finding.help.unwrap(), "did you mean `devs`?");
    let attached = r#"{"AttachedManagedPolicies":[{"PolicyArn":"arn:aws:iam::aws:policy/Read"}]}"#;
    refused(
        &user(attached),
        Code::DANGLING_REFERENCE,
        "users/a.json:1:42 /AttachedManagedPolicies/0/PolicyArn",
    );
    let boundary = r#"{"PermissionsBoundary":{"PermissionsBoundaryArn":"arn:aws:iam::111122223333:policy/B"}}"#;
    let place = "users/a.json:1:50 /PermissionsBoundary/PermissionsBoundaryArn";
    refused(&user(boundary), Code::DANGLING_REFERENCE, place);
    let of_another = boundary.replace("111122223333", "444455556666");
    let root = shop(&[
        ("users/a.json", &of_another),
        ("accounts/444455556666/managed-policies/B.json", ALLOW),
    ]);
    refused(&root, Code::DANGLING_REFERENCE, place);
}

#[test]
fn what_refers_to_a_broken_file_is_not_dangling() {
    let user = r#"{"GroupList":["devs"]}"#;
    refused(
        &shop(&[("users/a.json", user), ("groups/devs.json", "{")]),
        Code::SYNTAX,
        "groups/devs.json:1:1",
    );
    let root = shop(&[("users/a.json", user), ("groups/devs.json", r#"{"X":1}"#)]);
    refused(&root, Code::UNKNOWN_MEMBER, "groups/devs.json:1:2 /X");
}

#[test]
fn all_findings_come_at_once_sorted_by_place() {
    let root = shop(&[
        ("users/a.json", r#"{"GroupList":["nobody"],"Tgas":1}"#),
        ("users/b.json", "{"),
        ("roles/r.json", "{}"),
        ("stray.json", "{}"),
    ]);
    let found: Vec<_> = findings(root.path())
        .iter()
        .map(|finding| format!("{} {}", finding.at, finding.code))
        .collect();
    assert_eq!(
        found,
        [
            "roles/r.json:1:1 missing-member",
            "stray.json:1:1 unknown-file",
            "users/a.json:1:15 dangling-reference",
            "users/a.json:1:25 unknown-member",
            "users/b.json:1:1 syntax",
        ]
    );
}

#[test]
fn names_are_unique_ignoring_case() {
    let root = shop(&[("users/ann.json", "{}"), ("users/eng/ANN.json", "{}")]);
    refused(&root, Code::DUPLICATE_ENTITY, "users/eng/ANN.json:1:1");
    let inline = format!(r#"{{"PolicyName":"p","PolicyDocument":{ALLOW}}}"#);
    let root = shop(&[(
        "users/a.json",
        &format!("{{\"UserPolicyList\":[{inline},\n{inline}]}}"),
    )]);
    refused(
        &root,
        Code::DUPLICATE_ENTITY,
        "users/a.json:2:15 /UserPolicyList/1/PolicyName",
    );
    // Another account or kind may use the same name.
    let root = shop(&[
        ("users/ann.json", "{}"),
        ("groups/ann.json", "{}"),
        ("accounts/x/users/ann.json", "{}"),
    ]);
    assert_eq!(findings(root.path()), []);
    let root = shop(&[("accounts/111122223333/users/ann.json", "{}")]);
    refused(&root, Code::DUPLICATE_ENTITY, "accounts/111122223333");
}

#[test]
fn a_resource_policy_speaks_of_its_own_accounts_resources() {
    let file = |resource: &str| format!(r#"{{"Resource":"{resource}"}}"#);
    let root = shop(&[(
        "resource-policies/a.json",
        &file("arn:app:orders::444455556666:order/*"),
    )]);
    refused(&root, Code::CONTRADICTION, "resource-policies/a.json:1:1");
    let same = file("arn:app:orders:::order/*");
    let root = shop(&[
        ("resource-policies/a.json", &same),
        ("accounts/x/resource-policies/b.json", &same),
    ]);
    refused(&root, Code::CONTRADICTION, "resource-policies/a.json:1:1");
    refused(
        &shop(&[("resource-policies/a.json", "{}")]),
        Code::MISSING_MEMBER,
        "resource-policies/a.json:1:1",
    );
    let root = shop(&[("resource-policies/a.json", r#"{"Resource":[]}"#)]);
    refused(
        &root,
        Code::EMPTY_LIST,
        "resource-policies/a.json:1:13 /Resource",
    );
    let root = shop(&[
        ("resource-policies/a.json", &same),
        ("resource-policies/b.json", &same),
    ]);
    assert_eq!(findings(root.path()), []);
}

/// M-16: a resource that differs from one of the store's in case alone never covers it, which is hardly intended.
#[test]
fn resources_that_differ_from_the_stores_in_case_alone_are_said() {
    let root = |resource: &str| {
        let policy = |effect: &str, resource: &str| {
            format!(
                r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"{effect}","Action":"other:Do","Resource":"*"}},
{{"Effect":"{effect}","Action":"*","Resource":"{resource}"}}]}}"#
            )
        };
        shop(&[
            ("users/alice.json", "{}"),
            ("managed-policies/p.json", &policy("Allow", resource)),
            (
                "resource-policies/orders.json",
                r#"{"Resource":"arn:app:orders:::order/*"}"#,
            ),
        ])
    };
    for (resource, meant) in [
        (
            "arn:aws:iam::111122223333:user/Alice",
            "arn:aws:iam::111122223333:user/alice",
        ),
        (
            "arn:aws:IAM::111122223333:policy/P",
            "arn:aws:iam::111122223333:policy/p",
        ),
        ("arn:app:orders:::Order/*", "arn:app:orders:::order/*"),
    ] {
        let root = root(resource);
        warned(&root, Code::CASE_MISMATCH, "managed-policies/p.json");
        let findings = findings(root.path());
        let [found] = findings.as_slice() else {
            panic!("{findings:?}")
        };
        assert_eq!((found.at.line, &*found.at.pointer), (2, "/Statement/1"));
        assert!(found.message.contains(meant), "{found}");
    }
    for resource in [
        "arn:aws:iam::111122223333:user/alice",
        "arn:aws:iam::111122223333:user/bella",
        "arn:app:orders:::order/*",
        "arn:app:orders:::Order/1",
    ] {
        assert_eq!(findings(root(resource).path()), [], "{resource}");
    }
}

#[test]
fn principals_that_nobody_is_are_said() {
    let role = |principal: &str| {
        let trust = TRUST.replace("arn:aws:iam::111122223333:user/alice", principal);
        shop(&[(
            "roles/r.json",
            &format!(r#"{{"AssumeRolePolicyDocument":{trust}}}"#),
        )])
    };
    warned(
        &role("arn:aws:iam::111122223333:user/alice"),
        Code::UNKNOWN_PRINCIPAL,
        "roles/r.json",
    );
    warned(
        &role("arn:aws:sts::111122223333:assumed-role/x/s1"),
        Code::UNKNOWN_PRINCIPAL,
        "roles/r.json",
    );
    warned(
        &role("AIDAQQQQQQQQQQQQQQQQ"),
        Code::ORPHANED_PRINCIPAL_ID,
        "roles/r.json",
    );
    for known in [
        "arn:aws:iam::444455556666:user/zoe",
        "arn:aws:sts::111122223333:assumed-role/r/s1",
        "111122223333",
    ] {
        assert_eq!(findings(role(known).path()), [], "{known}");
    }
    assert_eq!(
        findings(role("shop").path()).first().unwrap().code,
        Code::INVALID_PRINCIPAL,
        "G-24"
    );
}

#[test]
fn an_organization_is_a_tree_with_known_policies() {
    let organization = |root: &str| {
        let text = format!(r#"{{"Id":"o-1","ManagementAccountId":"999900001111","Root":{root}}}"#);
        shop(&[
            ("organization.json", &text),
            ("service-control-policies/no-purge.json", SCP),
        ])
    };
    let offset = |root: &str, what: &str| {
        let prefix = r#"{"Id":"o-1","ManagementAccountId":"999900001111","Root":"#;
        format!(
            "organization.json:1:{}",
            prefix.len() + root.find(what).unwrap() + 1
        )
    };
    assert_eq!(
        findings(organization(r#"{"Id":"r-1","Accounts":[{"Id":"1"}]}"#).path()),
        []
    );
    let tree = r#"{"Id":"r-1","ServiceControlPolicies":["no-purge"],"Accounts":[{"Id":"1"}]}"#;
    refused(
        &organization(tree),
        Code::EMPTY_LEVEL,
        &format!("{} /Root/Accounts/0", offset(tree, r#"{"Id":"1"#)),
    );
    let tree = r#"{"Id":"r-1","ServiceControlPolicies":["no-purg"]}"#;
    let place = format!(
        "{} /Root/ServiceControlPolicies/0",
        offset(tree, r#""no-purg"#)
    );
    assert_eq!(
        &*refused(&organization(tree), Code::DANGLING_REFERENCE, &place)
            .help
            .unwrap(),
        "did you mean `no-purge`?"
    );
    let tree = r#"{"Id":"r-1","Accounts":[{"Id":"1"}],"OrganizationalUnits":[{"Id":"ou-1","Accounts":[{"Id":"1"}]}]}"#;
    refused(
        &organization(tree),
        Code::ORGANIZATION_TREE,
        &format!(
            "{} /Root/OrganizationalUnits/0/Accounts/0",
            offset(tree, r#"{"Id":"1"}]}]"#)
        ),
    );
    let tree = r#"{"Id":"r-1","OrganizationalUnits":[{"Id":"r-1"}]}"#;
    let place = format!(
        "{} /Root/OrganizationalUnits/0",
        offset(tree, r#"{"Id":"r-1"}]"#)
    );
    refused(&organization(tree), Code::ORGANIZATION_TREE, &place);
    let tree = r#"{"Id":"r-1","Accounts":[{"Id":"1","ServiceControlPolicies":["no-purge"]}]}"#;
    let place = format!(
        "{} /Root/Accounts/0/ServiceControlPolicies",
        offset(tree, r#"["no"#)
    );
    refused(&organization(tree), Code::CONTRADICTION, &place);
    let root = shop(&[("service-control-policies/FullAWSAccess.json", SCP)]);
    refused(
        &root,
        Code::RESERVED_NAME,
        "service-control-policies/FullAWSAccess.json:1:1",
    );
}

#[test]
fn files_that_say_nothing_are_errors_and_other_files_are_ignored() {
    let root = shop(&[("user/alice.json", "{}")]);
    let finding = refused(&root, Code::UNKNOWN_FILE, "user/alice.json:1:1");
    assert_eq!(&*finding.help.unwrap(), "did you mean `users`?");
    refused(
        &shop(&[("accounts/x/organization.json", "{}")]),
        Code::UNKNOWN_FILE,
        "accounts/x/organization.json:1:1",
    );
    warned(
        &shop(&[("users/alice.yaml", "")]),
        Code::IGNORED_FILE,
        "users/alice.yaml",
    );
    let skipped = [
        "users/.a.json",
        "users/a.json~",
        "a.tmp",
        "a.swp",
        "README",
        "LICENSE-MIT",
        "x.md",
        ".git/x.json",
    ];
    let root = shop(&skipped.map(|path| (path, "{")));
    assert_eq!(findings(root.path()), []);
    assert_eq!(load(root.path()).unwrap_or_else(|_| panic!()).n_files, 1);
    refused(
        &shop(&[("users/a.json/b.txt", "")]),
        Code::NOT_A_FILE,
        "users/a.json",
    );
    let root = shop(&[("users/a.json", &format!("{{}}{}", " ".repeat(1 << 20)))]);
    refused(&root, Code::TOO_LARGE, "users/a.json");
    refused(
        &shop(&[("accounts/a b/users/a.json", "{}")]),
        Code::INVALID_NAME,
        "accounts/a b",
    );
}

#[test]
fn links_are_followed_inside_and_refused_outside() {
    let outside = store(&[("a.json", "{}")]);
    let root = shop(&[("shared/x.json.txt", ""), ("users/real.json", "{}")]);
    fs::remove_dir_all(root.path().join("shared")).unwrap();
    symlink("real.json", root.path().join("users/alias.json")).unwrap();
    symlink("users", root.path().join("groups")).unwrap();
    assert_eq!(world(&root).entities.users.len(), 2);
    assert_eq!(world(&root).entities.groups.len(), 2);

    for (target, path) in [
        (
            outside.path().join("a.json").to_str().unwrap(),
            "users/out.json",
        ),
        ("../../../../../../etc/hostname", "users/out.json"),
        (outside.path().to_str().unwrap(), "roles"),
        ("loop.json", "users/loop.json"),
        ("..", "users/up"),
        ("nowhere.json", "users/gone.json"),
    ] {
        let link = root.path().join(path);
        symlink(target, &link).unwrap();
        let found = findings(root.path());
        assert!(
            !found.is_empty() && found.iter().all(|finding| finding.code == Code::BAD_LINK),
            "{path}: {found:#?}"
        );
        fs::remove_file(link).unwrap();
    }
    assert_eq!(findings(root.path()), []);
}

#[test]
fn a_fifo_is_refused_and_never_waited_for() {
    let root = shop(&[("users/a.json", "{}")]);
    let made = std::process::Command::new("mkfifo")
        .arg(root.path().join("users/b.json"))
        .status()
        .unwrap();
    assert!(made.success());
    refused(&root, Code::NOT_A_FILE, "users/b.json");
}

#[test]
fn a_mounted_config_map_is_read_through_its_data_folder() {
    let plain = shop(&[("users/a.json", "{}")]);
    let mounted = store(&[
        ("..v1/account.json", ACCOUNT.1),
        ("..v1/users/a.json", "{}"),
        ("..v2/account.json", ACCOUNT.1),
    ]);
    let root = mounted.path();
    symlink("..v1", root.join("..data")).unwrap();
    for name in ["account.json", "users"] {
        symlink(format!("..data/{name}"), root.join(name)).unwrap();
    }
    let revision = |root: &Path| load(root).unwrap_or_else(|_| panic!()).snapshot.revision;
    assert_eq!(
        revision(root),
        revision(plain.path()),
        "a mount and a folder are one store"
    );
    // This is the swap. The link `users` is not removed yet.
    symlink("..v2", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    assert_eq!(world(&mounted).entities.users.len(), 0);
    assert_eq!(findings(root), []);
    // A folder that is mounted beside `..data` is read too. A file that is in both places must be a mistake.
    write(root, &[("groups/g.json", "{}")]);
    assert_eq!(world(&mounted).entities.groups.len(), 1);
    fs::remove_file(root.join("account.json")).unwrap();
    write(root, &[("account.json", ACCOUNT.1)]);
    refused(&mounted, Code::UNKNOWN_FILE, "account.json");
}

#[test]
fn the_revision_depends_on_paths_and_contents_and_on_nothing_else() {
    let revision = |root: &TempDir| {
        load(root.path())
            .unwrap_or_else(|_| panic!())
            .snapshot
            .revision
    };
    let first = shop(&[("users/a.json", "{}"), ("users/b.json", "{ }")]);
    let same = store(&[
        ("users/b.json", "{ }"),
        ("notes.md", "x"),
        ("users/a.json", "{}"),
        ACCOUNT,
    ]);
    let swapped = shop(&[("users/a.json", "{ }"), ("users/b.json", "{}")]);
    assert_eq!(revision(&first), revision(&same));
    assert_ne!(revision(&first), revision(&swapped));
    assert_eq!(revision(&first).as_str().len(), 32);
}

#[test]
fn a_lone_file_is_checked_by_what_it_holds() {
    let root = store(&[
        ("identity.json", ALLOW),
        (
            "resource.json",
            &TRUST.replace("sts:AssumeRole", "orders:Get"),
        ),
        ("user.json", r#"{"UserName":"a","GroupList":["x"]}"#),
        ("account.json", "{\"AccountId\":\"1\"}"),
        ("service-control-policies/scp.json", SCP),
        ("users/empty.json", "{}"),
        ("bad.json", &ALLOW.replace("Allow", "allow")),
        ("worse.json", r#"{"UserName":"a","Tgas":1}"#),
        ("broken.json", "{"),
    ]);
    let codes = |name: &str| {
        validate(&root.path().join(name))
            .iter()
            .map(|finding| finding.code)
            .collect::<Vec<_>>()
    };
    for good in [
        "identity.json",
        "resource.json",
        "user.json",
        "account.json",
        "service-control-policies/scp.json",
        "users/empty.json",
    ] {
        assert_eq!(codes(good), [], "{good}");
    }
    assert_eq!(codes("bad.json"), [Code::INVALID_EFFECT]);
    assert_eq!(codes("worse.json"), [Code::UNKNOWN_MEMBER]);
    assert_eq!(codes("broken.json"), [Code::SYNTAX]);
    assert_eq!(codes("absent.json"), [Code::UNREADABLE]);
}

#[test]
fn a_file_cut_at_any_byte_is_refused_with_one_finding() {
    let role =
        format!(r#"{{"AssumeRolePolicyDocument":{TRUST},"Tags":[{{"Key":"ä","Value":"b"}}]}}"#);
    let root = shop(&[("users/alice.json", "{}"), ("roles/r.json", &role)]);
    assert_eq!(findings(root.path()), []);
    for n_bytes in 0..role.len() {
        fs::write(
            root.path().join("roles/r.json"),
            role.as_bytes().get(..n_bytes).unwrap(),
        )
        .unwrap();
        let found = findings(root.path());
        let [finding] = found.as_slice() else {
            panic!("{n_bytes}: {found:#?}")
        };
        assert!(
            matches!(finding.code, Code::SYNTAX | Code::NOT_UTF8),
            "{finding}"
        );
        assert_eq!((&*finding.at.file, finding.at.line), ("roles/r.json", 1));
    }
}

#[test]
fn a_wrong_account_is_said_once_and_not_for_each_of_its_entities() {
    let root = store(&[
        ("account.json", r#"{"AccountId":"1 2"}"#),
        ("users/a.json", "{}"),
        ("users/b.json", "{}"),
    ]);
    refused(&root, Code::INVALID_VALUE, "account.json:1:14 /AccountId");
    let root = store(&[("account.json", "{}"), ("users/a.json", "{}")]);
    refused(&root, Code::MISSING_MEMBER, "account.json:1:1");
    let root = shop(&[("accounts/aws/users/a.json", "{}")]);
    refused(&root, Code::INVALID_VALUE, "accounts/aws/users/a.json:1:1");
    let root = shop(&[(
        "accounts/x/account.json",
        r#"{"Partition":"app","RootUserEnabled":true,"CanonicalUserId":"c"}"#,
    )]);
    let world = world(&root);
    let account = world.accounts.get(&AccountId::parse("x").unwrap()).unwrap();
    assert!(account.root_user_enabled && !account.anonymous_allowed);
    assert_eq!(
        (&*account.partition, account.canonical_user_id.as_deref()),
        ("app", Some("c"))
    );
}

#[test]
fn the_roots_partition_is_the_default_of_the_others() {
    let root = store(&[
        (
            "account.json",
            r#"{"AccountId":"111122223333","Partition":"aws-cn"}"#,
        ),
        ("users/a.json", "{}"),
        ("accounts/x/users/b.json", "{}"),
    ]);
    let arns: Vec<_> = world(&root)
        .entities
        .users
        .iter()
        .map(|user| user.identity.arn.to_string())
        .collect();
    assert_eq!(
        arns,
        [
            "arn:aws-cn:iam::x:user/b",
            "arn:aws-cn:iam::111122223333:user/a"
        ]
    );
}

#[test]
fn a_load_during_swaps_sees_one_version_or_the_other() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let mounted = TempDir::new().unwrap();
    let root = mounted.path();
    let files = ["users/a.json", "users/b.json", "users/c.json"];
    for (folder, text) in [("..v1", "{}"), ("..v2", "{ }")] {
        write(&root.join(folder), &[ACCOUNT]);
        write(&root.join(folder), &files.map(|file| (file, text)));
    }
    symlink("..v1", root.join("..data")).unwrap();
    let revision = |folder: &str| {
        load(&root.join(folder))
            .unwrap_or_else(|_| panic!())
            .snapshot
            .revision
    };
    let versions = [revision("..v1"), revision("..v2")];
    let must_stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for version in ["..v2", "..v1"].iter().cycle() {
                symlink(version, root.join("..data_tmp")).unwrap();
                fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
                if must_stop.load(Ordering::Relaxed) {
                    return;
                }
                // A writer that swaps without a pause would leave no time to read.
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let mut seen = [0; 2];
        for _ in 0..300 {
            // A load is refused only if the store never stayed the same. No load mixes two versions.
            if let Ok(loaded) = load(root) {
                let at = versions
                    .iter()
                    .position(|version| *version == loaded.snapshot.revision);
                if let Some(n) = at.and_then(|at| seen.get_mut(at)) {
                    *n += 1;
                } else {
                    must_stop.store(true, Ordering::Relaxed);
                    panic!("a mixture of two versions was loaded");
                }
            }
        }
        must_stop.store(true, Ordering::Relaxed);
        assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
    });
}
