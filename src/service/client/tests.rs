#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::net::TcpListener;
use std::time::Duration;

use tokio::time::Instant;

use super::*;

fn question() -> Question<'static> {
    Question {
        request_id: "7",
        ..Default::default()
    }
}

/// Measures how long `call` waits until it gives up. The clock is paused: it moves on only when all tasks wait.
fn waits<T>(client: &Client, call: impl FnOnce(&Client) -> T) -> (T, Duration) {
    let now = || client.runtime.block_on(async { Instant::now() });
    let begun = now();
    let given = call(client);
    (given, now() - begun)
}

/// The system accepts the connection, and no process ever answers on it.
#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::connect(&silent.local_addr().unwrap().to_string(), None).unwrap();
    client.runtime.block_on(async { tokio::time::pause() });
    let assert_given_up = |no_answer: NoAnswer, what: &str| {
        let told = format!("{no_answer}");
        let is_late = told.starts_with("DEADLINE_EXCEEDED") || told.starts_with("CANCELLED");
        assert!(is_late, "{what}: {told}");
    };
    // tokio's timers are exact to a millisecond.
    let assert_about = |waited: Duration, expected: Duration, what: &str| {
        let is_fine = waited >= expected && waited < expected + Duration::from_millis(10);
        assert!(is_fine, "{what}: {waited:?}");
    };

    let (answer, waited) = waits(&client, |client| client.authorize(&question()));
    assert_given_up(answer.unwrap_err(), "ask");
    assert_about(waited, CLIENT_TIMEOUT, "ask");

    let (answer, waited) = waits(&client, |client| client.explain(&question()));
    assert_given_up(answer.unwrap_err(), "explain");
    assert_about(waited, INTERACTIVE_DEADLINE, "explain");

    let simulation = Simulation {
        question: question(),
        ..Default::default()
    };
    let (answer, waited) = waits(&client, |client| client.simulate(&simulation));
    assert_given_up(answer.unwrap_err(), "simulate");
    assert_about(waited, INTERACTIVE_DEADLINE, "simulate");

    let (health, waited) = waits(&client, |client| client.is_serving(""));
    assert!(health.is_err());
    assert_about(waited, CLIENT_TIMEOUT, "is_serving");
}
