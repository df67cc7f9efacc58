//! The layer between the engine and the protocols. A question goes in, and an outcome comes out.
//!
//! ```text
//! bytes of a protocol ──▶ Question ──▶ Authorizer ──▶ Outcome ──▶ bytes of a protocol
//!                                          │
//!                                          └──▶ Observer
//! ```
//! A protocol (gRPC, or the command line) fills a [`Question`] from its bytes and turns an [`Outcome`] or a [`Refusal`]
//! into its bytes. Stores, limits, caches and budgets are handled here, once for all protocols. A component that needs
//! to see every decision, such as metrics, is an [`Observer`]. The decision log is a [`Recorder`], because it names its
//! record to the protocol and may refuse the answer.

mod answer;
mod hints;
mod limits;
mod listing;
mod recorder;
mod refusal;
mod simulation;
#[cfg(test)]
mod tests;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::Guard;
use jiff::Timestamp;

pub use crate::analysis::context_keys::ContextKeyUse;
pub use crate::analysis::permission::{Permission, PermissionCondition};
use crate::compile::snapshot::Snapshot;
use crate::config::{Config, Limits};
use crate::engine::decision::Decision;
pub use crate::engine::decision::StatementName;
pub use crate::engine::error::member;
use crate::engine::error::{RequestError, RequestErrorKind};
pub use crate::engine::explain::Redacted;
use crate::engine::explain::{Explanation, explain_within};
pub use crate::engine::live::Generation;
use crate::engine::live::Live;
pub use crate::engine::question::{GivenPolicy, Overrides, Question, SessionFacts, Value};
use crate::engine::request::Request;
use crate::engine::session_policy::SessionPolicies;
pub use crate::engine::work::IsWanted;
use crate::engine::work::Work;
pub use answer::{Answer, in_words};
pub use hints::about_context;
pub use limits::check_n_entries;
use listing::Lister;
pub use listing::{Access, Listed, Paging};
pub use recorder::{Asker, CallerFacts, Recorder};
pub use refusal::{Refusal, RefusalKind};
pub use simulation::{PairAnswer, Simulated, Simulation};

/// Answers questions from the store that is in force.
pub struct Authorizer {
    live: Arc<Live>,
    limits: Limits,
    session_policies: SessionPolicies,
    /// The context keys whose values explanations hide.
    redacted: Redacted,
    observers: Vec<Box<dyn Observer>>,
    recorder: Option<Arc<dyn Recorder>>,
}

/// An observer sees every decision and every refused question. It does not see explanations and simulations, because
/// they grant nothing.
pub trait Observer: Send + Sync {
    /// Receives one outcome. It runs on the answering thread, before the answer is sent, so it must not block.
    fn hear(&self, outcome: &Outcome<'_>);
}

/// The result of one question.
pub struct Outcome<'q> {
    /// The question.
    pub question: &'q Question<'q>,
    /// The generation of the store that decided; `None` before the first good load.
    pub generation: Guard<Option<Arc<Generation>>>,
    /// The decision, or the reason why there is none.
    pub answer: Result<Decision, Refusal>,
    /// The time at which the question was asked.
    pub at: Timestamp,
    /// The time from the question to the answer.
    pub took: Duration,
    /// Whether the decision cache had the decision.
    pub is_cached: bool,
}

/// A decision with all that led to it, in plain data: made here or by a server, it is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The decision.
    pub answer: Answer,
    /// The derivation.
    pub explanation: Explanation,
    /// Hints about typing errors in the question, in words.
    pub hints: Vec<String>,
}

impl Authorizer {
    /// Makes an authorizer that answers from the store in force in `live`, with the settings of `config`.
    pub fn new(live: Arc<Live>, config: &Config) -> Self {
        let hidden = config.redact_keys.iter().map(String::as_str);
        Self {
            live,
            limits: config.limits,
            session_policies: SessionPolicies::remembering(config.session_policy_cache_bytes),
            redacted: Redacted::new(hidden),
            observers: Vec::new(),
            recorder: None,
        }
    }

    /// Makes an authorizer that answers from `snapshot` alone, with the default limits. It redacts nothing and does not
    /// remember session policies.
    pub fn of(snapshot: Snapshot) -> Self {
        let live = Live::default();
        live.publish(snapshot);
        Self {
            live: Arc::new(live),
            limits: Limits::DEFAULT,
            session_policies: SessionPolicies::forgetting(),
            redacted: Redacted::default(),
            observers: Vec::new(),
            recorder: None,
        }
    }

