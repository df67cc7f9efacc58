//! Explains to the author why a text is not JSON, and how to fix it.
//!
//! serde_json decides whether a text is JSON, and where it stops being JSON. Only after an error is the text scanned
//! here, once and without recursion, up to the first mistake, which is mostly one of a few well-known ones.

use std::borrow::Cow;

use crate::language::lines::line_and_column;

/// The mistake at which parsing stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The mistake in words: "JSON has no comments".
    pub message: String,
    /// How to fix it: "remove the comment".
    pub help: Cow<'static, str>,
}

impl Fault {
    fn new(message: impl Into<String>, help: impl Into<Cow<'static, str>>) -> Self {
        Self {
            message: message.into(),
            help: help.into(),
        }
    }
}

/// The longest part of the text that is shown, in characters.
const MAX_SHOWN: usize = 40;

/// The kind of token that may come next.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    /// The value of the text, of a member or of an element.
    Value(Before),
    /// A member's name.
    Name(Before),
    Colon,
    CommaOrEnd,
    /// The text must end here.
    Nothing,
}

/// The token before.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Start,
    Bracket,
    Comma,
    Colon,
}

/// Returns the first mistake in `text`. Returns `None` if this module does not know the mistake, or if there is none.
pub fn fault(text: &str) -> Option<Fault> {
    let mut scan = Scan {
        text,
        at: 0,
        open: Vec::new(),
    };
    scan.run().err()
}

struct Scan<'t> {
    text: &'t str,
    at: usize,
    /// The open brackets with their positions.
    open: Vec<(char, usize)>,
}

