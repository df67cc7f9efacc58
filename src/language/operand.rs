//! The typed values of conditions. This module parses numbers, dates, Booleans, bytes and addresses on both sides of a
//! comparison. A policy's value that cannot be read rejects its document (G-33). A request's value that cannot be read
//! is INDETERMINATE (C-9).

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use jiff::civil::Date;
use smallvec::{SmallVec, smallvec};
use smol_str::SmolStr;

/// A decimal number of at most 38 significant digits, compared exactly (C-31).
///
/// INVARIANT: `integer` has no leading zero, `fraction` no trailing one, and zero is not negative.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Number<T = SmolStr> {
    negative: bool,
    integer: T,
    fraction: T,
}

impl<'t> Number<&'t str> {
    /// Parses `[+-]?digits[.digits]`. No other text is a number.
    pub fn parse(text: &'t str) -> Option<Self> {
        let (negative, digits) = match text.as_bytes().first()? {
            b'-' => (true, text.get(1..)?),
            b'+' => (false, text.get(1..)?),
            _ => (false, text),
        };
        let (integer, fraction) = match digits.split_once('.') {
            Some((integer, fraction)) => (integer, Some(fraction)),
            None => (digits, None),
        };
        let all_digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(integer) || !fraction.is_none_or(all_digits) {
            return None;
        }
        let (integer, fraction) = (integer.trim_start_matches('0'), fraction.unwrap_or(""));
        let n_significant = match integer {
            "" => fraction.trim_start_matches('0').len(),
            _ => integer.len() + fraction.len(),
        };
        if n_significant > 38 {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        Some(Self {
            negative: negative && !(integer.is_empty() && fraction.is_empty()),
            integer,
            fraction,
        })
    }

    /// Returns the same number, owning its digits.
    pub fn to_owned(&self) -> Number {
        Number {
            negative: self.negative,
            integer: self.integer.into(),
            fraction: self.fraction.into(),
        }
    }
}

impl<T: AsRef<str>> Number<T> {
    /// Returns the exact order of the two numbers.
    pub fn order(&self, other: &Number<impl AsRef<str>>) -> Ordering {
        let by_size = || {
            let (ours, theirs) = (self.integer.as_ref(), other.integer.as_ref());
            (ours.len(), ours, self.fraction.as_ref()).cmp(&(
                theirs.len(),
                theirs,
                other.fraction.as_ref(),
            ))
        };
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => by_size(),
            (true, true) => by_size().reverse(),
        }
    }
}

impl<T: AsRef<str>> fmt::Display for Number<T> {
    /// Writes the number without leading and trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        let integer = match self.integer.as_ref() {
            "" => "0",
            digits => digits,
        };
        write!(f, "{sign}{integer}")?;
        match self.fraction.as_ref() {
            "" => Ok(()),
            digits => write!(f, ".{digits}"),
        }
    }
}

/// A point in time, in nanoseconds since 1970 (C-43).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(i128);

const NANOSECONDS: i128 = 1_000_000_000;
/// The first second of the year 0.
const FIRST_SECOND: i128 = -62_167_219_200;
const A_SECOND: u128 = NANOSECONDS.unsigned_abs();
/// The last second, which is far beyond any date.
const LAST_SECOND: i128 = i128::MAX / NANOSECONDS - 1;

