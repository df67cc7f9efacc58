//! Tests for faults of a running server that were found from outside, each with the bound that applies since then.
//!
//! They have in common that something other than a question (a log, a descriptor, a file that is rewritten all the
//! time, a silent connection) could delay a revocation or end the process. So most of these tests revoke a permission
//! and check how soon the revocation takes effect.

use std::path::Path;
use std::time::Duration;

use iamd::service::pb;
use tempfile::TempDir;

use crate::support::{
    Client, Server, allow, ann_asks, log_field, store_allowing, user, within, write_by_rename,
};

mod bounds;
mod clients;
mod cycles;
mod descriptors;
mod life;
mod logs;
mod protocol;
mod raw;
mod settings;
mod sockets;
mod store;
mod supervisor;

const GET: &str = "orders:Get";
const REFUND: &str = "orders:Refund";

/// A change must take effect within this time. It takes about 100 ms, and more on a busy machine. Every fault here
/// delayed it by at least 5 s.
const IN_FORCE: Duration = Duration::from_secs(3);

/// A server that has nothing to wait for must end within this time. It takes about 200 ms. A silent connection delayed
/// it by 4.7 s, and others for as long as a drain may take.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Returns ann's file when she may do `action`.
fn ann_may(action: &str) -> String {
    user("ann", &allow(action))
}

/// Returns the decision about ann's `action`, if there is one.
async fn decision(client: &mut Client, action: &str) -> Option<pb::Decision> {
    let answer = client.authorize(ann_asks(action)).await.ok()?;
    Some(answer.into_inner().decision())
}

/// Allows ann `action` in place of her earlier permission, and waits until the earlier one is gone.
async fn grant_instead(root: &Path, server: &mut Server, client: &mut Client, action: &str) {
    write_by_rename(root, "users/ann.json", &ann_may(action));
    let old = if action == GET { REFUND } else { GET };
    within(IN_FORCE, &format!("the end of `{old}`"), async || {
        assert!(server.is_running(), "it has ended: {:?}", server.log());
        let is_gone = decision(client, old).await == Some(pb::Decision::Deny);
        (is_gone && decision(client, action).await == Some(pb::Decision::Allow)).then_some(())
    })
    .await;
}

/// Returns a store in which ann may do [`GET`], and a server for it that is ready.
async fn served(options: &[&str]) -> (TempDir, Server, Client) {
    let store = store_allowing(GET);
    let listen = ["--listen", "127.0.0.1:0"];
    let server = Server::start_with(store.path(), &[&listen, options].concat());
    let client = server.client().await;
    (store, server, client)
}

/// Returns whether a line of the log is a warning or worse.
fn is_complaint(line: &str) -> bool {
    matches!(log_field(line, "level").as_deref(), Some("WARN" | "ERROR"))
}
