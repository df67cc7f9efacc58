//! Principals that the statements in play do not tell apart: they have the same access, which is found once.

use std::borrow::Borrow;
use std::sync::Arc;

use super::{Allowed, Layers};
use crate::analysis::area::{Area, Open};
use crate::analysis::witness::has_tag;
use crate::context::{ContextKey, KeyKind};
use crate::engine::facts::Facts;
use crate::engine::known::Scope;
use crate::engine::plan::{Insider, Standing};
use crate::language::pattern::{ResourcePattern, Variable};

/// What the access of a principal to one resource hangs on. Principals with equal ones have the same access: the same
/// statements cover the question, the same parts of them are open, and these read nothing that is known of the principal.
///
/// It holds addresses, so it means something only while its snapshot is there.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct Likeness(Box<[usize]>);

impl Borrow<[usize]> for Likeness {
    fn borrow(&self) -> &[usize] {
        &self.0
    }
}

impl From<&[usize]> for Likeness {
    fn from(words: &[usize]) -> Self {
        Self(words.into())
    }
}

impl Likeness {
    /// Returns what the access of the caller of `facts` hangs on, written into `words`, or `None` if that is the caller itself. The
    /// scope is one resource, and `layers` are of these facts.
    ///
    /// PERF: most callers are like one that came before, so the memory for the words is lent.
    pub fn words_of<'f, 'w>(
        layers: &'f Layers,
        facts: &'f Facts<'_>,
        scope: Scope<'f>,
        words: &'w mut Vec<usize>,
    ) -> Option<&'w [usize]> {
        let Layers {
            levels,
            resource,
            identity,
            permissions_boundary,
            session,
            denied,
        } = layers;
        let Standing::Insider(insider) = Standing::of(facts) else {
            return None;
        };
        let Insider {
            same_account,
            resource_policy_required,
            is_root,
            is_federated,
        } = insider;
        words.clear();
        let mut words = Words {
            words,
            facts,
            scope,
            is_own: false,
            tags: Vec::new(),
            asks_for_session: false,
        };
        let is_role = facts.caller.is_role(); // some keys are open for a role and known of a user
        words.extend(
            [
                same_account,
                resource_policy_required,
                is_root,
                is_federated,
                is_role,
            ]
            .map(usize::from),
        );
        words.extend([levels.len()]);
        let boundary = permissions_boundary.as_ref();
        let layers = levels.iter().map(Some);
        for layer in layers.chain([Some(identity), boundary, session.as_ref()]) {
            words.add_layer(layer);
        }
        words.extend([resource.len()]);
        for (strength, area) in resource {
            words.extend([*strength as usize]);
            words.add(area);
        }
        for area in denied {
            words.add(area);
        }
        words.add_values_of_tags();
        (!words.is_own).then_some(words.words)
    }
}

/// A [`Likeness`] as it grows.
struct Words<'f, 'a, 'w> {
    words: &'w mut Vec<usize>,
    facts: &'f Facts<'a>,
    scope: Scope<'f>,
    /// Whether anything that is open reads what is known of the caller.
    is_own: bool,
    /// The tags of the caller that conditions read.
    tags: Vec<&'f ContextKey>,
    /// Whether a condition may say that there is a session, or that there is none.
    asks_for_session: bool,
}

impl<'f> Words<'f, '_, '_> {
    fn extend(&mut self, words: impl IntoIterator<Item = usize>) {
        self.words.extend(words);
    }

    /// Adds what a layer allows; `None` stands for one that is not in play.
    fn add_layer(&mut self, layer: Option<&'f Allowed>) {
        match layer {
            None => self.extend([0]),
            Some(Allowed::Everything) => self.extend([1]),
            Some(Allowed::Areas(areas)) => {
                self.extend([2 + areas.len()]);
                areas.iter().for_each(|area| self.add(area));
            }
        }
    }

    /// Adds whether the caller has a tag in the store. A session may replace it, and cannot remove it.
    fn add_tag(&mut self, key: &'f ContextKey) {
        self.extend([usize::from(has_tag(key, self.facts))]);
        self.tags.push(key);
    }

