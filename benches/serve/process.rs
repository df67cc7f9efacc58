//! The measured servers, as processes.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio_rustls::TlsConnector;

use crate::client::{self, Endpoint};
use crate::floor;
use crate::load::{Load, Questions};
use crate::measure::median;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Iamd,
    Floor,
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iamd => "iamd",
            Self::Floor => "floor",
        })
    }
}

/// A server that runs. Dropping this ends it.
pub struct Process {
    which: Which,
    child: Child,
    endpoint: Endpoint,
}

/// What a server is given beyond the usual.
#[derive(Clone, Default)]
pub struct Extra {
    pub arguments: Vec<String>,
    pub variables: Vec<(&'static str, String)>,
    /// How a client reaches it if the arguments are such that it wants TLS.
    pub tls: Option<TlsConnector>,
}

/// What a run under callgrind has counted.
pub struct Counted {
    pub n_instructions: f64,
    pub n_allocations: f64,
    /// The instructions of the thread that writes the decision log.
    pub n_log_instructions: f64,
}

impl Process {
    /// Starts a server and waits for its first right answers.
    pub fn start(which: Which, questions: &Questions, n_threads: usize) -> anyhow::Result<Self> {
        Self::spawn(which, questions, n_threads, None, &Extra::default())
    }

    /// Starts a server of iamd that is given more than usual, with one thread.
    pub fn with(questions: &Questions, extra: &Extra) -> anyhow::Result<Self> {
        Self::spawn(Which::Iamd, questions, 1, None, extra)
    }

    /// Returns where it listens.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn spawn(
        which: Which,
        questions: &Questions,
        n_threads: usize,
        callgrind: Option<&Path>,
        extra: &Extra,
    ) -> anyhow::Result<Self> {
        let program = match which {
            Which::Iamd => env!("CARGO_BIN_EXE_iamd").into(),
            Which::Floor => std::env::current_exe()?,
        };
        let mut command = match callgrind {
            None => Command::new(&program),
            Some(out) => {
                let mut command = Command::new("valgrind");
                command
                    .args(["--tool=callgrind", "--quiet", "--compress-strings=no"])
                    // The one thread that serves is the first. Others look at the store now and then.
                    .arg("--separate-threads=yes")
                    .args(["--compress-pos=no", "--dump-line=no"])
                    .arg(format!("--callgrind-out-file={}", out.display()))
                    .arg(&program);
                command
            }
        };
        match which {
            Which::Iamd => command
                .args([
                    "serve",
                    "--listen",
                    "127.0.0.1:0",
                    "--http-listen",
                    "127.0.0.1:0",
                ])
                .arg("--worker-threads")
                .arg(n_threads.to_string())
                .arg("--store")
                .arg(&questions.store)
                // It is too slow under callgrind for a bound in milliseconds.
                .args(callgrind.map(|_| "--max-queueing-delay=0s"))
                .args(&extra.arguments)
                .envs(extra.variables.iter().cloned()),
            Which::Floor => command.arg(floor::FLAG).arg(&questions.floor_answer),
        };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        let mut lines = BufReader::new(stderr).lines();
        let is_ready = |line: &str| match which {
            Which::Iamd => line.contains("the store is loaded"),
            Which::Floor => line.contains("listening"),
        };
        let mut address = None;
        loop {
            let line = lines.next().context("the server ended")??;
            if line.contains("listening for gRPC") {
                let found = line
                    .split(|char: char| char.is_whitespace() || "\"=,".contains(char))
                    .find(|word| word.starts_with("127.0.0.1:"));
                address = Some(found.context("the line has an address")?.to_owned());
            }
            if is_ready(&line) {
                break;
            }
        }
        thread::spawn(move || lines.for_each(drop)); // the log never blocks the server
        let process = Self {
            which,
            child,
            endpoint: Endpoint {
                address: address.context("the server listens")?,
                tls: extra.tls.clone(),
            },
        };
        process.ask(questions, Load::unary(1, 1), 1)?;
        Ok(process)
    }

    fn ask(
        &self,
        questions: &Questions,
        load: Load,
        n_calls: usize,
    ) -> anyhow::Result<Vec<Duration>> {
        let is_floor = self.which == Which::Floor;
        client::run(&self.endpoint, questions, load, n_calls, is_floor)
            .with_context(|| format!("{}: {load}", self.which))
    }

    /// Returns the CPU time of one decision under `load`, in microseconds.
    pub fn cost(&self, questions: &Questions, load: Load, n_calls: usize) -> anyhow::Result<f64> {
        Ok(self.costs(questions, load, n_calls)?.0)
    }

    /// Does the same, and also returns how long the client waited for each single call.
    pub fn costs(
        &self,
        questions: &Questions,
        load: Load,
        n_calls: usize,
    ) -> anyhow::Result<(f64, Vec<Duration>)> {
        let before = self.cpu()?;
        let took = self.ask(questions, load, n_calls)?;
        let used = self.cpu()?.saturating_sub(before);
        Ok((used.as_secs_f64() * 1e6 / n_calls as f64, took))
    }

