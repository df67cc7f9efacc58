//! What a simulation puts in place of the store and of the session.
//!
//! It travels with the [`Request`], so that a simulated question takes the same path through the engine as a real one:
//! each layer adds the policies of its type, and `Facts::values` looks here first.

use std::sync::Arc;

use jiff::Timestamp;

use super::error::{RequestError, at_field, context_field};
use super::question::{GivenPolicy, Overrides, Question, Value};
use super::request::Request;
use super::session_policy::{Compiled, SessionPolicies, parse_document};
use super::work::{IsWanted, Work, wanted};
use crate::compile::snapshot::{Account, Entity, OwnRows, Policy, Snapshot, Tags};
use crate::context::{Context, ContextKey};
use crate::language::condition::operator::Values;
use crate::language::document::PolicyType;
use crate::name::{AccountId, Arn, Principal};

/// The changes that a simulation makes to the store and the context.
#[derive(Clone, Debug, Default)]
pub struct Simulated {
    absent: Vec<ContextKey>,
    identity: Vec<Arc<Policy>>,
    resource: Vec<Arc<Policy>>,
    permissions_boundary: Vec<Arc<Policy>>,
    session: Vec<Arc<Policy>>,
    service_control: Vec<Arc<Policy>>,
    /// Further levels of service control policies, from the root down.
    levels: Vec<Vec<Arc<Policy>>>,
    resource_control: Vec<Arc<Policy>>,
    trust: Vec<Arc<Policy>>,
    replace: Vec<PolicyType>,
    stand_in: Option<Arc<StandIn>>,
    is_unnamed: bool,
}

/// A principal that is not in the store. It has nothing except what the simulation provides.
#[derive(Debug)]
struct StandIn {
    account: Account,
    entity: Entity,
}

/// The principal of policies that are simulated on their own. Its account does not exist, so no statement names it.
const UNNAMED: &str = "arn:aws:iam::simulated:user/simulated";

/// The keys that identify the principal. They have no value for an unnamed principal.
const KEYS_OF_THE_NAMED: &[&str] = &[
    "aws:PrincipalArn",
    "aws:PrincipalAccount",
    "aws:PrincipalType",
    "aws:username",
    "aws:userid",
];

/// Every type of policy.
const EVERY_TYPE: &[PolicyType] = &[
    PolicyType::Identity,
    PolicyType::Resource,
    PolicyType::PermissionsBoundary,
    PolicyType::Session,
    PolicyType::ServiceControl,
    PolicyType::ResourceControl,
    PolicyType::Trust,
];

impl<'q> Request<'q> {
    /// Parses a question for simulation. Unlike in [`Request::parse`], any context key may be given, and so may
    /// policies.
    pub fn simulate(
        question: &Question<'q>,
        overrides: &Overrides<'_>,
        at: Timestamp,
    ) -> Result<Self, RequestError> {
        Self::simulate_while(question, overrides, at, &wanted())
    }

    /// Parses as [`Request::simulate`] does, but stops once `is_wanted` returns false.
    pub fn simulate_while(
        question: &Question<'q>,
        overrides: &Overrides<'_>,
        at: Timestamp,
        is_wanted: &IsWanted,
    ) -> Result<Self, RequestError> {
        let mut simulated = Simulated {
            absent: absent(question)?,
            replace: overrides.replace.clone(),
            levels: vec![Vec::new(); overrides.n_levels],
            ..Simulated::default()
        };
        for GivenPolicy {
            policy_type,
            level,
            field,
            text,
        } in &overrides.policies
        {
            if !is_wanted() {
                return Err(RequestError::unwanted());
            }
            let Compiled {
                statements, origin, ..
            } = parse_document(text, *policy_type, field, field.clone())?;
            let policy = Policy {
                statements,
                origin,
                name: field.as_str().into(),
                policy_type: *policy_type,
                file: "".into(),
                rows: OwnRows::default(),
            };
            let level = level.and_then(|level| simulated.levels.get_mut(level));
            match level {
                Some(level) => level.push(Arc::new(policy)),
                None => simulated.policies_mut(*policy_type).push(Arc::new(policy)),
            }
        }
        let unnamed;
        let mut question = question;
        if question.principal.is_empty() && !simulated.identity.is_empty() {
            simulated.leave_unnamed(question)?;
            unnamed = Question {
                principal: UNNAMED,
                ..question.clone()
            };
            question = &unnamed;
        }
        let parent = question.session.as_ref().map_or("", |facts| facts.parent);
        let principal = Principal::parse(question.principal).map_err(at_field("principal"))?;
        simulated.check_fits(&principal)?;
        if simulated.replaces(PolicyType::Identity) {
            simulated.stand_in = stand_in(&principal, parent).map(Arc::new);
        }
        Self::read(
            question,
            at,
            &SessionPolicies::forgetting(),
            Some(Box::new(simulated)),
            &Work::ample(),
        )
    }
}

impl Simulated {
    /// Returns the policies of one type that the simulation brings.
    pub fn policies(&self, policy_type: PolicyType) -> &[Arc<Policy>] {
        match policy_type {
            PolicyType::Identity => &self.identity,
            PolicyType::Resource => &self.resource,
            PolicyType::PermissionsBoundary => &self.permissions_boundary,
            PolicyType::Session => &self.session,
            PolicyType::ServiceControl => &self.service_control,
            PolicyType::ResourceControl => &self.resource_control,
            PolicyType::Trust => &self.trust,
        }
    }

