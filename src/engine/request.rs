//! One question, fully parsed.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::derived::is_tag_of;
use super::session_policy::SessionPolicies;
use super::simulated::Simulated;
use super::work::{BUDGET, Work};
use crate::compile::snapshot::{Policy, Tags};
use crate::context::{Context, ContextEntry, ContextKey, ContextValue, KeyKind};
use crate::name::{
    AccountId, Action, Arn, Malformed, Principal, Resource, is_entity_name, is_session_name,
};

/// A question as its caller put it: texts, nothing checked. Each door fills one; [`Request::parse`] does the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawRequest {
    /// See [`Principal::parse`].
    pub principal: String,
    /// See [`Action::parse`].
    pub action: String,
    /// See [`Resource::parse`].
    pub resource: String,
    /// In the order given, repeated keys included.
    pub context: Vec<(String, ContextValue)>,
    /// The facts of the session, if the caller gave the field at all.
    pub session: Option<RawSession>,
    /// Empty: not given.
    pub resource_account: String,
}

/// `SessionContext` as the caller put it. Empty strings and lists mean: not given.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "the fields of `SessionContext` in the protocol"
)]
pub struct RawSession {
    pub policies: Vec<String>,
    pub policy_arns: Vec<String>,
    pub tags: Vec<(String, String)>,
    pub source_identity: String,
    pub issued_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub mfa_at: Option<Timestamp>,
    pub transitive_tag_keys: Vec<String>,
    pub claims: Vec<(String, ContextValue)>,
    pub federated_provider: String,
    pub parent: String,
    pub attributes: Vec<(String, ContextValue)>,
}

/// One question, fully parsed.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub principal: Principal,
    /// What they want to do.
    pub action: Action,
    /// To what.
    pub resource: Resource,
    /// The owner of the resource as the caller knows it (E-6).
    pub resource_account: Option<AccountId>,
    /// What the caller knows about the question; derived keys are not among it (K-1).
    pub context: Context,
    /// The keys of the tags in the request (`aws:TagKeys`), as the caller gave them or as its tags spell them.
    pub tag_keys: ContextValue,
    /// What the caller knows about the session; empty if it gave nothing.
    pub session: GivenSession,
    /// The clock, read once (K-4).
    pub at: Timestamp,
    /// What a simulation puts in place of what the store says; none for a question that is meant.
    pub simulated: Option<Box<Simulated>>,
    /// The units of work that it took to read it.
    pub(super) spent: u32,
}

/// The facts of a session, vouched for by the caller (K-7).
#[derive(Clone, Debug)]
pub struct Session {
    /// Inline session policies.
    pub policies: Vec<Arc<Policy>>,
    /// Managed policies as session policies.
    pub policy_arns: Vec<Arn>,
    /// Session tags.
    pub tags: Tags,
    /// T-39.
    pub source_identity: Option<String>,
    /// When the credentials were issued; unknown for many sessions (T-43).
    pub issued_at: Option<Timestamp>,
    /// From this instant on the session is over (E-5).
    pub expires_at: Option<Timestamp>,
    /// When multi-factor authentication took place.
    pub mfa_at: Option<Timestamp>,
    /// Keys, lower-cased, of the tags that stay on role chaining (T-36).
    pub transitive_tag_keys: Vec<String>,
    /// Claims of the token, by name without the issuer.
    pub claims: Vec<(String, ContextValue)>,
    /// The provider that vouched for the session, as given.
    pub federated_provider: Option<String>,
    /// The user, or the root user, behind a federated user (E-49).
    pub parent: Option<Arn>,
    /// Keys of the session's credentials (K-8), none twice.
    pub attributes: Vec<(ContextKey, ContextValue)>,
}

/// The facts of a session, if there are any.
///
/// PERF: most questions come without a session. What is read of it then lies in one place for all questions, and each
/// question is smaller by it.
#[derive(Clone, Debug, Default)]
pub struct GivenSession(Option<Box<Session>>);

impl From<Session> for GivenSession {
    fn from(session: Session) -> Self {
        Self(Some(Box::new(session)))
    }
}

/// Of a session that nothing was said about, nothing is known.
impl Deref for GivenSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        static UNKNOWN: Session = Session::UNKNOWN;
        self.0.as_deref().unwrap_or(&UNKNOWN)
    }
}

