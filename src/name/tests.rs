#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::*;

#[test]
fn an_arn_is_split_at_its_first_five_colons() {
    let arn = Arn::parse("arn:app:orders:::table:orders:2024").unwrap();
    assert_eq!(
        arn.fields(),
        ["arn", "app", "orders", "", "", "table:orders:2024"],
        "M-8"
    );
    for text in [
        "arn:a:b:::x",
        "arn:a:b:c:d:e:f:g:h",
        "arn:a:bbbbbbbbbbbbbbbbb:ccccccc:dddddddddddddddddddddddddd:e",
        "arn:é:ü::ñ:ß:",
        "arn:a:b:c:d:…………………:",
    ] {
        let expected: Vec<usize> = text.match_indices(':').map(|(at, _)| at).collect();
        let arn = Arn::parse(text).unwrap();
        assert!(arn.colons().eq(expected.into_iter().take(5)), "M-8: {text}");
    }
    for short in [
        "",
        "arn",
        "arn:a:b:c:d",
        "arn:a:b:::",
        "arn::b:::x",
        "arn:a::::x",
        "urn:a:b:::x",
    ] {
        assert!(Arn::parse(short).is_err(), "M-7: {short}");
    }
}

#[test]
fn principals_are_told_apart_by_their_form() {
    let kind = |text: &str| {
        Principal::parse(text).map(|p| format!("{p:?}").split(['(', ' ']).next().map(String::from))
    };
    assert_eq!(kind("*").unwrap().unwrap(), "Anonymous");
    assert_eq!(kind("ec2.amazonaws.com").unwrap().unwrap(), "Service");
    assert_eq!(
        kind("arn:aws:iam::111111111111:root").unwrap().unwrap(),
        "Root"
    );
    assert_eq!(
        kind("arn:aws:iam::111111111111:user/eng/ann")
            .unwrap()
            .unwrap(),
        "User"
    );
    assert_eq!(kind("arn:aws:iam::shop:role/ops").unwrap().unwrap(), "Role");
    assert_eq!(
        kind("arn:aws:sts::shop:assumed-role/ops/s1")
            .unwrap()
            .unwrap(),
        "AssumedRole"
    );
    assert_eq!(
        kind("arn:aws:sts::shop:federated-user/bob")
            .unwrap()
            .unwrap(),
        "FederatedUser"
    );
    assert_eq!(
        kind("arn:aws:iam::shop:oidc-provider/oidc.example/id/1")
            .unwrap()
            .unwrap(),
        "Provider"
    );
    for bad in [
        "",
        "ann",
        "AIDA:",
        "arn:aws:iam::1:group/g",
        "arn:aws:iam:eu:1:user/a",
        "arn:aws:iam:::user/a",
        "arn:aws:iam::1:user/",
        "arn:aws:iam::1:user/a/",
        "arn:aws:sts::1:assumed-role/ops",
        "arn:aws:sts::1:assumed-role/ops/x",
        "arn:aws:sts::1:assumed-role/path/ops/s1",
        "arn:aws:s3:::bucket",
        "arn:aws:iam::1:rooty",
        "svc.*",
        "a..b",
    ] {
        assert!(Principal::parse(bad).is_err(), "{bad}");
    }
}
