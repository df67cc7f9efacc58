//! The statements of one effect about one action, with an index that tells which of them may cover a resource.
//!
//! Each statement has a row. The row says how a text must begin and end to be covered, and one comparison of numbers
//! leaves out most statements about something else (M-23):
//!
//! ```text
//! arn:aws:orders:*:111122223333:order/1001*     a pattern
//!     ╰── head ──╯╰ of up to 16 bytes    ╰ no tail, since a wildcard ends it
//! ```
//!
//! For most statements with a single pattern, the row alone tells whether the pattern covers a resource. The needed
//! parts stand in the row or beside the rows (`parts`), and the conditions are at hand too, so the statement itself
//! need not be fetched. This only makes it faster: the scan over all statements reads the statements, and gives the
//! same answers. If there are many statements, a filter runs before the rows (`filter`).

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::language::condition::Condition;
use crate::language::document::Statement;
use crate::language::pattern::ResourcePattern;
use crate::name::Resource;
use filter::Filter;
use parts::{Covering, HEAD, Parts, PartsMaker};

pub(super) use filter::{MAX_FILTERED, filterable};

mod filter;
mod parts;

/// Up to this many statements are tried one by one, without a filter.
pub(super) const MAX_UNFILTERED: usize = 12;
/// A statement of a set: the index of its policy in the set, and its own index in the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The index of the policy, from 0.
    pub policy: u32,
    /// The index of the statement, from 0.
    pub statement: u32,
}

/// Statements in the order of their policies.
#[derive(Default)]
pub struct Section {
    rows: Box<[Row]>,
    /// The parts that rows require of a resource.
    parts: Parts,
    /// The conditions of the rows that have [`Asks::Conditions`].
    conditions: Box<[Arc<[Condition]>]>,
    /// One filter for every [`MAX_FILTERED`] statements. Empty if there are few statements.
    filters: Box<[Filter]>,
}

impl Section {
    /// Builds a section from the statements about the action.
    pub(super) fn new(found: Vec<(Candidate, &Statement)>) -> Self {
        let filters = if found.len() > MAX_UNFILTERED {
            found
                .chunks(MAX_FILTERED)
                .map(|some| Filter::of(some.iter().map(|(_, statement)| *statement)))
                .collect()
        } else {
            Box::default()
        };
        let (mut parts, mut conditions) = (PartsMaker::default(), Vec::new());
        let mut row = |found| Row::of(found, &mut parts, &mut conditions);
        Self {
            rows: found.into_iter().map(&mut row).collect(),
            parts: parts.into(),
            conditions: conditions.into(),
            filters,
        }
    }

    /// Calls `visit` with each statement that may cover `resource`, in order, until it breaks. `ends` must be the ends
    /// of `resource`.
    #[inline]
    pub fn visit<'s, B>(
        &'s self,
        resource: &Resource,
        ends: &Ends,
        mut visit: impl FnMut(Found<'s>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if self.filters.is_empty() {
            for row in &self.rows {
                if let Some(found) = self.found(row, resource, ends) {
                    visit(found)?;
                }
            }
            return ControlFlow::Continue(());
        }
        self.visit_filtered(resource, ends, visit)
    }

    #[inline(never)]
    fn visit_filtered<'s, B>(
        &'s self,
        resource: &Resource,
        ends: &Ends,
        mut visit: impl FnMut(Found<'s>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        for (filter, rows) in self.filters.iter().zip(self.rows.chunks(MAX_FILTERED)) {
            let passed = filter.pass(resource);
            for (word, begin) in passed.iter().zip((0usize..).step_by(64)) {
                let mut left = *word;
                while left != 0 {
                    let at = begin + left.trailing_zeros() as usize;
                    left &= left - 1;
                    if let Some(row) = rows.get(at)
                        && let Some(found) = self.found(row, resource, ends)
                    {
                        visit(found)?;
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Returns the statement of `row`, unless it does not cover `resource`.
    #[inline]
    fn found(&self, row: &Row, resource: &Resource, ends: &Ends) -> Option<Found<'_>> {
        if !row.may_cover(ends) {
            return None;
        }
        let covers = match (&row.covering, resource) {
            (Covering::Everything, _) => true,
            (Covering::ByPattern, _) => false,
            (_, Resource::Any) => return None, // M-11
            // A pattern that is evaluated is paid for (E-1). The check here is not, so it must not take long.
            (_, Resource::Arn(arn)) if arn.as_str().len() > LONGEST_TOLD => false,
            (Covering::Part(part), Resource::Arn(arn)) => {
                if !self.parts.fits(part, arn) {
                    return None;
                }
                true
            }
            (Covering::Parts { first, n }, Resource::Arn(arn)) => {
                if !self.parts.fit(*first, *n, arn) {
                    return None;
                }
                true
            }
        };
        Some(Found {
            candidate: row.candidate,
            covers,
            conditions: match row.asks {
                Asks::Nothing => Some(&[]),
                Asks::Conditions(at) => self.conditions.get(at as usize).map(|all| &**all),
                Asks::MoreThanConditions => None,
            },
        })
    }

    /// Returns about how much memory it takes besides itself, in bytes.
    pub(super) fn n_bytes(&self) -> usize {
        let filters: usize = self.filters.iter().map(Filter::n_bytes).sum();
        size_of_val(&*self.rows) + size_of_val(&*self.conditions) + self.parts.n_bytes() + filters
    }
}

/// The longest resource, in bytes, that is compared with the parts of rows.
const LONGEST_TOLD: usize = 512;

/// How many bytes of a resource's end are compared.
const TAIL: usize = 8;

/// The beginning and the end of a resource's text, as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    head: u128,
    tail: u64,
}

impl Ends {
    /// Returns the ends of `resource`. Those of `*` are empty, because patterns that could cover it require none
    /// (M-11).
    pub fn of(resource: &Resource) -> Self {
        match resource {
            Resource::Any => Self::default(),
            Resource::Arn(arn) => Self {
                head: first_bytes(behind_arn(arn.as_str())),
                // INVARIANT: an ARN is longer than this; `Arn::parse` holds it.
                tail: arn
                    .as_str()
                    .as_bytes()
                    .last_chunk()
                    .map_or(0, |tail| u64::from_be_bytes(*tail)),
            },
        }
    }
}

/// Returns the text after `arn:`.
fn behind_arn(text: &str) -> &[u8] {
    text.as_bytes().get("arn:".len()..).unwrap_or_default()
}

/// Returns the first bytes as a number, with the first byte lowest and zeros for missing bytes.
fn first_bytes(bytes: &[u8]) -> u128 {
    if let Some(head) = bytes.first_chunk::<HEAD>() {
        return u128::from_le_bytes(*head);
    }
    bytes
        .iter()
        .rev()
        .fold(0, |head, byte| head << 8 | u128::from(*byte))
}

/// A statement that may cover the resource.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found<'s> {
    /// The statement.
    pub candidate: Candidate,
    /// Whether it surely covers the resource. If not, its patterns have to be evaluated.
    pub covers: bool,
    /// Its conditions, if it restricts nothing else besides action and resource. `None` if the statement itself has to
    /// be evaluated.
    pub conditions: Option<&'s [Condition]>,
}

