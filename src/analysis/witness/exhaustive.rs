//! Choices that stand for all values that the open keys can have.
//!
//! They are more than [`Choices::of`] gives, and finding them takes longer. They are for the question whether anybody is left
//! out of account: whether no values at all do, or all do.

use std::collections::BTreeMap;

use jiff::Timestamp;
use smol_str::SmolStr;

use super::choices::{Choice, Choices, UNKNOWN, is_possible, is_simple, one_name, own_tag};
use super::classes::{MAX_CHOICES, classes, instants};
use crate::analysis::area::{Area, Open};
use crate::context::{ContextKey, KeyKind};
use crate::engine::facts::Facts;
use crate::language::condition::operator::Values;
use crate::language::condition::{Condition, Operand};

/// The most values of which all lists are made.
const MAX_MEMBERS: usize = 6;

impl Choices {
    /// Returns choices for the same keys that stand for all values there are, given those that `areas` were searched with.
    /// Returns `None` if that takes too much, or cannot be said: of keys that stand in variables, for one.
    pub fn exhaustive(&self, areas: &[Area], facts: &Facts<'_>) -> Option<Self> {
        if !self.variables.is_empty() || self.reads_chain_and_ends(facts) {
            return None;
        }
        let mut reads: BTreeMap<ContextKey, Vec<&Condition>> = BTreeMap::new();
        for area in areas {
            each_condition(area, &mut |condition| {
                let key = one_name(&condition.key, facts);
                if self.keys.contains_key(&*key) {
                    reads.entry(key.into_owned()).or_default().push(condition);
                }
            });
        }
        let mut all = Self {
            replaceable: self.replaceable.clone(),
            are_all: true,
            ..Self::default()
        };
        let is_time = |kind: KeyKind| matches!(kind, KeyKind::CurrentTime | KeyKind::EpochTime);
        let of_time: Vec<&Condition> = reads
            .iter()
            .filter(|(key, _)| is_time(key.kind()))
            .flat_map(|(_, conditions)| conditions.iter().copied())
            .collect();
        for (key, conditions) in &reads {
            let names = self.names_of_tags(key, facts);
            let are_all = || names.is_empty() && !self.cut.contains(key) && are_simple(conditions);
            let are_found = || own_tag(key, facts).is_some() || are_all();
            let kind = key.kind();
            let choices = if is_time(kind) {
                times(key, &instants(&of_time)?)
            } else if are_found() {
                let choices = self.keys.get(key)?;
                let choices = self.with_pair(key, choices);
                choices.into_iter().map(<[SmolStr]>::to_vec).collect()
            } else {
                of_key(key, conditions, &names, facts)?
            };
            if choices.len() > MAX_CHOICES {
                return None;
            }
            all.keys.insert(key.clone(), choices);
        }
        Some(all)
    }

    /// Returns the names of the tags of the request whose values are open or given, if `key` is the list of them.
    fn names_of_tags<'n>(&'n self, key: &ContextKey, facts: &'n Facts<'_>) -> Vec<&'n str> {
        if key.kind() != KeyKind::TagKeys {
            return Vec::new();
        }
        let open = self
            .keys
            .keys()
            .filter(|key| key.kind() == KeyKind::RequestTag);
        let given = facts.request.context.request_tags();
        let given = given.map(|entry| entry.key.tag());
        open.map(ContextKey::tag).chain(given).collect()
    }
}

/// Returns whether the choices that a search begins with stand for all values, if these are all conditions on their key.
fn are_simple(conditions: &[&Condition]) -> bool {
    let any = |is_it: fn(&Operand) -> bool| conditions.iter().any(|one| is_it(&one.operand));
    let is_mixed = any(|one| matches!(one, Operand::Bool(_)))
        && any(|one| matches!(one, Operand::StringEquals(_)));
    !is_mixed && conditions.iter().all(|one| is_simple(one))
}

/// Returns the choices for a key that these conditions read. The names among its values make a difference, too.
fn of_key(
    key: &ContextKey,
    conditions: &[&Condition],
    names: &[&str],
    facts: &Facts<'_>,
) -> Option<Vec<Choice>> {
    let mut reading = conditions.to_vec();
    reading.retain(|one| !matches!(one.operand, Operand::Null(_)));
    let found = classes(key, &reading, names, facts)?;
    let mut values: Vec<SmolStr> = found.into_iter().map(SmolStr::from).collect();
    if key.kind() == KeyKind::PrincipalTag {
        values.push(own_or_another(key, &values, facts));
    }
    if key.kind() == KeyKind::TokenIssueTime {
        values.push(SmolStr::new_static(UNKNOWN));
    }
    values.push(SmolStr::default()); // C-60
    let mut choices = vec![Choice::new()];
    choices.extend(values.iter().map(|value| vec![value.clone()]));
    let some_list = vec![SmolStr::default(), SmolStr::new("other")];
    if is_possible(key, &some_list, facts) {
        let has_qualifier = reading.iter().any(|one| one.operator.qualifier.is_some());
        // C-10: for other operators all lists are alike, unless they name the tags of the request.
        choices.extend(match has_qualifier || !names.is_empty() {
            true => lists_of(&values)?,
            false => vec![some_list],
        });
    }
    choices.retain(|choice| is_possible(key, choice, facts));
    Some(choices)
}

/// Returns the tag that a user without a session has, or else one that is not among `values`: how many are tried must not differ
/// between those who share their access.
fn own_or_another(key: &ContextKey, values: &[SmolStr], facts: &Facts<'_>) -> SmolStr {
    let is_new = |value: &SmolStr| !value.is_empty() && !values.contains(value);
    let own = match facts.values(key) {
        Values::One(own) => Some(SmolStr::new(&*own)),
        _ => None,
    };
    let another = (0..).map(|number: usize| SmolStr::from(format!("another{number}")));
    own.into_iter()
        .chain(another)
        .find(is_new)
        .unwrap_or_default()
}

/// Calls `visit` with each condition of an area and of its exceptions.
fn each_condition<'a>(area: &'a Area, visit: &mut impl FnMut(&'a Condition)) {
    area.conditions
        .iter()
        .filter_map(Open::condition)
        .for_each(&mut *visit);
    for area in &area.except {
        each_condition(area, visit);
    }
}

/// Returns all lists of two or more of these values, in one order each, and of each value twice. Returns `None` if there are too
/// many.
fn lists_of(values: &[SmolStr]) -> Option<Vec<Choice>> {
    if values.len() > MAX_MEMBERS {
        return None;
    }
    let mut lists: Vec<Choice> = values
        .iter()
        .map(|value| vec![value.clone(), value.clone()])
        .collect();
    for members in 0..1u32 << values.len() {
        if members.count_ones() > 1 {
            let members = values
                .iter()
                .enumerate()
                .filter(|(index, _)| members >> index & 1 == 1);
            lists.push(members.map(|(_, value)| value.clone()).collect());
        }
    }
    Some(lists)
}

/// Returns these times as `key` tells them.
fn times(key: &ContextKey, times: &[Timestamp]) -> Vec<Choice> {
    let told = times.iter().map(|time| match key.kind() {
        KeyKind::EpochTime => time.as_second().to_string(),
        _ => time.to_string(),
    });
    let mut told: Vec<SmolStr> = told.map(SmolStr::from).collect();
    told.sort_unstable();
    told.dedup();
    told.into_iter().map(|time| vec![time]).collect()
}