impl Instant {
    /// Parses the W3C profile of ISO 8601, or epoch seconds (C-41). Exactly four digits are ambiguous, so they are
    /// refused (C-42). Fractions are cut off after the nanosecond.
    pub fn parse(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [_, _, _, _] if digits(text).is_some() => None,
            [_, _, _, _, b'-', _, _] => {
                let (year, month) = text.split_once('-')?;
                Self::from_parts(year, month, "01", None)
            }
            [_, _, _, _, b'-', _, _, b'-', _, _] => {
                Self::from_parts(text.get(..4)?, text.get(5..7)?, text.get(8..)?, None)
            }
            [_, _, _, _, b'-', _, _, b'-', _, _, b'T', ..] => Self::from_parts(
                text.get(..4)?,
                text.get(5..7)?,
                text.get(8..10)?,
                Some(text.get(11..)?),
            ),
            _ => Self::from_epoch(text),
        }
    }

    /// Returns the instant so many nanoseconds later, which is earlier for a negative number.
    pub fn later(self, nanoseconds: i128) -> Self {
        Self(self.0.saturating_add(nanoseconds))
    }

    /// Returns the whole seconds since 1970 before it, or at it.
    pub fn as_second(self) -> i128 {
        self.0.div_euclid(NANOSECONDS)
    }

    /// Returns the instant of a timestamp.
    pub fn of(timestamp: jiff::Timestamp) -> Self {
        Self(timestamp.as_nanosecond())
    }

    fn from_parts(year: &str, month: &str, day: &str, time: Option<&str>) -> Option<Self> {
        let year = i16::try_from(digits(year)?).ok()?;
        let (month, day) = (
            i8::try_from(digits(month)?).ok()?,
            i8::try_from(digits(day)?).ok()?,
        );
        // The date is checked first, because an error of the calendar library would allocate memory for its message.
        let first_of_month = (1..=12)
            .contains(&month)
            .then(|| Date::new(year, month, 1).ok())??;
        if !(1..=first_of_month.days_in_month()).contains(&day) {
            return None;
        }
        let date = Date::new(year, month, day).ok()?;
        let epoch = Date::new(1970, 1, 1).ok()?;
        let days = date.duration_since(epoch).as_nanos();
        let time = time.map_or(Some(0), nanoseconds_of_day)?;
        Some(Self(days + time))
    }

    /// Parses `-?digits[.digits]` seconds.
    fn from_epoch(text: &str) -> Option<Self> {
        let (sign, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text),
        };
        let (seconds, fraction) = match unsigned.split_once('.') {
            Some((seconds, fraction)) => (seconds, nanoseconds(fraction)?),
            None => (unsigned, 0),
        };
        // C-41 sets no last date. Later dates are taken as the last one that can be multiplied without overflow.
        let seconds = digits(seconds)?.min(LAST_SECOND);
        Some(Self(sign * (seconds * NANOSECONDS + fraction)))
    }
}

impl fmt::Display for Instant {
    /// Writes the instant as RFC 3339 in UTC, or as epoch seconds if no calendar reaches it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(self.0) {
            // No text of a policy has a year before 0 (C-41).
            Ok(timestamp) if self.0 >= FIRST_SECOND * NANOSECONDS => timestamp.fmt(f),
            _ => {
                let sign = if self.0 < 0 { "-" } else { "" };
                let all = self.0.unsigned_abs();
                let (seconds, rest) = (all / A_SECOND, all % A_SECOND);
                write!(f, "{sign}{seconds}")?;
                match format!("{rest:09}").trim_end_matches('0') {
                    "" => Ok(()),
                    fraction => write!(f, ".{fraction}"),
                }
            }
        }
    }
}

/// Parses `hh:mmTZD`, `hh:mm:ssTZD` or `hh:mm:ss.fTZD`, shifted to UTC.
fn nanoseconds_of_day(time: &str) -> Option<i128> {
    let (clock, offset_minutes) = match time.strip_suffix('Z') {
        Some(clock) => (clock, 0),
        None => {
            let at = time.len().checked_sub(6)?;
            let (clock, zone) = (time.get(..at)?, time.get(at..)?);
            let sign = match zone.as_bytes().first()? {
                b'+' => 1,
                b'-' => -1,
                _ => return None,
            };
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            (
                clock,
                sign * (two_digits(hours, 23)? * 60 + two_digits(minutes, 59)?),
            )
        }
    };
    let mut parts = clock.split(':');
    let hours = two_digits(parts.next()?, 23)?;
    let minutes = two_digits(parts.next()?, 59)?;
    let (seconds, fraction) = match parts.next() {
        None => (0, 0),
        Some(seconds) => match seconds.split_once('.') {
            Some((seconds, fraction)) => (two_digits(seconds, 59)?, nanoseconds(fraction)?),
            None => (two_digits(seconds, 59)?, 0),
        },
    };
    let in_seconds = ((hours * 60 + minutes - offset_minutes) * 60) + seconds;
    parts
        .next()
        .is_none()
        .then_some(in_seconds * NANOSECONDS + fraction)
}

fn two_digits(text: &str, most: i128) -> Option<i128> {
    digits(text).filter(|value| text.len() == 2 && *value <= most)
}

/// Returns the digits after a decimal point as nanoseconds. Digits after the ninth are cut off.
fn nanoseconds(fraction: &str) -> Option<i128> {
    digits(fraction)?;
    let first_nine = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    Some(first_nine.fold(0, |value, digit| value * 10 + i128::from(digit - b'0')))
}

/// Returns the value of a text of ASCII digits. It saturates at values that make no difference any more.
fn digits(text: &str) -> Option<i128> {
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| text.parse().unwrap_or(i128::MAX))
}

