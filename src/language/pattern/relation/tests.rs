#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::*;
use crate::context::ContextKey;
use crate::language::pattern::{Reach, Substitute, Syntax, Variables};
use crate::name::Resource;

/// Returns all lists of up to `longest` of `items`.
fn lists<T: Copy>(items: &[T], longest: usize) -> Vec<Vec<T>> {
    let mut all = vec![Vec::new()];
    let mut begin = 0;
    for _ in 0..longest {
        let end = all.len();
        for at in begin..end {
            for item in items {
                let mut longer = all.get(at).unwrap().clone();
                longer.push(*item);
                all.push(longer);
            }
        }
        begin = end;
    }
    all
}

/// Returns whether `text` matches `symbols`, by trying every length for each run.
fn matches(symbols: &[Symbol], text: &[char]) -> bool {
    match (symbols.split_first(), text.split_first()) {
        (None, first) => first.is_none(),
        (Some((Symbol::AnyRun, rest)), first) => {
            matches(rest, text) || first.is_some_and(|(_, behind)| matches(symbols, behind))
        }
        (Some((Symbol::AnyOne, rest)), Some((_, behind))) => matches(rest, behind),
        (Some((Symbol::One(wanted), rest)), Some((found, behind))) => {
            wanted == found && matches(rest, behind)
        }
        (Some(_), None) => false,
    }
}

#[test]
fn patterns_intersect_if_some_text_matches_both() {
    const LONGEST: usize = 3;
    let symbols = [
        Symbol::One('a'),
        Symbol::One('b'),
        Symbol::AnyOne,
        Symbol::AnyRun,
    ];
    let patterns = lists(&symbols, LONGEST);
    // If some text matches both, a text no longer than both together does, because a run need only match what the other
    // requires.
    let texts = lists(&['a', 'b'], 2 * LONGEST);
    let covered: Vec<Vec<bool>> = patterns
        .iter()
        .map(|pattern| texts.iter().map(|text| matches(pattern, text)).collect())
        .collect();
    let mut n_meeting = 0;
    for (one, by_one) in patterns.iter().zip(&covered) {
        for (other, by_other) in patterns.iter().zip(&covered) {
            let expected = by_one.iter().zip(by_other).any(|(a, b)| *a && *b);
            assert_eq!(intersect(one, other), expected, "{one:?} and {other:?}");
            n_meeting += usize::from(expected);
        }
    }
    let n_pairs = patterns.len() * patterns.len();
    assert!(
        (n_pairs / 10..n_pairs).contains(&n_meeting),
        "{n_meeting} of {n_pairs}"
    );
}

/// A source in which every variable has this value.
struct Always(&'static str);

impl Variables for Always {
    fn substitute(&self, _key: &ContextKey) -> Substitute<'_> {
        Substitute::Value(self.0.into())
    }
}

#[test]
fn patterns_that_cover_the_same_resource_can_meet() {
    let syntax = Syntax {
        wildcards: true,
        variables: true,
    };
    let fields = ["a", "ab", "*", "a*", "*b", "?", "${aws:username}"];
    let mut patterns = vec!["*".to_owned(), "arn:*".to_owned(), "arn:p:s:*".to_owned()];
    for one in fields {
        patterns.push(format!("arn:p:s:{one}"));
        for other in fields {
            patterns.push(format!("arn:p:s:{one}::{other}"));
        }
    }
    let patterns: Vec<ResourcePattern> = patterns
        .iter()
        .filter_map(|text| ResourcePattern::parse(text, syntax).ok())
        .collect();
    assert!(patterns.len() > 50, "{}", patterns.len());
    let texts = ["a", "b", "ab", "a:b", "b:a", "x"];
    let regions = ["", "a", "b", "ab"];
    let arns: Vec<String> = regions
        .iter()
        .flat_map(|region| texts.map(|text| format!("arn:p:s:{region}::{text}")))
        .collect();
    let resources: Vec<Resource> = arns
        .iter()
        .map(|text| Resource::parse(text).unwrap())
        .collect();
    let covers = |pattern: &ResourcePattern| -> Vec<bool> {
        let covers = |resource| pattern.matches(resource, Reach::Broad, &Always("ab"));
        resources
            .iter()
            .map(|one| covers(one) == Some(true))
            .collect()
    };
    let covered: Vec<Vec<bool>> = patterns.iter().map(covers).collect();
    let mut n_apart = 0;
    for (one, by_one) in patterns.iter().zip(&covered) {
        for (other, by_other) in patterns.iter().zip(&covered) {
            let both = by_one.iter().zip(by_other).any(|(a, b)| *a && *b);
            let can = can_meet(one, other);
            assert!(can || !both, "{} and {}", one.as_str(), other.as_str());
            assert_eq!(
                can,
                can_meet(other, one),
                "{} and {}",
                one.as_str(),
                other.as_str()
            );
            n_apart += usize::from(!can);
        }
    }
    assert!(n_apart > 100, "some are apart: {n_apart}");
}

