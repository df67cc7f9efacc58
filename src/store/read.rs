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
//!
//! One look is enough where its [`Moment`] proves that all was there when it began. Where a few files change all the
//! time, the others need not wait for them: see `busy`.

use std::io::{self, Read};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cap_std::fs::{Dir, Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use sha2::{Digest, Sha256};

use super::busy;
use super::moment::Moment;
use super::place::Place;
use super::progress::Progress;
use super::walk;
use crate::config::{MAX_STORE_BYTES, MAX_TRIES};
use crate::language::finding::{Code, Finding, Location};

/// A file that was changed so shortly before it was read may be changed again without another stamp: file systems
/// count time in ticks, of two seconds at worst.
const STAMP_GRAIN: Duration = Duration::from_secs(2);
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

    /// The same, by a call of the system that [`Metadata`] is not made from.
    #[expect(
        clippy::unnecessary_cast,
        reason = "how wide these are differs between systems"
    )]
    pub(super) fn of_stat(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            n_bytes: stat.st_size as u64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    /// The file system that it is of.
    pub(super) fn device(&self) -> u64 {
        self.device
    }

    /// Tells a file or folder from all others that there are at the same time.
    pub(super) fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// When the file was changed last, in seconds and nanoseconds since 1970.
    pub(super) fn changed(&self) -> (i64, i64) {
        self.changed
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
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH);
        now.is_ok_and(|now| self.changed_at() + STAMP_GRAIN < now)
    }
}

/// The SHA-256 of a file's bytes.
pub type ContentDigest = [u8; 32];

/// What there is in a store.
#[derive(Debug, Default)]
pub struct Files {
    /// Those that were read, sorted by path.
    pub read: Vec<File>,
    /// The path, and the digest of the content, of those that were taken for what they were.
    pub unread: Vec<(Arc<str>, ContentDigest)>,
    /// What is wrong with files and links, whatever they hold.
    pub findings: Vec<Finding>,
    /// The folders of which no file is in one of these lists: each is what it was.
    pub skipped: Vec<Arc<Listed>>,
    /// What was seen of all of them.
    pub listing: Listing,
}

impl Files {
    /// Files that never were on a disk.
    pub fn of_texts<'t>(texts: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        let file = |(path, text): (&str, &'t str)| File {
            seen: Seen {
                path: path.into(),
                digest: Sha256::digest(text).into(),
                stamp: None,
            },
            text: text.as_bytes().into(),
        };
        let mut read: Vec<File> = texts.into_iter().map(file).collect();
        read.sort_by(|a, b| a.path.cmp(&b.path));
        Self {
            read,
            ..Self::default()
        }
    }
}

/// One file that was read.
#[derive(Clone, Debug)]
pub struct File {
    /// What tells it from others.
    pub seen: Seen,
    /// Its bytes.
    pub text: Arc<[u8]>,
}

/// What is kept of a file that was read.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Below the root, with `/` between its parts; without the `..data` it was read through.
    pub path: Arc<str>,
    /// Of its bytes.
    pub digest: ContentDigest,
    /// What it looks like, if no later content can look the same.
    pub stamp: Option<Stamp>,
}

impl Deref for File {
    type Target = Seen;

    fn deref(&self) -> &Seen {
        &self.seen
    }
}

/// The files of one folder, as a look has found them. A later look that finds the same shares it.
#[derive(Debug, PartialEq)]
pub struct Listed {
    /// The folder; empty for the root.
    pub folder: Box<str>,
    /// Whether these were found through the folder's `..data`.
    pub is_data: bool,
    /// Every `*.json` with what it looks like, sorted by path.
    pub files: Vec<(Arc<str>, Stamp)>,
    /// The names of the folders in it, of those that are no links.
    pub folders: Vec<Box<str>>,
}

impl Listed {
    /// What a listing is sorted by.
    pub fn key(&self) -> (&str, bool) {
        (&self.folder, self.is_data)
    }
}

