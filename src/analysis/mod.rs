//! Questions about many requests.

pub mod simulate;
