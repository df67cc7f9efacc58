//! The statements of one policy in the form that the indexes read.
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
//! same answers.
//!
//! Beside the rows stand the actions of the statements (`entries`), from which the [`Trie`](super::trie::Trie) of a set
//! is built. The rows of a policy are made once, with the first trie of a set that has the policy, and all sets with the
//! policy share them.

use std::fmt;
use std::sync::Arc;

use super::demand::statement_cost;
use crate::language::condition::Condition;
use crate::language::document::{Listed, Statement};
use crate::language::pattern::ResourcePattern;
use crate::name::{GivenArn, Resource};
use entries::Summary;
pub(super) use entries::{Entry, Kind, LONGEST};
use parts::{Covering, HEAD, Part, PartsMaker};

mod entries;
mod parts;

/// The statements of one policy.
///
/// PERF: it lies in its policy, so that a question finds the row of a candidate by one more pointer only. What a question
/// seldom reads stands apart.
pub struct Rows {
    /// One row for each statement, in source order.
    rows: Box<[Row]>,
    /// The texts of the statements, one after another: of their actions, in lower case, and of their parts.
    texts: Box<[u8]>,
    /// The conditions of the rows that have [`Asks::Conditions`].
    conditions: Box<[Arc<[Condition]>]>,
    others: Box<Others>,
}

/// What a question seldom reads.
struct Others {
    /// The parts of rows that require several.
    parts: Box<[Part]>,
    /// The actions of the statements, in source order.
    entries: Box<[Entry]>,
}

impl Rows {
    /// Builds the rows of `statements`.
    pub fn of(statements: &[Statement]) -> Self {
        let (mut making, mut conditions, mut entries) =
            (PartsMaker::default(), Vec::new(), Vec::new());
        let rows = (0u32..).zip(statements).map(|(index, statement)| {
            let row = Row::of(statement, &mut making, &mut conditions);
            Entry::add(
                index,
                statement,
                row.summary(),
                &mut entries,
                &mut making.texts,
            );
            row
        });
        Self {
            rows: rows.collect(),
            texts: making.texts.into(),
            conditions: conditions.into(),
            others: Box::new(Others {
                parts: making.parts.into(),
                entries: entries.into(),
            }),
        }
    }

    /// Returns the actions of the statements, in source order.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.others.entries
    }

    /// Returns the text of an action in lower case, given its offset and its length in bytes.
    #[inline]
    pub(super) fn name(&self, at: u32, n_bytes: u8) -> &[u8] {
        let at = at as usize;
        let text = self.texts.get(at..at + usize::from(n_bytes));
        text.unwrap_or_default()
    }

    /// Returns the estimated nanoseconds to evaluate a statement, and whether a filter can leave it out.
    pub(super) fn cost(&self, statement: u32) -> (u16, bool) {
        let row = self.rows.get(statement as usize);
        row.map_or((0, false), |row| (row.cost, row.is_filterable))
    }

    /// Returns what the row of a statement tells about `resource`, whose ends are `ends`. Returns `None` if the
    /// statement does not cover the resource.
    #[inline(always)] // PERF: the result is too large for registers.
    pub(super) fn look(
        &self,
        statement: u32,
        resource: &Resource,
        ends: &Ends,
    ) -> Option<Look<'_>> {
        let Some(row) = self.rows.get(statement as usize) else {
            // There is no such row unless memory is broken. The engine then finds no statement either, and refuses.
            return Some(Look::UNKNOWN);
        };
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
                if !part.fits(&self.texts, arn) {
                    return None;
                }
                true
            }
            (Covering::Parts { first, n }, Resource::Arn(arn)) => {
                if !self.all_fit(*first, *n, arn) {
                    return None;
                }
                true
            }
        };
        Some(Look {
            covers,
            conditions: match row.asks {
                Asks::Nothing => Some(&[]),
                Asks::Conditions(at) => self.conditions.get(at as usize).map(|all| &**all),
                Asks::MoreThanConditions => None,
            },
        })
    }

    #[inline]
    fn all_fit(&self, first: u32, n: u8, arn: &GivenArn<'_>) -> bool {
        let first = first as usize;
        let parts = self.others.parts.get(first..first + usize::from(n));
        parts.is_some_and(|parts| parts.iter().all(|part| part.fits(&self.texts, arn)))
    }

    /// Returns about how much memory they take, in bytes.
    pub fn n_bytes(&self) -> usize {
        let Others { parts, entries } = &*self.others;
        size_of::<Self>()
            + size_of_val(&*self.rows)
            + self.texts.len()
            + size_of_val(&*self.conditions)
            + size_of::<Others>()
            + size_of_val(&**parts)
            + size_of_val(&**entries)
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Rows");
        debug.field("n", &self.rows.len()).finish_non_exhaustive()
    }
}

