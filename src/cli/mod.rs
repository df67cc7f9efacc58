//! The command line, with one file per subcommand.
//!
//! Answers go to stdout and everything else to stderr. The exit status says how the command ended.

mod answerer;
mod ask;
mod authorize;
mod completions;
mod config;
mod decisions;
pub mod explain;
mod export;
mod healthcheck;
mod lines;
mod list;
mod man;
mod replay;
mod revision;
mod serve;
mod settings;
mod simulate;
mod status;
mod supervisor;
mod tls;
mod validate;
mod wait;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::compile::snapshot::Snapshot;
use crate::config::DEFAULT_STORE;
use crate::language::finding::Escaped;
use crate::store::{self, Refused};

/// AWS-IAM-style authorization for your own services, as a sidecar
#[derive(Debug, Parser)]
#[command(
    name = "iamd",
    version,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit status: 0 allowed or fine, 1 denied or findings of severity error, 2 a usage or input error."
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const COMMON: &str = "Options of every command";

/// The options of every command.
#[derive(Debug, Args)]
struct Common {
    /// The policy store [env: IAMD_STORE] [default: policies]
    #[arg(long, value_name = "DIR", global = true, help_heading = COMMON)]
    store: Option<PathBuf>,
    /// How results are printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text", global = true, help_heading = COMMON)]
    output: Output,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Authorize(authorize::Args),
    Simulate(Box<simulate::Args>),
    Explain(explain::Args),
    List(list::Args),
    Replay(replay::Args),
    Validate(validate::Args),
    Status(status::Args),
    Wait(wait::Args),
    Revision(revision::Args),
    Export(export::Args),
    Config(config::Args),
    Healthcheck(healthcheck::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// The result of a command. Its number is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// The decision is an allow, or the command succeeded.
    Fine = 0,
    /// The decision is a denial, there are findings of severity error, or the server is not serving.
    No = 1,
    /// There is a usage or input error, or the store does not load.
    Refused = 2,
}

impl Status {
    fn of_decision(is_allowed: bool) -> Self {
        if is_allowed { Self::Fine } else { Self::No }
    }
}

/// Runs the program: reads the command line, runs the command, and returns its exit status.
pub fn main() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    let mut out = BufWriter::new(io::stdout().lock());
    let ran = match command {
        Command::Serve(args) => serve::run(args, &common),
        Command::Authorize(args) => authorize::run(args, &common, &mut out),
        Command::Simulate(args) => simulate::run(&args, &common, &mut out),
        Command::Explain(args) => explain::run(args, &common, &mut out),
        Command::List(args) => list::run(&args, &common, &mut out),
        Command::Replay(args) => replay::run(&args, &common, &mut out),
        Command::Validate(args) => validate::run(&args, &common, &mut out),
        Command::Status(args) => status::run(&args, &common, &mut out),
        Command::Wait(args) => wait::run(&args, &common, &mut out),
        Command::Revision(args) => revision::run(&args, &common, &mut out),
        Command::Export(args) => export::run(&args, &common, &mut out),
        Command::Config(args) => config::run(args, &common, &mut out),
        Command::Healthcheck(args) => healthcheck::run(&args, &common, &mut out),
        Command::Completions(args) => completions::run(&args, &mut out),
        Command::Man(args) => man::run(&args, &mut out),
    };
    let ran = ran.and_then(|status| Ok(out.flush().map(|()| status)?));
    let status = ran.unwrap_or_else(|error| {
        if !is_broken_pipe(&error) {
            report(format_args!("error: {error:#}"));
        }
        Status::Refused
    });
    ExitCode::from(status as u8)
}

/// Returns whether the reader of stdout has closed the pipe. `iamd … | head` does so, and it is not an error to report.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes a line to stderr. A failure is ignored, because there is no other place to report it.
fn report(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{}", Escaped(&line.to_string()));
}

impl Common {
    /// Returns the store's path: the flag wins over the variable, and the variable over the default.
    fn store(&self) -> PathBuf {
        let variable = || std::env::var_os("IAMD_STORE").map(PathBuf::from);
        self.store
            .clone()
            .or_else(variable)
            .unwrap_or_else(|| PathBuf::from(DEFAULT_STORE))
    }
}

/// Loads the store at `root`. Returns `None` if it does not load. Then all of its findings have been reported, and the
/// command ends with [`Status::Refused`].
fn load(root: &Path) -> Option<Snapshot> {
    match store::load(root) {
        Ok(loaded) => Some(loaded.snapshot),
        Err(refused) => {
            report_refused(root, &refused);
            None
        }
    }
}

/// Reports that the store at `root` does not load, with all of its findings.
fn report_refused(root: &Path, refused: &Refused) {
    for finding in &refused.findings {
        report(format_args!("{finding}"));
    }
    report(format_args!(
        "error: the store `{}` does not load",
        root.display()
    ));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
