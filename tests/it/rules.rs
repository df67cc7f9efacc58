//! The rules of `docs/semantics.md`: whoever cites one cites one that exists, and scenarios say which they show.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::scenarios::read_scenarios;
use crate::support::{files_below, repository};

/// The letters before the hyphen of rule ids: `E-14`. Rows of the outcome table are `D01` and `DR1`.
const FAMILIES: &str = "CEGIKMPSTVWXZ";

/// Every rule id in `text`: a whole word of a family's letter, a hyphen and digits; or `D` and two digits, `DR` and one.
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

/// The rules where they are laid down: `- **E-14** …`, `- I-1 …`, `| Z-1 | …`.
pub fn defined() -> BTreeSet<String> {
    let path = repository().join("docs/semantics.md");
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut defined = BTreeSet::new();
    for line in text.lines() {
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
    assert!(
        unknown.is_empty(),
        "these rules are not in docs/semantics.md:\n  {}",
        unknown.join("\n  ")
    );
}

#[test]
fn scenarios_say_which_rules_they_show() {
    let defined = defined();
    let mut shown: BTreeMap<String, usize> = BTreeMap::new();
    let scenarios = read_scenarios();
    for scenario in &scenarios {
        for rule in &scenario.rules {
            *shown.entry(rule.clone()).or_default() += 1;
        }
    }
    shown.retain(|rule, _| defined.contains(rule));
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for rule in defined.iter().filter(|rule| !shown.contains_key(*rule)) {
        let family = rule.trim_end_matches(|c: char| c.is_ascii_digit());
        missing.entry(family).or_default().push(rule);
    }
    println!(
        "{} of {} rules have a scenario ({} scenarios)",
        shown.len(),
        defined.len(),
        scenarios.len()
    );
    for (_, rules) in missing {
        println!("  without: {}", rules.join(" "));
    }
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
fn ids_are_whole_words() {
    let found = ids(
        "E-14, (M-12 NARROW) UTF-8 SHA-256 D01 DR6 D012 ID-1 xE-1 E-1a `K-40..K-45`; v-1 D-1 AE-14 E-14-2",
    );
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, ["D01", "DR6", "E-14", "K-40", "K-45", "M-12"]);
}
