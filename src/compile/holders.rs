//! The way back from a question to principals: action and resource ─▶ statements ─▶ the users and roles that hold them.
//!
//! ```text
//! action, resource ─▶ trie of all policies ─▶ policies ─▶ sets that have them ─▶ users and roles with that set
//! ```
//!
//! It is built for the first request that needs it, and each snapshot has its own. If that of the last snapshot had been asked for,
//! it is built after a change before anybody asks again, from the parts that the change has left alone. What `Authorize` reads
//! knows nothing of it.

use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use foldhash::fast::FixedState;

use super::entity::Entity;
use super::path::Path;
use super::policy::Policy;
use super::policy_set::{PolicySet, speaks_of};
use super::rows::Ends;
use super::shared_sets::SetId;
use crate::language::document::{Effect, Statement};
use crate::language::pattern::Variables;
use crate::name::{Action, Resource};

/// Who holds which policy.
pub struct Holders {
    /// Every policy of the store, once: those that differ in their type alone count as one. A policy's number is its position
    /// in all of them.
    parts: Box<[Part]>,
    /// The sets that have each of these policies.
    sets: Lists,
    /// The users and roles whose identity policies are each set, as positions in `entities`.
    of_set: Lists,
    entities: Box<[Arc<Entity>]>,
}

/// Some policies of the store, with a trie of their own. A change of one policy leaves the other parts as they are.
#[derive(Clone)]
struct Part {
    policies: Arc<PolicySet>,
    /// The number of the first one.
    first: u32,
}

/// The most policies of a part. A change makes the trie of one part anew, and a question looks into all parts: each of them
/// costs it five microseconds, since their tries are not in the processor's cache. Tests have small parts.
const MAX_POLICIES: usize = if cfg!(test) { 1_024 } else { 8_192 };

/// Who holds which policy in a snapshot, once something has asked for it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    found: OnceLock<Arc<Holders>>,
    /// The last one that was found for an earlier snapshot, until this one is.
    before: ArcSwapOption<Holders>,
}

impl Asked {
    /// Returns the one for the snapshot after that of `self`.
    pub fn next(&self) -> Self {
        let last = self.found.get().cloned();
        let before = last.or_else(|| self.before.load_full());
        Self {
            found: OnceLock::new(),
            before: before.into(),
        }
    }

    /// Returns whether something has asked for it in an earlier snapshot.
    pub fn is_wanted(&self) -> bool {
        self.before.load().is_some()
    }

    /// Returns it, made by `find` from that of an earlier snapshot at the first call.
    pub fn get(&self, find: impl FnOnce(Option<&Holders>) -> Holders) -> &Holders {
        self.found.get_or_init(|| {
            let before = self.before.swap(None);
            Arc::new(find(before.as_deref()))
        })
    }
}

/// A list of numbers for each number from 0.
#[derive(Debug, Default)]
struct Lists {
    /// Where the list of each number begins, and where the last one ends.
    starts: Box<[u32]>,
    members: Box<[u32]>,
}

