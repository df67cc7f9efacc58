//! One policy as the tables have it, and where it came from.

use std::sync::Arc;

use crate::language::document::{PolicyDocument, PolicyType, Statement};

/// One policy, ready to be asked.
#[derive(Debug)]
pub struct Policy {
    /// The ARN, `<entity ARN>/inline/<name>`, `<role ARN>/trust`, `session/<index>`, or the file without `.json`.
    pub name: Arc<str>,
    /// What it counts as; one managed policy may be here twice, as identity policy and as boundary.
    pub policy_type: PolicyType,
    /// The file that holds it, relative to the store; empty for session policies in a request.
    pub file: Arc<str>,
    /// In source order.
    pub statements: Arc<[Statement]>,
    /// What explanations say about it besides (S-4); the parts that one managed policy plays share it.
    pub origin: Arc<Origin>,
}

/// Where a policy came from.
#[derive(Debug, Default, PartialEq)]
pub struct Origin {
    /// Whether it is a policy of its own; else it is embedded in its user, group, role, resource or session.
    pub is_managed: bool,
    /// The version that is in force, of a managed policy (G-36).
    pub version: Option<Box<str>>,
    /// The document's `Id` (G-7).
    pub document_id: Option<Box<str>>,
    /// The RFC 6901 pointer to the document's `Statement` in the file.
    pub pointer: Box<str>,
    /// Whether `Statement` is a list.
    pub is_list: bool,
}

impl Origin {
    /// Of a policy that is embedded in something else.
    pub fn of(document: &PolicyDocument) -> Self {
        Self {
            is_managed: false,
            version: None,
            document_id: document.id.clone(),
            pointer: document.pointer.clone(),
            is_list: document.is_list,
        }
    }
}
