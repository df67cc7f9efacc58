//! The mode `best_effort`: a queue between the answering threads and a thread that writes.
//!
//! The queue is a piece of memory to which lines are appended. The thread takes it whole and leaves an empty one. If the
//! sink fails, the thread keeps what it has taken and tries again, while the queue fills up; what does not fit is lost.
//! Numbers are given in the order of the lines, so a reader sees each loss as a gap.

use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;

use super::instance::Instance;
use super::record::{self, Lost, n_decisions};
use super::sink::{Failed, Sink, sync};
use crate::telemetry::DecisionLogCounters as Counters;

/// How long the thread waits for more lines once there is one.
///
/// PERF: while it writes, an answering thread may have to wait for a processor. Each write delays about as many calls as are
/// under way, however long it takes, so few large writes delay far less than 1 % of the calls.
const GATHER: Duration = Duration::from_millis(100);
/// Once one part in this many of the queue is full, the thread waits no longer.
const FULL_ENOUGH: usize = 2;
/// How often the thread looks what is due while no lines come.
const TICK: Duration = Duration::from_millis(250);
/// How long the thread waits after a write that failed.
const RETRY: Duration = Duration::from_millis(100);
/// About the most bytes of a line's head.
const HEAD_BYTES: usize = 160;

pub(super) struct Queue {
    shared: Arc<Shared>,
    has_ended: Mutex<Receiver<()>>,
}

struct Shared {
    pending: Mutex<Pending>,
    wake: Condvar,
    max_bytes: usize,
    instance: Instance,
    counters: Arc<Counters>,
}

/// The lines that nobody has taken yet.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    /// How many of the lines are records of decisions.
    n_records: u64,
    last_sequence: u64,
    /// The last decisions, if their records did not fit.
    lost: Option<Lost>,
    must_look: bool,
    /// When the thread must end at the latest.
    end_by: Option<Instant>,
}

impl Queue {
    pub(super) fn start(
        sink: Box<dyn Sink>,
        instance: Instance,
        start: Vec<u8>,
        max_bytes: usize,
        counters: Arc<Counters>,
    ) -> anyhow::Result<Self> {
        Self::gathering(sink, instance, start, max_bytes, counters, GATHER)
    }