/// A statement's row: the required ends of a resource, the other parts of its pattern, and where its conditions are.
///
/// PERF: a row fills one cache line of the CPU (`cargo bench --bench decide -- attached`).
#[repr(align(64))]
struct Row {
    head: u128,
    tail: u64,
    candidate: Candidate,
    covering: Covering,
    /// How many bits of the head are compared, from the lowest.
    n_head_bits: u8,
    /// How many bits of the tail are compared.
    n_tail_bits: u8,
    asks: Asks,
}

const _: () = assert!(size_of::<Row>() == 64, "one line");

/// The requirements of a statement besides action and resource.
#[derive(Clone, Copy)]
enum Asks {
    Nothing,
    /// It has these conditions.
    Conditions(u32),
    /// It names a principal too.
    MoreThanConditions,
}

impl Asks {
    fn of(statement: &Statement, conditions: &mut Vec<Arc<[Condition]>>) -> Self {
        if statement.principal.is_some() {
            return Self::MoreThanConditions;
        }
        if statement.conditions.is_empty() {
            return Self::Nothing;
        }
        let Ok(at) = u32::try_from(conditions.len()) else {
            return Self::MoreThanConditions;
        };
        conditions.push(Arc::clone(&statement.conditions));
        Self::Conditions(at)
    }
}

impl Row {
    /// Builds a row. For several patterns, its ends are those that they have in common.
    fn of(
        (candidate, statement): (Candidate, &Statement),
        parts: &mut PartsMaker,
        conditions: &mut Vec<Arc<[Condition]>>,
    ) -> Self {
        let mut patterns = filterable(statement).unwrap_or_default().iter();
        let (mut head, mut n_head_bits, mut tail, mut n_tail_bits) = (0, 0, 0, 0);
        if let Some(first) = patterns.next() {
            (head, n_head_bits) = head_of(first);
            (tail, n_tail_bits) = tail_of(first);
        }
        for pattern in patterns {
            let (other_head, other_head_bits) = head_of(pattern);
            let (other_tail, other_tail_bits) = tail_of(pattern);
            let n_equal = (head ^ other_head).trailing_zeros() as usize;
            n_head_bits = n_head_bits.min(other_head_bits).min(n_equal);
            let n_equal = (tail ^ other_tail).trailing_zeros() as usize;
            n_tail_bits = n_tail_bits.min(other_tail_bits).min(n_equal);
        }
        Self {
            head,
            tail,
            candidate,
            covering: parts.covering(statement),
            n_head_bits: u8::try_from(n_head_bits).unwrap_or(0),
            n_tail_bits: u8::try_from(n_tail_bits).unwrap_or(0),
            asks: Asks::of(statement, conditions),
        }
    }

    #[inline]
    fn may_cover(&self, ends: &Ends) -> bool {
        (ends.head ^ self.head).trailing_zeros() >= u32::from(self.n_head_bits)
            && (ends.tail ^ self.tail).trailing_zeros() >= u32::from(self.n_tail_bits)
    }
}

/// Returns the beginning of every resource that `pattern` covers, and its length in bits.
fn head_of(pattern: &ResourcePattern) -> (u128, usize) {
    let head = behind_arn(pattern.beginning());
    (first_bytes(head), 8 * head.len().min(HEAD))
}

/// Returns the end of every resource that `pattern` covers, and its length in bits.
fn tail_of(pattern: &ResourcePattern) -> (u64, usize) {
    let end = pattern.ending().as_bytes();
    let last = end.len().saturating_sub(TAIL);
    let last = end.get(last..).unwrap_or_default();
    let push = |tail: u64, byte: &u8| tail << 8 | u64::from(*byte);
    (last.iter().fold(0, push), 8 * last.len())
}

#[cfg(test)]
mod tests;
