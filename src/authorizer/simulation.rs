//! Simulations: questions about many actions and resources, with policies that are not in the store, any context and
//! any time. Their answers grant nothing.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::answer::{label, names};
use super::limits::{self, too_large};
use super::{GivenPolicy, IsWanted, Overrides, Question, StatementName, in_words};
use crate::analysis::simulate::{Evaluation, aggregate, evaluate};
use crate::compile::snapshot::Snapshot;
use crate::config::{
    Limits, MAX_SIMULATED_DOCUMENT_BYTES, MAX_SIMULATED_LEVELS, MAX_SIMULATED_PAIRS,
    MAX_SIMULATION_RESULT_BYTES,
};
use crate::engine::decision::Reason;
use crate::engine::error::RequestError;
use crate::engine::question::LEVELS;
use crate::engine::request::Request;
use crate::engine::work::Work;
use crate::name::{Action, Malformed, Resource};

/// A simulation to run. Its texts are borrowed and not yet checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Simulation<'b> {
    /// The question. Its action and resource come before those in the lists below.
    pub question: Question<'b>,
    /// Further actions.
    pub actions: Vec<&'b str>,
    /// Further resources.
    pub resources: Vec<&'b str>,
    /// The time at which the question is asked; `None` means now.
    pub evaluation_time: Option<Timestamp>,
    /// The policies that are added or replaced.
    pub overrides: Overrides<'b>,
}

/// The results of a simulation, in plain data.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulated {
    /// Whether every pair is allowed.
    pub is_allowed: bool,
    /// The reason of all pairs together (E-54); `None` if a server sent one that this version does not know.
    pub reason: Option<Reason>,
    /// One answer for each pair: for each action, in the order asked, each resource.
    pub pairs: Vec<PairAnswer>,
    /// The revision of the store that was used.
    pub revision: String,
    /// The question's own id.
    pub request_id: String,
}

/// The result for one action on one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct PairAnswer {
    /// The action as it was asked.
    pub action: String,
    /// The resource as it was asked.
    pub resource: String,
    /// Whether it is allowed.
    pub is_allowed: bool,
    /// The reason; `None` if a server sent one that this version does not know.
    pub reason: Option<Reason>,
    /// Every Deny that applies if the result is an explicit deny, else every Allow that applies (S-3).
    pub matched: Vec<StatementName>,
    /// Context keys that statements read and that have no value (S-7).
    pub missing: Vec<String>,
    /// Whether the service and resource control policies allow; `None` if no such policy is in play (S-5).
    pub allowed_by_organizations: Option<bool>,
    /// Whether the permissions boundary allows; `None` if there is none (S-5).
    pub allowed_by_permissions_boundary: Option<bool>,
    /// The statements that settled the decision.
    pub determining: Vec<StatementName>,
}

/// Simulates against one snapshot. It stops early once `is_wanted` returns false.
pub(super) fn simulate(
    snapshot: &Snapshot,
    limits: &Limits,
    simulation: &Simulation<'_>,
    now: Timestamp,
    is_wanted: &IsWanted,
) -> Result<Simulated, RequestError> {
    check(simulation, limits)?;
    let question = &simulation.question;
    let actions = joined(
        "action",
        question.action,
        "actions",
        &simulation.actions,
        Action::parse,
    )?;
    let resources = joined(
        "resource",
        question.resource,
        "resources",
        &simulation.resources,
        Resource::parse,
    )?;
    check_n_pairs(actions.len() * resources.len())?;
    let first = Question {
        action: actions.first().map_or("", |one| one.text),
        resource: resources.first().map_or("", |one| one.text),
        ..question.clone()
    };
    let at = simulation.evaluation_time.unwrap_or(now);
    let mut request = Request::simulate_while(&first, &simulation.overrides, at, is_wanted)?;
    let work = Work::interactive(Arc::clone(is_wanted));
    let (mut pairs, mut reasons, mut n_bytes) = (Vec::new(), Vec::new(), 0);
    for action in &actions {
        request.action = action.value.clone();
        for resource in &resources {
            if !is_wanted() {
                return Err(RequestError::unwanted());
            }
            request.resource = resource.value;
            let evaluation = evaluate(snapshot, &request, limits.max_list_values, &work)
                .map_err(|error| resource.blame(error))?;
            reasons.push(evaluation.decision.reason());
            let pair = PairAnswer::of(action.text, resource.text, evaluation);
            n_bytes += pair.n_bytes();
            if n_bytes > MAX_SIMULATION_RESULT_BYTES {
                let message = format!(
                    "the answer would be longer than {MAX_SIMULATION_RESULT_BYTES} bytes: ask for fewer pairs"
                );
                return Err(too_large("actions", message));
            }
            pairs.push(pair);
        }
    }
    let Some(reason) = aggregate(&reasons) else {
        return Err(RequestError::invalid("action", "there is none"));
    };
    Ok(Simulated {
        is_allowed: reason.is_allow(),
        reason: Some(reason),
        pairs,
        revision: snapshot.revision.as_str().to_owned(),
        request_id: question.request_id.to_owned(),
    })
}

