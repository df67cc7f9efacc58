//! Reads decision logs, for the commands that ask past questions again.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::lines::{Line, Lines};
use crate::authorizer::Refusal;
use crate::decision_log::files_of;
use crate::service::json::{Mark, Message, Record, Recorded};

/// The longest line that is read. A record is several times longer than its question at most.
const MAX_LINE_BYTES: usize = 64 * 1024 * 1024;

/// The file `-`, which is standard input.
const STDIN: &str = "-";

/// Calls `each` with every line of the log at `path` that is not blank, from its oldest file on, until it breaks.
pub(super) fn for_each_line(
    path: &Path,
    mut each: impl FnMut(&str) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<()> {
    if path == Path::new(STDIN) {
        return read(io::stdin().lock(), &mut each).map(drop);
    }
    for file in existing(path)? {
        let opened =
            File::open(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let read = read(opened, &mut each);
        if read
            .with_context(|| format!("cannot read `{}`", file.display()))?
            .is_break()
        {
            break;
        }
    }
    Ok(())
}

/// Returns the files of the log at `path`.
fn existing(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = files_of(path);
    if files.len() > 1 && !path.exists() {
        files.pop(); // a server that rotates may be between two files
    }
    if files.iter().all(|file| !file.exists()) {
        bail!("there is no decision log `{}`", path.display());
    }
    Ok(files)
}

fn read(
    input: impl Read,
    each: &mut impl FnMut(&str) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<ControlFlow<()>> {
    let mut lines = Lines::new(input, MAX_LINE_BYTES);
    while let Some(line) = lines.next(|| Ok(()))? {
        let flow = match line {
            Line::Whole(bytes) if bytes.trim_ascii().is_empty() => continue,
            Line::Whole(bytes) => each(&String::from_utf8_lossy(bytes))?,
            Line::TooLong => each("")?,
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Parses a line, and calls `with` with what it says.
pub(super) fn parsed<R>(line: &str, with: impl FnOnce(Result<Record<'_>, Refusal>) -> R) -> R {
    match Message::parse(line, "") {
        Ok(message) => with(message.record()),
        Err(refusal) => with(Err(refusal)),
    }
}

/// Watches the numbers of the decisions in a log.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The number that each instance's next decision should have.
    next: HashMap<String, u64>,
    /// How many numbers are missing.
    pub(super) n_missing: u64,
    /// How many of them a server has said are lost.
    pub(super) n_told: u64,
}

impl Numbers {
    pub(super) fn decision(&mut self, recorded: &Recorded<'_>) {
        self.at(recorded.instance, recorded.sequence);
        self.expect(recorded.instance, recorded.sequence.saturating_add(1));
    }

    pub(super) fn mark(&mut self, mark: &Mark<'_>) {
        self.n_told = self.n_told.saturating_add(mark.n_lost);
        if !mark.is_start {
            self.at(mark.instance, mark.next);
        }
        self.expect(mark.instance, mark.next);
    }

    /// Counts what is missing before `number`. The log may begin anywhere in its first instance.
    fn at(&mut self, instance: &str, number: u64) {
        if let Some(next) = self.next.get(instance) {
            self.n_missing = self.n_missing.saturating_add(number.saturating_sub(*next));
        }
    }

    fn expect(&mut self, instance: &str, next: u64) {
        match self.next.get_mut(instance) {
            Some(known) => *known = next,
            None => {
                self.next.insert(instance.to_owned(), next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn numbers(lines: &[&str]) -> (u64, u64) {
        let mut numbers = Numbers::default();
        for line in lines {
            parsed(line, |record| match record.unwrap() {
                Record::Decision(recorded) => numbers.decision(&recorded),
                Record::Mark(mark) => numbers.mark(&mark),
            });
        }
        (numbers.n_missing, numbers.n_told)
    }

    fn decision(instance: &str, sequence: u64) -> String {
        format!(
            r#"{{"version":1,"type":"decision","sequence":{sequence},"decisionId":"x","instance":"{instance}",
            "time":"2026-01-01T00:00:00Z","action":"a:b","decision":"DECISION_DENY","reason":"REASON_X","revision":"r"}}"#
        )
    }

    #[test]
    fn every_missing_number_is_counted() {
        let start = r#"{"version":1,"type":"start","instance":"i","nextSequence":1}"#;
        let lost = r#"{"version":1,"type":"lost","instance":"i","firstSequence":2,"lastSequence":4,"count":3}"#;
        let end = r#"{"version":1,"type":"end","instance":"i","lastSequence":6}"#;
        let (one, two, five, six) = (
            &*decision("i", 1),
            &*decision("i", 2),
            &*decision("i", 5),
            &*decision("i", 6),
        );
        assert_eq!(numbers(&[start, one, two]), (0, 0));
        assert_eq!(numbers(&[start, one, lost, five, six, end]), (3, 3));
        assert_eq!(numbers(&[start, one, five, six, end]), (3, 0));
        assert_eq!(numbers(&[start, two]), (1, 0), "the first is missing");
        assert_eq!(numbers(&[five, six]), (0, 0), "older files are gone");
        assert_eq!(numbers(&[five, end]), (1, 0), "the last is missing");
        assert_eq!(numbers(&[one, &decision("j", 7), two]), (0, 0));
    }
}
