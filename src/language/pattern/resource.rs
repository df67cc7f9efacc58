//! Patterns of resources, and how far their wildcards reach.

use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use super::automaton::{self, Glyph};
use super::{OwnedPiece, Piece, Shape, Syntax, Template, Values, Variable, Variables, glob};
use crate::language::text::Text;
use crate::name::{GivenArn, Malformed, Resource};

/// How far wildcards reach across colons (M-12). Both choices fail closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// The reach if a wider match would allow more: `Allow`+`Resource`, `Deny`+`NotResource`.
    Narrow,
    /// The reach if a wider match can only allow less: `Deny`+`Resource`, `Allow`+`NotResource`.
    Broad,
}

/// A pattern of resources: `*`, or an ARN whose fields may contain wildcards and variables (G-28, M-10 to M-20).
#[derive(Clone, Debug)]
pub struct ResourcePattern {
    /// The whole pattern, including `arn:`. Everything else follows from it.
    pub(super) whole: Template,
    /// Made when the pattern is first compared field by field. Most patterns of a large store never are.
    moving_fields: OnceLock<Box<MovingFields>>,
    /// The pattern with `:*` at its end, for a short pattern that does not end in `*`.
    extended: Option<Box<Template>>,
    /// How many variables are before the fifth colon.
    pub(super) n_confined_variables: u32,
    /// How many fields follow `arn`: one to five, or zero for `*`.
    n_fields: u8,
    /// How many of them come before the one with the first wildcard or variable.
    n_literal_fields: u8,
    /// The kind of wildcards before the fifth colon.
    wildcards: Wildcards,
}

/// The fields of a pattern from the first one with a wildcard or variable on.
#[derive(Clone, Debug)]
struct MovingFields(Box<[Template]>);

/// The requirements of a pattern without variables, in parts that an index can store side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outline<'p> {
    /// There is no requirement.
    Everything,
    /// The requirement on the whole text.
    Text(Form<'p>),
    /// The requirements on these fields, counted as [`GivenArn::field`] does. The resource must also begin as the pattern
    /// does.
    Fields(Vec<(usize, Form<'p>)>),
}

/// The requirement on a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form<'p> {
    /// The text is this one.
    Exact(&'p str),
    /// The text begins and ends with these, without overlap: `prefix*suffix`.
    Affixes(&'p str, &'p str),
    /// The text begins with the first, contains the second after that, and ends with the third after both:
    /// `prefix*infix*suffix`.
    Infix(&'p str, &'p str, &'p str),
}

impl<'p> Form<'p> {
    /// Returns the requirement of a text with wildcards and without variables, if it has one of the simple forms.
    fn of(text: &'p str) -> Option<Self> {
        if text.contains('?') {
            return None;
        }
        let Some((prefix, rest)) = text.split_once('*') else {
            return Some(Self::Exact(text));
        };
        let (middle, suffix) = rest.rsplit_once('*').unwrap_or(("", rest));
        // `**` means the same as `*`.
        match middle.trim_matches('*') {
            "" => Some(Self::Affixes(prefix, suffix)),
            infix if infix.contains('*') || prefix.is_empty() => None,
            infix => Some(Self::Infix(prefix, infix, suffix)),
        }
    }
}

/// The wildcards in fields 2 to 5 of a pattern. Only for these does [`Reach`] make a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wildcards {
    /// There are no wildcards, or only the last `*` of a short pattern, which covers the rest in either reach.
    Nowhere,
    /// Each is a `*` at the end of its field, which crosses colons in the broad reach.
    AtEnds,
    /// Some wildcards never cross a colon: `?`, and `*` inside a field.
    Inside,
}

/// The number of fields after `arn:` in a full ARN.
const N_FIELDS: usize = 5;

impl PartialEq for ResourcePattern {
    fn eq(&self, other: &Self) -> bool {
        self.whole == other.whole
    }
}

impl Eq for ResourcePattern {}

impl Hash for ResourcePattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.whole.hash(state);
    }
}

