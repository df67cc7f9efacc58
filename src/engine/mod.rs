//! Snapshot × Request → Decision.

pub mod decide;
pub mod decision;
pub mod live;
pub mod request;

pub use decide::authorize;
