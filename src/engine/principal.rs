//! Decides whether a statement of a resource policy or trust policy names the caller (section 5.3).

use super::caller::Caller;
use crate::compile::oidc_issuer;
use crate::language::document::{Effect, PrincipalElement, PrincipalEntry};
use crate::name::{Action, ActionKind, Arn, GivenArn, Principal};

/// How much an Allow of a resource policy counts for (P-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strength {
    /// The statement names the account, so the account's own policies must allow too (E-43).
    Account,
    /// The statement names the role of the session, or the user behind it (E-42).
    Entity,
    /// The statement names the principal itself, or everyone (E-41).
    Direct,
}

/// Returns how strongly a statement with this `principal` element and effect names `caller`, or `None` if it does not.
pub(super) fn strength(
    element: &PrincipalElement,
    effect: Effect,
    caller: &Caller<'_>,
    action: &Action,
) -> Option<Strength> {
    if element.negated {
        return is_caught(&element.entries, caller).then_some(Strength::Direct);
    }
    let best = element
        .entries
        .iter()
        .filter_map(|entry| entry_strength(entry, effect, caller, action))
        .max()?;
    // T-9: for these callers and actions an Allow never counts for more than one that names the account.
    let is_weak = effect == Effect::Allow && cannot_assume(caller, action);
    Some(match best {
        _ if is_weak => Strength::Account,
        // T-12: a task policy limits the root user no matter which statement grants.
        Strength::Direct if effect == Effect::Allow && caller.is_assumed_root => Strength::Entity,
        best => best,
    })
}

/// Returns whether the action is `sts:AssumeRoleWithWebIdentity` or `sts:AssumeRoleWithSAML` (T-20).
pub(super) fn is_federation(action: &Action) -> bool {
    use ActionKind::{AssumeRoleWithSaml, AssumeRoleWithWebIdentity};
    matches!(
        action.kind(),
        AssumeRoleWithWebIdentity | AssumeRoleWithSaml
    )
}

/// Returns whether the action assumes a role and the caller cannot do that: root users, federated users and the
/// anonymous principal (T-9).
pub fn cannot_assume(caller: &Caller<'_>, action: &Action) -> bool {
    let is_barred = matches!(
        caller.principal,
        Principal::Root(_) | Principal::FederatedUser { .. } | Principal::Anonymous
    );
    let is_assuming = matches!(
        action.kind(),
        ActionKind::AssumeRole | ActionKind::SetContext | ActionKind::AssumeRoot
    );
    is_barred && (is_assuming || goes_with_assuming(action))
}

/// Returns whether the action is one that the same caller requests along with the call that assumes a role (T-35,
/// T-39).
pub(super) fn goes_with_assuming(action: &Action) -> bool {
    use ActionKind::{SetSourceIdentity, TagSession};
    matches!(action.kind(), TagSession | SetSourceIdentity)
}

/// Returns the strength of one entry, as in the table of P-1, with P-7 and T-20.
fn entry_strength(
    entry: &PrincipalEntry,
    effect: Effect,
    caller: &Caller<'_>,
    action: &Action,
) -> Option<Strength> {
    use PrincipalEntry as E;
    let is_allow = effect == Effect::Allow;
    // T-20: an entry for signed AWS principals does not admit a token, and an entry for tokens does not admit a signed
    // principal.
    let needs_federated =
        is_allow && (is_federation(action) || matches!(caller.principal, Principal::Provider(_)));
    match entry {
        E::Federated(provider) => {
            is_provider(provider, effect, caller, action).then_some(Strength::Direct)
        }
        _ if needs_federated => None,
        E::Everyone => Some(Strength::Direct),
        // P-7: `AWS: *` in an Allow does not include services. In a Deny it does.
        E::EveryAws if is_allow && matches!(caller.principal, Principal::Service(_)) => None,
        E::EveryAws => Some(Strength::Direct),
        E::Service(name) => {
            matches!(caller.principal, Principal::Service(service) if *service == &**name)
                .then_some(Strength::Direct)
        }
        E::Entity(arn) => entity_strength(arn, effect, caller),
        E::Account { .. } | E::CanonicalUser(_) => account_strength(entry, caller),
        E::Id(id) => account_strength(entry, caller).or_else(|| unique_id_strength(id, caller)),
    }
}

/// Returns whether `provider`, an ARN or an issuer, names the calling identity provider. An Allow applies only to a
/// federation call of the provider's own kind and to the actions that go with it (T-20, T-35). A Deny applies to every
/// action.
fn is_provider(provider: &str, effect: Effect, caller: &Caller<'_>, action: &Action) -> bool {
    let Principal::Provider(arn) = caller.principal else {
        return false;
    };
    let is_oidc = arn.resource().starts_with("oidc-provider/");
    let is_own_kind = match action.kind() {
        ActionKind::AssumeRoleWithWebIdentity => is_oidc,
        ActionKind::AssumeRoleWithSaml => !is_oidc,
        _ => goes_with_assuming(action),
    };
    if effect == Effect::Allow && !is_own_kind {
        return false;
    }
    let is_issuer =
        is_oidc && !provider.starts_with("arn:") && oidc_issuer(arn.as_str()) == Some(provider);
    provider == arn.as_str() || is_issuer
}