    /// Returns the CPU time that all threads of the process have used.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let mut nanoseconds = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let path = thread?.path().join("schedstat");
            // A thread that has ended meanwhile had nothing to do with the calls.
            let Ok(text) = fs::read_to_string(path) else {
                continue;
            };
            let first = text.split(' ').next().unwrap_or_default();
            nanoseconds += first.parse::<u64>().unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Returns the memory of the process that is in use, in KiB.
    pub fn memory_kib(&self) -> anyhow::Result<u64> {
        self.status("VmRSS:")
    }

    /// Returns the most memory that was in use since the last call of `forget_peak`, in KiB.
    pub fn peak_kib(&self) -> anyhow::Result<u64> {
        self.status("VmHWM:")
    }

    /// Sets the peak of the memory back to what the process has now.
    pub fn forget_peak(&self) -> anyhow::Result<()> {
        let path = format!("/proc/{}/clear_refs", self.child.id());
        Ok(fs::write(path, "5")?)
    }

    fn status(&self, field: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let text = line.with_context(|| format!("there is no {field}"))?.trim();
        Ok(text.split(' ').next().unwrap_or_default().parse()?)
    }

    /// Ends the server and waits until it has.
    fn end(&mut self) -> anyhow::Result<()> {
        let id = self.child.id().to_string();
        Command::new("kill").arg(&id).status()?;
        self.child.wait()?;
        Ok(())
    }
}

/// Returns the CPU time of a decision under `load` of one server and of another, in microseconds, and how many times as
/// much the other takes. Both take turns, and each figure is a median of the rounds.
pub fn compare(
    [one, other]: [&Process; 2],
    questions: &Questions,
    load: Load,
    (n_rounds, n_calls): (usize, usize),
) -> anyhow::Result<[f64; 3]> {
    let (mut of_one, mut of_other, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=n_rounds {
        let first = one.cost(questions, load, n_calls)?;
        let second = other.cost(questions, load, n_calls)?;
        if round > 0 {
            // The first round warms both up.
            of_one.push(first);
            of_other.push(second);
            ratios.push(second / first);
        }
    }
    Ok([median(of_one), median(of_other), median(ratios)])
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// Runs a server under callgrind for `n_calls` decisions, and counts.
pub fn counted(
    which: Which,
    questions: &Questions,
    load: Load,
    n_calls: usize,
) -> anyhow::Result<Counted> {
    let name = which.to_string();
    counted_with(which, &name, questions, load, n_calls, &Extra::default())
}

/// Does the same for a server that is given more than usual. `name` is the first part of the name of a profile that is kept.
pub fn counted_with(
    which: Which,
    name: &str,
    questions: &Questions,
    load: Load,
    n_calls: usize,
    extra: &Extra,
) -> anyhow::Result<Counted> {
    let directory = tempfile::tempdir()?;
    let out = directory.path().join("out");
    let mut process = Process::spawn(which, questions, 1, Some(&out), extra)?;
    process.ask(questions, load, n_calls)?;
    process.end()?;
    let out = directory.path().join("out-01");
    let text = fs::read_to_string(&out).context("callgrind wrote nothing")?;
    if let Some(kept) = std::env::var_os("IAMD_KEEP_CALLGRIND") {
        fs::create_dir_all(&kept)?;
        fs::copy(
            &out,
            Path::new(&kept).join(format!("{name}-{load}-{n_calls}").replace(' ', "_")),
        )?;
    }
    let n_instructions = total(&text)?;
    let (mut called, mut n_allocations) = ("", 0.0);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("cfn=") {
            called = name;
        } else if let Some(calls) = line.strip_prefix("calls=") {
            let allocates = [
                "malloc",
                "calloc",
                "realloc",
                "aligned_alloc",
                "posix_memalign",
                "mi_malloc_aligned",
                "mi_zalloc_aligned",
                "mi_realloc_aligned",
            ];
            if allocates.contains(&called.split('\'').next().unwrap_or_default()) {
                n_allocations += calls.split(' ').next().unwrap_or_default().parse::<f64>()?;
            }
        }
    }
    ensure!(n_instructions > 0.0, "callgrind counted nothing");
    let mut n_log_instructions = 0.0;
    for entry in fs::read_dir(directory.path())? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let is_log = |line: &str| line.starts_with("fn=") && line.contains("decision_log::queue");
        if path != out && text.lines().any(is_log) {
            n_log_instructions += total(&text)?;
        }
    }
    Ok(Counted {
        n_instructions,
        n_allocations,
        n_log_instructions,
    })
}

/// Returns how many instructions a profile has in all.
fn total(profile: &str) -> anyhow::Result<f64> {
    let total = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals: "));
    Ok(total.context("callgrind wrote no totals")?.trim().parse()?)
}
