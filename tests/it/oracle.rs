//! A second evaluator, written from `docs/semantics.md` alone: the engine must answer as it does.
//!
//! It reads the files of a store and a question as its caller sent it, shares no code with the engine, and follows each
//! rule in a few obvious lines. It has no index, no cache and no shortcut. If it is hard to read, it is wrong.

mod claims;
pub mod condition;
pub mod context;
pub mod matching;
pub mod met;
mod principal;
pub mod question;
pub mod store;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use claims::Roles;
use condition::Truth;
use context::Context;
use matching::{Action, ActionPattern};
use met::Met;
use question::{Caller, Kind, Question};
use store::{Account, Attachment, Entity, Node, Policy, Statement, Store};

/// The name of a statement: `identity orders-policy 3` is policy type, policy and index.
pub type Name = (&'static str, Arc<str>, usize);

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The question is refused: INVALID_ARGUMENT.
    Refused,
    Decided(Decision),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The reason as in the protocol, without `REASON_`.
    pub reason: &'static str,
    /// Sets of statements. The answer must name at least one of each set, and none from elsewhere.
    pub determining: Vec<BTreeSet<Name>>,
}

/// A verdict with its statements (E-14).
#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    NotInPlay,
    ImplicitDeny,
    /// The best strength, and the statements that have it.
    Allow(Strength, BTreeSet<Name>),
    ExplicitDeny(BTreeSet<Name>),
}

/// The strengths of P-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    Account,
    Entity,
    Direct,
}

use Verdict::{Allow, ExplicitDeny, ImplicitDeny, NotInPlay};

/// Decides a question (section 5.5).
pub fn answer(store: &Store, question: &Question) -> Answer {
    answer_and_met(store, question).0
}

/// Decides a question and returns which rare cases it met.
pub fn answer_and_met(store: &Store, question: &Question) -> (Answer, BTreeSet<Met>) {
    let mut met = BTreeSet::new();
    (answer_with(store, question, &mut met), met)
}

fn answer_with(store: &Store, question: &Question, met: &mut BTreeSet<Met>) -> Answer {
    // A malformed question is refused before the caller is looked up.
    let Some(caller) = question.caller() else {
        return Answer::Refused;
    };
    if question.is_malformed(&caller, store) {
        return Answer::Refused;
    }
    let Ok(owner) = owner(store, question, &caller) else {
        return Answer::Refused;
    };
    let owner = owner.as_deref();
    if !session_policies_exist(store, question, &caller) {
        return Answer::Refused;
    }
    let Some(caller) = resolve(store, question, caller) else {
        return deny("IMPLICIT_DENY_UNKNOWN_PRINCIPAL");
    };
    if question
        .session()
        .expires_at
        .is_some_and(|end| question.at >= end)
    {
        return deny("IMPLICIT_DENY_SESSION_EXPIRED"); // E-5
    }
    if claims::roles(question, &caller) == Some(Roles::HoldNot) {
        return deny("IMPLICIT_DENY_INVALID_IDENTITY_TOKEN"); // T-25
    }
    let owning = owner.and_then(|owner| store.accounts.get(owner));
    if caller.kind == Kind::Anonymous && !owning.is_some_and(|account| account.anonymous_allowed) {
        return deny("IMPLICIT_DENY_UNKNOWN_PRINCIPAL"); // E-51
    }
    let context = context::context(store, question, &caller, owner);
    let asked = Asked {
        store,
        question,
        action: &Action::of(&question.action),
        caller: &caller,
        context: &context,
    };
    let answer = decide(&asked, owner, owning);
    if owner.is_none() && question.resource.starts_with("arn:aws") {
        context.meet(Met::UnknownOwner);
    }
    *met = context.met();
    answer
}

/// Everything that a statement is evaluated against.
struct Asked<'a> {
    store: &'a Store,
    question: &'a Question,
    action: &'a Action,
    caller: &'a Caller<'a>,
    context: &'a Context<'a>,
}

fn deny(reason: &'static str) -> Answer {
    decided(reason, vec![])
}

fn decided(reason: &'static str, determining: Vec<BTreeSet<Name>>) -> Answer {
    Answer::Decided(Decision {
        reason,
        determining,
    })
}

