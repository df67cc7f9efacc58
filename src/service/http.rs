//! The HTTP listener: pages for monitoring and for operators.
//!
//! ```text
//! /metrics   Prometheus text               anyone who can connect
//! /livez     the process answers           anyone
//! /readyz    it answers questions          anyone
//! /statusz   state, findings, latencies    whoever may see policies (S-12)
//! ```
//! It is HTTP/1.1. A request has no body, and a page depends on nothing but its path and the form that the client wants.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::callers::{May, may};
use super::health::Readiness;
use super::newest::Newest;
use super::observed::note_shed_oldest;
use super::server::Certificates;
use super::socket::Socket;
use super::status::Reporter;
use super::statusz::{self, Shown};
use super::tls::Tls;
use crate::config::{
    ACCEPT_BACK_OFF, Caller, Config, HTTP_CONNECTION_TIME, HTTP_HEAD_TIMEOUT, LATENCY_SAMPLE,
    MAX_HTTP_CONNECTIONS, MAX_HTTP_HEAD,
};
use crate::telemetry::{Metrics, Recent, Sources, counters};

/// A bound HTTP listener.
#[derive(Debug)]
pub struct HttpListener {
    listener: TcpListener,
    /// Without it, the listener speaks plaintext.
    tls: Option<Arc<Tls>>,
    is_local: bool,
    address: SocketAddr,
}

impl HttpListener {
    /// Returns its address as a URL.
    pub fn address(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Binds the address of `http_listen` and logs it; `None` if the setting turns the listener off. It speaks TLS if the
    /// other TCP listeners do.
    pub async fn bind(
        config: &Config,
        certificates: &Certificates,
    ) -> anyhow::Result<Option<Self>> {
        let Some(address) = config.http_listen else {
            return Ok(None);
        };
        let failed = || {
            format!(
                "cannot listen on `{address}` for HTTP: give another `--http-listen`, or `none`"
            )
        };
        let listener = TcpListener::bind(address).await.with_context(failed)?;
        let bound: SocketAddr = listener.local_addr().with_context(failed)?;
        let tls = certificates.0.clone();
        tracing::info!(address = %bound, tls = tls.is_some(), "listening for HTTP");
        Ok(Some(Self {
            listener,
            tls,
            is_local: bound.ip().to_canonical().is_loopback(),
            address: bound,
        }))
    }
}

/// What the pages show.
#[derive(Debug)]
pub struct Pages {
    metrics: Metrics,
    sources: Sources,
    readiness: Arc<Readiness>,
    reporter: Reporter,
    recent: Recent,
    callers: Arc<[Caller]>,
}

impl Pages {
    /// Returns the pages of a server with these sources.
    pub fn new(
        sources: Sources,
        readiness: Arc<Readiness>,
        config: &Config,
    ) -> anyhow::Result<Self> {
        let reporter = Reporter::new(Arc::clone(&sources.state), Arc::clone(&readiness), config);
        Ok(Self {
            metrics: Metrics::new(&sources)?,
            sources,
            readiness,
            reporter,
            recent: Recent::default(),
            callers: config.callers.as_slice().into(),
        })
    }
}

/// Serves the pages until `stop` completes, and lets the requests in flight end then. The caller may cut that short.
pub async fn serve(listener: HttpListener, pages: Arc<Pages>, stop: impl Future<Output = ()>) {
    let mut connections = JoinSet::new();
    let places = Newest::new(MAX_HTTP_CONNECTIONS);
    let mut was_full = false;
    let (ends, end) = watch::channel(());
    let mut stop = std::pin::pin!(stop);
    let mut samples = tokio::time::interval(LATENCY_SAMPLE);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.listener.accept() => accepted,
            _ = samples.tick() => {
                pages.recent.note(Instant::now(), counters().decision_durations());
                continue;
            }
            Some(_) = connections.join_next() => continue, // a panic has been logged
        };
        match accepted {
            Ok((stream, _)) => {
                let (place, is_full) = places.take().await;
                note_shed_oldest(&mut was_full, is_full, "for HTTP");
                let (pages, tls, end) = (Arc::clone(&pages), listener.tls.clone(), end.clone());
                let is_local = listener.is_local;
                connections.spawn(async move {
                    tokio::select! {
                        () = place.is_lost() => {}
                        () = greet(stream, tls, is_local, pages, end) => {}
                    }
                });
            }
            Err(error) => {
                tracing::debug!("cannot accept a connection for HTTP: {error}");
                tokio::time::sleep(ACCEPT_BACK_OFF).await;
            }
        }
    }
    drop(listener);
    drop(ends);
    while connections.join_next().await.is_some() {}
}

