//! Texts with `*`, `?` and `${policy variables}`: of actions, of resources, of condition values.
//!
//! A [`Template`] is cut into pieces once, when its document is parsed; variables are found before anything is split
//! at colons (V-3), and what is put in for them at match time is always literal (V-8, V-12).

use std::borrow::Cow;
use std::fmt;

use smallvec::SmallVec;

use crate::context::ContextKey;
use crate::name::{Action, Arn, Malformed, Resource, is_action_character, is_service_prefix};

/// A text cut into its literal and its moving parts.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Template {
    text: Box<str>,
    pieces: Box<[Piece]>,
}

/// One part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// These characters.
    Text(Box<str>),
    /// `?`: exactly one Unicode scalar value (M-3).
    AnyOne,
    /// `*`: any run of characters, also none (M-3).
    AnyRun,
    /// `${key}` or `${key, 'default'}`.
    Variable(Variable),
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
    Value(Cow<'a, str>),
    /// Absent, empty, or an empty list: the default is used, if there is one.
    Missing,
    /// Two values or more: not even the default is used.
    Several,
}

/// Where the values of variables come from.
pub trait Variables {
    /// The value of `key` for a variable.
    fn substitute(&self, key: &ContextKey) -> Substitute<'_>;
}

/// A [`Piece`] with its variable put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Atom<'a> {
    /// These characters.
    Text(Cow<'a, str>),
    /// One character.
    AnyOne,
    /// Any run of characters.
    AnyRun,
}

/// The pieces of a [`Template`], ready to be matched; short ones live on the stack.
pub type Atoms<'a> = SmallVec<[Atom<'a>; 6]>;

impl Template {
    /// Cuts `text` up. Fails only on a malformed variable (V-5).
    pub fn parse(text: &str, syntax: Syntax) -> Result<Self, Malformed> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let flush = |literal: &mut String, pieces: &mut Vec<Piece>| {
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(literal).into()));
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
                        pieces.push(Piece::Variable(variable));
                    }
                }
                rest = after;
                continue;
            }
            match character {
                '*' if syntax.wildcards => {
                    flush(&mut literal, &mut pieces);
                    // `**` is `*`.
                    if pieces.last() != Some(&Piece::AnyRun) {
                        pieces.push(Piece::AnyRun);
                    }
                }
                '?' if syntax.wildcards => {
                    flush(&mut literal, &mut pieces);
                    pieces.push(Piece::AnyOne);
                }
                _ => literal.push(character),
            }
            rest = after;
        }
        flush(&mut literal, &mut pieces);
        Ok(Self {
            text: text.into(),
            pieces: pieces.into(),
        })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The parts, in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The variables it mentions.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(variable) => Some(variable),
            _ => None,
        })
    }

    /// Whether it ends in `*`.
    pub fn ends_in_wildcard(&self) -> bool {
        self.pieces.last() == Some(&Piece::AnyRun)
    }

    /// Puts the variables in; `None` if one has no value (V-9).
    pub fn resolve<'a>(&'a self, variables: &'a impl Variables) -> Option<Atoms<'a>> {
        self.pieces
            .iter()
            .map(|piece| {
                Some(match piece {
                    Piece::Text(text) => Atom::Text(Cow::Borrowed(text)),
                    Piece::AnyOne => Atom::AnyOne,
                    Piece::AnyRun => Atom::AnyRun,
                    Piece::Variable(variable) => Atom::Text(variable.value(variables)?),
                })
            })
            .collect()
    }

    /// Whether the whole of `text` matches; `None` if a variable has no value.
    pub fn matches(&self, text: &str, variables: &impl Variables) -> Option<bool> {
        match &*self.pieces {
            [] => Some(text.is_empty()),
            [Piece::Text(literal)] => Some(**literal == *text),
            [Piece::AnyRun] => Some(true),
            _ => Some(glob(&self.resolve(variables)?, text)),
        }
    }

    /// Splits at the colons that stand in the text itself, never inside a variable: at most `n - 1` of them.
    fn split_at_colons(&self, n: usize) -> Vec<Self> {
        let mut fields: Vec<Vec<Piece>> = vec![Vec::new()];
        let mut n_fields = 1;
        let push = |fields: &mut Vec<Vec<Piece>>, piece: Piece| {
            if let Some(last) = fields.last_mut() {
                last.push(piece);
            }
        };
        for piece in &self.pieces {
            let Piece::Text(text) = piece else {
                push(&mut fields, piece.clone());
                continue;
            };
            let mut rest: &str = text;
            while n_fields < n
                && let Some((before, after)) = rest.split_once(':')
            {
                if !before.is_empty() {
                    push(&mut fields, Piece::Text(before.into()));
                }
                fields.push(Vec::new());
                n_fields += 1;
                rest = after;
            }
            if !rest.is_empty() {
                push(&mut fields, Piece::Text(rest.into()));
            }
        }
        fields
            .into_iter()
            .map(|pieces| Self {
                text: written(&pieces).into(),
                pieces: pieces.into(),
            })
            .collect()
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({})", self.text)
    }
}

