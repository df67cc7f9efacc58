//! Tests outputs of the AWS CLI in the places where they belong. An output is loaded if it is all that its place
//! requires. Otherwise one finding refuses it, because a Deny that AWS keeps elsewhere must not be lost silently
//! (G-37).

pub mod table;

use std::fs;

use iamd::language::finding::Finding;
use iamd::store;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::table::{
    DOCUMENT, GET_GROUP, GET_POLICY, GET_USER, OF_ANN, all, describe_policy, get_policy_version,
    get_role, of_many, policy_in_a_string,
};
use super::{ACCOUNT, found, has_all, place_of, words_of};
use crate::support::{answer_line, iamd, run};

const ANN: &str = "arn:aws:iam::111111111111:user/ann";
const OBJECT: &str = "arn:aws:s3:::shop/key";

/// Returns the only finding, which is an error.
fn only(findings: &[Finding], of: &str) -> Finding {
    let [finding] = findings else {
        panic!("{of}: one finding, not {findings:#?}")
    };
    assert!(finding.is_error(), "{of}: {finding}");
    finding.clone()
}

#[test]
fn an_output_is_refused_by_one_finding_that_says_what_it_is_and_what_to_keep() {
    let bystander = ("users/zoe.json", "{}"); // a store of its own needs an entity
    let mut wrong = Vec::new();
    for case in all() {
        let findings = found([bystander, (case.path, &case.text)]);
        let place = place_of(case.at, &case.text);
        let is_right = match findings.as_slice() {
            [finding] => {
                finding.is_error()
                    && finding.code.as_str() == case.code
                    && (&*finding.at.file, finding.at.line, finding.at.column)
                        == (case.path, place.0, place.1)
                    && has_all(&words_of(finding), case.says)
            }
            _ => false,
        };
        if !is_right {
            let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
            wrong.push(format!(
                "{}:{}:{}: error[{}] with {:?}, not\n    {}",
                case.path,
                place.0,
                place.1,
                case.code,
                case.says,
                shown.join("\n    ")
            ));
        }
    }
    assert!(wrong.is_empty(), "G-3, G-37:\n{}", wrong.join("\n"));
}

/// `iamd validate FILE` recognizes outputs even if the folder does not say anything.
#[test]
fn a_file_of_its_own_is_recognized_as_in_a_store() {
    let folder = TempDir::new().unwrap();
    for (text, says) in [
        (
            get_role(),
            &[
                "this is the output of `aws iam get-role`",
                "keep what is inside `Role`",
            ][..],
        ),
        (
            GET_POLICY.to_owned(),
            &["this is the output of `aws iam get-policy`"],
        ),
        (
            policy_in_a_string(""),
            &["a resource policy needs `Resource` beside `Policy`"],
        ),
        (
            of_many()[0].text.clone(),
            &["this is the output of `aws iam list-roles`"],
        ),
    ] {
        let path = folder.path().join("downloaded.json");
        fs::write(&path, &text).unwrap();
        let told = run(iamd(["validate", path.to_str().unwrap()]), "");
        assert_eq!(told.status, Some(1), "{told:?}");
        assert!(
            told.stdout.ends_with("\n1 error, no warnings\n"),
            "{told:?}"
        );
        assert!(has_all(&told.stdout, says), "{says:?} in {}", told.stdout);
    }
    for text in [
        get_policy_version(DOCUMENT, true),
        describe_policy("SERVICE_CONTROL_POLICY"),
    ] {
        let path = folder.path().join("downloaded.json");
        fs::write(&path, &text).unwrap();
        let told = run(iamd(["validate", path.to_str().unwrap()]), "");
        assert_eq!(told.stdout, "no errors, no warnings\n", "{text}");
    }
}

