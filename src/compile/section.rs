//! The statements of one effect that speak of one action, and which of them are worth a look for a resource.
//!
//! A filter leaves out what cannot match, and nothing else (M-23). It looks at two things that follow from a pattern
//! whatever its wildcards and variables stand for: an ARN without any equals the resource, and every other pattern
//! has a run of characters that the resource must hold. Of that run the last eight bytes are looked for, at every
//! place of the resource's text, by a table: one look per byte, however many patterns there are.
//!
//! Few statements are not worth a table. Each of them has a [`Row`] that says how the texts must begin and end which it
//! covers, and one comparison of numbers leaves out most that speak of something else:
//!
//! ```text
//! arn:aws:orders:*:111122223333:order/1001*     a pattern
//!     ╰── head ──╯╰ of up to 16 bytes    ╰ no tail, since a wildcard ends it
//! ```
//!
//! Whether the pattern of a statement covers a resource is told right here for most that have just one: what it asks is
//! laid out beside the rows, so that nothing but a statement's conditions has to be fetched from elsewhere. That is a
//! matter of speed alone: the scan over all statements asks their patterns, and gives the same answers.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use memchr::memchr_iter;
use smallvec::SmallVec;

use super::policy_set::Candidate;
use crate::language::document::{Effect, Listed, Statement};
use crate::language::pattern::{Form, Outline, Reach, ResourcePattern};
use crate::language::text::is_same;
use crate::name::{Arn, Resource};

/// Up to this many statements are tried one by one.
pub(super) const MAX_UNFILTERED: usize = 12;
/// What is looked for in the text of a resource, in bytes.
const WINDOW: usize = 8;
/// The statements that one filter tells apart; more of them have several, so that a set of them has a bounded size.
pub(super) const MAX_FILTERED: usize = 2_048;
/// The words of a set of statements.
const N_WORDS: usize = MAX_FILTERED / 64;

/// Statements in the order of their policies.
#[derive(Default)]
pub struct Section {
    rows: Box<[Row]>,
    /// What rows ask of a resource.
    parts: Parts,
    /// One for each [`MAX_FILTERED`] of them; none where there are few.
    filters: Box<[Filter]>,
}

impl Section {
    /// Of statements that speak of the action.
    pub(super) fn new(found: Vec<(Candidate, &Statement)>) -> Self {
        let filters = if found.len() > MAX_UNFILTERED {
            found.chunks(MAX_FILTERED).map(Filter::of).collect()
        } else {
            Box::default()
        };
        let mut parts = PartsMaker::default();
        let rows = found.into_iter().map(|found| Row::of(found, &mut parts));
        Self {
            rows: rows.collect(),
            parts: parts.into(),
            filters,
        }
    }

    /// All of them.
    pub fn candidates(&self) -> impl ExactSizeIterator<Item = Candidate> {
        self.rows.iter().map(|row| row.candidate)
    }

    /// Calls `visit` with each statement that may speak of `resource`, in order, until it breaks. `ends` are those of
    /// `resource`.
    #[inline]
    pub fn visit<B>(
        &self,
        resource: &Resource,
        ends: &Ends,
        mut visit: impl FnMut(Found) -> ControlFlow<B>,
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
    fn visit_filtered<B>(
        &self,
        resource: &Resource,
        ends: &Ends,
        mut visit: impl FnMut(Found) -> ControlFlow<B>,
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

    /// The statement of `row`, unless it does not speak of `resource`.
    #[inline]
    fn found(&self, row: &Row, resource: &Resource, ends: &Ends) -> Option<Found> {
        if !row.may_cover(ends) {
            return None;
        }
        let covers = match (&row.covering, resource) {
            (Covering::Everything, _) => true,
            (Covering::ByPattern, _) => false,
            (_, Resource::Any) => return None, // M-11
            // Patterns that are asked are paid for (E-1); what is told here is not, and so must not take long.
            (_, Resource::Arn(arn)) if arn.as_str().len() > LONGEST_TOLD => false,
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
            is_bare: row.is_bare,
        })
    }

    /// How much memory it takes besides itself, about.
    pub(super) fn n_bytes(&self) -> usize {
        let filters: usize = self.filters.iter().map(Filter::n_bytes).sum();
        size_of_val(&*self.rows) + self.parts.n_bytes() + filters
    }
}

/// Up to so many bytes of a resource are compared with what rows ask.
const LONGEST_TOLD: usize = 512;
/// The longest text that is looked for between two wildcards.
const LONGEST_INFIX: usize = 64;
/// How many runs a filter tries for one resource before it lets everything through.
const MOST_TRIED: usize = 4 * MAX_FILTERED;

/// How many bytes of a resource's beginning are looked at, behind `arn:`.
const HEAD: usize = 16;
/// How many bytes of its end.
const TAIL: usize = 8;

/// The beginning and the end of a resource's text, as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    head: u128,
    tail: u64,
}

