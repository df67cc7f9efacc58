//! Measures how the cost of the same questions depends on the size of the store.

use std::hint::black_box;

use anyhow::{Context, ensure};
use iamd::compile::snapshot::Snapshot;
use iamd::engine::request::Request;

use crate::check_answers;
use crate::engines::{ReadyAnswers, ask, authorize, authorize_by_scan};
use crate::measure::{Contender, Figures, Options, Race, head, nanoseconds, row, time};
use crate::worlds::{self, Outcome, Question, Random};

const N_EACH: usize = 192;
/// The context keys of the question whose parsing has a goal.
const N_KEYS: usize = 2;
/// How many answers the hash map holds: one for each policy.
const N_READY: usize = 10_000;

/// Prints the tables.
pub fn measure(options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    let sizes: &[usize] = options.pick(&[100, 1_000, 10_000, 100_000], &[100, 1_000]);
    let mut stores = Vec::new();
    head(
        "Loading the stores",
        &[
            "policies",
            "statements",
            "principals",
            "parse and compile",
            "warnings",
        ],
    );
    for &n_policies in sizes {
        let sized = worlds::by_size(n_policies);
        let begin = std::time::Instant::now();
        let loaded = worlds::load(&sized.world)?;
        row(&[
            n_policies.to_string(),
            sized.world.n_statements().to_string(),
            loaded.n_principals.to_string(),
            time(begin.elapsed()),
            loaded.findings.len().to_string(),
        ]);
        stores.push((n_policies, loaded.snapshot));
    }
    let (_, smallest) = stores.first().context("there are stores")?;
    let sized = worlds::by_size(sizes.first().copied().unwrap_or(100));
    let mut random = Random::new(worlds::SEED);
    let questions = worlds::balanced(smallest, &sized.world, &sized.hot, N_EACH, &mut random)?;
    let requests = worlds::requests(&questions)?;
    for (_, snapshot) in &stores {
        check_answers(snapshot, &requests)?;
        for request in &requests {
            let (here, there) = (
                worlds::decided(snapshot, request)?,
                worlds::decided(smallest, request)?,
            );
            ensure!(
                here.reason() == there.reason(),
                "sizes differ on {request:?}"
            );
        }
    }

    let last = sizes.last().copied().unwrap_or(0);
    let floor_at = options.pick(10_000, last);
    let (_, snapshot) = stores
        .iter()
        .find(|(n_policies, _)| *n_policies == floor_at)
        .context("the size of the floor")?;
    let ready = ReadyAnswers::of(snapshot, &requests, N_READY)?;
    let mut contenders: Vec<Contender<'_>> = stores
        .iter()
        .flat_map(|(n_policies, snapshot)| {
            [
                Contender::new(n_policies.to_string(), ask(authorize, snapshot, &requests)),
                Contender::new(
                    format!("{n_policies} by scan"),
                    ask(authorize_by_scan, snapshot, &requests),
                ),
            ]
        })
        .collect();
    contenders.push(Contender::new("ready answers", ready.ask(&requests)));
    let race = Race::run(contenders, options.effort())?;
    head(
        "By the size of the store: 21 statements attached, equal parts of allow, explicit deny and miss",
        &[
            "policies",
            "decision",
            "× that of the smallest",
            "by scan",
            "scan ÷ decision",
        ],
    );
    let first = sizes.first().copied().unwrap_or(0).to_string();
    for (n_policies, _) in &stores {
        let name = n_policies.to_string();
        let scan = format!("{n_policies} by scan");
        row(&[
            name.clone(),
            nanoseconds(race.median(&name)?),
            format!("{:.2}", race.ratio(&name, &first)?),
            nanoseconds(race.median(&scan)?),
            format!("{:.2}", race.ratio(&scan, &name)?),
        ]);
    }
    let name = floor_at.to_string();
    let ratio = race.ratio(&name, "ready answers")?;
    println!(
        "\nA hash map of {N_READY} ready answers: {} a question; a decision among {name} policies takes {ratio:.2} × that.",
        nanoseconds(race.median("ready answers")?),
    );
    let grown = race.ratio(&last.to_string(), &first)?;
    figures.at_most("1", format!("{last} policies ÷ {first}"), grown, 1.3);
    figures.at_most(
        "4",
        format!("{name} policies ÷ hash map of ready answers"),
        ratio,
        3.0,
    );

    let hits: Vec<(Outcome, Vec<Request>)> = by_outcome(snapshot, &requests)?;
    let contenders = hits
        .iter()
        .map(|(outcome, requests)| {
            Contender::new(outcome.label(), ask(authorize, snapshot, requests))
        })
        .collect();
    let race = Race::run(contenders, options.effort())?;
    head(
        &format!("By outcome, {name} policies"),
        &["outcome", "decision"],
    );
    for (outcome, _) in &hits {
        row(&[
            outcome.label().to_owned(),
            nanoseconds(race.median(outcome.label())?),
        ]);
    }
    parsing(options, snapshot, &questions, figures)
}

fn by_outcome<'q>(
    snapshot: &Snapshot,
    requests: &[Request<'q>],
) -> anyhow::Result<Vec<(Outcome, Vec<Request<'q>>)>> {
    let mut sets: Vec<(Outcome, Vec<Request>)> =
        Outcome::ALL.map(|outcome| (outcome, Vec::new())).to_vec();
    for request in requests {
        let outcome = Outcome::of(&worlds::decided(snapshot, request)?);
        for (_, set) in sets.iter_mut().filter(|(other, _)| *other == outcome) {
            set.push(request.clone());
        }
    }
    Ok(sets)
}

/// Measures the step before the decision, which checks and parses the texts of the question, alone and with the decision.
fn parsing(
    options: &Options,
    snapshot: &Snapshot,
    questions: &[Question],
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let at = "2026-03-01T09:00:00Z".parse()?;
    let cut = |question: &Question| Question {
        context: question.context.iter().take(N_KEYS).cloned().collect(),
        ..question.clone()
    };
    let kinds = [
        ("as they are", questions.to_vec()),
        (
            "with two context keys at most",
            questions.iter().map(cut).collect(),
        ),
    ];
    head(
        "Before the decision: checking and parsing the texts of a question",
        &["questions", "context keys", "parse", "parse and decide"],
    );
    for (name, questions) in kinds {
        let asked: Vec<_> = questions.iter().map(Question::received).collect();
        let n_keys: usize = asked.iter().map(|asked| asked.context.len()).sum();
        let contender = |name: &str, decides: bool| {
            let mut asked = asked.iter().cycle();
            Contender::new(name, move |n_times| {
                for asked in asked.by_ref().take(n_times) {
                    let Ok(request) = black_box(Request::parse(black_box(asked), at)) else {
                        anyhow::bail!("{asked:?} does not parse");
                    };
                    if decides && black_box(authorize(snapshot, &request)).is_err() {
                        anyhow::bail!("{asked:?} is refused");
                    }
                }
                Ok(())
            })
        };
        let (parse, both) = ("parse", "parse and decide");
        let contenders = vec![contender(parse, false), contender(both, true)];
        let race = Race::run(contenders, options.effort())?;
        let (parse, both) = (race.median(parse)?, race.median(both)?);
        row(&[
            name.to_owned(),
            format!("{:.1}", n_keys as f64 / asked.len() as f64),
            nanoseconds(parse),
            nanoseconds(both),
        ]);
        if name != "as they are" {
            figures.at_most("15.6", format!("parse and decide {name}, ns"), both, 600.0);
        }
    }
    Ok(())
}