/// What a look at a store shows without reading: equal as long as nothing has changed.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Sorted by [`Listed::key`].
    pub folders: Vec<KnownFolder>,
    /// What is wrong with files and links.
    pub findings: Vec<Finding>,
}

/// A folder of a listing.
#[derive(Clone, Debug)]
pub struct KnownFolder {
    pub listed: Arc<Listed>,
    /// What the folder looked like, if another list of names would look otherwise.
    pub stamp: Option<Stamp>,
    /// Whether each of its files was taken for what it was: so can then be all of them, as long as they look the same.
    pub is_settled: bool,
}

impl Listing {
    /// The folder that stands at [`Listed::key`].
    pub fn find(&self, key: (&str, bool)) -> Option<&KnownFolder> {
        let folders = &self.folders;
        let at = folders.binary_search_by(|known| known.listed.key().cmp(&key));
        folders.get(at.ok()?)
    }

    /// Whether there are the same files in it as in `other`, whatever they look like.
    pub fn has_paths_of(&self, other: &Self) -> bool {
        fn paths(listed: &Listed) -> impl Iterator<Item = &Arc<str>> {
            listed.files.iter().map(|(path, _)| path)
        }
        self.folders.len() == other.folders.len()
            && self.folders.iter().zip(&other.folders).all(|(a, b)| {
                let (a, b) = (&a.listed, &b.listed);
                Arc::ptr_eq(a, b) || paths(a).eq(paths(b))
            })
    }
}

/// A listing with the open handles to read its files by. Not to be kept: a handle would pin a folder long replaced.
#[derive(Debug, Default)]
pub struct Survey {
    /// Sorted by [`Listed::key`].
    pub folders: Vec<Surveyed>,
    /// What is wrong with files and links, sorted.
    pub findings: Vec<Finding>,
    /// When it began, if that may prove something.
    pub moment: Option<Moment>,
}

/// A folder of a survey.
#[derive(Debug)]
pub struct Surveyed {
    pub listed: Arc<Listed>,
    /// What it looked like before it was listed.
    pub looked: Stamp,
    /// The same, if another list of names would look otherwise.
    pub stamp: Option<Stamp>,
    /// Through which handle it is reached.
    pub base: Arc<Dir>,
    /// By which path below that.
    pub below_base: PathBuf,
}

impl Surveyed {
    /// The path below `base` of the file that is called `path`.
    fn below_base_of(&self, path: &str) -> PathBuf {
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        self.below_base.join(name)
    }
}

impl Survey {
    /// Looks at every file below `root` without reading one. The names in folders that look as they do in `last` are
    /// taken from there.
    pub fn of(root: &Path, last: &Listing) -> Self {
        walk::survey(root, last)
    }

    /// What it shows.
    pub fn listing(&self) -> Listing {
        let known = |surveyed: &Surveyed| KnownFolder {
            listed: Arc::clone(&surveyed.listed),
            stamp: surveyed.stamp,
            is_settled: false,
        };
        Listing {
            folders: self.folders.iter().map(known).collect(),
            findings: self.findings.clone(),
        }
    }

