//! An explanation for people: the answer first, then what each type of policy says and by which statements, then what
//! is missing and what would have to change.
//!
//! Statements that speak of other actions are only counted: a store has many, and they say nothing about the question.
//! The JSON form has
//! those that the explanation lists.

use std::fmt::Write as _;

use super::pb;
use crate::authorizer::in_words;
use crate::engine::decision::Reason;

/// Whether a text may hold escape sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// For a terminal.
    Terminal,
    /// Nothing but the text.
    Plain,
}

/// What a piece of text says, which its colour says again.
#[derive(Clone, Copy)]
enum Tone {
    Allow,
    Deny,
    Quiet,
    Strong,
}

impl Colour {
    fn paint(self, tone: Tone, text: &str) -> String {
        let code = match (self, tone) {
            (Self::Plain, _) => return text.to_owned(),
            (Self::Terminal, Tone::Allow) => "32",
            (Self::Terminal, Tone::Deny) => "31",
            (Self::Terminal, Tone::Quiet) => "2",
            (Self::Terminal, Tone::Strong) => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

pub(super) fn text(response: &pb::ExplainResponse, colour: Colour) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = headline(&mut out, response, colour);
    let _ = layers(&mut out, response, colour);
    let _ = notes(&mut out, response, colour);
    out.truncate(out.trim_end().len());
    out
}

fn headline(out: &mut String, response: &pb::ExplainResponse, colour: Colour) -> std::fmt::Result {
    let is_allowed = response.decision() == pb::Decision::Allow;
    let (tone, decision) = if is_allowed {
        (Tone::Allow, "allow")
    } else {
        (Tone::Deny, "deny")
    };
    let reason = Reason::from_number(response.reason);
    let label = reason.map_or("UNSPECIFIED", Reason::label);
    writeln!(
        out,
        "{}: {} ({label})",
        colour.paint(tone, decision),
        in_words(reason)
    )?;
    for source in &response.deciding {
        writeln!(out, "  decided by {}", named(source, colour))?;
    }
    if let Some(sides) = &response.cross_account {
        let owner = match sides.resource_account.as_str() {
            "" => "an unknown account",
            account => account,
        };
        writeln!(
            out,
            "  across accounts: the principal's, {}, says {}; the resource's, {owner}, says {}",
            printable(&sides.principal_account),
            sides.principal_side,
            sides.resource_side
        )?;
    }
    writeln!(out, "  revision {}", response.revision)
}

fn layers(out: &mut String, response: &pb::ExplainResponse, colour: Colour) -> std::fmt::Result {
    let in_play = |of_type: &&pb::TypeResult| of_type.result != "notApplicable";
    for of_type in response.per_type.iter().filter(in_play) {
        let what = match of_type.r#type.as_str() {
            "identity" => "identity policies",
            "resource" => "resource policies",
            "boundary" => "permissions boundary",
            "session" => "session policies",
            "scp" => "service control policies",
            "rcp" => "resource control policies",
            other => other,
        };
        let strength = match of_type.strength.as_str() {
            "" => String::new(),
            strength => format!(", {strength}"),
        };
        let blocks = if response.blocked_by.contains(&of_type.r#type) {
            colour.paint(Tone::Deny, " (this blocks)")
        } else {
            String::new()
        };
        writeln!(
            out,
            "\n{}: {}{strength}{blocks}",
            colour.paint(Tone::Strong, what),
            painted(&of_type.result, colour)
        )?;
        for level in &of_type.levels {
            let result = painted(&level.result, colour);
            writeln!(out, "  level {}: {result}", printable(&level.node))?;
        }
        let mut n_other = 0u32;
        for statement in of_layer(response, &of_type.r#type) {
            if statement.outcome == "other-action" {
                n_other += 1;
                continue;
            }
            // The levels above have said what the built-in policy says.
            let is_built_in = statement
                .source
                .as_ref()
                .is_some_and(|source| source.source_type == "scp" && source.file.is_empty());
            if is_built_in {
                continue;
            }
            self::statement(out, statement, colour)?;
        }
        if n_other > 0 {
            let what = if n_other == 1 {
                "statement speaks"
            } else {
                "statements speak"
            };
            let line = format!("  {n_other} {what} of other actions");
            writeln!(out, "{}", colour.paint(Tone::Quiet, &line))?;
        }
    }
    Ok(())
}

fn of_layer<'r>(
    response: &'r pb::ExplainResponse,
    layer: &'r str,
) -> impl Iterator<Item = &'r pb::StatementResult> {
    let layer_of = move |statement: &&pb::StatementResult| {
        let policy_type = statement.source.as_ref().map(|source| source.r#type());
        let of = match policy_type {
            Some(pb::PolicyType::Identity) => "identity",
            Some(pb::PolicyType::Resource | pb::PolicyType::Trust) => "resource",
            Some(pb::PolicyType::PermissionsBoundary) => "boundary",
            Some(pb::PolicyType::Session) => "session",
            Some(pb::PolicyType::ServiceControl) => "scp",
            Some(pb::PolicyType::ResourceControl) => "rcp",
            Some(pb::PolicyType::Unspecified) | None => "",
        };
        of == layer
    };
    response.statements.iter().filter(layer_of)
}

