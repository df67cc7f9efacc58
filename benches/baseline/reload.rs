//! Measures how soon a changed policy is in force while other clients keep asking.
//!
//! One file of the store is written repeatedly. Each write turns the effect of its statement round and gives it a new
//! Sid, so that every write makes a revision of its own. The right answer of each revision is computed before the run
//! on a copy of the store. Each answer of each client must be right for the revision that it names, and must never name
//! an older revision than the answer before it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use serde_json::json;

use crate::client::{Answer, Client};
use crate::figures::{Samples, head, row, time};
use crate::server::Server;
use crate::worlds::{Question, World};

const N_TRIES: usize = 50;
const N_CLIENTS: usize = 8;
/// How long the clients ask before the first write, to compare with.
const QUIET: Duration = Duration::from_secs(2);
/// A reload that takes longer fails the measurement.
const PATIENCE: Duration = Duration::from_secs(20);

/// The way in which the file is written.
#[derive(Clone, Copy)]
enum Write {
    /// To a file beside it that then takes its name, as editors do.
    Rename,
    /// Over the old content, as a shell's `>` does.
    InPlace,
}

/// The command to the clients.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Quiet,
    Writing,
    Over,
}

/// Every revision that will be in force, with its place in the sequence and whether it allows.
type Expected = HashMap<String, (usize, bool)>;

/// The results of the asking clients.
#[derive(Default)]
struct Seen {
    quiet: Samples,
    writing: Samples,
    n_failed: usize,
}

/// Prints the table.
pub fn measure(worlds: &[World]) -> anyhow::Result<()> {
    head(
        &format!("Reload ({N_TRIES} writes each, {N_CLIENTS} clients asking all the time)"),
        &[
            "store",
            "written by",
            "write to first new answer, median",
            "p99",
            "max",
            "calls",
            "failed calls",
            "p99 of a call, quiet",
            "p99, while writing",
        ],
    );
    for world in worlds {
        for (name, write) in [("rename", Write::Rename), ("in place", Write::InPlace)] {
            let (mut delays, mut seen) = one_store(world, write)?;
            let n_calls = seen.quiet.len() + seen.writing.len();
            row(&[
                world.name.clone(),
                name.to_owned(),
                time(delays.quantile(0.5)),
                time(delays.quantile(0.99)),
                time(delays.quantile(1.0)),
                n_calls.to_string(),
                seen.n_failed.to_string(),
                time(seen.quiet.quantile(0.99)),
                time(seen.writing.quantile(0.99)),
            ]);
        }
    }
    Ok(())
}

/// Returns the file of the user whose policy changes, at try number `try_number`.
fn user_file(try_number: usize) -> String {
    let effect = if is_allowed_at(try_number) {
        "Allow"
    } else {
        "Deny"
    };
    let document = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": format!("Try{try_number}"), "Effect": effect,
            "Action": "orders:Turn", "Resource": "arn:app:orders:::order/*",
        }],
    });
    let user = json!({
        "UserName": "weathercock",
        "UserPolicyList": [{"PolicyName": "turning", "PolicyDocument": document}],
    });
    format!("{user:#}\n")
}

fn is_allowed_at(try_number: usize) -> bool {
    try_number.is_multiple_of(2)
}

fn write_user(store: &Path, content: &str, how: Write) -> anyhow::Result<()> {
    let file = store.join("users/weathercock.json");
    match how {
        Write::InPlace => fs::write(file, content)?,
        Write::Rename => {
            let beside = store.join("users/.weathercock.json.tmp");
            fs::write(&beside, content)?;
            fs::rename(beside, file)?;
        }
    }
    Ok(())
}

/// Loads a copy of the store with the content of each try, to learn its revision. The effect is the one written.
fn expected_revisions(copy: &Path) -> anyhow::Result<(Expected, Vec<String>)> {
    let (mut expected, mut revisions) = (Expected::new(), Vec::new());
    for try_number in 0..=N_TRIES {
        write_user(copy, &user_file(try_number), Write::InPlace)?;
        let loaded =
            iamd::store::load(copy).map_err(|refused| anyhow!("{:?}", refused.findings))?;
        let revision = loaded.snapshot.revision.to_string();
        expected.insert(revision.clone(), (try_number, is_allowed_at(try_number)));
        revisions.push(revision);
    }
    ensure!(
        expected.len() == N_TRIES + 1,
        "each write must make a revision of its own"
    );
    Ok((expected, revisions))
}

