//! A server that is asked ten times what it can answer: what it still answers, and how late.
//!
//! The question is expensive, so that one client can offer that much. What the server can do is the rate at which it answers
//! clients that wait for their answers.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use h2::client::SendRequest;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tonic::codegen::Bytes;

use crate::client::{self, Endpoint};
use crate::load::{Load, Questions, framed, percentile};
use crate::measure::{Figures, Options, head, median, row};
use crate::process::{Extra, Process};
use crate::worlds::Question;

/// How many times what it can answer the server is asked.
const TIMES: f64 = 10.0;
/// The connections of the client, and the calls that each may have in flight.
const CONNECTIONS: (usize, usize) = (8, 100);
/// The part of the time until an overload is known and the questions of before are answered. They are reported on their own.
const ONSET: u32 = 10;
/// The statements of the store. Each has a pattern that takes long to match.
const N_STATEMENTS: usize = 200;

/// Measures a server in turns with one call at a time, with as much as it can do, and with far more than that.
pub fn overload(options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    let store = tempfile::tempdir()?;
    let questions = Questions::new(store.path(), &[expensive(store.path())?])?;
    let extra = Extra {
        arguments: vec!["--decision-cache".to_owned(), "off".to_owned()],
        ..Extra::default()
    };
    let server = Process::with(&questions, &extra)?;
    // The calls that come one at a time take longer than an overload lasts after its last refusal.
    let (n_rounds, n_calls, time) = options.pick(
        (5, 2_000, Duration::from_secs(5)),
        (1, 500, Duration::from_millis(200)),
    );
    let mut rounds = Vec::new();
    for round in 0..=n_rounds {
        let (cost, mut alone) = server.costs(&questions, Load::unary(1, 1), n_calls)?;
        let begun = Instant::now();
        let (_, full) = server.costs(&questions, Load::unary(4, 4), n_calls)?;
        let capacity = full.len() as f64 / begun.elapsed().as_secs_f64();
        server.forget_peak()?;
        let before = server.cpu()?;
        let offered = offer(server.endpoint(), &questions, capacity * TIMES, time)?;
        let used = server.cpu()?.saturating_sub(before).as_secs_f64();
        let n_answered = offered.answered.len();
        let mut all: Vec<Duration> = offered.answered.iter().map(|(_, took)| *took).collect();
        let later = offered
            .answered
            .iter()
            .filter(|(asked, _)| *asked > time / ONSET);
        let mut later: Vec<Duration> = later.map(|(_, took)| *took).collect();
        // What is left of the time after the answers went into the refusals.
        let refusals = (used * 1e6 - n_answered as f64 * cost).max(0.0);
        let found = [
            capacity,
            percentile(&mut alone, 99)?,
            percentile(&mut later, 99)?,
            (n_answered + offered.n_refused) as f64 / offered.took.as_secs_f64(),
            n_answered as f64 / offered.took.as_secs_f64(),
            refusals / offered.n_refused.max(1) as f64,
            server.peak_kib()? as f64,
            percentile(&mut all, 99)?,
        ];
        if round > 0 {
            rounds.push(found);
        }
    }
    let middle = |of: fn(&[f64; 8]) -> f64| median(rounds.iter().map(of).collect());
    let ratio = middle(|[_, alone, beside, ..]| beside / alone);
    let goodput = middle(|[capacity, _, _, _, answered, ..]| answered / capacity);
    head(
        "A server that is asked ten times what it can answer",
        &["what", "figure"],
    );
    for (what, figure) in [
        (
            "answers a second that it can give",
            middle(|found| found[0]),
        ),
        ("p99 with one call at a time, µs", middle(|found| found[1])),
        ("questions a second", middle(|found| found[3])),
        ("answers a second", middle(|found| found[4])),
        ("p99 of the answers, µs", middle(|found| found[2])),
        (
            "the same with the first tenth of the time, µs",
            middle(|found| found[7]),
        ),
        ("CPU time of a refusal, µs", middle(|found| found[5])),
        ("most memory, KiB", middle(|found| found[6])),
    ] {
        row(&[what.to_owned(), format!("{figure:.0}")]);
    }
    figures.at_most(
        "17",
        "overload: p99 ÷ p99 of one call at a time",
        ratio,
        3.0,
    );
    figures.at_least("17", "overload: answers ÷ what it can do", goodput, 0.9);
    let refusal = middle(|found| found[5]);
    figures.at_most("17", "CPU time of a refusal, µs", refusal, 100.0);
    Ok(())
}

/// What became of the questions that were offered.
struct Offered {
    /// When each answered question was asked, from the beginning, and how long its answer took.
    answered: Vec<(Duration, Duration)>,
    n_refused: usize,
    took: Duration,
}

