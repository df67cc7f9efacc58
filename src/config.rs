//! Every option of `iamd serve`: its type, default and reason, in one entry each.
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
mod read;

pub use address::Address;
pub use fixed::*;
pub use read::redact_keys;

/// Where a store is looked for when nobody says.
pub const DEFAULT_STORE: &str = "policies";

/// Where a running server is looked for when nobody says.
pub const DEFAULT_SERVER: &str = "127.0.0.1:50051";

/// The keys whose values explanations do not show if nobody says: the secret that a third party is told by (S-11).
pub const REDACT_KEYS: &str = "sts:ExternalId";

/// One setting, as the help, the variables and the configuration file know it.
#[derive(Debug)]
pub struct Setting {
    /// `drain_timeout`.
    pub key: &'static str,
    /// What its value looks like: `ADDR`.
    pub value: &'static str,
    /// What holds where nobody says anything.
    pub default: Written,
    /// One sentence for the help.
    pub help: &'static str,
    takes: Takes,
}

/// How many values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    One,
    /// The flag again, commas in the variable, a list in the file.
    Many,
}

impl Setting {
    /// Whether it takes several values: the flag again, commas in the variable, a list in the file.
    pub fn is_list(&self) -> bool {
        self.takes == Takes::Many
    }
}

/// A default. It is shown as one would write it, and read like anything else that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// This very text.
    Text(&'static str),
    /// A number.
    Count(usize),
    /// A size, shown with the largest unit that leaves it whole.
    Bytes(usize),
}

impl Written {
    /// The number; none of a text.
    const fn amount(self) -> usize {
        match self {
            Self::Text(_) => 0,
            Self::Count(amount) | Self::Bytes(amount) => amount,
        }
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const KIB: usize = 1024;
        const MIB: usize = 1024 * KIB;
        match *self {
            Self::Text(text) => f.write_str(text),
            Self::Bytes(n) if n.is_multiple_of(MIB) => write!(f, "{}MiB", n / MIB),
            Self::Bytes(n) if n.is_multiple_of(KIB) => write!(f, "{}KiB", n / KIB),
            Self::Count(n) | Self::Bytes(n) => write!(f, "{n}"),
        }
    }
}

/// Makes of one entry for each setting what must agree about it: its field of [`Config`] or [`Limits`], its line in
/// [`SETTINGS`], and how it is read. An entry is `key: type = One or Many(how a value is read), what it looks like,
/// default, help;`. Where nothing is to be shown as the value, it is a switch.
macro_rules! settings {
    (
        Config { $($first:ident: $first_type:ty = $first_takes:ident($first_read:expr),
            $first_value:literal, $first_default:expr, $first_help:literal;)* }
        limits: Limits { $($limit:ident: usize = One($limit_read:expr),
            $limit_value:literal, $limit_default:expr, $limit_help:literal;)* }
        Config { $($last:ident: $last_type:ty = $last_takes:ident($last_read:expr),
            $last_value:literal, $last_default:expr, $last_help:literal;)* }
    ) => {
        /// The effective settings of `iamd serve`.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $(#[doc = $first_help] pub $first: $first_type,)*
            /// What one question may measure.
            pub limits: Limits,
            $(#[doc = $last_help] pub $last: $last_type,)*
        }

        /// What one question may measure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Limits {
            $(#[doc = $limit_help] pub $limit: usize,)*
        }

        impl Limits {
            /// The limits of a server that is not told others, and of the command line.
            pub const DEFAULT: Self = Self { $($limit: $limit_default.amount(),)* };
        }

        /// Every setting, in the order of the help.
        pub const SETTINGS: &[Setting] = &[
            $(settings!(@line $first, $first_takes, $first_value, $first_default, $first_help),)*
            $(settings!(@line $limit, One, $limit_value, $limit_default, $limit_help),)*
            $(settings!(@line $last, $last_takes, $last_value, $last_default, $last_help),)*
        ];

        impl Texts<'_> {
            /// Reads every setting.
            fn config(&self) -> anyhow::Result<Config> {
                Ok(Config {
                    $($first: settings!(@read self, $first, $first_takes, $first_read),)*
                    limits: Limits {
                        $($limit: settings!(@read self, $limit, One, $limit_read),)*
                    },
                    $($last: settings!(@read self, $last, $last_takes, $last_read),)*
                })
            }
        }
    };
    (@line $key:ident, $takes:ident, $value:literal, $default:expr, $help:literal) => {
        Setting {
            key: stringify!($key),
            value: $value,
            default: $default,
            help: $help,
            takes: Takes::$takes,
        }
    };
    (@read $texts:expr, $key:ident, One, $read:expr) => { $texts.read(stringify!($key), $read)? };
    (@read $texts:expr, $key:ident, Many, $read:expr) => { $texts.read_all(stringify!($key), $read)? };
}

