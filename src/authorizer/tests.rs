#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::sync::Mutex;

use super::*;
use crate::engine::work::wanted;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// Returns an authorizer for an account whose root user may do anything.
fn authorizer() -> Authorizer {
    let account = r#"{"AccountId": "111111111111", "RootUserEnabled": true}"#;
    let Ok(loaded) = crate::store::load_texts([("account.json", account)]) else {
        panic!("the store loads");
    };
    Authorizer::of(loaded.snapshot)
}

fn question<'b>() -> Question<'b> {
    Question {
        principal: "arn:aws:iam::111111111111:root",
        action: "orders:Get",
        resource: "*",
        request_id: "7",
        ..Question::default()
    }
}

/// An observer that keeps a note of every outcome.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Observer for Notes {
    fn hear(&self, outcome: &Outcome<'_>) {
        let answer = match &outcome.answer {
            Ok(decision) => decision.reason().label().to_owned(),
            Err(refusal) => format!("{:?} {}", refusal.kind, refusal.field),
        };
        let note = format!("{} {answer}", outcome.question.request_id);
        self.0.lock().unwrap().push(note);
    }
}

#[test]
fn an_observer_hears_of_decisions_and_refusals_and_of_nothing_that_grants_nothing() {
    let notes = Notes::default();
    let authorizer = authorizer().observed_by(notes.clone());
    let malformed = Question {
        action: "",
        request_id: "8",
        ..question()
    };
    authorizer.authorize(&question(), NOW);
    authorizer.authorize(&malformed, NOW);
    authorizer.explain(&question(), NOW, &wanted()).unwrap();
    let simulation = Simulation {
        question: question(),
        ..Simulation::default()
    };
    authorizer.simulate(&simulation, NOW, &wanted()).unwrap();
    let heard = notes.0.lock().unwrap();
    assert_eq!(*heard, ["7 ALLOW_ROOT", "8 Malformed action"]);
}

#[test]
fn an_outcome_says_what_was_asked_and_by_which_revision_it_is_answered() {
    let authorizer = authorizer();
    let question = question();
    let outcome = authorizer.authorize(&question, NOW);
    let answer = outcome.to_answer().unwrap();
    assert!(answer.is_allowed);
    assert_eq!((answer.request_id.as_str(), outcome.at), ("7", NOW));
    assert_eq!(answer.revision.len(), 32);
    assert_eq!(answer.revision, outcome.revision());
}

/// Questions that are decided by one generation see its revision, whatever is loaded meanwhile, and each is heard.
#[test]
fn several_questions_are_decided_by_one_generation() {
    let notes = Notes::default();
    let authorizer = authorizer().observed_by(notes.clone());
    let generation = authorizer.in_force().unwrap();
    let question = question();
    let before = authorizer.authorize(&question, NOW).revision().to_owned();
    let without_root = r#"{"AccountId": "111111111111"}"#;
    let Ok(loaded) = crate::store::load_texts([("account.json", without_root)]) else {
        panic!("the store loads");
    };
    authorizer.live.publish(loaded.snapshot);
    let by_old = authorizer.authorize_by(&generation, &question, NOW);
    assert_eq!(by_old.revision(), before);
    assert!(by_old.to_answer().unwrap().is_allowed);
    let by_new = authorizer.authorize(&question, NOW);
    assert_ne!(by_new.revision(), before);
    assert!(!by_new.to_answer().unwrap().is_allowed);
    assert_eq!(notes.0.lock().unwrap().len(), 3);
}

#[test]
fn without_a_store_there_is_no_answer() {
    let authorizer = Authorizer {
        live: Arc::new(Live::default()),
        ..authorizer()
    };
    let kind = |refusal: Refusal| refusal.kind;
    let question = question();
    let outcome = authorizer.authorize(&question, NOW);
    assert_eq!(outcome.revision(), "");
    assert_eq!(
        outcome.to_answer().map_err(kind),
        Err(RefusalKind::NotReady)
    );
    let explained = authorizer.explain(&question, NOW, &wanted());
    assert_eq!(explained.err().map(kind), Some(RefusalKind::NotReady));
    let simulation = Simulation {
        question,
        ..Simulation::default()
    };
    let simulated = authorizer.simulate(&simulation, NOW, &wanted());
    assert_eq!(simulated.err().map(kind), Some(RefusalKind::NotReady));
}

