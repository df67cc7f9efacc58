//! Values that stand for all values that a key can have, as far as some conditions can tell them apart.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use foldhash::fast::FixedState;
use jiff::Timestamp;

use super::choices::is_possible;
use super::texts::{Form, Patterns};
use crate::context::{ContextKey, KeyKind};
use crate::engine::facts::Facts;
use crate::engine::request::MAX_TAG_VALUE_CHARACTERS;
use crate::language::condition::operator::{Truth, evaluate_one};
use crate::language::condition::{Condition, Operand};
use crate::language::operand::{Instant, Number};
use crate::name::is_name_character;

/// What conditions read the values of a key as. Values with several of these meanings are not told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Text,
    Number,
    Date,
    Boolean,
    Bytes,
    Address,
}

/// The most choices of one key.
pub const MAX_CHOICES: usize = 96;
/// The most values that the conditions on one key may compare with, all together.
const MAX_NAMED: usize = 256;

/// Returns with how many values these conditions compare.
fn n_values(conditions: &[&Condition]) -> usize {
    conditions.iter().map(|one| one.operand.n_values()).sum()
}

/// A text that is no number, no date, no Boolean, no address and no base64.
const UNREADABLE: &str = "other";

/// Returns values of `key` that stand for all its values but the empty text: for each way in which such a value can make these
/// conditions true or not, and be one of `names` ignoring case, there is one. The conditions read the key, and none of them is a
/// `Null` or has an open variable. Returns `None` if that takes too much, or cannot be said.
pub fn classes(
    key: &ContextKey,
    conditions: &[&Condition],
    names: &[&str],
    facts: &Facts<'_>,
) -> Option<Vec<String>> {
    let of_names = names.iter().map(|_| Some(Meaning::Text));
    let of_conditions = conditions.iter().map(|one| meaning_of(&one.operand));
    let mut meanings = of_names.chain(of_conditions);
    let meaning = meanings.next()??;
    if meanings.any(|other| other != Some(meaning)) {
        return None;
    }
    if n_values(conditions) > MAX_NAMED {
        return None;
    }
    let operands = || conditions.iter().map(|one| &one.operand);
    let texts = match meaning {
        Meaning::Text => texts(key, conditions, names, facts)?,
        // Only texts have a form of their own; what cannot be is left out below.
        Meaning::Number => numbers(operands())?,
        Meaning::Date => dates(operands())?,
        Meaning::Boolean => ["true", "false", UNREADABLE].map(str::to_owned).into(),
        Meaning::Bytes => bytes(operands()),
        Meaning::Address => addresses(operands()),
    };
    let mut classes = Vec::new();
    let mut seen: HashSet<Vec<Truth>, FixedState> = HashSet::default();
    let can_be = |text: &String| !text.is_empty() && is_possible(key, &[text.into()], facts);
    let units = operands().map(|operand| 1 + operand.n_steps());
    let units = names.len() + units.sum::<usize>();
    for text in texts.into_iter().filter(can_be) {
        if classes.len() > MAX_CHOICES || !facts.work.spend(units) {
            return None;
        }
        let named = names
            .iter()
            .map(|name| text.eq_ignore_ascii_case(name).into());
        let truths = conditions.iter().map(|one| evaluate_one(one, &text, facts));
        let is_new = seen.insert(truths.chain(named).collect());
        if is_new {
            classes.push(text);
        }
    }
    Some(classes)
}

fn meaning_of(operand: &Operand) -> Option<Meaning> {
    Some(match operand {
        Operand::StringEquals(_)
        | Operand::StringEqualsIgnoreCase(_)
        | Operand::StringLike(_)
        | Operand::Arn(_) => Meaning::Text,
        Operand::Numeric(..) => Meaning::Number,
        Operand::Date(..) => Meaning::Date,
        Operand::Bool(_) => Meaning::Boolean,
        Operand::Binary(_) => Meaning::Bytes,
        Operand::IpAddress(_) => Meaning::Address,
        Operand::Null(_) => return None,
    })
}

