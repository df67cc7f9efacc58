//! One set for each list of policies, shared by all entities that have it.

use std::collections::HashMap;
use std::sync::Arc;

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::policy::Policy;
use super::policy_set::PolicySet;
use super::table::Chunked;
use crate::name::hash_of;

/// The identifier of a set of policies in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SetId(u32);

impl SetId {
    /// Returns the id of the `n`-th set of a snapshot.
    pub(super) fn nth(n: usize) -> Self {
        Self(u32::try_from(n).unwrap_or(u32::MAX))
    }

    /// Returns the number of the set, counted from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The sets of a snapshot.
pub type Sets = Chunked<Arc<PolicySet>>;

/// The sets of a snapshot under construction. Equal lists of policies are one set, so all entities with it share its
/// trie.
#[derive(Debug)]
pub struct SetsMaker {
    sets: Sets,
    /// The sets by the addresses of their policies, which `sets` keeps alive.
    by_policies: HashTable<SetId>,
    /// The sets that hold a policy, by its address.
    having: HashMap<usize, SmallVec<[SetId; 4]>, foldhash::fast::FixedState>,
}

impl SetsMaker {
    /// Returns a collection without any set.
    pub fn new() -> Self {
        Self {
            sets: Sets::default(),
            by_policies: HashTable::new(),
            having: HashMap::default(),
        }
    }

    /// Returns the sets so far.
    pub fn sets(&self) -> &Sets {
        &self.sets
    }

    /// Returns the set of these policies. If `before` has the same set, it keeps its trie.
    pub fn id_of(&mut self, policies: Vec<Arc<Policy>>, before: Option<&Self>) -> SetId {
        if let Some(id) = self.find(&policies) {
            return id;
        }
        let id = SetId::nth(self.sets.len());
        for policy in &policies {
            let having = self.having.entry(address(policy)).or_default();
            if having.last() != Some(&id) {
                having.push(id);
            }
        }
        let known = before.and_then(|before| before.sets.get(before.find(&policies)?.index()));
        let set = match known {
            Some(known) => Arc::clone(known),
            None => Arc::new(PolicySet::new(policies)),
        };
        let hash = hash_of_policies(set.policies());
        self.sets.push(set);
        self.note(hash, id);
        id
    }

    /// Replaces `old` by `new` in every set that has it.
    pub fn replace(&mut self, old: &Arc<Policy>, new: &Arc<Policy>) {
        let Some(ids) = self.having.remove(&address(old)) else {
            return;
        };
        for id in &ids {
            let Some(set) = self.sets.get(id.index()) else {
                continue;
            };
            let before = hash_of_policies(set.policies());
            let one = |policy: &Arc<Policy>| {
                Arc::clone(if Arc::ptr_eq(policy, old) {
                    new
                } else {
                    policy
                })
            };
            let policies: Vec<_> = set.policies().iter().map(one).collect();
            let after = hash_of_policies(&policies);
            if let Ok(entry) = self.by_policies.find_entry(before, |other| other == id) {
                entry.remove();
            }
            let set = PolicySet::new(policies);
            self.sets.set(id.index(), Arc::new(set));
            self.note(after, *id);
        }
        self.having.insert(address(new), ids);
    }

    fn find(&self, policies: &[Arc<Policy>]) -> Option<SetId> {
        let is_it = |id: &SetId| {
            let set = self.sets.get(id.index());
            set.is_some_and(|set| {
                let known = set.policies();
                known.len() == policies.len()
                    && known.iter().zip(policies).all(|(a, b)| Arc::ptr_eq(a, b))
            })
        };
        let found = self.by_policies.find(hash_of_policies(policies), is_it);
        found.copied()
    }

    fn note(&mut self, hash: u64, id: SetId) {
        let sets = &self.sets;
        let hash_of_set = |id: &SetId| {
            sets.get(id.index())
                .map_or(0, |set| hash_of_policies(set.policies()))
        };
        self.by_policies.insert_unique(hash, id, hash_of_set);
    }
}

fn address(policy: &Arc<Policy>) -> usize {
    Arc::as_ptr(policy).addr()
}

fn hash_of_policies(policies: &[Arc<Policy>]) -> u64 {
    let addresses: SmallVec<[usize; 16]> = policies.iter().map(address).collect();
    hash_of(addresses.as_slice())
}
