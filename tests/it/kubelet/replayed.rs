//! The kubelet's steps under load. No answer comes from a mix of two versions, none from an older version than one that
//! has answered, and the last version is in force in time.
//!
//! Each version of the store has other texts in all of its files, so a mix has a revision that no version has. In each
//! round, a version is written step by step, in one of the orders in which kubelets make the steps. The server is stopped
//! before a random step and goes on before a later one, so a load meets every pair of states. Now and then the kubelet
//! ends in the middle and begins again, as one that is restarted.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use iamd::service::pb;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::Code;

use super::{Mount, NEW_ORDER, OLD_ORDER, Payload};
use crate::edits::random::Random;
use crate::hostile::library_that_refuses;
use crate::support::{
    ACCOUNT, Client, Server, Starved, allow, ann_asks, eventually, iamd, number_from_environment,
    user,
};

/// How many rounds there are in both tests together, unless `IAMD_TEST_MOUNTS` says otherwise.
const N_ROUNDS: u64 = 30;
/// One round in this many is made without file events, where each wait takes a poll.
const N_ROUNDS_PER_POLL: u64 = 5;
const N_CLIENTS: usize = 3;
/// How many users besides ann there are, so that a load takes long enough to be met by a swap.
const N_USERS: usize = 40;

/// With events, a change is in force within half a second, and its own clients add to that. Time in which the server
/// wanted a processor and got none does not count: on a machine that others keep busy it can be most of the time.
const WITH_EVENTS: Duration = Duration::from_secs(1);
/// Without events, the poll that comes every 5 s finds it.
const WITHOUT_EVENTS: Duration = Duration::from_secs(5 + 1);

const GET: &str = "orders:Get";
const REFUND: &str = "orders:Refund";

