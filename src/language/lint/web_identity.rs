//! Lints for trust policies of web identities: they find conditions that do not keep out the tokens of strangers (T-23,
//! T-26).

use std::collections::{BTreeSet, HashSet};

use super::{Place, covers};
use crate::language::condition::{Condition, Operand};
use crate::language::document::{Effect, Listed, PrincipalEntry, Statement};
use crate::language::finding::Code;
use crate::language::pattern::Piece;
use crate::language::report::Report;

pub(super) const WEB_IDENTITY: &str = "sts:AssumeRoleWithWebIdentity";

/// GitHub Actions. AWS documents that it refuses a subject that consists of wildcards alone.
const GITHUB_ACTIONS: &str = "token.actions.githubusercontent.com";

/// The issuers whose tokens anybody can get, with the keys that tell their tenants apart. A key is a claim, or if it
/// has a colon, the full name of a context key (T-26).
const SHARED: &[(&str, &[&str])] = &[
    ("agent.buildkite.com", &["sub"]),
    ("oidc.codefresh.io", &["sub"]),
    ("studio.datachain.ai/api", &["sub"]),
    (GITHUB_ACTIONS, &["sub", "job_workflow_ref"]),
    (
        "oidc-configuration.audit-log.githubusercontent.com",
        &["sub"],
    ),
    ("vstoken.actions.githubusercontent.com", &["sub"]),
    ("gitlab.com", &["sub"]),
    ("scalr.io", &["sub"]),
    ("tokens.cloud.shisho.dev", &["sub"]),
    ("app.terraform.io", &["sub"]),
    ("proidc.upbound.io", &["sub"]),
    (
        "rh-oidc.s3.us-east-1.amazonaws.com/22ejnvnnturfmt6km08idd0nt4hekbn7",
        &["sub"],
    ),
    (
        "rh-oidc.s3.us-east-1.amazonaws.com/23e3sd27sju1hoou6ohfs68vbno607tr",
        &["sub"],
    ),
    (
        "rh-oidc.s3.us-east-1.amazonaws.com/23ne21h005qjl3n33d8dui5dlrmv2tmg",
        &["sub"],
    ),
    (
        "rh-oidc.s3.us-east-1.amazonaws.com/24jrf12m5dj7ljlfb4ta2frhrcoadm26",
        &["sub"],
    ),
    (
        "oidc.op1.openshiftapps.com/2f785sojlpb85i7402pk3qogugim5nfb",
        &["sub"],
    ),
    (
        "oidc.op1.openshiftapps.com/2c51blsaqa9gkjt0o9rt11mle8mmropu",
        &["sub"],
    ),
    ("cognito-identity.amazonaws.com", &["aud"]),
    ("api.pulumi.com/oidc", &["aud"]),
    ("sandboxes.cloud", &["aud"]),
    ("oidc.vercel.com", &["aud"]),
    (
        "sts.windows.net/33e01921-4d64-4f8c-a055-5bdaffd5e33d",
        &["sts:rolesessionname"],
    ),
];

/// Returns the claims that tie a token to a user or an application (T-23). Some providers use names of their own for
/// them.
fn identifying_claims(issuer: &str) -> &'static [&'static str] {
    match issuer {
        "www.amazon.com" | "graph.facebook.com" => &["sub", "aud", "app_id", "user_id", "id"],
        _ => &["sub", "aud", "oaud"],
    }
}

/// Warns if the statement accepts tokens that no condition ties to a user or an application.
pub(super) fn lint(statement: &Statement, at: &Place<'_, '_>, report: &mut Report<'_>) {
    let (Effect::Allow, Some(principal)) = (statement.effect, &statement.principal) else {
        return;
    };
    let covered = match &statement.actions {
        Listed::Any(actions) => actions.iter().any(|action| covers(action, WEB_IDENTITY)),
        Listed::Not(actions) => !actions.iter().any(|action| covers(action, WEB_IDENTITY)),
    };
    if !covered {
        return;
    }
    let providers = principal.entries.iter().filter_map(|entry| match entry {
        PrincipalEntry::Federated(provider) => issuer(provider),
        _ => None,
    });
    let issuers: BTreeSet<String> = providers.collect();
    let keys = statement.conditions.iter();
    let keys: HashSet<&str> = keys.map(|condition| condition.key.folded()).collect();
    for issuer in &issuers {
        match SHARED.iter().find(|(shared, _)| shared == issuer) {
            Some((_, keys)) => shared(statement, issuer, keys, at, report),
            None => of_one_tenant(&keys, issuer, at, report),
        }
    }
}

