//! Compares the fast matchers with the simple ones, on random patterns and texts of few letters.

use super::super::*;
use super::{BOTH, reference};
use crate::name::{Arn, Resource};

/// A small random number generator (SplitMix64), so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll() % n as u64).unwrap()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from.get(self.below(from.len())).unwrap()
    }

    fn text(&mut self, from: &[&str], longest: usize) -> String {
        let n_parts = self.below(longest + 1);
        (0..n_parts).map(|_| self.pick(from)).collect()
    }
}

/// The values of three variables. `None` is a missing value.
struct Given([Option<String>; 3]);

impl Variables for Given {
    fn substitute(&self, key: &ContextKey) -> Substitute<'_> {
        let value = match key.folded() {
            "k:x" => &self.0[0],
            "k:y" => &self.0[1],
            _ => &self.0[2],
        };
        match value.as_deref() {
            Some("") | None => Substitute::Missing,
            Some("several") => Substitute::Several,
            Some(value) => Substitute::Value(value.into()),
        }
    }
}

fn given(dice: &mut Dice, letters: &[&str]) -> Given {
    let mut value = || match dice.below(12) {
        0 => None,
        1 => Some("several".to_owned()),
        _ => Some(dice.text(letters, 3)),
    };
    Given([value(), value(), value()])
}

const VARIABLES: [&str; 4] = ["${k:x}", "${k:y, ''}", "${k:z, 'a:'}", "${k:z, '?é'}"];

/// Returns a text that is likely to match: the pattern with texts in the place of wildcards and variables.
fn filled(dice: &mut Dice, pattern: &Template, given: &Given, letters: &[&str]) -> String {
    let mut text = String::new();
    for piece in pattern.pieces() {
        match piece {
            Piece::Text(literal) => text.push_str(literal),
            Piece::AnyOne => text.push_str(dice.pick(letters)),
            Piece::AnyRun => text.push_str(&dice.text(letters, 3)),
            Piece::Variable(variable) => {
                text.push_str(&variable.value(given).unwrap_or("v".into()));
            }
        }
        if dice.below(30) == 0 {
            text.push_str(dice.pick(letters));
        }
    }
    text
}

#[test]
fn random_templates_agree_with_two_pointers() {
    let mut dice = Dice(1);
    let letters = ["a", "b", "é", ":", "?", "𝄞"];
    let (mut n_matches, mut n_misses, mut n_unknown) = (0, 0, 0);
    for round in 0..20_000 {
        let mut parts = vec![
            "a",
            "b",
            "é",
            ":",
            "*",
            "*",
            "?",
            "aab",
            "${*}",
            "${?}",
            "abcdefghij",
        ];
        parts.extend(VARIABLES);
        let longest = if round % 10 == 0 { 150 } else { 9 };
        let mut written = dice.text(&parts, longest);
        if round % 20 == 0 {
            // This is one long segment of several machine words.
            written = format!("*{}*b*", written.replace('*', "?"));
        }
        let template = Template::parse(&written, BOTH).unwrap();
        for _ in 0..3 {
            let given = given(&mut dice, &letters);
            let text = match dice.below(3) {
                0 => dice.text(&letters, longest),
                _ => filled(&mut dice, &template, &given, &letters),
            };
            let expected = template
                .resolve(&given)
                .map(|atoms| reference::glob(&atoms, &text));
            assert_eq!(
                template.matches(&text, &given),
                expected,
                "M-3, M-21, V-8, V-9: {written} on {text} with {:?}",
                given.0
            );
            match expected {
                Some(true) => n_matches += 1,
                Some(false) => n_misses += 1,
                None => n_unknown += 1,
            }
        }
    }
    for n in [n_matches, n_misses, n_unknown] {
        assert!(n > 4_000, "{n_matches} {n_misses} {n_unknown}");
    }
}

