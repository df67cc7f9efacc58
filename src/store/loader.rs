//! Loads a store again and again: what has not changed is neither read, nor parsed, nor compiled a second time.
//!
//! ```text
//! scan: which files differ ──▶ parse those ──┬─ only what they say in place of what they said ──▶ patch ───┐
//!                                            └─ anything else ──▶ all that is remembered ──▶ build, compile ┴▶ Loaded
//! ```

use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::contents::Contents;
use super::file::{Content, File};
use super::place::{Kind, Place};
use super::read::{self, Files, Known};
use super::shape::{self, Memory, Parsed, Shaped};
use super::stamp::Stamp;
use super::survey::{Listing, Survey};
use super::{Loaded, Refused, Took};
use crate::compile::incremental::{Compiler, Edit};
use crate::compile::snapshot::Revision;
use crate::language::finding::Finding;
use crate::world::World;
use crate::world::build::world_beside;

/// More changed files than these are compiled with all others.
const MAX_PATCHED_FILES: usize = 256;

/// What a store was loaded from, and everything of it that the next load can use again.
#[derive(Debug, Default)]
pub struct Loader {
    /// What was last read, in force or refused.
    seen: Origin,
    /// What the good files of `seen` say.
    memory: Memory,
    compiler: Compiler,
    /// What was said about `seen`, if it loaded: then the compiler holds the tables made of it.
    good: Option<Good>,
}

/// About a store that loads.
#[derive(Clone, Debug)]
struct Good {
    findings: Vec<Finding>,
    n_statements: usize,
}

/// The files behind a load, without their content.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The revision of what was read, whether it loads or not; none before anything was read.
    pub revision: Option<Revision>,
    pub(super) listing: Listing,
    /// What was wrong with files and links when they were read.
    pub(super) read_findings: Vec<Finding>,
    /// The files that could be read.
    pub(super) contents: Contents,
    /// Whether some file had changed so shortly before it was read that it must be read again.
    pub(super) is_fresh: bool,
}

/// Where the files of a store come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'s> {
    Folder(&'s Path),
    Texts(&'s [(&'s str, &'s str)]),
}

/// Which files are taken for what they were, unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Those whose stamps tell that they have not changed.
    Stamps,
    /// None.
    Nothing,
}

/// What a look at the files of a store has found.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) origin: Origin,
    /// The files that were read, sorted by path.
    read: Vec<File>,
    /// Whether there are the files that the memory holds, and no others.
    has_known_paths: bool,
    took: Duration,
}

impl Loader {
    /// A loader that has loaded nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads the store at `root`.
    pub fn load(&mut self, root: &Path) -> Result<Loaded, Refused> {
        let source = Source::Folder(root);
        let scan = self.scan(source, None, Trust::Stamps);
        self.make(scan, source)
    }

