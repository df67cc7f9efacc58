//! The members of a scenario's question that only a simulation has.

use super::value::Value;
use super::{Members, with_guess};
use crate::engine::question::{GivenPolicy, Overrides};
pub use crate::engine::question::{LISTS, SINGLES};
use crate::language::document::PolicyType;
use crate::language::finding::did_you_mean;

/// The policies of a simulation, and the policy types whose policies in the store do not count. These are the members
/// of `SimulateRequest` that `AuthorizeRequest` lacks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Simulated {
    /// The given policies, in the order of [`LISTS`] and [`SINGLES`].
    pub policies: Vec<Document>,
    /// The types of which only the policies above count.
    pub replace: Vec<PolicyType>,
}

/// A policy that the store does not have.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The type as which the policy counts.
    pub policy_type: PolicyType,
    /// Its place in the question: `identity_policies[0]`.
    pub field: String,
    /// The policy document.
    pub text: String,
}

impl Simulated {
    /// Converts it for the engine.
    pub fn overrides(&self) -> Overrides<'_> {
        let policies = self.policies.iter().map(|document| GivenPolicy {
            policy_type: document.policy_type,
            level: None,
            field: document.field.clone(),
            text: &document.text,
        });
        Overrides {
            policies: policies.collect(),
            replace: self.replace.clone(),
            n_levels: 0,
        }
    }
}

/// The names of policy types in `replace`. The protocol's names, such as `POLICY_TYPE_IDENTITY`, are read too.
const TYPES: &[(&str, PolicyType)] = &[
    ("identity", PolicyType::Identity),
    ("resource", PolicyType::Resource),
    ("permissions_boundary", PolicyType::PermissionsBoundary),
    ("session", PolicyType::Session),
    ("service_control", PolicyType::ServiceControl),
    ("resource_control", PolicyType::ResourceControl),
    ("trust", PolicyType::Trust),
];

/// Returns the names of the members that make a question a simulation.
pub fn members() -> impl Iterator<Item = &'static str> {
    let documents = LISTS.into_iter().chain(SINGLES).map(|(name, _)| name);
    documents.chain(["replace", "evaluation_time"])
}

/// Reads these members; `None` if the question has none of them.
pub(super) fn read(members: &Members<'_>) -> Result<Option<Simulated>, String> {
    if self::members().all(|name| members.get(name).is_none()) {
        return Ok(None);
    }
    let mut simulated = Simulated::default();
    for (name, policy_type) in LISTS {
        for (index, text) in members.documents(name)?.into_iter().enumerate() {
            simulated.policies.push(Document {
                policy_type,
                field: format!("{name}[{index}]"),
                text,
            });
        }
    }
    for (name, policy_type) in SINGLES {
        if let Some(value) = members.get(name) {
            simulated.policies.push(Document {
                policy_type,
                field: name.to_owned(),
                text: document(name, value)?,
            });
        }
    }
    for name in members.texts("replace")? {
        simulated.replace.push(policy_type(&name)?);
    }
    Ok(Some(simulated))
}

/// Reads a document, which is JSON text as on the wire, or a mapping for readability.
pub(super) fn document(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Map(_) => Ok(value.to_json()),
        other => Err(format!(
            "a policy of `{name}` must be a string or a mapping, not {}",
            other.kind()
        )),
    }
}

fn policy_type(name: &str) -> Result<PolicyType, String> {
    let label = name.to_ascii_lowercase();
    let label = label.strip_prefix("policy_type_").unwrap_or(&label);
    let found = TYPES.iter().find(|(known, _)| *known == label);
    found.map(|(_, policy_type)| *policy_type).ok_or_else(|| {
        let guess = did_you_mean(label, TYPES.iter().map(|(known, _)| *known));
        with_guess(format!("there is no policy type `{name}`"), guess)
    })
}
