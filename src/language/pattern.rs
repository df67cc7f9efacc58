//! Texts with `*`, `?` and `${policy variables}`, for actions, resources and condition values.
//!
//! A [`Template`] is parsed once, together with its document. Only templates that have no simple form are stored in
//! pieces. Variables are found before anything is split at colons (V-3), and the text that replaces them at match time
//! is always literal (V-8, V-12).
//!
//! Matching takes time linear in the pattern and the text, and does not allocate (M-21). The forms that nearly all
//! patterns have compare one or two ranges of bytes. `glob` and `automaton` match the others.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::mem;

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::size::allocated;
use super::text::{Text, is_same};
use crate::context::ContextKey;
use crate::name::Malformed;

mod action;
mod arn;
mod automaton;
mod glob;
pub mod relation;
mod resource;
mod written;

pub use action::{ActionForm, ActionPattern};
pub use arn::ArnPattern;
pub use resource::{Form, Outline, Reach, ResourcePattern};
pub use written::Resolved;

/// A text with its literal parts, wildcards and variables. Two templates are equal if they are written the same and
/// parsed the same way.
///
/// A store holds tens of thousands of templates, and the parts of most of them are ranges of the text. A template takes
/// 40 bytes, and stores the text elsewhere only if it is longer than 23 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: SmolStr,
    shape: Shape,
}

/// The form of the text. The parts of the first two forms are ranges of the text as written, which then contains no
/// `${*}`.
#[derive(Clone, PartialEq, Eq)]
enum Shape {
    /// The pattern is the text itself.
    Exact,
    /// `prefix*suffix`, with the number of bytes before and after the only `*`. `*` and `prefix*` have this form too.
    Affixes { prefix: u32, suffix: u32 },
    /// Any other form.
    General(Box<General>),
}

/// A text that is cut into pieces.
#[derive(Clone)]
struct General {
    pieces: Box<[OwnedPiece]>,
    finders: glob::Finders,
    has_variables: bool,
    /// The fewest bytes of a text that matches, without the values of the variables.
    min_bytes: usize,
}

/// All other fields follow from the pieces.
impl PartialEq for General {
    fn eq(&self, other: &Self) -> bool {
        self.pieces == other.pieces
    }
}

impl Eq for General {}

/// An owned [`Piece`].
#[derive(Clone, Debug, PartialEq, Eq)]
enum OwnedPiece {
    Text(SmolStr),
    AnyOne,
    AnyRun,
    Variable(Box<Variable>),
}

/// The values of a pattern's variables, in their order. Up to 8 of them are stored on the stack.
pub(crate) type Values<'a> = SmallVec<[Text<'a>; 8]>;

/// The cost of looking up the value of a variable and putting it in.
const UNITS_OF_VARIABLE: usize = 6;

/// One part of a [`Template`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'t> {
    /// These characters.
    Text(&'t str),
    /// `?`: exactly one Unicode scalar value (M-3).
    AnyOne,
    /// `*`: any run of characters, which may be empty (M-3).
    AnyRun,
    /// `${key}` or `${key, 'default'}`.
    Variable(&'t Variable),
}

/// A policy variable (V-5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variable {
    /// The context key whose value is put in.
    pub key: ContextKey,
    /// The text that is put in if the key has no value (V-9).
    pub default: Option<Box<str>>,
}

/// The special characters of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syntax {
    /// Whether `*` and `?` are wildcards.
    pub wildcards: bool,
    /// Whether `${` begins a variable. Only the newer version of the language has variables (V-1).
    pub variables: bool,
}

/// The value of a variable at match time (V-9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Substitute<'a> {
    /// Exactly one value, which is not empty.
    Value(Text<'a>),
    /// The key is absent, empty, or an empty list. The default is used if there is one.
    Missing,
    /// The key has two values or more. Not even the default is used.
    Several,
    /// The key has a value that nobody can say (T-8, T-43). In a condition it counts as no value, whatever the default
    /// is. In a resource it counts as a value that equals no other.
    Unknown,
}

/// The source of the variables' values.
pub trait Variables {
    /// Returns the value of `key` for a variable.
    fn substitute(&self, key: &ContextKey) -> Substitute<'_>;

    /// Pays `units` of about 10 ns for work that is about to be done. Returns `false` if they are not left. Then the
    /// work must not be done, and its result does not count.
    fn pay(&self, _units: usize) -> bool {
        true
    }
}

