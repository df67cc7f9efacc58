//! An explanation for people: the answer first, then what each type of policy says and by which statements, then what
//! is missing and what would have to change.
//!
//! Statements that speak of other actions are only counted: a store has many, and they say nothing about the question.
//! The JSON form has those that the explanation lists.

use std::fmt::Write as _;

use crate::authorizer::{Explained, in_words};
use crate::engine::decision::Reason;
use crate::engine::explain::{
    Cause, ConditionResult, ElementResult, Explanation, PolicyValue, Source, StatementResult,
};
use crate::engine::layer::Verdict;
use crate::engine::principal::Strength;
use crate::engine::trace::Outcome;
use crate::language::condition::operator::Truth;
use crate::language::document::{Effect, PolicyType};

/// Whether a text may hold escape sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// The text may hold escape sequences, for a terminal.
    Terminal,
    /// The text holds no escape sequences.
    Plain,
}

/// The meaning of a piece of text. Its color says again what the words say.
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

/// Returns an explanation as text of several lines.
pub fn text(explained: &Explained, colour: Colour) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = headline(&mut out, explained, colour);
    let _ = layers(&mut out, &explained.explanation, colour);
    let _ = notes(&mut out, &explained.explanation, colour);
    out.truncate(out.trim_end().len());
    out
}

fn headline(out: &mut String, explained: &Explained, colour: Colour) -> std::fmt::Result {
    let Explained {
        answer,
        explanation,
        ..
    } = explained;
    let (tone, decision) = if answer.is_allowed {
        (Tone::Allow, "allow")
    } else {
        (Tone::Deny, "deny")
    };
    let label = answer.reason.map_or("UNSPECIFIED", Reason::label);
    writeln!(
        out,
        "{}: {} ({label})",
        colour.paint(tone, decision),
        in_words(answer.reason)
    )?;
    for statement in explanation.deciding() {
        writeln!(out, "  decided by {}", named(&statement.source, colour))?;
    }
    if let Some(sides) = &explanation.cross_account {
        let owner = explanation.resource_account.as_deref();
        writeln!(
            out,
            "  across accounts: the principal's, {}, says {}; the resource's, {}, says {}",
            printable(explanation.principal_account.as_deref().unwrap_or_default()),
            sides.principal_side.as_str(),
            owner.map_or_else(|| "an unknown account".to_owned(), printable),
            sides.resource_side.as_str()
        )?;
    }
    writeln!(out, "  revision {}", answer.revision)
}

fn layers(out: &mut String, explanation: &Explanation, colour: Colour) -> std::fmt::Result {
    let all = explanation.per_type.iter();
    for of_type in all.filter(|of_type| of_type.verdict != Verdict::NotInPlay) {
        let strength = of_type.strength();
        let strength = strength.map_or_else(String::new, |it| format!(", {}", it.as_str()));
        let blocks = if explanation.blocked_by.contains(&of_type.policy_type) {
            colour.paint(Tone::Deny, " (this blocks)")
        } else {
            String::new()
        };
        writeln!(
            out,
            "\n{}: {}{strength}{blocks}",
            colour.paint(Tone::Strong, policies(of_type.policy_type)),
            painted(of_type.verdict, colour)
        )?;
        for level in &of_type.levels {
            let result = painted(level.verdict, colour);
            writeln!(out, "  level {}: {result}", printable(&level.node))?;
        }
        let mut n_other = 0u32;
        let of_layer = explanation.statements.iter();
        for statement in of_layer.filter(|one| one.source.layer() == Some(of_type.policy_type)) {
            if statement.outcome == Outcome::OtherAction {
                n_other += 1;
                continue;
            }
            // The levels above have said what the built-in policy says.
            let is_built_in = of_type.policy_type == PolicyType::ServiceControl
                && statement.source.statement.file.is_empty();
            if is_built_in {
                continue;
            }
            self::statement(out, statement, colour)?;
        }
        if n_other > 0 {
            let what = if n_other == 1 {
                "statement covers only"
            } else {
                "statements cover only"
            };
            let line = format!("  {n_other} {what} other actions");
            writeln!(out, "{}", colour.paint(Tone::Quiet, &line))?;
        }
    }
    Ok(())
}

/// Returns the words for the policies of a type.
fn policies(policy_type: PolicyType) -> &'static str {
    match policy_type {
        PolicyType::Identity => "identity policies",
        PolicyType::Resource | PolicyType::Trust => "resource policies",
        PolicyType::PermissionsBoundary => "permissions boundary",
        PolicyType::Session => "session policies",
        PolicyType::ServiceControl => "service control policies",
        PolicyType::ResourceControl => "resource control policies",
    }
}

fn statement(out: &mut String, statement: &StatementResult, colour: Colour) -> std::fmt::Result {
    let source = &statement.source;
    let strength = statement.strength.map_or("", Strength::as_str);
    let outcome = match statement.outcome {
        Outcome::Applies(_) if !statement.counts => "applies, but cannot grant here",
        Outcome::Applies(_) if statement.principal.is_some() => &format!("applies, {strength}"),
        Outcome::Applies(_) => "applies",
        Outcome::OtherAction => "does not apply: another action",
        Outcome::OtherPrincipal => "does not apply: another principal",
        Outcome::OtherResource => "does not apply: another resource",
        Outcome::ConditionFails => "does not apply: a condition does not hold",
    };
    let tone = match statement.effect {
        _ if !statement.applies() => Tone::Quiet,
        Effect::Allow => Tone::Allow,
        Effect::Deny => Tone::Deny,
    };
    writeln!(
        out,
        "  {} {}: {}",
        statement.effect.as_str(),
        named(source, colour),
        colour.paint(tone, outcome)
    )?;
    if !source.attached_to.is_empty() {
        let of = printable(&source.attached_to);
        let line = format!("    {} of {of}", source.source_type.as_str());
        writeln!(out, "{}", colour.paint(Tone::Quiet, &line))?;
    }
    let elements = [&statement.principal, &statement.resource];
    for element in elements.into_iter().flatten() {
        self::element(out, element, colour)?;
    }
    for condition in &statement.conditions {
        self::condition(out, condition, colour)?;
    }
    Ok(())
}

