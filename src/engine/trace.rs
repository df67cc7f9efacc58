//! Who listens while a decision is made.
//!
//! `authorize` and `explain` are the same evaluation: the only difference is the [`Trace`] they pass, so they can't
//! drift apart (C-12, S-1).

use std::sync::Arc;

use super::decide::Verdicts;
use super::decision::{Reason, StatementRef};
use super::facts::Facts;
use super::layer::Verdict;
use super::plan::Standing;
use super::principal::Strength;
use crate::compile::snapshot::Policy;
use crate::language::condition::Condition;
use crate::language::condition::operator::{Truth, Values};
use crate::language::document::PolicyType;

/// Hears of every step of a decision, in this order: of each policy its statements, of each statement its elements and
/// then what became of it; after the statements their level and their layer; in the end the decision.
///
/// Whoever overrides nothing hears nothing.
pub trait Trace {
    /// Whether anybody listens. If not, evaluation stops as soon as it is settled and these calls compile to nothing.
    const LISTENS: bool;
    /// Whether every statement is considered, and no index asked for those worth it. So it is for whoever listens.
    const SCANS: bool = Self::LISTENS;
    /// Who asks and whose the resource is are known: policies will be evaluated.
    fn begin(&mut self, _: &Facts<'_>) {}

    /// A policy is next; one that is attached in two ways comes twice.
    fn policy(&mut self, _: &Arc<Policy>) {}

    /// Whether the statement speaks of the action.
    fn action(&mut self, _matches: bool) {}

    /// How strongly the statement speaks of the principal (P-1); `None`: not at all.
    fn principal(&mut self, _: Option<Strength>) {}

    /// Whether the statement speaks of the resource.
    fn resource(&mut self, _matches: bool) {}

    /// What one condition of the statement says about the values of its key.
    fn condition(&mut self, _: &Facts<'_>, _: &Condition, _: &Values<'_>, _: Truth) {}

    /// A statement was considered.
    fn statement(&mut self, _: &Facts<'_>, _: &StatementRef, _: Outcome) {}

    /// The Allows that were heard of in this layer grant nothing here, only its Denies count (T-1, T-50).
    fn set_aside_allows(&mut self) {}

    /// All statements of one level of control policies were, from the root of the organization down (E-21).
    fn level(&mut self, _: Verdict) {}

    /// All statements of one policy type were.
    fn layer(&mut self, _: PolicyType, _: Verdict) {}

    /// The verdicts have been put together.
    fn decided(&mut self, _: Standing, _: &Verdicts, _: Reason) {}
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
}

/// Nobody listens, and no index is asked: what the indexes are measured and proven against.
pub struct Scanning;

impl Trace for Scanning {
    const LISTENS: bool = false;
    const SCANS: bool = true;
}
