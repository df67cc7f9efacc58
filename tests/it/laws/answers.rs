//! All ways to answer give the same answer, no matter what was asked before.

use std::collections::BTreeSet;

use iamd::analysis::simulate::evaluate;
use iamd::compile::snapshot::Snapshot;
use iamd::context::{ContextKey, KeyKind};
use iamd::engine::decision::Decision;
use iamd::engine::explain::{Redacted, explain};
use iamd::engine::question::Overrides;
use iamd::engine::request::Request;
use iamd::engine::work::Work;
use jiff::Timestamp;

use super::{Case, ask, asked_of, each_world, load, name};
use crate::oracle::question::Question;
use crate::oracle::{self, Answer, Name};

/// S-1, C-12, I-6: the explanation decides as the plain question does. S-3: the deciding statements are all those that
/// the oracle finds.
#[test]
fn an_explanation_decides_as_the_plain_question_does() {
    each_world(|case, _| {
        let mut n_explained = 0;
        for question in case.questions() {
            let Ok(plain) = ask(&case.snapshot, &question) else {
                continue;
            };
            n_explained += 1;
            let request = Request::parse(&asked_of(&question), at(&question)).unwrap();
            let (decision, explained) =
                explain(&case.snapshot, &request, &Redacted::default()).unwrap();
            assert_eq!(told(&decision), told(&plain), "{question:?}");
            let deciding: BTreeSet<Name> = explained
                .deciding()
                .map(|statement| name(statement.source.statement.clone()))
                .collect();
            let Answer::Decided(expected) = oracle::answer(&case.store, &question) else {
                panic!("refused: {question:?}");
            };
            for statement in expected.determining.iter().flatten() {
                assert!(
                    deciding.contains(statement),
                    "world {}: {statement:?} is not among {deciding:?} of {question:?}",
                    case.seed
                );
            }
            assert_eq!(
                explained.to_allow.is_empty(),
                plain.is_allowed(),
                "{question:?}"
            );
        }
        assert!(n_explained > 20, "{n_explained} are explained");
    });
}

/// A simulation without policies or keys of its own gives the answer of the question itself.
#[test]
fn a_simulation_that_overrides_nothing_is_the_question() {
    each_world(|case, _| {
        let mut n_simulated = 0;
        for question in case.questions() {
            let Ok(plain) = ask(&case.snapshot, &question) else {
                continue; // a simulation takes some of what `Authorize` refuses (K-1)
            };
            if question.context.iter().any(|(key, _)| overrides(key)) {
                continue;
            }
            let asked = asked_of(&question);
            let request = Request::simulate(&asked, &Overrides::default(), at(&question)).unwrap();
            let simulated = evaluate(&case.snapshot, &request, usize::MAX, &Work::ample()).unwrap();
            assert_eq!(told(&simulated.decision), told(&plain), "{question:?}");
            n_simulated += 1;
        }
        assert!(n_simulated > 20, "{n_simulated} are simulated");
    });
}

/// I-6, K-45: data kept from earlier questions changes no answer and no statement that it names.
#[test]
fn what_was_asked_before_changes_nothing() {
    each_world(|case, random| {
        let questions: Vec<Question> = case.questions().collect();
        let all = |snapshot: &Snapshot| -> Vec<_> {
            let answers = questions.iter().map(|question| ask(snapshot, question));
            answers
                .map(|answer| answer.map(|decision| told(&decision)))
                .collect()
        };
        let expected = all(&case.snapshot);
        let mut order: Vec<usize> = (0..questions.len()).chain(0..questions.len()).collect();
        random.shuffle(&mut order);
        let mut snapshot = load(&case.world.texts());
        for (n_asked, index) in order.into_iter().enumerate() {
            if n_asked % 25 == 0 {
                snapshot = load(&case.world.texts());
            }
            let answer = ask(&snapshot, &questions[index]).map(|decision| told(&decision));
            assert_eq!(answer, expected[index], "{:?}", questions[index]);
        }
        assert_eq!(all(&case.snapshot), expected, "world {}", case.seed);
    });
}

fn at(question: &Question) -> Timestamp {
    Timestamp::from_second(question.at).unwrap()
}

/// Returns the answer as a caller gets it.
fn told(decision: &Decision) -> (&'static str, Vec<Name>) {
    let statements = decision.determining().iter().map(name).collect();
    (decision.reason().label(), statements)
}

/// Returns whether a simulation takes this key as given, where `Authorize` uses the store or another key.
fn overrides(key: &str) -> bool {
    matches!(
        ContextKey::new(key).kind(),
        KeyKind::ResourceTag | KeyKind::TagKeys | KeyKind::CalledViaFirst | KeyKind::CalledViaLast
    )
}

/// A law over worlds shows nothing if all its worlds are the same.
#[test]
fn worlds_differ() {
    let files: BTreeSet<String> = (0..8)
        .map(|seed| format!("{:?}", Case::of_seed(seed).world.files))
        .collect();
    assert_eq!(files.len(), 8);
}
