//! Builds a World from entities. It resolves names and finds dangling references.
//!
//! Every mistake that involves two files is found here, so a [`World`] can be compiled without further checks. Mistakes
//! within one file were found while it was read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use super::entity::{Account, Group, Identity, Reference, References, ResourcePolicy, Role, User};
use super::{Entities, World};
use crate::language::document::{PolicyDocument, PrincipalEntry};
use crate::language::finding::{Code, Finding, Location, did_you_mean};
use crate::name::{AccountId, Arn, Principal};

pub mod case;
mod names;
mod organization;

pub use names::Directory;
use names::Names;

/// The entities that may exist besides the given ones, because their files could not be read. References to them are
/// not reported as dangling, because the file has its own finding.
#[derive(Clone, Debug, Default)]
pub struct Missing {
    /// Names of entities, or stems of files.
    pub names: BTreeSet<String>,
    /// Whether any entity may be missing.
    pub anything: bool,
}

impl Missing {
    /// Returns whether `target`, a name or an ARN, may be among them.
    fn may_be(&self, target: &str) -> bool {
        let name = target.rsplit('/').next().unwrap_or(target);
        self.anything || self.names.contains(name)
    }
}

/// Checks `entities` as a whole. Returns every finding, and no world if one of them is an error.
pub fn world(entities: Entities, root_account: Option<AccountId>) -> (Option<World>, Vec<Finding>) {
    world_beside(entities, root_account, &Missing::default())
}

/// Checks `entities` as [`world`] does, for a store in which some files could not be read. It finds the other mistakes
/// of the store.
pub fn world_beside(
    entities: Entities,
    root_account: Option<AccountId>,
    missing: &Missing,
) -> (Option<World>, Vec<Finding>) {
    let mut findings = Vec::new();
    let accounts = accounts(&entities, &mut findings);
    if accounts.is_empty() && is_empty(&entities) && !missing.anything && missing.names.is_empty() {
        findings.push(
            Finding::error(
                Code::EMPTY_STORE,
                Location::file("."),
                "the store has neither an account nor an entity",
            )
            .help("put an `account.json` there: a store with only that file is meant to have no policies"),
        );
    }
    let names = Names::of(&entities, &accounts);
    let mut check = Check {
        directory: &names,
        missing,
        findings: &mut findings,
        n_guesses: 0,
    };
    check.names_are_unique(&entities);
    check.references(&entities);
    check.principals(&entities);
    check.resource_policies(&entities.resource_policies);
    organization::check(&entities, missing, &mut findings);
    case::check(&entities, &mut findings);
    findings.sort();
    if findings.iter().any(Finding::is_error) {
        return (None, findings);
    }
    let world = World {
        root_account,
        accounts,
        entities,
    };
    (Some(world), findings)
}

/// Returns whether a store has no entities at all. An organization, or a policy that is not attached, counts as an
/// entity.
fn is_empty(entities: &Entities) -> bool {
    entities.managed_policies.is_empty()
        && entities.organization.is_none()
        && entities.service_control_policies.is_empty()
        && entities.resource_control_policies.is_empty()
}

/// Returns the identities of users, groups, roles and managed policies, each with the word for its kind.
fn identities(entities: &Entities) -> impl Iterator<Item = (&'static str, &Identity)> {
    let users = entities.users.iter().map(|user| ("user", &user.identity));
    let groups = entities
        .groups
        .iter()
        .map(|group| ("group", &group.identity));
    let roles = entities.roles.iter().map(|role| ("role", &role.identity));
    let policies = entities
        .managed_policies
        .iter()
        .map(|policy| ("managed policy", &policy.identity));
    users.chain(groups).chain(roles).chain(policies)
}

