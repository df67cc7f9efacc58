//! What is asked, and how.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use iamd::service::pb;
use prost::Message;
use tonic::codegen::Bytes;

use crate::worlds::Question;

/// A number of calls at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Single questions.
    Unary {
        n_connections: usize,
        n_in_flight: usize,
    },
    /// One stream with this many unanswered questions.
    Stream { depth: usize },
    /// One batch of this many questions after the other on each connection.
    Batch { n_connections: usize, size: usize },
}

impl Load {
    /// Single questions: `n_in_flight` on each connection.
    pub const fn unary(n_connections: usize, n_in_flight: usize) -> Self {
        Self::Unary {
            n_connections,
            n_in_flight,
        }
    }

    /// Batches of `size` on one connection.
    pub const fn batch(size: usize) -> Self {
        Self::Batch {
            n_connections: 1,
            size,
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unary {
                n_connections: 1,
                n_in_flight,
            } => write!(f, "{n_in_flight} in flight"),
            Self::Unary {
                n_connections,
                n_in_flight,
            } => write!(f, "{n_connections} connections x {n_in_flight}"),
            Self::Stream { depth } => write!(f, "stream, {depth} deep"),
            Self::Batch {
                n_connections: 1,
                size,
            } => write!(f, "batch of {size}"),
            Self::Batch {
                n_connections,
                size,
            } => write!(f, "{n_connections} connections, batches of {size}"),
        }
    }
}

/// The questions of the measurement, ready to be sent, and their answers.
pub struct Questions {
    pub store: PathBuf,
    /// Encoded `AuthorizeRequest`s.
    pub asked: Vec<Vec<u8>>,
    /// A file with the answer that the floor gives.
    pub floor_answer: PathBuf,
    /// The encoded `AuthorizeResponse` in that file.
    pub floor_bytes: Vec<u8>,
    /// The right answers of iamd.
    pub answers: Vec<Vec<u8>>,
}

impl Questions {
    /// Asks each question once in this process, by the store in `store`.
    pub fn new(store: &Path, questions: &[Question]) -> anyhow::Result<Self> {
        let mut loader = iamd::store::Loader::new();
        let loaded = loader.load(store);
        let loaded = loaded.map_err(|_| anyhow::anyhow!("the store does not load"))?;
        let authorizer = iamd::authorizer::Authorizer::of(loaded.snapshot);
        let caller = iamd::authorizer::CallerFacts::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let (mut asked, mut answers) = (Vec::new(), Vec::new());
        for question in questions {
            let message = message(question);
            let batch = iamd::service::Encoded::of(&pb::BatchAuthorizeRequest {
                requests: vec![message.clone()],
            });
            let bounds = iamd::service::batch::BatchBounds {
                max_questions: 1,
                max_answer_bytes: 1 << 20,
            };
            let asker = iamd::authorizer::Asker {
                protocol: iamd::telemetry::Protocol::Grpc,
                caller: &caller,
                trace_id: iamd::telemetry::TraceId::INVALID,
            };
            let mut answered = Vec::new();
            let answering = iamd::service::batch::answer_batch(
                &authorizer,
                batch.bytes(),
                bounds,
                &asker,
                &mut answered,
            );
            runtime.block_on(answering)?;
            let mut answered = pb::BatchAuthorizeResponse::decode(answered.as_slice())?;
            let result = answered.results.pop().and_then(|result| result.result);
            let Some(pb::batch_authorize_result::Result::Response(answer)) = result else {
                anyhow::bail!("{question:?} has no answer");
            };
            asked.push(message.encode_to_vec());
            answers.push(answer.encode_to_vec());
        }
        let floor_bytes = answers.first().context("there are questions")?.clone();
        let floor_answer = store.with_extension("answer");
        std::fs::write(&floor_answer, &floor_bytes)?;
        Ok(Self {
            store: store.to_owned(),
            asked,
            floor_answer,
            floor_bytes,
            answers,
        })
    }
}

fn message(question: &Question) -> pb::AuthorizeRequest {
    let context = question.context.iter().map(|(key, value)| {
        let kind = prost_types::value::Kind::StringValue(value.clone());
        pb::authorize_request::ContextEntry {
            key: key.clone(),
            value: Some(prost_types::Value { kind: Some(kind) }),
        }
    });
    pb::AuthorizeRequest {
        principal: question.principal.clone(),
        action: question.action.clone(),
        resource: question.resource.clone(),
        context: context.collect(),
        ..Default::default()
    }
}

/// Returns `message` with the head that gRPC gives it.
pub fn framed(message: &[u8]) -> Bytes {
    let n_bytes = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &n_bytes.to_be_bytes()[..], message].concat().into()
}

/// Returns `message` as the field 1 of another message.
pub fn in_a_field(message: &[u8]) -> Vec<u8> {
    let mut field = vec![1 << 3 | 2];
    prost::encoding::encode_varint(message.len() as u64, &mut field);
    field.extend_from_slice(message);
    field
}

/// Returns what `share` percent of the calls took at most, in microseconds.
pub fn percentile(took: &mut [Duration], share: usize) -> anyhow::Result<f64> {
    took.sort_unstable();
    let found = took.get(took.len() * share / 100);
    Ok(found.context("there are calls")?.as_secs_f64() * 1e6)
}
