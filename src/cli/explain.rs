//! `iamd explain`.

mod past;
mod text;

use std::io::{self, IsTerminal, Write};

use anyhow::bail;

use super::answerer::Answerer;
use super::ask::{Ask, OPTIONS};
use super::authorize::answerer;
use super::tls::Tls;
use super::{Common, Output, Status, report};
use crate::authorizer::Redacted;
use crate::config::{REDACT_KEYS, redact_keys};
use crate::service::json;
use past::{Past, Shown};
pub use text::{Colour, text};

/// Explain the decision about a question
///
/// Shows the verdict of each policy type with its statements, compares the values of the policies with those of the
/// question, and lists the missing context keys and what would have to change for an allow. With `--decision` it explains a
/// past decision by the policies of its time. Exits with 0 for an allow and with 1 for a deny.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    ask: Ask,
    /// Context keys whose values are hidden, or a prefix such as `aws:RequestTag/*`; `none` hides nothing. A server
    /// uses its own setting
    #[arg(long, value_name = "KEY", value_delimiter = ',', default_value = REDACT_KEYS, conflicts_with = "server")]
    redact_keys: Vec<String>,
    /// Ask this running server instead of reading a store: `127.0.0.1:50051`, `unix:/path`, `https://host:50051`
    #[arg(long, value_name = "ADDR", conflicts_with = "store")]
    server: Option<String>,
    #[command(flatten)]
    tls: Tls,
    #[command(flatten)]
    past: Past,
}

pub(super) fn run(args: Args, common: &Common, out: &mut impl Write) -> anyhow::Result<Status> {
    if let Some(id) = &args.past.decision {
        let hidden = redact_keys(args.redact_keys);
        let hidden = Redacted::new(hidden.iter().map(String::as_str));
        let shown = Shown {
            output: common.output,
            colour: colour(),
        };
        let today = common.store();
        let was_allowed = past::explain(&args.past, id, &today, &hidden, &shown, out)?;
        return Ok(was_allowed.map_or(Status::Refused, Status::of_decision));
    }
    args.ask.with(|question| {
        let answerer = match answerer(args.server.as_deref(), &args.tls, common)? {
            None => return Ok(Status::Refused),
            Some(Answerer::Store(authorizer)) => {
                let hidden = redact_keys(args.redact_keys);
                let hidden = Redacted::new(hidden.iter().map(String::as_str));
                Answerer::Store(Box::new(authorizer.redacting(hidden)))
            }
            Some(server) => server,
        };
        let explained = match answerer.explain(question) {
            Ok(explained) => explained,
            Err(no_answer) => bail!("{no_answer}"),
        };
        let status = Status::of_decision(explained.answer.is_allowed);
        match common.output {
            Output::Text => {
                for hint in &explained.hints {
                    report(format_args!("warning: {hint}"));
                }
                writeln!(out, "{}", text(&explained, colour()))?;
            }
            Output::Json => writeln!(out, "{}", json::explained(explained))?,
        }
        Ok(status)
    })
}

/// Returns whether the output is colored. It is on a terminal, unless `NO_COLOR` is set.
fn colour() -> Colour {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stdout().is_terminal() && !is_unwanted {
        Colour::Terminal
    } else {
        Colour::Plain
    }
}
