//! The gRPC protocol: `iamd.v1.AuthorizationService`.

use std::sync::Arc;

use jiff::Timestamp;
use prost::Message;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

use super::answer::answer_message;
use super::asker::{asker, caller_of, trace_of};
use super::callers::May;
use super::calls::Place;
use super::drain::Entrance;
use super::encoded::Encoded;
use super::pb::authorization_service_server::AuthorizationService;
use super::status::{Reporter, RevisionWatch};
use super::{convert, explain, interactive, lists, pb, simulate};
use crate::authorizer::{Authorizer, IsWanted, Refusal};
use crate::config::MAX_SIMULATIONS_AT_ONCE;

/// The service: it passes each call's question to the authorizer.
#[derive(Debug)]
pub(super) struct Grpc {
    authorizer: Arc<Authorizer>,
    /// The permits for simulations and explanations that run at the same time.
    places: Arc<Semaphore>,
    reporter: Reporter,
}

#[tonic::async_trait]
impl AuthorizationService for Grpc {
    async fn authorize(
        &self,
        request: Request<pb::AuthorizeRequest>,
    ) -> Result<Response<pb::AuthorizeResponse>, Status> {
        let caller = caller_of(request.extensions());
        let trace_id = trace_of(&self.authorizer, request.metadata().as_ref());
        let asker = asker(&caller, trace_id);
        answer_message(&self.authorizer, request.get_ref(), &asker).map(Response::new)
    }

    /// Is never called: the layer above answers the call (see `framed`).
    async fn batch_authorize(
        &self,
        _request: Request<Encoded>,
    ) -> Result<Response<Encoded>, Status> {
        Err(convert::internal())
    }

    type StreamAuthorizeStream = tokio_stream::Empty<Result<Encoded, Status>>;

    /// Is never called: the layer above answers the call (see `framed`).
    async fn stream_authorize(
        &self,
        _request: Request<Streaming<Encoded>>,
    ) -> Result<Response<Self::StreamAuthorizeStream>, Status> {
        Err(convert::internal())
    }

    async fn simulate(
        &self,
        request: Request<pb::SimulateRequest>,
    ) -> Result<Response<Encoded>, Status> {
        self.answer_interactive(request, |authorizer, message, is_wanted| {
            let simulation = simulate::simulation(message, authorizer.limits())?;
            let simulated = authorizer.simulate(&simulation, Timestamp::now(), is_wanted)?;
            Ok(simulate::response(simulated))
        })
        .await
    }

    async fn explain(
        &self,
        request: Request<pb::ExplainRequest>,
    ) -> Result<Response<Encoded>, Status> {
        self.answer_interactive(request, |authorizer, message, is_wanted| {
            let question = explain::question(message, authorizer.limits())?;
            let explained = authorizer.explain(&question, Timestamp::now(), is_wanted)?;
            Ok(explain::response(explained))
        })
        .await
    }

    async fn list_permissions(
        &self,
        request: Request<pb::ListPermissionsRequest>,
    ) -> Result<Response<Encoded>, Status> {
        self.answer_interactive(request, |authorizer, message, is_wanted| {
            let (question, paging) = lists::of_permissions(message, authorizer.limits())?;
            let now = Timestamp::now();
            let listed = authorizer.list_permissions(&question, paging, now, is_wanted)?;
            Ok(lists::permissions(listed))
        })
        .await
    }

    async fn list_principals(
        &self,
        request: Request<pb::ListPrincipalsRequest>,
    ) -> Result<Response<Encoded>, Status> {
        self.answer_interactive(request, |authorizer, message, is_wanted| {
            let (question, paging) = lists::of_principals(message, authorizer.limits())?;
            let now = Timestamp::now();
            let listed = authorizer.list_principals(&question, paging, now, is_wanted)?;
            Ok(lists::principals(listed))
        })
        .await
    }

    async fn list_context_keys(
        &self,
        request: Request<pb::ListContextKeysRequest>,
    ) -> Result<Response<Encoded>, Status> {
        self.answer_interactive(request, |authorizer, message, is_wanted| {
            let question = lists::of_context_keys(message, authorizer.limits())?;
            let listed = authorizer.list_context_keys(&question, Timestamp::now(), is_wanted)?;
            Ok(lists::context_keys(listed))
        })
        .await
    }

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        check_discloses(&request)?;
        Ok(Response::new(self.reporter.status()))
    }

    type WatchRevisionStream = RevisionWatch;

    async fn watch_revision(
        &self,
        _request: Request<pb::WatchRevisionRequest>,
    ) -> Result<Response<RevisionWatch>, Status> {
        Ok(Response::new(self.reporter.watch()))
    }
}

impl Grpc {
    pub(super) fn new(authorizer: Arc<Authorizer>, reporter: Reporter) -> Self {
        Self {
            authorizer,
            reporter,
            places: Arc::new(Semaphore::new(MAX_SIMULATIONS_AT_ONCE)),
        }
    }

