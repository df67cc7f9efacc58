//! JSON text → [`PolicyDocument`] and findings: the G rules.
//!
//! Reading never stops at the first fault. A document that has one is not given at all: half a policy could allow
//! what its missing half denied (G-37).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use percent_encoding::percent_decode_str;

use super::condition::Condition;
use super::document::{
    Effect, Listed, PolicyDocument, PolicyType, PrincipalElement, PrincipalEntry, Statement,
    Version,
};
use super::finding::{Code, Finding, did_you_mean};
use super::json::{self, Member, Node, Value};
use super::pattern::{ActionPattern, ResourcePattern, Syntax};
use super::report::{Base, Report};
use super::{condition_block, lint};
use crate::name::{AccountId, Principal, is_entity_name, is_service_principal};

/// The deepest nesting of a policy document, counted from its own object (G-1).
pub const MAX_DOCUMENT_DEPTH: usize = 16;

const DOCUMENT_MEMBERS: &[&str] = &["Version", "Id", "Statement"];
const STATEMENT_MEMBERS: &[&str] = &[
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];
const PRINCIPAL_KINDS: &[&str] = &["AWS", "Service", "Federated", "CanonicalUser"];

/// Parses one policy document. Returns every finding, and no document if one of them is an error.
pub fn parse(
    text: &str,
    policy_type: PolicyType,
    base: Base,
) -> (Option<PolicyDocument>, Vec<Finding>) {
    match json::parse(text, MAX_DOCUMENT_DEPTH) {
        Ok(root) => {
            let mut report = Report::new(base, text);
            report.about(&root);
            let document = document_object(&root, policy_type, &mut report);
            (document, report.into_findings())
        }
        Err(error) => {
            let mut report = Report::new(base, text);
            report.syntax(&error);
            (None, report.into_findings())
        }
    }
}

/// Reads the policy document at `node` of a larger file: an object, JSON text in a string, or such text URL-encoded,
/// as the AWS API returns it. Reports every finding; gives no document if one of them is an error.
pub fn document(
    node: &Node<'_>,
    policy_type: PolicyType,
    report: &mut Report<'_>,
) -> Option<PolicyDocument> {
    let Value::String(text) = &node.value else {
        if depth(node) > MAX_DOCUMENT_DEPTH {
            report.error(
                Code::TOO_DEEP,
                &node.span,
                format!("nested more than {MAX_DOCUMENT_DEPTH} deep"),
            );
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
        report.error(
            Code::NOT_UTF8,
            &node.span,
            "the URL-encoded document is not UTF-8",
        );
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
            format!("scope `{text}` must not hold a policy variable"),
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
    if pattern.is_short()
        && !pattern
            .fields()
            .last()
            .is_some_and(|last| last.ends_in_wildcard())
    {
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

/// How deep `node` is nested, itself included.
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

/// Reports names that stand twice in one object (G-2) and characters that no string may hold (G-32), at any depth.
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
                    let message = format!("member `{}` stands twice in one object", member.name);
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
        report.error(Code::NUL_CHARACTER, span, "a string must not hold U+0000");
    }
    let is_unusual = |c: &char| !matches!(c, '\0' | '\t' | '\n' | '\r' | '\u{20}'..='\u{ff}');
    if let Some(character) = text.chars().find(is_unusual) {
        let message = format!(
            "character U+{:04X} is outside of what AWS accepts in policies",
            u32::from(character)
        );
        report.warning(Code::UNUSUAL_CHARACTER, span, message);
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
        report.error(Code::WRONG_TYPE, &node.span, message);
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
    let document = PolicyDocument {
        version,
        id,
        statements,
    };
    if report.n_errors() > n_errors {
        return None;
    }
    lint::lint(&document, policy_type, node, report);
    Some(document)
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
            .maybe_help(did_you_mean(&member.name, known.iter().copied()));
    }
}

/// G-5; where it is required, G-29.
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
                        "without `Version` the 2008 language is meant",
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

/// G-7.
fn id(node: &Node<'_>, policy_type: PolicyType, report: &mut Report<'_>) -> Option<String> {
    let member = node.member("Id")?;
    let Some(text) = member.value.as_str() else {
        report.error(
            Code::WRONG_TYPE,
            &member.value.span,
            format!("`Id` must be a string, not {}", member.value.kind()),
        );
        return None;
    };
    if !matches!(policy_type, PolicyType::Resource | PolicyType::Trust) {
        report.warning(
            Code::ID_IN_IDENTITY_POLICY,
            &member.name_span,
            "`Id` belongs in resource-based policies only",
        );
    }
    Some(text.to_owned())
}

/// G-9: one object, or a list of them.
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
                "`Statement` is an empty list: a policy needs one at least",
            );
            &[]
        }
        _ => member.value.one_or_many(),
    }
}

