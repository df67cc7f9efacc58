//! Request in, decision out: without a cache, and with or without a listener.

use super::decide::decide;
use super::decision::Decision;
use super::error::RequestError;
use super::facts::Facts;
use super::plan::Plan;
use super::request::Request;
use super::trace::{Scanning, Silent, Trace};
use super::work::Work;
use crate::compile::snapshot::Snapshot;

/// Checks `request` against the store and decides it.
pub fn authorize(snapshot: &Snapshot, request: &Request) -> Result<Decision, RequestError> {
    authorize_with(snapshot, request, &mut Silent)
}

/// Decides `request` by considering every statement one after the other: the indexes are measured and proven against
/// this.
pub fn authorize_by_scan(snapshot: &Snapshot, request: &Request) -> Result<Decision, RequestError> {
    authorize_with(snapshot, request, &mut Scanning)
}

/// Decides `request` and tells `trace` every step.
pub fn authorize_with<T: Trace>(
    snapshot: &Snapshot,
    request: &Request,
    trace: &mut T,
) -> Result<Decision, RequestError> {
    authorize_within(snapshot, request, trace, &request.remaining_work())
}

/// Decides `request` with what is left of `work`, and tells `trace` every step.
pub fn authorize_within<T: Trace>(
    snapshot: &Snapshot,
    request: &Request,
    trace: &mut T,
    work: &Work,
) -> Result<Decision, RequestError> {
    let facts = match Facts::find(snapshot, request, work) {
        Ok(facts) => facts,
        Err(early) => return early.answer(work),
    };
    let decision = Plan::with(&facts, !T::SCANS, |plan| decide(&facts, plan, trace));
    work.conclude()?; // E-1
    Ok(decision)
}
