//! `iamd list`.

use std::io::Write;

use anyhow::bail;

use super::answerer::Answerer;
use super::ask::{Facts, text};
use super::authorize::answerer;
use super::tls::Tls;
use super::{Common, Output, Status, report};
use crate::authorizer::{Listed, Paging, Permission, Question, Redacted};
use crate::config::{REDACT_KEYS, redact_keys};
use crate::language::finding::Escaped;
use crate::service::json::{self, NoAnswer};

/// List what may be done, by whom, and which context keys count
///
/// The lists are exact: a question is allowed if and only if a listed permission covers it. A permission covers a question
/// if its actions, its resources and its conditions match and nothing after `except` does.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Permissions(Box<PermissionsArgs>),
    Principals(Box<PrincipalsArgs>),
    ContextKeys(Box<ContextKeysArgs>),
}

/// The options of every list.
#[derive(Debug, clap::Args)]
struct Source {
    /// Context keys whose values in policies are hidden, or a prefix such as `aws:RequestTag/*`; `none` hides nothing. A
    /// server uses its own setting
    #[arg(long, value_name = "KEY", value_delimiter = ',', default_value = REDACT_KEYS, conflicts_with = "server")]
    redact_keys: Vec<String>,
    /// Ask this running server instead of reading a store: `127.0.0.1:50051`, `unix:/path`, `https://host:50051`
    #[arg(long, value_name = "ADDR", conflicts_with = "store")]
    server: Option<String>,
    #[command(flatten)]
    tls: Tls,
}

/// List what a principal may do
#[derive(Debug, clap::Args)]
struct PermissionsArgs {
    /// The principal: an ARN, a service principal, or `*` for an anonymous caller
    #[arg(long)]
    principal: String,
    /// List only what may cover these actions: `orders:*`
    #[arg(long, value_name = "PATTERN")]
    action: Option<String>,
    /// List only what may cover these resources: `arn:app:orders:::order/*`
    #[arg(long, value_name = "PATTERN")]
    resource: Option<String>,
    /// A context entry, repeatable: `aws:SourceIp=10.0.0.7` is a string, `orders:amount:=50` any JSON value
    #[arg(long = "context", value_name = "KEY=VALUE")]
    context: Vec<String>,
    /// The facts of the session, a JSON object or a file with one: `{"tags": {"team": "blue"}}`
    #[arg(long, value_name = "JSON|FILE")]
    session: Option<String>,
    /// The account that owns the resources, if neither their ARNs nor the store name it
    #[arg(long, value_name = "ACCOUNT")]
    resource_account: Option<String>,
    #[command(flatten)]
    source: Source,
}

/// List the users and roles that may do an action on a resource
#[derive(Debug, clap::Args)]
struct PrincipalsArgs {
    /// The action: `orders:Refund`
    #[arg(long)]
    action: String,
    /// The resource: an ARN, or `*` for an action without a resource
    #[arg(long)]
    resource: String,
    /// A context entry, repeatable: `aws:SourceIp=10.0.0.7` is a string, `orders:amount:=50` any JSON value
    #[arg(long = "context", value_name = "KEY=VALUE")]
    context: Vec<String>,
    /// The account that owns the resource, if neither its ARN nor the store names it
    #[arg(long, value_name = "ACCOUNT")]
    resource_account: Option<String>,
    #[command(flatten)]
    source: Source,
}

/// List the context keys that policies can read
#[derive(Debug, clap::Args)]
struct ContextKeysArgs {
    /// The principal: an ARN, a service principal, or `*` for an anonymous caller
    #[arg(long)]
    principal: String,
    /// The action; without it, all actions
    #[arg(long)]
    action: Option<String>,
    /// The resource; without it, all resources
    #[arg(long)]
    resource: Option<String>,
    /// The facts of the session, a JSON object or a file with one: `{"tags": {"team": "blue"}}`
    #[arg(long, value_name = "JSON|FILE")]
    session: Option<String>,
    /// The account that owns the resource, if neither its ARN nor the store names it
    #[arg(long, value_name = "ACCOUNT")]
    resource_account: Option<String>,
    #[command(flatten)]
    source: Source,
}

