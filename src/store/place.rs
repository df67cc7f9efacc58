//! The facts that follow from a file's path below the root: its account, its kind, and its default name.

use crate::config::{MAX_DUMP_BYTES, MAX_ENTITY_BYTES};
use crate::name::AccountId;

/// The place of one `*.json` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'p> {
    /// The folder's name in `accounts/<id>/…`. `None` for files of the root itself.
    pub account_folder: Option<&'p str>,
    /// The kind of entity that belongs there.
    pub kind: Kind,
    /// The folders below the kind's own, as an IAM path: `/` or `/eng/`.
    pub iam_path: String,
    /// The file's name without `.json`: the default name of its entity.
    pub stem: &'p str,
    /// The whole path without `.json`. Decisions name SCPs, RCPs and resource policies by it.
    pub policy_name: &'p str,
}

/// The kind of entity that belongs in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Account,
    User,
    Group,
    Role,
    ManagedPolicy,
    ResourcePolicy,
    HttpMapping,
    Organization,
    ServiceControlPolicy,
    ResourceControlPolicy,
    /// The place does not determine a kind, so the file must be a dump.
    Elsewhere,
}

impl Kind {
    /// Returns the most bytes that a file of this kind may have.
    pub fn max_bytes(self) -> u64 {
        match self {
            Self::Elsewhere | Self::Organization => MAX_DUMP_BYTES,
            _ => MAX_ENTITY_BYTES,
        }
    }
}

impl<'p> Place<'p> {
    /// Parses `path`, which is relative to the root, separates its parts by `/` and ends in `.json`.
    pub fn of(path: &'p str) -> Self {
        let policy_name = path.strip_suffix(".json").unwrap_or(path);
        let (account_folder, below) = match path
            .strip_prefix("accounts/")
            .and_then(|rest| rest.split_once('/'))
        {
            Some((folder, below)) => (Some(folder), below),
            None => (None, path),
        };
        let (folders, name) = below
            .rsplit_once('/')
            .map_or(("", below), |(folders, name)| (folders, name));
        let stem = name.strip_suffix(".json").unwrap_or(name);
        let (top, deeper) = folders.split_once('/').unwrap_or((folders, ""));
        let kind = match (top, stem) {
            ("", "account") => Kind::Account,
            ("", "http-mapping") => Kind::HttpMapping,
            ("", "organization") if account_folder.is_none() => Kind::Organization,
            ("users", _) => Kind::User,
            ("groups", _) => Kind::Group,
            ("roles", _) => Kind::Role,
            ("managed-policies", _) => Kind::ManagedPolicy,
            ("resource-policies", _) => Kind::ResourcePolicy,
            ("service-control-policies", _) if account_folder.is_none() => {
                Kind::ServiceControlPolicy
            }
            ("resource-control-policies", _) if account_folder.is_none() => {
                Kind::ResourceControlPolicy
            }
            _ => Kind::Elsewhere,
        };
        let iam_path = if deeper.is_empty() {
            "/".to_owned()
        } else {
            format!("/{deeper}/")
        };
        Self {
            account_folder,
            kind,
            iam_path,
            stem,
            policy_name,
        }
    }
}

/// Returns the folder below `accounts/` that holds the file at `path`. Returns `None` for files of the root itself.
pub fn account_folder(path: &str) -> Option<&str> {
    let (folder, _) = path.strip_prefix("accounts/")?.split_once('/')?;
    Some(folder)
}

/// Returns whether the folder at `path` holds policy tests, which the loader skips.
pub fn is_tests_folder(path: &str) -> bool {
    let below = path
        .strip_prefix("accounts/")
        .and_then(|rest| rest.split_once('/'))
        .map_or(path, |(_, below)| below);
    below == "tests"
}

/// Returns the account of the folder `accounts/<folder>/`.
pub fn account_of_folder(folder: &str) -> Option<AccountId> {
    AccountId::parse(folder).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_says_whose_a_file_is_and_what_it_would_be_called() {
        let place = Place::of("users/eng/db/alice.json");
        assert_eq!((place.kind, place.account_folder), (Kind::User, None));
        assert_eq!((place.iam_path.as_str(), place.stem), ("/eng/db/", "alice"));
        let place = Place::of("accounts/444455556666/managed-policies/ReadOrders.json");
        assert_eq!(
            (place.kind, place.account_folder),
            (Kind::ManagedPolicy, Some("444455556666"))
        );
        assert_eq!((place.iam_path.as_str(), place.stem), ("/", "ReadOrders"));
        assert_eq!(
            Place::of("resource-policies/a/b.json").policy_name,
            "resource-policies/a/b"
        );
    }

    #[test]
    fn a_place_that_says_nothing_is_elsewhere() {
        for path in [
            "alice.json",
            "user/alice.json",
            "accounts/1/organization.json",
            "accounts/1/x/users/a.json",
            "accounts/x.json",
        ] {
            assert_eq!(Place::of(path).kind, Kind::Elsewhere, "{path}");
        }
        assert!(is_tests_folder("tests") && is_tests_folder("accounts/1/tests"));
        assert!(!is_tests_folder("users/tests") && !is_tests_folder("accounts/tests"));
    }
}
