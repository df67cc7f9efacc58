//! Snapshot × Request → Decision.

mod admit;
mod authorize;
pub mod cache;
pub mod caller;
pub mod decide;
pub mod decision;
mod derived;
pub mod error;
pub mod explain;
pub mod facts;
pub mod known;
pub mod layer;
pub mod live;
pub mod lost;
pub mod plan;
pub mod principal;
pub mod question;
pub mod request;
pub mod session_policy;
pub mod simulated;
pub mod trace;
pub mod work;

pub use authorize::{authorize, authorize_by_scan, authorize_with, authorize_within};
