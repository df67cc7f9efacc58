//! Users and roles as the tables have them.

use std::sync::Arc;

use super::accounts::AccountRow;
use super::sets::SetId;
use super::tags::Tags;
use crate::name::{AccountId, Arn};

/// A user or a role.
#[derive(Debug, PartialEq)]
pub struct Entity {
    /// Its ARN.
    pub arn: Arn,
    /// Its account.
    pub account: AccountId,
    /// The same, if it can be a principal: it is not disabled (E-3), and its account is of its own partition and
    /// not external.
    pub home: Option<AccountRow>,
    /// Its friendly name.
    pub name: Box<str>,
    /// `AIDA…`, `AROA…`.
    pub unique_id: Option<Box<str>>,
    /// Inline and attached ones, those of its groups included (E-8).
    pub identity: Option<SetId>,
    /// Whose the last of them are, group by group, in their order.
    pub groups: Box<[GroupShare]>,
    /// At most one (E-8).
    pub permissions_boundary: Option<SetId>,
    /// Its tags.
    pub tags: Tags,
    /// Disabled entities are unknown (E-3).
    pub disabled: bool,
    /// What only roles have.
    pub role: Option<Role>,
}

/// What a user has from one group.
#[derive(Debug, PartialEq)]
pub struct GroupShare {
    /// The group's name; users of one group share it.
    pub name: Arc<str>,
    /// How many policies.
    pub n_policies: usize,
}

/// What only roles have.
#[derive(Debug, PartialEq)]
pub struct Role {
    /// Its trust policy (T-1).
    pub trust: SetId,
    /// E-27.
    pub service_linked: bool,
    /// Seconds (T-31).
    pub max_session_duration: u32,
}
