//! The client of a running server, for the command line.

use std::time::Duration;

use anyhow::{Context as _, bail};
use prost::Message;
use tokio::runtime::{Builder, Runtime};
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::encoded::Encoded;
use super::health_pb::HealthCheckRequest;
use super::health_pb::health_check_response::ServingStatus;
use super::health_pb::health_client::HealthClient;
use super::json::NoAnswer;
use super::pb::authorization_service_client::AuthorizationServiceClient;
use super::status::{Enforced, ServerStatus};
use super::{convert, explain, lists, pb, simulate};
use crate::authorizer::{
    Access, Answer, ContextKeyUse, Explained, Listed, Paging, Permission, Question, Simulated,
    Simulation,
};
use crate::config::{
    CLIENT_TIMEOUT, INTERACTIVE_DEADLINE, MAX_EXPLANATION_BYTES, MAX_MESSAGE_BYTES,
};

/// What a client needs for TLS, as PEM.
#[derive(Clone)]
pub struct Pem {
    /// The authorities of the server's certificate.
    pub authorities: Vec<u8>,
    /// The client's own certificate chain and its key, if it has one.
    pub own: Option<(Vec<u8>, Vec<u8>)>,
}

/// A connection to a server. Every call has a deadline, and no call is retried.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    channel: Channel,
}

impl Client {
    /// Connects to `127.0.0.1:50051`, `http://host:port`, `unix:/path`, or with `pem` to `https://host:port`.
    pub fn connect(address: &str, pem: Option<&Pem>) -> anyhow::Result<Self> {
        let endpoint = endpoint(address, pem)?;
        let runtime = runtime()?;
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

    /// Returns a client that connects to `address` with each call, if it is not connected.
    pub fn lazy(address: &str, pem: Option<&Pem>) -> anyhow::Result<Self> {
        let endpoint = endpoint(address, pem)?;
        let runtime = runtime()?;
        let channel = {
            let _context = runtime.enter();
            endpoint.connect_lazy()
        };
        Ok(Self { runtime, channel })
    }

    /// Asks one question.
    pub fn authorize(&self, question: &Question<'_>) -> Result<Answer, NoAnswer> {
        let mut stub = AuthorizationServiceClient::new(self.channel.clone());
        let mut request = tonic::Request::new(convert::message(question));
        request.set_timeout(CLIENT_TIMEOUT);
        let call = async { stub.authorize(request).await };
        let response = self.runtime.block_on(call);
        let response = response.map_err(|status| no_answer(question, &status))?;
        let answer = convert::answer(response.into_inner());
        answer.ok_or_else(|| NoAnswer::undecided(question.request_id))
    }

    /// Asks for a simulation, which may take its time.
    pub fn simulate(&self, simulation: &Simulation<'_>) -> Result<Simulated, NoAnswer> {
        let stub = AuthorizationServiceClient::new(self.channel.clone());
        let mut stub = stub.max_decoding_message_size(MAX_MESSAGE_BYTES);
        let mut request = tonic::Request::new(simulate::message(simulation));
        request.set_timeout(INTERACTIVE_DEADLINE);
        let call = async { stub.simulate(request).await };
        let response = decoded(self.runtime.block_on(call));
        let response = response.map_err(|status| no_answer(&simulation.question, &status))?;
        let simulated = simulate::simulated(response);
        simulated.ok_or_else(|| NoAnswer::undecided(simulation.question.request_id))
    }

    /// Asks one question, and why it is answered so.
    pub fn explain(&self, question: &Question<'_>) -> Result<Explained, NoAnswer> {
        let stub = AuthorizationServiceClient::new(self.channel.clone());
        let mut stub = stub.max_decoding_message_size(MAX_EXPLANATION_BYTES);
        let mut request = tonic::Request::new(explain::message(question));
        request.set_timeout(INTERACTIVE_DEADLINE);
        let call = async { stub.explain(request).await };
        let response = decoded(self.runtime.block_on(call));
        let response = response.map_err(|status| no_answer(question, &status))?;
        let explained = explain::explained(response);
        explained.map_err(|unclear| NoAnswer::unclear(question.request_id, unclear))
    }

    /// Asks what a principal may do: one page.
    pub fn list_permissions(
        &self,
        question: &Question<'_>,
        paging: Paging<'_>,
    ) -> Result<Listed<Permission>, NoAnswer> {
        let mut stub = self.lists();
        let request = interactive(lists::permissions_message(question, paging));
        let call = async { stub.list_permissions(request).await };
        let response = decoded(self.runtime.block_on(call));
        let response = response.map_err(|status| no_answer(question, &status))?;
        Ok(lists::listed_permissions(response))
    }

    /// Asks who may do something: one page.
    pub fn list_principals(
        &self,
        question: &Question<'_>,
        paging: Paging<'_>,
    ) -> Result<Listed<Access>, NoAnswer> {
        let mut stub = self.lists();
        let request = interactive(lists::principals_message(question, paging));
        let call = async { stub.list_principals(request).await };
        let response = decoded(self.runtime.block_on(call));
        let response = response.map_err(|status| no_answer(question, &status))?;
        Ok(lists::listed_principals(response))
    }

    /// Asks which context keys count.
    pub fn list_context_keys(
        &self,
        question: &Question<'_>,
    ) -> Result<Listed<ContextKeyUse>, NoAnswer> {
        let mut stub = self.lists();
        let request = interactive(lists::context_keys_message(question));
        let call = async { stub.list_context_keys(request).await };
        let response = decoded(self.runtime.block_on(call));
        let response = response.map_err(|status| no_answer(question, &status))?;
        Ok(lists::listed_context_keys(response))
    }

    fn lists(&self) -> AuthorizationServiceClient<Channel> {
        let stub = AuthorizationServiceClient::new(self.channel.clone());
        stub.max_decoding_message_size(MAX_EXPLANATION_BYTES)
    }

    /// Returns the state of the server.
    pub fn status(&self) -> anyhow::Result<ServerStatus> {
        let stub = AuthorizationServiceClient::new(self.channel.clone());
        let mut stub = stub.max_decoding_message_size(MAX_MESSAGE_BYTES);
        let mut request = tonic::Request::new(pb::StatusRequest {});
        request.set_timeout(CLIENT_TIMEOUT);
        match self.runtime.block_on(async { stub.status(request).await }) {
            Ok(response) => Ok(ServerStatus(response.into_inner())),
            Err(status) => bail!("{}", because(&status)),
        }
    }

    /// Tells `is_enough` the revision in force and each change of it, until that returns true. Returns false if it never
    /// does within `timeout`, and the cause if the server cannot be asked or ends the stream.
    pub fn watch_revision(
        &self,
        timeout: Duration,
        mut is_enough: impl FnMut(Enforced) -> bool,
    ) -> anyhow::Result<bool> {
        let mut stub = AuthorizationServiceClient::new(self.channel.clone());
        let watching = async {
            let mut enforced = stub
                .watch_revision(pb::WatchRevisionRequest {})
                .await?
                .into_inner();
            while let Some(next) = enforced.message().await? {
                if is_enough(Enforced(next)) {
                    return Ok(());
                }
            }
            Err(Status::unavailable("the server has ended"))
        };
        let watched = async { tokio::time::timeout(timeout, watching).await };
        match self.runtime.block_on(watched) {
            Ok(Ok(())) => Ok(true),
            Ok(Err(status)) => bail!("{}", because(&status)),
            Err(_) => Ok(false),
        }
    }

    /// Returns whether `service` is serving. The empty name stands for the whole server.
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

fn runtime() -> anyhow::Result<Runtime> {
    let mut runtime = Builder::new_current_thread();
    runtime.enable_all().build().context("no runtime")
}

/// Returns what a status says, with the causes of a failed connection.
fn because(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(cause) => causes(cause),
        None => NoAnswer::by_server("", status).to_string(),
    }
}

/// Returns a request for a call that may take its time.
fn interactive<M>(message: M) -> tonic::Request<M> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(INTERACTIVE_DEADLINE);
    request
}

