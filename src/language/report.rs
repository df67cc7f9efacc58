//! Collects findings while a text is parsed.

use std::ops::Range;
use std::sync::Arc;

use super::document::{Extent, Position};
use super::finding::{Code, Finding, Location};
use super::json::{self, Node};
use super::lines::Lines;

/// The findings about one text, with the information needed to locate them.
pub struct Report<'t> {
    text: &'t str,
    /// The index of lines, because dumps have many statements on few lines, and each statement needs its position.
    lines: Lines,
    root: Option<&'t Node<'t>>,
    place: Base,
    findings: Vec<Finding>,
    /// How many errors there are. Each step asks for it, and counting them each time would take the square of their
    /// number.
    n_errors: usize,
    n_warnings: usize,
    /// How many errors, and how many warnings, are kept. The others are only counted, because a text with thousands of
    /// them must not cause thousands of positions and suggestions to be computed.
    most: Kept,
}

/// How many findings of one text are kept.
#[derive(Clone, Copy, Debug)]
struct Kept {
    errors: usize,
    warnings: usize,
}

impl Kept {
    /// The findings that an author wants to read about one file.
    const FOR_AUTHORS: Self = Self {
        errors: 100,
        warnings: 100,
    };
    /// The findings that fit into a response.
    const FOR_ANSWERS: Self = Self {
        errors: 3,
        warnings: 0,
    };
}

/// The longest message and pointer of a finding, in bytes.
const MAX_TEXT_BYTES: usize = 1_024;

/// The location of the text itself: a file, or a string inside of one.
#[derive(Clone, Debug)]
pub enum Base {
    /// The text is the file.
    File(Arc<str>),
    /// The text is in a string at this location, as the AWS API returns policy documents.
    Embedded(Location),
}

impl<'t> Report<'t> {
    /// Returns an empty report about `text`. Once the text is parsed, [`Report::about`] adds the pointers.
    pub fn new(base: Base, text: &'t str) -> Self {
        Self {
            text,
            lines: Lines::of(text),
            root: None,
            place: base,
            findings: Vec::new(),
            n_errors: 0,
            n_warnings: 0,
            most: Kept::FOR_AUTHORS,
        }
    }

    /// Returns an empty report about a text whose sender gets only the first errors and no warnings.
    pub fn brief(base: Base, text: &'t str) -> Self {
        Self {
            most: Kept::FOR_ANSWERS,
            ..Self::new(base, text)
        }
    }

    /// Returns whether further warnings would only be counted.
    pub fn has_enough_warnings(&self) -> bool {
        self.n_warnings >= self.most.warnings
    }

    /// Returns what is written at `span`.
    pub fn text_at(&self, span: &Range<usize>) -> Option<&'t str> {
        self.text.get(span.clone())
    }

    /// Returns whether warnings are not needed.
    pub fn is_brief(&self) -> bool {
        self.most.warnings == 0
    }

    /// Makes all later locations have pointers into `root`, the parsed text.
    pub fn about(&mut self, root: &'t Node<'t>) {
        self.root = Some(root);
    }

    /// Returns the location of the value or name at `span`.
    pub fn location(&self, span: &Range<usize>) -> Location {
        let mut pointer = self
            .root
            .map_or_else(String::new, |root| root.pointer_to(span.start));
        if let Base::Embedded(outer) = &self.place {
            pointer.insert_str(0, &outer.pointer);
        }
        let pointer = clipped(pointer);
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
                pointer,
                ..outer.clone()
            },
        }
    }

    /// Returns where the value at `span` begins, as [`Report::location`] gives it, and where it ends.
    pub fn extent(&self, span: &Range<usize>) -> Extent {
        Extent {
            start: self.position(span.start),
            end: self.position(span.end.saturating_sub(1)),
        }
    }

    /// Returns the position of the character at `offset`, as [`Report::location`] gives it.
    pub fn position(&self, offset: usize) -> Position {
        let (line, column) = match &self.place {
            Base::File(_) => self.line_and_column(offset),
            Base::Embedded(outer) => (outer.line, outer.column),
        };
        Position { line, column }
    }

    fn line_and_column(&self, offset: usize) -> (u32, u32) {
        self.lines.place(self.text, offset)
    }

    /// Returns the source text at `span`.
    pub fn source(&self, span: &Range<usize>) -> &'t str {
        self.text.get(span.clone()).unwrap_or("")
    }

    /// Adds an error at `span`, and returns it so that help can be added.
    pub fn error(
        &mut self,
        code: Code,
        span: &Range<usize>,
        message: impl Into<Arc<str>>,
    ) -> Added<'_> {
        if self.n_errors >= self.most.errors {
            self.n_errors += 1;
            return Added(None);
        }
        let finding = Finding::error(code, self.location(span), message);
        self.push(finding)
    }

    /// Adds a warning at `span`.
    pub fn warning(
        &mut self,
        code: Code,
        span: &Range<usize>,
        message: impl Into<Arc<str>>,
    ) -> Added<'_> {
        if self.n_warnings >= self.most.warnings {
            self.n_warnings += 1;
            return Added(None);
        }
        let finding = Finding::warning(code, self.location(span), message);
        self.push(finding)
    }

    /// Adds the only error of a text that is not JSON.
    pub fn syntax(&mut self, error: &json::SyntaxError) {
        let code = if error.too_deep {
            Code::TOO_DEEP
        } else {
            Code::SYNTAX
        };
        let is_empty = self.text.trim_ascii().is_empty();
        let message = match &self.place {
            Base::File(_) if is_empty => "the file is empty".to_owned(),
            Base::Embedded(_) if is_empty => "the document in this string is empty".to_owned(),
            Base::File(_) => error.message.clone(),
            Base::Embedded(_) => {
                let (line, column) = self.line_and_column(error.offset);
                format!(
                    "{} (line {line}, column {column} of the document in this string)",
                    error.message
                )
            }
        };
        self.error(code, &(error.offset..error.offset), message)
            .maybe_help(error.help.clone());
    }

    /// Adds findings that come from elsewhere.
    pub fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            self.push(finding);
        }
    }

    /// Returns how many errors have been reported. Comparing it before and after a step shows whether the step
    /// succeeded.
    pub fn n_errors(&self) -> usize {
        self.n_errors
    }

    /// Returns the findings in the order they were added. A last finding says how many more there are.
    pub fn into_findings(mut self) -> Vec<Finding> {
        let whole = Location::file(match &self.place {
            Base::File(file) => Arc::clone(file),
            Base::Embedded(outer) => Arc::clone(&outer.file),
        });
        let n_more = |n: usize, most: usize| n.checked_sub(most).filter(|n| *n > 0 && most > 3);
        if let Some(n) = n_more(self.n_errors, self.most.errors) {
            let message = format!("{n} more errors of this file are not shown");
            let finding = Finding::error(Code::MORE_FINDINGS, whole.clone(), message);
            self.findings.push(finding.help("fix these first"));
        }
        if let Some(n) = n_more(self.n_warnings, self.most.warnings) {
            let message = format!("{n} more warnings of this file are not shown");
            self.findings.push(
                Finding::warning(Code::MORE_FINDINGS, whole, message).help("fix these first"),
            );
        }
        self.findings
    }

    fn push(&mut self, mut finding: Finding) -> Added<'_> {
        let (n, most) = if finding.is_error() {
            (&mut self.n_errors, self.most.errors)
        } else {
            (&mut self.n_warnings, self.most.warnings)
        };
        *n += 1;
        if *n > most {
            return Added(None);
        }
        finding.message = clipped(finding.message);
        self.findings.push(finding);
        Added(self.findings.last_mut())
    }
}

