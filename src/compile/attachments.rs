//! The files of `resource-policies/`, found by the resource they cover.
//!
//! ```text
//! resource ──┬─ the same text ────────────▶ files with that scope ──────┐
//!            └─ begins with a prefix of it ▶ files with such a pattern ──┴▶ verified ─▶ in the order of the files
//! ```
//!
//! The lookup only leaves out files that cannot cover the resource. The scopes of the remaining files decide.

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::shared_sets::SetId;
use super::tags::Tags;
use crate::language::pattern::{Reach, ResourcePattern, Variables};
use crate::name::{AccountId, Resource, hash_of};

/// A file of `resource-policies/`: the policy and the tags of the resources it covers.
#[derive(Debug)]
pub struct Attachment {
    /// The account that owns the resources.
    pub account: AccountId,
    scopes: Box<[ResourcePattern]>,
    /// Its policy. `None` if the file only gives tags.
    pub policy: Option<SetId>,
    /// Whether access needs an allow from this policy (E-45).
    pub required: bool,
    tags: Tags,
}

impl Attachment {
    pub(super) fn new(
        account: AccountId,
        scopes: &[ResourcePattern],
        policy: Option<SetId>,
        required: bool,
        tags: Tags,
    ) -> Self {
        Self {
            account,
            scopes: scopes.into(),
            policy,
            required,
            tags,
        }
    }

    /// Returns the patterns of the resources that it covers, each in the NARROW reach (E-10).
    pub fn scopes(&self) -> &[ResourcePattern] {
        &self.scopes
    }

    /// Returns whether one of its scopes covers `resource` (E-10: NARROW).
    fn covers(&self, resource: &Resource, meter: &impl Variables) -> bool {
        let units = 1 + resource.as_str().len() / 128;
        self.scopes.iter().any(|scope| {
            meter.pay(units) && scope.matches(resource, Reach::Narrow, meter) == Some(true)
        })
    }

    /// Returns whether one of its scopes is exactly this ARN. A pattern never counts as one, however the resource is
    /// spelled (M-9).
    fn names(&self, resource: &Resource) -> bool {
        self.scopes
            .iter()
            .any(|scope| scope.as_str() == resource.as_str() && is_exact(scope.as_str()))
    }
}

fn is_exact(scope: &str) -> bool {
    !scope.contains(['*', '?'])
}

/// All files of `resource-policies/`, sorted by path, with an index to find those of one resource.
#[derive(Debug, Default)]
pub struct Attachments {
    files: Box<[Attachment]>,
    /// The scopes without a wildcard, each with its file. They cover the resource of exactly that text.
    exact: HashTable<(Box<str>, u32)>,
    /// The texts before the first wildcard of all other scopes, sorted and without duplicates.
    prefixes: Box<[Prefix]>,
}

/// A text that begins every resource which the patterns of some files can cover.
#[derive(Debug)]
struct Prefix {
    text: Box<str>,
    /// The longest other prefix that begins this one.
    parent: Option<u32>,
    files: SmallVec<[u32; 2]>,
}

/// Indices into `Attachments::files`.
type Found = SmallVec<[u32; 16]>;

impl Attachments {
    /// Builds the index. `files` must be sorted by path.
    pub(super) fn new(files: Vec<Attachment>) -> Self {
        let mut exact = HashTable::new();
        let mut prefixes: Vec<(Box<str>, u32)> = Vec::new();
        for (at, file) in (0u32..).zip(&files) {
            for scope in &file.scopes {
                let text = scope.as_str();
                match text.find(['*', '?']) {
                    None => {
                        let row: (Box<str>, u32) = (text.into(), at);
                        exact.insert_unique(hash_of(text), row, |(text, _)| hash_of(&**text));
                    }
                    Some(end) => prefixes.push((text.get(..end).unwrap_or("").into(), at)),
                }
            }
        }
        prefixes.sort_unstable();
        Self {
            files: files.into(),
            exact,
            prefixes: nested(prefixes),
        }
    }

    /// Returns the files.
    pub(super) fn files(&self) -> &[Attachment] {
        &self.files
    }

    /// Returns whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Returns the files of all accounts that cover `resource`, in their order. `meter` pays for trying their scopes.
    pub fn of<'s>(
        &'s self,
        resource: &'s Resource,
        meter: &impl Variables,
    ) -> impl Iterator<Item = &'s Attachment> {
        self.candidates(resource)
            .into_iter()
            .filter_map(|at| self.files.get(at as usize))
            .filter(|file| file.covers(resource, meter))
    }

    /// Returns the files that may cover `resource`, in their order and without duplicates.
    fn candidates(&self, resource: &Resource) -> Found {
        let mut found = Found::new();
        if self.files.is_empty() {
            return found;
        }
        let hash = match resource {
            Resource::Arn(arn) => arn.fingerprint(),
            Resource::Any => hash_of(resource.as_str()),
        };
        let resource = resource.as_str();
        let same = self.exact.iter_hash(hash);
        let same = same.filter(|(text, _)| **text == *resource);
        found.extend(same.map(|(_, at)| *at));
        // Texts that begin with a prefix sort after it, and before all texts that begin otherwise. So the only prefixes
        // of `resource` are the last one that does not sort after it and the parents of that one.
        let behind = self
            .prefixes
            .partition_point(|prefix| *prefix.text <= *resource);
        let mut next = behind.checked_sub(1);
        while let Some(prefix) = next.and_then(|at| self.prefixes.get(at)) {
            if resource.starts_with(&*prefix.text) {
                found.extend_from_slice(&prefix.files);
            }
            next = prefix.parent.map(|at| at as usize);
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Returns a tag that `files`, which cover `resource`, give it. An exact ARN wins over a pattern, then the first file
/// wins. `meter` pays for reading the files.
pub fn tag_of<'s>(
    files: &[&'s Attachment],
    resource: &Resource,
    folded: &str,
    meter: &impl Variables,
) -> Option<&'s str> {
    if !meter.pay(1 + files.len()) {
        return None; // E-1: the request gets no answer
    }
    let mut first = None;
    for file in files {
        let Some(value) = file.tags.get(folded) else {
            continue;
        };
        if !meter.pay(1 + file.scopes.len() / 8) {
            return None;
        }
        if file.names(resource) {
            return Some(value);
        }
        first = first.or(Some(value));
    }
    first
}

/// Returns each of the sorted texts once, with its files and its parent.
fn nested(sorted: Vec<(Box<str>, u32)>) -> Box<[Prefix]> {
    let mut prefixes: Vec<Prefix> = Vec::new();
    for (text, file) in sorted {
        if let Some(last) = prefixes.last_mut()
            && last.text == text
        {
            if last.files.last() != Some(&file) {
                last.files.push(file);
            }
            continue;
        }
        // Only the previous prefix and its parents can be parents of this one.
        let mut parent = prefixes.len().checked_sub(1);
        while let Some(other) = parent.and_then(|at| prefixes.get(at)) {
            if text.starts_with(&*other.text) {
                break;
            }
            parent = other.parent.map(|at| at as usize);
        }
        let parent = parent.and_then(|at| u32::try_from(at).ok());
        prefixes.push(Prefix {
            text,
            parent,
            files: SmallVec::from_slice(&[file]),
        });
    }
    prefixes.into()
}

#[cfg(test)]
mod tests;
