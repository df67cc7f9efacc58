//! The pages of the HTTP listener over TLS, and who may see them.

use std::sync::Arc;

use rustls::version::TLS13;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Served, ask, ready};
use crate::observe::{Page, http_address, page};

impl Served {
    /// Asks for a page over TLS. The client offers `protocols`.
    async fn page(&self, path: &str, protocols: &[&str]) -> std::io::Result<Page> {
        let client = self.client(&[&TLS13], protocols);
        let stream = TcpStream::connect(http_address(&self.server)).await?;
        let connector = TlsConnector::from(Arc::clone(&client));
        let name = "localhost".try_into().unwrap();
        let mut stream = connector.connect(name, stream).await?;
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(page(&answer))
    }
}

/// Returns the number of days until the certificate of the server expires, as `/metrics` says.
fn days_left(metrics: &str) -> f64 {
    let name = "iamd_tls_certificate_expiry_timestamp_seconds ";
    let mut lines = metrics.lines();
    let expiry = lines.find_map(|line| line.strip_prefix(name)).unwrap();
    let now = jiff::Timestamp::now().as_second() as f64;
    (expiry.parse::<f64>().unwrap() - now) / 86_400.0
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_the_certificate_of_the_server_and_say_when_it_expires() {
    let served = Served::start(false, &[]);
    let channel = served.channel(None);
    ready(&channel, &served.server).await;
    ask(&channel).await.unwrap();
    for protocols in [&["http/1.1"][..], &[], &["h2", "http/1.1"]] {
        let page = served.page("/readyz", protocols).await.unwrap();
        assert_eq!((page.status, page.body.as_str()), (200, "ready\n"));
    }
    assert!(
        served.page("/readyz", &["h2"]).await.is_err(),
        "pages are HTTP/1.1"
    );
    let metrics = served.page("/metrics", &[]).await.unwrap().body;
    let days = days_left(&metrics);
    assert!(days > 1.0, "{days} days");
    let status = served.page("/statusz", &[]).await.unwrap();
    assert_eq!(status.status, 200, "it comes from this machine");
    assert!(!status.body.contains("no TLS"), "{}", status.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_this_machine_the_state_is_shown_to_those_whom_policies_are_disclosed_to() {
    let open = ["--http-listen", "0.0.0.0:0"];
    let served = Served::start(false, &open);
    ready(&served.channel(None), &served.server).await;
    assert_eq!(served.page("/statusz", &[]).await.unwrap().status, 403);
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(served.page(path, &[]).await.unwrap().status, 200, "{path}");
    }
    let mutual = Served::start(true, &open);
    assert!(
        mutual.page("/livez", &[]).await.is_err(),
        "no certificate, no page"
    );
}
