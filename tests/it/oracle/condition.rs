//! Section 4: condition blocks.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::context::{Context, Unknown};
use super::matching::{Glyph, Written, fields, glob, pieces, text_of};
use super::met::Met;

/// C-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
    Indeterminate,
}

use Truth::{False, Indeterminate, True};

impl Truth {
    fn of(holds: bool) -> Self {
        if holds { True } else { False }
    }

    fn not(self) -> Self {
        match self {
            True => False,
            False => True,
            Indeterminate => Indeterminate,
        }
    }

    /// C-2: any FALSE, else any INDETERMINATE, else TRUE.
    pub fn all(truths: impl Iterator<Item = Self>) -> Self {
        let mut all = True;
        for truth in truths {
            match truth {
                False => return False,
                Indeterminate => all = Indeterminate,
                True => {}
            }
        }
        all
    }

    fn any(truths: impl Iterator<Item = Self>) -> Self {
        Self::all(truths.map(Self::not)).not()
    }
}

/// The operator, the key and the values as a policy writes them.
#[derive(Clone, Debug)]
pub struct Condition {
    pub qualifier: Option<Qualifier>,
    /// The operator in lower case, without `not`: `stringequals`.
    pub base: String,
    pub is_negated: bool,
    pub if_exists: bool,
    /// The key in lower case (C-4).
    pub key: String,
    pub values: Vec<Value>,
}

/// A value, parsed if it may contain wildcards or variables.
#[derive(Clone, Debug)]
pub struct Value {
    text: String,
    /// The fields of an ARN (C-65). A string has one field.
    fields: Vec<Written>,
    is_star: bool,
}

impl Value {
    fn of(base: &str, text: &str, has_variables: bool) -> Self {
        let mut value = Self {
            text: text.to_owned(),
            fields: vec![],
            is_star: text == "*",
        };
        if base.starts_with("arn") {
            let pieces = pieces(text, has_variables);
            value.fields = fields(&pieces).into_iter().map(Written::of).collect();
        } else if base.starts_with("string") {
            value.fields = vec![Written::of(&pieces(text, has_variables))];
        }
        value
    }

