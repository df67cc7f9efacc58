//! Tests `iamd validate` on what is in no store: standard input, a pipe, and files whose type is recognized or given.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::has_all;
use crate::support::{Finished, allow, iamd, run, store_allowing};

fn validate(arguments: &[&str], input: &str) -> Finished {
    run(iamd(["validate"].iter().chain(arguments).copied()), input)
}

const GOOD: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "orders:Get", "Resource": "*"}}"#;
const MISSPELT: &str = "{\n  \"Version\": \"2012-10-17\",\n  \"Statment\": []\n}\n";

#[test]
fn a_dash_is_standard_input() {
    let good = validate(&["-"], GOOD);
    assert_eq!(good.status, Some(0), "{good:?}");
    assert_eq!(good.stdout, "no errors, no warnings\n");
    let bad = validate(&["-"], MISSPELT);
    assert_eq!(bad.status, Some(1), "{bad:?}");
    let words = ["-:3:3: error[unknown-member]", "did you mean `Statement`?"];
    assert!(has_all(&bad.stdout, &words), "{bad:?}");
    assert_eq!(bad.stderr, "");
    let as_json = validate(&["-", "--output", "json"], MISSPELT);
    let told: Value = serde_json::from_str(&as_json.stdout).unwrap();
    let findings = told["findings"].as_array().unwrap();
    assert!(
        findings.iter().all(|finding| finding["file"] == "-"),
        "{told}"
    );
    // Standard input is read beside files, in the order of the arguments.
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("p.json");
    fs::write(&path, MISSPELT).unwrap();
    let path = path.to_str().unwrap();
    let both = validate(&[path, "-"], MISSPELT);
    let (first, second) = (
        both.stdout.find(&format!("{path}:3:3:")),
        both.stdout.find("\n-:3:3:"),
    );
    assert!(first.is_some() && first < second, "{both:?}");
}

/// A pipe can be read under any name: `/dev/stdin`, or what a shell makes of `<(…)`.
#[test]
fn a_pipe_is_read_like_a_file() {
    let good = validate(&["/dev/stdin"], GOOD);
    assert_eq!(good.status, Some(0), "{good:?}");
    let bad = validate(&["/dev/stdin"], MISSPELT);
    assert_eq!(bad.status, Some(1), "{bad:?}");
    assert!(
        bad.stdout.contains("/dev/stdin:3:3: error[unknown-member]"),
        "{bad:?}"
    );
    let nothing = validate(&["/dev/null"], "");
    assert_eq!(nothing.status, Some(1), "{nothing:?}");
    assert!(
        nothing.stdout.contains("/dev/null:1:1: error[syntax]"),
        "{nothing:?}"
    );
}

