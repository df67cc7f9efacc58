//! What the statements about an action need: the context keys that they may read, and an estimate of their cost.
//!
//! The cache of decisions uses both. The keys say what an answer may depend on (K-40), and the cost says whether it is
//! worth looking the answer up.

use crate::context::{ContextKey, KeyKind};
use crate::language::condition::{Condition, Operand};
use crate::language::document::Statement;
use crate::language::pattern::ResourcePattern;

/// The needs of the statements of one node.
#[derive(Debug)]
pub struct Demand {
    /// The context keys that they may read, as condition keys or as variables, sorted and without duplicates. Keys that
    /// follow from the names of principal, resource and owner, or from the clock, are left out.
    pub keys: Box<[ContextKey]>,
    /// Whether they may read the clock (K-41).
    pub reads_clock: bool,
}

/// The source of a context key's value, besides the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The names of the principal, the resource and its owner. Code that has these names needs no value.
    Named,
    /// The time of the request (K-41).
    Clock,
    /// Any other part of the request.
    Given,
}

impl Source {
    fn of(kind: KeyKind) -> Self {
        use KeyKind as K;
        match kind {
            K::PrincipalArn
            | K::PrincipalAccount
            | K::PrincipalType
            | K::Username
            | K::Userid
            | K::PrincipalOrgId
            | K::PrincipalOrgPaths
            | K::PrincipalIsAwsService
            | K::PrincipalServiceName
            | K::PrincipalServiceNamesList
            | K::ResourceAccount
            | K::ResourceOrgId
            | K::ResourceOrgPaths => Self::Named,
            K::CurrentTime | K::EpochTime | K::MultiFactorAuthAge => Self::Clock,
            K::PrincipalTag
            | K::TokenIssueTime
            | K::MultiFactorAuthPresent
            | K::SourceIdentity
            | K::FederatedProvider
            | K::ResourceTag
            | K::RequestTag
            | K::TagKeys
            | K::SecureTransport
            | K::ViaAwsService
            | K::CalledVia
            | K::CalledViaFirst
            | K::CalledViaLast
            | K::Saml
            | K::Credential
            | K::AssumedRoot
            | K::ServiceSource
            | K::ServiceResourceTag
            | K::RoleAuthorizedByIdp
            | K::DurationSeconds
            | K::Given => Self::Given,
        }
    }
}

impl Demand {
    /// Computes the demand of statements.
    pub(super) fn of<'s>(statements: impl Iterator<Item = &'s Statement>) -> Self {
        let mut keys: Vec<&ContextKey> = statements.flat_map(keys_of).collect();
        keys.sort_unstable();
        keys.dedup();
        let reads_clock = keys
            .iter()
            .any(|key| Source::of(key.kind()) == Source::Clock);
        let given = keys
            .into_iter()
            .filter(|key| Source::of(key.kind()) == Source::Given);
        Self {
            keys: given.cloned().collect(),
            reads_clock,
        }
    }

    /// Returns about how much memory it takes besides itself, in bytes.
    pub(super) fn n_bytes(&self) -> usize {
        let keys = self.keys.iter();
        keys.map(|key| size_of::<ContextKey>() + key.folded().len())
            .sum()
    }
}

/// Returns the keys that a statement may read. Some may appear twice.
pub(super) fn keys_of(statement: &Statement) -> impl Iterator<Item = &ContextKey> {
    let resources = statement.resources.iter();
    let in_resources = resources
        .flat_map(|listed| listed.entries())
        .flat_map(ResourcePattern::variables);
    let in_conditions = statement.conditions.iter().flat_map(|condition| {
        let variables = condition.operand.variables().into_iter();
        variables
            .map(|variable| &variable.key)
            .chain([&condition.key])
    });
    in_resources
        .map(|variable| &variable.key)
        .chain(in_conditions)
}

/// The cost of finding the statements of a set.
pub(super) const LOOKUP: u32 = 20;
/// The cost of fetching one statement and checking its principal.
const STATEMENT: u64 = 8;
/// The cost of one resource pattern, which most often does not match.
const PATTERN: u64 = 25;
/// The cost of finding and reading the value of one condition's key.
const CONDITION: u64 = 30;
/// The cost of one value in an operand that has few. Large sets are searched, not scanned.
const OPERAND: u64 = 3;
/// The number of values beyond which more of them cost almost nothing.
const MAX_OPERANDS: usize = 16;
/// Returns the estimated nanoseconds to evaluate a statement that speaks of the action.
pub(super) fn statement_cost(statement: &Statement) -> u64 {
    let conditions: u64 = statement.conditions.iter().map(condition_cost).sum();
    let patterns = statement
        .resources
        .as_ref()
        .map_or(&[][..], |listed| listed.entries());
    let fits_any = patterns.iter().any(|pattern| pattern.is_everything());
    if patterns.is_empty() || fits_any {
        return STATEMENT + conditions;
    }
    // Conditions are evaluated only for statements whose resource matches. The model assumes one in two.
    STATEMENT + patterns.len() as u64 * PATTERN + conditions / 2
}

fn condition_cost(condition: &Condition) -> u64 {
    let n_values = condition.operand.n_values();
    let looked_up = OPERAND * n_values.min(MAX_OPERANDS) as u64;
    // The cost of reading the request's value and comparing it with those of the policy.
    let values = match condition.operand {
        Operand::StringLike(_) => 10 * n_values as u64,
        Operand::Arn(_) => 150 + 20 * n_values as u64,
        Operand::Date(..) => 80 + looked_up,
        Operand::IpAddress(_) => 40 + looked_up,
        Operand::Numeric(..) => 20 + looked_up,
        _ => looked_up,
    };
    CONDITION + values
}

#[cfg(test)]
mod tests;
