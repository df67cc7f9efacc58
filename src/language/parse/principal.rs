//! Parses `Principal` and `NotPrincipal` by G-14, G-23 to G-26 and G-29 to G-31.

use super::statement::{Parser, name_of};
use super::{list, pattern_text};
use crate::language::document::{Effect, PolicyType, PrincipalElement, PrincipalEntry};
use crate::language::finding::{Code, did_you_mean};
use crate::language::json::{Member, Node, Value};
use crate::language::report::Report;
use crate::name::{
    AccountId, NO_ISSUER, Principal, is_entity_name, is_issuer, is_service_principal,
};

const PRINCIPAL_KINDS: &[&str] = &["AWS", "Service", "Federated", "CanonicalUser"];

impl Parser {
    /// G-14, G-23 to G-26, G-29 to G-31. The inner option is `None` if the policy type has no principals.
    #[expect(
        clippy::option_option,
        reason = "an error and an absent element are different things"
    )]
    pub(super) fn principal(
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
                    "the principal is the entity that the policy is attached to: remove the element",
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
            .guess(|| did_you_mean(&kind.name, PRINCIPAL_KINDS.iter().copied()));
    }
}

/// Reads one principal of this kind (G-24 to G-26).
fn principal_entry(node: &Node<'_>, kind: &str, report: &mut Report<'_>) -> Option<PrincipalEntry> {
    let text = pattern_text(node, kind, report)?;
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
                format!("principal `{text}` must not contain a wildcard"),
            )
            .help("use `\"*\"` with a condition on `aws:PrincipalArn`");
        return None;
    }
    let read = match kind {
        "AWS" => aws_principal(text),
        "Federated" => federated_principal(text),
        "Service" => Ok(PrincipalEntry::Service(text.into())),
        _ => Ok(PrincipalEntry::CanonicalUser(text.into())),
    };
    let entry = match read {
        Ok(entry) => entry,
        Err(why) => {
            report.error(
                Code::INVALID_PRINCIPAL,
                &node.span,
                format!("`{kind}` principal `{text}` {why}"),
            );
            return None;
        }
    };
    // G-26 compares these texts as they are. A text that no request can have matches nobody, like any other unknown
    // name.
    let suspicious = match &entry {
        PrincipalEntry::Service(_) if !is_service_principal(text) => {
            Some("a service is a dotted name such as `ec2.amazonaws.com`")
        }
        PrincipalEntry::Federated(_) if !is_provider(text) => {
            Some("a provider is an ARN, or the issuer's host and path without a scheme")
        }
        _ => None,
    };
    if let Some(help) = suspicious {
        let message = format!("`{kind}` principal `{text}` can never make a request");
        report
            .warning(Code::UNKNOWN_PRINCIPAL, &node.span, message)
            .help(help);
    }
    Some(entry)
}

/// Returns an account, an ARN or a name, or the reason why the text is none of these (G-24).
fn aws_principal(text: &str) -> Result<PrincipalEntry, &'static str> {
    const NO_ARN: &str = "must be the ARN of a root, user, role, role session or federated user";
    const NOTHING: &str = "must be `*`, an account, an ARN or a unique id";
    if text.contains(':') {
        return match Principal::parse(text) {
            Ok(Principal::Root(arn)) => Ok(PrincipalEntry::Account {
                account: AccountId::parse(arn.account()).map_err(|_| NO_ARN)?,
                partition: Some(arn.partition().into()),
            }),
            Ok(
                Principal::User(arn)
                | Principal::Role(arn)
                | Principal::AssumedRole { arn, .. }
                | Principal::FederatedUser { arn, .. },
            ) => Ok(PrincipalEntry::Entity(arn.owned())),
            _ => Err(NO_ARN),
        };
    }
    if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(PrincipalEntry::Account {
            account: AccountId::parse(text).map_err(|_| NOTHING)?,
            partition: None,
        });
    }
    let entry = is_entity_name(text).then(|| PrincipalEntry::Id(text.into()));
    entry.ok_or(NOTHING)
}

/// Returns a provider or an issuer's host and path, or the reason why the text is neither (G-26).
fn federated_principal(text: &str) -> Result<PrincipalEntry, &'static str> {
    let is_bare = !text.starts_with("arn:") && !text.contains("://");
    let of_arn = text.split_once(":oidc-provider/");
    if is_bare && !is_issuer(text) || of_arn.is_some_and(|(_, issuer)| !is_issuer(issuer)) {
        return Err(NO_ISSUER);
    }
    Ok(PrincipalEntry::Federated(text.into()))
}

/// Returns whether the text is the ARN of an OIDC or SAML provider, or an issuer (G-26).
fn is_provider(text: &str) -> bool {
    if text.starts_with("arn:") {
        return matches!(Principal::parse(text), Ok(Principal::Provider(_)));
    }
    !text.contains("://") && !text.contains(char::is_whitespace)
}
