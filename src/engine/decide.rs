//! The order of the layers: the function this program exists for.

use super::decision::Decision;
use super::request::{Request, RequestError};
use crate::compile::snapshot::Snapshot;

/// Checks `request` against the store and decides it: section 5.5 of the semantics.
pub fn authorize(snapshot: &Snapshot, request: &Request) -> Result<Decision, RequestError> {
    let _ = (snapshot, request);
    Err(RequestError::invalid("principal", "…"))
}
