#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::compile::policy::OwnRows;
use crate::compile::policy_set::speaks_of;
use crate::compile::trie::N_PROBES;
use crate::context::ContextKey;
use crate::language::document::PolicyType;
use crate::language::document::{Effect, Extent, Listed};
use crate::language::pattern::{
    ActionPattern, NoVariables, Reach, ResourcePattern, Substitute, Syntax, Variables,
};

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

/// Returns a text, mostly an ARN, that `pattern` covers or nearly covers.
fn resource(luck: &mut Luck, pattern: &ResourcePattern) -> String {
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
    text.replace("${a:colon}", "x:y")
        .replace("${a:none, 'b'}", "b")
}

fn statement(effect: Effect, pattern: ResourcePattern) -> Statement {
    Statement {
        sid: None,
        effect,
        principal: None,
        actions: Listed::Any([ActionPattern::parse("a:b").unwrap()].into()),
        resources: Some(Listed::Any([pattern].into())),
        conditions: Arc::default(),
        extent: Extent::default(),
    }
}

/// Returns a set of one policy with these statements.
fn set_of(statements: Vec<Statement>) -> PolicySet {
    PolicySet::new(vec![policy(statements)])
}

fn policy(statements: Vec<Statement>) -> Arc<Policy> {
    Arc::new(Policy {
        name: "p".into(),
        policy_type: PolicyType::Identity,
        file: "p.json".into(),
        statements: statements.into(),
        origin: Arc::default(),
        rows: OwnRows::default(),
    })
}

/// A candidate that may cover the resource, with what its row tells.
#[derive(Debug)]
struct Found<'s> {
    candidate: Candidate,
    look: Look<'s>,
}

/// Calls `visit` with each candidate that may cover `resource`. It returns whether the rest of the node is of interest.
fn visit<'s>(
    path: Path<'s>,
    effect: Effect,
    resource: &Resource,
    mut visit: impl FnMut(Found<'s>) -> bool,
) {
    let walk = path.walk(effect);
    for candidates in walk {
        walk.each(candidates, resource, |candidate| {
            let look = walk.look(candidate, resource, &Ends::of(resource));
            match look.is_none_or(|look| visit(Found { candidate, look })) {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
    }
}

/// Returns what the trie finds about the action of all these statements, in order.
fn find<'s>(set: &'s PolicySet, effect: Effect, resource: &Resource) -> Vec<Found<'s>> {
    let mut all = Vec::new();
    let path = Path::of(set, &Action::parse("a:b").unwrap()).unwrap();
    visit(path, effect, resource, |found| {
        all.push(found);
        true
    });
    all
}

/// What the tries of these patterns found: how many patterns match, were left out, or were known to match.
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
    let statements = patterns.iter().cloned();
    let set = set_of(statements.map(|one| statement(effect, one)).collect());
    for _ in 0..n_patterns {
        let like = patterns.get(luck.below(patterns.len())).unwrap();
        let text = resource(luck, like);
        let Ok(resource) = Resource::parse(&text) else {
            continue;
        };
        let found = find(&set, effect, &resource).into_iter();
        let passed: BTreeMap<usize, bool> = found
            .map(|found| (found.candidate.statement() as usize, found.look.covers))
            .collect();
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
    let set = set_of(statements);
    let found = find(&set, Effect::Allow, &Resource::Any).into_iter();
    let told: Vec<u32> = found
        .filter(|found| found.look.covers)
        .map(|found| found.candidate.statement())
        .collect();
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
    let set = set_of((0..5_000).map(one).collect());
    for _ in 0..100 {
        let at = luck.below(5_000);
        let text = format!("arn:app:orders:::order/{at:08}");
        let resource = Resource::parse(&text).unwrap();
        let found = find(&set, Effect::Allow, &resource).into_iter();
        let passed: Vec<usize> = found
            .map(|found| found.candidate.statement() as usize)
            .collect();
        let mut expected: BTreeSet<usize> = (0..5_000).step_by(1_000).collect();
        expected.insert(at);
        let expected: Vec<usize> = expected.into_iter().collect();
        assert_eq!(passed, expected);
    }
}

fn set_about(texts: impl Iterator<Item = String>, effect: Effect) -> PolicySet {
    let syntax = Syntax {
        wildcards: true,
        variables: false,
    };
    let patterns = texts.map(|text| ResourcePattern::parse(&text, syntax).unwrap());
    set_of(patterns.map(|one| statement(effect, one)).collect())
}

fn found_for<'s>(set: &'s PolicySet, effect: Effect, resource: &str) -> Vec<Found<'s>> {
    find(set, effect, &Resource::parse(resource).unwrap())
}

