//! Reads a store in which some files change all the time, as it was at one moment.
//!
//! Looking at a large store takes longer than a busy file stays the same, so two looks may never agree. But the files
//! that look the same in both looks were the same at every moment between them. Only the busy files are left. They are
//! few, so they can be looked at and read in a short time of their own:
//!
//! ```text
//! look ────────────── look at, read, look at the busy files ────────────── look
//!   └───────────── all the others have the same stamps in both ─────────────┘
//! ```
//!
//! So the result is the store as it was while the busy files were read. No two versions are mixed, and a file that is
//! rewritten again and again does not keep other changes from taking effect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::file::File;
use super::stamp::Stamp;
use super::survey::{Listed, Survey, Surveyed};

/// The most files that may be busy. If there are more, the store is being replaced, and it is right to wait.
const MAX_BUSY: usize = 64;
/// How long to look for a moment at which the busy files can be read.
const PATIENCE: Duration = Duration::from_millis(250);

/// A store at one moment.
pub(super) struct Moment {
    /// The survey that a look at that moment would have returned.
    pub(super) survey: Survey,
    /// The contents of the busy files that existed.
    pub(super) read: Vec<File>,
}

/// The busy files by path, each with its stamp, or `None` if it does not exist.
type Busy = BTreeMap<Arc<str>, Option<Stamp>>;

/// Finds a moment after `before` at which the store without its busy files can be read, and reads the busy files.
/// Returns `None` if too much changes.
pub(super) fn find(before: Survey, mut look: impl FnMut(&Survey) -> Survey) -> Option<Moment> {
    let end = Instant::now() + PATIENCE;
    let mut after = look(&before);
    let mut busy = Busy::new();
    loop {
        add_changed(&before, &after, &mut busy)?;
        let read = read_together(&after, &mut busy, end)?;
        let next = look(&after);
        let n_busy = busy.len();
        add_changed(&before, &next, &mut busy)?;
        if busy.len() == n_busy {
            let survey = with(before, &busy);
            return Some(Moment { survey, read });
        }
        if Instant::now() >= end {
            return None;
        }
        after = next;
    }
}

/// Adds the files that differ between two looks. Returns `None` if there are too many, or if whole folders came or
/// went.
fn add_changed(before: &Survey, after: &Survey, busy: &mut Busy) -> Option<()> {
    let (old, new) = (&before.folders, &after.folders);
    let is_same_folder = |(a, b): (&Surveyed, &Surveyed)| {
        a.listed.key() == b.listed.key() && a.looked.identity() == b.looked.identity()
    };
    let are_same = old.len() == new.len() && old.iter().zip(new).all(is_same_folder);
    if !are_same || before.findings != after.findings {
        return None;
    }
    for (old, new) in old.iter().zip(new) {
        if Arc::ptr_eq(&old.listed, &new.listed) {
            continue;
        }
        let stamps = |listed: &Listed| -> BTreeMap<Arc<str>, Stamp> {
            let files = listed.files.iter();
            files
                .map(|(path, stamp)| (Arc::clone(path), *stamp))
                .collect()
        };
        let (mut then, now) = (stamps(&old.listed), stamps(&new.listed));
        for (path, stamp) in now {
            if then.remove(&path) != Some(stamp) {
                busy.entry(path).or_default();
            }
        }
        for gone in then.into_keys() {
            busy.entry(gone).or_default();
        }
        if busy.len() > MAX_BUSY {
            return None;
        }
    }
    Some(())
}

/// Reads the busy files in such a way that none of them changed while all of them were read.
fn read_together(survey: &Survey, busy: &mut Busy, end: Instant) -> Option<Vec<File>> {
    loop {
        for (path, stamp) in busy.iter_mut() {
            *stamp = survey.look_at(path);
        }
        let read: Option<Vec<File>> = busy
            .iter()
            .filter_map(|(path, stamp)| Some((path, stamp.as_ref()?)))
            .map(|(path, stamp)| survey.read(path, stamp))
            .collect();
        let mut again = busy.iter();
        if let Some(read) = read
            && again.all(|(path, stamp)| survey.look_at(path) == *stamp)
        {
            return Some(read);
        }
        if Instant::now() >= end {
            return None;
        }
    }
}

/// Returns `survey` as it would be if the busy files had these stamps.
fn with(mut survey: Survey, busy: &Busy) -> Survey {
    for folder in &mut survey.folders {
        let below = |path: &&Arc<str>| folder_of(path) == &*folder.listed.folder;
        let mut busy_here = busy.iter().filter(|(path, _)| below(path)).peekable();
        if busy_here.peek().is_none() {
            continue;
        }
        let listed = &folder.listed;
        let mut files: BTreeMap<Arc<str>, Stamp> = listed.files.iter().cloned().collect();
        for (path, stamp) in busy_here {
            match stamp {
                Some(stamp) => _ = files.insert(Arc::clone(path), *stamp),
                None => _ = files.remove(path),
            }
        }
        folder.listed = Arc::new(Listed {
            folder: listed.folder.clone(),
            is_data: listed.is_data,
            files: files.into_iter().collect(),
            folders: listed.folders.clone(),
        });
        // The names in the folder may have changed by now.
        folder.stamp = None;
    }
    survey.moment = None;
    survey
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
