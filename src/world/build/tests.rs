//! Tests of findings about a store as a whole.

#![expect(clippy::panic, reason = "a test may fail by panicking")]

use super::*;

/// Returns the findings about a store that has a group `staff`, a policy `Read`, and these users.
fn findings(users: impl Iterator<Item = String>) -> Vec<Finding> {
    let document = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#;
    let mut files = vec![
        (
            "account.json".to_owned(),
            r#"{"AccountId": "111111111111"}"#.to_owned(),
        ),
        ("groups/staff.json".to_owned(), "{}".to_owned()),
        ("managed-policies/Read.json".to_owned(), document.to_owned()),
    ];
    let users = users.enumerate();
    files.extend(users.map(|(number, text)| (format!("users/u{number:02}.json"), text)));
    let texts = files.iter().map(|(path, text)| (&**path, &**text));
    match crate::store::load_texts(texts) {
        Ok(_) => panic!("it loads"),
        Err(refused) => refused.findings,
    }
}

#[test]
fn what_was_meant_is_guessed_for_the_first_references_that_lead_nowhere() {
    let in_group = r#"{"GroupList": ["staf"]}"#.to_owned();
    let attached =
        r#"{"AttachedManagedPolicies": [{"PolicyArn": "arn:aws:iam::111111111111:policy/Raed"}]}"#
            .to_owned();
    // Half of the suggestions are made for one kind, and half for the other.
    let users = std::iter::repeat_n(in_group, MAX_GUESSES / 2);
    let findings = findings(users.chain(std::iter::repeat_n(attached, MAX_GUESSES)));
    assert_eq!(findings.len(), MAX_GUESSES + MAX_GUESSES / 2);
    let helps: Vec<&str> = findings
        .iter()
        .map(|finding| finding.help.as_deref().unwrap_or_default())
        .collect();
    let (guessed, others) = helps.split_at(MAX_GUESSES);
    let (of_groups, of_policies) = guessed.split_at(MAX_GUESSES / 2);
    assert_eq!(of_groups, ["did you mean `staff`?"; MAX_GUESSES / 2]);
    let guess = "did you mean `arn:aws:iam::111111111111:policy/Read`?";
    assert_eq!(of_policies, [guess; MAX_GUESSES / 2]);
    let no_guess = "put it into `managed-policies/` of its account, or detach it";
    assert_eq!(others, [no_guess; MAX_GUESSES / 2]);
}
