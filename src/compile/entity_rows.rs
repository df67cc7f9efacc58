//! Turns one entity of the world at a time into rows of the tables.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use smallvec::SmallVec;

use super::accounts::{AccountRow, Accounts};
use super::entity::{Entity, GroupShare, Role};
use super::holders::Asked;
use super::managed_policy::ManagedPolicy;
use super::policies::{Policies, is_same};
use super::policy::{Origin, OwnRows, Policy};
use super::shared_sets::{SetId, SetsMaker};
use super::snapshot::{Revision, Snapshot, Whole};
use super::table::Sharded;
use super::tags::Tags;
use crate::language::document::{PolicyDocument, PolicyType};
use crate::name::{AccountId, hash_of};
use crate::world::Entities;
use crate::world::build::case;
use crate::world::entity::{
    Group, Identity, InlinePolicy, ManagedPolicy as WrittenManagedPolicy, Reference,
    ResourcePolicy, Role as WrittenRole, User,
};
use crate::world::organization::ControlPolicy;

/// The tables of a snapshot, with the indexes that are needed to change them.
#[derive(Debug)]
pub(super) struct Tables {
    pub sets: SetsMaker,
    pub policies: Policies,
    groups: HashTable<KnownGroup>,
    entities: Sharded<Arc<Entity>>,
    roles: Sharded<Arc<Entity>>,
    pub accounts: Arc<Accounts>,
    pub whole: Arc<Whole>,
    managed: Sharded<Arc<ManagedPolicy>>,
    /// Every origin of a policy, once.
    origins: HashSet<Arc<Origin>, FixedState>,
    /// Maps the folded hash of each ARN and scope to the hash of one of them. It shows that no pattern misses one of
    /// them because of its case alone (M-16).
    spellings: HashMap<u64, u64, FixedState>,
}

/// A group, with its name in the form that its users share.
#[derive(Debug)]
struct KnownGroup {
    name: Arc<str>,
    group: Arc<Group>,
}

impl Tables {
    /// Returns empty tables, sized for about as many rows as `entities` will fill.
    pub fn for_entities(entities: &Entities) -> Self {
        Self {
            sets: SetsMaker::new(),
            policies: Policies::default(),
            groups: HashTable::new(),
            entities: Sharded::for_rows(entities.users.len() + entities.roles.len()),
            roles: Sharded::for_rows(entities.roles.len()),
            accounts: Arc::default(),
            whole: Arc::default(),
            managed: Sharded::for_rows(entities.managed_policies.len()),
            origins: HashSet::default(),
            spellings: case::resources(entities)
                .map(|text| (folded_hash(text), hash_of(text)))
                .collect(),
        }
    }

    /// Returns the current tables as a snapshot.
    pub fn snapshot(&self, revision: Revision, holders: Arc<Asked>) -> Snapshot {
        Snapshot {
            revision,
            sets: self.sets.sets().clone(),
            entities: self.entities.clone(),
            roles: self.roles.clone(),
            accounts: Arc::clone(&self.accounts),
            whole: Arc::clone(&self.whole),
            managed: self.managed.clone(),
            holders,
            named_keys: Arc::default(),
            named_actions: Arc::default(),
        }
    }

    /// Returns whether `pattern` may differ from an ARN or scope in its case alone.
    pub fn may_misspell(&self, pattern: &str) -> bool {
        let known = self.spellings.get(&folded_hash(pattern));
        known.is_some_and(|spelling| *spelling != hash_of(pattern))
    }

    /// Returns whether there is a user or role with this ARN.
    pub fn has_principal(&self, arn: &str) -> bool {
        let is_it = |entity: &Arc<Entity>| entity.arn.as_str() == arn;
        self.entities.find(hash_of(arn), is_it).is_some()
    }

    /// Returns whether there is a managed policy with this ARN.
    pub fn has_managed_policy(&self, arn: &str) -> bool {
        self.managed_policy(arn).is_some()
    }

