//! The gRPC door: `iamd.v1.AuthorizationService`.

use std::sync::Arc;

use jiff::Timestamp;
use tonic::{Request, Response, Status};

use super::pb::authorization_service_server::AuthorizationService;
use super::question::answer;
use super::{convert, pb};
use crate::config::Limits;
use crate::engine::live::Live;

/// Answers questions from whatever generation is in force.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) live: Arc<Live>,
    pub(super) limits: Limits,
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
            request.into_inner(),
            Timestamp::now(),
        )
        .map(Response::new)
    }
}
