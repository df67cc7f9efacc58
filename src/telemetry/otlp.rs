//! Export by OTLP: metrics, a span for each call, and the lines of the log, to wherever the `OTEL_*` variables say.
//!
//! ```text
//! counters ◀──read── thread of the reader ─┐
//! calls ──try_send──▶ bounded queue ───────┼──▶ runtime `telemetry` ──▶ receiver
//! log ────try_send──▶ bounded queue ───────┘
//! ```
//! Each signal has a thread of its own, which waits for the receiver; the runtime behind them has one more. A thread that
//! answers calls only puts a span into a queue, and drops it if the queue is full. So a receiver that is slow or dead
//! costs spans and lines, never time or memory.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_otlp::{
    LogExporter, MetricExporter, SpanExporter, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::{Builder, Handle, Runtime};

use super::calls;
use super::environment::{Destination, Environment, Signal, Transport};
use super::metrics::{SCOPE, Sources, instruments};
use super::records::RecordExporter;
use super::replay;

/// What this process exports, in words, once it has begun to.
static EXPORTED: OnceLock<Vec<(&'static str, String)>> = OnceLock::new();

/// Returns each signal that is exported, such as `metrics`, with the address of its receiver.
pub fn exported() -> &'static [(&'static str, String)] {
    EXPORTED.get().map_or(&[], Vec::as_slice)
}

/// The exporters of a server.
#[derive(Debug)]
pub struct Exporters {
    environment: Environment,
    resource: Resource,
    /// `None` if nothing is exported.
    runtime: Option<Runtime>,
    logs: Option<SdkLoggerProvider>,
    traces: Option<SdkTracerProvider>,
    metrics: Mutex<Option<SdkMeterProvider>>,
}

impl Exporters {
    /// Starts to export what `environment` says, but for the metrics, which wait for their sources. An exporter that
    /// cannot be made is left out, with a warning.
    pub fn start(mut environment: Environment) -> anyhow::Result<Self> {
        let resource = resource(&environment);
        let runtime = if environment.destinations.is_empty() {
            None
        } else {
            let runtime = Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("telemetry")
                .enable_all()
                .build();
            Some(runtime.context("the thread of the exporters cannot be started")?)
        };
        let mut exporters = Self {
            environment: Environment::default(),
            resource,
            runtime,
            logs: None,
            traces: None,
            metrics: Mutex::new(None),
        };
        let made = exporters.try_make(&environment, Signal::Logs, log_exporter);
        exporters.logs = keep(made, Signal::Logs, &mut environment).map(|exporter| {
            SdkLoggerProvider::builder()
                .with_resource(exporters.resource.clone())
                .with_batch_exporter(exporter)
                .build()
        });
        let made = exporters.try_make(&environment, Signal::Traces, span_exporter);
        exporters.traces = keep(made, Signal::Traces, &mut environment).map(|exporter| {
            SdkTracerProvider::builder()
                .with_resource(exporters.resource.clone())
                .with_batch_exporter(exporter)
                .build()
        });
        if let Some(traces) = &exporters.traces {
            calls::trace_by(traces.tracer(SCOPE), environment.continues_traces);
        }
        exporters.environment = environment;
        Ok(exporters)
    }

    /// Starts to export the metrics, if they are to be.
    pub fn start_metrics(&mut self, sources: &Sources) {
        let made = self.try_make(&self.environment, Signal::Metrics, metric_exporter);
        let before = self.environment.warnings.len();
        let exporter = keep(made, Signal::Metrics, &mut self.environment);
        for warning in self.environment.warnings.iter().skip(before) {
            tracing::warn!(id = "export-failed", "{warning}");
        }
        let provider = exporter.map(|exporter| {
            let provider = SdkMeterProvider::builder()
                .with_resource(self.resource.clone())
                .with_periodic_exporter(exporter)
                .build();
            let meter = provider.meter(SCOPE);
            instruments(&meter, sources);
            replay::histograms(&meter);
            provider
        });
        *self.metrics.lock().unwrap_or_else(PoisonError::into_inner) = provider;
        let destinations = self.environment.destinations.iter();
        let destinations = destinations.map(|(signal, to)| (signal.name(), to.endpoint.clone()));
        let _ = EXPORTED.set(destinations.collect()); // a process starts its exporters once
    }