    /// Makes explanations hide the values of the keys in `redacted`.
    pub fn redacting(self, redacted: Redacted) -> Self {
        Self { redacted, ..self }
    }

    /// Removes the limits of questions. It is for questions that a server with limits of its own has answered before.
    pub fn without_limits(self) -> Self {
        const NONE: usize = usize::MAX;
        let limits = Limits {
            max_question_bytes: NONE,
            max_context_entries: NONE,
            max_list_values: NONE,
            max_string_bytes: NONE,
        };
        Self { limits, ..self }
    }

    /// Adds an observer.
    pub fn observed_by(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Has every decision that a protocol asks for recorded.
    pub fn recorded_by(mut self, recorder: Arc<dyn Recorder>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Returns whether decisions are recorded.
    pub fn is_recorded(&self) -> bool {
        self.recorder.is_some()
    }

    /// Records an outcome for `asker`, and returns the id of its record; empty if there is none. A refusal means that the
    /// answer must not leave. A protocol calls this right before it sends the answer.
    pub fn record(&self, outcome: &Outcome<'_>, asker: &Asker<'_>) -> Result<String, Refusal> {
        match &self.recorder {
            Some(recorder) => recorder.record(outcome, asker),
            None => Ok(String::new()),
        }
    }

    /// Returns the limits of questions.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Decides one question by the generation of the store that is in force. A panic fails only this question.
    pub fn authorize<'q>(&self, question: &'q Question<'q>, at: Timestamp) -> Outcome<'q> {
        let began = Instant::now();
        self.decide(question, self.live.load(), at, began)
    }

    /// Returns the generation that is in force, to decide several questions by it.
    pub fn in_force(&self) -> Result<Arc<Generation>, Refusal> {
        self.live.load_full().ok_or_else(Refusal::not_ready)
    }

    /// Returns a hint about a principal that the store in force does not know.
    pub fn hint_about_principal(&self, principal: &str) -> Option<String> {
        let generation = self.in_force().ok()?;
        hints::unknown_principal(principal, &generation.snapshot)
    }

    /// Decides one question as [`authorize`](Self::authorize) does, but by `generation`. Questions that are decided by
    /// the same generation see the same revision of the store, whatever is loaded meanwhile.
    pub fn authorize_by<'q>(
        &self,
        generation: &Arc<Generation>,
        question: &'q Question<'q>,
        at: Timestamp,
    ) -> Outcome<'q> {
        let began = Instant::now();
        let generation = Guard::from_inner(Some(Arc::clone(generation)));
        self.decide(question, generation, at, began)
    }

