//! Questions as their callers sent them, what makes a question malformed, and who asks (sections 5.1 and 6.3).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::context::{
    ASSUMED_ROOT, OF_CREDENTIALS, OF_SOURCES, Values, is_claim, is_reserved, lower_case,
    resource_tag,
};
use super::store::{Entity, Store, issuer};

/// One question, unchecked. Times are whole seconds since 1970.
#[derive(Clone, Debug, Default)]
pub struct Question {
    pub principal: String,
    pub action: String,
    pub resource: String,
    pub context: Vec<(String, Given)>,
    pub session: Option<SessionFacts>,
    /// The account that owns the resource. Empty if it was not given.
    pub resource_account: String,
    pub at: i64,
}

#[derive(Clone, Debug, Default)]
pub struct SessionFacts {
    pub policies: Vec<String>,
    pub policy_arns: Vec<String>,
    pub tags: Vec<(String, String)>,
    pub source_identity: String,
    pub issued_at: Option<i64>,
    pub expires_at: Option<i64>,
    pub mfa_at: Option<i64>,
    pub transitive_tag_keys: Vec<String>,
    pub claims: Vec<(String, Given)>,
    pub federated_provider: String,
    pub parent: String,
    /// The keys of the session's credentials (K-8).
    pub attributes: Vec<(String, Given)>,
}

/// A value of the context.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    Text(String),
    Number(f64),
    Bool(bool),
    List(Vec<Given>),
}

impl Given {
    /// C-5: returns the canonical texts.
    pub fn texts(&self) -> Values<'_> {
        match self {
            Self::Text(text) => vec![text.into()],
            Self::Number(number) if *number == 0.0 => vec!["0".into()],
            Self::Number(number) => vec![number.to_string().into()],
            Self::Bool(true) => vec!["true".into()],
            Self::Bool(false) => vec!["false".into()],
            Self::List(elements) => elements.iter().flat_map(Self::texts).collect(),
        }
    }

    fn is_too_large(&self) -> bool {
        match self {
            Self::Number(number) => number.abs() >= 9_007_199_254_740_992.0 || number.is_nan(),
            Self::List(elements) => elements.iter().any(Self::is_too_large),
            _ => false,
        }
    }
}

/// E-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    User,
    Root,
    Role,
    Session,
    Federated,
    Service,
    Anonymous,
    Provider,
}

/// The caller as far as the texts tell. `entity` is known once the store was asked.
#[derive(Debug)]
pub struct Caller<'s> {
    pub kind: Kind,
    pub arn: String,
    pub partition: String,
    pub account: Option<String>,
    /// The name of the user or federated user, the session or the service.
    pub name: String,
    pub role_name: String,
    /// The user, the role of a session, or the user behind a federated user.
    pub entity: Option<&'s Entity>,
    pub is_external: bool,
    /// Whether it is a session, a user with temporary credentials, or a root user with a task policy (T-12).
    pub is_temporary: bool,
    /// Whether it is a federated user whose parent is the root user (E-49).
    pub is_of_root: bool,
}

impl Caller<'_> {
    /// Returns the role's ARN with its path. For an external account the path is unknown.
    pub fn role_arn(&self) -> Option<String> {
        match self.kind {
            Kind::Role => Some(self.arn.clone()),
            Kind::Session => self.entity.map(|role| role.arn.clone()),
            _ => None,
        }
    }
}

impl Question {
    pub fn session(&self) -> &SessionFacts {
        static NONE: LazyLock<SessionFacts> = LazyLock::new(SessionFacts::default);
        self.session.as_ref().unwrap_or(&NONE)
    }

    pub fn request_tag_keys(&self) -> impl Iterator<Item = &str> {
        self.context.iter().filter_map(|(key, value)| {
            let (family, tag) = key.split_once('/')?;
            let is_there = !value.texts().is_empty(); // C-7
            (is_there && family.eq_ignore_ascii_case("aws:RequestTag")).then_some(tag)
        })
    }

