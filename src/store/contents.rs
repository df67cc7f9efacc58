//! The files of a store with the digests of their contents, and the revision that follows from them.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::file::Content;
use crate::compile::snapshot::Revision;

/// How many files a chunk has.
const FILES_PER_CHUNK: usize = 256;

/// The path and the digest of each file, sorted by the bytes of the paths. A version in which some digests differ shares
/// all chunks but theirs, and digests only what comes after the first of them.
///
/// ```text
/// chunks ─┬▶ Arc ─▶ 256 files        before ─┬▶ the state of the revision's hash: of nothing
///         ├▶ Arc ─▶ 256 files                ├▶                                   of the first chunk
///         └▶ Arc ─▶ the rest                 └▶                                   of the first two
/// ```
#[derive(Clone, Debug, Default)]
pub struct Contents {
    chunks: Vec<Arc<Vec<Content>>>,
    before: Vec<Sha256>,
    n_files: usize,
}

impl Contents {
    /// Returns the contents of these files and their revision. No two files may have the same path.
    pub fn of(mut files: Vec<Content>) -> (Self, Revision) {
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let n_files = files.len();
        let mut chunks = Vec::with_capacity(n_files.div_ceil(FILES_PER_CHUNK));
        let mut files = files.into_iter();
        loop {
            let chunk: Vec<_> = files.by_ref().take(FILES_PER_CHUNK).collect();
            if chunk.is_empty() {
                break;
            }
            chunks.push(Arc::new(chunk));
        }
        let mut contents = Self {
            chunks,
            before: Vec::new(),
            n_files,
        };
        let revision = contents.digest_from(0);
        (contents, revision)
    }

    /// Returns the contents after some files have changed. Returns `None` if one of these files is not among them.
    pub fn with<'f>(
        &self,
        changed: impl IntoIterator<Item = &'f Content>,
    ) -> Option<(Self, Revision)> {
        let mut contents = self.clone();
        let mut first = contents.chunks.len().saturating_sub(1);
        for Content { path, digest } in changed {
            let (chunk, at) = self.place(path)?;
            let files = contents.chunks.get_mut(chunk)?;
            if files.get(at)?.digest != *digest {
                Arc::make_mut(files).get_mut(at)?.digest = *digest;
                first = first.min(chunk);
            }
        }
        let revision = contents.digest_from(first);
        Some((contents, revision))
    }

    /// Returns how many files there are.
    pub fn len(&self) -> usize {
        self.n_files
    }

    /// Iterates over all files, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Content> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    fn place(&self, path: &str) -> Option<(usize, usize)> {
        let begins_after = |chunk: &Arc<Vec<Content>>| {
            let first = chunk.first();
            first.is_some_and(|first| *first.path <= *path)
        };
        let chunk = self.chunks.partition_point(begins_after).checked_sub(1)?;
        let files = self.chunks.get(chunk)?;
        let at = files
            .binary_search_by(|other| (*other.path).cmp(path))
            .ok()?;
        Some((chunk, at))
    }

    /// Computes the revision: the first 32 hexadecimal digits of SHA-256 over the files. Each file adds the length of
    /// its path in bytes (64 bits, big-endian), the path, and the 32 bytes of its content's SHA-256, so no two lists of
    /// files add the same bytes.
    fn digest_from(&mut self, first: usize) -> Revision {
        let mut hasher = self.before.get(first).cloned().unwrap_or_default();
        self.before.truncate(first);
        let mut bytes = Vec::new();
        for chunk in self.chunks.iter().skip(first) {
            self.before.push(hasher.clone());
            bytes.clear();
            for Content { path, digest } in chunk.iter() {
                bytes.extend_from_slice(&(path.len() as u64).to_be_bytes());
                bytes.extend_from_slice(path.as_bytes());
                bytes.extend_from_slice(digest);
            }
            hasher.update(&bytes);
        }
        let hex: String = hasher
            .finalize()
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Revision::new(&hex)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn files(n: u32) -> Vec<Content> {
        let digest = |n: u32| Sha256::digest(n.to_be_bytes()).into();
        (0..n)
            .map(|n| Content {
                path: format!("users/u{n}.json").into(),
                digest: digest(n),
            })
            .collect()
    }

    #[test]
    fn the_revision_depends_on_paths_and_contents_alone() {
        let of = |files: &[(&str, u8)]| {
            let content = |(path, byte): &(&str, u8)| Content {
                path: Arc::from(*path),
                digest: [*byte; 32],
            };
            Contents::of(files.iter().map(content).collect()).1
        };
        assert_eq!(of(&[]).as_str(), "e3b0c44298fc1c149afbf4c8996fb924");
        assert_eq!(of(&[("b", 1), ("a", 2)]), of(&[("a", 2), ("b", 1)]));
        assert_ne!(of(&[("b", 1), ("a", 2)]), of(&[("a", 1), ("b", 2)]));
        assert_ne!(of(&[("ab", 1)]), of(&[("a", 1), ("b", 1)]));
        // A path may hold what looks like the digest of one file and the path of the next.
        let both = format!("a{}b", "\u{1}".repeat(32));
        assert_ne!(of(&[(&both, 2)]), of(&[("a", 1), ("b", 2)]));
    }

    #[test]
    fn changed_contents_make_the_revision_that_they_make_from_nothing() {
        for n in [1, 255, 256, 257, 1_000] {
            let mut all = files(n);
            let (mut contents, _) = Contents::of(all.clone());
            for changed in [0, n / 2, n - 1] {
                let file = all.get_mut(changed as usize).unwrap();
                file.digest = [7; 32];
                let (next, revision) = contents.with([&*file]).unwrap();
                let (whole, of_whole) = Contents::of(all.clone());
                assert_eq!(revision, of_whole, "file {changed} of {n}");
                assert!(next.iter().eq(whole.iter()) && next.len() == whole.len());
                contents = next;
            }
            assert_eq!(contents.with([]).unwrap().1, Contents::of(all).1);
        }
    }

    #[test]
    fn a_file_that_was_not_there_is_no_change_of_contents() {
        let (contents, _) = Contents::of(files(300));
        let absent = ["", "users/u1", "users/v.json"].map(|path| Content {
            path: path.into(),
            digest: [0; 32],
        });
        for content in &absent {
            assert!(contents.with([content]).is_none(), "{}", content.path);
            assert!(Contents::default().with([content]).is_none());
        }
        assert_eq!(
            Contents::default().with([]).unwrap().1,
            Contents::of(Vec::new()).1
        );
    }
}
