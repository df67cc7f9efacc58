//! Log lines: to stderr, JSON where a program reads them, text where a person does.

use std::io::IsTerminal;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use crate::config::LogFormat;

/// How to log.
#[derive(Clone, Debug)]
pub struct Logging {
    /// A level or a filter, as `log_level` takes it.
    pub filter: String,
    /// How the lines look.
    pub format: LogFormat,
    /// Whether colours are welcome (`NO_COLOR`); they are used on a terminal only.
    pub colour: bool,
}

/// Starts logging, for the rest of the process. A JSON line has `timestamp` (RFC 3339, UTC), `level`, `target`,
/// `message` and the event's own fields beside them.
pub fn start(logging: &Logging) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .parse(directives(&logging.filter))
        .with_context(|| format!("`{}` is neither a log level nor a filter", logging.filter))?;
    let on_terminal = std::io::stderr().is_terminal();
    let json = match logging.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !on_terminal,
    };
    let lines = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .with_timer(SystemTime);
    let started = if json {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init()
    } else {
        lines.with_ansi(on_terminal && logging.colour).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))?;
    log_panics();
    Ok(())
}

/// A bare level is that of iamd; the libraries below it then only warn: their frames and polls would drown it.
fn directives(filter: &str) -> String {
    match filter {
        "warn" | "info" | "debug" | "trace" => format!("warn,iamd={filter}"),
        _ => filter.to_owned(),
    }
}

/// A panic is a log line like any other; the default hook would write several lines that are no JSON.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let payload = panic.payload();
        let message = payload.downcast_ref::<&str>().copied();
        let message = message
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a panic");
        tracing::error!(place, "internal error: {message}");
    }));
}
