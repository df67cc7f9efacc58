//! The context keys that iamd fills in, so that no caller can spoof them (section 4.9).

use jiff::Timestamp;

use super::facts::Facts;
use super::principal::goes_with_assuming;
use super::request::{ROLES_CLAIM, is_tag_of};
use super::work::{units_of, units_of_names};
use crate::compile::attachments::tag_of;
use crate::compile::snapshot::{Account, Tags};
use crate::context::{ContextEntry, ContextKey, ContextValue, KeyKind};
use crate::language::condition::operator::Values;
use crate::language::pattern::{Substitute, Variables};
use crate::language::text::Text;
use crate::name::{ActionKind, Principal, Resource};

impl<'a> Facts<'a> {
    /// Returns the values of `key`: derived values from the store and the session, all others as the caller gave them (K-1,
    /// K-2). A key whose fact is unknown is absent (K-3).
    ///
    /// The function is long because it is a table with one arm for each key.
    pub fn values(&self, key: &ContextKey) -> Values<'a> {
        use KeyKind as K;
        let (request, caller) = (self.request, &self.caller);
        if key.kind() == K::DurationSeconds && request.action.kind().is_issuing() {
            return Values::Absent; // T-31: there it is a parameter, in a simulation too
        }
        if let Some(simulated) = &request.simulated
            && let Some(values) = simulated.values(key, &request.context)
        {
            return values;
        }
        match key.kind() {
            K::PrincipalArn => Values::maybe(caller.arn().map(|arn| arn.text())),
            K::PrincipalAccount => match caller.principal {
                Principal::Anonymous => one("anonymous"),
                Principal::Service(_) | Principal::Provider(_) => Values::Absent,
                _ => Values::maybe(caller.account.map(|account| account.id.as_str())),
            },
            K::PrincipalType => self.principal_type(),
            K::Username => match (caller.principal, caller.entity) {
                (Principal::User(_), Some(user)) => one(user.name()),
                // Of an external user the ARN is all there is, and it ends in the name.
                (Principal::User(arn), None) => Values::maybe(arn.resource().rsplit('/').next()),
                _ => Values::Absent,
            },
            K::Userid => self.userid(),
            K::PrincipalTag => self.principal_tag(key.tag()),
            K::PrincipalOrgId => organization(self.member()),
            K::PrincipalOrgPaths => organization_path(self.member()),
            K::PrincipalIsAwsService => match caller.principal {
                Principal::Anonymous | Principal::Provider(_) => Values::Absent,
                Principal::Service(_) => one("true"),
                _ => one("false"),
            },
            K::PrincipalServiceName | K::PrincipalServiceNamesList => match caller.principal {
                Principal::Service(name) => one(name),
                _ => Values::Absent,
            },
            K::CurrentTime => formatted(format_args!("{}", request.at)),
            K::EpochTime => formatted(format_args!("{}", request.at.as_second())),
            K::TokenIssueTime if !caller.is_temporary(request) => Values::Absent,
            K::TokenIssueTime => match request.session.issued_at {
                Some(issued_at) => formatted(format_args!("{issued_at}")),
                None => Values::Unknown, // T-43
            },
            K::MultiFactorAuthPresent if !caller.is_temporary(request) => Values::Absent,
            K::MultiFactorAuthPresent => match request.session.mfa_at {
                Some(_) => one("true"),
                // T-45: of a session that came of a provider nothing is known of a second factor.
                None if caller.is_role() && self.provider().is_some() => Values::Absent,
                None => one("false"),
            },
            K::MultiFactorAuthAge if !caller.is_temporary(request) => Values::Absent,
            K::MultiFactorAuthAge => match request.session.mfa_at {
                Some(mfa_at) => formatted(format_args!("{}", whole_seconds(mfa_at, request.at))),
                None => Values::Absent,
            },
            K::SourceIdentity => Values::maybe(request.session.source_identity.as_deref()),
            K::FederatedProvider => self.federated_provider(),
            K::ResourceAccount => Values::maybe(self.owner),
            K::ResourceOrgId => organization(self.owner_account),
            K::ResourceOrgPaths => organization_path(self.owner_account),
            K::ResourceTag => self.resource_tag(key),
            K::ServiceResourceTag
                if self.names_resource_tag(key.service()) && !self.is_claim(key) =>
            {
                self.resource_tag(key)
            }
            K::Credential => self.attribute(key),
            K::AssumedRoot if caller.is_assumed_root => one("true"),
            K::AssumedRoot => Values::Absent,
            K::RoleAuthorizedByIdp => match self.authorized_by_idp() {
                None => Values::Absent,
                Some(authorized) => one(if authorized == Some(true) {
                    "true"
                } else {
                    "false"
                }),
            },
            K::TagKeys => Values::of(&request.tag_keys),
            K::SecureTransport | K::ViaAwsService => match self.given(key) {
                Values::Absent => one("false"),
                given => given,
            },
            K::CalledViaFirst => self.called_via(key, |chain| chain.all().next()),
            K::CalledViaLast => self.called_via(key, |chain| chain.all().next_back()),
            K::Saml => self.claim(key, "saml"),
            K::RequestTag | K::CalledVia | K::ServiceSource | K::DurationSeconds => self.given(key),
            // A claim may be called so that it looks like a tag of a service.
            K::Given | K::ServiceResourceTag => {
                match self.issuer.filter(|issuer| is_of(issuer, key.folded())) {
                    Some(issuer) => self.claim(key, issuer),
                    None => self.given(key),
                }
            }
        }
    }

    /// Returns the values that the caller gave.
    fn given(&self, key: &ContextKey) -> Values<'a> {
        self.request
            .context
            .get(key)
            .map_or(Values::Absent, Values::of)
    }

    fn principal_type(&self) -> Values<'a> {
        match self.caller.principal {
            Principal::Anonymous => one("Anonymous"),
            Principal::Service(_) => one("Service"),
            Principal::Root(_) => one("Account"),
            Principal::User(_) => one("User"),
            Principal::Role(_) | Principal::AssumedRole { .. } => one("AssumedRole"),
            Principal::FederatedUser { .. } => one("FederatedUser"),
            Principal::Provider(_) => Values::Absent,
        }
    }

    fn userid(&self) -> Values<'a> {
        let account = self
            .caller
            .account
            .map_or("", |account| account.id.as_str());
        let unique_id = self
            .caller
            .entity
            .and_then(|entity| entity.unique_id.as_deref());
        match self.caller.principal {
            Principal::Anonymous => one("anonymous"),
            Principal::Root(_) => one(account),
            Principal::User(_) => Values::maybe(unique_id),
            Principal::AssumedRole { session, .. } => match unique_id {
                Some(role_id) => formatted(format_args!("{role_id}:{session}")),
                None => Values::Absent,
            },
            Principal::FederatedUser { name, .. } => formatted(format_args!("{account}:{name}")),
            Principal::Role(_) | Principal::Service(_) | Principal::Provider(_) => Values::Absent, // E-4
        }
    }

    /// Returns a tag of the principal. Session tags overlay the tags of the role or user (T-38). External principals have
    /// session tags only (E-72).
    fn principal_tag(&self, folded: &str) -> Values<'a> {
        let own = self.caller.entity.map(|entity| &entity.tags);
        let of_session = &self.request.session.tags;
        let n_tags = of_session.n_tags() + own.map_or(0, Tags::n_tags);
        self.work.spend(units_of_names(n_tags, folded.len())); // E-1: if it is too much there will be no answer
        let own = || own?.get(folded);
        Values::maybe(of_session.get(folded).or_else(own))
    }

    /// Returns the account whose organization counts as the principal's.
    fn member(&self) -> Option<&'a Account> {
        self.caller.account.filter(|_| !self.caller.is_outsider())
    }

    /// Returns whether `key` is a claim of the provider that asks. A claim may have a name that looks like a tag of a
    /// service.
    fn is_claim(&self, key: &ContextKey) -> bool {
        matches!(self.caller.principal, Principal::Provider(_))
            && self
                .issuer
                .is_some_and(|issuer| is_of(issuer, key.folded()))
    }

    /// Returns a key of the session's credentials (K-8).
    fn attribute(&self, key: &ContextKey) -> Values<'a> {
        let attributes = &self.request.session.attributes;
        let units = units_of_names(attributes.len(), key.folded().len());
        self.work.spend(units); // E-1: if it is too much there will be no answer
        let mut attributes = attributes.iter();
        let found = attributes.find(|(name, _)| name == key);
        found.map_or(Values::Absent, |(_, value)| Values::of(value))
    }

    /// Returns whether the key `SERVICE:ResourceTag/…` with this service is another name of `aws:ResourceTag/…` for this
    /// resource. Of IAM's resources only users and roles have such a name.
    fn names_resource_tag(&self, service: &str) -> bool {
        is_tag_of(&self.request.resource, service)
    }

    /// Returns whether `key` is a name of a tag of this resource.
    pub fn is_of_resource(&self, key: &ContextKey) -> bool {
        self.is_tag_of_resource(key.kind(), key.service())
    }

    /// Returns whether a key of this kind and service, in any case, is a name of a tag of this resource.
    fn is_tag_of_resource(&self, kind: KeyKind, service: &str) -> bool {
        match kind {
            KeyKind::ResourceTag => true,
            KeyKind::ServiceResourceTag => self.names_resource_tag(service),
            _ => false,
        }
    }

    /// Returns a tag of the resource. The store's tags win over the caller's. In role chaining the tag of a role may have
    /// another value (T-8).
    fn resource_tag(&self, key: &ContextKey) -> Values<'a> {
        let own = self.own_resource_tag(key);
        let session = &self.request.session;
        if !self.is_chaining() {
            return own;
        }
        let n_names = session.transitive_tag_keys.len() + session.tags.n_tags();
        self.work.spend(units_of_names(n_names, key.tag().len())); // E-1: if it is too much there will be no answer
        if !session.passes_on(key.tag()) {
            return own;
        }
        match (&own, session.tags.get(key.tag())) {
            (Values::One(own), Some(inherited)) if **own == *inherited => {
                Values::maybe(Some(inherited))
            }
            (Values::Absent, _) => Values::Uncertain,
            _ => Values::Unknown,
        }
    }

    /// Returns whether the tags that the session passes on may replace those of the target role (T-8).
    fn is_chaining(&self) -> bool {
        let session = &self.request.session;
        !session.transitive_tag_keys.is_empty() && self.request.action.kind().is_of_trust()
    }

    fn own_resource_tag(&self, key: &ContextKey) -> Values<'a> {
        let folded = key.tag();
        let resource = &self.request.resource;
        if !self.work.spend(2 + resource.as_str().len() / 64) {
            return Values::Absent; // E-1: there will be no answer
        }
        let of_entity = match resource {
            Resource::Arn(arn) => self.snapshot.entity_tag(arn, folded),
            Resource::Any => None,
        };
        let of_files = || tag_of(&self.attached, resource, folded, self.work);
        match of_entity.or_else(of_files) {
            Some(tag) => one(tag),
            None => self.given_resource_tag(folded),
        }
    }

    /// Returns the tag of the resource that the caller gave under any of its names.
    fn given_resource_tag(&self, folded: &str) -> Values<'a> {
        let entries = self.request.context.entries();
        // E-1: if it is too much there will be no answer. Each may be a tag of another service.
        self.work.spend(1 + entries.len() * (3 + folded.len() / 64));
        let is_it = |entry: &&ContextEntry<'_>| {
            let (key, value) = (&entry.key, &entry.value);
            let is_of_resource = self.is_tag_of_resource(key.kind(), key.service());
            is_of_resource && key.tag().eq_ignore_ascii_case(folded) && !value.is_empty()
        };
        let given = entries.iter().find(is_it);
        given.map_or(Values::Absent, |entry| Values::of(&entry.value))
    }

    fn called_via(
        &self,
        key: &ContextKey,
        end: impl Fn(&'a ContextValue<'a>) -> Option<&'a str>,
    ) -> Values<'a> {
        let context = &self.request.context;
        self.work.spend(1 + context.entries().len() / 8); // E-1: if it is too much there will be no answer
        match context.get_kind(KeyKind::CalledVia) {
            Some(chain) => Values::maybe(end(chain)),
            None => self.given(key),
        }
    }

    /// Returns a verified claim of the token (T-22). The provider itself has all claims, and a session from it has few.
    fn claim(&self, key: &ContextKey, issuer: &str) -> Values<'a> {
        let Some(name) = key.folded().get(issuer.len() + 1..) else {
            return Values::Absent;
        };
        let is_saml = issuer == "saml";
        if is_saml && (self.issuer.is_some() || self.provider().is_none()) {
            return Values::Absent; // no SAML provider vouched for it
        }
        let from_provider = matches!(self.caller.principal, Principal::Provider(_));
        if !from_provider && !stays_in_session(issuer).contains(&name) {
            return Values::Absent;
        }
        let is = |host: &str| issuer.eq_ignore_ascii_case(host);
        let value = match name {
            "aud" if is_saml || is(COGNITO) => self.claim_named("aud"),
            "aud" => self.authorized_party().or_else(|| self.claim_named("aud")),
            "oaud" if !is_saml => self.claim_named("aud"),
            "google/organization_number" if is(GOOGLE) => {
                self.claim_named("google:organization_number")
            }
            "google:organization_number" if is(GOOGLE) => None,
            name => self.claim_named(name),
        };
        value.map_or(Values::Absent, Values::of)
    }

    /// Returns the `azp` claim of a token. In a token the case of names counts, and another claim may be called `AZP`.
    fn authorized_party(&self) -> Option<&'a ContextValue<'a>> {
        let mut claims = self.request.session.claims.iter();
        let (_, value) = claims.find(|(claim, _)| claim == "azp")?;
        Some(value).filter(|value| value.all().any(|party| !party.is_empty()))
    }

    /// Returns the claim of this name, if it has a value (C-7).
    fn claim_named(&self, name: &str) -> Option<&'a ContextValue<'a>> {
        let claims = &self.request.session.claims;
        self.work.spend(1 + claims.len() * (1 + name.len() / 32)); // E-1: if it is too much there will be no answer
        let (_, value) = claims
            .iter()
            .find(|(claim, _)| claim.eq_ignore_ascii_case(name))?;
        Some(value).filter(|value| !value.is_empty())
    }

    /// Returns `aws:FederatedProvider`, which only OIDC has. AWS names its built-in providers by their hosts.
    fn federated_provider(&self) -> Values<'a> {
        match (self.issuer, self.provider()) {
            (Some(issuer), Some(provider)) => {
                let mut built_in = BUILT_IN_PROVIDERS.iter();
                let host = built_in.find(|host| issuer.eq_ignore_ascii_case(host));
                match (host, self.caller.account) {
                    (Some(host), _) => one(host),
                    // Who gave the issuer alone means the provider of that name in the session's own account.
                    (None, Some(account)) if !provider.starts_with("arn:") => {
                        let (partition, account) = (&account.partition, &account.id);
                        // E-1: it is made anew each time; if that is too much there will be no answer.
                        self.work.spend(units_of(8 * issuer.len()));
                        formatted(format_args!(
                            "arn:{partition}:iam::{account}:oidc-provider/{issuer}"
                        ))
                    }
                    (None, _) => one(provider),
                }
            }
            _ => Values::Absent,
        }
    }

    /// Returns whether the token of the OIDC provider that asks names the role (T-25); `Some(None)` if it names no roles.
    #[inline]
    pub fn authorized_by_idp(&self) -> Option<Option<bool>> {
        // PERF: every decision asks.
        match self.caller.principal {
            Principal::Provider(_) => self.authorized_by_token(),
            _ => None,
        }
    }

    fn authorized_by_token(&self) -> Option<Option<bool>> {
        let action = &self.request.action;
        let is_asked =
            action.kind() == ActionKind::AssumeRoleWithWebIdentity || goes_with_assuming(action);
        let (Some(_), true) = (self.issuer, is_asked) else {
            return None;
        };
        let mut claims = self.request.session.claims.iter();
        let roles = claims.find(|(claim, _)| claim.eq_ignore_ascii_case(ROLES_CLAIM));
        let role = self.request.resource.as_str();
        Some(roles.map(|(_, roles)| match roles.one() {
            // E-1: if it is too much there will be no answer.
            Some(one) => {
                self.work.spend(1 + one.len()) && one.split(';').any(|named| named == role)
            }
            None => {
                let many = roles.many();
                self.work.spend(units_of_names(many.len(), role.len()))
                    && many.iter().any(|named| **named == *role)
            }
        }))
    }

    /// Returns the provider that vouched for the caller.
    fn provider(&self) -> Option<&'a str> {
        match self.caller.principal {
            Principal::Provider(arn) => Some(arn.as_str()),
            _ => self.request.session.federated_provider.as_deref(),
        }
    }
}