/// G-10: unique in a document; in a resource policy only a lint. Statements with other faults are looked at too.
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
            let message = format!("`Sid` `{text}` stands twice in one document");
            match policy_type {
                PolicyType::Resource => report.warning(Code::DUPLICATE_SID, &sid.span, message),
                _ => report.error(Code::DUPLICATE_SID, &sid.span, message),
            }
            .help("give each statement its own");
        }
    }
}

/// What the rules for a statement depend on.
struct Parser {
    policy_type: PolicyType,
    version: Version,
}

impl Parser {
    fn syntax(&self) -> Syntax {
        Syntax {
            wildcards: true,
            variables: self.version == Version::V2012,
        }
    }

    fn statement(&self, node: &Node<'_>, report: &mut Report<'_>) -> Option<Statement> {
        let Value::Object(members) = &node.value else {
            report.error(
                Code::WRONG_TYPE,
                &node.span,
                format!("a statement must be an object, not {}", node.kind()),
            );
            return None;
        };
        check_member_names(members, STATEMENT_MEMBERS, "statement", report);
        let sid = self.sid(node, report);
        let effect = self.effect(node, report);
        let principal = self.principal(node, effect, report);
        let actions = self.actions(node, report);
        let resources = self.resources(node, effect, report);
        let conditions = self.conditions(node, report);
        Some(Statement {
            sid,
            effect: effect?,
            principal: principal?,
            actions: actions?,
            resources: resources?,
            conditions: conditions?,
            span: node.span.clone(),
            line: report.line(&node.span),
        })
    }

