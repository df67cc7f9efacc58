//! `iamd replay`.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde::Serialize;

use super::decisions::{Numbers, for_each_line, parsed};
use super::{Common, Output, Status, load, report};
use crate::authorizer::{Answer, Authorizer, Refusal, in_words};
use crate::engine::decision::Reason;
use crate::language::finding::Escaped;
use crate::service::json::{self, Record, Recorded};

/// Ask the questions of a decision log again, of another store
///
/// Lists each decision that the store would make otherwise, with both reasons. Each question is asked as of the time of
/// its record. The full files beside the log belong to it. Exits with 1 if an allow appeared, and with 2 if the log has
/// lines that are no records or questions that the store cannot answer.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The decision log, or `-` for standard input
    #[arg(value_name = "LOG")]
    log: PathBuf,
}

/// How a decision differs from its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    DenyToAllow,
    AllowToDeny,
    Reason,
}

impl Kind {
    fn in_words(self) -> &'static str {
        match self {
            Self::DenyToAllow => "deny -> allow",
            Self::AllowToDeny => "allow -> deny",
            Self::Reason => "other reason",
        }
    }
}

/// What came of a replay.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    /// The revision of the store that was asked.
    revision: String,
    /// How many questions were asked again.
    asked: u64,
    /// How many became an allow.
    deny_to_allow: u64,
    /// How many became a denial.
    allow_to_deny: u64,
    /// How many have another reason only.
    reason: u64,
    /// How many cannot be asked because facts are masked.
    masked: u64,
    /// How many the store did not answer.
    unanswered: u64,
    /// How many lines are no records.
    unreadable: u64,
    /// How many decisions have no record.
    missing: u64,
    /// How many of these the server has said are lost.
    lost: u64,
}

pub(super) fn run(args: &Args, common: &Common, out: &mut impl Write) -> anyhow::Result<Status> {
    let Some(snapshot) = load(&common.store()) else {
        return Ok(Status::Refused);
    };
    let mut replay = Replay {
        summary: Summary {
            revision: snapshot.revision.to_string(),
            ..Summary::default()
        },
        authorizer: Authorizer::of(snapshot).without_limits(),
        output: common.output,
        n_written: 0,
    };
    let mut numbers = Numbers::default();
    if common.output == Output::Json {
        write!(out, "{{\"flips\":[")?;
    }
    for_each_line(&args.log, |line| {
        parsed(line, |record| match record {
            Ok(Record::Decision(recorded)) => {
                numbers.decision(&recorded);
                replay.ask(&recorded, out)
            }
            Ok(Record::Mark(mark)) => {
                numbers.mark(&mark);
                Ok(())
            }
            Err(refusal) => {
                replay.unreadable(&refusal);
                Ok(())
            }
        })?;
        Ok(ControlFlow::Continue(()))
    })?;
    let mut summary = replay.summary;
    summary.missing = numbers.n_missing;
    summary.lost = numbers.n_told;
    match common.output {
        Output::Json => writeln!(out, "],\"summary\":{}}}", serde_json::to_string(&summary)?)?,
        Output::Text => summary.write(out)?,
    }
    Ok(summary.status())
}

/// A replay under way.
struct Replay {
    summary: Summary,
    authorizer: Authorizer,
    output: Output,
    n_written: u64,
}

impl Replay {
    /// Asks the question of a record again, and writes what differs.
    fn ask(&mut self, recorded: &Recorded<'_>, out: &mut impl Write) -> anyhow::Result<()> {
        if !recorded.masked.is_empty() {
            self.summary.masked += 1;
            return Ok(());
        }
        let asked = self.authorizer.authorize(&recorded.question, recorded.at);
        let answer = match asked.to_answer() {
            Ok(answer) => answer,
            Err(refusal) => {
                self.summary.unanswered += 1;
                let id = Escaped(recorded.decision_id);
                report(format_args!(
                    "warning: {id} has no answer: {}",
                    refusal.message
                ));
                return Ok(());
            }
        };
        self.summary.asked += 1;
        let kind = match (recorded.is_allowed, answer.is_allowed) {
            (false, true) => Kind::DenyToAllow,
            (true, false) => Kind::AllowToDeny,
            _ if recorded.reason != answer.reason => Kind::Reason,
            _ => return Ok(()),
        };
        *match kind {
            Kind::DenyToAllow => &mut self.summary.deny_to_allow,
            Kind::AllowToDeny => &mut self.summary.allow_to_deny,
            Kind::Reason => &mut self.summary.reason,
        } += 1;
        match self.output {
            Output::Text => write_text(recorded, &answer, kind, out)?,
            Output::Json => {
                let comma = if self.n_written > 0 { "," } else { "" };
                let flip = serde_json::to_string(&Flip::of(recorded, &answer, kind))?;
                write!(out, "{comma}\n{flip}")?;
            }
        }
        self.n_written += 1;
        Ok(())
    }