impl Ends {
    /// Those of `*` are nothing: what could cover it asks for none (M-11).
    pub fn of(resource: &Resource) -> Self {
        match resource {
            Resource::Any => Self::default(),
            Resource::Arn(arn) => Self {
                head: first_bytes(behind_arn(arn.as_str())),
                // INVARIANT: an ARN is longer; `Arn::parse` holds it.
                tail: arn
                    .as_str()
                    .as_bytes()
                    .last_chunk()
                    .map_or(0, |tail| u64::from_be_bytes(*tail)),
            },
        }
    }
}

/// What stands behind `arn:`.
fn behind_arn(text: &str) -> &[u8] {
    text.as_bytes().get("arn:".len()..).unwrap_or_default()
}

/// As a number, the first byte lowest; zeros where there are too few.
fn first_bytes(bytes: &[u8]) -> u128 {
    if let Some(head) = bytes.first_chunk::<HEAD>() {
        return u128::from_le_bytes(*head);
    }
    bytes
        .iter()
        .rev()
        .fold(0, |head, byte| head << 8 | u128::from(*byte))
}

/// A statement worth a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The statement.
    pub candidate: Candidate,
    /// Whether it is known to speak of the resource; else its patterns have to be asked.
    pub covers: bool,
    /// Whether it has neither a principal nor conditions.
    pub is_bare: bool,
}

/// A statement, with what the ends of a resource must have for it.
struct Row {
    head: u128,
    tail: u64,
    candidate: Candidate,
    covering: Covering,
    /// How many bits of the head are asked for, from the lowest.
    n_head_bits: u8,
    /// How many bits of the tail.
    n_tail_bits: u8,
    is_bare: bool,
}

/// How it is told that a statement speaks of a resource.
#[derive(Clone, Copy)]
enum Covering {
    /// It speaks of everything.
    Everything,
    /// By all of these parts.
    Parts { first: u32, n: u8 },
    /// Its patterns have to be asked.
    ByPattern,
}

/// What the rows of a section ask of a resource, side by side.
#[derive(Default)]
struct Parts {
    parts: Box<[Part]>,
    /// The texts of the parts, one behind the other.
    texts: Box<[u8]>,
}

/// What one text is asked for: to begin with a prefix, to hold an infix behind it, and to end in a suffix behind that; or
/// to be the prefix.
struct Part {
    of: PartOf,
    is_exact: bool,
    prefix: u16,
    infix: u16,
    suffix: u16,
    /// Where the prefix begins among the texts; infix and suffix are behind it.
    at: u32,
}

/// Which text is asked.
#[derive(Clone, Copy)]
enum PartOf {
    Whole,
    Field(u8),
}

impl Parts {
    #[inline]
    fn fit(&self, first: u32, n: u8, arn: &Arn) -> bool {
        let first = first as usize;
        let parts = self.parts.get(first..first + usize::from(n));
        parts.is_some_and(|parts| parts.iter().all(|part| self.fits(part, arn)))
    }

