#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::*;

fn findings(text: &str, policy_type: PolicyType) -> Vec<(String, String)> {
    let (document, findings) = parse(text, policy_type, Base::File("p.json".into()));
    assert_eq!(
        document.is_none(),
        findings.iter().any(Finding::is_error),
        "{text}: {findings:?}"
    );
    findings
        .iter()
        .filter(|f| f.is_error())
        .map(|f| (f.code.to_string(), f.at.pointer.to_string()))
        .collect()
}

/// Returns an identity policy with one statement of these members.
fn statement(members: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":{{{members}}}}}"#)
}

#[track_caller]
fn rejects(text: &str, policy_type: PolicyType, code: Code, pointer: &str) {
    rejects_for(text, policy_type, &[(code, pointer)]);
}

/// The errors, all of them.
#[track_caller]
fn rejects_for(text: &str, policy_type: PolicyType, errors: &[(Code, &str)]) {
    let expected = errors.iter();
    let expected: Vec<_> = expected
        .map(|(code, pointer)| (code.to_string(), (*pointer).to_owned()))
        .collect();
    assert_eq!(findings(text, policy_type), expected, "{text}");
}

#[track_caller]
fn accepts(text: &str, policy_type: PolicyType) {
    assert_eq!(findings(text, policy_type), [], "{text}");
}

const ALL: &str = r#""Effect":"Allow","Action":"*","Resource":"*""#;

