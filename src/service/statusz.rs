//! The page `/statusz`: what an operator wants to know of a running server, as text and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::pb;
use super::status::ServerStatus;
use crate::engine::cache::Counts;
use crate::engine::decision::Reason;
use crate::state::StoreState;
use crate::telemetry::{Histogram, Protocol, counters, exported, log_level};

/// What the page shows.
#[derive(Debug)]
pub(super) struct Shown {
    /// What `Status` answers.
    pub(super) status: pb::StatusResponse,
    pub(super) store: StoreState,
    /// `loading`, `ready` or `draining`.
    pub(super) readiness: &'static str,
    pub(super) n_in_flight: usize,
    pub(super) cache: Counts,
    /// How many decisions the cache holds.
    pub(super) n_cached: u64,
    /// When the certificate expires, in seconds since 1970; 0 without TLS.
    pub(super) certificate_expiry: i64,
    /// How long the decisions of the last minute took.
    pub(super) latency: Histogram,
}

/// The quantiles that are shown, with their names.
const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p999")];

/// Returns how many decisions were allows, and how many were denies.
fn decided() -> (u64, u64) {
    let (mut allows, mut denies) = (0, 0);
    for (protocol, _) in Protocol::ALL {
        for (reason, _) in Reason::ALL {
            let n = counters().n_decided(protocol, *reason);
            if reason.is_allow() {
                allows += n;
            } else {
                denies += n;
            }
        }
    }
    (allows, denies)
}

fn at(seconds: i64) -> Option<Timestamp> {
    let time = (seconds > 0).then(|| Timestamp::from_second(seconds));
    time.and_then(Result::ok)
}

/// Writes a time by RFC 3339, as proto3 JSON does.
fn written_time(time: Option<Timestamp>) -> Option<String> {
    time.map(|time| time.to_string())
}

/// Writes the page as JSON: the members of `Status`, and more.
pub(super) fn json(shown: &Shown) -> String {
    let mut page = match serde_json::to_value(&shown.status) {
        Ok(Value::Object(members)) => members,
        _ => serde_json::Map::new(),
    };
    let (allows, denies) = decided();
    let reloads = shown.store.reloads;
    let [written, lost, queue] = counters().decision_log();
    let exports = exported().iter();
    let exports = exports.map(|(signal, to)| json!({"signal": signal, "endpoint": to}));
    let more = [
        ("readiness", json!(shown.readiness)),
        (
            "reloads",
            json!({
                "published": reloads.published,
                "unchanged": reloads.unchanged,
                "refused": reloads.refused,
                "lastAttempt": written_time(shown.store.last_attempt),
                "lastSuccess": written_time(shown.store.last_success),
                "lastSeconds": shown.store.last_duration.as_secs_f64(),
            }),
        ),
        ("decisions", json!({"allow": allows, "deny": denies})),
        ("latencyOfLastMinute", latency_json(&shown.latency)),
        (
            "requests",
            json!({"inFlight": shown.n_in_flight, "shed": counters().n_shed()}),
        ),
        (
            "cache",
            json!({
                "hits": shown.cache.hits,
                "misses": shown.cache.misses,
                "bypasses": shown.cache.bypasses,
                "entries": shown.n_cached,
            }),
        ),
        (
            "decisionLog",
            json!({"written": written, "lost": lost, "queue": queue}),
        ),
        ("log", json!({"level": log_level()})),
        ("exports", exports.collect()),
        (
            "certificateExpires",
            json!(written_time(at(shown.certificate_expiry))),
        ),
    ];
    page.extend(more.map(|(name, value)| (name.to_owned(), value)));
    let mut text = serde_json::to_string_pretty(&Value::Object(page)).unwrap_or_default();
    text.push('\n');
    text
}

fn latency_json(latency: &Histogram) -> Value {
    let quantiles: serde_json::Map<_, _> = QUANTILES
        .iter()
        .map(|(share, name)| {
            let took = latency.quantile(*share);
            let seconds = took.map(|took| took.as_secs_f64());
            ((*name).to_owned(), json!(seconds))
        })
        .collect();
    json!({"count": latency.count(), "seconds": quantiles})
}

