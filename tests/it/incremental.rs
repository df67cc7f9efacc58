//! A store that is loaded again and again must give what it would give if it were loaded for the first time.
//!
//! A sequence begins with a random store and edits it file by file. Documents, attachments, tags and names change to
//! those of another random store, files are added and removed, and now and then a file is not JSON. After each edit,
//! the loader that has seen the whole sequence and a loader that has seen nothing must agree on the revision, on every
//! finding, on the counts and on the answers, of cold and of warm tables. The snapshot before the edit must still
//! answer as it did.
//!
//! `tests/README.md` says how to run a hundred thousand sequences and a long storm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use iamd::compile::snapshot::Snapshot;
use iamd::engine::cache::{Caching, Mode};
use iamd::engine::decision::Decision;
use iamd::engine::live::Live;
use iamd::language::finding::Finding;
use iamd::store::{Loaded, Loader, Refused};
use serde_json::{Value as Json, json};

use crate::laws::{ask, to_request};
use crate::oracle::question::Question;
use crate::support::number_from_environment;
use crate::worlds::{self, Random, World};

mod many;
mod patched;

/// Without optimization they take ten times as long.
const N_SEQUENCES: u64 = if cfg!(debug_assertions) { 60 } else { 300 };
const N_EDITS: usize = 5;
/// This many sequences begin with the same worlds and take their changes from them.
const N_SEQUENCES_PER_POOL: u64 = 64;
const N_WORLDS_PER_POOL: usize = 8;
const N_QUESTIONS: usize = 6;
const N_THREADS: u64 = 2;
/// A long run prints its progress after this many sequences.
const N_BETWEEN_WORDS: u64 = 10 * 1_024;
/// The number of snapshots that the storm publishes.
const N_PUBLISHED: u64 = 300;
/// The number of snapshots in the storm whose stores are loaded from files.
const N_FROM_FILES: u64 = 100;

type Files = BTreeMap<String, String>;

/// How many edits had which effect.
#[derive(Debug, Default)]
struct Tally {
    n_edits: u64,
    n_patched: u64,
    n_refused: u64,
    /// The number of edits whose load was compared with a full load.
    n_answers: u64,
}

fn load(loader: &mut Loader, files: &Files) -> Result<Loaded, Refused> {
    loader.load_texts(
        files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str())),
    )
}

/// Returns everything that can be seen of a load: the revision and the counts, or nothing, and the findings.
fn seen(loaded: &Result<Loaded, Refused>) -> (Option<(String, [usize; 3])>, &[Finding]) {
    match loaded {
        Ok(loaded) => {
            let counts = [loaded.n_files, loaded.n_statements, loaded.n_principals];
            let revision = loaded.snapshot.revision.to_string();
            (Some((revision, counts)), &loaded.findings)
        }
        Err(refused) => (None, &refused.findings),
    }
}

fn answer(snapshot: &Snapshot, question: &Question) -> String {
    told(ask(snapshot, question))
}

/// Returns the reason and the determining statements.
fn told(decided: Result<Decision, String>) -> String {
    match decided {
        Ok(decision) => {
            let settled: Vec<String> = decision
                .determining()
                .iter()
                .map(|statement| format!("{} #{}", statement.policy.name, statement.index))
                .collect();
            format!("{} {settled:?}", decision.reason().label())
        }
        Err(error) => error,
    }
}

/// Returns the answers of new tables, and those of tables that were used before.
fn answers(snapshot: &Snapshot, questions: &[Question]) -> [Vec<String>; 2] {
    let all = || -> Vec<String> {
        let answers = questions.iter().map(|question| answer(snapshot, question));
        answers.collect()
    };
    let cold = all();
    all();
    [cold, all()]
}

/// Returns the policies that hints, lists and the decision log read, with what they speak of. A policy that was taken away is not
/// among them, although the tables of a patched snapshot may still have it.
fn policies(snapshot: &Snapshot) -> BTreeSet<String> {
    let policies = snapshot.policies();
    policies
        .map(|policy| {
            let statements = policy.statements.iter();
            let spoken: Vec<_> = statements
                .map(|one| {
                    let keys = one.conditions.iter().map(|condition| &condition.key);
                    (&one.actions, keys.collect::<Vec<_>>())
                })
                .collect();
            format!("{} {:?} {spoken:?}", policy.name, policy.policy_type)
        })
        .collect()
}

