//! The relation of two patterns, independent of any text.

use super::{Piece, ResourcePattern};

/// Returns whether both patterns could cover the same ARN if every wildcard crossed colons and every variable were `*`.
/// Patterns never cover more than this, so `false` is certain and `true` is not.
pub fn can_meet(one: &ResourcePattern, other: &ResourcePattern) -> bool {
    one.is_everything() || other.is_everything() || intersect(&symbols(one), &symbols(other))
}

/// One step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Symbol {
    One(char),
    AnyOne,
    AnyRun,
}

fn symbols(pattern: &ResourcePattern) -> Vec<Symbol> {
    let mut symbols = Vec::new();
    for (index, field) in pattern.fields().iter().enumerate() {
        if index > 0 {
            symbols.push(Symbol::One(':'));
        }
        for piece in field.pieces() {
            match piece {
                Piece::Text(text) => symbols.extend(text.chars().map(Symbol::One)),
                Piece::AnyOne => symbols.push(Symbol::AnyOne),
                Piece::AnyRun | Piece::Variable(_) => symbols.push(Symbol::AnyRun),
            }
        }
    }
    if pattern.is_short() {
        // In a Deny it is also tried with `:*` at its end (M-12).
        symbols.push(Symbol::AnyRun);
    }
    symbols
}

/// Returns whether some text matches both. It computes the reachable pairs of positions row by row, in O(one × other).
fn intersect(one: &[Symbol], other: &[Symbol]) -> bool {
    // Each row tells whether the rest of `one` from that row meets the rest of `other` from each position. It works
    // backwards from the end.
    let mut below = vec![false; other.len() + 1];
    for row in (0..=one.len()).rev() {
        let mut here = vec![false; other.len() + 1];
        for column in (0..=other.len()).rev() {
            let (a, b) = (one.get(row).copied(), other.get(column).copied());
            let down = below.get(column).copied().unwrap_or(false);
            let right = here.get(column + 1).copied().unwrap_or(false);
            let across = below.get(column + 1).copied().unwrap_or(false);
            let meets = match (a, b) {
                (None, None) => true,
                (Some(Symbol::AnyRun), _) | (_, Some(Symbol::AnyRun)) => {
                    // Either run may be empty, or it may match one more step of the other pattern.
                    (a == Some(Symbol::AnyRun) && (down || b.is_some() && right))
                        || (b == Some(Symbol::AnyRun) && (right || a.is_some() && down))
                }
                (Some(Symbol::One(x)), Some(Symbol::One(y))) => x == y && across,
                (Some(_), Some(_)) => across,
                (None, Some(_)) | (Some(_), None) => false,
            };
            if let Some(place) = here.get_mut(column) {
                *place = meets;
            }
        }
        below = here;
    }
    below.first().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests;