fn one_store(world: &World, how: Write) -> anyhow::Result<(Samples, Seen)> {
    let question = Question::new(
        "the policy that turns round",
        "arn:aws:iam::111122223333:user/weathercock",
        "orders:Turn",
        "arn:app:orders:::order/1",
        is_allowed_at(0),
    );
    let copy = world.copy()?;
    fs::create_dir_all(copy.path().join("users"))?;
    let (expected, revisions) = expected_revisions(copy.path())?;
    write_user(copy.path(), &user_file(0), Write::InPlace)?;
    let server = Server::start(copy.path(), &question)?;

    let phase = Arc::new(AtomicU8::new(Phase::Quiet as u8));
    let clients = {
        let (address, phase) = (server.address.clone(), Arc::clone(&phase));
        let (question, expected) = (question.clone(), Arc::new(expected.clone()));
        thread::spawn(move || ask_all_the_time(&address, &question, &expected, &phase))
    };
    thread::sleep(QUIET);
    phase.store(Phase::Writing as u8, Ordering::Relaxed);
    let delays = write_and_poll(copy.path(), &server, &question, &revisions, how);
    phase.store(Phase::Over as u8, Ordering::Relaxed);
    let seen = clients
        .join()
        .map_err(|_| anyhow!("the asking clients panicked"))??;
    Ok((delays?, seen))
}

/// Writes each content in turn and polls until the server answers from it.
fn write_and_poll(
    store: &Path,
    server: &Server,
    question: &Question,
    revisions: &[String],
    how: Write,
) -> anyhow::Result<Samples> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut client = Client::connect(&server.address).await?;
        let mut delays = Samples::default();
        for (try_number, revision) in revisions.iter().enumerate().skip(1) {
            // The waits differ, so that the writes fall on all points of the server's polling period.
            tokio::time::sleep(Duration::from_millis(100 + (try_number as u64 * 37) % 101)).await;
            let begin = Instant::now();
            write_user(store, &user_file(try_number), how)?;
            loop {
                let answer = client.ask(question).await?;
                if answer.revision == *revision {
                    ensure!(
                        answer.is_allowed == is_allowed_at(try_number),
                        "try {try_number} got {answer:?}"
                    );
                    delays.push(begin.elapsed());
                    break;
                }
                ensure!(
                    begin.elapsed() < PATIENCE,
                    "the write of try {try_number} was not seen in {PATIENCE:?}"
                );
            }
        }
        Ok(delays)
    })
}

/// Runs all clients on this one thread, so that the server keeps a core for itself on a small machine.
fn ask_all_the_time(
    address: &str,
    question: &Question,
    expected: &Arc<Expected>,
    phase: &Arc<AtomicU8>,
) -> anyhow::Result<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut loops = tokio::task::JoinSet::new();
        for _ in 0..N_CLIENTS {
            let client = Client::connect(address).await?;
            loops.spawn(ask_until_over(
                client,
                question.clone(),
                Arc::clone(expected),
                Arc::clone(phase),
            ));
        }
        let mut all = Seen::default();
        while let Some(seen) = loops.join_next().await {
            let seen = seen??;
            all.quiet.append(seen.quiet);
            all.writing.append(seen.writing);
            all.n_failed += seen.n_failed;
        }
        Ok(all)
    })
}

async fn ask_until_over(
    mut client: Client,
    question: Question,
    expected: Arc<Expected>,
    phase: Arc<AtomicU8>,
) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    let mut newest = 0;
    loop {
        let phase = phase.load(Ordering::Relaxed);
        if phase == Phase::Over as u8 {
            return Ok(seen);
        }
        let sent = Instant::now();
        match client.ask(&question).await {
            Ok(answer) => newest = check(&answer, &expected, newest)?,
            Err(_) => seen.n_failed += 1,
        }
        let samples = if phase == Phase::Quiet as u8 {
            &mut seen.quiet
        } else {
            &mut seen.writing
        };
        samples.push(sent.elapsed());
    }
}

/// Checks one answer against the store of its own revision. Returns that revision's place in the sequence.
fn check(answer: &Answer, expected: &Expected, newest: usize) -> anyhow::Result<usize> {
    let &(place, is_allowed) = expected
        .get(&answer.revision)
        .with_context(|| format!("a revision that never was: {answer:?}"))?;
    ensure!(
        answer.is_allowed == is_allowed,
        "a wrong answer for its revision, number {place}: {answer:?}"
    );
    ensure!(
        place >= newest,
        "an answer from revision number {place} after one from number {newest}"
    );
    Ok(place)
}
