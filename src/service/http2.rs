//! HTTP/2 on one connection: calls are accepted as they come, the ordinary question is answered at once, and every other
//! call is passed on to the services.
//!
//! ```text
//!             ┌──▶ at_once ────────────────────▶ bytes of the answer
//! frames ──▶ calls
//!             └──▶ relay ──▶ Calls ──▶ services ──▶ frames of the answer
//! ```
//! All calls that have come are accepted before the first is answered, and all are answered before anything is sent. So
//! many calls of one client cost one read and one write, and none of the ordinary ones a task.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use h2::server::{Builder, Connection as Http2Connection};
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::service::Routes;
use tower_service::Service as _;

use super::at_once::{AtOnce, Call, Due};
use super::calls::{Calls, client_timeout, is_question};
use super::connection::Connection;
use super::drain::{Entrance, late};
use super::framed::Framed;
use super::life::{Ages, Life, Stage, Timer};
use super::observed::{Observed, is_stream};
use super::overload::{self, Waiting};
use super::relay::{Received, relay};
use super::turns;
use crate::authorizer::Authorizer;
use crate::config::{
    Config, MAX_HEADER_LIST_BYTES, MAX_LOCAL_ERROR_RESET_STREAMS, MAX_PENDING_RESET_STREAMS,
    MAX_WINDOW_BYTES, STREAM_WINDOW_BYTES, TURN,
};

/// What all connections of a server have in common.
#[derive(Clone)]
pub(super) struct Http2 {
    builder: Builder,
    authorizer: Arc<Authorizer>,
    default_deadline: Duration,
    max_queueing_delay: Duration,
    ages: Ages,
    calls: Observed<Calls<Framed<Routes>>>,
}

/// A connection that is served.
struct Serving {
    entrance: Entrance,
    at_once: AtOnce,
    calls: Observed<Calls<Framed<Routes>>>,
    /// The calls that are neither answered nor passed on.
    open: Vec<(Call, Due)>,
    /// How long one of them may wait behind others while the thread has too much to do.
    max_queueing_delay: Duration,
    /// Whether the client sent several calls in its last turn, of which some were refused.
    asks_too_much: bool,
    /// Ends when those of them whose bytes have not come must not wait any longer.
    patience: Option<Timer>,
}

/// How long an ordinary call waits at least for its bytes without a task of its own, and at most twice as long. Clients send
/// them right after its head, but some send the heads of all their calls first.
const PATIENCE: Duration = Duration::from_millis(20);

impl Http2 {
    pub(super) fn new(
        config: &Config,
        authorizer: Arc<Authorizer>,
        calls: Observed<Calls<Framed<Routes>>>,
    ) -> Self {
        let max_streams = config.max_streams_per_connection;
        let mut builder = Builder::new();
        builder
            .max_concurrent_streams(max_streams)
            // The window has space for all calls of a connection, so calls that wait do not stop others from being read.
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(
                max_streams
                    .saturating_add(1)
                    .saturating_mul(STREAM_WINDOW_BYTES)
                    .min(MAX_WINDOW_BYTES),
            )
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .max_pending_accept_reset_streams(MAX_PENDING_RESET_STREAMS)
            .max_local_error_reset_streams(Some(MAX_LOCAL_ERROR_RESET_STREAMS));
        Self {
            builder,
            authorizer,
            default_deadline: config.default_deadline,
            max_queueing_delay: config.max_queueing_delay,
            ages: Ages::of(config),
            calls,
        }
    }

    /// Serves `connection` until it is closed.
    pub(super) async fn serve(self, connection: Connection) {
        let entrance = connection.entrance().clone();
        let drain = Arc::clone(&entrance.calls.drain);
        let greeted = tokio::select! {
            () = late(&drain) => return,
            greeted = self.builder.handshake(connection) => greeted,
        };
        // An error is the client's: it speaks something else, has gone, or is too slow.
        let Ok(mut http2) = greeted else { return };
        let mut serving = Serving {
            at_once: AtOnce::new(
                self.authorizer,
                Arc::clone(&entrance.calls),
                self.default_deadline,
            ),
            entrance,
            calls: self.calls,
            open: Vec::new(),
            max_queueing_delay: self.max_queueing_delay,
            asks_too_much: false,
            patience: None,
        };
        let mut life = Life::new(http2.ping_pong(), self.ages);
        let mut drain_begins = pin!(drain.has_begun());
        let mut is_draining = false;
        loop {
            let goes_on = poll_fn(|cx| {
                if !is_draining && drain_begins.as_mut().poll(cx).is_ready() {
                    http2.graceful_shutdown();
                    is_draining = true;
                }
                match life.stage(cx, &serving.entrance.calls) {
                    Stage::Open => {}
                    Stage::Over if is_draining => {}
                    Stage::Over => {
                        http2.graceful_shutdown();
                        is_draining = true;
                    }
                    Stage::Cut => return Poll::Ready(false),
                }
                serving.accept(&mut http2, cx)
            });
            let goes_on = goes_on.await;
            serving.answer(&mut http2).await;
            if !goes_on {
                return;
            }
        }
    }
}