/// Any input is bounded and need not be text.
#[test]
fn what_comes_from_standard_input_is_checked_like_a_file() {
    let empty = validate(&["-"], "");
    assert_eq!(empty.status, Some(1), "{empty:?}");
    let words = ["-:1:1: error[syntax]", "is empty"];
    assert!(has_all(&empty.stdout, &words), "{empty:?}");
    let in_utf16: String = GOOD.chars().flat_map(|letter| [letter, '\0']).collect();
    let utf16 = validate(&["-"], &in_utf16);
    let words = ["-:1:1: error[not-utf8]", "UTF-16"];
    assert!(has_all(&utf16.stdout, &words), "{utf16:?}");
    // Entities are recognized by their members, as in a file.
    let role = validate(&["-"], r#"{"RoleName": "app"}"#);
    assert!(
        role.stdout.contains("`AssumeRolePolicyDocument`"),
        "{role:?}"
    );
}

const PRINCIPAL: &str = r#""Principal": {"AWS": "arn:aws:iam::111122223333:user/ann"}"#;

fn document(statement: &str) -> String {
    format!(r#"{{"Version": "2012-10-17", "Statement": [{{{statement}}}]}}"#)
}

/// The types, each with a document that it accepts and one that it refuses with the code (G-29).
fn types() -> [(&'static str, String, String, &'static str); 7] {
    let own = r#""Effect": "Allow", "Action": "orders:Get", "Resource": "*""#;
    let theirs = format!(r#"{own}, {PRINCIPAL}"#);
    let trust = format!(r#""Effect": "Allow", "Action": "sts:AssumeRole", {PRINCIPAL}"#);
    let everybody =
        r#""Effect": "Deny", "Action": "orders:Get", "Resource": "*", "Principal": "*""#;
    let (own, theirs, trust) = (document(own), document(&theirs), document(&trust));
    let everybody = document(everybody);
    let not_allowed = "element-not-allowed";
    [
        ("identity", own.clone(), theirs.clone(), not_allowed),
        ("resource", theirs.clone(), own.clone(), "missing-member"),
        ("trust", trust, own.clone(), "missing-member"),
        (
            "permissions-boundary",
            own.clone(),
            theirs.clone(),
            not_allowed,
        ),
        ("session", own.clone(), theirs.clone(), not_allowed),
        ("service-control", own, theirs.clone(), not_allowed),
        ("resource-control", everybody, theirs, not_allowed),
    ]
}

#[test]
fn the_type_of_a_policy_can_be_said() {
    for (policy_type, good, bad, code) in types() {
        let taken = validate(&["--type", policy_type, "-"], &good);
        assert_eq!(taken.status, Some(0), "{policy_type}: {taken:?}");
        assert!(!taken.stdout.contains("error["), "{policy_type}: {taken:?}");
        let refused = validate(&["--type", policy_type, "-"], &bad);
        assert_eq!(refused.status, Some(1), "{policy_type}: {refused:?}");
        let finding = format!("error[{code}]");
        assert!(
            refused.stdout.contains(&finding),
            "{policy_type}: {refused:?}"
        );
    }
}

/// The type that is given takes precedence over what the members or the folder suggest.
#[test]
fn the_type_that_is_said_wins_over_every_guess() {
    let folder = TempDir::new().unwrap();
    let scps = folder.path().join("service-control-policies");
    fs::create_dir(&scps).unwrap();
    let path = scps.join("p.json");
    let no_version = r#"{"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}"#;
    fs::write(&path, no_version).unwrap();
    let path = path.to_str().unwrap();
    let guessed = validate(&[path], "");
    assert!(
        guessed.stdout.contains("warning[missing-version]"),
        "G-29: {guessed:?}"
    );
    let said = validate(&["--type", "identity", path], "");
    assert_eq!(said.stdout, "no errors, no warnings\n", "{said:?}");
    let from_stdin = validate(&["--type", "service-control", "-"], no_version);
    assert!(
        from_stdin.stdout.contains("warning[missing-version]"),
        "{from_stdin:?}"
    );
    // G-39: each type has its own size limit.
    let statement = |sid: usize| {
        format!(
            r#"{{"Sid": "S{sid}", "Effect": "Allow", "Action": "orders:Get", "Resource": "*"}}"#
        )
    };
    let statements: Vec<String> = (0..60).map(statement).collect();
    let long = format!(
        r#"{{"Version": "2012-10-17", "Statement": [{}]}}"#,
        statements.join(", ")
    );
    let is_over = |of: &str| {
        let told = validate(&["--type", of, "-"], &long).stdout;
        told.contains("warning[aws-quota]")
    };
    assert!(is_over("session"), "more than 2,048 characters");
    assert!(!is_over("identity"));
    assert!(!is_over("permissions-boundary"), "fewer than 6,144");
}

/// The members that AWS wraps around a policy of the type are allowed.
#[test]
fn a_wrapped_policy_of_the_type_is_unwrapped() {
    let content = Value::from(GOOD).to_string();
    let described = format!(
        r#"{{"Policy": {{"PolicySummary": {{"Id": "p-1", "Name": "n", "Type": "SERVICE_CONTROL_POLICY", "AwsManaged": false}}, "Content": {content}}}}}"#
    );
    let scp = validate(&["--type", "service-control", "-"], &described);
    assert_eq!(scp.status, Some(0), "{scp:?}");
    let version = format!(
        r#"{{"PolicyVersion": {{"Document": {GOOD}, "VersionId": "v1", "IsDefaultVersion": true, "CreateDate": "2024-01-01T00:00:00+00:00"}}}}"#
    );
    for policy_type in ["identity", "permissions-boundary"] {
        let told = validate(&["--type", policy_type, "-"], &version);
        assert_eq!(told.status, Some(0), "{policy_type}: {told:?}");
    }
    let theirs = document(&format!(
        r#""Effect": "Allow", "Action": "orders:Get", "Resource": "*", {PRINCIPAL}"#
    ));
    let wrapped = format!(r#"{{"Resource": "arn:app:orders:::*", "Policy": {theirs}}}"#);
    let resource = validate(&["--type", "resource", "-"], &wrapped);
    assert_eq!(resource.status, Some(0), "{resource:?}");
}

/// T-23: a document whose statements name principals, no resource, and only actions that are requested on roles is a
/// trust policy, so its faults are reported as those of one.
#[test]
fn a_trust_policy_is_recognized_by_what_it_lacks() {
    let trust = document(
        r#""Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/oidc.k8s.example/id/1"}"#,
    );
    let told = validate(&["-"], &trust);
    assert!(
        told.stdout
            .contains("warning[oidc-trust-without-condition]"),
        "{told:?}"
    );
    let resource = trust.replace("\"Principal\"", "\"Resource\": \"*\", \"Principal\"");
    let told = validate(&["-"], &resource);
    assert!(
        !told.stdout.contains("oidc-trust-without-condition"),
        "{told:?}"
    );
    // A resource policy need not name its resource (E-13).
    let own = document(&format!(
        r#""Effect": "Allow", "Action": "orders:Get", {PRINCIPAL}"#
    ));
    let told = validate(&["-"], &own);
    assert_eq!(told.stdout, "no errors, no warnings\n", "T-6: {told:?}");
}

#[test]
fn a_type_is_for_single_files() {
    let store = store_allowing("orders:Get");
    let path = store.path().to_str().unwrap();
    for arguments in [
        &["--type", "identity", path][..],
        &["--type", "identity", "--store", path], // the store itself
        &["--type", "user", "-"],
        &["--type"],
    ] {
        let refused = validate(arguments, GOOD);
        assert_eq!(refused.status, Some(2), "{arguments:?}: {refused:?}");
        assert_eq!(refused.stdout, "", "{arguments:?}");
        assert!(
            refused.stderr.contains("--type"),
            "{arguments:?}: {refused:?}"
        );
        assert!(
            !refused.stderr.contains("unexpected argument"),
            "{arguments:?}: {refused:?}"
        );
    }
    let help = run(iamd(["validate", "--help"]), "").stdout;
    for (policy_type, ..) in types() {
        assert!(help.contains(policy_type), "{policy_type} in {help}");
    }
    assert_eq!(validate(&["-"], &allow("orders:Get")).status, Some(0));
}
