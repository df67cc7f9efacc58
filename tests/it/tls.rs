//! TLS, from a client's side: who gets an answer, who gets none, and what the log says of it.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use iamd::service::pb;
use iamd::service::pb::authorization_service_client::AuthorizationServiceClient;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Channel;

use crate::support::{
    PATIENCE, Server, ann_asks, channel_to, iamd, log_field, ready, run_until_it_serves,
    store_allowing,
};
use authority::{Authority, ClientFiles, Files, Pair};

pub mod authority;
mod callers;
mod commands;
mod pages;
mod rotation;

const GET: &str = "orders:Get";

/// What the server allows a handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A server with a certificate of `authority`, over a store in which ann may do [`GET`].
struct Served {
    server: Server,
    authority: Authority,
    files: Files,
    store: TempDir,
    pem: TempDir,
}

impl Served {
    /// Starts one. `is_mutual` says whether clients need a certificate of the same authority.
    fn start(is_mutual: bool, options: &[&str]) -> Self {
        let authority = Authority::new("authority");
        let (store, pem) = (store_allowing(GET), TempDir::new().unwrap());
        let files = Files::write(pem.path(), &authority.server(), &authority.pem);
        let mut all = if is_mutual {
            files.mutual_options()
        } else {
            files.options()
        };
        all.extend(["--listen", "127.0.0.1:0"]);
        all.extend(options);
        let server = Server::start_with(store.path(), &all);
        Self {
            server,
            authority,
            files,
            store,
            pem,
        }
    }

    fn channel(&self, own: Option<&Pair>) -> Channel {
        self.authority.channel(&self.server.address(), own)
    }

    fn store(&self) -> &str {
        self.store.path().to_str().unwrap()
    }

    /// Writes the files that a command needs beside those of the server.
    fn client_files(&self) -> ClientFiles {
        let own = self.authority.client(&["client.example"]);
        ClientFiles::write(self.pem.path(), &self.authority.pem, &own)
    }

    fn complaints(&self) -> Vec<String> {
        let log = self.server.log();
        let failed = log.iter().filter_map(|line| log_field(line, "message"));
        failed
            .filter(|message| message.starts_with("a TLS handshake failed"))
            .collect()
    }

    /// Waits until the log says that a handshake failed because of `cause`.
    fn wait_for_complaint(&self, cause: &str) {
        self.server
            .wait_for_log(cause, |line| line.contains(cause).then_some(()));
    }

    /// Returns how a client without a certificate does a handshake.
    fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let pem = self.authority.pem.as_bytes();
        roots
            .add(CertificateDer::from_pem_slice(pem).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Arc::new(config)
    }

    /// Does a handshake by hand.
    async fn handshake(&self, client: &Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.server.address()).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::clone(client));
        connector.connect(name, stream).await
    }
}

/// Asks whether ann may do [`GET`].
async fn ask(channel: &Channel) -> Result<pb::Decision, tonic::Code> {
    let mut client = AuthorizationServiceClient::new(channel.clone());
    let answer = client.authorize(ann_asks(GET)).await;
    answer
        .map(|answer| answer.into_inner().decision())
        .map_err(|status| status.code())
}

#[tokio::test]
async fn a_call_over_tls_needs_the_authority_of_the_server() {
    let served = Served::start(false, &[]);
    let channel = served.channel(None);
    ready(&channel, &served.server).await;
    assert_eq!(ask(&channel).await, Ok(pb::Decision::Allow));

    let other = Authority::new("another").channel(&served.server.address(), None);
    assert_eq!(ask(&other).await, Err(tonic::Code::Unavailable));
    served.wait_for_complaint("the client does not accept the server's certificate");

    let plain = channel_to(&served.server.address());
    assert!(ask(&plain).await.is_err(), "an answer without TLS");
    served.wait_for_complaint("the client does not speak TLS");
    assert_eq!(ask(&channel).await, Ok(pb::Decision::Allow));
}

#[tokio::test]
async fn a_unix_socket_stays_plain_beside_tls() {
    let folder = TempDir::new().unwrap();
    let socket = format!("unix:{}", folder.path().join("iamd.sock").display());
    let served = Served::start(true, &["--listen", &socket]);
    let plain = channel_to(&socket);
    ready(&plain, &served.server).await;
    assert_eq!(ask(&plain).await, Ok(pb::Decision::Allow));
}

