//! Policies that are evaluated together, with the trie of their statements.

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;

use super::policy::Policy;
use super::trie::Trie;
use crate::language::document::{Listed, Statement};
use crate::language::pattern::{ActionPattern, Variables};
use crate::name::Action;

/// One or more policies that count as one, such as the identity policies of a principal or one level of control
/// policies.
pub struct PolicySet {
    policies: Box<[Arc<Policy>]>,
    /// Built for the first question, or before. Most sets of a large store are never asked, so it stands apart.
    trie: OnceLock<Box<Trie>>,
}

impl PolicySet {
    /// Returns the set of these policies, in the order of their attachment.
    pub fn new(policies: impl Into<Box<[Arc<Policy>]>>) -> Self {
        Self {
            policies: policies.into(),
            trie: OnceLock::new(),
        }
    }

    /// Returns the policies in the order of their attachment.
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }

    /// Returns the trie, which is built at the first call.
    #[inline]
    pub(super) fn trie_or_made(&self) -> &Trie {
        match self.trie.get() {
            Some(trie) => trie,
            None => self.make_trie(),
        }
    }

    #[inline(never)]
    fn make_trie(&self) -> &Trie {
        self.trie.get_or_init(|| Box::new(Trie::of(&self.policies)))
    }

    /// Returns the trie if the set was asked about anything.
    #[inline]
    pub fn trie(&self) -> Option<&Trie> {
        self.trie.get().map(|trie| &**trie)
    }

    /// Returns the same set after a fault, for tests: its trie refers to policies that the set does not have.
    #[cfg(test)]
    pub(super) fn without_policies(&self) -> Self {
        Self {
            policies: Box::default(),
            trie: Box::new(Trie::of(&self.policies)).into(),
        }
    }

    /// Returns the same set after another fault: its trie has lost the lists of its nodes.
    #[cfg(test)]
    pub(super) fn without_lists(&self) -> Self {
        let trie = Trie::of(&self.policies).without_lists();
        Self {
            policies: self.policies.clone(),
            trie: Box::new(trie).into(),
        }
    }
}

impl fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.policies.iter().map(|policy| &policy.name))
            .finish()
    }
}

/// Returns whether `statement` is about `action` (M-2 to M-6). `meter` pays for any work beyond a comparison.
pub fn speaks_of(statement: &Statement, action: &Action, meter: &impl Variables) -> bool {
    let covers = |pattern: &ActionPattern| pattern.matches_paid(action, meter);
    match &statement.actions {
        Listed::Any(patterns) => patterns.iter().any(covers),
        Listed::Not(patterns) => !patterns.iter().any(covers),
    }
}
