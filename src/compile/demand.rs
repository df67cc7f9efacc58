//! What the statements of a slice ask for: the context keys that they may read, and about how long they take.
//!
//! Both are for the cache of decisions: the first says what an answer may depend on (K-40), the second whether looking
//! the answer up is worth while.

use super::section::{Candidate, MAX_FILTERED, MAX_UNFILTERED, filterable};
use crate::context::{ContextKey, KeyKind};
use crate::language::condition::{Condition, Operand};
use crate::language::document::Statement;
use crate::language::pattern::ResourcePattern;

/// What the statements of a slice ask for.
#[derive(Debug)]
pub struct Demand {
    /// The context keys that they may read, as condition keys or as variables; without those that follow from the
    /// names of principal, resource and owner, or from the clock. Sorted, and none twice.
    pub keys: Box<[ContextKey]>,
    /// Whether they may read the clock (K-41).
    pub reads_clock: bool,
    /// About how many nanoseconds evaluating them takes; a model, and for comparing only.
    pub cost: u32,
}

/// What the value of a context key follows from, besides the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The principal, the resource and its owner: who has their names needs no value.
    Named,
    /// The time at which the question is asked (K-41).
    Clock,
    /// Anything else in the question.
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

/// The statements of one effect, with their places.
type Found<'s> = [(Candidate, &'s Statement)];

impl Demand {
    /// Of the denying and the allowing statements of one slice.
    pub(super) fn of(denies: &Found<'_>, allows: &Found<'_>) -> Self {
        let mut keys: Vec<&ContextKey> = denies
            .iter()
            .chain(allows)
            .flat_map(|(_, statement)| keys_of(statement))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let reads_clock = keys
            .iter()
            .any(|key| Source::of(key.kind()) == Source::Clock);
        let given = keys
            .into_iter()
            .filter(|key| Source::of(key.kind()) == Source::Given);
        // Every Deny is tried; of the Allows those up to the first that applies, somewhere in their middle.
        let cost = LOOK_UP + section_cost(denies) + section_cost(allows).div_ceil(2);
        Self {
            keys: given.cloned().collect(),
            reads_clock,
            cost: u32::try_from(cost).unwrap_or(u32::MAX),
        }
    }

    /// How much memory it takes besides itself, about.
    pub(super) fn n_bytes(&self) -> usize {
        let keys = self.keys.iter();
        keys.map(|key| size_of::<ContextKey>() + key.folded().len())
            .sum()
    }
}

/// The keys that a statement may read, some of them twice.
fn keys_of(statement: &Statement) -> impl Iterator<Item = &ContextKey> {
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

/// To find the slice, and to begin with each of its sections.
const LOOK_UP: u64 = 20;
/// To take up one statement and its principal.
const STATEMENT: u64 = 8;
/// One pattern of resources, most often one that does not match.
const PATTERN: u64 = 25;
/// One look at a condition: its key's value, found and read.
const CONDITION: u64 = 30;
/// One value of an operand that has few; large sets are searched, not scanned.
const OPERAND: u64 = 3;
/// The values after which more of them cost next to nothing.
const MAX_OPERANDS: usize = 16;
/// One filter over a resource's text.
const FILTER: u64 = 150;
/// The filtered statements that pass for a resource, about.
const N_PASSING: u64 = 2;

fn section_cost(found: &Found<'_>) -> u64 {
    let n_statements = found.len() as u64;
    if found.len() <= MAX_UNFILTERED {
        return found.iter().map(|(_, one)| statement_cost(one)).sum();
    }
    let is_filtered = |statement: &Statement| filterable(statement).is_some();
    let cost_of = |filtered: bool| -> u64 {
        let some = found.iter().filter(|(_, one)| is_filtered(one) == filtered);
        some.map(|(_, one)| statement_cost(one)).sum()
    };
    let n_filters = found.len().div_ceil(MAX_FILTERED) as u64;
    let passing = cost_of(true) * N_PASSING / n_statements;
    n_filters * FILTER + cost_of(false) + passing
}

fn statement_cost(statement: &Statement) -> u64 {
    let conditions: u64 = statement.conditions.iter().map(condition_cost).sum();
    let patterns = statement
        .resources
        .as_ref()
        .map_or(&[][..], |listed| listed.entries());
    let fits_any = patterns.iter().any(|pattern| pattern.is_everything());
    if patterns.is_empty() || fits_any {
        return STATEMENT + conditions;
    }
    // Conditions are for statements whose resource matches: one in two, say.
    STATEMENT + patterns.len() as u64 * PATTERN + conditions / 2
}

fn condition_cost(condition: &Condition) -> u64 {
    let n_values = condition.operand.n_values();
    let looked_up = OPERAND * n_values.min(MAX_OPERANDS) as u64;
    // What it takes to read the request's value, and to hold it against those of the policy.
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
