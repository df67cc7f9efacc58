//! Collecting findings while a text is read.

use std::ops::Range;
use std::sync::Arc;

use super::finding::{Code, Finding, Location};
use super::json::{self, Node};

/// The findings about one text, with what is needed to say where each stands.
pub struct Report<'t> {
    text: &'t str,
    /// Where each line begins: dumps have many statements, and each asks for its line.
    line_starts: Vec<usize>,
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
            line_starts: line_starts(text),
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
        place(self.text, &self.line_starts, offset)
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
    place(text, &line_starts(text), offset)
}

fn place(text: &str, line_starts: &[usize], offset: usize) -> (u32, u32) {
    let line = line_starts.partition_point(|start| *start <= offset);
    let start = line_starts.get(line.saturating_sub(1)).copied();
    let before = text.as_bytes().get(start.unwrap_or(0)..offset);
    // Bytes that begin a character: an offset need not lie between two.
    let begins = |byte: &&u8| **byte & 0xC0 != 0x80;
    let column = before.unwrap_or_default().iter().filter(begins).count() + 1;
    (
        u32::try_from(line).unwrap_or(u32::MAX),
        u32::try_from(column).unwrap_or(u32::MAX),
    )
}

/// The offset of the first byte of each line; there is one at least.
fn line_starts(text: &str) -> Vec<usize> {
    let behind_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(behind_newlines).collect()
}
