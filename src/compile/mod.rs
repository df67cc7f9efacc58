//! World → Snapshot. What could be wrong with a world was found while it was built, so nothing here can fail.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub mod demand;
pub mod operator;
pub mod policy_set;
pub mod section;
pub mod snapshot;

mod sets;

use crate::language::document::{
    Effect, Extent, Listed, PolicyDocument, PolicyType, PrincipalEntry, Statement,
};
use crate::language::pattern::{ActionPattern, ResourcePattern, Syntax};
use crate::name::AccountId;
use crate::world::World;
use crate::world::entity::{
    Identity, InlinePolicy, ManagedPolicy, Reference, ResourcePolicy, Tags as WrittenTags,
};
use crate::world::organization::{
    ControlAttachments, ControlPolicy, FULL_AWS_ACCESS, Organization, OrganizationalUnit,
};
use policy_set::SliceBudget;
use sets::SetsMaker;
use snapshot::{
    Account, Attachment, Entity, GroupShare, Membership, Origin, Policy, Revision, Role, SetId,
    Snapshot, Tags,
};

/// How much memory the slices of a store may take.
const SLICE_BYTES: usize = 64 << 20;

/// Compiles `world`.
pub fn compile(world: &World, revision: Revision) -> Snapshot {
    let entities = &world.entities;
    let managed = Managed::of(&entities.managed_policies);
    let mut sets = SetsMaker::new(SliceBudget::of(SLICE_BYTES));
    let mut accounts: HashMap<AccountId, Account> = world
        .accounts
        .values()
        .map(|account| {
            let compiled = Account {
                id: account.id.clone(),
                partition: account.partition.as_str().into(),
                root_user_enabled: account.root_user_enabled,
                anonymous_allowed: account.anonymous_allowed,
                external: account.external,
                trust_external_identity: account.trust_external_identity,
                canonical_user_id: account.canonical_user_id.as_deref().map(Into::into),
                membership: None,
                roles: HashMap::new(),
                attachments: Vec::new(),
            };
            (account.id.clone(), compiled)
        })
        .collect();
    if let Some(organization) = &entities.organization {
        let policies = Controls::of(
            &entities.service_control_policies,
            &entities.resource_control_policies,
        );
        place_members(organization, &policies, &mut accounts, &mut sets);
    }
    for role in &entities.roles {
        if let Some(account) = accounts.get_mut(&role.identity.account) {
            account.roles.insert(
                role.identity.name.as_str().into(),
                role.identity.arn.as_str().into(),
            );
        }
    }
    attach_resource_policies(&entities.resource_policies, &mut accounts, &mut sets);
    let mut by_arn = HashMap::new();
    by_arn.extend(users(world, &managed, &mut sets));
    by_arn.extend(roles(world, &managed, &mut sets));
    let managed_policies = managed
        .as_session
        .iter()
        .map(|(arn, policy)| (arn.clone(), sets.id_of(vec![Arc::clone(policy)])))
        .collect();
    Snapshot {
        revision,
        root_account: world.root_account.clone(),
        accounts,
        entities: by_arn,
        oidc_issuers: oidc_issuers(world),
        managed_policies,
        sets: sets.finish(),
        managed_policy_tags: entities
            .managed_policies
            .iter()
            .filter(|policy| !policy.tags.is_empty())
            .map(|policy| (policy.identity.arn.as_str().into(), tags(&policy.tags)))
            .collect(),
    }
}

/// Each managed policy in each of the parts it can play; they share their statements.
struct Managed {
    as_identity: HashMap<Box<str>, Arc<Policy>>,
    as_boundary: HashMap<Box<str>, Arc<Policy>>,
    as_session: HashMap<Box<str>, Arc<Policy>>,
}

/// A managed policy, by its default version (G-36).
struct InForce<'w> {
    policy: &'w ManagedPolicy,
    statements: Arc<[Statement]>,
    origin: Arc<Origin>,
}

impl Managed {
    fn of(policies: &[ManagedPolicy]) -> Self {
        let in_force: Vec<InForce<'_>> = policies
            .iter()
            .filter_map(|policy| {
                let version = policy.default_version()?;
                let origin = Origin {
                    is_managed: true,
                    version: Some(version.id.as_str().into()),
                    ..Origin::of(&version.document)
                };
                let statements = Arc::clone(&version.document.statements);
                Some(InForce {
                    policy,
                    statements,
                    origin: Arc::new(origin),
                })
            })
            .collect();
        let playing = |policy_type: PolicyType| {
            in_force
                .iter()
                .map(|in_force| {
                    let Identity { arn, at, .. } = &in_force.policy.identity;
                    let file = Arc::clone(&at.file);
                    let name = arn.as_str().to_owned();
                    (
                        arn.as_str().into(),
                        Arc::new(Policy {
                            name,
                            policy_type,
                            file,
                            statements: Arc::clone(&in_force.statements),
                            origin: Arc::clone(&in_force.origin),
                        }),
                    )
                })
                .collect()
        };
        Self {
            as_identity: playing(PolicyType::Identity),
            as_boundary: playing(PolicyType::PermissionsBoundary),
            as_session: playing(PolicyType::Session),
        }
    }