    /// Whether `listing` shows the same files.
    pub fn is_as(&self, listing: &Listing) -> bool {
        fn with_files<'l>(
            folders: impl Iterator<Item = &'l Arc<Listed>>,
        ) -> impl Iterator<Item = &'l Arc<Listed>> {
            folders.filter(|listed| !listed.files.is_empty())
        }
        let mut seen = with_files(self.folders.iter().map(|folder| &folder.listed));
        let mut listed = with_files(listing.folders.iter().map(|folder| &folder.listed));
        let is_same = loop {
            match (seen.next(), listed.next()) {
                (Some(a), Some(b)) if Arc::ptr_eq(a, b) || a.files == b.files => {}
                (None, None) => break true,
                _ => break false,
            }
        };
        is_same && self.findings == listing.findings
    }

    /// Whether the file at `path` still has the content of `digest`; one that cannot be read has not.
    pub fn still_holds(&self, path: &str, digest: &ContentDigest) -> bool {
        self.find(path).is_some_and(|(folder, (path, stamp))| {
            matches!(read_one(folder, path, stamp), Ok(file) if file.digest == *digest)
        })
    }

    /// The file at `path`, and the folder it is in: a folder may be listed twice, by itself and through its `..data`.
    fn find(&self, path: &str) -> Option<(&Surveyed, &(Arc<str>, Stamp))> {
        let mut folders = self.folders_of(path);
        folders.find_map(|folder| {
            let files = &folder.listed.files;
            let at = files.binary_search_by(|(other, _)| (**other).cmp(path));
            Some((folder, files.get(at.ok()?)?))
        })
    }

    fn folders_of(&self, path: &str) -> impl Iterator<Item = &Surveyed> {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let first = self
            .folders
            .partition_point(|other| *other.listed.folder < *folder);
        let is_it = move |other: &&Surveyed| *other.listed.folder == *folder;
        self.folders.iter().skip(first).take(2).filter(is_it)
    }

    /// What the file at `path` looks like now; none if there is no such file.
    pub(super) fn look_at(&self, path: &str) -> Option<Stamp> {
        let listed = self.find(path).map(|(folder, _)| folder);
        let folder = listed.or_else(|| self.folders_of(path).next())?;
        let metadata = folder.base.metadata(folder.below_base_of(path)).ok()?;
        metadata.is_file().then(|| Stamp::of(&metadata))
    }

    /// The file at `path`, if it looks like this before and after it is read.
    pub(super) fn read(&self, path: &Arc<str>, stamp: &Stamp) -> Option<File> {
        if stamp.n_bytes > Place::of(path).kind.max_bytes() {
            return None;
        }
        let listed = self.find(path).map(|(folder, _)| folder);
        let folder = listed.or_else(|| self.folders_of(path).next())?;
        read_one(folder, path, stamp).ok()
    }

    /// Whether all of it was there when it began.
    pub(super) fn is_of_one_moment(&self) -> bool {
        let is_as_it_was = |folder: &Surveyed| {
            let now = folder.base.metadata(&folder.below_base);
            now.is_ok_and(|now| Stamp::of(&now) == folder.looked)
        };
        let moment = self.moment.as_ref().filter(|moment| moment.may_hold());
        // The clock last of all.
        moment.is_some_and(|moment| self.folders.iter().all(is_as_it_was) && moment.holds())
    }
}

/// Tells which files need not be read: what was read before of one that looks like this.
pub type Unread<'u> = &'u dyn Fn(&str, &Stamp) -> Option<(Arc<str>, ContentDigest)>;

/// What need not be read.
#[derive(Clone, Copy)]
pub struct Known<'k> {
    /// What was seen last. None of the files in folders that are settled there is to be read.
    pub last: &'k Listing,
    /// Nothing, for all others.
    pub unread: Unread<'k>,
    /// Whether a folder that looks as it did has the names it had, and a settled one the contents. Otherwise each is listed
    /// and read.
    pub trusts_folders: bool,
}

/// Reads the store at `root`, all of it but for what is known. Takes the first look itself if it is not given.
pub fn files(root: &Path, first: Option<Survey>, known: Known<'_>) -> Files {
    let nothing = Listing::default();
    let last = if known.trusts_folders {
        known.last
    } else {
        &nothing
    };
    let mut survey = first.unwrap_or_else(|| Survey::of(root, last));
    for attempt in 0..MAX_TRIES {
        if let Some(files) = read_all(&survey, known, &[]) {
            if survey.is_of_one_moment() {
                return files;
            }
            let after = Survey::of(root, &files.listing);
            if after.is_as(&files.listing) {
                return files;
            }
        }
        // What changes while all is read may be a few busy files.
        let look = |before: &Survey| Survey::of(root, &before.listing());
        if let Some(busy::Moment { survey, read }) = busy::find(survey, look)
            && let Some(files) = read_all(&survey, known, &read)
        {
            return files;
        }
        std::thread::sleep(pause_before_retry(attempt));
        survey = Survey::of(root, last);
    }
    let finding = Finding::error(
        Code::UNREADABLE,
        Location::file(WHOLE_STORE),
        format!("the store changed each of the {MAX_TRIES} times it was read"),
    )
    .help("write a new version beside it and swap a link");
    Files {
        findings: vec![finding],
        ..Files::default()
    }
}

