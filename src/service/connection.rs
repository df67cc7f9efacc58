//! A connection: its socket, and the time limits that hold for it as a whole.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::coop::poll_proceed;
use tokio::time::Sleep;

use super::callers::{May, caller_at};
use super::drain::{Drain, Entrance, OpenCalls};
use super::overload::Bell;
use super::socket::Socket;
use super::turns::{Pause, is_line_used};
use crate::config::{
    BYTES_AT_FIRST, BYTES_PER_UNIT, BYTES_PER_UNIT_WITHOUT_CALLS, FAREWELL_TO_IDLE, PREFACE_TIMEOUT,
};

/// An accepted connection. It counts towards the limit of connections until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    entrance: Entrance,
    /// Tells when something comes.
    bell: Bell,
    /// How many calls it had begun at the last read.
    n_begun: usize,
    /// How many bytes were read since nothing was there.
    n_in_a_row: usize,
    /// Whether nobody else paused when the first of them had been read, or this connection has paused since.
    may_go_on: bool,
    /// The pause that reading makes, if it does.
    pause: Option<Arc<Pause>>,
    /// The bytes of the preface that are still to come, and the time limit for them; `None` once it has been read.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    /// The time by which the peer must begin a call once the server drains; `None` before.
    farewell: Option<Pin<Box<Sleep>>>,
    _place: Option<OwnedSemaphorePermit>,
}

/// How many bytes are read in a turn if they begin no calls. A turn has 128 units.
const BYTES_WITHOUT_CALLS: usize = 128 * BYTES_PER_UNIT_WITHOUT_CALLS;

/// The length of the preface, `PRI * HTTP/2.0…`, with which every client begins.
const PREFACE_BYTES: usize = 24;

impl Connection {
    pub(super) fn new(
        socket: Socket,
        may: May,
        place: Option<OwnedSemaphorePermit>,
        drain: Arc<Drain>,
    ) -> Self {
        let timeout = Box::pin(tokio::time::sleep(PREFACE_TIMEOUT));
        let caller = caller_at(&socket);
        Self {
            socket,
            entrance: Entrance {
                may,
                calls: Arc::new(OpenCalls {
                    drain,
                    caller,
                    ..OpenCalls::default()
                }),
            },
            bell: Bell::default(),
            n_begun: 0,
            n_in_a_row: 0,
            may_go_on: false,
            pause: None,
            preface: Some((PREFACE_BYTES, timeout)),
            farewell: None,
            _place: place,
        }
    }

    /// Returns the facts that the calls of the connection need.
    pub(super) fn entrance(&self) -> &Entrance {
        &self.entrance
    }

