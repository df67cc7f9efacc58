//! The client: it keeps a number of calls in flight and checks every answer. It speaks HTTP/2 by the `h2` crate, with
//! bytes that were made before, so that it takes as little of the machine as it can.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use prost::bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::codegen::{Bytes, http};

use crate::load::{Load, Questions, framed, in_a_field};

/// Where a server listens, and how it is reached.
#[derive(Clone)]
pub struct Endpoint {
    pub address: String,
    /// `None` without encryption.
    pub tls: Option<TlsConnector>,
}

/// Runs a client to its end, with the tasks that it spawns, on this thread alone.
pub fn on_this_thread<T>(client: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, client)
}

/// Makes `n_calls` decisions under `load`, and checks the answers: those of the questions, or the floor's. Returns
/// how long each single call took.
pub fn run(
    endpoint: &Endpoint,
    questions: &Questions,
    load: Load,
    n_calls: usize,
    is_floor: bool,
) -> anyhow::Result<Vec<Duration>> {
    on_this_thread(async {
        match load {
            Load::Unary {
                n_connections,
                n_in_flight,
            } => {
                let asked: Vec<Bytes> = questions.asked.iter().map(|q| framed(q)).collect();
                let expected: Vec<Bytes> = (0..asked.len())
                    .map(|i| match is_floor {
                        true => framed(&questions.floor_bytes),
                        false => framed(questions.answers.get(i).map_or(&[], Vec::as_slice)),
                    })
                    .collect();
                let pairs: Rc<Vec<_>> = Rc::new(asked.into_iter().zip(expected).collect());
                let next = Rc::new(Cell::new(0));
                let took = Rc::new(RefCell::new(Vec::with_capacity(n_calls)));
                let mut slots = Vec::new();
                for _ in 0..n_connections {
                    let requests = connect(endpoint).await?;
                    for _ in 0..n_in_flight {
                        let (requests, pairs, next) =
                            (requests.clone(), Rc::clone(&pairs), Rc::clone(&next));
                        let took = Rc::clone(&took);
                        slots.push(tokio::task::spawn_local(unary(
                            requests, pairs, next, n_calls, took,
                        )));
                    }
                }
                for slot in slots {
                    slot.await??;
                }
                Ok(took.take())
            }
            Load::Stream { depth } => stream(endpoint, questions, depth, n_calls)
                .await
                .map(|()| Vec::new()),
            Load::Batch {
                n_connections,
                size,
            } => batches(endpoint, questions, n_connections, size, n_calls)
                .await
                .map(|()| Vec::new()),
        }
    })
}

/// Opens a connection whose task runs in the local set of this thread.
pub async fn connect(endpoint: &Endpoint) -> anyhow::Result<SendRequest<Bytes>> {
    let socket = TcpStream::connect(&endpoint.address).await?;
    socket.set_nodelay(true)?;
    let Some(tls) = &endpoint.tls else {
        return handshake(socket).await;
    };
    let name = ServerName::try_from("localhost")?;
    handshake(tls.connect(name, socket).await?).await
}

async fn handshake(
    io: impl AsyncRead + AsyncWrite + Unpin + 'static,
) -> anyhow::Result<SendRequest<Bytes>> {
    let (requests, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 24)
        // A client that cancels a lot must not end its own connection.
        .max_local_error_reset_streams(None)
        .handshake(io)
        .await?;
    tokio::task::spawn_local(connection);
    Ok(requests)
}

