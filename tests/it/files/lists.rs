//! M-11: a List action is usually requested on the resource `*`, which no ARN covers. An Allow of it on ARNs grants
//! less than its author meant, and a Deny forbids less.

use iamd::language::document::PolicyType;
use iamd::language::finding::Finding;
use iamd::language::parse::parse;
use iamd::language::report::Base;

use super::{has_all, words_of};

fn found(statement: &str, policy_type: PolicyType) -> Vec<Finding> {
    let text = format!(r#"{{"Version": "2012-10-17", "Statement": [{{{statement}}}]}}"#);
    parse(&text, policy_type, Base::File("p.json".into())).1
}

fn allow(action: &str, resource: &str) -> String {
    format!(r#""Effect": "Allow", "Action": {action}, "Resource": {resource}"#)
}

#[test]
fn an_allow_of_a_list_on_arns_is_told() {
    for (action, resource) in [
        (r#""orders:List""#, r#""arn:app:orders:::order/*""#),
        (
            r#""orders:list""#,
            r#"["arn:app:orders:::order/1", "arn:app:orders:::order/2"]"#,
        ),
        (r#""orders:List*""#, r#""arn:app:orders:::order/*""#),
        (
            r#"["orders:Get", "orders:List"]"#,
            r#""arn:app:orders:::order/*""#,
        ),
        // All resources with an ARN are not all resources.
        (r#""orders:ListItems""#, r#""arn:app:orders:::*""#),
        (r#""orders:List""#, r#""arn:*""#),
        (r#""s3:ListAllMyBuckets""#, r#""arn:aws:s3:::*""#),
        (r#""s3:ListAllMyBuckets""#, r#""arn:aws:s3:::shop""#),
        // The action lists resources of the kind that the ARNs name.
        (r#""orders:ListOrders""#, r#""arn:app:orders:::order/*""#),
        (
            r#""iam:ListRoles""#,
            r#""arn:aws:iam::111122223333:role/*""#,
        ),
        (
            r#""iam:ListPolicies""#,
            r#""arn:aws:iam::111122223333:policy/*""#,
        ),
        (
            r#""lambda:ListFunctions""#,
            r#""arn:aws:lambda:eu-west-1:111122223333:function:*""#,
        ),
    ] {
        let findings = found(&allow(action, resource), PolicyType::Identity);
        let [finding] = findings.as_slice() else {
            panic!("M-11: {action} on {resource}: one finding, not {findings:#?}")
        };
        assert_eq!(finding.code.as_str(), "allow-list-style", "{finding}");
        assert!(!finding.is_error(), "{finding}");
        assert!(
            finding.at.pointer.starts_with("/Statement/0/Resource"),
            "{finding}"
        );
        let words = [
            "is usually requested on the resource `*`",
            "this Allow does not grant it",
            "a statement of its own with `\"Resource\": \"*\"`",
        ];
        assert!(has_all(&words_of(finding), &words), "{finding}");
    }
}

/// An action that lists the contents of a resource is requested on that resource. A warning that is usually wrong would
/// not be read.
#[test]
fn a_list_inside_of_what_the_arn_names_is_not_told() {
    for (action, resource) in [
        (r#""orders:List""#, r#""*""#),
        (r#""orders:List""#, r#"["arn:app:orders:::order/*", "*"]"#),
        (r#""orders:ListItems""#, r#""arn:app:orders:::order/*""#),
        (r#""orders:Listen""#, r#""arn:app:orders:::order/*""#),
        (r#""orders:*""#, r#""arn:app:orders:::order/*""#),
        (r#""orders:Get*""#, r#""arn:app:orders:::*""#),
        (r#""s3:ListBucket""#, r#""arn:aws:s3:::*""#),
        (
            r#""s3:List*""#,
            r#"["arn:aws:s3:::shop", "arn:aws:s3:::shop/*"]"#,
        ),
        (r#""s3:ListBucketVersions""#, r#""arn:aws:s3:::shop""#),
        (
            r#""s3:ListMultipartUploadParts""#,
            r#""arn:aws:s3:::shop/*""#,
        ),
        (
            r#""iam:ListRolePolicies""#,
            r#""arn:aws:iam::111122223333:role/app""#,
        ),
        (
            r#""iam:ListAttachedRolePolicies""#,
            r#""arn:aws:iam::111122223333:role/*""#,
        ),
        (
            r#""kms:ListGrants""#,
            r#""arn:aws:kms:eu-west-1:111122223333:key/1""#,
        ),
        (
            r#""ssm:ListTagsForResource""#,
            r#""arn:aws:ssm:eu-west-1:111122223333:parameter/x""#,
        ),
        (
            r#""events:ListTargetsByRule""#,
            r#""arn:aws:events:eu-west-1:111122223333:rule/x""#,
        ),
    ] {
        let findings = found(&allow(action, resource), PolicyType::Identity);
        assert_eq!(findings, [], "M-11: {action} on {resource}");
    }
    let all_but =
        r#""Effect": "Allow", "NotAction": "orders:List", "Resource": "arn:app:orders:::order/*""#;
    assert_eq!(found(all_but, PolicyType::Identity), []);
    // M-11: `NotResource` of an ARN matches `*`.
    let elsewhere =
        r#""Effect": "Allow", "Action": "orders:List", "NotResource": "arn:app:orders:::order/1""#;
    assert_eq!(found(elsewhere, PolicyType::Identity), []);
}

/// A resource policy covers only what it is attached to, and is used for nothing else.
#[test]
fn a_resource_policy_may_allow_lists_on_its_resource() {
    let own = allow(r#""orders:List""#, r#""arn:app:orders:::order/*""#);
    let theirs = format!(r#"{own}, "Principal": {{"AWS": "111122223333"}}"#);
    assert_eq!(found(&theirs, PolicyType::Resource), [], "M-11, E-10");
}

/// A Deny is reported as before, with its own code.
#[test]
fn a_deny_of_a_list_keeps_its_own_words() {
    let deny = allow(r#""orders:List""#, r#""arn:app:orders:::*""#).replace("Allow", "Deny");
    let findings = found(&deny, PolicyType::Identity);
    let codes: Vec<&str> = findings
        .iter()
        .map(|finding| finding.code.as_str())
        .collect();
    assert_eq!(codes, ["deny-list-style"], "M-11");
}

/// Policies that AWS wrote are seldom wrong, so the warning must be rare too.
#[test]
fn policies_that_are_meant_so_are_seldom_told() {
    let shop = iamd::store::load(&crate::support::repository().join("policies")).unwrap();
    let told = |finding: &&Finding| finding.code.as_str() == "allow-list-style";
    assert_eq!(shop.findings.iter().find(told), None);
}
