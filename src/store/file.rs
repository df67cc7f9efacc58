//! Reads one file. The drawing shows the facts that are kept about it.
//!
//! ```text
//! File ─┬─ Seen ─┬─ Content ─┬─ path
//!       │        │           └─ digest      identifies the content
//!       │        └─ stamp                   only if every later change must give another stamp; the listing keeps it
//!       └─ text                             is dropped once it is parsed
//! ```

use std::io::{self, Read};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use sha2::{Digest, Sha256};

use super::stamp::Stamp;
use crate::language::finding::{Code, Finding, Location};

/// The SHA-256 of a file's bytes.
pub type ContentDigest = [u8; 32];

/// One file that was read.
#[derive(Clone, Debug)]
pub struct File {
    /// The content and the stamp that the file had when it was read.
    pub seen: Seen,
    /// Its bytes.
    pub text: Arc<[u8]>,
}

/// The path of a file and the digest of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The path below the root, with `/` between its parts and without the `..data` that it was read through.
    pub path: Arc<str>,
    /// The digest of the file's bytes.
    pub digest: ContentDigest,
}

/// The facts that are kept about a file that was read.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The content of the file.
    pub content: Content,
    /// The stamp of the file. `None` if the file could change and keep this stamp.
    pub stamp: Option<Stamp>,
}

impl Deref for Seen {
    type Target = Content;

    fn deref(&self) -> &Content {
        &self.content
    }
}

impl Deref for File {
    type Target = Seen;

    fn deref(&self) -> &Seen {
        &self.seen
    }
}

/// The reason why a file was not read.
pub enum ReadError {
    /// The file has changed since the survey.
    Changed,
    /// The system does not let iamd read it.
    Io(io::Error),
}

/// Reads the file that is called `path` and stands at `below_base` of an open folder, if it looks like `seen` before and
/// after it is read.
pub fn read_one(
    base: &Dir,
    below_base: &Path,
    path: &Arc<str>,
    seen: &Stamp,
) -> Result<File, ReadError> {
    let gone_or = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ReadError::Changed,
        _ => ReadError::Io(error),
    };
    // This is the clock of this machine. If it is ahead of the file system's clock, a stamp seems older than it is. A
    // change with the same stamp is then found only by the digests that are compared once a minute.
    let read_at = SystemTime::now();
    let mut options = OpenOptions::new();
    // If a FIFO has taken the file's place meanwhile, opening it must not wait for a writer.
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let mut file = base.open_with(below_base, &options).map_err(gone_or)?;
    let is_as_seen = |file: &cap_std::fs::File| {
        file.metadata()
            .map(|metadata| metadata.is_file() && Stamp::of(&metadata) == *seen)
            .map_err(ReadError::Io)
    };
    if !is_as_seen(&file)? {
        return Err(ReadError::Changed);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(seen.n_bytes()).unwrap_or(0));
    file.by_ref()
        .take(seen.n_bytes() + 1)
        .read_to_end(&mut bytes)
        .map_err(ReadError::Io)?;
    if bytes.len() as u64 != seen.n_bytes() || !is_as_seen(&file)? {
        return Err(ReadError::Changed);
    }
    let digest = Sha256::digest(&bytes).into();
    Ok(File {
        seen: Seen {
            content: Content {
                path: Arc::clone(path),
                digest,
            },
            stamp: Some(*seen).filter(|stamp| stamp.is_settled(read_at)),
        },
        text: bytes.into(),
    })
}

/// Returns the finding about a file or folder that cannot be read.
pub fn unreadable(path: impl Into<Arc<str>>, error: &io::Error) -> Finding {
    Finding::error(
        Code::UNREADABLE,
        Location::file(path),
        format!("cannot be read: {error}"),
    )
}
