//! Section 5.3: which principals a statement names.

use super::question::Kind;
use super::store::{self, Principals};
use super::{Asked, Strength};

impl Asked<'_> {
    /// P-1, P-2: returns the best strength over all entries.
    pub(super) fn strength_among(
        &self,
        principals: &Principals,
        is_allow: bool,
    ) -> Option<Strength> {
        let entries = principals.entries.iter();
        let strengths = entries.map(|(kind, value)| self.strength(kind, value, is_allow));
        strengths.max().flatten()
    }

    fn strength(&self, kind: &str, value: &str, is_allow: bool) -> Option<Strength> {
        use Strength::{Account, Direct, Entity};
        let caller = self.caller;
        let is = |kind: Kind| caller.kind == kind;
        let is_federated = self.question.is_federation() || is(Kind::Provider);
        if is_federated && is_allow && kind != "Federated" {
            return None; // T-20
        }
        let account = if is(Kind::Root) { Direct } else { Account };
        match (kind, value) {
            ("*", _) => Some(Direct),
            ("AWS", "*") if is(Kind::Service) || is(Kind::Provider) => {
                (!is_allow).then_some(Direct)
            } // P-7
            ("AWS", "*") => Some(Direct),
            ("Service", name) => (is(Kind::Service) && caller.name == name).then_some(Direct),
            ("Federated", provider) => self.is_provider(provider, is_allow).then_some(Direct),
            ("CanonicalUser", _) => self.is_account(kind, value).then_some(account),
            _ if value == caller.arn
                && (is(Kind::User) || is(Kind::Session) || is(Kind::Federated)) =>
            {
                Some(Direct)
            }
            _ if self.is_entity(value) && is(Kind::User) => Some(Direct),
            _ if self.is_entity(value) || self.is_external_role(value, is_allow) => Some(Entity),
            _ => self.is_account(kind, value).then_some(account),
        }
    }

    /// Returns whether `value` is the user or role behind the caller, by its ARN or its unique id (G-24).
    fn is_entity(&self, value: &str) -> bool {
        let caller = self.caller;
        let is_role = caller.kind == Kind::Role && value == caller.arn;
        let is_entity = |entity: &store::Entity| {
            value == entity.arn || Some(value) == entity.unique_id.as_deref()
        };
        // E-72: for an external account only the session says which user is behind it.
        let parent = &self.question.session().parent;
        let is_parent = caller.kind == Kind::Federated && !caller.is_of_root && value == parent;
        is_role || is_parent || caller.entity.is_some_and(is_entity)
    }

    /// P-3: returns whether `value` is the caller's account. The id, the root ARN and the canonical id mean the same.
    fn is_account(&self, kind: &str, value: &str) -> bool {
        let Some(id) = &self.caller.account else {
            return false;
        };
        let account = self.store.accounts.get(id);
        match kind {
            "CanonicalUser" => {
                account.is_some_and(|account| account.canonical_id.as_deref() == Some(value))
            }
            _ => value == id || value == format!("arn:{}:iam::{id}:root", self.caller.partition),
        }
    }

    /// T-20, T-21: returns whether the caller is this provider. An Allow admits only providers of the role's account,
    /// and only for calls of their own kind.
    fn is_provider(&self, provider: &str, is_allow: bool) -> bool {
        let (caller, question) = (self.caller, self.question);
        let account = |arn: &str| arn.split(':').nth(4).map(str::to_owned);
        let is_web = caller.arn.contains(":oidc-provider/");
        let is_its_call = match question.is_federation() {
            true => question.is_action("sts:AssumeRoleWithWebIdentity") == is_web,
            // T-35: tags and the source identity go with either call. T-10: a context assertion goes with neither.
            false => !question.is_action("sts:AssumeRole") && !question.is_action("sts:SetContext"),
        };
        let may = is_its_call && account(&caller.arn) == account(&question.resource);
        let issuer = format!(":oidc-provider/{provider}");
        let is_it = provider == caller.arn || (is_web && caller.arn.ends_with(&issuer));
        caller.kind == Kind::Provider && is_it && (may || !is_allow)
    }

    /// P-4, section 10: returns whether `value` is the external session's role. Its path is unknown. An Allow assumes
    /// that there is none, a Deny matches any.
    fn is_external_role(&self, value: &str, is_allow: bool) -> bool {
        let caller = self.caller;
        if !caller.is_external || caller.kind != Kind::Session {
            return false;
        }
        let account = caller.account.as_deref().unwrap_or_default();
        let begin = format!("arn:{}:iam::{account}:role/", caller.partition);
        let Some(role) = value.strip_prefix(&begin) else {
            return false;
        };
        role == caller.role_name || (!is_allow && role.ends_with(&format!("/{}", caller.role_name)))
    }

    /// P-8 to P-10: returns whether `NotPrincipal` exempts the caller.
    pub(super) fn is_exempt(&self, principals: &Principals) -> bool {
        let caller = self.caller;
        let has = |wanted: &dyn Fn(&str, &str) -> bool| {
            let mut entries = principals.entries.iter();
            entries.any(|(kind, value)| wanted(kind, value))
        };
        if caller
            .entity
            .is_some_and(|entity| entity.boundary.is_some())
        {
            return false; // P-9
        }
        let is_aws = !matches!(caller.kind, Kind::Service | Kind::Provider);
        if has(&|kind, value| value == "*" && (kind == "*" || is_aws)) {
            return true; // P-10
        }
        let account = has(&|kind, value| self.is_account(kind, value));
        let itself = has(&|kind, value| kind == "AWS" && value == caller.arn);
        let entity = has(&|kind, value| {
            kind == "AWS" && (self.is_entity(value) || self.is_external_role(value, true))
        });
        match caller.kind {
            Kind::User => (entity || itself) && account,
            Kind::Session => itself && entity && account,
            Kind::Role => entity && account,
            Kind::Federated => itself && account,
            Kind::Root => account,
            Kind::Service => has(&|kind, value| kind == "Service" && value == caller.name),
            Kind::Anonymous | Kind::Provider => false,
        }
    }
}
