#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::context::ContextKey;
use crate::language::document::{Effect, Extent, Listed};
use crate::language::pattern::{Reach, Substitute, Syntax, Variables};

/// A small random number generator that gives the same numbers in every run.
struct Luck(u64);

impl Luck {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.get(self.below(of.len())).unwrap()
    }

    fn joined(&mut self, n: usize, of: &[&str]) -> String {
        (0..n).map(|_| self.pick(of)).collect()
    }
}

struct Ann;

impl Variables for Ann {
    fn substitute(&self, key: &ContextKey) -> Substitute<'_> {
        match key.folded() {
            "aws:username" => Substitute::Value("ann".into()),
            "a:colon" => Substitute::Value("x:y".into()),
            _ => Substitute::Missing,
        }
    }
}

const FIELDS: &[&str] = &[
    "",
    "aws",
    "s3",
    "orders",
    "*",
    "ord*",
    "eu-?est-1",
    "*central-1",
    "111111111111",
    "1*1",
    "${*}",
];
const PARTS: &[&str] = &[
    "order/",
    "a",
    "b",
    "*",
    "?",
    ":",
    "${aws:username}",
    "${a:colon}",
    "${a:none}",
    "${a:none, 'b'}",
    "function:",
    "ä",
    "-very-long-name-",
    "${*}",
    "${?}",
    "${$}",
    "\0",
];
const STANDING_FOR: &[&str] = &[
    "", "a", "b", "ab", "x:y", "ann", "ä", ":", "orders", "long/er",
];

fn pattern(luck: &mut Luck) -> ResourcePattern {
    let n_fields = if luck.below(6) == 0 { luck.below(4) } else { 4 };
    let fields: Vec<&str> = (0..n_fields).map(|_| luck.pick(FIELDS)).collect();
    let n_parts = 1 + luck.below(5);
    let last = luck.joined(n_parts, PARTS);
    let text = if n_fields == 4 {
        format!("arn:{}:{last}", fields.join(":"))
    } else {
        format!("arn:{}*", fields.join(":"))
    };
    let syntax = Syntax {
        wildcards: true,
        variables: true,
    };
    ResourcePattern::parse(&text, syntax).unwrap()
}

/// Returns an ARN that `pattern` covers or nearly covers.
fn resource(luck: &mut Luck, pattern: &ResourcePattern) -> Option<Resource> {
    let mut text = String::new();
    let said = pattern
        .as_str()
        .replace("${aws:username}", "ann")
        .replace("${*}", "\u{1}")
        .replace("${?}", "\u{2}")
        .replace("${$}", "$");
    for character in said.chars() {
        match character {
            '\u{1}' => text.push_str(luck.pick(&["*", "*", "x"])),
            '\u{2}' => text.push_str(luck.pick(&["?", "?", "x"])),
            '*' => text.push_str(luck.pick(STANDING_FOR)),
            '?' => text.push_str(luck.pick(&["a", "ä", "w", ":"])),
            _ if luck.below(60) == 0 => {}
            other => text.push(other),
        }
    }
    let text = text
        .replace("${a:colon}", "x:y")
        .replace("${a:none, 'b'}", "b");
    Resource::parse(&text).ok()
}

fn statement(effect: Effect, pattern: ResourcePattern) -> Statement {
    Statement {
        sid: None,
        effect,
        principal: None,
        actions: Listed::Any(Box::default()),
        resources: Some(Listed::Any([pattern].into())),
        conditions: Arc::default(),
        extent: Extent::default(),
    }
}

/// What the sections of these patterns found: how many patterns match, were left out, or were known to match.
#[derive(Debug, Default)]
struct Tally {
    n_matching: usize,
    n_left_out: usize,
    n_told: usize,
}

