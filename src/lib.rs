//! iamd

pub mod compile;
pub mod context;
pub mod engine;
pub mod language;
pub mod name;
pub mod scenario;
pub mod store;
pub mod world;