#[tokio::test]
async fn with_an_authority_for_clients_each_needs_a_certificate_of_it() {
    let served = Served::start(true, &[]);
    let own = served.authority.client(&["client.example"]);
    let channel = served.channel(Some(&own));
    ready(&channel, &served.server).await;
    assert_eq!(ask(&channel).await, Ok(pb::Decision::Allow));

    let without = ask(&served.channel(None)).await;
    assert!(without.is_err(), "{without:?}");
    served.wait_for_complaint("the client has no certificate");

    let foreign = Authority::new("another").client(&["client.example"]);
    let foreign = ask(&served.channel(Some(&foreign))).await;
    assert!(foreign.is_err(), "{foreign:?}");
    served.wait_for_complaint("does not come from an authority in `tls_client_ca`");

    // A server's certificate is not for clients.
    let server = served.authority.server();
    let server = ask(&served.channel(Some(&server))).await;
    assert!(server.is_err(), "{server:?}");
    served.wait_for_complaint("the client's certificate is not valid");
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken_only_for_http2_and_no_session_is_resumed() {
    let served = Served::start(false, &[]);
    for (version, expected) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let client = served.client(&[version], &["h2"]);
        for _ in 0..2 {
            let mut stream = served.handshake(&client).await.unwrap();
            let session = stream.get_ref().1;
            assert_eq!(session.protocol_version(), Some(expected));
            assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
            // A client resumes a session if it can. It has been sent all that it needs for that before the first answer.
            assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full));
            let empty_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
            let greeting = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &empty_settings];
            stream.write_all(&greeting.concat()).await.unwrap();
            stream.read_exact(&mut [0; 9]).await.unwrap();
        }
    }
    let refused = async {
        let client = served.client(rustls::ALL_VERSIONS, &["http/1.1"]);
        let mut stream = served.handshake(&client).await?;
        stream.read(&mut [0; 1]).await
    };
    let refused = refused.await.unwrap_err().to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    served.wait_for_complaint("does not offer HTTP/2");
    // A client that names no protocol learns of the end by TLS's own goodbye, without which this is an error.
    let client = served.client(rustls::ALL_VERSIONS, &[]);
    let mut silent = served.handshake(&client).await.unwrap();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn clients_that_start_no_handshake_hold_up_nobody_and_are_closed_in_time() {
    const N_SILENT: usize = 20;
    let served = Served::start(false, &[]);
    let channel = served.channel(None);
    ready(&channel, &served.server).await;
    let begun = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..N_SILENT {
        silent.push(TcpStream::connect(served.server.address()).await.unwrap());
    }
    // A part of a handshake is none.
    silent[0].write_all(&[0x16, 3, 1]).await.unwrap();
    let later = served.channel(None);
    assert_eq!(ask(&later).await, Ok(pb::Decision::Allow));
    assert!(begun.elapsed() < HANDSHAKE, "it has waited for the others");
    for stream in &mut silent {
        let closed = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 1])).await;
        let closed = closed.unwrap();
        assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    }
    let took = begun.elapsed();
    assert!(took >= HANDSHAKE - Duration::from_millis(100), "{took:?}");
    assert!(took < 2 * HANDSHAKE, "{took:?}");
    served.wait_for_complaint("the client took too long");
    let complaints = served.complaints();
    assert!(complaints.len() <= 2, "one for each: {complaints:#?}");
    assert_eq!(ask(&channel).await, Ok(pb::Decision::Allow));
}

#[tokio::test]
async fn failed_handshakes_write_no_line_of_their_own() {
    let served = Served::start(false, &[]);
    ready(&served.channel(None), &served.server).await;
    for _ in 0..100 {
        let mut plain = TcpStream::connect(served.server.address()).await.unwrap();
        plain
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        let mut said = Vec::new();
        _ = plain.read_to_end(&mut said).await; // an alert, and then the end
        // A probe of the port says nothing at all, and nothing is told of it.
        drop(TcpStream::connect(served.server.address()).await.unwrap());
    }
    served.wait_for_complaint("the client does not speak TLS");
    let complaints = served.complaints();
    assert!(complaints.len() < 10, "{complaints:#?}");
    let log = served.server.log();
    assert!(log.len() < 20, "{log:#?}");
}

