//! A directory → its files, all of one moment.
//!
//! Reading by path mixes two revisions as soon as somebody swaps a link meanwhile, so everything goes through one
//! handle: the root is opened once, and where a folder has `..data` (a mounted ConfigMap), that is opened once and
//! the folder's files are read through it. What still can move is found by looking twice: the listing with its
//! stamps is taken before and after the texts are read, and if the two differ, all is discarded and read again.
//!
//! ```text
//! survey ── every *.json with its stamp ──▶ texts, each checked against its stamp ──▶ survey again: equal? ──▶ Files
//!    ▲                                                                                      │ no
//!    └──────────────────────────────── a short random pause ────────────────────────────────┘
//! ```

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cap_std::fs::{Dir, Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use sha2::{Digest, Sha256};

use super::place::Place;
use super::progress::Progress;
use super::walk;
use crate::compile::snapshot::Revision;
use crate::language::finding::{Code, Finding, Location};

/// The most files in a store.
pub(super) const MAX_FILES: usize = 250_000;
/// The most bytes in a store.
const MAX_STORE_BYTES: u64 = 1 << 30;
/// A file that was changed so shortly before it was read may be changed again without another stamp: file systems
/// count time in ticks, of two seconds at worst.
const STAMP_GRAIN: Duration = Duration::from_secs(2);
/// How often a store that changes while it is read is read again.
const MAX_TRIES: u32 = 20;
/// What findings about the store as a whole name as their file.
pub const WHOLE_STORE: &str = ".";

/// What tells, without reading it, that a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    n_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of a file or folder.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            n_bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// When the file was changed last, since 1970, by the clock of its file system.
    pub fn changed_at(&self) -> Duration {
        let (seconds, nanoseconds) = self.changed;
        Duration::new(
            u64::try_from(seconds).unwrap_or(0),
            u32::try_from(nanoseconds).unwrap_or(0),
        )
    }

    /// Whether it tells what is read at `now` from every later content.
    fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH);
        now.is_ok_and(|now| self.changed_at() + STAMP_GRAIN < now)
    }
}

/// The SHA-256 of a file's bytes.
pub type ContentDigest = [u8; 32];

/// Everything that was read, sorted by path.
#[derive(Debug, Default)]
pub struct Files {
    /// Each file that could be read.
    pub files: Vec<File>,
    /// What is wrong with files and links, whatever they hold.
    pub findings: Vec<Finding>,
}

impl Files {
    /// Files that never were on a disk.
    pub fn of_texts<'t>(texts: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        let file = |(path, text): (&str, &'t str)| File {
            path: path.into(),
            digest: Sha256::digest(text).into(),
            stamp: None,
            text: Some(text.as_bytes().to_vec()),
        };
        let mut files: Vec<File> = texts.into_iter().map(file).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self {
            files,
            findings: Vec::new(),
        }
    }
}

/// One file.
#[derive(Debug)]
pub struct File {
    /// Below the root, with `/` between its parts; without the `..data` it was read through.
    pub path: Arc<str>,
    /// Of its bytes.
    pub digest: ContentDigest,
    /// What it looks like, if no later content can look the same.
    pub stamp: Option<Stamp>,
    /// Its bytes; none for a file that was not read because it looks as it did.
    pub text: Option<Vec<u8>>,
}

/// What a look at a store shows without reading: equal as long as nothing has changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// Every `*.json`, sorted by path.
    pub stamps: Vec<(Arc<str>, Stamp)>,
    /// What is wrong with files and links.
    pub findings: Vec<Finding>,
}

/// A listing with the open handles to read its files by. Not to be kept: a handle would pin a folder long replaced.
#[derive(Debug, Default)]
pub struct Survey {
    /// Every `*.json`, sorted by path.
    pub seen: Vec<Seen>,
    /// What is wrong with files and links, sorted.
    pub findings: Vec<Finding>,
}

/// One `*.json` of a survey.
#[derive(Debug)]
pub struct Seen {
    /// Below the root.
    pub path: Arc<str>,
    /// What it looks like.
    pub stamp: Stamp,
    /// Through which handle it is read.
    pub base: Arc<Dir>,
    /// By which path below that.
    pub below_base: PathBuf,
}

impl Survey {
    /// Looks at every file below `root` without reading one.
    pub fn of(root: &Path) -> Self {
        walk::survey(root)
    }

    /// What it shows.
    pub fn listing(&self) -> Listing {
        let stamps = self
            .seen
            .iter()
            .map(|seen| (Arc::clone(&seen.path), seen.stamp))
            .collect();
        Listing {
            stamps,
            findings: self.findings.clone(),
        }
    }

    /// Whether `listing` shows the same.
    pub fn is_as(&self, listing: &Listing) -> bool {
        let seen = self.seen.iter().map(|seen| (&seen.path, &seen.stamp));
        let listed = listing.stamps.iter().map(|(path, stamp)| (path, stamp));
        seen.eq(listed) && self.findings == listing.findings
    }

    /// Whether file `index` of the listing still has the content of `digest`; one that cannot be read has not.
    pub fn still_holds(&self, index: usize, digest: &ContentDigest) -> bool {
        self.seen
            .get(index)
            .is_some_and(|seen| matches!(read_one(seen), Ok(file) if file.digest == *digest))
    }
}

/// Tells which files need not be read: what was read before of one that looks like this.
pub type Unread<'u> = &'u dyn Fn(&str, &Stamp) -> Option<(Arc<str>, ContentDigest)>;

