//! Measures how the cost of a decision depends on the number of statements attached to the principal.

use anyhow::Context;
use iamd::compile::snapshot::Snapshot;
use iamd::engine::request::Request;

use crate::check_answers;
use crate::engines::{ask, authorize, authorize_by_scan};
use crate::measure::{Contender, Figures, Options, Race, head, nanoseconds, row};
use crate::worlds::{self, Outcome, Random};

const N_ATTACHED: [usize; 3] = [5, 100, 500];
const N_EACH: usize = 64;
/// How many times as fast as the scan a decision must be, for each number of statements.
const AT_LEAST: [f64; 3] = [1.0, 10.0, 60.0];

/// Prints the table.
pub fn measure(options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    let n_policies = options.pick(10_000, 1_500);
    let (world, sets) = worlds::by_attached(&N_ATTACHED, n_policies);
    let snapshot = worlds::load(&world)?.snapshot;
    let mut random = Random::new(worlds::SEED);
    let mut asked: Vec<(usize, Vec<Request>)> = Vec::new();
    for (n_attached, users) in &sets {
        let questions = worlds::balanced(&snapshot, &world, users, N_EACH, &mut random)?;
        let requests = worlds::requests(&questions)?;
        check_answers(&snapshot, &requests)?;
        asked.push((*n_attached, requests));
    }
    let race = race(options, &snapshot, &asked)?;
    head(
        &format!(
            "By attached statements: {n_policies} policies, equal parts of allow, explicit deny and miss"
        ),
        &[
            "attached",
            "decision",
            "× that with 5",
            "by scan",
            "scan ÷ decision",
        ],
    );
    let first = N_ATTACHED.first().copied().unwrap_or(0);
    for (n_attached, at_least) in N_ATTACHED.into_iter().zip(AT_LEAST) {
        let (name, scan) = names(n_attached);
        let faster = race.ratio(&scan, &name)?;
        let grown = race.ratio(&name, &names(first).0)?;
        row(&[
            name.clone(),
            nanoseconds(race.median(&name)?),
            format!("{grown:.2}"),
            nanoseconds(race.median(&scan)?),
            format!("{faster:.2}"),
        ]);
        figures.at_least(
            "3",
            format!("scan ÷ decision, {name} attached"),
            faster,
            at_least,
        );
        if n_attached == 500 {
            figures.at_most("2", format!("{name} attached ÷ {first}"), grown, 1.5);
        }
    }

    head(
        "The same by outcome: scan ÷ decision",
        &["attached", "allow", "explicit deny", "miss"],
    );
    let mut rows: Vec<Vec<String>> = N_ATTACHED.map(|n| vec![n.to_string()]).to_vec();
    for outcome in Outcome::ALL {
        let mut of_outcome = Vec::new();
        for (n_attached, requests) in &asked {
            let mut chosen = Vec::new();
            for request in requests {
                if Outcome::of(&worlds::decided(&snapshot, request)?) == outcome {
                    chosen.push(request.clone());
                }
            }
            of_outcome.push((*n_attached, chosen));
        }
        let race = self::race(options, &snapshot, &of_outcome)?;
        for (cells, n_attached) in rows.iter_mut().zip(N_ATTACHED) {
            let (name, scan) = names(n_attached);
            cells.push(format!("{:.2}", race.ratio(&scan, &name)?));
        }
    }
    for cells in rows {
        row(&cells);
    }
    Ok(())
}

fn names(n_attached: usize) -> (String, String) {
    (n_attached.to_string(), format!("{n_attached} by scan"))
}

fn race<'c>(
    options: &Options,
    snapshot: &'c Snapshot,
    asked: &'c [(usize, Vec<Request>)],
) -> anyhow::Result<Race<'c>> {
    let contenders = asked.iter().flat_map(|(n_attached, requests)| {
        let (name, scan) = names(*n_attached);
        [
            Contender::new(name, ask(authorize, snapshot, requests)),
            Contender::new(scan, ask(authorize_by_scan, snapshot, requests)),
        ]
    });
    Race::run(contenders.collect(), options.effort()).context("by attached statements")
}
