//! The `iamd` program.

fn main() {}