/// Returns a text, cut off if it is too long to be read.
fn clipped(text: impl Into<Arc<str>>) -> Arc<str> {
    let text = text.into();
    if text.len() <= MAX_TEXT_BYTES {
        return text;
    }
    let mut ends = (0..=MAX_TEXT_BYTES).rev();
    let begin = ends.find_map(|end| text.get(..end)).unwrap_or_default();
    format!("{begin}…").into()
}

/// A finding that was just added, to which help may be added.
pub struct Added<'r>(Option<&'r mut Finding>);

impl Added<'_> {
    /// Says how to fix it.
    pub fn help(self, help: impl Into<Arc<str>>) {
        self.maybe_help(Some(help));
    }

    /// Says how to fix it, if there is a guess. The guess is only made for a finding that is kept.
    pub fn guess<H: Into<Arc<str>>>(self, guess: impl FnOnce() -> Option<H>) {
        if self.0.is_some() {
            self.maybe_help(guess());
        }
    }

    /// Says how to fix it, if there is something to say.
    pub fn maybe_help(self, help: Option<impl Into<Arc<str>>>) {
        if let (Some(finding), Some(help)) = (self.0, help) {
            finding.help = Some(help.into());
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_and_a_long_pointer_are_cut_between_two_characters() {
        let long = |n_bytes: usize| format!("{}é{}", "x".repeat(n_bytes), "y".repeat(3_000));
        let text = format!(r#"{{"{}": {{"{}": 1}}}}"#, long(1_022), "z".repeat(2_000));
        let root = json::parse(&text, 9).unwrap();
        let inner = &root.member(&long(1_022)).unwrap().value;
        let inner = &inner.member(&"z".repeat(2_000)).unwrap().value;
        let outer = Location {
            pointer: format!("/{}", "o".repeat(900)).into(),
            ..Location::file("f.json")
        };
        let bases = [Base::File("f.json".into()), Base::Embedded(outer)];
        let pointers = [
            format!("/{}…", "x".repeat(1_022)),
            format!("/{}/{}…", "o".repeat(900), "x".repeat(1_024 - 902)),
        ];
        for (base, pointer) in bases.into_iter().zip(pointers) {
            let mut report = Report::new(base, &text);
            report.about(&root);
            report.error(Code::SYNTAX, &inner.span, long(1_023));
            report.warning(Code::SYNTAX, &(0..0), "x".repeat(1_024));
            let elsewhere = Location::file("g.json");
            report.extend([Finding::error(Code::SYNTAX, elsewhere, long(1_023))]);
            let findings = report.into_findings();
            let messages: Vec<&str> = findings.iter().map(|one| &*one.message).collect();
            let cut = format!("{}…", "x".repeat(1_023));
            assert_eq!(messages, [&*cut, &"x".repeat(1_024), &cut]);
            assert_eq!(&*findings.first().unwrap().at.pointer, pointer);
        }
    }
}
