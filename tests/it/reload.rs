//! A changed store takes effect, and no client ever sees half of a change.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use iamd::service::pb;
use notify::event::{AccessKind, EventKind};
use notify::{RecursiveMode, Watcher as _};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::{
    Client, PATIENCE, Server, allow, ann_asks, errors_in, eventually, revision, store_allowing,
    until_revision, user, vanish, write, write_by_rename, write_store,
};

const GET: &str = "orders:Get";
const REFUND: &str = "orders:Refund";

/// Returns ann's file when she may do `action`.
fn ann_may(action: &str) -> String {
    user("ann", &allow(action))
}

/// Returns the revision of the store in which ann may do `action`, from a copy of it.
fn revision_allowing(action: &str) -> String {
    revision(store_allowing(action).path())
}

async fn decision(client: &mut Client, action: &str) -> (String, pb::Decision) {
    let answer = client
        .authorize(ann_asks(action))
        .await
        .unwrap()
        .into_inner();
    (answer.revision.clone(), answer.decision())
}

/// Waits until ann may do `action`, in the store in which she may do nothing else.
async fn until_allowed(client: &mut Client, action: &str) {
    let answer = until_revision(client, &revision_allowing(action)).await;
    let expected = if action == GET {
        pb::Decision::Allow
    } else {
        pb::Decision::Deny
    };
    assert_eq!(answer.decision(), expected);
}

