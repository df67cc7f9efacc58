//! Which context keys have a value once principal and session are known, and which are still open.
//!
//! A list of permissions holds for many questions. What it can decide follows from the store, from the session, and from
//! the context that the request gives; all else stays open, and stays in the list as conditions.

use super::derived::is_of;
use super::explain::Redacted;
use super::facts::Facts;
use super::request::{Request, is_tag_of};
use crate::context::{ContextEntry, ContextKey, KeyKind};
use crate::language::condition::Condition;
use crate::language::condition::operator::{Truth, Values, evaluate};
use crate::language::pattern::ResourcePattern;
use crate::name::{Principal, Resource};

/// What the questions have in common for which keys are decided.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'r> {
    /// Whether the principal stands for all of its sessions.
    pub any_session: bool,
    /// Whether all questions are about one action and one resource.
    pub one_resource: bool,
    /// The keys whose values must not show in patterns.
    pub hidden: Option<&'r Redacted>,
}

impl Facts<'_> {
    /// Returns whether `key` has the same values in every question of `scope` that repeats what this one says.
    pub fn is_known(&self, key: &ContextKey, scope: Scope<'_>) -> bool {
        use KeyKind as K;
        let is_given = |asked: &ContextKey| self.request.context.entry(asked).is_some();
        let is_of_session = !scope.any_session;
        match key.kind() {
            K::PrincipalArn
            | K::PrincipalAccount
            | K::PrincipalType
            | K::Username
            | K::PrincipalOrgId
            | K::PrincipalOrgPaths
            | K::PrincipalIsAwsService
            | K::PrincipalServiceName
            | K::PrincipalServiceNamesList
            | K::AssumedRoot
            | K::ResourceAccount
            | K::ResourceOrgId
            | K::ResourceOrgPaths => true,
            K::CurrentTime | K::EpochTime => false,
            K::MultiFactorAuthAge => is_of_session && self.values(key) == Values::Absent,
            K::Userid => is_of_session || !self.caller.is_role(),
            K::TokenIssueTime
            | K::MultiFactorAuthPresent
            | K::SourceIdentity
            | K::FederatedProvider
            | K::Saml
            | K::Credential => is_of_session,
            // T-38, T-34: tags of the session overlay those of the store, and their keys do not begin with `aws:`.
            K::PrincipalTag => is_of_session || key.tag().starts_with("aws:"),
            K::RoleAuthorizedByIdp => scope.one_resource,
            K::ResourceTag | K::ServiceResourceTag => {
                // The store's value wins over the caller's.
                let is_passed_on = scope.any_session && self.is_replaceable(key);
                let has_value = || {
                    let is_open = matches!(self.values(key), Values::Absent | Values::Uncertain);
                    !is_open || self.is_given_under_all_names(key)
                };
                scope.one_resource && !is_passed_on && has_value()
            }
            // K-9: nobody else may send it.
            K::ServiceSource => {
                !matches!(self.caller.principal, Principal::Service(_)) || is_given(key)
            }
            K::DurationSeconds => self.request.action.kind().is_issuing() || is_given(key),
            // C-7: beside an empty list of services the ends of it may still be given, and beside one of tag keys the tags.
            K::CalledViaFirst | K::CalledViaLast => {
                let context = &self.request.context;
                context.get_kind(K::CalledVia).is_some() || context.get(key).is_some()
            }
            K::TagKeys => self.request.context.get_kind(K::TagKeys).is_some(),
            K::RequestTag | K::SecureTransport | K::ViaAwsService | K::CalledVia => is_given(key),
            K::Given => {
                let is_claim = self
                    .issuer
                    .is_some_and(|issuer| is_of(issuer, key.folded()));
                is_of_session && is_claim || is_given(key)
            }
        }
    }

    /// Returns whether a session may pass on another value of this tag of the resource (T-8). The tags that it passes on are
    /// session tags, whose keys do not begin with `aws:` (T-34).
    pub fn is_replaceable(&self, key: &ContextKey) -> bool {
        let is_chaining = self.request.action.kind().is_of_trust();
        is_chaining && self.is_of_resource(key) && !key.tag().starts_with("aws:")
    }

    /// Returns whether the caller gave this tag, maybe as an empty list, under each name that it has for the resource.
    pub fn is_given_under_all_names(&self, key: &ContextKey) -> bool {
        let Request {
            resource, context, ..
        } = self.request;
        let own_service = match resource {
            Resource::Arn(arn) => Some(arn.service()).filter(|own| is_tag_of(resource, own)),
            Resource::Any => None,
        };
        let is_given = |service: &str| {
            let is_it = |entry: &ContextEntry<'_>| {
                let kind = entry.key.kind();
                matches!(kind, KeyKind::ResourceTag | KeyKind::ServiceResourceTag)
                    && entry.key.service().eq_ignore_ascii_case(service)
                    && entry.key.tag().eq_ignore_ascii_case(key.tag())
            };
            context.entries().iter().any(is_it)
        };
        if key.kind() == KeyKind::ResourceTag || is_tag_of(resource, key.service()) {
            is_given("aws") && own_service.is_none_or(is_given)
        } else {
            is_given(key.service())
        }
    }

    /// Returns the truth of a condition if it is the same in every question of `scope`.
    pub fn decided(&self, condition: &Condition, scope: Scope<'_>) -> Option<Truth> {
        let is_open = |key: &ContextKey| !self.is_known(key, scope);
        if is_open(&condition.key)
            || condition
                .operand
                .any_variable(|variable| is_open(&variable.key))
        {
            return None;
        }
        Some(evaluate(condition, &self.values(&condition.key), self))
    }

    /// Returns whether the variables of a resource pattern have the same values in every question of `scope`.
    pub fn is_settled(&self, pattern: &ResourcePattern, scope: Scope<'_>) -> bool {
        // With one resource, the value is compared and not shown.
        let hidden = scope.hidden.filter(|_| !scope.one_resource);
        let mut variables = pattern.variables();
        variables.all(|variable| {
            self.is_known(&variable.key, scope)
                && !hidden.is_some_and(|hidden| hidden.hides(&variable.key))
        })
    }
}
