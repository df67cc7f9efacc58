//! The server: it binds its sockets, serves calls within limits, and drains.

use std::future::Future;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::service::Routes;

use super::batch::BatchBounds;
use super::bind::{Access, Listener};
use super::calls::{Bounds, Calls, Unfinished};
use super::drain::Drain;
use super::framed::Framed;
use super::grpc::Grpc;
pub use super::health::Readiness;
use super::health_pb::health_server::HealthServer;
use super::http2::Http2;
use super::listen::Acceptor;
use super::newest::Newest;
use super::observed::Observed;
use super::pb;
use super::pb::authorization_service_server::AuthorizationServiceServer;
use super::status::Reporter;
use super::tls::Tls;
use super::workers::Workers;
use crate::authorizer::Authorizer;
use crate::config::{
    Config, MAX_HEALTH_CONNECTIONS, MAX_INTERACTIVE_WAITING, MAX_SIMULATIONS_RECEIVED,
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
pub struct Certificates(pub(super) Option<Arc<Tls>>);

impl Certificates {
    /// Returns the time at which the server's certificate expires, in seconds since 1970; 0 without TLS.
    pub fn expiry(&self) -> i64 {
        self.0.as_ref().map_or(0, |tls| tls.expiry())
    }

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
        let access = Access {
            mode: config.socket_mode,
            group: config.socket_group,
        };
        for address in &config.listen {
            listeners.push(Listener::bind(address, access, tls.as_ref()).await?);
        }
        if let Some(address) = config.health_listen {
            listeners.push(Listener::bind_for_health(address).await?);
        }
        Ok(Self {
            listeners,
            certificates: Certificates(tls),
        })
    }

    /// Returns the bound addresses.
    pub fn addresses(&self) -> Vec<String> {
        let listeners = self.listeners.iter();
        listeners.map(|one| one.address().to_string()).collect()
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
    let calls = Observed(Calls {
        inner: Framed {
            inner: routes(Arc::clone(&authorizer), state, readiness, config)?.prepare(),
            authorizer: Arc::clone(&authorizer),
            batch: BatchBounds {
                max_questions: config.max_batch_questions,
                max_answer_bytes: config.max_message_bytes,
            },
            max_message_bytes: config.max_message_bytes,
        },
        bounds: Bounds {
            places: Arc::new(Semaphore::new(MAX_SIMULATIONS_RECEIVED)),
            waiting: Arc::new(Semaphore::new(MAX_INTERACTIVE_WAITING)),
            default_deadline: config.default_deadline,
            max_question_bytes: config.limits.max_question_bytes,
            max_message_bytes: config.max_message_bytes,
            max_in_flight: config.max_questions_in_flight,
            unfinished: Arc::new(Unfinished::new(config.max_unfinished_bytes)),
        },
    });
    let workers = Arc::new(Workers::start(n_threads(config))?);
    let acceptor = Arc::new(Acceptor {
        http2: Http2::new(config, authorizer, calls),
        callers: config.callers.as_slice().into(),
        places: Arc::new(Semaphore::new(config.max_connections)),
        health_places: Newest::new(MAX_HEALTH_CONNECTIONS),
        drain: Arc::clone(drain),
        workers: Arc::clone(&workers),
    });
    let mut accepting = JoinSet::new();
    for listener in listeners.listeners {
        let acceptor = Arc::clone(&acceptor);
        accepting.spawn(async move { acceptor.accept_all(&listener).await });
    }
    drop(acceptor);
    stop.await;
    drain.begin();
    while accepting.join_next().await.is_some() {}
    if let Some(workers) = Arc::into_inner(workers) {
        workers.finish().await;
    }
    Ok(())
}

/// Returns how many threads serve connections.
pub fn n_threads(config: &Config) -> usize {
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    config.worker_threads.unwrap_or_else(available)
}

/// Returns the services of a server.
fn routes(
    authorizer: Arc<Authorizer>,
    state: Arc<SharedState>,
    readiness: Arc<Readiness>,
    config: &Config,
) -> anyhow::Result<Routes> {
    let reporter = Reporter::new(state, Arc::clone(&readiness), config);
    let grpc = Grpc::new(authorizer, reporter);
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