#[test]
fn the_top_level_is_closed() {
    let id = PolicyType::Identity;
    accepts(&statement(ALL), id);
    rejects("[]", id, Code::WRONG_TYPE, "");
    rejects("{}", id, Code::MISSING_MEMBER, "");
    rejects_for(
        r#"{"statement":[]}"#,
        id,
        &[
            (Code::UNKNOWN_MEMBER, "/statement"),
            (Code::MISSING_MEMBER, ""),
        ],
    );
    rejects_for(
        r#"{"Version":"2012-10-18","Statement":[]}"#,
        id,
        &[
            (Code::INVALID_VERSION, "/Version"),
            (Code::EMPTY_LIST, "/Statement"),
        ],
    );
    rejects_for(
        r#"{"Version":2012,"Statement":[[]]}"#,
        id,
        &[
            (Code::INVALID_VERSION, "/Version"),
            (Code::WRONG_TYPE, "/Statement/0"),
        ],
    );
    rejects(
        &format!(r#"{{"Statement":{{{ALL}}},"Statement":{{{ALL}}}}}"#),
        id,
        Code::DUPLICATE_MEMBER,
        "/Statement",
    );
    rejects("{", id, Code::SYNTAX, "");
    let deep = format!("{}{}{}", r#"{"Statement":"#, "[".repeat(20), "]".repeat(20));
    rejects(&format!("{deep}}}"), id, Code::TOO_DEEP, "");
}

/// The function is long because it is a table of cases.
#[test]
fn statements_are_closed_and_complete() {
    let id = PolicyType::Identity;
    rejects(
        &statement(&format!(r#"{ALL},"Conditon":{{}}"#)),
        id,
        Code::UNKNOWN_MEMBER,
        "/Statement/Conditon",
    );
    rejects(
        &statement(r#""Effect":"allow","Action":"*","Resource":"*""#),
        id,
        Code::INVALID_EFFECT,
        "/Statement/Effect",
    );
    rejects(
        &statement(r#""Effect":"Allow","Resource":"*""#),
        id,
        Code::MISSING_MEMBER,
        "/Statement",
    );
    rejects(
        &statement(r#""Effect":"Allow","Action":"*""#),
        id,
        Code::MISSING_MEMBER,
        "/Statement",
    );
    rejects(
        &statement(&format!(r#"{ALL},"NotAction":"a:b""#)),
        id,
        Code::CONFLICTING_ELEMENTS,
        "/Statement/NotAction",
    );
    rejects(
        &statement(r#""Effect":"Deny","Action":[],"Resource":"*""#),
        id,
        Code::EMPTY_LIST,
        "/Statement/Action",
    );
    rejects(
        &statement(r#""Effect":"Deny","Action":["a:b",""],"Resource":"*""#),
        id,
        Code::EMPTY_STRING,
        "/Statement/Action/1",
    );
    rejects(
        &statement(r#""Effect":"Deny","Action":["a:b",null],"Resource":"*""#),
        id,
        Code::WRONG_TYPE,
        "/Statement/Action/1",
    );
    rejects(
        &statement(&format!(r#"{ALL},"Principal":"*""#)),
        id,
        Code::ELEMENT_NOT_ALLOWED,
        "/Statement/Principal",
    );
    rejects(
        &statement(r#""Effect":"Allow","Action":"*","Resource":"arn:app:x:*:y""#),
        id,
        Code::SHORT_ARN,
        "/Statement/Resource",
    );
    accepts(
        &statement(r#""Effect":"Deny","Action":"*","Resource":"arn:app:x:*:y""#),
        id,
    );
    rejects(
        &statement(r#""Effect":"Allow","Action":"*","Resource":"bucket""#),
        id,
        Code::INVALID_RESOURCE,
        "/Statement/Resource",
    );
    for place in [
        "arn:${aws:x}:s:::r",
        "arn:p:${aws:x}:::r",
        "arn:p:s:${AWS::Region}::r",
        "arn:p:s::${Account}:r",
    ] {
        let text = statement(&format!(
            r#""Effect":"Allow","Action":"*","Resource":"{place}""#
        ));
        rejects(&text, id, Code::MISPLACED_VARIABLE, "/Statement/Resource");
    }
    accepts(
        &statement(
            r#""Effect":"Allow","Action":"*","Resource":"arn:p:s::${aws:PrincipalAccount}:r""#,
        ),
        id,
    );
    let twice = format!(r#"{{"Statement":[{{"Sid":"a",{ALL}}},{{"Sid":"a",{ALL}}}]}}"#);
    rejects(&twice, id, Code::DUPLICATE_SID, "/Statement/1/Sid");
    // Other mistakes in a statement hide no finding.
    let broken = format!(r#"{{"Statement":[{{"Sid":"a"}},{{"Sid":"a",{ALL}}}]}}"#);
    let missing = (Code::MISSING_MEMBER, "/Statement/0");
    let twice = (Code::DUPLICATE_SID, "/Statement/1/Sid");
    rejects_for(&broken, id, &[missing, missing, missing, twice]);
}

/// The function is long because it is a table of cases.
#[test]
fn conditions_are_type_checked() {
    let id = PolicyType::Identity;
    let with = |condition: &str| statement(&format!(r#"{ALL},"Condition":{condition}"#));
    for good in [
        r#"{"StringEquals":{"aws:username":"a"},"stringlike":{"aws:username":["a*",5,true]}}"#,
        r#"{"ForAnyValue:Stringlike":{"aws:TagKeys":["", "x"]}}"#,
        r#"{"NumericLessThanIfExists":{"a:b":3600},"Bool":{"a:b":true},"Null":{"a:b":"TRUE"}}"#,
        r#"{"DateLessThan":{"a:b":["2024-06-01T00:00:00Z","1717200000"]},"IpAddress":{"a:b":"10.0.0.0/8"}}"#,
        r#"{"ArnLike":{"a:b":["*","arn:aws:sns:*:${aws:PrincipalAccount}:t*"]},"BinaryEquals":{"a:b":"YQ=="}}"#,
        r#"{"StringEquals":{"oidc.example.com/id/ABC:sub":"x","aws:PrincipalTag/a b:c":"y"}}"#,
        "{}",
    ] {
        accepts(&with(good), id);
    }
    for (bad, code, pointer) in [
        (r#"[]"#, Code::WRONG_TYPE, ""),
        (r#"{"StringEquals":{}}"#, Code::EMPTY_LIST, "/StringEquals"),
        (
            r#"{"StringLikes":{"a:b":"c"}}"#,
            Code::UNKNOWN_OPERATOR,
            "/StringLikes",
        ),
        (
            r#"{"NullIfExists":{"a:b":"true"}}"#,
            Code::UNKNOWN_OPERATOR,
            "/NullIfExists",
        ),
        (
            r#"{"ForAllValues:Null":{"a:b":"true"}}"#,
            Code::UNKNOWN_OPERATOR,
            "/ForAllValues:Null",
        ),
        (
            r#"{"StringEquals":{"a:b":"c"},"stringEquals":{"a:c":"c"}}"#,
            Code::DUPLICATE_CONDITION,
            "/stringEquals",
        ),
        (
            r#"{"StringEquals":{"a:b":"c","A:B":"c"}}"#,
            Code::DUPLICATE_CONDITION,
            "/StringEquals/A:B",
        ),
        (
            r#"{"StringEquals":{"ab":"c"}}"#,
            Code::INVALID_CONDITION_KEY,
            "/StringEquals/ab",
        ),
        (
            r#"{"StringEquals":{"aws:PrincipalTag":"c"}}"#,
            Code::INVALID_CONDITION_KEY,
            "/StringEquals/aws:PrincipalTag",
        ),
        (
            r#"{"StringEquals":{"ec2:ResourceTag/":"c"}}"#,
            Code::INVALID_CONDITION_KEY,
            "/StringEquals/ec2:ResourceTag~1",
        ),
        (
            r#"{"StringEquals":{"a:b*":"c"}}"#,
            Code::INVALID_CONDITION_KEY,
            "/StringEquals/a:b*",
        ),
        (
            r#"{"StringEquals":{"a:b":[]}}"#,
            Code::EMPTY_LIST,
            "/StringEquals/a:b",
        ),
        (
            r#"{"StringEquals":{"a:b":null}}"#,
            Code::WRONG_TYPE,
            "/StringEquals/a:b",
        ),
        (
            r#"{"StringEquals":{"a:b":["c",["d"]]}}"#,
            Code::WRONG_TYPE,
            "/StringEquals/a:b/1",
        ),
        (
            r#"{"StringEquals":{"a:b":"${"}}"#,
            Code::INVALID_VARIABLE,
            "/StringEquals/a:b",
        ),
        (
            r#"{"NumericEquals":{"a:b":"1e3"}}"#,
            Code::INVALID_CONDITION_VALUE,
            "/NumericEquals/a:b",
        ),
        (
            r#"{"NumericEquals":{"a:b":"${aws:x}"}}"#,
            Code::MISPLACED_VARIABLE,
            "/NumericEquals/a:b",
        ),
        (
            r#"{"DateEquals":{"a:b":"2024"}}"#,
            Code::INVALID_CONDITION_VALUE,
            "/DateEquals/a:b",
        ),
        (
            r#"{"Bool":{"a:b":["true","false"]}}"#,
            Code::MULTIPLE_BOOLEANS,
            "/Bool/a:b",
        ),
        (
            r#"{"Bool":{"a:b":"yes"}}"#,
            Code::INVALID_CONDITION_VALUE,
            "/Bool/a:b",
        ),
        (
            r#"{"IpAddress":{"a:b":"10.0.0.256"}}"#,
            Code::INVALID_CONDITION_VALUE,
            "/IpAddress/a:b",
        ),
        (
            r#"{"ArnLike":{"a:b":"arn:aws:s3"}}"#,
            Code::INVALID_CONDITION_VALUE,
            "/ArnLike/a:b",
        ),
        (
            r#"{"BinaryEquals":{"a:b":"a"}}"#,
            Code::INVALID_CONDITION_VALUE,
            "/BinaryEquals/a:b",
        ),
    ] {
        rejects(
            &with(bad),
            id,
            code,
            &format!("/Statement/Condition{pointer}"),
        );
    }
}

/// The function is long because it is a table of cases.
#[test]
fn each_policy_type_has_its_elements() {
    use PolicyType as T;
    let resource =
        |principal: &str| statement(&format!(r#""Effect":"Deny","Action":"a:b",{principal}"#));
    accepts(&resource(r#""Principal":"*""#), T::Resource);
    accepts(
        &resource(r#""NotPrincipal":{"AWS":"111111111111"}"#),
        T::Resource,
    );
    rejects(
        &statement(r#""Effect":"Deny","Action":"a:b""#),
        T::Resource,
        Code::MISSING_MEMBER,
        "/Statement",
    );
    let allow =
        statement(r#""Effect":"Allow","Action":"a:b","NotPrincipal":{"AWS":"111111111111"}"#);
    rejects(
        &allow,
        T::Resource,
        Code::NOT_PRINCIPAL_WITH_ALLOW,
        "/Statement/NotPrincipal",
    );
    for (principal, code, at) in [
        (r#""ann""#, Code::INVALID_PRINCIPAL, ""),
        (r#"["*"]"#, Code::INVALID_PRINCIPAL, ""),
        (r#"{}"#, Code::INVALID_PRINCIPAL, ""),
        (r#"{"aws":"*"}"#, Code::INVALID_PRINCIPAL, "/aws"),
        (r#"{"AWS":[]}"#, Code::EMPTY_LIST, "/AWS"),
        (
            r#"{"AWS":"arn:aws:iam::111111111111:role/*"}"#,
            Code::WILDCARD_IN_PRINCIPAL,
            "/AWS",
        ),
        (
            r#"{"AWS":"arn:aws:iam::111111111111:group/g"}"#,
            Code::INVALID_PRINCIPAL,
            "/AWS",
        ),
        (
            r#"{"Service":"*"}"#,
            Code::WILDCARD_IN_PRINCIPAL,
            "/Service",
        ),
        (
            r#"{"AWS":"arn:<partition>:iam::111111111111:root"}"#,
            Code::INVALID_PRINCIPAL,
            "/AWS",
        ),
        (
            r#"{"Federated":"*"}"#,
            Code::WILDCARD_IN_PRINCIPAL,
            "/Federated",
        ),
        (
            r#"{"AWS":"arn:aws:iam::111111111111:user/${aws:username}"}"#,
            Code::MISPLACED_VARIABLE,
            "/AWS",
        ),
    ] {
        rejects(
            &resource(&format!(r#""Principal":{principal}"#)),
            T::Resource,
            code,
            &format!("/Statement/Principal{at}"),
        );
    }
    let trust = |members: &str| {
        statement(&format!(
            r#""Effect":"Allow","Action":"sts:AssumeRole",{members}"#
        ))
    };
    accepts(&trust(r#""Principal":{"AWS":"*"}"#), T::Trust);
    rejects(
        &trust(r#""Principal":"*""#),
        T::Trust,
        Code::INVALID_PRINCIPAL,
        "/Statement/Principal",
    );
    let with_resource = trust(r#""Principal":{"AWS":"*"},"Resource":"*""#);
    rejects(
        &with_resource,
        T::Trust,
        Code::ELEMENT_NOT_ALLOWED,
        "/Statement/Resource",
    );
    let rcp = r#""Principal":"*","Action":"s3:*","Resource":"*""#;
    accepts(
        &statement(&format!(r#""Effect":"Deny",{rcp}"#)),
        T::ResourceControl,
    );
    rejects(
        &statement(&format!(r#""Effect":"Allow",{rcp}"#)),
        T::ResourceControl,
        Code::ELEMENT_NOT_ALLOWED,
        "/Statement/Effect",
    );
    rejects(
        &format!(r#"{{"Statement":{{"Effect":"Deny",{rcp}}}}}"#),
        T::ResourceControl,
        Code::MISSING_MEMBER,
        "",
    );
    let named = r#""Effect":"Deny","Principal":{"AWS":"*"},"NotAction":"s3:*","Resource":"*""#;
    rejects_for(
        &statement(named),
        T::ResourceControl,
        &[
            (Code::INVALID_PRINCIPAL, "/Statement/Principal"),
            (Code::ELEMENT_NOT_ALLOWED, "/Statement/NotAction"),
        ],
    );
}

#[test]
fn documents_may_be_objects_strings_or_url_encoded() {
    let plain = statement(ALL);
    let quoted = serde_json::to_string(&plain).unwrap();
    let encoded: String =
        percent_encoding::utf8_percent_encode(&plain, percent_encoding::NON_ALPHANUMERIC).collect();
    for text in [plain.clone(), quoted, format!("\"{encoded}\"")] {
        let root = json::parse(&text, 64).unwrap();
        let mut report = Report::new(Base::File("u.json".into()), &text);
        report.about(&root);
        assert!(
            document(&root, PolicyType::Identity, &mut report).is_some(),
            "{text}"
        );
    }
    let text = r#"{"P": "{\n \"Statement\": oops}"}"#;
    let root = json::parse(text, 64).unwrap();
    let mut report = Report::new(Base::File("u.json".into()), text);
    report.about(&root);
    assert!(
        document(
            &root.member("P").unwrap().value,
            PolicyType::Identity,
            &mut report
        )
        .is_none()
    );
    let finding = report.into_findings().remove(0);
    assert_eq!(
        (finding.at.line, finding.at.column, &*finding.at.pointer),
        (1, 7, "/P")
    );
    assert!(finding.message.contains("line 2"), "{}", finding.message);
}

#[test]
fn a_finding_says_where_what_and_how() {
    let text =
        "{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [\n    {\"Efect\": \"Allow\"}\n  ]\n}";
    let (_, findings) = parse(
        text,
        PolicyType::Identity,
        Base::File("managed-policies/x.json".into()),
    );
    let first = findings.first().unwrap();
    assert_eq!(
        first.to_string(),
        "managed-policies/x.json:4:6: error[unknown-member]: unknown member `Efect` of a statement (at /Statement/0/Efect); did you mean `Effect`?"
    );
    assert_eq!(
        findings.iter().filter(|finding| finding.is_error()).count(),
        4,
        "every finding at once: {findings:?}"
    );
}

#[test]
fn a_principal_that_nobody_can_be_is_taken_as_it_is_and_reported() {
    let policy = |principal: &str| {
        statement(&format!(
            r#""Effect":"Allow","Action":"a:b","Principal":{principal}"#
        ))
    };
    // G-26 has no wrong names, because names are compared exactly.
    for nobody in [
        r#"{"Service":"lambda"}"#,
        r#"{"Service":["%s"]}"#,
        r#"{"Federated":"https://oidc.example.com"}"#,
        r#"{"Federated":"arn:aws:s3:::bucket"}"#,
    ] {
        let (document, found) = parse(
            &policy(nobody),
            PolicyType::Resource,
            Base::File("p.json".into()),
        );
        assert!(document.is_some(), "{nobody}: {found:?}");
        let codes: Vec<Code> = found.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [Code::UNKNOWN_PRINCIPAL], "{nobody}");
    }
    for somebody in [
        r#"{"Service":"billing.svc.internal"}"#,
        r#"{"Federated":"oidc.example.com/id/ABC"}"#,
        r#"{"Federated":"arn:aws:iam::111111111111:saml-provider/corp"}"#,
    ] {
        let (_, found) = parse(
            &policy(somebody),
            PolicyType::Resource,
            Base::File("p.json".into()),
        );
        assert!(found.is_empty(), "{somebody}: {found:?}");
    }
}
