//! `iamd validate`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde::Serialize;

use super::{Common, Output, Status};
use crate::language::document::PolicyType;
use crate::language::finding::{Finding, Severity};
use crate::store;

/// Check a store, or single policy and entity files
///
/// Prints every finding with its location and how to fix it. Exits with 1 if one of them is an error; warnings never
/// keep a store from loading.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Store directories and files, `-` for standard input; without any, the store
    #[arg(value_name = "DIR|FILE|-")]
    paths: Vec<PathBuf>,
    /// Read each file as a policy document of this type, regardless of its members and its folder
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    policy_type: Option<Type>,
}

/// The types of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Type {
    Identity,
    Resource,
    Trust,
    PermissionsBoundary,
    Session,
    ServiceControl,
    ResourceControl,
}

impl From<Type> for PolicyType {
    fn from(of: Type) -> Self {
        match of {
            Type::Identity => Self::Identity,
            Type::Resource => Self::Resource,
            Type::Trust => Self::Trust,
            Type::PermissionsBoundary => Self::PermissionsBoundary,
            Type::Session => Self::Session,
            Type::ServiceControl => Self::ServiceControl,
            Type::ResourceControl => Self::ResourceControl,
        }
    }
}

pub(super) fn run(args: &Args, common: &Common, out: &mut impl Write) -> anyhow::Result<Status> {
    let store = [common.store()];
    let paths = if args.paths.is_empty() {
        &store
    } else {
        args.paths.as_slice()
    };
    let mut findings = Vec::new();
    let policy_type = args.policy_type.map(PolicyType::from);
    for path in paths {
        if path == Path::new("-") {
            findings.extend(store::validate_stream(
                path,
                io::stdin().lock(),
                policy_type,
            ));
            continue;
        }
        match std::fs::metadata(path) {
            Err(error) => bail!("cannot read `{}`: {error}", path.display()),
            Ok(metadata) if metadata.is_dir() && policy_type.is_some() => bail!(
                "`--type` is for a single file, and `{}` is a directory",
                path.display()
            ),
            Ok(_) => {}
        }
        findings.extend(
            match policy_type {
                Some(_) => store::validate_file(path, policy_type),
                None => store::validate(path),
            }
            .into_iter()
            .map(|finding| seen_from_here(path, finding)),
        );
    }
    let n_errors = findings.iter().filter(|finding| finding.is_error()).count();
    let n_warnings = findings.len() - n_errors;
    match common.output {
        Output::Json => {
            let findings = findings.iter().map(Row::of).collect();
            let report = Report {
                findings,
                errors: n_errors,
                warnings: n_warnings,
            };
            writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        }
        Output::Text => {
            for finding in &findings {
                writeln!(out, "{finding}")?;
            }
            writeln!(
                out,
                "{}, {}",
                counted(n_errors, "error"),
                counted(n_warnings, "warning")
            )?;
        }
    }
    Ok(if n_errors > 0 {
        Status::No
    } else {
        Status::Fine
    })
}

/// Returns the finding with a file name that a user can open from here. The loader names files relative to the store.
fn seen_from_here(path: &Path, mut finding: Finding) -> Finding {
    let place = match &*finding.at.file {
        _ if !path.is_dir() => path.to_path_buf(),
        "." | "" => path.to_path_buf(),
        file => path.join(file),
    };
    finding.at.file = place.to_string_lossy().into();
    finding
}

fn counted(number: usize, what: &str) -> String {
    match number {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

#[derive(Serialize)]
struct Report<'f> {
    findings: Vec<Row<'f>>,
    errors: usize,
    warnings: usize,
}

/// One finding. If it is about the file as a whole, `line` and `column` are 0 and `pointer` is empty.
#[derive(Serialize)]
struct Row<'f> {
    file: &'f str,
    line: u32,
    column: u32,
    pointer: &'f str,
    severity: &'static str,
    code: &'static str,
    message: &'f str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'f str>,
}

impl<'f> Row<'f> {
    fn of(finding: &'f Finding) -> Self {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        Self {
            file: &finding.at.file,
            line: finding.at.line,
            column: finding.at.column,
            pointer: &finding.at.pointer,
            severity,
            code: finding.code.as_str(),
            message: &finding.message,
            help: finding.help.as_deref(),
        }
    }
}