    /// G-10, V-4.
    fn sid(&self, node: &Node<'_>, report: &mut Report<'_>) -> Option<String> {
        let member = node.member("Sid")?;
        let span = &member.value.span;
        let Some(text) = member.value.as_str() else {
            report.error(
                Code::WRONG_TYPE,
                span,
                format!("`Sid` must be a string, not {}", member.value.kind()),
            );
            return None;
        };
        if text.contains("${") && self.syntax().variables {
            report.error(
                Code::MISPLACED_VARIABLE,
                span,
                "a policy variable has no meaning in `Sid`",
            );
        } else if text.is_empty() {
            report
                .warning(Code::EMPTY_SID, span, "an empty `Sid` is the same as none")
                .help("remove it, or name the statement");
        } else if !text.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && self.policy_type != PolicyType::Resource
        {
            report.warning(
                Code::ODD_SID,
                span,
                format!("`Sid` `{text}` holds other characters than letters and digits"),
            );
        }
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// G-11; RCPs only deny (G-29).
    fn effect(&self, node: &Node<'_>, report: &mut Report<'_>) -> Option<Effect> {
        let Some(member) = node.member("Effect") else {
            report
                .error(
                    Code::MISSING_MEMBER,
                    &node.span,
                    "the statement has no `Effect`",
                )
                .help("add `Allow` or `Deny`");
            return None;
        };
        let span = &member.value.span;
        match member.value.as_str() {
            Some("Allow") if self.policy_type == PolicyType::ResourceControl => {
                report
                    .error(
                        Code::ELEMENT_NOT_ALLOWED,
                        span,
                        "a resource control policy can only deny",
                    )
                    .help("`RCPFullAWSAccess` allows on every level already");
                Some(Effect::Allow)
            }
            Some("Allow") => Some(Effect::Allow),
            Some("Deny") => Some(Effect::Deny),
            other => {
                let written = other.map_or_else(
                    || member.value.kind().to_owned(),
                    |text| format!("`{text}`"),
                );
                report
                    .error(
                        Code::INVALID_EFFECT,
                        span,
                        format!("`Effect` must be exactly `Allow` or `Deny`, not {written}"),
                    )
                    .maybe_help(other.and_then(|text| did_you_mean(text, ["Allow", "Deny"])));
                None
            }
        }
    }

    /// The one of two excluding elements that is there; `None` in the outer option after an error.
    fn one_of<'n, 't>(
        &self,
        node: &'n Node<'t>,
        [positive, negative]: [&'static str; 2],
        report: &mut Report<'_>,
    ) -> Option<Option<(&'n Member<'t>, bool)>> {
        match (node.member(positive), node.member(negative)) {
            (Some(_), Some(second)) => {
                let message = format!("`{positive}` and `{negative}` exclude each other");
                report
                    .error(Code::CONFLICTING_ELEMENTS, &second.name_span, message)
                    .help("split the statement in two");
                None
            }
            (Some(member), None) => Some(Some((member, false))),
            (None, Some(member)) => Some(Some((member, true))),
            (None, None) => Some(None),
        }
    }

    /// Reports an element that this policy type does not have (G-29).
    fn refuse(&self, member: &Member<'_>, report: &mut Report<'_>, help: &str) {
        let message = format!(
            "`{}` has no place in {}",
            member.name,
            name_of(self.policy_type)
        );
        report
            .error(Code::ELEMENT_NOT_ALLOWED, &member.name_span, message)
            .help(help);
    }

    /// G-12, G-16, G-27.
    fn actions(&self, node: &Node<'_>, report: &mut Report<'_>) -> Option<Listed<ActionPattern>> {
        let Some((member, negated)) = self.one_of(node, ["Action", "NotAction"], report)? else {
            report.error(
                Code::MISSING_MEMBER,
                &node.span,
                "the statement has neither `Action` nor `NotAction`",
            );
            return None;
        };
        if negated && self.policy_type == PolicyType::ResourceControl {
            self.refuse(member, report, "list the actions in `Action`");
        }
        list(member, report, |node, report| {
            let text = pattern_text(node, &member.name, report)?;
            if text.contains("${") && self.syntax().variables {
                let message = format!("a policy variable has no meaning in `{}`", member.name);
                report.error(Code::MISPLACED_VARIABLE, &node.span, message);
                return None;
            }
            let pattern = match ActionPattern::parse(text) {
                Ok(pattern) => pattern,
                Err(malformed) => {
                    report.error(Code::INVALID_ACTION, &node.span, malformed.to_string());
                    return None;
                }
            };
            if pattern.service().is_none() && text != "*" {
                report
                    .warning(
                        Code::REDUNDANT_WILDCARD,
                        &node.span,
                        format!("`{text}` means `*`"),
                    )
                    .help("write `*`");
            }
            Some(pattern)
        })
        .map(|entries| {
            if negated {
                Listed::Not(entries)
            } else {
                Listed::Any(entries)
            }
        })
    }

    /// G-13, G-28, G-29. The outer option is empty after an error, the inner one where the element is absent.
    #[expect(
        clippy::option_option,
        reason = "an error and an absent element are different things"
    )]
    fn resources(
        &self,
        node: &Node<'_>,
        effect: Option<Effect>,
        report: &mut Report<'_>,
    ) -> Option<Option<Listed<ResourcePattern>>> {
        let found = self.one_of(node, ["Resource", "NotResource"], report)?;
        let Some((member, negated)) = found else {
            if matches!(self.policy_type, PolicyType::Resource | PolicyType::Trust) {
                return Some(None);
            }
            report.error(
                Code::MISSING_MEMBER,
                &node.span,
                "the statement has neither `Resource` nor `NotResource`",
            );
            return None;
        };
        if self.policy_type == PolicyType::Trust {
            self.refuse(
                member,
                report,
                "its resource is always the role itself: remove the element",
            );
            return None;
        }
        let is_granting = (effect == Some(Effect::Allow)) != negated;
        let entries = list(member, report, |node, report| {
            self.resource(node, &member.name, is_granting, report)
        })?;
        Some(Some(if negated {
            Listed::Not(entries)
        } else {
            Listed::Any(entries)
        }))
    }

