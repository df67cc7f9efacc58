//! The gRPC protocol: `iamd.v1.AuthorizationService`.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::calls::Place;
use super::listen::Entrance;
use super::pb::authorization_service_server::AuthorizationService;
use super::{convert, explain, pb, simulate};
use crate::authorizer::{Authorizer, IsWanted, Refusal};

/// Asks the authorizer what the calls ask.
#[derive(Debug)]
pub(super) struct Grpc {
    pub(super) authorizer: Arc<Authorizer>,
    /// Places for simulations and explanations, which take their time.
    pub(super) places: Arc<Semaphore>,
}

#[tonic::async_trait]
impl AuthorizationService for Grpc {
    async fn authorize(
        &self,
        request: Request<pb::AuthorizeRequest>,
    ) -> Result<Response<pb::AuthorizeResponse>, Status> {
        let message = request.get_ref();
        let limits = self.authorizer.limits();
        let question =
            convert::question(message, limits).map_err(|refusal| convert::status(&refusal))?;
        let outcome = self.authorizer.authorize(&question, Timestamp::now());
        convert::response(&outcome).map(Response::new)
    }

    async fn simulate(
        &self,
        request: Request<pb::SimulateRequest>,
    ) -> Result<Response<pb::SimulateResponse>, Status> {
        self.for_people(request, |authorizer, message, is_wanted| {
            let simulation = simulate::simulation(message, authorizer.limits())?;
            let simulated = authorizer.simulate(&simulation, Timestamp::now(), is_wanted)?;
            Ok(simulate::response(simulated))
        })
        .await
    }

    async fn explain(
        &self,
        request: Request<pb::ExplainRequest>,
    ) -> Result<Response<pb::ExplainResponse>, Status> {
        self.for_people(request, |authorizer, message, is_wanted| {
            let question = explain::question(message, authorizer.limits())?;
            let explained = authorizer.explain(&question, Timestamp::now(), is_wanted)?;
            Ok(explain::response(&explained))
        })
        .await
    }
}

impl Grpc {
    /// Answers a call that discloses policies and may take its time: for those on this machine alone (S-12), few at once,
    /// on a thread that decides nothing else, and only for as long as the caller waits.
    async fn for_people<M: Send + 'static, A: Send + 'static>(
        &self,
        request: Request<M>,
        answer: fn(&Authorizer, &M, &IsWanted) -> Result<A, Refusal>,
    ) -> Result<Response<A>, Status> {
        check_local(&request)?;
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| convert::internal())?; // nobody closes the semaphore
        let places = (place, own_place(&request));
        let authorizer = Arc::clone(&self.authorizer);
        // It is dropped with this call.
        let awaited = Arc::new(());
        let is_awaited = Arc::downgrade(&awaited);
        let answering = tokio::task::spawn_blocking(move || {
            let _places = places;
            let is_wanted: IsWanted = Arc::new(move || is_awaited.strong_count() > 0);
            answer(&authorizer, request.get_ref(), &is_wanted)
        });
        let answered = answering.await.map_err(|_| convert::internal())?;
        drop(awaited);
        answered
            .map(Response::new)
            .map_err(|refusal| convert::status(&refusal))
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
