#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::super::finding::Finding;
use super::super::json;
use super::super::parse::{MAX_DOCUMENT_DEPTH, parse, scope as read_scope};
use super::super::report::Base;
use super::*;

/// Returns the lints of a policy with one statement, given without its braces.
fn lints(policy_type: PolicyType, statement: &str) -> Vec<Finding> {
    let text = format!(r#"{{"Version": "2012-10-17", "Statement": [{{{statement}}}]}}"#);
    let (document, findings) = parse(&text, policy_type, Base::File("policy.json".into()));
    assert!(document.is_some(), "{findings:?}: {text}");
    findings
}

/// Checks the codes and pointers of the lints. A policy without lints expects an empty list.
#[track_caller]
fn expect(policy_type: PolicyType, statement: &str, wanted: &[(Code, &str)]) {
    let found = lints(policy_type, statement);
    let found: Vec<_> = found
        .iter()
        .map(|finding| (finding.code, &*finding.at.pointer))
        .collect();
    assert_eq!(found, wanted, "{statement}");
}

fn allow(condition: &str) -> String {
    format!(
        r#""Effect": "Allow", "Action": "orders:*", "Resource": "*", "Condition": {{{condition}}}"#
    )
}

fn deny(condition: &str) -> String {
    allow(condition).replace("Allow", "Deny")
}

const IDENTITY: PolicyType = PolicyType::Identity;

#[test]
fn for_all_values_in_an_allow_needs_the_key_to_be_there() {
    let place = "/Statement/0/Condition/ForAllValues:StringEquals/aws:TagKeys";
    let tags = r#""ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}"#;
    expect(IDENTITY, &allow(tags), &[(Code::FORALLVALUES_ALLOW, place)]);
    expect(IDENTITY, &deny(tags), &[]);
    for companion in [
        r#""Null": {"aws:TagKeys": "false"}"#,
        r#""Null": {"AWS:tagkeys": false}"#,
        r#""ForAnyValue:StringEquals": {"aws:TagKeys": "a"}"#,
        r#""StringEquals": {"aws:RequestTag/a": "1"}"#,
    ] {
        expect(IDENTITY, &allow(&format!("{tags}, {companion}")), &[]);
    }
    for no_companion in [
        r#""Null": {"aws:TagKeys": "true"}"#,
        r#""Null": {"app:other": "false"}"#,
        r#""StringEqualsIfExists": {"aws:RequestTag/a": "1"}"#,
        r#""StringNotEquals": {"aws:RequestTag/a": "1"}"#,
    ] {
        let policy = allow(&format!("{tags}, {no_companion}"));
        expect(IDENTITY, &policy, &[(Code::FORALLVALUES_ALLOW, place)]);
    }
}

#[test]
fn for_all_values_is_for_keys_with_several_values() {
    for (key, is_single) in [
        ("aws:SourceIp", true),
        ("AWS:PrincipalTag/team", true),
        ("aws:PrincipalOrgID", true),
        ("aws:TagKeys", false),
        ("aws:PrincipalOrgPaths", false),
        ("app:groups", false),
    ] {
        let condition = format!(r#""ForAllValues:StringLike": {{"{key}": "a*"}}"#);
        let pointer = format!(
            "/Statement/0/Condition/ForAllValues:StringLike/{}",
            key.replace('/', "~1")
        );
        let wanted = [(Code::FORALLVALUES_ON_SINGLE_VALUED, pointer.as_str())];
        expect(
            IDENTITY,
            &deny(&condition),
            if is_single { &wanted } else { &[] },
        );
    }
    // `ForAnyValue` on a key with one value is odd, but it means what it says.
    expect(
        IDENTITY,
        &deny(r#""ForAnyValue:StringEquals": {"aws:SourceVpc": "a"}"#),
        &[],
    );
}

#[test]
fn if_exists_and_set_qualifiers_do_not_go_together() {
    let place = "/Statement/0/Condition/ForAnyValue:StringLikeIfExists/app:groups";
    expect(
        IDENTITY,
        &deny(r#""ForAnyValue:StringLikeIfExists": {"app:groups": "x"}"#),
        &[(Code::IFEXISTS_WITH_SET_QUALIFIER, place)],
    );
    expect(
        IDENTITY,
        &deny(
            r#""StringLikeIfExists": {"app:groups": "x"}, "ForAnyValue:StringLike": {"app:groups": "x"}"#,
        ),
        &[],
    );
}

#[test]
fn an_allow_must_not_negate_a_variable_that_may_have_no_value() {
    let place = "/Statement/0/Condition/StringNotEquals/app:owner";
    let lint: &[(Code, &str)] = &[(Code::ALLOW_NEGATED_VARIABLE, place)];
    let condition =
        |value: &str| format!(r#""StringNotEquals": {{"app:owner": ["x", "{value}"]}}"#);
    expect(IDENTITY, &allow(&condition("${aws:username}")), lint);
    expect(IDENTITY, &deny(&condition("${aws:username}")), &[]);
    expect(
        IDENTITY,
        &allow(&condition("${aws:username, 'nobody'}")),
        &[],
    );
    expect(IDENTITY, &allow(&condition("${*}")), &[]);
    expect(
        IDENTITY,
        &allow(r#""StringEquals": {"app:owner": "${aws:username}"}"#),
        &[],
    );
    // A principal with an identity policy always has an account. A principal that requests a resource may have none.
    expect(IDENTITY, &allow(&condition("${aws:PrincipalAccount}")), &[]);
    let resource = allow(&condition("${aws:PrincipalAccount}")) + r#", "Principal": "*""#;
    expect(PolicyType::Resource, &resource, lint);
}

#[test]
fn an_allow_must_not_trust_what_the_client_writes() {
    let referer = r#""StringLike": {"aws:Referer": "https://shop.example/*"}"#;
    let place = "/Statement/0/Condition/StringLike/aws:Referer";
    expect(
        IDENTITY,
        &allow(referer),
        &[(Code::CLIENT_CONTROLLED_KEY, place)],
    );
    expect(IDENTITY, &deny(referer), &[]);
    let variable = r#""StringEquals": {"app:client": "${aws:UserAgent}"}"#;
    let place = "/Statement/0/Condition/StringEquals/app:client";
    expect(
        IDENTITY,
        &allow(variable),
        &[(Code::CLIENT_CONTROLLED_KEY, place)],
    );
    let resource = r#""Effect": "Allow", "Action": "a:B", "Resource": ["*", "arn:app:a:::x/${aws:useragent}"]"#;
    let place = "/Statement/0/Resource/1";
    expect(IDENTITY, resource, &[(Code::CLIENT_CONTROLLED_KEY, place)]);
}

#[test]
fn denying_a_list_needs_the_resource_everything() {
    let statement = |action: &str, resource: &str| {
        format!(r#""Effect": "Deny", "Action": ["{action}"], "Resource": {resource}"#)
    };
    let lint: &[(Code, &str)] = &[(Code::DENY_LIST_STYLE, "/Statement/0/Resource")];
    for resource in [
        r#""arn:app:orders:::*""#,
        r#""arn:app:orders:*:*:*""#,
        r#""arn:app:orders:*""#,
    ] {
        expect(IDENTITY, &statement("orders:ListOrders", resource), lint);
    }
    for (action, resource) in [
        ("orders:ListOrders", r#"["arn:app:orders:::*", "*"]"#),
        ("orders:ListItems", r#""arn:app:orders:::order/*""#),
        ("orders:Get*", r#""arn:app:orders:::*""#),
        // S3 lists the contents of a bucket.
        ("s3:ListBucket", r#""arn:aws:s3:::*""#),
    ] {
        expect(IDENTITY, &statement(action, resource), &[]);
    }
    let allowed = statement("orders:List*", r#""arn:app:orders:::*""#).replace("Deny", "Allow");
    let lint: &[(Code, &str)] = &[(Code::ALLOW_LIST_STYLE, "/Statement/0/Resource")];
    expect(IDENTITY, &allowed, lint);
}

#[test]
fn not_principal_lists_the_whole_chain() {
    let statement = |entries: &str| {
        format!(r#""Effect": "Deny", "Action": "*", "NotPrincipal": {{"AWS": [{entries}]}}"#)
    };
    let lint: &[(Code, &str)] = &[(Code::NOTPRINCIPAL_INCOMPLETE, "/Statement/0/NotPrincipal")];
    let user = r#""arn:aws:iam::111122223333:user/ann""#;
    let role = r#""arn:aws:iam::111122223333:role/team/ops""#;
    let session = r#""arn:aws:sts::111122223333:assumed-role/ops/s1""#;
    let account = r#""111122223333""#;
    let root = r#""arn:aws:iam::111122223333:root""#;
    for incomplete in [
        user.to_owned(),
        format!("{user}, \"444455556666\""),
        format!("{user}, \"arn:aws-cn:iam::111122223333:root\""),
        format!("{session}, {account}"),
        format!("{session}, {account}, \"arn:aws:iam::111122223333:role/other\""),
    ] {
        expect(PolicyType::Resource, &statement(&incomplete), lint);
    }
    for whole in [
        format!("{user}, {account}"),
        format!("{user}, {root}"),
        format!("{role}, {root}"),
        format!("{session}, {role}, {account}"),
        account.to_owned(),
    ] {
        expect(PolicyType::Resource, &statement(&whole), &[]);
    }
    let principal = statement(user).replace("NotPrincipal", "Principal");
    expect(PolicyType::Resource, &principal, &[]);
}

#[test]
fn not_principal_everyone_denies_nobody() {
    let lint: &[(Code, &str)] = &[(Code::NOTPRINCIPAL_EVERYONE, "/Statement/0/NotPrincipal")];
    for everyone in [r#""*""#, r#"{"AWS": "*"}"#] {
        let statement = format!(r#""Effect": "Deny", "Action": "*", "NotPrincipal": {everyone}"#);
        expect(PolicyType::Resource, &statement, lint);
        let principal = statement.replace("NotPrincipal", "Principal");
        expect(PolicyType::Resource, &principal, &[]);
    }
}

#[test]
fn a_run_of_wildcards_is_told_where_it_is_the_whole_action() {
    let statement = |action: &str, resource: &str| {
        format!(r#""Effect": "Allow", "Action": "{action}", "Resource": "{resource}""#)
    };
    let lint: &[(Code, &str)] = &[(Code::REDUNDANT_WILDCARD, "/Statement/0/Action")];
    for whole in ["*:*", "**", "***"] {
        expect(IDENTITY, &statement(whole, "*"), lint); // G-27
    }
    for action in ["*", "s3:**", "s3:Get**"] {
        for resource in ["*", "**", "arn:aws:s3:::a/**"] {
            expect(IDENTITY, &statement(action, resource), &[]);
        }
    }
}

#[test]
fn a_trust_policy_decides_six_actions() {
    let statement = |action: &str| {
        format!(
            r#""Effect": "Allow", "Principal": {{"AWS": "111122223333"}}, "Action": ["sts:TagSession", "{action}"]"#
        )
    };
    let lint: &[(Code, &str)] = &[(Code::USELESS_TRUST_ACTION, "/Statement/0/Action/1")];
    let useless = [
        "s3:GetObject",
        "sts:GetCallerIdentity",
        "sts:GetServiceBearerToken",
        "sts:AssumeRoot",
        "sts:assumerol?x",
        "sts:SetContexts",
    ];
    for useless in useless {
        expect(PolicyType::Trust, &statement(useless), lint);
    }
    // T-1, T-6: the six, and wildcards that cover one of them alone.
    for (action, wildcard) in [
        ("sts:AssumeRole", "sts:AssumeRol?"),
        ("sts:AssumeRoleWithWebIdentity", "sts:*WebIdentity"),
        ("sts:AssumeRoleWithSAML", "sts:*SAML"),
        ("sts:TagSession", "sts:Tag*"),
        ("sts:SetSourceIdentity", "sts:*Source*"),
        ("sts:SetContext", "sts:SetC*"),
    ] {
        for useful in [action, &action.to_ascii_lowercase(), wildcard] {
            expect(PolicyType::Trust, &statement(useful), &[]);
        }
    }
    for useful in ["STS:assumerole", "sts:Assume*", "sts:*", "*"] {
        expect(PolicyType::Trust, &statement(useful), &[]);
    }
    let resource = statement("s3:GetObject");
    expect(PolicyType::Resource, &resource, &[]);
}

#[test]
fn a_web_identity_is_tied_to_a_subject_or_an_audience() {
    let statement = |provider: &str, action: &str, condition: &str| {
        format!(
            r#""Effect": "Allow", "Principal": {{"Federated": "{provider}"}}, "Action": "{action}", "Condition": {{{condition}}}"#
        )
    };
    let web = "sts:AssumeRoleWithWebIdentity";
    let arn = "arn:aws:iam::111122223333:oidc-provider/OIDC.example.com/id/1";
    let lint: &[(Code, &str)] = &[(Code::OIDC_TRUST_WITHOUT_CONDITION, "/Statement/0/Principal")];
    let loose = r#""StringEquals": {"app:x": "y"}"#;
    let amr = r#""ForAnyValue:StringLike": {"oidc.example.com/id/1:amr": "authenticated"}"#;
    let other = r#""StringEquals": {"accounts.google.com:sub": "1"}"#;
    for condition in [loose, amr, other] {
        expect(PolicyType::Trust, &statement(arn, web, condition), lint);
    }
    expect(
        PolicyType::Trust,
        &statement("accounts.google.com", "sts:*", loose),
        lint,
    );

    let sub = r#""StringLike": {"oidc.example.com/id/1:SUB": "system:serviceaccount:shop:*"}"#;
    let aud = r#""StringEquals": {"accounts.google.com:aud": "app"}"#;
    expect(PolicyType::Trust, &statement(arn, web, sub), &[]);
    expect(
        PolicyType::Trust,
        &statement("accounts.google.com", web, aud),
        &[],
    );
    // These statements only tag the session, are about SAML, or deny.
    expect(
        PolicyType::Trust,
        &statement(arn, "sts:TagSession", loose),
        &[],
    );
    let saml = "arn:aws:iam::111122223333:saml-provider/corp";
    expect(
        PolicyType::Trust,
        &statement(saml, "sts:AssumeRoleWithSAML", loose),
        &[],
    );
    let denied = statement(arn, web, loose).replace("Allow", "Deny");
    expect(PolicyType::Trust, &denied, &[]);
}

#[test]
fn sizes_are_counted_as_aws_counts_them() {
    let statement = |n: usize, space: &str| {
        let value = "x".repeat(n);
        format!(r#""Effect": "Deny", {space} "Action": "a:B", "Resource": "arn:app:a:::{value}""#)
    };
    let lint: &[(Code, &str)] = &[(Code::AWS_QUOTA, "")];
    let blanks = " ".repeat(6_000);
    expect(PolicyType::Session, &statement(2_048, ""), lint);
    expect(PolicyType::Session, &statement(1_900, &blanks), &[]);
    expect(PolicyType::ServiceControl, &statement(1_900, &blanks), lint);
    expect(PolicyType::ServiceControl, &statement(4_900, ""), &[]);
    expect(PolicyType::PermissionsBoundary, &statement(5_900, ""), &[]);
    expect(PolicyType::PermissionsBoundary, &statement(6_144, ""), lint);
    expect(IDENTITY, &statement(20_000, ""), &[]);
}

/// Returns the lints of a resource policy on `resource` that is attached to `scopes`.
fn scoped(scopes: &[&str], resource: &str) -> Vec<String> {
    let text = format!(
        r#"{{"Resource": {scopes:?}, "Policy": {{"Version": "2012-10-17", "Statement": [{{"Effect": "Deny",
            "Principal": "*", "Action": "*", "Resource": ["{resource}"]}}]}}}}"#
    );
    let root = json::parse(&text, MAX_DOCUMENT_DEPTH).unwrap();
    let mut report = Report::new(Base::File("resource-policies/x.json".into()), &text);
    report.about(&root);
    let scopes: Vec<_> = root
        .member("Resource")
        .unwrap()
        .value
        .one_or_many()
        .iter()
        .map(|node| read_scope(node, &mut report).unwrap())
        .collect();
    let policy = &root.member("Policy").unwrap().value;
    let document =
        super::super::parse::document(policy, PolicyType::Resource, &mut report).unwrap();
    scope(&document, &scopes, policy, &mut report);
    report
        .into_findings()
        .iter()
        .filter(|finding| finding.code == Code::RESOURCE_OUTSIDE_SCOPE)
        .map(|finding| finding.at.pointer.to_string())
        .collect()
}

#[test]
fn a_resource_policy_speaks_of_what_it_is_attached_to() {
    let place = ["/Policy/Statement/0/Resource/0"];
    for (scopes, resource) in [
        (
            &["arn:app:orders:::order/*"][..],
            "arn:app:orders:::invoice/*",
        ),
        (&["arn:app:orders:::order/1"], "arn:app:orders:::order/2"),
        (&["arn:app:orders:::order/1"], "arn:app:orders:::order/1?"),
        (
            &["arn:app:orders:::a*", "arn:app:orders:::*b"],
            "arn:app:orders:::c",
        ),
        (&["arn:app:orders:eu:*"], "arn:app:orders:us:*"),
    ] {
        assert_eq!(scoped(scopes, resource), place, "{scopes:?} {resource}");
    }
    for (scopes, resource) in [
        (
            &["arn:app:orders:::order/*"][..],
            "arn:app:orders:::order/vip-*",
        ),
        (
            &["arn:app:orders:::order/vip-*"],
            "arn:app:orders:::order/*",
        ),
        (&["arn:app:orders:::a*"], "arn:app:orders:::*b"),
        (&["arn:app:orders:::order/1"], "*"),
        (&["*"], "arn:app:orders:::order/1"),
        (
            &["arn:app:orders:::order/1"],
            "arn:app:orders:::${aws:username}",
        ),
        (&["arn:app:orders:::order/1"], "arn:app:orders:*"),
        (&["arn:app:orders:::order/1"], "arn:app:orders"),
        (&["arn:app:orders:::order/1"], "arn:app:orders:::order/?"),
        (
            &["arn:app:orders:::x", "arn:app:orders:::order/1"],
            "arn:app:orders:::order/1",
        ),
    ] {
        assert!(scoped(scopes, resource).is_empty(), "{scopes:?} {resource}");
    }
}

/// Each warning gets a position as long as it is shown. After that it is only counted.
#[test]
fn of_the_warnings_about_one_statement_a_hundred_are_told_and_the_others_counted() {
    let conditions = |n: usize, operator: &str, key: &dyn Fn(usize) -> String| {
        let keys: Vec<String> = (0..n)
            .map(|number| format!("\"{}\": \"${{aws:UserAgent}}\"", key(number)))
            .collect();
        format!(r#""{operator}": {{{}}}"#, keys.join(", "))
    };
    let tags = |number: usize| format!("aws:RequestTag/k{number}");
    let own = |number: usize| format!("app:k{number}");
    for (statement, codes) in [
        (
            deny(&conditions(130, "ForAllValues:StringEquals", &tags)),
            &[Code::FORALLVALUES_ON_SINGLE_VALUED][..],
        ),
        (
            deny(&conditions(130, "ForAnyValue:StringEqualsIfExists", &own)),
            &[Code::IFEXISTS_WITH_SET_QUALIFIER],
        ),
        // Each condition causes two warnings, one of each code.
        (
            allow(&conditions(65, "StringNotEquals", &own)),
            &[Code::ALLOW_NEGATED_VARIABLE, Code::CLIENT_CONTROLLED_KEY],
        ),
    ] {
        let mut found = lints(IDENTITY, &statement);
        let more = found.pop().unwrap();
        assert_eq!(more.code, Code::MORE_FINDINGS);
        assert_eq!(
            &*more.message,
            "30 more warnings of this file are not shown"
        );
        assert_eq!(found.len(), 100);
        for finding in found {
            assert!(codes.contains(&finding.code), "{finding}");
            assert!(
                finding.at.pointer.starts_with("/Statement/0/Condition/"),
                "{finding}"
            );
        }
    }
}

/// Finding a position searches all conditions of the statement, so finding all positions would take the square of their
/// number.
#[test]
fn no_place_is_looked_for_of_a_warning_that_is_only_counted() {
    let text = format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{{}}}]}}"#,
        deny(r#""StringEquals": {"app:k": "x"}"#)
    );
    let root = json::parse(&text, MAX_DOCUMENT_DEPTH).unwrap();
    let mut report = Report::new(Base::File("policy.json".into()), &text);
    let document = super::super::parse::document(&root, IDENTITY, &mut report).unwrap();
    let place = Place {
        node: statements_of(&root).first().unwrap(),
    };
    let condition = document
        .statements
        .first()
        .unwrap()
        .conditions
        .first()
        .unwrap();
    let key = text.find("\"app:k\"").unwrap();
    for _ in 0..100 {
        assert_eq!(place.warned_condition(condition, &report).start, key);
        report.warning(Code::EMPTY_SID, &(0..0), "one more");
    }
    assert_eq!(place.warned_condition(condition, &report), place.node.span);
}

/// A pattern that needs more steps than the limit ends the lint before the first step. A pattern that needs fewer does
/// not.
#[test]
fn scopes_and_patterns_are_compared_as_long_as_there_are_steps() {
    let met = "arn:app:orders:::met*".to_owned();
    let long = |number: usize| format!("arn:app:orders:::{number:03}{}", "x".repeat(980));
    let scopes: Vec<String> = [met].into_iter().chain((0..100).map(long)).collect();
    let scopes: Vec<&str> = scopes.iter().map(|scope| &**scope).collect();
    let n_characters: usize = scopes.iter().map(|scope| scope.len()).sum();
    let outside = "arn:app:orders:::outside";
    let left_for = |n_bytes: usize| {
        // The first scope meets the pattern, so hardly any step is taken.
        let first = format!("arn:app:orders:::met{}", "y".repeat(n_bytes - 20));
        scoped(&scopes, &format!(r#"{first}", "{outside}"#))
    };
    let most = MAX_STEPS / n_characters - outside.len();
    assert_eq!(left_for(most), ["/Policy/Statement/0/Resource/1"]);
    assert_eq!(left_for(most + 1), [""; 0]);
    assert_eq!(left_for(most + outside.len() + 1), [""; 0]);
}