    fn identity<'a>(&'a self, attached: &'a [Reference]) -> impl Iterator<Item = Arc<Policy>> + 'a {
        attached
            .iter()
            .filter_map(|reference| self.as_identity.get(&*reference.to).cloned())
    }

    fn boundary(&self, reference: Option<&Reference>) -> Option<Arc<Policy>> {
        self.as_boundary.get(&*reference?.to).cloned()
    }
}

fn policy(
    name: String,
    policy_type: PolicyType,
    file: &Arc<str>,
    document: &PolicyDocument,
) -> Arc<Policy> {
    let statements = Arc::clone(&document.statements);
    Arc::new(Policy {
        name,
        policy_type,
        file: Arc::clone(file),
        statements,
        origin: Arc::new(Origin::of(document)),
    })
}

fn inline<'a>(
    owner: &'a Identity,
    policies: &'a [InlinePolicy],
) -> impl Iterator<Item = Arc<Policy>> + 'a {
    policies.iter().map(|inline| {
        let name = format!("{}/inline/{}", owner.arn, inline.name);
        policy(name, PolicyType::Identity, &owner.at.file, &inline.document)
    })
}

fn tags(written: &WrittenTags) -> Tags {
    Tags::new(
        written
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    )
}

fn users<'a>(
    world: &'a World,
    managed: &'a Managed,
    sets: &'a mut SetsMaker,
) -> impl Iterator<Item = (Box<str>, Entity)> + 'a {
    /// The group's name, and its policies.
    type Shared = (Arc<str>, Vec<Arc<Policy>>);
    let mut of_groups: HashMap<(&AccountId, &str), Shared> = HashMap::new();
    for group in &world.entities.groups {
        let policies = inline(&group.identity, &group.inline)
            .chain(managed.identity(&group.attached))
            .collect();
        let name = &group.identity.name;
        of_groups.insert(
            (&group.identity.account, name),
            (name.as_str().into(), policies),
        );
    }
    world.entities.users.iter().map(move |user| {
        let identity = &user.identity;
        let groups = || {
            user.groups
                .iter()
                .filter_map(|group| of_groups.get(&(&identity.account, group.to.as_str())))
        };
        let from_groups = groups().flat_map(|(_, policies)| policies).cloned();
        let shares = groups().map(|(name, policies)| GroupShare {
            name: Arc::clone(name),
            n_policies: policies.len(),
        });
        let identity_policies: Vec<_> = inline(identity, &user.inline)
            .chain(managed.identity(&user.attached))
            .chain(from_groups)
            .collect();
        let entity = Entity {
            arn: identity.arn.clone(),
            account: identity.account.clone(),
            name: identity.name.as_str().into(),
            unique_id: identity.unique_id.as_deref().map(Into::into),
            groups: shares.collect(),
            identity: sets.id_unless_empty(identity_policies),
            permissions_boundary: managed
                .boundary(user.permissions_boundary.as_ref())
                .map(|boundary| sets.id_of(vec![boundary])),
            tags: tags(&user.tags),
            disabled: user.disabled,
            role: None,
        };
        (identity.arn.as_str().into(), entity)
    })
}

fn roles<'a>(
    world: &'a World,
    managed: &'a Managed,
    sets: &'a mut SetsMaker,
) -> impl Iterator<Item = (Box<str>, Entity)> + 'a {
    world.entities.roles.iter().map(|role| {
        let identity = &role.identity;
        let trust = policy(
            format!("{}/trust", identity.arn),
            PolicyType::Trust,
            &identity.at.file,
            &role.trust,
        );
        let entity = Entity {
            arn: identity.arn.clone(),
            account: identity.account.clone(),
            name: identity.name.as_str().into(),
            unique_id: identity.unique_id.as_deref().map(Into::into),
            identity: sets.id_unless_empty(
                inline(identity, &role.inline)
                    .chain(managed.identity(&role.attached))
                    .collect(),
            ),
            groups: Box::default(),
            permissions_boundary: managed
                .boundary(role.permissions_boundary.as_ref())
                .map(|boundary| sets.id_of(vec![boundary])),
            tags: tags(&role.tags),
            disabled: role.disabled,
            role: Some(Role {
                trust: sets.id_of(vec![trust]),
                service_linked: role.service_linked,
                max_session_duration: role.max_session_duration,
            }),
        };
        (identity.arn.as_str().into(), entity)
    })
}

