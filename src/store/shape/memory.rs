//! What files said when they were read last: a reload reads and parses only what has changed.
//!
//! A file's entities and findings follow from its path, its content and the owner of its folder alone, so where all
//! three are the same, so is what it says.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Fragment;
use super::owners::{Declaration, Owners};
use crate::store::contents::Contents;
use crate::store::read::{ContentDigest, Seen, Stamp};

/// The good files of the last load, by path. Their documents are shared with the snapshot that was made of them.
#[derive(Debug, Default)]
pub struct Memory {
    files: HashMap<Arc<str>, Remembered>,
    /// To whom they belong.
    pub(super) owners: Owners,
}

#[derive(Debug)]
struct Remembered {
    digest: ContentDigest,
    /// What the file looked like, if that tells it from every later content.
    stamp: Option<Stamp>,
    says: Says,
}

/// There is no error in it.
#[derive(Debug)]
enum Says {
    Entities(Arc<Fragment>),
    Account(Arc<Declaration>),
}

impl Memory {
    /// To whom its files belong.
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// How many files it holds.
    pub fn n_files(&self) -> usize {
        self.files.len()
    }

    /// The path, and the digest of the content, of a file that need not be read because it looks as it did.
    pub fn unread(&self, path: &str, stamp: &Stamp) -> Option<(Arc<str>, ContentDigest)> {
        let (path, known) = self.files.get_key_value(path)?;
        (known.stamp == Some(*stamp)).then(|| (Arc::clone(path), known.digest))
    }

    /// The path and the digest of a file that was good.
    pub fn known(&self, path: &str) -> Option<(Arc<str>, ContentDigest)> {
        let (path, known) = self.files.get_key_value(path)?;
        Some((Arc::clone(path), known.digest))
    }

    /// What the file at `path` says; the caller has seen that its content is the same.
    pub fn fragment(&self, path: &str) -> Option<&Arc<Fragment>> {
        match &self.files.get(path)?.says {
            Says::Entities(fragment) => Some(fragment),
            Says::Account(_) => None,
        }
    }

    /// The account that the file at `path` declares, if its content is still of `digest`.
    pub(super) fn declaration(
        &self,
        path: &str,
        digest: &ContentDigest,
    ) -> Option<&Arc<Declaration>> {
        let known = self.files.get(path)?;
        match &known.says {
            Says::Account(declaration) if known.digest == *digest => Some(declaration),
            _ => None,
        }
    }

    /// Remembers what `file` says.
    pub fn keep(&mut self, file: &Seen, fragment: Arc<Fragment>) {
        self.keep_as(file, Says::Entities(fragment));
    }

    /// Remembers the account that `file` declares.
    pub(super) fn keep_account(&mut self, file: &Seen, declaration: Arc<Declaration>) {
        self.keep_as(file, Says::Account(declaration));
    }

    fn keep_as(&mut self, file: &Seen, says: Says) {
        let remembered = Remembered {
            digest: file.digest,
            stamp: file.stamp,
            says,
        };
        self.files.insert(Arc::clone(&file.path), remembered);
    }

    /// Notes what a file looks like that was read again, and says what it said.
    pub fn looks(&mut self, file: &Seen) {
        if let Some(known) = self.files.get_mut(&file.path) {
            known.stamp = file.stamp;
        }
    }

    /// Forgets the file at `path`.
    pub(super) fn forget(&mut self, path: &str) {
        self.files.remove(path);
    }

    /// Forgets all files but these.
    pub(super) fn keep_only(&mut self, files: &Contents) {
        let present: HashSet<&str> = files.iter().map(|(path, _)| &**path).collect();
        self.files.retain(|path, _| present.contains(&**path));
    }
}
