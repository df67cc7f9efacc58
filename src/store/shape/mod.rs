//! Reads JSON in the shapes that AWS's tools print into the entities of a world.
//!
//! A file's place determines its kind ([`Place`]) and its owner, which is the folder below `accounts/` or else the
//! root's `account.json`. So accounts are read first. A file in a place without a kind must be a dump, which is any
//! `*.json` file with AWS's lists. Each entity of a dump belongs to the account in its ARN.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::file::ContentDigest;
use super::place::{Kind, Place};
use crate::language::document::PolicyType;
use crate::language::finding::{Code, Finding, Location, did_you_mean};
use crate::language::json::{self, Node, Value};
use crate::language::report::{Base, Report};
use crate::name::AccountId;
use crate::world::build::Missing;
use crate::world::entity::ManagedPolicy;
use crate::world::{Entities, Entity};

mod account;
mod count;
mod entity;
mod gather;
mod lone;
mod members;
mod memory;
mod names;
mod organization;
mod output;
mod owners;
mod policy;

pub use gather::{Parsed, Shaped, entities, read_all};
use members::Members;
pub use memory::Memory;
use names::Names;
pub use owners::{Owners, TextNeeded};

pub use lone::{lone_document, lone_file};

/// The deepest nesting of a file.
const MAX_FILE_DEPTH: usize = 64;

/// The members of a dump that hold its lists.
const DUMP_LISTS: [&str; 4] = [
    "UserDetailList",
    "GroupDetailList",
    "RoleDetailList",
    "Policies",
];

/// An account's folder: the root itself, or one below `accounts/`.
struct Folder {
    /// `None` for the root, or if the folder's name is not an account id.
    id: Option<AccountId>,
}

/// The owner of the entities in a folder.
#[derive(Clone, Debug, PartialEq)]
pub struct FolderOwner {
    id: Option<AccountId>,
    partition: String,
    /// Whether its `account.json` or its name is wrong. That has been reported already.
    is_broken: bool,
}

/// The owner of the entities in a file, unless their ARNs name another one.
struct Owner<'o> {
    id: Option<&'o AccountId>,
    partition: &'o str,
    is_broken: bool,
}

/// The state that the readers of one file share.
struct Reading<'r, 'f> {
    report: &'r mut Report<'f>,
    place: &'r Place<'r>,
    owner: Owner<'r>,
    is_dump: bool,
}

impl Reading<'_, '_> {
    /// Returns whether an entity with an ARN of `account` may be here although this place belongs to another account. A
    /// dump holds the AWS-managed policies too, and a dump at the root may be of any account.
    fn may_belong_to(&self, account: &AccountId) -> bool {
        self.is_dump && (account.is_aws() || self.place.account_folder.is_none())
    }
}

/// The contents of one file, whatever the other files say. It is small, because there is one for each file of a store.
/// Clones share the entities.
#[derive(Clone, Debug)]
pub enum Fragment {
    /// One entity and nothing else, as in nearly every file. It is not an AWS-managed policy.
    One(Entity),
    /// Anything else.
    More(Arc<More>),
}

/// The contents of a file that does not hold just one entity.
#[derive(Debug)]
pub struct More {
    /// All entities that could be read, except for [`Self::aws_managed`].
    entities: Box<[Entity]>,
    /// The AWS-managed policies, each with the digest of its document, because every dump has its own copy.
    aws_managed: Box<[(Arc<ManagedPolicy>, ContentDigest)]>,
    /// The entities that may exist in parts that could not be read. `None` if everything could be read.
    missing: Option<Missing>,
    /// The findings about the file.
    findings: Box<[Finding]>,
}

impl Fragment {
    /// Returns all entities that could be read, except for the AWS-managed policies.
    pub fn entities(&self) -> &[Entity] {
        match self {
            Self::One(entity) => std::slice::from_ref(entity),
            Self::More(more) => &more.entities,
        }
    }

    /// Returns the AWS-managed policies, each with the digest of its document.
    pub fn aws_managed(&self) -> &[(Arc<ManagedPolicy>, ContentDigest)] {
        self.more().map_or(&[][..], |more| &more.aws_managed)
    }

    /// Returns how many statements of the entities are evaluated.
    pub fn n_statements(&self) -> usize {
        self.entities().iter().map(count::of_entity).sum()
    }

    /// Returns the entities that may exist in parts that could not be read. `None` if everything could be read.
    pub fn missing(&self) -> Option<&Missing> {
        self.more()?.missing.as_ref()
    }

    /// Returns the findings about the file.
    pub fn findings(&self) -> &[Finding] {
        self.more().map_or(&[][..], |more| &more.findings)
    }

