//! Measures the cost of a question that was not asked before.

use anyhow::Context;
use iamd::compile::snapshot::Snapshot;
use iamd::engine::request::Request;

use crate::check_answers;
use crate::engines::{ask, authorize, authorize_by_scan};
use crate::measure::{Figures, Options, head, median, nanoseconds, row, thread_cpu};
use crate::worlds::{self, Question, Random, World};

/// How many statements every user has attached.
const N_ATTACHED: usize = 500;
/// How many actions each user asks about after the first.
const N_ACTIONS: usize = 20;

/// The nanoseconds of a question by the way it is asked.
#[derive(Default)]
struct Series {
    first_of_set: Vec<f64>,
    first_prepared: Vec<f64>,
    first_of_action: Vec<f64>,
    second: Vec<f64>,
    warm: Vec<f64>,
    scanned: Vec<f64>,
}

/// Prints the table.
pub fn measure(options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    let n_users = options.pick(100, 10);
    let world = worlds::by_holders(n_users, N_ATTACHED, options.pick(2_000, 200));
    let n_rounds = options.pick(11, 3);
    let mut series = Series::default();
    for round in 0..n_rounds {
        // No set of a new snapshot was asked about anything.
        let snapshot = worlds::load(&world)?.snapshot;
        one_round(&snapshot, &world, round, &mut series)?;
    }
    head(
        &format!("Cold: {n_users} users with {N_ATTACHED} statements each"),
        &["question", "decision"],
    );
    let Series {
        first_of_set,
        first_prepared,
        first_of_action,
        second,
        warm,
        scanned,
    } = series;
    let ratio = median(first_of_action.clone()) / median(warm.clone());
    let first = median(first_prepared.clone());
    for (name, series) in [
        ("the first of a principal", first_of_set),
        (
            "the first of a principal whose index the server has prepared",
            first_prepared,
        ),
        ("the first about an action", first_of_action),
        ("the second about it", second),
        ("a later one", warm),
        ("by scan", scanned),
    ] {
        row(&[name.to_owned(), nanoseconds(median(series))]);
    }
    figures.at_most("cold", "first about an action ÷ later", ratio, 3.0);
    figures.at_most(
        "cold",
        format!("first of a principal with {N_ATTACHED} statements, prepared, µs"),
        first / 1e3,
        20.0,
    );
    Ok(())
}

fn one_round(
    snapshot: &Snapshot,
    world: &World,
    round: u64,
    series: &mut Series,
) -> anyhow::Result<()> {
    let mut random = Random::new(worlds::SEED + round);
    let (mut firsts, mut others) = (Vec::new(), Vec::new());
    for user in &world.users {
        let attached: Vec<_> = world.attached(user).collect();
        let mut asked = std::collections::HashSet::new();
        while asked.len() <= N_ACTIONS {
            let statement = random.pick(&attached).context("something is attached")?;
            let question = Question::about(&mut random, user, statement);
            if asked.insert(question.action.to_ascii_lowercase()) {
                match asked.len() {
                    1 => firsts.push(question),
                    _ => others.push(question),
                }
            }
        }
    }
    let (firsts, others) = (worlds::requests(&firsts)?, worlds::requests(&others)?);
    let time = |requests: &[Request], engine| {
        let mut ask = ask(engine, snapshot, requests);
        let begin = thread_cpu();
        ask(requests.len())?;
        let took = thread_cpu().saturating_sub(begin);
        anyhow::Ok(took.as_nanos() as f64 / requests.len() as f64)
    };
    series.first_of_set.push(time(&firsts, authorize)?);
    let prepared = worlds::load(world)?.snapshot;
    prepared.prepare(None, || false);
    let mut ask = ask(authorize, &prepared, &firsts);
    let begin = thread_cpu();
    ask(firsts.len())?;
    let took = thread_cpu().saturating_sub(begin).as_nanos() as f64;
    series.first_prepared.push(took / firsts.len() as f64);
    series.first_of_action.push(time(&others, authorize)?);
    series.second.push(time(&others, authorize)?);
    time(&others, authorize)?;
    series.warm.push(time(&others, authorize)?);
    series.scanned.push(time(&others, authorize_by_scan)?);
    check_answers(snapshot, &others)
}