#[test]
fn random_resource_patterns_agree_with_the_set_of_places() {
    let mut dice = Dice(2);
    let letters = ["a", "b", ":", "é", "a:b"];
    let mut counts = [[0usize; 3]; 2];
    let mut n_wider = 0;
    for round in 0..20_000 {
        let n_fields = 1 + dice.below(7);
        let parts = ["a", "b", "*", "a*", "?", "é", "", "a*b", "*:", "${*}"];
        let mut fields: Vec<String> = Vec::new();
        for index in 0..n_fields {
            let mut field = dice.text(&parts, if round % 20 == 0 { 40 } else { 2 });
            if index >= 2 && dice.below(5) == 0 {
                field.push_str(dice.pick(&VARIABLES));
            }
            if dice.below(4) == 0 {
                field.push('*');
            }
            fields.push(field);
        }
        let written = format!("arn:{}", fields.join(":"));
        let pattern = ResourcePattern::parse(&written, BOTH).unwrap();
        let whole = Template::parse(&written, BOTH).unwrap();
        for _ in 0..4 {
            let given = given(&mut dice, &letters);
            let mut text = match dice.below(6) {
                0 => format!("arn:a:b:{}:{}", dice.pick(&letters), dice.pick(&letters)),
                _ => filled(&mut dice, &whole, &given, &letters),
            };
            if Arn::parse(&text).is_err() {
                text.push_str(":a:b:c:d");
            }
            let Ok(resource) = Resource::parse(&text) else {
                continue;
            };
            let mut said = [None; 2];
            for (index, reach) in [Reach::Narrow, Reach::Broad].into_iter().enumerate() {
                let expected = reference::matches(&pattern, &resource, reach, &given);
                assert_eq!(
                    pattern.matches(&resource, reach, &given),
                    expected,
                    "M-12, V-3, V-9: {written} on {text} {reach:?} with {:?}",
                    given.0
                );
                if expected == Some(true) {
                    let literal = pattern.longest_literal().unwrap();
                    assert!(text.contains(literal), "M-23: {written}, {literal}, {text}");
                    let exact = pattern.exact().unwrap_or(&text);
                    assert_eq!(exact, text, "M-23: {written}");
                }
                counts[index][expected.map_or(2, usize::from)] += 1;
                said[index] = expected;
            }
            n_wider += usize::from(said[0] != said[1]);
            assert_eq!(
                pattern.matches(&Resource::Any, Reach::Broad, &given),
                said[0].map(|_| false),
                "M-11, V-9"
            );
        }
    }
    for n in counts.into_iter().flatten().chain([n_wider]) {
        assert!(n > 700, "{counts:?} {n_wider}");
    }
}

/// Searches for long pieces are prepared unless there are too many of them. Preparing them must not change any answer.
#[test]
fn many_long_pieces_match_as_few_do() {
    let mut dice = Dice(3);
    let letters = ["ab", "ba", "a", "é"];
    for (n_pieces, n_prepared) in [(4, 0), (5, 5), (64, 64), (65, 0), (200, 0)] {
        let (mut n_matches, mut n_misses) = (0, 0);
        for _ in 0..100 {
            let mut piece = || format!("{}-{}", dice.text(&letters, 4), "abababab");
            let pieces: Vec<String> = (0..n_pieces).map(|_| piece()).collect();
            let template = Template::parse(&format!("s*{}*e", pieces.join("*")), BOTH).unwrap();
            let Shape::General(general) = &template.shape else {
                unreachable!("it has many parts")
            };
            assert_eq!(general.finders.len(), n_prepared);
            let between = |dice: &mut Dice| dice.text(&letters, 2);
            let mut text = "s".to_owned();
            for piece in &pieces {
                text.push_str(&between(&mut dice));
                // In one of two texts, one letter is removed. The following text may still make up for it.
                let is_cut = dice.below(2 * n_pieces) == 0;
                text.push_str(&piece[usize::from(is_cut && piece.is_char_boundary(1))..]);
            }
            text.push('e');
            let expected = reference::glob(&template.resolve(&NoVariables).unwrap(), &text);
            assert_eq!(
                template.matches(&text, &NoVariables),
                Some(expected),
                "{text}"
            );
            match expected {
                true => n_matches += 1,
                false => n_misses += 1,
            }
        }
        assert!(
            n_matches > 20 && n_misses > 5,
            "{n_pieces}: {n_matches} {n_misses}"
        );
    }
}