impl Session {
    /// Nothing is known about it.
    const UNKNOWN: Self = Self {
        policies: Vec::new(),
        policy_arns: Vec::new(),
        tags: Tags::NONE,
        source_identity: None,
        issued_at: None,
        expires_at: None,
        mfa_at: None,
        transitive_tag_keys: Vec::new(),
        claims: Vec::new(),
        federated_provider: None,
        parent: None,
        attributes: Vec::new(),
    };

    /// Whether a user's credentials are temporary: the session says when they began, end, or saw a second factor.
    pub fn is_temporary(&self) -> bool {
        self.issued_at.is_some() || self.expires_at.is_some() || self.mfa_at.is_some()
    }

    /// Whether a tag of this key, lower-cased, goes along when the session assumes a role (T-36).
    pub fn passes_on(&self, folded: &str) -> bool {
        self.transitive_tag_keys.iter().any(|key| key == folded)
    }

    /// Whether it brings policies of its own (E-47).
    pub fn has_policies(&self) -> bool {
        !self.policies.is_empty() || !self.policy_arns.is_empty()
    }
}

/// The most session tags (T-34).
const MAX_SESSION_TAGS: usize = 50;
/// The longest tag key, in characters (T-34).
const MAX_TAG_KEY_CHARACTERS: usize = 128;
/// The longest tag value, in characters (T-34).
const MAX_TAG_VALUE_CHARACTERS: usize = 256;
/// The most managed policies in a session (T-40).
pub(super) const MAX_SESSION_POLICY_ARNS: usize = 10;

impl Request {
    /// Checks everything that needs no store: M-1, M-7, C-4, K-1 and the forms of section 6.
    pub fn parse(raw: RawRequest, at: Timestamp) -> Result<Self, RequestError> {
        Self::parse_with(raw, at, &SessionPolicies::forgetting())
    }

    /// The same, where the policies of the session may have been seen before.
    pub fn parse_with(
        raw: RawRequest,
        at: Timestamp,
        session_policies: &SessionPolicies,
    ) -> Result<Self, RequestError> {
        Self::read(raw, at, session_policies, None)
    }

    /// The same, where a simulation may say any context key.
    pub(super) fn read(
        raw: RawRequest,
        at: Timestamp,
        session_policies: &SessionPolicies,
        simulated: Option<Box<Simulated>>,
    ) -> Result<Self, RequestError> {
        let work = Work::new();
        let principal = Principal::parse(&raw.principal).map_err(at_field("principal"))?;
        let action = Action::parse(&raw.action).map_err(at_field("action"))?;
        let resource = Resource::parse(&raw.resource).map_err(at_field("resource"))?;
        let resource_account = match raw.resource_account.as_str() {
            "" => None,
            text => Some(AccountId::parse(text).map_err(at_field("resource_account"))?),
        };
        let context = Context::from_entries(raw.context).map_err(|duplicate| {
            let message =
                "this context key stands twice; keys are compared ignoring case".to_owned();
            RequestError::invalid(context_field(&duplicate.0), message)
        })?;
        let tag_keys = match simulated {
            None => {
                check_reserved(&context, &principal)?;
                check_resource_tags(&context, &resource)?;
                check_called_via(&context)?;
                tag_keys(&context)?
            }
            // What is given wins, without a check for contradictions.
            Some(_) => ContextValue::list(derived_tag_keys(&context).map(ContextValue::string)),
        };
        let session = match raw.session {
            None => GivenSession::default(),
            Some(session) => {
                check_times(&session, at)?;
                parse_session(session, &principal, session_policies, &work)?.into()
            }
        };
        if matches!(principal, Principal::FederatedUser { .. }) && session.parent.is_none() {
            let message =
                "a federated user needs the ARN of the user, or of the root user, behind it";
            return Err(RequestError::invalid("session.parent", message));
        }
        Ok(Self {
            principal,
            action,
            resource,
            resource_account,
            context,
            tag_keys,
            session,
            at,
            simulated,
            spent: BUDGET.saturating_sub(work.left()),
        })
    }
}

pub(super) fn at_field(field: &'static str) -> impl Fn(Malformed) -> RequestError {
    move |malformed| RequestError::invalid(field, malformed.0)
}

