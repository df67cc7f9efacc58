//! Finds resource patterns that miss a resource of the store only because of the case of a letter (M-16).

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::identities;
use crate::language::document::PolicyDocument;
use crate::language::finding::{Code, Finding, Location};
use crate::language::pattern::ResourcePattern;
use crate::world::Entities;

/// Warns about every pattern that differs from an ARN or a scope of the store in case alone.
///
/// Patterns are compared as they are written. `role/Ops*` is not compared with every role, because that would take as
/// many comparisons as there are patterns times roles.
/// comparisons as there are patterns and roles.
pub fn check(entities: &Entities, findings: &mut Vec<Finding>) {
    let known: HashSet<&str> = resources(entities).collect();
    let mut folded: HashMap<Folded<'_>, &str> = HashMap::with_capacity(known.len());
    for text in &known {
        // If two texts differ in case alone, the first is taken, because each load must report the same.
        let meant = folded.entry(Folded(text)).or_insert(text);
        *meant = (*meant).min(text);
    }
    for (document, at) in documents(entities) {
        for (index, statement) in document.statements.iter().enumerate() {
            let patterns = statement
                .resources
                .iter()
                .flat_map(|listed| listed.entries());
            for pattern in patterns.map(ResourcePattern::as_str) {
                let Some(meant) = folded.get(&Folded(pattern)) else {
                    continue;
                };
                if known.contains(pattern) {
                    continue;
                }
                let index = document.is_list.then(|| format!("/{index}"));
                let place = Location {
                    file: Arc::clone(&at.file),
                    line: statement.extent.start.line,
                    column: statement.extent.start.column,
                    pointer: format!("{}{}", document.pointer, index.unwrap_or_default()).into(),
                };
                let message = format!(
                    "resource `{pattern}` differs from `{meant}` of the store only in case, and so never covers it"
                );
                let finding = Finding::warning(Code::CASE_MISMATCH, place, message);
                findings.push(finding.help(format!("write `{meant}`")));
            }
        }
    }
}

/// Returns every ARN and every scope of a store, with which patterns are compared.
pub fn resources(entities: &Entities) -> impl Iterator<Item = &str> {
    let arns = identities(entities).map(|(_, identity)| identity.arn.as_str());
    let scopes = entities
        .resource_policies
        .iter()
        .flat_map(|policy| &policy.scopes)
        .map(ResourcePattern::as_str);
    arns.chain(scopes)
}

/// Returns the resource patterns of all documents in the form that is compared.
pub fn patterns(entities: &Entities) -> impl Iterator<Item = &str> {
    documents(entities)
        .flat_map(|(document, _)| document.statements.iter())
        .filter_map(|statement| statement.resources.as_ref())
        .flat_map(|listed| listed.entries())
        .map(ResourcePattern::as_str)
}

/// Returns every document whose statements may name resources, and the location of its entity.
fn documents(entities: &Entities) -> impl Iterator<Item = (&PolicyDocument, &Location)> {
    let users = entities.users.iter().map(|of| (&of.inline, &of.identity));
    let groups = entities.groups.iter().map(|of| (&of.inline, &of.identity));
    let roles = entities.roles.iter().map(|of| (&of.inline, &of.identity));
    let inline = users
        .chain(groups)
        .chain(roles)
        .flat_map(|(inline, of)| inline.iter().map(|policy| (&policy.document, &of.at)));
    let managed = entities.managed_policies.iter().flat_map(|policy| {
        let versions = policy.versions.iter();
        versions.map(|version| (&version.document, &policy.identity.at))
    });
    let attached = entities
        .resource_policies
        .iter()
        .filter_map(|policy| Some((policy.document.as_ref()?, &policy.at)));
    let controls = entities
        .service_control_policies
        .iter()
        .chain(&entities.resource_control_policies)
        .map(|policy| (&policy.document, &policy.at));
    inline.chain(managed).chain(attached).chain(controls)
}

/// A text that is compared ignoring ASCII case.
struct Folded<'t>(&'t str);

impl PartialEq for Folded<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }
}

impl Eq for Folded<'_> {}

impl Hash for Folded<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}
