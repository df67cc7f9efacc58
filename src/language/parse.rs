//! JSON text → [`PolicyDocument`] and findings.

use super::document::{PolicyDocument, PolicyType};
use super::finding::Finding;
use super::json::Node;
use super::pattern::ResourcePattern;
use super::report::{Base, Report};

/// The deepest nesting of a policy document, counted from its own object (G-1).
pub const MAX_DOCUMENT_DEPTH: usize = 16;

/// Parses one policy document. Returns every finding, and no document if one of them is an error.
pub fn parse(text: &str, policy_type: PolicyType, base: Base) -> (Option<PolicyDocument>, Vec<Finding>) {
    let _ = (text, policy_type, base);
    (None, Vec::new())
}

/// Reads the policy document at `node` of a larger file: an object, JSON text in a string, or such text URL-encoded,
/// as the AWS API returns it. Reports every finding; gives no document if one of them is an error.
pub fn document(node: &Node<'_>, policy_type: PolicyType, report: &mut Report<'_>) -> Option<PolicyDocument> {
    let _ = (node, policy_type, report);
    None
}

/// Reads one attachment scope of a resource policy (E-10): an ARN pattern, or `*`, without variables.
pub fn scope(node: &Node<'_>, report: &mut Report<'_>) -> Option<ResourcePattern> {
    let _ = (node, report);
    None
}
