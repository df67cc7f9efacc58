//! `iamd explain --decision`: a past decision, explained by the policies of its time.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::text::{Colour, text};
use crate::authorizer::{Authorizer, Explained, Redacted, in_words};
use crate::cli::decisions::{for_each_line, parsed};
use crate::cli::{Output, report};
use crate::engine::decision::Reason;
use crate::engine::work::wanted;
use crate::service::json::{self, Record, Recorded};
use crate::store::{load, load_kept};

/// The options for a past decision.
#[derive(Debug, clap::Args)]
pub(super) struct Past {
    /// Explain this past decision, by the policies of its time, and then say whether the store would answer otherwise:
    /// the `decision_id` of its answer
    #[arg(
        long,
        value_name = "ID",
        conflicts_with_all = super::OPTIONS,
        conflicts_with = "server",
        requires_all = ["decision_log", "keep_revisions"]
    )]
    pub(super) decision: Option<String>,
    /// The decision log with its record; the full files beside it belong to it
    #[arg(long, value_name = "FILE", requires = "decision")]
    decision_log: Option<PathBuf>,
    /// The folder in which the server keeps revisions
    #[arg(long, value_name = "DIR", requires = "decision")]
    keep_revisions: Option<PathBuf>,
}

/// A past decision, and what the store of today says.
struct Answered {
    /// The line of the log.
    record: String,
    then: Explained,
    /// `None` if the store does not load, which has been reported.
    today: Option<Explained>,
}

/// How a past decision is to be shown.
pub(super) struct Shown {
    pub(super) output: Output,
    pub(super) colour: Colour,
}

/// Explains the decision called `id`, and compares it with what the store at `today` answers. Returns whether it was an
/// allow; `None` if the store of today does not load.
pub(super) fn explain(
    past: &Past,
    id: &str,
    today: &Path,
    redacted: &Redacted,
    shown: &Shown,
    out: &mut impl Write,
) -> anyhow::Result<Option<bool>> {
    let log = past.decision_log.as_deref().context("needs a log")?;
    let kept = past.keep_revisions.as_deref().context("needs revisions")?;
    let line = find(log, id)?;
    let answered = parsed(&line, |record| match record {
        Ok(Record::Decision(recorded)) => answer(&line, &recorded, kept, today, redacted),
        Ok(Record::Mark(_)) => bail!("the record is not that of a decision"),
        Err(refusal) => bail!("the record: {} {}", refusal.field, refusal.message),
    })?;
    let is_allowed = answered.then.answer.is_allowed;
    let has_today = answered.today.is_some();
    match shown.output {
        Output::Text => write_text(answered, today, shown.colour, out)?,
        Output::Json => write_json(answered, out)?,
    }
    Ok(has_today.then_some(is_allowed))
}

/// Returns the line of the log that records the decision called `id`.
fn find(log: &Path, id: &str) -> anyhow::Result<String> {
    let mut found = None;
    for_each_line(log, |line| {
        // Most lines are not parsed.
        let is_it = line.contains(id)
            && parsed(
                line,
                |record| matches!(record, Ok(Record::Decision(recorded)) if recorded.decision_id == id),
            );
        if is_it {
            found = Some(line.to_owned());
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    found.with_context(|| {
        let log = log.display();
        format!("there is no record of the decision `{id}` in `{log}` and the full files beside it")
    })
}

fn answer(
    line: &str,
    recorded: &Recorded<'_>,
    kept: &Path,
    today: &Path,
    redacted: &Redacted,
) -> anyhow::Result<Answered> {
    if !recorded.masked.is_empty() {
        let masked = recorded.masked.join("`, `");
        bail!("the question cannot be asked again, because its record is masked: `{masked}`");
    }
    let explained = |loaded: crate::store::Loaded| {
        let authorizer = Authorizer::of(loaded.snapshot).without_limits();
        let authorizer = authorizer.redacting(redacted.clone());
        let explained = authorizer.explain(&recorded.question, recorded.at, &wanted());
        explained
            .map_err(|refusal| anyhow::anyhow!("the question has no answer: {}", refusal.message))
    };
    let loaded = load_kept(kept, recorded.revision)?;
    let Ok(loaded) = loaded else {
        bail!(
            "the revision {} does not load with this version of iamd",
            recorded.revision
        );
    };
    let then = explained(loaded)?;
    let is_same =
        then.answer.is_allowed == recorded.is_allowed && then.answer.reason == recorded.reason;
    if !is_same {
        let label = |reason: Option<Reason>| reason.map_or("UNSPECIFIED", Reason::label);
        bail!(
            "the record says {}, and this version of iamd decides {}",
            label(recorded.reason),
            label(then.answer.reason)
        );
    }
    let today = match load(today) {
        Ok(loaded) => Some(explained(loaded)?),
        Err(refused) => {
            for finding in &refused.findings {
                report(format_args!("{finding}"));
            }
            report(format_args!(
                "error: the store `{}` does not load, so it is not compared",
                today.display()
            ));
            None
        }
    };
    Ok(Answered {
        record: line.to_owned(),
        then,
        today,
    })
}

fn write_text(
    answered: Answered,
    today: &Path,
    colour: Colour,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Answered {
        then, today: now, ..
    } = answered;
    writeln!(out, "{}", text(&then, colour))?;
    let Some(now) = now else { return Ok(()) };
    let store = today.display();
    let (before, after) = (&then.answer, &now.answer);
    let revision = &after.revision;
    writeln!(out)?;
    if before.revision == after.revision {
        writeln!(out, "the store `{store}` is of the same revision")?;
    } else if !differs(&then, &now) {
        writeln!(
            out,
            "the store `{store}` of today (revision {revision}) would answer the same"
        )?;
    } else {
        writeln!(
            out,
            "the store `{store}` of today (revision {revision}) would answer otherwise: {} instead of {}",
            in_words(after.reason),
            in_words(before.reason)
        )?;
        writeln!(out)?;
        writeln!(out, "{}", text(&now, colour))?;
    }
    Ok(())
}

fn write_json(answered: Answered, out: &mut impl Write) -> anyhow::Result<()> {
    let Answered {
        record,
        then,
        today,
    } = answered;
    let differs = today.as_ref().map(|today| differs(&then, today));
    let value = |explained| serde_json::from_str::<serde_json::Value>(&json::explained(explained));
    let mut shown = serde_json::json!({
        "record": serde_json::from_str::<serde_json::Value>(&record)?,
        "explanation": value(then)?,
    });
    if let (Some(members), Some(today)) = (shown.as_object_mut(), today) {
        let today = serde_json::json!({ "differs": differs, "explanation": value(today)? });
        members.insert("today".to_owned(), today);
    }
    writeln!(out, "{}", serde_json::to_string_pretty(&shown)?)?;
    Ok(())
}

/// Returns whether the decision or its reason differs.
fn differs(then: &Explained, today: &Explained) -> bool {
    let of = |explained: &Explained| (explained.answer.is_allowed, explained.answer.reason);
    of(then) != of(today)
}
