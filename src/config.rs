//! Every option of `iamd serve`: its type, default and reason; and the limits that requests are held to.
//!
//! A setting `a_b` is the flag `--a-b`, the variable `IAMD_A_B` and the key `a_b` of the configuration file, in
//! this order of precedence:
//! ```text
//! flag ──▶ variable ──▶ file ──▶ default
//! ```
//! All four are texts until [`Config::resolve`] reads them, so each setting is read by one parser, and an error can
//! name the place that the text came from. No setting can change a decision: what can is in the store.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};

use crate::language::finding::did_you_mean;

mod address;
mod fixed;

pub use address::Address;
pub use fixed::*;

/// Where a store is looked for when nobody says.
pub const DEFAULT_STORE: &str = "policies";

/// Where a running server is looked for when nobody says.
pub const DEFAULT_SERVER: &str = "127.0.0.1:50051";

/// The keys whose values explanations do not show if nobody says: the secret that a third party is told by (S-11).
pub const REDACT_KEYS: &str = "sts:ExternalId";

/// The effective settings of `iamd serve`.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is described in `SETTINGS`")]
pub struct Config {
    pub store: PathBuf,
    pub listen: Vec<Address>,
    pub insecure_plaintext: bool,
    pub drain_timeout: Duration,
    pub default_deadline: Duration,
    pub log_level: String,
    pub log_format: LogFormat,
    pub worker_threads: Option<usize>,
    pub max_message_bytes: usize,
    pub limits: Limits,
    pub redact_keys: Vec<String>,
    pub max_streams_per_connection: u32,
    pub max_connections: usize,
    pub socket_mode: u32,
    pub session_policy_cache_bytes: usize,
    pub decision_cache: DecisionCache,
    pub decision_cache_bytes: usize,
}

/// One setting, as the help, the variables and the configuration file know it.
#[derive(Debug)]
pub struct Setting {
    /// `drain_timeout`.
    pub key: &'static str,
    /// What its value looks like: `ADDR`.
    pub value: &'static str,
    /// The default as one would write it.
    pub default: &'static str,
    /// One sentence for the help.
    pub help: &'static str,
}

const fn setting(
    key: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting {
        key,
        value,
        default,
        help,
    }
}

impl Setting {
    /// Whether it takes several values: the flag again, commas in the variable, a list in the file.
    pub fn is_list(&self) -> bool {
        matches!(self.key, "listen" | "redact_keys")
    }
}

/// Every setting. Those without a value to show are switches.
pub const SETTINGS: &[Setting] = &[
    setting("store", "DIR", DEFAULT_STORE, "The policy store"),
    setting(
        "listen",
        "ADDR",
        DEFAULT_SERVER,
        "Address for gRPC: IP:PORT (port 0: chosen by the system and logged) or unix:/path; may be repeated",
    ),
    setting(
        "insecure_plaintext",
        "",
        "false",
        "Listen without encryption beyond loopback and Unix sockets: anybody on the path can read and change answers",
    ),
    setting(
        "drain_timeout",
        "DURATION",
        "5s",
        "How long calls in flight may take to end after SIGTERM",
    ),
    setting(
        "default_deadline",
        "DURATION",
        "1s",
        "When an Authorize call ends whose client set no deadline",
    ),
    setting(
        "log_level",
        "LEVEL",
        "info",
        "error, warn, info, debug or trace, or a filter such as `info,iamd::store=debug`",
    ),
    setting(
        "log_format",
        "FORMAT",
        "auto",
        "auto, json or text; auto is text on a terminal and JSON lines elsewhere",
    ),
    setting(
        "worker_threads",
        "N",
        "auto",
        "Threads that answer calls; auto is one per available processor",
    ),
    setting(
        "max_message_bytes",
        "SIZE",
        "4MiB",
        "The longest message; a longer one is OUT_OF_RANGE",
    ),
    setting(
        "max_question_bytes",
        "SIZE",
        "64KiB",
        "The longest question; a longer one is INVALID_ARGUMENT",
    ),
    setting(
        "max_context_entries",
        "N",
        "256",
        "Entries of one question's context, tags or claims",
    ),
    setting(
        "max_list_values",
        "N",
        "1024",
        "Values of one list in a question",
    ),
    setting(
        "max_string_bytes",
        "SIZE",
        "16KiB",
        "The longest string in a question",
    ),
    setting(
        "redact_keys",
        "KEY",
        REDACT_KEYS,
        "Context key whose values explanations do not show, or all that begin so: `aws:RequestTag/*`; may be repeated; `none`: show all",
    ),
    setting(
        "max_streams_per_connection",
        "N",
        "100",
        "Calls in flight on one connection",
    ),
    setting(
        "max_connections",
        "N",
        "1024",
        "Open connections; those beyond are closed at once",
    ),
    setting(
        "socket_mode",
        "MODE",
        "0660",
        "Who may connect to a Unix socket: the octal mode of its file",
    ),
    setting(
        "session_policy_cache_bytes",
        "SIZE",
        "8MiB",
        "Memory for session policies that were compiled before",
    ),
    setting(
        "decision_cache",
        "MODE",
        "auto",
        "off, auto or always; auto looks decisions up where evaluating costs more and questions repeat",
    ),
    setting(
        "decision_cache_bytes",
        "SIZE",
        "8MiB",
        "Memory for decisions that were made before",
    ),
];

