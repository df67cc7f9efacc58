//! Conditions as written: operators, keys and the values they compare with. Values are parsed once, when a document is
//! read.

use std::cmp::Ordering;

use super::operand::{Instant, Number};
use super::pattern::{ArnPattern, Template, Variable};
use super::size::allocated;
use crate::context::ContextKey;

pub(super) mod global;
mod lookup;
pub mod operator;

pub use lookup::{Arns, Fit, Networks, Texts};

/// One key under one operator. For a request it is true, false or indeterminate (C-2).
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The comparison.
    pub operator: Operator,
    /// The key whose values are compared.
    pub key: ContextKey,
    /// The key as the policy spells it.
    pub spelled: Box<str>,
    /// The values of the policy.
    pub operand: Operand,
}

/// `[ForAllValues:|ForAnyValue:]Base[IfExists]` (G-20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operator {
    /// `ForAllValues:` or `ForAnyValue:`.
    pub qualifier: Option<Qualifier>,
    /// The operator without qualifier and suffix.
    pub base: Base,
    /// Whether a missing key makes the condition true (C-70).
    pub if_exists: bool,
}

/// How several request values are tested (C-71, C-72).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Qualifier {
    /// Every value must satisfy the condition. It is true if there are no values.
    ForAllValues,
    /// Some value must satisfy the condition. It is false if there are no values.
    ForAnyValue,
}

/// The operators of the language (section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words of the language")]
pub enum Base {
    StringEquals,
    StringNotEquals,
    StringEqualsIgnoreCase,
    StringNotEqualsIgnoreCase,
    StringLike,
    StringNotLike,
    NumericEquals,
    NumericNotEquals,
    NumericLessThan,
    NumericLessThanEquals,
    NumericGreaterThan,
    NumericGreaterThanEquals,
    DateEquals,
    DateNotEquals,
    DateLessThan,
    DateLessThanEquals,
    DateGreaterThan,
    DateGreaterThanEquals,
    Bool,
    BinaryEquals,
    IpAddress,
    NotIpAddress,
    ArnEquals,
    ArnNotEquals,
    ArnLike,
    ArnNotLike,
    Null,
}

/// The relation of the request's number or date to the policy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words of the language")]
pub enum Relation {
    Equals,
    LessThan,
    LessThanEquals,
    GreaterThan,
    GreaterThanEquals,
}

impl Relation {
    /// Returns whether a request value that compares to the policy's value in this order satisfies the relation.
    pub fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equals => order.is_eq(),
            Self::LessThan => order.is_lt(),
            Self::LessThanEquals => order.is_le(),
            Self::GreaterThan => order.is_gt(),
            Self::GreaterThanEquals => order.is_ge(),
        }
    }
}

/// The policy's values, parsed as the operator's type. A negated operator stores the values of its positive form,
/// because the negation is over all of them at once (C-1).
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// The value equals one of these texts.
    StringEquals(Texts),
    /// The value equals one of these texts under simple case folding (C-21).
    StringEqualsIgnoreCase(Texts),
    /// The value matches one of these patterns (C-22).
    StringLike(Texts),
    /// The value has this relation to one of these numbers (C-32).
    Numeric(Relation, Box<[Number]>),
    /// The value has this relation to one of these instants.
    Date(Relation, Box<[Instant]>),
    /// The value equals this one.
    Bool(bool),
    /// The value equals one of these byte strings.
    Binary(Box<[Box<[u8]>]>),
    /// The value is inside one of these ranges.
    IpAddress(Networks),
    /// The value matches one of these patterns, field by field (C-66).
    Arn(Arns),
    /// Whether the key must be absent (C-60).
    Null(bool),
}

impl Condition {
    /// Returns about how much memory it takes, including what it points to, in bytes.
    pub fn n_bytes(&self) -> usize {
        let key = self.key.folded().len();
        let texts = allocated(self.spelled.len()) + if key > 23 { allocated(key) } else { 0 };
        size_of::<Self>() + texts + self.operand.n_bytes()
    }
}

impl Operand {
    /// Returns about how much memory it points to, in bytes.
    fn n_bytes(&self) -> usize {
        match self {
            Self::StringEquals(texts)
            | Self::StringEqualsIgnoreCase(texts)
            | Self::StringLike(texts) => texts.n_bytes(),
            Self::Arn(patterns) => patterns.n_bytes(),
            Self::Binary(values) => {
                let n_bytes = values.iter().map(|bytes| allocated(bytes.len()));
                size_of_val(&**values) + n_bytes.sum::<usize>()
            }
            // A number or a network, with its share of the index.
            others => others.n_values() * 96,
        }
    }

    /// Returns how many values it compares with.
    pub fn n_values(&self) -> usize {
        match self {
            Self::StringEquals(texts)
            | Self::StringEqualsIgnoreCase(texts)
            | Self::StringLike(texts) => texts.len(),
            Self::Numeric(_, numbers) => numbers.len(),
            Self::Date(_, instants) => instants.len(),
            Self::Binary(expected) => expected.len(),
            Self::IpAddress(networks) => networks.len(),
            Self::Arn(patterns) => patterns.len(),
            Self::Bool(_) | Self::Null(_) => 1,
        }
    }