    /// G-28, M-12, M-18, V-3.
    fn resource(
        &self,
        node: &Node<'_>,
        element: &str,
        is_granting: bool,
        report: &mut Report<'_>,
    ) -> Option<ResourcePattern> {
        let text = pattern_text(node, element, report)?;
        let pattern = match ResourcePattern::parse(text, self.syntax()) {
            Ok(pattern) => pattern,
            Err(malformed) if text.starts_with("arn:") => {
                report.error(Code::INVALID_VARIABLE, &node.span, malformed.to_string());
                return None;
            }
            Err(malformed) => {
                let help = text.strip_prefix("execute-api:/").map(|rest| {
                    format!("API Gateway expands the short form: write `arn:aws:execute-api:region:account-id:api-id/{rest}`")
                });
                report
                    .error(Code::INVALID_RESOURCE, &node.span, malformed.to_string())
                    .maybe_help(help);
                return None;
            }
        };
        if !self.syntax().variables && text.contains("${") {
            report
                .warning(
                    Code::VARIABLE_WITHOUT_VERSION,
                    &node.span,
                    "`${` has no meaning before version 2012-10-17",
                )
                .help("add `\"Version\": \"2012-10-17\"`");
        }
        let n_errors = report.n_errors();
        check_fields(&pattern, node, report);
        check_reach(&pattern, node, is_granting, report);
        (report.n_errors() == n_errors).then_some(pattern)
    }

    fn conditions(&self, node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<Condition>> {
        match node.member("Condition") {
            None => Some(Vec::new()),
            Some(member) => condition_block::parse(&member.value, self.version, report),
        }
    }

    /// G-14, G-23 to G-26, G-29 to G-31. The inner option is empty where the policy type has no principals.
    #[expect(
        clippy::option_option,
        reason = "an error and an absent element are different things"
    )]
    fn principal(
        &self,
        node: &Node<'_>,
        effect: Option<Effect>,
        report: &mut Report<'_>,
    ) -> Option<Option<PrincipalElement>> {
        use PolicyType as T;
        let found = self.one_of(node, ["Principal", "NotPrincipal"], report)?;
        let takes_principals = matches!(
            self.policy_type,
            T::Resource | T::Trust | T::ResourceControl
        );
        let (member, negated) = match found {
            None if !takes_principals => return Some(None),
            None => {
                let message = format!(
                    "a statement of {} needs a `Principal`",
                    name_of(self.policy_type)
                );
                report.error(Code::MISSING_MEMBER, &node.span, message);
                return None;
            }
            Some((member, _)) if !takes_principals => {
                self.refuse(
                    member,
                    report,
                    "the principal is whoever the policy is attached to: remove the element",
                );
                return None;
            }
            Some(found) => found,
        };
        if negated && self.policy_type != T::Resource {
            self.refuse(member, report, "use `Principal`");
            return None;
        }
        if negated && effect == Some(Effect::Allow) {
            report
                .error(
                    Code::NOT_PRINCIPAL_WITH_ALLOW,
                    &member.name_span,
                    "`NotPrincipal` with `Allow` is not supported",
                )
                .help("name the principals that are allowed, or deny with `NotPrincipal`");
            return None;
        }
        let entries = self.principal_entries(member, report)?;
        let is_bare = member.value.as_str().is_some();
        match self.policy_type {
            T::ResourceControl if !is_bare => {
                report
                    .error(Code::INVALID_PRINCIPAL, &member.value.span, "`Principal` of a resource control policy must be `\"*\"`")
                    .help("narrow it with a condition on `aws:PrincipalArn` or `aws:PrincipalAccount`");
                None
            }
            T::Trust if is_bare => {
                report
                    .error(
                        Code::INVALID_PRINCIPAL,
                        &member.value.span,
                        "`Principal` of a trust policy must not be a bare `\"*\"`",
                    )
                    .help("write `{\"AWS\": \"*\"}` if you mean every AWS principal");
                None
            }
            _ => Some(Some(PrincipalElement { negated, entries })),
        }
    }

    fn principal_entries(
        &self,
        member: &Member<'_>,
        report: &mut Report<'_>,
    ) -> Option<Vec<PrincipalEntry>> {
        let node = &member.value;
        match &node.value {
            Value::String(text) if text == "*" => Some(vec![PrincipalEntry::Everyone]),
            Value::Object(kinds) if !kinds.is_empty() => {
                check_principal_kinds(kinds, report);
                let mut entries = Vec::new();
                let mut is_whole = true;
                for kind in kinds
                    .iter()
                    .filter(|kind| PRINCIPAL_KINDS.contains(&&*kind.name))
                {
                    match list(kind, report, |node, report| {
                        principal_entry(node, &kind.name, report)
                    }) {
                        Some(more) => entries.extend(more),
                        None => is_whole = false,
                    }
                }
                is_whole.then_some(entries)
            }
            _ => {
                let message = format!(
                    "`{}` must be `\"*\"` or an object such as `{{\"AWS\": …}}`",
                    member.name
                );
                report.error(Code::INVALID_PRINCIPAL, &node.span, message);
                None
            }
        }
    }
}

