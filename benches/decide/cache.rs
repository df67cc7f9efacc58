//! Measures what the decision cache costs where it cannot help, and what it saves where it can.

use std::hint::black_box;

use anyhow::{Context, anyhow, ensure};
use iamd::compile::snapshot::Snapshot;
use iamd::engine::cache::{Caching, Counts, Mode};
use iamd::engine::live::Generation;
use iamd::engine::request::Request;

use crate::engines::authorize_by_scan;
use crate::measure::{Contender, Effort, Figures, Options, Race, head, nanoseconds, row, time_cpu};
use crate::worlds::{self, Outcome, Question, Random};

const MODES: [(&str, Mode); 3] = [
    ("off", Mode::Off),
    ("auto", Mode::Auto),
    ("always", Mode::Always),
];
/// The server's default.
const MAX_BYTES: usize = 8 << 20;
/// How many Denies with six conditions each the users have whose decisions are expensive.
const N_GUARDS: [usize; 2] = [8, 32];
const N_REPEATED: usize = 192;

/// Questions of one kind.
struct Kind<'s> {
    name: String,
    snapshot: &'s Snapshot,
    questions: Vec<Question>,
    is_expensive: bool,
}

/// A cache in one mode, with the decisions that it holds.
struct Kept {
    mode: &'static str,
    caching: Caching,
    generation: Generation,
}

/// Prints the table.
pub fn measure(options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    let sized = worlds::by_size(options.pick(10_000, 1_000));
    let cheap = worlds::load(&sized.world)?.snapshot;
    let mut random = Random::new(worlds::SEED);
    let drawn = worlds::balanced(
        &cheap,
        &sized.world,
        &sized.hot,
        N_REPEATED / 3,
        &mut random,
    )?;
    let (guarded, sets) = worlds::guarded(&N_GUARDS, N_REPEATED);
    let expensive = worlds::load(&guarded)?.snapshot;
    let mut kinds = vec![Kind {
        name: "21 statements attached".to_owned(),
        snapshot: &cheap,
        questions: numberable(&cheap, drawn)?,
        is_expensive: false,
    }];
    for (n_guards, questions) in sets {
        kinds.push(Kind {
            name: format!("{n_guards} Denies of six conditions"),
            snapshot: &expensive,
            questions: numberable(&expensive, questions)?,
            is_expensive: true,
        });
    }
    head(
        "Looking decisions up: off, auto and always in turns",
        &[
            "questions",
            "off",
            "auto",
            "always",
            "auto ÷ off",
            "always ÷ off",
            "auto: hits, misses, bypasses of 1,000",
        ],
    );
    for kind in &kinds {
        never_repeated(options, figures, kind)?;
        repeated(options, figures, kind)?;
    }
    Ok(())
}

/// Returns the questions whose answer stays the same when a number is appended to the resource.
fn numberable(snapshot: &Snapshot, questions: Vec<Question>) -> anyhow::Result<Vec<Question>> {
    let mut same = Vec::new();
    for question in questions {
        let plain = worlds::decided(snapshot, &question.request()?)?;
        let numbered = numbered(&question, 0);
        let numbered = worlds::decided(snapshot, &numbered.request()?)?;
        if Outcome::of(&plain) == Outcome::of(&numbered) {
            same.push(question);
        }
    }
    ensure!(same.len() >= N_REPEATED / 4, "too few of them are left");
    Ok(same)
}

/// Returns the same question about another resource.
fn numbered(question: &Question, number: usize) -> Question {
    let resource = format!("{}-{number:09}", question.resource);
    Question {
        resource,
        ..question.clone()
    }
}

/// Returns questions that were never asked before, numbered from `first`.
fn new_questions(questions: &[Question], first: usize, n_questions: usize) -> Vec<Question> {
    let numbers = first..first + n_questions;
    let questions = questions.iter().cycle().skip(first % questions.len());
    numbers
        .zip(questions)
        .map(|(number, question)| numbered(question, number))
        .collect()
}

