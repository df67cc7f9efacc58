//! Accepts connections up to a limit, and gives each to a thread that serves it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::bind::Listener;
use super::callers::{May, may};
use super::connection::Connection;
use super::drain::{Drain, late};
use super::http2::Http2;
use super::newest::Newest;
use super::observed::{note_shed_oldest, shed_connection};
use super::socket::{NewSocket, Socket};
use super::tls::Tls;
use super::workers::Workers;
use crate::config::{ACCEPT_BACK_OFF, Caller};

/// The most connections that a listener accepts after the drain has begun. The system keeps about as many in its queue.
const MAX_LAST_ACCEPTED: usize = 1024;

/// What accepts connections.
pub(super) struct Acceptor {
    pub(super) http2: Http2,
    pub(super) callers: Arc<[Caller]>,
    /// One permit for each connection that may be open.
    pub(super) places: Arc<Semaphore>,
    /// The places of connections for health checks.
    pub(super) health_places: Arc<Newest>,
    pub(super) drain: Arc<Drain>,
    pub(super) workers: Arc<Workers>,
}

impl Acceptor {
    /// Accepts the connections of `listener` until the drain begins, and those that wait in its queue then: their clients
    /// believe that they are connected. While as many connections are open as may be, a further one is closed at once, so
    /// that its client learns it immediately instead of waiting in a queue. Of those for health checks, the oldest one is
    /// closed.
    pub(super) async fn accept_all(&self, listener: &Listener) {
        let mut was_full = false;
        let mut n_last = 0;
        let is_local = listener.is_local();
        let is_for_health = listener.is_for_health();
        while n_last < MAX_LAST_ACCEPTED {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                () = self.drain.has_begun() => return,
            };
            n_last += usize::from(self.drain.begun.load(Ordering::Acquire));
            // Those that are open have their turn before the next one begins.
            tokio::task::yield_now().await;
            match accepted {
                Ok(socket) => {
                    let (place, health_place) = if is_for_health {
                        let (place, is_full) = self.health_places.take().await;
                        note_shed_oldest(&mut was_full, is_full, "for health checks");
                        (None, Some(place))
                    } else if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                        was_full = false;
                        (Some(place), None)
                    } else {
                        shed_connection(&mut was_full);
                        continue;
                    };
                    let new = New {
                        is_local,
                        is_for_health,
                        callers: Arc::clone(&self.callers),
                        place,
                        drain: Arc::clone(&self.drain),
                        tls: listener.tls(),
                    };
                    let http2 = self.http2.clone();
                    self.workers.serve(move || async move {
                        let serving = async {
                            if let Some(connection) = new.connection(socket).await {
                                http2.serve(connection).await;
                            }
                        };
                        match health_place {
                            None => serving.await,
                            Some(place) => tokio::select! {
                                () = place.is_lost() => {}
                                () = serving => {}
                            },
                        }
                    });
                }
                Err(error) if is_the_peers(&error) => {}
                Err(_) if self.drain.begun.load(Ordering::Acquire) => return,
                Err(error) => {
                    tracing::warn!(id = "accept-failed", "cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_BACK_OFF).await;
                }
            }
        }
    }
}

/// What a connection has besides its socket.
struct New {
    is_local: bool,
    is_for_health: bool,
    callers: Arc<[Caller]>,
    place: Option<OwnedSemaphorePermit>,
    drain: Arc<Drain>,
    tls: Option<Arc<Tls>>,
}

impl New {
    /// Makes the connection, after its TLS handshake if there is one. The client already takes a place, so there are
    /// never more handshakes than connections. The drain ends a handshake.
    async fn connection(self, socket: NewSocket) -> Option<Connection> {
        let socket = match (of_this_thread(socket), self.tls) {
            (Ok(Socket::Tcp(stream)), Some(tls)) => {
                let met = tokio::select! {
                    () = late(&self.drain) => return None,
                    met = tls.handshake(stream) => met,
                };
                match met {
                    Ok(stream) => Socket::Tls(Box::new(stream)),
                    Err(unmet) => {
                        unmet.log();
                        return None;
                    }
                }
            }
            (Ok(socket), _) => socket,
            (Err(error), _) => {
                tracing::warn!(id = "accept-failed", "cannot serve a connection: {error}");
                return None;
            }
        };
        let may = if self.is_for_health {
            May::CheckHealth
        } else {
            may(&self.callers, &socket, self.is_local)
        };
        Some(Connection::new(socket, may, self.place, self.drain))
    }
}

/// Makes `socket` one of the runtime of this thread.
fn of_this_thread(socket: NewSocket) -> io::Result<Socket> {
    Ok(match socket {
        NewSocket::Tcp(stream) => Socket::Tcp(TcpStream::from_std(stream)?),
        NewSocket::Unix(stream) => Socket::Unix(UnixStream::from_std(stream)?),
    })
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
