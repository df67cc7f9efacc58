//! Measures the memory of a server with a large store.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::generated;
use crate::measure::{Figures, Options, head, memory, row};
use crate::reloading::{new_directory, ungranted};
use crate::server::Server;

/// How long a server is given to come to rest after the start.
const PATIENCE: Duration = Duration::from_secs(60);
/// A server has come to rest if its memory changes by less than the part of [`RESTLESS`] within this time.
const REST: Duration = Duration::from_secs(3);
/// The part of its memory by which a server that is not at rest gains or loses.
const RESTLESS: f64 = 0.005;

/// Prints the table.
pub fn measure(options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    head(
        "Memory of a server with a large store; the last column is without that of a server with 100 policies",
        &[
            "policies",
            "statements",
            "documents",
            "anonymous memory",
            "beyond the documents, per statement",
        ],
    );
    let (few, ..) = held_by(100)?;
    let n_policies = options.pick(100_000, 1_000);
    let (many, n_statements, n_bytes) = held_by(n_policies)?;
    let beyond = many.saturating_sub(few).saturating_sub(n_bytes);
    let per_statement = beyond as f64 / n_statements as f64;
    row(&[
        n_policies.to_string(),
        n_statements.to_string(),
        memory(n_bytes),
        memory(many),
        format!("{per_statement:.0} B"),
    ]);
    figures.at_most(
        "memory",
        format!("bytes per statement beyond the documents, {n_policies} policies"),
        per_statement,
        1_024.0,
    );
    Ok(())
}

/// Returns the bytes that a server with `n_policies` holds, the number of their statements, and the bytes of the files.
fn held_by(n_policies: usize) -> anyhow::Result<(u64, usize, u64)> {
    let directory = new_directory()?;
    let sized = generated::by_size(n_policies);
    let (_, n_bytes) = sized.world.write(directory.path())?;
    let server = Server::start(directory.path(), &ungranted(&sized)?)?;
    Ok((
        memory_at_rest(&server)?,
        sized.world.n_statements(),
        n_bytes,
    ))
}

/// Returns the anonymous memory of a server, in bytes, once it has come to rest. For a while after the start, it makes
/// tries in the background and gives memory back.
fn memory_at_rest(server: &Server) -> anyhow::Result<u64> {
    let begun = Instant::now();
    let mut before = server.memory_kib("RssAnon")?;
    loop {
        ensure!(
            begun.elapsed() < PATIENCE,
            "the memory still changes after {PATIENCE:?}"
        );
        thread::sleep(REST);
        let now = server.memory_kib("RssAnon")?;
        if (now.abs_diff(before) as f64) < now as f64 * RESTLESS {
            return Ok(now * 1_024);
        }
        before = now;
    }
}
