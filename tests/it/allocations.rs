//! A decision takes nothing from the heap: not with an index at hand, whatever is asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use allocation_counter::measure;
use iamd::compile::policy_set::{PolicySet, SliceBudget};
use iamd::compile::snapshot::{Origin, Policy};
use iamd::engine::authorize;
use iamd::language::document::PolicyType;
use iamd::language::parse;
use iamd::language::report::Base;
use iamd::name::Action;

use crate::laws::{each_world, to_request};

/// Every question of some worlds, asked before: the fourth answer allocates nothing.
#[test]
fn a_decision_with_an_index_allocates_nothing() {
    let mut n_measured = 0u64;
    let mut allocating: BTreeMap<String, u64> = BTreeMap::new();
    each_world(|case, _| {
        for question in case.questions() {
            let Ok(request) = to_request(&question) else {
                continue;
            };
            for _ in 0..3 {
                _ = authorize(&case.snapshot, &request);
            }
            let mut answer = None;
            let taken = measure(|| answer = Some(authorize(&case.snapshot, &request)));
            if answer.is_some_and(|answer| answer.is_ok()) {
                n_measured += 1;
                if taken.count_total > 0 {
                    *allocating.entry(format!("{question:?}")).or_default() += taken.count_total;
                }
            }
        }
    });
    assert!(n_measured > 300, "{n_measured} questions were decided");
    assert!(
        allocating.is_empty(),
        "{} of {n_measured} decisions allocate, among them {:#?}",
        allocating.len(),
        allocating.iter().take(3).collect::<Vec<_>>()
    );
}

/// A slice for which there is no memory is built once, not for every question that comes after.
#[test]
fn a_slice_that_found_no_memory_is_not_built_again() {
    let statements: Vec<String> = (0..200)
        .map(|n| {
            format!(
                r#"{{"Effect":"Allow","Action":"a:b","Resource":"arn:app:orders:::order/{n}/*"}}"#
            )
        })
        .collect();
    let text = format!(
        r#"{{"Version":"2012-10-17","Statement":[{}]}}"#,
        statements.join(",")
    );
    let (document, findings) =
        parse::parse(&text, PolicyType::Identity, Base::File("large".into()));
    let document = document.unwrap_or_else(|| panic!("{findings:?}"));
    let policy = Policy {
        name: "large".into(),
        policy_type: PolicyType::Identity,
        file: "large.json".into(),
        origin: Arc::new(Origin::of(&document)),
        statements: document.statements,
    };
    let budget = SliceBudget::of(2_048);
    let set = PolicySet::new(vec![Arc::new(policy)], &budget);
    let action = Action::parse("a:b").unwrap();
    for _ in 0..2 {
        assert!(set.slice(&action).is_none(), "M-23: no memory for it");
    }
    let taken = measure(|| assert!(set.slice(&action).is_none()));
    assert_eq!(taken.count_total, 0, "built again");
    assert!(budget.used() <= 2_048);
}
