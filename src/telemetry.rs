//! What a server tells of itself while it runs: its log, metrics and traces.
//!
//! The log goes to stderr, as text on a terminal and as JSON lines elsewhere. Logging neither fails nor blocks, even if stderr is full, closed or not read: `queue.rs` says how.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt, reload};

use self::queue::Queue;
use crate::config::LogFormat;

mod calls;
mod counters;
mod environment;
mod methods;
mod metrics;
mod otlp;
mod queue;
mod recent;
mod records;
mod repeats;
mod replay;

pub use calls::{Call, decided, trace_id};
pub use counters::{Counters, DecisionLogCounters, Histogram, Protocol, counters};
pub use environment::Environment;
pub use methods::RpcMethod;
pub use metrics::{Metrics, Sources};
pub use opentelemetry::trace::TraceId;
pub use otlp::{Exporters, exported};
pub use recent::Recent;
pub use records::{ExportedRecord, RecordExporter};

/// The settings of the log.
#[derive(Clone, Debug)]
pub struct Logging {
    /// A level or a filter, as `log_level` takes it.
    pub filter: String,
    /// The form of the lines.
    pub format: LogFormat,
    /// Whether colours are allowed (`NO_COLOR`). They are used only on a terminal.
    pub colour: bool,
}

/// The queue of this process, once logging has started.
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// The level of the log, once logging has started.
static LEVEL: OnceLock<Level> = OnceLock::new();

/// Which lines are logged, and how that is changed.
#[derive(Debug)]
struct Level {
    handle: reload::Handle<Targets, Registry>,
    /// What the setting says.
    configured: String,
    is_debug: AtomicBool,
}

/// Starts logging, for the rest of the process. A JSON line has `timestamp` (RFC 3339, UTC), `level`, `target`,
/// `message` and the event's own fields. It also has `repeated` if it stands for several equal lines. The lines of iamd
/// itself also go to `exporters`, if those export them.
pub fn start(logging: &Logging, exporters: &Exporters) -> anyhow::Result<()> {
    let (filter, handle) = reload::Layer::new(filter(&logging.filter)?);
    let on_terminal = std::io::stderr().is_terminal();
    let is_json = match logging.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !on_terminal,
    };
    let queue = Queue::start(is_json).context("logging cannot start")?;
    // The writer adds the time, so that equal lines are equal bytes here and repeats are found.
    let lines = fmt::layer().with_writer(queue.clone()).without_time();
    let lines = if is_json {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed()
    } else {
        lines.with_ansi(on_terminal && logging.colour).boxed()
    };
    // Lines about the export itself are not exported, or each failure would make the next one.
    let exported = exporters.logs().map(|logs| {
        let is_own = filter_fn(|line| line.target().starts_with("iamd"));
        OpenTelemetryTracingBridge::new(logs).with_filter(is_own)
    });
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .with(exported);
    subscriber.try_init().context("logging cannot start")?;
    log_panics(queue.clone(), is_json);
    // These cannot be the second ones: `try_init` fails on a second start.
    let _ = QUEUE.set(queue);
    let _ = LEVEL.set(Level {
        handle,
        configured: logging.filter.clone(),
        is_debug: AtomicBool::new(false),
    });
    Ok(())
}

/// Raises the level of the log to `debug`, or restores the setting if it was raised.
pub fn toggle_debug() {
    let Some(level) = LEVEL.get() else { return };
    let is_debug = !level.is_debug.fetch_xor(true, Ordering::Relaxed);
    let wanted = if is_debug { "debug" } else { &level.configured };
    let changed = filter(wanted).and_then(|filter| Ok(level.handle.reload(filter)?));
    match changed {
        Ok(()) => tracing::info!(log_level = wanted, "the log level is changed"),
        Err(error) => tracing::warn!(id = "setting-ignored", "the log level stays: {error:#}"),
    }
}

/// Returns the level of the log, or the filter, as it is now; the empty text before logging has started.
pub fn log_level() -> &'static str {
    match LEVEL.get() {
        Some(level) if level.is_debug.load(Ordering::Relaxed) => "debug",
        Some(level) => &level.configured,
        None => "",
    }
}