/// A few milliseconds, longer with each attempt and never the same: two readers must not stay in step with a writer.
fn pause_before_retry(attempt: u32) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(attempt);
    Duration::from_micros(200 + random % (1_000 << attempt.min(3)))
}

/// The texts of all files that are not known; none if one of them is not what the survey says. Those of `read`, sorted by
/// path, have been read already.
fn read_all(survey: &Survey, known: Known<'_>, read: &[File]) -> Option<Files> {
    let mut files = Files {
        findings: survey.findings.clone(),
        listing: survey.listing(),
        ..Files::default()
    };
    let listed = || survey.folders.iter().map(|folder| &folder.listed.files);
    let total: u64 = listed().flatten().map(|(_, stamp)| stamp.n_bytes).sum();
    if total > MAX_STORE_BYTES {
        let message = format!("the store has {total} bytes; at most {MAX_STORE_BYTES} are read");
        files.findings.push(Finding::error(
            Code::TOO_LARGE,
            Location::file(WHOLE_STORE),
            message,
        ));
        return Some(files);
    }
    let progress = Progress::of("reading the store", listed().map(Vec::len).sum());
    for (folder, noted) in survey.folders.iter().zip(&mut files.listing.folders) {
        let last = known.last.find(folder.listed.key());
        noted.is_settled = known.trusts_folders
            && last
                .is_some_and(|last| last.is_settled && Arc::ptr_eq(&last.listed, &folder.listed));
        if noted.is_settled {
            files.skipped.push(Arc::clone(&folder.listed));
            continue;
        }
        noted.is_settled = true;
        for (path, stamp) in &folder.listed.files {
            progress.step();
            if let Some(unread) = (known.unread)(path, stamp) {
                files.unread.push(unread);
                continue;
            }
            noted.is_settled = false;
            if let Ok(at) = read.binary_search_by(|file| file.path.cmp(path)) {
                files.read.extend(read.get(at).cloned());
                continue;
            }
            let max_bytes = Place::of(path).kind.max_bytes();
            if stamp.n_bytes > max_bytes {
                let message = format!(
                    "the file has {} bytes; at most {max_bytes} are read here",
                    stamp.n_bytes
                );
                let at = Location::file(Arc::clone(path));
                files
                    .findings
                    .push(Finding::error(Code::TOO_LARGE, at, message));
                continue;
            }
            match read_one(folder, path, stamp) {
                Ok(file) => files.read.push(file),
                Err(ReadError::Changed) => return None,
                Err(ReadError::Io(error)) => {
                    files.findings.push(unreadable(Arc::clone(path), &error));
                }
            }
        }
    }
    files.read.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Some(files)
}

enum ReadError {
    /// It is no longer what the survey says.
    Changed,
    Io(io::Error),
}

fn read_one(folder: &Surveyed, path: &Arc<str>, seen: &Stamp) -> Result<File, ReadError> {
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
    let mut file = folder
        .base
        .open_with(folder.below_base_of(path), &options)
        .map_err(gone_or)?;
    let is_as_seen = |file: &cap_std::fs::File| {
        file.metadata()
            .map(|metadata| metadata.is_file() && Stamp::of(&metadata) == *seen)
            .map_err(ReadError::Io)
    };
    if !is_as_seen(&file)? {
        return Err(ReadError::Changed);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(seen.n_bytes).unwrap_or(0));
    file.by_ref()
        .take(seen.n_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(ReadError::Io)?;
    if bytes.len() as u64 != seen.n_bytes || !is_as_seen(&file)? {
        return Err(ReadError::Changed);
    }
    let digest = Sha256::digest(&bytes).into();
    Ok(File {
        seen: Seen {
            path: Arc::clone(path),
            digest,
            stamp: Some(*seen).filter(|stamp| stamp.is_settled(read_at)),
        },
        text: bytes.into(),
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
