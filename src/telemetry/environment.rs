//! The `OTEL_*` variables: what is exported, where to, and what iamd does not know.
//!
//! The exporters read most variables themselves. This file reads those that they leave to the program, and warns about
//! those that nobody heeds, so that a mistake shows at the start and not as missing data.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Numbers, now and then.
    Metrics,
    /// A span for each call.
    Traces,
    /// The lines of the log.
    Logs,
}

impl Signal {
    const ALL: [Self; 3] = [Self::Metrics, Self::Traces, Self::Logs];

    /// Returns the word in the names of variables.
    fn word(self) -> &'static str {
        match self {
            Self::Metrics => "METRICS",
            Self::Traces => "TRACES",
            Self::Logs => "LOGS",
        }
    }

    /// Returns the word for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Traces => "traces",
            Self::Logs => "logs",
        }
    }
}

/// How a signal travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP as protobuf over HTTP/1.1, the default of OpenTelemetry.
    Http,
}

/// Where a signal goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// How it travels.
    pub transport: Transport,
    /// For the log: the address without what may be secret in it.
    pub endpoint: String,
    /// The authorities of the receiver in PEM, instead of those of the system.
    pub authorities: Option<PathBuf>,
    /// The certificate and the key in PEM with which iamd proves itself.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How long one export may take.
    pub timeout: Duration,
}

impl Destination {
    /// Returns whether the address asks for TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        self.endpoint.starts_with("https://")
    }
}

/// How long one export may take by default, as OpenTelemetry says.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the variables say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The signals that are exported. None without an endpoint.
    pub destinations: BTreeMap<Signal, Destination>,
    /// Whether spans continue the trace that the caller names in `traceparent`.
    pub continues_traces: bool,
    /// The names of the attributes in `OTEL_RESOURCE_ATTRIBUTES`, and `service.name` if `OTEL_SERVICE_NAME` is set.
    named: Vec<String>,
    /// What is wrong with the variables, in words.
    pub warnings: Vec<String>,
}

/// The variables that the exporters read, without `OTEL_EXPORTER_OTLP_` and the word of the signal.
const OF_EXPORTERS: [&str; 5] = ["ENDPOINT", "HEADERS", "TIMEOUT", "COMPRESSION", "INSECURE"];

/// The variables that the libraries read.
const OF_LIBRARIES: [&str; 15] = [
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BLRP_SCHEDULE_DELAY",
    "OTEL_BLRP_MAX_QUEUE_SIZE",
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
];

/// The variables that are known and have no effect, each with what to do instead.
const WITHOUT_EFFECT: [(&str, &str); 6] = [
    (
        "OTEL_METRIC_EXPORT_TIMEOUT",
        "set `OTEL_EXPORTER_OTLP_TIMEOUT`, which ends each export",
    ),
    (
        "OTEL_BSP_EXPORT_TIMEOUT",
        "set `OTEL_EXPORTER_OTLP_TIMEOUT`, which ends each export",
    ),
    (
        "OTEL_BLRP_EXPORT_TIMEOUT",
        "set `OTEL_EXPORTER_OTLP_TIMEOUT`, which ends each export",
    ),
    (
        "OTEL_BSP_MAX_CONCURRENT_EXPORTS",
        "there is one export of a signal at a time",
    ),
    (
        "OTEL_SEMCONV_STABILITY_OPT_IN",
        "iamd has only the stable names of RPC",
    ),
    (
        "OTEL_LOG_LEVEL",
        "set `--log-level`, for instance to `info,opentelemetry=debug`",
    ),
];

/// Variables by name. Those that are empty count as unset, as OpenTelemetry says.
struct Variables(BTreeMap<String, String>);

impl Variables {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns the value for one signal, or else that for all of them.
    fn of(&self, signal: Signal, name: &str) -> Option<&str> {
        let own = self.get(&format!("OTEL_EXPORTER_OTLP_{}_{name}", signal.word()));
        own.or_else(|| self.get(&format!("OTEL_EXPORTER_OTLP_{name}")))
    }
}

