//! Parses one statement by G-8 to G-14 and G-27 to G-31.

use std::sync::Arc;

use super::shared::shared;
use super::{check_member_names, condition, list, pattern_text};
use crate::language::condition::Condition;
use crate::language::document::{Effect, Listed, PolicyType, Statement, Version};
use crate::language::finding::{Code, did_you_mean};
use crate::language::json::{Member, Node, Value};
use crate::language::pattern::{ActionPattern, ResourcePattern, Syntax};
use crate::language::report::Report;

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
/// The properties of the document that the rules for a statement depend on.
pub(super) struct Parser {
    /// The policy type (G-29).
    pub policy_type: PolicyType,
    /// The language's version (G-6).
    pub version: Version,
}

impl Parser {
    fn syntax(&self) -> Syntax {
        Syntax {
            wildcards: true,
            variables: self.version == Version::V2012,
        }
    }

    pub fn statement(&self, node: &Node<'_>, report: &mut Report<'_>) -> Option<Statement> {
        let Value::Object(members) = &node.value else {
            report
                .error(
                    Code::WRONG_TYPE,
                    &node.span,
                    format!("a statement must be an object, not {}", node.kind()),
                )
                .help("write its members between `{` and `}`");
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
            principal: principal?.map(Box::new),
            actions: actions?,
            resources: resources?,
            conditions: conditions?,
            extent: report.extent(&node.span),
        })
    }

    /// Reads the `Sid` (G-10, V-4).
    fn sid(&self, node: &Node<'_>, report: &mut Report<'_>) -> Option<Box<str>> {
        let member = node.member("Sid")?;
        let span = &member.value.span;
        let Some(text) = member.value.as_str() else {
            report
                .error(
                    Code::WRONG_TYPE,
                    span,
                    format!("`Sid` must be a string, not {}", member.value.kind()),
                )
                .help("write one text in quotes");
            return None;
        };
        if text.contains("${") && self.syntax().variables {
            report
                .error(
                    Code::MISPLACED_VARIABLE,
                    span,
                    "a policy variable has no meaning in `Sid`",
                )
                .help("remove the variable");
        } else if text.is_empty() {
            report
                .warning(Code::EMPTY_SID, span, "an empty `Sid` is the same as none")
                .help("remove it, or name the statement");
        } else if !text.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && self.policy_type != PolicyType::Resource
        {
            report
                .warning(
                    Code::ODD_SID,
                    span,
                    format!("`Sid` `{text}` contains characters other than letters and digits"),
                )
                .help("use only letters and digits");
        }
        (!text.is_empty()).then(|| text.into())
    }

    /// Reads the `Effect` (G-11). Resource control policies can only deny (G-29).
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

    /// Returns the one of two mutually exclusive elements that is there. The outer option is `None` after an error.
    pub(super) fn one_of<'n, 't>(
        &self,
        node: &'n Node<'t>,
        [positive, negative]: [&'static str; 2],
        report: &mut Report<'_>,
    ) -> Option<Option<(&'n Member<'t>, bool)>> {
        let is_empty = |member: &Member<'_>| matches!(&member.value.value, Value::Array(elements) if elements.is_empty());
        match (node.member(positive), node.member(negative)) {
            (Some(first), Some(second)) if is_empty(first) != is_empty(second) => {
                let (empty, other) = if is_empty(first) {
                    (first, second)
                } else {
                    (second, first)
                };
                let message = format!("`{}` is empty beside `{}`", empty.name, other.name);
                report
                    .error(Code::EMPTY_LIST, &empty.name_span, message)
                    .help("remove the empty list");
                None
            }
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
    pub(super) fn refuse(&self, member: &Member<'_>, report: &mut Report<'_>, help: &str) {
        let message = format!(
            "`{}` is not allowed in {}",
            member.name,
            name_of(self.policy_type)
        );
        report
            .error(Code::ELEMENT_NOT_ALLOWED, &member.name_span, message)
            .help(help);
    }

    /// Reads `Action` or `NotAction` (G-12, G-16, G-27).
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
                report
                    .error(Code::MISPLACED_VARIABLE, &node.span, message)
                    .help("write the actions themselves");
                return None;
            }
            let pattern = match ActionPattern::parse(text) {
                Ok(pattern) => pattern,
                Err(malformed) => {
                    report.error(Code::INVALID_ACTION, &node.span, malformed.to_string());
                    return None;
                }
            };
            if pattern.service().is_none() && self.policy_type == PolicyType::ResourceControl {
                let message =
                    format!("`{text}`: a resource control policy names the service of each action");
                report
                    .error(Code::INVALID_ACTION, &node.span, message)
                    .help("write one entry for each service, such as `s3:*`");
                return None;
            }
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

    /// G-13, G-28, G-29. The outer option is `None` after an error, and the inner one if the element is absent.
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
        // M-12: in a Deny's `Resource`, the reach of a short pattern is clear enough. Nothing else may depend on one.
        let may_be_short = effect != Some(Effect::Allow) && !negated;
        let entries = list(member, report, |node, report| {
            self.resource(node, &member.name, may_be_short, report)
        })?;
        Some(Some(if negated {
            Listed::Not(entries)
        } else {
            Listed::Any(entries)
        }))
    }

    /// Reads one resource pattern (G-28, M-12, M-18, V-3).
    fn resource(
        &self,
        node: &Node<'_>,
        element: &str,
        may_be_short: bool,
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
        if let Some(missing) = pattern.missing_field() {
            let message = format!("resource `{text}` has no {missing}, and so covers nothing");
            report
                .error(Code::INVALID_RESOURCE, &node.span, message)
                .help("write `arn:partition:service:region:account:resource`");
        }
        check_fields(&pattern, node, report);
        check_reach(&pattern, node, may_be_short, report);
        (report.n_errors() == n_errors).then_some(pattern)
    }

    fn conditions(&self, node: &Node<'_>, report: &mut Report<'_>) -> Option<Arc<[Condition]>> {
        let Some(Member { value, .. }) = node.member("Condition") else {
            return Some(Arc::default());
        };
        let conditions = condition::parse(value, self.version, report)?;
        Some(match report.text_at(&value.span) {
            // Nothing of a request may stay.
            Some(text) if !report.is_brief() => shared(conditions, text),
            _ => conditions.into(),
        })
    }
}