    /// Answers a call that discloses policies (S-12) and may take seconds. Only a few run at once, each on a
    /// thread of its own that gives way to the others, and a call stops when its client no longer waits.
    ///
    /// PERF: the same thread encodes the answer and frees it. A long list takes milliseconds of that, for which questions would
    /// have to wait.
    async fn answer_interactive<M: Send + 'static, A: Message + 'static>(
        &self,
        request: Request<M>,
        answer: fn(&Authorizer, &M, &IsWanted) -> Result<A, Refusal>,
    ) -> Result<Response<Encoded>, Status> {
        check_discloses(&request)?;
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| convert::internal())?; // nobody closes the semaphore
        let places = (place, own_place(&request));
        let authorizer = Arc::clone(&self.authorizer);
        // `awaited` is dropped when the client cancels the call.
        let awaited = Arc::new(());
        let is_awaited = Arc::downgrade(&awaited);
        let answering = interactive::run(move || {
            let _places = places;
            let is_wanted: IsWanted = Arc::new(move || {
                let is_wanted = is_awaited.strong_count() > 0;
                if is_wanted {
                    interactive::let_others_run();
                }
                is_wanted
            });
            let answered = answer(&authorizer, request.get_ref(), &is_wanted);
            interactive::let_others_run();
            answered.map(|message| Encoded::of(&message))
        });
        let answered = answering.await.ok_or_else(convert::internal)?;
        drop(awaited);
        answered
            .map(Response::new)
            .map_err(|refusal| convert::status(&refusal))
    }
}

/// Returns the permits that the call already has. The thread that answers holds them until it ends.
fn own_place<T>(request: &Request<T>) -> Option<Place> {
    request.extensions().get::<Place>().cloned()
}

