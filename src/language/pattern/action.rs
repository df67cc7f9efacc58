//! Patterns of actions.

use smol_str::SmolStr;

use super::{NoVariables, Syntax, Template, Variables};
use crate::language::size::allocated;
use crate::name::{Action, Malformed, is_action_character, is_service_prefix};

/// A pattern of actions, `service:Name` or `*` (G-27). Case never matters (M-2).
///
/// The only colon of a pattern is literal, and so is everything before it. So its wildcards match only text after the
/// colon of an action (M-4).
///
/// PERF: a store has far more actions than anything else. Nearly all of them are `*`, a text without wildcards, or a
/// text that ends in its only wildcard. The first and last characters tell which of these forms a text has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ActionPattern {
    text: SmolStr,
    /// The lower-cased pattern, for any other form.
    folded: Option<Box<Template>>,
}

/// What a pattern says about the names of the actions that it matches. The texts are as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionForm<'p> {
    /// The only name that matches.
    Name(&'p str),
    /// Every name with this beginning matches. The beginning of `*` is empty.
    Prefix(&'p str),
    /// Every name that matches has this beginning.
    Other(&'p str),
}

impl ActionPattern {
    /// Parses a pattern.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let is_everything =
            !text.is_empty() && text.bytes().all(|byte| byte == b'*') || text == "*:*";
        if is_everything {
            return Ok(Self {
                text: text.into(),
                folded: None,
            });
        }
        let fits = |byte: u8| is_action_character(byte) || matches!(byte, b'*' | b'?');
        let is_named = text.split_once(':').is_some_and(|(service, name)| {
            is_service_prefix(service) && !name.is_empty() && name.bytes().all(fits)
        });
        if !is_named {
            return Err(Malformed::because(format!(
                "action `{text}` must be `*` or `service:Name`, with wildcards only after the colon"
            )));
        }
        let is_simple = text
            .find(['*', '?'])
            .is_none_or(|at| text.get(at..) == Some("*"));
        let folded = if is_simple {
            None
        } else {
            let syntax = Syntax {
                wildcards: true,
                variables: false,
            };
            let folded = text.to_ascii_lowercase();
            Some(Box::new(Template::parse(&folded, syntax)?))
        };
        Ok(Self {
            text: text.into(),
            folded,
        })
    }

    /// Returns the text as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns about how much memory it takes, including what it points to, in bytes.
    pub fn n_bytes(&self) -> usize {
        let text = match self.text.len() {
            0..=23 => 0,
            n => allocated(n),
        };
        let folded = self.folded.as_ref();
        size_of::<Self>() + text + folded.map_or(0, |folded| folded.n_bytes())
    }

    /// Returns the service it is limited to, as written, or `None` for `*`.
    pub fn service(&self) -> Option<&str> {
        let (service, _) = self.text.split_once(':')?;
        (service != "*").then_some(service)
    }

    /// Returns what it says about the names that it matches.
    pub fn form(&self) -> ActionForm<'_> {
        let text = &*self.text;
        let before_wildcard = || text.get(..text.find(['*', '?']).unwrap_or(text.len()));
        match text.as_bytes() {
            _ if self.folded.is_some() => ActionForm::Other(before_wildcard().unwrap_or("")),
            [b'*', ..] => ActionForm::Prefix(""),
            [.., b'*'] => ActionForm::Prefix(text.strip_suffix('*').unwrap_or("")),
            _ => ActionForm::Name(text),
        }
    }

    /// Returns whether `action` matches (M-2 to M-5).
    pub fn matches(&self, action: &Action) -> bool {
        self.matches_paid(action, &NoVariables)
    }

    /// Returns whether `action` matches. `meter` pays for work beyond a comparison.
    pub fn matches_paid(&self, action: &Action, meter: &impl Variables) -> bool {
        if let Some(folded) = &self.folded {
            return folded.matches(action.as_str(), meter) == Some(true);
        }
        let text = action.as_str().as_bytes();
        match self.text.as_bytes() {
            [b'*', ..] => true,
            [prefix @ .., b'*'] => {
                let first = text.get(..prefix.len());
                first.is_some_and(|first| first.eq_ignore_ascii_case(prefix))
            }
            literal => literal.eq_ignore_ascii_case(text),
        }
    }
}
