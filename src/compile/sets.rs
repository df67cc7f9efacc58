//! One set for each list of policies, whoever has it.

use std::collections::HashMap;
use std::sync::Arc;

use super::policy_set::{PolicySet, SliceBudget};
use super::snapshot::{Policy, SetId, Sets};

/// Makes the sets of a snapshot: the same list of policies is one set, and its slices serve all who have it.
pub struct SetsMaker {
    sets: Vec<Arc<PolicySet>>,
    /// By the addresses of the policies, which `sets` keeps alive.
    by_policies: HashMap<Box<[usize]>, SetId>,
    budget: Arc<SliceBudget>,
}

impl SetsMaker {
    /// Without any set; the slices of those to come take their memory from `budget`.
    pub fn new(budget: Arc<SliceBudget>) -> Self {
        Self {
            sets: Vec::new(),
            by_policies: HashMap::new(),
            budget,
        }
    }

    /// The set of these policies.
    pub fn id_of(&mut self, policies: Vec<Arc<Policy>>) -> SetId {
        let addresses = policies
            .iter()
            .map(|policy| Arc::as_ptr(policy).addr())
            .collect();
        *self.by_policies.entry(addresses).or_insert_with(|| {
            let id = SetId::nth(self.sets.len());
            self.sets
                .push(Arc::new(PolicySet::new(policies, &self.budget)));
            id
        })
    }

    /// The same; none for no policies.
    pub fn id_unless_empty(&mut self, policies: Vec<Arc<Policy>>) -> Option<SetId> {
        (!policies.is_empty()).then(|| self.id_of(policies))
    }

    /// All of them.
    pub fn finish(self) -> Sets {
        Sets::new(self.sets)
    }
}
