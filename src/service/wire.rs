//! Questions and answers in the bytes of the protocol, without a message in between.
//!
//! A question is read in place: its texts are borrowed from the bytes that came. This reads the ordinary form alone.
//! Anything else, such as a session, the value `null` or a field that this version does not know, is left to the generated
//! reader (`pb::AuthorizeRequest`), which knows every form. What is read here is the same question that the generated
//! reader would read, and a test holds it to that.

use std::time::{Duration, Instant};

use prost::bytes::BufMut;
use prost::encoding::{encode_varint, encoded_len_varint};

use crate::authorizer::{Outcome, Question, Value};
use crate::config::TURN;
use crate::engine::decision::{Decision, StatementRef};

use super::{convert, overload};

/// The keys of fields: the number of the field, and the form of its value.
mod key {
    const VARINT: u8 = 0;
    const FIXED_64: u8 = 1;
    const LENGTH: u8 = 2;

    pub(super) const PRINCIPAL: u8 = 1 << 3 | LENGTH;
    pub(super) const ACTION: u8 = 2 << 3 | LENGTH;
    pub(super) const RESOURCE: u8 = 3 << 3 | LENGTH;
    pub(super) const CONTEXT: u8 = 4 << 3 | LENGTH;
    pub(super) const RESOURCE_ACCOUNT: u8 = 6 << 3 | LENGTH;
    pub(super) const REQUEST_ID: u8 = 7 << 3 | LENGTH;

    pub(super) const ENTRY_KEY: u8 = 1 << 3 | LENGTH;
    pub(super) const ENTRY_VALUE: u8 = 2 << 3 | LENGTH;

    pub(super) const NUMBER: u8 = 2 << 3 | FIXED_64;
    pub(super) const TEXT: u8 = 3 << 3 | LENGTH;
    pub(super) const BOOL: u8 = 4 << 3 | VARINT;
    pub(super) const LIST: u8 = 6 << 3 | LENGTH;
    pub(super) const LISTED: u8 = 1 << 3 | LENGTH;

    pub(super) const DECISION: u8 = 1 << 3 | VARINT;
    pub(super) const REASON: u8 = 2 << 3 | VARINT;
    pub(super) const STATEMENT: u8 = 3 << 3 | LENGTH;
    pub(super) const REVISION: u8 = 4 << 3 | LENGTH;
    pub(super) const ANSWERED_REQUEST_ID: u8 = 5 << 3 | LENGTH;
    pub(super) const DECISION_ID: u8 = 6 << 3 | LENGTH;

    pub(super) const POLICY: u8 = 1 << 3 | LENGTH;
    pub(super) const SID: u8 = 2 << 3 | LENGTH;
    pub(super) const INDEX: u8 = 3 << 3 | VARINT;
    pub(super) const TYPE: u8 = 4 << 3 | VARINT;
    pub(super) const FILE: u8 = 5 << 3 | LENGTH;
}

/// What the questions of one call or connection have in common.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The memory of a question's context, kept for the next question.
    context: Vec<(&'static str, Value<'static>)>,
    /// How long the call has worked since others had a turn.
    busy: Duration,
    /// The moment up to which that is counted.
    counted_to: Option<Instant>,
}

impl Scratch {
    /// Returns the memory, empty.
    fn take<'b>(&mut self) -> Vec<(&'b str, Value<'b>)> {
        std::mem::take(&mut self.context)
    }

    /// Keeps the memory of `context`, unless it is unusually long.
    pub(super) fn keep(&mut self, mut context: Vec<(&str, Value<'_>)>) {
        const USUAL: usize = 64;
        context.clear();
        if context.capacity() <= USUAL {
            // No entry is left that could borrow anything; the standard library collects into the same memory.
            self.context = context.into_iter().map(|_| ("", Value::Unset)).collect();
        }
    }

    /// Begins to count the time of the call: it works from now on.
    pub(super) fn resume(&mut self) {
        self.counted_to = Some(Instant::now());
    }

    /// Returns whether the call has worked for so long that others must have a turn. Then a new turn begins.
    pub(super) fn ends_turn(&mut self) -> bool {
        let now = Instant::now();
        let before = self.counted_to.replace(now).unwrap_or(now);
        self.busy += now.saturating_duration_since(before);
        let is_over = self.busy >= TURN;
        if is_over {
            overload::worked(std::mem::take(&mut self.busy));
        }
        is_over
    }
}

