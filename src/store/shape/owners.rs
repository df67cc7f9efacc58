//! The owner of the files in each folder, from the accounts that a store declares.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Folder, FolderOwner, Memory, Owner, Reading, account, with_json};
use crate::language::finding::{Code, Finding, Location};
use crate::name::AccountId;
use crate::store::contents::Contents;
use crate::store::file::{Content, File};
use crate::store::place::{self, Kind, Place};
use crate::world::entity::Account;

/// The owner of each folder, by the folder's name; `None` is the root.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Owners(BTreeMap<Option<String>, FolderOwner>);

impl Owners {
    /// Returns the owner of the file at `path`.
    pub fn of(&self, path: &str) -> Option<&FolderOwner> {
        let folder = place::account_folder(path).map(str::to_owned);
        self.0.get(&folder)
    }

    /// Returns whether a folder that both know has another owner now.
    pub fn contradict(&self, other: &Self) -> bool {
        let mut folders = self.0.iter();
        folders.any(|(name, owner)| other.0.get(name).is_some_and(|other| other != owner))
    }
}

/// The contents of an `account.json`.
#[derive(Debug)]
pub struct Declaration {
    /// The account of its folder and the partition of the root, which both influence its meaning.
    folder: Option<AccountId>,
    default_partition: Option<String>,
    account: Option<Account>,
    findings: Vec<Finding>,
}

/// The accounts of a store, with the errors of their files and folders.
#[derive(Debug, Default)]
pub struct Declared {
    /// The owners of all folders.
    pub owners: Owners,
    /// The accounts in the order of their folders, with the root first.
    pub accounts: Vec<Account>,
    /// The account of the root's `account.json`.
    pub root_account: Option<AccountId>,
    /// The stems of files that have errors.
    pub missing: Vec<String>,
    pub findings: Vec<Finding>,
}

/// A file whose contents are neither remembered nor given.
#[derive(Debug)]
pub struct TextNeeded;

/// Reads which accounts there are. The root comes first, because its partition is the default of the others.
pub fn declared(
    files: &Contents,
    read: &[File],
    unread: &[Place<'_>],
    memory: &mut Memory,
) -> Result<Declared, TextNeeded> {
    let read: HashMap<&str, &File> = read.iter().map(|file| (&*file.path, file)).collect();
    let mut declared = Declared::default();
    let mut root_partition = None;
    for (name, declaration) in folders(files) {
        let id = name.and_then(place::account_of_folder);
        if let (Some(name), None) = (name, &id) {
            declared.findings.push(no_account_id(name));
        }
        let is_unread =
            |place: &Place<'_>| place.kind == Kind::Account && place.account_folder == name;
        let mut owner = FolderOwner {
            is_broken: (name.is_some() && id.is_none()) || unread.iter().any(is_unread),
            partition: root_partition.clone().unwrap_or_else(|| "aws".to_owned()),
            id,
        };
        if let Some(content) = declaration {
            let folder = Folder {
                id: owner.id.clone(),
            };
            let says = match remembered(content, &folder, root_partition.as_ref(), memory) {
                Some(known) => known,
                None => {
                    let file = read.get(&*content.path).ok_or(TextNeeded)?;
                    let partition = root_partition.clone();
                    let says = Arc::new(declaration_in(file, &file.text, folder, partition));
                    if says.account.is_some() {
                        memory.keep_account(file, Arc::clone(&says));
                    } else {
                        memory.forget(&content.path);
                        declared.missing.push("account".to_owned());
                    }
                    says
                }
            };
            declared.findings.extend(says.findings.iter().cloned());
            match &says.account {
                Some(account) => {
                    owner.partition = account.partition.to_string();
                    owner.id = Some(account.id.clone());
                    if !account.id.is_aws() {
                        declared.accounts.push(account.clone());
                    }
                }
                None => owner.is_broken = true,
            }
            if name.is_none() {
                declared.root_account.clone_from(&owner.id);
                root_partition = Some(owner.partition.clone());
            }
        } else if let (Some(name), Some(id)) = (name, &owner.id)
            && !id.is_aws()
        {
            let account = undeclared(name, id, &owner.partition);
            declared.accounts.push(account);
        }
        declared.owners.0.insert(name.map(str::to_owned), owner);
    }
    Ok(declared)
}

/// Returns the folders of accounts, the root first, each with its `account.json` if it has one.
fn folders(files: &Contents) -> BTreeMap<Option<&str>, Option<&Content>> {
    let mut folders = BTreeMap::from([(None, None)]);
    for file in files.iter() {
        let path: &str = &file.path;
        let is_account = path.ends_with("account.json") && Place::of(path).kind == Kind::Account;
        let declaration = folders.entry(place::account_folder(path)).or_default();
        if is_account {
            *declaration = Some(file);
        }
    }
    folders
}

fn no_account_id(folder: &str) -> Finding {
    let message = format!(
        "the folder `{folder}` is not an account id: 12 digits, or letters, digits, `_` and `-`"
    );
    let at = Location::file(format!("accounts/{folder}"));
    Finding::error(Code::INVALID_NAME, at, message)
}

/// Returns the account of a folder without an `account.json`.
fn undeclared(folder: &str, id: &AccountId, partition: &str) -> Account {
    Account {
        id: id.clone(),
        partition: partition.into(),
        alias: None,
        root_user_enabled: false,
        anonymous_allowed: false,
        external: false,
        trust_external_identity: false,
        canonical_user_id: None,
        at: Location::file(format!("accounts/{folder}")),
    }
}

/// Returns the account that an `account.json` with this content declared when it was last read. Returns `None` if the
/// same content would declare another account now.
fn remembered(
    content: &Content,
    folder: &Folder,
    default_partition: Option<&String>,
    memory: &Memory,
) -> Option<Arc<Declaration>> {
    let known = memory.declaration(content)?;
    let is_same =
        known.folder == folder.id && known.default_partition.as_ref() == default_partition;
    is_same.then(|| Arc::clone(known))
}

/// Reads an `account.json`. Returns no account if it has an error.
fn declaration_in(
    file: &File,
    text: &[u8],
    folder: Folder,
    default_partition: Option<String>,
) -> Declaration {
    let mut account = None;
    let place = Place::of(&file.path);
    let findings = with_json(&file.path, text, |node, report| {
        let owner = Owner {
            id: None,
            partition: "aws",
            is_broken: false,
        };
        let mut reading = Reading {
            report,
            place: &place,
            owner,
            is_dump: false,
        };
        account = account::account(node, &folder, default_partition.as_deref(), &mut reading);
    });
    if findings.iter().any(Finding::is_error) {
        account = None;
    }
    Declaration {
        folder: folder.id,
        default_partition,
        account,
        findings,
    }
}
