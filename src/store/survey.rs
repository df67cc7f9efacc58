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

/// The file name in findings about the store as a whole.
pub const WHOLE_STORE: &str = ".";

/// The files of one folder at the time of one look. A later look that finds the same files shares this list.
#[derive(Debug, PartialEq)]
pub struct Listed {
    /// The folder; empty for the root.
    pub folder: Box<str>,
    /// Whether the files were found through the folder's `..data`.
    pub is_data: bool,
    /// Every `*.json` file with its stamp, sorted by path.
    pub files: Vec<(Arc<str>, Stamp)>,
    /// The names of the folders in this folder, without those that are links.
    pub folders: Vec<Box<str>>,
}

impl Listed {
    /// Returns the key by which listings are sorted.
    pub fn key(&self) -> (&str, bool) {
        (&self.folder, self.is_data)
    }
}

/// The files of a store and their stamps, found without reading the files. Two listings are equal as long as nothing
/// has changed.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Sorted by [`Listed::key`].
    pub folders: Vec<KnownFolder>,
    /// The problems found with files and links.
    pub findings: Vec<Finding>,
}

/// A folder of a listing.
#[derive(Clone, Debug)]
pub struct KnownFolder {
    pub listed: Arc<Listed>,
    /// The stamp of the folder. `None` if the folder's names could change without a new stamp.
    pub stamp: Option<Stamp>,
    /// Whether the stamp of every file showed that the file had not changed. If so, the next look takes all of them as
    /// unchanged while the folder's listing stays the same.
    pub is_settled: bool,
}

impl Listing {
    /// Returns the folder whose [`Listed::key`] is `key`.
    pub fn find(&self, key: (&str, bool)) -> Option<&KnownFolder> {
        let folders = &self.folders;
        let at = folders.binary_search_by(|known| known.listed.key().cmp(&key));
        folders.get(at.ok()?)
    }

    /// Returns whether `other` has files at the same paths, whatever their stamps are.
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

/// A listing with open handles, through which its files can be read. It must not be kept, because an open handle would
/// pin a folder that has been replaced.
#[derive(Debug, Default)]
pub struct Survey {
    /// Sorted by [`Listed::key`].
    pub folders: Vec<Surveyed>,
    /// The problems found with files and links, sorted.
    pub findings: Vec<Finding>,
    /// The time at which the survey began. `None` if it proves nothing.
    pub moment: Option<Moment>,
}

/// A folder of a survey.
#[derive(Debug)]
pub struct Surveyed {
    pub listed: Arc<Listed>,
    /// The stamp of the folder before its names were listed.
    pub looked: Stamp,
    /// The same stamp. `None` if the folder's names could change without a new stamp.
    pub stamp: Option<Stamp>,
    /// The handle through which the folder is reached.
    pub base: Arc<Dir>,
    /// The path of the folder below `base`.
    pub below_base: PathBuf,
}

impl Surveyed {
    /// Returns the path below `base` of the file at `path` of the store.
    fn below_base_of(&self, path: &str) -> PathBuf {
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        self.below_base.join(name)
    }

    /// Reads the file at `path`, which is in this folder. Fails if its stamp is not `stamp`.
    pub fn read(&self, path: &Arc<str>, stamp: &Stamp) -> Result<File, ReadError> {
        read_one(&self.base, &self.below_base_of(path), path, stamp)
    }
}

impl Survey {
    /// Returns the listing without the open handles.
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

    /// Returns whether `listing` has the same files with the same stamps, and the same findings.
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

    /// Returns whether a file still has this content. A file that cannot be read does not have it.
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

    /// Returns the current stamp of the file at `path`, or `None` if there is no such file.
    pub(super) fn look_at(&self, path: &str) -> Option<Stamp> {
        let listed = self.find(path).map(|(folder, _)| folder);
        let folder = listed.or_else(|| self.folders_of(path).next())?;
        let metadata = folder.base.metadata(folder.below_base_of(path)).ok()?;
        metadata.is_file().then(|| Stamp::of(&metadata))
    }

    /// Returns the file at `path` if its stamp is `stamp` before and after the file is read.
    pub(super) fn read(&self, path: &Arc<str>, stamp: &Stamp) -> Option<File> {
        if stamp.n_bytes() > Place::of(path).kind.max_bytes() {
            return None;
        }
        let listed = self.find(path).map(|(folder, _)| folder);
        let folder = listed.or_else(|| self.folders_of(path).next())?;
        folder.read(path, stamp).ok()
    }

    /// Returns whether everything that the survey saw existed when the survey began.
    pub(super) fn is_of_one_moment(&self) -> bool {
        let is_as_it_was = |folder: &Surveyed| {
            let now = folder.base.metadata(&folder.below_base);
            now.is_ok_and(|now| Stamp::of(&now) == folder.looked)
        };
        let moment = self.moment.as_ref().filter(|moment| moment.may_hold());
        // The clock must be read last.
        moment.is_some_and(|moment| self.folders.iter().all(is_as_it_was) && moment.holds())
    }
}
