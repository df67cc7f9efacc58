//! Loads a store again and again. Unchanged files are not read, parsed or compiled a second time.
//!
//! ```text
//!                           ┌─ same entities, only their contents changed ──▶ patch the last snapshot ──────────┐
//! scan ──▶ parse the files ─┤                                                                                   ├─▶ Loaded
//!          that changed     └─ entities added, removed or renamed ──▶ build and compile the whole store ────────┘
//! ```

use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::contents::Contents;
use super::file::{Content, File};
use super::keep::Keeper;
use super::place::{Kind, Place};
use super::read::{self, Files, Known};
use super::shape::{self, Memory, Parsed, Shaped};
use super::survey::{Listing, Survey};
use super::{Loaded, Refused, Took, WithTexts};
use crate::compile::incremental::{Compiler, Edit};
use crate::compile::snapshot::Revision;
use crate::language::finding::Finding;
use crate::world::World;
use crate::world::build::world_beside;

/// The most changed files that are compiled alone. If more have changed, the whole store is compiled.
const MAX_PATCHED_FILES: usize = 256;

/// The files that a store was loaded from, and everything that the next load can use again.
#[derive(Debug, Default)]
pub struct Loader {
    /// The files that were last read, whether they are in force or were refused.
    seen: Origin,
    /// The contents of the good files of `seen`.
    memory: Memory,
    compiler: Compiler,
    /// The results for `seen`, if it loaded. Then the compiler holds the tables made from it.
    good: Option<Good>,
    keeper: Option<Keeper>,
    /// Whether each snapshot collects the context keys that its policies name before it is put in force.
    names_keys: bool,
}

/// The results of a load that succeeded.
#[derive(Clone, Debug)]
struct Good {
    findings: Vec<Finding>,
    n_statements: usize,
}

/// The files behind a load, without their contents.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The revision of the files that were read, whether they load or not. `None` before anything was read.
    pub revision: Option<Revision>,
    pub(super) listing: Listing,
    /// The errors of files and links while they were read.
    pub(super) read_findings: Vec<Finding>,
    /// The files that could be read.
    pub(super) contents: Contents,
    /// Whether some file was changed so shortly before it was read that it must be read again.
    pub(super) is_fresh: bool,
}

/// The source of a store's files.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'s> {
    Folder(&'s Path),
    Texts(&'s [(&'s str, &'s str)]),
}

/// Says which files are taken as unchanged without being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// The files whose stamps show that they have not changed.
    Stamps,
    /// No files.
    Nothing,
}

/// The result of looking at the files of a store.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) origin: Origin,
    /// The files that were read, sorted by path.
    read: Vec<File>,
    /// Whether the paths are exactly those that the memory holds.
    has_known_paths: bool,
    took: Duration,
}

impl Loader {
    /// Returns a loader that has loaded nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the files of the revisions that are put in force.
    pub fn keeping(self, keeper: Keeper) -> Self {
        Self {
            keeper: Some(keeper),
            ..self
        }
    }

    /// Has each snapshot collect the context keys that its policies name, so that no question has to wait for that.
    pub fn naming_keys(self) -> Self {
        Self {
            names_keys: true,
            ..self
        }
    }

    /// Keeps the files of the last load, which is in force, unless they are kept. Does nothing without a keeper.
    pub(super) fn keep(&mut self, root: &Path) {
        if let (Some(keeper), Some(revision), true) =
            (&mut self.keeper, &self.seen.revision, self.good.is_some())
        {
            keeper.keep(root, revision, &self.seen.contents);
        }
    }

    /// Loads the store at `root`.
    pub fn load(&mut self, root: &Path) -> Result<Loaded, Refused> {
        let source = Source::Folder(root);
        let scan = self.scan(source, None, Trust::Stamps);
        self.make(scan, source)
    }

