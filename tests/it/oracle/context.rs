//! Section 4.9: the sources of context keys.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;

use super::claims::{self, Roles};
use super::met::Met;
use super::question::{Caller, Kind, Question};
use super::store::{Scope, Store};

/// The values by key in lower case. An empty list is the same as an absent key (C-7).
#[derive(Clone, Debug, Default)]
pub struct Context<'q> {
    /// Each key appears once. There are so few that a linear search is fast.
    entries: Vec<(Cow<'q, str>, Values<'q>)>,
    /// The keys with an unknown value.
    unknown: Vec<(String, Unknown)>,
    /// The keys of claims (T-22).
    claims: Vec<String>,
    /// Counts the cases that were tested.
    met: RefCell<BTreeSet<Met>>,
}

/// T-8, T-43: whether a key with an unknown value is present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    Present,
    MaybeAbsent,
}

pub type Values<'q> = Vec<Cow<'q, str>>;

impl<'q> Context<'q> {
    pub fn get(&self, key: &str) -> &[Cow<'q, str>] {
        let mut entries = self.entries.iter();
        let found = entries.find(|(other, _)| other == key);
        found.map_or(&[], |(_, values)| values)
    }

    /// Sets `key`, which is in lower case (C-4), in place of its earlier value.
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

    /// Returns what is unknown about `key`, in lower case, if its value is unknown.
    pub fn unknown(&self, key: &str) -> Option<Unknown> {
        let mut unknown = self.unknown.iter().filter(|(other, _)| other == key);
        unknown.next().map(|(_, unknown)| *unknown)
    }

    /// Notes that a condition reads `key`, in lower case, with `base`.
    pub fn read(&self, key: &str, base: &str) {
        match self.unknown(key) {
            Some(_) if key != "aws:tokenissuetime" => self.meet(Met::ReadDifferingTag),
            Some(_) if base == "null" => self.meet(Met::NullOfUnknownIssueTime),
            _ => {}
        }
        let has_value = !self.get(key).is_empty();
        if let Some(met) = Met::of_reading(key).filter(|_| has_value) {
            self.meet(met);
        }
        if self.claims.iter().any(|claim| claim == key) {
            self.meet(Met::ReadClaim);
        }
    }

    fn forget(&mut self, key: String, what: Unknown) {
        self.entries.retain(|(other, _)| *other != key);
        self.unknown.push((key, what));
    }

    pub fn meet(&self, met: Met) {
        self.met.borrow_mut().insert(met);
    }

    pub fn met(self) -> BTreeSet<Met> {
        self.met.into_inner()
    }

    fn set_if_any(&mut self, key: &'static str, value: Option<impl Into<Cow<'q, str>>>) {
        if let Some(value) = value {
            self.set(key, [value]);
        }
    }
}

/// Returns whether `key`, in lower case, is a claim of the issuer.
pub fn is_claim(key: &str, issuer: &str) -> bool {
    let rest = key.strip_prefix(issuer);
    rest.is_some_and(|rest| rest.starts_with(':'))
}

/// K-8: the keys of a session's credentials, except [`ASSUMED_ROOT`].
pub const OF_CREDENTIALS: &[&str] = &[
    "aws:signinsessionarn",
    "aws:chatbotsourcearn",
    "aws:ec2instancesourcevpc",
    "aws:ec2instancesourceprivateipv4",
    "ec2:sourceinstancearn",
    "ec2:roledelivery",
    "lambda:sourcefunctionarn",
    "codebuild:buildarn",
    "codebuild:projectarn",
    "glue:roleassumedby",
    "glue:credentialissuingservice",
    "ssm:sourceinstancearn",
    "identitystore:userid",
    "identitystore:identitystorearn",
    "identitycenter:applicationarn",
    "identitycenter:credentialid",
    "identitycenter:instancearn",
];

/// K-8, T-12.
pub const ASSUMED_ROOT: &str = "aws:assumedroot";

/// K-9.
pub const OF_SOURCES: &[&str] = &[
    "aws:sourcearn",
    "aws:sourceaccount",
    "aws:sourceorgid",
    "aws:sourceorgpaths",
];

/// K-1: returns whether only the engine and the session may set `key`, in lower case.
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
        "sts:roleauthorizedbyidp",
        ASSUMED_ROOT,
    ];
    engine.contains(&key)
        || OF_CREDENTIALS.contains(&key)
        || key.starts_with("aws:principaltag/")
        || key.starts_with("saml:")
        || store.issuers.iter().any(|issuer| is_claim(key, issuer))
}

/// Returns everything that conditions and variables can see in `question`.
pub fn context<'q>(
    store: &'q Store,
    question: &'q Question,
    caller: &'q Caller<'_>,
    owner: Option<&'q str>,
) -> Context<'q> {
    let mut context = Context::default();
    for (key, value) in &question.context {
        let (key, values) = (lower_case(key), value.texts());
        let is_about_roles = question.is_about_trust() || question.is_assuming_root();
        if key == "sts:durationseconds" && is_about_roles {
            continue; // T-31
        }
        match resource_tag(&key, &question.resource) {
            Some(_) if values.is_empty() => {} // C-7: another of its names may have a value
            Some(tag) => set_resource_tag(question, tag, values, &mut context),
            None => context.set(key, values),
        }
    }
    of_the_request(question, &mut context);
    of_the_principal(store, caller, &mut context);
    of_the_session(question, caller, &mut context);
    of_the_resource(store, question, owner, &mut context);
    of_chaining(question, &mut context);
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

/// Returns the organization of the account and the path to it.
fn place<'s>(store: &'s Store, account: Option<&str>) -> Option<(&'s String, &'s String)> {
    let organization = store.organization.as_ref()?;
    Some((&organization.id, organization.written_paths.get(account?)?))
}

