//! `iamd authorize`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::answerer::Answerer;
use super::ask::{self, Ask};
use super::lines::{Line, Lines};
use super::tls::Tls;
use super::{Common, Output, Status, load, report};
use crate::authorizer::Authorizer;
use crate::config::MAX_MESSAGE_BYTES;
use crate::service::client::Client;
use crate::service::json::{self, Message, NoAnswer};

/// Ask whether a principal may do an action on a resource
///
/// Exits with 0 for an allow and with 1 for a deny. With `--requests` the exit status only says whether every line was
/// answered (0) or not (2).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    ask: Ask,
    /// Answer JSON Lines of AuthorizeRequest from a file or from stdin (`-`), with one line of output for each, in order
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ask::OPTIONS)]
    requests: Option<PathBuf>,
    /// Ask this running server instead of reading a store: `127.0.0.1:50051`, `unix:/path`, `https://host:50051`
    #[arg(long, value_name = "ADDR", conflicts_with = "store")]
    server: Option<String>,
    #[command(flatten)]
    tls: Tls,
}

pub(super) fn run(args: Args, common: &Common, out: &mut impl Write) -> anyhow::Result<Status> {
    if let Some(path) = &args.requests {
        let input = open(path)?;
        let Some(answerer) = answerer(args.server.as_deref(), &args.tls, common)? else {
            return Ok(Status::Refused);
        };
        return answer_lines(input, out, |line| authorize_line(&answerer, line));
    }
    args.ask.with(|question| {
        let Some(answerer) = answerer(args.server.as_deref(), &args.tls, common)? else {
            return Ok(Status::Refused);
        };
        let (answer, hints) = match answerer.authorize_with_hints(question) {
            Ok(answered) => answered,
            Err(no_answer) => bail!("{no_answer}"),
        };
        for hint in hints {
            report(format_args!("warning: {hint}"));
        }
        match common.output {
            Output::Text => writeln!(out, "{answer}")?,
            Output::Json => writeln!(out, "{}", json::answer(&answer))?,
        }
        Ok(Status::of_decision(answer.is_allowed))
    })
}

fn authorize_line(answerer: &Answerer, line: &str) -> Result<String, NoAnswer> {
    let message = parse_line(line)?;
    let question = message.question();
    let question = question.map_err(|refusal| NoAnswer::refused(message.request_id(), refusal))?;
    answerer
        .authorize(&question)
        .map(|answer| json::answer(&answer))
}

/// Parses a line as JSON of any kind.
pub(super) fn parse_line(line: &str) -> Result<Message<'_>, NoAnswer> {
    Message::parse(line, "").map_err(|refusal| NoAnswer::refused("", refusal))
}

/// Returns the server, if one is named, or else the store; `None` if the store does not load, which has been reported.
pub(super) fn answerer(
    server: Option<&str>,
    tls: &Tls,
    common: &Common,
) -> anyhow::Result<Option<Answerer>> {
    if let Some(address) = server {
        return Ok(Some(Answerer::Server(Client::connect(
            address,
            tls.read()?.as_ref(),
        )?)));
    }
    let snapshot = load(&common.store());
    Ok(snapshot.map(|snapshot| Answerer::Store(Box::new(Authorizer::of(snapshot)))))
}

pub(super) fn open(path: &Path) -> anyhow::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(Box::new(file))
}

