//! Areas: sets of questions, which patterns of actions and resources, conditions and exceptions describe.
//!
//! An area is read as a statement is: it covers a question if all of its members cover it and none of its exceptions
//! does. At the top it is read as an Allow, its exceptions as Denies, their exceptions as Allows, and so on. So an
//! exception without members, whose own exceptions are some statements, takes away what none of these statements allows.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::engine::decision::StatementRef;
use crate::language::condition::{Condition, Operand};
use crate::language::document::Effect;
use crate::language::pattern::relation::{action_includes, actions_meet, can_meet, includes};
use crate::language::pattern::{ActionPattern, ArnPattern, ResourcePattern, Template};

/// A set of questions.
#[derive(Clone, Debug, Default)]
pub struct Area {
    /// Patterns of actions, of which one must match. `None` means every action.
    pub actions: Option<Vec<ActionPattern>>,
    /// Patterns of actions, none of which may match.
    pub not_actions: Vec<ActionPattern>,
    /// Patterns of resources, of which one must match. `None` means every resource.
    pub resources: Option<Vec<ResourcePattern>>,
    /// Patterns of resources, none of which may match.
    pub not_resources: Vec<ResourcePattern>,
    /// Conditions, all of which must hold.
    pub conditions: Vec<Open>,
    /// Areas that are taken away.
    pub except: Vec<Arc<Area>>,
    /// The statements that it comes from.
    pub statements: Vec<StatementRef>,
}

/// A condition that only a question can decide.
#[derive(Clone, Debug)]
pub struct Open {
    /// All conditions of its statement.
    all: Arc<[Condition]>,
    index: usize,
}

/// The most pairs of patterns that are compared to put two areas together.
const MAX_PAIRS: usize = 4096;

/// What two areas have in common.
#[derive(Debug)]
pub enum Common {
    /// Nothing.
    Nothing,
    /// This area.
    Area(Box<Area>),
    /// Something that no list of patterns describes.
    Unwritable,
}

impl Open {
    /// Returns the condition at `index` of a statement.
    pub fn of(all: &Arc<[Condition]>, index: usize) -> Self {
        Self {
            all: Arc::clone(all),
            index,
        }
    }

    /// Returns its position in its statement.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns the condition.
    pub fn condition(&self) -> Option<&Condition> {
        self.all.get(self.index)
    }

    /// Returns the values of the policy as policies spell them, in the newer version of the language.
    pub fn values(&self) -> Vec<String> {
        fn texts<T: ToString>(values: &[T]) -> Vec<String> {
            values.iter().map(ToString::to_string).collect()
        }
        match self.condition().map(|condition| &condition.operand) {
            None => Vec::new(),
            Some(Operand::StringEquals(all) | Operand::StringEqualsIgnoreCase(all)) => {
                all.iter().map(|text| written(text, false)).collect()
            }
            Some(Operand::StringLike(all)) => all.iter().map(|text| written(text, true)).collect(),
            Some(Operand::Arn(all)) => all.iter().map(ArnPattern::written).collect(),
            Some(Operand::Numeric(_, numbers)) => texts(numbers),
            Some(Operand::Date(_, instants)) => texts(instants),
            Some(Operand::Bool(value) | Operand::Null(value)) => vec![value.to_string()],
            Some(Operand::Binary(all)) => all.iter().map(|bytes| STANDARD.encode(bytes)).collect(),
            Some(Operand::IpAddress(networks)) => texts(networks),
        }
    }
}

fn written(text: &Template, wildcards: bool) -> String {
    text.written(wildcards, |_| None)
}

impl Area {
    /// Returns whether nothing is taken away from it and nothing has to hold.
    pub fn is_unconditional(&self) -> bool {
        self.conditions.is_empty() && self.except.is_empty()
    }

    /// Returns whether it surely covers every question that `other` covers, if it is read as in a statement of this effect.
    /// `false` says nothing.
    pub fn includes(&self, other: &Self, effect: Effect) -> bool {
        self.is_unconditional()
            && self.includes_actions(other)
            && self.includes_resources(other, effect)
    }