    /// Returns the further levels of service control policies, from the root of the organization down. Each must allow.
    pub fn levels(&self) -> &[Vec<Arc<Policy>>] {
        &self.levels
    }

    fn policies_mut(&mut self, policy_type: PolicyType) -> &mut Vec<Arc<Policy>> {
        match policy_type {
            PolicyType::Identity => &mut self.identity,
            PolicyType::Resource => &mut self.resource,
            PolicyType::PermissionsBoundary => &mut self.permissions_boundary,
            PolicyType::Session => &mut self.session,
            PolicyType::ServiceControl => &mut self.service_control,
            PolicyType::ResourceControl => &mut self.resource_control,
            PolicyType::Trust => &mut self.trust,
        }
    }

    /// Returns whether the simulation replaces the store's policies of this type.
    pub fn replaces(&self, policy_type: PolicyType) -> bool {
        self.replace.contains(&policy_type)
    }

    /// Returns whether the policies are simulated on their own, without a principal.
    pub fn is_unnamed(&self) -> bool {
        self.is_unnamed
    }

    /// Returns the values of `key` if the simulation gives any. They take precedence over derived values.
    pub(super) fn values<'a>(
        &self,
        key: &ContextKey,
        context: &'a Context<'a>,
    ) -> Option<Values<'a>> {
        match context.get(key) {
            Some(value) => Some(Values::of(value)),
            None => self.absent.contains(key).then_some(Values::Absent),
        }
    }

    /// Returns the principal that replaces one that the store does not have.
    pub(super) fn stand_in<'s>(
        &'s self,
        snapshot: &'s Snapshot,
    ) -> Option<(&'s Account, Option<&'s Entity>)> {
        let StandIn { account, entity } = self.stand_in.as_deref()?;
        let stored = snapshot.account(account.id.as_str());
        let stored =
            stored.filter(|stored| !self.is_unnamed && stored.partition == account.partition);
        Some((stored.unwrap_or(account), Some(entity)))
    }

    /// Marks the principal as unnamed, so that no policy of the store applies to it.
    fn leave_unnamed(&mut self, question: &Question<'_>) -> Result<(), RequestError> {
        let needs_name = [
            ("the session", question.session.is_some()),
            ("a resource policy", !self.resource.is_empty()),
            ("a trust policy", !self.trust.is_empty()),
        ];
        if let Some((what, _)) = needs_name.into_iter().find(|(_, is_given)| *is_given) {
            let message = format!("{what} needs a principal");
            return Err(RequestError::invalid("principal", message));
        }
        self.is_unnamed = true;
        self.replace = EVERY_TYPE.to_vec();
        let unknown = KEYS_OF_THE_NAMED.iter().map(|key| ContextKey::new(key));
        self.absent.extend(unknown);
        Ok(())
    }

    /// Refuses policies that a principal such as `principal` cannot have. That is a mistake, not a simulation without
    /// effect.
    fn check_fits(&self, principal: &Principal) -> Result<(), RequestError> {
        let is_entity = !matches!(
            principal,
            Principal::Anonymous
                | Principal::Service(_)
                | Principal::Provider(_)
                | Principal::Root(_)
        );
        let policies = self.identity.iter();
        let policies = policies.chain(&self.permissions_boundary);
        match policies.chain(&self.session).next() {
            Some(policy) if !is_entity => {
                let message = format!("principal `{principal}` has no policies of this type");
                Err(RequestError::invalid(&*policy.name, message))
            }
            _ => Ok(()),
        }
    }
}

/// Returns the keys that must be absent. A key must not be given as well, or twice (C-4).
fn absent(question: &Question<'_>) -> Result<Vec<ContextKey>, RequestError> {
    let is_absent = |(_, value): &&(&str, Value<'_>)| value.is_absence();
    let (absent, given): (Vec<_>, Vec<_>) = question.context.iter().partition(is_absent);
    let mut keys: Vec<ContextKey> = given.iter().map(|(key, _)| ContextKey::new(key)).collect();
    let n_values = keys.len();
    for (key, _) in absent {
        let folded = ContextKey::new(key);
        if keys.contains(&folded) {
            let message = "this context key appears twice; keys are compared ignoring case";
            return Err(RequestError::invalid(context_field(key), message));
        }
        keys.push(folded);
    }
    Ok(keys.split_off(n_values))
}

/// Returns a user or role without policies, tags and groups that has the name in `principal`.
fn stand_in(principal: &Principal<'_>, parent: &str) -> Option<StandIn> {
    let arn = match principal {
        Principal::User(arn) | Principal::Role(arn) => arn.owned(),
        Principal::AssumedRole { arn, role, .. } => {
            let (partition, account) = (arn.partition(), arn.account());
            Arn::parse(&format!("arn:{partition}:iam::{account}:role/{role}")).ok()?
        }
        Principal::FederatedUser { .. } => Arn::parse(parent).ok()?,
        Principal::Anonymous
        | Principal::Service(_)
        | Principal::Root(_)
        | Principal::Provider(_) => return None,
    };
    let account = AccountId::parse(arn.account()).ok()?;
    let entity = Entity {
        home: None,
        account: account.clone(),
        name_at: Entity::place_of_name(&arn),
        unique_id: None,
        identity: None,
        groups: Box::default(),
        permissions_boundary: None,
        tags: Tags::default(),
        disabled: false,
        role: None,
        arn,
    };
    let account = Account::empty(account, entity.arn.partition());
    Some(StandIn { account, entity })
}