/// "an identity policy", for messages.
fn name_of(policy_type: PolicyType) -> &'static str {
    match policy_type {
        PolicyType::Identity => "an identity policy",
        PolicyType::Resource => "a resource policy",
        PolicyType::PermissionsBoundary => "a permissions boundary",
        PolicyType::Session => "a session policy",
        PolicyType::ServiceControl => "a service control policy",
        PolicyType::ResourceControl => "a resource control policy",
        PolicyType::Trust => "a trust policy",
    }
}

/// G-15, G-16: each entry of a scalar or a flat, non-empty list, read by `read`; nothing after an error.
pub(super) fn list<'n, 't, T>(
    member: &'n Member<'t>,
    report: &mut Report<'_>,
    mut read: impl FnMut(&'n Node<'t>, &mut Report<'_>) -> Option<T>,
) -> Option<Vec<T>> {
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

/// G-17: a non-empty string.
fn pattern_text<'n>(node: &'n Node<'_>, element: &str, report: &mut Report<'_>) -> Option<&'n str> {
    match node.as_str() {
        Some("") => {
            report.error(
                Code::EMPTY_STRING,
                &node.span,
                format!("`{element}` holds an empty string"),
            );
            None
        }
        Some(text) => Some(text),
        None => {
            let message = format!(
                "`{element}` must be a string or a flat list of strings, not {}",
                node.kind()
            );
            report.error(Code::WRONG_TYPE, &node.span, message);
            None
        }
    }
}

/// V-3, M-18: which fields of a resource may hold what.
fn check_fields(pattern: &ResourcePattern, node: &Node<'_>, report: &mut Report<'_>) {
    const FIELDS: [&str; 4] = ["partition", "service", "region", "account"];
    for (index, (field, name)) in pattern.fields().iter().zip(FIELDS).enumerate() {
        for variable in field.variables() {
            let key = variable.key.folded();
            let is_global = key
                .strip_prefix("aws:")
                .is_some_and(|name| !name.is_empty() && !name.starts_with(':'));
            if index < 2 || !is_global {
                let message = format!(
                    "policy variable `${{{key}}}` must not stand in the {name} field of a resource"
                );
                report
                    .error(Code::MISPLACED_VARIABLE, &node.span, message)
                    .help("variables belong behind the fifth colon");
            } else {
                let message = format!(
                    "policy variable `${{{key}}}` stands in the {name} field of a resource"
                );
                report.warning(Code::VARIABLE_BEFORE_FIFTH_COLON, &node.span, message);
            }
        }
        if index == 1 && field.as_str().contains(['*', '?']) {
            report.warning(
                Code::WILDCARD_IN_SERVICE,
                &node.span,
                "AWS allows no wildcard in the service field of a resource",
            );
        }
    }
}

/// M-12: short patterns.
fn check_reach(
    pattern: &ResourcePattern,
    node: &Node<'_>,
    is_granting: bool,
    report: &mut Report<'_>,
) {
    if !pattern.is_short() {
        return;
    }
    let text = pattern.as_str();
    let ends_in_wildcard = pattern
        .fields()
        .last()
        .is_some_and(|last| last.ends_in_wildcard());
    let merely_ends = ends_in_wildcard && !text.trim_end_matches('*').contains('*');
    if merely_ends {
        return;
    }
    let message = format!("resource `{text}` has fewer than the six fields of an ARN");
    if is_granting && !ends_in_wildcard {
        report.error(Code::SHORT_ARN, &node.span, message)
    } else {
        report.warning(Code::SHORT_ARN, &node.span, message)
    }
    .help("write `arn:partition:service:region:account:resource`; fields may be empty or `*`");
}

