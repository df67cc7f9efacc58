//! The queue of log lines. It is bounded, and a thread of its own writes the lines to stderr.
//!
//! ```text
//! any thread ──try_send──▶ queue ──▶ thread `log` ──repeats──▶ stderr
//!                 │ full                                │ fails
//!                 └──────────▶ counted as dropped ◀─────┘
//! ```
//!
//! A thread that logs never blocks and never fails, even if the pipe is not read, the disk is full or the terminal is
//! closed. Lost lines are counted, and the count is logged as soon as a line can be written again.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use tracing_subscriber::fmt::MakeWriter;

use super::repeats::{Repeats, Told};

/// The most lines that may wait.
const MAX_LINES: usize = 4_096;
/// The most bytes that the waiting lines may have together.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The longest line, in bytes. A longer one is dropped.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// How often the thread checks for counts to write while no new lines come.
const TICK: Duration = Duration::from_millis(250);

/// The sending side of the queue. Any thread may push lines, which do not have their time yet.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    entries: SyncSender<Entry>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    n_bytes: AtomicUsize,
    n_dropped: AtomicU64,
}

#[derive(Debug)]
enum Entry {
    /// A line, and the time when it was pushed.
    Line(SystemTime, Box<[u8]>),
    /// A request for a signal once all lines before it are written.
    Flush(SyncSender<()>),
}

impl Queue {
    /// Starts the thread that writes to stderr. `is_json` gives the form of the lines.
    pub(super) fn start(is_json: bool) -> io::Result<Self> {
        // The thread has a handle of its own. A blocked write must not hold the standard library's lock on stderr.
        let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Self::writing_to(file, is_json)
    }