/// Returns all files of a version. Ann may do one thing in even versions, and another one in odd ones.
fn version(n: usize) -> Payload {
    let mut payload = Payload::new();
    payload.insert(
        "account.json".to_owned(),
        format!(r#"{{"AccountId": "{ACCOUNT}", "Alias": "v{n}"}}"#),
    );
    let action = if n.is_multiple_of(2) { GET } else { REFUND };
    payload.insert(
        "users/ann.json".to_owned(),
        user("ann", &allow(action)).replace("One", &format!("V{n}")),
    );
    for user in 0..N_USERS {
        payload.insert(
            format!("users/team{}/u{user}.json", user % 4),
            format!(r#"{{"CreateDate": "{n}"}}"#),
        );
    }
    // Folders come and go, so links in the root do too.
    let extra = [
        "groups/g.json",
        "managed-policies/p.json",
        "roles-of-nobody/README.md",
    ];
    for (path, is_there) in extra
        .iter()
        .zip([n.is_multiple_of(3), n % 3 == 1, n.is_multiple_of(2)])
    {
        let text = if path.starts_with("managed") {
            allow("x:Y")
        } else {
            "{}".to_owned()
        };
        if is_there {
            payload.insert((*path).to_owned(), text);
        }
    }
    payload
}

/// The versions that have been written, by revision, and how far they are in force.
#[derive(Default)]
struct Versions {
    of_revision: RwLock<HashMap<String, usize>>,
    /// A version that is in force. A call that begins now must not be answered from an older one.
    in_force: AtomicUsize,
}

impl Versions {
    /// Adds a version that is about to be written.
    fn add(&self, n: usize) -> Payload {
        let payload = version(n);
        let read = payload.iter().filter(|(path, _)| path.ends_with(".json"));
        let loaded = iamd::store::load_texts(read.map(|(path, text)| (&**path, &**text)));
        let revision = loaded.unwrap().snapshot.revision.to_string();
        let before = self.of_revision.write().unwrap().insert(revision, n);
        assert_eq!(before, None, "each version has a revision of its own");
        payload
    }

    /// Returns the version of an answer, which must be right for it.
    fn of(&self, answer: &pb::AuthorizeResponse, action: &str) -> usize {
        let known = self
            .of_revision
            .read()
            .unwrap()
            .get(&answer.revision)
            .copied();
        let n = known.unwrap_or_else(|| panic!("a mixed store: {answer:?}"));
        let is_allowed = n.is_multiple_of(2) == (action == GET);
        assert_eq!(
            answer.decision == pb::Decision::Allow as i32,
            is_allowed,
            "version {n}, {action}"
        );
        n
    }
}

struct Replay {
    random: Random,
    mount: Mount,
    server: Server,
    client: Client,
    versions: Arc<Versions>,
    last: usize,
    /// How soon a version must be in force.
    limit: Duration,
    n_stops: usize,
    n_restarts: usize,
    waits: Vec<Duration>,
}

impl Replay {
    /// Writes one version, step by step.
    async fn round(&mut self) {
        let n = self.last + 1;
        let payload = self.versions.add(n);
        let order = *self.random.one(&[NEW_ORDER, OLD_ORDER]);
        if self.random.chance(15) {
            // It ends before the swap, and another one begins from the start.
            let n_made = 1 + self.random.below(3);
            for step in order.into_iter().take(n_made) {
                self.mount.make(step, &payload);
            }
            self.mount.give_up();
            self.n_restarts += 1;
        }
        let stop = self.random.below(order.len());
        let go_on = stop + 1 + self.random.below(order.len() - stop);
        let is_stopped = self.random.chance(70);
        for (at, step) in order.into_iter().enumerate() {
            if is_stopped && at == stop {
                self.server.signal("STOP");
                self.n_stops += 1;
            }
            if is_stopped && at == go_on {
                self.server.signal("CONT");
            }
            self.mount.make(step, &payload);
            let pace = Duration::from_micros(self.random.below(6_000) as u64);
            tokio::time::sleep(pace).await;
        }
        if is_stopped && go_on == order.len() {
            self.server.signal("CONT");
        }
        self.last = n;
    }

    /// Waits until the last version is in force, which must not take longer than is promised.
    async fn settle(&mut self) {
        let begun = Instant::now();
        let starved = Starved::begin(&[self.server.id(), std::process::id()]);
        let what = format!("version {}", self.last);
        let (mut client, versions, last) = (self.client.clone(), &self.versions, self.last);
        eventually(&what, async || {
            let answer = client.authorize(ann_asks(GET)).await.ok()?.into_inner();
            (versions.of(&answer, GET) == last).then_some(())
        })
        .await;
        let took = begun.elapsed();
        let starved = starved.end();
        assert!(
            took <= self.limit + starved,
            "{what} came after {took:?}, of which {starved:?} without a processor: {:#?}",
            self.server.log()
        );
        self.waits.push(took);
        self.versions.in_force.store(self.last, Ordering::SeqCst);
    }
}

/// Asks until it is over, and returns how many answers there were.
async fn ask(mut client: Client, versions: Arc<Versions>, is_over: Arc<AtomicBool>) -> u64 {
    let (mut last, mut n_answers) = (0, 0);
    while !is_over.load(Ordering::Relaxed) {
        for action in [GET, REFUND] {
            let oldest = last.max(versions.in_force.load(Ordering::SeqCst));
            let answer = match client.authorize(ann_asks(action)).await {
                Ok(answer) => answer.into_inner(),
                // A server that is stopped for longer than a second gives no answer to what came before.
                Err(status) if status.code() == Code::DeadlineExceeded => continue,
                Err(status) => panic!("{status:?}"),
            };
            let n = versions.of(&answer, action);
            assert!(n >= oldest, "version {n} after version {oldest}");
            (last, n_answers) = (n, n_answers + 1);
        }
    }
    n_answers
}

/// Replays `n_rounds` updates against a server, and waits for the last of every few.
async fn replay(server: impl FnOnce(PathBuf) -> Server, n_rounds: u64, limit: Duration) {
    let seed = number_from_environment("IAMD_TEST_SEED", u64::from(std::process::id()));
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("policies");
    let versions = Arc::new(Versions::default());
    let mut mount = Mount::new(&root);
    mount.update(&versions.add(0));
    let server = server(root);
    let client = server.client().await;
    let (is_over, mut n_answers) = (Arc::new(AtomicBool::new(false)), 0);
    let mut clients = JoinSet::new();
    for _ in 0..N_CLIENTS {
        let client = server.client().await;
        clients.spawn(ask(client, Arc::clone(&versions), Arc::clone(&is_over)));
    }
    let mut replay = Replay {
        random: Random::new(seed),
        mount,
        server,
        client,
        versions,
        last: 0,
        limit,
        n_stops: 0,
        n_restarts: 0,
        waits: Vec::new(),
    };
    println!("IAMD_TEST_SEED={seed}: {n_rounds} rounds");
    let n_rounds_per_wait = if limit == WITH_EVENTS { 1 } else { 3 };
    for round in 1..=n_rounds {
        replay.round().await;
        if let Some(ended) = clients.try_join_next() {
            ended.expect("a client goes on asking");
        }
        // Sometimes the next update comes before this one is seen.
        if round == n_rounds || (round % n_rounds_per_wait == 0 && replay.random.chance(70)) {
            replay.settle().await;
        }
        assert!(
            replay.server.is_running(),
            "seed {seed}: {:?}",
            replay.server.log()
        );
    }
    is_over.store(true, Ordering::Relaxed);
    while let Some(asked) = clients.join_next().await {
        n_answers += asked.unwrap();
    }
    replay.waits.sort();
    println!(
        "{n_rounds} rounds, {} stops, {} kubelets that ended, {} answers; from a change to its end: median {:?}, slowest {:?}",
        replay.n_stops,
        replay.n_restarts,
        n_answers,
        replay.waits[replay.waits.len() / 2],
        replay.waits.last(),
    );
    assert!(n_answers > 10 * n_rounds, "the clients asked");
    let refused = replay.server.log();
    let refused: Vec<_> = refused
        .iter()
        .filter(|line| line.contains(": error["))
        .collect();
    assert!(
        refused.is_empty(),
        "seed {seed}: no state was refused: {refused:#?}"
    );
}

fn n_rounds() -> u64 {
    number_from_environment("IAMD_TEST_MOUNTS", N_ROUNDS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_during_a_kubelets_update_is_of_one_version() {
    let n_rounds = n_rounds() - n_rounds() / N_ROUNDS_PER_POLL;
    replay(|root| Server::start(&root), n_rounds, WITH_EVENTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_file_events_every_answer_is_of_one_version_too() {
    let beside = TempDir::new().unwrap();
    let library = library_that_refuses("inotify_init1", "EMFILE", beside.path());
    let server = |root| {
        let mut command = iamd(["serve", "--listen", "127.0.0.1:0", "--store"]);
        command.arg::<PathBuf>(root).env("LD_PRELOAD", library);
        let server = Server::spawn(command);
        server.wait_for_log("that there are no events", |line| {
            line.contains("the store cannot be watched").then_some(())
        });
        server
    };
    replay(server, n_rounds() / N_ROUNDS_PER_POLL, WITHOUT_EVENTS).await;
}
