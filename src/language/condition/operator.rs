//! Evaluates a condition for the values of its key (section 4 of the semantics).

use std::ops::Not;

use smol_str::SmolStr;

use crate::context::ContextValue;
use crate::language::condition::{Condition, Fit, Operand, Qualifier};
use crate::language::operand::{
    Instant, Number, arn_fields, parse_address, parse_bool, parse_bytes,
};
use crate::language::pattern::{Substitute, Variables};
use crate::language::text::Text;

/// Kleene's three values (C-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Truth {
    /// The condition does not hold.
    False,
    /// The request does not say clearly enough whether it holds (C-9). It counts as no Allow, but as a Deny (C-3).
    Indeterminate,
    /// The condition holds.
    True,
}

impl Truth {
    /// Returns the AND, which is the lesser of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::False, _) | (_, Self::False) => Self::False,
            (Self::True, Self::True) => Self::True,
            _ => Self::Indeterminate,
        }
    }

    /// Returns the OR, which is the greater of both.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        !(!self).and(!other)
    }
}

impl Not for Truth {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::False => Self::True,
            Self::Indeterminate => Self::Indeterminate,
            Self::True => Self::False,
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// The values of a context key in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values<'a> {
    /// The key has no value. The empty list counts as this too (C-7).
    Absent,
    /// The key has a value, but nobody can say which (T-8, T-43).
    Unknown,
    /// Nobody can say whether the key has a value (T-8).
    Uncertain,
    /// The key has exactly one value.
    One(Text<'a>),
    /// The key has these values. There are at least two, because a list of one value is that value (C-10).
    Many(&'a [SmolStr]),
}

impl<'a> Values<'a> {
    /// Returns `Absent` for `None`.
    pub fn maybe(value: Option<&'a str>) -> Self {
        value.map_or(Self::Absent, |value| Self::One(value.into()))
    }

    /// Returns the values that a question gives.
    pub fn of(value: &'a ContextValue<'_>) -> Self {
        match value.one() {
            Some(one) => Self::One(one.into()),
            None => Self::list(value.many()),
        }
    }

    /// Returns the values of a list.
    pub fn list(values: &'a [SmolStr]) -> Self {
        match values {
            [] => Self::Absent,
            [one] => Self::One((&**one).into()),
            many => Self::Many(many),
        }
    }

    /// Iterates over all values.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let (one, many): (_, &[SmolStr]) = match self {
            Self::Absent | Self::Unknown | Self::Uncertain => (None, &[]),
            Self::One(value) => (Some(&**value), &[]),
            Self::Many(values) => (None, values),
        };
        one.into_iter().chain(many.iter().map(|value| &**value))
    }
}

/// Evaluates `condition` for `values`, by the reference form at the end of section 4.1.
pub fn evaluate(condition: &Condition, values: &Values<'_>, variables: &impl Variables) -> Truth {
    let operator = condition.operator;
    let one = |value: &str| evaluate_one(condition, value, variables);
    // PERF: nearly every condition in practice takes this branch.
    if let (None, Values::One(value)) = (operator.qualifier, values)
        && !matches!(condition.operand, Operand::Null(_))
    {
        return one(value);
    }
    let is_absent = matches!(values, Values::Absent);
    if let Operand::Null(expects_absent) = condition.operand {
        // C-60: a lone empty string is neither present nor absent. A value that nobody knows is present (T-43).
        let is_unclear = match values {
            Values::One(value) => value.is_empty(),
            Values::Uncertain => true, // T-8
            Values::Absent | Values::Unknown | Values::Many(_) => false,
        };
        return if is_unclear {
            Truth::Indeterminate
        } else {
            Truth::from(is_absent == expects_absent)
        };
    }
    if matches!(values, Values::Unknown | Values::Uncertain) {
        return Truth::Indeterminate; // T-8, T-43
    }
    // C-8: under a set qualifier, empty strings alone count as no values.
    let is_empty_set = operator.qualifier.is_some() && values.all().all(str::is_empty);
    if is_absent || is_empty_set {
        return match operator.qualifier {
            Some(Qualifier::ForAllValues) => Truth::True,
            Some(Qualifier::ForAnyValue) if operator.if_exists => Truth::Indeterminate, // C-74
            Some(Qualifier::ForAnyValue) => Truth::False,
            None => Truth::from(operator.if_exists || operator.base.is_negated()), // C-6
        };
    }
    match (operator.qualifier, values) {
        (Some(Qualifier::ForAllValues), _) => values.all().map(one).fold(Truth::True, Truth::and),
        (Some(Qualifier::ForAnyValue), _) => values.all().map(one).fold(Truth::False, Truth::or),
        (None, _) => Truth::Indeterminate, // C-10: a single value was handled above
    }
}

/// Evaluates `condition` for one of the values of its key, whatever the others are.
#[inline]
pub fn evaluate_one(condition: &Condition, value: &str, variables: &impl Variables) -> Truth {
    let is_negated = condition.operator.base.is_negated();
    let any = any_of(&condition.operand, value, is_negated, variables);
    if is_negated { !any } else { any }
}

/// Returns whether `value` fits one of the policy's values. A request value that cannot be read is INDETERMINATE. A
/// variable without a value fits nothing; if the operator is negated, that is INDETERMINATE too (V-9).
fn any_of(operand: &Operand, value: &str, is_negated: bool, variables: &impl Variables) -> Truth {
    let read = |holds: Option<bool>| holds.map_or(Truth::Indeterminate, Truth::from);
    let fits = |fit: Fit| match fit {
        Fit::Yes => Truth::True,
        Fit::No => Truth::False,
        Fit::LacksValue if is_negated || mentions_unknown(operand, variables) => {
            Truth::Indeterminate
        }
        Fit::LacksValue => Truth::False,
    };
    match operand {
        Operand::StringEquals(texts)
        | Operand::StringEqualsIgnoreCase(texts)
        | Operand::StringLike(texts) => fits(texts.fit(value, variables)),
        Operand::Numeric(relation, numbers) => read(Number::parse(value).map(|given| {
            numbers
                .iter()
                .any(|number| relation.holds(given.order(number)))
        })),
        Operand::Date(relation, instants) => read(Instant::parse(value).map(|given| {
            instants
                .iter()
                .any(|instant| relation.holds(given.cmp(instant)))
        })),
        Operand::Bool(expected) => read(parse_bool(value).map(|given| given == *expected)),
        Operand::Binary(expected) => {
            read(parse_bytes(value).map(|given| expected.iter().any(|bytes| **bytes == *given)))
        }
        Operand::IpAddress(networks) => {
            read(parse_address(value).map(|address| networks.contain(address)))
        }
        Operand::Arn(patterns) => arn_fields(value).map_or(Truth::Indeterminate, |arn| {
            fits(patterns.fit(&arn, variables))
        }),
        Operand::Null(_) => Truth::Indeterminate,
    }
}

/// Returns whether a variable stands for a value that nobody can say (T-8, T-43). The search stops if it cannot be paid
/// for, and then the request gets no answer (E-1).
#[cold]
fn mentions_unknown(operand: &Operand, variables: &impl Variables) -> bool {
    // Going through a list without variables costs something too.
    if !variables.pay(1) {
        return true;
    }
    operand.any_variable(|variable| {
        !variables.pay(1) || variables.substitute(&variable.key) == Substitute::Unknown
    })
}

#[cfg(test)]
mod tests;