    fn gathering(
        sink: Box<dyn Sink>,
        instance: Instance,
        start: Vec<u8>,
        max_bytes: usize,
        counters: Arc<Counters>,
        gather: Duration,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            pending: Mutex::new(Pending {
                bytes: start,
                ..Pending::default()
            }),
            wake: Condvar::new(),
            max_bytes,
            instance,
            counters,
        });
        let (end, has_ended) = sync_channel(1);
        let mut writer = Writer {
            shared: Arc::clone(&shared),
            sink,
            gather,
            batch: Vec::new(),
            n_written: 0,
            n_records: 0,
            is_failing: false,
        };
        std::thread::Builder::new()
            .name("decision-log".to_owned())
            .spawn(move || writer.run(&end))
            .context("the thread of the decision log")?;
        Ok(Self {
            shared,
            has_ended: Mutex::new(has_ended),
        })
    }

    /// Appends the record with this body if there is space, and returns the decision's id. Never waits for a disk.
    pub(super) fn push(&self, body: &[u8]) -> String {
        let Shared {
            instance,
            counters,
            max_bytes,
            ..
        } = &*self.shared;
        let mut pending = self.shared.lock();
        let n_before = pending.bytes.len();
        let has_lost = pending.lost.is_some();
        let sequence = pending.last_sequence + 1;
        pending.last_sequence = sequence;
        let n_bytes = pending.bytes.len() + body.len() + HEAD_BYTES;
        if n_bytes > *max_bytes || pending.end_by.is_some() {
            pending.lose(sequence);
            counters.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            pending.tell_lost(instance);
            record::line(&mut pending.bytes, instance, sequence, body);
            pending.n_records += 1;
            counters.queued.fetch_add(1, Ordering::Relaxed);
        }
        let is_first_loss = !has_lost && pending.lost.is_some();
        let wakes = is_first_loss || reaches_any(&self.shared.due(), n_before, pending.bytes.len());
        drop(pending);
        if wakes {
            // The thread takes the lock at once, so it must be free.
            self.shared.wake.notify_one();
        }
        instance.decision_id(sequence)
    }

    pub(super) fn request_reopen(&self) {
        self.shared.lock().must_look = true;
        self.shared.wake.notify_one();
    }

    pub(super) fn finish(&self, patience: Duration) {
        let mut pending = self.shared.lock();
        if pending.end_by.is_none() {
            pending.end_by = Some(Instant::now() + patience);
        }
        drop(pending);
        self.shared.wake.notify_one();
        let has_ended = self
            .has_ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A disk or a receiver that hangs must not delay the end.
        if let Err(RecvTimeoutError::Timeout) = has_ended.recv_timeout(patience) {
            tracing::error!(
                id = "decision-log-failed",
                "the decision log did not end in time: the last records may be missing"
            );
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        // A panic leaves at most one line that is not whole.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there are `n_bytes` of lines, until lines are lost, until something is asked for or until the time is over.
    fn wait(&self, n_bytes: usize, time: Duration) -> MutexGuard<'_, Pending> {
        let is_idle = |pending: &mut Pending| {
            // What does not fit is lost until these lines are taken.
            let is_full = pending.lost.is_some() && !pending.bytes.is_empty();
            let is_due = pending.bytes.len() >= n_bytes || is_full;
            !is_due && !pending.must_look && pending.end_by.is_none()
        };
        let waited = self.wake.wait_timeout_while(self.lock(), time, is_idle);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn enough_bytes(&self) -> usize {
        (self.max_bytes / FULL_ENOUGH).max(1)
    }

    /// Returns the numbers of bytes for which the thread waits.
    fn due(&self) -> [usize; 2] {
        [1, self.enough_bytes()]
    }
}

/// Returns whether the bytes have just become so many that there are as many as one of `due`.
fn reaches_any(due: &[usize], n_before: usize, n_after: usize) -> bool {
    due.iter().any(|due| (n_before + 1..=n_after).contains(due))
}

impl Pending {
    fn lose(&mut self, sequence: u64) {
        let lost = self.lost.get_or_insert(Lost {
            first: sequence,
            last: sequence,
        });
        lost.last = sequence;
    }

    /// Appends the record of what was lost right before.
    fn tell_lost(&mut self, instance: &Instance) {
        if let Some(lost) = self.lost.take() {
            record::lost(&mut self.bytes, instance, lost, Timestamp::now());
        }
    }
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    sink: Box<dyn Sink>,
    gather: Duration,
    /// The lines that were taken, of which the first bytes are written.
    batch: Vec<u8>,
    n_written: usize,
    /// How many records of decisions are in the rest.
    n_records: u64,
    is_failing: bool,
}

impl Writer {
    fn run(&mut self, end: &SyncSender<()>) {
        let end_by = loop {
            if let Some(end_by) = self.turn() {
                break end_by;
            }
        };
        while !self.write() && Instant::now() < end_by {
            std::thread::sleep(RETRY.min(end_by.saturating_duration_since(Instant::now())));
        }
        let n_lost = self.n_records;
        if n_lost > 0 {
            let counters = &self.shared.counters;
            counters.lost.fetch_add(n_lost, Ordering::Relaxed);
            tracing::error!(
                id = "decision-log-failed",
                n_lost,
                "the last records are not in the decision log"
            );
        }
        if let Some(file) = self.sink.unsynced(true) {
            self.sync(&file);
        }
        let _ = end.try_send(()); // fails if nobody waits for the end
    }

    /// Takes the lines there are and writes them. Returns the time by which the thread must end, if it must.
    fn turn(&mut self) -> Option<Instant> {
        let has_rest = !self.batch.is_empty();
        let mut pending = self.shared.wait(
            1,
            match (has_rest, self.is_failing) {
                (false, _) => TICK,
                (true, true) => RETRY,
                (true, false) => Duration::ZERO,
            },
        );
        if !has_rest && !pending.bytes.is_empty() {
            drop(pending);
            // While lines come all the time, one write takes many of them, and nobody has to wake this thread.
            pending = self.shared.wait(self.shared.enough_bytes(), self.gather);
        }
        let end_by = pending.end_by;
        if std::mem::take(&mut pending.must_look) {
            self.sink.request_look();
        }
        if end_by.is_some() {
            let instance = &self.shared.instance;
            pending.tell_lost(instance);
            let last = pending.last_sequence;
            record::end(&mut pending.bytes, instance, last, Timestamp::now());
            self.batch.append(&mut pending.bytes);
            self.n_records += std::mem::take(&mut pending.n_records);
        } else if !has_rest {
            std::mem::swap(&mut self.batch, &mut pending.bytes);
            self.n_records = std::mem::take(&mut pending.n_records);
        }
        drop(pending);
        if end_by.is_some() {
            return end_by;
        }
        if has_rest && !self.write() && self.is_failing {
            // `wait` returns at once while there are lines, so the pause is here.
            std::thread::sleep(RETRY);
        } else if !has_rest {
            self.write();
        }
        self.sink.tend();
        if let Some(file) = self.sink.unsynced(false) {
            self.sync(&file);
        }
        None
    }

    /// Writes the batch, or as much of it as the sink takes. Returns whether nothing is left.
    fn write(&mut self) -> bool {
        let rest = self.batch.get(self.n_written..).unwrap_or_default();
        if rest.is_empty() {
            self.batch.clear();
            self.n_written = 0;
            return true;
        }
        let (n_bytes, n_records, error) = match self.sink.write(rest) {
            Ok(()) => (rest.len(), self.n_records, None),
            Err(Failed { n_written, error }) => {
                let written = rest.get(..n_written).unwrap_or_default();
                (n_written, n_decisions(written), Some(error))
            }
        };
        let counters = &self.shared.counters;
        counters.written.fetch_add(n_records, Ordering::Relaxed);
        counters.queued.fetch_sub(n_records, Ordering::Relaxed);
        self.n_records = self.n_records.saturating_sub(n_records);
        self.n_written += n_bytes;
        match error {
            None => {
                self.batch.clear();
                self.n_written = 0;
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("the decision log is written again");
                }
                true
            }
            // The reader of a pipe is slow, but it reads. To pause would only make it later.
            Some(error) if n_bytes > 0 && error.kind() == ErrorKind::TimedOut => false,
            Some(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    let file = self.sink.name();
                    tracing::error!(
                        id = "decision-log-failed",
                        "the decision log cannot be written to {file}, and records are lost once its queue is full: {error}"
                    );
                }
                false
            }
        }
    }

    fn sync(&self, file: &std::fs::File) {
        if let Err(error) = sync(file) {
            tracing::warn!(
                id = "decision-log-failed",
                "the decision log cannot be put on the disk: {error}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use serde_json::Value;

    use super::*;

    /// A sink that fails after so many bytes, the last number first, and then takes everything.
    struct Failing {
        takes: Vec<usize>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Sink for Failing {
        fn name(&self) -> String {
            "the test".to_owned()
        }

        fn write(&mut self, lines: &[u8]) -> Result<(), Failed> {
            let most = self.takes.pop().unwrap_or(usize::MAX);
            let written = lines.get(..most).unwrap_or(lines);
            self.taken.lock().unwrap().extend_from_slice(written);
            if written.len() == lines.len() {
                return Ok(());
            }
            Err(Failed {
                n_written: written.len(),
                error: ErrorKind::WouldBlock.into(),
            })
        }
    }

    #[test]
    fn every_record_is_written_and_counted_once_wherever_a_write_ends() {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let counters = Arc::new(Counters::default());
        let queue = Queue::start(
            Box::new(Failing {
                // Within the first line, within a head, after a few lines, and before anything.
                takes: vec![0, 400, 40, 7],
                taken: Arc::clone(&taken),
            }),
            Instance::new(),
            b"{\"type\":\"start\"}\n".to_vec(),
            1 << 20,
            Arc::clone(&counters),
        )
        .unwrap();
        let ids: Vec<String> = (0..20).map(|_| queue.push(b"\"body\":true}")).collect();
        queue.finish(Duration::from_secs(10));
        let taken = taken.lock().unwrap();
        let lines: Vec<Value> = taken
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        let members = |member: &str| -> Vec<Value> {
            let found = lines.iter().filter_map(|line| line.get(member));
            found.cloned().collect()
        };
        assert_eq!(members("sequence"), (1..=20).collect::<Vec<u64>>());
        assert_eq!(members("decisionId"), ids);
        assert_eq!(members("body").len(), 20);
        let types = members("type");
        assert_eq!(types.len(), 22);
        assert_eq!(types.last().unwrap(), "end");
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!(count(&counters.written), 20);
        assert_eq!((count(&counters.lost), count(&counters.queued)), (0, 0));
    }

    #[test]
    fn the_thread_is_woken_by_the_first_line_and_when_the_queue_is_half_full() {
        let cases = [
            (0, 700, true),
            (0, 9_000, true),
            (700, 1_400, false),
            (8_000, 8_191, false),
            (8_000, 8_192, true),
            (8_192, 9_000, false),
        ];
        for (n_before, n_after, wakes) in cases {
            let woken = reaches_any(&[1, 8_192], n_before, n_after);
            assert_eq!(woken, wakes, "{n_before} {n_after}");
        }
    }

    /// A sink that takes so many bytes in time, the last number first.
    struct Slow(Vec<usize>);

    impl Sink for Slow {
        fn name(&self) -> String {
            "the test".to_owned()
        }

        fn write(&mut self, lines: &[u8]) -> Result<(), Failed> {
            let n_written = self.0.pop().unwrap_or(lines.len());
            if n_written == lines.len() {
                return Ok(());
            }
            let error = ErrorKind::TimedOut.into();
            Err(Failed { n_written, error })
        }
    }

    #[test]
    fn a_reader_that_is_slow_is_no_failure_and_one_that_reads_nothing_is() {
        let shared = Shared {
            pending: Mutex::default(),
            wake: Condvar::new(),
            max_bytes: 1 << 20,
            instance: Instance::new(),
            counters: Arc::new(Counters::default()),
        };
        let mut writer = Writer {
            shared: Arc::new(shared),
            sink: Box::new(Slow(vec![0, 3])),
            gather: GATHER,
            batch: b"{}\n{}\n".to_vec(),
            n_written: 0,
            n_records: 0,
            is_failing: false,
        };
        let states = [(); 3].map(|()| (writer.write(), writer.is_failing));
        assert_eq!(states, [(false, false), (false, true), (true, false)]);
    }

    /// A sink that tells of each write.
    struct Telling(std::sync::mpsc::Sender<usize>);

    impl Sink for Telling {
        fn name(&self) -> String {
            "the test".to_owned()
        }

        fn write(&mut self, lines: &[u8]) -> Result<(), Failed> {
            let _ = self.0.send(lines.len()); // nobody listens after the test
            Ok(())
        }
    }

    #[test]
    fn a_queue_that_fills_up_is_written_without_waiting_for_more() {
        let (told, writes) = std::sync::mpsc::channel();
        let counters = Arc::new(Counters::default());
        let (max_bytes, an_hour) = (16 << 10, Duration::from_secs(3_600));
        let sink = Box::new(Telling(told));
        let queue = Queue::gathering(
            sink,
            Instance::new(),
            Vec::new(),
            max_bytes,
            Arc::clone(&counters),
            an_hour,
        )
        .unwrap();
        let body = [b"\"body\":\"", &[b'x'; 1_000][..], b"\"}"].concat();
        for _ in 0..8 {
            queue.push(&body);
        }
        let n_bytes = writes.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(n_bytes >= max_bytes / FULL_ENOUGH, "{n_bytes}");
        queue.finish(Duration::from_secs(10));
        assert_eq!(counters.lost.load(Ordering::Relaxed), 0);
    }
}
