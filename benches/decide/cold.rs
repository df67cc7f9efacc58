//! Measures the cost of a question that was not asked before.

use anyhow::Context;

use crate::check_answers;
use crate::engines::{ask, authorize, authorize_by_scan};
use crate::measure::{Options, head, median, nanoseconds, row, thread_cpu};
use crate::worlds::{self, Question, Random};

/// How many questions a round asks. Each has a principal and an action that were not paired before.
const N_PER_ROUND: usize = 1_000;

/// Prints the table.
pub fn measure(options: &Options) -> anyhow::Result<()> {
    let n_policies = options.pick(10_000, 1_000);
    let n_rounds = options.pick(21, 3);
    let sized = worlds::by_size(n_policies);
    let snapshot = worlds::load(&sized.world)?.snapshot;
    let mut random = Random::new(worlds::SEED);
    let mut asked = std::collections::HashSet::new();
    let (mut first, mut again, mut scanned) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..n_rounds {
        let mut questions = Vec::new();
        while questions.len() < N_PER_ROUND {
            let user = random.pick(&sized.world.users).context("users")?;
            let attached: Vec<_> = sized.world.attached(user).collect();
            let statement = random.pick(&attached).context("something is attached")?;
            let question = Question::about(&mut random, user, statement);
            if asked.insert((
                question.principal.clone(),
                question.action.to_ascii_lowercase(),
            )) {
                questions.push(question);
            }
        }
        let requests = worlds::requests(&questions)?;
        let mut in_use = ask(authorize, &snapshot, &requests);
        let mut by_scan = ask(authorize_by_scan, &snapshot, &requests);
        let mut time = |series: &mut Vec<f64>, by_scan_is_asked: bool| {
            let begin = thread_cpu();
            match by_scan_is_asked {
                true => by_scan(requests.len())?,
                false => in_use(requests.len())?,
            }
            let took = thread_cpu().saturating_sub(begin);
            series.push(took.as_nanos() as f64 / requests.len() as f64);
            anyhow::Ok(())
        };
        time(&mut first, false)?;
        time(&mut again, false)?;
        time(&mut scanned, true)?;
        check_answers(&snapshot, &requests)?;
    }
    head(
        &format!(
            "Cold: {} questions of pairs of principal and action that were never asked before, {n_policies} policies",
            n_rounds * N_PER_ROUND
        ),
        &["", "decision"],
    );
    for (name, series) in [
        ("first time", first),
        ("second time", again),
        ("by scan", scanned),
    ] {
        row(&[name.to_owned(), nanoseconds(median(series))]);
    }
    Ok(())
}
