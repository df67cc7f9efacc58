//! The options that make up one question.

use anyhow::{Context as _, bail};

use crate::authorizer::{Question, Refusal, SessionFacts, Value, member};
use crate::service::json::Message;

/// One question, from the command line.
#[derive(Debug, clap::Args)]
pub(super) struct Ask {
    /// The principal: an ARN, a service principal, or `*` for an anonymous caller
    #[arg(long, required = true)]
    principal: Option<String>,
    /// The action: `orders:Refund`
    #[arg(long, required = true)]
    action: Option<String>,
    /// The resource: an ARN, or `*` for an action without a resource
    #[arg(long, required = true)]
    resource: Option<String>,
    /// A context entry, repeatable: `aws:SourceIp=10.0.0.7` is a string, `orders:amount:=50` any JSON value
    #[arg(long = "context", value_name = "KEY=VALUE")]
    context: Vec<String>,
    /// The facts of the session, a JSON object or a file with one: `{"tags": {"team": "blue"}}`
    #[arg(long, value_name = "JSON|FILE")]
    session: Option<String>,
    /// The account that owns the resource, if neither its ARN nor the store names it
    #[arg(long, value_name = "ACCOUNT")]
    resource_account: Option<String>,
    /// An id that the answer repeats
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// The options above. An option such as `--requests` conflicts with them, which also makes the required ones optional.
pub(super) const OPTIONS: [&str; 7] = [
    "principal",
    "action",
    "resource",
    "context",
    "session",
    "resource_account",
    "request_id",
];

impl Ask {
    /// Calls `answer` with the question. Reads the session's file first, if there is one.
    pub(super) fn with<R>(
        &self,
        answer: impl FnOnce(&Question<'_>) -> anyhow::Result<R>,
    ) -> anyhow::Result<R> {
        let facts = Facts::read(&self.context, self.session.as_deref())?;
        let facts = facts.parse()?;
        answer(&Question {
            principal: text(&self.principal),
            action: text(&self.action),
            resource: text(&self.resource),
            context: facts.context()?,
            session: facts.session()?,
            resource_account: text(&self.resource_account),
            request_id: text(&self.request_id),
        })
    }
}

/// Returns the text of an option. clap has checked that the required options are given.
pub(super) fn text(option: &Option<String>) -> &str {
    option.as_deref().unwrap_or_default()
}

/// The context and the session of a question, as texts.
pub(super) struct Facts<'a> {
    context: Vec<(&'a str, Given<'a>)>,
    session: Option<String>,
}

/// The value of a context entry on the command line.
enum Given<'a> {
    Text(&'a str),
    Json(&'a str),
}

impl<'a> Facts<'a> {
    /// Takes apart the entries `key=text` and `key:=json`, and reads the session, which is a JSON object or a file.
    pub(super) fn read(context: &'a [String], session: Option<&str>) -> anyhow::Result<Self> {
        let entries = context.iter().map(|entry| {
            let Some((key, value)) = entry.split_once('=') else {
                bail!("`--context {entry}` has no value: write `key=text` or `key:=json`");
            };
            Ok(match key.strip_suffix(':') {
                Some(key) => (key, Given::Json(value)),
                None => (key, Given::Text(value)),
            })
        });
        let session = session.map(|session| json_or_file(session, "session"));
        Ok(Self {
            context: entries.collect::<anyhow::Result<_>>()?,
            session: session.transpose()?,
        })
    }

    /// Parses everything that is JSON.
    pub(super) fn parse(&self) -> Result<ParsedFacts<'_>, Refusal> {
        let entries = self.context.iter().map(|(key, given)| match given {
            Given::Text(text) => Ok((*key, Parsed::Text(text))),
            Given::Json(text) => {
                let value = Message::parse(text, &member("context", key))?;
                Ok((*key, Parsed::Json(value)))
            }
        });
        let session = self.session.as_deref();
        let session = session.map(|text| Message::parse(text, "session"));
        Ok(ParsedFacts {
            context: entries.collect::<Result<_, Refusal>>()?,
            session: session.transpose()?,
        })
    }
}

/// The context and the session of a question as parsed JSON, whose meaning is not yet checked.
pub(super) struct ParsedFacts<'a> {
    context: Vec<(&'a str, Parsed<'a>)>,
    session: Option<Message<'a>>,
}

enum Parsed<'a> {
    Text(&'a str),
    Json(Message<'a>),
}

impl ParsedFacts<'_> {
    /// Returns the entries of the context.
    pub(super) fn context(&self) -> Result<Vec<(&str, Value<'_>)>, Refusal> {
        let entries = self.context.iter().map(|(key, value)| match value {
            Parsed::Text(text) => Ok((*key, Value::Text(text))),
            Parsed::Json(message) => Ok((*key, message.context_value(key)?)),
        });
        entries.collect()
    }

    /// Returns the facts of the session, if there are any.
    pub(super) fn session(&self) -> Result<Option<Box<SessionFacts<'_>>>, Refusal> {
        self.session.as_ref().map(Message::session).transpose()
    }
}

/// Returns `text` if it is a JSON object, else the content of the file of that name. Errors call it `what`.
pub(super) fn json_or_file(text: &str, what: &str) -> anyhow::Result<String> {
    if text.trim_start().starts_with('{') {
        return Ok(text.to_owned());
    }
    std::fs::read_to_string(text).with_context(|| format!("cannot read the {what} file `{text}`"))
}
