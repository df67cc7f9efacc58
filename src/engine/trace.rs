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
    /// The principal and the owner of the resource are known, and policies are evaluated next.
    fn begin(&mut self, _: &Facts<'_>) {}

    /// A policy is next. A policy that is attached in two ways comes twice.
    fn policy(&mut self, _: &Arc<Policy>) {}

    /// The statement was compared with the action.
    fn action(&mut self, _matches: bool) {}

    /// The statement was compared with the principal: how strongly it matches (P-1), or `None` if it does not.
    fn principal(&mut self, _: Option<Strength>) {}

    /// The statement was compared with the resource.
    fn resource(&mut self, _matches: bool) {}

    /// A condition of the statement was evaluated with these values of its key.
    fn condition(&mut self, _: &Facts<'_>, _: &Condition, _: &Values<'_>, _: Truth) {}

    /// A statement was evaluated.
    fn statement(&mut self, _: &Facts<'_>, _: &StatementRef, _: Outcome) {}

    /// The Allows of this layer so far grant nothing, and only its Denies count (T-1, T-50).
    fn set_aside_allows(&mut self) {}

    /// One level of control policies was evaluated; levels go from the root of the organization down (E-21).
    fn level(&mut self, _: Verdict) {}

    /// All policies of one type were evaluated.
    fn layer(&mut self, _: PolicyType, _: Verdict) {}

    /// The verdicts were combined.
    fn decided(&mut self, _: Standing, _: &Verdicts, _: Reason) {}
}

/// The outcome of one statement (E-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The statement applies with this strength.
    Applies(Strength),
    /// It does not match the action.
    OtherAction,
    /// It does not match the principal.
    OtherPrincipal,
    /// It does not match the resource.
    OtherResource,
    /// Its conditions do not hold.
    ConditionFails,
}

/// No listener.
pub struct Silent;

impl Trace for Silent {
    const LISTENS: bool = false;
}

/// No listener and no indexes: the indexes are measured and proven against this.
pub struct Scanning;

impl Trace for Scanning {
    const LISTENS: bool = false;
    const SCANS: bool = true;
}
