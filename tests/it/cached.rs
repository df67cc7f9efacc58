//! Checks K-45: an answer from the cache is the answer that evaluation would give, for random stores, for questions,
//! and for questions that differ from them in one field.
//!
//! The stores and questions are those of the laws. A short run is part of every `cargo test`. `tests/README.md`
//! describes the long run.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use iamd::engine::cache::{Caching, Counts, Mode};
use iamd::engine::decision::Decision;
use iamd::engine::error::RequestError;
use iamd::engine::live::{Generation, Live};
use iamd::engine::request::Request;
use iamd::engine::session_policy::SessionPolicies;
use iamd::service::pb;
use serde_json::json;

use crate::laws;
use crate::oracle::question::{Given, Question, SessionFacts};
use crate::support::{
    Server, ann_asks, log_field, number_from_environment, revision, store_allowing, until_revision,
    write_store,
};
use crate::worlds::{self, Random};

/// The number of questions per world that are changed.
const BASES: u64 = 50;
/// The number of changes to each of them.
const CHANGES: u64 = 24;

/// The number of changed questions, the seed and the number of threads: `IAMD_CACHE_CASES`, `IAMD_CACHE_SEED`,
/// `IAMD_CACHE_THREADS`.
struct Run {
    n_cases: u64,
    seed: u64,
    n_threads: u64,
}

impl Run {
    fn of_environment() -> Self {
        // Without optimization, a question costs ten times as much.
        let usual = if cfg!(debug_assertions) {
            30_000
        } else {
            100_000
        };
        Self {
            n_cases: number_from_environment("IAMD_CACHE_CASES", usual),
            seed: number_from_environment("IAMD_CACHE_SEED", 1),
            n_threads: number_from_environment("IAMD_CACHE_THREADS", 4),
        }
    }
}

#[derive(Default)]
struct Sum {
    n_cases: u64,
    /// The number of changes that altered the answer.
    n_turned: u64,
    /// How often each mode was asked.
    n_asked: u64,
    counts: BTreeMap<&'static str, Counts>,
    differences: Vec<String>,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.n_cases += other.n_cases;
        self.n_turned += other.n_turned;
        self.n_asked += other.n_asked;
        for (mode, more) in other.counts {
            let sum = self.counts.entry(mode).or_default();
            sum.hits += more.hits;
            sum.misses += more.misses;
            sum.bypasses += more.bypasses;
            sum.insertions += more.insertions;
        }
        self.differences.extend(other.differences);
    }
}

