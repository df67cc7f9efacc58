//! Questions of scenarios as messages of the protocol.

use iamd::scenario::value::Value;
use iamd::scenario::{Ask, Session};
use iamd::service::pb;
use jiff::Timestamp;
use prost_types::value::Kind;

/// Returns the question as it is sent over the wire, including malformed values.
pub fn to_wire(ask: &Ask) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        principal: ask.principal.clone(),
        action: ask.action.clone(),
        resource: ask.resource.clone(),
        context: wire_entries(&ask.context),
        session: ask.session.as_ref().map(wire_session),
        resource_account: ask.resource_account.clone(),
        request_id: ask.request_id.clone(),
    }
}

fn wire_entries(values: &[(String, Value)]) -> Vec<pb::authorize_request::ContextEntry> {
    let entry = |(key, value): &(String, Value)| pb::authorize_request::ContextEntry {
        key: key.clone(),
        value: Some(wire_value(value)),
    };
    values.iter().map(entry).collect()
}

fn wire_session(session: &Session) -> pb::SessionContext {
    let tag = |(key, value): &(String, String)| pb::session_context::TagsEntry {
        key: key.clone(),
        value: value.clone(),
    };
    pb::SessionContext {
        policies: session.policies.clone(),
        policy_arns: session.policy_arns.clone(),
        tags: session.tags.iter().map(tag).collect(),
        source_identity: session.source_identity.clone(),
        issued_at: session.issued_at.map(wire_timestamp),
        expires_at: session.expires_at.map(wire_timestamp),
        mfa_at: session.mfa_at.map(wire_timestamp),
        transitive_tag_keys: session.transitive_tag_keys.clone(),
        claims: wire_entries(&session.claims),
        federated_provider: session.federated_provider.clone(),
        parent: session.parent.clone(),
        attributes: wire_entries(&session.attributes),
    }
}

pub fn wire_timestamp(at: Timestamp) -> prost_types::Timestamp {
    let nanoseconds = at.as_nanosecond();
    let (seconds, nanos) = (
        nanoseconds.div_euclid(1_000_000_000),
        nanoseconds.rem_euclid(1_000_000_000),
    );
    prost_types::Timestamp {
        seconds: seconds.try_into().unwrap(),
        nanos: nanos.try_into().unwrap(),
    }
}

fn wire_value(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Integer(number) => Kind::NumberValue(*number as f64),
        Value::Float(number) => Kind::NumberValue(*number),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::List(elements) => Kind::ListValue(prost_types::ListValue {
            values: elements.iter().map(wire_value).collect(),
        }),
        Value::Map(members) => {
            let fields = members
                .iter()
                .map(|(name, value)| (name.clone(), wire_value(value)))
                .collect();
            Kind::StructValue(prost_types::Struct { fields })
        }
    };
    prost_types::Value { kind: Some(kind) }
}