/// `context["aws:SourceIp"]`.
pub(super) fn context_field(key: &str) -> String {
    format!("context[\"{key}\"]")
}

/// K-1, K-8, K-9: what only iamd, the session or a service may say.
fn check_reserved(context: &Context, principal: &Principal) -> Result<(), RequestError> {
    let is_service = matches!(principal, Principal::Service(_));
    for entry in context.entries() {
        let kind = entry.key.kind();
        if kind == KeyKind::ServiceSource && !is_service {
            let message = format!(
                "only a service that calls for a resource may say it, and principal `{principal}` is no service"
            );
            return Err(RequestError::reserved_because(&entry.spelled, message));
        }
        if kind == KeyKind::Credential {
            let message =
                "this key stands in a session's credentials: send it in `session.attributes`";
            return Err(RequestError::reserved_because(&entry.spelled, message));
        }
        if entry.key.is_reserved() {
            return Err(RequestError::reserved(&entry.spelled));
        }
    }
    Ok(())
}

/// A tag of the resource that the caller gives under two names has one value (section 4.9).
fn check_resource_tags(context: &Context, resource: &Resource) -> Result<(), RequestError> {
    let entries = context.entries().iter();
    let tags = entries.filter(|entry| entry.key.kind() == KeyKind::ServiceResourceTag);
    for entry in tags.filter(|entry| is_tag_of(resource, entry.key.service())) {
        let other = format!("aws:resourcetag/{}", entry.key.tag());
        let is_empty = entry.value.values().is_empty();
        if let Some(other) = context.get_folded(&other)
            && !is_empty
            && *other != entry.value
        {
            let message = format!(
                "the value contradicts `aws:ResourceTag/{}`, which is the same tag of this resource",
                entry.key.tag()
            );
            return Err(RequestError::invalid(
                context_field(&entry.spelled),
                message,
            ));
        }
    }
    Ok(())
}

/// How far ahead of our clock another one may be (T-47).
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// T-47: times that cannot be those of a session are a mistake of whoever filled them in, most often an empty timestamp
/// where the field should have been left out.
fn check_times(session: &RawSession, at: Timestamp) -> Result<(), RequestError> {
    let (issued, expires, mfa) = (session.issued_at, session.expires_at, session.mfa_at);
    let latest = at.saturating_add(CLOCK_SKEW).unwrap_or(at);
    let given = [
        ("session.issued_at", issued, true),
        ("session.expires_at", expires, false),
        ("session.mfa_at", mfa, true),
    ];
    for (field, time, is_past) in given {
        let Some(time) = time else { continue };
        let problem = if time <= Timestamp::UNIX_EPOCH {
            "is not later than 1970-01-01T00:00:00Z: leave the field out where there is no such time"
        } else if is_past && time > latest {
            "lies more than 5 minutes ahead"
        } else if is_past && expires.is_some_and(|expires| time >= expires) {
            "does not come before `session.expires_at`"
        } else {
            continue;
        };
        return Err(RequestError::invalid(field, format!("`{time}` {problem}")));
    }
    Ok(())
}

/// The keys of the tags in the request, as they are spelled.
fn derived_tag_keys(context: &Context) -> impl Iterator<Item = String> {
    let key_of =
        |entry: &ContextEntry| entry.spelled.split_once('/').map(|(_, key)| key.to_owned());
    context.request_tags().filter_map(key_of)
}

/// `aws:TagKeys` follows from the request's tags; a list that says otherwise is refused (section 4.9).
fn tag_keys(context: &Context) -> Result<ContextValue, RequestError> {
    let derived: Vec<String> = derived_tag_keys(context).collect();
    let given = context.get_folded("aws:tagkeys");
    if derived.is_empty() {
        return Ok(given.cloned().unwrap_or_default());
    }
    if let Some(given) = given {
        let given: BTreeSet<String> = given.values().iter().map(|key| folded(key)).collect();
        let derived: BTreeSet<String> = derived.iter().map(|key| folded(key)).collect();
        if given != derived {
            let message = "the list contradicts the `aws:RequestTag/…` keys beside it";
            return Err(RequestError::invalid(context_field("aws:TagKeys"), message));
        }
    }
    Ok(ContextValue::list(
        derived.into_iter().map(ContextValue::string),
    ))
}

