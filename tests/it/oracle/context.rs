//! Section 4.9: where context keys come from.

use std::borrow::Cow;

use super::question::{Caller, Kind, Question};
use super::store::{Scope, Store, issuer};

/// Values by key in lower case; an empty list and an absent key are the same (C-7).
#[derive(Clone, Debug, Default)]
pub struct Context<'q> {
    /// No key twice. So few that looking at all of them is fast.
    entries: Vec<(Cow<'q, str>, Values<'q>)>,
    /// T-43.
    pub issue_time_is_unknown: bool,
}

pub type Values<'q> = Vec<Cow<'q, str>>;

impl<'q> Context<'q> {
    pub fn get(&self, key: &str) -> &[Cow<'q, str>] {
        let mut entries = self.entries.iter();
        let found = entries.find(|(other, _)| other == key);
        found.map_or(&[], |(_, values)| values)
    }

    /// In place of what the key, in lower case (C-4), had before.
    fn set(
        &mut self,
        key: impl Into<Cow<'q, str>>,
        values: impl IntoIterator<Item = impl Into<Cow<'q, str>>>,
    ) {
        let (key, values) = (key.into(), values.into_iter().map(Into::into).collect());
        match self.entries.iter_mut().find(|(other, _)| *other == key) {
            Some((_, before)) => *before = values,
            None => self.entries.push((key, values)),
        }
    }

    fn set_if_any(&mut self, key: &'static str, value: Option<impl Into<Cow<'q, str>>>) {
        if let Some(value) = value {
            self.set(key, [value]);
        }
    }
}

/// Whether `key`, in lower case, is a claim of the issuer.
pub fn is_claim(key: &str, issuer: &str) -> bool {
    let rest = key.strip_prefix(issuer);
    rest.is_some_and(|rest| rest.starts_with(':'))
}

/// K-1: what only the engine and the session may say; `key` in lower case.
pub fn is_reserved(key: &str, store: &Store) -> bool {
    let engine = [
        "aws:principalarn",
        "aws:principalaccount",
        "aws:principaltype",
        "aws:username",
        "aws:userid",
        "aws:principalorgid",
        "aws:principalorgpaths",
        "aws:principalisawsservice",
        "aws:principalservicename",
        "aws:principalservicenameslist",
        "aws:currenttime",
        "aws:epochtime",
        "aws:tokenissuetime",
        "aws:multifactorauthpresent",
        "aws:multifactorauthage",
        "aws:sourceidentity",
        "aws:federatedprovider",
        "aws:resourceaccount",
        "aws:resourceorgid",
        "aws:resourceorgpaths",
    ];
    engine.contains(&key)
        || key.starts_with("aws:principaltag/")
        || key.starts_with("saml:")
        || store.issuers.iter().any(|issuer| is_claim(key, issuer))
}

/// Everything that conditions and variables can see in `question`.
pub fn context<'q>(
    store: &'q Store,
    question: &'q Question,
    caller: &'q Caller<'_>,
    owner: Option<&'q str>,
) -> Context<'q> {
    let mut context = Context::default();
    for (key, value) in &question.context {
        context.set(lower_case(key), value.texts());
    }
    of_the_request(question, &mut context);
    of_the_principal(store, caller, &mut context);
    of_the_session(question, caller, &mut context);
    of_the_resource(store, question, owner, &mut context);
    context.set("aws:currenttime", [rfc_3339(question.at)]);
    context.set("aws:epochtime", [question.at.to_string()]);
    context
}

fn of_the_request<'q>(question: &'q Question, context: &mut Context<'q>) {
    let tag_keys: Vec<&str> = question.request_tag_keys().collect();
    if !tag_keys.is_empty() {
        context.set("aws:tagkeys", tag_keys);
    }
    for key in ["aws:securetransport", "aws:viaawsservice"] {
        if context.get(key).is_empty() {
            context.set(key, ["false"]);
        }
    }
    let called_via = context.get("aws:calledvia").to_vec();
    context.set_if_any("aws:calledviafirst", called_via.first().cloned());
    context.set_if_any("aws:calledvialast", called_via.last().cloned());
}

fn of_the_principal<'q>(store: &'q Store, caller: &'q Caller<'_>, context: &mut Context<'q>) {
    let account = caller.account.as_deref();
    let unique_id = caller.entity.and_then(|entity| entity.unique_id.as_deref());
    let (arn, kind, user_id) = match caller.kind {
        Kind::User => (
            Some(caller.arn.clone()),
            "User",
            unique_id.map(str::to_owned),
        ),
        Kind::Role => (caller.role_arn(), "AssumedRole", None), // E-4
        Kind::Session => {
            let user_id = unique_id.map(|id| format!("{id}:{}", caller.name));
            (caller.role_arn(), "AssumedRole", user_id)
        }
        Kind::Federated => {
            let user_id = format!("{}:{}", account.unwrap(), caller.name);
            (Some(caller.arn.clone()), "FederatedUser", Some(user_id))
        }
        Kind::Root => (Some(caller.arn.clone()), "Account", caller.account.clone()),
        Kind::Anonymous => (None, "Anonymous", Some("anonymous".to_owned())),
        Kind::Service => (None, "Service", None),
        Kind::Provider => (None, "", None),
    };
    context.set_if_any("aws:principalarn", arn);
    context.set_if_any("aws:userid", user_id);
    context.set_if_any(
        "aws:principaltype",
        Some(kind).filter(|kind| !kind.is_empty()),
    );
    let anonymous = (caller.kind == Kind::Anonymous).then_some("anonymous");
    context.set_if_any("aws:principalaccount", account.or(anonymous));
    if caller.kind == Kind::User {
        context.set("aws:username", [&caller.name]);
    }
    match caller.kind {
        Kind::Anonymous | Kind::Provider => {}
        Kind::Service => {
            context.set("aws:principalisawsservice", ["true"]);
            context.set("aws:principalservicename", [&caller.name]);
            context.set("aws:principalservicenameslist", [&caller.name]);
        }
        _ => context.set("aws:principalisawsservice", ["false"]),
    }
    if let Some((organization, path)) = place(store, account) {
        context.set("aws:principalorgid", [organization]);
        context.set("aws:principalorgpaths", [path]);
    }
    for (key, value) in caller.entity.iter().flat_map(|entity| &entity.tags) {
        context.set(tag("aws:principaltag", key), [value]);
    }
}

