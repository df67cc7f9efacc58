//! A typing error in a question leads to a denial like any other, so users get a hint about what looks like one: `iamd
//! authorize` and `iamd explain` on stderr, the call `Explain` in its answer. Lines for programs have no hints.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::has_all;
use crate::support::{ANN, Finished, ORDER, Server, allow, iamd, run, store_allowing, user, write};

const ACCOUNT: &str = r#"{"AccountId": "111111111111"}"#;

/// Asks with `command` and more options.
fn ask(command: &str, store: &TempDir, who: &str, action: &str, options: &[&str]) -> Finished {
    let mut command = iamd([
        command,
        "--principal",
        who,
        "--action",
        action,
        "--resource",
        ORDER,
        "--store",
    ]);
    command.arg(store.path()).args(options);
    run(command, "")
}

/// Returns what both commands write to stderr, which must be the same.
fn warned(store: &TempDir, who: &str, action: &str, options: &[&str]) -> String {
    let authorized = ask("authorize", store, who, action, options);
    let explained = ask("explain", store, who, action, options);
    assert_eq!(authorized.stderr, explained.stderr, "{options:?}");
    assert_eq!(authorized.status, explained.status, "{options:?}");
    for finished in [&authorized, &explained] {
        assert!(!finished.stdout.contains("did you mean"), "{finished:?}");
    }
    authorized.stderr
}

#[test]
fn an_action_of_a_service_that_no_statement_speaks_of_is_told() {
    let store = store_allowing("orders:Get");
    let told = warned(&store, ANN, "order:Get", &[]);
    assert_eq!(
        told,
        "warning: no statement mentions the service `order`; did you mean `orders`?\n"
    );
    let told = warned(&store, ANN, "Warehouse:Get", &[]);
    assert_eq!(
        told,
        "warning: no statement mentions the service `Warehouse`\n"
    );
    // A question that statements mention has no typing error, and neither has other case in an action (M-2).
    for action in ["orders:Get", "ORDERS:get"] {
        assert_eq!(warned(&store, ANN, action, &[]), "", "{action}");
    }
}

/// A lone `*` does not mention any particular service. Otherwise a store with an administrator would know every
/// service.
#[test]
fn an_administrator_makes_no_service_known() {
    let store = store_allowing("*");
    write(
        store.path(),
        "users/bob.json",
        &user("bob", &allow("orders:Get")),
    );
    let bob = "arn:aws:iam::111111111111:user/bob";
    let told = warned(&store, bob, "order:Get", &[]);
    assert!(told.contains("did you mean `orders`?"), "{told}");
    // Whether the principal may still do it is checked only if a similar name exists.
    let told = warned(&store, ANN, "order:Get", &[]);
    assert!(told.contains("did you mean `orders`?"), "{told}");
    assert_eq!(warned(&store, ANN, "warehouse:Get", &[]), "");
}

fn store_of_paths() -> TempDir {
    let store = TempDir::new().unwrap();
    write(store.path(), "account.json", ACCOUNT);
    write(store.path(), "users/support/Alice.json", "{}");
    let trust = r#"{"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"AWS": "111111111111"}, "Action": "sts:AssumeRole"}}}"#;
    write(store.path(), "roles/shop/app.json", trust);
    let orders = allow("orders:Get");
    write(store.path(), "users/zoe.json", &user("zoe", &orders));
    store
}

