//! `iamd man`.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;

use super::{Cli, Status};

/// Write the manual pages of all commands into a directory
///
/// Prints the path of each page, such as `iamd-serve.1`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory, which is created if it is missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<Status> {
    let directory = &args.directory;
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the directory `{}`", directory.display()))?;
    // The common options are on the page of `iamd` itself and on those of the commands.
    let mut pages = vec![Cli::command().disable_help_subcommand(true)];
    if let Some(whole) = pages.first_mut() {
        whole.build();
    }
    while let Some(command) = pages.pop() {
        pages.extend(command.get_subcommands().cloned());
        let name = command.get_display_name().unwrap_or("iamd");
        let path = directory.join(format!("{name}.1"));
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        fs::write(&path, page).with_context(|| format!("cannot write `{}`", path.display()))?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(Status::Fine)
}
