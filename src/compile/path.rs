//! The way through the trie of a set for one action: which statements may speak of it.

use std::iter;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::demand::{Demand, LOOKUP};
use super::policy::Policy;
use super::policy_set::PolicySet;
use super::rows::{Ends, LONGEST, Look};
use super::trie::filter::Filter;
use super::trie::{
    Above, Candidate, Listed, MAX_FILTERED, MAX_UNFILTERED, N_UNFILTERED, NONE, Node, Trie,
};
use crate::language::document::{Effect, Statement};
use crate::name::{Action, Resource};

/// The statements of a set that may speak of one action.
#[derive(Clone, Copy)]
pub struct Path<'s> {
    set: &'s PolicySet,
    trie: &'s Trie,
    /// The first node, or [`NONE`].
    first: u32,
}

/// A walk along a path, from its first node to the root, for the statements of one effect.
#[derive(Clone, Copy)]
pub struct Walk<'s> {
    set: &'s PolicySet,
    trie: &'s Trie,
    effect: Effect,
    /// The next node, or [`NONE`].
    at: u32,
}

/// The statements of one effect at one node.
#[derive(Clone, Copy)]
pub enum Candidates<'s> {
    /// Only one.
    One(Candidate),
    /// So few that each may be tried, in order.
    Few(&'s [Listed]),
    /// So many that [`Walk::each`] filters them.
    Many(&'s [Listed], Place),
}

/// A node with many candidates.
#[derive(Clone, Copy)]
pub struct Place(u32);

impl<'s> Path<'s> {
    /// Returns the statements of `set` that may speak of `action`. Returns `None` if the action is so long that comparing
    /// it with the texts of the trie would have to be paid for; then every statement has to be considered.
    #[inline(never)] // PERF: a plan has several places where it is needed.
    pub fn of(set: &'s PolicySet, action: &Action) -> Option<Self> {
        let trie = set.trie_or_made();
        let text = action.as_str().as_bytes();
        if text.len() > LONGEST {
            return None;
        }
        let policies = set.policies();
        let first = match trie.name(policies, action) {
            Some(node) => node,
            None => trie.beginning_of(policies, text),
        };
        Some(Self { set, trie, first })
    }

    /// Returns the policy and the statement of a candidate.
    #[inline]
    pub fn statement(self, candidate: Candidate) -> Option<(&'s Arc<Policy>, &'s Statement)> {
        candidate.of(self.set.policies())
    }

    /// Returns a walk to the statements of `effect`.
    #[inline]
    pub fn walk(self, effect: Effect) -> Walk<'s> {
        Walk {
            set: self.set,
            trie: self.trie,
            effect,
            at: self.first,
        }
    }

    /// Returns whether any of the statements may deny.
    #[inline]
    pub fn has_denies(self) -> bool {
        if self.first == NONE {
            return false;
        }
        let first = self.trie.nodes.get(self.first as usize);
        let above = first.map(|node| self.trie.above(self.set.policies(), node));
        above.is_none_or(Above::has_denies) // what is lost may deny
    }

    /// Returns the estimated nanoseconds to evaluate the statements.
    #[inline]
    pub fn cost(self) -> u32 {
        let cost = |sum: u32, (_, node): (u32, &Node)| sum + u32::from(node.cost);
        self.nodes().fold(LOOKUP, cost)
    }

    /// Calls `visit` with what the statements of each node demand, until it breaks.
    pub fn demands(self, mut visit: impl FnMut(&Demand) -> ControlFlow<()>) -> ControlFlow<()> {
        let trie = self.trie;
        for (at, node) in self.nodes() {
            let of_all = || {
                let one = (node.n == [1, 0] || node.n == [0, 1]).then_some(node.candidates);
                let several = [Effect::Deny, Effect::Allow]
                    .into_iter()
                    .filter_map(|effect| {
                        let several = one.is_none().then(|| trie.several(at, node, effect));
                        several.flatten()
                    });
                let several = several.flatten().map(|listed| listed.candidate);
                let all = one.into_iter().chain(several);
                Demand::of(all.filter_map(|one| Some(self.statement(one)?.1)))
            };
            match trie.crowd(at) {
                Some(crowd) => visit(crowd.demand.get_or_init(of_all))?,
                None => visit(&of_all())?,
            }
        }
        ControlFlow::Continue(())
    }

    /// Returns the number of the first node in the trie of its set.
    pub fn first_node(self) -> u32 {
        self.first
    }

    /// Returns the nodes from the first to the root, with their numbers.
    #[inline]
    fn nodes(self) -> impl Iterator<Item = (u32, &'s Node)> {
        let trie = self.trie;
        let numbered = move |at: u32| Some((at, trie.nodes.get(at as usize)?));
        iter::successors(numbered(self.first), move |(_, node)| {
            numbered(trie.above(self.set.policies(), node).parent())
        })
    }
}

/// Gives the statements at each node that has any. For a node that is not there, which must not be, it gives a statement
/// that the set does not have.
impl<'s> Iterator for Walk<'s> {
    type Item = Candidates<'s>;