    /// Returns the provider for the lines of the log, if they are exported.
    pub(super) fn logs(&self) -> Option<&SdkLoggerProvider> {
        self.logs.as_ref()
    }

    /// Returns what sends records to the receiver of the lines of the log. It is an error if those are not exported.
    pub fn records(&self) -> anyhow::Result<RecordExporter> {
        let exporter = self.try_make(&self.environment, Signal::Logs, log_exporter)?;
        let destination = self.environment.destinations.get(&Signal::Logs);
        let (Some(exporter), Some(destination)) = (exporter, destination) else {
            bail!(
                "no logs are exported by OTLP: set `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT`"
            );
        };
        RecordExporter::of(
            exporter,
            &self.resource,
            destination.timeout,
            destination.endpoint.clone(),
        )
    }

    /// Logs what is exported, and what is wrong with the variables.
    pub fn log(&self) {
        for warning in &self.environment.warnings {
            tracing::warn!(id = "export-failed", "{warning}");
        }
        if self.environment.destinations.is_empty() {
            tracing::info!("nothing is exported by OTLP: `OTEL_EXPORTER_OTLP_ENDPOINT` is not set");
        }
        for (signal, destination) in &self.environment.destinations {
            let (signal, endpoint) = (signal.name(), &destination.endpoint);
            let transport = match destination.transport {
                Transport::Grpc => "grpc",
                Transport::Http => "http/protobuf",
            };
            tracing::info!(signal, endpoint, transport, "exporting by OTLP");
        }
    }

    /// Exports what is left, for `patience` at most.
    pub fn stop(self, patience: Duration) {
        let Some(runtime) = self.runtime else { return };
        let (done, is_done) = mpsc::sync_channel::<()>(1);
        let stopping = std::thread::Builder::new()
            .name("telemetry end".to_owned())
            .spawn(move || {
                // Each result says whether the last export succeeded, which the libraries have logged.
                if let Some(traces) = self.traces {
                    let _ = traces.shutdown_with_timeout(patience);
                }
                if let Some(metrics) = self
                    .metrics
                    .into_inner()
                    .unwrap_or_else(PoisonError::into_inner)
                {
                    let _ = metrics.shutdown();
                }
                if let Some(logs) = self.logs {
                    let _ = logs.shutdown_with_timeout(patience);
                }
                drop(done);
            });
        if stopping.is_ok() {
            let _ = is_done.recv_timeout(patience); // an error means that it is done, or takes too long
        }
        runtime.shutdown_background();
    }

    /// Makes an exporter of `signal`, on the runtime of the exporters.
    fn try_make<E>(
        &self,
        environment: &Environment,
        signal: Signal,
        make: fn(&Destination, &Handle) -> anyhow::Result<E>,
    ) -> anyhow::Result<Option<E>> {
        let destination = environment.destinations.get(&signal);
        let (Some(destination), Some(runtime)) = (destination, &self.runtime) else {
            return Ok(None);
        };
        let _context = runtime.enter();
        make(destination, runtime.handle()).map(Some)
    }
}

/// Returns what was made. If it could not be, `environment` says so and no longer has the signal.
fn keep<E>(
    made: anyhow::Result<Option<E>>,
    signal: Signal,
    environment: &mut Environment,
) -> Option<E> {
    made.unwrap_or_else(|error| {
        let name = signal.name();
        let warning = format!("no {name} are exported: {error:#}");
        environment.warnings.push(warning);
        environment.destinations.remove(&signal);
        None
    })
}

