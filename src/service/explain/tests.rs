#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use std::path::Path;
use std::sync::LazyLock;

use jiff::Timestamp;

use super::*;
use crate::authorizer::{Authorizer, Value};
use crate::engine::explain::MAX_NAMED;
use crate::engine::work::wanted;

static SHOP: LazyLock<Authorizer> = LazyLock::new(|| {
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    Authorizer::of(crate::store::load(&store).unwrap().snapshot)
});

fn ask(principal: &str, action: &str, resource: &str, context: &[(&str, &str)]) -> Explained {
    let context = context.iter().map(|(key, text)| (*key, Value::Text(text)));
    let question = Question {
        principal,
        action,
        resource,
        context: context.collect(),
        session: None,
        resource_account: "",
        request_id: "7",
    };
    let at: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    SHOP.explain(&question, at, &wanted()).unwrap()
}

/// Two accounts, both of which allow: levels, sides, strengths.
fn allowed() -> Explained {
    let courier = "arn:aws:sts::444455556666:assumed-role/delivery/van-7";
    let shipment = "arn:app:orders:::shipment/1";
    ask(courier, "orders:ConfirmDelivery", shipment, &[])
}

/// A condition that is not clear, missing keys, advice.
fn denied() -> Explained {
    let alice = "arn:aws:iam::111122223333:user/support/alice";
    let order = "arn:app:orders:::order/1001/1";
    ask(alice, "orders:Refund", order, &[("orders:amount", "lots")])
}

#[test]
fn a_message_is_read_as_what_was_explained() {
    let (allowed, denied) = (allowed(), denied());
    assert!(allowed.answer.is_allowed && allowed.explanation.cross_account.is_some());
    assert!(!denied.answer.is_allowed && !denied.explanation.indeterminate.is_empty());
    for here in [allowed, denied] {
        assert_eq!(explained(response(here.clone())), Ok(here));
    }
}

/// A statement is read as what it was, even if one of its lists is longer than a message can hold.
#[test]
fn of_many_statements_the_unnamed_are_read_as_what_they_were() {
    let all = allowed();
    let statements = &all.explanation.statements;
    let deciding = statements.iter().find(|one| one.is_deciding).unwrap();
    let other = statements.iter().find(|one| !one.is_deciding);
    let other = StatementResult {
        outcome: deciding.outcome,
        strength: deciding.strength,
        ..other.unwrap().clone()
    };
    for (n_deciding, n_others) in [(MAX_NAMED + 2, 3), (3, MAX_NAMED + 2), (0, 3)] {
        let mut many = all.clone();
        let deciding = std::iter::repeat_n(deciding, n_deciding);
        let others = std::iter::repeat_n(&other, n_others);
        many.explanation.statements = deciding.chain(others).cloned().collect();
        let sent = response(many.clone());
        assert_eq!(sent.deciding.len(), n_deciding.min(MAX_NAMED));
        assert_eq!(sent.also_applying.len(), n_others.min(MAX_NAMED));
        let read = explained(sent).unwrap();
        assert!(read == many, "{n_deciding} and {n_others}");
    }
}

/// Changes one thing in a message.
type Spoil<'s> = &'s dyn Fn(&mut pb::ExplainResponse);

/// The first condition of the first statement that has one.
fn a_condition(message: &mut pb::ExplainResponse) -> &mut pb::ConditionResult {
    let mut statements = message.statements.iter_mut();
    statements
        .find_map(|one| one.conditions.first_mut())
        .unwrap()
}

fn a_source(message: &mut pb::ExplainResponse) -> &mut pb::StatementSource {
    message.statements[0].source.as_mut().unwrap()
}

#[test]
fn what_this_version_does_not_know_is_no_explanation() {
    let message = response(denied());
    let (across, strange) = (response(allowed()), || "strange".to_owned());
    assert!(explained(message.clone()).is_ok() && explained(across.clone()).is_ok());
    let refused = |mut message: pb::ExplainResponse, spoil: Spoil<'_>, expected: &str| {
        spoil(&mut message);
        let unclear = explained(message).unwrap_err();
        assert!(unclear.contains(expected), "{expected}: {unclear}");
    };
    let words: &[(&str, Spoil<'_>)] = &[
        ("type", &|it| it.per_type[0].r#type = strange()),
        ("type", &|it| it.blocked_by.push(strange())),
        ("result", &|it| it.per_type[0].result = strange()),
        ("strength", &|it| it.per_type[0].strength = strange()),
        ("cause", &|it| it.indeterminate[0].cause = strange()),
        ("outcome", &|it| it.statements[0].outcome = strange()),
        ("strength", &|it| it.statements[0].strength = strange()),
        ("effect", &|it| a_source(it).effect = strange()),
        ("source_type", &|it| a_source(it).source_type = strange()),
        ("result", &|it| a_condition(it).result = strange()),
        ("cause", &|it| a_condition(it).indeterminate = strange()),
        ("element", &|it| {
            it.statements[0].action.as_mut().unwrap().element = strange();
        }),
    ];
    for (field, spoil) in words {
        let expected = format!("says `strange` in `{field}`");
        refused(message.clone(), spoil, &expected);
    }
    let of_resource = |it: &mut pb::ExplainResponse| {
        let mut types = it.per_type.iter_mut();
        let resource = types.find(|of| of.r#type == "resource").unwrap();
        resource.strength.clear();
    };
    let lacking: &[(&str, Spoil<'_>)] = &[
        ("neither allow nor deny", &|it| it.decision = 0),
        ("neither allow nor deny", &|it| it.decision = 77),
        ("lacks `evaluated_at`", &|it| it.evaluated_at = None),
        ("lacks `strength`", &of_resource),
        ("lacks `source`", &|it| it.statements[0].source = None),
        ("lacks `action`", &|it| it.statements[0].action = None),
        ("lacks `type`", &|it| a_source(it).r#type = 77),
        ("lacks `statements`", &|it| it.statements.clear()),
        ("says `strange` in `result`", &|it| {
            it.cross_account.as_mut().unwrap().resource_side = strange();
        }),
        ("lacks `strength`", &|it| {
            let mut statements = it.statements.iter_mut();
            let applies = statements.find(|one| one.outcome == "applies");
            applies.unwrap().strength.clear();
        }),
    ];
    for (expected, spoil) in lacking {
        refused(across.clone(), spoil, expected);
    }
}
