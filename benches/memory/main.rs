//! Measures how much memory iamd holds after the start and after many reloads.
//!
//! `cargo bench --bench memory` starts the real server on stores of 1,000 policies and asks it. It changes one file a
//! thousand times and waits each time until the change is in force. The memory of 100,000 policies is measured in a
//! process that only loads them. `-- --check` fails if a figure is missed; `-- --short` uses few reloads and small
//! stores.

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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, store] = &*arguments
        && flag == loading::FLAG
    {
        return loading::load_and_tell(store.as_ref());
    }
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
