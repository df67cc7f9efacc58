//! How much of a store and of a question the hints look at.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::fmt::Write as _;

use super::*;
use crate::engine::question::Value;

const DENIED: Reason = Reason::ImplicitDenyIdentity;

/// A store with these users, each of whom has a policy of these statements.
fn store(users: &[(&str, String)]) -> Snapshot {
    let account = (
        "account.json".to_owned(),
        r#"{"AccountId": "111111111111"}"#.to_owned(),
    );
    let user = |(name, statements): &(&str, String)| {
        let text = format!(
            r#"{{"UserPolicyList": [{{"PolicyName": "p", "PolicyDocument": {{"Version": "2012-10-17", "Statement": [{statements}]}}}}]}}"#
        );
        (format!("users/{name}.json"), text)
    };
    let files: Vec<(String, String)> = [account]
        .into_iter()
        .chain(users.iter().map(user))
        .collect();
    loaded(&files)
}

fn loaded(files: &[(String, String)]) -> Snapshot {
    let texts = files.iter().map(|(path, text)| (&**path, &**text));
    match crate::store::load_texts(texts) {
        Ok(loaded) => loaded.snapshot,
        Err(refused) => panic!("{:#?}", refused.findings),
    }
}

/// `n` statements about the service `a`.
fn of_another_service(n: usize) -> String {
    let one = r#"{"Effect": "Allow", "Action": "a:B", "Resource": "*"}"#;
    vec![one; n].join(",")
}

/// A statement with the condition that `key` is 1.
fn with_conditions(keys: impl Iterator<Item = String>) -> String {
    let mut conditions = String::new();
    for key in keys {
        let comma = if conditions.is_empty() { "" } else { "," };
        write!(conditions, r#"{comma}"{key}": "1""#).unwrap();
    }
    format!(
        r#"{{"Effect": "Allow", "Action": "a:B", "Resource": "*", "Condition": {{"StringEquals": {{{conditions}}}}}}}"#
    )
}

fn asking(action: &str) -> Question<'_> {
    Question {
        principal: "arn:aws:iam::111111111111:user/ann",
        action,
        resource: "*",
        ..Question::default()
    }
}

fn with_context(keys: &[String]) -> Question<'_> {
    Question {
        context: keys
            .iter()
            .map(|key| (key.as_str(), Value::Text("x")))
            .collect(),
        ..asking("a:B")
    }
}

/// A hint that no statement speaks of a service would be wrong if only some of them were looked at.
#[test]
fn every_statement_is_looked_at_for_a_service() {
    let told = "no statement mentions the service `orders`";
    let many = of_another_service(MAX_STATEMENTS / 2);
    let speaks = r#"{"Effect": "Allow", "Action": "orders:Get", "Resource": "*"}"#;
    let with = |last: &str| {
        store(&[
            ("ann", many.clone()),
            ("bob", many.clone()),
            ("zoe", last.to_owned()),
        ])
    };
    let without = with(&of_another_service(1));
    assert_eq!(hints(&asking("orders:Get"), &without, DENIED), [told]);
    assert_eq!(hints(&asking("orders:Get"), &with(speaks), DENIED), [""; 0]);
}

#[test]
fn context_keys_are_guessed_among_the_first_conditions_of_the_first_statements() {
    let guess = ["the context key `amount` has no prefix; did you mean `orders:Amount`?"];
    let no_guess =
        ["the context key `amount` has no prefix; write it as policies do, such as `aws:SourceIp`"];
    let amount = || std::iter::once("orders:Amount".to_owned());
    let behind_conditions = |n: usize| {
        let keys = (0..n).map(|number| format!("a:k{number}"));
        store(&[("ann", with_conditions(keys.chain(amount())))])
    };
    let behind_statements = |n: usize| {
        let statements = [of_another_service(n), with_conditions(amount())].join(",");
        store(&[("ann", statements)])
    };
    let hints =
        |snapshot: Snapshot| hints(&with_context(&["amount".to_owned()]), &snapshot, DENIED);
    assert_eq!(hints(behind_conditions(MAX_CONDITIONS - 1)), guess);
    assert_eq!(hints(behind_conditions(MAX_CONDITIONS)), no_guess);
    assert_eq!(hints(behind_statements(MAX_STATEMENTS - 1)), guess);
    assert_eq!(hints(behind_statements(MAX_STATEMENTS)), no_guess);
}

#[test]
fn a_name_is_guessed_among_the_first_principals() {
    let mut files = vec![(
        "account.json".to_owned(),
        r#"{"AccountId": "111111111111"}"#.to_owned(),
    )];
    let names = (0..MAX_PRINCIPALS + 2).map(|number| format!("users/u{number}.json"));
    files.extend(names.map(|path| (path, "{}".to_owned())));
    let snapshot = loaded(&files);
    // They stand in no order, which is always the same for one snapshot.
    let arns: Vec<&Arn> = snapshot.principals().map(|entity| &entity.arn).collect();
    let guess = |number: usize| {
        let meant = arns.get(number).unwrap().as_str();
        let asked = meant.replace("user/u", "user/U");
        (meant, principal(&asked, &snapshot))
    };
    for number in [0, MAX_PRINCIPALS - 1] {
        let (meant, told) = guess(number);
        let words = format!("did you mean `{meant}`?");
        assert!(told.is_some_and(|told| told.ends_with(&words)), "{meant}");
    }
    for number in [MAX_PRINCIPALS, MAX_PRINCIPALS + 1] {
        assert_eq!(guess(number).1, None);
    }
}

#[test]
fn a_question_is_told_of_few_keys_and_of_no_long_text() {
    let store = store(&[("ann", of_another_service(1))]);
    let keys: Vec<String> = (0..MAX_KEYS + 20).map(|n| format!("key{n}")).collect();
    let told = hints(&with_context(&keys), &store, DENIED);
    assert_eq!(told.len(), MAX_KEYS);
    assert!(told.iter().all(|hint| hint.contains("`key")), "{told:?}");

    let long = |n_bytes: usize| "k".repeat(n_bytes);
    let told = hints(&with_context(&[long(MAX_TEXT_BYTES)]), &store, DENIED);
    assert_eq!(told.len(), 1);
    let told = hints(&with_context(&[long(MAX_TEXT_BYTES + 1)]), &store, DENIED);
    assert_eq!(told, [""; 0]);

    let about = |n_bytes: usize| {
        let action = format!("{}:Get", long(n_bytes));
        hints(&asking(&action), &store, DENIED)
    };
    assert_eq!(about(MAX_TEXT_BYTES).len(), 1);
    assert_eq!(about(MAX_TEXT_BYTES + 1), [""; 0]);

    // A name of the store's with another path, which is what makes the ARN long.
    let arn = |n_bytes: usize| {
        let (before, behind) = ("arn:aws:iam::111111111111:user/", "/ann");
        format!(
            "{before}{}{behind}",
            long(n_bytes - before.len() - behind.len())
        )
    };
    assert!(principal(&arn(MAX_TEXT_BYTES), &store).is_some());
    assert_eq!(principal(&arn(MAX_TEXT_BYTES + 1), &store), None);
}
