#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use jiff::Timestamp;

use crate::compile::snapshot::Snapshot;
use crate::engine::cache::{Caching, Mode};
use crate::engine::error::{RequestError, RequestErrorKind};
use crate::engine::explain::{Redacted, explain};
use crate::engine::live::Generation;
use crate::engine::question::{Question, SessionFacts};
use crate::engine::request::Request;
use crate::engine::{authorize, authorize_by_scan};

const ALL: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
const NOTHING: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}"#;

const NONE: &str = "arn:aws:iam::111122223333:user/none";
const IDENTITY: &str = "arn:aws:iam::111122223333:user/identity";
const DENIED: &str = "arn:aws:iam::111122223333:user/denied";
const BOUNDARY: &str = "arn:aws:iam::111122223333:user/boundary";

/// A store in which each user has policies of one kind, and `none` has none of their own.
fn store() -> Vec<(&'static str, String)> {
    let boundary = "arn:aws:iam::111122223333:policy/all";
    vec![
        ("account.json", r#"{"AccountId":"111122223333"}"#.into()),
        ("managed-policies/all.json", ALL.into()),
        ("managed-policies/nothing.json", NOTHING.into()),
        ("users/none.json", "{}".into()),
        (
            "users/identity.json",
            format!(r#"{{"UserPolicyList":[{{"PolicyName":"p","PolicyDocument":{ALL}}}]}}"#),
        ),
        (
            "users/denied.json",
            format!(r#"{{"UserPolicyList":[{{"PolicyName":"p","PolicyDocument":{NOTHING}}}]}}"#),
        ),
        (
            "users/boundary.json",
            format!(
                r#"{{"PermissionsBoundary":{{"PermissionsBoundaryType":"Policy","PermissionsBoundaryArn":"{boundary}"}}}}"#
            ),
        ),
        (
            "roles/ops.json",
            r#"{"AssumeRolePolicyDocument":{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}}"#.into(),
        ),
        (
            "resource-policies/vip.json",
            r#"{"Resource":"arn:app:orders:::vip/*","Policy":{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"*"}]}}"#.into(),
        ),
    ]
}

/// An account of an organization with one type of control policies, and the user `none`.
fn organization(attached: &str, folder: &str) -> Vec<(&'static str, String)> {
    let (first, second) = match folder {
        "service-control-policies" => (r#""FullAWSAccess","#, "service-control-policies/p.json"),
        _ => ("", "resource-control-policies/p.json"),
    };
    let mut deny: serde_json::Value = serde_json::from_str(NOTHING).unwrap();
    if first.is_empty() {
        deny["Statement"][0]["Principal"] = "*".into();
        deny["Statement"][0]["Action"] = "s3:*".into();
    }
    let list = format!(r#""{attached}":[{first}"p"]"#);
    vec![
        ("account.json", r#"{"AccountId":"333333333333"}"#.into()),
        (
            "accounts/111122223333/account.json",
            r#"{"AccountId":"111122223333"}"#.into(),
        ),
        ("accounts/111122223333/users/none.json", "{}".into()),
        (second, deny.to_string()),
        (
            "organization.json",
            format!(
                r#"{{"Id":"o-example1","ManagementAccountId":"333333333333","Root":{{"Id":"r-ex01",{list},"Accounts":[{{"Id":"111122223333",{list}}},{{"Id":"333333333333",{list}}}]}}}}"#
            ),
        ),
    ]
}

fn snapshot(files: &[(&str, String)]) -> Snapshot {
    let texts = files.iter().map(|(path, text)| (*path, text.as_str()));
    match crate::store::load_texts(texts) {
        Ok(loaded) => loaded.snapshot,
        Err(refused) => panic!("{:#?}", refused.findings),
    }
}

fn question(principal: &str) -> Question<'_> {
    Question {
        principal,
        action: "s3:Get",
        resource: "arn:app:s3::111122223333:order/1",
        ..Question::default()
    }
}

/// What the question ends with, whichever way it is asked: all end alike.
fn ends(snapshot: &Snapshot, raw: &Question<'_>) -> Result<(), RequestError> {
    let at: Timestamp = "2026-03-01T09:00:00Z".parse().unwrap();
    let request = Request::parse(raw, at).unwrap();
    let generation = Generation::new(snapshot.clone(), &Caching::new(Mode::Always, 1 << 20, 7));
    let redacted = Redacted::default();
    let ends = [
        authorize(snapshot, &request).map(|_| ()),
        authorize_by_scan(snapshot, &request).map(|_| ()),
        explain(snapshot, &request, &redacted).map(|_| ()),
        generation.authorize(&request).map(|_| ()),
        generation.authorize(&request).map(|_| ()),
        generation.authorize(&request).map(|_| ()),
    ];
    for other in &ends {
        assert_eq!(*other, ends[0], "{raw:?}");
    }
    ends[0].clone()
}

#[test]
fn a_question_of_which_a_set_of_policies_is_lost_has_no_answer() {
    let plain = store();
    let restricted = Question {
        session: Some(Box::new(SessionFacts {
            policy_arns: vec!["arn:aws:iam::111122223333:policy/nothing"],
            issued_at: Some("2026-03-01T08:00:00Z".parse().unwrap()),
            ..SessionFacts::default()
        })),
        ..question(NONE)
    };
    let assuming = Question {
        action: "sts:AssumeRole",
        resource: "arn:aws:iam::111122223333:role/ops",
        ..question(NONE)
    };
    let covered = Question {
        resource: "arn:app:orders:::vip/1",
        ..question(NONE)
    };
    let scps = organization("ServiceControlPolicies", "service-control-policies");
    let rcps = organization("ResourceControlPolicies", "resource-control-policies");
    let cases = [
        ("identity policies", &plain, question(IDENTITY)),
        ("the boundary", &plain, question(BOUNDARY)),
        ("a session policy", &plain, restricted),
        ("the trust policy", &plain, assuming),
        ("a resource policy", &plain, covered),
        ("SCPs", &scps, question(NONE)),
        ("RCPs", &rcps, question(NONE)),
    ];
    for (what, files, question) in cases {
        let mut snapshot = snapshot(files);
        assert_eq!(ends(&snapshot, &question), Ok(()), "{what}");
        snapshot.lose_sets();
        let lost = ends(&snapshot, &question).unwrap_err();
        assert_eq!(lost.kind, RequestErrorKind::Lost, "{what}: {lost}");
        let message = lost.to_string();
        let row = message
            .strip_prefix("the snapshot is broken: the table of sets of policies has no row ");
        assert!(
            row.is_some_and(|row| row.parse::<usize>().is_ok()),
            "{what}: {message}"
        );
    }
    let mut snapshot = snapshot(&plain);
    snapshot.lose_sets();
    assert_eq!(
        ends(&snapshot, &question(NONE)),
        Ok(()),
        "nothing of it is lost"
    );
}

#[test]
fn a_question_of_which_a_statement_is_lost_has_no_answer() {
    for user in [DENIED, IDENTITY] {
        let question = question(user);
        let mut snapshot = snapshot(&store());
        assert_eq!(ends(&snapshot, &question), Ok(()));
        snapshot.lose_statements();
        let at: Timestamp = "2026-03-01T09:00:00Z".parse().unwrap();
        let request = Request::parse(&question, at).unwrap();
        let lost = authorize(&snapshot, &request).unwrap_err();
        assert_eq!(lost.kind, RequestErrorKind::Lost, "{lost}");
        assert_eq!(
            lost.to_string(),
            "the snapshot is broken: the table of statements of a set has no row 0"
        );
    }
}

/// A Deny beside an Allow, and two Allows: the nodes have lists of statements, of which the denying ones must not be passed over.
#[test]
fn a_question_of_which_a_list_of_statements_is_lost_has_no_answer() {
    let several = |effects: [&str; 2]| {
        let statements =
            effects.map(|effect| format!(r#"{{"Effect":"{effect}","Action":"*","Resource":"*"}}"#));
        let document = format!(
            r#"{{"Version":"2012-10-17","Statement":[{}]}}"#,
            statements.join(",")
        );
        format!(r#"{{"UserPolicyList":[{{"PolicyName":"p","PolicyDocument":{document}}}]}}"#)
    };
    for effects in [["Allow", "Deny"], ["Allow", "Allow"]] {
        let mut files = store();
        files.retain(|(path, _)| *path != "users/identity.json");
        files.push(("users/identity.json", several(effects)));
        let question = question(IDENTITY);
        let mut snapshot = snapshot(&files);
        assert_eq!(ends(&snapshot, &question), Ok(()));
        snapshot.lose_lists();
        let at: Timestamp = "2026-03-01T09:00:00Z".parse().unwrap();
        let request = Request::parse(&question, at).unwrap();
        let lost = authorize(&snapshot, &request).unwrap_err();
        assert_eq!(lost.kind, RequestErrorKind::Lost, "{effects:?}: {lost}");
    }
}
