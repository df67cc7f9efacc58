//! Compares iamd with other engines: 10,000 policies with conditions, in process, on one thread.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml [-- --check | --short]
//! ```
//!
//! All engines get the same policies, each in its own language and used as its documentation says. They also get the
//! same questions, which are parsed into each engine's own types before the run. All answers are compared before
//! anything is timed.

#[expect(
    clippy::allow_attributes,
    reason = "no benchmark uses all of what they share"
)]
#[allow(
    dead_code,
    unused_imports,
    reason = "no benchmark uses all of what they share"
)]
#[path = "../../measure/mod.rs"]
mod measure;
#[expect(
    clippy::allow_attributes,
    reason = "no benchmark uses all of what they share"
)]
#[allow(
    dead_code,
    unused_imports,
    reason = "no benchmark uses all of what they share"
)]
#[path = "../../worlds/mod.rs"]
mod worlds;

mod by_cedar;
mod by_iam_rs;
mod by_rego;
mod company;

use std::collections::HashMap;
use std::hint::black_box;

use anyhow::{Context, bail, ensure};

use company::Company;
use measure::{Contender, Demand, Effort, Figures, Race, conditions, head, nanoseconds, row};

/// A function of an engine that returns whether it allows question `index`.
pub type Ask<'e> = Box<dyn FnMut(usize) -> anyhow::Result<bool> + 'e>;

const OURS: &str = "iamd";
const FLOOR: &str = "hash map of ready answers";

fn main() -> anyhow::Result<()> {
    let (mut is_checked, mut is_short) = (false, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--check" => is_checked = true,
            "--short" => is_short = true,
            unknown => bail!("`{unknown}` is none of --check, --short"),
        }
    }
    conditions("before")?;
    let n_groups = if is_short { 20 } else { 500 };
    let company = Company::of(n_groups)?;
    let iamd = company.engine()?;
    let cedar = by_cedar::Engine::of(&company)?;
    let iam_rs = by_iam_rs::Engine::of(&company)?;
    let mut rego = by_rego::Engine::of(&company)?;
    let ready = ReadyAnswers::of(&company);

    let engines: Vec<(&str, Ask<'_>)> = vec![
        (OURS, Box::new(|index| iamd.ask(index))),
        (FLOOR, Box::new(|index| ready.ask(&company, index))),
        ("Cedar, one policy set", Box::new(|index| cedar.ask(index))),
        (
            "Cedar, sliced by the application",
            Box::new(|index| cedar.ask_sliced(index)),
        ),
        (
            "iam-rs, one policy set",
            Box::new(|index| iam_rs.ask(index)),
        ),
        (
            "iam-rs, sliced by the application",
            Box::new(|index| iam_rs.ask_sliced(index)),
        ),
        (
            "Rego as an index, compiled",
            Box::new(|index| rego.ask(index)),
        ),
    ];
    compare(&company, engines, is_checked, is_short)
}

/// The engines, and how many times as long as iamd each must take.
const AT_LEAST: [(&str, f64); 5] = [
    ("Cedar, one policy set", 20_000.0),
    ("iam-rs, one policy set", 20_000.0),
    ("Cedar, sliced by the application", 50.0),
    ("iam-rs, sliced by the application", 50.0),
    ("Rego as an index, compiled", 40.0),
];

fn compare(
    company: &Company,
    mut engines: Vec<(&str, Ask<'_>)>,
    is_checked: bool,
    is_short: bool,
) -> anyhow::Result<()> {
    let n_questions = company.questions.len();
    for (name, ask) in &mut engines {
        for (index, expected) in company.answers.iter().enumerate() {
            let answer = ask(index).with_context(|| format!("{name} fails"))?;
            let question = company.questions.get(index);
            ensure!(answer == *expected, "{name} says {answer} to {question:?}");
        }
    }
    let n_allowed = company
        .answers
        .iter()
        .filter(|is_allowed| **is_allowed)
        .count();
    println!(
        "\n{} policies of one statement each, {} users in {} groups; {n_questions} questions, {n_allowed} of them \
         allowed; all engines give the same answers.",
        company.world.policies.len(),
        company.world.users.len(),
        company.world.groups.len(),
    );
    let names: Vec<String> = engines.iter().map(|(name, _)| (*name).to_owned()).collect();
    let contenders = engines.into_iter().map(|(name, mut ask)| {
        let mut index = 0;
        Contender::new(name, move |n_times| {
            for _ in 0..n_times {
                black_box(ask(black_box(index))?);
                index = (index + 1) % n_questions;
            }
            Ok(())
        })
    });
    let effort = if is_short {
        Effort::SHORT
    } else {
        Effort::FULL
    };
    let race = Race::run(contenders.collect(), effort)?;
    head(
        "The same work by other engines: CPU time of a decision, from the parsed request",
        &["engine", "decision", "÷ iamd"],
    );
    let mut figures = Figures::default();
    for name in &names {
        let ratio = race.ratio(name, OURS)?;
        row(&[
            name.clone(),
            nanoseconds(race.median(name)?),
            format!("{ratio:.1}"),
        ]);
    }
    figures.at_most(
        "4",
        format!("iamd ÷ {FLOOR}"),
        race.ratio(OURS, FLOOR)?,
        3.0,
    );
    for (name, at_least) in AT_LEAST {
        figures.at_least(
            "4",
            format!("{name} ÷ iamd"),
            race.ratio(name, OURS)?,
            at_least,
        );
    }
    conditions("after")?;
    figures.conclude(if is_checked { Demand::Everything } else { Demand::Nothing })
}

/// The lower bound: a map from everything in the question to its ready answer.
struct ReadyAnswers(HashMap<Vec<u8>, bool>);

impl ReadyAnswers {
    fn of(company: &Company) -> Self {
        let answers = company.questions.iter().zip(&company.answers);
        Self(
            answers
                .map(|(question, answer)| (key(question), *answer))
                .collect(),
        )
    }

    fn ask(&self, company: &Company, index: usize) -> anyhow::Result<bool> {
        let question = company.questions.get(index).context("a question")?;
        let answer = self.0.get(&key(question));
        answer.copied().context("every answer is ready")
    }
}

/// Returns the key of a question: all its fields, each with its length in front. It is built for each call, as a real
/// application would have to.
fn key(question: &worlds::Question) -> Vec<u8> {
    let mut key = Vec::with_capacity(512);
    let mut field = |text: &str| {
        key.extend_from_slice(&(text.len() as u32).to_le_bytes());
        key.extend_from_slice(text.as_bytes());
    };
    field(&question.principal);
    field(&question.action);
    field(&question.resource);
    for (name, value) in &question.context {
        field(name);
        field(value);
    }
    key
}
