//! Measures whether the cost of every pattern is linear in the text.

use anyhow::{Context, ensure};
use iamd::engine::request::Request;

use crate::check_answers;
use crate::engines::{ask, authorize};
use crate::measure::{Contender, Figures, Options, Race, head, nanoseconds, row};
use crate::worlds::{self, Outcome};

const N_BYTES: [usize; 2] = [512, 2_048];
const AT_MOST_NANOSECONDS: f64 = 10_000.0;

/// Prints the table.
pub fn measure(options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    let (world, adversaries) = worlds::adversarial(&N_BYTES);
    let snapshot = worlds::load(&world)?.snapshot;
    head(
        "Adversarial patterns: a whole decision that has to look at all of the text, and misses",
        &["pattern", "512 B", "2 KiB", "ratio"],
    );
    let (mut steepest, mut slowest) = ((0.0, String::new()), (0.0, String::new()));
    for (name, questions) in &adversaries {
        let requests = worlds::requests(questions)?;
        check_answers(&snapshot, &requests)?;
        let mut contenders = Vec::new();
        for (request, n_bytes) in requests.chunks(1).zip(N_BYTES) {
            let first: &Request = request.first().context("a chunk of one")?;
            let decision = worlds::decided(&snapshot, first)?;
            ensure!(
                Outcome::of(&decision) == Outcome::Miss,
                "{name}: {decision:?}"
            );
            contenders.push(Contender::new(
                n_bytes.to_string(),
                ask(authorize, &snapshot, request),
            ));
        }
        let race = Race::run(contenders, options.effort())?;
        let [short, long] = N_BYTES.map(|n_bytes| race.median(&n_bytes.to_string()));
        let (short, long) = (short?, long?);
        let ratio = race.ratio("2048", "512")?;
        row(&[
            name.clone(),
            nanoseconds(short),
            nanoseconds(long),
            format!("{ratio:.2}"),
        ]);
        if ratio > steepest.0 {
            steepest = (ratio, name.clone());
        }
        if long > slowest.0 {
            slowest = (long, name.clone());
        }
    }
    figures.at_most(
        "5",
        format!("2 KiB ÷ 512 B, {}", steepest.1),
        steepest.0,
        5.0,
    );
    figures.at_most(
        "5",
        format!("nanoseconds for 2 KiB, {}", slowest.1),
        slowest.0,
        AT_MOST_NANOSECONDS,
    );
    Ok(())
}
