#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::*;
use crate::language::pattern::{NoVariables, Syntax};

const ACCOUNT: &str = "111122223333";

fn attachments(files: &[&[&str]]) -> Attachments {
    let syntax = Syntax {
        wildcards: true,
        variables: false,
    };
    let scopes = |texts: &[&str]| -> Vec<ResourcePattern> {
        let scope = |text: &&str| ResourcePattern::parse(text, syntax).unwrap();
        texts.iter().map(scope).collect()
    };
    let account = AccountId::parse(ACCOUNT).unwrap();
    let file = |texts: &&[&str]| {
        Attachment::new(
            account.clone(),
            &scopes(texts),
            None,
            false,
            Tags::default(),
        )
    };
    Attachments::new(files.iter().map(file).collect())
}

/// Every file that covers a resource is found once, in the order of the files, and no other file is found (E-10).
#[test]
fn what_is_found_is_what_every_scope_would_say() {
    let files: &[&[&str]] = &[
        &["arn:app:orders:::order/1"],
        &["arn:app:orders:::*", "arn:app:orders:::order/*"],
        &["*"],
        &["arn:app:orders:::order/?", "arn:app:orders:::order/1"],
        &["arn:app:orders:::order/1*", "arn:app:orders:::order/12"],
        &["arn:app:orders:*"],
        &["arn:app:o*:::order/1"],
        &["arn:app:ordera:::*"],
        &["arn:app:orders:::order/1/*"],
    ];
    let index = attachments(files);
    let mut n_found = 0;
    for text in [
        "*",
        "arn:app:orders:::order/1",
        "arn:app:orders:::order/12",
        "arn:app:orders:::order/1/x",
        "arn:app:orders:::order/",
        "arn:app:orders:::orders",
        "arn:app:ordera:::x",
        "arn:app:other:::order/1",
        "arn:zzz:zzz:::z",
        "arn:aaa:aaa:::a",
        "arn:app:orders:eu::order/1",
    ] {
        let resource = Resource::parse(text).unwrap();
        let expected: Vec<usize> = (0..files.len())
            .filter(|at| {
                index
                    .files
                    .get(*at)
                    .unwrap()
                    .covers(&resource, &NoVariables)
            })
            .collect();
        let found: Vec<usize> = index
            .of(&resource, &NoVariables)
            .map(|found| {
                let is_it = |file: &Attachment| std::ptr::eq(file, found);
                index.files.iter().position(is_it).unwrap()
            })
            .collect();
        assert_eq!(found, expected, "{text}");
        n_found += found.len();
    }
    assert_eq!(n_found, 31);
}