impl<'t> Scan<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn run(&mut self) -> Result<(), Fault> {
        let mut next = Next::Value(Before::Start);
        loop {
            let blanks = |character: char| matches!(character, ' ' | '\t' | '\r' | '\n');
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start_matches(blanks).len();
            let Some(character) = self.rest().chars().next() else {
                return self.end(next);
            };
            next = self.step(next, character)?;
        }
    }

    /// Handles the end of the text.
    fn end(&self, next: Next) -> Result<(), Fault> {
        if next == Next::Nothing {
            return Ok(());
        }
        let Some((bracket, at)) = self.open.last() else {
            return Err(Fault::new(
                "the text is empty",
                "write a JSON object into it",
            ));
        };
        let (line, column) = line_and_column(self.text, *at);
        Err(Fault::new(
            format!(
                "the text ends before the `{bracket}` at line {line}, column {column} is closed"
            ),
            format!("add `{}`, or restore the rest", closing(*bracket)),
        ))
    }

    fn step(&mut self, next: Next, character: char) -> Result<Next, Fault> {
        match (next, character) {
            (Next::Value(_), '"') => {
                self.string()?;
                Ok(self.behind_value())
            }
            (Next::Name(_), '"') => {
                self.string()?;
                Ok(Next::Colon)
            }
            (Next::Value(_), '{' | '[') => {
                self.open.push((character, self.at));
                self.at += 1;
                Ok(if character == '{' {
                    Next::Name(Before::Bracket)
                } else {
                    Next::Value(Before::Bracket)
                })
            }
            (Next::Colon, ':') => {
                self.at += 1;
                Ok(Next::Value(Before::Colon))
            }
            (Next::CommaOrEnd, ',') => {
                self.at += 1;
                let in_object = matches!(self.open.last(), Some(('{', _)));
                Ok(if in_object {
                    Next::Name(Before::Comma)
                } else {
                    Next::Value(Before::Comma)
                })
            }
            (_, '}' | ']') => self.close(next, character),
            (Next::Value(before), '-' | '+' | '.' | '0'..='9') if !self.is_yaml(before) => {
                self.number()?;
                Ok(self.behind_value())
            }
            (Next::Value(before), 'a'..='z' | 'A'..='Z') => {
                self.word(before)?;
                Ok(self.behind_value())
            }
            _ => Err(self.stranger(next, character)),
        }
    }

    fn behind_value(&self) -> Next {
        if self.open.is_empty() {
            Next::Nothing
        } else {
            Next::CommaOrEnd
        }
    }

    /// Handles a closing bracket.
    fn close(&mut self, next: Next, character: char) -> Result<Next, Fault> {
        let Some((bracket, at)) = self.open.last().copied() else {
            return Err(Fault::new(
                format!("`{character}` closes nothing"),
                "remove it",
            ));
        };
        if closing(bracket) != character {
            let (line, column) = line_and_column(self.text, at);
            return Err(Fault::new(
                format!(
                    "`{character}` does not close the `{bracket}` at line {line}, column {column}"
                ),
                format!("write `{}`", closing(bracket)),
            ));
        }
        match next {
            Next::Value(Before::Comma) | Next::Name(Before::Comma) => {
                return Err(Fault::new(
                    format!("there is a comma before `{character}`"),
                    "remove the comma",
                ));
            }
            Next::Value(Before::Colon) => {
                return Err(Fault::new(
                    "a value is missing after the colon",
                    "add a value, or remove the member",
                ));
            }
            Next::Colon => return Err(colon_missing()),
            _ => {}
        }
        self.open.pop();
        self.at += 1;
        Ok(self.behind_value())
    }

    /// Returns whether a text that has just begun looks like YAML.
    fn is_yaml(&self, before: Before) -> bool {
        let rest = self.rest();
        before == Before::Start
            && (rest.starts_with("---") || rest.starts_with("- ") || {
                let word = self.bare_word();
                let behind = rest.get(word.len()..).unwrap_or_default();
                let behind = behind.strip_prefix(':');
                !word.is_empty()
                    && behind
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\n', '\r']))
            })
    }

    /// Returns the fault of a character that cannot begin a token here.
    fn stranger(&self, next: Next, character: char) -> Fault {
        let rest = self.rest();
        let is_first_of_line = self
            .text
            .get(..self.at)
            .is_some_and(|before| before.is_empty() || before.ends_with('\n'));
        if is_first_of_line && is_conflict_marker(rest) {
            return Fault::new(
                "this line is a conflict marker of a merge",
                "keep one version, and remove the lines of `<<<<<<<`, `=======` and `>>>>>>>`",
            );
        }
        if character == '#' || rest.starts_with("//") || rest.starts_with("/*") {
            return Fault::new("JSON has no comments", "remove the comment");
        }
        if let Some(fault) = never_allowed(character) {
            return fault;
        }
        let begins_value = matches!(character, '"' | '{' | '[' | '-' | '0'..='9');
        match next {
            Next::Value(before) if self.is_yaml(before) => yaml(),
            Next::Value(_) if rest.starts_with("${") => {
                Fault::new("this placeholder was not filled in", "fill it in")
            }
            Next::Value(_) if character == ',' => {
                Fault::new("there is a comma where a value belongs", "remove the comma")
            }
            Next::Name(_) if character == ',' => {
                Fault::new("there is a comma where a name belongs", "remove the comma")
            }
            Next::Name(_) if !self.bare_word().is_empty() => {
                let word = shown(self.bare_word());
                Fault::new(
                    format!("the name `{word}` has no quotes"),
                    format!("write `\"{word}\"`"),
                )
            }
            Next::Colon => colon_missing(),
            Next::CommaOrEnd if begins_value => {
                Fault::new("a comma is missing before this", "add `,`")
            }
            Next::Nothing if begins_value => Fault::new(
                "a second value follows the first",
                "keep one of them, or give each a file of its own",
            ),
            _ => Fault::new(format!("`{character}` does not belong here"), "remove it"),
        }
    }

    fn bare_word(&self) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|character: char| {
            !(character.is_alphanumeric() || matches!(character, '_' | '-'))
        });
        rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
    }

    /// Reads a word in the place of a value.
    fn word(&mut self, before: Before) -> Result<(), Fault> {
        let word = self.bare_word();
        if matches!(word, "true" | "false" | "null") {
            self.at += word.len();
            return Ok(());
        }
        if self.is_yaml(before) {
            return Err(yaml());
        }
        let folded = word.to_ascii_lowercase();
        let meant = match &*folded {
            "true" | "yes" | "on" => "true",
            "false" | "no" | "off" => "false",
            "null" | "none" | "nil" | "undefined" => "null",
            _ => {
                let word = shown(word);
                return Err(Fault::new(
                    format!("`{word}` has no quotes"),
                    format!("write `\"{word}\"`"),
                ));
            }
        };
        Err(Fault::new(
            format!("`{word}` is not a JSON value"),
            format!("did you mean `{meant}`?"),
        ))
    }

    fn number(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        let end = rest.find(|character: char| {
            !(character.is_ascii_digit() || matches!(character, '-' | '+' | '.' | 'e' | 'E'))
        });
        let number = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        if !is_number(number) {
            let number = shown(number);
            return Err(Fault::new(
                format!("`{number}` is not a JSON number"),
                format!("write `\"{number}\"` if it is a text"),
            ));
        }
        self.at += number.len();
        Ok(())
    }

    fn string(&mut self) -> Result<(), Fault> {
        self.at += 1;
        loop {
            let rest = self.rest();
            let Some(found) =
                rest.find(|character: char| matches!(character, '"' | '\\' | '\0'..='\u{1f}'))
            else {
                return Err(Fault::new(
                    "the text ends inside a string",
                    "close the string with `\"`, or restore the rest",
                ));
            };
            self.at += found;
            match self.rest().as_bytes().first() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(b'\n' | b'\r') => {
                    return Err(Fault::new(
                        "a string contains a line break",
                        "close the string with `\"`, or write `\\n`",
                    ));
                }
                Some(b'\t') => {
                    return Err(Fault::new("a string contains a tab", "write `\\t`"));
                }
                control => {
                    let control = control.copied().unwrap_or_default();
                    return Err(Fault::new(
                        format!("a string contains the control character U+{control:04X}"),
                        format!("write `\\u{control:04x}`, or remove it"),
                    ));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        let Some(letter) = rest.chars().nth(1) else {
            self.at += 1; // the text ends inside the string
            return Ok(());
        };
        if matches!(letter, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') {
            self.at += 2;
            return Ok(());
        }
        let unit = |at: usize| {
            let digits = rest.get(at..at + 6)?.strip_prefix("\\u")?;
            let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)
        };
        let shown: String = rest
            .chars()
            .take(if letter == 'u' { 6 } else { 2 })
            .collect();
        match (letter, unit(0), unit(6)) {
            ('u', Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => self.at += 12,
            ('u', Some(0xd800..=0xdfff), _) => {
                return Err(Fault::new(
                    format!("`{shown}` is half a character"),
                    "write both halves, or the character itself",
                ));
            }
            ('u', Some(_), _) => self.at += 6,
            ('u', None, _) => {
                return Err(Fault::new(
                    format!("`{shown}` is not a JSON escape"),
                    "write four hexadecimal digits after `\\u`",
                ));
            }
            _ => {
                return Err(Fault::new(
                    format!("`{shown}` is not a JSON escape"),
                    "write `\\\\` for a backslash",
                ));
            }
        }
        Ok(())
    }
}

fn closing(bracket: char) -> char {
    if bracket == '{' { '}' } else { ']' }
}

fn colon_missing() -> Fault {
    Fault::new("a colon is missing after the name", "add `:`")
}

fn yaml() -> Fault {
    Fault::new(
        "this looks like YAML, not JSON",
        "write it as JSON, with every name and text in `\"`",
    )
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

fn is_conflict_marker(rest: &str) -> bool {
    let line = rest.lines().next().unwrap_or_default();
    ["<<<<<<<", "|||||||", "=======", ">>>>>>>"]
        .iter()
        .any(|marker| {
            line.strip_prefix(marker)
                .is_some_and(|behind| behind.is_empty() || behind.starts_with(' '))
        })
}

/// Returns the fault of a character that JSON never has outside of its strings.
fn never_allowed(character: char) -> Option<Fault> {
    let code = u32::from(character);
    let (message, help) = match character {
        '\u{2018}'..='\u{201f}'
        | '«'
        | '»'
        | '\u{2032}'
        | '\u{2033}'
        | '\u{ff02}'
        | '\u{ff07}'
        | '`'
        | '´' => (
            format!("the quotation mark U+{code:04X} is not `\"`"),
            "write `\"`",
        ),
        '\'' => ("a single quote is not `\"`".to_owned(), "write `\"`"),
        _ if is_invisible(character) => (
            format!("the invisible character U+{code:04X} is not JSON white space"),
            "replace it with a space, or remove it",
        ),
        _ => return None,
    };
    Some(Fault::new(message, help))
}

/// Returns whether the character is invisible: white space that JSON does not allow, or a character without width.
fn is_invisible(character: char) -> bool {
    character.is_whitespace()
        || matches!(
            character,
            '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{feff}'
        )
}

/// Returns whether `text` is a number by RFC 8259, section 6.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent = exponent.map(|exponent| exponent.strip_prefix(['-', '+']).unwrap_or(exponent));
    is_digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(is_digits)
        && exponent.is_none_or(is_digits)
}
