//! The actions of a policy's statements, as the trie of a set places them.

use crate::language::document::{Effect, Listed, Statement};
use crate::language::pattern::{ActionForm, ActionPattern};
use crate::name::action_fingerprint;

/// An action, or the beginning of actions, for which a statement is a candidate.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The fingerprint of the text in lower case.
    pub fingerprint: u64,
    /// The offset of the text in the policy's texts.
    pub at: u32,
    /// The position of the statement in its policy, from 0.
    pub statement: u32,
    /// The estimated nanoseconds to evaluate the statement.
    pub cost: u16,
    /// The length of the text in bytes.
    pub n_bytes: u8,
    /// Which actions the text stands for.
    pub kind: Kind,
    /// The effect of the statement.
    pub effect: Effect,
    /// How many bytes of [`Self::head`] a resource must have.
    pub n_head: u8,
    /// The first bytes of every resource that the statement covers.
    pub head: u64,
}

/// What the row of a statement adds to its entries.
#[derive(Clone, Copy)]
pub(super) struct Summary {
    /// The estimated nanoseconds to evaluate the statement.
    pub cost: u16,
    /// How many bytes of [`Self::head`] a resource must have.
    pub n_head: u8,
    /// The first bytes of every resource that the statement covers.
    pub head: u64,
}

/// Says for which actions a statement is a candidate, and whether it surely matches them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The statement matches the action with this name.
    Name,
    /// The statement matches all actions that begin with the text.
    Prefix,
    /// The statement matches no other actions than those that begin with the text, and its patterns decide which.
    Checked,
}

/// The longest action that the trie is asked about, in bytes. The actions of AWS have at most 128 characters.
pub const LONGEST: usize = 255;
/// The most comparisons to find the patterns of one statement that another one of them covers.
const MOST_COMPARED: usize = 4_096;

impl Entry {
    /// Adds the entries of a statement to `entries`, and their texts to `texts` (M-2 to M-6).
    pub(super) fn add(
        statement: u32,
        of: &Statement,
        row: Summary,
        entries: &mut Vec<Self>,
        texts: &mut Vec<u8>,
    ) {
        let Summary { cost, n_head, head } = row;
        let mut push = |text: &str, kind| {
            let at = texts.len();
            let text = text.as_bytes().iter().map(u8::to_ascii_lowercase);
            texts.extend(text);
            let name = texts.get(at..).unwrap_or_default();
            let entry = Self {
                fingerprint: action_fingerprint(name),
                // INVARIANT: a document is shorter than 4 GiB, and no text is longer than `LONGEST`.
                at: u32::try_from(at).unwrap_or(u32::MAX),
                n_bytes: u8::try_from(name.len()).unwrap_or(u8::MAX),
                statement,
                cost,
                kind,
                effect: of.effect,
                n_head,
                head,
            };
            entries.push(entry);
        };
        let patterns = match &of.actions {
            Listed::Not(_) => return push("", Kind::Checked),
            Listed::Any(patterns) => patterns,
        };
        let is_everything = |pattern: &ActionPattern| pattern.form() == ActionForm::Prefix("");
        if patterns.iter().any(is_everything) {
            return push("", Kind::Prefix);
        }
        let prefixes: Vec<(usize, &str)> = (0..)
            .zip(patterns)
            .filter_map(|(index, pattern)| match pattern.form() {
                ActionForm::Prefix(prefix) => Some((index, prefix)),
                _ => None,
            })
            .collect();
        let is_compared = prefixes.len() * patterns.len() <= MOST_COMPARED;
        for (index, pattern) in patterns.iter().enumerate() {
            let (text, kind) = match pattern.form() {
                ActionForm::Name(text) => (text, Kind::Name),
                ActionForm::Prefix(text) => (text, Kind::Prefix),
                ActionForm::Other(text) => (text, Kind::Checked),
            };
            // A statement is a candidate once, or else its work would be paid for twice.
            let is_covered_by = |(other, prefix): &(usize, &str)| {
                let begins = text.get(..prefix.len());
                let is_same = kind == Kind::Prefix && text.len() == prefix.len();
                begins.is_some_and(|text| text.eq_ignore_ascii_case(prefix))
                    && *other != index
                    && (!is_same || *other < index)
            };
            let is_covered = is_compared && prefixes.iter().any(is_covered_by);
            if text.len() <= LONGEST && !is_covered {
                push(text, kind);
            }
        }
    }
}
