//! Analysis that goes beyond one decision: simulation, and lists of what may be done and by whom.

pub mod area;
pub mod context_keys;
pub mod layers;
pub mod permission;
pub mod permissions;
pub mod principals;
pub mod simulate;
mod witness;
