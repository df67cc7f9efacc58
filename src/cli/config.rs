//! `iamd config`.

use std::io::Write;

use serde::Serialize;

use super::settings::Settings;
use super::{Common, Output, Status, report};
use crate::config::{Resolved, SETTINGS, Setting};
use crate::language::finding::Escaped;

/// Print every setting that `iamd serve` would have with these options, and where it comes from
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    settings: Settings,
}

/// One setting. A setting that takes several values has a list.
#[derive(Serialize)]
struct Row<'r> {
    key: &'static str,
    value: Value<'r>,
    source: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Value<'r> {
    One(&'r str),
    Many(&'r [String]),
}

impl<'r> Row<'r> {
    fn of(setting: &Setting, resolved: &'r Resolved) -> Self {
        let texts = resolved.texts.get(setting.key);
        let texts = texts.map(Vec::as_slice).unwrap_or_default();
        let source = resolved.sources.get(setting.key);
        Self {
            key: setting.key,
            value: match texts {
                [one] if !setting.is_list() => Value::One(one),
                many => Value::Many(many),
            },
            source: source.map(ToString::to_string).unwrap_or_default(),
        }
    }
}

pub(super) fn run(args: Args, common: &Common, out: &mut impl Write) -> anyhow::Result<Status> {
    let resolved = args.settings.resolve(common)?;
    for warning in &resolved.warnings {
        report(format_args!("warning: {warning}"));
    }
    let rows = SETTINGS.iter().map(|setting| Row::of(setting, &resolved));
    let rows: Vec<Row<'_>> = rows.collect();
    if common.output == Output::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(Status::Fine);
    }
    let cells = rows.iter().map(|row| {
        let value = match row.value {
            Value::One(text) => text.to_owned(),
            Value::Many(texts) => texts.join(","),
        };
        (row.key, Escaped(&value).to_string(), &row.source)
    });
    let cells: Vec<_> = cells.collect();
    let width = |of: &dyn Fn(&(&str, String, &String)) -> usize| cells.iter().map(of).max();
    let key_width = width(&|(key, ..)| key.len()).unwrap_or_default();
    let value_width = width(&|(_, value, _)| value.chars().count()).unwrap_or_default();
    for (key, value, source) in &cells {
        let source = Escaped(source);
        writeln!(out, "{key:key_width$}  {value:value_width$}  {source}")?;
    }
    Ok(Status::Fine)
}