    #[inline(always)] // PERF: the result is too large for registers.
    fn next(&mut self) -> Option<Candidates<'s>> {
        while self.at != NONE {
            let at = self.at;
            let Some(node) = self.trie.nodes.get(at as usize) else {
                return self.lost();
            };
            let above = self.trie.above(self.set.policies(), node);
            self.at = match self.effect {
                Effect::Deny if !above.has_denies() => NONE,
                _ => above.parent(),
            };
            let [n_denies, n_allows] = node.n;
            let n_its = match self.effect {
                Effect::Deny => n_denies,
                Effect::Allow => n_allows,
            };
            if n_its == 0 {
                continue;
            }
            if u32::from(n_denies) + u32::from(n_allows) == 1 {
                return Some(Candidates::One(node.candidates));
            }
            let Some(several) = self.trie.several(at, node, self.effect) else {
                return self.lost();
            };
            return Some(if several.len() <= MAX_UNFILTERED {
                Candidates::Few(several)
            } else {
                Candidates::Many(several, Place(at))
            });
        }
        None
    }
}

impl<'s> Walk<'s> {
    #[cold]
    fn lost(&mut self) -> Option<Candidates<'s>> {
        self.at = NONE;
        Some(Candidates::One(Candidate::LOST))
    }

    /// Returns what is known of a candidate and `resource`, whose ends are `ends`. Returns `None` if the statement does
    /// not cover the resource.
    #[inline(always)] // PERF: like `next`.
    pub fn look(&self, candidate: Candidate, resource: &Resource, ends: &Ends) -> Option<Look<'s>> {
        let policy = self.set.policies().get(candidate.policy() as usize);
        match policy.and_then(|policy| policy.rows.get()) {
            Some(rows) => rows.look(candidate.statement(), resource, ends),
            None => Some(Look::UNKNOWN),
        }
    }

    /// Calls `one` with the candidates of a node that may cover `resource`, in order, until it breaks. Some of them may
    /// be left to [`Self::look`].
    pub fn each(
        &self,
        candidates: Candidates<'s>,
        resource: &Resource,
        mut one: impl FnMut(Candidate) -> ControlFlow<()>,
    ) {
        let (several, at) = match candidates {
            Candidates::One(candidate) => {
                let _: ControlFlow<()> = one(candidate);
                return;
            }
            Candidates::Few(several) => (several, None),
            Candidates::Many(several, Place(at)) => (several, Some(at)),
        };
        let filters = at.and_then(|at| self.filters(at));
        let _: ControlFlow<()> = match (filters, self.effect) {
            (Some([denies, _]), Effect::Deny) => each_passing(denies, several, resource, one),
            (Some([_, allows]), Effect::Allow) => each_passing(allows, several, resource, one),
            (None, _) => several.iter().try_for_each(|listed| one(listed.candidate)),
        };
    }

    /// Calls `one` with all candidates of a node, in order, until it breaks.
    pub fn all(
        &self,
        candidates: Candidates<'s>,
        mut one: impl FnMut(Candidate) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match candidates {
            Candidates::One(candidate) => one(candidate),
            Candidates::Few(several) | Candidates::Many(several, _) => {
                several.iter().try_for_each(|listed| one(listed.candidate))
            }
        }
    }

    /// Returns the filters of a node, or `None` if it was not visited often enough yet.
    fn filters(&self, at: u32) -> Option<&'s [Box<[Filter]>; 2]> {
        let crowd = self.trie.crowd(at)?;
        if let Some(filters) = crowd.filters.get() {
            return Some(filters);
        }
        let n_visits = crowd.n_visits.load(Ordering::Relaxed);
        if n_visits < N_UNFILTERED {
            crowd.n_visits.store(n_visits + 1, Ordering::Relaxed);
            return None;
        }
        let node = self.trie.nodes.get(at as usize)?;
        let statement = |one: &Listed| Some(one.candidate.of(self.set.policies())?.1);
        let of = |effect| {
            let several = self.trie.several(at, node, effect).unwrap_or_default();
            let filter = |some: &[Listed]| Filter::of(some.iter().map(statement));
            several.chunks(MAX_FILTERED).map(filter).collect()
        };
        Some(
            crowd
                .filters
                .get_or_init(|| [of(Effect::Deny), of(Effect::Allow)]),
        )
    }
}

fn each_passing(
    filters: &[Filter],
    several: &[Listed],
    resource: &Resource,
    mut one: impl FnMut(Candidate) -> ControlFlow<()>,
) -> ControlFlow<()> {
    for (filter, some) in filters.iter().zip(several.chunks(MAX_FILTERED)) {
        let passed = filter.pass(resource);
        for (word, begin) in passed.iter().zip((0usize..).step_by(64)) {
            let mut left = *word;
            while left != 0 {
                let at = begin + left.trailing_zeros() as usize;
                left &= left - 1;
                if let Some(listed) = some.get(at) {
                    one(listed.candidate)?;
                }
            }
        }
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests;
