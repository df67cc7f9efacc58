//! Patterns of actions.

use super::{NoVariables, Syntax, Template};
use crate::name::{Action, Malformed, is_action_character, is_service_prefix};

/// A pattern of actions, `service:Name` or `*` (G-27), lower-cased because case never matters (M-2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ActionPattern {
    text: Box<str>,
    /// `service:name`, lower-cased; none for `*`. The only colon of either side is literal, so the wildcards behind it
    /// stay behind it (M-4).
    named: Option<Template>,
}

impl ActionPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let is_everything =
            !text.is_empty() && text.bytes().all(|byte| byte == b'*') || text == "*:*";
        if is_everything {
            return Ok(Self {
                text: text.into(),
                named: None,
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
        let syntax = Syntax {
            wildcards: true,
            variables: false,
        };
        Ok(Self {
            text: text.into(),
            named: Some(Template::parse(&text.to_ascii_lowercase(), syntax)?),
        })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The service it is limited to, lower-cased; none for `*`.
    pub fn service(&self) -> Option<&str> {
        let (service, _) = self.named.as_ref()?.as_str().split_once(':')?;
        Some(service)
    }

    /// The only action that it matches, `service:name` in lower case; none if it holds a wildcard.
    pub fn literal(&self) -> Option<&str> {
        self.named.as_ref()?.literal()
    }

    /// Whether `action` is one of them (M-2 to M-5).
    pub fn matches(&self, action: &Action) -> bool {
        match &self.named {
            None => true,
            Some(named) => named.matches(action.as_str(), &NoVariables) == Some(true),
        }
    }
}
