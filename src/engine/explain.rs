//! Explains why a decision is what it is: section 7 of the semantics.
//!
//! An explanation runs the same evaluation as `authorize`, with a `Recorder` as the listener. The recorder takes notes
//! and decides nothing. Its notes are plain data, so an [`Explanation`] outlives its snapshot and a client can receive
//! one from a server. Hidden values are replaced here and nowhere else (S-11).

mod advice;
mod element;
mod recorder;
mod words;

use jiff::Timestamp;

use super::authorize::authorize_within;
use super::decision::{Decision, StatementName, StatementRef};
use super::error::RequestError;
use super::layer::Verdict;
use super::principal::Strength;
use super::request::Request;
use super::trace::Outcome;
use super::work::Work;
use crate::compile::snapshot::Snapshot;
use crate::context::ContextKey;
use crate::language::condition::operator::Truth;
use crate::language::document::{Effect, Extent, PolicyType};
use recorder::Recorder;
pub use words::{Cause, Element, SourceType};

/// Decides `request` as `authorize` does (S-1) and explains the decision.
pub fn explain(
    snapshot: &Snapshot,
    request: &Request,
    redacted: &Redacted,
) -> Result<(Decision, Explanation), RequestError> {
    let action = request.action.as_str();
    explain_within(snapshot, request, action, redacted, &Work::ample())
}

/// Explains as [`explain`] does, within what is left of `work`. The explanation shows the action as `action` spells it.
pub fn explain_within(
    snapshot: &Snapshot,
    request: &Request,
    action: &str,
    redacted: &Redacted,
    work: &Work,
) -> Result<(Decision, Explanation), RequestError> {
    let mut recorder = Recorder::new(redacted, action);
    let decision = authorize_within(snapshot, request, &mut recorder, work)?;
    let explanation = recorder.finish(request, decision.reason());
    Ok((decision, explanation))
}

/// The context keys whose values are not shown (S-11).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redacted {
    /// The keys in lower case. A key that ends in `*` hides all keys with that prefix.
    keys: Vec<String>,
}

/// The text in place of a hidden value.
pub const REDACTED: &str = "(redacted)";

impl Redacted {
    /// Hides the values of `keys`, ignoring case. `aws:RequestTag/*` hides a whole family.
    pub fn new<'k>(keys: impl IntoIterator<Item = &'k str>) -> Self {
        Self {
            keys: keys.into_iter().map(str::to_ascii_lowercase).collect(),
        }
    }

    /// Returns whether the values of `key` are hidden.
    pub fn hides(&self, key: &ContextKey) -> bool {
        self.keys
            .iter()
            .any(|hidden| match hidden.strip_suffix('*') {
                Some(family) => key.folded().starts_with(family),
                None => key.folded() == hidden,
            })
    }
}

/// Everything that led to a decision, in plain data that holds nothing of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The time of the decision.
    pub at: Timestamp,
    /// The principal's account, if it has one that the store knows.
    pub principal_account: Option<String>,
    /// The account that owns the resource, if it is known (E-6).
    pub resource_account: Option<String>,
    /// One result per policy type, in the order of E-28. Empty if no policy was evaluated (E-3, E-5).
    pub per_type: Vec<TypeResult>,
    /// The verdicts of both sides, if the principal and the resource are in different accounts (S-6).
    pub cross_account: Option<CrossAccount>,
    /// The policy types that block an access that would be granted without them (S-9).
    pub blocked_by: Vec<PolicyType>,
    /// The keys that reachable statements ask for and that the request lacks, sorted and in lower case (S-7).
    pub missing_context: Vec<String>,
    /// The keys that are present but make a condition indeterminate, sorted (C-9).
    pub indeterminate: Vec<(String, Cause)>,
    /// The changes that would make the decision an allow, in words. Empty for an allow.
    pub to_allow: Vec<String>,
    /// The statements that were considered, in the order of evaluation, up to the limits of an explanation.
    pub statements: Vec<StatementResult>,
    /// How many statements were considered but are not in `statements`.
    pub n_left_out: u32,
}

/// The most statements that one list names.
pub const MAX_NAMED: usize = 1_000;

impl Explanation {
    /// Returns the statements that determined the decision: all Denies that apply, or all Allows that granted. An
    /// implicit deny has none (S-3). Returns the first [`MAX_NAMED`] of them.
    pub fn deciding(&self) -> impl Iterator<Item = &StatementResult> {
        let all = self.statements.iter();
        all.filter(|statement| statement.is_deciding)
            .take(MAX_NAMED)
    }

    /// Returns the other statements that apply. For an implicit deny these are the Allows that were not enough (S-3).
    /// Returns the first [`MAX_NAMED`] of them.
    pub fn also_applying(&self) -> impl Iterator<Item = &StatementResult> {
        let all = self.statements.iter();
        all.filter(|statement| statement.applies() && !statement.is_deciding)
            .take(MAX_NAMED)
    }

    /// Returns the result of one policy type.
    pub fn of_type(&self, policy_type: PolicyType) -> Option<&TypeResult> {
        self.per_type
            .iter()
            .find(|result| result.policy_type == policy_type)
    }
}

/// The result of one policy type (S-5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeResult {
    /// The type. A trust policy counts as the resource policy of its role.
    pub policy_type: PolicyType,
    /// The combined verdict of its statements.
    pub verdict: Verdict,
    /// The results of control policies level by level, from the root of the organization down.
    pub levels: Vec<LevelResult>,
}

