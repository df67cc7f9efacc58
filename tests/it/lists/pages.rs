//! Lists of principals that take more work than a page may.

use iamd::analysis::principals::{Bounds, principals};
use iamd::engine::question::Question;
use iamd::engine::work::Work;
use iamd::service::pb;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::alike::{managed, reader};
use super::{asking, document, role, store, trusting};
use crate::laws::load_world;
use crate::support::Server;

/// 60 statements that the tag `team` of the caller tells apart, with a key for each. There are more values to try than are tried.
fn of_teams() -> Vec<Value> {
    let of_team = |number: usize| {
        json!({"Effect": "Allow", "Action": "docs:Read", "Resource": "*", "Condition": {
            "StringLike": {"aws:PrincipalTag/team": format!("*{number}*")},
            "StringNotEquals": {format!("app:k{number}"): "${aws:PrincipalTag/team}"}}})
    };
    (0..60).map(of_team).collect()
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

/// Each role has two thirds of the work that a list may take, because each of its sessions is asked about on its own and
/// only trying could show that it is not allowed: each Deny needs what the other one rules out.
#[test]
fn principals_that_take_much_work_come_on_more_pages() {
    const N_SESSIONS: usize = 80;
    let deny = |condition: Value| json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition});
    let mut statements = of_teams();
    statements.push(deny(json!({"Null": {"app:x": "true"}})));
    statements.push(deny(json!({"StringLike": {"app:x": "*"}})));
    let (path, policy) = managed("Reading", json!(statements));
    let account = json!({"AccountId": "111122223333"});
    let mut files = vec![(path, policy), ("account.json".to_owned(), account)];
    let mut sessions = Vec::new();
    for name in ["ann", "bob"] {
        let tags = json!({"Tags": [{"Key": "team", "Value": name}],
            "AssumeRolePolicyDocument": trusting("*", json!({}))["AssumeRolePolicyDocument"]});
        files.push((format!("roles/{name}.json"), reader(tags)));
        let session = |number| format!("arn:aws:sts::111122223333:assumed-role/{name}/s{number}");
        sessions.extend((0..N_SESSIONS).map(session));
    }
    let denied = json!({"Effect": "Deny", "Principal": {"AWS": sessions}, "Action": "docs:Read",
        "Resource": "arn:app:docs:::page/*", "Condition": {"StringEquals": {"app:closed": "yes"}}});
    files.push((
        "resource-policies/docs.json".to_owned(),
        json!({"Resource": "arn:app:docs:::page/*", "Policy": document(json!([denied]))}),
    ));
    let snapshot = load_world(&files.into_iter().collect());
    let question = Question {
        action: "docs:Read",
        resource: "arn:app:docs:::page/1",
        ..Question::default()
    };
    let page = |after: &str| {
        let bounds = Bounds {
            after,
            most: 1_000,
            most_bytes: usize::MAX,
            bytes_of_area: 0,
        };
        let at = Timestamp::UNIX_EPOCH;
        let page = principals(&snapshot, &question, &bounds, at, &Work::ample()).unwrap();
        let names = page.principals.into_iter().map(|one| one.principal);
        (names.collect::<Vec<_>>(), page.next)
    };
    let (ann, bob) = (role("ann"), role("bob"));
    assert_eq!(page(""), (vec![ann.clone()], Some(ann.clone())));
    assert_eq!(page(&ann), (vec![bob], None));
}

/// No page has more than fits.
#[tokio::test(flavor = "multi_thread")]
async fn each_principal_is_on_one_page_however_long_its_access_is() {
    const N_USERS: usize = 100;
    let (path, policy) = managed("Reading", json!(of_teams()));
    let mut files = vec![(path, policy)];
    for number in 0..N_USERS {
        let tags = json!({"Tags": [{"Key": "team", "Value": format!("t{number}")}]});
        files.push((format!("users/u{number:04}.json"), reader(tags)));
    }
    let files: Vec<(&str, Value)> = files
        .iter()
        .map(|(path, json)| (&**path, json.clone()))
        .collect();
    let pages = pages(&store(&files)).await;
    assert!((2..20).contains(&pages.len()), "{}", pages.len());
    let arn = |number| format!("arn:aws:iam::111122223333:user/u{number:04}");
    assert_eq!(pages.concat(), (0..N_USERS).map(arn).collect::<Vec<_>>());
}
