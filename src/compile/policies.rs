//! The policies of a snapshot: each of them once per policy type.

use std::sync::Arc;

use hashbrown::HashTable;

use super::policy::Policy;
use crate::language::document::PolicyType;
use crate::name::hash_of;

/// Policies by type and name. No two policies of a store share both.
#[derive(Debug, Default)]
pub struct Policies(HashTable<Arc<Policy>>);

impl Policies {
    /// Returns the policy of this type and name.
    pub fn find(&self, policy_type: PolicyType, name: &str) -> Option<&Arc<Policy>> {
        let is_it =
            |policy: &Arc<Policy>| policy.policy_type == policy_type && *policy.name == *name;
        self.0.find(hash_of(&(policy_type, name)), is_it)
    }

    /// Adds `policy`, or replaces the one of the same name.
    pub fn put(&mut self, policy: Arc<Policy>) {
        let hash = |policy: &Arc<Policy>| hash_of(&(policy.policy_type, &*policy.name));
        let is_it = |other: &Arc<Policy>| {
            other.policy_type == policy.policy_type && other.name == policy.name
        };
        match self.0.find_mut(hash(&policy), is_it) {
            Some(known) => *known = policy,
            None => _ = self.0.insert_unique(hash(&policy), policy, hash),
        }
    }
}

/// Returns whether the two policies are the same in all that the engine can show or evaluate.
pub fn is_same(a: &Policy, b: &Policy) -> bool {
    a.policy_type == b.policy_type
        && a.name == b.name
        && a.file == b.file
        && (Arc::ptr_eq(&a.statements, &b.statements) || a.statements == b.statements)
        && (Arc::ptr_eq(&a.origin, &b.origin) || a.origin == b.origin)
}