/// Does the TLS handshake of a connection, if there is one, and answers its requests.
async fn greet(
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    is_local: bool,
    pages: Arc<Pages>,
    mut end: watch::Receiver<()>,
) {
    let _ = stream.set_nodelay(true); // without it an answer only comes later
    let socket = match tls {
        None => Socket::Tcp(stream),
        Some(tls) => {
            let met = tokio::select! {
                _ = end.changed() => return,
                met = tls.handshake_for_http(stream) => met,
            };
            match met {
                Ok(stream) => Socket::Tls(Box::new(stream)),
                Err(unmet) => return unmet.log(),
            }
        }
    };
    let may = may(&pages.callers, &socket, is_local);
    let answer = service_fn(move |request| {
        let pages = Arc::clone(&pages);
        async move { Ok::<_, Infallible>(answer(request, pages, may).await) }
    });
    let (max_bytes, max_headers) = MAX_HTTP_HEAD;
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_HEAD_TIMEOUT)
        .max_buf_size(max_bytes)
        .max_headers(max_headers)
        .serve_connection(TokioIo::new(socket), answer);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = tokio::time::sleep(HTTP_CONNECTION_TIME) => {
            connection.as_mut().graceful_shutdown();
            let last = tokio::time::timeout(HTTP_HEAD_TIMEOUT, connection).await;
            last.unwrap_or(Ok(()))
        }
        _ = end.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection for HTTP ended: {error}");
    }
}

/// The form of `/statusz` that a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Answers one request.
async fn answer(request: Request<Incoming>, pages: Arc<Pages>, may: May) -> Response<Full<Bytes>> {
    let is_head = request.method() == Method::HEAD;
    if !is_head && request.method() != Method::GET {
        let mut refusal = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "use GET\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(header::ALLOW, allowed);
        return closing(refusal);
    }
    if !request.body().is_end_stream() {
        let refusal = page(
            StatusCode::BAD_REQUEST,
            TEXT,
            "a request has no body here\n",
        );
        return closing(refusal);
    }
    match request.uri().path() {
        "/livez" => page(StatusCode::OK, TEXT, "alive\n"),
        "/readyz" => readyz(&pages),
        "/metrics" => metrics(pages).await,
        "/statusz" if may < May::Disclose => page(
            StatusCode::FORBIDDEN,
            TEXT,
            "this page discloses the store: serve it on a loopback address, or name the caller in `--callers` with =disclose\n",
        ),
        "/statusz" => match form(request.uri().query(), request.headers()) {
            Some(form) => statusz_page(&pages, form),
            None => page(
                StatusCode::BAD_REQUEST,
                TEXT,
                "`format` is `text` or `json`\n",
            ),
        },
        _ => page(
            StatusCode::NOT_FOUND,
            TEXT,
            "there are /metrics, /livez, /readyz and /statusz\n",
        ),
    }
}

fn readyz(pages: &Pages) -> Response<Full<Bytes>> {
    let state = pages.readiness.in_words();
    let status = match state {
        "ready" => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    page(status, TEXT, format!("{state}\n"))
}

/// Writes the metrics on a thread that answers no calls, because that takes about a millisecond.
async fn metrics(pages: Arc<Pages>) -> Response<Full<Bytes>> {
    // A client may go before the page is written, and come again.
    static AT_ONCE: Semaphore = Semaphore::const_new(2);
    let Ok(permit) = AT_ONCE.acquire().await else {
        return page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "internal error\n"); // nobody closes it
    };
    let rendering = move || {
        let _permit = permit;
        pages.metrics.render()
    };
    let rendered = tokio::task::spawn_blocking(rendering).await;
    match rendered {
        Ok(Ok(text)) => page(StatusCode::OK, prometheus::TEXT_FORMAT, text),
        Ok(Err(error)) => page(
            StatusCode::INTERNAL_SERVER_ERROR,
            TEXT,
            format!("{error:#}\n"),
        ),
        Err(_) => page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "internal error\n"),
    }
}

fn statusz_page(pages: &Pages, form: Form) -> Response<Full<Bytes>> {
    let durations = counters().decision_durations();
    let shown = Shown {
        status: pages.reporter.status(),
        store: pages.sources.state.now(),
        readiness: pages.readiness.in_words(),
        n_in_flight: (pages.sources.in_flight)(),
        cache: pages.sources.live.cache_counts(),
        n_cached: pages
            .sources
            .live
            .load_full()
            .map_or(0, |generation| generation.n_cached()),
        certificate_expiry: (pages.sources.certificate_expiry)(),
        latency: pages.recent.of_last_minute(&durations),
    };
    match form {
        Form::Text => page(StatusCode::OK, TEXT, statusz::text(&shown)),
        Form::Json => page(StatusCode::OK, "application/json", statusz::json(&shown)),
    }
}

/// Returns the form that the query or else the header `Accept` asks for; `None` if the query asks for another one.
fn form(query: Option<&str>, headers: &HeaderMap) -> Option<Form> {
    let mut parts = query.unwrap_or_default().split('&');
    match parts.find_map(|part| part.strip_prefix("format=")) {
        Some("json") => Some(Form::Json),
        Some("text") => Some(Form::Text),
        Some(_) => None,
        None => {
            let accept = headers.get(header::ACCEPT);
            let accept = accept.and_then(|accept| accept.to_str().ok());
            let is_json = accept.is_some_and(|accept| accept.contains("application/json"));
            Some(if is_json { Form::Json } else { Form::Text })
        }
    }
}

fn page(
    status: StatusCode,
    content_type: &'static str,
    text: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// Makes a response the last one of its connection, so that the rest of the request need not be read.
fn closing(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}
