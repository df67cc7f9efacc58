//! The metrics: what `/metrics` shows and what is exported. `docs/metrics.md` lists them, and a test holds the two
//! together.
//!
//! ```text
//! counters, Live, SharedState ──callbacks──▶ OpenTelemetry instruments ──▶ Prometheus text, OTLP
//!                             └─histograms─▶ Prometheus families ────────▶ Prometheus text
//! ```
//! Nothing is counted here. An instrument asks for its value when somebody reads it. OpenTelemetry has no instrument of
//! this kind for histograms, so those go to Prometheus directly, and to OTLP as `replay.rs` says.

use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider as _, ObservableGauge};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, LabelPair, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};

use super::counters::{Histogram, Protocol, counters};
use super::methods::{CODES, RpcMethod};
use crate::engine::decision::Reason;
use crate::engine::live::Live;
use crate::language::finding::Finding;
use crate::state::{SharedState, StoreState};

/// What the metrics read besides the counters.
#[derive(Clone)]
pub struct Sources {
    /// The snapshot in force with its cache.
    pub live: Arc<Live>,
    /// The state of the store.
    pub state: Arc<SharedState>,
    /// Returns the number of calls in flight.
    pub in_flight: Arc<dyn Fn() -> usize + Send + Sync>,
    /// Returns the time at which the server's certificate expires, in seconds since 1970; 0 without TLS.
    pub certificate_expiry: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// The name of the instruments' scope.
pub(super) const SCOPE: &str = "iamd";

/// The metrics of a server, for Prometheus.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Keeps the instruments alive.
    _provider: SdkMeterProvider,
}

impl Metrics {
    /// Registers every metric.
    pub fn new(sources: &Sources) -> anyhow::Result<Self> {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            // The names are those of Prometheus already, and its labels are only those of the metric.
            .without_units()
            .without_counter_suffixes()
            .scope_info_enabled(false)
            .without_target_info()
            .build()
            .context("the metrics cannot be registered")?;
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        instruments(&provider.meter(SCOPE), sources);
        registry
            .register(Box::new(Histograms::new()?))
            .context("the histograms cannot be registered")?;
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry
            .register(Box::new(process))
            .context("the metrics of the process cannot be registered")?;
        Ok(Self {
            registry,
            _provider: provider,
        })
    }

    /// Returns the metrics in the text format of Prometheus, whose content type is [`prometheus::TEXT_FORMAT`].
    pub fn render(&self) -> anyhow::Result<String> {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .context("the metrics cannot be written")
    }
}

/// Makes the instruments that read the counters and the state.
pub(super) fn instruments(meter: &Meter, sources: &Sources) {
    decisions(meter);
    cache(meter, &sources.live);
    store(meter, &sources.state);
    requests(meter, sources);
    decision_log(meter);
}

fn decisions(meter: &Meter) {
    let mut series = Vec::new();
    for (protocol, protocol_label) in Protocol::ALL {
        for (reason, label) in Reason::ALL {
            let decision = if reason.is_allow() { "allow" } else { "deny" };
            let labels = [
                KeyValue::new("decision", decision),
                KeyValue::new("reason", label.to_ascii_lowercase()),
                KeyValue::new("protocol", protocol_label),
            ];
            series.push((protocol, *reason, labels));
        }
    }
    meter
        .u64_observable_counter("iamd_decisions_total")
        .with_unit("{decision}")
        .with_description("Decisions, by their reason and the protocol of the question.")
        .with_callback(move |observer| {
            for (protocol, reason, labels) in &series {
                observer.observe(counters().n_decided(*protocol, *reason), labels);
            }
        })
        .build();
}

fn cache(meter: &Meter, live: &Arc<Live>) {
    type Count = fn(&Live) -> u64;
    let counts: [(_, _, Count); 3] = [
        (
            "iamd_cache_hits_total",
            "Questions whose decision the decision cache had.",
            |live| live.cache_counts().hits,
        ),
        (
            "iamd_cache_misses_total",
            "Questions that were looked up in the decision cache and were not there.",
            |live| live.cache_counts().misses,
        ),
        (
            "iamd_cache_bypasses_total",
            "Questions that are expensive enough for the decision cache but were not looked up.",
            |live| live.cache_counts().bypasses,
        ),
    ];
    for (name, help, count) in counts {
        let live = Arc::clone(live);
        meter
            .u64_observable_counter(name)
            .with_unit("{question}")
            .with_description(help)
            .with_callback(move |observer| observer.observe(count(&live), &[]))
            .build();
    }
    let live = Arc::clone(live);
    meter
        .u64_observable_gauge("iamd_cache_entries")
        .with_unit("{decision}")
        .with_description("Decisions in the decision cache of the revision in force.")
        .with_callback(move |observer| {
            let generation = live.load_full();
            observer.observe(generation.map_or(0, |one| one.n_cached()), &[]);
        })
        .build();
}

