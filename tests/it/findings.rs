//! Tests what authors and users read. Every code of a finding is documented. Its words, its place and the help of the
//! command line are in `snapshots/`, where a change shows as a changed line.
//!
//! To accept an intended change, run `INSTA_UPDATE=always cargo test --test it findings::`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use iamd::language::finding::{Code, Escaped, Finding};
use iamd::store;
use tempfile::TempDir;

use crate::hostile::spoil;
use crate::support::{iamd, repository, run};
use examples::Example;

mod examples;

/// Returns the codes of `docs/findings.md` in order. A code begins a row of a table.
fn documented() -> Vec<String> {
    let text = fs::read_to_string(repository().join("docs/findings.md")).unwrap();
    let code = |line: &str| Some(line.strip_prefix("| `")?.split_once("` |")?.0.to_owned());
    text.lines().filter_map(code).collect()
}

fn assert_snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn every_code_is_documented_and_every_documented_code_exists() {
    let documented = documented();
    let in_document: BTreeSet<&str> = documented.iter().map(String::as_str).collect();
    let in_code: BTreeSet<&str> = Code::ALL.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(in_document, in_code);
    assert_eq!(
        documented.len(),
        in_document.len(),
        "each stands there once"
    );
    assert_eq!(Code::ALL.len(), in_code.len(), "each is declared once");
}

/// Returns the findings about the store of the example.
fn findings(example: &Example) -> Vec<Finding> {
    let root = TempDir::new().unwrap();
    for (path, bad) in &example.files {
        spoil(root.path(), path, bad);
    }
    match store::load(root.path()) {
        Ok(loaded) => loaded.findings,
        Err(refused) => refused.findings,
    }
}

/// Returns all findings of all examples, by code. The example of a code gives no other findings.
fn found() -> BTreeMap<&'static str, Vec<Finding>> {
    let mut found: BTreeMap<&str, Vec<Finding>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for example in examples::all() {
        let Example { code, brings, .. } = example;
        let is_declared = Code::ALL.iter().any(|(known, _)| known.as_str() == code);
        assert!(code.is_empty() || is_declared, "`{code}` is no code");
        let findings = findings(&example);
        if findings.is_empty() {
            wrong.push(format!("`{code}`: {:?}", example.files));
        }
        for finding in findings {
            let other = finding.code.as_str();
            if !(code.is_empty() || other == code || brings.contains(&other)) {
                wrong.push(format!("`{code}`: {finding}"));
            }
            if code.is_empty() || other == code {
                found.entry(other).or_default().push(finding);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    found
}

#[test]
fn the_words_of_every_code_are_as_they_were_reviewed() {
    let found = found();
    let mut text = String::new();
    for code in documented() {
        let examples = found.get(&*code);
        let examples = examples.unwrap_or_else(|| panic!("`{code}` has no example"));
        writeln!(text, "{code}").unwrap();
        // A text that several examples share is listed once, for the first of them.
        let mut said = BTreeSet::new();
        for finding in examples {
            let Finding {
                at,
                severity,
                message,
                help,
                ..
            } = finding;
            if !said.insert((severity, message, help)) {
                continue;
            }
            let place = format!("{}:{}:{} {}", at.file, at.line, at.column, at.pointer);
            writeln!(text, "  {severity} {}", place.trim_end()).unwrap();
            writeln!(text, "    message: {}", Escaped(message)).unwrap();
            let help = help.as_deref().unwrap_or("none");
            writeln!(text, "    help: {}", Escaped(help)).unwrap();
        }
    }
    assert_snapshot("findings", &text);
}

#[test]
fn the_help_of_every_command_is_as_it_was_reviewed() {
    let help = |command: &[&str]| {
        let arguments = command.iter().copied().chain(["--help"]);
        let finished = run(iamd(arguments), "");
        assert_eq!(
            (finished.status, &*finished.stderr),
            (Some(0), ""),
            "{command:?}"
        );
        finished.stdout
    };
    let of_all = help(&[]);
    let (_, commands) = of_all.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let commands = commands.filter_map(|line| line.split_whitespace().next());
    let mut text = format!("$ iamd --help\n{of_all}");
    let mut n_commands = 0;
    // `help` itself has no options.
    for command in commands.filter(|command| *command != "help") {
        write!(text, "\n$ iamd {command} --help\n{}", help(&[command])).unwrap();
        n_commands += 1;
    }
    assert!(n_commands >= 7, "{of_all}");
    assert_snapshot("help", &text);
}
