//! A gRPC client over one connection, as thin as the generated code allows.

use iamd::service::pb::Decision;
use iamd::service::pb::authorization_service_client::AuthorizationServiceClient;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::worlds::Question;

/// One connection.
pub struct Client(AuthorizationServiceClient<Channel>);

/// The parts of an answer that the measurements check.
#[derive(Debug)]
pub struct Answer {
    /// Whether it was `DECISION_ALLOW`.
    pub is_allowed: bool,
    /// The revision that decided.
    pub revision: String,
}

impl Client {
    /// Connects to `address`, a host and a port.
    pub async fn connect(address: &str) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?
            .tcp_nodelay(true)
            .connect()
            .await?;
        Ok(Self(AuthorizationServiceClient::new(channel)))
    }

    /// Asks one question and waits for its answer.
    pub async fn ask(&mut self, question: &Question) -> Result<Answer, Status> {
        let answer = self
            .0
            .authorize(question.request.clone())
            .await?
            .into_inner();
        Ok(Answer {
            is_allowed: answer.decision() == Decision::Allow,
            revision: answer.revision,
        })
    }
}
