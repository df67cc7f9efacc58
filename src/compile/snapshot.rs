//! The tables that the engine reads.

use std::fmt;
use std::sync::Arc;

use crate::language::document::{PolicyType, Statement};

/// A content hash of a store: equal on every replica that serves the same files. It has no order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision(Arc<str>);

impl Revision {
    /// The first 32 hexadecimal digits of the SHA-256 over the store's paths and content digests.
    pub fn new(hex: &str) -> Self {
        Self(hex.into())
    }

    /// The 32 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One policy, ready to be asked.
#[derive(Debug)]
pub struct Policy {
    /// The ARN, `<entity ARN>/inline/<name>`, `<role ARN>/trust`, `session/<index>`, or the file without `.json`.
    pub name: String,
    /// What it counts as.
    pub policy_type: PolicyType,
    /// The file that holds it, relative to the store; empty for session policies.
    pub file: Arc<str>,
    /// In source order.
    pub statements: Vec<Statement>,
}

/// A world compiled for asking: immutable, complete, one revision.
#[derive(Debug)]
pub struct Snapshot {
    /// The revision of the store it was made from.
    pub revision: Revision,
}
