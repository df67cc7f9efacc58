//! Policies that are evaluated together, with an index for each action that was asked about.
//!
//! A principal's policies are the same for all its requests, and most of their statements are about other actions. So
//! the statements about one action are looked up once, and kept as a [`Slice`]:
//!
//! ```text
//! PolicySet ── action ──▶ Slice ── denies ─▶ Section ── resource ──▶ the statements worth a look
//!                               └─ allows ─▶ Section ── resource ──▶ …
//! ```
//!
//! An index leaves out statements that cannot match (M-23), and knows of some statements that they cover the resource.
//! The engine decides whether a statement applies.

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

/// One or more policies that count as one, such as the identity policies of a principal or one level of control
/// policies.
pub struct PolicySet {
    policies: Box<[Arc<Policy>]>,
    slices: Slices,
}

impl PolicySet {
    /// Returns a set whose slices take their memory from `budget`.
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

    /// Returns the policies in the order of their attachment.
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }

    /// Returns the statements about `action`. Returns `None` if this is the first request for it, or if the memory for
    /// slices is used up. Then the caller considers every statement.
    #[inline]
    pub fn slice(&self, action: &Action) -> Option<&Slice> {
        // Comparing a long name with the patterns must be paid for, so it gets no slice.
        let is_made = action.as_str().len() <= LONGEST_INDEXED;
        let make = || {
            is_made
                .then(|| self.slices.make(action, &self.policies))
                .flatten()
        };
        self.known_slice(action).or_else(make)
    }

    /// Returns the slice of `action` if it already exists. This does not count as a request for it.
    #[inline]
    pub fn known_slice(&self, action: &Action) -> Option<&Slice> {
        self.slices.table.find(action)
    }

    /// Returns the same set after a fault, for tests: its slice for `action` refers to policies that the set does not
    /// have.
    #[cfg(test)]
    pub(super) fn without_policies(&self, action: &Action) -> Self {
        let whole = Self::new(self.policies.clone(), &self.slices.budget);
        let _ = (whole.slice(action), whole.slice(action));
        Self {
            policies: Box::default(),
            slices: whole.slices,
        }
    }

    /// Returns the number of actions for which the set has a slice. No answer depends on it; tests show by it that an
    /// index was built, and that a patched snapshot keeps those of the snapshot before.
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

/// The statements of one set that are about one action.
pub struct Slice {
    action: Action,
    /// The denying ones.
    pub denies: Section,
    /// The allowing ones.
    pub allows: Section,
    /// The context keys that they may read, and their cost.
    pub demand: Demand,
}

impl Candidate {
    /// Returns the policy and the statement.
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

    /// Returns about how much memory it takes, in bytes.
    fn n_bytes(&self) -> usize {
        size_of::<Self>()
            + self.action.as_str().len()
            + self.denies.n_bytes()
            + self.allows.n_bytes()
            + self.demand.n_bytes()
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

/// The memory that the slices of all sets may take together, and how much of it is in use.
#[derive(Debug)]
pub struct SliceBudget {
    max_bytes: usize,
    used: AtomicUsize,
}

impl SliceBudget {
    /// Returns a budget of about `max_bytes`.
    pub fn of(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            max_bytes,
            used: AtomicUsize::new(0),
        })
    }

    /// Returns about how many bytes are in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `n_bytes` if they are left. A refused amount is never counted, not even for a moment, because another
    /// thread may still take a smaller one.
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

/// The slices of one set. Readers take no lock, because a finished slice stays where it is as long as the set lives.
struct Slices {
    table: Table,
    /// A bit, by hash, for each action that was asked before. A slice is made at the second request.
    asked: AtomicU64,
    /// A bit, by hash, for each action whose slice found no memory left. Such a slice is not built again, because that
    /// would cost every request for the action more than the slice could save.
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
    /// Makes the slice of `action`, unless this is the first request for it. Also returns `None` if another thread
    /// takes the place meanwhile. The next request then finds that thread's slice or another place.
    #[inline(never)]
    fn make(&self, action: &Action, policies: &[Arc<Policy>]) -> Option<&Slice> {
        let bit = 1u64 << (action.fingerprint() % 64);
        if self.asked.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            return None;
        }
        if self.refused.load(Ordering::Relaxed) & bit != 0 {
            return None;
        }
        // The place is found before anything is built, because an action without a place must not cost more than
        // others.
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

    /// Returns the first free place where `action` may stand.
    fn free_place(&self, action: &Action, policies: &[Arc<Policy>]) -> Option<&Place> {
        // PERF: a set with many statements is asked about many actions, and slices in later tables are found more
        // slowly.
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

    /// Returns the places of `table`. Makes `n_places` of them first if there are none.
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
            Err(_) => self.budget.give_back(n_bytes), // another thread was faster
        }
        table.places.get().map(|places| &**places)
    }
}

type Place = OnceLock<Placed>;

/// A slice in its place.
struct Placed {
    /// The fingerprint of its action.
    ///
    /// PERF: comparing it first means that the slices of other actions are not read.
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

/// The longest action that gets a slice, in bytes. The actions of AWS have at most 128 characters.
const LONGEST_INDEXED: usize = 512;
/// The fewest places in the first table. Every number of places is a power of two.
const MIN_PLACES: usize = 8;
/// The most places in the first table.
const MAX_FIRST_PLACES: usize = 256;
/// The number of places in the last table.
const MAX_PLACES: usize = 2_048;
/// How many consecutive places of one table are tried for an action.
const N_PROBES: usize = 4;

/// Slices by the hash of their action. A place is filled once and never emptied, so an empty one ends a search. A slice
/// that finds no place here goes to the next table.
#[derive(Default)]
struct Table {
    /// Allocated for the first slice of this table, if the budget allows it.
    places: OnceLock<Box<[Place]>>,
    next: OnceLock<Box<Table>>,
}

/// Returns the place where `action` may stand after `step` steps.
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
        // PERF: most actions stand in the first place that is tried.
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