impl Variables for Facts<'_> {
    /// Returns the value of a variable. An absent, empty or multiple value is none (V-9).
    fn substitute(&self, key: &ContextKey) -> Substitute<'_> {
        match self.values(key) {
            Values::One(value) if !value.is_empty() => Substitute::Value(value),
            Values::Many(_) => Substitute::Several,
            Values::One(_) | Values::Absent => Substitute::Missing,
            Values::Unknown | Values::Uncertain => Substitute::Unknown,
        }
    }

    fn pay(&self, units: usize) -> bool {
        self.work.spend(units)
    }
}

const GOOGLE: &str = "accounts.google.com";
const COGNITO: &str = "cognito-identity.amazonaws.com";
const FACEBOOK: &str = "graph.facebook.com";
const AMAZON: &str = "www.amazon.com";

/// The providers that AWS has without an ARN.
const BUILT_IN_PROVIDERS: &[&str] = &[GOOGLE, COGNITO, FACEBOOK, AMAZON];

/// Returns the claims that stay in the session of a token or an assertion (the last column of T-22).
fn stays_in_session(issuer: &str) -> &'static [&'static str] {
    let is = |host: &str| issuer.eq_ignore_ascii_case(host);
    match issuer {
        "saml" => &["sub", "sub_type", "namequalifier"],
        _ if is(AMAZON) => &["app_id", "sub", "user_id"],
        _ if is(FACEBOOK) => &["app_id", "id"],
        _ => &["amr", "aud", "sub"],
    }
}

/// Returns whether `key` is a claim of `issuer`: `<issuer>:claim`, ignoring case.
pub(super) fn is_of(issuer: &str, key: &str) -> bool {
    key.get(..issuer.len())
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case(issuer))
        && key
            .get(issuer.len()..)
            .is_some_and(|rest| rest.starts_with(':'))
}

fn one(value: &str) -> Values<'_> {
    Values::One(value.into())
}

fn formatted<'a>(parts: std::fmt::Arguments<'_>) -> Values<'a> {
    Values::One(Text::formatted(parts))
}

fn organization(account: Option<&Account>) -> Values<'_> {
    Values::maybe(
        account
            .and_then(|account| account.membership.as_ref())
            .map(|member| &*member.organization),
    )
}

fn organization_path(account: Option<&Account>) -> Values<'_> {
    Values::maybe(
        account
            .and_then(|account| account.membership.as_ref())
            .map(|member| &*member.path),
    )
}

fn whole_seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.duration_since(from).as_secs()
}
