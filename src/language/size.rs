//! Estimates of memory use, for the memory budgets.

/// Returns about how many bytes an allocation of `n_bytes` takes.
pub(super) fn allocated(n_bytes: usize) -> usize {
    match n_bytes {
        0 => 0,
        n => n.saturating_add(8).next_multiple_of(16).max(32),
    }
}
