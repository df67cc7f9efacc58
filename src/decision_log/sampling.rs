//! Which allows are recorded. Denials always are.

use std::sync::atomic::{AtomicU64, Ordering};

/// Keeps a share of the allows.
#[derive(Debug)]
pub(super) struct Sampling {
    /// Numbers below this one are kept; `None` keeps all.
    below: Option<u64>,
    n_allows: AtomicU64,
}

impl Sampling {
    /// Keeps `share` of the allows: a number above 0 and up to 1.
    pub(super) fn of(share: f64) -> Self {
        const STEPS: u32 = 1 << 30; // few enough to be exact in a double
        let steps = (share * f64::from(STEPS)).round().max(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and 2^30"
        )]
        let steps = steps as u64;
        Self {
            below: (share < 1.0).then(|| steps.saturating_mul(u64::MAX / u64::from(STEPS))),
            n_allows: AtomicU64::new(0),
        }
    }

    /// Returns whether the next decision is recorded.
    pub(super) fn keeps(&self, is_allowed: bool) -> bool {
        match self.below {
            Some(below) if is_allowed => {
                mixed(self.n_allows.fetch_add(1, Ordering::Relaxed)) < below
            }
            _ => true,
        }
    }
}

/// Spreads a count over all numbers (the finalizer of SplitMix64), so that a client that asks in a rhythm is sampled as
/// any other.
fn mixed(count: u64) -> u64 {
    let mut n = count.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_allows_and_every_denial_is_kept() {
        for (share, least, most) in [(1.0, 10_000, 10_000), (0.1, 900, 1_100), (0.001, 3, 25)] {
            let sampling = Sampling::of(share);
            let kept = (0..10_000).filter(|_| sampling.keeps(true)).count();
            assert!((least..=most).contains(&kept), "{share}: {kept}");
            assert!((0..1_000).all(|_| sampling.keeps(false)), "{share}");
        }
    }
}