/// G-38: a list hides the names in it, and an envelope hides the name beside it. References to them are not a second
/// fault.
#[test]
fn what_refers_to_a_refused_output_is_not_dangling() {
    let ann = r#"{"GroupList": ["devs"], "AttachedManagedPolicies": [{"PolicyName": "P", "PolicyArn": "arn:aws:iam::111111111111:policy/P"}]}"#;
    let policies = of_many()
        .into_iter()
        .find(|case| case.path == "policies.json");
    for (path, text) in [
        ("policies.json", policies.unwrap().text.as_str()),
        ("managed-policies/other-name.json", GET_POLICY),
    ] {
        let devs = ("groups/devs.json", "{}");
        let finding = only(&found([devs, ("users/ann.json", ann), (path, text)]), path);
        assert_eq!(&*finding.at.file, path, "{finding}");
    }
    let groups = of_many()
        .into_iter()
        .find(|case| case.path == "groups/all.json");
    let groups = groups.unwrap();
    let member_of_devs = r#"{"GroupList": ["devs"]}"#;
    for (path, text) in [
        ("groups/all.json", groups.text.as_str()),
        ("groups/other-name.json", GET_GROUP),
    ] {
        let finding = only(
            &found([("users/ann.json", member_of_devs), (path, text)]),
            path,
        );
        assert_eq!(&*finding.at.file, path, "{finding}");
    }
}

/// Returns whether ann may read the object in a store of `files`, and the determining statement.
fn ann_reads(files: &[(&str, &str)]) -> (bool, Value) {
    let files = [("account.json", ACCOUNT)]
        .into_iter()
        .chain(files.iter().copied());
    let snapshot = match store::load_texts(files) {
        Ok(loaded) => loaded.snapshot,
        Err(refused) => panic!("{:#?}", refused.findings),
    };
    let question = json!({"principal": ANN, "action": "s3:GetObject", "resource": OBJECT});
    let at = "2026-03-01T12:00:00Z".parse().unwrap();
    let answer = answer_line(&snapshot, &question.to_string(), at);
    let told: Value = serde_json::from_str(&answer).unwrap();
    (
        told["decision"] == "DECISION_ALLOW",
        told["determiningStatements"][0].clone(),
    )
}