/// Reads the store at `root`, all of it but for what is `unread`, and gives the listing it was read by. Takes the first
/// look itself if it is not given.
pub fn files(root: &Path, first: Option<Survey>, unread: Unread<'_>) -> (Files, Listing) {
    let mut survey = first.unwrap_or_else(|| Survey::of(root));
    for attempt in 0..MAX_TRIES {
        let listing = survey.listing();
        let files = read_all(&survey, unread);
        survey = Survey::of(root);
        if let Some(files) = files
            && survey.is_as(&listing)
        {
            return (files, listing);
        }
        std::thread::sleep(pause_before_retry(attempt));
        survey = Survey::of(root);
    }
    let finding = Finding::error(
        Code::UNREADABLE,
        Location::file(WHOLE_STORE),
        format!("the store changed each of the {MAX_TRIES} times it was read"),
    )
    .help("write a new version beside it and swap a link");
    (
        Files {
            files: Vec::new(),
            findings: vec![finding],
        },
        Listing::default(),
    )
}

/// The revision of a store: the first 32 hexadecimal digits of SHA-256 over its files, sorted by the bytes of their
/// paths. Each file adds the length of its path in bytes (64 bits, big-endian), the path, and the 32 bytes of its
/// content's SHA-256: no two lists of files add the same bytes.
pub fn revision<'f>(files: impl IntoIterator<Item = (&'f str, &'f ContentDigest)>) -> Revision {
    let mut files: Vec<_> = files.into_iter().collect();
    files.sort_unstable();
    let mut hasher = Sha256::new();
    for (path, digest) in files {
        hasher.update((path.len() as u64).to_be_bytes());
        hasher.update(path.as_bytes());
        hasher.update(digest);
    }
    let hex: String = hasher
        .finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Revision::new(&hex)
}

/// A few milliseconds, longer with each attempt and never the same: two readers must not stay in step with a writer.
fn pause_before_retry(attempt: u32) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(attempt);
    Duration::from_micros(200 + random % (1_000 << attempt.min(3)))
}

/// The texts of all files; none if one of them is not what the listing says.
fn read_all(survey: &Survey, unread: Unread<'_>) -> Option<Files> {
    let mut findings = survey.findings.clone();
    let total: u64 = survey.seen.iter().map(|seen| seen.stamp.n_bytes).sum();
    if total > MAX_STORE_BYTES {
        let message = format!("the store has {total} bytes; at most {MAX_STORE_BYTES} are read");
        findings.push(Finding::error(
            Code::TOO_LARGE,
            Location::file(WHOLE_STORE),
            message,
        ));
        return Some(Files {
            files: Vec::new(),
            findings,
        });
    }
    let mut files = Vec::with_capacity(survey.seen.len());
    let progress = Progress::of("reading the store", survey.seen.len());
    for seen in &survey.seen {
        progress.step();
        if let Some((path, digest)) = unread(&seen.path, &seen.stamp) {
            files.push(File {
                path,
                digest,
                stamp: Some(seen.stamp),
                text: None,
            });
            continue;
        }
        let max_bytes = Place::of(&seen.path).kind.max_bytes();
        if seen.stamp.n_bytes > max_bytes {
            let message = format!(
                "the file has {} bytes; at most {max_bytes} are read here",
                seen.stamp.n_bytes
            );
            findings.push(Finding::error(
                Code::TOO_LARGE,
                Location::file(Arc::clone(&seen.path)),
                message,
            ));
            continue;
        }
        match read_one(seen) {
            Ok(file) => files.push(file),
            Err(ReadError::Changed) => return None,
            Err(ReadError::Io(error)) => findings.push(unreadable(Arc::clone(&seen.path), &error)),
        }
    }
    Some(Files { files, findings })
}

enum ReadError {
    /// It is no longer what the listing says.
    Changed,
    Io(io::Error),
}

fn read_one(seen: &Seen) -> Result<File, ReadError> {
    let gone_or = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ReadError::Changed,
        _ => ReadError::Io(error),
    };
    // By our clock: one that is ahead of the file system's makes a stamp seem older than it is, and only the minute's
    // digests find what hides behind it then.
    let read_at = SystemTime::now();
    let mut options = OpenOptions::new();
    // Should a FIFO have taken the file's place since, opening it must not wait for a writer.
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let mut file = seen
        .base
        .open_with(&seen.below_base, &options)
        .map_err(gone_or)?;
    let is_as_seen = |file: &cap_std::fs::File| {
        file.metadata()
            .map(|metadata| metadata.is_file() && Stamp::of(&metadata) == seen.stamp)
            .map_err(ReadError::Io)
    };
    if !is_as_seen(&file)? {
        return Err(ReadError::Changed);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(seen.stamp.n_bytes).unwrap_or(0));
    file.by_ref()
        .take(seen.stamp.n_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(ReadError::Io)?;
    if bytes.len() as u64 != seen.stamp.n_bytes || !is_as_seen(&file)? {
        return Err(ReadError::Changed);
    }
    let digest = Sha256::digest(&bytes).into();
    Ok(File {
        path: Arc::clone(&seen.path),
        digest,
        stamp: Some(seen.stamp).filter(|stamp| stamp.is_settled(read_at)),
        text: Some(bytes),
    })
}

/// A file or folder that the system does not let us read.
pub fn unreadable(path: impl Into<Arc<str>>, error: &io::Error) -> Finding {
    Finding::error(
        Code::UNREADABLE,
        Location::file(path),
        format!("cannot be read: {error}"),
    )
}
