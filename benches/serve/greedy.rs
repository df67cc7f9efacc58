//! The clients that ask for a lot, each in a way of its own, until they are told to stop. `tests/attacks` has those that mean
//! harm.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use iamd::service::pb;
use prost::Message;
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tokio::task::JoinSet;
use tonic::codegen::Bytes;

use crate::client::{self, Endpoint};
use crate::load::{framed, in_a_field};

/// How many lists are in flight, and on how many connections.
const N_LISTS: (usize, usize) = (1_000, 10);
/// How many questions a stream gets that is given up, and a batch.
const N_QUESTIONS: usize = 10_000;
/// How many streams are not read.
const N_UNREAD: usize = 10;

/// A way to be greedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greedy {
    /// A thousand calls of `ListPrincipals` are always in flight.
    Lists,
    /// Ten streams are asked as many questions as they take, and not read.
    Unread,
    /// A stream is asked 10,000 questions and cancelled, again and again.
    Cancelled,
    /// A batch of 10,000 questions, most of which are malformed in different ways, again and again.
    Malformed,
}

/// What the greedy clients send.
pub struct Messages {
    /// A `ListPrincipalsRequest`.
    list: Bytes,
    /// `StreamAuthorizeRequest`s, one after the other.
    stream: Bytes,
    /// A `BatchAuthorizeRequest`.
    batch: Bytes,
}

impl Messages {
    /// Makes the messages of some encoded `AuthorizeRequest`s; the lists ask for the action and resource of the first.
    pub fn of(asked: &[Vec<u8>]) -> anyhow::Result<Self> {
        let first = asked.first().context("there are questions")?;
        let question = pb::AuthorizeRequest::decode(&**first)?;
        let list = pb::ListPrincipalsRequest {
            action: question.action,
            resource: question.resource,
            context: question.context,
            ..Default::default()
        };
        let many = || asked.iter().cycle().take(N_QUESTIONS);
        let mut batch = pb::BatchAuthorizeRequest::default();
        for (index, question) in many().enumerate() {
            let question = pb::AuthorizeRequest::decode(&**question)?;
            batch.requests.push(spoilt(index, question));
        }
        let stream: Vec<Bytes> = many().map(|one| framed(&in_a_field(one))).collect();
        Ok(Self {
            list: framed(&list.encode_to_vec()),
            stream: stream.concat().into(),
            batch: framed(&batch.encode_to_vec()),
        })
    }
}

/// Spoils most questions in one way or another.
fn spoilt(index: usize, mut question: pb::AuthorizeRequest) -> pb::AuthorizeRequest {
    let entry = |key: &str, text: Option<&str>| pb::authorize_request::ContextEntry {
        key: key.to_owned(),
        value: text.map(|text| prost_types::Value {
            kind: Some(prost_types::value::Kind::StringValue(text.to_owned())),
        }),
    };
    match index % 10 {
        0 => question.principal.clear(),
        1 => question.principal = "arn:aws:iam::111122223333:user".to_owned(),
        2 => question.action = "orders:*".to_owned(),
        3 => question.action = "no action".to_owned(),
        4 => question.resource = "arn:aws".to_owned(),
        5 => question.context.push(entry("aws:PrincipalArn", Some("x"))),
        6 => question.context.push(entry("app:none", None)),
        7 => question.principal = "arn:aws:iam::111122223333:user/nobody".to_owned(),
        8 => {
            let twice = [entry("app:a", Some("1")), entry("APP:A", Some("2"))];
            question.context.extend(twice);
        }
        _ => {}
    }
    question
}

impl Greedy {
    /// Goes on until `is_over`. Returns how many calls have ended.
    pub fn run(
        self,
        endpoint: &Endpoint,
        messages: &Messages,
        is_over: &AtomicBool,
    ) -> anyhow::Result<usize> {
        // These clients would be on other machines.
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle)
            .map_err(|error| anyhow!("this thread does not give way: {error}"))?;
        let n_ended = Rc::new(Cell::new(0));
        client::on_this_thread(async {
            let mut going_on = self.begin(endpoint, messages, &n_ended).await?;
            while !is_over.load(Ordering::Relaxed) {
                let next = going_on.join_next();
                match tokio::time::timeout(Duration::from_millis(5), next).await {
                    Ok(Some(ended)) => ended??,
                    Ok(None) => break,
                    Err(_) => {}
                }
            }
            anyhow::Ok(())
        })?;
        Ok(n_ended.get())
    }

    async fn begin(
        self,
        endpoint: &Endpoint,
        messages: &Messages,
        n_ended: &Rc<Cell<usize>>,
    ) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
        let mut going_on = JoinSet::new();
        let counter = || Counter(Rc::clone(n_ended));
        match self {
            Self::Lists => {
                let (n_calls, n_connections) = N_LISTS;
                for _ in 0..n_connections {
                    let requests = client::connect(endpoint).await?;
                    for _ in 0..n_calls / n_connections {
                        let list = messages.list.clone();
                        going_on.spawn_local(calls(
                            requests.clone(),
                            "ListPrincipals",
                            list,
                            counter(),
                        ));
                    }
                }
            }
            Self::Malformed => {
                let requests = client::connect(endpoint).await?;
                let batch = messages.batch.clone();
                going_on.spawn_local(calls(requests, "BatchAuthorize", batch, counter()));
            }
            Self::Unread => {
                for _ in 0..N_UNREAD {
                    going_on.spawn_local(unread(endpoint.clone(), messages.stream.clone()));
                }
            }
            Self::Cancelled => {
                let stream = messages.stream.clone();
                going_on.spawn_local(cancelled(endpoint.clone(), stream, counter()));
            }
        }
        Ok(going_on)
    }
}

/// Counts what has ended.
struct Counter(Rc<Cell<usize>>);

impl Counter {
    fn count(&self) {
        self.0.set(self.0.get() + 1);
    }
}

/// Makes one call after the other.
async fn calls(
    mut requests: h2::client::SendRequest<Bytes>,
    method: &str,
    message: Bytes,
    counter: Counter,
) -> anyhow::Result<()> {
    loop {
        let (response, mut sender) = client::begin(&mut requests, method).await?;
        sender.send_data(message.clone(), true)?;
        let mut body = response.await?.into_body();
        let mut n_bytes = 0;
        while let Some(bytes) = client::data(&mut body).await? {
            n_bytes += bytes.len();
        }
        client::end(&mut body).await?;
        ensure!(n_bytes > 64, "an answer of {method} is short");
        counter.count();
    }
}

async fn unread(endpoint: Endpoint, questions: Bytes) -> anyhow::Result<()> {
    let mut requests = client::connect(&endpoint).await?;
    let (response, mut sender) = client::begin(&mut requests, "StreamAuthorize").await?;
    sender.send_data(questions, false)?;
    let held = (requests, response, sender);
    std::future::pending::<()>().await;
    drop(held);
    Ok(())
}

async fn cancelled(endpoint: Endpoint, questions: Bytes, counter: Counter) -> anyhow::Result<()> {
    let mut requests = client::connect(&endpoint).await?;
    loop {
        let (response, mut sender) = client::begin(&mut requests, "StreamAuthorize").await?;
        sender.send_data(questions.clone(), true)?;
        let mut body = response.await?.into_body();
        // The first answers show that the server is at it.
        client::data(&mut body)
            .await?
            .context("there are answers")?;
        sender.send_reset(h2::Reason::CANCEL);
        counter.count();
    }
}
