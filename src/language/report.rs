//! Collecting findings while a text is read.

use std::ops::Range;
use std::sync::Arc;

use super::finding::{Code, Finding, Location};
use super::json::{self, Node};

/// The findings about one text, with what is needed to say where each stands.
pub struct Report<'t> {
    text: &'t str,
    /// In ascending order. PERF: a dump is one line of megabytes in which thousands of parts ask for their place; counting
    /// from its beginning each time made a file of 700 KB take 26 s in a debug build.
    marks: Vec<Mark>,
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
            marks: marks(text),
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
                let (line, column) = self.line_and_column(span.start);
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

    /// The line on which `span` begins, as [`Report::location`] gives it.
    pub fn line(&self, span: &Range<usize>) -> u32 {
        match &self.place {
            Base::File(_) => self.line_and_column(span.start).0,
            Base::Embedded(outer) => outer.line,
        }
    }

    fn line_and_column(&self, offset: usize) -> (u32, u32) {
        place(self.text, &self.marks, offset)
    }

    /// The source text at `span`.
    pub fn source(&self, span: &Range<usize>) -> &'t str {
        self.text.get(span.clone()).unwrap_or("")
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
                let (line, column) = self.line_and_column(error.offset);
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

/// The line and the column, both from 1, of byte `offset`; columns count Unicode scalar values.
pub fn line_and_column(text: &str, offset: usize) -> (u32, u32) {
    place(text, &marks(text), offset)
}

/// A place in a text from which to count on: the beginning of a line, or of the next stretch of a long one.
struct Mark {
    offset: usize,
    line: usize,
    column: usize,
}

/// How many bytes are counted at most to find a column.
const STRETCH: usize = 1_024;

fn marks(text: &str) -> Vec<Mark> {
    let mut marks = Vec::new();
    let (mut line, mut line_start) = (0, 0);
    for source in text.split_inclusive('\n') {
        line += 1;
        let (mut offset, mut column) = (line_start, 1);
        for stretch in source.as_bytes().chunks(STRETCH) {
            marks.push(Mark {
                offset,
                line,
                column,
            });
            offset += stretch.len();
            column += count_characters(stretch);
        }
        line_start += source.len();
    }
    if text.is_empty() || text.ends_with('\n') {
        // The end is the beginning of one more line.
        marks.push(Mark {
            offset: line_start,
            line: line + 1,
            column: 1,
        });
    }
    marks
}

/// The characters that begin in `bytes`, which need not begin or end between two.
fn count_characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

fn place(text: &str, marks: &[Mark], offset: usize) -> (u32, u32) {
    let behind = marks.partition_point(|mark| mark.offset <= offset);
    let Some(mark) = marks.get(behind.saturating_sub(1)) else {
        return (1, 1);
    };
    let between = text.as_bytes().get(mark.offset..offset).unwrap_or_default();
    let column = mark.column + count_characters(between);
    (
        u32::try_from(mark.line).unwrap_or(u32::MAX),
        u32::try_from(column).unwrap_or(u32::MAX),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_that_counting_from_the_top_gives() {
        let long = "é€x".repeat(700);
        for text in [
            "",
            "a",
            "\n",
            "a\nbc\n\nd",
            "ü\r\n😀b\n",
            &long,
            &format!("{long}\n{long}\n"),
        ] {
            for offset in (0..=text.len()).filter(|offset| text.is_char_boundary(*offset)) {
                let before = &text.get(..offset).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                let column = before
                    .rsplit('\n')
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .count()
                    + 1;
                let wanted = (u32::try_from(line), u32::try_from(column));
                let (line, column) = line_and_column(text, offset);
                assert_eq!((Ok(line), Ok(column)), wanted, "{offset}");
            }
        }
    }
}