    fn writing_to(file: impl Write + Send + 'static, is_json: bool) -> io::Result<Self> {
        let (entries, waiting) = sync_channel(MAX_LINES);
        let shared = Arc::new(Shared::default());
        let mut writer = Writer {
            file,
            is_json,
            shared: Arc::clone(&shared),
            repeats: Repeats::default(),
        };
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.run(&waiting))?;
        Ok(Self { entries, shared })
    }

    /// Appends a line, which ends in a line break. Drops and counts it if it does not fit.
    pub(super) fn push(&self, line: &[u8]) {
        let n_bytes = line.len();
        let before = self.shared.n_bytes.fetch_add(n_bytes, Ordering::Relaxed);
        let fits = n_bytes <= MAX_LINE_BYTES && before.saturating_add(n_bytes) <= MAX_BYTES;
        let entry = || Entry::Line(SystemTime::now(), line.into());
        if !fits || self.entries.try_send(entry()).is_err() {
            self.shared.n_bytes.fetch_sub(n_bytes, Ordering::Relaxed);
            self.shared.n_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until the lines so far are written, for `patience` at most.
    pub(super) fn flush(&self, patience: Duration) {
        let (written, is_written) = sync_channel(1);
        if self.entries.try_send(Entry::Flush(written)).is_ok() {
            let _ = is_written.recv_timeout(patience); // a log that cannot be written must not delay the end
        }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// The writer that the subscriber gets for one line. The subscriber writes the line in one piece.
pub(super) struct Line<'q>(&'q Queue);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Writer<W> {
    file: W,
    is_json: bool,
    shared: Arc<Shared>,
    repeats: Repeats,
}

impl<W: Write> Writer<W> {
    /// Writes lines until the last sender is dropped.
    fn run(&mut self, waiting: &Receiver<Entry>) {
        loop {
            match waiting.recv_timeout(TICK) {
                Ok(Entry::Line(at, line)) => {
                    self.shared.n_bytes.fetch_sub(line.len(), Ordering::Relaxed);
                    if self.repeats.is_new(&line, at, Instant::now()) {
                        self.write(at, &line, None);
                    }
                }
                Ok(Entry::Flush(written)) => {
                    self.tell(Instant::now() + Repeats::LONGEST);
                    let _ = written.try_send(()); // fails if `flush` no longer waits
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.tell(Instant::now());
        }
    }

    /// Writes the counts that are due by `now`: how often lines were repeated, and how many were dropped.
    fn tell(&mut self, now: Instant) {
        while let Some(Told { at, line, repeated }) = self.repeats.due(now) {
            self.write(at, &line, Some(("repeated", repeated)));
        }
        let n_dropped = self.shared.n_dropped.swap(0, Ordering::Relaxed);
        if n_dropped > 0 {
            let text = "log lines were dropped";
            let line = if self.is_json {
                format!(
                    "{{\"level\":\"WARN\",\"target\":\"iamd::telemetry\",\"id\":\"log-dropped\",\"message\":\"{text}\"}}\n"
                )
            } else {
                format!(" WARN iamd::telemetry: {text} id=\"log-dropped\"\n")
            };
            let is_written = self.write(
                SystemTime::now(),
                line.as_bytes(),
                Some(("dropped", n_dropped)),
            );
            if !is_written {
                // Keep the count for the next try. `write` has counted this line as dropped, but nobody logged it.
                self.shared
                    .n_dropped
                    .fetch_add(n_dropped.saturating_sub(1), Ordering::Relaxed);
            }
        }
    }

    /// Writes one line with its time and a count. Returns whether it was written.
    fn write(&mut self, at: SystemTime, line: &[u8], count: Option<(&str, u64)>) -> bool {
        let line = timed(at, line, count, self.is_json);
        let is_written = self.file.write_all(&line).is_ok();
        if !is_written {
            self.shared.n_dropped.fetch_add(1, Ordering::Relaxed);
        }
        is_written
    }
}

/// Returns `line` with its time in front and the count as a field.
fn timed(at: SystemTime, line: &[u8], count: Option<(&str, u64)>, is_json: bool) -> Vec<u8> {
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut out = Vec::with_capacity(line.len() + 80);
    // INVARIANT: writing to a vector does not fail.
    if let (true, Some(fields)) = (is_json, line.strip_prefix(b"{")) {
        let _ = write!(out, "{{\"timestamp\":\"{at:.6}\",");
        if let Some((name, n)) = count {
            let _ = write!(out, "\"{name}\":{n},");
        }
        out.extend_from_slice(fields);
        return out;
    }
    let _ = write!(out, "{at:.6} ");
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    out.extend_from_slice(text);
    if let Some((name, n)) = count {
        let _ = write!(out, " {name}={n}");
    }
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test may fail by panicking"
    )]

    use std::sync::mpsc::{Sender, channel};
    use std::sync::{Condvar, Mutex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A writer that sends each line to a channel.
    struct Pipe(Sender<String>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            self.0.send(text).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_gets_its_time_and_stays_json() {
        let (sent, received) = channel();
        let queue = Queue::writing_to(Pipe(sent), true).unwrap();
        queue.push(b"{\"level\":\"INFO\",\"message\":\"x\"}\n");
        let line = received.recv_timeout(PATIENCE).unwrap();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&value["level"], &value["message"]),
            (&"INFO".into(), &"x".into())
        );
        let at: Timestamp = value["timestamp"].as_str().unwrap().parse().unwrap();
        assert!(at.duration_until(Timestamp::now()).as_secs() < 60, "{line}");
    }

    #[test]
    fn what_comes_again_is_told_once_with_its_count() {
        let (sent, received) = channel();
        let queue = Queue::writing_to(Pipe(sent), true).unwrap();
        for _ in 0..100 {
            queue.push(b"{\"level\":\"WARN\",\"message\":\"again\"}\n");
        }
        queue.flush(PATIENCE);
        let lines: Vec<String> = received.try_iter().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        let value: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!(value["repeated"], 99);
    }

    /// A writer that blocks in its first write until the test releases it.
    struct Stuck(Arc<(Mutex<bool>, Condvar)>, Pipe);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (is_free, freed) = &*self.0;
            let mut is_free = is_free.lock().unwrap();
            while !*is_free {
                is_free = freed.wait(is_free).unwrap();
            }
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_logs_never_waits_and_what_was_lost_is_told() {
        let (sent, received) = channel();
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let queue = Queue::writing_to(Stuck(Arc::clone(&gate), Pipe(sent)), true).unwrap();
        let n_lines = 3 * MAX_LINES;
        for n in 0..n_lines {
            queue.push(format!("{{\"message\":\"line {n}\"}}\n").as_bytes());
        }
        queue.flush(Duration::from_millis(10));
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        let (mut n_written, mut n_dropped) = (0, 0);
        while n_written + n_dropped < n_lines as u64 {
            let line = received.recv_timeout(PATIENCE).unwrap();
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            match value["dropped"].as_u64() {
                Some(n) => n_dropped += n,
                None => n_written += 1,
            }
        }
        assert_eq!(n_written + n_dropped, n_lines as u64);
        assert!(n_written >= MAX_LINES as u64, "{n_written}");
        assert_eq!(queue.shared.n_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn lines_that_wait_are_bounded_in_bytes() {
        let (sent, _received) = channel();
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let queue = Queue::writing_to(Stuck(gate, Pipe(sent)), true).unwrap();
        let line = vec![b'x'; MAX_LINE_BYTES];
        for _ in 0..200 {
            queue.push(&line);
        }
        queue.push(&vec![b'x'; MAX_LINE_BYTES + 1]);
        assert!(queue.shared.n_bytes.load(Ordering::Relaxed) <= MAX_BYTES);
        let n_dropped = queue.shared.n_dropped.load(Ordering::Relaxed);
        assert!(
            n_dropped >= 200 - (MAX_BYTES / MAX_LINE_BYTES) as u64,
            "{n_dropped}"
        );
    }

    #[test]
    fn text_lines_carry_time_and_count_too() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let line = timed(at, b" INFO x: y\n", Some(("repeated", 3)), false);
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line, "1970-01-01T00:00:01.500000Z  INFO x: y repeated=3\n");
    }
}
