//! Texts that are read at match time. Most are borrowed from a request or a store, and few are composed during the
//! match.

use std::fmt::{self, Write};
use std::ops::Deref;

use arrayvec::ArrayString;

/// A text that is borrowed, or that is stored inside this value if it had to be composed. A decision allocates memory
/// for it only if it is longer than any realistic composed text.
#[derive(Clone)]
pub struct Text<'a>(Form<'a>);

/// The space for a composed text. It is enough for an instant to the nanosecond, and for the id of a role with the
/// longest session name (K-6).
const INLINE_BYTES: usize = 92;

#[derive(Clone)]
enum Form<'a> {
    Borrowed(&'a str),
    Inline(ArrayString<INLINE_BYTES>),
    Long(Box<str>),
}

impl<'a> Text<'a> {
    /// Returns `text` in lower case.
    pub fn folded(text: &'a str) -> Self {
        if !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Self(Form::Borrowed(text));
        }
        Self(match ArrayString::from(text) {
            Ok(mut inline) => {
                inline.make_ascii_lowercase();
                Form::Inline(inline)
            }
            Err(_) => Form::Long(text.to_ascii_lowercase().into()),
        })
    }

    /// Returns the formatted text of `parts`.
    pub fn formatted(parts: fmt::Arguments<'_>) -> Self {
        let mut inline = ArrayString::new();
        Self(match inline.write_fmt(parts) {
            Ok(()) => Form::Inline(inline),
            Err(_) => Form::Long(fmt::format(parts).into()),
        })
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Form::Borrowed(text) => text,
            Form::Inline(text) => text,
            Form::Long(text) => text,
        }
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Form::Borrowed(text))
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text<'_> {}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// Returns whether two texts are equal.
///
/// PERF: most compared texts have the same length as a name, and calling the C library's routine takes longer than
/// comparing two numbers.
#[inline]
pub fn is_same(ours: &[u8], theirs: &[u8]) -> bool {
    if ours.len() != theirs.len() {
        return false;
    }
    if ours.len() <= 16
        && let (Some(our_first), Some(our_last)) = (ours.first_chunk::<8>(), ours.last_chunk::<8>())
        && let (Some(first), Some(last)) = (theirs.first_chunk::<8>(), theirs.last_chunk::<8>())
    {
        return our_first == first && our_last == last;
    }
    if ours.len() <= 32
        && let (Some(our_first), Some(our_last)) =
            (ours.first_chunk::<16>(), ours.last_chunk::<16>())
        && let (Some(first), Some(last)) = (theirs.first_chunk::<16>(), theirs.last_chunk::<16>())
    {
        return our_first == first && our_last == last;
    }
    if ours.len() < 8
        && let (Some(our_first), Some(our_last)) = (ours.first_chunk::<4>(), ours.last_chunk::<4>())
        && let (Some(first), Some(last)) = (theirs.first_chunk::<4>(), theirs.last_chunk::<4>())
    {
        return our_first == first && our_last == last;
    }
    ours == theirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_same_if_every_byte_is() {
        for n_bytes in 0..40 {
            let text = vec![b'a'; n_bytes];
            assert!(is_same(&text, &text.clone()), "{n_bytes}");
            assert!(!is_same(&text, &vec![b'a'; n_bytes + 1]), "{n_bytes}");
            for at in 0..n_bytes {
                let mut other = text.clone();
                if let Some(byte) = other.get_mut(at) {
                    *byte = b'b';
                }
                assert!(!is_same(&text, &other), "{n_bytes}, {at}");
            }
        }
    }

    #[test]
    fn a_folded_text_is_in_lower_case_however_long_it_is() {
        for n_bytes in [1, 2, 7, INLINE_BYTES, INLINE_BYTES + 1, 4000] {
            for last in ["Z", "É"].iter().filter(|last| last.len() <= n_bytes) {
                let text = format!("{}{last}", "x".repeat(n_bytes - last.len()));
                let mixed = format!("{}A", text.get(..n_bytes - last.len()).unwrap_or(""));
                for text in [text.to_ascii_lowercase(), text, mixed] {
                    let folded = Text::folded(&text);
                    assert_eq!(*folded, text.to_ascii_lowercase());
                    let is_changed = *folded != text;
                    let is_long = is_changed && text.len() > INLINE_BYTES;
                    assert_eq!(matches!(folded.0, Form::Inline(_)), is_changed && !is_long);
                    assert_eq!(matches!(folded.0, Form::Long(_)), is_long, "{n_bytes}");
                }
            }
        }
    }

    #[test]
    fn a_text_is_what_it_says_wherever_it_lives() {
        for n_bytes in [0, 1, INLINE_BYTES, INLINE_BYTES + 1, 4000] {
            let expected = "x".repeat(n_bytes);
            let text = Text::formatted(format_args!("{expected}"));
            assert_eq!(&*text, expected);
            assert_eq!(text, Text::from(&*expected));
            assert_eq!(
                matches!(text.0, Form::Long(_)),
                n_bytes > INLINE_BYTES,
                "{n_bytes}"
            );
        }
    }
}
