//! A reader of Rust's tokens, for what the tests above must find in the sources: paths, and functions with their lengths.
//! It knows comments, texts and braces, and nothing of types.

/// A path in the source, with groups of `use` expanded.
pub struct UsedPath {
    pub segments: Vec<String>,
    /// The number of modules of the same file that enclose it.
    pub n_modules: usize,
    /// Whether one of them is called `tests`.
    pub in_tests: bool,
}

impl std::fmt::Display for UsedPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.segments.join("::"))
    }
}

/// Returns all paths of more than one segment.
pub fn paths(source: &str) -> Vec<UsedPath> {
    let tokens = tokens(source);
    let token = |index: usize| text_of(&tokens, index);
    let mut found = Vec::new();
    // The open modules of this file, each with the brace depth inside it.
    let mut modules: Vec<(usize, &str)> = Vec::new();
    let mut depth = 0usize;
    let mut index = 0;
    while index < tokens.len() {
        match token(index) {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                modules.retain(|(opened, _)| *opened <= depth);
            }
            "mod" if token(index + 2) == "{" => modules.push((depth + 1, token(index + 1))),
            // The visibility of an item does not use anything.
            "in" if index > 1 && token(index - 1) == "(" && token(index - 2) == "pub" => {
                index = read_path(&tokens, index + 1, &mut Vec::new(), &mut Vec::new());
                continue;
            }
            _ if is_name(token(index)) && token(index + 1) == "::" => {
                let mut segments = Vec::new();
                index = read_path(&tokens, index, &mut Vec::new(), &mut segments);
                let written_out = segments.into_iter().filter(|segments| segments.len() > 1);
                let in_tests = modules.iter().any(|(_, name)| *name == "tests");
                found.extend(written_out.map(|segments| UsedPath {
                    segments,
                    n_modules: modules.len(),
                    in_tests,
                }));
                continue;
            }
            _ => {}
        }
        index += 1;
    }
    found
}

/// Reads the path that begins at `index`. Returns the index after it.
fn read_path(
    tokens: &[Token],
    mut index: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> usize {
    let token = |index: usize| text_of(tokens, index);
    let n_before = prefix.len();
    loop {
        if token(index) == "{" {
            index += 1;
            while !matches!(token(index), "}" | "") {
                index = read_path(tokens, index, prefix, found);
                // After a member there may be `as name` and a comma.
                while !matches!(token(index), "," | "}" | "") {
                    index += 1;
                }
                index += usize::from(token(index) == ",");
            }
            index += 1;
            break;
        }
        if !is_name(token(index)) && token(index) != "*" {
            found.push(prefix.clone());
            break;
        }
        prefix.push(token(index).to_owned());
        index += 1;
        if token(index) != "::" {
            found.push(prefix.clone());
            break;
        }
        index += 1;
    }
    prefix.truncate(n_before);
    index
}

/// A function with a body.
pub struct Function {
    pub name: String,
    /// The number of lines from `fn` to the closing brace.
    pub n_lines: usize,
    /// The lines before `fn` that belong to it: comments and attributes.
    pub comment: String,
}

/// Returns all functions, those inside of others included.
pub fn functions(source: &str) -> Vec<Function> {
    let lines: Vec<&str> = source.lines().collect();
    let tokens = tokens(source);
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let name = text_of(&tokens, index + 1);
        if token.text != "fn" || !is_name(name) {
            continue; // It is another token, the type of a function, or a pattern of a macro.
        }
        if let Some(end) = end_of_function(&tokens, index) {
            found.push(Function {
                name: name.to_owned(),
                n_lines: end.line - token.line + 1,
                comment: comment_before(&lines[..token.line]),
            });
        }
    }
    found
}

/// Returns the closing brace of the function that begins at `start`; `None` if it has no body.
fn end_of_function(tokens: &[Token], start: usize) -> Option<&Token> {
    let mut depth = 0usize;
    for token in &tokens[start..] {
        match token.text.as_str() {
            ";" if depth == 0 => return None,
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return Some(token);
                }
            }
            _ => {}
        }
    }
    None
}

/// Returns the comments and attributes at the end of `lines`.
fn comment_before(lines: &[&str]) -> String {
    let belongs = |line: &&&str| {
        let line = line.trim();
        line.starts_with("//") || !(line.is_empty() || line.ends_with(['{', '}', ';']))
    };
    let own = lines.iter().rev().take_while(belongs).count();
    lines[lines.len() - own..].join("\n")
}

/// A token, with its line counted from 0.
struct Token {
    text: String,
    line: usize,
}

