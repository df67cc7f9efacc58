//! The budget of work for one decision.
//!
//! Every step whose cost grows with the question or with a policy spends units before it runs. That way no question
//! holds a thread for longer than about a millisecond, even if an attacker wrote the question and the store to make it
//! slow. A step that the budget cannot pay for does not run, and the question ends without an answer (E-1).

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use super::error::RequestError;
use super::lost::Lost;
use crate::context::ContextKey;
use crate::language::pattern::{Substitute, Variables};
use crate::limits::{BUDGET, INTERACTIVE_BUDGETS};

/// How many units an interactive answer spends before it checks again whether it is still wanted. The check may also let other
/// threads run. They wait for it for 25 µs if a unit takes the usual 10 ns, and for some 100 µs in large stores.
const BETWEEN_CHECKS: u32 = BUDGET / 40;

/// A function that returns whether the caller still waits for the answer.
pub type IsWanted = Arc<dyn Fn() -> bool + Send + Sync>;

/// The units of work that a question may still spend.
pub struct Work {
    /// The units that can be spent before [`Work::spend_more`] has to check whether there are more.
    left: Cell<u32>,
    /// The units beyond `left`.
    rest: Cell<u64>,
    is_wanted: Option<IsWanted>,
    is_given_up: Cell<bool>,
    lost: Cell<Option<Lost>>,
}

/// Returns the [`IsWanted`] of a caller that waits until the answer is complete.
pub fn wanted() -> IsWanted {
    Arc::new(|| true)
}

impl Work {
    /// Returns the work of one decision, with the whole [`BUDGET`] left.
    pub fn new() -> Self {
        Self::of(BUDGET)
    }

    /// Returns work with this many units left.
    pub(super) fn of(units: u32) -> Self {
        Self {
            left: Cell::new(units),
            rest: Cell::new(0),
            is_wanted: None,
            is_given_up: Cell::new(false),
            lost: Cell::new(None),
        }
    }

    /// Returns the work of an interactive answer: [`INTERACTIVE_BUDGETS`] times as much, and it stops once `is_wanted`
    /// returns false.
    pub fn interactive(is_wanted: IsWanted) -> Self {
        Self {
            rest: Cell::new(u64::from(BUDGET) * u64::from(INTERACTIVE_BUDGETS)),
            is_wanted: Some(is_wanted),
            ..Self::of(0)
        }
    }

    /// Returns the work of an interactive answer whose caller waits until it is complete.
    pub fn ample() -> Self {
        Self::interactive(wanted())
    }

    /// Spends `units` and returns true. If fewer were left, it spends all of them and returns false.
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

    /// Spends `units` when `left` does not cover them. Checks at intervals whether the answer is still wanted.
    #[cold]
    fn spend_more(&self, units: usize) -> bool {
        let total = u64::from(self.left.get()).saturating_add(self.rest.get());
        let total = total.saturating_sub(units as u64);
        let is_wanted = || self.is_wanted.as_ref().is_none_or(|is_wanted| is_wanted());
        if total == 0 || self.rest.get() == 0 || self.is_given_up.get() || !is_wanted() {
            let gives_up = self.is_wanted.is_some() && total > 0;
            self.is_given_up.set(self.is_given_up.get() || gives_up);
            self.left.set(0);
            self.rest.set(0);
            return false;
        }
        let left = total.min(u64::from(BETWEEN_CHECKS));
        // INVARIANT: it is not more than `BETWEEN_CHECKS`.
        self.left.set(u32::try_from(left).unwrap_or(u32::MAX));
        self.rest.set(total - left);
        true
    }

    /// Sets the units that are left back to `left`, so that a step whose cost is counted elsewhere takes nothing from
    /// the steps after it. The step is still bounded, because it cannot spend more than was left before it.
    pub(super) fn give_back(&self, left: u32) {
        if self.lost.get().is_none() {
            self.left.set(left);
        }
    }

    /// Ends the question because the snapshot lacks something without which there is no answer. Spends everything that
    /// is left, so that no step runs after this.
    #[cold]
    pub(super) fn lose(&self, lost: Lost) {
        self.lost.set(self.lost.get().or(Some(lost)));
        self.left.set(0);
        self.rest.set(0);
    }

    /// Returns an error that says why there is no answer, if there is none (E-1).
    #[inline]
    pub fn conclude(&self) -> Result<(), RequestError> {
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

    /// Returns how much of the [`BUDGET`] of a question is spent. It is 0 for an interactive answer, which has work of
    /// its own.
    pub(super) fn spent(&self) -> u32 {
        match self.is_wanted {
            None => BUDGET.saturating_sub(self.left.get()),
            Some(_) => 0,
        }
    }

    /// Returns the units in `left`.
    pub(super) fn left(&self) -> u32 {
        self.left.get()
    }

    /// Returns whether nothing is left. Then nothing that was found out afterwards counts (E-1).
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

/// Spends units on patterns that have no variables.
impl Variables for Work {
    fn substitute(&self, _: &ContextKey) -> Substitute<'_> {
        Substitute::Missing
    }

    fn pay(&self, units: usize) -> bool {
        self.spend(units)
    }
}

/// Returns the units of handling a text of `n_bytes` once: comparing, copying or hashing it.
pub(super) fn units_of(n_bytes: usize) -> usize {
    1 + n_bytes / 128
}

/// Returns the units of comparing a name of `n_bytes` with `n_names` others in turn. Most of them differ early.
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
    fn an_interactive_answer_has_a_larger_budget_and_no_more() {
        let work = Work::interactive(Arc::new(|| true));
        let most = u64::from(BUDGET) * u64::from(INTERACTIVE_BUDGETS);
        let mut n_spent = 0u64;
        while work.spend(700) {
            n_spent += 700;
        }
        assert!(work.is_spent() && !work.is_given_up.get());
        assert!(
            (most - 700..=most).contains(&n_spent),
            "{n_spent} of {most}"
        );
        let work = Work::interactive(Arc::new(|| true));
        assert!(!work.spend(usize::MAX) && work.is_spent(), "E-1");
    }

    #[test]
    fn an_answer_that_nobody_waits_for_ends_soon() {
        let n_asked = Arc::new(AtomicU32::new(0));
        let asked = Arc::clone(&n_asked);
        let work = Work::interactive(Arc::new(move || asked.fetch_add(1, Ordering::Relaxed) < 3));
        let mut n_spent = 0;
        while work.spend(1) {
            n_spent += 1;
        }
        assert!(work.is_spent() && work.is_given_up.get());
        assert!(!work.spend(1) && work.is_given_up.get());
        assert_eq!(n_asked.load(Ordering::Relaxed), 4);
        assert!(n_spent <= 3 * BETWEEN_CHECKS, "{n_spent}");
    }
}
