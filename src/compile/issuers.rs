//! The OIDC issuers that a store registers.

use std::collections::HashSet;

use crate::language::document::{PrincipalElement, PrincipalEntry};
use crate::world::World;

/// The registered issuers, in lower case.
#[derive(Debug, Default)]
pub struct Issuers {
    names: HashSet<Box<str>>,
    /// The length in bytes of the longest.
    longest: Option<usize>,
}

impl Issuers {
    /// Returns the issuers that trust policies name: a bare `host/path`, or the ARN of an OIDC provider. A store has no
    /// other place to register an issuer.
    pub(super) fn of(world: &World) -> Self {
        let names: HashSet<Box<str>> = names(world).collect();
        Self {
            longest: names.iter().map(|name| name.len()).max(),
            names,
        }
    }

    pub(super) fn contains(&self, folded: &str) -> bool {
        self.names.contains(folded)
    }

    pub(super) fn longest(&self) -> Option<usize> {
        self.longest
    }
}

fn names(world: &World) -> impl Iterator<Item = Box<str>> {
    world
        .entities
        .roles
        .iter()
        .flat_map(|role| role.trust.statements.iter())
        .filter_map(|statement| statement.principal.as_deref())
        .flat_map(issuers)
        .map(|issuer| issuer.to_ascii_lowercase().into())
}

/// Returns the issuers that one statement names.
pub(super) fn issuers(principal: &PrincipalElement) -> impl Iterator<Item = &str> {
    principal.entries.iter().filter_map(|entry| match entry {
        PrincipalEntry::Federated(provider) => oidc_issuer(provider),
        _ => None,
    })
}

/// Returns the `host/path` of a provider that is given by its ARN or by `host/path` itself. Returns `None` for SAML
/// providers.
pub fn oidc_issuer(provider: &str) -> Option<&str> {
    if !provider.starts_with("arn:") {
        return Some(provider);
    }
    let resource = provider.splitn(6, ':').nth(5)?;
    resource.strip_prefix("oidc-provider/")
}
