//! The options of a command that asks a server over TLS.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::service::client::Pem;

/// What a command proves itself with, and whom it believes.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Tls {
    /// For a server at `https://HOST:PORT`: the authorities of its certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "server")]
    tls_ca: Option<PathBuf>,
    /// The command's own certificate chain in PEM, if the server wants one
    #[arg(long, value_name = "FILE", requires_all = ["server", "tls_ca", "tls_key"])]
    tls_certificate: Option<PathBuf>,
    /// The private key of `--tls-certificate` in PEM
    #[arg(long, value_name = "FILE", requires_all = ["server", "tls_ca", "tls_certificate"])]
    tls_key: Option<PathBuf>,
}

impl Tls {
    /// Reads the files; `None` without options.
    pub(super) fn read(&self) -> anyhow::Result<Option<Pem>> {
        let Some(authorities) = &self.tls_ca else {
            return Ok(None);
        };
        let own = match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            _ => None,
        };
        Ok(Some(Pem {
            authorities: read(authorities)?,
            own,
        }))
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}