    #[inline]
    fn fits(&self, part: &Part, arn: &Arn) -> bool {
        let text = match part.of {
            PartOf::Whole => arn.as_str(),
            PartOf::Field(n) => arn.field(usize::from(n)),
        };
        let text = text.as_bytes();
        let ours = self.texts.get(part.at as usize..).unwrap_or_default();
        let (prefix, ours) = ours
            .split_at_checked(part.prefix.into())
            .unwrap_or_default();
        if part.is_exact {
            return is_same(prefix, text);
        }
        let (infix, ours) = ours.split_at_checked(part.infix.into()).unwrap_or_default();
        let suffix = ours.get(..part.suffix.into()).unwrap_or_default();
        if text.len() < prefix.len() + infix.len() + suffix.len() {
            return false;
        }
        let between = prefix.len()..text.len() - suffix.len();
        is_same(prefix, text.get(..between.start).unwrap_or_default())
            && is_same(suffix, text.get(between.end..).unwrap_or_default())
            && (infix.is_empty() || holds(arn, between, infix))
    }

    fn n_bytes(&self) -> usize {
        size_of_val(&*self.parts) + self.texts.len()
    }
}

/// Whether the part of an ARN's text between two places holds `infix`, which begins with a colon.
///
/// PERF: so it can only stand where a colon does, and where five of them are is known.
fn holds(arn: &Arn, between: Range<usize>, infix: &[u8]) -> bool {
    let text = arn.as_str().as_bytes();
    let is_at = |at: usize| {
        let end = at + infix.len();
        at >= between.start
            && end <= between.end
            && text.get(at..end).is_some_and(|here| is_same(here, infix))
    };
    let resource_part = text.len() - arn.resource().len();
    arn.colons().any(is_at)
        || memchr_iter(b':', arn.resource().as_bytes()).any(|at| is_at(resource_part + at))
}

/// [`Parts`] in the making.
#[derive(Default)]
struct PartsMaker {
    parts: Vec<Part>,
    texts: Vec<u8>,
}

impl PartsMaker {
    /// How to tell what `statement` covers.
    fn covering(&mut self, statement: &Statement) -> Covering {
        let reach = match statement.effect {
            Effect::Allow => Reach::Narrow,
            Effect::Deny => Reach::Broad,
        };
        let pattern = match &statement.resources {
            None => return Covering::Everything, // E-12
            Some(Listed::Any(patterns)) if patterns.iter().any(ResourcePattern::is_everything) => {
                return Covering::Everything; // M-10
            }
            Some(Listed::Any(patterns)) => match &**patterns {
                [pattern] => pattern,
                _ => return Covering::ByPattern,
            },
            Some(Listed::Not(_)) => return Covering::ByPattern,
        };
        let asked = match pattern.outline(reach) {
            Some(Outline::Everything) => return Covering::Everything,
            Some(Outline::Text(form)) => vec![(PartOf::Whole, form)],
            Some(Outline::Fields(forms)) => {
                let beginning = pattern.beginning();
                // What is no longer than a row's head was looked at before.
                let is_seen = beginning.len() <= "arn:".len() + HEAD;
                let whole = (PartOf::Whole, Form::Affixes(beginning, ""));
                let fields = forms.into_iter().map(|(field, form)| {
                    let field = u8::try_from(field).unwrap_or(u8::MAX);
                    (PartOf::Field(field), form)
                });
                (!is_seen)
                    .then_some(whole)
                    .into_iter()
                    .chain(fields)
                    .collect()
            }
            None => return Covering::ByPattern,
        };
        self.write(&asked).unwrap_or(Covering::ByPattern)
    }

