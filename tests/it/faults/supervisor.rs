//! Tests what systemd hears of a server, by playing systemd.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Instant;

use tempfile::TempDir;

use super::{GET, decision};
use crate::support::{PATIENCE, Server, iamd, store_allowing, write};

/// Returns a server that tells its state to the socket at `notified`, with a watchdog that wants to hear of it five times a second.
fn started(store: &Path, notified: &Path) -> Server {
    let mut command = iamd(["serve", "--listen", "127.0.0.1:0", "--store"]);
    command
        .arg(store)
        .env("NOTIFY_SOCKET", notified)
        .env("WATCHDOG_USEC", "400000");
    Server::spawn(command)
}

/// Waits until `socket` hears `wanted`.
fn hear(socket: &UnixDatagram, wanted: &str) {
    let deadline = Instant::now() + PATIENCE;
    let mut heard = [0; 256];
    while Instant::now() < deadline {
        let n = socket.recv(&mut heard).unwrap();
        if heard[..n] == *wanted.as_bytes() {
            return;
        }
    }
    panic!("{wanted} did not come");
}

#[tokio::test]
async fn systemd_hears_when_the_server_is_ready_alive_and_about_to_end() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let store = store_allowing(GET);
    let mut server = started(store.path(), &path);
    hear(&socket, "READY=1\n");
    let mut client = server.client().await;
    assert!(decision(&mut client, GET).await.is_some());
    for _ in 0..3 {
        hear(&socket, "WATCHDOG=1\n");
    }
    server.signal("TERM");
    hear(&socket, "STOPPING=1\n");
    assert_eq!(server.exit_status().code(), Some(0));
}

#[test]
fn systemd_does_not_hear_that_a_server_without_a_store_is_ready() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let store = store_allowing(GET);
    write(store.path(), "users/broken.json", "{");
    let mut server = started(store.path(), &path);
    assert_eq!(server.exit_status().code(), Some(2));
    let mut heard = [0; 256];
    let nothing = socket.recv(&mut heard).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_server_that_systemd_does_not_hear_serves_and_says_so() {
    let folder = TempDir::new().unwrap();
    let store = store_allowing(GET);
    let server = started(store.path(), &folder.path().join("nobody"));
    server.wait_for_log("the warning", |line| {
        line.contains("systemd-not-told").then_some(())
    });
    let mut client = server.client().await;
    assert!(decision(&mut client, GET).await.is_some());
}

/// Nobody reads this socket, and its queue is full.
#[tokio::test]
async fn a_systemd_that_does_not_listen_holds_up_neither_start_nor_end() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let _deaf = UnixDatagram::bind(&path).unwrap();
    let full = UnixDatagram::unbound().unwrap();
    full.connect(&path).unwrap();
    full.set_nonblocking(true).unwrap();
    while full.send(b"WATCHDOG=1\n").is_ok() {}
    let store = store_allowing(GET);
    let mut server = started(store.path(), &path);
    let mut client = server.client().await;
    assert!(decision(&mut client, GET).await.is_some());
    drop(client);
    server.signal("TERM");
    assert_eq!(server.exit_status().code(), Some(0));
}
