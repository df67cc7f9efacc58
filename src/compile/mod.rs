//! World → Snapshot. What could be wrong with a world was found while it was built, so nothing here can fail.
//!
//! A [`Compiler`](incremental::Compiler) keeps what it has compiled. What has not changed since, policies, sets of
//! policies with their slices, is in the next snapshot too.

pub mod accounts;
pub mod attachments;
pub mod demand;
pub mod incremental;
pub mod policy_set;
pub mod section;
pub mod snapshot;

mod entity;
mod issuers;
mod making;
mod policies;
mod policy;
mod sets;
mod table;
mod tags;
mod whole;

use crate::world::World;
use snapshot::{Revision, Snapshot};

pub use issuers::oidc_issuer;

/// Compiles `world`.
pub fn compile(world: &World, revision: Revision) -> Snapshot {
    incremental::Compiler::new().compile(world, revision)
}
