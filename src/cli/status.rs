//! `iamd status`.

use std::io::Write;

use super::tls::Tls;
use super::{Common, Output, Status};
use crate::config::DEFAULT_SERVER;
use crate::language::finding::Escaped;
use crate::service::client::Client;
use crate::service::status::ServerStatus;

/// Ask a running server for its state: the revision in force, and what is wrong with the store
///
/// Exits with 0 if the server answers from the store as it is on disk, with 1 if the store on disk does not load or no
/// store has been loaded yet, and with 2 if the server cannot be asked.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server: `127.0.0.1:50051`, `unix:/path`, `https://host:50051`
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_SERVER)]
    server: String,
    #[command(flatten)]
    tls: Tls,
}

pub(super) fn run(args: &Args, common: &Common, out: &mut impl Write) -> anyhow::Result<Status> {
    let status = Client::connect(&args.server, args.tls.read()?.as_ref())?.status()?;
    match common.output {
        Output::Text => write_text(&status, out)?,
        Output::Json => writeln!(out, "{}", status.to_json())?,
    }
    Ok(if status.is_good() {
        Status::Fine
    } else {
        Status::No
    })
}

fn write_text(status: &ServerStatus, out: &mut impl Write) -> std::io::Result<()> {
    let words = match (status.revision(), status.is_stale()) {
        ("", _) => "not ready: no store has been loaded yet",
        (_, true) => "stale: the store does not load, and the last good revision stays in force",
        (_, false) => "serving",
    };
    let [n_files, n_statements, n_principals] = status.counts();
    let time = |time: Option<jiff::Timestamp>| time.map(|time| time.to_string());
    let lines = [
        ("state", words.to_owned()),
        ("revision", status.revision().to_owned()),
        (
            "in force since",
            time(status.loaded_at()).unwrap_or_default(),
        ),
        ("files", n_files.to_string()),
        ("statements", n_statements.to_string()),
        ("principals", n_principals.to_string()),
        ("store", status.store().to_owned()),
        ("version", status.version().to_owned()),
        ("started at", time(status.started_at()).unwrap_or_default()),
    ];
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(out, "{name:14}  {}", Escaped(value))?;
    }
    for finding in status.findings() {
        writeln!(out, "{finding}")?;
    }
    match status.n_left_out() {
        0 => Ok(()),
        n => writeln!(out, "{n} further findings"),
    }
}
