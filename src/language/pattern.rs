//! Patterns.

/// A pattern of actions (G-27).
#[derive(Clone, Debug, PartialEq)]
pub struct ActionPattern {}

/// A pattern of resources (G-28).
#[derive(Clone, Debug, PartialEq)]
pub struct ResourcePattern {}
