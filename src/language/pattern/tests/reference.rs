//! The simple matchers: two pointers for a text, and the set of all positions that a pattern can lead to. Both take
//! time O(pattern × text), and the fast matchers must agree with them.

use super::super::*;
use crate::name::{GivenArn, Resource};

type Atoms<'a> = Vec<Atom<'a>>;

const N_FIELDS: usize = 5;

/// Returns the expected result of [`ResourcePattern::matches`].
pub fn matches(
    pattern: &ResourcePattern,
    resource: &Resource,
    reach: Reach,
    variables: &impl Variables,
) -> Option<bool> {
    if pattern.is_everything() {
        return Some(true);
    }
    let fields = pattern.fields();
    let fields: Vec<Atoms<'_>> = fields
        .iter()
        .map(|field| field.resolve(variables))
        .collect::<Option<_>>()?;
    let Resource::Arn(arn) = resource else {
        return Some(false);
    };
    let is_narrow = matches_field_by_field(pattern, &fields, arn);
    Some(is_narrow || reach == Reach::Broad && matches_across_colons(&fields, arn))
}

fn matches_field_by_field(
    pattern: &ResourcePattern,
    fields: &[Atoms<'_>],
    arn: &GivenArn<'_>,
) -> bool {
    let ends_in_wildcard = fields
        .last()
        .is_some_and(|last| last.last() == Some(&Atom::AnyRun));
    if pattern.is_short() && !ends_in_wildcard {
        return false;
    }
    fields
        .iter()
        .zip(arn.fields().iter().skip(1))
        .all(|(pattern, field)| glob(pattern, field))
}

/// Returns whether the whole of `text` matches `atoms`. It iterates in time O(pattern × text) (M-21). After a mismatch
/// only the last `*` is widened, which is enough because a leftmost match leaves the most text for what follows.
pub fn glob(atoms: &[Atom<'_>], text: &str) -> bool {
    let mut at = 0;
    let mut atom = 0;
    let mut last_run: Option<(usize, usize)> = None;
    loop {
        let rest = text.get(at..).unwrap_or("");
        let step = match atoms.get(atom) {
            None if rest.is_empty() => return true,
            None => None,
            Some(Atom::Text(literal)) => rest.starts_with(&**literal).then_some(literal.len()),
            Some(Atom::AnyOne) => rest.chars().next().map(char::len_utf8),
            Some(Atom::AnyRun) => {
                atom += 1;
                if atom == atoms.len() {
                    return true;
                }
                last_run = Some((atom, at));
                continue;
            }
        };
        if let Some(n_bytes) = step {
            at += n_bytes;
            atom += 1;
            continue;
        }
        let Some((after_run, from)) = last_run else {
            return false;
        };
        let Some(character) = text.get(from..).and_then(|rest| rest.chars().next()) else {
            return false;
        };
        let widened = from + character.len_utf8();
        last_run = Some((after_run, widened));
        (atom, at) = (after_run, widened);
    }
}

/// BROAD: a `*` at the end of one of fields 2 to 5 may match `:` too. A short pattern without a final `*` is tried as
/// it is and with `:*` at its end.
fn matches_across_colons(fields: &[Atoms<'_>], arn: &GivenArn<'_>) -> bool {
    // V-3: the value of a variable in one of fields 2 to 5 stays inside that field, so a value with a colon fits
    // nothing.
    let has_colon = |atom: &Atom<'_>| matches!(atom, Atom::Text(text) if text.contains(':'));
    if fields.iter().take(N_FIELDS - 1).flatten().any(has_colon) {
        return false;
    }
    let text = arn.as_str().strip_prefix("arn:").unwrap_or("");
    let mut reached = Reached::start(text);
    for (index, atoms) in fields.iter().enumerate() {
        if index > 0 {
            reached.literal(":");
        }
        let is_resource_part = index + 1 == N_FIELDS;
        for (at, atom) in atoms.iter().enumerate() {
            match atom {
                Atom::Text(literal) => reached.literal(literal),
                Atom::AnyOne => reached.any_one(is_resource_part),
                Atom::AnyRun => reached.any_run(is_resource_part || at + 1 == atoms.len()),
            }
        }
    }
    let ends_in_wildcard = fields
        .last()
        .is_some_and(|last| last.last() == Some(&Atom::AnyRun));
    let as_it_stands = reached.is_at_end();
    if as_it_stands || fields.len() == N_FIELDS || ends_in_wildcard {
        return as_it_stands;
    }
    reached.literal(":");
    reached.any_run(true);
    reached.is_at_end()
}

/// All positions in a text to which a pattern read so far can lead. They are followed together, so the time is
/// O(pattern × text) for any pattern (M-21).
struct Reached<'t> {
    text: &'t str,
    places: Vec<bool>,
}

impl<'t> Reached<'t> {
    fn start(text: &'t str) -> Self {
        let mut places = vec![false; text.len() + 1];
        if let Some(first) = places.first_mut() {
            *first = true;
        }
        Self { text, places }
    }

    fn literal(&mut self, literal: &str) {
        let mut next = vec![false; self.places.len()];
        for (at, _) in self
            .places
            .iter()
            .enumerate()
            .filter(|(_, reached)| **reached)
        {
            let fits = self
                .text
                .get(at..)
                .is_some_and(|rest| rest.starts_with(literal));
            if fits && let Some(place) = next.get_mut(at + literal.len()) {
                *place = true;
            }
        }
        self.places = next;
    }

    fn any_one(&mut self, crosses: bool) {
        let mut next = vec![false; self.places.len()];
        for (at, character) in self.text.char_indices() {
            let from_here = self.places.get(at) == Some(&true) && (crosses || character != ':');
            if from_here && let Some(place) = next.get_mut(at + character.len_utf8()) {
                *place = true;
            }
        }
        self.places = next;
    }

    fn any_run(&mut self, crosses: bool) {
        for (at, character) in self.text.char_indices() {
            let from_here = self.places.get(at) == Some(&true) && (crosses || character != ':');
            if from_here && let Some(place) = self.places.get_mut(at + character.len_utf8()) {
                *place = true;
            }
        }
    }

    fn is_at_end(&self) -> bool {
        self.places.last() == Some(&true)
    }
}