/// Begins a call of `method`.
pub async fn begin(
    requests: &mut SendRequest<Bytes>,
    method: &str,
) -> anyhow::Result<(h2::client::ResponseFuture, SendStream<Bytes>)> {
    let request = http::Request::post(format!(
        "http://localhost/iamd.v1.AuthorizationService/{method}"
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .header("grpc-timeout", "1M")
    .header("user-agent", "grpc-rust-bench/1.0")
    .body(())?;
    *requests = requests.clone().ready().await?;
    Ok(requests.send_request(request, false)?)
}

/// Makes calls until `n_calls` were begun by all together.
async fn unary(
    mut requests: SendRequest<Bytes>,
    pairs: Rc<Vec<(Bytes, Bytes)>>,
    next: Rc<Cell<usize>>,
    n_calls: usize,
    took: Rc<RefCell<Vec<Duration>>>,
) -> anyhow::Result<()> {
    while next.get() < n_calls {
        let index = next.get();
        next.set(index + 1);
        let (question, expected) = pairs.get(index % pairs.len()).context("there are pairs")?;
        let asked = single(&mut requests, question, expected).await;
        let asked = asked.with_context(|| format!("question {index}"))?;
        took.borrow_mut().push(asked);
    }
    Ok(())
}

/// Makes one call, whose answer must be `expected`. Returns how long it took.
pub async fn single(
    requests: &mut SendRequest<Bytes>,
    question: &Bytes,
    expected: &[u8],
) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let (response, mut sender) = begin(requests, "Authorize").await?;
    sender.send_data(question.clone(), true)?;
    let mut body = response.await?.into_body();
    let mut answer = BytesMut::new();
    while let Some(bytes) = data(&mut body).await? {
        answer.extend_from_slice(&bytes);
    }
    ensure!(is_answer(&answer, expected), "the answer is wrong");
    end(&mut body).await?;
    Ok(begun.elapsed())
}

/// Returns whether a message is `expected`, or that with the id of a record at its end.
fn is_answer(answer: &[u8], expected: &[u8]) -> bool {
    const DECISION_ID: u8 = 6 << 3 | 2;
    // Their lengths come before them.
    let (Some(answer), Some(expected)) = (answer.get(5..), expected.get(5..)) else {
        return false;
    };
    let rest = answer.strip_prefix(expected);
    rest.is_some_and(|rest| rest.first().is_none_or(|key| *key == DECISION_ID))
}

/// Returns what comes next of the answers.
pub async fn data(body: &mut RecvStream) -> anyhow::Result<Option<Bytes>> {
    let Some(bytes) = body.data().await.transpose()? else {
        return Ok(None);
    };
    body.flow_control().release_capacity(bytes.len())?;
    Ok(Some(bytes))
}

/// Checks that the call succeeded.
pub async fn end(body: &mut RecvStream) -> anyhow::Result<()> {
    let trailers = body.trailers().await?.context("there are no trailers")?;
    ensure!(
        trailers.get("grpc-status").is_some_and(|code| code == "0"),
        "{trailers:?}"
    );
    Ok(())
}

/// Asks over one stream with `depth` unanswered questions.
async fn stream(
    endpoint: &Endpoint,
    questions: &Questions,
    depth: usize,
    n_calls: usize,
) -> anyhow::Result<()> {
    let asked: Vec<Bytes> = questions
        .asked
        .iter()
        .map(|q| framed(&in_a_field(q)))
        .collect();
    let expected: Vec<Bytes> = questions
        .answers
        .iter()
        .map(|a| framed(&in_a_field(a)))
        .collect();
    let mut requests = connect(endpoint).await?;
    let (response, mut sender) = begin(&mut requests, "StreamAuthorize").await?;
    let mut n_asked = 0;
    let ask = |sender: &mut SendStream<Bytes>, n_asked: &mut usize| -> anyhow::Result<()> {
        let question = asked
            .get(*n_asked % asked.len())
            .context("there are questions")?;
        *n_asked += 1;
        Ok(sender.send_data(question.clone(), *n_asked == n_calls)?)
    };
    for _ in 0..depth.min(n_calls) {
        ask(&mut sender, &mut n_asked)?;
    }
    let mut body = response.await?.into_body();
    let mut pending = BytesMut::new();
    let mut n_answered = 0;
    while let Some(bytes) = data(&mut body).await? {
        pending.extend_from_slice(&bytes);
        loop {
            let expected = expected
                .get(n_answered % expected.len())
                .context("there are answers")?;
            if pending.len() < expected.len() {
                break;
            }
            ensure!(
                pending.starts_with(expected),
                "answer {n_answered} is wrong"
            );
            pending.advance(expected.len());
            n_answered += 1;
            if n_asked < n_calls {
                ask(&mut sender, &mut n_asked)?;
            }
            if n_answered == n_calls {
                break;
            }
        }
    }
    ensure!(n_answered == n_calls, "{n_answered} of {n_calls} answers");
    end(&mut body).await
}

/// Asks batches of `size` on each connection, one after the other.
async fn batches(
    endpoint: &Endpoint,
    questions: &Questions,
    n_connections: usize,
    size: usize,
    n_calls: usize,
) -> anyhow::Result<()> {
    let of = |parts: &[Vec<u8>]| -> Vec<u8> {
        parts
            .iter()
            .cycle()
            .take(size)
            .flat_map(|part| in_a_field(part))
            .collect()
    };
    let question = framed(&of(&questions.asked));
    let results: Vec<Vec<u8>> = questions.answers.iter().map(|a| in_a_field(a)).collect();
    let expected = Bytes::from(of(&results));
    let mut asking = JoinSet::new();
    for _ in 0..n_connections {
        let (question, expected) = (question.clone(), expected.clone());
        let requests = connect(endpoint).await?;
        let n_batches = n_calls.div_ceil(size * n_connections);
        asking.spawn_local(batch(requests, question, expected, n_batches));
    }
    while let Some(asked) = asking.join_next().await {
        asked??;
    }
    Ok(())
}

async fn batch(
    mut requests: SendRequest<Bytes>,
    question: Bytes,
    expected: Bytes,
    n_batches: usize,
) -> anyhow::Result<()> {
    for _ in 0..n_batches {
        let (response, mut sender) = begin(&mut requests, "BatchAuthorize").await?;
        sender.send_data(question.clone(), true)?;
        let mut body = response.await?.into_body();
        let mut answer = BytesMut::new();
        while let Some(bytes) = data(&mut body).await? {
            answer.extend_from_slice(&bytes);
        }
        let Some((_, answer)) = answer.split_first_chunk::<5>() else {
            bail!("a batch has no answer");
        };
        ensure!(
            answer.starts_with(&expected),
            "the answers to a batch are wrong"
        );
        end(&mut body).await?;
    }
    Ok(())
}
