//! Matches a text with the pieces of a pattern, in time linear in both (M-21), without recursion or backtracking.
//!
//! ```text
//! order/*-?-*/${aws:username}     pieces
//! ╰────╯ ╰─╯ ╰──────────────╯     segments: what stands between the `*`s
//!  start  middle        end
//! ```
//!
//! The first segment must be at the start of the text, and the last at its end. Each segment between them is searched
//! for after the previous one, and its first occurrence is taken. That is enough, because a leftmost match leaves the
//! most text for the following segments. All segments of a pattern together pass over a text once.

use memchr::memchr;
use memchr::memmem::{self, Finder};
use smallvec::SmallVec;

use super::automaton::{self, Glyph};
use super::{OwnedPiece as Piece, Variables};
use crate::language::size::allocated;
use crate::language::text::Text;

/// The prepared searches for the long literal segments between two `*`, in their order. Empty if there are few such
/// segments.
pub(super) type Finders = Box<[Finder<'static>]>;

/// Up to this length, a literal is searched for with a rolling window, which needs no preparation and takes one step
/// per byte.
const MOST_ROLLED_BYTES: usize = 8;
/// Up to this many long segments are searched for without preparation. Preparing a search takes as long as searching a
/// short text, and the result takes more memory than the pattern.
const MOST_UNPREPARED: usize = 4;

/// If there are more long segments than this, no search is prepared. A prepared search takes a few hundred bytes, and
/// no real pattern has so many segments.
const MOST_PREPARED: usize = 64;

/// Prepares the searches for these pieces.
pub(super) fn finders(pieces: &[Piece]) -> Finders {
    let mut segments = segments(pieces);
    segments.next();
    segments.next_back();
    let long = segments.filter_map(long_literal);
    let n_long = long.clone().take(MOST_PREPARED + 1).count();
    if !(MOST_UNPREPARED + 1..=MOST_PREPARED).contains(&n_long) {
        return Box::default();
    }
    long.map(|literal| Finder::new(literal).into_owned())
        .collect()
}

/// Returns how much memory a prepared search takes, in bytes.
pub(super) fn finder_bytes(finder: &Finder<'_>) -> usize {
    size_of_val(finder) + allocated(finder.needle().len())
}

fn long_literal(segment: &[Piece]) -> Option<&str> {
    match segment {
        [Piece::Text(literal)] if literal.len() > MOST_ROLLED_BYTES => Some(literal),
        _ => None,
    }
}

fn segments(pieces: &[Piece]) -> impl DoubleEndedIterator<Item = &[Piece]> + Clone {
    pieces.split(|piece| matches!(piece, Piece::AnyRun))
}

/// Returns whether the whole of `text` matches. `values` are the values of the variables among `pieces`, in their
/// order.
pub(super) fn fits(
    pieces: &[Piece],
    finders: &[Finder<'_>],
    mut values: &[Text<'_>],
    text: &str,
    meter: &impl Variables,
) -> bool {
    let mut segments = segments(pieces);
    let first = segments.next().unwrap_or_default();
    if !pays_for_pieces(first, meter) {
        return false;
    }
    let Some(rest) = without_start(first, &mut values, text) else {
        return false;
    };
    let Some(last) = segments.next_back() else {
        return rest.is_empty(); // there is no `*` at all
    };
    if !pays_for_pieces(last, meter) {
        return false;
    }
    let Some(mut rest) = without_end(last, &mut values, rest) else {
        return false;
    };
    let mut finders = finders.iter();
    for segment in segments {
        let finder = long_literal(segment).and_then(|_| finders.next());
        let before = rest.len();
        match behind(segment, finder, &mut values, rest, meter) {
            Some(after) => rest = after,
            None => {
                meter.pay(units_of_search(before)); // the whole rest was searched
                return false;
            }
        }
        if !meter.pay(units_of_search(before - rest.len())) {
            return false;
        }
    }
    true
}

/// Pays for comparing a segment piece by piece. A segment at the beginning or end of a pattern may have thousands of
/// `?`.
fn pays_for_pieces(segment: &[Piece], meter: &impl Variables) -> bool {
    const FREE: usize = 8;
    segment.len() <= FREE || meter.pay(segment.len() / 2)
}

/// Returns the cost of searching `n_bytes` of a text, in units of about 10 ns.
fn units_of_search(n_bytes: usize) -> usize {
    2 + n_bytes / 8
}

/// Returns the text after `segment`, which must be at the start of `text`.
fn without_start<'t>(
    segment: &[Piece],
    values: &mut &[Text<'_>],
    text: &'t str,
) -> Option<&'t str> {
    let mut rest = text;
    for piece in segment {
        rest = match piece {
            Piece::Text(literal) => rest.strip_prefix(&**literal)?,
            Piece::AnyOne => {
                let mut characters = rest.chars();
                characters.next()?;
                characters.as_str()
            }
            Piece::Variable(_) => rest.strip_prefix(next(values))?,
            Piece::AnyRun => rest,
        };
    }
    Some(rest)
}

/// Returns the text before `segment`, which must be at the end of `text`.
fn without_end<'t>(segment: &[Piece], values: &mut &[Text<'_>], text: &'t str) -> Option<&'t str> {
    let mut rest = text;
    for piece in segment.iter().rev() {
        rest = match piece {
            Piece::Text(literal) => rest.strip_suffix(&**literal)?,
            Piece::AnyOne => {
                let mut characters = rest.chars();
                characters.next_back()?;
                characters.as_str()
            }
            Piece::Variable(_) => {
                let (value, before) = values.split_last()?;
                *values = before;
                rest.strip_suffix(&**value)?
            }
            Piece::AnyRun => rest,
        };
    }
    Some(rest)
}

/// Returns the text after the first occurrence of `segment` in `text`.
fn behind<'t>(
    segment: &[Piece],
    finder: Option<&Finder<'_>>,
    values: &mut &[Text<'_>],
    text: &'t str,
    meter: &impl Variables,
) -> Option<&'t str> {
    match segment {
        [Piece::Text(literal)] => match finder {
            Some(finder) => {
                let at = finder.find(text.as_bytes())?;
                text.get(at + literal.len()..)
            }
            None => behind_literal(literal.as_bytes(), text),
        },
        [Piece::Variable(_)] => behind_literal(next(values).as_bytes(), text),
        _ if segment.iter().any(|piece| matches!(piece, Piece::AnyOne)) => {
            let n_variables = variables_in(segment);
            let (here, later) = values.split_at_checked(n_variables)?;
            *values = later;
            let n_glyphs = bytes_of(segment, here);
            // A segment that is longer than the text cannot occur in it.
            if n_glyphs > text.len() || !meter.pay(automaton::units(n_glyphs, text.len())) {
                return None;
            }
            let at_any_place = std::iter::once(Glyph::AnyRun { crosses: true });
            let end = automaton::first_end(at_any_place.chain(glyphs(segment, here)), text)?;
            text.get(end..)
        }
        _ => {
            let mut literal: SmallVec<[u8; 512]> = SmallVec::new();
            for piece in segment {
                match piece {
                    Piece::Text(text) => literal.extend_from_slice(text.as_bytes()),
                    Piece::Variable(_) => literal.extend_from_slice(next(values).as_bytes()),
                    Piece::AnyOne | Piece::AnyRun => {}
                }
            }
            behind_literal(&literal, text)
        }
    }
}