fn never_repeated(options: &Options, figures: &mut Figures, kind: &Kind<'_>) -> anyhow::Result<()> {
    // If questions do not repeat, the cache rests for some thousand of them and then tries again. A round of expensive
    // questions must contain several rests and tries, or the median would leave the tries out.
    let (n_times, n_rounds) = match kind.is_expensive {
        true => (options.pick(10_000, 500), options.pick(41, 3)),
        false => (options.pick(2_000, 200), options.pick(101, 3)),
    };
    let samples = new_questions(&kind.questions, 900_000_000, options.pick(2_000, 400));
    let samples = worlds::requests(&samples)?;
    check_answers(kind.snapshot, &every_mode(kind.snapshot), &samples)?;
    let kept = every_mode(kind.snapshot);
    let contenders = kept.iter().map(|kept| {
        let mut first = 0;
        Contender::prepared(kept.mode, n_times, move |n_times| {
            let questions = new_questions(&kind.questions, first, n_times);
            let requests = questions.iter().map(Question::request);
            let requests = requests.collect::<Result<Vec<_>, _>>()?;
            first += n_times;
            time_cpu(|| requests.iter().try_for_each(|one| kept.ask(one)))
        })
    });
    let effort = Effort {
        n_rounds,
        ..options.effort()
    };
    let race = Race::run(contenders.collect(), effort)?;
    for kept in &kept {
        let hits = kept.caching.counts().hits;
        ensure!(hits == 0, "{}: {hits} questions repeat", kind.name);
    }
    let name = format!("{}, never repeated", kind.name);
    let ratio = show(&name, &race, &kept, Default::default())?;
    figures.at_most("8", format!("auto ÷ off, {name}"), ratio, 1.02);
    Ok(())
}

fn repeated(options: &Options, figures: &mut Figures, kind: &Kind<'_>) -> anyhow::Result<()> {
    let requests = worlds::requests(&kind.questions)?;
    let kept = every_mode(kind.snapshot);
    check_answers(kind.snapshot, &kept, &requests)?;
    let contenders = kept.iter().map(|kept| {
        let mut requests = requests.iter().cycle();
        let batch = move |n_times| {
            let mut some = requests.by_ref().take(n_times);
            some.try_for_each(|one| kept.ask(one))
        };
        Contender::new(kept.mode, batch)
    });
    let before = kept.each_ref().map(|kept| kept.caching.counts());
    let race = Race::run(contenders.collect(), options.effort())?;
    let name = format!("{}, {} repeated", kind.name, requests.len());
    let ratio = show(&name, &race, &kept, before)?;
    if kind.is_expensive {
        figures.at_most("8", format!("auto ÷ off, {name}"), ratio, 0.7);
    }
    // The answers are checked again now that the caches hold all that they can.
    check_answers(kind.snapshot, &kept, &requests)
}

fn every_mode(snapshot: &Snapshot) -> [Kept; 3] {
    // Copies of a snapshot share its tables, so all modes use the same slices at the same addresses.
    MODES.map(|(name, mode)| {
        let caching = Caching::new(mode, MAX_BYTES, worlds::SEED);
        Kept {
            mode: name,
            generation: Generation::new(snapshot.clone(), &caching),
            caching,
        }
    })
}

impl Kept {
    fn ask(&self, request: &Request) -> anyhow::Result<()> {
        let decision = self.generation.authorize(black_box(request));
        match black_box(decision) {
            Ok(_) => Ok(()),
            Err(error) => Err(anyhow!("{request:?}: {error:?}")),
        }
    }
}

/// Checks that every mode answers as the scan does. Each question is asked three times, because the cache keeps a
/// decision only when it is asked again.
fn check_answers(snapshot: &Snapshot, kept: &[Kept], requests: &[Request]) -> anyhow::Result<()> {
    for request in requests {
        let expected = authorize_by_scan(snapshot, request);
        let expected = expected.map_err(|error| anyhow!("{request:?}: {error:?}"))?;
        for kept in kept.iter().chain(kept).chain(kept) {
            let decision = kept.generation.authorize(request);
            ensure!(
                matches!(&decision, Ok(decision) if decision.reason() == expected.reason()),
                "{}: {request:?}: {decision:?} instead of {expected:?}",
                kept.mode,
            );
        }
    }
    Ok(())
}

/// Prints one row and returns the ratio of `auto` to `off`. `before` holds the counts from before the race.
fn show(name: &str, race: &Race<'_>, kept: &[Kept; 3], before: [Counts; 3]) -> anyhow::Result<f64> {
    let ratio = race.ratio("auto", "off")?;
    let auto = kept
        .iter()
        .zip(before)
        .find(|(kept, _)| kept.mode == "auto");
    let (auto, before) = auto.context("auto")?;
    let after = auto.caching.counts();
    let counts = [
        after.hits - before.hits,
        after.misses - before.misses,
        after.bypasses - before.bypasses,
    ];
    let n_decisions = race.n_done("auto")? as f64;
    let of_thousand = |n: u64| format!("{:.1}", n as f64 * 1_000.0 / n_decisions);
    row(&[
        name.to_owned(),
        nanoseconds(race.median("off")?),
        nanoseconds(race.median("auto")?),
        nanoseconds(race.median("always")?),
        format!("{ratio:.3}"),
        format!("{:.3}", race.ratio("always", "off")?),
        counts.map(of_thousand).join(", "),
    ]);
    Ok(ratio)
}
