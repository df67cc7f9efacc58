//! One policy as the tables store it, and where it came from.

use std::sync::{Arc, OnceLock};

use super::rows::Rows;
use crate::language::document::{PolicyDocument, PolicyType, Statement};

/// One policy, ready to be evaluated.
#[derive(Debug)]
pub struct Policy {
    /// The ARN, `<entity ARN>/inline/<name>`, `<role ARN>/trust`, `session/<index>`, or the file without `.json`.
    pub name: Arc<str>,
    /// Its type. One managed policy may be here twice, as an identity policy and as a boundary.
    pub policy_type: PolicyType,
    /// The file that holds it, relative to the store; empty for session policies in a request.
    pub file: Arc<str>,
    /// Its statements, in source order.
    pub statements: Arc<[Statement]>,
    /// The other facts that explanations give about the policy (S-4). Policies with the same origin share it.
    pub origin: Arc<Origin>,
    /// Its statements in the form that the indexes read.
    pub rows: OwnRows,
}

impl Policy {
    /// Returns the rows of its statements, which are made at the first call.
    pub fn rows(&self) -> &Rows {
        self.rows.0.get_or_init(|| Rows::of(&self.statements))
    }

    /// Returns the same policy as one of another type.
    pub(super) fn as_type(&self, policy_type: PolicyType) -> Self {
        Self {
            name: Arc::clone(&self.name),
            policy_type,
            file: Arc::clone(&self.file),
            statements: Arc::clone(&self.statements),
            origin: Arc::clone(&self.origin),
            rows: OwnRows::default(),
        }
    }
}

/// The rows of a policy, once they are made.
#[derive(Debug, Default)]
pub struct OwnRows(OnceLock<Rows>);

impl OwnRows {
    /// Returns the rows, if they are made.
    #[inline]
    pub(super) fn get(&self) -> Option<&Rows> {
        self.0.get()
    }
}

/// The origin of a policy.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Whether it is a managed policy. If not, it is embedded in its user, group, role, resource or session.
    pub is_managed: bool,
    /// The version of a managed policy that is in force (G-36).
    pub version: Option<Box<str>>,
    /// The document's `Id` (G-7).
    pub document_id: Option<Box<str>>,
    /// The RFC 6901 pointer to the document's `Statement` in the file.
    pub pointer: Box<str>,
    /// Whether `Statement` is a list.
    pub is_list: bool,
}

impl Origin {
    /// Returns the origin of a policy that is embedded in something else.
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
