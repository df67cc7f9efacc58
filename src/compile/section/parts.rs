//! The parts that the rows of a section require of a resource. A single part is stored in its row, several are stored
//! together.

use std::ops::Range;

use memchr::memchr_iter;

use crate::language::document::{Effect, Listed, Statement};
use crate::language::pattern::{Form, Outline, Reach, ResourcePattern};
use crate::language::text::is_same;
use crate::name::Arn;

/// How many bytes of a resource's beginning are stored in a row, after `arn:`.
pub(super) const HEAD: usize = 16;
/// The longest text between two wildcards that is searched for here.
const LONGEST_INFIX: usize = 64;

/// How to tell that a statement covers a resource.
#[derive(Clone, Copy)]
pub(super) enum Covering {
    /// It covers everything.
    Everything,
    /// It covers a resource that has this part.
    Part(Part),
    /// It covers a resource that has all of these parts.
    Parts { first: u32, n: u8 },
    /// Its patterns have to be evaluated.
    ByPattern,
}

/// The parts that are not stored in a row, one after another.
#[derive(Default)]
pub(super) struct Parts {
    parts: Box<[Part]>,
    /// The texts of the parts, one after another.
    texts: Box<[u8]>,
}

/// The requirement on one text: it begins with a prefix, contains an infix after that, and ends with a suffix after
/// both. Or it equals the prefix.
#[derive(Clone, Copy)]
pub(super) struct Part {
    of: PartOf,
    is_exact: bool,
    prefix: u16,
    infix: u16,
    suffix: u16,
    /// The offset of the prefix in `texts`. The infix and the suffix follow it.
    at: u32,
}

/// The text that a part is about.
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

/// Returns whether the part of an ARN's text in a range contains `infix`, which begins with a colon.
///
/// PERF: the infix can only stand at a colon, and the positions of the first five colons are known.
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

/// [`Parts`] under construction.
#[derive(Default)]
pub(super) struct PartsMaker {
    parts: Vec<Part>,
    texts: Vec<u8>,
}

impl PartsMaker {
    /// Returns how to tell whether `statement` covers a resource.
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
                // A beginning that fits into the head of a row was compared before.
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

    /// Adds the parts. Returns `None` if a text is too long, or expensive to find.
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
