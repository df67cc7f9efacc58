//! Reads lines of unknown length in bounded memory, and lets the caller flush before each wait for input.

use std::io::{self, BufRead, BufReader, Read};

/// The lines of `reader`.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    max_bytes: usize,
}

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'l> {
    /// The whole line.
    Whole(&'l [u8]),
    /// A line longer than the limit, which was skipped.
    TooLong,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(reader: R, max_bytes: usize) -> Self {
        Self {
            reader: BufReader::with_capacity(64 * 1024, reader),
            line: Vec::new(),
            max_bytes,
        }
    }

    /// Returns the next line. Calls `before_wait` before each read, which may wait for a user who types.
    pub(super) fn next(
        &mut self,
        mut before_wait: impl FnMut() -> io::Result<()>,
    ) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let mut has_begun = false;
        let mut is_too_long = false;
        loop {
            if self.reader.buffer().is_empty() {
                before_wait()?;
            }
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() && !has_begun {
                return Ok(None);
            }
            has_begun = true;
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = available
                .get(..end.unwrap_or(available.len()))
                .unwrap_or_default();
            is_too_long = is_too_long || self.line.len() + part.len() > self.max_bytes;
            if !is_too_long {
                self.line.extend_from_slice(part);
            }
            let is_last = available.is_empty();
            let n_used = part.len() + usize::from(end.is_some());
            self.reader.consume(n_used);
            if end.is_some() || is_last {
                return Ok(Some(if is_too_long {
                    Line::TooLong
                } else {
                    Line::Whole(&self.line)
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    /// A reader that returns at most three bytes at a time.
    struct Drops<'d>(&'d [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n_bytes = buffer.len().min(3);
            self.0.read(buffer.get_mut(..n_bytes).unwrap())
        }
    }

    fn lines(text: &str, max_bytes: usize) -> Vec<Option<String>> {
        let mut lines = Lines::new(Drops(text.as_bytes()), max_bytes);
        let mut all = Vec::new();
        while let Some(line) = lines.next(|| Ok(())).unwrap() {
            all.push(match line {
                Line::Whole(line) => Some(String::from_utf8(line.to_vec()).unwrap()),
                Line::TooLong => None,
            });
        }
        all
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn lines_end_with_a_line_feed_or_with_the_input() {
        assert_eq!(
            lines("abcdef\n\ng", 10),
            [some("abcdef"), some(""), some("g")]
        );
        assert_eq!(lines("abc\n", 10), [some("abc")]);
        assert_eq!(lines("", 10), [] as [Option<String>; 0]);
        assert_eq!(lines("\n", 10), [some("")]);
    }

    #[test]
    fn a_line_over_the_limit_is_skipped_and_the_next_one_read() {
        assert_eq!(
            lines("abcdefgh\nabcde\nabcdef", 5),
            [None, some("abcde"), None]
        );
    }

    #[test]
    fn whatever_was_written_is_flushed_before_each_wait() {
        let n_waits = std::cell::Cell::new(0);
        let wait = || {
            n_waits.set(n_waits.get() + 1);
            Ok(())
        };
        let mut lines = Lines::new(Drops(b"a\nb\nc"), 10);
        let mut next = || lines.next(wait).unwrap().is_some();
        assert!(next() && next() && next() && !next());
        assert_eq!(
            n_waits.get(),
            4,
            "one for each read: `a.b`, `.c`, and twice the end"
        );
    }
}
