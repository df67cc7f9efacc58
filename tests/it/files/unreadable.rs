//! Tests texts that look like JSON but are not (G-1). Each gives one finding at its place, which says what is there and
//! how to fix it. The place is where parsing stopped. The words are iamd's and not those of the JSON library.

use std::fs;

use iamd::language::document::PolicyType;
use iamd::language::finding::Finding;
use iamd::language::parse::parse;
use iamd::language::report::Base;
use iamd::store;
use serde_json::Value;
use tempfile::TempDir;

use super::{ACCOUNT, has_all, words_of};
use crate::support::{allow, iamd, run, store_allowing, write};

/// Words of the library, which an author of policies should not have to read.
const WORDS_OF_THE_LIBRARY: &[&str] = &[
    "EOF",
    "expected value",
    "expected `",
    "expected ident",
    "key must be",
    "trailing c",
    "control character (",
    "invalid escape",
    "invalid number",
    "invalid unicode",
    "hex escape",
    "number out of range",
];

/// A name for failures, the file's bytes, the finding's code and place, and its text.
pub type Case = (
    &'static str,
    Vec<u8>,
    &'static str,
    (u32, u32),
    &'static [&'static str],
);

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

/// Returns faults of the whole file: its encoding, and content that is not JSON text at all.
fn whole_files() -> Vec<Case> {
    let small = r#"{"UserName": "ann"}"#;
    let marked = format!("\u{feff}{small}");
    let is_utf16: &[&str] = &["the file is UTF-16", "save it as UTF-8", "PowerShell"];
    vec![
        (
            "empty",
            Vec::new(),
            "syntax",
            (1, 1),
            &["the file is empty", "write a JSON object"],
        ),
        (
            "blank",
            b" \n\n".to_vec(),
            "syntax",
            (3, 1),
            &["the file is empty", "write a JSON object"],
        ),
        (
            "little-endian UTF-16",
            utf16(&marked, u16::to_le_bytes),
            "not-utf8",
            (1, 1),
            is_utf16,
        ),
        (
            "big-endian UTF-16",
            utf16(&marked, u16::to_be_bytes),
            "not-utf8",
            (1, 1),
            is_utf16,
        ),
        (
            "little-endian UTF-16 without a mark",
            utf16(small, u16::to_le_bytes),
            "not-utf8",
            (1, 1),
            is_utf16,
        ),
        (
            "big-endian UTF-16 without a mark",
            utf16(small, u16::to_be_bytes),
            "not-utf8",
            (1, 1),
            is_utf16,
        ),
        (
            "Latin-1",
            b"{\"UserName\": \"d\xe9\"}".to_vec(),
            "not-utf8",
            (1, 16),
            &["the file is not UTF-8", "save it as UTF-8"],
        ),
        (
            "UTF-8 with a mark",
            marked.into_bytes(),
            "byte-order-mark",
            (1, 1),
            &[
                "begins with a byte order mark",
                "save it as UTF-8 without one",
            ],
        ),
        (
            "zeros",
            vec![0; 16],
            "syntax",
            (1, 1),
            &["only zero bytes", "restore it"],
        ),
        (
            "YAML",
            b"UserName: ann\n".to_vec(),
            "syntax",
            (1, 1),
            &["this looks like YAML, not JSON", "write it as JSON"],
        ),
        (
            "YAML with a begin",
            b"---\nUserName: ann\n".to_vec(),
            "syntax",
            (1, 2),
            &["this looks like YAML, not JSON"],
        ),
        (
            "a conflict of the whole file",
            b"<<<<<<< HEAD\n{}\n=======\n{ }\n>>>>>>> x\n".to_vec(),
            "syntax",
            (1, 1),
            &["a conflict marker of a merge"],
        ),
    ]
}

