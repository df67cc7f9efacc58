//! The decision log: one record for each decision that a client asks for, as a line of JSON.
//!
//! ```text
//!                              best_effort ──▶ queue ──▶ thread `decision-log` ──▶ sink ──▶ file, stdout or OTLP
//! Outcome ──▶ record (bytes) ──┤                 │ full: lost, and counted
//!                              required ─────────┴─▶ sink, before the answer leaves
//! ```
//! It is separate from the log of `telemetry`, which tells operators what happens to the server and holds no fact of a
//! question. `docs/decision-log.md` describes the records, and `docs/decision-log.schema.json` their form.

mod clock;
mod direct;
mod instance;
mod json;
mod masking;
mod otlp;
mod queue;
mod record;
mod sampling;
mod sink;
mod statements;

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use jiff::Timestamp;

use crate::authorizer::{Asker, Outcome, Recorder, Refusal};
use crate::config::{Config, DECISION_LOG_PATIENCE, DecisionLogFile, DecisionLogMode};
pub use crate::telemetry::DecisionLogCounters as Counters;
use crate::telemetry::Exporters;
use direct::Direct;
use instance::Instance;
use masking::Masking;
use otlp::OtlpSink;
use queue::Queue;
pub use record::VERSION;
use record::{Memory, USUAL_BYTES};
use sampling::Sampling;
use sink::{FileSink, Sink};
pub use statements::policy_type_name;

/// Returns the files of the log at `path`: the full ones, the oldest first, and then the current one.
pub fn files_of(path: &Path) -> Vec<PathBuf> {
    let mut files = sink::full_paths(path);
    files.push(path.to_owned());
    files
}

/// The decision log of a server.
pub struct DecisionLog {
    way: Way,
    masking: Masking,
    sampling: Sampling,
    counters: Arc<Counters>,
}

/// How records reach the sink.
enum Way {
    Queue(Queue),
    Direct(Direct),
}

/// What a thread keeps from one record to the next.
struct Scratch {
    /// The memory for the record that it writes.
    body: Vec<u8>,
    memory: Memory,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const {
        RefCell::new(Scratch {
            body: Vec::new(),
            memory: Memory::new(),
        })
    };
}

impl DecisionLog {
    /// Opens the log of this configuration. Returns `None` if it is off. A file that cannot be opened is an error, but
    /// one that cannot be written is not, because that may pass. Records that go out as logs of OTLP go to where `exporters`
    /// send logs, and it is an error if they send none.
    pub fn start(config: &Config, exporters: &Exporters) -> anyhow::Result<Option<Self>> {
        if config.decision_log == DecisionLogMode::Off {
            return Ok(None);
        }
        let masking = Masking::of(config)?;
        let counters = Arc::new(Counters::default());
        let instance = Instance::new();
        let mut start = Vec::new();
        record::start(&mut start, &instance, config, Timestamp::now());
        let way = match config.decision_log {
            DecisionLogMode::Required => {
                let sink = FileSink::open(config).context("the decision log")?;
                Way::Direct(Direct::start(sink, instance, start, Arc::clone(&counters))?)
            }
            _ => Way::Queue(Queue::start(
                sink(config, exporters).context("the decision log")?,
                instance,
                start,
                config.decision_log_queue_bytes,
                Arc::clone(&counters),
            )?),
        };
        Ok(Some(Self {
            way,
            masking,
            sampling: Sampling::of(config.decision_log_sample),
            counters,
        }))
    }

    /// Returns the counters, which the log goes on changing.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Requests that the file is opened again by its path (SIGHUP).
    pub fn request_reopen(&self) {
        match &self.way {
            Way::Queue(queue) => queue.request_reopen(),
            Way::Direct(direct) => direct.request_reopen(),
        }
    }

    /// Writes what waits and the record of the end, for [`DECISION_LOG_PATIENCE`] at most. Later decisions are not
    /// recorded.
    pub fn finish(&self) {
        match &self.way {
            Way::Queue(queue) => queue.finish(DECISION_LOG_PATIENCE),
            Way::Direct(direct) => direct.finish(DECISION_LOG_PATIENCE),
        }
    }
}

/// Opens the place of this configuration.
fn sink(config: &Config, exporters: &Exporters) -> anyhow::Result<Box<dyn Sink>> {
    Ok(match config.decision_log_file {
        DecisionLogFile::Otlp => Box::new(OtlpSink::new(exporters.records()?)),
        DecisionLogFile::Stdout | DecisionLogFile::Path(_) => Box::new(FileSink::open(config)?),
    })
}

impl Recorder for DecisionLog {
    fn record(&self, outcome: &Outcome<'_>, asker: &Asker<'_>) -> Result<String, Refusal> {
        let Ok(decision) = &outcome.answer else {
            return Ok(String::new());
        };
        if !self.sampling.keeps(decision.is_allowed()) {
            self.counters.left_out.fetch_add(1, Ordering::Relaxed);
            return Ok(String::new());
        }
        SCRATCH.with_borrow_mut(|Scratch { body, memory }| {
            body.clear();
            record::body(body, memory, outcome, decision, asker, &self.masking);
            let recorded = match &self.way {
                Way::Queue(queue) => Ok(queue.push(body)),
                Way::Direct(direct) => direct.write(body),
            };
            if body.capacity() > USUAL_BYTES {
                *body = Vec::new();
            }
            recorded
        })
    }
}

impl fmt::Debug for DecisionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecisionLog")
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
