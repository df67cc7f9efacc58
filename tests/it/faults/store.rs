//! No content of a store and no rate of writes delays other changes or floods the log.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use iamd::service::pb;
use serde_json::Value;
use tempfile::TempDir;

use super::{GET, IN_FORCE, REFUND, ann_may, decision, grant_instead, is_complaint, served};
use crate::support::{
    Client, Server, allow, iamd, revision, run, store_allowing, until_revision, within, write,
    write_by_rename, write_store,
};

/// Returns a policy with this many statements, none of which has an effect on an answer.
fn empty_statements(n_statements: usize) -> String {
    let statements = vec!["{}"; n_statements].join(",");
    format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#)
}

#[tokio::test]
async fn a_policy_that_is_rewritten_all_the_time_keeps_no_other_change_out_of_force() {
    // Reading this many files takes longer than the pause, so no two reads in a row see the same.
    const N_FILES: usize = 3_000;
    const PAUSE: Duration = Duration::from_millis(30);
    const AT_MOST: Duration = Duration::from_secs(10);
    let store = store_allowing(GET);
    let root = store.path();
    for n in 0..N_FILES {
        let path = format!("managed-policies/p{n}.json");
        write(root, &path, &allow(&format!("app:A{n}")));
    }
    let mut server = Server::start(root);
    let mut client = server.client().await;

    let is_over = Arc::new(AtomicBool::new(false));
    let writer = tokio::task::spawn_blocking({
        let (is_over, root) = (Arc::clone(&is_over), root.to_owned());
        move || {
            let begun = Instant::now();
            let mut n_times = 0;
            while !is_over.load(Ordering::Relaxed) && begun.elapsed() < AT_MOST {
                n_times += 1;
                let text = allow(&format!("app:Time{n_times}"));
                write_by_rename(&root, "managed-policies/p7.json", &text);
                std::thread::park_timeout(PAUSE);
            }
        }
    });
    for action in [REFUND, GET, REFUND] {
        grant_instead(root, &mut server, &mut client, action).await;
    }
    assert!(!writer.is_finished(), "it wrote all the time");
    is_over.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    until_revision(&mut client, &revision(root)).await;
}

/// Returns the numbers in a line of the log, except its time.
fn numbers(mut line: Value) -> Vec<usize> {
    line.as_object_mut().unwrap().remove("timestamp");
    let text = line.to_string();
    let digits = text.split(|c: char| !c.is_ascii_digit());
    digits.filter_map(|digits| digits.parse().ok()).collect()
}

/// Asserts that the lines about `file` are at most a hundred findings, and one that counts the others.
fn assert_bounded<'l>(log: impl Iterator<Item = &'l String>, file: &str) {
    let about = log.filter(|line| line.contains(file));
    let about = about.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (findings, rest): (Vec<_>, Vec<_>) = about.partition(|line| {
        let code = line.get("code");
        code.is_some_and(|code| code != "more-findings")
    });
    let n_findings = findings.len();
    assert!(
        (1..=100).contains(&n_findings),
        "{n_findings} findings of {file}"
    );
    let [rest] = rest.as_slice() else {
        panic!("one line counts the others, and not {rest:#?}")
    };
    let numbers = numbers(rest.clone());
    assert!(numbers.iter().any(|n| *n >= 19_900), "{rest}");
}

#[tokio::test]
async fn of_20_000_mistakes_in_a_file_a_hundred_are_told_and_the_others_counted() {
    const BAD: &str = "managed-policies/bad.json";
    let (store, server, mut client) = served(&[]).await;
    let root = store.path();
    fs::create_dir(root.join("managed-policies")).unwrap();
    write_by_rename(root, BAD, &empty_statements(20_000));
    server.wait_for_log("the refusal", |line| {
        line.contains("the last good revision stays in force")
            .then_some(())
    });
    assert_bounded(server.log().iter(), BAD);

    // Another file changes and is refused too. Nothing is new about the first.
    let n_before = server.log().len();
    write_by_rename(root, "users/zed.json", "{");
    let log = within(
        IN_FORCE * 2,
        "the finding about the other file",
        async || {
            let log = server.log();
            let is_told = log.iter().any(|line| line.contains("users/zed.json"));
            is_told.then_some(log)
        },
    )
    .await;
    let again = log[n_before..].iter().filter(|line| line.contains(BAD));
    assert!(again.count() <= 1, "it was told before");

    // The file gets its old content back, which is not news either.
    let n_before = server.log().len();
    fs::remove_file(root.join("users/zed.json")).unwrap();
    write_by_rename(root, "users/ann.json", &ann_may(REFUND));
    fs::remove_file(root.join(BAD)).unwrap();
    within(IN_FORCE * 2, "the mended store", async || {
        (decision(&mut client, GET).await? == pb::Decision::Deny).then_some(())
    })
    .await;
    let again = server.log()[n_before..]
        .iter()
        .filter(|line| line.contains(BAD))
        .count();
    assert!(again <= 1, "{again} lines");
}

