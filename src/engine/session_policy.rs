//! Session policies. Callers send the same few texts again and again, so each text is compiled once.

use std::sync::Arc;

use moka::sync::Cache;

use super::error::RequestError;
use super::work::Work;
use crate::compile::snapshot::{Origin, OwnRows, Policy};
use crate::language::document::{PolicyType, Statement};
use crate::language::finding::Finding;
use crate::language::parse;
use crate::language::report::Base;

/// The most findings about a session policy that an error repeats. An answer must not grow larger than its question.
const MAX_NAMED_FINDINGS: usize = 3;
/// The memory of a cache entry besides its text and what was compiled from it.
const ENTRY_BYTES: usize = 256;
/// The units of work for each byte that begins or ends a JSON value.
const UNITS_OF_VALUE: usize = 12;
/// The units of work for each byte at which a pattern is split. A text of many short pieces takes far longer than one
/// of few long pieces. An escaped byte may be one of these bytes, so a backslash counts too.
const UNITS_OF_PIECE: usize = 30;

/// Compiles session policies and remembers them by their whole text, so that no other text can match. The meaning of a
/// text does not depend on the store, so a reload changes nothing here. Texts with errors are not kept (K-43).
#[derive(Clone, Debug)]
pub struct SessionPolicies(Option<Cache<Arc<str>, Compiled>>);

/// A compiled session policy and its origin.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    pub statements: Arc<[Statement]>,
    pub origin: Arc<Origin>,
    /// The approximate memory in bytes.
    n_bytes: usize,
}

