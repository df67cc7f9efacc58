//! Incidents, solved by the runbook alone: each script of `tests/incidents` makes one and takes the steps of the page.

use std::process::Command;

use crate::support::repository;

fn solve(script: &str) {
    let path = repository().join("tests/incidents").join(script);
    let mut command = Command::new("bash");
    command.arg(path).arg("--solve");
    for (name, _) in std::env::vars_os() {
        // Settings of the test run are none of the server's.
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("IAMD") || name.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    let ended = command
        .env("BINARY", env!("CARGO_BIN_EXE_iamd"))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&ended.stdout), text(&ended.stderr));
    assert!(ended.status.success(), "{out}\n{err}");
    assert!(out.ends_with("solved\n"), "{out}\n{err}");
}

#[test]
fn a_stale_store_is_solved_from_the_runbook() {
    solve("stale_store.sh");
}

#[test]
fn a_spike_of_denials_is_solved_from_the_runbook() {
    solve("denial_spike.sh");
}

#[test]
fn lost_records_are_solved_from_the_runbook() {
    solve("lost_records.sh");
}
