//! Edits a store at random under load. Each answer must be the engine's answer for the files of the answer's own
//! revision.
//!
//! A sequence begins with a store of about thirty entities and edits it step by step: statements, attachments, tags,
//! levels of the organization, and entities that are added, removed and renamed. Now and then an edit does not load.
//! Clients ask the real binary all the time.
//!
//! The law is exact because the test is the only writer, and every write is one atomic change (a rename, a removal, a
//! swapped link) or a plain write of JSON of which no prefix is JSON. So every state of the store can be listed,
//! including those between the files of a step that changes several. Each state is first made in a folder beside the
//! store and loaded from there, and only then made in the store. An answer must
//!
//! - name the revision of a listed state that loads, and be what the engine says about that state: decision, reason
//!   and determining statements;
//! - come from no older state than an earlier answer to the same client, or than a state known to be in force when it
//!   asked, and from no state that has not been written yet.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use iamd::engine::question::{Question, SessionFacts, Value as Given};
use iamd::engine::request::Request;
use iamd::service::pb;
use iamd::store::{self, Loaded};
use tempfile::TempDir;

use crate::support::{Client, PATIENCE, Server, errors_in, eventually};
use random::Random;
use tree::Tree;

pub mod random;
mod tree;

/// The number of sequences, unless `IAMD_TEST_EDITS` says otherwise.
const N_SEQUENCES: u64 = 20;
/// The number of sequences that run in parallel.
const N_LANES: usize = 3;
/// The number of clients that ask each server.
const N_CLIENTS: usize = 3;
const N_QUESTIONS: usize = 40;

/// How the files of a store are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    /// File by file, into the folder that is served.
    Files,
    /// All at once, by swapping `..data`.
    Mount,
    /// All at once, by swapping the link that is the store's path.
    Link,
}

/// One state of the store.
struct State {
    /// The revision; `None` if it does not load.
    loaded: Option<Loaded>,
    /// The findings of severity error, as the log shows them.
    errors: Vec<String>,
}

impl State {
    fn of(root: &Path) -> Self {
        match store::load(root) {
            Ok(loaded) => Self {
                loaded: Some(loaded),
                errors: Vec::new(),
            },
            Err(refused) => Self {
                loaded: None,
                errors: refused
                    .findings
                    .iter()
                    .filter(|finding| finding.is_error())
                    .map(ToString::to_string)
                    .collect(),
            },
        }
    }

    fn revision(&self) -> Option<&str> {
        Some(self.loaded.as_ref()?.snapshot.revision.as_str())
    }
}

/// All states of a sequence so far, in the order in which they were made.
#[derive(Default)]
struct History {
    states: RwLock<Vec<Arc<State>>>,
    /// A state known to be in force. A call that begins now must not be answered from an older one.
    in_force: AtomicUsize,
}

impl History {
    /// Adds the state of `root`, which is about to become the store's. Returns its index, and whether no earlier state
    /// has its revision.
    fn add(&self, root: &Path) -> (usize, bool) {
        let state = State::of(root);
        let mut states = self.states.write().unwrap();
        let is_new = states
            .iter()
            .all(|other| other.revision() != state.revision());
        states.push(Arc::new(state));
        (states.len() - 1, is_new)
    }

    fn state(&self, index: usize) -> Arc<State> {
        Arc::clone(&self.states.read().unwrap()[index])
    }

    /// Returns the first state from `oldest` on that has `revision`.
    fn find(&self, oldest: usize, revision: &str) -> Option<(usize, Arc<State>)> {
        let states = self.states.read().unwrap();
        let index = (oldest..states.len()).find(|at| states[*at].revision() == Some(revision))?;
        Some((index, Arc::clone(&states[index])))
    }
}

/// What all sequences together have seen.
#[derive(Default)]
struct Totals {
    answers: AtomicU64,
    allows: AtomicU64,
    states: AtomicU64,
    refused: AtomicU64,
    named: AtomicU64,
    steps: AtomicU64,
    /// How long each awaited state took, and in which sequence.
    waits: Mutex<Vec<(Duration, u64)>>,
    reasons: Mutex<BTreeSet<String>>,
    revisions: Mutex<BTreeSet<String>>,
}

