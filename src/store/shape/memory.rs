//! What files said when they were read last: a reload parses only what has changed.
//!
//! A file's entities and findings follow from its path, its content and the owner of its folder alone, so where all
//! three are the same, so is what it says.

use std::collections::HashMap;
use std::sync::Arc;

use super::FolderOwner;
use crate::language::finding::Finding;
use crate::store::read::{ContentDigest, File};
use crate::world::Entities;

/// The good files of the last load, by path. Their documents are shared with the snapshot that was made of them.
#[derive(Clone, Debug, Default)]
pub struct Memory(HashMap<Arc<str>, Remembered>);

#[derive(Clone, Debug)]
struct Remembered {
    digest: ContentDigest,
    owner: Option<FolderOwner>,
    fragment: Arc<Fragment>,
}

/// What one file says; there is no error in it.
#[derive(Debug)]
pub(super) struct Fragment {
    pub entities: Entities,
    pub findings: Vec<Finding>,
}

impl Memory {
    /// What `file` says, if it is as it was.
    pub(super) fn take(
        &mut self,
        file: &File,
        owner: Option<&FolderOwner>,
    ) -> Option<Arc<Fragment>> {
        let known = self.0.remove(&file.path)?;
        let is_same = known.digest == file.digest && known.owner.as_ref() == owner;
        is_same.then_some(known.fragment)
    }

    /// Remembers what `file` says.
    pub(super) fn keep(
        &mut self,
        file: &File,
        owner: Option<FolderOwner>,
        fragment: Arc<Fragment>,
    ) {
        let digest = file.digest;
        self.0.insert(
            Arc::clone(&file.path),
            Remembered {
                digest,
                owner,
                fragment,
            },
        );
    }
}