/// The output contains everything about the role and the user, and so it contains the member that the finding asks to
/// keep.
#[test]
fn what_is_inside_an_envelope_loads() {
    let inside = |text: &str, name: &str| {
        let whole: Value = serde_json::from_str(text).unwrap();
        whole[name].to_string()
    };
    assert_eq!(
        found([("roles/app.json", &*inside(&get_role(), "Role"))]),
        []
    );
    assert_eq!(found([("users/ann.json", &*inside(GET_USER, "User"))]), []);
    let group = inside(GET_GROUP, "Group");
    assert_eq!(
        found([
            ("groups/devs.json", &*group),
            ("users/ann.json", r#"{"GroupList": ["devs"]}"#)
        ]),
        []
    );
}

/// G-36: a document with its version is a complete managed policy. Its name is that of the file.
#[test]
fn the_default_version_of_a_policy_loads_as_it_is_printed() {
    let ann =
        r#"{"AttachedManagedPolicies": [{"PolicyArn": "arn:aws:iam::111111111111:policy/Read"}]}"#;
    let in_a_string = Value::from(DOCUMENT).to_string();
    let encoded: String = DOCUMENT
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect();
    let encoded = Value::from(encoded).to_string();
    // The document is JSON text, as the CLI prints it and as the API itself sends it.
    for document in [DOCUMENT, &in_a_string, &encoded] {
        let version = get_policy_version(document, true);
        let (is_allowed, statement) = ann_reads(&[
            ("users/ann.json", ann),
            ("managed-policies/Read.json", &version),
        ]);
        assert!(is_allowed, "{version}");
        assert_eq!(
            (&statement["policy"], &statement["sid"]),
            (
                &json!("arn:aws:iam::111111111111:policy/Read"),
                &json!("Read")
            )
        );
    }
}

/// G-36: a version that is not in force must not be taken for the one that is.
#[test]
fn a_version_that_is_not_the_default_is_refused() {
    let version = get_policy_version(DOCUMENT, false);
    let files = [
        ("users/ann.json", "{}"),
        ("managed-policies/Read.json", version.as_str()),
    ];
    let finding = only(&found(files), &version);
    assert_eq!(finding.code.as_str(), "default-version", "{finding}");
    let says = ["version `v3` is not the default", "`aws iam get-policy`"];
    assert!(has_all(&words_of(&finding), &says), "{finding}");
    assert_eq!(finding.at.line, 1, "{finding}");
}

/// G-1 to G-37: the envelope hides no fault of the document, and must not have an unknown member (G-3).
#[test]
fn a_printed_version_is_checked_like_any_document() {
    for (version, code, at, others) in [
        (
            get_policy_version(&DOCUMENT.replace("Allow", "allow"), true),
            "invalid-effect",
            "\"allow\"",
            &[][..],
        ),
        (
            get_policy_version(&DOCUMENT.replace("\"Action\"", "\"Acton\""), true),
            "unknown-member",
            "\"Acton\"",
            &["missing-member"],
        ),
        (
            get_policy_version(DOCUMENT, true).replace("VersionId", "VersonId"),
            "unknown-member",
            "\"VersonId\"",
            &["missing-member"],
        ),
        (
            get_policy_version(DOCUMENT, true).replacen('{', "{\"Conditon\": 1, ", 1),
            "unknown-member",
            "\"Conditon\"",
            &[],
        ),
    ] {
        let files = [
            ("users/ann.json", "{}"),
            ("managed-policies/Read.json", version.as_str()),
        ];
        let place = place_of(at, &version);
        let findings = found(files);
        let is_told = findings.iter().any(|finding| {
            finding.code.as_str() == code && (finding.at.line, finding.at.column) == place
        });
        assert!(is_told, "error[{code}] at {place:?} in {findings:#?}");
        let mut told: Vec<&str> = findings.iter().map(|one| one.code.as_str()).collect();
        told.retain(|told| *told != code);
        assert_eq!(told, others, "{findings:#?}");
    }
}

/// AWS-managed policies come with every dump. A copy from another command with the same content is not a duplicate.
#[test]
fn a_printed_version_is_the_same_as_the_copy_of_a_dump() {
    let arn = "arn:aws:iam::aws:policy/Read";
    let dump = format!(
        r#"{{"UserDetailList": [{{"UserName": "ann", "Arn": "{ANN}", "AttachedManagedPolicies": [{{"PolicyArn": "{arn}"}}]}}],
            "Policies": [{{"PolicyName": "Read", "Arn": "{arn}", "PolicyVersionList": [{{"VersionId": "v3", "IsDefaultVersion": true, "Document": {DOCUMENT}}}]}}]}}"#
    );
    let copy = "accounts/aws/managed-policies/Read.json";
    let version = get_policy_version(DOCUMENT, true);
    let (is_allowed, _) = ann_reads(&[("dump.json", &dump), (copy, &version)]);
    assert!(is_allowed);
    let other = get_policy_version(&DOCUMENT.replace("Allow", "Deny"), true);
    let findings = found([("dump.json", dump.as_str()), (copy, &other)]);
    let codes: Vec<&str> = findings
        .iter()
        .map(|finding| finding.code.as_str())
        .collect();
    assert_eq!(codes, ["duplicate-entity"], "{findings:#?}");
}