impl Serving {
    /// Accepts all calls that have come. Returns whether the connection goes on, or `Pending` while there is nothing to
    /// do.
    fn accept(
        &mut self,
        http2: &mut Http2Connection<Connection, Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<bool> {
        loop {
            match pin!(http2.accept()).poll(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.entrance.calls.note();
                    let call = self.at_once.call(request, respond, self.entrance.may);
                    self.open.push((call, Due::Nothing));
                }
                // The connection is closed, or the client broke the protocol and was told so.
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(false),
                Poll::Pending => break,
            }
        }
        let mut is_due = false;
        for (call, due) in &mut self.open {
            *due = call.due();
            is_due |= *due != Due::Nothing;
        }
        let is_impatient = self.is_impatient(cx);
        if is_due || is_impatient {
            return Poll::Ready(true);
        }
        self.entrance.calls.unread.take(); // they are of calls that are not whole
        Poll::Pending
    }

    /// Returns whether a call has waited for its bytes for long enough. Then the services take it, which count its time.
    fn is_impatient(&mut self, cx: &mut Context<'_>) -> bool {
        let mut is_impatient = false;
        loop {
            let has_ended = match &mut self.patience {
                // PERF: the timer runs on when nothing waits any more. So it is set once in a while and not for each call.
                Some(timer) => timer.has_ended(cx),
                None if self.open.is_empty() => false,
                None => self.patience.insert(Timer::new(PATIENCE)).has_ended(cx),
            };
            if !has_ended {
                return is_impatient;
            }
            self.patience = None;
            for (call, due) in &mut self.open {
                // The timer may have been set long before the call came.
                let is_old = std::mem::replace(&mut call.is_old, true);
                if is_old && *due == Due::Nothing {
                    *due = Due::PassOn;
                    is_impatient = true;
                }
            }
        }
    }

    /// Answers the calls that are due, or lets tasks do so. After each turn the answers are sent, and the other connections of
    /// the thread go on.
    async fn answer(&mut self, http2: &mut Http2Connection<Connection, Bytes>) {
        let came_at = self.entrance.calls.unread.take();
        let mut since = overload::now();
        let n_calls = self.open.len();
        let mut waiting = Waiting::begin(n_calls);
        let mut now = Instant::now();
        let asked_too_much = std::mem::take(&mut self.asks_too_much);
        if asked_too_much && n_calls > 1 && overload::refuses(now) {
            since = came_at.unwrap_or(since);
            turns::pause().await; // the others come first
            now = Instant::now();
        }
        let mut began = now;
        let mut n_turns = 1;
        for (call, due) in std::mem::take(&mut self.open) {
            let is_late = overload::is_too_late(since, self.max_queueing_delay, now);
            waiting.next();
            let unanswered = match due {
                Due::Nothing => {
                    self.open.push((call, due));
                    continue;
                }
                Due::Answer | Due::PassOn if is_late && is_question(call.path()) => {
                    self.at_once.refuse(call);
                    overload::refused(now);
                    self.asks_too_much = n_calls > 1;
                    None
                }
                Due::Answer => self.at_once.answer(call),
                Due::PassOn => Some(call),
            };
            if let Some(call) = unanswered {
                self.pass_on(call);
            }
            let before = std::mem::replace(&mut now, Instant::now());
            overload::worked(now.saturating_duration_since(before));
            if now.saturating_duration_since(began) >= TURN {
                give_way(http2).await;
                n_turns += 1;
                now = Instant::now();
                began = now;
            }
        }
        if n_turns > 2 {
            give_way(http2).await; // what it sends next may be as much
        }
    }

    /// Lets the services answer a call, in a task of its own.
    fn pass_on(&mut self, call: Call) {
        let Call {
            request,
            first,
            respond,
            ..
        } = call;
        let mut request = request.map(|stream| Body::new(Received { first, stream }));
        request.extensions_mut().insert(self.entrance.clone());
        // It is in flight until the client has its answer.
        let path = request.uri().path();
        let is_stream = is_stream(path);
        let in_flight = self.entrance.calls.begin(is_stream, is_question(path));
        let given = client_timeout(request.headers()).ok().flatten();
        let until = given.and_then(|given| tokio::time::Instant::now().checked_add(given));
        let answering = self.calls.call(request);
        tokio::spawn(async move {
            let _in_flight = in_flight;
            relay(answering, respond, is_stream, until).await;
        });
    }
}

/// Sends what can be sent, and lets the other tasks of the thread go on.
async fn give_way(http2: &mut Http2Connection<Connection, Bytes>) {
    poll_fn(|cx| {
        // Whether the connection is closed is found out when calls are accepted.
        let _: Poll<_> = http2.poll_closed(cx);
        Poll::Ready(())
    })
    .await;
    turns::pause().await;
}
