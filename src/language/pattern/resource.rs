//! Patterns of resources, and how far their wildcards reach.

use super::automaton::{self, Glyph};
use super::{OwnedPiece, Piece, Shape, Syntax, Template, Values, Variable, Variables, glob};
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
    /// The fields from the first one with a wildcard or variable on. Kept only where some are compared one by one: where
    /// a wildcard stands before the fifth colon.
    moving_fields: Box<[Template]>,
    /// With `:*` behind it, of a short pattern that does not end in `*`.
    extended: Option<Box<Template>>,
    /// How many variables stand before the fifth colon.
    n_confined_variables: u32,
    /// How many fields stand behind `arn`: one to five; none for `*`.
    n_fields: u8,
    /// How many of them stand before the one with the first wildcard or variable.
    n_literal_fields: u8,
    /// What the wildcards before the fifth colon are like.
    wildcards: Wildcards,
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
        let fields = fields_of(&whole);
        let is_cut_short = !is_everything && fields.len() < N_FIELDS && !whole.ends_in_wildcard();
        let extended = if is_cut_short {
            Some(Box::new(Template::parse(&format!("{text}:*"), syntax)?))
        } else {
            None
        };
        let wildcards = Wildcards::of(&fields);
        let confined = fields.iter().take(N_FIELDS - 1);
        let n_confined_variables = confined
            .map(|field| field.variables().count())
            .sum::<usize>();
        let is_literal = |field: &&Template| field.literal().is_some();
        let n_literal_fields = fields.iter().take_while(is_literal).count();
        let count = |n: usize| u8::try_from(n).map_err(|_| Malformed::because("too many fields"));
        Ok(Self {
            n_fields: count(fields.len())?,
            n_literal_fields: count(n_literal_fields)?,
            n_confined_variables: u32::try_from(n_confined_variables)
                .map_err(|_| Malformed::because("too many variables"))?,
            moving_fields: match wildcards {
                Wildcards::Nowhere => Box::default(),
                _ => fields.into_iter().skip(n_literal_fields).collect(),
            },
            wildcards,
            whole,
            extended,
        })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        self.whole.as_str()
    }

    /// About how much memory it takes, what it points to included.
    pub fn n_bytes(&self) -> usize {
        let fields: usize = self.moving_fields.iter().map(Template::n_bytes).sum();
        let extended = self.extended.as_ref();
        size_of::<Self>() - size_of::<Template>()
            + self.whole.n_bytes()
            + fields
            + extended.map_or(0, |extended| extended.n_bytes())
    }

    /// Which of partition and service it leaves empty, if it does: no ARN of a question has such (G-28, M-7).
    pub fn missing_field(&self) -> Option<&'static str> {
        let fields = self.fields();
        let mut named = fields.iter().zip(["partition", "service"]);
        let (_, name) = named.find(|(field, _)| field.literal() == Some(""))?;
        Some(name)
    }

    /// The fields behind `arn`, cut anew; none for `*`.
    pub fn fields(&self) -> Vec<Template> {
        fields_of(&self.whole)
    }

    /// The variables it mentions.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.whole.variables()
    }

    /// Whether it covers everything, `*` included (M-10).
    pub fn is_everything(&self) -> bool {
        self.n_fields == 0
    }

    /// Whether it is an ARN with fewer than six fields (M-12).
    pub fn is_short(&self) -> bool {
        !self.is_everything() && usize::from(self.n_fields) < N_FIELDS
    }

    /// Whether it ends in `*`.
    pub fn ends_in_wildcard(&self) -> bool {
        self.whole.ends_in_wildcard()
    }

    /// The only resource that it covers: the text of a full ARN without wildcards and variables.
    pub fn exact(&self) -> Option<&str> {
        let is_full = usize::from(self.n_fields) == N_FIELDS;
        self.whole.literal().filter(|_| is_full)
    }

    /// How every resource begins that it covers, in either reach: what stands before its first wildcard or variable.
    pub fn beginning(&self) -> &str {
        match &self.whole.shape {
            Shape::Exact | Shape::Affixes { .. } => self.whole.affixes().0,
            Shape::General(general) => match general.pieces.first() {
                Some(OwnedPiece::Text(literal)) => literal,
                _ => "",
            },
        }
    }

    /// How every resource ends that it covers, in either reach: what stands behind its last wildcard or variable.
    /// Nothing is said by a short pattern, which may cover more than its own text (M-12).
    pub fn ending(&self) -> &str {
        if self.is_short() {
            return "";
        }
        match &self.whole.shape {
            Shape::Exact => self.whole.as_str(),
            Shape::Affixes { .. } => self.whole.affixes().1,
            Shape::General(general) => match general.pieces.last() {
                Some(OwnedPiece::Text(literal)) => literal,
                _ => "",
            },
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
        let pieces = self.whole.pieces().enumerate();
        let literals = pieces.filter_map(|(index, piece)| match piece {
            Piece::Text(literal) => {
                let mut colons = literal.match_indices(':');
                let n_shared = match (index, colons.nth(2)) {
                    (0, Some((third, _))) => third + 1,
                    (0, None) => literal.len(),
                    _ => 0,
                };
                Some((literal.len() - n_shared, literal))
            }
            _ => None,
        });
        // Of equally long ones the first.
        let longest = literals.reduce(|best, other| if other.0 > best.0 { other } else { best });
        longest.map(|(_, literal)| literal)
    }

    /// What it asks of a resource, where that can be told in a few words: not if it has variables, or wildcards of a kind
    /// that must be tried.
    pub fn outline(&self, reach: Reach) -> Option<Outline<'_>> {
        if self.is_everything() {
            return Some(Outline::Everything);
        }
        if self.whole.has_variables() || self.extended.is_some() {
            return None;
        }
        match (reach, self.wildcards) {
            (_, Wildcards::Nowhere) | (Reach::Broad, Wildcards::AtEnds) => {
                self.whole.form().map(Outline::Text)
            }
            (Reach::Narrow, Wildcards::AtEnds | Wildcards::Inside) => {
                let asking = self
                    .numbered_fields()
                    .filter(|(_, field)| !field.is_everything());
                let forms = asking.map(|(index, field)| Some((index, field.form()?)));
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
            Resource::Arn(arn) => self.covers(arn, reach, values, variables),
        };
        // PERF: room for values is not even set aside where there are none.
        if !self.whole.has_variables() {
            return Some(covers(&[]));
        }
        let mut values = Values::new();
        self.whole.read_values_of_resource(variables, &mut values)?;
        Some(covers(&values))
    }

    fn covers(&self, arn: &Arn, reach: Reach, values: &[Text<'_>], meter: &impl Variables) -> bool {
        // V-3: what a variable puts into one of fields 2 to 5 stays inside of it, so a colon there fits nothing.
        let mut confined = values.iter().take(self.n_confined_variables as usize);
        if confined.any(|value| !meter.pay(value.len() / 64) || value.contains(':')) {
            return false;
        }
        let is_whole = || {
            let extended = self.extended.as_ref();
            self.whole.fits(arn.as_str(), values, meter)
                || extended.is_some_and(|extended| extended.fits(arn.as_str(), values, meter))
        };
        match (reach, self.wildcards) {
            (Reach::Narrow, _) if self.extended.is_some() => false,
            (_, Wildcards::Nowhere) | (Reach::Broad, Wildcards::AtEnds) => is_whole(),
            _ if !arn.as_str().starts_with(self.beginning()) => false,
            (Reach::Narrow, _) => self.covers_field_by_field(arn, values, meter),
            (Reach::Broad, Wildcards::Inside) => {
                // With six fields on either side the two relations differ only if the resource part holds a colon.
                let may_differ = self.is_short() || arn.resource().contains(':');
                self.extended.is_none() && self.covers_field_by_field(arn, values, meter)
                    || may_differ && self.covers_across_colons(arn, values, meter)
            }
        }
    }

    /// NARROW: wildcards in fields 2 to 5 never match `:`; a short pattern must end in `*`, which covers the rest.
    /// That `arn` begins as it does is known, and so that the fields before the first wildcard are the same.
    fn covers_field_by_field(
        &self,
        arn: &Arn,
        mut values: &[Text<'_>],
        meter: &impl Variables,
    ) -> bool {
        self.numbered_fields().all(|(index, field)| {
            if field.is_everything() {
                return true;
            }
            let n_variables = match values {
                [] => 0,
                _ => field.variables().count(),
            };
            let (here, later) = values.split_at_checked(n_variables).unwrap_or_default();
            values = later;
            field.fits(arn.field(index), here, meter)
        })
    }

    /// The fields that are compared one by one, with their numbers as [`Arn::field`] counts.
    fn numbered_fields(&self) -> impl Iterator<Item = (usize, &Template)> {
        (1 + usize::from(self.n_literal_fields)..).zip(&self.moving_fields)
    }

    /// BROAD where only some wildcards may cross: a `*` that ends one of fields 2 to 5 may match `:` too; a short
    /// pattern without a final `*` is tried as it stands and with `:*` behind it.
    fn covers_across_colons(&self, arn: &Arn, values: &[Text<'_>], meter: &impl Variables) -> bool {
        let n_values: usize = values.iter().map(|value| value.len()).sum();
        let fits = |template: &Template| {
            let (n_glyphs, text) = (template.as_str().len() + n_values, arn.as_str());
            meter.pay(automaton::units(n_glyphs, text.len()))
                && automaton::fits(broad_glyphs(template, values), text)
        };
        fits(&self.whole) || self.extended.as_deref().is_some_and(fits)
    }
}

/// The fields behind `arn` of a pattern in one piece; none of `*`.
fn fields_of(whole: &Template) -> Vec<Template> {
    if whole.is_everything() {
        return Vec::new();
    }
    let mut fields = whole.split_at_colons(N_FIELDS + 1);
    fields.remove(0);
    fields
}

impl Template {
    /// What it asks of a text, if it is of one of the simple forms.
    fn form(&self) -> Option<Form<'_>> {
        let general = match &self.shape {
            Shape::Exact => return Some(Form::Exact(&self.text)),
            Shape::Affixes { .. } => {
                let (prefix, suffix) = self.affixes();
                return Some(Form::Affixes(prefix, suffix));
            }
            Shape::General(general) => general,
        };
        use OwnedPiece::{AnyRun, Text};
        match &*general.pieces {
            [Text(prefix), AnyRun, Text(infix), AnyRun] => Some(Form::Infix(prefix, infix, "")),
            [Text(prefix), AnyRun, Text(infix), AnyRun, Text(suffix)] => {
                Some(Form::Infix(prefix, infix, suffix))
            }
            _ => None,
        }
    }
}

impl Wildcards {
    fn of(fields: &[Template]) -> Self {
        let is_wildcard = |piece: &Piece<'_>| matches!(piece, Piece::AnyOne | Piece::AnyRun);
        let confined = fields.get(..N_FIELDS - 1).unwrap_or(fields);
        let mut found = Self::Nowhere;
        for (index, field) in confined.iter().enumerate() {
            let covers_rest = fields.len() < N_FIELDS && index + 1 == fields.len();
            let ends_in_run = field.ends_in_wildcard();
            if ends_in_run && !covers_rest {
                found = Self::AtEnds;
            }
            let n_wildcards = field.pieces().filter(is_wildcard).count();
            if n_wildcards > usize::from(ends_in_run) {
                return Self::Inside;
            }
        }
        found
    }
}

/// The characters and wildcards of a whole pattern, read broadly.
fn broad_glyphs<'p>(
    template: &'p Template,
    mut values: &'p [Text<'_>],
) -> impl Iterator<Item = Glyph> {
    let mut n_colons = 0;
    let mut later = template.pieces();
    template.pieces().flat_map(move |piece| {
        let is_resource_part = n_colons >= N_FIELDS;
        later.next();
        let ends_field = || match later.clone().next() {
            None => true,
            Some(Piece::Text(literal)) => literal.starts_with(':'),
            Some(_) => false,
        };
        let (text, wildcard) = match piece {
            Piece::Text(text) => {
                n_colons += text.bytes().filter(|byte| *byte == b':').count();
                (text, None)
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
