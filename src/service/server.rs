//! The server: it binds its sockets, serves calls within limits, and drains.

use std::future::Future;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tonic::service::Routes;
use tonic::transport::Server;

use super::bind::Listener;
use super::calls::{Bounds, Calls};
use super::drain::Drain;
use super::grpc::Grpc;
pub use super::health::Readiness;
use super::health_pb::health_server::HealthServer;
use super::listen::accept_all;
use super::pb;
use super::pb::authorization_service_server::AuthorizationServiceServer;
use super::status::Reporter;
use super::tls::Tls;
use crate::authorizer::Authorizer;
use crate::config::{
    Config, KEEPALIVE, MAX_HEADER_LIST_BYTES, MAX_LOCAL_ERROR_RESET_STREAMS,
    MAX_PENDING_RESET_STREAMS, MAX_SIMULATIONS_RECEIVED, MAX_WINDOW_BYTES, STREAM_WINDOW_BYTES,
};
use crate::state::SharedState;

/// Bound sockets. The system keeps connections waiting until they are served.
#[derive(Debug)]
pub struct Listeners {
    listeners: Vec<Listener>,
    certificates: Certificates,
}

/// The files with the certificates of a server, which are read again when they change.
#[derive(Clone, Debug)]
pub struct Certificates(Option<Arc<Tls>>);

impl Certificates {
    /// Asks for a look at the files now. Does nothing without TLS.
    pub fn request_look(&self) {
        if let Some(tls) = &self.0 {
            tls.request_look();
        }
    }
}

impl Listeners {
    /// Reads the certificate of the configuration, if it has one, and binds every address. If one fails, no socket stays
    /// bound.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let tls = Tls::of(config)?.map(Arc::new);
        let mut listeners = Vec::with_capacity(config.listen.len());
        for address in &config.listen {
            listeners.push(Listener::bind(address, config.socket_mode, tls.as_ref()).await?);
        }
        Ok(Self {
            listeners,
            certificates: Certificates(tls),
        })
    }

    /// Returns the certificates of the TCP sockets.
    pub fn certificates(&self) -> Certificates {
        self.certificates.clone()
    }
}

/// The counter of the calls that a server has in flight.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<Drain>);

impl InFlight {
    /// Returns how many calls are in flight now.
    pub fn n_calls(&self) -> usize {
        self.0.n_calls()
    }
}

/// Answers calls until `stop` completes, then drains: it accepts no new connections, lets the calls in flight end, and
/// closes connections without a call. Returns when the last connection is closed. The caller may cut that short.
pub async fn serve(
    listeners: Listeners,
    authorizer: Arc<Authorizer>,
    state: Arc<SharedState>,
    readiness: Arc<Readiness>,
    config: &Config,
    in_flight: &InFlight,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let drain = &in_flight.0;
    if let Certificates(Some(tls)) = listeners.certificates {
        tokio::spawn(tls.watch());
    }
    let stop = async {
        stop.await;
        drain.begin();
    };
    let routes = routes(authorizer, state, readiness, config)?;
    let (keepalive_interval, keepalive_timeout) = KEEPALIVE;
    let connections = accept_all(
        listeners.listeners,
        config.max_connections,
        &config.callers,
        drain,
    );
    Server::builder()
        .max_concurrent_streams(config.max_streams_per_connection)
        // The window has space for all calls of a connection, so calls that wait do not stop others from being read.
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(
            config
                .max_streams_per_connection
                .saturating_add(1)
                .saturating_mul(STREAM_WINDOW_BYTES)
                .min(MAX_WINDOW_BYTES),
        )
        .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESET_STREAMS))
        .http2_max_local_error_reset_streams(Some(MAX_LOCAL_ERROR_RESET_STREAMS))
        .http2_keepalive_interval(Some(keepalive_interval))
        .http2_keepalive_timeout(Some(keepalive_timeout))
        .serve_with_incoming_shutdown(
            Calls {
                inner: routes.prepare(),
                bounds: Bounds {
                    places: Arc::new(Semaphore::new(MAX_SIMULATIONS_RECEIVED)),
                    default_deadline: config.default_deadline,
                    max_question_bytes: config.limits.max_question_bytes,
                    max_message_bytes: config.max_message_bytes,
                },
            },
            connections,
            stop,
        )
        .await
        .context("the server stopped")
}

/// Returns the services of a server.
fn routes(
    authorizer: Arc<Authorizer>,
    state: Arc<SharedState>,
    readiness: Arc<Readiness>,
    config: &Config,
) -> anyhow::Result<Routes> {
    let reporter = Reporter::new(state, Arc::clone(&readiness), config);
    let grpc = Grpc::new(authorizer, reporter, config);
    let authorization =
        AuthorizationServiceServer::new(grpc).max_decoding_message_size(config.max_message_bytes);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
    };
    Ok(Routes::new(authorization)
        .add_service(HealthServer::new(readiness.service()))
        .add_service(
            reflection()
                .build_v1()
                .context("reflection has no descriptors")?,
        )
        .add_service(
            reflection()
                .build_v1alpha()
                .context("reflection has no descriptors")?,
        ))
}

#[cfg(test)]
mod tests;
