//! Sections 2 and 3: patterns and variables, and what they match. The code is naive on purpose. Patterns are parsed
//! once, with their document, and matched by the obvious recursion.

use std::borrow::Cow;

use super::context::Context;

/// One piece of a pattern as it is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Literal text.
    Char(char),
    /// `*`
    Star,
    /// `?`
    Question,
    /// `${key}` or `${key, 'default'}` (V-5); the key in lower case (V-10).
    Variable(String, Option<String>),
}

/// One piece of a pattern with its variables filled in. A wildcard knows whether it may match `:`.
#[derive(Clone, Debug, PartialEq)]
pub enum Glyph {
    Char(char),
    Star { crosses: bool },
    Question { crosses: bool },
}

/// V-1: variables exist only in documents of 2012.
pub fn pieces(text: &str, has_variables: bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if has_variables && let Some(inside) = rest.strip_prefix("${") {
            let (piece, after) = variable(inside);
            pieces.push(piece);
            rest = after;
            continue;
        }
        pieces.push(match first {
            '*' => Piece::Star,
            '?' => Piece::Question,
            other => Piece::Char(other),
        });
        rest = &rest[first.len_utf8()..];
    }
    pieces
}

/// Splits the text after `${` into the variable and the rest (V-5, V-6).
fn variable(inside: &str) -> (Piece, &str) {
    let end = inside.find([',', '}']).expect("a variable ends");
    let (key, rest) = inside.split_at(end);
    if let Some(after) = rest.strip_prefix('}') {
        return match key {
            "*" | "?" | "$" => (Piece::Char(key.chars().next().unwrap()), after),
            _ => (Piece::Variable(key.to_ascii_lowercase(), None), after),
        };
    }
    let quoted = rest[1..].trim_start_matches(' ').strip_prefix('\'');
    let (default, after) = quoted.unwrap().split_once('\'').unwrap();
    let after = after.strip_prefix('}').unwrap();
    let piece = Piece::Variable(key.to_ascii_lowercase(), Some(default.to_owned()));
    (piece, after)
}

/// V-9: returns the value of a variable, or `None` if it is valueless.
fn value_of<'c>(key: &str, default: Option<&'c str>, context: &'c Context<'_>) -> Option<&'c str> {
    match context.get(key) {
        [one] if !one.is_empty() => Some(one),
        [_, _, ..] => None,
        _ => default,
    }
}

/// Returns the pieces with the values of their variables as literal text (V-8), or `None` if one is valueless.
pub fn resolved(pieces: &[Piece], context: &Context<'_>) -> Option<Vec<Glyph>> {
    let mut glyphs = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Char(char) => glyphs.push(Glyph::Char(*char)),
            Piece::Star => glyphs.push(Glyph::Star { crosses: true }),
            Piece::Question => glyphs.push(Glyph::Question { crosses: true }),
            Piece::Variable(key, default) => {
                let value = value_of(key, default.as_deref(), context)?;
                glyphs.extend(value.chars().map(Glyph::Char));
            }
        }
    }
    Some(glyphs)
}

/// A text of a policy, parsed.
#[derive(Clone, Debug)]
pub struct Written {
    pieces: Vec<Piece>,
    /// The final pieces, or `None` if they depend on variables.
    always: Option<Vec<Glyph>>,
}

impl Written {
    pub fn of(pieces: &[Piece]) -> Self {
        let is_variable = |piece: &Piece| matches!(piece, Piece::Variable(..));
        Self {
            always: match pieces.iter().any(is_variable) {
                true => None,
                false => resolved(pieces, &Context::default()),
            },
            pieces: pieces.to_vec(),
        }
    }

    /// T-8: returns whether it contains a variable with an unknown value.
    pub fn is_unknown(&self, context: &Context<'_>) -> bool {
        self.pieces.iter().any(|piece| match piece {
            Piece::Variable(key, _) => context.unknown(key).is_some(),
            _ => false,
        })
    }