/// Reads the question in `bytes`, if they have the ordinary form with at most `max_entries` entries of context.
pub(super) fn question<'b>(
    bytes: &'b [u8],
    max_entries: usize,
    scratch: &mut Scratch,
) -> Option<Question<'b>> {
    let mut question = Question {
        context: scratch.take(),
        ..Question::default()
    };
    let mut fields = Fields::of(bytes);
    while !fields.is_empty() {
        let key = fields.byte()?;
        let value = fields.delimited()?;
        let field = match key {
            key::PRINCIPAL => &mut question.principal,
            key::ACTION => &mut question.action,
            key::RESOURCE => &mut question.resource,
            key::RESOURCE_ACCOUNT => &mut question.resource_account,
            key::REQUEST_ID => &mut question.request_id,
            key::CONTEXT if question.context.len() < max_entries => {
                question.context.push(entry(value)?);
                continue;
            }
            _ => return None,
        };
        *field = value.text()?; // of a text that is there twice, the last counts
    }
    Some(question)
}

/// Reads an entry of the context.
fn entry(mut fields: Fields<'_>) -> Option<(&str, Value<'_>)> {
    if fields.byte()? != key::ENTRY_KEY {
        return None;
    }
    let name = fields.delimited()?.text()?;
    if fields.byte()? != key::ENTRY_VALUE {
        return None;
    }
    let value = value(fields.delimited()?)?;
    fields.is_empty().then_some((name, value))
}

/// Reads a `google.protobuf.Value` that a context may have.
fn value(mut fields: Fields<'_>) -> Option<Value<'_>> {
    if fields.next() != Some(key::LIST) {
        return scalar(fields);
    }
    fields.byte()?;
    let mut listed = fields.delimited()?;
    let mut elements = Vec::new();
    while !listed.is_empty() {
        if listed.byte()? != key::LISTED {
            return None;
        }
        elements.push(scalar(listed.delimited()?)?);
    }
    fields.is_empty().then_some(Value::List(elements))
}

/// Reads a `google.protobuf.Value` that holds a string, a number or a Boolean.
fn scalar(mut fields: Fields<'_>) -> Option<Value<'_>> {
    let value = match fields.byte()? {
        key::TEXT => Value::Text(fields.delimited()?.text()?),
        key::NUMBER => {
            let number = fields.take(size_of::<f64>())?;
            let (number, _) = number.bytes().split_first_chunk()?;
            Value::Number(f64::from_le_bytes(*number))
        }
        key::BOOL => match fields.byte()? {
            0 => Value::Bool(false),
            1 => Value::Bool(true),
            _ => return None,
        },
        _ => return None,
    };
    fields.is_empty().then_some(value)
}

/// The rest of an encoded message.
#[derive(Clone, Copy)]
struct Fields<'b> {
    message: &'b [u8],
    /// The same bytes as a text, if they are known to be one.
    ///
    /// PERF: most questions are one text from the first byte to the last, since their keys and lengths are ASCII
    /// characters too. So all of it is checked at once, and of each field only that it begins and ends between two
    /// characters.
    text: Option<&'b str>,
    /// Where in the message the rest begins, and where it ends.
    at: usize,
    end: usize,
}

impl<'b> Fields<'b> {
    fn of(message: &'b [u8]) -> Self {
        Self {
            message,
            text: std::str::from_utf8(message).ok(),
            at: 0,
            end: message.len(),
        }
    }

    fn is_empty(&self) -> bool {
        self.at >= self.end
    }

    fn bytes(&self) -> &'b [u8] {
        self.message.get(self.at..self.end).unwrap_or_default()
    }

    /// Returns the next byte, and leaves it there.
    fn next(&self) -> Option<u8> {
        self.bytes().first().copied()
    }

    /// Takes the next `n_bytes`.
    fn take(&mut self, n_bytes: usize) -> Option<Self> {
        let end = self.at.checked_add(n_bytes)?;
        if end > self.end {
            return None;
        }
        let taken = Self { end, ..*self };
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.next()?;
        self.at += 1;
        Some(byte)
    }

    /// Takes a length of up to four bytes, and as many bytes.
    fn delimited(&mut self) -> Option<Self> {
        const MORE: u8 = 0x80;
        let mut length = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            length |= usize::from(byte & !MORE) << shift;
            if byte & MORE == 0 {
                return self.take(length);
            }
        }
        None
    }

    /// Returns all of it as a text.
    fn text(self) -> Option<&'b str> {
        let part = self.text.and_then(|text| text.get(self.at..self.end));
        part.or_else(|| std::str::from_utf8(self.bytes()).ok())
    }
}

