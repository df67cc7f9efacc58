//! How much later the answers of modest clients come beside a greedy one, and how much memory it takes.
//!
//! Eight clients ask at a steady pace. In turns they are alone, and beside one of the others. The server has one thread for
//! questions, and the greedy client gives way to both.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tonic::codegen::Bytes;

use crate::client::{self, Endpoint};
use crate::greedy::{Greedy, Messages};
use crate::load::{Questions, framed, percentile};
use crate::measure::{Figures, Options, head, median, memory, row};
use crate::process::{Process, Which};

/// The modest connections, each of which has one question at a time.
const N_CONNECTIONS: usize = 8;
/// The time from one question of a connection to its next. Together they ask 4,000 a second.
const PACE: Duration = Duration::from_millis(2);
/// The policies of the store of which principals are listed, too.
const N_POLICIES: usize = 100_000;

/// A part of the benchmark: its name, the goal, and the most that the p99 may be, as a multiple of that alone.
struct Part {
    name: &'static str,
    goal: &'static str,
    most: f64,
    kinds: &'static [(Greedy, &'static str)],
}

const PARTS: [Part; 2] = [
    Part {
        name: "lists",
        goal: "16.4",
        most: 1.5,
        kinds: &[(Greedy::Lists, "1,000 lists of principals at once")],
    },
    Part {
        name: "greedy",
        goal: "16",
        most: 2.0,
        kinds: &[
            (Greedy::Unread, "ten streams that nobody reads"),
            (
                Greedy::Cancelled,
                "streams of 10,000 questions that are cancelled",
            ),
            (
                Greedy::Malformed,
                "batches of 10,000 questions, mostly malformed",
            ),
        ],
    },
];

/// Measures all of them on the store of the other parts, and lists on a large one too.
pub fn beside(
    questions: &Questions,
    options: &Options,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    for part in &PARTS {
        if options.wants(part.name) {
            measure(questions, part, options, figures)?;
        }
    }
    let [lists, ..] = &PARTS;
    if options.wants(lists.name) && !options.is_short {
        let store = tempfile::tempdir()?;
        let large = crate::prepare(store.path(), N_POLICIES)?;
        measure(&large, lists, options, figures)?;
    }
    Ok(())
}

fn measure(
    questions: &Questions,
    part: &Part,
    options: &Options,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let server = Process::start(Which::Iamd, questions, 1)?;
    let messages = Messages::of(&questions.asked)?;
    let (n_rounds, time) =
        options.pick((9, Duration::from_secs(2)), (1, Duration::from_millis(200)));
    head(
        "Answers beside a greedy client, in microseconds",
        &[
            "what it does",
            "how often a second",
            "p50 alone",
            "beside it",
            "p99 alone",
            "beside it",
            "ratio",
            "server's CPU beside it",
            "most memory",
        ],
    );
    for &(greedy, what) in part.kinds {
        let mut rounds: Vec<[f64; 4]> = Vec::new();
        let (mut n_ended, mut busy) = (0, Vec::new());
        server.forget_peak()?;
        for round in 0..=n_rounds {
            let mut alone = ask(server.endpoint(), questions, time)?;
            let before = server.cpu()?;
            let (mut beside, n_calls) = with(greedy, &server, questions, &messages, time)
                .with_context(|| format!("beside {what}"))?;
            let used = server.cpu()?.saturating_sub(before);
            if round == 0 {
                continue; // it warms both up
            }
            n_ended += n_calls;
            busy.push(used.as_secs_f64() / time.as_secs_f64());
            rounds.push([
                percentile(&mut alone, 50)?,
                percentile(&mut beside, 50)?,
                percentile(&mut alone, 99)?,
                percentile(&mut beside, 99)?,
            ]);
        }
        let middle = |of: fn(&[f64; 4]) -> f64| median(rounds.iter().map(of).collect());
        let ratio = middle(|[.., alone, beside]| beside / alone);
        row(&[
            what.to_owned(),
            format!(
                "{:.0}",
                n_ended as f64 / time.as_secs_f64() / f64::from(n_rounds)
            ),
            format!("{:.0}", middle(|[p50, ..]| *p50)),
            format!("{:.0}", middle(|[_, p50, ..]| *p50)),
            format!("{:.0}", middle(|[.., p99, _]| *p99)),
            format!("{:.0}", middle(|[.., p99]| *p99)),
            format!("{ratio:.2}"),
            format!("{:.2}", median(busy)),
            memory(server.peak_kib()? * 1_024),
        ]);
        figures.at_most(part.goal, format!("p99 beside {what}"), ratio, part.most);
    }
    Ok(())
}

/// Asks beside `greedy`. Returns the time of each answer, and how often the greedy client did what it does.
fn with(
    greedy: Greedy,
    server: &Process,
    questions: &Questions,
    messages: &Messages,
    time: Duration,
) -> anyhow::Result<(Vec<Duration>, usize)> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let greedy = scope.spawn(|| greedy.run(server.endpoint(), messages, &is_over));
        let beside = ask(server.endpoint(), questions, time);
        is_over.store(true, Ordering::Relaxed);
        let n_calls = greedy.join().map_err(|_| anyhow!("it panicked"))?;
        Ok((beside?, n_calls?))
    })
}

/// Asks 4,000 times a second until `time` is over. Returns the time of each answer.
pub fn ask(
    endpoint: &Endpoint,
    questions: &Questions,
    time: Duration,
) -> anyhow::Result<Vec<Duration>> {
    client::on_this_thread(async {
        let pairs: Vec<(Bytes, Bytes)> = questions
            .asked
            .iter()
            .zip(&questions.answers)
            .map(|(question, answer)| (framed(question), framed(answer)))
            .collect();
        let mut asking = JoinSet::new();
        for index in 0..N_CONNECTIONS {
            let (endpoint, pairs) = (endpoint.clone(), pairs.clone());
            asking.spawn_local(async move {
                let mut requests = client::connect(&endpoint).await?;
                // Each begins at another moment.
                let part = u32::try_from(index)?;
                tokio::time::sleep(PACE * part / u32::try_from(N_CONNECTIONS)?).await;
                let mut pace = tokio::time::interval(PACE);
                pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let (begun, mut took) = (Instant::now(), Vec::new());
                for (question, expected) in pairs.iter().cycle().skip(index) {
                    pace.tick().await;
                    took.push(client::single(&mut requests, question, expected).await?);
                    if begun.elapsed() > time {
                        break;
                    }
                }
                anyhow::Ok(took)
            });
        }
        let mut took = Vec::new();
        while let Some(found) = asking.join_next().await {
            took.extend(found??);
        }
        Ok(took)
    })
}
