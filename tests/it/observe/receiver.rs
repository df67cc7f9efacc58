//! A receiver of OTLP that keeps what it gets: over gRPC, or over HTTP on a thread of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1 as logs;
use opentelemetry_proto::tonic::collector::metrics::v1 as metrics;
use opentelemetry_proto::tonic::collector::trace::v1 as trace;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tonic::codec::CompressionEncoding;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::tls::authority::Authority;

/// What came.
#[derive(Debug, Default)]
pub struct Received {
    pub spans: Vec<(Resource, Span)>,
    /// The last value of each series.
    pub metrics: Vec<Metric>,
    /// The messages of log lines, each with its attributes.
    pub lines: Vec<(String, Vec<KeyValue>)>,
    /// The records of the decision log.
    pub records: Vec<LogRecord>,
    /// The header `x-key` and the encoding of each request.
    pub requests: Vec<(Option<String>, Option<String>)>,
}

/// What can be read and written.
trait Duplex: Read + Write + Send {}

impl<S: Read + Write + Send> Duplex for S {}

/// A receiver. Over gRPC it needs the runtime of the test.
#[derive(Clone, Debug)]
pub struct Receiver {
    pub endpoint: String,
    received: Arc<Mutex<Received>>,
    /// Whether it takes no logs.
    refuses: Arc<AtomicBool>,
    /// How long it takes over HTTP, in milliseconds.
    takes: Arc<AtomicU64>,
}

impl Receiver {
    pub async fn over_grpc() -> Self {
        Self::of_grpc("http", tonic::transport::Server::builder()).await
    }

    /// Its clients need a certificate of the authority whose server it is.
    pub async fn over_grpc_with_tls(authority: &Authority) -> Self {
        let own = authority.server();
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(&own.certificate, &own.key))
            .client_ca_root(Certificate::from_pem(&authority.pem));
        let server = tonic::transport::Server::builder().tls_config(tls).unwrap();
        Self::of_grpc("https", server).await
    }

    async fn of_grpc(scheme: &str, mut server: tonic::transport::Server) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            endpoint: format!("{scheme}://{}", listener.local_addr().unwrap()),
            received: Arc::default(),
            refuses: Arc::default(),
            takes: Arc::default(),
        };
        let gzip = CompressionEncoding::Gzip;
        let of_traces = trace::trace_service_server::TraceServiceServer::new(receiver.clone());
        let of_metrics =
            metrics::metrics_service_server::MetricsServiceServer::new(receiver.clone());
        let of_logs = logs::logs_service_server::LogsServiceServer::new(receiver.clone());
        let server = server
            .add_service(of_traces.accept_compressed(gzip))
            .add_service(of_metrics.accept_compressed(gzip))
            .add_service(of_logs.accept_compressed(gzip));
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(server.serve_with_incoming(incoming));
        receiver
    }

    pub fn over_http() -> Self {
        Self::of_http("http", |stream| Box::new(stream))
    }

    /// Its clients need a certificate of the authority whose server it is.
    pub fn over_http_with_tls(authority: &Authority) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let own = authority.server();
        let chain = CertificateDer::pem_slice_iter(own.certificate.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(chain, key)
            .unwrap();
        let config = Arc::new(config);
        Self::of_http("https", move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            Box::new(StreamOwned::new(connection, stream))
        })
    }

    fn of_http(
        scheme: &str,
        wrap: impl Fn(TcpStream) -> Box<dyn Duplex> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Self {
            endpoint: format!("{scheme}://{}", listener.local_addr().unwrap()),
            received: Arc::default(),
            refuses: Arc::default(),
            takes: Arc::default(),
        };
        let keeper = receiver.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (keeper, stream) = (keeper.clone(), wrap(stream.unwrap()));
                thread::spawn(move || keeper.answer(stream));
            }
        });
        receiver
    }

    /// Looks at what has come so far.
    pub fn look<T>(&self, look: impl FnOnce(&Received) -> T) -> T {
        look(&self.received.lock().unwrap())
    }

    /// Takes no logs from now on, or takes them again.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::Relaxed);
    }

    /// Makes it slow over HTTP.
    pub fn answer_after(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.takes.store(millis, Ordering::Relaxed);
    }

    /// Answers the requests of one connection.
    fn answer(&self, stream: Box<dyn Duplex>) {
        let mut reader = BufReader::new(stream);
        loop {
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                if line == "\r\n" {
                    break;
                }
                head.push(line.trim_end().to_owned());
            }
            let header = |name: &str| {
                let mut lines = head.iter().filter_map(|line| line.split_once(": "));
                let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name))?;
                Some(found.1.to_owned())
            };
            let length = header("content-length").unwrap().parse().unwrap();
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let encoding = header("content-encoding");
            if encoding.as_deref() == Some("gzip") {
                let mut plain = Vec::new();
                flate2::read::GzDecoder::new(body.as_slice())
                    .read_to_end(&mut plain)
                    .unwrap();
                body = plain;
            }
            self.note(header("x-key"), encoding);
            let path = head[0].split(' ').nth(1).unwrap();
            let mut status = "200 OK";
            match path {
                "/v1/logs" if self.refuses.load(Ordering::Relaxed) => status = "503 Busy",
                "/v1/traces" => self.keep_spans(Message::decode(body.as_slice()).unwrap()),
                "/v1/metrics" => self.keep_metrics(Message::decode(body.as_slice()).unwrap()),
                "/v1/logs" => self.keep_lines(Message::decode(body.as_slice()).unwrap()),
                other => panic!("{other}"),
            }
            thread::sleep(Duration::from_millis(self.takes.load(Ordering::Relaxed)));
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
            );
            if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn note(&self, key: Option<String>, encoding: Option<String>) {
        self.received.lock().unwrap().requests.push((key, encoding));
    }

    fn note_grpc<T>(&self, request: &Request<T>) {
        let header = |name: &str| {
            let value = request.metadata().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        self.note(header("x-key"), header("grpc-encoding"));
    }

    fn keep_spans(&self, request: trace::ExportTraceServiceRequest) {
        let spans = &mut self.received.lock().unwrap().spans;
        for of_resource in request.resource_spans {
            let resource = of_resource.resource.unwrap();
            for scope in of_resource.scope_spans {
                spans.extend(scope.spans.into_iter().map(|span| (resource.clone(), span)));
            }
        }
    }

    fn keep_metrics(&self, request: metrics::ExportMetricsServiceRequest) {
        let scopes = request
            .resource_metrics
            .into_iter()
            .flat_map(|of| of.scope_metrics);
        self.received.lock().unwrap().metrics = scopes.flat_map(|scope| scope.metrics).collect();
    }

    fn keep_lines(&self, request: logs::ExportLogsServiceRequest) {
        let mut received = self.received.lock().unwrap();
        let scopes = request
            .resource_logs
            .into_iter()
            .flat_map(|of| of.scope_logs);
        for scope in scopes {
            if scope.scope.is_some_and(|of| of.name == "iamd.decision_log") {
                received.records.extend(scope.log_records);
                continue;
            }
            for record in scope.log_records {
                if let Some(message) = text(&record) {
                    received.lines.push((message, record.attributes));
                }
            }
        }
    }
}

