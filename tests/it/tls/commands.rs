//! The commands that ask a server, over TLS.

use super::Served;
use crate::support::{ANN, Finished, ORDER, iamd, run};

/// Runs a command with these options and with those in `tls`.
fn asked(server: &str, command: &[&str], tls: &[&str]) -> Finished {
    run(iamd([command, &["--server", server], tls].concat()), "")
}

#[test]
fn commands_ask_over_tls_with_the_files_that_it_needs() {
    let served = Served::start(true, &[]);
    let server = format!("https://{}", served.server.address());
    let files = served.client_files();
    let [ca, certificate, key] = files.paths();
    let tls = [
        "--tls-ca",
        ca,
        "--tls-certificate",
        certificate,
        "--tls-key",
        key,
    ];
    let store = served.store();
    let question = [
        "--principal",
        ANN,
        "--action",
        "orders:Get",
        "--resource",
        ORDER,
    ];
    let question = |command: &'static str| [&[command], &question[..]].concat();
    let permissions = ["list", "permissions", "--principal", ANN];
    for command in [
        &["wait", "--store", store][..], // first, because it waits until the server answers
        &["status"],
        &["healthcheck"],
        &permissions,
        &question("authorize"),
        &question("explain"),
        &question("simulate"),
    ] {
        let finished = asked(&server, command, &tls);
        assert_eq!(finished.status, Some(0), "{command:?}: {finished:?}");
    }
    // What is missing is told.
    for (server, tls, said) in [
        (&*server, &[][..], "`--tls-ca FILE`"),
        (&*server, &["--tls-ca", "/nowhere.pem"], "/nowhere.pem"),
        (
            &*server,
            &["--tls-ca", ca, "--tls-key", key],
            "--tls-certificate",
        ),
        (
            &*served.server.address(),
            &["--tls-ca", ca],
            "write `https://host:port`",
        ),
        (&*server, &["--tls-ca", key], "invalid peer certificate"),
    ] {
        let finished = asked(server, &question("authorize"), tls);
        assert_eq!(finished.status, Some(2), "{tls:?}: {finished:?}");
        assert!(finished.stderr.contains(said), "{tls:?}: {finished:?}");
    }
    // The server refuses who shows no certificate.
    let finished = asked(&server, &["status"], &["--tls-ca", ca]);
    assert_eq!(finished.status, Some(2), "{finished:?}");
}
