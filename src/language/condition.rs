//! Conditions as written: operators, keys and values.

/// One key under one operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {}