/// Asks `rate` times a second, whether answers come or not, until `time` is over.
fn offer(
    endpoint: &Endpoint,
    questions: &Questions,
    rate: f64,
    time: Duration,
) -> anyhow::Result<Offered> {
    client::on_this_thread(async {
        let question = framed(questions.asked.first().context("there is a question")?);
        let (n_connections, most_in_flight) = CONNECTIONS;
        let mut connections = Vec::new();
        for _ in 0..n_connections {
            connections.push((client::connect(endpoint).await?, Rc::new(Cell::new(0))));
        }
        let took = Rc::new(RefCell::new(Vec::new()));
        let mut asking = JoinSet::new();
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (begun, mut n_asked, mut next) = (Instant::now(), 0, 0);
        while begun.elapsed() < time {
            tick.tick().await;
            let due = (begun.elapsed().as_secs_f64() * rate) as usize;
            let mut n_full = 0;
            while n_asked < due && n_full < n_connections {
                next = (next + 1) % n_connections;
                let (requests, in_flight) = connections.get(next).context("there are some")?;
                if in_flight.get() >= most_in_flight {
                    n_full += 1;
                    continue;
                }
                in_flight.set(in_flight.get() + 1);
                n_asked += 1;
                let (requests, question) = (requests.clone(), question.clone());
                let (in_flight, took) = (Rc::clone(in_flight), Rc::clone(&took));
                asking.spawn_local(async move {
                    let asked_at = begun.elapsed();
                    let asked = ask(requests, question).await;
                    in_flight.set(in_flight.get() - 1);
                    let asked = asked?.map(|took| (asked_at, took));
                    took.borrow_mut().push(asked);
                    anyhow::Ok(())
                });
            }
            while let Some(asked) = asking.try_join_next() {
                asked??;
            }
        }
        while let Some(asked) = asking.join_next().await {
            asked??;
        }
        let took_in_all = begun.elapsed();
        let all = took.take();
        let answered: Vec<(Duration, Duration)> = all.iter().copied().flatten().collect();
        Ok(Offered {
            n_refused: all.len() - answered.len(),
            answered,
            took: took_in_all,
        })
    })
}

/// Returns how long the answer took, or `None` if the question was refused for the load.
async fn ask(
    mut requests: SendRequest<Bytes>,
    question: Bytes,
) -> anyhow::Result<Option<Duration>> {
    let begun = Instant::now();
    let (response, mut sender) = client::begin(&mut requests, "Authorize").await?;
    sender.send_data(question, true)?;
    let response = response.await?;
    let status = |headers: &tonic::codegen::http::HeaderMap| {
        let status = headers.get("grpc-status")?;
        Some(status.to_str().unwrap_or_default().to_owned())
    };
    let mut code = status(response.headers());
    let mut body = response.into_body();
    while client::data(&mut body).await?.is_some() {}
    if let Some(trailers) = body.trailers().await? {
        code = code.or(status(&trailers));
    }
    match code.as_deref() {
        Some("0") => Ok(Some(begun.elapsed())),
        Some("8") => Ok(None),
        other => bail!("an answer has the status {other:?}"),
    }
}

/// Writes a store whose one user has many statements with patterns that take long, and returns a question about all of them.
fn expensive(store: &Path) -> anyhow::Result<Question> {
    let statement = |n: usize| {
        let pattern = format!("*?a?a*?a?a*?a?a*?a?a*?{n}?*");
        format!(
            r#"{{"Effect": "Allow", "Action": "orders:Get", "Resource": "*",
                "Condition": {{"StringLike": {{"app:text": "{pattern}"}}}}}}"#
        )
    };
    let statements: Vec<String> = (0..N_STATEMENTS).map(statement).collect();
    let user = format!(
        r#"{{"UserName": "ann", "UserPolicyList": [{{"PolicyName": "p", "PolicyDocument":
            {{"Version": "2012-10-17", "Statement": [{}]}}}}]}}"#,
        statements.join(", ")
    );
    fs::create_dir(store.join("users"))?;
    fs::write(
        store.join("account.json"),
        r#"{"AccountId": "123456789012"}"#,
    )?;
    fs::write(store.join("users/ann.json"), user)?;
    Ok(Question {
        principal: "arn:aws:iam::123456789012:user/ann".to_owned(),
        action: "orders:Get".to_owned(),
        resource: "arn:aws:orders:eu-west-1:123456789012:order/1".to_owned(),
        context: vec![("app:text".to_owned(), "a".repeat(250))],
    })
}
