//! Texts that stand for all texts there are, as far as some patterns can tell them apart.
//!
//! All patterns are followed at once, as one automaton: a state is the set of places in the patterns that the characters
//! read so far can lead to. Texts that lead to the same state match the same patterns, so one text for each state is enough.

use std::collections::HashSet;

use foldhash::fast::FixedState;
use smallvec::SmallVec;

use crate::language::operand::fold;
use crate::language::pattern::{ArnPattern, Atom, Template, Variables};

/// The most steps that the patterns may have together.
const MAX_STEPS: usize = 2_048;
/// The most states that are visited.
const MAX_STATES: usize = 512;

/// Which texts there are.
#[derive(Clone, Copy, Debug)]
pub struct Form<'f> {
    /// What each of them begins with.
    pub prefix: &'f str,
    /// Whether a character may stand behind that.
    pub allows: fn(char) -> bool,
    /// The fewest and the most characters behind it.
    pub least: usize,
    pub most: usize,
}

/// Some patterns, one step after the other.
#[derive(Debug, Default)]
pub struct Patterns {
    steps: Vec<Step>,
    starts: Places,
}

/// A step of a pattern. A wildcard that does not cross never matches a `:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Character(char),
    /// Any character that folds to this one (C-21).
    Folded(char),
    /// This character in any case, if it is of ASCII.
    OfName(char),
    AnyOne {
        crosses: bool,
    },
    AnyRun {
        crosses: bool,
    },
    End,
}

/// Positions in the steps, ascending.
type Places = SmallVec<[u16; 16]>;

impl Step {
    /// Returns whether it takes `character` and leads to the next step.
    fn takes(self, character: char) -> bool {
        match self {
            Self::Character(own) => own == character,
            Self::Folded(own) => own == fold(character),
            Self::OfName(own) => own.eq_ignore_ascii_case(&character),
            Self::AnyOne { crosses } => crosses || character != ':',
            Self::AnyRun { .. } | Self::End => false,
        }
    }
}

impl Patterns {
    /// Adds a pattern whose texts are compared as they are.
    pub fn add(&mut self, text: &Template, variables: &impl Variables) {
        if let Some(atoms) = text.resolve(variables) {
            let steps = atoms.iter().flat_map(|atom| steps_of(atom, true));
            self.push(steps);
        }
    }

