//! Why a decision came out as it did: section 7 of the semantics.
//!
//! The evaluation is the one of `authorize`, with a `Recorder` that listens; it notes, and decides nothing.
//! What it notes is plain data, so that an [`Explanation`] outlives its snapshot and a client can have one from a server.
//! Values that are to be hidden are hidden here and nowhere else (S-11).

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

/// Decides `request` as `authorize` does (S-1), and says why.
pub fn explain(
    snapshot: &Snapshot,
    request: &Request,
    redacted: &Redacted,
) -> Result<(Decision, Explanation), RequestError> {
    let action = request.action.as_str();
    explain_within(snapshot, request, action, redacted, &Work::ample())
}

/// The same with what is left of `work`; the action is shown as it was asked for.
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
    /// Lower-cased; one that ends in `*` hides all keys that begin so.
    keys: Vec<String>,
}

/// Stands for a value that is not shown.
pub const REDACTED: &str = "(redacted)";

impl Redacted {
    /// Hides the values of `keys`, compared ignoring case; `aws:RequestTag/*` hides a whole family.
    pub fn new<'k>(keys: impl IntoIterator<Item = &'k str>) -> Self {
        Self {
            keys: keys.into_iter().map(str::to_ascii_lowercase).collect(),
        }
    }

    /// Whether the values of `key` are hidden.
    pub fn hides(&self, key: &ContextKey) -> bool {
        self.keys
            .iter()
            .any(|hidden| match hidden.strip_suffix('*') {
                Some(family) => key.folded().starts_with(family),
                None => key.folded() == hidden,
            })
    }
}

/// All that led to a decision, in plain data: nothing of the store is held by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The clock that the decision was made by.
    pub at: Timestamp,
    /// The principal's account, if it has one that the store knows.
    pub principal_account: Option<String>,
    /// Whose the resource is, if somebody knows (E-6).
    pub resource_account: Option<String>,
    /// One result per policy type, in the order of E-28; none where no policy was evaluated (E-3, E-5).
    pub per_type: Vec<TypeResult>,
    /// Both sides, if they are two accounts (S-6).
    pub cross_account: Option<CrossAccount>,
    /// The types that stop what would be granted without them (S-9).
    pub blocked_by: Vec<PolicyType>,
    /// Keys that statements within reach asked for and the request lacks: sorted, lower-cased (S-7).
    pub missing_context: Vec<String>,
    /// Keys that are there and do not say it clearly, sorted (C-9).
    pub indeterminate: Vec<(String, Cause)>,
    /// What would have to change for an allow, in words; empty for an allow.
    pub to_allow: Vec<String>,
    /// Every statement that was considered, in the order of evaluation; as many as there is room for.
    pub statements: Vec<StatementResult>,
    /// How many more were considered.
    pub n_left_out: u32,
}

/// How many statements are named in one list.
pub const MAX_NAMED: usize = 1_000;

impl Explanation {
    /// The statements that decided: all Denies that apply, or all Allows that granted; none for an implicit deny (S-3).
    /// The first [`MAX_NAMED`] of them.
    pub fn deciding(&self) -> impl Iterator<Item = &StatementResult> {
        let all = self.statements.iter();
        all.filter(|statement| statement.is_deciding)
            .take(MAX_NAMED)
    }

    /// The others that apply. Of an implicit deny these are the Allows that were not enough (S-3). The first
    /// [`MAX_NAMED`] of them.
    pub fn also_applying(&self) -> impl Iterator<Item = &StatementResult> {
        let all = self.statements.iter();
        all.filter(|statement| statement.applies() && !statement.is_deciding)
            .take(MAX_NAMED)
    }

    /// What one policy type said.
    pub fn of_type(&self, policy_type: PolicyType) -> Option<&TypeResult> {
        self.per_type
            .iter()
            .find(|result| result.policy_type == policy_type)
    }
}

/// What one policy type said (S-5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeResult {
    /// The type; a trust policy is the resource policy of its role.
    pub policy_type: PolicyType,
    /// What its statements say together.
    pub verdict: Verdict,
    /// Control policies: level by level, from the root of the organization down.
    pub levels: Vec<LevelResult>,
}

impl TypeResult {
    /// How strongly it speaks of the principal: only resource policies that allow say so (S-5).
    pub fn strength(&self) -> Option<Strength> {
        match (self.policy_type, self.verdict) {
            (PolicyType::Resource, Verdict::Allow(strength)) => Some(strength),
            _ => None,
        }
    }
}

