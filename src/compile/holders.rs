//! The way back from a question to principals: action and resource ─▶ statements ─▶ the users and roles that hold them.
//!
//! ```text
//! action, resource ─▶ trie of all policies ─▶ policies ─▶ sets that have them ─▶ users and roles with that set
//! ```
//!
//! It is built for the first request that needs it, and each snapshot has its own. What `Authorize` reads knows nothing of
//! it.

use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

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
    /// Every policy of the store, once: those that differ in their type alone count as one.
    all: PolicySet,
    /// The sets that have each of these policies.
    sets: Lists,
    /// The users and roles whose identity policies are each set, as positions in `entities`.
    of_set: Lists,
    entities: Box<[Arc<Entity>]>,
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
    /// policies of `managed`.
    pub(super) fn of<'s>(
        sets: impl Iterator<Item = (SetId, &'s PolicySet)>,
        n_sets: usize,
        managed: impl Iterator<Item = &'s Arc<Policy>>,
        entities: impl Iterator<Item = &'s Arc<Entity>>,
    ) -> Self {
        let (mut all, mut pairs) = (Vec::new(), Vec::new());
        let mut known: HashMap<usize, u32, FixedState> = HashMap::default();
        for (id, set) in sets {
            let id = u32::try_from(id.index()).unwrap_or(u32::MAX);
            for policy in set.policies() {
                let address = Arc::as_ptr(&policy.statements).addr();
                let at = *known.entry(address).or_insert_with(|| {
                    all.push(Arc::clone(policy));
                    u32::try_from(all.len() - 1).unwrap_or(u32::MAX)
                });
                pairs.push((at, id));
            }
        }
        for policy in managed {
            let address = Arc::as_ptr(&policy.statements).addr();
            if !known.contains_key(&address) {
                all.push(Arc::clone(policy));
            }
        }
        let sets = Lists::of(all.len(), &pairs);
        let entities: Box<[Arc<Entity>]> = entities.cloned().collect();
        let with_set = (0u32..)
            .zip(&entities)
            .filter(|(_, entity)| !entity.disabled);
        let pairs: Vec<(u32, u32)> = with_set
            .filter_map(|(at, entity)| Some((u32::try_from(entity.identity?.index()).ok()?, at)))
            .collect();
        Self {
            all: PolicySet::new(all),
            sets,
            of_set: Lists::of(n_sets, &pairs),
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
        let mut note = |policy: u32| {
            if policies.last() != Some(&policy) {
                policies.push(policy);
            }
        };
        match Path::of(&self.all, action) {
            None => (0..).zip(self.all.policies()).for_each(|(at, _)| note(at)),
            Some(path) => {
                let ends = Ends::of(resource);
                let walk = path.walk(Effect::Allow);
                for candidates in walk {
                    walk.each(candidates, resource, |candidate| {
                        if walk.look(candidate, resource, &ends).is_some() {
                            let statement = path.statement(candidate);
                            let is_it = match statement {
                                Some((_, statement)) if candidate.is_checked() => {
                                    speaks_of(statement, action, meter)
                                }
                                _ => true,
                            };
                            if is_it {
                                note(candidate.policy());
                            }
                        }
                        ControlFlow::Continue(())
                    });
                }
            }
        }
        policies.sort_unstable();
        policies.dedup();
        let mut is_met = vec![false; self.of_set.starts.len()];
        let mut found = Vec::new();
        for set in policies.iter().flat_map(|policy| self.sets.get(*policy)) {
            // A user or role has one set, so that each is met once if each set is.
            let is_new = is_met.get_mut(*set as usize);
            if is_new.is_some_and(|is_met| !std::mem::replace(is_met, true)) {
                let entities = self.of_set.get(*set).iter();
                found.extend(entities.filter_map(|at| self.entities.get(*at as usize)));
            }
        }
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
        let Some(path) = Path::of(&self.all, action) else {
            let policies = self.all.policies().iter();
            let mut statements = policies.flat_map(|policy| policy.statements.iter());
            let _: ControlFlow<()> = statements.try_for_each(speaking);
            return;
        };
        for effect in [Effect::Deny, Effect::Allow] {
            let walk = path.walk(effect);
            for candidates in walk {
                let went_on = walk.all(candidates, |candidate| {
                    let found = path.statement(candidate);
                    found.map_or(ControlFlow::Continue(()), |(_, statement)| {
                        speaking(statement)
                    })
                });
                if went_on.is_break() {
                    return;
                }
            }
        }
    }

    /// Returns the policies of the store: those that differ in their type alone count as one.
    pub fn policies(&self) -> &[Arc<Policy>] {
        self.all.policies()
    }

    /// Returns about how much memory it takes besides the rows of the policies, in bytes.
    pub fn n_bytes(&self) -> usize {
        size_of::<Self>()
            + size_of_val(self.all.policies())
            + self.all.trie().map_or(0, super::trie::Trie::n_bytes)
            + self.sets.n_bytes()
            + self.of_set.n_bytes()
            + size_of_val(&*self.entities)
    }
}

impl fmt::Debug for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Holders");
        let debug = debug.field("n_policies", &self.all.policies().len());
        debug.finish_non_exhaustive()
    }
}
