//! Tests the command line as scripts use it.
//!
//! The file is long because each promise of a subcommand has its own test, with the texts that it prints.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    ANN, Finished, ORDER, Server, allow, iamd, repository, run, store_allowing, user, write,
};

const N_LINES: usize = 10_000;

/// Returns `iamd authorize` about ann and order 1, with more options.
fn authorize(store: &TempDir, action: &str, options: &[&str]) -> Finished {
    let mut command = iamd([
        "authorize",
        "--principal",
        ANN,
        "--action",
        action,
        "--resource",
        ORDER,
        "--store",
    ]);
    command.arg(store.path()).args(options);
    run(command, "")
}

/// Runs `iamd authorize --requests -` with `lines` as input and returns the answers, each parsed.
fn requests(store: &TempDir, lines: &str) -> (Finished, Vec<Value>) {
    let mut command = iamd(["authorize", "--requests", "-", "--store"]);
    command.arg(store.path());
    let finished = run(command, lines);
    let answers = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (finished, answers)
}

fn line(action: &str, id: &str) -> String {
    json!({"principal": ANN, "action": action, "resource": ORDER, "requestId": id}).to_string()
}

/// Returns a question of ann's with these members, as JSON text that no library has normalized.
fn line_with(members: &str) -> String {
    format!(
        r#"{{"principal":"{ANN}","action":"orders:Get","resource":"{ORDER}","requestId":"r"{members}}}"#
    )
}

#[test]
fn one_question_is_answered_by_status_and_in_words() {
    let store = store_allowing("orders:Get");
    let allowed = authorize(&store, "orders:Get", &[]);
    assert_eq!(allowed.status, Some(0), "{allowed:?}");
    assert!(
        allowed.stdout.to_lowercase().contains("allow"),
        "{allowed:?}"
    );
    assert!(
        allowed.stdout.contains(&format!("{ANN}/inline/inline")),
        "the statement that settled it: {allowed:?}"
    );
    assert_eq!(allowed.stderr, "");

    let denied = authorize(&store, "orders:Refund", &[]);
    assert_eq!(denied.status, Some(1), "{denied:?}");
    assert!(denied.stdout.to_lowercase().contains("deny"), "{denied:?}");
}

#[test]
fn one_question_is_answered_in_json() {
    let store = store_allowing("orders:Get");
    let allowed = authorize(
        &store,
        "orders:Get",
        &["--output", "json", "--request-id", "r-1"],
    );
    let answer: Value = serde_json::from_str(&allowed.stdout).unwrap();
    let revision = answer["revision"].as_str().unwrap();
    assert_eq!(
        (
            revision.len(),
            revision
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        ),
        (32, true)
    );
    let statement = json!({"policy": format!("{ANN}/inline/inline"), "sid": "One", "index": 0,
        "type": "POLICY_TYPE_IDENTITY", "file": "users/ann.json"});
    let expected = json!({"decision": "DECISION_ALLOW", "reason": "REASON_ALLOW_IDENTITY",
        "determiningStatements": [statement], "revision": revision, "requestId": "r-1"});
    assert_eq!(answer, expected);
}

#[test]
fn context_values_are_given_one_by_one() {
    let store = TempDir::new().unwrap();
    let condition = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*",
        "Condition": {"StringEquals": {"app:team": "blue=green"}, "NumericLessThan": {"app:amount": "100"}}}}"#;
    crate::support::write_store(store.path(), "*");
    write(store.path(), "users/ann.json", &user("ann", condition));
    let ask = |options: &[&str]| authorize(&store, "orders:Get", options).status;
    assert_eq!(
        ask(&[
            "--context",
            "app:team=blue=green",
            "--context",
            "app:amount=50"
        ]),
        Some(0)
    );
    assert_eq!(
        ask(&[
            "--context",
            "app:team=blue=green",
            "--context",
            "app:amount=100"
        ]),
        Some(1)
    );
    assert_eq!(ask(&["--context", "app:team=blue=green"]), Some(1));
    assert_eq!(ask(&["--context", "app:team"]), Some(2), "no value");
    assert_eq!(ask(&["--context", "aws:username=ann"]), Some(2), "K-1");
    assert_eq!(
        ask(&["--context", "app:x=1", "--context", "APP:X=1"]),
        Some(2),
        "C-4"
    );
}