/// What the control policies of one node said (E-21).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelResult {
    /// The id of the root, the unit or the account.
    pub node: String,
    /// What its statements say together.
    pub verdict: Verdict,
}

/// The sides of a question across accounts (S-6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrossAccount {
    /// Identity policies, boundary, session policies and SCPs.
    pub principal_side: Verdict,
    /// The resource policy and RCPs.
    pub resource_side: Verdict,
}

/// Where a statement stands, and what it is attached to (S-4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Which statement of which policy.
    pub statement: StatementName,
    /// By which way its policy counts.
    pub source_type: SourceType,
    /// The ARN of a user, role or session, a group's name, a resource, or the id of a node of the organization.
    pub attached_to: String,
    /// The version in force, of a managed policy; else empty.
    pub version: String,
    /// The document's `Id`; empty if it has none.
    pub document_id: String,
    /// The RFC 6901 pointer to the statement in its file.
    pub pointer: String,
    /// The lines and columns that it takes there.
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

    /// The policy's friendly name: without account, path or folder.
    pub fn policy_name(&self) -> &str {
        let name = &*self.statement.policy;
        match name.split_once("/inline/") {
            Some((_, inline)) => inline,
            None if name.starts_with("session/") => name,
            None => name.rsplit('/').next().unwrap_or(name),
        }
    }

    /// The type of the layer that it counts in: a trust policy is the resource policy of its role.
    pub fn layer(&self) -> Option<PolicyType> {
        match self.statement.policy_type {
            Some(PolicyType::Trust) => Some(PolicyType::Resource),
            other => other,
        }
    }
}

/// What became of one statement, and why (S-8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementResult {
    /// Where it stands.
    pub source: Source,
    /// Allow or Deny.
    pub effect: Effect,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether it is one of those that decided.
    pub is_deciding: bool,
    /// Whether it could grant at all: an Allow of a resource policy counts for nothing where the trust policy or the
    /// identity side alone may grant (T-1, T-50).
    pub counts: bool,
    /// `Principal` or `NotPrincipal`, where the policy type has it.
    pub principal: Option<ElementResult>,
    /// How strongly it speaks of the principal (P-1).
    pub strength: Option<Strength>,
    /// `Action` or `NotAction`.
    pub action: ElementResult,
    /// `Resource` or `NotResource`, if there is one (E-12).
    pub resource: Option<ElementResult>,
    /// Each condition.
    pub conditions: Vec<ConditionResult>,
}

impl StatementResult {
    /// Whether it applies.
    pub fn applies(&self) -> bool {
        matches!(self.outcome, Outcome::Applies(_))
    }
}

/// One element of a statement beside the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementResult {
    /// Which one.
    pub element: Element,
    /// Whether the statement speaks of what the question is about.
    pub matches: bool,
    /// What the policy lists.
    pub policy_values: Vec<PolicyValue>,
    /// What the question says.
    pub request_value: String,
    /// It matches only because a variable has no value (V-9).
    pub matched_because_missing: bool,
    /// It does not match, and a variable has no value (V-9).
    pub failed_because_missing: bool,
}

/// A value that stands in a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyValue {
    /// As written; numbers, dates and addresses in one canonical form.
    pub written: String,
    /// With its variables put in, if it has any and all have a value.
    pub resolved: Option<String>,
    /// The keys of its variables that have no value.
    pub missing: Vec<String>,
}

/// One condition beside the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionResult {
    /// The operator, in its canonical spelling.
    pub operator: String,
    /// The key, as the policy spells it.
    pub key: String,
    /// What the policy compares with.
    pub policy_values: Vec<PolicyValue>,
    /// The values in the request; none if the key is absent. Of many the first, and in words how many more there are.
    pub request_values: Vec<String>,
    /// How many values the request has; of what a server has explained, how many texts it shows.
    pub n_request_values: usize,
    /// Whether it holds.
    pub holds: Truth,
    /// It holds because the key, or a variable it is compared with, has no value.
    pub matched_because_missing: bool,
    /// It does not hold, and the key, or a variable it is compared with, has no value.
    pub failed_because_missing: bool,
    /// Why it neither holds nor does not.
    pub indeterminate: Option<Cause>,
}

#[cfg(test)]
mod tests;
