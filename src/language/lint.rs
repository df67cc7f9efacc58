//! Lints.

use super::document::{PolicyDocument, PolicyType};
use super::report::Report;

/// Lints `document`.
pub fn lint(document: &PolicyDocument, policy_type: PolicyType, report: &mut Report<'_>) {
    let _ = (document, policy_type, report);
}
