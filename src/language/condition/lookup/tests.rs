#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::*;
use crate::language::operand::{arn_fields, parse_address, parse_network};
use crate::language::pattern::{NoVariables, Syntax};

const BOTH: Syntax = Syntax {
    wildcards: true,
    variables: true,
};

fn template(text: &str) -> Template {
    Template::parse(text, BOTH).unwrap()
}

#[test]
fn a_long_list_of_texts_is_asked_like_a_short_one() {
    let written: Vec<String> = (0..40)
        .map(|n| match n % 5 {
            0 => format!("team-{n}-*"),
            1 => format!("${{k:k, 'default-{n}'}}"),
            _ => format!("Straße-{}", n * 7 % 40),
        })
        .collect();
    let asked = (0..45).flat_map(|n| {
        ["Straße-", "STRAßE-", "team-", "default-"]
            .map(|text| [format!("{text}{n}"), format!("{text}{n}-x")])
    });
    let all = || written.iter().map(|text| template(text)).collect();
    let exact = Texts::exact(all());
    let plain: Box<[Template]> = all();
    assert!(exact.lookup.is_some() && *exact == *plain, "as written");
    let mut n_found = 0;
    for value in asked.flatten() {
        let one_by_one = plain
            .iter()
            .any(|text| text.matches(&value, &NoVariables) == Some(true));
        let fit = exact.fit(&value, &NoVariables);
        assert_eq!(fit == Fit::Yes, one_by_one, "C-22: {value}");
        n_found += usize::from(one_by_one);
    }
    assert!(n_found > 30, "{n_found}");
}

#[test]
fn a_long_list_that_ignores_case_is_asked_like_a_short_one() {
    let syntax = Syntax {
        wildcards: false,
        variables: true,
    };
    let all = || -> Box<[Template]> {
        [
            "ΣΑΣ",
            "Äpfel",
            "straße",
            "K",
            "a*",
            "a?",
            "b",
            "B",
            "C",
            "${k:k, 'Öl'}",
            "z",
        ]
        .iter()
        .map(|text| Template::parse(text, syntax).unwrap())
        .collect()
    };
    let many = Texts::ignoring_case(all());
    assert!(many.lookup.is_some());
    for (value, expected) in [
        ("σας", true),
        ("äPFEL", true),
        ("STRASSE", false),
        ("STRAßE", true),
        ("\u{212a}", true),
        ("k", true),
        ("A*", true),
        ("ab", false),
        ("öL", true),
        ("Z", true),
        ("", false),
        ("y", false),
    ] {
        let one_by_one = all()
            .into_iter()
            .map(|text| Texts::ignoring_case([text].into()).fit(value, &NoVariables))
            .any(|fit| fit == Fit::Yes);
        assert_eq!(one_by_one, expected, "C-21: {value}");
        let fit = many.fit(value, &NoVariables);
        assert_eq!(fit == Fit::Yes, expected, "C-21: {value}");
    }
}

#[test]
fn a_long_list_of_arns_is_asked_like_a_short_one() {
    let all: Box<[ArnPattern]> = (0..30)
        .map(|n| match n % 3 {
            0 => format!("arn:aws:iam::{n}:role/*"),
            _ => format!("arn:aws:iam::{n}:role/r:{n}"),
        })
        .map(|text| ArnPattern::parse(&text, BOTH).unwrap())
        .collect();
    let arns = Arns::new(all.clone());
    assert!(arns.lookup.is_some());
    let mut n_found = 0;
    for (account, role) in (0..35).flat_map(|account| (0..35).map(move |role| (account, role))) {
        let text = format!("arn:aws:iam::{account}:role/r:{role}");
        let fields = arn_fields(&text).unwrap();
        let one_by_one = all
            .iter()
            .any(|pattern| pattern.matches(&fields, &NoVariables) == Some(true));
        let fit = arns.fit(&fields, &NoVariables);
        assert_eq!(fit == Fit::Yes, one_by_one, "C-66: {text}");
        n_found += usize::from(one_by_one);
    }
    assert!(n_found > 300, "{n_found}");
}

#[test]
fn a_long_list_of_networks_is_asked_like_a_short_one() {
    let written = [
        "10.0.0.0/8",
        "10.1.0.0/16",
        "192.168.1.0/24",
        "192.168.2.0/24",
        "0.0.0.1",
        "255.255.255.255",
        "1.2.3.4/30",
        "2001:db8::/32",
        "2001:db8:1::/48",
        "::1",
        "ffff::/16",
        "10.255.255.255",
    ];
    let all: Vec<IpNet> = written
        .iter()
        .map(|text| parse_network(text).unwrap())
        .collect();
    let networks = Networks::new(all.as_slice().into());
    assert!(networks.ranges.is_some() && *networks == *all);
    for text in [
        "9.255.255.255",
        "10.0.0.0",
        "10.1.2.3",
        "10.255.255.255",
        "11.0.0.0",
        "192.168.0.255",
        "192.168.1.0",
        "192.168.2.255",
        "192.168.3.0",
        "0.0.0.0",
        "0.0.0.1",
        "0.0.0.2",
        "255.255.255.255",
        "255.255.255.254",
        "1.2.3.3",
        "1.2.3.4",
        "1.2.3.7",
        "1.2.3.8",
        "2001:db8::1",
        "2001:db9::",
        "::",
        "::1",
        "::2",
        "ffff:ffff::1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "fffe::",
        "::ffff:10.1.2.3",
    ] {
        let address = parse_address(text).unwrap();
        let one_by_one = all.iter().any(|network| network.contains(&address));
        assert_eq!(networks.contain(address), one_by_one, "C-53, C-54: {text}");
    }
}