#[tokio::test]
async fn a_drain_waits_for_no_handshake() {
    let mut served = Served::start(false, &["--drain-timeout", "1h"]);
    ready(&served.channel(None), &served.server).await;
    let mut silent = TcpStream::connect(served.server.address()).await.unwrap();
    // A later connection is accepted later, so the silent one is in its handshake by now.
    let client = served.client(rustls::ALL_VERSIONS, &["h2"]);
    served.handshake(&client).await.unwrap();
    let begun = Instant::now();
    served.server.signal("TERM");
    let closed = tokio::time::timeout(PATIENCE, silent.read(&mut [0; 1])).await;
    assert!(matches!(closed.unwrap(), Ok(0) | Err(_)));
    assert_eq!(served.server.exit_status().code(), Some(0));
    assert!(begun.elapsed() < HANDSHAKE - Duration::from_secs(2));
}

#[tokio::test]
async fn beyond_loopback_a_server_needs_tls_or_the_word_for_plaintext() {
    let store = store_allowing(GET);
    let serve = |options: &[&str]| {
        let mut command = iamd(["serve", "--listen", "0.0.0.0:0", "--store"]);
        command.arg(store.path()).args(options);
        command
    };
    let plain = serve(&[]);
    let refused = tokio::task::spawn_blocking(|| run_until_it_serves(plain));
    let refused = refused.await.unwrap().unwrap();
    assert_eq!(refused.status, Some(2));
    assert!(refused.stderr.contains("--tls-certificate"), "{refused:?}");

    let authority = Authority::new("authority");
    let folder = TempDir::new().unwrap();
    let files = Files::write(folder.path(), &authority.server(), "");
    let server = Server::spawn(serve(&files.options()));
    let address = server.address().replace("0.0.0.0", "127.0.0.1");
    let channel = authority.channel(&address, None);
    ready(&channel, &server).await;
    assert_eq!(ask(&channel).await, Ok(pb::Decision::Allow));
}

#[test]
fn files_that_cannot_be_used_end_the_start_and_are_named() {
    let authority = Authority::new("authority");
    let (pair, other) = (authority.server(), authority.server());
    let store = store_allowing(GET);
    let broken = pair.certificate.replace("MII", "MI!");
    let big = "#".repeat((1 << 20) + 1);
    for (what, certificate, key, client_ca, named, said) in [
        (
            "no certificate",
            "",
            &*pair.key,
            &*authority.pem,
            "server.pem",
            "has no certificate",
        ),
        (
            "not Base64",
            &*broken,
            &*pair.key,
            &*authority.pem,
            "server.pem",
            "not PEM",
        ),
        (
            "too long",
            &*big,
            &*pair.key,
            &*authority.pem,
            "server.pem",
            "longer than",
        ),
        (
            "no key",
            &*pair.certificate,
            &*pair.certificate,
            &*authority.pem,
            "server.key",
            "no private key",
        ),
        (
            "the key of another",
            &*pair.certificate,
            &*other.key,
            &*authority.pem,
            "server.key",
            "issued together",
        ),
        (
            "no authority",
            &*pair.certificate,
            &*pair.key,
            "x",
            "clients.pem",
            "has no certificate",
        ),
        (
            "missing",
            &*pair.certificate,
            &*pair.key,
            "",
            "clients.pem",
            "may read",
        ),
        (
            "a folder",
            &*pair.certificate,
            &*pair.key,
            "",
            "clients.pem",
            "not a file",
        ),
    ] {
        let folder = TempDir::new().unwrap();
        let pair = Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        let files = Files::write(folder.path(), &pair, client_ca);
        if client_ca.is_empty() {
            fs::remove_file(&files.client_ca).unwrap();
        }
        if what == "a folder" {
            fs::create_dir(&files.client_ca).unwrap();
        }
        let mut command = iamd(["serve", "--listen", "127.0.0.1:0", "--store"]);
        command.arg(store.path()).args(files.mutual_options());
        let ended = run_until_it_serves(command).expect(what);
        assert_eq!(ended.status, Some(2), "{what}");
        for part in [named, said] {
            assert!(ended.stderr.contains(part), "{what}: {}", ended.stderr);
        }
    }
}
