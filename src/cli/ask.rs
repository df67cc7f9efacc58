//! The options that make up one question.

use anyhow::{Context as _, bail};

use crate::service::question::Question;

/// One question, from the command line.
#[derive(Debug, clap::Args)]
pub(super) struct Ask {
    /// Who asks: an ARN, a service principal, or `*` for the anonymous
    #[arg(long, required = true)]
    principal: Option<String>,
    /// What they want to do: `orders:Refund`
    #[arg(long, required = true)]
    action: Option<String>,
    /// To what: an ARN, or `*` for an action without a resource
    #[arg(long, required = true)]
    resource: Option<String>,
    /// A context entry, repeatable: `aws:SourceIp=10.0.0.7` is a string, `orders:amount:=50` any JSON value
    #[arg(long = "context", value_name = "KEY=VALUE")]
    context: Vec<String>,
    /// The facts of the session, a JSON object or a file with one: `{"tags": {"team": "blue"}}`
    #[arg(long, value_name = "JSON|FILE")]
    session: Option<String>,
    /// The account that owns the resource, where neither its ARN nor the store says
    #[arg(long, value_name = "ACCOUNT")]
    resource_account: Option<String>,
    /// Given back in the answer
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// The options above, for one that takes questions from elsewhere: what conflicts with an option need not be given.
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
    /// The question. Reads the session's file, if it is in one.
    pub(super) fn question(&self) -> anyhow::Result<Question> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default(); // clap requires them
        let mut question = Question::new(
            text(&self.principal),
            text(&self.action),
            text(&self.resource),
        );
        for entry in &self.context {
            match context_entry(entry)? {
                (key, Given::Json(value)) => question.context_json(key, value)?,
                (key, Given::Text(text)) => question.context_text(key, text),
            }
        }
        if let Some(session) = &self.session {
            question.session_json(&json_or_file(session, "session")?)?;
        }
        question.resource_account(text(&self.resource_account));
        question.request_id(text(&self.request_id));
        Ok(question)
    }
}

/// The value of a context entry on the command line.
pub(super) enum Given<'a> {
    Text(&'a str),
    Json(&'a str),
}

/// `key=text` or `key:=json`.
pub(super) fn context_entry(entry: &str) -> anyhow::Result<(&str, Given<'_>)> {
    let Some((key, value)) = entry.split_once('=') else {
        bail!("`--context {entry}` has no value: write `key=text` or `key:=json`");
    };
    Ok(match key.strip_suffix(':') {
        Some(key) => (key, Given::Json(value)),
        None => (key, Given::Text(value)),
    })
}

/// A JSON object as it is, or the content of the file that is named; `what` it is, for errors.
pub(super) fn json_or_file(text: &str, what: &str) -> anyhow::Result<String> {
    if text.trim_start().starts_with('{') {
        return Ok(text.to_owned());
    }
    std::fs::read_to_string(text).with_context(|| format!("cannot read the {what} file `{text}`"))
}