fn folded(key: &str) -> String {
    key.to_ascii_lowercase()
}

/// `aws:CalledViaFirst` and `Last` follow from `aws:CalledVia`; values that say otherwise are refused.
fn check_called_via(context: &Context) -> Result<(), RequestError> {
    let Some(chain) = context.get_folded("aws:calledvia") else {
        return Ok(());
    };
    let ends = [
        ("aws:CalledViaFirst", chain.values().first()),
        ("aws:CalledViaLast", chain.values().last()),
    ];
    for (key, derived) in ends {
        if let Some(given) = context.get(&ContextKey::new(key))
            && given.values().iter().ne(derived)
        {
            return Err(RequestError::invalid(
                context_field(key),
                "the value contradicts `aws:CalledVia`",
            ));
        }
    }
    Ok(())
}

fn parse_session(
    raw: RawSession,
    principal: &Principal,
    session_policies: &SessionPolicies,
    work: &Work,
) -> Result<Session, RequestError> {
    check_session_fits(&raw, principal)?;
    let policies = raw
        .policies
        .iter()
        .enumerate()
        .map(|(index, text)| session_policies.compile(index, text, work));
    let policies = policies.collect::<Result<_, _>>()?;
    let policy_arns = raw
        .policy_arns
        .iter()
        .enumerate()
        .map(|(index, text)| policy_arn(index, text, principal));
    let policy_arns: Vec<Arn> = policy_arns.collect::<Result<_, _>>()?;
    if policy_arns.len() > MAX_SESSION_POLICY_ARNS {
        let message = format!("a session takes {MAX_SESSION_POLICY_ARNS} managed policies at most");
        return Err(RequestError::invalid("session.policy_arns", message));
    }
    if matches!(principal, Principal::Root(_)) {
        check_task_policy(&policy_arns)?;
    }
    check_tags(&raw.tags)?;
    let transitive_tag_keys = transitive_tag_keys(&raw)?;
    if !raw.source_identity.is_empty() && !is_session_name(&raw.source_identity) {
        let message = "a source identity has 2 to 64 characters of letters, digits and `_+=,.@-`";
        return Err(RequestError::invalid("session.source_identity", message)); // T-39
    }
    check_claims(&raw.claims)?;
    Ok(Session {
        policies,
        policy_arns,
        tags: Tags::new(
            raw.tags
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
        ),
        source_identity: given(raw.source_identity),
        issued_at: raw.issued_at,
        expires_at: raw.expires_at,
        mfa_at: raw.mfa_at,
        transitive_tag_keys,
        claims: raw.claims,
        federated_provider: given(raw.federated_provider),
        parent: parent(&raw.parent, principal)?,
        attributes: attributes(raw.attributes, principal)?,
    })
}

/// T-12: what AssumeRoot gives a root user is limited to one task by one policy of AWS's.
fn check_task_policy(policy_arns: &[Arn]) -> Result<(), RequestError> {
    match policy_arns {
        [] => Ok(()),
        [task] if is_task_policy(task.as_str()) => Ok(()),
        _ => Err(RequestError::invalid(
            "session.policy_arns",
            "a root user's session has one policy, `arn:aws:iam::aws:policy/root-task/NAME`",
        )),
    }
}

/// Whether it is the ARN of a policy that AssumeRoot takes: `arn:PARTITION:iam::aws:policy/root-task/NAME`.
pub(super) fn is_task_policy(text: &str) -> bool {
    Arn::parse(text).is_ok_and(|arn| {
        let name = arn.resource().strip_prefix("policy/root-task/");
        let is_policy = arn.service() == "iam" && arn.region().is_empty();
        is_policy && arn.account() == "aws" && name.is_some_and(is_entity_name)
    })
}