/// Returns the declared accounts, and those that an entity or the organization names.
fn accounts(entities: &Entities, findings: &mut Vec<Finding>) -> BTreeMap<AccountId, Account> {
    let mut accounts: BTreeMap<AccountId, Account> = BTreeMap::new();
    for account in &entities.accounts {
        if let Some(first) = accounts.get(&account.id) {
            let message = format!(
                "account `{}` is already declared in `{}`",
                account.id, first.at.file
            );
            findings.push(
                Finding::error(Code::DUPLICATE_ENTITY, account.at.clone(), message)
                    .help("remove one of the two files"),
            );
            continue;
        }
        accounts.insert(account.id.clone(), account.clone());
    }
    // Entities come first, because their ARNs give the partition.
    for (what, identity) in identities(entities) {
        if identity.account.is_aws() {
            continue;
        }
        let partition = identity.arn.partition();
        let account = accounts
            .entry(identity.account.clone())
            .or_insert_with(|| undeclared(&identity.account, partition, &identity.at));
        if *account.partition != *partition {
            let message = format!(
                "the {what} `{}` is in partition `{partition}`, and its account in `{}`",
                identity.arn, account.partition
            );
            let help = "give the account's `account.json` its `Partition`";
            findings
                .push(Finding::error(Code::CONTRADICTION, identity.at.clone(), message).help(help));
        }
    }
    let default_partition = entities
        .accounts
        .first()
        .map_or("aws", |account| &account.partition)
        .to_owned();
    for (id, at) in organization::accounts(entities) {
        accounts
            .entry(id.clone())
            .or_insert_with(|| undeclared(id, &default_partition, at));
    }
    for policy in &entities.resource_policies {
        accounts
            .entry(policy.account.clone())
            .or_insert_with(|| undeclared(&policy.account, &default_partition, &policy.at));
    }
    accounts
}

/// Returns an account that is not declared. All its switches are off.
fn undeclared(id: &AccountId, partition: &str, at: &Location) -> Account {
    Account {
        id: id.clone(),
        partition: partition.into(),
        alias: None,
        root_user_enabled: false,
        anonymous_allowed: false,
        external: false,
        trust_external_identity: false,
        canonical_user_id: None,
        at: at.clone(),
    }
}

/// Returns the findings that a check of the whole store has about the references of these entities. The rest of the
/// store must be as it was when it was found good, including all names. If one of the findings is an error, a check of
/// the whole store may find more.
pub fn references_again(entities: &Entities, directory: &impl Directory) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut check = Check {
        directory,
        missing: &Missing::default(),
        findings: &mut findings,
        n_guesses: 0,
    };
    check.references(entities);
    check.principals(entities);
    findings
}

struct Check<'c, D> {
    directory: &'c D,
    missing: &'c Missing,
    findings: &'c mut Vec<Finding>,
    /// How many suggestions were made.
    n_guesses: usize,
}

/// The most dangling references for which a suggestion is made. Each suggestion searches all names. If a whole folder
/// is missing for a moment during a rollout, suggestions for all of its references would take minutes.
const MAX_GUESSES: usize = 20;

