//! Checks the rules of `docs/semantics.md`: each cited rule exists, and each rule is shown by a scenario or a test, or
//! deferred there with a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::scenarios::read_scenarios;
use crate::support::{files_below, repository};

/// The letters before the hyphen of rule ids, as in `E-14`. Rows of the outcome table are `D01` and `DR1`.
const FAMILIES: &str = "CEGIKMPSTVWXZ";

/// Returns every rule id in `text`: a whole word of a family's letter, a hyphen and digits, or `D` and two digits, or
/// `DR` and one.
fn ids(text: &str) -> BTreeSet<String> {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut ids = BTreeSet::new();
    for word in text.split(|c: char| !is_inside(c) && c != '-') {
        let parts: Vec<&str> = word.split('-').collect();
        if let [family, number] = parts.as_slice() {
            let is_number =
                (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
            if family.len() == 1 && FAMILIES.contains(family) && is_number {
                ids.insert(word.to_owned());
            }
        }
        let row = word
            .strip_prefix("DR")
            .map(|n| (n, 1))
            .or_else(|| word.strip_prefix('D').map(|n| (n, 2)));
        if let Some((digits, n_digits)) = row
            && digits.len() == n_digits
            && digits.bytes().all(|byte| byte.is_ascii_digit())
        {
            ids.insert(word.to_owned());
        }
    }
    ids
}

fn semantics() -> String {
    let path = repository().join("docs/semantics.md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the rules where they are defined: `- **E-14** …`, `- I-1 …`, `| Z-1 | …`.
pub fn defined() -> BTreeSet<String> {
    let mut defined = BTreeSet::new();
    let text = semantics();
    let (rules, _deferred) = text.split_once(DEFERRED).expect("the last section");
    for line in rules.lines() {
        let Some(rest) = ["- **", "- ", "| "]
            .iter()
            .find_map(|mark| line.strip_prefix(mark))
        else {
            continue;
        };
        let first = rest
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .next()
            .unwrap_or_default();
        defined.extend(ids(first));
    }
    assert!(
        defined.len() > 300,
        "the rules are found: {}",
        defined.len()
    );
    defined
}

/// The section of the rules that need no test.
const DEFERRED: &str = "\n## 11. Deferred\n";

/// Returns the rules of the form `- **T-36**: reason` in that section, each with its reason.
fn deferred(semantics: &str) -> BTreeMap<String, String> {
    let (_, section) = semantics.split_once(DEFERRED).expect("the last section");
    let entries = section.lines().filter_map(|line| line.strip_prefix("- **"));
    entries
        .map(|entry| {
            let (rule, reason) = entry.split_once("**").expect("a rule ends in `**`");
            let reason = reason.trim_start_matches(':').trim();
            assert!(reason.len() > 20, "{rule} is deferred without a reason");
            (rule.to_owned(), reason.to_owned())
        })
        .collect()
}

/// Returns every rule that a test of `source` names, in the comment before it or in its body. Code beside tests, such
/// as a function that several of them call, does not count.
fn cited_by_tests(source: &str) -> BTreeSet<String> {
    let mut cited = BTreeSet::new();
    let (mut comment, mut end_of_test) = (String::new(), None);
    for line in source.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(end) = end_of_test {
            cited.extend(ids(line));
            if text == "}" && indent == end {
                end_of_test = None;
            }
        } else if text.starts_with("///") {
            comment.push_str(text);
        } else if ["#[test]", "#[tokio::test"]
            .iter()
            .any(|mark| text.starts_with(mark))
        {
            cited.extend(ids(&comment));
            end_of_test = Some(indent);
        } else if !text.starts_with("#[") {
            comment.clear();
        }
    }
    cited
}

/// Returns the rules that scenarios and both kinds of tests name. This file names rules only to test how they are
/// found.
fn cited() -> BTreeMap<String, usize> {
    let mut cited: BTreeMap<String, usize> = BTreeMap::new();
    let of_scenarios = read_scenarios()
        .into_iter()
        .flat_map(|scenario| scenario.rules);
    let mut files = files_below(&repository().join("tests/it"), &["rs"]);
    files.retain(|path| !path.ends_with("rules.rs"));
    files.extend(files_below(&repository().join("src"), &["rs"]));
    let of_tests = files
        .iter()
        .flat_map(|path| cited_by_tests(&fs::read_to_string(path).unwrap()));
    for rule in of_scenarios.chain(of_tests) {
        *cited.entry(rule).or_default() += 1;
    }
    cited
}

#[test]
fn every_cited_rule_exists() {
    let defined = defined();
    let mut unknown = Vec::new();
    for scenario in read_scenarios() {
        for rule in scenario
            .rules
            .iter()
            .filter(|rule| !defined.contains(*rule))
        {
            unknown.push(format!("{}: {rule}", scenario.place));
        }
    }
    for folder in ["src", "tests/it"] {
        for path in files_below(&repository().join(folder), &["rs"]) {
            let text = fs::read_to_string(&path).unwrap();
            for (index, line) in text.lines().enumerate() {
                for rule in ids(line).difference(&defined) {
                    unknown.push(format!("{}:{}: {rule}", path.display(), index + 1));
                }
            }
        }
    }
    for rule in deferred(&semantics()).keys() {
        if !defined.contains(rule) {
            unknown.push(format!("docs/semantics.md, deferred: {rule}"));
        }
    }
    assert!(
        unknown.is_empty(),
        "these rules are not in docs/semantics.md:\n  {}",
        unknown.join("\n  ")
    );
}

#[test]
fn every_rule_is_shown_or_deferred_with_a_reason() {
    let (defined, cited) = (defined(), cited());
    let deferred = deferred(&semantics());
    let neither: Vec<&str> = defined
        .iter()
        .filter(|rule| !cited.contains_key(*rule) && !deferred.contains_key(*rule))
        .map(String::as_str)
        .collect();
    assert!(
        neither.is_empty(),
        "no scenario and no test shows these rules: {}",
        neither.join(" ")
    );
    let both: Vec<&str> = deferred
        .keys()
        .filter(|rule| cited.contains_key(*rule))
        .map(String::as_str)
        .collect();
    assert!(
        both.is_empty(),
        "these rules are shown, but docs/semantics.md still defers them: {}",
        both.join(" ")
    );
}

#[test]
fn scenarios_say_which_rules_they_show() {
    let scenarios = read_scenarios();
    let silent: Vec<_> = scenarios
        .iter()
        .filter(|s| s.rules.is_empty())
        .map(|s| s.place.as_str())
        .collect();
    assert!(
        silent.is_empty(),
        "these scenarios name no rule:\n  {}",
        silent.join("\n  ")
    );
}

#[test]
fn only_tests_show_rules() {
    let source = r#"
/// E-1 is obeyed here.
fn obey() {}

/// It shows E-2:
/// and E-3.
#[test]
#[expect(clippy::panic, reason = "E-4")]
fn shows() {
    if true {
        assert!(true, "E-5");
    }
}
// E-6
mod tests {
    /// E-7
    #[tokio::test(flavor = "current_thread")]
    async fn shows() {
        // E-8
    }
    // E-9
}
"#;
    let found: Vec<String> = cited_by_tests(source).into_iter().collect();
    assert_eq!(found, ["E-2", "E-3", "E-4", "E-5", "E-7", "E-8"]);
}

#[test]
fn what_is_deferred_has_a_reason() {
    let text = format!(
        "- **E-1** no rule to defer\n{DEFERRED}\nText.\n\n- **E-2**: it only binds who issues credentials.\n"
    );
    let found: Vec<(String, String)> = deferred(&text).into_iter().collect();
    let reason = "it only binds who issues credentials.";
    assert_eq!(found, [("E-2".to_owned(), reason.to_owned())]);
}

#[test]
fn ids_are_whole_words() {
    let found = ids(
        "E-14, (M-12 NARROW) UTF-8 SHA-256 D01 DR6 D012 ID-1 xE-1 E-1a `K-40..K-45`; v-1 D-1 AE-14 E-14-2",
    );
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, ["D01", "DR6", "E-14", "K-40", "K-45", "M-12"]);
}

/// If the test of a bound was renamed or removed, the bound would still look tested.
#[test]
fn every_test_that_the_limits_name_exists() {
    let limits = fs::read_to_string(repository().join("docs/limits.md")).unwrap();
    let mut sources = String::new();
    for folder in ["src", "tests"] {
        for path in files_below(&repository().join(folder), &["rs"]) {
            sources += &fs::read_to_string(path).unwrap();
        }
    }
    // Tests are in the last column of the tables, and their names are sentences.
    let rows = limits.lines().filter(|line| line.starts_with('|'));
    let last = rows.filter_map(|row| row.trim_end_matches([' ', '|']).rsplit(" | ").next());
    let quoted = last.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_test = |name: &&str| name.matches('_').count() > 1 && name.chars().all(is_letter);
    let tests: Vec<&str> = quoted.filter(is_test).collect();
    assert!(tests.len() > 50, "{tests:?}");
    let missing: BTreeSet<_> = tests
        .into_iter()
        .filter(|name| !sources.contains(&format!("fn {name}(")))
        .collect();
    assert!(
        missing.is_empty(),
        "no test has one of these names: {missing:#?}"
    );
}