/// M-23: every statement that matches is found, and every statement that is known to match does match.
fn compare(luck: &mut Luck, effect: Effect, n_patterns: usize, tally: &mut Tally) {
    let reach = match effect {
        Effect::Allow => Reach::Narrow,
        Effect::Deny => Reach::Broad,
    };
    let patterns: Vec<ResourcePattern> = (0..n_patterns).map(|_| pattern(luck)).collect();
    let statements: Vec<Statement> = patterns
        .iter()
        .map(|pattern| statement(effect, pattern.clone()))
        .collect();
    let candidate = |at| Candidate {
        policy: 0,
        statement: at,
    };
    let section = Section::new((0..).map(candidate).zip(&statements).collect());
    for _ in 0..n_patterns {
        let like = patterns.get(luck.below(patterns.len())).unwrap();
        let Some(resource) = resource(luck, like) else {
            continue;
        };
        let mut passed = BTreeMap::new();
        let all: ControlFlow<()> = section.visit(&resource, &Ends::of(&resource), |found| {
            passed.insert(found.candidate.statement as usize, found.covers);
            ControlFlow::Continue(())
        });
        assert!(all.is_continue());
        tally.n_left_out += patterns.len() - passed.len();
        for (at, pattern) in patterns.iter().enumerate() {
            let matches = pattern.matches(&resource, reach, &Ann) == Some(true);
            let told = passed.get(&at);
            tally.n_matching += usize::from(matches);
            tally.n_told += usize::from(told == Some(&true));
            assert!(
                if matches {
                    told.is_some()
                } else {
                    told != Some(&true)
                },
                "M-23: {} {reach:?} {resource:?}: {told:?}, {matches}",
                pattern.as_str()
            );
        }
    }
}

#[test]
fn an_index_leaves_out_nothing_that_matches_and_tells_of_nothing_else_that_it_does() {
    let luck = &mut Luck(7);
    let (mut filtered, mut in_rows) = (Tally::default(), Tally::default());
    for _ in 0..60 {
        for effect in [Effect::Allow, Effect::Deny] {
            compare(luck, effect, 70, &mut filtered);
        }
    }
    for _ in 0..2_000 {
        for effect in [Effect::Allow, Effect::Deny] {
            let n_patterns = 1 + luck.below(MAX_UNFILTERED);
            compare(luck, effect, n_patterns, &mut in_rows);
        }
    }
    for tally in [filtered, in_rows] {
        assert!(
            tally.n_matching > 2_000 && tally.n_left_out > 20_000 && tally.n_told > 500,
            "{tally:?}"
        );
    }
}

#[test]
fn only_what_speaks_of_everything_is_worth_a_look_for_no_resource_in_particular() {
    let everything = ResourcePattern::parse(
        "*",
        Syntax {
            wildcards: true,
            variables: false,
        },
    )
    .unwrap();
    let luck = &mut Luck(3);
    let mut statements: Vec<Statement> = (0..40)
        .map(|_| statement(Effect::Allow, pattern(luck)))
        .collect();
    statements.push(statement(Effect::Allow, everything));
    let mut without = statement(Effect::Allow, pattern(luck));
    without.resources = None;
    statements.push(without);
    let candidate = |at| Candidate {
        policy: 0,
        statement: at,
    };
    let section = Section::new((0..).map(candidate).zip(&statements).collect());
    let mut told = Vec::new();
    let ends = Ends::of(&Resource::Any);
    let _: ControlFlow<()> = section.visit(&Resource::Any, &ends, |found| {
        if found.covers {
            told.push(found.candidate.statement);
        }
        ControlFlow::Continue(())
    });
    assert_eq!(told, [40, 41], "M-11, E-12: no ARN covers `*`");
}

