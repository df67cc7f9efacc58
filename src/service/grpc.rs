//! The gRPC door: `iamd.v1.AuthorizationService`.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status};

use super::calls::Place;
use super::explain::explained;
use super::listen::Entrance;
use super::pb::authorization_service_server::AuthorizationService;
use super::question::answer;
use super::{convert, pb, simulate};
use crate::config::Limits;
use crate::engine::explain::Redacted;
use crate::engine::live::Live;
use crate::engine::session_policy::SessionPolicies;
use crate::engine::work::IsWanted;

/// Answers questions from whatever generation is in force.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) live: Arc<Live>,
    pub(super) limits: Limits,
    /// Places for simulations and explanations, which take their time.
    pub(super) simulations: Arc<Semaphore>,
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
        let (question, now) = (request.into_inner(), Timestamp::now());
        answer(
            question,
            &self.limits,
            &self.session_policies,
            now,
            |request| Ok((generation.authorize(request)?, &generation.snapshot)),
        )
        .map(Response::new)
    }

    async fn simulate(
        &self,
        request: Request<pb::SimulateRequest>,
    ) -> Result<Response<pb::SimulateResponse>, Status> {
        check_local(&request)?;
        let place = (self.place().await?, own_place(&request));
        let (live, limits) = (Arc::clone(&self.live), self.limits);
        let question = request.into_inner();
        // A thread that decides nothing else runs it, for as long as this call is awaited.
        let awaited = Arc::new(());
        let is_awaited = Arc::downgrade(&awaited);
        let simulated = tokio::task::spawn_blocking(move || {
            let _place = place;
            let generation = live.load();
            let Some(generation) = generation.as_deref() else {
                return Err(convert::not_ready());
            };
            let is_wanted: IsWanted = Arc::new(move || is_awaited.strong_count() > 0);
            let now = Timestamp::now();
            simulate::answer(&generation.snapshot, &limits, question, now, &is_wanted)
        })
        .await;
        drop(awaited);
        simulated
            .map_err(|_| convert::internal())?
            .map(Response::new)
    }

    async fn explain(
        &self,
        request: Request<pb::ExplainRequest>,
    ) -> Result<Response<pb::ExplainResponse>, Status> {
        check_local(&request)?;
        let place = (self.place().await?, own_place(&request));
        let Some(generation) = self.live.load_full() else {
            return Err(convert::not_ready());
        };
        let (limits, redacted) = (self.limits, Arc::clone(&self.redacted));
        // All of a large store takes its time, and the threads that answer `Authorize` must not wait for it.
        let awaited = Arc::new(());
        let is_awaited = Arc::downgrade(&awaited);
        let explaining = tokio::task::spawn_blocking(move || {
            let _place = place;
            let question = request.into_inner().into();
            let now = Timestamp::now();
            let is_wanted: IsWanted = Arc::new(move || is_awaited.strong_count() > 0);
            explained(
                &generation.snapshot,
                &limits,
                &redacted,
                question,
                now,
                &is_wanted,
            )
        });
        let explained = explaining.await.map_err(|_| convert::internal())?;
        drop(awaited);
        explained.map(Response::new)
    }
}

impl Door {
    /// A place among the few simulations and explanations that run at once.
    async fn place(&self) -> Result<OwnedSemaphorePermit, Status> {
        let place = Arc::clone(&self.simulations).acquire_owned().await;
        place.map_err(|_| convert::internal())
    }
}

/// The place that the call has already, to be held for as long as something runs for it.
fn own_place<T>(request: &Request<T>) -> Option<Place> {
    request.extensions().get::<Place>().cloned()
}

/// Calls that disclose policies are for those on this machine (S-12).
fn check_local<T>(request: &Request<T>) -> Result<(), Status> {
    let entrance = request.extensions().get::<Entrance>();
    if entrance.is_some_and(|entrance| entrance.is_local) {
        Ok(())
    } else {
        Err(convert::not_permitted())
    }
}
