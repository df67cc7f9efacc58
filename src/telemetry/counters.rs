//! The counters of the request path: what happened how often, and how long it took.
//!
//! ```text
//! a thread ──add──▶ its shard ─┐
//! a thread ──add──▶ its shard ─┼──sum──▶ a scrape, an export, `/statusz`
//! a thread ──add──▶ its shard ─┘
//! ```
//! To count is to add to a few numbers in memory that no other thread writes: there is no lock, no lookup by name and no
//! allocation. Whoever reads adds up the shards, which takes far longer and happens a few times a minute. A reader may
//! see a call in one number and not yet in another one.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::methods::{N_CODES, N_METHODS, RpcMethod};
use crate::engine::decision::Reason;

/// The protocol in which a question came: the label `protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The calls of `iamd.v1.AuthorizationService`.
    Grpc,
    /// Envoy's external authorization.
    ExtAuthz,
    /// OpenID AuthZEN.
    Authzen,
    /// The JSON endpoints of the HTTP listener.
    Http,
    /// The AWS API.
    Api,
}

impl Protocol {
    /// Every protocol with its label.
    pub const ALL: [(Self, &str); 5] = [
        (Self::Grpc, "grpc"),
        (Self::ExtAuthz, "ext_authz"),
        (Self::Authzen, "authzen"),
        (Self::Http, "http"),
        (Self::Api, "api"),
    ];

    /// Returns its label.
    pub fn label(self) -> &'static str {
        let found = Self::ALL.iter().find(|(protocol, _)| *protocol == self);
        found.map_or("", |(_, label)| label)
    }
}

/// The upper bounds of the durations of decisions, in nanoseconds: from 1 µs to 100 ms. A last bucket has no bound.
pub const DECISION_BOUNDS: [u64; 16] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
];

/// The upper bounds of the durations of calls, in nanoseconds: those that OpenTelemetry recommends, from 5 ms to 10 s,
/// and seven below them, because most calls take less than a millisecond.
pub const CALL_BOUNDS: [u64; 20] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
];

/// The upper bounds of the durations of reloads, in nanoseconds: from 1 ms to 30 s.
pub const RELOAD_BOUNDS: [u64; 12] = [
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// The most values of [`Reason`], whose numbers in the protocol are the indexes.
const N_REASONS: usize = 32;

/// How many shards there are: more than a server has busy threads, as a rule. Threads beyond these share.
const N_SHARDS: usize = 16;

/// A histogram that any thread may write. `N` is the number of bounds and one more.
#[derive(Debug)]
struct Buckets<const N: usize> {
    counts: [AtomicU64; N],
    sum_nanos: AtomicU64,
}

impl<const N: usize> Buckets<N> {
    const fn new() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; N],
            sum_nanos: AtomicU64::new(0),
        }
    }

    /// Adds one duration. The bounds are those of the histogram, and there is one less than `N`.
    fn add(&self, bounds: &[u64], took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = bounds.iter().take_while(|bound| nanos > **bound).count();
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
            self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
        }
    }

    fn add_to(&self, total: &mut Histogram) {
        for (total, count) in total.counts.iter_mut().zip(&self.counts) {
            *total += count.load(Ordering::Relaxed);
        }
        total.sum_nanos += u128::from(self.sum_nanos.load(Ordering::Relaxed));
    }
}

/// A histogram as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// The upper bounds of the buckets, in nanoseconds.
    pub bounds: &'static [u64],
    /// How many values each bucket has, not counting those of lower buckets. The last one has no bound.
    pub counts: Vec<u64>,
    /// The sum of all values, in nanoseconds.
    pub sum_nanos: u128,
}

impl Histogram {
    fn empty(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum_nanos: 0,
        }
    }

    /// Returns how many values there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns what was added since `before`, which was read earlier.
    pub fn since(&self, before: &Self) -> Self {
        let counts = self.counts.iter().zip(&before.counts);
        Self {
            bounds: self.bounds,
            counts: counts
                .map(|(now, before)| now.saturating_sub(*before))
                .collect(),
            sum_nanos: self.sum_nanos.saturating_sub(before.sum_nanos),
        }
    }

    /// Returns the duration below which `share` (0 to 1) of the values are, or `None` without values. Within a bucket it
    /// takes the values as evenly spread, as `histogram_quantile` of Prometheus does; above the last bound it returns that
    /// bound.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let wanted = share * count as f64;
        let mut below = 0;
        let mut lower = 0;
        for (upper, count) in self.bounds.iter().zip(&self.counts) {
            if *count > 0 && (below + count) as f64 >= wanted {
                let part = (wanted - below as f64).max(0.0) / *count as f64;
                let nanos = lower as f64 + part * (upper - lower) as f64;
                return Some(Duration::from_nanos(nanos as u64));
            }
            below += count;
            lower = *upper;
        }
        Some(Duration::from_nanos(lower))
    }
}

