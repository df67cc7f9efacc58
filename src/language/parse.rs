//! Parses JSON text into a [`PolicyDocument`] and findings, by the G rules.
//!
//! Parsing does not stop at the first mistake. A document with a mistake is not returned at all, because half a policy
//! could allow what its missing half denied (G-37).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use percent_encoding::percent_decode_str;

mod condition;
mod principal;
mod shared;
mod statement;

use super::document::{PolicyDocument, PolicyType, Statement, Version};
use super::finding::{Code, Finding, did_you_mean};
use super::json::{self, Member, Node, Value};
use super::lint;
use super::pattern::{ResourcePattern, Syntax};
use super::report::{Base, Report};
use statement::Parser;

/// The deepest nesting of a policy document, counted from its own object (G-1).
pub const MAX_DOCUMENT_DEPTH: usize = 16;

const DOCUMENT_MEMBERS: &[&str] = &["Version", "Id", "Statement"];
/// Parses one policy document. Returns every finding, and no document if one of them is an error.
pub fn parse(
    text: &str,
    policy_type: PolicyType,
    base: Base,
) -> (Option<PolicyDocument>, Vec<Finding>) {
    parse_with(text, policy_type, base, |base, text| {
        Report::new(base, text)
    })
}

/// Parses one policy document of a request. Only the first errors are reported, and no warnings.
pub fn parse_briefly(
    text: &str,
    policy_type: PolicyType,
    base: Base,
) -> (Option<PolicyDocument>, Vec<Finding>) {
    parse_with(text, policy_type, base, |base, text| {
        Report::brief(base, text)
    })
}

fn parse_with(
    text: &str,
    policy_type: PolicyType,
    base: Base,
    report: impl for<'t> FnOnce(Base, &'t str) -> Report<'t>,
) -> (Option<PolicyDocument>, Vec<Finding>) {
    match json::parse(text, MAX_DOCUMENT_DEPTH) {
        Ok(root) => {
            let mut report = report(base, text);
            report.about(&root);
            let document = document_object(&root, policy_type, &mut report);
            (document, report.into_findings())
        }
        Err(error) => {
            let mut report = report(base, text);
            report.syntax(&error);
            (None, report.into_findings())
        }
    }
}

/// Reads the policy document at `node` of a larger file: an object, JSON text in a string, or such text URL-encoded, as
/// the AWS API returns it. Reports every finding, and returns no document if one of them is an error.
pub fn document(
    node: &Node<'_>,
    policy_type: PolicyType,
    report: &mut Report<'_>,
) -> Option<PolicyDocument> {
    let Value::String(text) = &node.value else {
        if depth(node) > MAX_DOCUMENT_DEPTH {
            report
                .error(
                    Code::TOO_DEEP,
                    &node.span,
                    format!("nested more than {MAX_DOCUMENT_DEPTH} deep"),
                )
                .help("use fewer levels of objects and lists");
            return None;
        }
        return document_object(node, policy_type, report);
    };
    let is_encoded = text.trim_start().starts_with('%');
    let decoded = if is_encoded {
        percent_decode_str(text).decode_utf8().ok()
    } else {
        Some(Cow::Borrowed(&**text))
    };
    let Some(decoded) = decoded else {
        report
            .error(
                Code::NOT_UTF8,
                &node.span,
                "the URL-encoded document is not UTF-8",
            )
            .help("write the document as JSON instead");
        return None;
    };
    let (document, findings) = parse(
        &decoded,
        policy_type,
        Base::Embedded(report.location(&node.span)),
    );
    report.extend(findings);
    document
}

/// Reads one attachment scope of a resource policy (E-10): an ARN pattern, or `*`, without variables.
pub fn scope(node: &Node<'_>, report: &mut Report<'_>) -> Option<ResourcePattern> {
    let text = pattern_text(node, "Resource", report)?;
    if text.contains("${") {
        report.error(
            Code::MISPLACED_VARIABLE,
            &node.span,
            format!("scope `{text}` must not contain a policy variable"),
        );
        return None;
    }
    let pattern = match ResourcePattern::parse(
        text,
        Syntax {
            wildcards: true,
            variables: false,
        },
    ) {
        Ok(pattern) => pattern,
        Err(malformed) => {
            report.error(Code::INVALID_RESOURCE, &node.span, malformed.to_string());
            return None;
        }
    };
    if let Some(missing) = pattern.missing_field() {
        report
            .error(
                Code::INVALID_RESOURCE,
                &node.span,
                format!("scope `{text}` has no {missing} and covers nothing"),
            )
            .help("write `arn:partition:service:region:account:resource`");
        return None;
    }
    if pattern.is_short() && !pattern.ends_in_wildcard() {
        report
            .error(
                Code::SHORT_ARN,
                &node.span,
                format!("scope `{text}` has fewer than six fields and covers nothing"),
            )
            .help("write all six fields, or end it in `*`");
        return None;
    }
    Some(pattern)
}