/// Returns the fewest bytes of a text that `segment` matches.
fn bytes_of(segment: &[Piece], values: &[Text<'_>]) -> usize {
    let n_bytes = |piece: &Piece| match piece {
        Piece::Text(text) => text.len(),
        Piece::AnyOne => 1,
        Piece::AnyRun | Piece::Variable(_) => 0,
    };
    let of_values: usize = values.iter().map(|value| value.len()).sum();
    segment.iter().map(n_bytes).sum::<usize>() + of_values
}

fn behind_literal<'t>(literal: &[u8], text: &'t str) -> Option<&'t str> {
    let bytes = text.as_bytes();
    let at = match literal {
        [] => 0,
        [byte] => memchr(*byte, bytes)?,
        _ if literal.len() <= MOST_ROLLED_BYTES => rolling_find(literal, bytes)?,
        _ => memmem::find(bytes, literal)?,
    };
    text.get(at + literal.len()..)
}

/// Returns the first position of `literal`, which has 1 to 8 bytes, in `bytes`.
///
/// PERF: preparing a `memmem` search costs as much as rolling over a hundred bytes, and a pattern may have hundreds of
/// short segments.
fn rolling_find(literal: &[u8], bytes: &[u8]) -> Option<usize> {
    let n_bytes = literal.len();
    let all = u64::MAX >> (64 - 8 * n_bytes);
    let push = |window: u64, byte: &u8| window << 8 | u64::from(*byte);
    let wanted = literal.iter().fold(0, push);
    let mut window = 0;
    for (at, byte) in bytes.iter().enumerate() {
        window = push(window, byte) & all;
        if window == wanted && at + 1 >= n_bytes {
            return Some(at + 1 - n_bytes);
        }
    }
    None
}

/// Returns the value of the next variable.
pub(super) fn next<'v>(values: &mut &'v [Text<'_>]) -> &'v str {
    match values.split_first() {
        Some((value, rest)) => {
            *values = rest;
            value
        }
        // INVARIANT: there is one value for each variable; `Template::read_values` holds it.
        None => {
            debug_assert!(false, "a variable without its value");
            ""
        }
    }
}

pub(super) fn variables_in(pieces: &[Piece]) -> usize {
    let is_variable = |piece: &&Piece| matches!(piece, Piece::Variable(_));
    pieces.iter().filter(is_variable).count()
}

/// Returns the characters and wildcards of `pieces`, with wildcards that cross every character.
fn glyphs<'p>(pieces: &'p [Piece], values: &'p [Text<'_>]) -> impl Iterator<Item = Glyph> {
    let mut values = values;
    pieces.iter().flat_map(move |piece| {
        let (text, wildcard) = match piece {
            Piece::Text(text) => (&**text, None),
            Piece::Variable(_) => (next(&mut values), None),
            Piece::AnyOne => ("", Some(Glyph::AnyOne { crosses: true })),
            Piece::AnyRun => ("", Some(Glyph::AnyRun { crosses: true })),
        };
        text.chars().map(Glyph::Character).chain(wildcard)
    })
}
