//! What a question came across that few questions do: nothing hangs on it but the count of what was tried.

use super::context::{OF_CREDENTIALS, OF_SOURCES};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Met {
    /// E-6, X-5: of an ARN of AWS's partitions.
    UnknownOwner,
    /// E-27: a service, where RCPs would be in play.
    ServiceAtServiceLinkedRole,
    /// T-8: an inherited tag that is not the role's.
    DifferingTag,
    ReadDifferingTag,
    /// V-9.
    ValuelessUnderNegation,
    /// T-43.
    NullOfUnknownIssueTime,
    /// A key of K-8 that has a value.
    ReadAttribute,
    /// A key of K-9 that has a value.
    ReadSource,
    /// `SERVICE:ResourceTag/k` of the resource, with a value.
    ReadTagByService,
    /// T-22: of the provider that asks, or that the session came of.
    ReadClaim,
}

impl Met {
    pub const ALL: [Self; 10] = [
        Self::UnknownOwner,
        Self::ServiceAtServiceLinkedRole,
        Self::DifferingTag,
        Self::ReadDifferingTag,
        Self::ValuelessUnderNegation,
        Self::NullOfUnknownIssueTime,
        Self::ReadAttribute,
        Self::ReadSource,
        Self::ReadTagByService,
        Self::ReadClaim,
    ];

    /// In so many percent of the questions of the laws it must come up.
    pub fn least(self) -> f64 {
        match self {
            Self::ReadAttribute
            | Self::ReadClaim
            | Self::ReadDifferingTag
            | Self::ReadSource
            | Self::ReadTagByService => 0.2,
            _ => 2.0,
        }
    }

    /// What it is to read `key`, in lower case, where it has a value.
    pub fn of_reading(key: &str) -> Option<Self> {
        let (family, _) = key.split_once(":resourcetag/").unwrap_or_default();
        if OF_CREDENTIALS.contains(&key) {
            Some(Self::ReadAttribute)
        } else if OF_SOURCES.contains(&key) {
            Some(Self::ReadSource)
        } else if !["", "aws"].contains(&family) {
            Some(Self::ReadTagByService)
        } else {
            None
        }
    }
}
