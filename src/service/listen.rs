//! Sockets: binding them, and accepting connections up to a limit.

use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::config::{ACCEPT_BACK_OFF, Address, PREFACE_TIMEOUT};

/// Who may connect to a Unix socket: its owner and its group, for a sidecar that runs as another user.
const SOCKET_MODE: u32 = 0o660;

/// A bound socket.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        _file: SocketFile,
    },
}

/// A socket's file, which goes when the server stops.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// By device and inode. Whoever removed the file may have put another socket in its place.
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
            let _ = std::fs::remove_file(&self.path); // who removed it before us has done the same
        }
    }
}

impl Listener {
    /// Binds `address`, and logs the one that was bound: a port of 0 is chosen by the system.
    pub(super) async fn bind(address: &Address) -> anyhow::Result<Self> {
        let failed = || format!("cannot listen on `{address}`");
        let (listener, bound) = match address {
            Address::Tcp(tcp) => {
                let listener = TcpListener::bind(tcp).await.with_context(failed)?;
                let bound = Address::Tcp(listener.local_addr().with_context(failed)?);
                (Self::Tcp(listener), bound)
            }
            Address::Unix(path) => {
                remove_stale_socket(path).await.with_context(failed)?;
                let listener = UnixListener::bind(path).with_context(failed)?;
                let _file = SocketFile::of(path);
                std::fs::set_permissions(path, PermissionsExt::from_mode(SOCKET_MODE))
                    .with_context(failed)?;
                (Self::Unix { listener, _file }, address.clone())
            }
        };
        tracing::info!(address = %bound, "listening for gRPC");
        Ok(listener)
    }

    /// Whether only this machine can reach it, as far as its address says.
    fn is_local(&self) -> bool {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .is_ok_and(|address| address.ip().to_canonical().is_loopback()),
            Self::Unix { .. } => true,
        }
    }

    async fn accept(&self) -> io::Result<Io> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?; // answers are small and awaited
                Ok(Io::Tcp(stream))
            }
            Self::Unix { listener, .. } => Ok(Io::Unix(listener.accept().await?.0)),
        }
    }
}

/// Removes a socket that a server left behind; refuses to touch one that is in use, or any other file.
async fn remove_stale_socket(path: &Path) -> anyhow::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(found) if !found.file_type().is_socket() => {
            bail!("there is a file, and it is no socket")
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

/// The connections of all `listeners`, as long as the stream is held. Beyond `max_connections` open ones the newest
/// is closed at once: its client learns that now, instead of waiting in a queue.
pub(super) fn accept_all(
    listeners: Vec<Listener>,
    max_connections: usize,
) -> ReceiverStream<io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(max_connections));
    let (accepted, connections) = mpsc::channel(1);
    for listener in listeners {
        tokio::spawn(accept_one_by_one(
            listener,
            Arc::clone(&places),
            accepted.clone(),
        ));
    }
    ReceiverStream::new(connections)
}

async fn accept_one_by_one(
    listener: Listener,
    places: Arc<Semaphore>,
    accepted: mpsc::Sender<io::Result<Connection>>,
) {
    let mut was_full = false;
    let entrance = Entrance {
        is_local: listener.is_local(),
    };
    loop {
        let io = tokio::select! {
            () = accepted.closed() => return,
            io = listener.accept() => io,
        };
        match io {
            Ok(io) => {
                let place = Arc::clone(&places).try_acquire_owned();
                let is_full = place.is_err();
                if is_full && !was_full {
                    tracing::warn!(
                        "as many connections as allowed are open: further ones are closed at once"
                    );
                }
                was_full = is_full;
                if let Ok(place) = place
                    && accepted
                        .send(Ok(Connection::new(io, entrance, place)))
                        .await
                        .is_err()
                {
                    return;
                }
            }
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_BACK_OFF).await;
            }
        }
    }
}

/// Whether only the one connection is lost that was about to be accepted.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::BrokenPipe
            | Kind::Interrupted
            | Kind::InvalidInput
    )
}

