//! Users and roles as the tables store them.

use std::sync::Arc;

use super::accounts::AccountRow;
use super::shared_sets::SetId;
use super::tags::Tags;
use crate::name::{AccountId, Arn};

/// A user or a role.
#[derive(Debug, PartialEq)]
pub struct Entity {
    /// Its ARN.
    pub arn: Arn,
    /// Its account.
    pub account: AccountId,
    /// The row of its account, if the entity can be a principal. It can be one if it is not disabled (E-3), and if its
    /// account is in its own partition and is not external.
    pub home: Option<AccountRow>,
    /// Where its friendly name begins in the ARN: see [`Entity::place_of_name`].
    pub name_at: u32,
    /// Its unique id: `AIDA…` or `AROA…`.
    pub unique_id: Option<Box<str>>,
    /// Its inline and attached identity policies, including those of its groups (E-8).
    pub identity: Option<SetId>,
    /// The groups that the last of these policies come from, in their order.
    pub groups: Box<[GroupShare]>,
    /// Its permissions boundary: at most one policy (E-8).
    pub permissions_boundary: Option<SetId>,
    /// Its tags.
    pub tags: Tags,
    /// Disabled entities are unknown (E-3).
    pub disabled: bool,
    /// The fields that only roles have.
    pub role: Option<Role>,
}

impl Entity {
    /// Returns the sets that it has: its identity policies, its boundary, and who may assume it.
    pub(super) fn sets(&self) -> [Option<SetId>; 3] {
        let trust = self.role.as_ref().map(|role| role.trust);
        [self.identity, self.permissions_boundary, trust]
    }

    /// Returns the offset of the friendly name in the ARN of a user or role.
    pub fn place_of_name(arn: &Arn) -> u32 {
        let slash = arn.as_str().rfind('/');
        // INVARIANT: a name comes from a file or a question, both of which are shorter than 4 GiB.
        slash.map_or(0, |slash| u32::try_from(slash + 1).unwrap_or(0))
    }

    /// Returns its friendly name, which is the text after the last `/` of the ARN.
    pub fn name(&self) -> &str {
        let name = self.arn.as_str().get(self.name_at as usize..);
        name.unwrap_or_default()
    }
}

/// The share of a user's policies that comes from one group.
#[derive(Debug, PartialEq)]
pub struct GroupShare {
    /// The group's name; users of one group share it.
    pub name: Arc<str>,
    /// How many policies come from the group.
    pub n_policies: usize,
}

/// The fields that only roles have.
#[derive(Debug, PartialEq)]
pub struct Role {
    /// Its trust policy (T-1).
    pub trust: SetId,
    /// Whether it is a service-linked role (E-27).
    pub service_linked: bool,
    /// Its longest session, in seconds (T-31).
    pub max_session_duration: u32,
}