#[test]
fn a_start_that_fails_for_20_000_mistakes_tells_a_hundred() {
    const BAD: &str = "managed-policies/bad.json";
    let store = store_allowing(GET);
    write(store.path(), BAD, &empty_statements(20_000));
    let mut command = iamd(["serve", "--listen", "127.0.0.1:0", "--store"]);
    command.arg(store.path());
    let ended = run(command, "");
    assert_eq!(ended.status, Some(2));
    let lines: Vec<String> = ended.stderr.lines().map(str::to_owned).collect();
    assert_bounded(lines.iter(), BAD);
}

/// References are checked after all files are read, so the limit for one file's reading does not apply to them.
#[test]
fn of_150_dangling_references_of_a_file_a_hundred_are_told_and_the_others_counted() {
    let store = store_allowing(GET);
    let groups: Vec<String> = (0..150).map(|n| format!("\"group-{n}\"")).collect();
    let zed = format!(r#"{{"GroupList": [{}]}}"#, groups.join(","));
    write(store.path(), "users/zed.json", &zed);
    let mut command = iamd(["serve", "--listen", "127.0.0.1:0", "--store"]);
    command.arg(store.path());
    let ended = run(command, "");
    assert_eq!(ended.status, Some(2));
    let log = ended.stderr.lines();
    let log: Vec<Value> = log
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let about = log.iter().filter(|line| line["file"] == "users/zed.json");
    let (told, counted): (Vec<&Value>, Vec<&Value>) =
        about.partition(|line| line["finding"].is_string());
    assert_eq!(told.len(), 100);
    let [counted] = counted.as_slice() else {
        panic!("{counted:#?}")
    };
    // One of the findings is a warning about too many groups.
    assert_eq!(counted["n_more"], 51, "{counted}");
}

/// Makes the link at `link` point to `target`, in one step.
fn swap(link: &Path, target: &str) {
    let beside = link.with_extension("next");
    symlink(target, &beside).unwrap();
    fs::rename(beside, link).unwrap();
}

/// Waits until ann may do `action` and nothing else.
async fn until_only(client: &mut Client, action: &str) {
    let other = if action == GET { REFUND } else { GET };
    within(IN_FORCE, &format!("`{action}` alone"), async || {
        let is_allowed = decision(client, action).await? == pb::Decision::Allow;
        (is_allowed && decision(client, other).await? == pb::Decision::Deny).then_some(())
    })
    .await;
}

/// The link that changes is not the store's path but a link behind it.
#[tokio::test]
async fn a_swap_of_a_link_behind_a_link_is_live_at_once() {
    // The store's path, what else leads on, and the link that is swapped.
    let layouts = [
        ("policies", vec![("policies", "a"), ("a", "b")], "b", ""),
        (
            "policies",
            vec![("policies", "git/current/policies")],
            "git/current",
            "/policies",
        ),
        ("git/current/policies", vec![], "git/current", "/policies"),
    ];
    for (path, links, swapped, below) in layouts {
        let folder = TempDir::new().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("git")).unwrap();
        for (link, target) in links {
            symlink(target, root.join(link)).unwrap();
        }
        let publish = |n: usize, action: &str| {
            let beside = root.join(swapped).parent().unwrap().to_owned();
            write_store(&beside.join(format!(".tree-{n}{below}")), action);
            swap(&root.join(swapped), &format!(".tree-{n}"));
        };
        publish(0, GET);
        let server = Server::start(&root.join(path));
        let mut client = server.client().await;
        // Each swap comes right after the previous one took effect, so no poll can be due.
        for (n, action) in [REFUND, GET, REFUND, GET].into_iter().enumerate() {
            publish(n + 1, action);
            until_only(&mut client, action).await;
        }
        let log = server.log();
        let odd: Vec<_> = log.iter().filter(|line| is_complaint(line)).collect();
        assert!(odd.is_empty(), "{path}: {odd:#?}");
    }
}

/// The store is updated as git-sync does it: a tree of its own for each commit, a link that is swapped, and the old
/// tree removed.
#[tokio::test]
async fn swaps_of_a_link_warn_of_nothing_and_lose_no_watch() {
    for (n_swaps, pause) in [
        (50, Duration::from_millis(50)),
        (200, Duration::from_millis(10)),
    ] {
        let folder = TempDir::new().unwrap();
        let link = folder.path().join("current");
        let tree = |n: usize| format!(".worktrees/{n}");
        let action = |n: usize| if n.is_multiple_of(2) { GET } else { REFUND };
        let publish = |n: usize| {
            write_store(&folder.path().join(tree(n)).join("policies"), action(n));
            swap(&link, &tree(n));
        };
        publish(0);
        let root = link.join("policies");
        let mut server = Server::start(&root);
        let mut client = server.client().await;
        let mut ticks = tokio::time::interval(pause);
        for n in 1..=n_swaps {
            ticks.tick().await;
            publish(n);
            fs::remove_dir_all(folder.path().join(tree(n - 1))).unwrap();
        }
        until_only(&mut client, action(n_swaps)).await;
        // What is watched now is the last tree and the link.
        grant_instead(&root, &mut server, &mut client, action(n_swaps + 1)).await;
        publish(n_swaps + 2);
        until_only(&mut client, action(n_swaps + 2)).await;
        let log = server.log();
        let odd: Vec<_> = log.iter().filter(|line| is_complaint(line)).collect();
        assert!(odd.is_empty(), "{n_swaps} swaps: {odd:#?}");
    }
}