    fn unreadable(&mut self, refusal: &Refusal) {
        const TOLD: u64 = 10;
        self.summary.unreadable += 1;
        if self.summary.unreadable <= TOLD {
            let (field, message) = (&refusal.field, &refusal.message);
            report(format_args!(
                "warning: a line is no record: {field} {message}"
            ));
        }
    }
}

/// A flip as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Flip<'r> {
    kind: Kind,
    decision_id: &'r str,
    time: String,
    principal: &'r str,
    action: &'r str,
    resource: &'r str,
    recorded: serde_json::Value,
    replayed: serde_json::Value,
}

impl<'r> Flip<'r> {
    fn of(recorded: &'r Recorded<'_>, answer: &Answer, kind: Kind) -> Self {
        let before = Answer {
            is_allowed: recorded.is_allowed,
            reason: recorded.reason,
            determining: Vec::new(),
            revision: recorded.revision.to_owned(),
            request_id: recorded.question.request_id.to_owned(),
            decision_id: String::new(),
        };
        let value = |answer| serde_json::from_str(&json::answer(answer)).unwrap_or_default();
        let mut recorded_answer: serde_json::Value = value(&before);
        if let Some(members) = recorded_answer.as_object_mut() {
            members.remove("determiningStatements"); // the record has them
        }
        Self {
            kind,
            decision_id: recorded.decision_id,
            time: recorded.at.to_string(),
            principal: recorded.question.principal,
            action: recorded.question.action,
            resource: recorded.question.resource,
            recorded: recorded_answer,
            replayed: value(answer),
        }
    }
}

fn write_text(
    recorded: &Recorded<'_>,
    answer: &Answer,
    kind: Kind,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let question = &recorded.question;
    writeln!(
        out,
        "{}: {} {} {}",
        kind.in_words(),
        Escaped(question.principal),
        Escaped(question.action),
        Escaped(question.resource)
    )?;
    let label = |reason: Option<Reason>| reason.map_or("UNSPECIFIED", Reason::label);
    let (before, after) = (recorded.reason, answer.reason);
    writeln!(out, "  was: {} ({})", in_words(before), label(before))?;
    writeln!(out, "  now: {} ({})", in_words(after), label(after))?;
    for statement in &answer.determining {
        writeln!(out, "    {statement} in {}", Escaped(&statement.file))?;
    }
    let (id, time) = (Escaped(recorded.decision_id), recorded.at);
    writeln!(out, "  record {id} of {time}")?;
    Ok(())
}

impl Summary {
    fn write(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let Self {
            revision,
            asked,
            deny_to_allow,
            allow_to_deny,
            reason,
            ..
        } = self;
        writeln!(
            out,
            "{asked} questions asked again of revision {revision}: {deny_to_allow} deny -> allow, {allow_to_deny} allow -> \
             deny, {reason} with another reason only"
        )?;
        let left_out = [
            (
                self.masked,
                "cannot be asked again, because facts are masked",
            ),
            (self.unanswered, "have no answer"),
            (self.unreadable, "lines are no records"),
            (self.missing, "decisions have no record"),
        ];
        for (number, what) in left_out.iter().filter(|(number, _)| *number > 0) {
            writeln!(out, "{number} {what}")?;
        }
        Ok(())
    }

    fn status(&self) -> Status {
        if self.deny_to_allow > 0 {
            Status::No
        } else if self.unanswered > 0 || self.unreadable > 0 {
            Status::Refused
        } else {
            Status::Fine
        }
    }
}