fn attach_resource_policies(
    policies: &[ResourcePolicy],
    accounts: &mut HashMap<AccountId, Account>,
    sets: &mut SetsMaker,
) {
    let mut sorted: Vec<&ResourcePolicy> = policies.iter().collect();
    // By path, `.json` included: `orders-vip.json` is before `orders.json`.
    sorted.sort_by(|a, b| a.at.file.cmp(&b.at.file));
    for file in sorted {
        let Some(account) = accounts.get_mut(&file.account) else {
            continue;
        };
        let document = file.document.as_ref();
        let policy = document.map(|document| {
            policy(
                file.name.clone(),
                PolicyType::Resource,
                &file.at.file,
                document,
            )
        });
        account.attachments.push(Attachment::new(
            file.scopes.clone(),
            policy.map(|policy| sets.id_of(vec![policy])),
            file.required,
            tags(&file.tags),
        ));
    }
}

/// The issuers that trust policies name: a bare `host/path`, or the ARN of an OIDC provider. There is no other place
/// where a store registers one.
fn oidc_issuers(world: &World) -> HashSet<Box<str>> {
    world
        .entities
        .roles
        .iter()
        .flat_map(|role| role.trust.statements.iter())
        .filter_map(|statement| statement.principal.as_ref())
        .flat_map(|principal| &principal.entries)
        .filter_map(|entry| match entry {
            PrincipalEntry::Federated(provider) => oidc_issuer(provider),
            _ => None,
        })
        .map(|issuer| issuer.to_ascii_lowercase().into())
        .collect()
}

/// `host/path` of a provider given by its ARN or by just that; none for SAML providers.
pub fn oidc_issuer(provider: &str) -> Option<&str> {
    match provider.split_once(":oidc-provider/") {
        Some((_, issuer)) => Some(issuer),
        None => (!provider.starts_with("arn:")).then_some(provider),
    }
}

/// SCPs and RCPs by name.
struct Controls {
    service_control: HashMap<String, Arc<Policy>>,
    resource_control: HashMap<String, Arc<Policy>>,
}

impl Controls {
    fn of(service_control: &[ControlPolicy], resource_control: &[ControlPolicy]) -> Self {
        let by_name = |policies: &[ControlPolicy], policy_type: PolicyType| {
            policies
                .iter()
                .map(|control| {
                    let file = control
                        .at
                        .file
                        .strip_suffix(".json")
                        .unwrap_or(&control.at.file)
                        .to_owned();
                    (
                        control.name.clone(),
                        policy(file, policy_type, &control.at.file, &control.document),
                    )
                })
                .collect::<HashMap<_, _>>()
        };
        let mut service_control = by_name(service_control, PolicyType::ServiceControl);
        service_control.extend(full_aws_access());
        Self {
            service_control,
            resource_control: by_name(resource_control, PolicyType::ResourceControl),
        }
    }

    fn level(&self, attached: &ControlAttachments, sets: &mut SetsMaker) -> Level {
        let mut find = |policies: &HashMap<String, Arc<Policy>>, names: &[Reference]| {
            let policies = names
                .iter()
                .filter_map(|name| policies.get(&name.to).cloned())
                .collect();
            sets.id_unless_empty(policies)
        };
        Level {
            service_control: find(&self.service_control, &attached.service_control),
            resource_control: find(&self.resource_control, &attached.resource_control),
        }
    }
}

/// The built-in SCP that allows everything.
fn full_aws_access() -> Option<(String, Arc<Policy>)> {
    let syntax = Syntax {
        wildcards: true,
        variables: false,
    };
    let everything = Statement {
        sid: None,
        effect: Effect::Allow,
        principal: None,
        actions: Listed::Any(vec![ActionPattern::parse("*").ok()?]),
        resources: Some(Listed::Any(vec![ResourcePattern::parse("*", syntax).ok()?])),
        conditions: Vec::new(),
        extent: Extent::default(),
    };
    let policy = Policy {
        name: FULL_AWS_ACCESS.to_owned(),
        policy_type: PolicyType::ServiceControl,
        file: "".into(),
        statements: [everything].into(),
        origin: Arc::default(),
    };
    Some((FULL_AWS_ACCESS.to_owned(), Arc::new(policy)))
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
    accounts: &mut HashMap<AccountId, Account>,
    sets: &mut SetsMaker,
) {
    // Depth first, with the way from the root to each unit.
    let mut open: Vec<(&OrganizationalUnit, String, Vec<Level>)> = vec![(
        &organization.root,
        format!("{}/", organization.id),
        Vec::new(),
    )];
    while let Some((unit, above, mut levels)) = open.pop() {
        let path = format!("{above}{}/", unit.id);
        levels.push(controls.level(&unit.attached, sets));
        for member in &unit.accounts {
            let mut levels = levels.clone();
            levels.push(controls.level(&member.attached, sets));
            let is_subject = member.id != organization.management_account;
            let membership = Membership {
                organization: organization.id.as_str().into(),
                path: path.as_str().into(),
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
