//! With indexes, every question has the same answer by the same statements as without them.

use std::ops::ControlFlow;

use iamd::compile::policy_set::PolicySet;
use iamd::compile::section::Ends;
use iamd::compile::snapshot::Snapshot;
use iamd::engine::decision::{Decision, StatementRef};
use iamd::engine::facts::Facts;
use iamd::engine::request::Request;
use iamd::engine::trace::{Outcome, Trace};
use iamd::engine::{authorize, authorize_by_scan, authorize_with};
use iamd::language::document::Effect;

use crate::laws::{Case, each_world, load_world, to_request};
use crate::worlds::{self, Random};

/// The determining statements, by identity.
fn settled_by(decision: &Decision) -> Vec<(usize, usize)> {
    let place = |by: &StatementRef| (std::sync::Arc::as_ptr(&by.policy).addr(), by.index);
    decision.determining().iter().map(place).collect()
}

/// Returns the world with so many statements that they are filtered by resource.
fn widened(case: &Case, random: &mut Random) -> Snapshot {
    let mut world = case.world.clone();
    worlds::widen(&mut world, random, 60);
    load_world(&world.files)
}

/// Asks by scanning, before there is an index, and with it. The first two questions for an action build the index.
#[test]
fn an_index_changes_no_answer() {
    let mut n_sliced = 0;
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
            for _ in 0..3 {
                let decision = authorize(snapshot, &request).unwrap();
                assert_eq!(decision.reason(), scanned.reason(), "{question:?}");
                assert_eq!(settled_by(&decision), settled_by(&scanned), "{question:?}");
            }
        }
        n_sliced += wide.sets().filter(|set| set.n_slices() > 0).count();
    });
    assert!(n_sliced > 0, "no index was made");
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
        .any(|policy| std::sync::Arc::ptr_eq(policy, &by.policy))
}

/// Returns whether the index of `set` gives the statement for this question.
fn passes(set: &PolicySet, by: &StatementRef, request: &Request) -> bool {
    let action = &request.action;
    let Some(slice) = set.slice(action).or_else(|| set.slice(action)) else {
        panic!("no index for {}", action.as_str());
    };
    let section = match by.policy.statements[by.index].effect {
        Effect::Allow => &slice.allows,
        Effect::Deny => &slice.denies,
    };
    let ends = Ends::of(&request.resource);
    let found = section.visit(&request.resource, &ends, |found| {
        match found.candidate.of(set) {
            Some((policy, _))
                if std::sync::Arc::ptr_eq(policy, &by.policy)
                    && found.candidate.statement as usize == by.index =>
            {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    });
    found.is_break()
}