impl<D: Directory> Check<'_, D> {
    fn error(&mut self, code: Code, at: &Location, message: String, help: Option<String>) {
        let mut finding = Finding::error(code, at.clone(), message);
        finding.help = help.map(Into::into);
        self.findings.push(finding);
    }

    fn warning(&mut self, code: Code, at: &Location, message: String, help: &str) {
        self.findings
            .push(Finding::warning(code, at.clone(), message).help(help));
    }

    /// Checks that names are unique per account and kind, ignoring case (G-40). AWS's own policies are told apart only
    /// by their ARNs, because AWS has used one name on two paths.
    fn names_are_unique(&mut self, entities: &Entities) {
        let mut first = First::default();
        let mut first_arn = First::default();
        let mut first_id = First::default();
        for (what, identity) in identities(entities) {
            let folded = identity.name().to_ascii_lowercase();
            let other = if identity.account.is_aws() {
                first_arn.seen_before(identity.arn.as_str(), identity)
            } else {
                first.seen_before((what, &identity.account, folded), identity)
            };
            if let Some(other) = other {
                let (name, first, place) = (identity.name(), other.name(), place_of(other));
                let message = if first == name {
                    format!("{what} `{name}` is already defined in `{place}`")
                } else {
                    format!(
                        "{what} `{name}` is already defined as `{first}` in `{place}`; names are compared ignoring case"
                    )
                };
                let help = "rename it, or remove one of the two".to_owned();
                self.error(Code::DUPLICATE_ENTITY, &identity.at, message, Some(help));
            }
            // A unique id stands for one principal in policies (G-24). The ids of policies are never used.
            if matches!(what, "user" | "role")
                && let Some(id) = identity.unique_id.as_deref()
                && let Some(other) = first_id.seen_before(id, identity)
            {
                let message = format!("the unique id `{id}` already belongs to `{}`", other.arn);
                let help = "give each of them its own id".to_owned();
                self.error(Code::DUPLICATE_ENTITY, &identity.at, message, Some(help));
            }
        }
        let mut first_scp: HashMap<&str, &Location> = HashMap::new();
        for policy in &entities.service_control_policies {
            self.control_policy_is_unique(&policy.name, &policy.at, &mut first_scp);
        }
        let mut first_rcp: HashMap<&str, &Location> = HashMap::new();
        for policy in &entities.resource_control_policies {
            self.control_policy_is_unique(&policy.name, &policy.at, &mut first_rcp);
        }
    }

    fn control_policy_is_unique<'e>(
        &mut self,
        name: &'e str,
        at: &'e Location,
        first: &mut HashMap<&'e str, &'e Location>,
    ) {
        if let Some(other) = first.insert(name, at) {
            let message = format!("policy `{name}` is already defined in `{}`", other.file);
            let help = "rename it, or remove one of the two".to_owned();
            self.error(Code::DUPLICATE_ENTITY, at, message, Some(help));
        }
    }

    /// Checks that every attachment, boundary and membership refers to an existing entity (G-38).
    fn references(&mut self, entities: &Entities) {
        for user in &entities.users {
            let User {
                identity,
                groups,
                attached,
                permissions_boundary,
                ..
            } = &**user;
            for group in groups {
                self.group_exists(identity, group);
            }
            self.at_most(10, groups.len(), "groups of one user", identity);
            self.policies_exist(identity, attached, permissions_boundary.as_deref());
        }
        for Group {
            identity, attached, ..
        } in entities.groups.iter().map(|group| &**group)
        {
            self.policies_exist(identity, attached, None);
        }
        for role in &entities.roles {
            let Role {
                identity,
                attached,
                permissions_boundary,
                ..
            } = &**role;
            self.policies_exist(identity, attached, permissions_boundary.as_deref());
        }
    }

    /// Checks a count that AWS limits (G-39).
    fn at_most(&mut self, limit: usize, n: usize, what: &str, identity: &Identity) {
        if n > limit {
            let message =
                format!("{n} {what} are more than the {limit} that AWS allows by default");
            let help = "remove some of them";
            self.warning(Code::AWS_QUOTA, &identity.at, message, help);
        }
    }

    fn group_exists(&mut self, user: &Identity, group: &Reference) {
        if self.directory.has_group(&user.account, &group.to) || self.missing.may_be(&group.to) {
            return;
        }
        let guess = self.may_guess().then(|| {
            let groups = self.directory.groups_of(&user.account);
            did_you_mean(&group.to, groups)
        });
        let message = format!("account `{}` has no group `{}`", user.account, group.to);
        let help = guess
            .flatten()
            .unwrap_or_else(|| "add the group, or remove the user from it".to_owned());
        let at = group.location(References::Groups, user);
        self.error(Code::DANGLING_REFERENCE, &at, message, Some(help));
    }

    fn policies_exist(
        &mut self,
        owner: &Identity,
        attached: &[Reference],
        boundary: Option<&Reference>,
    ) {
        self.at_most(10, attached.len(), "attached policies", owner);
        let attached = attached
            .iter()
            .map(|reference| (reference, References::Attached, "attached policy"));
        let boundary = boundary
            .into_iter()
            .map(|reference| (reference, References::Boundary, "permissions boundary"));
        for (reference, member, what) in attached.chain(boundary) {
            let Reference { to, .. } = reference;
            let at = || reference.location(member, owner);
            let account = Arn::parse(to).ok().map(|arn| arn.account().to_owned());
            if let Some(account) = &account
                && account != "aws"
                && account != owner.account.as_str()
            {
                let message = format!(
                    "the {what} `{to}` belongs to another account than `{}`",
                    owner.arn
                );
                let help = "attach a policy of the same account, or one of AWS's own".to_owned();
                self.error(Code::DANGLING_REFERENCE, &at(), message, Some(help));
            } else if !self.directory.has_policy(to) && !self.missing.may_be(to) {
                let message = format!("the store has no {what} `{to}`");
                let help = self.help_for_policy(to, account.as_deref());
                self.error(Code::DANGLING_REFERENCE, &at(), message, Some(help));
            }
        }
    }

    /// Returns whether one more suggestion may be made, and counts it.
    fn may_guess(&mut self) -> bool {
        self.n_guesses += 1;
        self.n_guesses <= MAX_GUESSES
    }

    fn help_for_policy(&mut self, arn: &str, account: Option<&str>) -> String {
        let near = self.may_guess().then(|| {
            let policies = self.directory.policies().into_iter();
            did_you_mean(arn, policies.filter(|policy| differs_little(policy, arn)))
        });
        near.flatten().unwrap_or_else(|| match account {
            Some("aws") => "put it into `accounts/aws/managed-policies/`".to_owned(),
            Some(_) => "put it into `managed-policies/` of its account, or detach it".to_owned(),
            None => "give the full ARN, such as `arn:aws:iam::111122223333:policy/ReadOrders`"
                .to_owned(),
        })
    }

    /// Finds principals in resource and trust policies that do not exist (G-24).
    fn principals(&mut self, entities: &Entities) {
        for role in &entities.roles {
            self.principals_of(&role.trust, &role.identity.at, "/AssumeRolePolicyDocument");
        }
        for policy in &entities.resource_policies {
            if let Some(document) = &policy.document {
                self.principals_of(document, &policy.at, "/Policy");
            }
        }
    }

    fn principals_of(&mut self, document: &PolicyDocument, at: &Location, below: &str) {
        for (index, statement) in document.statements.iter().enumerate() {
            let place = || Location {
                file: Arc::clone(&at.file),
                line: statement.extent.start.line,
                column: 1,
                pointer: format!("{}{below}", at.pointer).into(),
            };
            let which = statement.sid.as_ref().map_or_else(
                || format!("statement {index}"),
                |sid| format!("statement `{sid}`"),
            );
            for entry in statement
                .principal
                .iter()
                .flat_map(|principal| &principal.entries)
            {
                match entry {
                    PrincipalEntry::Entity(arn) if !self.is_known(arn) => {
                        let message = format!(
                            "{which} names `{arn}`, which its account in the store does not have"
                        );
                        let help = "correct the ARN, or add the user or role to the store";
                        self.warning(Code::UNKNOWN_PRINCIPAL, &place(), message, help);
                    }
                    PrincipalEntry::Id(id) => self.principal_id(id, &which, &place()),
                    _ => {}
                }
            }
        }
    }

    /// Returns whether the store has the entity behind `arn`, or cannot know because it belongs to another account or
    /// is a federated user.
    fn is_known(&self, arn: &Arn) -> bool {
        let Ok(account) = AccountId::parse(arn.account()) else {
            return true;
        };
        if self.directory.is_external(account.as_str()).unwrap_or(true)
            || self.missing.may_be(arn.resource())
        {
            return true;
        }
        match Principal::parse(arn.as_str()) {
            Ok(Principal::User(arn) | Principal::Role(arn)) => {
                self.directory.has_principal(arn.as_str())
            }
            Ok(Principal::AssumedRole { role, .. }) => {
                self.directory.has_role(&account, role) || self.missing.may_be(role)
            }
            _ => true,
        }
    }

    /// Checks an account's name, or the unique id of a user or role (G-24).
    fn principal_id(&mut self, id: &str, which: &str, at: &Location) {
        let is_account = self.directory.is_external(id).is_some();
        if is_account || self.directory.has_unique_id(id) || self.missing.anything {
            return;
        }
        if is_unique_id(id) {
            let message =
                format!("{which} names the unique id `{id}`, which no entity of the store has");
            let help = "name the principal by its ARN, or remove the id";
            self.warning(Code::ORPHANED_PRINCIPAL_ID, at, message, help);
        } else {
            let message = format!(
                "{which} names `{id}`, which is neither an account of the store nor a unique id"
            );
            let help = did_you_mean(id, self.directory.accounts())
                .unwrap_or_else(|| "correct the id, or add the account to the store".to_owned());
            self.error(Code::INVALID_PRINCIPAL, at, message, Some(help));
        }
    }

    /// Checks that scopes cover only resources of their own account, and that no two accounts claim the same ones (E-6,
    /// E-10).
    fn resource_policies(&mut self, policies: &[Arc<ResourcePolicy>]) {
        let mut claimed: HashMap<&str, &ResourcePolicy> = HashMap::new();
        for policy in policies {
            for scope in &policy.scopes {
                let account_field = scope.as_str().split(':').nth(4).unwrap_or("");
                let is_pattern = account_field.contains(['*', '?']);
                if account_field.is_empty() || is_pattern || account_field == "aws" {
                    let first = claimed.entry(scope.as_str()).or_insert(policy);
                    if first.account != policy.account {
                        let message = format!(
                            "scope `{}` is already claimed by account `{}` in `{}`, so nothing says whose these resources are",
                            scope.as_str(),
                            first.account,
                            first.at.file
                        );
                        let help = "remove the scope from one of the two files".to_owned();
                        self.error(Code::CONTRADICTION, &policy.at, message, Some(help));
                    }
                } else if account_field != policy.account.as_str() {
                    let message = format!(
                        "scope `{}` speaks of account `{account_field}`, and this file belongs to `{}`",
                        scope.as_str(),
                        policy.account
                    );
                    let help =
                        format!("move it below `accounts/{account_field}/resource-policies/`");
                    self.error(Code::CONTRADICTION, &policy.at, message, Some(help));
                }
            }
        }
    }
}

