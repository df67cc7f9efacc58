//! The actions that the statements of a snapshot name.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::FixedState;
use smol_str::SmolStr;

use super::policy::Policy;
use crate::language::pattern::{ActionForm, ActionPattern};
use crate::name::Action;

/// The most patterns that are compared with an action. Beyond, the action counts as named, since nobody pays for this work.
const MAX_TRIED: usize = 64;

/// What the statements of a store name in `Action` and `NotAction`, other than `*`. An action that none of them names is most
/// likely a typing error, of an application or of a policy.
#[derive(Debug, Default)]
pub struct NamedActions {
    /// The names without wildcards, in lower case, and as a policy spells each.
    names: HashMap<SmolStr, SmolStr, FixedState>,
    /// The patterns with wildcards by the service in lower case. A service has none (M-2).
    patterns: HashMap<SmolStr, Vec<ActionPattern>, FixedState>,
    /// The services, as a policy spells each.
    services: BTreeSet<SmolStr>,
}

impl NamedActions {
    /// Collects the actions of these policies. The time grows with their statements: some tens of nanoseconds for each action.
    pub(super) fn of<'s>(policies: impl Iterator<Item = &'s Arc<Policy>>) -> Self {
        let mut named = Self::default();
        let mut read = HashSet::with_hasher(FixedState::default());
        let mut seen: HashSet<SmolStr, FixedState> = HashSet::default();
        for policy in policies {
            // The types of one managed policy share its statements.
            if !read.insert(Arc::as_ptr(&policy.statements).addr()) {
                continue;
            }
            let statements = policy.statements.iter();
            for pattern in statements.flat_map(|statement| statement.actions.entries()) {
                if !seen.contains(pattern.as_str()) {
                    seen.insert(pattern.as_str().into());
                    named.add(pattern);
                }
            }
        }
        named
    }

    fn add(&mut self, pattern: &ActionPattern) {
        let Some(service) = pattern.service() else {
            return; // it names nothing
        };
        self.services.insert(service.into());
        let spelled = pattern.as_str();
        if matches!(pattern.form(), ActionForm::Name(_)) {
            self.names.insert(folded(spelled), spelled.into());
        } else {
            let patterns = self.patterns.entry(folded(service)).or_default();
            patterns.push(pattern.clone());
        }
    }

    /// Returns whether a statement names this action, by its name or by a pattern other than `*`.
    pub fn contains(&self, action: &Action) -> bool {
        if self.names.contains_key(action.as_str()) {
            return true;
        }
        let patterns = self.patterns.get(action.service());
        let patterns = patterns.map_or(&[][..], Vec::as_slice);
        let mut tried = patterns.iter().take(MAX_TRIED);
        tried.any(|pattern| pattern.matches(action)) || patterns.len() > MAX_TRIED
    }

    /// Iterates over the services that are named, in their order.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.services.iter().map(|service| &**service)
    }

    /// Iterates over the names of a service without wildcards, in no order.
    pub fn names_of<'n>(&'n self, service: &'n str) -> impl Iterator<Item = &'n str> {
        let names = self.names.values().map(|name| &**name);
        names.filter(move |name| {
            let own = name.split_once(':');
            own.is_some_and(|(own, _)| own.eq_ignore_ascii_case(service))
        })
    }
}

fn folded(text: &str) -> SmolStr {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        text.to_ascii_lowercase().into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn an_action_is_named_by_its_name_or_by_a_pattern_other_than_everything() {
        let mut named = NamedActions::default();
        for pattern in ["Orders:Get", "s3:get*", "s3:?ut", "ec2:*", "*"] {
            named.add(&ActionPattern::parse(pattern).unwrap());
        }
        let is_named = |action: &str| named.contains(&Action::parse(action).unwrap());
        for action in [
            "orders:get",
            "ORDERS:GET",
            "S3:GetObject",
            "s3:Put",
            "ec2:X",
        ] {
            assert!(is_named(action), "{action}");
        }
        for action in ["orders:GetAll", "s3:PutObject", "order:Get", "nosuch:Thing"] {
            assert!(!is_named(action), "{action}");
        }
        let services: Vec<&str> = named.services().collect();
        assert_eq!(services, ["Orders", "ec2", "s3"]);
        assert_eq!(named.names_of("orders").collect::<Vec<_>>(), ["Orders:Get"]);
    }
}