/// The numbers of the threads that have this shard. No two shards have a cache line in common.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    decisions: [[AtomicU64; N_REASONS]; Protocol::ALL.len()],
    decision_durations: Buckets<{ DECISION_BOUNDS.len() + 1 }>,
    call_durations: [[Buckets<{ CALL_BOUNDS.len() + 1 }>; N_CODES]; N_METHODS],
    shed: AtomicU64,
    unnamed_actions: AtomicU64,
}

impl Shard {
    const fn new() -> Self {
        Self {
            decisions: [const { [const { AtomicU64::new(0) }; N_REASONS] }; Protocol::ALL.len()],
            decision_durations: Buckets::new(),
            call_durations: [const { [const { Buckets::new() }; N_CODES] }; N_METHODS],
            shed: AtomicU64::new(0),
            unnamed_actions: AtomicU64::new(0),
        }
    }
}

/// All counters. A process has one set of them, [`counters`].
#[derive(Debug)]
pub struct Counters {
    shards: [Shard; N_SHARDS],
    /// Reloads are few, so they need no shards.
    reload_durations: Buckets<{ RELOAD_BOUNDS.len() + 1 }>,
}

/// What the decision log has done since the start. Its writers count.
#[derive(Debug, Default)]
pub struct DecisionLogCounters {
    /// The records of decisions that were handed to the system.
    pub written: AtomicU64,
    /// The decisions that were answered and whose records were lost. There are none in the mode `required`.
    pub lost: AtomicU64,
    /// The decisions that were not answered, because their records could not be written. There are some in the mode
    /// `required` only.
    pub refused: AtomicU64,
    /// The allows that sampling left out.
    pub left_out: AtomicU64,
    /// The records that wait to be written now.
    pub queued: AtomicU64,
}

// All of it begins as zero, so it takes no space in the program (800 KB), and none in memory before it is used.
static COUNTERS: Counters = Counters::new();

/// What the decision log counts, once there is one. It is apart, because an empty lock is not zero.
static DECISION_LOG: OnceLock<Arc<DecisionLogCounters>> = OnceLock::new();

/// Returns the counters of this process.
pub fn counters() -> &'static Counters {
    &COUNTERS
}