/// Parses `true` or `false`, in any case (C-50).
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Parses standard base64 with padding (C-52). Up to 256 bytes are decoded without allocating.
pub fn parse_bytes(text: &str) -> Option<SmallVec<[u8; 256]>> {
    let mut bytes = smallvec![0; base64::decoded_len_estimate(text.len())];
    let n_bytes = STANDARD.decode_slice(text, &mut bytes).ok()?;
    bytes.truncate(n_bytes);
    Some(bytes)
}

/// Parses an address. IPv4-mapped IPv6 becomes IPv4 (C-54). Ports, zones and leading zeros are refused (C-55).
pub fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>()
        .ok()
        .map(|address| address.to_canonical())
}

/// Parses a CIDR range or a bare address. Bits below the mask are ignored (C-53).
pub fn parse_network(text: &str) -> Option<IpNet> {
    let Some((address, prefix)) = text.split_once('/') else {
        return parse_address(text).map(IpNet::from);
    };
    let address: IpAddr = address.parse().ok()?;
    let is_plain = prefix == "0" || !prefix.starts_with('0');
    let prefix = u8::try_from(digits(prefix).filter(|_| is_plain)?).ok()?;
    let network = match (address, address.to_canonical()) {
        // `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
        (IpAddr::V6(_), IpAddr::V4(mapped)) if (96..=128).contains(&prefix) => {
            IpNet::new(IpAddr::V4(mapped), prefix - 96)
        }
        _ => IpNet::new(address, prefix),
    };
    network.ok().map(|network| network.trunc())
}

/// Returns the fields of an ARN (C-66), or `None` for any other text (C-68).
pub fn arn_fields(text: &str) -> Option<[&str; 6]> {
    let mut rest = text.strip_prefix("arn:")?;
    let mut fields = ["arn"; 6];
    for field in fields.iter_mut().skip(1).take(4) {
        let colon = memchr::memchr(b':', rest.as_bytes())?;
        (*field, rest) = (rest.get(..colon)?, rest.get(colon + 1..)?);
    }
    let [.., last] = &mut fields;
    *last = rest;
    Some(fields)
}

/// Returns whether two texts are equal under Unicode simple case folding (C-21). Both come in consecutive parts.
pub fn equal_ignoring_case<'a>(
    ours: impl Iterator<Item = &'a str>,
    theirs: impl Iterator<Item = &'a str>,
) -> bool {
    folded(ours).eq(folded(theirs))
}

/// Returns the characters of a text in parts, under Unicode simple case folding (C-21).
pub fn folded<'a>(parts: impl Iterator<Item = &'a str>) -> impl Iterator<Item = char> {
    parts.flat_map(str::chars).map(fold)
}

