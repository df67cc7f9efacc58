//! Checks that the output of `aws iam get-account-authorization-details` is a store as it is, or is refused for a known
//! reason.

use std::fs;
use std::path::Path;

use iamd::engine::authorize;
use iamd::engine::decision::{Decision, Reason};
use iamd::engine::question::{Question as Asked, SessionFacts};
use iamd::engine::request::Request;
use iamd::language::finding::Code;
use iamd::store::{self, Loaded, Refused};
use jiff::Timestamp;
use tempfile::TempDir;

use super::{corpus, list, read};

/// The policy as AWS publishes it, which the corpus lacks.
const ADMINISTRATOR_ACCESS: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}"#;

/// Returns a store that consists of the dump alone.
fn store_of(dump: &str) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let text = read(&corpus().join("accounts").join(format!("{dump}.json.gz")));
    fs::write(root.path().join("authorization-details.json"), text).unwrap();
    root
}

/// Adds an AWS-managed policy where the store looks for it.
fn add_aws_managed(root: &Path, name: &str, document: &str) {
    let folder = root.join("accounts/aws/managed-policies");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{name}.json")), document).unwrap();
}

fn load(root: &Path) -> Loaded {
    store::load(root)
        .unwrap_or_else(|Refused { findings, .. }| panic!("refused:{}", list(&findings)))
}

fn refused(root: &Path) -> Refused {
    store::load(root).expect_err("it loads, but should be refused")
}

