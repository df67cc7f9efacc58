//! Parses the facts of a session that the caller gave.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{ROLES_CLAIM, Session, folded};
use crate::compile::oidc_issuer;
use crate::compile::snapshot::Tags;
use crate::context::{ContextKey, ContextValue, KeyKind};
use crate::engine::error::{RequestError, at_field, member};
use crate::engine::question::{SessionFacts, Value};
use crate::engine::session_policy::SessionPolicies;
use crate::engine::work::Work;
use crate::name::{Arn, NO_ISSUER, Principal, is_entity_name, is_issuer, is_session_name};

/// The most session tags (T-34).
const MAX_SESSION_TAGS: usize = 50;
/// The longest tag key, in characters (T-34).
const MAX_TAG_KEY_CHARACTERS: usize = 128;
/// The longest tag value, in characters (T-34).
pub(crate) const MAX_TAG_VALUE_CHARACTERS: usize = 256;
/// The most managed policies in a session (T-40).
const MAX_SESSION_POLICY_ARNS: usize = 10;

/// Parses the facts of a session and checks the forms of section 6.
pub(super) fn parse<'q>(
    facts: &SessionFacts<'q>,
    principal: &Principal,
    session_policies: &SessionPolicies,
    at: Timestamp,
    work: &Work,
) -> Result<Session<'q>, RequestError> {
    check_times(facts, at)?;
    check_session_fits(facts, principal)?;
    let policies = facts
        .policies
        .iter()
        .enumerate()
        .map(|(index, text)| session_policies.compile(index, text, work));
    let policies = policies.collect::<Result<_, _>>()?;
    let policy_arns = facts
        .policy_arns
        .iter()
        .enumerate()
        .map(|(index, text)| policy_arn(index, text, principal));
    let policy_arns: Vec<Arn> = policy_arns.collect::<Result<_, _>>()?;
    if policy_arns.len() > MAX_SESSION_POLICY_ARNS {
        let message = format!("a session takes at most {MAX_SESSION_POLICY_ARNS} managed policies");
        return Err(RequestError::invalid("session.policy_arns", message));
    }
    if matches!(principal, Principal::Root(_)) {
        check_task_policy(&policy_arns)?;
    }
    check_tags(&facts.tags)?;
    let transitive_tag_keys = transitive_tag_keys(facts)?;
    if !facts.source_identity.is_empty() && !is_session_name(facts.source_identity) {
        let message = "a source identity has 2 to 64 characters of letters, digits and `_+=,.@-`";
        return Err(RequestError::invalid("session.source_identity", message)); // T-39
    }
    let claims = claims(&facts.claims)?;
    let n_bytes = facts.federated_provider.len();
    if n_bytes > MAX_PROVIDER_BYTES {
        let message =
            format!("the provider's name has {n_bytes} bytes, the limit is {MAX_PROVIDER_BYTES}");
        return Err(RequestError::invalid("session.federated_provider", message));
    }
    if oidc_issuer(facts.federated_provider).is_some_and(|issuer| !is_issuer(issuer))
        && !facts.federated_provider.is_empty()
    {
        let message = format!("the provider {NO_ISSUER}");
        return Err(RequestError::invalid("session.federated_provider", message));
    }
    Ok(Session {
        policies,
        policy_arns,
        tags: Tags::new(facts.tags.iter().copied()),
        source_identity: given(facts.source_identity),
        issued_at: facts.issued_at,
        expires_at: facts.expires_at,
        mfa_at: facts.mfa_at,
        transitive_tag_keys,
        claims,
        federated_provider: given(facts.federated_provider),
        parent: parent(facts.parent, principal)?,
        attributes: attributes(&facts.attributes, principal)?,
    })
}

/// The longest name of a provider, which is the limit of AWS for an ARN. The ARN is built from the name each time a
/// policy refers to it.
const MAX_PROVIDER_BYTES: usize = 2_048;

/// Checks that a root user's session has exactly one policy, an AWS-managed one that limits it to one task, as
/// AssumeRoot requires (T-12).
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

