//! The cost of the disk alone: reading the metadata of every file, and reading every file.

use std::fs;
use std::hint::black_box;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Reads the metadata of every file below `root`.
pub fn stat_all(root: &Path) -> anyhow::Result<()> {
    visit(root, &mut |path| {
        black_box(fs::symlink_metadata(path)?);
        Ok(())
    })
}

/// Reads and digests every file below `root`.
pub fn read_all(root: &Path) -> anyhow::Result<()> {
    visit(root, &mut |path| {
        black_box(Sha256::digest(fs::read(path)?));
        Ok(())
    })
}

fn visit(folder: &Path, see: &mut impl FnMut(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => visit(&entry.path(), see)?,
            false => see(&entry.path())?,
        }
    }
    Ok(())
}
