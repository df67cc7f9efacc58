//! Turns a whole world into the tables of its snapshot.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::accounts::{Account, Accounts, Membership};
use super::attachments::{Attachment, Attachments};
use super::entity_rows::{Making, Tables};
use super::issuers::Issuers;
use super::policy::{OwnRows, Policy};
use super::shared_sets::SetId;
use super::snapshot::Whole;
use super::tags::Tags;
use crate::language::document::{Effect, Extent, Listed, PolicyType, Statement};
use crate::language::pattern::{ActionPattern, ResourcePattern, Syntax};
use crate::name::AccountId;
use crate::world::World;
use crate::world::entity::ResourcePolicy;
use crate::world::organization::{
    ControlAttachments, ControlPolicy, ControlReference, FULL_AWS_ACCESS, Organization,
    OrganizationalUnit,
};

/// Makes the tables of `world`. Rows that are the same in `before` are reused.
pub(super) fn tables(world: &World, empty: Tables, before: Option<&Tables>) -> Tables {
    let entities = &world.entities;
    let mut tables = empty;
    let mut making = Making {
        tables: &mut tables,
        before,
    };
    let mut accounts = accounts(world);
    // Managed policies come before groups and principals, which share them, and groups come before their users.
    for policy in &entities.managed_policies {
        making.managed(policy);
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
        attachments,
        oidc_issuers: Issuers::of(world),
    });
    tables
}

/// Returns the accounts of `world`, without their places in the organization.
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

fn attachments(policies: &[Arc<ResourcePolicy>], making: &mut Making<'_>) -> Attachments {
    let mut sorted: Vec<&Arc<ResourcePolicy>> = policies.iter().collect();
    // Files are sorted by path including `.json`, so `orders-vip.json` comes before `orders.json`.
    sorted.sort_by(|a, b| a.at.file.cmp(&b.at.file));
    let compiled = sorted.into_iter().map(|file| {
        let policy = making.resource_policy(file);
        Attachment::new(
            file.account.clone(),
            &file.scopes,
            policy.map(|policy| making.set(vec![policy])),
            file.required,
            Tags::from(&file.tags),
        )
    });
    Attachments::new(compiled.collect())
}

/// The SCPs and RCPs by name.
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
                .filter_map(|name: &ControlReference| policies.get(&*name.to).cloned())
                .collect();
            making.set_unless_empty(policies)
        };
        Level {
            service_control: find(&self.service_control, &attached.service_control),
            resource_control: find(&self.resource_control, &attached.resource_control),
        }
    }
}

/// Returns the built-in SCP that allows everything.
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
        rows: OwnRows::default(),
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
    // The units are visited depth first, each with its path from the root.
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
