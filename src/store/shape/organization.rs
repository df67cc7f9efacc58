//! Reads `organization.json`.

use super::Reading;
use super::members::{Members, string};
use crate::language::finding::Code;
use crate::language::json::Node;
use crate::language::report::Report;
use crate::name::AccountId;
use crate::world::organization::{
    ControlAttachments, ControlReference, MemberAccount, Organization, OrganizationalUnit,
    RCP_FULL_AWS_ACCESS,
};

const SCPS: &str = "ServiceControlPolicies";
const RCPS: &str = "ResourceControlPolicies";

/// The types of control policies that the organization has enabled.
#[derive(Clone, Copy)]
struct Enabled {
    service_control: bool,
    resource_control: bool,
}

/// Reads the organization.
pub fn organization(node: &Node<'_>, reading: &mut Reading<'_, '_>) -> Option<Organization> {
    let report = &mut *reading.report;
    let what = "the organization";
    let members = Members::of(
        node,
        what,
        &["Id", "ManagementAccountId", "Root"],
        &[],
        report,
    )?;
    let id = members.required_text("Id", what, report);
    let management_account = members
        .required_text("ManagementAccountId", what, report)
        .and_then(|(text, node)| account_id(text, node, report));
    let root = members.required("Root", what, report)?;
    let enabled = Enabled {
        service_control: root.member(SCPS).is_some(),
        resource_control: root.member(RCPS).is_some(),
    };
    let root = unit(root, "the root", enabled, report);
    Some(Organization {
        id: id?.0.to_owned(),
        management_account: management_account?,
        root: root?,
        service_control_enabled: enabled.service_control,
        resource_control_enabled: enabled.resource_control,
    })
}

fn unit(
    node: &Node<'_>,
    what: &str,
    enabled: Enabled,
    report: &mut Report<'_>,
) -> Option<OrganizationalUnit> {
    let read = ["Id", "Name", SCPS, RCPS, "OrganizationalUnits", "Accounts"];
    let members = Members::of(node, what, &read, &["Arn"], report)?;
    let id = members.required_text("Id", what, report);
    let name = members.text("Name", report);
    let attached = attachments(&members, enabled, report);
    let units = members.list("OrganizationalUnits", report);
    let units = units
        .iter()
        .filter_map(|node| unit(node, "an organizational unit", enabled, report))
        .collect();
    let accounts = members.list("Accounts", report);
    let accounts = accounts
        .iter()
        .filter_map(|node| member_account(node, enabled, report))
        .collect();
    Some(OrganizationalUnit {
        id: id?.0.to_owned(),
        name: name.map(|(text, _)| text.to_owned()),
        attached,
        units,
        accounts,
        at: report.location(&node.span),
    })
}

fn member_account(
    node: &Node<'_>,
    enabled: Enabled,
    report: &mut Report<'_>,
) -> Option<MemberAccount> {
    let what = "an account of the organization";
    let members = Members::of(
        node,
        what,
        &["Id", "Name", SCPS, RCPS],
        &["Arn", "Email"],
        report,
    )?;
    let id = members
        .required_text("Id", what, report)
        .and_then(|(text, node)| account_id(text, node, report));
    members.text("Name", report);
    let attached = attachments(&members, enabled, report);
    Some(MemberAccount {
        id: id?,
        attached,
        at: report.location(&node.span),
    })
}

fn account_id(text: &str, node: &Node<'_>, report: &mut Report<'_>) -> Option<AccountId> {
    match AccountId::parse(text) {
        Ok(id) if !id.is_aws() => Some(id),
        Ok(_) => {
            report
                .error(
                    Code::INVALID_VALUE,
                    &node.span,
                    "`aws` is not an account of an organization",
                )
                .help("remove it: `aws` stands for AWS itself");
            None
        }
        Err(malformed) => {
            report.error(Code::INVALID_VALUE, &node.span, malformed.to_string());
            None
        }
    }
}

fn attachments(
    members: &Members<'_, '_>,
    enabled: Enabled,
    report: &mut Report<'_>,
) -> ControlAttachments {
    let service_control = names(members, SCPS, enabled.service_control, report);
    let mut resource_control = names(members, RCPS, enabled.resource_control, report);
    // This one is in force on every node, listed or not (E-26).
    resource_control.retain(|reference| *reference.to != *RCP_FULL_AWS_ACCESS);
    ControlAttachments {
        service_control,
        resource_control,
    }
}

fn names(
    members: &Members<'_, '_>,
    list: &str,
    enabled: bool,
    report: &mut Report<'_>,
) -> Vec<ControlReference> {
    if let (Some(node), false) = (members.get(list), enabled) {
        report
            .error(
                Code::CONTRADICTION,
                &node.span,
                format!(
                    "`{list}` is used here, but the organization's root has no `{list}`, so this policy type is not enabled"
                ),
            )
            .help(format!("give the root its own `{list}`, or remove this one"));
    }
    let mut references = Vec::new();
    for node in members.list(list, report) {
        let Some(name) = string(node, list, report) else {
            continue;
        };
        references.push(ControlReference {
            to: name.into(),
            at: report.location(&node.span),
        });
    }
    references
}