/// Returns the text of a token; empty behind the last one.
fn text_of(tokens: &[Token], index: usize) -> &str {
    tokens.get(index).map_or("", |token| token.text.as_str())
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Returns the names, `::` and single characters, without comments, texts, characters and lifetimes.
fn tokens(source: &str) -> Vec<Token> {
    let text: Vec<char> = source.chars().collect();
    let at = |index: usize| text.get(index).copied().unwrap_or('\0');
    let mut tokens: Vec<Token> = Vec::new();
    let mut index = 0;
    let (mut line, mut n_counted) = (0, 0);
    while index < text.len() {
        line += text[n_counted..index]
            .iter()
            .filter(|c| **c == '\n')
            .count();
        n_counted = index;
        let mut push = |text: String| tokens.push(Token { text, line });
        let c = at(index);
        if c == '/' && at(index + 1) == '/' {
            while index < text.len() && at(index) != '\n' {
                index += 1;
            }
        } else if c == '/' && at(index + 1) == '*' {
            let mut depth = 0;
            loop {
                match (at(index), at(index + 1)) {
                    ('/', '*') => (depth, index) = (depth + 1, index + 2),
                    ('*', '/') => (depth, index) = (depth - 1, index + 2),
                    _ => index += 1,
                }
                if depth == 0 || index >= text.len() {
                    break;
                }
            }
        } else if c == '"' {
            index = behind_string(&text, index);
        } else if c == '\'' {
            if at(index + 1) == '\\' {
                index += 3;
                while index < text.len() && at(index) != '\'' {
                    index += 1;
                }
                index += 1;
            } else if at(index + 2) == '\'' {
                index += 3;
            } else {
                index += 1;
                while at(index).is_alphanumeric() || at(index) == '_' {
                    index += 1;
                }
            }
        } else if c.is_alphanumeric() || c == '_' {
            let start = index;
            while at(index).is_alphanumeric() || at(index) == '_' {
                index += 1;
            }
            let word: String = text[start..index].iter().collect();
            if matches!(word.as_str(), "r" | "br" | "cr") && matches!(at(index), '"' | '#') {
                index = behind_raw_string(&text, index);
            } else {
                push(word);
            }
        } else if c == ':' && at(index + 1) == ':' {
            push("::".to_owned());
            index += 2;
        } else {
            if !c.is_whitespace() {
                push(c.to_string());
            }
            index += 1;
        }
    }
    tokens
}

fn behind_string(text: &[char], start: usize) -> usize {
    let mut index = start + 1;
    while index < text.len() && text[index] != '"' {
        index += if text[index] == '\\' { 2 } else { 1 };
    }
    index + 1
}

fn behind_raw_string(text: &[char], start: usize) -> usize {
    let n_hashes = text[start..].iter().take_while(|c| **c == '#').count();
    let mut index = start + n_hashes;
    if text.get(index) != Some(&'"') {
        return index; // A raw name: `r#type`.
    }
    index += 1;
    let closes = |index: usize| {
        text[index] == '"'
            && text[index + 1..].iter().take_while(|c| **c == '#').count() >= n_hashes
    };
    while index < text.len() && !closes(index) {
        index += 1;
    }
    index + 1 + n_hashes
}

#[test]
fn paths_are_found_where_they_stand() {
    let source = r###"
        use crate::{engine::{self, live::Live as Now}, store}; // crate::comment
        /* crate::block /* nested */ */
        use std::{fmt, fs::File};
        fn f<'a>(x: &'a str) -> crate::name::Arn { g::<crate::world::World>("crate::text", r#"crate::"raw"#, 'c', '\'') }
        mod tests { use super::super::x; mod inner { fn f() { std::time::Instant::now(); } } }
        pub(in crate::engine) use super::*;
    "###;
    let found: Vec<String> = paths(source)
        .iter()
        .map(|p| format!("{p} {}", p.n_modules))
        .collect();
    let expected = [
        "crate::engine::self 0",
        "crate::engine::live::Live 0",
        "crate::store 0",
        "std::fmt 0",
        "std::fs::File 0",
        "crate::name::Arn 0",
        "crate::world::World 0",
        "super::super::x 1",
        "std::time::Instant::now 2",
        "super::* 0",
    ];
    assert_eq!(found, expected);
}

#[test]
fn functions_are_measured_from_name_to_brace() {
    let source = r##"
        /// Says why.
        #[expect(
            clippy::x,
        )]
        pub fn one(of: [u8; 2]) -> usize {
            let text = "}
            }";
            fn inside() {}
        }
        trait T { fn none(&self); }

        // Not this.

        fn two(f: fn(u8)) where { '}' }
    "##;
    let found: Vec<_> = functions(source)
        .into_iter()
        .map(|function| {
            let n_lines_of_comment = function.comment.lines().count();
            (function.name, function.n_lines, n_lines_of_comment)
        })
        .collect();
    let expected = [("one", 5, 4), ("inside", 1, 0), ("two", 1, 0)];
    assert_eq!(
        found,
        expected.map(|(name, lines, of_comment)| (name.to_owned(), lines, of_comment))
    );
}
