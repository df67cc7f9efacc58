//! Whose decisions are kept: when the cache is full, the oldest decision of whoever has most of it gives way.
//!
//! So a caller with many questions takes what the others do not need, and no more, however often it asks each of them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The number of shares, a power of two. Callers whose names have the same hash modulo this have one together.
pub(super) const N_SHARES: usize = 256;

/// The keys of all entries by the callers that they are kept for.
pub(super) struct Shares {
    shares: Box<[Share]>,
    /// The sum of theirs.
    n_bytes: AtomicUsize,
}

/// The keys of the entries of some callers.
#[derive(Default)]
struct Share {
    n_bytes: AtomicUsize,
    /// Each key with the bytes of its entry, the oldest first.
    keys: Mutex<VecDeque<(Arc<[u8]>, usize)>>,
}

impl Share {
    fn keys(&self) -> MutexGuard<'_, VecDeque<(Arc<[u8]>, usize)>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner) // a queue is whole between its calls
    }
}

impl Shares {
    pub(super) fn new() -> Self {
        Self {
            shares: (0..N_SHARES).map(|_| Share::default()).collect(),
            n_bytes: AtomicUsize::new(0),
        }
    }

    /// Returns about how much memory it takes besides the keys, in bytes.
    pub(super) fn n_bytes_alone(&self) -> usize {
        size_of_val(&*self.shares)
    }

    /// Returns the bytes of all entries.
    pub(super) fn n_bytes(&self) -> usize {
        self.n_bytes.load(Ordering::Relaxed)
    }

    /// Notes an entry of `n_bytes` for the callers with this hash.
    pub(super) fn add(&self, caller: u64, key: Arc<[u8]>, n_bytes: usize) {
        let Some(share) = self.shares.get(caller as usize % N_SHARES) else {
            return;
        };
        let mut keys = share.keys();
        keys.push_back((key, n_bytes));
        share.n_bytes.fetch_add(n_bytes, Ordering::Relaxed);
        self.n_bytes.fetch_add(n_bytes, Ordering::Relaxed);
    }

    /// Returns the key of the entry that gives way, which is noted no longer: the oldest one of the largest share. Returns `None` if
    /// there is none.
    pub(super) fn give_way(&self) -> Option<Arc<[u8]>> {
        let n_bytes = |share: &&Share| share.n_bytes.load(Ordering::Relaxed);
        let largest = self.shares.iter().max_by_key(n_bytes)?;
        let mut keys = largest.keys();
        let (key, n_bytes) = keys.pop_front()?;
        largest.n_bytes.fetch_sub(n_bytes, Ordering::Relaxed);
        self.n_bytes.fetch_sub(n_bytes, Ordering::Relaxed);
        if keys.len() < keys.capacity() / 4 {
            let n_left = 2 * keys.len();
            keys.shrink_to(n_left);
        }
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entry_of_whoever_has_most_gives_way() {
        let shares = Shares::new();
        let key = |name: &str| Arc::from(name.as_bytes());
        shares.add(1, key("a"), 10);
        shares.add(2, key("b"), 30);
        shares.add(1, key("c"), 10);
        shares.add(1, key("d"), 15);
        assert_eq!(shares.n_bytes(), 65);
        let order: Vec<_> = std::iter::from_fn(|| shares.give_way()).collect();
        assert_eq!(order, ["a", "b", "c", "d"].map(key));
        assert_eq!(shares.n_bytes(), 0);
    }
}
