//! An estimate of what the statements of one node cost.

use super::{MAX_FILTERED, MAX_UNFILTERED};

/// The cost of running one filter over a resource's text.
const FILTER: u32 = 150;
/// The number of filtered statements that pass for a typical resource.
const N_PASSING: u32 = 2;

/// The statements of one effect at one node, as far as their cost goes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    n: u32,
    /// The cost of the statements that a filter can leave out.
    filterable: u32,
    /// The cost of the others.
    others: u32,
}

impl Load {
    /// Adds a statement of this cost.
    #[inline]
    pub fn add(&mut self, cost: u16, is_filterable: bool) {
        self.n += 1;
        let sum = if is_filterable {
            &mut self.filterable
        } else {
            &mut self.others
        };
        *sum = sum.saturating_add(cost.into());
    }

    /// Returns the estimated nanoseconds to evaluate all of them.
    pub fn cost(&self) -> u32 {
        if self.n as usize <= MAX_UNFILTERED {
            return self.filterable.saturating_add(self.others);
        }
        let n_filters = self.n.div_ceil(MAX_FILTERED as u32);
        let passing = self.filterable.saturating_mul(N_PASSING) / self.n;
        let filters = n_filters.saturating_mul(FILTER);
        filters.saturating_add(self.others).saturating_add(passing)
    }
}
