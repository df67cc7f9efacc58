//! The actions of all statements of a policy set, in a trie: which statements speak of an action, and of a resource.
//!
//! ```text
//! action ─▶ node of its name ─▶ candidates ─▶ rows of their policies ─▶ the statements worth a look
//!             │ parent
//!             ▼
//!           node of a beginning, such as `s3:get` ─▶ candidates ─▶ …
//!             │ parent
//!             ▼
//!           … `s3:`, and at last the root, for statements about any action
//! ```
//!
//! A node holds the statements that name its text: those that deny and those that allow apart, each in the order of the
//! policies. The names stand in a hash table, and the beginnings are sorted, so that the longest beginning of an action
//! is found by a search. All shorter ones are its parents. A name that no policy knows begins at the longest beginning
//! too, so unknown names, however many, take no memory.
//!
//! A trie leaves out statements that cannot match (M-23). Some statements at a beginning have patterns that decide which
//! of the actions below it match; these candidates are marked, and the engine evaluates the patterns. The rows of the
//! policies tell the resource (`rows`). If a node has many candidates, a filter runs before the rows (`filter`).
//!
//! A set's trie is built for all actions at once: after a load for a small store (`prepare`), and else at the first
//! question to the set. What nobody asks takes little memory, since a sidecar has the store of all and the questions of
//! one application. The trie consists of numbers only: the
//! rows, the names and the conditions stay with the policies, which all sets share.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use super::demand::Demand;
use super::policy::Policy;
use super::rows::Ends;
use crate::language::document::{Effect, Statement};
use crate::language::text::is_same;
use crate::name::Action;
use filter::Filter;
pub(super) use filter::MAX_FILTERED;

mod build;
pub(super) mod filter;
mod load;

/// Up to this many candidates are tried one by one, without a filter.
pub(super) const MAX_UNFILTERED: usize = 12;
/// How often a node with many candidates is visited before its filter is built.
pub(super) const N_UNFILTERED: u32 = 8;
/// The modelled cost, in nanoseconds, from which a node keeps the demand of its statements.
const COSTLY: u16 = 250;
/// How many consecutive places of the table are tried for a name.
pub(super) const N_PROBES: usize = 16;

/// A statement of a set, which may have to be checked for whether it speaks of the action. Candidates are ordered as
/// their statements are.
///
/// From the highest bits: 28 for the policy, 31 for the statement, 4 for the number of bytes that [`Listed`] compares, one for
/// whether the statement is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate(u64);

impl Candidate {
    /// After all others. It is nobody's candidate.
    pub const END: Self = Self(u64::MAX);
    /// In place of a candidate that is lost. No set has its statement, so its question gets no answer ([`crate::engine::lost`]). It is
    /// compared with no resource and not checked, so that nothing keeps it from being missed.
    pub(super) const LOST: Self = Self(u64::MAX << 5);

    fn new(policy: u32, statement: u32, n_head: u8, is_checked: bool) -> Self {
        if policy >= Self::LOST.policy() || statement >= Self::LOST.statement() {
            return Self::LOST; // more than fits into memory
        }
        let place = u64::from(policy) << 36 | u64::from(statement) << 5;
        Self(place | u64::from(n_head) << 1 | u64::from(is_checked))
    }

    /// Returns the position of the first candidate of several, in place of a candidate.
    fn from_position(position: u32) -> Self {
        Self(position.into())
    }

    fn position(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Returns the index of the policy in its set, from 0.
    #[inline]
    pub const fn policy(self) -> u32 {
        (self.0 >> 36) as u32
    }

    /// Returns the index of the statement in its policy, from 0.
    #[inline]
    pub const fn statement(self) -> u32 {
        (self.0 >> 5) as u32 & 0x7fff_ffff
    }

    /// Returns whether the statement's patterns have to be compared with the action.
    #[inline]
    pub fn is_checked(self) -> bool {
        self.0 & 1 == 1
    }

    /// Returns the policy and the statement in the set's policies.
    pub fn of(self, policies: &[Arc<Policy>]) -> Option<(&Arc<Policy>, &Statement)> {
        let policy = policies.get(self.policy() as usize)?;
        Some((policy, policy.statements.get(self.statement() as usize)?))
    }
}

/// A candidate of several, with the beginning of the resources that it covers.
///
/// PERF: most statements at a node are about other services, and their rows lie apart from each other.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    pub(super) candidate: Candidate,
    /// The first bytes of a resource after `arn:`, the first one lowest.
    head: u64,
}

impl Listed {
    const LOST: Self = Self::always(Candidate::LOST);

    const fn always(candidate: Candidate) -> Self {
        Self { candidate, head: 0 }
    }