    fn managed_policy(&self, arn: &str) -> Option<&Arc<ManagedPolicy>> {
        let is_it = |managed: &Arc<ManagedPolicy>| *managed.policy.name == *arn;
        self.managed.find(hash_of(arn), is_it)
    }

    /// Returns the origin, shared by all policies that have the same one.
    fn origin(&mut self, origin: Origin) -> Arc<Origin> {
        if let Some(known) = self.origins.get(&origin) {
            return Arc::clone(known);
        }
        let origin = Arc::new(origin);
        self.origins.insert(Arc::clone(&origin));
        origin
    }

    /// Returns whether the account has a role of this name.
    pub fn has_role(&self, account: &AccountId, name: &str) -> bool {
        let is_it = |role: &Arc<Entity>| role.name() == name && role.account == *account;
        let hash = hash_of(&(account.as_str(), name));
        self.roles.find(hash, is_it).is_some()
    }

    /// Returns whether the account has a group of this name.
    pub fn has_group(&self, account: &AccountId, name: &str) -> bool {
        self.group(account, name).is_some()
    }

    fn group(&self, account: &AccountId, name: &str) -> Option<&KnownGroup> {
        let is_it = |known: &KnownGroup| {
            let identity = &known.group.identity;
            *known.name == *name && identity.account == *account
        };
        self.groups.find(hash_of(&(account.as_str(), name)), is_it)
    }
}

fn folded_hash(text: &str) -> u64 {
    let folded: SmallVec<[u8; 256]> = text.bytes().map(|byte| byte.to_ascii_lowercase()).collect();
    hash_of(folded.as_slice())
}

fn inline_name(owner: &Identity, inline: &InlinePolicy) -> String {
    format!("{}/inline/{}", owner.arn, inline.name)
}

/// Tables under construction.
pub(super) struct Making<'t> {
    pub tables: &'t mut Tables,
    /// The tables of the last snapshot, if these tables are made from scratch.
    pub before: Option<&'t Tables>,
}

