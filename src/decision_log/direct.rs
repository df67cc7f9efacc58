//! The mode `required`: a record is handed to the system before its answer leaves.
//!
//! The answering thread writes it, under a lock. That takes one `write` into the system's memory, which is less than
//! waking another thread twice.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;

use super::instance::Instance;
use super::record::{self, USUAL_BYTES};
use super::sink::{FileSink, Sink as _, sync};
use crate::authorizer::Refusal;
use crate::telemetry::DecisionLogCounters as Counters;

/// How often the thread looks what is due.
const TICK: Duration = Duration::from_millis(250);
/// After a write that had to wait in vain, how long all records are refused without an attempt. Otherwise each request
/// would keep its thread waiting.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Direct {
    shared: Arc<Shared>,
    wake: SyncSender<()>,
}

struct Shared {
    line: Mutex<Line>,
    instance: Instance,
    counters: Arc<Counters>,
}

struct Line {
    sink: FileSink,
    last_sequence: u64,
    /// The record of the start, until it is written.
    start: Vec<u8>,
    /// The memory for the next line.
    bytes: Vec<u8>,
    is_failing: bool,
    /// When the last write had waited in vain.
    stuck_since: Option<Instant>,
    has_ended: bool,
}

impl Direct {
    pub(super) fn start(
        sink: FileSink,
        instance: Instance,
        start: Vec<u8>,
        counters: Arc<Counters>,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            line: Mutex::new(Line {
                sink,
                last_sequence: 0,
                start,
                bytes: Vec::new(),
                is_failing: false,
                stuck_since: None,
                has_ended: false,
            }),
            instance,
            counters,
        });
        shared.lock().begin();
        let (wake, woken) = sync_channel(1);
        let tended = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("decision-log".to_owned())
            .spawn(move || tended.tend(&woken))
            .context("the thread of the decision log")?;
        Ok(Self { shared, wake })
    }

    /// Writes the record with this body, and returns the decision's id. If it cannot be written, there is no such
    /// record, and its number goes to the next one.
    pub(super) fn write(&self, body: &[u8]) -> Result<String, Refusal> {
        let Shared {
            instance, counters, ..
        } = &*self.shared;
        let mut line = self.shared.lock();
        if line.write(instance, body) {
            counters.written.fetch_add(1, Ordering::Relaxed);
            Ok(instance.decision_id(line.last_sequence))
        } else {
            counters.refused.fetch_add(1, Ordering::Relaxed);
            Err(Refusal::unrecorded())
        }
    }

    pub(super) fn request_reopen(&self) {
        self.shared.lock().sink.request_look();
        let _ = self.wake.try_send(()); // if it is full, the thread wakes anyway
    }

    pub(super) fn finish(&self, patience: Duration) {
        let mut line = self.shared.lock();
        if line.has_ended {
            return;
        }
        line.begin();
        let mut end = Vec::new();
        record::end(
            &mut end,
            &self.shared.instance,
            line.last_sequence,
            Timestamp::now(),
        );
        if line.sink.write(&end).is_err() {
            tracing::warn!(
                id = "decision-log-failed",
                "the record of the end is not in the decision log"
            );
        }
        line.has_ended = true;
        let unsynced = line.sink.unsynced(true);
        drop(line);
        if let Some(file) = unsynced {
            let (synced, is_synced) = sync_channel(1);
            std::thread::spawn(move || synced.send(sync(&file).is_ok()));
            let _ = is_synced.recv_timeout(patience); // a disk that hangs must not delay the end
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Line> {
        // A panic leaves at most a line that was not written.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is due besides writing, until there is nobody to write.
    fn tend(&self, woken: &Receiver<()>) {
        loop {
            if let Err(RecvTimeoutError::Disconnected) = woken.recv_timeout(TICK) {
                return;
            }
            let mut line = self.lock();
            if line.has_ended {
                return;
            }
            line.sink.tend();
            line.begin();
            let unsynced = line.sink.unsynced(false);
            drop(line);
            // Nobody waits for the lock meanwhile.
            if let Some(file) = unsynced
                && let Err(error) = sync(&file)
            {
                tracing::warn!(
                    id = "decision-log-failed",
                    "the decision log cannot be put on the disk: {error}"
                );
            }
        }
    }
}

impl Line {
    /// Writes the record of the start, unless it is there.
    fn begin(&mut self) {
        let start = std::mem::take(&mut self.start);
        if !start.is_empty() && self.sink.write(&start).is_err() {
            self.start = start;
        }
    }

    /// Returns whether the record is written.
    fn write(&mut self, instance: &Instance, body: &[u8]) -> bool {
        if self.has_ended
            || self
                .stuck_since
                .is_some_and(|since| since.elapsed() < PAUSE)
        {
            return false;
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(&self.start);
        record::line(&mut self.bytes, instance, self.last_sequence + 1, body);
        let n_bytes = self.bytes.len();
        let written = self.sink.write(&self.bytes);
        if let Err(failed) = &written
            && let Some(last) = failed.n_written.checked_sub(1)
            && self.bytes.get(last) != Some(&b'\n')
        {
            self.sink.tear();
        }
        if self.bytes.capacity() > USUAL_BYTES {
            self.bytes = Vec::new();
        }
        match written {
            Ok(()) => {
                self.start.clear();
                self.last_sequence += 1;
                self.stuck_since = None;
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("the decision log is written again");
                }
                true
            }
            Err(failed) => {
                if failed.n_written >= n_bytes {
                    self.last_sequence += 1; // it is there, but it could not be put on the disk
                }
                if failed.n_written >= self.start.len() {
                    self.start.clear();
                }
                let is_stuck = failed.error.kind() == std::io::ErrorKind::TimedOut;
                self.stuck_since = is_stuck.then(Instant::now);
                if !std::mem::replace(&mut self.is_failing, true) {
                    let (file, error) = (self.sink.name(), failed.error);
                    tracing::error!(
                        id = "decision-log-failed",
                        "the decision log cannot be written to {file}, so no question is answered: {error}"
                    );
                }
                false
            }
        }
    }
}
