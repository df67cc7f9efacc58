//! Builds the next snapshot from the parts of the last one.

use std::sync::Arc;

use super::entity_rows::{Making, Tables};
use super::holders::Asked;
use super::issuers::issuers;
use super::snapshot::{Revision, Snapshot};
use super::world_tables::tables;
use crate::language::document::{PolicyDocument, PolicyType, PrincipalEntry};
use crate::language::finding::Finding;
use crate::limits::MAX_SPARE_SETS;
use crate::name::AccountId;
use crate::world::build::{Directory, case, references_again};
use crate::world::entity::{Group, Identity, ManagedPolicy, ResourcePolicy, Role, User};
use crate::world::{Entities, World};

/// Compiles one store again and again, and keeps what has not changed.
#[derive(Debug)]
pub struct Compiler {
    last: Option<Tables>,
    /// The number of sets that the store had when it was last compiled as a whole.
    n_sets: usize,
    /// Who held which policy in the last snapshot, if something asked for that.
    holders: Arc<Asked>,
}

/// A change of one file.
#[derive(Debug)]
pub struct Edit {
    /// The entities of the file in the last snapshot.
    pub old: Entities,
    /// The entities of the file now.
    pub new: Entities,
}

impl Default for Compiler {
    fn default() -> Self {
        Self::new()
    }
}

impl Compiler {
    /// Returns a compiler that has not compiled anything yet.
    pub fn new() -> Self {
        Self {
            last: None,
            n_sets: 0,
            holders: Arc::default(),
        }
    }

    /// Compiles `world` as a whole. Unchanged policies come from the last snapshot, and sets of the same policies keep
    /// their tries.
    pub fn compile(&mut self, world: &World, revision: Revision) -> Snapshot {
        let empty = Tables::for_entities(&world.entities);
        let tables = tables(world, empty, self.last.as_ref());
        self.n_sets = tables.sets.sets().len();
        self.holders = Arc::new(self.holders.next());
        let holders = Arc::clone(&self.holders);
        self.last.insert(tables).snapshot(revision, holders)
    }

    /// Returns the snapshot of a world that differs from the last one by `edits`, and the findings about their
    /// references. Returns `None` and changes nothing if an edit may affect something outside of its own file. Then the
    /// whole store must be checked and compiled.
    ///
    /// The cost grows with the edits and with the number of sets that hold the changed policies, not with the store.
    pub fn patch(
        &mut self,
        edits: &[Edit],
        revision: Revision,
    ) -> Option<(Snapshot, Vec<Finding>)> {
        let tables = self.last.as_mut()?;
        let is_cluttered = tables.sets.sets().len() > 2 * self.n_sets + MAX_SPARE_SETS;
        if is_cluttered || !edits.iter().all(|edit| stays_within(edit, tables)) {
            return None;
        }
        let mut findings = Vec::new();
        for edit in edits {
            findings.extend(references_again(&edit.new, &*tables));
        }
        if findings.iter().any(Finding::is_error) {
            return None;
        }
        let mut making = Making {
            tables,
            before: None,
        };
        for edit in edits {
            making.documents(&edit.new);
        }
        for edit in edits {
            making.principals(&edit.new);
        }
        self.holders = Arc::new(self.holders.next());
        Some((
            tables.snapshot(revision, Arc::clone(&self.holders)),
            findings,
        ))
    }
}

impl Making<'_> {
    /// Replaces the documents that other entities share.
    fn documents(&mut self, entities: &Entities) {
        for policy in &entities.managed_policies {
            self.managed(policy);
        }
        for policy in &entities.resource_policies {
            self.resource_policy(policy);
        }
        for policy in &entities.service_control_policies {
            self.control(policy, PolicyType::ServiceControl);
        }
        for policy in &entities.resource_control_policies {
            self.control(policy, PolicyType::ResourceControl);
        }
        for group in &entities.groups {
            self.group(group);
        }
    }

    fn principals(&mut self, entities: &Entities) {
        for user in &entities.users {
            let entity = self.user(user);
            self.put(entity);
        }
        for role in &entities.roles {
            let entity = self.role(role);
            self.put(entity);
        }
    }
}