pub(super) fn run(args: &Args, common: &Common, out: &mut impl Write) -> anyhow::Result<Status> {
    match &args.what {
        What::Permissions(args) => permissions(args, common, out),
        What::Principals(args) => principals(args, common, out),
        What::ContextKeys(args) => context_keys(args, common, out),
    }
}

impl Source {
    fn answerer(&self, common: &Common) -> anyhow::Result<Option<Answerer>> {
        Ok(match answerer(self.server.as_deref(), &self.tls, common)? {
            Some(Answerer::Store(authorizer)) => {
                let hidden = redact_keys(self.redact_keys.clone());
                let hidden = Redacted::new(hidden.iter().map(String::as_str));
                Some(Answerer::Store(Box::new(authorizer.redacting(hidden))))
            }
            other => other,
        })
    }
}

fn permissions(
    args: &PermissionsArgs,
    common: &Common,
    out: &mut impl Write,
) -> anyhow::Result<Status> {
    let facts = Facts::read(&args.context, args.session.as_deref())?;
    let facts = facts.parse()?;
    let question = Question {
        principal: &args.principal,
        action: text(&args.action),
        resource: text(&args.resource),
        context: facts.context()?,
        session: facts.session()?,
        resource_account: text(&args.resource_account),
        request_id: "",
    };
    let Some(answerer) = args.source.answerer(common)? else {
        return Ok(Status::Refused);
    };
    let listed = whole(|paging| answerer.list_permissions(&question, paging))?;
    if listed.items.is_empty() {
        warn_of_stranger(&answerer, &args.principal);
    }
    match common.output {
        Output::Json => writeln!(out, "{}", json::permissions(listed))?,
        Output::Text => {
            for permission in &listed.items {
                write_permission(out, permission, "", "")?;
            }
        }
    }
    Ok(Status::Fine)
}

fn principals(
    args: &PrincipalsArgs,
    common: &Common,
    out: &mut impl Write,
) -> anyhow::Result<Status> {
    let facts = Facts::read(&args.context, None)?;
    let facts = facts.parse()?;
    let question = Question {
        action: &args.action,
        resource: &args.resource,
        context: facts.context()?,
        resource_account: text(&args.resource_account),
        ..Question::default()
    };
    let Some(answerer) = args.source.answerer(common)? else {
        return Ok(Status::Refused);
    };
    let listed = whole(|paging| answerer.list_principals(&question, paging))?;
    match common.output {
        Output::Json => writeln!(out, "{}", json::principals(listed))?,
        Output::Text => {
            for access in &listed.items {
                if !access.is_conditional {
                    writeln!(out, "{}", Escaped(&access.principal))?;
                    continue;
                }
                writeln!(out, "{}, under conditions:", Escaped(&access.principal))?;
                for permission in &access.permissions {
                    write_permission(out, permission, "    ", "")?;
                }
            }
        }
    }
    Ok(Status::Fine)
}