/// Where a setting's value was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// On the command line.
    Flag,
    /// In the variable of this name.
    Variable(String),
    /// In the configuration file.
    File,
    /// Nowhere.
    Default,
}

/// The texts of settings, by key; a list has several.
pub type Layer = BTreeMap<String, Vec<String>>;

/// A configuration, and what its user should be told about it.
#[derive(Debug)]
pub struct Resolved {
    /// The settings.
    pub config: Config,
    /// Where each setting came from.
    pub sources: BTreeMap<&'static str, Source>,
    /// Variables that look like settings and are none.
    pub warnings: Vec<String>,
}

impl Config {
    /// Puts the layers over each other and reads every setting. `variables` are those of the process; only `IAMD_*`
    /// are looked at. `file` is the configuration file's name and text.
    pub fn resolve(
        flags: &Layer,
        variables: impl IntoIterator<Item = (String, String)>,
        file: Option<(&str, &str)>,
    ) -> anyhow::Result<Resolved> {
        let (variables, warnings) = variable_layer(variables);
        let file = match file {
            Some((name, text)) => {
                file_layer(text).with_context(|| format!("the configuration file `{name}`"))?
            }
            None => Layer::new(),
        };
        let mut sources = BTreeMap::new();
        let mut texts = BTreeMap::new();
        for setting in SETTINGS {
            let (source, values) = if let Some(values) = flags.get(setting.key) {
                (Source::Flag, values.clone())
            } else if let Some((name, value)) = variables.get(setting.key) {
                let is_list = setting.is_list();
                let split = value
                    .split(',')
                    .map(|part| part.trim().to_owned())
                    .collect();
                (
                    Source::Variable(name.clone()),
                    if is_list { split } else { vec![value.clone()] },
                )
            } else if let Some(values) = file.get(setting.key) {
                (Source::File, values.clone())
            } else {
                (Source::Default, vec![setting.default.to_owned()])
            };
            sources.insert(setting.key, source);
            texts.insert(setting.key, values);
        }
        let texts = Texts {
            texts,
            sources: &sources,
        };
        let config = Self {
            store: texts.read("store", |text| Ok(PathBuf::from(text)))?,
            listen: texts.read_all("listen", Address::from_str)?,
            insecure_plaintext: texts.read("insecure_plaintext", switch)?,
            drain_timeout: texts.read("drain_timeout", duration)?,
            default_deadline: texts.read("default_deadline", duration)?,
            log_level: texts.read("log_level", log_filter)?,
            log_format: texts.read("log_format", LogFormat::from_str)?,
            worker_threads: texts.read("worker_threads", |text| match text {
                "auto" => Ok(None),
                _ => at_most(MAX_WORKER_THREADS, text).map(Some),
            })?,
            max_message_bytes: texts.read("max_message_bytes", size)?,
            limits: Limits {
                max_question_bytes: texts.read("max_question_bytes", size)?,
                max_context_entries: texts.read("max_context_entries", count)?,
                max_list_values: texts.read("max_list_values", count)?,
                max_string_bytes: texts.read("max_string_bytes", size)?,
            },
            redact_keys: redact_keys(texts.read_all("redact_keys", |key| Ok(key.to_owned()))?),
            max_streams_per_connection: texts.read("max_streams_per_connection", |text| {
                u32::try_from(count(text)?).context("is too large")
            })?,
            max_connections: texts
                .read("max_connections", |text| at_most(MAX_MAX_CONNECTIONS, text))?,
            socket_mode: texts.read("socket_mode", mode)?,
            session_policy_cache_bytes: texts.read("session_policy_cache_bytes", size)?,
            decision_cache: texts.read("decision_cache", DecisionCache::from_str)?,
            decision_cache_bytes: texts.read("decision_cache_bytes", size)?,
        };
        config.check()?;
        Ok(Resolved {
            config,
            sources,
            warnings,
        })
    }