#[test]
fn what_the_cache_answers_is_what_evaluating_answers() {
    let run = Run::of_environment();
    let n_worlds = run.n_cases.div_ceil(BASES * CHANGES);
    let (next, begun) = (AtomicU64::new(0), Instant::now());
    let sum = Mutex::new(Sum::default());
    thread::scope(|scope| {
        for _ in 0..run.n_threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= n_worlds || !sum.lock().unwrap().differences.is_empty() {
                        break;
                    }
                    let seed = run.seed.wrapping_mul(3_000_000_019).wrapping_add(index);
                    let of_world = compare(seed);
                    let mut sum = sum.lock().unwrap();
                    sum.add(of_world);
                    if (index + 1).is_multiple_of(500) {
                        let (n_cases, seconds) = (sum.n_cases, begun.elapsed().as_secs_f64());
                        println!(
                            "{n_cases} changed questions, {seconds:.0} s, {:.1} µs each",
                            seconds * 1e6 / n_cases as f64
                        );
                    }
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap();
    let percent = |n: u64, of: u64| n as f64 * 100.0 / of as f64;
    println!(
        "seed {}: {} changed questions in {n_worlds} worlds, {:.1} % with another answer than before the change; asked \
         {} times in each mode",
        run.seed,
        sum.n_cases,
        percent(sum.n_turned, sum.n_cases),
        sum.n_asked
    );
    for (mode, counts) in &sum.counts {
        println!(
            "  {mode}: {:.1} % hits, {counts:?}",
            percent(counts.hits, sum.n_asked)
        );
    }
    assert!(sum.differences.is_empty(), "{}", sum.differences.join("\n"));
    // The law shows nothing if the cache gave no answers, and little if no change altered an answer.
    assert_eq!(sum.counts["off"], Counts::default());
    assert!(percent(sum.counts["auto"].hits, sum.n_asked) >= 5.0);
    assert!(percent(sum.counts["always"].hits, sum.n_asked) >= 25.0);
    assert!(percent(sum.n_turned, sum.n_cases) >= 5.0);
}

/// K-42, over the wire: the second answer comes from memory, and no answer does after a reload.
#[tokio::test]
async fn a_server_gives_the_same_answer_again_until_the_store_changes() {
    let store = store_allowing("orders:Get");
    let options = ["--listen", "127.0.0.1:0", "--log-level", "debug"];
    let mut server = Server::start_with(
        store.path(),
        &[&options[..], &["--decision-cache", "always"]].concat(),
    );
    let mut client = server.client().await;
    let mut first = None;
    for _ in 0..6 {
        let answer = client.authorize(ann_asks("orders:Get")).await.unwrap();
        let answer = answer.into_inner();
        assert_eq!(answer.decision(), pb::Decision::Allow);
        assert_eq!(answer.determining_statements[0].sid, "One");
        assert_eq!(*first.get_or_insert_with(|| answer.clone()), answer);
    }
    write_store(store.path(), "orders:Put");
    let answer = until_revision(&mut client, &revision(store.path())).await;
    assert_eq!(answer.decision(), pb::Decision::Deny, "K-42");
    drop(client);
    server.signal("TERM");
    let log = server.whole_log();
    let counts = log.iter().find(|line| line.contains("the decision cache"));
    let hits: u64 = log_field(counts.expect("the counts"), "hits")
        .and_then(|hits| hits.parse().ok())
        .unwrap();
    // The second question is kept.
    assert!(hits >= 3, "{counts:?}");
}

/// Only the counts show whether the cache is worth its memory. One question is asked six times.
#[test]
fn every_lookup_counts_as_what_it_was() {
    let allow = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    let never = json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {
        "StringEquals": {"app:k": "never so", "app:list": ["never this", "nor that"]}}});
    let clock = json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {
        "DateLessThan": {"aws:CurrentTime": "2000-01-01T00:00:00Z"}}});
    let expensive = [vec![never; 60], vec![allow.clone()]].concat();
    let counts = |hits, misses, bypasses, insertions| Counts {
        hits,
        misses,
        bypasses,
        insertions,
    };
    let cases = [
        ("never", Mode::Off, expensive.clone(), counts(0, 0, 0, 0)),
        (
            "too cheap",
            Mode::Auto,
            vec![allow.clone()],
            counts(0, 0, 0, 0),
        ),
        // The second time is the first that is kept.
        ("expensive", Mode::Auto, expensive, counts(4, 2, 0, 1)),
        ("any", Mode::Always, vec![allow.clone()], counts(5, 1, 0, 1)),
        (
            "by the clock",
            Mode::Always,
            vec![clock, allow],
            counts(0, 0, 6, 0),
        ),
    ];
    for (what, mode, statements, expected) in cases {
        let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        let texts = BTreeMap::from([
            (
                "account.json".to_owned(),
                r#"{"AccountId": "111122223333"}"#.to_owned(),
            ),
            (
                "users/ann.json".to_owned(),
                crate::support::user("ann", &document),
            ),
        ]);
        let live = Live::new(Caching::new(mode, 1 << 20, 1));
        assert!(live.load().is_none() && live.load_full().is_none());
        assert!(live.publish(laws::load(&texts)).is_none());
        let question = Question {
            principal: "arn:aws:iam::111122223333:user/ann".to_owned(),
            action: "orders:Get".to_owned(),
            resource: "arn:app:orders:::order/1".to_owned(),
            at: 1_717_200_000,
            ..Question::default()
        };
        let policies = SessionPolicies::forgetting();
        let request = laws::to_request_with(&question, &policies).unwrap();
        for _ in 0..6 {
            let answer = live.load().as_ref().unwrap().authorize(&request);
            assert!(answer.unwrap().is_allowed(), "{what}");
        }
        assert_eq!(live.cache_counts(), expected, "{what}");
        let before = live.publish(laws::load(&texts)).unwrap();
        assert_eq!(before.n_cached(), expected.insertions, "{what}");
        assert_eq!(live.load_full().unwrap().n_cached(), 0, "{what}: K-42");
        assert_eq!(live.cache_counts(), expected, "{what}: they go on");
    }
}