fn context_keys(
    args: &ContextKeysArgs,
    common: &Common,
    out: &mut impl Write,
) -> anyhow::Result<Status> {
    let facts = Facts::read(&[], args.session.as_deref())?;
    let facts = facts.parse()?;
    let question = Question {
        principal: &args.principal,
        action: text(&args.action),
        resource: text(&args.resource),
        session: facts.session()?,
        resource_account: text(&args.resource_account),
        ..Question::default()
    };
    let Some(answerer) = args.source.answerer(common)? else {
        return Ok(Status::Refused);
    };
    let listed = answerer.list_context_keys(&question);
    let listed = listed.map_err(|no_answer| anyhow::anyhow!("{no_answer}"))?;
    if listed.items.is_empty() {
        warn_of_stranger(&answerer, &args.principal);
    }
    match common.output {
        Output::Json => writeln!(out, "{}", json::context_keys(listed))?,
        Output::Text => {
            for found in &listed.items {
                let derived = if found.derived { " (derived)" } else { "" };
                let operators: Vec<&str> = found.operators.iter().map(String::as_str).collect();
                let by = match &*operators {
                    [] => "read by variables".to_owned(),
                    some => format!("read by {}", some.join(", ")),
                };
                write!(out, "{}{derived}: {by}", Escaped(&found.key))?;
                let values: Vec<&str> = found.example_values.iter().map(String::as_str).collect();
                if !values.is_empty() {
                    write!(out, "; such as {}", Escaped(&values.join(", ")))?;
                }
                writeln!(out)?;
            }
        }
    }
    Ok(Status::Fine)
}

/// Warns if the store does not know the principal of whom nothing is listed.
fn warn_of_stranger(answerer: &Answerer, principal: &str) {
    if let Some(hint) = answerer.hint_about_principal(principal) {
        report(format_args!("warning: {hint}"));
    }
}

/// How often a list is begun anew because the store changed before its last page.
const MAX_BEGINNINGS: usize = 5;

/// Returns all pages of a list as one. They are of one revision: if another one comes into force before the last page, the list is
/// begun anew.
fn whole<T>(page: impl Fn(Paging<'_>) -> Result<Listed<T>, NoAnswer>) -> anyhow::Result<Listed<T>> {
    let mut n_begun = 1;
    let mut all: Option<Listed<T>> = None;
    loop {
        let token = all.as_ref().map_or("", |all| &all.next_page_token);
        let paging = Paging {
            page_size: 0,
            page_token: token,
        };
        let next = match page(paging) {
            Ok(next) => next,
            // Most likely, its token belongs to a revision that is no longer in force. If not, the first page fails, too.
            Err(_) if all.is_some() && n_begun < MAX_BEGINNINGS => {
                n_begun += 1;
                all = None;
                continue;
            }
            Err(no_answer) => bail!("{no_answer}"),
        };
        match &mut all {
            None => all = Some(next),
            Some(all) => {
                all.items.extend(next.items);
                all.next_page_token = next.next_page_token;
            }
        }
        if let Some(done) = all.take_if(|all| all.next_page_token.is_empty()) {
            return Ok(done);
        }
    }
}

/// Writes a permission as a line with what it covers, and further lines with its conditions, its exceptions and its
/// statements.
fn write_permission(
    out: &mut impl Write,
    permission: &Permission,
    indent: &str,
    lead: &str,
) -> anyhow::Result<()> {
    let covers = |what: &str, listed: &[String], unlisted: &[String]| {
        let mut text = match listed {
            [] => format!("any {what}"),
            some => some.join(", "),
        };
        if !unlisted.is_empty() {
            text.push_str(&format!(" but not {}", unlisted.join(", ")));
        }
        text
    };
    let actions = covers("action", &permission.actions, &permission.not_actions);
    let resources = covers("resource", &permission.resources, &permission.not_resources);
    let line = format!("{actions} on {resources}");
    writeln!(out, "{indent}{lead}{}", Escaped(&line))?;
    let indent = format!("{indent}    ");
    for condition in &permission.conditions {
        let shown = |value: &String| match value.is_empty() {
            true => "\"\"".to_owned(),
            false => value.clone(),
        };
        let values: Vec<String> = condition.values.iter().map(shown).collect();
        let values = values.join(" or ");
        let line = format!("if {} {} {values}", condition.operator, condition.key);
        writeln!(out, "{indent}{}", Escaped(&line))?;
    }
    for except in &permission.except {
        write_permission(out, except, &indent, "except ")?;
    }
    for statement in &permission.statements {
        writeln!(out, "{indent}by {statement}")?;
    }
    Ok(())
}
