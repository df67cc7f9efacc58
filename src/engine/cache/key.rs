//! What a decision may depend on, as bytes: two questions with the same key have the same answer (K-40).
//!
//! ```text
//! hash │ principal │ parent │ action │ resource │ owner │ session's managed policies │ values …
//! ```
//!
//! The policies in play follow from the fields before the values: they are found by these names in the snapshot, whose
//! cache this is. So do, from the policies, the context keys that they may read: those of the statements about this action.
//! The values of these keys stand in their order, without names. Each field tells its own length or kind, so that no
//! two questions are written alike. Keys are compared byte by byte; the hash at the front only finds them.

use std::hash::{DefaultHasher, Hasher};
use std::ops::ControlFlow;

use smallvec::SmallVec;

use crate::compile::demand::Demand;
use crate::context::ContextKey;
use crate::engine::facts::Facts;
use crate::engine::plan::Plan;
use crate::engine::request::Request;
use crate::language::condition::operator::Values;
use crate::name::{Arn, GivenArn, Principal};

/// The longest key, because questions with long values would fill the cache with few decisions.
const MAX_BYTES: usize = 4 * 1024;
/// The longest key that stays on the stack.
const ON_STACK: usize = 512;
/// The length of the hash at the front.
const HASH: usize = size_of::<u64>();

/// A key on its way to the cache.
pub(in crate::engine) struct Key(SmallVec<[u8; ON_STACK]>);

impl Key {
    pub(in crate::engine) fn new() -> Self {
        Self(SmallVec::new())
    }

    /// Writes the key of a question. Returns whether it has one: it has none if a policy in play may
    /// read the clock (K-41), or if the action or the key would be too long.
    pub(super) fn fill(&mut self, facts: &Facts<'_>, plan: &Plan<'_>, seed: u64) -> bool {
        let request = facts.request;
        self.0.clear();
        self.0.extend_from_slice(&[0; HASH]);
        self.principal(&request.principal);
        self.optional(request.session.parent.as_ref().map(Arn::as_str));
        self.text(request.action.as_str());
        self.text(request.resource.as_str());
        self.optional(facts.owner);
        let arns = &request.session.policy_arns;
        self.number(arns.len());
        for arn in arns {
            self.text(arn.as_str());
        }
        if self.0.len() > MAX_BYTES {
            return false; // before the values are looked up
        }
        let left = facts.work.left();
        let has_key = self.values(facts, plan) && !facts.work.is_spent();
        facts.work.give_back(left); // K-45: what can be answered without a cache can be answered with one
        if has_key {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(seed);
            hasher.write(self.0.get(HASH..).unwrap_or_default());
            if let Some(front) = self.0.first_chunk_mut() {
                *front = hasher.finish().to_le_bytes();
            }
        }
        has_key
    }

    /// Writes the values that the policies in play may read. Returns whether the question has a key still.
    fn values(&mut self, facts: &Facts<'_>, plan: &Plan<'_>) -> bool {
        for source in plan.sources().filter(|source| source.is_stored()) {
            let Some(path) = source.path() else {
                return false;
            };
            let values = path.demands(|demand| self.demanded(demand, facts));
            if values.is_break() {
                return false;
            }
        }
        true
    }

    /// Writes the values that some statements may read. Breaks if the question has no key.
    fn demanded(&mut self, demand: &Demand, facts: &Facts<'_>) -> ControlFlow<()> {
        if demand.reads_clock {
            return ControlFlow::Break(());
        }
        for key in &demand.keys {
            let values = facts.values(key);
            self.value(key, &values, facts.request);
            if self.0.len() > MAX_BYTES || !facts.work.spend(3) {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// Returns the key, which begins with its hash.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn hash(&self) -> u64 {
        self.0
            .first_chunk()
            .map_or(0, |front| u64::from_le_bytes(*front))
    }

    fn principal(&mut self, principal: &Principal) {
        match principal {
            Principal::Anonymous => self.0.push(0),
            Principal::Service(name) => {
                self.0.push(1);
                self.text(name);
            }
            // Which kind of principal it is, its ARN says.
            named => {
                self.0.push(2);
                self.text(named.arn().map_or("", GivenArn::text));
            }
        }
    }

    fn number(&mut self, number: usize) {
        // Nothing in a question is longer than a message may be; what were would be too long for a key.
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        self.0.push(u8::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }

    /// Writes the value of a context key. Each way to have no value is written as a value of its own (K-40, K-44).
    fn value(&mut self, key: &ContextKey, values: &Values<'_>, request: &Request) {
        match values {
            Values::Absent if is_empty_list(key, request) => self.0.push(1),
            Values::Absent => self.0.push(0),
            Values::Unknown => self.0.push(2),
            Values::Uncertain => self.0.push(5),
            Values::One(value) => {
                self.0.push(3);
                self.text(value);
            }
            Values::Many(values) => {
                self.0.push(4);
                self.number(values.len());
                for value in *values {
                    self.text(value);
                }
            }
        }
    }
}

/// Returns whether the caller gave a list without elements. It counts as no value (C-7), but gets a key of its own
/// (K-44).
fn is_empty_list(key: &ContextKey, request: &Request) -> bool {
    request.context.entry(key).is_some()
}