    /// Loads the store whose files are `texts`, path below the root → content, without a disk.
    pub fn load_texts<'t>(
        &mut self,
        texts: impl IntoIterator<Item = (&'t str, &'t str)>,
    ) -> Result<Loaded, Refused> {
        let texts: Vec<_> = texts.into_iter().collect();
        let source = Source::Texts(&texts);
        let scan = self.scan(source, None, Trust::Stamps);
        self.make(scan, source)
    }

    /// What was last read.
    pub(super) fn seen(&self) -> &Origin {
        &self.seen
    }

    /// The same, to pretend that another store had been read.
    #[cfg(test)]
    pub(super) fn seen_mut(&mut self) -> &mut Origin {
        &mut self.seen
    }

    /// What is remembered, to pretend that another content had been read.
    #[cfg(test)]
    pub(super) fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// Reads what differs from what is remembered.
    pub(super) fn scan(&self, source: Source<'_>, first: Option<Survey>, trust: Trust) -> Scan {
        let begun = Instant::now();
        let unread = |path: &str, stamp: &Stamp| match trust {
            Trust::Stamps => self.memory.unread(path, stamp),
            Trust::Nothing => None,
        };
        let Files {
            mut read,
            unread,
            skipped,
            findings,
            listing,
        } = match source {
            Source::Folder(root) => {
                let known = Known {
                    last: &self.seen.listing,
                    unread: &unread,
                    trusts_folders: trust == Trust::Stamps,
                };
                read::files(root, first, known)
            }
            Source::Texts(texts) => Files::of_texts(texts.iter().copied()),
        };
        for file in &mut read {
            // One text for each path, however often the store is looked at.
            if let Some(known) = self.memory.known(&file.path) {
                file.seen.content.path = Arc::clone(&known.path);
            }
        }
        let found = || read.iter().map(|file| &file.content).chain(&unread);
        let has_same_paths = match source {
            Source::Folder(_) => {
                findings == listing.findings && listing.has_paths_of(&self.seen.listing)
            }
            Source::Texts(_) => read.len() == self.seen.contents.len(),
        };
        let again = has_same_paths.then(|| self.seen.contents.with(found()));
        let (has_same_paths, (contents, revision)) = match again.flatten() {
            Some(again) => (true, again),
            None => {
                let skipped = skipped.iter().flat_map(|folder| &folder.files);
                let remembered = skipped.filter_map(|(path, _)| self.memory.known(path));
                (
                    false,
                    Contents::of(found().chain(remembered).cloned().collect()),
                )
            }
        };
        let is_fresh = read.iter().any(|file| file.stamp.is_none());
        Scan {
            has_known_paths: has_same_paths && contents.len() == self.memory.n_files(),
            origin: Origin {
                revision: Some(revision),
                listing,
                read_findings: findings,
                contents,
                is_fresh,
            },
            read,
            took: begun.elapsed(),
        }
    }

    /// Whether `scan` found what was last read.
    pub(super) fn has_seen(&self, scan: &Scan) -> bool {
        let Scan { origin, .. } = scan;
        origin.revision == self.seen.revision && origin.read_findings == self.seen.read_findings
    }

    /// Notes that nothing but stamps has changed.
    pub(super) fn note_unchanged(&mut self, scan: Scan) {
        for file in &scan.read {
            self.memory.looks(file);
        }
        self.seen = scan.origin;
    }

    /// Makes a snapshot of what `scan` found in `source`.
    pub(super) fn make(&mut self, mut scan: Scan, source: Source<'_>) -> Result<Loaded, Refused> {
        let begun = Instant::now();
        // Taken away while it is worked on: should that not come to an end, nobody builds on half of it.
        let good = self.good.take();
        let mut parsed = Vec::new();
        if let (Some(good), Some(changed)) = (good, self.changed_alone(&scan)) {
            parsed = shape::read_all(changed, self.memory.owners());
            if let Some(loaded) = self.patched(&scan, &parsed, good, begun) {
                self.seen = scan.origin;
                return Ok(loaded);
            }
        }
        let shaped = match self.shaped(&mut scan, parsed) {
            Ok(shaped) => shaped,
            // An account has another folder, or a folder another account: all in it means something else.
            Err(_) => {
                let scan = self.scan(source, None, Trust::Nothing);
                self.memory = Memory::default();
                return self.make(scan, source);
            }
        };
        self.whole(shaped, scan, begun)
    }

    /// What all files say. Some of those that were read may have been `parsed` already.
    fn shaped(
        &mut self,
        scan: &mut Scan,
        parsed: Vec<Parsed>,
    ) -> Result<Shaped, shape::TextNeeded> {
        let unread: Vec<_> = errors(&scan.origin.read_findings)
            .map(|finding| Place::of(&finding.at.file))
            .collect();
        for file in &scan.read {
            if self.memory.holds(&file.content) {
                self.memory.looks(file);
            }
        }
        let read = mem::take(&mut scan.read);
        shape::entities(
            &scan.origin.contents,
            read,
            parsed,
            &unread,
            &mut self.memory,
        )
    }

    /// Checks and compiles everything that is remembered.
    fn whole(&mut self, shaped: Shaped, scan: Scan, begun: Instant) -> Result<Loaded, Refused> {
        let n_statements = shaped.n_statements;
        let (world, findings) = world_of(shaped, &scan.origin.read_findings);
        self.seen = scan.origin;
        let (Some(world), Some(revision)) = (world, self.seen.revision.clone()) else {
            return Err(Refused { findings });
        };
        let snapshot = self.compiler.compile(&world, revision);
        let took = Took {
            scan: scan.took,
            compile: begun.elapsed(),
        };
        self.good = Some(Good {
            findings: findings.clone(),
            n_statements,
        });
        Ok(Loaded {
            n_files: self.seen.contents.len(),
            n_statements,
            n_principals: snapshot.n_principals(),
            snapshot,
            findings,
            took,
            is_patched: false,
        })
    }

    /// The files whose contents have changed, if nothing else has and they are few enough to be patched.
    fn changed_alone(&self, scan: &Scan) -> Option<Vec<File>> {
        let Scan { origin, read, .. } = scan;
        if !scan.has_known_paths || origin.read_findings != self.seen.read_findings {
            return None;
        }
        let is_changed = |file: &&File| {
            let known = self.memory.known(&file.path);
            known.is_some_and(|known: &Content| known.digest != file.digest)
        };
        let changed: Vec<&File> = read.iter().filter(is_changed).collect();
        let is_account = |file: &&File| Place::of(&file.path).kind == Kind::Account;
        if changed.len() > MAX_PATCHED_FILES || changed.iter().any(is_account) {
            return None;
        }
        Some(changed.into_iter().cloned().collect())
    }

    /// Puts what the changed files say in the place of what they said, if that touches nothing else.
    fn patched(
        &mut self,
        scan: &Scan,
        fresh: &[Parsed],
        mut good: Good,
        begun: Instant,
    ) -> Option<Loaded> {
        let Scan { origin, read, .. } = scan;
        let mut edits = Vec::with_capacity(fresh.len());
        for (file, new) in fresh {
            let old = self.memory.fragment(&file.path)?;
            if !new.is_good() || !old.aws_managed.is_empty() || !new.aws_managed.is_empty() {
                return None;
            }
            edits.push(Edit {
                old: old.by_kind(),
                new: new.by_kind(),
            });
        }
        let (snapshot, of_references) = self.compiler.patch(&edits, origin.revision.clone()?)?;
        for (file, new) in fresh {
            let old = self.memory.fragment(&file.path)?;
            good.n_statements = good.n_statements - old.n_statements + new.n_statements;
        }
        good.findings = findings_after(good.findings, fresh, of_references);
        let n_statements = good.n_statements;
        for (file, new) in fresh {
            self.memory.keep(file, Arc::clone(new));
        }
        for file in read {
            self.memory.looks(file);
        }
        let findings = good.findings.clone();
        self.good = Some(good);
        Some(Loaded {
            n_files: origin.contents.len(),
            n_statements,
            n_principals: snapshot.n_principals(),
            snapshot,
            findings,
            took: Took {
                scan: scan.took,
                compile: begun.elapsed(),
            },
            is_patched: true,
        })
    }
}

