//! Where lines of records go: a file with rotation, or the standard output.
//!
//! A line is either there as a whole or not at all. If the system takes only a part of one (a full disk), a file is cut
//! back to its last whole line. What cannot be cut, such as a pipe, gets a line break before its next line.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::config::{Config, DecisionLogFile, Fsync};

/// How often the file is compared with what its path names.
const LOOK: Duration = Duration::from_secs(1);
/// How long a write waits for the reader of a pipe.
const READER_PATIENCE: Duration = Duration::from_millis(100);
/// How long a file that could not be rotated is written further before the next attempt.
const ROTATION_PAUSE: Duration = Duration::from_secs(5);
/// The most bytes that a pipe takes without blocking once it is ready.
const PIPE_BYTES: usize = 4096;

/// A place of records.
pub(super) trait Sink: Send {
    /// Returns its name in messages.
    fn name(&self) -> String;

    /// Writes whole lines. If that fails, the lines so far are written, and those after them are not.
    fn write(&mut self, lines: &[u8]) -> Result<(), Failed>;

    /// Requests that a file is compared with its path at the next look.
    fn request_look(&mut self) {}

    /// Does what is due without a write. Call it a few times a second.
    fn tend(&mut self) {}

    /// Returns the file if it is due to be put on the disk. The caller does that with [`sync`], where nothing waits for it.
    fn unsynced(&mut self, _at_once: bool) -> Option<File> {
        None
    }
}

/// A file, or the standard output.
pub(super) struct FileSink {
    /// The path of the file; `None` for the standard output.
    path: Option<PathBuf>,
    open: Option<Open>,
    bounds: Bounds,
    fsync: Fsync,
    /// When the oldest bytes were written that may not be on the disk.
    unsynced_since: Option<Instant>,
    looked_at: Instant,
    must_look: bool,
    no_rotation_before: Option<Instant>,
}

/// When a file is full, and how many full ones are kept.
struct Bounds {
    max_bytes: u64,
    max_age: Option<Duration>,
    n_kept: usize,
}

/// What is open to be written.
struct Open {
    file: File,
    /// Whether it is a file on a disk, which can be cut and rotated.
    is_regular: bool,
    since: SystemTime,
    /// Whether it ends in a part of a line.
    is_torn: bool,
}

/// Lines that were not written.
#[derive(Debug)]
pub(super) struct Failed {
    /// How many bytes were written all the same.
    pub(super) n_written: usize,
    pub(super) error: io::Error,
}

impl FileSink {
    /// Opens the file of this configuration.
    pub(super) fn open(config: &Config) -> anyhow::Result<Self> {
        let path = match &config.decision_log_file {
            DecisionLogFile::Stdout => None,
            DecisionLogFile::Otlp => bail!("logs of OTLP are no file"),
            DecisionLogFile::Path(path) => Some(
                std::path::absolute(path)
                    .with_context(|| format!("the path `{}`", path.display()))?,
            ),
        };
        let mut sink = Self {
            path,
            open: None,
            bounds: Bounds {
                max_bytes: config.decision_log_max_bytes as u64,
                max_age: config.decision_log_max_age,
                n_kept: config.decision_log_keep,
            },
            fsync: config.decision_log_fsync,
            unsynced_since: None,
            looked_at: Instant::now(),
            must_look: false,
            no_rotation_before: None,
        };
        sink.open = Some(
            sink.opened()
                .with_context(|| format!("cannot open {}", sink.name()))?,
        );
        Ok(sink)
    }
}

impl Sink for FileSink {
    fn name(&self) -> String {
        match &self.path {
            None => "the standard output".to_owned(),
            Some(path) => format!("`{}`", path.display()),
        }
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), Failed> {
        let mut rest = lines;
        while !rest.is_empty() {
            let n_written = lines.len() - rest.len();
            let failed = |error| Failed { n_written, error };
            let part = self.part(rest).map_err(failed)?;
            let written = self.write_part(part);
            let (n_bytes, error) = match written {
                Ok(()) => (part.len(), None),
                Err(Failed { n_written, error }) => (n_written, Some(error)),
            };
            rest = rest.get(n_bytes..).unwrap_or_default();
            if let Some(error) = error {
                let n_written = lines.len() - rest.len();
                return Err(Failed { n_written, error });
            }
        }
        Ok(())
    }