/// The files of a store that is being edited.
struct Edited {
    files: BTreeMap<String, Json>,
    texts: Files,
    /// The files changed since the last [`Self::keep`], as they were before.
    before: Vec<(String, Option<Json>)>,
    /// The files that have another text until the next edit.
    passing: Vec<String>,
}

impl Edited {
    fn of(world: &World) -> Self {
        Self {
            files: world.files.clone(),
            texts: world.texts(),
            before: Vec::new(),
            passing: Vec::new(),
        }
    }

    fn put(&mut self, path: &str, json: Option<Json>) {
        match &json {
            Some(json) => self.texts.insert(path.to_owned(), format!("{json:#}")),
            None => self.texts.remove(path),
        };
        let before = match json {
            Some(json) => self.files.insert(path.to_owned(), json),
            None => self.files.remove(path),
        };
        self.before.push((path.to_owned(), before));
    }

    /// Makes the edits so far permanent.
    fn keep(&mut self) {
        self.before.clear();
    }

    /// Undoes the edits since the last [`Self::keep`].
    fn undo(&mut self) {
        while let Some((path, json)) = self.before.pop() {
            self.put(&path, json);
            self.before.pop();
        }
    }

    /// Restores the temporary texts.
    fn mend(&mut self) {
        for path in std::mem::take(&mut self.passing) {
            match self.files.get(&path) {
                Some(json) => self.texts.insert(path, json.to_string()),
                None => self.texts.remove(&path),
            };
        }
    }

    /// Makes one edit. A file becomes, in whole or in one member, what it is in one of `others`, or has another text
    /// until the next edit.
    fn edit(&mut self, others: &[World], random: &mut Random) {
        let other = random.pick(others);
        let at = random.below(other.files.len());
        let (path, new) = other.files.iter().nth(at).unwrap();
        match random.below(100) {
            0..4 => self.put(path, None),
            4..20 => self.put(path, Some(new.clone())),
            20..24 => self.pass(path, "{".to_owned()),
            24..30 => {
                // The text changes but not the meaning: places move.
                if let Some(json) = self.files.get(path) {
                    let text = worlds::permuted(json, random);
                    self.pass(path, text);
                }
            }
            _ => {
                let Some(Json::Object(old)) = self.files.get(path) else {
                    return;
                };
                let Json::Object(new) = new else {
                    return;
                };
                let is_name = |member: &str| ["UserId", "RoleId", "Path"].contains(&member);
                let members: Vec<&String> = new.keys().filter(|member| !is_name(member)).collect();
                if members.is_empty() {
                    return;
                }
                let member = *random.pick(&members);
                let mut edited = old.clone();
                edited.insert(member.clone(), new[member].clone());
                self.put(path, Some(Json::Object(edited)));
            }
        }
    }

    fn pass(&mut self, path: &str, text: String) {
        self.texts.insert(path.to_owned(), text);
        self.passing.push(path.to_owned());
    }
}

/// Returns the worlds from which the sequence of this seed and its neighbors take their stores.
fn pool(seed: u64) -> Vec<World> {
    let mut random = Random::new(seed / N_SEQUENCES_PER_POOL);
    let world = |_| {
        let world = worlds::world(&mut random);
        match random.chance(25) {
            true => world,
            false => without_others(&world).unwrap_or(world),
        }
    };
    (0..N_WORLDS_PER_POOL).map(world).collect()
}

/// Returns `world` with its other accounts emptied, if it still loads. Most of the time of a sequence goes into reading
/// all files from nothing after each edit.
fn without_others(world: &World) -> Option<World> {
    let mut world = world.clone();
    world.files.retain(|path, _| {
        let is_kept = path.ends_with("/account.json") || path.starts_with("accounts/aws/");
        is_kept || !path.starts_with("accounts/")
    });
    for arns in [&mut world.users, &mut world.roles, &mut world.managed] {
        arns.retain(|arn| !arn.contains(worlds::B) && !arn.contains(worlds::M));
    }
    load(&mut Loader::new(), &world.texts()).ok()?;
    Some(world)
}