/// The organization of the account, and the path to it.
fn place<'s>(store: &'s Store, account: Option<&str>) -> Option<(&'s String, &'s String)> {
    let organization = store.organization.as_ref()?;
    Some((&organization.id, organization.written_paths.get(account?)?))
}

fn of_the_session<'q>(question: &'q Question, caller: &'q Caller<'_>, context: &mut Context<'q>) {
    let session = question.session();
    if caller.is_temporary {
        context.issue_time_is_unknown = session.issued_at.is_none();
        context.set_if_any("aws:tokenissuetime", session.issued_at.map(rfc_3339));
        let mfa = session.mfa_at.is_some();
        context.set("aws:multifactorauthpresent", [mfa.to_string()]);
        let age = session.mfa_at.map(|mfa_at| question.at - mfa_at);
        context.set_if_any("aws:multifactorauthage", age.map(|age| age.to_string()));
    }
    let given = |text: &'q String| Some(text).filter(|text| !text.is_empty());
    context.set_if_any("aws:sourceidentity", given(&session.source_identity));
    context.set_if_any("aws:federatedprovider", given(&session.federated_provider));
    for (key, value) in &session.tags {
        context.set(tag("aws:principaltag", key), [value]); // T-38
    }
    // K: of SAML only three claims outlive the question of the provider itself.
    let is_provider = caller.kind == Kind::Provider;
    let provider = if is_provider {
        &caller.arn
    } else {
        &session.federated_provider
    };
    let lasting = ["sub", "sub_type", "namequalifier"];
    for (name, value) in &session.claims {
        match issuer(provider) {
            Some(issuer) => context.set(in_lower_case(format!("{issuer}:{name}")), value.texts()),
            None if is_provider || lasting.contains(&name.as_str()) => {
                context.set(in_lower_case(format!("saml:{name}")), value.texts());
            }
            None => {}
        }
    }
}

fn of_the_resource<'q>(
    store: &'q Store,
    question: &'q Question,
    owner: Option<&'q str>,
    context: &mut Context<'q>,
) {
    context.set_if_any("aws:resourceaccount", owner);
    if let Some((organization, path)) = place(store, owner) {
        context.set("aws:resourceorgid", [organization]);
        context.set("aws:resourceorgpaths", [path]);
    }
    let Some(account) = owner.and_then(|owner| store.accounts.get(owner)) else {
        return;
    };
    // The last to set a tag wins: patterns before exact ARNs, and of each kind the first file last.
    for wants_exact in [false, true] {
        for attachment in account.resource_policies.iter().rev() {
            let covers = |scope: &Scope| {
                let is_pattern = scope.text.contains(['*', '?']); // M-9: whatever the resource is called
                let is_exact = scope.text == question.resource && !is_pattern;
                is_exact == wants_exact && scope.covers(&question.resource)
            };
            if attachment.scopes.iter().any(covers) {
                for (key, value) in &attachment.tags {
                    context.set(tag("aws:resourcetag", key), [value]);
                }
            }
        }
    }
    let entities = account.users.iter().chain(&account.roles);
    let of_entities = entities.map(|entity| (&entity.arn, &entity.tags));
    for (arn, tags) in of_entities.chain(&store.managed_tags) {
        if *arn == question.resource {
            for (key, value) in tags {
                context.set(tag("aws:resourcetag", key), [value]);
            }
        }
    }
}

/// T-8: what a trust policy sees: inherited transitive tags go over the tags of its role.
pub fn for_trust<'q>(context: &Context<'q>, question: &'q Question) -> Context<'q> {
    let mut context = context.clone();
    let session = question.session();
    for transitive in &session.transitive_tag_keys {
        for (key, value) in &session.tags {
            if key.eq_ignore_ascii_case(transitive) {
                context.set(tag("aws:resourcetag", key), [value]);
            }
        }
    }
    context
}

/// In lower case, copied only where it is not.
pub fn lower_case(key: &str) -> Cow<'_, str> {
    match key.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(key.to_ascii_lowercase()),
        false => Cow::Borrowed(key),
    }
}

fn tag(family: &str, key: &str) -> String {
    in_lower_case(format!("{family}/{key}"))
}

fn in_lower_case(mut key: String) -> String {
    key.make_ascii_lowercase();
    key
}

/// Whole seconds since 1970 as RFC 3339 in UTC.
fn rfc_3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().to_string()
}