settings! {
    Config {
        store: PathBuf = One(read::path), "DIR", Written::Text(DEFAULT_STORE),
            "The policy store";
        listen: Vec<Address> = Many(Address::from_str), "ADDR", Written::Text(DEFAULT_SERVER),
            "Address for gRPC: IP:PORT (port 0: chosen by the system and logged) or unix:/path; may be repeated";
        insecure_plaintext: bool = One(read::switch), "", Written::Text("false"),
            "Listen without encryption beyond loopback and Unix sockets: anybody on the path can read and change answers";
        drain_timeout: Duration = One(read::duration), "DURATION", Written::Text("5s"),
            "How long calls in flight may take to end after SIGTERM";
        default_deadline: Duration = One(read::duration), "DURATION", Written::Text("1s"),
            "When an Authorize call ends whose client set no deadline";
        log_level: String = One(read::log_filter), "LEVEL", Written::Text("info"),
            "error, warn, info, debug or trace, or a filter such as `info,iamd::store=debug`";
        log_format: LogFormat = One(LogFormat::from_str), "FORMAT", Written::Text("auto"),
            "auto, json or text; auto is text on a terminal and JSON lines elsewhere";
        worker_threads: Option<usize> = One(read::threads), "N", Written::Text("auto"),
            "Threads that answer calls; auto is one per available processor";
        max_message_bytes: usize = One(read::size), "SIZE", Written::Bytes(MAX_MESSAGE_BYTES),
            "The longest message; a longer one is OUT_OF_RANGE";
    }
    limits: Limits {
        max_question_bytes: usize = One(read::size), "SIZE", Written::Bytes(64 * 1024),
            "The longest question; a longer one is INVALID_ARGUMENT";
        max_context_entries: usize = One(read::count), "N", Written::Count(256),
            "Entries of one question's context, tags or claims";
        max_list_values: usize = One(read::count), "N", Written::Count(1024),
            "Values of one list in a question";
        max_string_bytes: usize = One(read::size), "SIZE", Written::Bytes(16 * 1024),
            "The longest string in a question";
    }
    Config {
        redact_keys: Vec<String> = Many(read::text), "KEY", Written::Text(REDACT_KEYS),
            "Context key whose values explanations do not show, or all that begin so: `aws:RequestTag/*`; may be repeated; `none`: show all";
        max_streams_per_connection: u32 = One(read::streams), "N", Written::Count(100),
            "Calls in flight on one connection";
        max_connections: usize = One(read::connections), "N", Written::Count(1024),
            "Open connections; those beyond are closed at once";
        socket_mode: u32 = One(read::mode), "MODE", Written::Text("0660"),
            "Who may connect to a Unix socket: the octal mode of its file";
        session_policy_cache_bytes: usize = One(read::size), "SIZE", Written::Bytes(8 * 1024 * 1024),
            "Memory for session policies that were compiled before";
        decision_cache: DecisionCache = One(DecisionCache::from_str), "MODE", Written::Text("auto"),
            "off, auto or always; auto looks decisions up where evaluating costs more and questions repeat";
        decision_cache_bytes: usize = One(read::size), "SIZE", Written::Bytes(8 * 1024 * 1024),
            "Memory for decisions that were made before";
    }
}

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
                (Source::Default, vec![setting.default.to_string()])
            };
            sources.insert(setting.key, source);
            texts.insert(setting.key, values);
        }
        let texts = Texts {
            texts,
            sources: &sources,
        };
        let mut config = texts.config()?;
        config.redact_keys = redact_keys(config.redact_keys);
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