fn of_the_session<'q>(question: &'q Question, caller: &'q Caller<'_>, context: &mut Context<'q>) {
    let session = question.session();
    if caller.is_temporary {
        match session.issued_at {
            Some(issued_at) => context.set("aws:tokenissuetime", [rfc_3339(issued_at)]),
            None => context.forget("aws:tokenissuetime".to_owned(), Unknown::Present), // T-43
        }
        // T-45: users did not come from a provider, no matter what their session says.
        let is_of_provider = !session.federated_provider.is_empty()
            && matches!(caller.kind, Kind::Session | Kind::Role);
        match session.mfa_at {
            Some(mfa_at) => {
                context.set("aws:multifactorauthpresent", ["true"]);
                let age = question.at - mfa_at;
                context.set("aws:multifactorauthage", [age.to_string()]);
            }
            None if is_of_provider => {}
            None => context.set("aws:multifactorauthpresent", ["false"]),
        }
        if caller.kind == Kind::Root {
            context.set(ASSUMED_ROOT, ["true"]); // T-12
        }
    }
    let given = |text: &'q String| Some(text).filter(|text| !text.is_empty());
    context.set_if_any("aws:sourceidentity", given(&session.source_identity));
    for (key, value) in &session.tags {
        context.set(tag("aws:principaltag", key), [value]); // T-38
    }
    for (key, value) in &session.attributes {
        context.set(lower_case(key), value.texts()); // K-8
    }
    let provider = claims::federated_provider(question, caller);
    context.set_if_any("aws:federatedprovider", provider);
    for (key, values) in claims::keys_of_claims(question, caller) {
        context.claims.push(key.clone());
        context.set(key, values);
    }
    let is_authorized = match claims::roles(question, caller) {
        Some(Roles::Unnamed) => Some("false"),
        Some(Roles::Hold) => Some("true"),
        Some(Roles::HoldNot) | None => None, // T-25: denied before anybody reads it
    };
    context.set_if_any("sts:roleauthorizedbyidp", is_authorized);
}

/// Returns the tag of the resource that `key`, in lower case, names: rows `iam:ResourceTag/k` and
/// `SERVICE:ResourceTag/k`.
pub fn resource_tag<'k>(key: &'k str, resource: &str) -> Option<&'k str> {
    let (family, name) = key.split_once(':')?;
    let tag = name.strip_prefix("resourcetag/")?;
    (family == "aws" || Some(family) == service_of_tags(resource).as_deref()).then_some(tag)
}

/// Returns the service whose `ResourceTag` is another name of `aws:ResourceTag`. Of IAM's resources only users and
/// roles have one.
fn service_of_tags(resource: &str) -> Option<String> {
    let fields: Vec<&str> = resource.splitn(6, ':').collect();
    let &[_, _, service, _, _, rest] = fields.as_slice() else {
        return None;
    };
    let service = service.to_ascii_lowercase();
    let is_entity = rest.starts_with("user/") || rest.starts_with("role/");
    (service != "iam" || is_entity).then_some(service)
}

/// Returns the names of the tag, in lower case.
fn names_of_resource_tag(question: &Question, tag: &str) -> Vec<String> {
    let own = service_of_tags(&question.resource);
    let families = ["aws".to_owned()].into_iter().chain(own);
    families
        .map(|family| in_lower_case(format!("{family}:resourcetag/{tag}")))
        .collect()
}

fn set_resource_tag<'q>(
    question: &Question,
    tag: &str,
    values: Values<'q>,
    context: &mut Context<'q>,
) {
    for name in names_of_resource_tag(question, tag) {
        context.set(name, values.clone());
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
    // The last file to set a tag wins. Patterns come before exact ARNs, and files of each kind are in order.
    for wants_exact in [false, true] {
        for attachment in account.resource_policies.iter().rev() {
            let covers = |scope: &Scope| {
                let is_pattern = scope.text.contains(['*', '?']); // M-9: whatever the resource is called
                let is_exact = scope.text == question.resource && !is_pattern;
                is_exact == wants_exact && scope.covers(&question.resource)
            };
            if attachment.scopes.iter().any(covers) {
                for (key, value) in &attachment.tags {
                    set_resource_tag(question, key, vec![value.into()], context);
                }
            }
        }
    }
    let entities = account.users.iter().chain(&account.roles);
    let of_entities = entities.map(|entity| (&entity.arn, &entity.tags));
    for (arn, tags) in of_entities.chain(&store.managed_tags) {
        if *arn == question.resource {
            for (key, value) in tags {
                set_resource_tag(question, key, vec![value.into()], context);
            }
        }
    }
}

/// T-8: notes a tag that the caller brings along where the role has another value or none.
fn of_chaining(question: &Question, context: &mut Context<'_>) {
    if !question.is_about_trust() {
        return;
    }
    let session = question.session();
    for (key, inherited) in &session.tags {
        let mut transitive = session.transitive_tag_keys.iter();
        if !transitive.any(|transitive| transitive.eq_ignore_ascii_case(key)) {
            continue;
        }
        let own = context.get(&tag("aws:resourcetag", key));
        if own == [inherited.as_str()] {
            continue;
        }
        let what = match own.is_empty() {
            true => Unknown::MaybeAbsent,
            false => Unknown::Present,
        };
        context.meet(Met::DifferingTag);
        for name in names_of_resource_tag(question, key) {
            context.forget(name, what);
        }
    }
}

/// Returns the text in lower case and copies it only if it has to.
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

/// Returns whole seconds since 1970 as RFC 3339 in UTC.
fn rfc_3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().to_string()
}
