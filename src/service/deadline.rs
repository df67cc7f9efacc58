//! Deadlines: a call ends when its client no longer waits.
//!
//! tonic has a layer of its own for `grpc-timeout`; it answers CANCELLED, and its default would shorten the deadlines
//! that clients set. This one runs inside of it, so it is always first.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tower_service::Service;

/// Ends the calls of `inner` at their deadline.
#[derive(Clone, Debug)]
pub(super) struct Deadline<S> {
    pub(super) inner: S,
    /// The deadline of an Authorize call whose client set none. Calls for people have their own; streams, such as the
    /// health watch, have none then.
    pub(super) default: Duration,
    /// The same for calls that people make: they may take longer.
    pub(super) for_people: Duration,
}

impl<S> Service<Request<Body>> for Deadline<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next();
        let default = match method {
            Some("Authorize") => Some(self.default),
            Some("Explain" | "Simulate") => Some(self.for_people),
            _ => None,
        };
        let deadline = client_timeout(request.headers()).or(default);
        let answer = self.inner.call(request);
        match deadline {
            None => Box::pin(answer),
            Some(deadline) => {
                // The clock starts here and not when the future is first asked: tonic's own starts right after this
                // call, and would otherwise now and then be first, and answer CANCELLED.
                let answer = tokio::time::timeout(deadline, answer);
                Box::pin(async move {
                    match answer.await {
                        Ok(answer) => answer,
                        Err(_) => {
                            Ok(Status::deadline_exceeded("the call's deadline has passed")
                                .into_http())
                        }
                    }
                })
            }
        }
    }
}

/// The header `grpc-timeout`: at most eight digits and a unit. One that is malformed sets no deadline.
fn client_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn timeout(text: &str) -> Option<Duration> {
        client_timeout(&HeaderMap::from_iter([(
            "grpc-timeout".parse().unwrap(),
            text.parse().unwrap(),
        )]))
    }

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(timeout("3S"), Some(Duration::from_secs(3)));
        assert_eq!(
            timeout("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        assert_eq!(timeout("82f"), None);
        for malformed in ["", "S", "3", "-3S", "123456789S", "3s", "3 S", "+3S"] {
            assert_eq!(timeout(malformed), None, "{malformed}");
        }
        assert_eq!(timeout("500u"), Some(Duration::from_micros(500)));
        assert_eq!(timeout("500m"), Some(Duration::from_millis(500)));
        assert_eq!(client_timeout(&HeaderMap::new()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_takes_too_long_is_deadline_exceeded() {
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
        let mut service = Deadline {
            inner: Never,
            default: Duration::from_secs(1),
            for_people: Duration::from_secs(30),
        };
        let start = tokio::time::Instant::now();
        let call = Request::builder().uri("/iamd.v1.AuthorizationService/Authorize");
        let answer = service
            .call(call.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.headers().get("grpc-status").unwrap(), "4");
        assert!(start.elapsed() < Duration::from_secs(2));
        let call = Request::builder()
            .uri("/iamd.v1.AuthorizationService/Authorize")
            .header("grpc-timeout", "5S");
        let answer = service
            .call(call.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.headers().get("grpc-status").unwrap(), "4");
        assert!(
            start.elapsed() >= Duration::from_secs(6),
            "the client's own deadline is not shortened"
        );
        let call = Request::builder()
            .uri("/iamd.v1.AuthorizationService/Authorize")
            .header("grpc-timeout", "1S");
        let answer = service.call(call.body(Body::empty()).unwrap());
        tokio::time::advance(Duration::from_secs(1)).await;
        let start = tokio::time::Instant::now();
        answer.await.unwrap();
        assert_eq!(
            start.elapsed(),
            Duration::ZERO,
            "the clock starts with the call"
        );
    }
}