    /// Returns the entities by kind.
    pub fn by_kind(&self) -> Entities {
        let mut by_kind = Entities::default();
        by_kind.extend(self.entities().iter().cloned());
        by_kind
    }

    /// Lets the references of its entities share their texts with those of other files.
    fn share(&mut self, names: &mut Names) {
        match self {
            Self::One(entity) => names.share(entity),
            Self::More(more) => {
                let entities = Arc::get_mut(more).map(|more| &mut more.entities);
                let entities = entities.into_iter().flat_map(|all| all.iter_mut());
                entities.for_each(|entity| names.share(entity));
            }
        }
    }

    /// Returns whether the file on its own has no errors.
    pub fn is_good(&self) -> bool {
        !self.findings().iter().any(Finding::is_error)
    }

    fn more(&self) -> Option<&More> {
        match self {
            Self::One(_) => None,
            Self::More(more) => Some(more),
        }
    }
}

#[cfg(test)]
thread_local! {
    /// How many files this thread has parsed.
    pub static N_PARSED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Reads one file that belongs to `owner`. It skips `account.json`, which [`Owners`] has read.
fn fragment(path: &Arc<str>, text: &[u8], owner: Option<&FolderOwner>) -> Fragment {
    #[cfg(test)]
    N_PARSED.with(|n_parsed| n_parsed.set(n_parsed.get() + 1));
    let place = Place::of(path);
    let mut reader = Reader::default();
    if place.kind == Kind::Account {
        return reader.said(Vec::new());
    }
    let mut was_json = false;
    let findings = with_json(path, text, |node, report| {
        was_json = true;
        if output::is_refused(node, place.kind, report) {
            // The names may be in an envelope or a list that could not be read.
            reader.missing.anything = true;
            return;
        }
        let is_dump = DUMP_LISTS.iter().any(|list| node.member(list).is_some());
        let owner = match owner {
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
            reader.dump(node, &mut reading)
        } else {
            reader.one(node, &mut reading)
        }
    });
    if !was_json && place.kind == Kind::Elsewhere {
        reader.missing.anything = true;
    }
    if findings.iter().any(Finding::is_error) {
        reader.missing.names.insert(place.stem.to_owned());
    }
    reader.said(findings)
}

/// Reads the entities of one file.
#[derive(Default)]
struct Reader {
    entities: Vec<Entity>,
    aws_managed: Vec<(Arc<ManagedPolicy>, ContentDigest)>,
    missing: Missing,
}

impl Reader {
    fn said(self, findings: Vec<Finding>) -> Fragment {
        let Self {
            mut entities,
            aws_managed,
            missing,
        } = self;
        let is_missing = missing.anything || !missing.names.is_empty();
        let is_one = entities.len() == 1 && aws_managed.is_empty() && findings.is_empty();
        if is_one
            && !is_missing
            && let Some(entity) = entities.pop()
        {
            return Fragment::One(entity);
        }
        Fragment::More(Arc::new(More {
            entities: entities.into(),
            aws_managed: aws_managed.into(),
            missing: is_missing.then_some(missing),
            findings: findings.into(),
        }))
    }

    fn dump(&mut self, node: &Node<'_>, reading: &mut Reading<'_, '_>) {
        let what = "a dump of an account";
        let mut read = DUMP_LISTS.to_vec();
        read.extend(["IsTruncated", "Marker", "NextToken"]);
        let Some(members) = Members::of(node, what, &read, &["ResponseMetadata"], reading.report)
        else {
            return;
        };
        // All three members mean the same, and AWS prints two of them, so they give one finding.
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

    /// Records that other entities may refer to the entity at `node`, which has errors.
    fn note_missing(&mut self, kind: Kind, node: &Node<'_>) {
        let member = match kind {
            Kind::User => "UserName",
            Kind::Group => "GroupName",
            Kind::Role => "RoleName",
            _ => "PolicyName",
        };
        match node.member(member).and_then(|member| member.value.as_str()) {
            Some(name) => {
                self.missing.names.insert(name.to_owned());
            }
            None => self.missing.anything = true,
        }
    }

    fn one(&mut self, node: &Node<'_>, reading: &mut Reading<'_, '_>) {
        let n_errors = reading.report.n_errors();
        let entities = &mut self.entities;
        match reading.place.kind {
            Kind::Account => {}
            Kind::HttpMapping => {
                if !matches!(node.value, Value::Object(_)) {
                    let message =
                        format!("the HTTP mapping must be an object, not {}", node.kind());
                    reading
                        .report
                        .error(Code::WRONG_TYPE, &node.span, message)
                        .help("write its members between `{` and `}`");
                }
                members::no_member_twice(node, reading.report);
            }
            Kind::Organization => {
                let organization = organization::organization(node, reading).map(Arc::new);
                entities.extend(organization.map(Entity::Organization));
            }
            Kind::ServiceControlPolicy => {
                let policy = policy::control_policy(node, PolicyType::ServiceControl, reading);
                entities.extend(policy.map(Arc::new).map(Entity::ServiceControlPolicy));
            }
            Kind::ResourceControlPolicy => {
                let policy = policy::control_policy(node, PolicyType::ResourceControl, reading);
                entities.extend(policy.map(Arc::new).map(Entity::ResourceControlPolicy));
            }
            Kind::ResourcePolicy => {
                let policy = policy::resource_policy(node, reading).map(Arc::new);
                entities.extend(policy.map(Entity::ResourcePolicy));
            }
            kind @ (Kind::User | Kind::Group | Kind::Role | Kind::ManagedPolicy) => {
                self.entity(kind, node, reading);
                if reading.report.n_errors() > n_errors {
                    self.note_missing_file(kind, node);
                }
            }
            Kind::Elsewhere => unknown_file(node, reading),
        }
    }

    /// Records the entity of a file that holds one entity, which has errors. If it gives no name, the name of the file
    /// is enough, which the caller records.
    fn note_missing_file(&mut self, kind: Kind, node: &Node<'_>) {
        let anything = self.missing.anything;
        self.note_missing(kind, node);
        self.missing.anything = anything;
    }

    fn entity(&mut self, kind: Kind, node: &Node<'_>, reading: &mut Reading<'_, '_>) {
        let entities = &mut self.entities;
        match kind {
            Kind::User => {
                let user = entity::user(node, reading).map(Arc::new);
                entities.extend(user.map(Entity::User));
            }
            Kind::Group => {
                let group = entity::group(node, reading).map(Arc::new);
                entities.extend(group.map(Entity::Group));
            }
            Kind::Role => {
                let role = entity::role(node, reading).map(Arc::new);
                entities.extend(role.map(Entity::Role));
            }
            _ => {
                let Some(policy) = policy::managed_policy(node, reading) else {
                    return;
                };
                if policy.identity.account.is_aws() {
                    let says = Sha256::digest(policy::fingerprint(node)).into();
                    self.aws_managed.push((Arc::new(policy), says));
                } else {
                    entities.push(Entity::ManagedPolicy(Arc::new(policy)));
                }
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

/// Parses the file at `path`, passes it to `read` and returns all findings.
fn with_json(
    path: &Arc<str>,
    bytes: &[u8],
    read: impl FnOnce(&Node<'_>, &mut Report<'_>),
) -> Vec<Finding> {
    let text = match text(path, bytes) {
        Ok(text) => text,
        Err(finding) => return vec![finding],
    };
    let base = Base::File(Arc::clone(path));
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

/// Returns the text of a file, which must be UTF-8 without a byte order mark (G-1).
pub fn text<'b>(path: &Arc<str>, bytes: &'b [u8]) -> Result<&'b str, Finding> {
    let at = |line, column| Location {
        file: Arc::clone(path),
        line,
        column,
        pointer: Arc::default(),
    };
    if bytes.starts_with(b"\xef\xbb\xbf") {
        let finding = Finding::error(
            Code::BYTE_ORDER_MARK,
            at(1, 1),
            "the file begins with a byte order mark",
        );
        return Err(finding.help("save it as UTF-8 without one"));
    }
    if is_utf16(bytes) {
        let finding = Finding::error(Code::NOT_UTF8, at(1, 1), "the file is UTF-16");
        return Err(finding.help(
            "save it as UTF-8 without a byte order mark; the `>` of Windows PowerShell writes UTF-16",
        ));
    }
    if !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0) {
        let message = "the file contains only zero bytes";
        let finding = Finding::error(Code::SYNTAX, at(1, 1), message);
        return Err(finding.help("it was not written completely: restore it"));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let good = bytes
            .get(..error.valid_up_to())
            .and_then(|good| std::str::from_utf8(good).ok())
            .unwrap_or("");
        let (line, column) = crate::language::lines::line_and_column(good, good.len());
        Finding::error(Code::NOT_UTF8, at(line, column), "the file is not UTF-8")
            .help("save it as UTF-8")
    })
}

/// Returns whether `bytes` begin with the mark of UTF-16, or with ASCII characters in UTF-16.
fn is_utf16(bytes: &[u8]) -> bool {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [first, 0, third, 0, ..] => *first != 0 && *third != 0,
        [0, second, 0, fourth, ..] => *second != 0 && *fourth != 0,
        _ => false,
    }
}