/// A [`Piece`] whose variable is replaced by its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Atom<'a> {
    /// These characters.
    Text(Text<'a>),
    /// One character.
    AnyOne,
    /// Any run of characters.
    AnyRun,
}

impl Template {
    /// Parses `text`. Fails only on a malformed variable (V-5).
    pub fn parse(text: &str, syntax: Syntax) -> Result<Self, Malformed> {
        let has_meaning = |character| match character {
            '*' | '?' => syntax.wildcards,
            '$' => syntax.variables,
            _ => false,
        };
        if !text.contains(has_meaning) {
            return Ok(Self {
                text: text.into(),
                shape: Shape::Exact,
            });
        }
        Ok(Self::of(text, cut(text, syntax)?))
    }

    fn of(text: &str, pieces: Vec<OwnedPiece>) -> Self {
        Self {
            shape: Shape::of(pieces, text),
            text: text.into(),
        }
    }

    /// Returns the text as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns about how much memory it takes, including what it points to, in bytes.
    pub fn n_bytes(&self) -> usize {
        let of_text = |text: &SmolStr| match text.len() {
            0..=23 => 0,
            n => allocated(n),
        };
        let shape = match &self.shape {
            Shape::Exact | Shape::Affixes { .. } => 0,
            Shape::General(general) => {
                let of_piece = |piece: &OwnedPiece| match piece {
                    OwnedPiece::Text(text) => of_text(text),
                    OwnedPiece::Variable(variable) => {
                        let default = variable.default.as_ref();
                        allocated(size_of::<Variable>())
                            + allocated(variable.key.folded().len().saturating_sub(23))
                            + default.map_or(0, |default| allocated(default.len()))
                    }
                    OwnedPiece::AnyOne | OwnedPiece::AnyRun => 0,
                };
                let pieces: usize = general.pieces.iter().map(of_piece).sum();
                allocated(size_of::<General>())
                    + size_of_val(&*general.pieces)
                    + pieces
                    + general
                        .finders
                        .iter()
                        .map(glob::finder_bytes)
                        .sum::<usize>()
            }
        };
        size_of::<Self>() + of_text(&self.text) + shape
    }

