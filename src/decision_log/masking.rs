//! What records hide of a question.

use anyhow::{Context as _, bail};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::config::{Config, Mask, MaskRule, MaskedField};

/// The fewest bytes of a key. A shorter one could be guessed.
const MIN_KEY_BYTES: usize = 16;
/// The most bytes of a key's file.
const MAX_KEY_BYTES: u64 = 4 * 1024;
/// How many bytes of a hash are written. Two values of a million are the same with a chance of one in 10^26.
const HASH_BYTES: usize = 16;

/// The rules of masking, with their key.
pub(super) struct Masking {
    rules: Vec<MaskRule>,
    keyed: Option<Hmac<Sha256>>,
}

impl Masking {
    /// Reads the rules of a configuration, and the file with their key.
    pub(super) fn of(config: &Config) -> anyhow::Result<Self> {
        let keyed = match &config.decision_log_mask_key {
            None => None,
            Some(path) => {
                let failed = || format!("the key of `--decision-log-mask` in `{}`", path.display());
                let key = read_key(path).with_context(failed)?;
                Some(keyed(&key).with_context(failed)?)
            }
        };
        Ok(Self {
            rules: config.decision_log_mask.iter().flatten().cloned().collect(),
            keyed,
        })
    }

    /// Returns how the value of `key` in `field` is hidden, if it is. The first rule that covers it counts.
    pub(super) fn mask(&self, field: MaskedField, key: &str) -> Option<Mask> {
        if self.rules.is_empty() {
            return None;
        }
        let mut rules = self.rules.iter();
        let rule = rules.find(|rule| rule.field == field && rule.covers(key));
        rule.map(|rule| rule.mask)
    }

    /// Returns what takes the place of `text`; `None` for nothing.
    pub(super) fn hidden(&self, mask: Mask, text: &str) -> Option<String> {
        match mask {
            Mask::Drop => None,
            Mask::Hash => Some(self.hash(text)),
            Mask::Last(n) => {
                let n_chars = text.chars().count();
                // A text that is not longer would be shown as a whole.
                let n_hidden = n_chars.checked_sub(n).filter(|hidden| *hidden > 0);
                let shown = n_hidden.map(|hidden| text.chars().skip(hidden));
                let shown: String = shown.into_iter().flatten().collect();
                Some(format!("***{shown}"))
            }
        }
    }

    fn hash(&self, text: &str) -> String {
        let Some(keyed) = &self.keyed else {
            return "hmac:".to_owned(); // the configuration is refused without a key
        };
        let mut keyed = keyed.clone();
        keyed.update(text.as_bytes());
        let hash = keyed.finalize().into_bytes();
        let hash = hash.iter().take(HASH_BYTES);
        let hex: String = hash.map(|byte| format!("{byte:02x}")).collect();
        format!("hmac:{hex}")
    }
}

fn keyed(key: &[u8]) -> anyhow::Result<Hmac<Sha256>> {
    if key.len() < MIN_KEY_BYTES {
        bail!(
            "has {} bytes, and must have {MIN_KEY_BYTES} at least",
            key.len()
        );
    }
    Hmac::new_from_slice(key).context("cannot be used")
}

/// Reads a key, without the line break at its end that editors leave.
fn read_key(path: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut key = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_KEY_BYTES + 1).read_to_end(&mut key)?;
    if key.len() as u64 > MAX_KEY_BYTES {
        bail!("is longer than {MAX_KEY_BYTES} bytes");
    }
    while key.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        key.pop();
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn masking(rules: &[&str], key: &[u8]) -> Masking {
        Masking {
            rules: rules.iter().map(|rule| rule.parse().unwrap()).collect(),
            keyed: Some(keyed(key).unwrap()),
        }
    }

    #[test]
    fn the_last_characters_stay_and_a_short_text_is_hidden_as_a_whole() {
        let masking = masking(&[], &[1; 16]);
        let last = |n, text| masking.hidden(Mask::Last(n), text).unwrap();
        assert_eq!(last(4, "10.0.0.127"), "***.127");
        assert_eq!(last(4, "abcd"), "***");
        assert_eq!(last(2, "größe"), "***ße");
        assert_eq!(last(0, "abc"), "***");
        assert_eq!(masking.hidden(Mask::Drop, "abc"), None);
    }

    #[test]
    fn equal_texts_have_equal_hashes_under_one_key_only() {
        let (one, other) = (masking(&[], &[1; 16]), masking(&[], &[2; 16]));
        let hash = |masking: &Masking, text| masking.hidden(Mask::Hash, text).unwrap();
        assert_eq!(hash(&one, "a"), hash(&one, "a"));
        assert_ne!(hash(&one, "a"), hash(&one, "b"));
        assert_ne!(hash(&one, "a"), hash(&other, "a"));
        assert_eq!(hash(&one, "a").len(), "hmac:".len() + 2 * HASH_BYTES);
        assert!(keyed(&[0; 15]).is_err());
    }

    /// Test case 2 of RFC 4231 has a short key, so this is the one with the key of 20 bytes: case 1.
    #[test]
    fn the_hash_is_hmac_sha256() {
        let masking = masking(&[], &[0x0b; 20]);
        assert_eq!(
            masking.hash("Hi There"),
            "hmac:b0344c61d8db38535ca8afceaf0bf12b"
        );
    }

    #[test]
    fn the_first_rule_that_covers_a_value_counts() {
        let masking = masking(&["context.a=last:1", "context=drop"], &[0; 16]);
        let mask = |field, key| masking.mask(field, key);
        assert_eq!(mask(MaskedField::Context, "A"), Some(Mask::Last(1)));
        assert_eq!(mask(MaskedField::Context, "ab"), Some(Mask::Drop));
        assert_eq!(mask(MaskedField::SessionTags, "a"), None);
    }
}
