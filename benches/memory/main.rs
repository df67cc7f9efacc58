//! Measures how much memory iamd holds after the start and after many reloads.
//!
//! `cargo bench --bench memory` starts the real server on stores of 1,000 policies and asks it. It changes one file a
//! thousand times and waits each time until the change is in force. It starts the server on a store of 100,000 policies,
//! too. `-- --check` fails if a figure is missed; `-- --short` uses few reloads and small stores.

#[expect(
    clippy::allow_attributes,
    reason = "no benchmark uses all of what they share"
)]
#[allow(
    dead_code,
    unused_imports,
    reason = "no benchmark uses all of what they share"
)]
#[path = "../worlds/mod.rs"]
mod generated;
#[expect(
    clippy::allow_attributes,
    reason = "no benchmark uses all of what they share"
)]
#[allow(
    dead_code,
    unused_imports,
    reason = "no benchmark uses all of what they share"
)]
#[path = "../measure/mod.rs"]
mod measure;

// The server process and the store of policies that AWS publishes are those of the baseline benchmark.
#[path = "../baseline/client.rs"]
mod client;
#[expect(
    clippy::allow_attributes,
    reason = "no benchmark uses all of what they share"
)]
#[allow(dead_code, reason = "no benchmark uses all of what they share")]
#[path = "../baseline/server.rs"]
mod server;
#[expect(
    clippy::allow_attributes,
    reason = "no benchmark uses all of what they share"
)]
#[allow(dead_code, reason = "no benchmark uses all of what they share")]
#[path = "../baseline/worlds.rs"]
mod worlds;

mod loading;
mod reloading;

use measure::{Figures, Options, conditions};

fn main() -> anyhow::Result<()> {
    let Some(options) = Options::read(&["serve", "large"])? else {
        return Ok(());
    };
    let mut figures = Figures::default();
    conditions("before")?;
    if options.wants("serve") {
        reloading::measure(&options, &mut figures)?;
    }
    if options.wants("large") {
        loading::measure(&options, &mut figures)?;
    }
    conditions("after")?;
    figures.conclude(options.demand)
}
