//! Measures decisions about very many pairs of principal and action, and the memory that they take.

use anyhow::Context;
use iamd::compile::snapshot::Snapshot;
use iamd::engine::request::Request;

use crate::check_answers;
use crate::engines::{ask, authorize, authorize_by_scan};
use crate::measure::{Figures, Options, head, median, memory, nanoseconds, row, thread_cpu};
use crate::worlds::{self, Question, Random, World};

/// How many statements every user has attached.
const N_ATTACHED: usize = 500;
/// How many actions are asked about for each user.
const N_ACTIONS: usize = 100;

/// Prints the table.
pub fn measure(options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    let (n_users, n_few) = options.pick((2_000, 100), (40, 10));
    let world = worlds::by_holders(n_users, N_ATTACHED, options.pick(5_000, 200));
    let snapshot = worlds::load(&world)?.snapshot;
    let (all, few) = (questions(&world, n_users)?, questions(&world, n_few)?);
    let (all, few) = (worlds::requests(&all)?, worlds::requests(&few)?);
    // What loading has given back may be used again, so the memory of the process would tell too little.
    let mut passes = Vec::new();
    let taken = allocation_counter::measure(|| {
        passes.extend((0..3).map(|_| pass(&snapshot, &all)));
    });
    let taken = u64::try_from(taken.bytes_current).unwrap_or(0);
    let mut passes = passes.into_iter();
    let mut next = || passes.next().context("three passes")?;
    let (first, second) = (next()?, next()?);
    let (mut of_all, mut of_few) = (Vec::new(), Vec::new());
    for _ in 0..options.pick(7, 3) {
        of_all.push(pass(&snapshot, &all)?);
        pass(&snapshot, &few)?;
        for _ in 0..3 {
            of_few.push(pass(&snapshot, &few)?);
        }
    }
    let mut scan = ask(authorize_by_scan, &snapshot, &few);
    let begin = thread_cpu();
    scan(few.len())?;
    let scanned = thread_cpu().saturating_sub(begin).as_nanos() as f64 / few.len() as f64;
    check_answers(&snapshot, &few)?;
    head(
        &format!("Many pairs: {n_users} users with {N_ATTACHED} statements each"),
        &["pairs of principal and action", "decision"],
    );
    let (of_all, of_few) = (median(of_all), median(of_few));
    for (name, took) in [
        (format!("{}, first time", all.len()), first),
        (format!("{}, second time", all.len()), second),
        (format!("{}, later", all.len()), of_all),
        (format!("{}, later", few.len()), of_few),
        (format!("{}, by scan", few.len()), scanned),
    ] {
        row(&[name, nanoseconds(took)]);
    }
    let n_held = n_users * N_ATTACHED;
    println!(
        "\nAsking all of them takes {}: {} B for each statement of each user.",
        memory(taken),
        taken / n_held as u64
    );
    figures.at_most(
        "many",
        format!("{} pairs ÷ {}", all.len(), few.len()),
        of_all / of_few,
        2.0,
    );
    figures.at_most(
        "many",
        "bytes for each further holder of a statement",
        taken as f64 / n_held as f64,
        350.0,
    );
    Ok(())
}

/// Makes questions about different actions for each of the first `n_users` users, one user after the other for each
/// action.
fn questions(world: &World, n_users: usize) -> anyhow::Result<Vec<Question>> {
    let mut random = Random::new(worlds::SEED);
    let mut by_user: Vec<Vec<Question>> = Vec::new();
    for user in world.users.iter().take(n_users) {
        let attached: Vec<_> = world.attached(user).collect();
        let mut asked = std::collections::HashSet::new();
        let mut of_user = Vec::new();
        while of_user.len() < N_ACTIONS {
            let statement = random.pick(&attached).context("something is attached")?;
            let question = Question::about(&mut random, user, statement);
            if asked.insert(question.action.to_ascii_lowercase()) {
                of_user.push(question);
            }
        }
        by_user.push(of_user);
    }
    let turns = (0..N_ACTIONS).flat_map(|at| by_user.iter().filter_map(move |of| of.get(at)));
    Ok(turns.cloned().collect())
}

/// Asks all of them once and returns the nanoseconds of one.
fn pass(snapshot: &Snapshot, requests: &[Request]) -> anyhow::Result<f64> {
    let mut ask = ask(authorize, snapshot, requests);
    let begin = thread_cpu();
    ask(requests.len())?;
    let took = thread_cpu().saturating_sub(begin);
    Ok(took.as_nanos() as f64 / requests.len() as f64)
}