    /// Returns it with the values of its variables, or `None` if one is valueless.
    pub fn resolved(&self, context: &Context<'_>) -> Option<Cow<'_, [Glyph]>> {
        match &self.always {
            Some(glyphs) => Some(Cow::Borrowed(glyphs)),
            None => resolved(&self.pieces, context).map(Cow::Owned),
        }
    }
}

/// Returns the text of a value in which wildcards have no meaning (C-20).
pub fn text_of(glyphs: &[Glyph]) -> impl Iterator<Item = char> {
    glyphs.iter().map(|glyph| match glyph {
        Glyph::Char(char) => *char,
        Glyph::Star { .. } => '*',
        Glyph::Question { .. } => '?',
    })
}

/// M-3: matches the whole text.
pub fn glob(pattern: &[Glyph], text: &str) -> bool {
    let first = text.chars().next();
    let rest_of_text = || &text[first.map_or(0, char::len_utf8)..];
    let may_take = |crosses: &bool| first.is_some_and(|first| *crosses || first != ':');
    match pattern.split_first() {
        None => text.is_empty(),
        Some((Glyph::Char(char), rest)) => first == Some(*char) && glob(rest, rest_of_text()),
        Some((Glyph::Question { crosses }, rest)) => {
            may_take(crosses) && glob(rest, rest_of_text())
        }
        Some((Glyph::Star { crosses }, rest)) => {
            glob(rest, text) || (may_take(crosses) && glob(pattern, rest_of_text()))
        }
    }
}

/// V-3, M-8: splits a pattern at its first five colons as written. A colon in the value of a variable separates
/// nothing.
pub fn fields(pieces: &[Piece]) -> Vec<&[Piece]> {
    pieces
        .splitn(6, |piece| *piece == Piece::Char(':'))
        .collect()
}

/// An action pattern (M-1 to M-6).
#[derive(Clone, Debug)]
pub enum ActionPattern {
    /// G-27.
    Every,
    /// The pattern in lower case.
    Of { service: String, name: Vec<Glyph> },
}

impl ActionPattern {
    pub fn of(text: &str) -> Self {
        if text == "*:*" || text.chars().all(|char| char == '*') {
            return Self::Every;
        }
        let text = text.to_ascii_lowercase();
        let (service, name) = text.split_once(':').unwrap();
        Self::Of {
            service: service.to_owned(),
            name: resolved(&pieces(name, false), &Context::default()).unwrap(),
        }
    }

    pub fn covers(&self, action: &Action) -> bool {
        match self {
            Self::Every => true,
            Self::Of { service, name } => *service == action.service && glob(name, &action.name),
        }
    }
}

/// The action of a question, in lower case (M-2).
pub struct Action {
    service: String,
    name: String,
}

impl Action {
    pub fn of(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let (service, name) = text.split_once(':').unwrap();
        Self {
            service: service.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// M-12: patterns that grant match narrowly, and patterns that restrict match broadly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    Narrow,
    Broad,
}

/// A resource pattern (M-10 to M-19).
#[derive(Clone, Debug)]
pub enum ResourcePattern {
    /// M-10.
    Every,
    /// A pattern without variables. The resource must match one of these.
    Fixed(Vec<Vec<Glyph>>),
    /// A pattern with variables.
    Open { pieces: Vec<Piece>, reach: Reach },
}

impl ResourcePattern {
    pub fn of(pieces: Vec<Piece>, reach: Reach) -> Self {
        if pieces.iter().all(|piece| *piece == Piece::Star) {
            return Self::Every;
        }
        let is_variable = |piece: &Piece| matches!(piece, Piece::Variable(..));
        match pieces.iter().any(is_variable) {
            true => Self::Open { pieces, reach },
            false => Self::Fixed(spelled_out(&pieces, reach, &Context::default()).unwrap()),
        }
    }

    /// Returns whether it matches, or `None` if a variable is valueless.
    pub fn covers(&self, resource: &str, context: &Context<'_>) -> Option<bool> {
        let matches_one = |patterns: &[Vec<Glyph>]| {
            let mut patterns = patterns.iter();
            resource != "*" && patterns.any(|pattern| glob(pattern, resource)) // M-11
        };
        match self {
            Self::Every => Some(true),
            Self::Fixed(patterns) => Some(matches_one(patterns)),
            Self::Open { pieces, reach } => {
                Some(matches_one(&spelled_out(pieces, *reach, context)?))
            }
        }
    }
}

/// Returns everything that a pattern stands for: a short one may end early or go on. `None` if a variable is valueless.
fn spelled_out(pattern: &[Piece], reach: Reach, context: &Context<'_>) -> Option<Vec<Vec<Glyph>>> {
    let fields: Option<Vec<_>> = fields(pattern)
        .iter()
        .map(|field| resolved(field, context))
        .collect();
    let mut fields = fields?;
    if fields
        .iter()
        .take(5)
        .flatten()
        .any(|glyph| *glyph == Glyph::Char(':'))
    {
        return Some(vec![]); // V-3: a variable's text stays inside its field
    }
    let is_short = fields.len() < 6;
    for field in fields.iter_mut().take(5) {
        for glyph in field.iter_mut() {
            if let Glyph::Star { crosses } | Glyph::Question { crosses } = glyph {
                *crosses = false; // M-12, M-13
            }
        }
        if let (Reach::Broad, Some(Glyph::Star { crosses })) = (reach, field.last_mut()) {
            *crosses = true;
        }
    }
    let mut glyphs = fields.join(&Glyph::Char(':'));
    if !is_short {
        return Some(vec![glyphs]);
    }
    if let Some(Glyph::Star { crosses }) = glyphs.last_mut() {
        *crosses = true; // the last `*` covers the rest of the ARN
        return Some(vec![glyphs]);
    }
    if reach == Reach::Narrow {
        return Some(vec![]);
    }
    let as_it_stands = glyphs.clone();
    glyphs.extend([Glyph::Char(':'), Glyph::Star { crosses: true }]);
    Some(vec![as_it_stands, glyphs])
}
