//! `Status` and `WatchRevision` on the wire: the state of the server becomes a message, and a message what a client
//! reads of it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use jiff::Timestamp;
use prost::Message as _;
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;

use super::health::Readiness;
use super::{convert, pb};
use crate::config::{Config, MAX_STATUS_FINDINGS};
use crate::language::finding::{Escaped, Finding, Severity};
use crate::state::{SharedState, StoreState};

/// What a server tells of itself.
#[derive(Debug)]
pub(super) struct Reporter {
    state: Arc<SharedState>,
    readiness: Arc<Readiness>,
    /// The directory of the store.
    store: String,
    started_at: Timestamp,
}

impl Reporter {
    /// Returns the reporter of a server that starts now with the settings of `config`.
    pub(super) fn new(state: Arc<SharedState>, readiness: Arc<Readiness>, config: &Config) -> Self {
        Self {
            state,
            readiness,
            store: config.store.display().to_string(),
            started_at: Timestamp::now(),
        }
    }

    /// Returns the state of the server.
    pub(super) fn status(&self) -> pb::StatusResponse {
        let state = self.state.now();
        let (findings, n_left_out) = findings(&state);
        let in_force = state.in_force.as_ref();
        let counted = |n: Option<usize>| n.unwrap_or_default() as u64;
        pb::StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: state.revision().to_owned(),
            loaded_at: in_force.map(|in_force| convert::wire_timestamp(in_force.since)),
            stale: state.is_stale,
            findings,
            files: counted(in_force.map(|in_force| in_force.n_files)),
            statements: counted(in_force.map(|in_force| in_force.n_statements)),
            principals: counted(in_force.map(|in_force| in_force.n_principals)),
            started_at: Some(convert::wire_timestamp(self.started_at)),
            store: self.store.clone(),
            findings_left_out: n_left_out as u64,
        }
    }

    /// Returns the revision in force and its changes.
    pub(super) fn watch(&self) -> RevisionWatch {
        RevisionWatch {
            states: WatchStream::new(self.state.watch()),
            drain: Box::pin(self.readiness.drain()),
            has_ended: false,
            told: None,
        }
    }
}

/// A stream of the revision in force: first the current one, then each change, until the server drains.
pub(super) struct RevisionWatch {
    states: WatchStream<StoreState>,
    /// Ends when the server drains. Otherwise every client that watches would hold up the drain.
    drain: Pin<Box<dyn Future<Output = ()> + Send>>,
    has_ended: bool,
    /// What the client was told last. Most changes of the state, such as other findings, are none of the revision.
    told: Option<pb::WatchRevisionResponse>,
}

impl Stream for RevisionWatch {
    type Item = Result<pb::WatchRevisionResponse, tonic::Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        while let Poll::Ready(Some(state)) = Pin::new(&mut self.states).poll_next(cx) {
            let message = revision_message(&state);
            if self.told.as_ref() != Some(&message) {
                self.told = Some(message.clone());
                return Poll::Ready(Some(Ok(message)));
            }
        }
        ready!(self.drain.as_mut().poll(cx));
        self.has_ended = true;
        Poll::Ready(None)
    }
}

fn revision_message(state: &StoreState) -> pb::WatchRevisionResponse {
    let in_force = state.in_force.as_ref();
    pb::WatchRevisionResponse {
        revision: state.revision().to_owned(),
        in_force_since: in_force.map(|in_force| convert::wire_timestamp(in_force.since)),
        stale: state.is_stale,
    }
}

/// Returns the first findings, errors first, and how many others there are.
fn findings(state: &StoreState) -> (Vec<pb::Finding>, usize) {
    let (most, most_bytes) = MAX_STATUS_FINDINGS;
    let of = |is_error: bool| {
        let findings = state.findings.iter();
        findings.filter(move |finding| finding.is_error() == is_error)
    };
    let mut left_bytes = most_bytes;
    let mut listed = Vec::new();
    for finding in of(true).chain(of(false)).take(most) {
        let finding = message(finding);
        let Some(left) = left_bytes.checked_sub(finding.encoded_len()) else {
            break;
        };
        left_bytes = left;
        listed.push(finding);
    }
    let n_left_out = state.findings.len() - listed.len();
    (listed, n_left_out)
}

