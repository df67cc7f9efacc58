//! x
mod corpus;
