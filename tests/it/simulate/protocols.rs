//! Simulations over gRPC and from the command line.

use iamd::service::pb;
use pb::authorization_service_client::AuthorizationServiceClient;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_types::StatusExt;

use super::{policy, statement};
use crate::support::{
    ANN, Finished, ORDER, Server, allow, iamd, log_field, run, store_allowing, write,
};

fn simulate_request(policies: Vec<String>) -> pb::SimulateRequest {
    pb::SimulateRequest {
        principal: ANN.to_owned(),
        actions: vec!["orders:Get".to_owned(), "orders:Cancel".to_owned()],
        resource: ORDER.to_owned(),
        request_id: "7".to_owned(),
        identity_policies: policies,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_server_simulates_and_goes_on_deciding_by_its_store() {
    let store = store_allowing("orders:Get");
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let answer = client
        .simulate(simulate_request(vec![]))
        .await
        .unwrap()
        .into_inner()
        .decoded::<pb::SimulateResponse>()
        .unwrap();
    assert_eq!(answer.decision(), pb::Decision::Deny);
    assert_eq!((answer.results.len(), answer.request_id.as_str()), (2, "7"));
    // The document is far longer than a question to Authorize may be.
    const MOST: usize = 1024 * 1024;
    let mut long = statement("Allow", "orders:*");
    long.push_str(&" ".repeat(MOST - long.len()));
    // No file of a store may be longer.
    let too_long = simulate_request(vec![long.clone() + " "]);
    let status = client.simulate(too_long).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("identity_policies[0]"));
    let answer = client
        .simulate(simulate_request(vec![long]))
        .await
        .unwrap()
        .into_inner()
        .decoded::<pb::SimulateResponse>()
        .unwrap();
    assert_eq!(answer.decision(), pb::Decision::Allow);
    assert_eq!(answer.revision, crate::support::revision(store.path()));
    let mut malformed = simulate_request(vec![]);
    malformed.replace = vec![99];
    let status = client.simulate(malformed).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let huge = simulate_request(vec![" ".repeat(4 * 1024 * 1024)]);
    let status = client.simulate(huge).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    let authorized = client
        .authorize(crate::support::ann_asks("orders:Cancel"))
        .await
        .unwrap();
    assert_eq!(authorized.into_inner().decision(), pb::Decision::Deny);
}

/// A call that waits for its turn has sent a part of its message. That must not keep the server from reading others.
#[tokio::test]
async fn simulations_that_wait_keep_no_question_from_being_read() {
    let store = store_allowing("orders:Get");
    let server = Server::start(store.path());
    let mut client = server.client().await;
    let mut long = statement("Allow", "orders:*");
    long.push_str(&" ".repeat(900 * 1024));
    let simulations: Vec<_> = (0..8)
        .map(|_| {
            let mut client = client.clone();
            let question = simulate_request(vec![long.clone()]);
            tokio::spawn(async move { client.simulate(question).await })
        })
        .collect();
    loop {
        let mut question = tonic::Request::new(crate::support::ann_asks("orders:Get"));
        question.set_timeout(std::time::Duration::from_secs(20));
        let answer = client.authorize(question).await.unwrap();
        assert_eq!(answer.into_inner().decision(), pb::Decision::Allow);
        if simulations.iter().all(tokio::task::JoinHandle::is_finished) {
            break;
        }
        // The simulations give way to all that asks, so it must leave them a processor.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    for simulation in simulations {
        let answer = simulation.await.unwrap().unwrap();
        let answer: pb::SimulateResponse = answer.into_inner().decoded().unwrap();
        assert_eq!(answer.decision(), pb::Decision::Allow);
    }
}

#[tokio::test]
async fn only_those_on_the_same_machine_may_simulate() {
    let store = store_allowing("*");
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("iamd.sock");
    let unix = format!("unix:{}", socket.display());
    let server = Server::start_with(
        store.path(),
        &[
            "--listen",
            "0.0.0.0:0",
            "--listen",
            &unix,
            "--insecure-plaintext",
        ],
    );
    let address = server.wait_for_log("the port", |line| {
        log_field(line, "address").filter(|address| address.starts_with("0.0.0.0"))
    });
    let port = address.rsplit(':').next().unwrap();
    let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))
        .unwrap()
        .connect_lazy();
    crate::support::ready(&channel, &server).await;
    let mut client = AuthorizationServiceClient::new(channel);
    let status = client.simulate(simulate_request(vec![])).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "S-12");
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "NOT_PERMITTED");
    assert!(
        client
            .authorize(crate::support::ann_asks("orders:Get"))
            .await
            .is_ok()
    );
    let channel = Endpoint::from_shared(unix).unwrap().connect_lazy();
    let mut client = AuthorizationServiceClient::new(channel);
    assert!(client.simulate(simulate_request(vec![])).await.is_ok());
}

/// Runs `iamd simulate` with these options.
fn command(options: &[&str], input: &str) -> Finished {
    let mut command = iamd(["simulate"]);
    command.args(options);
    run(command, input)
}