#[test]
fn what_cannot_be_asked_is_status_2_with_nothing_on_stdout() {
    let store = store_allowing("*");
    let path = store.path().to_str().unwrap();
    let cases: &[&[&str]] = &[
        &["authorize"],
        &[
            "authorize",
            "--store",
            path,
            "--principal",
            ANN,
            "--action",
            "a:B",
        ],
        &[
            "authorize",
            "--store",
            path,
            "--principal",
            "ann",
            "--action",
            "a:B",
            "--resource",
            "*",
        ],
        &[
            "authorize",
            "--store",
            path,
            "--principal",
            ANN,
            "--action",
            "a:*",
            "--resource",
            "*",
        ],
        &[
            "authorize",
            "--store",
            path,
            "--principal",
            ANN,
            "--action",
            "a:B",
            "--resource",
            "order/1",
        ],
        &[
            "authorize",
            "--store",
            "/no/such/store",
            "--principal",
            ANN,
            "--action",
            "a:B",
            "--resource",
            "*",
        ],
        &["authorize", "--store", path, "--requests", "/no/such/file"],
        &["authorize", "--store", path, "--no-such-option"],
        &["no-such-command"],
        &["validate", "/no/such/file"],
        &["serve", "--config", "/no/such/file"],
        &["serve", "--store", path, "--listen", "nowhere"],
    ];
    for arguments in cases {
        let finished = run(iamd(*arguments), "");
        assert_eq!(finished.status, Some(2), "{arguments:?}: {finished:?}");
        assert_eq!(finished.stdout, "", "{arguments:?}");
        assert!(!finished.stderr.trim().is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_store_that_does_not_load_answers_nothing() {
    let store = store_allowing("*");
    write(
        store.path(),
        "users/bob.json",
        &user("bob", &allow("*").replace("Allow", "allow")),
    );
    write(store.path(), "users/carl.json", r#"{"UserNam": "carl"}"#);
    let single = authorize(&store, "orders:Get", &[]);
    let (many, _) = requests(&store, &line("orders:Get", "r"));
    let other = |command: &str, options: &[&str]| {
        let mut command = iamd([command, "--store"]);
        command.arg(store.path()).args(options);
        run(command, "")
    };
    let question = ["--principal", ANN, "--action", "a:B", "--resource", "*"];
    let explained = other("explain", &question);
    let simulated = other("simulate", &question);
    let many_simulated = other("simulate", &["--requests", "-"]);
    for finished in [single, many, explained, simulated, many_simulated] {
        assert_eq!(
            (finished.status, finished.stdout.as_str()),
            (Some(2), ""),
            "{finished:?}"
        );
        for part in [
            "users/bob.json:4:",
            "[invalid-effect]",
            "users/carl.json:1:2",
            "[unknown-member]",
            "`UserName`",
        ] {
            assert!(
                finished.stderr.contains(part),
                "{part} in {}",
                finished.stderr
            );
        }
    }
}

#[test]
fn ten_thousand_lines_are_answered_in_order_and_one_is_malformed() {
    let store = store_allowing("orders:Get");
    let malformed = N_LINES / 2;
    let is_allowed = |i: usize| !i.is_multiple_of(3);
    let mut lines = String::new();
    for i in 0..N_LINES {
        let action = if is_allowed(i) {
            "orders:Get"
        } else {
            "orders:Refund"
        };
        let line = line(action, &format!("r{i}"));
        lines.push_str(if i == malformed {
            "{\"principal\": \"arn:aws:iam"
        } else {
            &line
        });
        lines.push_str(if i % 1000 == 0 { "\n\n  \n" } else { "\n" }); // blank lines are no questions
    }
    let (finished, answers) = requests(&store, &lines);
    let other = TempDir::new().unwrap();
    let file = other.path().join("questions.jsonl");
    fs::write(&file, &lines).unwrap();
    let mut command = iamd(["authorize", "--requests"]);
    command.arg(&file).arg("--store").arg(store.path());
    let from_file = run(command, "");

    assert_eq!(
        finished.status,
        Some(2),
        "one line was not answered: {}",
        finished.stderr
    );
    assert_eq!(from_file.status, Some(2));
    assert_eq!(from_file.stdout, finished.stdout);
    assert_eq!(answers.len(), N_LINES);
    for (i, answer) in answers.iter().enumerate() {
        if i == malformed {
            assert_eq!(answer["error"]["code"], "INVALID_ARGUMENT", "{answer}");
            assert!(answer.get("decision").is_none(), "{answer}");
            continue;
        }
        assert_eq!(answer["requestId"], format!("r{i}"));
        let expected = if is_allowed(i) {
            "DECISION_ALLOW"
        } else {
            "DECISION_DENY"
        };
        assert_eq!(answer["decision"], expected, "line {i}: {answer}");
    }
}

#[test]
fn denials_are_answers() {
    let store = store_allowing("orders:Get");
    let lines = [
        line("orders:Refund", "a"),
        line("orders:Get", "b"),
        line("orders:Refund", "c"),
    ]
    .join("\n");
    let (finished, answers) = requests(&store, &lines);
    assert_eq!(
        finished.status,
        Some(0),
        "no line break at the end, and no allow: {}",
        finished.stderr
    );
    let ids: Vec<_> = answers
        .iter()
        .map(|answer| answer["requestId"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert_eq!(requests(&store, "").0.status, Some(0));
    assert_eq!(requests(&store, "\n \n\n").0.stdout, "");
}

#[test]
fn names_are_read_in_both_spellings() {
    let store = store_allowing("orders:Get");
    let session = r#","session":{"issued_at":"2024-06-01T00:00:00Z","mfaAt":"2024-06-01T00:00:00.5Z"},"resource_account":"111111111111""#;
    let (finished, answers) = requests(&store, &line_with(session));
    assert_eq!(finished.status, Some(0), "{finished:?}");
    assert_eq!(answers[0]["decision"], "DECISION_ALLOW");
    let (finished, _) = requests(&store, &line_with(r#","session":null,"context":null"#));
    assert_eq!(
        finished.status,
        Some(0),
        "proto3 JSON: a null member is an absent one: {finished:?}"
    );
}

#[test]
fn a_malformed_line_says_which_member() {
    let store = store_allowing("*");
    let nested = "[".repeat(5_000);
    let cases = [
        (r#","resorce":"x""#, ""),
        (r#","session":{"tag":{}}"#, ""),
        (r#","principal":"*""#, ""),
        (r#","request_id":"r""#, ""),
        (r#","context":{"app:x":1,"app:x":2}"#, "context"),
        (r#","context":{"app:x":1,"APP:X":2}"#, "context"),
        (r#","context":{"app:x":null}"#, "context"),
        (r#","context":{"app:x":{}}"#, "context"),
        (r#","context":{"app:x":[[1]]}"#, "context"),
        (r#","context":{"app:x":[null]}"#, "context"),
        (r#","context":{"app:x":9007199254740992}"#, "context"),
        (r#","context":{"app:x":9007199254740993}"#, "context"),
        (r#","context":{"app:x":-9007199254740993.0}"#, "context"),
        (r#","context":{"app:x":1e400}"#, "context"),
        (r#","context":{"aws:PrincipalTag/role":"admin"}"#, "context"),
        (r#","context":[]"#, "context"),
        (r#","context":{"app:x":"\ud800"}"#, ""),
        (r#","resourceAccount":5"#, "resource"),
        (r#","session":{"issuedAt":"yesterday"}"#, "session"),
        (r#","session":{"issuedAt":5}"#, "session"),
        (r#","session":[]"#, "session"),
    ];
    for (members, field) in cases {
        let (finished, answers) = requests(
            &store,
            &format!("{}\n{}\n", line_with(members), line("orders:Get", "next")),
        );
        assert_eq!(finished.status, Some(2), "{members}: {finished:?}");
        let [answer, next] = answers.as_slice() else {
            panic!("{members}: {finished:?}")
        };
        assert_eq!(
            answer["error"]["code"], "INVALID_ARGUMENT",
            "{members}: {answer}"
        );
        assert!(
            !answer["error"]["message"].as_str().unwrap().is_empty(),
            "{members}: {answer}"
        );
        assert!(
            answer["error"]["field"]
                .as_str()
                .unwrap_or_default()
                .starts_with(field),
            "{members}: {answer}"
        );
        assert!(answer.get("decision").is_none(), "{members}: {answer}");
        assert_eq!(
            next["decision"], "DECISION_ALLOW",
            "the next line is none the worse: {members}"
        );
    }
    for whole in [
        "{",
        "null",
        "[]",
        "5",
        "\"text\"",
        "{}{}",
        "{\"principal\":5}",
        nested.as_str(),
    ] {
        let (finished, answers) = requests(&store, whole);
        assert_eq!(
            (finished.status, answers.len()),
            (Some(2), 1),
            "{finished:?}"
        );
        assert_eq!(
            answers[0]["error"]["code"], "INVALID_ARGUMENT",
            "{answers:?}"
        );
    }
}

#[test]
fn an_error_names_the_question_where_it_can() {
    let store = store_allowing("*");
    let (_, answers) = requests(&store, &line_with(r#","context":{"app:x":null}"#));
    assert_eq!(answers[0]["requestId"], "r", "{answers:?}");
    let (_, answers) = requests(&store, &line_with(r#","resorce":1"#));
    assert_eq!(answers[0]["requestId"], "r", "{answers:?}");
}

#[test]
fn numbers_below_2_to_the_53_are_taken() {
    let store = store_allowing("*");
    for value in [
        "9007199254740991",
        "-9007199254740991",
        "0.1",
        "1e3",
        "\"9007199254740993\"",
        "[1,\"a\",true]",
        "[]",
    ] {
        let (finished, _) = requests(
            &store,
            &line_with(&format!(r#","context":{{"app:x":{value}}}"#)),
        );
        assert_eq!(finished.status, Some(0), "{value}: {finished:?}");
    }
}

/// A program that sends a question and waits for the answer before the next must not wait forever.
#[test]
fn an_answer_comes_before_the_next_question() {
    let store = store_allowing("orders:Get");
    let mut command = iamd(["authorize", "--requests", "-", "--store"]);
    let mut child = command
        .arg(store.path())
        .stdin(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for i in 0..20 {
        writeln!(stdin, "{}", line("orders:Get", &i.to_string())).unwrap();
        stdin.flush().unwrap();
        let mut answer = String::new();
        stdout.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["requestId"], i.to_string());
    }
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// `iamd authorize … | head -1` is not an error.
#[test]
fn a_reader_that_has_enough_is_no_error() {
    let store = store_allowing("orders:Get");
    let mut command = iamd(["authorize", "--requests", "-", "--store"]);
    let mut child = command
        .arg(store.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    drop(child.stdout.take());
    for i in 0..N_LINES {
        if writeln!(stdin, "{}", line("orders:Get", &i.to_string())).is_err() {
            break;
        }
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, "", "there is nothing to tell");
}

#[test]
fn a_running_server_is_asked_alike() {
    let store = store_allowing("orders:Get");
    let server = Server::start(store.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(server.client());
    let address = server.address();
    let ask = |action: &str| {
        let arguments = [
            "authorize",
            "--server",
            &address,
            "--principal",
            ANN,
            "--action",
            action,
            "--resource",
            ORDER,
        ];
        run(iamd(arguments), "")
    };
    assert_eq!(ask("orders:Get").status, Some(0), "{:?}", ask("orders:Get"));
    assert_eq!(ask("orders:Refund").status, Some(1));
    assert_eq!(ask("orders:*").status, Some(2));
    let lines = format!(
        "{}\n{{\n{}\n",
        line("orders:Get", "a"),
        line("orders:Refund", "b")
    );
    let over_network = run(
        iamd(["authorize", "--server", &address, "--requests", "-"]),
        &lines,
    );
    let (here, answers) = requests(&store, &lines);
    assert_eq!(over_network.status, here.status, "{over_network:?}");
    let remote: Vec<Value> = over_network
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for index in [0, 2] {
        assert_eq!(remote[index], answers[index]);
    }
    drop(server);
    let nobody = ask("orders:Get");
    assert_eq!(
        (nobody.status, nobody.stdout.as_str()),
        (Some(2), ""),
        "{nobody:?}"
    );
}

#[test]
fn the_store_is_found_where_the_variable_says() {
    let store = store_allowing("orders:Get");
    let mut command = iamd([
        "authorize",
        "--principal",
        ANN,
        "--action",
        "orders:Get",
        "--resource",
        ORDER,
    ]);
    command.env("IAMD_STORE", store.path());
    let finished = run(command, "");
    assert_eq!(finished.status, Some(0), "{finished:?}");
}

#[test]
fn the_flag_names_the_store_whatever_the_variable_says() {
    let (store, other) = (
        store_allowing("orders:Get"),
        store_allowing("orders:Refund"),
    );
    for (by_flag, by_variable, status) in [(&store, &other, 0), (&other, &store, 1)] {
        let mut command = iamd(["authorize", "--principal", ANN, "--resource", ORDER]);
        command.args(["--action", "orders:Get", "--store"]);
        command.arg(by_flag.path());
        command.env("IAMD_STORE", by_variable.path());
        let finished = run(command, "");
        assert_eq!(finished.status, Some(status), "{finished:?}");
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_status_2() {
    let store = store_allowing("*");
    // One text fits into a buffer, and the other does not.
    let short = ["validate", store.path().to_str().unwrap()];
    for arguments in [short, ["completions", "bash"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let finished = iamd(arguments).stdout(full).output().unwrap();
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        let told = String::from_utf8(finished.stderr).unwrap();
        assert!(told.starts_with("error: "), "{told}");
    }
}

#[test]
fn the_example_store_is_valid() {
    let mut command = iamd(["validate"]);
    command.arg(repository().join("policies"));
    let finished = run(command, "");
    assert_eq!(finished.status, Some(0), "{finished:?}");
    assert!(!finished.stdout.contains("error["), "{finished:?}");
}

#[test]
fn validate_tells_every_finding_and_its_place() {
    let store = store_allowing("*");
    write(
        store.path(),
        "users/bob.json",
        &user("bob", &allow("orders")),
    );
    write(
        store.path(),
        "users/carl.json",
        &user("carl", &allow("*").replace("\"One\"", "\"\"")),
    );
    write(store.path(), "roles/ops.json", "{ \"RoleName\": \"ops\"\n");
    let mut command = iamd(["validate"]);
    command.arg(store.path());
    let finished = run(command, "");
    assert_eq!(finished.status, Some(1), "{finished:?}");
    for part in [
        "users/bob.json:4:",
        "error[invalid-action]",
        "warning[empty-sid]",
        "roles/ops.json:",
        "error[syntax]",
    ] {
        assert!(finished.stdout.contains(part), "{part} in {finished:?}");
    }

    let mut command = iamd(["validate", "--output", "json"]);
    command.arg(store.path());
    let as_json = run(command, "");
    assert_eq!(as_json.status, Some(1));
    let value: Value = serde_json::from_str(&as_json.stdout).expect("one JSON value");
    let text = value.to_string();
    assert!(
        text.contains("\"invalid-action\"") && text.contains("users/bob.json"),
        "{text}"
    );

    fs::remove_file(store.path().join("users/bob.json")).unwrap();
    fs::remove_file(store.path().join("roles/ops.json")).unwrap();
    let mut command = iamd(["validate"]);
    command.arg(store.path());
    let finished = run(command, "");
    assert_eq!(
        finished.status,
        Some(0),
        "warnings alone are no failure: {finished:?}"
    );
    assert!(
        finished.stdout.contains("warning[empty-sid]"),
        "{finished:?}"
    );
}

#[test]
fn validate_reads_single_documents() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "good.json", &allow("orders:Get"));
    write(
        folder.path(),
        "bad.json",
        "{\n  \"Version\": \"2012-10-17\",\n  \"Statment\": []\n}\n",
    );
    let validate = |names: &[&str]| {
        let mut command = iamd(["validate"]);
        command.args(names.iter().map(|name| folder.path().join(name)));
        run(command, "")
    };
    assert_eq!(
        validate(&["good.json"]).status,
        Some(0),
        "{:?}",
        validate(&["good.json"])
    );
    let bad = validate(&["bad.json"]);
    assert_eq!(bad.status, Some(1), "{bad:?}");
    assert!(
        bad.stdout.contains("bad.json:3:3: error[unknown-member]"),
        "{bad:?}"
    );
    assert!(bad.stdout.contains("did you mean `Statement`?"), "{bad:?}");
    assert_eq!(validate(&["good.json", "bad.json"]).status, Some(1));
    let one_error = allow("orders:Get").replace("Allow", "allow");
    write(folder.path(), "one-error.json", &one_error);
    let one = validate(&["one-error.json"]);
    assert_eq!(one.status, Some(1), "{one:?}");
    assert!(one.stdout.ends_with("1 error, no warnings\n"), "{one:?}");
}

#[test]
fn it_says_what_it_is() {
    let version = run(iamd(["--version"]), "");
    assert_eq!(version.status, Some(0));
    assert_eq!(
        version.stdout.trim(),
        format!("iamd {}", env!("CARGO_PKG_VERSION"))
    );
    let help = run(iamd(["--help"]), "");
    assert_eq!(help.status, Some(0));
    for command in ["serve", "authorize", "validate", "healthcheck"] {
        assert!(
            help.stdout.contains(command),
            "{command} in {}",
            help.stdout
        );
        let of_command = run(iamd([command, "--help"]), "");
        assert_eq!(of_command.status, Some(0), "{command}");
        assert!(
            of_command.stdout.contains("Usage:"),
            "{command}: {}",
            of_command.stdout
        );
    }
    let serve = run(iamd(["serve", "--help"]), "").stdout;
    for option in [
        "--listen",
        "--store",
        "--config",
        "--drain-timeout",
        "--insecure-plaintext",
    ] {
        assert!(serve.contains(option), "{option} in {serve}");
    }
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let folder = TempDir::new().unwrap();
    let directory = folder.path().join("man1");
    let mut command = iamd(["man"]);
    command.arg(&directory);
    let finished = run(command, "");
    assert_eq!(finished.status, Some(0), "{finished:?}");
    let written = fs::read_dir(&directory).unwrap();
    assert_eq!(written.count(), finished.stdout.lines().count());
    // The help of the program names its commands, and so does the list of pages.
    let help = run(iamd(["--help"]), "").stdout;
    let commands = help.split("Commands:\n").nth(1).unwrap();
    for line in commands.lines().take_while(|line| !line.is_empty()) {
        let command = line.split_whitespace().next().unwrap();
        let path = directory.join(format!("iamd-{command}.1"));
        if command != "help" {
            let page = fs::read_to_string(&path).unwrap();
            assert!(page.contains(&format!("iamd\\-{command}")), "{page}");
        }
    }
    let page = fs::read_to_string(directory.join("iamd-serve.1")).unwrap();
    assert!(page.contains("\\-\\-listen"), "{page}");
}