    /// Returns about how many of its values are read for one comparison. Long lists are searched if they can be.
    pub fn n_steps(&self) -> usize {
        match self {
            Self::StringEquals(texts)
            | Self::StringEqualsIgnoreCase(texts)
            | Self::StringLike(texts) => texts.n_steps(),
            Self::IpAddress(networks) => networks.n_steps(),
            Self::Arn(patterns) => patterns.n_steps(),
            _ => self.n_values(),
        }
    }

    /// Returns whether `is_it` holds for a policy variable in its values.
    pub fn any_variable(&self, mut is_it: impl FnMut(&Variable) -> bool) -> bool {
        match self {
            Self::StringEquals(texts)
            | Self::StringEqualsIgnoreCase(texts)
            | Self::StringLike(texts) => texts.iter().flat_map(Template::variables).any(is_it),
            Self::Arn(patterns) => patterns
                .iter()
                .any(|pattern| pattern.variables().any(&mut is_it)),
            _ => false,
        }
    }

    /// Returns the policy variables in its values.
    pub fn variables(&self) -> Vec<&Variable> {
        match self {
            Self::StringEquals(texts)
            | Self::StringEqualsIgnoreCase(texts)
            | Self::StringLike(texts) => texts.iter().flat_map(Template::variables).collect(),
            Self::Arn(patterns) => patterns.iter().flat_map(ArnPattern::variables).collect(),
            _ => Vec::new(),
        }
    }
}

impl Base {
    /// Every operator with its canonical spelling.
    pub const ALL: &[(Self, &str)] = &[
        (Self::StringEquals, "StringEquals"),
        (Self::StringNotEquals, "StringNotEquals"),
        (Self::StringEqualsIgnoreCase, "StringEqualsIgnoreCase"),
        (Self::StringNotEqualsIgnoreCase, "StringNotEqualsIgnoreCase"),
        (Self::StringLike, "StringLike"),
        (Self::StringNotLike, "StringNotLike"),
        (Self::NumericEquals, "NumericEquals"),
        (Self::NumericNotEquals, "NumericNotEquals"),
        (Self::NumericLessThan, "NumericLessThan"),
        (Self::NumericLessThanEquals, "NumericLessThanEquals"),
        (Self::NumericGreaterThan, "NumericGreaterThan"),
        (Self::NumericGreaterThanEquals, "NumericGreaterThanEquals"),
        (Self::DateEquals, "DateEquals"),
        (Self::DateNotEquals, "DateNotEquals"),
        (Self::DateLessThan, "DateLessThan"),
        (Self::DateLessThanEquals, "DateLessThanEquals"),
        (Self::DateGreaterThan, "DateGreaterThan"),
        (Self::DateGreaterThanEquals, "DateGreaterThanEquals"),
        (Self::Bool, "Bool"),
        (Self::BinaryEquals, "BinaryEquals"),
        (Self::IpAddress, "IpAddress"),
        (Self::NotIpAddress, "NotIpAddress"),
        (Self::ArnEquals, "ArnEquals"),
        (Self::ArnNotEquals, "ArnNotEquals"),
        (Self::ArnLike, "ArnLike"),
        (Self::ArnNotLike, "ArnNotLike"),
        (Self::Null, "Null"),
    ];

    /// Returns the canonical spelling.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(base, _)| *base == self)
            .map_or("", |(_, name)| name)
    }

    /// Returns whether it is the NOR over its values (C-1).
    pub fn is_negated(self) -> bool {
        matches!(
            self,
            Self::StringNotEquals
                | Self::StringNotEqualsIgnoreCase
                | Self::StringNotLike
                | Self::NumericNotEquals
                | Self::DateNotEquals
                | Self::NotIpAddress
                | Self::ArnNotEquals
                | Self::ArnNotLike
        )
    }

    /// Returns whether `*` and `?` are wildcards in its values (C-20, C-22, C-65).
    pub fn takes_wildcards(self) -> bool {
        matches!(self, Self::StringLike | Self::StringNotLike) || self.name().starts_with("Arn")
    }
}

impl Operator {
    /// Parses an operator's name, ignoring ASCII case (G-20). `Null` takes neither suffix nor qualifier (C-61).
    pub fn parse(text: &str) -> Option<Self> {
        let folded = text.to_ascii_lowercase();
        let (qualifier, rest) = match folded.split_once(':') {
            Some(("forallvalues", rest)) => (Some(Qualifier::ForAllValues), rest),
            Some(("foranyvalue", rest)) => (Some(Qualifier::ForAnyValue), rest),
            Some(_) => return None,
            None => (None, &*folded),
        };
        let (name, if_exists) = match rest.strip_suffix("ifexists") {
            Some(name) => (name, true),
            None => (rest, false),
        };
        let (base, _) = Base::ALL
            .iter()
            .find(|(_, canonical)| canonical.eq_ignore_ascii_case(name))?;
        let is_bare = qualifier.is_none() && !if_exists;
        (is_bare || *base != Base::Null).then_some(Self {
            qualifier,
            base: *base,
            if_exists,
        })
    }

    /// Returns the canonical spelling.
    pub fn name(self) -> String {
        let qualifier = match self.qualifier {
            None => "",
            Some(Qualifier::ForAllValues) => "ForAllValues:",
            Some(Qualifier::ForAnyValue) => "ForAnyValue:",
        };
        format!(
            "{qualifier}{}{}",
            self.base.name(),
            if self.if_exists { "IfExists" } else { "" }
        )
    }
}