    fn request_look(&mut self) {
        self.must_look = true;
    }

    /// Looks at the path, and rotates by age.
    fn tend(&mut self) {
        if self.must_look || self.looked_at.elapsed() >= LOOK {
            self.must_look = false;
            self.looked_at = Instant::now();
            self.look();
        }
        let is_old = self.open.as_ref().is_some_and(|open| {
            let is_empty = || open.file.metadata().is_ok_and(|found| found.len() == 0);
            open.is_regular && self.bounds.is_too_old(open) && !is_empty()
        });
        if is_old && self.may_rotate() {
            self.rotate();
        }
    }

    fn unsynced(&mut self, at_once: bool) -> Option<File> {
        let Fsync::Within(time) = self.fsync else {
            return None;
        };
        let since = self.unsynced_since?;
        if !at_once && since.elapsed() < time {
            return None;
        }
        self.unsynced_since = None;
        self.open.as_ref()?.file.try_clone().ok()
    }
}

impl FileSink {
    /// Says that the next write begins a new line, although the last one ended within a line.
    pub(super) fn tear(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_torn = true;
        }
    }

    /// Returns the beginning of `lines` that goes into the file at hand. Begins a new file if the one before is full.
    fn part<'l>(&mut self, lines: &'l [u8]) -> io::Result<&'l [u8]> {
        let Some(path) = &self.path else {
            return Ok(lines);
        };
        let n_bytes = match &self.open {
            Some(open) if !open.is_regular => return Ok(lines),
            Some(open) => Some(open.file.metadata()?)
                .filter(|found| found.nlink() > 0)
                .map(|found| found.len()),
            None => None,
        };
        let Some(n_bytes) = n_bytes else {
            self.open = None; // gives up the lock on a file that is gone
            self.open = Some(open_path(path)?);
            return self.part(lines); // with a file, so this happens once
        };
        let Some(open) = &self.open else {
            return Ok(lines);
        };
        let line_end = |lines: &[u8]| memchr::memchr(b'\n', lines).map_or(lines.len(), |at| at + 1);
        let max_bytes = self.bounds.max_bytes;
        let fits = |n: usize| n_bytes.saturating_add(n as u64) <= max_bytes;
        let is_full = !fits(line_end(lines)) || self.bounds.is_too_old(open);
        if n_bytes > 0 && is_full && self.may_rotate() && self.rotate() {
            return self.part(lines); // into an empty file, so this happens once
        }
        if fits(lines.len()) {
            return Ok(lines);
        }
        let room = max_bytes.saturating_sub(n_bytes);
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(lines.len());
        let head = lines.get(..room).unwrap_or_default();
        let end = memchr::memrchr(b'\n', head).map_or(line_end(lines), |at| at + 1);
        Ok(lines.get(..end).unwrap_or(lines))
    }

    fn write_part(&mut self, lines: &[u8]) -> Result<(), Failed> {
        let nothing = |error| Failed {
            n_written: 0,
            error,
        };
        let Some(open) = &mut self.open else {
            return Err(nothing(io::ErrorKind::NotFound.into()));
        };
        if open.is_torn {
            write_all(&mut open.file, open.is_regular, b"\n")
                .map_err(|failed| nothing(failed.error))?;
            open.is_torn = false;
        }
        if let Err(failed) = write_all(&mut open.file, open.is_regular, lines) {
            return Err(open.cut_back(lines, failed));
        }
        match self.fsync {
            Fsync::Never => {}
            Fsync::Within(_) => {
                self.unsynced_since.get_or_insert_with(Instant::now);
            }
            Fsync::Always => sync(&open.file).map_err(|error| Failed {
                n_written: lines.len(),
                error,
            })?,
        }
        Ok(())
    }

    fn opened(&self) -> io::Result<Open> {
        match &self.path {
            Some(path) => open_path(path),
            None => Ok(Open {
                file: File::from(io::stdout().as_fd().try_clone_to_owned()?),
                is_regular: false,
                since: SystemTime::now(),
                is_torn: false,
            }),
        }
    }

    /// Opens what the path names now, if that is another file. If it cannot be opened, the file before stays, as long as
    /// it still has a name.
    fn look(&mut self) {
        let Some(path) = &self.path else { return };
        let identity = |found: &fs::Metadata| (found.dev(), found.ino());
        let named = fs::metadata(path).ok().map(|found| identity(&found));
        let own = self
            .open
            .as_ref()
            .and_then(|open| open.file.metadata().ok());
        if named.is_some() && named == own.as_ref().map(identity) {
            return;
        }
        match open_path(path) {
            Ok(open) => {
                self.open = Some(open);
                tracing::info!(file = %path.display(), "the decision log is opened again");
            }
            Err(error) => {
                tracing::warn!(id = "decision-log-failed", file = %path.display(), "the decision log cannot be opened again: {error}");
                if own.is_none_or(|own| own.nlink() == 0) {
                    self.open = None;
                }
            }
        }
    }

    fn may_rotate(&self) -> bool {
        let before = self.no_rotation_before;
        before.is_none_or(|before| Instant::now() >= before)
    }

    /// Gives the file a name with the time, and begins a new one. Returns whether that went well; if not, the file is
    /// written further.
    fn rotate(&mut self) -> bool {
        let Some(path) = self.path.clone() else {
            return false;
        };
        let rotated = fs::rename(&path, full_path(&path, Timestamp::now()))
            .and_then(|()| open_path(&path))
            .map(|open| self.open.replace(open));
        match rotated {
            Ok(full) => {
                if let Some(full) = full.filter(|_| self.unsynced_since.take().is_some())
                    && let Err(error) = sync(&full.file)
                {
                    tracing::warn!(
                        id = "decision-log-failed",
                        "the decision log cannot be put on the disk: {error}"
                    );
                }
                self.no_rotation_before = None;
                remove_oldest(&path, self.bounds.n_kept);
                true
            }
            Err(error) => {
                tracing::warn!(id = "decision-log-failed", file = %path.display(), "the decision log cannot begin a new file: {error}");
                self.no_rotation_before = Instant::now().checked_add(ROTATION_PAUSE);
                false
            }
        }
    }
}

