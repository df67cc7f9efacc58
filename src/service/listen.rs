//! Sockets: this module binds them, accepts connections up to a limit, and ends connections while the server drains.

use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::callers::{May, may};
use super::socket::Socket;
use super::tls::Tls;
use crate::config::{
    ACCEPT_BACK_OFF, Address, Caller, FAREWELL_TO_IDLE, MAX_BATCHES_AT_ONCE, PREFACE_TIMEOUT,
};

/// A bound socket.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp {
        listener: TcpListener,
        /// Without it, the listener speaks plaintext.
        tls: Option<Arc<Tls>>,
    },
    Unix {
        listener: UnixListener,
        _file: SocketFile,
    },
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
    /// Binds `address` and logs the bound address, because the system chooses a port for port 0. `socket_mode` says who
    /// may connect to a Unix socket. With `tls`, TCP sockets speak TLS.
    pub(super) async fn bind(
        address: &Address,
        socket_mode: u32,
        tls: Option<&Arc<Tls>>,
    ) -> anyhow::Result<Self> {
        let failed = || format!("cannot listen on `{address}`");
        let (listener, bound) = match address {
            Address::Tcp(tcp) => {
                let listener = TcpListener::bind(tcp).await.with_context(failed)?;
                let bound = Address::Tcp(listener.local_addr().with_context(failed)?);
                let tls = tls.cloned();
                (Self::Tcp { listener, tls }, bound)
            }
            Address::Unix(path) => {
                remove_stale_socket(path).await.with_context(failed)?;
                let listener = bind_unix(path, socket_mode).with_context(failed)?;
                let _file = SocketFile::of(path);
                std::fs::set_permissions(path, PermissionsExt::from_mode(socket_mode))
                    .with_context(failed)?;
                (Self::Unix { listener, _file }, address.clone())
            }
        };
        let tls = matches!(&listener, Self::Tcp { tls: Some(_), .. });
        tracing::info!(address = %bound, tls, "listening for gRPC");
        Ok(listener)
    }

    /// Returns whether only this machine can reach it, as far as its address says.
    fn is_local(&self) -> bool {
        match self {
            Self::Tcp { listener, .. } => listener
                .local_addr()
                .is_ok_and(|address| address.ip().to_canonical().is_loopback()),
            Self::Unix { .. } => true,
        }
    }

    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?; // answers are small and awaited
                Ok(Socket::Tcp(stream))
            }
            Self::Unix { listener, .. } => Ok(Socket::Unix(listener.accept().await?.0)),
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

/// Returns the connections of all `listeners`, as long as the stream is held. While `max_connections` are open, a
/// further one is closed at once, so that its client learns it immediately instead of waiting in a queue.
pub(super) fn accept_all(
    listeners: Vec<Listener>,
    max_connections: usize,
    callers: &[Caller],
    drain: &Arc<Drain>,
) -> ReceiverStream<io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(max_connections));
    let callers: Arc<[Caller]> = callers.into();
    let (accepted, connections) = mpsc::channel(1);
    for listener in listeners {
        tokio::spawn(accept_one_by_one(
            listener,
            Arc::clone(&callers),
            Arc::clone(&places),
            accepted.clone(),
            Arc::clone(drain),
        ));
    }
    ReceiverStream::new(connections)
}

