//! A store that is loaded again and again says what it would say if it were loaded for the first time.
//!
//! A sequence begins with a random store and edits it file by file: documents, attachments, tags and names change as
//! those of another random store have them, files come and go, and now and then one is no JSON. After each edit, the
//! loader that has seen the whole sequence and a loader that has seen nothing must agree: on the revision, on every
//! finding, on the counts and on the answers, of cold and of warm tables. And the snapshot of the edit before still
//! answers as it did.
//!
//! A hundred thousand sequences: `IAMD_INCREMENTAL_SEQUENCES=100000 cargo test --profile fast --test it incremental`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use iamd::compile::snapshot::Snapshot;
use iamd::engine::live::Live;
use iamd::language::finding::Finding;
use iamd::store::{self, Loaded, Loader, Refused};
use serde_json::{Value as Json, json};

use crate::laws::ask;
use crate::oracle::question::Question;
use crate::support::number_from_environment;
use crate::worlds::{self, Random, World};

mod many;
mod patched;

/// Without optimisation they take ten times as long.
const N_SEQUENCES: u64 = if cfg!(debug_assertions) { 60 } else { 300 };
const N_EDITS: usize = 12;
const N_QUESTIONS: usize = 6;
const N_THREADS: u64 = 2;
/// How many snapshots the storm publishes.
const N_PUBLISHED: u64 = 300;

type Files = BTreeMap<String, String>;

/// How often edits did what.
#[derive(Debug, Default)]
struct Tally {
    n_edits: u64,
    n_patched: u64,
    n_refused: u64,
}

fn load(loader: &mut Loader, files: &Files) -> Result<Loaded, Refused> {
    loader.load_texts(
        files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str())),
    )
}

/// All that can be seen of a load: revision and counts, or nothing, and the findings.
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

