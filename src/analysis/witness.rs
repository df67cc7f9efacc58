//! Looks for values of open context keys with which an area covers its question.
//!
//! The values that are tried first come from the conditions themselves: those that they compare with, their neighbors, some other
//! value, and none. Whoever is listed because of a witness can be allowed, since the witness says how. If no witness is among them,
//! and they are not all there are, values that stand for all others are tried, too. With these the search also says whether some area
//! covers the question whatever the keys say.

use std::borrow::Cow;
use std::cell::OnceCell;

use smol_str::SmolStr;

use super::area::{Area, Open};
use crate::context::ContextKey;
use crate::engine::facts::Facts;
use crate::engine::known::Scope;
use crate::language::condition::Condition;
use crate::language::condition::operator::{Truth, evaluate};
use crate::language::document::Effect;
use crate::language::pattern::ResourcePattern;
use choices::{Choices, chosen, is_name_of, one_name};
use supposed::Supposed;

pub use choices::has_tag;

mod choices;
mod classes;
mod exhaustive;
mod supposed;
mod texts;

/// The result of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// With some values one of the areas covers the question.
    Found,
    /// No values do that.
    None,
    /// None of the values that were tried did, and there may be others.
    Unknown,
}

/// The most combinations of values that are tried.
const MAX_TRIES: usize = 4_096;
/// The most units of work for finding out whether somebody is always allowed. It is little beside the work of a list, so that this
/// never makes a list fail.
const MAX_UNITS: usize = 50_000;

/// A search among the values of the open keys of some areas.
pub struct Search<'s, 'f> {
    areas: &'s [Area],
    facts: &'s Facts<'f>,
    scope: Scope<'s>,
    /// What is tried first. It is quickly found, and nearly always enough.
    choices: Choices,
    /// What stands for all values there are, once it is needed.
    exhaustive: OnceCell<Option<Choices>>,
}

impl<'s, 'f> Search<'s, 'f> {
    /// Returns the search for values with which `areas` cover the question of `facts`.
    pub fn of(areas: &'s [Area], facts: &'s Facts<'f>, scope: Scope<'s>) -> Self {
        Self {
            areas,
            facts,
            scope,
            choices: Choices::of(areas, facts, scope),
            exhaustive: OnceCell::new(),
        }
    }

    /// Returns choices that stand for all values there are, if they are not those of `choices`, and if there are any.
    fn exhaustive(&self) -> Option<&Choices> {
        let find = || self.choices.exhaustive(self.areas, self.facts);
        self.exhaustive.get_or_init(find).as_ref()
    }

    /// Looks for values with which one of the areas covers the question.
    pub fn witness(&self) -> Witness {
        match self.among(&self.choices) {
            Witness::None if !self.choices.are_all => match self.exhaustive() {
                Some(choices) => self.among(choices),
                None => Witness::Unknown,
            },
            found => found,
        }
    }

    /// Looks for values among these choices with which one of the areas covers the question.
    fn among(&self, choices: &Choices) -> Witness {
        let mut n_left = MAX_TRIES;
        for area in self.areas {
            let found = choices.try_area(area, self.facts, self.scope, &mut n_left);
            if found != Witness::None {
                return found;
            }
        }
        Witness::None
    }

    /// Returns whether one of the areas covers the question whatever the open keys say. `false` says nothing.
    ///
    /// Values that [`is_possible`](choices::is_possible) and [`Supposed::is_consistent`] leave out must be impossible: otherwise
    /// somebody who may be denied is said to be always allowed.
    pub fn covers_always(&self) -> bool {
        let Self { facts, choices, .. } = self;
        let shows_all = |key| Choices::show_all_of(key, facts);
        choices.keys.keys().all(shows_all)
            && self.covers_all(choices)
            && (choices.are_all
                || self
                    .exhaustive()
                    .is_some_and(|choices| self.covers_all(choices)))
    }

    /// Returns whether one of the areas covers the question with any of these choices. `false` says nothing.
    fn covers_all(&self, choices: &Choices) -> bool {
        let facts = self.facts;
        let keys = choices.keys.iter();
        let keys = keys.map(|(key, of_key)| (key, choices.with_pair(key, of_key)));
        let mut combinations = Combinations::of(keys.collect());
        let n_conditions: usize = self.areas.iter().map(n_conditions).sum();
        let units = n_conditions * (4 + choices.keys.len() / 8);
        if combinations.n_all().saturating_mul(units) > MAX_UNITS {
            return false;
        }
        let mut supposed = Supposed::of(facts, choices);
        let mut is_met = false;
        loop {
            if !facts.work.spend(units) {
                return false; // E-1: what was found out does not count
            }
            supposed.given.clear();
            supposed.given.extend(combinations.current());
            let covers = |area: &Area| supposed.covers(area, Effect::Allow);
            if supposed.is_consistent() {
                if !self.areas.iter().any(covers) {
                    return false;
                }
                is_met = true;
            }
            if !combinations.advance() {
                return is_met; // without any values that go together, nothing was found out
            }
        }
    }
}

