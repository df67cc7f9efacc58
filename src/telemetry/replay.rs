//! Histograms for OTLP. OpenTelemetry has no histogram that reads its values from the program, so what the counters
//! have gained since the last export is recorded then, on the exporting thread.
//!
//! A value keeps its bucket and loses its exact size. All values that are recorded together are put at the same place
//! within their buckets, chosen so that their sum is that of the true values.

use std::sync::Mutex;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram as Instrument, Meter};

use super::counters::{CALL_BOUNDS, DECISION_BOUNDS, Histogram, RELOAD_BOUNDS, counters};
use super::metrics::called;

/// One histogram of OTLP.
struct Replayed {
    instrument: Instrument<f64>,
    /// What was recorded, by the labels of the series.
    recorded: Mutex<Vec<(Vec<KeyValue>, Histogram)>>,
}

impl Replayed {
    fn new(meter: &Meter, name: &'static str, help: &'static str, bounds: &'static [u64]) -> Self {
        let bounds = bounds.iter().map(|bound| seconds(*bound)).collect();
        let instrument = meter
            .f64_histogram(name)
            .with_unit("s")
            .with_description(help)
            .with_boundaries(bounds)
            .build();
        Self {
            instrument,
            recorded: Mutex::default(),
        }
    }

    /// Records what the series with these labels has gained.
    fn record(&self, labels: Vec<KeyValue>, now: Histogram) {
        let Ok(mut recorded) = self.recorded.lock() else {
            return;
        };
        let before = recorded.iter_mut().find(|(of, _)| *of == labels);
        let gained = match &before {
            Some((_, before)) => now.since(before),
            None => now.clone(),
        };
        for (value, count) in values(&gained) {
            for _ in 0..count {
                self.instrument.record(value, &labels);
            }
        }
        match before {
            Some((_, before)) => *before = now,
            None => recorded.push((labels, now)),
        }
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Returns a value for each bucket that has any, and how many it has. They add up to the sum of the histogram, as far as
/// their buckets allow.
fn values(histogram: &Histogram) -> Vec<(f64, u64)> {
    let last = histogram.bounds.last().copied().unwrap_or_default();
    let uppers = histogram.bounds.iter().copied().chain([2 * last]);
    let lowers = [0].into_iter().chain(histogram.bounds.iter().copied());
    let buckets: Vec<_> = lowers
        .zip(uppers)
        .zip(&histogram.counts)
        .filter(|(_, count)| **count > 0)
        .collect();
    let total = |of: fn((u64, u64)) -> u64| -> f64 {
        let parts = buckets.iter();
        parts
            .map(|(bucket, count)| of(*bucket) as f64 * **count as f64)
            .sum()
    };
    let (least, width) = (
        total(|(lower, _)| lower),
        total(|(lower, upper)| upper - lower),
    );
    // A value at the lower bound would belong to the bucket below.
    let place = ((histogram.sum_nanos as f64 - least) / width).clamp(1e-6, 1.0);
    let values = buckets.iter().map(|((lower, upper), count)| {
        let value = (*lower as f64 + place * (upper - lower) as f64) / 1e9;
        (value.min(seconds(*upper)), **count)
    });
    values.collect()
}

/// Makes the histograms, and records what they gained whenever `meter` is read.
pub(super) fn histograms(meter: &Meter) {
    let decisions = Replayed::new(
        meter,
        "iamd_decision_duration_seconds",
        "How long decisions took, from the parsed question to the decision.",
        &DECISION_BOUNDS,
    );
    let reloads = Replayed::new(
        meter,
        "iamd_store_reload_duration_seconds",
        "How long reloads of the store took, whatever came of them.",
        &RELOAD_BOUNDS,
    );
    let calls = Replayed::new(
        meter,
        "rpc.server.call.duration",
        "How long gRPC calls took, from their headers to the end of the answer.",
        &CALL_BOUNDS,
    );
    // An instrument that observes nothing is not exported. Its callback runs before histograms are read.
    meter
        .u64_observable_gauge("iamd_replay")
        .with_callback(move |_| {
            decisions.record(Vec::new(), counters().decision_durations());
            reloads.record(Vec::new(), counters().reload_durations());
            for (method, code, durations) in called() {
                let labels = vec![
                    KeyValue::new("rpc.system.name", "grpc"),
                    KeyValue::new("rpc.method", method.name()),
                    KeyValue::new("rpc.response.status_code", code),
                ];
                calls.record(labels, durations);
            }
        })
        .build();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replayed_values_keep_their_buckets_and_their_sum() {
        let histogram = |counts: [u64; 4], sum_nanos| Histogram {
            bounds: &[1_000, 10_000, 100_000],
            counts: counts.to_vec(),
            sum_nanos,
        };
        for histogram in [
            histogram([5, 0, 0, 0], 2_500),
            histogram([3, 7, 0, 0], 40_000),
            histogram([1, 0, 2, 1], 300_000),
            histogram([0, 4, 0, 0], 4_004),
            histogram([0, 0, 0, 0], 0),
        ] {
            let values = values(&histogram);
            let sum: f64 = values.iter().map(|(value, n)| value * *n as f64).sum();
            let expected = histogram.sum_nanos as f64 / 1e9;
            assert!(
                (sum - expected).abs() <= expected * 1e-9,
                "{sum} {histogram:?}"
            );
            let mut again = vec![0; histogram.counts.len()];
            for (value, n) in values {
                let bounds = histogram.bounds.iter();
                let bucket = bounds.filter(|bound| value > seconds(**bound)).count();
                if let Some(count) = again.get_mut(bucket) {
                    *count += n;
                }
            }
            assert_eq!(again, histogram.counts);
        }
    }
}
