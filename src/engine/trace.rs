//! Who listens while a decision is made.
//!
//! `authorize` and `explain` are the same evaluation: the only difference is the [`Trace`] they pass, so they can't
//! drift apart (C-12, S-1).

use super::decision::StatementRef;
use super::layer::Verdict;
use super::principal::Strength;
use crate::language::document::PolicyType;

/// Hears of every step of a decision.
pub trait Trace {
    /// Whether anybody listens. If not, evaluation stops as soon as it is settled and these calls compile to nothing.
    const LISTENS: bool;

    /// A statement was considered.
    fn statement(&mut self, statement: &StatementRef, outcome: Outcome);

    /// All statements of one policy type were.
    fn layer(&mut self, policy_type: PolicyType, verdict: Verdict);
}

/// What became of one statement (E-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It applies, with this strength.
    Applies(Strength),
    /// It speaks of other actions.
    OtherAction,
    /// It speaks of other principals.
    OtherPrincipal,
    /// It speaks of other resources.
    OtherResource,
    /// Its condition does not hold.
    ConditionFails,
}

/// Nobody listens.
pub struct Silent;

impl Trace for Silent {
    const LISTENS: bool = false;

    fn statement(&mut self, _: &StatementRef, _: Outcome) {}

    fn layer(&mut self, _: PolicyType, _: Verdict) {}
}
