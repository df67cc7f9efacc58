//! The tags of a user, role, managed policy or resource.

use crate::context::ContextKey;
use crate::world::entity::Tags as WrittenTags;

/// A key and its value.
type Tag = (ContextKey, Box<str>);

/// Tags, found by key ignoring ASCII case. Most things have none, which takes no memory elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Option<Box<[Tag]>>);

impl Tags {
    /// No tags.
    pub const NONE: Self = Self(None);

    /// Returns the tags with these keys and values.
    ///
    /// INVARIANT: keys are unique ignoring case; the code that reads the tags has checked it.
    pub fn new<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let tags = tags.into_iter();
        let tags: Vec<_> = tags
            .map(|(key, value)| (ContextKey::new(key), value.into()))
            .collect();
        Self((!tags.is_empty()).then(|| tags.into()))
    }

    /// Returns how many tags there are. Finding one tag goes through all of them.
    pub fn n_tags(&self) -> usize {
        self.all().len()
    }

    fn all(&self) -> &[Tag] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Returns the value of the tag whose key is `folded` in lower case.
    pub fn get(&self, folded: &str) -> Option<&str> {
        self.all()
            .iter()
            .find(|(key, _)| key.folded() == folded)
            .map(|(_, value)| &**value)
    }
}

impl From<&WrittenTags> for Tags {
    fn from(written: &WrittenTags) -> Self {
        Self::new(written.iter().map(|(key, value)| (&**key, &**value)))
    }
}
