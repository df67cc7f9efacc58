//! World → Snapshot. What could be wrong with a world was found while it was built, so nothing here can fail.
//!
//! A [`Compiler`](incremental::Compiler) keeps what it has compiled. What has not changed since, policies, sets of
//! policies with their slices, is in the next snapshot too.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub mod accounts;
pub mod attachments;
pub mod demand;
pub mod incremental;
pub mod operator;
pub mod policy_set;
pub mod section;
pub mod snapshot;

mod making;
mod policies;
mod sets;
mod table;

use foldhash::fast::FixedState;

use crate::language::document::{
    Effect, Extent, Listed, PolicyType, PrincipalElement, PrincipalEntry, Statement,
};
use crate::language::pattern::{ActionPattern, ResourcePattern, Syntax};
use crate::name::AccountId;
use crate::world::World;
use crate::world::entity::{Reference, ResourcePolicy, Tags as WrittenTags};
use crate::world::organization::{
    ControlAttachments, ControlPolicy, FULL_AWS_ACCESS, Organization, OrganizationalUnit,
};
use accounts::Accounts;
use attachments::{Attachment, Attachments};
use making::{Making, Tables};
use snapshot::{
    Account, ManagedPolicy, Membership, Policy, Revision, SetId, Snapshot, Tags, Whole,
};

/// Compiles `world`.
pub fn compile(world: &World, revision: Revision) -> Snapshot {
    incremental::Compiler::new().compile(world, revision)
}

/// Makes the tables of `world`, of what is in those `before` it where that is the same.
fn tables(world: &World, empty: Tables, before: Option<&Tables>) -> Tables {
    let entities = &world.entities;
    let mut tables = empty;
    let mut making = Making {
        tables: &mut tables,
        before,
    };
    let mut accounts = accounts(world);
    // Before those who refer to it: groups and principals have parts of managed policies, users those of groups.
    let mut managed_policies = HashMap::default();
    for policy in &entities.managed_policies {
        if let Some(session) = making.managed(policy) {
            let name = Arc::clone(&session.name);
            let compiled = ManagedPolicy {
                session: making.set(vec![session]),
                tags: tags(&policy.tags),
            };
            managed_policies.insert(name, compiled);
        }
    }
    if let Some(organization) = &entities.organization {
        let controls = Controls::of(
            &entities.service_control_policies,
            &entities.resource_control_policies,
            &mut making,
        );
        place_members(organization, &controls, &mut accounts, &mut making);
    }
    making.tables.accounts = Arc::new(Accounts::new(accounts.into_values()));
    let attachments = attachments(&entities.resource_policies, &mut making);
    for group in &entities.groups {
        making.group(group);
    }
    for user in &entities.users {
        let entity = making.user(user);
        making.put(entity);
    }
    for role in &entities.roles {
        let entity = making.role(role);
        making.put(entity);
    }
    tables.whole = Arc::new(Whole {
        root_account: world.root_account.clone(),
        managed_policies,
        attachments,
        oidc_issuers: oidc_issuers(world),
    });
    tables
}

/// The accounts of `world`, without their places in the organization.
fn accounts(world: &World) -> HashMap<AccountId, Account, FixedState> {
    let compiled = |account: &crate::world::entity::Account| Account {
        id: account.id.clone(),
        partition: account.partition.clone(),
        root_user_enabled: account.root_user_enabled,
        anonymous_allowed: account.anonymous_allowed,
        external: account.external,
        trust_external_identity: account.trust_external_identity,
        canonical_user_id: account.canonical_user_id.as_deref().map(Into::into),
        membership: None,
    };
    world
        .accounts
        .values()
        .map(|account| (account.id.clone(), compiled(account)))
        .collect()
}

fn tags(written: &WrittenTags) -> Tags {
    Tags::new(written.iter().map(|(key, value)| (&**key, &**value)))
}

fn attachments(policies: &[Arc<ResourcePolicy>], making: &mut Making<'_>) -> Attachments {
    let mut sorted: Vec<&Arc<ResourcePolicy>> = policies.iter().collect();
    // By path, `.json` included: `orders-vip.json` is before `orders.json`.
    sorted.sort_by(|a, b| a.at.file.cmp(&b.at.file));
    let compiled = sorted.into_iter().map(|file| {
        let policy = making.resource_policy(file);
        Attachment::new(
            file.account.clone(),
            &file.scopes,
            policy.map(|policy| making.set(vec![policy])),
            file.required,
            tags(&file.tags),
        )
    });
    Attachments::new(compiled.collect())
}

