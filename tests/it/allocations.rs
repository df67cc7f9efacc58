//! Checks that a decision allocates nothing on the heap once its index exists, for any question.

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

/// Asks every question of some worlds four times. The fourth answer allocates nothing.
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

fn policy(statements: &[String]) -> Arc<Policy> {
    let text = format!(
        r#"{{"Version":"2012-10-17","Statement":[{}]}}"#,
        statements.join(",")
    );
    let (document, findings) =
        parse::parse(&text, PolicyType::Identity, Base::File("large".into()));
    let document = document.unwrap_or_else(|| panic!("{findings:?}"));
    Arc::new(Policy {
        name: "large".into(),
        policy_type: PolicyType::Identity,
        file: "large.json".into(),
        origin: Arc::new(Origin::of(&document)),
        statements: document.statements,
    })
}

/// The estimated memory of slices is close to what they really take. Otherwise the limit on their total would limit
/// nothing.
#[test]
fn the_memory_of_slices_is_counted_and_given_back() {
    let resources = [
        "order/1234567{n}",
        "order/{n}/*",
        "*/item-{n}",
        "*",
        "order/*/line-{n}/*",
    ];
    for resource in resources {
        let statement = |n: usize| {
            let resource = resource.replace("{n}", &n.to_string());
            format!(
                r#"{{"Effect":"Allow","Action":"a:*","Resource":"arn:app:orders:::{resource}","Condition":{{"StringEquals":{{"app:k{n}":"v"}}}}}}"#
            )
        };
        let statements: Vec<String> = (0..100).map(statement).collect();
        let budget = SliceBudget::of(usize::MAX);
        let set = PolicySet::new(vec![policy(&statements)], &budget);
        let actions = (0..40).map(|n| Action::parse(&format!("a:b{n}")).unwrap());
        let actions: Vec<Action> = actions.collect();
        let taken = measure(|| {
            for action in actions.iter().chain(&actions) {
                _ = set.slice(action);
            }
        });
        assert_eq!(set.n_slices(), actions.len());
        let (counted, taken) = (budget.used() as i64, taken.bytes_current);
        assert!(
            counted * 3 > taken * 2 && taken * 3 > counted * 2,
            "{resource}: {taken} bytes, counted as {counted}"
        );
        drop(set);
        assert_eq!(budget.used(), 0, "{resource}");
    }
}

/// A slice that does not fit into the memory limit is built once, and not again for every later question.
#[test]
fn a_slice_that_found_no_memory_is_not_built_again() {
    let statements: Vec<String> = (0..200)
        .map(|n| {
            format!(
                r#"{{"Effect":"Allow","Action":"a:b","Resource":"arn:app:orders:::order/{n}/*"}}"#
            )
        })
        .collect();
    let policy = policy(&statements);
    let budget = SliceBudget::of(2_048);
    let set = PolicySet::new(vec![policy], &budget);
    let action = Action::parse("a:b").unwrap();
    for _ in 0..2 {
        assert!(set.slice(&action).is_none(), "M-23: no memory for it");
    }
    let taken = measure(|| assert!(set.slice(&action).is_none()));
    assert_eq!(taken.count_total, 0, "built again");
    assert!(budget.used() <= 2_048);
}
