//! Analysis that goes beyond one decision: simulation.

pub mod simulate;