fn statement(
    out: &mut String,
    statement: &pb::StatementResult,
    colour: Colour,
) -> std::fmt::Result {
    let Some(source) = &statement.source else {
        return Ok(());
    };
    let outcome = match statement.outcome.as_str() {
        "applies" if !statement.counts => "applies, but cannot grant here".to_owned(),
        "applies" if statement.principal.is_some() => format!("applies, {}", statement.strength),
        "applies" => "applies".to_owned(),
        "other-principal" => "does not apply: another principal".to_owned(),
        "other-resource" => "does not apply: another resource".to_owned(),
        "condition-fails" => "does not apply: a condition does not hold".to_owned(),
        other => other.to_owned(),
    };
    let tone = match (statement.outcome.as_str(), source.effect.as_str()) {
        ("applies", "Allow") => Tone::Allow,
        ("applies", _) => Tone::Deny,
        _ => Tone::Quiet,
    };
    writeln!(
        out,
        "  {} {}: {}",
        source.effect,
        named(source, colour),
        colour.paint(tone, &outcome)
    )?;
    if !source.attached_to.is_empty() {
        let of = printable(&source.attached_to);
        let line = format!("    {} of {of}", source.source_type);
        writeln!(out, "{}", colour.paint(Tone::Quiet, &line))?;
    }
    for element in [&statement.principal, &statement.resource]
        .into_iter()
        .flatten()
    {
        let is_told = !element.matches
            || element.matched_because_missing
            || element
                .policy_values
                .iter()
                .any(|value| value.resolved.is_some());
        if is_told {
            let holds = if element.matches { "true" } else { "false" };
            let line = format!(
                "{} {}; asked: {}",
                element.element,
                policy_values(&element.policy_values),
                quoted(&element.request_value),
            );
            writeln!(out, "    {} {line}", mark(holds, colour))?;
        }
    }
    for condition in &statement.conditions {
        let request = match condition.request_values.as_slice() {
            [] => "absent".to_owned(),
            values => {
                let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
                values.join(", ")
            }
        };
        let because = match (
            condition.matched_because_missing,
            condition.failed_because_missing,
            condition.indeterminate.as_str(),
        ) {
            (true, _, _) => ", holds because a value is missing".to_owned(),
            (_, true, _) => ", fails because a value is missing".to_owned(),
            (_, _, "") => String::new(),
            (_, _, cause) => format!(", indeterminate: {cause}"),
        };
        writeln!(
            out,
            "    {} {} {} {}; request: {request}{because}",
            mark(&condition.result, colour),
            quoted(&condition.key),
            condition.operator,
            policy_values(&condition.policy_values)
        )?;
    }
    Ok(())
}

