//! The size limits of every question, for all protocols.

use super::{Question, SessionFacts, Value, member};
use crate::config::Limits;
use crate::engine::error::{RequestError, RequestErrorKind};

/// Checks the sizes of all fields.
pub(super) fn check(question: &Question<'_>, limits: &Limits) -> Result<(), RequestError> {
    let Question {
        principal,
        action,
        resource,
        context,
        session,
        resource_account,
        request_id,
    } = question;
    for (field, text) in [
        ("principal", principal),
        ("action", action),
        ("resource", resource),
        ("resource_account", resource_account),
        // The id is only copied to the answer, but it has the limit of every string.
        ("request_id", request_id),
    ] {
        check_string(text, || field.to_owned(), limits)?;
    }
    check_values(context, "context", limits)?;
    session
        .as_deref()
        .map_or(Ok(()), |facts| check_session(facts, limits))
}

fn check_session(facts: &SessionFacts<'_>, limits: &Limits) -> Result<(), RequestError> {
    let SessionFacts {
        policies,
        policy_arns,
        tags,
        source_identity,
        issued_at: _,
        expires_at: _,
        mfa_at: _,
        transitive_tag_keys,
        claims,
        federated_provider,
        parent,
        attributes,
    } = facts;
    check_n_entries(tags.len(), "session.tags", limits)?;
    for (key, value) in tags {
        check_string(key, || "session.tags".to_owned(), limits)?;
        check_string(value, || member("session.tags", key), limits)?;
    }
    check_strings(policies, "session.policies", limits)?;
    check_strings(policy_arns, "session.policy_arns", limits)?;
    check_strings(transitive_tag_keys, "session.transitive_tag_keys", limits)?;
    for (field, text) in [
        ("session.source_identity", source_identity),
        ("session.federated_provider", federated_provider),
        ("session.parent", parent),
    ] {
        check_string(text, || field.to_owned(), limits)?;
    }
    check_values(claims, "session.claims", limits)?;
    check_values(attributes, "session.attributes", limits)
}

/// Checks a map of values: the number of entries, the length of each key and string, and the length of each list.
fn check_values(
    entries: &[(&str, Value<'_>)],
    field: &str,
    limits: &Limits,
) -> Result<(), RequestError> {
    check_n_entries(entries.len(), field, limits)?;
    for (key, value) in entries {
        check_string(key, || field.to_owned(), limits)?;
        let field = || member(field, key);
        match value {
            Value::Text(text) => check_string(text, field, limits)?,
            Value::List(elements) => {
                check_n_values(elements.len(), field, limits)?;
                for element in elements {
                    if let Value::Text(text) = element {
                        check_string(text, field, limits)?;
                    }
                }
            }
            Value::Unset | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object => {}
        }
    }
    Ok(())
}

/// Checks a list of strings.
pub(super) fn check_strings(
    texts: &[&str],
    field: &str,
    limits: &Limits,
) -> Result<(), RequestError> {
    check_n_values(texts.len(), || field.to_owned(), limits)?;
    for (index, text) in texts.iter().enumerate() {
        check_string(text, || format!("{field}[{index}]"), limits)?;
    }
    Ok(())
}

/// Checks the number of entries of a map in the question.
pub fn check_n_entries(n_entries: usize, field: &str, limits: &Limits) -> Result<(), RequestError> {
    let most = limits.max_context_entries;
    if n_entries > most {
        let message = format!("has {n_entries} entries, the limit is {most}");
        return Err(too_large(field, message));
    }
    Ok(())
}

pub(super) fn check_n_values(
    n_values: usize,
    field: impl Fn() -> String,
    limits: &Limits,
) -> Result<(), RequestError> {
    let most = limits.max_list_values;
    if n_values > most {
        let message = format!("the list has {n_values} values, the limit is {most}");
        return Err(too_large(field(), message));
    }
    Ok(())
}

fn check_string(
    text: &str,
    field: impl Fn() -> String,
    limits: &Limits,
) -> Result<(), RequestError> {
    let (n_bytes, most) = (text.len(), limits.max_string_bytes);
    if n_bytes > most {
        let message = format!("the string has {n_bytes} bytes, the limit is {most}");
        return Err(too_large(field(), message));
    }
    Ok(())
}

pub(super) fn too_large(field: impl Into<String>, message: String) -> RequestError {
    RequestError {
        kind: RequestErrorKind::TooLarge,
        field: field.into(),
        message,
    }
}
