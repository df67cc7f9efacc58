//! Who may do an action on a resource: every user and role that could be allowed.

use std::collections::HashMap;
use std::ptr;
use std::sync::Arc;

use foldhash::fast::FixedState;
use jiff::Timestamp;

use super::area::Area;
use super::layers::Layers;
use super::layers::alike::Likeness;
use super::permissions::of_layers;
use super::witness::{Search, Witness};
use crate::compile::policy_set::speaks_of;
use crate::compile::snapshot::{Entity, Policy, Snapshot};
use crate::engine::error::{RequestError, RequestErrorKind};
use crate::engine::facts::{Early, Facts};
use crate::engine::known::Scope;
use crate::engine::question::Question;
use crate::engine::request::Request;
use crate::engine::work::Work;
use crate::language::document::{Effect, PrincipalEntry};
use crate::name::{Principal, Resource};

/// A user or a role that could be allowed.
#[derive(Debug)]
pub struct PrincipalAccess {
    /// Its ARN.
    pub principal: String,
    /// Whether it hangs on anything that the question does not say.
    pub is_conditional: bool,
    /// What it hangs on. Their actions and resources are those of the question. Principals that no statement tells apart
    /// share them.
    pub areas: Arc<[Area]>,
}

/// Where a part of the list begins and ends.
#[derive(Debug)]
pub struct Bounds<'b> {
    /// The ARN behind which it begins.
    pub after: &'b str,
    /// The most principals that it has: 1 or more.
    pub most: usize,
    /// The most bytes of texts that it has, unless the first principal has more.
    pub most_bytes: usize,
    /// The bytes of texts that each area takes besides its own.
    pub bytes_of_area: usize,
}

impl Bounds<'_> {
    /// Returns about how many bytes the texts of `found` have on the page.
    fn n_bytes(&self, found: &PrincipalAccess) -> usize {
        let areas = found.areas.iter();
        let areas = areas.map(|area| self.bytes_of_area + area.n_bytes());
        found.principal.len() + areas.sum::<usize>()
    }
}

/// A part of the list.
#[derive(Debug, Default)]
pub struct Page {
    /// The principals, sorted by ARN.
    pub principals: Vec<PrincipalAccess>,
    /// The ARN behind which the next page begins, if others may follow.
    pub next: Option<String>,
}

const ANY_SESSION: Scope<'_> = Scope {
    any_session: true,
    one_resource: true,
    hidden: None,
};

/// The name of a session that no policy names. It is never shown.
const NAMED_NOWHERE: &str = "a-session-that-no-policy-names";

/// How many candidates are sorted first, for each principal that fits on the page. Later it is twice as many each time.
const SORTED_FIRST: usize = 4;

/// Returns the users and roles that could be allowed what `question` asks, in the order of their ARNs. Its principal and
/// its session are not read: a role stands for its sessions, and a user for all that its credentials may say. The page
/// is that of `bounds`. It ends earlier, even without any, if the rest of `work` does not do for the next principal, which is the
/// first on the next page.
pub fn principals(
    snapshot: &Snapshot,
    question: &Question<'_>,
    bounds: &Bounds<'_>,
    at: Timestamp,
    work: &Work,
) -> Result<Page, RequestError> {
    let asked = Asked {
        snapshot,
        question,
        at,
        work,
    };
    let mut asking = Asking {
        request: asked.request("*")?,
        known: Known::default(),
    };
    asked.check(&asking.request)?;
    let (candidates, sessions) = asked.candidates(&asking.request);
    work.conclude()?;
    let mut left: Vec<&Entity> = candidates;
    left.retain(|entity| entity.arn.as_str() > bounds.after);
    left.sort_unstable_by_key(|entity| ptr::from_ref(*entity).addr());
    left.dedup_by(|a, b| ptr::eq(*a, *b));
    let mut page = Page::default();
    page.principals.reserve(bounds.most.min(left.len()));
    let (mut n_bytes, mut looked_at): (usize, Option<&Entity>) = (0, None);
    let mut n_sorted = SORTED_FIRST.saturating_mul(bounds.most);
    while !left.is_empty() {
        // Only what is looked at has to be in order.
        let n = n_sorted.clamp(1, left.len());
        n_sorted = n_sorted.saturating_mul(2);
        if n < left.len() {
            left.select_nth_unstable_by(n, |a, b| a.arn.as_str().cmp(b.arn.as_str()));
        }
        let mut first: Vec<&Entity> = left.drain(..n).collect();
        first.sort_unstable_by(|a, b| a.arn.as_str().cmp(b.arn.as_str()));
        for entity in first {
            // The tables of entities and of roles may hold one role at two addresses.
            if looked_at.is_some_and(|last| last.arn == entity.arn) {
                continue;
            }
            let last = looked_at.replace(entity);
            let next = || last.map(|last| last.arn.as_str().to_owned());
            if last.is_some() && page.principals.len() == bounds.most {
                page.next = next();
                return Ok(page);
            }
            let found = asked.access(entity, &sessions, &mut asking);
            let found = match found.and_then(|found| work.conclude().map(|()| found)) {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(error) if error.kind == RequestErrorKind::TooMuchWork && last.is_some() => {
                    page.next = next();
                    return Ok(page);
                }
                Err(error) => return Err(error),
            };
            n_bytes += bounds.n_bytes(&found);
            if n_bytes > bounds.most_bytes && !page.principals.is_empty() {
                page.next = next();
                return Ok(page);
            }
            page.principals.push(found);
        }
    }
    Ok(page)
}

