//! The drain of the server, and the calls in flight that it waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;

use super::callers::May;
use super::overload::Unread;
use crate::authorizer::CallerFacts;
use crate::config::{FAREWELL_TO_IDLE, MAX_BATCHES_AT_ONCE};

/// Whether the server drains, and how many calls it still waits for.
#[derive(Debug, Default)]
pub(super) struct Drain {
    pub(super) begun: AtomicBool,
    /// Wakes those who wait for the drain. `begun` alone says whether it has begun: every read of a connection looks
    /// there, and a flag costs the least.
    begins: Notify,
    n_calls: AtomicUsize,
    /// How many of them ask for decisions.
    n_questions: AtomicUsize,
}

impl Drain {
    /// Begins the drain: from now on connections without a call are closed.
    pub(super) fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.begins.notify_waiters();
    }

    /// Completes when the drain has begun.
    pub(super) async fn has_begun(&self) {
        // INVARIANT: who begins to wait before the flag is set is woken, even if it was not polled until then.
        let begins = self.begins.notified();
        if !self.begun.load(Ordering::Acquire) {
            begins.await;
        }
    }

    /// Returns how many calls that ask for decisions are in flight.
    pub(super) fn n_questions(&self) -> usize {
        self.n_questions.load(Ordering::Relaxed)
    }

    /// Returns how many calls are in flight.
    pub(super) fn n_calls(&self) -> usize {
        self.n_calls.load(Ordering::Relaxed)
    }
}

/// Completes when the server drains and a client that has just connected has had the time to send its call.
pub(super) async fn late(drain: &Drain) {
    drain.has_begun().await;
    sleep(FAREWELL_TO_IDLE).await;
}

/// The facts about a connection that its calls need.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    /// What the caller may do, which was found out when the connection was made.
    pub(super) may: May,
    /// The calls of the connection.
    pub(super) calls: Arc<OpenCalls>,
}

/// The calls of one connection.
#[derive(Debug)]
pub(super) struct OpenCalls {
    pub(super) drain: Arc<Drain>,
    /// What is known of the other end.
    pub(super) caller: CallerFacts,
    pub(super) n_open: AtomicUsize,
    /// How many of them are streams, which end by the drain themselves.
    pub(super) n_streams: AtomicUsize,
    /// How many of them ask for decisions.
    pub(super) n_questions: AtomicUsize,
    /// How many calls that may take seconds wait until they are received.
    pub(super) n_waiting: AtomicUsize,
    pub(super) n_begun: AtomicUsize,
    /// When its bytes came.
    pub(super) unread: Arc<Unread>,
    /// The one permit for the connection's Explain and Simulate calls, which may take seconds. A client that sends many
    /// such calls on one connection delays only its own.
    pub(super) place: Arc<Semaphore>,
    /// The permits for the connection's BatchAuthorize calls, whose messages may be long.
    pub(super) batches: Arc<Semaphore>,
}

impl Default for OpenCalls {
    fn default() -> Self {
        Self {
            drain: Arc::default(),
            caller: CallerFacts::default(),
            n_open: AtomicUsize::new(0),
            n_streams: AtomicUsize::new(0),
            n_questions: AtomicUsize::new(0),
            n_waiting: AtomicUsize::new(0),
            n_begun: AtomicUsize::new(0),
            unread: Arc::default(),
            place: Arc::new(Semaphore::new(1)),
            batches: Arc::new(Semaphore::new(MAX_BATCHES_AT_ONCE)),
        }
    }
}

/// A call in flight. Dropping this ends it.
#[derive(Debug)]
pub(super) struct Call {
    calls: Arc<OpenCalls>,
    is_stream: bool,
    is_question: bool,
}

impl OpenCalls {
    /// Notes that the connection has brought a call.
    pub(super) fn note(&self) {
        self.n_begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call that is not answered at once.
    pub(super) fn begin(self: &Arc<Self>, is_stream: bool, is_question: bool) -> Call {
        self.n_open.fetch_add(1, Ordering::Relaxed);
        self.n_streams
            .fetch_add(usize::from(is_stream), Ordering::Relaxed);
        self.drain.n_calls.fetch_add(1, Ordering::Relaxed);
        self.n_questions
            .fetch_add(usize::from(is_question), Ordering::Relaxed);
        self.drain
            .n_questions
            .fetch_add(usize::from(is_question), Ordering::Relaxed);
        Call {
            calls: Arc::clone(self),
            is_stream,
            is_question,
        }
    }

    /// Returns whether calls are in flight that a drain must wait for. It does not wait for streams: they end by
    /// themselves, unless their clients do not read.
    pub(super) fn delay_the_end(&self) -> bool {
        self.n_open() > self.n_streams.load(Ordering::Relaxed)
    }

    /// Returns how many calls that ask for decisions the connection has in flight.
    pub(super) fn n_questions(&self) -> usize {
        self.n_questions.load(Ordering::Relaxed)
    }

    /// Completes when the server drains.
    pub(super) async fn drain_begins(&self) {
        self.drain.has_begun().await;
    }

    /// Returns how many the connection has brought.
    pub(super) fn n_begun(&self) -> usize {
        self.n_begun.load(Ordering::Relaxed)
    }

    /// Returns how many are in flight and were not answered at once.
    pub(super) fn n_open(&self) -> usize {
        self.n_open.load(Ordering::Relaxed)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.calls.n_open.fetch_sub(1, Ordering::Relaxed);
        self.calls
            .n_streams
            .fetch_sub(usize::from(self.is_stream), Ordering::Relaxed);
        self.calls.drain.n_calls.fetch_sub(1, Ordering::Relaxed);
        self.calls
            .n_questions
            .fetch_sub(usize::from(self.is_question), Ordering::Relaxed);
        self.calls
            .drain
            .n_questions
            .fetch_sub(usize::from(self.is_question), Ordering::Relaxed);
    }
}
