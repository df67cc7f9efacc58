//! Checks that a decision allocates nothing on the heap once its index exists, for any question.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use allocation_counter::measure;
use iamd::compile::path::Path;
use iamd::compile::policy_set::PolicySet;
use iamd::compile::snapshot::{Origin, OwnRows, Policy};
use iamd::engine::authorize;
use iamd::language::document::{Effect, PolicyType};
use iamd::language::parse;
use iamd::language::report::Base;
use iamd::name::{Action, Resource};

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
        rows: OwnRows::default(),
    })
}

/// The memory of a trie, as it is reported, is close to what it really takes.
#[test]
fn the_memory_of_a_trie_is_counted() {
    let resources = [
        "order/1234567{n}",
        "order/{n}/*",
        "*/item-{n}",
        "*",
        "order/*/line-{n}/*",
    ];
    for (resource, action) in resources
        .into_iter()
        .flat_map(|resource| ["a:*", "a:b{n}"].map(|action| (resource, action)))
    {
        let statement = |n: usize| {
            let n = n.to_string();
            let (resource, action) = (resource.replace("{n}", &n), action.replace("{n}", &n));
            format!(
                r#"{{"Effect":"Allow","Action":"{action}","Resource":"arn:app:orders:::{resource}","Condition":{{"StringEquals":{{"app:k{n}":"v"}}}}}}"#
            )
        };
        let statements: Vec<String> = (0..100).map(statement).collect();
        let policy = policy(&statements);
        let rows = measure(|| _ = policy.rows());
        let set = PolicySet::new(vec![Arc::clone(&policy)]);
        let actions = (0..40).map(|n| Action::parse(&format!("a:b{n}")).unwrap());
        let actions: Vec<Action> = actions.collect();
        let arn = Resource::parse("arn:app:orders:::order/1").unwrap();
        let taken = measure(|| {
            for action in actions.iter().chain(&actions) {
                let path = Path::of(&set, action).unwrap();
                let walk = path.walk(Effect::Allow);
                for candidates in walk {
                    walk.each(candidates, &arn, |_| ControlFlow::Continue(()));
                }
            }
        });
        let trie = set.trie().unwrap();
        for (counted, taken) in [
            (policy.rows().n_bytes(), rows.bytes_current),
            (trie.n_bytes(), taken.bytes_current),
        ] {
            let counted = counted as i64;
            assert!(
                counted * 3 > taken * 2 && taken * 3 > counted * 2,
                "{action} {resource}: {taken} bytes, counted as {counted}"
            );
        }
    }
}

/// M-23: names that no policy knows take no memory, however many a client asks for.
#[test]
fn unknown_names_take_no_memory() {
    let statements = ["a:b", "a:c*", "a:*d", "e:*", "*"].map(|action| {
        format!(
            r#"{{"Effect":"Allow","Action":"{action}","Resource":"arn:app:orders:::{action}"}}"#
        )
    });
    let set = PolicySet::new(vec![policy(&statements)]);
    let action = |name: String| Action::parse(&name).unwrap();
    let actions: Vec<Action> = (0..10_000)
        .map(|n| {
            action(format!(
                "{}:{}{n}",
                ["a", "e", "f"][n % 3],
                ["c", "x"][n % 2]
            ))
        })
        .collect();
    let visit = |action: &Action| {
        let mut n_found = 0;
        let walk = Path::of(&set, action).unwrap().walk(Effect::Allow);
        for candidates in walk {
            walk.each(candidates, &Resource::Any, |_| {
                n_found += 1;
                ControlFlow::Continue(())
            });
        }
        n_found
    };
    assert_eq!(visit(&action("a:b".to_owned())), 3, "`a:b`, `a:*d` and `*`");
    let taken = measure(|| {
        for action in &actions {
            assert!(visit(action) > 0, "at the root");
        }
    });
    assert_eq!(taken.count_total, 0, "M-23");
}