impl SessionPolicies {
    /// Returns a cache that keeps up to about `max_bytes` of compiled policies and drops the least used ones first.
    pub fn remembering(max_bytes: usize) -> Self {
        let weigh = |text: &str, compiled: &Compiled| {
            let n_bytes = text.len() + compiled.n_bytes + ENTRY_BYTES;
            u32::try_from(n_bytes).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder()
            .max_capacity(max_bytes as u64)
            .weigher(move |text: &Arc<str>, compiled| weigh(text, compiled))
            .build();
        Self(Some(cache))
    }

    /// Returns a compiler that keeps nothing, for a few questions.
    pub fn forgetting() -> Self {
        Self(None)
    }

    /// Returns the policy with this text, which is the session's policy number `index`.
    pub(super) fn compile(
        &self,
        index: usize,
        text: &str,
        work: &Work,
    ) -> Result<Arc<Policy>, RequestError> {
        if !work.spend(8 + text.len() / 16) {
            return Err(RequestError::too_much_work());
        }
        let known = self.0.as_ref().and_then(|cache| cache.get(text));
        let Compiled {
            statements, origin, ..
        } = match known {
            Some(compiled) => compiled,
            None => {
                let (name, field) = (
                    format!("session/{index}"),
                    format!("session.policies[{index}]"),
                );
                if !work.spend(units_of_reading(text)) {
                    return Err(RequestError::too_much_work());
                }
                let compiled = parse_document(text, PolicyType::Session, &name, field)?;
                if let Some(cache) = &self.0 {
                    cache.insert(text.into(), compiled.clone());
                    // Without this, dropped entries stay until hundreds of others have been inserted.
                    cache.run_pending_tasks();
                }
                compiled
            }
        };
        Ok(Arc::new(Policy {
            name: format!("session/{index}").into(),
            policy_type: PolicyType::Session,
            file: "".into(),
            statements,
            origin,
            rows: OwnRows::default(),
        }))
    }
}

/// Returns the units of parsing and compiling a policy with this text, estimated from the pieces in it.
fn units_of_reading(text: &str) -> usize {
    let count =
        |is_counted: fn(&u8) -> bool| text.as_bytes().iter().filter(|b| is_counted(b)).count();
    let n_values = count(|byte| matches!(byte, b',' | b'[' | b'{'));
    let n_pieces = count(|byte| matches!(byte, b':' | b'*' | b'?' | b'$' | b'\\'));
    text.len() / 2 + n_values * UNITS_OF_VALUE + n_pieces * UNITS_OF_PIECE
}

/// Parses the policy at `field` of the question.
pub(super) fn parse_document(
    text: &str,
    policy_type: PolicyType,
    name: &str,
    field: String,
) -> Result<Compiled, RequestError> {
    match parse::parse_briefly(text, policy_type, Base::File(name.into())) {
        (Some(document), _) => Ok(Compiled {
            origin: Arc::new(Origin::of(&document)),
            n_bytes: document.statements.iter().map(Statement::n_bytes).sum(),
            statements: document.statements,
        }),
        (None, findings) => {
            let errors = findings.iter().filter(|finding| finding.is_error());
            let why: Vec<String> = errors
                .take(MAX_NAMED_FINDINGS)
                .map(Finding::to_string)
                .collect();
            Err(RequestError::invalid(field, why.join("; ")))
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    const ALLOW: &str = r#"{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"*"}}"#;

    fn n_entries(policies: &SessionPolicies) -> u64 {
        let cache = policies.0.as_ref().unwrap();
        cache.run_pending_tasks();
        cache.entry_count()
    }

    #[test]
    fn the_same_text_is_compiled_once_and_another_is_another() {
        let policies = SessionPolicies::remembering(1 << 20);
        let first = policies.compile(0, ALLOW, &Work::new()).unwrap();
        let again = policies.compile(3, ALLOW, &Work::new()).unwrap();
        assert!(Arc::ptr_eq(&first.statements, &again.statements));
        assert_eq!(
            &*again.name, "session/3",
            "named by its place in this session"
        );
        let other = policies
            .compile(0, &ALLOW.replace("a:b", "a:c"), &Work::new())
            .unwrap();
        assert_ne!(first.statements, other.statements);
        assert_eq!(n_entries(&policies), 2);
    }

    #[test]
    fn errors_are_not_remembered() {
        let policies = SessionPolicies::remembering(1 << 20);
        for _ in 0..2 {
            let error = policies
                .compile(1, r#"{"Statement":[]}"#, &Work::new())
                .unwrap_err();
            assert_eq!(error.field, "session.policies[1]", "K-43");
            assert!(error.message.contains("empty-list"), "{error}");
        }
        assert_eq!(n_entries(&policies), 0, "K-43");
    }

    #[test]
    fn memory_is_bounded() {
        let policies = SessionPolicies::remembering(64 * 1024);
        for index in 0..1_000 {
            policies
                .compile(
                    0,
                    &ALLOW.replace("a:b", &format!("a:b{index}")),
                    &Work::new(),
                )
                .unwrap();
        }
        let n_entries = n_entries(&policies);
        assert!((50..200).contains(&n_entries), "{n_entries} of 1,000");
        let n_bytes = policies.0.as_ref().unwrap().weighted_size();
        assert!(n_bytes <= 64 * 1024, "{n_bytes}");
    }

    #[test]
    fn what_is_counted_is_what_is_held() {
        let list = |entry: &dyn Fn(usize) -> String, n: usize| {
            let entries: Vec<String> = (0..n).map(entry).collect();
            entries.join("")
        };
        let resource = |text: &str| {
            format!(
                r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":"a:b","Resource":"arn:app:x:::{text}"}}}}"#
            )
        };
        let condition = |n: usize| {
            let values: Vec<String> = (0..n)
                .map(|n| format!(r#""value-{n}-of-a-list""#))
                .collect();
            format!(
                r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{{"StringEquals":{{"app:k":[{}]}}}}}}}}"#,
                values.join(",")
            )
        };
        let statements = |n: usize| {
            let one = |n| {
                format!(r#"{{"Sid":"S{n}","Effect":"Allow","Action":"a:b{n}","Resource":"*"}}"#)
            };
            let all: Vec<String> = (0..n).map(one).collect();
            format!(
                r#"{{"Version":"2012-10-17","Statement":[{}]}}"#,
                all.join(",")
            )
        };
        let documents = [
            ("an ordinary one", ALLOW.to_owned()),
            (
                "searches",
                resource(&list(&|n| format!("*abcdefghi{n}"), 1_200)),
            ),
            (
                "variables",
                resource(&list(&|n| format!("${{a:b{n}}}"), 1_200)),
            ),
            (
                "single characters",
                resource(&list(&|_| "a?".to_owned(), 6_000)),
            ),
            ("values", condition(600)),
            ("statements", statements(200)),
        ];
        for (what, text) in documents {
            let mut kept = None;
            let held = allocation_counter::measure(|| {
                let name = "session/0";
                let compiled = parse_document(&text, PolicyType::Session, name, String::new());
                kept = Some(compiled.unwrap());
            });
            let counted = (kept.unwrap().n_bytes + ENTRY_BYTES) as f64;
            let held = held.bytes_current as f64;
            let ratio = held / counted;
            assert!(
                ratio < 1.5,
                "{what}: {held} bytes are held, {counted} counted"
            );
            assert!(
                ratio > 0.3,
                "{what}: {held} bytes are held, {counted} counted"
            );
        }
    }
}
