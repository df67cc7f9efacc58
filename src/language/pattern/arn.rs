//! Patterns of ARNs in conditions.

use super::{Syntax, Template, Variable, Variables};
use crate::name::Malformed;

/// The number of fields of an ARN.
const N_FIELDS: usize = 6;

/// A pattern of ARNs in a condition (C-65 to C-69): `*`, or six fields that are compared one by one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArnPattern {
    /// All six fields, including `arn`. Empty for `*`.
    fields: Box<[Template]>,
}

impl ArnPattern {
    /// Parses a pattern (C-67).
    pub fn parse(text: &str, syntax: Syntax) -> Result<Self, Malformed> {
        if !text.is_empty() && text.bytes().all(|byte| byte == b'*') {
            return Ok(Self {
                fields: Box::default(),
            });
        }
        let fields = Template::parse(text, syntax)?.split_at_colons(N_FIELDS);
        let starts_with_arn = fields.first().and_then(Template::literal) == Some("arn");
        if fields.len() != N_FIELDS || !starts_with_arn {
            return Err(Malformed::because(format!(
                "`{text}` must be `*` or an ARN of six fields"
            )));
        }
        Ok(Self {
            fields: fields.into(),
        })
    }

    /// Returns all six fields, `arn` first. Returns no fields for `*`.
    pub fn fields(&self) -> &[Template] {
        &self.fields
    }

    /// Returns the fields of the only ARN that matches, or `None` if the pattern has a wildcard or a variable.
    pub fn literal(&self) -> Option<[&str; N_FIELDS]> {
        let [a, b, c, d, e, f] = &*self.fields else {
            return None; // `*`
        };
        Some([
            a.literal()?,
            b.literal()?,
            c.literal()?,
            d.literal()?,
            e.literal()?,
            f.literal()?,
        ])
    }

    /// Returns its variables.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.fields.iter().flat_map(Template::variables)
    }

    /// Returns whether the ARN with these six fields matches. Returns `None` if a variable has no value, even if
    /// another field does not match.
    pub fn matches(&self, arn: &[&str; N_FIELDS], variables: &impl Variables) -> Option<bool> {
        let mut all = true;
        for (pattern, field) in self.fields.iter().zip(arn) {
            all = if pattern.has_variables() {
                pattern.matches(field, variables)? && all
            } else {
                all && pattern.fits(field, &[], variables)
            };
        }
        Some(all)
    }
}