    fn includes_actions(&self, other: &Self) -> bool {
        let is_in = |ours: &[ActionPattern], theirs: &[ActionPattern]| {
            theirs
                .iter()
                .all(|other| ours.iter().any(|one| action_includes(one, other)))
        };
        let lists = match (&self.actions, &other.actions) {
            (None, _) => true,
            (Some(ours), Some(theirs)) => is_in(ours, theirs),
            (Some(_), None) => false,
        };
        let avoids = |not: &ActionPattern| {
            let theirs = other.actions.as_ref();
            let is_apart =
                |theirs: &Vec<ActionPattern>| !theirs.iter().any(|it| actions_meet(not, it));
            theirs.is_some_and(is_apart)
                || other.not_actions.iter().any(|it| action_includes(it, not))
        };
        lists && self.not_actions.iter().all(avoids)
    }

    fn includes_resources(&self, other: &Self, effect: Effect) -> bool {
        let is_in = |ours: &[ResourcePattern], theirs: &[ResourcePattern]| {
            theirs
                .iter()
                .all(|other| ours.iter().any(|one| includes(one, other)))
        };
        let lists = match (&self.resources, &other.resources) {
            (None, _) => true,
            (Some(ours), Some(theirs)) => is_in(ours, theirs),
            (Some(_), None) => false,
        };
        let avoids = |not: &ResourcePattern| {
            let theirs = other.resources.as_ref();
            theirs.is_some_and(|theirs| match effect {
                Effect::Allow => !says_something(not, theirs),
                // Without a value for its variables, a pattern keeps nothing from a Deny (V-9).
                Effect::Deny => !theirs.iter().any(|it| can_meet(not, it)),
            })
        };
        lists && self.not_resources.iter().all(avoids)
    }

    /// Returns whether a question may be in both. `false` is certain.
    pub fn meets(&self, other: &Self) -> bool {
        let actions = match (&self.actions, &other.actions) {
            (Some(ours), Some(theirs)) => ours
                .iter()
                .any(|one| theirs.iter().any(|other| actions_meet(one, other))),
            _ => true,
        };
        // PERF: most statements are about other actions.
        let resources = || match (&self.resources, &other.resources) {
            (Some(ours), Some(theirs)) => ours
                .iter()
                .any(|one| theirs.iter().any(|other| can_meet(one, other))),
            _ => true,
        };
        actions && resources() && !self.avoids(other) && !other.avoids(self)
    }

    /// Returns whether its `not_actions` or `not_resources` leave nothing of `other`.
    fn avoids(&self, other: &Self) -> bool {
        let actions = other.actions.as_ref().is_some_and(|theirs| {
            theirs
                .iter()
                .all(|it| self.not_actions.iter().any(|not| action_includes(not, it)))
        });
        let resources = other.resources.as_ref().is_some_and(|theirs| {
            theirs
                .iter()
                .all(|it| self.not_resources.iter().any(|not| includes(not, it)))
        });
        actions || resources
    }

    /// Returns what is in both.
    pub fn common(&self, other: &Self) -> Common {
        if !self.meets(other) {
            return Common::Nothing;
        }
        let Some(actions) = both(&self.actions, &other.actions, action_includes, actions_meet)
        else {
            return Common::Unwritable;
        };
        let Some(resources) = both(&self.resources, &other.resources, includes, can_meet) else {
            return Common::Unwritable;
        };
        let mut area = Self {
            actions,
            resources,
            not_actions: joined(&self.not_actions, &other.not_actions),
            not_resources: joined(&self.not_resources, &other.not_resources),
            conditions: [&*self.conditions, &*other.conditions].concat(),
            except: [&*self.except, &*other.except].concat(),
            statements: [&*self.statements, &*other.statements].concat(),
        };
        if area.tidy() {
            Common::Area(Box::new(area))
        } else {
            Common::Nothing
        }
    }

    /// Leaves out patterns that say nothing beside the others. Returns whether anything can be left in the area.
    pub fn tidy(&mut self) -> bool {
        if let Some(actions) = &mut self.actions {
            let not = &self.not_actions;
            actions.retain(|one| !not.iter().any(|not| action_includes(not, one)));
            let actions = &*actions;
            self.not_actions
                .retain(|not| actions.iter().any(|one| actions_meet(not, one)));
            if actions.is_empty() {
                return false;
            }
        }
        if let Some(resources) = &mut self.resources {
            let not = &self.not_resources;
            resources.retain(|one| !not.iter().any(|not| includes(not, one)));
            let resources = &*resources;
            self.not_resources
                .retain(|not| says_something(not, resources));
            if resources.is_empty() {
                return false;
            }
        }
        true
    }

