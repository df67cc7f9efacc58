//! What a server tells of its store: `Status` and `iamd status`, by the real binary.

use iamd::service::pb;
use jiff::Timestamp;
use serde_json::{Value, json};
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{
    Client, Finished, Server, allow, ann_asks, channel_to, eventually, iamd, revision, run,
    store_allowing, user, write, write_by_rename, write_hole, write_store,
};

const GET: &str = "orders:Get";
const REFUND: &str = "orders:Refund";

/// Runs `iamd COMMAND --server ADDRESS` with `options` to its end.
fn ask(command: &str, address: &str, options: &[&str]) -> Finished {
    let mut command = iamd([command, "--server", address]);
    command.args(options);
    run(command, "")
}

fn json_of(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"))
}

async fn status_of(client: &mut Client) -> pb::StatusResponse {
    let status = client.status(pb::StatusRequest {}).await;
    status.unwrap().into_inner()
}

/// Replaces a time by `true` if it is one and is not before `after`.
fn check_time(status: &mut Value, name: &str, after: Timestamp) {
    let time = status[name].as_str().map(str::parse::<Timestamp>);
    let time = time
        .unwrap_or_else(|| panic!("{name} in {status}"))
        .unwrap();
    assert!(after <= time && time <= Timestamp::now(), "{name}: {time}");
    status[name] = json!(true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_is_told_when_the_store_is_good_stale_and_mended_again() {
    let begun = Timestamp::now();
    let store = store_allowing(GET);
    let odd = allow(GET).replace("\"One\"", "\"One!\"");
    write(store.path(), "users/bob.json", &user("bob", &odd));
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let address = server.address();
    let first = revision(store.path());

    let good = ask("status", &address, &["--output", "json"]);
    assert_eq!(
        (good.status, good.stderr.as_str()),
        (Some(0), ""),
        "{good:?}"
    );
    let mut state = json_of(&good);
    check_time(&mut state, "loadedAt", begun);
    check_time(&mut state, "startedAt", begun);
    let finding = json!({"severity": "SEVERITY_WARNING", "code": "odd-sid", "file": "users/bob.json",
        "message": state["findings"][0]["message"], "position": {"line": 4, "column": 96}});
    let whole = json!({"version": env!("CARGO_PKG_VERSION"), "revision": first, "loadedAt": true, "stale": false,
        "findings": [finding], "files": "3", "statements": "2", "principals": "2", "startedAt": true,
        "store": store.path().to_str().unwrap(), "findingsLeftOut": "0"});
    assert_eq!(state, whole);
    let text = ask("status", &address, &[]);
    assert_eq!(text.status, Some(0), "{text:?}");
    for part in ["serving", &first, "users/bob.json:4:96: warning[odd-sid]: "] {
        assert!(text.stdout.contains(part), "{part} in {}", text.stdout);
    }

    // The store breaks: what is in force stays, and the state says why.
    let loaded_at = status_of(&mut client).await.loaded_at;
    write_by_rename(
        store.path(),
        "users/ann.json",
        "{\n  \"UserNam\": \"ann\"\n}\n",
    );
    let stale = eventually("a stale store", async || {
        let status = status_of(&mut client).await;
        status.stale.then_some(status)
    });
    let stale = stale.await;
    assert_eq!((&stale.revision, stale.loaded_at), (&first, loaded_at));
    let finished = ask("status", &address, &["--output", "json"]);
    assert_eq!(finished.status, Some(1), "{finished:?}");
    let state = json_of(&finished);
    let error = &state["findings"][0];
    let expected = json!({"severity": "SEVERITY_ERROR", "code": "unknown-member", "file": "users/ann.json",
        "message": "unknown member `UserNam` of the user; did you mean `UserName`?", "position": {"line": 2, "column": 3}});
    assert_eq!((error, &state["stale"]), (&expected, &json!(true)));
    let text = ask("status", &address, &[]);
    assert_eq!(text.status, Some(1), "{text:?}");
    let line = "users/ann.json:2:3: error[unknown-member]: unknown member `UserNam` of the user; did you mean `UserName`?\n";
    assert!(text.stdout.contains(line), "{}", text.stdout);
    assert!(text.stdout.contains("stale"), "{}", text.stdout);

    // It is mended with another content, and whoever reads of a revision gets its answers.
    write_store(store.path(), REFUND);
    let second = revision(store.path());
    let mended = eventually("the mended store", async || {
        let status = status_of(&mut client).await;
        let answer = client.authorize(ann_asks(GET)).await.unwrap();
        if status.revision == second {
            assert_eq!(answer.into_inner().revision, second, "never stale");
        }
        (status.revision == second).then_some(status)
    });
    let mended = mended.await;
    assert!(!mended.stale && mended.loaded_at.unwrap().seconds >= loaded_at.unwrap().seconds);
    assert_eq!(
        mended.findings.len(),
        1,
        "the warning: {:?}",
        mended.findings
    );
    assert_eq!(ask("status", &address, &[]).status, Some(0));
}

/// A store that is mended to what it was has one revision all the time, in force since the beginning.
#[tokio::test]
async fn a_store_that_is_as_before_has_been_in_force_all_the_time() {
    let store = store_allowing(GET);
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let first = status_of(&mut client).await;
    for (text, is_stale) in [("{", true), (user("ann", &allow(GET)).as_str(), false)] {
        write_by_rename(store.path(), "users/ann.json", text);
        eventually("the other state", async || {
            (status_of(&mut client).await.stale == is_stale).then_some(())
        })
        .await;
    }
    assert_eq!(status_of(&mut client).await, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_still_loads_tells_its_state() {
    let store = store_allowing(GET);
    write_hole(store.path());
    let server = Server::start(store.path());
    let address = server.address();
    let mut client = Client::new(channel_to(&address));
    let status = status_of(&mut client).await;
    let expected = pb::StatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: status.started_at,
        store: store.path().to_str().unwrap().to_owned(),
        ..pb::StatusResponse::default()
    };
    assert_eq!(status, expected);
    let finished = ask("status", &address, &[]);
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert!(finished.stdout.contains("not ready"), "{finished:?}");
}

#[tokio::test]
async fn a_server_tells_the_network_nothing_of_its_store() {
    let store = store_allowing(GET);
    let options = ["--listen", "0.0.0.0:0", "--insecure-plaintext"];
    let server = Server::start_with(store.path(), &options);
    let mut client = server.client().await;
    let status = client.status(pb::StatusRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "S-12");
    let info = status.get_error_details().error_info().cloned().unwrap();
    assert_eq!((&*info.domain, &*info.reason), ("iamd", "NOT_PERMITTED"));
}

#[test]
fn a_server_that_cannot_be_asked_is_status_2() {
    // Nobody listens on this port, which the system has just given out and taken back.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    for address in [address.as_str(), "https://127.0.0.1:1", "nonsense address"] {
        let finished = ask("status", address, &[]);
        assert_eq!(finished.status, Some(2), "{finished:?}");
        assert_eq!(finished.stdout, "");
        assert!(finished.stderr.starts_with("error: "), "{finished:?}");
    }
}