/// Derives the answer from the verdicts of all policy types.
fn decide(asked: &Asked<'_>, owner: Option<&str>, owning: Option<&Account>) -> Answer {
    let caller = asked.caller;
    let scp = service_control(asked);
    let rcp = resource_control(asked, owner);
    let id = identity(asked);
    let pb = boundary(asked);
    let se = session(asked);
    let rs = resource(asked, owning);

    let layers = [
        ("EXPLICIT_DENY_RESOURCE_CONTROL", &rcp),
        ("EXPLICIT_DENY_SERVICE_CONTROL", &scp),
        ("EXPLICIT_DENY_RESOURCE", &rs),
        ("EXPLICIT_DENY_IDENTITY", &id),
        ("EXPLICIT_DENY_PERMISSIONS_BOUNDARY", &pb),
        ("EXPLICIT_DENY_SESSION", &se),
    ];
    for (reason, verdict) in layers {
        if let ExplicitDeny(statements) = verdict {
            return decided(reason, vec![statements.clone()]);
        }
    }
    if rcp == ImplicitDeny {
        return deny("IMPLICIT_DENY_RESOURCE_CONTROL");
    }
    if scp == ImplicitDeny {
        return deny("IMPLICIT_DENY_SERVICE_CONTROL");
    }
    let outsider = match caller.kind {
        Kind::Anonymous => Some("ALLOW_ANONYMOUS"),
        Kind::Service => Some("ALLOW_SERVICE"),
        Kind::Provider => Some("ALLOW_FEDERATED"),
        _ => None,
    };
    if let Some(reason) = outsider {
        return match rs {
            Allow(Strength::Direct, statements) => decided(reason, vec![statements]),
            _ => deny("IMPLICIT_DENY_RESOURCE"),
        };
    }
    let is_within = owner.is_some() && caller.account.as_deref() == owner;
    let is_allowed_by_identity = matches!(id, Allow(..));
    if is_within {
        if let Allow(Strength::Direct, statements) = rs {
            return decided("ALLOW_RESOURCE_DIRECT", vec![statements]); // E-41
        }
        if is_required(asked.question, owning) && !matches!(rs, Allow(..)) {
            return deny("IMPLICIT_DENY_RESOURCE"); // E-45
        }
        if !matches!(rs, Allow(Strength::Entity, _)) && !is_allowed_by_identity {
            return deny("IMPLICIT_DENY_IDENTITY"); // E-43
        }
    } else {
        if !matches!(rs, Allow(..)) {
            return deny("IMPLICIT_DENY_RESOURCE");
        }
        if !is_allowed_by_identity {
            return deny("IMPLICIT_DENY_IDENTITY");
        }
    }
    if pb == ImplicitDeny {
        return deny("IMPLICIT_DENY_PERMISSIONS_BOUNDARY");
    }
    if se == ImplicitDeny || (caller.kind == Kind::Federated && se == NotInPlay) {
        return deny("IMPLICIT_DENY_SESSION"); // E-49
    }
    let reason = if caller.kind == Kind::Root {
        "ALLOW_ROOT"
    } else if !is_within {
        "ALLOW_CROSS_ACCOUNT"
    } else if is_allowed_by_identity {
        "ALLOW_IDENTITY"
    } else {
        "ALLOW_RESOURCE_ENTITY"
    };
    let granting = match (is_within, is_allowed_by_identity) {
        (false, _) => vec![id, rs],
        (true, true) => vec![id],
        (true, false) => vec![rs],
    };
    let statements = granting.into_iter().filter_map(|verdict| match verdict {
        Allow(_, statements) if !statements.is_empty() => Some(statements),
        _ => None, // the identity side of root and of trusted accounts has no statement
    });
    decided(reason, statements.collect())
}

/// Returns the entity of the principal (E-3, E-50), or `None` if the store does not have it.
fn resolve<'s>(
    store: &'s Store,
    question: &Question,
    mut caller: Caller<'s>,
) -> Option<Caller<'s>> {
    if matches!(caller.kind, Kind::Anonymous | Kind::Service) {
        return Some(caller);
    }
    let account = caller.arn.split(':').nth(4).unwrap();
    let account = store.accounts.get(account)?;
    if account.partition != caller.partition {
        return None;
    }
    if caller.kind == Kind::Provider {
        return Some(caller);
    }
    if caller.kind == Kind::Root {
        return account.root_user_enabled.then_some(caller);
    }
    if caller.is_of_root && !account.root_user_enabled {
        return None; // E-49
    }
    if account.is_external {
        caller.is_external = true;
        return Some(caller);
    }
    if caller.is_of_root {
        return Some(caller);
    }
    let parent = &question.session().parent;
    caller.entity = match caller.kind {
        Kind::User => account.users.iter().find(|user| user.arn == caller.arn),
        Kind::Role => account.roles.iter().find(|role| role.arn == caller.arn),
        Kind::Session => account
            .roles
            .iter()
            .find(|role| role.name == caller.role_name),
        _ => account.users.iter().find(|user| user.arn == *parent), // E-49
    };
    let is_known = caller.entity.is_some_and(|entity| !entity.is_disabled);
    is_known.then_some(caller)
}

