//! Records as logs of OTLP. The body of a log is the line that a file would have.
//!
//! The thread of the queue waits for the receiver, and nobody else does. What was sent without an answer is sent again,
//! so a record may come twice, with the same number.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use serde::Deserialize;

use super::sink::{Failed, Sink};
use crate::telemetry::{ExportedRecord, RecordExporter, TraceId};

/// The most records of one message.
const MAX_RECORDS: usize = 512;
/// The most bytes of the records of one message, unless one record alone has more. Many proxies take
/// 1 MiB by default, and a message is longer than its records.
const MAX_BYTES: usize = 512 * 1024;
/// How long nothing is sent after a message that was not taken.
const PAUSE: Duration = Duration::from_secs(1);

/// Sends lines of records to a receiver of OTLP.
pub(super) struct OtlpSink {
    exporter: RecordExporter,
    /// The most records of the next message. A receiver that takes no long messages would take none of the same one, so each failure
    /// halves it, and each success doubles it again.
    most_records: usize,
    /// The last failure, and when it was.
    failed: Option<(Instant, String)>,
}

impl OtlpSink {
    pub(super) fn new(exporter: RecordExporter) -> Self {
        Self {
            exporter,
            most_records: MAX_RECORDS,
            failed: None,
        }
    }

    fn send(&mut self, lines: &str) -> Result<(), String> {
        if let Some((at, error)) = &self.failed
            && at.elapsed() < PAUSE
        {
            return Err(error.clone());
        }
        let records: Vec<_> = lines.lines().map(record).collect();
        let sent = self.exporter.export(&records);
        let sent = sent.map_err(|error| format!("{error:#}"));
        self.most_records = next_most(self.most_records, sent.is_ok());
        self.failed = sent.clone().err().map(|error| (Instant::now(), error));
        sent
    }
}

impl Sink for OtlpSink {
    fn name(&self) -> String {
        format!("`{}` by OTLP", self.exporter.endpoint())
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), Failed> {
        let mut n_written = 0;
        while let Some(rest) = lines.get(n_written..).filter(|rest| !rest.is_empty()) {
            let part = first_message(rest, self.most_records);
            let text = std::str::from_utf8(part).unwrap_or_default(); // records are JSON, which is UTF-8
            self.send(text).map_err(|error| Failed {
                n_written,
                error: io::Error::other(error),
            })?;
            n_written += part.len();
        }
        Ok(())
    }
}

/// Returns how many records the message after one of `most` may have.
fn next_most(most: usize, is_taken: bool) -> usize {
    let next = if is_taken {
        most.saturating_mul(2)
    } else {
        most / 2
    };
    next.clamp(1, MAX_RECORDS)
}

/// Returns the first of `lines` that go into one message: one line at least, and `most` at most.
fn first_message(lines: &[u8], most: usize) -> &[u8] {
    let mut end = 0;
    for n_bytes in memchr::memchr_iter(b'\n', lines).take(most) {
        if end > 0 && n_bytes >= MAX_BYTES {
            break;
        }
        end = n_bytes + 1;
    }
    lines.get(..end).filter(|_| end > 0).unwrap_or(lines)
}

/// The members of a record by which receivers filter.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Members<'l> {
    #[serde(rename = "type", borrow)]
    record_type: &'l str,
    time: &'l str,
    trace_id: &'l str,
    decision_id: &'l str,
    decision: &'l str,
    reason: &'l str,
}

/// Returns the record in a line.
fn record(line: &str) -> ExportedRecord<'_> {
    let members: Members<'_> = serde_json::from_str(line).unwrap_or_default(); // it is one of ours
    let event = match members.record_type {
        "start" => "iamd.decision_log.start",
        "lost" => "iamd.decision_log.lost",
        "end" => "iamd.decision_log.end",
        _ => "iamd.decision",
    };
    let without = |value: &str, beginning| {
        let own = value.strip_prefix(beginning).unwrap_or(value);
        own.to_ascii_lowercase()
    };
    let at: Option<Timestamp> = members.time.parse().ok();
    let at = at.and_then(|at| SystemTime::try_from(at).ok());
    let attributes = match members.decision_id {
        "" => Vec::new(),
        id => vec![
            ("iamd.decision.id", id.to_owned()),
            ("iamd.decision", without(members.decision, "DECISION_")),
            ("iamd.reason", without(members.reason, "REASON_")),
        ],
    };
    ExportedRecord {
        event,
        at: at.unwrap_or_else(SystemTime::now),
        trace_id: TraceId::from_hex(members.trace_id).unwrap_or(TraceId::INVALID),
        body: line,
        attributes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_whole_lines_within_both_bounds() {
        let short = b"{}\n".repeat(MAX_RECORDS + 1);
        assert_eq!(first_message(&short, MAX_RECORDS).len(), 3 * MAX_RECORDS);
        let long = [vec![b'x'; MAX_BYTES / 2 - 1], vec![b'\n']].concat();
        assert_eq!(first_message(&long.repeat(3), MAX_RECORDS).len(), MAX_BYTES);
        // One line goes whole, however long it is.
        let longest = [vec![b'x'; 2 * MAX_BYTES], vec![b'\n']].concat();
        assert_eq!(
            first_message(&longest.repeat(2), MAX_RECORDS).len(),
            longest.len()
        );
    }

    #[test]
    fn messages_get_shorter_until_the_receiver_takes_them() {
        let refused = |most, _| next_most(most, false);
        assert_eq!((0..3).fold(MAX_RECORDS, refused), MAX_RECORDS / 8);
        assert_eq!((0..99).fold(MAX_RECORDS, refused), 1);
        assert_eq!(next_most(1, true), 2);
        assert_eq!(next_most(MAX_RECORDS, true), MAX_RECORDS);
        assert_eq!(first_message(b"{}\n{}\n{}\n", 2).len(), 6);
    }

    #[test]
    fn a_record_is_found_by_its_members() {
        let line = r#"{"version":1,"type":"decision","sequence":7,"decisionId":"ab-7","time":"2026-11-29T11:45:12.5Z","traceId":"4bf92f3577b34da6a3ce929d0e0e4736","principal":"a\"b","decision":"DECISION_DENY","reason":"REASON_EXPLICIT_DENY_IDENTITY"}"#;
        let found = record(line);
        assert_eq!((found.event, found.body), ("iamd.decision", line));
        assert_eq!(
            found.trace_id.to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        let expected = [
            ("iamd.decision.id", "ab-7"),
            ("iamd.decision", "deny"),
            ("iamd.reason", "explicit_deny_identity"),
        ];
        assert_eq!(
            found.attributes,
            expected.map(|(name, value)| (name, value.to_owned()))
        );
        let since_epoch = found.at.duration_since(SystemTime::UNIX_EPOCH);
        assert!(since_epoch.is_ok_and(|time| time.subsec_millis() == 500));
        let lost = record(r#"{"version":1,"type":"lost","time":"2026-11-29T11:45:12Z","count":3}"#);
        assert_eq!(
            (lost.event, lost.trace_id),
            ("iamd.decision_log.lost", TraceId::INVALID)
        );
        assert_eq!(lost.attributes, []);
    }
}