/// Runs one sequence. Panics with its seed if the law does not hold.
fn run(seed: u64, pool: &[World], tally: &mut Tally) {
    let mut random = Random::new(seed);
    let first = random.pick(pool);
    let mut store = Edited::of(first);
    let mut loader = Loader::new();
    load(&mut loader, &store.texts).unwrap_or_else(|refused| panic!("{:#?}", refused.findings));
    let mut before: Option<(Snapshot, Vec<Question>, Vec<String>)> = None;
    for number in 0..N_EDITS {
        let place = format!("seed {seed}, edit {number}");
        store.mend();
        for _ in 0..=random.below(2) {
            store.edit(pool, &mut random);
        }
        let incremental = load(&mut loader, &store.texts);
        let whole = load(&mut Loader::new(), &store.texts);
        assert_eq!(seen(&incremental), seen(&whole), "{place}");
        if let Some((snapshot, questions, expected)) = &before {
            for (question, expected) in questions.iter().zip(expected) {
                let found = answer(snapshot, question);
                assert_eq!(&found, expected, "{place}: the snapshot before");
            }
        }
        tally.n_edits += 1;
        let (Ok(incremental), Ok(whole)) = (incremental, whole) else {
            tally.n_refused += 1;
            // A store that does not load seldom recovers on its own.
            if random.chance(80) {
                store.undo();
            }
            continue;
        };
        store.keep();
        tally.n_patched += u64::from(incremental.is_patched);
        let found = policies(&incremental.snapshot);
        assert_eq!(found, policies(&whole.snapshot), "{place}");
        let questions: Vec<Question> = (0..N_QUESTIONS)
            .map(|_| worlds::question(&mut random, first))
            .collect();
        let expected: Vec<String> = questions
            .iter()
            .map(|question| answer(&whole.snapshot, question))
            .collect();
        tally.n_answers += 3 * N_QUESTIONS as u64;
        let [cold, warm] = answers(&incremental.snapshot, &questions);
        assert_eq!(cold, expected, "{place}: {questions:#?}");
        assert_eq!(warm, expected, "{place}, asked before: {questions:#?}");
        before = Some((incremental.snapshot, questions, expected));
    }
}

#[test]
fn an_incremental_load_says_what_a_whole_one_says() {
    let n_sequences = number_from_environment("IAMD_INCREMENTAL_SEQUENCES", N_SEQUENCES);
    let first = number_from_environment("IAMD_INCREMENTAL_SEED", 1);
    let n_threads = number_from_environment("IAMD_INCREMENTAL_THREADS", N_THREADS);
    let (next, began) = (AtomicU64::new(0), Instant::now());
    let tallies = thread::scope(|scope| {
        let work = || {
            let mut tally = Tally::default();
            // Seeds that count up from one number do not overlap with those from the next number.
            let seed = |index: u64| match first >> 40 {
                0 => (first << 40) + index,
                // This is the seed of one sequence.
                _ => first + index,
            };
            loop {
                let begin = next.fetch_add(N_SEQUENCES_PER_POOL, Ordering::Relaxed);
                if begin >= n_sequences {
                    return tally;
                }
                if begin > 0 && begin.is_multiple_of(N_BETWEEN_WORDS) {
                    println!("{begin} sequences in {:?}", began.elapsed());
                }
                let pool = pool(seed(begin));
                for index in begin..n_sequences.min(begin + N_SEQUENCES_PER_POOL) {
                    run(seed(index), &pool, &mut tally);
                }
            }
        };
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Tally>| thread.join().unwrap();
        threads.into_iter().map(join).collect::<Vec<_>>()
    });
    let sum = |count: fn(&Tally) -> u64| tallies.iter().map(count).sum::<u64>();
    let n_edits = sum(|tally| tally.n_edits);
    let (n_patched, n_refused) = (sum(|tally| tally.n_patched), sum(|tally| tally.n_refused));
    println!(
        "{n_sequences} sequences in {:?}, {n_edits} edits: {n_patched} patched, {n_refused} refused, the others compiled \
         as a whole; {} answers compared",
        began.elapsed(),
        sum(|tally| tally.n_answers),
    );
    if n_sequences < 40 {
        return; // a few edits may well be all of one kind
    }
    assert!(
        n_patched * 100 >= n_edits * 25,
        "too few edits take the short way"
    );
    assert!(n_refused * 100 >= n_edits, "too few stores do not load");
    let n_whole = n_edits - n_patched - n_refused;
    assert!(
        n_whole * 100 >= n_edits * 5,
        "too few edits take the long way"
    );
}

