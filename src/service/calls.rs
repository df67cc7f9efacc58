//! The layer that every call passes before a service sees it. It refuses requests that are not gRPC calls, sets the
//! call's deadline, limits the length of its messages, and counts the call on its connection.
//!
//! tonic's services have only one message limit for all calls; this layer holds each call to its own limit before it
//! keeps any bytes.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
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
use super::drain::{Call, Entrance};
use crate::config::{
    AUXILIARY_DEADLINE, INTERACTIVE_DEADLINE, LONGEST_DEADLINE, MAX_AUXILIARY_BYTES,
    MAX_SIMULATION_BYTES, STREAM_WINDOW_BYTES,
};
use held::Held;
use limited::Limited;

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
    /// The deadline of an Authorize call whose client set none. Explain and Simulate have their own.
    pub(super) default_deadline: Duration,
    /// The longest question.
    pub(super) max_question_bytes: usize,
    /// The longest message of any call. tonic answers OUT_OF_RANGE to a longer one.
    pub(super) max_message_bytes: usize,
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
}

/// What the calls of a method need besides a deadline and a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Plain,
    /// The messages may be long, so only a few calls of one connection are received or answered at once.
    Batch,
    /// The call lasts as long as its client wants: only a deadline of the client ends it.
    Stream,
    /// The method discloses policies and may take seconds. So only some callers may call it (S-12), and only a few calls
    /// run at once.
    Interactive,
}

impl Bounds {
    /// Returns the rules of `method`. A method that is not named here, such as those of health and reflection, and Status
    /// and WatchRevision, gets the smallest limits.
    fn of(&self, method: &str) -> Rules {
        let rules = |deadline, max_bytes, kind| Rules {
            deadline,
            max_bytes,
            kind,
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
            _ => rules(AUXILIARY_DEADLINE, MAX_AUXILIARY_BYTES, Kind::Plain),
        }
    }
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
        if may == Some(May::Nothing) && !path.starts_with(HEALTH) {
            return Box::pin(std::future::ready(
                Ok(convert::unknown_caller().into_http()),
            ));
        }
        let method = path.rsplit('/').next();
        let rules = self.bounds.of(method.unwrap_or_default());
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
        let call = entrance.as_ref().map(|entrance| entrance.calls.begin());
        match (rules.kind, entrance) {
            (Kind::Batch, Some(entrance)) => Box::pin(in_time(
                deadline,
                self.batch(request, rules, entrance, call),
                None,
            )),
            (Kind::Interactive, Some(entrance)) => {
                if entrance.may < May::Disclose {
                    // S-12: a caller who may not make the call is refused before it can take a permit.
                    return Box::pin(std::future::ready(Ok(convert::not_permitted().into_http())));
                }
                let deadline = deadline.min(INTERACTIVE_DEADLINE);
                let answer = self.interactive(request, rules, entrance, call);
                Box::pin(in_time(deadline, answer, None))
            }
            (kind, _) => {
                let mut request = request.map(|body| self.limited(body, rules, None));
                let until = given.and_then(|given| Instant::now().checked_add(given));
                if let Some(until) = until.filter(|_| kind == Kind::Stream) {
                    request.extensions_mut().insert(Until(until));
                }
                Box::pin(in_time(deadline, self.inner.call(request), call))
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
    fn limited(&self, body: Body, rules: Rules, is_late: Option<Pin<Box<Sleep>>>) -> Body {
        let most = self.bounds.max_message_bytes;
        Body::new(Limited::new(body, rules.max_bytes, most, is_late))
    }

    /// Answers a call with many questions. It waits for its permit before it keeps any byte of them.
    fn batch(
        &self,
        request: Request<Body>,
        rules: Rules,
        entrance: Entrance,
        call: Option<Call>,
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
            Ok(answer.map(|body| Body::new(Held::of(body, place, call))))
        }
    }

    /// Answers a call that may take seconds. It waits for its permits before it keeps any byte of the question.
    fn interactive(
        &self,
        request: Request<Body>,
        rules: Rules,
        entrance: Entrance,
        call: Option<Call>,
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
            // A client that holds permits must send its question in time.
            let is_late = Box::pin(tokio::time::sleep(AUXILIARY_DEADLINE));
            let mut request = request.map(|body| calls.limited(body, rules, Some(is_late)));
            request.extensions_mut().insert(place.clone());
            let answer = calls.inner.call(request).await?;
            // The client must also read its answer in time.
            Ok(answer.map(|body| Body::new(Held::of(body, place, call))))
        }
    }
}