fn entity_strength(arn: &Arn, effect: Effect, caller: &Caller<'_>) -> Option<Strength> {
    match caller.principal {
        Principal::User(own) if own == arn => Some(Strength::Direct),
        Principal::AssumedRole { arn: session, .. } if session == arn => Some(Strength::Direct),
        Principal::FederatedUser { arn: session, .. } if session == arn => Some(Strength::Direct),
        Principal::Role(own) if own == arn => Some(Strength::Entity),
        Principal::AssumedRole {
            arn: session, role, ..
        } if caller.entity.is_none() => {
            is_external_role(arn, effect, session, role).then_some(Strength::Entity)
        }
        Principal::AssumedRole { .. } => caller
            .entity
            .is_some_and(|entity| entity.arn == *arn)
            .then_some(Strength::Entity),
        Principal::FederatedUser { .. } => caller
            .parent
            .is_some_and(|parent| parent == arn)
            .then_some(Strength::Entity),
        _ => None,
    }
}

/// Returns whether `arn` is the role of a session of an external account. Only the role's name is known, not its path
/// (T-30), so a Deny matches any path and an Allow matches none.
fn is_external_role(arn: &Arn, effect: Effect, session: &GivenArn<'_>, role: &str) -> bool {
    let is_same_account =
        arn.account() == session.account() && arn.partition() == session.partition();
    let name = arn
        .resource()
        .strip_prefix("role/")
        .filter(|_| is_same_account && arn.service() == "iam");
    match effect {
        Effect::Allow => name == Some(role),
        Effect::Deny => name.and_then(|name| name.rsplit('/').next()) == Some(role),
    }
}

fn unique_id_strength(id: &str, caller: &Caller<'_>) -> Option<Strength> {
    let is_own = caller.entity.and_then(|entity| entity.unique_id.as_deref()) == Some(id);
    is_own.then_some(match caller.principal {
        Principal::User(_) => Strength::Direct,
        _ => Strength::Entity,
    })
}

/// Returns the strength of an entry that names the caller's account, as in the last rows of P-1.
fn account_strength(entry: &PrincipalEntry, caller: &Caller<'_>) -> Option<Strength> {
    let is_member = !caller.is_outsider() && names_account(entry, caller);
    is_member.then_some(if caller.is_root() {
        Strength::Direct
    } else {
        Strength::Account
    })
}

fn names_account(entry: &PrincipalEntry, caller: &Caller<'_>) -> bool {
    let Some(account) = caller.account else {
        return false;
    };
    match entry {
        PrincipalEntry::Account {
            account: id,
            partition,
        } => {
            *id == account.id
                && partition
                    .as_ref()
                    .is_none_or(|partition| *partition == account.partition)
        }
        PrincipalEntry::Id(id) => **id == *account.id.as_str(),
        PrincipalEntry::CanonicalUser(id) => account.canonical_user_id.as_ref() == Some(id),
        _ => false,
    }
}

/// Returns whether a Deny with these `NotPrincipal` entries applies (P-8 to P-10). A principal is exempt only if the
/// entries list its whole chain of identities and it has no permissions boundary.
fn is_caught(entries: &[PrincipalEntry], caller: &Caller<'_>) -> bool {
    use PrincipalEntry as E;
    if caller.has_boundary() {
        return true; // P-9
    }
    let lists = |is_listed: &dyn Fn(&E) -> bool| entries.iter().any(is_listed);
    if lists(&|entry| *entry == E::Everyone) {
        return false; // P-10
    }
    let lists_arn =
        |arn: &GivenArn<'_>| lists(&|entry| matches!(entry, E::Entity(listed) if listed == arn));
    let lists_entity = || {
        caller.entity.is_some_and(|entity| {
            let is_id = |entry: &E| matches!((entry, &entity.unique_id), (E::Id(listed), Some(id)) if listed == id);
            lists_arn(&entity.arn.given()) || lists(&is_id)
        })
    };
    let lists_external_role = |session: &GivenArn<'_>, role: &str| {
        let is_listed = |entry: &E| matches!(entry, E::Entity(arn) if is_external_role(arn, Effect::Allow, session, role));
        caller.entity.is_none() && lists(&is_listed)
    };
    let is_exempt = match caller.principal {
        Principal::Anonymous => lists(&|entry| *entry == E::EveryAws),
        Principal::Service(name) => {
            lists(&|entry| matches!(entry, E::Service(listed) if **listed == **name))
        }
        Principal::Provider(arn) => {
            lists(&|entry| matches!(entry, E::Federated(listed) if **listed == *arn.as_str()))
        }
        _ if lists(&|entry| *entry == E::EveryAws) => true,
        _ if !lists(&|entry| names_account(entry, caller)) => false,
        Principal::Root(_) => true,
        Principal::User(own) => lists_arn(own) || lists_entity(),
        Principal::Role(own) => lists_arn(own) || lists_entity(),
        Principal::AssumedRole { arn, role, .. } => {
            lists_arn(arn) && (lists_entity() || lists_external_role(arn, role))
        }
        Principal::FederatedUser { arn, .. } => lists_arn(arn),
    };
    !is_exempt
}
