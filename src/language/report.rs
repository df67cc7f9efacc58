//! Collecting findings while a text is read.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use super::finding::{Code, Finding, Location};
use super::json::{self, Node};

/// The findings about one text, with what is needed to say where each stands.
pub struct Report<'t> {
    text: &'t str,
    /// Made when the first place is asked for.
    lines: OnceCell<Lines>,
    root: Option<&'t Node<'t>>,
    place: Base,
    findings: Vec<Finding>,
}

/// Where the text itself stands: a file, or a string inside of one.
#[derive(Clone, Debug)]
pub enum Base {
    /// The text is the file.
    File(Arc<str>),
    /// The text was held by a string at this place, as the AWS API returns policy documents.
    Embedded(Location),
}

impl<'t> Report<'t> {
    /// Findings about `text`; once it is parsed, [`Report::about`] adds the pointers.
    pub fn new(base: Base, text: &'t str) -> Self {
        Self {
            text,
            lines: OnceCell::new(),
            root: None,
            place: base,
            findings: Vec::new(),
        }
    }

    /// From now on places have pointers into `root`, the parsed text.
    pub fn about(&mut self, root: &'t Node<'t>) {
        self.root = Some(root);
    }

    /// The place of the value or name at `span`.
    pub fn location(&self, span: &Range<usize>) -> Location {
        let pointer = self
            .root
            .map_or_else(String::new, |root| root.pointer_to(span.start));
        match &self.place {
            Base::File(file) => {
                let lines = self.lines.get_or_init(|| Lines::of(self.text));
                let (line, column) = lines.find(self.text, span.start);
                Location {
                    file: Arc::clone(file),
                    line,
                    column,
                    pointer,
                }
            }
            Base::Embedded(outer) => Location {
                pointer: format!("{}{pointer}", outer.pointer),
                ..outer.clone()
            },
        }
    }

    /// Adds an error at `span`; returns it for `help`.
    pub fn error(
        &mut self,
        code: Code,
        span: &Range<usize>,
        message: impl Into<String>,
    ) -> Added<'_> {
        let finding = Finding::error(code, self.location(span), message);
        self.push(finding)
    }

    /// Adds a warning at `span`.
    pub fn warning(
        &mut self,
        code: Code,
        span: &Range<usize>,
        message: impl Into<String>,
    ) -> Added<'_> {
        let finding = Finding::warning(code, self.location(span), message);
        self.push(finding)
    }

    /// Adds the one error of a text that is not JSON.
    pub fn syntax(&mut self, error: &json::SyntaxError) {
        let code = if error.too_deep {
            Code::TOO_DEEP
        } else {
            Code::SYNTAX
        };
        let message = match &self.place {
            Base::File(_) => error.message.clone(),
            Base::Embedded(_) => {
                let (line, column) = line_and_column(self.text, error.offset);
                format!(
                    "{} (line {line}, column {column} of the document in this string)",
                    error.message
                )
            }
        };
        self.error(code, &(error.offset..error.offset), message);
    }

    /// Adds findings made elsewhere.
    pub fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
    }

    /// Whether an error has been reported.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(Finding::is_error)
    }

    /// How many errors have been reported; compare before and after a step to see whether it went well.
    pub fn n_errors(&self) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.is_error())
            .count()
    }

    /// All findings, in the order they were made.
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
    }

    fn push(&mut self, finding: Finding) -> Added<'_> {
        self.findings.push(finding);
        Added(self.findings.last_mut())
    }
}

/// A finding just added, to which help may be given.
pub struct Added<'r>(Option<&'r mut Finding>);

impl Added<'_> {
    /// Says how to mend it.
    pub fn help(self, help: impl Into<String>) {
        self.maybe_help(Some(help));
    }

    /// Says how to mend it, if there is a guess.
    pub fn maybe_help(self, help: Option<impl Into<String>>) {
        if let (Some(finding), Some(help)) = (self.0, help) {
            finding.help = Some(help.into());
        }
    }
}

/// Every few bytes of a text, the line and the column there: a dump of a whole account on one line has many places.
#[derive(Debug)]
struct Lines {
    /// Offset, line and column; ascending, the first is the text's begin.
    marks: Vec<(usize, u32, u32)>,
}

impl Lines {
    const DISTANCE: usize = 1024;

    fn of(text: &str) -> Self {
        let mut marks = vec![(0, 1, 1)];
        let (mut last, mut line, mut column) = (0, 1u32, 1u32);
        for (offset, character) in text.char_indices() {
            if offset >= last + Self::DISTANCE {
                marks.push((offset, line, column));
                last = offset;
            }
            if character == '\n' {
                line = line.saturating_add(1);
                column = 1;
            } else {
                column = column.saturating_add(1);
            }
        }
        Self { marks }
    }

    /// What [`line_and_column`] gives.
    fn find(&self, text: &str, offset: usize) -> (u32, u32) {
        let after = self.marks.partition_point(|(mark, _, _)| *mark <= offset);
        let mark = after.checked_sub(1).and_then(|at| self.marks.get(at));
        let (from, line, column) = mark.copied().unwrap_or((0, 1, 1));
        match text.get(from..offset) {
            Some(between) => {
                let (lines_down, in_line) = line_and_column(between, between.len());
                match lines_down {
                    1 => (line, column.saturating_add(in_line - 1)),
                    _ => (line.saturating_add(lines_down - 1), in_line),
                }
            }
            None => line_and_column(text, offset),
        }
    }
}

/// The line and the column, both from 1, of byte `offset`; columns count Unicode scalar values.
pub fn line_and_column(text: &str, offset: usize) -> (u32, u32) {
    let before: &str = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (
        u32::try_from(line).unwrap_or(u32::MAX),
        u32::try_from(column).unwrap_or(u32::MAX),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_from_marks_as_from_the_begin() {
        for text in [
            "",
            "one line",
            &"äb\nc".repeat(2_000),
            &"x".repeat(5_000),
            &"\n".repeat(3_000),
        ] {
            let lines = Lines::of(text);
            for offset in 0..=text.len() + 1 {
                if offset % 7 == 0 || offset + 2 > text.len() {
                    let expected = line_and_column(text, offset);
                    assert_eq!(lines.find(text, offset), expected, "{offset}");
                }
            }
        }
    }
}
