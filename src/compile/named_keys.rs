//! The context keys that the policies of a snapshot name.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use smol_str::SmolStr;

use super::demand::keys_of;
use super::policy::Policy;

/// The context keys that any policy of a store names, in a condition or as a variable. A value that a caller gives for
/// another key is read by no policy of the store.
#[derive(Debug, Default)]
pub struct NamedKeys(HashTable<SmolStr>);

impl NamedKeys {
    /// Collects the keys of these policies. The time grows with their statements: some tens of nanoseconds each.
    pub(super) fn of<'s>(policies: impl Iterator<Item = &'s Arc<Policy>>) -> Self {
        let mut seen = HashSet::with_hasher(FixedState::default());
        let mut keys = Self::default();
        for policy in policies {
            // The types of one managed policy share its statements.
            if !seen.insert(Arc::as_ptr(&policy.statements).addr()) {
                continue;
            }
            for statement in policy.statements.iter() {
                // PERF: the spelling of a policy first, because callers mostly spell a key like that, and equal texts are
                // compared at once (`cargo bench --bench serve -- records`).
                for condition in statement.conditions.iter() {
                    keys.insert(&condition.spelled);
                }
                for key in keys_of(statement) {
                    keys.insert(key.folded());
                }
            }
        }
        keys
    }

    /// Returns whether a policy names `key`, ignoring case.
    pub fn contains(&self, key: &str) -> bool {
        let is_it = |known: &SmolStr| known.as_str() == key || known.eq_ignore_ascii_case(key);
        self.0.find(folded_hash(key), is_it).is_some()
    }

    fn insert(&mut self, key: &str) {
        if !self.contains(key) {
            let hash = |key: &SmolStr| folded_hash(key);
            self.0.insert_unique(folded_hash(key), key.into(), hash);
        }
    }
}

/// Returns a hash that ignores case. Only policies choose what is in the table, so a caller who chooses keys makes no
/// chain longer.
fn folded_hash(key: &str) -> u64 {
    // PERF: eight bytes at a time, because every record of the decision log looks up each entry of the context
    // (`cargo bench --bench serve -- records`). The bit of lower case is set in all of them. So some more keys have one
    // hash, but those that differ only in case always do.
    const LOWER_CASE: u64 = u64::from_le_bytes([b' '; 8]);
    let mix = |hash: u64, word: &[u8; 8]| {
        let folded = u64::from_le_bytes(*word) | LOWER_CASE;
        let mixed = (hash ^ folded).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 32 // the table reads the upper bits, too
    };
    let bytes = key.as_bytes();
    let (words, rest) = bytes.as_chunks::<8>();
    // The last word overlaps the one before; a short key is filled up.
    let last = bytes.last_chunk().copied().unwrap_or_else(|| {
        let mut filled = [0; 8];
        for (to, from) in filled.iter_mut().zip(rest) {
            *to = *from;
        }
        filled
    });
    words.iter().chain([&last]).fold(0, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_any_case_and_no_other_is() {
        let mut keys = NamedKeys::default();
        for n in 0..1_000 {
            keys.insert(&format!("app:key{n}"));
        }
        keys.insert("aws:sourceip");
        keys.insert("aws:sourceip");
        assert_eq!(keys.0.len(), 1_001);
        assert!(keys.contains("AWS:SourceIp") && keys.contains("App:Key999"));
        assert!(!keys.contains("app:key1000") && !keys.contains("") && !keys.contains("aws:"));
    }

    #[test]
    fn two_keys_are_one_only_if_they_differ_in_the_case_of_ascii() {
        // Each pair of bytes, at the beginning and at the end of keys with less and more than one word.
        for (a, b) in (0..=0x7f_u8).flat_map(|a| (0..=0x7f).map(move |b| (a, b))) {
            for rest in ["", "aws:Key", "aws:PrincipalTag/"] {
                let keys = [a, b].map(|byte| {
                    let odd = char::from(byte);
                    [format!("{odd}{rest}"), format!("{rest}{odd}")]
                });
                for (of_a, of_b) in keys[0].iter().zip(&keys[1]) {
                    let mut known = NamedKeys::default();
                    known.insert(of_a);
                    assert_eq!(known.contains(of_b), of_a.eq_ignore_ascii_case(of_b));
                }
            }
        }
        let mut known = NamedKeys::default();
        known.insert("app:größe\u{212a}");
        assert!(known.contains("App:größe\u{212a}"));
        assert!(!known.contains("app:grÖße\u{212a}") && !known.contains("app:größek"));
    }

    #[test]
    fn case_does_not_change_a_hash_and_a_thousand_keys_have_as_many() {
        let mut hashes = HashSet::new();
        for n in 0..1_000 {
            let key = format!("orders:ResourceTag/team-{n}");
            for end in 0..=key.len() {
                let (key, hash) = (key.get(..end).unwrap_or_default(), folded_hash);
                assert_eq!(
                    hash(&key.to_ascii_uppercase()),
                    hash(&key.to_ascii_lowercase())
                );
            }
            hashes.insert(folded_hash(&key));
        }
        assert_eq!(hashes.len(), 1_000);
    }
}
