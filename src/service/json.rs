//! Proto3 JSON of questions and answers, for the command line (and later for the HTTP endpoints).
//!
//! It is stricter than the usual mapping where a lax reader could silently change a decision: unknown and repeated
//! members are malformed. A null member counts as absent, as in proto3 JSON. A null value in a map or a list stays
//! visible and is malformed. Names are read in lowerCamelCase and in snake_case and written in lowerCamelCase.

mod record;
mod write;

use jiff::Timestamp;

use super::{convert, pb};
use crate::authorizer::{Overrides, Question, Refusal, SessionFacts, Simulation, Value, member};
use crate::engine::question::LEVELS;
use crate::language::document::PolicyType;
use crate::language::finding::did_you_mean;
use crate::language::json::{self, Member, Node};
pub use record::{Mark, Record, Recorded};
pub use write::{NoAnswer, answer, context_keys, explained, permissions, principals, simulated};
pub(super) use write::{
    access_name, count, decision_name, policy_type_name, reason_name, rfc3339, severity_name,
};

/// The deepest nesting that is read. Every legal question fits; anything deeper is malformed anyway.
const MAX_DEPTH: usize = 16;

/// A JSON text that has been read; questions borrow from it.
#[derive(Debug)]
pub struct Message<'t>(Node<'t>);

impl<'t> Message<'t> {
    /// Reads `text` as JSON of any kind. Errors call it `field`.
    pub fn parse(text: &'t str, field: &str) -> Result<Self, Refusal> {
        json::parse(text, MAX_DEPTH).map(Self).map_err(|error| {
            let before = text.get(..error.offset).unwrap_or(text);
            let column = before.chars().count() + 1;
            let message = format!("not JSON: {} at column {column}", error.message);
            Refusal::malformed(field, message)
        })
    }

    /// Returns its `requestId`, for an answer that says what is wrong with the other members.
    pub fn request_id(&self) -> &str {
        let id = self.0.member("requestId");
        let id = id.or_else(|| self.0.member("request_id"));
        id.and_then(|member| member.value.as_str())
            .unwrap_or_default()
    }

    /// Reads it as an `AuthorizeRequest`.
    pub fn question(&self) -> Result<Question<'_>, Refusal> {
        let [
            principal,
            action,
            resource,
            context,
            session,
            resource_account,
            request_id,
        ] = members(&self.0, "", QUESTION)?;
        Ok(Question {
            principal: text_of(principal, "principal")?,
            action: text_of(action, "action")?,
            resource: text_of(resource, "resource")?,
            context: map_of(context, "context", value_of)?,
            session: session.map(session_of).transpose()?,
            resource_account: text_of(resource_account, "resource_account")?,
            request_id: text_of(request_id, "request_id")?,
        })
    }

    /// Reads it as a `SimulateRequest`.
    pub fn simulation(&self) -> Result<Simulation<'_>, Refusal> {
        let [
            principal,
            action,
            resource,
            context,
            session,
            resource_account,
            request_id,
            actions,
            resources,
            evaluation_time,
            replace,
            identity,
            of_resources,
            of_session,
            service_control,
            resource_control,
            boundary,
            trust,
            levels,
        ] = members(&self.0, "", SIMULATION)?;
        let lists = [
            texts_of(identity, "identity_policies")?,
            texts_of(of_resources, "resource_policies")?,
            texts_of(of_session, "session_policies")?,
            texts_of(service_control, "service_control_policies")?,
            texts_of(resource_control, "resource_control_policies")?,
        ];
        let singles = [
            text_of(boundary, "permissions_boundary")?,
            text_of(trust, "trust_policy")?,
        ];
        let replace = texts_of(replace, "replace")?.into_iter().enumerate();
        let replace = replace.map(|(index, name)| policy_type_of(name, index));
        Ok(Simulation {
            question: Question {
                principal: text_of(principal, "principal")?,
                action: text_of(action, "action")?,
                resource: text_of(resource, "resource")?,
                context: map_of(context, "context", value_of)?,
                session: session.map(session_of).transpose()?,
                resource_account: text_of(resource_account, "resource_account")?,
                request_id: text_of(request_id, "request_id")?,
            },
            actions: texts_of(actions, "actions")?,
            resources: texts_of(resources, "resources")?,
            evaluation_time: time_of(evaluation_time, "evaluation_time")?,
            overrides: Overrides::new(lists, singles, replace.collect::<Result<_, _>>()?)
                .with_levels(levels_of(levels)?),
        })
    }

    /// Reads it as a `SessionContext`.
    pub fn session(&self) -> Result<Box<SessionFacts<'_>>, Refusal> {
        session_of(&self.0)
    }

    /// Reads it as the value of the context key `key`, which errors name.
    pub fn context_value(&self, key: &str) -> Result<Value<'_>, Refusal> {
        value_of(&self.0, &member("context", key))
    }
}