impl Variable {
    fn value<'a>(&'a self, variables: &'a impl Variables) -> Option<Cow<'a, str>> {
        match variables.substitute(&self.key) {
            Substitute::Value(value) => Some(value),
            Substitute::Missing => self.default.as_deref().map(Cow::Borrowed),
            Substitute::Several => None,
        }
    }
}

/// The source form of some pieces of a longer text.
fn written(pieces: &[Piece]) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.to_string(),
            Piece::AnyOne => "?".to_owned(),
            Piece::AnyRun => "*".to_owned(),
            Piece::Variable(Variable { key, default: None }) => format!("${{{key}}}"),
            Piece::Variable(Variable {
                key,
                default: Some(default),
            }) => format!("${{{key}, '{default}'}}"),
        })
        .collect()
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

/// Whether the whole of `text` matches `atoms`. Iterative, in time O(pattern × text) (M-21): after a mismatch only
/// the last `*` is widened, which is enough because a leftmost match never takes room from what follows.
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

/// A pattern of actions, `service:Name` or `*` (G-27), lower-cased because case never matters (M-2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ActionPattern {
    text: Box<str>,
    form: ActionForm,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ActionForm {
    Everything,
    Named { service: Box<str>, name: Template },
}

impl ActionPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let is_everything =
            !text.is_empty() && text.bytes().all(|byte| byte == b'*') || text == "*:*";
        if is_everything {
            return Ok(Self {
                text: text.into(),
                form: ActionForm::Everything,
            });
        }
        let fits = |byte: u8| is_action_character(byte) || matches!(byte, b'*' | b'?');
        let named = text.split_once(':').filter(|(service, name)| {
            is_service_prefix(service) && !name.is_empty() && name.bytes().all(fits)
        });
        let Some((service, name)) = named else {
            return Err(Malformed::because(format!(
                "action `{text}` must be `*` or `service:Name`, with wildcards only behind the colon"
            )));
        };
        let syntax = Syntax {
            wildcards: true,
            variables: false,
        };
        let name = Template::parse(&name.to_ascii_lowercase(), syntax)?;
        let form = ActionForm::Named {
            service: service.to_ascii_lowercase().into(),
            name,
        };
        Ok(Self {
            text: text.into(),
            form,
        })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The service it is limited to, lower-cased; none for `*`.
    pub fn service(&self) -> Option<&str> {
        match &self.form {
            ActionForm::Everything => None,
            ActionForm::Named { service, .. } => Some(service),
        }
    }

    /// Whether `action` is one of them (M-2 to M-5).
    pub fn matches(&self, action: &Action) -> bool {
        match &self.form {
            ActionForm::Everything => true,
            ActionForm::Named { service, name } => {
                **service == *action.service()
                    && name.matches(action.name(), &NoVariables).unwrap_or(false)
            }
        }
    }
}

/// How far wildcards reach across colons (M-12): fail closed in either position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Where a wider match would allow more: `Allow`+`Resource`, `Deny`+`NotResource`.
    Narrow,
    /// Where a wider match can only allow less: `Deny`+`Resource`, `Allow`+`NotResource`.
    Broad,
}

/// A pattern of resources: `*`, or an ARN whose fields may hold wildcards and variables (G-28, M-10 to M-20).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResourcePattern {
    text: Box<str>,
    form: ResourceForm,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ResourceForm {
    Everything,
    /// The fields behind `arn`: one to five of them.
    Arn(Box<[Template]>),
}

/// The number of fields behind `arn:` in a full ARN.
const N_FIELDS: usize = 5;

