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
        waiting: Arc::new(Semaphore::new(8)),
        default_deadline: Duration::from_secs(1),
        max_question_bytes: 10,
        max_message_bytes: 20,
        max_in_flight: 100,
        unfinished: Arc::new(Unfinished::new(1 << 20)),
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
    assert_eq!(rules("ServerReflectionInfo"), of_auxiliary);
    let of_health = (AUXILIARY_DEADLINE, MAX_HEALTH_BYTES, Kind::Vital);
    for method in ["Check", "Watch", "List", "Status", "WatchRevision"] {
        assert_eq!(rules(method), of_health, "{method}");
    }
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
