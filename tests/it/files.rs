//! Tests what users bring: outputs of AWS commands, texts that are not JSON, and typing errors.
//!
//! Each of them is loaded, or reported in one finding that says what it is and how to fix it.

mod explained;
mod hints;
mod lists;
mod logs;
mod lone;
pub mod outputs;
pub mod unreadable;

use iamd::language::finding::Finding;
use iamd::store;

const ACCOUNT: &str = r#"{"AccountId": "111111111111"}"#;

/// Returns the findings about a store of `files`, whether it loads or not.
fn found<'t>(files: impl IntoIterator<Item = (&'t str, &'t str)>) -> Vec<Finding> {
    let account = ("account.json", ACCOUNT);
    match store::load_texts([account].into_iter().chain(files)) {
        Ok(loaded) => loaded.findings,
        Err(refused) => refused.findings,
    }
}

/// Returns the line and the column, both from 1, of the first occurrence of `part` in `text`.
fn place_of(part: &str, text: &str) -> (u32, u32) {
    let before = &text[..text.find(part).expect(part)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
    (u32::try_from(line).unwrap(), u32::try_from(column).unwrap())
}

/// Returns the message of a finding with its help.
fn words_of(finding: &Finding) -> String {
    let help = finding.help.as_deref().unwrap_or("(no help)");
    format!("{}; {help}", finding.message)
}

fn has_all(text: &str, words: &[&str]) -> bool {
    words.iter().all(|word| text.contains(word))
}
