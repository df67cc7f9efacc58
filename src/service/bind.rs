//! Sockets: this module binds them, and removes those that a server left behind.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::socket::NewSocket;
use super::tls::Tls;
use crate::config::Address;

/// A bound socket.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp {
        listener: TcpListener,
        address: SocketAddr,
        /// Without it, the listener speaks plaintext.
        tls: Option<Arc<Tls>>,
        /// Whether it is for health checks alone.
        is_for_health: bool,
    },
    Unix {
        listener: UnixListener,
        file: SocketFile,
    },
}

/// Who may connect to a Unix socket: the mode of its file, and its group if that is not the group of the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub(super) mode: u32,
    pub(super) group: Option<u32>,
}

/// A socket's file. Dropping this removes it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// The file's device and inode. Another process may have put a socket of its own in its place.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            identity: identity(path),
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = std::fs::remove_file(&self.path); // an error means that the file is gone already
        }
    }
}

impl Listener {
    /// Binds `address` and logs the bound address, because the system chooses a port for port 0. `access` says who may
    /// connect to a Unix socket. With `tls`, TCP sockets speak TLS.
    pub(super) async fn bind(
        address: &Address,
        access: Access,
        tls: Option<&Arc<Tls>>,
    ) -> anyhow::Result<Self> {
        let failed = || format!("cannot listen on `{address}`");
        let listener = match address {
            Address::Tcp(tcp) => {
                let listener = TcpListener::bind(tcp).await.with_context(failed)?;
                let address = listener.local_addr().with_context(failed)?;
                Self::Tcp {
                    listener,
                    address,
                    tls: tls.cloned(),
                    is_for_health: false,
                }
            }
            Address::Unix(path) => {
                remove_stale_socket(path).await.with_context(failed)?;
                // Without its group, the group of the process must not connect in the meantime.
                let narrow = access.group.map_or(access.mode, |_| access.mode & 0o700);
                let listener = bind_unix(path, narrow).with_context(failed)?;
                let file = SocketFile::of(path);
                if let Some(group) = access.group {
                    std::os::unix::fs::lchown(path, None, Some(group))
                        .with_context(|| {
                            format!(
                                "the socket cannot have the group {group}: run iamd in that group"
                            )
                        })
                        .with_context(failed)?;
                }
                std::fs::set_permissions(path, PermissionsExt::from_mode(access.mode))
                    .with_context(failed)?;
                Self::Unix { listener, file }
            }
        };
        let tls = matches!(&listener, Self::Tcp { tls: Some(_), .. });
        tracing::info!(address = %listener.address(), tls, "listening for gRPC");
        Ok(listener)
    }

    /// Binds `address` for health checks alone. They are in plaintext.
    pub(super) async fn bind_for_health(address: SocketAddr) -> anyhow::Result<Self> {
        let failed = || format!("cannot listen on `{address}` for health checks");
        let listener = TcpListener::bind(address).await.with_context(failed)?;
        let address = listener.local_addr().with_context(failed)?;
        tracing::info!(%address, "listening for health checks");
        Ok(Self::Tcp {
            listener,
            address,
            tls: None,
            is_for_health: true,
        })
    }

    /// Returns the bound address.
    pub(super) fn address(&self) -> Address {
        match self {
            Self::Tcp { address, .. } => Address::Tcp(*address),
            Self::Unix { file, .. } => Address::Unix(file.path.clone()),
        }
    }

    /// Returns whether it is for health checks alone.
    pub(super) fn is_for_health(&self) -> bool {
        matches!(
            self,
            Self::Tcp {
                is_for_health: true,
                ..
            }
        )
    }

    /// Returns what the connections speak TLS with, if they do.
    pub(super) fn tls(&self) -> Option<Arc<Tls>> {
        match self {
            Self::Tcp { tls, .. } => tls.clone(),
            Self::Unix { .. } => None,
        }
    }

    /// Returns whether only this machine can reach it, as far as its address says.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Tcp { address, .. } => address.ip().to_canonical().is_loopback(),
            Self::Unix { .. } => true,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<NewSocket> {
        match self {
            Self::Tcp { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?; // answers are small and awaited
                Ok(NewSocket::Tcp(stream.into_std()?))
            }
            Self::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok(NewSocket::Unix(stream.into_std()?))
            }
        }
    }
}

/// Binds a socket that never has a wider mode than `mode`, not even before its mode is set. A new socket's mode follows
/// the umask of the process, which may be 0.
fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    use rustix::fs::Mode;
    use rustix::process::umask;
    let masked = Mode::from_raw_mode((!mode & 0o777) as rustix::fs::RawMode);
    let before = umask(masked);
    let listener = UnixListener::bind(path);
    umask(before);
    listener
}

/// Removes a socket that a server left behind. Refuses to touch a socket that is in use or any other file.
async fn remove_stale_socket(path: &Path) -> anyhow::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(found) if !found.file_type().is_socket() => {
            bail!("a file exists there, and it is not a socket")
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(std::fs::remove_file(path)?)
        }
        Err(error) => Err(error.into()),
        Ok(_) => bail!("another process listens there"),
    }
}
#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn with_mode(mode: u32) -> Access {
        Access { mode, group: None }
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_anything_else_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("iamd.sock");
        let address = Address::Unix(path.clone());
        let first = Listener::bind(&address, with_mode(0o620), None)
            .await
            .unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o620
        );
        let in_use = Listener::bind(&address, with_mode(0o660), None)
            .await
            .unwrap_err();
        assert!(
            format!("{in_use:#}").contains("another process"),
            "{in_use:#}"
        );
        drop(first);
        assert!(!path.exists(), "a server takes its socket along");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        assert!(
            Listener::bind(&address, with_mode(0o660), None)
                .await
                .is_ok(),
            "stale"
        );
        std::fs::write(&path, "precious").unwrap();
        assert!(
            Listener::bind(&address, with_mode(0o660), None)
                .await
                .is_err()
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_socket_begins_with_no_more_than_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o600, 0o620, 0o660] {
            let path = folder.path().join(format!("{mode:o}.sock"));
            let _listener = bind_unix(&path, mode).unwrap();
            let begins = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(begins & !mode, 0, "{begins:o} before it is {mode:o}");
        }
    }

    #[tokio::test]
    async fn a_socket_that_another_server_put_in_its_place_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("iamd.sock");
        let address = Address::Unix(path.clone());
        let old = Listener::bind(&address, with_mode(0o660), None)
            .await
            .unwrap();
        std::fs::remove_file(&path).unwrap();
        let _new = Listener::bind(&address, with_mode(0o660), None)
            .await
            .unwrap();
        drop(old);
        assert!(path.exists(), "it is not the one that was bound here");
    }
}