/// Finds duplicates.
struct First<'e, K>(HashMap<K, &'e Identity>);

impl<K> Default for First<'_, K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<'e, K: Hash + Eq> First<'e, K> {
    /// Returns the identity that had `key` first, if it was another one.
    fn seen_before(&mut self, key: K, identity: &'e Identity) -> Option<&'e Identity> {
        let mut is_new = false;
        let first = *self.0.entry(key).or_insert_with(|| {
            is_new = true;
            identity
        });
        (!is_new).then_some(first)
    }
}

/// Returns the location of an entity for a message: the file, and the place in a dump.
fn place_of(identity: &Identity) -> String {
    format!("{}{}", identity.at.file, identity.at.pointer)
}

/// Returns whether the text is a unique id: four capitals, then 12 or more of `[A-Z0-9]` (G-24).
fn is_unique_id(text: &str) -> bool {
    let (prefix, rest) = text.split_at_checked(4).unwrap_or_default();
    prefix.bytes().all(|byte| byte.is_ascii_uppercase())
        && rest.len() >= 12
        && rest
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// Returns whether two ARNs are worth comparing. `did_you_mean` allows more typing errors in a longer text than one
/// name may have.
fn differs_little(known: &str, wanted: &str) -> bool {
    let name = |arn: &'_ str| arn.rsplit('/').next().map(str::to_ascii_lowercase);
    let (Some(known), Some(wanted)) = (name(known), name(wanted)) else {
        return false;
    };
    strsim::damerau_levenshtein(&known, &wanted) <= 2
}

#[cfg(test)]
mod tests;
