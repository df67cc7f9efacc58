//! What systemd hears of a server that it has started with `Type=notify`.

use std::env;
use std::fmt::Display;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

/// How many messages may wait for a systemd that does not read.
const WAITING: usize = 4;

/// The way to systemd, if it wants to hear of the server. A thread of its own sends, so that a systemd that does not read keeps the
/// server from nothing.
#[derive(Clone)]
pub(super) struct Supervisor(Option<SyncSender<NotifyState<'static>>>);

impl Supervisor {
    /// Begins to listen for what is told.
    pub(super) fn start() -> Self {
        if env::var_os("NOTIFY_SOCKET").is_none() {
            return Self(None);
        }
        let (sender, told) = sync_channel(WAITING);
        let sending = thread::Builder::new().name("systemd".to_owned());
        match sending.spawn(move || send(&told)) {
            Ok(_detached) => Self(Some(sender)),
            Err(error) => {
                warn(&error);
                Self(None)
            }
        }
    }

    /// Tells how far the server is. Returns at once.
    pub(super) fn tell(&self, state: NotifyState<'static>) {
        if let Some(sender) = &self.0
            && let Err(error) = sender.try_send(state)
        {
            warn(&error);
        }
    }

    /// Tells twice in each `WatchdogSec=` of the unit that this runtime still has its turn.
    pub(super) fn keep_watchdog_quiet(&self) {
        let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero())
        else {
            return;
        };
        let supervisor = self.clone();
        tokio::spawn(async move {
            let mut turns = interval(patience / 2);
            turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                turns.tick().await;
                supervisor.tell(NotifyState::Watchdog);
            }
        });
    }
}

fn send(told: &Receiver<NotifyState<'static>>) {
    for state in told {
        if let Err(error) = sd_notify::notify(&[state]) {
            warn(&error);
        }
    }
}

fn warn(error: &dyn Display) {
    tracing::warn!(
        id = "systemd-not-told",
        "systemd does not hear of the server's state: {error}"
    );
}