    /// Returns the candidate, unless its resources begin otherwise.
    #[inline]
    pub fn candidate(self, ends: &Ends) -> Option<Candidate> {
        let n_equal = (ends.first_head() ^ self.head).trailing_zeros();
        let n_asked = (self.candidate.0 as u32 >> 1 & 0xf) * 8;
        (n_equal >= n_asked).then_some(self.candidate)
    }
}

/// The statements of a policy set by action.
///
/// PERF: a question reads the first three fields, which lie in one cache line of the CPU.
#[repr(C, align(64))]
pub struct Trie {
    /// Nodes of names by the hash of the name: one more than the number of the node, or 0.
    table: Box<[u32]>,
    /// The nodes of names, then those of beginnings, which are sorted by their texts.
    pub(super) nodes: Box<[Node]>,
    /// The candidates of the nodes with several, one node after another.
    listed: Box<[Listed]>,
    /// The first eight bytes of each beginning, as a number.
    heads: Box<[u64]>,
    /// The nodes with many candidates, or costly ones, in order.
    crowds: Box<[Crowd]>,
}

/// The statements that speak of one name or one beginning.
///
/// PERF: two nodes fill one cache line of the CPU.
#[repr(align(32))]
pub(super) struct Node {
    /// Its only candidate, or the position of the first of its candidates. The denying ones come first.
    pub candidates: Candidate,
    /// The number of denying candidates, and that of allowing ones. If a number does not fit, it is the highest, and the
    /// crowd knows better.
    pub n: [u16; 2],
    /// The upper half of the text's fingerprint.
    fingerprint: u32,
    /// What stands above it. For a name, it is found by the first question.
    above: AtomicU32,
    /// The policy in which the text stands.
    policy: u32,
    /// The offset of the text in the policy's texts.
    at: u32,
    /// The estimated nanoseconds to evaluate its statements.
    pub cost: u16,
    /// The length of the text in bytes.
    n_bytes: u8,
}

const _: () = assert!(size_of::<Node>() == 32, "half a line");

/// There is no such node.
pub(super) const NONE: u32 = (1 << 30) - 1;

/// What stands above a node, in one word: the node of the longest beginning of its text besides itself, or [`NONE`], and
/// whether the node or any above it has denying candidates.
#[derive(Clone, Copy)]
pub(super) struct Above(u32);

impl Above {
    /// Nothing is known yet.
    const UNKNOWN: Self = Self(u32::MAX);

    fn new(parent: u32, has_denies: bool) -> Self {
        Self(parent | u32::from(has_denies) << 31)
    }

    #[inline]
    pub(super) fn parent(self) -> u32 {
        self.0 & NONE
    }

    #[inline]
    pub(super) fn has_denies(self) -> bool {
        self.0 >> 31 == 1
    }
}

impl Node {
    /// Returns its text. `policies` are those of the set.
    #[inline]
    fn text<'s>(&self, policies: &'s [Arc<Policy>]) -> &'s [u8] {
        let policy = policies.get(self.policy as usize);
        let rows = policy.and_then(|policy| policy.rows.get());
        rows.map_or(&[], |rows| rows.name(self.at, self.n_bytes))
    }

    #[inline]
    fn above(&self) -> Above {
        Above(self.above.load(Ordering::Relaxed))
    }
}

/// What a node with many candidates, or costly ones, has besides.
pub(super) struct Crowd {
    /// The number of the node.
    node: u32,
    /// The number of denying candidates, and that of allowing ones.
    n: [u32; 2],
    /// How often it was visited, up to [`N_UNFILTERED`].
    pub n_visits: AtomicU32,
    /// The filters of the denying and of the allowing candidates.
    pub filters: OnceLock<[Box<[Filter]>; 2]>,
    /// What its statements demand.
    pub demand: OnceLock<Demand>,
}

impl Trie {
    /// Returns the node of the action's name.
    #[inline]
    pub(super) fn name(&self, policies: &[Arc<Policy>], action: &Action) -> Option<u32> {
        // PERF: most names stand in the first place that is tried.
        let at = self.place(action, 0)?;
        if self.is_name(at, policies, action) {
            return Some(at);
        }
        self.name_further(policies, action)
    }

    #[inline(never)]
    fn name_further(&self, policies: &[Arc<Policy>], action: &Action) -> Option<u32> {
        for step in 1..N_PROBES {
            let at = self.place(action, step)?;
            if self.is_name(at, policies, action) {
                return Some(at);
            }
        }
        None
    }

    /// Returns the node that stands where the name may stand after `step` steps.
    #[inline]
    fn place(&self, action: &Action, step: usize) -> Option<u32> {
        // INVARIANT: the number of places is a power of two; `build` holds it.
        let mask = self.table.len().wrapping_sub(1);
        let at = place_of(action.fingerprint()).wrapping_add(step) & mask;
        self.table.get(at)?.checked_sub(1)
    }

