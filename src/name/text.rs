//! What the texts of all names have in common.

use std::fmt;

/// The error of a text that breaks the rules of its type. The message is for the author of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl Malformed {
    pub(crate) fn because(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Splits `text` at its first `byte`, which is ASCII.
///
/// PERF: names are short, so a loop over their bytes is quicker than the search of the standard library.
pub(super) fn at_first(byte: u8, text: &str) -> Option<(&str, &str)> {
    let at = text.bytes().position(|found| found == byte)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Returns whether an action's name may contain the character (G-27), not counting wildcards.
pub(crate) fn is_action_character(byte: u8) -> bool {
    is_in(byte, &ACTION_CHARACTERS)
}

/// The characters of an action's name, and those of a service prefix.
const ACTION_CHARACTERS: [bool; 256] = letters_digits_and(b"._/-");
const SERVICE_CHARACTERS: [bool; 256] = letters_digits_and(b"._-");

/// Returns whether `byte` is one of `characters`, which has a place for each byte.
///
/// PERF: looking a byte up takes half as many instructions as comparing it with the ends of each range.
pub(super) fn is_in(byte: u8, characters: &[bool; 256]) -> bool {
    characters
        .get(usize::from(byte))
        .is_some_and(|is_one| *is_one)
}

/// Returns the table of the ASCII letters, the digits and `others`.
pub(super) const fn letters_digits_and(others: &[u8]) -> [bool; 256] {
    let mut all = [false; 256];
    let mut rest: &mut [bool] = &mut all;
    let mut byte = 0;
    while let [is_one, others_of_table @ ..] = rest {
        *is_one = u8::is_ascii_alphanumeric(&byte);
        let mut left = others;
        while let [other, more @ ..] = left {
            *is_one |= *other == byte;
            left = more;
        }
        rest = others_of_table;
        byte = byte.wrapping_add(1);
    }
    all
}

/// Returns whether the text is a service prefix: `[A-Za-z0-9][A-Za-z0-9._-]*` (G-27).
pub(crate) fn is_service_prefix(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| is_in(byte, &SERVICE_CHARACTERS))
}
