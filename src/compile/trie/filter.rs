//! A filter in front of the rows of many statements.
//!
//! The filter only leaves out statements that cannot match (M-23). It uses two facts about a pattern that hold whatever
//! its wildcards and variables stand for: a pattern without any must equal the resource, and every other pattern has a
//! run of characters that the resource must contain. The filter looks for the last eight bytes of that run at every
//! position of the resource's text. A hash table makes this one lookup per byte, however many patterns there are.
//! [`ResourcePattern::may_cover`](crate::language::pattern::ResourcePattern::may_cover) requires the same run.

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::compile::rows::filterable;
use crate::language::document::Statement;
use crate::name::Resource;

/// How many statements one filter tells apart. Larger sections have several filters, so that the bit set has a bounded
/// size.
pub(in crate::compile) const MAX_FILTERED: usize = 2_048;
/// How many bytes are looked for in the text of a resource.
const WINDOW: usize = 8;
/// How many words the bit set of statements has.
const N_WORDS: usize = MAX_FILTERED / 64;
/// How many runs are tried for one resource before every statement passes.
const MOST_TRIED: usize = 4 * MAX_FILTERED;

/// A bit for each statement that passes.
pub(in crate::compile) type Passed = SmallVec<[u64; N_WORDS]>;

/// Tells which of at most [`MAX_FILTERED`] statements cannot cover a resource.
///
/// INVARIANT: both tables hash with a secret of their own, which is the standard library's default. Windows are looked
/// up at every position of a text, so the author of a policy must not be able to fill a table with keys of one hash.
pub(in crate::compile) struct Filter {
    /// The statements that may cover any resource.
    always: Box<[u64]>,
    /// The statements whose pattern is the whole text of the resource.
    exact: HashMap<Box<str>, Box<[u16]>>,
    /// The statements by the last bytes of a run of characters that the resource must contain.
    windows: HashMap<[u8; WINDOW], Box<[Run]>>,
    /// A bit, by hash, for each window in the table. Most positions of a text need no lookup in the table.
    seen: Box<[u64; N_SEEN]>,
}

/// How many words [`Filter::seen`] has.
const N_SEEN: usize = 64;

/// A run of characters that a resource must contain for a pattern to match.
struct Run {
    text: Box<[u8]>,
    statement: u16,
}

impl Filter {
    pub fn of<'s>(statements: impl ExactSizeIterator<Item = Option<&'s Statement>>) -> Self {
        let mut always = vec![0u64; statements.len().div_ceil(64)];
        let mut exact: HashMap<Box<str>, Vec<u16>> = HashMap::new();
        let mut windows: HashMap<[u8; WINDOW], Vec<Run>> = HashMap::new();
        let mut seen = Box::new([0u64; N_SEEN]);
        for (at, statement) in (0u16..).zip(statements) {
            // A statement that is lost must be missed by the engine, so it passes always.
            let Some(patterns) = statement.and_then(filterable) else {
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

    /// Returns the statements that may cover `resource`.
    pub fn pass(&self, resource: &Resource) -> Passed {
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
                // A statement that passes is paid for when it is considered (E-1).
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

    pub fn n_bytes(&self) -> usize {
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

/// Returns a run of characters with its last bytes, or `None` if it is too short.
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

/// Returns the word and the bit of a window in [`Filter::seen`].
fn place_of(window: &[u8; WINDOW]) -> (usize, u64) {
    let mixed = u64::from_le_bytes(*window).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bit = mixed >> 52; // 12 bits: 64 words of 64
    ((bit / 64) as usize, 1 << (bit % 64))
}