/// Returns whether `text` is the ARN of a policy that AssumeRoot takes: `arn:PARTITION:iam::aws:policy/root-task/NAME`.
pub(in crate::engine) fn is_task_policy(text: &str) -> bool {
    // PERF: this also runs for a context key, where nothing may be allocated.
    let mut fields = text.splitn(6, ':');
    let head = [(); 5].map(|()| fields.next().unwrap_or_default());
    let name = fields
        .next()
        .and_then(|resource| resource.strip_prefix("policy/root-task/"));
    let ["arn", partition, "iam", "", "aws"] = head else {
        return false;
    };
    !partition.is_empty() && name.is_some_and(is_entity_name)
}

/// Returns the keys of the session's credentials. Only keys of that class are allowed, each once and with one value
/// (K-8).
fn attributes<'q>(
    given: &[(&'q str, Value<'q>)],
    principal: &Principal<'_>,
) -> Result<Vec<(ContextKey, ContextValue<'q>)>, RequestError> {
    let mut attributes: Vec<(ContextKey, ContextValue<'_>)> = Vec::with_capacity(given.len());
    let mut is_assumed_root_said = false;
    for (spelled, value) in given {
        let field = || member("session.attributes", spelled);
        let value = value.to_context_value(field)?;
        let key = ContextKey::new(spelled);
        let says_true = || value.one() == Some("true");
        let problem = match key.kind() {
            KeyKind::Credential if value.many().len() > 1 => "the key has one value, not a list",
            KeyKind::Credential if attributes.iter().any(|(known, _)| *known == key) => {
                "this key is given twice; keys are compared ignoring case"
            }
            KeyKind::Credential => {
                attributes.push((key, value));
                continue;
            }
            // The principal determines this key. The caller may give it where it is true.
            KeyKind::AssumedRoot if std::mem::replace(&mut is_assumed_root_said, true) => {
                "this key is given twice; keys are compared ignoring case"
            }
            KeyKind::AssumedRoot if matches!(principal, Principal::Root(_)) && says_true() => {
                continue;
            }
            KeyKind::AssumedRoot => {
                "only a root user's session can have this key, and its value must be `true`"
            }
            _ => {
                "this key does not belong to a session's credentials: send it in `context`, or in its own field of `session`"
            }
        };
        return Err(RequestError::invalid(field(), problem));
    }
    Ok(attributes)
}

/// Returns the transitive tag keys in lower case, each once. Each must be the key of a session tag (T-36).
fn transitive_tag_keys(facts: &SessionFacts<'_>) -> Result<Vec<String>, RequestError> {
    let tags: BTreeSet<String> = facts.tags.iter().map(|(key, _)| folded(key)).collect();
    let mut keys = BTreeSet::new();
    for key in &facts.transitive_tag_keys {
        if !tags.contains(&folded(key)) {
            let field = "session.transitive_tag_keys";
            let message = format!("`{key}` is not among the session's tags");
            return Err(RequestError::invalid(field, message));
        }
        keys.insert(folded(key));
    }
    Ok(keys.into_iter().collect())
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Checks that session policies, tags and the facts of a token or call come with a principal that is a session (K-7).
fn check_session_fits(facts: &SessionFacts<'_>, principal: &Principal) -> Result<(), RequestError> {
    let is_temporary =
        facts.issued_at.is_some() || facts.expires_at.is_some() || facts.mfa_at.is_some();
    let is_session = match principal {
        Principal::AssumedRole { .. } | Principal::FederatedUser { .. } => true,
        Principal::User(_) => is_temporary,
        Principal::Anonymous
        | Principal::Service(_)
        | Principal::Root(_)
        | Principal::Role(_)
        | Principal::Provider(_) => false,
    };
    // T-12: only with a task policy.
    let is_task = matches!(principal, Principal::Root(_)) && !facts.policy_arns.is_empty();
    // A caller without a session cannot have these facts either. Roles and providers have their own uses for them.
    let has_record = is_session || matches!(principal, Principal::Role(_) | Principal::Provider(_));
    let given = [
        ("session.policies", facts.policies.is_empty(), is_session),
        (
            "session.policy_arns",
            facts.policy_arns.is_empty(),
            is_session || is_task,
        ),
        ("session.tags", facts.tags.is_empty(), is_session),
        ("session.claims", facts.claims.is_empty(), has_record),
        (
            "session.federated_provider",
            facts.federated_provider.is_empty(),
            has_record,
        ),
        (
            "session.source_identity",
            facts.source_identity.is_empty(),
            has_record || is_task,
        ),
        (
            "session.attributes",
            facts.attributes.is_empty(),
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

/// Parses the ARN of a managed policy, which must be AWS-managed or belong to the session's account (T-40).
fn policy_arn(index: usize, text: &str, principal: &Principal) -> Result<Arn, RequestError> {
    let field = || format!("session.policy_arns[{index}]");
    let arn = Arn::parse(text).map_err(|malformed| RequestError::invalid(field(), malformed.0))?;
    let account = principal.arn().map_or("", |arn| arn.account());
    let is_policy = arn.service() == "iam" && arn.resource().starts_with("policy/");
    if !is_policy || (arn.account() != account && arn.account() != "aws") {
        let message = format!("`{text}` is not the ARN of a managed policy of account `{account}`");
        return Err(RequestError::invalid(field(), message));
    }
    Ok(arn)
}

/// Checks the session tags (T-34).
fn check_tags(tags: &[(&str, &str)]) -> Result<(), RequestError> {
    if tags.len() > MAX_SESSION_TAGS {
        return Err(RequestError::invalid(
            "session.tags",
            format!("a session takes at most {MAX_SESSION_TAGS} tags"),
        ));
    }
    for (index, (key, value)) in tags.iter().enumerate() {
        let problem = if key.is_empty() || key.chars().count() > MAX_TAG_KEY_CHARACTERS {
            format!("a tag key has 1 to {MAX_TAG_KEY_CHARACTERS} characters")
        } else if value.chars().count() > MAX_TAG_VALUE_CHARACTERS {
            format!("a tag value has at most {MAX_TAG_VALUE_CHARACTERS} characters")
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
            "this tag appears twice; keys are compared ignoring case".to_owned()
        } else {
            continue;
        };
        return Err(RequestError::invalid(member("session.tags", key), problem));
    }
    Ok(())
}

/// Returns the claims of the token and refuses a name that comes twice. A claim that is an object or `null` sets no key
/// (T-22). The claim with the roles still counts as present if it is an object, and then it names no role (T-25).
fn claims<'q>(
    given: &[(&'q str, Value<'q>)],
) -> Result<Vec<(String, ContextValue<'q>)>, RequestError> {
    let (mut claims, mut names) = (Vec::with_capacity(given.len()), BTreeSet::new());
    for (name, value) in given {
        let field = || member("session.claims", name);
        let value = match value {
            Value::Null => continue,
            Value::Object if name.eq_ignore_ascii_case(ROLES_CLAIM) => ContextValue::default(),
            Value::Object => continue,
            value => value.to_context_value(field)?,
        };
        if !names.insert(folded(name)) {
            let message = "this claim appears twice; names are compared ignoring case";
            return Err(RequestError::invalid(field(), message));
        }
        claims.push(((*name).to_owned(), value));
    }
    Ok(claims)
}

/// Parses the user or root user behind a federated user. It must belong to the same account and partition.
fn parent(text: &str, principal: &Principal) -> Result<Option<Arn>, RequestError> {
    let field = "session.parent";
    if text.is_empty() {
        return Ok(None);
    }
    let Principal::FederatedUser { arn: session, .. } = principal else {
        return Err(RequestError::invalid(
            field,
            format!("principal `{principal}` is not a federated user"),
        ));
    };
    match Principal::parse(text).map_err(at_field(field))? {
        Principal::User(arn) | Principal::Root(arn)
            if arn.account() == session.account() && arn.partition() == session.partition() =>
        {
            Ok(Some(arn.owned()))
        }
        _ => Err(RequestError::invalid(
            field,
            format!("`{text}` is not a user of the account in `{session}`"),
        )),
    }
}

/// How far another machine's clock may run ahead of this one (T-47).
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Checks the times of a session (T-47). Impossible times are the caller's mistake, most often an empty timestamp where
/// the field should have been left out.
fn check_times(session: &SessionFacts<'_>, at: Timestamp) -> Result<(), RequestError> {
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
            "is not later than 1970-01-01T00:00:00Z: leave the field out if there is no such time"
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
