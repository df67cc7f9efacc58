//! The policy store on disk.
//!
//! ```text
//! directory ──read──▶ files ──shape──▶ entities ──build──▶ World ──compile──▶ Snapshot
//!              all of one moment    all or nothing: an error anywhere refuses the store (G-37)
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::compile::snapshot::Snapshot;
use crate::language::finding::Finding;

mod busy;
mod contents;
mod file;
pub mod finding_log;
mod keep;
mod loader;
mod moment;
pub mod mounts;
mod pace;
mod place;
mod progress;
mod read;
mod shape;
mod stamp;
mod survey;
#[cfg(test)]
mod tests;
mod validate;
mod walk;
pub mod watch;

pub use keep::{Keeper, load_kept};
pub use loader::{Loader, Origin};
pub use validate::{validate, validate_file, validate_stream};

/// A store that loads.
#[derive(Debug)]
pub struct Loaded {
    /// The snapshot, ready to be published.
    pub snapshot: Snapshot,
    /// The warnings.
    pub findings: Vec<Finding>,
    /// How many files there are.
    pub n_files: usize,
    /// How many statements its policies have, counting every version that is evaluated.
    pub n_statements: usize,
    /// How many users and roles it has.
    pub n_principals: usize,
    /// How long the load took.
    pub took: Took,
    /// Whether the snapshot was made by changing a few tables of the previous one, and not by compiling the whole
    /// store.
    pub is_patched: bool,
}

/// How long a load took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// The time to find the files, to see which of them differ, to read and digest those, and to compute the revision.
    pub scan: Duration,
    /// The time to parse the files that were read, and to compile.
    pub compile: Duration,
}

/// A store that loads, with the files that it was loaded from.
#[derive(Debug)]
pub struct WithTexts {
    /// The result of the load.
    pub loaded: Loaded,
    /// The path below the root and the text of each file, sorted by path. The revision is theirs.
    pub texts: Vec<(Arc<str>, Arc<str>)>,
}

/// A store that does not load: at least one of the findings is an error.
#[derive(Debug)]
pub struct Refused {
    /// All findings, including warnings, sorted by place.
    pub findings: Vec<Finding>,
}

/// Reads the store at `root` as a whole and compiles it.
pub fn load(root: &Path) -> Result<Loaded, Refused> {
    Loader::new().load(root)
}

/// Reads the store at `root` as a whole and compiles it, and returns the files too.
pub fn load_with_texts(root: &Path) -> Result<WithTexts, Refused> {
    Loader::load_with_texts(root)
}

/// Compiles the store whose files are `texts`, which maps paths below the root to contents. No disk is used.
pub fn load_texts<'t>(
    texts: impl IntoIterator<Item = (&'t str, &'t str)>,
) -> Result<Loaded, Refused> {
    Loader::new().load_texts(texts)
}
