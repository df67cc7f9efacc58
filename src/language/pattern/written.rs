//! Writes patterns as policies spell them, with the values of variables in place where they are known.

use super::{ArnPattern, Piece, ResourcePattern, Template, Values, Variable, Variables};

/// What becomes of a resource pattern once its variables have values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// It covers what this text covers.
    Text(String),
    /// It covers nothing, because a value does not fit into its field (V-3).
    Nothing,
    /// A variable has no value (V-9).
    LacksValue,
}

impl Template {
    /// Returns a text that is parsed to this template, with the value of each variable for which `value` has one. It is a
    /// text of the newer version of the language, in which `*` and `?` are wildcards if `wildcards` says so.
    pub fn written<'v>(
        &self,
        wildcards: bool,
        mut value: impl FnMut(&Variable) -> Option<&'v str>,
    ) -> String {
        let mut text = String::new();
        for piece in self.pieces() {
            match piece {
                Piece::Text(literal) => push_literal(&mut text, literal, wildcards),
                Piece::AnyOne => text.push('?'),
                Piece::AnyRun => text.push('*'),
                Piece::Variable(variable) => match value(variable) {
                    Some(value) => push_literal(&mut text, value, wildcards),
                    None => push_variable(&mut text, variable),
                },
            }
        }
        text
    }
}

fn push_literal(text: &mut String, literal: &str, wildcards: bool) {
    let mut rest = literal.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '*' | '?' if wildcards => text.extend(['$', '{', character, '}']),
            // What follows the literal may begin with a brace.
            '$' if matches!(rest.peek(), None | Some('{')) => text.push_str("${$}"),
            other => text.push(other),
        }
    }
}

fn push_variable(text: &mut String, variable: &Variable) {
    text.push_str("${");
    text.push_str(variable.key.folded());
    if let Some(default) = &variable.default {
        text.push_str(", '");
        text.push_str(default);
        text.push('\'');
    }
    text.push('}');
}

impl ResourcePattern {
    /// Returns the pattern as policies spell it, in the newer version of the language.
    pub fn written(&self) -> String {
        self.whole.written(true, |_| None)
    }

    /// Returns the pattern with the values of its variables.
    pub fn resolved(&self, variables: &impl Variables) -> Resolved {
        let mut values = Values::new();
        let read = self.whole.read_values_of_resource(variables, &mut values);
        if read.is_none() {
            return Resolved::LacksValue;
        }
        let mut confined = values.iter().take(self.n_confined_variables as usize);
        if confined.any(|value| value.contains(':')) {
            return Resolved::Nothing;
        }
        let mut values = values.iter();
        Resolved::Text(
            self.whole
                .written(true, |_| values.next().map(|value| &**value)),
        )
    }
}

impl ArnPattern {
    /// Returns the pattern as policies spell it, in the newer version of the language.
    pub fn written(&self) -> String {
        let fields = self
            .fields()
            .iter()
            .map(|field| field.written(true, |_| None));
        let fields: Vec<String> = fields.collect();
        match &*fields {
            [] => "*".to_owned(),
            fields => fields.join(":"),
        }
    }
}