fn store(meter: &Meter, state: &Arc<SharedState>) {
    of_state(
        meter,
        state,
        "iamd_store_stale",
        "1",
        "1 if the store on disk does not load, so that an older revision is in force; else 0.",
        |state| f64::from(u8::from(state.is_stale)),
    );
    of_state(
        meter,
        state,
        "iamd_store_last_success_timestamp_seconds",
        "s",
        "When the store last loaded without an error, in seconds since 1970; 0 before that.",
        |state| {
            let last = state.last_success.as_ref();
            last.map_or(0.0, |time| time.as_millisecond() as f64 / 1e3)
        },
    );
    of_state(
        meter,
        state,
        "iamd_store_files",
        "{file}",
        "Files of the revision in force.",
        |state| counted(state.in_force.as_ref().map(|one| one.n_files)),
    );
    of_state(
        meter,
        state,
        "iamd_store_statements",
        "{statement}",
        "Statements of the revision in force.",
        |state| counted(state.in_force.as_ref().map(|one| one.n_statements)),
    );
    of_state(
        meter,
        state,
        "iamd_store_principals",
        "{principal}",
        "Users and roles of the revision in force.",
        |state| counted(state.in_force.as_ref().map(|one| one.n_principals)),
    );
    reloads(meter, state);
    findings(meter, state);
    let state = Arc::clone(state);
    meter
        .u64_observable_gauge("iamd_store_info")
        .with_unit("1")
        .with_description(
            "Always 1; the label names the revision in force, and is empty before the first.",
        )
        .with_callback(move |observer| {
            let revision = state.now().revision().to_owned();
            observer.observe(1, &[KeyValue::new("revision", revision)]);
        })
        .build();
}

fn counted(n: Option<usize>) -> f64 {
    n.unwrap_or_default() as f64
}

/// Makes a gauge of one number of the store's state.
fn of_state(
    meter: &Meter,
    state: &Arc<SharedState>,
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    value: fn(&StoreState) -> f64,
) -> ObservableGauge<f64> {
    let state = Arc::clone(state);
    meter
        .f64_observable_gauge(name)
        .with_unit(unit)
        .with_description(help)
        .with_callback(move |observer| observer.observe(value(&state.now()), &[]))
        .build()
}

fn reloads(meter: &Meter, state: &Arc<SharedState>) {
    let state = Arc::clone(state);
    meter
        .u64_observable_counter("iamd_store_reloads_total")
        .with_unit("{reload}")
        .with_description(
            "Reloads of the store: a new revision (published), the same one (unchanged), or one that does not load (refused).",
        )
        .with_callback(move |observer| {
            let reloads = state.now().reloads;
            for (result, n) in [
                ("published", reloads.published),
                ("unchanged", reloads.unchanged),
                ("refused", reloads.refused),
            ] {
                observer.observe(n, &[KeyValue::new("result", result)]);
            }
        })
        .build();
}

fn findings(meter: &Meter, state: &Arc<SharedState>) {
    let state = Arc::clone(state);
    meter
        .u64_observable_gauge("iamd_store_findings")
        .with_unit("{finding}")
        .with_description("Findings of the last load of the store.")
        .with_callback(move |observer| {
            let findings = state.now().findings;
            let n_errors = findings.iter().filter(|one| Finding::is_error(one)).count();
            for (severity, n) in [("error", n_errors), ("warning", findings.len() - n_errors)] {
                observer.observe(n as u64, &[KeyValue::new("severity", severity)]);
            }
        })
        .build();
}

