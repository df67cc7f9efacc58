//! Certificates for the tests: an authority that issues them, and channels that show and accept them.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// An authority that issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate in PEM.
    pub pem: String,
}

/// A certificate with its key, both in PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    /// Returns a new one. Those with different names are told apart by their names, as in practice.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// Issues a certificate for a server on this machine.
    pub fn server(&self) -> Pair {
        self.server_until(4000)
    }

    /// Issues the same for the years up to this one.
    pub fn server_until(&self, year: i32) -> Pair {
        self.server_in(1975, year)
    }

    /// Issues the same for the years from the first to the second one.
    pub fn server_in(&self, from: i32, until: i32) -> Pair {
        let mut params = named("server");
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        params.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into().unwrap()),
            SanType::IpAddress([127, 0, 0, 1].into()),
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(&params)
    }

    /// Issues a certificate for a client. A name with a scheme becomes a URI, any other a DNS name.
    pub fn client(&self, names: &[&str]) -> Pair {
        let mut params = named("client");
        let name = |name: &&str| match name.contains("://") {
            true => SanType::URI((*name).try_into().unwrap()),
            false => SanType::DnsName((*name).try_into().unwrap()),
        };
        params.subject_alt_names = names.iter().map(name).collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&params)
    }

    fn issue(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        Pair {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// Returns a channel to the server at `address` that accepts only certificates of this authority, and shows its own
    /// if it has one. Waits for nothing.
    pub fn channel(&self, address: &str, own: Option<&Pair>) -> Channel {
        self.endpoint(address, own).connect_lazy()
    }

    /// Returns the same, not yet connected.
    pub fn endpoint(&self, address: &str, own: Option<&Pair>) -> Endpoint {
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.pem));
        if let Some(own) = own {
            config = config.identity(Identity::from_pem(&own.certificate, &own.key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
        endpoint.tls_config(config).unwrap()
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// The files of a server's certificate, in a folder.
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: PathBuf,
}

impl Files {
    /// Writes `pair` into `folder`, and `client_ca` for the authorities of clients.
    pub fn write(folder: &Path, pair: &Pair, client_ca: &str) -> Self {
        let files = Self {
            certificate: folder.join("server.pem"),
            key: folder.join("server.key"),
            client_ca: folder.join("clients.pem"),
        };
        files.replace(pair);
        std::fs::write(&files.client_ca, client_ca).unwrap();
        files
    }

    /// Puts another pair in their place.
    pub fn replace(&self, pair: &Pair) {
        std::fs::write(&self.certificate, &pair.certificate).unwrap();
        std::fs::write(&self.key, &pair.key).unwrap();
    }

    /// Returns the options of a server whose clients need no certificate.
    pub fn options(&self) -> Vec<&str> {
        let paths = [&self.certificate, &self.key];
        let [certificate, key] = paths.map(|path| path.to_str().unwrap());
        vec!["--tls-certificate", certificate, "--tls-key", key]
    }

    /// Returns the options of a server whose clients need a certificate.
    pub fn mutual_options(&self) -> Vec<&str> {
        let mut options = self.options();
        options.extend(["--tls-client-ca", self.client_ca.to_str().unwrap()]);
        options
    }
}

/// The files of a client, in a folder: the authority that it believes, its certificate and its key.
pub struct ClientFiles([PathBuf; 3]);

impl ClientFiles {
    /// Writes `authority` and `own` into `folder`.
    pub fn write(folder: &Path, authority: &str, own: &Pair) -> Self {
        let names = ["ca.pem", "client.pem", "client.key"];
        let files = names.map(|name| folder.join(name));
        for (path, text) in files.iter().zip([authority, &own.certificate, &own.key]) {
            std::fs::write(path, text).unwrap();
        }
        Self(files)
    }

    /// Returns their paths.
    pub fn paths(&self) -> [&str; 3] {
        self.0.each_ref().map(|path| path.to_str().unwrap())
    }
}