impl Making<'_> {
    /// Returns the policy `wanted`. If the tables already have the same policy, it is that one; otherwise `wanted`
    /// replaces it.
    pub fn policy(&mut self, wanted: Policy) -> Arc<Policy> {
        let of = |tables: &Tables| {
            let known = tables.policies.find(wanted.policy_type, &wanted.name);
            known.map(Arc::clone)
        };
        let known = of(self.tables);
        if let Some(known) = &known
            && is_same(known, &wanted)
        {
            return Arc::clone(known);
        }
        let before = self.before.and_then(of);
        let new = match before.filter(|before| is_same(before, &wanted)) {
            Some(before) => before,
            None => Arc::new(wanted),
        };
        if let Some(old) = known {
            self.tables.sets.replace(&old, &new);
        }
        self.tables.policies.put(Arc::clone(&new));
        new
    }

    /// Returns the set of these policies.
    pub fn set(&mut self, policies: Vec<Arc<Policy>>) -> SetId {
        let before = self.before.map(|before| &before.sets);
        self.tables.sets.id_of(policies, before)
    }

    /// Returns the set of these policies, or `None` if there are no policies.
    pub fn set_unless_empty(&mut self, policies: Vec<Arc<Policy>>) -> Option<SetId> {
        (!policies.is_empty()).then(|| self.set(policies))
    }

    /// Adds a managed policy, by its default version (G-36). Afterwards the boundary of the same ARN has the new contents
    /// too.
    pub fn managed(&mut self, policy: &WrittenManagedPolicy) {
        let Some(version) = policy.default_version() else {
            return;
        };
        let identity = &policy.identity;
        let origin = Origin {
            is_managed: true,
            version: Some(version.id.clone()),
            ..Origin::of(&version.document)
        };
        let origin = self.tables.origin(origin);
        let policy_type = PolicyType::Identity;
        let compiled = self.policy(Policy {
            name: identity.arn.shared(),
            policy_type,
            file: Arc::clone(&identity.at.file),
            statements: Arc::clone(&version.document.statements),
            origin,
            rows: OwnRows::default(),
        });
        self.put_managed(ManagedPolicy::new(compiled, Tags::from(&policy.tags)));
        let arn = identity.arn.as_str();
        if self
            .tables
            .policies
            .find(PolicyType::PermissionsBoundary, arn)
            .is_some()
        {
            self.as_boundary(arn);
        }
    }

    /// Replaces the managed policy with the same ARN, unless they are equal. Then the one that is there, or was in the
    /// last snapshot, keeps its session policy.
    fn put_managed(&mut self, row: ManagedPolicy) {
        let arn = Arc::clone(&row.policy.name);
        let is_same = |known: &&Arc<ManagedPolicy>| {
            Arc::ptr_eq(&known.policy, &row.policy) && known.tags == row.tags
        };
        let known = self.tables.managed_policy(&arn).filter(is_same);
        if known.is_some() {
            return;
        }
        let before = self.before.and_then(|before| before.managed_policy(&arn));
        let row = match before.filter(is_same) {
            Some(before) => Arc::clone(before),
            None => Arc::new(row),
        };
        let hash = |managed: &Arc<ManagedPolicy>| hash_of(&*managed.policy.name);
        let is_it = |managed: &Arc<ManagedPolicy>| managed.policy.name == arn;
        self.tables.managed.put(row, hash, is_it);
    }

    fn attached(&mut self, attached: &[Reference], to: &mut Vec<Arc<Policy>>) {
        for reference in attached {
            let managed = self.tables.managed_policy(&reference.to);
            to.extend(managed.map(|managed| Arc::clone(&managed.policy)));
        }
    }

    /// Returns the managed policy with this ARN as a permissions boundary.
    fn as_boundary(&mut self, arn: &str) -> Option<Arc<Policy>> {
        let managed = self.tables.managed_policy(arn)?;
        let wanted = managed.policy.as_type(PolicyType::PermissionsBoundary);
        Some(self.policy(wanted))
    }

    fn boundary(&mut self, reference: Option<&Reference>) -> Option<SetId> {
        let policy = self.as_boundary(&reference?.to)?;
        Some(self.set(vec![policy]))
    }

    fn embedded(
        &mut self,
        name: &str,
        policy_type: PolicyType,
        file: &Arc<str>,
        document: &PolicyDocument,
    ) -> Arc<Policy> {
        let origin = self.tables.origin(Origin::of(document));
        self.policy(Policy {
            name: name.into(),
            policy_type,
            file: Arc::clone(file),
            statements: Arc::clone(&document.statements),
            origin,
            rows: OwnRows::default(),
        })
    }

    fn inline(&mut self, owner: &Identity, policies: &[InlinePolicy], to: &mut Vec<Arc<Policy>>) {
        for inline in policies {
            let name = inline_name(owner, inline);
            let file = &owner.at.file;
            to.push(self.embedded(&name, PolicyType::Identity, file, &inline.document));
        }
    }

    /// Returns the policy of an SCP or RCP.
    pub fn control(&mut self, control: &ControlPolicy, policy_type: PolicyType) -> Arc<Policy> {
        let file = &control.at.file;
        let name = file.strip_suffix(".json").unwrap_or(file);
        self.embedded(name, policy_type, file, &control.document)
    }

    /// Returns the policy of a file of `resource-policies/`, if it has one.
    pub fn resource_policy(&mut self, file: &ResourcePolicy) -> Option<Arc<Policy>> {
        let document = file.document.as_ref()?;
        Some(self.embedded(&file.name, PolicyType::Resource, &file.at.file, document))
    }

    /// Adds a group, or replaces the one of the same name.
    pub fn group(&mut self, group: &Arc<Group>) {
        self.inline(&group.identity, &group.inline, &mut Vec::new());
        let hash = |known: &KnownGroup| {
            let identity = &known.group.identity;
            hash_of(&(identity.account.as_str(), &*known.name))
        };
        let new = KnownGroup {
            name: group.identity.name().into(),
            group: Arc::clone(group),
        };
        let is_it = |known: &KnownGroup| {
            let (known, new) = (&known.group.identity, &group.identity);
            known.name() == new.name() && known.account == new.account
        };
        match self.tables.groups.find_mut(hash(&new), is_it) {
            Some(known) => known.group = new.group,
            None => _ = self.tables.groups.insert_unique(hash(&new), new, hash),
        }
    }

    /// Returns the entity of a user, including the policies of its groups.
    pub fn user(&mut self, user: &User) -> Entity {
        let identity = &user.identity;
        let mut policies = Vec::new();
        self.inline(identity, &user.inline, &mut policies);
        self.attached(&user.attached, &mut policies);
        let mut shares = Vec::with_capacity(user.groups.len());
        for reference in &user.groups {
            let Some(known) = self.tables.group(&identity.account, &reference.to) else {
                continue;
            };
            let (name, group) = (Arc::clone(&known.name), Arc::clone(&known.group));
            let n_before = policies.len();
            for inline in &group.inline {
                let name = inline_name(&group.identity, inline);
                let found = self.tables.policies.find(PolicyType::Identity, &name);
                policies.extend(found.map(Arc::clone));
            }
            self.attached(&group.attached, &mut policies);
            shares.push(GroupShare {
                name,
                n_policies: policies.len() - n_before,
            });
        }
        Entity {
            home: self.home(identity).filter(|_| !user.disabled),
            arn: identity.arn.clone(),
            account: identity.account.clone(),
            name_at: Entity::place_of_name(&identity.arn),
            unique_id: identity.unique_id.as_deref().map(Into::into),
            groups: shares.into(),
            identity: self.set_unless_empty(policies),
            permissions_boundary: self.boundary(user.permissions_boundary.as_deref()),
            tags: Tags::from(&user.tags),
            disabled: user.disabled,
            role: None,
        }
    }

    /// Returns the entity of a role.
    pub fn role(&mut self, role: &WrittenRole) -> Entity {
        let identity = &role.identity;
        let mut policies = Vec::new();
        self.inline(identity, &role.inline, &mut policies);
        self.attached(&role.attached, &mut policies);
        let trust = self.embedded(
            &format!("{}/trust", identity.arn),
            PolicyType::Trust,
            &identity.at.file,
            &role.trust,
        );
        Entity {
            home: self.home(identity).filter(|_| !role.disabled),
            arn: identity.arn.clone(),
            account: identity.account.clone(),
            name_at: Entity::place_of_name(&identity.arn),
            unique_id: identity.unique_id.as_deref().map(Into::into),
            groups: Box::default(),
            identity: self.set_unless_empty(policies),
            permissions_boundary: self.boundary(role.permissions_boundary.as_deref()),
            tags: Tags::from(&role.tags),
            disabled: role.disabled,
            role: Some(Role {
                trust: self.set(vec![trust]),
                service_linked: role.service_linked,
                max_session_duration: role.max_session_duration,
            }),
        }
    }

    /// Returns the account of a user or role if it belongs to the store. Returns `None` if the account is external
    /// or if the partition differs from the account's.
    fn home(&self, identity: &Identity) -> Option<AccountRow> {
        let accounts = &self.tables.accounts;
        let row = accounts.row(identity.account.as_str())?;
        let account = accounts.get(row)?;
        let is_home = !account.external && *account.partition == *identity.arn.partition();
        is_home.then_some(row)
    }

    /// Replaces the entity with the same ARN by `entity`, unless they are equal.
    pub fn put(&mut self, entity: Entity) {
        let by_arn = |entity: &Arc<Entity>| entity.arn.fingerprint();
        let by_name = |role: &Arc<Entity>| hash_of(&(role.account.as_str(), role.name()));
        let entity = Arc::new(entity);
        let is_it = |other: &Arc<Entity>| other.arn == entity.arn;
        let known = self.tables.entities.find(by_arn(&entity), is_it);
        if known.is_some_and(|known| *known == entity) {
            return;
        }
        let row = Arc::clone(&entity);
        self.tables.entities.put(row, by_arn, is_it);
        if entity.role.is_some() {
            let row = Arc::clone(&entity);
            self.tables.roles.put(row, by_name, is_it);
        }
    }
}
