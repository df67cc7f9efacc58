//! The numbers of `/metrics` before and after questions and reloads.

use std::collections::BTreeMap;

use iamd::service::{Encoded, pb};
use prost::Message as _;
use tokio_stream::StreamExt as _;

use super::{Scrape, serve};
use crate::support::{
    allow, ann_asks, eventually, store_allowing, until_revision, user, write_by_rename,
};

/// The metrics of the contract, each with the labels of one series that is there from the first scrape on.
const FROM_THE_START: &[&str] = &[
    r#"iamd_decisions_total{decision="allow",protocol="grpc",reason="allow_identity"}"#,
    r#"iamd_decisions_total{decision="deny",protocol="ext_authz",reason="implicit_deny_identity"}"#,
    r#"iamd_decisions_total{decision="deny",protocol="authzen",reason="explicit_deny_session"}"#,
    r#"iamd_decisions_total{decision="allow",protocol="http",reason="allow_root"}"#,
    r#"iamd_decisions_total{decision="allow",protocol="api",reason="allow_federated"}"#,
    "iamd_decision_duration_seconds_count",
    r#"iamd_decision_duration_seconds_bucket{le="0.000001"}"#,
    r#"iamd_decision_duration_seconds_bucket{le="0.1"}"#,
    "iamd_cache_hits_total",
    "iamd_cache_misses_total",
    "iamd_cache_bypasses_total",
    "iamd_cache_entries",
    "iamd_store_stale",
    r#"iamd_store_reloads_total{result="published"}"#,
    r#"iamd_store_reloads_total{result="unchanged"}"#,
    r#"iamd_store_reloads_total{result="refused"}"#,
    "iamd_store_reload_duration_seconds_count",
    r#"iamd_store_findings{severity="error"}"#,
    r#"iamd_store_findings{severity="warning"}"#,
    "iamd_requests_in_flight",
    "iamd_requests_shed_total",
    "iamd_decision_log_written_total",
    "iamd_decision_log_lost_total",
    "iamd_decision_log_queue",
    "iamd_tls_certificate_expiry_timestamp_seconds",
    "iamd_unnamed_actions_total",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_there_at_zero_and_counts_each_question_once() {
    let store = store_allowing("orders:Get");
    let (server, address) = serve(store.path());
    let mut client = server.client().await;
    let before = Scrape::of(&address);
    for series in FROM_THE_START {
        assert_eq!(before.value(series), 0.0, "{series}");
    }
    for (name, count) in [("files", 2.0), ("statements", 1.0), ("principals", 1.0)] {
        assert_eq!(before.value(&format!("iamd_store_{name}")), count, "{name}");
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        before.value(&format!("iamd_build_info{{version=\"{version}\"}}")),
        1.0
    );
    assert!(before.value("iamd_store_last_success_timestamp_seconds") > 1.7e9);

    for _ in 0..3 {
        client.authorize(ann_asks("orders:Get")).await.unwrap();
    }
    client.authorize(ann_asks("orders:Put")).await.unwrap();
    let stranger = pb::AuthorizeRequest {
        principal: "arn:aws:iam::111111111111:user/nobody".to_owned(),
        ..ann_asks("orders:Get")
    };
    client.authorize(stranger.clone()).await.unwrap();
    let malformed = pb::AuthorizeRequest::default();
    client.authorize(malformed.clone()).await.unwrap_err();
    let batch = pb::BatchAuthorizeRequest {
        requests: vec![ann_asks("orders:Get"), stranger, malformed],
    };
    let batch = Encoded::from(batch.encode_to_vec());
    client.batch_authorize(batch).await.unwrap();
    let questions = ["orders:Get", "orders:Put"].map(|action| {
        Encoded::of(&pb::StreamAuthorizeRequest {
            request: Some(ann_asks(action)),
        })
    });
    let answers = client.stream_authorize(tokio_stream::iter(questions)).await;
    let answers: Vec<_> = answers.unwrap().into_inner().collect().await;
    assert_eq!(answers.len(), 2);

    let after = Scrape::of(&address);
    let expected = BTreeMap::from([
        (
            r#"{decision="allow",protocol="grpc",reason="allow_identity"}"#,
            5.0,
        ),
        (
            r#"{decision="deny",protocol="grpc",reason="implicit_deny_identity"}"#,
            2.0,
        ),
        (
            r#"{decision="deny",protocol="grpc",reason="implicit_deny_unknown_principal"}"#,
            2.0,
        ),
    ]);
    assert_eq!(after.others_than_zero("iamd_decisions_total"), expected);
    assert_eq!(after.value("iamd_decision_duration_seconds_count"), 9.0);
    assert_eq!(
        after.value(r#"iamd_decision_duration_seconds_bucket{le="+Inf"}"#),
        9.0
    );
    let sum = after.value("iamd_decision_duration_seconds_sum");
    assert!(sum > 1e-7 && sum < 10.0, "{sum} s for nine decisions");

    let calls = after.others_than_zero("rpc_server_call_duration_seconds_count");
    let of = |method: &str, status: &str| {
        let labels = format!(
            r#"{{rpc_method="{method}",rpc_response_status_code="{status}",rpc_system_name="grpc"}}"#
        );
        calls.get(labels.as_str()).copied().unwrap_or_default()
    };
    let authorize = "iamd.v1.AuthorizationService/Authorize";
    assert_eq!(of(authorize, "OK"), 5.0, "{calls:?}");
    assert_eq!(of(authorize, "INVALID_ARGUMENT"), 1.0, "{calls:?}");
    let batch = "iamd.v1.AuthorizationService/BatchAuthorize";
    assert_eq!(of(batch, "OK"), 1.0, "{calls:?}");
    let stream = "iamd.v1.AuthorizationService/StreamAuthorize";
    assert_eq!(of(stream, "OK"), 1.0, "{calls:?}");
}

/// Most likely, such an action is misspelled.
#[tokio::test(flavor = "multi_thread")]
async fn questions_about_actions_that_no_statement_names_are_counted() {
    let store = store_allowing("orders:G*");
    let (server, address) = serve(store.path());
    let mut client = server.client().await;
    let count = || Scrape::of(&address).value("iamd_unnamed_actions_total");
    // The actions of the store are collected after the load.
    eventually("the first one that counts", async || {
        client.authorize(ann_asks("order:Get")).await.unwrap();
        (count() > 0.0).then_some(())
    })
    .await;
    let before = count();
    for action in ["orders:Get", "orders:Got", "ORDERS:GONE"] {
        client.authorize(ann_asks(action)).await.unwrap();
    }
    let stranger = pb::AuthorizeRequest {
        principal: "arn:aws:iam::111111111111:user/nobody".to_owned(),
        ..ann_asks("order:Get")
    };
    client.authorize(stranger).await.unwrap();
    assert_eq!(count(), before);
    for action in ["orders:Put", "order:Get"] {
        client.authorize(ann_asks(action)).await.unwrap();
    }
    assert_eq!(count(), before + 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_are_counted_by_their_results() {
    let store = store_allowing("orders:Get");
    let (server, address) = serve(store.path());
    let mut client = server.client().await;
    let first = revision(&address);
    let results = || {
        let scrape = Scrape::of(&address);
        ["published", "unchanged", "refused"]
            .map(|result| scrape.value(&format!("iamd_store_reloads_total{{result=\"{result}\"}}")))
    };

    write_by_rename(
        store.path(),
        "users/ann.json",
        &user("ann", &allow("orders:Put")),
    );
    let second = crate::support::revision(store.path());
    until_revision(&mut client, &second).await;
    assert_ne!(first, second);
    assert_eq!(
        revision(&address),
        second,
        "the series of the first revision has gone"
    );
    assert_eq!(results(), [1.0, 0.0, 0.0]);

    server.signal("HUP");
    eventually("the unchanged reload", async || {
        (results()[1] == 1.0).then_some(())
    })
    .await;

    write_by_rename(store.path(), "users/ann.json", "{");
    eventually("the refused reload", async || {
        (results()[2] == 1.0).then_some(())
    })
    .await;
    let stale = Scrape::of(&address);
    assert_eq!(stale.value("iamd_store_stale"), 1.0);
    assert!(stale.value(r#"iamd_store_findings{severity="error"}"#) >= 1.0);
    assert_eq!(stale.value("iamd_store_reload_duration_seconds_count"), 3.0);
    assert_eq!(revision(&address), second, "it stays in force");

    write_by_rename(
        store.path(),
        "users/ann.json",
        &user("ann", &allow("orders:Get")),
    );
    until_revision(&mut client, &first).await;
    let mended = Scrape::of(&address);
    assert_eq!(mended.value("iamd_store_stale"), 0.0);
    assert_eq!(
        mended.value(r#"iamd_store_findings{severity="error"}"#),
        0.0
    );
    assert_eq!(results(), [2.0, 1.0, 1.0]);
}

/// Returns the revision that the one series of `iamd_store_info` names.
fn revision(address: &str) -> String {
    let scrape = Scrape::of(address);
    let info = scrape.others_than_zero("iamd_store_info");
    assert_eq!(info.len(), 1, "{info:?}");
    let labels = info.keys().next().unwrap();
    labels.split('"').nth(1).unwrap().to_owned()
}
