//! Measures the cost of many statements about one action, of many conditions in one statement, and of all policy types
//! together.

use anyhow::ensure;
use iamd::engine::request::Request;

use crate::check_answers;
use crate::engines::{ask, authorize, authorize_by_scan};
use crate::measure::{Contender, Options, Race, head, nanoseconds, row};
use crate::worlds::{self, Outcome};

/// The questions about one user.
struct Asked<'q> {
    name: String,
    requests: Vec<Request<'q>>,
}

/// Prints the table for many statements about one action.
pub fn by_candidates(options: &Options) -> anyhow::Result<()> {
    const N_CANDIDATES: [usize; 3] = [32, 256, 2_048];
    let (world, sets) = worlds::by_candidates(&N_CANDIDATES, 256);
    let snapshot = worlds::load(&world)?.snapshot;
    let mut asked = Vec::new();
    for set in &sets {
        for (questions, outcome) in [(&set.hits, Outcome::Hit), (&set.misses, Outcome::Miss)] {
            let name = format!("{}, {}", set.n_candidates, outcome.label());
            let requests = worlds::requests(questions)?;
            expect(&snapshot, &requests, outcome)?;
            asked.push(Asked { name, requests });
        }
    }
    let race = race(options, &snapshot, &asked)?;
    head(
        "By candidates: statements about the one action that is asked about",
        &[
            "candidates, outcome",
            "decision",
            "× 32, allow",
            "by scan",
            "scan ÷ decision",
        ],
    );
    rows(&race, &asked, "32, allow")
}

/// Prints the table for many conditions in one statement.
pub fn by_conditions(options: &Options) -> anyhow::Result<()> {
    let (world, sets) = worlds::by_conditions(&[0, 1, 2, 4, 8, 16]);
    let snapshot = worlds::load(&world)?.snapshot;
    let mut asked = Vec::new();
    for (n_conditions, questions) in &sets {
        let requests = worlds::requests(questions)?;
        expect(&snapshot, &requests, Outcome::Hit)?;
        let name = n_conditions.to_string();
        asked.push(Asked { name, requests });
    }
    let race = race(options, &snapshot, &asked)?;
    head(
        "By conditions of the one statement that allows; all hold",
        &[
            "conditions",
            "decision",
            "× none",
            "by scan",
            "scan ÷ decision",
        ],
    );
    rows(&race, &asked, "0")
}

/// Prints the table for a question in which every policy type is in play.
pub fn layered(options: &Options) -> anyhow::Result<()> {
    let (world, questions) = worlds::layered();
    let snapshot = worlds::load(&world)?.snapshot;
    let requests = worlds::requests(&questions)?;
    expect(&snapshot, &requests, Outcome::Hit)?;
    let asked = [Asked {
        name: "allow".to_owned(),
        requests,
    }];
    let race = race(options, &snapshot, &asked)?;
    head(
        "Identity policy, boundary, three levels of SCPs, an RCP and a resource policy",
        &["outcome", "decision", "×", "by scan", "scan ÷ decision"],
    );
    rows(&race, &asked, "allow")
}

fn expect(
    snapshot: &iamd::compile::snapshot::Snapshot,
    requests: &[Request],
    outcome: Outcome,
) -> anyhow::Result<()> {
    check_answers(snapshot, requests)?;
    for request in requests {
        let decision = worlds::decided(snapshot, request)?;
        ensure!(
            Outcome::of(&decision) == outcome,
            "{request:?}: {decision:?} is no {}",
            outcome.label()
        );
    }
    Ok(())
}

fn race<'c>(
    options: &Options,
    snapshot: &'c iamd::compile::snapshot::Snapshot,
    asked: &'c [Asked<'_>],
) -> anyhow::Result<Race<'c>> {
    let contenders = asked.iter().flat_map(|Asked { name, requests }| {
        [
            Contender::new(name.clone(), ask(authorize, snapshot, requests)),
            Contender::new(
                format!("{name} by scan"),
                ask(authorize_by_scan, snapshot, requests),
            ),
        ]
    });
    Race::run(contenders.collect(), options.effort())
}

fn rows(race: &Race<'_>, asked: &[Asked<'_>], first: &str) -> anyhow::Result<()> {
    for Asked { name, .. } in asked {
        let scan = format!("{name} by scan");
        row(&[
            name.clone(),
            nanoseconds(race.median(name)?),
            format!("{:.2}", race.ratio(name, first)?),
            nanoseconds(race.median(&scan)?),
            format!("{:.2}", race.ratio(&scan, name)?),
        ]);
    }
    Ok(())
}
