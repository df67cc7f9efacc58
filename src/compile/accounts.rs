//! The accounts of a store, found by their ids.

use hashbrown::HashTable;

use super::shared_sets::SetId;
use crate::name::{AccountId, hash_of};

/// The accounts of the store, and those that it declares as external.
#[derive(Debug, Default)]
pub struct Accounts {
    rows: Box<[Account]>,
    by_id: HashTable<AccountRow>,
}

/// The index of an account in the `Accounts` of one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountRow(u32);

/// An account of the store, or one that it declares as external.
#[derive(Debug)]
pub struct Account {
    /// The account.
    pub id: AccountId,
    /// Its partition. The same name in another partition is another principal.
    pub partition: Box<str>,
    /// Whether the account's root user may be a principal (E-50).
    pub root_user_enabled: bool,
    /// Whether policies of this account may allow anonymous callers (E-51).
    pub anonymous_allowed: bool,
    /// Whether the store only declares the account, as external.
    pub external: bool,
    /// Whether the identity side of the external account counts as an allow.
    pub trust_external_identity: bool,
    /// The canonical user id that S3 gives the account (P-1).
    pub canonical_user_id: Option<Box<str>>,
    /// Its place in the organization.
    pub membership: Option<Membership>,
}

/// An account's place in an organization.
#[derive(Debug)]
pub struct Membership {
    /// `o-…`.
    pub organization: Box<str>,
    /// The path from the organization to the account's parent: `o-x/r-y/ou-z/`.
    pub path: Box<str>,
    /// Whether it is the account that manages the organization (T-11).
    pub is_management: bool,
    /// One level of SCPs per node from the root to the account (E-21). `None` if SCPs are not in play (E-20, E-30).
    pub service_control: Option<Vec<Option<SetId>>>,
    /// The same for RCPs, without the built-in one that every level has (E-26).
    pub resource_control: Option<Vec<Option<SetId>>>,
}

impl Account {
    /// Returns an account with nothing in it.
    pub fn empty(id: AccountId, partition: &str) -> Self {
        Self {
            id,
            partition: partition.into(),
            root_user_enabled: false,
            anonymous_allowed: false,
            external: false,
            trust_external_identity: false,
            canonical_user_id: None,
            membership: None,
        }
    }
}

impl Accounts {
    pub(super) fn new(accounts: impl Iterator<Item = Account>) -> Self {
        let rows: Box<[Account]> = accounts.collect();
        let mut by_id = HashTable::with_capacity(rows.len());
        let hash_at = |row: &AccountRow| rows.get(row.0 as usize).map_or(0, hash);
        for (row, account) in (0..).map(AccountRow).zip(&rows) {
            by_id.insert_unique(hash(account), row, hash_at);
        }
        Self { rows, by_id }
    }

    /// Returns the row of the account called `id`.
    pub fn row(&self, id: &str) -> Option<AccountRow> {
        let is_it = |row: &AccountRow| self.get(*row).is_some_and(|row| row.id.as_str() == id);
        self.by_id.find(hash_of(id), is_it).copied()
    }

    /// Returns the account in `row`.
    pub fn get(&self, row: AccountRow) -> Option<&Account> {
        self.rows.get(row.0 as usize)
    }

    /// Returns the account called `id`.
    pub fn find(&self, id: &str) -> Option<&Account> {
        self.get(self.row(id)?)
    }

    /// Iterates over all accounts, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Account> {
        self.rows.iter()
    }

    /// Returns whether there is more than one account, not counting the pseudo-account of AWS.
    pub fn are_several(&self) -> bool {
        self.rows
            .iter()
            .filter(|row| !row.id.is_aws())
            .nth(1)
            .is_some()
    }

    /// Returns the only account, if there is exactly one.
    pub fn only(&self) -> Option<&Account> {
        match &*self.rows {
            [account] => Some(account),
            _ => None,
        }
    }
}

fn hash(account: &Account) -> u64 {
    hash_of(account.id.as_str())
}