impl Lists {
    /// Returns the lists of `n` numbers, given each number with each member of its list.
    fn of(n: usize, pairs: &[(u32, u32)]) -> Self {
        let mut starts = vec![0u32; n + 1];
        for (number, _) in pairs {
            if let Some(count) = starts.get_mut(*number as usize + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut next = starts.clone();
        let mut members = vec![0; pairs.len()];
        for (number, member) in pairs {
            if let Some(at) = next.get_mut(*number as usize) {
                if let Some(place) = members.get_mut(*at as usize) {
                    *place = *member;
                }
                *at += 1;
            }
        }
        Self {
            starts: starts.into(),
            members: members.into(),
        }
    }

    fn get(&self, number: u32) -> &[u32] {
        let number = number as usize;
        let range = match (self.starts.get(number), self.starts.get(number + 1)) {
            (Some(start), Some(end)) => *start as usize..*end as usize,
            _ => return &[],
        };
        self.members.get(range).unwrap_or_default()
    }

    fn n_bytes(&self) -> usize {
        size_of_val(&*self.starts) + size_of_val(&*self.members)
    }
}

impl Holders {
    /// Returns who holds the policies of `sets`, which are those of the `n_sets` of a snapshot that anybody has. Nobody need hold the
    /// policies of `managed`. Parts of `before`, which are those of an earlier snapshot, are kept if their policies are still there.
    pub(super) fn of<'s>(
        sets: impl Iterator<Item = (SetId, &'s PolicySet)>,
        n_sets: usize,
        managed: impl Iterator<Item = &'s Arc<Policy>>,
        entities: impl Iterator<Item = &'s Arc<Entity>>,
        before: Option<&Self>,
    ) -> Self {
        let (mut all, mut held) = (Vec::new(), Vec::new());
        let mut known: HashMap<usize, u32, FixedState> = HashMap::default();
        let mut note = |policy: &'s Arc<Policy>| {
            *known.entry(address(policy)).or_insert_with(|| {
                all.push(policy);
                u32::try_from(all.len() - 1).unwrap_or(u32::MAX)
            })
        };
        for (id, set) in sets {
            let id = u32::try_from(id.index()).unwrap_or(u32::MAX);
            held.extend(set.policies().iter().map(|policy| (note(policy), id)));
        }
        managed.for_each(|policy| _ = note(policy));
        let (parts, numbers) = parts(&all, &known, before);
        let number = |at: u32| numbers.get(at as usize).copied().unwrap_or(u32::MAX);
        let held: Vec<(u32, u32)> = held.iter().map(|(at, id)| (number(*at), *id)).collect();
        let entities: Box<[Arc<Entity>]> = entities.cloned().collect();
        let with_set = (0u32..)
            .zip(&entities)
            .filter(|(_, entity)| !entity.disabled);
        let holding: Vec<(u32, u32)> = with_set
            .filter_map(|(at, entity)| Some((u32::try_from(entity.identity?.index()).ok()?, at)))
            .collect();
        Self {
            parts,
            sets: Lists::of(all.len(), &held),
            of_set: Lists::of(n_sets, &holding),
            entities,
        }
    }

    /// Returns the users and roles whose identity policies have an Allow that may speak of `action` and cover `resource`,
    /// each once, in no order. Nobody else can be allowed by identity policies. `meter` pays for patterns of actions.
    pub fn of_question(
        &self,
        action: &Action,
        resource: &Resource,
        meter: &impl Variables,
    ) -> Vec<&Arc<Entity>> {
        let mut policies: Vec<u32> = Vec::new();
        let ends = Ends::of(resource);
        for part in &self.parts {
            part.each_policy(action, resource, &ends, meter, |policy| {
                if policies.last() != Some(&policy) {
                    policies.push(policy);
                }
            });
        }
        policies.sort_unstable();
        policies.dedup();
        // A user or role has one set, so that each is met once if each set is.
        let sets = policies.iter().flat_map(|policy| self.sets.get(*policy));
        let mut sets: Vec<u32> = sets.copied().collect();
        sets.sort_unstable();
        sets.dedup();
        let of_sets = sets.iter().map(|set| self.of_set.get(*set));
        let mut found = Vec::with_capacity(of_sets.clone().map(<[u32]>::len).sum());
        let entities = of_sets.flatten();
        found.extend(entities.filter_map(|at| self.entities.get(*at as usize)));
        found
    }

    /// Calls `visit` with every statement of the store that speaks of `action`, until it breaks. `meter` pays for patterns of
    /// actions.
    pub fn each_statement(
        &self,
        action: &Action,
        meter: &impl Variables,
        mut visit: impl FnMut(&Statement) -> ControlFlow<()>,
    ) {
        let mut speaking = |statement: &Statement| {
            if speaks_of(statement, action, meter) {
                visit(statement)?;
            }
            ControlFlow::Continue(())
        };
        for part in &self.parts {
            if part.each_statement(action, &mut speaking).is_break() {
                return;
            }
        }
    }

    /// Iterates over the policies of the store: those that differ in their type alone count as one.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.parts.iter().flat_map(|part| part.policies.policies())
    }