/// K-8: keys of that class alone, each once and with one value.
fn attributes(
    raw: Vec<(String, ContextValue)>,
    principal: &Principal,
) -> Result<Vec<(ContextKey, ContextValue)>, RequestError> {
    let mut attributes: Vec<(ContextKey, ContextValue)> = Vec::with_capacity(raw.len());
    for (spelled, value) in raw {
        let key = ContextKey::new(&spelled);
        let says_true = || value.values().iter().eq(["true"]);
        let problem = match key.kind() {
            KeyKind::Credential if value.values().len() > 1 => "the key has one value, not a list",
            KeyKind::Credential if attributes.iter().any(|(known, _)| *known == key) => {
                "this key stands twice; keys are compared ignoring case"
            }
            KeyKind::Credential => {
                attributes.push((key, value));
                continue;
            }
            // It follows from the principal, and may be said where it is so.
            KeyKind::AssumedRoot if matches!(principal, Principal::Root(_)) && says_true() => {
                continue;
            }
            KeyKind::AssumedRoot => {
                "only the session of a root user is one, and there it is `true`"
            }
            _ => {
                "AWS keeps no such key in a session's credentials: send it in `context`, or in its own field of `session`"
            }
        };
        let field = format!("session.attributes[\"{spelled}\"]");
        return Err(RequestError::invalid(field, problem));
    }
    Ok(attributes)
}

/// T-36: each once, lower-cased, and among the session's tags.
fn transitive_tag_keys(raw: &RawSession) -> Result<Vec<String>, RequestError> {
    let tags: BTreeSet<String> = raw.tags.iter().map(|(key, _)| folded(key)).collect();
    let mut keys = BTreeSet::new();
    for key in &raw.transitive_tag_keys {
        if !tags.contains(&folded(key)) {
            let field = "session.transitive_tag_keys";
            let message = format!("`{key}` is not among the session's tags");
            return Err(RequestError::invalid(field, message));
        }
        keys.insert(folded(key));
    }
    Ok(keys.into_iter().collect())
}

fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Session policies, tags and what a token or a call said belong to sessions (K-7).
fn check_session_fits(raw: &RawSession, principal: &Principal) -> Result<(), RequestError> {
    let is_temporary = raw.issued_at.is_some() || raw.expires_at.is_some() || raw.mfa_at.is_some();
    let is_session = match principal {
        Principal::AssumedRole { .. } | Principal::FederatedUser { .. } => true,
        Principal::User(_) => is_temporary,
        Principal::Anonymous
        | Principal::Service(_)
        | Principal::Root(_)
        | Principal::Role(_)
        | Principal::Provider(_) => false,
    };
    // T-12: with a task policy, and only that.
    let is_task = matches!(principal, Principal::Root(_)) && !raw.policy_arns.is_empty();
    // Who has no session at all cannot have been given these either; roles and providers have their own uses of them.
    let has_record = is_session || matches!(principal, Principal::Role(_) | Principal::Provider(_));
    let given = [
        ("session.policies", raw.policies.is_empty(), is_session),
        (
            "session.policy_arns",
            raw.policy_arns.is_empty(),
            is_session || is_task,
        ),
        ("session.tags", raw.tags.is_empty(), is_session),
        ("session.claims", raw.claims.is_empty(), has_record),
        (
            "session.federated_provider",
            raw.federated_provider.is_empty(),
            has_record,
        ),
        (
            "session.source_identity",
            raw.source_identity.is_empty(),
            has_record || is_task,
        ),
        (
            "session.attributes",
            raw.attributes.is_empty(),
            is_session || is_task,
        ),
    ];
    match given
        .into_iter()
        .find(|(_, is_empty, fits)| !is_empty && !fits)
    {
        Some((field, ..)) => {
            let message = format!("principal `{principal}` is not a session");
            Err(RequestError::invalid(field, message))
        }
        None => Ok(()),
    }
}

/// T-40: of the session's account, or AWS-managed.
fn policy_arn(index: usize, text: &str, principal: &Principal) -> Result<Arn, RequestError> {
    let field = || format!("session.policy_arns[{index}]");
    let arn = Arn::parse(text).map_err(|malformed| RequestError::invalid(field(), malformed.0))?;
    let account = principal.arn().map_or("", Arn::account);
    let is_policy = arn.service() == "iam" && arn.resource().starts_with("policy/");
    if !is_policy || (arn.account() != account && arn.account() != "aws") {
        let message = format!("`{text}` is not the ARN of a managed policy of account `{account}`");
        return Err(RequestError::invalid(field(), message));
    }
    Ok(arn)
}

