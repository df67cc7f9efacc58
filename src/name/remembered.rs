//! Values that follow from short texts which come again and again.

use smol_str::SmolStr;

/// How many texts are remembered.
const N_TEXTS: usize = 256;

/// The longest text that is remembered, in bytes.
const MAX_BYTES: usize = 64;

/// The values of the texts that came last. Each text has one place, which it takes from the text before it there.
///
/// PERF: clients ask about the same few actions with the same few context keys, and parsing one takes five to ten times as
/// long as finding it here. A value depends on nothing but its text, so whatever is here never changes an answer.
#[derive(Debug)]
pub(crate) struct Remembered<T>([Option<(SmolStr, T)>; N_TEXTS]);

impl<T: Clone> Remembered<T> {
    pub(crate) const NOTHING: Self = Self([const { None }; N_TEXTS]);

    /// Returns the value of `text`, which `parse` finds out if it is not known. An error is not remembered.
    #[inline]
    pub(crate) fn get<E>(
        &mut self,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, E> {
        let place = self.0.get_mut(place_of(text));
        match place {
            Some(Some((known, value))) if known.as_str() == text => Ok(value.clone()),
            place => Self::learn(place, text, parse),
        }
    }

    #[inline(never)]
    fn learn<E>(
        place: Option<&mut Option<(SmolStr, T)>>,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, E> {
        let value = parse(text)?;
        if let Some(place) = place.filter(|_| text.len() <= MAX_BYTES) {
            *place = Some((text.into(), value.clone()));
        }
        Ok(value)
    }
}

/// Returns the place of `text`.
#[inline]
fn place_of(text: &str) -> usize {
    let bytes = text.as_bytes();
    // The ends of names differ most.
    let end = match bytes.last_chunk::<8>() {
        Some(end) => u64::from_le_bytes(*end),
        None => bytes
            .iter()
            .fold(0, |end, byte| end << 8 | u64::from(*byte)),
    };
    let mixed = (end ^ bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize % N_TEXTS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts that take each other's places are remembered as themselves.
    #[test]
    fn a_remembered_value_is_that_of_its_text() {
        let mut remembered = Remembered::NOTHING;
        let text = |n: usize| format!("{}{}", "x".repeat(n % (MAX_BYTES + 3)), n % 97);
        let value = |text: &str| match text.len() % 7 {
            0 => Err(text.to_owned()),
            _ => Ok(text.to_uppercase()),
        };
        let mut n_parsed = 0;
        for n in (0..5_000).flat_map(|n| [n, n / 2, n]) {
            let text = text(n);
            let found = remembered.get(&text, |text| {
                n_parsed += 1;
                value(text)
            });
            assert_eq!(found, value(&text));
        }
        assert!(n_parsed < 14_000, "{n_parsed} of 15,000 were not known");
        let n_used = remembered.0.iter().flatten().count();
        assert!(n_used > N_TEXTS / 2, "{n_used} places are used");
    }
}