/// Writes one line for each non-blank line of `input`, in order. If a line has no answer, its line of output says why,
/// and the next line is read.
pub(super) fn answer_lines(
    input: impl Read,
    out: &mut impl Write,
    answer: impl Fn(&str) -> Result<String, NoAnswer>,
) -> anyhow::Result<Status> {
    let mut lines = Lines::new(input, MAX_MESSAGE_BYTES);
    let (mut n_lines, mut n_unanswered) = (0u64, 0u64);
    while let Some(line) = lines.next(|| out.flush())? {
        let answered = match line {
            Line::TooLong => Err(NoAnswer::line_too_long(MAX_MESSAGE_BYTES)),
            Line::Whole(bytes) if bytes.trim_ascii().is_empty() => continue,
            Line::Whole(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => answer(text),
                Err(_) => Err(NoAnswer::not_utf8()),
            },
        };
        n_lines += 1;
        match answered {
            Ok(json) => writeln!(out, "{json}")?,
            Err(no_answer) => {
                n_unanswered += 1;
                writeln!(out, "{}", no_answer.to_json())?;
            }
        }
    }
    out.flush()?;
    if n_unanswered > 0 {
        report(format_args!(
            "error: {n_unanswered} of {n_lines} lines have no answer"
        ));
        return Ok(Status::Refused);
    }
    Ok(Status::Fine)
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test may fail by panicking"
    )]

    use clap::Parser;

    use super::*;
    use crate::compile::compile;
    use crate::compile::snapshot::Revision;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
        #[arg(long)]
        store: Option<PathBuf>,
    }

    fn args(words: &str) -> Result<Args, clap::Error> {
        Cli::try_parse_from(std::iter::once("authorize").chain(words.split(' ')))
            .map(|cli| cli.args)
    }

    /// Returns an answerer with an empty store.
    fn nothing_allowed() -> Answerer {
        let snapshot = compile(&Default::default(), Revision::new("0123"));
        Answerer::Store(Box::new(Authorizer::of(snapshot)))
    }

    fn answers(input: &[u8]) -> (Vec<serde_json::Value>, Status) {
        let mut out = Vec::new();
        let answerer = nothing_allowed();
        let status = answer_lines(input, &mut out, |line| authorize_line(&answerer, line)).unwrap();
        let lines = std::str::from_utf8(&out).unwrap().lines();
        (
            lines
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
            status,
        )
    }

    const GOOD: &str =
        r#"{"principal":"arn:aws:iam::1:user/a","action":"a:b","resource":"*","requestId":"ID"}"#;

    #[test]
    fn every_line_that_is_not_blank_gets_one_in_the_same_order() {
        let good = |id: &str| GOOD.replace("ID", id);
        let input = format!("{}\n\n \t\r\n{}\r\n{}", good("1"), good("2"), good("3"));
        let (lines, status) = answers(input.as_bytes());
        let ids: Vec<_> = lines
            .iter()
            .map(|line| line["requestId"].as_str().unwrap())
            .collect();
        assert_eq!(ids, ["1", "2", "3"]);
        assert!(
            lines.iter().all(|line| line["decision"] == "DECISION_DENY"),
            "{lines:?}"
        );
        assert_eq!(status, Status::Fine, "answers never count");
    }

    #[test]
    fn a_line_without_an_answer_says_why_and_the_next_is_answered() {
        let mut input = GOOD.replace("a:b", "*").into_bytes();
        input.extend_from_slice(b"\n\xff\n");
        input.extend(std::iter::repeat_n(b' ', MAX_MESSAGE_BYTES + 1));
        input.push(b'\n');
        input.extend_from_slice(GOOD.as_bytes());
        let (lines, status) = answers(&input);
        let codes: Vec<_> = lines
            .iter()
            .map(|line| line["error"]["code"].as_str().unwrap_or(""))
            .collect();
        assert_eq!(
            codes,
            ["INVALID_ARGUMENT", "INVALID_ARGUMENT", "OUT_OF_RANGE", ""]
        );
        assert_eq!(lines.first().unwrap()["requestId"], "ID");
        assert_eq!(lines.first().unwrap()["error"]["field"], "action");
        assert_eq!(status, Status::Refused);
    }

    #[test]
    fn a_question_is_put_together_from_the_flags() {
        let flags = "--principal p --action a --resource r --context aws:SourceIp=1=2 --context app:n:=50 \
                     --session {\"tags\":{\"k\":\"v\"}} --resource-account 1 --request-id 7";
        let json = r#"{"principal":"p","action":"a","resource":"r","context":{"aws:SourceIp":"1=2","app:n":50},
            "session":{"tags":{"k":"v"}},"resourceAccount":"1","requestId":"7"}"#;
        let message = Message::parse(json, "").unwrap();
        let asked = args(flags).unwrap().ask.with(|question| {
            assert_eq!(*question, message.question()?);
            Ok(())
        });
        asked.unwrap();
        for bad in [
            "--context x",
            "--context app:n:=x",
            "--session {",
            "--session /no/such/file",
        ] {
            let flags = format!("--principal p --action a --resource r {bad}");
            let asked = args(&flags).unwrap().ask.with(|_| Ok(()));
            assert!(asked.is_err(), "{bad}");
        }
    }

    #[test]
    fn flags_that_exclude_each_other_are_a_usage_error() {
        for bad in [
            "--principal p --action a",
            "--requests - --principal p",
            "--requests - --context a=b",
            "--requests - --server x --store y",
        ] {
            assert!(args(bad).is_err(), "{bad}");
        }
        assert!(args("--requests -").is_ok());
    }
}
