//! Writes records. A record of a decision has the members of `AuthorizeRequest` and `AuthorizeResponse` in proto3 JSON,
//! with members about the record itself before them.
//!
//! ```text
//! {"version":1,"type":"decision","sequence":7,"decisionId":"…-7","instance":"…", │ "time":…, … ,"latencyNs":3100}
//!  └───────── the head, written once the number is known ──────────────────────┘   └── the body, written before ──┘
//! ```

use std::fmt::Display;
use std::io::Write as _;

use jiff::Timestamp;

use super::clock::Clock;
use super::instance::Instance;
use super::json::{self, list, member, name, number, raw, text};
use super::masking::Masking;
use super::statements::Statements;
use crate::authorizer::{Asker, Outcome, Question, SessionFacts, Value};
use crate::config::{Config, MaskedField};
use crate::engine::decision::Decision;
use crate::telemetry::TraceId;

/// The version of the records. A reader must refuse records of a version that it does not know, and ignore members that
/// it does not know.
pub const VERSION: u32 = 1;

/// Buffers above this size are given back after use, because few records are so long.
pub(super) const USUAL_BYTES: usize = 64 * 1024;

/// How every line with a decision begins.
const DECISION: &str = r#"{"version":1,"type":"decision","sequence":"#;

/// Returns how many of these lines are records of decisions.
pub(super) fn n_decisions(lines: &[u8]) -> u64 {
    let mut n_decisions = 0;
    let mut rest = lines;
    while !rest.is_empty() {
        n_decisions += u64::from(rest.starts_with(DECISION.as_bytes()));
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        rest = rest.get(end..).unwrap_or_default();
    }
    n_decisions
}

/// Writes a whole line: the head with `sequence`, then `body`.
pub(super) fn line(out: &mut Vec<u8>, instance: &Instance, sequence: u64, body: &[u8]) {
    let [before_id, after_id] = instance.head();
    let mut digits = itoa::Buffer::new();
    let sequence = digits.format(sequence);
    for part in [DECISION, sequence, before_id, sequence, after_id] {
        raw(out, part);
    }
    out.extend_from_slice(body);
    out.push(b'\n');
}

/// Writes the record with which a run of the server begins.
pub(super) fn start(out: &mut Vec<u8>, instance: &Instance, config: &Config, at: Timestamp) {
    let program = env!("CARGO_PKG_VERSION");
    let (id, mode, sample) = (
        &instance.as_str(),
        config.decision_log,
        config.decision_log_sample,
    );
    shown(
        out,
        format_args!(
            r#"{{"version":{VERSION},"type":"start","instance":"{id}","time":"{at}","nextSequence":1,"program":"iamd {program}","mode":"{mode}","sample":{sample}}}"#
        ),
    );
    out.push(b'\n');
}

/// Writes the record with which a run of the server ends. Without it, the last records of the run may be missing.
pub(super) fn end(out: &mut Vec<u8>, instance: &Instance, last_sequence: u64, at: Timestamp) {
    let id = instance.as_str();
    shown(
        out,
        format_args!(
            r#"{{"version":{VERSION},"type":"end","instance":"{id}","time":"{at}","lastSequence":{last_sequence}}}"#
        ),
    );
    out.push(b'\n');
}

/// The decisions in a row whose records were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Writes the record of lost records.
pub(super) fn lost(out: &mut Vec<u8>, instance: &Instance, lost: Lost, at: Timestamp) {
    let id = instance.as_str();
    let Lost { first, last } = lost;
    let count = last.saturating_sub(first).saturating_add(1);
    shown(
        out,
        format_args!(
            r#"{{"version":{VERSION},"type":"lost","instance":"{id}","time":"{at}","firstSequence":{first},"lastSequence":{last},"count":{count}}}"#
        ),
    );
    out.push(b'\n');
}

/// What a thread has written lately, and most likely writes again.
pub(super) struct Memory {
    clock: Clock,
    statements: Statements,
}

impl Memory {
    pub(super) const fn new() -> Self {
        Self {
            clock: Clock::new(),
            statements: Statements::new(),
        }
    }
}