    /// Loads the store whose files are `texts`, which maps paths below the root to contents. No disk is used.
    pub fn load_texts<'t>(
        &mut self,
        texts: impl IntoIterator<Item = (&'t str, &'t str)>,
    ) -> Result<Loaded, Refused> {
        let texts: Vec<_> = texts.into_iter().collect();
        let source = Source::Texts(&texts);
        let scan = self.scan(source, None, Trust::Stamps);
        self.make(scan, source)
    }

    /// Loads the store at `root` as if nothing were known, and returns the texts of its files too.
    pub fn load_with_texts(root: &Path) -> Result<WithTexts, Refused> {
        let mut loader = Self::default();
        let source = Source::Folder(root);
        let scan = loader.scan(source, None, Trust::Nothing);
        // Nothing is lost, because a store with a file that is not UTF-8 does not load.
        let text = |file: &File| {
            let text = String::from_utf8_lossy(&file.text);
            (Arc::clone(&file.path), Arc::from(&*text))
        };
        let texts = scan.read.iter().map(text).collect();
        let loaded = loader.make(scan, source)?;
        Ok(WithTexts { loaded, texts })
    }

    /// Returns the files that were last read.
    pub(super) fn seen(&self) -> &Origin {
        &self.seen
    }

    /// Returns the files that were last read, so that tests can pretend that others were.
    #[cfg(test)]
    pub(super) fn seen_mut(&mut self) -> &mut Origin {
        &mut self.seen
    }

    /// Returns the memory, so that tests can pretend that another content had been read.
    #[cfg(test)]
    pub(super) fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// Reads what differs from what is remembered.
    pub(super) fn scan(&self, source: Source<'_>, first: Option<Survey>, trust: Trust) -> Scan {
        let begun = Instant::now();
        let unread = |path: &str, has_same_stamp| match trust {
            Trust::Stamps if has_same_stamp => self.memory.unread(path),
            Trust::Stamps | Trust::Nothing => None,
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

    /// Returns whether `scan` found the files that were last read.
    pub(super) fn has_seen(&self, scan: &Scan) -> bool {
        let Scan { origin, .. } = scan;
        origin.revision == self.seen.revision && origin.read_findings == self.seen.read_findings
    }

    /// Records that only stamps have changed.
    pub(super) fn note_unchanged(&mut self, scan: Scan) {
        for file in &scan.read {
            self.memory.looks(file);
        }
        self.seen = scan.origin;
    }

    /// Makes a snapshot of the files that `scan` found in `source`.
    pub(super) fn make(&mut self, scan: Scan, source: Source<'_>) -> Result<Loaded, Refused> {
        if let Some(keeper) = &mut self.keeper {
            keeper.note(&scan.read);
        }
        let loaded = self.made(scan, source)?;
        if self.names_keys {
            loaded.snapshot.named_keys();
        }
        Ok(loaded)
    }

    fn made(&mut self, mut scan: Scan, source: Source<'_>) -> Result<Loaded, Refused> {
        let begun = Instant::now();
        // The state is taken out while it is changed, so that nothing builds on half of it if this function panics. The
        // stamps of the last look would say that the memory holds what was read then.
        let good = self.good.take();
        self.seen.listing = Listing::default();
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
            // A folder belongs to another account now, so all files in it mean something else.
            Err(_) => {
                let scan = self.scan(source, None, Trust::Nothing);
                self.memory = Memory::default();
                return self.make(scan, source);
            }
        };
        self.whole(shaped, scan, begun)
    }

    /// Returns the contents of all files. Some of the files that were read may be `parsed` already.
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

    /// Returns the files whose contents have changed, if nothing else has changed and they are few enough to be
    /// patched.
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

    /// Replaces the old entities of the changed files by the new ones, if that affects nothing else.
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
            if !new.is_good() || !old.aws_managed().is_empty() || !new.aws_managed().is_empty() {
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
            good.n_statements = good.n_statements - old.n_statements() + new.n_statements();
        }
        good.findings = findings_after(good.findings, fresh, of_references);
        let n_statements = good.n_statements;
        for (file, new) in fresh {
            self.memory.keep(file, new.clone());
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

/// Returns the findings about a store in which these files have changed. Each finding about a file is either about the
/// file alone or about its references, and is located in that file.
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
            .flat_map(|(_, new)| new.findings().iter().cloned()),
    );
    findings.extend(of_references);
    findings.sort();
    findings.dedup();
    findings
}

fn errors(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(|finding| finding.is_error())
}

/// Returns everything that the files declare, and every finding about it. There is no world if one of the findings is
/// an error.
pub(super) fn world_of(
    mut shaped: Shaped,
    read_findings: &[Finding],
) -> (Option<World>, Vec<Finding>) {
    for finding in errors(read_findings) {
        // Other entities may refer to a file that could not be read.
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
