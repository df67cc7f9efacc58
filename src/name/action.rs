//! The name of an action.

use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::FixedState;
use smol_str::{SmolStr, StrExt};

use super::remembered::Remembered;
use super::text::{Malformed, at_first, is_action_character, is_service_prefix};

/// The actions that the rules of evaluation name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionKind {
    /// `iam:PassRole` (T-50).
    PassRole,
    /// `sts:AssumeRole`.
    AssumeRole,
    /// `sts:AssumeRoleWithWebIdentity` (T-20).
    AssumeRoleWithWebIdentity,
    /// `sts:AssumeRoleWithSAML` (T-20).
    AssumeRoleWithSaml,
    /// `sts:TagSession` (T-35).
    TagSession,
    /// `sts:SetSourceIdentity` (T-39).
    SetSourceIdentity,
    /// `sts:SetContext` (T-10).
    SetContext,
    /// `sts:AssumeRoot` (T-11).
    AssumeRoot,
    /// Any other action.
    Other,
}

impl ActionKind {
    fn of(folded: &str) -> Self {
        match folded {
            "iam:passrole" => Self::PassRole,
            "sts:assumerole" => Self::AssumeRole,
            "sts:assumerolewithwebidentity" => Self::AssumeRoleWithWebIdentity,
            "sts:assumerolewithsaml" => Self::AssumeRoleWithSaml,
            "sts:tagsession" => Self::TagSession,
            "sts:setsourceidentity" => Self::SetSourceIdentity,
            "sts:setcontext" => Self::SetContext,
            "sts:assumeroot" => Self::AssumeRoot,
            _ => Self::Other,
        }
    }

    /// Returns whether a role's trust policy decides about it (T-1, T-6).
    pub fn is_of_trust(self) -> bool {
        !matches!(self, Self::PassRole | Self::AssumeRoot | Self::Other)
    }

    /// Returns whether it requests credentials, by T-6 or T-11.
    pub fn is_issuing(self) -> bool {
        self.is_of_trust() || self == Self::AssumeRoot
    }
}

/// A concrete action, `service:name` (M-1), lower-cased because case never matters (M-2).
#[derive(Clone, Debug, Eq)]
pub struct Action {
    folded: SmolStr,
    /// The hash of `folded`.
    hash: u64,
    /// The kind of `folded`.
    kind: ActionKind,
    /// INVARIANT: the offset of the only colon.
    colon: usize,
}

thread_local! {
    /// The actions of the questions that this thread has read.
    static REMEMBERED: RefCell<Remembered<Action>> = const { RefCell::new(Remembered::NOTHING) };
}

impl Action {
    /// Parses an action of the characters of G-27, without wildcards.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        REMEMBERED.with_borrow_mut(|remembered| remembered.get(text, Self::parse_new))
    }

    fn parse_new(text: &str) -> Result<Self, Malformed> {
        let concrete = at_first(b':', text).filter(|(service, name)| {
            is_service_prefix(service) && !name.is_empty() && name.bytes().all(is_action_character)
        });
        let Some((service, _)) = concrete else {
            return Err(malformed(text));
        };
        let folded = text.to_ascii_lowercase_smolstr();
        Ok(Self {
            colon: service.len(),
            hash: action_fingerprint(folded.as_bytes()),
            kind: ActionKind::of(&folded),
            folded,
        })
    }

    /// Returns a hash of the whole text, computed once for all tables. It is the same in every process, so no table may
    /// rely on it being unpredictable.
    pub fn fingerprint(&self) -> u64 {
        self.hash
    }

    /// Returns which of the named actions it is.
    pub fn kind(&self) -> ActionKind {
        self.kind
    }

    /// Returns the service prefix, lower-cased.
    pub fn service(&self) -> &str {
        self.folded.get(..self.colon).unwrap_or("")
    }

    /// Returns the name after the colon, lower-cased.
    pub fn name(&self) -> &str {
        self.folded.get(self.colon + 1..).unwrap_or("")
    }

    /// Returns the whole text, lower-cased.
    pub fn as_str(&self) -> &str {
        &self.folded
    }
}

#[cold]
fn malformed(text: &str) -> Malformed {
    Malformed::because(format!(
        "action `{text}` must be `service:Name` of letters, digits and `._/-`, without wildcards"
    ))
}

impl PartialEq for Action {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.folded == other.folded
    }
}

impl Hash for Action {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Returns the fingerprint of the action with this text in lower case.
pub(crate) fn action_fingerprint(folded: &[u8]) -> u64 {
    let mut hasher = FixedState::with_seed(0).build_hasher();
    hasher.write(folded);
    hasher.finish()
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.folded)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn an_action_is_concrete_and_has_one_colon() {
        assert_eq!(
            Action::parse("Orders:Refund/v1.x").unwrap().as_str(),
            "orders:refund/v1.x",
            "M-1, M-2"
        );
        for bad in [
            "",
            "orders",
            "orders:",
            ":Get",
            "orders:Get*",
            "orders:G?t",
            "a:b:c",
            "orders: Get",
            "*",
            "ord ers:Get",
        ] {
            assert!(Action::parse(bad).is_err(), "M-1: {bad}");
        }
    }
}