/// Writes the page as text, one fact a line.
pub(super) fn text(shown: &Shown) -> String {
    let status = ServerStatus(shown.status.clone());
    let mut facts = of_store(shown, &status);
    facts.extend(of_process(shown));
    facts.extend(status.findings().map(|finding| ("finding", finding)));
    if status.n_left_out() > 0 {
        facts.push(("findings left out", status.n_left_out().to_string()));
    }
    let mut out = String::new();
    for (name, value) in facts {
        let _ = writeln!(out, "{name:<20} {value}"); // INVARIANT: writing to a string does not fail
    }
    out
}

/// Returns the facts of the store, each with its name.
fn of_store(shown: &Shown, status: &ServerStatus) -> Vec<(&'static str, String)> {
    let time = |time| written_time(time).unwrap_or_else(|| "never".to_owned());
    let revision = match status.revision() {
        "" => "none",
        revision => revision,
    };
    let stale = if status.is_stale() {
        "yes: the store on disk does not load, see the findings"
    } else {
        "no"
    };
    let [n_files, n_statements, n_principals] = status.counts();
    let reloads = shown.store.reloads;
    let (published, unchanged, refused) = (reloads.published, reloads.unchanged, reloads.refused);
    let last = format!(
        "tried {}, good {}, took {}",
        time(shown.store.last_attempt),
        time(shown.store.last_success),
        brief(shown.store.last_duration)
    );
    vec![
        ("version", status.version().to_owned()),
        ("started", time(status.started_at())),
        ("readiness", shown.readiness.to_owned()),
        ("store", status.store().to_owned()),
        ("revision", revision.to_owned()),
        ("in force since", time(status.loaded_at())),
        ("stale", stale.to_owned()),
        (
            "contents",
            format!("{n_files} files, {n_statements} statements, {n_principals} principals"),
        ),
        (
            "reloads",
            format!("{published} published, {unchanged} unchanged, {refused} refused"),
        ),
        ("last reload", last),
    ]
}

/// Returns the facts of the process, each with its name.
fn of_process(shown: &Shown) -> Vec<(&'static str, String)> {
    let (allows, denies) = decided();
    let (n_in_flight, n_shed) = (shown.n_in_flight, counters().n_shed());
    let [written, lost, queue] = counters().decision_log();
    let n_cached = shown.n_cached;
    let Counts {
        hits,
        misses,
        bypasses,
        ..
    } = shown.cache;
    let exports = exported().iter();
    let exports: Vec<_> = exports
        .map(|(signal, endpoint)| format!("{signal} to {endpoint}"))
        .collect();
    let exports = match exports.as_slice() {
        [] => "none".to_owned(),
        exports => exports.join(", "),
    };
    let expires = written_time(at(shown.certificate_expiry));
    vec![
        ("decisions", format!("{allows} allow, {denies} deny")),
        ("last minute", latency(&shown.latency)),
        (
            "requests",
            format!("{n_in_flight} in flight, {n_shed} shed"),
        ),
        (
            "cache",
            format!("{n_cached} entries, {hits} hits, {misses} misses, {bypasses} bypasses"),
        ),
        (
            "decision log",
            format!("{written} written, {lost} lost, {queue} waiting"),
        ),
        ("log level", log_level().to_owned()),
        ("exports", exports),
        (
            "certificate until",
            expires.unwrap_or_else(|| "no TLS".to_owned()),
        ),
    ]
}

fn latency(latency: &Histogram) -> String {
    let mut text = format!("{} decisions", latency.count());
    for (share, name) in QUANTILES {
        if let Some(took) = latency.quantile(share) {
            let _ = write!(text, ", {name} {}", brief(took));
        }
    }
    text
}

/// Writes a duration in microseconds or, if it is long, in milliseconds.
fn brief(took: Duration) -> String {
    let micros = took.as_secs_f64() * 1e6;
    if micros < 1_000.0 {
        format!("{micros:.1} us")
    } else {
        format!("{:.1} ms", micros / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_that_suits_them() {
        assert_eq!(brief(Duration::from_nanos(1_250)), "1.2 us");
        assert_eq!(brief(Duration::from_millis(12)), "12.0 ms");
    }
}