/// What a row tells about a resource that its statement may cover.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look<'s> {
    /// Whether the statement surely covers it. If not, its patterns have to be evaluated.
    pub covers: bool,
    /// The statement's conditions, if it restricts nothing else besides action and resource. `None` if the statement
    /// itself has to be evaluated.
    pub conditions: Option<&'s [Condition]>,
}

impl Look<'_> {
    /// Nothing is known, and the statement has to be evaluated.
    pub(super) const UNKNOWN: Self = Self {
        covers: false,
        conditions: None,
    };
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
    /// Returns the first eight bytes after `arn:`, the first one lowest.
    #[inline]
    pub(super) fn first_head(&self) -> u64 {
        self.head as u64
    }

    /// Returns the ends of `resource`. Those of `*` are empty, because patterns that could cover it require none
    /// (M-11).
    pub fn of(resource: &Resource) -> Self {
        match resource {
            Resource::Any => Self::default(),
            Resource::Arn(arn) => Self {
                head: first_bytes(behind_arn(arn.as_str())),
                // INVARIANT: an ARN is longer than this; `GivenArn::split` holds it.
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

/// A statement's row: the required ends of a resource, the other parts of its pattern, and where its conditions are.
///
/// PERF: a row fills one cache line of the CPU (`cargo bench --bench decide -- attached`).
#[repr(align(64))]
struct Row {
    head: u128,
    tail: u64,
    covering: Covering,
    /// How many bits of the head are compared, from the lowest.
    n_head_bits: u8,
    /// How many bits of the tail are compared.
    n_tail_bits: u8,
    /// Whether a filter can leave the statement out for some resources.
    is_filterable: bool,
    asks: Asks,
    /// The estimated nanoseconds to evaluate the statement.
    cost: u16,
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
        statement: &Statement,
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
            covering: parts.covering(statement),
            n_head_bits: u8::try_from(n_head_bits).unwrap_or(0),
            n_tail_bits: u8::try_from(n_tail_bits).unwrap_or(0),
            is_filterable: filterable(statement).is_some(),
            asks: Asks::of(statement, conditions),
            cost: u16::try_from(statement_cost(statement)).unwrap_or(u16::MAX),
        }
    }

    /// Returns what the entries of the statement repeat: its cost, and up to eight bytes with which every covered resource
    /// begins after `arn:`.
    fn summary(&self) -> Summary {
        Summary {
            cost: self.cost,
            n_head: (self.n_head_bits / 8).min(8),
            head: self.head as u64,
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

/// Returns the end of every resource that `pattern` covers, and its length in bits. What ends are required is required by
/// [`ResourcePattern::may_cover`] too.
fn tail_of(pattern: &ResourcePattern) -> (u64, usize) {
    let end = pattern.ending().as_bytes();
    let last = end.len().saturating_sub(TAIL);
    let last = end.get(last..).unwrap_or_default();
    let push = |tail: u64, byte: &u8| tail << 8 | u64::from(*byte);
    (last.iter().fold(0, push), 8 * last.len())
}

/// Returns the patterns of which one must match. Returns `None` if they do not restrict the resource: without
/// `Resource`, with `NotResource`, or with `*` (M-10, M-20).
pub(super) fn filterable(statement: &Statement) -> Option<&[ResourcePattern]> {
    match &statement.resources {
        Some(Listed::Any(patterns)) => {
            let is_any = patterns.iter().any(ResourcePattern::is_everything);
            (!is_any).then_some(patterns)
        }
        Some(Listed::Not(_)) | None => None,
    }
}