    /// Adds the values of these tags. A user without a session has them, so they matter once a condition says whether there is
    /// one.
    fn add_values_of_tags(&mut self) {
        if self.facts.caller.is_role() || !self.asks_for_session {
            return;
        }
        let tags = self.facts.caller.entity.map(|entity| &entity.tags);
        for key in std::mem::take(&mut self.tags) {
            let tag = tags
                .and_then(|tags| tags.get(key.tag()))
                .unwrap_or_default();
            let chunks = tag.as_bytes().chunks(size_of::<usize>());
            self.facts.work.spend(1 + chunks.len()); // E-1: if it is too much, nothing counts
            self.extend([tag.len()]);
            self.extend(chunks.map(|chunk| {
                let append = |word: usize, byte: &u8| word << 8 | usize::from(*byte);
                chunk.iter().fold(0, append)
            }));
        }
    }

    /// Adds the area of one statement: which one it is, and what of it is open.
    fn add(&mut self, area: &'f Area) {
        let Area {
            actions: _, // there is one action, of which the statement speaks
            not_actions: _,
            resources,
            not_resources,
            conditions,
            except,
            statements,
        } = area;
        self.is_own |= !except.is_empty(); // it has none yet
        self.extend([statements.len()]);
        for statement in statements {
            self.extend([Arc::as_ptr(&statement.policy).addr(), statement.index]);
        }
        let patterns = resources.iter().flatten().chain(not_resources);
        let n_patterns = resources.as_ref().map_or(0, |all| 1 + all.len());
        self.extend([n_patterns, not_resources.len(), conditions.len()]);
        self.extend(conditions.iter().map(Open::index));
        for variable in patterns.flat_map(ResourcePattern::variables) {
            self.is_own |= !is_of_question(&variable.key);
        }
        for condition in conditions.iter().filter_map(Open::condition) {
            let is_open = !self.facts.is_known(&condition.key, self.scope);
            let is_tried = is_open && condition.key.kind() != KeyKind::Userid;
            self.is_own |= !(is_tried || is_of_question(&condition.key));
            match condition.key.kind() {
                KeyKind::PrincipalTag => self.add_tag(&condition.key),
                KeyKind::TokenIssueTime | KeyKind::MultiFactorAuthPresent => {
                    self.asks_for_session = true;
                }
                _ => {}
            }
            let is_own = |variable: &Variable| !is_of_question(&variable.key);
            self.is_own |= condition.operand.any_variable(is_own);
        }
    }
}

/// Returns whether a key has the same values for all users and roles that may ask a question without a session.
fn is_of_question(key: &ContextKey) -> bool {
    use KeyKind as K;
    match key.kind() {
        K::CurrentTime
        | K::EpochTime
        | K::ResourceTag
        | K::ServiceResourceTag
        | K::RequestTag
        | K::TagKeys
        | K::SecureTransport
        | K::ViaAwsService
        | K::CalledVia
        | K::CalledViaFirst
        | K::CalledViaLast
        | K::Given => true,
        // E-7: the owner of some resources is the caller's own account.
        K::ResourceAccount
        | K::ResourceOrgId
        | K::ResourceOrgPaths
        | K::PrincipalArn
        | K::PrincipalAccount
        | K::PrincipalType
        | K::Username
        | K::Userid
        | K::PrincipalTag
        | K::PrincipalOrgId
        | K::PrincipalOrgPaths
        | K::PrincipalIsAwsService
        | K::PrincipalServiceName
        | K::PrincipalServiceNamesList
        | K::TokenIssueTime
        | K::MultiFactorAuthPresent
        | K::MultiFactorAuthAge
        | K::SourceIdentity
        | K::FederatedProvider
        | K::Saml
        | K::Credential
        | K::AssumedRoot
        | K::ServiceSource
        | K::RoleAuthorizedByIdp
        | K::DurationSeconds => false,
    }
}