#[test]
fn every_answer_under_random_edits_is_right_for_its_own_revision() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let n_sequences = number("IAMD_TEST_EDITS").unwrap_or(N_SEQUENCES);
    let seed = number("IAMD_TEST_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_secs()
    });
    println!("IAMD_TEST_SEED={seed} IAMD_TEST_EDITS={n_sequences}");
    let (totals, next, began) = (Totals::default(), AtomicU64::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..N_LANES {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= n_sequences {
                        break;
                    }
                    // A sequence is identified by its own seed. The next one begins where it would if it ran alone.
                    run_sequence(seed + n, &totals);
                }
            });
        }
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let n_revisions = totals.revisions.lock().unwrap().len();
    let reasons = totals.reasons.lock().unwrap();
    println!(
        "{n_sequences} sequences of edits in {:?}: {} steps, {} states of the store, {} of them refused ({} waited for \
         and named); {} answers checked, {} of them allow, from {n_revisions} revisions, with {} reasons: {reasons:?}",
        began.elapsed(),
        count(&totals.steps),
        count(&totals.states),
        count(&totals.refused),
        count(&totals.named),
        count(&totals.answers),
        count(&totals.allows),
        reasons.len(),
    );
    let mut waits = totals.waits.lock().unwrap();
    waits.sort();
    println!(
        "from a change to its end: median {:?}, slowest {:?} (with its seed)",
        waits[waits.len() / 2].0,
        waits.last()
    );
    assert!(
        count(&totals.answers) > n_sequences * 20,
        "the clients asked"
    );
    assert!(
        n_revisions as u64 >= n_sequences * 2,
        "the edits were served"
    );
}

fn run_sequence(seed: u64, totals: &Totals) {
    // The edits block, but the clients must go on asking.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(sequence(seed, totals));
}

/// Where a sequence's store is and how it gets there.
struct Stage {
    folder: TempDir,
    delivery: Delivery,
    /// The store's path.
    root: PathBuf,
    n_versions: usize,
}

impl Stage {
    fn new(delivery: Delivery, tree: &Tree) -> Self {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("policies");
        let mut stage = Self {
            folder,
            delivery,
            root,
            n_versions: 0,
        };
        tree.write(&stage.shadow());
        match delivery {
            Delivery::Files => tree.write(&stage.root),
            Delivery::Mount => {
                fs::create_dir(&stage.root).unwrap();
                stage.swap(tree);
            }
            Delivery::Link => stage.swap(tree),
        }
        stage
    }

    /// Returns the folder in which each state is made first.
    fn shadow(&self) -> PathBuf {
        self.folder.path().join("shadow")
    }

    /// Publishes the whole of `tree` at once.
    fn swap(&mut self, tree: &Tree) {
        let name = format!("..v{}", self.n_versions);
        self.n_versions += 1;
        let (below, link) = match self.delivery {
            Delivery::Mount => (self.root.clone(), self.root.join("..data")),
            _ => (self.folder.path().to_owned(), self.root.clone()),
        };
        tree.write(&below.join(&name));
        let old = fs::read_link(&link);
        symlink(&name, below.join("next_tmp")).unwrap();
        fs::rename(below.join("next_tmp"), &link).unwrap();
        if let Ok(old) = old {
            fs::remove_dir_all(below.join(old)).unwrap();
        }
    }
}

