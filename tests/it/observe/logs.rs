//! The log of a running server: its first line of facts, and its level.

use serde_json::Value;

use super::serve;
use crate::support::{
    ann_asks, eventually, log_field, revision, store_allowing, user, write_by_rename,
};

#[tokio::test(flavor = "multi_thread")]
async fn one_line_says_what_runs_where_and_within_which_limits() {
    let store = store_allowing("orders:Get");
    let (server, address) = serve(store.path());
    let line = server.wait_for_log("the line", |line| {
        (log_field(line, "message")? == "iamd is ready").then(|| line.to_owned())
    });
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(line["revision"], revision(store.path()));
    assert_eq!(line["store"], store.path().to_str().unwrap());
    assert_eq!(line["pid"], server.id());
    let listeners = format!("{} http://{address}", server.address());
    assert_eq!(line["listeners"], listeners);
    for (limit, value) in [
        ("max_connections", 1024),
        ("max_streams_per_connection", 100),
        ("max_message_bytes", 4 << 20),
        ("max_question_bytes", 64 << 10),
        ("default_deadline_ms", 1_000),
        ("drain_timeout_ms", 5_000),
    ] {
        assert_eq!(line[limit], value, "{limit} is a number");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_raises_the_level_and_the_next_one_restores_it() {
    let store = store_allowing("orders:Get");
    let (server, _) = serve(store.path());
    let mut client = server.client().await;
    let n_debug_lines = || {
        let lines = server.log();
        let levels = lines.iter().filter_map(|line| log_field(line, "level"));
        levels.filter(|level| level == "DEBUG").count()
    };
    let changes = |level: &str| {
        let lines = server.log();
        let changed = lines.iter().filter(|line| {
            log_field(line, "message").as_deref() == Some("the log level is changed")
                && log_field(line, "log_level").as_deref() == Some(level)
        });
        changed.count()
    };
    /// Changes the store, which writes lines of every level, and waits until it is in force.
    async fn reload(store: &tempfile::TempDir, client: &mut crate::support::Client, action: &str) {
        let document = crate::support::allow(action);
        write_by_rename(store.path(), "users/ann.json", &user("ann", &document));
        crate::support::until_revision(client, &revision(store.path())).await;
    }
    reload(&store, &mut client, "orders:A").await;
    assert_eq!(n_debug_lines(), 0);
    server.signal("USR2");
    eventually("the change", async || (changes("debug") == 1).then_some(())).await;
    // Nothing more is needed: the libraries' lines of this level stay out, and iamd's own come with the next reload.
    reload(&store, &mut client, "orders:B").await;
    eventually("a line for debugging", async || {
        let held = std::net::TcpStream::connect(super::http_address(&server)).unwrap();
        std::io::Write::write_all(&mut &held, b"nonsense\r\n\r\n").unwrap();
        (n_debug_lines() > 0).then_some(())
    })
    .await;
    server.signal("USR2");
    eventually("the change back", async || {
        (changes("info") == 1).then_some(())
    })
    .await;
    let before = n_debug_lines();
    reload(&store, &mut client, "orders:C").await;
    client.authorize(ann_asks("orders:C")).await.unwrap();
    let held = std::net::TcpStream::connect(super::http_address(&server)).unwrap();
    std::io::Write::write_all(&mut &held, b"nonsense\r\n\r\n").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut &held, &mut answer).unwrap();
    reload(&store, &mut client, "orders:D").await;
    assert_eq!(n_debug_lines(), before);
}
