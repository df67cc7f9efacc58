//! Measures what one call over the wire costs the client and the server.
//!
//! The clients run closed loops: each sends its next question when it has the answer to the last. One client shows the
//! latency of an idle server. Many clients show the throughput when clients and server share the machine's cores.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::client::Client;
use crate::figures::{Samples, head, row, time};
use crate::server::Server;
use crate::worlds::{Question, World};

/// Rounds of each measurement; the table shows the one with the median rate.
const N_ROUNDS: usize = 3;
const N_CALLS: usize = 40_000;
const N_WARM_UP_CALLS: usize = 2_000;
/// The longest time of a round on any machine.
const ROUND_AT_MOST: Duration = Duration::from_secs(60);

/// The results of one round.
struct Round {
    calls_per_second: f64,
    p50: Duration,
    p99: Duration,
    cpu_per_call: Duration,
}

/// Prints the table.
pub fn measure(worlds: &[World]) -> anyhow::Result<()> {
    let ghz = find_ghz()?;
    head(
        &format!("Calls over loopback ({N_CALLS} calls a round, median of {N_ROUNDS} rounds)"),
        &[
            "store",
            "client",
            "calls/s",
            "p50",
            "p99",
            "server CPU per call",
        ],
    );
    for world in worlds {
        let server = Server::start(world.path(), world.first_question()?)?;
        closed_loop(&server, &world.questions, 1, N_WARM_UP_CALLS)?;
        for n_clients in [1, 8] {
            let round =
                median_round(|| closed_loop(&server, &world.questions, n_clients, N_CALLS))?;
            print_round(world, &format!("closed loop, {n_clients}"), &round);
        }
        for n_clients in [1, 8, 50] {
            let round = median_round(|| by_ghz(&ghz, &server, world.first_question()?, n_clients))?;
            print_round(world, &format!("ghz, {n_clients}"), &round);
        }
    }
    Ok(())
}

fn median_round(mut run: impl FnMut() -> anyhow::Result<Round>) -> anyhow::Result<Round> {
    let mut rounds = (0..N_ROUNDS)
        .map(|_| run())
        .collect::<anyhow::Result<Vec<_>>>()?;
    rounds.sort_by(|a, b| a.calls_per_second.total_cmp(&b.calls_per_second));
    Ok(rounds.swap_remove(N_ROUNDS / 2))
}

fn print_round(world: &World, client: &str, round: &Round) {
    row(&[
        world.name.clone(),
        client.to_owned(),
        format!("{:.0}", round.calls_per_second),
        time(round.p50),
        time(round.p99),
        time(round.cpu_per_call),
    ]);
}

/// Lets `n_clients` connections, all on one thread, ask the questions in turn until they have `n_calls` answers
/// together.
fn closed_loop(
    server: &Server,
    questions: &[Question],
    n_clients: usize,
    n_calls: usize,
) -> anyhow::Result<Round> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..n_clients {
            clients.push(Client::connect(&server.address).await?);
        }
        let cpu_before = server.cpu()?;
        let begin = Instant::now();
        let mut loops = tokio::task::JoinSet::new();
        for client in clients {
            let (questions, address) = (questions.to_vec(), server.address.clone());
            loops.spawn(async move {
                ask_in_turn(client, &questions, n_calls / n_clients, begin, &address).await
            });
        }
        let mut latencies = Samples::default();
        while let Some(samples) = loops.join_next().await {
            latencies.append(samples??);
        }
        let elapsed = begin.elapsed();
        let cpu = server.cpu()?.saturating_sub(cpu_before);
        Ok(Round {
            calls_per_second: latencies.len() as f64 / elapsed.as_secs_f64(),
            cpu_per_call: cpu.div_f64(latencies.len() as f64),
            p50: latencies.quantile(0.5),
            p99: latencies.quantile(0.99),
        })
    })
}

async fn ask_in_turn(
    mut client: Client,
    questions: &[Question],
    n_calls: usize,
    begin: Instant,
    address: &str,
) -> anyhow::Result<Samples> {
    let mut latencies = Samples::default();
    for question in questions.iter().cycle().take(n_calls) {
        let sent = Instant::now();
        let answer = client
            .ask(question)
            .await
            .with_context(|| format!("asking {address}"))?;
        latencies.push(sent.elapsed());
        ensure!(
            answer.is_allowed == question.is_allowed,
            "{} got {answer:?}",
            question.label
        );
        ensure!(
            begin.elapsed() < ROUND_AT_MOST,
            "a round took over {ROUND_AT_MOST:?}"
        );
    }
    Ok(latencies)
}

/// Runs ghz, which finds the protocol by reflection. Fails on any status but OK.
fn by_ghz(
    ghz: &Path,
    server: &Server,
    question: &Question,
    n_clients: usize,
) -> anyhow::Result<Round> {
    let request = &question.request;
    let data = serde_json::json!({
        "principal": request.principal, "action": request.action, "resource": request.resource,
    });
    let cpu_before = server.cpu()?;
    // ghz ignores the number of calls if it has its own `--max-duration`.
    let output = Command::new("timeout")
        .arg(ROUND_AT_MOST.as_secs().to_string())
        .arg(ghz)
        .args([
            "--insecure",
            "--call",
            "iamd.v1.AuthorizationService.Authorize",
            "--format",
            "json",
        ])
        .args(["--data", &data.to_string()])
        .args(["--total", &N_CALLS.to_string(), "--timeout", "10s"])
        .args([
            "--concurrency",
            &n_clients.to_string(),
            "--connections",
            &n_clients.min(8).to_string(),
        ])
        .arg(&server.address)
        .output()?;
    let cpu = server.cpu()?.saturating_sub(cpu_before);
    ensure!(
        output.status.success(),
        "ghz failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Report = serde_json::from_slice(&output.stdout)?;
    ensure!(
        report.status_code_distribution == HashMap::from([("OK".to_owned(), N_CALLS)]),
        "not every call of ghz was OK: {:?}",
        report.status_code_distribution,
    );
    let quantile = |percentage: u32| {
        let found = report
            .latency_distribution
            .iter()
            .find(|quantile| quantile.percentage == percentage);
        found
            .map(|quantile| Duration::from_nanos(quantile.latency))
            .context("ghz reports no such quantile")
    };
    Ok(Round {
        calls_per_second: report.rps,
        p50: quantile(50)?,
        p99: quantile(99)?,
        cpu_per_call: cpu.div_f64(N_CALLS as f64),
    })
}

/// The parts of ghz's report that are read.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    rps: f64,
    status_code_distribution: HashMap<String, usize>,
    latency_distribution: Vec<Quantile>,
}

/// A percentile: this percentage of the calls took at most `latency` nanoseconds.
#[derive(serde::Deserialize)]
struct Quantile {
    percentage: u32,
    latency: u64,
}

/// Returns the ghz that `tests/peers/install` made, or else the one on the `PATH`.
fn find_ghz() -> anyhow::Result<PathBuf> {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/ghz");
    if installed.is_file() {
        return Ok(installed);
    }
    Command::new("ghz")
        .arg("--version")
        .output()
        .context("`ghz` is missing: run `tests/peers/install go`")?;
    Ok("ghz".into())
}
