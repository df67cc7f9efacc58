//! How long a connection lives: it is asked whether it is still there, and it ends when it is too old or idle.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep, sleep_until};

use super::drain::OpenCalls;
use crate::config::{Config, KEEPALIVE};

/// How old connections become. A time of zero means any age.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ages {
    pub(super) most: Duration,
    pub(super) grace: Duration,
    /// The time in which the first call must come.
    pub(super) first_call: Duration,
    pub(super) idle: Duration,
}

impl Ages {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            most: config.max_connection_age,
            grace: config.max_connection_age_grace,
            first_call: config.first_call_timeout,
            idle: config.max_connection_idle,
        }
    }

    /// Returns when it is first looked whether a call has come.
    fn first_look(self) -> Option<Duration> {
        let given = [self.first_call, self.idle].into_iter();
        given.filter(|after| !after.is_zero()).min()
    }
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It takes calls.
    Open,
    /// It must be told to begin no more calls.
    Over,
    /// It must be closed now.
    Cut,
}

/// The life of one connection.
pub(super) struct Life {
    pings: Option<PingPong>,
    /// Ends when the next ping is due, or when the answer to the last one is overdue.
    ping: Timer,
    is_waiting: bool,
    /// Ends at the age, and then at the end of its grace.
    age: Option<Timer>,
    grace: Duration,
    idle: Option<Idle>,
    is_over: bool,
}

/// Watches whether calls come.
struct Idle {
    /// The time between two looks. Zero: there is only one look, for the first call.
    after: Duration,
    /// Ends when the next look is due.
    look: Option<Timer>,
    /// How many calls had come at the last look.
    n_begun: usize,
}

impl Life {
    pub(super) fn new(pings: Option<PingPong>, ages: Ages) -> Self {
        Self {
            pings,
            ping: Timer::new(KEEPALIVE.0),
            is_waiting: false,
            age: (!ages.most.is_zero()).then(|| Timer::new(about(ages.most))),
            grace: ages.grace,
            idle: ages.first_look().map(|after| Idle {
                after: ages.idle,
                look: Some(Timer::new(after)),
                n_begun: 0,
            }),
            is_over: false,
        }
    }

    /// Returns where the connection with these `calls` is now, and wakes the task when that may change.
    pub(super) fn stage(&mut self, cx: &mut Context<'_>, calls: &OpenCalls) -> Stage {
        if self.is_lost(cx) {
            return Stage::Cut;
        }
        if let Some(age) = &mut self.age
            && age.has_ended(cx)
        {
            if self.is_over {
                return Stage::Cut;
            }
            self.is_over = true;
            age.set(self.grace);
            if age.has_ended(cx) {
                return Stage::Cut; // there is no grace
            }
        }
        if !self.is_over
            && self
                .idle
                .as_mut()
                .is_some_and(|idle| idle.is_over(cx, calls))
        {
            self.is_over = true;
            let age = self.age.get_or_insert_with(|| Timer::new(self.grace));
            age.set(self.grace);
            let _ = age.has_ended(cx);
        }
        if self.is_over {
            Stage::Over
        } else {
            Stage::Open
        }
    }

    /// Sends a ping if one is due. Returns whether the answer to one is overdue.
    fn is_lost(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(pings) = &mut self.pings else {
            return false;
        };
        if self.is_waiting && pings.poll_pong(cx).is_ready() {
            self.is_waiting = false;
            self.ping.set(KEEPALIVE.0);
        }
        if !self.ping.has_ended(cx) {
            return false;
        }
        if self.is_waiting {
            return true;
        }
        // An error means that the connection ends.
        self.is_waiting = pings.send_ping(Ping::opaque()).is_ok();
        self.ping.set(KEEPALIVE.1);
        let _ = self.ping.has_ended(cx);
        let _ = pings.poll_pong(cx);
        false
    }
}

impl Idle {
    /// Returns whether no call came since the last look and none is in flight.
    fn is_over(&mut self, cx: &mut Context<'_>, calls: &OpenCalls) -> bool {
        let Some(look) = &mut self.look else {
            return false;
        };
        if !look.has_ended(cx) {
            return false;
        }
        // PERF: nothing is noted for each call but its number. So a connection is idle for up to twice the time.
        let n_before = std::mem::replace(&mut self.n_begun, calls.n_begun());
        if n_before == self.n_begun && calls.n_open() == 0 {
            return true;
        }
        if self.after.is_zero() {
            self.look = None;
        } else {
            look.set(self.after);
            let _ = look.has_ended(cx);
        }
        false
    }
}

/// Returns `time` give or take a tenth, so that connections which began together do not end together.
fn about(time: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % 200;
    time.mul_f64(0.9 + random as f64 / 1000.0)
}

/// A timer of one task.
///
/// PERF: it is polled once, and after that only looked at, since the same task looks each time.
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
    is_registered: bool,
}

impl Timer {
    pub(super) fn new(after: Duration) -> Self {
        Self {
            sleep: Box::pin(sleep_until(Instant::now() + after)),
            is_registered: false,
        }
    }

    fn set(&mut self, after: Duration) {
        self.sleep.as_mut().reset(Instant::now() + after);
        self.is_registered = false;
    }

    pub(super) fn has_ended(&mut self, cx: &mut Context<'_>) -> bool {
        if self.is_registered {
            return self.sleep.is_elapsed();
        }
        // A task that has done enough for now gets no timer. Then it is polled again soon.
        self.is_registered = has_budget_remaining();
        let polled: Poll<()> = self.sleep.as_mut().poll(cx);
        polled.is_ready()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::task::consume_budget;

    use super::*;

    /// A connection that reads many frames at once has no budget left when it sets the timer of the calls that wait.
    #[tokio::test(start_paused = true)]
    async fn a_timer_ends_although_its_task_had_done_enough_when_it_was_set() {
        let after = Duration::from_secs(1);
        let mut timer = Timer::new(after);
        let set = Instant::now();
        let mut is_first = true;
        let ended = poll_fn(|cx| {
            if std::mem::take(&mut is_first) {
                while has_budget_remaining() {
                    let _ = pin!(consume_budget()).poll(cx);
                }
            }
            if timer.has_ended(cx) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        let ended = tokio::time::timeout(10 * after, ended).await;
        assert!(ended.is_ok());
        assert!((after..2 * after).contains(&set.elapsed()));
    }
}