impl Bounds {
    fn is_too_old(&self, open: &Open) -> bool {
        let age = || open.since.elapsed().unwrap_or_default();
        self.max_age.is_some_and(|most| age() >= most)
    }
}

impl Open {
    /// Removes the part of a line that was written last, and says how many bytes of `lines` are there then.
    fn cut_back(&mut self, lines: &[u8], failed: Failed) -> Failed {
        let written = lines.get(..failed.n_written).unwrap_or_default();
        let n_whole = memchr::memrchr(b'\n', written).map_or(0, |at| at + 1);
        let n_torn = (failed.n_written - n_whole) as u64;
        if n_torn == 0 || !self.is_regular {
            return failed; // the writer goes on within the line, or tears it
        }
        let cut = self.file.metadata().and_then(|found| {
            let n_bytes = found.len().saturating_sub(n_torn);
            self.file.set_len(n_bytes)
        });
        self.is_torn = cut.is_err();
        Failed {
            n_written: n_whole,
            error: failed.error,
        }
    }
}

/// Puts what was written on the disk. What is no file has no disk.
pub(super) fn sync(file: &File) -> io::Result<()> {
    match file.sync_data() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// Opens a file to append to it. A second process cannot.
fn open_path(path: &Path) -> io::Result<Open> {
    use rustix::fs::{FlockOperation, flock};
    let mut options = OpenOptions::new();
    // A named pipe without a reader must not block.
    options
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NONBLOCK);
    let mut file = match options.clone().read(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options.open(path)?,
        opened => opened?,
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Ok(Open {
            file,
            is_regular: false,
            since: SystemTime::now(),
            is_torn: false,
        });
    }
    // Some file systems have no locks, and then there is nothing to check.
    if let Err(rustix::io::Errno::WOULDBLOCK) =
        flock(&file, FlockOperation::NonBlockingLockExclusive)
    {
        return Err(io::Error::other("another process writes it"));
    }
    Ok(Open {
        is_torn: ends_within_a_line(&mut file, found.len()),
        file,
        is_regular: true,
        since: found.created().unwrap_or_else(|_| SystemTime::now()),
    })
}

