//! Compiles a World into a Snapshot. Errors in a world are found while it is built, so nothing here can fail.
//!
//! A [`Compiler`](incremental::Compiler) keeps what it has compiled. Unchanged policies with their rows, and sets of
//! policies with their tries, are reused in the next snapshot.

pub mod accounts;
pub mod attachments;
pub mod demand;
pub mod holders;
pub mod incremental;
pub mod named_actions;
pub mod named_keys;
pub mod path;
pub mod policy_set;
pub mod rows;
pub mod snapshot;
pub mod trie;

mod entity;
mod entity_rows;
mod issuers;
mod managed_policy;
mod policies;
mod policy;
mod prepare;
mod shared_sets;
mod table;
mod tags;
mod world_tables;

use crate::world::World;
use snapshot::{Revision, Snapshot};

pub use issuers::oidc_issuer;

/// Compiles `world`.
pub fn compile(world: &World, revision: Revision) -> Snapshot {
    incremental::Compiler::new().compile(world, revision)
}
