//! Listening to a decision while it is made.
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

/// A listener that is told every step of a decision, in this order: each policy, its statements, the elements of each
/// statement and then its outcome; after the statements their level and their layer; at the end the verdicts together.
///
/// A listener changes no answer. The default methods do nothing.
pub trait Trace {
    /// Whether the methods do anything. If not, evaluation stops as soon as it is settled, and the calls compile to
    /// nothing.
    const LISTENS: bool;
    /// Whether every statement is considered, without the indexes. A listener is told of every statement.
    const SCANS: bool = Self::LISTENS;
    /// Hears that the principal and the owner of the resource are known, and that policies are evaluated next.
    fn begin(&mut self, _: &Facts<'_>) {}

    /// Hears which policy is next. A policy that is attached in two ways comes twice.
    fn policy(&mut self, _: &Arc<Policy>) {}

    /// Hears whether the statement matches the action.
    fn action(&mut self, _matches: bool) {}

    /// Hears how strongly the statement matches the principal (P-1), or `None` if it does not match.
    fn principal(&mut self, _: Option<Strength>) {}

    /// Hears whether the statement matches the resource.
    fn resource(&mut self, _matches: bool) {}

    /// Hears that a condition of the statement was evaluated with these values of its key.
    fn condition(&mut self, _: &Facts<'_>, _: &Condition, _: &Values<'_>, _: Truth) {}

    /// Hears the outcome of a statement.
    fn statement(&mut self, _: &Facts<'_>, _: &StatementRef, _: Outcome) {}

    /// Hears that the Allows of this layer so far grant nothing, and that only its Denies count (T-1, T-50).
    fn set_aside_allows(&mut self) {}

    /// Hears the verdict of one level of control policies. Levels go from the root of the organization down (E-21).
    fn level(&mut self, _: Verdict) {}

    /// Hears the verdict of all policies of one type.
    fn layer(&mut self, _: PolicyType, _: Verdict) {}

    /// Hears the verdicts that were combined, and the reason.
    fn decided(&mut self, _: Standing, _: &Verdicts, _: Reason) {}
}

/// The outcome of one statement (E-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The statement applies with this strength.
    Applies(Strength),
    /// The statement does not match the action.
    OtherAction,
    /// The statement does not match the principal.
    OtherPrincipal,
    /// The statement does not match the resource.
    OtherResource,
    /// Its conditions do not hold.
    ConditionFails,
}

/// A listener that ignores everything.
pub struct Silent;

impl Trace for Silent {
    const LISTENS: bool = false;
}

/// A listener that ignores everything and turns the indexes off. The indexes are measured and proven against it.
pub struct Scanning;

impl Trace for Scanning {
    const LISTENS: bool = false;
    const SCANS: bool = true;
}