/// Returns `answer` if it comes before the deadline, else DEADLINE_EXCEEDED. The call counts as in flight until then.
fn in_time(
    deadline: Duration,
    answer: impl Future<Output = Result<Response<Body>, Infallible>>,
    call: Option<Call>,
) -> impl Future<Output = Result<Response<Body>, Infallible>> {
    // The clock starts here and not at the first poll.
    let answer = tokio::time::timeout(deadline, answer);
    async move {
        let _call = call;
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
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use http_body::Frame;
    use tonic::codegen::Bytes;

    use super::held::MAX_PIECE_BYTES;
    use super::*;
    use crate::config::TIME_TO_READ;

    fn timeout(text: &str) -> Result<Option<Duration>, Malformed> {
        client_timeout(&HeaderMap::from_iter([(
            "grpc-timeout".parse().unwrap(),
            text.parse().unwrap(),
        )]))
    }

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(timeout("3S"), Ok(Some(Duration::from_secs(3))));
        assert_eq!(
            timeout("99999999H"),
            Ok(Some(Duration::from_secs(99_999_999 * 3600)))
        );
        assert_eq!(timeout("82f"), Err(Malformed));
        for malformed in ["", "S", "3", "-3S", "123456789S", "3s", "3 S", "+3S"] {
            assert_eq!(timeout(malformed), Err(Malformed), "{malformed}");
        }
        assert_eq!(timeout("500u"), Ok(Some(Duration::from_micros(500))));
        assert_eq!(timeout("500m"), Ok(Some(Duration::from_millis(500))));
        assert_eq!(client_timeout(&HeaderMap::new()), Ok(None));
    }

    /// Never answers.
    #[derive(Clone)]
    struct Never;

    impl Service<Request<Body>> for Never {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = std::future::Pending<Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            std::future::pending()
        }
    }

    /// Reads the question and answers with this many bytes.
    #[derive(Clone)]
    struct Answers(usize);

    impl Service<Request<Body>> for Answers {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            let n_bytes = self.0;
            Box::pin(async move {
                let mut question = request.into_body();
                while let Some(frame) = frame_of(&mut question).await {
                    if let Err(status) = frame {
                        return Ok(status.into_http());
                    }
                }
                let answer = Some(Bytes::from(vec![7; n_bytes]));
                Ok(Response::new(Body::new(Sent(answer))))
            })
        }
    }

    /// A body of one piece. Without the piece, the body never ends.
    struct Sent(Option<Bytes>);

    impl http_body::Body for Sent {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            match self.0.as_mut() {
                None => Poll::Pending,
                Some(bytes) if bytes.is_empty() => Poll::Ready(None),
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            }
        }
    }

    async fn frame_of(body: &mut Body) -> Option<Result<Frame<Bytes>, Status>> {
        std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut *body), cx)).await
    }

    fn explain(entrance: &Entrance, question: Body) -> Request<Body> {
        Request::post("/iamd.v1.AuthorizationService/Explain")
            .header("content-type", "application/grpc")
            .header("grpc-timeout", "99999999H")
            .extension(entrance.clone())
            .body(question)
            .unwrap()
    }

    fn entrance(may: May) -> Entrance {
        Entrance {
            may,
            calls: Arc::default(),
        }
    }

    fn code(answer: &Response<Body>) -> Option<&str> {
        let code = answer.headers().get("grpc-status");
        code.map(|code| code.to_str().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn no_client_sets_a_deadline_of_years() {
        let mut service = Calls {
            inner: Never,
            bounds: bounds(),
        };
        let start = Instant::now();
        let call = authorize().header("grpc-timeout", "99999999H");
        let answer = service.call(call.body(Body::empty()).unwrap()).await;
        assert_eq!(code(&answer.unwrap()), Some("4"));
        assert_eq!(start.elapsed(), LONGEST_DEADLINE);
        let start = Instant::now();
        let answer = service
            .call(explain(&entrance(May::Disclose), Body::empty()))
            .await;
        assert_eq!(code(&answer.unwrap()), Some("4"));
        assert_eq!(start.elapsed(), INTERACTIVE_DEADLINE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_holds_permits_must_send_its_question() {
        let mut service = Calls {
            inner: Answers(1),
            bounds: bounds(),
        };
        let start = Instant::now();
        let unsent = service.call(explain(&entrance(May::Disclose), Body::new(Sent(None))));
        let unsent = tokio::spawn(unsent);
        tokio::task::yield_now().await;
        // S-12: a caller who may only authorize neither waits for the permit nor takes it.
        let stranger = service.call(explain(&entrance(May::Authorize), Body::new(Sent(None))));
        assert_eq!(code(&stranger.await.unwrap()), Some("7"));
        assert_eq!(start.elapsed(), Duration::ZERO);
        let next = service
            .call(explain(&entrance(May::Disclose), Body::empty()))
            .await;
        assert_eq!(code(&next.unwrap()), None, "an answer");
        assert_eq!(start.elapsed(), AUXILIARY_DEADLINE);
        assert_eq!(code(&unsent.await.unwrap().unwrap()), Some("4"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_holds_permits_must_read_its_answer() {
        let mut service = Calls {
            inner: Answers(2 * MAX_PIECE_BYTES + 1),
            bounds: bounds(),
        };
        let entrance = entrance(May::Disclose);
        let mut read = async |entrance: &Entrance| {
            let answer = service.call(explain(entrance, Body::empty())).await;
            answer.unwrap().into_body()
        };
        let start = Instant::now();
        let mut unread = read(&entrance).await;
        let first = frame_of(&mut unread).await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap().len(), MAX_PIECE_BYTES);
        assert_eq!(entrance.calls.n_open(), 1, "a drain waits for it");
        let mut next = read(&entrance).await;
        assert_eq!(start.elapsed(), TIME_TO_READ, "there is one place");
        let left = frame_of(&mut unread).await.unwrap();
        assert_eq!(left.unwrap_err().code(), tonic::Code::DeadlineExceeded);
        let mut lengths = Vec::new();
        while let Some(frame) = frame_of(&mut next).await {
            lengths.push(frame.unwrap().into_data().unwrap().len());
        }
        assert_eq!(lengths, [MAX_PIECE_BYTES, MAX_PIECE_BYTES, 1]);
        drop(next);
        assert_eq!(entrance.calls.n_open(), 0);
        read(&entrance).await;
        assert_eq!(start.elapsed(), TIME_TO_READ, "what is read keeps nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_the_whole_answer_unless_it_takes_too_long() {
        let mut service = Calls {
            inner: Answers(100 * MAX_PIECE_BYTES),
            bounds: bounds(),
        };
        let start = Instant::now();
        let answer = service
            .call(explain(&entrance(May::Disclose), Body::empty()))
            .await;
        let mut answer = answer.unwrap().into_body();
        while frame_of(&mut answer).await.unwrap().is_ok() {
            tokio::time::sleep(TIME_TO_READ - Duration::from_secs(1)).await;
        }
        let took = start.elapsed();
        assert!(took >= LONGEST_DEADLINE && took < LONGEST_DEADLINE + TIME_TO_READ);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_takes_too_long_is_deadline_exceeded() {
        let mut service = Calls {
            inner: Never,
            bounds: bounds(),
        };
        let start = Instant::now();
        let call = authorize();
        let answer = service
            .call(call.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.headers().get("grpc-status").unwrap(), "4");
        assert!(start.elapsed() < Duration::from_secs(2));
        let call = authorize().header("grpc-timeout", "5S");
        let answer = service
            .call(call.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.headers().get("grpc-status").unwrap(), "4");
        assert!(
            start.elapsed() >= Duration::from_secs(6),
            "the client's own deadline is not shortened"
        );
        let call = authorize().header("grpc-timeout", "1S");
        let answer = service.call(call.body(Body::empty()).unwrap());
        tokio::time::advance(Duration::from_secs(1)).await;
        let start = Instant::now();
        answer.await.unwrap();
        assert_eq!(
            start.elapsed(),
            Duration::ZERO,
            "the clock starts with the call"
        );
    }

    fn bounds() -> Bounds {
        Bounds {
            places: Arc::new(Semaphore::new(1)),
            default_deadline: Duration::from_secs(1),
            max_question_bytes: 10,
            max_message_bytes: 20,
        }
    }

    #[test]
    fn each_call_has_rules_of_its_own() {
        let rules = |method: &str| {
            let rules = bounds().of(method);
            (rules.deadline, rules.max_bytes, rules.kind)
        };
        let of_authorize = (Duration::from_secs(1), 10, Kind::Plain);
        assert_eq!(rules("Authorize"), of_authorize);
        let of_batch = (INTERACTIVE_DEADLINE, 20, Kind::Batch);
        assert_eq!(rules("BatchAuthorize"), of_batch);
        // One byte for the key, and one for the length.
        let of_stream = (LONGEST_DEADLINE, 12, Kind::Stream);
        assert_eq!(rules("StreamAuthorize"), of_stream);
        let of_explain = (INTERACTIVE_DEADLINE, 10, Kind::Interactive);
        assert_eq!(rules("Explain"), of_explain);
        let of_simulate = (
            INTERACTIVE_DEADLINE,
            MAX_SIMULATION_BYTES,
            Kind::Interactive,
        );
        assert_eq!(rules("Simulate"), of_simulate);
        let of_auxiliary = (AUXILIARY_DEADLINE, MAX_AUXILIARY_BYTES, Kind::Plain);
        assert_eq!(rules("Check"), of_auxiliary);
    }

    fn authorize() -> tonic::codegen::http::request::Builder {
        Request::post("/iamd.v1.AuthorizationService/Authorize")
            .header("content-type", "application/grpc")
    }

    #[test]
    fn only_a_grpc_call_is_one() {
        let ask = |method: Method, content_type: &str| {
            let request = Request::builder()
                .method(method)
                .header("content-type", content_type);
            let refusal = no_call(&request.body(Body::empty()).unwrap());
            refusal.map(|refusal| refusal.status().as_u16())
        };
        for fine in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;x",
        ] {
            assert_eq!(ask(Method::POST, fine), None, "{fine}");
        }
        for odd in [
            "text/plain",
            "application/grpc-web",
            "application/grpc-web+proto",
            "",
            "application/grpcx",
        ] {
            assert_eq!(ask(Method::POST, odd), Some(415), "{odd}");
        }
        assert_eq!(ask(Method::GET, "application/grpc"), Some(405));
        let without = Request::post("/").body(Body::empty()).unwrap();
        assert_eq!(no_call(&without).unwrap().status(), 415);
    }
}
