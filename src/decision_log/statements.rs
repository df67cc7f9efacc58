//! Writes the statements that determined a decision, and remembers how it wrote the last ones.

use std::sync::Arc;

use super::json::{member, name, number, raw, text};
use crate::engine::decision::{StatementMark, StatementRef};
use crate::language::document::PolicyType;

/// How many statements a thread remembers: a power of two.
const N_SLOTS: usize = 256;

/// A statement that takes more bytes is not remembered.
const MOST_BYTES: usize = 1024;

/// The statements that a thread has written lately, as JSON.
///
/// PERF: a few statements determine most decisions, and writing one takes as long as a tenth of a record (`cargo bench
/// --bench serve -- records`).
pub(super) struct Statements(Vec<Slot>);

/// The last statement of those that have this place.
#[derive(Default)]
struct Slot {
    statement: StatementMark,
    json: Vec<u8>,
}

impl Statements {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Writes a statement as an object.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, statement: &StatementRef) {
        if statement.policy.policy_type == PolicyType::Session {
            // A policy that comes with a question is another one each time.
            return write(out, statement);
        }
        if self.0.is_empty() {
            self.0.resize_with(N_SLOTS, Slot::default);
        }
        let Some(slot) = self.0.get_mut(place(statement)) else {
            return write(out, statement);
        };
        if slot.statement.is(statement) {
            out.extend_from_slice(&slot.json);
            return;
        }
        let began = out.len();
        write(out, statement);
        let json = out.get(began..).unwrap_or_default();
        if json.len() <= MOST_BYTES {
            slot.statement = statement.mark();
            slot.json.clear();
            slot.json.extend_from_slice(json);
        }
    }
}

/// Returns the slot of a statement.
fn place(statement: &StatementRef) -> usize {
    // The lowest bits of all addresses are equal, and policies of one load stand at equal distances.
    let address = Arc::as_ptr(&statement.policy).addr() >> 4;
    let mixed = (address ^ statement.index).wrapping_mul(0x9e37_79b9);
    mixed >> 16 & (N_SLOTS - 1)
}

fn write(out: &mut Vec<u8>, statement: &StatementRef) {
    let policy = &statement.policy;
    raw(out, r#"{"policy":"#);
    text(out, &policy.name);
    member(out, name!("sid"), statement.sid());
    raw(out, name!("index"));
    number(out, statement.index as u64);
    raw(out, r#","type":""#);
    raw(out, policy_type_name(policy.policy_type));
    raw(out, r#"","file":"#);
    text(out, &policy.file);
    out.push(b'}');
}

/// Returns the name of a policy type in the protocol.
pub fn policy_type_name(policy_type: PolicyType) -> &'static str {
    match policy_type {
        PolicyType::Identity => "POLICY_TYPE_IDENTITY",
        PolicyType::Resource => "POLICY_TYPE_RESOURCE",
        PolicyType::PermissionsBoundary => "POLICY_TYPE_PERMISSIONS_BOUNDARY",
        PolicyType::Session => "POLICY_TYPE_SESSION",
        PolicyType::ServiceControl => "POLICY_TYPE_SERVICE_CONTROL",
        PolicyType::ResourceControl => "POLICY_TYPE_RESOURCE_CONTROL",
        PolicyType::Trust => "POLICY_TYPE_TRUST",
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;
    use crate::compile::snapshot::{OwnRows, Policy};

    fn policy(name: &str) -> Arc<Policy> {
        Arc::new(Policy {
            name: name.into(),
            policy_type: PolicyType::Identity,
            file: "policies/a.json".into(),
            statements: Arc::new([]),
            origin: Arc::default(),
            rows: OwnRows::default(),
        })
    }

    fn written(statements: &mut Statements, policy: &Arc<Policy>, index: usize) -> String {
        let mut out = b"before ".to_vec();
        let policy = Arc::clone(policy);
        statements.write(&mut out, &StatementRef { policy, index });
        String::from_utf8(out).unwrap()
    }

    fn expected(name: &str, index: usize) -> String {
        let name = serde_json::to_string(name).unwrap();
        format!(
            r#"before {{"policy":{name},"sid":"","index":{index},"type":"POLICY_TYPE_IDENTITY","file":"policies/a.json"}}"#
        )
    }

    #[test]
    fn each_statement_is_written_as_itself_however_many_share_a_slot() {
        let mut statements = Statements::new();
        let names: Vec<_> = (0..4 * N_SLOTS).map(|n| format!("policy-{n}")).collect();
        let policies: Vec<_> = names.iter().map(|name| policy(name)).collect();
        for _ in 0..2 {
            for (name, policy) in names.iter().zip(&policies) {
                let slot_of = |index| {
                    let policy = Arc::clone(policy);
                    place(&StatementRef { policy, index })
                };
                let other = (1..).find(|index| slot_of(*index) == slot_of(0)).unwrap();
                // Twice, so that the second one is remembered.
                for index in [0, 0, 1, 0, other, 0] {
                    let is = written(&mut statements, policy, index);
                    assert_eq!(is, expected(name, index));
                }
            }
        }
        assert_eq!(statements.0.len(), N_SLOTS);
        let used = statements.0.iter().filter(|slot| !slot.json.is_empty());
        assert!(used.count() > N_SLOTS / 2, "the places must differ");
    }

    #[test]
    fn a_policy_with_the_address_of_one_that_is_gone_is_another_one() {
        let mut statements = Statements::new();
        for n in 0..1_000 {
            let name = format!("policy-{n}");
            assert_eq!(
                written(&mut statements, &policy(&name), 0),
                expected(&name, 0)
            );
        }
    }

    #[test]
    fn a_long_statement_is_written_but_not_remembered() {
        let mut statements = Statements::new();
        let (long, name) = ("x".repeat(MOST_BYTES), "short");
        let policies = [policy(name), policy(&long)];
        for (policy, name) in [(&policies[0], name), (&policies[1], &long)] {
            for _ in 0..2 {
                assert_eq!(written(&mut statements, policy, 0), expected(name, 0));
            }
        }
        let kept = statements.0.iter().filter(|slot| !slot.json.is_empty());
        assert_eq!(kept.count(), 1);
    }
}
