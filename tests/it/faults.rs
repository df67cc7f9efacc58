//! Faults of a running server that were found from outside, each with the bound that holds since.
//!
//! What they have in common: something that is not a question (a log, a descriptor, a file that somebody keeps writing, a
//! connection that says nothing) could keep a revocation from taking force, or end the process. So most of these
//! tests take a right away and look how soon it is gone.

use std::path::Path;
use std::time::Duration;

use iamd::service::pb;
use tempfile::TempDir;

use crate::support::{
    Client, Server, allow, ann_asks, log_field, store_allowing, user, within, write_by_rename,
};

mod bounds;
mod clients;
mod descriptors;
mod life;
mod logs;
mod protocol;
mod raw;
mod settings;
mod sockets;
mod store;

const GET: &str = "orders:Get";
const REFUND: &str = "orders:Refund";

/// Within this a change must be in force. It takes some 100 ms, and more on a machine that has other things to do; every
/// fault here kept it out for 5 s at least.
const IN_FORCE: Duration = Duration::from_secs(3);

/// Within this a server must end that has nothing to wait for. It takes some 200 ms; a connection that said nothing
/// held it up for 4.7 s, others for as long as a drain may take.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Ann's file when she may do `action`.
fn ann_may(action: &str) -> String {
    user("ann", &allow(action))
}

/// The decision about ann's `action`, if there is one.
async fn decision(client: &mut Client, action: &str) -> Option<pb::Decision> {
    let answer = client.authorize(ann_asks(action)).await.ok()?;
    Some(answer.into_inner().decision())
}

/// Gives ann the right to `action` instead of the one she had, and waits until the old one is gone.
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

/// A store in which ann may do [`GET`], and a server of it that is ready.
async fn served(options: &[&str]) -> (TempDir, Server, Client) {
    let store = store_allowing(GET);
    let listen = ["--listen", "127.0.0.1:0"];
    let server = Server::start_with(store.path(), &[&listen, options].concat());
    let client = server.client().await;
    (store, server, client)
}

/// Whether a line of the log is a warning or worse.
fn is_complaint(line: &str) -> bool {
    matches!(log_field(line, "level").as_deref(), Some("WARN" | "ERROR"))
}