/// The members of an `AuthorizeRequest`, in snake_case and in camelCase.
const QUESTION: [(&str, &str); 7] = [
    ("principal", "principal"),
    ("action", "action"),
    ("resource", "resource"),
    ("context", "context"),
    ("session", "session"),
    ("resource_account", "resourceAccount"),
    ("request_id", "requestId"),
];

/// The members of a `SimulateRequest`; its policies come in the order of [`Overrides::new`].
const SIMULATION: [(&str, &str); 19] = [
    ("principal", "principal"),
    ("action", "action"),
    ("resource", "resource"),
    ("context", "context"),
    ("session", "session"),
    ("resource_account", "resourceAccount"),
    ("request_id", "requestId"),
    ("actions", "actions"),
    ("resources", "resources"),
    ("evaluation_time", "evaluationTime"),
    ("replace", "replace"),
    ("identity_policies", "identityPolicies"),
    ("resource_policies", "resourcePolicies"),
    ("session_policies", "sessionPolicies"),
    ("service_control_policies", "serviceControlPolicies"),
    ("resource_control_policies", "resourceControlPolicies"),
    ("permissions_boundary", "permissionsBoundary"),
    ("trust_policy", "trustPolicy"),
    (LEVELS, "orderedOrganizationPolicies"),
];

/// Returns the documents of each level of service control policies.
fn levels_of<'n>(node: Option<&'n Node<'_>>) -> Result<Vec<Vec<&'n str>>, Refusal> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    let json::Value::Array(levels) = &node.value else {
        let message = format!("must be a list, not {}", node.kind());
        return Err(Refusal::malformed(LEVELS, message));
    };
    let levels = levels.iter().enumerate().map(|(index, level)| {
        let path = format!("{LEVELS}[{index}]");
        let names = [("service_control_policies", "serviceControlPolicies")];
        let [documents] = members(level, &path, names)?;
        texts_of(documents, &format!("{path}.service_control_policies"))
    });
    levels.collect()
}

/// Returns the policy type called `POLICY_TYPE_…`.
fn policy_type_of(name: &str, index: usize) -> Result<PolicyType, Refusal> {
    let number = pb::PolicyType::from_str_name(name).map(i32::from);
    if let Some(policy_type) = number.and_then(convert::policy_type_of) {
        return Ok(policy_type);
    }
    let names = (1..).map_while(|number| pb::PolicyType::try_from(number).ok());
    let guess = did_you_mean(name, names.map(|one| one.as_str_name()));
    let guess = guess.map(|guess| format!(": {guess}")).unwrap_or_default();
    let message = format!("there is no policy type `{name}`{guess}");
    Err(Refusal::malformed(format!("replace[{index}]"), message))
}

fn session_of<'n>(node: &'n Node<'_>) -> Result<Box<SessionFacts<'n>>, Refusal> {
    let names = [
        ("policies", "policies"),
        ("policy_arns", "policyArns"),
        ("tags", "tags"),
        ("source_identity", "sourceIdentity"),
        ("issued_at", "issuedAt"),
        ("expires_at", "expiresAt"),
        ("mfa_at", "mfaAt"),
        ("transitive_tag_keys", "transitiveTagKeys"),
        ("claims", "claims"),
        ("federated_provider", "federatedProvider"),
        ("parent", "parent"),
        ("attributes", "attributes"),
    ];
    let [
        policies,
        arns,
        tags,
        source_identity,
        issued_at,
        expires_at,
        mfa_at,
        tag_keys,
        claims,
        provider,
        parent,
        attributes,
    ] = members(node, "session", names)?;
    Ok(Box::new(SessionFacts {
        policies: texts_of(policies, "session.policies")?,
        policy_arns: texts_of(arns, "session.policy_arns")?,
        tags: map_of(tags, "session.tags", |node, path| text_of(Some(node), path))?,
        source_identity: text_of(source_identity, "session.source_identity")?,
        issued_at: time_of(issued_at, "session.issued_at")?,
        expires_at: time_of(expires_at, "session.expires_at")?,
        mfa_at: time_of(mfa_at, "session.mfa_at")?,
        transitive_tag_keys: texts_of(tag_keys, "session.transitive_tag_keys")?,
        claims: map_of(claims, "session.claims", value_of)?,
        federated_provider: text_of(provider, "session.federated_provider")?,
        parent: text_of(parent, "session.parent")?,
        attributes: map_of(attributes, "session.attributes", value_of)?,
    }))
}