/// Returns texts with one thing too many, or with another character than the one intended.
fn characters() -> Vec<Case> {
    let text = |text: &str| text.as_bytes().to_vec();
    let comment: &[&str] = &["JSON has no comments", "remove the comment"];
    let conflict: &[&str] = &["a conflict marker of a merge", "`<<<<<<<`", "`>>>>>>>`"];
    vec![
        (
            "a comment",
            text("{\n  // the first user\n  \"UserName\": \"ann\"\n}\n"),
            "syntax",
            (2, 3),
            comment,
        ),
        (
            "a comment behind a value",
            text("{\"UserName\": \"c\" // me\n}\n"),
            "syntax",
            (1, 18),
            comment,
        ),
        (
            "a comment of several lines",
            text("/* me */ {}"),
            "syntax",
            (1, 1),
            comment,
        ),
        (
            "a comment of a shell",
            text("{\n  # me\n}\n"),
            "syntax",
            (2, 3),
            comment,
        ),
        (
            "a comma at the end of an object",
            text("{\n  \"UserName\": \"ann\",\n}\n"),
            "syntax",
            (3, 1),
            &["a comma before `}`", "remove the comma"],
        ),
        (
            "a comma at the end of a list",
            text("{\"GroupList\": [\"a\",]}"),
            "syntax",
            (1, 20),
            &["a comma before `]`", "remove the comma"],
        ),
        (
            "two commas",
            text("{\"GroupList\": [\"a\",, \"b\"]}"),
            "syntax",
            (1, 20),
            &["a comma where a value belongs", "remove the comma"],
        ),
        (
            "a no-break space",
            text("{\"Path\": \"/\",\u{a0}\"UserName\": \"ann\"}"),
            "syntax",
            (1, 14),
            &["the invisible character U+00A0", "replace it with a space"],
        ),
        (
            "a line separator",
            text("{\"Path\": \"/\",\u{2028}\"UserName\": \"ann\"}"),
            "syntax",
            (1, 14),
            &["the invisible character U+2028"],
        ),
        (
            "a byte order mark in the middle",
            text("{\n\u{feff}\"UserName\": \"ann\"}"),
            "syntax",
            (2, 1),
            &["the invisible character U+FEFF", "remove it"],
        ),
        (
            "curly quotes",
            text("{\"UserName\": \u{201c}ann\u{201d}}"),
            "syntax",
            (1, 14),
            &["the quotation mark U+201C", "write `\"`"],
        ),
        (
            "single quotes",
            text("{'UserName': 'ann'}"),
            "syntax",
            (1, 2),
            &["a single quote", "write `\"`"],
        ),
        (
            "single quotes of a value",
            text("{\"UserName\": 'ann'}"),
            "syntax",
            (1, 14),
            &["a single quote", "write `\"`"],
        ),
        (
            "a merge",
            text(
                "{\n<<<<<<< HEAD\n \"UserName\": \"ann\"\n=======\n \"UserName\": \"anna\"\n>>>>>>> b\n}\n",
            ),
            "syntax",
            (2, 1),
            conflict,
        ),
        (
            "the middle of a merge",
            text("{\n \"UserName\": \"ann\"\n=======\n}\n"),
            "syntax",
            (3, 1),
            conflict,
        ),
        (
            "the end of a merge",
            text("{\n \"UserName\": \"ann\"\n}\n>>>>>>> b\n"),
            "syntax",
            (4, 1),
            conflict,
        ),
    ]
}

/// Returns texts in which something is missing or in the wrong place.
fn structure() -> Vec<Case> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        (
            "a brace missing at the end",
            text("{\"UserName\": \"q\"\n"),
            "syntax",
            (2, 1),
            &[
                "the text ends before the `{` at line 1, column 1 is closed",
                "add `}`",
            ],
        ),
        (
            "a bracket missing at the end",
            text("{\n \"GroupList\": [\"a\""),
            "syntax",
            (2, 18),
            &[
                "the text ends before the `[` at line 2, column 15 is closed",
                "add `]`",
            ],
        ),
        (
            "cut off in a string",
            text("{\"UserName\": \"an"),
            "syntax",
            (1, 16),
            &["the text ends inside a string", "`\"`"],
        ),
        (
            "cut off behind a name",
            text("{\"UserName\":"),
            "syntax",
            (1, 12),
            &["the text ends before the `{` at line 1, column 1 is closed"],
        ),
        (
            "the wrong bracket",
            text("{\n  \"Tags\": [\n}\n"),
            "syntax",
            (3, 1),
            &[
                "`}` does not close the `[` at line 2, column 11",
                "write `]`",
            ],
        ),
        (
            "a bracket too many",
            text("{\"UserName\": \"ann\"}}"),
            "syntax",
            (1, 20),
            &["`}` closes nothing", "remove it"],
        ),
        (
            "two documents",
            text("{}\n{}\n"),
            "syntax",
            (2, 1),
            &["a second value follows the first", "a file of its own"],
        ),
        (
            "a comma missing between members",
            text("{\"UserName\": \"ann\"\n \"Path\": \"/\"}"),
            "syntax",
            (2, 2),
            &["a comma is missing", "add `,`"],
        ),
        (
            "a comma missing between elements",
            text("{\"GroupList\": [\"a\" \"b\"]}"),
            "syntax",
            (1, 20),
            &["a comma is missing", "add `,`"],
        ),
        (
            "a colon missing",
            text("{\"UserName\" \"ann\"}"),
            "syntax",
            (1, 13),
            &["a colon is missing", "add `:`"],
        ),
        (
            "a value missing",
            text("{\"UserName\": }"),
            "syntax",
            (1, 14),
            &["a value is missing after the colon"],
        ),
        (
            "a name without quotes",
            text("{UserName: \"ann\"}"),
            "syntax",
            (1, 2),
            &["the name `UserName` has no quotes", "write `\"UserName\"`"],
        ),
        (
            "a text without quotes",
            text("{\"UserName\": ann}"),
            "syntax",
            (1, 14),
            &["`ann` has no quotes", "write `\"ann\"`"],
        ),
        (
            "a placeholder",
            text("{\"UserName\": ${NAME}}"),
            "syntax",
            (1, 14),
            &["placeholder was not filled in", "fill it in"],
        ),
        (
            "a Boolean of Python",
            text("{\"Disabled\": True}"),
            "syntax",
            (1, 14),
            &["`True` is not a JSON value", "did you mean `true`?"],
        ),
        (
            "a number with a zero in front",
            text("{\"CreateDate\": 012}"),
            "syntax",
            (1, 17),
            &["`012` is not a JSON number"],
        ),
    ]
}