    /// Returns the parts, in order.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'_>> + Clone {
        let text = |literal| Some(Piece::Text(literal)).filter(|piece| *piece != Piece::Text(""));
        let (simple, cut) = match &self.shape {
            Shape::Exact => ([text(&self.text), None, None], &[][..]),
            Shape::Affixes { .. } => {
                let (prefix, suffix) = self.affixes();
                ([text(prefix), Some(Piece::AnyRun), text(suffix)], &[][..])
            }
            Shape::General(general) => ([None; 3], &*general.pieces),
        };
        let cut = cut.iter().map(OwnedPiece::borrowed);
        simple.into_iter().flatten().chain(cut)
    }

    /// Returns the texts before and after the only wildcard. Without a wildcard, the whole text comes first.
    fn affixes(&self) -> (&str, &str) {
        let text = &*self.text;
        match self.shape {
            Shape::Affixes { prefix, suffix } => (
                text.get(..prefix as usize).unwrap_or_default(),
                text.get(text.len().saturating_sub(suffix as usize)..)
                    .unwrap_or_default(),
            ),
            Shape::Exact | Shape::General(_) => (text, ""),
        }
    }

    /// Returns its variables.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        let pieces = match &self.shape {
            Shape::General(general) => &*general.pieces,
            Shape::Exact | Shape::Affixes { .. } => &[],
        };
        pieces.iter().filter_map(|piece| match piece {
            OwnedPiece::Variable(variable) => Some(&**variable),
            _ => None,
        })
    }

    fn has_variables(&self) -> bool {
        matches!(&self.shape, Shape::General(general) if general.has_variables)
    }

    /// Returns whether it is a lone `*`.
    pub fn is_everything(&self) -> bool {
        const EVERYTHING: Shape = Shape::Affixes {
            prefix: 0,
            suffix: 0,
        };
        self.shape == EVERYTHING
    }

    /// Returns whether it ends in `*`.
    pub fn ends_in_wildcard(&self) -> bool {
        match &self.shape {
            Shape::Exact => false,
            Shape::Affixes { suffix, .. } => *suffix == 0,
            Shape::General(general) => general.pieces.last() == Some(&OwnedPiece::AnyRun),
        }
    }

    /// Returns the only text that matches, if there is exactly one for every request.
    pub fn literal(&self) -> Option<&str> {
        match &self.shape {
            Shape::Exact => Some(&self.text),
            Shape::Affixes { .. } => None,
            Shape::General(general) => match &*general.pieces {
                [OwnedPiece::Text(literal)] => Some(literal),
                _ => None,
            },
        }
    }

    /// Returns the parts with the variables replaced, for display. Returns `None` if a variable has no value (V-9).
    pub fn resolve<'a>(&'a self, variables: &'a impl Variables) -> Option<Vec<Atom<'a>>> {
        self.pieces()
            .map(|piece| {
                Some(match piece {
                    Piece::Text(text) => Atom::Text(text.into()),
                    Piece::AnyOne => Atom::AnyOne,
                    Piece::AnyRun => Atom::AnyRun,
                    Piece::Variable(variable) => Atom::Text(variable.value(variables)?),
                })
            })
            .collect()
    }

    /// Puts the values of the variables into the empty `values`, in their order. Returns `None` if a variable has no
    /// value (V-9).
    ///
    /// PERF: the list is filled in place, because moving a list that is stored on the stack copies all of its capacity.
    pub(crate) fn read_values<'a>(
        &'a self,
        variables: &'a impl Variables,
        values: &mut Values<'a>,
    ) -> Option<()> {
        self.read(variables, values, Variable::value)
    }

    /// Puts the values of a resource's variables into the empty `values`. It differs from [`Self::read_values`] in that
    /// a default also replaces a value that nobody can say.
    pub(crate) fn read_values_of_resource<'a>(
        &'a self,
        variables: &'a impl Variables,
        values: &mut Values<'a>,
    ) -> Option<()> {
        self.read(variables, values, Variable::value_in_resource)
    }

    #[inline]
    fn read<'a, V: Variables>(
        &'a self,
        variables: &'a V,
        values: &mut Values<'a>,
        value: fn(&'a Variable, &'a V) -> Option<Text<'a>>,
    ) -> Option<()> {
        for variable in self.variables() {
            if !variables.pay(UNITS_OF_VARIABLE) {
                return None;
            }
            values.push(value(variable, variables)?);
        }
        Some(())
    }

    /// Returns the text that results from these values of the variables, in parts and without wildcards.
    pub(crate) fn parts<'t>(&'t self, values: &'t [Text<'_>]) -> impl Iterator<Item = &'t str> {
        let mut values = values.iter();
        self.pieces().map(move |piece| match piece {
            Piece::Text(text) => text,
            Piece::Variable(_) => values.next().map_or("", |value| value),
            Piece::AnyOne | Piece::AnyRun => "",
        })
    }

    /// Returns whether the whole of `text` matches, or `None` if a variable has no value.
    pub fn matches(&self, text: &str, variables: &impl Variables) -> Option<bool> {
        if !self.has_variables() {
            return Some(self.fits(text, &[], variables));
        }
        let mut values = Values::new();
        self.read_values(variables, &mut values)?;
        Some(self.fits(text, &values, variables))
    }

    /// Returns whether the whole of `text` matches with these values of the variables. `meter` pays for it.
    fn fits(&self, text: &str, values: &[Text<'_>], meter: &impl Variables) -> bool {
        match &self.shape {
            Shape::Exact => is_same(self.text.as_bytes(), text.as_bytes()),
            Shape::Affixes { prefix, suffix } => {
                let (ours, text) = (self.text.as_bytes(), text.as_bytes());
                let (prefix, suffix) = (*prefix as usize, *suffix as usize);
                if text.len() < prefix + suffix {
                    return false;
                }
                let (first, last) = (text.get(..prefix), text.get(text.len() - suffix..));
                let (our_first, our_last) = (ours.get(..prefix), ours.get(ours.len() - suffix..));
                is_same(our_first.unwrap_or_default(), first.unwrap_or_default())
                    && is_same(our_last.unwrap_or_default(), last.unwrap_or_default())
            }
            Shape::General(general) => {
                // The values may be long. If they cannot fit, the comparison must cost nothing.
                let n_values: usize = values.iter().map(|value| value.len()).sum();
                general.min_bytes.saturating_add(n_values) <= text.len()
                    && glob::fits(&general.pieces, &general.finders, values, text, meter)
            }
        }
    }

    /// Splits at colons of the text itself, never at colons inside a variable, and at most at `n - 1` of them.
    fn split_at_colons(&self, n: usize) -> Vec<Self> {
        let mut fields: Vec<Vec<OwnedPiece>> = vec![Vec::new()];
        let mut n_fields = 1;
        let push = |fields: &mut Vec<Vec<OwnedPiece>>, piece: Piece<'_>| {
            if let Some(last) = fields.last_mut() {
                last.push(piece.to_owned());
            }
        };
        for piece in self.pieces() {
            let Piece::Text(text) = piece else {
                push(&mut fields, piece);
                continue;
            };
            let mut rest = text;
            while n_fields < n
                && let Some((before, after)) = rest.split_once(':')
            {
                if !before.is_empty() {
                    push(&mut fields, Piece::Text(before));
                }
                fields.push(Vec::new());
                n_fields += 1;
                rest = after;
            }
            if !rest.is_empty() {
                push(&mut fields, Piece::Text(rest));
            }
        }
        fields
            .into_iter()
            .map(|pieces| Self::of(&written(&pieces), pieces))
            .collect()
    }
}