/// Returns the members of an object in the order of `names`, which holds both spellings of each name.
fn members<'n, 't, const N: usize>(
    node: &'n Node<'t>,
    path: &str,
    names: [(&str, &str); N],
) -> Result<[Option<&'n Node<'t>>; N], Refusal> {
    let mut found = [None; N];
    for Member { name, value, .. } in object(node, path)? {
        let field = if path.is_empty() {
            name.to_string()
        } else {
            format!("{path}.{name}")
        };
        let slot = names
            .iter()
            .position(|(snake, camel)| snake == name || camel == name);
        let Some(slot) = slot.and_then(|slot| found.get_mut(slot)) else {
            let guess = did_you_mean(name, names.iter().map(|(_, camel)| *camel));
            let guess = guess.map(|guess| format!(": {guess}")).unwrap_or_default();
            return Err(Refusal::malformed(
                field,
                format!("unknown member `{name}`{guess}"),
            ));
        };
        if slot.replace(value).is_some() {
            return Err(Refusal::malformed(field, format!("`{name}` appears twice")));
        }
    }
    Ok(found.map(|value| value.filter(|value| value.value != json::Value::Null)))
}

/// Returns the entries of a map. Repeated keys stay, so that the check for C-4 finds them.
fn map_of<'n, 't, T>(
    node: Option<&'n Node<'t>>,
    path: &str,
    read: impl Fn(&'n Node<'t>, &str) -> Result<T, Refusal>,
) -> Result<Vec<(&'n str, T)>, Refusal> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    let mut entries = Vec::new();
    for Member { name, value, .. } in object(node, path)? {
        entries.push((&**name, read(value, &member(path, name))?));
    }
    Ok(entries)
}

fn object<'n, 't>(node: &'n Node<'t>, path: &str) -> Result<&'n [Member<'t>], Refusal> {
    match &node.value {
        json::Value::Object(members) => Ok(members),
        _ => Err(Refusal::malformed(
            path,
            format!("must be an object, not {}", node.kind()),
        )),
    }
}

fn text_of<'n>(node: Option<&'n Node<'_>>, path: &str) -> Result<&'n str, Refusal> {
    let Some(node) = node else {
        return Ok("");
    };
    let wrong = || Refusal::malformed(path, format!("must be a string, not {}", node.kind()));
    node.as_str().ok_or_else(wrong)
}

fn texts_of<'n>(node: Option<&'n Node<'_>>, path: &str) -> Result<Vec<&'n str>, Refusal> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    let json::Value::Array(elements) = &node.value else {
        return Err(Refusal::malformed(
            path,
            format!("must be a list of strings, not {}", node.kind()),
        ));
    };
    let element = |(index, element)| text_of(Some(element), &format!("{path}[{index}]"));
    elements.iter().enumerate().map(element).collect()
}

/// Reads a time in the form of RFC 3339, with `T` between date and time and an offset.
fn time_of(node: Option<&Node<'_>>, path: &str) -> Result<Option<Timestamp>, Refusal> {
    let Some(node) = node else { return Ok(None) };
    let text = text_of(Some(node), path)?;
    // jiff reads more forms than RFC 3339 has: other separators, shorter offsets, time zone names.
    let bytes = text.as_bytes();
    let has_form = bytes
        .get(10)
        .is_some_and(|byte| byte.eq_ignore_ascii_case(&b'T'))
        && (bytes
            .last()
            .is_some_and(|byte| byte.eq_ignore_ascii_case(&b'Z'))
            || bytes
                .len()
                .checked_sub(3)
                .and_then(|colon| bytes.get(colon))
                == Some(&b':'))
        && bytes.get(13) == Some(&b':')
        && bytes.get(16) == Some(&b':');
    match text.parse::<Timestamp>() {
        Ok(time) if has_form => Ok(Some(time)),
        _ => {
            let message =
                format!("`{text}` is not an RFC 3339 time such as `2024-06-01T12:00:00Z`");
            Err(Refusal::malformed(path, message))
        }
    }
}

/// Converts any JSON value. The engine decides which values a context may hold.
fn value_of<'n>(node: &'n Node<'_>, path: &str) -> Result<Value<'n>, Refusal> {
    Ok(match &node.value {
        json::Value::Null => Value::Null,
        json::Value::Bool(value) => Value::Bool(*value),
        // This gives the nearest double. A number of 2^53 or more is not below 2^53 after rounding, so it is
        // still refused (C-5).
        json::Value::Number(source) => match source.parse() {
            Ok(number) => Value::Number(number),
            Err(_) => {
                return Err(Refusal::malformed(
                    path,
                    format!("`{source}` is not a number"),
                ));
            }
        },
        json::Value::String(text) => Value::Text(text),
        json::Value::Array(elements) => {
            let values = elements.iter().map(|element| value_of(element, path));
            Value::List(values.collect::<Result<_, _>>()?)
        }
        json::Value::Object(_) => Value::Object,
    })
}

#[cfg(test)]
mod tests;