thread_local! {
    /// The shard of this thread; `usize::MAX` before it has one.
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The number of threads that have a shard.
static N_THREADS: AtomicUsize = AtomicUsize::new(0);

/// Returns the index of this thread's shard.
fn own_shard() -> usize {
    SHARD.with(|shard| {
        if shard.get() == usize::MAX {
            shard.set(N_THREADS.fetch_add(1, Ordering::Relaxed) % N_SHARDS);
        }
        shard.get()
    })
}

impl Counters {
    /// Returns counters that are all zero.
    #[expect(clippy::new_without_default, reason = "there is one, in a static")]
    pub const fn new() -> Self {
        Self {
            shards: [const { Shard::new() }; N_SHARDS],
            reload_durations: Buckets::new(),
        }
    }

    /// Lets the metrics show what a decision log counts. A process has one log.
    pub fn show_decision_log(&self, log: &Arc<DecisionLogCounters>) {
        let _ = DECISION_LOG.set(Arc::clone(log));
    }

    /// Returns how many records of the decision log were written, were lost and wait; zeros without a log.
    pub fn decision_log(&self) -> [u64; 3] {
        let Some(log) = DECISION_LOG.get() else {
            return [0; 3];
        };
        [&log.written, &log.lost, &log.queued].map(|count| count.load(Ordering::Relaxed))
    }

    /// Counts a decision that took so long.
    pub fn decided(&self, protocol: Protocol, reason: Reason, took: Duration) {
        let Some(shard) = self.shards.get(own_shard()) else {
            return;
        };
        let by_reason = shard.decisions.get(protocol as usize);
        if let Some(count) = by_reason.and_then(|counts| counts.get(reason as usize)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        shard.decision_durations.add(&DECISION_BOUNDS, took);
    }

    /// Counts a call that ended with the gRPC status `code` after so long.
    pub fn called(&self, method: RpcMethod, code: usize, took: Duration) {
        let Some(shard) = self.shards.get(own_shard()) else {
            return;
        };
        let by_code = shard.call_durations.get(method.index());
        if let Some(durations) = by_code.and_then(|codes| codes.get(code.min(N_CODES - 1))) {
            durations.add(&CALL_BOUNDS, took);
        }
    }

    /// Counts a request or a connection that was refused because there were too many.
    pub fn shed(&self) {
        if let Some(shard) = self.shards.get(own_shard()) {
            shard.shed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a question that was denied and whose action no statement names.
    pub fn unnamed_action(&self) {
        if let Some(shard) = self.shards.get(own_shard()) {
            shard.unnamed_actions.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a reload of the store that took so long, whatever came of it.
    pub fn reloaded(&self, took: Duration) {
        self.reload_durations.add(&RELOAD_BOUNDS, took);
    }

    /// Returns how many decisions had this reason.
    pub fn n_decided(&self, protocol: Protocol, reason: Reason) -> u64 {
        let counts = self.shards.iter().filter_map(|shard| {
            let by_reason = shard.decisions.get(protocol as usize)?;
            by_reason.get(reason as usize)
        });
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Returns how many requests and connections were refused because there were too many.
    pub fn n_shed(&self) -> u64 {
        let shards = self.shards.iter();
        shards.map(|shard| shard.shed.load(Ordering::Relaxed)).sum()
    }

    /// Returns how many questions were denied whose action no statement names.
    pub fn n_unnamed_actions(&self) -> u64 {
        let shards = self.shards.iter();
        let counts = shards.map(|shard| shard.unnamed_actions.load(Ordering::Relaxed));
        counts.sum()
    }

    /// Returns how long decisions took.
    pub fn decision_durations(&self) -> Histogram {
        let mut total = Histogram::empty(&DECISION_BOUNDS);
        for shard in &self.shards {
            shard.decision_durations.add_to(&mut total);
        }
        total
    }

    /// Returns how long the calls of a method took that ended with the gRPC status `code`.
    pub fn call_durations(&self, method: RpcMethod, code: usize) -> Histogram {
        let mut total = Histogram::empty(&CALL_BOUNDS);
        for shard in &self.shards {
            let by_code = shard.call_durations.get(method.index());
            if let Some(durations) = by_code.and_then(|codes| codes.get(code)) {
                durations.add_to(&mut total);
            }
        }
        total
    }

    /// Returns how long reloads took.
    pub fn reload_durations(&self) -> Histogram {
        let mut total = Histogram::empty(&RELOAD_BOUNDS);
        self.reload_durations.add_to(&mut total);
        total
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    static OWN: Counters = Counters::new();

    #[test]
    fn what_threads_count_adds_up_whichever_shards_they_have() {
        let threads: Vec<_> = (0..2 * N_SHARDS)
            .map(|_| {
                std::thread::spawn(|| {
                    for _ in 0..1_000 {
                        let took = Duration::from_micros(3);
                        OWN.decided(Protocol::Grpc, Reason::AllowIdentity, took);
                    }
                    OWN.shed();
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let n_decided = 2_000 * N_SHARDS as u64;
        let of = |protocol, reason| OWN.n_decided(protocol, reason);
        assert_eq!(of(Protocol::Grpc, Reason::AllowIdentity), n_decided);
        assert_eq!(of(Protocol::Http, Reason::AllowIdentity), 0);
        assert_eq!(of(Protocol::Grpc, Reason::AllowRoot), 0);
        assert_eq!(OWN.n_shed(), 2 * N_SHARDS as u64);
        let durations = OWN.decision_durations();
        assert_eq!(durations.count(), n_decided);
        assert_eq!(durations.sum_nanos, u128::from(n_decided) * 3_000);
    }

    #[test]
    fn every_reason_and_method_has_a_place_of_its_own() {
        static EACH: Counters = Counters::new();
        for (protocol, _) in Protocol::ALL {
            for (reason, _) in Reason::ALL {
                assert_eq!(EACH.n_decided(protocol, *reason), 0, "{reason}");
                EACH.decided(protocol, *reason, Duration::ZERO);
                assert_eq!(EACH.n_decided(protocol, *reason), 1, "{reason}");
            }
        }
        for method in RpcMethod::all() {
            for code in 0..N_CODES {
                assert_eq!(EACH.call_durations(method, code).count(), 0);
                EACH.called(method, code, Duration::ZERO);
                assert_eq!(EACH.call_durations(method, code).count(), 1);
            }
        }
    }

    #[test]
    fn a_value_at_a_bound_is_in_the_bucket_of_that_bound() {
        let buckets = Buckets::<{ DECISION_BOUNDS.len() + 1 }>::new();
        for (nanos, bucket) in [
            (0, 0),
            (1_000, 0),
            (1_001, 1),
            (100_000_000, 15),
            (u64::MAX, 16),
        ] {
            let mut before = Histogram::empty(&DECISION_BOUNDS);
            buckets.add_to(&mut before);
            buckets.add(&DECISION_BOUNDS, Duration::from_nanos(nanos));
            let mut after = Histogram::empty(&DECISION_BOUNDS);
            buckets.add_to(&mut after);
            let added = after.since(&before);
            assert_eq!(added.counts.get(bucket), Some(&1), "{nanos}");
            assert_eq!(added.count(), 1, "{nanos}");
        }
    }

    #[test]
    fn quantiles_are_those_that_prometheus_would_compute() {
        let mut histogram = Histogram::empty(&DECISION_BOUNDS);
        assert_eq!(histogram.quantile(0.5), None);
        histogram.counts = vec![0; DECISION_BOUNDS.len() + 1];
        *histogram.counts.first_mut().unwrap() = 50; // up to 1 µs
        *histogram.counts.get_mut(2).unwrap() = 50; // from 2.5 to 5 µs
        let at = |share| histogram.quantile(share).unwrap().as_nanos();
        assert_eq!(at(0.25), 500);
        assert_eq!(at(0.5), 1_000);
        assert_eq!(at(0.75), 3_750);
        assert_eq!(at(1.0), 5_000);
        *histogram.counts.last_mut().unwrap() = 1_000;
        assert_eq!(histogram.quantile(0.99), Some(Duration::from_millis(100)));
    }
}
