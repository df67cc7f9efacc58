//! What must be right about a question before it is decided, and needs the store to know (5.5: validate, owner).

use super::derived::is_of;
use super::error::{RequestError, context_field};
use super::request::{Request, is_task_policy};
use crate::compile::attachments::Attachment;
use crate::compile::oidc_issuer;
use crate::compile::snapshot::Snapshot;
use crate::context::{ContextKey, KeyKind};
use crate::language::text::Text;
use crate::name::{AccountId, ActionKind, Principal, Resource};

/// Checks `request` against the store.
#[inline(always)] // PERF: it has one caller, and most questions pass at once.
pub(super) fn admit(snapshot: &Snapshot, request: &Request) -> Result<(), RequestError> {
    check_provider(request)?;
    if request.simulated.is_none() {
        check_claims_in_context(snapshot, request)?;
    }
    match request.action.kind() {
        ActionKind::AssumeRoot => check_assume_root_parameters(request)?,
        kind if kind.is_of_trust() => check_assume_role_parameters(snapshot, request)?,
        _ => {}
    }
    for (index, arn) in request.session.policy_arns.iter().enumerate() {
        if snapshot.managed_policy(arn.as_str()).is_none() {
            let field = format!("session.policy_arns[{index}]");
            let message = format!("the store has no managed policy `{arn}`");
            return Err(RequestError::invalid(field, message));
        }
    }
    Ok(())
}

/// Refuses an identity provider as the principal of any question that no trust policy decides (E-2, T-20).
fn check_provider(request: &Request) -> Result<(), RequestError> {
    let is_provider = matches!(request.principal, Principal::Provider(_));
    if is_provider && !request.action.kind().is_of_trust() {
        let message = format!(
            "an identity provider asks for the session of a role only, and `{}` is another action",
            request.action
        );
        return Err(RequestError::invalid("principal", message));
    }
    Ok(())
}

/// Refuses claims in the context: those of a registered issuer and of the session's own belong in `session.claims`
/// (K-1).
#[inline(never)]
fn check_claims_in_context(snapshot: &Snapshot, request: &Request) -> Result<(), RequestError> {
    let own_provider = match &request.principal {
        Principal::Provider(arn) => Some(arn.as_str()),
        _ => request.session.federated_provider.as_deref(),
    };
    let own_issuer = own_provider.and_then(oidc_issuer);
    let longest = snapshot.longest_oidc_issuer();
    if own_issuer.is_none() && longest.is_none() {
        return Ok(());
    }
    for entry in request.context.entries().iter().filter(|entry| {
        // An issuer may have a name that makes its claims look like tags of a service.
        matches!(
            entry.key.kind(),
            KeyKind::Given | KeyKind::ServiceResourceTag
        )
    }) {
        let spelled = entry.key.spelled();
        let mut beginnings = possible_issuers(spelled, longest.unwrap_or(0));
        let is_registered =
            beginnings.any(|prefix| snapshot.has_oidc_issuer(&Text::folded(prefix)));
        if is_registered || own_issuer.is_some_and(|issuer| is_of(issuer, spelled)) {
            return Err(RequestError::reserved(spelled));
        }
    }
    Ok(())
}

/// Returns the texts before each colon of `key` that are no longer than the longest issuer. The limit bounds the work
/// for a key that consists of colons, and the memory for its texts in lower case.
fn possible_issuers(key: &str, longest: usize) -> impl Iterator<Item = &str> {
    let ends = key.match_indices(':').map(|(at, _)| at);
    ends.take_while(move |at| *at <= longest)
        .filter_map(|at| key.get(..at))
}

/// The shortest and the longest session, in seconds, if the role does not set a maximum (T-31).
const SESSION_SECONDS: std::ops::RangeInclusive<u32> = 900..=43_200;
/// The longest session of a chained role (T-32).
const MAX_CHAINED_SECONDS: u32 = 3_600;

/// Refuses parameters for which no credentials could be issued (T-31, T-32, T-37, T-39).
fn check_assume_role_parameters(
    snapshot: &Snapshot,
    request: &Request,
) -> Result<(), RequestError> {
    let is_chaining = matches!(
        request.principal,
        Principal::AssumedRole { .. } | Principal::Role(_)
    );
    if let Some(seconds) = request.context.get_kind(KeyKind::DurationSeconds) {
        let role = match &request.resource {
            Resource::Arn(arn) => snapshot.entity(arn).and_then(|entity| entity.role.as_ref()),
            Resource::Any => None,
        };
        let of_role = role.map_or(*SESSION_SECONDS.end(), |role| role.max_session_duration);
        let most = if is_chaining {
            of_role.min(MAX_CHAINED_SECONDS)
        } else {
            of_role
        };
        let seconds = seconds.one().and_then(|one| one.parse::<u32>().ok());
        if !seconds.is_some_and(|seconds| (*SESSION_SECONDS.start()..=most).contains(&seconds)) {
            let message = format!(
                "a session of this role lasts {} to {most} seconds",
                SESSION_SECONDS.start()
            );
            let field = context_field("sts:DurationSeconds");
            return Err(RequestError::invalid(field, message));
        }
    }
    for entry in request.context.request_tags() {
        if request
            .session
            .transitive_tag_keys
            .iter()
            .any(|inherited| inherited.eq_ignore_ascii_case(entry.key.tag()))
        {
            let field = context_field(entry.key.spelled());
            return Err(RequestError::invalid(
                field,
                "the session passes this tag on already",
            ));
        }
    }
    if let (Some(own), Some(passed)) = (
        &request.session.source_identity,
        request.context.get(&ContextKey::new("sts:SourceIdentity")),
    ) && passed.all().any(|value| value != own)
    {
        let message = format!("the session's source identity is `{own}` and cannot be changed");
        let field = context_field("sts:SourceIdentity");
        return Err(RequestError::invalid(field, message));
    }
    Ok(())
}

