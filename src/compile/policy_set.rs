//! Policies that are evaluated together, with what was found out about them for the actions asked so far.
//!
//! A principal's policies are the same for every question it asks, and most of their statements speak of other
//! actions. So the statements that speak of one action are looked up once, and kept as a [`Slice`]:
//!
//! ```text
//! PolicySet ── action ──▶ Slice ── denies ─▶ Section ── resource ──▶ the statements worth a look
//!                               └─ allows ─▶ Section ── resource ──▶ …
//! ```
//!
//! An index leaves out statements that cannot match (M-23), and tells of some that they cover the resource; whether one
//! applies is for the engine to say.

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::demand::Demand;
use super::policy::Policy;
use super::section::{Candidate, Section};
use crate::language::document::{Effect, Listed, Statement};
use crate::language::pattern::{ActionPattern, NoVariables, Variables};
use crate::name::Action;

/// One or more policies that count as one: identity policies of a principal, a level of control policies.
pub struct PolicySet {
    policies: Box<[Arc<Policy>]>,
    slices: Slices,
}

impl PolicySet {
    /// A set whose slices take their memory from `budget`.
    pub fn new(policies: impl Into<Box<[Arc<Policy>]>>, budget: &Arc<SliceBudget>) -> Self {
        Self {
            policies: policies.into(),
            slices: Slices {
                table: Table::default(),
                asked: AtomicU64::new(0),
                refused: AtomicU64::new(0),
                n_bytes: AtomicUsize::new(0),
                budget: Arc::clone(budget),
            },
        }
    }

    /// In the order of their attachment.
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }

    /// The statements that speak of `action`. None where it is asked for the first time, or where the memory for
    /// slices is used up: whoever asks then considers every statement.
    #[inline]
    pub fn slice(&self, action: &Action) -> Option<&Slice> {
        // A long name is compared with the patterns, which is paid for.
        let is_made = action.as_str().len() <= LONGEST_INDEXED;
        let make = || {
            is_made
                .then(|| self.slices.make(action, &self.policies))
                .flatten()
        };
        self.known_slice(action).or_else(make)
    }

    /// The same, where it is there already: this does not count as asking for it.
    #[inline]
    pub fn known_slice(&self, action: &Action) -> Option<&Slice> {
        self.slices.table.find(action)
    }

    /// The same set after a fault, for tests: its slice of `action` speaks of policies that it has not.
    #[cfg(test)]
    pub(super) fn without_policies(&self, action: &Action) -> Self {
        let whole = Self::new(self.policies.clone(), &self.slices.budget);
        let _ = (whole.slice(action), whole.slice(action));
        Self {
            policies: Box::default(),
            slices: whole.slices,
        }
    }

    /// For how many actions it has one.
    pub fn n_slices(&self) -> usize {
        let mut table = Some(&self.slices.table);
        let mut n = 0;
        while let Some(here) = table {
            let places = here.places.get().map_or(&[][..], |places| places);
            n += places.iter().filter(|place| place.get().is_some()).count();
            table = here.next.get().map(|next| &**next);
        }
        n
    }
}

impl fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.policies.iter().map(|policy| &policy.name))
            .finish()
    }
}

/// The statements of one set that speak of one action.
pub struct Slice {
    action: Action,
    /// The denying ones.
    pub denies: Section,
    /// The allowing ones.
    pub allows: Section,
    /// What they ask for.
    pub demand: Demand,
}

impl Candidate {
    /// The policy and the statement.
    pub fn of(self, set: &PolicySet) -> Option<(&Arc<Policy>, &Statement)> {
        let policy = set.policies.get(self.policy as usize)?;
        Some((policy, policy.statements.get(self.statement as usize)?))
    }
}

