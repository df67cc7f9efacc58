//! iam-rs: the same policy documents. It has no groups, so each statement of the one policy set has another condition,
//! on the group. It checks the action first, so the condition costs little.

use std::collections::HashMap;

use anyhow::{Context as _, anyhow};
use iam_rs::{
    Arn, Context, ContextValue, Decision, EvaluationOptions, IAMPolicy, IAMRequest,
    PolicyEvaluator, Principal, PrincipalId,
};

use crate::company::Company;
use crate::worlds::{Condition, Question, Statement, document};

const GROUP: &str = "app:group";

/// Everything that iam-rs needs.
pub struct Engine {
    evaluator: PolicyEvaluator,
    /// The evaluator of each group and action.
    slices: HashMap<(String, String), PolicyEvaluator>,
    requests: Vec<IAMRequest>,
    /// The group and action of each request.
    slice_of: Vec<(String, String)>,
    empty: PolicyEvaluator,
}

impl Engine {
    /// Translates policies and questions.
    pub fn of(company: &Company) -> anyhow::Result<Self> {
        let mut policies = Vec::new();
        let mut slices: HashMap<(String, String), Vec<IAMPolicy>> = HashMap::new();
        for (group, _, statement) in company.statements() {
            let alone = policy(statement)?;
            let mut actions = statement.actions.clone();
            actions.dedup();
            for action in actions {
                slices
                    .entry((group.to_owned(), action))
                    .or_default()
                    .push(alone.clone());
            }
            let mut of_group = statement.clone();
            of_group.conditions.push(Condition {
                operator: "StringEquals",
                key: GROUP.to_owned(),
                operands: vec![group.to_owned()],
                fulfilled_by: String::new(),
            });
            policies.push(policy(&of_group)?);
        }
        let mut slice_of = Vec::new();
        let mut requests = Vec::new();
        for question in &company.questions {
            let group = company.group_of(question)?.to_owned();
            requests.push(request(question, &group)?);
            slice_of.push((group, question.action.clone()));
        }
        let slices = slices
            .into_iter()
            .map(|(slice, policies)| (slice, evaluator(policies)));
        Ok(Self {
            evaluator: evaluator(policies),
            slices: slices.collect(),
            requests,
            slice_of,
            empty: evaluator(Vec::new()),
        })
    }

    /// Asks all policies at once.
    pub fn ask(&self, index: usize) -> anyhow::Result<bool> {
        self.decide(index, &self.evaluator)
    }

    /// Asks the group's policies about the action.
    pub fn ask_sliced(&self, index: usize) -> anyhow::Result<bool> {
        let slice = self.slice_of.get(index).context("a slice")?;
        self.decide(index, self.slices.get(slice).unwrap_or(&self.empty))
    }

    fn decide(&self, index: usize, evaluator: &PolicyEvaluator) -> anyhow::Result<bool> {
        let request = self.requests.get(index).context("a request")?;
        let result = evaluator
            .evaluate(request)
            .map_err(|error| anyhow!("{error}"))?;
        Ok(result.decision == Decision::Allow)
    }
}

/// Makes an evaluator with a raised limit: by default it gives up after a thousand statements.
fn evaluator(policies: Vec<IAMPolicy>) -> PolicyEvaluator {
    PolicyEvaluator::with_policies(policies).with_options(EvaluationOptions {
        max_statements: usize::MAX,
        ..EvaluationOptions::default()
    })
}

fn policy(statement: &Statement) -> anyhow::Result<IAMPolicy> {
    let text = document(std::slice::from_ref(statement)).to_string();
    IAMPolicy::from_json(&text).with_context(|| text)
}

fn request(question: &Question, group: &str) -> anyhow::Result<IAMRequest> {
    let mut context = Context::new();
    context.insert(GROUP.to_owned(), ContextValue::String(group.to_owned()));
    for (key, value) in &question.context {
        let value = match key.as_str() {
            "aws:SecureTransport" => ContextValue::Boolean(value == "true"),
            "app:amount" => ContextValue::Number(value.parse()?),
            _ => ContextValue::String(value.clone()),
        };
        context.insert(key.clone(), value);
    }
    let resource = Arn::parse(&question.resource).map_err(|error| anyhow!("{error}"))?;
    Ok(IAMRequest::new_with_context(
        Principal::Aws(PrincipalId::String(question.principal.clone())),
        question.action.clone(),
        resource,
        context,
    ))
}