/// Returns actions that tell the patterns below apart.
fn actions() -> Vec<crate::name::Action> {
    let texts = [
        "s:a", "s:ab", "s:abc", "s:b", "s:ba", "s:bab", "t:a", "t:ab",
    ];
    let actions = texts
        .iter()
        .map(|text| crate::name::Action::parse(text).unwrap());
    actions.collect()
}

#[test]
fn actions_meet_and_include_each_other_as_their_matches_do() {
    let texts = [
        "*", "s:*", "S:A", "s:a*", "s:ab", "s:*b", "s:?", "s:a?", "s:a*b", "s:?b*", "s:b*", "t:a",
        "t:*", "s:abc*",
    ];
    let patterns: Vec<ActionPattern> = texts
        .iter()
        .map(|text| ActionPattern::parse(text).unwrap())
        .collect();
    let actions = actions();
    let (mut n_including, mut n_apart) = (0, 0);
    for one in &patterns {
        for other in &patterns {
            let both = |action: &&crate::name::Action| one.matches(action) && other.matches(action);
            let what = format!("{} {}", one.as_str(), other.as_str());
            if actions.iter().any(|action| both(&action)) {
                assert!(actions_meet(one, other), "{what}");
            }
            if !actions_meet(one, other) {
                n_apart += 1;
            }
            if action_includes(one, other) {
                n_including += 1;
                let all = actions.iter().filter(|action| other.matches(action));
                assert!(all.clone().all(|action| one.matches(action)), "{what}");
            }
        }
    }
    // A relation that never holds would be sound and of no use.
    assert_eq!((n_including, n_apart), (50, 82));
}

#[test]
fn a_pattern_of_resources_includes_only_what_it_covers() {
    let syntax = Syntax {
        wildcards: true,
        variables: true,
    };
    let texts = [
        "*",
        "arn:a:s:::x",
        "arn:a:s:::x*",
        "arn:a:s:::x/*",
        "arn:a:s:::*",
        "arn:a:s*",
        "arn:a:s:*:*:x",
        "arn:a:s:?::x",
        "arn:a:*",
        "arn:a:s:::${aws:username}",
        "arn:a:s:::${aws:username}/*",
        "arn:a:s:r*:1:x/?",
        "arn:a:s",
    ];
    let patterns: Vec<ResourcePattern> = texts
        .iter()
        .map(|text| ResourcePattern::parse(text, syntax).unwrap())
        .collect();
    let resources = [
        "arn:a:s:::x",
        "arn:a:s:::xy",
        "arn:a:s:::x/y",
        "arn:a:s:r:1:x",
        "arn:a:s:r:1:x/y",
        "arn:a:s2:r:1:a:b",
        "arn:a:s:::ann",
        "arn:a:s:::ann/x",
        "arn:a:s:r:r:1:x",
    ];
    let resources: Vec<Resource> = resources
        .iter()
        .map(|text| Resource::parse(text).unwrap())
        .collect();
    struct Ann;
    impl Variables for Ann {
        fn substitute(&self, _: &ContextKey) -> Substitute<'_> {
            Substitute::Value("ann".into())
        }
    }
    let covers = |one: &ResourcePattern, resource: &Resource| {
        one.matches(resource, Reach::Narrow, &Ann) == Some(true)
    };
    let mut n_including = 0;
    for one in &patterns {
        for other in &patterns {
            if includes(one, other) {
                n_including += 1;
                let mut covered = resources.iter().filter(|resource| covers(other, resource));
                assert!(
                    covered.all(|resource| covers(one, resource)),
                    "{} {}",
                    one.as_str(),
                    other.as_str()
                );
            }
        }
    }
    assert_eq!(n_including, 53);
}
