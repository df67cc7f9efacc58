//! How much work one decision may take.

use std::cell::Cell;

/// The units that a decision may spend. Questions as they occur take some hundreds; a store and a question would have
/// to be made for each other to need so many.
pub const BUDGET: u32 = 4_000_000;

/// What is left to spend. One unit is about one comparison of a short text: a statement considered, a pattern tried, a
/// value of the request held against a value of a condition.
#[derive(Debug)]
pub struct Work {
    left: Cell<u32>,
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
        }
    }

    /// Takes `units`; false if they were not left, and then nothing is.
    pub fn spend(&self, units: usize) -> bool {
        let left = u32::try_from(units)
            .ok()
            .and_then(|units| self.left.get().checked_sub(units));
        self.left.set(left.unwrap_or(0));
        left.is_some_and(|left| left > 0)
    }

    /// The units that are left.
    pub(super) fn left(&self) -> u32 {
        self.left.get()
    }

    /// Whether there is nothing left: what was found out since then means nothing (E-1).
    pub fn is_spent(&self) -> bool {
        self.left.get() == 0
    }
}

impl Default for Work {
    fn default() -> Self {
        Self::new()
    }
}

/// The units of handling a text of `n_bytes` once.
pub(super) fn units_of(n_bytes: usize) -> usize {
    1 + n_bytes / 512
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_stays_spent() {
        let work = Work::of(10);
        assert!(work.spend(9) && !work.is_spent());
        assert!(!work.spend(2) && work.is_spent(), "E-1: more than was left");
        assert!(!work.spend(0) && !work.spend(1) && work.is_spent(), "E-1");
        let work = Work::of(10);
        assert!(!work.spend(usize::MAX) && work.is_spent(), "E-1");
    }
}