async fn sequence(seed: u64, totals: &Totals) {
    let mut random = Random::new(seed);
    let delivery = *random.one(&[
        Delivery::Files,
        Delivery::Files,
        Delivery::Mount,
        Delivery::Link,
    ]);
    let mut tree = Tree::first(&mut random);
    let mut stage = Stage::new(delivery, &tree);
    let history = Arc::new(History::default());
    history.add(&stage.shadow());
    let first = history.state(0);
    assert_eq!(first.errors, Vec::<String>::new(), "seed {seed}");

    let mut server = Server::start(&stage.root);
    let mut watcher = server.client().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..N_CLIENTS {
        let asker = Asker {
            client: server.client().await,
            random: Random::new(seed ^ (number as u64 + 1) << 32),
            history: Arc::clone(&history),
            stop: Arc::clone(&stop),
            seed,
        };
        clients.spawn(asker.run());
    }

    let mut good = tree.clone();
    let n_steps = 6 + random.below(6);
    for step in 0..=n_steps {
        let is_last = step == n_steps;
        let is_good = history
            .states
            .read()
            .unwrap()
            .last()
            .unwrap()
            .loaded
            .is_some();
        let next = if is_last {
            good.touched()
        } else if !is_good && random.chance(70) {
            good.clone() // mended
        } else {
            tree.edited(&mut random)
        };
        let (last, is_new) = deliver(&mut stage, &history, &tree, &next, &mut random).await;
        tree = next;
        let state = history.state(last);
        if state.loaded.is_some() {
            good = tree.clone();
        }
        if is_last || random.chance(60) {
            let began = Instant::now();
            settle(&server, &mut watcher, &history, last, is_new, seed).await;
            totals.waits.lock().unwrap().push((began.elapsed(), seed));
            if state.loaded.is_none() {
                totals.named.fetch_add(1, Ordering::Relaxed);
            }
        } else {
            tokio::time::sleep(Duration::from_millis(random.below(40) as u64)).await;
        }
        totals.steps.fetch_add(1, Ordering::Relaxed);
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(seen) = clients.join_next().await {
        let seen = seen.unwrap();
        totals.answers.fetch_add(seen.n_answers, Ordering::Relaxed);
        totals.allows.fetch_add(seen.n_allows, Ordering::Relaxed);
        totals.reasons.lock().unwrap().extend(seen.reasons);
        totals.revisions.lock().unwrap().extend(seen.revisions);
    }
    assert!(server.is_running(), "seed {seed}");
    let log = server.log().join("\n");
    assert!(!log.contains("internal error"), "seed {seed}:\n{log}");
    let states = history.states.read().unwrap();
    let n_refused = states.iter().filter(|state| state.loaded.is_none()).count();
    totals
        .states
        .fetch_add(states.len() as u64, Ordering::Relaxed);
    totals
        .refused
        .fetch_add(n_refused as u64, Ordering::Relaxed);
}

/// Changes the store from `tree` to `next`. Each state is added to the history before it exists.
async fn deliver(
    stage: &mut Stage,
    history: &History,
    tree: &Tree,
    next: &Tree,
    random: &mut Random,
) -> (usize, bool) {
    let changes = tree.changes_to(next, random);
    let shadow = stage.shadow();
    if stage.delivery != Delivery::Files {
        for change in &changes {
            change.make(&shadow);
        }
        let added = history.add(&shadow);
        stage.swap(next);
        return added;
    }
    let mut added = (history.states.read().unwrap().len() - 1, false);
    for change in &changes {
        change.make(&shadow);
        added = history.add(&shadow);
        change.make(&stage.root);
        if random.chance(30) {
            tokio::time::sleep(Duration::from_millis(random.below(25) as u64)).await;
        }
    }
    added
}

/// Waits until state `index`, which the store has by now, is in force, or refused with every finding named.
async fn settle(
    server: &Server,
    watcher: &mut Client,
    history: &History,
    index: usize,
    is_new: bool,
    seed: u64,
) {
    let state = history.state(index);
    let Some(revision) = state.revision() else {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = server.log();
            let named = errors_in(log.iter().map(String::as_str));
            if state.errors.iter().all(|error| named.contains(error)) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "seed {seed}: not named: {:#?}\n{}",
                state.errors,
                log.join("\n")
            );
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    eventually(&format!("seed {seed}: revision {revision}"), async || {
        let answer = watcher.authorize(question(0, 0, 0, 0)).await;
        let answer = answer.expect("no call fails").into_inner();
        (answer.revision == revision).then_some(())
    })
    .await;
    if is_new {
        // An older state with this revision might be the one that answers. A new revision leaves no doubt.
        history.in_force.store(index, Ordering::SeqCst);
    }
}

const PRINCIPALS: [&str; 12] = [
    "arn:aws:iam::111111111111:user/ann",
    "arn:aws:iam::111111111111:user/eng/bob",
    "arn:aws:iam::111111111111:user/cyd",
    "arn:aws:iam::111111111111:user/new",
    "arn:aws:iam::111111111111:role/clerk",
    "arn:aws:sts::111111111111:assumed-role/clerk/s1",
    "arn:aws:sts::111111111111:assumed-role/auditor/s2",
    "arn:aws:iam::222222222222:user/zoe",
    "arn:aws:iam::333333333333:user/zed",
    "arn:aws:iam::111111111111:root",
    "jobs.shop.internal",
    "*",
];
const ACTIONS: [&str; 5] = [
    "orders:Get",
    "orders:Put",
    "orders:Refund",
    "invoices:Get",
    "sts:AssumeRole",
];
const RESOURCES: [&str; 6] = [
    "arn:app:orders:::order/1",
    "arn:app:orders:::vip/1",
    "arn:app:orders::111111111111:order/2",
    "arn:app:invoices::222222222222:invoice/1",
    "arn:aws:iam::111111111111:role/clerk",
    "arn:app:orders:::home/ann",
];

/// Returns the question with these indexes, which may be any numbers.
fn question(
    principal: usize,
    action: usize,
    resource: usize,
    context: usize,
) -> pb::AuthorizeRequest {
    let principal = PRINCIPALS[principal % PRINCIPALS.len()];
    let is_session = principal.contains("assumed-role");
    pb::AuthorizeRequest {
        principal: principal.to_owned(),
        action: ACTIONS[action % ACTIONS.len()].to_owned(),
        resource: RESOURCES[resource % RESOURCES.len()].to_owned(),
        context: ["low", "high"]
            .get(context % 3)
            .map(|kind| pb::authorize_request::ContextEntry {
                key: "app:kind".to_owned(),
                value: Some(prost_types::Value {
                    kind: Some(prost_types::value::Kind::StringValue((*kind).to_owned())),
                }),
            })
            .into_iter()
            .collect(),
        session: (is_session && context % 2 == 1).then(|| pb::SessionContext {
            policies: vec![crate::support::allow("orders:*")],
            source_identity: "ann".to_owned(),
            ..pb::SessionContext::default()
        }),
        request_id: format!("{action}-{resource}"),
        ..pb::AuthorizeRequest::default()
    }
}

/// Returns what the engine says about `question` in `loaded`, in the form of an answer.
fn expected(loaded: &Loaded, question: &pb::AuthorizeRequest) -> pb::AuthorizeResponse {
    let context = question.context.iter().filter_map(|entry| {
        let Some(prost_types::value::Kind::StringValue(text)) = &entry.value.as_ref()?.kind else {
            return None;
        };
        Some((entry.key.as_str(), Given::Text(text)))
    });
    let session = question.session.as_ref().map(|session| SessionFacts {
        policies: session.policies.iter().map(String::as_str).collect(),
        source_identity: &session.source_identity,
        ..SessionFacts::default()
    });
    let asked = Question {
        principal: &question.principal,
        action: &question.action,
        resource: &question.resource,
        context: context.collect(),
        session: session.map(Box::new),
        ..Question::default()
    };
    let request = Request::parse(&asked, jiff::Timestamp::now()).unwrap();
    let decision = iamd::engine::authorize(&loaded.snapshot, &request).unwrap();
    let types = |wanted: iamd::language::document::PolicyType| {
        use iamd::language::document::PolicyType as Ours;
        use pb::PolicyType as Wire;
        let wire = match wanted {
            Ours::Identity => Wire::Identity,
            Ours::Resource => Wire::Resource,
            Ours::PermissionsBoundary => Wire::PermissionsBoundary,
            Ours::Session => Wire::Session,
            Ours::ServiceControl => Wire::ServiceControl,
            Ours::ResourceControl => Wire::ResourceControl,
            Ours::Trust => Wire::Trust,
        };
        wire.into()
    };
    pb::AuthorizeResponse {
        decision: if decision.is_allowed() {
            pb::Decision::Allow.into()
        } else {
            pb::Decision::Deny.into()
        },
        reason: decision.reason() as i32,
        determining_statements: decision
            .determining()
            .iter()
            .map(|statement| pb::StatementRef {
                policy: statement.policy.name.to_string(),
                sid: statement.sid().to_owned(),
                index: u32::try_from(statement.index).unwrap(),
                r#type: types(statement.policy.policy_type),
                file: statement.policy.file.to_string(),
            })
            .collect(),
        revision: loaded.snapshot.revision.to_string(),
        request_id: question.request_id.clone(),
        decision_id: String::new(),
    }
}

/// A client that asks until it is told to stop.
struct Asker {
    client: Client,
    random: Random,
    history: Arc<History>,
    stop: Arc<AtomicBool>,
    seed: u64,
}

/// What one client has seen.
#[derive(Default)]
struct Seen {
    n_answers: u64,
    n_allows: u64,
    reasons: BTreeSet<String>,
    revisions: BTreeSet<String>,
}

impl Asker {
    async fn run(mut self) -> Seen {
        let mut seen = Seen::default();
        let mut oldest = 0;
        let questions: Vec<_> = (0..N_QUESTIONS)
            .map(|_| {
                let mut any = || self.random.below(1_000);
                question(any(), any(), any(), any())
            })
            .collect();
        while !self.stop.load(Ordering::Relaxed) {
            if self.random.chance(50) {
                // The client asks in bursts with pauses. Otherwise the machine would have no time for the edits.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let question = self.random.one(&questions).clone();
            oldest = oldest.max(self.history.in_force.load(Ordering::SeqCst));
            let answer = self.client.authorize(question.clone()).await;
            let answer = answer.unwrap_or_else(|status| panic!("seed {}: {status}", self.seed));
            let answer = answer.into_inner();
            let Some((at, state)) = self.history.find(oldest, &answer.revision) else {
                let older = self.history.find(0, &answer.revision).map(|(at, _)| at);
                panic!(
                    "seed {}: an answer from revision {}, which is state {older:?}, when {oldest} was the oldest \
                     that could answer",
                    self.seed, answer.revision
                );
            };
            oldest = at;
            let right = expected(state.loaded.as_ref().unwrap(), &question);
            assert_eq!(answer, right, "seed {}: {question:?}", self.seed);
            seen.n_answers += 1;
            seen.n_allows += u64::from(answer.decision() == pb::Decision::Allow);
            let reason = answer.reason().as_str_name().trim_start_matches("REASON_");
            if !seen.reasons.contains(reason) {
                seen.reasons.insert(reason.to_owned());
            }
            if !seen.revisions.contains(&answer.revision) {
                seen.revisions.insert(answer.revision);
            }
        }
        seen
    }
}
