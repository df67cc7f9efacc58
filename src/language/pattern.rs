//! Texts with `*`, `?` and `${policy variables}`: of actions, of resources, of condition values.
//!
//! A [`Template`] is read once, when its document is parsed, and only those of no simple form are kept in pieces;
//! variables are found before anything is split at colons (V-3), and what is put in for them at match time is always
//! literal (V-8, V-12).
//!
//! What a pattern can match is decided in time linear in pattern and text, and without allocating (M-21). The forms that
//! nearly all patterns have compare one or two ranges of bytes; `glob` and `automaton` take the others.

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

pub use action::ActionPattern;
pub use arn::ArnPattern;
pub use resource::{Form, Outline, Reach, ResourcePattern};

/// A text with its literal and its moving parts. Two of them are the same if they are written alike and read alike.
///
/// A store holds tens of thousands of them, most of a form whose parts are ranges of the text: 40 bytes, and the
/// text elsewhere only if it is longer than 23.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: SmolStr,
    shape: Shape,
}

/// What the text is like. The parts of the first two are ranges of the text as written; there are no `${*}` in it then.
#[derive(Clone, PartialEq, Eq)]
enum Shape {
    /// The text itself.
    Exact,
    /// `prefix*suffix`: so many bytes before and behind the only `*`; `*` and `prefix*` too.
    Affixes { prefix: u32, suffix: u32 },
    /// Anything else.
    General(Box<General>),
}

/// A text that is cut into pieces.
#[derive(Clone)]
struct General {
    pieces: Box<[OwnedPiece]>,
    finders: glob::Finders,
    has_variables: bool,
    /// What matches has at least so many bytes, besides those of the variables' values.
    min_bytes: usize,
}

/// All else follows from the pieces.
impl PartialEq for General {
    fn eq(&self, other: &Self) -> bool {
        self.pieces == other.pieces
    }
}

impl Eq for General {}

/// A [`Piece`] that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
enum OwnedPiece {
    Text(Box<str>),
    AnyOne,
    AnyRun,
    Variable(Box<Variable>),
}

/// The values of the variables of a pattern, in their order; those of 8 live on the stack.
pub(crate) type Values<'a> = SmallVec<[Text<'a>; 8]>;

/// What it takes to look up the value of a variable and to put it in.
const UNITS_OF_VARIABLE: usize = 6;

/// One part of a [`Template`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'t> {
    /// These characters.
    Text(&'t str),
    /// `?`: exactly one Unicode scalar value (M-3).
    AnyOne,
    /// `*`: any run of characters, also none (M-3).
    AnyRun,
    /// `${key}` or `${key, 'default'}`.
    Variable(&'t Variable),
}

/// A policy variable (V-5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variable {
    /// The context key whose value is put in.
    pub key: ContextKey,
    /// Put in when the key has no value (V-9).
    pub default: Option<Box<str>>,
}

/// Which characters of a text have a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syntax {
    /// `*` and `?`.
    pub wildcards: bool,
    /// `${`, which only the newer version of the language knows (V-1).
    pub variables: bool,
}

/// What a variable stands for at match time (V-9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Substitute<'a> {
    /// Exactly one value that is not empty.
    Value(Text<'a>),
    /// Absent, empty, or an empty list: the default is used, if there is one.
    Missing,
    /// Two values or more: not even the default is used.
    Several,
    /// One that nobody can say (T-8, T-43): none in a condition, whatever the default; no value like any other in a
    /// resource.
    Unknown,
}

/// Where the values of variables come from.
pub trait Variables {
    /// The value of `key` for a variable.
    fn substitute(&self, key: &ContextKey) -> Substitute<'_>;

    /// Pays `units` of about 10 ns for what is about to be done; false if they are not left, and then it is not to be
    /// done, and whatever comes of it counts for nothing.
    fn pay(&self, _units: usize) -> bool {
        true
    }
}

/// A [`Piece`] with its variable put in.
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
    /// Reads `text`. Fails only on a malformed variable (V-5).
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

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// About how much memory it takes, what it points to included.
    pub fn n_bytes(&self) -> usize {
        let text = match self.text.len() {
            0..=23 => 0,
            n => allocated(n),
        };
        let shape = match &self.shape {
            Shape::Exact | Shape::Affixes { .. } => 0,
            Shape::General(general) => {
                let of_piece = |piece: &OwnedPiece| match piece {
                    OwnedPiece::Text(text) => allocated(text.len()),
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
        size_of::<Self>() + text + shape
    }

    /// The parts, in order.
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

    /// What stands before and behind the only wildcard; the whole text before none.
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

    /// The variables it mentions.
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

    /// Whether it is a lone `*`.
    pub fn is_everything(&self) -> bool {
        const EVERYTHING: Shape = Shape::Affixes {
            prefix: 0,
            suffix: 0,
        };
        self.shape == EVERYTHING
    }

    /// Whether it ends in `*`.
    pub fn ends_in_wildcard(&self) -> bool {
        match &self.shape {
            Shape::Exact => false,
            Shape::Affixes { suffix, .. } => *suffix == 0,
            Shape::General(general) => general.pieces.last() == Some(&OwnedPiece::AnyRun),
        }
    }

    /// The only text that matches, if there is one whatever the request says.
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

    /// The parts with the variables put in, for people to read; `None` if one has no value (V-9).
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

    /// Puts the values of the variables into the empty `values`, in their order; `None` if one has none (V-9).
    ///
    /// PERF: filled in place, because moving a list that lives on the stack copies all its room.
    pub(crate) fn read_values<'a>(
        &'a self,
        variables: &'a impl Variables,
        values: &mut Values<'a>,
    ) -> Option<()> {
        self.read(variables, values, Variable::value)
    }

    /// The same for a resource, where a default stands for what nobody can say too.
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

    /// The text that these values of the variables make of it, in parts; wildcards are left out.
    pub(crate) fn parts<'t>(&'t self, values: &'t [Text<'_>]) -> impl Iterator<Item = &'t str> {
        let mut values = values.iter();
        self.pieces().map(move |piece| match piece {
            Piece::Text(text) => text,
            Piece::Variable(_) => values.next().map_or("", |value| value),
            Piece::AnyOne | Piece::AnyRun => "",
        })
    }

    /// Whether the whole of `text` matches; `None` if a variable has no value.
    pub fn matches(&self, text: &str, variables: &impl Variables) -> Option<bool> {
        if !self.has_variables() {
            return Some(self.fits(text, &[], variables));
        }
        let mut values = Values::new();
        self.read_values(variables, &mut values)?;
        Some(self.fits(text, &values, variables))
    }

    /// Whether the whole of `text` matches with these values of the variables. `meter` pays for it.
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
                // What is put in for variables may be long: where it cannot fit it must cost nothing.
                let n_values: usize = values.iter().map(|value| value.len()).sum();
                general.min_bytes.saturating_add(n_values) <= text.len()
                    && glob::fits(&general.pieces, &general.finders, values, text, meter)
            }
        }
    }

    /// Splits at the colons that stand in the text itself, never inside a variable: at most `n - 1` of them.
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
        // What is shorter than written was written with `${*}`; `**` is cut to `*` and leaves both its sides alone.
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

/// The source form of some pieces of a longer text.
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

/// Cuts `text` up at what has a meaning in it.
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
                // `**` is `*`.
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

/// Reads what stands behind `${`, and gives the rest behind the closing brace (V-5, V-6).
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

/// For texts without variables.
pub struct NoVariables;

impl Variables for NoVariables {
    fn substitute(&self, _: &ContextKey) -> Substitute<'_> {
        Substitute::Missing
    }
}

#[cfg(test)]
mod tests;