impl ResourcePattern {
    /// Reads a pattern. Where variables may stand (V-3) is for the caller to check, by [`ResourcePattern::fields`].
    pub fn parse(text: &str, syntax: Syntax) -> Result<Self, Malformed> {
        if !text.is_empty() && text.bytes().all(|byte| byte == b'*') {
            return Ok(Self {
                text: text.into(),
                form: ResourceForm::Everything,
            });
        }
        let Some(behind) = text.strip_prefix("arn:") else {
            return Err(Malformed::because(format!(
                "resource `{text}` must be `*` or start with `arn:`"
            )));
        };
        let fields = Template::parse(behind, syntax)?.split_at_colons(N_FIELDS);
        Ok(Self {
            text: text.into(),
            form: ResourceForm::Arn(fields.into()),
        })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The fields behind `arn`; none for `*`.
    pub fn fields(&self) -> &[Template] {
        match &self.form {
            ResourceForm::Everything => &[],
            ResourceForm::Arn(fields) => fields,
        }
    }

    /// Whether it covers everything, `*` included (M-10).
    pub fn is_everything(&self) -> bool {
        self.form == ResourceForm::Everything
    }

    /// Whether it is an ARN with fewer than six fields (M-12).
    pub fn is_short(&self) -> bool {
        matches!(&self.form, ResourceForm::Arn(fields) if fields.len() < N_FIELDS)
    }

    /// Whether `resource` is covered; `None` if a variable has no value.
    pub fn matches(
        &self,
        resource: &Resource,
        reach: Reach,
        variables: &impl Variables,
    ) -> Option<bool> {
        match (&self.form, resource) {
            (ResourceForm::Everything, _) => Some(true),
            // M-11: only `*` covers `*`. A variable without a value is still said first (V-9).
            (ResourceForm::Arn(fields), Resource::Any) => fields
                .iter()
                .all(|field| field.resolve(variables).is_some())
                .then_some(false),
            (ResourceForm::Arn(fields), Resource::Arn(arn)) => {
                self.matches_arn(fields, arn, reach, variables)
            }
        }
    }

    fn matches_arn(
        &self,
        fields: &[Template],
        arn: &Arn,
        reach: Reach,
        variables: &impl Variables,
    ) -> Option<bool> {
        let resolved: SmallVec<[Atoms<'_>; N_FIELDS]> = fields
            .iter()
            .map(|field| field.resolve(variables))
            .collect::<Option<_>>()?;
        if self.matches_field_by_field(&resolved, arn) {
            return Some(true);
        }
        // With six fields on either side the two relations differ only if the resource part holds a colon.
        let may_differ = self.is_short() || arn.resource().contains(':');
        Some(reach == Reach::Broad && may_differ && matches_across_colons(&resolved, arn))
    }

    /// NARROW: wildcards in fields 2 to 5 never match `:`; a short pattern must end in `*`, which covers the rest.
    fn matches_field_by_field(&self, fields: &[Atoms<'_>], arn: &Arn) -> bool {
        let ends_in_wildcard = fields
            .last()
            .is_some_and(|last| last.last() == Some(&Atom::AnyRun));
        if self.is_short() && !ends_in_wildcard {
            return false;
        }
        fields
            .iter()
            .zip(arn.fields().iter().skip(1))
            .all(|(pattern, field)| glob(pattern, field))
    }
}

/// BROAD: a `*` that ends one of fields 2 to 5 may match `:` too; a short pattern without a final `*` is tried as it
/// stands and with `:*` behind it.
fn matches_across_colons(fields: &[Atoms<'_>], arn: &Arn) -> bool {
    // V-3: what a variable puts into one of fields 2 to 5 stays inside of it, so a colon there fits nothing.
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

/// The places in a text to which a pattern read so far can lead: all of them at once, so that time is
/// O(pattern × text) whatever the pattern (M-21).
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

/// A pattern of ARNs in a condition (C-65 to C-69): `*`, or six fields that are compared one by one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArnPattern {
    /// All six fields behind and with `arn`; none for `*`.
    fields: Box<[Template]>,
}

impl ArnPattern {
    /// Reads a pattern (C-67).
    pub fn parse(text: &str, syntax: Syntax) -> Result<Self, Malformed> {
        if !text.is_empty() && text.bytes().all(|byte| byte == b'*') {
            return Ok(Self {
                fields: Box::default(),
            });
        }
        let fields = Template::parse(text, syntax)?.split_at_colons(N_FIELDS + 1);
        let starts_with_arn = matches!(fields.first().map(|field| &*field.pieces), Some([Piece::Text(first)]) if **first == *"arn");
        if fields.len() != N_FIELDS + 1 || !starts_with_arn {
            return Err(Malformed::because(format!(
                "`{text}` must be `*` or an ARN of six fields"
            )));
        }
        Ok(Self {
            fields: fields.into(),
        })
    }

    /// All six fields, `arn` first; none for `*`.
    pub fn fields(&self) -> &[Template] {
        &self.fields
    }

    /// The variables it mentions.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.fields.iter().flat_map(Template::variables)
    }

    /// Whether the ARN with these six fields matches; `None` if a variable has no value.
    pub fn matches(&self, arn: &[&str; 6], variables: &impl Variables) -> Option<bool> {
        let mut all = true;
        for (pattern, field) in self.fields.iter().zip(arn) {
            all &= pattern.matches(field, variables)?;
        }
        Some(all)
    }
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
