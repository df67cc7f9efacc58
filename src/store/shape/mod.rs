//! JSON in the shapes that AWS's tools print → the entities of a world.
//!
//! A file's place says what it holds ([`Place`]), and its owner: the folder below `accounts/`, else the root's
//! `account.json`. So accounts are read first. What stands at a place that says nothing must be a dump, which any
//! `*.json` with AWS's lists is; each entity of a dump belongs to the account in its ARN.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::place::{self, Kind, Place};
use super::read::File;
use crate::language::document::PolicyType;
use crate::language::finding::{Code, Finding, Location, did_you_mean};
use crate::language::json::{self, Node, Value};
use crate::language::report::{Base, Report};
use crate::name::AccountId;
use crate::world::Entities;
use crate::world::build::Missing;
use crate::world::entity::Account;

mod account;
mod entity;
mod lone;
mod members;
mod memory;
mod organization;
mod policy;

use members::Members;
use memory::Fragment;
pub use memory::Memory;

pub use lone::lone_file;

/// The deepest nesting of a file.
const MAX_FILE_DEPTH: usize = 64;

/// The lists of a dump.
const DUMP_LISTS: [&str; 4] = [
    "UserDetailList",
    "GroupDetailList",
    "RoleDetailList",
    "Policies",
];

/// What the files of a store say.
#[derive(Debug, Default)]
pub struct Shaped {
    /// All that could be read.
    pub entities: Entities,
    /// The account of the root's `account.json`.
    pub root_account: Option<AccountId>,
    /// What may exist, in files that could not be read.
    pub missing: Missing,
    /// About the files.
    pub findings: Vec<Finding>,
}

/// An account's folder: the root itself, or one below `accounts/`.
struct Folder {
    /// None for the root, or when the folder's name is no account id.
    id: Option<AccountId>,
}

/// To whom the entities of a folder belong.
#[derive(Clone, Debug, PartialEq)]
struct FolderOwner {
    id: Option<AccountId>,
    partition: String,
    /// Its `account.json` or name is wrong, which has been said.
    is_broken: bool,
}

/// To whom the entities of a file belong, unless their ARNs say otherwise.
struct Owner<'o> {
    id: Option<&'o AccountId>,
    partition: &'o str,
    is_broken: bool,
}

/// What the readers of one file share.
struct Reading<'r, 'f> {
    report: &'r mut Report<'f>,
    place: &'r Place<'r>,
    owner: Owner<'r>,
    is_dump: bool,
}

impl Reading<'_, '_> {
    /// Whether an entity with an ARN of `account` may stand here, although this place belongs to another one: a dump
    /// holds the AWS-managed policies too, and a dump at the root may be of any account.
    fn may_belong_to(&self, account: &AccountId) -> bool {
        self.is_dump && (account.is_aws() || self.place.account_folder.is_none())
    }
}