/// An answer that can be written: an `AuthorizeResponse` of the protocol.
pub(super) struct Answer<'o> {
    outcome: &'o Outcome<'o>,
    decision: &'o Decision,
    decision_id: &'o str,
}

impl<'o> Answer<'o> {
    /// Returns the answer of `outcome`, whose decision is `decision` and whose record has the id `decision_id`.
    pub(super) fn of(
        outcome: &'o Outcome<'o>,
        decision: &'o Decision,
        decision_id: &'o str,
    ) -> Self {
        Self {
            outcome,
            decision,
            decision_id,
        }
    }

    /// Returns how many bytes the answer has.
    pub(super) fn n_bytes(&self) -> usize {
        let statements = self.decision.determining().iter();
        let statements: usize = statements
            .map(|s| n_bytes_delimited(statement_bytes(s)))
            .sum();
        let numbers = 2 + 2; // the decision and the reason, which are below 128
        numbers
            + statements
            + n_bytes_of_text(self.outcome.revision())
            + n_bytes_of_text(self.outcome.question.request_id)
            + n_bytes_of_text(self.decision_id)
    }

    /// Writes the answer.
    pub(super) fn put(&self, out: &mut impl BufMut) {
        out.put_u8(key::DECISION);
        out.put_u8(if self.decision.is_allowed() {
            ALLOW
        } else {
            DENY
        });
        out.put_u8(key::REASON);
        out.put_u8(self.decision.reason() as u8);
        for statement in self.decision.determining() {
            out.put_u8(key::STATEMENT);
            encode_varint(statement_bytes(statement) as u64, out);
            put_text(key::POLICY, &statement.policy.name, out);
            put_text(key::SID, statement.sid(), out);
            put_number(key::INDEX, index(statement), out);
            put_number(key::TYPE, policy_type(statement), out);
            put_text(key::FILE, &statement.policy.file, out);
        }
        put_text(key::REVISION, self.outcome.revision(), out);
        put_text(
            key::ANSWERED_REQUEST_ID,
            self.outcome.question.request_id,
            out,
        );
        put_text(key::DECISION_ID, self.decision_id, out);
    }
}

const DENY: u8 = 1;
const ALLOW: u8 = 2;

fn index(statement: &StatementRef) -> u64 {
    u32::try_from(statement.index).unwrap_or(u32::MAX).into()
}

fn policy_type(statement: &StatementRef) -> u64 {
    convert::policy_type(statement.policy.policy_type) as u64
}

fn statement_bytes(statement: &StatementRef) -> usize {
    n_bytes_of_text(&statement.policy.name)
        + n_bytes_of_text(statement.sid())
        + n_bytes_of_number(index(statement))
        + n_bytes_of_number(policy_type(statement))
        + n_bytes_of_text(&statement.policy.file)
}

/// Returns the length of a field of `n_bytes`: with its key and its length.
pub(super) fn n_bytes_delimited(n_bytes: usize) -> usize {
    1 + encoded_len_varint(n_bytes as u64) + n_bytes
}

fn n_bytes_of_text(text: &str) -> usize {
    match text.len() {
        0 => 0, // the default is not sent
        n_bytes => n_bytes_delimited(n_bytes),
    }
}

fn n_bytes_of_number(number: u64) -> usize {
    match number {
        0 => 0, // the default is not sent
        number => 1 + encoded_len_varint(number),
    }
}

fn put_text(key: u8, text: &str, out: &mut impl BufMut) {
    if !text.is_empty() {
        out.put_u8(key);
        encode_varint(text.len() as u64, out);
        out.put_slice(text.as_bytes());
    }
}

fn put_number(key: u8, number: u64, out: &mut impl BufMut) {
    if number != 0 {
        out.put_u8(key);
        encode_varint(number, out);
    }
}

#[cfg(test)]
mod tests;