/// Returns a store for `n`: ann may do the action of that number, by each kind of policy that can be patched.
fn numbered(n: u64) -> Files {
    let document = |effect: &str, action: String| json!({"Version": "2012-10-17", "Statement": [{"Sid": format!("S{n}"), "Effect": effect, "Action": action, "Resource": "*"}]});
    let action = |part: u64| format!("orders:Do{}", (n + part) % 4);
    let attached = json!([{"PolicyName": "m", "PolicyArn": "arn:aws:iam::111122223333:policy/m"}]);
    let ann = json!({
        "UserPolicyList": [{"PolicyName": "p", "PolicyDocument": document("Allow", action(0))}],
        "AttachedManagedPolicies": if n % 8 < 4 { attached } else { json!([]) },
    });
    [
        ("account.json", json!({"AccountId": "111122223333"})),
        ("users/ann.json", ann),
        ("managed-policies/m.json", document("Allow", action(1))),
        (
            "users/bob.json",
            json!({"Tags": [{"Key": "n", "Value": (n / 16).to_string()}]}),
        ),
    ]
    .into_iter()
    .map(|(path, json)| (path.to_owned(), json.to_string()))
    .collect()
}

/// Returns what each of some stores answers, by revision, and the number of the first store.
fn expected(n_stores: u64, questions: &[Question]) -> BTreeMap<String, (u64, Vec<String>)> {
    let of = |n: u64| {
        let loaded = load(&mut Loader::new(), &numbered(n))
            .unwrap_or_else(|refused| panic!("{:?}", refused.findings));
        let answers = questions
            .iter()
            .map(|question| answer(&loaded.snapshot, question));
        (loaded.snapshot.revision.to_string(), (n, answers.collect()))
    };
    let all: BTreeMap<_, _> = (0..n_stores).map(of).collect();
    assert_eq!(all.len() as u64, n_stores, "each has its own revision");
    all
}

/// Asks the generation in force until told to stop. Returns the number of answers.
///
/// The stores are published in turn, `n_stores` of them, and `publishing` is the number of the one that is about to be
/// published. An answer of store `n` may come from that publication or from the same store one or more turns before.
/// Its age is known as long as publications do not get a whole turn ahead between two looks, which the publishing
/// thread ensures.
fn read_on(
    reader: &Reader<'_>,
    questions: &[Question],
    expected: &BTreeMap<String, (u64, Vec<String>)>,
) -> u64 {
    let (mut turn, mut n_answers, mut newest) = (0, 0, 0);
    while !reader.stop.load(Ordering::Relaxed) {
        // The publication that was in force before the look at the generation. No older one may be seen.
        let oldest = reader.in_force.load(Ordering::Acquire).max(newest);
        let generation = reader.live.load();
        let Some(generation) = generation.as_ref() else {
            thread::yield_now();
            continue;
        };
        let latest = reader.publishing.load(Ordering::Acquire);
        let at = turn % questions.len();
        let found = generation.authorize(&to_request(&questions[at]).unwrap());
        let found = told(found.map_err(|error| error.to_string()));
        let revision = generation.snapshot.revision.as_str();
        let (store, answers) = &expected[revision];
        if found != answers[at] {
            reader.stop.store(true, Ordering::Relaxed);
            panic!("{revision}: {found}, and not {}", answers[at]);
        }
        // The publication that the answer belongs to: the only one of this store from the oldest allowed on.
        let n_stores = expected.len() as u64;
        let publication = oldest + (store + n_stores - oldest % n_stores) % n_stores;
        if publication > latest {
            reader.stop.store(true, Ordering::Relaxed);
            panic!("store {store} is older than publication {oldest}, the latest is {latest}");
        }
        newest = publication;
        reader.seen.store(newest, Ordering::Release);
        n_answers += 1;
        turn += 1;
    }
    n_answers
}

/// The state that one reading thread of a storm shares with the publishing thread.
struct Reader<'s> {
    live: &'s Live,
    stop: &'s AtomicBool,
    publishing: &'s AtomicU64,
    in_force: &'s AtomicU64,
    /// The newest publication that the thread has seen.
    seen: &'s AtomicU64,
}

