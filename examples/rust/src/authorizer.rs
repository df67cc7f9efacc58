//! Asks iamd whether a principal may do something. Copy this file into your service.

use std::collections::HashMap;
use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost_types::value::Kind;
use prost_types::{ListValue, Timestamp, Value};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use pb::authorization_service_client::AuthorizationServiceClient;

/// The messages of the protocol.
mod pb {
    tonic::include_proto!("iamd.v1");
}

/// How long an answer may take. A later one is a denial.
const TIMEOUT: Duration = Duration::from_millis(500);

/// From here on not every integer is a double, and iamd refuses what it would have to round. Send such a number as text.
const TOO_LARGE: f64 = 9_007_199_254_740_992.0;

/// A context value.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    Text(String),
    Bool(bool),
    Number(f64),
    Time(SystemTime),
    List(Vec<Fact>),
}

/// What is known of the principal's session. A time that is `None` did not happen, or is not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Session {
    pub tags: HashMap<String, String>,
    pub source_identity: String,
    pub issued_at: Option<SystemTime>,
    pub expires_at: Option<SystemTime>,
    pub mfa_at: Option<SystemTime>,
}

/// May this principal do this action on this resource?
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    pub principal: String,
    pub action: String,
    pub resource: String,
    pub context: HashMap<String, Fact>,
    pub session: Option<Session>,
}

/// What a service needs of iamd. [`Client`] is the real one, and [`Fake`] one for unit tests.
pub trait Authorizer: Send + Sync + 'static {
    /// True only if iamd allows it. Whatever goes wrong is logged and is a denial.
    fn is_allowed(&self, question: &Question) -> impl Future<Output = bool> + Send;
    /// Waits up to `timeout` for an iamd that answers questions, and returns whether there is one.
    fn wait_ready(&self, timeout: Duration) -> impl Future<Output = bool> + Send;
}

/// A connection to iamd. Make one for the life of the program and share it: it connects again with the next call. tonic
/// uses no proxy, and gives Unix sockets an authority that HTTP allows.
#[derive(Clone, Debug)]
pub struct Client(Channel);