    #[inline]
    fn is_name(&self, at: u32, policies: &[Arc<Policy>], action: &Action) -> bool {
        let Some(node) = self.nodes.get(at as usize) else {
            return false;
        };
        node.fingerprint == (action.fingerprint() >> 32) as u32
            && is_same(node.text(policies), action.as_str().as_bytes())
    }

    /// Returns the node of the longest beginning of `text`, or [`NONE`].
    #[inline(never)]
    pub(super) fn beginning_of(&self, policies: &[Arc<Policy>], text: &[u8]) -> u32 {
        let n_names = self.nodes.len() - self.heads.len();
        let head = head_of(text);
        let (mut low, mut high) = (0, self.heads.len());
        while low < high {
            let middle = low.midpoint(high);
            let is_up_to = match self.heads.get(middle) {
                Some(ours) if *ours == head => {
                    let node = self.nodes.get(n_names + middle);
                    node.is_some_and(|node| node.text(policies) <= text)
                }
                Some(ours) => *ours < head,
                None => false,
            };
            if is_up_to {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        // The longest beginning is the last text that does not come after `text`, or one of that text's parents.
        let last = low.checked_sub(1);
        let mut at = last.map_or(NONE, |last| u32::try_from(n_names + last).unwrap_or(NONE));
        while let Some(node) = self.nodes.get(at as usize) {
            if text.starts_with(node.text(policies)) {
                break;
            }
            at = node.above().parent();
        }
        at
    }

    /// Finds what stands above a name.
    #[cold]
    fn find_above(&self, policies: &[Arc<Policy>], node: &Node) -> Above {
        let parent = self.beginning_of(policies, node.text(policies));
        let above = self.nodes.get(parent as usize).map(Node::above);
        let [n_denies, _] = node.n;
        let has_denies = n_denies > 0 || above.is_some_and(Above::has_denies);
        let above = Above::new(parent, has_denies);
        node.above.store(above.0, Ordering::Relaxed);
        above
    }

    /// Returns what stands above a node.
    #[inline]
    pub(super) fn above(&self, policies: &[Arc<Policy>], node: &Node) -> Above {
        let above = node.above();
        if above.0 == Above::UNKNOWN.0 {
            return self.find_above(policies, node);
        }
        above
    }

    /// Returns what the node has besides, if it is one of the crowds.
    pub(super) fn crowd(&self, node: u32) -> Option<&Crowd> {
        let at = self.crowds.binary_search_by_key(&node, |crowd| crowd.node);
        self.crowds.get(at.ok()?)
    }

    /// Returns the candidates of a node with several. Every node has them.
    #[inline]
    pub(super) fn several(&self, at: u32, node: &Node, effect: Effect) -> Option<&[Listed]> {
        let first = node.candidates.position();
        let (n_denies, n_allows) = match node.n {
            [u16::MAX, _] | [_, u16::MAX] => {
                let [n_denies, n_allows] = self.crowd(at)?.n;
                (n_denies as usize, n_allows as usize)
            }
            [n_denies, n_allows] => (n_denies.into(), n_allows.into()),
        };
        let range = match effect {
            Effect::Deny => first..first + n_denies,
            Effect::Allow => first + n_denies..first + n_denies + n_allows,
        };
        self.listed.get(range)
    }

    /// Returns the same trie after a fault, for tests: the lists of its nodes are lost.
    #[cfg(test)]
    pub(super) fn without_lists(self) -> Self {
        Self {
            listed: Box::default(),
            ..self
        }
    }

    /// Returns about how much memory it takes besides the rows, in bytes.
    pub fn n_bytes(&self) -> usize {
        let crowds = self.crowds.iter().map(|crowd| {
            let filters = crowd.filters.get().into_iter().flatten().flatten();
            let demand = crowd.demand.get();
            filters.map(Filter::n_bytes).sum::<usize>() + demand.map_or(0, Demand::n_bytes)
        });
        size_of::<Self>()
            + size_of_val(&*self.table)
            + size_of_val(&*self.nodes)
            + size_of_val(&*self.heads)
            + size_of_val(&*self.listed)
            + size_of_val(&*self.crowds)
            + crowds.sum::<usize>()
    }
}

impl fmt::Debug for Trie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Trie");
        let debug = debug.field("n_nodes", &self.nodes.len());
        debug.finish_non_exhaustive()
    }
}

/// Returns where the search for a fingerprint begins, before it is cut to the size of the table.
#[inline]
fn place_of(fingerprint: u64) -> usize {
    fingerprint as usize
}

/// Returns the first eight bytes of a text as a number, which orders texts as their bytes do.
#[inline]
fn head_of(text: &[u8]) -> u64 {
    if let Some(head) = text.first_chunk() {
        return u64::from_be_bytes(*head);
    }
    let mut head = [0; 8];
    head.iter_mut().zip(text).for_each(|(to, byte)| *to = *byte);
    u64::from_be_bytes(head)
}
