//! The real server as a child process, and what the system says about it.

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

/// A bound for what should take milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// `iamd serve` over one store. Ended when dropped.
pub struct Server {
    process: Child,
    /// Where it listens.
    pub address: String,
    /// From starting the process to the first right answer to `Authorize`.
    pub ready_after: Duration,
}

impl Server {
    /// Starts the server and waits until it answers `question` as expected.
    pub fn start(store: &Path, question: &Question) -> anyhow::Result<Self> {
        let begin = Instant::now();
        let mut process = Command::new(env!("CARGO_BIN_EXE_iamd"))
            .args(["serve", "--listen", "127.0.0.1:0", "--store"])
            .arg(store)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = process.stderr.take().context("stderr is piped")?;
        let log = Arc::new(Mutex::new(String::new()));
        let reader = Arc::clone(&log);
        // Reads on for as long as the server lives, so that its log never blocks it.
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

    /// CPU time that the process has used, user and system, over all its threads.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let (_, fields) = stat
            .rsplit_once(") ")
            .context("no name in /proc/PID/stat")?;
        // Fields 14 and 15 of the whole line (proc_pid_stat(5)); what is left begins with field 3.
        let ticks: u64 = fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap_or(0))
            .sum();
        Ok(Duration::from_secs_f64(ticks as f64 / ticks_per_second()?))
    }

    /// A line of `/proc/PID/status` in KiB: `VmRSS`, `RssAnon`, `VmHWM`.
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

/// The address in the log line that says where the server listens.
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