/// Returns what is said of this process with all that it exports. `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` add
/// to it and win.
fn resource(environment: &Environment) -> Resource {
    let random = || RandomState::new().hash_one(std::process::id());
    let own = [
        ("service.name", "iamd".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        (
            "service.instance.id",
            format!("{:016x}{:016x}", random(), random()),
        ),
    ];
    let own = own
        .into_iter()
        .filter(|(name, _)| !environment.names(name))
        .map(|(name, value)| KeyValue::new(name, value));
    Resource::builder().with_attributes(own).build()
}

fn metric_exporter(destination: &Destination, handle: &Handle) -> anyhow::Result<MetricExporter> {
    let builder = MetricExporter::builder();
    Ok(match destination.transport {
        Transport::Grpc => by_grpc(builder.with_tonic(), destination)?.build()?,
        Transport::Http => by_http(builder.with_http(), destination, handle)?.build()?,
    })
}

fn span_exporter(destination: &Destination, handle: &Handle) -> anyhow::Result<SpanExporter> {
    let builder = SpanExporter::builder();
    Ok(match destination.transport {
        Transport::Grpc => by_grpc(builder.with_tonic(), destination)?.build()?,
        Transport::Http => by_http(builder.with_http(), destination, handle)?.build()?,
    })
}

fn log_exporter(destination: &Destination, handle: &Handle) -> anyhow::Result<LogExporter> {
    let builder = LogExporter::builder();
    Ok(match destination.transport {
        Transport::Grpc => by_grpc(builder.with_tonic(), destination)?.build()?,
        Transport::Http => by_http(builder.with_http(), destination, handle)?.build()?,
    })
}

/// Gives an exporter over gRPC its TLS settings.
fn by_grpc<B: WithTonicConfig>(builder: B, destination: &Destination) -> anyhow::Result<B> {
    Ok(match tonic_tls(destination)? {
        Some(tls) => builder.with_tls_config(tls),
        None => builder,
    })
}

/// Gives an exporter over HTTP its client.
fn by_http<B: WithHttpConfig>(
    builder: B,
    destination: &Destination,
    handle: &Handle,
) -> anyhow::Result<B> {
    Ok(builder.with_http_client(Client::of(destination, handle)?))
}

/// Returns the TLS settings of gRPC; `None` for plaintext.
fn tonic_tls(destination: &Destination) -> anyhow::Result<Option<ClientTlsConfig>> {
    if !destination.is_encrypted() {
        return Ok(None);
    }
    let tls = match &destination.authorities {
        Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(path)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    Ok(Some(match &destination.identity {
        Some((certificate, key)) => {
            tls.identity(Identity::from_pem(read(certificate)?, read(key)?))
        }
        None => tls,
    }))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()))
}

/// The client of OTLP over HTTP. Its requests run on the runtime of the exporters, because the threads that wait for them
/// have none.
#[derive(Debug)]
struct Client {
    handle: Handle,
    client: Arc<HyperClient<HttpsConnector<HttpConnector>>>,
}

impl Client {
    fn of(destination: &Destination, handle: &Handle) -> anyhow::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(client_config(destination)?)
            .https_or_http()
            .enable_http1()
            .build();
        let client = HyperClient::new(connector, destination.timeout, None);
        Ok(Self {
            handle: handle.clone(),
            client: Arc::new(client),
        })
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = Arc::clone(&self.client);
        let sent = self
            .handle
            .spawn(async move { client.send_bytes(request).await });
        sent.await?
    }
}

/// Returns the TLS settings of HTTP. Without encryption they are not used.
fn client_config(destination: &Destination) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let config = match &destination.authorities {
        Some(path) => config.with_root_certificates(authorities(path)?),
        None if destination.is_encrypted() => config.with_native_roots()?,
        None => config.with_root_certificates(RootCertStore::empty()),
    };
    let Some((certificate, key)) = &destination.identity else {
        return Ok(config.with_no_client_auth());
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(certificate)?).collect();
    let key = PrivateKeyDer::from_pem_slice(&read(key)?)?;
    Ok(config.with_client_auth_cert(chain?, key)?)
}

fn authorities(path: &Path) -> anyhow::Result<RootCertStore> {
    let mut authorities = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&read(path)?) {
        authorities.add(certificate?)?;
    }
    Ok(authorities)
}
