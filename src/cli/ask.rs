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
            let Some((key, value)) = entry.split_once('=') else {
                bail!("`--context {entry}` has no value: write `key=text` or `key:=json`");
            };
            match key.strip_suffix(':') {
                Some(key) => question.context_json(key, value)?,
                None => question.context_text(key, value),
            }
        }
        if let Some(session) = &self.session {
            let is_json = session.trim_start().starts_with('{');
            let read = || {
                std::fs::read_to_string(session)
                    .with_context(|| format!("cannot read the session file `{session}`"))
            };
            question.session_json(&if is_json { session.clone() } else { read()? })?;
        }
        question.resource_account(text(&self.resource_account));
        question.request_id(text(&self.request_id));
        Ok(question)
    }
}
