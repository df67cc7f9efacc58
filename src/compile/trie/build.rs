//! Builds the trie of a set from the entries of its policies.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;

use super::load::Load;
use super::{
    Above, COSTLY, Candidate, Crowd, Listed, MAX_UNFILTERED, N_PROBES, NONE, Node, Trie, head_of,
    place_of,
};
use crate::compile::policy::Policy;
use crate::compile::rows::{Entry, Kind, Rows};
use crate::language::document::Effect;

/// A trie under construction.
///
/// PERF: a question waits for it, so what is done for each entry is little, and the lists of candidates are made only for
/// nodes that have several.
struct Build<'p> {
    policies: &'p [Arc<Policy>],
    table: Box<[u32]>,
    nodes: Vec<Node>,
    /// The candidates of nodes that have several, each node's in order.
    several: Vec<Several>,
    beginnings: Vec<Beginning>,
}

/// A candidate of a node with several.
struct Several {
    node: u32,
    effect: Effect,
    listed: Listed,
}

/// An entry that stands for all actions that begin with its text.
struct Beginning {
    head: u64,
    policy: u32,
    entry: Entry,
}

impl Trie {
    /// Builds the trie of a set with these policies.
    pub fn of(policies: &[Arc<Policy>]) -> Self {
        let entries = policies.iter().map(|policy| policy.rows().entries());
        let n_entries: usize = entries.map(<[Entry]>::len).sum();
        let mut build = Build {
            policies,
            table: vec![0; (2 * n_entries).next_power_of_two()].into(),
            nodes: Vec::with_capacity(n_entries),
            several: Vec::new(),
            beginnings: Vec::new(),
        };
        for (policy, rows) in (0u32..).zip(policies.iter().map(|policy| policy.rows())) {
            for entry in rows.entries() {
                build.add(policy, rows, entry);
            }
        }
        let heads = build.place_beginnings();
        let (listed, crowds) = build.list();
        build.note_denies(heads.len());
        let Build { table, nodes, .. } = build;
        Self {
            table,
            nodes: nodes.into(),
            listed,
            heads,
            crowds,
        }
    }
}

