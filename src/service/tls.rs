//! TLS for the TCP listeners: the certificate, its key and the authorities of clients, read from files that may change.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{AlertDescription, CertificateError, RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::config::{Config, HANDSHAKE_TIMEOUT, MAX_TLS_FILE_BYTES, TLS_CHECK};

/// The protocol that a client must offer in its handshake: gRPC is HTTP/2.
const ALPN: &[u8] = b"h2";

/// What the TCP listeners prove themselves with, and whom they believe.
#[derive(Debug)]
pub(super) struct Tls {
    files: Files,
    /// What each new connection uses. Those that are open go on with what they began with.
    in_force: ArcSwap<InForce>,
    /// What the last look at the files found, whether it could be used or not.
    seen: Mutex<Seen>,
    look: Notify,
}

/// What follows from the files.
#[derive(Debug)]
struct InForce {
    /// For gRPC, which is HTTP/2.
    grpc: Arc<ServerConfig>,
    /// The same for the pages of the HTTP listener, which are HTTP/1.1.
    http: Arc<ServerConfig>,
    /// The time at which the first certificate of the chain expires, in seconds since 1970.
    expiry: i64,
    /// The server's certificates, its own first.
    chain: Vec<CertificateDer<'static>>,
}

/// Why a certificate is not valid at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Invalid {
    NotYet(Timestamp),
    Expired(Timestamp),
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYet(from) => write!(f, "it is not valid before {from}"),
            Self::Expired(at) => write!(f, "it expired at {at}"),
        }
    }
}

impl Invalid {
    /// Looks at the server's own certificate, which is the first one.
    fn of(chain: &[CertificateDer<'_>], now: Timestamp) -> Option<Self> {
        let (_, own) = X509Certificate::from_der(chain.first()?).ok()?;
        let time = |seconds: i64| Timestamp::from_second(seconds).ok();
        let validity = own.validity();
        let from = time(validity.not_before.timestamp()).filter(|from| now < *from);
        let until = time(validity.not_after.timestamp()).filter(|until| *until < now);
        from.map(Self::NotYet).or_else(|| until.map(Self::Expired))
    }
}

impl InForce {
    fn of(files: &Files, contents: &Contents) -> anyhow::Result<Self> {
        let grpc = server_config(files, contents)?;
        let mut http = grpc.clone();
        http.alpn_protocols = vec![b"http/1.1".to_vec()];
        let chain = certificates(&contents.certificate)?;
        Ok(Self {
            grpc: Arc::new(grpc),
            http: Arc::new(http),
            expiry: expiry(&chain),
            chain,
        })
    }
}

impl InForce {
    /// Returns why no client accepts the server's own certificate now.
    fn invalid_now(&self) -> Option<Invalid> {
        Invalid::of(&self.chain, Timestamp::now())
    }
}

/// Returns the time at which the first of the certificates expires, in seconds since 1970; 0 if none of them can be read.
fn expiry(chain: &[CertificateDer<'_>]) -> i64 {
    let times = chain.iter().filter_map(|der| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(certificate.validity().not_after.timestamp())
    });
    times.min().unwrap_or(0)
}

impl Tls {
    /// Reads the files that the settings name; `None` if there is no certificate. An error names the file, and says
    /// how to mend it.
    pub(super) fn of(config: &Config) -> anyhow::Result<Option<Self>> {
        let Some(files) = Files::of(config) else {
            return Ok(None);
        };
        let contents = files.read()?;
        let in_force = InForce::of(&files, &contents)?;
        if let Some(invalid) = in_force.invalid_now() {
            // Clients at Unix sockets can still ask, and nothing better is there.
            files.warn_of(invalid);
        }
        Ok(Some(Self {
            in_force: ArcSwap::from_pointee(in_force),
            seen: Mutex::new(Seen::Contents(contents.digest())),
            look: Notify::new(),
            files,
        }))
    }

    /// Returns the time at which the certificate in force expires, in seconds since 1970.
    pub(super) fn expiry(&self) -> i64 {
        self.in_force.load().expiry
    }

    /// Asks for a look at the files now (SIGHUP).
    pub(super) fn request_look(&self) {
        self.look.notify_one();
    }

