//! Accepts connections up to a limit.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::bind::Listener;
use super::callers::may;
use super::connection::Connection;
use super::drain::Drain;
use super::socket::Socket;
use super::tls::Tls;
use crate::config::{ACCEPT_BACK_OFF, Caller};

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
#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio_stream::StreamExt;

    use super::*;

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