impl Build<'_> {
    #[inline]
    fn add(&mut self, policy: u32, rows: &Rows, entry: &Entry) {
        if entry.kind == Kind::Name
            && let Some(at) = self.node_of_name(policy, rows, entry)
        {
            return self.put(at, policy, entry, false);
        }
        // A name without a place in the table is checked for every action. The author of the policies must have asked
        // for that by choosing many names of one hash.
        let (n_bytes, kind) = match entry.kind {
            Kind::Name => (0, Kind::Checked),
            kind => (entry.n_bytes, kind),
        };
        self.beginnings.push(Beginning {
            head: head_of(rows.name(entry.at, n_bytes)),
            policy,
            entry: Entry {
                n_bytes,
                kind,
                ..*entry
            },
        });
    }

    /// Returns the node of a name, which is a new one for a new name. Returns `None` if there is no place for it.
    #[inline]
    fn node_of_name(&mut self, policy: u32, rows: &Rows, entry: &Entry) -> Option<u32> {
        let mask = self.table.len().wrapping_sub(1);
        let start = place_of(entry.fingerprint);
        for step in 0..N_PROBES {
            let place = self.table.get_mut(start.wrapping_add(step) & mask)?;
            let Some(at) = place.checked_sub(1) else {
                let at = u32::try_from(self.nodes.len()).ok()?;
                *place = at + 1;
                self.nodes.push(Node::new(policy, entry));
                return Some(at);
            };
            let node = self.nodes.get(at as usize)?;
            if node.fingerprint == (entry.fingerprint >> 32) as u32 {
                let other = self.policies.get(node.policy as usize)?;
                if other.rows().name(node.at, node.n_bytes) == rows.name(entry.at, entry.n_bytes) {
                    return Some(at);
                }
            }
        }
        None
    }

    /// Adds the statement of an entry to the candidates of the node `at`.
    #[inline]
    fn put(&mut self, at: u32, policy: u32, entry: &Entry, is_checked: bool) {
        let Some(node) = self.nodes.get_mut(at as usize) else {
            return;
        };
        // Every Deny is evaluated. Allows are evaluated up to the first that applies: on average, half of them.
        let cost = match entry.effect {
            Effect::Deny => entry.cost,
            Effect::Allow => entry.cost.div_ceil(2),
        };
        node.cost = node.cost.saturating_add(cost);
        let first = match node.n {
            [0, 0] => {
                node.candidates = Candidate::new(policy, entry.statement, 0, is_checked);
                *node.n_of(entry.effect) = 1;
                return;
            }
            [1, 0] => Some(Effect::Deny),
            [0, 1] => Some(Effect::Allow),
            _ => None,
        };
        // The first candidate moves from its node to the others. It is always tried.
        if let Some(effect) = first {
            self.several.push(Several {
                node: at,
                effect,
                listed: Listed::always(node.candidates),
            });
        }
        let n = node.n_of(entry.effect);
        *n = n.saturating_add(1);
        self.several.push(Several {
            node: at,
            effect: entry.effect,
            listed: Listed {
                candidate: Candidate::new(policy, entry.statement, entry.n_head, is_checked),
                head: entry.head,
            },
        });
    }

    fn name(&self, policy: u32, at: u32, n_bytes: u8) -> &[u8] {
        match self.policies.get(policy as usize) {
            Some(policy) => policy.rows().name(at, n_bytes),
            None => &[],
        }
    }

    /// Makes the nodes of the beginnings, sorted by their texts, each with its parent. Returns their first bytes.
    fn place_beginnings(&mut self) -> Box<[u64]> {
        let mut beginnings = std::mem::take(&mut self.beginnings);
        let text_of = |one: &Beginning| self.name(one.policy, one.entry.at, one.entry.n_bytes);
        let compare = |a: &Beginning, b: &Beginning| match a.head.cmp(&b.head) {
            Ordering::Equal => text_of(a).cmp(text_of(b)),
            different => different,
        };
        beginnings.sort_by(compare);
        let mut heads = Vec::new();
        // The nodes whose texts the next text may begin with: each text is a beginning of the one after it.
        let mut open: Vec<(u32, u32, u32, u8)> = Vec::new();
        for one in &beginnings {
            let (policy, entry) = (one.policy, &one.entry);
            let text = self.name(policy, entry.at, entry.n_bytes);
            let is_beginning = |(_, policy, at, n_bytes): &(u32, u32, u32, u8)| {
                text.starts_with(self.name(*policy, *at, *n_bytes))
            };
            while open.last().is_some_and(|last| !is_beginning(last)) {
                open.pop();
            }
            let at = match open.last() {
                Some((at, _, _, n_bytes)) if *n_bytes == entry.n_bytes => *at,
                parent => {
                    let parent = parent.map_or(NONE, |(at, ..)| *at);
                    let Ok(at) = u32::try_from(self.nodes.len()) else {
                        continue;
                    };
                    let mut node = Node::new(policy, entry);
                    *node.above.get_mut() = Above::new(parent, false).0;
                    self.nodes.push(node);
                    heads.push(one.head);
                    open.push((at, policy, entry.at, entry.n_bytes));
                    at
                }
            };
            self.put(at, policy, entry, entry.kind == Kind::Checked);
        }
        heads.into()
    }

    /// Puts the candidates of nodes with several in their order, and finds the crowds.
    fn list(&mut self) -> (Box<[Listed]>, Box<[Crowd]>) {
        // For each node, the numbers of its candidates and then where the next of them goes, by effect.
        let mut next = vec![[0u32; 2]; self.nodes.len()];
        for one in &self.several {
            if let Some([denies, allows]) = next.get_mut(one.node as usize) {
                match one.effect {
                    Effect::Deny => *denies += 1,
                    Effect::Allow => *allows += 1,
                }
            }
        }
        let mut crowds = Vec::new();
        let mut n_listed = 0;
        for (at, (node, next)) in (0u32..).zip(self.nodes.iter_mut().zip(&mut next)) {
            let n = *next;
            let [n_denies, n_allows] = n;
            if n_denies + n_allows > 0 {
                node.candidates = Candidate::from_position(n_listed);
                *next = [n_listed, n_listed + n_denies];
                n_listed += n_denies + n_allows;
            }
            let is_large = n_denies.max(n_allows) as usize > MAX_UNFILTERED;
            if is_large || node.cost >= COSTLY {
                crowds.push(Crowd {
                    node: at,
                    n,
                    n_visits: AtomicU32::new(0),
                    filters: OnceLock::new(),
                    demand: OnceLock::new(),
                });
            }
        }
        let mut listed = vec![Listed::LOST; n_listed as usize];
        for one in &self.several {
            let Some([denies, allows]) = next.get_mut(one.node as usize) else {
                continue;
            };
            let to = match one.effect {
                Effect::Deny => denies,
                Effect::Allow => allows,
            };
            if let Some(place) = listed.get_mut(*to as usize) {
                *place = one.listed;
            }
            *to += 1;
        }
        self.model_large(&listed, &crowds);
        (listed.into(), crowds.into())
    }

    /// Corrects the costs of nodes with so many candidates that they have a filter.
    fn model_large(&mut self, listed: &[Listed], crowds: &[Crowd]) {
        for crowd in crowds {
            let Some(node) = self.nodes.get_mut(crowd.node as usize) else {
                continue;
            };
            let first = node.candidates.position();
            let [n_denies, n_allows] = crowd.n.map(|n| n as usize);
            if n_denies.max(n_allows) <= MAX_UNFILTERED {
                continue;
            }
            let load = |range| {
                let some: &[Listed] = listed.get(range).unwrap_or_default();
                let mut load = Load::default();
                for one in some {
                    let (policy, statement) = (one.candidate.policy(), one.candidate.statement());
                    if let Some(policy) = self.policies.get(policy as usize) {
                        let (cost, is_filterable) = policy.rows().cost(statement);
                        load.add(cost, is_filterable);
                    }
                }
                load.cost()
            };
            let denies = load(first..first + n_denies);
            let allows = load(first + n_denies..first + n_denies + n_allows);
            let cost = denies.saturating_add(allows.div_ceil(2));
            node.cost = u16::try_from(cost).unwrap_or(u16::MAX);
        }
    }

    /// Notes at each of the beginnings, which are the last nodes, whether it or one above it has denying candidates.
    fn note_denies(&mut self, n_beginnings: usize) {
        let n_names = self.nodes.len() - n_beginnings;
        for at in n_names..self.nodes.len() {
            let Some(node) = self.nodes.get(at) else {
                continue;
            };
            let parent = node.above().parent();
            // A parent comes before its children.
            let above = self.nodes.get(parent as usize).map(Node::above);
            let [n_denies, _] = node.n;
            let has_denies = n_denies > 0 || above.is_some_and(Above::has_denies);
            if let Some(node) = self.nodes.get_mut(at) {
                *node.above.get_mut() = Above::new(parent, has_denies).0;
            }
        }
    }
}

impl Node {
    /// Returns a node without candidates, whose text is that of `entry`.
    fn new(policy: u32, entry: &Entry) -> Self {
        Self {
            candidates: Candidate::LOST,
            n: [0; 2],
            fingerprint: (entry.fingerprint >> 32) as u32,
            above: AtomicU32::new(Above::UNKNOWN.0),
            policy,
            at: entry.at,
            cost: 0,
            n_bytes: entry.n_bytes,
        }
    }

    fn n_of(&mut self, effect: Effect) -> &mut u16 {
        let [denies, allows] = &mut self.n;
        match effect {
            Effect::Deny => denies,
            Effect::Allow => allows,
        }
    }
}