/// The combinations of the choices of some keys, counted like a number whose digits are the choices.
struct Combinations<'c> {
    keys: Vec<(&'c ContextKey, Vec<&'c [SmolStr]>)>,
    at: Vec<usize>,
}

impl<'c> Combinations<'c> {
    /// Returns the first one. Each key has a choice.
    fn of(keys: Vec<(&'c ContextKey, Vec<&'c [SmolStr]>)>) -> Self {
        let at = vec![0; keys.len()];
        Self { keys, at }
    }

    fn n_all(&self) -> usize {
        let sizes = self.keys.iter().map(|(_, choices)| choices.len());
        sizes.fold(1, usize::saturating_mul)
    }

    fn current(&self) -> impl Iterator<Item = (&'c ContextKey, &'c [SmolStr])> {
        let given = self.keys.iter().zip(&self.at);
        given.filter_map(|((key, choices), at)| Some((*key, *choices.get(*at)?)))
    }

    /// Goes on to the next one. Returns whether there is any.
    fn advance(&mut self) -> bool {
        for (digit, (_, choices)) in self.at.iter_mut().zip(&self.keys) {
            *digit += 1;
            if *digit < choices.len() {
                return true;
            }
            *digit = 0;
        }
        false
    }
}

/// Returns how many conditions and patterns an area has, including those of its exceptions. A condition with many values counts
/// several times.
fn n_conditions(area: &Area) -> usize {
    let patterns = area.resources.as_ref().map_or(0, Vec::len) + area.not_resources.len();
    let except: usize = area.except.iter().map(|area| n_conditions(area)).sum();
    let conditions = area.conditions.iter().filter_map(Open::condition);
    let conditions = conditions.map(|one| 1 + one.operand.n_steps() / 8);
    1 + conditions.sum::<usize>() + patterns + except
}

/// Calls `visit` with each key that an area reads, also in its exceptions. Some may come twice.
fn each_key<'a>(area: &'a Area, visit: &mut impl FnMut(&'a ContextKey)) {
    for condition in area.conditions.iter().filter_map(Open::condition) {
        visit(&condition.key);
        let variables = condition.operand.variables().into_iter();
        variables.for_each(|variable| visit(&variable.key));
    }
    let resources = area.resources.iter().flatten().chain(&area.not_resources);
    let variables = resources.flat_map(ResourcePattern::variables);
    variables.for_each(|variable| visit(&variable.key));
    for area in &area.except {
        each_key(area, visit);
    }
}

/// Returns whether the values of the policy hang on a key that is not known.
fn has_open_variable(condition: &Condition, facts: &Facts<'_>, scope: Scope<'_>) -> bool {
    condition
        .operand
        .any_variable(|variable| !facts.is_known(&variable.key, scope))
}

impl Choices {
    /// Tries the choices of the keys that an area reads. Returns [`Witness::None`] if none of them makes it cover the
    /// question.
    ///
    /// PERF: a condition of the area itself must hold whatever the other keys are, so each key keeps only the choices with
    /// which its own conditions hold. The product of the others is what takes long.
    fn try_area(
        &self,
        area: &Area,
        facts: &Facts<'_>,
        scope: Scope<'_>,
        n_left: &mut usize,
    ) -> Witness {
        let mut names: Vec<Cow<'_, ContextKey>> = Vec::new();
        each_key(area, &mut |key| names.push(one_name(key, facts)));
        names.sort_unstable();
        names.dedup();
        let mut keys: Vec<(&ContextKey, Vec<&[SmolStr]>)> = Vec::new();
        for name in names {
            let Some((key, choices)) = self.keys.get_key_value(&*name) else {
                continue; // its value is known
            };
            let own = area.conditions.iter().filter_map(Open::condition);
            let own: Vec<&Condition> = own
                .filter(|condition| is_name_of(key, &condition.key, facts))
                .filter(|condition| !has_open_variable(condition, facts, scope))
                .collect();
            let units: usize = own.iter().map(|one| 4 + one.operand.n_steps()).sum();
            if !facts.work.spend(units * choices.len()) {
                return Witness::Unknown; // E-1: what was found out does not count
            }
            let holds = |choice: &&[SmolStr]| {
                own.iter().all(|one| {
                    evaluate(one, &chosen(key, choice, &self.replaceable), facts) == Truth::True
                })
            };
            let left: Vec<&[SmolStr]> = choices.iter().map(|one| &**one).filter(holds).collect();
            if left.is_empty() {
                return Witness::None;
            }
            keys.push((key, left));
        }
        let units = n_conditions(area) * (4 + keys.len() / 8);
        let mut combinations = Combinations::of(keys);
        let mut supposed = Supposed::of(facts, self);
        loop {
            if *n_left == 0 || !facts.work.spend(units) {
                return Witness::Unknown; // E-1: if the work is spent, what was found out does not count
            }
            *n_left -= 1;
            supposed.given.clear();
            supposed.given.extend(combinations.current());
            if supposed.is_consistent() && supposed.covers(area, Effect::Allow) {
                return Witness::Found;
            }
            if !combinations.advance() {
                return Witness::None;
            }
        }
    }
}