    /// Returns its fields with the values of their variables, or the result of a comparison with a variable that has
    /// none.
    fn resolved(
        &self,
        context: &Context<'_>,
        is_negated: bool,
    ) -> Result<Vec<Cow<'_, [Glyph]>>, Truth> {
        if self.fields.iter().any(|field| field.is_unknown(context)) {
            return Err(Indeterminate); // T-8
        }
        let fields = self.fields.iter().map(|field| field.resolved(context));
        match (fields.collect(), is_negated) {
            (Some(fields), _) => Ok(fields),
            (None, true) => {
                context.meet(Met::ValuelessUnderNegation);
                Err(Indeterminate) // V-9
            }
            (None, false) => Err(False), // V-9
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qualifier {
    ForAllValues,
    ForAnyValue,
}

impl Condition {
    /// G-20.
    pub fn parse(operator: &str, key: &str, values: &[String], has_variables: bool) -> Self {
        let mut name = operator.to_ascii_lowercase();
        let mut qualifier = None;
        if let Some(rest) = name.strip_prefix("forallvalues:") {
            (name, qualifier) = (rest.to_owned(), Some(Qualifier::ForAllValues));
        } else if let Some(rest) = name.strip_prefix("foranyvalue:") {
            (name, qualifier) = (rest.to_owned(), Some(Qualifier::ForAnyValue));
        }
        let if_exists = name.ends_with("ifexists");
        name = name.trim_end_matches("ifexists").to_owned();
        let is_negated = name.contains("not");
        let base = name.replace("not", "");
        let value = |text: &String| Value::of(&base, text, has_variables);
        Self {
            qualifier,
            is_negated,
            if_exists,
            key: key.to_ascii_lowercase(),
            values: values.iter().map(value).collect(),
            base,
        }
    }

    /// Evaluates a condition as in the reference form of section 4.1.
    pub fn holds(&self, context: &Context<'_>) -> Truth {
        let mut given = context.get(&self.key);
        let unknown = context.unknown(&self.key);
        context.read(&self.key, &self.base);
        if self.base == "null" {
            let wants_absence = self.values[0].text.eq_ignore_ascii_case("true");
            let is_absent = match (unknown, given) {
                (Some(Unknown::Present), _) => false, // T-8, T-43
                (Some(Unknown::MaybeAbsent), _) => return Indeterminate, // T-8
                (None, [only]) if only.is_empty() => return Indeterminate, // C-60
                (None, given) => given.is_empty(),
            };
            return Truth::of(is_absent == wants_absence);
        }
        if unknown.is_some() {
            return Indeterminate; // T-8, T-43
        }
        if self.qualifier.is_some() && given.iter().all(|value| value.is_empty()) {
            given = &[]; // C-8
        }
        if given.is_empty() {
            return match self.qualifier {
                Some(Qualifier::ForAllValues) => True, // C-71
                Some(Qualifier::ForAnyValue) if self.if_exists => Indeterminate, // C-74
                Some(Qualifier::ForAnyValue) => False, // C-72
                None => Truth::of(self.if_exists || self.is_negated), // C-6, C-70
            };
        }
        let one = |given: &Cow<'_, str>| {
            let equals_any = Truth::any(
                self.values
                    .iter()
                    .map(|value| compare(self, given, value, context)),
            );
            if self.is_negated {
                equals_any.not() // C-1: NOR
            } else {
                equals_any
            }
        };
        match (self.qualifier, given) {
            (Some(Qualifier::ForAllValues), _) => Truth::all(given.iter().map(one)),
            (Some(Qualifier::ForAnyValue), _) => Truth::any(given.iter().map(one)),
            (None, [only]) => one(only),
            (None, _) => Indeterminate, // C-10
        }
    }
}

/// Returns whether the request's value `given` matches the policy's `value` under the base operator. The negation comes
/// afterwards.
fn compare(condition: &Condition, given: &str, value: &Value, context: &Context<'_>) -> Truth {
    let resolved = || value.resolved(context, condition.is_negated);
    let holds = |relation: &dyn Fn(&[Glyph]) -> bool| match resolved() {
        Ok(fields) => Truth::of(relation(&fields[0])),
        Err(truth) => truth,
    };
    match condition.base.as_str() {
        "stringequals" => holds(&|text| text_of(text).eq(given.chars())), // C-20
        "stringequalsignorecase" => {
            holds(&|text| text_of(text).map(fold).eq(given.chars().map(fold))) // C-21
        }
        "stringlike" => holds(&|pattern| glob(pattern, given)), // C-22
        "arnequals" | "arnlike" => {
            let given: Vec<&str> = given.splitn(6, ':').collect();
            match resolved() {
                _ if given.len() != 6 || given[0] != "arn" => Indeterminate, // C-68
                _ if value.is_star => True,                                  // C-67
                Err(truth) => truth,
                Ok(fields) => {
                    let mut pairs = fields.iter().zip(given); // C-66
                    Truth::of(pairs.all(|(field, given)| glob(field, given)))
                }
            }
        }
        "bool" => match boolean(given) {
            Some(given) => Truth::of(Some(given) == boolean(&value.text)), // C-50
            None => Indeterminate,
        },
        "binaryequals" => match BASE64_STANDARD.decode(given) {
            Ok(given) => Truth::of(given == BASE64_STANDARD.decode(&value.text).unwrap()), // C-52
            Err(_) => Indeterminate,
        },
        "ipaddress" => match address(given) {
            Some(given) => Truth::of(is_inside(given, &value.text)), // C-53
            None => Indeterminate,                                   // C-55
        },
        base => ordered(base, given, &value.text),
    }
}

/// C-32, C-33, C-40: compares numbers and dates.
fn ordered(base: &str, given: &str, value: &str) -> Truth {
    let (relation, ordering) = if let Some(relation) = base.strip_prefix("numeric") {
        let ordering = decimal(given).map(|given| given.cmp(&decimal(value).unwrap()));
        (relation, ordering)
    } else {
        let relation = base.strip_prefix("date").unwrap();
        let ordering = instant(given).map(|given| given.cmp(&instant(value).unwrap()));
        (relation, ordering)
    };
    let Some(ordering) = ordering else {
        return Indeterminate;
    };
    Truth::of(match relation {
        "equals" => ordering == Ordering::Equal,
        "lessthan" => ordering == Ordering::Less,
        "lessthanequals" => ordering != Ordering::Greater,
        "greaterthan" => ordering == Ordering::Greater,
        "greaterthanequals" => ordering != Ordering::Less,
        other => panic!("no such relation: {other}"),
    })
}

/// C-21: applies simple case folding to the letters that the generated worlds use.
fn fold(char: char) -> char {
    match char {
        'ς' => 'σ',
        'ſ' => 's',
        'ẞ' => 'ß',
        'İ' | 'ı' => char, // their foldings are full or Turkic, not simple
        _ => char.to_lowercase().next().unwrap(),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// C-31: a number, split into its digits before the point, without leading zeros, and those after it, without trailing
/// ones.
#[derive(PartialEq, Eq)]
struct Decimal<'t> {
    is_negative: bool,
    whole: &'t str,
    fraction: &'t str,
}

impl Decimal<'_> {
    /// Compares two numbers without their signs: the one with more digits before the point is greater.
    fn magnitude(&self) -> (usize, &str, &str) {
        (self.whole.len(), self.whole, self.fraction)
    }

    fn cmp(&self, other: &Self) -> Ordering {
        match (self.is_negative, other.is_negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.magnitude().cmp(&other.magnitude()),
            (true, true) => other.magnitude().cmp(&self.magnitude()),
        }
    }
}

fn decimal(text: &str) -> Option<Decimal<'_>> {
    let (is_negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let digits = [whole, fraction].concat();
    let counting = digits.trim_matches('0').len();
    (counting <= 38).then_some(Decimal {
        is_negative: is_negative && counting > 0,
        whole: whole.trim_start_matches('0'),
        fraction: fraction.trim_end_matches('0'),
    })
}

/// C-41 to C-44: returns nanoseconds since 1970.
fn instant(text: &str) -> Option<i128> {
    let bytes = text.as_bytes();
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    if unsigned
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        if text.len() == 4 && text == unsigned && !text.contains('.') {
            return None; // C-42
        }
        let (seconds, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        let is_digits = seconds.bytes().all(|byte| byte.is_ascii_digit());
        if seconds.is_empty() || !is_digits {
            return None;
        }
        // C-41 has no latest date: anything later than this is later than any date in a policy.
        let seconds = number(seconds).unwrap_or(i128::MAX).min(1 << 90);
        let nanos = nanoseconds(fraction)?;
        let sign = if text == unsigned { 1 } else { -1 };
        return Some(sign * (seconds * 1_000_000_000 + nanos));
    }
    if bytes.len() < 7 || bytes[4] != b'-' || !text.is_ascii() {
        return None;
    }
    let year = number(&text[..4])?;
    let month = number(&text[5..7])?;
    if text.len() == 7 {
        return at(year, month, 1, 0);
    }
    if text.len() < 10 || bytes[7] != b'-' {
        return None;
    }
    let day = number(&text[8..10])?;
    if text.len() == 10 {
        return at(year, month, day, 0);
    }
    let time = text[10..].strip_prefix('T')?;
    let (time, offset) = match time.strip_suffix('Z') {
        Some(time) => (time, 0),
        None => {
            let (time, offset) = time.split_at_checked(time.len().checked_sub(6)?)?;
            let sign = match offset.as_bytes()[0] {
                b'+' => 1,
                b'-' => -1,
                _ => return None,
            };
            (time, sign * minutes(&offset[1..])?)
        }
    };
    let (clock, rest) = time.split_at_checked(5)?;
    let minutes = minutes(clock)? - offset;
    let (seconds, nanos) = match rest.strip_prefix(':') {
        None if rest.is_empty() => (0, 0),
        None => return None,
        Some(seconds) => {
            let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
            if whole.len() != 2 {
                return None;
            }
            (number(whole)?, nanoseconds(fraction)?)
        }
    };
    if seconds > 59 {
        return None; // C-44
    }
    let into_the_day = (minutes * 60 + seconds) * 1_000_000_000 + nanos;
    at(year, month, day, into_the_day)
}

/// Returns `hh:mm` in minutes.
fn minutes(text: &str) -> Option<i128> {
    let (hours, minutes) = text.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

fn number(text: &str) -> Option<i128> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_digits.then(|| text.parse().ok()).flatten()
}

/// Returns the digits after a point.
fn nanoseconds(fraction: &str) -> Option<i128> {
    let is_digits = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    is_digits
        .then(|| number(&format!("{fraction:0<9}")[..9]))
        .flatten()
}

fn at(year: i128, month: i128, day: i128, into_the_day: i128) -> Option<i128> {
    let is_leap = |year: i128| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = |month: i128| match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=12).contains(&month) || !(1..=length(month)).contains(&day) {
        return None;
    }
    let leaps = |year: i128| year / 4 - year / 100 + year / 400; // of the years 1 to `year`
    let before = |year: i128| {
        if year == 0 {
            -366
        } else {
            (year - 1) * 365 + leaps(year - 1)
        }
    };
    let months: i128 = (1..month).map(length).sum();
    let days = before(year) - before(1970) + months + day - 1;
    Some(days * 86_400_000_000_000 + into_the_day)
}

/// C-54: a mapped address is the IPv4 address in it. `std` accepts no leading zeros and no zones (C-55).
fn address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.parse().ok()?;
    Some(address.to_canonical())
}

/// C-53.
fn is_inside(given: IpAddr, range: &str) -> bool {
    let (network, length) = match range.split_once('/') {
        Some((network, length)) => (network, Some(length.parse::<u32>().unwrap())),
        None => (range, None),
    };
    let written: IpAddr = network.parse().unwrap();
    let network = written.to_canonical();
    let was_mapped = written != network;
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (32, u128::from(u32::from(address))),
        IpAddr::V6(address) => (128, u128::from(address)),
    };
    let (width, network) = bits(network);
    let (given_width, given) = bits(given);
    let length = match length {
        Some(length) if was_mapped => length - 96,
        Some(length) => length,
        None => width,
    };
    let prefix = |address: u128| address.checked_shr(width - length).unwrap_or(0);
    width == given_width && prefix(network) == prefix(given)
}