/// Publishes what `next` loads, `n_published` times, while three threads ask. Each answer is checked at the revision of
/// the snapshot that gave it. No answer may come from an older snapshot than was in force before, or than the same
/// thread has seen. Returns how many of the loads were patched.
fn storm(n_published: u64, n_stores: u64, mut next: impl FnMut(u64) -> Loaded) -> u64 {
    let question = |number: u64| Question {
        principal: "arn:aws:iam::111122223333:user/ann".to_owned(),
        action: format!("orders:Do{number}"),
        resource: "arn:app:orders:::order/1".to_owned(),
        at: 1_717_200_000,
        ..Question::default()
    };
    let questions: Vec<Question> = (0..4).map(question).collect();
    let expected = expected(n_stores, &questions);
    let live = Live::new(Caching::new(Mode::Always, 1 << 20, 1));
    let (stop, began) = (AtomicBool::new(false), Instant::now());
    let (publishing, in_force) = (AtomicU64::new(0), AtomicU64::new(0));
    let seen: [AtomicU64; 3] = Default::default();
    let (n_patched, n_answers) = thread::scope(|scope| {
        let readers: Vec<_> = seen
            .iter()
            .map(|seen| {
                let reader = Reader {
                    live: &live,
                    stop: &stop,
                    publishing: &publishing,
                    in_force: &in_force,
                    seen,
                };
                let (questions, expected) = (&questions, &expected);
                scope.spawn(move || read_on(&reader, questions, expected))
            })
            .collect();
        let mut n_patched = 0;
        for n in 0..n_published {
            // A turn later a reader could not tell one publication from the next of the same store. Readers may be late
            // on a busy machine, so the publisher sometimes waits for them.
            let bound = n.saturating_sub(n_stores / 2 + 1);
            let is_behind = || seen.iter().any(|seen| seen.load(Ordering::Acquire) < bound);
            while is_behind() && !stop.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let loaded = next(n);
            n_patched += u64::from(loaded.is_patched);
            publishing.store(n, Ordering::Release);
            live.publish(loaded.snapshot);
            in_force.store(n, Ordering::Release);
        }
        stop.store(true, Ordering::Relaxed);
        let readers = readers.into_iter();
        let n_answers: u64 = readers.map(|reader| reader.join().unwrap()).sum();
        (n_patched, n_answers)
    });
    println!(
        "{n_published} snapshots in {:?}, {n_patched} of them patched; {n_answers} answers, each right for its revision, \
         and none of an older one",
        began.elapsed()
    );
    assert!(n_answers > 0);
    n_patched
}

/// Loads from texts, as fast as possible.
#[test]
fn every_answer_of_a_storm_of_reloads_is_that_of_its_revision() {
    let n_published = number_from_environment("IAMD_INCREMENTAL_STORM", N_PUBLISHED);
    let n_stores = 64.min(n_published);
    let mut loader = Loader::new();
    let n_patched = storm(n_published, n_stores, |n| {
        load(&mut loader, &numbered(n % n_stores))
            .unwrap_or_else(|refused| panic!("{:?}", refused.findings))
    });
    assert!(
        n_patched + 1 >= n_published,
        "all but the first are patched"
    );
}

/// Loads from files that are written between two loads, with any timestamps.
#[test]
fn every_answer_of_a_storm_of_changed_files_is_that_of_its_revision() {
    let n_published = number_from_environment("IAMD_INCREMENTAL_FILE_STORM", N_FROM_FILES);
    let n_stores = 64.min(n_published);
    let folder = tempfile::TempDir::new().unwrap();
    let mut loader = Loader::new();
    let mut written = Files::new();
    let n_patched = storm(n_published, n_stores, |n| {
        let files = numbered(n % n_stores);
        for (path, text) in &files {
            if written.get(path) == Some(text) {
                continue;
            }
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            if n % 2 == 0 {
                std::fs::write(path, text).unwrap();
            } else {
                let beside = path.with_extension("json.tmp");
                std::fs::write(&beside, text).unwrap();
                std::fs::rename(beside, path).unwrap();
            }
        }
        written = files;
        loader
            .load(folder.path())
            .unwrap_or_else(|refused| panic!("{:?}", refused.findings))
    });
    assert!(
        n_patched + 1 >= n_published,
        "all but the first are patched"
    );
}
