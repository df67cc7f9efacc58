//! One question, fully parsed.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use jiff::Timestamp;

use super::error::{RequestError, at_field, context_field};
use super::question::{Question, Value};
use super::session_policy::SessionPolicies;
use super::simulated::Simulated;
use super::work::Work;
use crate::compile::snapshot::{Policy, Tags};
use crate::context::{Context, ContextKey, ContextValue, KeyKind, Kinds};
use crate::limits::BUDGET;
use crate::name::{AccountId, Action, Arn, Principal, Resource};

mod session;

pub(crate) use session::MAX_TAG_VALUE_CHARACTERS;
pub(super) use session::is_task_policy;

/// One question, fully parsed. Its texts are borrowed from the question as the caller sent it.
#[derive(Clone, Debug)]
pub struct Request<'q> {
    /// The principal that asks.
    pub principal: Principal<'q>,
    /// The action that the principal wants to perform.
    pub action: Action,
    /// The resource to perform it on.
    pub resource: Resource<'q>,
    /// The owner of the resource as the caller knows it (E-6).
    pub resource_account: Option<AccountId>,
    /// The context that the caller gave. It does not include derived keys (K-1).
    pub context: Context<'q>,
    /// The keys of the tags in the request (`aws:TagKeys`), as the caller gave them or as its tags spell them.
    pub tag_keys: ContextValue<'q>,
    /// The facts of the session that the caller gave. Empty if the caller gave none.
    pub session: GivenSession<'q>,
    /// The time of the question. The clock is read once (K-4).
    pub at: Timestamp,
    /// The policies and values that a simulation puts in place of the store's. `None` for a real question.
    pub simulated: Option<Box<Simulated>>,
    /// The units of work that parsing the question took.
    pub(super) spent: u32,
}

/// The facts of a session, vouched for by the caller (K-7).
#[derive(Clone, Debug)]
pub struct Session<'q> {
    /// The inline session policies.
    pub policies: Vec<Arc<Policy>>,
    /// The managed policies that are used as session policies.
    pub policy_arns: Vec<Arn>,
    /// The session tags.
    pub tags: Tags,
    /// The source identity (T-39).
    pub source_identity: Option<String>,
    /// The time at which the credentials were issued. It is unknown for many sessions (T-43).
    pub issued_at: Option<Timestamp>,
    /// The instant at which the session expires (E-5).
    pub expires_at: Option<Timestamp>,
    /// The time of the multi-factor authentication.
    pub mfa_at: Option<Timestamp>,
    /// The keys, in lower case, of the tags that stay with the session in role chaining (T-36).
    pub transitive_tag_keys: Vec<String>,
    /// The claims of the token, by name without the issuer.
    pub claims: Vec<(String, ContextValue<'q>)>,
    /// The provider that vouched for the session, spelled as the caller gave it.
    pub federated_provider: Option<String>,
    /// The user, or the root user, behind a federated user (E-49).
    pub parent: Option<Arn>,
    /// The keys of the session's credentials (K-8), each once.
    pub attributes: Vec<(ContextKey, ContextValue<'q>)>,
}

/// The facts of a session, if there are any.
///
/// PERF: most questions have no session. They share one static empty value, which makes each question smaller.
#[derive(Clone, Debug, Default)]
pub struct GivenSession<'q>(Option<Box<Session<'q>>>);

impl<'q> From<Session<'q>> for GivenSession<'q> {
    fn from(session: Session<'q>) -> Self {
        Self(Some(Box::new(session)))
    }
}

/// Gives the session's facts. If the caller said nothing about the session, none of them is known.
impl<'q> Deref for GivenSession<'q> {
    type Target = Session<'q>;

    fn deref(&self) -> &Session<'q> {
        static UNKNOWN: Session<'_> = Session::UNKNOWN;
        self.0.as_deref().unwrap_or(&UNKNOWN)
    }
}

impl Session<'_> {
    /// A session about which nothing is known.
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

    /// Returns whether a user's credentials are temporary: the session says when they began, when they end, or when
    /// multi-factor authentication took place.
    pub fn is_temporary(&self) -> bool {
        self.issued_at.is_some() || self.expires_at.is_some() || self.mfa_at.is_some()
    }

    /// Returns whether the session passes on a tag with this lower-case key when it assumes a role (T-36).
    pub fn passes_on(&self, folded: &str) -> bool {
        self.transitive_tag_keys.iter().any(|key| key == folded)
    }

    /// Returns whether the session has policies of its own (E-47).
    pub fn has_policies(&self) -> bool {
        !self.policies.is_empty() || !self.policy_arns.is_empty()
    }
}

