//! How long decisions took of late: the difference between the counters now and those of a minute ago.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::counters::Histogram;

/// How far back it looks.
const SPAN: Duration = Duration::from_secs(60);

/// Samples of a histogram over the last minute.
#[derive(Debug, Default)]
pub struct Recent(Mutex<VecDeque<(Instant, Histogram)>>);

impl Recent {
    /// Notes the histogram as it is `now`. Samples are few if this is called every few seconds.
    pub fn note(&self, now: Instant, histogram: Histogram) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back((now, histogram));
        // The sample at the beginning of the minute, or the last one before it, is still needed.
        while samples
            .get(1)
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= SPAN)
        {
            samples.pop_front();
        }
    }

    /// Returns what `histogram`, as it is now, has more than a minute ago, or than at the first sample.
    pub fn of_last_minute(&self, histogram: &Histogram) -> Histogram {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match samples.front() {
            Some((_, before)) => histogram.since(before),
            None => histogram.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(count: u64) -> Histogram {
        Histogram {
            bounds: &[1_000],
            counts: vec![count, 0],
            sum_nanos: u128::from(count),
        }
    }

    #[test]
    fn what_is_older_than_a_minute_no_longer_counts() {
        let recent = Recent::default();
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let counted = |now: u64| recent.of_last_minute(&histogram(now)).count();
        assert_eq!(counted(7), 7, "nothing was noted yet");
        for step in 0..=24 {
            recent.note(at(5 * step), histogram(10 * step));
            let expected = 10 * step.min(12);
            assert_eq!(counted(10 * step), expected, "after {} s", 5 * step);
        }
        let samples = recent.0.lock().map(|samples| samples.len());
        assert_eq!(samples.ok(), Some(13), "memory is bounded");
    }
}