    /// Returns whether the server drains and the peer neither has a call in flight nor begins one. This is checked when
    /// a read finds no bytes. HTTP/2 tells every connection of the drain, so every connection is read once it begins.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let calls = &self.entrance.calls;
        if !calls.drain.begun.load(Ordering::Acquire) {
            return false;
        }
        if calls.delay_the_end() {
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
            id = "unix-authority",
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

/// Reads up to `most` bytes into `buf`.
fn read_up_to(
    most: usize,
    socket: Pin<&mut Socket>,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    if most >= buf.remaining() {
        return socket.poll_read(cx, buf);
    }
    let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
    let read = ready!(socket.poll_read(cx, &mut part));
    let n_read = part.filled().len();
    buf.advance(n_read);
    Poll::Ready(read)
}

/// Takes from the turn of this task what `n_bytes` that were read are worth. Once nothing is left of it, reading pauses until
/// other connections of the thread had their turn. Returns whether this is so.
///
/// Without this, a turn is 128 reads. So a peer that sends frames of a few bytes, which cost more than questions do, would keep the
/// thread for many milliseconds.
fn ends_turn(n_bytes: usize, bytes_per_unit: usize, cx: &mut Context<'_>) -> bool {
    for _ in 0..n_bytes / bytes_per_unit {
        match poll_proceed(cx) {
            Poll::Ready(unit) => unit.made_progress(),
            Poll::Pending => return true,
        }
    }
    false
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

impl Drop for Connection {
    fn drop(&mut self) {
        self.entrance.calls.unread.close();
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n_before = buf.filled().len();
        let this = &mut *self;
        if this.n_in_a_row >= BYTES_AT_FIRST && !this.may_go_on {
            this.may_go_on = true;
            this.pause = is_line_used().then(|| Pause::begin(cx.waker()));
        }
        if let Some(pause) = &this.pause {
            ready!(pause.poll(cx));
            this.pause = None;
        }
        let calls = &this.entrance.calls;
        let bell = &mut Context::from_waker(this.bell.waker(cx, &calls.unread));
        let most = match this.n_in_a_row {
            0 => BYTES_AT_FIRST,
            n if n < BYTES_WITHOUT_CALLS => BYTES_WITHOUT_CALLS.saturating_sub(n),
            _ => usize::MAX,
        };
        let read = read_up_to(most, Pin::new(&mut this.socket), bell, buf);
        let n_bytes = buf.filled().len().saturating_sub(n_before);
        match read {
            Poll::Pending => calls.unread.end(),
            Poll::Ready(_) => calls.unread.read(),
        }
        if read.is_pending() {
            this.n_in_a_row = 0;
            this.may_go_on = false;
        }
        this.n_in_a_row = this.n_in_a_row.saturating_add(n_bytes);
        if n_bytes > 0 {
            this.farewell = None; // the bytes may begin a call
            let n_begun = calls.n_begun.load(Ordering::Relaxed);
            let begins_calls = std::mem::replace(&mut this.n_begun, n_begun) != n_begun;
            let bytes_per_unit = match begins_calls {
                true => BYTES_PER_UNIT,
                false => BYTES_PER_UNIT_WITHOUT_CALLS,
            };
            if ends_turn(n_bytes, bytes_per_unit, cx) {
                this.pause = Some(Pause::begin(cx.waker()));
            }
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

    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_preface_ends() {
        for (sent, is_cut) in [(&b""[..], true), (b"PRI *", true), (&[b'x'; 24], false)] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let places = Arc::new(Semaphore::new(1));
            let place = Arc::clone(&places).try_acquire_owned().unwrap();
            let mut connection = Connection::new(
                Socket::Unix(ours),
                May::Disclose,
                Some(place),
                Arc::default(),
            );
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
            let mut connection = Connection::new(
                Socket::Unix(ours),
                May::Disclose,
                Some(place),
                Arc::clone(&drain),
            );
            theirs.try_write(&vec![b'x'; sent]).unwrap();
            let mut bytes = [0; 64];
            if sent > 0 {
                let mut preface = vec![0; sent];
                connection.read_exact(&mut preface).await.unwrap();
            }
            let call = is_asking.then(|| connection.entrance.calls.begin(false, true));
            assert_eq!(drain.n_calls(), usize::from(is_asking));
            drain.begin();
            let begun = tokio::time::Instant::now();
            let read = connection.read(&mut bytes);
            let ended = tokio::time::timeout(10 * FAREWELL_TO_IDLE, read).await;
            assert_eq!(ended.is_err(), is_asking, "{sent} bytes");
            if !is_asking {
                assert_eq!(ended.unwrap().unwrap(), 0);
                // The call of a client that has just connected may be on its way.
                let took = begun.elapsed();
                assert!(took >= FAREWELL_TO_IDLE, "{took:?}");
                assert!(
                    took <= FAREWELL_TO_IDLE + Duration::from_millis(1),
                    "{took:?}"
                );
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

    /// However much a peer sends at once, the other connections of the thread have their turns in between. They have more of
    /// them if the bytes begin no calls.
    #[tokio::test]
    async fn what_a_peer_sends_is_read_in_turns() {
        const N_SENT: usize = 192 * 1024;
        for (begins_calls, bytes_per_unit) in [
            (true, BYTES_PER_UNIT),
            (false, BYTES_PER_UNIT_WITHOUT_CALLS),
        ] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
            let socket = Socket::Unix(ours);
            let mut connection =
                Connection::new(socket, May::Disclose, Some(place), Arc::default());
            let sent = theirs.try_write(&vec![b'x'; N_SENT]).unwrap();
            let (mut n_read, mut most) = (0, 0);
            let reading = poll_fn(|cx| {
                let mut in_turn = 0;
                let polled = loop {
                    let mut bytes = [0; 4096];
                    let mut bytes = ReadBuf::new(&mut bytes);
                    match Pin::new(&mut connection).poll_read(cx, &mut bytes) {
                        Poll::Ready(read) => read.unwrap(),
                        Poll::Pending => break Poll::Pending,
                    }
                    if begins_calls {
                        connection.entrance.calls.note();
                    }
                    in_turn += bytes.filled().len();
                    if n_read + in_turn == sent {
                        break Poll::Ready(());
                    }
                };
                n_read += in_turn;
                most = most.max(in_turn);
                polled
            });
            reading.await;
            assert!(sent > 4 * most, "{sent} in turns of up to {most}");
            let bound = 128 * bytes_per_unit;
            assert!(most <= bound, "{most}");
            assert!(most > bound / 2, "{most} is less than a turn");
        }
    }

    /// Reads what a peer has sent until a read is `Pending`, and returns the number of bytes.
    async fn read_at_once(connection: &mut Connection) -> usize {
        let mut n_read = 0;
        poll_fn(|cx| {
            loop {
                let mut bytes = [0; 4096];
                let mut bytes = ReadBuf::new(&mut bytes);
                match Pin::new(&mut *connection).poll_read(cx, &mut bytes) {
                    Poll::Ready(read) => read.unwrap(),
                    Poll::Pending => return Poll::Ready(()),
                }
                n_read += bytes.filled().len();
            }
        })
        .await;
        n_read
    }

    #[tokio::test]
    async fn what_a_peer_sends_beyond_a_few_calls_waits_while_others_pause() {
        const N_SENT: usize = 3000;
        let (ours, theirs) = UnixStream::pair().unwrap();
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let socket = Socket::Unix(ours);
        let mut connection = Connection::new(socket, May::Disclose, Some(place), Arc::default());
        let send = async |n_bytes| {
            theirs.writable().await.unwrap();
            assert_eq!(theirs.try_write(&vec![b'x'; n_bytes]).unwrap(), n_bytes);
            tokio::task::yield_now().await; // the runtime looks at the sockets
        };
        send(N_SENT).await;
        let n_read = read_at_once(&mut connection).await;
        assert_eq!(n_read, N_SENT, "nobody pauses");
        let paused = [(); 9].map(|()| Pause::begin(std::task::Waker::noop()));
        for _ in 0..2 {
            send(200).await;
            let n_read = read_at_once(&mut connection).await;
            assert_eq!(n_read, 200, "few bytes wait for nobody");
        }
        assert!(is_line_used());
        for paused in paused {
            poll_fn(|cx| paused.poll(cx)).await;
        }
        send(N_SENT).await;
        let paused = Pause::begin(std::task::Waker::noop());
        let n_read = read_at_once(&mut connection).await;
        assert_eq!(n_read, BYTES_AT_FIRST);
        poll_fn(|cx| paused.poll(cx)).await;
        assert_eq!(read_at_once(&mut connection).await, 0, "it is next");
        let mut rest = [0; N_SENT - BYTES_AT_FIRST];
        connection.read_exact(&mut rest).await.unwrap();
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
}
