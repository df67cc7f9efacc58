//! The IAM policy language as people write it.

pub mod condition;
pub mod document;
pub mod finding;
pub mod json;
pub mod lines;
pub mod lint;
pub mod operand;
pub mod parse;
pub mod pattern;
pub mod report;
pub mod text;

mod size;