    fn context_value(&self, key: &str) -> Values<'_> {
        let mut found = self
            .context
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(key));
        found
            .next()
            .map(|(_, value)| value.texts())
            .unwrap_or_default()
    }

    pub fn is_action(&self, action: &str) -> bool {
        self.action.eq_ignore_ascii_case(action)
    }

    /// T-20.
    pub fn is_federation(&self) -> bool {
        self.is_action("sts:AssumeRoleWithWebIdentity") || self.is_action("sts:AssumeRoleWithSAML")
    }

    /// T-1, T-6: returns whether a trust policy decides the action.
    pub fn is_about_trust(&self) -> bool {
        let others = [
            "sts:AssumeRole",
            "sts:TagSession",
            "sts:SetSourceIdentity",
            "sts:SetContext",
        ];
        self.is_federation() || others.iter().any(|action| self.is_action(action))
    }

    /// T-11.
    pub fn is_assuming_root(&self) -> bool {
        self.is_action("sts:AssumeRoot")
    }

    /// Returns whether the question must be refused, including the checks that need the store.
    pub fn is_malformed(&self, caller: &Caller<'_>, store: &Store) -> bool {
        !is_action(&self.action)
            || !is_resource(&self.resource)
            || self.claims_in_its_context(caller, store)
            || self.holds_too_large_numbers()
            || !are_unique(self.context.iter().map(|(key, _)| key.as_str())) // C-4
            || self.contradicts_its_tags()
            || self.contradicts_its_resource_tags()
            || !(self.resource_account.is_empty() || is_account(&self.resource_account))
            || self.breaks_session_forms(caller)
            || self.breaks_attribute_forms(caller)
            || self.breaks_time_forms()
            || self.breaks_assume_role_forms(caller, store)
            || self.breaks_assume_root_forms()
    }

    /// C-5.
    fn holds_too_large_numbers(&self) -> bool {
        let session = self.session();
        let entries = [&self.context, &session.claims, &session.attributes];
        let mut entries = entries.into_iter().flatten();
        entries.any(|(_, value)| value.is_too_large())
    }

    /// Returns whether the context has keys that K-1 and K-9 reserve, or claims of the session's own provider (section
    /// 10).
    fn claims_in_its_context(&self, caller: &Caller<'_>, store: &Store) -> bool {
        let provider = match caller.kind {
            Kind::Provider => &caller.arn,
            _ => &self.session().federated_provider,
        };
        let own = issuer(provider).filter(|issuer| !issuer.is_empty());
        let is_own = |key: &str| own.as_ref().is_some_and(|issuer| is_claim(key, issuer));
        let is_of_service = |key: &str| caller.kind != Kind::Service && OF_SOURCES.contains(&key); // K-9
        let mut keys = self.context.iter().map(|(key, _)| lower_case(key));
        keys.any(|key| is_reserved(&key, store) || is_own(&key) || is_of_service(&key))
    }

    /// Returns whether `aws:TagKeys` contradicts the `aws:RequestTag/…` keys beside it.
    fn contradicts_its_tags(&self) -> bool {
        let is_given = self
            .context
            .iter()
            .any(|(key, _)| key.eq_ignore_ascii_case("aws:TagKeys"));
        if !is_given {
            return false;
        }
        let fold = |key: &str| key.to_ascii_lowercase();
        let tags: BTreeSet<String> = self.request_tag_keys().map(fold).collect();
        let keys = self.context_value("aws:TagKeys");
        let keys: BTreeSet<String> = keys.iter().map(|key| fold(key)).collect();
        !keys.is_empty() && !tags.is_empty() && tags != keys // C-7
    }

    /// Returns whether two names of one resource tag have different values (row `SERVICE:ResourceTag/k` of section
    /// 4.9).
    fn contradicts_its_resource_tags(&self) -> bool {
        let mut given: Vec<(String, Values<'_>)> = Vec::new();
        for (key, value) in &self.context {
            let key = lower_case(key);
            let texts = value.texts();
            let Some(tag) = resource_tag(&key, &self.resource).filter(|_| !texts.is_empty()) else {
                continue; // C-7
            };
            if given
                .iter()
                .any(|(other, before)| other == tag && *before != texts)
            {
                return true;
            }
            given.push((tag.to_owned(), texts));
        }
        false
    }

    /// K-8.
    fn breaks_attribute_forms(&self, caller: &Caller<'_>) -> bool {
        let attributes = &self.session().attributes;
        let has_session = caller.is_temporary && caller.kind != Kind::Role;
        let is_fine = |(key, value): &(String, Given)| {
            let key = lower_case(key);
            match &*key {
                ASSUMED_ROOT => caller.kind == Kind::Root && value.texts() == ["true"],
                key => OF_CREDENTIALS.contains(&key) && value.texts().len() <= 1,
            }
        };
        (!attributes.is_empty() && !has_session)
            || !attributes.iter().all(is_fine)
            || !are_unique(attributes.iter().map(|(key, _)| key.as_str()))
    }

    /// T-47.
    pub fn breaks_time_forms(&self) -> bool {
        let session = self.session();
        let begins = [session.issued_at, session.mfa_at];
        let mut all = begins.iter().chain([&session.expires_at]).flatten();
        let is_ahead = |time: &i64| *time > self.at + 300;
        let is_after_end = |time: &i64| session.expires_at.is_some_and(|end| *time >= end);
        all.any(|time| *time <= 0)
            || begins.iter().flatten().any(is_ahead)
            || begins.iter().flatten().any(is_after_end)
    }

    /// Returns whether the session breaks a rule: section 3 of product.md, T-12, T-34, T-36, T-39, T-40.
    fn breaks_session_forms(&self, caller: &Caller<'_>) -> bool {
        let session = self.session();
        let has_task = caller.kind == Kind::Root && caller.is_temporary;
        let is_task = matches!(session.policy_arns.as_slice(), [one] if is_task_policy(one)); // T-12
        let brings = !session.policies.is_empty()
            || !(session.policy_arns.is_empty() || has_task)
            || !session.tags.is_empty();
        let may_bring = match caller.kind {
            Kind::Session | Kind::Federated => true,
            Kind::User => caller.is_temporary,
            _ => false,
        };
        // The note on K-7: a caller without a session got nothing from a token either.
        let is_told = !session.claims.is_empty()
            || !session.federated_provider.is_empty()
            || !(session.source_identity.is_empty() || has_task);
        let may_be_told = may_bring || matches!(caller.kind, Kind::Role | Kind::Provider);
        let keys = || session.tags.iter().map(|(key, _)| key.as_str());
        let is_tag_of_aws = |key: &str| key.to_ascii_lowercase().starts_with("aws:");
        let fits = |(key, value): &(String, String)| {
            (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256
        };
        let is_passed = |wanted: &String| keys().any(|key| key.eq_ignore_ascii_case(wanted));
        let source_identity = &session.source_identity;
        (has_task && !is_task)
            || (brings && !may_bring)
            || (is_told && !may_be_told)
            || keys().any(is_tag_of_aws)
            || session.tags.len() > 50
            || !session.tags.iter().all(fits)
            || !are_unique(keys())
            || !session.transitive_tag_keys.iter().all(is_passed)
            || (!source_identity.is_empty() && !is_session_name(source_identity))
            || match caller.kind {
                Kind::Federated => !self.is_parent_of(caller),
                _ => !session.parent.is_empty(),
            }
    }

    /// E-49: returns whether the parent belongs to the account of the federated user.
    fn is_parent_of(&self, caller: &Caller<'_>) -> bool {
        let account = caller.account.as_deref().unwrap_or_default();
        let prefix = format!("arn:{}:iam::{account}:user/", caller.partition);
        caller.is_of_root || self.session().parent.starts_with(&prefix)
    }

    /// T-11.
    fn breaks_assume_root_forms(&self) -> bool {
        if !self.is_assuming_root() {
            return false;
        }
        let is_too_long = |text: &Cow<'_, str>| {
            !text
                .parse()
                .is_ok_and(|seconds: i64| (0..=900).contains(&seconds))
        };
        let tasks = self.context_value("sts:TaskPolicyArn");
        self.context_value("sts:DurationSeconds")
            .iter()
            .any(is_too_long)
            || tasks.len() > 1
            || !tasks.iter().all(|arn| is_task_policy(arn))
    }

    /// Returns whether a question that assumes a role breaks T-31, T-32, T-33, T-37 or T-39.
    fn breaks_assume_role_forms(&self, caller: &Caller<'_>, store: &Store) -> bool {
        if !self.is_about_trust() {
            return false;
        }
        let session = self.session();
        let role = store
            .accounts
            .values()
            .flat_map(|account| &account.roles)
            .find(|role| role.arn == self.resource);
        let longest = role.map_or(43_200, |role| role.max_session_seconds);
        let longest = match caller.kind {
            Kind::Session | Kind::Role => longest.min(3_600), // T-32
            _ => longest,
        };
        let is_too_long = |text: &Cow<'_, str>| {
            !text
                .parse()
                .is_ok_and(|seconds: i64| (900..=longest).contains(&seconds))
        };
        let inherited = |tag: &str| {
            let mut keys = session.transitive_tag_keys.iter();
            keys.any(|key| key.eq_ignore_ascii_case(tag))
        };
        let changes_identity = |identity: &Cow<'_, str>| {
            !session.source_identity.is_empty() && *identity != session.source_identity
        };
        self.context_value("sts:DurationSeconds").iter().any(is_too_long)
            || self.request_tag_keys().any(inherited) // T-37
            || self.context_value("sts:SourceIdentity").iter().any(changes_identity)
    }

    /// Returns the caller as the form of its name tells.
    pub fn caller<'s>(&self) -> Option<Caller<'s>> {
        let session = self.session();
        let facts = [session.issued_at, session.expires_at, session.mfa_at];
        let mut caller = Caller {
            kind: Kind::Anonymous,
            arn: self.principal.clone(),
            partition: String::new(),
            account: None,
            name: self.principal.clone(),
            role_name: String::new(),
            entity: None,
            is_external: false,
            is_temporary: false,
            is_of_root: false,
        };
        if self.principal == "*" {
            return Some(caller);
        }
        if !self.principal.contains(':') {
            caller.kind = Kind::Service;
            return self.principal.contains('.').then_some(caller);
        }
        let fields: Vec<&str> = self.principal.splitn(6, ':').collect();
        let &["arn", partition, service, "", account, rest] = fields.as_slice() else {
            return None;
        };
        if partition.is_empty() || account.is_empty() {
            return None;
        }
        caller.partition = partition.to_owned();
        caller.account = Some(account.to_owned());
        let (family, below) = rest.split_once('/').unwrap_or((rest, ""));
        let last = below.rsplit('/').next().unwrap_or_default();
        caller.name = last.to_owned();
        caller.kind = match (service, family) {
            ("iam", "root") if rest == "root" => Kind::Root,
            ("iam", "user") if !last.is_empty() => Kind::User,
            ("iam", "role") if !last.is_empty() => Kind::Role,
            ("sts", "assumed-role") => {
                let (role, name) = below.split_once('/')?;
                caller.role_name = role.to_owned();
                caller.name = name.to_owned();
                if !is_session_name(name) || role.is_empty() {
                    return None;
                }
                Kind::Session
            }
            ("sts", "federated-user") if !below.is_empty() => Kind::Federated,
            ("iam", "oidc-provider" | "saml-provider") if self.is_about_trust() => Kind::Provider,
            _ => return None,
        };
        caller.is_temporary = match caller.kind {
            Kind::Session | Kind::Role | Kind::Federated => true,
            Kind::User => facts.iter().any(Option::is_some),
            Kind::Root => !session.policy_arns.is_empty(), // T-12
            _ => false,
        };
        let root = format!("arn:{partition}:iam::{account}:root");
        caller.is_of_root = caller.kind == Kind::Federated && session.parent == root;
        if caller.kind == Kind::Provider {
            caller.account = None; // T-20: no principal of any account
        }
        Some(caller)
    }
}