/// Reads all files of a store. What is wrong with the files of `unread` has been said. What `memory` knows of files
/// with the same content is taken from there, and afterwards it knows these files and no others.
pub fn entities(files: &[File], unread: &[Place<'_>], memory: &mut Memory) -> Shaped {
    let mut reader = Reader {
        known: std::mem::take(memory),
        ..Reader::default()
    };
    reader.read_accounts(files, unread);
    for file in files {
        reader.read_or_remember(file);
    }
    *memory = reader.learned;
    reader.shaped
}

#[derive(Default)]
struct Reader {
    shaped: Shaped,
    known: Memory,
    learned: Memory,
    /// By the folder's name; `None` is the root.
    owners: BTreeMap<Option<String>, FolderOwner>,
    /// What the AWS-managed policies that were read say, by ARN.
    aws_managed: BTreeMap<String, String>,
}

impl Reader {
    /// Learns which accounts there are. The root comes first: its partition is the default of the others.
    fn read_accounts(&mut self, files: &[File], unread: &[Place<'_>]) {
        let mut folders: BTreeMap<Option<&str>, Option<&File>> = BTreeMap::from([(None, None)]);
        for file in files {
            let place = Place::of(&file.path);
            let declaration = folders.entry(place.account_folder).or_default();
            if place.kind == Kind::Account {
                *declaration = Some(file);
            }
        }
        let mut root_partition = None;
        for (name, declaration) in folders {
            let id = name.and_then(place::account_of_folder);
            if let (Some(name), None) = (name, &id) {
                let message = format!(
                    "the folder `{name}` is no account id: 12 digits, or letters, digits, `_` and `-`"
                );
                let finding = Finding::error(
                    Code::INVALID_NAME,
                    Location::file(format!("accounts/{name}")),
                    message,
                );
                self.shaped.findings.push(finding);
            }
            let mut owner = FolderOwner {
                is_broken: (name.is_some() && id.is_none())
                    || unread
                        .iter()
                        .any(|place| place.kind == Kind::Account && place.account_folder == name),
                partition: root_partition.clone().unwrap_or_else(|| "aws".to_owned()),
                id,
            };
            if let Some(file) = declaration {
                let folder = Folder {
                    id: owner.id.clone(),
                };
                let default = root_partition.as_deref();
                let account = self.account(file, &folder, default);
                match account {
                    Some(account) => {
                        owner.partition.clone_from(&account.partition);
                        owner.id = Some(account.id.clone());
                        if !account.id.is_aws() {
                            self.shaped.entities.accounts.push(account);
                        }
                    }
                    None => owner.is_broken = true,
                }
                if name.is_none() {
                    self.shaped.root_account.clone_from(&owner.id);
                    root_partition = Some(owner.partition.clone());
                }
            } else if let (Some(name), Some(id)) = (name, &owner.id)
                && !id.is_aws()
            {
                self.shaped.entities.accounts.push(Account {
                    id: id.clone(),
                    partition: owner.partition.clone(),
                    alias: None,
                    root_user_enabled: false,
                    anonymous_allowed: false,
                    external: false,
                    trust_external_identity: false,
                    canonical_user_id: None,
                    at: Location::file(format!("accounts/{name}")),
                });
            }
            self.owners.insert(name.map(str::to_owned), owner);
        }
    }

    fn account(
        &mut self,
        file: &File,
        folder: &Folder,
        default_partition: Option<&str>,
    ) -> Option<Account> {
        let mut account = None;
        let place = Place::of(&file.path);
        let findings = with_json(file, |node, report| {
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
            account = account::account(node, folder, default_partition, &mut reading);
        });
        let has_errors = findings.iter().any(Finding::is_error);
        if has_errors {
            self.shaped.missing.names.insert(place.stem.to_owned());
        }
        self.shaped.findings.extend(findings);
        account.filter(|_| !has_errors)
    }

    /// Reads one file, unless the same content was read at the same place before.
    fn read_or_remember(&mut self, file: &File) {
        let owner = self.owner_of(file);
        if let Some(fragment) = self.known.take(file, owner.as_ref()) {
            self.add(fragment.entities.clone(), fragment.findings.clone());
            self.learned.keep(file, owner, fragment);
            return;
        }
        let others = std::mem::take(&mut self.shaped);
        self.read(file);
        let read = std::mem::replace(&mut self.shaped, others);
        let is_good = !read.findings.iter().any(Finding::is_error);
        // What AWS manages may stand in several dumps, so what one of them adds depends on the others.
        let is_own = !read
            .entities
            .managed_policies
            .iter()
            .any(|policy| policy.identity.account.is_aws());
        if is_good && is_own {
            let fragment = Fragment {
                entities: read.entities.clone(),
                findings: read.findings.clone(),
            };
            self.learned.keep(file, owner, Arc::new(fragment));
        }
        self.shaped.missing.names.extend(read.missing.names);
        self.shaped.missing.anything |= read.missing.anything;
        self.add(read.entities, read.findings);
    }

    fn add(&mut self, more: Entities, findings: Vec<Finding>) {
        let all = &mut self.shaped.entities;
        all.users.extend(more.users);
        all.groups.extend(more.groups);
        all.roles.extend(more.roles);
        all.managed_policies.extend(more.managed_policies);
        all.resource_policies.extend(more.resource_policies);
        all.service_control_policies
            .extend(more.service_control_policies);
        all.resource_control_policies
            .extend(more.resource_control_policies);
        if more.organization.is_some() {
            all.organization = more.organization;
        }
        self.shaped.findings.extend(findings);
    }

    /// Whose folder `file` stands in.
    fn owner_of(&self, file: &File) -> Option<FolderOwner> {
        let folder = Place::of(&file.path).account_folder.map(str::to_owned);
        self.owners.get(&folder).cloned()
    }

    /// Reads one file; `account.json` is known already.
    fn read(&mut self, file: &File) {
        let place = Place::of(&file.path);
        if place.kind == Kind::Account {
            return;
        }
        let owner = self.owner_of(file);
        let mut was_json = false;
        let findings = with_json(file, |node, report| {
            was_json = true;
            let is_dump = DUMP_LISTS.iter().any(|list| node.member(list).is_some());
            let owner = match &owner {
                Some(owner) => Owner {
                    id: owner.id.as_ref(),
                    partition: &owner.partition,
                    is_broken: owner.is_broken,
                },
                None => Owner {
                    id: None,
                    partition: "aws",
                    is_broken: true,
                },
            };
            let mut reading = Reading {
                report,
                place: &place,
                owner,
                is_dump,
            };
            if is_dump {
                self.dump(node, &mut reading)
            } else {
                self.one(node, &mut reading)
            }
        });
        if !was_json && place.kind == Kind::Elsewhere {
            self.shaped.missing.anything = true;
        }
        if findings.iter().any(Finding::is_error) {
            self.shaped.missing.names.insert(place.stem.to_owned());
        }
        self.shaped.findings.extend(findings);
    }

    fn dump(&mut self, node: &Node<'_>, reading: &mut Reading<'_, '_>) {
        let what = "a dump of an account";
        let mut read = DUMP_LISTS.to_vec();
        read.extend(["IsTruncated", "Marker", "NextToken"]);
        let Some(members) = Members::of(node, what, &read, &["ResponseMetadata"], reading.report)
        else {
            return;
        };
        // All three say the same, and AWS prints two of them: one finding.
        let more = ["IsTruncated", "Marker", "NextToken"]
            .into_iter()
            .find_map(|name| {
                let node = members.get(name)?;
                let says_nothing = matches!(node.value, Value::Bool(false) | Value::Null);
                (!says_nothing).then_some((name, node))
            });
        if let Some((name, node)) = more {
            let message = format!("the dump is not complete: it has `{name}`");
            reading.report.error(Code::TRUNCATED_DUMP, &node.span, message).help(
                "let `aws iam get-account-authorization-details` run to its end, without `--max-items` or `--no-paginate`",
            );
        }
        for (list, kind) in
            DUMP_LISTS
                .into_iter()
                .zip([Kind::User, Kind::Group, Kind::Role, Kind::ManagedPolicy])
        {
            for node in members.list(list, reading.report) {
                let n_errors = reading.report.n_errors();
                self.entity(kind, node, reading);
                if reading.report.n_errors() > n_errors {
                    self.note_missing(kind, node);
                }
            }
        }
    }

    /// Whatever names the entity at `node`, which has errors, may be referred to.
    fn note_missing(&mut self, kind: Kind, node: &Node<'_>) {
        let member = match kind {
            Kind::User => "UserName",
            Kind::Group => "GroupName",
            Kind::Role => "RoleName",
            _ => "PolicyName",
        };
        match node.member(member).and_then(|member| member.value.as_str()) {
            Some(name) => {
                self.shaped.missing.names.insert(name.to_owned());
            }
            None => self.shaped.missing.anything = true,
        }
    }

    fn one(&mut self, node: &Node<'_>, reading: &mut Reading<'_, '_>) {
        let n_errors = reading.report.n_errors();
        let entities = &mut self.shaped.entities;
        match reading.place.kind {
            Kind::Account => {}
            Kind::HttpMapping => {
                if !matches!(node.value, Value::Object(_)) {
                    let message =
                        format!("the HTTP mapping must be an object, not {}", node.kind());
                    reading.report.error(Code::WRONG_TYPE, &node.span, message);
                }
                members::no_member_twice(node, reading.report);
            }
            Kind::Organization => entities.organization = organization::organization(node, reading),
            Kind::ServiceControlPolicy => {
                let policy = policy::control_policy(node, PolicyType::ServiceControl, reading);
                entities.service_control_policies.extend(policy);
            }
            Kind::ResourceControlPolicy => {
                let policy = policy::control_policy(node, PolicyType::ResourceControl, reading);
                entities.resource_control_policies.extend(policy);
            }
            Kind::ResourcePolicy => entities
                .resource_policies
                .extend(policy::resource_policy(node, reading)),
            kind @ (Kind::User | Kind::Group | Kind::Role | Kind::ManagedPolicy) => {
                self.entity(kind, node, reading);
                if reading.report.n_errors() > n_errors {
                    self.note_missing_file(kind, node);
                }
            }
            Kind::Elsewhere => unknown_file(node, reading),
        }
    }

    /// Like [`Self::note_missing`] for a file of its own, whose name is noted as well: the member may be absent.
    fn note_missing_file(&mut self, kind: Kind, node: &Node<'_>) {
        let anything = self.shaped.missing.anything;
        self.note_missing(kind, node);
        self.shaped.missing.anything = anything;
    }

    fn entity(&mut self, kind: Kind, node: &Node<'_>, reading: &mut Reading<'_, '_>) {
        let entities = &mut self.shaped.entities;
        match kind {
            Kind::User => entities.users.extend(entity::user(node, reading)),
            Kind::Group => entities.groups.extend(entity::group(node, reading)),
            Kind::Role => entities.roles.extend(entity::role(node, reading)),
            _ => {
                let Some(policy) = policy::managed_policy(node, reading) else {
                    return;
                };
                if policy.identity.account.is_aws() {
                    let says = policy::fingerprint(node);
                    let arn = policy.identity.arn.as_str();
                    match self.aws_managed.get(arn) {
                        // Every dump brings its own copy of what AWS manages.
                        Some(known) if *known == says => return,
                        Some(_) => {}
                        None => {
                            self.aws_managed.insert(arn.to_owned(), says);
                        }
                    }
                }
                entities.managed_policies.push(policy);
            }
        }
    }
}

fn unknown_file(node: &Node<'_>, reading: &mut Reading<'_, '_>) {
    const FOLDERS: [&str; 8] = [
        "users",
        "groups",
        "roles",
        "managed-policies",
        "resource-policies",
        "service-control-policies",
        "resource-control-policies",
        "accounts",
    ];
    const FILES: [&str; 3] = ["account.json", "organization.json", "http-mapping.json"];
    let below = match reading.place.account_folder {
        Some(folder) => reading
            .place
            .policy_name
            .get("accounts/".len() + folder.len() + 1..)
            .unwrap_or(""),
        None => reading.place.policy_name,
    };
    let guess = match below.split_once('/') {
        Some((folder, _)) if FOLDERS.contains(&folder) || folder == "organization" => Some(
            "organizations and control policies are described once, in the store's root".to_owned(),
        ),
        Some((folder, _)) => did_you_mean(folder, FOLDERS),
        None if below == "organization" => {
            Some("the organization is described once, in the store's root".to_owned())
        }
        None => did_you_mean(&format!("{below}.json"), FILES),
    };
    let help = guess.unwrap_or_else(|| {
        "put it where a store has such files (`users/`, `roles/`, `managed-policies/`, …), or outside of the store".to_owned()
    });
    let message = "neither the place nor the shape of this file says what it holds";
    reading
        .report
        .error(Code::UNKNOWN_FILE, &node.span, message)
        .help(help);
}

/// Parses `file` and lets `read` look at it; gives all findings.
fn with_json(file: &File, read: impl FnOnce(&Node<'_>, &mut Report<'_>)) -> Vec<Finding> {
    let text = match text(&file.path, &file.bytes) {
        Ok(text) => text,
        Err(finding) => return vec![finding],
    };
    let base = Base::File(Arc::clone(&file.path));
    match json::parse(text, MAX_FILE_DEPTH) {
        Ok(node) => {
            let mut report = Report::new(base, text);
            report.about(&node);
            read(&node, &mut report);
            report.into_findings()
        }
        Err(error) => {
            let mut report = Report::new(base, text);
            report.syntax(&error);
            report.into_findings()
        }
    }
}

/// The text of a file: UTF-8 without a byte order mark (G-1).
pub fn text<'b>(path: &Arc<str>, bytes: &'b [u8]) -> Result<&'b str, Finding> {
    let at = |line, column| Location {
        file: Arc::clone(path),
        line,
        column,
        pointer: String::new(),
    };
    if bytes.starts_with(b"\xef\xbb\xbf") {
        let finding = Finding::error(
            Code::BYTE_ORDER_MARK,
            at(1, 1),
            "the file begins with a byte order mark",
        );
        return Err(finding.help("save it as UTF-8 without one"));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let good = bytes
            .get(..error.valid_up_to())
            .and_then(|good| std::str::from_utf8(good).ok())
            .unwrap_or("");
        let (line, column) = crate::language::report::line_and_column(good, good.len());
        Finding::error(Code::NOT_UTF8, at(line, column), "the file is not UTF-8")
    })
}
