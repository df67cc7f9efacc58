//! One question, fully parsed.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use jiff::Timestamp;

use super::error::{RequestError, at_field, context_field};
use super::question::Question;
use super::session_policy::SessionPolicies;
use super::simulated::Simulated;
use super::work::Work;
use crate::compile::snapshot::{Policy, Tags};
use crate::context::{Context, ContextEntry, ContextKey, ContextValue, KeyKind};
use crate::limits::BUDGET;
use crate::name::{AccountId, Action, Arn, Principal, Resource};

mod session;

pub(super) use session::is_task_policy;

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

impl Request {
    /// Returns the budget for answering: what reading the question has left.
    #[inline]
    pub(super) fn remaining_work(&self) -> Work {
        Work::of(BUDGET.saturating_sub(self.spent))
    }

    /// Checks everything that needs no store: M-1, M-7, C-4, K-1 and the forms of section 6.
    pub fn parse(question: &Question<'_>, at: Timestamp) -> Result<Self, RequestError> {
        Self::parse_with(question, at, &SessionPolicies::forgetting())
    }

    /// The same, where the policies of the session may have been seen before.
    pub fn parse_with(
        question: &Question<'_>,
        at: Timestamp,
        session_policies: &SessionPolicies,
    ) -> Result<Self, RequestError> {
        let work = Work::new();
        let request = Self::read(question, at, session_policies, None, &work)?;
        Ok(Self {
            spent: BUDGET.saturating_sub(work.left()),
            ..request
        })
    }

    /// The same, where a person waits for the answer: the policies of the session may take the longer.
    pub fn parse_for_people(question: &Question<'_>, at: Timestamp) -> Result<Self, RequestError> {
        let session_policies = SessionPolicies::forgetting();
        Self::read(question, at, &session_policies, None, &Work::ample())
    }

    /// The same, where a simulation may say any context key.
    pub(super) fn read(
        question: &Question<'_>,
        at: Timestamp,
        session_policies: &SessionPolicies,
        simulated: Option<Box<Simulated>>,
        work: &Work,
    ) -> Result<Self, RequestError> {
        let principal = Principal::parse(question.principal).map_err(at_field("principal"))?;
        let action = Action::parse(question.action).map_err(at_field("action"))?;
        let resource = Resource::parse(question.resource).map_err(at_field("resource"))?;
        let resource_account = match question.resource_account {
            "" => None,
            text => Some(AccountId::parse(text).map_err(at_field("resource_account"))?),
        };
        let context = context(question, simulated.is_some())?;
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
        let session = match &question.session {
            None => GivenSession::default(),
            Some(facts) => session::parse(facts, &principal, session_policies, at, work)?.into(),
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
            spent: 0,
        })
    }
}

/// The context, with the keys of C-4 held apart. In a simulation a key may be said to be absent; it is no entry then.
fn context(question: &Question<'_>, is_simulated: bool) -> Result<Context, RequestError> {
    let mut entries = Vec::with_capacity(question.context.len());
    for (key, value) in &question.context {
        if !(is_simulated && value.is_absence()) {
            entries.push((*key, value.to_context_value(|| context_field(key))?));
        }
    }
    Context::from_entries(entries).map_err(|duplicate| {
        let message = "this context key stands twice; keys are compared ignoring case";
        RequestError::invalid(context_field(&duplicate.0), message)
    })
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

/// Whether tags of `resource` have a name of this service, which is lower-cased, too. Of IAM's resources only users
/// and roles do.
pub(super) fn is_tag_of(resource: &Resource, service: &str) -> bool {
    let Resource::Arn(arn) = resource else {
        return false;
    };
    let has_tags = service != "iam"
        || arn.resource().starts_with("user/")
        || arn.resource().starts_with("role/");
    has_tags && arn.service().eq_ignore_ascii_case(service)
}

/// The claim in which a token may name the roles that it is for (T-25).
pub(super) const ROLES_CLAIM: &str = "https://aws.amazon.com/roles";