impl<'q> Request<'q> {
    /// Returns the budget for answering: what reading the question has left.
    #[inline]
    pub(super) fn remaining_work(&self) -> Work {
        Work::of(BUDGET.saturating_sub(self.spent))
    }

    /// Returns the same question of another principal. Copying the context counts as `work`.
    pub fn of_principal<'p>(&self, principal: Principal<'p>, work: &Work) -> Request<'p>
    where
        'q: 'p,
    {
        let values = self.context.entries().iter().map(|entry| &entry.value);
        let n_listed: usize = values.map(|value| value.many().len()).sum();
        work.spend(1 + self.context.entries().len() + n_listed + self.tag_keys.many().len());
        Request {
            principal,
            ..self.clone()
        }
    }

    /// Parses a question and checks everything that does not need the store: M-1, M-7, C-4, K-1 and the forms of
    /// section 6.
    pub fn parse(question: &Question<'q>, at: Timestamp) -> Result<Self, RequestError> {
        Self::parse_with(question, at, &SessionPolicies::forgetting())
    }

    /// Parses a question like [`Request::parse`], with a cache of compiled session policies.
    pub fn parse_with(
        question: &Question<'q>,
        at: Timestamp,
        session_policies: &SessionPolicies,
    ) -> Result<Self, RequestError> {
        Self::read(question, at, session_policies, None, &Work::new())
    }

    /// Parses a question like [`Request::parse`] for an interactive answer, which may spend more on the session
    /// policies.
    pub fn parse_interactive(question: &Question<'q>, at: Timestamp) -> Result<Self, RequestError> {
        let session_policies = SessionPolicies::forgetting();
        Self::read(question, at, &session_policies, None, &Work::ample())
    }

    /// Parses a question like [`Request::parse`]. A simulation may give any context key.
    pub(super) fn read(
        question: &Question<'q>,
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
            // PERF: the checks are about few kinds of keys.
            None if context.has_only(UNCHECKED) => ContextValue::default(),
            None => {
                check_reserved(&context, &principal)?;
                check_resource_tags(&context, &resource)?;
                check_called_via(&context)?;
                tag_keys(&context)?
            }
            // In a simulation, given values take precedence and are not checked for contradictions.
            Some(_) => ContextValue::list(derived_tag_keys(&context)),
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
            spent: work.spent(),
        })
    }
}

/// Returns the context and refuses a key that comes twice (C-4). A simulation may declare a key absent; then it has no
/// entry.
fn context<'q>(question: &Question<'q>, is_simulated: bool) -> Result<Context<'q>, RequestError> {
    let mut context = Context::with_capacity(question.context.len());
    for (key, value) in &question.context {
        if !(is_simulated && value.is_absence()) {
            let value = match value {
                Value::Text(text) => ContextValue::string(text), // PERF: nearly all are texts
                other => other.to_context_value(|| context_field(key))?,
            };
            context.push(key, value);
        }
    }
    context.finish().map_err(|duplicate| {
        let message = "this context key appears twice; keys are compared ignoring case";
        RequestError::invalid(context_field(&duplicate.0), message)
    })
}

/// The kinds of keys whose values need no check before the decision.
const UNCHECKED: Kinds = Kinds::of(&[
    KeyKind::Given,
    KeyKind::SecureTransport,
    KeyKind::ViaAwsService,
    KeyKind::ResourceTag,
    KeyKind::DurationSeconds,
]);

/// K-1: keys that a caller may not send are checked.
const _: () = assert!(UNCHECKED.are_all_in(KeyKind::OPEN));

/// Refuses keys that only iamd, the session or a service may set (K-1, K-8, K-9).
fn check_reserved(context: &Context, principal: &Principal) -> Result<(), RequestError> {
    let is_service = matches!(principal, Principal::Service(_));
    for entry in context.entries() {
        let kind = entry.key.kind();
        if kind == KeyKind::ServiceSource && !is_service {
            let message = format!(
                "only a service that calls on behalf of a resource may send this key, and principal `{principal}` is not a service"
            );
            return Err(RequestError::reserved_because(entry.key.spelled(), message));
        }
        if kind == KeyKind::Credential {
            let message =
                "this key belongs to a session's credentials: send it in `session.attributes`";
            return Err(RequestError::reserved_because(entry.key.spelled(), message));
        }
        if kind.is_reserved() {
            return Err(RequestError::reserved(entry.key.spelled()));
        }
    }
    Ok(())
}