    /// None if a text is too long, or hard to find.
    fn write(&mut self, asked: &[(PartOf, Form<'_>)]) -> Option<Covering> {
        let covering = Covering::Parts {
            first: self.parts.len().try_into().ok()?,
            n: asked.len().try_into().ok()?,
        };
        let mut parts = Vec::with_capacity(asked.len());
        let mut texts = Vec::new();
        for (of, form) in asked {
            let (prefix, infix, suffix) = match (of, form) {
                (_, Form::Exact(text)) => (*text, "", ""),
                (_, Form::Affixes(prefix, suffix)) => (*prefix, "", *suffix),
                (PartOf::Whole, Form::Infix(prefix, infix, suffix))
                    if infix.starts_with(':') && infix.len() <= LONGEST_INFIX =>
                {
                    (*prefix, *infix, *suffix)
                }
                (_, Form::Infix(..)) => return None,
            };
            parts.push(Part {
                of: *of,
                is_exact: matches!(form, Form::Exact(_)),
                prefix: prefix.len().try_into().ok()?,
                infix: infix.len().try_into().ok()?,
                suffix: suffix.len().try_into().ok()?,
                at: (self.texts.len() + texts.len()).try_into().ok()?,
            });
            for text in [prefix, infix, suffix] {
                texts.extend_from_slice(text.as_bytes());
            }
        }
        self.parts.append(&mut parts);
        self.texts.append(&mut texts);
        Some(covering)
    }
}

impl From<PartsMaker> for Parts {
    fn from(made: PartsMaker) -> Self {
        Self {
            parts: made.parts.into(),
            texts: made.texts.into(),
        }
    }
}

impl Row {
    /// Several patterns ask for what they have in common.
    fn of((candidate, statement): (Candidate, &Statement), parts: &mut PartsMaker) -> Self {
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
            is_bare: statement.principal.is_none() && statement.conditions.is_empty(),
        }
    }

    #[inline]
    fn may_cover(&self, ends: &Ends) -> bool {
        (ends.head ^ self.head).trailing_zeros() >= u32::from(self.n_head_bits)
            && (ends.tail ^ self.tail).trailing_zeros() >= u32::from(self.n_tail_bits)
    }
}

/// How every resource begins that `pattern` covers, and how many bits that says.
fn head_of(pattern: &ResourcePattern) -> (u128, usize) {
    let head = behind_arn(pattern.beginning());
    (first_bytes(head), 8 * head.len().min(HEAD))
}

/// How every resource ends that `pattern` covers, and how many bits that says.
fn tail_of(pattern: &ResourcePattern) -> (u64, usize) {
    let end = pattern.ending().as_bytes();
    let last = end.len().saturating_sub(TAIL);
    let last = end.get(last..).unwrap_or_default();
    let push = |tail: u64, byte: &u8| tail << 8 | u64::from(*byte);
    (last.iter().fold(0, push), 8 * last.len())
}

/// A bit for each statement that is not left out.
type Passed = SmallVec<[u64; N_WORDS]>;

/// Which of at most [`MAX_FILTERED`] statements cannot speak of a resource.
struct Filter {
    /// Those that may speak of any resource.
    always: Box<[u64]>,
    /// By the whole text of the resource.
    exact: HashMap<Box<str>, Box<[u16]>>,
    /// By the last bytes of a run of characters that the resource must hold.
    windows: HashMap<[u8; WINDOW], Box<[Run]>>,
    /// A bit for each window there is, by hash: most places of a text need no look into the table.
    seen: Box<[u64; N_SEEN]>,
}

/// The words of [`Filter::seen`].
const N_SEEN: usize = 64;

/// A run of characters that a resource must hold for a pattern to match.
struct Run {
    text: Box<[u8]>,
    statement: u16,
}

impl Filter {
    fn of(found: &[(Candidate, &Statement)]) -> Self {
        let mut always = vec![0u64; found.len().div_ceil(64)];
        let mut exact: HashMap<Box<str>, Vec<u16>> = HashMap::new();
        let mut windows: HashMap<[u8; WINDOW], Vec<Run>> = HashMap::new();
        let mut seen = Box::new([0u64; N_SEEN]);
        for (at, (_, statement)) in (0u16..).zip(found) {
            let Some(patterns) = filterable(statement) else {
                set(&mut always, at);
                continue;
            };
            for pattern in patterns {
                if let Some(text) = pattern.exact() {
                    exact.entry(text.into()).or_default().push(at);
                } else if let Some((run, window)) = pattern.longest_literal().and_then(last_window)
                {
                    windows.entry(window).or_default().push(Run {
                        text: run.into(),
                        statement: at,
                    });
                    let (word, bit) = place_of(&window);
                    if let Some(word) = seen.get_mut(word) {
                        *word |= bit;
                    }
                } else {
                    set(&mut always, at);
                }
            }
        }
        Self {
            always: always.into(),
            exact: exact
                .into_iter()
                .map(|(text, at)| (text, at.into()))
                .collect(),
            windows: windows
                .into_iter()
                .map(|(window, runs)| (window, runs.into()))
                .collect(),
            seen,
        }
    }

