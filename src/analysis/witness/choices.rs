//! Which values of open context keys a search tries.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::iter;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use smol_str::SmolStr;

use crate::analysis::area::{Area, Open};
use crate::context::{ContextKey, KeyKind};
use crate::engine::facts::Facts;
use crate::engine::known::Scope;
use crate::language::condition::operator::Values;
use crate::language::condition::{Condition, Operand, Operator};
use crate::language::pattern::{
    ArnPattern, Piece, ResourcePattern, Substitute, Template, Variables,
};
use crate::name::is_session_name;

/// The most values of one key that are tried.
const MAX_VALUES: usize = 64;
/// One choice for each key: its values. None of them means that the key is absent, or for a key in `replaceable`, that nobody
/// knows its value ([`chosen`]).
pub type Choice = Vec<SmolStr>;

/// The open keys with the choices for each of them. A tag of the resource, which may have several names, is there under one
/// ([`one_name`]).
#[derive(Default)]
pub struct Choices {
    pub keys: BTreeMap<ContextKey, Vec<Choice>>,
    /// The keys whose values are read as texts, and those read as Booleans.
    pub texts: BTreeSet<ContextKey>,
    pub booleans: BTreeSet<ContextKey>,
    /// The keys that are in variables.
    pub variables: BTreeSet<ContextKey>,
    /// The keys with more values than are tried.
    pub cut: BTreeSet<ContextKey>,
    /// Two values of each key of which the conditions name one.
    pub pairs: BTreeMap<ContextKey, Choice>,
    /// The tags of the resource that a session may replace, and whose own value is an empty text.
    pub replaceable: Vec<ContextKey>,
    /// Whether the choices stand for all values there are.
    pub are_all: bool,
}

impl Choices {
    /// Returns the choices for the open keys that `areas` read.
    pub fn of(areas: &[Area], facts: &Facts<'_>, scope: Scope<'_>) -> Self {
        let mut choices = Self {
            are_all: true,
            ..Self::default()
        };
        for area in areas {
            choices.add(area, facts, scope);
        }
        // C-50: one Boolean has many spellings, which are different texts.
        choices.are_all &= choices.texts.is_disjoint(&choices.booleans);
        choices.are_all &= !choices.reads_values_that_go_together(facts);
        choices.complete(facts);
        choices
    }

    fn has(&self, is_it: impl Fn(KeyKind) -> bool) -> bool {
        self.keys.keys().any(|key| is_it(key.kind()))
    }

    /// Returns whether the chain of services is open, and something is said of its ends. No search finds all of these values.
    pub fn reads_chain_and_ends(&self, facts: &Facts<'_>) -> bool {
        let is_end = |kind| matches!(kind, KeyKind::CalledViaFirst | KeyKind::CalledViaLast);
        let mut given = facts.request.context.entries().iter();
        self.has(|kind| kind == KeyKind::CalledVia)
            && (self.has(is_end) || given.any(|entry| is_end(entry.key.kind())))
    }

    /// Returns whether the value of one open key says something about that of another one, for which the conditions on each key alone
    /// do not find the choices.
    fn reads_values_that_go_together(&self, facts: &Facts<'_>) -> bool {
        let has = |wanted| self.has(|kind| kind == wanted);
        let has_request_tag =
            has(KeyKind::RequestTag) || facts.request.context.request_tags().next().is_some();
        has(KeyKind::TagKeys) && has_request_tag
            || has(KeyKind::CurrentTime) && has(KeyKind::EpochTime)
            || self.reads_chain_and_ends(facts)
    }

    /// Returns whether the choices for `key`, if they are all, also show each case in which a condition does not hold.
    pub fn show_all_of(key: &ContextKey, facts: &Facts<'_>) -> bool {
        !facts.is_replaceable(key) // nobody may know a tag, or whether there is one (T-8)
    }

    /// Returns the choices for `key`, which are `choices`, and two values of it: with these, no condition without a set qualifier
    /// holds (C-10). They say nothing to a search for values with which one does.
    pub fn with_pair<'c>(&'c self, key: &ContextKey, choices: &'c [Choice]) -> Vec<&'c [SmolStr]> {
        let pair = self.pairs.get(key);
        choices.iter().chain(pair).map(|one| &**one).collect()
    }

    fn add(&mut self, area: &Area, facts: &Facts<'_>, scope: Scope<'_>) {
        for condition in area.conditions.iter().filter_map(Open::condition) {
            self.add_condition(condition, facts, scope);
        }
        let resources = area.resources.iter().flatten().chain(&area.not_resources);
        for variable in resources.flat_map(ResourcePattern::variables) {
            self.add_variable(&variable.key, facts, scope);
        }
        for area in &area.except {
            self.add(area, facts, scope);
        }
    }

