//! The values of a condition as written, with indexes that make long lists fast to search.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::ops::Deref;

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::language::operand::{equal_ignoring_case, folded};
use crate::language::pattern::{ArnPattern, Template, Values, Variables};

/// The most values that are tried one by one, which takes no longer than searching.
const MOST_TRIED: usize = 8;

/// The entries of a list that stand for exactly one value, in the order of these values, and the entries that must be
/// tried.
#[derive(Clone, Debug, PartialEq)]
struct Lookup {
    sorted: Box<[usize]>,
    others: Box<[usize]>,
}

impl Lookup {
    /// Returns `None` if an index would not pay off.
    fn new<'t, T, L: Ord>(
        list: &'t [T],
        literal: impl Fn(&'t T) -> Option<L>,
    ) -> Option<Box<Self>> {
        let (mut sorted, mut others) = (Vec::new(), Vec::new());
        for (index, entry) in list.iter().enumerate() {
            match literal(entry) {
                Some(literal) => sorted.push((literal, index)),
                None => others.push(index),
            }
        }
        if sorted.len() <= MOST_TRIED {
            return None;
        }
        sorted.sort();
        Some(Box::new(Self {
            sorted: sorted.into_iter().map(|(_, index)| index).collect(),
            others: others.into(),
        }))
    }

    /// Returns about how many entries are read for one value.
    fn n_steps(&self) -> usize {
        self.others.len() + n_halvings(self.sorted.len())
    }

    /// Returns whether a literal entry of `list` is `Equal` by `order`, or whether another entry fits.
    fn any<T>(
        &self,
        list: &[T],
        order: impl Fn(&T) -> Ordering,
        mut fits: impl FnMut(&T) -> bool,
    ) -> bool {
        let order_at = |index: &usize| list.get(*index).map_or(Ordering::Greater, &order);
        self.sorted.binary_search_by(order_at).is_ok()
            || self
                .others
                .iter()
                .any(|index| list.get(*index).is_some_and(&mut fits))
    }
}

/// Whether a value fits one of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It fits none of them.
    No,
    /// It fits none of them, but a variable in one of them has no value (V-9).
    LacksValue,
    /// It fits one of them.
    Yes,
}

impl Fit {
    fn of(fits: bool, lacks_value: bool) -> Self {
        match (fits, lacks_value) {
            (true, _) => Self::Yes,
            (false, true) => Self::LacksValue,
            (false, false) => Self::No,
        }
    }
}

/// Returns how often a list of `n` entries can be halved, including the last entry.
fn n_halvings(n: usize) -> usize {
    n.checked_ilog2().map_or(0, |log| log as usize + 1)
}

/// The texts of a string operator. A value must equal one of them, or match one of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Texts {
    /// PERF: a single text, which is the most common case, is stored inline.
    written: SmallVec<[Template; 1]>,
    ignores_case: bool,
    lookup: Option<Box<Lookup>>,
}

impl Texts {
    /// Returns texts that are compared as they are (C-20, C-22).
    pub fn exact(written: Box<[Template]>) -> Self {
        Self {
            lookup: Lookup::new(&written, Template::literal),
            written: written.into_vec().into(),
            ignores_case: false,
        }
    }

    /// Returns texts that are compared under simple case folding, without wildcards (C-21).
    pub fn ignoring_case(written: Box<[Template]>) -> Self {
        let literal = |text: &Template| -> Option<String> {
            Some(folded([text.literal()?].into_iter()).collect())
        };
        Self {
            lookup: Lookup::new(&written, literal),
            written: written.into_vec().into(),
            ignores_case: true,
        }
    }

    /// Returns whether `value` fits one of them. A text with a variable that has no value fits nothing (V-9).
    /// `variables` pays for the work: this function for the comparisons that always happen, and the patterns for the
    /// rest.
    pub fn fit(&self, value: &str, variables: &impl Variables) -> Fit {
        // Folding takes a step for each character. Everything else works on whole machine words.
        let folds = usize::from(self.ignores_case) * (value.len() / 4);
        let n_steps = self.n_steps();
        if !variables.pay(
            n_steps
                .saturating_mul(1 + folds + value.len() / 512)
                .div_ceil(2),
        ) {
            return Fit::LacksValue;
        }
        let mut lacks_value = false;
        let fits = |text: &Template| {
            let fits = self.fits(text, value, variables);
            lacks_value |= fits.is_none();
            fits == Some(true)
        };
        let fits = match &self.lookup {
            None => self.written.iter().any(fits),
            Some(lookup) => lookup.any(&self.written, |text| self.order(text, value), fits),
        };
        Fit::of(fits, lacks_value)
    }

    /// Returns about how many of them are read for one value.
    pub fn n_steps(&self) -> usize {
        let lookup = self.lookup.as_ref();
        lookup.map_or(self.written.len(), |lookup| lookup.n_steps())
    }

    /// Returns about how much memory it points to, in bytes.
    pub(super) fn n_bytes(&self) -> usize {
        let texts: usize = self.written.iter().map(Template::n_bytes).sum();
        texts + self.written.len() * size_of::<usize>()
    }