struct Asked<'q> {
    snapshot: &'q Snapshot,
    question: &'q Question<'q>,
    at: Timestamp,
    work: &'q Work,
}

/// What is kept from one principal to the next.
struct Asking<'q> {
    /// The question, whose principal changes.
    request: Request<'q>,
    /// The access of principals that the statements in play do not tell apart.
    known: Known,
}

#[derive(Default)]
struct Known {
    access: HashMap<Likeness, Option<Access>, FixedState>,
    /// The memory for what the next one hangs on.
    words: Vec<usize>,
}

/// Under which conditions somebody is allowed.
#[derive(Clone)]
struct Access {
    areas: Arc<[Area]>,
    is_conditional: bool,
}

/// A session that a policy names, with its role.
struct Named<'s> {
    role: &'s Entity,
    session: String,
}

impl<'q> Asked<'q> {
    fn request(&self, principal: &'q str) -> Result<Request<'q>, RequestError> {
        let question = Question {
            principal,
            session: None,
            ..self.question.clone()
        };
        Request::parse_interactive(&question, self.at)
    }

    /// Refuses what `Authorize` refuses whoever asks, such as a resource of two accounts. `request` is that of nobody.
    fn check(&self, request: &Request) -> Result<(), RequestError> {
        match Facts::find(self.snapshot, request, self.work) {
            Err(Early::Refused(error)) if error.field != "principal" => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns the users and roles that an identity policy or a policy of the resource could allow it, and the sessions
    /// that the latter name. Some may be there twice.
    fn candidates(&self, request: &Request) -> (Vec<&'q Entity>, Vec<Named<'q>>) {
        let snapshot = self.snapshot;
        let holders = snapshot.holders();
        let found = holders.of_question(&request.action, &request.resource, self.work);
        let mut found: Vec<&Entity> = found.into_iter().map(|entity| &**entity).collect();
        let (mut sessions, mut is_everybody) = (Vec::new(), false);
        let attached = snapshot.attachments_to(&request.resource, self.work);
        let attached = attached.filter_map(|file| snapshot.set(file.policy?));
        let role = match &request.resource {
            Resource::Arn(arn) => snapshot.entity(arn),
            Resource::Any => None,
        };
        let trust = role.and_then(|role| snapshot.set(role.role.as_ref()?.trust));
        let policies: Vec<&Arc<Policy>> = attached
            .chain(trust)
            .flat_map(|set| set.policies())
            .collect();
        for statement in policies.iter().flat_map(|policy| policy.statements.iter()) {
            let Some(element) = &statement.principal else {
                continue;
            };
            if !self.work.spend(1 + element.entries.len())
                || !speaks_of(statement, &request.action, self.work)
            {
                continue;
            }
            for entry in &element.entries {
                match entry {
                    PrincipalEntry::Entity(arn) => match Principal::parse(arn.as_str()) {
                        Ok(Principal::AssumedRole { arn, role, .. }) => {
                            let role = snapshot.role_named(arn.account(), role);
                            found.extend(role);
                            sessions.extend(role.map(|role| Named {
                                role,
                                session: arn.as_str().to_owned(),
                            }));
                        }
                        _ => found.extend(snapshot.entity(arn)),
                    },
                    PrincipalEntry::Everyone | PrincipalEntry::EveryAws | PrincipalEntry::Id(_) => {
                        is_everybody |= statement.effect == Effect::Allow
                    }
                    // They need an Allow of an identity policy too (E-43, X-1).
                    PrincipalEntry::Account { .. } | PrincipalEntry::CanonicalUser(_) => {}
                    PrincipalEntry::Service(_) | PrincipalEntry::Federated(_) => {}
                }
            }
        }
        if is_everybody {
            found = snapshot.principals().collect();
            found.retain(|entity| !entity.disabled);
        }
        sessions.sort_by(|a, b| a.session.cmp(&b.session));
        sessions.dedup_by(|a, b| a.session == b.session);
        (found, sessions)
    }

    /// Returns the access of a user or role, if it could be allowed.
    fn access(
        &self,
        entity: &'q Entity,
        sessions: &[Named<'_>],
        asking: &mut Asking<'q>,
    ) -> Result<Option<PrincipalAccess>, RequestError> {
        let arn = &entity.arn;
        let (mut is_conditional, mut areas) = (false, None);
        let mut add = |access: Option<Access>| match access {
            Some(access) => {
                is_conditional |= access.is_conditional;
                areas = areas.take().or(Some(access.areas));
            }
            None => is_conditional = true,
        };
        if entity.role.is_none() {
            asking.request.principal = Principal::User(arn.given());
            add(self.of_request(&asking.request, entity, &mut asking.known)?);
        } else {
            // A statement may name sessions, or all but some (P-8), so a role is asked about as itself, as each session that
            // is named, and as one that no policy names.
            asking.request.principal = Principal::Role(arn.given());
            add(self.of_request(&asking.request, entity, &mut asking.known)?);
            let (partition, account, name) = (arn.partition(), arn.account(), entity.name());
            let unnamed =
                format!("arn:{partition}:sts::{account}:assumed-role/{name}/{NAMED_NOWHERE}");
            add(self.of_session(&unnamed, entity, asking)?);
            self.work.spend(1 + sessions.len() / 8);
            for named in sessions.iter().filter(|named| named.role.arn == *arn) {
                add(self.of_session(&named.session, entity, asking)?);
            }
        }
        Ok(areas.map(|areas| PrincipalAccess {
            principal: arn.as_str().to_owned(),
            is_conditional,
            areas,
        }))
    }

    fn of_session(
        &self,
        name: &str,
        entity: &Entity,
        asking: &mut Asking<'_>,
    ) -> Result<Option<Access>, RequestError> {
        let named = Principal::parse(name);
        let named = named.map_err(|bad| RequestError::invalid("principal", bad.0))?;
        let request = asking.request.of_principal(named, self.work);
        self.of_request(&request, entity, &mut asking.known)
    }

    /// Returns under which conditions the principal of `request` is allowed, which is `entity` or a session of it; `None` if it never
    /// is.
    ///
    /// PERF: the request is the same for all principals, and reading it takes as long as deciding it.
    fn of_request(
        &self,
        request: &Request<'_>,
        entity: &Entity,
        known: &mut Known,
    ) -> Result<Option<Access>, RequestError> {
        let facts = match Facts::find_with(self.snapshot, request, Some(entity), self.work) {
            Ok(facts) => facts,
            Err(Early::Denied(_)) => return Ok(None),
            // A parameter in the context does not suit this caller (T-32).
            Err(Early::Refused(error)) if error.kind == RequestErrorKind::Invalid => {
                return Ok(None);
            }
            Err(Early::Refused(error)) => return Err(error),
        };
        if facts.authorized_by_idp() == Some(Some(false)) {
            return Ok(None); // T-25
        }
        let layers = Layers::of(&facts, ANY_SESSION);
        self.work.conclude()?;
        // PERF: putting the layers together, and looking for values that they allow, take the most time.
        let Known { access, words } = known;
        let words = Likeness::words_of(&layers, &facts, ANY_SESSION, words);
        if let Some(known) = words.and_then(|words| access.get(words)) {
            return Ok(known.clone());
        }
        let found = access_by(&layers, &facts);
        self.work.conclude()?;
        if let Some(words) = words {
            access.insert(words.into(), found.clone());
        }
        Ok(found)
    }
}

/// Returns under which conditions the caller of `facts` is allowed, for whom these policies are in play.
fn access_by(layers: &Layers, facts: &Facts<'_>) -> Option<Access> {
    let areas = of_layers(layers, facts);
    let is_plain = |area: &Area| {
        area.is_unconditional() && area.resources.is_none() && area.not_resources.is_empty()
    };
    let mut is_conditional = !areas.iter().any(is_plain);
    if is_conditional {
        let search = Search::of(&areas, facts, ANY_SESSION);
        if search.witness() == Witness::None {
            return None;
        }
        is_conditional = !search.covers_always();
    }
    Some(Access {
        areas: areas.into(),
        is_conditional,
    })
}
