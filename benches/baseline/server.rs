//! The real server as a child process, with its CPU time and memory as the system reports them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::client::Client;
use crate::worlds::Question;

/// The time limit for steps that should take milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process of `iamd serve` on one store. Dropping this ends it.
pub struct Server {
    process: Child,
    /// The address on which it listens.
    pub address: String,
    /// The time from the start of the process to the first right answer to `Authorize`.
    pub ready_after: Duration,
}

impl Server {
    /// Starts the server and waits until it answers `question` as expected.
    pub fn start(store: &Path, question: &Question) -> anyhow::Result<Self> {
        let begin = Instant::now();
        let mut process = Command::new(env!("CARGO_BIN_EXE_iamd"))
            .args(["serve", "--listen", "127.0.0.1:0", "--store"])
            .arg(store)
            .args(["--http-listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = process.stderr.take().context("stderr is piped")?;
        let log = Arc::new(Mutex::new(String::new()));
        let reader = Arc::clone(&log);
        // This thread reads the log until the server ends, so that the log never blocks the server.
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Ok(mut log) = reader.lock() {
                    *log += &line;
                    log.push('\n');
                }
            }
        });
        let mut server = Self {
            process,
            address: String::new(),
            ready_after: Duration::ZERO,
        };
        let ready = server.wait_until_ready(question, &log, begin);
        ready.with_context(|| format!("the server is not ready; its log:\n{}", text_of(&log)))?;
        server.ready_after = begin.elapsed();
        Ok(server)
    }

    fn wait_until_ready(
        &mut self,
        question: &Question,
        log: &Mutex<String>,
        begin: Instant,
    ) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut client = None;
            loop {
                ensure!(begin.elapsed() < PATIENCE, "it took over {PATIENCE:?}");
                if let Some(status) = self.process.try_wait()? {
                    bail!("it ended: {status}");
                }
                match &mut client {
                    None => {
                        if let Some(address) = text_of(log).lines().find_map(listening_address) {
                            client = Some(Client::connect(&address).await?);
                            self.address = address;
                            continue;
                        }
                    }
                    Some(client) => {
                        if let Ok(answer) = client.ask(question).await {
                            ensure!(
                                answer.is_allowed == question.is_allowed,
                                "{} got {answer:?}",
                                question.label
                            );
                            return Ok(());
                        }
                    }
                }
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        })
    }

    /// Returns the CPU time that all threads of the process have used, user and system together.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let (_, fields) = stat
            .rsplit_once(") ")
            .context("no name in /proc/PID/stat")?;
        // These are fields 14 and 15 of the whole line (proc_pid_stat(5)). The rest of the line begins with field 3.
        let ticks: u64 = fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap_or(0))
            .sum();
        Ok(Duration::from_secs_f64(ticks as f64 / ticks_per_second()?))
    }

    /// Returns a field of `/proc/PID/status` in KiB: `VmRSS`, `RssAnon` or `VmHWM`.
    pub fn memory_kib(&self, field: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = line
            .and_then(|line| line.split_whitespace().next())
            .with_context(|| format!("no `{field}`"))?;
        Ok(number.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text_of(log: &Mutex<String>) -> String {
    log.lock().map(|log| log.clone()).unwrap_or_default()
}

/// Returns the address in the log line that says where the server listens.
fn listening_address(line: &str) -> Option<String> {
    let record: serde_json::Value = serde_json::from_str(line).ok()?;
    if !line.contains("listening") {
        return None;
    }
    let address = record
        .get("address")
        .or_else(|| record.get("fields")?.get("address"))?;
    Some(address.as_str()?.to_owned())
}

fn ticks_per_second() -> anyhow::Result<f64> {
    let output = Command::new("getconf")
        .arg("CLK_TCK")
        .output()
        .context("`getconf` is missing")?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}
