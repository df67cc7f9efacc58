//! The options of `iamd serve`. Each has one entry with its type, default and help, and the reason for its default.
//!
//! A setting `a_b` can be given as the flag `--a-b`, the variable `IAMD_A_B` or the key `a_b` of the configuration
//! file. The first of these wins:
//! ```text
//! flag ──▶ variable ──▶ file ──▶ default
//! ```
//! The file is long because each setting stands there with its reason.
//!
//! All four are texts until [`Config::resolve`] reads them, so each setting has one parser, and an error can name the
//! place that the text came from. No setting can change a decision: everything that can is in the store.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};

use crate::language::finding::did_you_mean;

mod address;
mod callers;
mod decision_log;
mod fixed;
mod read;

pub use address::Address;
pub use callers::{Caller, Rights, Who};
pub use decision_log::{DecisionLogFile, DecisionLogMode, Fsync, Mask, MaskRule, MaskedField};
pub use fixed::*;
pub use read::{duration, redact_keys};

/// The default path of the store.
pub const DEFAULT_STORE: &str = "policies";

/// The default address of the server, for `serve` and for its clients.
pub const DEFAULT_SERVER: &str = "127.0.0.1:50051";

/// The default address of the HTTP listener.
pub const DEFAULT_HTTP_LISTEN: &str = "127.0.0.1:9464";

/// The keys whose values explanations hide by default: the external id is a secret between an account and a third party
/// (S-11).
pub const REDACT_KEYS: &str = "sts:ExternalId";

/// One setting, with everything that the help, the variables and the configuration file need.
#[derive(Debug)]
pub struct Setting {
    /// The key: `drain_timeout`.
    pub key: &'static str,
    /// The placeholder of its value: `ADDR`. Empty for a switch.
    pub value: &'static str,
    /// The default.
    pub default: Written,
    /// One sentence for the help.
    pub help: &'static str,
    takes: Takes,
}

/// How many values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    One,
    /// Several values: a repeated flag, commas in the variable, a list in the file.
    Many,
    /// The same, with commas in the flag and in the file, too.
    List,
}

impl Setting {
    /// Returns whether it takes several values: a repeated flag, commas in the variable, a list in the file.
    pub fn is_list(&self) -> bool {
        self.takes != Takes::One
    }
}

/// A default. The help shows it as a user would write it, and it is parsed like any other value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// A text.
    Text(&'static str),
    /// A number.
    Count(usize),
    /// A size, shown with the largest unit that leaves it whole.
    Bytes(usize),
}