#[test]
fn more_statements_than_one_filter_holds_are_kept_in_order() {
    let luck = &mut Luck(5);
    let syntax = Syntax {
        wildcards: true,
        variables: false,
    };
    let one = |at: usize| {
        let text = if at.is_multiple_of(1_000) {
            "arn:*".to_owned()
        } else {
            format!("arn:app:orders:::order/{at:08}")
        };
        statement(
            Effect::Allow,
            ResourcePattern::parse(&text, syntax).unwrap(),
        )
    };
    let statements: Vec<Statement> = (0..5_000).map(one).collect();
    let candidate = |at| Candidate {
        policy: 0,
        statement: at,
    };
    let section = Section::new((0..).map(candidate).zip(&statements).collect());
    for _ in 0..100 {
        let at = luck.below(5_000);
        let resource = Resource::parse(&format!("arn:app:orders:::order/{at:08}")).unwrap();
        let mut passed = Vec::new();
        let _: ControlFlow<()> = section.visit(&resource, &Ends::of(&resource), |found| {
            passed.push(found.candidate.statement as usize);
            ControlFlow::Continue(())
        });
        let mut expected: BTreeSet<usize> = (0..5_000).step_by(1_000).collect();
        expected.insert(at);
        let expected: Vec<usize> = expected.into_iter().collect();
        assert_eq!(passed, expected);
    }
}

fn section_of(texts: impl Iterator<Item = String>, effect: Effect) -> (Section, Vec<Statement>) {
    let syntax = Syntax {
        wildcards: true,
        variables: false,
    };
    let patterns = texts.map(|text| ResourcePattern::parse(&text, syntax).unwrap());
    let statements: Vec<Statement> = patterns.map(|one| statement(effect, one)).collect();
    let candidate = |at| Candidate {
        policy: 0,
        statement: at,
    };
    let section = Section::new((0..).map(candidate).zip(&statements).collect());
    (section, statements)
}

fn found_for<'s>(section: &'s Section, resource: &str) -> Vec<Found<'s>> {
    let resource = Resource::parse(resource).unwrap();
    let mut all = Vec::new();
    let _: ControlFlow<()> = section.visit(&resource, &Ends::of(&resource), |found| {
        all.push(found);
        ControlFlow::Continue(())
    });
    all
}

/// E-1: an expensive check is left to the patterns, whose work is counted.
#[test]
fn long_resources_are_left_to_the_patterns() {
    let texts = (0..12).map(|at| format!("arn:aws:s3:*:1111222233{at:02}:secret/*"));
    let (section, _) = section_of(texts, Effect::Deny);
    let told = found_for(&section, "arn:aws:s3:eu:111122223305:secret/x");
    assert!(
        matches!(&*told, [only] if only.covers && only.candidate.statement == 5),
        "E-1"
    );
    let colons = format!("arn:aws:s3:::{}", ":".repeat(16_000));
    let left = found_for(&section, &colons);
    assert!(
        left.len() == 12 && left.iter().all(|found| !found.covers),
        "E-1"
    );
}

/// E-1, M-23: a filter that would take long lets every statement pass, in order.
#[test]
fn a_filter_that_takes_long_lets_everything_through() {
    let texts = (0..MAX_FILTERED).map(|at| format!("arn:a:b:::{at:04}aaaaaaaa*"));
    let (section, statements) = section_of(texts, Effect::Allow);
    assert!(
        found_for(&section, "arn:a:b:::0007aaaaaaaa").len() == 1,
        "M-23"
    );
    let hostile = format!("arn:a:b:::{}", "a".repeat(16_000));
    let all = found_for(&section, &hostile);
    assert!(all.len() <= statements.len(), "E-1");
    let filter = section.filters.first().unwrap();
    let passed = filter.pass(&Resource::parse(&hostile).unwrap());
    assert!(passed.iter().all(|word| *word == u64::MAX), "E-1");
}

/// M-3: the text between two wildcards ends before the suffix begins.
#[test]
fn an_infix_and_a_suffix_do_not_overlap() {
    let pattern = || std::iter::once("arn:app:orders:*:1:x/*1:x/y".to_owned());
    let (section, _) = section_of(pattern(), Effect::Deny);
    let none = found_for(&section, "arn:app:orders:a-long-region:1:x/y");
    assert!(none.is_empty(), "M-3: {none:?}");
    let one = found_for(&section, "arn:app:orders:eu:1:x/1:x/y");
    assert!(matches!(&*one, [found] if found.covers), "M-3: {one:?}");
}