/// Faults inside a string.
fn strings() -> Vec<Case> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        (
            "a line break",
            text("{\"UserName\": \"an\nn\"}"),
            "syntax",
            (1, 16),
            &["a string contains a line break", "`\\n`"],
        ),
        (
            "a tab",
            text("{\"UserName\": \"a\tn\"}"),
            "syntax",
            (1, 15),
            &["a string contains a tab", "`\\t`"],
        ),
        (
            "another control",
            text("{\"UserName\": \"a\u{1}n\"}"),
            "syntax",
            (1, 15),
            &[
                "a string contains the control character U+0001",
                "`\\u0001`",
            ],
        ),
        (
            "an unknown escape",
            text("{\"UserName\": \"\\x61\"}"),
            "syntax",
            (1, 16),
            &["`\\x` is not a JSON escape", "`\\\\`"],
        ),
        (
            "half a character",
            text("{\"Path\": \"/\\ud800/\"}"),
            "syntax",
            (1, 18),
            &["`\\ud800` is half a character", "both halves"],
        ),
    ]
}

pub fn all() -> Vec<Case> {
    let mut all = whole_files();
    all.extend(characters());
    all.extend(structure());
    all.extend(strings());
    all
}

fn is_in_words_of_the_library(finding: &Finding) -> bool {
    let words = words_of(finding);
    WORDS_OF_THE_LIBRARY
        .iter()
        .any(|leaked| words.contains(leaked))
}

#[test]
fn an_unreadable_text_gives_one_finding_that_says_what_stands_there_and_how_to_mend_it() {
    let store = TempDir::new().unwrap();
    write(store.path(), "account.json", ACCOUNT);
    write(store.path(), "users/zoe.json", "{}");
    let path = store.path().join("users/ann.json");
    let mut wrong = Vec::new();
    for (what, bytes, code, place, says) in all() {
        fs::write(&path, bytes).unwrap();
        let findings = store::load(store.path()).unwrap_err().findings;
        let is_right = match findings.as_slice() {
            [finding] => {
                let at = &finding.at;
                (&*at.file, at.line, at.column) == ("users/ann.json", place.0, place.1)
                    && finding.code.as_str() == code
                    && finding.is_error()
                    && has_all(&words_of(finding), says)
                    && !is_in_words_of_the_library(finding)
                    && !finding.message.contains(['\n', '\r'])
            }
            _ => false,
        };
        if !is_right {
            let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
            wrong.push(format!(
                "{what}: {}:{}: error[{code}] with {says:?}, not\n    {}",
                place.0,
                place.1,
                shown.join("\n    ")
            ));
        }
    }
    assert!(wrong.is_empty(), "G-1:\n{}", wrong.join("\n"));
}

/// `account.json` is read before all other files, and a file may also be checked alone.
#[test]
fn every_file_is_told_in_the_same_words() {
    let store = TempDir::new().unwrap();
    write(store.path(), "account.json", "{\"AccountId\": \"1\",}");
    write(store.path(), "users/zoe.json", "{}");
    let findings = store::load(store.path()).unwrap_err().findings;
    let words = ["a comma before `}`", "remove the comma"];
    let [finding] = findings.as_slice() else {
        panic!("{findings:#?}")
    };
    assert!(has_all(&words_of(finding), &words), "{finding}");
    let told = run(
        iamd([
            "validate",
            store.path().join("account.json").to_str().unwrap(),
        ]),
        "",
    );
    assert_eq!(told.status, Some(1), "{told:?}");
    assert!(has_all(&told.stdout, &words), "{told:?}");
}