/// Returns the name of a policy type for messages, such as "an identity policy".
pub(super) fn name_of(policy_type: PolicyType) -> &'static str {
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

/// Checks what each field of a resource contains (V-3, M-18).
fn check_fields(pattern: &ResourcePattern, node: &Node<'_>, report: &mut Report<'_>) {
    const FIELDS: [&str; 4] = ["partition", "service", "region", "account"];
    if !pattern.as_str().contains(['$', '*', '?']) {
        return;
    }
    for (index, (field, name)) in pattern.fields().iter().zip(FIELDS).enumerate() {
        for variable in field.variables() {
            let key = variable.key.folded();
            let is_global = key
                .strip_prefix("aws:")
                .is_some_and(|name| !name.is_empty() && !name.starts_with(':'));
            if index < 2 || !is_global {
                let message = format!(
                    "policy variable `${{{key}}}` must not be in the {name} field of a resource"
                );
                report
                    .error(Code::MISPLACED_VARIABLE, &node.span, message)
                    .help("variables belong after the fifth colon");
            } else {
                let message =
                    format!("policy variable `${{{key}}}` is in the {name} field of a resource");
                report
                    .warning(Code::VARIABLE_BEFORE_FIFTH_COLON, &node.span, message)
                    .help(format!("write the {name} itself"));
            }
        }
        if index == 1 && field.as_str().contains(['*', '?']) {
            report
                .warning(
                    Code::WILDCARD_IN_SERVICE,
                    &node.span,
                    "AWS does not allow a wildcard in the service field of a resource",
                )
                .help("write the service's name");
        }
    }
}

/// Checks short patterns (M-12).
fn check_reach(
    pattern: &ResourcePattern,
    node: &Node<'_>,
    may_be_short: bool,
    report: &mut Report<'_>,
) {
    if !pattern.is_short() {
        return;
    }
    let text = pattern.as_str();
    let ends_in_wildcard = pattern.ends_in_wildcard();
    let merely_ends = ends_in_wildcard && !text.trim_end_matches('*').contains('*');
    if merely_ends {
        return;
    }
    let message = format!("resource `{text}` has fewer than the six fields of an ARN");
    if !may_be_short && !ends_in_wildcard {
        report.error(Code::SHORT_ARN, &node.span, message)
    } else {
        report.warning(Code::SHORT_ARN, &node.span, message)
    }
    .help("write `arn:partition:service:region:account:resource`; fields may be empty or `*`");
}