/// M-1.
fn is_action(text: &str) -> bool {
    let Some((service, name)) = text.split_once(':') else {
        return false;
    };
    let is_word = |text: &str, more: &str| {
        let is_fine = |char: char| char.is_ascii_alphanumeric() || more.contains(char);
        !text.is_empty() && text.chars().all(is_fine)
    };
    is_word(service, "._-")
        && service.starts_with(|first: char| first.is_ascii_alphanumeric())
        && is_word(name, "._/-")
}

/// M-7.
fn is_resource(text: &str) -> bool {
    let fields: Vec<&str> = text.splitn(6, ':').collect();
    let is_there = |index: usize| fields.get(index).is_some_and(|field| !field.is_empty());
    text == "*" || (fields[0] == "arn" && is_there(1) && is_there(2) && is_there(5))
}

/// T-11, T-12: `arn:PARTITION:iam::aws:policy/root-task/NAME`.
fn is_task_policy(arn: &str) -> bool {
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    let &["arn", partition, "iam", "", "aws", policy] = fields.as_slice() else {
        return false;
    };
    let name = policy.strip_prefix("policy/root-task/");
    !partition.is_empty() && name.is_some_and(|name| !name.is_empty() && !name.contains(['/', ':']))
}

/// E-6: returns whether the text can be an account.
fn is_account(text: &str) -> bool {
    let is_fine = |char: char| char.is_ascii_alphanumeric() || "_-".contains(char);
    (1..=64).contains(&text.len()) && text.chars().all(is_fine)
}

/// T-30.
fn is_session_name(text: &str) -> bool {
    let is_fine = |char: char| char.is_ascii_alphanumeric() || "_+=,.@-".contains(char);
    (2..=64).contains(&text.len()) && text.chars().all(is_fine)
}

fn are_unique<'t>(keys: impl Iterator<Item = &'t str>) -> bool {
    let keys: Vec<&str> = keys.collect();
    let is_first = |(n, key): (usize, &&str)| {
        !keys[..n]
            .iter()
            .any(|other| other.eq_ignore_ascii_case(key))
    };
    keys.iter().enumerate().all(is_first)
}