    /// Returns `None` if a variable has no value.
    fn fits(&self, text: &Template, value: &str, variables: &impl Variables) -> Option<bool> {
        if !self.ignores_case {
            return text.matches(value, variables);
        }
        let mut values = Values::new();
        text.read_values(variables, &mut values)?;
        Some(equal_ignoring_case(
            text.parts(&values),
            [value].into_iter(),
        ))
    }

    /// Compares a literal text with `value`.
    fn order(&self, text: &Template, value: &str) -> Ordering {
        let literal = text.literal().unwrap_or("");
        if self.ignores_case {
            folded([literal].into_iter()).cmp(folded([value].into_iter()))
        } else {
            literal.cmp(value)
        }
    }
}

/// The texts as written, in order.
impl Deref for Texts {
    type Target = [Template];

    fn deref(&self) -> &[Template] {
        &self.written
    }
}

/// Patterns of ARNs, of which one should match (C-66).
#[derive(Clone, Debug, PartialEq)]
pub struct Arns {
    written: Box<[ArnPattern]>,
    lookup: Option<Box<Lookup>>,
}

impl Arns {
    /// Keeps the order of `written`.
    pub fn new(written: Box<[ArnPattern]>) -> Self {
        Self {
            lookup: Lookup::new(&written, ArnPattern::literal),
            written,
        }
    }

    /// Returns whether the ARN with these six fields matches one of them.
    pub fn fit(&self, arn: &[&str; 6], variables: &impl Variables) -> Fit {
        if !variables.pay(self.n_steps()) {
            return Fit::LacksValue;
        }
        let mut lacks_value = false;
        let fits = |pattern: &ArnPattern| {
            let matches = pattern.matches(arn, variables);
            lacks_value |= matches.is_none();
            matches == Some(true)
        };
        let order = |pattern: &ArnPattern| {
            pattern
                .literal()
                .map_or(Ordering::Greater, |literal| literal.cmp(arn))
        };
        let fits = match &self.lookup {
            None => self.written.iter().any(fits),
            Some(lookup) => lookup.any(&self.written, order, fits),
        };
        Fit::of(fits, lacks_value)
    }
}

impl Arns {
    /// Returns about how much memory it points to, in bytes.
    pub(super) fn n_bytes(&self) -> usize {
        let patterns = self.written.iter();
        patterns
            .flat_map(ArnPattern::fields)
            .map(Template::n_bytes)
            .sum::<usize>()
            + self.written.len() * (size_of::<ArnPattern>() + size_of::<usize>())
    }

    /// Returns about how many of them are read for one value.
    pub fn n_steps(&self) -> usize {
        let lookup = self.lookup.as_ref();
        lookup.map_or(self.written.len(), |lookup| lookup.n_steps())
    }
}

/// The patterns as written, in order.
impl Deref for Arns {
    type Target = [ArnPattern];

    fn deref(&self) -> &[ArnPattern] {
        &self.written
    }
}

/// Ranges of addresses (C-53).
#[derive(Clone, Debug, PartialEq)]
pub struct Networks {
    written: Box<[IpNet]>,
    ranges: Option<Box<Ranges>>,
}

/// The first and last addresses of the ranges, ascending and without overlaps. IPv4 and IPv6 never match each other
/// (C-54).
#[derive(Clone, Debug, PartialEq)]
struct Ranges {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Networks {
    /// Keeps the order of `written`.
    pub fn new(written: Box<[IpNet]>) -> Self {
        let ranges = (written.len() > MOST_TRIED).then(|| Box::new(Ranges::of(&written)));
        Self { written, ranges }
    }

    /// Returns whether one of them contains `address`.
    pub fn contain(&self, address: IpAddr) -> bool {
        match (&self.ranges, address) {
            (None, _) => self
                .written
                .iter()
                .any(|network| network.contains(&address)),
            (Some(ranges), IpAddr::V4(address)) => holds(&ranges.v4, address.to_bits()),
            (Some(ranges), IpAddr::V6(address)) => holds(&ranges.v6, address.to_bits()),
        }
    }
}

impl Networks {
    /// Returns about how many of them are read for one address.
    pub fn n_steps(&self) -> usize {
        match &self.ranges {
            None => self.written.len(),
            Some(ranges) => n_halvings(ranges.v4.len().max(ranges.v6.len())),
        }
    }
}

/// The ranges as written, in order.
impl Deref for Networks {
    type Target = [IpNet];

    fn deref(&self) -> &[IpNet] {
        &self.written
    }
}

impl Ranges {
    fn of(networks: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self {
            v4: merged(v4),
            v6: merged(v6),
        }
    }
}

/// Sorts the ranges and merges those that overlap.
fn merged<T: Copy + Ord>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort();
    let mut apart: Vec<(T, T)> = Vec::new();
    for (first, last) in ranges {
        match apart.last_mut() {
            Some((_, end)) if first <= *end => *end = last.max(*end),
            _ => apart.push((first, last)),
        }
    }
    apart.into()
}

fn holds<T: Copy + Ord>(ranges: &[(T, T)], address: T) -> bool {
    let n_begun = ranges.partition_point(|(first, _)| *first <= address);
    n_begun
        .checked_sub(1)
        .and_then(|index| ranges.get(index))
        .is_some_and(|(_, last)| address <= *last)
}

#[cfg(test)]
mod tests;
