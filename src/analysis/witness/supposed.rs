//! A question with supposed values of some keys: whether they can be, and whether an area covers it.

use jiff::Timestamp;
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::choices::{Choices, chosen, is_name_of};
use crate::analysis::area::{Area, Open};
use crate::context::{ContextKey, KeyKind};
use crate::engine::facts::Facts;
use crate::language::condition::operator::{Truth, Values, evaluate};
use crate::language::document::Effect;
use crate::language::pattern::{Reach, ResourcePattern, Substitute, Variables};
use crate::language::text::Text;

/// A question with supposed values of some keys.
pub struct Supposed<'f, 'a, 'c> {
    facts: &'f Facts<'a>,
    replaceable: &'c [ContextKey],
    pub given: Vec<(&'c ContextKey, &'c [SmolStr])>,
}

impl<'f, 'a, 'c> Supposed<'f, 'a, 'c> {
    pub fn of(facts: &'f Facts<'a>, choices: &'c Choices) -> Self {
        Self {
            facts,
            replaceable: &choices.replaceable,
            given: Vec::with_capacity(choices.keys.len()),
        }
    }

    fn values(&self, key: &ContextKey) -> Values<'_> {
        let is_it = |(given, _): &&(&ContextKey, _)| is_name_of(given, key, self.facts);
        match self.given.iter().find(is_it) {
            Some((name, choice)) => chosen(name, choice, self.replaceable),
            None => self.facts.values(key),
        }
    }

    /// Returns `false` if these values are known to exclude each other, for one session and for a user without a session.
    pub fn is_consistent(&self) -> bool {
        use KeyKind as K;
        let go_together =
            self.replaces_consistently() && self.tag_keys_name_tags() && self.clocks_agree();
        if !go_together {
            return false;
        }
        let mfa = self.of_kind(K::MultiFactorAuthPresent);
        let age = self.of_kind(K::MultiFactorAuthAge);
        // The age is known of those who gave a second factor, and of nobody else.
        if let (Some(mfa), Some(age)) = (mfa, age)
            && (mfa == ["true"]) == age.is_empty()
        {
            return false;
        }
        if self.facts.caller.is_role() {
            // T-45: of a session that came of a provider nothing is known of a second factor, unless it gave one.
            let mut given = self.given.iter();
            let is_of_provider = given.any(|(key, values)| {
                matches!(key.kind(), K::FederatedProvider | K::Saml) && !values.is_empty()
            });
            return !is_of_provider || mfa.is_none_or(|mfa| mfa != ["false"]);
        }
        // What each value says of whether the user has a session (K-7, K-8, T-43).
        let says = |(key, values): &(&ContextKey, &[SmolStr])| match key.kind() {
            K::TokenIssueTime | K::MultiFactorAuthPresent => Some(!values.is_empty()),
            K::MultiFactorAuthAge
            | K::SourceIdentity
            | K::FederatedProvider
            | K::Saml
            | K::Credential
                if !values.is_empty() =>
            {
                Some(true)
            }
            K::ResourceTag if self.is_replaced(key, values) => Some(true),
            _ => None,
        };
        let mut said = self.given.iter().filter_map(says);
        let first = said.next();
        if !said.all(|other| Some(other) == first) {
            return false;
        }
        // PERF: only without a session does it matter whose tags they are, and looking them up is work.
        let is_own = |(key, values): &(&ContextKey, &[SmolStr])| {
            key.kind() != K::PrincipalTag || self.facts.values(key) == Values::list(values)
        };
        first != Some(false) || self.given.iter().all(is_own)
    }

    fn of_kind(&self, kind: KeyKind) -> Option<&'c [SmolStr]> {
        let mut given = self.given.iter();
        let found = given.find(|(key, _)| key.kind() == kind);
        found.map(|(_, values)| *values)
    }

    /// Returns whether the list of the request's tags names each of them that has a value, and none that has none (section 4.9).
    fn tag_keys_name_tags(&self) -> bool {
        let is_tag = |key: &ContextKey| key.kind() == KeyKind::RequestTag;
        let supposed = self.given.iter().filter(|(key, _)| is_tag(key));
        let supposed = supposed.map(|(key, values)| (key.tag(), !values.is_empty()));
        let context = &self.facts.request.context;
        let given = context.request_tags().map(|entry| (entry.key.tag(), true));
        let listed: SmallVec<[&str; 8]> = match self.of_kind(KeyKind::TagKeys) {
            Some(listed) => listed.iter().map(|name| &**name).collect(),
            None => match context.get_kind(KeyKind::TagKeys) {
                Some(listed) => listed.all().collect(),
                None => return true,
            },
        };
        let tags: SmallVec<[(&str, bool); 8]> = supposed.chain(given).collect();
        // Without any tag the list may say anything.
        tags.iter().all(|(_, has_value)| !has_value)
            || tags.iter().all(|(name, has_value)| {
                listed.iter().any(|one| one.eq_ignore_ascii_case(name)) == *has_value
            })
    }

    /// Returns whether `aws:CurrentTime` and `aws:EpochTime` tell one time.
    fn clocks_agree(&self) -> bool {
        let current = self.of_kind(KeyKind::CurrentTime);
        let (Some([current]), Some([epoch])) = (current, self.of_kind(KeyKind::EpochTime)) else {
            return true;
        };
        let current = current.parse::<Timestamp>();
        current.is_ok_and(|time| *epoch == *time.as_second().to_string())
    }

    /// Returns whether a session has replaced this tag of the resource, whose own value is an empty text.
    fn is_replaced(&self, key: &ContextKey, choice: &[SmolStr]) -> bool {
        choice.is_empty() && self.replaceable.contains(key)
    }

    /// Returns whether each replaced tag is one that the session has and that is not empty (T-8).
    fn replaces_consistently(&self) -> bool {
        self.replaceable.is_empty()
            || self.given.iter().all(|(key, choice)| {
                let agrees = |(other, values): &(&ContextKey, &[SmolStr])| {
                    other.kind() != KeyKind::PrincipalTag
                        || other.tag() != key.tag()
                        || !values.is_empty() && *values != [""]
                };
                !self.is_replaced(key, choice) || self.given.iter().all(agrees)
            })
    }

    /// Returns whether an area, read as a statement of this effect, covers the question.
    pub fn covers(&self, area: &Area, effect: Effect) -> bool {
        let (listed, unlisted, other) = match effect {
            Effect::Allow => (Reach::Narrow, Reach::Broad, Effect::Deny),
            Effect::Deny => (Reach::Broad, Reach::Narrow, Effect::Allow),
        };
        let resource = &self.facts.request.resource;
        let is_listed = |all: &Vec<ResourcePattern>| {
            all.iter()
                .any(|one| one.matches(resource, listed, self) == Some(true))
        };
        let is_unlisted = |one: &ResourcePattern| match one.matches(resource, unlisted, self) {
            None => effect == Effect::Allow,
            Some(covers) => covers,
        };
        let holds = |open: &Open| {
            let Some(condition) = open.condition() else {
                return false;
            };
            match evaluate(condition, &self.values(&condition.key), self) {
                Truth::True => true,
                Truth::False => false,
                Truth::Indeterminate => effect == Effect::Deny, // C-3
            }
        };
        area.resources.as_ref().is_none_or(is_listed)
            && !area.not_resources.iter().any(is_unlisted)
            && area.conditions.iter().all(holds)
            && !area.except.iter().any(|area| self.covers(area, other))
    }
}

impl Variables for Supposed<'_, '_, '_> {
    fn substitute(&self, key: &ContextKey) -> Substitute<'_> {
        match self.values(key) {
            Values::One(value) if !value.is_empty() => {
                Substitute::Value(Text::formatted(format_args!("{}", &*value)))
            }
            Values::Many(_) => Substitute::Several,
            Values::One(_) | Values::Absent => Substitute::Missing,
            Values::Unknown | Values::Uncertain => Substitute::Unknown,
        }
    }

    fn pay(&self, units: usize) -> bool {
        self.facts.work.spend(units)
    }
}