/// A document in a string has no lines of its own in the file. The finding points at the string and gives the place
/// inside it.
#[test]
fn a_document_in_a_string_says_where_inside_it_is_unreadable() {
    let document = "{\"Version\": \"2012-10-17\",\n \"Statement\": [],}";
    let file = format!(
        "{{\n \"UserPolicyList\": [{{\"PolicyName\": \"p\", \"PolicyDocument\": {}}}]}}",
        Value::from(document)
    );
    let findings = super::found([("users/ann.json", &*file)]);
    let [finding] = findings.as_slice() else {
        panic!("one finding, not {findings:#?}")
    };
    let place = super::place_of("\"{", &file);
    assert_eq!((finding.at.line, finding.at.column), place, "{finding}");
    let words = [
        "a comma before `}`",
        "line 2, column 18",
        "remove the comma",
    ];
    assert!(has_all(&words_of(finding), &words), "{finding}");
    let nothing = file.replace(&Value::from(document).to_string(), "\" \"");
    let findings = super::found([("users/ann.json", &*nothing)]);
    let [finding] = findings.as_slice() else {
        panic!("one finding, not {findings:#?}")
    };
    assert!(finding.message.contains("is empty"), "{finding}");
    assert!(!is_in_words_of_the_library(finding), "{finding}");
}

/// The same applies to lines of questions. PowerShell puts a byte order mark before the first one.
#[test]
fn a_line_of_questions_is_told_in_the_same_words() {
    let store = store_allowing("orders:Get");
    for (line, words) in [
        ("\u{feff}{}", &["U+FEFF", "column 1"][..]),
        ("{\"principal\": \"a\",}", &["a comma before `}`"]),
        ("{'principal': 'a'}", &["a single quote", "column 2"]),
        ("{\"principal\": \"a\"", &["the text ends before the `{`"]),
    ] {
        let mut command = iamd(["authorize", "--requests", "-", "--store"]);
        command.arg(store.path());
        let finished = run(command, &format!("{line}\n"));
        assert_eq!(finished.status, Some(2), "{finished:?}");
        let answer: Value = serde_json::from_str(&finished.stdout).unwrap();
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(has_all(message, words), "{words:?} in {message}");
        let leaks = |leaked: &&str| message.contains(*leaked);
        assert!(!WORDS_OF_THE_LIBRARY.iter().any(leaks), "{message}");
    }
}

/// For any change to a good document that makes it unreadable, the finding uses iamd's words and a place inside the
/// document.
#[test]
fn no_text_is_told_in_the_words_of_the_library() {
    let good = allow("orders:Get").replace("\"One\"", "\"\\u00e9\\ud83d\\ude00\"");
    let insertions = [
        "", "{", "}", "[", "]", ",", ":", "\"", "'", "\\", "\n", "\t", "\0", "x", "tru", "-", "0",
        "1e", ".", "/", "//", "#", "\u{a0}", "\u{201c}", "\u{feff}", "\\u", "\\ud800",
    ];
    let mut n_unreadable = 0;
    for (at, character) in good.char_indices() {
        let (before, behind) = (&good[..at], &good[at + character.len_utf8()..]);
        for insertion in insertions {
            // The character is replaced, another is inserted before it, and the text is cut there.
            for text in [
                format!("{before}{insertion}{behind}"),
                format!("{before}{insertion}{character}{behind}"),
                format!("{before}{insertion}"),
            ] {
                let base = Base::File("p.json".into());
                let (_, findings) = parse(&text, PolicyType::Identity, base);
                for finding in findings.iter().filter(|of| of.code.as_str() == "syntax") {
                    n_unreadable += 1;
                    assert_eq!(findings.len(), 1, "{text:?}: {findings:#?}");
                    assert!(!is_in_words_of_the_library(finding), "{text:?}: {finding}");
                    assert_ne!(
                        &*finding.message, "the text is not JSON",
                        "{text:?}: no more?"
                    );
                    assert!(finding.at.line > 0 && finding.at.column > 0, "{finding}");
                }
            }
        }
    }
    assert!(n_unreadable > 1_000, "{n_unreadable}");
}

/// The unreadable policies of the corpus, as they were published.
#[test]
fn unreadable_policies_of_the_corpus_are_told_with_how_to_mend_them() {
    let records = crate::support::repository().join("tests/corpus/invalid/syntax.jsonl");
    let records = fs::read_to_string(records).unwrap();
    let mut without_help = Vec::new();
    for record in records.lines() {
        let record: Value = serde_json::from_str(record).unwrap();
        let text = record["text"].as_str().unwrap();
        let base = Base::File("p.json".into());
        let (_, findings) = parse(text, PolicyType::Identity, base);
        let [finding] = findings.as_slice() else {
            panic!("{text}: {findings:#?}")
        };
        assert!(!is_in_words_of_the_library(finding), "{text}: {finding}");
        if finding.help.is_none() {
            without_help.push(finding.to_string());
        }
    }
    // An extra colon is hard to guess at.
    let n_records = records.lines().count();
    assert!(
        without_help.len() * 4 < n_records,
        "{} of {n_records}: {without_help:#?}",
        without_help.len()
    );
}
