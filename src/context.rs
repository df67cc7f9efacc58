//! The context of a request: context keys and their values.

use arrayvec::ArrayVec;

mod key;
#[cfg(test)]
mod tests;
mod value;

pub use key::{ContextKey, GivenKey, KeyKind, Kinds};
pub use value::ContextValue;

/// The most entries of a context that are searched by their fingerprints.
const MAX_COMPARED: usize = 16;

/// One entry of a [`Context`]: a key and its value.
#[derive(Clone, Debug)]
pub struct ContextEntry<'q> {
    /// The key.
    pub key: GivenKey<'q>,
    /// The value.
    pub value: ContextValue<'q>,
}

/// The context of a request. No two keys are equal ignoring case (C-4).
#[derive(Clone, Debug)]
pub struct Context<'q> {
    /// INVARIANT: if there are more than [`MAX_COMPARED`], they are sorted by their keys; `finish` holds it.
    entries: Vec<ContextEntry<'q>>,
    /// The fingerprints of the first keys, in the order given. All of them are here unless the entries are sorted.
    ///
    /// PERF: they are stored together, because most keys that are looked up are absent, and nearly all keys differ in
    /// this number.
    fingerprints: ArrayVec<u32, MAX_COMPARED>,
    /// Whether two keys have the same fingerprint. They are nearly always the same key.
    is_ambiguous: bool,
    kinds: Kinds,
}

impl<'q> Context<'q> {
    /// Returns a context without entries, with space for `n_entries`.
    pub fn with_capacity(n_entries: usize) -> Self {
        Self {
            entries: Vec::with_capacity(n_entries),
            fingerprints: ArrayVec::new(),
            is_ambiguous: false,
            kinds: Kinds::default(),
        }
    }

    /// Adds an entry whose key is spelled `spelled`. After the last one, [`finish`](Self::finish) must be called.
    #[inline]
    pub fn push(&mut self, spelled: &'q str, value: ContextValue<'q>) {
        let key = GivenKey::new(spelled);
        self.kinds.insert(key.kind());
        let fingerprint = key.fingerprint();
        self.is_ambiguous |= self.fingerprints.contains(&fingerprint);
        // There is no space for more than are compared.
        _ = self.fingerprints.try_push(fingerprint);
        self.entries.push(ContextEntry { key, value });
    }

    /// Checks that no key is given twice. Fails with the spelling of one that is.
    pub fn finish(mut self) -> Result<Self, DuplicateKey> {
        let twice = if self.entries.len() > MAX_COMPARED {
            self.entries.sort_by(|one, other| one.key.order(&other.key));
            let mut pairs = self.entries.windows(2);
            pairs.find_map(|pair| match pair {
                [one, other] if one.key.is_same(&other.key) => Some(other),
                _ => None,
            })
        } else if self.is_ambiguous {
            self.first_repeated()
        } else {
            None
        };
        match twice {
            Some(entry) => Err(DuplicateKey(entry.key.spelled().to_owned())),
            None => Ok(self),
        }
    }

    /// Returns the first entry whose key another one has before it.
    #[cold]
    fn first_repeated(&self) -> Option<&ContextEntry<'q>> {
        let mut numbered = self.entries.iter().enumerate();
        let found = numbered.find(|(at, entry)| {
            let mut before = self.entries.iter().take(*at);
            before.any(|earlier| earlier.key.is_same(&entry.key))
        });
        found.map(|(_, entry)| entry)
    }

    /// Returns the entry of `key`, whose value may be the empty list.
    pub fn entry(&self, key: &ContextKey) -> Option<&ContextEntry<'q>> {
        if self.entries.len() > MAX_COMPARED {
            let order = |entry: &ContextEntry<'_>| entry.key.order_to(key);
            return self.entries.get(self.entries.binary_search_by(order).ok()?);
        }
        let wanted = key.fingerprint();
        let mut fingerprints = self.fingerprints.iter();
        let at = fingerprints.position(|fingerprint| *fingerprint == wanted)?;
        match self.entries.get(at) {
            Some(entry) if entry.key.is(key) => Some(entry),
            // Another key has the same fingerprint, and ours may come after it.
            _ => self.entries.iter().find(|entry| entry.key.is(key)),
        }
    }

    /// Returns the value of `key`, if the caller gave one. Returns `None` for the empty list (C-7).
    pub fn get(&self, key: &ContextKey) -> Option<&ContextValue<'q>> {
        let value = self.entry(key).map(|entry| &entry.value);
        value.filter(|value| !value.is_empty())
    }

    /// Returns the value of the one key of this kind, if the caller gave one. Returns `None` for the empty list (C-7).
    pub fn get_kind(&self, kind: KeyKind) -> Option<&ContextValue<'q>> {
        if !self.kinds.meet(Kinds::of(&[kind])) {
            return None;
        }
        let mut entries = self.entries.iter();
        let value = entries.find(|entry| entry.key.kind() == kind);
        let value = value.map(|entry| &entry.value);
        value.filter(|value| !value.is_empty())
    }

    /// Returns the tags in the request: entries `aws:RequestTag/…` that have a value (C-7).
    pub fn request_tags(&self) -> impl Iterator<Item = &ContextEntry<'q>> {
        self.entries
            .iter()
            .filter(|entry| entry.key.kind() == KeyKind::RequestTag && !entry.value.is_empty())
    }

    /// Returns whether every key is of one of these kinds.
    pub fn has_only(&self, kinds: Kinds) -> bool {
        self.kinds.are_all_in(kinds)
    }

    /// Returns all entries, in no particular order.
    pub fn entries(&self) -> &[ContextEntry<'q>] {
        &self.entries
    }
}

/// Two context keys are equal ignoring case (C-4). The error holds one spelling of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateKey(pub String);
