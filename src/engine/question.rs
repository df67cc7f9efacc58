//! A question as its caller sent it: borrowed texts that nothing has checked.
//!
//! Every protocol and the command line fill a [`Question`] from what they read, without copying a text.
//! [`Request::parse`](super::request::Request::parse) turns it into a request or says which field is malformed. The
//! fields and the paths in errors have the names of the protocol.

use jiff::Timestamp;

use super::error::RequestError;
use crate::context::ContextValue;
use crate::language::document::PolicyType;

/// One question. An empty string or list means that the caller did not give it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question<'b> {
    /// See [`Principal::parse`](crate::name::Principal::parse).
    pub principal: &'b str,
    /// See [`Action::parse`](crate::name::Action::parse).
    pub action: &'b str,
    /// See [`Resource::parse`](crate::name::Resource::parse).
    pub resource: &'b str,
    /// The context in the order given, including repeated keys (C-4).
    pub context: Vec<(&'b str, Value<'b>)>,
    /// The facts of the session. `None` if the caller left the field out.
    pub session: Option<Box<SessionFacts<'b>>>,
    /// The account that owns the resource.
    pub resource_account: &'b str,
    /// An id that the answer repeats.
    pub request_id: &'b str,
}

/// `SessionContext` as the caller sent it. An empty string or list means that the caller did not give it.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "the fields of `SessionContext` in the protocol"
)]
pub struct SessionFacts<'b> {
    pub policies: Vec<&'b str>,
    pub policy_arns: Vec<&'b str>,
    pub tags: Vec<(&'b str, &'b str)>,
    pub source_identity: &'b str,
    pub issued_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub mfa_at: Option<Timestamp>,
    pub transitive_tag_keys: Vec<&'b str>,
    pub claims: Vec<(&'b str, Value<'b>)>,
    pub federated_provider: &'b str,
    pub parent: &'b str,
    pub attributes: Vec<(&'b str, Value<'b>)>,
}

/// A JSON value. It includes the kinds that a context must not contain.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'b> {
    /// A value of no kind, which is possible in the bytes of a protocol.
    Unset,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as the nearest double.
    Number(f64),
    /// A string.
    Text(&'b str),
    /// A list of any values.
    List(Vec<Self>),
    /// An object. It is malformed everywhere, so its contents are not kept.
    Object,
}

impl<'b> Value<'b> {
    /// Converts the value to one that a context key can have (C-5): a string, a number, a Boolean, or a list of them.
    /// Calls `field` only for an error.
    pub(super) fn to_context_value(
        &self,
        field: impl Fn() -> String,
    ) -> Result<ContextValue<'b>, RequestError> {
        match self {
            Self::List(elements) => {
                let scalars = elements.iter().map(|element| element.to_scalar(&field));
                Ok(ContextValue::list(scalars.collect::<Result<Vec<_>, _>>()?))
            }
            scalar => scalar.to_scalar(&field),
        }
    }

    fn to_scalar(&self, field: &dyn Fn() -> String) -> Result<ContextValue<'b>, RequestError> {
        let what = match self {
            Self::Text(text) => return Ok(ContextValue::string(text)),
            Self::Bool(value) => return Ok(ContextValue::bool(*value)),
            Self::Number(number) => {
                return ContextValue::number(*number)
                    .map_err(|malformed| RequestError::invalid(field(), malformed.0));
            }
            Self::Null => "null",
            Self::Object => "an object",
            Self::List(_) => "a list inside a list",
            Self::Unset => "a value without a kind",
        };
        let message = format!(
            "{what} is not a context value: send a string, a number, a Boolean or a list of them"
        );
        Err(RequestError::invalid(field(), message))
    }

    /// Returns whether the value makes a key absent in a simulation: `null` and the empty list do (C-7).
    pub(super) fn is_absence(&self) -> bool {
        match self {
            Self::Null => true,
            Self::List(elements) => elements.is_empty(),
            _ => false,
        }
    }
}

impl<'b> From<&'b str> for Value<'b> {
    fn from(text: &'b str) -> Self {
        Self::Text(text)
    }
}

/// The changes that a simulation makes to the store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides<'b> {
    /// The policies that the simulation adds.
    pub policies: Vec<GivenPolicy<'b>>,
    /// The policy types for which the store's own policies do not count.
    pub replace: Vec<PolicyType>,
    /// How many levels of service control policies follow those of the store. A level may have no policy.
    pub n_levels: usize,
}

/// A policy of a simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenPolicy<'b> {
    /// The type that the policy counts as.
    pub policy_type: PolicyType,
    /// The level of a service control policy, from 0. `None` for a policy that is added to those of its type.
    pub level: Option<usize>,
    /// The path of the policy in the question, which is also its name: `identity_policies[0]`.
    pub field: String,
    /// The document, as JSON.
    pub text: &'b str,
}

/// The fields of a simulation that list documents.
pub const LISTS: [(&str, PolicyType); 5] = [
    ("identity_policies", PolicyType::Identity),
    ("resource_policies", PolicyType::Resource),
    ("session_policies", PolicyType::Session),
    ("service_control_policies", PolicyType::ServiceControl),
    ("resource_control_policies", PolicyType::ResourceControl),
];

/// The field of a simulation that lists levels of service control policies.
pub const LEVELS: &str = "ordered_organization_policies";

/// The fields of a simulation that are one document.
pub const SINGLES: [(&str, PolicyType); 2] = [
    ("permissions_boundary", PolicyType::PermissionsBoundary),
    ("trust_policy", PolicyType::Trust),
];

impl<'b> Overrides<'b> {
    /// Returns the documents of a simulation: those of each field of [`LISTS`], then that of each of [`SINGLES`]. An
    /// empty document in [`SINGLES`] means none.
    pub fn new(lists: [Vec<&'b str>; 5], singles: [&'b str; 2], replace: Vec<PolicyType>) -> Self {
        let mut policies = Vec::new();
        for ((field, policy_type), list) in LISTS.into_iter().zip(lists) {
            let list = list.into_iter().enumerate();
            policies.extend(list.map(|(index, text)| GivenPolicy {
                policy_type,
                level: None,
                field: format!("{field}[{index}]"),
                text,
            }));
        }
        let singles = SINGLES.into_iter().zip(singles);
        let singles = singles.filter(|(_, text)| !text.is_empty());
        policies.extend(singles.map(|((field, policy_type), text)| GivenPolicy {
            policy_type,
            level: None,
            field: field.to_owned(),
            text,
        }));
        Self {
            policies,
            replace,
            n_levels: 0,
        }
    }

    /// Adds levels of service control policies, from the root of the organization down to the account.
    #[must_use]
    pub fn with_levels(mut self, levels: impl IntoIterator<Item = Vec<&'b str>>) -> Self {
        for (level, texts) in levels.into_iter().enumerate() {
            self.n_levels = level + 1;
            let texts = texts.into_iter().enumerate();
            self.policies.extend(texts.map(|(index, text)| GivenPolicy {
                policy_type: PolicyType::ServiceControl,
                level: Some(level),
                field: format!("{LEVELS}[{level}].service_control_policies[{index}]"),
                text,
            }));
        }
        self
    }
}