/// E-1: an expensive check is left to the patterns, whose work is counted.
#[test]
fn long_resources_are_left_to_the_patterns() {
    let texts = (0..12).map(|at| format!("arn:aws:s3:*:1111222233{at:02}:secret/*"));
    let set = set_about(texts, Effect::Deny);
    let told = found_for(&set, Effect::Deny, "arn:aws:s3:eu:111122223305:secret/x");
    assert!(
        matches!(&*told, [only] if only.look.covers && only.candidate.statement() == 5),
        "E-1"
    );
    let colons = format!("arn:aws:s3:::{}", ":".repeat(16_000));
    let left = found_for(&set, Effect::Deny, &colons);
    assert!(
        left.len() == 12 && left.iter().all(|found| !found.look.covers),
        "E-1"
    );
}

/// E-1, M-23: a filter that would take long lets every statement pass, in order.
#[test]
fn a_filter_that_takes_long_lets_everything_through() {
    let texts = (0..MAX_FILTERED).map(|at| format!("arn:a:b:::{at:04}aaaaaaaa*"));
    let set = set_about(texts, Effect::Allow);
    for _ in 0..=N_UNFILTERED {
        let found = found_for(&set, Effect::Allow, "arn:a:b:::0007aaaaaaaa");
        assert_eq!(found.len(), 1, "M-23");
    }
    let hostile = format!("arn:a:b:::{}", "a".repeat(16_000));
    let all = found_for(&set, Effect::Deny, &hostile);
    assert!(all.len() <= MAX_FILTERED, "E-1");
    let crowd = set.trie().unwrap().crowd(0).unwrap();
    let [_, of_allows] = crowd.filters.get().unwrap();
    let filter = of_allows.first().unwrap();
    let passed = filter.pass(&Resource::parse(&hostile).unwrap());
    assert!(passed.iter().all(|word| *word == u64::MAX), "E-1");
}

/// M-3: the text between two wildcards ends before the suffix begins.
#[test]
fn an_infix_and_a_suffix_do_not_overlap() {
    let pattern = || iter::once("arn:app:orders:*:1:x/*1:x/y".to_owned());
    let set = set_about(pattern(), Effect::Deny);
    let none = found_for(&set, Effect::Deny, "arn:app:orders:a-long-region:1:x/y");
    assert!(none.is_empty(), "M-3: {none:?}");
    let one = found_for(&set, Effect::Deny, "arn:app:orders:eu:1:x/1:x/y");
    assert!(
        matches!(&*one, [found] if found.look.covers),
        "M-3: {one:?}"
    );
}

fn about(actions: &[&str], is_negated: bool, effect: Effect) -> Statement {
    let patterns = actions
        .iter()
        .map(|text| ActionPattern::parse(text).unwrap());
    let actions = if is_negated {
        Listed::Not(patterns.collect())
    } else {
        Listed::Any(patterns.collect())
    };
    Statement {
        actions,
        effect,
        resources: None,
        ..statement(
            effect,
            ResourcePattern::parse(
                "*",
                Syntax {
                    wildcards: true,
                    variables: false,
                },
            )
            .unwrap(),
        )
    }
}

const SERVICES: &[&str] = &["a", "ab", "s3", "dynamodb", "dynamodb-x"];
const NAMES: &[&str] = &[
    "Get",
    "g",
    "GetItem",
    "getitems",
    "Put",
    "PutItem",
    "x",
    "longer-than-eight",
];
const ENDINGS: &[&str] = &["", "", "", "*", "*", "?", "*m", "*e*", "?*"];

fn action_pattern(luck: &mut Luck) -> String {
    match luck.below(20) {
        0 => "*".to_owned(),
        1 => format!("{}:*", luck.pick(SERVICES)),
        _ => format!(
            "{}:{}{}",
            luck.pick(SERVICES),
            luck.pick(NAMES),
            luck.pick(ENDINGS)
        ),
    }
}

/// Compares what the trie of some policies finds with what their statements say. Returns how many candidates there
/// were, and how many of them had to be checked.
fn compare_actions(set: &PolicySet, action: &Action) -> (usize, usize) {
    let (mut n, mut n_checked) = (0, 0);
    for effect in [Effect::Deny, Effect::Allow] {
        let path = Path::of(set, action).unwrap();
        let mut found = BTreeMap::new();
        visit(path, effect, &Resource::Any, |one| {
            let candidate = one.candidate;
            assert!(one.look.covers, "E-12");
            let is_sure = found
                .entry((candidate.policy(), candidate.statement()))
                .or_default();
            *is_sure |= !candidate.is_checked();
            n += 1;
            n_checked += usize::from(candidate.is_checked());
            true
        });
        for (at, policy) in (0u32..).zip(set.policies()) {
            for (index, statement) in (0u32..).zip(policy.statements.iter()) {
                let speaks =
                    statement.effect == effect && speaks_of(statement, action, &NoVariables);
                let found = found.remove(&(at, index));
                assert!(
                    !speaks || found.is_some(),
                    "M-23: {action} {:?}",
                    statement.actions
                );
                assert!(
                    speaks || found != Some(true),
                    "M-6: {action} {:?}",
                    statement.actions
                );
            }
        }
        assert!(found.is_empty(), "of another effect: {found:?}");
    }
    (n, n_checked)
}

