//! How much work one decision may take.
//!
//! Whatever takes longer the more a question or a policy holds is paid for before it is done, so that no question keeps a
//! thread for longer than about a millisecond, whoever made it and the store for each other. What cannot be paid for
//! any more is not done, and the question ends without an answer (E-1).

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use super::error::RequestError;
use super::lost::Lost;
use crate::context::ContextKey;
use crate::language::pattern::{Substitute, Variables};
use crate::limits::{BUDGET, BUDGETS_FOR_PEOPLE};

/// Says whether anybody still waits for an answer.
pub type IsWanted = Arc<dyn Fn() -> bool + Send + Sync>;

/// What is left to spend.
pub struct Work {
    /// Until somebody has to look whether there is more.
    left: Cell<u32>,
    /// What there is besides.
    rest: Cell<u64>,
    is_wanted: Option<IsWanted>,
    is_given_up: Cell<bool>,
    lost: Cell<Option<Lost>>,
}

/// Somebody waits until the answer is there.
pub fn wanted() -> IsWanted {
    Arc::new(|| true)
}

impl Work {
    /// With the whole [`BUDGET`] left.
    pub fn new() -> Self {
        Self::of(BUDGET)
    }

    /// With so many units.
    pub(super) fn of(units: u32) -> Self {
        Self {
            left: Cell::new(units),
            rest: Cell::new(0),
            is_wanted: None,
            is_given_up: Cell::new(false),
            lost: Cell::new(None),
        }
    }

    /// For an answer that a person waits for, as long as `is_wanted`.
    pub fn for_people(is_wanted: IsWanted) -> Self {
        Self {
            rest: Cell::new(u64::from(BUDGET) * u64::from(BUDGETS_FOR_PEOPLE)),
            is_wanted: Some(is_wanted),
            ..Self::of(0)
        }
    }

    /// For an answer that a person waits for until it is there.
    pub fn ample() -> Self {
        Self::for_people(wanted())
    }

    /// Takes `units`; false if they were not left, and then nothing is.
    #[inline]
    pub fn spend(&self, units: usize) -> bool {
        let left = u32::try_from(units)
            .ok()
            .and_then(|units| self.left.get().checked_sub(units));
        match left {
            Some(left @ 1..) => {
                self.left.set(left);
                true
            }
            _ => self.spend_more(units),
        }
    }

    /// The same, where what is at hand is too little. Asks now and then whether the answer is wanted.
    #[cold]
    fn spend_more(&self, units: usize) -> bool {
        let total = u64::from(self.left.get()).saturating_add(self.rest.get());
        let total = total.saturating_sub(units as u64);
        let is_wanted = || self.is_wanted.as_ref().is_none_or(|is_wanted| is_wanted());
        if total == 0 || self.rest.get() == 0 || self.is_given_up.get() || !is_wanted() {
            self.is_given_up.set(self.is_wanted.is_some() && total > 0);
            self.left.set(0);
            self.rest.set(0);
            return false;
        }
        let left = total.min(u64::from(BUDGET / 10));
        // INVARIANT: a tenth of the budget is a `u32`.
        self.left.set(u32::try_from(left).unwrap_or(u32::MAX));
        self.rest.set(total - left);
        true
    }

    /// Gives back what was spent since `left` units were at hand: for a step that is paid for by itself, so that it takes
    /// nothing from what follows. What it took is bounded all the same, since it could spend no more than there was.
    pub(super) fn give_back(&self, left: u32) {
        if self.lost.get().is_none() {
            self.left.set(left);
        }
    }

    /// Ends the question: the snapshot lacks something without which it has no answer. What is left is spent, so that
    /// nobody goes on.
    #[cold]
    pub(super) fn lose(&self, lost: Lost) {
        self.lost.set(self.lost.get().or(Some(lost)));
        self.left.set(0);
        self.rest.set(0);
    }

    /// Whether there is an answer; if not, why (E-1).
    #[inline]
    pub(super) fn conclude(&self) -> Result<(), RequestError> {
        if self.is_spent() {
            return Err(self.why_there_is_no_answer());
        }
        Ok(())
    }

    #[cold]
    fn why_there_is_no_answer(&self) -> RequestError {
        match self.lost.get() {
            Some(lost) => RequestError::lost(lost),
            None if self.is_given_up.get() => RequestError::unwanted(),
            None => RequestError::too_much_work(),
        }
    }

    /// The units that are at hand.
    pub(super) fn left(&self) -> u32 {
        self.left.get()
    }

    /// Whether there is nothing left: what was found out since then means nothing (E-1).
    pub fn is_spent(&self) -> bool {
        self.left.get() == 0 && self.rest.get() == 0
    }
}

impl Default for Work {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Work");
        debug.field("left", &self.left.get());
        debug.field("rest", &self.rest.get()).finish()
    }
}

/// Pays for patterns without variables.
impl Variables for Work {
    fn substitute(&self, _: &ContextKey) -> Substitute<'_> {
        Substitute::Missing
    }

    fn pay(&self, units: usize) -> bool {
        self.spend(units)
    }
}

/// The units of handling a text of `n_bytes` once: comparing, copying or hashing it.
pub(super) fn units_of(n_bytes: usize) -> usize {
    1 + n_bytes / 128
}

/// The units of looking for a name of `n_bytes` among so many others, one after the other, most of which differ soon.
pub(super) fn units_of_names(n_names: usize, n_bytes: usize) -> usize {
    1 + n_names * (1 + n_bytes / 32) / 4
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn what_is_spent_stays_spent() {
        let work = Work::of(10);
        assert!(work.spend(9) && !work.is_spent());
        assert!(!work.spend(2) && work.is_spent(), "E-1: more than was left");
        assert!(!work.spend(0) && !work.spend(1) && work.is_spent(), "E-1");
        let work = Work::of(10);
        assert!(!work.spend(usize::MAX) && work.is_spent(), "E-1");
        assert!(!work.is_given_up.get());
    }

    #[test]
    fn an_answer_for_people_may_take_more_and_no_more_than_that() {
        let work = Work::for_people(Arc::new(|| true));
        let most = u64::from(BUDGET) * u64::from(BUDGETS_FOR_PEOPLE);
        let mut n_spent = 0u64;
        while work.spend(700) {
            n_spent += 700;
        }
        assert!(work.is_spent() && !work.is_given_up.get());
        assert!(
            (most - 700..=most).contains(&n_spent),
            "{n_spent} of {most}"
        );
        let work = Work::for_people(Arc::new(|| true));
        assert!(!work.spend(usize::MAX) && work.is_spent(), "E-1");
    }

    #[test]
    fn an_answer_that_nobody_waits_for_ends_within_a_tenth_of_the_budget() {
        let n_asked = Arc::new(AtomicU32::new(0));
        let asked = Arc::clone(&n_asked);
        let work = Work::for_people(Arc::new(move || asked.fetch_add(1, Ordering::Relaxed) < 3));
        let mut n_spent = 0;
        while work.spend(1) {
            n_spent += 1;
        }
        assert!(work.is_spent() && work.is_given_up.get());
        assert_eq!(n_asked.load(Ordering::Relaxed), 4);
        assert!(n_spent <= 3 * BUDGET / 10, "{n_spent}");
    }
}
