//! The layer that every call passes before a service sees it. It refuses requests that are not gRPC calls, sets the
//! call's deadline, and limits the length of its messages.
//!
//! tonic's services have only one message limit for all calls; this layer holds each call to its own limit before it
//! keeps any bytes.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use tower_service::Service;

use super::callers::May;
use super::convert;
use super::drain::Entrance;
use crate::config::{
    AUXILIARY_DEADLINE, INTERACTIVE_DEADLINE, LONGEST_DEADLINE, MAX_AUXILIARY_BYTES,
    MAX_CALLS_OF_ITS_OWN, MAX_HEALTH_BYTES, MAX_SIMULATION_BYTES, STREAM_WINDOW_BYTES,
};
use held::Held;
use limited::Limited;
pub(super) use limited::Unfinished;

mod held;
mod limited;

/// The beginning of the paths of health checks, which everybody may make.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// Applies the bounds above to the calls of `inner`.
#[derive(Clone, Debug)]
pub(super) struct Calls<S> {
    pub(super) inner: S,
    pub(super) bounds: Bounds,
}

/// The permits of one call whose messages may be long. While an Explain or Simulate call holds them, its connection can
/// run no other such call, and the server only a few; a connection can run only a few BatchAuthorize calls. Every task
/// that works for the call keeps a clone until it ends.
#[derive(Clone, Debug)]
pub(super) struct Place(
    #[expect(dead_code, reason = "held, not read")] Arc<[OwnedSemaphorePermit]>,
);

/// The deadline that the client of a stream set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until(pub(super) Instant);

/// A call that may take seconds and waits until it is received.
struct Waiting {
    _permit: Option<OwnedSemaphorePermit>,
    entrance: Entrance,
}

impl Waiting {
    /// Begins to wait. Returns `None` if too many calls wait; the first one of a connection always may.
    fn begin(bounds: &Bounds, entrance: &Entrance) -> Option<Self> {
        let permit = Arc::clone(&bounds.waiting).try_acquire_owned().ok();
        let n_before = entrance.calls.n_waiting.fetch_add(1, Ordering::Relaxed);
        let may_wait = permit.is_some() || n_before == 0;
        let waiting = Self {
            _permit: permit,
            entrance: entrance.clone(),
        };
        may_wait.then_some(waiting)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let n_waiting = &self.entrance.calls.n_waiting;
        n_waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether an answer is so long that it must keep the permits of its call until it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct IsLarge(bool);

impl IsLarge {
    /// Returns whether an answer of `n_bytes` is. The HTTP library has buffers of this size for every call.
    pub(super) fn of(n_bytes: usize) -> Self {
        Self(n_bytes > STREAM_WINDOW_BYTES as usize)
    }
}

/// The bounds of calls.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// The permits for Explain and Simulate calls that are received or answered at the same time.
    pub(super) places: Arc<Semaphore>,
    /// The permits for such calls that wait for one of those. What their clients have sent is kept meanwhile.
    pub(super) waiting: Arc<Semaphore>,
    /// The deadline of an Authorize call whose client set none. Explain and Simulate have their own.
    pub(super) default_deadline: Duration,
    /// The longest question.
    pub(super) max_question_bytes: usize,
    /// The longest message of any call. tonic answers OUT_OF_RANGE to a longer one.
    pub(super) max_message_bytes: usize,
    /// The most calls with questions in flight; beyond it, they are refused.
    pub(super) max_in_flight: usize,
    /// The memory for messages that have not come whole.
    pub(super) unfinished: Arc<Unfinished>,
}

/// The bounds of the calls of one method.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// The deadline of a call whose client set none. A stream whose answer begins in time, such as the health watch,
    /// may go on after it.
    deadline: Duration,
    /// The longest message.
    max_bytes: usize,
    kind: Kind,
    /// Whether it asks for decisions. Such calls are refused first when there are too many.
    is_question: bool,
}

/// What the calls of a method need besides a deadline and a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Plain,
    /// The call says how the server is. It is never refused for what others do, so its messages are so short that they need
    /// not be counted.
    Vital,
    /// The messages may be long, so only a few calls of one connection are received or answered at once.
    Batch,
    /// The call lasts as long as its client wants: only a deadline of the client ends it.
    Stream,
    /// The method discloses policies and may take seconds. So only some callers may call it (S-12), and only a few calls
    /// run at once.
    Interactive,
}