/// Returns a text of each kind that patterns tell apart.
fn texts(
    key: &ContextKey,
    conditions: &[&Condition],
    names: &[&str],
    facts: &Facts<'_>,
) -> Option<Vec<String>> {
    let mut patterns = Patterns::default();
    for name in names {
        patterns.add_name(name);
    }
    for condition in conditions {
        match &condition.operand {
            Operand::StringEquals(all) | Operand::StringLike(all) => {
                all.iter().for_each(|text| patterns.add(text, facts));
            }
            Operand::StringEqualsIgnoreCase(all) => {
                // With a variable that has no value it fits nothing (V-9).
                let texts = all.iter().filter_map(|text| text.resolve(facts));
                for text in texts {
                    patterns.add_folded(&text)?;
                }
            }
            Operand::Arn(all) => all
                .iter()
                .for_each(|pattern| patterns.add_arn(pattern, facts)),
            _ => return None,
        }
    }
    let any = Form {
        prefix: "",
        allows: |_| true,
        least: 1,
        most: usize::MAX,
    };
    let name = Form {
        allows: is_name_character,
        least: 2,
        most: 64,
        ..any
    };
    let id = facts
        .caller
        .entity
        .and_then(|entity| entity.unique_id.as_deref());
    let prefix = id.map(|id| format!("{id}:"));
    let form = match key.kind() {
        // What it says has another form.
        KeyKind::CurrentTime
        | KeyKind::EpochTime
        | KeyKind::TokenIssueTime
        | KeyKind::MultiFactorAuthAge
        | KeyKind::FederatedProvider
        | KeyKind::Saml => return None,
        KeyKind::MultiFactorAuthPresent => {
            return Some(["true", "false"].map(str::to_owned).into());
        }
        KeyKind::Userid => match prefix.as_deref() {
            Some(prefix) => Form { prefix, ..name },
            None => return Some(Vec::new()), // it has none
        },
        KeyKind::SourceIdentity => name, // T-39
        KeyKind::PrincipalTag => Form {
            most: MAX_TAG_VALUE_CHARACTERS, // T-34
            ..any
        },
        _ => any,
    };
    patterns.all_texts(&form, facts)
}

/// Returns the numbers that comparisons tell apart: those they compare with, one between any two of them, whole if possible,
/// and a text that is no number. Returns `None` if they have too many digits.
fn numbers<'o>(operands: impl Iterator<Item = &'o Operand>) -> Option<Vec<String>> {
    let written = operands.flat_map(|operand| match operand {
        Operand::Numeric(_, numbers) => &**numbers,
        _ => &[],
    });
    let written: Vec<String> = written.map(ToString::to_string).collect();
    let n_digits = |text: &String| text.split_once('.').map_or(0, |(_, digits)| digits.len());
    // With one digit more than any of them has, there is a number between any two.
    let n_digits = 1 + written.iter().map(n_digits).max().unwrap_or(0);
    let one = 10i128.checked_pow(u32::try_from(n_digits).ok()?)?;
    let mut numbers = Vec::new();
    for text in &written {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let scaled: i128 = format!("{whole}{fraction:0<n_digits$}").parse().ok()?;
        let near = [0, -1, 1].map(|step| scaled.checked_add(step));
        let whole = scaled.div_euclid(one).checked_mul(one)?;
        let near_whole = [0, -1, 1, 2].map(|step| whole.checked_add(step * one));
        numbers.extend(near_whole.into_iter().chain(near));
    }
    // An age is never below that.
    let mut texts = vec![UNREADABLE.to_owned(), "0".to_owned()];
    for number in numbers {
        let number = number?;
        let sign = if number < 0 { "-" } else { "" };
        let (whole, fraction) = (
            number.unsigned_abs() / one.unsigned_abs(),
            number.unsigned_abs() % one.unsigned_abs(),
        );
        let text = match fraction {
            0 => format!("{sign}{whole}"),
            _ => format!("{sign}{whole}.{fraction:0>n_digits$}"),
        };
        Number::parse(&text)?;
        texts.push(text);
    }
    Some(texts)
}

