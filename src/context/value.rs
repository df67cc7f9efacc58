//! The values of context keys.

use smallvec::{SmallVec, smallvec};
use smol_str::{SmolStr, format_smolstr};

use crate::name::Malformed;

/// A value in its canonical string form (C-5). It is a list. A list of one element equals a scalar (C-10), and an empty
/// list equals absence (C-7).
#[derive(Clone, Debug)]
pub struct ContextValue<'q>(Form<'q>);

#[derive(Clone, Debug)]
enum Form<'q> {
    /// One string, in the caller's own text.
    Given(&'q str),
    /// One string that was made from a number.
    Made(SmolStr),
    /// Any other number of strings.
    Many(Box<[SmolStr]>),
}

impl<'q> ContextValue<'q> {
    /// Returns a single string.
    pub fn string(text: &'q str) -> Self {
        Self(Form::Given(text))
    }

    /// Returns a number in its canonical form: the shortest decimal without an exponent. Refuses NaN, infinities, and
    /// magnitudes of 2^53 or more, where a double cannot tell neighbors apart (C-5).
    pub fn number(number: f64) -> Result<Self, Malformed> {
        const LIMIT: f64 = 9_007_199_254_740_992.0;
        if !number.is_finite() {
            return Err(Malformed::because(
                "NaN and infinities are not context values",
            ));
        }
        if number.abs() >= LIMIT {
            return Err(Malformed::because(
                "numbers of 2^53 and more lose digits: send them as a string",
            ));
        }
        // `+ 0.0` turns -0 into 0.
        Ok(Self(Form::Made(format_smolstr!("{}", number + 0.0))))
    }

    /// Returns `true` or `false` as text.
    pub fn bool(value: bool) -> Self {
        Self::string(if value { "true" } else { "false" })
    }

    /// Returns a list of single values, in order.
    pub fn list(values: impl IntoIterator<Item = Self>) -> Self {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (None, _) => Self::default(),
            (Some(one), None) => one,
            (Some(first), Some(second)) => {
                let all = [first, second].into_iter().chain(values);
                Self(Form::Many(all.flat_map(Self::into_strings).collect()))
            }
        }
    }

    fn into_strings(self) -> SmallVec<[SmolStr; 1]> {
        match self.0 {
            Form::Given(text) => smallvec![text.into()],
            Form::Made(text) => smallvec![text],
            Form::Many(texts) => texts.into_iter().collect(),
        }
    }

    /// Returns the one string, or `None` if there are none or several.
    pub fn one(&self) -> Option<&str> {
        match &self.0 {
            Form::Given(text) => Some(text),
            Form::Made(text) => Some(text),
            Form::Many(_) => None,
        }
    }

    /// Returns the strings, unless there is exactly one.
    pub fn many(&self) -> &[SmolStr] {
        match &self.0 {
            Form::Given(_) | Form::Made(_) => &[],
            Form::Many(texts) => texts,
        }
    }

    /// Iterates over the strings, in order.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &str> {
        let many = self.many().iter().map(|text| &**text);
        self.one().into_iter().chain(many)
    }

    /// Returns whether there is no string, which equals absence (C-7).
    pub fn is_empty(&self) -> bool {
        self.one().is_none() && self.many().is_empty()
    }
}

/// The empty list.
impl Default for ContextValue<'_> {
    fn default() -> Self {
        Self(Form::Many(Box::default()))
    }
}

impl PartialEq for ContextValue<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.all().eq(other.all())
    }
}

impl Eq for ContextValue<'_> {}
