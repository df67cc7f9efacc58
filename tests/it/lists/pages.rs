//! Lists of principals that take more work than a page may.

use iamd::service::pb;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::alike::{managed, reader};
use super::{asking, store};
use crate::support::Server;

/// A store in which nothing that is found out about one user is true of another, because each has a tag of its own, and in
/// which only trying could show that none is allowed, if there are two denials: each needs what the other one rules out. There
/// are more values to try than are tried, so they are listed as conditional.
fn busy(n_users: usize, is_denied: bool) -> TempDir {
    let of_team = |number: usize| {
        json!({"Effect": "Allow", "Action": "docs:Read", "Resource": "*", "Condition": {
            "StringLike": {"aws:PrincipalTag/team": format!("*{number}*")},
            "StringNotEquals": {format!("app:k{number}"): "${aws:PrincipalTag/team}"}}})
    };
    let deny = |condition: Value| json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition});
    let mut denials = vec![deny(json!({"Null": {"app:x": "true"}}))];
    if is_denied {
        denials.push(deny(json!({"StringLike": {"app:x": "*"}})));
    }
    let statements: Vec<Value> = (0..60).map(of_team).chain(denials).collect();
    let (path, policy) = managed("Reading", json!(statements));
    let mut files = vec![(path, policy)];
    for number in 0..n_users {
        let tags = json!({"Tags": [{"Key": "team", "Value": format!("t{number}")}]});
        files.push((format!("users/u{number:04}.json"), reader(tags)));
    }
    let files: Vec<(&str, Value)> = files
        .iter()
        .map(|(path, json)| (&**path, json.clone()))
        .collect();
    store(&files)
}

/// The list of a server's principals, page by page.
async fn pages(root: &TempDir) -> Vec<Vec<String>> {
    let server = Server::start(root.path());
    let mut client = server.client().await;
    let (mut token, mut pages) = (String::new(), Vec::new());
    loop {
        let asked = client.list_principals(asking(&token, 0)).await;
        let page: pb::ListPrincipalsResponse = asked.unwrap().into_inner().decoded().unwrap();
        pages.push(
            page.principals
                .into_iter()
                .map(|one| one.principal)
                .collect(),
        );
        token = page.next_page_token;
        if token.is_empty() {
            return pages;
        }
        assert!(pages.len() < 100, "it must come to an end");
    }
}

/// The ARNs of the users of such a store.
fn users(n_users: usize) -> Vec<String> {
    let arn = |number| format!("arn:aws:iam::111122223333:user/u{number:04}");
    (0..n_users).map(arn).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn principals_that_take_much_work_come_on_more_pages() {
    let pages = pages(&busy(300, true)).await;
    assert!(pages.len() > 1, "one page must not do");
    assert_eq!(pages.concat(), users(300));
}

/// No page is worked out beyond its end, so that what does not fit is not worked out once for each page.
#[tokio::test(flavor = "multi_thread")]
async fn each_principal_is_on_one_page_however_long_its_access_is() {
    let pages = pages(&busy(100, false)).await;
    assert!((2..20).contains(&pages.len()), "{}", pages.len());
    assert_eq!(pages.concat(), users(100));
}