impl TypeResult {
    /// Returns how strongly the type names the principal. Only resource policies that allow have a strength (S-5).
    pub fn strength(&self) -> Option<Strength> {
        match (self.policy_type, self.verdict) {
            (PolicyType::Resource, Verdict::Allow(strength)) => Some(strength),
            _ => None,
        }
    }
}

/// The result of the control policies of one node (E-21).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelResult {
    /// The id of the root, the organizational unit or the account.
    pub node: String,
    /// The combined verdict of its statements.
    pub verdict: Verdict,
}

/// The two sides of a cross-account question (S-6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrossAccount {
    /// The verdict of identity policies, boundary, session policies and SCPs.
    pub principal_side: Verdict,
    /// The verdict of the resource policy and the RCPs.
    pub resource_side: Verdict,
}

/// The place of a statement, and the entity that its policy is attached to (S-4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The statement and its policy.
    pub statement: StatementName,
    /// How its policy came to apply.
    pub source_type: SourceType,
    /// The ARN of a user, role, session or resource, a group's name, or the id of a node of the organization.
    pub attached_to: String,
    /// The version in force of a managed policy. Empty for other policies.
    pub version: String,
    /// The document's `Id`. Empty if it has none.
    pub document_id: String,
    /// The RFC 6901 pointer to the statement in its file.
    pub pointer: String,
    /// The lines and columns of the statement in its file.
    pub extent: Extent,
}

impl Source {
    fn of(statement: &StatementRef, source_type: SourceType, attached_to: String) -> Self {
        let policy = &statement.policy;
        let origin = &policy.origin;
        let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or_default().to_owned();
        let written = policy.statements.get(statement.index);
        Self {
            statement: StatementName::from(statement),
            source_type,
            attached_to,
            version: text(&origin.version),
            document_id: text(&origin.document_id),
            pointer: if origin.is_list {
                format!("{}/{}", origin.pointer, statement.index)
            } else {
                origin.pointer.to_string()
            },
            extent: written.map_or_else(Extent::default, |statement| statement.extent),
        }
    }

    /// Returns the policy's friendly name, without account, path or folder.
    pub fn policy_name(&self) -> &str {
        let name = &*self.statement.policy;
        match name.split_once("/inline/") {
            Some((_, inline)) => inline,
            None if name.starts_with("session/") => name,
            None => name.rsplit('/').next().unwrap_or(name),
        }
    }

    /// Returns the policy type of the layer that evaluates the policy. A trust policy counts as the resource policy of
    /// its role.
    pub fn layer(&self) -> Option<PolicyType> {
        match self.statement.policy_type {
            Some(PolicyType::Trust) => Some(PolicyType::Resource),
            other => other,
        }
    }
}

/// The outcome of one statement, and why (S-8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementResult {
    /// The place of the statement.
    pub source: Source,
    /// Whether the statement is an Allow or a Deny.
    pub effect: Effect,
    /// The outcome of the statement.
    pub outcome: Outcome,
    /// Whether the statement is one of those that determined the decision.
    pub is_deciding: bool,
    /// Whether the statement can grant at all. An Allow of a resource policy counts for nothing where only the trust
    /// policy or only the identity side may grant (T-1, T-50).
    pub counts: bool,
    /// `Principal` or `NotPrincipal`. `None` for policy types that do not have it.
    pub principal: Option<ElementResult>,
    /// How strongly the statement names the principal (P-1).
    pub strength: Option<Strength>,
    /// `Action` or `NotAction`.
    pub action: ElementResult,
    /// `Resource` or `NotResource`. `None` if the statement has neither (E-12).
    pub resource: Option<ElementResult>,
    /// The conditions.
    pub conditions: Vec<ConditionResult>,
}

impl StatementResult {
    /// Returns whether the statement applies.
    pub fn applies(&self) -> bool {
        matches!(self.outcome, Outcome::Applies(_))
    }
}

/// One element of a statement next to the value in the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementResult {
    /// The element.
    pub element: Element,
    /// Whether the element matches the question.
    pub matches: bool,
    /// The values in the policy.
    pub policy_values: Vec<PolicyValue>,
    /// The value in the question.
    pub request_value: String,
    /// Whether the element matches only because a variable has no value (V-9).
    pub matched_because_missing: bool,
    /// Whether the element does not match and a variable has no value (V-9).
    pub failed_because_missing: bool,
}

/// A value in a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyValue {
    /// The value as written. Numbers, dates and addresses are in one canonical form.
    pub written: String,
    /// The value with its variables filled in. `None` if it has no variables or one of them has no value.
    pub resolved: Option<String>,
    /// The keys of its variables that have no value.
    pub missing: Vec<String>,
}

/// One condition next to the values in the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionResult {
    /// The operator in its canonical spelling.
    pub operator: String,
    /// The key as the policy spells it.
    pub key: String,
    /// The values that the policy compares with.
    pub policy_values: Vec<PolicyValue>,
    /// The values in the request. Empty if the key is absent. A long list is cut and ends with a text that says how
    /// many more there are.
    pub request_values: Vec<String>,
    /// How many values the request has. For an explanation from a server, how many texts it shows.
    pub n_request_values: usize,
    /// Whether the condition holds.
    pub holds: Truth,
    /// Whether the condition holds because the key, or a variable in the policy's value, has no value.
    pub matched_because_missing: bool,
    /// Whether the condition does not hold and the key, or a variable in the policy's value, has no value.
    pub failed_because_missing: bool,
    /// The cause if the condition is indeterminate.
    pub indeterminate: Option<Cause>,
}

#[cfg(test)]
mod tests;