/// Returns the instants that comparisons tell apart, and a text that is no date.
fn dates<'o>(operands: impl Iterator<Item = &'o Operand>) -> Option<Vec<String>> {
    let instants = operands.flat_map(|operand| match operand {
        Operand::Date(_, instants) => &**instants,
        _ => &[],
    });
    let near = instants.flat_map(|one| [0, -1, 1].map(|step| one.later(step)));
    // No session begins before that (T-47).
    let first = Instant::of(Timestamp::UNIX_EPOCH).later(1);
    let mut texts = vec![UNREADABLE.to_owned()];
    for instant in near.chain([first]) {
        let text = instant.to_string();
        if Instant::parse(&text) != Some(instant) {
            return None;
        }
        texts.push(text);
    }
    Some(texts)
}

/// Returns the instants that comparisons of `aws:CurrentTime` and `aws:EpochTime` tell apart.
pub fn instants(conditions: &[&Condition]) -> Option<Vec<Timestamp>> {
    if n_values(conditions) > MAX_NAMED {
        return None;
    }
    let mut found = Vec::new();
    for condition in conditions {
        match &condition.operand {
            Operand::Date(_, instants) => found.extend_from_slice(instants),
            Operand::Numeric(_, numbers) => {
                for number in numbers {
                    let text = number.to_string();
                    let (whole, _) = text.split_once('.').unwrap_or((&text, ""));
                    let instant = Instant::parse(&format!("{whole}.0"))?;
                    let seconds = [-1, 0, 1, 2].map(|step| instant.later(step * SECOND));
                    found.extend(seconds);
                }
            }
            Operand::Null(_) => {}
            _ => return None,
        }
    }
    // Without any, the time makes no difference, and one stands for all.
    found.push(Instant::of(Timestamp::UNIX_EPOCH));
    // The clock of whole seconds tells them later, or earlier.
    let near = [0, -1, 1, -SECOND, SECOND];
    let near = found
        .iter()
        .flat_map(|one| near.map(|step| one.later(step)));
    let times = near.filter_map(|one| one.to_string().parse::<Timestamp>().ok());
    Some(times.collect())
}

const SECOND: i128 = 1_000_000_000;

/// Returns the byte strings that comparisons tell apart, in base64, and a text that is none.
fn bytes<'o>(operands: impl Iterator<Item = &'o Operand>) -> Vec<String> {
    let named = operands.flat_map(|operand| match operand {
        Operand::Binary(all) => &**all,
        _ => &[],
    });
    let mut named: Vec<&[u8]> = named.map(|bytes| &**bytes).collect();
    let longest = named.iter().map(|bytes| bytes.len()).max().unwrap_or(0);
    let other = vec![0; longest + 1];
    named.push(&other);
    let texts = named.iter().map(|bytes| STANDARD.encode(bytes));
    texts.chain([UNREADABLE.to_owned()]).collect()
}

/// Returns the addresses that comparisons tell apart, and a text that is none.
///
/// Of two ranges, one holds the other or they have nothing in common. So the first address in a range that is in none of its
/// parts is the first one of the range or comes right behind a part.
fn addresses<'o>(operands: impl Iterator<Item = &'o Operand>) -> Vec<String> {
    let networks = operands.flat_map(|operand| match operand {
        Operand::IpAddress(networks) => &**networks,
        _ => &[],
    });
    let mut found = vec![
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        // Those before it stand for IPv4 (C-54).
        IpAddr::V6(Ipv6Addr::from_bits(1 << 48)),
    ];
    for network in networks {
        found.push(network.network());
        found.extend(match network.broadcast() {
            IpAddr::V4(last) => last
                .to_bits()
                .checked_add(1)
                .map(|next| IpAddr::V4(next.into())),
            IpAddr::V6(last) => last
                .to_bits()
                .checked_add(1)
                .map(|next| IpAddr::V6(next.into())),
        });
    }
    let texts = found.iter().map(ToString::to_string);
    texts.chain([UNREADABLE.to_owned()]).collect()
}

#[cfg(test)]
mod tests;
