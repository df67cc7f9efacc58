//! Reads lines of a decision log.

use jiff::Timestamp;

use super::{Message, map_of, object, session_of, text_of, time_of, value_of};
use crate::authorizer::{Question, Refusal};
use crate::decision_log::VERSION;
use crate::engine::decision::Reason;
use crate::language::json::{self, Node};

/// One line of a decision log.
#[derive(Debug)]
pub enum Record<'m> {
    /// A decision.
    Decision(Box<Recorded<'m>>),
    /// A server has started, or has lost records, or has ended.
    Mark(Mark<'m>),
}

/// A line that is about the numbers of decisions: those between the last decision of its instance and `next` have no
/// record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark<'m> {
    /// The run of the server.
    pub instance: &'m str,
    /// The number that the next decision has.
    pub next: u64,
    /// How many decisions the line says are lost.
    pub n_lost: u64,
    /// Whether the run begins here.
    pub is_start: bool,
}

/// A decision as it was recorded.
#[derive(Debug)]
pub struct Recorded<'m> {
    /// Its id.
    pub decision_id: &'m str,
    /// The run of the server.
    pub instance: &'m str,
    /// Its number within the instance.
    pub sequence: u64,
    /// When it was made.
    pub at: Timestamp,
    /// The question, with the context that policies could read.
    pub question: Question<'m>,
    /// Whether it was an allow.
    pub is_allowed: bool,
    /// Its reason; `None` for one that this version does not know.
    pub reason: Option<Reason>,
    /// The revision of the store that decided.
    pub revision: &'m str,
    /// The members of the question that were masked. With any, the question cannot be asked again.
    pub masked: Vec<&'m str>,
}

impl Message<'_> {
    /// Reads it as a line of a decision log. Members that this version does not know are ignored.
    pub fn record(&self) -> Result<Record<'_>, Refusal> {
        let node = &self.0;
        object(node, "")?;
        let version = number(node, "version")?;
        if version != u64::from(VERSION) {
            let message = format!("is {version}, and this iamd reads {VERSION}");
            return Err(Refusal::malformed("version", message));
        }
        let instance = text(node, "instance")?;
        let mark = |next, n_lost, is_start| {
            Ok(Record::Mark(Mark {
                instance,
                next,
                n_lost,
                is_start,
            }))
        };
        match text(node, "type")? {
            "decision" => Ok(Record::Decision(Box::new(recorded(node, instance)?))),
            "start" => mark(number(node, "nextSequence")?, 0, true),
            "end" => mark(number(node, "lastSequence")?.saturating_add(1), 0, false),
            "lost" => mark(
                number(node, "lastSequence")?.saturating_add(1),
                number(node, "count")?,
                false,
            ),
            other => {
                let message = format!("`{other}` is no type of record that this iamd knows");
                Err(Refusal::malformed("type", message))
            }
        }
    }
}

fn recorded<'n>(node: &'n Node<'_>, instance: &'n str) -> Result<Recorded<'n>, Refusal> {
    let at = time_of(Some(required(node, "time")?), "time")?;
    let masked = match member(node, "masked").map(|masked| &masked.value) {
        None => Vec::new(),
        Some(json::Value::Array(names)) => {
            let names = names.iter().map(|name| text_of(Some(name), "masked"));
            names.collect::<Result<_, _>>()?
        }
        Some(_) => return Err(Refusal::malformed("masked", "must be a list")),
    };
    let decision = text(node, "decision")?;
    let is_allowed = match decision {
        "DECISION_ALLOW" => Ok(true),
        "DECISION_DENY" => Ok(false),
        _ => {
            let message = format!("`{decision}` is no decision");
            Err(Refusal::malformed("decision", message))
        }
    };
    let label = text(node, "reason")?.strip_prefix("REASON_");
    let reason = Reason::ALL.iter().find(|(_, own)| Some(*own) == label);
    Ok(Recorded {
        decision_id: text(node, "decisionId")?,
        instance,
        sequence: number(node, "sequence")?,
        at: at.ok_or_else(|| Refusal::malformed("time", "is missing"))?,
        question: Question {
            principal: optional(node, "principal")?,
            action: text(node, "action")?,
            resource: optional(node, "resource")?,
            context: map_of(member(node, "context"), "context", value_of)?,
            session: member(node, "session").map(session_of).transpose()?,
            resource_account: optional(node, "resourceAccount")?,
            request_id: optional(node, "requestId")?,
        },
        is_allowed: is_allowed?,
        reason: reason.map(|(reason, _)| *reason),
        revision: text(node, "revision")?,
        // Nothing that a question is decided by follows from its id.
        masked: masked
            .into_iter()
            .filter(|name| *name != "requestId")
            .collect(),
    })
}

fn member<'n, 't>(node: &'n Node<'t>, name: &str) -> Option<&'n Node<'t>> {
    node.member(name).map(|member| &member.value)
}

fn required<'n, 't>(node: &'n Node<'t>, name: &str) -> Result<&'n Node<'t>, Refusal> {
    member(node, name).ok_or_else(|| Refusal::malformed(name, "is missing"))
}

fn text<'n>(node: &'n Node<'_>, name: &str) -> Result<&'n str, Refusal> {
    text_of(Some(required(node, name)?), name)
}

fn optional<'n>(node: &'n Node<'_>, name: &str) -> Result<&'n str, Refusal> {
    text_of(member(node, name), name)
}

fn number(node: &Node<'_>, name: &str) -> Result<u64, Refusal> {
    match &required(node, name)?.value {
        json::Value::Number(number) => number.parse().ok(),
        _ => None,
    }
    .ok_or_else(|| Refusal::malformed(name, "must be a whole number"))
}