/// T-34.
fn check_tags(tags: &[(String, String)]) -> Result<(), RequestError> {
    if tags.len() > MAX_SESSION_TAGS {
        return Err(RequestError::invalid(
            "session.tags",
            format!("a session takes {MAX_SESSION_TAGS} tags at most"),
        ));
    }
    for (index, (key, value)) in tags.iter().enumerate() {
        let problem = if key.is_empty() || key.chars().count() > MAX_TAG_KEY_CHARACTERS {
            format!("a tag key has 1 to {MAX_TAG_KEY_CHARACTERS} characters")
        } else if value.chars().count() > MAX_TAG_VALUE_CHARACTERS {
            format!("a tag value has {MAX_TAG_VALUE_CHARACTERS} characters at most")
        } else if key
            .get(..4)
            .is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:"))
        {
            "the prefix `aws:` is reserved".to_owned()
        } else if tags
            .iter()
            .take(index)
            .any(|(earlier, _)| earlier.eq_ignore_ascii_case(key))
        {
            "this tag stands twice; keys are compared ignoring case".to_owned()
        } else {
            continue;
        };
        return Err(RequestError::invalid(
            format!("session.tags[\"{key}\"]"),
            problem,
        ));
    }
    Ok(())
}

fn check_claims(claims: &[(String, ContextValue)]) -> Result<(), RequestError> {
    let mut names = BTreeSet::new();
    for (name, _) in claims {
        if !names.insert(folded(name)) {
            let message = "this claim stands twice; names are compared ignoring case";
            return Err(RequestError::invalid(
                format!("session.claims[\"{name}\"]"),
                message,
            ));
        }
    }
    Ok(())
}

/// The user, or the root user, behind a federated user: of the same account and partition.
fn parent(text: &str, principal: &Principal) -> Result<Option<Arn>, RequestError> {
    let field = "session.parent";
    if text.is_empty() {
        return Ok(None);
    }
    let Principal::FederatedUser { arn: session, .. } = principal else {
        return Err(RequestError::invalid(
            field,
            format!("principal `{principal}` is no federated user"),
        ));
    };
    match Principal::parse(text).map_err(at_field(field))? {
        Principal::User(arn) | Principal::Root(arn)
            if arn.account() == session.account() && arn.partition() == session.partition() =>
        {
            Ok(Some(arn))
        }
        _ => Err(RequestError::invalid(
            field,
            format!("`{text}` is no user of the account in `{session}`"),
        )),
    }
}

/// Why a question has no answer: `INVALID_ARGUMENT` on the wire, with the field's path as the protocol names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    /// What kind of fault.
    pub kind: RequestErrorKind,
    /// `principal`, `context["app:x"]`, `session.tags["team"]`, …
    pub field: String,
    /// In words.
    pub message: String,
}

/// The kinds of fault of a question; `ErrorInfo.reason` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestErrorKind {
    /// `INVALID_REQUEST`.
    Invalid,
    /// `RESERVED_CONTEXT_KEY` (K-1).
    ReservedContextKey,
    /// `TOO_LARGE`.
    TooLarge,
    /// `INTERNAL_ERROR`: the status `INTERNAL`, since nothing is wrong with the question itself (E-1).
    TooMuchWork,
    /// Nobody waits for the answer any more.
    Unwanted,
}

impl RequestError {
    /// A field that is malformed.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: RequestErrorKind::Invalid,
            field: field.into(),
            message: message.into(),
        }
    }

    /// The work budget is spent (E-1).
    pub(super) fn too_much_work() -> Self {
        Self {
            kind: RequestErrorKind::TooMuchWork,
            field: String::new(),
            message: "the answer takes more work than a question may".to_owned(),
        }
    }

    /// Nobody waits for the answer any more.
    pub fn unwanted() -> Self {
        Self {
            kind: RequestErrorKind::Unwanted,
            field: String::new(),
            message: "nobody waits for the answer".to_owned(),
        }
    }

    /// A context key that only iamd or the session may say (K-1).
    pub fn reserved(key: &str) -> Self {
        Self::reserved_because(
            key,
            "iamd derives this key itself; facts of the session go into `session`",
        )
    }

    /// A context key that this caller may not say, and why.
    fn reserved_because(key: &str, message: impl Into<String>) -> Self {
        Self {
            kind: RequestErrorKind::ReservedContextKey,
            field: context_field(key),
            message: message.into(),
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

impl std::error::Error for RequestError {}