fn requests(meter: &Meter, sources: &Sources) {
    let in_flight = Arc::clone(&sources.in_flight);
    meter
        .u64_observable_gauge("iamd_requests_in_flight")
        .with_unit("{call}")
        .with_description("Calls that wait for their answer.")
        .with_callback(move |observer| observer.observe(in_flight() as u64, &[]))
        .build();
    meter
        .u64_observable_counter("iamd_requests_shed_total")
        .with_unit("{request}")
        .with_description("Requests and connections that were refused because there were too many.")
        .with_callback(|observer| observer.observe(counters().n_shed(), &[]))
        .build();
    meter
        .u64_observable_counter("iamd_unnamed_actions_total")
        .with_unit("{question}")
        .with_description(
            "Questions that nothing allowed and whose action no statement of the store names, other than by `*`.",
        )
        .with_callback(|observer| observer.observe(counters().n_unnamed_actions(), &[]))
        .build();
    let expiry = Arc::clone(&sources.certificate_expiry);
    meter
        .i64_observable_gauge("iamd_tls_certificate_expiry_timestamp_seconds")
        .with_unit("s")
        .with_description(
            "When the server's certificate expires, in seconds since 1970; 0 without TLS.",
        )
        .with_callback(move |observer| observer.observe(expiry(), &[]))
        .build();
    meter
        .u64_observable_gauge("iamd_build_info")
        .with_unit("1")
        .with_description("Always 1; the label names the version of iamd.")
        .with_callback(|observer| {
            observer.observe(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
        })
        .build();
}

fn decision_log(meter: &Meter) {
    for (name, help, at) in [
        (
            "iamd_decision_log_written_total",
            "Records of the decision log that were written.",
            0,
        ),
        (
            "iamd_decision_log_lost_total",
            "Records of the decision log that were lost.",
            1,
        ),
    ] {
        let count = move || counters().decision_log().get(at).copied().unwrap_or(0);
        meter
            .u64_observable_counter(name)
            .with_unit("{record}")
            .with_description(help)
            .with_callback(move |observer| observer.observe(count(), &[]))
            .build();
    }
    meter
        .u64_observable_gauge("iamd_decision_log_queue")
        .with_unit("{record}")
        .with_description("Records of the decision log that wait to be written.")
        .with_callback(|observer| {
            let [_, _, queued] = counters().decision_log();
            observer.observe(queued, &[]);
        })
        .build();
}

/// The histograms, as families of Prometheus.
struct Histograms {
    descriptions: [Desc; 3],
}

const DECISION_DURATION: (&str, &str) = (
    "iamd_decision_duration_seconds",
    "How long decisions took, from the parsed question to the decision.",
);
const RELOAD_DURATION: (&str, &str) = (
    "iamd_store_reload_duration_seconds",
    "How long reloads of the store took, whatever came of them.",
);
const CALL_DURATION: (&str, &str) = (
    "rpc_server_call_duration_seconds",
    "How long gRPC calls took, from their headers to the end of the answer.",
);

impl Histograms {
    fn new() -> anyhow::Result<Self> {
        let describe = |(name, help): (&str, &str), labels: &[&str]| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(name.to_owned(), help.to_owned(), labels, Default::default())
                .context("a histogram cannot be described")
        };
        let of_calls = ["rpc_method", "rpc_response_status_code", "rpc_system_name"];
        Ok(Self {
            descriptions: [
                describe(DECISION_DURATION, &[])?,
                describe(RELOAD_DURATION, &[])?,
                describe(CALL_DURATION, &of_calls)?,
            ],
        })
    }
}

impl Collector for Histograms {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let counters = counters();
        let calls: Vec<_> = called()
            .map(|(method, code, durations)| {
                let labels = vec![
                    label("rpc_method", method.name()),
                    label("rpc_response_status_code", code),
                    label("rpc_system_name", "grpc"),
                ];
                metric(&durations, labels)
            })
            .collect();
        let one = |durations: Histogram| vec![metric(&durations, Vec::new())];
        let mut families = vec![
            family(DECISION_DURATION, one(counters.decision_durations())),
            family(RELOAD_DURATION, one(counters.reload_durations())),
        ];
        if !calls.is_empty() {
            families.push(family(CALL_DURATION, calls));
        }
        families
    }
}

/// Returns the durations of each method and status that has had a call.
pub(super) fn called() -> impl Iterator<Item = (RpcMethod, &'static str, Histogram)> {
    RpcMethod::all().flat_map(|method| {
        CODES.iter().enumerate().filter_map(move |(code, name)| {
            let durations = counters().call_durations(method, code);
            (durations.count() > 0).then_some((method, *name, durations))
        })
    })
}

fn family((name, help): (&str, &str), metrics: Vec<prometheus::proto::Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(MetricType::HISTOGRAM);
    family.set_metric(metrics);
    family
}

fn metric(durations: &Histogram, labels: Vec<LabelPair>) -> prometheus::proto::Metric {
    let mut below = 0;
    let buckets = durations.bounds.iter().zip(&durations.counts);
    let buckets = buckets.map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound as f64 / 1e9);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = prometheus::proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(durations.count());
    histogram.set_sample_sum(durations.sum_nanos as f64 / 1e9);
    let mut metric = prometheus::proto::Metric::default();
    metric.set_label(labels);
    metric.set_histogram(histogram);
    metric
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}
