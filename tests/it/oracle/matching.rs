//! Sections 2 and 3: patterns, variables, and what they cover. Naive on purpose.

use super::context::Context;

/// One piece of a pattern as it is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Stands for itself.
    Char(char),
    /// `*`
    Star,
    /// `?`
    Question,
    /// `${key}` or `${key, 'default'}` (V-5); the key in lower case (V-10).
    Variable(String, Option<String>),
}

/// One piece of a pattern once its variables have their values: a wildcard knows whether it may match `:`.
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

/// What stands after `${`, and what comes after its end (V-5, V-6).
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

/// V-9: what a variable stands for; `None`: it is valueless.
fn value_of(key: &str, default: Option<&str>, context: &Context) -> Option<String> {
    match context.get(key) {
        [one] if !one.is_empty() => Some(one.clone()),
        [_, _, ..] => None,
        _ => default.map(str::to_owned),
    }
}

/// The pieces with the values of their variables, which are literal text (V-8). `None`: one is valueless.
pub fn resolved(pieces: &[Piece], context: &Context) -> Option<Vec<Glyph>> {
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

/// The text of a value whose wildcards mean nothing (C-20). `None`: a variable is valueless.
pub fn text_of(pieces: &[Piece], context: &Context) -> Option<String> {
    let glyphs = resolved(pieces, context)?;
    let char = |glyph: &Glyph| match glyph {
        Glyph::Char(char) => *char,
        Glyph::Star { .. } => '*',
        Glyph::Question { .. } => '?',
    };
    Some(glyphs.iter().map(char).collect())
}

/// M-3: anchored at both ends.
pub fn glob(pattern: &[Glyph], text: &[char]) -> bool {
    let may_take = |crosses: &bool| text.first().is_some_and(|first| *crosses || *first != ':');
    match pattern.split_first() {
        None => text.is_empty(),
        Some((Glyph::Char(char), rest)) => text.first() == Some(char) && glob(rest, &text[1..]),
        Some((Glyph::Question { crosses }, rest)) => may_take(crosses) && glob(rest, &text[1..]),
        Some((Glyph::Star { crosses }, rest)) => {
            glob(rest, text) || (may_take(crosses) && glob(pattern, &text[1..]))
        }
    }
}

pub fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

/// V-3, M-8: at the first five colons that are written; those in the text of a variable separate nothing.
pub fn fields(pieces: &[Piece]) -> Vec<&[Piece]> {
    pieces
        .splitn(6, |piece| *piece == Piece::Char(':'))
        .collect()
}

/// M-1 to M-6.
pub fn covers_action(pattern: &str, action: &str) -> bool {
    if pattern == "*:*" || pattern.chars().all(|char| char == '*') {
        return true; // G-27
    }
    let (service, name) = pattern.split_once(':').unwrap();
    let (asked_service, asked_name) = action.split_once(':').unwrap();
    let name = pieces(&name.to_ascii_lowercase(), false);
    let name = resolved(&name, &Context::default()).unwrap();
    service.eq_ignore_ascii_case(asked_service)
        && glob(&name, &chars(&asked_name.to_ascii_lowercase()))
}

/// M-12: granting positions are narrow, restricting ones broad.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    Narrow,
    Broad,
}

/// M-10 to M-19. `None`: a variable is valueless.
pub fn covers_resource(
    pattern: &[Piece],
    resource: &str,
    reach: Reach,
    context: &Context,
) -> Option<bool> {
    if pattern.iter().all(|piece| *piece == Piece::Star) {
        return Some(true); // M-10
    }
    let fields: Option<Vec<_>> = fields(pattern)
        .iter()
        .map(|field| resolved(field, context))
        .collect();
    let mut fields = fields?;
    if resource == "*" {
        return Some(false); // M-11
    }
    if fields
        .iter()
        .take(5)
        .flatten()
        .any(|glyph| *glyph == Glyph::Char(':'))
    {
        return Some(false); // V-3: a variable's text stays inside its field
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
    let resource = chars(resource);
    if !is_short {
        return Some(glob(&glyphs, &resource));
    }
    if let Some(Glyph::Star { crosses }) = glyphs.last_mut() {
        *crosses = true; // the last `*` covers the rest of the ARN
        return Some(glob(&glyphs, &resource));
    }
    if reach == Reach::Narrow {
        return Some(false);
    }
    let as_it_stands = glob(&glyphs, &resource);
    glyphs.extend([Glyph::Char(':'), Glyph::Star { crosses: true }]);
    Some(as_it_stands || glob(&glyphs, &resource))
}