/// The outputs of `aws s3api get-bucket-policy`, `aws kms get-key-policy` and `aws lambda get-policy`, with the one
/// member that the finding asks for (E-10, E-41).
#[test]
fn the_policy_of_a_resource_loads_once_it_says_whose_it_is() {
    for more in [
        "",
        r#", "PolicyName": "default""#,
        r#", "RevisionId": "4843f2f6-7c59-4fda-b484-afd0bc0e22b8""#,
    ] {
        let printed = policy_in_a_string(more);
        let mended = printed.replacen('{', r#"{"Resource": ["arn:aws:s3:::shop/*"],"#, 1);
        let (is_allowed, statement) = ann_reads(&[
            ("users/ann.json", "{}"),
            ("resource-policies/bucket.json", &mended),
        ]);
        assert!(is_allowed, "{mended}");
        assert_eq!(statement["policy"], "resource-policies/bucket");
    }
    let wrapped = format!(r#"{{"Resource": ["arn:aws:s3:::shop/*"], "Policy": {OF_ANN}}}"#);
    let (is_allowed, _) = ann_reads(&[
        ("users/ann.json", "{}"),
        ("resource-policies/bucket.json", &wrapped),
    ]);
    assert!(is_allowed, "the wrapper that the finding shows");
}

/// MinIO writes each element that a statement does not have as an empty list. Those are still refused (G-12, G-16), but
/// the finding names them and says how to fix them.
#[test]
fn an_empty_list_beside_its_opposite_is_told_as_what_it_is() {
    let text = r#"{"ID":"","Version":"2012-10-17","Statement":[{"Sid":"a","Effect":"Allow","Action":["s3:*"],"NotAction":[],"Resource":["arn:aws:s3:::argo-wf/*"],"NotResource":[]}]}"#;
    let findings = found([
        ("users/ann.json", "{}"),
        ("managed-policies/argo.json", text),
    ]);
    let told: Vec<(&str, u32, String)> = findings
        .iter()
        .map(|finding| (finding.code.as_str(), finding.at.column, words_of(finding)))
        .collect();
    let column = |part: &str| place_of(part, text).1;
    let [id, action, resource] = told.as_slice() else {
        panic!("three findings, not {findings:#?}")
    };
    assert_eq!((id.0, id.1), ("unknown-member", column("\"ID\"")), "{id:?}");
    assert!(id.2.contains("did you mean `Id`?"), "{id:?}");
    for (said, name) in [(action, "NotAction"), (resource, "NotResource")] {
        let at = column(&format!("\"{name}\""));
        assert_eq!((said.0, said.1), ("empty-list", at), "G-16: {said:?}");
        let words = [&*format!("`{name}` is empty"), "remove the empty list"];
        assert!(has_all(&said.2, &words), "{said:?}");
    }
    // The intended element may be the second one, or both may have values.
    let swapped = DOCUMENT.replace("\"Action\"", "\"Action\": [], \"NotAction\"");
    let swapped = found([
        ("users/ann.json", "{}"),
        ("managed-policies/swapped.json", &*swapped),
    ]);
    let swapped = only(&swapped, "an empty `Action`");
    assert_eq!(swapped.code.as_str(), "empty-list", "{swapped}");
    assert!(
        words_of(&swapped).contains("`Action` is empty"),
        "{swapped}"
    );
    let both = DOCUMENT.replace("\"Action\"", "\"Action\": [\"a:B\"], \"NotAction\"");
    let both = found([
        ("users/ann.json", "{}"),
        ("managed-policies/both.json", &*both),
    ]);
    let both = only(&both, "both");
    assert_eq!(both.code.as_str(), "conflicting-elements", "G-12: {both}");
}

/// None of this affects an account dump, no matter which of its lists it has.
#[test]
fn a_dump_of_policies_alone_is_still_a_dump() {
    let dump = format!(
        r#"{{"Policies": [{{"PolicyName": "Read", "Arn": "arn:aws:iam::111111111111:policy/Read", "PolicyVersionList": [{{"VersionId": "v1", "IsDefaultVersion": true, "Document": {DOCUMENT}}}]}}]}}"#
    );
    assert_eq!(found([("dump.json", &*dump)]), []);
    // An entry without its versions is a fault of that entry.
    let broken = dump.replace(
        "{\"Policies\": [",
        "{\"Policies\": [{\"PolicyName\": \"Other\", \"Arn\": \"arn:aws:iam::111111111111:policy/Other\"}, ",
    );
    let finding = only(&found([("dump.json", &*broken)]), &broken);
    assert_eq!(finding.code.as_str(), "missing-member", "{finding}");
    assert!(finding.message.contains("`PolicyVersionList`"), "{finding}");
}