/// Refuses a call that discloses policies unless its caller may make it (S-12).
fn check_discloses<T>(request: &Request<T>) -> Result<(), Status> {
    let entrance = request.extensions().get::<Entrance>();
    if entrance.is_some_and(|entrance| entrance.may == May::Disclose) {
        Ok(())
    } else {
        Err(convert::not_permitted())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::time::Duration;

    use tonic::body::Body;
    use tonic::codegen::Bytes;
    use tonic::codegen::http;
    use tower_service::Service as _;

    use http_body::Body as _;

    use super::super::calls::{Bounds, Calls, Unfinished};
    use super::super::health::Readiness;
    use super::super::pb::authorization_service_server::AuthorizationServiceServer;
    use super::*;
    use crate::config::{Config, Layer};
    use crate::state::SharedState;

    /// Returns a call with an empty message, on a connection of its own.
    fn call(method: &str, timeout: &str) -> http::Request<Body> {
        let entrance = Entrance {
            may: May::Disclose,
            calls: Arc::default(),
        };
        http::Request::post(format!("/iamd.v1.AuthorizationService/{method}"))
            .header("content-type", "application/grpc")
            .header("grpc-timeout", timeout)
            .extension(entrance)
            .body(Body::new(Once(Some(Bytes::from_static(&[0; 5])))))
            .unwrap()
    }

    /// A body of these bytes.
    struct Once(Option<Bytes>);

    impl http_body::Body for Once {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
            let frame = self.0.take().map(http_body::Frame::data);
            std::task::Poll::Ready(frame.map(Ok))
        }
    }

    fn code(answer: &http::Response<Body>) -> &str {
        let code = answer.headers().get("grpc-status");
        code.unwrap().to_str().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_interactive_call_waits_for_its_turn_within_its_own_deadline() {
        let simulations = Arc::new(Semaphore::new(1));
        let config = Config::resolve(&Layer::new(), [], None).unwrap().config;
        let authorizer = Arc::new(Authorizer::new(Arc::default(), &config));
        let grpc = Grpc {
            places: Arc::clone(&simulations),
            ..Grpc::new(
                authorizer,
                Reporter::new(Arc::default(), Arc::default(), &config),
            )
        };
        let mut calls = Calls {
            inner: AuthorizationServiceServer::new(grpc),
            bounds: Bounds {
                places: Arc::new(Semaphore::new(10)),
                waiting: Arc::new(Semaphore::new(8)),
                default_deadline: Duration::from_secs(1),
                max_question_bytes: 10,
                max_message_bytes: 20,
                max_in_flight: 100,
                unfinished: Arc::new(Unfinished::new(1 << 20)),
            },
        };
        for method in ["Explain", "Simulate"] {
            let one_runs = Arc::clone(&simulations).try_acquire_owned().unwrap();
            let start = tokio::time::Instant::now();
            let answer = calls.call(call(method, "3S")).await.unwrap();
            assert_eq!(code(&answer), "4", "{method}");
            assert_eq!(start.elapsed(), Duration::from_secs(3), "{method}");
            let next = tokio::spawn(calls.call(call(method, "9S")));
            tokio::time::sleep(Duration::from_secs(8)).await;
            assert!(!next.is_finished(), "{method}: there is one place");
            drop(one_runs);
            let answer = next.await.unwrap().unwrap();
            assert_eq!(code(&answer), "14", "{method}: there is no store");
            assert_eq!(start.elapsed(), Duration::from_secs(11), "{method}");
            assert_eq!(simulations.available_permits(), 1, "{method}");
        }
        // `Authorize` does not wait for any of these calls.
        let _one_runs = Arc::clone(&simulations).try_acquire_owned().unwrap();
        let start = tokio::time::Instant::now();
        let answer = calls.call(call("Authorize", "9S")).await.unwrap();
        assert_eq!(code(&answer), "14");
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_may_take_seconds_wait_in_a_bounded_number() {
        let config = Config::resolve(&Layer::new(), [], None).unwrap().config;
        let authorizer = Arc::new(Authorizer::new(Arc::default(), &config));
        let reporter = Reporter::new(Arc::default(), Arc::default(), &config);
        let places = Arc::new(Semaphore::new(0));
        let mut calls = Calls {
            inner: AuthorizationServiceServer::new(Grpc::new(authorizer, reporter)),
            bounds: Bounds {
                places: Arc::clone(&places),
                waiting: Arc::new(Semaphore::new(2)),
                default_deadline: Duration::from_secs(1),
                max_question_bytes: 10,
                max_message_bytes: 20,
                max_in_flight: 100,
                unfinished: Arc::new(Unfinished::new(1 << 20)),
            },
        };
        let greedy = Entrance {
            may: May::Disclose,
            calls: Arc::default(),
        };
        let of_greedy = |method: &str| {
            let mut call = call(method, "9S");
            call.extensions_mut().insert(greedy.clone());
            call
        };
        let waiting = ["Explain", "Simulate"].map(|method| calls.call(of_greedy(method)));
        let refused = calls.call(of_greedy("ListPrincipals")).await.unwrap();
        assert_eq!(code(&refused), "8");
        // The first call of another connection may wait all the same.
        let modest = calls.call(call("ListPrincipals", "9S"));
        places.add_permits(1);
        for answer in waiting.into_iter().chain([modest]) {
            assert_eq!(code(&answer.await.unwrap()), "14", "there is no store");
        }
        let answer = calls.call(of_greedy("ListPrincipals")).await.unwrap();
        assert_eq!(code(&answer), "14");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_of_the_revision_has_no_deadline_and_ends_with_the_drain() {
        let config = Config::resolve(&Layer::new(), [], None).unwrap().config;
        let (state, readiness) = (Arc::new(SharedState::new()), Arc::new(Readiness::new()));
        let (own_state, own_readiness) = (Arc::clone(&state), Arc::clone(&readiness));
        let authorizer = Arc::new(Authorizer::new(Arc::default(), &config));
        let reporter = Reporter::new(own_state, own_readiness, &config);
        let grpc = Grpc::new(authorizer, reporter);
        let mut calls = Calls {
            inner: AuthorizationServiceServer::new(grpc),
            bounds: Bounds {
                places: Arc::new(Semaphore::new(1)),
                waiting: Arc::new(Semaphore::new(8)),
                default_deadline: Duration::from_secs(1),
                max_question_bytes: 10,
                max_message_bytes: 20,
                max_in_flight: 100,
                unfinished: Arc::new(Unfinished::new(1 << 20)),
            },
        };
        let mut call = call("WatchRevision", "1S");
        call.headers_mut().remove("grpc-timeout");
        let answer = calls.call(call).await.unwrap();
        let mut answer = std::pin::pin!(answer.into_body());
        let mut next = async || {
            let frame = std::future::poll_fn(|cx| answer.as_mut().poll_frame(cx));
            let frame = tokio::time::timeout(Duration::from_secs(1), frame).await;
            frame.map(|frame| frame.map(|frame| frame.unwrap().into_data().ok()))
        };
        let of_nothing = Some(Some(Bytes::from_static(&[0; 5])));
        assert_eq!(next().await, Ok(of_nothing), "an empty message");
        tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
        // Other findings are no news of the revision.
        state.change(|state| state.findings = Vec::new().into());
        assert!(next().await.is_err(), "nothing is sent");
        state.change(|state| state.is_stale = true);
        let stale = Some(Some(Bytes::from_static(&[0, 0, 0, 0, 2, 3 << 3, 1])));
        assert_eq!(next().await, Ok(stale));
        readiness.draining();
        assert_eq!(next().await, Ok(Some(None)), "the trailers");
        assert_eq!(next().await, Ok(None), "the end");
    }
}
