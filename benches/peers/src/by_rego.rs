//! Rego, written as its documentation advises for speed: the statements are data, indexed by group and action, so that
//! a rule looks up the relevant ones and never iterates over the others.

use anyhow::Context as _;
use regorus::{CompiledPolicy, Value};
use serde_json::{Map, Value as Json, json};

use crate::company::Company;
use crate::worlds::{Condition, Question, Statement};

const RULES: &str = r#"
package iam

default allow := false

statements := data.index[data.groups[input.principal]][input.action]

allow if {
    some statement in statements.allow
    fits(statement)
    not denied
}

denied if {
    some statement in statements.deny
    fits(statement)
}

fits(statement) if {
    startswith(input.resource, statement.prefix)
    every condition in statement.conditions {
        holds(condition)
    }
}

holds(condition) if {
    condition.operator == "StringEquals"
    input.context[condition.key] in condition.operands
}

holds(condition) if {
    condition.operator == "Bool"
    input.context[condition.key] == condition.operand
}

holds(condition) if {
    condition.operator == "NumericLessThanEquals"
    input.context[condition.key] <= condition.operand
}

holds(condition) if {
    condition.operator == "IpAddress"
    some range in condition.operands
    net.cidr_contains(range, input.context[condition.key])
}
"#;

/// Everything that regorus needs.
pub struct Engine {
    compiled: CompiledPolicy,
    inputs: Vec<Value>,
}

impl Engine {
    /// Translates policies and questions.
    pub fn of(company: &Company) -> anyhow::Result<Self> {
        let mut index = Map::new();
        for (group, _, statement) in company.statements() {
            let mut actions = statement.actions.clone();
            actions.dedup();
            for action in actions {
                let actions = object(&mut index, group);
                let lists = object(actions, &action);
                let list = lists
                    .entry(if statement.denies { "deny" } else { "allow" })
                    .or_insert_with(|| json!([]));
                let list = list.as_array_mut().context("a list")?;
                list.push(translated(statement)?);
            }
        }
        let mut groups = Map::new();
        for user in &company.world.users {
            let group = user
                .groups
                .first()
                .and_then(|at| company.world.groups.get(*at));
            let group = group.context("a group")?.name.clone();
            groups.insert(crate::worlds::user_arn(&user.name), Json::String(group));
        }
        let mut engine = regorus::Engine::new();
        engine.add_policy("iam.rego".to_owned(), RULES.to_owned())?;
        let data = json!({"index": index, "groups": groups}).to_string();
        engine.add_data(Value::from_json_str(&data)?)?;
        let compiled = engine.compile_with_entrypoint(&"data.iam.allow".into())?;
        let inputs = company.questions.iter().map(input);
        Ok(Self {
            compiled,
            inputs: inputs.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Asks the rule.
    pub fn ask(&mut self, index: usize) -> anyhow::Result<bool> {
        let input = self.inputs.get(index).context("an input")?.clone();
        Ok(self.compiled.eval_with_input(input)? == Value::from(true))
    }
}

/// Returns the object called `name` in `parent`. Makes it if it is missing.
fn object<'m>(parent: &'m mut Map<String, Json>, name: &str) -> &'m mut Map<String, Json> {
    let entry = parent.entry(name.to_owned()).or_insert_with(|| json!({}));
    match entry {
        Json::Object(object) => object,
        _ => unreachable!("only objects are put there"),
    }
}

fn translated(statement: &Statement) -> anyhow::Result<Json> {
    let prefix = statement.resources.first().context("a resource")?;
    let conditions: anyhow::Result<Vec<Json>> =
        statement.conditions.iter().map(condition).collect();
    Ok(json!({"prefix": prefix.trim_end_matches('*'), "conditions": conditions?}))
}

fn condition(condition: &Condition) -> anyhow::Result<Json> {
    let operand = condition.operands.first().context("an operand")?;
    Ok(json!({
        "operator": condition.operator,
        "key": condition.key,
        "operands": condition.operands,
        "operand": typed(&condition.key, operand)?,
    }))
}

/// Converts numbers and booleans to JSON's own types, so that no rule has to convert them.
fn typed(key: &str, value: &str) -> anyhow::Result<Json> {
    Ok(match key {
        "aws:SecureTransport" => Json::Bool(value == "true"),
        "app:amount" => json!(value.parse::<i64>()?),
        _ => Json::String(value.to_owned()),
    })
}

fn input(question: &Question) -> anyhow::Result<Value> {
    let mut context = Map::new();
    for (key, value) in &question.context {
        context.insert(key.clone(), typed(key, value)?);
    }
    let input = json!({
        "principal": question.principal,
        "action": question.action,
        "resource": question.resource,
        "context": context,
    });
    Value::from_json_str(&input.to_string())
}
