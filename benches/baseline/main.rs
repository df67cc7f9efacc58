//! Measures iamd end to end: start-up, memory, the cost of a call, and how soon a changed policy is in force.
//!
//! `cargo bench --bench baseline` runs the real binary, built with the bench profile (which inherits release), on
//! loopback, and prints Markdown tables. `cargo bench --bench baseline -- start load reload` picks parts. It needs
//! ghz, which `tests/peers/install go` puts into `target/tools`; a part whose tool is missing fails.
//!
//! Everything is bounded in count and in time. Every answer is checked before and while it is timed. The benchmark ends
//! only the processes that it has started. `docs/performance.md` describes the method and holds the figures.

mod client;
mod figures;
mod load;
mod reload;
mod server;
mod start;
mod worlds;

use anyhow::bail;

const PARTS: [&str; 3] = ["start", "load", "reload"];

fn main() -> anyhow::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo passes `--bench` to a benchmark. Without it, this is `cargo test --benches`, which must not time anything.
    let Some(flag) = arguments.iter().position(|argument| argument == "--bench") else {
        return Ok(());
    };
    arguments.remove(flag);
    if let Some(unknown) = arguments
        .iter()
        .find(|argument| !PARTS.contains(&argument.as_str()))
    {
        bail!("unknown part `{unknown}`: one of {}", PARTS.join(", "));
    }
    let is_wanted =
        |part: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == part);

    let worlds = worlds::all()?;
    figures::print_conditions()?;
    if is_wanted("start") {
        start::measure(&worlds)?;
    }
    if is_wanted("load") {
        load::measure(&worlds)?;
    }
    if is_wanted("reload") {
        reload::measure(&worlds)?;
    }
    Ok(())
}
