//! The contents of files when they were last read, so that a reload reads and parses only changed files.
//!
//! A file's entities and findings follow only from its path, its content and the owner of its folder. If all three are
//! the same, its entities and findings are the same.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;

use super::Fragment;
use super::owners::{Declaration, Owners};
use crate::store::contents::Contents;
use crate::store::file::{Content, Seen};

/// The files of the last load that had no errors, found by their paths. The snapshot made from them shares their
/// documents.
#[derive(Debug, Default)]
pub struct Memory {
    files: HashTable<Remembered>,
    hasher: RandomState,
    /// The owners of the files.
    pub(super) owners: Owners,
}

#[derive(Debug)]
struct Remembered {
    content: Content,
    /// Whether every later change must give the file another stamp than the one it was read with, which the listing of
    /// the last look has.
    is_settled: bool,
    says: Says,
}

/// The contents of a file without errors.
#[derive(Debug)]
enum Says {
    Entities(Fragment),
    Account(Arc<Declaration>),
}

impl Memory {
    /// Returns the owners of its files.
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Returns how many files it holds.
    pub fn n_files(&self) -> usize {
        self.files.len()
    }

    /// Returns the content of the file at `path`, which has the same stamp as at the last look. Returns `None` if it may
    /// have changed nevertheless.
    pub fn unread(&self, path: &str) -> Option<Content> {
        let known = self.find(path)?;
        known.is_settled.then(|| known.content.clone())
    }

    /// Returns the content of the file at `path` when it last had no errors.
    pub fn known(&self, path: &str) -> Option<&Content> {
        Some(&self.find(path)?.content)
    }

    /// Returns whether the file had no errors and had this content.
    pub fn holds(&self, content: &Content) -> bool {
        self.known(&content.path) == Some(content)
    }

    /// Returns the contents of the file at `path`. The caller has checked that its bytes are the same.
    pub fn fragment(&self, path: &str) -> Option<&Fragment> {
        match &self.find(path)?.says {
            Says::Entities(fragment) => Some(fragment),
            Says::Account(_) => None,
        }
    }

    /// Returns the account that a file declares, if the file still has this content.
    pub(super) fn declaration(&self, content: &Content) -> Option<&Arc<Declaration>> {
        let known = self.find(&content.path)?;
        match &known.says {
            Says::Account(declaration) if known.content == *content => Some(declaration),
            _ => None,
        }
    }

    /// Remembers the contents of `file`.
    pub fn keep(&mut self, file: &Seen, fragment: Fragment) {
        self.keep_as(file, Says::Entities(fragment));
    }

    /// Remembers the account that `file` declares.
    pub(super) fn keep_account(&mut self, file: &Seen, declaration: Arc<Declaration>) {
        self.keep_as(file, Says::Account(declaration));
    }

    fn keep_as(&mut self, file: &Seen, says: Says) {
        let remembered = Remembered {
            content: file.content.clone(),
            is_settled: file.stamp.is_some(),
            says,
        };
        if let Some(known) = self.find_mut(&file.path) {
            *known = remembered;
            return;
        }
        let hasher = &self.hasher;
        let hash = |known: &Remembered| hasher.hash_one(&*known.content.path);
        self.files
            .insert_unique(hash(&remembered), remembered, hash);
    }

    /// Records what the stamp of a file proves that was read again and has the same contents.
    pub fn looks(&mut self, file: &Seen) {
        if let Some(known) = self.find_mut(&file.path) {
            known.is_settled = file.stamp.is_some();
        }
    }

    /// Forgets the file at `path`.
    pub(super) fn forget(&mut self, path: &str) {
        let hash = self.hasher.hash_one(path);
        if let Ok(known) = self
            .files
            .find_entry(hash, |known| *known.content.path == *path)
        {
            known.remove();
        }
    }

    /// Forgets all files except these.
    pub(super) fn keep_only(&mut self, files: &Contents) {
        let present: HashSet<&str> = files.iter().map(|content| &*content.path).collect();
        self.files
            .retain(|known| present.contains(&*known.content.path));
    }

    fn find(&self, path: &str) -> Option<&Remembered> {
        let hash = self.hasher.hash_one(path);
        self.files.find(hash, |known| *known.content.path == *path)
    }

    fn find_mut(&mut self, path: &str) -> Option<&mut Remembered> {
        let hash = self.hasher.hash_one(path);
        self.files
            .find_mut(hash, |known| *known.content.path == *path)
    }
}