    fn decide<'q>(
        &self,
        question: &'q Question<'q>,
        generation: Guard<Option<Arc<Generation>>>,
        at: Timestamp,
        began: Instant,
    ) -> Outcome<'q> {
        let mut is_cached = false;
        let answer = match generation.as_deref() {
            None => Err(Refusal::not_ready()),
            Some(generation) => guarded(|| {
                limits::check(question, &self.limits)?;
                let request = Request::parse_with(question, at, &self.session_policies)?;
                generation.authorize_noting(&request, &mut is_cached)
            }),
        };
        let outcome = Outcome {
            question,
            generation,
            answer,
            at,
            took: began.elapsed(),
            is_cached,
        };
        for observer in &self.observers {
            observer.hear(&outcome);
        }
        outcome
    }

    /// Decides one question and gives the derivation. It stops early once `is_wanted` returns false.
    pub fn explain(
        &self,
        question: &Question<'_>,
        at: Timestamp,
        is_wanted: &IsWanted,
    ) -> Result<Explained, Refusal> {
        let generation = self.in_force()?;
        let snapshot = &generation.snapshot;
        guarded(|| {
            limits::check(question, &self.limits)?;
            let request = Request::parse_interactive(question, at)?;
            let work = Work::interactive(Arc::clone(is_wanted));
            // The explanation shows the action as it was typed; the request has it in lower case.
            let action = question.action;
            let (decision, explanation) =
                explain_within(snapshot, &request, action, &self.redacted, &work)?;
            Ok(Explained {
                answer: Answer::of(&decision, snapshot.revision.as_str(), question),
                explanation,
                hints: hints::hints(question, snapshot, decision.reason()),
            })
        })
    }

    /// Decides every action on every resource of a simulation. It stops early once `is_wanted` returns false.
    pub fn simulate(
        &self,
        simulation: &Simulation<'_>,
        now: Timestamp,
        is_wanted: &IsWanted,
    ) -> Result<Simulated, Refusal> {
        let generation = self.in_force()?;
        guarded(|| {
            simulation::simulate(
                &generation.snapshot,
                &self.limits,
                simulation,
                now,
                is_wanted,
            )
        })
    }

    /// Lists what the principal of `question` may do, given its context and its session. Its action and its resource are
    /// patterns that narrow the list, or empty. It stops early once `is_wanted` returns false.
    pub fn list_permissions(
        &self,
        question: &Question<'_>,
        paging: Paging<'_>,
        at: Timestamp,
        is_wanted: &IsWanted,
    ) -> Result<Listed<Permission>, Refusal> {
        self.list(question, at, is_wanted, |lister| {
            lister.permissions(question, paging)
        })
    }

    /// Lists the users and roles that may do the action of `question` on its resource, given its context. Its principal and
    /// its session are not read. It stops early once `is_wanted` returns false.
    pub fn list_principals(
        &self,
        question: &Question<'_>,
        paging: Paging<'_>,
        at: Timestamp,
        is_wanted: &IsWanted,
    ) -> Result<Listed<Access>, Refusal> {
        self.list(question, at, is_wanted, |lister| {
            lister.principals(question, paging)
        })
    }

    /// Lists the context keys that policies can read in questions of the principal of `question`. An empty action or
    /// resource stands for all. It stops early once `is_wanted` returns false.
    pub fn list_context_keys(
        &self,
        question: &Question<'_>,
        at: Timestamp,
        is_wanted: &IsWanted,
    ) -> Result<Listed<ContextKeyUse>, Refusal> {
        self.list(question, at, is_wanted, |lister| {
            lister.context_keys(question)
        })
    }

    fn list<T>(
        &self,
        question: &Question<'_>,
        at: Timestamp,
        is_wanted: &IsWanted,
        list: impl FnOnce(&Lister<'_>) -> Result<Listed<T>, RequestError>,
    ) -> Result<Listed<T>, Refusal> {
        let generation = self.live.load_full().ok_or_else(Refusal::not_ready)?;
        guarded(|| {
            limits::check(question, &self.limits)?;
            list(&Lister {
                snapshot: &generation.snapshot,
                redacted: &self.redacted,
                at,
                is_wanted,
            })
        })
    }
}

impl Outcome<'_> {
    /// Returns the revision of the store that decided; empty before the first good load.
    pub fn revision(&self) -> &str {
        let generation = self.generation.as_deref();
        generation.map_or("", |generation| generation.snapshot.revision.as_str())
    }

    /// Returns the answer in plain data.
    pub fn to_answer(&self) -> Result<Answer, Refusal> {
        let decision = self.answer.as_ref().map_err(Clone::clone)?;
        Ok(Answer::of(decision, self.revision(), self.question))
    }

    /// Returns hints about typing errors in the question, in words; none if the question has no answer.
    pub fn hints(&self) -> Vec<String> {
        match (self.generation.as_deref(), &self.answer) {
            (Some(generation), Ok(decision)) => {
                hints::hints(self.question, &generation.snapshot, decision.reason())
            }
            _ => Vec::new(),
        }
    }
}

/// Calls `decide`. A panic is a fault of iamd. It fails only this question, and the panic hook has already logged it.
fn guarded<A>(decide: impl FnOnce() -> Result<A, RequestError>) -> Result<A, Refusal> {
    // No value that a panic could leave half changed is used after it.
    match catch_unwind(AssertUnwindSafe(decide)) {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            if matches!(
                error.kind,
                RequestErrorKind::TooMuchWork | RequestErrorKind::Lost
            ) {
                tracing::error!(id = "question-given-up", %error, "a question was given up");
            }
            Err(error.into())
        }
        Err(_) => Err(Refusal::internal()),
    }
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Authorizer");
        debug.field("limits", &self.limits).finish_non_exhaustive()
    }
}
