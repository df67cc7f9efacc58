//! With indexes, every question has the same answer by the same statements as without them.

use std::ops::ControlFlow;
use std::sync::Arc;

use iamd::compile::path::Path;
use iamd::compile::policy_set::PolicySet;
use iamd::compile::rows::Ends;
use iamd::compile::snapshot::Snapshot;
use iamd::engine::decision::{Decision, StatementRef};
use iamd::engine::facts::Facts;
use iamd::engine::live::Live;
use iamd::engine::request::Request;
use iamd::engine::trace::{Outcome, Trace};
use iamd::engine::{authorize, authorize_by_scan, authorize_with};
use iamd::state::SharedState;
use iamd::store::Loader;
use iamd::store::watch::Watcher;

use crate::laws::{Case, each_world, load_world, to_request};
use crate::support::{allow, eventually, revision, store_allowing, user, write_by_rename};
use crate::worlds::{self, Random};

/// The determining statements, by identity.
fn settled_by(decision: &Decision) -> Vec<(usize, usize)> {
    let place = |by: &StatementRef| (Arc::as_ptr(&by.policy).addr(), by.index);
    decision.determining().iter().map(place).collect()
}

/// Returns the world with so many statements that they are filtered by resource.
fn widened(case: &Case, random: &mut Random) -> Snapshot {
    let mut world = case.world.clone();
    worlds::widen(&mut world, random, 60);
    load_world(&world.files)
}

/// Asks by scanning, with a new index, and with the filters of nodes that were visited often.
#[test]
fn an_index_changes_no_answer() {
    let mut n_tries = 0;
    each_world(|case, random| {
        let wide = widened(case, random);
        for (snapshot, question) in [&case.snapshot, &wide]
            .into_iter()
            .flat_map(|s| case.questions().map(move |q| (s, q)))
        {
            let Ok(request) = to_request(&question) else {
                continue;
            };
            let Ok(scanned) = authorize_by_scan(snapshot, &request) else {
                continue;
            };
            for _ in 0..10 {
                let decision = authorize(snapshot, &request).unwrap();
                assert_eq!(decision.reason(), scanned.reason(), "{question:?}");
                assert_eq!(settled_by(&decision), settled_by(&scanned), "{question:?}");
            }
        }
        n_tries += wide.sets().filter(|set| set.trie().is_some()).count();
    });
    assert!(n_tries > 0, "no index was made");
}

/// The first question to a set does not wait for its index, neither at first nor after a change.
#[tokio::test]
async fn a_small_store_has_its_indexes_before_anybody_asks() {
    let store = store_allowing("orders:Get");
    let live = Arc::new(Live::default());
    let mut loader = Loader::new();
    let loaded = loader.load(store.path()).unwrap();
    let state = Arc::new(SharedState::default());
    let root = store.path().to_owned();
    let _watcher = Watcher::start(root, Arc::clone(&live), state, loader, loaded).unwrap();
    for action in ["orders:Get", "orders:Refund"] {
        write_by_rename(store.path(), "users/ann.json", &user("ann", &allow(action)));
        let wanted = revision(store_allowing(action).path());
        eventually("an index for every set", async || {
            let generation = live.load_full()?;
            let snapshot = &generation.snapshot;
            let is_ready = snapshot.sets().all(|set| set.trie().is_some());
            let has_set = snapshot.sets().next().is_some();
            (snapshot.revision.as_str() == wanted && has_set && is_ready).then_some(())
        })
        .await;
    }
}

/// M-23: a statement that an index leaves out does not apply.
#[test]
fn an_index_leaves_out_nothing_that_applies() {
    let mut n_passed = 0;
    each_world(|case, random| {
        let wide = widened(case, random);
        for question in case.questions() {
            let Ok(request) = to_request(&question) else {
                continue;
            };
            let mut applying = Applying::default();
            if authorize_with(&wide, &request, &mut applying).is_err() {
                continue;
            }
            for by in &applying.0 {
                let with_it = wide.sets().filter(|set| holds(set, by));
                for set in with_it {
                    assert!(
                        passes(set, by, &request),
                        "M-23: {} {question:?}",
                        by.policy.name
                    );
                    n_passed += 1;
                }
            }
        }
    });
    assert!(n_passed > 100, "{n_passed} statements applied");
}

#[derive(Default)]
struct Applying(Vec<StatementRef>);

impl Trace for Applying {
    const LISTENS: bool = true;

    fn statement(&mut self, _: &Facts<'_>, by: &StatementRef, outcome: Outcome) {
        if matches!(outcome, Outcome::Applies(_)) {
            self.0.push(by.clone());
        }
    }
}

fn holds(set: &PolicySet, by: &StatementRef) -> bool {
    set.policies()
        .iter()
        .any(|policy| Arc::ptr_eq(policy, &by.policy))
}

/// Returns whether the index of `set` gives the statement for this question.
fn passes(set: &PolicySet, by: &StatementRef, request: &Request) -> bool {
    let Some(path) = Path::of(set, &request.action) else {
        panic!("no index for {}", request.action.as_str());
    };
    let effect = by.policy.statements[by.index].effect;
    let mut is_found = false;
    let walk = path.walk(effect);
    for candidates in walk {
        walk.each(candidates, &request.resource, |candidate| {
            if let Some((policy, _)) = path.statement(candidate)
                && Arc::ptr_eq(policy, &by.policy)
                && candidate.statement() as usize == by.index
            {
                let ends = Ends::of(&request.resource);
                is_found = walk.look(candidate, &request.resource, &ends).is_some();
            }
            ControlFlow::Continue(())
        });
    }
    is_found
}
