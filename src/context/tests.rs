#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::*;

fn context<'k>(
    entries: impl IntoIterator<Item = (&'k str, ContextValue<'k>)>,
) -> Result<Context<'k>, DuplicateKey> {
    let mut context = Context::with_capacity(0);
    for (key, value) in entries {
        context.push(key, value);
    }
    context.finish()
}

fn text<'a>(value: &'a ContextValue<'_>) -> &'a str {
    value.one().unwrap_or("")
}

#[test]
fn numbers_have_one_canonical_form() {
    for (number, expected) in [
        (50.0, "50"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1.5, "1.5"),
        (1e-7, "0.0000001"),
        (-3.0, "-3"),
        (9007199254740991.0, "9007199254740991"),
    ] {
        assert_eq!(
            text(&ContextValue::number(number).unwrap()),
            expected,
            "C-5"
        );
    }
    for refused in [
        f64::NAN,
        f64::INFINITY,
        9_007_199_254_740_992.0,
        -9_007_199_254_740_992.0,
        1e300,
    ] {
        assert!(ContextValue::number(refused).is_err(), "C-5: {refused}");
    }
}

#[test]
fn keys_that_differ_only_in_case_are_one_key() {
    let twice = [
        ("app:x", ContextValue::string("1")),
        ("APP:X", ContextValue::string("2")),
    ];
    assert!(context(twice).is_err(), "C-4");
    let context = context([("App:X", ContextValue::string("1"))]).unwrap();
    assert_eq!(
        context.get(&ContextKey::new("APP:x")).map(text),
        Some("1"),
        "C-4"
    );
}

#[test]
fn a_key_is_found_however_many_there_are_and_whatever_its_number_is() {
    for n_keys in [
        1,
        2,
        MAX_COMPARED - 4,
        MAX_COMPARED - 3,
        MAX_COMPARED - 2,
        MAX_COMPARED,
        300,
    ] {
        // These are two pairs of keys with equal fingerprints.
        let pairs = ["Costarring", "Liquid", "declinate", "macallums"];
        let keys = pairs.into_iter().map(str::to_owned);
        let keys: Vec<String> = keys
            .chain((0..n_keys).map(|n| format!("app:Key-{n}")))
            .collect();
        for left_out in 0..keys.len().min(6) {
            let given = keys.iter().enumerate().filter(|(at, _)| *at != left_out);
            let entries = given.map(|(_, key)| (key.as_str(), ContextValue::string(key)));
            let entries: Vec<_> = entries.collect();
            let context = context(entries.clone()).unwrap();
            for (key, _) in &entries {
                let again = key.to_ascii_uppercase();
                let again = (again.as_str(), ContextValue::string("again"));
                let twice = self::context(entries.iter().cloned().chain([again]));
                assert!(twice.is_err(), "C-4: {key} among {}", entries.len());
            }
            for (at, key) in keys.iter().enumerate() {
                let found = context.get(&ContextKey::new(key)).map(text);
                let expected = (at != left_out).then_some(&**key);
                assert_eq!(found, expected, "C-4: {key} among {}", keys.len() - 1);
            }
        }
    }
    for [one, other] in [["costarring", "liquid"], ["declinate", "macallums"]] {
        let [one, other] = [one, other].map(|name| ContextKey::new(name).fingerprint());
        assert_eq!(one, other);
    }
}

#[test]
fn derived_and_session_keys_are_reserved_and_environment_keys_are_not() {
    for key in [
        "aws:PrincipalTag/role",
        "AWS:PrincipalArn",
        "aws:CurrentTime",
        "aws:TokenIssueTime",
        "saml:aud",
    ] {
        assert!(ContextKey::new(key).kind().is_reserved(), "K-1: {key}");
    }
    for key in [
        "aws:SourceIp",
        "aws:RequestTag/a",
        "aws:TagKeys",
        "orders:amount",
        "aws:PrincipalTag",
        "sts:ExternalId",
    ] {
        assert!(!ContextKey::new(key).kind().is_reserved(), "K-2: {key}");
    }
    assert_eq!(
        ContextKey::new("aws:PrincipalTag/a:b/c").tag(),
        "a:b/c",
        "G-22"
    );
}

#[test]
fn a_list_of_one_value_is_that_value_and_an_empty_one_is_none() {
    let list = |texts: &[&'static str]| {
        ContextValue::list(texts.iter().copied().map(ContextValue::string))
    };
    assert_eq!(list(&["a"]), ContextValue::string("a"), "C-10");
    assert_eq!(
        list(&["5"]),
        ContextValue::number(5.0).unwrap(),
        "C-5, C-10"
    );
    assert_eq!(list(&["a", "b"]).all().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(list(&["a", "b", "c"]).one(), None);
    assert_ne!(list(&["a", "b"]), list(&["b", "a"]));
    assert!(list(&[]).is_empty(), "C-7");
    assert!(!list(&[""]).is_empty(), "C-8");
    let absent = context([("app:x", list(&[]))]).unwrap();
    assert_eq!(absent.get(&ContextKey::new("app:x")), None, "C-7");
    assert!(absent.entry(&ContextKey::new("App:X")).is_some(), "K-44");
}

#[test]
fn a_context_knows_the_kinds_of_its_keys() {
    let context = context([
        ("app:x", ContextValue::string("1")),
        ("AWS:calledvia", ContextValue::string("a.b")),
    ]);
    let context = context.unwrap();
    let chain = context.get_kind(KeyKind::CalledVia).map(text);
    assert_eq!(chain, Some("a.b"));
    assert_eq!(context.get_kind(KeyKind::TagKeys), None);
    assert!(context.has_only(Kinds::of(&[KeyKind::Given, KeyKind::CalledVia])));
    assert!(!context.has_only(Kinds::of(&[KeyKind::Given, KeyKind::TagKeys])));
}
