//! A question as its caller put it: borrowed texts, nothing checked.
//!
//! Every protocol and the command line fill a [`Question`] from what they read, without copying a text;
//! [`Request::parse`](super::request::Request::parse) makes a request of it or says which field is malformed. The
//! fields have the names of the protocol, and so do the paths in errors.

use jiff::Timestamp;

use super::error::RequestError;
use crate::context::ContextValue;
use crate::language::document::PolicyType;

/// One question. Empty strings and lists mean: not given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question<'b> {
    /// See [`Principal::parse`](crate::name::Principal::parse).
    pub principal: &'b str,
    /// See [`Action::parse`](crate::name::Action::parse).
    pub action: &'b str,
    /// See [`Resource::parse`](crate::name::Resource::parse).
    pub resource: &'b str,
    /// In the order given, repeated keys included (C-4).
    pub context: Vec<(&'b str, Value<'b>)>,
    /// The facts of the session, if the caller gave the field at all.
    pub session: Option<Box<SessionFacts<'b>>>,
    /// The account that owns the resource.
    pub resource_account: &'b str,
    /// Comes back with the answer.
    pub request_id: &'b str,
}

/// `SessionContext` as the caller put it. Empty strings and lists mean: not given.
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

/// A value as JSON knows them, those included that no context may hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'b> {
    /// A value that names no kind at all, which a protocol's bytes can say.
    Unset,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// The nearest double.
    Number(f64),
    /// A string.
    Text(&'b str),
    /// A list, of anything.
    List(Vec<Self>),
    /// An object. It is malformed wherever it stands, so what it holds is not kept.
    Object,
}

impl Value<'_> {
    /// What a context key holds of it (C-5): a string, a number, a Boolean, or a list of them. `field` is only called
    /// for an error.
    pub(super) fn to_context_value(
        &self,
        field: impl Fn() -> String,
    ) -> Result<ContextValue, RequestError> {
        match self {
            Self::List(elements) => {
                let scalars = elements.iter().map(|element| element.to_scalar(&field));
                Ok(ContextValue::list(scalars.collect::<Result<Vec<_>, _>>()?))
            }
            scalar => scalar.to_scalar(&field),
        }
    }

    fn to_scalar(&self, field: &dyn Fn() -> String) -> Result<ContextValue, RequestError> {
        let what = match self {
            Self::Text(text) => return Ok(ContextValue::string(*text)),
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
            "{what} is no context value: send a string, a number, a Boolean or a list of them"
        );
        Err(RequestError::invalid(field(), message))
    }

    /// Whether it makes a key of a simulation absent: `null`, and the empty list (C-7).
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

/// What a simulation says besides the question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides<'b> {
    /// The policies that the store does not have.
    pub policies: Vec<GivenPolicy<'b>>,
    /// The types of which the store's policies do not count.
    pub replace: Vec<PolicyType>,
}

/// A policy of a simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenPolicy<'b> {
    /// What it counts as.
    pub policy_type: PolicyType,
    /// Where it stands in the question, which is also its name: `identity_policies[0]`.
    pub field: String,
    /// The document.
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

/// The fields of a simulation that are one document.
pub const SINGLES: [(&str, PolicyType); 2] = [
    ("permissions_boundary", PolicyType::PermissionsBoundary),
    ("trust_policy", PolicyType::Trust),
];

impl<'b> Overrides<'b> {
    /// The documents of a simulation: those of each field of [`LISTS`], then the one of each of [`SINGLES`], where an
    /// empty one is none.
    pub fn new(lists: [Vec<&'b str>; 5], singles: [&'b str; 2], replace: Vec<PolicyType>) -> Self {
        let mut policies = Vec::new();
        for ((field, policy_type), list) in LISTS.into_iter().zip(lists) {
            let list = list.into_iter().enumerate();
            policies.extend(list.map(|(index, text)| GivenPolicy {
                policy_type,
                field: format!("{field}[{index}]"),
                text,
            }));
        }
        let singles = SINGLES.into_iter().zip(singles);
        let singles = singles.filter(|(_, text)| !text.is_empty());
        policies.extend(singles.map(|((field, policy_type), text)| GivenPolicy {
            policy_type,
            field: field.to_owned(),
            text,
        }));
        Self { policies, replace }
    }
}