    /// Adds a text that is compared ignoring case. Returns `None` if that cannot be followed: only ASCII can.
    pub fn add_folded(&mut self, atoms: &[Atom<'_>]) -> Option<()> {
        let mut steps = Vec::new();
        for atom in atoms {
            let Atom::Text(text) = atom else { return None };
            if !text.is_ascii() {
                return None;
            }
            steps.extend(text.chars().map(|one| Step::Folded(fold(one))));
        }
        self.push(steps);
        Some(())
    }

    /// Adds the key of a tag, which is compared ignoring the case of ASCII.
    pub fn add_name(&mut self, name: &str) {
        self.push(name.chars().map(Step::OfName));
    }

    /// Adds a pattern of ARNs, field by field (C-66), and with it what every ARN matches (C-68).
    pub fn add_arn(&mut self, pattern: &ArnPattern, variables: &impl Variables) {
        const ANY: [Step; 2] = [Step::Character(':'), Step::AnyRun { crosses: false }];
        let every = "arn".chars().map(Step::Character);
        let every = every.chain([ANY, ANY, ANY, ANY].into_iter().flatten());
        self.push(every.chain([Step::Character(':'), Step::AnyRun { crosses: true }]));
        let mut steps = Vec::new();
        for (index, field) in pattern.fields().iter().enumerate() {
            let Some(atoms) = field.resolve(variables) else {
                return;
            };
            let is_last = index == 5;
            // A colon in the value of a variable never ends a field (C-69), so no field has it.
            let has_colon =
                |atom: &Atom<'_>| matches!(atom, Atom::Text(text) if text.contains(':'));
            if !is_last && atoms.iter().any(has_colon) {
                return;
            }
            steps.extend((index > 0).then_some(Step::Character(':')));
            steps.extend(atoms.iter().flat_map(|atom| steps_of(atom, is_last)));
        }
        if !steps.is_empty() {
            self.push(steps);
        }
    }

    fn push(&mut self, steps: impl IntoIterator<Item = Step>) {
        self.starts
            .push(u16::try_from(self.steps.len()).unwrap_or(u16::MAX));
        for step in steps {
            // Variables without a text leave one `*` beside the other.
            let is_same = |last: &Step| matches!(last, Step::AnyRun { .. }) && *last == step;
            let is_needed = !self.steps.last().is_some_and(is_same);
            // One step more than the most shows that there are too many.
            if is_needed && self.steps.len() <= MAX_STEPS {
                self.steps.push(step);
            }
        }
        self.steps.push(Step::End);
    }

    /// Returns a text of this form for each state that such texts lead to; the shortest ones. Returns `None` if that is too
    /// much. `meter` pays for the work.
    pub fn all_texts(&self, form: &Form<'_>, meter: &impl Variables) -> Option<Vec<String>> {
        if self.steps.len() > MAX_STEPS {
            return None;
        }
        let alphabet = self.alphabet(form);
        let start = form
            .prefix
            .chars()
            .fold(self.closed(self.starts.clone()), |places, character| {
                self.after(&places, character)
            });
        // A text that is too short counts as a state of its own.
        let mut seen: HashSet<(Places, usize), FixedState> = HashSet::default();
        seen.insert((start.clone(), 0));
        let mut open = vec![(start, 0, form.prefix.to_owned())];
        let mut at = 0;
        while let Some((places, n, text)) = open.get(at).cloned() {
            at += 1;
            if !meter.pay(alphabet.len() * (4 + places.len())) {
                return None;
            }
            if n == form.most {
                continue;
            }
            for character in &alphabet {
                let next = self.after(&places, *character);
                let n_next = n + 1;
                if seen.insert((next.clone(), n_next.min(form.least))) {
                    let mut text = text.clone();
                    text.push(*character);
                    open.push((next, n_next, text));
                }
            }
            if open.len() > MAX_STATES {
                return None;
            }
        }
        let texts = open.into_iter().filter(|(_, n, _)| *n >= form.least);
        Some(texts.map(|(.., text)| text).collect())
    }

    /// Returns the places that `character` leads to.
    fn after(&self, places: &Places, character: char) -> Places {
        let mut next = Places::new();
        for at in places {
            match self.steps.get(usize::from(*at)) {
                Some(Step::AnyRun { crosses }) if *crosses || character != ':' => next.push(*at),
                Some(step) if step.takes(character) => next.push(at + 1),
                _ => {}
            }
        }
        self.closed(next)
    }

    /// Adds the places behind each `*`, which may stand for nothing.
    fn closed(&self, mut places: Places) -> Places {
        let mut index = 0;
        while let Some(at) = places.get(index).copied() {
            if let Some(Step::AnyRun { .. }) = self.steps.get(usize::from(at)) {
                places.push(at + 1);
            }
            index += 1;
        }
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Returns the characters that the patterns tell apart, and one that stands for all others.
    fn alphabet(&self, form: &Form<'_>) -> Vec<char> {
        let mut named = Vec::new();
        for step in &self.steps {
            match *step {
                Step::Character(own) => named.push(own),
                Step::Folded(own) => {
                    named.extend([own, own.to_ascii_uppercase()]);
                    // The only other characters that fold to ASCII.
                    named.extend(match own {
                        'k' => Some('\u{212A}'),
                        's' => Some('\u{17F}'),
                        _ => None,
                    });
                }
                Step::OfName(own) => {
                    named.extend([own.to_ascii_lowercase(), own.to_ascii_uppercase()]);
                }
                // Those that do not cross a colon stand beside one, in patterns of ARNs.
                Step::AnyOne { .. } | Step::AnyRun { .. } | Step::End => {}
            }
        }
        named.retain(|one| (form.allows)(*one));
        named.sort_unstable();
        named.dedup();
        let is_other = |one: &char| named.binary_search(one).is_err() && (form.allows)(*one);
        let other = ('a'..='z').rev().chain('0'..='9').chain(OTHERS);
        let other = other.into_iter().find(is_other);
        named.extend(other);
        named
    }
}

/// Characters that stand for all that no pattern names, if the patterns name all letters and digits.
const OTHERS: std::ops::RangeInclusive<char> = '\u{20}'..='\u{10FFFF}';

fn steps_of<'a>(atom: &'a Atom<'_>, crosses: bool) -> impl Iterator<Item = Step> + 'a {
    let (text, step) = match atom {
        Atom::Text(text) => (&**text, None),
        Atom::AnyOne => ("", Some(Step::AnyOne { crosses })),
        Atom::AnyRun => ("", Some(Step::AnyRun { crosses })),
    };
    text.chars().map(Step::Character).chain(step)
}