    fn add_variable(&mut self, key: &ContextKey, facts: &Facts<'_>, scope: Scope<'_>) {
        if !facts.is_known(key, scope) {
            self.are_all = false;
            let key = one_name(key, facts).into_owned();
            self.variables.insert(key.clone());
            self.keys.entry(key).or_default();
        }
    }

    fn add_condition(&mut self, condition: &Condition, facts: &Facts<'_>, scope: Scope<'_>) {
        for variable in condition.operand.variables() {
            self.add_variable(&variable.key, facts, scope);
        }
        if facts.is_known(&condition.key, scope) {
            return;
        }
        if !is_simple(condition) {
            self.are_all = false;
        }
        let key = one_name(&condition.key, facts).into_owned();
        match condition.operand {
            Operand::Null(_) => {}
            Operand::Bool(_) => {
                self.booleans.insert(key.clone());
            }
            _ => {
                self.texts.insert(key.clone());
            }
        }
        let choices = self.keys.entry(key.clone()).or_default();
        for value in values_of(&condition.operand, facts) {
            let choice = vec![SmolStr::from(value)];
            if choices.contains(&choice) {
                continue;
            }
            if choices.len() == MAX_VALUES {
                self.are_all = false;
                self.cut.insert(key);
                break;
            }
            choices.push(choice);
        }
    }

    /// Adds to each key what no condition speaks of, and lists of several values.
    fn complete(&mut self, facts: &Facts<'_>) {
        let mut seen: Vec<SmolStr> = Vec::new();
        for choices in self.keys.values() {
            seen.extend(choices.iter().flatten().cloned());
        }
        for (key, choices) in &mut self.keys {
            if let Some(own) = own_tag(key, facts) {
                // PERF: with any other own value, no condition is true in more cases while nobody knows the value (C-9). A pattern
                // with a default may cover more, but a variable makes the choices not all there are.
                let is_empty = own == [""];
                *choices = vec![own];
                if is_empty && facts.is_replaceable(key) {
                    choices.push(Choice::new());
                    self.replaceable.push(key.clone());
                }
                continue;
            }
            if choices.is_empty() && self.variables.contains(key) {
                // It may be what others are compared with.
                let seen = seen.iter().take(MAX_VALUES);
                choices.extend(seen.map(|value| vec![value.clone()]));
            }
            let others = others(key, choices, facts);
            let several: Vec<Choice> = choices
                .windows(2)
                .map(|pair| pair.concat())
                .chain((choices.len() > 2).then(|| choices.concat()))
                .collect();
            if let ([only], [other, ..]) = (&**choices, &*others) {
                let pair = [&**only, other].concat();
                if is_possible(key, &pair, facts) {
                    self.pairs.insert(key.clone(), pair);
                }
            }
            choices.extend(others);
            if key.kind() == KeyKind::TokenIssueTime {
                choices.push(vec![SmolStr::new_static(UNKNOWN)]);
            }
            choices.push(vec![SmolStr::default()]); // C-60
            choices.extend(several);
            choices.insert(0, Choice::new());
            choices.retain(|choice| is_possible(key, choice, facts));
            if choices.is_empty() {
                choices.push(Choice::new());
            }
        }
    }
}

/// Returns the name under which there are choices for `key`: a tag of the resource has the same value under all of its names
/// (section 4.9).
pub fn one_name<'k>(key: &'k ContextKey, facts: &Facts<'_>) -> Cow<'k, ContextKey> {
    if key.kind() == KeyKind::ServiceResourceTag && facts.is_of_resource(key) {
        return Cow::Owned(ContextKey::new(&format!("aws:ResourceTag/{}", key.tag())));
    }
    Cow::Borrowed(key)
}

/// Returns whether `kept`, under which there are choices, is [`one_name`] of `key`.
///
/// PERF: it is called for each pair of a key and a condition, and makes no name anew.
pub fn is_name_of(kept: &ContextKey, key: &ContextKey, facts: &Facts<'_>) -> bool {
    kept == key
        || kept.kind() == KeyKind::ResourceTag
            && key.kind() == KeyKind::ServiceResourceTag
            && kept.tag() == key.tag()
            && facts.is_of_resource(key)
}