/// Returns whether the last line has no end, because a process or the machine ended while it was written.
fn ends_within_a_line(file: &mut File, n_bytes: u64) -> bool {
    let Some(last) = n_bytes.checked_sub(1) else {
        return false;
    };
    let mut byte = [0];
    let read = file
        .seek(io::SeekFrom::Start(last))
        .and_then(|_| file.read_exact(&mut byte));
    read.is_err() || byte != *b"\n" // a file that cannot be read gets a line break to be sure
}

/// Writes all bytes. Waits for the reader of a pipe, but not for long.
fn write_all(file: &mut File, is_regular: bool, bytes: &[u8]) -> Result<(), Failed> {
    let mut n_written = 0;
    let mut end = None;
    while let Some(rest) = bytes.get(n_written..).filter(|rest| !rest.is_empty()) {
        let failed = |error| Failed { n_written, error };
        let piece = if is_regular {
            rest
        } else {
            let end = *end.get_or_insert_with(|| Instant::now() + READER_PATIENCE);
            wait_for_reader(file, end).map_err(failed)?;
            rest.get(..PIPE_BYTES).unwrap_or(rest)
        };
        match file.write(piece) {
            Ok(0) => return Err(failed(io::ErrorKind::WriteZero.into())),
            Ok(n_bytes) => n_written += n_bytes,
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock if !is_regular => {}
                _ => return Err(failed(error)),
            },
        }
    }
    Ok(())
}

/// Waits until the file takes bytes, until `end` at most.
fn wait_for_reader(file: &File, end: Instant) -> io::Result<()> {
    let left = end.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).map_err(|_| io::ErrorKind::TimedOut)?;
    let mut ready = [PollFd::new(file, PollFlags::OUT)];
    match poll(&mut ready, Some(&left)) {
        Ok(0) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "nobody reads the pipe",
        )),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns the name of a file that was full at this time: `decisions.jsonl.20261129T114512.123456789Z`.
fn full_path(path: &Path, at: Timestamp) -> PathBuf {
    let time: String = format!("{at:.9}")
        .chars()
        .filter(|char| !matches!(char, '-' | ':'))
        .collect();
    let mut name = OsString::from(path);
    name.push(".");
    name.push(time);
    name.into()
}

/// Returns the full files of a log, the oldest first.
pub(super) fn full_paths(path: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (
        path.parent(),
        path.file_name().and_then(|name| name.to_str()),
    ) else {
        return Vec::new();
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let is_full = |found: &str| {
        let time = found
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('.'));
        time.is_some_and(|time| {
            time.len() == "20261129T114512.123456789Z".len()
                && time.ends_with('Z')
                && time
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || b"T.Z".contains(&byte))
        })
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|found| is_full(found))
        .collect();
    names.sort_unstable();
    names.into_iter().map(|name| folder.join(name)).collect()
}

fn remove_oldest(path: &Path, n_kept: usize) {
    let full = full_paths(path);
    let n_removed = full.len().saturating_sub(n_kept);
    for path in full.into_iter().take(n_removed) {
        match fs::remove_file(&path) {
            Ok(()) => {
                tracing::info!(file = %path.display(), "the oldest file of the decision log is removed")
            }
            Err(error) => {
                tracing::warn!(id = "decision-log-failed", file = %path.display(), "the oldest file of the decision log cannot be removed: {error}");
            }
        }
    }
}
