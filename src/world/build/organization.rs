//! Checks the organization's tree: its depth, one place for each node, and policies that exist (G-38, E-31).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Missing;
use crate::language::finding::{Code, Finding, Location, did_you_mean};
use crate::name::AccountId;
use crate::world::Entities;
use crate::world::organization::{
    ControlAttachments, ControlPolicy, ControlReference, FULL_AWS_ACCESS, Organization,
    OrganizationalUnit, RCP_FULL_AWS_ACCESS,
};

/// Returns every account that the organization names.
pub fn accounts(entities: &Entities) -> Vec<(&AccountId, &Location)> {
    let Some(organization) = &entities.organization else {
        return Vec::new();
    };
    let mut accounts = vec![(&organization.management_account, &organization.root.at)];
    for (unit, _) in units(&organization.root) {
        accounts.extend(
            unit.accounts
                .iter()
                .map(|account| (&account.id, &account.at)),
        );
    }
    accounts
}

/// Returns all units with their depth. The root has depth 0.
fn units(root: &OrganizationalUnit) -> Vec<(&OrganizationalUnit, usize)> {
    let mut found = Vec::new();
    let mut open = vec![(root, 0)];
    while let Some((unit, depth)) = open.pop() {
        found.push((unit, depth));
        open.extend(unit.units.iter().map(|unit| (unit, depth + 1)));
    }
    found
}

/// Checks the tree, the attachments and the names of control policies.
pub fn check(entities: &Entities, missing: &Missing, findings: &mut Vec<Finding>) {
    for (policies, reserved, folder) in [
        (
            &entities.service_control_policies,
            FULL_AWS_ACCESS,
            "ServiceControlPolicies",
        ),
        (
            &entities.resource_control_policies,
            RCP_FULL_AWS_ACCESS,
            "ResourceControlPolicies",
        ),
    ] {
        for policy in policies.iter().filter(|policy| policy.name == reserved) {
            let message = format!("`{reserved}` is built in, and no file may have its name");
            let help = format!("remove the file: `{folder}` can still name it");
            findings
                .push(Finding::error(Code::RESERVED_NAME, policy.at.clone(), message).help(help));
        }
    }
    let Some(organization) = &entities.organization else {
        return;
    };
    one_place_each(organization, findings);
    let scps = Known::of(
        &entities.service_control_policies,
        FULL_AWS_ACCESS,
        "service control policy",
    );
    let rcps = Known::of(
        &entities.resource_control_policies,
        RCP_FULL_AWS_ACCESS,
        "resource control policy",
    );
    for (unit, depth) in units(&organization.root) {
        let mut node = Node {
            organization,
            missing,
            findings,
        };
        node.check(
            &unit.attached,
            &unit.at,
            &format!("`{}`", unit.id),
            (&scps, &rcps),
        );
        for account in &unit.accounts {
            node.check(
                &account.attached,
                &account.at,
                &format!("account `{}`", account.id),
                (&scps, &rcps),
            );
        }
        let max_depth = 5;
        if depth == max_depth + 1 {
            let message = format!("units more than {max_depth} deep are more than AWS allows");
            findings.push(Finding::warning(Code::AWS_QUOTA, unit.at.clone(), message));
        }
    }
}

/// Checks that each unit and each account has one place in the tree.
fn one_place_each(organization: &Organization, findings: &mut Vec<Finding>) {
    let mut places: BTreeMap<&str, &Location> = BTreeMap::new();
    let mut place = |id, at: &'_ Location, what: &str, first: Option<&Location>| {
        if let Some(first) = first {
            let message = format!(
                "{what} `{id}` already has a place in the tree, at {}",
                first.pointer
            );
            findings.push(
                Finding::error(Code::ORGANIZATION_TREE, at.clone(), message)
                    .help("remove it from one of the two places"),
            );
        }
    };
    let mut accounts: BTreeMap<&AccountId, &Location> = BTreeMap::new();
    for (unit, _) in units(&organization.root) {
        let first = places.insert(&unit.id, &unit.at);
        place(unit.id.as_str(), &unit.at, "unit", first);
        for account in &unit.accounts {
            let first = accounts.insert(&account.id, &account.at);
            place(account.id.as_str(), &account.at, "account", first);
        }
    }
}

/// The control policies of one type that can be attached.
struct Known<'e> {
    names: BTreeSet<&'e str>,
    what: &'static str,
}

impl<'e> Known<'e> {
    fn of(policies: &'e [Arc<ControlPolicy>], built_in: &'static str, what: &'static str) -> Self {
        let names = policies
            .iter()
            .map(|policy| policy.name.as_str())
            .chain([built_in])
            .collect();
        Self { names, what }
    }
}

struct Node<'c> {
    organization: &'c Organization,
    missing: &'c Missing,
    findings: &'c mut Vec<Finding>,
}

impl Node<'_> {
    fn check(
        &mut self,
        attached: &ControlAttachments,
        at: &Location,
        node: &str,
        known: (&Known<'_>, &Known<'_>),
    ) {
        if self.organization.service_control_enabled && attached.service_control.is_empty() {
            let message =
                format!("{node} has no service control policy, so nothing is allowed below it");
            self.findings
                .push(
                    Finding::error(Code::EMPTY_LEVEL, at.clone(), message).help(format!(
                        "attach one, such as `\"ServiceControlPolicies\": [\"{FULL_AWS_ACCESS}\"]`"
                    )),
                );
        }
        let (scps, rcps) = known;
        self.exist(&attached.service_control, node, scps);
        self.exist(&attached.resource_control, node, rcps);
    }

    fn exist(&mut self, references: &[ControlReference], node: &str, known: &Known<'_>) {
        for ControlReference { to, at } in references {
            if known.names.contains(&**to) || self.missing.may_be(to) {
                continue;
            }
            let message = format!(
                "{node} has the {} `{to}` attached, which the store does not have",
                known.what
            );
            let help = did_you_mean(to, known.names.iter().copied())
                .unwrap_or_else(|| "add the policy to the store, or detach it".to_owned());
            let finding = Finding::error(Code::DANGLING_REFERENCE, at.clone(), message);
            self.findings.push(finding.help(help));
        }
        let max = 5;
        if let Some(first) = references.first()
            && references.len() > max
        {
            let message = format!(
                "{} policies on one node are more than the {max} that AWS allows",
                references.len()
            );
            self.findings
                .push(Finding::warning(Code::AWS_QUOTA, first.at.clone(), message));
        }
    }
}