/// Returns whether the store has the session's managed policies: at most ten, of the caller's account or of AWS (T-12,
/// T-40).
fn session_policies_exist(store: &Store, question: &Question, caller: &Caller<'_>) -> bool {
    let account = caller.account.as_deref();
    let arns = &question.session().policy_arns;
    let exists = |arn: &String| {
        let owner = arn.split(':').nth(4);
        store.managed.contains_key(arn) && (owner == account || owner == Some("aws"))
    };
    arns.len() <= 10 && arns.iter().all(exists)
}

/// Returns the owner of the resource (E-6, E-7). `Err` means a contradiction, which is refused.
fn owner(store: &Store, question: &Question, caller: &Caller<'_>) -> Result<Option<String>, ()> {
    let given = Some(question.resource_account.clone()).filter(|account| !account.is_empty());
    let agreed = |found: Option<String>| match (&found, &given) {
        (Some(found), Some(given)) if found != given => Err(()),
        _ => Ok(found),
    };
    if question.resource == "*" {
        return Ok(given.or(caller.account.clone())); // E-7, after what E-6 asks before its defaults
    }
    let written = question.resource.split(':').nth(4).unwrap();
    if !written.is_empty() && written != "aws" {
        return agreed(Some(written.to_owned()));
    }
    let covering: Vec<&String> = store
        .accounts
        .iter()
        .filter(|(_, account)| attachments(account, &question.resource).next().is_some())
        .map(|(id, _)| id)
        .collect();
    match covering.as_slice() {
        [] => {}
        [one] => return agreed(Some((*one).clone())),
        _ => return Err(()),
    }
    if given.is_some() {
        return Ok(given);
    }
    if written == "aws" {
        return Ok(caller.account.clone()); // E-7
    }
    let partition = question.resource.split(':').nth(1).unwrap();
    if partition.starts_with("aws") && store.accounts.len() > 1 {
        return Ok(None); // E-6 (4)
    }
    let only = (store.accounts.len() == 1).then(|| store.accounts.keys().next().unwrap());
    Ok(store.root.as_ref().or(only).cloned())
}

/// Returns the resource policies that cover the resource (E-10).
fn attachments<'a>(
    account: &'a Account,
    resource: &'a str,
) -> impl Iterator<Item = &'a Attachment> {
    let policies = account.resource_policies.iter();
    policies.filter(|attachment| attachment.scopes.iter().any(|scope| scope.covers(resource)))
}

/// Returns whether the resource policy must allow even in the same account (E-45).
fn is_required(question: &Question, owning: Option<&Account>) -> bool {
    if question.is_about_trust() || question.is_assuming_root() {
        return true;
    }
    if question.is_action("iam:PassRole") {
        return false; // T-50, section 10
    }
    let mut attachments = owning
        .into_iter()
        .flat_map(|account| attachments(account, &question.resource));
    attachments.any(|attachment| attachment.is_required)
}

/// Returns the verdict of the control policies (E-20, E-21).
fn service_control(asked: &Asked<'_>) -> Verdict {
    let has_account = !matches!(
        asked.caller.kind,
        Kind::Anonymous | Kind::Service | Kind::Provider
    );
    let is_service_linked = asked
        .caller
        .entity
        .is_some_and(|entity| entity.is_service_linked);
    match &asked.store.organization {
        Some(organization) if organization.has_scps && has_account && !is_service_linked => {
            levels(asked, asked.caller.account.as_deref(), |node| {
                ("scp", &node.scps)
            })
        }
        _ => NotInPlay,
    }
}

/// Returns the verdict of the resource control policies (E-25 to E-27).
fn resource_control(asked: &Asked<'_>, owner: Option<&str>) -> Verdict {
    let is_service_linked = asked
        .caller
        .entity
        .is_some_and(|entity| entity.is_service_linked);
    let is_about_service_linked = asked.question.is_about_trust()
        && role(asked.store, asked.question).is_some_and(|role| role.is_service_linked);
    let verdict = match &asked.store.organization {
        Some(organization) if organization.has_rcps && !is_service_linked => {
            levels(asked, owner, |node| ("rcp", &node.rcps))
        }
        _ => NotInPlay,
    };
    if asked.caller.kind == Kind::Service && is_about_service_linked && verdict != NotInPlay {
        asked.context.meet(Met::ServiceAtServiceLinkedRole);
        return NotInPlay; // E-27
    }
    verdict
}

