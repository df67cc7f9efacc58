//! Tests environment variables that are not meant as settings.

use super::GET;
use crate::support::{Server, iamd, store_allowing};

/// The variables that Kubernetes sets in every pod beside a service called `iamd` with one port.
const INJECTED: &[(&str, &str)] = &[
    ("IAMD_SERVICE_HOST", "10.96.17.4"),
    ("IAMD_SERVICE_PORT", "50051"),
    ("IAMD_SERVICE_PORT_GRPC", "50051"),
    ("IAMD_PORT", "tcp://10.96.17.4:50051"),
    ("IAMD_PORT_50051_TCP", "tcp://10.96.17.4:50051"),
    ("IAMD_PORT_50051_TCP_PROTO", "tcp"),
    ("IAMD_PORT_50051_TCP_PORT", "50051"),
    ("IAMD_PORT_50051_TCP_ADDR", "10.96.17.4"),
];

#[tokio::test]
async fn what_kubernetes_says_of_a_service_of_this_name_is_one_line() {
    let store = store_allowing(GET);
    let mut command = iamd(["serve", "--listen", "127.0.0.1:0", "--store"]);
    command
        .arg(store.path())
        .envs(INJECTED.iter().copied())
        .env("IAMD_DRAIN_TIMEOUTS", "1s")
        .env("IAMD_SERVICE", "x");
    let mut server = Server::spawn(command);
    server.client().await;
    server.signal("TERM");
    let log = server.whole_log();
    let about = |name: &str| -> Vec<&String> {
        let names = log.iter().filter(|line| line.contains(name));
        names.collect()
    };
    // There is one line in all, whether it names the variables or counts them.
    let told: Vec<_> = log
        .iter()
        .filter(|line| {
            line.contains("Kubernetes") || INJECTED.iter().any(|(name, _)| line.contains(name))
        })
        .collect();
    let [told] = told.as_slice() else {
        panic!("one line, and not {told:#?}")
    };
    assert!(!told.contains("did you mean"), "{told}");
    // A variable that only looks like a setting gets its own line, with its hint.
    let [typo] = about("`IAMD_DRAIN_TIMEOUTS`")[..] else {
        panic!("{log:#?}")
    };
    assert!(typo.contains("did you mean `IAMD_DRAIN_TIMEOUT`"), "{typo}");
    assert_eq!(about("`IAMD_SERVICE`").len(), 1, "{log:#?}");
}