    /// What no single setting can tell.
    fn check(&self) -> anyhow::Result<()> {
        let open = self.listen.iter().find(|address| !address.is_local());
        if let Some(address) = open
            && !self.insecure_plaintext
        {
            bail!(
                "cannot listen on `{address}` without encryption: listen on loopback or a Unix socket, or write \
                 `--insecure-plaintext` to accept that anybody on the path can read and change answers"
            );
        }
        Ok(())
    }
}

/// The variable of a setting: `IAMD_DRAIN_TIMEOUT` for `drain_timeout`.
pub fn variable(key: &str) -> String {
    format!("IAMD_{}", key.to_ascii_uppercase())
}

/// The flag of a setting, without the dashes: `drain-timeout` for `drain_timeout`.
pub fn flag(key: &str) -> String {
    key.replace('_', "-")
}

/// The values of the `IAMD_*` variables by key, each with the variable's name; and a warning for each that is no setting.
fn variable_layer(
    variables: impl IntoIterator<Item = (String, String)>,
) -> (BTreeMap<&'static str, (String, String)>, Vec<String>) {
    let mut layer = BTreeMap::new();
    let mut warnings = Vec::new();
    let mut log = None;
    let mut n_of_kubernetes = 0;
    for (name, value) in variables {
        if !name.starts_with("IAMD_") || name == "IAMD_CONFIG" {
            continue;
        }
        if name == "IAMD_LOG" {
            log = Some((name, value));
        } else if is_of_kubernetes(&name) {
            n_of_kubernetes += 1;
        } else if let Some(setting) = SETTINGS
            .iter()
            .find(|setting| variable(setting.key) == name)
        {
            layer.insert(setting.key, (name, value));
        } else {
            let known: Vec<String> = SETTINGS
                .iter()
                .map(|setting| variable(setting.key))
                .collect();
            let guess = did_you_mean(&name, known.iter().map(String::as_str));
            let guess = guess.map(|guess| format!(": {guess}")).unwrap_or_default();
            warnings.push(format!(
                "the variable `{name}` is no setting of iamd and is ignored{guess}"
            ));
        }
    }
    if let Some(log) = log {
        layer.entry("log_level").or_insert(log); // the short name that Rust programs often have
    }
    warnings.sort();
    if n_of_kubernetes > 0 {
        warnings.push(format!(
            "{n_of_kubernetes} variables such as `IAMD_SERVICE_HOST` are those that Kubernetes sets for a service called \
             `iamd`, and are ignored"
        ));
    }
    (layer, warnings)
}

/// Whether Kubernetes sets a variable of this name for each container beside a service called `iamd`.
fn is_of_kubernetes(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let Some(rest) = name.strip_prefix("IAMD_") else {
        return false;
    };
    // IAMD_PORT, IAMD_PORT_50051_TCP, IAMD_PORT_50051_TCP_ADDR
    let mut words = rest.split('_');
    match (words.next(), words.next()) {
        (Some("SERVICE"), Some("HOST" | "PORT")) => true,
        (Some("PORT"), None) => true,
        (Some("PORT"), Some(port)) => {
            is_number(port) && matches!(words.next(), Some("TCP" | "UDP" | "SCTP"))
        }
        _ => false,
    }
}

/// Reads a configuration file: a flat YAML mapping from keys to scalars or lists of them.
fn file_layer(text: &str) -> anyhow::Result<Layer> {
    if text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    {
        return Ok(Layer::new());
    }
    let read: BTreeMap<String, Scalars> = serde_saphyr::from_str(text)
        .map_err(|error| anyhow!("not a flat YAML mapping: {}", one_line(&error)))?;
    let mut layer = Layer::new();
    for (key, Scalars(values)) in read {
        if !SETTINGS.iter().any(|setting| setting.key == key) {
            let guess = did_you_mean(&key, SETTINGS.iter().map(|setting| setting.key));
            let guess = guess.map(|guess| format!(": {guess}")).unwrap_or_default();
            bail!("unknown key `{key}`{guess}");
        }
        layer.insert(key, values);
    }
    Ok(layer)
}

/// The YAML reader draws the place under its message; the first line says it all.
fn one_line(error: &impl fmt::Display) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The texts of all settings, read one by one.
struct Texts<'s> {
    texts: BTreeMap<&'static str, Vec<String>>,
    sources: &'s BTreeMap<&'static str, Source>,
}

