//! The parts that the rows of a policy require of a resource. A single part is stored in its row, several are stored
//! together.

use std::ops::Range;

use memchr::memchr_iter;

use crate::language::document::{Effect, Listed, Statement};
use crate::language::pattern::{Form, Outline, Reach, ResourcePattern};
use crate::language::text::is_same;
use crate::name::GivenArn;

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

/// The requirement on one text: it begins with a prefix, contains an infix after that, and ends with a suffix after
/// both. Or it equals the prefix.
#[derive(Clone, Copy)]
pub(super) struct Part {
    of: PartOf,
    is_exact: bool,
    prefix: u16,
    infix: u16,
    suffix: u16,
    /// The offset of the prefix in the texts of the policy. The infix and the suffix follow it.
    at: u32,
}

/// The text that a part is about.
#[derive(Clone, Copy)]
enum PartOf {
    Whole,
    Field(u8),
}

impl Part {
    /// Returns whether an ARN has the part. `texts` are those of the policy.
    #[inline]
    pub fn fits(&self, texts: &[u8], arn: &GivenArn<'_>) -> bool {
        let text = match self.of {
            PartOf::Whole => arn.as_str(),
            PartOf::Field(n) => arn.field(usize::from(n)),
        };
        let text = text.as_bytes();
        let ours = texts.get(self.at as usize..).unwrap_or_default();
        let (prefix, ours) = ours
            .split_at_checked(self.prefix.into())
            .unwrap_or_default();
        if self.is_exact {
            return is_same(prefix, text);
        }
        let (infix, ours) = ours.split_at_checked(self.infix.into()).unwrap_or_default();
        let suffix = ours.get(..self.suffix.into()).unwrap_or_default();
        if text.len() < prefix.len() + infix.len() + suffix.len() {
            return false;
        }
        let between = prefix.len()..text.len() - suffix.len();
        is_same(prefix, text.get(..between.start).unwrap_or_default())
            && is_same(suffix, text.get(between.end..).unwrap_or_default())
            && (infix.is_empty() || holds(arn, between, infix))
    }
}

/// Returns whether the part of an ARN's text in a range contains `infix`, which begins with a colon.
///
/// PERF: the infix can only stand at a colon, and the positions of the first five colons are known.
fn holds(arn: &GivenArn<'_>, between: Range<usize>, infix: &[u8]) -> bool {
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

/// The parts of a policy under construction.
#[derive(Default)]
pub(super) struct PartsMaker {
    /// The parts that are not stored in a row, one after another.
    pub parts: Vec<Part>,
    /// The texts of all parts, and other texts between them.
    pub texts: Vec<u8>,
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