/// An accepted connection; while it lives it takes one of the places.
#[derive(Debug)]
pub(super) struct Connection {
    io: Io,
    entrance: Entrance,
    /// What is left of the preface, and until when it is waited for; none once it has been read.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    _place: OwnedSemaphorePermit,
}

/// `PRI * HTTP/2.0` and what follows it, with which every client begins.
const PREFACE_BYTES: usize = 24;

impl Connection {
    fn new(io: Io, entrance: Entrance, place: OwnedSemaphorePermit) -> Self {
        let timeout = Box::pin(tokio::time::sleep(PREFACE_TIMEOUT));
        Self {
            io,
            entrance,
            preface: Some((PREFACE_BYTES, timeout)),
            _place: place,
        }
    }

    /// Whether the preface, of which `n_bytes` more have come, is late.
    fn is_late(&mut self, n_bytes: usize, cx: &mut Context<'_>) -> bool {
        let Some((left, timeout)) = &mut self.preface else {
            return false;
        };
        *left = left.saturating_sub(n_bytes);
        if *left == 0 {
            self.preface = None;
            return false;
        }
        timeout.as_mut().poll(cx).is_ready()
    }
}

#[derive(Debug)]
enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Where a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entrance {
    /// Whether it is a listener on loopback or a Unix socket: nobody from elsewhere can come in there.
    pub(super) is_local: bool,
}

impl Connected for Connection {
    type ConnectInfo = Entrance;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.entrance
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n_before = buf.filled().len();
        let read = match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        let n_bytes = buf.filled().len().saturating_sub(n_before);
        match read {
            Poll::Pending if self.is_late(0, cx) => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Ready(Ok(())) if self.is_late(n_bytes, cx) => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            read => read,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Io::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true // both kinds of socket are
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Io::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use tokio::io::AsyncReadExt;
    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_anything_else_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("iamd.sock");
        let address = Address::Unix(path.clone());
        let first = Listener::bind(&address).await.unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            SOCKET_MODE
        );
        let in_use = Listener::bind(&address).await.unwrap_err();
        assert!(
            format!("{in_use:#}").contains("another process"),
            "{in_use:#}"
        );
        drop(first);
        assert!(!path.exists(), "a server takes its socket along");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        assert!(Listener::bind(&address).await.is_ok(), "stale");
        std::fs::write(&path, "precious").unwrap();
        assert!(Listener::bind(&address).await.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_socket_that_another_server_put_in_its_place_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("iamd.sock");
        let address = Address::Unix(path.clone());
        let old = Listener::bind(&address).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let _new = Listener::bind(&address).await.unwrap();
        drop(old);
        assert!(path.exists(), "it is not the one that was bound here");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_preface_ends() {
        for (sent, is_cut) in [(&b""[..], true), (b"PRI *", true), (&[b'x'; 24], false)] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let places = Arc::new(Semaphore::new(1));
            let place = Arc::clone(&places).try_acquire_owned().unwrap();
            let mut connection =
                Connection::new(Io::Unix(ours), Entrance { is_local: true }, place);
            theirs.try_write(sent).unwrap();
            let read = async {
                let mut bytes = [0; 64];
                while connection.read(&mut bytes).await? > 0 {}
                io::Result::Ok(())
            };
            let ended = tokio::time::timeout(2 * PREFACE_TIMEOUT, read).await;
            match ended {
                Ok(Err(error)) => assert!(is_cut && error.kind() == io::ErrorKind::TimedOut),
                Ok(Ok(())) => unreachable!("the peer is still there"),
                Err(_) => assert!(!is_cut, "{sent:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_connection_too_many_is_closed_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connections = accept_all(vec![Listener::Tcp(listener)], 1);
        let _first = TcpStream::connect(address).await.unwrap();
        let held = connections.next().await.unwrap().unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        assert_eq!(second.read(&mut [0; 1]).await.unwrap(), 0);
        drop(held);
        let _third = TcpStream::connect(address).await.unwrap();
        assert!(
            connections.next().await.unwrap().is_ok(),
            "its place is free again"
        );
    }
}
