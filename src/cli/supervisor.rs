//! What systemd hears of a server that it has started with `Type=notify`.

use sd_notify::NotifyState;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

/// Tells systemd how far the server is, if it wants to hear of it. Returns at once what ends when it has been told: a systemd
/// that does not listen must not keep the server from its work.
pub(super) fn tell(state: NotifyState<'static>) -> JoinHandle<()> {
    spawn_blocking(move || {
        if let Err(error) = sd_notify::notify(&[state]) {
            tracing::warn!(
                id = "systemd-not-told",
                "systemd does not hear of the server's state: {error}"
            );
        }
    })
}

/// Tells systemd twice in each `WatchdogSec=` of its unit that this runtime still has its turn.
pub(super) fn keep_watchdog_quiet() {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero())
    else {
        return;
    };
    tokio::spawn(async move {
        let mut turns = interval(patience / 2);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let _ = tell(NotifyState::Watchdog).await; // an error is logged there
        }
    });
}