#[tonic::async_trait]
impl trace::trace_service_server::TraceService for Receiver {
    async fn export(
        &self,
        request: Request<trace::ExportTraceServiceRequest>,
    ) -> Result<Response<trace::ExportTraceServiceResponse>, Status> {
        self.note_grpc(&request);
        self.keep_spans(request.into_inner());
        Ok(Response::new(trace::ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl metrics::metrics_service_server::MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<metrics::ExportMetricsServiceRequest>,
    ) -> Result<Response<metrics::ExportMetricsServiceResponse>, Status> {
        self.note_grpc(&request);
        self.keep_metrics(request.into_inner());
        Ok(Response::new(
            metrics::ExportMetricsServiceResponse::default(),
        ))
    }
}

#[tonic::async_trait]
impl logs::logs_service_server::LogsService for Receiver {
    async fn export(
        &self,
        request: Request<logs::ExportLogsServiceRequest>,
    ) -> Result<Response<logs::ExportLogsServiceResponse>, Status> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(Status::unavailable("it takes no logs"));
        }
        self.note_grpc(&request);
        self.keep_lines(request.into_inner());
        Ok(Response::new(logs::ExportLogsServiceResponse::default()))
    }
}

/// Returns the body of a record, if it is a text.
pub fn text(record: &LogRecord) -> Option<String> {
    match record.body.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

/// Returns the value of an attribute, as text.
pub fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(is_true) => is_true.to_string(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

impl Received {
    /// Returns the sum of the points of a counter that have this attribute.
    pub fn counter(&self, name: &str, (key, value): (&str, &str)) -> Option<i64> {
        let metric = self.metrics.iter().find(|metric| metric.name == name)?;
        let Some(Data::Sum(sum)) = &metric.data else {
            panic!("{metric:?}");
        };
        assert!(sum.is_monotonic, "{name}");
        let points = sum.data_points.iter();
        let points = points
            .filter(|point| attribute(&point.attributes, key).as_deref() == Some(value))
            .map(|point| match point.value {
                Some(number_data_point::Value::AsInt(number)) => number,
                ref other => panic!("{other:?}"),
            });
        Some(points.sum())
    }

    /// Returns the number of values and the sum of a histogram's points.
    pub fn histogram(&self, name: &str) -> Option<(u64, f64)> {
        let metric = self.metrics.iter().find(|metric| metric.name == name)?;
        let Some(Data::Histogram(histogram)) = &metric.data else {
            panic!("{metric:?}");
        };
        let points = &histogram.data_points;
        let count = points.iter().map(|point| point.count).sum();
        Some((count, points.iter().filter_map(|point| point.sum).sum()))
    }
}