async fn accept_one_by_one(
    listener: Listener,
    callers: Arc<[Caller]>,
    places: Arc<Semaphore>,
    accepted: mpsc::Sender<io::Result<Connection>>,
    drain: Arc<Drain>,
) {
    let mut was_full = false;
    let is_local = listener.is_local();
    loop {
        let socket = tokio::select! {
            () = accepted.closed() => return,
            socket = listener.accept() => socket,
        };
        match socket {
            Ok(socket) => {
                let place = Arc::clone(&places).try_acquire_owned();
                let is_full = place.is_err();
                if is_full && !was_full {
                    tracing::warn!(
                        "the limit of open connections is reached: further ones are closed at once"
                    );
                }
                was_full = is_full;
                let Ok(place) = place else { continue };
                let new = New {
                    is_local,
                    callers: Arc::clone(&callers),
                    place,
                    drain: Arc::clone(&drain),
                };
                match (socket, &listener) {
                    (Socket::Tcp(stream), Listener::Tcp { tls: Some(tls), .. }) => {
                        tokio::spawn(greet(stream, Arc::clone(tls), new, accepted.clone()));
                    }
                    (socket, _) => {
                        if accepted.send(Ok(new.connection(socket))).await.is_err() {
                            return;
                        }
                    }
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

/// Does the TLS handshake of one client, beside those of others. The client already takes a place, so there are never
/// more handshakes than connections. The drain ends it.
async fn greet(
    stream: TcpStream,
    tls: Arc<Tls>,
    new: New,
    accepted: mpsc::Sender<io::Result<Connection>>,
) {
    let drain = Arc::clone(&new.drain);
    let met = tokio::select! {
        () = drain.has_begun() => return,
        met = tls.handshake(stream) => met,
    };
    match met {
        Ok(stream) => {
            let connection = new.connection(Socket::Tls(Box::new(stream)));
            let _ = accepted.send(Ok(connection)).await; // an error means that the server has ended
        }
        Err(unmet) => unmet.log(),
    }
}

/// What a connection has besides its socket.
struct New {
    is_local: bool,
    callers: Arc<[Caller]>,
    place: OwnedSemaphorePermit,
    drain: Arc<Drain>,
}

impl New {
    fn connection(self, socket: Socket) -> Connection {
        let may = may(&self.callers, &socket, self.is_local);
        Connection::new(socket, may, self.place, self.drain)
    }
}

/// Returns whether the error lost only the one connection that was about to be accepted.
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

/// Whether the server drains, and how many calls it still waits for.
#[derive(Debug, Default)]
pub(super) struct Drain {
    begun: AtomicBool,
    /// Wakes those who wait for the drain. `begun` alone says whether it has begun: every read of a connection looks
    /// there, and a flag costs the least.
    begins: Notify,
    n_calls: AtomicUsize,
}

impl Drain {
    /// Begins the drain: from now on connections without a call are closed.
    pub(super) fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.begins.notify_waiters();
    }

    /// Completes when the drain has begun.
    async fn has_begun(&self) {
        // INVARIANT: who begins to wait before the flag is set is woken, even if it was not polled until then.
        let begins = self.begins.notified();
        if !self.begun.load(Ordering::Acquire) {
            begins.await;
        }
    }

    /// Returns how many calls are in flight.
    pub(super) fn n_calls(&self) -> usize {
        self.n_calls.load(Ordering::Relaxed)
    }
}

/// An accepted connection. It counts towards the limit of connections until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    entrance: Entrance,
    /// The bytes of the preface that are still to come, and the time limit for them; `None` once it has been read.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    /// The time by which the peer must begin a call once the server drains; `None` before.
    farewell: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

/// The length of the preface, `PRI * HTTP/2.0…`, with which every client begins.
const PREFACE_BYTES: usize = 24;

impl Connection {
    fn new(socket: Socket, may: May, place: OwnedSemaphorePermit, drain: Arc<Drain>) -> Self {
        let timeout = Box::pin(tokio::time::sleep(PREFACE_TIMEOUT));
        Self {
            socket,
            entrance: Entrance {
                may,
                calls: Arc::new(OpenCalls {
                    drain,
                    ..OpenCalls::default()
                }),
            },
            preface: Some((PREFACE_BYTES, timeout)),
            farewell: None,
            _place: place,
        }
    }

    /// Returns whether the server drains and the peer neither has a call in flight nor begins one. This is checked when
    /// a read finds no bytes. HTTP/2 tells every connection of the drain, so every connection is read once it begins.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let calls = &self.entrance.calls;
        if !calls.drain.begun.load(Ordering::Acquire) {
            return false;
        }
        if self.preface.is_some() {
            return true; // the peer has not even sent the preface
        }
        if calls.n_open.load(Ordering::Relaxed) > 0 {
            self.farewell = None;
            return false;
        }
        let end = || Box::pin(tokio::time::sleep(FAREWELL_TO_IDLE));
        let farewell = self.farewell.get_or_insert_with(end);
        farewell.as_mut().poll(cx).is_ready()
    }

    /// Looks at what is sent on a Unix socket before the first call, and warns of a stream that is reset as a protocol
    /// error. Its cause is nearly always a client that sends the socket's path as `:authority`, which the HTTP library
    /// refuses without a message.
    fn look_at_answer(&self, bytes: &[u8]) {
        const PROTOCOL_ERROR: u32 = 1;
        let calls = &self.entrance.calls;
        if !matches!(self.socket, Socket::Unix(_))
            || calls.n_begun.load(Ordering::Relaxed) > 0
            || !has_reset(bytes, PROTOCOL_ERROR)
        {
            return;
        }
        tracing::warn!(
            "a call on a Unix socket was refused before it could be read: if the client sends the socket's path as \
             `:authority`, as some do, set its option `grpc.default_authority` to `localhost`"
        );
    }

    /// Counts `n_bytes` more of the preface, and returns whether it is late.
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

/// The facts about a connection that its calls need.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    /// What the caller may do, which was found out when the connection was made.
    pub(super) may: May,
    /// The calls of the connection.
    pub(super) calls: Arc<OpenCalls>,
}

/// The calls of one connection.
#[derive(Debug)]
pub(super) struct OpenCalls {
    drain: Arc<Drain>,
    n_open: AtomicUsize,
    n_begun: AtomicUsize,
    /// The one permit for the connection's Explain and Simulate calls, which may take seconds. A client that sends many
    /// such calls on one connection delays only its own.
    pub(super) place: Arc<Semaphore>,
    /// The permits for the connection's BatchAuthorize calls, whose messages may be long.
    pub(super) batches: Arc<Semaphore>,
}

impl Default for OpenCalls {
    fn default() -> Self {
        Self {
            drain: Arc::default(),
            n_open: AtomicUsize::new(0),
            n_begun: AtomicUsize::new(0),
            place: Arc::new(Semaphore::new(1)),
            batches: Arc::new(Semaphore::new(MAX_BATCHES_AT_ONCE)),
        }
    }
}

/// A call in flight. Dropping this ends it.
#[derive(Debug)]
pub(super) struct Call(Arc<OpenCalls>);

impl OpenCalls {
    /// Counts a new call.
    pub(super) fn begin(self: &Arc<Self>) -> Call {
        self.n_begun.fetch_add(1, Ordering::Relaxed);
        self.n_open.fetch_add(1, Ordering::Relaxed);
        self.drain.n_calls.fetch_add(1, Ordering::Relaxed);
        Call(Arc::clone(self))
    }

    /// Completes when the server drains.
    pub(super) async fn drain_begins(&self) {
        self.drain.has_begun().await;
    }

    /// Returns how many are in flight.
    #[cfg(test)]
    pub(super) fn n_open(&self) -> usize {
        self.n_open.load(Ordering::Relaxed)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.n_open.fetch_sub(1, Ordering::Relaxed);
        self.0.drain.n_calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns whether an HTTP/2 frame in `bytes` resets a stream for this `reason`. `bytes` begins with a frame's head.
fn has_reset(bytes: &[u8], reason: u32) -> bool {
    const RST_STREAM: u8 = 3;
    let mut rest = bytes;
    while let Some(([a, b, c, kind, _flags, _s0, _s1, _s2, _s3], behind)) =
        rest.split_first_chunk::<9>()
    {
        let n_bytes = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let payload = behind.get(..n_bytes).unwrap_or_default();
        if *kind == RST_STREAM && payload == reason.to_be_bytes() {
            return true;
        }
        rest = behind.get(n_bytes..).unwrap_or_default();
    }
    false
}

impl Connected for Connection {
    type ConnectInfo = Entrance;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.entrance.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n_before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        let n_bytes = buf.filled().len().saturating_sub(n_before);
        if n_bytes > 0 {
            self.farewell = None; // the bytes may begin a call
        }
        match read {
            Poll::Pending if self.is_over(cx) => Poll::Ready(Ok(())), // no bytes: as if the peer had closed it
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
        self.look_at_answer(bytes);
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(first) = slices.first() {
            self.look_at_answer(first);
        }
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_anything_else_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("iamd.sock");
        let address = Address::Unix(path.clone());
        let first = Listener::bind(&address, 0o620, None).await.unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o620
        );
        let in_use = Listener::bind(&address, 0o660, None).await.unwrap_err();
        assert!(
            format!("{in_use:#}").contains("another process"),
            "{in_use:#}"
        );
        drop(first);
        assert!(!path.exists(), "a server takes its socket along");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        assert!(Listener::bind(&address, 0o660, None).await.is_ok(), "stale");
        std::fs::write(&path, "precious").unwrap();
        assert!(Listener::bind(&address, 0o660, None).await.is_err());
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
        let old = Listener::bind(&address, 0o660, None).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let _new = Listener::bind(&address, 0o660, None).await.unwrap();
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
                Connection::new(Socket::Unix(ours), May::Disclose, place, Arc::default());
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

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_a_connection_that_asks_nothing_and_no_other() {
        for (sent, is_asking) in [(0, false), (PREFACE_BYTES, false), (PREFACE_BYTES, true)] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let places = Arc::new(Semaphore::new(1));
            let place = places.try_acquire_owned().unwrap();
            let drain = Arc::new(Drain::default());
            let mut connection =
                Connection::new(Socket::Unix(ours), May::Disclose, place, Arc::clone(&drain));
            theirs.try_write(&vec![b'x'; sent]).unwrap();
            let mut bytes = [0; 64];
            if sent > 0 {
                let mut preface = vec![0; sent];
                connection.read_exact(&mut preface).await.unwrap();
            }
            let call = is_asking.then(|| connection.entrance.calls.begin());
            assert_eq!(drain.n_calls(), usize::from(is_asking));
            drain.begin();
            let begun = tokio::time::Instant::now();
            let read = connection.read(&mut bytes);
            let ended = tokio::time::timeout(10 * FAREWELL_TO_IDLE, read).await;
            assert_eq!(ended.is_err(), is_asking, "{sent} bytes");
            if !is_asking {
                assert_eq!(ended.unwrap().unwrap(), 0);
                let at_once = if sent == 0 {
                    Duration::ZERO
                } else {
                    FAREWELL_TO_IDLE
                };
                assert!(begun.elapsed() <= at_once + Duration::from_millis(1));
            }
            drop(call);
            assert_eq!(drain.n_calls(), 0);
            assert_eq!(
                connection.read(&mut bytes).await.unwrap(),
                0,
                "its call is over"
            );
        }
    }

    #[test]
    fn a_reset_is_found_among_the_frames_that_are_sent() {
        let settings = [0, 0, 0, 4, 1, 0, 0, 0, 0];
        let reset = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 1];
        let refused = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7];
        assert!(has_reset(&[&settings[..], &reset].concat(), 1));
        assert!(!has_reset(&[&settings[..], &refused].concat(), 1));
        assert!(!has_reset(&settings, 1) && !has_reset(&[], 1) && !has_reset(&reset[..12], 1));
        // Bytes inside another frame that look like a reset do not count.
        let data = [&[0, 0, 13, 0, 0, 0, 0, 0, 1][..], &reset].concat();
        assert!(!has_reset(&data, 1));
    }

    #[tokio::test]
    async fn a_connection_too_many_is_closed_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Listener::Tcp {
            listener,
            tls: None,
        };
        let mut connections = accept_all(vec![listener], 1, &[], &Arc::default());
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
