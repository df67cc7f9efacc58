//! Snapshot × Request → Decision.

mod admit;
pub mod cache;
pub mod caller;
pub mod decide;
pub mod decision;
pub mod derived;
pub mod error;
pub mod explain;
mod guardrails;
pub mod layer;
pub mod live;
pub mod lost;
pub mod principal;
pub mod question;
pub mod request;
pub mod session_policy;
pub mod simulated;
pub mod trace;
pub mod work;

pub use decide::{authorize, authorize_by_scan, authorize_with, authorize_within, facts};
