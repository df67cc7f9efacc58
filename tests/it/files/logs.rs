//! Tests the log as programs read it: one line says which iamd starts, numbers are JSON numbers, and the location of
//! each finding has members of its own.

use serde_json::Value;

use crate::support::{
    Server, allow, iamd, log_field, store_allowing, user, write, write_by_rename,
};

fn lines(log: &[String]) -> Vec<Value> {
    log.iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}

/// Waits until the store is in force, and returns the log until then.
fn once_it_serves(server: &Server) -> Vec<String> {
    server.wait_for_log("the store", |line| log_field(line, "revision").map(|_| ()));
    server.log()
}

/// No member with one of these names is a number in quotes. A revision may look like a number.
fn assert_numbers_are_numbers(lines: &[Value]) {
    for line in lines {
        for (name, value) in line.as_object().unwrap() {
            let Some(text) = value.as_str() else { continue };
            assert!(
                name == "revision" || text.parse::<f64>().is_err(),
                "`{name}` is a number in quotes: {line}"
            );
        }
    }
}

#[test]
fn numbers_of_a_log_are_numbers() {
    let store = store_allowing("orders:Get");
    let mut server = Server::start(store.path());
    once_it_serves(&server);
    write_by_rename(
        store.path(),
        "users/bob.json",
        &user("bob", &allow("orders:Get")),
    );
    server.wait_for_log("the reload", |line| {
        line.contains("the store was reloaded").then_some(())
    });
    // A store that does not load has its findings counted.
    write_by_rename(store.path(), "users/bob.json", "{\"UserNam\": \"bob\"}");
    server.wait_for_log("the refusal", |line| {
        line.contains("does not load").then_some(())
    });
    server.signal("TERM");
    let log = lines(&server.whole_log());
    assert_numbers_are_numbers(&log);
    let with = |name: &str| log.iter().filter(|line| line[name].is_u64()).count();
    for name in ["scan_us", "compile_us"] {
        assert_eq!(
            with(name),
            2,
            "`{name}` of the start and of the reload: {log:#?}"
        );
    }
    assert!(with("n_errors") > 0, "{log:#?}");
}

/// Returns a finding's members, each as a number or a text.
fn assert_tells_its_place(line: &Value, file: &str, code: &str, place: (u64, u64)) {
    assert_eq!(line["file"], file, "{line}");
    assert_eq!(line["code"], code, "{line}");
    assert_eq!(line["line"].as_u64(), Some(place.0), "{line}");
    assert_eq!(line["column"].as_u64(), Some(place.1), "{line}");
    let finding = line["finding"].as_str().unwrap_or_default();
    assert!(finding.contains(&format!("[{code}]")), "the whole: {line}");
}

fn with_findings(log: &[String]) -> Vec<Value> {
    let mut lines = lines(log);
    lines.retain(|line| line.get("finding").is_some());
    lines
}

#[test]
fn a_finding_tells_its_code_and_place_in_members_of_their_own() {
    let store = store_allowing("orders:Get");
    let warned = allow("orders:Get").replace("\"One\"", "\"\"");
    write(store.path(), "users/bob.json", &user("bob", &warned));
    let server = Server::start(store.path());
    let log = once_it_serves(&server);
    let [warning] = with_findings(&log).try_into().unwrap();
    assert_eq!(warning["level"], "WARN");
    let text = user("bob", &warned);
    let (line, column) = super::place_of("\"\"", &text);
    let place = (u64::from(line), u64::from(column));
    assert_tells_its_place(&warning, "users/bob.json", "empty-sid", place);

    // A reload logs the same about a store that it refuses.
    write_by_rename(
        store.path(),
        "users/carl.json",
        "{\n  \"UserNam\": \"carl\"\n}\n",
    );
    server.wait_for_log("the refusal", |line| {
        line.contains("does not load").then_some(())
    });
    let errors: Vec<Value> = with_findings(&server.log())
        .into_iter()
        .filter(|line| line["level"] == "ERROR")
        .collect();
    let [error] = errors.try_into().unwrap();
    assert_tells_its_place(&error, "users/carl.json", "unknown-member", (2, 3));
}

#[test]
fn a_start_that_fails_tells_the_place_of_each_finding_too() {
    let store = store_allowing("orders:Get");
    write(
        store.path(),
        "users/carl.json",
        "{\n  \"UserNam\": \"carl\"\n}\n",
    );
    let mut server = Server::start(store.path());
    let log = server.whole_log();
    let [error] = with_findings(&log).try_into().unwrap();
    assert_eq!(error["level"], "ERROR");
    assert_tells_its_place(&error, "users/carl.json", "unknown-member", (2, 3));
    assert_numbers_are_numbers(&lines(&log));
}

/// The reader of a log sees at once which iamd wrote it, and where one run ended and the next began.
#[test]
fn one_line_says_that_iamd_starts() {
    let store = store_allowing("orders:Get");
    let options = ["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"];
    let server = Server::start_with(store.path(), &options);
    let log = lines(&once_it_serves(&server));
    let starts: Vec<&Value> = log
        .iter()
        .filter(|line| line["message"] == "iamd starts")
        .collect();
    let [start] = starts.as_slice() else {
        panic!("one start line, not {starts:#?} in {log:#?}")
    };
    assert_eq!(*start, &log[0], "before everything else");
    assert_eq!(start["level"], "INFO");
    assert_eq!(start["version"], env!("CARGO_PKG_VERSION"));
    assert!(start["pid"].is_u64(), "{start}");
    assert_eq!(start["store"], store.path().to_str().unwrap());
    assert_numbers_are_numbers(&log);
}

#[test]
fn the_log_level_wins_over_the_filter_of_the_environment() {
    let store = store_allowing("orders:Get");
    let is_starting = |line: &Value| line.get("version").is_some();
    for (options, is_told) in [(&["--log-level", "info"][..], true), (&[], false)] {
        let mut command = iamd(["serve", "--listen", "127.0.0.1:0", "--store"]);
        command.arg(store.path()).args(options);
        command.env("RUST_LOG", "error");
        // A store that does not load is logged at any level, and ends the server.
        write(store.path(), "users/bob.json", "{");
        let mut server = Server::spawn(command);
        let log = lines(&server.whole_log());
        assert_eq!(
            log.iter().any(is_starting),
            is_told,
            "{options:?}: {log:#?}"
        );
        assert!(log.iter().any(|line| line["level"] == "ERROR"), "{log:#?}");
    }
}