/// Writes all of a decision's record but its head and the line break.
pub(super) fn body(
    out: &mut Vec<u8>,
    memory: &mut Memory,
    outcome: &Outcome<'_>,
    decision: &Decision,
    asker: &Asker<'_>,
    masking: &Masking,
) {
    let mut masked = Masked {
        masking,
        names: Vec::new(),
    };
    raw(out, r#""time":""#);
    memory.clock.write(out, outcome.at);
    out.push(b'"');
    let question = outcome.question;
    let (name, field) = (name!("requestId"), MaskedField::RequestId);
    masked.text(out, name, field, question.request_id);
    match asker.trace_id {
        TraceId::INVALID => raw(out, r#","traceId":"","protocol":""#),
        trace_id => shown(out, format_args!(r#","traceId":"{trace_id}","protocol":""#)),
    }
    raw(out, asker.protocol.label());
    raw(out, r#"","caller":"#);
    raw(out, asker.caller.as_json());
    let (name, field) = (name!("principal"), MaskedField::Principal);
    masked.text(out, name, field, question.principal);
    member(out, name!("action"), question.action);
    let (name, field) = (name!("resource"), MaskedField::Resource);
    masked.text(out, name, field, question.resource);
    if !question.resource_account.is_empty() {
        member(out, name!("resourceAccount"), question.resource_account);
    }
    context(out, outcome, &mut masked);
    if let Some(facts) = question.session.as_deref() {
        session(out, facts, &mut masked);
    }
    answer(out, memory, outcome, decision);
    raw(out, name!("latencyNs"));
    let nanos = outcome.took.as_nanos();
    number(out, u64::try_from(nanos).unwrap_or(u64::MAX));
    if !masked.names.is_empty() {
        raw(out, name!("masked"));
        list(out, &masked.names, |out, name| text(out, name));
    }
    out.push(b'}');
}

/// Writes the entries of the context that a policy can read.
fn context(out: &mut Vec<u8>, outcome: &Outcome<'_>, masked: &mut Masked<'_>) {
    let question = outcome.question;
    let named = outcome.generation.as_deref();
    let named = named.map(|generation| generation.snapshot.named_keys());
    // Policies that come with the question may name any key.
    let reads_all = has_policies(question) || named.is_none();
    let is_read = |key: &str| {
        reads_all || named.is_some_and(|named| named.contains(key)) || is_read_by_rules(key)
    };
    let read = question.context.iter().filter(|(key, _)| is_read(key));
    masked.map(out, name!("context"), MaskedField::Context, read);
}

fn has_policies(question: &Question<'_>) -> bool {
    let session = question.session.as_deref();
    session.is_some_and(|session| !session.policies.is_empty())
}

/// Returns whether a rule of the semantics reads the key, besides the policies: tags of the request and of the resource
/// (`aws:RequestTag/…`), the list of tag keys, the chain of calls, and what belongs to a call of STS.
fn is_read_by_rules(key: &str) -> bool {
    let begins = |beginning: &str| {
        let own = key.get(..beginning.len());
        own.is_some_and(|own| own.eq_ignore_ascii_case(beginning))
    };
    begins("aws:TagKeys")
        || begins("aws:CalledVia")
        || begins("sts:")
        || memchr::memchr(b'/', key.as_bytes()).is_some()
}

fn session(out: &mut Vec<u8>, facts: &SessionFacts<'_>, masked: &mut Masked<'_>) {
    raw(out, r#","session":{"#);
    let began = out.len();
    if !facts.policies.is_empty() {
        let field = MaskedField::SessionPolicies;
        masked.texts(out, name!("policies"), field, &facts.policies);
    }
    if !facts.policy_arns.is_empty() {
        raw(out, name!("policyArns"));
        list(out, &facts.policy_arns, |out, arn| text(out, arn));
    }
    if !facts.tags.is_empty() {
        let tags = facts.tags.iter();
        let tags: Vec<_> = tags.map(|(key, tag)| (*key, Value::Text(tag))).collect();
        masked.map(out, name!("tags"), MaskedField::SessionTags, tags.iter());
    }
    if !facts.source_identity.is_empty() {
        let field = MaskedField::SessionSourceIdentity;
        masked.text(out, name!("sourceIdentity"), field, facts.source_identity);
    }
    let times = [
        (name!("issuedAt"), facts.issued_at),
        (name!("expiresAt"), facts.expires_at),
        (name!("mfaAt"), facts.mfa_at),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            raw(out, name);
            shown(out, format_args!(r#""{time}""#));
        }
    }
    if !facts.transitive_tag_keys.is_empty() {
        raw(out, name!("transitiveTagKeys"));
        list(out, &facts.transitive_tag_keys, |out, key| text(out, key));
    }
    if !facts.claims.is_empty() {
        let field = MaskedField::SessionClaims;
        masked.map(out, name!("claims"), field, facts.claims.iter());
    }
    if !facts.federated_provider.is_empty() {
        member(out, name!("federatedProvider"), facts.federated_provider);
    }
    if !facts.parent.is_empty() {
        let field = MaskedField::SessionParent;
        masked.text(out, name!("parent"), field, facts.parent);
    }
    if !facts.attributes.is_empty() {
        let field = MaskedField::SessionAttributes;
        masked.map(out, name!("attributes"), field, facts.attributes.iter());
    }
    if out.get(began) == Some(&b',') {
        out.remove(began);
    }
    out.push(b'}');
}

fn answer(out: &mut Vec<u8>, memory: &mut Memory, outcome: &Outcome<'_>, decision: &Decision) {
    raw(
        out,
        match decision.is_allowed() {
            true => r#","decision":"DECISION_ALLOW","reason":"REASON_"#,
            false => r#","decision":"DECISION_DENY","reason":"REASON_"#,
        },
    );
    raw(out, decision.reason().label());
    raw(out, r#"","determiningStatements":"#);
    list(out, decision.determining(), |out, statement| {
        memory.statements.write(out, statement);
    });
    member(out, name!("revision"), outcome.revision());
}

/// The members that may be masked, and the names of those that were.
struct Masked<'m> {
    masking: &'m Masking,
    names: Vec<String>,
}

impl Masked<'_> {
    /// Writes a member with a text, unless a rule drops it.
    fn text(&mut self, out: &mut Vec<u8>, name: &str, field: MaskedField, value: &str) {
        let Some(mask) = self.masking.mask(field, "") else {
            return member(out, name, value);
        };
        self.names.push(field.name().to_owned());
        if let Some(hidden) = self.masking.hidden(mask, value) {
            member(out, name, &hidden);
        }
    }

    /// Writes a member with a list of texts, unless a rule drops it.
    fn texts(&mut self, out: &mut Vec<u8>, name: &str, field: MaskedField, values: &[&str]) {
        let Some(mask) = self.masking.mask(field, "") else {
            raw(out, name);
            return list(out, values, |out, value| text(out, value));
        };
        self.names.push(field.name().to_owned());
        let hidden = values.iter();
        let hidden = hidden.map(|value| self.masking.hidden(mask, value));
        if let Some(hidden) = hidden.collect::<Option<Vec<_>>>() {
            raw(out, name);
            list(out, &hidden, |out, value| text(out, value));
        }
    }

    /// Writes a member with a map, without the entries that rules drop.
    fn map<'e>(
        &mut self,
        out: &mut Vec<u8>,
        name: &str,
        field: MaskedField,
        entries: impl Iterator<Item = &'e (&'e str, Value<'e>)>,
    ) {
        raw(out, name);
        out.push(b'{');
        let mut is_first = true;
        for (key, value) in entries {
            let mask = self.masking.mask(field, key);
            let hidden = match mask {
                None => None,
                Some(mask) => {
                    self.names.push(format!("{}.{key}", field.name()));
                    match self.masking.hidden(mask, &as_text(value)) {
                        None => continue,
                        hidden => hidden,
                    }
                }
            };
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            text(out, key);
            out.push(b':');
            match hidden {
                Some(hidden) => text(out, &hidden),
                None => json::value(out, value),
            }
        }
        out.push(b'}');
    }
}

/// Returns the text of a value that a mask hides: a string as it is, any other value as JSON.
fn as_text<'v>(value: &Value<'v>) -> std::borrow::Cow<'v, str> {
    match value {
        Value::Text(text) => (*text).into(),
        other => {
            let mut written = Vec::new();
            json::value(&mut written, other);
            String::from_utf8(written).unwrap_or_default().into()
        }
    }
}

fn shown(out: &mut Vec<u8>, shown: impl Display) {
    let _ = write!(out, "{shown}"); // writing to memory does not fail
}
