//! What every protocol asks, and the command line: a question goes in, an outcome comes out.
//!
//! ```text
//! bytes of a protocol ──▶ Question ──▶ Authorizer ──▶ Outcome ──▶ bytes of a protocol
//!                                          │
//!                                          └──▶ Observer
//! ```
//! A protocol fills a [`Question`] from its bytes and turns an [`Outcome`] or a [`Refusal`] into its bytes. It knows
//! nothing of stores, limits, caches and budgets, which are here, once for all protocols. Whoever wants to hear of every
//! decision, such as metrics or a log of decisions, is an [`Observer`].

mod answer;
mod hints;
mod limits;
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

use crate::compile::snapshot::Snapshot;
use crate::config::{Config, Limits};
use crate::engine::decision::Decision;
pub use crate::engine::decision::StatementName;
pub use crate::engine::explain::Redacted;
use crate::engine::explain::{Explanation, explain_within};
use crate::engine::live::{Generation, Live};
pub use crate::engine::question::{GivenPolicy, Overrides, Question, SessionFacts, Value, member};
use crate::engine::request::{Request, RequestError, RequestErrorKind};
use crate::engine::session_policy::SessionPolicies;
pub use crate::engine::work::IsWanted;
use crate::engine::work::Work;
pub use answer::{Answer, in_words};
pub use hints::about_context;
pub use limits::check_n_entries;
pub use refusal::{Refusal, RefusalKind};
pub use simulation::{PairAnswer, Simulated, Simulation};

/// Answers questions by the store that is in force.
pub struct Authorizer {
    live: Arc<Live>,
    limits: Limits,
    session_policies: SessionPolicies,
    /// What explanations do not show.
    redacted: Redacted,
    observers: Vec<Box<dyn Observer>>,
}

/// Hears of every decision that is asked for, and of every question without one. Explanations and simulations grant
/// nothing and are not told.
pub trait Observer: Send + Sync {
    /// Called on the thread that answers, before the answer goes out: it must not wait for anything.
    fn hear(&self, outcome: &Outcome<'_>);
}

/// What became of one question.
pub struct Outcome<'q> {
    /// What was asked.
    pub question: &'q Question<'q>,
    /// By which generation of the store; `None` before the first good load.
    pub generation: Guard<Option<Arc<Generation>>>,
    /// The decision, or why there is none.
    pub answer: Result<Decision, Refusal>,
    /// The clock that it was asked at.
    pub at: Timestamp,
    /// How long it took, from the question to the answer.
    pub took: Duration,
}

/// A decision with all that led to it, in plain data: made here or by a server, it is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The decision.
    pub answer: Answer,
    /// The derivation.
    pub explanation: Explanation,
    /// What in the question looks like a typing error, in words.
    pub hints: Vec<String>,
}

impl Authorizer {
    /// Answers by whatever `live` has in force, as `config` says.
    pub fn new(live: Arc<Live>, config: &Config) -> Self {
        let hidden = config.redact_keys.iter().map(String::as_str);
        Self {
            live,
            limits: config.limits,
            session_policies: SessionPolicies::remembering(config.session_policy_cache_bytes),
            redacted: Redacted::new(hidden),
            observers: Vec::new(),
        }
    }

    /// Answers by `snapshot` alone, within the default limits, hides nothing and remembers nothing.
    pub fn of(snapshot: Snapshot) -> Self {
        let live = Live::default();
        live.publish(snapshot);
        Self {
            live: Arc::new(live),
            limits: Limits::DEFAULT,
            session_policies: SessionPolicies::forgetting(),
            redacted: Redacted::default(),
            observers: Vec::new(),
        }
    }

    /// The same, with explanations that do not show what `redacted` hides.
    pub fn redacting(self, redacted: Redacted) -> Self {
        Self { redacted, ..self }
    }

    /// The same, with one more that hears of every decision.
    pub fn observed_by(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// The limits that questions are held to.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Decides one question by one generation of the store. A fault fails this question alone.
    pub fn authorize<'q>(&self, question: &'q Question<'q>, at: Timestamp) -> Outcome<'q> {
        let began = Instant::now();
        let generation = self.live.load();
        let answer = match generation.as_deref() {
            None => Err(Refusal::not_ready()),
            Some(generation) => guarded(|| {
                limits::check(question, &self.limits)?;
                let request = Request::parse_with(question, at, &self.session_policies)?;
                generation.authorize(&request)
            }),
        };
        let outcome = Outcome {
            question,
            generation,
            answer,
            at,
            took: began.elapsed(),
        };
        for observer in &self.observers {
            observer.hear(&outcome);
        }
        outcome
    }

    /// Decides one question and says why, as long as `is_wanted`.
    pub fn explain(
        &self,
        question: &Question<'_>,
        at: Timestamp,
        is_wanted: &IsWanted,
    ) -> Result<Explained, Refusal> {
        let generation = self.live.load_full().ok_or_else(Refusal::not_ready)?;
        let snapshot = &generation.snapshot;
        guarded(|| {
            limits::check(question, &self.limits)?;
            let request = Request::parse_for_people(question, at)?;
            let work = Work::for_people(Arc::clone(is_wanted));
            // As people typed it: what is evaluated is lower-cased.
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

    /// Simulates, as long as `is_wanted`.
    pub fn simulate(
        &self,
        simulation: &Simulation<'_>,
        now: Timestamp,
        is_wanted: &IsWanted,
    ) -> Result<Simulated, Refusal> {
        let generation = self.live.load_full().ok_or_else(Refusal::not_ready)?;
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
}

impl Outcome<'_> {
    /// The revision of the store that decided; empty before the first good load.
    pub fn revision(&self) -> &str {
        let generation = self.generation.as_deref();
        generation.map_or("", |generation| generation.snapshot.revision.as_str())
    }

    /// The answer as people and JSON read it.
    pub fn to_answer(&self) -> Result<Answer, Refusal> {
        let decision = self.answer.as_ref().map_err(Clone::clone)?;
        Ok(Answer::of(decision, self.revision(), self.question))
    }

    /// What in the question looks like a typing error, in words; nothing where it has no answer.
    pub fn hints(&self) -> Vec<String> {
        match (self.generation.as_deref(), &self.answer) {
            (Some(generation), Ok(decision)) => {
                hints::hints(self.question, &generation.snapshot, decision.reason())
            }
            _ => Vec::new(),
        }
    }
}

/// What `decide` makes of a question. A panic is a fault of iamd and fails this question alone; the panic hook has logged
/// it.
fn guarded<A>(decide: impl FnOnce() -> Result<A, RequestError>) -> Result<A, Refusal> {
    // Nothing that a panic could leave half changed is used afterwards.
    match catch_unwind(AssertUnwindSafe(decide)) {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            if matches!(
                error.kind,
                RequestErrorKind::TooMuchWork | RequestErrorKind::Lost
            ) {
                tracing::error!(%error, "a question was given up");
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