impl Piece<'_> {
    fn to_owned(self) -> OwnedPiece {
        match self {
            Self::Text(text) => OwnedPiece::Text(text.into()),
            Self::AnyOne => OwnedPiece::AnyOne,
            Self::AnyRun => OwnedPiece::AnyRun,
            Self::Variable(variable) => OwnedPiece::Variable(Box::new(variable.clone())),
        }
    }
}

impl OwnedPiece {
    fn borrowed(&self) -> Piece<'_> {
        match self {
            Self::Text(text) => Piece::Text(text),
            Self::AnyOne => Piece::AnyOne,
            Self::AnyRun => Piece::AnyRun,
            Self::Variable(variable) => Piece::Variable(variable),
        }
    }
}

impl Shape {
    fn of(pieces: Vec<OwnedPiece>, text: &str) -> Self {
        use OwnedPiece::{AnyRun, Text};
        // A literal that is shorter than written was written with `${*}`. `**` is reduced to `*`, which changes neither
        // side of it.
        let (before, behind) = match &*pieces {
            [] => ("", None),
            [Text(literal)] => (&**literal, None),
            [AnyRun] => ("", Some("")),
            [Text(prefix), AnyRun] => (&**prefix, Some("")),
            [AnyRun, Text(suffix)] => ("", Some(&**suffix)),
            [Text(prefix), AnyRun, Text(suffix)] => (&**prefix, Some(&**suffix)),
            _ => return Self::general(pieces),
        };
        match behind {
            None if before == text => Self::Exact,
            Some(behind) if text.starts_with(before) && text.ends_with(behind) => {
                match (u32::try_from(before.len()), u32::try_from(behind.len())) {
                    (Ok(prefix), Ok(suffix)) => Self::Affixes { prefix, suffix },
                    _ => Self::general(pieces),
                }
            }
            _ => Self::general(pieces),
        }
    }

    fn general(pieces: Vec<OwnedPiece>) -> Self {
        let n_bytes = |piece: &OwnedPiece| match piece {
            OwnedPiece::Text(text) => text.len(),
            OwnedPiece::AnyOne => 1,
            OwnedPiece::AnyRun | OwnedPiece::Variable(_) => 0,
        };
        Self::General(Box::new(General {
            finders: glob::finders(&pieces),
            has_variables: glob::variables_in(&pieces) > 0,
            min_bytes: pieces.iter().map(n_bytes).sum(),
            pieces: pieces.into(),
        }))
    }
}

impl Hash for Template {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({})", self.text)
    }
}

impl Variable {
    fn value<'a>(&'a self, variables: &'a impl Variables) -> Option<Text<'a>> {
        self.put_in(variables.substitute(&self.key))
    }

    fn value_in_resource<'a>(&'a self, variables: &'a impl Variables) -> Option<Text<'a>> {
        self.put_in(match variables.substitute(&self.key) {
            Substitute::Unknown => Substitute::Missing,
            other => other,
        })
    }

