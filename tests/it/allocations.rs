//! A decision takes nothing from the heap: not with an index at hand, whatever is asked.

use std::collections::BTreeMap;

use allocation_counter::measure;
use iamd::engine::authorize;

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