/// Returns the message that an answer carries.
fn decoded<M: Message + Default>(
    answer: Result<tonic::Response<Encoded>, Status>,
) -> Result<M, Status> {
    let message = answer?.into_inner().decoded();
    message.map_err(|error| Status::internal(format!("the answer cannot be read: {error}")))
}

fn no_answer(question: &Question<'_>, status: &Status) -> NoAnswer {
    NoAnswer::by_server(question.request_id, status)
}

fn endpoint(address: &str, pem: Option<&Pem>) -> anyhow::Result<Endpoint> {
    let is_tls = address.starts_with("https:");
    match pem {
        None if is_tls => bail!(
            "cannot connect to `{address}`: give the authorities of its certificate with `--tls-ca FILE`"
        ),
        Some(_) if !is_tls => {
            bail!("`--tls-ca` is for TLS, and `{address}` is not: write `https://host:port`")
        }
        _ => {}
    }
    let uri = if is_tls || address.starts_with("unix:") || address.starts_with("http:") {
        address.to_owned()
    } else {
        format!("http://{address}")
    };
    let endpoint = Endpoint::from_shared(uri).ok().with_context(|| {
        format!("`{address}` is not an address: write `127.0.0.1:50051` or `unix:/path`")
    })?;
    let endpoint = endpoint.connect_timeout(CLIENT_TIMEOUT).tcp_nodelay(true);
    let Some(Pem { authorities, own }) = pem else {
        return Ok(endpoint);
    };
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities));
    let tls = match own {
        Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
        None => tls,
    };
    let endpoint = endpoint.tls_config(tls);
    endpoint.map_err(|error| anyhow::anyhow!("the TLS files cannot be used: {}", causes(&error)))
}

/// Joins an error and its causes with colons. A cause that only repeats the one before is left out.
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

#[cfg(test)]
mod tests;
