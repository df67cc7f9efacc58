//! Cedar: each statement is a policy, and groups are entities that contain users.
//!
//! `like` compares the ARN as a string, so the ARN is in the context. As an entity, it would have to be made for each
//! request.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use anyhow::{Context as _, anyhow};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, Policy, PolicyId, PolicySet,
    Request, RestrictedExpression,
};

use crate::company::Company;
use crate::worlds::{Condition, Question, Statement};

/// Everything that Cedar needs.
pub struct Engine {
    authorizer: Authorizer,
    entities: Entities,
    policies: PolicySet,
    /// The policies of each group and action.
    slices: HashMap<(String, String), PolicySet>,
    requests: Vec<Request>,
    /// The group and action of each request.
    slice_of: Vec<(String, String)>,
    empty: PolicySet,
}

impl Engine {
    /// Translates policies, entities and questions.
    pub fn of(company: &Company) -> anyhow::Result<Self> {
        let mut policies = PolicySet::new();
        let mut slices: HashMap<(String, String), PolicySet> = HashMap::new();
        for (group, name, statement) in company.statements() {
            let text = policy(group, statement)?;
            let policy = Policy::parse(Some(PolicyId::new(name)), &text)
                .map_err(|error| anyhow!("{text}: {error}"))?;
            for action in &statement.actions {
                let slice = slices
                    .entry((group.to_owned(), action.clone()))
                    .or_default();
                // One statement may name an action twice.
                let _ = slice.add(policy.clone());
            }
            policies.add(policy)?;
        }
        let mut entities = Vec::new();
        for group in &company.world.groups {
            entities.push(Entity::new_no_attrs(
                uid("Group", &group.name)?,
                HashSet::new(),
            ));
        }
        for user in &company.world.users {
            let group = user
                .groups
                .first()
                .and_then(|at| company.world.groups.get(*at));
            let group = uid("Group", &group.context("a group")?.name)?;
            let user = uid("User", &crate::worlds::user_arn(&user.name))?;
            entities.push(Entity::new_no_attrs(user, HashSet::from([group])));
        }
        let mut slice_of = Vec::new();
        let mut requests = Vec::new();
        for question in &company.questions {
            let group = company.group_of(question)?.to_owned();
            slice_of.push((group, question.action.clone()));
            requests.push(request(question)?);
        }
        Ok(Self {
            authorizer: Authorizer::new(),
            entities: Entities::from_entities(entities, None)?,
            policies,
            slices,
            requests,
            slice_of,
            empty: PolicySet::new(),
        })
    }

    /// Asks all policies at once.
    pub fn ask(&self, index: usize) -> anyhow::Result<bool> {
        self.decide(index, &self.policies)
    }

    /// Asks the group's policies about the action.
    pub fn ask_sliced(&self, index: usize) -> anyhow::Result<bool> {
        let slice = self.slice_of.get(index).context("a slice")?;
        self.decide(index, self.slices.get(slice).unwrap_or(&self.empty))
    }

    fn decide(&self, index: usize, policies: &PolicySet) -> anyhow::Result<bool> {
        let request = self.requests.get(index).context("a request")?;
        let response = self
            .authorizer
            .is_authorized(request, policies, &self.entities);
        Ok(response.decision() == Decision::Allow)
    }
}

fn uid(kind: &str, name: &str) -> anyhow::Result<EntityUid> {
    EntityUid::from_str(&format!("{kind}::{name:?}")).map_err(|error| anyhow!("{name}: {error}"))
}

fn attribute(key: &str) -> String {
    key.replace(':', "_")
}

fn policy(group: &str, statement: &Statement) -> anyhow::Result<String> {
    let effect = if statement.denies { "forbid" } else { "permit" };
    let actions: Vec<String> = statement
        .actions
        .iter()
        .map(|action| format!("Action::{action:?}"))
        .collect();
    let resource = statement.resources.first().context("a resource")?;
    let mut terms = Vec::new();
    if resource != "*" {
        terms.push(format!("context.resource like {resource:?}"));
    }
    for condition in &statement.conditions {
        terms.push(term(condition)?);
    }
    let when = match terms.is_empty() {
        true => String::new(),
        false => format!(" when {{ {} }}", terms.join(" && ")),
    };
    Ok(format!(
        "{effect}(principal in Group::{group:?}, action in [{}], resource){when};",
        actions.join(", "),
    ))
}

fn term(condition: &Condition) -> anyhow::Result<String> {
    let key = attribute(&condition.key);
    let operand = condition.operands.first().context("an operand")?;
    let holds = match condition.operator {
        "StringEquals" => format!("{:?}.contains(context.{key})", condition.operands),
        "Bool" => format!("context.{key} == {operand}"),
        "NumericLessThanEquals" => format!("context.{key} <= {operand}"),
        "IpAddress" => {
            let ranges = condition.operands.iter();
            let ranges = ranges.map(|range| format!("context.{key}.isInRange(ip({range:?}))"));
            format!("({})", ranges.collect::<Vec<_>>().join(" || "))
        }
        other => return Err(anyhow!("no translation of {other}")),
    };
    Ok(format!("context has {key} && {holds}"))
}

fn request(question: &Question) -> anyhow::Result<Request> {
    let mut pairs = vec![(
        "resource".to_owned(),
        RestrictedExpression::new_string(question.resource.clone()),
    )];
    for (key, value) in &question.context {
        let expression = match key.as_str() {
            "aws:SecureTransport" => RestrictedExpression::new_bool(value == "true"),
            "aws:SourceIp" => RestrictedExpression::new_ip(value),
            "app:amount" => RestrictedExpression::new_long(value.parse()?),
            _ => RestrictedExpression::new_string(value.clone()),
        };
        pairs.push((attribute(key), expression));
    }
    Ok(Request::new(
        uid("User", &question.principal)?,
        uid("Action", &question.action)?,
        uid("Resource", &question.resource)?,
        Context::from_pairs(pairs)?,
        None,
    )?)
}