impl Environment {
    /// Reads the variables of a process.
    pub fn read(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let of_otel = variables
            .into_iter()
            .filter(|(name, value)| name.starts_with("OTEL_") && !value.trim().is_empty());
        let variables = Variables(of_otel.collect());
        let mut environment = Self::default();
        environment.warn_of_strangers(&variables);
        let disabled = variables.get("OTEL_SDK_DISABLED");
        if disabled.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return environment;
        }
        environment.continues_traces = environment.propagates(&variables);
        environment.named = named(&variables);
        for signal in Signal::ALL {
            if let Some(destination) = environment.destination(signal, &variables) {
                environment.destinations.insert(signal, destination);
            }
        }
        environment
    }

    /// Returns whether a variable gives the resource this attribute.
    pub(super) fn names(&self, attribute: &str) -> bool {
        self.named.iter().any(|name| name == attribute)
    }

    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    fn warn_of_strangers(&mut self, variables: &Variables) {
        for name in variables.0.keys() {
            if let Some((_, instead)) = WITHOUT_EFFECT.iter().find(|(known, _)| known == name) {
                self.warn(format!("the variable `{name}` has no effect: {instead}"));
            } else if !is_known(name) {
                self.warn(format!(
                    "the variable `{name}` has no effect: iamd does not know it"
                ));
            }
        }
    }

    /// Returns whether `OTEL_PROPAGATORS` asks for the trace context of W3C, as its default does.
    fn propagates(&mut self, variables: &Variables) -> bool {
        let Some(list) = variables.get("OTEL_PROPAGATORS") else {
            return true;
        };
        let mut propagates = false;
        for name in list.split(',').map(str::trim) {
            match name {
                "tracecontext" => propagates = true,
                // iamd neither reads the baggage of a caller nor makes calls that would pass it on.
                "baggage" | "none" => {}
                _ => self.warn(format!(
                    "the propagator `{name}` of `OTEL_PROPAGATORS` has no effect: iamd knows `tracecontext`"
                )),
            }
        }
        propagates
    }

    /// Returns where `signal` goes; `None` if it is not exported.
    fn destination(&mut self, signal: Signal, variables: &Variables) -> Option<Destination> {
        let exporter = format!("OTEL_{}_EXPORTER", signal.word());
        let mut is_wanted = true;
        if let Some(list) = variables.get(&exporter) {
            is_wanted = false;
            for name in list.split(',').map(str::trim) {
                match name {
                    "otlp" => is_wanted = true,
                    "none" => {}
                    // `/metrics` is always there.
                    "prometheus" if signal == Signal::Metrics => {}
                    _ => self.warn(format!(
                        "the exporter `{name}` of `{exporter}` has no effect: iamd has `otlp` and `none`"
                    )),
                }
            }
        }
        let endpoint = variables.of(signal, "ENDPOINT");
        if is_wanted && endpoint.is_none() && variables.get(&exporter).is_some() {
            self.warn(format!(
                "`{exporter}` asks for `otlp`, and nothing is exported without `OTEL_EXPORTER_OTLP_ENDPOINT`"
            ));
        }
        let endpoint = endpoint.filter(|_| is_wanted)?;
        let transport = match variables.of(signal, "PROTOCOL") {
            None | Some("http/protobuf") => Transport::Http,
            Some("grpc") => Transport::Grpc,
            Some(other) => {
                let name = signal.name();
                self.warn(format!(
                    "no {name} are exported: the protocol `{other}` of OTLP is neither `grpc` nor `http/protobuf`"
                ));
                return None;
            }
        };
        let file = |name| variables.of(signal, name).map(PathBuf::from);
        let identity = match (file("CLIENT_CERTIFICATE"), file("CLIENT_KEY")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                let name = signal.name();
                self.warn(format!(
                    "no {name} are exported: give both `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE` and `OTEL_EXPORTER_OTLP_CLIENT_KEY`, or none"
                ));
                return None;
            }
        };
        let timeout = variables.of(signal, "TIMEOUT");
        let timeout = timeout.and_then(|millis| millis.trim().parse().ok());
        Some(Destination {
            timeout: timeout.map_or(EXPORT_TIMEOUT, Duration::from_millis),
            transport,
            endpoint: without_secrets(endpoint),
            authorities: file("CERTIFICATE"),
            identity,
        })
    }
}

fn named(variables: &Variables) -> Vec<String> {
    let list = variables
        .get("OTEL_RESOURCE_ATTRIBUTES")
        .unwrap_or_default();
    let names = list.split(',').filter_map(|pair| pair.split_once('='));
    let mut names: Vec<_> = names.map(|(name, _)| name.trim().to_owned()).collect();
    if variables.get("OTEL_SERVICE_NAME").is_some() {
        names.push("service.name".to_owned());
    }
    names
}

