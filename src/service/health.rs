//! `grpc.health.v1`: whether iamd answers questions.
//!
//! This does not use tonic-health's service. Its watches never end, so every client that watches would hold up a drain
//! until the drain is cut, it refuses unknown names where the protocol asks for `SERVICE_UNKNOWN`, and it has no `List`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use super::convert::brief;
use super::health_pb::health_check_response::ServingStatus;
use super::health_pb::health_list_response::StatusesEntry;
use super::health_pb::health_server::Health;
use super::health_pb::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use super::pb::authorization_service_server::SERVICE_NAME;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No snapshot has been loaded yet.
    Loading,
    Ready,
    /// Clients should ask no more, and are still answered.
    Leaving,
    Draining,
}

/// Whether the server is ready: it is not until the first good snapshot, nor once it drains.
#[derive(Debug)]
pub struct Readiness(watch::Sender<State>);

impl Readiness {
    /// Starts in the state of a server that is not ready.
    pub fn new() -> Self {
        Self(watch::Sender::new(State::Loading))
    }

    /// Reports that the first good snapshot is in force.
    pub fn ready(&self) {
        self.0.send_replace(State::Ready);
    }

    /// Reports that the server is going to drain, so clients should ask no more questions.
    pub fn leaving(&self) {
        self.0.send_replace(State::Leaving);
    }

    /// Reports that the server drains: watches end.
    pub fn draining(&self) {
        self.0.send_replace(State::Draining);
    }

    /// Returns `loading`, `ready` or `draining`.
    pub(super) fn in_words(&self) -> &'static str {
        match *self.0.borrow() {
            State::Loading => "loading",
            State::Ready => "ready",
            State::Leaving | State::Draining => "draining",
        }
    }

    /// Waits until the server drains.
    pub(super) fn drain(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut states = self.0.subscribe();
        async move {
            let _ = states.wait_for(|state| *state == State::Draining).await; // a server that is gone drains, too
        }
    }

    /// Returns the gRPC service that tells clients.
    pub(super) fn service(&self) -> HealthService {
        HealthService(self.0.subscribe())
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

/// The gRPC service for health checks.
#[derive(Debug)]
pub(super) struct HealthService(watch::Receiver<State>);

/// The names that have a state. The empty name stands for the server as a whole.
const SERVICES: &[&str] = &["", SERVICE_NAME];

/// Returns whether `service` is a name that has a state.
fn is_known(service: &str) -> bool {
    SERVICES.contains(&service)
}

fn status(state: State) -> ServingStatus {
    match state {
        State::Ready => ServingStatus::Serving,
        State::Loading | State::Leaving | State::Draining => ServingStatus::NotServing,
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !is_known(&service) {
            return Err(Status::not_found(format!(
                "this server has no service `{}`",
                brief(&service)
            )));
        }
        Ok(Response::new(HealthCheckResponse {
            status: status(*self.0.borrow()).into(),
        }))
    }

    async fn list(
        &self,
        _request: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let status = status(*self.0.borrow()).into();
        let entry = |name: &&str| StatusesEntry {
            key: (*name).to_owned(),
            value: Some(HealthCheckResponse { status }),
        };
        Ok(Response::new(HealthListResponse {
            statuses: SERVICES.iter().map(entry).collect(),
        }))
    }

    type WatchStream = Watch;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watch>, Status> {
        let is_known = is_known(&request.into_inner().service);
        Ok(Response::new(Watch {
            states: WatchStream::new(self.0.clone()),
            is_known,
            has_ended: false,
            told: None,
        }))
    }
}

/// A stream of the state: first the current one, then each change, until the server drains.
#[derive(Debug)]
pub(super) struct Watch {
    states: WatchStream<State>,
    is_known: bool,
    has_ended: bool,
    /// What the client was told last.
    told: Option<ServingStatus>,
}

impl Stream for Watch {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.has_ended {
            let Some(state) = ready!(Pin::new(&mut self.states).poll_next(cx)) else {
                break;
            };
            self.has_ended = state == State::Draining;
            let status = if self.is_known {
                status(state)
            } else {
                ServingStatus::ServiceUnknown
            };
            if self.told.replace(status) != Some(status) {
                return Poll::Ready(Some(Ok(HealthCheckResponse {
                    status: status.into(),
                })));
            }
        }
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::pin::pin;

    use tokio_stream::StreamExt;
    use tonic::Code;

    use super::*;

    fn about(service: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest {
            service: service.to_owned(),
        })
    }

    #[tokio::test]
    async fn readiness_turns_on_with_the_snapshot_and_off_with_the_drain() {
        let readiness = Readiness::new();
        let service = readiness.service();
        for name in ["", "iamd.v1.AuthorizationService"] {
            let check = async || {
                service
                    .check(about(name))
                    .await
                    .unwrap()
                    .into_inner()
                    .status()
            };
            let list = async || {
                let answer = service.list(Request::new(HealthListRequest {})).await;
                let mut entries = answer.unwrap().into_inner().statuses.into_iter();
                entries.find(|entry| entry.key == name).unwrap().value
            };
            let told = async || {
                let status = check().await;
                assert_eq!(list().await.unwrap().status(), status);
                status
            };
            readiness.0.send_replace(State::Loading);
            assert_eq!(told().await, ServingStatus::NotServing);
            readiness.ready();
            assert_eq!(told().await, ServingStatus::Serving);
            readiness.draining();
            assert_eq!(told().await, ServingStatus::NotServing);
        }
        assert_eq!(
            service
                .check(about("iamd.v1.Other"))
                .await
                .unwrap_err()
                .code(),
            Code::NotFound
        );
    }

    /// A watch that ended while calls are still taken would begin anew all the time.
    #[tokio::test]
    async fn a_watch_goes_on_until_the_drain() {
        let readiness = Readiness::new();
        readiness.ready();
        let service = readiness.service();
        let mut watch = service.watch(about("")).await.unwrap().into_inner();
        let mut next = async || watch.next().await.map(|item| item.unwrap().status());
        assert_eq!(next().await, Some(ServingStatus::Serving));
        readiness.leaving();
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        let is_over = std::future::poll_fn(|cx| Poll::Ready(pin!(next()).poll(cx).is_ready()));
        assert!(!is_over.await);
        assert_eq!(readiness.in_words(), "draining");
        readiness.draining();
        assert_eq!(next().await, None, "it is told once");
    }

    #[tokio::test]
    async fn a_watch_tells_every_change_and_ends_with_the_drain() {
        let readiness = Readiness::new();
        let service = readiness.service();
        let mut watch = service.watch(about("")).await.unwrap().into_inner();
        let mut unknown = service.watch(about("other")).await.unwrap().into_inner();
        let mut next = async || watch.next().await.map(|item| item.unwrap().status());
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        readiness.ready();
        assert_eq!(next().await, Some(ServingStatus::Serving));
        readiness.draining();
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        assert_eq!(next().await, None);
        assert_eq!(
            unknown.next().await.unwrap().unwrap().status(),
            ServingStatus::ServiceUnknown
        );
    }
}