/// Returns values of a key to try besides its `choices`, which conditions name.
fn others(key: &ContextKey, choices: &[Choice], facts: &Facts<'_>) -> Vec<Choice> {
    let is_named = |text: &str| choices.iter().flatten().any(|value| value == text);
    let unnamed = |mut texts: &mut dyn Iterator<Item = String>| {
        Iterator::find(&mut texts, |text| !is_named(text))
    };
    let numbered = |text: String| {
        let first = iter::once(text.clone());
        first.chain((1..).map(move |number: usize| format!("{text}{number}")))
    };
    let other = || unnamed(&mut numbered("other".to_owned()));
    let entity = facts.caller.entity;
    let id = entity.and_then(|entity| entity.unique_id.as_deref());
    let values = match (key.kind(), id) {
        (KeyKind::Userid, Some(id)) => vec![unnamed(&mut numbered(format!("{id}:other")))],
        (KeyKind::TokenIssueTime | KeyKind::CurrentTime, _) => {
            vec![unnamed(&mut times_until(facts.request.at))]
        }
        (KeyKind::EpochTime, _) => {
            let seconds = facts.request.at.as_second();
            vec![unnamed(&mut (0..=seconds).rev().map(|at| at.to_string()))]
        }
        (KeyKind::MultiFactorAuthAge, _) => {
            vec![unnamed(&mut (0..).map(|number: usize| number.to_string()))]
        }
        // MFA has only these two, and a policy may ask only whether the key is there (C-60).
        (KeyKind::MultiFactorAuthPresent, _) => ["true", "false"]
            .map(|text| (!is_named(text)).then(|| text.to_owned()))
            .into(),
        // A user without a session has the tag of the store. Whoever has none that is not named has a further one instead: how many
        // values are tried must not differ between those who share their access.
        (KeyKind::PrincipalTag, _) => {
            let own = match facts.values(key) {
                Values::One(own) if !is_named(&own) => Some(own.to_string()),
                _ => unnamed(&mut numbered("another".to_owned())),
            };
            vec![own, other()]
        }
        _ => vec![other()],
    };
    let values = values.into_iter().flatten();
    values.map(|value| vec![value.into()]).collect()
}

/// Returns the seconds until `at`, the last one first.
fn times_until(at: Timestamp) -> impl Iterator<Item = String> {
    let earlier = move |seconds: i64| at.checked_sub(SignedDuration::from_secs(seconds));
    (0..).map_while(move |seconds| Some(earlier(seconds).ok()?.to_string()))
}

/// Returns the values of a tag that the resource has, or that the caller has given, maybe as an empty list. Such a tag is open only in
/// role chaining, where another value of it is unknown (T-8).
pub fn own_tag(key: &ContextKey, facts: &Facts<'_>) -> Option<Choice> {
    if key.kind() != KeyKind::ResourceTag {
        return None;
    }
    match facts.values(key) {
        Values::One(value) => Some(vec![SmolStr::new(&*value)]),
        Values::Many(values) => Some(values.to_vec()),
        Values::Absent if facts.is_given_under_all_names(key) => Some(Choice::new()),
        _ => None,
    }
}

/// Returns the values that a choice for `key` stands for. `Null` says nothing about an empty text (C-60), but of a tag with an
/// unknown value it knows that it is there.
pub fn chosen<'c>(
    key: &ContextKey,
    choice: &'c [SmolStr],
    replaceable: &[ContextKey],
) -> Values<'c> {
    match choice {
        [] if replaceable.contains(key) => Values::Unknown,
        [unknown] if key.kind() == KeyKind::TokenIssueTime && unknown == UNKNOWN => Values::Unknown,
        choice => Values::list(choice),
    }
}

/// Returns whether one other value, and none, stand for all values that are not written in it.
pub fn is_simple(condition: &Condition) -> bool {
    let Operator { qualifier, .. } = condition.operator;
    qualifier.is_none()
        && condition.operand.variables().is_empty()
        && matches!(
            condition.operand,
            Operand::StringEquals(_) | Operand::Bool(_) | Operand::Null(_)
        )
}

/// Returns whether a key can have these values, as far as iamd derives them.
pub fn is_possible(key: &ContextKey, choice: &[SmolStr], facts: &Facts<'_>) -> bool {
    let is_bool = |value: &SmolStr| matches!(&**value, "true" | "false");
    match key.kind() {
        KeyKind::Userid => {
            let id = facts
                .caller
                .entity
                .and_then(|entity| entity.unique_id.as_deref());
            choice.iter().all(|value| {
                let session = id.and_then(|id| value.strip_prefix(id)?.strip_prefix(':'));
                session.is_some_and(|session| !session.is_empty())
            })
        }
        KeyKind::MultiFactorAuthPresent => choice.iter().all(is_bool) && choice.len() < 2,
        KeyKind::SecureTransport | KeyKind::ViaAwsService => !choice.is_empty(),
        KeyKind::CurrentTime => matches!(choice, [time] if is_time(time)),
        KeyKind::EpochTime => matches!(choice, [seconds] if is_whole_number(seconds)),
        KeyKind::TokenIssueTime => {
            // T-43: every session of a role has one.
            let n_least = usize::from(facts.caller.is_role());
            (n_least..2).contains(&choice.len()) && choice.iter().all(is_issue_time)
        }
        KeyKind::MultiFactorAuthAge => choice.len() < 2 && choice.iter().all(is_whole_number),
        KeyKind::SourceIdentity => {
            let mut identities = choice.iter();
            choice.len() < 2 && identities.all(|identity| is_session_name(identity)) // T-39
        }
        KeyKind::PrincipalTag => {
            // T-38: a session may replace a tag, and cannot remove it.
            let n_least = usize::from(has_tag(key, facts));
            (n_least..2).contains(&choice.len())
        }
        KeyKind::Credential | KeyKind::FederatedProvider => choice.len() < 2,
        _ => true,
    }
}