/// E-3: a principal that the store does not have is denied. Often it is only misspelled.
#[test]
fn a_principal_that_differs_by_its_path_or_case_is_told() {
    let store = store_of_paths();
    let alice = "arn:aws:iam::111111111111:user/support/Alice";
    let app = "arn:aws:iam::111111111111:role/shop/app";
    for (asked, meant) in [
        ("arn:aws:iam::111111111111:user/Alice", alice),
        ("arn:aws:iam::111111111111:user/sales/Alice", alice),
        ("arn:aws:iam::111111111111:user/support/alice", alice),
        ("arn:aws:iam::111111111111:user/alice", alice),
        ("arn:aws:iam::111111111111:role/app", app),
        ("arn:aws:iam::111111111111:role/Shop/App", app),
        (
            "arn:aws:sts::111111111111:assumed-role/App/pod-1",
            "arn:aws:sts::111111111111:assumed-role/app/pod-1",
        ),
    ] {
        let told = warned(&store, asked, "orders:Get", &[]);
        assert_eq!(
            told,
            format!("warning: the store does not know `{asked}`; did you mean `{meant}`?\n"),
            "E-3"
        );
    }
    for stranger in [
        "arn:aws:iam::111111111111:user/bob",
        "arn:aws:iam::111111111111:role/Alice", // another kind
        "arn:aws:iam::222222222222:user/Alice", // another account
        "arn:aws-cn:iam::111111111111:user/Alice", // another partition
        "arn:aws:iam::111111111111:user/app",
    ] {
        let told = warned(&store, stranger, "orders:Get", &[]);
        assert!(!told.contains("did you mean"), "{stranger}: {told}");
    }
    assert_eq!(warned(&store, alice, "orders:Get", &[]), "", "known");
}

/// G-22: a policy cannot name a key without a prefix, so no policy reads such a key in the context.
#[test]
fn a_context_key_without_a_prefix_is_told() {
    let store = TempDir::new().unwrap();
    write(store.path(), "account.json", ACCOUNT);
    let document = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "orders:Get", "Resource": "*",
        "Condition": {"NumericLessThan": {"orders:Amount": "100"}}}}"#;
    write(store.path(), "users/ann.json", &user("ann", document));
    let warned = |entry: &str| warned(&store, ANN, "orders:Get", &["--context", entry]);
    assert_eq!(
        warned("SourceIp=10.0.0.7"),
        "warning: the context key `SourceIp` has no prefix; did you mean `aws:SourceIp`?\n"
    );
    assert_eq!(
        warned("sourceip=10.0.0.7"),
        "warning: the context key `sourceip` has no prefix; did you mean `aws:SourceIp`?\n"
    );
    // The hint names a key of the store's own policies, as they spell it.
    assert_eq!(
        warned("amount:=50"),
        "warning: the context key `amount` has no prefix; did you mean `orders:Amount`?\n"
    );
    let told = warned("colour=red");
    let words = [
        "warning: the context key `colour` has no prefix",
        "`aws:SourceIp`",
    ];
    assert!(has_all(&told, &words), "{told}");
    assert!(!told.contains("did you mean"), "{told}");
    assert_eq!(warned("orders:amount:=50"), "");
    assert_eq!(warned("app:whatever=1"), "", "nobody must read a key");
}

#[test]
fn several_hints_are_several_lines() {
    let store = store_of_paths();
    let told = warned(
        &store,
        "arn:aws:iam::111111111111:user/alice",
        "order:Get",
        &["--context", "SourceIp=10.0.0.7", "--context", "colour=red"],
    );
    assert_eq!(told.lines().count(), 4, "{told}");
    assert!(
        told.lines().all(|line| line.starts_with("warning: ")),
        "{told}"
    );
    // Foreign text neither controls the terminal nor begins a line.
    let told = warned(&store, ANN, "orders:Get", &["--context", "a\u{1b}[2J\nb=1"]);
    assert!(!told.contains('\u{1b}'), "{told:?}");
    assert_eq!(told.trim_end().lines().count(), 1, "{told:?}");
}

#[test]
fn programs_get_hints_in_explanations_and_nowhere_else() {
    let store = store_allowing("orders:Get");
    let options = &["--context", "SourceIp=10.0.0.7", "--output", "json"];
    let explained = ask("explain", &store, ANN, "order:Get", options);
    let answer: Value = serde_json::from_str(&explained.stdout).unwrap();
    assert_eq!(
        answer["hints"],
        json!([
            "no statement mentions the service `order`; did you mean `orders`?",
            "the context key `SourceIp` has no prefix; did you mean `aws:SourceIp`?",
        ])
    );
    assert_eq!(explained.stderr, "", "they are in the answer");
    let known = ask("explain", &store, ANN, "orders:Get", &["--output", "json"]);
    let answer: Value = serde_json::from_str(&known.stdout).unwrap();
    assert_eq!(answer["hints"], json!([]));

    let authorized = ask("authorize", &store, ANN, "order:Get", options);
    let answer: Value = serde_json::from_str(&authorized.stdout).unwrap();
    assert!(answer.get("hints").is_none(), "{answer}");
    let line = json!({"principal": ANN, "action": "order:Get", "resource": ORDER, "context": {"SourceIp": "10.0.0.7"}, "requestId": "r"});
    let mut command = iamd(["authorize", "--requests", "-", "--store"]);
    command.arg(store.path());
    let lines = run(command, &format!("{line}\n"));
    assert_eq!(
        (lines.status, lines.stderr.as_str()),
        (Some(0), ""),
        "{lines:?}"
    );
    let mut answer: Value = serde_json::from_str(&lines.stdout).unwrap();
    assert_eq!(answer["requestId"], "r");
    let names: Vec<String> = answer.as_object_mut().unwrap().keys().cloned().collect();
    assert!(
        !names
            .iter()
            .any(|name| name.contains("hint") || name.contains("warning")),
        "{names:?}"
    );
}

