//! Section 6.2: the claims in tokens of identity providers.

use super::context::Values;
use super::question::{Caller, Kind, Question};
use super::store::issuer;

const COGNITO: &str = "cognito-identity.amazonaws.com";
const GOOGLE: &str = "accounts.google.com";
const FACEBOOK: &str = "graph.facebook.com";
const AMAZON: &str = "www.amazon.com";

/// Returns the provider that asks or that the session came from. Empty if there is none.
fn provider<'q>(question: &'q Question, caller: &'q Caller<'_>) -> &'q str {
    match caller.kind {
        Kind::Provider => &caller.arn,
        _ => &question.session().federated_provider,
    }
}

/// Returns its issuer, if it is an OIDC provider.
fn oidc_issuer(question: &Question, caller: &Caller<'_>) -> Option<String> {
    issuer(provider(question, caller)).filter(|issuer| !issuer.is_empty())
}

/// Returns `aws:FederatedProvider` (its row in section 4.9, T-24).
pub fn federated_provider(question: &Question, caller: &Caller<'_>) -> Option<String> {
    let issuer = oidc_issuer(question, caller)?;
    if [COGNITO, GOOGLE, FACEBOOK, AMAZON].contains(&issuer.as_str()) {
        return Some(issuer);
    }
    let provider = provider(question, caller);
    if provider.starts_with("arn:") {
        return Some(provider.to_owned());
    }
    let account = caller.account.as_deref()?;
    let partition = &caller.partition;
    Some(format!(
        "arn:{partition}:iam::{account}:oidc-provider/{provider}"
    ))
}

/// T-22: returns the keys of claims, in lower case.
pub fn keys_of_claims<'q>(
    question: &'q Question,
    caller: &Caller<'_>,
) -> Vec<(String, Values<'q>)> {
    if provider(question, caller).is_empty() {
        return vec![]; // nobody vouched for them
    }
    let claims = &question.session().claims;
    let claim = |wanted: &str| -> Values<'q> {
        let mut found = claims.iter().filter(|(name, _)| name == wanted);
        found
            .next()
            .map(|(_, value)| value.texts())
            .unwrap_or_default()
    };
    let mut keys: Vec<(&str, Values<'q>)> = claims
        .iter()
        .map(|(name, value)| (name.as_str(), value.texts()))
        .collect();
    let issuer = oidc_issuer(question, caller);
    let (prefix, lasting) = match issuer.as_deref() {
        None => ("saml", &["sub", "sub_type", "namequalifier"][..]),
        Some(issuer) => {
            let has_azp = claim("azp").iter().any(|azp| !azp.is_empty()) && issuer != COGNITO;
            keys.retain(|(name, _)| !["aud", "oaud"].contains(name));
            keys.push(("aud", claim(if has_azp { "azp" } else { "aud" })));
            keys.push(("oaud", claim("aud")));
            if issuer == GOOGLE {
                for (name, _) in &mut keys {
                    if *name == "google:organization_number" {
                        *name = "google/organization_number";
                    }
                }
            }
            let lasting = match issuer {
                AMAZON => &["app_id", "sub", "user_id"][..],
                FACEBOOK => &["app_id", "id"],
                _ => &["amr", "aud", "sub"],
            };
            (issuer, lasting)
        }
    };
    if caller.kind != Kind::Provider {
        keys.retain(|(name, _)| lasting.contains(name));
    }
    let key = |(name, values): (&str, _)| (format!("{prefix}:{name}").to_ascii_lowercase(), values);
    keys.into_iter().map(key).collect()
}

/// T-25: what the token says about the roles that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roles {
    /// The token has no claim about roles.
    Unnamed,
    Hold,
    HoldNot,
}

/// Returns it as in T-25, or `None` if no OIDC provider asks for its own call or for what goes with it (T-35).
pub fn roles(question: &Question, caller: &Caller<'_>) -> Option<Roles> {
    let actions = [
        "sts:AssumeRoleWithWebIdentity",
        "sts:TagSession",
        "sts:SetSourceIdentity",
    ];
    let is_asked = actions.iter().any(|action| question.is_action(action));
    if caller.kind != Kind::Provider || oidc_issuer(question, caller).is_none() || !is_asked {
        return None;
    }
    let mut claims = question.session().claims.iter();
    let claim = claims.find(|(name, _)| name == "https://aws.amazon.com/roles");
    let Some((_, claim)) = claim else {
        return Some(Roles::Unnamed);
    };
    // C-10: a list of one value counts as that value.
    let texts = claim.texts();
    let is_named = match texts.as_slice() {
        [one] => one.split(';').any(|role| role == question.resource),
        many => many.iter().any(|role| *role == question.resource),
    };
    match is_named {
        true => Some(Roles::Hold),
        false => Some(Roles::HoldNot),
    }
}