/// Writes an element, unless it matches and the policy itself shows why.
fn element(out: &mut String, element: &ElementResult, colour: Colour) -> std::fmt::Result {
    let mut values = element.policy_values.iter();
    let is_told = !element.matches
        || element.matched_because_missing
        || values.any(|value| value.resolved.is_some());
    if !is_told {
        return Ok(());
    }
    let matches = if element.matches {
        Truth::True
    } else {
        Truth::False
    };
    writeln!(
        out,
        "    {} {} {}; asked: {}",
        mark(matches, colour),
        element.element.as_str(),
        policy_values(&element.policy_values),
        quoted(&element.request_value),
    )
}

fn condition(out: &mut String, condition: &ConditionResult, colour: Colour) -> std::fmt::Result {
    let request = match condition.request_values.as_slice() {
        [] => "absent".to_owned(),
        values => {
            let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
            values.join(", ")
        }
    };
    let because = match condition.indeterminate {
        _ if condition.matched_because_missing => ", holds because a value is missing".to_owned(),
        _ if condition.failed_because_missing => ", fails because a value is missing".to_owned(),
        None => String::new(),
        Some(cause) => format!(", indeterminate: {}", cause.as_str()),
    };
    writeln!(
        out,
        "    {} {} {} {}; request: {request}{because}",
        mark(condition.holds, colour),
        quoted(&condition.key),
        condition.operator,
        policy_values(&condition.policy_values)
    )
}

fn notes(out: &mut String, explanation: &Explanation, colour: Colour) -> std::fmt::Result {
    let mut list = |title: &str, lines: Vec<String>| -> std::fmt::Result {
        if !lines.is_empty() {
            writeln!(out, "\n{}:", colour.paint(Tone::Strong, title))?;
        }
        lines.iter().try_for_each(|line| writeln!(out, "  {line}"))
    };
    let missing = explanation.missing_context.iter();
    list(
        "context keys that are missing",
        missing
            .map(|key| printable(spelled(explanation, key)))
            .collect(),
    )?;
    let indeterminate = explanation.indeterminate.iter();
    let unclear =
        |(key, cause): &(String, Cause)| format!("{}: {}", printable(key), cause.as_str());
    list(
        "context keys that are indeterminate",
        indeterminate.map(unclear).collect(),
    )?;
    let to_allow = explanation.to_allow.iter();
    list(
        "to get an allow",
        to_allow.map(|line| printable(line)).collect(),
    )?;
    if explanation.n_left_out > 0 {
        let n = explanation.n_left_out;
        writeln!(
            out,
            "\n{n} more statements were considered and are left out"
        )?;
    }
    Ok(())
}

/// Returns the name and the place of a statement: ``statement 0 `Sid` of policy (file:line:column)``.
fn named(source: &Source, colour: Colour) -> String {
    let statement = &source.statement;
    let sid = match statement.sid.as_str() {
        "" => String::new(),
        sid => format!(" {}", quoted(sid)),
    };
    let start = source.extent.start;
    let place = match &*statement.file {
        "" => String::new(),
        file => format!(" ({}:{}:{})", printable(file), start.line, start.column),
    };
    let policy = printable(&statement.policy);
    let place = colour.paint(Tone::Quiet, &place);
    format!("statement {}{sid} of {policy}{place}", statement.index)
}

/// Returns the key as one of the statements shown spells it, or the key itself if none names it.
fn spelled<'e>(explanation: &'e Explanation, key: &'e str) -> &'e str {
    let is_it = |spelled: &&str| spelled.eq_ignore_ascii_case(key);
    let statements = || explanation.statements.iter();
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

/// Returns the keys of the variables in a text of a policy.
fn variables_in(written: &str) -> impl Iterator<Item = &str> {
    let after = written.split("${").skip(1);
    after.filter_map(|after| after.split([',', '}']).next())
}

fn policy_values(values: &[PolicyValue]) -> String {
    let one = |value: &PolicyValue| match (&value.resolved, value.missing.as_slice()) {
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

fn mark(holds: Truth, colour: Colour) -> String {
    match holds {
        Truth::True => colour.paint(Tone::Allow, "✓"),
        Truth::False => colour.paint(Tone::Deny, "✗"),
        Truth::Indeterminate => colour.paint(Tone::Strong, "?"),
    }
}

fn painted(verdict: Verdict, colour: Colour) -> String {
    let tone = match verdict {
        Verdict::NotInPlay => return colour.paint(Tone::Quiet, "not in play"),
        Verdict::Allow(_) => Tone::Allow,
        Verdict::ImplicitDeny | Verdict::ExplicitDeny => Tone::Deny,
    };
    colour.paint(tone, verdict.as_str())
}

fn quoted(text: &str) -> String {
    format!("`{}`", printable(text))
}

/// Returns the text with control characters and line breaks escaped. Others wrote the policies and the requests, so
/// their texts must not steer the terminal or begin a new line.
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