impl Slice {
    fn of(policies: &[Arc<Policy>], action: &Action) -> Self {
        let (mut denies, mut allows) = (Vec::new(), Vec::new());
        for (at, policy) in (0u32..).zip(policies) {
            for (index, statement) in (0u32..).zip(policy.statements.iter()) {
                if !speaks_of(statement, action, &NoVariables) {
                    continue;
                }
                let candidate = Candidate {
                    policy: at,
                    statement: index,
                };
                match statement.effect {
                    Effect::Deny => denies.push((candidate, statement)),
                    Effect::Allow => allows.push((candidate, statement)),
                }
            }
        }
        Self {
            action: action.clone(),
            demand: Demand::of(&denies, &allows),
            denies: Section::new(denies),
            allows: Section::new(allows),
        }
    }

    /// How much memory it takes, about.
    fn n_bytes(&self) -> usize {
        size_of::<Self>()
            + self.action.as_str().len()
            + self.denies.n_bytes()
            + self.allows.n_bytes()
            + self.demand.n_bytes()
    }
}

/// Whether `statement` speaks of `action` (M-2 to M-6). `meter` pays for what is more than comparing.
pub fn speaks_of(statement: &Statement, action: &Action, meter: &impl Variables) -> bool {
    let covers = |pattern: &ActionPattern| pattern.matches_paid(action, meter);
    match &statement.actions {
        Listed::Any(patterns) => patterns.iter().any(covers),
        Listed::Not(patterns) => !patterns.iter().any(covers),
    }
}

/// How much memory the slices of all sets may take together, and how much they do.
#[derive(Debug)]
pub struct SliceBudget {
    max_bytes: usize,
    used: AtomicUsize,
}

impl SliceBudget {
    /// At most about `max_bytes`.
    pub fn of(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            max_bytes,
            used: AtomicUsize::new(0),
        })
    }

    /// The bytes in use, about.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `n_bytes` if they are left. What does not fit is never counted, not even for a moment: for another
    /// thread something smaller still may.
    fn take(&self, n_bytes: usize) -> bool {
        let more = |used: usize| {
            let used = used.checked_add(n_bytes)?;
            (used <= self.max_bytes).then_some(used)
        };
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    fn give_back(&self, n_bytes: usize) {
        self.used.fetch_sub(n_bytes, Ordering::Relaxed);
    }
}

/// The slices of one set. Readers take no lock: a slice, once made, stays where it is as long as the set.
struct Slices {
    table: Table,
    /// A bit for each action that was asked before, by hash: a slice is made the second time.
    asked: AtomicU64,
    /// Likewise for each action whose slice found no memory left. It is not built again: that would cost every
    /// question about it more than the slice would ever save.
    refused: AtomicU64,
    n_bytes: AtomicUsize,
    budget: Arc<SliceBudget>,
}

impl Drop for Slices {
    fn drop(&mut self) {
        self.budget.give_back(self.n_bytes.load(Ordering::Relaxed));
    }
}

