//! Puts the fragments of all files together.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::names::Names;
use super::owners::{self, Declared, TextNeeded};
use super::{Fragment, Memory, Owners, count, fragment};
use crate::language::finding::Finding;
use crate::name::AccountId;
use crate::store::contents::Contents;
use crate::store::file::{Content, ContentDigest, File, Seen};
use crate::store::place::{Kind, Place};
use crate::store::progress::Progress;
use crate::world::Entities;
use crate::world::build::Missing;

/// How many files are worth a thread of their own.
const MIN_FILES_PER_THREAD: usize = 32;

/// The contents of a store's files.
#[derive(Debug, Default)]
pub struct Shaped {
    /// All entities that could be read.
    pub entities: Entities,
    /// The account of the root's `account.json`.
    pub root_account: Option<AccountId>,
    /// The entities that may exist in files that could not be read.
    pub missing: Missing,
    /// How many statements are evaluated.
    pub n_statements: usize,
    /// The findings about the files.
    pub findings: Vec<Finding>,
}

/// A file and its contents.
pub type Parsed = (Seen, Fragment);

/// Reads all files of a store. Errors of the files of `unread` have been reported already. Files of `files` that
/// `memory` knows are taken from there, and the others are in `read`. Afterwards `memory` knows the good ones of
/// `files` and no others. Some of `read` may be `parsed` already, with the owners that `memory` has.
///
/// Fails if a file that was not read again means something else now, because its folder belongs to another account.
pub fn entities(
    files: &Contents,
    read: Vec<File>,
    parsed: Vec<Parsed>,
    unread: &[Place<'_>],
    memory: &mut Memory,
) -> Result<Shaped, TextNeeded> {
    let declared = owners::declared(files, &read, unread, memory)?;
    if memory.owners.contradict(&declared.owners) {
        if read.len() < files.len() {
            return Err(TextNeeded);
        }
        let owners = declared.owners.clone();
        return merge(files, read_all(read, &owners), declared, memory);
    }
    // The contents of a file depend on its owner too.
    let mut fresh = parsed;
    fresh.retain(|_| memory.owners == declared.owners);
    let is_parsed: HashSet<&str> = fresh.iter().map(|(file, _)| &*file.path).collect();
    // A file whose content has not changed keeps its place in the memory.
    let is_left = |file: &File| !memory.holds(&file.content) && !is_parsed.contains(&*file.path);
    let left = read.into_iter().filter(is_left).collect();
    fresh.extend(read_all(left, &declared.owners));
    merge(files, fresh, declared, memory)
}

/// Returns the contents of each of `files`, in their order. Several threads read if there are many files. Each text is
/// dropped as soon as it has been parsed, unless the caller keeps it, so that the results can use its memory.
pub fn read_all(files: Vec<File>, owners: &Owners) -> Vec<Parsed> {
    let progress = Progress::of("parsing the store", files.len());
    let one = |File { seen, text }: File| {
        let said = fragment(&seen.path, &text, owners.of(&seen.path));
        progress.step();
        (seen, said)
    };
    // The system reads files to tell how many processors there are, which is not worth it for a few policies.
    let n_threads = match files.len() / MIN_FILES_PER_THREAD {
        0 | 1 => 1,
        worth => std::thread::available_parallelism().map_or(1, |all| worth.min(all.get())),
    };
    if n_threads < 2 {
        return files.into_iter().map(one).collect();
    }
    let left = Mutex::new(files.into_iter().enumerate());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let mut done = Vec::new();
        while let Some((index, file)) = next() {
            done.push((index, one(file)));
        }
        done
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..n_threads).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    // Threads finish in any order, but findings and entities are in the order of the files.
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, read)| read).collect()
}

/// Merges the files that were read now with those that are remembered.
fn merge(
    files: &Contents,
    fresh: Vec<Parsed>,
    declared: Declared,
    memory: &mut Memory,
) -> Result<Shaped, TextNeeded> {
    let mut shaped = Shaped {
        root_account: declared.root_account,
        findings: declared.findings,
        ..Shaped::default()
    };
    shaped.entities.accounts = declared.accounts;
    shaped.missing.names.extend(declared.missing);
    memory.owners = declared.owners;
    let mut bad = HashMap::new();
    let mut names = Names::default();
    for (file, mut said) in fresh {
        if Place::of(&file.path).kind == Kind::Account {
            continue;
        }
        said.share(&mut names);
        if said.is_good() {
            memory.keep(&file, said);
        } else {
            memory.forget(&file.path);
            bad.insert(Arc::clone(&file.path), said);
        }
    }
    if memory.n_files() > files.len() - bad.len() {
        memory.keep_only(files);
    }
    let mut aws_managed = BTreeMap::new();
    for Content { path, digest } in files.iter() {
        let said = bad.get(path).or_else(|| memory.fragment(path));
        let Some(said) = said else {
            let is_account = Place::of(path).kind == Kind::Account;
            if is_account {
                continue;
            }
            debug_assert!(false, "`{path}` with the digest {digest:?} was not read");
            return Err(TextNeeded);
        };
        shaped.add(said, &mut aws_managed);
    }
    Ok(shaped)
}

impl Shaped {
    fn add(&mut self, said: &Fragment, aws_managed: &mut BTreeMap<String, ContentDigest>) {
        self.entities.extend(said.entities().iter().cloned());
        self.n_statements += said.n_statements();
        for (policy, says) in said.aws_managed() {
            let arn = policy.identity.arn.as_str();
            match aws_managed.get(arn) {
                // Every dump has its own copy of the AWS-managed policies.
                Some(known) if known == says => continue,
                Some(_) => {}
                None => _ = aws_managed.insert(arn.to_owned(), *says),
            }
            self.n_statements += count::of_managed(policy);
            let policy = Arc::clone(policy);
            self.entities.managed_policies.push(policy);
        }
        self.findings.extend(said.findings().iter().cloned());
        if let Some(missing) = said.missing() {
            self.missing.names.extend(missing.names.iter().cloned());
            self.missing.anything |= missing.anything;
        }
    }
}
