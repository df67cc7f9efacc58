//! `iamd revision`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use serde::Serialize;

use super::{Common, Output, Status, load};

/// Print the revision that a directory has as a store
///
/// Every server that serves the same files has the same revision. Exits with 2 if the directory does not load.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory; without it, the store
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

#[derive(Serialize)]
struct Row<'r> {
    revision: &'r str,
}

pub(super) fn run(args: &Args, common: &Common, out: &mut impl Write) -> anyhow::Result<Status> {
    let directory = match &args.directory {
        Some(_) if common.store.is_some() => bail!("`DIR` and `--store` exclude each other"),
        Some(directory) => directory.clone(),
        None => common.store(),
    };
    let Some(snapshot) = load(&directory) else {
        return Ok(Status::Refused);
    };
    let revision = snapshot.revision.as_str();
    match common.output {
        Output::Text => writeln!(out, "{revision}")?,
        Output::Json => writeln!(out, "{}", serde_json::to_string(&Row { revision })?)?,
    }
    Ok(Status::Fine)
}