impl Slices {
    /// Makes the slice of `action` unless it is asked for the first time. None too if another thread takes the place
    /// meanwhile: the next one to ask finds another.
    #[inline(never)]
    fn make(&self, action: &Action, policies: &[Arc<Policy>]) -> Option<&Slice> {
        let bit = 1u64 << (action.fingerprint() % 64);
        if self.asked.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            return None;
        }
        if self.refused.load(Ordering::Relaxed) & bit != 0 {
            return None;
        }
        // Before anything is built: an action that has no place left must not cost more than those that have one.
        let place = self.free_place(action, policies)?;
        let slice = Slice::of(policies, action);
        let n_bytes = slice.n_bytes();
        if !self.budget.take(n_bytes) {
            self.refused.fetch_or(bit, Ordering::Relaxed);
            return None;
        }
        let placed = Placed {
            fingerprint: action.fingerprint(),
            slice: Box::new(slice),
        };
        match place.set(placed) {
            Ok(()) => _ = self.n_bytes.fetch_add(n_bytes, Ordering::Relaxed),
            Err(_) => self.budget.give_back(n_bytes),
        }
        place.get()?.slice_of(action)
    }

    /// The first place where `action` may stand and nothing does.
    fn free_place(&self, action: &Action, policies: &[Arc<Policy>]) -> Option<&Place> {
        // PERF: whoever has many statements asks about many actions, and whatever stands in a later table is found late.
        let n_statements: usize = policies.iter().map(|policy| policy.statements.len()).sum();
        let n_first = (2 * n_statements).clamp(MIN_PLACES, MAX_FIRST_PLACES);
        let (mut table, mut n_places) = (&self.table, n_first.next_power_of_two());
        loop {
            let places = self.places(table, n_places)?;
            if let Some(free) = probe(places, action).find(|place| place.get().is_none()) {
                return Some(free);
            }
            n_places = 4 * places.len();
            if n_places > MAX_PLACES {
                return None;
            }
            table = table.next.get_or_init(Box::default);
        }
    }

    /// The places of `table`, so many made if need be.
    fn places<'s>(&self, table: &'s Table, n_places: usize) -> Option<&'s [Place]> {
        if let Some(places) = table.places.get() {
            return Some(places);
        }
        let n_bytes = n_places * size_of::<Place>() + size_of::<Table>();
        if !self.budget.take(n_bytes) {
            return None;
        }
        let places = (0..n_places).map(|_| OnceLock::new()).collect();
        match table.places.set(places) {
            Ok(()) => _ = self.n_bytes.fetch_add(n_bytes, Ordering::Relaxed),
            Err(_) => self.budget.give_back(n_bytes), // somebody was faster
        }
        table.places.get().map(|places| &**places)
    }
}

type Place = OnceLock<Placed>;

/// A slice in its place.
struct Placed {
    /// Of its action.
    ///
    /// PERF: so that the slices of other actions need no look.
    fingerprint: u64,
    slice: Box<Slice>,
}

impl Placed {
    #[inline]
    fn slice_of(&self, action: &Action) -> Option<&Slice> {
        let is_its = self.fingerprint == action.fingerprint() && self.slice.action == *action;
        is_its.then_some(&*self.slice)
    }
}

/// The longest action, in bytes, that gets a slice: AWS's have 128 characters at most.
const LONGEST_INDEXED: usize = 512;
/// The fewest places of the first table: a power of two, as each number of places.
const MIN_PLACES: usize = 8;
/// The most places of the first table.
const MAX_FIRST_PLACES: usize = 256;
/// The places of the last one.
const MAX_PLACES: usize = 2_048;
/// In how many places, one after the other, an action may stand in one table.
const N_PROBES: usize = 4;

/// Slices by the hash of their action. A place is filled once and never emptied, so an empty one ends a search. What
/// does not fit goes to the next table.
#[derive(Default)]
struct Table {
    /// Made for the first slice that is to stand here, if the budget allows.
    places: OnceLock<Box<[Place]>>,
    next: OnceLock<Box<Table>>,
}

/// Where `action` may stand after so many steps.
#[inline]
fn at<'p>(places: &'p [Place], action: &Action, step: usize) -> Option<&'p Place> {
    // INVARIANT: the number of places is a power of two; `Slices::free_place` holds it.
    let mask = places.len().wrapping_sub(1);
    places.get((action.fingerprint() as usize).wrapping_add(step) & mask)
}

fn probe<'p>(places: &'p [Place], action: &Action) -> impl Iterator<Item = &'p Place> {
    (0..N_PROBES).filter_map(move |step| at(places, action, step))
}

impl Table {
    #[inline]
    fn find(&self, action: &Action) -> Option<&Slice> {
        // PERF: most actions stand in the first place there is.
        let first = at(self.places.get()?, action, 0)?.get()?;
        let slice = first.slice_of(action);
        slice.or_else(|| self.find_further(action))
    }

    #[inline(never)]
    fn find_further(&self, action: &Action) -> Option<&Slice> {
        let mut table = self;
        loop {
            for place in probe(table.places.get()?, action) {
                if let Some(slice) = place.get()?.slice_of(action) {
                    return Some(slice);
                }
            }
            table = table.next.get()?;
        }
    }
}