/// Returns the role that a question of T-6 is about.
fn role<'s>(store: &'s Store, question: &Question) -> Option<&'s Entity> {
    let mut roles = store.accounts.values().flat_map(|account| &account.roles);
    roles.find(|role| role.arn == question.resource)
}

/// E-21: combines the verdicts of the levels, each of which must allow. The management account has none.
fn levels(
    asked: &Asked<'_>,
    account: Option<&str>,
    of_node: impl Fn(&Node) -> (&'static str, &Vec<Rc<Policy>>),
) -> Verdict {
    let organization = asked.store.organization.as_ref().unwrap();
    let path = account.and_then(|account| organization.paths.get(account));
    let Some(path) = path.filter(|_| account != Some(organization.management.as_str())) else {
        return NotInPlay;
    };
    let verdicts: Vec<Verdict> = path
        .iter()
        .map(|node| {
            let (kind, policies) = of_node(node);
            evaluate(asked, kind, each(policies))
        })
        .collect();
    let denies: BTreeSet<Name> = verdicts
        .iter()
        .filter_map(|verdict| match verdict {
            ExplicitDeny(statements) => Some(statements.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    if !denies.is_empty() {
        ExplicitDeny(denies)
    } else if verdicts.contains(&ImplicitDeny) {
        ImplicitDeny
    } else {
        Allow(Strength::Direct, BTreeSet::new())
    }
}

fn identity(asked: &Asked<'_>) -> Verdict {
    let caller = asked.caller;
    let account = caller
        .account
        .as_ref()
        .and_then(|id| asked.store.accounts.get(id));
    let everything = Allow(Strength::Direct, BTreeSet::new());
    let verdict = match caller.kind {
        Kind::Anonymous | Kind::Service | Kind::Provider => NotInPlay,
        Kind::Root => everything, // E-50
        _ if caller.is_external => {
            match account.is_some_and(|account| account.trust_external_identity) {
                true => everything,
                false => ImplicitDeny,
            }
        }
        _ if caller.is_of_root => everything, // E-49
        _ => evaluate(asked, "identity", each(&caller.entity.unwrap().identity)),
    };
    match verdict {
        // T-9 removes the Allow, but an explicit deny remains.
        Allow(..) if asked.is_shut_out() => ImplicitDeny,
        verdict => verdict,
    }
}

fn each(policies: &[Rc<Policy>]) -> impl Iterator<Item = &Policy> {
    policies.iter().map(|policy| &**policy)
}

fn boundary(asked: &Asked<'_>) -> Verdict {
    let entity = asked.caller.entity;
    match entity.and_then(|entity| entity.boundary.as_ref()) {
        Some(boundary) => evaluate(asked, "boundary", [&**boundary]),
        None => NotInPlay,
    }
}

/// E-47: all session policies form one set.
fn session(asked: &Asked<'_>) -> Verdict {
    let session = asked.question.session();
    let inline = session.policies.iter().enumerate();
    let inline: Vec<Rc<Policy>> = inline
        .map(|(index, text)| asked.store.session_policy(index, text))
        .collect();
    let managed = session
        .policy_arns
        .iter()
        .map(|arn| &*asked.store.managed[arn]);
    let policies: Vec<&Policy> = each(&inline).chain(managed).collect();
    match policies.as_slice() {
        [] => NotInPlay,
        _ => evaluate(asked, "session", policies),
    }
}

/// T-11: returns whether the organization lets the caller assume the root user of the account that owns the resource.
fn may_assume_root(asked: &Asked<'_>, owning: &Account) -> bool {
    let Some(organization) = &asked.store.organization else {
        return false;
    };
    let caller = asked.caller;
    let is_of_management = caller.account.as_ref() == Some(&organization.management);
    let is_root_of_another = organization.paths.keys().any(|member| {
        let root = format!("arn:{}:iam::{member}:root", owning.partition);
        *member != organization.management && root == asked.question.resource
    });
    matches!(caller.kind, Kind::User | Kind::Role | Kind::Session)
        && is_of_management
        && is_root_of_another
        && owning.root_user_enabled
}

/// Returns the verdict of the resource side (E-10, T-1, T-11, T-50).
fn resource(asked: &Asked<'_>, owning: Option<&Account>) -> Verdict {
    let question = asked.question;
    let Some(owning) = owning else {
        return NotInPlay;
    };
    let attached = attachments(owning, &question.resource);
    let policies: Vec<&Policy> = attached
        .filter_map(|attachment| attachment.policy.as_ref())
        .collect();
    let attached = match policies.as_slice() {
        [] => NotInPlay,
        _ => evaluate(asked, "resource", policies),
    };
    if question.is_action("iam:PassRole") {
        return match attached {
            ExplicitDeny(_) => attached, // section 10: its Deny counts, its Allow does not
            _ => NotInPlay,
        };
    }
    if question.is_assuming_root() {
        return match attached {
            ExplicitDeny(_) => attached,
            _ if may_assume_root(asked, owning) => Allow(Strength::Account, BTreeSet::new()),
            _ => ImplicitDeny,
        };
    }
    if !question.is_about_trust() {
        return attached;
    }
    let role = role(asked.store, question);
    let trust = match role.and_then(|role| role.trust.as_ref()) {
        None => NotInPlay,
        Some(trust) => evaluate(asked, "trust", [trust]),
    };
    match (trust, attached) {
        (ExplicitDeny(trust), ExplicitDeny(attached)) => ExplicitDeny(&trust | &attached),
        (_, ExplicitDeny(attached)) => ExplicitDeny(attached), // section 10
        (trust, _) => trust,
    }
}

/// Combines verdicts (E-14, E-44).
fn evaluate<'p>(
    asked: &Asked<'_>,
    kind: &'static str,
    policies: impl IntoIterator<Item = &'p Policy>,
) -> Verdict {
    let mut denies = BTreeSet::new();
    let mut allows: Vec<(Strength, Name)> = Vec::new();
    for policy in policies {
        for (index, statement) in policy.statements.iter().enumerate() {
            let Some(strength) = asked.strength_of(statement, kind) else {
                continue;
            };
            let name = (kind, policy.name.clone(), index);
            if statement.is_allow {
                allows.push((strength, name));
            } else {
                denies.insert(name);
            }
        }
    }
    if !denies.is_empty() {
        return ExplicitDeny(denies);
    }
    match allows.iter().map(|(strength, _)| *strength).max() {
        None => ImplicitDeny,
        Some(best) => {
            let of_best = allows.into_iter().filter(|(strength, _)| *strength == best);
            Allow(best, of_best.map(|(_, name)| name).collect())
        }
    }
}

impl Asked<'_> {
    /// T-9: returns whether the caller cannot assume a role with a signed call and asks for just that.
    fn is_shut_out(&self) -> bool {
        let (kind, question) = (self.caller.kind, self.question);
        let is_assuming = question.is_about_trust() && !question.is_federation();
        matches!(kind, Kind::Root | Kind::Federated | Kind::Anonymous)
            && (is_assuming || question.is_assuming_root())
    }

    /// E-11: returns the strength with which the statement applies, or `None` if it does not.
    fn strength_of(&self, statement: &Statement, kind: &str) -> Option<Strength> {
        let is_listed = |pattern: &ActionPattern| pattern.covers(self.action);
        if statement.actions.iter().any(is_listed) == statement.is_not_action {
            return None; // M-6
        }
        if !self.is_resource_of(statement) {
            return None;
        }
        let conditions = statement.conditions.iter();
        match Truth::all(conditions.map(|condition| condition.holds(self.context))) {
            Truth::False => return None,
            Truth::Indeterminate if statement.is_allow => return None, // C-3
            _ => {}
        }
        match &statement.principal {
            _ if kind == "rcp" => Some(Strength::Direct), // E-32
            None => Some(Strength::Direct),               // P-11
            Some(principals) if principals.is_not => {
                (!self.is_exempt(principals)).then_some(Strength::Direct)
            }
            Some(principals) => {
                let best = self.strength_among(principals, statement.is_allow);
                let has_task = self.caller.kind == Kind::Root && self.caller.is_temporary;
                match best {
                    Some(_) if kind == "trust" && self.is_shut_out() => Some(Strength::Account), // T-9
                    Some(Strength::Direct) if has_task => Some(Strength::Entity), // T-12
                    other => other,
                }
            }
        }
    }

    /// Returns whether the statement covers the resource (M-20, V-9).
    fn is_resource_of(&self, statement: &Statement) -> bool {
        let Some(patterns) = &statement.resources else {
            return true; // E-12
        };
        let covered: Vec<Option<bool>> = patterns
            .iter()
            .map(|pattern| pattern.covers(&self.question.resource, self.context))
            .collect();
        if !statement.is_not_resource {
            covered.contains(&Some(true))
        } else if statement.is_allow && covered.contains(&None) {
            false // V-9
        } else {
            !covered.contains(&Some(true))
        }
    }
}