fn message(finding: &Finding) -> pb::Finding {
    let severity = match finding.severity {
        Severity::Error => pb::Severity::Error,
        Severity::Warning => pb::Severity::Warning,
    };
    let message = match &finding.help {
        Some(help) => format!("{}; {help}", finding.message),
        None => finding.message.to_string(),
    };
    pb::Finding {
        severity: severity.into(),
        code: finding.code.as_str().to_owned(),
        message,
        file: finding.at.file.to_string(),
        position: (finding.at.line > 0).then_some(pb::Position {
            line: finding.at.line,
            column: finding.at.column,
        }),
    }
}

/// The state of a server, as a client reads it.
#[derive(Debug)]
pub struct ServerStatus(pub(super) pb::StatusResponse);

impl ServerStatus {
    /// Returns whether the server answers questions from the store as it is on disk.
    pub fn is_good(&self) -> bool {
        !self.0.revision.is_empty() && !self.0.stale
    }

    /// Returns whether the store on disk does not load, so that an older revision is in force.
    pub fn is_stale(&self) -> bool {
        self.0.stale
    }

    /// Returns the revision in force; empty before the first good load.
    pub fn revision(&self) -> &str {
        &self.0.revision
    }

    /// Returns the time at which that revision came into force.
    pub fn loaded_at(&self) -> Option<Timestamp> {
        time(self.0.loaded_at)
    }

    /// Returns the time at which the server started.
    pub fn started_at(&self) -> Option<Timestamp> {
        time(self.0.started_at)
    }

    /// Returns the server's version.
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// Returns the directory of the store.
    pub fn store(&self) -> &str {
        &self.0.store
    }

    /// Returns how many files, statements and principals the revision in force has.
    pub fn counts(&self) -> [u64; 3] {
        [self.0.files, self.0.statements, self.0.principals]
    }

    /// Returns a line for each finding of the last load.
    pub fn findings(&self) -> impl Iterator<Item = String> {
        self.0.findings.iter().map(line)
    }

    /// Returns how many further findings there are.
    pub fn n_left_out(&self) -> u64 {
        self.0.findings_left_out
    }

    /// Writes it as proto3 JSON, on several lines.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.0).unwrap_or_default()
    }
}

/// The revision that a server enforces, as a client reads it.
#[derive(Clone, Debug)]
pub struct Enforced(pub(super) pb::WatchRevisionResponse);

impl Enforced {
    /// Returns the revision; empty before the first good load.
    pub fn revision(&self) -> &str {
        &self.0.revision
    }

    /// Returns the time at which it came into force.
    pub fn since(&self) -> Option<Timestamp> {
        time(self.0.in_force_since)
    }

    /// Returns whether the store on disk does not load.
    pub fn is_stale(&self) -> bool {
        self.0.stale
    }

    /// Writes it as proto3 JSON, on one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }
}

/// Returns a finding as [`Finding`] shows it.
fn line(finding: &pb::Finding) -> String {
    let severity = match finding.severity() {
        pb::Severity::Error => Severity::Error.to_string(),
        pb::Severity::Warning => Severity::Warning.to_string(),
        pb::Severity::Unspecified => "finding".to_owned(),
    };
    let place = match finding.position {
        Some(at) => format!("{}:{}:{}", finding.file, at.line, at.column),
        None => finding.file.clone(),
    };
    let line = format!("{place}: {severity}[{}]: {}", finding.code, finding.message);
    Escaped(&line).to_string()
}

fn time(time: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.seconds, time.nanos).ok()
}