/// A server explains with the same hints. For a decision alone it reveals nothing about its store, but still reports
/// what the question itself shows.
#[test]
fn a_server_gives_hints_with_an_explanation() {
    let store = store_allowing("orders:Get");
    let server = Server::start(store.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(server.client());
    let address = server.address();
    let ask = |command: &str, options: &[&str]| {
        let mut command = iamd([
            command,
            "--server",
            &address,
            "--principal",
            ANN,
            "--action",
            "order:Get",
            "--resource",
            ORDER,
            "--context",
            "SourceIp=10.0.0.7",
        ]);
        command.args(options);
        run(command, "")
    };
    let words = [
        "warning: no statement mentions the service `order`; did you mean `orders`?\n",
        "warning: the context key `SourceIp` has no prefix; did you mean `aws:SourceIp`?\n",
    ];
    let explained = ask("explain", &[]);
    assert_eq!(explained.stderr, words.concat(), "{explained:?}");
    let as_json = ask("explain", &["--output", "json"]);
    let answer: Value = serde_json::from_str(&as_json.stdout).unwrap();
    assert_eq!(
        answer["hints"].as_array().map(Vec::len),
        Some(2),
        "{answer}"
    );
    let authorized = ask("authorize", &[]);
    assert_eq!(authorized.stderr, words[1], "{authorized:?}");
}

/// A denied question may name an action that no policy speaks of, or a resource that no policy can mean.
#[test]
fn an_action_or_a_resource_that_no_statement_can_mean_is_told() {
    let store = TempDir::new().unwrap();
    write(store.path(), "account.json", ACCOUNT);
    let document = r#"{"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["orders:Get", "orders:List*"], "Resource": "arn:app:orders:::order/1001/*"},
        {"Effect": "Deny", "Action": "*", "Resource": "arn:app:orders:::vault/*"}]}"#;
    write(store.path(), "users/ann.json", &user("ann", document));
    let told = |action: &str, resource: &str| {
        let mut command = iamd(["authorize", "--store"]);
        command.arg(store.path()).args(["--principal", ANN]);
        command.args(["--action", action, "--resource", resource]);
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    let order = "arn:app:orders:::order/1001/1";
    assert_eq!(told("orders:Get", order), "", "allowed");
    assert_eq!(
        told("orders:Gett", order),
        "warning: no statement names the action `orders:Gett`; did you mean `orders:Get`?\n"
    );
    assert_eq!(
        told("orders:Frobnicate", order),
        "warning: no statement names the action `orders:Frobnicate`\n"
    );
    assert_eq!(
        told("orders:ListAll", "arn:app:orders:::order/7/1"),
        "",
        "another order"
    );
    let nearest = "warning: no statement about `orders:Get` covers the resource; the nearest is `arn:app:orders:::order/1001/*`, from which its";
    for (resource, differing) in [
        (
            "arn:app:orders::111111111111:order/1001/1",
            "account differs",
        ),
        ("arn:app:orders:eu::order/1001/1", "region differs"),
        (
            "arn:app:order:::orders/1001/1",
            "service and resource differ",
        ),
        ("arn:app:orders:::orders/1001/1", "resource differs"),
    ] {
        assert_eq!(
            told("orders:Get", resource),
            format!("{nearest} {differing}\n")
        );
    }
}