    /// Takes `other`, which is read as in a Deny, away from the area. Returns whether anything can be left.
    pub fn take_away(&mut self, other: &Arc<Self>) -> bool {
        if other.includes(self, Effect::Deny) {
            return false;
        }
        if self.meets(other) {
            self.except.push(other.narrowed_to(self));
        }
        true
    }

    /// Returns the area, which is read as in a Deny, without the patterns that have nothing in common with `whole`. Most often
    /// there are none.
    fn narrowed_to(self: &Arc<Self>, whole: &Self) -> Arc<Self> {
        let mut narrowed = Self::clone(self);
        let n_before = narrowed.n_patterns();
        if let Some(theirs) = &whole.actions {
            let meets = |one: &ActionPattern| theirs.iter().any(|other| actions_meet(one, other));
            let actions = &mut narrowed.actions;
            actions.iter_mut().for_each(|ours| ours.retain(meets));
            narrowed.not_actions.retain(meets);
        }
        if let Some(theirs) = &whole.resources {
            let meets = |one: &ResourcePattern| theirs.iter().any(|other| can_meet(one, other));
            let resources = &mut narrowed.resources;
            resources.iter_mut().for_each(|ours| ours.retain(meets));
            narrowed.not_resources.retain(meets);
        }
        if narrowed.n_patterns() == n_before {
            return Arc::clone(self);
        }
        Arc::new(narrowed)
    }

    /// Returns how many patterns it has, without those of its exceptions.
    pub fn n_patterns(&self) -> usize {
        let actions = self.actions.as_ref().map_or(0, Vec::len) + self.not_actions.len();
        let resources = self.resources.as_ref().map_or(0, Vec::len) + self.not_resources.len();
        actions + resources
    }

    /// Returns the area of what none of `areas` covers, as an exception.
    pub fn outside(areas: Vec<Self>) -> Self {
        Self {
            except: areas.into_iter().map(Arc::new).collect(),
            ..Self::default()
        }
    }

    /// Returns about how much memory its texts take, in bytes.
    pub fn n_bytes(&self) -> usize {
        let actions = self.actions.iter().flatten().chain(&self.not_actions);
        let resources = self.resources.iter().flatten().chain(&self.not_resources);
        let conditions = self.conditions.iter().filter_map(Open::condition);
        let statements = self.statements.iter();
        64 + actions.map(|one| one.as_str().len() + 4).sum::<usize>()
            + resources.map(|one| one.as_str().len() + 4).sum::<usize>()
            + conditions.map(Condition::n_bytes).sum::<usize>()
            + self.except.iter().map(|area| area.n_bytes()).sum::<usize>()
            + statements
                .map(|one| one.policy.name.len() + one.policy.file.len() + 32)
                .sum::<usize>()
    }
}

/// Returns the patterns that match what some pattern of each list matches, or `None` if no list of patterns says that.
fn both<P: Clone + PartialEq>(
    ours: &Option<Vec<P>>,
    theirs: &Option<Vec<P>>,
    includes: fn(&P, &P) -> bool,
    meets: fn(&P, &P) -> bool,
) -> Option<Option<Vec<P>>> {
    let (ours, theirs) = match (ours, theirs) {
        (None, other) | (other, None) => return Some(other.clone()),
        (Some(ours), Some(theirs)) => (ours, theirs),
    };
    if ours.len() * theirs.len() > MAX_PAIRS {
        return None;
    }
    let mut found: Vec<P> = Vec::new();
    for one in ours {
        for other in theirs {
            let narrower = if includes(one, other) {
                other
            } else if includes(other, one) {
                one
            } else if meets(one, other) {
                return None;
            } else {
                continue;
            };
            if !found.contains(narrower) {
                found.push(narrower.clone());
            }
        }
    }
    Some(Some(found))
}

fn joined<P: Clone + PartialEq>(ours: &[P], theirs: &[P]) -> Vec<P> {
    let mut all = ours.to_vec();
    for one in theirs {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
    all
}

/// Returns whether a pattern of `not_resources` says anything beside `resources` in an Allow. One with an open variable
/// always does: if the variable turns out to have no value, the pattern keeps the whole Allow from applying (V-9).
fn says_something(not: &ResourcePattern, resources: &[ResourcePattern]) -> bool {
    not.variables().next().is_some() || resources.iter().any(|one| can_meet(not, one))
}