/// Checks that a resource tag that the caller gives under two names has one value (section 4.9).
fn check_resource_tags(context: &Context, resource: &Resource) -> Result<(), RequestError> {
    let entries = context.entries().iter();
    let tags = entries.filter(|entry| entry.key.kind() == KeyKind::ServiceResourceTag);
    for entry in tags.filter(|entry| is_tag_of(resource, entry.key.service())) {
        let other = ContextKey::new(&format!("aws:ResourceTag/{}", entry.key.tag()));
        if let Some(other) = context.get(&other)
            && !entry.value.is_empty()
            && *other != entry.value
        {
            let message = format!(
                "the value contradicts `aws:ResourceTag/{}`, which is the same tag of this resource",
                entry.key.tag()
            );
            return Err(RequestError::invalid(
                context_field(entry.key.spelled()),
                message,
            ));
        }
    }
    Ok(())
}

/// Returns the keys of the tags in the request, as they are spelled, in the order of their names.
fn derived_tag_keys<'q>(context: &Context<'q>) -> impl Iterator<Item = ContextValue<'q>> {
    let mut keys: Vec<&str> = context
        .request_tags()
        .map(|entry| entry.key.tag())
        .collect();
    keys.sort_by_cached_key(|key| folded(key));
    keys.into_iter().map(ContextValue::string)
}

/// Derives `aws:TagKeys` from the request's tags and refuses a list that says otherwise (section 4.9).
fn tag_keys<'q>(context: &Context<'q>) -> Result<ContextValue<'q>, RequestError> {
    let derived = ContextValue::list(derived_tag_keys(context));
    let given = context.get_kind(KeyKind::TagKeys);
    if derived.is_empty() {
        return Ok(given.cloned().unwrap_or_default());
    }
    if let Some(given) = given {
        let all = |list: &ContextValue<'_>| list.all().map(folded).collect::<BTreeSet<_>>();
        if all(given) != all(&derived) {
            let message = "the list contradicts the `aws:RequestTag/…` keys beside it";
            return Err(RequestError::invalid(context_field("aws:TagKeys"), message));
        }
    }
    Ok(derived)
}

fn folded(key: &str) -> String {
    key.to_ascii_lowercase()
}

/// Checks `aws:CalledViaFirst` and `aws:CalledViaLast`, which follow from `aws:CalledVia`. Values that say otherwise
/// are refused.
fn check_called_via(context: &Context) -> Result<(), RequestError> {
    let Some(chain) = context.get_kind(KeyKind::CalledVia) else {
        return Ok(());
    };
    let ends = [
        (
            "aws:CalledViaFirst",
            KeyKind::CalledViaFirst,
            chain.all().next(),
        ),
        (
            "aws:CalledViaLast",
            KeyKind::CalledViaLast,
            chain.all().next_back(),
        ),
    ];
    for (key, kind, derived) in ends {
        if let Some(given) = context.get_kind(kind)
            && given.all().ne(derived)
        {
            return Err(RequestError::invalid(
                context_field(key),
                "the value contradicts `aws:CalledVia`",
            ));
        }
    }
    Ok(())
}

/// Returns whether tags of `resource` also have a name with this service. Of IAM's resources
/// only users and roles do.
pub(super) fn is_tag_of(resource: &Resource, service: &str) -> bool {
    let Resource::Arn(arn) = resource else {
        return false;
    };
    let has_tags = !service.eq_ignore_ascii_case("iam")
        || arn.resource().starts_with("user/")
        || arn.resource().starts_with("role/");
    has_tags && arn.service().eq_ignore_ascii_case(service)
}

/// The claim in which a token may name the roles that it is for (T-25).
pub(super) const ROLES_CLAIM: &str = "https://aws.amazon.com/roles";

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn a_question_of_another_principal_costs_as_much_work_as_it_copies() {
        let values = |n| Value::List(vec![Value::from("x"); n]);
        for (n_values, n_units) in [(0, 2), (1, 2), (2, 4), (1_000, 1_002)] {
            let question = Question {
                principal: "*",
                action: "a:B",
                resource: "*",
                context: vec![("app:list", values(n_values))],
                ..Question::default()
            };
            let request = Request::parse(&question, Timestamp::UNIX_EPOCH).unwrap();
            let work = Work::new();
            let service = Principal::Service("a.b");
            let other = request.of_principal(service, &work);
            assert_eq!(other.principal, service);
            assert_eq!(other.context.entries().len(), 1);
            assert_eq!(work.spent(), n_units, "{n_values} values");
        }
    }
}
