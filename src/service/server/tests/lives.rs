//! Bounds of connections, and of what their calls hold.

use super::*;

#[tokio::test]
async fn a_connection_too_many_is_closed_at_once() {
    let running = Running::start_with(&[("max_connections", "2")]).await;
    let held = UnixStream::connect(&running.socket).await.unwrap();
    let mut closed = UnixStream::connect(&running.socket).await.unwrap();
    assert_eq!(closed.read(&mut [0; 1]).await.unwrap(), 0);
    drop(held);
    // Its place is free again once the server has noticed. Then the server says its settings.
    loop {
        let mut next = UnixStream::connect(&running.socket).await.unwrap();
        if next.read(&mut [0; 1]).await.unwrap() > 0 {
            break;
        }
    }
}

/// Connects without a library for gRPC. `window` is how many bytes of an answer the server may send.
async fn raw(running: &Running, window: u32) -> SendRequest<Bytes> {
    let socket = UnixStream::connect(&running.socket).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (requests, connection) = builder
        .initial_window_size(window)
        .handshake(socket)
        .await
        .unwrap();
    tokio::spawn(connection);
    requests.ready().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_question_whose_bytes_do_not_come_ends_at_its_deadline() {
    let running = Running::start().await;
    running.load_an_empty_store();
    let mut requests = raw(&running, 1 << 16).await;
    let begun = Instant::now();
    let (response, mut body) = begin(&mut requests, "Authorize", "3S");
    body.send_data(Bytes::from_static(&[0, 0, 0]), false)
        .unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "4");
    // The services count its time only after it has waited on its connection.
    let took = begun.elapsed();
    let range = Duration::from_secs(3)..Duration::from_millis(3100);
    assert!(range.contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_ends_at_its_deadline() {
    let running = Running::start().await;
    running.load_an_empty_store();
    let mut requests = raw(&running, 0).await;
    let begun = Instant::now();
    let (response, mut body) = begin(&mut requests, "Authorize", "3S");
    body.send_data(framed(&question()), true).unwrap();
    let mut answer = response.await.unwrap().into_body();
    let error = answer.data().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
    assert_eq!(begun.elapsed().as_secs(), 3);
}

/// Waits until the server has closed the connection, and returns how long that took.
async fn closed(connection: JoinHandle<Result<(), h2::Error>>) -> Duration {
    let begun = Instant::now();
    let _ = connection.await.unwrap(); // GOAWAY may count as an error
    begun.elapsed()
}

/// Connects without a library for gRPC. Returns the task of the connection, too.
async fn connected(running: &Running) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let socket = UnixStream::connect(&running.socket).await.unwrap();
    let (requests, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    (requests.ready().await.unwrap(), connection)
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_by_its_age_and_its_calls_by_the_grace() {
    let flags = [
        ("max_connection_age", "100s"),
        ("max_connection_age_grace", "7s"),
        ("first_call_timeout", "0s"),
    ];
    let running = Running::start_with(&flags).await;
    running.load_an_empty_store();
    let (_requests, connection) = connected(&running).await;
    let took = closed(connection).await;
    assert!((90..=111).contains(&took.as_secs()), "{took:?}");

    let (mut requests, connection) = connected(&running).await;
    let (response, mut body) = begin(&mut requests, "StreamAuthorize", "9H");
    let asked = pb::StreamAuthorizeRequest {
        request: Some(question()),
    };
    body.send_data(framed(&asked), false).unwrap();
    let mut answers = response.await.unwrap().into_body();
    assert!(answers.data().await.unwrap().is_ok());
    // It has been told to begin no more calls, and the one that it has goes on until the grace is over.
    let took = closed(connection).await;
    assert!((90 + 7..=111 + 7).contains(&took.as_secs()), "{took:?}");
    assert!(answers.data().await.is_none_or(|data| data.is_err()));
}

/// The client must not keep the place of others by being there.
#[tokio::test(start_paused = true)]
async fn a_connection_that_asks_nothing_ends_soon() {
    for idle in ["30m", "0s"] {
        let running = Running::start_with(&[("max_connection_idle", idle)]).await;
        running.load_an_empty_store();
        let (_requests, silent) = connected(&running).await;
        let (mut requests, asking) = connected(&running).await;
        let (response, mut body) = begin(&mut requests, "Authorize", "3S");
        body.send_data(framed(&question()), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
        let took = closed(silent).await;
        assert!((60..=65).contains(&took.as_secs()), "{took:?}");
        let took = closed(asking).await;
        assert!(took >= Duration::from_secs(29 * 60), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_calls_ends_when_it_has_been_idle() {
    let flags = [("max_connection_idle", "10m"), ("max_connection_age", "0s")];
    let running = Running::start_with(&flags).await;
    running.load_an_empty_store();
    let (mut requests, connection) = connected(&running).await;
    let begun = Instant::now();
    for _ in 0..10 {
        let (response, mut body) = begin(&mut requests, "Authorize", "3S");
        body.send_data(framed(&question()), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
        tokio::time::sleep(Duration::from_secs(5 * 60)).await;
    }
    assert_eq!(begun.elapsed().as_secs(), 50 * 60, "calls keep it open");
    let took = closed(connection).await;
    assert!((5 * 60..=20 * 60).contains(&took.as_secs()), "{took:?}");

    let (mut requests, connection) = connected(&running).await;
    let (response, _body) = begin(&mut requests, "StreamAuthorize", "1H");
    let begun = Instant::now();
    let answer = response.await.unwrap().into_body();
    let took = closed(connection).await;
    assert!(
        took >= Duration::from_secs(3600),
        "an open call counts: {took:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(3600 + 21 * 60));
    drop(answer);
}

#[tokio::test]
async fn bytes_of_messages_that_are_not_whole_are_bounded_over_all_connections() {
    let running = Running::start_with(&[("max_unfinished_bytes", "100000")]).await;
    running.load_an_empty_store();
    let half = || {
        let mut half = vec![0];
        half.extend(60_000_u32.to_be_bytes());
        half.resize(50_000, 0);
        Bytes::from(half)
    };
    let hold = async || {
        let mut requests = raw(&running, 1 << 16).await;
        let (response, mut body) = begin(&mut requests, "BatchAuthorize", "9S");
        body.send_data(half(), false).unwrap();
        (requests, response, body)
    };
    let mut held = [hold().await, hold().await];
    // Both have come once a third one finds no space.
    let status = loop {
        let (_requests, response, _body) = hold().await;
        let answer = tokio::time::timeout(Duration::from_millis(300), response).await;
        if let Ok(answer) = answer {
            break answer.unwrap().headers()["grpc-status"].clone();
        }
        for one in &mut held {
            // The third one may have come before one of them.
            let is_refused = tokio::time::timeout(Duration::ZERO, &mut one.1)
                .await
                .is_ok();
            if is_refused {
                *one = hold().await;
            }
        }
    };
    assert_eq!(status, "8", "RESOURCE_EXHAUSTED");
    let mut stub = AuthorizationServiceClient::new(running.channel.clone());
    assert!(stub.authorize(question()).await.is_ok(), "short ones go on");
    assert_eq!(running.health().await, ServingStatus::Serving);
    let status = stub.status(pb::StatusRequest {}).await;
    assert!(status.is_ok(), "{status:?}");
    let watched = stub.watch_revision(pb::WatchRevisionRequest {}).await;
    assert!(watched.is_ok(), "{watched:?}");
    drop(held);
    let batch = Encoded::of(&pb::BatchAuthorizeRequest {
        requests: vec![question(); 500],
    });
    while stub.batch_authorize(batch.clone()).await.is_err() {}
}

#[tokio::test]
async fn too_many_questions_in_flight_are_refused_and_health_is_not() {
    let running = Running::start_with(&[("max_questions_in_flight", "3")]).await;
    running.load_an_empty_store();
    let mut stub = AuthorizationServiceClient::new(running.channel.clone());
    let mut held = Vec::new();
    for _ in 0..3 {
        let (ask, asked) = mpsc::unbounded_channel::<Encoded>();
        let asked = UnboundedReceiverStream::new(asked);
        held.push((stub.stream_authorize(asked).await.unwrap(), ask));
    }
    let batch = Encoded::of(&pb::BatchAuthorizeRequest::default());
    let status = stub.batch_authorize(batch.clone()).await.unwrap_err();
    assert_eq!(status.code(), StatusCode::ResourceExhausted);
    assert_eq!(reason_of(&status), "OVERLOADED");
    assert!(status.get_details_retry_info().is_some());
    assert_eq!(running.health().await, ServingStatus::Serving);
    assert!(
        stub.authorize(question()).await.is_ok(),
        "it is never in flight"
    );
    drop(held);
    while stub.batch_authorize(batch.clone()).await.is_err() {}
}

/// A client may hold streams on which it asks nothing.
#[tokio::test]
async fn those_who_hold_many_calls_keep_no_other_connection_away() {
    let running = Running::start_with(&[("max_questions_in_flight", "3")]).await;
    running.load_an_empty_store();
    let connect = async || {
        let socket = format!("unix:{}", running.socket.display());
        let endpoint = Endpoint::from_shared(socket).unwrap();
        AuthorizationServiceClient::new(endpoint.connect().await.unwrap())
    };
    let batch = Encoded::of(&pb::BatchAuthorizeRequest::default());
    let (mut greedy, mut modest) = (connect().await, connect().await);
    let (mut held, mut watches) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (ask, asked) = mpsc::unbounded_channel::<Encoded>();
        let asked = UnboundedReceiverStream::new(asked);
        held.push((greedy.stream_authorize(asked).await.unwrap(), ask));
    }
    let status = greedy.batch_authorize(batch.clone()).await.unwrap_err();
    assert_eq!(status.code(), StatusCode::ResourceExhausted);
    // Calls that ask nothing do not count.
    for _ in 0..3 {
        let watched = modest.watch_revision(pb::WatchRevisionRequest {}).await;
        watches.push(watched.unwrap());
    }
    let answered = modest.batch_authorize(batch.clone()).await;
    assert!(answered.is_ok(), "{answered:?}");
    // Its own calls have a bound, too.
    for _ in 0..2 {
        let (ask, asked) = mpsc::unbounded_channel::<Encoded>();
        let asked = UnboundedReceiverStream::new(asked);
        held.push((modest.stream_authorize(asked).await.unwrap(), ask));
    }
    let status = modest.batch_authorize(batch).await.unwrap_err();
    assert_eq!(status.code(), StatusCode::ResourceExhausted);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_the_services_that_nobody_reads_is_given_up() {
    let running = Running::start().await;
    running.load_an_empty_store();
    let mut requests = raw(&running, 0).await;
    let batch = pb::BatchAuthorizeRequest {
        requests: vec![question()],
    };
    let (response, mut body) = begin(&mut requests, "BatchAuthorize", "30S");
    body.send_data(framed(&batch), true).unwrap();
    let mut answer = response.await.unwrap().into_body();
    let begun = Instant::now();
    let error = answer.data().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
    assert_about(begun.elapsed(), crate::config::TIME_TO_READ);
}

/// The deadline of a call holds for sending, too, and a stream that nobody reads is a question in flight until it ends.
#[tokio::test(start_paused = true)]
async fn answers_of_the_services_that_nobody_reads_end_at_their_deadline() {
    let running = Running::start_with(&[("max_questions_in_flight", "1")]).await;
    running.load_an_empty_store();
    let batch = framed(&pb::BatchAuthorizeRequest {
        requests: vec![question()],
    });
    for (method, message) in [
        ("BatchAuthorize", batch),
        (
            "StreamAuthorize",
            framed(&pb::StreamAuthorizeRequest {
                request: Some(question()),
            }),
        ),
        ("WatchRevision", framed(&pb::WatchRevisionRequest {})),
    ] {
        let mut requests = raw(&running, 0).await;
        let begun = Instant::now();
        let (response, mut body) = begin(&mut requests, method, "3S");
        body.send_data(message, method != "StreamAuthorize")
            .unwrap();
        let mut answer = response.await.unwrap().into_body();
        let error = answer.data().await.unwrap().unwrap_err();
        assert!(error.is_reset(), "{method}: {error:?}");
        let took = begun.elapsed();
        let range = Duration::from_secs(3)..Duration::from_millis(3300);
        assert!(range.contains(&took), "{method}: {took:?}");
    }
    assert_eq!(running.in_flight.n_calls(), 0);
}

/// Those who only watch take no place of those who ask.
#[tokio::test]
async fn watches_are_no_questions_in_flight() {
    let running = Running::start_with(&[("max_questions_in_flight", "3")]).await;
    running.load_an_empty_store();
    let mut health = HealthClient::new(running.channel.clone());
    let mut held = Vec::new();
    for _ in 0..5 {
        let request = HealthCheckRequest {
            service: String::new(),
        };
        held.push(health.watch(request).await.unwrap());
    }
    let mut stub = AuthorizationServiceClient::new(running.channel.clone());
    // Beyond two calls of its own, the watches would count.
    let mut streams = Vec::new();
    for _ in 0..2 {
        let (ask, asked) = mpsc::unbounded_channel::<Encoded>();
        let asked = UnboundedReceiverStream::new(asked);
        streams.push((stub.stream_authorize(asked).await.unwrap(), ask));
    }
    let batch = Encoded::of(&pb::BatchAuthorizeRequest::default());
    assert!(stub.batch_authorize(batch).await.is_ok());
}