impl Client {
    /// A client of the iamd at `127.0.0.1:50051` or `unix:/run/iamd/iamd.sock`. It does not connect yet.
    pub fn new(address: &str) -> Result<Self, tonic::transport::Error> {
        let uri = if address.starts_with("unix:") {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        let endpoint = Endpoint::from_shared(uri)?.connect_timeout(TIMEOUT);
        Ok(Self(endpoint.connect_lazy()))
    }

    async fn ask(&self, question: &Question) -> Result<bool, String> {
        let mut request = tonic::Request::new(to_request(question)?);
        request.set_timeout(TIMEOUT); // tells iamd
        let mut iamd = AuthorizationServiceClient::new(self.0.clone());
        // The timeout of the request does not hold for the body of the answer.
        match tokio::time::timeout(TIMEOUT, iamd.authorize(request)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner().decision == pb::Decision::Allow as i32),
            Ok(Err(status)) => Err(status.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    async fn watch_health(&self) -> Result<(), tonic::Status> {
        let request = HealthCheckRequest::default();
        let mut health = HealthClient::new(self.0.clone());
        let mut answers = health.watch(request).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            if answer.status == ServingStatus::Serving as i32 {
                return Ok(());
            }
        }
        Err(tonic::Status::unavailable("iamd ended the watch"))
    }
}

impl Authorizer for Client {
    async fn is_allowed(&self, question: &Question) -> bool {
        self.ask(question).await.unwrap_or_else(|error| {
            eprintln!("denied without a decision: {error}");
            false
        })
    }

    async fn wait_ready(&self, timeout: Duration) -> bool {
        let watching = async {
            // tonic connects with the call, and the call fails if it cannot.
            while self.watch_health().await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(timeout, watching).await.is_ok()
    }
}

/// Stands in for iamd in unit tests: allows the given pairs of action and resource, and nothing else.
#[cfg(test)]
#[derive(Debug, Default)]
pub struct Fake {
    pub allowed: Vec<(&'static str, &'static str)>,
    pub is_ready: bool,
    /// What it was asked.
    pub questions: std::sync::Mutex<Vec<Question>>,
}

#[cfg(test)]
impl Authorizer for Fake {
    async fn is_allowed(&self, question: &Question) -> bool {
        // A test should fail where iamd could not be asked.
        to_request(question).expect("a question that can be asked");
        let asked = (question.action.as_str(), question.resource.as_str());
        let mut questions = self.questions.lock().expect("no test has panicked");
        questions.push(question.clone());
        self.allowed.contains(&asked)
    }

    async fn wait_ready(&self, _: Duration) -> bool {
        self.is_ready
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<bool> for Fact {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Fact {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<i64> for Fact {
    fn from(number: i64) -> Self {
        Self::Number(number as f64)
    }
}

impl From<SystemTime> for Fact {
    fn from(moment: SystemTime) -> Self {
        Self::Time(moment)
    }
}

impl<T: Into<Fact>> From<Vec<T>> for Fact {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

/// The question as iamd reads it, or why it cannot be asked.
fn to_request(question: &Question) -> Result<pb::AuthorizeRequest, String> {
    let context = question.context.iter().map(|(key, fact)| {
        let value = to_value(fact).map_err(|error| format!("context `{key}`: {error}"))?;
        Ok((key.clone(), value))
    });
    Ok(pb::AuthorizeRequest {
        principal: question.principal.clone(),
        action: question.action.clone(),
        resource: question.resource.clone(),
        context: context.collect::<Result<_, String>>()?,
        session: question.session.as_ref().map(to_session).transpose()?,
        ..Default::default()
    })
}

fn to_session(session: &Session) -> Result<pb::SessionContext, String> {
    Ok(pb::SessionContext {
        tags: session.tags.clone(),
        source_identity: session.source_identity.clone(),
        issued_at: session.issued_at.map(to_timestamp).transpose()?,
        expires_at: session.expires_at.map(to_timestamp).transpose()?,
        mfa_at: session.mfa_at.map(to_timestamp).transpose()?,
        ..Default::default()
    })
}

fn to_timestamp(moment: SystemTime) -> Result<Timestamp, String> {
    // The epoch is what a clock or a database gives for "no time".
    if moment <= UNIX_EPOCH {
        return Err("a time of the session is zero: leave it `None` if there is none".to_owned());
    }
    Ok(Timestamp::from(moment))
}

fn to_value(fact: &Fact) -> Result<Value, String> {
    let kind = match fact {
        Fact::List(items) => {
            if items.iter().any(|item| matches!(item, Fact::List(_))) {
                return Err("a list in a list".to_owned());
            }
            let values = items.iter().map(to_value).collect::<Result<_, _>>()?;
            Kind::ListValue(ListValue { values })
        }
        Fact::Text(text) => Kind::StringValue(text.clone()),
        Fact::Bool(value) => Kind::BoolValue(*value),
        Fact::Number(number) if number.is_finite() && number.abs() < TOO_LARGE => {
            Kind::NumberValue(*number)
        }
        Fact::Number(number) => {
            return Err(format!(
                "{number} is not a number below 2^53: send it as text"
            ));
        }
        Fact::Time(moment) => Kind::StringValue(Timestamp::from(*moment).to_string()),
    };
    Ok(Value { kind: Some(kind) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Duration = Duration::from_secs(1_772_366_400);

    fn value(fact: impl Into<Fact>) -> Option<Kind> {
        to_value(&fact.into()).ok().and_then(|value| value.kind)
    }

    #[test]
    fn native_values_become_context_values() {
        let text = |text: &str| Kind::StringValue(text.to_owned());
        assert_eq!(value("x"), Some(text("x")));
        assert_eq!(value(true), Some(Kind::BoolValue(true)));
        assert_eq!(value(1.5), Some(Kind::NumberValue(1.5)));
        assert_eq!(value(7), Some(Kind::NumberValue(7.0)));
        assert_eq!(value(UNIX_EPOCH + NOON), Some(text("2026-03-01T12:00:00Z")));
        let items = ["a", "b"].map(|item| Value {
            kind: Some(text(item)),
        });
        let list = Kind::ListValue(ListValue {
            values: items.to_vec(),
        });
        assert_eq!(value(vec!["a", "b"]), Some(list));
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        for fact in [
            Fact::from(f64::NAN),
            Fact::from(f64::INFINITY),
            Fact::from(1_i64 << 53),
            Fact::from(vec![vec!["a"]]),
        ] {
            assert!(to_value(&fact).is_err(), "{fact:?}");
        }
    }

    #[test]
    fn a_time_that_is_none_is_absent() {
        let session = Session {
            mfa_at: Some(UNIX_EPOCH + NOON),
            ..Default::default()
        };
        let message = to_session(&session).expect("a session");
        assert_eq!(message.mfa_at.map(|at| at.seconds), Some(1_772_366_400));
        assert_eq!((message.issued_at, message.expires_at), (None, None));
        let request = to_request(&Question::default()).expect("a request");
        assert_eq!(request.session, None);
    }

    #[test]
    fn a_zero_time_is_refused() {
        let session = Session {
            mfa_at: Some(UNIX_EPOCH),
            ..Default::default()
        };
        assert!(to_session(&session).is_err());
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_denied() {
        // Nothing listens there.
        let client = Client::new("127.0.0.1:1").expect("an address");
        let mut question = Question::default();
        assert!(!client.is_allowed(&question).await);
        question.context.insert("x".to_owned(), f64::NAN.into());
        assert!(!client.is_allowed(&question).await);
        assert!(!client.wait_ready(Duration::from_millis(100)).await);
    }
}
