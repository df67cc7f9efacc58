//! A document means the same no matter how its JSON is written: white space, escapes, the order of members, a scalar or
//! a list of one (G-1, G-15), a number or its text (G-18).

use std::fmt::Write as _;
use std::sync::Arc;

use iamd::language::document::{Extent, PolicyDocument, PolicyType};
use iamd::language::parse::parse;
use iamd::language::report::Base;
use serde_json::Value as Json;

use crate::worlds::{self, Kind, Random};

const KINDS: &[(Kind, PolicyType)] = &[
    (Kind::Identity, PolicyType::Identity),
    (Kind::Boundary, PolicyType::PermissionsBoundary),
    (Kind::Session, PolicyType::Session),
    (Kind::Resource, PolicyType::Resource),
    (Kind::Trust, PolicyType::Trust),
    (Kind::ServiceControl, PolicyType::ServiceControl),
    (Kind::ResourceControl, PolicyType::ResourceControl),
];

/// G-1, G-9, G-15, G-18: all spellings of a document give the same document.
#[test]
fn documents_are_read_alike_however_they_are_written() {
    let (mut random, mut n_read) = (Random::new(1), 0);
    for _ in 0..150 {
        for (kind, policy_type) in KINDS {
            let document = worlds::document(&mut random, *kind);
            if document.is_string() {
                continue;
            }
            let plain = document.to_string();
            let expected = read(&plain, *policy_type);
            for _ in 0..3 {
                let mut other = String::new();
                spell(&document, Place::Document, &mut random, &mut other);
                assert_eq!(read(&other, *policy_type), expected, "{plain}\n{other}");
                n_read += 1;
            }
        }
    }
    assert!(n_read > 1_000, "{n_read}");
}

/// Returns the document without its places in the text, and with unordered parts sorted.
fn read(text: &str, policy_type: PolicyType) -> PolicyDocument {
    let (document, findings) = parse(text, policy_type, Base::File("policy.json".into()));
    let mut document = document.unwrap_or_else(|| panic!("{findings:?}\n{text}"));
    let mut statements = document.statements.to_vec();
    for statement in &mut statements {
        statement.extent = Extent::default();
        let mut conditions = statement.conditions.to_vec();
        conditions.sort_by_key(|one| format!("{one:?}"));
        statement.conditions = conditions.into();
        if let Some(principal) = &mut statement.principal {
            principal.entries.sort_by_key(|one| format!("{one:?}"));
        }
    }
    document.statements = Arc::from(statements);
    document.is_list = false; // how G-9 was written
    document
}

/// The place of a value. Only some values may be a scalar or a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Document,
    Statements,
    Statement,
    Operators,
    Keys,
    Principal,
    /// The value of an element or of a kind of principal.
    Strings,
    /// The value of a condition key.
    Values,
    /// One value of a list.
    Value,
    Other,
}

impl Place {
    fn of_member(self, name: &str) -> Self {
        match (self, name) {
            (Self::Document, "Statement") => Self::Statements,
            (Self::Statement | Self::Statements, "Condition") => Self::Operators,
            (Self::Statement | Self::Statements, "Principal" | "NotPrincipal") => Self::Principal,
            (Self::Statement | Self::Statements, "Sid" | "Effect") => Self::Other,
            (Self::Statement | Self::Statements, _) | (Self::Principal, _) => Self::Strings,
            (Self::Operators, _) => Self::Keys,
            (Self::Keys, _) => Self::Values,
            _ => Self::Other,
        }
    }

    fn may_be_listed(self) -> bool {
        matches!(self, Self::Statements | Self::Strings | Self::Values)
    }

    fn of_element(self) -> Self {
        match self {
            Self::Statements => Self::Statement,
            Self::Values => Self::Value,
            _ => Self::Other,
        }
    }
}

fn spell(json: &Json, place: Place, random: &mut Random, out: &mut String) {
    white_space(random, out);
    match json {
        Json::Array(elements) => match elements.as_slice() {
            [one] if place.may_be_listed() && random.chance(50) => {
                spell(one, place.of_element(), random, out);
            }
            elements => list(elements, place, random, out),
        },
        one if place.may_be_listed() && random.chance(30) => {
            list(std::slice::from_ref(one), place, random, out);
        }
        Json::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            random.shuffle(&mut members);
            out.push('{');
            for (index, (name, value)) in members.into_iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                white_space(random, out);
                string(name, random, out);
                white_space(random, out);
                out.push(':');
                spell(value, place.of_member(name), random, out);
            }
            out.push('}');
        }
        Json::String(text) => string(text, random, out),
        // Writes the value as its text, with or without quotes.
        number_or_boolean if matches!(place, Place::Values | Place::Value) && random.chance(50) => {
            string(&number_or_boolean.to_string(), random, out);
        }
        other => _ = write!(out, "{other}"),
    }
    white_space(random, out);
}

fn list(elements: &[Json], place: Place, random: &mut Random, out: &mut String) {
    out.push('[');
    for (index, element) in elements.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { "," });
        spell(element, place.of_element(), random, out);
    }
    out.push(']');
}

fn white_space(random: &mut Random, out: &mut String) {
    for _ in 0..random.below(8).saturating_sub(5) {
        out.push(*random.pick(&[' ', '\n', '\t', '\r']));
    }
}

/// Writes some characters as themselves and some escaped.
fn string(text: &str, random: &mut Random, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        let is_plain = character >= ' ' && !matches!(character, '"' | '\\');
        match character {
            _ if is_plain && random.chance(90) => out.push(character),
            '/' => out.push_str("\\/"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    match random.chance(50) {
                        true => _ = write!(out, "\\u{unit:04x}"),
                        false => _ = write!(out, "\\u{unit:04X}"),
                    }
                }
            }
        }
    }
    out.push('"');
}