/// Returns whether a text is a time as iamd writes it.
fn is_time(text: &SmolStr) -> bool {
    let time = text.parse::<Timestamp>();
    time.is_ok_and(|time| time.to_string() == *text)
}

/// Stands for an issue time that nobody knows (T-43): so it is of a role itself, and of a session if its caller does not say.
pub const UNKNOWN: &str = "unknown";

/// Returns whether a text is such a time, and one that a session can have (T-47). The clock is open, so no time is too late.
fn is_issue_time(text: &SmolStr) -> bool {
    let time = text.parse::<Timestamp>();
    text == UNKNOWN || time.is_ok_and(|time| time > Timestamp::UNIX_EPOCH) && is_time(text)
}

fn is_whole_number(text: &SmolStr) -> bool {
    let number = text.parse::<i64>();
    number.is_ok_and(|number| number.to_string() == *text)
}

/// Returns whether the caller has the tag of `key` in the store.
pub fn has_tag(key: &ContextKey, facts: &Facts<'_>) -> bool {
    let tags = facts.caller.entity.map(|entity| &entity.tags);
    tags.is_some_and(|tags| tags.get(key.tag()).is_some())
}

/// Returns values that make a difference to an operand.
fn values_of(operand: &Operand, facts: &Facts<'_>) -> Vec<String> {
    let texts = |all: &mut dyn Iterator<Item = &Template>| -> Vec<String> {
        all.flat_map(|text| [instance(text, "", facts), instance(text, "x", facts)])
            .flatten()
            .collect()
    };
    match operand {
        Operand::StringEquals(all)
        | Operand::StringEqualsIgnoreCase(all)
        | Operand::StringLike(all) => texts(&mut all.iter()),
        Operand::Arn(all) => {
            let one = |pattern: &ArnPattern, run: &str| -> Option<String> {
                let fields = pattern.fields().iter();
                let fields: Option<Vec<String>> =
                    fields.map(|field| instance(field, run, facts)).collect();
                Some(match &*fields? {
                    [] => "arn:aws:x:x:x:x".to_owned(),
                    fields => fields.join(":"),
                })
            };
            all.iter()
                .flat_map(|pattern| [one(pattern, "x"), one(pattern, "")])
                .flatten()
                .collect()
        }
        Operand::Numeric(_, numbers) => {
            let near = |text: String| {
                let number: f64 = text.parse().unwrap_or_default();
                [text, (number - 1.0).to_string(), (number + 1.0).to_string()]
            };
            numbers
                .iter()
                .flat_map(|one| near(one.to_string()))
                .collect()
        }
        Operand::Date(_, instants) => {
            let near = |text: String| {
                let at = text.parse::<Timestamp>();
                let moved = |seconds: i64| {
                    let at = at.as_ref().ok()?;
                    let moved = at.checked_add(SignedDuration::from_secs(seconds));
                    Some(moved.ok()?.to_string())
                };
                let (before, after) = (moved(-1), moved(1));
                [Some(text), before, after].into_iter().flatten()
            };
            instants
                .iter()
                .flat_map(|one| near(one.to_string()))
                .collect()
        }
        Operand::Bool(_) => vec!["true".to_owned(), "false".to_owned()],
        Operand::Binary(all) => all.iter().map(|bytes| STANDARD.encode(bytes)).collect(),
        Operand::IpAddress(networks) => {
            let own = networks.iter().map(|network| network.addr().to_string());
            own.chain(["192.0.2.1".to_owned(), "2001:db8::1".to_owned()])
                .collect()
        }
        Operand::Null(_) => Vec::new(),
    }
}

/// Returns a text that a template matches, with `run` for each `*`. Returns `None` if a variable has no known value.
fn instance(template: &Template, run: &str, facts: &Facts<'_>) -> Option<String> {
    let mut text = String::new();
    for piece in template.pieces() {
        match piece {
            Piece::Text(literal) => text.push_str(literal),
            Piece::AnyOne => text.push('x'),
            Piece::AnyRun => text.push_str(run),
            Piece::Variable(variable) => match facts.substitute(&variable.key) {
                Substitute::Value(value) => text.push_str(&value),
                _ => return None,
            },
        }
    }
    Some(text)
}
