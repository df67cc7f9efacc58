//! What a look at a store shows, without reading: which files there are, and what they look like.
//!
//! ```text
//! Survey ── with the open handles to read by ──▶ Listing ── what is kept of it until the next look
//!   └─ Surveyed ─┐                                 └─ KnownFolder ─┐
//!                └──────────── Arc of Listed ────────────┘ shared as long as a folder's files look the same
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use cap_std::fs::Dir;

use super::file::{Content, File, ReadError, read_one};
use super::moment::Moment;
use super::place::Place;
use super::stamp::Stamp;
use crate::language::finding::Finding;

/// What findings about the store as a whole name as their file.
pub const WHOLE_STORE: &str = ".";

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

    /// The file of this folder that is called `path`, if it looks like `stamp`.
    pub fn read(&self, path: &Arc<str>, stamp: &Stamp) -> Result<File, ReadError> {
        read_one(&self.base, &self.below_base_of(path), path, stamp)
    }
}

impl Survey {
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

    /// Whether a file still has this content; one that cannot be read has not.
    pub fn still_holds(&self, content: &Content) -> bool {
        self.find(&content.path).is_some_and(|(folder, (path, stamp))| {
            matches!(folder.read(path, stamp), Ok(file) if file.digest == content.digest)
        })
    }

    /// Returns the file at `path` and its folder. A folder may be listed twice, on its own and through its `..data`.
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
        if stamp.n_bytes() > Place::of(path).kind.max_bytes() {
            return None;
        }
        let listed = self.find(path).map(|(folder, _)| folder);
        let folder = listed.or_else(|| self.folders_of(path).next())?;
        folder.read(path, stamp).ok()
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
