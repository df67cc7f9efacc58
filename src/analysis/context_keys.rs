//! Which context keys the policies in play for a principal can read: what its caller has to send.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::area::Open;
use crate::compile::oidc_issuer;
use crate::compile::policy_set::speaks_of;
use crate::compile::snapshot::{Policy, Snapshot};
use crate::context::{ContextKey, KeyKind};
use crate::engine::error::RequestError;
use crate::engine::explain::{REDACTED, Redacted};
use crate::engine::facts::{Early, Facts};
use crate::engine::layer::strength_of;
use crate::engine::plan::Plan;
use crate::engine::question::Question;
use crate::engine::request::Request;
use crate::engine::work::Work;
use crate::language::document::{Listed, PolicyType, Statement};
use crate::language::pattern::relation::can_meet;
use crate::language::pattern::{ResourcePattern, Syntax};
use crate::name::{Action, ActionKind, Principal, Resource};

/// How policies use a context key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContextKeyUse {
    /// The key, lower-cased.
    pub key: String,
    /// Whether iamd or the session has its value, so that it must not be sent in the context.
    pub derived: bool,
    /// The operators that read it, sorted. None if only variables read it.
    pub operators: BTreeSet<String>,
    /// Values with which policies compare it, sorted: the first [`MAX_EXAMPLES`].
    pub example_values: BTreeSet<String>,
}

/// The most example values of a key.
pub const MAX_EXAMPLES: usize = 16;

/// Returns the keys that statements can read in questions of the principal of `question`, sorted. An empty action stands
/// for all actions, and an empty resource for all resources; its context is not read.
pub fn context_keys(
    snapshot: &Snapshot,
    question: &Question<'_>,
    redacted: &Redacted,
    at: Timestamp,
    work: &Work,
) -> Result<Vec<ContextKeyUse>, RequestError> {
    let mut reading = Reading {
        snapshot,
        question,
        redacted,
        at,
        work,
        action: match question.action {
            "" => None,
            text => {
                Some(Action::parse(text).map_err(|bad| RequestError::invalid("action", bad.0))?)
            }
        },
        resource: None,
        keys: BTreeMap::new(),
    };
    match question.resource {
        "" => reading.of_all_resources()?,
        text => {
            let resource = Resource::parse(text);
            resource.map_err(|bad| RequestError::invalid("resource", bad.0))?;
            reading.resource = Some(text);
            reading.of_one_resource(text)?;
        }
    }
    work.conclude()?;
    // These follow from another key, which is the one to send.
    let ends = [KeyKind::CalledViaFirst, KeyKind::CalledViaLast];
    if reading.keys.keys().any(|key| ends.contains(&key.kind())) {
        reading.note(&ContextKey::new("aws:CalledVia"));
    }
    Ok(reading.keys.into_values().collect())
}

struct Reading<'q> {
    snapshot: &'q Snapshot,
    question: &'q Question<'q>,
    redacted: &'q Redacted,
    at: Timestamp,
    work: &'q Work,
    action: Option<Action>,
    resource: Option<&'q str>,
    keys: BTreeMap<ContextKey, ContextKeyUse>,
}

