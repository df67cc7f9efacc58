//! Asking a running server, for the command line.

use anyhow::{Context as _, bail};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::explain::Explained;
use super::pb;
use super::pb::authorization_service_client::AuthorizationServiceClient;
use super::question::{Answer, NoAnswer, Question};
use super::simulate::{Simulation, SimulationAnswer};
use crate::config::{
    CLIENT_TIMEOUT, DEADLINE_FOR_PEOPLE, MAX_EXPLANATION_BYTES, MAX_MESSAGE_BYTES,
};

/// A connection to a server. Every call has a deadline, and nothing is asked twice.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    channel: Channel,
}

impl Client {
    /// Connects to `127.0.0.1:50051`, `http://host:port` or `unix:/path`.
    pub fn connect(address: &str) -> anyhow::Result<Self> {
        let endpoint = endpoint(address)?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime")?;
        let connecting = async { tokio::time::timeout(CLIENT_TIMEOUT, endpoint.connect()).await };
        let channel = match runtime.block_on(connecting) {
            Ok(channel) => channel.map_err(|error| anyhow::anyhow!(causes(&error))),
            Err(_) => Err(anyhow::anyhow!(
                "no answer within {} s",
                CLIENT_TIMEOUT.as_secs()
            )),
        };
        let channel = channel.with_context(|| format!("cannot connect to `{address}`"))?;
        Ok(Self { runtime, channel })
    }

    /// Asks one question.
    pub fn ask(&self, question: Question) -> Result<Answer, NoAnswer> {
        let request_id = question.0.request_id.clone();
        let mut stub = AuthorizationServiceClient::new(self.channel.clone());
        let mut request = tonic::Request::new(question.0);
        request.set_timeout(CLIENT_TIMEOUT);
        match self
            .runtime
            .block_on(async { stub.authorize(request).await })
        {
            Ok(response) => Ok(Answer(response.into_inner())),
            Err(status) => Err(NoAnswer {
                request_id,
                status: Box::new(status),
            }),
        }
    }

    /// Asks for a simulation, which may take its time.
    pub fn simulate(&self, simulation: Simulation) -> Result<SimulationAnswer, NoAnswer> {
        let request_id = simulation.0.request_id.clone();
        let stub = AuthorizationServiceClient::new(self.channel.clone());
        let mut stub = stub.max_decoding_message_size(MAX_MESSAGE_BYTES);
        let mut request = tonic::Request::new(simulation.0);
        request.set_timeout(DEADLINE_FOR_PEOPLE);
        match self
            .runtime
            .block_on(async { stub.simulate(request).await })
        {
            Ok(response) => Ok(SimulationAnswer(response.into_inner())),
            Err(status) => Err(NoAnswer {
                request_id,
                status: Box::new(status),
            }),
        }
    }

    /// Asks one question, and why it is answered so.
    pub fn explain(&self, question: Question) -> Result<Explained, NoAnswer> {
        let request_id = question.0.request_id.clone();
        let mut stub = AuthorizationServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_EXPLANATION_BYTES);
        let mut request = tonic::Request::new(pb::ExplainRequest::from(question.0));
        request.set_timeout(DEADLINE_FOR_PEOPLE);
        match self.runtime.block_on(async { stub.explain(request).await }) {
            Ok(response) => Ok(Explained(response.into_inner())),
            Err(status) => Err(NoAnswer {
                request_id,
                status: Box::new(status),
            }),
        }
    }

    /// Whether `service` is serving; the empty name is the server as a whole.
    pub fn is_serving(&self, service: &str) -> anyhow::Result<bool> {
        let mut stub = HealthClient::new(self.channel.clone());
        let mut request = tonic::Request::new(HealthCheckRequest {
            service: service.to_owned(),
        });
        request.set_timeout(CLIENT_TIMEOUT);
        match self.runtime.block_on(async { stub.check(request).await }) {
            Ok(response) => Ok(response.into_inner().status() == ServingStatus::Serving),
            Err(status) => bail!("the health check failed: {}", status.message()),
        }
    }
}

fn endpoint(address: &str) -> anyhow::Result<Endpoint> {
    if address.starts_with("https:") {
        bail!("cannot connect to `{address}`: this version of iamd speaks no TLS");
    }
    let uri = if address.starts_with("unix:") || address.starts_with("http:") {
        address.to_owned()
    } else {
        format!("http://{address}")
    };
    let endpoint = Endpoint::from_shared(uri).ok().with_context(|| {
        format!("`{address}` is no address: write `127.0.0.1:50051` or `unix:/path`")
    })?;
    Ok(endpoint.connect_timeout(CLIENT_TIMEOUT).tcp_nodelay(true))
}

/// An error and its causes, joined with colons; a cause that only repeats the one before is left out.
fn causes(error: &dyn std::error::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        texts.push(cause.to_string());
        next = cause.source();
    }
    texts.dedup();
    texts.join(": ")
}
