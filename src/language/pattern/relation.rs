//! The relation of two patterns, independent of any text.

use std::mem;

use super::{ActionForm, ActionPattern, Piece, ResourcePattern, Template, Variable};

/// Returns whether both patterns could cover the same ARN if every wildcard crossed colons and every variable were `*`.
/// Patterns never cover more than this, so `false` is certain and `true` is not.
pub fn can_meet(one: &ResourcePattern, other: &ResourcePattern) -> bool {
    // PERF: most patterns of a store begin differently.
    let begin_alike = || {
        let (ours, theirs) = (one.beginning().as_bytes(), other.beginning().as_bytes());
        ours.iter().zip(theirs).all(|(ours, theirs)| ours == theirs)
    };
    let end_alike = || {
        let (ours, theirs) = (one.ending().as_bytes(), other.ending().as_bytes());
        let mut both = ours.iter().rev().zip(theirs.iter().rev());
        both.all(|(ours, theirs)| ours == theirs)
    };
    one.is_everything()
        || other.is_everything()
        || begin_alike() && end_alike() && intersect(&symbols(one), &symbols(other))
}

/// Returns whether `one` surely covers every resource that `other` covers, both in the NARROW reach (M-12). `false` says
/// nothing.
pub fn includes(one: &ResourcePattern, other: &ResourcePattern) -> bool {
    if one.is_everything() || one == other {
        return true;
    }
    // PERF: most patterns of a store begin differently.
    if !other.beginning().starts_with(one.beginning()) {
        return false;
    }
    let is_cut_short =
        |pattern: &ResourcePattern| pattern.is_short() && !pattern.ends_in_wildcard();
    if other.is_everything() || is_cut_short(one) || is_cut_short(other) {
        return false;
    }
    let (ours, theirs) = (one.fields(), other.fields());
    // The last `*` of a short pattern covers all fields behind it.
    let n_fields = ours.len().max(theirs.len());
    (0..n_fields).all(|n| swallows(&steps_of(ours.get(n)), &steps_of(theirs.get(n))))
}

/// Returns whether both patterns may match the same action. `false` is certain.
pub fn actions_meet(one: &ActionPattern, other: &ActionPattern) -> bool {
    use ActionForm::{Name, Other, Prefix};
    let all = || intersect(&action_symbols(one), &action_symbols(other));
    // PERF: two lists of permissions are compared pattern by pattern, and nearly all patterns are names or beginnings.
    match (one.form(), other.form()) {
        (Name(a), Name(b)) => a.eq_ignore_ascii_case(b),
        (Prefix(a), Name(b)) | (Name(b), Prefix(a)) => begins_with(b, a),
        (Prefix(a), Prefix(b)) => begins_with(a, b) || begins_with(b, a),
        (Other(a), Name(b)) | (Name(b), Other(a)) => begins_with(b, a) && all(),
        (Other(a), Prefix(b) | Other(b)) | (Prefix(b), Other(a)) => {
            (begins_with(a, b) || begins_with(b, a)) && all()
        }
    }
}

/// Returns whether `one` surely matches every action that `other` matches. `false` says nothing.
pub fn action_includes(one: &ActionPattern, other: &ActionPattern) -> bool {
    use ActionForm::{Name, Other, Prefix};
    // PERF: as for `actions_meet`.
    match (one.form(), other.form()) {
        (Name(ours), Name(theirs)) => return ours.eq_ignore_ascii_case(theirs),
        (Prefix(ours), Name(theirs) | Prefix(theirs) | Other(theirs)) => {
            return begins_with(theirs, ours);
        }
        (Name(_), _) => return false,
        (Other(ours), Name(theirs) | Prefix(theirs) | Other(theirs)) => {
            if !begins_with(theirs, ours) {
                return false;
            }
        }
    }
    let steps = |pattern| -> Vec<Step<'_>> {
        let symbols: Vec<Symbol> = action_symbols(pattern);
        symbols.into_iter().map(Step::from).collect()
    };
    swallows(&steps(one), &steps(other))
}

/// Returns whether `text` begins with `beginning`, ignoring the case of ASCII letters.
fn begins_with(text: &str, beginning: &str) -> bool {
    let first = text.as_bytes().get(..beginning.len());
    first.is_some_and(|first| first.eq_ignore_ascii_case(beginning.as_bytes()))
}

fn action_symbols(pattern: &ActionPattern) -> Vec<Symbol> {
    if pattern.service().is_none() {
        return vec![Symbol::AnyRun];
    }
    let symbol = |character: char| match character {
        '*' => Symbol::AnyRun,
        '?' => Symbol::AnyOne,
        other => Symbol::One(other.to_ascii_lowercase()),
    };
    pattern.as_str().chars().map(symbol).collect()
}

/// One step of a pattern whose variables are not known.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step<'p> {
    One(char),
    AnyOne,
    AnyRun,
    Variable(&'p Variable),
}

impl From<Symbol> for Step<'_> {
    fn from(symbol: Symbol) -> Self {
        match symbol {
            Symbol::One(character) => Self::One(character),
            Symbol::AnyOne => Self::AnyOne,
            Symbol::AnyRun => Self::AnyRun,
        }
    }
}

/// Returns the steps of a field, or those of `*` for a field that is not there.
fn steps_of(field: Option<&Template>) -> Vec<Step<'_>> {
    let Some(template) = field else {
        return vec![Step::AnyRun];
    };
    let mut steps = Vec::new();
    for piece in template.pieces() {
        match piece {
            Piece::Text(text) => steps.extend(text.chars().map(Step::One)),
            Piece::AnyOne => steps.push(Step::AnyOne),
            Piece::AnyRun => steps.push(Step::AnyRun),
            Piece::Variable(variable) => steps.push(Step::Variable(variable)),
        }
    }
    steps
}

/// Returns whether `one` matches every text that `other` matches, because it matches the steps of `other` themselves: its
/// runs match any steps, and its `?` one character or one `?`. It computes the reachable pairs of positions row by row.
fn swallows(one: &[Step<'_>], other: &[Step<'_>]) -> bool {
    let mut below = vec![false; other.len() + 1];
    if let Some(end) = below.last_mut() {
        *end = true;
    }
    for step in one.iter().rev() {
        let mut here = vec![false; other.len() + 1];
        for column in (0..=other.len()).rev() {
            let across = below.get(column + 1).copied().unwrap_or(false);
            let reaches = match (step, other.get(column)) {
                (Step::AnyRun, next) => {
                    let right = here.get(column + 1).copied().unwrap_or(false);
                    below.get(column).copied().unwrap_or(false) || next.is_some() && right
                }
                (Step::AnyOne, Some(Step::One(_) | Step::AnyOne)) => across,
                (step, Some(next)) => step == next && across,
                (_, None) => false,
            };
            if let Some(place) = here.get_mut(column) {
                *place = reaches;
            }
        }
        below = here;
    }
    below.first().copied().unwrap_or(false)
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
    let mut here = below.clone();
    for row in (0..=one.len()).rev() {
        here.fill(false);
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
        mem::swap(&mut below, &mut here);
    }
    below.first().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests;
