//! Patterns of actions.

use smol_str::SmolStr;

use super::{NoVariables, Syntax, Template};
use crate::name::{Action, Malformed, is_action_character, is_service_prefix};

/// A pattern of actions, `service:Name` or `*` (G-27). Case never matters (M-2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ActionPattern {
    text: SmolStr,
    form: Form,
}

/// What can be told from the text alone. The only colon of a pattern is literal, and so is all before it: its wildcards
/// stay behind the colon of an action (M-4).
///
/// PERF: a store has far more actions than anything else, and nearly all of them need no template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Form {
    /// `*`
    Everything,
    /// The text without wildcards.
    Literal,
    /// The text ends in its only wildcard, a `*`.
    Prefix,
    /// Anything else, lower-cased.
    Other(Box<Template>),
}

impl ActionPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let is_everything =
            !text.is_empty() && text.bytes().all(|byte| byte == b'*') || text == "*:*";
        if is_everything {
            return Ok(Self {
                text: text.into(),
                form: Form::Everything,
            });
        }
        let fits = |byte: u8| is_action_character(byte) || matches!(byte, b'*' | b'?');
        let is_named = text.split_once(':').is_some_and(|(service, name)| {
            is_service_prefix(service) && !name.is_empty() && name.bytes().all(fits)
        });
        if !is_named {
            return Err(Malformed::because(format!(
                "action `{text}` must be `*` or `service:Name`, with wildcards only behind the colon"
            )));
        }
        let form = match text.find(['*', '?']) {
            None => Form::Literal,
            Some(at) if text.get(at..) == Some("*") => Form::Prefix,
            Some(_) => {
                let syntax = Syntax {
                    wildcards: true,
                    variables: false,
                };
                let folded = text.to_ascii_lowercase();
                Form::Other(Box::new(Template::parse(&folded, syntax)?))
            }
        };
        Ok(Self {
            text: text.into(),
            form,
        })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The service it is limited to, as written; none for `*`.
    pub fn service(&self) -> Option<&str> {
        let (service, _) = self.text.split_once(':')?;
        (self.form != Form::Everything).then_some(service)
    }

    /// Whether `action` is one of them (M-2 to M-5).
    pub fn matches(&self, action: &Action) -> bool {
        let (ours, action_text) = (self.text.as_bytes(), action.as_str().as_bytes());
        match &self.form {
            Form::Everything => true,
            Form::Literal => ours.eq_ignore_ascii_case(action_text),
            Form::Prefix => {
                let prefix = ours.strip_suffix(b"*").unwrap_or(ours);
                let first = action_text.get(..prefix.len());
                first.is_some_and(|first| first.eq_ignore_ascii_case(prefix))
            }
            Form::Other(folded) => folded.matches(action.as_str(), &NoVariables) == Some(true),
        }
    }
}
