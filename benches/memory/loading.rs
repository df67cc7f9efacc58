//! Measures the memory of a large store in a process that only loads it.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;

use crate::generated;
use crate::measure::{Figures, Options, anonymous_memory, head, memory, row};

/// The argument that makes the benchmark load the store that follows and print the memory it takes.
pub const FLAG: &str = "--load";

/// Loads `store`, keeps it and what the next reload would need, as the server does, and prints the anonymous memory of
/// this process in bytes.
pub fn load_and_tell(store: &Path) -> anyhow::Result<()> {
    let mut loader = iamd::store::Loader::new();
    let loaded = loader
        .load(store)
        .map_err(|refused| anyhow::anyhow!("{:?}", refused.findings.first()))?;
    ensure!(loaded.n_statements > 0, "an empty store");
    println!("{}", anonymous_memory()?);
    std::hint::black_box((&loaded, &loader));
    Ok(())
}

/// Prints the table.
pub fn measure(options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    head(
        "Memory of a large store: what loading it adds to what loading 100 policies takes",
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

/// Returns the bytes held after loading `n_policies`, the number of their statements, and the bytes of the files.
fn held_by(n_policies: usize) -> anyhow::Result<(u64, usize, u64)> {
    let directory = tempfile::Builder::new().prefix("iamd-memory-").tempdir()?;
    let sized = generated::by_size(n_policies);
    let (_, n_bytes) = sized.world.write(directory.path())?;
    let output = Command::new(std::env::current_exe()?)
        .arg(FLAG)
        .arg(directory.path())
        .output()?;
    ensure!(
        output.status.success(),
        "loading failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let held: u64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok((held, sized.world.n_statements(), n_bytes))
}