/// Returns how deep `node` is nested, counting itself.
fn depth(node: &Node<'_>) -> usize {
    match &node.value {
        Value::Array(elements) => 1 + elements.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => {
            1 + members
                .iter()
                .map(|member| depth(&member.value))
                .max()
                .unwrap_or(0)
        }
        _ => 0,
    }
}

/// Reports repeated names in one object (G-2) and characters that no string may contain (G-32), at any depth.
pub fn check_tree(node: &Node<'_>, report: &mut Report<'_>) {
    match &node.value {
        Value::String(text) => check_characters(text, &node.span, report),
        Value::Array(elements) => elements
            .iter()
            .for_each(|element| check_tree(element, report)),
        Value::Object(members) => {
            let mut seen = BTreeSet::new();
            for member in members {
                check_characters(&member.name, &member.name_span, report);
                if !seen.insert(&*member.name) {
                    let message = format!("member `{}` appears twice in one object", member.name);
                    report
                        .error(Code::DUPLICATE_MEMBER, &member.name_span, message)
                        .help("keep one of them");
                }
                check_tree(&member.value, report);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn check_characters(text: &str, span: &Range<usize>, report: &mut Report<'_>) {
    if text.contains('\0') {
        report
            .error(
                Code::NUL_CHARACTER,
                span,
                "a string must not contain U+0000",
            )
            .help("remove the character");
    }
    let is_unusual = |c: &char| !matches!(c, '\0' | '\t' | '\n' | '\r' | '\u{20}'..='\u{ff}');
    if let Some(character) = text.chars().find(is_unusual) {
        let message = format!(
            "character U+{:04X} is outside of what AWS accepts in policies",
            u32::from(character)
        );
        report
            .warning(Code::UNUSUAL_CHARACTER, span, message)
            .help("replace it with a character up to U+00FF");
    }
}

fn document_object(
    node: &Node<'_>,
    policy_type: PolicyType,
    report: &mut Report<'_>,
) -> Option<PolicyDocument> {
    let n_errors = report.n_errors();
    let Value::Object(members) = &node.value else {
        let message = format!("a policy document must be an object, not {}", node.kind());
        report
            .error(Code::WRONG_TYPE, &node.span, message)
            .help("write its members between `{` and `}`");
        return None;
    };
    check_tree(node, report);
    check_member_names(members, DOCUMENT_MEMBERS, "policy document", report);
    let version = version(node, policy_type, report);
    let id = id(node, policy_type, report);
    let parser = Parser {
        policy_type,
        version,
    };
    let nodes = statement_nodes(node, report);
    let statements: Vec<Statement> = nodes
        .iter()
        .filter_map(|node| parser.statement(node, report))
        .collect();
    check_sids(nodes, policy_type, report);
    let member = node.member("Statement");
    let document = PolicyDocument {
        version,
        id,
        statements: statements.into(),
        pointer: member.map_or_else(Box::default, |member| {
            (*report.location(&member.name_span).pointer).into()
        }),
        is_list: member.is_some_and(|member| matches!(member.value.value, Value::Array(_))),
    };
    if report.n_errors() > n_errors {
        return None;
    }
    lint::refuse(&document, policy_type, node, report);
    if !report.is_brief() {
        lint::lint(&document, policy_type, node, report);
    }
    (report.n_errors() == n_errors).then_some(document)
}

fn check_member_names(members: &[Member<'_>], known: &[&str], of: &str, report: &mut Report<'_>) {
    for member in members
        .iter()
        .filter(|member| !known.contains(&&*member.name))
    {
        report
            .error(
                Code::UNKNOWN_MEMBER,
                &member.name_span,
                format!("unknown member `{}` of a {of}", member.name),
            )
            .guess(|| did_you_mean(&member.name, known.iter().copied()));
    }
}

/// Reads the version (G-5). G-29 says where it is required.
fn version(node: &Node<'_>, policy_type: PolicyType, report: &mut Report<'_>) -> Version {
    let Some(member) = node.member("Version") else {
        match policy_type {
            PolicyType::ResourceControl => {
                report
                    .error(
                        Code::MISSING_MEMBER,
                        &node.span,
                        "a resource control policy needs its `Version`",
                    )
                    .help("add `\"Version\": \"2012-10-17\"`");
            }
            PolicyType::ServiceControl => {
                report
                    .warning(
                        Code::MISSING_VERSION,
                        &node.span,
                        "without `Version`, the 2008 language applies",
                    )
                    .help("add `\"Version\": \"2012-10-17\"`");
            }
            _ => {}
        }
        return Version::V2008;
    };
    match member.value.as_str() {
        Some("2012-10-17") => return Version::V2012,
        Some("2008-10-17") if policy_type != PolicyType::ResourceControl => return Version::V2008,
        _ => {}
    }
    report
        .error(
            Code::INVALID_VERSION,
            &member.value.span,
            "`Version` must be the string `2012-10-17` or `2008-10-17`",
        )
        .help("write `\"2012-10-17\"`, unless the policy relies on the older language");
    Version::V2012
}

/// Checks and returns the `Id` of a document (G-7).
fn id(node: &Node<'_>, policy_type: PolicyType, report: &mut Report<'_>) -> Option<Box<str>> {
    let member = node.member("Id")?;
    let Some(text) = member.value.as_str() else {
        report
            .error(
                Code::WRONG_TYPE,
                &member.value.span,
                format!("`Id` must be a string, not {}", member.value.kind()),
            )
            .help("write one text in quotes");
        return None;
    };
    if !matches!(policy_type, PolicyType::Resource | PolicyType::Trust) {
        report
            .warning(
                Code::ID_IN_IDENTITY_POLICY,
                &member.name_span,
                "`Id` belongs in resource-based policies only",
            )
            .help("remove it");
    }
    Some(text.into())
}

/// Returns the statements, which are one object or a list of them (G-9).
fn statement_nodes<'n, 't>(node: &'n Node<'t>, report: &mut Report<'_>) -> &'n [Node<'t>] {
    let Some(member) = node.member("Statement") else {
        report.error(
            Code::MISSING_MEMBER,
            &node.span,
            "the policy document has no `Statement`",
        );
        return &[];
    };
    match &member.value.value {
        Value::Array(elements) if elements.is_empty() => {
            report.error(
                Code::EMPTY_LIST,
                &member.value.span,
                "`Statement` is an empty list: a policy needs at least one",
            );
            &[]
        }
        _ => member.value.one_or_many(),
    }
}

/// Checks that each `Sid` is unique in its document (G-10). In a resource policy, a repeated one is only a lint.
/// Statements with other mistakes are checked too.
fn check_sids(statements: &[Node<'_>], policy_type: PolicyType, report: &mut Report<'_>) {
    let mut seen = BTreeSet::new();
    for statement in statements {
        let Some(sid) = statement.member("Sid").map(|member| &member.value) else {
            continue;
        };
        let Some(text) = sid.as_str().filter(|text| !text.is_empty()) else {
            continue;
        };
        if !seen.insert(text) {
            let message = format!("`Sid` `{text}` appears twice in one document");
            match policy_type {
                PolicyType::Resource => report.warning(Code::DUPLICATE_SID, &sid.span, message),
                _ => report.error(Code::DUPLICATE_SID, &sid.span, message),
            }
            .help("give each statement its own");
        }
    }
}

/// Returns each entry of a scalar or a flat, non-empty list, read by `read` (G-15, G-16). Returns `None` after an
/// error.
fn list<'n, 't, T>(
    member: &'n Member<'t>,
    report: &mut Report<'_>,
    mut read: impl FnMut(&'n Node<'t>, &mut Report<'_>) -> Option<T>,
) -> Option<Box<[T]>> {
    let nodes = member.value.one_or_many();
    if nodes.is_empty() {
        report
            .error(
                Code::EMPTY_LIST,
                &member.value.span,
                format!("`{}` is an empty list", member.name),
            )
            .help("it would never match: fill it, or remove the statement");
        return None;
    }
    let read: Vec<Option<T>> = nodes.iter().map(|node| read(node, report)).collect();
    read.into_iter().collect()
}

/// Returns a non-empty string (G-17).
fn pattern_text<'n>(node: &'n Node<'_>, element: &str, report: &mut Report<'_>) -> Option<&'n str> {
    match node.as_str() {
        Some("") => {
            report
                .error(
                    Code::EMPTY_STRING,
                    &node.span,
                    format!("`{element}` contains an empty string"),
                )
                .help("remove it, or write a value between the quotes");
            None
        }
        Some(text) => Some(text),
        None => {
            let message = format!(
                "`{element}` must be a string or a flat list of strings, not {}",
                node.kind()
            );
            report
                .error(Code::WRONG_TYPE, &node.span, message)
                .help("write one text in quotes, or a list of texts between `[` and `]`");
            None
        }
    }
}

#[cfg(test)]
mod tests;
