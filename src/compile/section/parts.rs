//! What the rows of a section ask of a resource: a single part stands in its row, several lie side by side.

use std::ops::Range;

use memchr::memchr_iter;

use crate::language::document::{Effect, Listed, Statement};
use crate::language::pattern::{Form, Outline, Reach, ResourcePattern};
use crate::language::text::is_same;
use crate::name::Arn;

/// How many bytes of a resource's beginning stand in a row, behind `arn:`.
pub(super) const HEAD: usize = 16;
/// The longest text that is looked for between two wildcards.
const LONGEST_INFIX: usize = 64;

/// How it is told that a statement speaks of a resource.
#[derive(Clone, Copy)]
pub(super) enum Covering {
    /// It speaks of everything.
    Everything,
    /// By this part.
    Part(Part),
    /// By all of these parts.
    Parts { first: u32, n: u8 },
    /// Its patterns have to be asked.
    ByPattern,
}

/// What the rows of a section ask of a resource, side by side, where it does not stand in them.
#[derive(Default)]
pub(super) struct Parts {
    parts: Box<[Part]>,
    /// The texts of the parts, one behind the other.
    texts: Box<[u8]>,
}

/// What one text is asked for: to begin with a prefix, to hold an infix behind it, and to end in a suffix behind that; or
/// to be the prefix.
#[derive(Clone, Copy)]
pub(super) struct Part {
    of: PartOf,
    is_exact: bool,
    prefix: u16,
    infix: u16,
    suffix: u16,
    /// Where the prefix begins among the texts; infix and suffix are behind it.
    at: u32,
}

/// Which text is asked.
#[derive(Clone, Copy)]
enum PartOf {
    Whole,
    Field(u8),
}

impl Parts {
    #[inline]
    pub fn fit(&self, first: u32, n: u8, arn: &Arn) -> bool {
        let first = first as usize;
        let parts = self.parts.get(first..first + usize::from(n));
        parts.is_some_and(|parts| parts.iter().all(|part| self.fits(part, arn)))
    }

    #[inline]
    pub fn fits(&self, part: &Part, arn: &Arn) -> bool {
        let text = match part.of {
            PartOf::Whole => arn.as_str(),
            PartOf::Field(n) => arn.field(usize::from(n)),
        };
        let text = text.as_bytes();
        let ours = self.texts.get(part.at as usize..).unwrap_or_default();
        let (prefix, ours) = ours
            .split_at_checked(part.prefix.into())
            .unwrap_or_default();
        if part.is_exact {
            return is_same(prefix, text);
        }
        let (infix, ours) = ours.split_at_checked(part.infix.into()).unwrap_or_default();
        let suffix = ours.get(..part.suffix.into()).unwrap_or_default();
        if text.len() < prefix.len() + infix.len() + suffix.len() {
            return false;
        }
        let between = prefix.len()..text.len() - suffix.len();
        is_same(prefix, text.get(..between.start).unwrap_or_default())
            && is_same(suffix, text.get(between.end..).unwrap_or_default())
            && (infix.is_empty() || holds(arn, between, infix))
    }

    pub fn n_bytes(&self) -> usize {
        size_of_val(&*self.parts) + self.texts.len()
    }
}

/// Whether the part of an ARN's text between two places holds `infix`, which begins with a colon.
///
/// PERF: so it can only stand where a colon does, and where five of them are is known.
fn holds(arn: &Arn, between: Range<usize>, infix: &[u8]) -> bool {
    let text = arn.as_str().as_bytes();
    let is_at = |at: usize| {
        let end = at + infix.len();
        at >= between.start
            && end <= between.end
            && text.get(at..end).is_some_and(|here| is_same(here, infix))
    };
    let resource_part = text.len() - arn.resource().len();
    arn.colons().any(is_at)
        || memchr_iter(b':', arn.resource().as_bytes()).any(|at| is_at(resource_part + at))
}

/// [`Parts`] in the making.
#[derive(Default)]
pub(super) struct PartsMaker {
    parts: Vec<Part>,
    texts: Vec<u8>,
}

impl PartsMaker {
    /// How to tell what `statement` covers.
    pub fn covering(&mut self, statement: &Statement) -> Covering {
        let reach = match statement.effect {
            Effect::Allow => Reach::Narrow,
            Effect::Deny => Reach::Broad,
        };
        let pattern = match &statement.resources {
            None => return Covering::Everything, // E-12
            Some(Listed::Any(patterns)) if patterns.iter().any(ResourcePattern::is_everything) => {
                return Covering::Everything; // M-10
            }
            Some(Listed::Any(patterns)) => match &**patterns {
                [pattern] => pattern,
                _ => return Covering::ByPattern,
            },
            Some(Listed::Not(_)) => return Covering::ByPattern,
        };
        let asked = match pattern.outline(reach) {
            Some(Outline::Everything) => return Covering::Everything,
            Some(Outline::Text(form)) => vec![(PartOf::Whole, form)],
            Some(Outline::Fields(forms)) => {
                let beginning = pattern.beginning();
                // What is no longer than a row's head was looked at before.
                let is_seen = beginning.len() <= "arn:".len() + HEAD;
                let whole = (PartOf::Whole, Form::Affixes(beginning, ""));
                let fields = forms.into_iter().map(|(field, form)| {
                    let field = u8::try_from(field).unwrap_or(u8::MAX);
                    (PartOf::Field(field), form)
                });
                (!is_seen)
                    .then_some(whole)
                    .into_iter()
                    .chain(fields)
                    .collect()
            }
            None => return Covering::ByPattern,
        };
        self.write(&asked).unwrap_or(Covering::ByPattern)
    }

    /// None if a text is too long, or hard to find.
    fn write(&mut self, asked: &[(PartOf, Form<'_>)]) -> Option<Covering> {
        let mut parts = Vec::with_capacity(asked.len());
        let mut texts = Vec::new();
        for (of, form) in asked {
            let (prefix, infix, suffix) = match (of, form) {
                (_, Form::Exact(text)) => (*text, "", ""),
                (_, Form::Affixes(prefix, suffix)) => (*prefix, "", *suffix),
                (PartOf::Whole, Form::Infix(prefix, infix, suffix))
                    if infix.starts_with(':') && infix.len() <= LONGEST_INFIX =>
                {
                    (*prefix, *infix, *suffix)
                }
                (_, Form::Infix(..)) => return None,
            };
            parts.push(Part {
                of: *of,
                is_exact: matches!(form, Form::Exact(_)),
                prefix: prefix.len().try_into().ok()?,
                infix: infix.len().try_into().ok()?,
                suffix: suffix.len().try_into().ok()?,
                at: (self.texts.len() + texts.len()).try_into().ok()?,
            });
            for text in [prefix, infix, suffix] {
                texts.extend_from_slice(text.as_bytes());
            }
        }
        let covering = match *parts {
            [part] => Covering::Part(part),
            _ => Covering::Parts {
                first: self.parts.len().try_into().ok()?,
                n: parts.len().try_into().ok()?,
            },
        };
        self.texts.append(&mut texts);
        if matches!(covering, Covering::Parts { .. }) {
            self.parts.append(&mut parts);
        }
        Some(covering)
    }
}

impl From<PartsMaker> for Parts {
    fn from(made: PartsMaker) -> Self {
        Self {
            parts: made.parts.into(),
            texts: made.texts.into(),
        }
    }
}