/// The reason, and the statements that settled it.
fn answer(snapshot: &Snapshot, question: &Question) -> String {
    match ask(snapshot, question) {
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

/// The first answer, and the one of tables that have been asked before.
fn answers(snapshot: &Snapshot, questions: &[Question]) -> Vec<[String; 2]> {
    let both = |question: &Question| {
        let cold = answer(snapshot, question);
        answer(snapshot, question);
        [cold, answer(snapshot, question)]
    };
    questions.iter().map(both).collect()
}

/// One edit: a file becomes, in whole or in one of its members, what it is in one of `others`. Gives a file that has
/// another text until the next edit.
fn edit(
    files: &mut BTreeMap<String, Json>,
    others: &[World],
    random: &mut Random,
) -> Option<(String, String)> {
    let other = random.pick(others);
    let paths: Vec<&String> = other.files.keys().collect();
    let path = (*random.pick(&paths)).clone();
    let new = &other.files[&path];
    match random.below(100) {
        0..4 => {
            files.remove(&path);
        }
        4..20 => {
            files.insert(path.clone(), new.clone());
        }
        20..24 => return Some((path, "{".to_owned())),
        24..30 => {
            // The same, said otherwise: places move, meaning does not.
            let text = worlds::permuted(files.get(&path)?, random);
            return Some((path, text));
        }
        _ => {
            let old = files.get_mut(&path)?;
            let (Json::Object(old), Json::Object(new)) = (old, new) else {
                return None;
            };
            let is_name = |member: &str| ["UserId", "RoleId", "Path"].contains(&member);
            let members: Vec<&String> = new.keys().filter(|member| !is_name(member)).collect();
            if members.is_empty() {
                return None;
            }
            let member = *random.pick(&members);
            old.insert(member.clone(), new[member].clone());
        }
    }
    None
}

fn texts(files: &BTreeMap<String, Json>) -> Files {
    let text = |(path, json): (&String, &Json)| (path.clone(), format!("{json:#}"));
    files.iter().map(text).collect()
}

/// One sequence; panics with its seed where the law does not hold.
fn run(seed: u64, tally: &mut Tally) {
    let mut random = Random::new(seed);
    let first = worlds::world(&mut random);
    let others: Vec<World> = (0..2).map(|_| worlds::world(&mut random)).collect();
    let mut files = first.files.clone();
    let mut loader = Loader::new();
    load(&mut loader, &texts(&files)).unwrap_or_else(|refused| panic!("{:#?}", refused.findings));
    let mut before: Option<(Snapshot, Vec<Question>, Vec<[String; 2]>)> = None;
    for number in 0..N_EDITS {
        let place = format!("seed {seed}, edit {number}");
        let mut passing = None;
        let kept = files.clone();
        for _ in 0..=random.below(2) {
            passing = edit(&mut files, &others, &mut random).or(passing);
        }
        let mut texts = texts(&files);
        texts.extend(passing);
        let incremental = load(&mut loader, &texts);
        let whole = load(&mut Loader::new(), &texts);
        assert_eq!(seen(&incremental), seen(&whole), "{place}");
        if let Some((snapshot, questions, expected)) = &before {
            assert_eq!(
                &answers(snapshot, questions),
                expected,
                "{place}: the snapshot before"
            );
        }
        tally.n_edits += 1;
        let (Ok(incremental), Ok(whole)) = (incremental, whole) else {
            tally.n_refused += 1;
            // What does not load seldom gets better by itself.
            if random.chance(80) {
                files = kept;
            }
            continue;
        };
        tally.n_patched += u64::from(incremental.is_patched);
        let questions: Vec<Question> = (0..N_QUESTIONS)
            .map(|_| worlds::question(&mut random, &first))
            .collect();
        let expected = answers(&whole.snapshot, &questions);
        let found = answers(&incremental.snapshot, &questions);
        assert_eq!(found, expected, "{place}: {questions:#?}");
        before = Some((incremental.snapshot, questions, expected));
    }
}

#[test]
fn an_incremental_load_says_what_a_whole_one_says() {
    let n_sequences = number_from_environment("IAMD_INCREMENTAL_SEQUENCES", N_SEQUENCES);
    let first = number_from_environment("IAMD_INCREMENTAL_SEED", 1);
    let next = AtomicU64::new(0);
    let tallies = thread::scope(|scope| {
        let work = || {
            let mut tally = Tally::default();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= n_sequences {
                    return tally;
                }
                run(
                    first.wrapping_mul(1_000_000_007).wrapping_add(index),
                    &mut tally,
                );
            }
        };
        let threads: Vec<_> = (0..N_THREADS).map(|_| scope.spawn(work)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Tally>| thread.join().unwrap();
        threads.into_iter().map(join).collect::<Vec<_>>()
    });
    let sum = |count: fn(&Tally) -> u64| tallies.iter().map(count).sum::<u64>();
    let n_edits = sum(|tally| tally.n_edits);
    let (n_patched, n_refused) = (sum(|tally| tally.n_patched), sum(|tally| tally.n_refused));
    println!(
        "{n_sequences} sequences, {n_edits} edits: {n_patched} patched, {n_refused} refused, the others compiled as a whole"
    );
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

/// The texts of a store with so many managed policies of three statements and as many users with two of them each.
fn large(n: usize) -> Files {
    let policy = |number: usize| {
        let statements: Vec<Json> = (0..3)
            .map(|at| {
                json!({"Sid": format!("S{at}"), "Effect": "Allow", "Action": format!("orders:Do{}", (number + at) % 40),
                    "Resource": format!("arn:app:orders:eu-west-1:111122223333:order/{number}/*")})
            })
            .collect();
        json!({"Version": "2012-10-17", "Statement": statements})
    };
    let user = |number: usize| {
        let attached: Vec<Json> = [number, (number * 7 + 1) % n]
            .iter()
            .map(|policy| json!({"PolicyName": format!("p{policy}"), "PolicyArn": format!("arn:aws:iam::111122223333:policy/d{}/p{policy}", policy / 1_000)}))
            .collect();
        json!({"AttachedManagedPolicies": attached, "Tags": [{"Key": "team", "Value": format!("t{}", number % 50)}]})
    };
    let mut files = Files::from([(
        "account.json".to_owned(),
        json!({"AccountId": "111122223333"}).to_string(),
    )]);
    for number in 0..n {
        let folder = number / 1_000;
        files.insert(
            format!("managed-policies/d{folder}/p{number}.json"),
            policy(number).to_string(),
        );
        files.insert(
            format!("users/d{folder}/u{number}.json"),
            user(number).to_string(),
        );
    }
    files
}

/// What one changed policy costs in a large store, beside a load of the whole: prints both.
#[test]
#[ignore = "a measurement: cargo test --profile fast --test it -- --ignored --nocapture one_changed_policy"]
fn one_changed_policy_of_a_large_store_is_a_hundredth_of_a_load() {
    let n = usize::try_from(number_from_environment(
        "IAMD_INCREMENTAL_POLICIES",
        100_000,
    ))
    .unwrap();
    let files = large(n);
    let root = tempfile::TempDir::new().unwrap();
    for (path, text) in &files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let n_bytes: usize = files.values().map(String::len).sum();
    drop(files);
    let before = resident_kib();
    let mut loader = Loader::new();
    let loaded = loader
        .load(root.path())
        .unwrap_or_else(|refused| panic!("{:?}", refused.findings));
    let whole = loaded.took;
    let grown = resident_kib() - before;
    println!(
        "{} files, {n_bytes} bytes, {} statements: {whole:?}, {grown} KiB more",
        loaded.n_files, loaded.n_statements
    );
    // The stamps of files this new are not trusted, and nothing but time makes them older.
    thread::sleep(std::time::Duration::from_millis(2_100));
    let loaded = loader
        .load(root.path())
        .unwrap_or_else(|refused| panic!("{:?}", refused.findings));
    println!("all read again: {:?}", loaded.took);
    let mut best = whole.compile;
    for round in 0..10 {
        let path = root
            .path()
            .join(format!("managed-policies/d0/p{}.json", 7 + round));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("Do1", "Do2").replace("S0", "T0")).unwrap();
        let loaded = loader
            .load(root.path())
            .unwrap_or_else(|refused| panic!("{:?}", refused.findings));
        assert!(loaded.is_patched);
        println!("one policy: {:?}", loaded.took);
        best = best.min(loaded.took.compile);
    }
    std::fs::write(root.path().join("users/d0/new.json"), "{}").unwrap();
    let loaded = loader
        .load(root.path())
        .unwrap_or_else(|refused| panic!("{:?}", refused.findings));
    println!(
        "a new user, all compiled again: {:?}, resident {} KiB",
        loaded.took,
        resident_kib()
    );
    assert!(best * 100 <= whole.scan + whole.compile);
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What a store of `n` says: ann may do the action of that number, by each kind of policy that can be patched.
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

/// Readers ask while snapshots take over; each answer is checked at the revision of the snapshot that gave it.
#[test]
fn every_answer_of_a_storm_of_reloads_is_that_of_its_revision() {
    let n_published = number_from_environment("IAMD_INCREMENTAL_STORM", N_PUBLISHED);
    let n_stores = 64.min(n_published);
    let questions: Vec<Question> = (0..4)
        .map(|number| Question {
            principal: "arn:aws:iam::111122223333:user/ann".to_owned(),
            action: format!("orders:Do{number}"),
            resource: "arn:app:orders:::order/1".to_owned(),
            at: 1_717_200_000,
            ..Question::default()
        })
        .collect();
    // By a load of its own each.
    let expected: BTreeMap<String, Vec<String>> = (0..n_stores)
        .map(|n| {
            let files = numbered(n);
            let texts = files
                .iter()
                .map(|(path, text)| (path.as_str(), text.as_str()));
            let loaded =
                store::load_texts(texts).unwrap_or_else(|refused| panic!("{:?}", refused.findings));
            let answers = questions
                .iter()
                .map(|question| answer(&loaded.snapshot, question));
            (loaded.snapshot.revision.to_string(), answers.collect())
        })
        .collect();
    assert_eq!(
        expected.len() as u64,
        n_stores,
        "each store has a revision of its own"
    );
    let live = Live::default();
    let (stop, n_answers) = (AtomicBool::new(false), AtomicU64::new(0));
    let n_patched = thread::scope(|scope| {
        for reader in 0..3 {
            let (live, stop, n_answers, questions, expected) =
                (&live, &stop, &n_answers, &questions, &expected);
            scope.spawn(move || {
                let mut turn = reader;
                while !stop.load(Ordering::Relaxed) {
                    let Some(generation) = live.load_full() else {
                        thread::yield_now();
                        continue;
                    };
                    let at = turn % questions.len();
                    let found = answer(&generation.snapshot, &questions[at]);
                    let revision = generation.snapshot.revision.as_str();
                    if found != expected[revision][at] {
                        stop.store(true, Ordering::Relaxed);
                        panic!("{revision}: {found}, and not {}", expected[revision][at]);
                    }
                    n_answers.fetch_add(1, Ordering::Relaxed);
                    turn += 1;
                }
            });
        }
        let mut loader = Loader::new();
        let mut n_patched = 0;
        for n in 0..n_published {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let loaded = load(&mut loader, &numbered(n % n_stores))
                .unwrap_or_else(|refused| panic!("{:?}", refused.findings));
            n_patched += u64::from(loaded.is_patched);
            live.publish(loaded.snapshot);
            // On a busy machine the readers come late; now and then they are waited for.
            while n.is_multiple_of(16)
                && n_answers.load(Ordering::Relaxed) <= n
                && !stop.load(Ordering::Relaxed)
            {
                thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
        n_patched
    });
    println!(
        "{n_published} snapshots, {n_patched} of them patched; {} answers",
        n_answers.load(Ordering::Relaxed)
    );
    assert!(n_answers.load(Ordering::Relaxed) > 0);
    assert!(
        n_patched + 1 >= n_published,
        "all but the first are patched"
    );
}