    /// Looks at the files every [`TLS_CHECK`], and whenever it is asked to. It never ends.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            let asked = tokio::time::timeout(TLS_CHECK, self.look.notified()).await;
            let tls = Arc::clone(&self);
            // A panic has been logged. The next look may go better.
            let _ = tokio::task::spawn_blocking(move || tls.look(asked.is_ok())).await;
        }
    }

    /// Reads the files, and puts them in force if they have changed and can be used together. Otherwise those before
    /// stay, and the log says why, once for each change and whenever somebody asked. Files with a certificate that is not
    /// valid now are looked at again.
    fn look(&self, is_asked: bool) {
        let contents = self.files.read();
        let found = match &contents {
            Ok(contents) => Seen::Contents(contents.digest()),
            Err(error) => Seen::Unreadable(format!("{error:#}")),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == found && !is_asked {
            return;
        }
        let was_told = !is_asked
            && matches!((&*seen, &found), (Seen::NotNow(told), Seen::Contents(now)) if told == now);
        *seen = found;
        let read = contents.and_then(|contents| {
            let in_force = InForce::of(&self.files, &contents)?;
            match in_force.invalid_now() {
                // What else has changed, such as the authorities of clients, must not wait for a better certificate.
                Some(invalid) if self.in_force.load().invalid_now().is_some() => {
                    self.files.warn_of(invalid);
                    Ok(in_force)
                }
                // The clock may move on, or have been wrong.
                Some(invalid) => {
                    *seen = Seen::NotNow(contents.digest());
                    bail!("{}: {invalid}", self.files.of_certificate())
                }
                None => Ok(in_force),
            }
        });
        match read {
            Ok(in_force) => {
                self.in_force.store(Arc::new(in_force));
                tracing::info!("the TLS files are read anew: new connections use them");
            }
            Err(_) if was_told => {}
            Err(error) => tracing::error!(
                id = "certificate-refused",
                "the TLS files cannot be used, and those before stay in force: {error:#}"
            ),
        }
    }

    /// Does the handshake with a client. It may take [`HANDSHAKE_TIMEOUT`]. A client that does not agree to HTTP/2 is
    /// refused.
    pub(super) async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Unmet> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.in_force.load().grpc));
        let handshake = async {
            let mut stream = acceptor
                .accept(stream)
                .await
                .map_err(|error| Unmet::of(&error))?;
            if stream.get_ref().1.alpn_protocol() == Some(ALPN) {
                return Ok(stream);
            }
            // A client that offers other protocols gets an alert. One that offers none is told goodbye here.
            let _ = stream.shutdown().await; // it may have gone already
            Err(Unmet::Because(NO_HTTP2))
        };
        in_time(handshake).await
    }

    /// Does the handshake with a client of the HTTP listener, within the same time.
    pub(super) async fn handshake_for_http(
        &self,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Unmet> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.in_force.load().http));
        let handshake = async {
            let accepted = acceptor.accept(stream).await;
            accepted.map_err(|error| Unmet::of(&error))
        };
        in_time(handshake).await
    }
}

async fn in_time<T>(handshake: impl Future<Output = Result<T, Unmet>>) -> Result<T, Unmet> {
    let within = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await;
    within.unwrap_or(Err(Unmet::Because("the client took too long")))
}

const NO_HTTP2: &str = "the client does not offer HTTP/2 (the protocol `h2` of ALPN)";

/// Why no connection came of a handshake.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unmet {
    /// The client has gone. Probes of a port do that.
    Gone,
    /// One of a few texts. They hold nothing that the client chose, so its lines in the log are equal, and their repeats
    /// are only counted.
    Because(&'static str),
}

impl Unmet {
    fn of(error: &io::Error) -> Self {
        use rustls::Error;
        let cause = error.get_ref();
        let Some(error) = cause.and_then(|cause| cause.downcast_ref::<Error>()) else {
            return Self::Gone;
        };
        Self::Because(match error {
            Error::NoCertificatesPresented => "the client has no certificate",
            Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => "the client's certificate has expired",
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                "the client's certificate does not come from an authority in `tls_client_ca`"
            }
            Error::InvalidCertificate(_) => "the client's certificate is not valid",
            Error::AlertReceived(
                AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired,
            ) => "the client does not accept the server's certificate",
            Error::AlertReceived(_) => "the client refused it",
            Error::NoApplicationProtocol => NO_HTTP2,
            Error::PeerIncompatible(_) => "the client offers nothing that TLS 1.2 or 1.3 needs",
            Error::InvalidMessage(_) => "the client does not speak TLS",
            _ => "the client does not keep to the protocol",
        })
    }

    /// Logs the cause.
    pub(super) fn log(&self) {
        match self {
            Self::Gone => tracing::debug!("a TLS handshake ended early: the client has gone"),
            Self::Because(cause) => {
                tracing::warn!(id = "handshake-failed", "a TLS handshake failed: {cause}")
            }
        }
    }
}