/// The longest session of a root user, in seconds (T-11).
const MAX_ROOT_SECONDS: u32 = 900;

/// Checks the task policy and the duration of the session (T-11).
fn check_assume_root_parameters(request: &Request) -> Result<(), RequestError> {
    let context = &request.context;
    if let Some(seconds) = context.get_kind(KeyKind::DurationSeconds) {
        let fits = |seconds: &str| seconds.parse::<u32>().is_ok_and(|n| n <= MAX_ROOT_SECONDS);
        if !seconds.one().is_some_and(fits) {
            return Err(RequestError::invalid(
                context_field("sts:DurationSeconds"),
                format!("a session of a root user lasts {MAX_ROOT_SECONDS} seconds at most"),
            ));
        }
    }
    if let Some(task) = context.get(&ContextKey::new("sts:TaskPolicyArn"))
        && !task.one().is_some_and(is_task_policy)
    {
        return Err(RequestError::invalid(
            context_field("sts:TaskPolicyArn"),
            "is no task policy: `arn:aws:iam::aws:policy/root-task/NAME`",
        ));
    }
    Ok(())
}

/// Returns whose the resource is: the first answer of E-6, or that of E-7. `attached` are the files that cover it.
#[inline]
pub(super) fn owner<'a>(
    snapshot: &'a Snapshot,
    request: &'a Request,
    attached: &[&'a Attachment],
) -> Result<Option<&'a str>, RequestError> {
    let named = match &request.resource {
        Resource::Any => None,
        // An account owns its resources whether or not the store has it. If not, no policies speak for it.
        Resource::Arn(arn) => Some(arn.account()).filter(|account| !matches!(*account, "" | "aws")),
    };
    match &request.resource_account {
        None if named.is_some() => Ok(named), // PERF: most questions name it once
        _ => owner_of(snapshot, request, attached, named),
    }
}

fn owner_of<'a>(
    snapshot: &'a Snapshot,
    request: &'a Request,
    attached: &[&'a Attachment],
    named: Option<&'a str>,
) -> Result<Option<&'a str>, RequestError> {
    let found = match (&request.resource, named) {
        (Resource::Arn(_), None) => covering_account(&request.resource, attached)?,
        (_, named) => named,
    };
    let given = request.resource_account.as_ref().map(AccountId::as_str);
    if let (Some(found), Some(given)) = (found, given)
        && found != given
    {
        let message = format!("`{given}` contradicts the resource's account `{found}`");
        return Err(RequestError::invalid("resource_account", message));
    }
    if let Some(owner) = found.or(given) {
        return Ok(Some(owner));
    }
    let belongs_to_everybody = match &request.resource {
        Resource::Any => true,
        Resource::Arn(arn) => arn.account() == "aws",
    };
    if belongs_to_everybody {
        let account = match &request.principal {
            Principal::Provider(_) => "", // T-24: no principal of an account
            principal => principal.arn().map_or("", |arn| arn.account()),
        };
        return Ok(snapshot.account(account).map(|account| account.id.as_str())); // E-7
    }
    let is_of_aws = match &request.resource {
        Resource::Arn(arn) => arn.partition().starts_with("aws"),
        Resource::Any => false,
    };
    if is_of_aws && snapshot.has_several_accounts() {
        return Ok(None); // E-6 (4): it may be anybody's
    }
    Ok(snapshot.default_owner().map(AccountId::as_str))
}

/// Returns the one account whose resource policies cover `resource`.
fn covering_account<'a>(
    resource: &Resource,
    attached: &[&'a Attachment],
) -> Result<Option<&'a str>, RequestError> {
    let mut accounts = attached.iter().map(|file| file.account.as_str());
    let first = accounts.next();
    if accounts.any(|account| first != Some(account)) {
        let message = format!(
            "the resource policies of two accounts cover `{resource}`: name the account in the ARN"
        );
        return Err(RequestError::invalid("resource", message));
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_longer_than_any_issuer_is_not_looked_up() {
        let found = |folded, longest| possible_issuers(folded, longest).collect::<Vec<_>>();
        assert_eq!(
            found("a.example/x:y:sub", 13),
            ["a.example/x", "a.example/x:y"]
        );
        assert_eq!(found("a.example/x:y:sub", 12), ["a.example/x"]);
        assert_eq!(found("a.example/x:y:sub", 0), [""; 0]);
        // Each of these would be hashed from its begin: all of them together in the square of their number.
        let colons = ":".repeat(16 * 1024);
        assert_eq!(possible_issuers(&colons, 20).count(), 21);
    }
}