impl Bounds {
    /// Returns the rules of `method`. A method that is not named here, such as those of reflection, gets small limits.
    fn of(&self, method: &str) -> Rules {
        let rules = |deadline, max_bytes, kind| Rules {
            deadline,
            max_bytes,
            kind,
            is_question: asks(method),
        };
        let of_question = self.max_question_bytes;
        match method {
            "Authorize" => rules(self.default_deadline, of_question, Kind::Plain),
            "BatchAuthorize" => rules(INTERACTIVE_DEADLINE, self.max_message_bytes, Kind::Batch),
            "StreamAuthorize" => rules(LONGEST_DEADLINE, in_a_field(of_question), Kind::Stream),
            "Explain" | "ListPermissions" | "ListPrincipals" | "ListContextKeys" => {
                rules(INTERACTIVE_DEADLINE, of_question, Kind::Interactive)
            }
            "Simulate" => rules(
                INTERACTIVE_DEADLINE,
                MAX_SIMULATION_BYTES,
                Kind::Interactive,
            ),
            "Check" | "Watch" | "List" | "Status" | "WatchRevision" => {
                rules(AUXILIARY_DEADLINE, MAX_HEALTH_BYTES, Kind::Vital)
            }
            _ => rules(AUXILIARY_DEADLINE, MAX_AUXILIARY_BYTES, Kind::Plain),
        }
    }
}

/// Returns whether the calls at `path` ask for decisions.
pub(super) fn is_question(path: &str) -> bool {
    asks(path.rsplit('/').next().unwrap_or_default())
}

fn asks(method: &str) -> bool {
    matches!(method, "Authorize" | "BatchAuthorize" | "StreamAuthorize")
}

/// Returns the length of a message of `n_bytes` with the key and the length that it has as a field of another message.
fn in_a_field(n_bytes: usize) -> usize {
    let head = 1 + prost::length_delimiter_len(n_bytes);
    n_bytes.saturating_add(head)
}

impl<S> Service<Request<Body>> for Calls<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if let Some(refusal) = no_call(&request) {
            return Box::pin(std::future::ready(Ok(refusal)));
        }
        let entrance = request.extensions().get::<Entrance>().cloned();
        let may = entrance.as_ref().map(|entrance| entrance.may);
        let path = request.uri().path();
        if !path.starts_with(HEALTH) {
            let refusal = match may {
                Some(May::CheckHealth) => Some(convert::only_health()),
                Some(May::Nothing) => Some(convert::unknown_caller()),
                _ => None,
            };
            if let Some(refusal) = refusal {
                return Box::pin(std::future::ready(Ok(refusal.into_http())));
            }
        }
        let method = path.rsplit('/').next();
        let rules = self.bounds.of(method.unwrap_or_default());
        if rules.is_question
            && entrance
                .as_ref()
                .is_some_and(|entrance| self.is_full(entrance))
        {
            return Box::pin(std::future::ready(Ok(convert::overloaded(
                "too many questions are in flight",
            )
            .into_http())));
        }
        let given = match client_timeout(request.headers()) {
            Ok(Some(Duration::ZERO)) => {
                return Box::pin(std::future::ready(Ok(deadline_exceeded())));
            }
            Ok(given) => given,
            Err(Malformed) => {
                let status = Status::invalid_argument(
                    "the header `grpc-timeout` has at most eight digits and one of the units H, M, S, m, u and n",
                );
                return Box::pin(std::future::ready(Ok(status.into_http())));
            }
        };
        let deadline = given.unwrap_or(rules.deadline).min(LONGEST_DEADLINE);
        match (rules.kind, entrance) {
            (Kind::Batch, Some(entrance)) => {
                Box::pin(in_time(deadline, self.batch(request, rules, entrance)))
            }
            (Kind::Interactive, Some(entrance)) => {
                if entrance.may < May::Disclose {
                    // S-12: a caller who may not make the call is refused before it can take a permit.
                    return Box::pin(std::future::ready(Ok(convert::not_permitted().into_http())));
                }
                let Some(waiting) = Waiting::begin(&self.bounds, &entrance) else {
                    let refusal = convert::overloaded("too many calls wait that may take seconds");
                    return Box::pin(std::future::ready(Ok(refusal.into_http())));
                };
                let deadline = deadline.min(INTERACTIVE_DEADLINE);
                let answer = self.interactive(request, rules, entrance, waiting);
                Box::pin(in_time(deadline, answer))
            }
            (kind, _) => {
                let mut request = request.map(|body| self.limited(body, rules, None));
                let until = given.and_then(|given| Instant::now().checked_add(given));
                if let Some(until) = until.filter(|_| kind == Kind::Stream) {
                    request.extensions_mut().insert(Until(until));
                }
                Box::pin(in_time(deadline, self.inner.call(request)))
            }
        }
    }
}

