//! Removing the statements that `shadowed-statement` reports changes no answer.

use std::collections::BTreeMap;

use iamd::language::finding::Finding;
use serde_json::{Value as Json, json};

use super::{Files, each_world};
use crate::oracle::{self, Answer};
use crate::worlds::{Random, statement_lists};

/// E-14, E-15: what the oracle answers is the same without the statements that are reported.
#[test]
fn no_answer_hangs_on_a_shadowed_statement() {
    let (mut n_removed, mut n_asked) = (0, 0);
    each_world(|case, random| {
        for _ in 0..3 {
            let mut with = case.world.files.clone();
            add_narrower_ones(&mut with, random);
            let mut without = with.clone();
            n_removed += remove_all(&mut without, &reported(&with));
            let with = oracle::store::of_files(&with);
            let without = oracle::store::of_files(&without);
            for question in case.questions() {
                let before = oracle::answer(&with, &question);
                let after = oracle::answer(&without, &question);
                assert_eq!(told(before), told(after), "{question:?}");
                n_asked += 1;
            }
        }
    });
    assert!(n_asked > 1_000, "{n_asked}");
    assert!(n_removed > 30, "{n_removed}");
}

/// Returns the reason of an answer. The statements that determine it may be others.
fn told(answer: Answer) -> String {
    match answer {
        Answer::Decided(decision) => format!("{:?}", decision.reason),
        other => format!("{other:?}"),
    }
}

/// Adds copies of statements that say a little less, or a little else.
fn add_narrower_ones(files: &mut Files, random: &mut Random) {
    for json in files.values_mut() {
        let mut lists = Vec::new();
        statement_lists(json, &mut lists);
        for list in lists {
            let list = list.as_array_mut().unwrap();
            for _ in 0..random.below(3) {
                let mut copy = random.pick(list).clone();
                copy.as_object_mut().unwrap().remove("Sid");
                for _ in 0..random.below(3) {
                    change(&mut copy, random);
                }
                if random.chance(30) {
                    let is_allow = copy["Effect"] == "Allow";
                    copy["Effect"] = if is_allow { "Deny" } else { "Allow" }.into();
                }
                let at = random.below(list.len() + 1);
                list.insert(at, copy);
            }
        }
    }
}

/// Changes one element of a statement, most often so that it says less.
fn change(statement: &mut Json, random: &mut Random) {
    let element = *random.pick(&[
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
        "Principal",
    ]);
    match (element, &mut statement[element]) {
        ("Condition", condition) => {
            if condition.is_null() {
                *condition = json!({});
            }
            condition["StringNotEquals"] = json!({"app:shadow": "x"});
        }
        (_, Json::Array(entries)) if entries.len() > 1 => {
            let at = random.below(entries.len());
            entries.remove(at);
        }
        ("Action" | "NotAction" | "Resource" | "NotResource", Json::String(text)) => {
            let narrower = match text.strip_suffix('*') {
                Some("") => return,
                Some(start) => format!("{start}a*"),
                None => match text.char_indices().next_back() {
                    Some((at, last)) if last.is_ascii_alphanumeric() => format!("{}?", &text[..at]),
                    _ => return,
                },
            };
            *text = narrower;
        }
        // An element that is not there must not become null.
        (element, Json::Null) => _ = statement.as_object_mut().unwrap().remove(element),
        _ => {}
    }
}

/// Returns the findings about shadowed statements, by file.
fn reported(files: &Files) -> Vec<Finding> {
    let texts: BTreeMap<&str, String> = files
        .iter()
        .map(|(path, json)| (path.as_str(), json.to_string()))
        .collect();
    let texts = texts.iter().map(|(path, text)| (*path, text.as_str()));
    let findings = match iamd::store::load_texts(texts) {
        Ok(loaded) => loaded.findings,
        Err(refused) => refused.findings,
    };
    let is_it = |finding: &Finding| finding.code.as_str() == "shadowed-statement";
    findings.into_iter().filter(is_it).collect()
}

/// Removes what is reported, the last statement of each list first. Returns how many there were.
fn remove_all(files: &mut Files, findings: &[Finding]) -> usize {
    let mut places: Vec<(&str, &str, usize)> = Vec::new();
    for finding in findings {
        let (file, pointer) = (&*finding.at.file, &*finding.at.pointer);
        // A document that is a text has no places.
        if let Some((list, index)) = pointer.rsplit_once('/')
            && list.ends_with("/Statement")
            && files[file].pointer(list).is_some()
        {
            places.push((file, list, index.parse().unwrap()));
        }
    }
    places.sort_unstable();
    for (file, list, index) in places.iter().rev() {
        let list = files.get_mut(*file).unwrap().pointer_mut(list).unwrap();
        list.as_array_mut().unwrap().remove(*index);
    }
    places.len()
}