/// The findings about a store in which these files have changed. Each finding about a file is in the file: of what it
/// says by itself, and of what it refers to.
fn findings_after(
    before: Vec<Finding>,
    fresh: &[Parsed],
    of_references: Vec<Finding>,
) -> Vec<Finding> {
    let is_of_changed =
        |finding: &Finding| fresh.iter().any(|(file, _)| file.path == finding.at.file);
    let mut findings = before;
    findings.retain(|finding| !is_of_changed(finding));
    findings.extend(
        fresh
            .iter()
            .flat_map(|(_, new)| new.findings.iter().cloned()),
    );
    findings.extend(of_references);
    findings.sort();
    findings.dedup();
    findings
}

fn errors(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(|finding| finding.is_error())
}

/// Everything that the files say, and every finding about them. No world if one of those is an error.
pub(super) fn world_of(
    mut shaped: Shaped,
    read_findings: &[Finding],
) -> (Option<World>, Vec<Finding>) {
    for finding in errors(read_findings) {
        // What could not be read may be what others refer to.
        match finding.at.file.strip_suffix(".json") {
            Some(_) => {
                let stem = Place::of(&finding.at.file).stem.to_owned();
                shaped.missing.names.insert(stem);
            }
            None => shaped.missing.anything = true,
        }
    }
    let mut findings = read_findings.to_vec();
    findings.extend(shaped.findings);
    let (world, of_world) = world_beside(shaped.entities, shaped.root_account, &shaped.missing);
    findings.extend(of_world);
    findings.sort();
    findings.dedup();
    let is_refused = findings.iter().any(Finding::is_error);
    (world.filter(|_| !is_refused), findings)
}
