//! Tests a server that is asked more than it can answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt;

use super::{EXPENSIVE, expensive};
use crate::support::{PATIENCE, Server, ann_asks, eventually, health};

/// Clients that ask all the time get an answer or an early refusal, and one that asks little is answered each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_questions_are_refused_and_those_of_others_are_answered() {
    const N_GREEDY: usize = 3;
    const N_IN_FLIGHT: usize = 90;
    let (store, question) = expensive();
    let options = [&EXPENSIVE[..], &["--worker-threads", "1"]].concat();
    let server = Server::start_with(store.path(), &options);
    let (n_answered, n_refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut asking = Vec::new();
    for _ in 0..N_GREEDY {
        let client = server.client().await;
        for _ in 0..N_IN_FLIGHT {
            let (mut client, question) = (client.clone(), question.clone());
            let (n_answered, n_refused) = (Arc::clone(&n_answered), Arc::clone(&n_refused));
            asking.push(tokio::spawn(async move {
                loop {
                    let Err(status) = client.authorize(question.clone()).await else {
                        n_answered.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                    assert!(status.get_details_retry_info().is_some(), "{status:?}");
                    n_refused.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
    }
    // A client that asked too much once is like any other afterwards.
    let mut modest = server.client().await;
    let is_overloaded = || n_refused.load(Ordering::Relaxed) > 0;
    eventually("a refusal", async || is_overloaded().then_some(())).await;
    let burst: Vec<_> = (0..60)
        .map(|_| {
            let (mut client, question) = (modest.clone(), question.clone());
            tokio::spawn(async move { client.authorize(question).await })
        })
        .collect();
    let mut n_of_burst = 0;
    for one in burst {
        n_of_burst += usize::from(one.await.unwrap().is_err());
    }
    assert!(n_of_burst > 0, "the burst was too much");
    let mut n_modest = 0;
    while n_refused.load(Ordering::Relaxed) < 200 || n_modest < 20 {
        let mut request = tonic::Request::new(ann_asks("orders:Refund"));
        request.set_timeout(PATIENCE);
        modest.authorize(request).await.unwrap();
        n_modest += 1;
        for one in &asking {
            assert!(
                !one.is_finished(),
                "an answer was neither right nor a refusal"
            );
        }
    }
    assert!(n_answered.load(Ordering::Relaxed) > 0);
    let serving = health(&server.channel(), "").await;
    assert_eq!(serving, Ok(ServingStatus::Serving));
    for one in asking {
        one.abort();
    }
}
