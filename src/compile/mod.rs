//! World → Snapshot.

pub mod snapshot;

use crate::world::World;
use snapshot::{Revision, Snapshot};

/// Compiles `world`. What could be wrong with it was found while it was built.
pub fn compile(world: &World, revision: Revision) -> Snapshot {
    let _ = world;
    Snapshot { revision }
}
