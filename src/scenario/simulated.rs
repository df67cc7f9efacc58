//! What a question of a scenario says beside the question proper, as only a simulation can be told.

use super::value::Value;
use super::{Members, with_guess};
use crate::engine::question::{GivenPolicy, Overrides};
pub use crate::engine::question::{LISTS, SINGLES};
use crate::language::document::PolicyType;
use crate::language::finding::did_you_mean;

/// Policies that the store does not have, and the types of its own that do not count: the members of `SimulateRequest`
/// that `AuthorizeRequest` lacks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Simulated {
    /// In the order of [`LISTS`] and [`SINGLES`].
    pub policies: Vec<Document>,
    /// Of these types only the policies above count.
    pub replace: Vec<PolicyType>,
}

/// A policy that the store does not have.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What it counts as.
    pub policy_type: PolicyType,
    /// Where it stands in the question: `identity_policies[0]`.
    pub field: String,
    /// The document.
    pub text: String,
}

impl Simulated {
    /// The same as the engine takes it.
    pub fn overrides(&self) -> Overrides<'_> {
        let policies = self.policies.iter().map(|document| GivenPolicy {
            policy_type: document.policy_type,
            field: document.field.clone(),
            text: &document.text,
        });
        Overrides {
            policies: policies.collect(),
            replace: self.replace.clone(),
        }
    }
}

/// The types as `replace` calls them; `POLICY_TYPE_IDENTITY`, as in the protocol, is read too.
const TYPES: &[(&str, PolicyType)] = &[
    ("identity", PolicyType::Identity),
    ("resource", PolicyType::Resource),
    ("permissions_boundary", PolicyType::PermissionsBoundary),
    ("session", PolicyType::Session),
    ("service_control", PolicyType::ServiceControl),
    ("resource_control", PolicyType::ResourceControl),
    ("trust", PolicyType::Trust),
];

/// Every member that makes a question a simulation.
pub fn members() -> impl Iterator<Item = &'static str> {
    let documents = LISTS.into_iter().chain(SINGLES).map(|(name, _)| name);
    documents.chain(["replace", "evaluation_time"])
}

/// Reads them; none where no such member is there.
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

/// A document: JSON text as on the wire, or a mapping for readability.
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
