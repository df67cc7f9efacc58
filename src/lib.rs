//! iamd

pub mod cli;
pub mod compile;
pub mod config;
pub mod context;
pub mod engine;
pub mod language;
pub mod name;
pub mod scenario;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod world;