/// Returns the filter of a setting.
fn filter(setting: &str) -> anyhow::Result<Targets> {
    let directives = directives(setting);
    // An empty part would be read as `error` for everything, so that `info,` would silence the log.
    let directives = directives.split(',').map(str::trim);
    let directives: Vec<_> = directives.filter(|text| !text.is_empty()).collect();
    // What else `Targets` reads, such as the fields of a span, would select nothing here.
    let is_plain = |text: &&&str| {
        let (target, level) = text.split_once('=').unwrap_or((text, "info"));
        let is_of_target = |byte: u8| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte);
        !level.is_empty() && target.bytes().all(is_of_target)
    };
    if let Some(other) = directives.iter().find(|text| !is_plain(text)) {
        bail!("`{other}` is neither a log level nor of the form TARGET=LEVEL");
    }
    directives
        .join(",")
        .parse::<Targets>()
        .with_context(|| format!("`{setting}` is neither a log level nor a filter"))
}

/// Waits until all log lines are written, for `patience` at most.
pub fn flush(patience: Duration) {
    if let Some(queue) = QUEUE.get() {
        queue.flush(patience);
    }
}

/// Returns the filter for a setting. A bare level applies to iamd. The libraries then log only warnings, since their
/// lines about frames and polls would hide iamd's own. The transport libraries log only errors, since a peer could
/// otherwise make them write a line for each connection. `notify` logs only errors, since each swap of a link removes a
/// watched folder.
fn directives(filter: &str) -> String {
    match filter {
        "warn" | "info" | "debug" | "trace" => {
            format!(
                "warn,h2=error,hyper=error,hyper_util=error,tonic=error,notify=error,iamd={filter}"
            )
        }
        _ => filter.to_owned(),
    }
}

/// The longest text from outside in a log line, in bytes; the rest is cut off.
const MAX_TEXT_BYTES: usize = 1_024;

/// Logs a panic as one line like any other; the default hook would write several lines that are not JSON. The hook uses
/// no code that can panic, since a panic inside the hook would end the process.
fn log_panics(queue: Queue, is_json: bool) {
    std::panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let message = payload.downcast_ref::<&str>().copied();
        let message = message
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a panic");
        let message = format!("internal error: {}", clipped(message));
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let line = if is_json {
            format!(
                "{{\"level\":\"ERROR\",\"target\":\"iamd::telemetry\",\"id\":\"internal-error\",\"message\":{},\"place\":{}}}\n",
                quoted(&message),
                quoted(&place)
            )
        } else {
            format!(
                "ERROR iamd::telemetry: {} id=\"internal-error\" place={place}\n",
                message.escape_debug()
            )
        };
        queue.push(line.as_bytes());
    }));
}

/// Returns `text` as a JSON string. It is written by hand, so that no step can fail.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Returns `text`, or its beginning if it is too long for a log line.
pub fn clipped(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Returns whole microseconds, as an integer type that stays a number in a log line.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_filter_has_a_level_for_each_target() {
        for (setting, of_store, of_others) in [
            ("info", Level::INFO, None),
            ("debug,", Level::DEBUG, Some(Level::DEBUG)),
            (" info , iamd::store=debug", Level::DEBUG, Some(Level::INFO)),
            ("warn,iamd::store=trace", Level::TRACE, Some(Level::WARN)),
        ] {
            let shows = |target: &str, level| {
                let filter = filter(setting).ok();
                filter.is_some_and(|filter| filter.would_enable(target, &level))
            };
            assert!(shows("iamd::store", of_store), "{setting}");
            let others = [Level::DEBUG, Level::INFO, Level::WARN];
            let shown = others.into_iter().find(|level| shows("other", *level));
            assert_eq!(shown, of_others.or(Some(Level::WARN)), "{setting}");
        }
        for bad in [
            "iamd=inof",
            "iamd=",
            "iamd[call]=debug",
            "iamd =debug",
            "a=b=info",
        ] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_text_from_outside_is_cut_before_it_is_too_long() {
        for (n_bytes, kept) in [(0, 0), (1_023, 1_023), (1_024, 1_024), (1_025, 1_024)] {
            assert_eq!(clipped(&"x".repeat(n_bytes)).len(), kept, "{n_bytes}");
        }
        assert_eq!(clipped(&"x".repeat(1 << 20)), "x".repeat(1_024));
        // The cut is never inside a character of two or four bytes.
        assert_eq!(clipped(&format!("x{}", "é".repeat(600))).len(), 1_023);
        for beginning in ["", "x", "xx", "xxx"] {
            let long = format!("{beginning}{}", "🦀".repeat(300));
            let cut = clipped(&long);
            assert!(long.starts_with(cut) && (1_021..=1_024).contains(&cut.len()));
        }
    }
}