impl ResourcePattern {
    /// Parses a pattern. The caller checks where variables may be (V-3), with [`ResourcePattern::fields`].
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
            moving_fields: OnceLock::new(),
            wildcards,
            whole,
            extended,
        })
    }

    /// Returns the text as written.
    pub fn as_str(&self) -> &str {
        self.whole.as_str()
    }

    /// Returns about how much memory it takes, including what it points to, in bytes.
    pub fn n_bytes(&self) -> usize {
        // They are counted whether they are made or not, because a question may make them at any time.
        let fields = match self.wildcards {
            Wildcards::Nowhere => 0,
            _ => usize::from(self.n_fields - self.n_literal_fields) * size_of::<Template>(),
        };
        let extended = self.extended.as_ref();
        size_of::<Self>() - size_of::<Template>()
            + self.whole.n_bytes()
            + fields
            + extended.map_or(0, |extended| extended.n_bytes())
    }

    /// Returns `partition` or `service` if that field is empty. No ARN in a request has an empty one (G-28, M-7).
    pub fn missing_field(&self) -> Option<&'static str> {
        let fields = self.fields();
        let mut named = fields.iter().zip(["partition", "service"]);
        let (_, name) = named.find(|(field, _)| field.literal() == Some(""))?;
        Some(name)
    }

    /// Splits the pattern into the fields after `arn`. Returns no fields for `*`.
    pub fn fields(&self) -> Vec<Template> {
        fields_of(&self.whole)
    }

    /// Returns its variables.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.whole.variables()
    }

    /// Returns whether it covers everything, including `*` (M-10).
    pub fn is_everything(&self) -> bool {
        self.n_fields == 0
    }

    /// Returns whether it is an ARN with fewer than six fields (M-12).
    pub fn is_short(&self) -> bool {
        !self.is_everything() && usize::from(self.n_fields) < N_FIELDS
    }

    /// Returns whether it ends in `*`.
    pub fn ends_in_wildcard(&self) -> bool {
        self.whole.ends_in_wildcard()
    }

    /// Returns the only resource that it covers, which is the text of a full ARN without wildcards and variables.
    pub fn exact(&self) -> Option<&str> {
        let is_full = usize::from(self.n_fields) == N_FIELDS;
        self.whole.literal().filter(|_| is_full)
    }

    /// Returns the beginning of every resource that it covers, in either reach: the text before its first wildcard or
    /// variable.
    pub fn beginning(&self) -> &str {
        match &self.whole.shape {
            Shape::Exact | Shape::Affixes { .. } => self.whole.affixes().0,
            Shape::General(general) => match general.pieces.first() {
                Some(OwnedPiece::Text(literal)) => literal,
                _ => "",
            },
        }
    }

    /// Returns the end of every resource that it covers, in either reach: the text after its last wildcard or variable.
    /// Returns an empty text for a short pattern, which may cover more than its own text (M-12).
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

    /// Returns a long continuous text that is part of every resource it covers, in either reach. Returns `None` for
    /// `*`.
    ///
    /// It is the longest run of literal characters between its wildcards and variables, including `arn:` and the colons
    /// between the fields. A leading `arn:partition:service:` does not count, because it does not tell the resources of
    /// one service apart. The result is sound because every covered resource is the pattern's own text with a text put
    /// in for each wildcard and variable. The two reaches differ in what a wildcard may match, and a short pattern
    /// differs in what may follow, but neither removes a literal character (M-12, M-23).
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
        // Among equally long ones, the first is taken.
        let longest = literals.reduce(|best, other| if other.0 > best.0 { other } else { best });
        longest.map(|(_, literal)| literal)
    }

    /// Returns whether some values of its variables may make it cover `resource`. It is never `false` if some do, in either
    /// reach.
    ///
    /// INVARIANT: whatever the rows and filters of an index require of a resource for a pattern with variables is required here
    /// too (M-23), or a list would hang on whether there is an index.
    pub fn may_cover(&self, resource: &Resource) -> bool {
        let Resource::Arn(arn) = resource else {
            return self.is_everything(); // M-11
        };
        let text = arn.as_str();
        let contains = |literal: &str| memchr::memmem::find(text.as_bytes(), literal.as_bytes());
        text.starts_with(self.beginning())
            && text.ends_with(self.ending())
            && self
                .longest_literal()
                .is_none_or(|literal| contains(literal).is_some())
    }

    /// Returns its requirements if they have a simple form. Patterns with variables, or with wildcards that must be
    /// tried, have none.
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
                self.forms_of_fields().map(Outline::Fields)
            }
            (Reach::Broad, Wildcards::Inside) => None,
        }
    }

    /// Returns whether `resource` is covered. Returns `None` if a variable has no value, even if another part does not
    /// match (V-9).
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
        // PERF: patterns without variables do not even reserve space for values.
        if !self.whole.has_variables() {
            return Some(covers(&[]));
        }
        let mut values = Values::new();
        self.whole.read_values_of_resource(variables, &mut values)?;
        Some(covers(&values))
    }

    fn covers(
        &self,
        arn: &GivenArn<'_>,
        reach: Reach,
        values: &[Text<'_>],
        meter: &impl Variables,
    ) -> bool {
        // V-3: the value of a variable in one of fields 2 to 5 stays inside that field, so a value with a colon fits
        // nothing.
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
                // If both sides have six fields, the two reaches differ only if the resource part contains a colon.
                let may_differ = self.is_short() || arn.resource().contains(':');
                self.extended.is_none() && self.covers_field_by_field(arn, values, meter)
                    || may_differ && self.covers_across_colons(arn, values, meter)
            }
        }
    }

    /// Returns whether the resource is covered in the NARROW reach: wildcards in fields 2 to 5 never match `:`, and a
    /// short pattern must end in `*`, which covers the rest. The caller has checked that `arn` begins as the pattern
    /// does, so the fields before the first wildcard are equal.
    fn covers_field_by_field(
        &self,
        arn: &GivenArn<'_>,
        mut values: &[Text<'_>],
        meter: &impl Variables,
    ) -> bool {
        let made = self.moving_fields.get_or_init(|| self.make_moving_fields());
        let MovingFields(fields) = &**made;
        let mut numbered = (1 + usize::from(self.n_literal_fields)..).zip(fields);
        numbered.all(|(index, field)| {
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

    #[cold]
    fn make_moving_fields(&self) -> Box<MovingFields> {
        let fields = self.fields().into_iter();
        let moving = fields.skip(self.n_literal_fields.into());
        Box::new(MovingFields(moving.collect()))
    }

    /// Returns the requirements of its fields in the NARROW reach, with the fields' numbers as [`Arn::field`] counts them.
    /// Returns `None` if one of them has no simple form. The pattern has no variables.
    ///
    /// PERF: it reads the pattern's own text, because the rows of all statements of a set are made for its first question.
    fn forms_of_fields(&self) -> Option<Vec<(usize, Form<'_>)>> {
        let text = self.whole.as_str();
        // A text with `${*}` is not what it stands for.
        if text.contains('$') {
            return None;
        }
        let fields = text.splitn(1 + N_FIELDS, ':').enumerate();
        fields
            .skip(1 + usize::from(self.n_literal_fields))
            .filter(|(_, field)| *field != "*")
            .map(|(index, field)| Some((index, Form::of(field)?)))
            .collect()
    }

    /// Returns whether the resource is covered in the BROAD reach, where only some wildcards may cross: a `*` at the
    /// end of one of fields 2 to 5 may match `:` too. A short pattern without a final `*` is tried as it is and with
    /// `:*` at its end.
    fn covers_across_colons(
        &self,
        arn: &GivenArn<'_>,
        values: &[Text<'_>],
        meter: &impl Variables,
    ) -> bool {
        let n_values: usize = values.iter().map(|value| value.len()).sum();
        let fits = |template: &Template| {
            let (n_glyphs, text) = (template.as_str().len() + n_values, arn.as_str());
            meter.pay(automaton::units(n_glyphs, text.len()))
                && automaton::fits(broad_glyphs(template, values), text)
        };
        fits(&self.whole) || self.extended.as_deref().is_some_and(fits)
    }
}

/// Splits a whole pattern into the fields after `arn`. Returns no fields for `*`.
fn fields_of(whole: &Template) -> Vec<Template> {
    if whole.is_everything() {
        return Vec::new();
    }
    let mut fields = whole.split_at_colons(N_FIELDS + 1);
    fields.remove(0);
    fields
}

impl Template {
    /// Returns its requirement on a text, if it has one of the simple forms.
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

/// Returns the characters and wildcards of a whole pattern in the broad reach.
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