fn notes(out: &mut String, response: &pb::ExplainResponse, colour: Colour) -> std::fmt::Result {
    let mut list = |title: &str, lines: Vec<String>| -> std::fmt::Result {
        if !lines.is_empty() {
            writeln!(out, "\n{}:", colour.paint(Tone::Strong, title))?;
        }
        lines.iter().try_for_each(|line| writeln!(out, "  {line}"))
    };
    let missing = response.missing_context.iter();
    list(
        "keys that were asked for and are absent",
        missing
            .map(|key| printable(spelled(response, key)))
            .collect(),
    )?;
    let indeterminate = response.indeterminate.iter();
    list(
        "keys that are not clear",
        indeterminate
            .map(|key| format!("{}: {}", printable(&key.key), key.cause))
            .collect(),
    )?;
    let to_allow = response.to_allow.iter();
    list(
        "for an allow",
        to_allow.map(|line| printable(line)).collect(),
    )?;
    if response.statements_left_out > 0 {
        let n = response.statements_left_out;
        writeln!(
            out,
            "\n{n} more statements were considered and are left out"
        )?;
    }
    Ok(())
}

/// `statement 0 `Sid` of policy (file:line:column)`.
fn named(source: &pb::StatementSource, colour: Colour) -> String {
    let sid = match source.sid.as_str() {
        "" => String::new(),
        sid => format!(" {}", quoted(sid)),
    };
    let (line, column) = source
        .start
        .map_or((0, 0), |start| (start.line, start.column));
    let place = match source.file.as_str() {
        "" => String::new(),
        file => format!(" ({}:{line}:{column})", printable(file)),
    };
    let policy = printable(&source.policy);
    let place = colour.paint(Tone::Quiet, &place);
    format!("statement {}{sid} of {policy}{place}", source.index)
}

/// The key as a policy spells it, if one of those shown does.
fn spelled<'r>(response: &'r pb::ExplainResponse, key: &'r str) -> &'r str {
    let is_it = |spelled: &&str| spelled.eq_ignore_ascii_case(key);
    let statements = || response.statements.iter();
    let conditions = || statements().flat_map(|statement| &statement.conditions);
    let resources = || statements().filter_map(|statement| statement.resource.as_ref());
    let mut keys = conditions().map(|condition| condition.key.as_str());
    let values = conditions().flat_map(|condition| &condition.policy_values);
    let values = values.chain(resources().flat_map(|resource| &resource.policy_values));
    let mut variables = values.flat_map(|value| variables_in(&value.written));
    keys.find(is_it)
        .or_else(|| variables.find(is_it))
        .unwrap_or(key)
}

/// The keys of the variables in a text as it stands in a policy.
fn variables_in(written: &str) -> impl Iterator<Item = &str> {
    let behind = written.split("${").skip(1);
    behind.filter_map(|behind| behind.split([',', '}']).next())
}

fn policy_values(values: &[pb::PolicyValue]) -> String {
    let one = |value: &pb::PolicyValue| match (&value.resolved, value.missing.as_slice()) {
        (_, missing @ [_, ..]) => {
            format!(
                "{} (no value: {})",
                quoted(&value.written),
                printable(&missing.join(", "))
            )
        }
        (Some(resolved), []) => format!("{} = {}", quoted(&value.written), quoted(resolved)),
        (None, []) => quoted(&value.written),
    };
    let values: Vec<String> = values.iter().map(one).collect();
    values.join(", ")
}

fn mark(result: &str, colour: Colour) -> String {
    match result {
        "true" => colour.paint(Tone::Allow, "✓"),
        "false" => colour.paint(Tone::Deny, "✗"),
        _ => colour.paint(Tone::Strong, "?"),
    }
}

fn painted(result: &str, colour: Colour) -> String {
    match result {
        "allowed" => colour.paint(Tone::Allow, result),
        "notApplicable" => colour.paint(Tone::Quiet, "not in play"),
        _ => colour.paint(Tone::Deny, result),
    }
}

fn quoted(text: &str) -> String {
    format!("`{}`", printable(text))
}

/// What stands in a policy or a request is others' text: it must not steer the terminal or begin a line.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let is_break = matches!(character, '\u{2028}' | '\u{2029}');
        if character.is_control() || is_break {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}