/// Checks how many results the simulation will have.
fn check_n_pairs(n_pairs: usize) -> Result<(), RequestError> {
    if n_pairs > MAX_SIMULATED_PAIRS {
        let message = format!(
            "{n_pairs} pairs of an action and a resource are too many, the limit is {MAX_SIMULATED_PAIRS}"
        );
        return Err(too_large("actions", message));
    }
    Ok(())
}

/// Checks the sizes of all fields.
fn check(simulation: &Simulation<'_>, limits: &Limits) -> Result<(), RequestError> {
    limits::check_strings(&simulation.actions, "actions", limits)?;
    limits::check_strings(&simulation.resources, "resources", limits)?;
    let n_levels = simulation.overrides.n_levels;
    if n_levels > MAX_SIMULATED_LEVELS {
        let message = format!("has {n_levels} levels, the limit is {MAX_SIMULATED_LEVELS}");
        return Err(too_large(LEVELS.to_owned(), message));
    }
    let policies = &simulation.overrides.policies;
    for policy in policies {
        let of_its_type = |other: &&GivenPolicy<'_>| {
            (other.policy_type, other.level) == (policy.policy_type, policy.level)
        };
        let n_policies = policies.iter().filter(of_its_type).count();
        let list = || {
            policy
                .field
                .split('[')
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        limits::check_n_values(n_policies, list, limits)?;
        let n_bytes = policy.text.len();
        if n_bytes > MAX_SIMULATED_DOCUMENT_BYTES {
            let message = format!(
                "the document has {n_bytes} bytes, the limit is {MAX_SIMULATED_DOCUMENT_BYTES}"
            );
            return Err(too_large(policy.field.clone(), message));
        }
    }
    limits::check(&simulation.question, limits)
}

/// An action or a resource that is asked about.
struct Asked<'b, T> {
    /// The text as it was asked.
    text: &'b str,
    value: T,
    /// Its place in the message: `resource`, `resources[3]`.
    field: String,
}

impl<T> Asked<'_, T> {
    /// Names this field in an error about the resource.
    fn blame(&self, error: RequestError) -> RequestError {
        match error.field.as_str() {
            "resource" => RequestError {
                field: self.field.clone(),
                ..error
            },
            _ => error,
        }
    }
}

/// Joins the single value and the list, in this order and without repeats. If both are empty, the error names the
/// single field.
fn joined<'b, T: PartialEq>(
    single_field: &str,
    single: &'b str,
    list_field: &str,
    list: &[&'b str],
    parse: fn(&'b str) -> Result<T, Malformed>,
) -> Result<Vec<Asked<'b, T>>, RequestError> {
    let is_given = !single.is_empty() || list.is_empty();
    let single = is_given.then(|| (single, single_field.to_owned()));
    let list = list.iter().enumerate();
    let list = list.map(|(index, text)| (*text, format!("{list_field}[{index}]")));
    let mut joined: Vec<Asked<'b, T>> = Vec::new();
    for (text, field) in single.into_iter().chain(list) {
        let value =
            parse(text).map_err(|malformed| RequestError::invalid(field.as_str(), malformed.0))?;
        if !joined.iter().any(|other| other.value == value) {
            joined.push(Asked { text, value, field });
        }
    }
    Ok(joined)
}

impl PairAnswer {
    fn of(action: &str, resource: &str, evaluation: Evaluation) -> Self {
        let reason = evaluation.decision.reason();
        Self {
            action: action.to_owned(),
            resource: resource.to_owned(),
            is_allowed: reason.is_allow(),
            reason: Some(reason),
            matched: names(&evaluation.matched),
            determining: names(evaluation.decision.determining()),
            missing: evaluation.missing,
            allowed_by_organizations: evaluation.allowed_by_organizations,
            allowed_by_permissions_boundary: evaluation.allowed_by_permissions_boundary,
        }
    }

    /// Returns about how many bytes it takes in a message of any protocol, at most: its texts, and some bytes around
    /// each.
    fn n_bytes(&self) -> usize {
        const AROUND: usize = 8;
        let name = |name: &StatementName| {
            name.policy.len() + name.sid.len() + name.file.len() + 5 * AROUND
        };
        let names = self.matched.iter().chain(&self.determining).map(name);
        let missing = self.missing.iter().map(|key| key.len() + AROUND);
        self.action.len() + self.resource.len() + 8 * AROUND + names.chain(missing).sum::<usize>()
    }
}

impl fmt::Display for Simulated {
    /// Writes the text output, on several lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |is_allowed| if is_allowed { "allow" } else { "deny" };
        for pair in &self.pairs {
            let (decision, reason) = (word(pair.is_allowed), pair.reason);
            writeln!(f, "{decision}  {} on {}", pair.action, pair.resource)?;
            writeln!(f, "  {} ({})", in_words(reason), label(reason))?;
            for statement in &pair.matched {
                writeln!(f, "  {statement} applies")?;
            }
            if !pair.missing.is_empty() {
                writeln!(f, "  without a value: {}", pair.missing.join(", "))?;
            }
        }
        let n_pairs = self.pairs.len();
        if n_pairs > 1 {
            let n_allowed = self.pairs.iter().filter(|pair| pair.is_allowed).count();
            let decision = word(self.is_allowed);
            writeln!(f, "{decision}: {n_allowed} of {n_pairs} allowed")?;
        }
        write!(f, "  revision {}", self.revision)
    }
}