impl Texts<'_> {
    fn read_all<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> anyhow::Result<T>,
    ) -> anyhow::Result<Vec<T>> {
        let place = match self.sources.get(key) {
            Some(Source::Flag) => format!("`--{}`", flag(key)),
            Some(Source::Variable(name)) => format!("the variable `{name}`"),
            _ => format!("the key `{key}` of the configuration file"),
        };
        let texts = self.texts.get(key).map(Vec::as_slice).unwrap_or_default();
        if texts.is_empty() {
            bail!("{place} is empty");
        }
        texts
            .iter()
            .map(|text| parse(text).with_context(|| format!("{place}: `{text}`")))
            .collect()
    }

    fn read<T>(&self, key: &str, parse: impl Fn(&str) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let mut values = self.read_all(key, parse)?;
        match (values.pop(), values.is_empty()) {
            (Some(value), true) => Ok(value),
            _ => bail!("`{key}` takes one value, not a list"),
        }
    }
}

fn switch(text: &str) -> anyhow::Result<bool> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => bail!("must be `true` or `false`"),
    }
}

/// `none` alone hides nothing.
pub fn redact_keys(keys: Vec<String>) -> Vec<String> {
    match keys.as_slice() {
        [none] if none == "none" => Vec::new(),
        _ => keys,
    }
}

fn count(text: &str) -> anyhow::Result<usize> {
    match text.parse() {
        Ok(0) | Err(_) => bail!("must be a whole number of at least 1"),
        Ok(number) => Ok(number),
    }
}

/// The mode of a file: `0660`.
fn mode(text: &str) -> anyhow::Result<u32> {
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if is_octal && mode <= 0o777 => Ok(mode),
        _ => bail!("must be an octal mode of three digits, such as `0660`"),
    }
}

/// A count that the system can bear.
fn at_most(most: usize, text: &str) -> anyhow::Result<usize> {
    match count(text)? {
        number if number > most => bail!("must be at most {most}"),
        number => Ok(number),
    }
}

/// A level, or a filter: a word that is no level would be a filter too, one that lets nothing through.
fn log_filter(text: &str) -> anyhow::Result<String> {
    let is_level = ["error", "warn", "info", "debug", "trace"].contains(&text);
    if !is_level && !text.contains(['=', ',']) {
        bail!(
            "must be error, warn, info, debug or trace, or a filter such as `info,iamd::store=debug`"
        );
    }
    Ok(text.to_owned())
}

/// `500ms`, `5s`, `2m`, `1h`.
fn duration(text: &str) -> anyhow::Result<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    let millis_per_unit: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => bail!("must be a number with one of the units ms, s, m and h, such as `5s`"),
    };
    let millis = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(millis_per_unit));
    millis
        .map(Duration::from_millis)
        .context("is no number that iamd can count")
}

/// `65536`, `64KiB`, `4MiB`; in bytes.
fn size(text: &str) -> anyhow::Result<usize> {
    let (number, unit) = if let Some(number) = text.strip_suffix("KiB") {
        (number, 1024)
    } else if let Some(number) = text.strip_suffix("MiB") {
        (number, 1024 * 1024)
    } else {
        (text, 1)
    };
    let bytes = number
        .trim_end()
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(unit));
    match bytes {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => bail!("must be a number of bytes, or one with the unit KiB or MiB"),
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON lines elsewhere.
    Auto,
    /// JSON lines.
    Json,
    /// For people.
    Text,
}

impl FromStr for LogFormat {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => bail!("must be `auto`, `json` or `text`"),
        }
    }
}

/// When decisions are looked up instead of made. All three give the same answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecisionCache {
    /// Never.
    Off,
    /// Where evaluating costs more than looking up, and questions repeat.
    Auto,
    /// Wherever it can be.
    Always,
}

impl FromStr for DecisionCache {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "off" => Ok(Self::Off),
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            _ => bail!("must be `off`, `auto` or `always`"),
        }
    }
}

/// A scalar of the configuration file, or a list of them, as texts.
struct Scalars(Vec<String>);

impl<'de> Deserialize<'de> for Scalars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Scalars;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a scalar or a list of scalars")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Scalars, E> {
                Ok(Scalars(vec![value.to_string()]))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Scalars, E> {
                Ok(Scalars(vec![value.to_string()]))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Scalars, E> {
                Ok(Scalars(vec![value.to_string()]))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Scalars, E> {
                Ok(Scalars(vec![value.to_string()]))
            }
            fn visit_str<E>(self, value: &str) -> Result<Scalars, E> {
                Ok(Scalars(vec![value.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalars, A::Error> {
                let mut all = Vec::new();
                while let Some(Scalars(one)) = seq.next_element()? {
                    if one.len() != 1 {
                        return Err(A::Error::custom("a list may not hold a list"));
                    }
                    all.extend(one);
                }
                Ok(Scalars(all))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

#[cfg(test)]
mod tests;