/// The files that the settings name.
#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// With it, every client needs a certificate.
    client_ca: Option<PathBuf>,
}

/// What a look at the files found.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// The digest of their contents. The key itself is not kept.
    Contents([u8; 32]),
    /// The same of files whose certificate is not valid now, which was told.
    NotNow([u8; 32]),
    /// Why one of them could not be read.
    Unreadable(String),
}

/// What the files hold.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for part in [&self.certificate, &self.key]
            .into_iter()
            .chain(&self.client_ca)
        {
            digest.update(Sha256::digest(part));
        }
        digest.finalize().into()
    }
}

impl Files {
    fn of(config: &Config) -> Option<Self> {
        Some(Self {
            certificate: config.tls_certificate.clone()?,
            key: config.tls_key.clone()?,
            client_ca: config.tls_client_ca.clone(),
        })
    }

    fn read(&self) -> anyhow::Result<Contents> {
        let client_ca = self.client_ca.as_deref();
        Ok(Contents {
            certificate: read(&self.certificate).with_context(|| self.of_certificate())?,
            key: read(&self.key).with_context(|| self.of_key())?,
            client_ca: client_ca
                .map(read)
                .transpose()
                .with_context(|| self.of_client_ca())?,
        })
    }

    fn warn_of(&self, invalid: Invalid) {
        let certificate = self.of_certificate();
        tracing::warn!(
            id = "certificate-not-valid",
            "clients will not accept {certificate}: {invalid}"
        );
    }

    fn of_certificate(&self) -> String {
        format!(
            "the file of `tls_certificate`, `{}`",
            shown(&self.certificate)
        )
    }

    fn of_key(&self) -> String {
        format!("the file of `tls_key`, `{}`", shown(&self.key))
    }

    fn of_client_ca(&self) -> String {
        let path = self.client_ca.as_deref().map(shown).unwrap_or_default();
        format!("the file of `tls_client_ca`, `{path}`")
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Reads a small file. Anything but a file is refused, because reading it could block.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    const MEND: &str = "give a PEM file that iamd's user may read";
    if !std::fs::metadata(path).context(MEND)?.is_file() {
        bail!("{MEND}: this is not a file");
    }
    let mut bytes = Vec::new();
    let file = File::open(path).context(MEND)?;
    file.take(MAX_TLS_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .context(MEND)?;
    if bytes.len() as u64 > MAX_TLS_FILE_BYTES {
        bail!("{MEND}: this one is longer than {MAX_TLS_FILE_BYTES} bytes");
    }
    Ok(bytes)
}

/// Returns the certificates of a PEM file, of which there is one at least.
fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = read.context("it is not PEM: write each certificate as PEM")?;
    if certificates.is_empty() {
        bail!("it has no certificate: a line `-----BEGIN CERTIFICATE-----` begins one");
    }
    Ok(certificates)
}

/// Returns the settings of the TLS library for these files. Every connection has a whole handshake, so that a
/// certificate that is no longer accepted opens no further one: there are no session tickets.
fn server_config(files: &Files, contents: &Contents) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&contents.certificate).with_context(|| files.of_certificate())?;
    let key = PrivateKeyDer::from_pem_slice(&contents.key)
        .context("it has no private key: write one as PEM, without a passphrase")
        .with_context(|| files.of_key())?;
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("the TLS library has no protocol version")?;
    let config = match &contents.client_ca {
        None => config.with_no_client_auth(),
        Some(pem) => {
            let authorities = authorities(pem).with_context(|| files.of_client_ca())?;
            let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider);
            config
                .with_client_cert_verifier(verifier.build().with_context(|| files.of_client_ca())?)
        }
    };
    let config = config.with_single_cert(chain, key);
    let mut config = config.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => anyhow::anyhow!(
            "{} does not belong to {}: give two that were issued together, with the server's own certificate first",
            files.of_key(),
            files.of_certificate()
        ),
        error => anyhow::anyhow!(
            "{} and {} cannot be used: {error}",
            files.of_certificate(),
            files.of_key()
        ),
    })?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn authorities(pem: &[u8]) -> anyhow::Result<Arc<RootCertStore>> {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(pem)? {
        authorities
            .add(certificate)
            .context("one of its certificates cannot be used as an authority")?;
    }
    Ok(Arc::new(authorities))
}