#[test]
fn the_command_tries_policies_of_files_and_exits_with_the_answer() {
    let store = store_allowing("orders:Get");
    let folder = TempDir::new().unwrap();
    write(folder.path(), "more.json", &allow("orders:Cancel"));
    let file = folder.path().join("more.json");
    let (root, file) = (store.path().to_str().unwrap(), file.to_str().unwrap());
    let about = ["--store", root, "--principal", ANN, "--resource", ORDER];
    let with = |more: &[&str]| command(&[&about[..], more].concat(), "");
    let denied = with(&["--action", "orders:Get", "--action", "orders:Cancel"]);
    assert_eq!(denied.status, Some(1), "{denied:?}");
    assert!(
        denied.stdout.contains("1 of 2 allowed"),
        "{}",
        denied.stdout
    );
    let actions = [
        "--action",
        "orders:Get",
        "--action",
        "orders:Cancel",
        "--policy",
        file,
    ];
    let allowed = with(&actions);
    assert_eq!(allowed.status, Some(0), "{allowed:?}");
    assert!(
        allowed
            .stdout
            .contains("statement 0 `One` of identity_policies[0] applies"),
        "{}",
        allowed.stdout
    );
    let json = with(&[&actions[..], &["--output", "json", "--request-id", "x"]].concat());
    let answer: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(answer["requestId"], "x");
    assert_eq!(answer["results"][1]["evalDecision"], "allowed");
    let until = policy(
        json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {
        "DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}, "StringEquals": {"aws:PrincipalTag/team": "blue"}}}),
    );
    let timed = [
        "--action",
        "a:b",
        "--policy",
        &until,
        "--context",
        "aws:PrincipalTag/team=blue",
    ];
    assert_eq!(with(&timed).status, Some(1));
    let then = with(&[&timed[..], &["--at", "2019-01-01T00:00:00Z"]].concat());
    assert_eq!(then.status, Some(0), "{then:?}");
    for bad in [
        &["--action", "x"][..],
        &["--action", "a:b", "--policy", "/no/such/file"],
        &["--action", "a:b", "--at", "yesterday"],
        &["--action", "a:b", "--replace", "everything"],
        &[],
    ] {
        let finished = with(bad);
        assert_eq!(finished.status, Some(2), "{bad:?}: {finished:?}");
        assert_eq!(finished.stdout, "", "{bad:?}");
    }
}

#[test]
fn the_command_needs_no_store_for_policies_by_themselves() {
    let all = allow("orders:*");
    let about = ["--action", "orders:Get", "--resource", "*"];
    let mut without = iamd(["simulate", "--policy", &all]);
    let empty = TempDir::new().unwrap();
    without.args(about).current_dir(empty.path());
    let finished = run(without, "");
    assert_eq!(finished.status, Some(0), "{finished:?}");
    let nothing = command(&about, "");
    assert_eq!(nothing.status, Some(2), "{nothing:?}");
    assert!(nothing.stderr.contains("--principal"), "{}", nothing.stderr);
}

#[test]
fn the_command_answers_lines_in_order() {
    let store = store_allowing("orders:Get");
    let lines = [
        json!({"principal": ANN, "action": "orders:Get", "resource": ORDER, "requestId": "1"}).to_string(),
        String::new(),
        json!({"principal": ANN, "action": "*", "resource": ORDER, "requestId": "2"}).to_string(),
        json!({"actions": ["a:b"], "resources": ["*"], "identity_policies": [allow("a:b")], "request_id": "3"}).to_string(),
    ]
    .join("\n");
    let root = store.path().to_str().unwrap();
    let finished = command(&["--store", root, "--requests", "-"], &lines);
    let answers: Vec<Value> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ids: Vec<_> = answers
        .iter()
        .map(|answer| answer["requestId"].clone())
        .collect();
    assert_eq!(ids, ["1", "2", "3"]);
    assert_eq!(answers[0]["decision"], "DECISION_ALLOW");
    assert_eq!(answers[1]["error"]["code"], "INVALID_ARGUMENT");
    assert_eq!(answers[1]["error"]["field"], "action");
    assert_eq!(answers[2]["decision"], "DECISION_ALLOW");
    assert_eq!(finished.status, Some(2), "one line has no answer");
    assert!(
        finished.stderr.contains("1 of 3 lines"),
        "{}",
        finished.stderr
    );
    let fine = command(
        &["--store", root, "--requests", "-"],
        lines.lines().next().unwrap(),
    );
    assert_eq!(fine.status, Some(0), "{fine:?}");
    assert_eq!(
        command(&["--store", root, "--requests", "-", "--policy", "{}"], "").status,
        Some(2)
    );
}

/// E-21: the options of the command line reach a server, one level each.
#[tokio::test(flavor = "multi_thread")]
async fn levels_of_an_organization_reach_a_server() {
    let store = store_allowing("orders:Get");
    let server = Server::start(store.path());
    server.client().await;
    let address = server.address();
    let simulated = |source: [&str; 2], levels: &[String]| {
        let mut command = iamd(["simulate", "--action", "orders:Get"]);
        command.args(["--principal", ANN, "--resource", ORDER]);
        command.args(source);
        for level in levels {
            command.args(["--organization-level", level]);
        }
        command.output().unwrap().status.code()
    };
    let root = store.path().to_str().unwrap();
    let levels = |last: &str| [statement("Allow", "*"), statement("Allow", last)];
    for source in [["--server", &address], ["--store", root]] {
        assert_eq!(
            simulated(source, &levels("orders:*")),
            Some(0),
            "{source:?}"
        );
        assert_eq!(simulated(source, &levels("users:*")), Some(1), "{source:?}");
    }
}