/// Returns whether an edit leaves alone everything that other files are checked against and compiled with: which
/// entities exist, which resources are claimed, and which policies a group has.
fn stays_within(edit: &Edit, tables: &Tables) -> bool {
    let Edit { old, new } = edit;
    let no_accounts = old.accounts.is_empty() && new.accounts.is_empty();
    no_accounts
        && !case::patterns(new).any(|pattern| tables.may_misspell(pattern))
        && old.organization == new.organization
        && pairwise(&old.users, &new.users, same_user)
        && pairwise(&old.groups, &new.groups, same_group)
        && pairwise(&old.roles, &new.roles, |old, new| {
            same_role(old, new) && names_known(&new.trust, tables)
        })
        && pairwise(&old.managed_policies, &new.managed_policies, same_managed)
        && pairwise(
            &old.resource_policies,
            &new.resource_policies,
            |old, new| {
                let document = new.document.as_ref();
                same_resources(old, new) && document.is_none_or(|new| names_known(new, tables))
            },
        )
        && pairwise(
            &old.service_control_policies,
            &new.service_control_policies,
            |old, new| old.name == new.name,
        )
        && pairwise(
            &old.resource_control_policies,
            &new.resource_control_policies,
            |old, new| old.name == new.name,
        )
}

fn pairwise<T>(old: &[Arc<T>], new: &[Arc<T>], is_same: impl Fn(&T, &T) -> bool) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(old, new)| is_same(old, new))
}

/// Compares two identities, except for the place of their declaration.
fn same_identity(old: &Identity, new: &Identity) -> bool {
    old.arn == new.arn && old.account == new.account && old.unique_id == new.unique_id
}

fn same_user(old: &User, new: &User) -> bool {
    same_identity(&old.identity, &new.identity)
}

/// Compares two groups. The users of a group share its policies, so only the contents of these policies may differ.
fn same_group(old: &Group, new: &Group) -> bool {
    let attached = |group: &Group| -> Vec<Arc<str>> {
        group.attached.iter().map(|to| to.to.clone()).collect()
    };
    let inline = |group: &Group| -> Vec<Box<str>> {
        group
            .inline
            .iter()
            .map(|inline| inline.name.clone())
            .collect()
    };
    same_identity(&old.identity, &new.identity)
        && attached(old) == attached(new)
        && inline(old) == inline(new)
}

fn same_role(old: &Role, new: &Role) -> bool {
    let trusted = |role: &Role| -> Vec<String> {
        let principals = role.trust.statements.iter();
        principals
            .filter_map(|statement| statement.principal.as_deref())
            .flat_map(issuers)
            .map(str::to_owned)
            .collect()
    };
    same_identity(&old.identity, &new.identity) && trusted(old) == trusted(new)
}

fn same_managed(old: &ManagedPolicy, new: &ManagedPolicy) -> bool {
    same_identity(&old.identity, &new.identity) && old.tags == new.tags
}

fn same_resources(old: &ResourcePolicy, new: &ResourcePolicy) -> bool {
    old.account == new.account
        && old.name == new.name
        && old.scopes == new.scopes
        && old.required == new.required
        && old.tags == new.tags
        && old.document.is_some() == new.document.is_some()
}

/// Returns whether the tables know every name in the principals of `document`. They never know unique ids.
fn names_known(document: &PolicyDocument, tables: &Tables) -> bool {
    let principals = document.statements.iter();
    principals
        .filter_map(|statement| statement.principal.as_deref())
        .flat_map(|principal| &principal.entries)
        .all(|entry| match entry {
            PrincipalEntry::Id(id) => tables.is_external(id).is_some(),
            _ => true,
        })
}

impl Directory for Tables {
    fn has_policy(&self, arn: &str) -> bool {
        self.has_managed_policy(arn)
    }

    fn has_group(&self, account: &AccountId, name: &str) -> bool {
        self.has_group(account, name)
    }

    fn has_principal(&self, arn: &str) -> bool {
        self.has_principal(arn)
    }

    fn has_role(&self, account: &AccountId, name: &str) -> bool {
        self.has_role(account, name)
    }

    /// Returns false. It is never called, because [`names_known`] refuses unique ids.
    fn has_unique_id(&self, _id: &str) -> bool {
        false
    }

    fn is_external(&self, account: &str) -> Option<bool> {
        let account = self.accounts.find(account)?;
        Some(account.external)
    }
}