/// Reports an Allow for an issuer that many tenants share if no condition tells the tenants apart (T-26).
fn shared(
    statement: &Statement,
    issuer: &str,
    keys: &[&str],
    at: &Place<'_, '_>,
    report: &mut Report<'_>,
) {
    let tests: Vec<&Condition> = statement
        .conditions
        .iter()
        .filter(|condition| {
            let is_key = |key: &&str| match key.contains(':') {
                true => condition.key.folded() == *key,
                false => claim(condition, issuer) == Some(*key),
            };
            keys.iter().any(is_key) && !matches!(condition.operand, Operand::Null(_))
        })
        .collect();
    if tests.iter().any(|condition| !is_open(condition)) {
        return;
    }
    let named = |key: &&str| match key.contains(':') {
        true => "`sts:RoleSessionName`".to_owned(),
        false => format!("`{issuer}:{key}`"),
    };
    let names: Vec<String> = keys.iter().map(named).collect();
    let help = format!("add a condition on {}", names.join(" or "));
    match tests.first() {
        None => {
            let message = format!("anyone can get a token of `{issuer}` and so assume the role");
            let code = Code::SHARED_PROVIDER_WITHOUT_CONDITION;
            report
                .error(code, &at.element("Principal"), message)
                .help(help);
        }
        Some(condition) => {
            let place = at.condition(condition);
            let message = format!(
                "`{}` may have any value, and anyone can get a token of `{issuer}`",
                condition.spelled
            );
            let code = Code::SHARED_PROVIDER_WITHOUT_CONDITION;
            if issuer == GITHUB_ACTIONS {
                report.error(code, &place, message)
            } else {
                report.warning(code, &place, message)
            }
            .help("name the tenant in the value, not only wildcards");
        }
    }
}

/// Warns of an Allow for an issuer of one tenant if no condition ties the token to a user or an application (T-23).
fn of_one_tenant(keys: &HashSet<&str>, issuer: &str, at: &Place<'_, '_>, report: &mut Report<'_>) {
    let mut identifying = identifying_claims(issuer).iter();
    let is_tested = |claim: &&str| {
        let key = |separator: &str| format!("{issuer}{separator}{claim}");
        keys.contains(&*key(":")) || keys.contains(&*key("/:"))
    };
    if !identifying.any(is_tested) {
        let message = format!("every user of `{issuer}` may assume the role");
        report
            .warning(
                Code::OIDC_TRUST_WITHOUT_CONDITION,
                &at.element("Principal"),
                message,
            )
            .help(format!(
                "add a condition on `{issuer}:sub` or `{issuer}:aud`"
            ));
    }
}

/// Returns the claim of `issuer` that the condition is about, lower-cased.
fn claim<'c>(condition: &'c Condition, issuer: &str) -> Option<&'c str> {
    let behind = condition.key.folded().strip_prefix(issuer)?;
    behind.strip_prefix('/').unwrap_or(behind).strip_prefix(':')
}

/// Returns whether one of the values consists of wildcards alone. Then any claim fits, whatever the other values are.
fn is_open(condition: &Condition) -> bool {
    let (Operand::StringEquals(texts)
    | Operand::StringEqualsIgnoreCase(texts)
    | Operand::StringLike(texts)) = &condition.operand
    else {
        return false;
    };
    !condition.operator.base.is_negated()
        && texts.iter().any(|text| {
            text.pieces().all(|piece| match piece {
                Piece::AnyOne | Piece::AnyRun => true,
                Piece::Text(text) => text.bytes().all(|byte| matches!(byte, b'*' | b'?')),
                Piece::Variable(_) => false,
            })
        })
}

/// Returns the issuer of an OIDC provider, folded as condition keys are and without a final slash. Returns `None` for
/// SAML.
fn issuer(provider: &str) -> Option<String> {
    let issuer = match provider.strip_prefix("arn:") {
        Some(behind) => behind.split_once(":oidc-provider/")?.1,
        None => provider,
    };
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    Some(issuer.to_ascii_lowercase())
}