/// M-2 to M-6, M-23: at every level of the trie.
#[test]
fn a_trie_finds_all_statements_about_an_action_and_no_others() {
    let luck = &mut Luck(11);
    let (mut n, mut n_checked) = (0, 0);
    for _ in 0..2_000 {
        let policies: Vec<Arc<Policy>> = (0..1 + luck.below(4))
            .map(|_| {
                let statements = (0..1 + luck.below(6)).map(|_| {
                    let actions: Vec<String> = (0..1 + luck.below(4))
                        .map(|_| action_pattern(luck))
                        .collect();
                    let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
                    let denies = luck.below(2) == 0;
                    let effect = if denies { Effect::Deny } else { Effect::Allow };
                    about(&actions, luck.below(8) == 0, effect)
                });
                policy(statements.collect())
            })
            .collect();
        let set = PolicySet::new(policies);
        for _ in 0..10 {
            let ending = luck.pick(&["", "s", "m", "Item"]);
            let text = format!("{}:{}{ending}", luck.pick(SERVICES), luck.pick(NAMES));
            let (found, checked) = compare_actions(&set, &Action::parse(&text).unwrap());
            n += found;
            n_checked += checked;
        }
    }
    assert!(
        n_checked > 5_000 && n > n_checked + 5_000,
        "{n} {n_checked}"
    );
}

/// Names of one hash cannot make a search long, and none of them is lost.
#[test]
fn names_that_find_no_place_are_checked() {
    let n_names = 4 * N_PROBES;
    let mask = (2 * n_names).next_power_of_two() as u64 - 1;
    let names = (0..)
        .map(|n| format!("a:x{n}"))
        .filter(|name| Action::parse(name).unwrap().fingerprint() & mask == 3);
    let names: Vec<String> = names.take(n_names).collect();
    let statements = names.iter().map(|name| about(&[name], false, Effect::Deny));
    let set = set_of(statements.collect());
    let (mut n_sure, mut n_found) = (0, 0);
    for name in &names {
        let (found, checked) = compare_actions(&set, &Action::parse(name).unwrap());
        n_found += found;
        n_sure += found - checked;
    }
    assert_eq!(n_sure, N_PROBES, "M-23: each of these has a place");
    assert!(
        n_found > n_names * (n_names - N_PROBES),
        "the others are checked for every name"
    );
}

/// Two bytes count the statements of a node, and a set may have more.
#[test]
fn a_node_has_more_statements_than_its_own_number_holds() {
    const N_ALLOWS: usize = 0xffff + 10;
    let one = |effect| about(&["a:b"], false, effect);
    let mut statements = vec![one(Effect::Allow); N_ALLOWS];
    statements.extend(vec![one(Effect::Deny); 3]);
    let set = set_of(statements);
    let action = Action::parse("a:b").unwrap();
    for (effect, expected) in [(Effect::Allow, N_ALLOWS), (Effect::Deny, 3)] {
        let walk = Path::of(&set, &action).unwrap().walk(effect);
        let mut found: Vec<Candidate> = Vec::new();
        for candidates in walk {
            let _: ControlFlow<()> = walk.all(candidates, |candidate| {
                found.push(candidate);
                ControlFlow::Continue(())
            });
        }
        assert_eq!(found.len(), expected);
        assert!(found.is_sorted());
        let is_its = |candidate: &Candidate| {
            let (_, statement) = candidate.of(set.policies()).unwrap();
            statement.effect == effect
        };
        assert!(found.iter().all(is_its));
    }
}

/// docs/architecture.md draws this trie.
#[test]
fn the_trie_that_the_documentation_draws_takes_what_it_says() {
    let one = |actions: &[&str], effect| policy(vec![about(actions, false, effect)]);
    let set = PolicySet::new(vec![
        one(&["s3:GetObject", "s3:PutObject"], Effect::Allow),
        one(&["s3:Get*"], Effect::Allow),
        one(&["s3:*"], Effect::Deny),
    ]);
    let alone = size_of::<Trie>();
    let n_bytes = set.trie_or_made().n_bytes() - alone;
    let page = include_str!("../../../docs/architecture.md");
    let said = format!("{n_bytes} B for this set, and {alone} B for the record");
    assert!(page.contains(&said), "{said}");
}