    /// Returns about how much memory it takes besides the rows of the policies, in bytes.
    pub fn n_bytes(&self) -> usize {
        let of_part = |part: &Part| {
            let trie = part.policies.trie();
            size_of::<Part>()
                + size_of_val(part.policies.policies())
                + trie.map_or(0, super::trie::Trie::n_bytes)
        };
        size_of::<Self>()
            + self.parts.iter().map(of_part).sum::<usize>()
            + self.sets.n_bytes()
            + self.of_set.n_bytes()
            + size_of_val(&*self.entities)
    }
}

impl Part {
    /// Calls `visit` with the number of each policy that has an Allow that may speak of `action` and cover `resource`, once for
    /// each such statement.
    fn each_policy(
        &self,
        action: &Action,
        resource: &Resource,
        ends: &Ends,
        meter: &impl Variables,
        mut visit: impl FnMut(u32),
    ) {
        let Some(path) = Path::of(&self.policies, action) else {
            let all = (self.first..).zip(self.policies.policies());
            return all.for_each(|(number, _)| visit(number));
        };
        let walk = path.walk(Effect::Allow);
        for candidates in walk {
            walk.each(candidates, resource, |candidate| {
                if walk.look(candidate, resource, ends).is_some() {
                    let is_it = match path.statement(candidate) {
                        Some((_, statement)) if candidate.is_checked() => {
                            speaks_of(statement, action, meter)
                        }
                        _ => true,
                    };
                    if is_it {
                        visit(self.first + candidate.policy());
                    }
                }
                ControlFlow::Continue(())
            });
        }
    }

    /// Calls `visit` with every statement that may speak of `action`, until it breaks.
    fn each_statement(
        &self,
        action: &Action,
        visit: &mut impl FnMut(&Statement) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(path) = Path::of(&self.policies, action) else {
            let policies = self.policies.policies().iter();
            let mut statements = policies.flat_map(|policy| policy.statements.iter());
            return statements.try_for_each(visit);
        };
        for effect in [Effect::Deny, Effect::Allow] {
            let walk = path.walk(effect);
            for candidates in walk {
                walk.all(candidates, |candidate| {
                    let found = path.statement(candidate);
                    found.map_or(ControlFlow::Continue(()), |(_, statement)| visit(statement))
                })?;
            }
        }
        ControlFlow::Continue(())
    }
}

/// Policies with one address have the same statements.
fn address(policy: &Arc<Policy>) -> usize {
    Arc::as_ptr(&policy.statements).addr()
}

/// Returns parts with all these policies, and the number of each policy in them. `known` has the position of each policy in `all`. The
/// parts of `before` are kept as far as their policies are still there.
fn parts(
    all: &[&Arc<Policy>],
    known: &HashMap<usize, u32, FixedState>,
    before: Option<&Holders>,
) -> (Box<[Part]>, Vec<u32>) {
    let mut numbers = vec![u32::MAX; all.len()];
    let (mut parts, mut n_policies) = (Vec::new(), 0u32);
    let mut add = |policies: Arc<PolicySet>, numbers: &mut Vec<u32>| {
        for (number, policy) in (n_policies..).zip(policies.policies()) {
            let at = known.get(&address(policy)).copied();
            if let Some(place) = at.and_then(|at| numbers.get_mut(at as usize)) {
                *place = number;
            }
        }
        let first = n_policies;
        n_policies += u32::try_from(policies.policies().len()).unwrap_or(u32::MAX);
        parts.push(Part { policies, first });
    };
    for part in before.iter().flat_map(|before| &before.parts) {
        let policies = part.policies.policies();
        let is_there = |policy: &Arc<Policy>| known.contains_key(&address(policy));
        // Many small parts would make each question slower.
        if 2 * policies.len() > MAX_POLICIES && policies.iter().all(is_there) {
            add(Arc::clone(&part.policies), &mut numbers);
        }
    }
    let rest = all.iter().zip(&numbers);
    let rest = rest.filter(|(_, number)| **number == u32::MAX);
    let rest: Vec<Arc<Policy>> = rest.map(|(policy, _)| Arc::clone(policy)).collect();
    for policies in rest.chunks(MAX_POLICIES) {
        add(Arc::new(PolicySet::new(policies)), &mut numbers);
    }
    (parts.into(), numbers)
}

impl fmt::Debug for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Holders");
        let debug = debug.field("n_policies", &self.policies().count());
        debug.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