/// E-1: a fault during evaluation fails only that question. It gives no answer and does not end the server.
#[test]
fn a_panic_is_an_internal_error_of_the_question_alone() {
    let authorizer = authorizer();
    let simulation = Simulation {
        question: question(),
        ..Simulation::default()
    };
    let ask = |is_wanted: IsWanted| authorizer.simulate(&simulation, NOW, &is_wanted);
    assert!(ask(wanted()).unwrap().is_allowed);
    let refusal = ask(Arc::new(|| panic!("as a broken invariant would"))).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Internal);
    assert!(!refusal.message.contains("invariant"), "{refusal}");
    assert!(ask(wanted()).unwrap().is_allowed);
}

/// Every field that has a limit is tried with a value one over it.
///
/// The function is long because it is a table, with one question for each field.
#[test]
fn what_is_over_its_limit_is_too_large() {
    let limits = Limits::DEFAULT;
    let long = "x".repeat(limits.max_string_bytes + 1);
    let keys: Vec<String> = (0..=limits.max_context_entries)
        .map(|n| format!("app:{n}"))
        .collect();
    let entries = || -> Vec<(&str, Value<'_>)> {
        keys.iter().map(|key| (&**key, Value::Bool(true))).collect()
    };
    let values = || Value::List(vec![Value::Bool(true); limits.max_list_values + 1]);
    let texts = || vec!["x"; limits.max_list_values + 1];
    let facts = SessionFacts::default;
    let of_session = |facts| Question {
        session: Some(Box::new(facts)),
        ..question()
    };
    let of_context = |entry| Question {
        context: vec![entry],
        ..question()
    };
    let cases = [
        (
            Question {
                principal: &long,
                ..question()
            },
            "principal",
        ),
        (
            Question {
                action: &long,
                ..question()
            },
            "action",
        ),
        (
            Question {
                resource: &long,
                ..question()
            },
            "resource",
        ),
        (
            Question {
                resource_account: &long,
                ..question()
            },
            "resource_account",
        ),
        (
            Question {
                request_id: &long,
                ..question()
            },
            "request_id",
        ),
        (
            Question {
                context: entries(),
                ..question()
            },
            "context",
        ),
        (of_context((&*long, Value::Bool(true))), "context"),
        (of_context(("app:x", values())), r#"context["app:x"]"#),
        (
            of_context(("app:x", Value::Text(&long))),
            r#"context["app:x"]"#,
        ),
        (
            of_context(("app:x", Value::List(vec![Value::Text(&long)]))),
            r#"context["app:x"]"#,
        ),
        (
            of_session(SessionFacts {
                tags: keys.iter().map(|key| (&**key, "")).collect(),
                ..facts()
            }),
            "session.tags",
        ),
        (
            of_session(SessionFacts {
                tags: vec![("a\"b", &long)],
                ..facts()
            }),
            r#"session.tags["a\"b"]"#,
        ),
        (
            of_session(SessionFacts {
                policies: vec!["", &long],
                ..facts()
            }),
            "session.policies[1]",
        ),
        (
            of_session(SessionFacts {
                policies: texts(),
                ..facts()
            }),
            "session.policies",
        ),
        (
            of_session(SessionFacts {
                policy_arns: texts(),
                ..facts()
            }),
            "session.policy_arns",
        ),
        (
            of_session(SessionFacts {
                transitive_tag_keys: texts(),
                ..facts()
            }),
            "session.transitive_tag_keys",
        ),
        (
            of_session(SessionFacts {
                source_identity: &long,
                ..facts()
            }),
            "session.source_identity",
        ),
        (
            of_session(SessionFacts {
                federated_provider: &long,
                ..facts()
            }),
            "session.federated_provider",
        ),
        (
            of_session(SessionFacts {
                parent: &long,
                ..facts()
            }),
            "session.parent",
        ),
        (
            of_session(SessionFacts {
                claims: entries(),
                ..facts()
            }),
            "session.claims",
        ),
        (
            of_session(SessionFacts {
                attributes: vec![("ec2:RoleDelivery", values())],
                ..facts()
            }),
            r#"session.attributes["ec2:RoleDelivery"]"#,
        ),
    ];
    let authorizer = authorizer();
    for (question, field) in cases {
        let outcome = authorizer.authorize(&question, NOW);
        let refusal = outcome.answer.unwrap_err();
        assert_eq!(
            (refusal.kind, refusal.field.as_str()),
            (RefusalKind::TooLarge, field)
        );
        let explained = authorizer.explain(&question, NOW, &wanted());
        assert_eq!(explained.unwrap_err().field, field, "Explain");
    }
}
