//! The names to which entities can refer.

use std::collections::{BTreeMap, HashSet};

use crate::name::AccountId;
use crate::world::Entities;
use crate::world::entity::{Account, Identity};

/// The entities of a store, for checks of references to them.
pub trait Directory {
    /// Returns whether there is a managed policy with this ARN.
    fn has_policy(&self, arn: &str) -> bool;
    /// Returns whether the account has a group of this name.
    fn has_group(&self, account: &AccountId, name: &str) -> bool;
    /// Returns whether there is a user or role with this ARN.
    fn has_principal(&self, arn: &str) -> bool;
    /// Returns whether the account has a role of this name.
    fn has_role(&self, account: &AccountId, name: &str) -> bool;
    /// Returns whether a user or role has this unique id.
    fn has_unique_id(&self, id: &str) -> bool;
    /// Returns whether the account is outside of the store, or `None` if the store has no such account.
    fn is_external(&self, account: &str) -> Option<bool>;

    /// Returns the ARNs of managed policies, for suggestions.
    fn policies(&self) -> Vec<&str> {
        Vec::new()
    }
    /// Returns the names of the account's groups, for suggestions.
    fn groups_of(&self, _account: &AccountId) -> Vec<&str> {
        Vec::new()
    }
    /// Returns all accounts, for suggestions.
    fn accounts(&self) -> Vec<&str> {
        Vec::new()
    }
}

/// The names of entities that are about to become a world.
pub(super) struct Names<'e> {
    accounts: &'e BTreeMap<AccountId, Account>,
    policies: HashSet<&'e str>,
    groups: HashSet<(&'e str, &'e str)>,
    /// ARNs of users and roles.
    principals: HashSet<&'e str>,
    roles: HashSet<(&'e str, &'e str)>,
    unique_ids: HashSet<&'e str>,
}

impl<'e> Names<'e> {
    pub(super) fn of(entities: &'e Entities, accounts: &'e BTreeMap<AccountId, Account>) -> Self {
        let users = || entities.users.iter().map(|user| &user.identity);
        let roles = || entities.roles.iter().map(|role| &role.identity);
        let named = |identity: &'e Identity| (identity.account.as_str(), identity.name());
        Self {
            accounts,
            policies: entities
                .managed_policies
                .iter()
                .map(|policy| policy.identity.arn.as_str())
                .collect(),
            groups: entities
                .groups
                .iter()
                .map(|group| named(&group.identity))
                .collect(),
            principals: users()
                .chain(roles())
                .map(|identity| identity.arn.as_str())
                .collect(),
            roles: roles().map(named).collect(),
            unique_ids: users()
                .chain(roles())
                .filter_map(|identity| identity.unique_id.as_deref())
                .collect(),
        }
    }
}

impl Directory for Names<'_> {
    fn has_policy(&self, arn: &str) -> bool {
        self.policies.contains(arn)
    }

    fn has_group(&self, account: &AccountId, name: &str) -> bool {
        self.groups.contains(&(account.as_str(), name))
    }

    fn has_principal(&self, arn: &str) -> bool {
        self.principals.contains(arn)
    }

    fn has_role(&self, account: &AccountId, name: &str) -> bool {
        self.roles.contains(&(account.as_str(), name))
    }

    fn has_unique_id(&self, id: &str) -> bool {
        self.unique_ids.contains(id)
    }

    fn is_external(&self, account: &str) -> Option<bool> {
        self.accounts.get(account).map(|account| account.external)
    }

    fn policies(&self) -> Vec<&str> {
        let mut policies: Vec<_> = self.policies.iter().copied().collect();
        policies.sort_unstable();
        policies
    }

    fn groups_of(&self, account: &AccountId) -> Vec<&str> {
        let of_account = self
            .groups
            .iter()
            .filter(|(owner, _)| *owner == account.as_str());
        let mut groups: Vec<_> = of_account.map(|(_, name)| *name).collect();
        groups.sort_unstable();
        groups
    }

    fn accounts(&self) -> Vec<&str> {
        self.accounts.keys().map(AccountId::as_str).collect()
    }
}