/// A question about one of the dumps, with the answer that its policies give.
struct Question {
    principal: &'static str,
    action: &'static str,
    resource: &'static str,
    /// The start of the session. `None` for a long-term credential or a session that does not say.
    issued_at: Option<&'static str>,
    expect: Reason,
    /// The policy and the index of the determining statement. `None` for an implicit deny.
    by: Option<(&'static str, usize)>,
}

fn ask(loaded: &Loaded, question: &Question) -> Decision {
    let session = question.issued_at.map(|at| SessionFacts {
        issued_at: Some(at.parse().unwrap()),
        ..SessionFacts::default()
    });
    let asked = Asked {
        principal: question.principal,
        action: question.action,
        resource: question.resource,
        session: session.map(Box::new),
        ..Asked::default()
    };
    let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let request = Request::parse(&asked, at).unwrap_or_else(|error| panic!("{error}"));
    authorize(&loaded.snapshot, &request).unwrap_or_else(|error| panic!("{error}"))
}

fn check(loaded: &Loaded, questions: &[Question]) {
    for question in questions {
        let decision = ask(loaded, question);
        let place = format!(
            "{} {} {}",
            question.principal, question.action, question.resource
        );
        assert_eq!(decision.reason(), question.expect, "{place}");
        let by: Vec<_> = decision
            .determining()
            .iter()
            .map(|it| (&*it.policy.name, it.index))
            .collect();
        assert_eq!(by, Vec::from_iter(question.by), "{place}");
    }
}

#[test]
fn dumps_load_or_are_refused_for_what_they_lack() {
    /// The codes of all errors. A dump without errors loads as it is.
    const DUMPS: &[(&str, &[Code])] = &[
        ("cloudsplaining-authz", &[]),
        ("cloudsplaining-example", &[]),
        ("cloudsplaining-overrides", &[]),
        // AdministratorAccess is attached, but is not in the dump (G-38).
        ("cloudsplaining-authz-v2", &[Code::DANGLING_REFERENCE]),
        // All dumps that were assembled from templates have `"Path": "/"` beside ARNs with `policy/service-role/…`.
        // This one also lacks AdministratorAccess and has a boundary in another account.
        (
            "derived-localstack-localstack",
            &[Code::CONTRADICTION, Code::DANGLING_REFERENCE],
        ),
        // It has a resource's bare name in place of its ARN (G-28), and lacks AdministratorAccess.
        (
            "derived-aws-cloudformation-aws-cloudformation-templates",
            &[
                Code::CONTRADICTION,
                Code::DANGLING_REFERENCE,
                Code::INVALID_RESOURCE,
            ],
        ),
        // It has the same errors, a number as a Sid (G-10), and roles whose names differ only in case (G-40).
        (
            "derived-aws-samples-serverless-patterns",
            &[
                Code::CONTRADICTION,
                Code::DANGLING_REFERENCE,
                Code::DUPLICATE_ENTITY,
                Code::INVALID_RESOURCE,
                Code::WRONG_TYPE,
            ],
        ),
        // It has bare names as resources, and `states.${AWS::Region}.amazonaws.com` as a principal (V-4).
        (
            "derived-eksctl-io-eksctl",
            &[
                Code::CONTRADICTION,
                Code::INVALID_RESOURCE,
                Code::MISPLACED_VARIABLE,
            ],
        ),
        // It has bare names as resources, and policies and boundaries that do not exist.
        (
            "derived-aws-serverless-application-model",
            &[
                Code::CONTRADICTION,
                Code::DANGLING_REFERENCE,
                Code::INVALID_RESOURCE,
            ],
        ),
    ];
    for (dump, wanted) in DUMPS {
        let root = store_of(dump);
        let findings = match store::load(root.path()) {
            Ok(Loaded { findings, .. }) | Err(Refused { findings, .. }) => findings,
        };
        let errors: Vec<_> = findings
            .into_iter()
            .filter(|finding| finding.is_error())
            .collect();
        let mut codes: Vec<Code> = errors.iter().map(|finding| finding.code).collect();
        codes.sort();
        codes.dedup();
        assert_eq!(&codes, wanted, "{dump}:{}", list(&errors));
    }
}

#[test]
fn a_missing_aws_managed_policy_is_named_where_it_is_attached_and_can_be_added() {
    let root = store_of("cloudsplaining-authz-v2");
    let Refused { findings, .. } = refused(root.path());
    let errors: Vec<_> = findings
        .iter()
        .filter(|finding| finding.is_error())
        .collect();
    let [finding] = errors.as_slice() else {
        panic!("{}", list(&findings))
    };
    assert_eq!(finding.code, Code::DANGLING_REFERENCE);
    assert_eq!(&*finding.at.file, "authorization-details.json");
    assert!(
        finding
            .at
            .pointer
            .starts_with("/GroupDetailList/0/AttachedManagedPolicies/0"),
        "{finding}"
    );
    assert!(
        finding
            .message
            .contains("`arn:aws:iam::aws:policy/AdministratorAccess`"),
        "{finding}"
    );

    add_aws_managed(root.path(), "AdministratorAccess", ADMINISTRATOR_ACCESS);
    let loaded = load(root.path());
    let administrator = Some(("arn:aws:iam::aws:policy/AdministratorAccess", 0));
    let onboarding = Some((
        "arn:aws:iam::012345678901:role/GOAT/inline/SsmOnboardingInlinePolicy",
        0,
    ));
    check(
        &loaded,
        &[
            // Three allows follow. The user has no policy of his own, but his group GOAT has AdministratorAccess.
            Question {
                principal: "arn:aws:iam::012345678901:user/BlakeBortles",
                action: "iam:CreateUser",
                resource: "arn:aws:iam::012345678901:user/new",
                issued_at: None,
                expect: Reason::AllowIdentity,
                by: administrator,
            },
            Question {
                principal: "arn:aws:iam::012345678901:user/BlakeBortles",
                action: "s3:ListAllMyBuckets",
                resource: "*",
                issued_at: None,
                expect: Reason::AllowIdentity,
                by: administrator,
            },
            // The inline policy of the role allows it to read and write objects anywhere. The bucket's ARN names no
            // account, so it belongs to the only account of the store (E-6).
            Question {
                principal: "arn:aws:sts::012345678901:assumed-role/GOAT/s1",
                action: "s3:GetObject",
                resource: "arn:aws:s3:::reports/2026.csv",
                issued_at: None,
                expect: Reason::AllowIdentity,
                by: onboarding,
            },
            // Three denies follow. That policy does not allow deleting an object.
            Question {
                principal: "arn:aws:sts::012345678901:assumed-role/GOAT/s1",
                action: "s3:DeleteObject",
                resource: "arn:aws:s3:::reports/2026.csv",
                issued_at: None,
                expect: Reason::ImplicitDenyIdentity,
                by: None,
            },
            // The role has the name of the group, but groups give their policies only to users (E-9).
            Question {
                principal: "arn:aws:sts::012345678901:assumed-role/GOAT/s1",
                action: "iam:CreateUser",
                resource: "arn:aws:iam::012345678901:user/new",
                issued_at: None,
                expect: Reason::ImplicitDenyIdentity,
                by: None,
            },
            // The dump has nobody of that name, because names are case-sensitive (M-16, E-3).
            Question {
                principal: "arn:aws:iam::012345678901:user/blakebortles",
                action: "s3:ListAllMyBuckets",
                resource: "*",
                issued_at: None,
                expect: Reason::ImplicitDenyUnknownPrincipal,
                by: None,
            },
        ],
    );
}

/// The largest dump has a test account for privilege escalation and a sample account. Its resources name their account,
/// because neither of two accounts is the default owner (E-6).
#[test]
fn a_large_account_dump_is_served_as_it_is() {
    let root = store_of("cloudsplaining-example");
    let loaded = load(root.path());
    check(
        &loaded,
        &[
            // The user's group has `privesc-sre-admin-policy`: Allow iam:*, ec2:*, s3:* on *.
            Question {
                principal: "arn:aws:iam::200611803367:user/privesc-sre-user",
                action: "iam:CreatePolicyVersion",
                resource: "arn:aws:iam::200611803367:policy/deny-all",
                issued_at: None,
                expect: Reason::AllowIdentity,
                by: Some((
                    "arn:aws:iam::200611803367:policy/privesc-sre-admin-policy",
                    0,
                )),
            },
            Question {
                principal: "arn:aws:iam::200611803367:user/privesc-sre-user",
                action: "EC2:runinstances",
                resource: "arn:aws:ec2:eu-west-1:200611803367:instance/*",
                issued_at: None,
                expect: Reason::AllowIdentity,
                by: Some((
                    "arn:aws:iam::200611803367:policy/privesc-sre-admin-policy",
                    0,
                )),
            },
            // `fn4-exploitableNotAction`: Allow NotAction [iam:Update*, iam:Create*, iam:Attach*] on *. PutUserPolicy is none of them…
            Question {
                principal: "arn:aws:iam::200611803367:user/fn4-exploitableNotAction-user",
                action: "iam:PutUserPolicy",
                resource: "arn:aws:iam::200611803367:user/fn4-exploitableNotAction-user",
                issued_at: None,
                expect: Reason::AllowIdentity,
                by: Some((
                    "arn:aws:iam::200611803367:policy/fn4-exploitableNotAction",
                    0,
                )),
            },
            // …CreateUser is one of them, and NotAction in an Allow denies nothing (M-6).
            Question {
                principal: "arn:aws:iam::200611803367:user/fn4-exploitableNotAction-user",
                action: "iam:CreateUser",
                resource: "arn:aws:iam::200611803367:user/new",
                issued_at: None,
                expect: Reason::ImplicitDenyIdentity,
                by: None,
            },
            // `fp1-allow-and-deny`: Allow iam:* on *, and then Deny the same.
            Question {
                principal: "arn:aws:iam::200611803367:user/fp1-allow-and-deny-user",
                action: "iam:ListUsers",
                resource: "*",
                issued_at: None,
                expect: Reason::ExplicitDenyIdentity,
                by: Some(("arn:aws:iam::200611803367:policy/fp1-allow-and-deny", 1)),
            },
            // `fn3-exploitableConditionConstraint` requires a token issued in 2020 or later. An access key has none
            // (C-6).
            Question {
                principal: "arn:aws:iam::200611803367:user/fn3-exploitableConditionConstraint-user",
                action: "iam:CreatePolicyVersion",
                resource: "arn:aws:iam::200611803367:policy/deny-all",
                issued_at: None,
                expect: Reason::ImplicitDenyIdentity,
                by: None,
            },
            // A role session has the same policy and a token. This token was issued after 2020 began…
            Question {
                principal: "arn:aws:sts::200611803367:assumed-role/fn3-exploitableConditionConstraint-role/s1",
                action: "iam:CreatePolicyVersion",
                resource: "arn:aws:iam::200611803367:policy/deny-all",
                issued_at: Some("2025-12-31T23:00:00Z"),
                expect: Reason::AllowIdentity,
                by: Some((
                    "arn:aws:iam::200611803367:policy/fn3-exploitableConditionConstraint",
                    0,
                )),
            },
            // …and this one before.
            Question {
                principal: "arn:aws:sts::200611803367:assumed-role/fn3-exploitableConditionConstraint-role/s1",
                action: "iam:CreatePolicyVersion",
                resource: "arn:aws:iam::200611803367:policy/deny-all",
                issued_at: Some("2019-12-31T23:00:00Z"),
                expect: Reason::ImplicitDenyIdentity,
                by: None,
            },
            // `fn2-exploitableResourceConstraint` allows arn:aws:iam::*:policy/fn2-*, in any account…
            Question {
                principal: "arn:aws:sts::200611803367:assumed-role/fn2-exploitableResourceConstraint-role/s1",
                action: "iam:CreatePolicyVersion",
                resource: "arn:aws:iam::200611803367:policy/fn2-exploitableResourceConstraint",
                issued_at: None,
                expect: Reason::AllowIdentity,
                by: Some((
                    "arn:aws:iam::200611803367:policy/fn2-exploitableResourceConstraint",
                    0,
                )),
            },
            // …but no policy of another name.
            Question {
                principal: "arn:aws:sts::200611803367:assumed-role/fn2-exploitableResourceConstraint-role/s1",
                action: "iam:CreatePolicyVersion",
                resource: "arn:aws:iam::200611803367:policy/deny-all",
                issued_at: None,
                expect: Reason::ImplicitDenyIdentity,
                by: None,
            },
            // `fp4-nonExploitableResourceConstraint` allows arn:aws:iam::aws:policy/fp4-*, which every account shares
            // (E-7).
            Question {
                principal: "arn:aws:sts::200611803367:assumed-role/fp4-nonExploitableResourceConstraint-role/s1",
                action: "iam:CreatePolicyVersion",
                resource: "arn:aws:iam::aws:policy/fp4-x",
                issued_at: None,
                expect: Reason::AllowIdentity,
                by: Some((
                    "arn:aws:iam::200611803367:policy/fp4-nonExploitableResourceConstraint",
                    0,
                )),
            },
            // `fp2-allow-all` and `deny-all` are both attached. A Deny wins wherever it is (E-15).
            Question {
                principal: "arn:aws:sts::200611803367:assumed-role/fp2-allow-and-deny-multiple-policies-role/s1",
                action: "s3:ListAllMyBuckets",
                resource: "*",
                issued_at: None,
                expect: Reason::ExplicitDenyIdentity,
                by: Some(("arn:aws:iam::200611803367:policy/deny-all", 0)),
            },
        ],
    );
}