/// Returns whether iamd or its libraries heed a variable.
fn is_known(name: &str) -> bool {
    const OWN: [&str; 5] = [
        "OTEL_SDK_DISABLED",
        "OTEL_PROPAGATORS",
        "OTEL_METRICS_EXPORTER",
        "OTEL_TRACES_EXPORTER",
        "OTEL_LOGS_EXPORTER",
    ];
    if OWN.contains(&name) || OF_LIBRARIES.contains(&name) {
        return true;
    }
    let Some(rest) = name.strip_prefix("OTEL_EXPORTER_OTLP_") else {
        return false;
    };
    let of_signal = Signal::ALL.iter().find_map(|signal| {
        let rest = rest.strip_prefix(signal.word())?;
        rest.strip_prefix('_')
    });
    let name = of_signal.unwrap_or(rest);
    let own = [
        "PROTOCOL",
        "CERTIFICATE",
        "CLIENT_CERTIFICATE",
        "CLIENT_KEY",
    ];
    OF_EXPORTERS.contains(&name) || own.contains(&name)
}

/// Returns an address without a user's name, a password and a query.
fn without_secrets(endpoint: &str) -> String {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("", endpoint));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or_default();
    match scheme {
        "" => format!("{host}{path}"),
        _ => format!("{scheme}://{host}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter();
        Environment::read(variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    /// Returns which signals are exported, and how.
    fn exported(variables: &[(&str, &str)]) -> Vec<(Signal, Transport)> {
        let destinations = read(variables).destinations;
        let pairs = destinations.into_iter();
        pairs.map(|(signal, of)| (signal, of.transport)).collect()
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

    #[test]
    fn nothing_is_exported_without_an_endpoint() {
        assert_eq!(read(&[]).destinations.len(), 0);
        assert_eq!(exported(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), []);
        let all = Signal::ALL.map(|signal| (signal, Transport::Http));
        assert_eq!(exported(&[ENDPOINT]), all);
        assert_eq!(read(&[ENDPOINT]).warnings.len(), 0);
        for disabled in ["true", "TRUE"] {
            assert_eq!(exported(&[ENDPOINT, ("OTEL_SDK_DISABLED", disabled)]), []);
        }
        assert_eq!(exported(&[ENDPOINT, ("OTEL_SDK_DISABLED", "false")]), all);
    }

    #[test]
    fn each_signal_may_have_variables_of_its_own() {
        let one = (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://127.0.0.1:4317",
        );
        let grpc = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc");
        assert_eq!(exported(&[one, grpc]), [(Signal::Traces, Transport::Grpc)]);
        let off = [
            ENDPOINT,
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_METRICS_EXPORTER", "prometheus"),
            ("OTEL_LOGS_EXPORTER", "otlp"),
        ];
        assert_eq!(exported(&off), [(Signal::Logs, Transport::Http)]);
        assert_eq!(read(&off).warnings.len(), 0);
    }

    #[test]
    fn what_has_no_effect_is_told() {
        for (variables, warnings) in [
            (&[("OTEL_METRIC_EXPORT_TIMEOUT", "1")][..], 1),
            (&[("OTEL_EXPORTER_OTLP_ENDPONT", "x")], 1),
            (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPONT", "x")], 1),
            (&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "console,otlp")], 1),
            (&[ENDPOINT, ("OTEL_PROPAGATORS", "b3,tracecontext")], 1),
            (
                &[ENDPOINT, ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json")],
                1,
            ),
            (&[ENDPOINT, ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "key.pem")], 3),
            (&[("OTEL_TRACES_EXPORTER", "otlp")], 1),
            (
                &[
                    ("OTEL_PROPAGATORS", "none,baggage"),
                    ("OTEL_BSP_MAX_QUEUE_SIZE", "5"),
                ],
                0,
            ),
        ] {
            let read = read(variables);
            assert_eq!(read.warnings.len(), warnings, "{variables:?}: {read:?}");
        }
    }

    #[test]
    fn traces_are_continued_unless_no_propagator_does() {
        assert!(read(&[]).continues_traces);
        for (list, continues) in [
            ("tracecontext,baggage", true),
            ("baggage", false),
            ("none", false),
        ] {
            let read = read(&[("OTEL_PROPAGATORS", list)]);
            assert_eq!(read.continues_traces, continues, "{list}");
        }
    }

    #[test]
    fn no_secret_of_an_address_is_shown() {
        for (endpoint, shown) in [
            (
                "http://user:secret@host:4318/v1?key=secret",
                "http://host:4318/v1",
            ),
            ("https://host", "https://host"),
            ("host:4317", "host:4317"),
            ("http://host/a@b", "http://host/a@b"),
        ] {
            assert_eq!(without_secrets(endpoint), shown);
        }
    }
}