    fn put_in<'a>(&'a self, substitute: Substitute<'a>) -> Option<Text<'a>> {
        match substitute {
            Substitute::Value(value) => Some(value),
            Substitute::Missing => self.default.as_deref().map(Text::from),
            Substitute::Several | Substitute::Unknown => None,
        }
    }
}

/// Returns the source form of some pieces of a longer text.
fn written(pieces: &[OwnedPiece]) -> String {
    let write = |piece: &OwnedPiece| match piece {
        OwnedPiece::Text(text) => text.to_string(),
        OwnedPiece::AnyOne => "?".to_owned(),
        OwnedPiece::AnyRun => "*".to_owned(),
        OwnedPiece::Variable(variable) => match &**variable {
            Variable { key, default: None } => format!("${{{key}}}"),
            Variable {
                key,
                default: Some(default),
            } => format!("${{{key}, '{default}'}}"),
        },
    };
    pieces.iter().map(write).collect()
}

/// Cuts `text` into pieces at its special characters.
fn cut(text: &str, syntax: Syntax) -> Result<Vec<OwnedPiece>, Malformed> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let flush = |literal: &mut String, pieces: &mut Vec<OwnedPiece>| {
        if !literal.is_empty() {
            pieces.push(OwnedPiece::Text(mem::take(literal).into()));
        }
    };
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let after = rest.get(character.len_utf8()..).unwrap_or("");
        if syntax.variables
            && let Some(body) = rest.strip_prefix("${")
        {
            let (variable, after) = parse_variable(body)?;
            match variable {
                Braced::Literal(character) => literal.push(character),
                Braced::Variable(variable) => {
                    flush(&mut literal, &mut pieces);
                    pieces.push(OwnedPiece::Variable(Box::new(variable)));
                }
            }
            rest = after;
            continue;
        }
        match character {
            '*' if syntax.wildcards => {
                flush(&mut literal, &mut pieces);
                // `**` means the same as `*`.
                if pieces.last() != Some(&OwnedPiece::AnyRun) {
                    pieces.push(OwnedPiece::AnyRun);
                }
            }
            '?' if syntax.wildcards => {
                flush(&mut literal, &mut pieces);
                pieces.push(OwnedPiece::AnyOne);
            }
            _ => literal.push(character),
        }
        rest = after;
    }
    flush(&mut literal, &mut pieces);
    Ok(pieces)
}

enum Braced {
    /// `${*}`, `${?}`, `${$}` (V-6).
    Literal(char),
    Variable(Variable),
}

/// Parses the text after `${`, and returns the rest after the closing brace (V-5, V-6).
fn parse_variable(body: &str) -> Result<(Braced, &str), Malformed> {
    let malformed =
        |why: &str| Malformed::because(format!("policy variable `${{{}` {why}", clip(body)));
    for (literal, character) in [("*}", '*'), ("?}", '?'), ("$}", '$')] {
        if let Some(rest) = body.strip_prefix(literal) {
            return Ok((Braced::Literal(character), rest));
        }
    }
    let end = body
        .find([',', '}'])
        .ok_or_else(|| malformed("has no closing `}`"))?;
    let (key, rest) = body.split_at(end);
    if key.is_empty() {
        return Err(malformed("has no key"));
    }
    if key.contains(char::is_whitespace) {
        return Err(malformed("has a space in its key"));
    }
    let variable = |default| {
        Braced::Variable(Variable {
            key: ContextKey::new(key),
            default,
        })
    };
    if let Some(rest) = rest.strip_prefix('}') {
        return Ok((variable(None), rest));
    }
    let quoted = rest
        .strip_prefix(',')
        .unwrap_or(rest)
        .trim_start_matches(' ');
    let quoted = quoted
        .strip_prefix('\'')
        .ok_or_else(|| malformed("needs its default in single quotes"))?;
    let (default, rest) = quoted
        .split_once('\'')
        .ok_or_else(|| malformed("has an unclosed quote"))?;
    let rest = rest
        .strip_prefix('}')
        .ok_or_else(|| malformed("needs `}` right after its default"))?;
    Ok((variable(Some(default.into())), rest))
}

fn clip(text: &str) -> String {
    text.chars().take(60).collect()
}

/// The source for texts without variables.
pub struct NoVariables;

impl Variables for NoVariables {
    fn substitute(&self, _: &ContextKey) -> Substitute<'_> {
        Substitute::Missing
    }
}

#[cfg(test)]
mod tests;