impl<S> Calls<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    /// Returns whether too many questions are in flight for one more of this connection. Whoever holds all of them, with streams
    /// that ask nothing, keeps no other connection away.
    fn is_full(&self, entrance: &Entrance) -> bool {
        entrance.calls.drain.n_questions() > self.bounds.max_in_flight
            && entrance.calls.n_questions() > MAX_CALLS_OF_ITS_OWN
    }

    fn limited(&self, body: Body, rules: Rules, is_late: Option<Pin<Box<Sleep>>>) -> Body {
        let most = self.bounds.max_message_bytes;
        let is_counted = rules.kind != Kind::Vital;
        let unfinished = is_counted.then(|| Arc::clone(&self.bounds.unfinished));
        Body::new(Limited::new(
            body,
            rules.max_bytes,
            most,
            unfinished,
            rules.kind == Kind::Stream,
            is_late,
        ))
    }

    /// Answers a call with many questions. It waits for its permit before it keeps any byte of them.
    fn batch(
        &self,
        request: Request<Body>,
        rules: Rules,
        entrance: Entrance,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<S> {
        let request = request.map(|body| self.limited(body, rules, None));
        let mut inner = self.inner.clone();
        async move {
            let Ok(place) = Arc::clone(&entrance.calls.batches).acquire_owned().await else {
                return Ok(convert::internal().into_http()); // nobody closes the semaphore
            };
            let place = Place(Arc::new([place]));
            let answer = inner.call(request).await?;
            let is_large = answer.extensions().get::<IsLarge>();
            if !is_large.is_some_and(|is_large| is_large.0) {
                return Ok(answer);
            }
            // The client must also read a long answer in time.
            Ok(answer.map(|body| Body::new(Held::of(body, place))))
        }
    }

    /// Answers a call that may take seconds. It waits for its permits before it keeps any byte of the question.
    fn interactive(
        &self,
        request: Request<Body>,
        rules: Rules,
        entrance: Entrance,
        waiting: Waiting,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<S> {
        let own_place = Arc::clone(&entrance.calls.place);
        let places = Arc::clone(&self.bounds.places);
        let mut calls = Self::clone(self);
        async move {
            let place = match (
                own_place.acquire_owned().await,
                places.acquire_owned().await,
            ) {
                (Ok(own), Ok(shared)) => Place(Arc::new([own, shared])),
                _ => return Ok(convert::internal().into_http()), // nobody closes the semaphores
            };
            drop(waiting);
            // A client that holds permits must send its question in time.
            let is_late = Box::pin(tokio::time::sleep(AUXILIARY_DEADLINE));
            let mut request = request.map(|body| calls.limited(body, rules, Some(is_late)));
            request.extensions_mut().insert(place.clone());
            let answer = calls.inner.call(request).await?;
            // The client must also read its answer in time.
            Ok(answer.map(|body| Body::new(Held::of(body, place))))
        }
    }
}

/// Returns `answer` if it comes before the deadline, else DEADLINE_EXCEEDED.
fn in_time(
    deadline: Duration,
    answer: impl Future<Output = Result<Response<Body>, Infallible>>,
) -> impl Future<Output = Result<Response<Body>, Infallible>> {
    // The clock starts here and not at the first poll.
    let answer = tokio::time::timeout(deadline, answer);
    async move {
        match answer.await {
            Ok(answer) => answer.map(readable),
            Err(_) => Ok(deadline_exceeded()),
        }
    }
}

fn deadline_exceeded() -> Response<Body> {
    convert::deadline_exceeded().into_http()
}

/// Returns the refusal of a request that is not a gRPC call. Its HTTP status is an error, so that the sender cannot
/// take it for an answer.
fn no_call(request: &Request<Body>) -> Option<Response<Body>> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_grpc = |text: &[u8]| {
        let rest = text.strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    };
    let status = if request.method() != Method::POST {
        StatusCode::METHOD_NOT_ALLOWED
    } else if !content_type.is_some_and(|text| is_grpc(text.as_bytes())) {
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    } else {
        return None;
    };
    let mut refusal = Response::new(Body::empty());
    *refusal.status_mut() = status;
    Some(refusal)
}

/// Replaces the status INTERNAL that tonic gives a message that cannot be decoded. That is a fault of the sender, and
/// INTERNAL means a fault of iamd. The INTERNAL statuses that iamd makes have details, so they stay.
fn readable(answer: Response<Body>) -> Response<Body> {
    let headers = answer.headers();
    let is_internal = headers
        .get(Status::GRPC_STATUS)
        .is_some_and(|code| code == "13");
    if !is_internal || headers.contains_key("grpc-status-details-bin") {
        return answer;
    }
    convert::undecodable().into_http()
}

/// The error of a malformed `grpc-timeout`.
#[derive(Debug, PartialEq)]
pub(super) struct Malformed;

/// Reads the header `grpc-timeout`: at most eight digits and a unit.
pub(super) fn client_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Malformed> {
    let Some(text) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    let text = text.to_str().map_err(|_| Malformed)?;
    let digits = text.len().checked_sub(1).ok_or(Malformed)?;
    let (digits, unit) = text.split_at_checked(digits).ok_or(Malformed)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Malformed);
    }
    let number: u64 = digits.parse().map_err(|_| Malformed)?;
    Ok(Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return Err(Malformed),
    }))
}

#[cfg(test)]
mod tests;
