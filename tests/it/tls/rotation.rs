//! Certificates that change while the server runs: new connections get the new ones, and nobody loses an answer.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use iamd::service::pb;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::authority::{Authority, Files, Pair};
use super::{GET, Served, ask};
use crate::support::{
    Server, eventually, log_field, number_from_environment, ready, store_allowing,
};

/// How often the certificate changes, unless `IAMD_TEST_ROTATIONS` says otherwise.
const N_ROTATIONS: u64 = 20;

impl Served {
    /// Returns whether the server shows the certificate of `pair` to a new connection.
    async fn shows(&self, pair: &Pair) -> bool {
        let client = self.client(rustls::ALL_VERSIONS, &["h2"]);
        let stream = self.handshake(&client).await.unwrap();
        let shown = stream.get_ref().1.peer_certificates().unwrap();
        shown[0] == CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()
    }

    fn errors(&self) -> Vec<String> {
        let log = self.server.log().into_iter();
        log.filter(|line| log_field(line, "level").as_deref() == Some("ERROR"))
            .collect()
    }
}

/// One client keeps its connection, the others make one for each question. None may fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_question_fails_while_certificates_rotate() {
    let served = Served::start(false, &[]);
    let kept = served.channel(None);
    ready(&kept, &served.server).await;
    let endpoint = served.authority.endpoint(&served.server.address(), None);
    let (is_over, n_asked) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut clients = Vec::new();
    for is_kept in [true, false, false] {
        let (endpoint, kept) = (endpoint.clone(), kept.clone());
        let (is_over, n_asked) = (Arc::clone(&is_over), Arc::clone(&n_asked));
        clients.push(tokio::spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let new = endpoint.connect_lazy();
                let channel = if is_kept { &kept } else { &new };
                assert_eq!(ask(channel).await, Ok(pb::Decision::Allow), "{is_kept}");
                n_asked.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for rotation in 0..number_from_environment("IAMD_TEST_ROTATIONS", N_ROTATIONS) {
        let before = n_asked.load(Ordering::Relaxed);
        let pair = served.authority.server();
        served.files.replace(&pair);
        served.server.signal("HUP");
        eventually(&format!("certificate {rotation}"), async || {
            served.shows(&pair).await.then_some(())
        })
        .await;
        eventually("questions", async || {
            (n_asked.load(Ordering::Relaxed) > before + 5).then_some(())
        })
        .await;
    }
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    println!("{} questions", n_asked.load(Ordering::Relaxed));
}

#[tokio::test]
async fn files_that_do_not_go_together_change_nothing_and_are_told_once() {
    let served = Served::start(false, &[]);
    let channel = served.channel(None);
    ready(&channel, &served.server).await;
    let (first, second) = (served.authority.server(), served.authority.server());
    served.files.replace(&first);
    served.server.signal("HUP");
    eventually("the first", async || {
        served.shows(&first).await.then_some(())
    })
    .await;

    // No signal: the files are looked at by themselves.
    fs::write(&served.files.certificate, &second.certificate).unwrap();
    served.server.wait_for_log("the mismatch", |line| {
        (line.contains("stay in force") && line.contains("issued together")).then_some(())
    });
    assert!(served.shows(&first).await, "the pair before");
    assert_eq!(ask(&channel).await, Ok(pb::Decision::Allow));

    // A signal asks for an answer, also for the same one.
    fs::remove_file(&served.files.key).unwrap();
    served.server.signal("HUP");
    served.server.wait_for_log("the missing key", |line| {
        (line.contains("server.key") && line.contains("may read")).then_some(())
    });
    assert!(served.shows(&first).await, "the pair before");

    fs::write(&served.files.key, &second.key).unwrap();
    eventually("the second", async || {
        served.shows(&second).await.then_some(())
    })
    .await;
    let errors = served.errors();
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert_eq!(ask(&channel).await, Ok(pb::Decision::Allow));
}

/// A certificate that no client accepts is not put in the place of one that they do.
#[tokio::test]
async fn a_certificate_that_is_not_valid_now_changes_nothing() {
    let served = Served::start(false, &[]);
    let (first, second) = (served.authority.server(), served.authority.server());
    ready(&served.channel(None), &served.server).await;
    let put = |pair: &Pair| {
        served.files.replace(pair);
        served.server.signal("HUP");
    };
    put(&first);
    eventually("the first", async || {
        served.shows(&first).await.then_some(())
    })
    .await;
    put(&served.authority.server_until(2020));
    served.server.wait_for_log("the expired one", |line| {
        (line.contains("stay in force") && line.contains("it expired at 2020-01-01T00:00:00Z"))
            .then_some(())
    });
    assert!(served.shows(&first).await, "the pair before");
    put(&served.authority.server_in(2900, 3000));
    served.server.wait_for_log("the early one", |line| {
        (line.contains("stay in force") && line.contains("not valid before 2900-01-01"))
            .then_some(())
    });
    assert!(served.shows(&first).await, "the pair before");
    put(&second);
    eventually("the second", async || {
        served.shows(&second).await.then_some(())
    })
    .await;
}

/// There is no pair before at the start, and clients at a Unix socket may ask all the same.
#[tokio::test]
async fn a_certificate_that_is_not_valid_is_told_at_the_start() {
    let authority = Authority::new("authority");
    for (pair, why) in [
        (authority.server_until(2020), "it expired at 2020"),
        (
            authority.server_in(2900, 3000),
            "it is not valid before 2900",
        ),
    ] {
        let (store, folder) = (store_allowing(GET), tempfile::TempDir::new().unwrap());
        let files = Files::write(folder.path(), &pair, &authority.pem);
        let mut options = files.mutual_options();
        options.extend(["--listen", "127.0.0.1:0"]);
        let server = Server::start_with(store.path(), &options);
        server.wait_for_log(why, |line| {
            (line.contains("certificate-not-valid") && line.contains(why)).then_some(())
        });
        server.wait_for_log("the start", |line| line.contains("is ready").then_some(()));
        // Clients whose authority is taken away must not wait for a better certificate.
        fs::write(&files.client_ca, Authority::new("other").pem).unwrap();
        server.signal("HUP");
        server.wait_for_log("the other authority", |line| {
            line.contains("read anew").then_some(())
        });
    }
}

#[tokio::test]
async fn a_new_authority_holds_for_new_connections_and_old_ones_go_on() {
    let served = Served::start(true, &[]);
    let (old, new) = (&served.authority, Authority::new("new"));
    let of_old = old.client(&["client.example"]);
    let of_new = new.client(&["client.example"]);
    let kept = served.channel(Some(&of_old));
    ready(&kept, &served.server).await;
    assert!(ask(&served.channel(Some(&of_new))).await.is_err());

    fs::write(&served.files.client_ca, &new.pem).unwrap();
    served.server.signal("HUP");
    eventually("the new authority", async || {
        ask(&served.channel(Some(&of_new))).await.ok()
    })
    .await;
    assert!(ask(&served.channel(Some(&of_old))).await.is_err());
    // It can only be the old connection, because this client would get no new one.
    assert_eq!(ask(&kept).await, Ok(pb::Decision::Allow));
}

/// Those who have lost their authority are gone once their connections are as old as they may be.
#[tokio::test]
async fn connections_of_an_authority_that_is_gone_end_by_their_age() {
    let ages = [
        "--max-connection-age",
        "2s",
        "--max-connection-age-grace",
        "1s",
    ];
    let served = Served::start(true, &ages);
    let (old, new) = (&served.authority, Authority::new("new"));
    let of_old = old.client(&["client.example"]);
    let of_new = new.client(&["client.example"]);
    let kept = served.channel(Some(&of_old));
    ready(&kept, &served.server).await;

    fs::write(&served.files.client_ca, &new.pem).unwrap();
    served.server.signal("HUP");
    eventually("the new authority", async || {
        ask(&served.channel(Some(&of_new))).await.ok()
    })
    .await;
    assert!(ask(&served.channel(Some(&of_old))).await.is_err());
    // It asks all the time, so nothing but its age can end it.
    eventually("the end of the old connection", async || {
        ask(&kept).await.is_err().then_some(())
    })
    .await;
    served.wait_for_complaint("does not come from an authority in `tls_client_ca`");
    for _ in 0..5 {
        assert!(ask(&kept).await.is_err(), "it has come back");
    }
    let renewed = served.channel(Some(&of_new));
    assert_eq!(ask(&renewed).await, Ok(pb::Decision::Allow));
}
