//! The policy store on disk.
//!
//! ```text
//! directory ──read──▶ files ──shape──▶ entities ──build──▶ World ──compile──▶ Snapshot
//!              all of one moment    all or nothing: an error anywhere refuses the store (G-37)
//! ```

use std::path::Path;
use std::sync::Arc;

use crate::compile::compile;
use crate::compile::snapshot::{Revision, Snapshot};
use crate::language::document::PolicyDocument;
use crate::language::finding::Finding;
use crate::world::build::world_beside;
use crate::world::{Entities, World};
use place::Place;
use read::{ContentDigest, File, Files, Listing};
use shape::Memory;

mod place;
mod read;
mod shape;
#[cfg(test)]
mod tests;
mod validate;
mod walk;
pub mod watch;

pub use validate::validate;

/// A store that loads.
#[derive(Debug)]
pub struct Loaded {
    /// Ready to be published.
    pub snapshot: Snapshot,
    /// Warnings.
    pub findings: Vec<Finding>,
    /// How many files were read.
    pub n_files: usize,
    /// How many statements its policies have, all versions counted that are evaluated.
    pub n_statements: usize,
    /// How many users and roles it has.
    pub n_principals: usize,
    /// What it was loaded from, to tell later whether that has changed.
    pub origin: Origin,
    /// What its files say, so that a reload need not read them again.
    pub memory: Memory,
}

/// A store that does not load: at least one of the findings is an error.
#[derive(Debug)]
pub struct Refused {
    /// Everything that was found, warnings included, sorted by place.
    pub findings: Vec<Finding>,
    /// What its good files say.
    pub memory: Memory,
}

/// The files behind a load, without their content.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The revision of what was read, whether it loads or not.
    pub revision: Revision,
    listing: Listing,
    /// What was wrong with files and links when they were read.
    read_findings: Vec<Finding>,
    /// Of the files that could be read, sorted by path.
    digests: Vec<(Arc<str>, ContentDigest)>,
}

/// Reads the store at `root` as a whole and compiles it.
pub fn load(root: &Path) -> Result<Loaded, Refused> {
    let (files, listing) = read::files(root);
    let origin = Origin::of(&files, listing);
    load_files(files, origin, Memory::default())
}

/// Compiles the store whose files are `texts`, path below the root → content, without a disk.
pub fn load_texts<'t>(
    texts: impl IntoIterator<Item = (&'t str, &'t str)>,
) -> Result<Loaded, Refused> {
    let files = Files::of_texts(texts);
    let origin = Origin::of(&files, Listing::default());
    load_files(files, origin, Memory::default())
}

/// Makes a snapshot of `files`, which came from `origin`. What `memory` holds of them is not parsed again.
fn load_files(files: Files, origin: Origin, mut memory: Memory) -> Result<Loaded, Refused> {
    let n_files = files.files.len();
    match world_of(files, &mut memory) {
        (Some(world), findings) => Ok(Loaded {
            snapshot: compile(&world, origin.revision.clone()),
            findings,
            n_files,
            n_statements: n_statements(&world.entities),
            n_principals: world.entities.users.len() + world.entities.roles.len(),
            origin,
            memory,
        }),
        (None, findings) => Err(Refused { findings, memory }),
    }
}

/// Everything that `files` say, and every finding about them. No world if one of those is an error.
fn world_of(files: Files, memory: &mut Memory) -> (Option<World>, Vec<Finding>) {
    let Files {
        files,
        mut findings,
    } = files;
    let is_error = |finding: &&Finding| finding.is_error();
    let unread: Vec<_> = findings
        .iter()
        .filter(is_error)
        .map(|finding| Place::of(&finding.at.file))
        .collect();
    let mut shaped = shape::entities(&files, &unread, memory);
    for finding in findings.iter().filter(is_error) {
        // What could not be read may be what others refer to.
        match finding.at.file.strip_suffix(".json") {
            Some(_) => {
                shaped
                    .missing
                    .names
                    .insert(Place::of(&finding.at.file).stem.to_owned());
            }
            None => shaped.missing.anything = true,
        }
    }
    findings.extend(shaped.findings);
    let (world, of_world) = world_beside(shaped.entities, shaped.root_account, &shaped.missing);
    findings.extend(of_world);
    findings.sort();
    findings.dedup();
    let is_refused = findings.iter().any(Finding::is_error);
    (world.filter(|_| !is_refused), findings)
}

impl Origin {
    fn of(files: &Files, listing: Listing) -> Self {
        let digest = |file: &File| (Arc::clone(&file.path), file.digest);
        let digests: Vec<_> = files.files.iter().map(digest).collect();
        let revision = read::revision(digests.iter().map(|(path, digest)| (&**path, digest)));
        Self {
            revision,
            listing,
            read_findings: files.findings.clone(),
            digests,
        }
    }
}

/// The statements of every document that is evaluated where it is attached.
fn n_statements(entities: &Entities) -> usize {
    let count = |document: &PolicyDocument| document.statements.len();
    let inline = |policies: &[crate::world::entity::InlinePolicy]| -> usize {
        policies.iter().map(|policy| count(&policy.document)).sum()
    };
    let users: usize = entities.users.iter().map(|user| inline(&user.inline)).sum();
    let groups: usize = entities
        .groups
        .iter()
        .map(|group| inline(&group.inline))
        .sum();
    let roles: usize = entities
        .roles
        .iter()
        .map(|role| count(&role.trust) + inline(&role.inline))
        .sum();
    let managed = entities
        .managed_policies
        .iter()
        .filter_map(|policy| policy.default_version());
    let managed: usize = managed.map(|version| count(&version.document)).sum();
    let resource = entities
        .resource_policies
        .iter()
        .filter_map(|policy| policy.document.as_ref());
    let resource: usize = resource.map(count).sum();
    let control = entities
        .service_control_policies
        .iter()
        .chain(&entities.resource_control_policies);
    let control: usize = control.map(|policy| count(&policy.document)).sum();
    users + groups + roles + managed + resource + control
}