/// Asks the questions about one world and their changes in every mode.
fn compare(seed: u64) -> Sum {
    let mut random = Random::new(seed);
    let mut world = worlds::world(&mut random);
    if random.chance(75) {
        worlds::make_expensive(&mut world, &mut random);
    }
    let snapshot = laws::load(&world.texts());
    let cached = laws::MODES.map(|(name, mode)| {
        let caching = Caching::new(mode, 1 << 20, seed);
        let generation = Generation::new(snapshot.clone(), &caching);
        (name, generation, caching)
    });
    let (_, off, _) = &cached[0];
    let session_policies = SessionPolicies::remembering(1 << 20);
    // Asks twice without a cache: once with the slices, and once over every statement.
    let answer = |request: &Request| {
        let expected = off.authorize(request);
        let scanned = iamd::engine::authorize_by_scan(&snapshot, request);
        assert!(
            is_same(&expected, &scanned),
            "world {seed}: {expected:?}, by scan {scanned:?}"
        );
        expected
    };
    let mut sum = Sum::default();
    for _ in 0..BASES {
        let base = worlds::question(&mut random, &world);
        let Ok(base_request) = laws::to_request_with(&base, &session_policies) else {
            continue;
        };
        let base_answer = answer(&base_request);
        let mut changes = vec![];
        for _ in 0..CHANGES {
            let donor = worlds::question(&mut random, &world);
            let mut changed = base.clone();
            change(&mut changed, donor, &mut random);
            changes.push(changed);
        }
        let mut asked = vec![];
        for changed in &changes {
            if let Ok(request) = laws::to_request_with(changed, &session_policies) {
                let expected = answer(&request);
                sum.n_cases += 1;
                sum.n_turned += u64::from(!is_same(&expected, &base_answer));
                asked.push((changed, request, expected));
            }
        }
        asked.push((&base, base_request, base_answer));
        // Between two repetitions of a question, similar questions are asked in a different order each time.
        for _ in 0..4 {
            random.shuffle(&mut asked);
            for (question, request, expected) in &asked {
                sum.n_asked += 1;
                for (mode, generation, _) in &cached[1..] {
                    let got = generation.authorize(request);
                    if !is_same(&got, expected) {
                        let what = format!(
                            "world {seed}, {mode}: {got:?} instead of {expected:?}, of {question:?}"
                        );
                        sum.differences.push(what);
                    }
                }
            }
        }
    }
    for (mode, _, caching) in cached {
        sum.counts.insert(mode, caching.counts());
    }
    sum
}

/// A decision, or the reason why there is none.
type Answer = Result<Decision, RequestError>;

fn is_same(one: &Answer, other: &Answer) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => laws::is_same(one, other),
        (Err(one), Err(other)) => one.to_string() == other.to_string(),
        _ => false,
    }
}

/// Changes one field: to the value in `donor`, to nothing, or to an empty value.
fn change(question: &mut Question, donor: Question, random: &mut Random) {
    match random.below(12) {
        0 => question.resource = donor.resource,
        1 => question.action = donor.action,
        2 => question.at = donor.at,
        3 => question.resource_account = donor.resource_account,
        4 if random.chance(50) => change_principal(question, donor, random),
        4..7 => match (&mut question.session, donor.session) {
            (Some(session), Some(other)) => change_session(session, other, random),
            (session, other) if random.chance(50) => *session = other,
            (session, _) => *session = None,
        },
        _ => change_context(&mut question.context, donor.context, random),
    }
}

fn change_principal(question: &mut Question, donor: Question, random: &mut Random) {
    match question.principal.contains("assumed-role/") && random.chance(50) {
        true => question.principal.push('x'),
        false => {
            question.principal = donor.principal;
            if random.chance(70) {
                question.session = donor.session;
            }
        }
    }
}

fn change_session(session: &mut SessionFacts, donor: SessionFacts, random: &mut Random) {
    match random.below(20) {
        16 => session.attributes = donor.attributes,
        17 | 18 => match session.attributes.first_mut() {
            Some((_, value)) => *value = Given::Text("vpc-1".into()),
            None => {
                let key = "aws:Ec2InstanceSourceVpc".to_owned();
                session.attributes.push((key, Given::Text("vpc-1".into())));
            }
        },
        19 => match session.transitive_tag_keys.pop() {
            Some(_) => {}
            None => session
                .transitive_tag_keys
                .extend(session.tags.first().map(|(key, _)| key.clone())),
        },
        0 => session.policies = donor.policies,
        1 => session.policy_arns = donor.policy_arns,
        2 | 10..13 => session.tags = donor.tags,
        3 => session.source_identity = donor.source_identity,
        4 => session.issued_at = donor.issued_at,
        5 => session.expires_at = donor.expires_at,
        6 => session.mfa_at = donor.mfa_at,
        7 => session.claims = donor.claims,
        8 => session.federated_provider = donor.federated_provider,
        9 => session.parent = donor.parent,
        _ => match session.tags.first_mut() {
            Some((_, value)) => value.push('x'),
            None => session.tags.push(("team".into(), "blue".into())),
        },
    }
}

fn change_context(
    context: &mut Vec<(String, Given)>,
    donor: Vec<(String, Given)>,
    random: &mut Random,
) {
    let index = random.below(context.len().max(1));
    match (random.below(6), context.get_mut(index)) {
        (0, Some(_)) => _ = context.swap_remove(index),
        (1, Some((_, value))) => *value = Given::List(vec![]),
        (2, Some((_, value))) => *value = Given::Text(String::new()),
        (3, Some((_, value))) => {
            *value = Given::List(vec![value.clone(), Given::Text("blue".into())]);
        }
        _ => {
            // A key that exists gets the other's value; a key that does not exist is added.
            let Some((key, value)) = donor.into_iter().nth(random.below(8)) else {
                return;
            };
            context.retain(|(other, _)| !other.eq_ignore_ascii_case(&key));
            context.push((key, value));
        }
    }
}