impl<'q> Reading<'q> {
    /// Parses a question of the principal about one resource. Where all actions are meant, one stands for them: whom a
    /// statement names is the same for all actions of a principal (T-20).
    fn request<'r>(&self, resource: &'r str) -> Result<Request<'r>, RequestError>
    where
        'q: 'r,
    {
        let usual = match Principal::parse(self.question.principal) {
            Ok(Principal::Provider(arn)) if arn.resource().starts_with("oidc-provider/") => {
                "sts:AssumeRoleWithWebIdentity"
            }
            Ok(Principal::Provider(_)) => "sts:AssumeRoleWithSAML",
            _ => "any:Any",
        };
        let question = Question {
            action: self.action.as_ref().map_or(usual, |_| self.question.action),
            resource,
            context: Vec::new(),
            resource_account: match self.resource {
                Some(_) => self.question.resource_account,
                None => "",
            },
            ..self.question.clone()
        };
        Request::parse_interactive(&question, self.at)
    }

    fn of_one_resource(&mut self, resource: &str) -> Result<(), RequestError> {
        let request = self.request(resource)?;
        let (snapshot, work) = (self.snapshot, self.work);
        let facts = match Facts::find(snapshot, &request, work) {
            Ok(facts) => facts,
            Err(Early::Denied(_)) => return Ok(()),
            Err(Early::Refused(error)) => return Err(error),
        };
        self.of_plan(&facts, |_| true);
        if self.action.is_none()
            && let Some(role) = facts.target_role()
            && let Some(set) = snapshot.set(role.trust)
        {
            set.policies()
                .iter()
                .for_each(|policy| self.policy(policy, &facts));
        }
        Ok(())
    }

    /// Reads the policies of the principal's side, those of every account's resources, and the trust policies of roles.
    fn of_all_resources(&mut self) -> Result<(), RequestError> {
        let (snapshot, work) = (self.snapshot, self.work);
        let is_of_trust = |action: &Action| action.kind() != ActionKind::Other;
        let may_assume = self.action.as_ref().is_none_or(is_of_trust);
        for account in snapshot.accounts().filter(|account| !account.id.is_aws()) {
            let resource = format!("arn:{}:any::{}:any", account.partition, account.id);
            let request = self.request(&resource)?;
            let facts = match Facts::find(snapshot, &request, work) {
                Ok(facts) => facts,
                Err(Early::Denied(_)) => continue,
                Err(Early::Refused(error)) => return Err(error),
            };
            self.of_plan(&facts, |policy_type| policy_type != PolicyType::Resource);
            let files = snapshot.attachments().iter();
            let files = files.filter(|file| file.account == account.id);
            let sets = files.filter_map(|file| snapshot.set(file.policy?));
            let roles = snapshot
                .principals()
                .filter(|role| role.account == account.id);
            let trust = roles.filter_map(|role| snapshot.set(role.role.as_ref()?.trust));
            for policy in sets
                .chain(trust.filter(|_| may_assume))
                .flat_map(|set| set.policies())
            {
                self.policy(policy, &facts);
            }
        }
        Ok(())
    }

    fn of_plan(&mut self, facts: &Facts<'_>, is_read: impl Fn(PolicyType) -> bool) {
        Plan::with(facts, false, |plan| {
            for (policy_type, source) in plan.steps() {
                if is_read(policy_type) {
                    source
                        .policies()
                        .for_each(|policy| self.policy(policy, facts));
                }
            }
        });
    }

    fn policy(&mut self, policy: &Arc<Policy>, facts: &Facts<'_>) {
        for statement in policy.statements.iter() {
            if self.work.spend(2) && self.is_in_play(statement, facts) {
                self.statement(statement);
            }
        }
    }

    fn is_in_play(&self, statement: &Statement, facts: &Facts<'_>) -> bool {
        let action = self.action.as_ref();
        strength_of(statement, facts).is_some()
            && action.is_none_or(|action| speaks_of(statement, action, self.work))
            && self
                .resource
                .is_none_or(|resource| may_cover(statement, resource))
    }

    fn statement(&mut self, statement: &Statement) {
        let resources = statement
            .resources
            .iter()
            .flat_map(|listed| listed.entries());
        for variable in resources.flat_map(ResourcePattern::variables) {
            self.note(&variable.key);
        }
        for (index, condition) in statement.conditions.iter().enumerate() {
            for variable in condition.operand.variables() {
                self.note(&variable.key);
            }
            let is_hidden = self.redacted.hides(&condition.key);
            let operator = condition.operator.name();
            let values = Open::of(&statement.conditions, index).values();
            let found = self.note(&condition.key);
            found.operators.insert(operator);
            for value in values {
                let value = if is_hidden {
                    REDACTED.to_owned()
                } else {
                    value
                };
                found.example_values.insert(value);
                if found.example_values.len() > MAX_EXAMPLES {
                    found.example_values.pop_last();
                }
            }
        }
    }

    fn note(&mut self, key: &ContextKey) -> &mut ContextKeyUse {
        let snapshot = self.snapshot;
        let is_service = matches!(
            Principal::parse(self.question.principal),
            Ok(Principal::Service(_))
        );
        let session = self.question.session.as_ref();
        let own_issuer = session.and_then(|session| oidc_issuer(session.federated_provider));
        let is_own_claim = own_issuer.is_some_and(|issuer| {
            let claim = key.folded().strip_prefix(&*issuer.to_ascii_lowercase());
            claim.is_some_and(|rest| rest.starts_with(':'))
        });
        // K-1, K-9: the session has the claims of its own provider, and only services send keys about a source.
        let is_of_others = is_own_claim || key.kind() == KeyKind::ServiceSource && !is_service;
        self.keys
            .entry(key.clone())
            .or_insert_with(|| ContextKeyUse {
                key: key.folded().to_owned(),
                derived: key.kind().is_reserved()
                    || key.kind() == KeyKind::Credential
                    || is_of_others
                    || is_claim(key, snapshot),
                ..ContextKeyUse::default()
            })
    }
}

/// Returns whether a registered issuer's tokens have the key among their claims (K-1).
fn is_claim(key: &ContextKey, snapshot: &Snapshot) -> bool {
    let folded = key.folded();
    let mut prefixes = folded
        .match_indices(':')
        .filter_map(|(at, _)| folded.get(..at));
    prefixes.any(|prefix| snapshot.has_oidc_issuer(prefix))
}

fn may_cover(statement: &Statement, resource: &str) -> bool {
    let syntax = Syntax {
        wildcards: false,
        variables: false,
    };
    match (
        &statement.resources,
        ResourcePattern::parse(resource, syntax),
    ) {
        (Some(Listed::Any(patterns)), Ok(resource)) if !resource.is_everything() => {
            patterns.iter().any(|pattern| can_meet(pattern, &resource))
        }
        _ => true,
    }
}