fn check_principal_kinds(kinds: &[Member<'_>], report: &mut Report<'_>) {
    for kind in kinds
        .iter()
        .filter(|kind| !PRINCIPAL_KINDS.contains(&&*kind.name))
    {
        report
            .error(
                Code::INVALID_PRINCIPAL,
                &kind.name_span,
                format!("unknown kind of principal `{}`", kind.name),
            )
            .maybe_help(did_you_mean(&kind.name, PRINCIPAL_KINDS.iter().copied()));
    }
}

/// G-24 to G-26.
fn principal_entry(node: &Node<'_>, kind: &str, report: &mut Report<'_>) -> Option<PrincipalEntry> {
    let text = pattern_text(node, kind, report)?;
    let invalid = |report: &mut Report<'_>, why: &str| {
        report.error(
            Code::INVALID_PRINCIPAL,
            &node.span,
            format!("`{kind}` principal `{text}` {why}"),
        );
        None
    };
    // G-26 compares these as they are: a text that no request can bring matches nobody, like any other unknown name.
    let suspicious = |report: &mut Report<'_>, help: &str| {
        let message = format!("`{kind}` principal `{text}` is none that could ever ask");
        report
            .warning(Code::UNKNOWN_PRINCIPAL, &node.span, message)
            .help(help);
    };
    if text == "*" && kind == "AWS" {
        return Some(PrincipalEntry::EveryAws);
    }
    if text.contains("${") {
        report
            .error(
                Code::MISPLACED_VARIABLE,
                &node.span,
                "a policy variable has no meaning in a principal",
            )
            .help("use a condition on `aws:PrincipalArn`");
        return None;
    }
    if text.contains(['*', '?']) {
        report
            .error(
                Code::WILDCARD_IN_PRINCIPAL,
                &node.span,
                format!("principal `{text}` must not hold a wildcard"),
            )
            .help("use `\"*\"` with a condition on `aws:PrincipalArn`");
        return None;
    }
    match kind {
        "AWS" if text.contains(':') => match Principal::parse(text) {
            Ok(Principal::Root(arn)) => {
                let account = AccountId::parse(arn.account()).ok()?;
                Some(PrincipalEntry::Account {
                    account,
                    partition: Some(arn.partition().into()),
                })
            }
            Ok(
                Principal::User(arn)
                | Principal::Role(arn)
                | Principal::AssumedRole { arn, .. }
                | Principal::FederatedUser { arn, .. },
            ) => Some(PrincipalEntry::Entity(arn)),
            _ => invalid(
                report,
                "must be the ARN of a root, user, role, role session or federated user",
            ),
        },
        "AWS" if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            let account = AccountId::parse(text).ok()?;
            Some(PrincipalEntry::Account {
                account,
                partition: None,
            })
        }
        "AWS" if is_entity_name(text) => Some(PrincipalEntry::Id(text.into())),
        "AWS" => invalid(report, "must be `*`, an account, an ARN or a unique id"),
        "Service" => {
            if !is_service_principal(text) {
                suspicious(
                    report,
                    "a service is a dotted name such as `ec2.amazonaws.com`",
                );
            }
            Some(PrincipalEntry::Service(text.into()))
        }
        "Federated" => {
            if !is_provider(text) {
                suspicious(
                    report,
                    "a provider is an ARN, or the issuer's host and path without a scheme",
                );
            }
            Some(PrincipalEntry::Federated(text.into()))
        }
        _ => Some(PrincipalEntry::CanonicalUser(text.into())),
    }
}

/// G-26: the ARN of an OIDC or SAML provider, or an issuer.
fn is_provider(text: &str) -> bool {
    if text.starts_with("arn:") {
        return matches!(Principal::parse(text), Ok(Principal::Provider(_)));
    }
    !text.contains("://") && !text.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests;