impl Written {
    /// Returns the number; 0 for a text.
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

/// Makes from one entry per setting everything that must agree about it: its field of [`Config`] or [`Limits`], its
/// line in [`SETTINGS`], and the call of its parser. An entry is `key: type = One, Many or List(parser), placeholder,
/// default, help, reason;`. The reason says why the default is what it is. A setting with an empty placeholder is a
/// switch.
macro_rules! settings {
    (
        Config { $($first:ident: $first_type:ty = $first_takes:ident($first_read:expr),
            $first_value:literal, $first_default:expr, $first_help:literal, $first_reason:literal;)* }
        limits: Limits { $($limit:ident: usize = One($limit_read:expr),
            $limit_value:literal, $limit_default:expr, $limit_help:literal, $limit_reason:literal;)* }
        Config { $($last:ident: $last_type:ty = $last_takes:ident($last_read:expr),
            $last_value:literal, $last_default:expr, $last_help:literal, $last_reason:literal;)* }
    ) => {
        /// The effective settings of `iamd serve`.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $(#[doc = concat!($first_help, ".\n\nThe reason for the default: ", $first_reason)] pub $first: $first_type,)*
            /// The size limits of one question.
            pub limits: Limits,
            $(#[doc = concat!($last_help, ".\n\nThe reason for the default: ", $last_reason)] pub $last: $last_type,)*
        }

        /// The size limits of one question.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Limits {
            $(#[doc = concat!($limit_help, ".\n\nThe reason for the default: ", $limit_reason)] pub $limit: usize,)*
        }

        impl Limits {
            /// The default limits. The command line always uses them.
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
    (@read $texts:expr, $key:ident, List, $read:expr) => { $texts.read_all(stringify!($key), $read)? };
    (@read $texts:expr, $key:ident, Many, $read:expr) => { $texts.read_all(stringify!($key), $read)? };
}

settings! {
    Config {
        store: PathBuf = One(read::path), "DIR", Written::Text(DEFAULT_STORE),
            "The policy store",
            "it is the name of the example store, so that `iamd serve` works at once in a clone.";
        listen: Vec<Address> = Many(Address::from_str), "ADDR", Written::Text(DEFAULT_SERVER),
            "Address for gRPC: IP:PORT (port 0: chosen by the system and logged) or unix:/path; may be repeated",
            "the clients of a sidecar are on its machine, and most examples of gRPC use this port.";
        health_listen: Option<SocketAddr> = One(read::optional_address), "ADDR", Written::Text("none"),
            "Address for health checks alone, in plaintext: IP:PORT, for a kubelet that asks the pod's IP",
            "without Kubernetes nobody needs it; the listeners for gRPC answer health checks, too.";
        http_listen: Option<SocketAddr> = One(read::http_address), "ADDR", Written::Text(DEFAULT_HTTP_LISTEN),
            "Address for HTTP: /metrics, /livez, /readyz and /statusz, at IP:PORT (port 0: chosen by the system and logged); `none` turns it off",
            "monitoring runs on the machine or in the pod, and OpenTelemetry's exporters for Prometheus use this port.";
        insecure_plaintext: bool = One(read::switch), "", Written::Text("false"),
            "Listen without encryption beyond loopback and Unix sockets: anyone on the network path can read and change answers",
            "nobody should open the answers to a network by accident.";
        tls_certificate: Option<PathBuf> = One(read::optional_path), "FILE", Written::Text("none"),
            "The server's certificate chain in PEM, its own certificate first; TCP listeners speak TLS with it",
            "a sidecar's clients are on its machine, where TLS protects from nobody, and no certificate is right for everyone.";
        tls_key: Option<PathBuf> = One(read::optional_path), "FILE", Written::Text("none"),
            "The private key of `--tls-certificate` in PEM",
            "it goes with the certificate.";
        tls_client_ca: Option<PathBuf> = One(read::optional_path), "FILE", Written::Text("none"),
            "The authorities of client certificates in PEM; with it every TCP client must have such a certificate (mTLS)",
            "most operators of a sidecar issue no certificates to its clients.";
        callers: Vec<Caller> = List(Caller::from_str), "LIST", Written::Text("anyone"),
            "Who may ask: a SPIFFE id or a DNS name of the client certificate, or uid:N or gid:N at a Unix socket, each with =authorize (the default) or =disclose (also calls that disclose policies, from anywhere); with commas, or repeated",
            "whoever reaches a sidecar is on its machine, and the listeners say who reaches it.";
        pre_stop_delay: Duration = One(duration), "DURATION", Written::Text("0s"),
            "How long calls are still taken after SIGTERM, while health checks say that the server does not serve",
            "the clients of a sidecar are in its pod and find it without a load balancer, which would need time to notice.";
        drain_timeout: Duration = One(duration), "DURATION", Written::Text("5s"),
            "How long calls in flight may take after SIGTERM",
            "it is several times the default deadline, and short beside the 30 s that Kubernetes gives a pod to end.";
        default_deadline: Duration = One(read::deadline), "DURATION", Written::Text("1s"),
            "The deadline of an Authorize call whose client set none",
            "a decision takes microseconds, so a second is enough for a busy machine, and a call that hangs ends soon.";
        log_level: String = One(read::log_filter), "LEVEL", Written::Text("info"),
            "error, warn, info, debug or trace, or a filter such as `info,iamd::store=debug`",
            "it shows each load of the store and each problem, and nothing for a call that is answered.";
        log_format: LogFormat = One(LogFormat::from_str), "FORMAT", Written::Text("auto"),
            "auto, json or text; auto is text on a terminal and JSON lines elsewhere",
            "people read terminals, and programs read everything else.";
        worker_threads: Option<usize> = One(read::threads), "N", Written::Text("auto"),
            "Threads that answer calls; auto is one per available processor",
            "a decision only computes, so more threads than processors would not answer more calls.";
        max_message_bytes: usize = One(read::size), "SIZE", Written::Bytes(MAX_MESSAGE_BYTES),
            "The longest message; a longer one gets OUT_OF_RANGE",
            "it is the default of most gRPC libraries, and a whole simulation fits in.";
    }
    limits: Limits {
        max_question_bytes: usize = One(read::size), "SIZE", Written::Bytes(64 * 1024),
            "The longest question; a longer one gets INVALID_ARGUMENT",
            "a usual question has a few hundred bytes; this leaves room for a large token and session policies, and bounds what one call can make iamd parse.";
        max_context_entries: usize = One(read::count), "N", Written::Count(256),
            "The most entries in a question's context, tags or claims",
            "it is several times the 50 tags that a session may have (T-34), and lookups among so many entries stay cheap.";
        max_list_values: usize = One(read::count), "N", Written::Count(1024),
            "The most values in one list of a question",
            "the groups of a large token fit in, and set operators, which compare each value with each of a policy, stay cheap.";
        max_string_bytes: usize = One(read::size), "SIZE", Written::Bytes(16 * 1024),
            "The longest string in a question",
            "a long URL or header fits in, and the slowest pattern still matches it in a fraction of a millisecond.";
    }
    Config {
        redact_keys: Vec<String> = Many(read::text), "KEY", Written::Text(REDACT_KEYS),
            "Context key whose values explanations hide, or a prefix such as `aws:RequestTag/*`; may be repeated; `none` hides nothing",
            "the external id is a secret between an account and a third party (S-11).";
        max_batch_questions: usize = One(read::count), "N", Written::Count(10_000),
            "The most questions in one BatchAuthorize call; more get INVALID_ARGUMENT",
            "so many usual questions fit into a message of 4 MiB, and with the longest that are allowed a batch still ends within seconds.";
        max_streams_per_connection: u32 = One(read::streams), "N", Written::Count(100),
            "The most calls in flight on one connection",
            "RFC 9113 recommends no fewer (section 6.5.2), so that calls side by side do not wait for each other.";
        max_connections: usize = One(read::connections), "N", Written::Count(1024),
            "The most open connections; further ones are closed at once",
            "a sidecar has few clients with a connection or two each; this leaves room for pools, and bounds the memory of connections that do nothing.";
        max_questions_in_flight: usize = One(read::count), "N", Written::Count(1024),
            "The most calls with questions in flight; further ones get RESOURCE_EXHAUSTED",
            "an ordinary question is answered when it is read and never waits; so many others are more than a sidecar's clients have.";
        max_queueing_delay: Duration = One(duration), "DURATION", Written::Text("10ms"),
            "How long a question may wait for its turn while a thread has more to do than it can; then it gets RESOURCE_EXHAUSTED; 0s: any time",
            "a thread answers several hundred questions in this time, and an answer that comes later is worth less than an early refusal.";
        max_unfinished_bytes: usize = One(read::size), "SIZE", Written::Bytes(64 * 1024 * 1024),
            "Memory for messages that have not come whole; beyond it, calls get RESOURCE_EXHAUSTED",
            "sixteen of the longest messages fit in, and it bounds the memory that slow clients can hold together.";
        first_call_timeout: Duration = One(duration), "DURATION", Written::Text("1m"),
            "How long a connection may take until its first call; 0s: any time",
            "clients connect in order to ask; those that do not ask must not take the places of others, and lose nothing if they connect again.";
        max_connection_age: Duration = One(duration), "DURATION", Written::Text("1h"),
            "The age, give or take a tenth, at which a connection is told to begin no more calls; 0s: any age",
            "a certificate that is revoked ends with its connections, and clients connect anew without a failed call.";
        max_connection_age_grace: Duration = One(duration), "DURATION", Written::Text("30s"),
            "How long the calls of a connection may take once it has reached its age",
            "it is the longest deadline of a call that does not last as long as its client wants.";
        max_connection_idle: Duration = One(duration), "DURATION", Written::Text("30m"),
            "How long a connection may stay open without a call; 0s: any time",
            "clients that keep a connection for the next call lose little, and those that have forgotten theirs free its place.";
        socket_mode: u32 = One(read::mode), "MODE", Written::Text("0660"),
            "Who may connect to a Unix socket: the octal mode of its file",
            "the group may connect, because containers of a pod share a group (`fsGroup`) and not a user; nobody else may.";
        socket_group: Option<u32> = One(read::optional_group), "GID", Written::Text("none"),
            "The group of a Unix socket's file, as a number; none: the group of the process",
            "a pod's `fsGroup` and systemd's `Group=` give the process the right group already.";
        session_policy_cache_bytes: usize = One(read::size), "SIZE", Written::Bytes(8 * 1024 * 1024),
            "Memory for compiled session policies",
            "sessions bring few different policies, and it at most doubles the memory of a small server.";
        decision_cache: DecisionCache = One(DecisionCache::from_str), "MODE", Written::Text("auto"),
            "off, auto or always; auto uses the cache when questions repeat and are expensive to evaluate",
            "a lookup costs as much as a cheap decision, so the cache must be worth its cost (`docs/performance.md`).";
        decision_cache_bytes: usize = One(read::size), "SIZE", Written::Bytes(8 * 1024 * 1024),
            "Memory for cached decisions",
            "about ten thousand decisions fit in, and it at most doubles the memory of a small server.";
        decision_log: DecisionLogMode = One(DecisionLogMode::from_str), "MODE", Written::Text("off"),
            "off, best_effort (records that cannot be written are lost and counted) or required (a record is handed to the system before its answer leaves)",
            "records name principals and resources, so keeping them is a choice of the operator.";
        decision_log_file: DecisionLogFile = One(DecisionLogFile::from_str), "PATH|-|otlp:", Written::Text("-"),
            "Where the records of decisions go; - is the standard output, and otlp: the receiver of logs that the OTEL_* variables name",
            "nothing else is written to the standard output, and containers collect it.";
        decision_log_fsync: Fsync = One(Fsync::from_str), "WHEN", Written::Text("never"),
            "When records are put on the disk: never (the system does it by itself), always, or a duration after which they are at the latest",
            "records survive the end of the process anyway, and waiting for a disk takes a thousand times longer than a decision.";
        decision_log_max_bytes: usize = One(read::size), "SIZE", Written::Bytes(100 * 1024 * 1024),
            "The size at which a new file of records begins",
            "about a hundred thousand records fit in, which is still quick to search.";
        decision_log_max_age: Option<Duration> = One(decision_log::optional_duration), "DURATION", Written::Text("none"),
            "The age at which a new file of records begins, or none",
            "the size alone bounds the disk.";
        decision_log_keep: usize = One(read::count), "N", Written::Count(10),
            "How many full files of records are kept besides the current one; older ones are removed",
            "with the default size they take 1 GiB, which a disk of a sidecar has.";
        decision_log_queue_bytes: usize = One(read::size), "SIZE", Written::Bytes(4 * 1024 * 1024),
            "The most bytes of records that wait to be written in the mode best_effort; further ones are lost and counted",
            "thousands of records fit in, so a disk may pause for a moment, and memory stays small when it fails.";
        decision_log_mask: Vec<Option<MaskRule>> = List(decision_log::mask), "RULES", Written::Text("none"),
            "What records hide: MEMBER=drop, =hash or =last:N, such as context.aws:SourceIp=hash or session.tags=drop; with commas, or repeated",
            "a record without all facts cannot be asked again.";
        decision_log_mask_key: Option<PathBuf> = One(read::optional_path), "FILE", Written::Text("none"),
            "The file with the key for =hash, at least 16 bytes",
            "only rules with =hash need a key, and it must be secret.";
        decision_log_sample: f64 = One(decision_log::share), "SHARE", Written::Text("1"),
            "The share of allows that are recorded, such as 0.1; denials are always recorded",
            "an audit wants every decision.";
        keep_revisions: Option<PathBuf> = One(read::optional_path), "DIR", Written::Text("none"),
            "Keep the files of the last revisions in this folder, so that past decisions can be explained",
            "the files of a store are usually in version control already.";
        keep_revisions_count: usize = One(read::count), "N", Written::Count(100),
            "How many revisions are kept; files that they share are kept once",
            "most stores change a few times a day, so this covers weeks.";
    }
}

/// The source of a setting's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// The environment variable of this name.
    Variable(String),
    /// The configuration file of this path.
    File(String),
    /// The default, because no other source has a value.
    Default,
}

impl fmt::Display for Source {
    /// Writes `flag`, `variable NAME`, `file PATH` or `default`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The texts of settings by key. A list has several texts.
pub type Layer = BTreeMap<String, Vec<String>>;

/// A configuration, with warnings for its user.
#[derive(Debug)]
pub struct Resolved {
    /// The settings.
    pub config: Config,
    /// The texts that each setting was read from, one unless it is a list.
    pub texts: BTreeMap<&'static str, Vec<String>>,
    /// The source of each setting.
    pub sources: BTreeMap<&'static str, Source>,
    /// Warnings about variables that look like settings and are not.
    pub warnings: Vec<String>,
}

impl Config {
    /// Combines the layers and reads every setting. `variables` are those of the process; only those called `IAMD_*`
    /// are used. `file` is the configuration file's name and text.
    pub fn resolve(
        flags: &Layer,
        variables: impl IntoIterator<Item = (String, String)>,
        file: Option<(&str, &str)>,
    ) -> anyhow::Result<Resolved> {
        let (variables, mut warnings) = variable_layer(variables);
        let (file_name, file) = match file {
            Some((name, text)) => {
                let layer = file_layer(text);
                let layer = layer.with_context(|| format!("the configuration file `{name}`"))?;
                (name, layer)
            }
            None => ("", Layer::new()),
        };
        let mut sources = BTreeMap::new();
        let mut texts = BTreeMap::new();
        for setting in SETTINGS {
            let (source, values) = if let Some(values) = flags.get(setting.key) {
                (Source::Flag, values.clone())
            } else if let Some((name, value)) = variables.get(setting.key) {
                let is_list = setting.is_list();
                let values = if is_list {
                    split(value).collect()
                } else {
                    vec![value.clone()]
                };
                (Source::Variable(name.clone()), values)
            } else if let Some(values) = file.get(setting.key) {
                (Source::File(file_name.to_owned()), values.clone())
            } else {
                (Source::Default, vec![setting.default.to_string()])
            };
            let values = match setting.takes {
                Takes::List => values.iter().flat_map(|text| split(text)).collect(),
                Takes::One | Takes::Many => values,
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
        warnings.extend(config.callers_without_listener());
        let texts = texts.texts;
        Ok(Resolved {
            config,
            texts,
            sources,
            warnings,
        })
    }

    /// Returns a warning about a caller who can connect nowhere.
    fn callers_without_listener(&self) -> Option<String> {
        let is_unix = |address: &Address| matches!(address, Address::Unix(_));
        let (mut callers, mut addresses) = (self.callers.iter(), self.listen.iter());
        let has_unix = addresses.clone().any(is_unix);
        // The pages for HTTP know clients by their certificates, too.
        let has_https = self.http_listen.is_some() && self.tls_certificate.is_some();
        let has_tcp = has_https || addresses.any(|address| !is_unix(address));
        callers.find_map(|caller| {
            let who = &caller.who;
            let needed = match who {
                Who::User(_) | Who::Group(_) if !has_unix => "a Unix socket (`unix:/path`)",
                Who::Spiffe(_) | Who::Dns(_) if !has_tcp => "an address with a port",
                _ => return None,
            };
            Some(format!(
                "`--callers` names `{who}`, who can connect nowhere: give `--listen` {needed}, too"
            ))
        })
    }

    /// Checks what depends on several settings.
    fn check(&self) -> anyhow::Result<()> {
        match (&self.tls_certificate, &self.tls_key) {
            (Some(_), None) => bail!("`--tls-certificate` needs its key: give `--tls-key`, too"),
            (None, Some(_)) => {
                bail!("`--tls-key` needs its certificate: give `--tls-certificate`, too")
            }
            (None, None) if self.tls_client_ca.is_some() => {
                bail!("`--tls-client-ca` needs TLS: give `--tls-certificate` and `--tls-key`, too")
            }
            _ => {}
        }
        let mut masks = self.decision_log_mask.iter().flatten();
        if self.decision_log_mask_key.is_none() && masks.any(|rule| rule.mask == Mask::Hash) {
            bail!(
                "`--decision-log-mask` hashes, which needs a secret: give `--decision-log-mask-key`, too"
            );
        }
        if self.decision_log == DecisionLogMode::Required
            && self.decision_log_file == DecisionLogFile::Otlp
        {
            bail!(
                "`--decision-log required` cannot go to `otlp:`, because a receiver may lose a record whose answer has left: \
                 write to a file, or use `best_effort`"
            );
        }
        let mut callers = self.callers.iter().map(|caller| &caller.who);
        if self.tls_client_ca.is_none()
            && let Some(who) = callers.find(|who| who.needs_certificate())
        {
            bail!(
                "`--callers` names `{who}`, which only a client certificate can show: give `--tls-client-ca`, too"
            );
        }
        let http = self.http_listen.map(Address::Tcp);
        let mut addresses = self.listen.iter().chain(&http);
        if let Some(address) = addresses.find(|address| !address.is_local())
            && self.tls_certificate.is_none()
            && !self.insecure_plaintext
        {
            bail!(
                "cannot listen on `{address}` without encryption: give `--tls-certificate` and `--tls-key`, listen on \
                 loopback or a Unix socket, or write `--insecure-plaintext` to accept that anybody on the path can read \
                 and change answers"
            );
        }
        Ok(())
    }
}

/// Returns the values of a list that is written with commas.
fn split(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(|part| part.trim().to_owned())
}

/// Returns the variable of a setting: `IAMD_DRAIN_TIMEOUT` for `drain_timeout`.
pub fn variable(key: &str) -> String {
    format!("IAMD_{}", key.to_ascii_uppercase())
}

/// Returns the flag of a setting, without the dashes: `drain-timeout` for `drain_timeout`.
pub fn flag(key: &str) -> String {
    key.replace('_', "-")
}

/// Returns the values of the `IAMD_*` variables by key, each with the variable's name, and a warning for each variable
/// that is not a setting.
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
                "the variable `{name}` is not a setting of iamd and is ignored{guess}"
            ));
        }
    }
    if let Some(log) = log {
        layer.entry("log_level").or_insert(log); // Rust programs often call this variable `…_LOG`
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

/// Returns whether Kubernetes sets a variable of this name in containers of a namespace with a service called `iamd`.
fn is_of_kubernetes(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let Some(rest) = name.strip_prefix("IAMD_") else {
        return false;
    };
    // Such names are IAMD_SERVICE_HOST, IAMD_PORT, IAMD_PORT_50051_TCP and IAMD_PORT_50051_TCP_ADDR.
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

/// Returns the first line of an error of the YAML reader. The other lines only draw the place.
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

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON lines elsewhere.
    Auto,
    /// JSON lines.
    Json,
    /// Text.
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

/// The mode of the decision cache. All three modes give the same answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecisionCache {
    /// The cache is never used.
    Off,
    /// The cache is used where evaluation costs more than a lookup and questions repeat.
    Auto,
    /// The cache is used for every question that it can hold.
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
                        return Err(A::Error::custom("a list must not contain a list"));
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
