//! Rare cases that a question met. They affect nothing except the count of what was tested.

use super::context::{OF_CREDENTIALS, OF_SOURCES};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Met {
    /// E-6, X-5: the resource is an ARN of AWS's partitions.
    UnknownOwner,
    /// E-27: the caller is a service, and otherwise RCPs would be in play.
    ServiceAtServiceLinkedRole,
    /// T-8: an inherited tag is not the role's.
    DifferingTag,
    ReadDifferingTag,
    /// V-9: a negated operator read a variable without a value.
    ValuelessUnderNegation,
    /// T-43: `Null` read the unknown issue time.
    NullOfUnknownIssueTime,
    /// A condition read a key of K-8 that has a value.
    ReadAttribute,
    /// A condition read a key of K-9 that has a value.
    ReadSource,
    /// A condition read `SERVICE:ResourceTag/k` of the resource, with a value.
    ReadTagByService,
    /// T-22: a condition read a claim of the provider that asks, or that the session came from.
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

    /// Returns the minimum share of the questions of the laws, in percent.
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

    /// Returns the case of reading `key`, in lower case, when it has a value.
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