/// The issuers that trust policies name: a bare `host/path`, or the ARN of an OIDC provider. There is no other place
/// where a store registers one.
fn oidc_issuers(world: &World) -> HashSet<Box<str>> {
    world
        .entities
        .roles
        .iter()
        .flat_map(|role| role.trust.statements.iter())
        .filter_map(|statement| statement.principal.as_deref())
        .flat_map(issuers)
        .map(|issuer| issuer.to_ascii_lowercase().into())
        .collect()
}

fn issuers(principal: &PrincipalElement) -> impl Iterator<Item = &str> {
    principal.entries.iter().filter_map(|entry| match entry {
        PrincipalEntry::Federated(provider) => oidc_issuer(provider),
        _ => None,
    })
}

/// `host/path` of a provider given by its ARN or by just that; none for SAML providers.
pub fn oidc_issuer(provider: &str) -> Option<&str> {
    if !provider.starts_with("arn:") {
        return Some(provider);
    }
    let resource = provider.splitn(6, ':').nth(5)?;
    resource.strip_prefix("oidc-provider/")
}

/// SCPs and RCPs by name.
struct Controls {
    service_control: HashMap<String, Arc<Policy>>,
    resource_control: HashMap<String, Arc<Policy>>,
}

impl Controls {
    fn of(
        service_control: &[Arc<ControlPolicy>],
        resource_control: &[Arc<ControlPolicy>],
        making: &mut Making<'_>,
    ) -> Self {
        let mut by_name = |policies: &[Arc<ControlPolicy>], policy_type| -> HashMap<_, _> {
            policies
                .iter()
                .map(|control| (control.name.clone(), making.control(control, policy_type)))
                .collect()
        };
        let mut scps = by_name(service_control, PolicyType::ServiceControl);
        let rcps = by_name(resource_control, PolicyType::ResourceControl);
        let built_in = full_aws_access().map(|policy| making.policy(policy));
        scps.extend(built_in.map(|policy| (FULL_AWS_ACCESS.to_owned(), policy)));
        Self {
            service_control: scps,
            resource_control: rcps,
        }
    }

    fn level(&self, attached: &ControlAttachments, making: &mut Making<'_>) -> Level {
        let mut find = |policies: &HashMap<String, Arc<Policy>>, names: &[_]| {
            let policies = names
                .iter()
                .filter_map(|name: &Reference| policies.get(&*name.to).cloned())
                .collect();
            making.set_unless_empty(policies)
        };
        Level {
            service_control: find(&self.service_control, &attached.service_control),
            resource_control: find(&self.resource_control, &attached.resource_control),
        }
    }
}

/// The built-in SCP that allows everything.
fn full_aws_access() -> Option<Policy> {
    let syntax = Syntax {
        wildcards: true,
        variables: false,
    };
    let everything = Statement {
        sid: None,
        effect: Effect::Allow,
        principal: None,
        actions: Listed::Any([ActionPattern::parse("*").ok()?].into()),
        resources: Some(Listed::Any(
            [ResourcePattern::parse("*", syntax).ok()?].into(),
        )),
        conditions: Arc::default(),
        extent: Extent::default(),
    };
    Some(Policy {
        name: FULL_AWS_ACCESS.into(),
        policy_type: PolicyType::ServiceControl,
        file: "".into(),
        statements: [everything].into(),
        origin: Arc::default(),
    })
}

/// The control policies of one node.
#[derive(Clone, Copy)]
struct Level {
    service_control: Option<SetId>,
    resource_control: Option<SetId>,
}

/// Gives each account of the organization its path and its levels (E-20 to E-27).
fn place_members(
    organization: &Organization,
    controls: &Controls,
    accounts: &mut HashMap<AccountId, Account, FixedState>,
    making: &mut Making<'_>,
) {
    // Depth first, with the way from the root to each unit.
    let mut open: Vec<(&OrganizationalUnit, String, Vec<Level>)> = vec![(
        &organization.root,
        format!("{}/", organization.id),
        Vec::new(),
    )];
    while let Some((unit, above, mut levels)) = open.pop() {
        let path = format!("{above}{}/", unit.id);
        levels.push(controls.level(&unit.attached, making));
        for member in &unit.accounts {
            let mut levels = levels.clone();
            levels.push(controls.level(&member.attached, making));
            let is_subject = member.id != organization.management_account;
            let membership = Membership {
                organization: organization.id.as_str().into(),
                path: path.as_str().into(),
                is_management: !is_subject,
                service_control: (is_subject && organization.service_control_enabled)
                    .then(|| levels.iter().map(|level| level.service_control).collect()),
                resource_control: (is_subject && organization.resource_control_enabled)
                    .then(|| levels.iter().map(|level| level.resource_control).collect()),
            };
            if let Some(account) = accounts.get_mut(&member.id) {
                account.membership = Some(membership);
            }
        }
        open.extend(
            unit.units
                .iter()
                .map(|below| (below, path.clone(), levels.clone())),
        );
    }
}