/// Returns a character under Unicode simple case folding (C-21).
pub fn fold(character: char) -> char {
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    unicode_case_mapping::case_folded(character)
        .and_then(|folded| char::from_u32(folded.get()))
        .unwrap_or(character)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn numbers_are_compared_exactly() {
        let order = |a: &str, b: &str| Number::parse(a).unwrap().order(&Number::parse(b).unwrap());
        for (a, b) in [
            ("9007199254740993", "9007199254740992"),
            ("0.10", "0.09"),
            ("-1", "-1.5"),
            ("1", "-1"),
            ("10", "9"),
            ("1.05", "1.049"),
            ("0", "-0.1"),
        ] {
            assert_eq!(order(a, b), Ordering::Greater, "C-31: {a} > {b}");
            assert_eq!(order(b, a), Ordering::Less, "C-31: {b} < {a}");
        }
        for (a, b) in [
            ("1.50", "1.5"),
            ("+5", "5"),
            ("-0", "0"),
            ("007", "7"),
            ("5.0", "5"),
        ] {
            assert_eq!(order(a, b), Ordering::Equal, "C-31: {a} = {b}");
        }
        let digits_38 = "9".repeat(38);
        assert!(
            Number::parse(&digits_38).is_some()
                && Number::parse(&format!("{digits_38}9")).is_none(),
            "C-31"
        );
        for bad in [
            "", "10abc", "1e3", "NaN", "Infinity", "0x1", " 1", "1 ", "1.", ".5", "+", "--1",
            "1.2.3", "١",
        ] {
            assert!(Number::parse(bad).is_none(), "C-31: {bad}");
        }
    }

    #[test]
    fn dates_are_instants() {
        let same = [
            "2024-06-01T02:00:00+02:00",
            "2024-06-01T00:00:00Z",
            "1717200000",
            "2024-06-01",
            "2024-06",
            "2024-06-01T00:00Z",
            "1717200000.0",
            "2024-05-31T23:30-00:30",
        ];
        for text in same {
            assert_eq!(
                Instant::parse(text),
                Instant::parse("1717200000"),
                "C-41, C-43: {text}"
            );
            assert!(Instant::parse(text).is_some(), "C-41: {text}");
        }
        assert!(
            Instant::parse("2024-06-01T00:00:00.000000001Z") > Instant::parse("2024-06-01"),
            "C-43"
        );
        assert!(Instant::parse("-1") < Instant::parse("0"), "C-41");
        assert_eq!(
            Instant::parse("1969-12-31T23:59:59Z"),
            Instant::parse("-1"),
            "C-41"
        );
        for bad in [
            "2024",
            "2024-13",
            "2024-04-31",
            "2024-06-01T24:00Z",
            "2024-06-01T00:00:60Z",
            "2024-06-01t00:00Z",
            "2024-06-01T00:00z",
            "2024-06-01T00:00",
            "2024-06-01 00:00Z",
            "01T",
            "",
            "1717200000s",
            "2024-6-1",
            "2024-06-01T0:00Z",
            "2024-06-01T00Z",
            "2024-06-01T00:00:00.Z",
            "+2024-06-01",
            "2024-06-01T00:00:00+24:00",
            "1717200000.",
            "--1",
            "2024-02-30",
            "2023-02-29",
        ] {
            assert_eq!(Instant::parse(bad), None, "C-42, C-44: {bad}");
        }
    }

    #[test]
    fn addresses_are_numbers() {
        let within = |network: &str, address: &str| {
            parse_network(network)
                .unwrap()
                .contains(&parse_address(address).unwrap())
        };
        assert!(
            within("10.0.0.0/8", "::ffff:10.1.2.3") && within("::ffff:10.0.0.0/104", "10.1.2.3"),
            "C-54"
        );
        assert!(
            within("10.1.2.3/8", "10.9.9.9") && within("2001:DB8::1", "2001:db8:0:0::1"),
            "C-53"
        );
        assert!(
            within("0.0.0.0/0", "1.2.3.4")
                && !within("::/0", "1.2.3.4")
                && !within("0.0.0.0/0", "::1"),
            "C-54, C-55"
        );
        for bad in [
            "010.1.2.3",
            "fe80::1%eth0",
            "10.0.0.1:80",
            "localhost",
            "10.0.0.1-10.0.0.9",
            "",
            "10.0.0",
            " 10.0.0.1",
        ] {
            assert!(
                parse_address(bad).is_none() && parse_network(bad).is_none(),
                "C-55: {bad}"
            );
        }
        for bad in [
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/08",
            "10.0.0.0/",
            "::/129",
            "10.0.0.0/8/8",
        ] {
            assert!(parse_network(bad).is_none(), "C-53: {bad}");
        }
    }

    #[test]
    fn bytes_and_booleans_are_read_strictly() {
        assert_eq!(parse_bytes("YQ==").as_deref(), Some(&b"a"[..]), "C-52");
        assert!(
            parse_bytes("YQ").is_none()
                && parse_bytes("Y Q==").is_none()
                && parse_bytes("_-==").is_none(),
            "C-52"
        );
        assert!(
            parse_bool("TRUE") == Some(true)
                && parse_bool("fAlse") == Some(false)
                && parse_bool("1").is_none(),
            "C-50"
        );
    }

    #[test]
    fn case_folding_is_unicode_and_simple() {
        let equal = |a: &str, b: &str| equal_ignoring_case([a].into_iter(), [b].into_iter());
        assert!(
            equal("STRASSE", "strasse")
                && equal("ΣΑΣ", "σας")
                && equal("Ä", "ä")
                && equal("K", "k"),
            "C-21"
        );
        assert!(
            !equal("straße", "strasse") && !equal("ä", "a\u{308}"),
            "C-21: simple folding, no normalisation"
        );
    }

    /// C-41: a list of permissions and an explanation write the instants of policies, and they mean the same.
    #[test]
    fn an_instant_that_is_written_is_the_same_instant() {
        for text in [
            "2024-06-01T00:00:00.000000001Z",
            "9999-12-31T23:59:59.999999999Z",
            "9999-12-31T23:59:59Z",
            "99999999999999999999.5",
            "-99999999999999999999.000000001",
            "-99999999999",
            "-62167219200.5",
            "-62167219200",
            "-1.5",
            "0",
        ] {
            let instant = Instant::parse(text).unwrap();
            let written = instant.to_string();
            assert_eq!(Instant::parse(&written), Some(instant), "{text}: {written}");
        }
    }
}
