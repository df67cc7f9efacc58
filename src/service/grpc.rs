//! The gRPC door: `iamd.v1.AuthorizationService`.

use std::sync::Arc;

use jiff::Timestamp;
use tonic::{Request, Response, Status};

use super::explain::explained;
use super::listen::Reach;
use super::pb::authorization_service_server::AuthorizationService;
use super::question::answer;
use super::{convert, pb};
use crate::config::Limits;
use crate::engine::explain::Redacted;
use crate::engine::live::Live;
use crate::engine::session_policy::SessionPolicies;

/// Answers questions from whatever generation is in force.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) live: Arc<Live>,
    pub(super) limits: Limits,
    /// What explanations do not show.
    pub(super) redacted: Arc<Redacted>,
    pub(super) session_policies: SessionPolicies,
}

#[tonic::async_trait]
impl AuthorizationService for Door {
    async fn authorize(
        &self,
        request: Request<pb::AuthorizeRequest>,
    ) -> Result<Response<pb::AuthorizeResponse>, Status> {
        // One question sees one generation: it is loaded once, and nothing awaits until the answer is made.
        let generation = self.live.load();
        let Some(generation) = generation.as_deref() else {
            return Err(convert::not_ready());
        };
        answer(
            &generation.snapshot,
            &self.limits,
            &self.session_policies,
            request.into_inner(),
            Timestamp::now(),
        )
        .map(Response::new)
    }

    async fn explain(
        &self,
        request: Request<pb::ExplainRequest>,
    ) -> Result<Response<pb::ExplainResponse>, Status> {
        Reach::check(&request)?;
        let Some(generation) = self.live.load_full() else {
            return Err(convert::not_ready());
        };
        let (limits, redacted) = (self.limits, Arc::clone(&self.redacted));
        // All of a large store takes its time, and the threads that answer `Authorize` must not wait for it.
        let explaining = tokio::task::spawn_blocking(move || {
            let question = request.into_inner().into();
            let now = Timestamp::now();
            explained(&generation.snapshot, &limits, &redacted, question, now)
        });
        let explained = explaining.await.map_err(|_| convert::internal())?;
        explained.map(Response::new)
    }
}
