//! Patterns of resources, and how far their wildcards reach.

use super::automaton::{self, Glyph};
use super::{Piece, Shape, Syntax, Template, Values, Variables, glob};
use crate::language::text::Text;
use crate::name::{Arn, Malformed, Resource};

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
    /// The pattern in one piece, `arn:` included.
    whole: Template,
    /// The fields behind `arn`, one to five of them; none for `*`.
    fields: Box<[Template]>,
    /// With `:*` behind it, of a short pattern that does not end in `*`.
    extended: Option<Box<Template>>,
    /// What the wildcards before the fifth colon are like.
    wildcards: Wildcards,
    /// How many variables stand before the fifth colon.
    n_confined_variables: usize,
    /// Which of the pieces of `whole` is the longest literal one.
    longest_literal: Option<usize>,
    /// How many fields stand before the one with the first wildcard or variable.
    n_literal_fields: usize,
}

/// What a pattern without variables asks of a resource, in parts that an index can lay out side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outline<'p> {
    /// Nothing.
    Everything,
    /// Of its whole text.
    Text(Form<'p>),
    /// Of each of these fields, counted as [`Arn::field`] does; and that it begins as the pattern does.
    Fields(Vec<(usize, Form<'p>)>),
}

/// What a part of a pattern asks of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form<'p> {
    /// To be this one.
    Exact(&'p str),
    /// To begin and to end so, without overlap: `prefix*suffix`.
    Affixes(&'p str, &'p str),
    /// To begin so, to hold this somewhere behind it, and to end so behind that: `prefix*infix*suffix`.
    Infix(&'p str, &'p str, &'p str),
}

/// The wildcards in fields 2 to 5 of a pattern; they alone make [`Reach`] matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wildcards {
    /// There are none, or only the last `*` of a short pattern, which covers the rest in either reach.
    Nowhere,
    /// Each is a `*` that ends its field, which crosses colons broadly.
    AtEnds,
    /// Some never cross a colon: `?`, and `*` inside a field.
    Inside,
}

/// The number of fields behind `arn:` in a full ARN.
const N_FIELDS: usize = 5;

impl ResourcePattern {
    /// Reads a pattern. Where variables may stand (V-3) is for the caller to check, by [`ResourcePattern::fields`].
    pub fn parse(text: &str, syntax: Syntax) -> Result<Self, Malformed> {
        let is_everything = !text.is_empty() && text.bytes().all(|byte| byte == b'*');
        if !is_everything && !text.starts_with("arn:") {
            return Err(Malformed::because(format!(
                "resource `{text}` must be `*` or start with `arn:`"
            )));
        }
        let syntax = Syntax {
            wildcards: true,
            ..syntax
        };
        let whole = Template::parse(text, syntax)?;
        let fields: Box<[Template]> = if is_everything {
            Box::default()
        } else {
            let all = whole.split_at_colons(N_FIELDS + 1);
            all.into_iter().skip(1).collect()
        };
        let is_cut_short = !is_everything && fields.len() < N_FIELDS && !whole.ends_in_wildcard();
        let extended = if is_cut_short {
            Some(Box::new(Template::parse(&format!("{text}:*"), syntax)?))
        } else {
            None
        };
        let confined = fields.iter().take(N_FIELDS - 1);
        Ok(Self {
            wildcards: Wildcards::of(&fields),
            n_confined_variables: confined
                .map(|field| glob::variables_in(field.pieces()))
                .sum(),
            longest_literal: longest_literal(whole.pieces()),
            n_literal_fields: fields
                .iter()
                .take_while(|field| field.literal().is_some())
                .count(),
            whole,
            fields,
            extended,
        })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        self.whole.as_str()
    }

    /// The fields behind `arn`; none for `*`.
    pub fn fields(&self) -> &[Template] {
        &self.fields
    }

    /// Whether it covers everything, `*` included (M-10).
    pub fn is_everything(&self) -> bool {
        self.fields.is_empty()
    }

    /// Whether it is an ARN with fewer than six fields (M-12).
    pub fn is_short(&self) -> bool {
        !self.is_everything() && self.fields.len() < N_FIELDS
    }

    /// The only resource that it covers: the text of a full ARN without wildcards and variables.
    pub fn exact(&self) -> Option<&str> {
        (self.fields.len() == N_FIELDS)
            .then(|| self.whole.literal())
            .flatten()
    }

    /// How every resource begins that it covers, in either reach: what stands before its first wildcard or variable.
    pub fn beginning(&self) -> &str {
        match self.whole.pieces().first() {
            Some(Piece::Text(literal)) => literal,
            _ => "",
        }
    }

    /// How every resource ends that it covers, in either reach: what stands behind its last wildcard or variable.
    /// Nothing is said by a short pattern, which may cover more than its own text (M-12).
    pub fn ending(&self) -> &str {
        match self.whole.pieces().last() {
            Some(Piece::Text(literal)) if !self.is_short() => literal,
            _ => "",
        }
    }

    /// A long text without a gap that is part of every resource it covers, in either reach; none for `*`.
    ///
    /// It is the longest run of literal characters between its wildcards and variables, `arn:` and the colons between
    /// the fields included; `arn:partition:service:` at its start counts for nothing, because that tells the resources
    /// of one service not apart. That is sound because whatever it covers is its own text with something put in for each
    /// wildcard and variable: narrow and broad differ in what a wildcard may take, and a short pattern in what may
    /// follow, but neither takes a literal character away (M-12, M-23).
    pub fn longest_literal(&self) -> Option<&str> {
        match self.whole.pieces().get(self.longest_literal?)? {
            Piece::Text(literal) => Some(literal),
            _ => None,
        }
    }

    /// What it asks of a resource, where that can be told in a few words: not if it has variables, or wildcards of a kind
    /// that must be tried.
    pub fn outline(&self, reach: Reach) -> Option<Outline<'_>> {
        if self.is_everything() {
            return Some(Outline::Everything);
        }
        if self.whole.has_variables || self.extended.is_some() {
            return None;
        }
        match (reach, self.wildcards) {
            (_, Wildcards::Nowhere) | (Reach::Broad, Wildcards::AtEnds) => {
                self.whole.form().map(Outline::Text)
            }
            (Reach::Narrow, Wildcards::AtEnds | Wildcards::Inside) => {
                let fields = self.fields.iter().enumerate().skip(self.n_literal_fields);
                let asking = fields.filter(|(_, field)| !field.is_everything());
                let forms = asking.map(|(index, field)| Some((index + 1, field.form()?)));
                forms.collect::<Option<_>>().map(Outline::Fields)
            }
            (Reach::Broad, Wildcards::Inside) => None,
        }
    }

    /// Whether `resource` is covered; `None` if a variable has no value, whatever else mismatches (V-9).
    pub fn matches(
        &self,
        resource: &Resource,
        reach: Reach,
        variables: &impl Variables,
    ) -> Option<bool> {
        if self.is_everything() {
            return Some(true);
        }
        let covers = |values: &[Text<'_>]| match resource {
            Resource::Any => false, // M-11: only `*` covers `*`
            Resource::Arn(arn) => self.covers(arn, reach, values),
        };
        // PERF: room for values is not even set aside where there are none.
        if !self.whole.has_variables {
            return Some(covers(&[]));
        }
        let mut values = Values::new();
        self.whole.read_values(variables, &mut values)?;
        Some(covers(&values))
    }

    fn covers(&self, arn: &Arn, reach: Reach, values: &[Text<'_>]) -> bool {
        // V-3: what a variable puts into one of fields 2 to 5 stays inside of it, so a colon there fits nothing.
        let mut confined = values.iter().take(self.n_confined_variables);
        if confined.any(|value| value.contains(':')) {
            return false;
        }
        let is_whole = || {
            let extended = self.extended.as_ref();
            self.whole.fits(arn.as_str(), values)
                || extended.is_some_and(|extended| extended.fits(arn.as_str(), values))
        };
        match (reach, self.wildcards) {
            (Reach::Narrow, _) if self.extended.is_some() => false,
            (_, Wildcards::Nowhere) | (Reach::Broad, Wildcards::AtEnds) => is_whole(),
            _ if !arn.as_str().starts_with(self.beginning()) => false,
            (Reach::Narrow, _) => self.covers_field_by_field(arn, values),
            (Reach::Broad, Wildcards::Inside) => {
                // With six fields on either side the two relations differ only if the resource part holds a colon.
                let may_differ = self.is_short() || arn.resource().contains(':');
                self.extended.is_none() && self.covers_field_by_field(arn, values)
                    || may_differ && self.covers_across_colons(arn, values)
            }
        }
    }

    /// NARROW: wildcards in fields 2 to 5 never match `:`; a short pattern must end in `*`, which covers the rest.
    /// That `arn` begins as it does is known, and so that the fields before the first wildcard are the same.
    fn covers_field_by_field(&self, arn: &Arn, mut values: &[Text<'_>]) -> bool {
        let fields = self.fields.iter().enumerate().skip(self.n_literal_fields);
        fields.into_iter().all(|(index, field)| {
            if field.is_everything() {
                return true;
            }
            let given = arn.field(index + 1);
            let n_variables = match values {
                [] => 0,
                _ => glob::variables_in(field.pieces()),
            };
            let (here, later) = values.split_at_checked(n_variables).unwrap_or_default();
            values = later;
            field.fits(given, here)
        })
    }

    /// BROAD where only some wildcards may cross: a `*` that ends one of fields 2 to 5 may match `:` too; a short
    /// pattern without a final `*` is tried as it stands and with `:*` behind it.
    fn covers_across_colons(&self, arn: &Arn, values: &[Text<'_>]) -> bool {
        let fits = |template: &Template| {
            automaton::fits(broad_glyphs(template.pieces(), values), arn.as_str())
        };
        fits(&self.whole) || self.extended.as_deref().is_some_and(fits)
    }
}

impl Template {
    /// What it asks of a text, if it is of one of the simple forms.
    fn form(&self) -> Option<Form<'_>> {
        let text = &*self.text;
        match self.shape {
            Shape::Exact => Some(Form::Exact(text)),
            Shape::Affixes { prefix, suffix } => Some(Form::Affixes(
                text.get(..prefix as usize)?,
                text.get(text.len() - suffix as usize..)?,
            )),
            Shape::General => match &*self.pieces {
                [
                    Piece::Text(prefix),
                    Piece::AnyRun,
                    Piece::Text(infix),
                    Piece::AnyRun,
                ] => Some(Form::Infix(prefix, infix, "")),
                [
                    Piece::Text(prefix),
                    Piece::AnyRun,
                    Piece::Text(infix),
                    Piece::AnyRun,
                    Piece::Text(suffix),
                ] => Some(Form::Infix(prefix, infix, suffix)),
                _ => None,
            },
        }
    }
}

impl Wildcards {
    fn of(fields: &[Template]) -> Self {
        let is_wildcard = |piece: &Piece| matches!(piece, Piece::AnyOne | Piece::AnyRun);
        let confined = fields.get(..N_FIELDS - 1).unwrap_or(fields);
        let mut found = Self::Nowhere;
        for (index, field) in confined.iter().enumerate() {
            let covers_rest = fields.len() < N_FIELDS && index + 1 == fields.len();
            let inside = match field.pieces() {
                [inside @ .., Piece::AnyRun] => {
                    if !covers_rest {
                        found = Self::AtEnds;
                    }
                    inside
                }
                all => all,
            };
            if inside.iter().any(is_wildcard) {
                return Self::Inside;
            }
        }
        found
    }
}

fn longest_literal(pieces: &[Piece]) -> Option<usize> {
    let literals = pieces.iter().enumerate().rev();
    let (_, index) = literals
        .filter_map(|(index, piece)| match piece {
            Piece::Text(literal) => {
                let mut colons = literal.match_indices(':');
                let n_shared = match (index, colons.nth(2)) {
                    (0, Some((third, _))) => third + 1,
                    (0, None) => literal.len(),
                    _ => 0,
                };
                Some((literal.len() - n_shared, index))
            }
            _ => None,
        })
        .max_by_key(|(n_bytes, _)| *n_bytes)?;
    Some(index)
}

/// The characters and wildcards of a whole pattern, read broadly.
fn broad_glyphs<'p>(
    pieces: &'p [Piece],
    mut values: &'p [Text<'_>],
) -> impl Iterator<Item = Glyph> {
    let mut n_colons = 0;
    pieces.iter().enumerate().flat_map(move |(index, piece)| {
        let is_resource_part = n_colons >= N_FIELDS;
        let ends_field = || match pieces.get(index + 1) {
            None => true,
            Some(Piece::Text(literal)) => literal.starts_with(':'),
            Some(_) => false,
        };
        let (text, wildcard) = match piece {
            Piece::Text(text) => {
                n_colons += text.bytes().filter(|byte| *byte == b':').count();
                (&**text, None)
            }
            Piece::Variable(_) => (glob::next(&mut values), None),
            Piece::AnyOne => {
                let crosses = is_resource_part;
                ("", Some(Glyph::AnyOne { crosses }))
            }
            Piece::AnyRun => {
                let crosses = is_resource_part || ends_field();
                ("", Some(Glyph::AnyRun { crosses }))
            }
        };
        text.chars().map(Glyph::Character).chain(wildcard)
    })
}
