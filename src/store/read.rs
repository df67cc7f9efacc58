//! Reads the files of a directory as they are at one moment.
//!
//! Reading by path mixes two revisions as soon as a link is swapped meanwhile, so everything goes through one handle.
//! The root is opened once. If a folder has `..data` (a mounted ConfigMap), that is opened once too, and the folder's
//! files are read through it. Looking twice finds all other changes: the listing with its stamps is taken before and
//! after the texts are read, and if the two differ, everything is discarded and read again.
//!
//! ```text
//! survey ── every *.json with its stamp ──▶ texts, each checked against its stamp ──▶ survey again: equal? ──▶ Files
//!    ▲                                                                                      │ no
//!    └──────────────────────────────── a short random pause ────────────────────────────────┘
//! ```
//!
//! One look is enough where its [`Moment`](super::moment::Moment) proves that all was there when it began. Where a few files change all the
//! time, the others need not wait for them: see `busy`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::busy;
use super::file::{Content, File, ReadError, Seen, unreadable};
use super::place::Place;
use super::progress::Progress;
use super::survey::{Listed, Listing, Survey, WHOLE_STORE};
use super::walk;
use crate::config::{MAX_STORE_BYTES, MAX_TRIES};
use crate::language::finding::{Code, Finding, Location};

/// The files of a store.
#[derive(Debug, Default)]
pub struct Files {
    /// The files that were read, sorted by path.
    pub read: Vec<File>,
    /// The files that were taken as unchanged without being read.
    pub unread: Vec<Content>,
    /// The problems found with files and links, apart from their contents.
    pub findings: Vec<Finding>,
    /// The unchanged folders whose files are in neither of these lists.
    pub skipped: Vec<Arc<Listed>>,
    /// The listing of all files.
    pub listing: Listing,
}

impl Files {
    /// Returns files that never were on a disk.
    pub fn of_texts<'t>(texts: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        let file = |(path, text): (&str, &'t str)| File {
            seen: Seen {
                content: Content {
                    path: path.into(),
                    digest: Sha256::digest(text).into(),
                },
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

/// Returns the known content of a file that need not be read, given its path and whether it has the stamp that it had at
/// the last look.
pub type Unread<'u> = &'u dyn Fn(&str, bool) -> Option<Content>;

/// The files that need not be read.
#[derive(Clone, Copy)]
pub struct Known<'k> {
    /// The last listing. Files in its settled folders are not read, and its stamps are those of the last look.
    pub last: &'k Listing,
    /// Decides about all other files.
    pub unread: Unread<'k>,
    /// Whether a folder with the same stamp is taken to have the same names, and a settled one the same contents. If
    /// not, every folder is listed and read.
    pub trusts_folders: bool,
}

/// Reads the store at `root`, except for the known files. Takes the first look itself if it is not given.
pub fn files(root: &Path, first: Option<Survey>, known: Known<'_>) -> Files {
    let nothing = Listing::default();
    let last = if known.trusts_folders {
        known.last
    } else {
        &nothing
    };
    let mut survey = first.unwrap_or_else(|| walk::survey(root, last));
    for attempt in 0..MAX_TRIES {
        if let Some(files) = read_all(&survey, known, &[]) {
            if survey.is_of_one_moment() {
                return files;
            }
            let after = walk::survey(root, &files.listing);
            if after.is_as(&files.listing) {
                return files;
            }
        }
        // What changes while all is read may be a few busy files.
        let look = |before: &Survey| walk::survey(root, &before.listing());
        if let Some(busy::Moment { survey, read }) = busy::find(survey, look)
            && let Some(files) = read_all(&survey, known, &read)
        {
            return files;
        }
        std::thread::sleep(pause_before_retry(attempt));
        survey = walk::survey(root, last);
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

/// Returns a pause of a few milliseconds. It grows with each attempt and is random, because two readers must not stay
/// in step with a writer.
fn pause_before_retry(attempt: u32) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(attempt);
    Duration::from_micros(200 + random % (1_000 << attempt.min(3)))
}

/// Reads all files that are not known. Returns `None` if one of them differs from the survey. The files in `read`,
/// sorted by path, have been read already.
fn read_all(survey: &Survey, known: Known<'_>, read: &[File]) -> Option<Files> {
    let mut files = Files {
        findings: survey.findings.clone(),
        listing: survey.listing(),
        ..Files::default()
    };
    let listed = || survey.folders.iter().map(|folder| &folder.listed.files);
    let total: u64 = listed().flatten().map(|(_, stamp)| stamp.n_bytes()).sum();
    if total > MAX_STORE_BYTES {
        let message = format!("the store has {total} bytes; at most {MAX_STORE_BYTES} are read");
        let finding = Finding::error(Code::TOO_LARGE, Location::file(WHOLE_STORE), message);
        let help = "move some of its files to another store";
        files.findings.push(finding.help(help));
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
        let last = last.map_or(&[][..], |last| &last.listed.files);
        let mut last = last.iter().peekable();
        for (path, stamp) in &folder.listed.files {
            progress.step();
            // Both lists are sorted by path.
            while last.next_if(|(other, _)| other < path).is_some() {}
            let before = last.next_if(|(other, _)| other == path);
            let has_same_stamp = before.is_some_and(|(_, before)| before == stamp);
            if let Some(unread) = (known.unread)(path, has_same_stamp) {
                files.unread.push(unread);
                continue;
            }
            noted.is_settled = false;
            if let Ok(at) = read.binary_search_by(|file| file.path.cmp(path)) {
                files.read.extend(read.get(at).cloned());
                continue;
            }
            let max_bytes = Place::of(path).kind.max_bytes();
            if stamp.n_bytes() > max_bytes {
                let message = format!(
                    "the file has {} bytes; at most {max_bytes} are read here",
                    stamp.n_bytes()
                );
                let at = Location::file(Arc::clone(path));
                let finding = Finding::error(Code::TOO_LARGE, at, message);
                let help = "move parts of it to other files";
                files.findings.push(finding.help(help));
                continue;
            }
            match folder.read(path, stamp) {
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