/// Waits until each client has an answer of `wanted`. If a client panics, panics with its message.
async fn until_all_have_seen<T: Copy + PartialEq>(
    seen: &[Mutex<Option<T>>],
    wanted: T,
    clients: &mut JoinSet<()>,
) {
    eventually("an answer of the new revision for everybody", async || {
        if let Some(ended) = clients.try_join_next() {
            ended.unwrap();
            panic!("a client has stopped asking");
        }
        let has_seen = |of_client: &Mutex<Option<T>>| *of_client.lock().unwrap() == Some(wanted);
        seen.iter().all(has_seen).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_changed_policy_is_live_while_everybody_asks() {
    const N_CLIENTS: usize = 8;
    const N_CHANGES: usize = 30;
    let store = store_allowing(GET);
    // The action that each store so far allows. No other answer and no mixture may be seen.
    let allowed_by: Arc<HashMap<String, &str>> = Arc::new(
        [GET, REFUND]
            .into_iter()
            .map(|action| (revision_allowing(action), action))
            .collect(),
    );
    assert_eq!(allowed_by.len(), 2);

    let server = Server::start(store.path());
    let mut watcher = server.client().await;
    // What ann may do according to the last answer of each client.
    let seen: Arc<Vec<Mutex<Option<&str>>>> =
        Arc::new((0..N_CLIENTS).map(|_| Mutex::new(None)).collect());
    let mut clients = JoinSet::new();
    for number in 0..N_CLIENTS {
        let mut client = server.client().await;
        let (seen, allowed_by) = (Arc::clone(&seen), Arc::clone(&allowed_by));
        clients.spawn(async move {
            // Each client starts with another action, so that they do not ask in step.
            for n_asked in number.. {
                let action = if n_asked.is_multiple_of(2) {
                    GET
                } else {
                    REFUND
                };
                let answer = client
                    .authorize(ann_asks(action))
                    .await
                    .expect("no call fails")
                    .into_inner();
                let allows = allowed_by
                    .get(&answer.revision)
                    .expect("a revision of a whole store");
                let expected = if *allows == action {
                    pb::Decision::Allow
                } else {
                    pb::Decision::Deny
                };
                assert_eq!(
                    answer.decision(),
                    expected,
                    "{action} by revision {}",
                    answer.revision
                );
                *seen[number].lock().unwrap() = Some(*allows);
            }
        });
    }

    until_all_have_seen(&seen, GET, &mut clients).await;
    for change in 0..N_CHANGES {
        let action = if change % 2 == 0 { REFUND } else { GET };
        let text = ann_may(action);
        // Both ways of writing are used. A plain write may be seen half-written, and the server must then wait for the
        // rest.
        if change % 4 < 2 {
            write(store.path(), "users/ann.json", &text);
        } else {
            write_by_rename(store.path(), "users/ann.json", &text);
        }
        until_allowed(&mut watcher, action).await;
        until_all_have_seen(&seen, action, &mut clients).await;
    }
}

/// Once a client has seen a revision, none of its later answers comes from an older one.
#[tokio::test]
async fn nobody_goes_back_in_time() {
    const N_CLIENTS: usize = 4;
    let store = store_allowing("orders:Version0");
    let versions: Vec<String> = (0..12)
        .map(|n| revision_allowing(&format!("orders:Version{n}")))
        .collect();
    let server = Server::start(store.path());
    // The version number that each client saw last.
    let seen: Arc<Vec<Mutex<Option<usize>>>> =
        Arc::new((0..N_CLIENTS).map(|_| Mutex::new(None)).collect());
    let mut clients = JoinSet::new();
    for number in 0..N_CLIENTS {
        let mut client = server.client().await;
        let (seen, versions) = (Arc::clone(&seen), versions.clone());
        clients.spawn(async move {
            loop {
                let (revision, _) = decision(&mut client, GET).await;
                let version = versions
                    .iter()
                    .position(|known| *known == revision)
                    .expect("a known revision");
                let newest = seen[number].lock().unwrap().replace(version);
                assert!(
                    Some(version) >= newest,
                    "version {version} after {newest:?}"
                );
            }
        });
    }
    until_all_have_seen(&seen, 0, &mut clients).await;
    for n in 1..versions.len() {
        write_by_rename(
            store.path(),
            "users/ann.json",
            &ann_may(&format!("orders:Version{n}")),
        );
        until_all_have_seen(&seen, n, &mut clients).await;
    }
}

/// A fault in a file, and where the finding must point.
#[tokio::test]
async fn a_store_that_does_not_load_leaves_the_last_good_one_answering() {
    let store = store_allowing(GET);
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let good = ann_may(GET);
    let truncated = &good[..good.len() - 20];
    let last_line = truncated.lines().count();
    let misspelt = good.replace("\"Action\"", "\"Acton\"");
    let cases = [
        (
            "truncated",
            truncated.to_owned(),
            format!("users/ann.json:{last_line}:"),
            &["syntax"][..],
        ),
        (
            "misspelt",
            misspelt.clone(),
            "users/ann.json:4:".to_owned(),
            &["missing-member", "unknown-member"],
        ),
        (
            "empty",
            String::new(),
            "users/ann.json:1:1".to_owned(),
            &["syntax"],
        ),
        (
            "no policy",
            good.replace("2012-10-17", "2012-10-18"),
            "users/ann.json:4:".to_owned(),
            &["invalid-version"],
        ),
    ];
    for (what, bad, place, codes) in cases {
        let n_before = server.log().len();
        write_by_rename(store.path(), "users/ann.json", &bad);
        let log = eventually(&format!("the refusal of the {what} file"), async || {
            assert_eq!(
                decision(&mut client, GET).await,
                (revision_allowing(GET), pb::Decision::Allow),
                "{what}"
            );
            let log = server.log().split_off(n_before);
            let is_refused = log.iter().any(|line| line.contains("stays in force"));
            is_refused.then_some(log)
        })
        .await;
        let errors = errors_in(log.iter().map(String::as_str));
        let told = |code: &str| {
            let says = format!(": error[{code}]: ");
            let is_it = |error: &&String| error.starts_with(&place) && error.contains(&says);
            errors.iter().filter(is_it).count()
        };
        assert!(
            codes.iter().all(|code| told(code) == 1),
            "{what}: {errors:#?}"
        );
        assert_eq!(errors.len(), codes.len(), "{what}: {errors:#?}");
        assert_eq!(
            decision(&mut client, REFUND).await.1,
            pb::Decision::Deny,
            "{what}"
        );

        // The repaired content differs from the earlier one, so that it can be told apart.
        write_by_rename(store.path(), "users/ann.json", &ann_may(REFUND));
        until_allowed(&mut client, REFUND).await;
        write_by_rename(store.path(), "users/ann.json", &good);
        until_allowed(&mut client, GET).await;
    }
}

#[tokio::test]
async fn files_and_folders_come_and_go() {
    let store = store_allowing(GET);
    let server = Server::start(store.path());
    let mut client = server.client().await;

    // A folder disappears, so the store has no users.
    fs::remove_dir_all(store.path().join("users")).unwrap();
    eventually("a store without users", async || {
        let answer = client.authorize(ann_asks(GET)).await.unwrap().into_inner();
        (answer.reason() == pb::Reason::ImplicitDenyUnknownPrincipal).then_some(())
    })
    .await;

    // The folder comes back and is watched like the old one.
    write(store.path(), "users/ann.json", &ann_may(REFUND));
    until_allowed(&mut client, REFUND).await;
    write(store.path(), "users/ann.json", &ann_may(GET));
    until_allowed(&mut client, GET).await;

    // A new file appears in a new subfolder.
    write(
        store.path(),
        "users/eng/bob.json",
        &user("bob", &allow(GET)),
    );
    let with_bob = revision(store.path());
    until_revision(&mut client, &with_bob).await;
    write(
        store.path(),
        "users/eng/bob.json",
        &user("bob", &allow(REFUND)),
    );
    until_revision(&mut client, &revision(store.path())).await;
}

/// K-42: a change of anything that a decision depends on counts from the next revision on.
#[tokio::test]
async fn a_change_of_tags_groups_or_the_organization_counts_at_once() {
    let get = |condition: &str| {
        format!(
            r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Action": "{GET}", "Resource": "*"{condition}}}}}"#
        )
    };
    let of_blue = get(r#", "Condition": {"StringEquals": {"aws:PrincipalTag/team": "blue"}}"#);
    let ann = |groups: &str, tag: &str| {
        format!(r#"{{"GroupList": [{groups}], "Tags": [{{"Key": "team", "Value": "{tag}"}}]}}"#)
    };
    let agents = |document: &str| {
        format!(r#"{{"GroupPolicyList": [{{"PolicyName": "get", "PolicyDocument": {document}}}]}}"#)
    };
    let organization = |scp: &str| {
        format!(
            r#"{{"Id": "o-1", "ManagementAccountId": "999999999999", "Root": {{"Id": "r-1", "ServiceControlPolicies": ["FullAWSAccess"], "Accounts": [
                {{"Id": "111111111111", "ServiceControlPolicies": ["{scp}"]}}, {{"Id": "999999999999", "ServiceControlPolicies": ["FullAWSAccess"]}}]}}}}"#
        )
    };
    let nothing = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}"#;
    let store = store_allowing(REFUND);
    for (path, text) in [
        ("accounts/999999999999/account.json", "{}".to_owned()),
        ("groups/agents.json", agents(&of_blue)),
        ("service-control-policies/nothing.json", nothing.to_owned()),
        ("organization.json", organization("FullAWSAccess")),
        ("users/ann.json", ann(r#""agents""#, "blue")),
    ] {
        write(store.path(), path, &text);
    }
    let server = Server::start(store.path());
    let mut client = server.client().await;
    for (path, text, expected) in [
        (
            "users/ann.json",
            ann(r#""agents""#, "red"),
            pb::Reason::ImplicitDenyIdentity,
        ),
        (
            "users/ann.json",
            ann(r#""agents""#, "blue"),
            pb::Reason::AllowIdentity,
        ),
        (
            "users/ann.json",
            ann("", "blue"),
            pb::Reason::ImplicitDenyIdentity,
        ),
        (
            "users/ann.json",
            ann(r#""agents""#, "blue"),
            pb::Reason::AllowIdentity,
        ),
        (
            "groups/agents.json",
            agents(nothing),
            pb::Reason::ExplicitDenyIdentity,
        ),
        (
            "groups/agents.json",
            agents(&get("")),
            pb::Reason::AllowIdentity,
        ),
        (
            "organization.json",
            organization("nothing"),
            pb::Reason::ExplicitDenyServiceControl,
        ),
        (
            "organization.json",
            organization("FullAWSAccess"),
            pb::Reason::AllowIdentity,
        ),
    ] {
        // The question was asked before as well, so that there is a cached answer.
        client.authorize(ann_asks(GET)).await.unwrap();
        write_by_rename(store.path(), path, &text);
        let answer = until_revision(&mut client, &revision(store.path())).await;
        assert_eq!(answer.reason(), expected, "{path}: {text}");
    }
}

#[tokio::test]
async fn a_store_that_vanishes_is_kept_until_there_is_another() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("policies");
    write_store(&root, GET);
    let server = Server::start(&root);
    let mut client = server.client().await;
    let n_before = server.log().len();
    vanish(&root);
    eventually("a word about it", async || {
        assert_eq!(
            decision(&mut client, GET).await.1,
            pb::Decision::Allow,
            "the last good one answers"
        );
        (server.log().len() > n_before).then_some(())
    })
    .await;
    write_store(&root, REFUND);
    until_allowed(&mut client, REFUND).await;
    write_store(&root, GET);
    until_allowed(&mut client, GET).await;
}

/// The store is updated as a kubelet updates a ConfigMap: everything is reached through `..data`, whose swap is the
/// change.
#[tokio::test]
async fn a_config_map_changes_as_a_whole() {
    let mount = TempDir::new().unwrap();
    let root = mount.path();
    let publish = |version: &str, action: &str| {
        write_store(&root.join(version), action);
        symlink(version, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    };
    publish("..2026_01", GET);
    for name in ["account.json", "users"] {
        symlink(Path::new("..data").join(name), root.join(name)).unwrap();
    }
    let server = Server::start(root);
    let mut client = server.client().await;
    assert_eq!(decision(&mut client, GET).await.1, pb::Decision::Allow);

    let mut old = "..2026_01".to_owned();
    for (n, action) in [REFUND, GET, REFUND].into_iter().enumerate() {
        let new = format!("..2026_1{n}");
        publish(&new, action);
        fs::remove_dir_all(root.join(&old)).unwrap();
        old = new;
        eventually(&format!("swap {n}"), async || {
            let answers = [
                decision(&mut client, GET).await,
                decision(&mut client, REFUND).await,
            ];
            let allows = |index: usize| answers[index].1 == pb::Decision::Allow;
            let expected = if action == GET {
                allows(0) && !allows(1)
            } else {
                allows(1) && !allows(0)
            };
            expected.then_some(())
        })
        .await;
    }
}

/// The store is updated as git-sync does it: the store's path is a link that changes its target.
#[tokio::test]
async fn a_store_behind_a_link_follows_the_link() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("current");
    let publish = |version: &str, action: &str| {
        write_store(&folder.path().join(version), action);
        let next = folder.path().join("next");
        symlink(version, &next).unwrap();
        fs::rename(next, &root).unwrap();
    };
    publish("one", GET);
    let server = Server::start(&root);
    let mut client = server.client().await;
    assert_eq!(decision(&mut client, GET).await.1, pb::Decision::Allow);
    publish("two", REFUND);
    until_allowed(&mut client, REFUND).await;
    // The new target is watched as the old one was.
    write(&folder.path().join("two"), "users/ann.json", &ann_may(GET));
    until_allowed(&mut client, GET).await;
}

/// Nothing has changed, so only the signal makes the server open all files. A poll digests a twelfth of them every five
/// seconds, and reads once more those that were new when they were read.
#[tokio::test]
async fn sighup_has_every_file_read_again_and_ends_nothing() {
    const N_USERS: usize = 48;
    let store = store_allowing(GET);
    for n in 0..N_USERS {
        write(store.path(), &format!("users/u{n}.json"), "{}");
    }
    let expected = (revision(store.path()), pb::Decision::Allow);
    let opened = Arc::new(Mutex::new(BTreeSet::new()));
    let mut server = Server::start(store.path());
    let mut client = server.client().await;
    let told = Arc::clone(&opened);
    let mut watch = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let event = event.unwrap();
        if matches!(event.kind, EventKind::Access(AccessKind::Open(_))) {
            told.lock().unwrap().extend(event.paths);
        }
    })
    .unwrap();
    let users = store.path().join("users");
    watch.watch(&users, RecursiveMode::NonRecursive).unwrap();
    for time in 1..=3 {
        opened.lock().unwrap().clear();
        server.signal("HUP");
        eventually(&format!("all files opened, time {time}"), async || {
            assert_eq!(decision(&mut client, GET).await, expected);
            let opened = opened.lock().unwrap();
            let files = opened.iter().filter(|path| path.is_file());
            (files.count() == N_USERS + 1).then_some(())
        })
        .await;
    }
    write(store.path(), "users/ann.json", &ann_may(REFUND));
    server.signal("HUP");
    until_revision(&mut client, &revision(store.path())).await;
    assert_eq!(decision(&mut client, REFUND).await.1, pb::Decision::Allow);
    assert!(server.is_running());
}

/// Constant writing must not keep a change from ever being seen.
#[tokio::test]
async fn a_busy_folder_is_read_all_the_same() {
    let store = store_allowing(GET);
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (stop, root) = (Arc::clone(&stop), store.path().to_owned());
        std::thread::spawn(move || {
            let began = Instant::now();
            while !stop.load(Ordering::Relaxed) && began.elapsed() < PATIENCE {
                // A dot file is not part of the store, but it wakes the watcher of the folder.
                fs::write(root.join("users/.busy"), format!("{:?}", began.elapsed())).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        })
    };
    write_by_rename(store.path(), "users/ann.json", &ann_may(REFUND));
    until_allowed(&mut client, REFUND).await;
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
}