    /// The statements that may speak of `resource`.
    fn pass(&self, resource: &Resource) -> Passed {
        let mut passed = Passed::from_slice(&self.always);
        let Resource::Arn(arn) = resource else {
            return passed; // M-11: no ARN covers `*`
        };
        let text = arn.as_str();
        for at in self.exact.get(text).into_iter().flatten() {
            set(&mut passed, *at);
        }
        let mut n_tried = 0;
        for (end, window) in (WINDOW..).zip(text.as_bytes().windows(WINDOW)) {
            let Ok(window) = <[u8; WINDOW]>::try_from(window) else {
                continue;
            };
            let (word, bit) = place_of(&window);
            if self.seen.get(word).is_none_or(|word| word & bit == 0) {
                continue;
            }
            let runs = self.windows.get(&window).map_or(&[][..], |runs| runs);
            n_tried += runs.len();
            if n_tried > MOST_TRIED {
                // What is let through is paid for when it is considered (E-1).
                return std::iter::repeat_n(u64::MAX, self.always.len()).collect();
            }
            for run in runs {
                let before = text.as_bytes().get(..end);
                if before.is_some_and(|before| before.ends_with(&run.text)) {
                    set(&mut passed, run.statement);
                }
            }
        }
        passed
    }

    fn n_bytes(&self) -> usize {
        let exact = self
            .exact
            .iter()
            .map(|(text, at)| 48 + text.len() + 2 * at.len());
        let runs = self
            .windows
            .values()
            .flatten()
            .map(|run| 24 + run.text.len());
        size_of::<Self>()
            + self.always.len() * 8
            + exact.sum::<usize>()
            + self.windows.len() * 32
            + runs.sum::<usize>()
            + N_SEEN * 8
    }
}

/// The patterns of which one must match; none where that says nothing about the resource: without `Resource`, with
/// `NotResource`, or with `*` (M-10, M-20).
pub(super) fn filterable(statement: &Statement) -> Option<&[ResourcePattern]> {
    match &statement.resources {
        Some(Listed::Any(patterns)) => {
            let is_any = patterns.iter().any(ResourcePattern::is_everything);
            (!is_any).then_some(patterns)
        }
        Some(Listed::Not(_)) | None => None,
    }
}

/// A run of characters with its last bytes; none if it has too few.
fn last_window(run: &str) -> Option<(&[u8], [u8; WINDOW])> {
    let bytes = run.as_bytes();
    let window = bytes.last_chunk::<WINDOW>()?;
    Some((bytes, *window))
}

fn set(words: &mut [u64], at: u16) {
    if let Some(word) = words.get_mut(usize::from(at) / 64) {
        *word |= 1 << (at % 64);
    }
}

/// The word and the bit of a window in [`Filter::seen`].
fn place_of(window: &[u8; WINDOW]) -> (usize, u64) {
    let mixed = u64::from_le_bytes(*window).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bit = mixed >> 52; // 12 bits: 64 words of 64
    ((bit / 64) as usize, 1 << (bit % 64))
}

#[cfg(test)]
mod tests;
